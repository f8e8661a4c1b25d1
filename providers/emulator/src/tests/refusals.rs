//! What Google refuses, by raw requests: the status and the text.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT, public, template};

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_google_refuses() {
    let local = Local::start();
    local.deployed("hello").await;
    let services = format!("{PARENT}/services");
    let hello = format!("{services}/hello");
    let create = |name: &str| format!("{services}?serviceId={name}");
    for (method, path, body, status, name, text) in [
        (
            Method::GET,
            format!("{services}/none"),
            None,
            404,
            "NOT_FOUND",
            "Resource 'none' of kind 'SERVICE' in region 'us-central1' in project 'local' does not exist.",
        ),
        (
            Method::GET,
            format!("{hello}/revisions/none"),
            None,
            404,
            "NOT_FOUND",
            "Resource 'none' of kind 'REVISION' in region 'us-central1' in project 'local' does not exist.",
        ),
        (
            Method::DELETE,
            format!("{services}/none"),
            None,
            404,
            "NOT_FOUND",
            "Resource 'none' of kind 'SERVICE' in region 'us-central1' in project 'local' does not exist.",
        ),
        (
            Method::PATCH,
            format!("{services}/none"),
            Some(public(&[])),
            404,
            "NOT_FOUND",
            "Resource 'none' of kind 'SERVICE' in region 'us-central1' in project 'local' does not exist.",
        ),
        (Method::POST, create("hello"), Some(public(&[])), 409, "ALREADY_EXISTS", "Resource 'hello' already exists."),
        (
            Method::POST,
            create("Hello"),
            Some(public(&[])),
            400,
            "INVALID_ARGUMENT",
            "Violation in CreateServiceRequest.service_id: Resource name must use only lowercase letters, numbers and '-'. Must begin with a letter and cannot end with a '-'. Must contain fewer than 50 characters.",
        ),
        (
            Method::POST,
            create("other"),
            Some(json!({})),
            400,
            "INVALID_ARGUMENT",
            "Violation in CreateServiceRequest.service.template: required field not present.",
        ),
        (
            Method::POST,
            create("other"),
            Some(json!({ "template": { "foo": 1 } })),
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"foo\" at 'service.template': Cannot find field.",
        ),
        (
            Method::POST,
            format!("{}&x=1", create("other")),
            Some(public(&[])),
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"x\": Cannot bind query parameter. Field 'x' could not be found in request message.",
        ),
        (
            Method::PATCH,
            format!("{hello}?updateMask=nothing"),
            Some(json!({})),
            400,
            "INVALID_ARGUMENT",
            "Invalid field mask: no field `nothing` in google.cloud.run.v2.Service",
        ),
        (
            Method::PATCH,
            hello.clone(),
            Some(json!({})),
            400,
            "INVALID_ARGUMENT",
            "Violation in UpdateServiceRequest.service.template: required field not present.",
        ),
        (
            Method::POST,
            format!("{hello}:setIamPolicy"),
            Some(json!({ "foo": 1 })),
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"foo\": Cannot find field.",
        ),
        (Method::GET, format!("{PARENT}/operations/none"), None, 404, "NOT_FOUND", "Operation 'none' was not found."),
        (
            Method::GET,
            format!("{PARENT}/workerPools"),
            None,
            501,
            "UNIMPLEMENTED",
            "Operation is not implemented, or supported, or enabled.",
        ),
        (Method::GET, "/v2/nothing".to_owned(), None, 404, "NOT_FOUND", "Method not found."),
        (
            Method::GET,
            format!("{services}?pageToken=x"),
            None,
            400,
            "INVALID_ARGUMENT",
            "The provided page_token is invalid.",
        ),
    ] {
        let what = format!("{method} {path}");
        let (got, answer) = local.call(method, &path, body).await;
        let error = &answer["error"];
        assert_eq!(
            (got, &error["code"], &error["status"]),
            (status, &json!(status), &json!(name)),
            "{what} {answer:#}"
        );
        assert_eq!(message(&answer), text, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_version_is_a_conflict() {
    let local = Local::start();
    let first = local.deployed("hello").await;
    let change = json!({ "etag": first["etag"], "description": "new" });
    local.done(local.patch("hello", "?updateMask=description", change.clone()).await).await;
    let (status, answer) = local.patch("hello", "?updateMask=description", change).await;
    assert_eq!((status, &answer["error"]["status"]), (409, &json!("ABORTED")));
    let text = message(&answer);
    assert!(
        text.starts_with("Conflict for resource 'hello': version '1")
            && text.contains("' was specified but current version is '1"),
        "{text}"
    );
    let etag = first["etag"].as_str().expect("an etag");
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revisions_name_is_taken_once() {
    let local = Local::start();
    let named = |args: &[&str]| {
        let mut service = public(args);
        service["template"]["revision"] = json!("hello-one");
        service
    };
    let operation = local.done(local.create("hello", named(&[])).await).await;
    assert_eq!(operation["response"]["template"]["revision"], "hello-one");
    local.done(local.patch("hello", "", named(&[])).await).await;
    let (status, answer) = local.patch("hello", "", named(&["other"])).await;
    assert_eq!(status, 409);
    assert_eq!(message(&answer), "Revision named 'hello-one' with different configuration already exists.");
    let operation = local.done(local.patch("hello", "", public(&["other"])).await).await;
    assert_eq!(operation["response"]["generation"], "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_run_fails_the_operation() {
    let local = Local::start();
    for (image, code, text) in [
        ("gcr.io/local/missing:v1", 5, "Image 'gcr.io/local/missing:v1' not found."),
        (
            "gcr.io/local/arm",
            9,
            "Container manifest type 'application/vnd.oci.image.manifest.v1+json' must support amd64/linux.",
        ),
    ] {
        let mut service = public(&[]);
        service["template"]["containers"][0]["image"] = json!(image);
        let name = image.rsplit(['/', ':']).find(|part| part.len() > 2).expect("a name");
        let operation = local.done(local.create(name, service).await).await;
        assert_eq!((&operation["error"]["code"], message(&operation)), (&json!(code), text));
        let service = local.service(name).await;
        assert_eq!(service["terminalCondition"]["reason"], "CONTAINER_MISSING");
        assert_eq!(service.get("latestReadyRevision"), None);
        assert_eq!(service.get("observedGeneration"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_another_project_needs_a_grant_to_the_service_agent() {
    let local = Local::start();
    let mut service = public(&[]);
    service["template"]["containers"][0]["image"] = json!("us-central1-docker.pkg.dev/other/apps/hello:v1");
    let operation = local.done(local.create("hello", service.clone()).await).await;
    assert_eq!(operation["error"]["code"], 7);
    let text = message(&operation);
    let agent = text.split_whitespace().find(|word| word.contains('@')).expect("an account").to_owned();
    assert_eq!(
        text,
        format!(
            "Google Cloud Run Service Agent {agent} must have permission to read the image, us-central1-docker.pkg.dev/other/apps/hello:v1. Ensure that the provided container image URL is correct and that the above account has permission to access the image. If you just enabled the Cloud Run API, the permissions might take a few minutes to propagate. Note that the image is from project [other], which is not the same as this project [local]. Permission must be granted to the Google Cloud Run Service Agent {agent} from this project."
        )
    );
    let shown = local.service("hello").await;
    assert_eq!(shown["terminalCondition"]["reason"], "CONTAINER_PERMISSION_DENIED");

    let parent = "/v1/projects/other/locations/us-central1/repositories";
    let grant = json!({ "policy": { "bindings": [{
        "role": "roles/artifactregistry.reader", "members": [format!("serviceAccount:{agent}")],
    }] } });
    let set = format!("{parent}/apps:setIamPolicy");
    assert_eq!(local.call(Method::POST, &set, Some(grant.clone())).await.0, 404);
    let create = format!("{parent}?repositoryId=apps");
    assert_eq!(local.call(Method::POST, &create, Some(json!({ "format": "DOCKER" }))).await.0, 200);
    assert_eq!(local.get(&format!("{parent}/apps:getIamPolicy")).await, (200, json!({ "etag": "ACAB" })));
    let (status, policy) = local.call(Method::POST, &set, Some(grant)).await;
    assert_eq!((status, &policy["bindings"][0]["role"]), (200, &json!("roles/artifactregistry.reader")));
    let operation = local.done(local.patch("hello", "?forceNewRevision=true", service).await).await;
    assert_eq!(operation.get("error"), None, "{operation:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_calls_must_be_known_and_allowed() {
    let mut local = Local::start();
    local.deployed("hello").await;
    let path = format!("{PARENT}/services/hello");
    let url = format!("{}{path}", local.running.addresses().google);
    let response = local.client.get(&url).send().await.expect("an answer");
    assert_eq!(response.status(), 401);
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answer["error"]["status"], "UNAUTHENTICATED");
    assert!(message(&answer).starts_with("Request is missing required authentication credential."));
    let response = local.client.get(&url).bearer_auth("wrong").send().await.expect("an answer");
    let answer: Value = response.json().await.expect("JSON");
    assert!(message(&answer).starts_with("Request had invalid authentication credentials."));

    let console = format!("{}/principals", local.running.addresses().console);
    let new =
        json!({ "email": "ci@p.iam.gserviceaccount.com", "permissions": ["run.services.get", "run.services.create"] });
    let made = local.client.post(console).bearer_auth(&local.token).json(&new).send().await.expect("an answer");
    let made: Value = made.json().await.expect("JSON");
    local.token = made["token"].as_str().expect("a token").to_owned();
    assert_eq!(local.get(&path).await.0, 200);
    let resource = "projects/local/locations/us-central1/services/hello";
    for (method, suffix, body, permission) in [
        (Method::PATCH, "", Some(public(&[])), "run.services.update"),
        (Method::DELETE, "", None, "run.services.delete"),
        (Method::GET, ":getIamPolicy", None, "run.services.getIamPolicy"),
        (Method::POST, ":setIamPolicy", Some(json!({})), "run.services.setIamPolicy"),
        (Method::GET, "/revisions", None, "run.revisions.list"),
    ] {
        let (status, answer) = local.call(method, &format!("{path}{suffix}"), body).await;
        assert_eq!((status, &answer["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
        let text = format!("Permission '{permission}' denied on resource '{resource}' (or resource may not exist).");
        assert_eq!(message(&answer), text);
    }
    let (status, answer) = local.create("other", json!({ "template": template(&[]) })).await;
    assert_eq!(status, 403);
    assert!(
        message(&answer).starts_with("Permission 'iam.serviceaccounts.actAs' denied on service account "),
        "{answer:#}"
    );
    let (_, answer) = local
        .call(
            Method::POST,
            &format!("{path}:testIamPermissions"),
            Some(json!({ "permissions": ["run.services.get", "run.services.delete"] })),
        )
        .await;
    assert_eq!(answer, json!({ "permissions": ["run.services.get"] }));
    let (status, answer) =
        local.call(Method::POST, "/v2/entries:list", Some(json!({ "resourceNames": ["projects/local"] }))).await;
    assert_eq!((status, message(&answer)), (403, "Permission denied for all log views"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_validated_changes_nothing() {
    let local = Local::start();
    let path = format!("{PARENT}/services?serviceId=hello&validateOnly=true");
    let (status, operation) = local.call(Method::POST, &path, Some(public(&[]))).await;
    assert_eq!((status, &operation["done"]), (200, &json!(true)));
    assert_eq!(operation["response"]["template"]["timeout"], "300s");
    assert_eq!(local.get(&format!("{PARENT}/services")).await, (200, json!({})));
    let first = local.deployed("hello").await;
    let (_, operation) = local.patch("hello", "?validateOnly=true", public(&["other"])).await;
    assert_eq!(operation["response"]["template"]["containers"][0]["args"], json!(["other"]));
    let path = format!("{PARENT}/services/hello?validateOnly=true");
    assert_eq!(local.call(Method::DELETE, &path, None).await.0, 200);
    assert_eq!(local.service("hello").await, first);
    assert_eq!(local.runtime.launched.lock().expect("a lock").len(), 1);
}
