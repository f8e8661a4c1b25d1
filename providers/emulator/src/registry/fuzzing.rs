//! Manifests and requests as anybody may send them.
use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use tower::ServiceExt;

use super::{
    Registry,
    manifest::{Manifest, OCI_INDEX},
    uploads::Limits,
};
use crate::registry_access::{Access, Action, Denied};

struct Anyone;

impl Access for Anyone {
    fn check(&self, _: Option<&str>, _: Option<&str>, _: &str, _: Action) -> Result<(), Denied> {
        Ok(())
    }
}

/// Any bytes as a manifest of each kind: parsed or refused, its references then known, of another size, or not.
pub fn manifest(bytes: &[u8]) {
    for content_type in [None, Some(OCI_INDEX), Some("application/vnd.oci.image.manifest.v1+json")] {
        let Ok(manifest) = Manifest::parse(content_type, bytes) else { continue };
        for size in [None, Some(0), Some(u64::MAX)] {
            let _ = manifest.check_references(|_| size);
        }
        manifest.total_size(u64::MAX);
    }
}

/// Requests with a line `---` between them, each as `METHOD /path`, headers, an empty line and a body. `{last}` is
/// the last `Location`. None may be the registry's own fault, and every image that is there is one or is refused.
pub fn requests(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits { bytes: 1 << 16, sessions: 8, ..Limits::default() };
        let registry = Registry::open_with(folder.path().to_owned(), limits).expect("a registry");
        let router = registry.routes(Arc::new(Anyone), None);
        let text = String::from_utf8_lossy(bytes);
        let mut last = String::new();
        for text in text.split("\n---\n").take(16) {
            let text = text.replace("{last}", &last);
            let Some(request) = request(&text) else { continue };
            let Ok(response) = router.clone().oneshot(request).await;
            assert!(!response.status().is_server_error(), "{}: {text}", response.status());
            if let Some(location) = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()) {
                last = location.to_owned();
            }
        }
        for image in registry.images() {
            let _ = registry.image(&image.name, &image.digest).await;
        }
    });
}

fn request(text: &str) -> Option<Request<Body>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut builder = Request::builder().method(Method::from_bytes(method.as_bytes()).ok()?).uri(path);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        builder = builder.header(name, value);
    }
    let request = builder.body(Body::from(body.to_owned())).ok()?;
    // Other paths are not this face's.
    request.uri().path().starts_with("/v2").then_some(request)
}
