//! The state folder.
use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::BackgroundError;

/// The files of one local cloud; another folder is another local cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The state folder; absolute.
    pub dir: PathBuf,
}

impl Paths {
    /// Creates the folder, for this user alone, when it is missing.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self, BackgroundError> {
        let dir = dir.into();
        let unusable = |source| BackgroundError::Folder { dir: dir.clone(), source };
        // The background process may have another working directory one day.
        let absolute = std::path::absolute(&dir).map_err(unusable)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&absolute).map_err(unusable)?;
        let metadata = std::fs::metadata(&absolute).map_err(unusable)?;
        if !metadata.is_dir() {
            return Err(unusable(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        // Somebody else's folder (say in /tmp) would let them choose where our requests and tokens go.
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(BackgroundError::Foreign { path: absolute });
        }
        Ok(Self { dir: absolute })
    }

    /// The state file.
    pub fn state(&self) -> PathBuf {
        self.dir.join("emulator.json")
    }

    /// Held while the process lives.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("emulator.lock")
    }

    /// The output of the background process.
    pub fn log(&self) -> PathBuf {
        self.dir.join("emulator.log")
    }

    pub(super) fn start_lock(&self) -> PathBuf {
        self.dir.join("emulator.start.lock")
    }

    pub(super) fn folder_error(&self, source: io::Error) -> BackgroundError {
        BackgroundError::Folder { dir: self.dir.clone(), source }
    }

    pub(super) fn file_error(&self, path: &Path, source: io::Error) -> BackgroundError {
        match source.kind() {
            // The folder is ours and the file is not: only another user (or root, once) can have made it.
            io::ErrorKind::PermissionDenied if is_foreign(path) => BackgroundError::Foreign { path: path.to_owned() },
            _ => self.folder_error(source),
        }
    }
}

/// Whether a file exists and belongs to another user.
pub(super) fn is_foreign(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() != rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn makes_the_folder_for_this_user_alone() {
        let base = tempfile::tempdir().unwrap();
        let paths = Paths::new(base.path().join("a/b")).unwrap();
        let mode = std::fs::metadata(&paths.dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(Paths::new(&paths.dir).unwrap(), paths);
    }

    #[test]
    fn a_folder_that_cannot_be_names_itself_and_the_way_on() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        for dir in [file.clone(), file.join("below")] {
            let text = Paths::new(&dir).unwrap_err().to_string();
            assert!(text.contains(&dir.display().to_string()), "{text}");
            assert!(text.contains("CARRACK_STATE_DIR"), "{text}");
        }
    }
}
