//! The real program, ended in the middle of each request: the same command again converges, and nothing is twice.
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use carrack_core::{Error, ErrorKind, Result};
use libtest_mimic::Failed;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    bench::{Bench, Cell, Flow, TAG},
    block_on, cell,
    class::{Class, classes},
    finally, settled,
};
use crate::support::{LocalCloud, project};

/// Side by side, each on a local cloud of its own.
const CLOUDS: usize = 3;
/// How long a request may need to come, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills `carrack` while each request in turn is stalled, before and after it was handled.
pub(super) fn walk(flow: Flow) -> Result<(), Failed> {
    let begun = Instant::now();
    let first = LocalCloud::start();
    let found = block_on(async {
        let bench = Bench::new(&first)?;
        let cell = cell(flow);
        let file = prepared(&first, &cell, flow)?;
        bench.console(Method::DELETE, "/requests", None).await?;
        ok(&command(&first, flow, &file).output().map_err(io)?)?;
        Ok(classes(&bench.console(Method::GET, "/requests", None).await?, &cell))
    })?;
    let cells: Vec<(&Class, &str)> =
        found.iter().flat_map(|class| ["stall", "stall-after"].map(|kind| (class, kind))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = |cloud: LocalCloud| {
        while let Some((class, kind)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ended = block_on(async {
                let bench = Bench::new(&cloud)?;
                kill(&bench, &cloud, flow, class, kind).await
            });
            let place = format!("{} {} {} × {kind}", class.service, class.method, class.form);
            let texts = match ended {
                Ok(texts) => texts,
                Err(error) => vec![format!("{error:?}")],
            };
            wrong
                .lock()
                .expect("no worker panics with it")
                .extend(texts.into_iter().map(|text| format!("{place}: {text}")));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(first));
        for _ in 1..CLOUDS {
            scope.spawn(|| work(LocalCloud::start()));
        }
    });
    let wrong = wrong.into_inner().map_err(|_| "a worker failed")?;
    let seconds = begun.elapsed().as_secs();
    println!(
        "killed in {flow:?}: {} request classes, {} cells in {seconds} s, {} wrong",
        found.len(),
        cells.len(),
        wrong.len()
    );
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

async fn kill(bench: &Bench<'_>, cloud: &LocalCloud, flow: Flow, class: &Class, kind: &str) -> Result<Vec<String>> {
    let cell = cell(flow);
    let file = prepared(cloud, &cell, flow)?;
    let mut child = stalled(bench, cloud, flow, &cell, &file, class, kind, &[]).await?;
    // SIGKILL.
    child.kill().map_err(io)?;
    child.wait().map_err(io)?;
    bench.console(Method::DELETE, "/faults", None).await?;
    let split = match flow {
        Flow::Rollout => settled(bench, &cell).await?.map(|live| live.traffic.0.into_values().collect::<Vec<_>>()),
        _ => None,
    };
    ok(&command(cloud, flow, &file).output().map_err(io)?)?;
    let mut wrong = finally(bench, &cell, flow, 0).await?;
    if split.as_ref().is_some_and(|split| *split != [100] && *split != [50, 50]) {
        wrong.push(format!("it was left with the traffic at {split:?}"));
    }
    if flow == Flow::First {
        // Every blob is whole: what is pushed again is there already, and the service ran it.
        let again = command(cloud, flow, &file).output().map_err(io)?;
        ok(&again)?;
        if !String::from_utf8_lossy(&again.stderr).contains("no changes") {
            wrong.push("a third deploy changed something".to_owned());
        }
    }
    bench.forget(&cell).await?;
    Ok(wrong)
}

/// The program, while its request of this class is stalled.
#[expect(clippy::too_many_arguments, reason = "it is one cell's coordinates")]
async fn stalled(
    bench: &Bench<'_>,
    cloud: &LocalCloud,
    flow: Flow,
    cell: &Cell,
    file: &Path,
    class: &Class,
    kind: &str,
    more: &[&str],
) -> Result<Child> {
    let class = class.of(cell);
    let rule = json!({
        "service": class.service, "method": class.method, "path": class.path, "nth": 1, "fault": { "kind": kind }
    });
    bench.console(Method::POST, "/faults", Some(rule)).await?;
    let mut command = command(cloud, flow, file);
    let mut child = command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io)?;
    let end = Instant::now() + PATIENCE;
    // A stalled call is written down when it is silent, so after it was handled.
    while !bench.console(Method::GET, "/requests", None).await?.as_array().is_some_and(|all| {
        all.iter().any(|one| {
            one["fault"] == kind
                && one["path"].as_str().is_some_and(|path| {
                    path.contains(cell.name.as_str())
                        || class.is("/operations/")
                        || matches!(class.service, "artifactregistry" | "cloudresourcemanager" | "iam" | "logging")
                })
        })
    }) {
        if child.try_wait().map_err(io)?.is_some() || Instant::now() > end {
            let _ = child.kill();
            let output = child.wait_with_output().map_err(io)?;
            return Err(failed(format!("the request never came: {}", String::from_utf8_lossy(&output.stderr))));
        }
    }
    Ok(child)
}

