//! From a CI's own token to a token of Google's, and on to a service account's.
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    ACCOUNT, CREDENTIALS, IAM, OAUTH, SCOPE, STS, TOKEN, answer, claims, console, forged, form, post, refused, request,
};
use crate::tests::harness::Local;

const POOLS: &str = "/v1/projects/local/locations/global/workloadIdentityPools";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const TARGET: &str = "The target service indicated by the \"audience\" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.";

/// As Google's guide for pipelines has it.
fn github_provider(condition: &str) -> Value {
    json!({
        "attributeMapping": {
            "google.subject": "assertion.sub",
            "attribute.repository": "assertion.repository",
            "attribute.actor": "assertion.actor",
        },
        "attributeCondition": condition,
        "oidc": { "issuerUri": "https://token.actions.githubusercontent.com" },
    })
}

/// The operation's end.
async fn done(local: &Local, (status, operation): (u16, Value)) -> Value {
    assert_eq!((status, operation.get("done")), (200, None), "{operation}");
    let path = format!("/v1/{}", operation["name"].as_str().expect("a name"));
    let (status, operation) = answer(request(local, Method::GET, IAM, &path).bearer_auth(TOKEN)).await;
    assert_eq!((status, &operation["done"]), (200, &json!(true)), "{operation}");
    operation["response"].clone()
}

/// The provider's name, without a host.
async fn federated(local: &Local, provider: Value) -> String {
    let pool = post(local, IAM, &format!("{POOLS}?workloadIdentityPoolId=github"), TOKEN, json!({})).await;
    assert_eq!(done(local, pool).await["state"], "ACTIVE");
    let path = format!("{POOLS}/github/providers?workloadIdentityPoolProviderId=actions");
    let provider = post(local, IAM, &path, TOKEN, provider).await;
    done(local, provider).await["name"].as_str().expect("a name").to_owned()
}

/// What a job finds in its environment.
async fn job(local: &Local, extra: Value) -> (String, String) {
    let mut job = json!({ "repository": "o/r", "loopback": true });
    job.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    let (status, answer) = console(local, "github", job).await;
    assert_eq!(status, 200, "{answer}");
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    (text("url"), text("token"))
}

async fn job_token(local: &Local, (url, token): &(String, String), audience: &str) -> String {
    let call = local.client.get(format!("{url}&audience={}", audience.replace('/', "%2F"))).bearer_auth(token);
    let (status, answer) = answer(call).await;
    assert_eq!((status, answer["count"].is_number()), (200, true));
    answer["value"].as_str().expect("a token").to_owned()
}

async fn exchange(local: &Local, provider: &str, token: &str) -> (u16, Value) {
    let audience = format!("//iam.googleapis.com/{provider}");
    let fields = [
        ("grant_type", EXCHANGE),
        ("audience", audience.as_str()),
        ("scope", SCOPE),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token_type", JWT),
        ("subject_token", token),
    ];
    form(local, STS, "/v1/token", &fields).await
}

async fn impersonate(local: &Local, token: &str) -> (u16, Value) {
    let path = format!("/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken");
    post(local, CREDENTIALS, &path, token, json!({ "scope": [SCOPE], "lifetime": "600s" })).await
}

