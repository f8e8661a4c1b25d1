//! A root of its own for one container, and its removal. Hard links would let one container write into another.
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Copies a tree of folders, files and symbolic links. `std::fs::copy` shares the blocks where the file system
/// can (`copy_file_range`).
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

/// Deletes a tree, also one whose folders a container has locked; a missing one is fine.
pub(crate) fn remove_tree(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(root)?;
            fs::remove_dir_all(root)
        }
        other => other,
    }
}

fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_and_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("etc/locked")).unwrap();
        fs::write(from.join("etc/locked/file"), "text").unwrap();
        symlink("../nowhere", from.join("etc/link")).unwrap();
        fs::set_permissions(from.join("etc/locked"), fs::Permissions::from_mode(0o500)).unwrap();
        copy_tree(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("etc/locked/file")).unwrap(), "text");
        assert_eq!(fs::read_link(to.join("etc/link")).unwrap(), Path::new("../nowhere"));
        assert_eq!(fs::metadata(to.join("etc/locked")).unwrap().permissions().mode() & 0o777, 0o500);
        remove_tree(&to).unwrap();
        assert!(!to.exists());
        remove_tree(&to).unwrap();
    }
}
