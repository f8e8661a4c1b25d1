//! The metadata server: who asks as a machine does.
use http::{HeaderMap, HeaderValue};
use reqwest::Method;
use serde_json::json;

use super::{claims, request};
use crate::tests::harness::Local;

const HOST: &str = "metadata.google.internal";

async fn get(local: &Local, host: &str, path: &str, headers: HeaderMap) -> (u16, String) {
    let call = request(local, Method::GET, host, path).headers(headers);
    let response = call.send().await.expect("an answer");
    assert_eq!(response.headers().get("metadata-flavor"), Some(&HeaderValue::from_static("Google")), "{path}");
    (response.status().as_u16(), response.text().await.expect("a text"))
}

fn flavored() -> HeaderMap {
    HeaderMap::from_iter([("metadata-flavor".parse().expect("a name"), HeaderValue::from_static("Google"))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_learns_who_it_is() {
    let local = Local::start();
    let number = crate::gcp::project::number("local");
    let email = format!("{number}-compute@developer.gserviceaccount.com");
    for (path, expected) in [
        ("project/project-id", "local"),
        ("project/numeric-project-id", number.as_str()),
        ("instance/service-accounts/default/email", email.as_str()),
        ("instance/service-accounts/", &format!("default/\n{email}/\n")),
        ("universe/universe-domain", "googleapis.com"),
    ] {
        for host in [HOST, "169.254.169.254", "127.0.0.1"] {
            let answer = get(&local, host, &format!("/computeMetadata/v1/{path}"), flavored()).await;
            assert_eq!(answer, (200, expected.to_owned()), "{host} {path}");
        }
    }
    let (status, token) =
        get(&local, HOST, "/computeMetadata/v1/instance/service-accounts/default/token", flavored()).await;
    let token: serde_json::Value = serde_json::from_str(&token).expect("JSON");
    assert_eq!((status, &token["token_type"], &token["expires_in"]), (200, &json!("Bearer"), &json!(3599)));
    let path =
        format!("/computeMetadata/v1/instance/service-accounts/{email}/identity?audience=https%3A%2F%2Fa&format=full");
    let (status, token) = get(&local, HOST, &path, flavored()).await;
    let told = claims(&token);
    assert_eq!((status, &told["aud"], &told["email"]), (200, &json!("https://a"), &json!(email)));
    let (_, whole) =
        get(&local, HOST, "/computeMetadata/v1/instance/service-accounts/default/?recursive=true", flavored()).await;
    assert!(whole.contains(&email) && whole.contains("cloud-platform"), "{whole}");
    assert_eq!(get(&local, HOST, "/", HeaderMap::new()).await.0, 200, "whoever looks for it");
    assert_eq!(get(&local, "127.0.0.1", "/", flavored()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forwarded_gets_no_token() {
    let local = Local::start();
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    let (status, page) = get(&local, HOST, token, HeaderMap::new()).await;
    assert_eq!((status, page.contains("Missing Metadata-Flavor:Google header.")), (403, true));
    let mut forwarded = flavored();
    forwarded.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
    assert_eq!(get(&local, HOST, token, forwarded).await.0, 403);
    let mut wrong = HeaderMap::new();
    wrong.insert("metadata-flavor", HeaderValue::from_static("google"));
    assert_eq!(get(&local, HOST, token, wrong).await.0, 403);
    for (path, status) in [("/computeMetadata/v1/nothing", 404), ("/other", 404)] {
        assert_eq!(get(&local, HOST, path, flavored()).await.0, status, "{path}");
    }
    let without = "/computeMetadata/v1/instance/service-accounts/default/identity";
    assert_eq!(
        get(&local, HOST, without, flavored()).await,
        (400, "non-empty audience parameter required\n".to_owned())
    );
}
