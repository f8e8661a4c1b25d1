//! `oauth2.googleapis.com`: assertions of service accounts, and refresh tokens of users.
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    ACCOUNT, ASSERTION, CREDENTIALS, OAUTH, SCOPE, TOKEN, answer, claims, console, file, form, now, post, refused,
    request, signed,
};
use crate::tests::harness::{Local, template, url};

const TIMES: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";

fn assertion(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": ACCOUNT, "scope": SCOPE, "aud": "https://oauth2.googleapis.com/token", "iat": now(), "exp": now() + 3600,
    });
    change(&mut claims);
    claims
}

async fn exchange(local: &Local, assertion: &str) -> (u16, Value) {
    form(local, OAUTH, "/token", &[("grant_type", ASSERTION), ("assertion", assertion)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accounts_assertion_gives_its_token() {
    let local = Local::start();
    let key = file(&local, "key", json!({ "email": ACCOUNT })).await;
    assert_eq!(key["token_uri"], "https://oauth2.googleapis.com/token");
    let (status, token) = exchange(&local, &signed(&key, &assertion(|_| ()))).await;
    assert_eq!((status, &token["token_type"], &token["expires_in"]), (200, &json!("Bearer"), &json!(3599)));
    let project = request(&local, Method::GET, "cloudresourcemanager.googleapis.com", "/v1/projects/local");
    let (status, refusal) = answer(project.bearer_auth(token["access_token"].as_str().expect("a token"))).await;
    assert_eq!(
        (status, &refusal["error"]["status"]),
        (403, &json!("PERMISSION_DENIED")),
        "known, and nothing by itself"
    );

    let audience = "https://hello.example.com";
    let (status, token) =
        exchange(&local, &signed(&key, &assertion(|claims| claims["target_audience"] = json!(audience)))).await;
    let told = claims(token["id_token"].as_str().expect("an ID token"));
    assert_eq!((status, &told["aud"], &told["email"]), (200, &json!(audience), &json!(ACCOUNT)));
    assert_eq!(told["iss"], "https://accounts.google.com");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_may_name_the_loopback_address() {
    let local = Local::start();
    let key = file(&local, "key", json!({ "email": ACCOUNT, "loopback": true })).await;
    let uri = key["token_uri"].as_str().expect("an address").to_owned();
    assert_eq!(uri, format!("{}/token", local.running.addresses().google));
    let signed = signed(&key, &assertion(|claims| claims["aud"] = json!(uri)));
    let fields = [("grant_type", ASSERTION), ("assertion", signed.as_str())];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let call = local.client.post(uri).header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(answer(call).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_assertion_lacks_is_said() {
    let local = Local::start();
    let key = file(&local, "key", json!({ "email": ACCOUNT })).await;
    let other = file(&local, "key", json!({ "email": "other@local.iam.gserviceaccount.com" })).await;
    let signed = |change: &dyn Fn(&mut Value)| super::signed(&key, &assertion(change));
    let scope = ("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    for (text, (error, description)) in [
        (
            signed(&|claims| claims["iss"] = json!("no@p.iam.gserviceaccount.com")),
            ("invalid_grant", "Invalid grant: account not found"),
        ),
        (super::signed(&other, &assertion(|_| ())), ("invalid_grant", "Invalid JWT Signature.")),
        (signed(&|claims| claims["iat"] = json!(now() + 900)), ("invalid_grant", TIMES)),
        (signed(&|claims| claims["exp"] = json!(now() + 7200)), ("invalid_grant", TIMES)),
        (
            signed(&|claims| (claims["iat"], claims["exp"]) = (json!(now() - 7200), json!(now() - 3600))),
            ("invalid_grant", TIMES),
        ),
        (signed(&|claims| claims["iat"] = Value::Null), ("invalid_grant", TIMES)),
        (signed(&|claims| claims["exp"] = json!(i64::MAX)), ("invalid_grant", TIMES)),
        (
            signed(&|claims| claims["aud"] = json!("https://example.com")),
            ("invalid_grant", "Invalid JWT: Failed audience check."),
        ),
        (signed(&|claims| claims["scope"] = json!("")), scope),
        (signed(&|claims| claims["scope"] = json!("cloud-platform")), scope),
        (
            signed(&|claims| claims["sub"] = json!("me@example.com")),
            (
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
            ),
        ),
        ("x.y.z".to_owned(), ("invalid_grant", "Invalid JWT: Not a valid JSON web token.")),
    ] {
        assert_eq!(exchange(&local, &text).await, refused(error, description), "{:?}", claims_of(&text));
    }
    // A clock that is a minute off is as good as any.
    assert_eq!(exchange(&local, &signed(&|claims| claims["iat"] = json!(now() + 60))).await.0, 200);
    let missing = form(&local, OAUTH, "/token", &[("grant_type", ASSERTION)]).await;
    assert_eq!(missing, refused("invalid_request", "Missing required parameter: assertion"));
    let other = form(&local, OAUTH, "/token", &[("grant_type", "password")]).await;
    assert_eq!(other, refused("unsupported_grant_type", "Invalid grant_type: password"));
    let json = request(&local, Method::POST, OAUTH, "/token").json(&json!({ "grant_type": ASSERTION }));
    assert_eq!(answer(json).await.0, 400);
    assert_eq!(answer(request(&local, Method::GET, OAUTH, "/token")).await.0, 404);
}

fn claims_of(text: &str) -> Option<Value> {
    (text != "x.y.z").then(|| claims(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_refresh_token_gives_a_token() {
    let local = Local::start();
    let user = file(&local, "user", json!({ "email": "me@example.com" })).await;
    assert_eq!((&user["type"], user.get("token_uri")), (&json!("authorized_user"), None));
    let text = |name: &str| user[name].as_str().expect("a text");
    let refresh = async |id: &str, secret: &str, token: &str| {
        let fields =
            [("grant_type", "refresh_token"), ("client_id", id), ("client_secret", secret), ("refresh_token", token)];
        form(&local, OAUTH, "/token", &fields).await
    };
    let (id, secret, token) = (text("client_id"), text("client_secret"), text("refresh_token"));
    let (status, answer) = refresh(id, secret, token).await;
    assert_eq!((status, answer["access_token"].is_string()), (200, true));
    let told = claims(answer["id_token"].as_str().expect("an ID token"));
    assert_eq!((&told["aud"], &told["email"]), (&json!(id), &json!("me@example.com")));
    assert_eq!(refresh(id, secret, "1//no").await, refused("invalid_grant", "Bad Request"));
    assert_eq!(refresh("no", secret, token).await, refused("invalid_client", "The OAuth client was not found."));
    assert_eq!(refresh(id, "no", token).await, refused("invalid_client", "The provided client secret is invalid."));
    for wrong in ["me", ACCOUNT] {
        assert_eq!(console(&local, "user", json!({ "email": wrong })).await.0, 400, "{wrong}");
    }
    assert_eq!(console(&local, "key", json!({ "email": "me@example.com" })).await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_gone_after_a_reset() {
    let local = Local::start();
    let key = file(&local, "key", json!({ "email": ACCOUNT })).await;
    local
        .client
        .post(format!("{}/reset", local.running.addresses().console))
        .bearer_auth(&local.token)
        .send()
        .await
        .expect("an answer");
    let refusal = exchange(&local, &signed(&key, &assertion(|_| ()))).await;
    assert_eq!(refusal, refused("invalid_grant", "Invalid grant: account not found"));
}

/// An account that was made, and its number.
async fn made(local: &Local) -> String {
    let body = json!({ "accountId": "deployer" });
    let (status, account) = local.call(Method::POST, "/v1/projects/local/serviceAccounts", Some(body)).await;
    assert_eq!((status, &account["email"]), (200, &json!(ACCOUNT)));
    account["uniqueId"].as_str().expect("a number").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_end_with_an_account_that_is_deleted_by_its_number() {
    let local = Local::start();
    let number = made(&local).await;
    let key = file(&local, "key", json!({ "email": ACCOUNT })).await;
    let path = format!("/v1/projects/-/serviceAccounts/{number}");
    assert_eq!(local.call(Method::DELETE, &path, None).await.0, 200);
    let refusal = exchange(&local, &signed(&key, &assertion(|_| ()))).await;
    assert_eq!(refusal, refused("invalid_grant", "Invalid grant: account not found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_gets_no_token_and_calls_nothing_until_it_is_enabled() {
    let local = Local::start();
    made(&local).await;
    let key = file(&local, "key", json!({ "email": ACCOUNT })).await;
    let impersonate = async |email: &str, delegates: Value| {
        let path = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        post(&local, CREDENTIALS, &path, TOKEN, json!({ "scope": [SCOPE], "delegates": delegates })).await.0
    };
    let service = local.done(local.create("hello", json!({ "template": template(&[]) })).await).await;
    let url = url(&service["response"]).to_owned();
    let call = async |token: &str| local.client.get(&url).bearer_auth(token).send().await.expect("an answer").status();
    let (status, token) = exchange(&local, &signed(&key, &assertion(|_| ()))).await;
    assert_eq!(status, 200, "{token}");
    let token = token["access_token"].as_str().expect("a token");
    assert_eq!(call(token).await, 403, "known, without a role");

    let path = format!("/v1/projects/local/serviceAccounts/{ACCOUNT}");
    assert_eq!(local.call(Method::POST, &format!("{path}:disable"), Some(json!({}))).await.0, 200);
    let refusal = exchange(&local, &signed(&key, &assertion(|_| ()))).await;
    assert_eq!(refusal, refused("invalid_grant", "Invalid grant: account disabled"));
    let other = "other@local.iam.gserviceaccount.com";
    assert_eq!(impersonate(ACCOUNT, json!([])).await, 400);
    assert_eq!(impersonate(other, json!([format!("projects/-/serviceAccounts/{ACCOUNT}")])).await, 400);
    assert_eq!(call(token).await, 401);

    assert_eq!(local.call(Method::POST, &format!("{path}:enable"), Some(json!({}))).await.0, 200);
    assert_eq!(exchange(&local, &signed(&key, &assertion(|_| ()))).await.0, 200);
    assert_eq!(impersonate(ACCOUNT, json!([])).await, 200);
    assert_eq!(call(token).await, 403);
}
