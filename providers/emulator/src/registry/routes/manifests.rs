//! Manifests, byte for byte as they were pushed.
use axum::{
    body::Body,
    http::{HeaderName, Method, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use jiff::Timestamp;
use serde_json::json;

use super::{Answer, CONTENT_DIGEST, Face, Repository, created, text_header};
use crate::registry::{
    digest::Digest,
    error::{Code, Failure},
    index::Stored,
    manifest::{Content, MANIFEST_BYTES, Manifest},
    name::{BadReference, Reference},
};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

fn unknown(reference: &str) -> Failure {
    Failure::not_found(Code::ManifestUnknown, "the manifest is not in this repository")
        .detail(json!({ "reference": reference }))
}

/// Of a manifest that is asked for: a tag that cannot exist does not exist.
fn existing(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|bad| match bad {
        BadReference::Tag => unknown(text),
        BadReference::Digest => invalid_digest(text),
    })
}

fn invalid_digest(text: &str) -> Failure {
    Failure::bad_request(Code::DigestInvalid, "this is not a sha256 digest").detail(json!({ "digest": text }))
}

impl Face {
    /// `Accept` is not looked at: the clouds send what was pushed.
    pub(super) async fn get_manifest(&self, repository: &Repository, text: &str, parts: &Parts) -> Answer {
        let reference = existing(text)?;
        let (digest, media_type, size) = {
            let index = self.registry.index();
            let (digest, stored) = index.manifest(&repository.stored, &reference).ok_or_else(|| unknown(text))?;
            (digest, stored.manifest.media_type.clone(), stored.size_bytes)
        };
        let body = if parts.method == Method::HEAD {
            Body::empty()
        } else {
            match self.registry.0.store.read(&digest, MANIFEST_BYTES).await {
                Ok(bytes) => Body::from(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(unknown(text));
                }
                Err(error) => return Err(error.into()),
            }
        };
        let headers = [
            (header::CONTENT_TYPE, media_type),
            (header::CONTENT_LENGTH, size.to_string()),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        Ok((StatusCode::OK, headers, body).into_response())
    }

    pub(super) async fn put_manifest(&self, repository: &Repository, text: &str, parts: &Parts, body: Body) -> Answer {
        let reference = Reference::parse(text).map_err(|bad| match bad {
            BadReference::Tag => {
                Failure::bad_request(Code::ManifestInvalid, "the tag is not valid").detail(json!({ "tag": text }))
            }
            BadReference::Digest => invalid_digest(text),
        })?;
        let bytes = tokio::time::timeout(self.registry.0.uploads.stall(), read(body)).await.map_err(|_elapsed| {
            let text = "the manifest did not come in time";
            Failure::new(StatusCode::REQUEST_TIMEOUT, Code::ManifestInvalid, text)
        })??;
        let digest = Digest::of(&bytes);
        let tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(expected) if expected != digest => {
                return Err(Failure::bad_request(
                    Code::DigestInvalid,
                    format!("the manifest is `{digest}`, not `{expected}`"),
                )
                .detail(json!({ "digest": expected.as_str() })));
            }
            Reference::Digest(_) => None,
        };
        let manifest = Manifest::parse(text_header(&parts.headers, &header::CONTENT_TYPE), &bytes)?;
        let children_are_manifests = matches!(manifest.content, Content::Index(_));
        let subject = manifest.subject.clone();

        let _gate = self.registry.0.store.gate.read().await;
        let check = || {
            let index = self.registry.index();
            let found = index.repository(&repository.stored);
            manifest.check_references(|digest| found?.size_of(digest, children_are_manifests))
        };
        // Before the bytes go to disk, so that a refused manifest leaves nothing there.
        check()?;
        self.registry.0.store.write(&digest, &bytes).await?;
        {
            let now = Timestamp::now();
            let stored = Stored { manifest, size_bytes: bytes.len() as u64, uploaded: now, updated: now };
            self.registry.index().make_repository(&repository.stored).add_manifest(digest.clone(), stored, tag);
        }
        let mut response = created(format!("/v2/{}/manifests/{digest}", repository.shown), &digest);
        if let Some(value) = subject.and_then(|subject| subject.as_str().parse().ok()) {
            response.headers_mut().insert(SUBJECT, value);
        }
        Ok(response)
    }

    pub(super) fn delete_manifest(&self, repository: &Repository, text: &str) -> Answer {
        let reference = existing(text)?;
        let mut index = self.registry.index();
        let removed = index.repository_mut(&repository.stored).is_some_and(|found| found.remove_manifest(&reference));
        if removed { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown(text)) }
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Failure> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let limit = usize::try_from(MANIFEST_BYTES).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::ManifestInvalid,
            format!("a manifest has at most {MANIFEST_BYTES} bytes"),
        )),
        Err(error) => Err(Failure::bad_request(Code::ManifestInvalid, format!("the body ended early: {error}"))),
    }
}
