//! The way into a private network: through a connector, or as a part of the network.
//! <https://cloud.google.com/run/docs/configuring/vpc-direct-vpc>, <https://cloud.google.com/run/docs/configuring/vpc-connectors>
use std::borrow::Cow;

use carrack_core::{
    Result,
    spec::{Egress, Network, ServiceRef, ServiceSpec},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    edit::{array, object, set as put},
    secret_names::Own,
    wire,
};

const EGRESS: [(Egress, &str); 2] = [(Egress::PrivateRanges, "PRIVATE_RANGES_ONLY"), (Egress::All, "ALL_TRAFFIC")];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VpcAccess {
    connector: String,
    egress: String,
    network_interfaces: Vec<Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interface {
    network: String,
    subnetwork: String,
    tags: Vec<String>,
}

pub(super) fn read(template: &Value, own: &Own<'_>) -> Result<Network> {
    if !template["vpcAccess"].is_object() {
        return Ok(Network::default());
    }
    let access: VpcAccess = wire::read(&template["vpcAccess"])?;
    let name = |name: &str| (!name.is_empty()).then(|| shortest(name, own).to_owned());
    let interface = access.network_interfaces.into_iter().next().unwrap_or_default();
    Ok(Network {
        connector: name(&access.connector),
        network: name(&interface.network),
        subnet: name(&interface.subnetwork),
        tags: (!interface.tags.is_empty()).then_some(interface.tags),
        egress: EGRESS.iter().find(|(_, word)| *word == access.egress).map(|(egress, _)| *egress),
    })
}

/// What is in the own project goes by its short name, as the file has it; the region is the service's own anyway.
fn shortest<'a>(name: &'a str, own: &Own<'_>) -> &'a str {
    let project = name.strip_prefix("projects/").and_then(|rest| rest.split('/').next());
    match (project.is_some_and(|project| own.is(project)), name.rsplit_once('/')) {
        (true, Some((_, short))) => short,
        _ => name,
    }
}

/// Writes one key; [`tidy`] then takes away what has become empty.
pub(super) fn set(template: &mut Value, key: &str, wanted: &Network) {
    let text = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).map(|text| json!(text));
    let access = object(template, "vpcAccess");
    match key {
        "connector" => put(access, "connector", text(&wanted.connector)),
        "network" => put(interface(access), "network", text(&wanted.network)),
        "subnet" => put(interface(access), "subnetwork", text(&wanted.subnet)),
        "tags" => {
            let tags = wanted.tags.as_ref().filter(|tags| !tags.is_empty());
            put(interface(access), "tags", tags.map(|tags| json!(tags)));
        }
        "egress" => {
            let word = wanted.egress.and_then(|asked| EGRESS.iter().find(|(egress, _)| *egress == asked));
            put(access, "egress", word.map(|(_, word)| json!(word)));
        }
        _ => {}
    }
}

fn interface(access: &mut Value) -> &mut Value {
    let interfaces = array(access, "networkInterfaces");
    if interfaces.is_empty() {
        interfaces.push(json!({}));
    }
    &mut interfaces[0]
}

/// An interface without a network, and a way into nothing, are none.
pub(super) fn tidy(template: &mut Value) {
    let Some(access) = template.get_mut("vpcAccess") else { return };
    let named = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if let Some(Value::Array(interfaces)) = access.get_mut("networkInterfaces") {
        interfaces.retain(|interface| named(&interface["network"]) || named(&interface["subnetwork"]));
        if interfaces.is_empty() {
            put(access, "networkInterfaces", None);
        }
    }
    if !named(&access["connector"]) && access.get("networkInterfaces").is_none() {
        put(template, "vpcAccess", None);
    }
}

/// `spec` with the connector by its whole name, the only one that Cloud Run takes:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#vpcaccess>
pub(super) fn whole<'a>(spec: &'a ServiceSpec, target: &ServiceRef) -> Cow<'a, ServiceSpec> {
    let Some(name) = spec.workload.network.connector.as_ref().filter(|name| !name.is_empty() && !name.contains('/'))
    else {
        return Cow::Borrowed(spec);
    };
    let mut whole = spec.clone();
    whole.workload.network.connector =
        Some(format!("projects/{}/locations/{}/connectors/{name}", target.scope, target.region));
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use carrack_core::fields::fields;

    use super::*;
    use crate::run::{edit::edit, wire::from_wire};

    fn after(access: Value, write: &[&str], wanted: Network) -> Value {
        let raw = json!({ "service": {
            "name": "projects/p/locations/l/services/s", "template": { "vpcAccess": access },
        }, "policy": {} });
        let mut spec = ServiceSpec::default();
        spec.workload.network = wanted;
        let write = write.iter().map(|key| format!("network.{key}")).chain(fields(&spec).into_keys()).collect();
        edit(&raw, &spec, &write).unwrap()["service"]["template"]["vpcAccess"].take()
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_connector_gives_way_to_a_network_and_what_goes_that_way_stays() {
        let live = json!({ "connector": "projects/p/locations/l/connectors/c", "egress": "ALL_TRAFFIC" });
        let wanted = Network { network: text("n"), tags: Some(vec!["t".into()]), ..Network::default() };
        assert_eq!(
            after(live, &["connector"], wanted),
            json!({ "egress": "ALL_TRAFFIC", "networkInterfaces": [{ "network": "n", "tags": ["t"] }] })
        );
    }

    #[test]
    fn a_way_that_leads_nowhere_is_gone() {
        let live = json!({ "egress": "ALL_TRAFFIC", "networkInterfaces": [{ "network": "n", "tags": ["t"] }] });
        assert_eq!(after(live, &["tags"], Network { network: text(""), ..Network::default() }), Value::Null);
        let live = json!({ "connector": "c" });
        assert_eq!(after(live, &[], Network { connector: text(""), ..Network::default() }), Value::Null);
    }

    #[test]
    fn the_own_project_needs_no_whole_names() {
        let raw = |own: &str| {
            let name = |project: &str, rest: &str| format!("projects/{project}/{rest}");
            json!({ "service": { "name": "projects/p/locations/l/services/s", "template": { "vpcAccess": {
                "networkInterfaces": [{
                    "network": name(own, "global/networks/n"), "subnetwork": name("host", "regions/l/subnetworks/s"),
                }],
            } } }, "policy": {} })
        };
        let network = from_wire(&raw("p")).unwrap().workload.network;
        assert_eq!((network.network, network.subnet), (text("n"), text("projects/host/regions/l/subnetworks/s")));
        let other = from_wire(&raw("q")).unwrap().workload.network;
        assert_eq!(other.network, text("projects/q/global/networks/n"));
    }
}
