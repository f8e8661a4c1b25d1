//! A Dockerfile, built by whichever tool answers: Docker, Podman or Buildah.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    poll::bounded,
};
use tokio::{process::Command, time::timeout};

use super::{
    build::Built,
    command::{run, watch},
    import::Import,
    layout::{FROM_DOCKERFILE, Layout, failed},
    missing::near_on_disk,
    spec::{DOCKERFILE, Platform, invalid},
};

/// A client whose server is gone may wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// An image that a Dockerfile describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileSpec {
    /// The name it gets in the layout.
    pub name: String,
    /// A shell line that is run before.
    pub run: Option<String>,
    /// The Dockerfile, absolute.
    pub file: PathBuf,
    /// The folder that COPY copies from, absolute.
    pub context: PathBuf,
    /// The stage to build; the last one when not given.
    pub target: Option<String>,
    /// Values for ARG. They can be seen in the image's history: nothing secret belongs there.
    pub args: BTreeMap<String, String>,
    /// What it is made for.
    pub platform: Platform,
    /// Where `run` runs.
    pub directory: PathBuf,
    /// The time of the image and of what its steps copy; 0 when not given.
    pub source_date_epoch: Option<u64>,
}

/// Who builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builder {
    /// A builder of its own, which writes archives itself.
    Buildx,
    /// The engine's builder, by buildx or by the engine's own client: the engine holds the image then.
    Docker {
        /// Whether the client has buildx.
        buildx: bool,
    },
    Podman,
    Buildah,
}

/// Refuses what cannot be built before anything runs.
pub(crate) fn check(spec: &DockerfileSpec) -> Result<()> {
    if spec.run.is_some() {
        return Ok(());
    }
    let shown = |path: &Path| path.strip_prefix(&spec.directory).unwrap_or(path).display().to_string();
    if !spec.context.is_dir() {
        return Err(invalid("image.build.context", format!("`{}` is not a folder", shown(&spec.context))));
    }
    if !spec.file.is_file() {
        let what = if spec.file.exists() { "is not a file" } else { "does not exist" };
        let error = invalid(DOCKERFILE, format!("`{}` {what}", shown(&spec.file)));
        return Err(match near_on_disk(&spec.file) {
            Some(near) => error.hint(format!("did you mean `{}`?", shown(&near))),
            None => error,
        });
    }
    Ok(())
}

/// Builds it, and takes the image into the layout.
pub async fn build(cx: &Ctx, spec: &DockerfileSpec, layout: &Path, threads: usize) -> Result<Built> {
    check(spec)?;
    let builder = choose(cx).await?;
    if let Some(line) = &spec.run {
        run(cx, line, &spec.directory).await?;
    }
    let layout = Layout::create(layout)?;
    let scratch = tempfile::Builder::new()
        .prefix(FROM_DOCKERFILE)
        .tempdir_in(layout.root())
        .map_err(|error| failed("writing to", layout.root(), error))?;
    let archive = scratch.path().join("image.tar");
    let id = scratch.path().join("id");
    let message = format!("building with {}", builder.shown());
    cx.events.emit(Event::Note { message });
    let (command, line) = builder.build(spec, &archive, &id);
    watch(cx, command, &line, DOCKERFILE).await?;
    if builder != Builder::Buildx {
        let image = tokio::fs::read_to_string(&id).await.map_err(|error| failed("reading", &id, error))?;
        let (command, line) = builder.save(image.trim(), &archive);
        watch(cx, command, &line, DOCKERFILE).await?;
    }
    let (name, platform, cancel) = (spec.name.clone(), spec.platform, cx.cancel.clone());
    let taken = tokio::task::spawn_blocking(move || {
        let import = Import { layout: &layout, name: &name, platform, threads, cancel: &cancel };
        import.archive(&archive)
    });
    taken.await.map_err(|error| Error::new(ErrorKind::Internal, "taking the image broke off").with_source(error))?
}

