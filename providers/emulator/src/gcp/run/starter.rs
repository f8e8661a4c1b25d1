//! How a revision gets an instance: all its containers, launched, logged and probed.
use std::{
    collections::BTreeSet,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    bring_up::unreadable,
    condition::{Failure, Reason},
    group::{self, Ends, Plan, Trouble, Wanted},
    names::Key,
    system_log::SystemLog,
    template, vpc,
};
use crate::{
    gcp::{logging::Source, status::Code},
    image::Image,
    router::{Start, Started, Why},
    runtime::LaunchError,
};

/// Instances are numbered over all services: their names are folders of the runtime.
static COUNT: AtomicU64 = AtomicU64::new(0);

pub(super) struct Starter {
    pub(super) key: Key,
    pub(super) revision: String,
    pub(super) plan: Plan,
}

impl fmt::Debug for Starter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Starter").field("revision", &self.revision).finish_non_exhaustive()
    }
}

#[async_trait]
impl Start for Starter {
    async fn start(&self, why: Why, cancelled: CancellationToken) -> Result<Started, String> {
        self.bring_up(why, &cancelled).await.map_err(|failure| failure.message)
    }
}

impl Starter {
    /// One instance whose containers passed their startup probes.
    pub(super) async fn bring_up(&self, why: Why, cancelled: &CancellationToken) -> Result<Started, Failure> {
        if cancelled.is_cancelled() {
            return Err(unwanted());
        }
        let source = Source::new(&self.key, Some(&self.revision));
        let log = SystemLog { logs: &self.plan.logs, source: &source };
        log.starting(why);
        differences(&self.plan, log);
        vpc::told(&self.plan.template).iter().for_each(|text| log.warning(text));
        let port = template::port(&self.plan.template);
        let containers = self.plan.template["containers"].as_array().map_or(&[][..], Vec::as_slice);
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let wanted = Wanted {
            id: format!("{}-{number}", self.revision),
            env: self.env(),
            source: source.clone(),
            owner: self.key.service.clone(),
            main: template::ingress_index(containers).unwrap_or_default(),
            port: Some(port),
            ends: Ends::WithAny,
        };
        let instance = self.plan.bring_up(&wanted, cancelled).await.map_err(|trouble| self.failure(trouble))?;
        let unready = instance.unready();
        Ok(Started { instance, port, unready })
    }

    /// <https://cloud.google.com/run/docs/container-contract#services-env-vars>
    fn env(&self) -> Vec<(String, String)> {
        let variables =
            [("K_SERVICE", &self.key.service), ("K_REVISION", &self.revision), ("K_CONFIGURATION", &self.key.service)];
        variables.map(|(name, value)| (name.to_owned(), value.clone())).into()
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Secret(text) => unreadable(text),
            Trouble::Launch { container, error } => self.not_launched(container, error),
            Trouble::Ended { exit, .. } if exit.out_of_memory => self.out_of_memory(),
            Trouble::Ended { default_probe, .. } | Trouble::Unhealthy { default_probe } => {
                self.unhealthy(default_probe)
            }
            Trouble::Cancelled => unwanted(),
        }
    }

    fn not_launched(&self, container: usize, error: LaunchError) -> Failure {
        match error {
            LaunchError::Exec(_) => self.unhealthy(true),
            LaunchError::Image(text) => {
                let reference = self.plan.images.get(container).map_or("", |image| &image.reference);
                Failure {
                    code: Code::FailedPrecondition,
                    message: format!("Image '{reference}' cannot be used: {text}"),
                    reason: Reason::Common("CONTAINER_MISSING"),
                }
            }
            LaunchError::Host(text) => Failure {
                code: Code::Internal,
                message: format!("The local cloud could not start the container: {text}"),
                reason: Reason::Common("INTERNAL"),
            },
        }
    }

    /// <https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start>
    fn unhealthy(&self, default_probe: bool) -> Failure {
        let what = if default_probe {
            format!(
                "The user-provided container failed to start and listen on the port defined provided by the PORT={} environment variable within the allocated timeout. This can happen when the container port is misconfigured or if the timeout is too short. The health check timeout can be extended.",
                template::port(&self.plan.template)
            )
        } else {
            "The user-provided container failed the configured startup probe checks.".to_owned()
        };
        Failure {
            code: Code::FailedPrecondition,
            message: format!(
                "{what} Logs for this revision might contain more information.\n\nLogs URL: {}\nFor more troubleshooting guidance, see https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start",
                self.logs_url()
            ),
            reason: Reason::Revision("HEALTH_CHECK_CONTAINER_ERROR"),
        }
    }

    fn out_of_memory(&self) -> Failure {
        Failure {
            code: Code::FailedPrecondition,
            message: format!(
                "The user-provided container ran out of memory. Logs for this revision might contain more information; consider increasing the memory limit.\n\nLogs URL: {}",
                self.logs_url()
            ),
            reason: Reason::Revision("HEALTH_CHECK_CONTAINER_ERROR"),
        }
    }

    fn logs_url(&self) -> String {
        format!(
            "https://console.cloud.google.com/logs/viewer?project={}&resource=cloud_run_revision/service_name/{}/revision_name/{}",
            self.key.project, self.key.service, self.revision
        )
    }
}

