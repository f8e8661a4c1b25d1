//! How a revision gets an instance: launched, logged and probed.
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    condition::{Failure, Reason},
    names::Key,
    probe::{Miss, Outcome, Probe},
    system_log::{Probed, SystemLog},
    template,
};
use crate::{
    gcp::{
        logging::{Logs, Source},
        status::Code,
    },
    image::Image,
    router::{Start, Started},
    runtime::{Exit, Launch, LaunchError, Line, Runtime, Stream},
};

/// Instances are numbered over all services: their names are folders of the runtime.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Lines on their way into the log; a container that writes faster waits.
const PENDING_LINES: usize = 1024;
/// For an instance that was cancelled while it started.
const GRACE: Duration = Duration::from_secs(1);
/// For what a container wrote before its end.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(super) struct Starter {
    pub(super) key: Key,
    pub(super) revision: String,
    pub(super) template: Value,
    pub(super) image: Image,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) logs: Arc<Logs>,
}

impl fmt::Debug for Starter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Starter").field("revision", &self.revision).finish_non_exhaustive()
    }
}

#[async_trait]
impl Start for Starter {
    async fn start(&self, cancelled: CancellationToken) -> Result<Started, String> {
        self.bring_up(&cancelled).await.map_err(|failure| failure.message)
    }

    fn died(&self, id: u128, exit: Exit) {
        let source = Source::of(&self.key, Some(&self.revision), id);
        self.log(&source).ended(exit, self.memory());
    }
}

impl Starter {
    /// One instance that passed its startup probe.
    pub(super) async fn bring_up(&self, cancelled: &CancellationToken) -> Result<Started, Failure> {
        // An image may take long to extract: nothing is launched that nobody wants.
        if cancelled.is_cancelled() {
            return Err(unwanted());
        }
        let source = Source::new(&self.key, Some(&self.revision));
        let log = self.log(&source);
        log.starting();
        self.differences(log);
        let (output, lines) = self.output(&source);
        let instance = self.runtime.launch(self.launch(output)).await.map_err(|error| self.not_launched(log, error))?;
        let port = template::port(&self.template);
        let container = template::ingress(&self.template).unwrap_or(&Value::Null);
        let skipped = self.template["healthCheckDisabled"] == true;
        let Some(probe) = container.get("startupProbe").and_then(Probe::parse).filter(|_| !skipped) else {
            return Ok(Started { instance, port, id: source.id() });
        };
        let default = is_default(&probe, container);
        let probed = Probed::new(&probe, default, &self.container_name(container));
        let missed = |attempt, miss| log.missed(&probed, attempt, attempt == probe.failures, miss);
        let failure = match probe.run(&instance, cancelled, missed).await {
            Outcome::Passed(attempts) => {
                log.passed(&probed, attempts);
                return Ok(Started { instance, port, id: source.id() });
            }
            Outcome::Exited(exit) => {
                // What it wrote comes before what is said of its end.
                let _ = tokio::time::timeout(LAST_LINES, lines).await;
                log.ended(exit, self.memory());
                log.missed(&probed, 1, true, Miss::Cancelled);
                if exit.out_of_memory { self.out_of_memory() } else { self.unhealthy(default) }
            }
            Outcome::Failed => self.unhealthy(default),
            Outcome::Cancelled => unwanted(),
        };
        instance.stop(GRACE).await;
        Err(failure)
    }

    fn log<'a>(&'a self, source: &'a Source) -> SystemLog<'a> {
        SystemLog { logs: &self.logs, source }
    }

    fn memory(&self) -> Option<u64> {
        template::memory_bytes(&self.template)
    }

    /// What the local cloud does otherwise than Cloud Run is said, and not left out in silence.
    fn differences(&self, log: SystemLog<'_>) {
        let Image { os, architecture, config, .. } = &self.image;
        let user = config.user.as_ref().filter(|user| !matches!(user.as_str(), "0" | "root"));
        if let Some(user) = user.filter(|_| !self.runtime.kind().heeds_user()) {
            log.warning(&format!("The local cloud runs the container as root, not as the image's user '{user}'."));
        }
        if (os.as_str(), architecture.as_str()) != ("linux", "amd64") {
            log.warning(&format!(
                "The image is for {os}/{architecture}, which only the local cloud runs: Cloud Run needs linux/amd64."
            ));
        }
    }

