//! Whether the program can start: machine, loader, `#!` line. Looked at before anything is sent.
use std::path::{Path, PathBuf};

use carrack_core::{
    Error, Result,
    cause::{Cause, Code, Fix},
    spec::ImageRef,
};

use super::{
    elf::{Elf, Program, read},
    listing::{Kind, Listing},
    missing::{last_part, nearest, unreadable},
    spec::{Base, BuildSpec, ENTRYPOINT, FILES, Platform, invalid},
    tree::{Node, Place, Tree},
};

/// A script's interpreter may be a script, and so on; the kernel stops here.
const MAX_SCRIPTS: usize = 5;

/// Refuses an image whose program is missing, is for another machine, or needs a loader that the image lacks.
///
/// What only a base could have is looked for in the names of its files: `base` gives them when its layers lie on
/// this disk. When they do not, nothing is guessed, except for bases that are known to have nothing to load with.
pub(crate) fn check_program(tree: &Tree, spec: &BuildSpec, base: &dyn Fn() -> Option<Listing>) -> Result<()> {
    let lacks = match look(tree, spec, None) {
        Ok(()) => return Ok(()),
        Err(Refused::Wrong(error)) => return Err(error),
        Err(Refused::Lacks(error)) => error,
    };
    let Base::Image(reference) = &spec.base else {
        return Err(lacks);
    };
    match base() {
        Some(listing) => look(tree, spec, Some(&listing)).map_err(Refused::error),
        None if has_no_loader(reference) && lacks.field() == Some(FILES) => Err(lacks),
        None => Ok(()),
    }
}

/// <https://github.com/GoogleContainerTools/distroless/blob/main/base/README.md>: files such as TLS roots and time
/// zones, and no C library.
fn has_no_loader(base: &ImageRef) -> bool {
    base.repository().strip_prefix("gcr.io/distroless/").is_some_and(|name| name.starts_with("static"))
}

/// Why an image cannot start.
enum Refused {
    /// Something is not among the files; a base may have it.
    Lacks(Error),
    Wrong(Error),
}

impl Refused {
    fn error(self) -> Error {
        match self {
            Self::Lacks(error) | Self::Wrong(error) => error,
        }
    }
}

fn look(tree: &Tree, spec: &BuildSpec, base: Option<&Listing>) -> Result<(), Refused> {
    look_at_program(tree, spec, base)?;
    check_user(tree, spec, base)
}

fn look_at_program(tree: &Tree, spec: &BuildSpec, base: Option<&Listing>) -> Result<(), Refused> {
    let Some(program) = spec.program() else {
        return Ok(());
    };
    // By name alone it is looked for in the base's PATH.
    if !program.starts_with('/') {
        return Ok(());
    }
    let folder = || Refused::Wrong(invalid(ENTRYPOINT, format!("`{program}` is a folder in the image")));
    let (mut path, mut source) = match tree.resolve_above(Path::new(program), base) {
        Some((path, Place::Own(Node::File { source, .. }))) => (path, source),
        Some((_, Place::Below(Kind::File))) => return Ok(()),
        Some(_) => return Err(folder()),
        None => return Err(Refused::Lacks(missing(tree, program))),
    };
    for _ in 0..MAX_SCRIPTS {
        let shown = format!("/{}", path.display());
        let kind = read(source).map_err(|error| Refused::Wrong(unreadable(spec, source, error)))?;
        let interpreter = match kind {
            Program::Elf(elf) => return check_elf(tree, &shown, &elf, spec.platform, base),
            Program::Script(interpreter) => interpreter,
            Program::Other(what) => return Err(Refused::Wrong(not_a_program(&shown, what, spec.platform))),
        };
        match tree.resolve_above(Path::new(&interpreter), base) {
            Some((found, Place::Own(Node::File { source: found_source, .. }))) => {
                (path, source) = (found, found_source);
            }
            Some((_, Place::Below(Kind::File))) => return Ok(()),
            _ => {
                return Err(Refused::Lacks(
                    invalid(FILES, format!("`{shown}` is a script for `{interpreter}`, which the image does not have"))
                        .hint("copy that program into the image too, or start a program that needs none"),
                ));
            }
        }
    }
    let message = format!("`{program}` is a script for a script, and so on without end");
    Err(Refused::Wrong(invalid(ENTRYPOINT, message)))
}

