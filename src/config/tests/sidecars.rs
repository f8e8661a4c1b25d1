//! `[sidecars]` and `[volumes]`: what they say for each target, and what they cannot say.
use carrack_core::fields::fields;
use insta::assert_snapshot;

use super::{loaded, refused_below};

const FILE: &str = r#"
service = { name = "hello", port = 8080, depends_on = ["proxy"] }

[health]
readiness = { http = "/ready", period = "5s" }

[volumes.cache]
kind = "memory"
size = "64MiB"
mount = "/cache/"
[volumes.data]
kind = "bucket"
bucket = "my-data"
options = ["implicit-dirs"]
read_only = true
[volumes.share]
kind = "nfs"
server = "10.0.0.2"
path = "/share"

[sidecars.proxy]
image = "gcr.io/my-project/proxy:1"
command = ["/proxy"]
args = ["--verbose"]
[sidecars.proxy.env]
PORT = 9000
LEVEL = "info"
[sidecars.proxy.secrets]
TOKEN = "token"
KEY = { secret = "key", mount = "/keys/key.pem" }
[sidecars.proxy.volumes]
cache = "/var/cache"
[sidecars.proxy.resources]
cpu = 0.5
memory = "256MiB"
[sidecars.proxy.health]
startup = { tcp = 9000, period = "1s" }
liveness = { grpc = true, port = 9001 }

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.sidecars.proxy]
image = "gcr.io/my-project/proxy:2"
resources = { memory = "1GiB" }
secrets = { KEY = "key", LEVEL = "level" }
[targets.prod.sidecars.second]
image = "gcr.io/my-project/second:1"
depends_on = ["main"]
[targets.prod.volumes.cache]
kind = "memory"
"#;

fn shown(target: Option<&str>) -> String {
    let deploy = loaded(FILE).resolve(target).unwrap_or_else(|errors| panic!("{errors}")).deploy;
    let line = |(path, value)| format!("{path} = {value}");
    let mut lines: Vec<String> = fields(&deploy.spec).into_iter().map(line).collect();
    lines.push(format!("tables {:?}", deploy.tables));
    lines.join("\n")
}

