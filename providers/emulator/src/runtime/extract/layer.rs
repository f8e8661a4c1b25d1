//! One layer applied to a tree: its entries, and its whiteouts, which hide what lower layers have.
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets>
use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};

use super::{
    ExtractError, Limits,
    archive::{Entry, Kind, each_entry, show},
    blob::Blob,
    names,
    tree::{Missing, Place, Tree, WalkError},
};
use crate::image::Layer;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Whiteouts of whiteouts are AUFS's own files.
const AUFS: &[u8] = b".wh..wh.";

/// Applies `layer`; `left` is what the whole image may still use.
pub(super) fn apply(tree: &Tree, layer: &Layer, left: &mut Limits) -> Result<(), ExtractError> {
    let Limits { bytes, read, entries, .. } = left;
    // The same blob may be many layers, and may hold nothing for its size.
    let size = fs::metadata(&layer.path).map_err(|error| ExtractError::host("opening a layer", error))?.len();
    *read = read.checked_sub(size).ok_or_else(|| ExtractError::image("the image is too large"))?;
    let mut blob = Blob::open(&layer.path, &layer.media_type, bytes)?;
    let mut writer = Writer { tree, made: HashSet::new() };
    let applied = each_entry(&mut blob, |entry, bytes| {
        *entries = entries.checked_sub(1).ok_or_else(|| ExtractError::image("the image has too many files"))?;
        writer.apply(&entry, bytes)
    });
    if blob.exceeded() {
        return Err(too_large());
    }
    match applied {
        Err(error @ ExtractError::Host { .. }) => Err(error),
        // What is behind the archive's end counts: a checksum, for one.
        Ok(()) => {
            let rest = io::copy(&mut blob, &mut io::sink());
            let exceeded = blob.exceeded();
            blob.verify(&layer.digest)?;
            match rest {
                Ok(_) => Ok(()),
                Err(_) if exceeded => Err(too_large()),
                Err(error) => Err(ExtractError::image(format!("a layer is damaged at its end: {error}"))),
            }
        }
        // Damage is the reason for whatever else looks wrong in a layer.
        other => blob.verify(&layer.digest).and(other),
    }
}

fn too_large() -> ExtractError {
    ExtractError::image("the image is too large when unpacked")
}

struct Writer<'tree> {
    tree: &'tree Tree,
    /// What this layer made or passed through, as (inode of the folder, name): its whiteouts hide only what is
    /// older, in whichever order the entries come.
    made: HashSet<(u64, OsString)>,
}

impl Writer<'_> {
    fn apply(&mut self, entry: &Entry, bytes: &mut dyn Read) -> Result<(), ExtractError> {
        let mut path = names(&entry.path)?;
        let Some(name) = path.pop() else {
            return match entry.kind {
                Kind::Directory => self.root_mode(entry),
                _ => Err(ExtractError::image("a layer replaces the root by a file")),
            };
        };
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&path, &name, entry);
        }
        if entry.kind == Kind::Other {
            return Ok(());
        }
        let made = &mut self.made;
        let parent = self
            .tree
            .folder(&path, Missing::Create, &mut |inode, name| {
                made.insert((inode, name.to_owned()));
            })
            .map_err(|error| cannot_place(entry, error))?;
        create(self.tree, &parent, &name, entry, bytes)?;
        self.made.insert((parent.inode(), name));
        Ok(())
    }

    fn root_mode(&self, entry: &Entry) -> Result<(), ExtractError> {
        let root = self.tree.find(b"").map_err(|error| cannot_place(entry, error))?;
        set_mode(&root, OsStr::new("."), entry)
    }

    fn whiteout(&self, path: &[OsString], name: &OsStr, entry: &Entry) -> Result<(), ExtractError> {
        let parent = match self.tree.folder(path, Missing::Refuse, &mut |_, _| {}) {
            Ok(parent) => parent,
            Err(WalkError::NotFound | WalkError::NotADirectory) => return Ok(()),
            Err(error) => return Err(cannot_place(entry, error)),
        };
        let keep = |inode: u64, name: &OsStr| self.made.contains(&(inode, name.to_owned()));
        let hidden = match name.as_bytes() {
            OPAQUE => parent.purge(&keep),
            bytes if bytes.starts_with(AUFS) => Ok(()),
            bytes => match &bytes[WHITEOUT.len()..] {
                b"" | b"." | b".." => {
                    return Err(ExtractError::image("a layer deletes a file without a name"));
                }
                target if keep(parent.inode(), OsStr::from_bytes(target)) => {
                    let path: Vec<OsString> =
                        path.iter().cloned().chain([OsStr::from_bytes(target).to_owned()]).collect();
                    match self.tree.folder(&path, Missing::Refuse, &mut |_, _| {}) {
                        Ok(folder) => folder.purge(&keep),
                        Err(_) => Ok(()),
                    }
                }
                target => parent.remove(OsStr::from_bytes(target)),
            },
        };
        hidden.map_err(|error| cannot_place(entry, error))
    }
}

