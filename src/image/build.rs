//! From files to an image in a layout, in order: `run`, check, layers, configuration, manifest, name.
use std::path::{Path, PathBuf};

use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use tokio_util::sync::CancellationToken;

use super::{
    base::BaseImage,
    below::Below,
    command,
    configuration::configuration,
    inspect,
    layer::{Layer, Writer},
    layout::Layout,
    listing::Listing,
    manifest::{BASE_DIGEST, BASE_NAME, CONFIG, LAYER_GZIP, MANIFEST, Manifest, Part},
    spec::{BuildSpec, ENTRYPOINT, check_files, invalid},
    tree::Tree,
};

/// An image that lies in a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Of its manifest, `sha256:…`.
    pub digest: String,
    /// Where it lies.
    pub layout: PathBuf,
    /// Bytes of all its blobs, compressed.
    pub size: u64,
    /// How many layers it has.
    pub layers: usize,
}

/// Makes the image that `spec` describes, in the layout at `layout`, which is made when it is missing.
///
/// Same input, same digest: on any machine, at any time, with any number of `threads`. A request is sent only for
/// layers of the base that were never read, when files go into folders that it may have.
pub async fn build(
    cx: &Ctx,
    spec: &BuildSpec,
    base: Option<Below<'_>>,
    layout: &Path,
    threads: usize,
) -> Result<Built> {
    check_files(spec)?;
    if let Some(run) = &spec.run {
        command::run(cx, run, &spec.directory).await?;
    }
    let (spec, path, cancel) = (spec.clone(), layout.to_owned(), cx.cancel.clone());
    let Some(below) = base else {
        return aside(move || assemble(&spec, &Tree::read(&spec)?, None, &path, threads, &cancel)).await;
    };
    let (spec, mut tree) = aside(move || Tree::read(&spec).map(|tree| (spec, tree))).await?;
    if tree.needs_folders(&spec, &below.image) {
        let listing = below.listing(cx, &Layout::create(layout)?).await?;
        tree = tree.above(&spec, &below.image, &listing)?;
    }
    let image = below.image;
    aside(move || assemble(&spec, &tree, Some(&image), &path, threads, &cancel)).await
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "building the image broke off").with_source(error))?
}

