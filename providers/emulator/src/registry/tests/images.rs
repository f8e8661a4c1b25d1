//! `Registry::image`: what a runtime gets.
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Bench, NAME, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor};
use crate::image::ImageError;

const OTHER: &str = if cfg!(target_arch = "s390x") { "mips64" } else { "s390x" };

fn entry(manifest: &Value, platform: Option<Value>) -> Value {
    let mut entry = descriptor(OCI_MANIFEST, &serde_json::to_vec(manifest).unwrap());
    if let Some(platform) = platform {
        entry["platform"] = platform;
    }
    entry
}

fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })
}

#[tokio::test]
async fn a_pushed_image_can_be_had() {
    let bench = Bench::new();
    let digest = bench.push_image(NAME, "v1", "amd64").await;
    let image = bench.registry.image(NAME, "v1").await.unwrap();
    assert_eq!(image.reference, format!("{NAME}:v1"));
    assert_eq!(image.digest, digest.as_str());
    assert_eq!((image.os.as_str(), image.architecture.as_str()), ("linux", "amd64"));
    assert_eq!(image.config.entrypoint, ["/app"]);
    assert!(image.config.cmd.is_empty());
    assert_eq!(image.config.env, ["A=b"]);
    assert_eq!(image.config.working_dir.as_deref(), Some("/w"));
    assert_eq!(image.config.user, None);
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.layers[0].media_type, OCI_LAYER);
    assert_eq!(std::fs::read(&image.layers[0].path).unwrap(), b"layer for amd64");
    let by_digest = bench.registry.image(NAME, digest.as_str()).await.unwrap();
    assert_eq!(by_digest.reference, format!("{NAME}@{digest}"));
}

#[tokio::test]
async fn an_index_gives_amd64_wherever_it_stands() {
    let bench = Bench::new();
    let mut entries = Vec::new();
    for architecture in [OTHER, "arm64", "amd64"] {
        let manifest = bench.image_manifest(NAME, architecture).await;
        bench.push_manifest(NAME, "", OCI_MANIFEST, &manifest).await;
        entries.push(entry(&manifest, Some(json!({ "os": "linux", "architecture": architecture }))));
    }
    bench.push_manifest(NAME, "v1", OCI_INDEX, &index(&entries)).await;
    let image = bench.registry.image(NAME, "v1").await.unwrap();
    assert_eq!(image.architecture, "amd64");
    assert_eq!(image.digest, entries[2]["digest"]);
}

#[tokio::test]
async fn an_index_without_platforms_and_in_another_index_works() {
    let bench = Bench::new();
    let manifest = bench.image_manifest(NAME, "amd64").await;
    bench.push_manifest(NAME, "", OCI_MANIFEST, &manifest).await;
    let inner = index(&[entry(&manifest, None)]);
    bench.push_manifest(NAME, "", OCI_INDEX, &inner).await;
    let mut outer_entry = entry(&inner, None);
    outer_entry["mediaType"] = json!(OCI_INDEX);
    bench.push_manifest(NAME, "v1", OCI_INDEX, &index(&[outer_entry.clone(), outer_entry])).await;
    assert_eq!(bench.registry.image(NAME, "v1").await.unwrap().architecture, "amd64");
}

