//! The loopback face and a cloud's host name: names, challenges, refusals.
use std::sync::Arc;

use axum::{Router, body::Body};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Access, Action, Answer, Bench, Denied, Digest, NAME, request, send};

const HOST: &str = "us-central1-docker.pkg.dev";

/// `reader` may pull, `writer` all but delete, `hidden` names nobody.
pub(super) struct Rule;

impl Access for Rule {
    fn check(&self, host: Option<&str>, authorization: Option<&str>, name: &str, action: Action) -> Result<(), Denied> {
        assert_eq!(host, Some(HOST));
        assert!(name.is_empty() || name.starts_with(&format!("{HOST}/")), "{name}");
        let token = match authorization {
            Some(header) if header.starts_with("Basic ") => {
                let text = String::from_utf8(STANDARD.decode(&header[6..]).unwrap()).unwrap();
                text.split_once(':').unwrap().1.to_owned()
            }
            Some(header) => header.trim_start_matches("Bearer ").to_owned(),
            None => return Err(Denied::Unauthenticated),
        };
        let forbidden = || Denied::Forbidden { message: format!("no {action:?} on {name}") };
        match token.as_str() {
            _ if name.contains("hidden") => Err(forbidden()),
            "writer" if action != Action::Delete => Ok(()),
            "reader" if action == Action::Pull => Ok(()),
            "writer" | "reader" => Err(forbidden()),
            _ => Err(Denied::Unauthenticated),
        }
    }
}

struct Cloud {
    bench: Bench,
    router: Router,
}

impl Cloud {
    fn new() -> Self {
        let bench = Bench::new();
        let router = bench.registry.routes(Arc::new(Rule), Some(HOST.to_owned()));
        Self { bench, router }
    }

    async fn ask(&self, target: &str, authorization: &str, body: &'static str) -> Answer {
        let headers: &[(&str, &str)] = match authorization {
            "" => &[("host", HOST)],
            _ => &[("host", HOST), ("authorization", authorization)],
        };
        send(&self.router, request(target, headers, Body::from(body))).await
    }
}

#[tokio::test]
async fn the_challenge_names_the_token_service() {
    let cloud = Cloud::new();
    let answer = cloud.ask("GET /v2/", "", "").await;
    assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(
        answer.header("www-authenticate"),
        format!("Bearer realm=\"https://{HOST}/v2/token\",service=\"{HOST}\"")
    );
    let answer = cloud.ask("POST /v2/p/r/i/blobs/uploads/", "Bearer nobody", "").await;
    assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(
        answer.header("www-authenticate"),
        format!("Bearer realm=\"https://{HOST}/v2/token\",service=\"{HOST}\",scope=\"repository:p/r/i:pull,push\"")
    );
    let answer = cloud.ask("GET /v2/", "Bearer reader", "").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
}

#[tokio::test]
async fn a_token_is_given_for_basic_credentials() {
    let cloud = Cloud::new();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let target = format!("GET /v2/token?service={HOST}&scope=repository:p/r/i:pull");
    let answer = cloud.ask(&target, &basic("oauth2accesstoken:reader"), "").await;
    assert_eq!(answer.json(), json!({ "token": "reader", "access_token": "reader", "expires_in": 3600 }));
    for wrong in [basic("oauth2accesstoken:nobody"), basic("someone:reader"), "Bearer reader".to_owned(), String::new()]
    {
        let answer = cloud.ask(&target, &wrong, "").await;
        assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()), "{wrong}");
        assert!(!answer.header("www-authenticate").is_empty(), "{wrong}");
    }
}

#[tokio::test]
async fn one_image_by_both_faces() {
    let cloud = Cloud::new();
    let digest = Digest::of(b"hello");
    let target = format!("POST /v2/local/carrack/hello/blobs/uploads/?digest={digest}");
    assert_eq!(
        cloud.ask(&target, "Bearer writer", "hello").await.header("location"),
        format!("/v2/local/carrack/hello/blobs/{digest}")
    );
    let answer = cloud.bench.ask(&format!("GET /v2/{NAME}/blobs/{digest}")).await;
    assert_eq!(answer.body, b"hello");

    let pushed = cloud.bench.push_image(NAME, "v1", "amd64").await;
    let answer = cloud.ask("HEAD /v2/local/carrack/hello/manifests/v1", "Bearer reader", "").await;
    assert_eq!(answer.header("docker-content-digest"), pushed.as_str());
    let answer = cloud.ask("GET /v2/local/carrack/hello/tags/list", "Bearer reader", "").await;
    assert_eq!(answer.json(), json!({ "name": "local/carrack/hello", "tags": ["v1"] }));
    assert!(cloud.bench.registry.image(NAME, "v1").await.is_ok());
}

#[tokio::test]
async fn a_refusal_carries_the_clouds_text() {
    let cloud = Cloud::new();
    let answer = cloud.ask("PUT /v2/p/r/i/manifests/v1", "Bearer reader", "").await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.json(),
        json!({ "errors": [{ "code": "DENIED", "message": format!("no Push on {HOST}/p/r/i") }] })
    );
    let answer = cloud.ask("DELETE /v2/p/r/i/manifests/v1", "Bearer writer", "").await;
    assert_eq!(answer.refusal(), (403, "DENIED".to_owned()));
}

#[tokio::test]
async fn what_one_may_not_pull_is_neither_listed_nor_mounted() {
    let cloud = Cloud::new();
    for name in ["p/r/hidden", "p/r/seen"] {
        cloud.bench.push_image(&format!("{HOST}/{name}"), "v1", "amd64").await;
    }
    cloud.bench.push_image("other-host/p/r/i", "v1", "amd64").await;
    let answer = cloud.ask("GET /v2/_catalog", "Bearer reader", "").await;
    assert_eq!(answer.json(), json!({ "repositories": ["p/r/seen"] }));

    let layer = Digest::of(b"layer for amd64");
    for (from, status) in [("p/r/hidden", 202), ("p/r/seen", 201)] {
        let target = format!("POST /v2/p/r/new/blobs/uploads/?mount={layer}&from={from}");
        assert_eq!(cloud.ask(&target, "Bearer writer", "").await.status, status, "{from}");
    }
}

#[tokio::test]
async fn a_loopback_challenge_is_plain_http_and_of_the_host_that_was_asked() {
    struct Nobody;
    impl Access for Nobody {
        fn check(&self, host: Option<&str>, _: Option<&str>, _: &str, _: Action) -> Result<(), Denied> {
            assert_eq!(host, None);
            Err(Denied::Unauthenticated)
        }
    }
    let bench = Bench::new();
    let router = bench.registry.routes(Arc::new(Nobody), None);
    for (host, expected) in [("127.0.0.1:5000", "127.0.0.1:5000"), ("a\",x=\"b", "localhost")] {
        let answer = send(&router, request("GET /v2/", &[("host", host)], Body::empty())).await;
        assert_eq!(
            answer.header("www-authenticate"),
            format!("Bearer realm=\"http://{expected}/v2/token\",service=\"{expected}\"")
        );
    }
}