async fn bind(local: &Local, role: &str, member: String) {
    let path = format!("/v1/projects/-/serviceAccounts/{ACCOUNT}:setIamPolicy");
    let policy = json!({ "policy": { "bindings": [{ "role": role, "members": [member] }] } });
    assert_eq!(post(local, IAM, &path, TOKEN, policy).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_githubs_becomes_a_service_account_without_a_key() {
    let local = Local::start();
    let provider = federated(&local, github_provider("assertion.repository == 'o/r'")).await;
    let audience = format!("https://iam.googleapis.com/{provider}");
    let token = job_token(&local, &job(&local, json!({})).await, &audience).await;
    let told = claims(&token);
    assert_eq!((&told["sub"], &told["aud"]), (&json!("repo:o/r:ref:refs/heads/main"), &json!(audience)));
    let (status, federated) = exchange(&local, &provider, &token).await;
    assert_eq!((status, &federated["issued_token_type"]), (200, &json!(ACCESS_TOKEN)), "{federated}");
    let federated = federated["access_token"].as_str().expect("a token");
    let (status, refusal) = impersonate(&local, federated).await;
    assert_eq!(status, 403);
    assert_eq!(
        refusal["error"]["message"],
        "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
    );
    assert_eq!(refusal["error"]["details"][0]["metadata"]["permission"], "iam.serviceAccounts.getAccessToken");
    let pool = provider.split_once("/providers/").expect("a pool").0;
    bind(
        &local,
        "roles/iam.workloadIdentityUser",
        format!("principalSet://iam.googleapis.com/{pool}/attribute.repository/o/r"),
    )
    .await;
    let (status, answer) = impersonate(&local, federated).await;
    assert_eq!((status, answer["accessToken"].is_string()), (200, true), "{answer}");
    assert!(answer["expireTime"].as_str().is_some_and(|end| end.ends_with('Z') && end.len() == 20), "{answer}");
    bind(
        &local,
        "roles/iam.workloadIdentityUser",
        format!("principalSet://iam.googleapis.com/{pool}/attribute.repository/o/x"),
    )
    .await;
    assert_eq!(impersonate(&local, federated).await.0, 403, "another repository's");
    bind(
        &local,
        "roles/iam.serviceAccountTokenCreator",
        format!("principal://iam.googleapis.com/{pool}/subject/repo:o/r:ref:refs/heads/main"),
    )
    .await;
    assert_eq!(impersonate(&local, federated).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_meant_is_refused() {
    let local = Local::start();
    let condition = "assertion.repository == 'o/r' && attribute.repository.startsWith('o/') && assertion.ref in ['refs/heads/main']";
    let provider = federated(&local, github_provider(condition)).await;
    let audience = format!("//iam.googleapis.com/{provider}");
    let main = job(&local, json!({})).await;
    let good = job_token(&local, &main, &audience).await;
    assert_eq!(exchange(&local, &provider, &good).await.0, 200);

    let rejected = refused("unauthorized_client", "The given credential is rejected by the attribute condition.");
    for other in [json!({ "repository": "o/x" }), json!({ "ref": "refs/heads/x" })] {
        let token = job_token(&local, &job(&local, other).await, &audience).await;
        assert_eq!(exchange(&local, &provider, &token).await, rejected);
    }
    let token = job_token(&local, &main, "https://elsewhere").await;
    let text = "The audience in ID Token [https://elsewhere] does not match the expected audience.";
    assert_eq!(exchange(&local, &provider, &token).await, refused("invalid_grant", text));
    assert_eq!(
        exchange(&local, &provider, &forged(&good)).await,
        refused("invalid_grant", "Invalid ID Token signature.")
    );
    assert_eq!(exchange(&local, &provider, "x").await, refused("invalid_grant", "Unable to parse the ID Token."));
    let (_, gitlab) = console(&local, "gitlab", json!({ "project": "o/r", "audience": audience })).await;
    let (status, refusal) = exchange(&local, &provider, gitlab["token"].as_str().expect("a token")).await;
    assert_eq!((status, &refusal["error"]), (400, &json!("invalid_grant")));
    assert_eq!(
        refusal["error_description"],
        "The issuer in ID Token https://gitlab.com does not match the expected ones: https://token.actions.githubusercontent.com."
    );
    let long =
        job_token(&local, &job(&local, json!({ "ref": format!("refs/heads/{}", "x".repeat(128)) })).await, &audience)
            .await;
    let (status, refusal) = exchange(&local, &provider, &long).await;
    assert_eq!((status, &refusal["error"]), (400, &json!("invalid_request")), "{refusal}");

    assert_eq!(exchange(&local, &provider.replace("actions", "none"), &good).await, refused("invalid_target", TARGET));
    let (status, refusal) = exchange(&local, "projects/1", &good).await;
    assert_eq!((status, &refusal["error"]), (400, &json!("invalid_request")));
    let (url, _) = main;
    let call = local.client.get(url).bearer_auth("wrong").send().await.expect("an answer");
    assert_eq!(call.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_disabled_or_deleted_takes_nobody() {
    let local = Local::start();
    let provider = federated(&local, github_provider("assertion.repository == 'o/r'")).await;
    let audience = format!("//iam.googleapis.com/{provider}");
    let token = job_token(&local, &job(&local, json!({})).await, &audience).await;
    let send = async |method: Method, path: &str, body: Value| {
        answer(request(&local, method, IAM, path).bearer_auth(TOKEN).json(&body)).await
    };
    let pool = format!("{POOLS}/github");
    let patched = send(Method::PATCH, &format!("{pool}?updateMask=disabled"), json!({ "disabled": true })).await;
    assert_eq!(done(&local, patched).await["disabled"], true);
    assert_eq!(exchange(&local, &provider, &token).await, refused("invalid_target", TARGET));
    done(&local, send(Method::PATCH, &format!("{pool}?updateMask=disabled"), json!({})).await).await;
    assert_eq!(exchange(&local, &provider, &token).await.0, 200);
    let gone = send(Method::DELETE, &format!("{pool}/providers/actions"), json!({})).await;
    assert_eq!(done(&local, gone).await["state"], "DELETED");
    assert_eq!(exchange(&local, &provider, &token).await, refused("invalid_target", TARGET));
    let list =
        |suffix: &str| request(&local, Method::GET, IAM, &format!("{pool}/providers{suffix}")).bearer_auth(TOKEN);
    assert_eq!(answer(list("")).await, (200, json!({})));
    assert_eq!(
        answer(list("?showDeleted=true")).await.1["workloadIdentityPoolProviders"].as_array().map(Vec::len),
        Some(1)
    );
    done(&local, send(Method::POST, &format!("{pool}/providers/actions:undelete"), json!({})).await).await;
    assert_eq!(exchange(&local, &provider, &token).await.0, 200);
    let again = send(Method::POST, &format!("{POOLS}?workloadIdentityPoolId=github"), json!({})).await;
    assert_eq!((again.0, &again.1["error"]["status"]), (409, &json!("ALREADY_EXISTS")));
    let condition = json!({ "attributeCondition": "has(assertion.x)" });
    let refusal =
        send(Method::PATCH, &format!("{pool}/providers/actions?updateMask=attributeCondition"), condition).await;
    assert_eq!((refusal.0, &refusal.1["error"]["status"]), (501, &json!("UNIMPLEMENTED")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_may_bring_its_own_audience_and_json_is_taken() {
    let local = Local::start();
    let provider = json!({
        "attributeMapping": { "google.subject": "'gitlab::' + assertion.project_path", "attribute.ref": "assertion.ref" },
        "attributeCondition": "assertion.namespace_path == 'g'",
        "oidc": { "issuerUri": "https://gitlab.com", "allowedAudiences": ["https://carrack.example.com"] },
    });
    let provider = federated(&local, provider).await;
    let job = json!({ "project": "g/p", "audience": "https://carrack.example.com" });
    let (status, token) = console(&local, "gitlab", job).await;
    assert_eq!(status, 200, "{token}");
    let body = json!({
        "grantType": EXCHANGE, "audience": format!("//iam.googleapis.com/{provider}"), "scope": SCOPE,
        "requestedTokenType": ACCESS_TOKEN, "subjectTokenType": JWT, "subjectToken": token["token"],
        "options": "{\"userProject\":\"local\"}",
    });
    let (status, token) = answer(request(&local, Method::POST, STS, "/v1/token").json(&body)).await;
    assert_eq!(status, 200, "{token}");
    let pool = provider.split_once("/providers/").expect("a pool").0;
    bind(
        &local,
        "roles/iam.workloadIdentityUser",
        format!("principal://iam.googleapis.com/{pool}/subject/gitlab::g/p"),
    )
    .await;
    assert_eq!(impersonate(&local, token["access_token"].as_str().expect("a token")).await.0, 200);
    let mut boundary = body.clone();
    boundary["options"] = json!("{\"accessBoundary\":{}}");
    assert_eq!(answer(request(&local, Method::POST, STS, "/v1/token").json(&boundary)).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegates_each_act_as_the_next() {
    let local = Local::start();
    let path = format!("/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken");
    let middle = "middle@local.iam.gserviceaccount.com";
    let body = json!({ "scope": [SCOPE], "delegates": [format!("projects/-/serviceAccounts/{middle}")] });
    assert_eq!(post(&local, CREDENTIALS, &path, TOKEN, body.clone()).await.0, 403, "the account in the middle may not");
    bind(&local, "roles/iam.serviceAccountTokenCreator", format!("serviceAccount:{middle}")).await;
    assert_eq!(post(&local, CREDENTIALS, &path, TOKEN, body).await.0, 200);
    for wrong in [
        json!({}),
        json!({ "scope": [] }),
        json!({ "scope": ["x"] }),
        json!({ "scope": [SCOPE], "lifetime": "3601s" }),
        json!({ "scope": [SCOPE], "delegates": [middle] }),
    ] {
        assert_eq!(post(&local, CREDENTIALS, &path, TOKEN, wrong.clone()).await.0, 400, "{wrong}");
    }
    let named = path.replace("projects/-", "projects/local");
    assert_eq!(post(&local, CREDENTIALS, &named, TOKEN, json!({ "scope": [SCOPE] })).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_down_says_so_in_its_own_way() {
    let local = Local::start();
    let down = async |service: &str| {
        let url = format!("{}/faults", local.running.addresses().console);
        let rule = json!({ "service": service, "fault": { "kind": "status", "status": 503 } });
        assert_eq!(answer(local.client.post(url).bearer_auth(TOKEN).json(&rule)).await.0, 200, "{service}");
    };
    for service in ["oauth2", "sts", "iamcredentials", "metadata", "github"] {
        down(service).await;
    }
    let expected = (503, json!({ "error": "internal_failure", "error_description": "Backend Error" }));
    assert_eq!(form(&local, OAUTH, "/token", &[]).await, expected);
    let (status, refusal) = form(&local, STS, "/v1/token", &[]).await;
    assert_eq!((status, &refusal["error"]["status"]), (503, &json!("UNAVAILABLE")));
    assert_eq!(impersonate(&local, TOKEN).await.1["error"]["status"], "UNAVAILABLE");
    let machine = request(&local, Method::GET, "metadata.google.internal", "/computeMetadata/v1/project/project-id");
    assert_eq!(answer(machine.header("metadata-flavor", "Google")).await, (503, json!("Service Unavailable\n")));
    let (url, token) = job(&local, json!({})).await;
    assert_eq!(answer(local.client.get(url).bearer_auth(token)).await.0, 503);
}
