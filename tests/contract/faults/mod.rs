//! Every request of every flow, with every fault: the command converges, or ends as the table says with a true report;
//! then the same command without the fault converges, and nothing was made twice.
#![expect(clippy::print_stdout, reason = "the tables are what these tests are for")]

mod bench;
mod class;
mod kill;
mod table;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use carrack_core::{
    Result,
    observed::{ObservedService, Readiness, TrafficSplit},
    spec::{EnvValue, RevisionId, ServiceName},
};
use libtest_mimic::{Failed, Trial};
use reqwest::Method;

use self::{
    bench::{Bench, Cell, FLOWS, Flow},
    class::{Class, classes},
    table::{End, FAULTS, Fault},
};
use crate::support::LocalCloud;

/// Cells side by side, each on a local cloud of its own: a rule is for all who call.
const CLOUDS: usize = 5;
/// That of a program's first thread.
const STACK: usize = 8 << 20;

static NUMBER: AtomicUsize = AtomicUsize::new(1);

pub(crate) fn add(trials: &mut Vec<Trial>) {
    for flow in FLOWS {
        trials.push(Trial::test(format!("faults::{flow:?}").to_lowercase(), move || with_room(|| walk(flow))));
    }
    for flow in [Flow::First, Flow::Tagged, Flow::Route, Flow::Rollout, Flow::Rollback, Flow::Restore, Flow::Destroy] {
        trials.push(Trial::test(format!("faults::killed_{flow:?}").to_lowercase(), move || kill::walk(flow)));
    }
    trials.push(Trial::test("faults::interrupted", kill::interrupt));
    trials.push(Trial::test("faults::restarted", kill::restart));
}

/// One cell, as it went.
#[derive(Debug)]
struct Went {
    class: String,
    fault: &'static str,
    end: String,
    wrong: Option<String>,
}

fn walk(flow: Flow) -> Result<(), Failed> {
    let begun = Instant::now();
    let first = LocalCloud::start();
    let cells = block_on(async {
        let bench = Bench::new(&first)?;
        Ok(cells_of(record(&bench, flow).await?))
    })?;
    let next = AtomicUsize::new(0);
    let went = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    let work = |cloud: LocalCloud| {
        let walked = block_on(async {
            let bench = Bench::new(&cloud)?;
            while let Some((class, fault)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                let one = one(&bench, flow, class, fault).await?;
                went.lock().expect("no worker panics with it").push(one);
            }
            Ok(())
        });
        if let Err(error) = walked {
            failures.lock().expect("no worker panics with it").push(format!("{error:?}"));
        }
    };
    std::thread::scope(|scope| {
        let roomy = || std::thread::Builder::new().stack_size(STACK);
        roomy().spawn_scoped(scope, || work(first)).expect("a thread");
        for _ in 1..CLOUDS {
            roomy().spawn_scoped(scope, || work(LocalCloud::start())).expect("a thread");
        }
    });
    let went = went.into_inner().map_err(|_| "a worker failed")?;
    let mut wrong = failures.into_inner().map_err(|_| "a worker failed")?;
    wrong.extend(went.iter().filter_map(|one| Some(format!("{} × {}: {}", one.class, one.fault, one.wrong.as_ref()?))));
    println!("{}", table(flow, &went, begun.elapsed().as_secs_f32()));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// A test's own stack is too small for a whole deploy that is built without optimisation.
fn with_room(work: impl FnOnce() -> Result<(), Failed> + Send) -> Result<(), Failed> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.map_err(|e| Failed::from(e.to_string()))?.join().map_err(|_| Failed::from("the walk panicked"))?
    })
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future).map_err(|error| format!("{error:?}").into())
}

fn cells_of(classes: Vec<Class>) -> Vec<(Class, Fault)> {
    let mut cells = Vec::new();
    for class in classes {
        cells.extend(FAULTS.iter().filter(|fault| fault.applies(&class)).map(|fault| (class.clone(), *fault)));
    }
    cells
}

