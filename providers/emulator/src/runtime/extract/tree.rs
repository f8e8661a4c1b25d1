//! Paths inside a root that cannot leave it: symbolic links are followed as if the root were `/`, as `chroot`
//! does it, but one name at a time with `O_NOFOLLOW`, so that no kernel feature is needed. Nothing else may
//! write into the root meanwhile.
use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use super::{ExtractError, archive::show};

/// Folders below each other; keeps the number of open descriptors small.
const DEPTH: usize = 200;
/// As the kernel, which gives up after 40 (`MAXSYMLINKS`).
const SYMLINKS: usize = 40;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What making a folder costs of the steps, so that their number is bounded too.
const FOLDER_STEPS: u64 = 40;

/// A folder that is treated as `/`.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Folder,
    steps: Steps,
}

/// How many names may still be looked at: links and whiteouts can make few entries cost any time.
#[derive(Debug)]
struct Steps(Cell<u64>);

impl Steps {
    fn take(&self, count: u64) -> Result<(), WalkError> {
        self.0.set(self.0.get().checked_sub(count).ok_or(WalkError::TooManySteps)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Folder {
    name: OsString,
    descriptor: OwnedFd,
    inode: u64,
}

/// Where a path led to: folders from the root down, and the last name when it is no folder.
#[derive(Debug)]
pub(crate) struct Place<'tree> {
    root: &'tree Folder,
    steps: &'tree Steps,
    below: Vec<Folder>,
    leaf: Option<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// Why a path leads nowhere.
#[derive(Debug)]
pub(crate) enum WalkError {
    NotFound,
    NotADirectory,
    TooDeep,
    TooManySymlinks,
    TooManySteps,
    Host(Errno),
}

impl From<Errno> for WalkError {
    fn from(error: Errno) -> Self {
        Self::Host(error)
    }
}

/// The names in a path; refuses `..`, and drops a leading `/` (an entry `/app` is `app` in the root).
pub(crate) fn names(path: &[u8]) -> Result<Vec<OsString>, ExtractError> {
    let hostile = |why| ExtractError::image(format!("refusing the path `{}` in a layer: it {why}", show(path)));
    if path.len() >= 4096 {
        return Err(hostile("is too long"));
    }
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(hostile("has `..`")),
            _ if name.contains(&0) => return Err(hostile("has a zero byte")),
            _ if name.len() > 255 => return Err(hostile("has a name that is too long")),
            _ => names.push(OsString::from_vec(name.to_vec())),
        }
    }
    Ok(names)
}

impl Tree {
    pub(crate) fn open(root: &Path) -> Result<Self, Errno> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let root = Folder::new(OsString::new(), rustix::fs::openat(CWD, root, flags, Mode::empty())?)?;
        Ok(Self { root, steps: Steps(Cell::new(u64::MAX)) })
    }

    /// Lets no more than `steps` names be looked at.
    pub(super) fn with_steps(self, steps: u64) -> Self {
        self.steps.0.set(steps);
        self
    }

