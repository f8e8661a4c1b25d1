//! The background process: for root, for an ordinary user, with namespaces denied; and nothing stays behind.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;
use tokio::sync::RwLockWriteGuard;

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{CARRACK, ROOT, alone, carrack, project},
};

/// Who runs it, and what is in the way.
#[derive(Clone, Copy)]
enum Circumstances {
    AsWeAre,
    OrdinaryUser,
    NamespacesDenied,
    OrdinaryUserAndNamespacesDenied,
}

/// Any ordinary user will do; this one is on every machine.
const NOBODY: u32 = 65534;

struct World {
    dir: tempfile::TempDir,
    circumstances: Circumstances,
    file: PathBuf,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl World {
    fn new(circumstances: Circumstances) -> Self {
        let alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let file = project(&dir.path().join("shop"), "shop", "");
        // An ordinary user may be kept out of the folder that the program was built in.
        fs::copy(CARRACK, dir.path().join("carrack")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let world = Self { dir, circumstances, file, _alone: alone };
        if world.drops_root() {
            for entry in walkdir::WalkDir::new(world.dir.path()) {
                std::os::unix::fs::chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        world
    }

    fn drops_root(&self) -> bool {
        use Circumstances::{OrdinaryUser, OrdinaryUserAndNamespacesDenied};
        // Whoever is not root is an ordinary user already.
        let wanted = matches!(self.circumstances, OrdinaryUser | OrdinaryUserAndNamespacesDenied);
        wanted && fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        use Circumstances::{NamespacesDenied, OrdinaryUserAndNamespacesDenied};
        let state = self.dir.path().join("state");
        let template = carrack(&state);
        let program = self.dir.path().join("carrack");
        let mut command = if matches!(self.circumstances, NamespacesDenied | OrdinaryUserAndNamespacesDenied) {
            let mut command = Command::new(without_namespaces());
            command.arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.env_clear().envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if self.drops_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .args(arguments)
            .arg("-f")
            .arg(&self.file)
            .current_dir(self.dir.path())
            .stdin(std::process::Stdio::null());
        command.output().unwrap()
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.path().join("state/emulator.json")).unwrap()).unwrap()
    }

    /// Deploys, and gives the runtime's name and the output.
    fn deploy(&self) -> (String, Output) {
        let output = ok(self.run(&["deploy", "--local"]));
        assert!(stderr(&output).contains("answered 200 in "), "{}", shown(&output, &[]));
        assert!(stderr(&output).contains("carrack emulator stop"), "it says how to stop it: {}", stderr(&output));
        (self.state()["runtime"].as_str().unwrap().to_owned(), output)
    }
}

/// Also when a test fails.
impl Drop for World {
    fn drop(&mut self) {
        self.run(&["emulator", "stop", "--quiet"]);
    }
}

/// The wrapper that denies namespaces, compiled once.
fn without_namespaces() -> &'static Path {
    static WRAPPER: OnceLock<PathBuf> = OnceLock::new();
    WRAPPER.get_or_init(|| {
        // In a folder that an ordinary user may enter.
        let to = std::env::temp_dir().join(format!("without_namespaces-{}", std::process::id()));
        let source = Path::new(ROOT).join("tests/support/without_namespaces.c");
        assert!(Command::new("cc").arg("-o").arg(&to).arg(source).status().unwrap().success());
        to
    })
}

/// Processes of one instance of the local cloud, and the namespaces that they are in and we are not.
fn traces(instance: &str) -> (Vec<String>, BTreeSet<PathBuf>) {
    let needle = format!("CARRACK_INSTANCE={instance}");
    let mut processes = Vec::new();
    let mut namespaces = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if !environment.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes()) {
            continue;
        }
        processes.push(entry.file_name().to_string_lossy().into_owned());
        namespaces.extend(namespaces_of(&entry.path()));
    }
    for own in namespaces_of(Path::new("/proc/self")) {
        namespaces.remove(&own);
    }
    (processes, namespaces)
}

