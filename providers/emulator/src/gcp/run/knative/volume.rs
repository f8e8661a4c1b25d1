//! Volumes: secrets, memory and disk, buckets, NFS, and Cloud SQL, which v1 has as an annotation.
use serde_json::{Map, Value, json};

use super::container::{Aliases, Before, alias, copy, only};
use crate::gcp::status::Status;

pub(super) const CLOUD_SQL: &str = "run.googleapis.com/cloudsql-instances";
/// <https://cloud.google.com/run/docs/configuring/services/cloud-storage-volume-mounts>
const BUCKETS: &str = "gcsfuse.run.googleapis.com";

/// Whether secrets, and Cloud SQL's instances, are named as they were `before` is `same`: then what was stays.
pub(super) fn to_v2(
    spec: &Value,
    sql: Option<&str>,
    aliases: &Aliases,
    before: &Before,
    [same_secrets, same_sql]: [bool; 2],
) -> Result<Vec<Value>, Status> {
    let stored = before.v2["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (databases, others): (Vec<_>, Vec<_>) =
        stored.iter().partition(|volume| volume.get("cloudSqlInstance").is_some());
    if same_secrets && same_sql && spec.get("volumes") == before.spec.get("volumes") {
        return Ok(stored.to_vec());
    }
    let mut volumes = Vec::new();
    for (index, given) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let shown = before.spec["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(old) =
            shown.iter().position(|old| old == given).filter(|_| same_secrets).and_then(|at| others.get(at))
        {
            volumes.push((*old).clone());
            continue;
        }
        let mut volume = only(given, &["name", "nfs", "filestore"]);
        if let Some(secret) = given.get("secret") {
            volume["secret"] = secret_to_v2(secret, aliases);
        } else if let Some(folder) = given.get("emptyDir") {
            volume["emptyDir"] = only(folder, &["sizeLimit"]);
            match folder["medium"].as_str().unwrap_or_default().to_ascii_lowercase().as_str() {
                "memory" => volume["emptyDir"]["medium"] = json!("MEMORY"),
                "disk" => volume["emptyDir"]["medium"] = json!("DISK"),
                _ => {}
            }
        } else if let Some(csi) = given.get("csi").filter(|csi| csi["driver"] == BUCKETS) {
            volume["gcs"] = bucket_to_v2(csi);
        } else if given.get("nfs").is_none() && given.get("filestore").is_none() {
            return Err(Status::invalid(format!("spec.template.spec.volumes[{index}]: no volume of a known kind.")));
        }
        volumes.push(volume);
    }
    if same_sql {
        volumes.extend(databases.into_iter().cloned());
    } else if let Some(instances) = sql.filter(|instances| !instances.is_empty()) {
        let instances: Vec<_> = instances.split(',').map(str::trim).collect();
        volumes.push(json!({ "name": "cloudsql", "cloudSqlInstance": { "instances": instances } }));
    }
    Ok(volumes)
}

fn secret_to_v2(given: &Value, aliases: &Aliases) -> Value {
    let name = given["secretName"].as_str().unwrap_or_default();
    let mut secret = json!({ "secret": aliases.get(name).map_or(name, String::as_str) });
    if let Some(mode) = given.get("defaultMode") {
        secret["defaultMode"] = mode.clone();
    }
    let items: Vec<_> = given["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let mut kept = only(item, &["path", "mode"]);
            kept["version"] = item["key"].clone();
            kept
        })
        .collect();
    if !items.is_empty() {
        secret["items"] = json!(items);
    }
    secret
}

fn bucket_to_v2(given: &Value) -> Value {
    let attributes = &given["volumeAttributes"];
    let mut bucket = only(given, &["readOnly"]);
    bucket["bucket"] = attributes["bucketName"].clone();
    if let Some(options) = attributes["mountOptions"].as_str() {
        bucket["mountOptions"] = json!(options.split(',').collect::<Vec<_>>());
    }
    bucket
}

/// v1's volumes of a v2 template, and the annotation for Cloud SQL.
pub(super) fn from_v2(template: &Value, annotations: &mut Map<String, Value>, aliases: &mut Aliases) -> Vec<Value> {
    let mut volumes = Vec::new();
    let mut databases: Vec<&str> = Vec::new();
    for source in template["volumes"].as_array().into_iter().flatten() {
        if let Some(instances) = source["cloudSqlInstance"]["instances"].as_array() {
            databases.extend(instances.iter().filter_map(Value::as_str));
            continue;
        }
        let mut volume = only(source, &["name", "nfs", "filestore"]);
        if let Some(secret) = source.get("secret") {
            volume["secret"] = secret_from_v2(secret, aliases);
        }
        if let Some(folder) = source.get("emptyDir") {
            volume["emptyDir"] = only(folder, &["sizeLimit"]);
            match folder["medium"].as_str() {
                Some("MEMORY") => volume["emptyDir"]["medium"] = json!("Memory"),
                Some("DISK") => volume["emptyDir"]["medium"] = json!("Disk"),
                _ => {}
            }
        }
        if let Some(bucket) = source.get("gcs") {
            let mut attributes = json!({ "bucketName": bucket["bucket"] });
            if let Some(options) = bucket["mountOptions"].as_array() {
                let options: Vec<_> = options.iter().filter_map(Value::as_str).collect();
                attributes["mountOptions"] = json!(options.join(","));
            }
            volume["csi"] = only(bucket, &["readOnly"]);
            volume["csi"]["driver"] = json!(BUCKETS);
            volume["csi"]["volumeAttributes"] = attributes;
        }
        volumes.push(volume);
    }
    if !databases.is_empty() {
        annotations.insert(CLOUD_SQL.to_owned(), json!(databases.join(",")));
    }
    volumes
}

fn secret_from_v2(source: &Value, aliases: &mut Aliases) -> Value {
    let mut secret = Map::new();
    secret.insert("secretName".to_owned(), json!(alias(source["secret"].as_str().unwrap_or_default(), aliases)));
    copy(source, "defaultMode", &mut secret);
    let items: Vec<_> = source["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let mut kept = only(item, &["path", "mode"]);
            kept["key"] = json!(item["version"].as_str().unwrap_or("latest"));
            kept
        })
        .collect();
    if !items.is_empty() {
        secret.insert("items".to_owned(), json!(items));
    }
    Value::Object(secret)
}