    /// The folder that `path` leads to. `passed` learns the inode of the folder and the name, for each folder on
    /// the way.
    pub(crate) fn folder(
        &self,
        path: &[OsString],
        missing: Missing,
        passed: &mut dyn FnMut(u64, &OsStr),
    ) -> Result<Place<'_>, WalkError> {
        let place = self.walk(path, missing, passed)?;
        match place.leaf {
            None => Ok(place),
            Some(_) => Err(WalkError::NotADirectory),
        }
    }

    /// What `path` leads to, file or folder, the last name's link followed too. `..` is understood.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Place<'_>, WalkError> {
        let path: Vec<OsString> = components(path).collect();
        self.walk(&path, Missing::Refuse, &mut |_, _| {})
    }

    fn walk(
        &self,
        path: &[OsString],
        missing: Missing,
        passed: &mut dyn FnMut(u64, &OsStr),
    ) -> Result<Place<'_>, WalkError> {
        let mut place = Place { root: &self.root, steps: &self.steps, below: Vec::new(), leaf: None };
        let mut pending: Vec<OsString> = path.iter().rev().cloned().collect();
        let mut symlinks = 0;
        while let Some(name) = pending.pop() {
            self.steps.take(1)?;
            if name == ".." {
                // Above the root is the root.
                place.below.pop();
                continue;
            }
            if place.below.len() >= DEPTH {
                return Err(WalkError::TooDeep);
            }
            match rustix::fs::openat(place.descriptor(), &name, DIRECTORY, Mode::empty()) {
                Ok(descriptor) => {
                    passed(place.inode(), &name);
                    place.below.push(Folder::new(name, descriptor).map_err(WalkError::Host)?);
                }
                Err(Errno::NOENT) if missing == Missing::Create => {
                    self.steps.take(FOLDER_STEPS)?;
                    rustix::fs::mkdirat(place.descriptor(), &name, Mode::from_raw_mode(0o755))
                        .map_err(WalkError::Host)?;
                    pending.push(name);
                }
                Err(Errno::NOENT) => return Err(WalkError::NotFound),
                Err(Errno::NOTDIR | Errno::LOOP) => match rustix::fs::readlinkat(place.descriptor(), &name, []) {
                    Ok(target) => {
                        symlinks += 1;
                        if symlinks > SYMLINKS {
                            return Err(WalkError::TooManySymlinks);
                        }
                        if target.to_bytes().starts_with(b"/") {
                            place.below.clear();
                        }
                        let target: Vec<OsString> = components(target.to_bytes()).collect();
                        pending.extend(target.into_iter().rev());
                    }
                    Err(Errno::INVAL) if pending.is_empty() => place.leaf = Some(name),
                    Err(Errno::INVAL) => return Err(WalkError::NotADirectory),
                    Err(error) => return Err(WalkError::Host(error)),
                },
                Err(error) => return Err(WalkError::Host(error)),
            }
        }
        Ok(place)
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = OsString> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(|name| OsStr::from_bytes(name).to_owned())
}

impl Folder {
    fn new(name: OsString, descriptor: OwnedFd) -> Result<Self, Errno> {
        let inode = rustix::fs::fstat(&descriptor)?.st_ino;
        Ok(Self { name, descriptor, inode })
    }
}

impl Place<'_> {
    fn last(&self) -> &Folder {
        self.below.last().unwrap_or(self.root)
    }

    /// The innermost folder.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.last().descriptor.as_fd()
    }

    pub(crate) fn inode(&self) -> u64 {
        self.last().inode
    }

    /// False for a file.
    pub(crate) fn is_folder(&self) -> bool {
        self.leaf.is_none()
    }

    /// The path from the root, without links, relative.
    pub(crate) fn path(&self) -> PathBuf {
        self.below.iter().map(|folder| &folder.name).chain(&self.leaf).collect()
    }

    /// Opens the file at this place; a folder is an error.
    pub(crate) fn open(&self) -> Result<File, Errno> {
        let leaf = self.leaf.as_ref().ok_or(Errno::ISDIR)?;
        // Not blocking, lest a fifo wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(self.descriptor(), leaf, flags, Mode::empty()).map(File::from)
    }

    /// Deletes a name in this folder and all below it; a missing one is fine.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), WalkError> {
        remove(self.steps, self.descriptor(), name)
    }

    /// Deletes what `keep` (inode of the folder, name) does not want, all the way down.
    pub(super) fn purge(&self, keep: &dyn Fn(u64, &OsStr) -> bool) -> Result<(), WalkError> {
        purge(self.steps, self.descriptor(), keep)
    }
}

fn purge(steps: &Steps, folder: BorrowedFd<'_>, keep: &dyn Fn(u64, &OsStr) -> bool) -> Result<(), WalkError> {
    let inode = rustix::fs::fstat(folder)?.st_ino;
    for name in children(steps, folder)? {
        if !keep(inode, &name) {
            remove(steps, folder, &name)?;
        } else if let Ok(below) = rustix::fs::openat(folder, &name, DIRECTORY, Mode::empty()) {
            purge(steps, below.as_fd(), keep)?;
        }
    }
    Ok(())
}

fn remove(steps: &Steps, folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), WalkError> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
            let below = rustix::fs::openat(folder, name, DIRECTORY, Mode::empty())?;
            for child in children(steps, below.as_fd())? {
                remove(steps, below.as_fd(), &child)?;
            }
            Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
        }
        Ok(_) => Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?),
    }
}

fn children(steps: &Steps, folder: BorrowedFd<'_>) -> Result<Vec<OsString>, WalkError> {
    // A descriptor of `O_PATH` cannot be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(readable)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            steps.take(1)?;
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
