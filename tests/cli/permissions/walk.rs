//! With precisely the printed permissions a command passes, and with any one removed it fails naming that one.
use super::*;

/// Commands that are a task, each with its arguments but for the file.
type Script<'a> = &'a [&'a [&'a str]];

/// Runs the script up to the first command that fails.
fn run(cloud: &LocalCloud, token: &str, file: &Path, script: Script<'_>) -> Output {
    let mut last = None;
    for arguments in script {
        let mut command = carrack_as(cloud, token);
        command.args(*arguments).current_dir(file.parent().unwrap());
        if !arguments.contains(&"--plan") {
            command.arg("-f").arg(file);
        }
        let output = command.output().unwrap();
        if !output.status.success() {
            return output;
        }
        last = Some(output);
    }
    last.unwrap()
}

/// Every one missing in turn, and then none: what fails changes nothing, so that the last one finds it as it was.
fn walk(cloud: &LocalCloud, file: &Path, task: &str, script: Script<'_>) {
    let all = printed(cloud, file, task, false);
    assert!(!all.is_empty(), "{task}");
    for one in &all {
        let output = run(cloud, &token(cloud, &without(&all, one)), file, script);
        refused_for(&output, one);
    }
    ok(run(cloud, &token(cloud, &all), file, script));
}

/// An owner deployed it; since then its settings and its image are others.
fn deployed_and_changed(cloud: &LocalCloud) -> PathBuf {
    let text = |say: &str| built("shop", &format!("[env]\nSAY = \"{say}\"\n{TARGET}{ACCOUNT}"));
    let file = folder(&cloud.dir().join("app"), &text("one"));
    ok(owner(cloud).arg("deploy").arg("-f").arg(&file).output().unwrap());
    fs::write(&file, text("two")).unwrap();
    another_image(&file);
    file
}

#[test]
fn the_first_deploy() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &built("shop", &format!("{TARGET}{ACCOUNT}")));
    walk(&cloud, &file, "first", &[&["deploy"]]);
    assert_eq!(cloud.run(&["emulator", "status"]).status.code(), Some(0));
}

#[test]
fn a_refused_deploy_has_changed_nothing() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &built("shop", &format!("{TARGET}{ACCOUNT}")));
    let all = printed(&cloud, &file, "first", false);
    let writes = || -> Vec<String> {
        cloud.writes().into_iter().filter(|write| !write.ends_with(":testIamPermissions")).collect()
    };
    for one in ["run.operations.get", "run.services.setIamPolicy", "iam.serviceAccounts.actAs", "run.services.create"] {
        let output = run(&cloud, &token(&cloud, &without(&all, one)), &file, &[&["deploy"]]);
        refused_for(&output, one);
        assert_eq!(writes(), [""; 0], "without {one}");
    }
}

#[test]
fn a_change_of_settings_and_then_what_looks_and_what_removes() {
    let cloud = LocalCloud::start();
    let file = deployed_and_changed(&cloud);
    walk(&cloud, &file, "plan", &[&["plan"]]);
    walk(&cloud, &file, "change", &[&["deploy"]]);
    // It is public, and shall not be any more.
    let text = fs::read_to_string(&file).unwrap().replace("another image", "the image");
    fs::write(&file, text.replace("public = true", "public = false")).unwrap();
    another_image(&file);
    let mut all = printed(&cloud, &file, "change", false);
    let output = run(&cloud, &token(&cloud, &all), &file, &[&["deploy"]]);
    refused_for(&output, "run.services.setIamPolicy");
    all.push("run.services.setIamPolicy".to_owned());
    ok(run(&cloud, &token(&cloud, &all), &file, &[&["deploy"]]));

    walk(&cloud, &file, "status", &[&["status"]]);
    let seen = run(&cloud, &token(&cloud, &printed(&cloud, &file, "status", false)), &file, &[&["status"]]);
    assert!(stdout(&seen).contains("public    unknown"), "{}", stdout(&seen));
    let output = run(&cloud, &token(&cloud, &printed(&cloud, &file, "status", false)), &file, &[&["status", "--all"]]);
    refused_for(&output, "run.services.list");
    let first = shop_revisions(&cloud, &file).pop().unwrap();
    walk(&cloud, &file, "traffic", &[&["traffic", "latest=50", &format!("{first}=50")]]);
    walk(&cloud, &file, "logs", &[&["logs"]]);
    walk(&cloud, &file, "destroy", &[&["destroy", "--yes"]]);
}

