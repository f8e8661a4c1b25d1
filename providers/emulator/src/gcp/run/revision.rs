//! One revision: a template that does not change, and what became of it.
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    condition::{Condition, Failure, Since},
    etag,
    names::Key,
    store::HURRY,
    template,
};
use crate::{
    gcp::time::stamp,
    router::{Backend, backend::GRACE},
};

/// In a template and not in a revision.
const TEMPLATE_ONLY: [&str; 4] = ["revision", "healthCheckDisabled", "sandboxes", "ambientNetworking"];

#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) name: String,
    /// The service's generation that made it.
    pub(crate) generation: u64,
    /// The one that made it the latest one, or made it that again.
    pub(super) wanted_by: u64,
    /// As the service had it, without a revision's name.
    pub(crate) template: Value,
    pub(crate) state: State,
    /// Of each container's image, its name by digest; as many as were found.
    pub(crate) digests: Vec<String>,
    pub(crate) cancelled: CancellationToken,
    pub(super) created: Timestamp,
    uid: Uuid,
    updated: Timestamp,
    creator: String,
    launch_stage: Value,
    ready: Since,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    Pending,
    Ready(Arc<Backend>),
    Failed(Failure),
}

impl Revision {
    pub(crate) fn new(
        name: String,
        generation: u64,
        spec: &Value,
        creator: &str,
        cancelled: CancellationToken,
    ) -> Self {
        let now = Timestamp::now();
        Self {
            name,
            generation,
            wanted_by: generation,
            template: unnamed(&spec["template"]),
            state: State::Pending,
            digests: Vec::new(),
            cancelled,
            uid: Uuid::new_v4(),
            created: now,
            updated: now,
            creator: creator.to_owned(),
            launch_stage: spec["launchStage"].clone(),
            ready: Since::now(Condition::Reconciling),
        }
    }

    pub(crate) fn settle(&mut self, state: State) {
        self.ready.set(match &state {
            State::Pending => Condition::Reconciling,
            State::Ready(_) => Condition::Succeeded,
            State::Failed(failure) => Condition::Failed { message: failure.message.clone(), reason: failure.reason },
        });
        self.updated = Timestamp::now();
        self.state = state;
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            State::Pending | State::Ready(_) => None,
        }
    }

    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        match &self.state {
            State::Ready(backend) => Some(backend),
            State::Pending | State::Failed(_) => None,
        }
    }

    /// Of one that is forgotten: its instance stops. Nothing leads to it, but earlier requests may still be there;
    /// with the service's end there is no time for them.
    pub(super) async fn end(&self, closed: &CancellationToken) {
        if let Some(backend) = self.backend() {
            tokio::select! {
                () = backend.close(GRACE) => {}
                () = closed.cancelled() => backend.close(HURRY).await,
            }
        }
    }

    pub(crate) fn version(&self) -> i64 {
        self.updated.as_microsecond()
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services.revisions#Revision>
    pub(crate) fn render(&self, key: &Key) -> Value {
        template::shown(self.as_set(key))
    }

    /// With nothing that is only shown.
    pub(super) fn as_set(&self, key: &Key) -> Value {
        let mut value = self.template.clone();
        if let Some(fields) = value.as_object_mut() {
            for field in TEMPLATE_ONLY {
                fields.remove(field);
            }
        }
        value["name"] = json!(key.revision(&self.name));
        value["uid"] = json!(self.uid.to_string());
        value["generation"] = json!("1");
        value["createTime"] = json!(stamp(self.created));
        value["updateTime"] = json!(stamp(self.updated));
        value["creator"] = json!(self.creator);
        value["launchStage"] = self.launch_stage.clone();
        value["service"] = json!(key.service);
        value["etag"] = json!(etag::render(self.version()));
        value["logUri"] = json!(format!(
            "https://console.cloud.google.com/logs/viewer?project={}&resource=cloud_run_revision/service_name/{}/revision_name/{}",
            key.project, key.service, self.name
        ));
        value["conditions"] = json!([
            self.ready.render("Ready"),
            self.ready.render("ContainerHealthy"),
            self.ready.render("ContainerReady"),
            self.ready.render("ResourcesAvailable"),
        ]);
        match self.state {
            State::Pending => value["reconciling"] = json!(true),
            State::Ready(_) => value["observedGeneration"] = json!("1"),
            State::Failed(_) => {}
        }
        if !self.digests.is_empty() {
            let status = |(index, digest): (usize, &String)| {
                let mut status = json!({ "imageDigest": digest });
                if let Some(name) = self.template["containers"][index].get("name") {
                    status["name"] = name.clone();
                }
                status
            };
            value["containerStatuses"] = self.digests.iter().enumerate().map(status).collect();
        }
        value
    }
}

/// A name alone is no difference between two templates.
pub(crate) fn unnamed(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("revision");
    }
    template
}
