//! What a failed deploy left behind: its texts, the revision's settings and conditions, and its last log lines.
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use carrack_core::{
    Result,
    event::{Ctx, Event},
    evidence::{Evidence, Sign},
    poll::{Poll, PollPolicy, poll_until},
    spec::{Probe, ProbeCheck, RevisionId, ServiceName},
};
use carrack_http::Request;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client,
    signs::{Surroundings, of_system, of_text},
    wire,
};
use crate::{
    CloudRun,
    error::classify,
    logging::{LastWords, last_words},
};

/// How many log entries are read: the last words, and the address that was printed before them.
const ENTRIES: usize = 200;

/// A log line may be seconds late: <https://cloud.google.com/logging/docs/view/logs-explorer-interface>.
const LOGS_PATIENCE: Duration = Duration::from_secs(8);

pub(crate) async fn evidence(
    provider: &CloudRun,
    cx: &Ctx,
    service: &ServiceName,
    revision: Option<&RevisionId>,
    said: &str,
) -> Result<Evidence> {
    let around = Surroundings { project: &provider.project, principal: provider.token.principal() };
    let mut signs = of_text(said, around);
    for sign in &mut signs {
        if let Sign::ActAsDenied { account, exists, .. } = sign {
            *exists = account_exists(provider, cx, account).await;
        }
    }
    let mut evidence = Evidence::default();
    if let Some(revision) = revision {
        let (raw, words) = tokio::join!(
            client::get_revision(provider, cx, service, revision),
            settled_words(provider, cx, service, revision, awaited(&signs))
        );
        let missing = |what: &str, error| {
            cx.events.emit(Event::Warning { message: format!("the {what} of {} cannot be read: {error}", revision.0) });
        };
        match raw {
            Ok(Some(raw)) => {
                evidence = settings(&raw)?;
                for message in
                    raw["conditions"].as_array().into_iter().flatten().filter_map(|one| one["message"].as_str())
                {
                    signs.extend(
                        of_text(message, around).into_iter().filter(|sign| !signs.contains(sign)).collect::<Vec<_>>(),
                    );
                }
            }
            Ok(None) => {}
            Err(error) => missing("settings", error),
        }
        match words {
            Ok(words) => {
                let system = of_system(words.system.iter().map(|line| line.text.as_str()));
                // The log tells more of the probe than the operation does.
                if system.iter().any(is_probe) {
                    signs.retain(|sign| !is_probe(sign));
                }
                signs.splice(0..0, system);
                evidence.lines = words.program;
                let grave =
                    words.system.into_iter().filter(|line| line.severity != "INFO" && line.severity != "DEFAULT");
                evidence.system =
                    grave.flat_map(|line| line.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
            }
            Err(error) => missing("logs", error),
        }
    }
    Ok(Evidence { signs, ..evidence })
}

/// `None` where that may not be asked: <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/get>
async fn account_exists(provider: &CloudRun, cx: &Ctx, email: &str) -> Option<bool> {
    let url = format!("https://iam.googleapis.com/v1/projects/-/serviceAccounts/{email}");
    let call = Request::new(Method::GET, url).bearer(&provider.token).classify(classify).accept(&[404]);
    provider.http.send(cx, call).await.ok().map(|answer| answer.status != 404)
}

fn is_probe(sign: &Sign) -> bool {
    matches!(sign, Sign::ProbeFailed { .. })
}

/// Whether the log is what tells the cause: an image that was never pulled writes nothing.
fn awaited(signs: &[Sign]) -> bool {
    signs.iter().any(|sign| matches!(sign, Sign::NotListening | Sign::ProbeFailed { .. } | Sign::OutOfMemory { .. }))
}

/// The last words of a container; when they must come, they are waited for a little.
async fn settled_words(
    provider: &CloudRun,
    cx: &Ctx,
    service: &ServiceName,
    revision: &RevisionId,
    awaited: bool,
) -> Result<LastWords> {
    if !awaited {
        return last_words(provider, cx, service, revision, ENTRIES).await;
    }
    let latest = Mutex::new(None);
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(LOGS_PATIENCE) };
    let waited = poll_until(cx, policy, || async {
        let words = last_words(provider, cx, service, revision, ENTRIES).await?;
        let told = !of_system(words.system.iter().map(|line| line.text.as_str())).is_empty();
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        Ok(if told { Poll::Ready(()) } else { Poll::Pending })
    })
    .await;
    match (latest.into_inner().unwrap_or_else(PoisonError::into_inner), waited) {
        (Some(words), _) => Ok(words),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(LastWords::default()),
    }
}

/// A revision holds its containers as a template does.
fn settings(revision: &Value) -> Result<Evidence> {
    let spec = wire::from_wire(&json!({ "service": { "template": revision } }))?;
    let main = spec.workload.main;
    Ok(Evidence {
        image: main.image,
        port: Some(spec.port.unwrap_or(wire::DEFAULT_PORT)),
        memory: main.memory,
        startup: main.probes.startup.filter(|probe| !is_default(probe)),
        ..Evidence::default()
    })
}

/// The probe that Cloud Run adds by itself: <https://cloud.google.com/run/docs/configuring/healthchecks#tcp-startup-probe>.
fn is_default(probe: &Probe) -> bool {
    let long = Duration::from_secs(240);
    probe.check == ProbeCheck::Tcp { port: None }
        && probe.failures == 1
        && (probe.timeout, probe.period) == (long, long)
}

#[cfg(test)]
mod tests {
    use carrack_core::spec::Mebibytes;

    use super::*;

    #[test]
    fn a_revisions_settings() {
        let raw = json!({ "name": "r", "containers": [{
            "image": "i", "ports": [{ "name": "http1", "containerPort": 3000 }],
            "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" } },
            "startupProbe": { "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": { "port": 3000 } },
        }] });
        let read = settings(&raw).expect("a revision");
        assert_eq!((read.port, read.memory, read.startup), (Some(3000), Some(Mebibytes(512)), None));
        let mut own = raw;
        own["containers"][0]["startupProbe"] = json!({ "httpGet": { "path": "/healthz", "port": 3000 } });
        let check = settings(&own).expect("a revision").startup.expect("a probe").check;
        assert_eq!(check, ProbeCheck::Http { path: "/healthz".to_owned(), port: None });
        assert_eq!(settings(&json!({})).expect("an empty one").port, Some(8080));
    }
}
