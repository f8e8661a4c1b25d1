//! What the test binaries share: a hermetic `carrack`, and a local cloud of its own.
#![expect(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::disallowed_methods, reason = "a test reads its environment, and waits for a process to start")]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use carrack::registry::{Access, LOCAL_PROJECT, LOCAL_PROVIDER, LOCAL_REGION, Place, connect};
use carrack_core::{
    event::Ctx,
    provider::Provider,
    spec::{ImageRef, ProviderId},
};
use carrack_http::{Client, ClientOptions, Endpoint, Request};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue, USER_AGENT},
};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The program under test.
pub(crate) const CARRACK: &str = env!("CARGO_BIN_EXE_carrack");
/// The repository's root.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The target that static programs are built for.
pub(crate) const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// `carrack` with an environment that has nothing of the user's.
pub(crate) fn carrack(state: &Path) -> Command {
    let mut command = Command::new(CARRACK);
    command.env_clear().env("CARRACK_STATE_DIR", state).env("HOME", state).stdin(Stdio::null());
    for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Cargo and rustup find themselves by the real home.
    if std::env::var_os("CARGO_HOME").is_none()
        && let Some(home) = std::env::home_dir()
    {
        command.env("CARGO_HOME", home.join(".cargo")).env("RUSTUP_HOME", home.join(".rustup"));
    }
    command
}

/// The test program, compiled once.
pub(crate) fn app() -> &'static Path {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    APP.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("app-{}", std::process::id()));
        let status = Command::new("rustc")
            .args(["--edition", "2024", "-O", "--target", STATIC_TARGET, "-C", "target-feature=+crt-static", "-o"])
            .arg(&to)
            .arg(Path::new(ROOT).join("tests/support/app.rs"))
            .status()
            .unwrap();
        assert!(status.success(), "rustc compiles the test program");
        to
    })
}

/// A folder with a carrack.toml whose image is the test program.
pub(crate) fn project(dir: &Path, name: &str, rest: &str) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::copy(app(), dir.join("app")).unwrap();
    let file = dir.join("carrack.toml");
    let text = format!(
        "[service]\nname = \"{name}\"\nport = 8080\npublic = true\n\n[image]\nname = \"{name}\"\n[image.build]\nbase = \"scratch\"\n\
         files = [{{ from = \"app\", to = \"/app\" }}]\nentrypoint = [\"/app\"]\n{rest}"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Held shared by whoever runs containers, and alone by whoever looks for what they leave behind:
/// the kernel gives a namespace's number to the next one.
static CONTAINERS: RwLock<()> = RwLock::const_new(());

/// Nobody else in this test binary runs containers meanwhile.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    CONTAINERS.blocking_write()
}

/// Where the next local cloud writes its exchanges for `tests/conformance/referee`, when CARRACK_TEST_RECORD names a folder.
fn recording() -> Option<String> {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let folder = std::env::var_os("CARRACK_TEST_RECORD")?;
    let program = std::env::args().next().unwrap();
    let program = Path::new(&program).file_stem().unwrap().to_string_lossy().into_owned();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = Path::new(&folder).join(format!("{program}-{}-{number}.jsonl", std::process::id()));
    Some(format!("--record={}", file.display()))
}

/// A local cloud in the foreground, for as long as this value lives.
pub(crate) struct LocalCloud {
    child: Child,
    dir: tempfile::TempDir,
    endpoint: String,
    registry: String,
    console: String,
    token: String,
    _containers: RwLockReadGuard<'static, ()>,
}

impl LocalCloud {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_as(arguments, |_, _| {})
    }

    /// Of a command that `change` may change; it is told the folder, too.
    pub(crate) fn start_as(arguments: &[&str], change: impl FnOnce(&mut Command, &Path)) -> Self {
        let containers = CONTAINERS.blocking_read();
        let dir = tempfile::tempdir().unwrap();
        let mut command = carrack(dir.path());
        command.args(["emulator", "start", "--foreground"]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        change(&mut command, dir.path());
        if !command.get_args().any(|argument| argument == "--record") {
            command.args(recording());
        }
        let mut child = command.spawn().unwrap();
        let file = dir.path().join("emulator.json");
        let end = Instant::now() + Duration::from_secs(20);
        let state: serde_json::Value = loop {
            assert!(Instant::now() < end, "the local cloud starts within 20 s");
            assert!(child.try_wait().unwrap().is_none(), "the local cloud ended early");
            if let Some(state) = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                break state;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Self {
            endpoint: text(&state["addresses"]["google"]),
            registry: text(&state["addresses"]["registry"]),
            console: text(&state["addresses"]["console"]),
            token: text(&state["token"]),
            child,
            dir,
            _containers: containers,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `HOST:PORT` of its registry.
    pub(crate) fn registry(&self) -> String {
        self.registry.trim_start_matches("http://").to_owned()
    }

    /// Google's face, the console, and the token of both.
    pub(crate) fn parts(&self) -> (&str, &str, &str) {
        (&self.endpoint, &self.console, &self.token)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A command that finds this local cloud.
    pub(crate) fn carrack(&self) -> Command {
        carrack(self.dir.path())
    }

    /// Runs `carrack ARGUMENTS` and gives its output.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.carrack().args(arguments).output().unwrap()
    }

    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        let place = Place {
            provider: ProviderId(LOCAL_PROVIDER.into()),
            scope: LOCAL_PROJECT.into(),
            region: LOCAL_REGION.into(),
            federation: None,
        };
        let access = Access::Endpoint { endpoint: Endpoint::parse(&self.endpoint).unwrap(), token: self.token.clone() };
        connect(&place, &access).unwrap().provider
    }

    /// What another client of the cloud does: one call with a JSON body, as it stands.
    pub(crate) fn call(&self, method: Method, url: &str, body: Option<&Value>) -> Value {
        let endpoint = Some(Endpoint::parse(&self.endpoint).unwrap());
        let http = Client::new(ClientOptions { endpoint, ..ClientOptions::default() }).unwrap();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token)).unwrap();
        // Not by Carrack's own name: what others send is judged otherwise.
        let name = HeaderValue::from_static("another-client/1.0");
        let mut request = Request::new(method, url).header(AUTHORIZATION, bearer).header(USER_AGENT, name);
        if let Some(body) = body {
            request = request.json(body).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(http.send(&Ctx::silent(), request)).unwrap().json().unwrap()
    }

    /// Builds and pushes the test program; images of different names differ.
    pub(crate) fn push_app(&self, name: &str) -> ImageRef {
        let file = project(&self.dir.path().join(name), name, &format!("env = {{ NAME = \"{name}\" }}\n"));
        let output = self.carrack().args(["push", "--local", "--quiet", "-f"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ImageRef(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// The write requests that it got so far.
    pub(crate) fn writes(&self) -> Vec<String> {
        let output = self.run(&["emulator", "requests", "--format", "json"]);
        let lines = String::from_utf8(output.stdout).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|request| !matches!(request["method"].as_str(), Some("GET" | "HEAD")))
            .map(|request| format!("{} {}", request["method"].as_str().unwrap(), request["path"].as_str().unwrap()))
            .collect()
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        let _ = self.run(&["emulator", "stop", "--quiet"]);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