/// What the local cloud does otherwise than Cloud Run is said, and not left out in silence.
pub(super) fn differences(plan: &Plan, log: SystemLog<'_>) {
    let kind = plan.runtime.kind();
    let mut said = BTreeSet::new();
    for Image { os, architecture, config, .. } in &plan.images {
        let user = config.user.as_ref().filter(|user| !matches!(user.as_str(), "0" | "root"));
        if let Some(user) = user.filter(|_| !kind.heeds_user()) {
            said.insert(format!("The local cloud runs the container as root, not as the image's user '{user}'."));
        }
        if (os.as_str(), architecture.as_str()) != ("linux", "amd64") {
            said.insert(format!(
                "The image is for {os}/{architecture}, which only the local cloud runs: Cloud Run needs linux/amd64."
            ));
        }
    }
    if plan.images.len() > 1 && !kind.isolated() {
        said.insert("The containers are not isolated: they meet on this machine's own loopback, where a sidecar's port can be taken already, and the container with the requests listens on another port than it would on Cloud Run, which its PORT says.".to_owned());
    }
    let mut volumes = plan.template["volumes"].as_array().into_iter().flatten();
    if volumes.any(|volume| volume.get("secret").is_some()) && !kind.keeps_files_in_memory() {
        said.insert("The container engine keeps the files of mounted secrets on its disk as long as the container is there; Cloud Run keeps them in memory.".to_owned());
    }
    said.extend(group::told_of_shares(&plan.template).map(str::to_owned));
    for text in said {
        log.warning(&text);
    }
}

fn unwanted() -> Failure {
    Failure {
        code: Code::Aborted,
        message: "The instance was no longer wanted.".to_owned(),
        reason: Reason::Revision("RETIRED"),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use serde_json::json;
    use tokio::sync::watch;

    use super::*;
    use crate::{
        gcp::run::group::Shares,
        image::{Blob, ImageConfig},
        runtime::{Exit, Instance, Launch, Runtime, RuntimeKind},
    };

    #[derive(Debug)]
    struct Broken;

    #[async_trait]
    impl Runtime for Broken {
        fn kind(&self) -> RuntimeKind {
            RuntimeKind::Process
        }

        fn engine(&self) -> Option<&std::path::Path> {
            None
        }

        async fn launch(&self, _: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
            Err(LaunchError::Host("launched".to_owned()))
        }

        async fn clear(&self) -> Result<(), String> {
            Ok(())
        }
    }

    /// Its containers need no probe, and end when this is told.
    #[derive(Clone, Debug)]
    struct Lasting(watch::Sender<Option<Exit>>);

    #[async_trait]
    impl Runtime for Lasting {
        fn kind(&self) -> RuntimeKind {
            RuntimeKind::Process
        }

        fn engine(&self) -> Option<&std::path::Path> {
            None
        }

        async fn launch(&self, _: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
            Ok(Arc::new(self.clone()))
        }

        async fn clear(&self) -> Result<(), String> {
            Ok(())
        }
    }

    #[async_trait]
    impl Instance for Lasting {
        async fn connect(&self, _: u16) -> std::io::Result<tokio::net::TcpStream> {
            Err(std::io::ErrorKind::ConnectionRefused.into())
        }

        async fn exited(&self) -> Exit {
            Exit::told(&self.0.subscribe()).await
        }

        async fn stop(&self, _: Duration) -> Exit {
            Exit::signal(9)
        }
    }

    fn starter(runtime: Arc<dyn Runtime>) -> Starter {
        Starter {
            key: Key { project: "p".to_owned(), location: "l".to_owned(), service: "s".to_owned() },
            revision: "s-1".to_owned(),
            plan: Plan {
                project: "p".to_owned(),
                template: json!({ "containers": [{ "image": "i" }] }),
                images: vec![image()],
                runtime,
                logs: Arc::default(),
                secrets: Arc::default(),
                shares: Shares::at(std::path::Path::new("/nonexistent")),
            },
        }
    }

    fn image() -> Image {
        Image {
            reference: "i".to_owned(),
            digest: "sha256:0".to_owned(),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            config: ImageConfig::default(),
            configuration: Blob { digest: "sha256:0".to_owned(), path: "/nonexistent".into() },
            layers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_wanted_is_not_launched() {
        let starter = starter(Arc::new(Broken));
        let cancelled = CancellationToken::new();
        let code = async || starter.bring_up(Why::Rollout, &cancelled).await.map_err(|failure| failure.code).err();
        assert_eq!(code().await, Some(Code::Internal));
        cancelled.cancel();
        assert_eq!(code().await, Some(Code::Aborted));
    }

    #[tokio::test]
    async fn the_end_of_an_instance_is_logged_as_its_own() {
        let exit = watch::Sender::new(None);
        let starter = starter(Arc::new(Lasting(exit.clone())));
        let cancelled = CancellationToken::new();
        let started = starter
            .bring_up(Why::Rollout, &cancelled)
            .await
            .map_err(|failure| failure.message)
            .expect("it starts")
            .instance;
        exit.send_replace(Some(Exit::code(1)));
        assert_eq!(started.exited().await, Exit::code(1));
        let entries = starter.plan.logs.all("p");
        let ids: Vec<_> = entries.iter().map(|entry| entry["labels"]["instanceId"].clone()).collect();
        assert_eq!(entries.last().expect("an entry")["textPayload"], "Container called exit(1).");
        assert_eq!((ids.len(), &ids[1]), (2, &ids[0]), "{ids:?}");
        assert_eq!(entries[1]["labels"].get("container_name"), None, "there is only one");
    }
}