#[test]
fn containers_and_what_they_mount() {
    assert_snapshot!(shown(None), @r#"
    health.readiness = http /ready, every 5s, timeout 1s, 3 failures, delay 0s
    service.depends_on = ["proxy"]
    service.port = 8080
    sidecars.proxy.args = ["--verbose"]
    sidecars.proxy.command = ["/proxy"]
    sidecars.proxy.env.LEVEL = "info"
    sidecars.proxy.env.PORT = "9000"
    sidecars.proxy.health.liveness = grpc:9001, every 10s, timeout 1s, 3 failures, delay 0s
    sidecars.proxy.health.startup = tcp 9000, every 1s, timeout 1s, 3 failures, delay 0s
    sidecars.proxy.image = gcr.io/my-project/proxy:1
    sidecars.proxy.resources.cpu = 0.5
    sidecars.proxy.resources.memory = 256MiB
    sidecars.proxy.secrets./keys/key.pem = key
    sidecars.proxy.secrets.TOKEN = token
    sidecars.proxy.volumes.cache = /var/cache
    volumes.cache = memory 64MiB, at /cache
    volumes.data = bucket my-data, read only, options ["implicit-dirs"]
    volumes.share = nfs 10.0.0.2:/share
    tables ["sidecars", "sidecars.proxy.env", "sidecars.proxy.secrets", "sidecars.proxy.volumes", "volumes"]
    "#);
}

#[test]
fn a_target_changes_keys_of_a_sidecar_and_volumes_as_a_whole() {
    assert_snapshot!(shown(Some("prod")), @r#"
    health.readiness = http /ready, every 5s, timeout 1s, 3 failures, delay 0s
    service.depends_on = ["proxy"]
    service.port = 8080
    sidecars.proxy.args = ["--verbose"]
    sidecars.proxy.command = ["/proxy"]
    sidecars.proxy.env.PORT = "9000"
    sidecars.proxy.health.liveness = grpc:9001, every 10s, timeout 1s, 3 failures, delay 0s
    sidecars.proxy.health.startup = tcp 9000, every 1s, timeout 1s, 3 failures, delay 0s
    sidecars.proxy.image = gcr.io/my-project/proxy:2
    sidecars.proxy.resources.cpu = 0.5
    sidecars.proxy.resources.memory = 1GiB
    sidecars.proxy.secrets.KEY = key
    sidecars.proxy.secrets.LEVEL = level
    sidecars.proxy.secrets.TOKEN = token
    sidecars.proxy.volumes.cache = /var/cache
    sidecars.second.depends_on = ["main"]
    sidecars.second.image = gcr.io/my-project/second:1
    volumes.cache = memory
    volumes.data = bucket my-data, read only, options ["implicit-dirs"]
    volumes.share = nfs 10.0.0.2:/share
    tables ["sidecars", "sidecars.proxy.env", "sidecars.proxy.secrets", "sidecars.proxy.volumes", "volumes"]
    "#);
}

#[test]
fn containers_wait_for_others_and_not_in_a_circle() {
    let text = r#"
depends_on = ["a", "prxy"]
[sidecars.a]
depends_on = ["b"]
[sidecars.b]
depends_on = ["main"]
[sidecars.proxy]
depends_on = ["nobody"]
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.sidecars.b]
depends_on = ["b"]
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: containers wait for each other: `a` -> `b` -> `main` -> `a`
     --> carrack.toml:4:15
      |
    4 | depends_on = ["a", "prxy"]
      |               ^^^ remove one of these dependencies

    error: `main` depends on `prxy`, which is no container here
     --> carrack.toml:4:20
      |
    4 | depends_on = ["a", "prxy"]
      |                    ^^^^^^ did you mean "proxy"?

    error: `proxy` depends on `nobody`, which is no container here
      --> carrack.toml:10:15
       |
    10 | depends_on = ["nobody"]
       |               ^^^^^^^^
       |
       = help: the other containers are `main`, `a`, `b`

    error: containers wait for each other: `b` -> `b`
      --> carrack.toml:16:15
       |
    16 | depends_on = ["b"]
       |               ^^^ remove one of these dependencies
    "#);
}

#[test]
fn volumes_are_there_and_each_folder_shows_one_thing() {
    let text = r#"
[secrets]
KEY = { secret = "key", mount = "/data/keys/key.pem" }
[volumes]
data = { kind = "memory", mount = "/data" }
more = { kind = "memory", mount = "/data/" }
[sidecars.proxy.volumes]
dta = "/a"
more = "/b"
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.sidecars.proxy.volumes]
data = "/b/c"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `/data` and `/data/keys`, where secret `KEY` is mounted, are one below the other
     --> carrack.toml:7:35
      |
    7 | data = { kind = "memory", mount = "/data" }
      |                                   ^^^^^^^ use a folder that is beside the other

    error: `/data` and `/data/keys`, where secret `KEY` is mounted, are one below the other
     --> carrack.toml:8:35
      |
    8 | more = { kind = "memory", mount = "/data/" }
      |                                   ^^^^^^^^ use a folder that is beside the other

    error: `proxy` mounts `dta`, which is no volume here
      --> carrack.toml:10:7
       |
    10 | dta = "/a"
       |       ^^^^ did you mean `data`?

    error: `/b/c` and `/b`, where volume `more` is mounted, are one below the other
      --> carrack.toml:17:8
       |
    17 | data = "/b/c"
       |        ^^^^^^ use a folder that is beside the other
    "#);
}

