//! Leaving the terminal and whatever else the starting command had open.
use std::io;

/// To be called first thing in the foreground command when `--detached` was given, before any thread or descriptor
/// is made: puts the process into a session of its own, so that neither Ctrl-C nor the end of the terminal reaches
/// it, and closes what was inherited beyond stdin, stdout and stderr.
pub fn detach() -> io::Result<()> {
    match rustix::process::setsid() {
        // EPERM: started by hand as a job of its own, so it leads its process group already; a shell that waits for it is meant.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    close_inherited()
}

/// A descriptor that came through `exec` is one without close-on-exec: ours have it, std and tokio set it always.
/// A pipe among them would keep its reader waiting for as long as the local cloud lives.
#[cfg(target_os = "linux")]
fn close_inherited() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fdinfo")? {
        let name = entry?.file_name();
        let Some(descriptor) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if descriptor <= 2 {
            continue;
        }
        let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")) else {
            continue;
        };
        if !has_close_on_exec(&info) {
            // Gone already is as good.
            let _ = nix::unistd::close(descriptor);
        }
    }
    Ok(())
}

/// Elsewhere the kernel does not say which are inherited; stdin, stdout and stderr are replaced by the starting command.
#[cfg(not(target_os = "linux"))]
fn close_inherited() -> io::Result<()> {
    Ok(())
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html>: `flags` is octal and includes O_CLOEXEC.
#[cfg(target_os = "linux")]
fn has_close_on_exec(info: &str) -> bool {
    let close_on_exec = rustix::fs::OFlags::CLOEXEC.bits();
    info.lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        // Closing one that we cannot judge could break us; leaving it open cannot.
        .is_none_or(|flags| flags & close_on_exec != 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_inherited() {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("/dev/null").unwrap();
        let own = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        assert!(has_close_on_exec(&own), "{own}");
        let inherited = rustix::io::dup(&file).unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", inherited.as_raw_fd())).unwrap();
        assert!(!has_close_on_exec(&info), "{info}");
        assert!(has_close_on_exec("pos: 0\n"));
    }
}
