//! `carrack logs`: which lines, in which form, and each once.
#![expect(clippy::disallowed_methods, reason = "lines have to grow old, and a look takes its time")]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::{
    run::{ok, stdout},
    support::{LocalCloud, project},
};

fn get(url: &str) {
    ok(Command::new("curl").args(["--silent", "--output", "/dev/null", url]).output().unwrap());
}

#[test]
fn lines_are_chosen_by_weight_revision_and_age() {
    let cloud = LocalCloud::start();
    let dir = cloud.dir().join("app");
    let deploy = |say: &str| {
        let rest = format!("[env]\nSAY = \"{say}\"\nSTATUS = \"404 Not Found\"\n");
        let file = project(&dir, "shop", &rest);
        let output = cloud.carrack().args(["deploy", "--local", "--format", "json", "-f"]).arg(&file).output().unwrap();
        let report: Value = serde_json::from_str(stdout(&ok(output)).lines().last().unwrap()).unwrap();
        (report["url"].as_str().unwrap().to_owned(), report["revision"].as_str().unwrap().to_owned(), file)
    };
    let (_, first, _) = deploy("one");
    let (url, second, file) = deploy("two");
    get(&format!("{url}/lost"));
    let logs = |arguments: &[&str]| {
        let mut command = cloud.carrack();
        command.args(["logs", "--local", "--format", "json", "-f"]).arg(&file).args(arguments);
        let text = stdout(&ok(command.output().unwrap()));
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["text"].is_string()).collect::<Vec<_>>()
    };
    let has = |lines: &[Value], text: &str| lines.iter().any(|line| line["text"].as_str().unwrap().contains(text));
    let all = logs(&[]);
    assert!(has(&all, "listening on") && has(&all, "/lost"), "{all:?}");
    let grave = logs(&["--severity", "warning"]);
    assert!(has(&grave, "/lost") && !has(&grave, "listening on"), "{grave:?}");
    assert!(grave.iter().all(|line| line["severity"] == "WARNING" || line["severity"] == "ERROR"), "{grave:?}");
    for revision in [&first, &second] {
        let own = logs(&["--revision", revision]);
        assert!(has(&own, "listening on") && own.iter().all(|line| line["revision"] == **revision), "{own:?}");
    }
    sleep(Duration::from_secs(3));
    assert_eq!(logs(&["--since", "1s"]), Vec::<Value>::new());
    assert_eq!(logs(&["--since", "1h"]).len(), all.len());
    assert_eq!(logs(&["--tail", "1"]).len(), 1);
    let wrong = cloud.carrack().args(["logs", "--local", "--severity", "loud"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn following_shows_each_line_once() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "");
    let url = stdout(&ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap()));
    let mut command = cloud.carrack();
    command.args(["logs", "--local", "--follow", "--format", "json", "-f"]).arg(&file);
    let mut follow = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Over several looks, each of which reaches back over the ones before.
    for number in 1..=5 {
        get(&format!("{url}/call-{number}-"));
        sleep(Duration::from_millis(1500));
    }
    get(&format!("{url}/end"));
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen = Vec::new();
    for line in lines {
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains("/end")) {
            break;
        }
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    for number in 1..=5 {
        let call = format!("/call-{number}-");
        assert_eq!(seen.iter().filter(|line| line.contains(&call)).count(), 1, "{call}: {seen:?}");
    }
    assert_eq!(seen.iter().filter(|line| line.contains("listening on")).count(), 1, "{seen:?}");
}
