//! What a failure left behind, in neutral words, and the rules that find its one cause. Pure.
use crate::{
    cause::{Cause, Code, Fix, FixStep},
    listening::{Host, Listening, listening, plain},
    secret::LATEST,
    spec::{ImageRef, Mebibytes, Probe, ProbeCheck},
};

/// What is known of a deploy that failed. A provider gathers it from errors, conditions and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What the cloud said, the surest first.
    pub signs: Vec<Sign>,
    /// The image that was to run.
    pub image: Option<ImageRef>,
    /// The port that requests go to.
    pub port: Option<u16>,
    /// The container's memory limit.
    pub memory: Option<Mebibytes>,
    /// The startup probe that was asked for; `None` is the cloud's own.
    pub startup: Option<Probe>,
    /// The ports that the image's configuration exposes.
    pub exposed: Vec<u16>,
    /// What the program wrote, oldest first.
    pub lines: Vec<String>,
    /// Whether it is a job's task, which listens on nothing.
    pub of_task: bool,
    /// What the cloud wrote of the container and is worth reading, oldest first.
    pub system: Vec<String>,
}

/// One thing that a cloud says of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// There is no such image.
    ImageNotFound {
        /// The command that lists what there is.
        list: Option<String>,
    },
    /// Somebody may not read the image.
    ImageNotReadable {
        /// Who, as a sentence begins with it.
        reader: String,
        /// The command that allows it.
        grant: Option<String>,
    },
    /// There is no such secret, or no such version of it.
    SecretMissing {
        /// The secret, as carrack.toml would name it.
        secret: String,
        /// The version that was asked for.
        version: String,
    },
    /// The service's account may not read a secret.
    SecretNotReadable {
        /// The secret, as carrack.toml would name it.
        secret: String,
        /// Who, by its e-mail address.
        account: String,
        /// The command that allows it.
        grant: String,
    },
    /// A secret's version is disabled or destroyed.
    SecretNotEnabled {
        /// The secret, as carrack.toml would name it.
        secret: String,
        /// The version that was asked for.
        version: String,
        /// In a word.
        state: String,
    },
    /// The value of a variable's secret is no text.
    SecretNotText,
    /// Whoever deploys may not act as the service's account.
    ActAsDenied {
        /// The account, by its e-mail address.
        account: String,
        /// Whether there is one by that name; `None` when that may not be asked.
        exists: Option<bool>,
        /// The command that makes it.
        make: Option<String>,
        /// The command that allows it.
        grant: String,
    },
    /// The quota of the region is too small.
    QuotaExceeded {
        /// So many instances of this size are allowed.
        most: Option<u32>,
        /// What is too much, as the cloud says it.
        what: Option<String>,
    },
    /// There is no such region, or the project may not use it.
    RegionUnavailable {
        /// Its name.
        region: String,
        /// The command that lists what there is.
        list: String,
    },
    /// There is no such connector to a network, or the cloud may not use it.
    ConnectorMissing {
        /// Its name.
        connector: String,
        /// The command that lists what there is.
        list: String,
    },
    /// The image has nothing for the cloud's platform.
    WrongArchitecture {
        /// The platform that is needed: `linux/amd64`.
        platform: String,
    },
    /// The memory limit was exceeded.
    OutOfMemory {
        /// The limit, as the cloud told it.
        limit: Option<Mebibytes>,
        /// What was used.
        used: Option<Mebibytes>,
    },
    /// The program could not be started at all; the cloud's words.
    NotStarted(String),
    /// It ended by itself.
    Exited(i32),
    /// It took longer than it may.
    TimedOut,
    /// A signal that it did not get from the cloud ended it.
    Killed(i32),
    /// The startup probe failed.
    ProbeFailed {
        /// Whether something answered, and wrongly; `None` when that is not told.
        answered: Option<bool>,
    },
    /// Nothing listens on the port.
    NotListening,
}

impl Evidence {
    /// The cause, when something is known of it.
    pub fn cause(&self) -> Option<Cause> {
        self.signs.iter().filter_map(|sign| self.rule(sign)).min_by_key(|cause| cause.code)
    }

    /// The program's last lines, and the cloud's where that leaves room; `most` at the most.
    pub fn last_lines(&self, most: usize) -> Vec<String> {
        let lines = self.lines.iter().rev().take(most).rev();
        let room = most.saturating_sub(self.lines.len());
        lines.chain(self.system.iter().rev().take(room).rev()).cloned().collect()
    }

