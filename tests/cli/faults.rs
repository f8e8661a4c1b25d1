//! `carrack emulator faults`: what it takes, prints and refuses.
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    run::{ok, shown, snapshot, stderr, stdout},
    support::{LocalCloud, carrack, project},
};

#[test]
fn rules_are_set_listed_and_cleared() {
    let cloud = LocalCloud::start();
    let faults = |arguments: &[&str]| cloud.carrack().args(["emulator", "faults"]).args(arguments).output().unwrap();
    let add =
        ["add", "429", "--service", "run", "--path", "/v2/*", "--retry-after", "1500ms", "--message", "slow down"];
    assert_eq!(stdout(&ok(faults(&add))), "1");
    let report = stdout(&ok(faults(&["add", "stall-after", "--method", "PUT", "--nth", "2", "--format", "json"])));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["type"], &report["id"]), (&"report".into(), &2.into()));
    insta::assert_snapshot!(stdout(&ok(faults(&["list"]))), @r"
    1 429 --service run --path '/v2/*' --retry-after 2s --message 'slow down'  (0 times)
    2 stall-after --method PUT --nth 2  (0 times)
    ");
    insta::assert_snapshot!(stdout(&ok(faults(&["list", "--format", "json"]))), @r#"
    {"calls":0,"fault":{"kind":"status","message":"slow down","retryAfter":2,"status":429},"hits":0,"id":1,"path":"/v2/*","service":"run"}
    {"calls":0,"fault":{"kind":"stall-after"},"hits":0,"id":2,"method":"PUT","nth":2}
    "#);
    assert!(stderr(&ok(faults(&["clear", "1"]))).contains("Cleared 1 rule"));
    assert_eq!(faults(&["clear", "1"]).status.code(), Some(30));
    assert!(stdout(&ok(faults(&["clear", "--format", "json"]))).contains("\"cleared\":1"));
    assert_eq!(stdout(&ok(faults(&["list"]))), "");
}

#[test]
fn what_is_no_rule_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let add =
        |arguments: &[&str]| snapshot(carrack(dir.path()).args(["emulator", "faults", "add"]).args(arguments), &[]);
    insta::assert_snapshot!(add(&["explode"]), @r"
    exit 2
    --- stderr
    error: invalid value 'explode' for '<FAULT>': `explode` is no fault

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(add(&["reset", "--retry-after", "2s"]), @r"
    exit 2
    --- stderr
    error: `--retry-after` does not go with the fault `reset`
      help: see `carrack emulator faults add --help`
    ");
    insta::assert_snapshot!(add(&["503", "--service", "storage"]), @r"
    exit 2
    --- stderr
    error: invalid value 'storage' for '--service <NAME>': `storage` is no service of the local cloud: use run, artifactregistry, logging, secretmanager, serviceusage, iam, cloudresourcemanager, iamcredentials, oauth2, sts, metadata, github, registry

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(add(&["503"]), @r"
    exit 41
    --- stderr
    error: no local cloud runs
      help: start it with `carrack emulator start`
    ");
}

#[test]
fn latency_slows_every_call() {
    let cloud = LocalCloud::start_with(&["--latency", "400ms"]);
    let file = project(&cloud.dir().join("app"), "shop", "");
    let begun = Instant::now();
    let plan = cloud.carrack().args(["plan", "--local", "-f"]).arg(&file).output().unwrap();
    assert!(plan.status.success(), "{}", shown(&plan, &[]));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    let again = cloud.run(&["emulator", "start", "--latency", "50ms"]);
    assert_eq!(again.status.code(), Some(41), "it is not changed while it runs");
    ok(cloud.run(&["emulator", "start"]));
}

#[test]
fn a_cloud_that_does_not_hold_its_answer_back_is_asked_again() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "");
    ok(cloud.run(&["emulator", "faults", "add", "501", "--path", "/v2/*:wait"]));
    let deploy = ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap());
    assert!(stderr(&deploy).contains("answered 200 in "));
    let requests = stdout(&ok(cloud.run(&["emulator", "requests"])));
    let of =
        |form: &str| requests.lines().filter(|line| line.starts_with(form) && line.contains("/operations/")).count();
    assert_eq!((of("501 POST"), of("200 GET") > 0), (1, true), "{requests}");
    ok(cloud.run(&["emulator", "faults", "clear"]));
    ok(cloud.carrack().args(["destroy", "--local", "--yes", "-f"]).arg(&file).output().unwrap());
    let requests = stdout(&ok(cloud.run(&["emulator", "requests"])));
    assert!(requests.lines().any(|line| line.starts_with("200 POST") && line.ends_with(":wait")), "{requests}");
}
