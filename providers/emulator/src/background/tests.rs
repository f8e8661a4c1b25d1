//! Start and stop with a real process: a shell that takes the lock as the local cloud does.
use std::{
    cell::RefCell,
    ffi::OsString,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{BackgroundError, Ensured, Paths, Start, State, Swept, ensure, process, stop};

/// `$1` = state folder, `$2` = build, `$3` = console's address, `$4` = a signal to ignore.
const PROGRAM: &str = r#"
echo "starting $2"
exec 9>>"$1/emulator.lock"
flock -n 9 || { echo "busy" >&2; exit 3; }
printf %s $$ > "$1/emulator.lock"
[ -n "$4" ] && trap '' "$4"
cat > "$1/new.json" <<JSON
{"pid":$$,"started":"2026-01-02T03:04:05Z","build":"$2","instance":"instance-$2","token":"t0","runtime":null,
 "addresses":{"google":"http://127.0.0.1:1","registry":"127.0.0.1:1","console":"$3"},"unknown":1}
JSON
mv "$1/new.json" "$1/emulator.json"
exec sleep 600
"#;

/// Nothing listens there, so the console cannot be asked.
const NO_CONSOLE: &str = "http://127.0.0.1:1";

struct Bench {
    _dir: TempDir,
    paths: Paths,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path()).unwrap();
        Self { _dir: dir, paths }
    }

    fn start(&self, build: &str, console: &str, ignored: &str) -> Start {
        let dir = self.paths.dir.display().to_string();
        self.shell(build, &["-c", PROGRAM, "sh", &dir, build, console, ignored])
    }

    fn shell(&self, build: &str, arguments: &[&str]) -> Start {
        Start {
            program: PathBuf::from("/bin/sh"),
            arguments: arguments.iter().map(OsString::from).collect(),
            build: build.to_owned(),
            wait: Duration::from_secs(20),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(Some(state)) = State::read(&self.paths) {
            process::signal(state.pid, Signal::KILL);
        }
    }
}

async fn nothing(_: &State, _: Duration) -> Swept {
    Swept::default()
}

fn pid(state: &State) -> Pid {
    Pid::from_raw(i32::try_from(state.pid).unwrap()).unwrap()
}

fn is_dead(state: &State) -> bool {
    !process::is_running(state.pid)
}

#[tokio::test]
async fn two_callers_at_once_get_one_process() {
    let bench = Bench::new();
    let start = bench.start("one", NO_CONSOLE, "");
    let (first, second) = tokio::join!(ensure(&bench.paths, &start), ensure(&bench.paths, &start));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.state().pid, second.state().pid);
    let started = [&first, &second].iter().filter(|ensured| matches!(ensured, Ensured::Started(_))).count();
    assert_eq!(started, 1, "{first:?} {second:?}");
    assert!(matches!(ensure(&bench.paths, &start).await.unwrap(), Ensured::Running(_)));

    assert!(stop(&bench.paths, nothing).await.unwrap());
    assert!(is_dead(first.state()));
    assert!(!bench.paths.state().exists());
    assert!(!stop(&bench.paths, nothing).await.unwrap());
}

#[tokio::test]
async fn another_build_is_replaced() {
    let bench = Bench::new();
    let one = ensure(&bench.paths, &bench.start("one", NO_CONSOLE, "")).await.unwrap();
    let two = ensure(&bench.paths, &bench.start("two", NO_CONSOLE, "")).await.unwrap();
    let Ensured::Replaced { state, old } = two else { panic!("{two:?}") };
    assert_eq!((old.pid, old.build.as_str()), (one.state().pid, "one"));
    assert_eq!(state.build, "two");
    assert!(is_dead(&old));
    assert!(!is_dead(&state));
}

#[tokio::test]
async fn a_killed_one_is_still_swept() {
    let bench = Bench::new();
    let start = bench.start("one", NO_CONSOLE, "");
    let state = ensure(&bench.paths, &start).await.unwrap().state().clone();
    kill_process(pid(&state), Signal::KILL).unwrap();
    while State::read(&bench.paths).unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    let swept = RefCell::new(Vec::new());
    let sweep = async |state: &State, _: Duration| {
        swept.borrow_mut().push(state.instance.clone());
        // Something is left the first time.
        Swept { ended: 2, incomplete: swept.borrow().len() == 1 }
    };
    for left in [true, false] {
        assert!(stop(&bench.paths, sweep).await.unwrap());
        assert_eq!(bench.paths.state().exists(), left);
    }
    assert!(!stop(&bench.paths, sweep).await.unwrap());
    assert_eq!(*swept.borrow(), ["instance-one", "instance-one"]);
    assert!(matches!(ensure(&bench.paths, &start).await.unwrap(), Ensured::Started(_)));
}

#[tokio::test]
async fn an_early_end_shows_the_last_lines_of_its_log() {
    let bench = Bench::new();
    std::fs::write(bench.paths.log(), "an earlier run\n").unwrap();
    let start = bench.shell("one", &["-c", "echo on stdout; echo on stderr >&2; exit 7"]);
    let error = ensure(&bench.paths, &start).await.unwrap_err();
    let BackgroundError::Ended { last_lines, status, .. } = &error else { panic!("{error:?}") };
    assert_eq!(last_lines, &["on stdout", "on stderr"]);
    assert!(status.contains('7'), "{status}");
    assert!(error.to_string().contains("\n  on stderr"), "{error}");
}

#[tokio::test]
async fn one_that_is_never_ready_is_ended() {
    let bench = Bench::new();
    let pid_file = bench.paths.dir.join("pid");
    let script = format!("echo $$ > '{}'; exec sleep 600", pid_file.display());
    let mut start = bench.shell("one", &["-c", &script]);
    start.wait = Duration::from_millis(200);
    let error = ensure(&bench.paths, &start).await.unwrap_err();
    assert!(matches!(error, BackgroundError::NotReady { .. }), "{error:?}");
    if let Ok(text) = std::fs::read_to_string(pid_file) {
        let pid = Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        assert!(test_kill_process(pid).is_err(), "it was killed and waited for");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so() {
    let bench = Bench::new();
    let mut start = bench.shell("one", &[]);
    start.program = PathBuf::from("/nowhere/carrack");
    let error = ensure(&bench.paths, &start).await.unwrap_err();
    assert!(matches!(error, BackgroundError::Spawn { .. }), "{error:?}");
}

#[tokio::test]
async fn the_console_is_asked_first_with_the_token() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let console = format!("http://{}", listener.local_addr().unwrap());
    // It would not end by SIGTERM.
    let state = ensure(&bench.paths, &bench.start("one", &console, "TERM")).await.unwrap().state().clone();
    let victim = pid(&state);
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).await.unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // What the local cloud does then: it ends by itself.
        kill_process(victim, Signal::KILL).unwrap();
        String::from_utf8(request).unwrap().to_lowercase()
    });
    let begin = Instant::now();
    assert!(stop(&bench.paths, nothing).await.unwrap());
    assert!(begin.elapsed() < Duration::from_secs(10), "it went by signals: {:?}", begin.elapsed());
    let request = served.await.unwrap();
    assert!(request.starts_with("post /stop http/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: bearer t0\r\n"), "{request}");
}
