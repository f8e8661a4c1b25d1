//! What the tests share: a static program, an image around it, and a container of that image.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    image::{Blob, Image, ImageConfig, Layer},
    runtime::{Company, EngineSockets, Exit, Instance, Launch, LaunchError, Line, Runtime, RuntimeKind, choose, sweep},
};

/// Far more than anything here takes.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// An example, which cargo builds next to this test.
pub(super) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "`{}` is missing: run `cargo build --examples`", path.display());
    path
}

/// `tests/programs/container.rs` as a static program, compiled once.
pub(super) fn static_program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("container");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/runtime/tests/programs/container.rs");
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let status = Command::new("rustc")
            .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols"])
            .args(["--target", &target, "-o"])
            .args([&path, Path::new(source)])
            .status();
        assert!(status.unwrap().success());
        (folder, path)
    });
    path
}

/// One tar entry: path, type, link target, mode, bytes.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: Vec<u8>,
    pub(super) kind: tar::EntryType,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
}

impl File {
    pub(super) fn new(path: &str, kind: tar::EntryType) -> Self {
        Self { path: path.into(), kind, link: Vec::new(), mode: 0o755, bytes: Vec::new() }
    }

    pub(super) fn regular(path: &str, bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::new(path, tar::EntryType::Regular) }
    }

    pub(super) fn link(path: &str, kind: tar::EntryType, target: &str) -> Self {
        Self { link: target.into(), ..Self::new(path, kind) }
    }
}

/// A tar stream of `files`, with whatever names they have: no builder's checks.
pub(super) fn archive(files: &[File]) -> Vec<u8> {
    let mut stream = Vec::new();
    for file in files {
        let mut header = tar::Header::new_gnu();
        for (long, name) in [(b'L', &file.path), (b'K', &file.link)] {
            if name.len() > 100 {
                let mut extension = tar::Header::new_gnu();
                extension.set_entry_type(tar::EntryType::new(long));
                push(&mut stream, extension, name);
            }
        }
        let gnu = header.as_gnu_mut().unwrap();
        for (field, name) in [(&mut gnu.name[..], &file.path), (&mut gnu.linkname[..], &file.link)] {
            let length = name.len().min(field.len());
            field[..length].copy_from_slice(&name[..length]);
        }
        header.set_entry_type(file.kind);
        header.set_mode(file.mode);
        push(&mut stream, header, &file.bytes);
    }
    stream.extend([0; 1024]);
    stream
}

fn push(stream: &mut Vec<u8>, mut header: tar::Header, bytes: &[u8]) {
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    stream.extend(header.as_bytes());
    stream.extend(bytes);
    stream.resize(stream.len().next_multiple_of(512), 0);
}

pub(super) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes `bytes` as a blob below `folder`.
pub(super) fn layer(folder: &Path, bytes: &[u8], media_type: &str) -> Layer {
    let digest = digest(bytes);
    let path = folder.join(digest.replace(':', "-"));
    fs::write(&path, bytes).unwrap();
    Layer { digest, media_type: media_type.to_owned(), path }
}

/// An image of gzip layers, one for each list of files.
pub(super) fn image(folder: &Path, layers: &[Vec<File>], entrypoint: &[&str]) -> Image {
    let archives: Vec<Vec<u8>> = layers.iter().map(|files| archive(files)).collect();
    let layers: Vec<Layer> = archives
        .iter()
        .map(|archive| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(archive).unwrap();
            layer(folder, &gzip.finish().unwrap(), "application/vnd.oci.image.layer.v1.tar+gzip")
        })
        .collect();
    let diff_ids: Vec<String> = archives.iter().map(|archive| digest(archive)).collect();
    let configuration = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": entrypoint },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let Layer { digest: named, path, .. } = layer(folder, configuration.to_string().as_bytes(), "");
    let digests: String = layers.iter().map(|layer| layer.digest.as_str()).collect();
    Image {
        reference: "test".to_owned(),
        digest: digest(digests.as_bytes()),
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        config: ImageConfig {
            entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
            ..ImageConfig::default()
        },
        configuration: Blob { digest: named, path },
        layers,
    }
}

/// The engine that the tests are to use, which `tests/conformance/engines` starts and names.
#[cfg(feature = "engine-tests")]
fn engines(kind: RuntimeKind) -> EngineSockets {
    match kind {
        RuntimeKind::Docker => EngineSockets { paths: vec![engine()], refused: None },
        RuntimeKind::Namespace | RuntimeKind::Process => EngineSockets::default(),
    }
}

