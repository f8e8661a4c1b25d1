//! Manifests: what is taken, what is refused, and that bytes stay as they are.
use serde_json::{Value, json};

use super::{Bench, Digest, NAME, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, descriptor};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

async fn put(bench: &Bench, reference: &str, media_type: &str, body: impl Into<Vec<u8>>) -> super::Answer {
    let headers: &[(&str, &str)] = if media_type.is_empty() { &[] } else { &[("content-type", media_type)] };
    bench.ask_with(&format!("PUT /v2/{NAME}/manifests/{reference}"), headers, body.into()).await
}

#[tokio::test]
async fn stored_byte_for_byte() {
    let bench = Bench::new();
    let manifest = bench.image_manifest(NAME, "amd64").await;
    // Indented and with an unknown key: anything but what a serialiser of ours would write.
    let mut manifest = manifest;
    manifest["x-unknown"] = json!([1, null]);
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    let digest = Digest::of(&bytes);
    let answer = put(&bench, "v1", OCI_MANIFEST, bytes.clone()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("location"), format!("/v2/{NAME}/manifests/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    assert_eq!(answer.header("oci-subject"), "");
    for reference in ["v1", digest.as_str()] {
        for method in ["GET", "HEAD"] {
            let answer = bench.ask(&format!("{method} /v2/{NAME}/manifests/{reference}")).await;
            assert_eq!(answer.status, 200, "{method} {reference}");
            assert_eq!(answer.header("content-type"), OCI_MANIFEST);
            assert_eq!(answer.header("docker-content-digest"), digest.as_str());
            assert_eq!(answer.header("content-length"), bytes.len().to_string());
            assert_eq!(answer.body, if method == "GET" { bytes.clone() } else { Vec::new() });
        }
    }
    let answer = bench.ask(&format!("GET /v2/{NAME}/blobs/{digest}")).await;
    assert_eq!(answer.refusal(), (404, "BLOB_UNKNOWN".to_owned()), "a manifest is no blob");
}

#[tokio::test]
async fn all_four_kinds_are_taken() {
    let bench = Bench::new();
    let mut image = bench.image_manifest(NAME, "amd64").await;
    let mut names = Vec::new();
    for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
        image["mediaType"] = json!(media_type);
        bench.push_manifest(NAME, "", media_type, &image).await;
        names.push(descriptor(media_type, &serde_json::to_vec(&image).unwrap()));
    }
    for media_type in [OCI_INDEX, DOCKER_LIST] {
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": names });
        bench.push_manifest(NAME, "many", media_type, &index).await;
    }
    // The body need not name its type, nor the header, nor stand alone.
    let silent = json!({ "schemaVersion": 2, "manifests": names });
    bench.push_manifest(NAME, "silent", &format!("{OCI_INDEX}; charset=utf-8"), &silent).await;
    let spoken = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    assert_eq!(put(&bench, "spoken", "", spoken.to_string()).await.status, 201);
    assert_eq!(bench.ask(&format!("HEAD /v2/{NAME}/manifests/spoken")).await.header("content-type"), OCI_INDEX);
}

#[tokio::test]
async fn what_is_refused() {
    let bench = Bench::new();
    let good = bench.image_manifest(NAME, "amd64").await;
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed
    };
    let without = |key: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().unwrap().remove(key);
        changed
    };
    let mut longer = good.clone();
    longer["layers"][0]["size"] = json!(1);
    let mut negative = good.clone();
    negative["layers"][0]["size"] = json!(-1);
    let mut no_digest = good.clone();
    no_digest["config"]["digest"] = json!("sha256:../../../etc/passwd");
    let schema1 = json!({ "schemaVersion": 1, "name": NAME, "tag": "v1", "fsLayers": [] });
    let cases = [
        ("not json", OCI_MANIFEST, b"{".to_vec()),
        ("no object", OCI_MANIFEST, b"[]".to_vec()),
        ("not utf-8", OCI_MANIFEST, vec![0xff]),
        ("empty", OCI_MANIFEST, Vec::new()),
        ("two keys", OCI_MANIFEST, br#"{"schemaVersion":2,"schemaVersion":2}"#.to_vec()),
        ("other type in the body", DOCKER_MANIFEST, good.to_string().into()),
        ("other type", "application/json", without("mediaType").to_string().into()),
        ("no type at all", "", without("mediaType").to_string().into()),
        ("schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", schema1.to_string().into()),
        ("schema 1 as 2", DOCKER_MANIFEST, schema1.to_string().into()),
        ("no schema", OCI_MANIFEST, without("schemaVersion").to_string().into()),
        ("no config", OCI_MANIFEST, without("config").to_string().into()),
        ("no layers", OCI_MANIFEST, without("layers").to_string().into()),
        ("image and index", OCI_MANIFEST, with("manifests", json!([])).to_string().into()),
        ("an image as an index", OCI_INDEX, without("mediaType").to_string().into()),
        ("a lying size", OCI_MANIFEST, longer.to_string().into()),
        ("a negative size", OCI_MANIFEST, negative.to_string().into()),
        ("no digest", OCI_MANIFEST, no_digest.to_string().into()),
    ];
    let before = bench.files("blobs/sha256");
    for (case, media_type, body) in cases {
        let answer = put(&bench, "v1", media_type, body).await;
        assert_eq!(answer.refusal(), (400, "MANIFEST_INVALID".to_owned()), "{case}: {answer:?}");
    }
    let answer = put(&bench, Digest::of(b"other").as_str(), OCI_MANIFEST, good.to_string()).await;
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
    let answer = put(&bench, "v1", OCI_MANIFEST, vec![b' '; 4 * 1024 * 1024 + 1]).await;
    assert_eq!(answer.refusal(), (413, "MANIFEST_INVALID".to_owned()));
    let answer = put(&bench, ".v1", OCI_MANIFEST, good.to_string()).await;
    assert_eq!(answer.refusal(), (400, "MANIFEST_INVALID".to_owned()));
    assert_eq!(bench.files("blobs/sha256"), before, "a refused manifest leaves nothing");
    assert_eq!(put(&bench, "v1", OCI_MANIFEST, good.to_string()).await.status, 201, "the good one is good");
}

