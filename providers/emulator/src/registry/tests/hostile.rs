//! Uploads that lie, stall, pile up or meddle.
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use super::{
    Bench, Digest, Limits, NAME,
    uploads::{patch, start, stored},
};

#[tokio::test]
async fn a_lying_digest_keeps_nothing() {
    let bench = Bench::new();
    let digest = Digest::of(b"other");
    let target = format!("POST /v2/{NAME}/blobs/uploads/?digest={digest}");
    let answer = bench.ask_with(&target, &[], "hello").await;
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(answer.json()["errors"][0]["detail"]["digest"], digest.as_str());

    let location = start(&bench).await;
    assert_eq!(patch(&bench, &location, "", "hello").await.status, 202);
    let answer = bench.ask(&format!("PUT {location}?digest={digest}")).await;
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(bench.ask(&format!("GET {location}")).await.status, 404);
    assert_eq!((bench.files("uploads"), bench.files("blobs/sha256")), (0, 0));
    assert!(stored(&bench, &digest).await.is_none());
    assert!(stored(&bench, &Digest::of(b"hello")).await.is_none());
}

#[tokio::test]
async fn a_lying_size_keeps_nothing_of_that_body() {
    let bench = Bench::new();
    let digest = Digest::of(b"hello");
    for length in ["4", "6"] {
        let target = format!("POST /v2/{NAME}/blobs/uploads/?digest={digest}");
        let answer = bench.ask_with(&target, &[("content-length", length)], "hello").await;
        assert_eq!(answer.refusal(), (400, "SIZE_INVALID".to_owned()), "{length}");
    }
    assert_eq!(bench.files("uploads"), 0);

    let location = start(&bench).await;
    assert_eq!(patch(&bench, &location, "0-2", "hel").await.status, 202);
    for range in ["3-3", "3-9"] {
        assert_eq!(patch(&bench, &location, range, "lo").await.refusal(), (400, "SIZE_INVALID".to_owned()), "{range}");
        assert_eq!(bench.ask(&format!("GET {location}")).await.header("range"), "0-2");
    }
    assert_eq!(bench.ask_with(&format!("PUT {location}?digest={digest}"), &[], "lo").await.status, 201);
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let bench = Bench::new();
    let location = start(&bench).await.replace(NAME, "other/repo");
    assert_eq!(bench.ask(&format!("GET {location}")).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn open_uploads_are_bounded() {
    let bench = Bench::with(Limits { sessions: 2, ..Limits::default() });
    let location = start(&bench).await;
    start(&bench).await;
    let answer = bench.ask(&format!("POST /v2/{NAME}/blobs/uploads/")).await;
    assert_eq!(answer.refusal(), (429, "TOOMANYREQUESTS".to_owned()));
    assert_eq!(bench.ask(&format!("DELETE {location}")).await.status, 204);
    start(&bench).await;
}

#[tokio::test]
async fn idle_uploads_expire() {
    let bench = Bench::with(Limits { idle: Duration::ZERO, ..Limits::default() });
    let location = start(&bench).await;
    assert_eq!(bench.ask(&format!("GET {location}")).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    assert_eq!(bench.files("uploads"), 0);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let bench = Bench::with(Limits { stall: Duration::from_millis(20), ..Limits::default() });
    let location = start(&bench).await;
    let stalled = stream::unfold(true, |first| async move {
        if first {
            return Some((Ok::<_, std::io::Error>(Bytes::from_static(b"hel")), false));
        }
        std::future::pending().await
    });
    let answer = patch(&bench, &location, "", Body::from_stream(stalled)).await;
    assert_eq!(answer.refusal(), (408, "BLOB_UPLOAD_INVALID".to_owned()));
    assert_eq!(bench.ask(&format!("GET {location}")).await.header("range"), "0-2");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_a_clear_server_error() {
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.dir.path().join("uploads")).unwrap();
    let answer = bench.ask(&format!("POST /v2/{NAME}/blobs/uploads/")).await;
    assert_eq!(answer.refusal(), (500, "UNKNOWN".to_owned()));
}