/// A user by name needs the file that says which number it is.
fn check_user(tree: &Tree, spec: &BuildSpec, base: Option<&Listing>) -> Result<(), Refused> {
    let Some(user) = &spec.user else {
        return Ok(());
    };
    let (name, group) = user.split_once(':').unwrap_or((user, "0"));
    for (part, file) in [(name, "/etc/passwd"), (group, "/etc/group")] {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number && tree.resolve_above(Path::new(file), base).is_none() {
            return Err(Refused::Lacks(
                invalid(
                    "image.build.user",
                    format!("`{part}` is a name, and the image has no `{file}` that says who it is"),
                )
                .hint("use a number, such as `user = \"65532\"`"),
            ));
        }
    }
    Ok(())
}

fn missing(tree: &Tree, program: &str) -> Error {
    let error = invalid(ENTRYPOINT, format!("the image has no file `{program}`"));
    let name = last_part(Path::new(program));
    let same_name = tree.files().find(|path| last_part(path) == name);
    let near = same_name.map(Path::to_path_buf).or_else(|| {
        let candidates = tree.files().map(|path| format!("/{}", path.display()));
        nearest(program, candidates).map(PathBuf::from)
    });
    match (near, tree.files().count()) {
        (Some(near), _) => {
            let near = near.strip_prefix("/").unwrap_or(&near).display().to_string();
            error.hint(format!("did you mean `/{near}`?"))
        }
        (None, 1) => {
            let only: Vec<String> = tree.files().map(|path| path.display().to_string()).collect();
            error.hint(format!("its only file is `/{}`", only.concat()))
        }
        (None, _) => error.hint(format!("add an entry with `to = \"{program}\"` to `files`")),
    }
}

fn check_elf(tree: &Tree, shown: &str, elf: &Elf, platform: Platform, base: Option<&Listing>) -> Result<(), Refused> {
    let machine = platform.machine();
    if elf.machine != machine {
        let target = format!("{machine}-unknown-linux-gnu");
        let message = format!("`{shown}` is built for {}; {}", elf.machine, wanted(platform));
        let build = format!("cargo build --release --target {target}");
        let error = invalid(FILES, message.clone())
            .hint(format!("with Cargo: {build}"))
            .hint(format!("with Go: GOOS=linux GOARCH={} go build", platform.architecture()))
            .with_cause(Cause { code: Code::WrongArchitecture, message, fix: Fix::command(build) });
        return Err(Refused::Wrong(error));
    }
    if !elf.is_program {
        return Err(Refused::Wrong(invalid(FILES, format!("`{shown}` is an ELF file and not a program"))));
    }
    let is_file = |place| matches!(place, Some((_, Place::Own(Node::File { .. }) | Place::Below(Kind::File))));
    match &elf.loader {
        Some(loader) if !is_file(tree.resolve_above(Path::new(loader), base)) => {
            Err(Refused::Lacks(invalid(
                FILES,
                format!("`{shown}` is dynamically linked: it needs `{loader}`, which the image does not have"),
            )
            .hint(format!(
                "with Cargo: RUSTFLAGS=\"-C target-feature=+crt-static\" cargo build --release --target {machine}-unknown-linux-gnu"
            ))
            .hint("a RUSTFLAGS variable replaces the rustflags of .cargo/config.toml; with Go: CGO_ENABLED=0 go build")))
        }
        _ => Ok(()),
    }
}

fn wanted(platform: Platform) -> String {
    let who = match platform {
        Platform::LinuxAmd64 => "Cloud Run",
        Platform::LinuxArm64 => "the local cloud here",
    };
    format!("{who} runs {platform} ({})", platform.machine())
}

