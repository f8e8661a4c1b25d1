//! The `run` line, and the tools that build a Dockerfile: their output, their end, their interruption.
use std::{
    collections::VecDeque,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event, Phase},
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use super::deadline::within;

/// Lines of output that are kept for the error.
const KEPT_LINES: usize = 20;
/// A longer line is shown in pieces, so that output without line ends does not fill the memory.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Between asking the process group to end and ending it.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is waited for after the shell ended: something it left in the background may hold the pipe.
const DRAIN: Duration = Duration::from_secs(1);

/// What `cargo run` sets for the program it runs, which is not meant for the cargo that this program runs: build
/// scripts and `rerun-if-env-changed` would see another package's. Variables that a user sets (CARGO_HOME,
/// CARGO_TARGET_DIR, RUSTFLAGS) stay.
/// <https://doc.rust-lang.org/cargo/reference/environment-variables.html#environment-variables-cargo-sets-for-crates>
const FROM_OUTER_CARGO: [&str; 25] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_LICENSE_FILE",
    "CARGO_PKG_NAME",
    "CARGO_PKG_README",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_RUSTC_CURRENT_DIR",
    "CARGO_TARGET_TMPDIR",
    "CARGO_UNSTABLE_SPARSE_REGISTRY",
    "OUT_DIR",
];

/// Runs `line` in a shell, in `directory`, and reports each line it prints.
pub(crate) async fn run(cx: &Ctx, line: &str, directory: &Path) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(directory);
    watch(cx, command, line, "image.build.run").await
}

/// Runs a command to its end and reports each line it prints; `line` and `field` are for its failure.
///
/// An interruption or the deadline ends it with everything it started.
pub(crate) async fn watch(cx: &Ctx, mut command: Command, line: &str, field: &str) -> Result<()> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that what it starts can be ended with it.
        .process_group(0);
    for name in FROM_OUTER_CARGO {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|error| {
        Error::new(ErrorKind::BuildFailed, format!("`{line}` cannot be run: {error}"))
            .at_field(field)
            .with_source(error)
    })?;
    let (sender, mut lines) = mpsc::channel(64);
    for reader in
        [child.stdout.take().map(|pipe| Box::new(pipe) as Pipe), child.stderr.take().map(|pipe| Box::new(pipe) as Pipe)]
            .into_iter()
            .flatten()
    {
        tokio::spawn(read_lines(reader, sender.clone()));
    }
    drop(sender);
    let mut output = Output { cx, last: VecDeque::new() };
    let group = Group::of(&child);
    let running = async {
        loop {
            tokio::select! {
                biased;
                Some(text) = lines.recv() => output.show(text),
                status = child.wait() => break status,
            }
        }
    };
    let what = format!("`{line}`");
    let ended = tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "interrupted")),
        status = within(cx, &what, running) => status,
    };
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            group.end(&mut child, &mut lines, &mut output).await;
            return Err(output.explain(error));
        }
    };
    group.leave();
    let _ = timeout(DRAIN, output.drain(&mut lines)).await;
    let status = status.map_err(|error| {
        Error::new(ErrorKind::BuildFailed, format!("`{line}` was lost: {error}")).with_source(error)
    })?;
    if status.success() {
        return Ok(());
    }
    let how = describe(status);
    Err(output.explain(Error::new(ErrorKind::BuildFailed, format!("`{line}` {how}"))).at_field(field))
}

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

struct Output<'a> {
    cx: &'a Ctx,
    last: VecDeque<String>,
}

impl Output<'_> {
    fn show(&mut self, line: String) {
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.cx.events.emit(Event::Output { phase: Phase::Build, line });
    }
    /// Shows all that comes until nobody can write any more.
    async fn drain(&mut self, lines: &mut mpsc::Receiver<String>) {
        while let Some(line) = lines.recv().await {
            self.show(line);
        }
    }
    fn explain(&self, error: Error) -> Error {
        self.last.iter().fold(error, |error, line| error.detail(line))
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// The shell and everything it started; ended at the latest when nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // A group whose members are all gone is no error here.
            let _ = kill_process_group(group, signal);
        }
    }

    /// First politely, so that a compiler can remove half-written files: all of them are gone when nobody holds
    /// the pipes any more.
    async fn end(self, child: &mut Child, lines: &mut mpsc::Receiver<String>, output: &mut Output<'_>) {
        self.signal(Signal::TERM);
        let _ = timeout(GRACE, output.drain(lines)).await;
        self.signal(Signal::KILL);
        let _ = child.wait().await;
        self.leave();
    }

    /// What is left runs on: a compiler's cache server, for one.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read_lines(pipe: Pipe, lines: mpsc::Sender<String>) {
    let mut pipe = BufReader::with_capacity(MAX_LINE_BYTES, pipe);
    let mut line = Vec::new();
    loop {
        let (used, ended) = match pipe.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    line.extend_from_slice(&bytes[..end]);
                    (end + 1, true)
                }
                None => {
                    line.extend_from_slice(bytes);
                    (bytes.len(), line.len() >= MAX_LINE_BYTES)
                }
            },
        };
        pipe.consume(used);
        if ended && lines.send(text(&mut line)).await.is_err() {
            return;
        }
    }
    if !line.is_empty() {
        let _ = lines.send(text(&mut line)).await;
    }
}

