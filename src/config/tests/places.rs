//! Errors about a field of the spec, led back to the file.
use carrack_core::{
    Error, ErrorKind,
    capability::{Capabilities, Size, check},
    spec::{Mebibytes, MilliCpu},
};

use super::loaded;

const FILE: &str = r#"
[service]
name = "hello"
port = 8080

[image]
ref = "gcr.io/a/b:1"

[env]
LEVEL = "info"

[resources]
cpu = 1
memory = "64MiB"

[scaling]

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
service_account = "a@b.c"
env = { LEVEL = "warn", OTHER = "1" }
[targets.prod.resources]
memory = "128MiB"
[targets.prod.health]
startup = { grpc = true }
[targets.other]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
"#;

/// The text that is marked for a field.
fn marked(target: Option<&str>, field: &str) -> (usize, &'static str) {
    let error = Error::new(ErrorKind::ConfigInvalid, "wrong").at_field(field);
    let found = &loaded(FILE).locate(target, &error).0[0];
    (found.line, &FILE[found.span()])
}

#[test]
fn the_most_specific_place_that_set_the_field() {
    for (target, field, expected) in [
        (None, "resources.memory", (14, "\"64MiB\"")),
        (Some("other"), "resources.memory", (14, "\"64MiB\"")),
        (Some("prod"), "resources.memory", (25, "\"128MiB\"")),
        (Some("prod"), "resources.cpu", (13, "1")),
        (None, "env.LEVEL", (10, "\"info\"")),
        (Some("prod"), "env.LEVEL", (23, "\"warn\"")),
        (Some("prod"), "env.OTHER", (23, "\"1\"")),
        (Some("prod"), "health.startup", (27, "startup")),
        (Some("prod"), "service_account", (22, "\"a@b.c\"")),
        (Some("prod"), "service.port", (4, "8080")),
        (Some("prod"), "image", (7, "\"gcr.io/a/b:1\"")),
        (None, "scaling.max", (16, "[scaling]")),
        (None, "health.liveness", (3, "\"hello\"")),
        (Some("other"), "health.liveness", (28, "other")),
        (Some("other"), "service_account", (28, "other")),
        (None, "nothing.known", (3, "\"hello\"")),
    ] {
        assert_eq!(marked(target, field), expected, "{field} of {target:?}");
    }
}

#[test]
fn what_a_cloud_refuses_is_shown_in_the_file() {
    let file = loaded(FILE);
    let size = Size {
        cpu_from: MilliCpu(1000),
        cpu_to: MilliCpu(1000),
        memory_from: Mebibytes(512),
        memory_to: Mebibytes(4096),
    };
    let capabilities = Capabilities {
        revisions: true,
        traffic_split: true,
        longest_name_and_tag: None,
        logs_follow: true,
        public_access: true,
        grpc_probe: false,
        readiness_probe: false,
        sidecars: false,
        volumes: Vec::new(),
        sizes: vec![size],
        single_request_below: None,
        max_concurrency: Some(1000),
        max_instances: 100,
        features: Vec::new(),
        longest_timeout: None,
        ingress: Vec::new(),
        execution_environments: Vec::new(),
        longest_description: 512,
        jobs: None,
    };
    let spec = file.resolve(Some("prod")).expect("it is valid").deploy.spec;
    let errors = check(&capabilities, &spec);
    let shown: Vec<_> = errors.iter().map(|error| file.locate(Some("prod"), error)).collect();
    assert_eq!([shown[0].kind(), shown[1].kind()], [ErrorKind::ConfigInvalid, ErrorKind::Unsupported]);
    let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(shown.join("\n\n"), @r#"
    error: memory 128MiB is outside what this cloud has with cpu 1
      --> carrack.toml:25:10
       |
    25 | memory = "128MiB"
       |          ^^^^^^^^
       |
       = help: use 512MiB to 4GiB with cpu 1

    error: this cloud has no gRPC health checks
      --> carrack.toml:27:1
       |
    27 | startup = { grpc = true }
       | ^^^^^^^
       |
       = help: use an http or tcp check
    "#);
}

#[test]
fn an_error_without_a_field_is_shown_at_its_target() {
    let error = Error::new(ErrorKind::Unsupported, "this cloud is not in this build");
    insta::assert_snapshot!(loaded(FILE).locate(Some("prod"), &error), @r#"
    error: this cloud is not in this build
      --> carrack.toml:18:10
       |
    18 | [targets.prod]
       |          ^^^^
    "#);
}
