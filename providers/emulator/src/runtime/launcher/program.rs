//! Finds a container's program in its root and says beforehand why it could not start: the kernel answers
//! ENOENT for a missing loader as for a missing file.
use std::{io::Read, os::unix::fs::PermissionsExt, path::PathBuf};

use crate::runtime::extract::{Place, Tree, WalkError};

/// The loaders' paths are in the first page, the headers at its start.
pub(in crate::runtime) const HEAD_BYTES: u64 = 64 << 10;

/// What a program needs beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// The root is the process's own: what the program needs is found there.
    Root,
    /// The root is only a folder: the program must need nothing.
    Host,
}

/// The path of `name` inside `root`, relative to it. `path` is the value of `PATH`.
pub(super) fn find(
    root: &Tree,
    name: &str,
    path: &str,
    working_dir: &str,
    surroundings: Surroundings,
) -> Result<PathBuf, String> {
    let mut refusal = missing(name, path);
    for candidate in candidates(name, path, working_dir) {
        match root.find(candidate.as_bytes()) {
            Err(WalkError::NotFound | WalkError::NotADirectory) => {}
            Err(_) => refusal = format!("cannot start `{name}`: its path leads nowhere"),
            Ok(place) => match startable(root, &place, surroundings) {
                Ok(()) => return Ok(place.path()),
                Err(why) => refusal = format!("cannot start `{name}`: {why}"),
            },
        }
    }
    Err(refusal)
}

/// Where `name` may be.
pub(in crate::runtime) fn candidates(name: &str, path: &str, working_dir: &str) -> Vec<String> {
    if name.starts_with('/') {
        vec![name.to_owned()]
    } else if name.contains('/') {
        vec![format!("{working_dir}/{name}")]
    } else {
        path.split(':').map(|folder| format!("{folder}/{name}")).collect()
    }
}

/// The refusal when it is nowhere.
pub(in crate::runtime) fn missing(name: &str, path: &str) -> String {
    match name.contains('/') {
        true => format!("cannot start `{name}`: the image has no such file"),
        false => format!("cannot start `{name}`: no folder of PATH (`{path}`) in the image has it"),
    }
}

/// Whether anybody may execute it.
pub(in crate::runtime) fn check_mode(mode: u32) -> Result<(), String> {
    match mode & 0o777 {
        mode if mode & 0o111 == 0 => Err(format!("it is not executable (its mode is {mode:04o})")),
        _ => Ok(()),
    }
}

/// The refusal of a program whose loader the image does not have.
pub(in crate::runtime) fn without_loader(head: &[u8], loader: &str) -> String {
    format!("it {} `{loader}`, which the image does not have", needs(head))
}

fn needs(head: &[u8]) -> &'static str {
    if head.starts_with(b"#!") { "is a script for" } else { "is dynamically linked and needs" }
}

fn startable(root: &Tree, place: &Place<'_>, surroundings: Surroundings) -> Result<(), String> {
    if place.is_folder() {
        return Err("it is a folder".to_owned());
    }
    let file = place.open().map_err(|error| format!("it cannot be read: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("it cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    check_mode(metadata.permissions().mode())?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| format!("it cannot be read: {error}"))?;
    let Some(loader) = loader(&head)? else {
        return Ok(());
    };
    match surroundings {
        Surroundings::Host => {
            let needs = needs(&head);
            Err(format!("it {needs} `{loader}`, and without root the process runtime starts only static programs"))
        }
        Surroundings::Root if root.find(loader.as_bytes()).is_err() => Err(without_loader(&head, &loader)),
        Surroundings::Root => Ok(()),
    }
}

/// The program that the kernel starts in place of this one, if any.
pub(in crate::runtime) fn loader(head: &[u8]) -> Result<Option<String>, String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let name = line.trim_ascii().split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        return match name {
            b"" => Err("it begins with `#!` and names no interpreter".to_owned()),
            name => Ok(Some(String::from_utf8_lossy(name).into_owned())),
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Err("it is neither an ELF program nor a script with `#!` (exec format error)".to_owned());
    }
    elf_loader(head).unwrap_or_else(|| Err("it is a damaged ELF program".to_owned()))
}

