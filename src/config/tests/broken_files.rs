//! Files that are not TOML, or lack what they need.
use insta::assert_snapshot;

use super::{refused, refused_below};

#[test]
fn duplicate_key() {
    let text = "
port = 1
port = 2
";
    assert_snapshot!(refused_below(text), @r#"
    error: duplicate key `port`
     --> carrack.toml:5:1
      |
    5 | port = 2
      | ^^^^ this key stands here a second time
    "#);
}

#[test]
fn duplicate_section() {
    let text = r#"
[env]
A = "1"
[env]
B = "2"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: duplicate key `env`
     --> carrack.toml:6:2
      |
    6 | [env]
      |  ^^^ this key stands here a second time
    "#);
}

#[test]
fn duplicate_variable() {
    assert_snapshot!(refused_below(r#"env = { A = "1", A = "2" }"#), @r#"
    error: duplicate key `A`
     --> carrack.toml:3:18
      |
    3 | env = { A = "1", A = "2" }
      |                  ^ this key stands here a second time
    "#);
}

#[test]
fn syntax_error() {
    let text = "
[service]
name = hello
port = 8080
";
    assert_snapshot!(refused(text), @r#"
    error: this is not valid TOML
     --> carrack.toml:3:8
      |
    3 | name = hello
      |        ^^^^^ string values must be quoted, expected literal string
    "#);
}

#[test]
fn text_that_does_not_end() {
    let text = r#"
[service]
name = "hello
"#;
    assert_snapshot!(refused(text), @r#"
    error: this is not valid TOML
     --> carrack.toml:3:14
      |
    3 | name = "hello
      |              ^ invalid basic string, expected `"`
    "#);
}

#[test]
fn empty_file() {
    assert_snapshot!(refused(""), @r#"
    error: missing section [service]
     --> carrack.toml:1:1
      |
    1 |
      | ^
      |
      = help: or write [job], for what runs to its end
    "#);
}

#[test]
fn missing_name() {
    let text = "
[service]
port = 8080
";
    assert_snapshot!(refused(text), @r#"
    error: missing key `name` in [service]
     --> carrack.toml:2:1
      |
    2 | [service]
      | ^^^^^^^^^ `name` is required
    "#);
}

#[test]
fn missing_keys_of_a_target() {
    let text = r#"
[targets.prod]
service_account = "a@b.c"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: missing key `provider` in [targets.prod]
     --> carrack.toml:4:1
      |
    4 | [targets.prod]
      | ^^^^^^^^^^^^^^ `provider` is required

    error: missing key `project` in [targets.prod]
     --> carrack.toml:4:1
      |
    4 | [targets.prod]
      | ^^^^^^^^^^^^^^ `project` is required

    error: missing key `region` in [targets.prod]
     --> carrack.toml:4:1
      |
    4 | [targets.prod]
      | ^^^^^^^^^^^^^^ `region` is required
    "#);
}

#[test]
fn missing_key_of_a_file() {
    let text = r#"
[image.build]
files = [{ from = "a" }]
entrypoint = ["/a"]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: missing key `to` in [image.build.files]
     --> carrack.toml:5:10
      |
    5 | files = [{ from = "a" }]
      |          ^^^^^^^^^^^^^^ `to` is required
    "#);
}

#[test]
fn section_that_is_a_value() {
    assert_snapshot!(refused(r#"service = "hello""#), @r#"
    error: `service` takes a table, not a string
     --> carrack.toml:1:11
      |
    1 | service = "hello"
      |           ^^^^^^^ expected a table
      |
      = help: write [service]
    "#);
}

#[test]
fn target_that_is_a_value() {
    let text = r#"
[targets]
prod = "cloud-run"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `prod` takes a table, not a string
     --> carrack.toml:5:8
      |
    5 | prod = "cloud-run"
      |        ^^^^^^^^^^^ expected a table
    "#);
}

#[test]
fn everything_at_once() {
    let text = r#"
[service]
port = 0
prot = 1
[resources]
cpu = true
memory = "512M"
[env]
X = "${NO}"
[targets.prod]
provider = "cloud"
"#;
    assert_snapshot!(refused(text), @r#"
    error: missing key `name` in [service]
     --> carrack.toml:2:1
      |
    2 | [service]
      | ^^^^^^^^^ `name` is required

    error: `port` cannot be 0
     --> carrack.toml:3:8
      |
    3 | port = 0
      |        ^ use 1 to 65535

    error: unknown key `prot`
     --> carrack.toml:4:1
      |
    4 | prot = 1
      | ^^^^ did you mean `port`?

    error: `cpu` takes a number or a string, not `true`
     --> carrack.toml:6:7
      |
    6 | cpu = true
      |       ^^^^ expected a number or a string
      |
      = help: write `1`, `0.5` or `"500m"`

    error: unknown memory unit `M`
     --> carrack.toml:7:10
      |
    7 | memory = "512M"
      |          ^^^^^^ write "512MiB"

    error: the variable `NO` is not set
     --> carrack.toml:9:6
      |
    9 | X = "${NO}"
      |      ^^^^^ needed here
      |
      = help: set it in the environment, or give a default: `${NO:-…}`

    error: missing key `project` in [targets.prod]
      --> carrack.toml:10:1
       |
    10 | [targets.prod]
       | ^^^^^^^^^^^^^^ `project` is required

    error: missing key `region` in [targets.prod]
      --> carrack.toml:10:1
       |
    10 | [targets.prod]
       | ^^^^^^^^^^^^^^ `region` is required

    error: unknown provider `cloud`
      --> carrack.toml:11:12
       |
    11 | provider = "cloud"
       |            ^^^^^^^
       |
       = help: the providers are `cloud-run`
    "#);
}
