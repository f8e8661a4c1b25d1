//! Secret Manager by raw calls: what it keeps, what it refuses, and who may.
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Local, TOKEN};
use crate::gcp::project;

const SECRETS: &str = "/v1/projects/local/secrets";
/// `s3cr3t`, and its CRC32C as another implementation has it.
const DATA: &str = "czNjcjN0";
const CHECKSUM: &str = "825573743";

fn automatic() -> Value {
    json!({ "replication": { "automatic": {} } })
}

/// `projects/NUMBER/secrets/REST`.
fn named(rest: &str) -> String {
    format!("projects/{}/secrets/{rest}", project::number("local"))
}

impl Local {
    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn secret(&self, id: &str) -> Value {
        let (status, secret) = self.post(&format!("{SECRETS}?secretId={id}"), automatic()).await;
        assert_eq!(status, 200, "{secret:#}");
        secret
    }

    async fn add(&self, id: &str) -> Value {
        let (status, version) =
            self.post(&format!("{SECRETS}/{id}:addVersion"), json!({ "payload": { "data": DATA } })).await;
        assert_eq!(status, 200, "{version:#}");
        version
    }

    /// By a token with these permissions alone.
    async fn by(&self, email: &str, permissions: &[&str]) -> String {
        let url = format!("{}/principals", self.running.addresses().console);
        let body = json!({ "email": email, "permissions": permissions });
        let response = self.client.post(url).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
        let answer: Value = response.json().await.expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    }
}

