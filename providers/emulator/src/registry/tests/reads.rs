//! Reading blobs, whole and in part.
use super::{Bench, NAME};

#[tokio::test]
async fn get_and_head() {
    let bench = Bench::new();
    let digest = bench.push_blob(NAME, b"0123456789").await;
    for (method, body) in [("GET", &b"0123456789"[..]), ("HEAD", b"")] {
        // HEAD has no ranges.
        let headers: &[(&str, &str)] = if method == "HEAD" { &[("range", "bytes=0-1")] } else { &[] };
        let answer = bench.ask_with(&format!("{method} /v2/{NAME}/blobs/{digest}"), headers, "").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, body), "{method}");
        assert_eq!(answer.header("content-length"), "10");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    }
}

#[tokio::test]
async fn ranges() {
    let bench = Bench::new();
    let digest = bench.push_blob(NAME, b"0123456789").await;
    let target = format!("GET /v2/{NAME}/blobs/{digest}");
    for (range, body, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-50", "56789", "bytes 5-9/10"),
    ] {
        let answer = bench.ask_with(&target, &[("range", range)], "").await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.body, body.as_bytes(), "{range}");
        assert_eq!(answer.header("content-range"), content_range);
        assert_eq!(answer.header("content-length"), body.len().to_string());
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let answer = bench.ask_with(&target, &[("range", range)], "").await;
        assert_eq!(answer.refusal(), (416, "SIZE_INVALID".to_owned()), "{range}");
        assert_eq!(answer.header("content-range"), "bytes */10");
    }
    for range in ["bytes=0-1,3-4", "lines=1-2", "bytes=x"] {
        let answer = bench.ask_with(&target, &[("range", range)], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 10), "{range}");
    }
}

#[tokio::test]
async fn delete() {
    let bench = Bench::new();
    let digest = bench.push_blob(NAME, b"hello").await;
    bench.push_blob("other/repo", b"hello").await;
    let target = format!("/v2/{NAME}/blobs/{digest}");
    assert_eq!(bench.ask(&format!("DELETE {target}")).await.status, 202);
    for method in ["GET", "DELETE"] {
        let answer = bench.ask(&format!("{method} {target}")).await;
        assert_eq!(answer.refusal(), (404, "BLOB_UNKNOWN".to_owned()), "{method}");
    }
    assert_eq!(bench.ask(&format!("GET /v2/other/repo/blobs/{digest}")).await.body, b"hello");
}

#[tokio::test]
async fn a_file_that_is_gone_is_unknown_and_not_a_broken_body() {
    let bench = Bench::new();
    let digest = bench.push_blob(NAME, b"hello").await;
    std::fs::remove_file(bench.dir.path().join("blobs/sha256").join(digest.hex())).unwrap();
    let answer = bench.ask(&format!("GET /v2/{NAME}/blobs/{digest}")).await;
    assert_eq!(answer.refusal(), (404, "BLOB_UNKNOWN".to_owned()));
}
