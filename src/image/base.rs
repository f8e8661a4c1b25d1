//! The image below ours: looked up, chosen for the platform, and reused layer by layer without unpacking.
//!
//! Only manifest and configuration are fetched here. The layers come when a push has to send them: a registry that
//! has them, or can mount them, is sent nothing.
use carrack_core::{Error, ErrorKind, Result, event::Ctx, spec::ImageRef};

use super::{
    configuration::Configuration,
    layout::Layout,
    manifest::{Content, Index, MOST_LAYERS, Manifest, Part, layer_type},
    progress::Progress,
    pull::{self, Fetched},
    registry::{Access, Repository},
    spec::{BASE, Platform, invalid},
    ways::{Pull, Way, Ways},
};

/// An index may name an index; nobody nests deeper.
const INDEX_DEPTH: usize = 3;
/// A configuration is a few kB; it is held in memory.
const LONGEST_CONFIGURATION: u64 = 4 * 1024 * 1024;

/// An image to start from.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// As the file names it.
    pub(crate) name: String,
    /// Of its manifest for the platform.
    pub(crate) digest: String,
    /// Of what the name leads to: the same, or the index above it.
    pub(crate) top: String,
    /// With OCI's media types.
    pub(crate) layers: Vec<Part>,
    pub(crate) configuration: Configuration,
}

impl BaseImage {
    /// By digest, as a file would pin it.
    pub fn pinned(&self) -> String {
        format!("{}@{}", ImageRef(self.name.clone()).repository(), self.top)
    }
}

/// Finds the base: in the layout when it was named by digest and is known, else in its registry.
pub async fn find(
    cx: &Ctx,
    ways: &dyn Ways,
    reference: &ImageRef,
    platform: Platform,
    layout: &Layout,
) -> Result<BaseImage> {
    let search = Search { reference, platform, layout };
    if let Some(digest) = reference.digest()
        && let Some(found) = search.cached(digest)?
    {
        return Ok(found);
    }
    let ways = Pull::new(ways, reference);
    match ways.first(cx, async |way| search.fetch(cx, &way).await).await {
        Ok(found) => Ok(found),
        Err(error) => Err(search.explain(error, ways.stood_in().await)),
    }
}

struct Search<'a> {
    reference: &'a ImageRef,
    platform: Platform,
    layout: &'a Layout,
}

