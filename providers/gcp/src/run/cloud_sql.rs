//! Cloud SQL through sockets: a volume of instances, mounted where every client looks for them.
//! <https://cloud.google.com/sql/docs/postgres/connect-run#public-ip-default>
use serde_json::{Value, json};

use super::edit::array;

const FOLDER: &str = "/cloudsql";
/// As gcloud and the console call it.
const NAME: &str = "cloudsql";

/// The instances that the container at `index` reaches.
pub(super) fn read(template: &Value, index: usize) -> Option<Vec<String>> {
    let names = mounted(template, index);
    let volumes = list(&template["volumes"]).iter().filter(|volume| names.contains(&name(volume)));
    let instances = volumes.flat_map(|volume| list(&volume["cloudSqlInstance"]["instances"]));
    let instances: Vec<String> = instances.filter_map(|instance| instance.as_str().map(str::to_owned)).collect();
    (!instances.is_empty()).then_some(instances)
}

/// Lets the container at `index` reach `instances` and no others. Other volumes stay as and where they are.
pub(super) fn set(template: &mut Value, index: usize, instances: &[String]) {
    let mut names = mounted(template, index);
    if !instances.is_empty() {
        if names.is_empty() {
            let name = free_name(template);
            array(template, "volumes").push(json!({ "name": name, "cloudSqlInstance": {} }));
            let mount = json!({ "name": name, "mountPath": FOLDER });
            array(&mut template["containers"][index], "volumeMounts").push(mount);
            names.push(name);
        }
        let first = names.remove(0);
        for volume in array(template, "volumes").iter_mut().filter(|volume| name(volume) == first) {
            volume["cloudSqlInstance"]["instances"] = json!(instances);
        }
    }
    for gone in names {
        unmount(template, index, &gone);
    }
}

/// The volume goes with its last mount.
fn unmount(template: &mut Value, index: usize, gone: &str) {
    remove(&mut template["containers"][index], "volumeMounts", gone);
    let mounts = list(&template["containers"]).iter().flat_map(|container| list(&container["volumeMounts"]));
    if !mounts.into_iter().any(|mount| name(mount) == gone) {
        remove(template, "volumes", gone);
    }
}

fn remove(parent: &mut Value, key: &str, gone: &str) {
    let entries = array(parent, key);
    entries.retain(|entry| name(entry) != gone);
    if entries.is_empty()
        && let Some(map) = parent.as_object_mut()
    {
        map.remove(key);
    }
}

fn mounted(template: &Value, index: usize) -> Vec<String> {
    let mounts = list(&template["containers"][index]["volumeMounts"]);
    let databases = list(&template["volumes"]).iter().filter(|volume| volume["cloudSqlInstance"].is_object());
    databases.map(name).filter(|volume| mounts.iter().any(|mount| name(mount) == *volume)).collect()
}

fn free_name(template: &Value) -> String {
    let taken = |wanted: &str| list(&template["volumes"]).iter().any(|volume| name(volume) == wanted);
    let numbered = (2..).map(|number| format!("{NAME}-{number}"));
    std::iter::once(NAME.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn name(entry: &Value) -> String {
    entry["name"].as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn instances_come_and_go_with_their_volume() {
        let mut template =
            json!({ "containers": [{ "image": "i" }], "volumes": [{ "name": "cloudsql", "emptyDir": {} }] });
        let before = template.clone();
        set(&mut template, 0, &instances(&["p:l:one", "p:l:two"]));
        assert_eq!(template["volumes"][1]["name"], "cloudsql-2");
        assert_eq!(
            template["containers"][0]["volumeMounts"],
            json!([{ "name": "cloudsql-2", "mountPath": "/cloudsql" }])
        );
        assert_eq!(read(&template, 0), Some(instances(&["p:l:one", "p:l:two"])));
        set(&mut template, 0, &instances(&["p:l:two"]));
        assert_eq!(read(&template, 0), Some(instances(&["p:l:two"])));
        set(&mut template, 0, &[]);
        assert_eq!(template, before);
    }

    #[test]
    fn a_sidecar_keeps_what_it_reaches() {
        let mount = json!({ "name": "sql", "mountPath": "/cloudsql" });
        let mut template = json!({
            "containers": [{ "volumeMounts": [mount] }, { "volumeMounts": [mount] }],
            "volumes": [{ "name": "sql", "cloudSqlInstance": { "instances": ["p:l:one"] } }],
        });
        set(&mut template, 0, &[]);
        assert_eq!((read(&template, 0), read(&template, 1)), (None, Some(instances(&["p:l:one"]))));
    }
}
