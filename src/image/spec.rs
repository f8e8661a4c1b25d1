//! What an image is made of, and what is refused before anything runs.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use carrack_core::{Error, ErrorKind, Result, spec::ImageRef};

use super::{
    dockerfile::{self, DockerfileSpec},
    inspect,
    tree::Tree,
};

pub(crate) const FILES: &str = "image.build.files";
pub(crate) const ENTRYPOINT: &str = "image.build.entrypoint";
pub(crate) const BASE: &str = "image.build.base";
pub(crate) const DOCKERFILE: &str = "image.build.dockerfile";

/// How an image is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// From files, by us.
    Files(Box<BuildSpec>),
    /// From a Dockerfile, by a tool that can.
    Dockerfile(Box<DockerfileSpec>),
}

impl Recipe {
    /// The image's name in the layout, and below a repository.
    pub fn name(&self) -> &str {
        match self {
            Self::Files(spec) => &spec.name,
            Self::Dockerfile(spec) => &spec.name,
        }
    }
}

/// An image to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    /// The name it gets in the layout.
    pub name: String,
    /// A shell line that makes the files.
    pub run: Option<String>,
    /// What lies below the files.
    pub base: Base,
    /// Copied in this order, one layer each: put what changes often last.
    pub files: Vec<FileCopy>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments, which a deploy may replace.
    pub cmd: Vec<String>,
    /// Environment variables of the image.
    pub env: BTreeMap<String, String>,
    /// Where the program starts; made when no file makes it.
    pub working_dir: Option<String>,
    /// Who the program runs as: `UID`, `UID:GID`, or names that the image's `/etc/passwd` has.
    pub user: Option<String>,
    /// What it is made for.
    pub platform: Platform,
    /// Where `run` runs.
    pub directory: PathBuf,
    /// The time of every file and of the image, in seconds since 1970; 0 when not given.
    /// <https://reproducible-builds.org/docs/source-date-epoch/>
    pub source_date_epoch: Option<u64>,
}

/// One file or folder to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCopy {
    /// An absolute path on this machine; a link is followed.
    pub from: PathBuf,
    /// An absolute path in the image. With a `/` at its end it is a folder: a file goes into it, a folder's
    /// contents do.
    pub to: String,
}

/// What lies below the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image of a registry: by digest, by tag, or `latest`.
    Image(ImageRef),
}

/// Operating system and processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// What Cloud Run runs.
    LinuxAmd64,
    /// Only for the local cloud on such a machine.
    LinuxArm64,
}

impl Platform {
    /// What this machine runs, for the local cloud.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::LinuxArm64 } else { Self::LinuxAmd64 }
    }
    /// The processor, by Go's name: <https://go.dev/doc/install/source#environment>.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "amd64",
            Self::LinuxArm64 => "arm64",
        }
    }
    /// The processor, by the compilers' name.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "x86_64",
            Self::LinuxArm64 => "aarch64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

impl BuildSpec {
    /// The program that starts: the entrypoint's, or the arguments' when there is no entrypoint.
    pub fn program(&self) -> Option<&str> {
        self.entrypoint.first().or_else(|| self.cmd.first()).map(String::as_str)
    }
    /// When the image was made, as it says itself.
    pub(crate) fn created(&self) -> Result<String> {
        let seconds = self.source_date_epoch.unwrap_or(0);
        let time = time(seconds).ok_or_else(|| no_time(&seconds.to_string()))?;
        Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
    /// A path as the user would write it: relative to the file that names it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.directory).unwrap_or(path).display().to_string()
    }
}

/// What the variable `SOURCE_DATE_EPOCH` says: <https://reproducible-builds.org/specs/source-date-epoch/>.
pub fn source_date_epoch(text: &str) -> Result<u64> {
    text.parse().ok().filter(|seconds| time(*seconds).is_some()).ok_or_else(|| no_time(text))
}

fn time(seconds: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

fn no_time(text: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("SOURCE_DATE_EPOCH `{text}` is not a time"))
        .hint("set it to seconds since 1970, such as `git log -1 --format=%ct` prints")
}

/// Refuses what can never become a good image. Sends nothing and runs nothing.
///
/// Files that `run` makes are not looked at: [`super::build()`] does so after it ran.
pub fn check(recipe: &Recipe) -> Result<()> {
    match recipe {
        Recipe::Files(spec) => check_files(spec),
        Recipe::Dockerfile(spec) => dockerfile::check(spec),
    }
}

pub(crate) fn check_files(spec: &BuildSpec) -> Result<()> {
    check_texts(spec)?;
    if spec.run.is_none() {
        inspect::check_program(&Tree::read(spec)?, spec, &|| None)?;
    }
    Ok(())
}

