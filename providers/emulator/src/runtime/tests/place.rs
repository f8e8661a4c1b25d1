//! A folder to extract layers into, and the entries of layers.
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tar::EntryType;

use super::support::{File, image};
use crate::{
    image::Image,
    runtime::extract::{ExtractError, Limits, extract_into},
};

/// `root` to extract into, beside `outside/file`, which nobody may touch.
pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/file"), "untouched").unwrap();
        Self { folder }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(super) fn extract(&self, layers: &[Vec<File>]) -> Result<(), String> {
        let image = image(self.folder.path(), layers, &[]);
        self.extract_image(&image, Limits::default())
    }

    pub(super) fn extract_image(&self, image: &Image, limits: Limits) -> Result<(), String> {
        let result = extract_into(image, &self.root(), limits);
        self.assert_untouched();
        match result {
            Ok(()) => Ok(()),
            Err(ExtractError::Image(text)) => Err(text),
            Err(error @ ExtractError::Host { .. }) => {
                panic!("the machine is not at fault: {error}")
            }
        }
    }

    pub(super) fn assert_untouched(&self) {
        let outside = self.folder.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(fs::metadata(outside.join("file")).unwrap().nlink(), 1, "linked from the root");
    }

    /// Every path in the root with what it is: `d`, `=text`, `>target`.
    pub(super) fn listing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        list(&self.root(), &self.root(), &mut lines);
        lines.sort();
        lines
    }
}

fn list(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            lines.push(format!("{name} d"));
            list(root, &path, lines);
        } else if kind.is_symlink() {
            lines.push(format!("{name} >{}", fs::read_link(&path).unwrap().display()));
        } else {
            assert!(kind.is_file(), "{name} is neither file, folder nor link");
            lines.push(format!("{name} ={}", String::from_utf8_lossy(&fs::read(&path).unwrap())));
        }
    }
}

pub(super) fn file(path: &str, text: &str) -> File {
    File::regular(path, text.as_bytes())
}

pub(super) fn folder(path: &str) -> File {
    File::new(path, EntryType::Directory)
}

pub(super) fn symlink(path: &str, target: &str) -> File {
    File::link(path, EntryType::Symlink, target)
}

pub(super) fn hard_link(path: &str, target: &str) -> File {
    File::link(path, EntryType::Link, target)
}
