//! Pipelines from their templates.
use super::{Host, Names};

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `.github/workflows/NAME.yml` or `.gitlab-ci.yml`.
    Host(Host),
    /// A script for any other CI.
    Script,
}

impl Kind {
    /// Where it is looked for, from the repository's root.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Host(Host::GitHub) => ".github/workflows/carrack.yml",
            Self::Host(Host::GitLab) => ".gitlab-ci.yml",
            Self::Script => "carrack-ci.sh",
        }
    }
}

/// What a pipeline is made for.
#[derive(Clone, Debug)]
pub struct Pipeline<'a> {
    /// Which form.
    pub kind: Kind,
    /// Flags that choose file and target, as they are typed: ` --to prod`.
    pub flags: &'a str,
    /// The target's name, else the service's: what the environment is called.
    pub environment: &'a str,
    /// Whether the image is built here.
    pub builds: bool,
    /// What the pool and its accounts are called.
    pub names: &'a Names,
    /// `projects/N/locations/global/workloadIdentityPools/P/providers/R`; `None` is a variable of the repository.
    pub provider: Option<&'a str>,
    /// What is merged here is deployed.
    pub branch: &'a str,
    /// How the program gets there; `None` builds it from its repository.
    pub install: Option<&'a str>,
}

const GITHUB: &str = include_str!("github.yml");
const GITLAB: &str = include_str!("gitlab.yml");
const SCRIPT: &str = include_str!("script.sh");

/// The whole file.
pub fn pipeline(wanted: &Pipeline<'_>) -> String {
    let template = match wanted.kind {
        Kind::Host(Host::GitHub) => GITHUB,
        Kind::Host(Host::GitLab) => GITLAB,
        Kind::Script => SCRIPT,
    };
    let mut text = String::new();
    let mut taken = Vec::new();
    for line in template.lines() {
        // `#if NAME` to `#end`, each on a line of its own.
        match line.trim_start().strip_prefix("#if ") {
            Some(name) => taken.push(holds(wanted, name)),
            None if line.trim_start() == "#end" => drop(taken.pop()),
            None if taken.iter().all(|taken| *taken) => text += &filled(wanted, line),
            None => {}
        }
    }
    text
}

fn holds(wanted: &Pipeline<'_>, name: &str) -> bool {
    match name {
        "builds" => wanted.builds,
        "image-elsewhere" => !wanted.builds,
        "default-install" => wanted.install.is_none(),
        "provider" => wanted.provider.is_some(),
        "provider-elsewhere" => wanted.provider.is_none(),
        "own-install" => wanted.install.is_some(),
        _ => false,
    }
}

/// One line with its names replaced; a command of several lines keeps the indentation.
fn filled(wanted: &Pipeline<'_>, line: &str) -> String {
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let variable = match wanted.kind {
        Kind::Host(Host::GitHub) => "${{ vars.CARRACK_FEDERATION_PROVIDER }}",
        _ => "$CARRACK_FEDERATION_PROVIDER",
    };
    let install =
        wanted.install.unwrap_or_default().trim_end().lines().collect::<Vec<_>>().join(&format!("\n{indent}"));
    let values = [
        ("@FLAGS@", wanted.flags.to_owned()),
        ("@ENVIRONMENT@", wanted.environment.to_owned()),
        ("@PROVIDER@", wanted.provider.unwrap_or(variable).to_owned()),
        ("@PLAN_ACCOUNT@", wanted.names.plan_account()),
        ("@DEPLOY_ACCOUNT@", wanted.names.deploy_account()),
        ("@BRANCH@", wanted.branch.to_owned()),
        ("@INSTALL@", install),
    ];
    let mut line = line.to_owned();
    for (name, value) in values {
        line = line.replace(name, &value);
    }
    line + "\n"
}
