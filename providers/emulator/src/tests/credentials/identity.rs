//! ID tokens: what a private service lets in.
use reqwest::Method;
use serde_json::{Value, json};

use super::{CREDENTIALS, answer, claims, forged, post, request};
use crate::tests::harness::{Local, PARENT, TOKEN, template, url};

const CALLER: &str = "caller@local.iam.gserviceaccount.com";

async fn id_token(local: &Local, email: &str, audience: &str, include_email: bool) -> String {
    let path = format!("/v1/projects/-/serviceAccounts/{email}:generateIdToken");
    let body = json!({ "audience": audience, "includeEmail": include_email });
    let (status, answer) = post(local, CREDENTIALS, &path, TOKEN, body).await;
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().expect("a token").to_owned()
}

async fn call(local: &Local, url: &str, token: &str) -> u16 {
    local.client.get(url).bearer_auth(token).send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_service_takes_an_id_token_for_itself() {
    let local = Local::start();
    let service = json!({ "template": template(&[]), "customAudiences": ["https://hello.example.com"] });
    let service = local.done(local.create("hello", service).await).await["response"].clone();
    let url = url(&service).to_owned();
    let token = id_token(&local, CALLER, &url, true).await;
    assert_eq!(call(&local, &url, &token).await, 403, "who may not");
    let bindings = json!([{ "role": "roles/run.invoker", "members": [format!("serviceAccount:{CALLER}")] }]);
    let policy = json!({ "policy": { "bindings": bindings } });
    let set = local.call(Method::POST, &format!("{PARENT}/services/hello:setIamPolicy"), Some(policy)).await;
    assert_eq!(set.0, 200, "{set:?}");
    assert_eq!(call(&local, &url, &token).await, 200);
    // Without the address in it, and for an audience of the service's own.
    assert_eq!(call(&local, &url, &id_token(&local, CALLER, &url, false).await).await, 200);
    assert_eq!(call(&local, &url, &id_token(&local, CALLER, "https://hello.example.com", true).await).await, 200);
    let other = id_token(&local, "other@local.iam.gserviceaccount.com", &url, true).await;
    assert_eq!(call(&local, &url, &other).await, 403);
    let elsewhere = id_token(&local, CALLER, "https://elsewhere.example.com", true).await;
    assert_eq!(call(&local, &url, &elsewhere).await, 401);
    assert_eq!(call(&local, &url, &forged(&token)).await, 401);
    let header = local.client.get(&url).header("x-serverless-authorization", format!("Bearer {token}"));
    assert_eq!(header.send().await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_signs_publishes_the_key() {
    let local = Local::start();
    let token = id_token(&local, CALLER, "https://a", true).await;
    let told = claims(&token);
    assert_eq!(told["exp"].as_i64().zip(told["iat"].as_i64()).map(|(end, begin)| end - begin), Some(3600));
    let get = async |host: &str, path: &str| answer(request(&local, Method::GET, host, path)).await;
    let (_, google) = get("accounts.google.com", "/.well-known/openid-configuration").await;
    assert_eq!((&google["issuer"], &told["iss"]), (&json!("https://accounts.google.com"), &google["issuer"]));
    let (status, keys) = get("www.googleapis.com", "/oauth2/v3/certs").await;
    assert_eq!(
        (status, keys["keys"][0]["alg"].as_str(), keys["keys"][0].get("d")),
        (200, Some("RS256"), None::<&Value>)
    );
    for (host, keys) in [
        ("token.actions.githubusercontent.com", "https://token.actions.githubusercontent.com/.well-known/jwks"),
        ("gitlab.com", "https://gitlab.com/oauth/discovery/keys"),
    ] {
        let (status, found) = get(host, "/.well-known/openid-configuration").await;
        assert_eq!(
            (status, &found["jwks_uri"], &found["issuer"]),
            (200, &json!(keys), &json!(format!("https://{host}")))
        );
        let (status, found) = get(host, keys.strip_prefix(&format!("https://{host}")).expect("its own")).await;
        assert_eq!((status, found["keys"].as_array().map(Vec::len)), (200, Some(1)));
        assert_eq!(get(host, "/other").await.0, 404);
    }
}
