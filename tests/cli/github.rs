//! Inside GitHub Actions: annotations, groups, a summary, outputs; and stdout stays data.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta::assert_snapshot;
use serde_json::Value;

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, carrack, project},
};

/// A step of a workflow, in a checkout of its own.
struct Step {
    dir: tempfile::TempDir,
}

impl Step {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, mut command: Command, arguments: &[&str]) -> Output {
        command
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_WORKSPACE", self.dir.path())
            .env("GITHUB_OUTPUT", self.path("output"))
            .env("GITHUB_STEP_SUMMARY", self.path("summary.md"));
        command.args(arguments).current_dir(self.dir.path().join("shop")).output().unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("{name}: {error}"))
    }
}

/// Without what differs from run to run.
fn stable(text: &str, cloud: &LocalCloud) -> String {
    let mut text = text.replace(&cloud.registry(), "REGISTRY");
    for (begin, end, with) in [
        ("sha256:", 64, "DIGEST"),
        ("shop-00001-", 3, "XXX"),
        ("http://127.0.0.1:", 0, "PORT"),
        ("carrack-", 16, "WORD"),
        (" in ", 0, "N"),
        ("200 in ", 0, "N"),
    ] {
        let mut parts = text.split(begin);
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let length = if end > 0 {
                end.min(part.len())
            } else {
                part.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(part.len())
            };
            let (value, rest) = part.split_at(length);
            let plain = value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
            out += &format!("{begin}{}{rest}", if plain { value } else { with });
        }
        text = out;
    }
    text
}

