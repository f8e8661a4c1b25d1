//! Why a deploy failed: one cause, one fix, and a code that stays the same.
use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// The stable name of a cause. Scripts compare it, so a name is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The registry has no such image.
    ImageNotFound,
    /// The cloud may not read the image.
    ImageNotReadable,
    /// There is no such secret, or no such version of it.
    SecretMissing,
    /// The service's account may not read a secret.
    SecretNotReadable,
    /// A secret's version is disabled or destroyed.
    SecretNotEnabled,
    /// A secret's value cannot be that of a variable.
    SecretNotText,
    /// There is no service account by the name that the service is to run as.
    AccountMissing,
    /// Whoever deploys may not let a service run as that account.
    ActAsDenied,
    /// Whoever runs the command lacks a permission.
    PermissionMissing,
    /// More was asked for than the account's quota allows.
    QuotaExceeded,
    /// The region does not exist, or the project may not use it.
    RegionUnavailable,
    /// The network to send requests through is not there.
    NetworkMissing,
    /// The image or its program is for another machine.
    WrongArchitecture,
    /// The container used more memory than its limit.
    OutOfMemory,
    /// The program ended before it served.
    ExitAtStart,
    /// An attempt at a job's task took longer than it may.
    TaskTimeout,
    /// The program of a job's task did not end well.
    TaskFailed,
    /// It listens on the container's own loopback address.
    LoopbackOnly,
    /// It listens on another port than the one that requests go to.
    WrongPort,
    /// The configured startup probe does not pass.
    StartupProbe,
    /// Nothing tells more than that nothing answers on the port.
    NotListening,
}

impl Code {
    /// Every code, in the order in which the rules are tried.
    pub const ALL: [Self; 21] = [
        Self::ImageNotFound,
        Self::ImageNotReadable,
        Self::SecretMissing,
        Self::SecretNotReadable,
        Self::SecretNotEnabled,
        Self::SecretNotText,
        Self::AccountMissing,
        Self::ActAsDenied,
        Self::PermissionMissing,
        Self::QuotaExceeded,
        Self::RegionUnavailable,
        Self::NetworkMissing,
        Self::WrongArchitecture,
        Self::OutOfMemory,
        Self::ExitAtStart,
        Self::TaskTimeout,
        Self::TaskFailed,
        Self::LoopbackOnly,
        Self::WrongPort,
        Self::StartupProbe,
        Self::NotListening,
    ];