#[test]
fn each_kind_of_volume_has_its_own_keys() {
    let text = r#"
[volumes]
a = { kind = "memory", bucket = "b", mount = "/" }
b = { kind = "bucket", size = "1MiB", mount = "/proc/x" }
c = { kind = "nfs", server = "10.0.0.2", mount = "c" }
d = { kind = "secret" }
e = { kind = "memry" }
F_ = { kind = "memory" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `bucket` does not go with kind `memory`
     --> carrack.toml:5:24
      |
    5 | a = { kind = "memory", bucket = "b", mount = "/" }
      |                        ^^^^^^ goes with `bucket`

    error: invalid path `/`
     --> carrack.toml:5:46
      |
    5 | a = { kind = "memory", bucket = "b", mount = "/" }
      |                                              ^^^ the mount would hide every file of the image

    error: missing key `bucket` in [volumes.b]
     --> carrack.toml:6:5
      |
    6 | b = { kind = "bucket", size = "1MiB", mount = "/proc/x" }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a volume of kind `bucket` needs `bucket`

    error: `size` does not go with kind `bucket`
     --> carrack.toml:6:24
      |
    6 | b = { kind = "bucket", size = "1MiB", mount = "/proc/x" }
      |                        ^^^^ goes with `memory`

    error: invalid path `/proc/x`
     --> carrack.toml:6:47
      |
    6 | b = { kind = "bucket", size = "1MiB", mount = "/proc/x" }
      |                                               ^^^^^^^^^ `/proc` is the system's own

    error: missing key `path` in [volumes.c]
     --> carrack.toml:7:5
      |
    7 | c = { kind = "nfs", server = "10.0.0.2", mount = "c" }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a volume of kind `nfs` needs `path`

    error: invalid path `c`
     --> carrack.toml:7:50
      |
    7 | c = { kind = "nfs", server = "10.0.0.2", mount = "c" }
      |                                                  ^^^
      |
      = help: use an absolute path such as "/cache", without `..`, `:` and control characters

    error: unknown kind `secret`
     --> carrack.toml:8:14
      |
    8 | d = { kind = "secret" }
      |              ^^^^^^^^
      |
      = help: write `NAME = { secret = "…", mount = "/folder/file" }` under [secrets]

    error: unknown kind `memry`
     --> carrack.toml:9:14
      |
    9 | e = { kind = "memry" }
      |              ^^^^^^^ did you mean "memory"?

    error: invalid volume name `F_`
      --> carrack.toml:10:1
       |
    10 | F_ = { kind = "memory" }
       | ^^
       |
       = help: use 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end
    "#);
}

#[test]
fn what_a_sidecar_cannot_have() {
    let text = r#"
[sidecars.main]
[sidecars.proxy]
port = 9000
image = { build = { dockerfile = "Dockerfile" } }
env = { A = "1", K_SERVICE = "x" }
secrets = { A = "a" }
health = { startup = { tcp = true }, readiness = { http = "/" } }
resources = { gpu = 1 }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: a sidecar cannot be called `main`
     --> carrack.toml:4:11
      |
    4 | [sidecars.main]
      |           ^^^^ this is the container of [service]
      |
      = help: `depends_on = ["main"]` means that one

    error: unknown key `port`
     --> carrack.toml:6:1
      |
    6 | port = 9000
      | ^^^^ `port` belongs to [service]

    error: `sidecars.proxy.image` takes a reference
     --> carrack.toml:7:9
      |
    7 | image = { build = { dockerfile = "Dockerfile" } }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the image of a sidecar is not built here
      |
      = help: write `image = "HOST/PATH@sha256:…"`
      = help: to build it, give it a carrack.toml of its own: `carrack push -f FILE` prints the reference

    error: `A` is in both [sidecars.proxy.env] and [sidecars.proxy.secrets]
     --> carrack.toml:8:9
      |
    8 | env = { A = "1", K_SERVICE = "x" }
      |         ^ a text here
      |
      = help: remove one of them: a deploy turns the one into the other

    error: `K_SERVICE` is set by the cloud
     --> carrack.toml:8:18
      |
    8 | env = { A = "1", K_SERVICE = "x" }
      |                  ^^^^^^^^^ remove this, the container gets it anyway

    error: `A` is in both [sidecars.proxy.env] and [sidecars.proxy.secrets]
     --> carrack.toml:9:13
      |
    9 | secrets = { A = "a" }
      |             ^ a secret here
      |
      = help: remove one of them: a deploy turns the one into the other

    error: `sidecars.proxy.health.startup` does not say which port it asks
      --> carrack.toml:10:22
       |
    10 | health = { startup = { tcp = true }, readiness = { http = "/" } }
       |                      ^^^^^^^^^^^^^^ needs `port`
       |
       = help: a sidecar has no port of its own: the port of [service] is the main container's

    error: `sidecars.proxy.health.readiness` does not say which port it asks
      --> carrack.toml:10:50
       |
    10 | health = { startup = { tcp = true }, readiness = { http = "/" } }
       |                                                  ^^^^^^^^^^^^^^ needs `port`
       |
       = help: a sidecar has no port of its own: the port of [service] is the main container's

    error: unknown key `gpu`
      --> carrack.toml:11:15
       |
    11 | resources = { gpu = 1 }
       |               ^^^ did you mean `cpu`?
    "#);
}
