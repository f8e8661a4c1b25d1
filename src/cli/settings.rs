//! What comes from the environment, read once and handed down.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use carrack_core::{Error, ErrorKind, Result};
use carrack_http::Endpoint;
use clap::ValueEnum;

use crate::{
    config,
    registry::{Access, Credentials, Federation, credential_variables},
};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Human,
    /// One JSON object a line; the last is the report
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The environment as it was at the start.
#[derive(Clone, Debug)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(super) fn read() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Any variable, also an empty one: for `${NAME}` in the file.
    pub(super) fn exact(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// The step of a workflow that this runs in.
    /// <https://docs.github.com/en/actions/reference/workflows-and-actions/variables#default-environment-variables>
    pub(super) fn github(&self) -> Option<GitHubStep> {
        let path = |name: &str| self.get(name).map(PathBuf::from);
        (self.get("GITHUB_ACTIONS") == Some("true")).then(|| GitHubStep {
            workspace: path("GITHUB_WORKSPACE"),
            summary: path("GITHUB_STEP_SUMMARY"),
            output: path("GITHUB_OUTPUT"),
        })
    }

    /// `CARRACK_ENDPOINT` names a server that stands in for the clouds, `CARRACK_ENDPOINT_TOKEN` its token.
    pub(super) fn access(&self) -> Result<Option<Access>> {
        let Some(text) = self.get("CARRACK_ENDPOINT") else { return Ok(None) };
        let endpoint = Endpoint::parse(text)?;
        let token = self.get("CARRACK_ENDPOINT_TOKEN").ok_or_else(|| {
            Error::new(ErrorKind::Usage, "CARRACK_ENDPOINT is set, and CARRACK_ENDPOINT_TOKEN is not")
                .hint("with an endpoint only its own token is used: set CARRACK_ENDPOINT_TOKEN")
        })?;
        Ok(Some(Access::Endpoint { endpoint, token: token.to_owned() }))
    }

    /// A proxy that cannot be read would be passed by: the request would go another way than its user meant.
    pub(super) fn check_proxies(&self) -> Result<()> {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let Some(text) = self.get(name) else { continue };
            let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
            if !url::Url::parse(&whole).is_ok_and(|url| url.has_host()) {
                // It may hold a password.
                return Err(Error::new(ErrorKind::Usage, format!("{name} is no address of a proxy"))
                    .hint(format!("write it as `{name}=http://HOST:PORT`, or unset it")));
            }
        }
        Ok(())
    }

    /// By what the user's credentials are found: flags before variables before the file.
    pub(super) fn credentials(
        &self,
        impersonate: Option<&str>,
        in_file: Option<&config::Federation>,
    ) -> Result<Credentials> {
        let federation = self.federation(in_file)?;
        let names = credential_variables().iter().copied();
        let names = names.chain(federation.as_ref().map(|federation| federation.variable.as_str()));
        Ok(Credentials {
            variables: names.filter_map(|name| Some((name.to_owned(), self.get(name)?.to_owned()))).collect(),
            impersonate: impersonate.or_else(|| self.get("CARRACK_IMPERSONATE")).map(str::to_owned),
            federation,
        })
    }

    /// `CARRACK_FEDERATION_PROVIDER`, `CARRACK_FEDERATION_ACCOUNT` and `CARRACK_ID_TOKEN_VARIABLE`, over the file's.
    fn federation(&self, in_file: Option<&config::Federation>) -> Result<Option<Federation>> {
        let (provider, account) = ("CARRACK_FEDERATION_PROVIDER", "CARRACK_FEDERATION_ACCOUNT");
        let given = |name: &str, check: fn(&str) -> Result<(), String>| match self.get(name) {
            Some(text) => match check(text) {
                Ok(()) => Ok(Some(text.to_owned())),
                Err(why) => Err(Error::new(ErrorKind::Usage, format!("{name}: {why}"))),
            },
            None => Ok(None),
        };
        let provider = given(provider, config::check_federation_provider)?;
        let service_account = given(account, config::check_service_account)?;
        let Some(provider) = provider.or_else(|| Some(in_file?.provider.clone())) else { return Ok(None) };
        Ok(Some(Federation {
            provider,
            service_account: service_account.or_else(|| in_file?.service_account.clone()),
            variable: self.get("CARRACK_ID_TOKEN_VARIABLE").unwrap_or("CARRACK_ID_TOKEN").to_owned(),
        }))
    }

    /// Docker's own file of credentials: <https://docs.docker.com/reference/cli/docker/#configuration-files>.
    pub(super) fn docker_config(&self) -> Option<PathBuf> {
        let folder = self.get("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(PathBuf::from(self.get("HOME")?).join(".docker")))?;
        Some(folder.join("config.json"))
    }

    /// Where Docker or Podman may answer: what `DOCKER_HOST` says, else where each listens by itself.
    /// <https://docs.docker.com/reference/cli/dockerd/#daemon-socket-option>
    /// <https://docs.podman.io/en/latest/markdown/podman-system-service.1.html>
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(super) fn engines(&self) -> carrack_emulator::runtime::EngineSockets {
        use carrack_emulator::runtime::EngineSockets;
        if let Some(host) = self.get("DOCKER_HOST") {
            return match host.strip_prefix("unix://") {
                Some(path) => EngineSockets { paths: vec![PathBuf::from(path)], refused: None },
                None => {
                    // The rest may hold a password.
                    let scheme = host.split_once("://").map_or("no scheme", |(scheme, _)| scheme);
                    let refused = format!("DOCKER_HOST must begin with `unix://`, and has `{scheme}`");
                    EngineSockets { paths: Vec::new(), refused: Some(refused) }
                }
            };
        }
        let user = self.get("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("podman/podman.sock"));
        let paths = [Some("/var/run/docker.sock".into()), user, Some("/run/podman/podman.sock".into())];
        EngineSockets { paths: paths.into_iter().flatten().collect(), refused: None }
    }

    /// Where the local cloud and built images are kept: `CARRACK_STATE_DIR`, else the user's state folder.
    pub(super) fn state_dir(&self) -> Result<PathBuf> {
        if let Some(dir) = self.get("CARRACK_STATE_DIR") {
            return std::path::absolute(dir).map_err(|e| {
                Error::new(ErrorKind::Usage, format!("CARRACK_STATE_DIR `{dir}` is no path")).with_source(e)
            });
        }
        let base = self
            .get("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(self.get("HOME")?).join(".local/state")));
        base.or_else(|| Some(PathBuf::from(self.get("LOCALAPPDATA")?))).map(|base| base.join("carrack")).ok_or_else(
            || {
                Error::new(ErrorKind::Usage, "there is no folder for state: HOME is not set")
                    .hint("set CARRACK_STATE_DIR")
            },
        )
    }
}

/// What GitHub Actions tells a step.
#[derive(Clone, Debug, Default)]
pub(super) struct GitHubStep {
    /// The repository's root.
    pub(in crate::cli) workspace: Option<PathBuf>,
    /// Markdown for the run's page.
    pub(super) summary: Option<PathBuf>,
    /// What later steps read.
    pub(super) output: Option<PathBuf>,
}

impl GitHubStep {
    /// An annotation's path begins at the repository's root.
    pub(super) fn relative(&self, path: &Path) -> String {
        let inside = |path: &Path, root: &Path| Some(path.strip_prefix(root).ok()?.to_owned());
        let absolute = std::path::absolute(path).ok();
        let found = self.workspace.as_ref().zip(absolute).and_then(|(root, path)| {
            inside(&path, root).or_else(|| inside(&path.canonicalize().ok()?, &root.canonicalize().ok()?))
        });
        found.as_deref().unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// The command to type once more, for a shell; `carrack` however it was found.
pub(super) fn this_command() -> String {
    command_line(std::env::args_os())
}

/// A deploy of a saved plan begins with another plan: the service is not as it was.
fn command_line(arguments: impl Iterator<Item = OsString>) -> String {
    let mut words: Vec<String> = arguments.skip(1).map(|word| quoted(&word.to_string_lossy())).collect();
    if words.iter().any(|word| word == "--plan" || word.starts_with("--plan=")) {
        for word in &mut words {
            if word == "deploy" {
                "plan".clone_into(word);
            } else if let Some(rest) = word.strip_prefix("--plan") {
                *word = format!("--out{rest}");
            }
        }
    }
    words.insert(0, "carrack".to_owned());
    words.join(" ")
}

/// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02>
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+@%:,./".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `-v` and more print what is for developers; `CARRACK_LOG` says it finer.
pub(super) fn trace(verbose: u8, environment: &Environment) {
    let level = match verbose {
        0 => "off",
        1 => "carrack=debug,carrack_core=debug,carrack_http=debug,carrack_gcp=debug,carrack_emulator=debug",
        _ => "debug",
    };
    let filter = environment.get("CARRACK_LOG").unwrap_or(level);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().try_init();
}

/// `90s`, `10m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration: write `90s` or `10m`"))?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let typed = |words: &[&str]| command_line(words.iter().map(OsString::from));
        assert_eq!(
            typed(&["/usr/bin/carrack", "deploy", "--local", "-f", "a/carrack.toml"]),
            "carrack deploy --local -f a/carrack.toml"
        );
        assert_eq!(typed(&["c", "deploy", "--local", "--plan", "p.json"]), "carrack plan --local --out p.json");
        assert_eq!(typed(&["c", "deploy", "--plan=p.json"]), "carrack plan --out=p.json");
        assert_eq!(typed(&["c", "deploy", "-f", "my shop's.toml", ""]), r"carrack deploy -f 'my shop'\''s.toml' ''");
    }
}
