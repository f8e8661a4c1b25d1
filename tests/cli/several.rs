//! Several files and targets in one command: side by side, with one report.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    run::{ok, shown, snapshot, stderr, stdout},
    support::{LocalCloud, carrack, project},
};

/// A file for each name, all with this image.
fn files(dir: &Path, image: &str, names: &[&str], rest: &str) -> Vec<PathBuf> {
    let file = |name: &&str| {
        let path = dir.join(format!("{name}.toml"));
        let service = format!("[service]\nname = \"{name}\"\nport = 8080\npublic = true\n");
        fs::write(&path, format!("{service}[image]\nref = \"{image}\"\n{rest}")).unwrap();
        path
    };
    names.iter().map(file).collect()
}

fn with_files(mut command: Command, arguments: &[&str], files: &[PathBuf]) -> Command {
    command.args(arguments);
    for file in files {
        command.arg("-f").arg(file);
    }
    command
}

fn report(output: &Output) -> Value {
    serde_json::from_str(stdout(output).lines().last().unwrap()).unwrap()
}

/// Of each service: its label, its exit code, and what came of it.
fn ends(report: &Value) -> Vec<(String, u64, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let services = report["services"].as_array().unwrap().iter();
    services.map(|one| (text(&one["label"]), one["code"].as_u64().unwrap(), text(&one["result"]))).collect()
}

fn is(label: &str, code: u64, result: &str) -> (String, u64, String) {
    (label.to_owned(), code, result.to_owned())
}

#[test]
fn three_services_are_deployed_shown_and_removed_by_one_command_each() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app");
    let files = files(cloud.dir(), &image.0, &["api", "web", "jobs"], "");
    let run = |arguments: &[&str]| with_files(cloud.carrack(), arguments, &files).output().unwrap();

    let plan = run(&["plan", "--local", "--exit-code", "--format", "json"]);
    assert_eq!(plan.status.code(), Some(3), "{}", shown(&plan, &[]));
    assert_eq!(report(&plan)["ok"], true);

    let deployed = ok(run(&["deploy", "--local"]));
    let urls = stdout(&deployed);
    let lines: Vec<_> = urls.lines().map(|line| line.split_once("  ").unwrap()).collect();
    assert_eq!(lines.iter().map(|(label, _)| label.trim()).collect::<Vec<_>>(), ["api", "web", "jobs"]);
    assert!(lines.iter().all(|(_, url)| url.trim().starts_with("http://127.0.0.1:")), "{urls}");
    // Every line says whom it is about, and the names stand below each other.
    let said = stderr(&deployed);
    assert!(said.contains("\napi  |     Creating service `api`\n"), "{said}");
    assert!(said.contains("\njobs |     Creating service `jobs`\n"), "{said}");

    let again = ok(run(&["deploy", "--local", "--format", "json"]));
    assert_eq!(
        ends(&report(&again)),
        [is("api", 0, "no_changes"), is("web", 0, "no_changes"), is("jobs", 0, "no_changes")]
    );
    let text = stdout(&again);
    let mut events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.pop();
    assert!(!events.is_empty() && events.iter().all(|event| event["service"].is_string()), "{text}");

    let status = stdout(&ok(run(&["status", "--local"])));
    assert!(status.starts_with("api:\nservice   api\n") && status.contains("\n\nweb:\nservice   web\n"), "{status}");
    assert_eq!(run(&["destroy", "--local"]).status.code(), Some(2), "it asks for each");
    let gone = ok(run(&["destroy", "--local", "--yes", "--format", "json"]));
    assert_eq!(
        ends(&report(&gone)),
        [is("api", 0, "destroyed"), is("web", 0, "destroyed"), is("jobs", 0, "destroyed")]
    );
}

#[test]
fn one_that_fails_stops_no_other_and_all_are_told() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    let mut all = files(cloud.dir(), &image, &["good", "fine"], "");
    all.extend(files(cloud.dir(), &image, &["bad"], "[env]\nEXIT = \"3\"\n"));
    let deploy = |files: &[PathBuf]| {
        with_files(cloud.carrack(), &["deploy", "--local", "--format", "json"], files).output().unwrap()
    };
    let output = deploy(&all);
    assert_eq!(output.status.code(), Some(50), "the one kind of failure");
    let one = report(&output);
    assert_eq!((&one["ok"], &one["code"]), (&false.into(), &50.into()));
    assert_eq!(ends(&one), [is("good", 0, "deployed"), is("fine", 0, "deployed"), is("bad", 50, "")]);
    assert_eq!(one["services"][2]["error"]["cause"]["code"], "exit-at-start");
    let said = stderr(&output);
    assert!(said.contains("bad:\nerror: ") && !said.contains("good:"), "{said}");

    // Another fails in another way.
    let missing = image.split('@').next().unwrap().to_owned() + ":none";
    all.extend(files(cloud.dir(), &missing, &["worse"], ""));
    let output = deploy(&all);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output, &[]));
    let codes: Vec<_> = ends(&report(&output)).into_iter().map(|(_, code, _)| code).collect();
    assert_eq!(codes, [0, 0, 50, 30]);
}

