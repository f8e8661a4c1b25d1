//! What instances of a template are made of, and how one is brought up.
use std::{fmt, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    health::Check,
    launch::{self, launch, log_lines},
    order::dependencies,
    running::{Group, Member, wait_for_lines},
    shares::Shares,
    volumes::lends,
};
use crate::{
    gcp::{
        logging::{Logs, Source},
        run::{
            probe::{Miss, Outcome, Probe},
            system_log::{Probed, SystemLog},
        },
        secret_manager::Secrets,
    },
    image::Image,
    runtime::{Company, Exit, Instance, LaunchError, Runtime},
};

/// For containers of an instance that does not come up.
const GRACE: Duration = Duration::from_secs(1);

/// The same for every instance.
pub(crate) struct Plan {
    /// Of secrets that are named without one.
    pub(crate) project: String,
    /// As v2 has it, its defaults filled in and its rules checked: `containers`, `volumes`, `serviceAccount`.
    pub(crate) template: Value,
    /// One for each container.
    pub(crate) images: Vec<Image>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) shares: Shares,
}

impl fmt::Debug for Plan {
    /// Variables may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Plan").finish_non_exhaustive()
    }
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Unique, safe as a folder name.
    pub(crate) id: String,
    /// Every container's, on top of its own.
    pub(crate) env: Vec<(String, String)>,
    /// Whose log entries they are.
    pub(crate) source: Source,
    /// After whom unnamed containers are called.
    pub(crate) owner: String,
    /// The container that requests go to, or whose end is the task's.
    pub(crate) main: usize,
    /// The port that it is told to listen on.
    pub(crate) port: Option<u16>,
    pub(crate) ends: Ends,
}

/// Whose end is the instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Every container's: a service.
    WithAny,
    /// The main one's: a task.
    WithMain,
}

/// Why an instance did not come up. What it is about is in the log already.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A secret that cannot be read: its field, and why.
    Secret(String),
    Launch {
        container: usize,
        error: LaunchError,
    },
    /// It ended before its probe passed, or another one's did.
    Ended {
        container: usize,
        default_probe: bool,
        exit: Exit,
    },
    Unhealthy {
        default_probe: bool,
    },
    Cancelled,
}

enum Step {
    Probed { container: usize, default: bool, outcome: Outcome },
    Ended { container: usize, exit: Exit },
}

type Launched = (usize, Result<Member, Trouble>);