fn table(flow: Flow, went: &[Went], seconds: f32) -> String {
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for one in went {
        *ends.entry(&one.end).or_default() += 1;
        rows.entry((&one.class, &one.end)).or_default().push(one.fault);
    }
    let ends: Vec<_> = ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
    let classes = went.iter().map(|one| &one.class).collect::<std::collections::BTreeSet<_>>().len();
    let mut text =
        format!("{flow:?}: {classes} request classes, {} cells in {seconds:.0} s: {}", went.len(), ends.join(", "));
    for ((class, end), faults) in rows {
        text += &format!("\n  {class}\n    {end}: {}", faults.join(" · "));
    }
    text
}

fn cell(flow: Flow) -> Cell {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Cell {
        name: ServiceName::try_from(format!("cell-{number}")).expect("a name"),
        repository: format!("us-central1-docker.pkg.dev/local/repo-{number}/app"),
        built: flow == Flow::First,
        first: OnceLock::new(),
    }
}

/// The requests of a run that nothing happens to.
async fn record(bench: &Bench<'_>, flow: Flow) -> Result<Vec<Class>> {
    let cell = cell(flow);
    bench.prepare(&cell, flow).await?;
    bench.console(Method::DELETE, "/requests", None).await?;
    bench.run(&cell, flow, false).await?;
    let requests = bench.console(Method::GET, "/requests", None).await?;
    bench.forget(&cell).await?;
    Ok(classes(&requests, &cell))
}

async fn one(bench: &Bench<'_>, flow: Flow, class: &Class, fault: &Fault) -> Result<Went> {
    let cell = cell(flow);
    bench.prepare(&cell, flow).await?;
    let before = bench.live(&cell).await?;
    let rule = fault.rule(&class.of(&cell));
    bench.console(Method::POST, "/faults", Some(rule)).await?;
    let ended = bench.run(&cell, flow, fault.renewable).await;
    let rules = bench.console(Method::GET, "/faults", None).await?;
    bench.console(Method::DELETE, "/faults", None).await?;

    let mut wrong = Vec::new();
    let (end, report) = match &ended {
        Ok(report) => (End::Converged, report.clone()),
        Err(error) => (End::Failed(error.kind()), error.report().cloned().unwrap_or_default()),
    };
    let expected = fault.expected(flow, class);
    if end != expected {
        wrong.push(format!("it ended with {end:?} in place of {expected:?}: {ended:?}"));
    }
    if rules[0]["hits"].as_u64().unwrap_or(0) == 0 {
        wrong.push("the fault met nothing".to_owned());
    }
    // What the report says was done, was done; the first step is the service.
    let live = settled(bench, &cell).await?;
    let said = report.done.iter().any(|step| step.0 == 1) || end == End::Converged;
    let twice = report.done.iter().collect::<std::collections::BTreeSet<_>>().len() != report.done.len();
    let is_there = |live: &ObservedService| {
        let said = live.spec.workload.main.env.get("SAY") == Some(&wanted(flow));
        said && (!matches!(flow, Flow::Route | Flow::Rollback) || live.traffic == served(&cell, flow, live))
    };
    match &live {
        _ if twice => wrong.push(format!("a step was done twice: {report:?}")),
        Some(_) if flow == Flow::Destroy && said => wrong.push("it says that the service is gone".to_owned()),
        Some(live) if flow != Flow::Destroy && said && !is_there(live) => {
            wrong.push("it says what was not done".to_owned())
        }
        None if flow != Flow::Destroy && said => wrong.push("it says that there is a service".to_owned()),
        _ => {}
    }
    // Whatever happened, who asks is answered by a revision that was ready.
    if let Some(url) = before.as_ref().and_then(|before| before.url.clone())
        && live.is_some()
    {
        let ready = bench.revisions(&cell).await?;
        match bench.ask(&url).await {
            Ok(text) if ready.iter().any(|(name, ready)| *ready && text.ends_with(name.as_str())) => {}
            other => wrong.push(format!("the service answers {other:?}")),
        }
    }
    let again = bench.run(&cell, flow, fault.renewable).await;
    if let Err(error) = again {
        wrong.push(format!("the same command again: {error:?}"));
    } else {
        // A revision that failed is one more.
        let more = usize::from(fault.name.starts_with("failed-operation"));
        wrong.extend(finally(bench, &cell, flow, more).await?);
    }
    bench.forget(&cell).await?;
    let text = match end {
        End::Converged => "converged".to_owned(),
        End::Failed(kind) => format!("exit {} {kind:?}", kind.exit_code()),
    };
    let class = format!("{} {} {}", class.service, class.method, class.form);
    Ok(Went { class, fault: fault.name, end: text, wrong: (!wrong.is_empty()).then(|| wrong.join("; ")) })
}