#[cfg(feature = "engine-tests")]
#[expect(clippy::disallowed_methods, reason = "the script that starts the engine says where it listens")]
pub(super) fn engine() -> PathBuf {
    std::env::var("CARRACK_TEST_ENGINE").expect("CARRACK_TEST_ENGINE names an engine's socket").into()
}

#[cfg(not(feature = "engine-tests"))]
fn engines(_: RuntimeKind) -> EngineSockets {
    EngineSockets::default()
}

/// A runtime in a folder of its own, with an image of the static program.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) instance: String,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) image: Image,
}

impl Bench {
    pub(crate) async fn new(kind: RuntimeKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let instance = uuid::Uuid::new_v4().to_string();
        let engines = engines(kind);
        let runtime =
            choose(Some(kind), &folder.path().join("run"), &example("launcher"), &instance, &engines).await.unwrap();
        let files = vec![
            File::regular("app", &fs::read(static_program()).unwrap()),
            // Docker lets nobody into a folder that no entry stands for.
            File::new("etc", tar::EntryType::Directory),
            File { mode: 0o644, ..File::regular("etc/text", b"just text") },
            File::regular("etc/program", b"not a program"),
        ];
        let image = image(folder.path(), &[files], &["/app"]);
        Self { folder, instance, runtime, image }
    }

    /// Starts `/app` with `arguments`.
    pub(super) async fn start(&self, arguments: &[&str]) -> Running {
        self.launch(arguments, |_| {}).await.unwrap()
    }

    pub(super) async fn launch(
        &self,
        arguments: &[&str],
        change: impl FnOnce(&mut Launch),
    ) -> Result<Running, LaunchError> {
        let (output, lines) = mpsc::channel(1024);
        let mut launch = Launch {
            id: uuid::Uuid::new_v4().to_string(),
            image: self.image.clone(),
            command: Vec::new(),
            args: arguments.iter().map(|&word| word.to_owned()).collect(),
            env: Vec::new(),
            working_dir: None,
            port: Some(8080),
            reached: Vec::new(),
            memory: None,
            mounts: Vec::new(),
            company: Company::Nobody,
            output,
        };
        change(&mut launch);
        let instance = self.runtime.launch(launch).await?;
        Ok(Running { instance, lines })
    }

    /// Every process of this bench is gone; says which are not.
    pub(crate) fn assert_nothing_is_left(&self) {
        assert_eq!(sweep(&self.instance, Duration::ZERO), 0, "processes are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.folder.path().to_str().unwrap()), "{mounts}");
        let containers: Vec<_> = fs::read_dir(self.folder.path().join("run/containers"))
            .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect());
        assert!(containers.is_empty(), "{containers:?}");
    }
}

/// Whether no process of a bench is left.
pub(crate) fn is_empty(bench: &Bench) -> bool {
    crate::runtime::sweep::find(&bench.instance).is_empty()
}

/// Also when a test fails: an engine outlives it.
#[cfg(feature = "engine-tests")]
impl Drop for Bench {
    fn drop(&mut self) {
        if self.runtime.kind() == RuntimeKind::Docker {
            let instance = self.instance.clone();
            // Not in the test's own runtime, which cannot wait here.
            let swept = std::thread::spawn(move || {
                let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                tokio.block_on(crate::runtime::sweep_engine(&engine(), &instance)).unwrap();
            });
            assert!(swept.join().is_ok() || std::thread::panicking(), "the engine is not swept");
        }
    }
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) instance: Arc<dyn Instance>,
    pub(super) lines: mpsc::Receiver<Line>,
}

impl Running {
    /// No capabilities, and no way to new ones.
    pub(super) async fn assert_no_rights(&self) {
        self.assert_no_rights_at(8080).await;
    }

    pub(super) async fn assert_no_rights_at(&self, port: u16) {
        let status = self.ask_at(port, "read /proc/self/status").await;
        for line in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
            assert!(status.contains(&format!("{line}:\t0000000000000000")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }

    /// The program's answer to one line, as soon as it listens.
    pub(super) async fn ask(&self, line: &str) -> String {
        self.ask_at(8080, line).await
    }

    pub(super) async fn ask_at(&self, port: u16, line: &str) -> String {
        let connected = async {
            loop {
                match self.instance.connect(port).await {
                    Ok(stream) => return stream,
                    // There is no other sign that a program listens than that it does.
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let mut stream = timeout(LONG, connected).await.unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    pub(super) async fn exited(&self) -> Exit {
        timeout(LONG, self.instance.exited()).await.unwrap()
    }
}