fn namespaces_of(process: &Path) -> Vec<PathBuf> {
    ["mnt", "net", "pid", "user"].iter().filter_map(|kind| fs::read_link(process.join("ns").join(kind)).ok()).collect()
}

/// An orphan that has ended, and that init has not reaped yet.
fn is_zombie(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn assert_nothing_left(world: &World, instance: &str, namespaces: &BTreeSet<PathBuf>) {
    assert_eq!(traces(instance).0, [""; 0], "no process stays");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(world.dir.path().to_str().unwrap()), "no mount stays: {mounts}");
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        // The kernel gives a namespace's number to the next one: other tests make theirs meanwhile.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains("CARRACK_INSTANCE=") || is_zombie(&entry.path()) {
            continue;
        }
        for held in namespaces_of(&entry.path()) {
            assert!(!namespaces.contains(&held), "{held:?} is still held by {:?}", entry.file_name());
        }
    }
    assert!(!world.dir.path().join("state/emulator.json").exists());
}

fn comes_and_goes(circumstances: Circumstances, runtime: &str) {
    let world = World::new(circumstances);
    let (chosen, output) = world.deploy();
    assert!(chosen.starts_with(runtime), "{chosen}");
    assert_eq!(stderr(&output).contains("not isolated"), runtime == "process", "{}", stderr(&output));
    let instance = world.state()["instance"].as_str().unwrap().to_owned();
    let (processes, namespaces) = traces(&instance);
    assert!(!processes.is_empty(), "the container carries its instance");
    assert_eq!(namespaces.is_empty(), runtime == "process", "{namespaces:?}");
    ok(world.run(&["emulator", "stop"]));
    assert_nothing_left(&world, &instance, &namespaces);
}

#[test]
fn as_we_are() {
    comes_and_goes(Circumstances::AsWeAre, "namespace");
}

#[test]
fn as_an_ordinary_user() {
    comes_and_goes(Circumstances::OrdinaryUser, "namespace");
}

#[test]
fn with_namespaces_denied() {
    comes_and_goes(Circumstances::NamespacesDenied, "process");
}

#[test]
fn as_an_ordinary_user_with_namespaces_denied() {
    comes_and_goes(Circumstances::OrdinaryUserAndNamespacesDenied, "process");
}

