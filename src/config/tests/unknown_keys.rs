//! Keys that a section does not have.
use insta::assert_snapshot;

use super::{refused, refused_below};

#[test]
fn unknown_key() {
    assert_snapshot!(refused_below("prot = 8080"), @r#"
    error: unknown key `prot`
     --> carrack.toml:3:1
      |
    3 | prot = 8080
      | ^^^^ did you mean `port`?
    "#);
}

#[test]
fn unknown_key_without_a_likeness() {
    assert_snapshot!(refused_below("colour = 1"), @"
    error: unknown key `colour`
     --> carrack.toml:3:1
      |
    3 | colour = 1
      | ^^^^^^
      |
      = help: the keys of [service] are `name`, `port`, `public`, `command`, `args`, `working_dir`, `protocol`, `timeout`, `ingress`, `session_affinity`, `description`, `default_url`, `audiences`, `invoker_check`, `execution_environment`, `depends_on`, `exact`
    ");
}

#[test]
fn key_of_another_section() {
    assert_snapshot!(refused_below(r#"memory = "1GiB""#), @r#"
    error: unknown key `memory`
     --> carrack.toml:3:1
      |
    3 | memory = "1GiB"
      | ^^^^^^ `memory` belongs to [resources]
    "#);
}

#[test]
fn section_below_another() {
    let text = r#"
[service.env]
A = "1"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `env`
     --> carrack.toml:4:10
      |
    4 | [service.env]
      |          ^^^ `env` is a section of its own: [env]
    "#);
}

#[test]
fn key_before_any_section() {
    let text = r#"
port = 8080
[service]
name = "hello"
"#;
    assert_snapshot!(refused(text), @r#"
    error: unknown key `port`
     --> carrack.toml:2:1
      |
    2 | port = 8080
      | ^^^^ `port` belongs to [service]
    "#);
}

#[test]
fn unknown_section() {
    let text = r#"
[gpus]
A = "b"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `gpus`
     --> carrack.toml:4:2
      |
    4 | [gpus]
      |  ^^^^
      |
      = help: the sections are `service`, `job`, `image`, `env`, `secrets`, `labels`, `annotations`, `resources`, `scaling`, `network`, `cloud_sql`, `health`, `sidecars`, `volumes`, `rollout`, `targets`
    "#);
}

#[test]
fn unknown_section_with_a_likeness() {
    let text = "
[heath]
startup = { tcp = true }
";
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `heath`
     --> carrack.toml:4:2
      |
    4 | [heath]
      |  ^^^^^ did you mean `health`?
    "#);
}

#[test]
fn unknown_sections_of_the_future() {
    let text = "
[usage]
";
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `usage`
     --> carrack.toml:4:2
      |
    4 | [usage]
      |  ^^^^^
      |
      = help: the sections are `service`, `job`, `image`, `env`, `secrets`, `labels`, `annotations`, `resources`, `scaling`, `network`, `cloud_sql`, `health`, `sidecars`, `volumes`, `rollout`, `targets`
    "#);
}

#[test]
fn unknown_target_override() {
    let text = r#"
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.gpus]
[targets.prod.fargate]
[targets.prod.resource]
[targets.prod.image.build]
[targets.prod.service]
name = "other"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `gpus`
     --> carrack.toml:8:15
      |
    8 | [targets.prod.gpus]
      |               ^^^^
      |
      = help: the keys of [targets.prod] are `provider`, `project`, `region`, `service_account`, `repository`, `federation`, `service`, `job`, `image`, `env`, `secrets`, `labels`, `annotations`, `resources`, `scaling`, `network`, `cloud_sql`, `health`, `sidecars`, `volumes`, `rollout`, `cloud-run`

    error: unknown key `fargate`
     --> carrack.toml:9:15
      |
    9 | [targets.prod.fargate]
      |               ^^^^^^^
      |
      = help: the keys of [targets.prod] are `provider`, `project`, `region`, `service_account`, `repository`, `federation`, `service`, `job`, `image`, `env`, `secrets`, `labels`, `annotations`, `resources`, `scaling`, `network`, `cloud_sql`, `health`, `sidecars`, `volumes`, `rollout`, `cloud-run`

    error: unknown key `resource`
      --> carrack.toml:10:15
       |
    10 | [targets.prod.resource]
       |               ^^^^^^^^ did you mean `resources`?

    error: unknown key `build`
      --> carrack.toml:11:21
       |
    11 | [targets.prod.image.build]
       |                     ^^^^^ `build` is a section of its own: [image.build]

    error: unknown key `name`
      --> carrack.toml:13:1
       |
    13 | name = "other"
       | ^^^^ `name` belongs to [service]
    "#);
}

#[test]
fn key_of_another_section_of_the_target() {
    let text = r#"
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
min = 1
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `min`
     --> carrack.toml:8:1
      |
    8 | min = 1
      | ^^^ `min` belongs to [targets.prod.scaling]
    "#);
}

#[test]
fn unknown_key_of_a_probe() {
    let text = r#"
[health]
startup = { http = "/", interval = "1s" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `interval`
     --> carrack.toml:5:25
      |
    5 | startup = { http = "/", interval = "1s" }
      |                         ^^^^^^^^
      |
      = help: the keys of [health.startup] are `http`, `tcp`, `grpc`, `port`, `period`, `timeout`, `failures`, `delay`
    "#);
}

#[test]
fn unknown_key_of_a_file() {
    let text = r#"
[image.build]
files = [{ from = "a", to = "/a", mode = 755 }]
entrypoint = ["/a"]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown key `mode`
     --> carrack.toml:5:35
      |
    5 | files = [{ from = "a", to = "/a", mode = 755 }]
      |                                   ^^^^
      |
      = help: the keys of [image.build.files] are `from`, `to`
    "#);
}