impl Search<'_> {
    /// `None` when a part of it is not in the layout.
    fn cached(&self, top: &str) -> Result<Option<BaseImage>> {
        let Some(bytes) = self.layout.read(top)? else { return Ok(None) };
        let mut digest = top.to_owned();
        let mut content = Content::read(&bytes, None)?;
        for _ in 0..INDEX_DEPTH {
            let index = match content {
                Content::Manifest(manifest) => return self.image(top, &digest, manifest),
                Content::Index(index) => index,
            };
            let mut candidates: Vec<String> =
                index.choose(self.platform).map(|entry| entry.digest.clone()).into_iter().collect();
            if candidates.is_empty() {
                candidates = index.unlabelled().map(|entry| entry.digest.clone()).collect();
            }
            let [only] = candidates.as_slice() else { return Ok(None) };
            let Some(bytes) = self.layout.read(only)? else { return Ok(None) };
            digest.clone_from(only);
            content = Content::read(&bytes, None)?;
        }
        Ok(None)
    }

    async fn fetch(&self, cx: &Ctx, way: &Way) -> Result<BaseImage> {
        let name = self.reference.repository();
        let repository = Repository::new(cx, &way.http, way.auth.as_ref(), name, Access::Pull)?;
        let asked = self.reference.digest().or(self.reference.tag()).unwrap_or("latest");
        let first = pull::manifest(&repository, asked).await?.ok_or_else(|| self.not_there())?;
        let top = first.digest.clone();
        let mut next = first;
        for _ in 0..INDEX_DEPTH {
            self.layout.write(&next.bytes, &next.digest)?;
            let index = match self.read(&next)? {
                Content::Manifest(manifest) => {
                    self.fetch_configuration(&repository, &manifest).await?;
                    let image = self.image(&top, &next.digest, manifest)?;
                    return image.ok_or_else(|| Error::new(ErrorKind::Internal, "the base's configuration was lost"));
                }
                Content::Index(index) => index,
            };
            let below = self.below(&index)?;
            next = pull::manifest(&repository, &below).await?.ok_or_else(|| {
                let message = format!(
                    "`{}` names an image for {} that the registry does not have",
                    self.reference.0, self.platform
                );
                invalid(BASE, message).with_kind(ErrorKind::BuildFailed)
            })?;
        }
        Err(self.unusable(format!("its indexes are nested more than {INDEX_DEPTH} deep")))
    }

    fn read(&self, fetched: &Fetched) -> Result<Content> {
        Content::read(&fetched.bytes, fetched.media_type.as_deref())
            .map_err(|error| self.unusable(error.message().to_owned()))
    }

    /// The digest of what the index has for the platform.
    fn below(&self, index: &Index) -> Result<String> {
        let unlabelled: Vec<_> = index.unlabelled().collect();
        match (index.choose(self.platform), unlabelled.as_slice()) {
            (Some(entry), _) => Ok(entry.digest.clone()),
            (None, [only]) => Ok(only.digest.clone()),
            (None, _) => Err(self.no_platform(&index.platforms())),
        }
    }

    async fn fetch_configuration(&self, repository: &Repository<'_>, manifest: &Manifest) -> Result<()> {
        let Part { digest, size, .. } = &manifest.config;
        if *size > LONGEST_CONFIGURATION {
            return Err(self.unusable(format!("its configuration has {size} bytes")));
        }
        let uncounted = Progress::silent().part();
        pull::blob(repository, self.layout, (digest, *size), &uncounted).await
    }

    /// Puts the image together from what lies in the layout.
    fn image(&self, top: &str, digest: &str, manifest: Manifest) -> Result<Option<BaseImage>> {
        if manifest.config.size > LONGEST_CONFIGURATION {
            return Ok(None);
        }
        let Some(bytes) = self.layout.read(&manifest.config.digest)? else { return Ok(None) };
        let configuration: Configuration = serde_json::from_slice(&bytes)
            .map_err(|error| self.unusable(format!("its configuration cannot be read: {error}")))?;
        let platform = format!("{}/{}", configuration.os, configuration.architecture);
        if platform != self.platform.to_string() {
            return Err(self.no_platform(&[platform]));
        }
        if manifest.layers.len() > MOST_LAYERS || manifest.layers.len() != configuration.rootfs.diff_ids.len() {
            let (blobs, named) = (manifest.layers.len(), configuration.rootfs.diff_ids.len());
            return Err(self.unusable(format!("it has {blobs} layers, and its configuration names {named}")));
        }
        let layers = manifest.layers.into_iter().map(|part| self.layer(part)).collect::<Result<_>>()?;
        let name = self.reference.0.clone();
        Ok(Some(BaseImage { name, digest: digest.to_owned(), top: top.to_owned(), layers, configuration }))
    }

    fn layer(&self, part: Part) -> Result<Part> {
        self.layout.blob(&part.digest).map_err(|error| self.unusable(error.message().to_owned()))?;
        match layer_type(&part.media_type) {
            Some(media_type) => Ok(Part { media_type: media_type.to_owned(), ..part }),
            None => Err(self.unusable(format!("it has a layer of type `{}`", part.media_type))),
        }
    }

    fn unusable(&self, why: String) -> Error {
        invalid(BASE, format!("`{}` cannot be a base: {why}", self.reference.0))
    }

    fn no_platform(&self, there: &[String]) -> Error {
        let error = invalid(BASE, format!("`{}` has no image for {}", self.reference.0, self.platform));
        match there {
            [] => error.hint("it is an index without images"),
            _ => error.hint(format!("it has {}", there.join(", "))),
        }
    }

    fn not_there(&self) -> Error {
        Error::new(ErrorKind::NotFound, format!("the registry does not have `{}`", self.reference.0)).at_field(BASE)
    }

    /// `stood_in`: nobody's credentials for the registry were looked up, beside a local cloud.
    fn explain(&self, error: Error, stood_in: bool) -> Error {
        let host = self.reference.0.split('/').next().unwrap_or_default();
        match error.kind() {
            // One that no registry has said is about the credentials' file.
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied if error.request().is_none() => error,
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied if stood_in => error
                .hint(format!("beside a local cloud only what is public comes from {host}"))
                .hint("copy the base to the local cloud: `carrack emulator status` names its registry"),
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
                error.hint(format!("the base needs credentials: docker login {host}"))
            }
            ErrorKind::NotFound => error.hint("look at the name of the base, and at its tag"),
            kind if kind.is_retryable() && self.reference.digest().is_none() => {
                error.hint("a base by digest that was used before needs no registry: base = \"HOST/PATH@sha256:…\"")
            }
            _ => error,
        }
    }
}