/// Ctrl-C while a write is on its way: a clean end, and a report that claims nothing.
pub(super) fn interrupt() -> Result<(), Failed> {
    let cloud = LocalCloud::start();
    block_on(async {
        let bench = Bench::new(&cloud)?;
        let cell = cell(Flow::First);
        let file = prepared(&cloud, &cell, Flow::First)?;
        let json = ["--format", "json"];
        let child = stalled_create(&bench, &cloud, &cell, &file, &json).await?;
        let pid =
            rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)).ok_or_else(|| failed("a pid"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT).map_err(|e| io(e.into()))?;
        let output = child.wait_with_output().map_err(io)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert_eq!(
            (&report["code"], &report["run"]["done"], &report["run"]["failed"]),
            (&json!(130), &json!([]), &json!(1)),
            "{report}"
        );
        bench.console(Method::DELETE, "/faults", None).await?;
        ok(&command(&cloud, Flow::First, &file).output().map_err(io)?)?;
        let wrong = finally(&bench, &cell, Flow::First, 0).await?;
        assert!(wrong.is_empty(), "{wrong:?}");
        Ok(())
    })
}

/// The local cloud ends in the middle, and what was in it is gone: the same command again begins anew.
pub(super) fn restart() -> Result<(), Failed> {
    let cloud = LocalCloud::start();
    block_on(async {
        let bench = Bench::new(&cloud)?;
        let cell = cell(Flow::First);
        let file = prepared(&cloud, &cell, Flow::First)?;
        let child = stalled_create(&bench, &cloud, &cell, &file, &["--format", "json"]).await?;
        ok(&cloud.run(&["emulator", "stop"]))?;
        let output = child.wait_with_output().map_err(io)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        assert_eq!((output.status.code(), &report["run"]["done"]), (Some(41), &json!([])), "{report}");
        // It starts another one by itself.
        ok(&command(&cloud, Flow::First, &file).output().map_err(io)?)?;
        let again = command(&cloud, Flow::First, &file).output().map_err(io)?;
        ok(&again)?;
        assert!(String::from_utf8_lossy(&again.stderr).contains("no changes"));
        Ok(())
    })
}

async fn stalled_create(
    bench: &Bench<'_>,
    cloud: &LocalCloud,
    cell: &Cell,
    file: &Path,
    more: &[&str],
) -> Result<Child> {
    let create = Class {
        service: "run",
        method: "POST".to_owned(),
        form: "/v2/projects/local/locations/us-central1/services".to_owned(),
        path: String::new(),
    };
    stalled(bench, cloud, Flow::First, cell, file, &create, "stall-after", more).await
}

/// The file, and what is there before the command.
fn prepared(cloud: &LocalCloud, cell: &Cell, flow: Flow) -> Result<PathBuf> {
    let folder = cell.repository.rsplit_once('/').map_or("", |(folder, _)| folder);
    let rest = format!(
        "[env]\nSAY = \"one\"\n[targets.here]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\nrepository = \"{folder}\"\n"
    );
    let place = cloud.dir().join(cell.name.as_str());
    let file = project(&place, cell.name.as_str(), &rest);
    // What no other cell has pushed, so that it is not mounted; a program does not mind what follows it.
    let mut program = std::fs::OpenOptions::new().append(true).open(place.join("app")).map_err(io)?;
    program.write_all(cell.name.as_str().as_bytes()).map_err(io)?;
    if flow != Flow::First {
        let mut deploy = command(cloud, Flow::First, &file);
        let output = deploy.args(["--format", "json"]).output().map_err(io)?;
        ok(&output)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let first = report["revision"].as_str().unwrap_or_default();
        cell.first.get_or_init(|| first.to_owned());
        std::fs::write(place.join("first"), first).map_err(io)?;
    }
    if flow.changes() || flow.goes_back() {
        let text = std::fs::read_to_string(&file).map_err(io)?;
        std::fs::write(&file, text.replace("SAY = \"one\"", "SAY = \"two\"")).map_err(io)?;
    }
    if flow.goes_back() {
        ok(&command(cloud, Flow::First, &file).output().map_err(io)?)?;
    }
    if flow == Flow::Rollout {
        let text = std::fs::read_to_string(&file).map_err(io)?.replace("\"one\"", "\"two\"");
        std::fs::write(&file, text + "[rollout]\nsteps = [50]\nwait = \"1s\"\n").map_err(io)?;
    }
    Ok(file)
}

fn command(cloud: &LocalCloud, flow: Flow, file: &Path) -> Command {
    let mut command = cloud.carrack();
    match flow {
        Flow::Destroy => command.args(["destroy", "--yes"]),
        Flow::Tagged => command.args(["deploy", "--no-traffic", "--tag", TAG]),
        Flow::Route => {
            let first = std::fs::read_to_string(file.with_file_name("first")).unwrap_or_default();
            command.args(["traffic", &format!("{first}=30"), "latest=70", "--tag", &format!("{TAG}={first}")])
        }
        Flow::Rollback => command.arg("rollback"),
        Flow::Restore => command.args(["rollback", "--config"]),
        _ => command.arg("deploy"),
    };
    command.args(["--local", "-f"]).arg(file);
    command
}

fn ok(output: &Output) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(failed(text.into_owned())) }
}

fn io(error: std::io::Error) -> Error {
    failed("the program could not be run").with_source(error)
}

fn failed(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Internal, text)
}
