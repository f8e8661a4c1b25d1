//! `[secrets]`: what it says for each target, and what it cannot say.
use carrack_core::{Error, ErrorKind, fields::fields};
use insta::assert_snapshot;

use super::{loaded, refused_below};

const FILE: &str = r#"
service = { name = "hello", exact = ["secrets"] }

[env]
LEVEL = "info"
PASSWORD = "local"

[secrets]
DATABASE_URL = "db-url"
API_KEY = { secret = "projects/other/secrets/api-key", version = "3" }
TLS_KEY = { secret = "tls-key", mount = "/etc/tls/key.pem" }
TOKEN = { secret = "token", mount = "/run/token/value" }

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.env]
API_KEY = "none"
[targets.prod.secrets]
DATABASE_URL = { secret = "${A}-db", version = "latest" }
PASSWORD = { secret = "password", version = "prod" }
TLS_KEY = { secret = "tls-key", mount = "/etc/other/key.pem" }
TOKEN = "token"

[targets.bare]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
"#;

fn shown(target: Option<&str>) -> String {
    let deploy = loaded(FILE).resolve(target).unwrap_or_else(|errors| panic!("{errors}")).deploy;
    let line = |(path, value)| format!("{path} = {value}");
    let mut lines: Vec<String> = fields(&deploy.spec).into_iter().map(line).collect();
    lines.push(format!("tables {:?}, exact {:?}", deploy.tables, deploy.exact));
    lines.join("\n")
}

