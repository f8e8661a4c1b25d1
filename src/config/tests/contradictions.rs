//! Keys that do not go together, and names that keys cannot have.
use insta::assert_snapshot;

use super::refused_below;

#[test]
fn reserved_variables() {
    let text = r#"
[env]
PORT = 8080
K_SERVICE = "a"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `PORT` is set by the cloud
     --> carrack.toml:5:1
      |
    5 | PORT = 8080
      | ^^^^ remove this, the container gets it anyway
      |
      = help: to choose the port write `port = 8080` under [service]

    error: `K_SERVICE` is set by the cloud
     --> carrack.toml:6:1
      |
    6 | K_SERVICE = "a"
      | ^^^^^^^^^ remove this, the container gets it anyway
    "#);
}

#[test]
fn bad_variable_names() {
    let text = r#"
[env]
1A = "1"
"A B" = "2"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid variable name `1A`
     --> carrack.toml:5:1
      |
    5 | 1A = "1"
      | ^^
      |
      = help: use A-Z, a-z, 0-9 and `_`, with no digit first

    error: invalid variable name `A B`
     --> carrack.toml:6:1
      |
    6 | "A B" = "2"
      | ^^^^^
      |
      = help: use A-Z, a-z, 0-9 and `_`, with no digit first
    "#);
}

#[test]
fn bad_label_key() {
    let text = r#"
[labels]
Team = "web"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid label key `Team`
     --> carrack.toml:5:1
      |
    5 | Team = "web"
      | ^^^^
      |
      = help: use 1 to 63 lower-case letters, digits, `_` and `-`, with a letter first
    "#);
}

#[test]
fn bad_target_name() {
    let text = r#"
[targets."eu west"]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid target name `eu west`
     --> carrack.toml:4:10
      |
    4 | [targets."eu west"]
      |          ^^^^^^^^^
      |
      = help: use letters, digits, `-` and `_`, with a letter or digit first
    "#);
}

#[test]
fn reference_and_build() {
    let text = r#"
[image]
ref = "gcr.io/a/b:1"
name = "b"
[image.build]
files = [{ from = "a", to = "/a" }]
entrypoint = ["/a"]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: [image] has both `ref` and `name`
     --> carrack.toml:6:1
      |
    6 | name = "b"
      | ^^^^ an image that exists is not built
      |
      = help: remove `ref` or `name`

    error: [image] has both `ref` and [image.build]
     --> carrack.toml:7:8
      |
    7 | [image.build]
      |        ^^^^^ an image that exists is not built
      |
      = help: remove `ref` or [image.build]
    "#);
}

#[test]
fn image_that_says_nothing() {
    let text = r#"
[image]
name = "hello"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: [image] does not say which image
     --> carrack.toml:4:1
      |
    4 | [image]
      | ^^^^^^^ needs `ref` or [image.build]
      |
      = help: leave [image] out to deploy with `--image`
    "#);
}

#[test]
fn build_that_says_nothing() {
    let text = "
[image.build]
files = []
";
    assert_snapshot!(refused_below(text), @r#"
    error: the image has nothing to start
     --> carrack.toml:4:1
      |
    4 | [image.build]
      | ^^^^^^^^^^^^^ needs `entrypoint` or `cmd`
      |
      = help: write `entrypoint = ["/app"]`

    error: `files` is empty, and so would be the image
     --> carrack.toml:5:9
      |
    5 | files = []
      |         ^^
      |
      = help: write `files = [{ from = "…", to = "/app" }]`
    "#);
}

#[test]
fn two_files_in_one_place() {
    let text = r#"
[image.build]
files = [{ from = "a", to = "/a" }, { from = "b", to = "/a" }]
cmd = ["/a"]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: two files go to `/a`
     --> carrack.toml:5:56
      |
    5 | files = [{ from = "a", to = "/a" }, { from = "b", to = "/a" }]
      |                                                        ^^^^ this one would replace the other
    "#);
}

#[test]
fn exact_without_its_section() {
    let text = r#"
exact = ["env"]
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
service = { exact = ["labels"] }
[targets.other]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.other.labels]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `exact` names `env`, but there is no [env]
     --> carrack.toml:4:10
      |
    4 | exact = ["env"]
      |          ^^^^^
      |
      = help: add [env]; an empty one removes every live entry

    error: `exact` names `labels`, but there is no [targets.prod.labels]
     --> carrack.toml:9:22
      |
    9 | service = { exact = ["labels"] }
      |                      ^^^^^^^^
      |
      = help: add [targets.prod.labels]; an empty one removes every live entry
    "#);
}

#[test]
fn check_of_nothing() {
    let text = r#"
[health]
startup = { period = "1s" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `health.startup` does not say what to check
     --> carrack.toml:5:11
      |
    5 | startup = { period = "1s" }
      |           ^^^^^^^^^^^^^^^^^ needs `http`, `tcp` or `grpc`
      |
      = help: write `startup = { http = "/healthz" }`
    "#);
}

#[test]
fn two_checks_at_once() {
    let text = r#"
[health.liveness]
http = "/"
tcp = 8081
port = 8082
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `health.liveness` has both `http` and `tcp`
     --> carrack.toml:6:1
      |
    6 | tcp = 8081
      | ^^^ one check is enough

    error: `health.liveness` names two ports
     --> carrack.toml:7:8
      |
    7 | port = 8082
      |        ^^^^ `tcp` names 8081
    "#);
}