    fn rule(&self, sign: &Sign) -> Option<Cause> {
        let cause = |code, message: String, fix| Some(Cause { code, message, fix });
        match sign {
            Sign::ImageNotFound { list } => {
                let message = format!("the registry does not have {}", self.image_name());
                let fix = match list {
                    Some(list) => Fix(vec![
                        FixStep::Command(list.clone()),
                        FixStep::Change("write one of those under [image], or name it with `--image`".to_owned()),
                    ]),
                    None => Fix::change("push it first (`carrack push`), or write one that is there under [image]"),
                };
                cause(Code::ImageNotFound, message, fix)
            }
            Sign::ImageNotReadable { reader, grant } => {
                let message = format!("{reader} may not read {}", self.image_name());
                let fix = match grant {
                    Some(command) => Fix::command(command),
                    None => Fix::change("allow it to read that repository"),
                };
                cause(Code::ImageNotReadable, message, fix)
            }
            Sign::SecretMissing { .. }
            | Sign::SecretNotReadable { .. }
            | Sign::SecretNotEnabled { .. }
            | Sign::SecretNotText => secret(sign),
            Sign::ActAsDenied { .. }
            | Sign::QuotaExceeded { .. }
            | Sign::RegionUnavailable { .. }
            | Sign::ConnectorMissing { .. } => refusal(sign),
            Sign::WrongArchitecture { platform } => {
                let message = format!("{} has no program for {platform}", self.image_name());
                cause(Code::WrongArchitecture, message, self.built_for(platform))
            }
            Sign::OutOfMemory { limit, used } => self.out_of_memory(limit.or(self.memory), *used),
            Sign::NotStarted(why) if why.to_lowercase().contains("exec format error") => {
                self.rule(&Sign::WrongArchitecture { platform: CONTAINER_PLATFORM.to_owned() })
            }
            Sign::NotStarted(why) => {
                let fix = Fix::change("mend `entrypoint`, or the files of the image");
                cause(Code::ExitAtStart, format!("the program did not start: {why}"), fix)
            }
            Sign::Exited(_) | Sign::Killed(_) if self.lines.iter().any(|line| is_format_error(line)) => {
                self.rule(&Sign::WrongArchitecture { platform: CONTAINER_PLATFORM.to_owned() })
            }
            Sign::Exited(code) if self.of_task => {
                cause(Code::TaskFailed, format!("the program ended with exit code {code}"), self.mend())
            }
            Sign::Killed(signal) if self.of_task => {
                cause(Code::TaskFailed, format!("the program was ended by signal {signal}"), self.mend())
            }
            Sign::TimedOut => {
                let fix = Fix::change("write a longer `timeout` under [job], or let the program do less in one task");
                cause(Code::TaskTimeout, "the program ran until its time was up".to_owned(), fix)
            }
            Sign::Exited(code) => self.exited(*code),
            Sign::Killed(signal) => {
                let message = format!("the program was ended by signal {signal} before it listened{}", self.on_port());
                cause(Code::ExitAtStart, message, self.mend())
            }
            Sign::ProbeFailed { answered } => self.probe(*answered),
            Sign::NotListening => Some(self.not_listening()),
        }
    }

    fn image_name(&self) -> String {
        self.image.as_ref().map_or_else(|| "the image".to_owned(), |image| format!("`{}`", image.0))
    }

    fn on_port(&self) -> String {
        self.port.map_or_else(String::new, |port| format!(" on port {port}"))
    }

    fn built_for(&self, platform: &str) -> Fix {
        let name = self.image.as_ref().map_or("IMAGE", ImageRef::repository);
        Fix(vec![
            FixStep::Command(format!("docker buildx build --platform {platform} --tag {name} --push .")),
            FixStep::Change("deploy what that pushed: write it under [image], or name it with `--image`".to_owned()),
        ])
    }

    fn out_of_memory(&self, limit: Option<Mebibytes>, used: Option<Mebibytes>) -> Option<Cause> {
        let limited = limit.map_or_else(|| "its memory limit".to_owned(), |limit| format!("its limit of {limit}"));
        let message = match used {
            Some(used) => format!("the container used {used}, more than {limited}"),
            None => format!("the container used more memory than {limited}"),
        };
        let fix = match limit {
            Some(limit) => {
                let enough = Mebibytes(used.map_or(0, |used| used.0).max(limit.0 + 1).next_power_of_two());
                Fix::change(format!("write `memory = \"{enough}\"` under [resources]"))
            }
            None => Fix::change("write a larger `memory` under [resources]"),
        };
        Some(Cause { code: Code::OutOfMemory, message, fix })
    }

    fn exited(&self, code: i32) -> Option<Cause> {
        let message = format!("the program ended with exit code {code} before it listened{}", self.on_port());
        let fix = match code {
            0 => Fix::change("start the server in the foreground, so that the program goes on running"),
            _ => self.mend(),
        };
        Some(Cause { code: Code::ExitAtStart, message, fix })
    }