/// Newest first.
fn shop_revisions(cloud: &LocalCloud, file: &Path) -> Vec<String> {
    let output = ok(owner(cloud).args(["status", "--format", "json", "-f"]).arg(file).output().unwrap());
    let report: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    let revisions = report["revisions"].as_array().unwrap().iter();
    revisions.map(|revision| revision["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_image_and_nothing_else() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &built("shop", &format!("{TARGET}{ACCOUNT}")));
    ok(owner(&cloud).arg("deploy").arg("-f").arg(&file).output().unwrap());
    let other = cloud.push_app("other");
    let small = cloud.dir().join("small.toml");
    fs::write(&small, format!("[service]\nname = \"shop\"\n{TARGET}")).unwrap();
    walk(&cloud, &small, "image", &[&["deploy", "--image", &other.0]]);
}

#[test]
fn a_tag_is_looked_up() {
    let cloud = LocalCloud::start();
    let pushed = cloud.push_app("other");
    let text = format!("[service]\nname = \"shop\"\n[image]\nref = \"{}:latest\"\n{TARGET}", pushed.repository());
    let file = folder(&cloud.dir().join("tagged"), &text);
    walk(&cloud, &file, "plan", &[&["plan"]]);
}

#[test]
fn a_push_and_its_repository() {
    let cloud = LocalCloud::start();
    let file = folder(&cloud.dir().join("app"), &built("shop", TARGET));
    let always = printed(&cloud, &file, "push", false);
    let at_times = printed(&cloud, &file, "push", true);
    let all: Vec<String> = always.iter().chain(&at_times).cloned().collect();
    assert_eq!(at_times, ["artifactregistry.repositories.create", "artifactregistry.repositories.get"]);
    // There is no repository yet.
    for one in &all {
        refused_for(&run(&cloud, &token(&cloud, &without(&all, one)), &file, &[&["push"]]), one);
        if at_times.contains(one) {
            continue;
        }
        ok(owner(&cloud).args(["emulator", "reset"]).output().unwrap());
    }
    ok(run(&cloud, &token(&cloud, &all), &file, &[&["push"]]));
    another_image(&file);
    walk(&cloud, &file, "push", &[&["push"]]);
}

#[test]
fn a_pipeline() {
    let cloud = LocalCloud::start();
    let file = deployed_and_changed(&cloud);
    walk(&cloud, &file, "ci", &[&["push"], &["plan", "--out", "plan.json"], &["deploy", "--plan", "plan.json"]]);
}

#[test]
fn whatever_the_file_says_from_nothing_on() {
    let cloud = LocalCloud::start();
    let dir = cloud.dir().join("app");
    // A service and a repository of its own for each, so that each is the first.
    let text = |name: &str, say: &str| {
        let target = format!("{TARGET}{ACCOUNT}repository = \"us-central1-docker.pkg.dev/local/{name}\"\n");
        built(name, &format!("[env]\nSAY = \"{say}\"\n{target}"))
    };
    let all = printed(&cloud, &folder(&dir, &text("shop", "one")), "deploy", false);
    let twice = |token: &str, name: &str| {
        let file = folder(&dir, &text(name, "one"));
        let first = run(&cloud, token, &file, &[&["deploy"]]);
        if !first.status.success() {
            return first;
        }
        fs::write(&file, text(name, "two")).unwrap();
        run(&cloud, token, &file, &[&["deploy"]])
    };
    for (number, one) in all.iter().enumerate() {
        refused_for(&twice(&token(&cloud, &without(&all, one)), &format!("shop-{number}")), one);
    }
    ok(twice(&token(&cloud, &all), "shop"));
}

#[test]
fn a_job_from_its_first_deploy_to_its_end() {
    let cloud = LocalCloud::start();
    let text = |say: &str| {
        let service = built("nightly", &format!("[env]\nSAY = \"{say}\"\n{TARGET}{ACCOUNT}"));
        service.replace("[service]", "[job]").replace("port = 8080\npublic = true\n", "")
    };
    let file = folder(&cloud.dir().join("app"), &text("one"));
    walk(&cloud, &file, "first", &[&["deploy"]]);
    fs::write(&file, text("two")).unwrap();
    another_image(&file);
    walk(&cloud, &file, "plan", &[&["plan"]]);
    walk(&cloud, &file, "change", &[&["deploy"]]);
    walk(&cloud, &file, "jobs-run", &[&["jobs", "run", "--no-wait"]]);
    // What is needed only at times is named when it is.
    let mut all = printed(&cloud, &file, "jobs-run", false);
    all.extend(printed(&cloud, &file, "jobs-run", true));
    let otherwise: Script<'_> = &[&["jobs", "run", "--env", "SAY=three"]];
    for one in ["run.jobs.runWithOverrides", "run.jobs.get", "run.executions.get"] {
        refused_for(&run(&cloud, &token(&cloud, &without(&all, one)), &file, otherwise), one);
    }
    ok(run(&cloud, &token(&cloud, &all), &file, otherwise));
    let silent = ok(run(&cloud, &token(&cloud, &without(&all, "logging.logEntries.list")), &file, otherwise));
    assert!(stderr(&silent).contains("the log cannot be read"), "{}", stderr(&silent));
    walk(&cloud, &file, "jobs-executions", &[&["jobs", "executions"]]);
    walk(&cloud, &file, "status", &[&["status"]]);
    walk(&cloud, &file, "logs", &[&["logs"]]);
    walk(&cloud, &file, "destroy", &[&["destroy", "--yes"]]);
}