impl Builder {
    const fn shown(self) -> &'static str {
        match self {
            Self::Buildx | Self::Docker { buildx: true } => "docker buildx",
            Self::Docker { buildx: false } => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    /// The command, and how it is called in errors.
    fn build(self, spec: &DockerfileSpec, archive: &Path, id: &Path) -> (Command, String) {
        let epoch = spec.source_date_epoch.unwrap_or(0);
        let (mut command, line) = match self {
            Self::Buildx | Self::Docker { buildx: true } => {
                let mut command = Command::new("docker");
                // Attestations beside the image are no part of what is deployed.
                command.args(["buildx", "build", "--progress", "plain", "--provenance=false", "--sbom=false"]);
                (command, "docker buildx build")
            }
            Self::Docker { buildx: false } => {
                let mut command = Command::new("docker");
                command.arg("build");
                (command, "docker build")
            }
            Self::Podman => (Command::new("podman"), "podman build"),
            Self::Buildah => (Command::new("buildah"), "buildah build"),
        };
        match self {
            Self::Buildx => {
                let output = format!("type=oci,rewrite-timestamp=true,dest={}", archive.display());
                command.args(["--output", &output]);
            }
            Self::Docker { buildx } => {
                command.args(buildx.then_some("--load")).arg("--iidfile").arg(id);
            }
            Self::Podman | Self::Buildah => {
                // The same files make the same image, whenever it is built.
                command.args(["build", "--layers", "--format", "oci", "--timestamp", &epoch.to_string()]);
                command.arg("--iidfile").arg(id);
            }
        }
        if matches!(self, Self::Buildx | Self::Docker { .. }) {
            // https://docs.docker.com/build/ci/github-actions/reproducible-builds/
            command.args(["--build-arg", &format!("SOURCE_DATE_EPOCH={epoch}")]);
        }
        command.args(["--platform", &spec.platform.to_string()]).arg("--file").arg(&spec.file);
        if let Some(target) = &spec.target {
            command.args(["--target", target]);
        }
        for (name, value) in &spec.args {
            command.args(["--build-arg", &format!("{name}={value}")]);
        }
        command.arg(&spec.context).current_dir(&spec.directory);
        (command, line.to_owned())
    }

    /// Writes the image that was built to an archive.
    fn save(self, image: &str, archive: &Path) -> (Command, String) {
        let (mut command, line) = match self {
            Self::Buildx | Self::Docker { .. } => {
                let mut command = Command::new("docker");
                command.args(["save", "--output"]).arg(archive).arg(image);
                (command, "docker save")
            }
            Self::Podman => {
                let mut command = Command::new("podman");
                command.args(["save", "--quiet", "--format", "oci-archive", "--output"]).arg(archive).arg(image);
                (command, "podman save")
            }
            Self::Buildah => {
                let mut command = Command::new("buildah");
                command.args(["push", "--quiet", image]).arg(format!("oci-archive:{}", archive.display()));
                (command, "buildah push")
            }
        };
        command.current_dir("/");
        (command, line.to_owned())
    }
}

/// The first that really answers: a client on the PATH does not mean that its server does.
async fn choose(cx: &Ctx) -> Result<Builder> {
    let mut silent = Vec::new();
    match ask(cx, "docker", &["version", "--format", "{{.Server.Version}}"]).await? {
        Ok(_) => return docker(cx).await,
        Err(why) => silent.push(format!("docker: {why}")),
    }
    for (program, builder) in [("podman", Builder::Podman), ("buildah", Builder::Buildah)] {
        match ask(cx, program, &["info"]).await? {
            Ok(_) => return Ok(builder),
            Err(why) => silent.push(format!("{program}: {why}")),
        }
    }
    let message = format!("a Dockerfile needs Docker, Podman or Buildah, and none answers ({})", silent.join("; "));
    Err(Error::new(ErrorKind::BuildFailed, message)
        .hint("install one that needs no server: apt-get install buildah")
        .hint("or start Docker"))
}

/// A builder apart from the engine writes archives; the engine's own does only with newer image stores, so there
/// the image is asked of the engine. <https://docs.docker.com/build/builders/drivers/>
async fn docker(cx: &Ctx) -> Result<Builder> {
    Ok(match ask(cx, "docker", &["buildx", "inspect"]).await? {
        Ok(text) => {
            let driver = text.lines().find_map(|line| line.strip_prefix("Driver:")).map(str::trim);
            if driver == Some("docker") { Builder::Docker { buildx: true } } else { Builder::Buildx }
        }
        Err(_) => Builder::Docker { buildx: false },
    })
}

/// What a program answers, or why it does not.
async fn ask(cx: &Ctx, program: &str, arguments: &[&str]) -> Result<Result<String, String>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match bounded(cx, program, timeout(PATIENCE, command.output())).await? {
        Err(_) => return Ok(Err(format!("no answer in {} s", PATIENCE.as_secs()))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Err("not installed".to_owned())),
        Ok(Err(error)) => return Ok(Err(error.to_string())),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    Ok(Err(last.map_or_else(|| output.status.to_string(), str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(folder: &Path) -> DockerfileSpec {
        DockerfileSpec {
            name: "test".into(),
            run: None,
            file: folder.join("Dockerfile"),
            context: folder.to_owned(),
            target: Some("release".into()),
            args: [("A".to_owned(), "1 2".to_owned())].into(),
            platform: Platform::LinuxAmd64,
            directory: folder.to_owned(),
            source_date_epoch: None,
        }
    }

    #[test]
    fn each_tool_is_asked_for_the_same() {
        let spec = spec(Path::new("/srv"));
        for builder in [
            Builder::Buildx,
            Builder::Docker { buildx: true },
            Builder::Docker { buildx: false },
            Builder::Podman,
            Builder::Buildah,
        ] {
            let (command, _) = builder.build(&spec, Path::new("/tmp/image.tar"), Path::new("/tmp/id"));
            let words: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            let line = words.join(" ");
            for part in ["--platform linux/amd64", "--file /srv/Dockerfile", "--target release", "--build-arg A=1 2"] {
                assert!(line.contains(part), "{builder:?}: {line}");
            }
            assert_eq!(words.last().map(String::as_str), Some("/srv"));
            let goes_to = if builder == Builder::Buildx { "dest=/tmp/image.tar" } else { "--iidfile /tmp/id" };
            assert!(line.contains(goes_to) && line.contains('0'), "{builder:?}: {line}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_before_anything_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("dockerfile"), "FROM scratch").expect("write");
        let mut spec = spec(folder.path());
        let error = check(&spec).expect_err("missing");
        assert_eq!((error.message(), error.field()), ("`Dockerfile` does not exist", Some(DOCKERFILE)));
        assert_eq!(error.hints(), ["did you mean `dockerfile`?"]);
        spec.context = folder.path().join("none");
        assert_eq!(check(&spec).expect_err("missing").message(), "`none` is not a folder");
        spec.run = Some("make".into());
        check(&spec).expect("the line may make it");
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_does_not_answer() {
        let cx = Ctx::silent();
        let text = |answer: Result<Result<String, String>>| answer.expect("not interrupted");
        assert_eq!(text(ask(&cx, "carrack-has-no-such-program", &[]).await), Err("not installed".to_owned()));
        let failing = ask(&cx, "sh", &["-c", "echo first >&2; echo why >&2; echo >&2; exit 1"]).await;
        assert_eq!(text(failing), Err("why".to_owned()));
        assert_eq!(text(ask(&cx, "sh", &["-c", "echo yes"]).await), Ok("yes\n".to_owned()));
    }
}