    /// Nobody but the program knows why it ended. Two streams come in no certain order, and a stack trace ends with
    /// what says little, so the last line that speaks of an error is taken before the last one.
    fn mend(&self) -> Fix {
        let said = || self.lines.iter().rev().map(|line| line.trim()).filter(|line| !line.is_empty());
        match said().find(|line| speaks_of_an_error(line)).or_else(|| said().next()) {
            Some(line) => Fix::change(format!("mend what its log says: `{}`", shortened(line))),
            None => Fix::change("let the program say why it ends: it wrote nothing"),
        }
    }

    fn probe(&self, answered: Option<bool>) -> Option<Cause> {
        let http = match self.startup.as_ref().map(|probe| &probe.check) {
            Some(ProbeCheck::Http { path, port }) => Some((path.clone(), *port)),
            _ => None,
        };
        // What does not even listen is told better by what it says itself.
        if answered != Some(true)
            && let Some(cause) = self.elsewhere()
        {
            return Some(cause);
        }
        let Some(probe) = &self.startup else { return Some(self.not_listening()) };
        let times = match probe.failures {
            1 => "once".to_owned(),
            times => format!("{times} times"),
        };
        let Some((path, port)) = http else {
            return match answered {
                Some(true) => Some(self.probe_cause(format!("the startup probe failed {times}"))),
                _ => Some(self.not_listening()),
            };
        };
        let port = port.or(self.port).map_or_else(String::new, |port| format!(" on port {port}"));
        if answered == Some(false) {
            return Some(self.not_listening());
        }
        let message = format!("the startup probe asked for `{path}`{port} {times} and got no status from 200 to 399");
        let fix = Fix::change(format!(
            "answer 200 at `{path}`, or write the path that does under [health]: `startup = {{ http = \"/PATH\" }}`"
        ));
        Some(Cause { code: Code::StartupProbe, message, fix })
    }

    fn probe_cause(&self, message: String) -> Cause {
        let fix = Fix::change("write a check that passes under [health], such as `startup = { tcp = true }`");
        Cause { code: Code::StartupProbe, message, fix }
    }

    /// What the program, or else its image, says of where it listens, when that is not where requests go.
    fn elsewhere(&self) -> Option<Cause> {
        let port = self.port?;
        let said: Vec<Listening> = self.lines.iter().filter_map(|line| listening(line)).collect();
        let reached =
            |port: u16| said.iter().any(|one| one.port == port && matches!(one.host, Host::Open | Host::Unsaid));
        if reached(port) {
            return None;
        }
        if let Some(one) = said.iter().find(|one| one.port == port) {
            return Some(loopback(*one, port));
        }
        let last = said.last()?;
        match said.iter().rev().find(|one| one.host != Host::Loopback) {
            // The same server may name both of its addresses.
            Some(open) => Some(wrong_port(format!("the program listens on port {}", open.port), open.port, port)),
            None => Some(loopback(*last, port)),
        }
    }

    fn not_listening(&self) -> Cause {
        if let Some(cause) = self.elsewhere() {
            return cause;
        }
        let on_port = self.on_port();
        let variable = self.port.map_or_else(|| "PORT".to_owned(), |port| format!("PORT ({port})"));
        let says_so = self
            .port
            .is_some_and(|port| self.lines.iter().filter_map(|line| listening(line)).any(|one| one.port == port));
        if says_so {
            let message = format!(
                "the program says that it listens{on_port}, but nothing answered there in time: it listens too late, or on loopback alone"
            );
            let fix = Fix::change(
                "listen on 0.0.0.0; if it is slow to start, write a longer wait under [health], such as `startup = { tcp = true, period = \"10s\", failures = 30 }`",
            );
            return Cause { code: Code::NotListening, message, fix };
        }
        if let (Some(port), [exposed]) = (self.port, self.exposed.as_slice())
            && *exposed != port
        {
            let said = format!("nothing answers{on_port}, and the image exposes port {exposed}");
            return Cause { message: said, ..wrong_port(String::new(), *exposed, port) };
        }
        let message = format!(
            "nothing answers{on_port}: the program listens on another port, on loopback alone, or too late, and its log does not say which"
        );
        Cause {
            code: Code::NotListening,
            message,
            fix: Fix::change(format!("listen on 0.0.0.0 and on the port that the variable {variable} names")),
        }
    }
}

