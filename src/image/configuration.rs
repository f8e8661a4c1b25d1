//! The image's configuration: a base's, with what the file says laid over it.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/config.md>
use std::collections::BTreeMap;

use carrack_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{base::BaseImage, layer::Layer, spec::BuildSpec, tree::LayerPlan};

/// Docker runs it when an image is made from this one, and never hands it on:
/// <https://docs.docker.com/reference/dockerfile/#onbuild>.
const ON_BUILD: &str = "OnBuild";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Configuration {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    pub(crate) config: Option<Run>,
    pub(crate) rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<Vec<History>>,
}

/// What runs, and how. Null and absent are the same: Docker writes both.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    /// What only Docker knows, `Healthcheck` and `Shell` among it.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    pub(crate) diff_ids: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    empty_layer: Option<bool>,
}

impl Configuration {
    /// What starts: the entrypoint's first word, or the arguments' when there is no entrypoint.
    pub(crate) fn program(&self) -> Option<&str> {
        let run = self.config.as_ref()?;
        let words = run.entrypoint.as_ref().filter(|words| !words.is_empty()).or(run.cmd.as_ref())?;
        words.first().map(String::as_str)
    }

    /// Who runs it.
    pub(crate) fn user(&self) -> Option<&str> {
        self.config.as_ref()?.user.as_deref()
    }

    /// Where it starts.
    pub(crate) fn working_dir(&self) -> Option<&str> {
        self.config.as_ref()?.working_dir.as_deref()
    }
}

/// The configuration of an image with these layers above its base.
pub(crate) fn configuration(
    spec: &BuildSpec,
    base: Option<&BaseImage>,
    plans: &[LayerPlan],
    layers: &[Layer],
) -> Result<Configuration> {
    let created = spec.created()?;
    let mut result = match base {
        Some(base) => base.configuration.clone(),
        None => Configuration { architecture: spec.platform.architecture().to_owned(), ..Configuration::default() },
    };
    let mut history = match base {
        Some(base) => history_of(base, &created),
        None => Vec::new(),
    };
    history.extend(plans.iter().map(|plan| made(&created, format!("carrack: {}", plan.title))));
    result.history = Some(history);
    result.created = Some(created);
    "linux".clone_into(&mut result.os);
    "layers".clone_into(&mut result.rootfs.kind);
    result.rootfs.diff_ids.extend(layers.iter().map(|layer| layer.diff_id.clone()));
    lay_over(result.config.get_or_insert_default(), spec);
    Ok(result)
}

fn made(created: &str, by: String) -> History {
    History { created: Some(created.to_owned()), created_by: Some(by), ..History::default() }
}

/// One entry for each layer; a base whose history says otherwise gets a plain one.
fn history_of(base: &BaseImage, created: &str) -> Vec<History> {
    let layers = base.layers.len();
    let own = base.configuration.history.clone().unwrap_or_default();
    if own.iter().filter(|entry| entry.empty_layer != Some(true)).count() == layers {
        return own;
    }
    vec![made(created, format!("carrack: from {}", base.name)); layers]
}

