//! `carrack secrets …`: values byte for byte, versions and their states, and what is never shown.
mod refusals;

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{CARRACK, LocalCloud, project},
};

/// What it prints, with `input` on its standard input. In a folder without a file.
fn fed(cloud: &LocalCloud, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = cloud.carrack();
    command.arg("secrets").args(arguments).arg("--local").current_dir(cloud.dir());
    piped(command, input)
}

fn piped(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have said no before it read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn secrets(cloud: &LocalCloud, arguments: &[&str]) -> Output {
    fed(cloud, arguments, b"")
}

/// As a snapshot; times and the project's number are replaced.
fn seen(output: &Output) -> String {
    let text = shown(output, &[]);
    let text = text.split_inclusive(['\n', ' ', '"']).map(|word| {
        let end = word.len() - 1;
        if word.starts_with("20") && word[..end].ends_with('Z') {
            format!("TIME{}", &word[end..])
        } else {
            word.to_owned()
        }
    });
    text.collect::<String>().replace("642872260880", "NUMBER")
}

/// The calls to Secret Manager so far.
fn calls(cloud: &LocalCloud) -> usize {
    stdout(&ok(cloud.run(&["emulator", "requests"]))).lines().filter(|line| line.contains("/secrets")).count()
}

fn report(output: Output) -> Value {
    serde_json::from_str(stdout(&ok(output)).lines().last().unwrap()).unwrap()
}

fn fault(cloud: &LocalCloud, arguments: &[&str]) {
    ok(cloud.run(&[&["emulator", "faults", "add"], arguments, &["--service", "secretmanager"]].concat()));
}

/// `carrack` as somebody who holds these permissions alone.
fn somebody(cloud: &LocalCloud, permissions: &[&str]) -> Command {
    let (google, console, _) = cloud.parts();
    let body = json!({ "email": "ci@local.iam.gserviceaccount.com", "permissions": permissions });
    let made = cloud.call(Method::POST, &format!("{console}/principals"), Some(&body));
    let mut command = cloud.carrack();
    command.env("CARRACK_ENDPOINT", google).env("CARRACK_ENDPOINT_TOKEN", made["token"].as_str().unwrap());
    command.arg("secrets").current_dir(cloud.dir());
    command
}

#[test]
fn a_secret_from_its_first_value_to_its_end() {
    let cloud = LocalCloud::start();
    insta::assert_snapshot!(seen(&fed(&cloud, &["set", "db-url", "--label", "team=shop"], b"postgres://one\n")), @r"
    exit 0
    --- stdout
    1
    --- stderr
            Note the value ends with a line break, which is part of it; `printf %s` writes none
         Created secret `db-url`
           Added version 1 of secret `db-url`, 15 bytes
    ");
    insta::assert_snapshot!(seen(&fed(&cloud, &["set", "db-url"], b"postgres://one\n")), @r"
    exit 0
    --- stdout
    1
    --- stderr
            Note the value ends with a line break, which is part of it; `printf %s` writes none
            Done secret `db-url` has this value already, as version 1
    ");
    insta::assert_snapshot!(seen(&fed(&cloud, &["set", "db-url", "--label", "stage=test", "-q"], b"two")), @r"
    exit 0
    --- stdout
    2
    ");
    let replicas = ["set", "near", "--replica", "europe-west1", "--replica", "europe-west4", "--format", "json"];
    insta::assert_snapshot!(seen(&fed(&cloud, &replicas, b"x")), @r#"
    exit 0
    --- stdout
    {"bytes":1,"changed":true,"code":0,"created":true,"ok":true,"secret":"near","type":"report","version":"1"}
    "#);
    insta::assert_snapshot!(seen(&secrets(&cloud, &["list"])), @r"
    exit 0
    --- stdout
    secret  created               kept                       labels
    db-url  TIME  automatic                  stage=test,team=shop
    near    TIME  europe-west1,europe-west4
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["get", "db-url"])), @r"
    exit 0
    --- stdout
    two
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["disable", "db-url", "latest"])), @r"
    exit 0
    --- stderr
        Disabled version 2 of secret `db-url`
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["disable", "db-url", "2"])), @r"
    exit 0
    --- stderr
            Done version 2 of secret `db-url` was disabled before
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["destroy", "db-url", "1", "--yes"])), @r"
    exit 0
    --- stderr
       Destroyed version 1 of secret `db-url`
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["versions", "db-url"])), @r"
    exit 0
    --- stdout
    version  created               state
    2        TIME  disabled
    1        TIME  destroyed
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["enable", "db-url", "2"])), @r"
    exit 0
    --- stderr
         Enabled version 2 of secret `db-url`
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["delete", "db-url", "--yes"])), @r"
    exit 0
    --- stderr
         Deleted secret `db-url` with all its versions
    ");
    insta::assert_snapshot!(seen(&secrets(&cloud, &["versions", "db-url"])), @r"
    exit 30
    --- stderr
    error: secret `db-url`: it does not exist in project `local`
      caused by: Secret [projects/NUMBER/secrets/db-url] not found
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db-url/versions?pageSize=… (answered 404)
      help: see which there are: `carrack secrets list`
      help: or give it a value: `carrack secrets set db-url`
    ");
}

