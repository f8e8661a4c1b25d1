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
async fn abandoned_uploads_make_room_for_others() {
    let bench = Bench::with(Limits { sessions: 2, stall: Duration::ZERO, ..Limits::default() });
    let oldest = start(&bench).await;
    let other = start(&bench).await;
    let new = start(&bench).await;
    assert_eq!(bench.ask(&format!("GET {oldest}")).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    for location in [other, new] {
        assert_eq!(bench.ask(&format!("GET {location}")).await.status, 204);
    }
    assert_eq!(bench.files("uploads"), 2);
}

#[tokio::test]
async fn abandoned_uploads_are_freed_without_another_request() {
    let bench = Bench::with(Limits { idle: Duration::from_millis(20), ..Limits::default() });
    for _ in 0..2 {
        start(&bench).await;
        assert_eq!(bench.files("uploads"), 1);
        while bench.files("uploads") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn an_endless_upload_ends_at_a_blobs_limit() {
    let bench = Bench::with(Limits { bytes: 1_000_000, ..Limits::default() });
    let endless =
        || Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 50_000]))));
    let location = start(&bench).await;
    for target in [
        format!("PATCH {location}"),
        format!("PUT {}?digest={}", start(&bench).await, Digest::of(b"x")),
        format!("POST /v2/{NAME}/blobs/uploads/?digest={}", Digest::of(b"x")),
    ] {
        let answer = bench.ask_with(&target, &[], endless()).await;
        assert_eq!(answer.refusal(), (413, "SIZE_INVALID".to_owned()), "{target}");
    }
    assert_eq!(bench.files("uploads"), 0);
    assert_eq!(bench.ask(&format!("GET {location}")).await.status, 404);

    // In small steps, and by a length that is only announced.
    let location = start(&bench).await;
    for _ in 0..20 {
        assert_eq!(patch(&bench, &location, "", vec![0; 50_000]).await.status, 202);
    }
    assert_eq!(patch(&bench, &location, "", "x").await.refusal(), (413, "SIZE_INVALID".to_owned()));
    let location = start(&bench).await;
    let answer = bench.ask_with(&format!("PATCH {location}"), &[("content-length", "1000001")], Body::empty()).await;
    assert_eq!(answer.refusal(), (413, "SIZE_INVALID".to_owned()));
    assert_eq!(bench.files("uploads"), 0);
    // What just fits is taken.
    bench.push_blob(NAME, &vec![0; 1_000_000]).await;
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let bench = Bench::with(Limits { body: Duration::from_millis(60), ..Limits::default() });
    let location = start(&bench).await;
    let drip = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
    });
    let answer = patch(&bench, &location, "", Body::from_stream(drip)).await;
    assert_eq!(answer.refusal(), (408, "BLOB_UPLOAD_INVALID".to_owned()));
    assert_eq!(bench.ask(&format!("GET {location}")).await.status, 204, "what came is kept");
}

#[tokio::test]
async fn a_manifest_that_stalls_is_given_up() {
    let bench = Bench::with(Limits { stall: Duration::from_millis(20), ..Limits::default() });
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = bench.ask_with(&format!("PUT /v2/{NAME}/manifests/v1"), &[], never).await;
    assert_eq!(answer.refusal(), (408, "MANIFEST_INVALID".to_owned()));
}

#[tokio::test]
async fn idle_uploads_expire() {
    let bench = Bench::with(Limits { idle: Duration::ZERO, ..Limits::default() });
    let location = start(&bench).await;
    assert_eq!(bench.ask(&format!("GET {location}")).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    let gone = async {
        while bench.files("uploads") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("its bytes are freed");
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