    fn launch(&self, output: mpsc::Sender<Line>) -> Launch {
        let container = template::ingress(&self.template).unwrap_or(&Value::Null);
        let texts = |field: &str| -> Vec<String> {
            let values = container[field].as_array().into_iter().flatten();
            values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
        };
        let pair = |variable: &Value| {
            Some((variable["name"].as_str()?.to_owned(), variable["value"].as_str().unwrap_or_default().to_owned()))
        };
        let mut env: Vec<_> = container["env"].as_array().into_iter().flatten().filter_map(pair).collect();
        // https://cloud.google.com/run/docs/container-contract#services-env-vars
        for (name, value) in
            [("K_SERVICE", &self.key.service), ("K_REVISION", &self.revision), ("K_CONFIGURATION", &self.key.service)]
        {
            env.push((name.to_owned(), value.clone()));
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        Launch {
            id: format!("{}-{number}", self.revision),
            image: self.image.clone(),
            command: texts("command"),
            args: texts("args"),
            env,
            working_dir: container["workingDir"].as_str().map(str::to_owned),
            port: Some(template::port(&self.template)),
            reached: container
                .get("startupProbe")
                .and_then(Probe::parse)
                .map(|probe| probe.port())
                .into_iter()
                .collect(),
            memory: self.memory(),
            mounts: Vec::new(),
            company: crate::runtime::Company::Nobody,
            output,
        }
    }

    /// Every line into the log; the task ends with the last one.
    fn output(&self, source: &Source) -> (mpsc::Sender<Line>, JoinHandle<()>) {
        let (sender, mut lines) = mpsc::channel::<Line>(PENDING_LINES);
        let (logs, source) = (self.logs.clone(), source.clone());
        let task = tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                logs.line(&source, line.stream == Stream::Stderr, &line.text);
            }
        });
        (sender, task)
    }

    /// An unnamed container is called after its service.
    fn container_name(&self, container: &Value) -> String {
        container["name"].as_str().map_or_else(|| format!("{}-1", self.key.service), str::to_owned)
    }

    fn not_launched(&self, log: SystemLog<'_>, error: LaunchError) -> Failure {
        match error {
            LaunchError::Exec(text) => {
                log.not_started(&text);
                self.unhealthy(true)
            }
            LaunchError::Image(text) => Failure {
                code: Code::FailedPrecondition,
                message: format!("Image '{}' cannot be used: {text}", self.image.reference),
                reason: Reason::Common("CONTAINER_MISSING"),
            },
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
                template::port(&self.template)
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

fn unwanted() -> Failure {
    Failure {
        code: Code::Aborted,
        message: "The instance was no longer wanted.".to_owned(),
        reason: Reason::Revision("RETIRED"),
    }
}

/// The probe that Cloud Run adds by itself.
fn is_default(probe: &Probe, container: &Value) -> bool {
    let given = &container["startupProbe"];
    probe.failures == 1
        && given.get("tcpSocket").is_some()
        && given["timeoutSeconds"] == 240
        && given["periodSeconds"] == 240
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::{Blob, ImageConfig},
        runtime::{Instance, RuntimeKind},
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

    /// Its containers need no probe, and never end.
    #[derive(Debug)]
    struct Lasting;

    #[async_trait]
    impl Runtime for Lasting {
        fn kind(&self) -> RuntimeKind {
            RuntimeKind::Process
        }

        fn engine(&self) -> Option<&std::path::Path> {
            None
        }

        async fn launch(&self, _: Launch) -> Result<Arc<dyn Instance>, LaunchError> {
            Ok(Arc::new(Self))
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
            std::future::pending().await
        }

        async fn stop(&self, _: Duration) -> Exit {
            Exit::signal(9)
        }
    }

    fn starter(runtime: Arc<dyn Runtime>) -> Starter {
        Starter {
            key: Key { project: "p".to_owned(), location: "l".to_owned(), service: "s".to_owned() },
            revision: "s-1".to_owned(),
            template: Value::Null,
            image: Image {
                reference: "i".to_owned(),
                digest: "sha256:0".to_owned(),
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                config: ImageConfig::default(),
                configuration: Blob { digest: "sha256:0".to_owned(), path: "/nonexistent".into() },
                layers: Vec::new(),
            },
            runtime,
            logs: Arc::default(),
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_wanted_is_not_launched() {
        let starter = starter(Arc::new(Broken));
        let cancelled = CancellationToken::new();
        let code = async || starter.bring_up(&cancelled).await.map_err(|failure| failure.code).err();
        assert_eq!(code().await, Some(Code::Internal));
        cancelled.cancel();
        assert_eq!(code().await, Some(Code::Aborted));
    }

    #[tokio::test]
    async fn the_end_of_an_instance_is_logged_as_its_own() {
        let starter = starter(Arc::new(Lasting));
        let cancelled = CancellationToken::new();
        let start = async || starter.bring_up(&cancelled).await.map_err(|failure| failure.message).expect("it starts");
        let (first, second) = (start().await, start().await);
        assert_ne!(first.id, second.id);
        starter.died(first.id, Exit::code(1));
        let entries = starter.logs.all("p");
        let ids: Vec<_> = entries.iter().map(|entry| entry["labels"]["instanceId"].clone()).collect();
        assert_eq!(entries.last().expect("an entry")["textPayload"], "Container called exit(1).");
        assert_eq!((ids.len(), &ids[2]), (3, &ids[0]), "{ids:?}");
    }
}
