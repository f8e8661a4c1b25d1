//! Containers: the same in both shapes but for environment, probes and what v1 says by annotations.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    annotations::{Annotations, invalid},
    template::SECRETS,
};
use crate::gcp::{project, status::Status};

pub(super) const THROTTLING: &str = "run.googleapis.com/cpu-throttling";
pub(super) const BOOST: &str = "run.googleapis.com/startup-cpu-boost";
pub(super) const DEPENDENCIES: &str = "run.googleapis.com/container-dependencies";
pub(super) const BASE_IMAGES: &str = "run.googleapis.com/base-images";

/// The same name and form in both.
const SAME: [&str; 6] = ["name", "image", "command", "args", "workingDir", "sandboxLauncher"];
const PROBES: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];
/// <https://cloud.google.com/run/docs/reference/rest/v1/Container>: not supported by Cloud Run.
const UNSUPPORTED: [&str; 5] =
    ["envFrom", "imagePullPolicy", "securityContext", "terminationMessagePath", "terminationMessagePolicy"];

/// What v2 has of a container and v1 no word for: a change by v1 leaves it as it is.
const UNSPOKEN: [&str; 2] = ["sourceCode", "buildConfig"];
const CPU: [&str; 2] = ["cpuIdle", "startupCpuBoost"];

/// What a change is to replace: as v2 has it, and as v1 shows it.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) v2: Value,
    pub(super) spec: Value,
    pub(super) annotations: Map<String, Value>,
}

impl Before {
    /// Whether an annotation is what it was.
    pub(super) fn says(&self, annotations: &Annotations, name: &str) -> bool {
        annotations.get(name) == self.annotations.get(name).and_then(Value::as_str)
    }

    /// The container that `given[index]` was, in both shapes: by its name, and one without a name by its place among
    /// those. The only one goes by any name.
    fn container(&self, given: &[Value], index: usize) -> Option<(&Value, &Value)> {
        let (v2, v1) = (self.v2["containers"].as_array()?, self.spec["containers"].as_array()?);
        let nth = |all: &[Value], index: usize| {
            all.iter()
                .take(index)
                .filter(|one| one.get("name") == all.get(index).and_then(|one| one.get("name")))
                .count()
        };
        let place = (given.get(index)?.get("name"), nth(given, index));
        let index = match v2.as_slice() {
            [_] if given.len() == 1 => 0,
            all => (0..all.len()).find(|index| (all[*index].get("name"), nth(all, *index)) == place)?,
        };
        Some((v2.get(index)?, v1.get(index)?))
    }
}

/// Secrets of other projects by the names that the template gives them:
/// <https://cloud.google.com/run/docs/configuring/services/secrets>
pub(super) type Aliases = BTreeMap<String, String>;

/// `ALIAS:projects/999/secrets/x,…`.
pub(super) fn aliases(text: &str) -> Result<Aliases, Status> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| match entry.split_once(':') {
            Some((alias, secret)) if !alias.is_empty() && secret.starts_with("projects/") => {
                Ok((alias.to_owned(), secret.to_owned()))
            }
            _ => Err(invalid("run.googleapis.com/secrets", entry)),
        })
        .collect()
}

