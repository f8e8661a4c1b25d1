//! Values of another type, numbers out of range, and interpolation.
use insta::assert_snapshot;

use super::{refused, refused_below};

#[test]
fn wrong_types() {
    let text = r#"
[service]
name = 1
port = "8080"
public = "yes"
command = "/app"
args = [1, true]
exact = "env"
"#;
    assert_snapshot!(refused(text), @r#"
    error: `name` takes a string, not an integer
     --> carrack.toml:3:8
      |
    3 | name = 1
      |        ^ expected a string

    error: `port` takes an integer, not a string
     --> carrack.toml:4:8
      |
    4 | port = "8080"
      |        ^^^^^^ expected an integer

    error: `public` takes a boolean, not a string
     --> carrack.toml:5:10
      |
    5 | public = "yes"
      |          ^^^^^ expected a boolean
      |
      = help: write `true` or `false`

    error: `command` takes a list, not a string
     --> carrack.toml:6:11
      |
    6 | command = "/app"
      |           ^^^^^^ expected a list

    error: `args` takes a string, not an integer
     --> carrack.toml:7:9
      |
    7 | args = [1, true]
      |         ^ expected a string
      |
      = help: write "1"

    error: `args` takes a string, not `true`
     --> carrack.toml:7:12
      |
    7 | args = [1, true]
      |            ^^^^ expected a string
      |
      = help: write "true"

    error: `exact` takes a list, not a string
     --> carrack.toml:8:9
      |
    8 | exact = "env"
      |         ^^^^^ expected a list
    "#);
}

#[test]
fn interpolation_gives_a_string() {
    assert_snapshot!(refused_below(r#"port = "${PORT}""#), @r#"
    error: `port` takes an integer, not a string
     --> carrack.toml:3:8
      |
    3 | port = "${PORT}"
      |        ^^^^^^^^^ expected an integer
      |
      = help: `${…}` always gives a string
    "#);
}

#[test]
fn port_out_of_range() {
    let text = r#"
port = 0
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
service.port = 65536
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `port` cannot be 0
     --> carrack.toml:4:8
      |
    4 | port = 0
      |        ^ use 1 to 65535

    error: `port` cannot be 65536
     --> carrack.toml:9:16
      |
    9 | service.port = 65536
      |                ^^^^^ use 1 to 65535
    "#);
}

#[test]
fn negative_port() {
    assert_snapshot!(refused_below("port = -1"), @r#"
    error: `port` cannot be -1
     --> carrack.toml:3:8
      |
    3 | port = -1
      |        ^^ use 1 to 65535
    "#);
}

#[test]
fn hexadecimal_port() {
    assert_snapshot!(refused_below("port = 0xfffff"), @r#"
    error: `port` cannot be 1048575
     --> carrack.toml:3:8
      |
    3 | port = 0xfffff
      |        ^^^^^^^ use 1 to 65535
    "#);
}

#[test]
fn bad_exact() {
    assert_snapshot!(refused_below(r#"exact = ["envs", "resources", 1]"#), @r#"
    error: `exact` cannot hold `envs`
     --> carrack.toml:3:10
      |
    3 | exact = ["envs", "resources", 1]
      |          ^^^^^^ did you mean `env`?

    error: `exact` cannot hold `resources`
     --> carrack.toml:3:18
      |
    3 | exact = ["envs", "resources", 1]
      |                  ^^^^^^^^^^^
      |
      = help: it takes `env`, `secrets`, `labels`, `annotations`, `volumes`, `sidecars`

    error: `exact` takes a string, not an integer
     --> carrack.toml:3:31
      |
    3 | exact = ["envs", "resources", 1]
      |                               ^ expected a string
    "#);
}

#[test]
fn bad_counts() {
    let text = "
[scaling]
min = -1
max = 1.5
concurrency = 99999999999
";
    assert_snapshot!(refused_below(text), @r#"
    error: `min` cannot be -1
     --> carrack.toml:5:7
      |
    5 | min = -1
      |       ^^ use 0 or more

    error: `max` takes an integer, not a float
     --> carrack.toml:6:7
      |
    6 | max = 1.5
      |       ^^^ expected an integer

    error: `concurrency` cannot be 99999999999
     --> carrack.toml:7:15
      |
    7 | concurrency = 99999999999
      |               ^^^^^^^^^^^ use 0 or more
    "#);
}

#[test]
fn unset_variable() {
    let text = r#"
[env]
URL = "https://${HOST}/${A}?${QUERY}"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: the variable `HOST` is not set
     --> carrack.toml:5:16
      |
    5 | URL = "https://${HOST}/${A}?${QUERY}"
      |                ^^^^^^^ needed here
      |
      = help: set it in the environment, or give a default: `${HOST:-…}`

    error: the variable `QUERY` is not set
     --> carrack.toml:5:29
      |
    5 | URL = "https://${HOST}/${A}?${QUERY}"
      |                             ^^^^^^^^ needed here
      |
      = help: set it in the environment, or give a default: `${QUERY:-…}`
    "#);
}

#[test]
fn malformed_interpolations() {
    let text = r#"
[env]
B = "$${A} ${A"
C = "${1}"
D = "${X:-${A}}"
E = "\u0024{NO}"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid `${A`
     --> carrack.toml:5:12
      |
    5 | B = "$${A} ${A"
      |            ^^^ there is no `}`
      |
      = help: write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`

    error: invalid `${1}`
     --> carrack.toml:6:6
      |
    6 | C = "${1}"
      |      ^^^^ this is not the name of a variable
      |
      = help: write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`

    error: invalid `${X:-${A}`
     --> carrack.toml:7:6
      |
    7 | D = "${X:-${A}}"
      |      ^^^^^^^^^ a default cannot hold another `${`
      |
      = help: write `${NAME}` or `${NAME:-default}`, and `$${` for a literal `${`

    error: the variable `NO` is not set
     --> carrack.toml:8:5
      |
    8 | E = "\u0024{NO}"
      |     ^^^^^^^^^^^^ needed here
      |
      = help: set it in the environment, or give a default: `${NO:-…}`
    "#);
}

#[test]
fn bad_variable_value() {
    let text = "
[env]
A = [1]
B = 2026-01-01
C.D = 1
";
    assert_snapshot!(refused_below(text), @r#"
    error: `A` takes a string, a number or a boolean, not a list
     --> carrack.toml:5:5
      |
    5 | A = [1]
      |     ^^^ expected a string, a number or a boolean

    error: `B` takes a string, a number or a boolean, not a date
     --> carrack.toml:6:5
      |
    6 | B = 2026-01-01
      |     ^^^^^^^^^^ expected a string, a number or a boolean

    error: `C` takes a string, a number or a boolean, not a table
     --> carrack.toml:7:1
      |
    7 | C.D = 1
      | ^ expected a string, a number or a boolean
    "#);
}

#[test]
fn control_characters() {
    let text = r#"
[targets.prod]
provider = "\u001b[31m"
project = "my-project"
region = "us-central1"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown provider `␛[31m`
     --> carrack.toml:5:12
      |
    5 | provider = "\u001b[31m"
      |            ^^^^^^^^^^^^
      |
      = help: the providers are `cloud-run`
    "#);
}

#[test]
fn wide_characters() {
    let text = r#"
[labels]
"日本" = "東京 Ä"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid label value `東京 Ä`
     --> carrack.toml:5:8
      |
    5 | "日本" = "東京 Ä"
      |          ^^^^^^^^
      |
      = help: use up to 63 lower-case letters, digits, `_` and `-`
    "#);
}
