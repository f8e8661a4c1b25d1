//! Manifests: what may be pushed, and what of it the registry looks at.
use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    digest::Digest,
    error::{Code, Failure},
};

/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests>: at least 4 MiB; the clouds stop there.
pub(super) const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Layers that a client may fetch elsewhere: they need not be here.
const FOREIGN_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

/// Both kinds in one, so that a body that claims to be both is seen and refused.
/// <https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A manifest that is well-formed; whether its blobs are there is the index's question.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) content: Content,
    pub(super) subject: Option<Digest>,
    /// For referrers: the manifest's own, else its config's media type.
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Image { config: Descriptor, layers: Vec<Descriptor> },
    Index(Vec<Descriptor>),
}

/// One entry of the answer to a referrers request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Referrer {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// `content_type` is the request's header, or what was stored with the bytes.
    pub(super) fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Self, Failure> {
        let invalid = |message: String| Failure::bad_request(Code::ManifestInvalid, message);
        let declared =
            content_type.map(|value| value.split(';').next().unwrap_or(value).trim()).filter(|value| !value.is_empty());
        if declared.is_some_and(|media_type| media_type.starts_with("application/vnd.docker.distribution.manifest.v1"))
        {
            return Err(invalid("image manifests of schema version 1 are not accepted".to_owned()));
        }
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|error| invalid(format!("the manifest is not valid: {error}")))?;
        if wire.schema_version != 2 {
            return Err(invalid(format!("schema version {} is not accepted, only 2", wire.schema_version)));
        }
        if let (Some(declared), Some(own)) = (declared, wire.media_type.as_deref())
            && declared != own
        {
            return Err(invalid(format!("the request says `{declared}` and the manifest says `{own}`")));
        }
        let Some(media_type) = declared.map(str::to_owned).or(wire.media_type) else {
            return Err(invalid("neither the request nor the manifest names a media type".to_owned()));
        };
        let content = match (media_type.as_str(), wire.config, wire.layers, wire.manifests) {
            (OCI_MANIFEST | DOCKER_MANIFEST, Some(config), Some(layers), None) => Content::Image { config, layers },
            (OCI_INDEX | DOCKER_LIST, None, None, Some(manifests)) => Content::Index(manifests),
            (OCI_MANIFEST | DOCKER_MANIFEST, ..) => {
                return Err(invalid("an image manifest has `config` and `layers` and no `manifests`".to_owned()));
            }
            (OCI_INDEX | DOCKER_LIST, ..) => {
                return Err(invalid("an image index has `manifests` and neither `config` nor `layers`".to_owned()));
            }
            _ => {
                return Err(invalid(format!("media type `{media_type}` is not accepted")));
            }
        };
        let config_type = match &content {
            Content::Image { config, .. } => Some(config.media_type.clone()),
            Content::Index(_) => None,
        };
        Ok(Self {
            media_type,
            content,
            subject: wire.subject.map(|subject| subject.digest),
            artifact_type: wire.artifact_type.filter(|own| !own.is_empty()).or(config_type),
            annotations: wire.annotations,
        })
    }

    /// Every blob or manifest it needs must be known with the size it says. `size_of` = `None` when unknown.
    pub(super) fn check_references(&self, size_of: impl Fn(&Digest) -> Option<u64>) -> Result<(), Failure> {
        let needed: Vec<&Descriptor> = match &self.content {
            Content::Image { config, layers } => std::iter::once(config)
                .chain(layers.iter().filter(|layer| !FOREIGN_LAYERS.contains(&layer.media_type.as_str())))
                .collect(),
            Content::Index(manifests) => manifests.iter().collect(),
        };
        let missing: Vec<_> = needed
            .iter()
            .filter(|descriptor| size_of(&descriptor.digest).is_none())
            .map(|descriptor| json!({ "digest": descriptor.digest.as_str() }))
            .collect();
        if !missing.is_empty() {
            return Err(Failure::each(
                StatusCode::BAD_REQUEST,
                Code::ManifestBlobUnknown,
                "the manifest names content that is not in this repository",
                missing,
            ));
        }
        for descriptor in needed {
            if let Some(size) = size_of(&descriptor.digest)
                && size != descriptor.size
            {
                return Err(Failure::bad_request(
                    Code::ManifestInvalid,
                    format!("the manifest says {} bytes and it has {size}", descriptor.size),
                )
                .detail(json!({ "digest": descriptor.digest.as_str() })));
            }
        }
        Ok(())
    }

    /// In bytes: the manifest itself, and for an image its config and layers.
    pub(super) fn total_size(&self, own: u64) -> u64 {
        match &self.content {
            Content::Image { config, layers } => {
                layers.iter().fold(own.saturating_add(config.size), |sum, layer| sum.saturating_add(layer.size))
            }
            Content::Index(_) => own,
        }
    }
}
