//! The parts of a service that are read; the rest stays in the raw resource.
//! Names are those of <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>.
use std::{collections::BTreeMap, time::Duration};

use carrack_core::{
    Error, ErrorKind, Result,
    observed::{ObservedService, Readiness, ServiceSummary, TrafficSplit},
    receipt::{self, Receipt},
    secret::LATEST,
    spec::{
        ContainerSpec, EnvValue, ImageRef, Mebibytes, MilliCpu, Probe, ProbeCheck, RevisionId, Scaling, SecretRef,
        ServiceSpec, WorkloadSpec,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    containers::{Surroundings, is_sidecar},
    mounts::{Mount, Volume},
    scalars,
    secret_names::Own,
    traffic::{LATEST as TO_LATEST, targets},
    volumes::Source,
};
use crate::iam;

/// Where the receipt is kept: on the template, and for service-level fields on the service.
pub(super) const RECEIPT: &str = "carrack.dev/receipt";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Service {
    name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) invoker_iam_disabled: bool,
    pub(super) template: Template,
    pub(super) terminal_condition: Condition,
    conditions: Vec<Condition>,
    pub(super) latest_created_revision: String,
    pub(super) latest_ready_revision: String,
    pub(super) traffic: Vec<Traffic>,
    pub(super) traffic_statuses: Vec<Traffic>,
    pub(super) uri: String,
    pub(super) reconciling: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Template {
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) scaling: RevisionScaling,
    pub(super) service_account: Option<String>,
    pub(super) containers: Vec<Container>,
    volumes: Vec<Volume>,
    pub(super) max_instance_request_concurrency: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RevisionScaling {
    min_instance_count: Option<u32>,
    max_instance_count: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    name: String,
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<Env>,
    pub(super) resources: Resources,
    ports: Vec<Port>,
    pub(super) volume_mounts: Vec<Mount>,
    pub(super) depends_on: Vec<String>,
    pub(super) working_dir: String,
    pub(super) startup_probe: Option<WireProbe>,
    pub(super) liveness_probe: Option<WireProbe>,
    pub(super) readiness_probe: Option<WireProbe>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) limits: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    #[serde(default)]
    container_port: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Env {
    pub(super) name: String,
    #[serde(default)]
    value: String,
    value_source: Option<ValueSource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueSource {
    secret_key_ref: Option<SecretKeyRef>,
}

#[derive(Debug, Deserialize)]
struct SecretKeyRef {
    secret: String,
    #[serde(default)]
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireProbe {
    initial_delay_seconds: Option<u32>,
    timeout_seconds: Option<u32>,
    period_seconds: Option<u32>,
    failure_threshold: Option<u32>,
    http_get: Option<HttpGet>,
    tcp_socket: Option<ProbePort>,
    grpc: Option<Grpc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpGet {
    path: String,
    port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProbePort {
    port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Grpc {
    port: Option<u16>,
    service: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    state: String,
    message: String,
    r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Traffic {
    pub(super) r#type: String,
    pub(super) revision: String,
    pub(super) percent: u8,
    pub(super) tag: String,
    pub(super) uri: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) create_time: String,
    pub(super) creator: String,
    pub(super) annotations: BTreeMap<String, String>,
    conditions: Vec<Condition>,
    reconciling: bool,
}

/// The port that Cloud Run takes when none is named: <https://cloud.google.com/run/docs/container-contract#port>.
pub(super) const DEFAULT_PORT: u16 = 8080;

pub(super) fn read<T: DeserializeOwned>(raw: &Value) -> Result<T> {
    T::deserialize(raw).map_err(|e| {
        Error::new(ErrorKind::Unclassified, "Cloud Run answered with a service in an unknown form").with_source(e)
    })
}

/// The last part of a resource's full name.
pub(super) fn short_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The container that gets the requests: the one with a port, else the first.
pub(super) fn ingress_index(containers: &[Value]) -> usize {
    let has_port = |container: &Value| container["ports"].as_array().is_some_and(|ports| !ports.is_empty());
    containers.iter().position(has_port).unwrap_or(0)
}

impl Condition {
    pub(super) fn readiness(&self, reconciling: bool) -> Readiness {
        match self.state.as_str() {
            // The condition is an outcome only once the cloud is done.
            _ if reconciling => Readiness::Progressing(self.message.clone()),
            "CONDITION_FAILED" => Readiness::Failed(self.message.clone()),
            "CONDITION_SUCCEEDED" => Readiness::Ready,
            _ => Readiness::Progressing(self.message.clone()),
        }
    }
}

impl Revision {
    pub(super) fn readiness(&self) -> Readiness {
        match self.conditions.iter().find(|condition| condition.r#type == "Ready") {
            Some(ready) => ready.readiness(self.reconciling),
            None => Readiness::Progressing(String::new()),
        }
    }
}

impl Service {
    /// Who gets how much traffic now, with "latest" told by its name.
    pub(super) fn traffic_split(&self) -> TrafficSplit {
        let mut split = TrafficSplit::default();
        for target in self.traffic_statuses.iter().filter(|target| target.percent > 0) {
            let latest = target.r#type == TO_LATEST && target.revision.is_empty();
            let name = if latest { &self.latest_ready_revision } else { &target.revision };
            *split.0.entry(RevisionId(short_name(name).to_owned())).or_default() += target.percent;
        }
        split
    }

    /// The tags of a revision, each with its URL.
    pub(super) fn tags_of(&self, revision: &RevisionId) -> BTreeMap<String, Option<String>> {
        let to = |target: &Traffic| match target.revision.is_empty() {
            true => short_name(&self.latest_ready_revision) == revision.0,
            false => short_name(&target.revision) == revision.0,
        };
        let own = self.traffic_statuses.iter().filter(|target| !target.tag.is_empty() && to(target));
        own.map(|target| (target.tag.clone(), (!target.uri.is_empty()).then(|| target.uri.clone()))).collect()
    }

    fn summary(&self, spec: &ServiceSpec) -> ServiceSummary {
        ServiceSummary {
            secrets: spec.workload.live_secrets(),
            name: short_name(&self.name).to_owned(),
            url: (!self.uri.is_empty()).then(|| self.uri.clone()),
            readiness: self.terminal_condition.readiness(self.reconciling),
            ours: self.annotations.contains_key(RECEIPT) || self.template.annotations.contains_key(RECEIPT),
        }
    }

    /// Service-level fields are recorded on the service, the others on the template.
    fn receipt(&self, image: Option<&ImageRef>) -> Result<Option<Receipt>> {
        let (template, service) = (parse_receipt(&self.template.annotations)?, parse_receipt(&self.annotations)?);
        let of_service = service.as_ref().map(|service| service.owned.clone()).unwrap_or_default();
        let Some(mut receipt) = template.or(service) else { return Ok(None) };
        receipt.owned.extend(of_service);
        receipt.owned.sort();
        receipt.owned.dedup();
        Ok(Some(receipt.of_image(image)))
    }
}

/// One of a listing.
pub(super) fn summary(raw: &Value) -> Result<ServiceSummary> {
    let service: Service = read(raw)?;
    Ok(service.summary(&from_wire(&json!({ "service": raw }))?))
}

/// What stands on one revision.
pub(super) fn receipt_of(annotations: &BTreeMap<String, String>, image: Option<&ImageRef>) -> Result<Option<Receipt>> {
    Ok(parse_receipt(annotations)?.map(|receipt| receipt.of_image(image)))
}

/// What stands on the live template, whatever image it is about.
pub(super) fn receipt_of_template(template: &Value) -> Result<Option<Receipt>> {
    parse_receipt(&read::<Template>(template)?.annotations)
}

fn parse_receipt(annotations: &BTreeMap<String, String>) -> Result<Option<Receipt>> {
    let Some(text) = annotations.get(RECEIPT) else { return Ok(None) };
    match serde_json::from_str::<Receipt>(text) {
        Ok(receipt) if receipt.format <= receipt::FORMAT => Ok(Some(receipt)),
        Ok(_) => Err(unreadable_receipt("is of a newer version")),
        Err(cause) => Err(unreadable_receipt("cannot be read").with_source(cause)),
    }
}

/// Going on without it would forget which fields are ours.
fn unreadable_receipt(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("its annotation `{RECEIPT}` {why}"))
        .hint("use the version of Carrack that deployed it last, or a newer one")
}

/// `raw` is `{"service": …, "policy": … or null}`.
pub(super) fn observed(raw: Value) -> Result<ObservedService> {
    let service: Service = read(&raw["service"])?;
    let revision = |name: &str| (!name.is_empty()).then(|| RevisionId(short_name(name).to_owned()));
    let spec = from_wire(&raw)?;
    Ok(ObservedService {
        receipt: service.receipt(spec.workload.main.image.as_ref())?,
        spec,
        traffic: service.traffic_split(),
        targets: targets(&service),
        latest: revision(&service.latest_created_revision),
        latest_ready: revision(&service.latest_ready_revision),
        url: (!service.uri.is_empty()).then(|| service.uri.clone()),
        readiness: service.terminal_condition.readiness(service.reconciling),
        conditions: service.conditions.iter().map(|one| (one.r#type.clone(), one.readiness(false))).collect(),
        raw,
    })
}

/// The live resource in neutral words. What the cloud leaves out of its JSON because it is zero is filled in.
pub(super) fn from_wire(raw: &Value) -> Result<ServiceSpec> {
    let service: Service = read(&raw["service"])?;
    let index = raw["service"]["template"]["containers"].as_array().map_or(0, |list| ingress_index(list));
    let template = service.template;
    let own = Own::of(&raw["service"]);
    let volumes = match &raw["service"]["template"]["volumes"] {
        Value::Array(list) => list.iter().map(read::<Source>).collect::<Result<Vec<_>>>()?,
        _ => Vec::new(),
    };
    let volumes = volumes.iter().filter_map(Source::neutral).collect();
    let name = template.containers.get(index).map_or_else(String::new, |main| main.name.clone());
    let surroundings = Surroundings { all: &template.volumes, volumes: &volumes, own: &own, main: name };
    let (mut main, mut sidecars, mut port) = (ContainerSpec::default(), BTreeMap::new(), None);
    for (place, container) in template.containers.into_iter().enumerate() {
        if place == index {
            port = container.ports.first().and_then(|port| port.container_port);
            main = surroundings.neutral(container, Some(port.unwrap_or(DEFAULT_PORT)));
        } else if is_sidecar(&container.name) {
            sidecars.insert(container.name.clone(), surroundings.neutral(container, None));
        }
    }
    let policy = &raw["policy"];
    let public =
        if service.invoker_iam_disabled { Some(true) } else { policy.is_object().then(|| iam::is_public(policy)) };
    let mut spec = ServiceSpec {
        port,
        public,
        scaling: Scaling {
            min: Some(template.scaling.min_instance_count.unwrap_or(0)),
            max: template.scaling.max_instance_count,
            concurrency: template.max_instance_request_concurrency,
            ..Scaling::default()
        },
        workload: WorkloadSpec {
            service_account: template.service_account,
            labels: service.labels,
            main,
            sidecars,
            volumes,
            ..WorkloadSpec::default()
        },
        ..ServiceSpec::default()
    };
    scalars::read(&raw["service"], index, &own, &mut spec)?;
    Ok(spec)
}

impl Env {
    pub(super) fn neutral(self, own: &Own<'_>) -> EnvValue {
        let Some(source) = self.value_source.and_then(|source| source.secret_key_ref) else {
            return EnvValue::Plain(self.value);
        };
        let version = if source.version.is_empty() { LATEST.to_owned() } else { source.version };
        EnvValue::Secret(SecretRef { name: own.shortest(&source.secret).to_owned(), version })
    }
}

impl WireProbe {
    /// Defaults are those of <https://cloud.google.com/run/docs/reference/rest/v2/Container#Probe>.
    pub(super) fn neutral(self, own_port: u16) -> Option<Probe> {
        let other = |port: Option<u16>| port.filter(|port| *port != own_port && *port != 0);
        let check = if let Some(http) = self.http_get {
            let path = if http.path.is_empty() { "/".to_owned() } else { http.path };
            ProbeCheck::Http { path, port: other(http.port) }
        } else if let Some(tcp) = self.tcp_socket {
            ProbeCheck::Tcp { port: other(tcp.port) }
        } else {
            let grpc = self.grpc?;
            ProbeCheck::Grpc { port: other(grpc.port), service: grpc.service.filter(|service| !service.is_empty()) }
        };
        let seconds = |value: Option<u32>, default| Duration::from_secs(value.unwrap_or(default).into());
        Some(Probe {
            check,
            delay: seconds(self.initial_delay_seconds, 0),
            period: seconds(self.period_seconds, 10),
            timeout: seconds(self.timeout_seconds, 1),
            failures: self.failure_threshold.unwrap_or(3),
        })
    }
}

/// `1`, `0.5` or `500m`: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
pub(super) fn parse_cpu(text: &str) -> Option<MilliCpu> {
    if let Some(milli) = text.strip_suffix('m') {
        return milli.parse().ok().map(MilliCpu);
    }
    let cpu: f64 = text.parse().ok()?;
    (0.0..=1000.0).contains(&cpu).then(|| MilliCpu((cpu * 1000.0).round() as u32))
}

/// Whole mebibytes; a size in other units is rounded down.
pub(super) fn parse_memory(text: &str) -> Option<Mebibytes> {
    const UNITS: [(&str, f64); 7] =
        [("Ki", 1024.0), ("Mi", 1_048_576.0), ("Gi", 1_073_741_824.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)];
    let (number, unit) = UNITS.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))?;
    let bytes = number.parse::<f64>().ok()? * unit;
    (bytes >= 0.0).then(|| Mebibytes((bytes / 1_048_576.0) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let cpu = ["1", "1000m", "0.5", "250m", "x"].map(parse_cpu);
        assert_eq!(cpu, [Some(MilliCpu(1000)), Some(MilliCpu(1000)), Some(MilliCpu(500)), Some(MilliCpu(250)), None]);
        let memory = ["512Mi", "1Gi", "1G", "536870912", "x"].map(parse_memory);
        assert_eq!(
            memory,
            [Some(Mebibytes(512)), Some(Mebibytes(1024)), Some(Mebibytes(953)), Some(Mebibytes(512)), None]
        );
    }
}
