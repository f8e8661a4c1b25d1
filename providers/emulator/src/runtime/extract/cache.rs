//! One extracted root for each image digest, shared by all containers of that image and never written again.
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{ExtractError, Limits, copy::remove_tree, layer, tree::Tree};
use crate::{image::Image, runtime::LaunchError};

/// Begins the name of a root that is still being made.
const UNFINISHED: &str = ".new-";

/// The extracted images below one folder, which belongs to one local cloud.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// One extraction at a time for each digest.
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Cache {
    /// Makes the folder, and removes what an earlier local cloud left there.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            remove_tree(&entry?.path())?;
        }
        Ok(Self { folder, gates: Mutex::default() })
    }

    /// The root of `image`, extracted now when it is not there yet.
    pub(crate) async fn root_of(&self, image: &Image) -> Result<PathBuf, LaunchError> {
        let root = self.folder.join(folder_name(&image.digest)?);
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(gates.entry(image.digest.clone()).or_default())
        };
        // The guard goes with the work, which goes on when nobody waits for it any more.
        let guard = gate.lock_owned().await;
        if root.exists() {
            return Ok(root);
        }
        let (image, folder) = (image.clone(), self.folder.clone());
        let extraction = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            extract(&image, &folder, &root).map(|()| root)
        });
        match extraction.await {
            Ok(result) => result.map_err(LaunchError::from),
            Err(error) => Err(LaunchError::Host(format!("unpacking the image: {error}"))),
        }
    }
}

fn folder_name(digest: &str) -> Result<&str, LaunchError> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or_else(|| LaunchError::Image(format!("the image's digest `{digest}` is not a SHA-256 digest")))
}

/// Extracts into a sibling and renames it, so that a root is there whole or not at all.
fn extract(image: &Image, folder: &Path, root: &Path) -> Result<(), ExtractError> {
    let unfinished = folder.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()));
    let result = extract_into(image, &unfinished, Limits::default()).and_then(|()| {
        fs::rename(&unfinished, root).map_err(|error| ExtractError::host("keeping the unpacked image", error))
    });
    if result.is_err() {
        // The first error is the one to tell.
        let _ = remove_tree(&unfinished);
    }
    result
}

/// Makes `root`, and applies every layer of `image` to it.
pub(crate) fn extract_into(image: &Image, root: &Path, mut limits: Limits) -> Result<(), ExtractError> {
    fs::create_dir(root).map_err(|error| ExtractError::host("making a folder for the image", error))?;
    let tree = Tree::open(root).map_err(|error| ExtractError::host("opening the image's folder", error))?;
    let tree = tree.with_steps(limits.steps);
    for layer in &image.layers {
        layer::apply(&tree, layer, &mut limits)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_a_safe_name() {
        let hex = "ab".repeat(32);
        assert_eq!(folder_name(&format!("sha256:{hex}")).ok(), Some(hex.as_str()));
        for digest in ["sha256:../../../etc", "sha256:", "sha512:00", ""] {
            assert!(folder_name(digest).is_err(), "{digest}");
        }
    }
}