fn killed(circumstances: Circumstances) {
    let world = World::new(circumstances);
    world.deploy();
    let state = world.state();
    let instance = state["instance"].as_str().unwrap();
    let (_, namespaces) = traces(instance);
    let pid = state["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    ok(world.run(&["emulator", "stop"]));
    assert_nothing_left(&world, instance, &namespaces);
}

#[test]
fn after_kill_9() {
    killed(Circumstances::AsWeAre);
}

#[test]
fn after_kill_9_with_namespaces_denied() {
    killed(Circumstances::NamespacesDenied);
}

impl World {
    /// The program becomes another build: a copy is the same one, what differs by a byte is not.
    fn rebuild(&self, by: &[u8]) {
        let copy = self.dir.path().join("copy");
        fs::copy(CARRACK, &copy).unwrap();
        fs::File::options().append(true).open(&copy).unwrap().write_all(by).unwrap();
        fs::rename(&copy, self.dir.path().join("carrack")).unwrap();
    }
}

#[test]
fn a_process_of_another_build_is_replaced() {
    let world = World::new(Circumstances::AsWeAre);
    world.deploy();
    let first = world.state();
    world.rebuild(&[]);
    ok(world.run(&["deploy", "--local"]));
    assert_eq!(world.state()["pid"], first["pid"]);
    world.rebuild(&[0]);
    let output = ok(world.run(&["deploy", "--local"]));
    assert!(stderr(&output).contains("another build"), "{}", stderr(&output));
    assert_ne!(world.state()["pid"], first["pid"]);
    assert_eq!(traces(first["instance"].as_str().unwrap()).0, [""; 0]);
    ok(world.run(&["emulator", "stop"]));
}

#[test]
fn what_replaces_another_build_is_started_as_that_was() {
    let world = World::new(Circumstances::AsWeAre);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    ok(world.run(&["emulator", "start", "--latency", "7ms", "--idle", "8h", "--runtime", "process", "--port", &port]));
    let first = world.state();
    world.rebuild(&[0]);
    ok(world.run(&["plan", "--local"]));
    let second = world.state();
    assert_ne!(second["pid"], first["pid"]);
    for what in ["latency_ms", "runtime"] {
        assert_eq!(second[what], first[what]);
    }
    assert_eq!(second["addresses"]["google"], first["addresses"]["google"]);
    assert_eq!((&second["asked"], second["asked"].as_array().map(Vec::len)), (&first["asked"], Some(4)));
    // Unless it is told otherwise.
    world.rebuild(&[0, 0]);
    ok(world.run(&["emulator", "start", "--latency", "9ms"]));
    assert_eq!((world.state()["latency_ms"].as_u64(), &world.state()["runtime"]), (Some(9), &first["runtime"]));
}

#[test]
fn what_records_is_not_replaced_by_another_build() {
    let world = World::new(Circumstances::AsWeAre);
    let file = world.dir.path().join("calls");
    ok(world.run(&["emulator", "start", "--record", file.to_str().unwrap()]));
    let first = world.state();
    world.rebuild(&[0]);
    for arguments in [&["plan", "--local"][..], &["emulator", "start"]] {
        let output = world.run(arguments);
        assert_eq!(output.status.code(), Some(41), "{}", shown(&output, &[]));
        assert!(stderr(&output).contains(&format!("its recording is `{}`", file.display())), "{}", stderr(&output));
        assert!(stderr(&output).contains("help: end both first: `carrack emulator stop`"), "{}", stderr(&output));
    }
    assert_eq!(world.state()["pid"], first["pid"]);
    ok(world.run(&["emulator", "stop"]));
    assert!(fs::read_to_string(&file).unwrap().starts_with("{\"end\":"), "it has its end");
    ok(world.run(&["emulator", "start"]));
}

#[test]
fn stop_without_a_start_and_status() {
    let world = World::new(Circumstances::AsWeAre);
    let output = ok(world.run(&["emulator", "stop"]));
    assert!(stderr(&output).contains("no local cloud runs"), "{}", stderr(&output));
    assert!(stdout(&ok(world.run(&["emulator", "status"]))).contains("no local cloud runs"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = World::new(Circumstances::AsWeAre);
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let output = world.run(&["emulator", "start", "--port", &port]);
    assert_eq!(output.status.code(), Some(41), "{}", shown(&output, &[]));
    assert!(stderr(&output).contains(&port), "{}", stderr(&output));
}

#[test]
fn an_engine_that_does_not_answer_is_said() {
    let world = World::new(Circumstances::AsWeAre);
    let silent = world.dir.path().join("engine.sock");
    // A file that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&silent).unwrap());
    for (host, expected) in [
        (
            "tcp://user:secret@engine.example:2375",
            "docker: DOCKER_HOST must begin with `unix://`, and has `tcp`".to_owned(),
        ),
        ("unix:///nonexistent/engine.sock", "docker: `/nonexistent/engine.sock`: no such file".to_owned()),
        (&format!("unix://{}", silent.display()), "Connection refused".to_owned()),
    ] {
        let mut command = carrack(&world.dir.path().join("state"));
        let output =
            command.args(["emulator", "start", "--runtime", "docker"]).env("DOCKER_HOST", host).output().unwrap();
        let log = fs::read_to_string(world.dir.path().join("state/emulator.log")).unwrap();
        ok(world.run(&["emulator", "stop"]));
        assert!(stderr(&output).contains("can run no containers"), "{}", shown(&output, &[]));
        assert!(log.contains(&expected) && !log.contains("secret"), "{log}");
    }
}

#[test]
fn a_runtime_that_cannot_be_is_said() {
    let world = World::new(Circumstances::NamespacesDenied);
    let output = world.run(&["emulator", "start", "--runtime", "namespace"]);
    ok(world.run(&["emulator", "stop"]));
    assert!(stderr(&output).contains("can run no containers"), "{}", shown(&output, &[]));
}