fn refusal(answer: &(u16, Value)) -> (u16, &str, &str) {
    let error = &answer.1["error"];
    (answer.0, error["status"].as_str().unwrap_or_default(), error["message"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_lives_and_goes() {
    let local = Local::start();
    let body = json!({ "replication": { "userManaged": { "replicas": [{ "location": "us-east1" }] } }, "labels": { "team": "a" }, "name": "ignored" });
    let (status, created) = local.post(&format!("{SECRETS}?secretId=db-url"), body).await;
    assert_eq!(status, 200, "{created:#}");
    assert_eq!(created["name"], named("db-url"));
    assert_eq!(created["replication"]["userManaged"]["replicas"], json!([{ "location": "us-east1" }]));
    assert_eq!(local.get(&format!("{SECRETS}/db-url")).await, (200, created.clone()));
    let by_number = format!("/v1/{}", named("db-url"));
    assert_eq!(local.get(&by_number).await, (200, created.clone()));

    local.add("db-url").await;
    let payload = json!({ "payload": { "data": DATA, "dataCrc32c": CHECKSUM } });
    let (_, second) = local.post(&format!("{by_number}:addVersion"), payload).await;
    assert_eq!(second["name"], named("db-url/versions/2"));
    assert_eq!(second["state"], "ENABLED");
    assert_eq!(second["clientSpecifiedPayloadChecksum"], true);
    assert_eq!(second["replicationStatus"], json!({ "userManaged": { "replicas": [{ "location": "us-east1" }] } }));
    let versions = format!("{SECRETS}/db-url/versions");
    let (_, listed) = local.get(&versions).await;
    assert_eq!(listed["totalSize"], 2);
    assert_eq!(listed["versions"][0], second, "the newest first");
    assert_eq!(listed["versions"][1].get("clientSpecifiedPayloadChecksum"), None);
    let expected = json!({ "name": named("db-url/versions/2"), "payload": { "data": DATA, "dataCrc32c": CHECKSUM } });
    for version in ["latest", "2"] {
        assert_eq!(local.get(&format!("{versions}/{version}:access")).await, (200, expected.clone()));
        assert_eq!(local.get(&format!("{versions}/{version}")).await, (200, second.clone()));
    }

    let (_, disabled) = local.post(&format!("{versions}/2:disable"), json!({ "etag": second["etag"] })).await;
    assert_eq!(disabled["state"], "DISABLED");
    assert_ne!(disabled["etag"], second["etag"]);
    let text = format!("Secret Version [{}] is in DISABLED state.", named("db-url/versions/2"));
    let answer = local.get(&format!("{versions}/latest:access")).await;
    assert_eq!(refusal(&answer), (400, "FAILED_PRECONDITION", &*text), "the latest one, and no other in its place");
    assert_eq!(local.get(&format!("{versions}/1:access")).await.0, 200);
    assert_eq!(local.post(&format!("{versions}/2:enable"), json!({})).await.1["state"], "ENABLED");
    let (_, destroyed) = local.post(&format!("{versions}/2:destroy"), json!({})).await;
    assert_eq!(destroyed["state"], "DESTROYED");
    assert!(destroyed["destroyTime"].is_string(), "{destroyed:#}");
    for (filter, numbers) in [("state:ENABLED", vec![1]), ("state:DESTROYED", vec![2]), ("name:versions", vec![2, 1])] {
        let (_, listed) = local.get(&format!("{versions}?filter={filter}")).await;
        let names: Vec<_> =
            listed["versions"].as_array().expect("versions").iter().map(|version| version["name"].clone()).collect();
        let expected: Vec<_> =
            numbers.iter().map(|number| json!(named(&format!("db-url/versions/{number}")))).collect();
        assert_eq!((names, listed.get("totalSize")), (expected, None), "{filter}");
    }
    assert_eq!(local.get(&format!("{SECRETS}/db-url")).await.1, created, "its versions leave the secret as it is");

    let delete = async |etag: &str| local.call(Method::DELETE, &format!("{SECRETS}/db-url?etag={etag}"), None).await;
    let answer = delete("%22123%22").await;
    assert_eq!((answer.0, &answer.1["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    let etag = created["etag"].as_str().expect("an etag").replace('"', "%22");
    assert_eq!(delete(&etag).await, (200, json!({})));
    let text = format!("Secret [{}] not found.", named("db-url"));
    assert_eq!(refusal(&local.get(&format!("{SECRETS}/db-url")).await), (404, "NOT_FOUND", &*text));
    let text = format!("Secret [{}] not found or has no versions.", named("db-url"));
    assert_eq!(refusal(&local.get(&format!("{versions}/latest:access")).await), (404, "NOT_FOUND", &*text));
    local.secret("db-url").await;
    assert_eq!(refusal(&local.get(&format!("{versions}/latest:access")).await), (404, "NOT_FOUND", &*text));
    assert_eq!(local.add("db-url").await["name"], named("db-url/versions/1"), "the numbers begin again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_takes_what_its_mask_names() {
    let local = Local::start();
    let created = local.secret("s").await;
    local.add("s").await;
    let patch = async |mask: &str, body: Value| {
        local.call(Method::PATCH, &format!("{SECRETS}/s?updateMask={mask}"), Some(body)).await
    };
    let body = json!({ "labels": { "a": "1" }, "annotations": { "b": "2" }, "etag": created["etag"] });
    let (status, patched) = patch("labels", body.clone()).await;
    assert_eq!((status, &patched["labels"], patched.get("annotations")), (200, &json!({ "a": "1" }), None));
    let stale = patch("labels", body).await;
    assert_eq!((stale.0, &stale.1["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    let body = json!({ "versionAliases": { "prod": 1 }, "annotations": { "b": "2" } });
    let (_, patched) = patch("version_aliases,annotations,labels", body).await;
    assert_eq!(patched["versionAliases"], json!({ "prod": "1" }));
    assert_eq!((patched.get("labels"), &patched["annotations"]), (None, &json!({ "b": "2" })));
    assert_eq!(local.get(&format!("{SECRETS}/s/versions/prod:access")).await.0, 200);
    let text = format!("Secret [{}] has no alias [staging]", named("s"));
    assert_eq!(refusal(&local.get(&format!("{SECRETS}/s/versions/staging:access")).await), (404, "NOT_FOUND", &*text));
    let (_, ends) = patch("ttl", json!({ "ttl": "3600s" })).await;
    assert!(ends["expireTime"].is_string() && ends.get("ttl").is_none(), "{ends:#}");
    assert_eq!(patch("expireTime", json!({})).await.1.get("expireTime"), None);
    let before = patch("", json!({ "labels": { "c": "3" } })).await.1;
    assert_eq!(before.get("labels"), None);
    for (mask, body, status, text) in [
        ("replication", automatic(), 200, ""),
        (
            "replication",
            json!({ "replication": { "userManaged": { "replicas": [{ "location": "us-east1" }] } } }),
            400,
            "Existing secret has automatic replication, but requested secret does not. Updating secret replication is not supported.",
        ),
        ("*", json!({}), 400, "Request contains an invalid argument."),
        ("labels.a", json!({}), 400, "Request contains an invalid argument."),
        ("secret_type", json!({}), 400, "Field 'secret_type' is immutable and cannot be updated."),
        (
            "topics",
            json!({ "topics": [{ "name": "projects/local/topics/t" }] }),
            501,
            "The local cloud does not support Secret.topics.",
        ),
        (
            "rotation.next_rotation_time",
            json!({ "rotation": { "nextRotationTime": "2030-01-01T00:00:00Z" } }),
            501,
            "The local cloud does not support Secret.rotation.",
        ),
        ("topics,rotation", json!({}), 200, ""),
        (
            "labels",
            json!({ "labels": { "A": "" } }),
            400,
            r#"Invalid field "labels"; key "A" does not conform to regular expression "[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}""#,
        ),
    ] {
        let answer = patch(mask, body).await;
        assert_eq!((answer.0, refusal(&answer).2), (status, text), "{mask}");
    }
    let answer = local.call(Method::PATCH, &format!("{SECRETS}/s"), Some(json!({}))).await;
    assert_eq!(refusal(&answer).2, "Field [update_mask] is required.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_listed_newest_first_and_by_pages() {
    let local = Local::start();
    for id in ["b", "a", "c"] {
        local.secret(id).await;
    }
    local.post("/v1/projects/other/secrets?secretId=d", automatic()).await;
    let ids = |answer: &Value| -> Vec<String> {
        let secrets = answer["secrets"].as_array().into_iter().flatten();
        secrets.map(|secret| super::harness::last(&secret["name"]).to_owned()).collect()
    };
    let (_, all) = local.get(SECRETS).await;
    assert_eq!((ids(&all), &all["totalSize"]), (vec!["c".to_owned(), "a".to_owned(), "b".to_owned()], &json!(3)));
    let (_, first) = local.get(&format!("{SECRETS}?pageSize=2")).await;
    let token = first["nextPageToken"].as_str().expect("more");
    let (_, second) = local.get(&format!("{SECRETS}?pageSize=2&pageToken={token}")).await;
    assert_eq!((ids(&first).len(), ids(&second), second.get("nextPageToken")), (2, vec!["b".to_owned()], None));
    let (_, filtered) = local.get(&format!("{SECRETS}?filter=name:secrets/a%20OR%20name:secrets/b")).await;
    assert_eq!(ids(&filtered), ["a", "b"]);
    assert_eq!(local.get(&format!("{SECRETS}?filter=color=red")).await.0, 400);
    assert_eq!(local.get("/v1/projects/third/secrets").await, (200, json!({})));
    local
        .client
        .post(format!("{}/reset", local.running.addresses().console))
        .bearer_auth(TOKEN)
        .send()
        .await
        .expect("an answer");
    assert_eq!(local.get(SECRETS).await, (200, json!({})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_google_refuses() {
    let local = Local::start();
    local.secret("s").await;
    local.add("s").await;
    let (exists, ten) = (format!("Secret [{}] already exists.", named("s")), named("s/versions/10"));
    let not_found = format!("Secret Version [{ten}] not found.");
    let no_number = format!(
        "The provided Secret Version ID [{}] does not match the expected format [projects/*/secrets/*/versions*]",
        named("s/versions/latest")
    );
    let long = "a".repeat(256);
    let create = |id: &str| format!("{SECRETS}?secretId={id}");
    let add = format!("{SECRETS}/s:addVersion");
    for (path, body, status, name, text) in [
        (create("s"), automatic(), 409, "ALREADY_EXISTS", &*exists),
        (SECRETS.to_owned(), automatic(), 400, "INVALID_ARGUMENT", "Secret ID must be provided."),
        (
            create("a.b"),
            automatic(),
            400,
            "INVALID_ARGUMENT",
            "The provided Secret ID [projects/local/secrets/a.b] does not match the expected format [projects/*/secrets/*]",
        ),
        (create(&long), automatic(), 400, "INVALID_ARGUMENT", ""),
        (create("t"), json!({}), 400, "INVALID_ARGUMENT", "Secret must be provided."),
        (
            create("t"),
            json!({ "labels": { "a": "b" } }),
            400,
            "INVALID_ARGUMENT",
            "Secret.replication must be provided.",
        ),
        (
            create("t"),
            json!({ "replication": { "automatic": {} }, "color": 1 }),
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"color\" at 'secret': Cannot find field.",
        ),
        (
            create("t"),
            json!({ "replication": { "automatic": {} }, "versionAliases": { "a": "1" } }),
            400,
            "INVALID_ARGUMENT",
            "Aliases cannot be assigned to versions that don't exist",
        ),
        (
            create("t"),
            json!({ "replication": { "automatic": {} }, "topics": [{ "name": "t" }] }),
            501,
            "UNIMPLEMENTED",
            "The local cloud does not support Secret.topics.",
        ),
        (add.clone(), json!({}), 400, "INVALID_ARGUMENT", "Field [payload] is required."),
        (add.clone(), json!({ "payload": { "data": "" } }), 400, "INVALID_ARGUMENT", "Secret Payload cannot be empty."),
        (
            add.clone(),
            json!({ "payload": { "data": DATA, "dataCrc32c": "0" } }),
            400,
            "INVALID_ARGUMENT",
            "Provided SecretPayload.data crc32c does not match calculated crc32c.",
        ),
        (
            add.clone(),
            json!({ "payload": { "data": "hunter2!" } }),
            400,
            "INVALID_ARGUMENT",
            "Invalid value at 'payload.data' (TYPE_BYTES), Base64 decoding failed",
        ),
        (
            add,
            json!({ "payload": { "data": { "hunter2": 1 } } }),
            400,
            "INVALID_ARGUMENT",
            "Invalid value at 'payload.data' (TYPE_BYTES)",
        ),
        (format!("{SECRETS}/s/versions/latest:destroy"), json!({}), 400, "INVALID_ARGUMENT", &*no_number),
        (format!("{SECRETS}/s/versions/10:destroy"), json!({}), 404, "NOT_FOUND", &*not_found),
        (
            format!("{SECRETS}/s:setIamPolicy"),
            json!({ "policy": { "auditConfigs": [{ "service": "allServices" }] } }),
            501,
            "UNIMPLEMENTED",
            "",
        ),
    ] {
        let answer = local.post(&path, body.clone()).await;
        let (got_status, got_name, got_text) = refusal(&answer);
        assert_eq!((got_status, got_name), (status, name), "{path} {body} {answer:?}");
        assert!(text.is_empty() || got_text == text, "{path} {body}\n{got_text}\n{text}");
        assert!(!answer.1.to_string().contains("hunter2"), "{answer:?}");
    }
    for (path, text) in [
        (
            format!("{SECRETS}/a.b/versions/1:access"),
            "The provided Secret ID [projects/local/secrets/a.b/versions/1] does not match the expected format [projects/*/secrets/*/versions/*]",
        ),
        (format!("{SECRETS}/s/versions/10:access"), &*not_found),
        (format!("{SECRETS}/s/versions?pageToken=x"), "The provided page_token is invalid."),
    ] {
        assert_eq!(refusal(&local.get(&path).await).2, text, "{path}");
    }
    let answer =
        local.call(Method::POST, "/v1/projects/local/locations/us-east1/secrets?secretId=s", Some(json!({}))).await;
    assert_eq!(answer.0, 501, "regional secrets are not served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_gives_what_its_roles_hold() {
    let mut local = Local::start();
    local.secret("s").await;
    local.add("s").await;
    let (access, policy) = (format!("{SECRETS}/s/versions/latest:access"), format!("{SECRETS}/s:setIamPolicy"));
    assert_eq!(
        local.get(&format!("{SECRETS}/s:getIamPolicy?options.requestedPolicyVersion=3")).await,
        (200, json!({ "etag": "ACAB" }))
    );
    let runner = local.by("run@local.iam.gserviceaccount.com", &[]).await;
    local.token.clone_from(&runner);
    let denied = local.get(&access).await;
    assert_eq!(
        refusal(&denied),
        (
            403,
            "PERMISSION_DENIED",
            "Permission 'secretmanager.versions.access' denied for resource 'projects/local/secrets/s/versions/latest' (or it may not exist)."
        )
    );
    assert_eq!(denied.1["error"]["details"][0]["reason"], "IAM_PERMISSION_DENIED");
    let unknown = local.get(&format!("{SECRETS}/none/versions/1:access")).await;
    assert_eq!(unknown.0, 403, "who may not read it learns not whether it is there");
    let asked = json!({ "permissions": ["secretmanager.versions.access", "secretmanager.secrets.get"] });
    assert_eq!(local.post(&format!("{SECRETS}/s:testIamPermissions"), asked.clone()).await, (200, json!({})));

    local.token = TOKEN.to_owned();
    let binding = json!([{ "role": "roles/secretmanager.secretAccessor", "members": ["serviceAccount:run@local.iam.gserviceaccount.com"] }]);
    let (status, set) = local.post(&policy, json!({ "policy": { "etag": "ACAB", "bindings": binding } })).await;
    assert_eq!((status, &set["bindings"]), (200, &binding));
    let stale = local.post(&policy, json!({ "policy": { "etag": "ACAB" } })).await;
    assert_eq!((stale.0, refusal(&stale).1), (409, "ABORTED"));
    assert_eq!(local.post(&format!("{SECRETS}/none:testIamPermissions"), asked.clone()).await, (200, json!({})));
    assert_eq!(local.post(&format!("{SECRETS}/s:testIamPermissions"), asked.clone()).await.1, asked);

    local.token = runner;
    assert_eq!(local.get(&access).await.1["payload"]["data"], DATA);
    let held = json!({ "permissions": ["secretmanager.versions.access"] });
    assert_eq!(local.post(&format!("{SECRETS}/s:testIamPermissions"), asked).await, (200, held));
    for (method, path, body, permission) in [
        (Method::GET, SECRETS.to_owned(), None, "secretmanager.secrets.list"),
        (Method::POST, format!("{SECRETS}?secretId=t"), Some(automatic()), "secretmanager.secrets.create"),
        (Method::GET, format!("{SECRETS}/s"), None, "secretmanager.secrets.get"),
        (Method::PATCH, format!("{SECRETS}/s?updateMask=labels"), Some(json!({})), "secretmanager.secrets.update"),
        (Method::DELETE, format!("{SECRETS}/s"), None, "secretmanager.secrets.delete"),
        (
            Method::POST,
            format!("{SECRETS}/s:addVersion"),
            Some(json!({ "payload": { "data": DATA } })),
            "secretmanager.versions.add",
        ),
        (Method::GET, format!("{SECRETS}/s/versions"), None, "secretmanager.versions.list"),
        (Method::GET, format!("{SECRETS}/s/versions/1"), None, "secretmanager.versions.get"),
        (Method::POST, format!("{SECRETS}/s/versions/1:enable"), Some(json!({})), "secretmanager.versions.enable"),
        (Method::POST, format!("{SECRETS}/s/versions/1:disable"), Some(json!({})), "secretmanager.versions.disable"),
        (Method::POST, format!("{SECRETS}/s/versions/1:destroy"), Some(json!({})), "secretmanager.versions.destroy"),
        (Method::GET, format!("{SECRETS}/s:getIamPolicy"), None, "secretmanager.secrets.getIamPolicy"),
        (Method::POST, policy, Some(json!({ "policy": {} })), "secretmanager.secrets.setIamPolicy"),
    ] {
        let answer = local.call(method, &path, body).await;
        let (status, _, text) = refusal(&answer);
        assert!(
            status == 403 && text.starts_with(&format!("Permission '{permission}' denied for resource '")),
            "{path} {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_apis_of_the_local_cloud_are_enabled() {
    let mut local = Local::start();
    let path = "/v1/projects/local/services";
    let name = format!("projects/{}/services/run.googleapis.com", project::number("local"));
    let (status, service) = local.get(&format!("{path}/run.googleapis.com")).await;
    assert_eq!((status, &service["state"], &service["name"]), (200, &json!("ENABLED"), &json!(name)));
    assert_eq!(local.get(&format!("{path}/secretmanager.googleapis.com")).await.1["state"], "ENABLED");
    let answer = local.get(&format!("{path}/compute.googleapis.com")).await;
    let text = "Not found or permission denied for service(s): compute.googleapis.com.";
    assert_eq!(refusal(&answer), (403, "PERMISSION_DENIED", text));
    assert_eq!(local.get("/v1/folders/1/services/run.googleapis.com").await.0, 501);
    local.token = local.by("a@b", &[]).await;
    assert_eq!(local.get(&format!("{path}/run.googleapis.com")).await.0, 403);
}
