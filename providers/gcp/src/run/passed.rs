//! What a section of this cloud's own fields does to a live service: the rule of owned fields, for them.
//!
//! Such a field is an entry of a keyed table: it is removed when the receipt lists it, the section stands in the file
//! and the field does not.
use std::collections::BTreeSet;

use carrack_core::{
    Error, ErrorKind, Result,
    diff::FieldChange,
    fields::{FieldPath, FieldValue},
    json_path::{JsonPath, Part},
    receipt::Receipt,
};
use serde_json::Value;

use super::{
    pass_through::{Leaf, field, get, read, set},
    schema::Root,
    unnamed::is_zero,
    verdict::{Verdict, pattern, verdict},
};
use crate::ID;

/// What is written and what is removed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Whether the section stands in the file.
    stands: bool,
    wanted: Vec<Leaf>,
    /// Recorded, and no more in the file.
    removed: Vec<JsonPath>,
}

impl Passed {
    /// Of a section, and what an earlier deploy wrote of it.
    pub(super) fn new(root: Root, cloud: Option<&Value>, receipt: Option<&Receipt>) -> Result<Self> {
        let (wanted, errors) = read(root, cloud);
        // A saved plan, and whoever did not check.
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        let recorded =
            receipt.iter().flat_map(|receipt| &receipt.owned).filter_map(|path| of_cloud(path)?.parse().ok());
        let gone = |path: &JsonPath| {
            // By now a key may say it.
            let ours = verdict(root, &pattern(path)) == Verdict::PassThrough;
            cloud.is_some() && ours && !wanted.iter().any(|(wanted, _)| wanted == path)
        };
        Ok(Self { stands: cloud.is_some(), removed: recorded.filter(gone).collect(), wanted })
    }

    /// The resource with what the section says.
    pub(super) fn edit(&self, resource: &mut Value) -> Result<()> {
        for path in &self.removed {
            set(resource, &path.0, None);
        }
        for (path, value) in &self.wanted {
            if let Some(missing) = missing_container(resource, path) {
                return Err(Error::new(ErrorKind::ConfigInvalid, format!("there is no container `{missing}`"))
                    .at_field(field(path))
                    .hint("leave `name` out for the container that gets the requests"));
            }
            if !same(get(resource, &path.0), value) && !set(resource, &path.0, Some(value)) {
                return Err(Error::new(ErrorKind::ConfigInvalid, format!("there is no place for `{path}`"))
                    .at_field(field(path)));
            }
        }
        Ok(())
    }

    /// What that changes, by name.
    pub(super) fn changes(&self, before: &Value, after: &Value) -> Vec<FieldChange> {
        let paths = self.wanted.iter().map(|(path, _)| path).chain(&self.removed);
        let shown = |value: Option<&Value>| value.map(|value| FieldValue::Shown(value.to_string()));
        let changes = paths.filter_map(|path| {
            let (from, to) = (get(before, &path.0), get(after, &path.0));
            (from != to).then(|| FieldChange { path: field(path), from: shown(from), to: shown(to) })
        });
        changes.collect()
    }

    /// The receipt's list with the fields of the section; without one they are carried on.
    pub(super) fn receipt(&self, owned: Vec<FieldPath>) -> Vec<FieldPath> {
        let kept = owned.into_iter().filter(|path| !self.stands || of_cloud(path).is_none());
        let all: BTreeSet<FieldPath> = kept.chain(self.wanted.iter().map(|(path, _)| field(path))).collect();
        all.into_iter().collect()
    }

    /// The parts of the resource that it is about.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        let paths = self.wanted.iter().map(|(path, _)| path).chain(&self.removed);
        paths.filter_map(|path| match path.0.first() {
            Some(Part::Key(key)) => Some(key.as_str()),
            _ => None,
        })
    }

    /// The resource without what the section says, to see what else there is.
    pub(super) fn others(&self, resource: &Value) -> Value {
        let mut resource = resource.clone();
        for path in self.wanted.iter().map(|(path, _)| path).chain(&self.removed) {
            set(&mut resource, &path.0, None);
        }
        resource
    }
}

/// The cloud's own path in the name of a field.
fn of_cloud(path: &str) -> Option<&str> {
    path.strip_prefix(ID)?.strip_prefix('.')
}

/// Whether a field of this cloud's own is recorded on the service, and not on its template.
pub(super) fn of_service(path: &str) -> bool {
    of_cloud(path).is_some_and(|path| !path.starts_with("template."))
}

/// What has no image cannot be made here.
fn missing_container(resource: &Value, path: &JsonPath) -> Option<String> {
    let at = path.0.iter().position(|part| *part == Part::Key("containers".to_owned()))?;
    let Some(Part::Entry(Some(name))) = path.0.get(at + 1) else { return None };
    get(resource, &path.0[..at + 2]).is_none().then(|| name.clone())
}