fn wanted(flow: Flow) -> EnvValue {
    EnvValue::Plain(if flow.changes() { "two" } else { "one" }.into())
}

/// Who gets how much in the end.
fn served(cell: &Cell, flow: Flow, live: &ObservedService) -> TrafficSplit {
    let first = RevisionId(cell.first.get().cloned().unwrap_or_default());
    let latest = live.latest_ready.clone().unwrap_or_else(|| first.clone());
    TrafficSplit(match flow {
        Flow::Tagged | Flow::Rollback => [(first, 100)].into(),
        Flow::Route => [(first, 30), (latest, 70)].into(),
        _ => [(latest, 100)].into(),
    })
}

/// Whom the tag leads to in the end.
fn tagged(cell: &Cell, flow: Flow, live: &ObservedService) -> Option<RevisionId> {
    match flow {
        Flow::Tagged => live.latest_ready.clone(),
        Flow::Route => cell.first.get().cloned().map(RevisionId),
        _ => None,
    }
}

async fn settled(bench: &Bench<'_>, cell: &Cell) -> Result<Option<ObservedService>> {
    loop {
        match bench.live(cell).await? {
            Some(live) if matches!(live.readiness, Readiness::Progressing(_)) => {}
            live => return Ok(live),
        }
    }
}

/// After the same command again: as asked, and nothing twice.
async fn finally(bench: &Bench<'_>, cell: &Cell, flow: Flow, more: usize) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let live = bench.live(cell).await?;
    let Some(live) = live else {
        if flow != Flow::Destroy {
            wrong.push("there is no service".to_owned());
        }
        return Ok(wrong);
    };
    if flow == Flow::Destroy {
        return Ok(vec!["the service is still there".to_owned()]);
    }
    if live.readiness != Readiness::Ready || live.spec.workload.main.env.get("SAY") != Some(&wanted(flow)) {
        wrong.push(format!("it is not as asked: {live:?}"));
    }
    let revisions = bench.revisions(cell).await?;
    let most = match flow {
        Flow::First | Flow::Same => 1,
        Flow::Restore => 3,
        _ => 2,
    } + more;
    if revisions.len() > most || bench.services(cell).await? != 1 {
        wrong.push(format!("something was made twice: {revisions:?}"));
    }
    if live.traffic != served(cell, flow, &live) {
        wrong.push(format!("traffic is {:?}", live.traffic));
    }
    let tag = live.targets.iter().find(|target| target.tag.is_some());
    if tag.and_then(|target| target.revision.clone()) != tagged(cell, flow, &live) {
        wrong.push(format!("the tag is {tag:?}"));
    }
    let url = live.url.clone().unwrap_or_default();
    let text = bench.ask(&url).await;
    let serves = |text: &String| live.traffic.0.keys().any(|revision| text.ends_with(revision.0.as_str()));
    if !text.as_ref().is_ok_and(serves) {
        wrong.push(format!("the service answers {text:?}"));
    }
    if let Some(url) = tag.and_then(|target| target.url.as_ref()) {
        let text = bench.ask(url).await;
        let own = tagged(cell, flow, &live).unwrap_or_else(|| RevisionId("none".to_owned()));
        if !text.as_ref().is_ok_and(|text| text.ends_with(own.0.as_str())) {
            wrong.push(format!("the tag's URL answers {text:?}"));
        }
    }
    Ok(wrong)
}
