//! From a path to what is asked for.
use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::registry::error::{Code, Failure};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Base,
    Token,
    Catalog,
    Tags { name: String },
    Manifest { name: String, reference: String },
    Blob { name: String, digest: String },
    Uploads { name: String },
    Upload { name: String, id: String },
    Referrers { name: String, digest: String },
}

impl Endpoint {
    /// What may be done here, as an `Allow` header has it.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Token | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => "GET, HEAD",
            Self::Manifest { .. } => "GET, HEAD, PUT, DELETE",
            Self::Blob { .. } => "GET, HEAD, DELETE",
            Self::Uploads { .. } => "POST",
            Self::Upload { .. } => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }
}

/// `path` as it stands in the request line. Names are not checked here.
pub(super) fn parse(path: &str) -> Result<Endpoint, Failure> {
    let decoded = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Failure::bad_request(Code::NameInvalid, "the path is not UTF-8"))?;
    let rest = decoded.strip_prefix("/v2").unwrap_or(&decoded);
    let segments: Vec<&str> = rest.strip_prefix('/').unwrap_or(rest).split('/').collect();
    let owned = str::to_owned;
    match segments.as_slice() {
        [""] => Ok(Endpoint::Base),
        ["token"] => Ok(Endpoint::Token),
        ["_catalog"] => Ok(Endpoint::Catalog),
        [name @ .., "tags", "list"] => Ok(Endpoint::Tags { name: name.join("/") }),
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
            Ok(Endpoint::Uploads { name: name.join("/") })
        }
        [name @ .., "blobs", "uploads", id] => Ok(Endpoint::Upload { name: name.join("/"), id: owned(id) }),
        [name @ .., "blobs", digest] => Ok(Endpoint::Blob { name: name.join("/"), digest: owned(digest) }),
        [name @ .., "manifests", reference] => {
            Ok(Endpoint::Manifest { name: name.join("/"), reference: owned(reference) })
        }
        [name @ .., "referrers", digest] => Ok(Endpoint::Referrers { name: name.join("/"), digest: owned(digest) }),
        _ => Err(Failure::new(StatusCode::NOT_FOUND, Code::Unsupported, "the registry has no such path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_paths_apart_from_the_right() {
        let name = "blobs/uploads/manifests".to_owned();
        for (path, expected) in [
            ("/v2", Endpoint::Base),
            ("/v2/", Endpoint::Base),
            ("/v2/_catalog", Endpoint::Catalog),
            ("/v2/blobs/uploads/manifests/tags/list", Endpoint::Tags { name: name.clone() }),
            ("/v2/blobs/uploads/manifests/blobs/uploads/", Endpoint::Uploads { name: name.clone() }),
            ("/v2/blobs/uploads/manifests/blobs/uploads", Endpoint::Uploads { name: name.clone() }),
            (
                "/v2/blobs/uploads/manifests/blobs/uploads/7",
                Endpoint::Upload { name: name.clone(), id: "7".to_owned() },
            ),
            (
                "/v2/blobs/uploads/manifests/manifests/sha256%3Aab",
                Endpoint::Manifest { name: name.clone(), reference: "sha256:ab".to_owned() },
            ),
            ("/v2/a/referrers/d", Endpoint::Referrers { name: "a".to_owned(), digest: "d".to_owned() }),
        ] {
            assert_eq!(parse(path).ok(), Some(expected), "{path}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for path in ["/v2/a", "/v2/a/tags", "/v2/a/tags/list/", "/v2/%ff/tags/list", "/v2//"] {
            assert!(parse(path).is_err(), "{path}");
        }
    }
}
