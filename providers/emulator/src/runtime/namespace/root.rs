//! The container's root: the image's, shared and never written, with what the container writes held in memory.
//! Nothing of it is on disk, so nothing is left when everybody is killed at once.
use std::{
    ffi::CStr,
    fs,
    io::{self, Write},
    os::unix::fs::symlink,
    path::Path,
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
};

use crate::runtime::{
    extract::{Place, Tree, copy_tree},
    launcher::{
        Failure,
        mounts::{Wanted, folder_in},
    },
};

/// A folder in the local cloud's folder on which each container mounts its own file system.
pub(in crate::runtime) const MOUNT_POINT: &str = "mnt";
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// As Docker: what its owner may write, and the owner is the machine's root when root runs the local cloud.
/// <https://github.com/moby/moby/blob/master/oci/defaults.go>
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Makes the root and enters it, and answers what the volumes lend. `rootfs` is relative to `folder`, which may have
/// any name: the options of an overlay could not express a path with a comma or a colon.
pub(super) fn enter(folder: &Path, rootfs: Option<&Path>, volumes: &mut Wanted) -> Result<Vec<OwnedFd>, Failure> {
    let step = |what: &'static str| move |error: io::Error| Failure::host(what, error);
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::host("making the mounts private", error))?;
    std::env::set_current_dir(folder).map_err(step("entering the local cloud's folder"))?;
    mount("tmpfs", MOUNT_POINT, PLAIN, Some(c"mode=0755")).map_err(step("mounting a tmpfs"))?;
    let inside = Path::new(MOUNT_POINT);
    for name in ["empty", "upper", "work", "root"] {
        fs::create_dir(inside.join(name)).map_err(step("preparing the root"))?;
    }
    let lent = volumes.lend(&inside.join("root"))?;
    let empty = inside.join("empty");
    let rootfs = rootfs.unwrap_or(&empty);
    if overlay(rootfs).is_err() {
        // Overlays in a user namespace came with Linux 5.11.
        let copy = inside.join("copy");
        copy_tree(rootfs, &copy).map_err(step("copying the image"))?;
        rustix::mount::mount_bind(copy, inside.join("root"))
            .map_err(|error| Failure::host("mounting the root", error))?;
    }
    let tree = Tree::open(&inside.join("root")).map_err(|error| Failure::host("opening the root", error))?;
    mount_proc(&tree)?;
    mount_devices(&tree)?;
    // Programs look up `localhost`; an image that has the file knows better.
    let _ = write_hosts(&tree);
    let top = folder_in(&tree, "")?;
    enter_folder(&top)?;
    // The old root lands on top of the new one, from where it is taken away.
    // https://man7.org/linux/man-pages/man2/pivot_root.2.html#NOTES
    rustix::process::pivot_root(".", ".").map_err(|error| Failure::host("changing the root", error))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(|error| Failure::host("leaving the old root", error))?;
    std::env::set_current_dir("/").map_err(step("entering the root"))?;
    Ok(lent)
}

fn overlay(rootfs: &Path) -> io::Result<()> {
    let options =
        format!("lowerdir={},upperdir={MOUNT_POINT}/upper,workdir={MOUNT_POINT}/work,userxattr", rootfs.display());
    let options = std::ffi::CString::new(options)?;
    mount("overlay", format!("{MOUNT_POINT}/root"), PLAIN, Some(&options))
}

fn mount_proc(tree: &Tree) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::host("mounting /proc", error);
    enter_folder(&folder_in(tree, "proc")?)?;
    mount("proc", ".", PLAIN | MountFlags::NOEXEC, None).map_err(failed)?;
    enter_folder(&folder_in(tree, "proc")?)?;
    // A program without capabilities may listen on any port, as on the real cloud; older kernels refuse ports
    // below 1024.
    let _ = fs::write("sys/net/ipv4/ip_unprivileged_port_start", "0");
    for name in READ_ONLY {
        if !Path::new(name).exists() {
            continue;
        }
        rustix::mount::mount_bind(name, name).map_err(|error| failed(error.into()))?;
        let flags = PLAIN | MountFlags::NOEXEC | MountFlags::BIND | MountFlags::RDONLY;
        rustix::mount::mount_remount(name, flags, c"").map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn mount_devices(tree: &Tree) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::host("mounting /dev", error);
    enter_folder(&folder_in(tree, "dev")?)?;
    mount("tmpfs", ".", MountFlags::NOSUID, Some(c"mode=0755,size=1m")).map_err(failed)?;
    enter_folder(&folder_in(tree, "dev")?)?;
    for name in DEVICES {
        let device = Path::new("/dev").join(name);
        if !device.exists() {
            continue;
        }
        fs::write(name, "").map_err(failed)?;
        if let Err(error) = rustix::mount::mount_bind(&device, name) {
            // Not every machine lets its terminal be had.
            fs::remove_file(name).map_err(failed)?;
            if name == "null" {
                return Err(failed(error.into()));
            }
        }
    }
    for (name, target) in [("fd", "self/fd"), ("stdin", "self/fd/0"), ("stdout", "self/fd/1"), ("stderr", "self/fd/2")]
    {
        symlink(Path::new("/proc").join(target), name).map_err(failed)?;
    }
    fs::create_dir("shm").map_err(failed)?;
    mount("tmpfs", "shm", PLAIN, Some(c"mode=1777")).map_err(failed)
}

fn write_hosts(tree: &Tree) -> io::Result<()> {
    let place = folder_in(tree, "etc").map_err(|failure| io::Error::other(failure.text))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(place.descriptor(), "hosts", flags, Mode::from_raw_mode(0o644))?;
    fs::File::from(file).write_all(b"127.0.0.1 localhost\n::1 localhost\n")
}

fn mount(kind: &str, target: impl rustix::path::Arg, flags: MountFlags, options: Option<&CStr>) -> io::Result<()> {
    Ok(rustix::mount::mount(kind, target, kind, flags, options)?)
}

fn enter_folder(place: &Place<'_>) -> Result<(), Failure> {
    let entered: Result<(), Errno> = rustix::process::fchdir(place.descriptor().as_fd());
    entered.map_err(|error| Failure::host("entering a folder of the root", error))
}
