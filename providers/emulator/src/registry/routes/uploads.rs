//! Pushing a blob: whole, in chunks, or mounted from another repository.
use axum::{
    body::Body,
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{Answer, Face, Repository, blobs::digest, created, query, range, text_header};
use crate::{
    registry::{
        digest::Digest,
        error::{Code, Failure},
        uploads::{self, Announced, Session},
    },
    registry_access::Action,
};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Face {
    pub(super) async fn start_upload(&self, repository: &Repository, parts: &Parts, body: Body) -> Answer {
        if let Some(mounted) = query(parts, "mount") {
            if let Some(answer) = self.mount(repository, &digest(&mounted)?, parts)? {
                return Ok(answer);
            }
        } else if let Some(text) = query(parts, "digest") {
            let digest = digest(&text)?;
            let announced = Announced { start: None, length: content_length(parts) };
            let session = self.registry.0.uploads.start(&repository.stored).await?;
            if let Err(failure) = self.registry.0.uploads.append(&session, body, announced).await {
                // Its id was never told, so nobody could go on with it.
                self.registry.0.uploads.cancel(&session).await;
                return Err(failure);
            }
            return self.finish(repository, &session, &digest).await;
        }
        let session = self.registry.0.uploads.start(&repository.stored).await?;
        Ok(progress(StatusCode::ACCEPTED, repository, &session))
    }

    /// `None` = cannot be mounted, which starts an ordinary upload.
    fn mount(&self, repository: &Repository, digest: &Digest, parts: &Parts) -> Result<Option<Response>, Failure> {
        let Some(from) = query(parts, "from") else {
            return Ok(None);
        };
        let from = self.repository(&from)?;
        if self.check(parts, &from.stored, Action::Pull).is_err() {
            return Ok(None);
        }
        let mut index = self.registry.index();
        let Some(size) = index.blob(&from.stored, digest) else {
            return Ok(None);
        };
        index.make_repository(&repository.stored).add_blob(digest.clone(), size);
        Ok(Some(created(blob_location(repository, digest), digest)))
    }

    pub(super) async fn upload_status(&self, repository: &Repository, id: &str) -> Answer {
        let session = self.registry.0.uploads.find(&repository.stored, id).await?;
        Ok(progress(StatusCode::NO_CONTENT, repository, &session))
    }

    pub(super) async fn patch_upload(&self, repository: &Repository, id: &str, parts: &Parts, body: Body) -> Answer {
        let session = self.registry.0.uploads.find(&repository.stored, id).await?;
        self.append(repository, &session, parts, body).await?;
        Ok(progress(StatusCode::ACCEPTED, repository, &session))
    }

    pub(super) async fn put_upload(&self, repository: &Repository, id: &str, parts: &Parts, body: Body) -> Answer {
        let session = self.registry.0.uploads.find(&repository.stored, id).await?;
        let Some(text) = query(parts, "digest") else {
            return Err(Failure::bad_request(Code::DigestInvalid, "the query has no `digest`"));
        };
        let digest = digest(&text)?;
        self.append(repository, &session, parts, body).await?;
        self.finish(repository, &session, &digest).await
    }

    pub(super) async fn delete_upload(&self, repository: &Repository, id: &str) -> Answer {
        let session = self.registry.0.uploads.find(&repository.stored, id).await?;
        self.registry.0.uploads.cancel(&session).await;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn append(
        &self,
        repository: &Repository,
        session: &Session,
        parts: &Parts,
        body: Body,
    ) -> Result<(), Failure> {
        let announced = match parts.headers.get(header::CONTENT_RANGE) {
            None => Announced { start: None, length: content_length(parts) },
            Some(value) => {
                let Some((start, length)) = value.to_str().ok().and_then(range::of_chunk) else {
                    return Err(Failure::bad_request(
                        Code::BlobUploadInvalid,
                        "the content range is not of the form `first-last`",
                    ));
                };
                Announced { start: Some(start), length: Some(length) }
            }
        };
        match self.registry.0.uploads.append(session, body, announced).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.status() == StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(failure.header(header::LOCATION, upload_location(repository, session)))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn finish(&self, repository: &Repository, session: &Session, digest: &Digest) -> Answer {
        let inner = &self.registry.0;
        let _gate = inner.store.gate.read().await;
        let finished = inner.uploads.finish(session, digest).await?;
        match inner.store.adopt(&finished.path, digest).await {
            Ok(()) => {}
            // The registry was cleared while the upload ran.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::not_found(Code::BlobUploadUnknown, "the registry was cleared during this upload"));
            }
            Err(error) => return Err(error.into()),
        }
        self.registry.index().make_repository(&repository.stored).add_blob(digest.clone(), finished.size_bytes);
        Ok(created(blob_location(repository, digest), digest))
    }
}

/// Where the upload goes on and how far it is.
fn progress(status: StatusCode, repository: &Repository, session: &Session) -> Response {
    (
        status,
        [
            (header::LOCATION, upload_location(repository, session)),
            (header::RANGE, uploads::range(session.received())),
            (UPLOAD_ID, session.id.clone()),
        ],
    )
        .into_response()
}

/// Without a host: whoever carries the request here (proxy, tunnel, plain loopback) is asked again the same way.
fn upload_location(repository: &Repository, session: &Session) -> String {
    format!("/v2/{}/blobs/uploads/{}", repository.shown, session.id)
}

fn blob_location(repository: &Repository, digest: &Digest) -> String {
    format!("/v2/{}/blobs/{digest}", repository.shown)
}

fn content_length(parts: &Parts) -> Option<u64> {
    text_header(&parts.headers, &header::CONTENT_LENGTH)?.parse().ok()
}