impl Plan {
    pub(super) fn containers(&self) -> &[Value] {
        self.template["containers"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Launches all containers, each one when those that it depends on have passed their startup probe, or have started
    /// if they have none. Nothing of it is left when it fails.
    pub(crate) async fn bring_up(&self, wanted: &Wanted, cancelled: &CancellationToken) -> Result<Arc<Group>, Trouble> {
        // An image may take long to extract: nothing is launched that nobody wants.
        if cancelled.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        let mut rising = Rising {
            plan: self,
            wanted,
            // Refused when the template was made.
            waits: dependencies(self.containers()).unwrap_or_else(|_| vec![Vec::new(); self.containers().len()]),
            states: vec![State::Waiting; self.containers().len()],
            members: Vec::new(),
            launches: FuturesUnordered::new(),
        };
        match rising.rise(cancelled).await {
            Ok(()) => {
                // A main container that ended at once takes along what is still on its way.
                while let Some((_, launched)) = rising.launches.next().await {
                    rising.members.extend(launched.ok());
                }
                let checks = self.checks(&rising.members, wanted);
                Ok(Group::start(rising.members, wanted, self.logs.clone(), checks))
            }
            Err(trouble) => {
                rising.fall().await;
                Err(trouble)
            }
        }
    }
}

impl Plan {
    /// What is asked of an instance that runs, where probes are heeded.
    fn checks(&self, members: &[Member], wanted: &Wanted) -> Vec<Check> {
        if self.template["healthCheckDisabled"] == true {
            return Vec::new();
        }
        let of = |member: &Member| {
            let container = &self.containers()[member.index];
            Check::all(container, &wanted.owner, member.index, &member.instance, &self.logs, &member.source)
        };
        members.iter().flat_map(of).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Launched,
    Up,
}

/// An instance on its way.
struct Rising<'a> {
    plan: &'a Plan,
    wanted: &'a Wanted,
    /// For each container the ones that it waits for.
    waits: Vec<Vec<usize>>,
    states: Vec<State>,
    members: Vec<Member>,
    /// Never dropped before they are done: what is half launched is taken down as a whole.
    launches: FuturesUnordered<BoxFuture<'a, Launched>>,
}

impl<'a> Rising<'a> {
    async fn rise(&mut self, cancelled: &'a CancellationToken) -> Result<(), Trouble> {
        let mut steps: FuturesUnordered<BoxFuture<'a, Step>> = FuturesUnordered::new();
        self.launch_ready();
        while self.states.iter().any(|&state| state != State::Up) {
            tokio::select! {
                biased;
                Some((container, launched)) = self.launches.next() => {
                    let member = launched?;
                    steps.push(ended(container, member.instance.clone()));
                    match self.probe(container, &member, cancelled) {
                        Some(probe) => {
                            steps.push(probe);
                            self.states[container] = State::Launched;
                        }
                        None => self.states[container] = State::Up,
                    }
                    self.members.push(member);
                }
                Some(step) = steps.next() => match step {
                    Step::Probed { outcome: Outcome::Cancelled, .. } => return Err(Trouble::Cancelled),
                    Step::Probed { container, outcome: Outcome::Passed(_), .. } => self.states[container] = State::Up,
                    Step::Probed { default, outcome: Outcome::Failed, .. } => {
                        return Err(Trouble::Unhealthy { default_probe: default });
                    }
                    Step::Probed { container, default, outcome: Outcome::Exited(exit) } => {
                        return Err(self.gone(container, Some(default), exit).await);
                    }
                    Step::Ended { container, .. } if self.states[container] == State::Launched => {
                        // Its probe says so too.
                    }
                    Step::Ended { container, exit } => match self.wanted.ends {
                        Ends::WithAny => return Err(self.gone(container, None, exit).await),
                        // Its end is the instance's, and not a failure here.
                        Ends::WithMain if container == self.wanted.main => return Ok(()),
                        Ends::WithMain => {}
                    },
                },
                () = cancelled.cancelled() => return Err(Trouble::Cancelled),
            }
            self.launch_ready();
        }
        Ok(())
    }

    /// The first one alone, for the others join its network.
    fn launch_ready(&mut self) {
        for container in 0..self.states.len() {
            let ready = self.states[container] == State::Waiting
                && self.waits[container].iter().all(|&other| self.states[other] == State::Up);
            if !ready {
                continue;
            }
            let company = match self.members.first() {
                Some(first) => Company::Joins(first.instance.clone()),
                None if !self.launches.is_empty() => return,
                None => self.first_company(container),
            };
            self.states[container] = State::Launched;
            self.launches.push(launch_one(self.plan, self.wanted, container, company).boxed());
        }
    }

    fn first_company(&self, container: usize) -> Company {
        let lends = lends(&self.plan.template, container);
        if self.states.len() == 1 && lends.is_empty() { Company::Nobody } else { Company::First(lends) }
    }

    /// The startup probe, when the container has one that is heeded.
    fn probe(&self, index: usize, member: &Member, cancelled: &'a CancellationToken) -> Option<BoxFuture<'a, Step>> {
        let container = &self.plan.containers()[index];
        let skipped = self.plan.template["healthCheckDisabled"] == true;
        let probe = container.get("startupProbe").and_then(Probe::parse).filter(|_| !skipped)?;
        let default = is_default(&probe, container);
        let probed = Probed::new(&probe, default, &launch::name(container, &self.wanted.owner, index));
        let (logs, source, instance) = (&self.plan.logs, member.source.clone(), member.instance.clone());
        let run = async move {
            let log = SystemLog { logs, source: &source };
            let missed = |attempt, miss| log.missed(&probed, attempt, attempt == probe.failures, miss);
            let outcome = probe.run(&instance, cancelled, missed).await;
            if let Outcome::Passed(attempts) = &outcome {
                log.passed(&probed, *attempts);
            }
            Step::Probed { container: index, default, outcome }
        };
        Some(run.boxed())
    }

    /// A container that ended too early.
    async fn gone(&mut self, container: usize, probed: Option<bool>, exit: Exit) -> Trouble {
        if let Some(member) = self.members.iter_mut().find(|member| member.index == container) {
            // What it wrote comes before what is said of its end.
            wait_for_lines(&mut member.lines).await;
            let log = SystemLog { logs: &self.plan.logs, source: &member.source };
            log.ended(exit, member.memory);
            let value = &self.plan.containers()[container];
            if let (Some(default), Some(probe)) = (probed, value.get("startupProbe").and_then(Probe::parse)) {
                let probed = Probed::new(&probe, default, &launch::name(value, &self.wanted.owner, container));
                log.missed(&probed, 1, true, Miss::Cancelled);
            }
        }
        Trouble::Ended { container, default_probe: probed.unwrap_or(true), exit }
    }

    /// Ends what has started, and what starts this moment.
    async fn fall(mut self) {
        while let Some((_, launched)) = self.launches.next().await {
            self.members.extend(launched.ok());
        }
        join_all(self.members.iter().map(|member| member.instance.stop(GRACE))).await;
    }
}

fn ended<'a>(container: usize, instance: Arc<dyn Instance>) -> BoxFuture<'a, Step> {
    async move { Step::Ended { container, exit: instance.exited().await } }.boxed()
}

async fn launch_one(plan: &Plan, wanted: &Wanted, index: usize, company: Company) -> Launched {
    let container = &plan.containers()[index];
    // The only one needs no name to be told from others.
    let name = (plan.containers().len() > 1).then(|| launch::name(container, &wanted.owner, index));
    let source = wanted.source.of_container(name.as_deref());
    let (output, lines) = log_lines(&plan.logs, &source);
    let launch = match launch(plan, wanted, index, company, output) {
        Ok(launch) => launch,
        Err(text) => return (index, Err(Trouble::Secret(text))),
    };
    let launched = match plan.runtime.launch(launch).await {
        Ok(instance) => Ok(Member { index, instance, lines, memory: launch::memory(container), source }),
        Err(error) => {
            if let LaunchError::Exec(text) = &error {
                SystemLog { logs: &plan.logs, source: &source }.not_started(text);
            }
            Err(Trouble::Launch { container: index, error })
        }
    };
    (index, launched)
}

/// The probe that Cloud Run adds by itself.
fn is_default(probe: &Probe, container: &Value) -> bool {
    let given = &container["startupProbe"];
    probe.failures == 1
        && given.get("tcpSocket").is_some()
        && given["timeoutSeconds"] == 240
        && given["periodSeconds"] == 240
}
