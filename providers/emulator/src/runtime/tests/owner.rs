//! Both runtimes in a process of its own: killed at once, as an ordinary user, and where namespaces are refused.
use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use super::support::{File, LONG, archive, example, layer, static_program};
use crate::runtime::sweep::{find, wait_for};

/// `nobody`, in place of root.
const ORDINARY: u32 = 65534;

/// A running owner. Its programs are copies in a folder that an ordinary user may enter.
struct Owner {
    folder: tempfile::TempDir,
    instance: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

#[derive(Clone, Copy, Default)]
struct How<'how> {
    kind: &'how str,
    ordinary: bool,
    without_namespaces: bool,
}

impl Owner {
    fn start(how: How<'_>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let instance = uuid::Uuid::new_v4().to_string();
        let copied = |from: &Path, name: &str| {
            let to = folder.path().join(name);
            fs::copy(from, &to).unwrap();
            to
        };
        let owner = copied(&example("owner"), "owner");
        let launcher = copied(&example("launcher"), "launcher");
        let app = fs::read(static_program()).unwrap();
        let blob =
            layer(folder.path(), &archive(&[File::regular("app", &app)]), "application/vnd.oci.image.layer.v1.tar");
        let mut command = if how.without_namespaces {
            let mut command = Command::new(copied(without_namespaces(), "without_namespaces"));
            command.arg(owner);
            command
        } else {
            Command::new(owner)
        };
        if how.ordinary && rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(ORDINARY), Some(ORDINARY)).unwrap();
            command.uid(ORDINARY).gid(ORDINARY);
        }
        let mut child = command
            .arg(how.kind)
            .arg(folder.path().join("run"))
            .arg(launcher)
            .arg(&instance)
            .arg(&blob.path)
            .arg(&blob.digest)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { folder, instance, child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Everything of the container ends; says what does not.
    fn assert_all_ends(&self, mut running: Vec<crate::runtime::sweep::Found>) {
        assert!(!running.is_empty(), "the container was never there");
        wait_for(&mut running, LONG);
        assert!(running.is_empty(), "{} processes are left", running.len());
        assert!(find(&self.instance).is_empty());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.folder.path().to_str().unwrap()), "{mounts}");
    }

    fn stop(mut self) -> String {
        let running = find(&self.instance);
        drop(self.child.stdin.take());
        let last = self.line();
        assert!(self.child.wait().unwrap().success());
        self.assert_all_ends(running);
        last
    }
}

/// `tests/support/without_namespaces.c`, compiled once.
fn without_namespaces() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("without_namespaces");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/without_namespaces.c");
        assert!(Command::new("cc").args(["-O", "-Wall", "-o"]).arg(&path).arg(source).status().unwrap().success());
        (folder, path)
    });
    path
}

fn killed_at_once(how: How<'_>) {
    killed_with(how, &["stubborn", "daemon", "serve"]);
}

fn killed_with(how: How<'_>, words: &[&str]) {
    let mut owner = Owner::start(how, words);
    assert!(owner.line().starts_with("runtime: "));
    assert_eq!(owner.line(), "answer: hello");
    let running = find(&owner.instance);
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    owner.assert_all_ends(running);
}

#[test]
fn a_killed_owner_leaves_nothing() {
    killed_at_once(How { kind: "namespace", ..How::default() });
    killed_at_once(How { kind: "process", ..How::default() });
}

/// The launcher has two threads that wait for children, and grandchildren become its own only when it has killed their
/// parents: whoever is late must be seen all the same.
#[test]
fn a_killed_owner_leaves_no_grandchildren() {
    for _ in 0..10 {
        killed_with(How { kind: "process", ..How::default() }, &["stubborn", "family", "family", "serve"]);
    }
    killed_with(How { kind: "namespace", ..How::default() }, &["stubborn", "family", "family", "serve"]);
}

#[test]
fn a_killed_owner_leaves_nothing_of_an_ordinary_user() {
    killed_at_once(How { kind: "namespace", ordinary: true, ..How::default() });
    killed_at_once(How { kind: "process", ordinary: true, ..How::default() });
}

#[test]
fn an_ordinary_user_has_namespaces() {
    let mut owner = Owner::start(How { kind: "any", ordinary: true, ..How::default() }, &["graceful", "serve"]);
    assert_eq!(owner.line(), "runtime: namespace");
    assert_eq!(owner.line(), "answer: hello");
    assert_eq!(owner.stop(), "exit: Exit { code: Some(3), signal: None, out_of_memory: false }");
}

#[test]
fn an_ordinary_user_has_processes() {
    let mut owner = Owner::start(How { kind: "process", ordinary: true, ..How::default() }, &["graceful", "serve"]);
    assert_eq!(owner.line(), "runtime: process (not isolated)");
    assert_eq!(owner.line(), "answer: hello");
    assert_eq!(owner.stop(), "exit: Exit { code: Some(3), signal: None, out_of_memory: false }");
}

#[test]
fn without_namespaces_a_process_is_left() {
    for ordinary in [false, true] {
        let how = How { kind: "any", ordinary, without_namespaces: true };
        let mut owner = Owner::start(how, &["graceful", "serve"]);
        assert_eq!(owner.line(), "runtime: process (not isolated)");
        assert_eq!(owner.line(), "answer: hello");
        assert_eq!(owner.stop(), "exit: Exit { code: Some(3), signal: None, out_of_memory: false }");
    }
}

#[test]
fn a_runtime_that_was_asked_for_is_not_replaced() {
    let how = How { kind: "namespace", ordinary: false, without_namespaces: true };
    let mut owner = Owner::start(how, &["serve"]);
    let refusal = owner.line();
    assert_eq!(
        refusal,
        "failed: containers cannot run here; namespace: making namespaces: Operation not permitted (os error 1)"
    );
    assert!(!owner.child.wait().unwrap().success());
}
