//! From a name to what a runtime needs: one platform's config and layers.
use std::collections::HashSet;

use serde::Deserialize;

use super::{
    Registry,
    digest::Digest,
    index::Stored,
    manifest::{Content, Descriptor, Manifest, Platform},
    name::Reference,
};
use crate::image::{Blob, Image, ImageConfig, ImageError, Layer};

/// An index may hold an index; nobody nests deeper.
const INDEX_DEPTH: usize = 4;
/// What an index leads to: each costs a look, and one without a platform its configuration.
const INDEX_ENTRIES: usize = 1000;
/// A configuration is a few KiB; it is held in memory.
const CONFIG_BYTES: u64 = 4 * 1024 * 1024;

const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Null and absent are the same: Docker writes both.
#[derive(Debug, Deserialize)]
struct WireConfig {
    os: Option<String>,
    architecture: Option<String>,
    config: Option<WireRun>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRun {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

/// A manifest still to be looked at, and what the index above it says of it.
struct Pending {
    digest: Digest,
    platform: Option<Platform>,
    depth: usize,
}

/// One image that a name leads to.
struct Candidate {
    digest: Digest,
    platform: Platform,
}

/// What a manifest is, without copies of what is not needed.
enum Step {
    Children(Vec<Pending>),
    Image,
    /// An image that only its own configuration says the platform of.
    Unlabelled {
        config: Descriptor,
    },
    Gone,
}

impl Registry {
    pub(super) async fn pull(&self, name: &str, reference: &str) -> Result<Image, ImageError> {
        let parsed = Reference::parse(reference).map_err(|_| ImageError::NotFound)?;
        let (top, top_type) = {
            let index = self.index();
            let (digest, stored) = index.manifest(name, &parsed).ok_or(ImageError::NotFound)?;
            (digest, stored.manifest.media_type.clone())
        };
        let candidates = self.candidates(name, top).await?;
        let wanted = ["amd64", host_architecture()];
        let chosen = wanted.iter().find_map(|architecture| {
            candidates
                .iter()
                .find(|candidate| candidate.platform.os == "linux" && candidate.platform.architecture == *architecture)
        });
        let Some(candidate) = chosen else {
            return Err(ImageError::NoPlatform { media_type: top_type });
        };
        let (config, layers) = self.parts(name, &candidate.digest)?;
        let run = self.config(name, &config).await?.config.unwrap_or_default();
        let separator = if matches!(parsed, Reference::Tag(_)) { ':' } else { '@' };
        Ok(Image {
            reference: format!("{name}{separator}{reference}"),
            digest: candidate.digest.to_string(),
            os: candidate.platform.os.clone(),
            architecture: candidate.platform.architecture.clone(),
            config: ImageConfig {
                entrypoint: run.entrypoint.unwrap_or_default(),
                cmd: run.cmd.unwrap_or_default(),
                env: run.env.unwrap_or_default(),
                working_dir: run.working_dir.filter(|dir| !dir.is_empty()),
                user: run.user.filter(|user| !user.is_empty()),
            },
            configuration: Blob { digest: config.digest.to_string(), path: self.0.store.blob(&config.digest) },
            layers: self.layers(name, &layers)?,
        })
    }

    /// Every image below a manifest, in the order of the index. What an index says twice is looked at once, and an
    /// index itself once whatever platform it is said to be for, so no graph of indexes costs more than its own
    /// size; one image may stand for several platforms.
    async fn candidates(&self, name: &str, top: Digest) -> Result<Vec<Candidate>, ImageError> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut opened = HashSet::new();
        let mut pending = vec![Pending { digest: top, platform: None, depth: 0 }];
        while let Some(next) = pending.pop() {
            if next.depth > INDEX_DEPTH {
                let text = format!("indexes are nested more than {INDEX_DEPTH} deep");
                return Err(ImageError::Invalid(text));
            }
            if opened.contains(&next.digest) || !seen.insert((next.digest.clone(), next.platform.clone())) {
                continue;
            }
            if seen.len() > INDEX_ENTRIES {
                return Err(ImageError::Invalid(format!("an index leads to more than {INDEX_ENTRIES} manifests")));
            }
            let platform = match self.step(name, &next) {
                // The index may have lost an image since: the other platforms are still good.
                Step::Gone if next.depth > 0 => continue,
                Step::Gone => return Err(ImageError::NotFound),
                Step::Children(mut children) => {
                    opened.insert(next.digest);
                    pending.append(&mut children);
                    continue;
                }
                Step::Image => next.platform,
                // Signatures and the like stand beside the images of an index.
                Step::Unlabelled { config } if next.depth > 0 && !is_image_config(&config) => {
                    continue;
                }
                Step::Unlabelled { config } => {
                    let wire = self.config(name, &config).await?;
                    wire.os.zip(wire.architecture).map(|(os, architecture)| Platform { os, architecture })
                }
            };
            if let Some(platform) = platform {
                found.push(Candidate { digest: next.digest, platform });
            }
        }
        Ok(found)
    }

    fn step(&self, name: &str, next: &Pending) -> Step {
        let index = self.index();
        let Some((_, stored)) = index.manifest(name, &Reference::Digest(next.digest.clone())) else {
            return Step::Gone;
        };
        match &stored.manifest.content {
            // Taken from the end, so the first comes last.
            Content::Index(children) => Step::Children(
                children
                    .iter()
                    .rev()
                    .map(|child| Pending {
                        digest: child.digest.clone(),
                        platform: child.platform.clone(),
                        depth: next.depth + 1,
                    })
                    .collect(),
            ),
            Content::Image { .. } if next.platform.is_some() => Step::Image,
            Content::Image { config, .. } => Step::Unlabelled { config: config.clone() },
        }
    }

    fn parts(&self, name: &str, digest: &Digest) -> Result<(Descriptor, Vec<Descriptor>), ImageError> {
        let index = self.index();
        match index.manifest(name, &Reference::Digest(digest.clone())) {
            Some((_, Stored { manifest: Manifest { content: Content::Image { config, layers }, .. }, .. })) => {
                Ok((config.clone(), layers.clone()))
            }
            // Deleted since it was chosen.
            _ => Err(ImageError::NotFound),
        }
    }

    async fn config(&self, name: &str, config: &Descriptor) -> Result<WireConfig, ImageError> {
        if !is_image_config(config) {
            return Err(ImageError::Invalid(format!("`{}` is not the configuration of an image", config.media_type)));
        }
        self.require(name, &config.digest)?;
        let bytes = self
            .0
            .store
            .read(&config.digest, CONFIG_BYTES)
            .await
            .map_err(|error| ImageError::Invalid(format!("the configuration cannot be read: {error}")))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ImageError::Invalid(format!("the configuration is not valid: {error}")))
    }

    fn layers(&self, name: &str, layers: &[Descriptor]) -> Result<Vec<Layer>, ImageError> {
        layers
            .iter()
            .map(|layer| {
                self.require(name, &layer.digest)?;
                Ok(Layer {
                    digest: layer.digest.to_string(),
                    media_type: layer.media_type.clone(),
                    path: self.0.store.blob(&layer.digest),
                })
            })
            .collect()
    }

    fn require(&self, name: &str, digest: &Digest) -> Result<(), ImageError> {
        match self.index().blob(name, digest) {
            Some(_) => Ok(()),
            None => Err(ImageError::Invalid(format!("the blob `{digest}` is not in the repository"))),
        }
    }
}

fn is_image_config(config: &Descriptor) -> bool {
    CONFIG_TYPES.contains(&config.media_type.as_str())
}

/// In the words of an image's configuration (Go's).
/// <https://go.dev/doc/install/source#environment>
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
