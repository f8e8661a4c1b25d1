//! Deploy, deploy again, change, break, remove: on a local cloud of its own.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, project},
};

/// The body that a URL answers with, if it answers 200.
fn get(url: &str) -> Result<String, String> {
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(text) }
}

#[test]
fn a_deploy_answers_and_the_next_one_changes_nothing() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nSAY = \"one\"\n");
    let carrack = |arguments: &[&str]| cloud.carrack().args(arguments).arg("-f").arg(&file).output().unwrap();

    let first = ok(carrack(&["deploy", "--local"]));
    let url = stdout(&first);
    assert!(stderr(&first).contains("answered 200 in "), "{}", stderr(&first));
    assert!(get(&url).unwrap().contains("one from shop-00001-"), "{:?}", get(&url));

    let logs = stdout(&ok(carrack(&["logs", "--local"])));
    assert!(logs.contains("listening on"), "{logs}");

    let writes = cloud.writes();
    let second = ok(carrack(&["deploy", "--local"]));
    assert!(stderr(&second).contains("no changes to service `shop`"), "{}", stderr(&second));
    assert_eq!(stdout(&second), url);
    assert_eq!(cloud.writes(), writes, "a deploy without changes writes nothing");
    assert_eq!(carrack(&["plan", "--local", "--exit-code"]).status.code(), Some(0));

    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"one\"", "\"two\"")).unwrap();
    let plan = carrack(&["plan", "--local", "--exit-code", "--color", "never"]);
    assert_eq!(plan.status.code(), Some(3));
    let changes: Vec<String> = stderr(&plan)
        .lines()
        .filter(|line| line.trim_start().starts_with(['+', '-', '~']))
        .map(|line| line.trim().to_owned())
        .collect();
    assert_eq!(changes, ["~ env.SAY  \"one\" -> \"two\""]);

    // Requests go on while the revisions change.
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (stop, answers, url) = (Arc::clone(&stop), Arc::clone(&answers), url.clone());
        thread::spawn(move || {
            let mut last = String::new();
            while !stop.load(Ordering::Relaxed) {
                last = get(&url).expect("no request fails during a deploy");
                answers.fetch_add(1, Ordering::Relaxed);
            }
            last
        })
    };
    while answers.load(Ordering::Relaxed) < 50 && !load.is_finished() {
        thread::yield_now();
    }
    let third = ok(carrack(&["deploy", "--local"]));
    let seen = answers.load(Ordering::Relaxed);
    while answers.load(Ordering::Relaxed) < seen + 50 && !load.is_finished() {
        thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(load.join().unwrap().contains("two from shop-00002-"));
    assert_eq!(stdout(&third), url, "the URL stays");

    let status = stdout(&ok(carrack(&["status", "--local"])));
    assert!(status.contains("shop-00002-") && status.contains("100%") && status.contains(&url), "{status}");

    ok(carrack(&["destroy", "--local", "--yes"]));
    assert_eq!(carrack(&["status", "--local"]).status.code(), Some(30));
    assert!(get(&url).is_err());
}

#[test]
fn an_image_alone_changes_the_image_alone() {
    let cloud = LocalCloud::start();
    let dir = cloud.dir().join("app");
    let file = project(&dir, "shop", "[env]\nSAY = \"kept\"\n[scaling]\nmax = 7\n");
    ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap());
    let status = |cloud: &LocalCloud| -> Value {
        let output =
            ok(cloud.carrack().args(["status", "--local", "--format", "json", "-f"]).arg(&file).output().unwrap());
        serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap()
    };
    let before = status(&cloud);

    let other = cloud.push_app("other");
    let small = dir.join("small.toml");
    fs::write(&small, "[service]\nname = \"shop\"\n").unwrap();
    let plan = ok(cloud
        .carrack()
        .args(["plan", "--local", "--color", "never", "--image", &other.0, "-f"])
        .arg(&small)
        .output()
        .unwrap());
    assert!(stderr(&plan).contains("kept: 1 env, "), "{}", stderr(&plan));
    let output =
        ok(cloud.carrack().args(["deploy", "--local", "--image", &other.0, "-f"]).arg(&small).output().unwrap());
    assert!(get(&stdout(&output)).unwrap().contains("kept from shop-00002-"));

    let after = status(&cloud);
    let mut expected = before["spec"].clone();
    expected["workload"]["main"]["image"] = Value::from(other.0.clone());
    assert_eq!(after["spec"], expected);
    assert_eq!(after["receipt"]["owned"], before["receipt"]["owned"]);
    assert_eq!(after["receipt"]["digest"], Value::from(other.digest().unwrap()));
}