fn create(
    tree: &Tree,
    parent: &Place<'_>,
    name: &OsStr,
    entry: &Entry,
    bytes: &mut dyn Read,
) -> Result<(), ExtractError> {
    let there = match rustix::fs::statat(parent.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => Some(FileType::from_raw_mode(status.st_mode)),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(host(entry, error)),
    };
    let kept = entry.kind == Kind::Directory && there == Some(FileType::Directory);
    if there.is_some() && !kept {
        parent.remove(name).map_err(|error| cannot_place(entry, error))?;
    }
    match &entry.kind {
        Kind::Directory => {
            if !kept {
                rustix::fs::mkdirat(parent.descriptor(), name, Mode::from_raw_mode(0o755))
                    .map_err(|error| host(entry, error))?;
            }
            set_mode(parent, name, entry)
        }
        Kind::File => write_file(parent, name, entry, bytes),
        Kind::Symlink(target) => rustix::fs::symlinkat(OsStr::from_bytes(target), parent.descriptor(), name)
            .map_err(|error| host(entry, error)),
        Kind::HardLink(target) => hard_link(tree, parent, name, target, entry),
        Kind::Other => Ok(()),
    }
}

fn write_file(parent: &Place<'_>, name: &OsStr, entry: &Entry, bytes: &mut dyn Read) -> Result<(), ExtractError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor: OwnedFd = rustix::fs::openat(parent.descriptor(), name, flags, Mode::from_raw_mode(0o600))
        .map_err(|error| host(entry, error))?;
    let mut file = File::from(descriptor);
    let mut source = Marked { inner: bytes, failed: false };
    io::copy(&mut source, &mut file).map_err(|error| match source.failed {
        true => ExtractError::image(format!("`{}` in a layer ends early: {error}", show(&entry.path))),
        false => ExtractError::host(format!("writing `{}`", show(&entry.path)), error),
    })?;
    // The owner may always: inside, the owner is root, who may anything on the real cloud.
    let mode = Mode::from_raw_mode(entry.mode & 0o777 | 0o600);
    rustix::fs::fchmod(&file, mode).map_err(|error| host(entry, error))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: i64::try_from(entry.modified).unwrap_or(0), tv_nsec: 0 },
    };
    rustix::fs::futimens(&file, &times).map_err(|error| host(entry, error))
}

/// The target counts from the root, like an entry's own path, and its last name is not followed.
fn hard_link(tree: &Tree, parent: &Place<'_>, name: &OsStr, target: &[u8], entry: &Entry) -> Result<(), ExtractError> {
    let refused = |why: &str| {
        ExtractError::image(format!("the hard link `{}` to `{}` in a layer {why}", show(&entry.path), show(target)))
    };
    let mut path = names(target)?;
    let last = path.pop().ok_or_else(|| refused("names the root"))?;
    let folder = tree.folder(&path, Missing::Refuse, &mut |_, _| {}).map_err(|_| refused("leads nowhere"))?;
    match rustix::fs::linkat(folder.descriptor(), &last, parent.descriptor(), name, AtFlags::empty()) {
        Err(Errno::NOENT) => Err(refused("leads nowhere")),
        Err(Errno::PERM) => Err(refused("names no file")),
        other => other.map_err(|error| host(entry, error)),
    }
}

/// For folders: the owner may always, else what is below could not be written or deleted without root.
fn set_mode(parent: &Place<'_>, name: &OsStr, entry: &Entry) -> Result<(), ExtractError> {
    let mode = Mode::from_raw_mode(entry.mode & 0o1777 | 0o700);
    rustix::fs::chmodat(parent.descriptor(), name, mode, AtFlags::empty()).map_err(|error| host(entry, error))
}

/// Tells a failing source from a failing destination.
struct Marked<'reader> {
    inner: &'reader mut dyn Read,
    failed: bool,
}

impl Read for Marked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|_| self.failed = true)
    }
}

fn cannot_place(entry: &Entry, error: WalkError) -> ExtractError {
    let why = match error {
        WalkError::NotFound => "lies in a folder that is missing",
        WalkError::NotADirectory => "lies below a file",
        WalkError::TooDeep => "lies too deep",
        WalkError::TooManySymlinks => "leads round in symbolic links",
        WalkError::TooManySteps => return ExtractError::image("the image has too many files, or links between them"),
        WalkError::Host(error) => return host(entry, error),
    };
    ExtractError::image(format!("`{}` in a layer {why}", show(&entry.path)))
}

fn host(entry: &Entry, error: Errno) -> ExtractError {
    match error {
        // The names are at fault, not the machine.
        Errno::NAMETOOLONG | Errno::INVAL | Errno::LOOP | Errno::ILSEQ | Errno::MLINK => {
            ExtractError::image(format!("`{}` in a layer cannot be made: {error}", show(&entry.path)))
        }
        _ => ExtractError::host(format!("unpacking `{}`", show(&entry.path)), error),
    }
}