fn assemble(
    spec: &BuildSpec,
    tree: &Tree,
    base: Option<&BaseImage>,
    path: &Path,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<Built> {
    inspect::check_program(tree, spec, &|| Listing::of(base?, &Layout::open(path).ok()?))?;
    let layout = Layout::create(path)?;
    let writer = Writer { spec, layout: &layout, threads, cancel };
    let layers = tree.layers.iter().map(|plan| writer.layer(plan)).collect::<Result<Vec<Layer>>>()?;
    let configuration = configuration(spec, base, &tree.layers, &layers)?;
    if configuration.program().is_none() {
        return Err(invalid(ENTRYPOINT, "the image has no program to start: its base names none either")
            .hint("write `entrypoint = [\"/app\"]` under [image.build]"));
    }
    let config = layout.write_json(CONFIG, &configuration)?;
    let manifest = manifest(config, base, &layers);
    let size: u64 = manifest.layers.iter().chain([&manifest.config]).map(|part| part.size).sum();
    let layers = manifest.layers.len();
    let manifest = layout.write_json(MANIFEST, &manifest)?;
    let built = Built { digest: manifest.digest.clone(), layout: path.to_owned(), size: size + manifest.size, layers };
    layout.name(&spec.name, &manifest)?;
    Ok(built)
}

/// The base's layers below ours, and the base's name.
fn manifest(config: Part, base: Option<&BaseImage>, layers: &[Layer]) -> Manifest {
    let own = layers.iter().map(|layer| Part::new(LAYER_GZIP, layer.digest.clone(), layer.size));
    let below = base.map(|base| base.layers.clone()).unwrap_or_default();
    let mut manifest = Manifest::new(config, below.into_iter().chain(own).collect());
    manifest.annotations = base.map(|base| {
        [(BASE_NAME, &base.name), (BASE_DIGEST, &base.digest)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into()
    });
    manifest
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::{inspect::tests::elf, spec::tests::spec};
    use oci_spec::image::Descriptor;

    fn sources() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("hello"), elf(0x3e, None)).expect("write");
        fs::create_dir(folder.path().join("site")).expect("folder");
        fs::write(folder.path().join("site/index.html"), "<p>hello</p>").expect("write");
        folder
    }

    fn full(folder: &Path) -> BuildSpec {
        let mut spec = spec(folder, &[("site", "/srv/"), ("hello", "/app")]);
        spec.cmd = vec!["--serve".into()];
        spec.env = [("B", "2"), ("A", "1")].map(|(name, value)| (name.into(), value.into())).into();
        spec.working_dir = Some("/srv".into());
        spec.user = Some("65532".into());
        spec
    }

    #[tokio::test]
    async fn the_same_input_makes_the_same_image_anywhere() {
        let cx = Ctx::silent();
        let mut digests = Vec::new();
        for threads in [1, 2, 4] {
            let (folder, layout) = (sources(), tempfile::tempdir().expect("a folder"));
            let spec = full(folder.path());
            let first = build(&cx, &spec, None, layout.path(), threads).await.expect("built");
            let cached = build(&cx, &spec, None, layout.path(), threads).await.expect("built");
            assert_eq!(first, cached);
            assert_eq!(first.layers, 2);
            digests.push(first.digest);
        }
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    }

    #[tokio::test]
    async fn the_image_says_what_was_asked() {
        let (folder, path) = (sources(), tempfile::tempdir().expect("a folder"));
        let spec = full(folder.path());
        let built = build(&Ctx::silent(), &spec, None, path.path(), 2).await.expect("built");
        let layout = Layout::open(path.path()).expect("layout");
        assert_eq!(layout.find("test").expect("index"), Some(built.digest.clone()));
        let (bytes, manifest) = layout.manifest(&built.digest).expect("manifest");
        let text = std::str::from_utf8(&bytes).expect("text");
        assert!(
            text.starts_with(r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:"#),
            "{text}"
        );
        let blobs = manifest.layers().iter().chain([manifest.config()]);
        assert_eq!(blobs.map(Descriptor::size).sum::<u64>() + bytes.len() as u64, built.size);
        let config = layout.blob(manifest.config().digest().as_ref()).expect("path");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(config).expect("config")).expect("json");
        let ids = config["rootfs"]["diff_ids"].take();
        assert_eq!(ids.as_array().map(Vec::len), Some(2));
        let time = "1970-01-01T00:00:00Z";
        assert_eq!(
            config,
            serde_json::json!({
                "created": time,
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "User": "65532",
                    "Env": ["A=1", "B=2"],
                    "Entrypoint": ["/app"],
                    "Cmd": ["--serve"],
                    "WorkingDir": "/srv",
                },
                "rootfs": { "type": "layers", "diff_ids": null },
                "history": [
                    { "created": time, "created_by": "carrack: copy to /srv/" },
                    { "created": time, "created_by": "carrack: copy to /app" },
                ],
            })
        );
    }

    #[tokio::test]
    async fn a_changed_program_leaves_the_other_layers_alone() {
        let (folder, path) = (sources(), tempfile::tempdir().expect("a folder"));
        let (cx, spec) = (Ctx::silent(), full(folder.path()));
        let layers = async || {
            let built = build(&cx, &spec, None, path.path(), 2).await.expect("built");
            let layout = Layout::open(path.path()).expect("layout");
            let (_, manifest) = layout.manifest(&built.digest).expect("manifest");
            manifest.layers().clone()
        };
        let before = layers().await;
        let mut program = elf(0x3e, None);
        program.extend(b"changed");
        fs::write(folder.path().join("hello"), program).expect("write");
        let after = layers().await;
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
    }

    #[tokio::test]
    async fn the_given_time_is_on_everything() {
        let (folder, path) = (sources(), tempfile::tempdir().expect("a folder"));
        let (cx, mut spec) = (Ctx::silent(), full(folder.path()));
        let zero = build(&cx, &spec, None, path.path(), 1).await.expect("built");
        spec.source_date_epoch = Some(1_700_000_000);
        let later = build(&cx, &spec, None, path.path(), 1).await.expect("built");
        assert_ne!(zero.digest, later.digest);
        assert_eq!(spec.created().expect("a time"), "2023-11-14T22:13:20Z");
        spec.source_date_epoch = Some(u64::MAX);
        let error = build(&cx, &spec, None, path.path(), 1).await.expect_err("no time");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    }

    #[tokio::test]
    async fn what_run_makes_is_copied_and_what_it_does_not_is_refused() {
        let (folder, path) = (sources(), tempfile::tempdir().expect("a folder"));
        let mut spec = spec(folder.path(), &[("out/app", "/app")]);
        let error = build(&Ctx::silent(), &spec, None, path.path(), 1).await.expect_err("missing");
        assert_eq!(error.message(), "`out/app` does not exist");
        assert!(!path.path().join("oci-layout").exists(), "nothing is made before the check");
        spec.run = Some("mkdir out && cp hello out/app".into());
        build(&Ctx::silent(), &spec, None, path.path(), 1).await.expect("built");
        spec.run = Some("rm out/app".into());
        let error = build(&Ctx::silent(), &spec, None, path.path(), 1).await.expect_err("missing");
        assert!(error.hints().iter().any(|hint| hint.contains("CARGO_TARGET_DIR")), "{:?}", error.hints());
        spec.run = Some("echo broken; false".into());
        let error = build(&Ctx::silent(), &spec, None, path.path(), 1).await.expect_err("failed");
        assert_eq!((error.kind(), error.details()), (ErrorKind::BuildFailed, &["broken".to_owned()][..]));
    }
}