/// As Docker inherits: <https://docs.docker.com/reference/dockerfile/#understand-how-cmd-and-entrypoint-interact>.
fn lay_over(run: &mut Run, spec: &BuildSpec) {
    run.others.remove(ON_BUILD);
    run.others.retain(|_, value| !value.is_null());
    if !spec.env.is_empty() {
        let env = run.env.get_or_insert_default();
        for (name, value) in &spec.env {
            let entry = format!("{name}={value}");
            match env.iter_mut().find(|there| there.split('=').next() == Some(name)) {
                Some(there) => *there = entry,
                None => env.push(entry),
            }
        }
    }
    if !spec.entrypoint.is_empty() {
        run.entrypoint = Some(spec.entrypoint.clone());
        // The base's arguments were meant for its own program.
        run.cmd = None;
    }
    if !spec.cmd.is_empty() {
        run.cmd = Some(spec.cmd.clone());
    }
    if let Some(directory) = &spec.working_dir {
        run.working_dir = Some(directory.clone());
    }
    if let Some(user) = &spec.user {
        run.user = Some(user.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::image::{
        manifest::{LAYER_GZIP, Part},
        spec::tests::spec,
    };

    fn base(configuration: Value, layers: usize) -> BaseImage {
        BaseImage {
            name: "base.example/a:1".into(),
            digest: "sha256:0".into(),
            top: "sha256:0".into(),
            layers: vec![Part::new(LAYER_GZIP, "sha256:1", 1); layers],
            configuration: serde_json::from_value(configuration).expect("a configuration"),
        }
    }

    fn made_from(base: &BaseImage, change: impl FnOnce(&mut BuildSpec)) -> Value {
        let mut spec = spec(Path::new("/"), &[]);
        spec.entrypoint = Vec::new();
        change(&mut spec);
        let plan = LayerPlan { title: "copy to /app".into(), ..LayerPlan::default() };
        let layer = Layer { digest: "sha256:2".into(), size: 1, diff_id: "sha256:22".into() };
        serde_json::to_value(configuration(&spec, Some(base), &[plan], &[layer]).expect("made")).expect("json")
    }

    fn distroless() -> Value {
        json!({
            "architecture": "amd64", "os": "linux", "author": "Bazel", "container": "dropped",
            "created": "0001-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
                "Entrypoint": ["/base"], "Cmd": ["--base"], "User": "0", "WorkingDir": "/home",
                "Labels": { "a": "1" }, "Healthcheck": { "Test": ["NONE"] }, "OnBuild": ["RUN x"], "Volumes": null, "Shell": null,
            },
            "history": [{ "created_by": "base" }, { "created_by": "env", "empty_layer": true }],
            "rootfs": { "type": "layers", "diff_ids": ["sha256:11"] },
        })
    }

    #[test]
    fn a_base_is_inherited() {
        let made = made_from(&base(distroless(), 1), |spec| {
            spec.env = [("PATH", "/bin"), ("NEW", "a=b")].map(|(name, value)| (name.into(), value.into())).into();
        });
        let time = "1970-01-01T00:00:00Z";
        assert_eq!(
            made,
            json!({
                "architecture": "amd64", "os": "linux", "author": "Bazel", "created": time,
                "config": {
                    "Env": ["PATH=/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "NEW=a=b"],
                    "Entrypoint": ["/base"], "Cmd": ["--base"], "User": "0", "WorkingDir": "/home",
                    "Labels": { "a": "1" }, "Healthcheck": { "Test": ["NONE"] },
                },
                "history": [
                    { "created_by": "base" },
                    { "created_by": "env", "empty_layer": true },
                    { "created": time, "created_by": "carrack: copy to /app" },
                ],
                "rootfs": { "type": "layers", "diff_ids": ["sha256:11", "sha256:22"] },
            })
        );
    }

    #[test]
    fn an_entrypoint_of_ones_own_drops_the_bases_arguments() {
        let base = base(distroless(), 1);
        let run = |change: fn(&mut BuildSpec)| made_from(&base, change)["config"].clone();
        let own = run(|spec| spec.entrypoint = vec!["/app".into()]);
        assert_eq!((&own["Entrypoint"], &own["Cmd"]), (&json!(["/app"]), &Value::Null));
        let arguments = run(|spec| spec.cmd = vec!["--mine".into()]);
        assert_eq!((&arguments["Entrypoint"], &arguments["Cmd"]), (&json!(["/base"]), &json!(["--mine"])));
        let rest = run(|spec| {
            spec.user = Some("1000".into());
            spec.working_dir = Some("/srv".into());
        });
        assert_eq!((&rest["User"], &rest["WorkingDir"]), (&json!("1000"), &json!("/srv")));
    }

    #[test]
    fn a_history_that_does_not_fit_the_layers_is_replaced() {
        let made = made_from(&base(distroless(), 2), |_| {});
        let by: Vec<_> =
            made["history"].as_array().expect("a list").iter().map(|one| one["created_by"].clone()).collect();
        assert_eq!(by, ["carrack: from base.example/a:1", "carrack: from base.example/a:1", "carrack: copy to /app"]);
    }

    #[test]
    fn null_is_absent() {
        let plain = json!({ "architecture": "amd64", "os": "linux", "config": null, "history": null,
            "rootfs": { "type": "layers", "diff_ids": ["sha256:11"] } });
        let made = made_from(&base(plain, 1), |spec| spec.entrypoint = vec!["/app".into()]);
        assert_eq!(made["config"], json!({ "Entrypoint": ["/app"] }));
    }
}