#[tokio::test]
async fn everything_it_names_must_be_in_this_repository() {
    let bench = Bench::new();
    // The blobs are known, but elsewhere.
    let manifest = bench.image_manifest("other/repo", "amd64").await;
    let answer = put(&bench, "v1", OCI_MANIFEST, manifest.to_string()).await;
    assert_eq!(answer.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    let errors = answer.json()["errors"].clone();
    let digests = [&errors[0]["detail"]["digest"], &errors[1]["detail"]["digest"]];
    assert_eq!(digests, [&manifest["config"]["digest"], &manifest["layers"][0]["digest"]]);

    // An index needs manifests; a blob of that digest will not do.
    let blob = b"no manifest";
    bench.push_blob(NAME, blob).await;
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, blob)] });
    let answer = put(&bench, "v1", OCI_INDEX, index.to_string()).await;
    assert_eq!(answer.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn foreign_layers_may_be_elsewhere() {
    let bench = Bench::new();
    let mut manifest = bench.image_manifest(NAME, "amd64").await;
    let foreign = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"elsewhere");
    manifest["layers"].as_array_mut().unwrap().push(foreign);
    bench.push_manifest(NAME, "v1", OCI_MANIFEST, &manifest).await;
    assert!(bench.registry.image(NAME, "v1").await.is_err(), "but it cannot be run");
}

#[tokio::test]
async fn delete_by_tag_and_by_digest() {
    let bench = Bench::new();
    let digest = bench.push_image(NAME, "v1", "amd64").await;
    assert_eq!(bench.push_image(NAME, "v2", "amd64").await, digest);
    let target = |reference: &str| format!("/v2/{NAME}/manifests/{reference}");
    assert_eq!(bench.ask(&format!("DELETE {}", target("v1"))).await.status, 202);
    assert_eq!(bench.ask(&format!("GET {}", target("v1"))).await.refusal(), (404, "MANIFEST_UNKNOWN".to_owned()));
    assert_eq!(bench.ask(&format!("GET {}", target("v2"))).await.status, 200);
    assert_eq!(bench.ask(&format!("DELETE {}", target(digest.as_str()))).await.status, 202);
    for reference in ["v2", digest.as_str()] {
        for method in ["GET", "HEAD", "DELETE"] {
            let answer = bench.ask(&format!("{method} {}", target(reference))).await;
            assert_eq!(answer.status, 404, "{method} {reference}");
        }
    }
}

#[tokio::test]
async fn a_tag_moves() {
    let bench = Bench::new();
    let first = bench.push_image(NAME, "v1", "amd64").await;
    let second = bench.push_image(NAME, "v1", "arm64").await;
    let answer = bench.ask(&format!("HEAD /v2/{NAME}/manifests/v1")).await;
    assert_eq!(answer.header("docker-content-digest"), second.as_str());
    assert_eq!(bench.ask(&format!("HEAD /v2/{NAME}/manifests/{first}")).await.status, 200);
    let images = bench.registry.images();
    assert_eq!(images.len(), 2);
    assert!(images.iter().all(|image| image.tags.is_empty() == (image.digest == first.as_str())), "{images:?}");
}

#[tokio::test]
async fn referrers() {
    let bench = Bench::new();
    let subject = bench.push_image(NAME, "v1", "amd64").await;
    let subject_descriptor = json!({ "mediaType": OCI_MANIFEST, "digest": subject.as_str(), "size": 1 });
    let empty = bench.push_blob(NAME, b"{}").await;
    let config = json!({ "mediaType": OCI_CONFIG, "digest": empty.as_str(), "size": 2 });
    let sbom = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/sbom", "config": config,
        "layers": [], "subject": subject_descriptor, "annotations": { "a": "b" },
    });
    let bytes = sbom.to_string();
    let answer = put(&bench, Digest::of(bytes.as_bytes()).as_str(), OCI_MANIFEST, bytes.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("oci-subject")), (201, subject.as_str()));
    // Without a type of its own it has its config's; its subject need not exist when it comes.
    let signature = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], "subject": subject_descriptor,
    });
    bench.push_manifest(NAME, "", OCI_MANIFEST, &signature).await;

    let target = format!("GET /v2/{NAME}/referrers/{subject}");
    let answer = bench.ask(&target).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, OCI_INDEX));
    assert_eq!(answer.header("oci-filters-applied"), "");
    let list = answer.json();
    assert_eq!((&list["schemaVersion"], &list["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
    assert_eq!(
        list["manifests"][0],
        json!({
            "mediaType": OCI_MANIFEST, "digest": Digest::of(bytes.as_bytes()).as_str(), "size": bytes.len(),
            "artifactType": "application/sbom", "annotations": { "a": "b" },
        })
    );
    assert_eq!(list["manifests"][1]["artifactType"], OCI_CONFIG);

    let answer = bench.ask(&format!("{target}?artifactType=application%2Fsbom")).await;
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), 1);

    for path in [format!("{NAME}/referrers/{}", Digest::of(b"none")), format!("no/repo/referrers/{subject}")] {
        let answer = bench.ask(&format!("GET /v2/{path}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()["manifests"].clone()), (200, json!([])), "{path}");
    }
}