#[test]
fn machines_are_told_the_same() {
    let cloud = LocalCloud::start();
    let json = |arguments: &[&str], input: &[u8]| {
        let output = fed(&cloud, &[arguments, &["--format", "json"]].concat(), input);
        let mut report = report(output);
        for pointer in ["/secrets/0", "/versions/0", "/version"] {
            if let Some(Value::Object(fields)) = report.pointer_mut(pointer) {
                assert!(fields.remove("created").is_some() && fields.remove("etag").is_some());
            }
        }
        report
    };
    let base = |fields: Value| {
        let mut report = json!({ "type": "report", "ok": true, "code": 0 });
        report.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        report
    };
    assert_eq!(
        json(&["set", "db"], b"hunter2"),
        base(json!({ "secret": "db", "version": "1", "created": true, "changed": true, "bytes": 7 }))
    );
    assert_eq!(json(&["list"], b""), base(json!({ "secrets": [{ "name": "db", "labels": {}, "locations": [] }] })));
    assert_eq!(
        json(&["versions", "db"], b""),
        base(json!({ "secret": "db", "versions": [{ "id": "1", "state": "enabled" }] }))
    );
    assert_eq!(
        json(&["get", "db", "--show"], b""),
        base(json!({ "secret": "db", "version": "1", "bytes": 7, "value_base64": "aHVudGVyMg==" }))
    );
    assert_eq!(
        json(&["get", "db", "--out", "db.txt"], b""),
        base(json!({ "secret": "db", "version": "1", "bytes": 7, "file": "db.txt" }))
    );
    assert_eq!(
        json(&["disable", "db", "1"], b""),
        base(json!({ "secret": "db", "version": { "id": "1", "state": "disabled" }, "changed": true }))
    );
    let account = "642872260880-compute@developer.gserviceaccount.com";
    assert_eq!(json(&["grant", "db"], b""), base(json!({ "secret": "db", "account": account, "new": true })));
    assert_eq!(json(&["delete", "db", "--yes"], b""), base(json!({ "secret": "db", "deleted": true })));
}

