//! The JSON Schema, the readers and the documentation know the same keys.
use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{loaded, try_load};
use crate::config::{
    TemplateOptions, json_schema,
    rollout::{Rollout, Verify},
    schema::{
        Build, File, Health, Image, Job, JobOverride, Network, Probe, Resources, Scaling, Service, ServiceOverride,
        Target,
    },
    secrets::SecretUse,
    template,
};

/// Every key of the schema with its schema: `targets.NAME.env`.
fn walk(schema: &Json, path: &str, found: &mut Vec<(String, Json)>) {
    let join = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        found.push((join(key), below.clone()));
        walk(below, &join(key), found);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &join("NAME"), found);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], path, found);
    }
}

fn every_key() -> Vec<(String, Json)> {
    let mut found = Vec::new();
    walk(&json_schema(), "", &mut found);
    found
}

#[test]
fn every_key_has_a_description() {
    let keys = every_key();
    assert!(keys.len() > 80, "{}", keys.len());
    for (path, schema) in keys {
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(text.ends_with(['.', ':', '`']) && text.len() > 8, "{path}: {text:?}");
    }
}

#[test]
fn every_section_is_strict() {
    let mut sections = vec![("the file".to_owned(), json_schema())];
    sections.extend(every_key());
    for (path, schema) in sections {
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }
    }
}

#[test]
fn the_readers_have_the_keys_of_the_schema() {
    let properties = |pointer: &str| -> BTreeSet<String> {
        let schema = json_schema();
        let found = schema.pointer(pointer).and_then(Json::as_object);
        found.unwrap_or_else(|| panic!("no {pointer}")).keys().cloned().collect()
    };
    let target = "/properties/targets/additionalProperties/properties";
    for (keys, pointer) in [
        (File::keys(), "/properties".to_owned()),
        (Service::keys(), "/properties/service/properties".to_owned()),
        (Job::keys(), "/properties/job/properties".to_owned()),
        (JobOverride::keys(), format!("{target}/job/properties")),
        (Image::keys(), "/properties/image/properties".to_owned()),
        (Build::keys(), "/properties/image/properties/build/properties".to_owned()),
        (SecretUse::keys(), "/properties/secrets/additionalProperties/properties".to_owned()),
        (Resources::keys(), "/properties/resources/properties".to_owned()),
        (Scaling::keys(), "/properties/scaling/properties".to_owned()),
        (Network::keys(), "/properties/network/properties".to_owned()),
        (Health::keys(), "/properties/health/properties".to_owned()),
        (Probe::keys(), "/properties/health/properties/startup/properties".to_owned()),
        (Rollout::keys(), "/properties/rollout/properties".to_owned()),
        (Verify::keys(), "/properties/rollout/properties/verify/properties".to_owned()),
        (Target::keys(), target.to_owned()),
        (ServiceOverride::keys(), format!("{target}/service/properties")),
    ] {
        let keys: BTreeSet<String> = keys.into_iter().map(str::to_owned).collect();
        assert_eq!(keys, properties(&pointer), "{pointer}");
    }
}

#[test]
fn a_target_overrides_all_of_service_but_its_name() {
    let all: Vec<_> = Service::keys().into_iter().filter(|key| *key != "name").collect();
    assert_eq!(ServiceOverride::keys(), all);
    let all: Vec<_> = Job::keys().into_iter().filter(|key| *key != "name").collect();
    assert_eq!(JobOverride::keys(), all);
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../docs/configuration.md");
    for (path, _) in every_key() {
        // All checks have the same keys; a target's sections are those of the file, and so are some of a sidecar.
        let path = path.replace("health.liveness.", "health.startup.").replace("health.readiness.", "health.startup.");
        let known = |rest: &&str| every_key().iter().any(|(other, _)| other == rest) && rest.contains('.');
        let neutral = path.strip_prefix("targets.NAME.").filter(known).unwrap_or(&path);
        let neutral = neutral.strip_prefix("sidecars.NAME.").filter(known).unwrap_or(neutral);
        let wanted = format!("`{neutral}`");
        assert!(page.contains(&wanted), "docs/configuration.md does not have {wanted}");
    }
}

#[test]
fn what_is_documented_and_made_is_valid() {
    let page = include_str!("../../../docs/configuration.md");
    let blocks = page.split("```toml\n").skip(1);
    let mut examples: Vec<_> =
        blocks.filter_map(|rest| rest.split_once("```").map(|(text, _)| text.to_owned())).collect();
    assert!(!examples.is_empty());
    let options = TemplateOptions { binary: Some("hello"), project: Some("my-project"), region: None };
    examples.extend([template("hello", &options), template("hello", &TemplateOptions::default())]);
    for example in examples {
        let file = loaded(&example);
        for target in file.target_names() {
            file.resolve(Some(target)).unwrap_or_else(|errors| panic!("{errors}"));
        }
        fits(&toml::from_str(&example).expect("it was loaded"), &json_schema(), "");
    }
}

/// In spirit: every key of the value is one of the schema's, and its required keys are there.
fn fits(value: &Json, schema: &Json, path: &str) {
    match value {
        // In a cloud's own words.
        Json::Object(_) if schema["additionalProperties"] == true => {}
        Json::Object(entries) => {
            for (key, below) in entries {
                let schema = match &schema["properties"][key] {
                    Json::Null => &schema["additionalProperties"],
                    known => known,
                };
                assert!(schema.is_object(), "{path}.{key} is not in the schema");
                fits(below, schema, &format!("{path}.{key}"));
            }
            for key in schema["required"].as_array().into_iter().flatten() {
                let key = key.as_str().expect("keys are text");
                assert!(entries.contains_key(key), "{path} has no {key}");
            }
        }
        Json::Array(items) => items.iter().for_each(|item| fits(item, &schema["items"], path)),
        _ => {}
    }
}

#[test]
fn what_the_schema_forbids_is_refused() {
    let one = serde_json::json!([{ "required": ["service"] }, { "required": ["job"] }]);
    assert_eq!(json_schema()["oneOf"], one);
    assert!(try_load("[env]").is_err());
    assert!(try_load("[service]\nname = \"a\"\n[job]\nname = \"a\"").is_err());
}
