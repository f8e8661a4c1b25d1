//! What a container does, the same for every runtime.
use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::time::timeout;

use super::support::{Bench, LONG};
use crate::runtime::{
    Exit, LaunchError, RuntimeKind, Stream,
    memory::MemoryLimit,
    sweep::{find, wait_for},
};

/// One test for each runtime.
macro_rules! for_each_runtime {
    ($($name:ident),+ $(,)?) => {
        mod namespace {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::RuntimeKind::Namespace).await;
            })+
        }
        #[cfg(feature = "engine-tests")]
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::RuntimeKind::Docker).await;
            })+
        }
        mod process {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::RuntimeKind::Process).await;
            })+
        }
    };
}

pub(super) use for_each_runtime;

for_each_runtime!(
    it_answers_and_stops,
    it_has_a_session_of_its_own,
    many_connections_at_once,
    the_exit_code_is_told,
    a_crash_is_a_signal,
    output_comes_line_by_line,
    a_stubborn_program_is_killed_after_the_grace,
    what_it_leaves_behind_is_ended,
    the_environment_is_what_was_asked_for,
    a_program_that_cannot_start_says_why,
    two_containers_do_not_share_files,
    a_dropped_container_ends,
    a_killed_launcher_takes_its_program_along,
    too_much_memory_is_a_kill,
);

async fn it_answers_and_stops(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    assert_eq!(bench.runtime.kind(), kind);
    let running = bench.start(&["graceful", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    let exit = running.instance.stop(LONG).await;
    assert_eq!(exit, Exit::code(3));
    assert_eq!(running.instance.stop(LONG).await, exit, "stop is idempotent");
    assert!(running.instance.connect(8080).await.is_err());
    bench.assert_nothing_is_left();
}

/// A program that could reach the terminal of the local cloud could type into it.
async fn it_has_a_session_of_its_own(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    let found = find(&bench.instance);
    let least = if kind == RuntimeKind::Docker { 1 } else { 2 };
    assert!(found.len() >= least, "the launcher and the program");
    let own = session("self");
    for process in &found {
        assert_ne!(session(&process.pid.as_raw_pid().to_string()), own);
    }
    running.instance.stop(Duration::ZERO).await;
}

/// The id of a process's session; 0 where its leader is outside of this process namespace, which getsid(2) of
/// rustix takes for impossible. <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn session(pid: &str) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().nth(3).unwrap().parse().unwrap()
}

async fn many_connections_at_once(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    let answers = futures_util::future::join_all((0..50).map(|_| running.ask("hello"))).await;
    assert!(answers.iter().all(|answer| answer == "hello"), "{answers:?}");
    running.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn the_exit_code_is_told(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["7"]).await;
    assert_eq!(running.exited().await, Exit::code(7));
    assert_eq!(running.exited().await, Exit::code(7));
    bench.assert_nothing_is_left();
}

async fn a_crash_is_a_signal(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["crash"]).await;
    assert_eq!(running.exited().await, Exit::signal(Signal::ABORT.as_raw()));
    bench.assert_nothing_is_left();
}

async fn output_comes_line_by_line(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let mut running = bench.start(&["lines"]).await;
    assert_eq!(running.exited().await, Exit::code(0));
    let mut lines = Vec::new();
    while let Some(line) = timeout(LONG, running.lines.recv()).await.unwrap() {
        lines.push((line.stream == Stream::Stderr, line.text));
    }
    lines.sort();
    let expected = [(false, "the end"), (false, "to stdout"), (false, "without newline:"), (true, "to stderr")];
    assert_eq!(lines, expected.map(|(stderr, text)| (stderr, text.to_owned())));
}