#[test]
fn every_byte_comes_back_as_it_was() {
    let cloud = LocalCloud::start();
    let all: Vec<u8> = (0..=255).collect();
    let longest = all.repeat(256);
    assert_eq!(longest.len(), 64 << 10);
    for (name, value) in [("all", &all), ("longest", &longest), ("line", &b"one\r\n".to_vec()), ("zero", &vec![0])] {
        assert_eq!(stdout(&ok(fed(&cloud, &["set", name], value))), "1");
        assert_eq!(&ok(secrets(&cloud, &["get", name])).stdout, value, "{name} through a pipe");
        let file = cloud.dir().join(name);
        // What was there before is no reason to let others read it.
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        ok(secrets(&cloud, &["get", name, "1", "--out", file.to_str().unwrap()]));
        assert_eq!(&fs::read(&file).unwrap(), value, "{name} to a file");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // From that file it is the same value.
        assert_eq!(stdout(&ok(secrets(&cloud, &["set", name, "--from-file", file.to_str().unwrap()]))), "1");
        let copy = format!("copy-{name}");
        ok(secrets(&cloud, &["set", &copy, "--from-file", file.to_str().unwrap()]));
        assert_eq!(&ok(secrets(&cloud, &["get", &copy])).stdout, value, "{name} from a file");
    }
    assert!(stderr(&fed(&cloud, &["set", "-q", "other", "-"], &all)).is_empty());
    let link = cloud.dir().join("link");
    std::os::unix::fs::symlink(cloud.dir().join("behind"), &link).unwrap();
    fs::write(cloud.dir().join("behind"), "").unwrap();
    ok(secrets(&cloud, &["get", "all", "--out", "link"]));
    assert_eq!(fs::read(cloud.dir().join("behind")).unwrap(), all);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn an_answer_that_is_lost_makes_nothing_twice() {
    let cloud = LocalCloud::start();
    let versions = |name: &str| {
        report(secrets(&cloud, &["versions", name, "--format", "json"]))["versions"].as_array().unwrap().len()
    };
    for (number, kind) in ["reset-after", "503", "429", "truncate", "reset"].into_iter().enumerate() {
        for (place, path) in ["*/secrets", "*:addVersion", "*:access"].into_iter().enumerate() {
            let name = format!("s-{number}-{place}");
            fault(&cloud, &[kind, "--path", path, "--count", "1"]);
            let set = fed(&cloud, &["set", &name], b"one");
            // Whether it was done is looked up, and what was not done may be done again.
            let again = fed(&cloud, &["set", &name], b"one");
            ok(cloud.run(&["emulator", "faults", "clear"]));
            assert_eq!(stdout(&ok(again)), "1", "{kind} {path}: {}", shown(&set, &[]));
            assert_eq!(versions(&name), 1, "{kind} {path}");
        }
    }
    for (path, arguments) in [
        ("*:disable", &["disable", "s-0-0", "1"][..]),
        ("*:enable", &["enable", "s-0-0", "1"]),
        ("*:setIamPolicy", &["grant", "s-0-0", "--to-account", "a@b.iam.gserviceaccount.com"]),
        ("*:destroy", &["destroy", "s-0-0", "1", "--yes"]),
        ("*/secrets/s-0-0", &["delete", "s-0-0", "--yes"]),
    ] {
        fault(&cloud, &["reset-after", "--path", path, "--count", "1"]);
        ok(secrets(&cloud, arguments));
        ok(cloud.run(&["emulator", "faults", "clear"]));
    }
    assert_eq!(secrets(&cloud, &["versions", "s-0-0"]).status.code(), Some(30));
}

#[test]
fn writers_at_once_lose_nothing() {
    let cloud = LocalCloud::start();
    let values: Vec<String> = (0..8).map(|number| format!("value {number}")).collect();
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let writers: Vec<_> = values
            .iter()
            .map(|value| scope.spawn(|| fed(&cloud, &["set", "db", "--format", "json"], value.as_bytes())))
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut created = 0;
    for (value, output) in values.iter().zip(outputs) {
        let report = report(output);
        created += u32::from(report["created"] == true);
        let kept = ok(secrets(&cloud, &["get", "db", report["version"].as_str().unwrap()])).stdout;
        assert_eq!(String::from_utf8(kept).unwrap(), *value);
    }
    assert_eq!(created, 1, "one of them made it");
    let states = ["disable", "destroy", "disable", "destroy"];
    std::thread::scope(|scope| {
        for state in states {
            let cloud = &cloud;
            scope.spawn(move || {
                let output = secrets(cloud, &[state, "db", "3", "--yes"]);
                let code = output.status.code();
                assert!(matches!(code, Some(0 | 30 | 31)), "{state}: {}", shown(&output, &[]));
            });
        }
    });
}

#[test]
fn a_grant_is_for_the_account_that_the_service_runs_as() {
    let cloud = LocalCloud::start();
    ok(fed(&cloud, &["set", "db"], b"x"));
    let target = |rest: &str| {
        format!("[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n{rest}")
    };
    let granted = |file: &std::path::Path| {
        let output =
            cloud.carrack().args(["secrets", "grant", "db", "--local", "--format", "json", "-f"]).arg(file).output();
        report(output.unwrap())["account"].as_str().unwrap().to_owned()
    };
    let file = project(&cloud.dir().join("a"), "shop", &target(""));
    assert_eq!(granted(&file), "642872260880-compute@developer.gserviceaccount.com");
    let named = project(
        &cloud.dir().join("b"),
        "shop",
        &target("service_account = \"run-shop@local.iam.gserviceaccount.com\"\n"),
    );
    assert_eq!(granted(&named), "run-shop@local.iam.gserviceaccount.com");
    // A file that names none runs as what is live does.
    ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&named).output().unwrap());
    assert_eq!(granted(&file), "run-shop@local.iam.gserviceaccount.com");
    let policy =
        cloud.call(Method::GET, "https://secretmanager.googleapis.com/v1/projects/local/secrets/db:getIamPolicy", None);
    assert_eq!(
        policy["bindings"],
        json!([{ "role": "roles/secretmanager.secretAccessor", "members": [
            "serviceAccount:642872260880-compute@developer.gserviceaccount.com",
            "serviceAccount:run-shop@local.iam.gserviceaccount.com",
        ] }])
    );
}

