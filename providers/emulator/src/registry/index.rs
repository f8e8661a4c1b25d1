//! What each repository holds, in memory.
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::{
    digest::Digest,
    manifest::{Manifest, Referrer},
    name::Reference,
};

#[derive(Debug, Default)]
pub(super) struct Index {
    repositories: BTreeMap<String, Repository>,
}

/// A blob or manifest that is known elsewhere is not known here until it is pushed or mounted.
#[derive(Debug, Default)]
pub(super) struct Repository {
    blobs: HashMap<Digest, u64>,
    manifests: HashMap<Digest, Stored>,
    tags: BTreeMap<String, Digest>,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) manifest: Manifest,
    pub(super) size_bytes: u64,
    pub(super) uploaded: Timestamp,
    /// When it last got a tag, or itself.
    pub(super) updated: Timestamp,
}

impl Index {
    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub(super) fn repository_mut(&mut self, name: &str) -> Option<&mut Repository> {
        self.repositories.get_mut(name)
    }

    pub(super) fn make_repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// Those that hold a manifest, by name.
    pub(super) fn repositories(&self) -> impl Iterator<Item = (&str, &Repository)> {
        self.repositories
            .iter()
            .filter(|(_, repository)| !repository.manifests.is_empty())
            .map(|(name, repository)| (name.as_str(), repository))
    }

    /// The size of a blob in this repository.
    pub(super) fn blob(&self, name: &str, digest: &Digest) -> Option<u64> {
        self.repository(name)?.blobs.get(digest).copied()
    }

    pub(super) fn manifest(&self, name: &str, reference: &Reference) -> Option<(Digest, &Stored)> {
        let repository = self.repository(name)?;
        let digest = match reference {
            Reference::Tag(tag) => repository.tags.get(tag)?,
            Reference::Digest(digest) => digest,
        };
        Some((digest.clone(), repository.manifests.get(digest)?))
    }
}

impl Repository {
    pub(super) fn add_blob(&mut self, digest: Digest, size_bytes: u64) {
        self.blobs.insert(digest, size_bytes);
    }

    /// False when it was not there.
    pub(super) fn remove_blob(&mut self, digest: &Digest) -> bool {
        self.blobs.remove(digest).is_some()
    }

    /// Of a blob for an image's parts, of a manifest for an index's.
    pub(super) fn size_of(&self, digest: &Digest, manifest: bool) -> Option<u64> {
        if manifest {
            self.manifests.get(digest).map(|stored| stored.size_bytes)
        } else {
            self.blobs.get(digest).copied()
        }
    }

    /// Keeps the first upload's time when the same bytes come again.
    pub(super) fn add_manifest(&mut self, digest: Digest, stored: Stored, tag: Option<String>) {
        let now = stored.updated;
        let moved = tag.is_some_and(|tag| self.tags.insert(tag, digest.clone()).as_ref() != Some(&digest));
        let kept = self.manifests.entry(digest).or_insert(stored);
        if moved {
            kept.updated = now;
        }
    }

    /// A tag alone goes; a manifest goes with every tag on it. False when it was not there.
    pub(super) fn remove_manifest(&mut self, reference: &Reference) -> bool {
        match reference {
            Reference::Tag(tag) => self.tags.remove(tag).is_some(),
            Reference::Digest(digest) => {
                self.tags.retain(|_, tagged| tagged != digest);
                self.manifests.remove(digest).is_some()
            }
        }
    }

    pub(super) fn manifests(&self) -> impl Iterator<Item = (&Digest, &Stored)> {
        self.manifests.iter()
    }

    /// In lexical order.
    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(String::as_str)
    }

    /// The tags of each manifest that has any, in lexical order.
    pub(super) fn tags_by_digest(&self) -> HashMap<&Digest, Vec<String>> {
        let mut tags: HashMap<&Digest, Vec<String>> = HashMap::new();
        for (tag, digest) in &self.tags {
            tags.entry(digest).or_default().push(tag.clone());
        }
        tags
    }

    /// The manifests whose subject this is, oldest first.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<Referrer> {
        let mut found: Vec<_> =
            self.manifests.iter().filter(|(_, stored)| stored.manifest.subject.as_ref() == Some(subject)).collect();
        found.sort_by(|left, right| (left.1.uploaded, left.0).cmp(&(right.1.uploaded, right.0)));
        found
            .into_iter()
            .map(|(digest, stored)| Referrer {
                media_type: stored.manifest.media_type.clone(),
                digest: digest.to_string(),
                size: stored.size_bytes,
                artifact_type: stored.manifest.artifact_type.clone(),
                annotations: stored.manifest.annotations.clone(),
            })
            .collect()
    }
}