/// Whether it says the same: the cloud leaves zeros out.
fn same(live: Option<&Value>, wanted: &Value) -> bool {
    match (live, wanted) {
        (None, wanted) => is_zero(wanted) && !wanted.is_object(),
        (Some(Value::Object(live)), Value::Object(wanted)) => {
            let keys: BTreeSet<&String> = live.keys().chain(wanted.keys()).collect();
            keys.into_iter().all(|key| same(live.get(key), wanted.get(key).unwrap_or(&Value::Null)))
        }
        (Some(Value::Array(live)), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| same(Some(live), wanted))
        }
        (Some(Value::Number(live)), Value::Number(wanted)) => live.as_f64() == wanted.as_f64(),
        (Some(live), wanted) => live == wanted || (is_zero(live) && is_zero(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receipt(owned: &[&str]) -> Receipt {
        let owned: Vec<&str> = owned.to_vec();
        serde_json::from_value(json!({ "format": 1, "config": "", "digest": "", "owned": owned })).expect("it is one")
    }

    fn passed(cloud: Value, owned: &[&str]) -> Passed {
        Passed::new(Root::Service, Some(&cloud), Some(&receipt(owned))).expect("it is valid")
    }

    /// The changes, one a line, and the resource after them.
    fn edited(live: &Value, passed: &Passed) -> (Vec<String>, Value) {
        let mut after = live.clone();
        passed.edit(&mut after).expect("there is a place");
        let text = |value: Option<FieldValue>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        let changes = passed.changes(live, &after).into_iter();
        let changes = changes.map(|change| format!("{}: {} to {}", change.path, text(change.from), text(change.to)));
        (changes.collect(), after)
    }

    #[test]
    fn a_gpu_goes_to_the_container_that_gets_the_requests() {
        let live = json!({ "template": { "containers": [
            { "name": "proxy", "image": "p" },
            { "name": "app", "image": "a", "ports": [{ "containerPort": 8080 }], "resources": { "limits": { "cpu": "4" } } },
        ] } });
        let gpu = passed(
            json!({ "template": {
                "nodeSelector": { "accelerator": "nvidia-l4" },
                "containers": [{ "resources": { "limits": { "nvidia.com/gpu": "1" } } }],
            } }),
            &[],
        );
        let (changes, after) = edited(&live, &gpu);
        assert_eq!(
            changes,
            [
                "cloud-run.template.containers[].resources.limits.\"nvidia.com/gpu\": nothing to \"1\"",
                "cloud-run.template.nodeSelector.accelerator: nothing to \"nvidia-l4\"",
            ]
        );
        let mut expected = live.clone();
        expected["template"]["nodeSelector"] = json!({ "accelerator": "nvidia-l4" });
        expected["template"]["containers"][1]["resources"]["limits"]["nvidia.com/gpu"] = json!("1");
        assert_eq!(after, expected);
        assert_eq!(edited(&after, &gpu), (Vec::new(), after.clone()), "a second time there is nothing to do");

        let owned = gpu.receipt(vec!["env.A".to_owned()]);
        let names: Vec<&str> = owned.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "cloud-run.template.containers[].resources.limits.\"nvidia.com/gpu\"",
                "cloud-run.template.nodeSelector.accelerator",
                "env.A",
            ]
        );
        let gone = passed(json!({}), &names);
        assert_eq!(edited(&after, &gone).1, live, "what was ours is taken away, with the tables that it left empty");
        assert_eq!(gone.receipt(owned), ["env.A"]);
    }

    #[test]
    fn without_the_section_nothing_of_it_is_managed() {
        let absent = Passed::new(Root::Service, None, Some(&receipt(&["cloud-run.iapEnabled"]))).expect("it is valid");
        let live = json!({ "iapEnabled": true });
        assert_eq!(edited(&live, &absent), (Vec::new(), live.clone()));
        assert_eq!(absent.receipt(vec!["cloud-run.iapEnabled".to_owned()]), ["cloud-run.iapEnabled"]);
    }

    #[test]
    fn what_others_set_is_theirs() {
        let live = json!({ "iapEnabled": true, "binaryAuthorization": { "useDefault": true } });
        let (changes, after) = edited(&live, &passed(json!({}), &["cloud-run.binaryAuthorization.useDefault"]));
        assert_eq!(changes, ["cloud-run.binaryAuthorization.useDefault: true to nothing"]);
        assert_eq!(after, json!({ "iapEnabled": true }));
    }

    #[test]
    fn what_a_key_says_by_now_is_not_removed() {
        let live = json!({ "template": { "serviceAccount": "a@b" } });
        let (changes, _) = edited(&live, &passed(json!({}), &["cloud-run.template.serviceAccount"]));
        assert_eq!(changes, [""; 0]);
    }

    #[test]
    fn zeros_that_the_cloud_leaves_out_are_no_change() {
        let section = json!({ "iapEnabled": false, "template": { "gpuZonalRedundancyDisabled": false } });
        let (changes, after) = edited(&json!({}), &passed(section, &[]));
        assert_eq!((changes, after), (Vec::new(), json!({})));
    }

    #[test]
    fn a_container_that_is_not_there_is_not_made() {
        let section = json!({ "template": { "containers": [{ "name": "proxy", "baseImageUri": "x" }] } });
        let mut live = json!({ "template": { "containers": [{ "image": "a" }] } });
        let error = passed(section, &[]).edit(&mut live).expect_err("nobody names its image");
        assert_eq!(error.message(), "there is no container `proxy`");
        assert_eq!(error.field(), Some("cloud-run.template.containers[proxy].baseImageUri"));
    }
}