pub(crate) fn check_texts(spec: &BuildSpec) -> Result<()> {
    if spec.files.is_empty() {
        return Err(invalid(FILES, "the image has no files")
            .hint("write `files = [{ from = \"…\", to = \"/app\" }]` under [image.build]"));
    }
    spec.created()?;
    let mut taken = BTreeSet::new();
    for file in &spec.files {
        let parts = image_path(&file.to).map_err(|error| error.at_field(FILES))?;
        let into_folder = file.to.ends_with('/');
        if !into_folder && !taken.insert(parts) {
            return Err(twice(&file.to));
        }
    }
    let Some(program) = spec.program() else {
        if matches!(spec.base, Base::Image(_)) {
            return check_rest(spec);
        }
        return Err(invalid(ENTRYPOINT, "the image has no program to start")
            .hint("write `entrypoint = [\"/app\"]` under [image.build]"));
    };
    if !program.starts_with('/') && spec.base == Base::Scratch {
        return Err(invalid(ENTRYPOINT, format!("`{program}` is not an absolute path")).hint(format!(
            "write `entrypoint = [\"/{}\"]`; an image without a base has no PATH to search",
            program.trim_start_matches("./")
        )));
    }
    check_rest(spec)
}

fn check_rest(spec: &BuildSpec) -> Result<()> {
    if let Some(directory) = &spec.working_dir {
        image_path(directory).map_err(|error| error.at_field("image.build.working_dir"))?;
    }
    if let Some(name) = spec.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(invalid("image.build.env", format!("`{name}` cannot be the name of a variable")));
    }
    Ok(())
}

/// The parts of an absolute path in the image; none for the root.
pub(crate) fn image_path(path: &str) -> Result<Vec<&str>> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Error::new(ErrorKind::ConfigInvalid, format!("`{path}` is not an absolute path"))
            .hint(format!("write `/{path}`")));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = rest.split('/').collect();
    for part in &parts {
        if matches!(*part, "" | "." | "..") || part.contains('\0') {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!("`{path}` is not a plain path: it has `{}` in it", part.escape_default()),
            )
            .hint("write it without `.`, `..` and `//`"));
        }
        check_name(part, path)?;
    }
    Ok(parts)
}

/// A name that starts so means a deleted file: <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>.
pub(crate) fn check_name(name: &str, path: &str) -> Result<()> {
    if name.starts_with(".wh.") {
        return Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!("`{path}` cannot be in an image: a name with `.wh.` at its start means a deleted file there"),
        )
        .hint("rename it"));
    }
    Ok(())
}

pub(crate) fn twice(path: &str) -> Error {
    invalid(FILES, format!("two entries make `{path}`")).hint("remove one, or give it another `to`")
}

pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message).at_field(field)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spec(directory: &Path, files: &[(&str, &str)]) -> BuildSpec {
        BuildSpec {
            name: "test".into(),
            run: None,
            base: Base::Scratch,
            files: files
                .iter()
                .map(|(from, to)| FileCopy { from: directory.join(from), to: (*to).to_owned() })
                .collect(),
            entrypoint: vec!["/app".into()],
            cmd: Vec::new(),
            env: BTreeMap::new(),
            working_dir: None,
            user: None,
            platform: Platform::LinuxAmd64,
            directory: directory.to_owned(),
            source_date_epoch: None,
        }
    }

    fn refused(change: impl FnOnce(&mut BuildSpec)) -> (String, String) {
        let mut spec = spec(Path::new("/nowhere"), &[("app", "/app")]);
        spec.run = Some("make".into());
        check_files(&spec).expect("good before the change");
        change(&mut spec);
        let error = check_files(&spec).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        (error.message().to_owned(), error.field().unwrap_or_default().to_owned())
    }

    #[test]
    fn paths_in_the_image_are_absolute_and_plain() {
        for bad in ["app", "", "/a/../b", "/./a", "//a", "/a//b", "/a/..", "/.wh.a", "/a\0"] {
            let (_, field) = refused(|spec| spec.files[0].to = bad.to_owned());
            assert_eq!(field, FILES, "{bad}");
        }
        for good in ["/", "/a", "/a/", "/a/b.c/..d"] {
            assert!(image_path(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_same_place_twice_is_refused() {
        let (message, field) = refused(|spec| {
            let again = spec.files[0].clone();
            spec.files.push(again);
        });
        assert_eq!((message.as_str(), field.as_str()), ("two entries make `/app`", FILES));
    }

    #[test]
    fn a_program_is_needed_and_named_in_full() {
        assert_eq!(refused(|spec| spec.entrypoint.clear()).1, ENTRYPOINT);
        assert_eq!(refused(|spec| spec.entrypoint = vec!["app".into()]).0, "`app` is not an absolute path");
        assert_eq!(refused(|spec| spec.working_dir = Some("data".into())).1, "image.build.working_dir");
        assert_eq!(
            refused(|spec| {
                spec.env.insert("A=B".into(), String::new());
            })
            .1,
            "image.build.env"
        );
        assert_eq!(refused(|spec| spec.files.clear()).0, "the image has no files");
    }
}
