//! Every command in README, docs and examples does what it says.
#![expect(clippy::disallowed_methods, reason = "documented commands are found on PATH")]

use std::{fs, path::Path, process::Command};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{CARRACK, LocalCloud, ROOT, app, carrack, project},
};

/// The lines of every ```console block that begin with `$ `, in order.
pub(crate) fn commands(file: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    text.split("```console\n")
        .skip(1)
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .filter_map(|line| line.strip_prefix("$ "))
        .map(str::to_owned)
        .collect()
}

fn toml_block(file: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// gcloud is not on every machine: tests/conformance/gcloud runs its lines.
fn is_for_gcloud(line: &str) -> bool {
    line.starts_with("gcloud ") || line.contains("--for gcloud")
}

/// Runs a documented line by `sh`, with `carrack` on PATH; real clouds are the local one.
pub(crate) fn run(cloud: &LocalCloud, line: &str, folder: &Path) -> std::process::Output {
    let bin = cloud.dir().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let link = bin.join("carrack");
    if !link.exists() {
        std::os::unix::fs::symlink(CARRACK, &link).unwrap();
    }
    let template = cloud.carrack();
    let mut command = Command::new("sh");
    command.arg("-euc").arg(line).current_dir(folder).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![bin];
    folders.extend(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    for line in stdout(&ok(cloud.run(&["emulator", "env"]))).lines() {
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        command.env(name, value);
    }
    command.output().unwrap()
}

#[test]
fn readme() {
    let lines = commands("README.md");
    let cloud = LocalCloud::start();
    let (first, rest) = lines.split_first().unwrap();
    // `cargo run --` is the program that these tests are about.
    let arguments: Vec<&str> = first.strip_prefix("cargo run -- ").unwrap().split(' ').collect();
    let output = ok(cloud.carrack().args(arguments).current_dir(ROOT).output().unwrap());
    let text = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(stderr(&output).contains("answered 200 in "), "{}", shown(&output, &[]));
    assert!(text.contains("answered 200 in "), "the transcript is a real one");

    let folder = tempfile::tempdir().unwrap();
    for line in rest {
        match line.as_str() {
            "cargo install --path ." => {}
            "carrack init --name shop" => {
                ok(run(&cloud, line, folder.path()));
                // What the README shows next is that file, written out.
                fs::write(folder.path().join("carrack.toml"), toml_block("README.md")).unwrap();
                fs::copy(app(), folder.path().join("shop")).unwrap();
            }
            line => {
                assert!(line.starts_with("carrack "), "an unknown kind of line: {line}");
                ok(run(&cloud, line, folder.path()));
            }
        }
    }
}

#[test]
fn the_local_clouds_page() {
    let cloud = LocalCloud::start_with(&["--latency", "50ms"]);
    let file = project(&cloud.dir().join("app"), "shop", "");
    let mut outputs = Vec::new();
    for line in commands("docs/local-cloud.md").into_iter().filter(|line| !is_for_gcloud(line)) {
        let output = ok(run(&cloud, &line, file.parent().unwrap()));
        outputs.push((line, output));
    }
    let of = |line: &str| &outputs.iter().find(|(ran, _)| ran == line).unwrap_or_else(|| panic!("{line}")).1;
    assert_eq!(stdout(of("carrack emulator faults list")), "1 503 --service run --method GET --count 2  (2 times)");
    let requests = stdout(of("carrack emulator requests"));
    assert_eq!(requests.lines().filter(|line| line.starts_with("503 GET") && line.ends_with("(503)")).count(), 2);
    assert!(stderr(of("carrack deploy --local")).contains("answered 200 in "));
    let requests = stdout(&ok(cloud.run(&["emulator", "requests"])));
    assert!(
        requests.lines().any(|line| line.starts_with("--- DELETE") && line.ends_with("(reset-after)")),
        "{requests}"
    );
    assert_eq!(cloud.carrack().args(["status", "--local", "-f"]).arg(&file).output().unwrap().status.code(), Some(30));
}

#[test]
fn the_page_on_secrets() {
    let cloud = LocalCloud::start();
    let target = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";
    let file = project(&cloud.dir().join("app"), "shop", target);
    let folder = file.parent().unwrap();
    fs::write(folder.join("key.pem"), "-----BEGIN KEY-----\nMIIE\n-----END KEY-----\n").unwrap();
    for line in commands("docs/secrets.md") {
        ok(run(&cloud, &format!("export PASSWORD=hunter2; {line}"), folder));
    }
    assert_eq!(fs::read(folder.join("password.txt")).unwrap(), b"hunter2");
    assert_eq!(fs::read(folder.join("key.pem")).unwrap(), fs::read(folder.join("key-again.pem")).unwrap());
}

#[test]
fn the_page_on_traffic() {
    let cloud = LocalCloud::start();
    let target = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";
    let file = project(&cloud.dir().join("app"), "shop", &format!("[env]\nSAY = \"1\"\n{target}"));
    let mut names: Vec<String> = Vec::new();
    let lines = commands("docs/traffic.md");
    assert!(lines.len() > 8);
    for (number, line) in lines.iter().enumerate() {
        // Each deploy is of something new, and the page's names are those of its own revisions.
        let text = fs::read_to_string(&file).unwrap();
        let (before, after) = text.split_once("SAY = ").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        fs::write(&file, format!("{before}SAY = \"{number}\"\n{after}")).unwrap();
        let mut line = line.clone();
        for (index, name) in names.iter().enumerate() {
            line = line.replace(&format!("shop-{:05}-abc", index + 1), name);
        }
        ok(run(&cloud, &line, file.parent().unwrap()));
        let report = stdout(&ok(run(&cloud, "carrack status --format json", file.parent().unwrap())));
        let report: serde_json::Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
        names = report["revisions"]
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
    }
}

#[test]
fn the_credentials_page() {
    let cloud = LocalCloud::start();
    let folder = tempfile::tempdir().unwrap();
    let shown: Vec<String> = commands("docs/credentials.md")
        .into_iter()
        .map(|line| stdout(&ok(run(&cloud, &line, folder.path()))))
        .filter(|shown| !shown.is_empty())
        .collect();
    let page = fs::read_to_string(Path::new(ROOT).join("docs/credentials.md")).unwrap();
    let without_end =
        |text: &str| text.lines().filter(|line| !line.starts_with("valid ")).collect::<Vec<_>>().join("\n");
    let example = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(without_end(&shown[0]), without_end(example));
    assert!(shown[1].contains("\"principal\":\"me@example.com\""), "{}", shown[1]);
    assert!(shown[2].contains("kind      machine's service account"), "{}", shown[2]);
    // The names that the page lists are those that are looked at.
    for name in carrack::registry::credential_variables().iter() {
        let told = page.contains(name)
            || matches!(*name, "HOME" | "GITHUB_ACTIONS" | "GITLAB_CI")
            || name.starts_with("ACTIONS_");
        assert!(told, "docs/credentials.md does not have {name}");
    }
}

#[test]
fn the_page_on_permissions() {
    let cloud = LocalCloud::start();
    let target = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";
    let file = project(&cloud.dir().join("app"), "shop", target);
    let lines = commands("docs/permissions.md");
    assert!(lines.len() > 5);
    for line in lines {
        ok(run(&cloud, &line, file.parent().unwrap()));
    }
    let role = fs::read_to_string(file.parent().unwrap().join("role.yaml")).unwrap();
    assert!(role.contains("\n- run.services.update\n"), "{role}");
}

#[test]
fn the_page_on_jobs() {
    let cloud = LocalCloud::start();
    let folder = cloud.dir().join("nightly");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(app(), folder.join("app")).unwrap();
    fs::write(folder.join("carrack.toml"), toml_block("docs/jobs.md")).unwrap();
    let lines = commands("docs/jobs.md");
    assert!(lines.len() > 8);
    for line in &lines {
        let output = ok(run(&cloud, line, &folder));
        if line.contains("permissions show") {
            assert!(stdout(&output).contains("run.jobs.runWithOverrides"), "{}", stdout(&output));
        }
        if line == "carrack jobs run --local" {
            assert!(stdout(&output).contains("[2] task 2 is done"), "{}", stdout(&output));
        }
    }
}

#[test]
fn the_hello_example_answers_with_service_and_revision() {
    let cloud = LocalCloud::start();
    let deploy = || {
        let arguments = ["deploy", "--local", "-f", "examples/hello/carrack.toml"];
        ok(cloud.carrack().args(arguments).current_dir(ROOT).output().unwrap())
    };
    let url = stdout(&deploy());
    let answer = Command::new("curl").args(["-sS", "--fail", &url]).output().unwrap();
    let text = stdout(&ok(answer));
    assert!(text.starts_with("Hello from hello (hello-00001-"), "{text}");
    assert!(stderr(&deploy()).contains("no changes"));
}

#[test]
fn the_page_on_rollouts_and_the_canary_example() {
    let cloud = LocalCloud::start();
    let lines = commands("docs/rollout.md");
    let outputs: Vec<_> = lines.iter().map(|line| ok(run(&cloud, line, Path::new(ROOT)))).collect();
    let [first, second] = outputs.as_slice() else { panic!("{lines:?}") };
    let text = stderr(second);
    assert!(text.contains("10 % of the traffic to canary-00002-") && text.contains("50 %: it got "), "{text}");
    assert_eq!(stdout(first), stdout(second));
    let answer = stdout(&ok(Command::new("curl").args(["-sS", "--fail", &stdout(second)]).output().unwrap()));
    assert!(answer.starts_with("Servus from canary-00002-"), "{answer}");
}

/// The rows of a page's table: code and meaning.
fn rows(file: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter(|(code, _)| *code != "code")
        .map(|(code, meaning)| format!("{} {meaning}", code.trim_matches('`')))
        .collect()
}

#[test]
fn exit_codes_and_causes() {
    let dir = tempfile::tempdir().unwrap();
    let printed = stdout(&ok(carrack(dir.path()).arg("explain").output().unwrap()));
    let words = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let (numbers, causes) = printed.split_once("\n\n").unwrap();
    let documented: Vec<String> =
        rows("docs/exit-codes.md").iter().map(|row| row.replace(" (`plan --exit-code`)", "")).collect();
    assert_eq!(documented, words(numbers));
    assert_eq!(rows("docs/failures.md"), words(causes));
    let page = fs::read_to_string(Path::new(ROOT).join("docs/failures.md")).unwrap();
    for cause in causes.lines().filter_map(|line| line.split_whitespace().next()) {
        let told = stdout(&ok(carrack(dir.path()).args(["explain", cause]).output().unwrap()));
        let advice = told.lines().nth(1).unwrap();
        assert!(page.contains(&format!("## {cause}\n\n{advice}\n")), "{cause}");
    }
}

/// Examples in help texts are at least commands and flags that exist.
#[test]
fn help_examples_parse() {
    let dir = tempfile::tempdir().unwrap();
    let help = stdout(&ok(carrack(dir.path()).arg("--help").output().unwrap()));
    let names: Vec<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    let mut checked = 0;
    let secrets = ["set", "list", "versions", "get", "enable", "destroy", "delete", "grant"]
        .map(|verb| format!("secrets {verb}"));
    let nested = [
        "emulator faults",
        "emulator faults add",
        "emulator key",
        "emulator login",
        "permissions show",
        "permissions check",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(secrets)
    .collect::<Vec<_>>();
    for name in names.iter().chain(&nested).filter(|name| *name != "help") {
        let help = stdout(&ok(carrack(dir.path()).args(name.split(' ')).arg("--help").output().unwrap()));
        for line in help
            .split("Examples:")
            .nth(1)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.trim().strip_prefix("carrack "))
        {
            let words: Vec<&str> =
                line.split("  ").next().unwrap().split('>').next().unwrap().split_whitespace().collect();
            let output = carrack(dir.path()).args(&words).arg("--help").output().unwrap();
            assert!(output.status.success(), "{line}: {}", stderr(&output));
            checked += 1;
        }
    }
    assert!(checked > 10);
}
