//! Mounts volumes in a container's root. Folders that several containers mount are made by the first one's launcher,
//! which hands out copies of the mount as descriptors: a mount namespace cannot be looked into from another one.
use std::{
    collections::HashMap,
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fd::OwnedFd,
    fs::CWD,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
};

use super::{
    Failure,
    message::{Reason, Volumes},
};
use crate::runtime::{
    extract::{Missing, Place, Tree, WalkError, names},
    mount::{Content, Lend, Mount, MountedFile},
};

const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// A container's volumes, with what came along.
#[derive(Debug)]
pub(in crate::runtime) struct Wanted {
    mounts: Vec<Mount>,
    lends: Option<Vec<Lend>>,
    /// Copies of the mount of a folder, by its name.
    folders: HashMap<String, Vec<OwnedFd>>,
    /// Folders of this machine, by the path where they are mounted: behind the container's root they are out of reach.
    kept: HashMap<String, OwnedFd>,
}

impl Wanted {
    pub(in crate::runtime) fn of(volumes: Volumes, descriptors: Vec<OwnedFd>) -> Self {
        let Volumes { mounts, given, lends } = volumes;
        let mut folders: HashMap<String, Vec<OwnedFd>> = HashMap::new();
        for (name, descriptor) in given.into_iter().zip(descriptors) {
            folders.entry(name).or_default().push(descriptor);
        }
        Self { mounts, lends, folders, kept: HashMap::new() }
    }

    /// Whether other containers may join this one.
    pub(in crate::runtime) fn is_shared(&self) -> bool {
        self.lends.is_some()
    }

    /// Whether nothing is to be mounted.
    pub(in crate::runtime) fn is_empty(&self) -> bool {
        self.mounts.is_empty() && self.lends.iter().all(Vec::is_empty)
    }

    /// Makes the folders that are lent, and copies of their mounts: for this container, and those for others, which it
    /// answers in the order of the lends. `place` is a folder to mount on meanwhile.
    pub(in crate::runtime) fn lend(&mut self, place: &Path) -> Result<Vec<OwnedFd>, Failure> {
        for Mount { path, content } in &self.mounts {
            let Content::Kept { source, .. } = content else { continue };
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let opened = rustix::mount::open_tree(CWD, source, flags).map_err(|error| {
                Failure::host(&format!("opening `{}`, which is mounted as `{path}`", source.display()), error)
            })?;
            self.kept.insert(path.clone(), opened);
        }
        let mut others = Vec::new();
        for Lend { name, size, copies } in self.lends.iter().flatten() {
            let failed = |error: io::Error| Failure::host(&format!("making the folder `{name}`"), error);
            let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            let made = Memory::folder(*size).map_err(failed)?;
            rustix::mount::move_mount(made.mount, "", CWD, place, empty).map_err(|error| failed(error.into()))?;
            let copy = || {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                rustix::mount::open_tree(CWD, place, flags).map_err(|error| failed(error.into()))
            };
            let own = self.mounts.iter().filter(|mount| mount.folder() == Some(name));
            self.folders.insert(name.clone(), own.map(|_| copy()).collect::<Result<_, _>>()?);
            for _ in 0..*copies {
                others.push(copy()?);
            }
            rustix::mount::unmount(place, UnmountFlags::DETACH).map_err(|error| failed(error.into()))?;
        }
        Ok(others)
    }

    /// Mounts in this process's root, which is the container's, outer paths first.
    pub(in crate::runtime) fn mount(mut self) -> Result<(), Failure> {
        if self.mounts.is_empty() {
            return Ok(());
        }
        let tree = Tree::open(Path::new("/")).map_err(|error| Failure::host("opening the root", error))?;
        self.mounts.sort_by_key(|mount| names(mount.path.as_bytes()).map_or(0, |names| names.len()));
        for Mount { path, content } in &self.mounts {
            let failed = |error: io::Error| Failure::host(&format!("mounting `{path}`"), error);
            let mounted = match content {
                Content::Folder { name, size } => match self.folders.get_mut(name).and_then(Vec::pop) {
                    Some(copy) => copy,
                    None => Memory::folder(*size).map_err(failed)?.mount,
                },
                Content::Files(files) => Memory::of_files(files).map_err(failed)?,
                Content::Kept { .. } => {
                    let missing = || failed(io::Error::other("it was not opened"));
                    self.kept.remove(path).ok_or_else(missing)?
                }
            };
            let place = folder_in(&tree, path)?;
            let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            rustix::mount::move_mount(mounted, "", place.descriptor(), "", both)
                .map_err(|error| failed(error.into()))?;
            if let Content::Kept { read_only, .. } = content {
                let write = if *read_only { MountFlags::RDONLY } else { MountFlags::empty() };
                // Of the mount, and not of the file system below it.
                let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | write;
                let place = format!("/{}", path.trim_start_matches('/'));
                rustix::mount::mount_remount(place, flags, "").map_err(|error| failed(error.into()))?;
            }
        }
        std::env::set_current_dir("/").map_err(|error| Failure::host("entering the root", error))
    }
}

/// A file system in memory that is mounted nowhere yet: no other process has a path to it. It is never looked up again
/// where it is put, since a folder that containers share may have another one there by then. Came with Linux 5.2.
struct Memory {
    context: OwnedFd,
    mount: OwnedFd,
}

impl Memory {
    /// `mode` is octal.
    fn new(mode: &str, size: Option<u64>) -> io::Result<Self> {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", "tmpfs")?;
        rustix::mount::fsconfig_set_string(&context, "mode", mode)?;
        if let Some(bytes) = size {
            rustix::mount::fsconfig_set_string(&context, "size", bytes.to_string())?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, PLAIN)?;
        Ok(Self { context, mount })
    }

    /// Anybody may write there, whoever the program runs as.
    fn folder(size: Option<u64>) -> io::Result<Self> {
        Self::new("0777", size)
    }

    /// Read-only. Changes the current folder.
    fn of_files(files: &[MountedFile]) -> io::Result<OwnedFd> {
        let made = Self::new("0755", None)?;
        rustix::process::fchdir(&made.mount)?;
        for file in files {
            write(file)?;
        }
        rustix::mount::fsconfig_set_flag(&made.context, "ro")?;
        rustix::mount::fsconfig_reconfigure(&made.context)?;
        Ok(made.mount)
    }
}

/// Below the current folder.
fn write(MountedFile { path, bytes, mode }: &MountedFile) -> io::Result<()> {
    let path = Path::new(path);
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&bytes.0)?;
    file.set_permissions(Permissions::from_mode(*mode))
}

/// A folder of the image, made when it is missing. The image may have a link there, which stays inside.
pub(in crate::runtime) fn folder_in<'tree>(tree: &'tree Tree, path: &str) -> Result<Place<'tree>, Failure> {
    let image = |text: String| Failure { reason: Reason::Image, text };
    let names = names(path.as_bytes()).map_err(|error| image(error.to_string()))?;
    tree.folder(&names, Missing::Create, &mut |_, _| {}).map_err(|error| match error {
        WalkError::Host(error) => Failure::host(&format!("making `/{}`", path.trim_start_matches('/')), error),
        _ => image(format!("`/{}` of the image is no folder", path.trim_start_matches('/'))),
    })
}