/// What a refusal tells needs nothing else.
fn refusal(sign: &Sign) -> Option<Cause> {
    let listed = |list: &String, key: &str| {
        Fix(vec![
            FixStep::Command(list.clone()),
            FixStep::Change(format!("write one of those as {key}")),
            FixStep::Again,
        ])
    };
    let (code, message, fix) = match sign {
        Sign::ActAsDenied { account, exists: Some(false), make, .. } => (
            Code::AccountMissing,
            format!("there is no service account {account}"),
            match make {
                Some(command) => Fix::command(command),
                None => Fix::change("write one that is there as `service_account` of the target"),
            },
        ),
        Sign::ActAsDenied { account, exists, grant, .. } => {
            let or = if exists.is_none() { ", or there is none by that name" } else { "" };
            let message = format!("whoever deploys may not act as the service's account {account}{or}");
            (Code::ActAsDenied, message, Fix::command(grant))
        }
        Sign::QuotaExceeded { most: Some(most), what } => {
            let of = what.as_ref().map(|what| format!(" ({what})")).unwrap_or_default();
            let message = format!("the region's quota allows {most} instances of this size{of}");
            (
                Code::QuotaExceeded,
                message,
                Fix::change(format!("write `max = {most}` under [scaling], or ask the cloud for more")),
            )
        }
        Sign::QuotaExceeded { most: None, what } => {
            let of = what.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
            let fix = Fix::change("ask the cloud for more, or remove what is not needed");
            (Code::QuotaExceeded, format!("more is asked for than the quota allows{of}"), fix)
        }
        Sign::RegionUnavailable { region, list } => {
            let message = format!("region `{region}` does not exist, or the project may not use it");
            (Code::RegionUnavailable, message, listed(list, "`region` of the target"))
        }
        Sign::ConnectorMissing { connector, list } => {
            let message = format!("there is no connector `{connector}`, or the cloud may not use it");
            (Code::NetworkMissing, message, listed(list, "`connector` under [network]"))
        }
        _ => return None,
    };
    Some(Cause { code, message, fix })
}

/// What is told of a secret needs nothing else.
fn secret(sign: &Sign) -> Option<Cause> {
    let (code, message, fix) = match sign {
        Sign::SecretMissing { secret, version } if version == LATEST => (
            Code::SecretMissing,
            format!("there is no secret `{secret}`, or it has no version yet"),
            Fix::command(format!("carrack secrets set {secret}")),
        ),
        Sign::SecretMissing { secret, version } => (
            Code::SecretMissing,
            format!("there is no version {version} of a secret `{secret}`"),
            Fix(vec![
                FixStep::Command(format!("carrack secrets versions {secret}")),
                FixStep::Change("write one of those under [secrets], or leave `version` out".to_owned()),
            ]),
        ),
        Sign::SecretNotReadable { secret, account, grant } => (
            Code::SecretNotReadable,
            format!("the service's account {account} may not read secret `{secret}`"),
            Fix::command(grant),
        ),
        Sign::SecretNotEnabled { secret, version, state } => (
            Code::SecretNotEnabled,
            format!("version {version} of secret `{secret}` is {state}"),
            match state.as_str() {
                "disabled" => Fix::command(format!("carrack secrets enable {secret} {version}")),
                _ => Fix::change("write another version under [secrets], or leave `version` out"),
            },
        ),
        Sign::SecretNotText => (
            Code::SecretNotText,
            "the value of a secret under [secrets] is no text, which a variable has to be".to_owned(),
            Fix::change("mount it as a file: `NAME = { secret = \"…\", mount = \"/secrets/name/value\" }`"),
        ),
        _ => return None,
    };
    Some(Cause { code, message, fix })
}

/// What a container's program must be built for, where nothing else is said.
const CONTAINER_PLATFORM: &str = "linux/amd64";

/// A quoted line is a reminder; the whole one is below it.
const QUOTED: usize = 80;

/// Nothing that a terminal would obey is quoted.
fn shortened(line: &str) -> String {
    let line: String = plain(line).chars().filter(|c| !c.is_control()).collect();
    let mut text: String = line.chars().take(QUOTED).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}

fn speaks_of_an_error(line: &str) -> bool {
    const WORDS: [&str; 9] =
        ["error", "fatal", "panic", "exception", "failed", "cannot", "not found", "no such", "refused"];
    let line = line.to_lowercase();
    WORDS.iter().any(|word| line.contains(word))
}

/// What a shell says of a program that is for another machine.
fn is_format_error(line: &str) -> bool {
    line.to_lowercase().contains("exec format error")
}

fn loopback(one: Listening, port: u16) -> Cause {
    let host = if one.host == Host::Localhost { "localhost" } else { "127.0.0.1" };
    let message =
        format!("the program listens on {host}:{} alone, which nothing outside of the container reaches", one.port);
    let change = if one.port == port {
        format!("listen on 0.0.0.0:{port}, not on {host}")
    } else {
        format!("listen on 0.0.0.0 and on the port that the variable PORT names ({port}), not on {host}:{}", one.port)
    };
    Cause { code: Code::LoopbackOnly, message, fix: Fix::change(change) }
}

fn wrong_port(says: String, found: u16, port: u16) -> Cause {
    let message = format!("{says}, and requests go to port {port}");
    Cause { code: Code::WrongPort, message, fix: Fix::change(format!("write `port = {found}` under [service]")) }
}

#[cfg(test)]
mod tests;
