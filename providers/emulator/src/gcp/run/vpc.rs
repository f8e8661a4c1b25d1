//! The way into a private network: what Cloud Run refuses of it, and what is said of it where there is no such network.
use serde_json::Value;

use super::rules::invalid;
use crate::gcp::status::Status;

/// One way, and only one interface:
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#vpcaccess>
pub(super) fn check(at: &str, template: &Value) -> Result<(), Status> {
    let access = &template["vpcAccess"];
    let path = format!("{at}.vpc_access");
    let interfaces = access["networkInterfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    if named(&access["connector"]) && !interfaces.is_empty() {
        return Err(invalid(&path, "only one of connector and network_interfaces may be set."));
    }
    if interfaces.len() > 1 {
        return Err(invalid(&format!("{path}.network_interfaces"), "only a single network interface is supported."));
    }
    if !interfaces.iter().all(|interface| named(&interface["network"]) || named(&interface["subnetwork"])) {
        let path = format!("{path}.network_interfaces[0]");
        return Err(invalid(&path, "at least one of network and subnetwork must be specified."));
    }
    Ok(())
}

fn named(name: &Value) -> bool {
    name.as_str().is_some_and(|name| !name.is_empty())
}

/// What a revision asks for that makes no difference on one machine.
pub(super) fn told(template: &Value) -> Vec<String> {
    let mut told = Vec::new();
    let access = &template["vpcAccess"];
    let interface = &access["networkInterfaces"][0];
    let ways =
        [("connector", &access["connector"]), ("network", &interface["network"]), ("subnet", &interface["subnetwork"])];
    if let Some((what, way)) = ways.into_iter().find(|(_, way)| named(way)) {
        let which =
            if access["egress"] == "ALL_TRAFFIC" { "All outgoing requests" } else { "Those to private addresses" };
        let way = way.as_str().unwrap_or_default();
        told.push(format!("{which} would go by the {what} '{way}', which the local cloud does not have."));
    }
    if template["executionEnvironment"] == "EXECUTION_ENVIRONMENT_GEN1" {
        told.push("The local cloud has no first generation: its containers see the machine's own kernel.".to_owned());
    }
    let resources = || template["containers"].as_array().into_iter().flatten().map(|container| &container["resources"]);
    if resources().any(|resources| resources.is_object() && resources["cpuIdle"] != true) {
        told.push("The containers have their CPU also between requests, as is asked for; the local cloud never takes it away.".to_owned());
    }
    if resources().any(|resources| resources["startupCpuBoost"] == true) {
        told.push(
            "The containers have more CPU while they start, as is asked for; the local cloud never limits it."
                .to_owned(),
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_ways_and_none_are_refused() {
        let refused =
            |access: Value| check("template", &json!({ "vpcAccess": access })).err().map(|status| status.message);
        let network = json!([{ "network": "n" }]);
        assert_eq!(refused(Value::Null), None);
        assert_eq!(refused(json!({ "connector": "c" })), None);
        assert_eq!(refused(json!({ "networkInterfaces": network })), None);
        for access in [
            json!({ "connector": "c", "networkInterfaces": network }),
            json!({ "networkInterfaces": [{ "tags": ["t"] }] }),
            json!({ "networkInterfaces": [{ "network": "n" }, { "network": "m" }] }),
        ] {
            assert!(refused(access.clone()).is_some_and(|text| text.starts_with("template.vpc_access")), "{access}");
        }
    }

    #[test]
    fn what_is_asked_for_and_makes_no_difference_is_told() {
        let plain = json!({ "containers": [{ "resources": { "cpuIdle": true } }] });
        assert_eq!(told(&plain), [""; 0]);
        let template = json!({
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN1",
            "vpcAccess": { "egress": "ALL_TRAFFIC", "networkInterfaces": [{ "network": "n" }] },
            "containers": [{ "resources": { "startupCpuBoost": true } }],
        });
        assert_eq!(told(&template).len(), 4);
        assert!(told(&template)[0].starts_with("All outgoing requests would go by the network 'n'"));
    }
}
