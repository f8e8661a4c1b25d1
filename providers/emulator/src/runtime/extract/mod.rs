//! Turns an image's layers into a root file system. The layers are hostile input.
//!
//! | file | what it holds |
//! |---|---|
//! | `blob` | one layer's bytes: digest checked, decompressed, bounded |
//! | `archive` | the entries of one tar stream, long names resolved |
//! | `tree` | paths inside a root that cannot leave it |
//! | `layer` | one layer applied to a tree: entries and whiteouts |
//! | `cache` | one extracted root for each image digest |
//! | `copy` | a root of its own for one container |
//!
//! Everything belongs to the user that runs the local cloud: there is one uid, so the owners in a layer mean
//! nothing. Setuid and setgid bits, device nodes, fifos and extended attributes are left out.
mod archive;
mod blob;
mod cache;
mod copy;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod layer;
mod tree;

use std::{fmt, io, path::Path};

pub(crate) use cache::Cache;
pub(crate) use copy::{copy_tree, remove_tree};
pub(crate) use tree::{Missing, Place, Tree, WalkError, names};

#[cfg(test)]
pub(crate) use cache::extract_into;

use super::LaunchError;

/// Why a root could not be made.
#[derive(Debug)]
pub(crate) enum ExtractError {
    /// The image is at fault.
    Image(String),
    /// This machine is: no space, no permission.
    Host { what: String, source: io::Error },
}

impl ExtractError {
    fn image(text: impl Into<String>) -> Self {
        Self::Image(text.into())
    }

    fn host(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Host { what: what.into(), source: source.into() }
    }
}

impl fmt::Display for ExtractError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(text) => formatter.write_str(text),
            Self::Host { what, source } => write!(formatter, "{what}: {source}"),
        }
    }
}

impl From<ExtractError> for LaunchError {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Image(text) => Self::Image(text),
            ExtractError::Host { .. } => Self::Host(error.to_string()),
        }
    }
}

/// Makes a folder inside `root` that an image asks for as its working directory.
pub(crate) fn make_folder(root: &Path, path: &str) -> io::Result<()> {
    // The launcher says what is wrong with a path that cannot be made.
    let Ok(names) = names(path.as_bytes()) else {
        return Ok(());
    };
    match Tree::open(root)?.folder(&names, Missing::Create, &mut |_, _| {}) {
        Err(WalkError::Host(error)) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What one image may unpack to, and what that may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    /// Of its layers as they are stored, in bytes.
    pub(crate) read: u64,
    pub(crate) entries: u64,
    /// Names looked at on the way to all entries.
    pub(crate) steps: u64,
}

impl Default for Limits {
    /// Far above what images hold, far below what fills a disk by surprise or takes more than minutes.
    fn default() -> Self {
        Self { bytes: 16 << 30, read: 16 << 30, entries: 1_000_000, steps: 10_000_000 }
    }
}
