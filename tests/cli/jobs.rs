//! Jobs on a local cloud: deployed, run, waited for, cancelled, removed.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, ROOT, app},
};

const JOB: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/jobs/nightly";

/// A local cloud and a file for it.
struct Nightly {
    cloud: LocalCloud,
    file: PathBuf,
}

impl Nightly {
    fn new(keys: &str, rest: &str) -> Self {
        let cloud = LocalCloud::start();
        let dir = cloud.dir().join("app");
        fs::create_dir_all(&dir).unwrap();
        fs::copy(app(), dir.join("app")).unwrap();
        let nightly = Self { file: dir.join("carrack.toml"), cloud };
        nightly.write(keys, rest);
        nightly
    }

    fn deployed(keys: &str, rest: &str) -> Self {
        let nightly = Self::new(keys, rest);
        ok(nightly.run(&["deploy"]));
        nightly
    }

    fn write(&self, keys: &str, rest: &str) {
        let text = format!(
            "[job]\nname = \"nightly\"\n{keys}\n[image.build]\nbase = \"scratch\"\n\
             files = [{{ from = \"app\", to = \"/app\" }}]\nentrypoint = [\"/app\"]\n{rest}"
        );
        fs::write(&self.file, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.cloud.carrack();
        command.args(arguments).args(["--local", "--color", "never", "-f"]).arg(&self.file);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The last line of its JSON output.
    fn report(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(stdout(&output).lines().last().unwrap_or_default()).unwrap()
    }

    fn live(&self) -> Value {
        self.cloud.call(Method::GET, JOB, None)
    }

    fn executions(&self) -> Vec<Value> {
        self.report(&["jobs", "executions"])["executions"].as_array().unwrap().clone()
    }

    /// Of `carrack ARGUMENTS`, with what differs from run to run replaced.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let newest = self.executions().first().map_or(Value::Null, |execution| execution["id"].clone());
        let file = self.file.display().to_string();
        shown(&output, &[(newest.as_str().unwrap_or("NONE"), "EXECUTION"), (&file, "FILE")])
    }
}

/// What the tasks said, in the order of their indices.
fn sorted(output: &Output) -> Vec<String> {
    let mut lines: Vec<String> = stdout(output).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_job_is_deployed_and_run_and_the_next_deploy_changes_nothing() {
    let nightly = Nightly::new("tasks = 2\nretries = 0\ntimeout = \"1m\"\n", "[env]\nSAY = \"one\"\n");
    let first = ok(nightly.run(&["deploy"]));
    assert_eq!(stdout(&first), "", "a job has no address");
    assert!(stderr(&first).contains("run it: `carrack jobs run --local"), "{}", stderr(&first));
    let live = nightly.live();
    assert_eq!((&live["template"]["taskCount"], &live["template"]["template"]["maxRetries"]), (&json!(2), &json!(0)));
    assert_eq!(live["template"]["template"]["timeout"], "60s");

    let writes = nightly.cloud.writes();
    let second = ok(nightly.run(&["deploy"]));
    assert!(stderr(&second).contains("no changes to job `nightly`"), "{}", stderr(&second));
    assert_eq!(nightly.cloud.writes(), writes, "a deploy without changes writes nothing");
    assert_eq!(nightly.run(&["plan", "--exit-code"]).status.code(), Some(0));

    let run = ok(nightly.run(&["jobs", "run"]));
    assert_eq!(
        sorted(&run),
        [
            "[0] one from task 0 of 2, attempt 0, arguments []",
            "[0] task 0 is done",
            "[1] one from task 1 of 2, attempt 0, arguments []",
            "[1] task 1 is done",
        ]
    );
    assert!(stderr(&run).contains("succeeded in "), "{}", stderr(&run));
    let logs = stdout(&ok(nightly.run(&["logs", "--task", "1"])));
    assert!(logs.contains("[1] one from task 1") && !logs.contains("task 0"), "{logs}");
    let status = stdout(&ok(nightly.run(&["status"])));
    for part in ["job       nightly", "state     ready", "tasks     2, all at once; 0 retries, 60s each", "2 of 2 done"]
    {
        assert!(status.contains(part), "{status}");
    }
    assert_eq!(nightly.executions().len(), 1);

    nightly.write("tasks = 2\nretries = 0\ntimeout = \"1m\"\n", "[env]\nSAY = \"two\"\n");
    let plan = nightly.run(&["plan", "--exit-code"]);
    assert_eq!(plan.status.code(), Some(3));
    let changes: Vec<String> = stderr(&plan)
        .lines()
        .filter(|line| line.trim_start().starts_with(['+', '-', '~']))
        .map(|line| line.trim().to_owned())
        .collect();
    assert_eq!(changes, ["~ env.SAY  \"one\" -> \"two\""]);
}

#[test]
fn what_others_set_on_a_job_stays() {
    let nightly = Nightly::deployed("", "[env]\nSAY = \"one\"\n");
    let mut theirs = nightly.live();
    theirs["labels"] = json!({ "team": "data" });
    theirs["template"]["parallelism"] = json!(7);
    theirs["template"]["annotations"] = json!({ "team/owner": "data" });
    theirs["template"]["template"]["containers"][0]["workingDir"] = json!("/tmp");
    theirs["template"]["template"]["containers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "THEIRS", "value": "1" }));
    nightly.cloud.call(Method::PATCH, JOB, Some(&theirs));
    ok(nightly.run(&["status"]));

    nightly.write("tasks = 3\n", "[env]\nSAY = \"two\"\n");
    let output = ok(nightly.run(&["deploy"]));
    let live = nightly.live();
    assert_eq!((&live["labels"]["team"], &live["template"]["parallelism"]), (&json!("data"), &json!(7)));
    assert_eq!(live["template"]["annotations"]["team/owner"], "data");
    let container = &live["template"]["template"]["containers"][0];
    assert_eq!(container["workingDir"], "/tmp");
    assert_eq!(container["env"], json!([{ "name": "SAY", "value": "two" }, { "name": "THEIRS", "value": "1" }]));
    assert_eq!(live["template"]["taskCount"], 3);
    let kept = stderr(&output);
    let kept = kept.lines().find(|line| line.contains("kept: ")).unwrap();
    for part in ["1 env", "1 labels", "job.parallelism", "template.annotations"] {
        assert!(kept.contains(part), "{kept}");
    }
    let receipt: Value = serde_json::from_str(live["annotations"]["carrack.dev/receipt"].as_str().unwrap()).unwrap();
    assert_eq!(receipt["owned"], json!(["env.SAY", "image", "job.tasks"]));

    // An entry that leaves the file leaves the job, and theirs stays.
    nightly.write("", "[env]\n");
    ok(nightly.run(&["deploy"]));
    let env = nightly.live()["template"]["template"]["containers"][0]["env"].clone();
    assert_eq!(env, json!([{ "name": "THEIRS", "value": "1" }]));
}

#[test]
fn a_failed_task_is_the_commands_failure_and_says_why() {
    let nightly = Nightly::deployed("tasks = 3\nretries = 1\n", "[env]\nEXIT = \"3\"\nBAD = \"1\"\n");
    let told = nightly.told(&["jobs", "run", "--quiet"]);
    let (_, told) = told.split_once("--- stderr\n").unwrap();
    // Two pipes lead out of a container, and nothing says which of them is read first.
    let (mut logged, said): (Vec<&str>, Vec<&str>) = told.lines().partition(|line| line.starts_with("    | "));
    logged.sort_unstable();
    let told = [said, logged].concat().join("\n");
    assert_snapshot!(told, @r"
    error: execution `EXECUTION`: 1 of 3 tasks failed: task 1 ended with exit code 3, after 1 retry
      cause[task-failed]: the program ended with exit code 3
      fix: mend what its log says: `fatal: no database at db.example:5432`
      then: carrack jobs run --quiet --local --color never -f FILE
      last lines of its log:
      help: see all of its tasks: `carrack jobs tasks EXECUTION --local -f FILE`
        | Container called exit(3).
        | Container called exit(3).
        | fatal: no database at db.example:5432
        | fatal: no database at db.example:5432
        | hello from task 1 of 3, attempt 0, arguments []
        | hello from task 1 of 3, attempt 1, arguments []
    ");
    let output = nightly.run(&["jobs", "run", "--format", "json"]);
    assert_eq!(output.status.code(), Some(50));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let report = lines.last().unwrap();
    assert_eq!((&report["code"], &report["error"]["cause"]["code"]), (&json!(50), &json!("task-failed")));
    let ended = lines.iter().find(|line| line["type"] == "execution").unwrap();
    let tasks: Vec<_> =
        ended["tasks"].as_array().unwrap().iter().map(|task| (&task["state"], &task["exit_code"])).collect();
    let (succeeded, failed) = (json!("succeeded"), json!("failed"));
    assert_eq!(tasks, [(&succeeded, &json!(0)), (&failed, &json!(3)), (&succeeded, &json!(0))]);
    assert_eq!(ended["tasks"][1]["retried"], 1);
    assert!(lines.iter().any(|line| line["type"] == "log" && line["task"] == 2), "{lines:?}");
    let id = ended["execution"]["id"].as_str().unwrap();
    let table = stdout(&ok(nightly.run(&["jobs", "tasks", id])));
    assert!(table.lines().nth(2).unwrap().starts_with("1     failed     1        3"), "{table}");
}

#[test]
fn a_task_that_fails_once_is_tried_again() {
    let nightly = Nightly::deployed("retries = 2\n", "[env]\nFAIL = \"2\"\n");
    let report = nightly.report(&["jobs", "run"]);
    assert_eq!((&report["ok"], &report["tasks"][0]["retried"]), (&json!(true), &json!(2)));
    assert_eq!(report["tasks"][0]["exit_code"], 0);
    nightly.write("retries = 1\n", "[env]\nFAIL = \"2\"\n");
    ok(nightly.run(&["deploy"]));
    assert_eq!(nightly.run(&["jobs", "run", "--quiet"]).status.code(), Some(50));
}

#[test]
fn tasks_run_side_by_side_or_one_after_the_other() {
    let nightly = Nightly::deployed("tasks = 3\n", "[env]\nWORK = \"2\"\n");
    let times = || -> Vec<(String, String)> {
        let tasks = nightly.report(&["jobs", "run"])["tasks"].as_array().unwrap().clone();
        let mut times: Vec<(String, String)> = tasks
            .iter()
            .map(|task| (task["started"].as_str().unwrap().to_owned(), task["completed"].as_str().unwrap().to_owned()))
            .collect();
        times.sort();
        times
    };
    let together = times();
    let first_end = together.iter().map(|(_, end)| end).min().unwrap();
    assert!(together.iter().all(|(start, _)| start < first_end), "{together:?}");
    nightly.write("tasks = 3\nparallelism = 1\n", "[env]\nWORK = \"1\"\n");
    ok(nightly.run(&["deploy"]));
    let alone = times();
    assert!(alone.windows(2).all(|two| two[0].1 <= two[1].0), "{alone:?}");
}

#[test]
fn one_run_may_be_otherwise_and_the_job_stays_as_it_is() {
    let nightly = Nightly::deployed("args = [\"every\"]\n", "[env]\nSAY = \"one\"\n");
    let before = nightly.live();
    let arguments = ["--arg", "--since", "--arg", "two words", "--env", "SAY=a=b", "--env", "MORE=1", "--tasks", "2"];
    let run = ok(nightly.run(&[&["jobs", "run"], &arguments[..]].concat()));
    let said = r#"arguments ["--since", "two words"]"#;
    assert!(sorted(&run)[0].contains("a=b from task 0 of 2") && sorted(&run)[0].ends_with(said), "{:?}", sorted(&run));
    assert_eq!(nightly.live()["generation"], before["generation"]);
    let plain = ok(nightly.run(&["jobs", "run"]));
    assert_eq!(sorted(&plain)[0], r#"one from task 0 of 1, attempt 0, arguments ["every"]"#);
    for wrong in [&["--env", "SAY"][..], &["--tasks", "0"], &["--task-timeout", "0s"], &["--task-timeout", "1.5s"]] {
        assert_eq!(nightly.run(&[&["jobs", "run"], wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
    let too_many = nightly.run(&["jobs", "run", "--tasks", "10001"]);
    assert_eq!(too_many.status.code(), Some(1), "{}", stderr(&too_many));
}

#[test]
fn an_attempt_that_takes_too_long_is_ended() {
    let nightly = Nightly::deployed("retries = 0\ntimeout = \"1s\"\n", "[env]\nWORK = \"60\"\n");
    let report = nightly.report(&["jobs", "run"]);
    let error = &report["error"];
    assert_eq!((&report["code"], &error["cause"]["code"]), (&json!(50), &json!("task-timeout")));
    assert!(error["message"].as_str().unwrap().contains("The configured timeout was reached"), "{error}");
    ok(nightly.run(&["jobs", "run", "--env", "WORK=2", "--task-timeout", "1m"]));
}

#[test]
fn who_stops_waiting_does_not_stop_the_work() {
    let nightly = Nightly::deployed("retries = 0\n", "[env]\nWORK = \"60\"\n");
    let told = nightly.told(&["jobs", "run", "--quiet", "--timeout", "3s"]);
    let (code, told) = told.split_once("--- stderr\n").unwrap();
    assert!(code.starts_with("exit 42\n--- stdout\nhello from task 0"), "{code}");
    assert_snapshot!(told, @r"
    error: execution `EXECUTION`: it did not end in the time that it was waited for, and goes on
      help: watch it: `carrack logs --execution EXECUTION --follow --local -f FILE`
      help: end it: `carrack jobs cancel EXECUTION --local -f FILE`
    ");
    let running = &nightly.executions()[0];
    assert_eq!((&running["state"], &running["running"]), (&json!("running"), &json!(1)));
    let id = running["id"].as_str().unwrap();
    let report = nightly.report(&["jobs", "cancel", id]);
    assert_eq!((&report["ok"], &report["execution"]["state"]), (&json!(true), &json!("cancelled")));
    assert_eq!(nightly.run(&["jobs", "cancel", id]).status.code(), Some(31), "it has ended");
    assert_eq!(nightly.run(&["jobs", "cancel", "nightly-nobody"]).status.code(), Some(30));
    assert_eq!(nightly.run(&["jobs", "tasks", "nightly-nobody"]).status.code(), Some(30));
}

#[test]
fn an_interrupt_leaves_it_running_and_says_how_to_end_it() {
    let nightly = Nightly::deployed("", "[env]\nWORK = \"60\"\n");
    let child = nightly
        .command(&["jobs", "run", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let running = || nightly.executions().first().is_some_and(|execution| execution["state"] == "running");
    while !running() {}
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted, and the execution goes on"), "{}", stderr(&output));
    assert!(stderr(&output).contains("`carrack jobs cancel nightly-"), "{}", stderr(&output));
    assert!(running());
}

#[test]
fn a_run_that_is_cancelled_by_somebody_else_has_failed() {
    let nightly = Nightly::deployed("", "[env]\nWORK = \"60\"\n");
    let id = stdout(&ok(nightly.run(&["jobs", "run", "--no-wait"])));
    let child = nightly.command(&["jobs", "run"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running = || nightly.executions().into_iter().filter(|one| one["state"] == "running").collect::<Vec<_>>();
    while running().len() < 2 {}
    for one in running() {
        ok(nightly.run(&["jobs", "cancel", one["id"].as_str().unwrap()]));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(50), "{}", stderr(&output));
    assert!(stderr(&output).contains("it was cancelled"), "{}", stderr(&output));
    assert!(nightly.executions().iter().any(|one| one["id"] == id.as_str()), "it has the name that was printed");
}

#[test]
fn a_secret_that_a_job_cannot_use_is_found_before_anything_is_changed() {
    let nightly = Nightly::new("", "[secrets]\nSAY = \"say\"\n");
    let refused = nightly.run(&["deploy"]);
    assert_eq!(refused.status.code(), Some(30), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("secret `say` does not exist"), "{}", stderr(&refused));
    assert_eq!(nightly.cloud.writes(), [""; 0]);
    let value = nightly.file.with_file_name("value");
    fs::write(&value, "hunter2").unwrap();
    ok(nightly.run(&["secrets", "set", "say", "--from-file", value.to_str().unwrap()]));
    assert_eq!(nightly.run(&["deploy"]).status.code(), Some(21), "its account may not read it");
    ok(nightly.run(&["deploy", "--grant"]));
    assert!(stdout(&ok(nightly.run(&["jobs", "run"]))).starts_with("hunter2 from task 0"));
}

#[test]
fn a_saved_plan_of_a_job_is_applied_once() {
    let nightly = Nightly::deployed("", "[env]\nSAY = \"one\"\n");
    nightly.write("", "[env]\nSAY = \"two\"\n");
    let plan = nightly.file.with_file_name("plan.json");
    let plan = plan.to_str().unwrap();
    ok(nightly.run(&["push"]));
    ok(nightly.run(&["plan", "--out", plan]));
    let apply = || {
        let arguments = ["deploy", "--local", "--color", "never", "--plan", plan];
        nightly.cloud.carrack().args(arguments).output().unwrap()
    };
    ok(apply());
    assert!(stderr(&ok(apply())).contains("no changes to job `nightly`"));
    nightly.write("", "[env]\nSAY = \"three\"\n");
    ok(nightly.run(&["plan", "--out", plan]));
    let mut theirs = nightly.live();
    theirs["template"]["template"]["containers"][0]["env"][0]["value"] = json!("theirs");
    nightly.cloud.call(Method::PATCH, JOB, Some(&theirs));
    ok(nightly.run(&["status"]));
    let stale = apply();
    assert_eq!(stale.status.code(), Some(13), "{}", stderr(&stale));
    assert!(stderr(&stale).contains("the job changed after the plan was made"), "{}", stderr(&stale));
}

#[test]
fn only_a_job_of_ours_is_removed() {
    let nightly = Nightly::deployed("", "");
    let mut theirs = nightly.live();
    theirs["annotations"] = json!({});
    nightly.cloud.call(Method::PATCH, JOB, Some(&theirs));
    ok(nightly.run(&["status"]));
    let refused = nightly.run(&["destroy", "--yes"]);
    assert_eq!(refused.status.code(), Some(31), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("gcloud run jobs delete nightly"), "{}", stderr(&refused));
    nightly.write("tasks = 2\n", "");
    ok(nightly.run(&["deploy"]));
    assert_eq!(nightly.run(&["destroy"]).status.code(), Some(2), "it asks first");
    ok(nightly.run(&["destroy", "--yes"]));
    ok(nightly.run(&["destroy", "--yes"]));
    for arguments in [&["status"][..], &["jobs", "run"]] {
        let missing = nightly.run(arguments);
        assert_eq!(missing.status.code(), Some(30), "{}", stderr(&missing));
        assert!(stderr(&missing).contains("carrack deploy"), "{}", stderr(&missing));
    }
}

#[test]
fn a_service_is_not_run() {
    let cloud = LocalCloud::start();
    let file = cloud.dir().join("carrack.toml");
    fs::write(&file, "[service]\nname = \"shop\"\n").unwrap();
    let output = cloud.carrack().args(["jobs", "run", "--local", "-f"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`shop` is a service, and this takes a file with [job]"), "{}", stderr(&output));
}

#[test]
fn the_job_example_divides_its_work() {
    let cloud = LocalCloud::start();
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--local", "-f", "examples/job/carrack.toml"]].concat();
        ok(cloud.carrack().args(arguments).current_dir(Path::new(ROOT)).output().unwrap())
    };
    run(&["deploy"]);
    let output = run(&["jobs", "run"]);
    let counts: Vec<u64> = sorted(&output)
        .iter()
        .filter_map(|line| line.split_once(" primes from ")?.0.rsplit(' ').next()?.parse().ok())
        .collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (4, 78_498), "{}", stdout(&output));
}

#[test]
fn a_start_whose_answer_is_lost_is_not_sent_again() {
    let nightly = Nightly::deployed("", "");
    let lose = ["emulator", "faults", "add", "reset-after", "--service", "run", "--path", "*/jobs/nightly:run"];
    ok(nightly.cloud.run(&lose));
    let lost = nightly.run(&["jobs", "run"]);
    assert_eq!(lost.status.code(), Some(41), "{}", stderr(&lost));
    let hint = "whether it was started is not known: `carrack jobs executions --local";
    assert!(stderr(&lost).contains(hint), "{}", stderr(&lost));
    assert_eq!(nightly.executions().len(), 1, "it was started once");
    ok(nightly.cloud.run(&["emulator", "faults", "clear"]));
    ok(nightly.run(&["jobs", "run"]));
    assert_eq!(nightly.executions().len(), 2);
}

#[test]
fn a_deploy_that_is_killed_at_a_write_converges_when_it_is_run_again() {
    let nightly = Nightly::new("", "[env]\nSAY = \"one\"\n");
    for (method, kind, say) in [
        ("POST", "stall", "one"),
        ("POST", "stall-after", "one"),
        ("PATCH", "stall", "two"),
        ("PATCH", "stall-after", "two"),
        ("DELETE", "stall", ""),
        ("DELETE", "stall-after", ""),
    ] {
        if say == "one" {
            ok(nightly.run(&["destroy", "--yes"]));
        } else {
            nightly.write("", "[env]\nSAY = \"one\"\n");
            ok(nightly.run(&["deploy"]));
            nightly.write("", "[env]\nSAY = \"two\"\n");
        }
        let arguments: &[&str] = if say.is_empty() { &["destroy", "--yes"] } else { &["deploy"] };
        let path = if method == "POST" { "*/jobs" } else { "*/jobs/nightly" };
        let stall = ["emulator", "faults", "add", kind, "--service", "run", "--method", method, "--path", path];
        ok(nightly.cloud.run(&stall));
        let mut child = nightly.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let stalled = || stdout(&nightly.cloud.run(&["emulator", "faults", "list"])).contains("(1 time");
        while !stalled() {
            assert!(child.try_wait().unwrap().is_none(), "{method} {kind}: it ended before it was met");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        ok(nightly.cloud.run(&["emulator", "faults", "clear"]));
        ok(nightly.run(arguments));
        if say.is_empty() {
            assert_eq!(nightly.run(&["status"]).status.code(), Some(30), "{method} {kind}");
            continue;
        }
        let env = nightly.live()["template"]["template"]["containers"][0]["env"].clone();
        assert_eq!(env, json!([{ "name": "SAY", "value": say }]), "{method} {kind}");
        let again = ok(nightly.run(arguments));
        assert!(stderr(&again).contains("no changes to job"), "{method} {kind}: {}", stderr(&again));
    }
}
