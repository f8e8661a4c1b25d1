//! A service's further settings: what they become, what a target does with them, and what is refused.
use carrack_core::fields::fields;

use super::{loaded, refused_below};
use crate::config::Loaded;

const FULL: &str = r#"
cloud_sql = ["my-project:us-central1:orders"]

[service]
name = "hello"
protocol = "h2c"
timeout = "15m"
ingress = "internal-and-load-balancer"
session_affinity = true
description = "What says hello"
default_url = false
audiences = ["https://hello.example.com"]
invoker_check = false
working_dir = "/srv"
execution_environment = "gen2"

[annotations]
"example.com/owner" = "web"

[resources]
cpu_always = true
startup_boost = true

[scaling]
max = 3

[network]
network = "default"
subnet = "projects/host/regions/us-central1/subnetworks/shared"
tags = ["web"]
egress = "private-ranges"

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
cloud_sql = []
annotations."example.com/stage" = "prod"
service = { timeout = "30s", description = "" }
resources.cpu_always = false
scaling.instances = 2
network.connector = "old"
"#;

fn shown(file: &Loaded, target: Option<&str>) -> String {
    let deploy = file.resolve(target).unwrap_or_else(|errors| panic!("{errors}")).deploy;
    let lines = fields(&deploy.spec).into_iter().map(|(path, value)| format!("{path} = {value}"));
    let tables = format!("tables {:?}", deploy.tables);
    lines.chain([tables]).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_setting() {
    insta::assert_snapshot!(shown(&loaded(FULL), None), @r#"
    annotations.example.com/owner = web
    cloud_sql = ["my-project:us-central1:orders"]
    network.egress = private-ranges
    network.network = default
    network.subnet = projects/host/regions/us-central1/subnetworks/shared
    network.tags = ["web"]
    resources.cpu_always = true
    resources.startup_boost = true
    scaling.max = 3
    service.audiences = ["https://hello.example.com"]
    service.default_url = false
    service.description = What says hello
    service.execution_environment = gen2
    service.ingress = internal-and-load-balancer
    service.invoker_check = false
    service.protocol = h2c
    service.session_affinity = true
    service.timeout = 900s
    service.working_dir = /srv
    tables ["annotations"]
    "#);
}

#[test]
fn a_target_takes_the_other_of_two_ways() {
    insta::assert_snapshot!(shown(&loaded(FULL), Some("prod")), @r#"
    annotations.example.com/owner = web
    annotations.example.com/stage = prod
    cloud_sql = []
    network.connector = old
    network.egress = private-ranges
    resources.cpu_always = false
    resources.startup_boost = true
    scaling.instances = 2
    service.audiences = ["https://hello.example.com"]
    service.default_url = false
    service.description = 
    service.execution_environment = gen2
    service.ingress = internal-and-load-balancer
    service.invoker_check = false
    service.protocol = h2c
    service.session_affinity = true
    service.timeout = 30s
    service.working_dir = /srv
    tables ["annotations"]
    "#);
    let back = FULL.replace("max = 3", "instances = 3").replace("scaling.instances = 2", "scaling.min = 1");
    let back = back.replace("network = \"default\"\nsubnet", "connector = \"c\"\n#").replace("tags = ", "# ");
    let back = shown(&loaded(&back.replace("connector = \"old\"", "subnet = \"new\"")), Some("prod"));
    assert!(back.contains("scaling.min = 1") && !back.contains("scaling.instances"), "{back}");
    assert!(back.contains("network.subnet = new") && !back.contains("network.connector"), "{back}");
}

#[test]
fn what_is_written_otherwise_is_told() {
    insta::assert_snapshot!(refused_below(r#"protocol = "grpc"
ingress = "internal-only"
working_dir = "srv"
timeout = 30
[annotations]
"run.googleapis.com/ingress" = "all"
"a b" = "c"
[network]
egress = "some"
tags = ["Web"]
network = "My Network""#), @r#"
    error: `protocol` cannot be `grpc`
     --> carrack.toml:3:12
      |
    3 | protocol = "grpc"
      |            ^^^^^^ did you mean "h2c"?

    error: `ingress` cannot be `internal-only`
     --> carrack.toml:4:11
      |
    4 | ingress = "internal-only"
      |           ^^^^^^^^^^^^^^^ did you mean "internal"?

    error: invalid path `srv`
     --> carrack.toml:5:15
      |
    5 | working_dir = "srv"
      |               ^^^^^ write "/srv"

    error: `timeout` takes a string with a unit, not an integer
     --> carrack.toml:6:11
      |
    6 | timeout = 30
      |           ^^ expected a string with a unit
      |
      = help: write "30s"

    error: `run.googleapis.com/ingress` is no annotation of yours
     --> carrack.toml:8:1
      |
    8 | "run.googleapis.com/ingress" = "all"
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `run.googleapis.com` is reserved
      |
      = help: what `gcloud` sets with it has a key of its own here: `carrack schema` lists all

    error: invalid annotation key `a b`
     --> carrack.toml:9:1
      |
    9 | "a b" = "c"
      | ^^^^^
      |
      = help: use up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit first and last, perhaps after a domain and `/`

    error: `egress` cannot be `some`
      --> carrack.toml:11:10
       |
    11 | egress = "some"
       |          ^^^^^^
       |
       = help: use `private-ranges`, `all`

    error: invalid network tag `Web`
      --> carrack.toml:12:9
       |
    12 | tags = ["Web"]
       |         ^^^^^
       |
       = help: use 1 to 63 of a-z, 0-9 and `-`, with a letter first and no `-` at the end

    error: invalid name `My Network`
      --> carrack.toml:13:11
       |
    13 | network = "My Network"
       |           ^^^^^^^^^^^^
       |
       = help: use 1 to 63 of a-z, 0-9 and `-`, with a letter first and no `-` at the end
       = help: for another project write "projects/PROJECT/global/networks/NAME", "projects/PROJECT/regions/REGION/subnetworks/NAME" or "projects/PROJECT/locations/REGION/connectors/NAME"
    "#);
}

#[test]
fn an_instance_has_three_parts() {
    insta::assert_snapshot!(super::try_load("cloud_sql = [\"orders\"]\nservice.name = \"hello\"").expect_err("too short"), @r#"
    error: invalid Cloud SQL instance `orders`
     --> carrack.toml:1:14
      |
    1 | cloud_sql = ["orders"]
      |              ^^^^^^^^
      |
      = help: write its connection name, "PROJECT:REGION:INSTANCE"
      = help: ask for it: `gcloud sql instances describe INSTANCE --format='value(connectionName)'`
    "#);
}
