//! What a container finds beside its image: files of secrets, folders in memory, and folders of this machine.
use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// One path of a container with something of its own below it; what the image has there is hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Absolute.
    pub(crate) path: String,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    /// Held in memory, and read-only where the runtime can make it so.
    Files(Vec<MountedFile>),
    /// Empty at first, writable, in memory. Containers that are launched together and name the same one share it.
    Folder {
        name: String,
        /// In bytes; none = as much as the machine gives.
        size: Option<u64>,
    },
    /// A folder of this machine, whose files outlive the container.
    Kept { source: PathBuf, read_only: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountedFile {
    /// Relative to the mount.
    pub(crate) path: String,
    pub(crate) bytes: Hidden,
    pub(crate) mode: u32,
}

/// Bytes that are shown nowhere and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) Zeroizing<Vec<u8>>);

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hidden")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|bytes| Self(Zeroizing::new(bytes)))
    }
}

/// As many mounts of folders as one instance may have: those of the first container are made, and handed out, with one
/// message, which takes 253 descriptors, an order and two namespaces among them.
/// <https://man7.org/linux/man-pages/man7/unix.7.html>
pub(crate) const FOLDER_MOUNTS: usize = 250;

/// A folder that several mounts show, made by the first container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lend {
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    /// How many mounts the other containers have of it.
    pub(crate) copies: usize,
}

impl Mount {
    /// The name of the folder that it shows.
    pub(super) fn folder(&self) -> Option<&str> {
        match &self.content {
            Content::Folder { name, .. } => Some(name),
            Content::Files(_) | Content::Kept { .. } => None,
        }
    }
}
