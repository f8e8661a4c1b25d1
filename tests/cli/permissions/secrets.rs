//! The same walk for secrets: those of a service, and the commands for them.
use std::io::Write;

use super::*;

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn set(cloud: &LocalCloud, token: &str, file: &Path, value: &str) -> Output {
    let mut command = carrack_as(cloud, token);
    command.args(["secrets", "set", "db-url", "-f"]).arg(file);
    with_input(command, value)
}

fn needed(cloud: &LocalCloud, file: &Path, task: &str, at_times: bool) -> Vec<String> {
    let mut command = cloud.carrack();
    command.args(["permissions", "show", "--as", "json", "--secret", "db-url", "--for", task, "-f"]).arg(file);
    let shown: Value = serde_json::from_str(&stdout(&ok(command.output().unwrap()))).unwrap();
    let needs = shown["needs"].as_array().unwrap().iter().filter(|need| need["who"] == "deployer");
    let needs = needs.filter(|need| need.get("only").is_some() == at_times);
    needs.map(|need| need["permission"].as_str().unwrap().to_owned()).collect()
}

/// Every one missing in turn, and then none.
fn walk(cloud: &LocalCloud, file: &Path, task: &str, arguments: &[&str]) {
    let all = needed(cloud, file, task, false);
    let run = |token: &str| {
        let mut command = carrack_as(cloud, token);
        command.args(arguments).arg("-f").arg(file).output().unwrap()
    };
    assert!(!all.is_empty(), "{task}");
    for one in &all {
        refused_for(&run(&token(cloud, &without(&all, one))), one);
    }
    ok(run(&token(cloud, &all)));
}

#[test]
fn every_command_for_secrets() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &format!("[service]\nname = \"shop\"\n{TARGET}{ACCOUNT}"));
    // There is no secret yet.
    let always = needed(&cloud, &file, "secrets-set", false);
    assert_eq!(always, ["secretmanager.versions.add"]);
    let mut all = always.clone();
    all.extend(["secretmanager.secrets.create", "secretmanager.secrets.get"].map(str::to_owned));
    refused_for(
        &set(&cloud, &token(&cloud, &without(&all, "secretmanager.secrets.create")), &file, "one"),
        "secretmanager.secrets.create",
    );
    ok(set(&cloud, &token(&cloud, &all), &file, "one"));
    // Who may only add does.
    refused_for(&set(&cloud, &token(&cloud, &[]), &file, "two"), "secretmanager.versions.add");
    ok(set(&cloud, &token(&cloud, &always), &file, "two"));
    walk(&cloud, &file, "secrets-list", &["secrets", "list"]);
    walk(&cloud, &file, "secrets-versions", &["secrets", "versions", "db-url"]);
    walk(&cloud, &file, "secrets-get", &["secrets", "get", "db-url"]);
    walk(&cloud, &file, "secrets-disable", &["secrets", "disable", "db-url", "1"]);
    walk(&cloud, &file, "secrets-enable", &["secrets", "enable", "db-url", "1"]);
    walk(&cloud, &file, "secrets-destroy", &["secrets", "destroy", "db-url", "1", "--yes"]);
    walk(&cloud, &file, "secrets-grant", &["secrets", "grant", "db-url"]);
    walk(&cloud, &file, "secrets-delete", &["secrets", "delete", "db-url", "--yes"]);
}

#[test]
fn a_service_with_a_secret() {
    let cloud = LocalCloud::start();
    let text = built("shop", &format!("[secrets]\nSAY = \"db-url\"\n{TARGET}{ACCOUNT}"));
    let file = folder(&cloud.dir().join("app"), &text);
    let all = token(
        &cloud,
        &["secretmanager.versions.add", "secretmanager.secrets.create", "secretmanager.secrets.get"].map(str::to_owned),
    );
    ok(set(&cloud, &all, &file, "said"));
    let mut grant = owner(&cloud);
    ok(grant.args(["secrets", "grant", "db-url", "-f"]).arg(&file).output().unwrap());
    let all = printed(&cloud, &file, "first", false);
    assert!(all.contains(&"secretmanager.versions.get".to_owned()), "{all:?}");
    let deploy = |token: &str| {
        let mut command = carrack_as(&cloud, token);
        command.args(["deploy", "-f"]).arg(&file).output().unwrap()
    };
    for one in &all {
        refused_for(&deploy(&token(&cloud, &without(&all, one))), one);
    }
    ok(deploy(&token(&cloud, &all)));
    let mut check = owner(&cloud);
    let output = ok(check.args(["permissions", "check", "--for", "image", "-f"]).arg(&file).output().unwrap());
    let rows = stdout(&output);
    let row = rows.lines().find(|row| row.contains("secretmanager.versions.access")).unwrap();
    assert!(row.starts_with("yes") && row.contains("the account that the service runs as"), "{rows}");
}
