//! The health of an instance that runs: liveness probes end it, readiness probes keep requests from it.
//! <https://cloud.google.com/run/docs/configuring/healthchecks>
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{launch::name, running::Group};
use crate::{
    gcp::{
        logging::{Logs, Source},
        run::{
            probe::Probe,
            system_log::{Probed, SystemLog},
        },
    },
    runtime::Instance,
};

/// One probe of one container, as long as its instance runs.
pub(super) struct Check {
    probe: Probe,
    probed: Probed,
    ends: bool,
    instance: Arc<dyn Instance>,
    logs: Arc<Logs>,
    source: Source,
}

impl Check {
    /// Those of a container.
    pub(super) fn all(
        container: &Value,
        owner: &str,
        index: usize,
        instance: &Arc<dyn Instance>,
        logs: &Arc<Logs>,
        source: &Source,
    ) -> Vec<Self> {
        let check = |field: &str, purpose: &str, ends: bool| {
            let probe = container.get(field).and_then(Probe::parse)?;
            let probed = Probed::of(purpose, &probe, &name(container, owner, index));
            Some(Self { probe, probed, ends, instance: instance.clone(), logs: logs.clone(), source: source.clone() })
        };
        [("livenessProbe", "LIVENESS", true), ("readinessProbe", "READINESS", false)]
            .into_iter()
            .filter_map(|(field, purpose, ends)| check(field, purpose, ends))
            .collect()
    }

    /// Whether requests wait for it.
    pub(super) fn holds_back(&self) -> bool {
        !self.ends
    }

    /// Beside the instance, until its end.
    pub(super) fn watch(self, group: &Arc<Group>, unready: &watch::Sender<usize>) {
        let (group, unready) = (Arc::downgrade(group), unready.clone());
        let instance = self.instance.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = instance.exited() => {}
                () = self.run(&group, &unready) => {}
            }
        });
    }

    async fn run(&self, group: &Weak<Group>, unready: &watch::Sender<usize>) {
        sleep(self.probe.delay).await;
        let (mut failures, mut ready) = (0, false);
        loop {
            let next = Instant::now() + self.probe.period;
            match self.probe.once(&self.instance).await {
                Ok(()) => {
                    failures = 0;
                    if self.holds_back() && !ready {
                        ready = true;
                        unready.send_modify(|count| *count -= 1);
                    }
                }
                Err(miss) => {
                    failures += 1;
                    let last = failures == self.probe.failures;
                    let then = if last && self.ends { " The instance was terminated." } else { "" };
                    if failures <= self.probe.failures {
                        let log = SystemLog { logs: &self.logs, source: &self.source };
                        log.failed(&self.probed, failures, then, miss);
                    }
                    if last && self.ends {
                        let Some(group) = group.upgrade() else { return };
                        group.stop(Duration::ZERO).await;
                        return;
                    }
                    if last && ready {
                        ready = false;
                        unready.send_modify(|count| *count += 1);
                    }
                }
            }
            sleep_until(next).await;
        }
    }
}