/// `containers` of a v1 spec in v2's shape. A job's have no CPU setting in v1.
pub(super) fn to_v2(
    spec: &Value,
    annotations: &mut Annotations,
    aliases: &Aliases,
    before: &Before,
    service: bool,
) -> Result<Vec<Value>, Status> {
    let same_secrets = before.says(annotations, SECRETS);
    // One setting for all says nothing of containers that differ.
    let same_cpu = [THROTTLING, BOOST].map(|name| !service || before.says(annotations, name));
    let switch = |annotations: &mut Annotations, name: &str| match annotations.take(name) {
        None => Ok(None),
        Some(text) => text.to_ascii_lowercase().parse::<bool>().map(Some).map_err(|_| invalid(name, &text)),
    };
    let map = |annotations: &mut Annotations, name: &str| match annotations.take(name) {
        None => Ok(json!({})),
        Some(text) => flow(&text).ok_or_else(|| invalid(name, &text)),
    };
    let throttled = switch(annotations, THROTTLING)?.unwrap_or(true);
    let boost = switch(annotations, BOOST)?;
    let dependencies = map(annotations, DEPENDENCIES)?;
    let bases = map(annotations, BASE_IMAGES)?;
    let mut containers = Vec::new();
    let all = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, given) in all.iter().enumerate() {
        let path = format!("spec.template.spec.containers[{index}]");
        let old = before.container(all, index);
        let mut container = one(given, &path, aliases, old.filter(|_| same_secrets))?;
        let name = given["name"].as_str().unwrap_or_default();
        for (field, of) in [("dependsOn", &dependencies), ("baseImageUri", &bases)] {
            if let Some(value) = of.get(name) {
                container.insert(field.to_owned(), value.clone());
            }
        }
        let resources = container.entry("resources").or_insert_with(|| json!({}));
        let asked = [Some(throttled), boost];
        for ((field, same), asked) in CPU.into_iter().zip(same_cpu).zip(asked) {
            let value = match old {
                Some((v2, _)) if same => v2["resources"].get(field).cloned(),
                _ => asked.filter(|_| service).map(|switch| json!(switch)),
            };
            if let Some(value) = value {
                resources[field] = value;
            }
        }
        for field in UNSPOKEN {
            copy(old.map_or(&Value::Null, |(v2, _)| v2), field, &mut container);
        }
        containers.push(Value::Object(container));
    }
    Ok(containers)
}

/// JSON, or YAML's form of it with bare words, as Google's samples write `{nginx: [hello]}`.
fn flow(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut json = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let word = rest.find(|letter: char| "{}[],: \"\n".contains(letter)).unwrap_or(rest.len());
        if word == 0 {
            json.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            json += &json!(rest[..word]).to_string();
            rest = &rest[word..];
        }
    }
    serde_json::from_str(&json).ok()
}

/// `old` is the container that it replaces, where its secrets are named as they were.
fn one(
    given: &Value,
    path: &str,
    aliases: &Aliases,
    old: Option<(&Value, &Value)>,
) -> Result<Map<String, Value>, Status> {
    if let Some(field) = UNSUPPORTED.into_iter().find(|field| given.get(*field).is_some()) {
        return Err(Status::invalid(format!("{path}.{field}: not supported by Cloud Run.")));
    }
    let mut container = Map::new();
    for field in SAME {
        copy(given, field, &mut container);
    }
    let mut env = Vec::new();
    for variable in given["env"].as_array().into_iter().flatten() {
        let kept = old.and_then(|(v2, v1)| {
            let index = v1["env"].as_array()?.iter().position(|old| old == variable)?;
            v2["env"].get(index).cloned()
        });
        env.push(match kept {
            Some(kept) => kept,
            None => variable_to_v2(variable, path, aliases)?,
        });
    }
    if !env.is_empty() {
        container.insert("env".to_owned(), json!(env));
    }
    if let Some(limits) = given["resources"].get("limits") {
        container.insert("resources".to_owned(), json!({ "limits": limits }));
    }
    if let Some(ports) = given["ports"].as_array() {
        let ports: Vec<_> = ports.iter().map(|port| only(port, &["name", "containerPort"])).collect();
        container.insert("ports".to_owned(), json!(ports));
    }
    if let Some(mounts) = given["volumeMounts"].as_array() {
        let mounts: Vec<_> = mounts.iter().map(|mount| only(mount, &["name", "mountPath", "subPath"])).collect();
        container.insert("volumeMounts".to_owned(), json!(mounts));
    }
    for name in PROBES {
        if let Some(probe) = given.get(name) {
            container.insert(name.to_owned(), probe_to_v2(probe, &format!("{path}.{name}"))?);
        }
    }
    Ok(container)
}

fn variable_to_v2(given: &Value, path: &str, aliases: &Aliases) -> Result<Value, Status> {
    let mut variable = only(given, &["name", "value"]);
    let Some(source) = given.get("valueFrom") else { return Ok(variable) };
    let Some(reference) = source.get("secretKeyRef") else {
        return Err(Status::invalid(format!("{path}.env.value_from: only secret_key_ref is supported by Cloud Run.")));
    };
    let name = reference["name"].as_str().unwrap_or_default();
    let secret = aliases.get(name).map_or(name, String::as_str);
    variable["valueSource"] = json!({ "secretKeyRef": { "secret": secret, "version": reference["key"] } });
    Ok(variable)
}

