//! Every bad input: exit 10, the place in the file, what to write instead, and no request sent.
use std::{fs, path::Path};

use insta::assert_snapshot;

use crate::{
    run::snapshot,
    support::{app, carrack},
};

/// A valid file; each test breaks one line of it.
const GOOD: &str = r#"[service]
name = "shop"
port = 8080

[image]
name = "shop"
[image.build]
base = "scratch"
files = [{ from = "app", to = "/app" }]
entrypoint = ["/app"]

[env]
LOG_LEVEL = "info"

[resources]
cpu = 1
memory = "512MiB"

[scaling]
concurrency = 80
"#;

/// Deploys the good file with `line` in place of `instead_of`, and asserts that nothing was sent or started.
fn deploy(instead_of: &str, line: &str) -> String {
    deploy_with(instead_of, line, |_| {})
}

fn deploy_with(instead_of: &str, line: &str, prepare: impl Fn(&Path)) -> String {
    assert!(GOOD.contains(instead_of), "{instead_of}");
    let dir = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    fs::copy(app(), dir.path().join("app")).unwrap();
    prepare(dir.path());
    fs::write(dir.path().join("carrack.toml"), GOOD.replace(instead_of, line)).unwrap();
    let text = snapshot(
        carrack(state.path()).args(["deploy", "--local"]).current_dir(dir.path()),
        &[(dir.path().to_str().unwrap(), "DIR"), (state.path().to_str().unwrap(), "STATE")],
    );
    assert!(!state.path().join("emulator.json").exists(), "no local cloud was started, so no request was sent: {text}");
    text
}

