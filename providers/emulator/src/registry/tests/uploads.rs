//! Pushing blobs: whole, in chunks, mounted, and by two at once.
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use super::{Answer, Bench, Digest, NAME, Registry};

pub(super) async fn start(bench: &Bench) -> String {
    let answer = bench.ask(&format!("POST /v2/{NAME}/blobs/uploads/")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("range"), "0-0");
    let location = answer.header("location").to_owned();
    assert!(location.ends_with(answer.header("docker-upload-uuid")), "{location}");
    assert!(!answer.header("docker-upload-uuid").is_empty());
    location
}

pub(super) async fn patch(bench: &Bench, location: &str, range: &str, body: impl Into<Body>) -> Answer {
    let headers: &[(&str, &str)] = if range.is_empty() { &[] } else { &[("content-range", range)] };
    bench.ask_with(&format!("PATCH {location}"), headers, body).await
}

pub(super) async fn stored(bench: &Bench, digest: &Digest) -> Option<Vec<u8>> {
    let answer = bench.ask(&format!("GET /v2/{NAME}/blobs/{digest}")).await;
    (answer.status == 200).then_some(answer.body)
}

#[tokio::test]
async fn whole_in_one_request() {
    let bench = Bench::new();
    let digest = Digest::of(b"hello");
    let target = format!("POST /v2/{NAME}/blobs/uploads/?digest={digest}");
    let answer = bench.ask_with(&target, &[("content-length", "5")], "hello").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), format!("/v2/{NAME}/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"hello");
    assert_eq!(bench.files("uploads"), 0);
}

#[tokio::test]
async fn in_two_requests_with_the_whole_at_the_end() {
    let bench = Bench::new();
    let location = start(&bench).await;
    let digest = Digest::of(b"hello");
    // The digest's colon may come encoded.
    let encoded = digest.as_str().replace(':', "%3A");
    let answer = bench.ask_with(&format!("PUT {location}?digest={encoded}"), &[], "hello").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"hello");
    let again = bench.ask(&format!("PUT {location}?digest={digest}")).await;
    assert_eq!(again.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn in_chunks_in_order() {
    let bench = Bench::new();
    let location = start(&bench).await;
    let answer = patch(&bench, &location, "0-4", "hello").await;
    assert_eq!((answer.status.as_u16(), answer.header("range")), (202, "0-4"));
    assert_eq!(answer.header("location"), location);

    let wrong = patch(&bench, &location, "6-10", "world").await;
    assert_eq!(wrong.refusal(), (416, "BLOB_UPLOAD_INVALID".to_owned()));
    assert_eq!((wrong.header("range"), wrong.header("location")), ("0-4", location.as_str()));
    assert_eq!(patch(&bench, &location, "0-4", "hello").await.status, 416);

    let answer = patch(&bench, &location, "5-9", "world").await;
    assert_eq!((answer.status.as_u16(), answer.header("range")), (202, "0-9"));
    let status = bench.ask(&format!("GET {location}")).await;
    assert_eq!((status.status.as_u16(), status.header("range")), (204, "0-9"));
    assert_eq!(status.header("location"), location);

    let digest = Digest::of(b"helloworld!");
    let answer = bench.ask_with(&format!("PUT {location}?digest={digest}"), &[("content-range", "10-10")], "!").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"helloworld!");
}

#[tokio::test]
async fn streamed_without_a_range() {
    let bench = Bench::new();
    let location = start(&bench).await;
    let pieces = (0..100u8).map(|byte| Ok::<_, std::io::Error>(Bytes::from(vec![byte; 10_000])));
    let whole: Vec<u8> = (0..100u8).flat_map(|byte| vec![byte; 10_000]).collect();
    let answer = patch(&bench, &location, "", Body::from_stream(stream::iter(pieces))).await;
    assert_eq!((answer.status.as_u16(), answer.header("range")), (202, "0-999999"));
    let digest = Digest::of(&whole);
    assert_eq!(bench.ask(&format!("PUT {location}?digest={digest}")).await.status, 201);
    assert!(stored(&bench, &digest).await.unwrap() == whole);
}

#[tokio::test]
async fn the_empty_blob() {
    let bench = Bench::new();
    let location = start(&bench).await;
    let digest = Digest::of(b"");
    assert_eq!(bench.ask(&format!("PUT {location}?digest={digest}")).await.status, 201);
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"");
}