/// <https://cloud.google.com/run/docs/reference/rest/v1/Container#Probe>
fn probe_to_v2(given: &Value, path: &str) -> Result<Value, Status> {
    if given.get("exec").is_some() || given["successThreshold"].as_i64().is_some_and(|count| count != 1) {
        return Err(Status::invalid(format!(
            "{path}: exec and a success_threshold above 1 are not supported by Cloud Run."
        )));
    }
    let mut probe = only(
        given,
        &["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold", "tcpSocket", "grpc", "httpGet"],
    );
    for (action, fields) in [("tcpSocket", ["port"].as_slice()), ("httpGet", &["path", "httpHeaders", "port"])] {
        if let Some(given) = given.get(action) {
            probe[action] = only(given, fields);
        }
    }
    Ok(probe)
}

/// v1's containers of a v2 template, and the annotations that are for all of them.
pub(super) fn from_v2(template: &Value, annotations: &mut Map<String, Value>, aliases: &mut Aliases) -> Vec<Value> {
    let given = template["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut containers = Vec::new();
    let (mut dependencies, mut bases) = (Map::new(), Map::new());
    for source in given {
        let mut container = Map::new();
        for field in SAME.iter().chain(&["ports", "volumeMounts"]).chain(&PROBES) {
            copy(source, field, &mut container);
        }
        if let Some(limits) = source["resources"].get("limits") {
            container.insert("resources".to_owned(), json!({ "limits": limits }));
        }
        let env: Vec<_> = source["env"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|variable| variable_from_v2(variable, aliases))
            .collect();
        if !env.is_empty() {
            container.insert("env".to_owned(), json!(env));
        }
        let name = source["name"].as_str().unwrap_or_default();
        for (field, all) in [("dependsOn", &mut dependencies), ("baseImageUri", &mut bases)] {
            // Of several only those with a name can be told apart.
            if let Some(value) = source.get(field).filter(|_| !name.is_empty() || given.len() == 1) {
                all.insert(name.to_owned(), value.clone());
            }
        }
        containers.push(Value::Object(container));
    }
    for (name, all) in [(DEPENDENCIES, dependencies), (BASE_IMAGES, bases)] {
        if !all.is_empty() {
            annotations.insert(name.to_owned(), json!(Value::Object(all).to_string()));
        }
    }
    containers
}

/// The CPU settings of a service's containers, which are one for all in v1.
pub(super) fn cpu(template: &Value, annotations: &mut Map<String, Value>) {
    let all = template["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.iter().any(|container| container["resources"]["cpuIdle"] != true) {
        annotations.insert(THROTTLING.to_owned(), json!("false"));
    }
    if let Some(boost) = all.iter().find_map(|container| container["resources"]["startupCpuBoost"].as_bool()) {
        annotations.insert(BOOST.to_owned(), json!(boost.to_string()));
    }
}

fn variable_from_v2(source: &Value, aliases: &mut Aliases) -> Value {
    let mut variable = only(source, &["name", "value"]);
    if let Some(reference) = source["valueSource"].get("secretKeyRef") {
        let secret = reference["secret"].as_str().unwrap_or_default();
        let version = reference["version"].as_str().unwrap_or("latest");
        variable["valueFrom"] = json!({ "secretKeyRef": { "name": alias(secret, aliases), "key": version } });
    }
    variable
}

/// A secret's name in v1: a bare one, or one that stands for a secret of another project.
pub(super) fn alias(secret: &str, aliases: &mut Aliases) -> String {
    if !secret.contains('/') {
        return secret.to_owned();
    }
    // gcloud reads the number of a project there, and no other name of it.
    let secret = match secret.strip_prefix("projects/").and_then(|rest| rest.split_once('/')) {
        Some((named, rest)) => format!("projects/{}/{rest}", project::number(named)),
        None => secret.to_owned(),
    };
    let alias = secret.replace('/', "-");
    aliases.insert(alias.clone(), secret);
    alias
}

pub(super) fn only(source: &Value, fields: &[&str]) -> Value {
    let mut kept = Map::new();
    for field in fields {
        copy(source, field, &mut kept);
    }
    Value::Object(kept)
}

pub(super) fn copy(source: &Value, field: &str, target: &mut Map<String, Value>) {
    if let Some(value) = source.get(field) {
        target.insert(field.to_owned(), value.clone());
    }
}
