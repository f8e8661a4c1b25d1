//! Keys as IAM makes them; and that no token, key or assertion is in a line of what was called.
use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    ACCOUNT, ASSERTION, CREDENTIALS, IAM, OAUTH, SCOPE, TOKEN, answer, console, file, form, now, post, request, signed,
};
use crate::{record::Recorder, tests::harness::Local};

const KEYS: &str = "/v1/projects/local/serviceAccounts/deployer@local.iam.gserviceaccount.com/keys";

async fn exchange(local: &Local, key: &Value) -> (u16, Value) {
    let claims = json!({
        "iss": ACCOUNT, "scope": SCOPE, "aud": "https://oauth2.googleapis.com/token", "iat": now(), "exp": now() + 600,
    });
    let signed = signed(key, &claims);
    form(local, OAUTH, "/token", &[("grant_type", ASSERTION), ("assertion", &signed)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_signs_as_long_as_it_is_there_and_enabled() {
    let local = Local::start();
    let send = async |method: Method, path: &str| {
        answer(request(&local, method, IAM, path).bearer_auth(TOKEN).json(&json!({}))).await
    };
    let (status, made) = send(Method::POST, KEYS).await;
    assert_eq!((status, &made["privateKeyType"]), (200, &json!("TYPE_GOOGLE_CREDENTIALS_FILE")), "{status}");
    let key = STANDARD.decode(made["privateKeyData"].as_str().expect("bytes")).expect("base64");
    let key: Value = serde_json::from_slice(&key).expect("a key file");
    let name = format!("/v1/{}", made["name"].as_str().expect("a name"));
    assert_eq!(name, format!("{KEYS}/{}", key["private_key_id"].as_str().expect("an id")));
    assert_eq!(exchange(&local, &key).await.0, 200);
    assert_eq!(send(Method::POST, &format!("{name}:disable")).await, (200, json!({})));
    assert_eq!(exchange(&local, &key).await.1["error_description"], "Invalid JWT Signature.");
    let (_, shown) = answer(request(&local, Method::GET, IAM, &name).bearer_auth(TOKEN)).await;
    assert_eq!((&shown["disabled"], shown.get("privateKeyData")), (&json!(true), None));
    assert_eq!(send(Method::POST, &format!("{name}:enable")).await.0, 200);
    assert_eq!(exchange(&local, &key).await.0, 200);
    let raw =
        request(&local, Method::GET, IAM, &format!("{name}?publicKeyType=TYPE_RAW_PUBLIC_KEY")).bearer_auth(TOKEN);
    let public = STANDARD.decode(answer(raw).await.1["publicKeyData"].as_str().expect("bytes")).expect("base64");
    assert!(public.starts_with(b"-----BEGIN PUBLIC KEY-----\n"));
    assert_eq!(send(Method::DELETE, &name).await, (200, json!({})));
    assert_eq!(exchange(&local, &key).await.1["error_description"], "Invalid JWT Signature.");
    assert_eq!(send(Method::DELETE, &name).await.0, 404);
    let account = "/v1/projects/local/serviceAccounts";
    let body = json!({ "accountId": "deployer" });
    assert_eq!(post(&local, IAM, account, TOKEN, body).await.0, 200);
    let (_, made) = send(Method::POST, KEYS).await;
    let key = STANDARD.decode(made["privateKeyData"].as_str().expect("bytes")).expect("base64");
    let key: Value = serde_json::from_slice(&key).expect("a key file");
    assert_eq!(exchange(&local, &key).await.0, 200);
    assert_eq!(send(Method::DELETE, &format!("{account}/{ACCOUNT}")).await.0, 200);
    assert_eq!(exchange(&local, &key).await.1["error_description"], "Invalid grant: account not found");
    let list = request(&local, Method::GET, IAM, KEYS).bearer_auth(TOKEN);
    assert_eq!(answer(list).await, (200, json!({})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_has_a_token_a_key_or_an_assertion() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("calls");
    let local = Local::recorded(Some(Recorder::create(&path).expect("a new file")));
    let mut hidden = vec![TOKEN.to_owned()];
    let mut hide = |value: &Value| hidden.push(value.as_str().expect("a text").to_owned());
    let (_, made) = answer(request(&local, Method::POST, IAM, KEYS).bearer_auth(TOKEN).json(&json!({}))).await;
    hide(&made["privateKeyData"]);
    let key = file(&local, "key", json!({ "email": ACCOUNT })).await;
    hide(&key["private_key"]);
    hide(&exchange(&local, &key).await.1["access_token"]);
    let user = file(&local, "user", json!({ "email": "me@example.com" })).await;
    let text = |name: &str| user[name].as_str().expect("a text");
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", text("client_id")),
        ("client_secret", text("client_secret")),
        ("refresh_token", text("refresh_token")),
    ];
    let (_, token) = form(&local, OAUTH, "/token", &fields).await;
    for value in [&user["refresh_token"], &user["client_secret"], &token["access_token"], &token["id_token"]] {
        hide(value);
    }
    let account = format!("/v1/projects/-/serviceAccounts/{ACCOUNT}");
    let body = json!({ "scope": [SCOPE] });
    hide(&post(&local, CREDENTIALS, &format!("{account}:generateAccessToken"), TOKEN, body).await.1["accessToken"]);
    let body = json!({ "audience": "https://a" });
    hide(&post(&local, CREDENTIALS, &format!("{account}:generateIdToken"), TOKEN, body).await.1["token"]);
    let (_, job) = console(&local, "github", json!({ "repository": "o/r", "loopback": true })).await;
    hide(&job["token"]);
    let asked = local.client.get(job["url"].as_str().expect("an address"));
    hide(&answer(asked.bearer_auth(job["token"].as_str().expect("a token"))).await.1["value"]);
    let machine = "/computeMetadata/v1/instance/service-accounts/default";
    for path in ["token", "identity?audience=https%3A%2F%2Fa"] {
        let call = request(&local, Method::GET, "metadata.google.internal", &format!("{machine}/{path}"));
        let (_, told) = answer(call.header("metadata-flavor", "Google")).await;
        hide(told.get("access_token").unwrap_or(&told));
    }
    // Astray: where a token is refused, or sent in a query.
    let astray = hidden.last().expect("an ID token").clone();
    for (host, path) in [("sts.googleapis.com", "/v1/token"), (OAUTH, "/token")] {
        let query = format!("{path}?assertion={astray}&subject_token={astray}");
        assert_eq!(post(&local, host, &query, TOKEN, json!({ "subjectToken": astray })).await.0, 400);
    }

    let url = format!("{}/requests", local.running.addresses().console);
    let list = local.client.get(url).bearer_auth(TOKEN).send().await.expect("an answer").text().await.expect("a text");
    let text = fs::read_to_string(&path).expect("a recording");
    assert!(text.lines().count() >= 10 && list.contains("generateIdToken"), "{text}");
    for value in hidden {
        assert!(value == TOKEN || value.len() > 20, "{value}");
        let value = if value == TOKEN { "\"secret\"".to_owned() } else { value };
        for part in [value.as_str(), &json!(value).to_string()] {
            assert!(!text.contains(part) && !list.contains(part), "{part}");
        }
    }
}