    /// As it is printed and typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ImageNotFound => "image-not-found",
            Self::ImageNotReadable => "image-not-readable",
            Self::SecretMissing => "secret-missing",
            Self::SecretNotReadable => "secret-not-readable",
            Self::SecretNotEnabled => "secret-not-enabled",
            Self::SecretNotText => "secret-not-text",
            Self::AccountMissing => "account-missing",
            Self::ActAsDenied => "act-as-denied",
            Self::PermissionMissing => "permission-missing",
            Self::QuotaExceeded => "quota-exceeded",
            Self::RegionUnavailable => "region-unavailable",
            Self::NetworkMissing => "network-missing",
            Self::WrongArchitecture => "wrong-architecture",
            Self::OutOfMemory => "out-of-memory",
            Self::ExitAtStart => "exit-at-start",
            Self::TaskTimeout => "task-timeout",
            Self::TaskFailed => "task-failed",
            Self::LoopbackOnly => "loopback-only",
            Self::WrongPort => "wrong-port",
            Self::StartupProbe => "startup-probe",
            Self::NotListening => "not-listening",
        }
    }

    /// What happened, in one line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ImageNotFound => "the registry does not have the image",
            Self::ImageNotReadable => "the cloud may not read the image",
            Self::SecretMissing => "there is no such secret, or no such version of it",
            Self::SecretNotReadable => "the service's account may not read a secret",
            Self::SecretNotEnabled => "a secret's version is disabled or destroyed",
            Self::SecretNotText => "a secret's value cannot be that of a variable",
            Self::AccountMissing => "there is no service account by that name",
            Self::ActAsDenied => "whoever deploys may not act as the service's account",
            Self::PermissionMissing => "whoever runs the command lacks a permission",
            Self::QuotaExceeded => "more is asked for than the quota allows",
            Self::RegionUnavailable => "the region does not exist, or the project may not use it",
            Self::NetworkMissing => "there is no such connector to a network, or the cloud may not use it",
            Self::WrongArchitecture => "the image, or the program in it, is for another machine",
            Self::OutOfMemory => "the container used more memory than its limit",
            Self::ExitAtStart => "the program ended before it served",
            Self::TaskTimeout => "an attempt at a job's task took longer than its timeout",
            Self::TaskFailed => "the program of a job's task did not end with exit code 0",
            Self::LoopbackOnly => "the program listens on the container's loopback address alone",
            Self::WrongPort => "the program listens on another port than the one that requests go to",
            Self::StartupProbe => "the startup probe does not pass",
            Self::NotListening => "nothing answers on the port, and nothing tells why",
        }
    }

    /// How it is told, and what mends it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ImageNotFound => {
                "The cloud found no image of this name, tag or digest. Name one that is there, or push it with `carrack push`."
            }
            Self::ImageNotReadable => {
                "The cloud pulls with an account of its own, which needs to read the repository; of another project's it may not until it is granted there. The fix is the command that grants it; it may take some minutes to be known everywhere."
            }
            Self::SecretMissing => {
                "Make it with `carrack secrets set`, or name one that is there under [secrets]. A name without a project is one of the service's own project."
            }
            Self::SecretNotReadable => {
                "A service reads its secrets with its own account, which needs to be granted each of them; being an editor of the project is not enough. `carrack deploy --grant` grants what is missing, and the fix is the command that does it for this one; it may take some minutes to be known everywhere."
            }
            Self::SecretNotEnabled => {
                "A version that is disabled or destroyed cannot be read, and `latest` is the version that was made last, also when it is disabled. Enable it with `carrack secrets enable`, or name another under [secrets]."
            }
            Self::SecretNotText => {
                "A variable holds UTF-8 text without a zero byte. Let the container read the value from a file: `NAME = { secret = \"…\", mount = \"/secrets/name/value\" }`, which may hold any bytes."
            }
            Self::AccountMissing => {
                "A service runs as a service account, which has to be there first. The fix makes it; or write the one that was meant as `service_account` of the target."
            }
            Self::ActAsDenied => {
                "Whoever deploys gives the service all that its account may, and so has to be allowed to act as it. The fix grants it on that one account; it may take some minutes to be known everywhere."
            }
            Self::PermissionMissing => {
                "The message names each permission, what it is on and what for; the fix is the command that grants it. `carrack permissions check` asks for all of them beforehand, and `carrack permissions show` prints the smallest role."
            }
            Self::QuotaExceeded => {
                "The most instances, times the cpu and memory of each, have to fit into what the region gives to the project. Write a smaller `max` under [scaling], or less under [resources]; or ask the cloud for more."
            }
            Self::RegionUnavailable => {
                "The name may be mistyped, the region may lack this cloud's service, or a policy of the organization keeps the project out of it. Write another as `region` of the target."
            }
            Self::NetworkMissing => {
                "A connector is of one project and region, and has to be there before a service names it. Write one that is there under [network], or make it; of another project's network the cloud's own account has to be allowed to use it."
            }
            Self::WrongArchitecture => {
                "The cloud runs one platform, and the image has none for it, or its program cannot be executed there. Build it for that platform: `docker buildx build --platform linux/amd64`, or the compiler's own target."
            }
            Self::OutOfMemory => {
                "The cloud ended the container when it went over its limit; files that it writes count too. Write a larger `memory` under [resources], or use less: fewer workers, a smaller heap."
            }
            Self::ExitAtStart => {
                "The program ended by itself, with the exit code that is shown: its last lines say why. A service goes on running; exit code 0 often means that the server was started in the background."
            }
            Self::TaskTimeout => {
                "The cloud ended the program when the time for one attempt was up; without `timeout` that is ten minutes. Write a longer `timeout` under [job], give one run more with `carrack jobs run --task-timeout`, or divide the work among more `tasks`."
            }
            Self::TaskFailed => {
                "The program ended with the exit code or signal that is shown, at its first attempt and at every retry: its last lines say why. A task is done only when the program ends with exit code 0."
            }
            Self::LoopbackOnly => {
                "Its own log says that it listens on 127.0.0.1 or localhost, which nothing outside of the container reaches. Listen on 0.0.0.0 (or [::]), on the port that the variable PORT names."
            }
            Self::WrongPort => {
                "Its own log, or EXPOSE in its image, names another port. Write that port under [service], or let the program listen on the one that the variable PORT names."
            }
            Self::StartupProbe => {
                "The program runs, but the check under [health] is not answered as it must be: over HTTP with a status from 200 to 399, in time. Change what is asked, or how long it is waited for."
            }
            Self::NotListening => {
                "It listens on another port, on loopback alone, or too late; its log does not say which. A program that prints its address when it listens makes the next failure tell more."
            }
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Code {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|code| code.name() == name).ok_or(())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The one cause of a failure, with the facts of this case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which.
    pub code: Code,
    /// What happened, in a sentence: port, exit code, limit, platform.
    pub message: String,
    /// What mends it.
    pub fix: Fix,
}

/// What mends it, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fix(pub Vec<FixStep>);

/// One step of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FixStep {
    /// What to write, and where: ``write `port = 3000` under [service]``.
    Change(String),
    /// A command to type.
    Command(String),
    /// The command that failed, once more.
    Again,
}

impl Fix {
    /// A change, then the same command again.
    pub fn change(change: impl Into<String>) -> Self {
        Self(vec![FixStep::Change(change.into()), FixStep::Again])
    }

    /// A command, then the same command again.
    pub fn command(command: impl Into<String>) -> Self {
        Self(vec![FixStep::Command(command.into()), FixStep::Again])
    }

    /// Every step as it is shown; `again` is the command that failed.
    pub fn steps<'a>(&'a self, again: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(move |step| match step {
            FixStep::Change(text) | FixStep::Command(text) => text,
            FixStep::Again => again,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(code));
            assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
            assert!(!code.meaning().ends_with('.') && code.advice().ends_with(['.', '`']), "{code}");
        }
        assert_eq!("wrong".parse::<Code>(), Err(()));
    }

    #[test]
    fn a_fix_ends_with_the_same_command() {
        let fix = Fix::change("write `port = 3000` under [service]");
        let steps: Vec<_> = fix.steps("carrack deploy").collect();
        assert_eq!(steps, ["write `port = 3000` under [service]", "carrack deploy"]);
        assert_eq!(Fix::command("carrack push").steps("x").next(), Some("carrack push"));
    }
}
