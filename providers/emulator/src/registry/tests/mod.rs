//! Raw requests through the router, as a client sends them.
mod faces;
mod hostile;
mod images;
mod lists;
mod manifests;
mod reads;
mod refusals;
mod requests;
mod sequences;
mod uploads;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::{Registry, digest::Digest, uploads::Limits};
use crate::registry_access::{Access, Action, Denied};

pub(super) const NAME: &str = "us-central1-docker.pkg.dev/local/carrack/hello";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(super) struct Anyone;

impl Access for Anyone {
    fn check(&self, _: Option<&str>, _: Option<&str>, _: &str, _: Action) -> Result<(), Denied> {
        Ok(())
    }
}

/// A registry in a folder of its own, with its loopback face.
pub(super) struct Bench {
    pub(super) registry: Registry,
    pub(super) router: Router,
    pub(super) dir: TempDir,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open_with(dir.path().to_owned(), limits).unwrap();
        let router = registry.routes(Arc::new(Anyone), None);
        Self { registry, router, dir }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    /// `target` = `METHOD /path`.
    pub(super) async fn ask(&self, target: &str) -> Answer {
        self.send(request(target, &[], Body::empty())).await
    }

    pub(super) async fn ask_with(&self, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.send(request(target, headers, body.into())).await
    }

    /// Pushes whole, and gives the digest.
    pub(super) async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let answer =
            self.ask_with(&format!("POST /v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    pub(super) async fn push_manifest(&self, name: &str, reference: &str, media_type: &str, body: &Value) -> Digest {
        let bytes = serde_json::to_vec(body).unwrap();
        let digest = Digest::of(&bytes);
        let reference = if reference.is_empty() { digest.as_str() } else { reference };
        let answer = self
            .ask_with(&format!("PUT /v2/{name}/manifests/{reference}"), &[("content-type", media_type)], bytes)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    /// An image of one layer; `reference` = a tag, or empty for the digest alone.
    pub(super) async fn push_image(&self, name: &str, reference: &str, architecture: &str) -> Digest {
        let manifest = self.image_manifest(name, architecture).await;
        self.push_manifest(name, reference, OCI_MANIFEST, &manifest).await
    }

    /// The manifest of an image whose blobs are pushed.
    pub(super) async fn image_manifest(&self, name: &str, architecture: &str) -> Value {
        let config = serde_json::to_vec(&json!({
            "os": "linux",
            "architecture": architecture,
            "config": { "Entrypoint": ["/app"], "Cmd": null, "Env": ["A=b"], "WorkingDir": "/w", "User": "" },
        }))
        .unwrap();
        let layer = format!("layer for {architecture}").into_bytes();
        self.push_blob(name, &config).await;
        self.push_blob(name, &layer).await;
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config),
            "layers": [descriptor(OCI_LAYER, &layer)],
        })
    }

    /// How many files lie in a folder of the registry.
    pub(super) fn files(&self, folder: &str) -> usize {
        std::fs::read_dir(self.dir.path().join(folder)).unwrap().count()
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the code of the first error.
    pub(super) fn refusal(&self) -> (u16, String) {
        let json = self.json();
        let code = json["errors"][0]["code"].as_str().unwrap_or_else(|| panic!("no error in {json}"));
        assert!(json["errors"][0]["message"].is_string(), "{json}");
        (self.status.as_u16(), code.to_owned())
    }
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers["docker-distribution-api-version"], "registry/2.0");
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(super) fn request(target: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let (method, path) = target.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).as_str(), "size": bytes.len() })
}
