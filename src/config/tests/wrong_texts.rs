//! Names, references, paths and checks of a wrong form.
use insta::assert_snapshot;

use super::{refused, refused_below};

#[test]
fn bad_name() {
    let text = r#"
[service]
name = "Hello_World"
"#;
    assert_snapshot!(refused(text), @r#"
    error: invalid service name `Hello_World`
     --> carrack.toml:3:8
      |
    3 | name = "Hello_World"
      |        ^^^^^^^^^^^^^
      |
      = help: use 1 to 49 of a-z, 0-9 and `-`, with a letter first and no `-` at the end
    "#);
}

#[test]
fn interpolated_bad_name() {
    let text = r#"
[service]
name = "${A}-"
"#;
    assert_snapshot!(refused(text), @r#"
    error: invalid service name `one-`
     --> carrack.toml:3:8
      |
    3 | name = "${A}-"
      |        ^^^^^^^
      |
      = help: use 1 to 49 of a-z, 0-9 and `-`, with a letter first and no `-` at the end
    "#);
}

#[test]
fn bad_checks() {
    let text = r#"
[health]
startup = { http = "healthz" }
liveness = { tcp = false }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid path `healthz`
     --> carrack.toml:5:20
      |
    5 | startup = { http = "healthz" }
      |                    ^^^^^^^^^
      |
      = help: write a path such as "/healthz"

    error: `tcp` takes `true` or a port, not `false`
     --> carrack.toml:6:20
      |
    6 | liveness = { tcp = false }
      |                    ^^^^^ expected `true` or a port
    "#);
}

#[test]
fn grpc_check_with_a_port() {
    let text = "
[health]
startup = { grpc = 9000 }
";
    assert_snapshot!(refused_below(text), @r#"
    error: `grpc` takes `true` or the name of a gRPC service, not an integer
     --> carrack.toml:5:20
      |
    5 | startup = { grpc = 9000 }
      |                    ^^^^ expected `true` or the name of a gRPC service
      |
      = help: write `grpc = true, port = 9000`
    "#);
}

#[test]
fn bad_label_values() {
    let text = r#"
[labels]
team = "Web Team"
version = 3
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid label value `Web Team`
     --> carrack.toml:5:8
      |
    5 | team = "Web Team"
      |        ^^^^^^^^^^
      |
      = help: use up to 63 lower-case letters, digits, `_` and `-`

    error: `version` takes a string, not an integer
     --> carrack.toml:6:11
      |
    6 | version = 3
      |           ^ expected a string
      |
      = help: write "3"
    "#);
}

#[test]
fn bad_references() {
    let text = r#"
[image]
ref = "nginx:latest"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid image reference `nginx:latest`
     --> carrack.toml:5:7
      |
    5 | ref = "nginx:latest"
      |       ^^^^^^^^^^^^^^ there is no registry host
      |
      = help: for an image of Docker Hub write "docker.io/library/nginx:latest"
    "#);
}

#[test]
fn reference_without_a_tag() {
    let text = r#"
[image]
ref = "gcr.io/a/b"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid image reference `gcr.io/a/b`
     --> carrack.toml:5:7
      |
    5 | ref = "gcr.io/a/b"
      |       ^^^^^^^^^^^^ there is neither a tag nor a digest
    "#);
}

#[test]
fn bad_digest() {
    let text = r#"
[image]
ref = "gcr.io/a/b@sha256:1234"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid image reference `gcr.io/a/b@sha256:1234`
     --> carrack.toml:5:7
      |
    5 | ref = "gcr.io/a/b@sha256:1234"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^ this is not a digest
      |
      = help: a digest is `sha256:` and 64 of 0-9 and a-f
    "#);
}

#[test]
fn bad_image_name() {
    let text = r#"
[image]
name = "Hello"
[image.build]
files = [{ from = "a", to = "/a" }]
entrypoint = ["/a"]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid image name `Hello`
     --> carrack.toml:5:8
      |
    5 | name = "Hello"
      |        ^^^^^^^
      |
      = help: use a-z and 0-9, with `.`, `_`, `-` or `/` between them
    "#);
}

#[test]
fn bad_base() {
    let text = r#"
[image.build]
base = "BASE"
files = [{ from = "a", to = "/a" }]
entrypoint = ["/a"]
"#;
    assert_snapshot!(refused_below(&text.replace("BASE", "scrach")), @r#"
    error: invalid base `scrach`
     --> carrack.toml:5:8
      |
    5 | base = "scrach"
      |        ^^^^^^^^ did you mean "scratch"?
    "#);
    assert_snapshot!(refused_below(&text.replace("BASE", "alpine:3")), @r#"
    error: invalid base `alpine:3`
     --> carrack.toml:5:8
      |
    5 | base = "alpine:3"
      |        ^^^^^^^^^^ there is no registry host
      |
      = help: for an image of Docker Hub write "docker.io/library/alpine:3"
    "#);
    assert_snapshot!(refused_below(&text.replace("BASE", "gcr.io/distroless/static@sha256:12")), @r#"
    error: invalid base `gcr.io/distroless/static@sha256:12`
     --> carrack.toml:5:8
      |
    5 | base = "gcr.io/distroless/static@sha256:12"
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this is not a digest
      |
      = help: a digest is `sha256:` and 64 of 0-9 and a-f
    "#);
}

#[test]
fn bad_files() {
    let text = r#"
[image.build]
files = [{ from = "", to = "app" }, { from = "b", to = "/b//" }, "c"]
entrypoint = ["/a"]
working_dir = "a"
user = " "
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: the path of a file is empty
     --> carrack.toml:5:19
      |
    5 | files = [{ from = "", to = "app" }, { from = "b", to = "/b//" }, "c"]
      |                   ^^

    error: invalid path `app`
     --> carrack.toml:5:28
      |
    5 | files = [{ from = "", to = "app" }, { from = "b", to = "/b//" }, "c"]
      |                            ^^^^^ write "/app"

    error: invalid path `/b//`
     --> carrack.toml:5:56
      |
    5 | files = [{ from = "", to = "app" }, { from = "b", to = "/b//" }, "c"]
      |                                                        ^^^^^^
      |
      = help: write it without `.`, `..` and empty parts

    error: `files` takes a table, not a string
     --> carrack.toml:5:66
      |
    5 | files = [{ from = "", to = "app" }, { from = "b", to = "/b//" }, "c"]
      |                                                                  ^^^ expected a table

    error: invalid path `a`
     --> carrack.toml:7:15
      |
    7 | working_dir = "a"
      |               ^^^ write "/a"

    error: the text is empty or has more than one line
     --> carrack.toml:8:8
      |
    8 | user = " "
      |        ^^^
    "#);
}

#[test]
fn bad_target() {
    let text = r#"
[targets.prod]
provider = "cloudrun"
project = "My Project"
region = "Tokyo"
service_account = "me"
repository = "apps"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown provider `cloudrun`
     --> carrack.toml:5:12
      |
    5 | provider = "cloudrun"
      |            ^^^^^^^^^^ did you mean "cloud-run"?

    error: invalid project `My Project`
     --> carrack.toml:6:11
      |
    6 | project = "My Project"
      |           ^^^^^^^^^^^^
      |
      = help: write the project's id, such as "my-project", not its display name

    error: invalid region `Tokyo`
     --> carrack.toml:7:10
      |
    7 | region = "Tokyo"
      |          ^^^^^^^
      |
      = help: write a region such as "us-central1"

    error: invalid service account `me`
     --> carrack.toml:8:19
      |
    8 | service_account = "me"
      |                   ^^^^
      |
      = help: write its email address: "NAME@PROJECT.iam.gserviceaccount.com"

    error: invalid repository `apps`
     --> carrack.toml:9:14
      |
    9 | repository = "apps"
      |              ^^^^^^ there is no registry host
      |
      = help: write HOST/PATH, such as "us-central1-docker.pkg.dev/PROJECT/REPOSITORY"
    "#);
}

#[test]
fn unknown_provider() {
    let text = r#"
[targets.prod]
provider = "fargate"
project = "my-project"
region = "us-central1"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown provider `fargate`
     --> carrack.toml:5:12
      |
    5 | provider = "fargate"
      |            ^^^^^^^^^
      |
      = help: the providers are `cloud-run`
    "#);
}
