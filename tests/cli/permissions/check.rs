//! `permissions check` says what the cloud says.
use carrack_core::permission::Task;

use super::*;

fn check(cloud: &LocalCloud, token: &str, file: &Path, task: &str, more: &[&str]) -> Output {
    let mut command = carrack_as(cloud, token);
    command.args(["permissions", "check", "--color", "never", "--for", task]).args(more).arg("-f").arg(file);
    command.output().unwrap()
}

/// Before anything is there, and for every task.
#[test]
fn it_passes_with_what_is_printed_and_names_the_one_that_is_missing() {
    let cloud = LocalCloud::start();
    let text = built("shop", &format!("{TARGET}{ACCOUNT}"));
    let file = folder(&cloud.dir().join("app"), &text);
    for task in Task::ALL.map(Task::name) {
        let all = printed(&cloud, &file, task, false);
        assert_eq!(all.is_empty(), task == "check", "{task}");
        let of = ["--secret", "db-url"];
        ok(check(&cloud, &token(&cloud, &all), &file, task, &of));
        for one in &all {
            let output = check(&cloud, &token(&cloud, &without(&all, one)), &file, task, &of);
            refused_for(&output, one);
            let rows: Vec<String> =
                stdout(&output).lines().filter(|line| line.starts_with("missing")).map(str::to_owned).collect();
            assert!(rows.iter().all(|row| row.contains(one.as_str())) && !rows.is_empty(), "{task} {one}: {rows:?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_said_and_is_no_failure() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &format!("[service]\nname = \"shop\"\n{TARGET}"));
    let add = ["emulator", "faults", "add", "403", "--service", "cloudresourcemanager", "--message"];
    let disabled = "Cloud Resource Manager API has not been used in project local before or it is disabled. Enable it.";
    ok(cloud.run(&[add.as_slice(), &[disabled]].concat()));
    let output = ok(check(&cloud, &token(&cloud, &[]), &file, "logs", &[]));
    let line = stdout(&output);
    assert!(line.starts_with("unknown  project `local`  logging.logEntries.list"), "{line}");
    assert!(line.contains("the project could not be asked: Cloud Resource Manager API has not been used"), "{line}");
    assert!(stderr(&output).contains("1 of 1 could not be asked"), "{}", stderr(&output));
    let report = ok(check(&cloud, &token(&cloud, &[]), &file, "logs", &["--format", "json"]));
    let lines: Vec<Value> = stdout(&report).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["answer"]), (&json!("permission"), &json!("unknown")));
    assert_eq!((&lines[1]["type"], &lines[1]["unknown"]), (&json!("report"), &json!(1)));
}

#[test]
fn the_live_services_account_and_image_are_asked_where_the_file_names_none() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &built("shop", &format!("{TARGET}{ACCOUNT}")));
    ok(owner(&cloud).arg("deploy").arg("-f").arg(&file).output().unwrap());
    let small = cloud.dir().join("small.toml");
    fs::write(&small, format!("[service]\nname = \"shop\"\n{TARGET}")).unwrap();
    let all = printed(&cloud, &small, "image", false);
    let output = ok(check(&cloud, &token(&cloud, &all), &small, "image", &[]));
    let rows = stdout(&output);
    assert!(rows.contains("service account `run@local.iam.gserviceaccount.com`"), "{rows}");
    assert!(rows.contains("repository `us-central1-docker.pkg.dev/local/carrack`"), "{rows}");
}