#[test]
fn a_wrong_file_is_annotated_at_its_lines() {
    let step = Step::new();
    fs::create_dir(step.path("shop")).unwrap();
    fs::write(step.path("shop/carrack.toml"), "[service]\nname = \"shop\"\nprot = 8080\n\n[env]\n1A = \"100%\"\n")
        .unwrap();
    let output = step.run(carrack(step.dir.path()), &["check"]);
    let commands: Vec<_> =
        stderr(&output).lines().filter(|line| line.starts_with("::error")).map(str::to_owned).collect();
    assert_snapshot!(commands.join("\n"), @"
    ::error file=shop/carrack.toml,line=3,col=1,title=carrack::unknown key `prot`
    ::error file=shop/carrack.toml,line=6,col=1,title=carrack::invalid variable name `1A`%0Ahelp: use A-Z, a-z, 0-9 and `_`, with no digit first
    ");
    assert!(step.read("summary.md").contains("### Failed with exit code 10: `carrack check`\n\n```text\nerror: "));
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_deploy_is_told_in_groups_summary_and_outputs() {
    let cloud = LocalCloud::start();
    let step = Step::new();
    let file = project(&step.path("shop"), "shop", "[env]\nLOG = \"a|b\"\n");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("base =", "run = \"echo compiling; echo done\"\nbase =")).unwrap();
    let output = ok(step.run(cloud.carrack(), &["deploy", "--local"]));
    let folded: Vec<_> =
        stderr(&output).lines().skip_while(|line| !line.starts_with("::group")).take(4).map(str::to_owned).collect();
    assert_snapshot!(stable(&folded.join("\n"), &cloud), @"
    ::group::Building shop
    compiling
    done
    ::endgroup::
    ");
    assert_snapshot!(stable(&step.read("output"), &cloud), @"
    url=http://127.0.0.1:PORT
    revision=shop-00001-XXX
    digest=sha256:DIGEST
    ");
    assert_snapshot!(stable(&step.read("summary.md"), &cloud), @r#"
    ### Plan: create service `shop`

    cloud-run in local/us-central1

    ```diff
    + env.LOG       "a|b"
    + image         us-central1-docker.pkg.dev/local/carrack/shop@sha256:DIGEST
    + service.port  8080
    ```

    ### Plan: update access policy `shop`

    cloud-run in local/us-central1

    ```diff
    + service.public  true
    ```

    ### Deployed `shop`

    | | |
    |---|---|
    | url | `http://127.0.0.1:PORT` |
    | revision | `shop-00001-XXX` |
    | digest | `sha256:DIGEST` |
    | answered | `200 in N ms` |
    "#);
    assert!(stdout(&output).starts_with("http://127.0.0.1:"), "stdout is the URL alone");

    fs::remove_file(step.path("summary.md")).unwrap();
    ok(step.run(cloud.carrack(), &["deploy", "--local"]));
    assert_snapshot!(stable(&step.read("summary.md"), &cloud), @"
    ### Plan: no changes to service `shop`

    cloud-run in local/us-central1

    Kept: `health.startup, resources.cpu, resources.memory, scaling.concurrency, scaling.max, scaling.min, service_account`

    ### Nothing to change in `shop`

    | | |
    |---|---|
    | url | `http://127.0.0.1:PORT` |
    | revision | `shop-00001-XXX` |
    | digest | `sha256:DIGEST` |
    | answered | `200 in N ms` |
    ");
}

#[test]
fn a_failure_is_annotated_where_it_is_mended_and_its_log_is_not_obeyed() {
    let cloud = LocalCloud::start();
    let step = Step::new();
    let rest = "[env]\nLISTEN_PORT = \"9090\"\n\n[health]\nstartup = { tcp = true, period = \"1s\", timeout = \"1s\", failures = 1 }\n";
    project(&step.path("shop"), "shop", rest);
    let output = step.run(cloud.carrack(), &["deploy", "--local"]);
    assert_eq!(output.status.code(), Some(50), "{}", shown(&output, &[]));
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    let at = |begin: &str| {
        lines.iter().position(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {text}"))
    };
    let word = lines[at("::stop-commands::")].strip_prefix("::stop-commands::").unwrap();
    let (stop, go) = (at("::stop-commands::"), at(&format!("::{word}::")));
    assert!(stop < at("error") && at("    | ") < go, "the log stands between: {text}");
    assert_snapshot!(stable(lines[at("::error ")], &cloud), @"::error file=shop/carrack.toml,line=3,col=8,title=wrong-port::the program listens on port 9090, and requests go to port 8080%0Afix: write `port = 9090` under [service]%0Athen: carrack deploy --local");
    assert!(step.read("summary.md").contains("wrong-port"), "{}", step.read("summary.md"));
    assert!(!step.path("output").exists());
}

#[test]
fn json_stays_json() {
    let cloud = LocalCloud::start();
    let step = Step::new();
    project(&step.path("shop"), "shop", "");
    let output = ok(step.run(cloud.carrack(), &["deploy", "--local", "--format", "json"]));
    for line in stdout(&output).lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(step.read("output").contains("url=http://127.0.0.1:"));
}

#[test]
fn elsewhere_nothing_of_it_is_written() {
    let cloud = LocalCloud::start();
    let step = Step::new();
    let file = project(&step.path("shop"), "shop", "");
    let run = |actions: &str| {
        let mut command = cloud.carrack();
        command.env("GITHUB_ACTIONS", actions).env("GITHUB_OUTPUT", step.path("output"));
        ok(command.args(["plan", "--local", "-f"]).arg(&file).output().unwrap())
    };
    for actions in ["", "false", "1"] {
        let output = run(actions);
        assert!(!stderr(&output).contains("::"), "{}", stderr(&output));
    }
    assert!(!Path::new(&step.path("output")).exists());
}

#[test]
fn a_file_that_cannot_be_written_fails_no_deploy() {
    let cloud = LocalCloud::start();
    let step = Step::new();
    project(&step.path("shop"), "shop", "");
    fs::create_dir(step.path("summary.md")).unwrap();
    let output = ok(step.run(cloud.carrack(), &["deploy", "--local"]));
    assert!(stderr(&output).contains("::warning title=carrack::cannot write `"), "{}", stderr(&output));
}

#[test]
fn a_plan_for_a_comment() {
    let cloud = LocalCloud::start();
    let step = Step::new();
    let file = project(&step.path("shop"), "shop", "");
    let to = step.path("plan.md");
    ok(cloud.carrack().args(["plan", "--local", "--summary"]).arg(&to).arg("-f").arg(&file).output().unwrap());
    let text = step.read("plan.md");
    assert!(
        text.starts_with("### Plan: create service `shop`\n\ncloud-run in local/us-central1\n\n```diff\n+ image "),
        "{text}"
    );
    // A file is no folder.
    let nowhere = to.join("plan.md");
    let output =
        cloud.carrack().args(["plan", "--local", "--summary"]).arg(&nowhere).arg("-f").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("plan.md/plan.md`"), "{}", stderr(&output));
}
