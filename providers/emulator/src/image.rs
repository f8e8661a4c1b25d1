//! An image as the registry hands it to whoever runs it.
use std::path::PathBuf;

/// One image for one platform, every blob of it on disk.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The name it was asked by, as the user wrote it.
    pub(crate) reference: String,
    /// Digest of the platform's manifest, `sha256:…`.
    pub(crate) digest: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) config: ImageConfig,
    /// The whole configuration, as it was pushed.
    pub(crate) configuration: Blob,
    pub(crate) layers: Vec<Layer>,
}

/// The part of the image's configuration that a runtime needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageConfig {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    /// `NAME=value`, as the image has it.
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) user: Option<String>,
}

/// What a digest names.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) path: PathBuf,
}

/// One layer, compressed as it was pushed.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) path: PathBuf,
}

/// Why an image cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageError {
    NotFound,
    /// The manifest exists and has no linux image of a wanted architecture.
    NoPlatform {
        media_type: String,
    },
    Invalid(String),
}