#[test]
fn unknown_key() {
    assert_snapshot!(deploy("port = 8080", "prot = 8080"), @"
    exit 10
    --- stderr
    error: unknown key `prot`
     --> carrack.toml:3:1
      |
    3 | prot = 8080
      | ^^^^ did you mean `port`?
    ");
}

#[test]
fn wrong_type() {
    assert_snapshot!(deploy("port = 8080", "port = \"web\""), @r#"
    exit 10
    --- stderr
    error: `port` takes an integer, not a string
     --> carrack.toml:3:8
      |
    3 | port = "web"
      |        ^^^^^ expected an integer
    "#);
}

#[test]
fn bad_name() {
    assert_snapshot!(deploy("[service]\nname = \"shop\"", "[service]\nname = \"My_Shop\""), @r#"
    exit 10
    --- stderr
    error: invalid service name `My_Shop`
     --> carrack.toml:2:8
      |
    2 | name = "My_Shop"
      |        ^^^^^^^^^
      |
      = help: use 1 to 49 of a-z, 0-9 and `-`, with a letter first and no `-` at the end
    "#);
}

#[test]
fn bad_unit() {
    assert_snapshot!(deploy("\"512MiB\"", "\"512MB\""), @r#"
    exit 10
    --- stderr
    error: unknown memory unit `MB`
      --> carrack.toml:17:10
       |
    17 | memory = "512MB"
       |          ^^^^^^^ write "512MiB"
    "#);
}

#[test]
fn unset_variable() {
    assert_snapshot!(deploy("\"info\"", "\"${NOT_SET_ANYWHERE}\""), @r#"
    exit 10
    --- stderr
    error: the variable `NOT_SET_ANYWHERE` is not set
      --> carrack.toml:13:14
       |
    13 | LOG_LEVEL = "${NOT_SET_ANYWHERE}"
       |              ^^^^^^^^^^^^^^^^^^^ needed here
       |
       = help: set it in the environment, or give a default: `${NOT_SET_ANYWHERE:-…}`
    "#);
}

#[test]
fn missing_file_to_copy() {
    assert_snapshot!(deploy("from = \"app\"", "from = \"ap\""), @r#"
    exit 10
    --- stderr
    error: `ap` does not exist
     --> carrack.toml:9:9
      |
    9 | files = [{ from = "ap", to = "/app" }]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: did you mean `app`?
    "#);
}

#[test]
fn folder_where_a_file_is_meant() {
    assert_snapshot!(
        deploy_with("from = \"app\"", "from = \"folder\"", |dir| fs::create_dir(dir.join("folder")).unwrap())
    , @r#"
    exit 10
    --- stderr
    error: `folder` is a folder
     --> carrack.toml:9:9
      |
    9 | files = [{ from = "folder", to = "/app" }]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write `to = "/app/"` to copy what it holds
    "#);
}

#[test]
fn port_0() {
    assert_snapshot!(deploy("port = 8080", "port = 0"), @"
    exit 10
    --- stderr
    error: `port` cannot be 0
     --> carrack.toml:3:8
      |
    3 | port = 0
      |        ^ use 1 to 65535
    ");
}

#[test]
fn memory_outside_the_range() {
    assert_snapshot!(deploy("\"512MiB\"", "\"64GiB\""), @r#"
    exit 10
    --- stderr
    error: memory 64GiB is outside what this cloud has with cpu 1
      --> carrack.toml:17:10
       |
    17 | memory = "64GiB"
       |          ^^^^^^^
       |
       = help: use 128MiB to 4GiB with cpu 1
    "#);
}

#[test]
fn cpu_outside_the_range() {
    assert_snapshot!(deploy("cpu = 1", "cpu = 3"), @"
    exit 10
    --- stderr
    error: cpu 3 is outside what this cloud has
      --> carrack.toml:16:7
       |
    16 | cpu = 3
       |       ^
       |
       = help: use one of 0.08 to 1, 2, 4, 6, 8
    ");
}

#[test]
fn memory_that_does_not_go_with_the_cpu() {
    assert_snapshot!(deploy("\"512MiB\"", "\"8GiB\""), @r#"
    exit 10
    --- stderr
    error: memory 8GiB is outside what this cloud has with cpu 1
      --> carrack.toml:17:10
       |
    17 | memory = "8GiB"
       |          ^^^^^^
       |
       = help: use 128MiB to 4GiB with cpu 1
    "#);
}

#[test]
fn cpu_and_concurrency_that_do_not_go_together() {
    assert_snapshot!(deploy("cpu = 1", "cpu = 0.5"), @"
    exit 10
    --- stderr
    error: cpu 0.5 goes only with concurrency 1
      --> carrack.toml:20:15
       |
    20 | concurrency = 80
       |               ^^
       |
       = help: write `concurrency = 1` under [scaling], or `cpu = 1` or more under [resources]
    ");
}

#[test]
fn dynamic_program_on_scratch() {
    assert_snapshot!(deploy_with("[resources]", "[resources]", |dir| {
        let source = dir.join("main.rs");
        fs::write(&source, "fn main() {}").unwrap();
        let mut rustc = std::process::Command::new("rustc");
        assert!(
            rustc
                .args(["-C", "target-feature=-crt-static", "-o"])
                .arg(dir.join("app"))
                .arg(source)
                .status()
                .unwrap()
                .success()
        );
    }), @r#"
    exit 10
    --- stderr
    error: `/app` is dynamically linked: it needs `/lib64/ld-linux-x86-64.so.2`, which the image does not have
     --> carrack.toml:9:9
      |
    9 | files = [{ from = "app", to = "/app" }]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: with Cargo: RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target x86_64-unknown-linux-gnu
      = help: a RUSTFLAGS variable replaces the rustflags of .cargo/config.toml; with Go: CGO_ENABLED=0 go build
    "#);
}

#[test]
fn arm64_program() {
    assert_snapshot!(deploy_with("[resources]", "[resources]", |dir| {
        // The machine is named in bytes 18 and 19 of the header: 183 is AArch64.
        let mut bytes = fs::read(dir.join("app")).unwrap();
        bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
        fs::write(dir.join("app"), bytes).unwrap();
    }), @r#"
    exit 10
    --- stderr
    error[wrong-architecture]: `/app` is built for aarch64; Cloud Run runs linux/amd64 (x86_64)
     --> carrack.toml:9:9
      |
    9 | files = [{ from = "app", to = "/app" }]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: with Cargo: cargo build --release --target x86_64-unknown-linux-gnu
      = help: with Go: GOOS=linux GOARCH=amd64 go build
    "#);
}

#[test]
fn file_that_is_missing_is_told_before_the_base_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let base = "base = \"us-central1-docker.pkg.dev/local/carrack/none:1\"";
    fs::write(dir.path().join("carrack.toml"), GOOD.replace("base = \"scratch\"", base)).unwrap();
    let state = dir.path().join("state");
    let text = snapshot(carrack(&state).args(["build", "--local"]).current_dir(dir.path()), &[]);
    assert!(text.starts_with("exit 10\n") && text.contains("`app` does not exist"), "{text}");
    assert!(!state.join("emulator.json").exists(), "no local cloud was started: {text}");
}

#[test]
fn time_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("carrack.toml"), GOOD).unwrap();
    fs::copy(app(), dir.path().join("app")).unwrap();
    for text in ["yesterday", "-5", "18446744073709551615", "99999999999999999999"] {
        let mut command = carrack(dir.path());
        let shown =
            snapshot(command.arg("build").env("SOURCE_DATE_EPOCH", text).current_dir(dir.path()), &[(text, "TEXT")]);
        assert_eq!(
            shown,
            "exit 10\n--- stderr\nerror: SOURCE_DATE_EPOCH `TEXT` is not a time\n  \
             help: set it to seconds since 1970, such as `git log -1 --format=%ct` prints\n"
        );
    }
}

#[test]
fn no_file() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).args(["deploy", "--local"]).current_dir(dir.path()), &[]), @"
    exit 10
    --- stderr
    error: cannot read `carrack.toml`
      caused by: No such file or directory (os error 2)
      help: run `carrack init`, or name the file with `-f FILE`
    ");
}

#[test]
fn no_target() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("carrack.toml"), GOOD).unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).arg("deploy").current_dir(dir.path()), &[]), @"
    exit 2
    --- stderr
    error: the file names no target
      help: add [targets.prod] with provider, project and region
      help: or deploy to the local cloud, with no account: `carrack deploy --local`
    ");
}

#[test]
fn an_endpoint_that_is_not_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("carrack.toml"),
        format!("{GOOD}[targets.one]\nprovider = \"cloud-run\"\nproject = \"p\"\nregion = \"us-central1\"\n"),
    )
    .unwrap();
    fs::copy(app(), dir.path().join("app")).unwrap();
    let mut command = carrack(dir.path());
    command.env("CARRACK_ENDPOINT", "http://192.0.2.1:80").env("CARRACK_ENDPOINT_TOKEN", "x");
    assert_snapshot!(snapshot(command.arg("deploy").current_dir(dir.path()), &[]), @"
    exit 2
    --- stderr
    error: refusing to send a token over plain http to `192.0.2.1`
      help: use https, or an address on this machine
    ");
}

#[test]
fn state_folder_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("carrack.toml"), GOOD).unwrap();
    fs::copy(app(), dir.path().join("app")).unwrap();
    // A file where the folder should be: not even root can write below it.
    let state = dir.path().join("state");
    fs::write(&state, "").unwrap();
    let text = snapshot(
        carrack(&state).args(["deploy", "--local"]).current_dir(dir.path()),
        &[(dir.path().to_str().unwrap(), "DIR")],
    );
    assert_snapshot!(text, @"
    exit 41
    --- stderr
    error: the state folder `DIR/state` cannot be used: File exists (os error 17); name another with `CARRACK_STATE_DIR`
    ");
}

#[test]
fn base_that_is_no_image() {
    assert_snapshot!(deploy("base = \"scratch\"", "base = \"distroless/static\""), @r#"
    exit 10
    --- stderr
    error: invalid base `distroless/static`
     --> carrack.toml:8:8
      |
    8 | base = "distroless/static"
      |        ^^^^^^^^^^^^^^^^^^^ there is no registry host
      |
      = help: write HOST/PATH:TAG or HOST/PATH@sha256:…, such as "docker.io/library/nginx:1.29"
    "#);
}

#[test]
fn loader_that_a_known_base_lacks() {
    // This program's own loader is not in a base that has no C library.
    let own = std::env::current_exe().unwrap();
    let text = deploy_with("base = \"scratch\"", "base = \"gcr.io/distroless/static-debian12\"", |dir| {
        fs::copy(&own, dir.join("app")).unwrap();
    });
    assert!(text.starts_with("exit 10\n") && text.contains("dynamically linked: it needs `/lib"), "{text}");
}

/// The good file with a Dockerfile in the place of its files.
fn dockerfile(build: &str, prepare: impl Fn(&Path)) -> String {
    let files = "base = \"scratch\"\nfiles = [{ from = \"app\", to = \"/app\" }]\nentrypoint = [\"/app\"]\n";
    deploy_with(files, build, prepare)
}

#[test]
fn dockerfile_and_files() {
    assert_snapshot!(deploy("base = \"scratch\"", "dockerfile = \"Dockerfile\""), @r#"
    exit 10
    --- stderr
    error: [image.build] has both `dockerfile` and `files`
     --> carrack.toml:9:1
      |
    9 | files = [{ from = "app", to = "/app" }]
      | ^^^^^ the Dockerfile says this
      |
      = help: remove `dockerfile` or `files`

    error: [image.build] has both `dockerfile` and `entrypoint`
      --> carrack.toml:10:1
       |
    10 | entrypoint = ["/app"]
       | ^^^^^^^^^^ the Dockerfile says this
       |
       = help: remove `dockerfile` or `entrypoint`
    "#);
}

#[test]
fn dockerfile_that_is_missing() {
    let near = |dir: &Path| fs::write(dir.join("dockerfile"), "FROM scratch").unwrap();
    assert_snapshot!(dockerfile("dockerfile = \"Dockerfile\"\n", near), @r#"
    exit 10
    --- stderr
    error: `Dockerfile` does not exist
     --> carrack.toml:8:14
      |
    8 | dockerfile = "Dockerfile"
      |              ^^^^^^^^^^^^
      |
      = help: did you mean `dockerfile`?
    "#);
    assert_snapshot!(dockerfile("dockerfile = \"app\"\ncontext = \"none\"\n", |_| {}), @r#"
    exit 10
    --- stderr
    error: `none` is not a folder
     --> carrack.toml:9:11
      |
    9 | context = "none"
      |           ^^^^^^
    "#);
}

#[test]
fn context_without_a_dockerfile() {
    assert_snapshot!(deploy("base = \"scratch\"", "context = \".\"\ntarget = \"release\""), @r#"
    exit 10
    --- stderr
    error: `context` goes with a Dockerfile, and there is none
     --> carrack.toml:8:1
      |
    8 | context = "."
      | ^^^^^^^
      |
      = help: add `dockerfile = "Dockerfile"`

    error: `target` goes with a Dockerfile, and there is none
     --> carrack.toml:9:1
      |
    9 | target = "release"
      | ^^^^^^
      |
      = help: add `dockerfile = "Dockerfile"`
    "#);
}

#[test]
fn neither_files_nor_a_dockerfile() {
    assert_snapshot!(dockerfile("run = \"true\"\n", |_| {}), @r#"
    exit 10
    --- stderr
    error: missing key `files` in [image.build]
     --> carrack.toml:7:1
      |
    7 | [image.build]
      | ^^^^^^^^^^^^^ `files` is required
      |
      = help: or name a Dockerfile: `dockerfile = "Dockerfile"`
    "#);
}

#[test]
fn a_dockerfile_that_nobody_builds() {
    let (dir, state, empty) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("Dockerfile"), "FROM scratch").unwrap();
    fs::write(
        dir.path().join("carrack.toml"),
        "[service]\nname = \"shop\"\n[image.build]\ndockerfile = \"Dockerfile\"\n",
    )
    .unwrap();
    let mut command = carrack(state.path());
    command.args(["build"]).current_dir(dir.path()).env("PATH", empty.path());
    assert_snapshot!(snapshot(&mut command, &[]), @"
    exit 51
    --- stderr
        Building shop
    error: a Dockerfile needs Docker, Podman or Buildah, and none answers (docker: not installed; podman: not installed; buildah: not installed)
      help: install one that needs no server: apt-get install buildah
      help: or start Docker
    ");
}
