//! Nothing that a client sends is our fault.
use axum::http::Request;
use proptest::prelude::*;

use super::{Bench, Body, Digest, NAME, OCI_INDEX, OCI_MANIFEST};

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("blobs".to_owned()),
        Just("uploads".to_owned()),
        Just("manifests".to_owned()),
        Just("tags".to_owned()),
        Just("list".to_owned()),
        Just("referrers".to_owned()),
        Just("_catalog".to_owned()),
        Just("..".to_owned()),
        Just(String::new()),
        Just(Digest::of(b"x").to_string()),
        "[a-z0-9._-]{1,12}",
        "[!-~]{1,8}",
        "(%[0-9a-f]{2}){1,4}",
    ]
}

/// Something like a manifest, with every part now and then wrong.
fn manifest() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("2".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just(format!("\"{OCI_MANIFEST}\"")),
        Just(format!("\"{OCI_INDEX}\"")),
        Just(format!("{{\"mediaType\":\"x\",\"digest\":\"{}\",\"size\":2}}", Digest::of(b"{}"))),
        Just(format!("[{{\"mediaType\":\"x\",\"digest\":\"{}\",\"size\":18446744073709551615}}]", Digest::of(b"{}"))),
    ];
    let key = prop::sample::select(vec![
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "subject",
        "artifactType",
        "annotations",
    ]);
    let object = prop::collection::vec((key, value), 0..9).prop_map(|pairs| {
        let fields: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![4 => object, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

pub(super) fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_path_is_our_fault(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        segments in prop::collection::vec(segment(), 0..7),
        query in prop_oneof![Just(String::new()), "\\?(digest|mount|from|n|last|artifactType)=[!-~]{0,20}"],
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let uri = format!("/v2/{}{query}", segments.join("/"));
        let Ok(request) = Request::builder().method(method).uri(&uri).body(Body::from(body)) else { return Ok(()) };
        if !request.uri().path().starts_with("/v2/") {
            return Ok(());
        }
        run(async {
            let bench = Bench::new();
            let answer = bench.send(request).await;
            assert!(!answer.status.is_server_error(), "{method} {uri}: {answer:?}");
            if answer.status.is_client_error() && !(method == "HEAD" && answer.body.is_empty()) {
                answer.refusal();
            }
        });
    }

    #[test]
    fn no_manifest_is_our_fault(body in manifest(), media_type in prop::sample::select(vec![OCI_MANIFEST, OCI_INDEX, "x"])) {
        run(async {
            let bench = Bench::new();
            bench.push_blob(NAME, b"{}").await;
            let headers = [("content-type", media_type)];
            let answer = bench.ask_with(&format!("PUT /v2/{NAME}/manifests/v1"), &headers, body.clone()).await;
            assert!(!answer.status.is_server_error(), "{answer:?}");
            if answer.status == 201 {
                let read = bench.ask(&format!("GET /v2/{NAME}/manifests/v1")).await;
                assert_eq!(read.body, body);
            } else {
                answer.refusal();
            }
            // Whatever was taken, a runtime's question has an answer.
            let _ = bench.registry.image(NAME, "v1").await;
        });
    }
}