/// Reads the program headers of a little-endian ELF file; none = cut off.
/// <https://man7.org/linux/man-pages/man5/elf.5.html>
fn elf_loader(head: &[u8]) -> Option<Result<Option<String>, String>> {
    const SIXTY_FOUR_BITS: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const LOADER: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    };
    let machine = number(18, 2)?;
    if *head.get(4)? != SIXTY_FOUR_BITS || *head.get(5)? != LITTLE_ENDIAN || machine != MACHINE {
        let name = match machine {
            3 => "32-bit x86",
            40 => "32-bit ARM",
            62 => "x86-64",
            183 => "64-bit ARM",
            243 => "RISC-V",
            _ => "another machine",
        };
        return Some(Err(format!("it is a program for {name}; this machine is {}", std::env::consts::ARCH)));
    }
    let (offset, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let header = usize::try_from(offset.checked_add(index * size)?).ok()?;
        if number(header, 4)? == u64::from(LOADER) {
            let start = usize::try_from(number(header + 8, 8)?).ok()?;
            let length = usize::try_from(number(header + 32, 8)?).ok()?;
            let name = head.get(start..start.checked_add(length)?)?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            return Some(Ok(Some(String::from_utf8_lossy(name).into_owned())));
        }
    }
    Some(Ok(None))
}

/// `e_machine` of this machine's programs.
const MACHINE: u64 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use proptest::prelude::*;

    use super::*;

    fn root() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("usr/bin")).unwrap();
        fs::create_dir_all(path.join("work")).unwrap();
        symlink("/usr/bin", path.join("bin")).unwrap();
        fs::write(path.join("usr/bin/script"), "#!/bin/sh -e\n").unwrap();
        fs::write(path.join("usr/bin/text"), "just text").unwrap();
        fs::write(path.join("usr/bin/plain"), "x").unwrap();
        // This test is a program of this machine.
        fs::copy("/proc/self/exe", path.join("work/program")).unwrap();
        for name in ["usr/bin/script", "usr/bin/text", "work/program"] {
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let tree = Tree::open(path).unwrap();
        (folder, tree)
    }

    #[test]
    fn each_refusal_says_why() {
        let (_folder, tree) = root();
        let refusal = |name| find(&tree, name, "/bin:/sbin", "/work", Surroundings::Root).unwrap_err();
        assert_eq!(refusal("/app"), "cannot start `/app`: the image has no such file");
        assert_eq!(refusal("app"), "cannot start `app`: no folder of PATH (`/bin:/sbin`) in the image has it");
        assert_eq!(refusal("/usr/bin"), "cannot start `/usr/bin`: it is a folder");
        assert_eq!(refusal("plain"), "cannot start `plain`: it is not executable (its mode is 0644)");
        assert_eq!(
            refusal("text"),
            "cannot start `text`: it is neither an ELF program nor a script with `#!` (exec format error)"
        );
        assert_eq!(
            refusal("script"),
            "cannot start `script`: it is a script for `/bin/sh`, which the image does not have"
        );
        assert!(refusal("./program").contains("is dynamically linked and needs `/lib"), "{}", refusal("./program"));
    }

    #[test]
    fn a_script_is_found_through_links() {
        let (folder, tree) = root();
        fs::write(folder.path().join("usr/bin/sh"), "").unwrap();
        let found = find(&tree, "script", "/sbin:/bin", "/", Surroundings::Root);
        assert_eq!(found, Ok(PathBuf::from("usr/bin/script")));
        let refused = find(&tree, "script", "/bin", "/", Surroundings::Host).unwrap_err();
        assert!(refused.ends_with("without root the process runtime starts only static programs"), "{refused}");
    }

    #[test]
    fn another_machine_is_named() {
        let mut head = fs::read("/proc/self/exe").unwrap();
        head.truncate(4096);
        head[18..20].copy_from_slice(&if MACHINE == 62 { 183_u16 } else { 62 }.to_le_bytes());
        let text = loader(&head).unwrap_err();
        assert!(text.starts_with("it is a program for"), "{text}");
    }

    proptest! {
        #[test]
        fn any_header_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
            head.extend(bytes);
            let _ = loader(&head);
        }
    }
}
