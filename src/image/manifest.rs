//! Manifests and indexes: what bases have, and what we write.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/manifest.md>,
//! <https://distribution.github.io/distribution/spec/manifest-v2-2/>
use std::collections::BTreeMap;

use carrack_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::spec::Platform;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Base layers at the most: the kernel mounts not many more, and Docker allows 127.
/// <https://github.com/moby/moby/blob/master/layer/layer_store.go>
pub(crate) const MOST_LAYERS: usize = 127;

/// Where the image below ours is named: <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
pub(crate) const BASE_NAME: &str = "org.opencontainers.image.base.name";
pub(crate) const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// One blob of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl Part {
    pub(crate) fn new(media_type: &str, digest: impl Into<String>, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest: digest.into(), size }
    }
}

/// A manifest as we write it: fields in this order, annotations sorted, so that its digest says what is in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: Option<String>,
    pub(crate) config: Part,
    pub(crate) layers: Vec<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    pub(crate) fn new(config: Part, layers: Vec<Part>) -> Self {
        Self { schema_version: 2, media_type: Some(MANIFEST.to_owned()), config, layers, annotations: None }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Entry>,
}

/// One image of an index.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) digest: String,
    platform: Option<Named>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Named {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// What a name leads to.
#[derive(Debug)]
pub(crate) enum Content {
    Manifest(Manifest),
    Index(Index),
}

impl Content {
    /// Reads either, by the type that it has or that the registry says it has.
    pub(crate) fn read(bytes: &[u8], said: Option<&str>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            schema_version: Option<u32>,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let broken = |error: serde_json::Error| {
            Error::new(ErrorKind::BuildFailed, format!("the manifest cannot be read: {error}")).with_source(error)
        };
        let kind: Kind = serde_json::from_slice(bytes).map_err(broken)?;
        let said = said.map(|text| text.split(';').next().unwrap_or_default().trim());
        let media_type = kind.media_type.as_deref().or(said.filter(|said| said.starts_with("application/vnd.")));
        match (media_type, kind.manifests.is_some(), kind.schema_version) {
            (Some(INDEX | DOCKER_LIST), ..) | (None, true, _) => {
                serde_json::from_slice(bytes).map(Self::Index).map_err(broken)
            }
            (Some(MANIFEST | DOCKER_MANIFEST), ..) | (None, false, Some(2)) => {
                serde_json::from_slice(bytes).map(Self::Manifest).map_err(broken)
            }
            (other, _, version) => {
                let what = match (other, version) {
                    (_, Some(1)) => "a manifest of Docker's first schema".to_owned(),
                    (Some(other), _) => format!("of type `{other}`"),
                    (None, _) => "of no known type".to_owned(),
                };
                Err(Error::new(ErrorKind::BuildFailed, format!("it is {what}, and not an image")))
            }
        }
    }
}

impl Index {
    /// The image for `platform`.
    pub(crate) fn choose(&self, platform: Platform) -> Option<&Entry> {
        let usual = match platform {
            Platform::LinuxAmd64 => "v1",
            Platform::LinuxArm64 => "v8",
        };
        let fits = |entry: &&Entry| {
            let named = entry.platform.as_ref();
            named.is_some_and(|named| named.os == "linux" && named.architecture == platform.architecture())
        };
        let variant = |entry: &Entry| entry.platform.as_ref().and_then(|named| named.variant.clone());
        let fitting = || self.manifests.iter().filter(fits);
        // A later variant (`v3`) runs not everywhere.
        fitting().find(|entry| variant(entry).is_none_or(|variant| variant.is_empty() || variant == usual))
    }

    /// Every platform that there is, for a text.
    pub(crate) fn platforms(&self) -> Vec<String> {
        let named = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        // Attestations beside the images are of no platform: <https://docs.docker.com/build/metadata/attestations/attestation-storage/>.
        let mut all: Vec<String> = named
            .filter(|named| named.os != "unknown" && !named.os.is_empty())
            .map(|named| {
                let variant = named.variant.as_ref().filter(|variant| !variant.is_empty());
                let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
                format!("{}/{}{variant}", named.os, named.architecture)
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Those that are of no platform, or say none: one of them may be an index again.
    pub(crate) fn unlabelled(&self) -> impl Iterator<Item = &Entry> {
        self.manifests.iter().filter(|entry| entry.platform.is_none())
    }
}

/// The type that a base's layer has in our manifest, which is OCI's.
pub(crate) fn layer_type(media_type: &str) -> Option<&'static str> {
    match media_type {
        LAYER | DOCKER_LAYER => Some(LAYER),
        LAYER_GZIP | DOCKER_LAYER_GZIP => Some(LAYER_GZIP),
        LAYER_ZSTD | DOCKER_LAYER_ZSTD => Some(LAYER_ZSTD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, &str, &str)]) -> Index {
        let manifests = platforms
            .iter()
            .map(|(os, architecture, variant)| {
                let variant = Some((*variant).to_owned()).filter(|variant| !variant.is_empty());
                let platform = Named { os: (*os).into(), architecture: (*architecture).into(), variant };
                Entry { digest: format!("{os}-{architecture}"), platform: Some(platform) }
            })
            .collect();
        Index { manifests }
    }

    #[test]
    fn the_platform_is_chosen_and_the_others_are_named() {
        let index = index(&[
            ("windows", "amd64", ""),
            ("linux", "arm64", "v8"),
            ("linux", "amd64", "v3"),
            ("linux", "arm", "v7"),
            ("linux", "amd64", ""),
            ("unknown", "unknown", ""),
        ]);
        let chosen = |platform| index.choose(platform).map(|entry| entry.digest.as_str());
        assert_eq!(chosen(Platform::LinuxAmd64), Some("linux-amd64"));
        assert_eq!(chosen(Platform::LinuxArm64), Some("linux-arm64"));
        assert_eq!(
            index.platforms(),
            ["linux/amd64", "linux/amd64/v3", "linux/arm/v7", "linux/arm64/v8", "windows/amd64"]
        );
        let later = self::index(&[("linux", "amd64", "v3")]);
        assert!(later.choose(Platform::LinuxAmd64).is_none());
    }

    #[test]
    fn kinds_are_told_apart() {
        let part = r#"{"mediaType":"x","digest":"sha256:0","size":1}"#;
        let manifest = format!(r#"{{"schemaVersion":2,"config":{part},"layers":[]}}"#);
        assert!(matches!(Content::read(manifest.as_bytes(), None), Ok(Content::Manifest(_))));
        assert!(matches!(Content::read(manifest.as_bytes(), Some(DOCKER_MANIFEST)), Ok(Content::Manifest(_))));
        assert!(matches!(Content::read(br#"{"schemaVersion":2,"manifests":[]}"#, None), Ok(Content::Index(_))));
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            Content::read(index, Some("application/vnd.oci.image.index.v1+json; x")),
            Ok(Content::Index(_))
        ));
        for bad in [r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"mediaType":"text/html"}"#, "{}", "<html>"] {
            assert!(Content::read(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }
}