#[test]
fn a_container_that_exits_is_50_with_its_last_lines() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nSAY = \"good\"\n");
    let url = stdout(&ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap()));
    fs::write(&file, fs::read_to_string(&file).unwrap() + "EXIT = \"3\"\n").unwrap();
    let broken = cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap();
    let text = shown(&broken, &[]);
    assert_eq!(broken.status.code(), Some(50), "{text}");
    assert!(text.contains("fatal: no database at db.example:5432"), "{text}");
    assert!(text.contains("revision `shop-00002-"), "{text}");
    assert!(get(&url).unwrap().contains("good from shop-00001-"), "the earlier revision goes on answering");
}

#[test]
fn json_is_one_event_a_line_and_the_report_last() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "");
    let output = ok(cloud.carrack().args(["deploy", "--local", "--format", "json", "-f"]).arg(&file).output().unwrap());
    let events: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let (report, events) = events.split_last().unwrap();
    assert_eq!(
        (&report["type"], &report["result"], &report["probe"]["status"]),
        (&"report".into(), &"deployed".into(), &200.into())
    );
    assert!(report["url"].is_string() && report["revision"].is_string() && report["digest"].is_string(), "{report}");
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    for expected in ["phase_started", "phase_finished", "planned", "step_started", "step_finished"] {
        assert!(types.contains(&expected), "{types:?}");
    }
    assert!(!types.contains(&"report"));
}

#[test]
fn a_saved_plan_is_applied_or_is_stale() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nSAY = \"one\"\n");
    let carrack = |arguments: &[&str]| {
        cloud.carrack().args(arguments).arg("-f").arg(&file).current_dir(cloud.dir()).output().unwrap()
    };
    // A saved plan names its own target, so it takes no file and no `--to`.
    let apply = |plan: &str| {
        cloud.carrack().args(["deploy", "--local", "--plan", plan]).current_dir(cloud.dir()).output().unwrap()
    };
    assert_eq!(carrack(&["deploy", "--local", "--plan", "plan.json"]).status.code(), Some(2));
    let early = carrack(&["plan", "--local", "--out", "plan.json"]);
    assert_eq!(early.status.code(), Some(30), "{}", shown(&early, &[]));
    ok(carrack(&["push", "--local"]));
    ok(carrack(&["plan", "--local", "--out", "plan.json"]));
    ok(carrack(&["plan", "--local", "--out", "stale.json"]));
    let applied = ok(apply("plan.json"));
    assert!(get(&stdout(&applied)).unwrap().contains("one from shop-00001-"));
    ok(apply("plan.json"));
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"one\"", "\"two\"")).unwrap();
    ok(carrack(&["deploy", "--local"]));
    assert_eq!(apply("stale.json").status.code(), Some(13));
    fs::write(cloud.dir().join("broken.json"), "{}").unwrap();
    assert_eq!(apply("broken.json").status.code(), Some(12));
}

#[test]
fn destroy_asks_first() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "");
    ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap());
    let output = cloud.carrack().args(["destroy", "--local", "-f"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
    assert_eq!(cloud.carrack().args(["status", "--local", "-f"]).arg(&file).output().unwrap().status.code(), Some(0));
}

#[test]
fn a_service_that_answers_500_fails_every_time() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nSTATUS = \"500 Oh\"\n");
    for _ in 0..2 {
        let output = cloud.carrack().args(["deploy", "--local", "--timeout", "4s", "-f"]).arg(&file).output().unwrap();
        let text = shown(&output, &[]);
        assert_eq!(output.status.code(), Some(50), "{text}");
        assert!(text.contains("has the traffic") && text.contains("listening on"), "{text}");
    }
}

#[test]
fn a_report_has_the_exit_code() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "");
    let plan = ["plan", "--local", "--exit-code", "--format", "json", "-f"];
    let output = cloud.carrack().args(plan).arg(&file).output().unwrap();
    let report: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    assert_eq!((output.status.code(), &report["code"], &report["changes"]), (Some(3), &3.into(), &true.into()));
}

#[test]
fn a_reader_that_is_gone_ends_following_logs() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "");
    let url = stdout(&ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap()));
    let mut command = cloud.carrack();
    command.args(["logs", "--local", "--follow", "-f"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut logs = command.spawn().unwrap();
    let mut first = [0];
    logs.stdout.take().unwrap().read_exact(&mut first).unwrap();
    // Its output is closed now; the next line is what tells it.
    while logs.try_wait().unwrap().is_none() {
        get(&url).unwrap();
    }
    assert!(logs.wait().unwrap().success());
}
