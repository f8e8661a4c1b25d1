//! A container's limit of memory, by a control group where this user may make one, and none where not. The
//! launcher is in the group too. An address space limit (`RLIMIT_AS`) would be wrong: runtimes reserve far more
//! than they use.
//!
//! A group of a server that was killed is empty and stays until [`super::sweep`] is run from the same place.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::PROCESSES;

/// One container's control group; gone when dropped, if its processes are.
#[derive(Debug)]
pub(super) struct MemoryLimit(PathBuf);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>
    One,
    /// <https://docs.kernel.org/admin-guide/cgroup-v2.html>
    Two,
}

impl MemoryLimit {
    /// A group of `bytes`; none where there can be none.
    pub(super) fn create(instance: &str, id: &str, bytes: u64) -> Option<Self> {
        let (version, parent) = here()?;
        let folder = parent.join(name(instance, id)?);
        fs::create_dir(&folder).ok()?;
        // From here on it is removed again.
        let limit = Self(folder);
        let write = |file: &str, text: &str| fs::write(limit.0.join(file), text);
        let limited = match version {
            Version::One => write("memory.limit_in_bytes", &bytes.to_string()),
            Version::Two => write("memory.max", &bytes.to_string()),
        };
        limited.ok()?;
        // Without it a container would be swapped out instead of ended; not every kernel counts swap.
        let _ = match version {
            Version::One => write("memory.memsw.limit_in_bytes", &bytes.to_string()),
            Version::Two => write("memory.swap.max", "0"),
        };
        // In version one another hierarchy would count them; in version two this one may.
        if version == Version::Two {
            let _ = write("pids.max", &PROCESSES.to_string());
        }
        Some(limit)
    }

    /// Moves a process into the group; what it starts from now on is there too.
    pub(super) fn admit(&self, pid: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }

    /// Whether the kernel killed a process of the group for want of memory.
    pub(super) fn was_exceeded(&self) -> bool {
        // Version one's file, then version two's.
        let counts = ["memory.oom_control", "memory.events"].map(|file| fs::read_to_string(self.0.join(file)));
        counts.iter().flatten().any(|text| kills(text) > 0)
    }
}

fn kills(counts: &str) -> u64 {
    let line = counts.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // An empty group costs nothing.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes the groups that a server of this instance left.
pub(super) fn remove_left(instance: &str) {
    let (Some((_, parent)), Some(prefix)) = (here(), name(instance, "")) else {
        return;
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // One that is in use cannot be removed, and need not be.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn name(instance: &str, id: &str) -> Option<String> {
    let name = format!("carrack-{instance}-{id}");
    (!name.contains('/')).then_some(name)
}

/// Where this process may make groups.
fn here() -> Option<(Version, PathBuf)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (version, own, is_top) = own_group(&groups, &mounts)?;
    match version {
        Version::One => Some((version, own)),
        Version::Two => {
            // A group of processes can have no groups below it, so the new one is beside it.
            let parent = if is_top { own } else { own.parent()?.to_owned() };
            let shared = fs::read_to_string(parent.join("cgroup.subtree_control")).ok()?;
            shared.split_ascii_whitespace().any(|controller| controller == "memory").then_some((version, parent))
        }
    }
}

/// The folder of this process's group with the memory controller, and whether it is the topmost one.
fn own_group(groups: &str, mounts: &str) -> Option<(Version, PathBuf, bool)> {
    let fields = |line: &str| -> Option<(String, String)> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((controllers.to_owned(), path.to_owned()))
    };
    let find = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().filter_map(fields).find(|(controllers, _)| wanted(controllers)).map(|(_, path)| path)
    };
    let memory = find(&|controllers| controllers.split(',').any(|controller| controller == "memory"));
    let (version, path) = match memory {
        Some(path) => (Version::One, path),
        None => (Version::Two, find(&str::is_empty)?),
    };
    // https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    for line in mounts.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else {
            continue;
        };
        let (mount, kind): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), kind.split(' ').collect());
        let (Some(root), Some(point), Some(&kind), Some(options)) =
            (mount.get(3), mount.get(4), kind.first(), kind.get(2))
        else {
            continue;
        };
        let fits = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
            Version::Two => kind == "cgroup2",
        };
        if !fits {
            continue;
        }
        let below = Path::new(&path).strip_prefix(root).ok()?;
        return Some((version, Path::new(point).join(below), below.as_os_str().is_empty()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 24 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn the_memory_controller_is_found_in_either_version() {
        let hybrid = own_group("4:memory:/a/b\n1:cpu:/\n0::/\n", HYBRID);
        assert_eq!(hybrid, Some((Version::One, PathBuf::from("/sys/fs/cgroup/memory/a/b"), false)));
        let mounts = "32 24 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let unified = own_group("0::/user.slice/x.scope\n", mounts);
        assert_eq!(unified, Some((Version::Two, PathBuf::from("/sys/fs/cgroup/user.slice/x.scope"), false)));
        let container = own_group("4:memory:/docker/x\n", &HYBRID.replace("0:27 /", "0:27 /docker/x"));
        assert_eq!(container, Some((Version::One, PathBuf::from("/sys/fs/cgroup/memory"), true)));
        assert_eq!(own_group("", HYBRID), None);
        assert_eq!(own_group("0::/\n", ""), None);
    }

    #[test]
    fn kills_are_told_from_close_calls() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 1\noom_kill 2\n"), 2);
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n"), 0);
        assert_eq!(kills(""), 0);
    }

    #[test]
    fn an_instance_cannot_name_another_folder() {
        assert_eq!(name("one", "a"), Some("carrack-one-a".to_owned()));
        assert_eq!(name("../one", "a"), None);
    }
}