#[test]
fn variables_and_files() {
    assert_snapshot!(shown(None), @r#"
    env.LEVEL = "info"
    env.PASSWORD = "local"
    secrets./etc/tls/key.pem = tls-key
    secrets./run/token/value = token
    secrets.API_KEY = projects/other/secrets/api-key version 3
    secrets.DATABASE_URL = db-url
    tables ["env", "secrets"], exact ["secrets"]
    "#);
    assert_eq!(shown(Some("bare")), shown(None));
}

#[test]
fn a_target_replaces_an_entry_as_a_whole() {
    assert_snapshot!(shown(Some("prod")), @r#"
    env.API_KEY = "none"
    env.LEVEL = "info"
    secrets./etc/other/key.pem = tls-key
    secrets.DATABASE_URL = one-db version latest
    secrets.PASSWORD = password version prod
    secrets.TOKEN = token
    tables ["env", "secrets"], exact ["secrets"]
    "#);
}

#[test]
fn an_empty_section_stands_in_the_file() {
    let deploy = loaded("service.name = \"hello\"\n[secrets]").resolve(None).expect("it is valid").deploy;
    assert_eq!(deploy.tables, ["secrets"]);
}

#[test]
fn places() {
    let marked = |target: Option<&str>, field: &str| {
        let error = Error::new(ErrorKind::NotFound, "missing").at_field(field);
        let found = loaded(FILE).locate(target, &error).0.remove(0);
        assert_eq!(found.kind, ErrorKind::NotFound);
        (found.line, FILE[found.span()].to_owned())
    };
    for (target, field, line, expected) in [
        (None, "secrets.DATABASE_URL", 9, "\"db-url\""),
        (None, "secrets.API_KEY", 10, "API_KEY"),
        (None, "secrets./etc/tls/key.pem", 11, "\"/etc/tls/key.pem\""),
        (Some("prod"), "secrets.DATABASE_URL", 21, "DATABASE_URL"),
        (Some("prod"), "secrets./etc/other/key.pem", 23, "\"/etc/other/key.pem\""),
        (Some("bare"), "secrets./run/token/value", 12, "\"/run/token/value\""),
        (None, "secrets./not/there", 8, "secrets"),
    ] {
        assert_eq!(marked(target, field), (line, expected.to_owned()), "{field} for {target:?}");
    }
}

#[test]
fn wrong_names_and_versions() {
    let text = r#"
[secrets]
A = "db url"
B = "db-url:3"
C = "projects/p/secrets/db-url/versions/latest"
D = "projects/p/locations/europe-west1/secrets/db-url"
E = "projects/My Project/secrets/db-url"
F = { secret = "db-url", version = "v1.2" }
G = { secret = "db-url", version = 3 }
H = { secret = "db-url", version = "03" }
I = ""
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid secret name `db url`
     --> carrack.toml:5:5
      |
    5 | A = "db url"
      |     ^^^^^^^^
      |
      = help: use 1 to 255 letters, digits, `_` and `-`; for a secret of another project write "projects/PROJECT/secrets/NAME"

    error: invalid secret name `db-url:3`
     --> carrack.toml:6:5
      |
    6 | B = "db-url:3"
      |     ^^^^^^^^^^
      |
      = help: write { secret = "db-url", version = "3" }

    error: invalid secret name `projects/p/secrets/db-url/versions/latest`
     --> carrack.toml:7:5
      |
    7 | C = "projects/p/secrets/db-url/versions/latest"
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write { secret = "projects/p/secrets/db-url", version = "latest" }

    error: invalid secret name `projects/p/locations/europe-west1/secrets/db-url`
     --> carrack.toml:8:5
      |
    8 | D = "projects/p/locations/europe-west1/secrets/db-url"
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a regional secret
      |
      = help: Cloud Run takes secrets without a location: https://cloud.google.com/run/docs/configuring/services/secrets

    error: invalid project `My Project`
     --> carrack.toml:9:5
      |
    9 | E = "projects/My Project/secrets/db-url"
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write the project's id, such as "my-project", not its display name

    error: invalid version `v1.2`
      --> carrack.toml:10:36
       |
    10 | F = { secret = "db-url", version = "v1.2" }
       |                                    ^^^^^^
       |
       = help: write its number, such as "3", an alias, or "latest"
       = help: without `version` the newest one is looked up at each deploy

    error: `version` takes a string, not an integer
      --> carrack.toml:11:36
       |
    11 | G = { secret = "db-url", version = 3 }
       |                                    ^ expected a string
       |
       = help: write "3"

    error: invalid version `03`
      --> carrack.toml:12:36
       |
    12 | H = { secret = "db-url", version = "03" }
       |                                    ^^^^
       |
       = help: write its number, such as "3", an alias, or "latest"
       = help: without `version` the newest one is looked up at each deploy

    error: invalid secret name ``
      --> carrack.toml:13:5
       |
    13 | I = ""
       |     ^^
       |
       = help: use 1 to 255 letters, digits, `_` and `-`; for a secret of another project write "projects/PROJECT/secrets/NAME"
    "#);
}

#[test]
fn wrong_mounts() {
    let text = r#"
[secrets]
A = { secret = "a", mount = "etc/tls/key.pem" }
B = { secret = "a", mount = "/etc/tls/" }
C = { secret = "a", mount = "/key.pem" }
D = { secret = "a", mount = "/proc/self/key.pem" }
E = { secret = "a", mount = "/etc/../key.pem" }
F = { secret = "a", mount = "/a:b/key.pem" }
G = { secret = "a", mount = "/a/..key" }
H = { secret = "a", mount = true }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid path `etc/tls/key.pem`
     --> carrack.toml:5:29
      |
    5 | A = { secret = "a", mount = "etc/tls/key.pem" }
      |                             ^^^^^^^^^^^^^^^^^ write "/etc/tls/key.pem"

    error: invalid path `/etc/tls/`
     --> carrack.toml:6:29
      |
    6 | B = { secret = "a", mount = "/etc/tls/" }
      |                             ^^^^^^^^^^^ this is a folder
      |
      = help: name the file in it: "/etc/tls/value"

    error: invalid path `/key.pem`
     --> carrack.toml:7:29
      |
    7 | C = { secret = "a", mount = "/key.pem" }
      |                             ^^^^^^^^^^ the mount would hide every file of the image
      |
      = help: use a folder of its own: "/secrets/key.pem"

    error: invalid path `/proc/self/key.pem`
     --> carrack.toml:8:29
      |
    8 | D = { secret = "a", mount = "/proc/self/key.pem" }
      |                             ^^^^^^^^^^^^^^^^^^^^ `/proc` is the system's own
      |
      = help: use a folder of its own: "/secrets/key.pem"

    error: invalid path `/etc/../key.pem`
     --> carrack.toml:9:29
      |
    9 | E = { secret = "a", mount = "/etc/../key.pem" }
      |                             ^^^^^^^^^^^^^^^^^
      |
      = help: write it without `.`, `..` and empty parts

    error: invalid path `/a:b/key.pem`
      --> carrack.toml:10:29
       |
    10 | F = { secret = "a", mount = "/a:b/key.pem" }
       |                             ^^^^^^^^^^^^^^
       |
       = help: use names without `:` and control characters, 255 bytes each at most; the file's does not start with `..`

    error: invalid path `/a/..key`
      --> carrack.toml:11:29
       |
    11 | G = { secret = "a", mount = "/a/..key" }
       |                             ^^^^^^^^^^
       |
       = help: use names without `:` and control characters, 255 bytes each at most; the file's does not start with `..`

    error: `mount` takes a string, not `true`
      --> carrack.toml:12:29
       |
    12 | H = { secret = "a", mount = true }
       |                             ^^^^ expected a string
    "#);
}

#[test]
fn wrong_entries() {
    let text = r#"
[secrets]
PORT = "port"
K_SERVICE = { secret = "a" }
1A = "a"
B = 3
C = ["a"]
D = {}
E = { secrt = "a" }
F = { secret = "a", versoin = "1" }
G = { secret = "a", path = "/a/b" }
[secrets.H]
secret = true
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `PORT` is set by the cloud
     --> carrack.toml:5:1
      |
    5 | PORT = "port"
      | ^^^^ remove this, the container gets it anyway
      |
      = help: to choose the port write `port = 8080` under [service]

    error: `K_SERVICE` is set by the cloud
     --> carrack.toml:6:1
      |
    6 | K_SERVICE = { secret = "a" }
      | ^^^^^^^^^ remove this, the container gets it anyway

    error: invalid variable name `1A`
     --> carrack.toml:7:1
      |
    7 | 1A = "a"
      | ^^
      |
      = help: use A-Z, a-z, 0-9 and `_`, with no digit first

    error: `B` takes the name of a secret or a table, not an integer
     --> carrack.toml:8:5
      |
    8 | B = 3
      |     ^ expected the name of a secret or a table

    error: `C` takes the name of a secret or a table, not a list
     --> carrack.toml:9:5
      |
    9 | C = ["a"]
      |     ^^^^^ expected the name of a secret or a table

    error: missing key `secret` in [secrets.D]
      --> carrack.toml:10:5
       |
    10 | D = {}
       |     ^^ `secret` is required

    error: missing key `secret` in [secrets.E]
      --> carrack.toml:11:5
       |
    11 | E = { secrt = "a" }
       |     ^^^^^^^^^^^^^^^ `secret` is required

    error: unknown key `secrt`
      --> carrack.toml:11:7
       |
    11 | E = { secrt = "a" }
       |       ^^^^^ did you mean `secret`?

    error: unknown key `versoin`
      --> carrack.toml:12:21
       |
    12 | F = { secret = "a", versoin = "1" }
       |                     ^^^^^^^ did you mean `version`?

    error: unknown key `path`
      --> carrack.toml:13:21
       |
    13 | G = { secret = "a", path = "/a/b" }
       |                     ^^^^ `path` belongs to [volumes.NAME]

    error: `secret` takes a string, not `true`
      --> carrack.toml:15:10
       |
    15 | secret = true
       |          ^^^^ expected a string
       |
       = help: write "true"
    "#);
}

#[test]
fn a_text_and_a_secret() {
    let text = r#"
[env]
A = "1"
FILE = "1"
[secrets]
A = "a"
FILE = { secret = "a", mount = "/a/b" }
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
env = { B = "1" }
secrets = { B = "b" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `A` is in both [env] and [secrets]
     --> carrack.toml:5:1
      |
    5 | A = "1"
      | ^ a text here
      |
      = help: remove one of them: a deploy turns the one into the other

    error: `A` is in both [env] and [secrets]
     --> carrack.toml:8:1
      |
    8 | A = "a"
      | ^ a secret here
      |
      = help: remove one of them: a deploy turns the one into the other

    error: `B` is in both [targets.prod.env] and [targets.prod.secrets]
      --> carrack.toml:14:9
       |
    14 | env = { B = "1" }
       |         ^ a text here
       |
       = help: remove one of them: a deploy turns the one into the other

    error: `B` is in both [targets.prod.env] and [targets.prod.secrets]
      --> carrack.toml:15:13
       |
    15 | secrets = { B = "b" }
       |             ^ a secret here
       |
       = help: remove one of them: a deploy turns the one into the other
    "#);
}

#[test]
fn mounts_in_each_others_way() {
    let text = r#"
[secrets]
KEY = { secret = "key", mount = "/etc/tls/key.pem" }
CERTIFICATE = { secret = "certificate", mount = "/etc/tls/tls.crt" }
BELOW = { secret = "below", mount = "/etc/tls/more/below.pem" }
BESIDE = { secret = "beside", mount = "/etc/tls-more/beside.pem" }
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.secrets]
BESIDE = { secret = "beside", mount = "/etc/tls/key.pem" }
CERTIFICATE = "certificate"
BELOW = "below"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `KEY` and `CERTIFICATE` are both mounted in `/etc/tls`
     --> carrack.toml:6:49
      |
    6 | CERTIFICATE = { secret = "certificate", mount = "/etc/tls/tls.crt" }
      |                                                 ^^^^^^^^^^^^^^^^^^ a folder shows one secret, and nothing else
      |
      = help: give it a folder of its own: "/etc/tls-certificate/tls.crt"

    error: `/etc/tls/more` and `/etc/tls`, where `KEY` is mounted, are one below the other
     --> carrack.toml:7:37
      |
    7 | BELOW = { secret = "below", mount = "/etc/tls/more/below.pem" }
      |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^ a folder shows one secret, and nothing else
      |
      = help: use folders that are beside each other

    error: `KEY` and `BESIDE` are both mounted in `/etc/tls`
      --> carrack.toml:14:39
       |
    14 | BESIDE = { secret = "beside", mount = "/etc/tls/key.pem" }
       |                                       ^^^^^^^^^^^^^^^^^^ a folder shows one secret, and nothing else
       |
       = help: give it a folder of its own: "/etc/tls-beside/key.pem"
    "#);
}

#[test]
fn exact_secrets_without_the_section() {
    assert_snapshot!(refused_below("exact = [\"secrets\"]\n"), @r#"
    error: `exact` names `secrets`, but there is no [secrets]
     --> carrack.toml:3:10
      |
    3 | exact = ["secrets"]
      |          ^^^^^^^^^
      |
      = help: add [secrets]; an empty one removes every live entry
    "#);
}
