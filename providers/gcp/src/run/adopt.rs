//! A live service as a carrack.toml would have it: what differs from Cloud Run's defaults, in words of ours where there
//! are some, else in its own.
use std::{collections::BTreeSet, time::Duration};

use carrack_core::{
    adopted::Adopted,
    json_path::{JsonPath, Part},
    observed::ObservedService,
    spec::{Egress, Ingress, Mebibytes, MilliCpu, Probe, ProbeCheck, Protocol, ServiceSpec},
};
use serde_json::{Map, Value};

use super::{
    schema::{self, Field, Root},
    unnamed::{NONCE, is_default},
    verdict::{Verdict, pattern, verdict},
    wire::{DEFAULT_PORT, ingress_index},
};

/// The account that a service runs as when none is named:
/// <https://cloud.google.com/run/docs/configuring/services/service-identity>.
const DEFAULT_ACCOUNT: &str = "-compute@developer.gserviceaccount.com";

pub(crate) fn adopt(live: &ObservedService) -> Adopted {
    let service = &live.raw["service"];
    let mut left = Vec::new();
    let of_volumes = Walk { mounted: None, left: Vec::new() };
    let volumes = own_volumes(&service["template"]["volumes"], of_volumes);
    let mut walk = Walk { mounted: Some(volumes), left: Vec::new() };
    let cloud = walk.message(Root::Service.message(), service, &JsonPath::default());
    left.append(&mut walk.left);
    Adopted { spec: spoken(live.spec.clone()), cloud: cloud.map(Value::Object), left }
}

/// The volumes that no key says, by their names.
fn own_volumes(volumes: &Value, mut walk: Walk) -> BTreeSet<String> {
    let at = JsonPath::default().key("template").key("volumes");
    let own = |volume: &&Value| walk.message("GoogleCloudRunV2Volume", volume, &at.and(Part::Entry(None))).is_some();
    let list = volumes.as_array().into_iter().flatten().filter(own);
    list.filter_map(|volume| volume["name"].as_str().map(str::to_owned)).collect()
}

struct Walk {
    /// The volumes whose mounts are said in the cloud's own words.
    mounted: Option<BTreeSet<String>>,
    left: Vec<String>,
}

impl Walk {
    fn message(&mut self, name: &str, value: &Value, at: &JsonPath) -> Option<Map<String, Value>> {
        let fields = schema::message(name)?;
        let mut said = Map::new();
        for (key, value) in value.as_object()? {
            let path = at.key(key);
            let Some(field) = fields.get(key) else {
                self.left.push(format!("`{path}`, which is newer than this version of Carrack"));
                continue;
            };
            let passes = verdict(Root::Service, &pattern(&path)) == Verdict::PassThrough;
            if field.read_only || !passes || is_default(key, value) {
                continue;
            }
            if let Some(value) = self.field(field, value, &path) {
                said.insert(key.clone(), value);
            }
        }
        (!said.is_empty()).then_some(said)
    }

    fn field(&mut self, field: &Field, value: &Value, at: &JsonPath) -> Option<Value> {
        if let Some(message) = &field.message {
            return self.message(message, value, at).map(Value::Object);
        }
        if let Some(message) = field.named_entries() {
            return self.entries(message, value, at);
        }
        if field.additional_properties.is_some() {
            let ours =
                |key: &String| *key != NONCE && verdict(Root::Service, &pattern(&at.key(key))) == Verdict::PassThrough;
            let map: Map<String, Value> =
                value.as_object()?.iter().filter(|(key, _)| ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
            return (!map.is_empty()).then_some(Value::Object(map));
        }
        // A list of messages that has something of a key's is that key's.
        if let Some(message) = field.items.as_ref().and_then(|items| items.message.as_deref()) {
            let item = at.and(Part::Entry(None));
            let whole = |message: &str| {
                let fields = schema::message(message).into_iter().flatten();
                fields
                    .into_iter()
                    .all(|(key, _)| verdict(Root::Service, &pattern(&item.key(key))) == Verdict::PassThrough)
            };
            return whole(message).then(|| value.clone());
        }
        Some(value.clone())
    }

    fn entries(&mut self, message: &str, value: &Value, at: &JsonPath) -> Option<Value> {
        let list = value.as_array()?;
        let (containers, mounts) = (message.ends_with("Container"), message.ends_with("VolumeMount"));
        let main = ingress_index(list);
        let mut said = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let name = entry["name"].as_str().unwrap_or_default();
            if mounts && !self.mounted.as_ref().is_some_and(|own| own.contains(name)) {
                continue;
            }
            let named = !(containers && index == main);
            let path = at.and(Part::Entry(named.then(|| name.to_owned())));
            let Some(mut map) = self.message(message, entry, &path) else { continue };
            if named {
                map.insert("name".to_owned(), Value::String(name.to_owned()));
            }
            said.push(Value::Object(map));
        }
        (!said.is_empty()).then_some(Value::Array(said))
    }
}

/// Without what the cloud fills in by itself: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>.
fn spoken(mut spec: ServiceSpec) -> ServiceSpec {
    spec.port = spec.port.filter(|port| *port != DEFAULT_PORT);
    spec.protocol = spec.protocol.filter(|protocol| *protocol != Protocol::Http1);
    spec.ingress = spec.ingress.filter(|ingress| *ingress != Ingress::All);
    spec.timeout = spec.timeout.filter(|timeout| *timeout != Duration::from_secs(300));
    spec.session_affinity = spec.session_affinity.filter(|on| *on);
    spec.default_url = spec.default_url.filter(|on| !on);
    spec.invoker_check = spec.invoker_check.filter(|on| !on);
    // Without the check it is open whatever the policy says; a new service is private.
    spec.public = spec.public.filter(|public| *public && spec.invoker_check.is_none());
    let scaling = &mut spec.scaling;
    scaling.min = scaling.min.filter(|min| *min > 0 && scaling.instances.is_none());
    scaling.max = scaling.max.filter(|max| *max != 100 && scaling.instances.is_none());
    scaling.concurrency = scaling.concurrency.filter(|requests| *requests != 80);
    let workload = &mut spec.workload;
    workload.service_account = workload.service_account.take().filter(|email| !email.ends_with(DEFAULT_ACCOUNT));
    workload.execution_environment = workload.execution_environment.take().filter(|word| word != "gen2");
    workload.network.egress = workload.network.egress.filter(|egress| *egress != Egress::PrivateRanges);
    let main = &mut workload.main;
    main.cpu = main.cpu.filter(|cpu| *cpu != MilliCpu(1000));
    main.memory = main.memory.filter(|memory| *memory != Mebibytes(512));
    main.cpu_always = main.cpu_always.filter(|on| *on);
    main.startup_boost = main.startup_boost.filter(|on| *on);
    main.probes.startup = main.probes.startup.take().filter(|probe| *probe != filled_in());
    spec
}

/// What a container without a check of its start gets: <https://cloud.google.com/run/docs/configuring/healthchecks>.
fn filled_in() -> Probe {
    Probe {
        check: ProbeCheck::Tcp { port: None },
        delay: Duration::ZERO,
        period: Duration::from_secs(240),
        timeout: Duration::from_secs(240),
        failures: 1,
    }
}
