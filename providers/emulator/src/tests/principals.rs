//! Who may do what: by roles on a project and on a resource, as Google gives it.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, PARENT, TOKEN, public, template};
use crate::gcp::project;

const CI: &str = "ci-bot@local.iam.gserviceaccount.com";
const RUNTIME: &str = "run-it@local.iam.gserviceaccount.com";

/// A token of CI's with these roles on the project.
async fn with_roles(local: &Local, roles: &[&str]) -> String {
    let url = format!("{}/principals", local.running.addresses().console);
    let body = json!({ "email": CI, "roles": roles });
    let response = local.client.post(url).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
    let answer: Value = response.json().await.expect("JSON");
    answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// As the holder of another token.
async fn by(local: &Local, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}{path}", local.running.addresses().google);
    let mut request = local.client.request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn message(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["message"].as_str().unwrap_or_default())
}

fn binding(role: &str, member: &str) -> Value {
    json!({ "policy": { "bindings": [{ "role": role, "members": [member] }] } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_on_the_project_is_for_all_that_is_in_it() {
    let local = Local::start();
    local.deployed("hello").await;
    let token = with_roles(&local, &["roles/run.viewer"]).await;
    let hello = format!("{PARENT}/services/hello");
    assert_eq!(by(&local, &token, Method::GET, &hello, None).await.0, 200);
    let elsewhere = hello.replace("projects/local", "projects/other");
    assert_eq!(by(&local, &token, Method::GET, &elsewhere, None).await.0, 403, "another project");
    let refused = by(&local, &token, Method::DELETE, &hello, None).await;
    let text = "Permission 'run.services.delete' denied on resource 'projects/local/locations/us-central1/services/hello' (or resource may not exist).";
    assert_eq!(message(&refused), (403, text));
    let (_, policy) = local.call(Method::POST, "/v1/projects/local:getIamPolicy", None).await;
    assert_eq!(
        policy["bindings"],
        json!([{ "role": "roles/run.viewer", "members": [format!("serviceAccount:{CI}")] }])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_on_a_service_is_for_that_service_alone() {
    let local = Local::start();
    local.deployed("hello").await;
    local.deployed("other").await;
    let token = with_roles(&local, &[]).await;
    let hello = format!("{PARENT}/services/hello");
    assert_eq!(by(&local, &token, Method::GET, &hello, None).await.0, 403);
    let body = binding("roles/run.developer", &format!("serviceAccount:{CI}"));
    assert_eq!(local.call(Method::POST, &format!("{hello}:setIamPolicy"), Some(body)).await.0, 200);
    assert_eq!(by(&local, &token, Method::GET, &hello, None).await.0, 200);
    let revisions = by(&local, &token, Method::GET, &format!("{hello}/revisions"), None).await;
    assert_eq!(revisions.0, 200, "what is in it too");
    assert_eq!(by(&local, &token, Method::GET, &format!("{PARENT}/services/other"), None).await.0, 403);
    assert_eq!(by(&local, &token, Method::GET, &format!("{PARENT}/services"), None).await.0, 403);
    let asked = json!({ "permissions": ["run.services.update", "run.services.setIamPolicy"] });
    let test = format!("{hello}:testIamPermissions");
    let held = json!({ "permissions": ["run.services.update"] });
    assert_eq!(by(&local, &token, Method::POST, &test, Some(asked.clone())).await, (200, held));
    let test = format!("{PARENT}/services/none:testIamPermissions");
    assert_eq!(local.call(Method::POST, &test, Some(asked)).await, (200, json!({})), "it is not there");
    let wild = json!({ "permissions": ["run.*"] });
    assert_eq!(by(&local, &token, Method::POST, &format!("{hello}:testIamPermissions"), Some(wild)).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_deploys_acts_as_the_runtime_account() {
    let local = Local::start();
    let token = with_roles(&local, &["roles/run.developer"]).await;
    let mut service = json!({ "template": template(&[]) });
    let create = format!("{PARENT}/services?serviceId=hello");
    let default = format!("{}-compute@developer.gserviceaccount.com", project::number("local"));
    let refused = by(&local, &token, Method::POST, &create, Some(service.clone())).await;
    let text =
        format!("Permission 'iam.serviceaccounts.actAs' denied on service account {default} (or it may not exist).");
    assert_eq!(message(&refused), (403, &*text));
    service["template"]["serviceAccount"] = json!(RUNTIME);
    assert_eq!(by(&local, &token, Method::POST, &create, Some(service.clone())).await.0, 403);
    let body = binding("roles/iam.serviceAccountUser", &format!("serviceAccount:{CI}"));
    let set = format!("/v1/projects/local/serviceAccounts/{RUNTIME}:setIamPolicy");
    assert_eq!(local.call(Method::POST, &set, Some(body)).await.0, 200);
    // Since 2025 the image has to be theirs to read as well.
    let refused = by(&local, &token, Method::POST, &create, Some(service.clone())).await;
    assert_eq!(refused.0, 403);
    assert!(message(&refused).1.starts_with("User must have permission to read the image, "), "{refused:?}");
    let token = with_roles(&local, &["roles/run.developer", "roles/artifactregistry.reader"]).await;
    let operation = by(&local, &token, Method::POST, &create, Some(service.clone())).await;
    assert_eq!(local.done(operation).await.get("error"), None);
    let patch = format!("{PARENT}/services/hello");
    service["template"]["serviceAccount"] = json!(default);
    assert_eq!(by(&local, &token, Method::PATCH, &patch, Some(service.clone())).await.0, 403, "another account");
    service["template"]["serviceAccount"] = json!(RUNTIME);
    service["template"]["containers"][0]["args"] = json!(["new"]);
    assert_eq!(by(&local, &token, Method::PATCH, &patch, Some(service)).await.0, 200);
    let asked = json!({ "permissions": ["iam.serviceAccounts.actAs", "iam.serviceAccounts.getAccessToken"] });
    let test = |account: &str| format!("/v1/projects/-/serviceAccounts/{account}:testIamPermissions");
    let held = json!({ "permissions": ["iam.serviceAccounts.actAs"] });
    assert_eq!(by(&local, &token, Method::POST, &test(RUNTIME), Some(asked.clone())).await, (200, held));
    assert_eq!(by(&local, &token, Method::POST, &test(&default), Some(asked)).await, (200, json!({})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_service_is_for_its_invokers() {
    let local = Local::start();
    let operation = local.create("hello", json!({ "template": template(&[]) })).await;
    let service = local.done(operation).await["response"].clone();
    let url = super::harness::url(&service).to_owned();
    let token = with_roles(&local, &[]).await;
    let status = async |token: &str| {
        local.client.get(&url).bearer_auth(token).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!((status(&token).await, local.text(&url).await.0), (403, 403));
    let hello = format!("{PARENT}/services/hello:setIamPolicy");
    let body = binding("roles/run.invoker", &format!("serviceAccount:{CI}"));
    assert_eq!(local.call(Method::POST, &hello, Some(body)).await.0, 200);
    assert_eq!((status(&token).await, local.text(&url).await.0), (200, 403));
    let body = binding("roles/run.invoker", "allUsers");
    assert_eq!(local.call(Method::POST, &hello, Some(body)).await.0, 200);
    assert_eq!(local.text(&url).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projects_own_role_is_what_it_says() {
    let local = Local::start();
    local.deployed("hello").await;
    let roles = "/v1/projects/local/roles";
    let role = json!({ "title": "Deployer", "includedPermissions": ["run.services.get"], "stage": "GA" });
    let body = json!({ "roleId": "deployer", "role": role });
    let (status, made) = local.call(Method::POST, roles, Some(body.clone())).await;
    assert_eq!((status, &made["name"]), (200, &json!("projects/local/roles/deployer")));
    assert_eq!(local.call(Method::POST, roles, Some(body)).await.0, 409);
    let wrong = json!({ "roleId": "other", "role": { "includedPermissions": ["run.*"] } });
    assert_eq!(local.call(Method::POST, roles, Some(wrong)).await.0, 400);
    let project = "/v1/projects/local:setIamPolicy";
    let member = format!("serviceAccount:{CI}");
    let refused = local.call(Method::POST, project, Some(binding("projects/local/roles/none", &member))).await;
    let text = "Role (projects/local/roles/none) does not exist in the resource's hierarchy.";
    assert_eq!(message(&refused), (400, text));
    let token = with_roles(&local, &["projects/local/roles/deployer"]).await;
    let hello = format!("{PARENT}/services/hello");
    assert_eq!(by(&local, &token, Method::GET, &hello, None).await.0, 200);
    assert_eq!(by(&local, &token, Method::DELETE, &hello, None).await.0, 403);
    let path = format!("{roles}/deployer");
    let more = json!({ "includedPermissions": ["run.services.get", "run.services.delete"] });
    let (_, patched) = local.call(Method::PATCH, &format!("{path}?updateMask=includedPermissions"), Some(more)).await;
    assert_eq!(patched["title"], "Deployer");
    let (_, listed) = local.get(roles).await;
    assert_eq!(
        (listed["roles"][0]["title"].as_str(), listed["roles"][0].get("includedPermissions")),
        (Some("Deployer"), None)
    );
    assert_eq!(local.call(Method::DELETE, &path, None).await.1["deleted"], true);
    assert_eq!(local.get(roles).await, (200, json!({})));
    assert_eq!(by(&local, &token, Method::GET, &hello, None).await.0, 403, "it gives nothing any more");
    assert_eq!(local.call(Method::POST, &format!("{path}:undelete"), Some(json!({}))).await.0, 200);
    assert_eq!(by(&local, &token, Method::DELETE, &hello, None).await.0, 200);
    let (_, admin) = local.get("/v1/roles/run.admin").await;
    assert!(
        admin["includedPermissions"].as_array().is_some_and(|held| held.contains(&json!("run.services.setIamPolicy")))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_accounts_are_made_disabled_and_gone() {
    let local = Local::start();
    let accounts = "/v1/projects/local/serviceAccounts";
    let body = json!({ "accountId": "ci-bot", "serviceAccount": { "displayName": "CI" } });
    let (status, made) = local.call(Method::POST, accounts, Some(body.clone())).await;
    assert_eq!((status, &made["email"], &made["displayName"]), (200, &json!(CI), &json!("CI")));
    let again = local.call(Method::POST, accounts, Some(body)).await;
    assert_eq!(message(&again), (409, "Service account ci-bot already exists within project projects/local."));
    let short = local.call(Method::POST, accounts, Some(json!({ "accountId": "ci" }))).await;
    assert_eq!(message(&short), (400, "The account ID \"ci\" does not have a length between 6 and 30."));
    assert_eq!(local.get(accounts).await.1["accounts"], json!([made]));
    let number = made["uniqueId"].as_str().expect("a number");
    assert_eq!(local.get(&format!("{accounts}/{number}")).await, (200, made.clone()));
    let described = json!({ "serviceAccount": { "description": "of the pipeline" }, "updateMask": "description" });
    let (_, patched) = local.call(Method::PATCH, &format!("{accounts}/{CI}"), Some(described)).await;
    assert_eq!((&patched["displayName"], &patched["description"]), (&json!("CI"), &json!("of the pipeline")));

    let token = with_roles(&local, &["roles/run.viewer"]).await;
    let services = format!("{PARENT}/services");
    assert_eq!(by(&local, &token, Method::GET, &services, None).await.0, 200);
    assert_eq!(local.call(Method::POST, &format!("{accounts}/{CI}:disable"), Some(json!({}))).await, (200, json!({})));
    assert_eq!(by(&local, &token, Method::GET, &services, None).await.0, 401);
    assert_eq!(local.get(&format!("{accounts}/{CI}")).await.1["disabled"], true);
    assert_eq!(local.call(Method::POST, &format!("{accounts}/{CI}:enable"), Some(json!({}))).await.0, 200);
    assert_eq!(by(&local, &token, Method::GET, &services, None).await.0, 200);
    let refused = by(&local, &token, Method::GET, accounts, None).await;
    assert_eq!(
        message(&refused),
        (403, "Permission 'iam.serviceAccounts.list' denied on resource (or it may not exist).")
    );
    assert_eq!(local.call(Method::DELETE, &format!("{accounts}/{CI}"), None).await, (200, json!({})));
    assert_eq!(message(&local.get(&format!("{accounts}/{CI}")).await), (404, "Unknown service account"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projects_accessor_reads_its_secrets() {
    let local = Local::start();
    let secrets = "/v1/projects/local/secrets";
    let body = json!({ "replication": { "automatic": {} } });
    assert_eq!(local.call(Method::POST, &format!("{secrets}?secretId=db"), Some(body)).await.0, 200);
    let value = json!({ "payload": { "data": "czNjcjN0" } });
    assert_eq!(local.call(Method::POST, &format!("{secrets}/db:addVersion"), Some(value)).await.0, 200);
    let mut service = public(&[]);
    service["template"]["serviceAccount"] = json!(RUNTIME);
    service["template"]["containers"][0]["env"] =
        json!([{ "name": "DB", "valueSource": { "secretKeyRef": { "secret": "db", "version": "1" } } }]);
    let failed = local.done(local.create("hello", service.clone()).await).await;
    assert_eq!(failed["error"]["code"], 13);
    let body = binding("roles/secretmanager.secretAccessor", &format!("serviceAccount:{RUNTIME}"));
    let (_, policy) = local.call(Method::POST, "/v3/projects/local:setIamPolicy", Some(body)).await;
    assert_eq!(policy["bindings"][0]["role"], "roles/secretmanager.secretAccessor");
    let operation = local.done(local.patch("hello", "?forceNewRevision=true", service).await).await;
    assert_eq!(operation.get("error"), None, "{operation:#}");
    let token = with_roles(&local, &["roles/secretmanager.secretAccessor"]).await;
    let access = format!("{secrets}/db/versions/latest:access");
    assert_eq!(by(&local, &token, Method::GET, &access, None).await.0, 200);
    let text =
        "Permission 'secretmanager.secrets.get' denied for resource 'projects/local/secrets/db' (or it may not exist).";
    assert_eq!(message(&by(&local, &token, Method::GET, &format!("{secrets}/db"), None).await), (403, text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_is_asked_what_the_caller_has_there() {
    let local = Local::start();
    let token = with_roles(&local, &["roles/run.developer"]).await;
    let asked = json!({ "permissions": ["run.services.create", "run.services.setIamPolicy"] });
    let held = json!({ "permissions": ["run.services.create"] });
    for path in ["/v1/projects/local:testIamPermissions", "/v3/projects/local:testIamPermissions"] {
        assert_eq!(by(&local, &token, Method::POST, path, Some(asked.clone())).await, (200, held.clone()), "{path}");
    }
    let other = "/v3/projects/other:testIamPermissions";
    assert_eq!(by(&local, &token, Method::POST, other, Some(asked)).await, (200, json!({})));
    let refused = by(&local, &token, Method::POST, "/v1/projects/local:getIamPolicy", Some(json!({}))).await;
    assert_eq!(message(&refused), (403, "The caller does not have permission"));
    let url = format!("{}/principals", local.running.addresses().console);
    let body = json!({ "email": CI, "roles": ["roles/nothing"] });
    let response = local.client.post(url).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_on_an_account_is_enough_to_make_its_keys() {
    let local = Local::start();
    let token = with_roles(&local, &[]).await;
    let keys = format!("/v1/projects/local/serviceAccounts/{RUNTIME}/keys");
    assert_eq!(by(&local, &token, Method::POST, &keys, Some(json!({}))).await.0, 403);
    let body = binding("roles/iam.serviceAccountKeyAdmin", &format!("serviceAccount:{CI}"));
    let set = format!("/v1/projects/local/serviceAccounts/{RUNTIME}:setIamPolicy");
    assert_eq!(local.call(Method::POST, &set, Some(body)).await.0, 200);
    assert_eq!(by(&local, &token, Method::POST, &keys, Some(json!({}))).await.0, 200);
    let others = format!("/v1/projects/local/serviceAccounts/{CI}/keys");
    assert_eq!(by(&local, &token, Method::POST, &others, Some(json!({}))).await.0, 403);
}
