//! Help, completions, schema, explain, init.
use std::fs;

use insta::assert_snapshot;

use crate::{
    run::{ok, snapshot, stdout},
    support::{carrack, project},
};

#[test]
fn help() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).arg("--help"), &[]), @r"
    exit 0
    --- stdout
    One TOML file and one binary that put a container on Cloud Run, and keep it there

    Usage: carrack [OPTIONS] <COMMAND>

    Commands:
      init         Write a carrack.toml to start from
      check        Check the file, offline
      build        Build the image, and print its digest
      push         Build and push the image, and print its reference
      plan         Show what a deploy would change
      deploy       Build, push, deploy, and see that it answers
      status       Show the live service
      traffic      Show who gets the traffic, or send it elsewhere
      history      List the revisions: when, who, from which commit, and what serves
      rollback     Undo the newest deploy: its traffic, or its settings too
      logs         Print the service's log lines
      auth         Show whose credentials are used
      destroy      Remove the service
      jobs         Run a job, and see or cancel its executions
      secrets      Set, list and read secrets, and let services read them
      permissions  Show and check the permissions that this needs
      import       Write a carrack.toml from what is there already
      ci           Write a pipeline that plans and deploys, and what lets it in without a key
      emulator     Run, stop and look into the local cloud
      completions  Print a completion script for a shell
      schema       Print the JSON Schema of carrack.toml
      explain      Explain an exit code, or the cause of a failure
      help         Print this message or the help of the given subcommand(s)

    Options:
      -f, --file <FILE>
              The configuration file; several for several services at once
              
              [default: carrack.toml]

          --to <TARGET>
              The target, by its name in the file; not needed when there is one, and several at once are
              taken

          --local
              Use the local cloud: the same target and code, with no account

          --impersonate <EMAIL>
              Speak for this service account; `A,B` for B by way of A

          --format <FORMAT>
              How results are printed

              Possible values:
              - human: For people
              - json:  One JSON object a line; the last is the report
              
              [default: human]

          --color <COLOR>
              When to use colours

              Possible values:
              - auto:   On a terminal
              - always: Always
              - never:  Never
              
              [default: auto]

      -v, --verbose...
              Show more (-v requests, -vv their details)

      -q, --quiet
              Show only results and errors

          --timeout <DURATION>
              Give up after this long (`90s`, `10m`)

          --yes
              Answer every question with yes

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Examples:
      carrack init                     write a carrack.toml
      carrack deploy --local           deploy to the local cloud, with no account
      carrack plan                     show what a deploy would change
      carrack deploy                   build, push, deploy, and see that it answers
    ");
}

#[test]
fn every_command_has_examples() {
    let dir = tempfile::tempdir().unwrap();
    let help = stdout(&ok(carrack(dir.path()).arg("--help").output().unwrap()));
    let commands: Vec<&str> = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let help = stdout(&ok(carrack(dir.path()).args([command, "--help"]).output().unwrap()));
        assert!(help.contains("Examples:"), "{command}");
    }
}

#[test]
fn explain() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).args(["explain", "50"]), &[]), @"
    exit 0
    --- stdout
    50: deployed, but the new revision does not serve; or a job failed
    A revision that does not start gets no traffic: the earlier one goes on serving. The message has the last log lines; mend it and deploy again. Of a job's tasks `carrack jobs tasks EXECUTION` shows how they ended.
    ");
    assert_snapshot!(snapshot(carrack(dir.path()).args(["explain", "99"]), &[]), @"
    exit 30
    --- stderr
    error: Carrack never exits with 99
      help: `carrack explain` lists the codes
    ");
    assert_snapshot!(snapshot(carrack(dir.path()).args(["explain", "wrong-port"]), &[]), @"
    exit 0
    --- stdout
    wrong-port: the program listens on another port than the one that requests go to
    Its own log, or EXPOSE in its image, names another port. Write that port under [service], or let the program listen on the one that the variable PORT names.
    ");
    assert_snapshot!(snapshot(carrack(dir.path()).args(["explain", "wrong-prot"]), &[]), @"
    exit 30
    --- stderr
    error: there is no cause `wrong-prot`
      help: `carrack explain` lists the codes
    ");
}

#[test]
fn completions_and_schema() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            stdout(&ok(carrack(dir.path()).args(["completions", shell]).output().unwrap())).contains("carrack"),
            "{shell}"
        );
    }
    let schema: serde_json::Value =
        serde_json::from_slice(&ok(carrack(dir.path()).arg("schema").output().unwrap()).stdout).unwrap();
    assert!(schema["properties"]["service"].is_object());
}

#[test]
fn init_writes_a_file_that_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("My Shop");
    fs::create_dir(&folder).unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).arg("init").current_dir(&folder), &[]), @"
    exit 0
    --- stderr
           Wrote carrack.toml; next: say in it what the image is made of
    ");
    let text = fs::read_to_string(folder.join("carrack.toml")).unwrap();
    assert!(text.contains("name = \"my-shop\""), "{text}");
    assert_snapshot!(snapshot(carrack(dir.path()).arg("init").current_dir(&folder), &[]), @"
    exit 10
    --- stderr
    error: cannot write `carrack.toml`
      caused by: File exists (os error 17)
      help: it is there already: edit it, or name another with `-f FILE`
    ");
    assert_eq!(fs::read_to_string(folder.join("carrack.toml")).unwrap(), text);
}

#[test]
fn several_targets_need_a_choice() {
    let dir = tempfile::tempdir().unwrap();
    let target =
        |name: &str| format!("[targets.{name}]\nprovider = \"cloud-run\"\nproject = \"p\"\nregion = \"us-central1\"\n");
    let text = format!("[service]\nname = \"a\"\n{}{}", target("one"), target("two"));
    fs::write(dir.path().join("carrack.toml"), text).unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).args(["deploy", "--local"]).current_dir(dir.path()), &[]), @"
    exit 2
    --- stderr
    error: the file names several targets: `one`, `two`
      help: choose one: `--to one`
    ");
    assert_snapshot!(
        snapshot(carrack(dir.path()).args(["deploy", "--to", "three"]).current_dir(dir.path()), &[])
    , @"
    exit 2
    --- stderr
    error: there is no target `three`
      help: use one of `one`, `two`
    ");
}

#[test]
fn a_folder_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let file = project(&dir.path().join("app"), "shop", "");
    fs::create_dir(dir.path().join("app/pages")).unwrap();
    fs::write(dir.path().join("app/pages/index.html"), "hello").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let files = "files = [{ from = \"pages\", to = \"/pages/\" }, ";
    fs::write(&file, text.replace("files = [", files)).unwrap();
    let digest = stdout(&ok(carrack(dir.path()).args(["build", "-f"]).arg(&file).output().unwrap()));
    assert!(digest.starts_with("sha256:"), "{digest}");
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = carrack(dir.path()).arg("schema").stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