#[test]
fn nothing_is_begun_when_a_file_is_wrong() {
    let cloud = LocalCloud::start();
    let mut all = files(cloud.dir(), "a.example/p/app:1", &["good"], "");
    all.extend(files(cloud.dir(), "a.example/p/app:1", &["bad"], "[env]\nLOG LEVEL = 1\n"));
    all.push(cloud.dir().join("none.toml"));
    let dir = cloud.dir().display().to_string();
    let output = with_files(cloud.carrack(), &["deploy", "--local"], &all).output().unwrap();
    insta::assert_snapshot!(shown(&output, &[(&dir, "DIR")]), @r"
    exit 10
    --- stderr
    DIR/bad.toml:
    error: this is not valid TOML
     --> DIR/bad.toml:8:5
      |
    8 | LOG LEVEL = 1
      |     ^ key with no value, expected `=`
    DIR/none.toml:
    error: cannot read `DIR/none.toml`
      caused by: No such file or directory (os error 2)
      help: run `carrack init`, or name the file with `-f FILE`
         Refused nothing was begun, for any of them
    ");
    assert_eq!(stdout(&ok(cloud.run(&["emulator", "requests"]))), "");
}

#[test]
fn the_same_service_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let targets = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"europe-west1\"\n\
                   [targets.also]\nprovider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"europe-west1\"\n";
    let one = files(dir.path(), "a.example/p/app:1", &["api"], targets);
    let run = |arguments: &[&str], files: &[PathBuf]| {
        snapshot(&mut with_files(carrack(dir.path()), arguments, files), &[(&dir.path().display().to_string(), "DIR")])
    };
    insta::assert_snapshot!(run(&["plan", "--to", "prod", "--to", "also"], &one), @r"
    exit 2
    --- stderr
    error: `DIR/api.toml` for `prod` and `DIR/api.toml` for `also` are both service `api` in my-project/europe-west1
      help: leave one of them out, or give one another name
    ");
    insta::assert_snapshot!(run(&["plan", "--to", "prod", "--to", "prod"], &one), @r"
    exit 2
    --- stderr
    error: `--to prod` is given twice
      help: name it once
    ");
    insta::assert_snapshot!(run(&["plan", "--to", "prod"], &[one[0].clone(), one[0].clone()]), @r"
    exit 2
    --- stderr
    error: `-f DIR/api.toml` is given twice
      help: name it once
    ");
    insta::assert_snapshot!(run(&["plan", "--to", "prod", "--to", "other"], &one), @r"
    exit 2
    --- stderr
    DIR/api.toml@other:
    error: there is no target `other`
      help: use one of `prod`, `also`
         Refused nothing was begun, for any of them
    ");
}

#[test]
fn commands_for_one_service_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| snapshot(carrack(dir.path()).args(arguments), &[]);
    insta::assert_snapshot!(run(&["logs", "-f", "a.toml", "-f", "b.toml"]), @r"
    exit 2
    --- stderr
    error: this command takes one service, and 2 files are named
      help: choose one: `-f a.toml`
      help: `plan`, `deploy`, `status`, `destroy` and `check` take several
    ");
    insta::assert_snapshot!(run(&["push", "--to", "a", "--to", "b"]), @r"
    exit 2
    --- stderr
    error: this command takes one service, and 2 targets are named
      help: choose one: `--to a`
      help: `plan`, `deploy`, `status`, `destroy` and `check` take several
    ");
    insta::assert_snapshot!(run(&["plan", "-f", "a.toml", "-f", "b.toml", "--out", "plan.json"]), @r"
    exit 2
    --- stderr
    error: `--out` takes the plan of one service
      help: plan them one by one, each with a --out of its own
    ");
}

#[test]
fn a_check_takes_them_all_and_tells_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = files(dir.path(), "a.example/p/app:1", &["api", "web"], "");
    let run = |files: &[PathBuf]| with_files(carrack(dir.path()), &["check"], files).output().unwrap();
    let said = stderr(&ok(run(&all)));
    assert!(said.contains("service `api` is valid") && said.contains("service `web` is valid"), "{said}");
    all.extend(files(dir.path(), "a.example/p/app:1", &["bad"], "[resource]\n"));
    all.extend(files(dir.path(), "a.example/p/app:1", &["worse"], "[scalin]\n"));
    let output = run(&all);
    assert_eq!(output.status.code(), Some(10));
    let said = stderr(&output);
    assert!(said.contains("`resource`") && said.contains("`scalin`") && said.contains("Failed 2 of 4"), "{said}");
}

#[test]
fn of_two_targets_the_image_is_built_and_pushed_once() {
    let cloud = LocalCloud::start();
    let target = |name: &str, region: &str| {
        format!(
            "[targets.{name}]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"{region}\"\n\
             repository = \"europe-west1-docker.pkg.dev/local/apps\"\n"
        )
    };
    let both = target("near", "europe-west1") + &target("far", "us-central1");
    let file = project(&cloud.dir().join("shop"), "shop", &both);
    let deploy = with_files(cloud.carrack(), &["deploy", "--local", "--to", "near", "--to", "far"], &[file]);
    let output = ok({ deploy }.output().unwrap());
    let said = stderr(&output);
    for word in ["Building", "Built", "Pushing", "Pushed"] {
        assert_eq!(said.matches(&format!(" {word} ")).count(), 1, "{word}: {said}");
    }
    assert!(said.contains("shop@near | ") && said.contains("shop@far  | "), "{said}");
    let puts = cloud.writes().iter().filter(|write| write.contains("/manifests/")).count();
    assert_eq!(puts, 1, "{:?}", cloud.writes());
}

#[test]
fn an_interrupt_stops_all_of_them() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    let all = files(cloud.dir(), &image, &["a", "b", "c"], "");
    ok(cloud.run(&[
        "emulator",
        "faults",
        "add",
        "stall",
        "--service",
        "run",
        "--method",
        "POST",
        "--path",
        "/v2/*/services",
    ]));
    let mut deploy = with_files(cloud.carrack(), &["deploy", "--local", "--format", "json"], &all);
    let mut child = deploy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Each of them waits for its service to be made.
    let waiting = lines.by_ref().filter(|line| line.contains("step_started")).take(3).count();
    assert_eq!(waiting, 3);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let begun = Instant::now();
    let last: Value = serde_json::from_str(&lines.last().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(ends(&last), [is("a", 130, ""), is("b", 130, ""), is("c", 130, "")]);
}

/// Of the calls that the local cloud got: when each began and ended, in milliseconds, and what it was.
fn spans(cloud: &LocalCloud) -> Vec<(i64, i64, Value)> {
    let lines = stdout(&ok(cloud.run(&["emulator", "requests", "--format", "json"])));
    let calls = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let span = |call: Value| {
        let began = call["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        (began, began + call["ms"].as_i64().unwrap(), call)
    };
    calls.map(span).collect()
}

/// The most calls that were under way at once.
fn at_once(spans: &[(i64, i64, Value)]) -> usize {
    spans.iter().map(|(at, ..)| spans.iter().filter(|(begin, end, _)| begin <= at && at < end).count()).max().unwrap()
}

fn twenty() -> Vec<String> {
    (1..=20).map(|number| format!("s{number:02}")).collect()
}

#[test]
fn twenty_services_are_at_most_sixteen_requests_at_once() {
    let cloud = LocalCloud::start_with(&["--latency", "50ms"]);
    let image = cloud.push_app("app").0;
    let names = twenty();
    let all = files(cloud.dir(), &image, &names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let pushed = spans(&cloud).len();
    let deploy = |files: &[PathBuf]| {
        let begun = Instant::now();
        ok(with_files(cloud.carrack(), &["deploy", "--local", "--quiet"], files).output().unwrap());
        begun.elapsed()
    };
    let one = deploy(&files(cloud.dir(), &image, &["one"], ""));
    let together = deploy(&all);
    let most = at_once(&spans(&cloud)[pushed..]);
    assert!((8..=16).contains(&most), "{most} at once");
    // The figure for an idle machine is the benchmark's; one after another would be twenty times as long.
    assert!(together < one * 10, "one takes {one:?}, twenty take {together:?}");
}

#[test]
fn a_host_that_says_to_wait_is_left_alone_by_all_of_them_and_nothing_is_lost() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    let names = twenty();
    let all = files(cloud.dir(), &image, &names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let add = ["emulator", "faults", "add", "429", "--service", "run", "--nth", "30", "--count", "3"];
    ok(cloud.carrack().args(add).args(["--retry-after", "3s"]).output().unwrap());
    let output = ok(with_files(cloud.carrack(), &["deploy", "--local", "--format", "json"], &all).output().unwrap());
    assert!(ends(&report(&output)).iter().all(|(_, code, result)| (*code, result.as_str()) == (0, "deployed")));
    let spans = spans(&cloud);
    let refused: Vec<_> = spans.iter().filter(|(.., call)| call["status"] == 429).collect();
    assert_eq!(refused.len(), 3);
    // Whoever was on the way then arrives; after that there is silence.
    let told = refused.iter().map(|(_, end, _)| *end).min().unwrap();
    let early: Vec<_> = spans
        .iter()
        .filter(|(begin, _, call)| call["host"] == "run.googleapis.com" && (told + 1000..told + 2900).contains(begin))
        .collect();
    assert!(early.is_empty(), "{early:?}");
}