#[test]
fn a_secret_of_another_project_goes_by_its_whole_name() {
    let cloud = LocalCloud::start();
    let whole = "projects/other/secrets/tls";
    ok(fed(&cloud, &["set", whole], b"key"));
    assert_eq!(ok(secrets(&cloud, &["get", whole])).stdout, b"key");
    assert_eq!(secrets(&cloud, &["get", "tls"]).status.code(), Some(30));
    assert_eq!(ok(secrets(&cloud, &["get", "tls", "--project", "other"])).stdout, b"key");
    // The service's own default account, not one of the secret's project.
    let granted = report(secrets(&cloud, &["grant", whole, "--format", "json"]));
    assert_eq!(granted["account"], "642872260880-compute@developer.gserviceaccount.com");
}

/// A terminal, by util-linux: all that it showed. What is typed waits until it is asked for.
fn typed(cloud: &LocalCloud, command: &str, keys: Option<&str>) -> String {
    let template = cloud.carrack();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", command, "/dev/null"]).env_clear();
    script.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(cloud.dir());
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut buffer = [0; 1024];
    let mut keys = keys;
    if keys.is_none() {
        drop(keyboard.take());
    }
    loop {
        let count = screen.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..count]);
        if shown.ends_with(b"(not shown): ")
            && let (Some(keys), Some(keyboard)) = (keys.take(), &mut keyboard)
        {
            keyboard.write_all(keys.as_bytes()).unwrap();
        }
    }
    let code = child.wait().unwrap().code().unwrap();
    // Nobody sees a blank at the end of a line.
    format!("exit {code}\n{}", String::from_utf8_lossy(&shown).replace('\r', "").replace(" \n", "\n"))
}

#[test]
fn a_terminal_shows_no_value_unasked() {
    let cloud = LocalCloud::start();
    let set = format!("{CARRACK} secrets set db --local; stty -a | tr ';' '\n' | grep -c ' echo '");
    let shown = typed(&cloud, &set, Some("hunter2\n"));
    insta::assert_snapshot!(shown, @r"
    exit 0
    Value of secret `db` (not shown):
            Read 7 bytes
         Created secret `db`
           Added version 1 of secret `db`, 7 bytes
    1
    1
    ");
    assert_eq!(ok(secrets(&cloud, &["get", "db"])).stdout, b"hunter2");
    insta::assert_snapshot!(typed(&cloud, &format!("{CARRACK} secrets get db --local"), None), @r"
    exit 2
    error: refusing to write the value of a secret on a terminal
      help: pipe it, or write it to a file: `carrack secrets get db --out FILE`
      help: or add `--show`
    ");
    insta::assert_snapshot!(typed(&cloud, &format!("{CARRACK} secrets get db --local --show"), None), @r"
    exit 0
    hunter2
    ");
    // Nobody is asked twice, and what is destroyed stays until somebody says yes.
    let destroy = format!("{CARRACK} secrets destroy db 1 --local");
    assert!(typed(&cloud, &destroy, None).contains("Kept nothing was changed"));
    assert_eq!(ok(secrets(&cloud, &["get", "db"])).stdout, b"hunter2");
}
