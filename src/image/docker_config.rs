//! Credentials that Docker keeps: `config.json`, and the helpers that it names.
//!
//! <https://docs.docker.com/reference/cli/docker/login/#configure-the-credential-store>
use std::{collections::BTreeMap, io, path::PathBuf, process::Stdio, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    poll::bounded,
    provider::RegistryAuth,
};
use serde::{Deserialize, Deserializer};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};
use zeroize::Zeroizing;

/// Docker Hub's key in every configuration, from before there was a second version of its API.
const HUB: &str = "https://index.docker.io/v1/";
/// The user name that goes with a token in the place of a password.
/// <https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol>
pub(crate) const TOKEN_USER: &str = "<token>";
/// A helper that asks a person something is not answered here.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a helper says of a server that it does not know:
/// <https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go>.
const NOT_FOUND: &str = "credentials not found";

/// Where Docker keeps its credentials. Read when a registry is first asked for something, and never written.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// `config.json`.
    file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

/// Wiped when it is dropped.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl DockerConfig {
    /// The file at this path; it need not exist.
    pub fn at(file: PathBuf) -> Self {
        Self { file: Some(file) }
    }

    /// What is kept for a registry's host; `None` when it is nothing.
    ///
    /// A helper that fails is told of, and then there is nothing: the image may be for everybody.
    pub async fn find(&self, cx: &Ctx, host: &str) -> Result<Option<RegistryAuth>> {
        let Some(file) = self.read().await? else { return Ok(None) };
        let own_helper = file.cred_helpers.iter().find(|(key, _)| is_for(key, host)).map(|(_, helper)| helper);
        if let Some(helper) = own_helper.or(file.creds_store.as_ref()).filter(|helper| !helper.is_empty()) {
            match bounded(cx, "a credential helper", ask(helper, &server(host))).await? {
                Ok(Some(auth)) => return Ok(Some(auth)),
                Ok(None) => {}
                Err(message) => cx.events.emit(Event::Warning { message }),
            }
        }
        // `docker login` leaves empty entries where a helper keeps the rest, and a host may have two names here.
        let mut broken = None;
        for (key, entry) in file.auths.iter().filter(|(key, _)| is_for(key, host)) {
            match self.decode(key, entry) {
                Ok(None) => {}
                Ok(auth) => return Ok(auth),
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        broken.map_or(Ok(None), Err)
    }

    async fn read(&self) -> Result<Option<File>> {
        let Some(path) = &self.file else { return Ok(None) };
        let unusable = |why: String| {
            Error::new(ErrorKind::Unauthenticated, format!("cannot use `{}`: {why}", path.display()))
                .hint("mend it, or set DOCKER_CONFIG to another folder")
        };
        match tokio::fs::read(path).await {
            // The parser's words may hold a part of the file.
            Ok(bytes) => serde_json::from_slice(&Zeroizing::new(bytes))
                .map(Some)
                .map_err(|error| unusable(format!("line {} is not what Docker writes", error.line()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    fn decode(&self, key: &str, entry: &Entry) -> Result<Option<RegistryAuth>> {
        if let Some(Secret(token)) = entry.identitytoken.as_ref().filter(|token| !token.0.is_empty()) {
            return Ok(Some(RegistryAuth { user: TOKEN_USER.to_owned(), password: token.clone() }));
        }
        let Some(Secret(encoded)) = entry.auth.as_ref().filter(|auth| !auth.0.is_empty()) else { return Ok(None) };
        let decoded = BASE64_STANDARD.decode(encoded.trim()).map(Zeroizing::new).ok();
        let text = decoded.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some((user, password)) = text.and_then(|text| text.split_once(':')) else {
            let path = self.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            let message = format!("`{path}` has no user and password for `{key}` that can be read");
            return Err(Error::new(ErrorKind::Unauthenticated, message).hint(format!("docker login {key}")));
        };
        let password = Zeroizing::new(password.trim_end_matches('\0').to_owned());
        Ok(somebody(RegistryAuth { user: user.to_owned(), password }))
    }
}

/// Neither a user nor a password is nobody: so Docker's own client says it, too.
fn somebody(auth: RegistryAuth) -> Option<RegistryAuth> {
    (!auth.user.is_empty() || !auth.password.is_empty()).then_some(auth)
}

/// Whether a key of the configuration means this host. Keys may be addresses: `https://HOST/v1/`.
fn is_for(key: &str, host: &str) -> bool {
    let name = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let name = name.split('/').next().unwrap_or_default();
    name == host || (is_hub(host) && is_hub(name))
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// By what name helpers know a host.
fn server(host: &str) -> String {
    if is_hub(host) { HUB.to_owned() } else { host.to_owned() }
}

/// Asks `docker-credential-HELPER get`. Neither its output nor its errors are shown: they may hold the secret.
async fn ask(helper: &str, server: &str) -> Result<Option<RegistryAuth>, String> {
    let program = format!("docker-credential-{helper}");
    if helper.contains('/') {
        return Err(format!("Docker's configuration names a credential helper that is none: `{helper}`"));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}`, which Docker's configuration names, cannot be run: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it answers nevertheless, or fails.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let output = match timeout(PATIENCE, child.wait_with_output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("`{program}` was lost: {error}")),
        Err(_) => return Err(format!("`{program}` did not answer for `{server}` in {} s", PATIENCE.as_secs())),
    };
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        if String::from_utf8_lossy(&stdout).contains(NOT_FOUND) {
            return Ok(None);
        }
        return Err(format!("`{program}` failed for `{server}`: {}", output.status));
    }
    let answer: Answer =
        serde_json::from_slice(&stdout).map_err(|_| format!("`{program}` answered with something unexpected"))?;
    Ok(somebody(RegistryAuth { user: answer.username, password: answer.secret.0 }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use carrack_core::event::EventSink;

    use super::*;

    async fn found(config: &str, host: &str) -> Result<Option<(String, String)>> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.json");
        fs::write(&file, config).expect("write");
        let auth = DockerConfig::at(file).find(&Ctx::silent(), host).await?;
        Ok(auth.map(|auth| (auth.user, auth.password.to_string())))
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[tokio::test]
    async fn users_and_passwords_are_found_by_host() {
        // me:pass:word, hub:h
        let config = r#"{"auths": {
            "ghcr.io": {"auth": "bWU6cGFzczp3b3Jk"},
            "https://index.docker.io/v1/": {"auth": "aHViOmg="},
            "https://old.example/v2/": {"auth": "bWU6cGFzczp3b3Jk"},
            "azure.example": {"auth": "MDAwOg==", "identitytoken": "t"},
            "stub.example": {}
        }, "HttpHeaders": {"x": "y"}}"#;
        for (host, expected) in [
            ("ghcr.io", pair("me", "pass:word")),
            ("docker.io", pair("hub", "h")),
            ("old.example", pair("me", "pass:word")),
            ("azure.example", pair(TOKEN_USER, "t")),
            ("stub.example", None),
            ("evil-ghcr.io", None),
            ("ghcr.io:443", None),
        ] {
            assert_eq!(found(config, host).await.expect(host), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn the_first_entry_that_holds_somebody_is_taken() {
        // Nothing, a colon alone, what cannot be read, and hub:h.
        let config = |last: &str| {
            format!(
                r#"{{"auths": {{"docker.io": {{}}, "https://docker.io/v1/": {{"auth": "Og=="}},
                "https://index.docker.io/v1/": {{"auth": "c2VjcmV0"}}, "registry-1.docker.io": {last}}}}}"#
            )
        };
        assert_eq!(found(&config(r#"{"auth": "aHViOmg="}"#), "docker.io").await.expect("found"), pair("hub", "h"));
        assert!(
            found(&config("{}"), "docker.io").await.is_err(),
            "what cannot be read is told when there is nothing else"
        );
        assert_eq!(found(r#"{"auths": {"a.example": {"auth": "Og=="}}}"#, "a.example").await.expect("read"), None);
    }

    #[tokio::test]
    async fn a_file_that_is_none_is_said_without_its_words() {
        for broken in [r#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0"}}}"#, r#"{"auths": "c2VjcmV0"}"#] {
            let error = found(broken, "ghcr.io").await.expect_err("broken");
            let shown = format!("{error} {error:?}");
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(!shown.contains("secret") && !shown.contains("c2VjcmV0"), "{shown}");
        }
        let none = DockerConfig::at("/nowhere/config.json".into());
        assert!(none.find(&Ctx::silent(), "ghcr.io").await.expect("no file").is_none());
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_is_told_of_and_the_file_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.json");
        let config = r#"{"credHelpers": {"ghcr.io": "carrack-has-none"}, "auths": {"ghcr.io": {"auth": "bWU6cA=="}}}"#;
        fs::write(&file, config).expect("write");
        let (events, mut received) = EventSink::channel();
        let cx = Ctx { events, ..Ctx::silent() };
        let auth = DockerConfig::at(file).find(&cx, "ghcr.io").await.expect("found").expect("an entry");
        assert_eq!(auth.user, "me");
        let Some(Event::Warning { message }) = received.try_recv() else { panic!("no warning") };
        assert!(message.starts_with("`docker-credential-carrack-has-none`"), "{message}");
    }
}