async fn a_stubborn_program_is_killed_after_the_grace(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["stubborn", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    let (grace, begin) = (Duration::from_millis(200), Instant::now());
    let exit = timeout(LONG, running.instance.stop(grace)).await.unwrap();
    assert_eq!(exit, Exit::signal(Signal::KILL.as_raw()));
    assert!(begin.elapsed() >= grace);
    bench.assert_nothing_is_left();
}

async fn what_it_leaves_behind_is_ended(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["daemon", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    running.instance.stop(LONG).await;
    bench.assert_nothing_is_left();
    let running = bench.start(&["daemon", "0"]).await;
    assert_eq!(running.exited().await, Exit::code(0));
    bench.assert_nothing_is_left();
}

async fn the_environment_is_what_was_asked_for(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench
        .launch(&["serve"], |launch| {
            launch.env = vec![("LEVEL".to_owned(), "warn".to_owned())];
            launch.working_dir = Some("/srv/new".to_owned());
        })
        .await
        .unwrap();
    let environment = running.ask("env").await;
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    if kind == RuntimeKind::Docker {
        // Engines add these, and no image can keep them from it.
        names.retain(|name| !["HOSTNAME", "TERM", "container"].contains(name));
    }
    names.sort_unstable();
    assert_eq!(names, ["CARRACK_INSTANCE", "HOME", "LEVEL", "PATH", "PORT"]);
    assert!(running.ask("directory").await.ends_with("/srv/new"));
    running.instance.stop(Duration::ZERO).await;
}

async fn a_program_that_cannot_start_says_why(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    for (program, expected) in [
        ("/missing", "cannot start `/missing`: the image has no such file"),
        ("/etc/text", "cannot start `/etc/text`: it is not executable (its mode is 0644)"),
        (
            "/etc/program",
            "cannot start `/etc/program`: it is neither an ELF program nor a script with `#!` (exec format error)",
        ),
    ] {
        let refused = bench.launch(&[], |launch| launch.command = vec![program.to_owned()]).await;
        let Err(LaunchError::Exec(text)) = refused else { panic!("{refused:?}") };
        assert_eq!(text, expected);
    }
    bench.assert_nothing_is_left();
}

async fn two_containers_do_not_share_files(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let in_root = |launch: &mut crate::runtime::Launch| launch.working_dir = Some("/etc".to_owned());
    let one = bench.launch(&["serve"], in_root).await.unwrap();
    let two = bench.launch(&["serve"], in_root).await.unwrap();
    assert_eq!(one.ask("write text changed").await, "ok");
    assert_eq!(one.ask("read text").await, "changed");
    assert_eq!(two.ask("read text").await, "just text");
    one.instance.stop(Duration::ZERO).await;
    two.instance.stop(Duration::ZERO).await;
    if kind == RuntimeKind::Docker {
        let third = bench.launch(&["serve"], in_root).await.unwrap();
        assert_eq!(third.ask("read text").await, "just text", "the image is as it was");
        third.instance.stop(Duration::ZERO).await;
        return bench.assert_nothing_is_left();
    }
    let cached = bench.folder.path().join("run/rootfs").join(bench.image.digest.replace("sha256:", ""));
    assert_eq!(fs::read_to_string(cached.join("etc/text")).unwrap(), "just text");
    bench.assert_nothing_is_left();
}

async fn a_dropped_container_ends(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let mut running = bench.start(&["stubborn", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    drop(running.instance);
    // The output ends with the last process.
    assert!(timeout(LONG, running.lines.recv()).await.unwrap().is_none());
}

/// Where this user may make control groups; elsewhere there is no limit to test.
async fn too_much_memory_is_a_kill(kind: RuntimeKind) {
    const LIMIT: u64 = 64 << 20;
    if MemoryLimit::create("test", "probe", LIMIT).is_none() {
        return;
    }
    let bench = Bench::new(kind).await;
    let running = bench.launch(&["eat"], |launch| launch.memory = Some(LIMIT)).await.unwrap();
    let exit = running.exited().await;
    // Not every engine says so; `engine` holds those to it that do.
    let out_of_memory = if kind == RuntimeKind::Docker { exit.out_of_memory } else { true };
    assert_eq!(exit, Exit { out_of_memory, ..Exit::signal(Signal::KILL.as_raw()) });
    assert!(MemoryLimit::create(&bench.instance, "probe", LIMIT).is_some());
    bench.assert_nothing_is_left();
}

async fn a_killed_launcher_takes_its_program_along(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.start(&["stubborn", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    let mut found = find(&bench.instance);
    // An engine's first process of the container carries the variable too, and is the eldest.
    let eldest = found.iter().map(|found| found.pid).min_by_key(|pid| pid.as_raw_pid());
    for process in
        found.iter().filter(|found| found.launcher || (kind == RuntimeKind::Docker && Some(found.pid) == eldest))
    {
        rustix::process::pidfd_send_signal(&process.descriptor, Signal::KILL).unwrap();
    }
    let killed = Exit::signal(Signal::KILL.as_raw());
    assert_eq!(running.exited().await, killed);
    wait_for(&mut found, LONG);
    assert!(found.is_empty());
    bench.assert_nothing_is_left();
}