/// The line as a terminal would leave it: a progress bar writes over itself after `\r`.
fn text(line: &mut Vec<u8>) -> String {
    let bytes = std::mem::take(line);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
    let start = bytes.iter().rposition(|byte| *byte == b'\r').map_or(0, |at| at + 1);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use carrack_core::event::EventSink;
    use tokio::time::Instant;

    use super::*;

    async fn run_here(line: &str) -> (Result<()>, Vec<String>) {
        let (events, mut received) = EventSink::channel();
        let cx = Ctx { events, ..Ctx::silent() };
        let folder = tempfile::tempdir().expect("a folder");
        let result = run(&cx, line, folder.path()).await;
        drop(cx);
        let mut lines = Vec::new();
        while let Some(event) = received.recv().await {
            match event {
                Event::Output { phase: Phase::Build, line } => lines.push(line),
                other => panic!("{other:?}"),
            }
        }
        (result, lines)
    }

    #[tokio::test]
    async fn output_comes_line_by_line_from_both_pipes() {
        let (result, mut lines) = run_here(r"echo one; printf '10%%\r20%%\r\nlast' >&2").await;
        result.expect("success");
        lines.sort();
        assert_eq!(lines, ["20%", "last", "one"]);
    }

    #[tokio::test]
    async fn a_failure_carries_its_code_and_the_last_lines() {
        let (result, lines) = run_here("for n in $(seq 1 30); do echo $n; done; exit 3").await;
        let error = result.expect_err("failed");
        assert_eq!((error.kind(), lines.len()), (ErrorKind::BuildFailed, 30));
        assert!(error.message().ends_with("ended with exit code 3"), "{error}");
        assert_eq!(error.details().len(), KEPT_LINES);
        assert_eq!(error.details().last().map(String::as_str), Some("30"));
        let error = run_here("kill -9 $$").await.0.expect_err("failed");
        assert!(error.message().ends_with("was ended by signal 9"), "{error}");
    }

    #[tokio::test]
    async fn an_endless_line_comes_in_pieces() {
        let (result, lines) = run_here("head -c 100000 /dev/zero | tr '\\0' x").await;
        result.expect("success");
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= 2 * MAX_LINE_BYTES));
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 100_000);
    }

    #[tokio::test]
    async fn what_is_left_in_the_background_is_not_waited_for() {
        let started = Instant::now();
        let (result, lines) = run_here("sleep 60 & echo $!").await;
        result.expect("success");
        assert!(started.elapsed() < Duration::from_secs(30));
        let id = lines[0].parse().ok().and_then(Pid::from_raw).expect("an id");
        let _ = rustix::process::kill_process(id, Signal::KILL);
    }

    #[tokio::test]
    async fn an_interruption_ends_everything_it_started() {
        let (events, mut received) = EventSink::channel();
        let cx = Ctx { events, ..Ctx::silent() };
        let cancel = cx.cancel.clone();
        let folder = tempfile::tempdir().expect("a folder");
        let gate = folder.path().join("gate");
        let line = "mkfifo gate; echo ready; (trap '' TERM; exec sleep 60 > gate 2>&1) & wait";
        let running = tokio::spawn(async move { run(&cx, line, folder.path()).await });
        assert!(matches!(received.recv().await, Some(Event::Output { .. })));
        // Opens when the background process has opened its end, and ends when that process is gone.
        let mut gate = tokio::task::spawn_blocking(|| std::fs::File::open(gate)).await.expect("task").expect("gate");
        cancel.cancel();
        let error = running.await.expect("task").expect_err("interrupted");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        let gone = tokio::task::spawn_blocking(move || std::io::copy(&mut gate, &mut std::io::sink()));
        timeout(Duration::from_secs(20), gone).await.expect("it lives on").expect("task").expect("read");
    }

    #[tokio::test]
    async fn the_deadline_ends_it() {
        let cx = Ctx { deadline: Some(Instant::now() + Duration::from_millis(50)), ..Ctx::silent() };
        let error = run(&cx, "sleep 60", Path::new("/")).await.expect_err("late");
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }

    #[tokio::test]
    async fn what_the_outer_cargo_set_is_not_passed_on() {
        // The test itself runs under cargo, which sets these.
        let (result, lines) = run_here("echo ${CARGO_PKG_NAME-unset} ${CARGO_MANIFEST_DIR-unset} ${CARGO-unset}").await;
        result.expect("success");
        assert_eq!(lines, ["unset unset unset"]);
    }
}
