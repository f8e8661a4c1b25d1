//! The OCI registry behind every cloud's registry name.
//!
//! | module | what it holds |
//! |---|---|
//! | `routes` | `/v2/…`: paths, access, and one file for each kind of request |
//! | `uploads` | open uploads: bytes to disk and through the hash as they come |
//! | `store` | the files, named by digest |
//! | `index` | what each repository holds, in memory |
//! | `manifest` | what a manifest must be |
//! | `pull` | from a name to the config and layers of one platform |
//! | `name`, `digest`, `error` | the specification's grammar and error form |
//!
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>
mod digest;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod index;
mod manifest;
mod name;
mod pull;
mod routes;
mod store;
#[cfg(test)]
mod tests;
mod uploads;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

use self::{
    index::Index,
    name::Reference,
    store::Store,
    uploads::{Limits, Uploads},
};
use crate::{
    image::{Image, ImageError},
    registry_access::Access,
};

/// Clones share one registry.
#[derive(Clone, Debug)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    uploads: Arc<Uploads>,
    index: Mutex<Index>,
}

/// One manifest, for a listing of images.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredImage {
    /// `HOST/PROJECT/REPO/IMAGE`.
    pub(crate) name: String,
    pub(crate) digest: String,
    /// In lexical order; may be empty.
    pub(crate) tags: Vec<String>,
    pub(crate) media_type: String,
    /// Manifest, config and layers together; of an index, the index alone.
    pub(crate) size_bytes: u64,
    #[serde(serialize_with = "text")]
    pub(crate) uploaded: Timestamp,
    /// When it last got a tag, or itself.
    #[serde(serialize_with = "text")]
    pub(crate) updated: Timestamp,
}

impl Registry {
    /// Uses `dir/blobs` and `dir/uploads`, and starts empty: what an earlier process left there is removed.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        Self::open_with(dir, Limits::default())
    }

    fn open_with(dir: PathBuf, limits: Limits) -> io::Result<Self> {
        let store = Store::open(dir)?;
        let uploads = Arc::new(Uploads::new(store.uploads(), limits));
        Ok(Self(Arc::new(Inner { store, uploads, index: Mutex::default() })))
    }

    /// The image for linux/amd64, else for linux on the host's own architecture.
    ///
    /// `name` = `HOST/PROJECT/REPO/IMAGE`, `reference` = a tag or `sha256:…`.
    /// The layers' files stay until [`Registry::clear`], also when the image is deleted.
    pub(crate) async fn image(&self, name: &str, reference: &str) -> Result<Image, ImageError> {
        self.pull(name, reference).await
    }

    /// `/v2/…`. `prefix` = the cloud's host name when the requests came by one: the stored name is then `prefix/NAME`.
    pub(crate) fn routes(&self, access: Arc<dyn Access>, prefix: Option<String>) -> axum::Router {
        routes::router(self.clone(), access, prefix)
    }

    /// Forgets everything and removes the files. Uploads that are running fail.
    pub(crate) async fn clear(&self) -> io::Result<()> {
        let _gate = self.0.store.gate.write().await;
        self.0.uploads.clear().await;
        *self.index() = Index::default();
        self.0.store.clear().await
    }

    /// A tag alone goes; a manifest goes with every tag on it. Nothing when it is not there.
    pub(crate) fn remove(&self, name: &str, reference: &str) {
        if let (Ok(reference), Some(repository)) = (Reference::parse(reference), self.index().repository_mut(name)) {
            repository.remove_manifest(&reference);
        }
    }

    /// Every manifest of every repository, by name, then by time.
    pub(crate) fn images(&self) -> Vec<StoredImage> {
        let index = self.index();
        let mut images = Vec::new();
        for (name, repository) in index.repositories() {
            let mut tags = repository.tags_by_digest();
            let mut own: Vec<_> = repository
                .manifests()
                .map(|(digest, stored)| StoredImage {
                    name: name.to_owned(),
                    digest: digest.to_string(),
                    tags: tags.remove(digest).unwrap_or_default(),
                    media_type: stored.manifest.media_type.clone(),
                    size_bytes: stored.manifest.total_size(stored.size_bytes),
                    uploaded: stored.uploaded,
                    updated: stored.updated,
                })
                .collect();
            own.sort_by(|left, right| (left.uploaded, &left.digest).cmp(&(right.uploaded, &right.digest)));
            images.append(&mut own);
        }
        images
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 3339.
fn text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