#[tokio::test]
async fn a_broken_connection_can_go_on_where_it_broke() {
    let bench = Bench::new();
    let location = start(&bench).await;
    let broken = stream::iter([Ok(Bytes::from_static(b"hel")), Err(std::io::Error::other("reset"))]);
    let answer = patch(&bench, &location, "", Body::from_stream(broken)).await;
    assert_eq!(answer.refusal(), (400, "BLOB_UPLOAD_INVALID".to_owned()));
    assert_eq!(bench.ask(&format!("GET {location}")).await.header("range"), "0-2");
    assert_eq!(patch(&bench, &location, "3-4", "lo").await.status, 202);
    let digest = Digest::of(b"hello");
    assert_eq!(bench.ask(&format!("PUT {location}?digest={digest}")).await.status, 201);
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_session_whole() {
    let bench = Bench::new();
    let location = start(&bench).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    let request = super::request(&format!("PATCH {location}"), &[], Body::from_stream(pieces));
    let waiting = tokio::spawn({
        let router = bench.router.clone();
        async move { super::send(&router, request).await }
    });
    sender.send(Ok(Bytes::from_static(b"hel"))).await.unwrap();
    while bench.ask(&format!("GET {location}")).await.header("range") != "0-2" {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    drop(sender);
    let answer = loop {
        let answer = patch(&bench, &location, "3-4", "lo").await;
        if answer.status != 416 {
            break answer;
        }
    };
    assert_eq!(answer.status, 202, "{answer:?}");
    let digest = Digest::of(b"hello");
    assert_eq!(bench.ask(&format!("PUT {location}?digest={digest}")).await.status, 201);
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_deleted_upload_is_gone() {
    let bench = Bench::new();
    let location = start(&bench).await;
    assert_eq!(bench.files("uploads"), 1);
    assert_eq!(bench.ask(&format!("DELETE {location}")).await.status, 204);
    assert_eq!(bench.files("uploads"), 0);
    for method in ["GET", "PATCH", "DELETE"] {
        let answer = bench.ask(&format!("{method} {location}")).await;
        assert_eq!(answer.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()), "{method}");
    }
}

#[tokio::test]
async fn two_push_the_same_blob_at_once() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::of(&bytes);
    let target = format!("POST /v2/{NAME}/blobs/uploads/?digest={digest}");
    let pieces = |size: usize| {
        let chunks: Vec<_> =
            bytes.chunks(size).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
        Body::from_stream(stream::iter(chunks))
    };
    let (first, second, third) = tokio::join!(
        bench.ask_with(&target, &[], pieces(1000)),
        bench.ask_with(&target, &[], pieces(777)),
        bench.ask_with(&target, &[], pieces(65_536)),
    );
    assert_eq!([first.status.as_u16(), second.status.as_u16(), third.status.as_u16()], [201; 3]);
    assert!(stored(&bench, &digest).await.unwrap() == bytes);
    assert_eq!((bench.files("uploads"), bench.files("blobs/sha256")), (0, 1));
}

#[tokio::test]
async fn a_blob_is_seen_only_where_it_was_pushed_or_mounted() {
    let bench = Bench::new();
    let digest = bench.push_blob("a/source", b"hello").await;
    assert!(stored(&bench, &digest).await.is_none());

    let answer = bench.ask(&format!("POST /v2/{NAME}/blobs/uploads/?mount={digest}&from=a%2Fsource")).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), format!("/v2/{NAME}/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    assert_eq!(stored(&bench, &digest).await.unwrap(), b"hello");

    let other = Digest::of(b"other");
    for query in
        [format!("mount={other}&from=a/source"), format!("mount={digest}&from=a/none"), format!("mount={digest}")]
    {
        let answer = bench.ask(&format!("POST /v2/b/target/blobs/uploads/?{query}")).await;
        assert_eq!(answer.status, 202, "{query}: what cannot be mounted is uploaded");
        assert!(answer.header("location").starts_with("/v2/b/target/blobs/uploads/"), "{query}");
    }
}

#[tokio::test]
async fn clearing_ends_open_uploads() {
    let bench = Bench::new();
    let location = start(&bench).await;
    Registry::clear(&bench.registry).await.unwrap();
    assert_eq!(patch(&bench, &location, "", "hello").await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    assert_eq!(bench.files("uploads"), 0);
}