fn not_a_program(shown: &str, what: &str, platform: Platform) -> Error {
    let error = invalid(FILES, format!("`{shown}` is {what}; {}", wanted(platform)));
    let machine = platform.machine();
    error.hint(format!("with Cargo: cargo build --release --target {machine}-unknown-linux-gnu"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{fs, os::unix::fs::symlink};

    use carrack_core::ErrorKind;

    use super::*;
    use crate::image::spec::tests::spec;

    /// An ELF header and, for a loader, one program header.
    pub(crate) fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        bytes.resize(16, 0);
        for short in [2_u16, machine] {
            bytes.extend(short.to_le_bytes());
        }
        bytes.extend(1_u32.to_le_bytes());
        for word in [0_u64, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for short in [64, 56, u16::from(loader.is_some()), 0, 0, 0] {
            bytes.extend(short.to_le_bytes());
        }
        if let Some(loader) = loader {
            let size = loader.len() as u64 + 1;
            bytes.extend(3_u32.to_le_bytes());
            bytes.extend(4_u32.to_le_bytes());
            for word in [120, 0, 0, size, size, 1] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(loader.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

    struct Case(tempfile::TempDir, Vec<(&'static str, &'static str)>);

    impl Case {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"), Vec::new())
        }
        fn file(mut self, to: &'static str, bytes: impl AsRef<[u8]>) -> Self {
            let name = &to[to.rfind('/').map_or(0, |at| at + 1)..];
            fs::write(self.0.path().join(name), bytes).expect("write");
            self.1.push((name, to));
            self
        }
        fn check(&self, change: impl FnOnce(&mut BuildSpec)) -> Result<()> {
            let mut spec = spec(self.0.path(), &self.1);
            change(&mut spec);
            check_program(&Tree::read(&spec)?, &spec, &|| None)
        }
        fn refused(&self) -> (String, Vec<String>) {
            let error = self.check(|_| ()).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert!(error.field().is_some());
            (error.message().to_owned(), error.hints().to_vec())
        }
    }

    #[test]
    fn a_static_program_for_this_platform_is_good() {
        let case = Case::new().file("/app", elf(0x3e, None));
        case.check(|_| ()).expect("good");
        let error = case.check(|spec| spec.platform = Platform::LinuxArm64).expect_err("other");
        assert_eq!(error.message(), "`/app` is built for x86_64; the local cloud here runs linux/arm64 (aarch64)");
    }

    #[test]
    fn another_machine_is_refused_with_the_fix() {
        let (message, hints) = Case::new().file("/app", elf(0xb7, None)).refused();
        assert_eq!(message, "`/app` is built for aarch64; Cloud Run runs linux/amd64 (x86_64)");
        assert!(hints[0].contains("--target x86_64-unknown-linux-gnu"), "{hints:?}");
    }

    #[test]
    fn a_loader_must_be_in_the_image() {
        let case = Case::new().file("/app", elf(0x3e, Some(LOADER)));
        let (message, hints) = case.refused();
        assert!(message.contains(LOADER), "{message}");
        assert!(hints[0].contains("-C target-feature=+crt-static"), "{hints:?}");
        assert!(hints[0].contains("--target x86_64-unknown-linux-gnu"), "{hints:?}");
        case.file(LOADER, "the loader").check(|_| ()).expect("good");
    }

    #[test]
    fn a_script_needs_its_program() {
        let case = Case::new().file("/app", "#! /bin/sh -e\necho\n");
        assert!(case.refused().0.contains("`/bin/sh`"));
        case.file("/bin/sh", elf(0x3e, None)).check(|_| ()).expect("good");
        let case = Case::new().file("/app", "#!/bin/sh").file("/bin/sh", "#!/app\n");
        assert!(case.refused().0.contains("without end"));
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        for (bytes, what) in [
            (&b""[..], "an empty file"),
            (b"hello", "neither an ELF program nor a script"),
            (b"\xcf\xfa\xed\xfe\x07\x00", "a macOS program"),
            (b"MZ\x90\x00\x00", "a Windows program"),
            (b"\x7fELF\x02\x01", "a broken ELF file"),
            (b"#!\n", "names no program"),
        ] {
            let (message, _) = Case::new().file("/app", bytes).refused();
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn a_missing_program_names_the_nearest() {
        let case = Case::new().file("/bin/app", elf(0x3e, None));
        assert_eq!(case.refused(), ("the image has no file `/app`".into(), vec!["did you mean `/bin/app`?".into()]));
        let case = Case::new().file("/ap", elf(0x3e, None));
        assert_eq!(case.refused().1, ["did you mean `/ap`?"]);
        let case = Case::new().file("/usr/bin/server", elf(0x3e, None));
        assert_eq!(case.refused().1, ["its only file is `/usr/bin/server`"]);
    }

    #[test]
    fn links_are_followed() {
        let case = Case::new().file("/bin/real", elf(0x3e, None));
        fs::create_dir(case.0.path().join("links")).expect("folder");
        symlink("bin/real", case.0.path().join("links/app")).expect("link");
        let case = Case(case.0, vec![("real", "/bin/real"), ("links", "/")]);
        case.check(|_| ()).expect("good");
    }

    #[test]
    fn a_user_by_name_needs_the_file_of_names() {
        let case = Case::new().file("/app", elf(0x3e, None));
        for good in ["65532", "65532:65532"] {
            case.check(|spec| spec.user = Some(good.into())).expect(good);
        }
        for bad in ["nobody", "1:staff", "", "nobody:1"] {
            let error = case.check(|spec| spec.user = Some(bad.into())).expect_err(bad);
            assert_eq!(error.field(), Some("image.build.user"));
        }
    }

    #[test]
    fn this_very_test_is_a_program_with_a_loader() {
        let path = std::env::current_exe().expect("a path");
        let Program::Elf(elf) = read(&path).expect("readable") else {
            panic!("not an ELF file");
        };
        assert_eq!(elf.machine, Platform::host().machine());
        assert!(elf.is_program && elf.loader.is_some());
    }
}
