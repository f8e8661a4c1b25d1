//! Every answer against Google's own schema.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT, public, template, url};
use crate::gcp::schema::{Document, Documents, Field};

/// What is not as the schema says, by path.
fn faults(document: &Document, field: &Field, path: &str, value: &Value, found: &mut Vec<String>) {
    let mut wrong = |why: &str| found.push(format!("{path}: {why}: {value}"));
    if let Some(name) = &field.reference {
        let Some(message) = document.schemas.get(name) else {
            return wrong("no such schema");
        };
        let Some(fields) = value.as_object() else {
            return wrong("no message");
        };
        for (name, value) in fields {
            match message.properties.get(name) {
                Some(field) => faults(document, field, &format!("{path}.{name}"), value, found),
                None => found.push(format!("{path}.{name}: no such field")),
            }
        }
        return;
    }
    match field.kind.as_deref() {
        Some("array") => match (value.as_array(), &field.items) {
            (Some(values), Some(items)) => {
                for (index, value) in values.iter().enumerate() {
                    faults(document, items, &format!("{path}[{index}]"), value, found);
                }
            }
            _ => wrong("no array"),
        },
        Some("object") => match (value.as_object(), &field.additional_properties) {
            (Some(values), Some(entry)) => {
                for (name, value) in values {
                    faults(document, entry, &format!("{path}.{name}"), value, found);
                }
            }
            _ => wrong("no object"),
        },
        Some("boolean") if !value.is_boolean() => wrong("no boolean"),
        Some("integer") if value.as_i64().is_none_or(|number| i32::try_from(number).is_err()) => wrong("no int32"),
        Some("string") => match (value.as_str(), field.format.as_deref()) {
            (None, _) => wrong("no string"),
            (Some(text), Some("int64")) if text.parse::<i64>().is_err() => wrong("no int64"),
            (Some(text), Some("google-datetime")) if text.parse::<jiff::Timestamp>().is_err() => wrong("no time"),
            (Some(text), _) if !field.values.is_empty() && !field.values.iter().any(|known| known == text) => {
                wrong("no such name");
            }
            _ => {}
        },
        _ => {}
    }
}

fn check(document: &Document, schema: &str, value: &Value) {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("@type");
    }
    let field = Field { reference: Some(schema.to_owned()), ..Field::default() };
    let mut found = Vec::new();
    faults(document, &field, schema, &value, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_google_documents() {
    let (local, documents) = (Local::start(), Documents::load().expect("the committed schemas"));
    let run = &documents.run;
    let (_, operation) = local.create("hello", public(&[])).await;
    check(run, "GoogleLongrunningOperation", &operation);
    check(run, "GoogleCloudRunV2Service", &operation["metadata"]);
    let operation = local.done((200, operation)).await;
    check(run, "GoogleLongrunningOperation", &operation);
    check(run, "GoogleCloudRunV2Service", &operation["response"]);
    let service = operation["response"].clone();
    local.text(url(&service)).await;

    let mut canary = template(&["exit"]);
    canary["containers"][0]["name"] = json!("main");
    canary["healthCheckDisabled"] = json!(false);
    let failed = local.patch("hello", "?updateMask=template", json!({ "template": canary })).await;
    check(run, "GoogleLongrunningOperation", &local.done(failed).await);
    for (path, schema) in [
        ("/services", "GoogleCloudRunV2ListServicesResponse"),
        ("/services/hello", "GoogleCloudRunV2Service"),
        ("/services/hello/revisions", "GoogleCloudRunV2ListRevisionsResponse"),
        ("/services/hello:getIamPolicy", "GoogleIamV1Policy"),
        ("/operations", "GoogleLongrunningListOperationsResponse"),
    ] {
        let (status, answer) = local.get(&format!("{PARENT}{path}")).await;
        assert_eq!(status, 200, "{path}");
        check(run, schema, &answer);
    }
    let deleted = local.call(Method::DELETE, &format!("{PARENT}/services/hello"), None).await;
    check(run, "GoogleCloudRunV2Service", &local.done(deleted).await["response"]);

    let body = json!({ "resourceNames": ["projects/local"], "pageSize": 1000 });
    let (_, entries) = local.call(Method::POST, "/v2/entries:list", Some(body)).await;
    assert!(entries["entries"].as_array().is_some_and(|entries| entries.len() > 5), "{entries:#}");
    check(&documents.logging, "ListLogEntriesResponse", &entries);

    let repositories = "/v1/projects/local/locations/us-central1/repositories";
    let path = format!("{repositories}?repositoryId=apps");
    let (_, operation) = local.call(Method::POST, &path, Some(json!({ "format": "DOCKER" }))).await;
    check(&documents.artifact_registry, "Operation", &operation);
    let (_, answer) = local.get(repositories).await;
    check(&documents.artifact_registry, "ListRepositoriesResponse", &answer);
}

#[test]
fn a_fault_is_found() {
    let documents = Documents::load().expect("the committed schemas");
    let field = Field { reference: Some("GoogleCloudRunV2Service".to_owned()), ..Field::default() };
    let mut found = Vec::new();
    let value = json!({ "foo": 1, "generation": 1, "traffic": [{ "type": "X" }], "createTime": "now" });
    faults(&documents.run, &field, "service", &value, &mut found);
    assert_eq!(found.len(), 4, "{found:#?}");
}