#[tokio::test]
async fn another_architecture_names_the_top_manifests_type() {
    let bench = Bench::new();
    let manifest = bench.image_manifest(NAME, OTHER).await;
    bench.push_manifest(NAME, "single", OCI_MANIFEST, &manifest).await;
    let platform = json!({ "os": "linux", "architecture": OTHER });
    bench.push_manifest(NAME, "many", OCI_INDEX, &index(&[entry(&manifest, Some(platform))])).await;
    for (tag, media_type) in [("single", OCI_MANIFEST), ("many", OCI_INDEX)] {
        assert_eq!(
            bench.registry.image(NAME, tag).await.unwrap_err(),
            ImageError::NoPlatform { media_type: media_type.to_owned() }
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let bench = Bench::new();
    bench.push_image(NAME, "v1", "amd64").await;
    for (name, reference) in [(NAME, "v2"), ("a/b", "v1"), (NAME, "../v1"), (NAME, "sha256:0"), ("", "")] {
        assert_eq!(
            bench.registry.image(name, reference).await.unwrap_err(),
            ImageError::NotFound,
            "{name} {reference}"
        );
    }
}

#[tokio::test]
async fn indexes_nested_too_deep_are_refused() {
    let bench = Bench::new();
    let mut manifest = bench.image_manifest(NAME, "amd64").await;
    bench.push_manifest(NAME, "", OCI_MANIFEST, &manifest).await;
    for _ in 0..5 {
        manifest = index(&[entry(&manifest, None)]);
        bench.push_manifest(NAME, "deep", OCI_INDEX, &manifest).await;
    }
    let error = bench.registry.image(NAME, "deep").await.unwrap_err();
    assert!(matches!(&error, ImageError::Invalid(text) if text.contains("nested")), "{error:?}");
}

#[tokio::test]
async fn an_index_cannot_name_itself() {
    let bench = Bench::new();
    // Its digest would have to stand in itself, so the nearest is one that names what is not there yet.
    let later = index(&[]);
    let mut entry = entry(&later, None);
    entry["mediaType"] = json!(OCI_INDEX);
    let bytes = serde_json::to_vec(&index(&[entry])).unwrap();
    let answer =
        bench.ask_with(&format!("PUT /v2/{NAME}/manifests/v1"), &[("content-type", OCI_INDEX)], bytes.clone()).await;
    assert_eq!(answer.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    bench.push_manifest(NAME, "v1", OCI_INDEX, &later).await;
    let answer = bench.ask_with(&format!("PUT /v2/{NAME}/manifests/v2"), &[("content-type", OCI_INDEX)], bytes).await;
    assert_eq!(answer.status, 201);
    assert!(bench.registry.image(NAME, "v2").await.is_err(), "no image is below it");
}

#[tokio::test]
async fn an_index_costs_no_more_than_its_size() {
    let bench = Bench::new();
    let manifest = bench.image_manifest(NAME, "amd64").await;
    bench.push_manifest(NAME, "", OCI_MANIFEST, &manifest).await;
    let platform = |number: usize| Some(json!({ "os": "linux", "architecture": format!("a{number}") }));
    // A hundred ways to the same hundred ways, four deep: 100 million if each were gone.
    let mut below = entry(&manifest, None);
    for _ in 0..4 {
        let entries: Vec<_> = (0..100)
            .map(|number| {
                let mut entry = below.clone();
                entry["platform"] = platform(number).unwrap();
                entry
            })
            .collect();
        let next = index(&entries);
        bench.push_manifest(NAME, "wide", OCI_INDEX, &next).await;
        below = entry(&next, None);
        below["mediaType"] = json!(OCI_INDEX);
    }
    let error = bench.registry.image(NAME, "wide").await.unwrap_err();
    assert!(matches!(error, ImageError::NoPlatform { .. }), "{error:?}");

    let entries: Vec<_> = (0..1001).map(|number| entry(&manifest, platform(number))).collect();
    bench.push_manifest(NAME, "many", OCI_INDEX, &index(&entries)).await;
    let error = bench.registry.image(NAME, "many").await.unwrap_err();
    assert!(matches!(&error, ImageError::Invalid(text) if text.contains("more than 1000")), "{error:?}");
}

#[tokio::test]
async fn an_artifact_a_broken_config_and_a_huge_one_are_no_images() {
    let bench = Bench::new();
    let huge = vec![b' '; 4 * 1024 * 1024 + 1];
    for (tag, media_type, config) in [
        ("artifact", "application/vnd.oci.empty.v1+json", b"{}".to_vec()),
        ("broken", OCI_CONFIG, b"[1]".to_vec()),
        ("huge", OCI_CONFIG, huge),
    ] {
        bench.push_blob(NAME, &config).await;
        let manifest = json!({ "schemaVersion": 2, "config": descriptor(media_type, &config), "layers": [] });
        bench.push_manifest(NAME, tag, OCI_MANIFEST, &manifest).await;
        let error = bench.registry.image(NAME, tag).await.unwrap_err();
        assert!(matches!(error, ImageError::Invalid(_)), "{tag}: {error:?}");
    }
}

#[tokio::test]
async fn a_deleted_blob_is_missed_but_its_file_stays_for_what_runs() {
    let bench = Bench::new();
    bench.push_image(NAME, "v1", "amd64").await;
    let layer = bench.registry.image(NAME, "v1").await.unwrap().layers.remove(0);
    let answer = bench.ask(&format!("DELETE /v2/{NAME}/blobs/{}", layer.digest)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let error = bench.registry.image(NAME, "v1").await.unwrap_err();
    assert!(matches!(&error, ImageError::Invalid(text) if text.contains(&layer.digest)), "{error:?}");
    assert!(layer.path.exists());
}

#[tokio::test]
async fn clear_forgets_and_removes() {
    let bench = Bench::new();
    bench.push_image(NAME, "v1", "amd64").await;
    let images = bench.registry.images();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].name.as_str(), &images[0].tags), (NAME, &vec!["v1".to_owned()]));
    assert!(images[0].size_bytes > 300, "{images:?}");
    bench.registry.clear().await.unwrap();
    assert!(bench.registry.images().is_empty());
    assert_eq!((bench.files("blobs/sha256"), bench.files("uploads")), (0, 0));
    assert_eq!(bench.registry.image(NAME, "v1").await.unwrap_err(), ImageError::NotFound);
    bench.push_image(NAME, "v1", "amd64").await;
    assert!(bench.registry.image(NAME, "v1").await.is_ok());
}

#[tokio::test]
async fn a_new_registry_starts_empty_in_a_used_folder() {
    let bench = Bench::new();
    bench.push_image(NAME, "v1", "amd64").await;
    let again = super::Registry::open(bench.dir.path().to_owned()).unwrap();
    assert_eq!(bench.files("blobs/sha256"), 0);
    assert!(again.images().is_empty());
}

#[tokio::test]
async fn one_image_may_stand_for_several_platforms_beside_a_signature() {
    let bench = Bench::new();
    let manifest = bench.image_manifest(NAME, "amd64").await;
    bench.push_manifest(NAME, "", OCI_MANIFEST, &manifest).await;
    bench.push_blob(NAME, b"{}").await;
    let config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let signature = json!({ "schemaVersion": 2, "config": config, "layers": [] });
    bench.push_manifest(NAME, "", OCI_MANIFEST, &signature).await;
    let platform = |architecture: &str| Some(json!({ "os": "linux", "architecture": architecture }));
    let entries = [entry(&signature, None), entry(&manifest, platform(OTHER)), entry(&manifest, platform("amd64"))];
    bench.push_manifest(NAME, "v1", OCI_INDEX, &index(&entries)).await;
    assert_eq!(bench.registry.image(NAME, "v1").await.unwrap().architecture, "amd64");
}

#[tokio::test]
async fn an_image_that_an_index_has_lost_is_passed_over() {
    let bench = Bench::new();
    let mut entries = Vec::new();
    for architecture in [OTHER, "amd64"] {
        let manifest = bench.image_manifest(NAME, architecture).await;
        bench.push_manifest(NAME, "", OCI_MANIFEST, &manifest).await;
        entries.push(entry(&manifest, Some(json!({ "os": "linux", "architecture": architecture }))));
    }
    bench.push_manifest(NAME, "v1", OCI_INDEX, &index(&entries)).await;
    let delete = |position: usize| {
        let digest: &str = entries[position]["digest"].as_str().unwrap();
        format!("DELETE /v2/{NAME}/manifests/{digest}")
    };
    assert_eq!(bench.ask(&delete(0)).await.status, StatusCode::ACCEPTED);
    assert_eq!(bench.registry.image(NAME, "v1").await.unwrap().architecture, "amd64");
    assert_eq!(bench.ask(&delete(1)).await.status, StatusCode::ACCEPTED);
    assert!(matches!(bench.registry.image(NAME, "v1").await, Err(ImageError::NoPlatform { .. })));
}
