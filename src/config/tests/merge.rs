//! What a file says for each of its targets.
use std::{collections::BTreeMap, path::Path, time::Duration};

use carrack_core::{
    ErrorKind,
    fields::{FieldValue, fields},
    plan::Deploy,
    spec::{ImageRef, Mebibytes, MilliCpu, Probe, ProbeCheck, ServiceSpec},
};

use super::{loaded, refused_below, try_load};
use crate::config::{BuildFile, Federation, ImageSource, Loaded, Resolved, Target};

const FULL: &str = r#"
[service]
name = "hello"
port = 8080
public = true
command = ["/app", "${A}"]
args = []
exact = ["env"]

[image]
name = "apps/hello"
[image.build]
run = "make"
base = "scratch"
files = [{ from = "out/app", to = "/app" }, { from = "/etc/ssl", to = "/etc/ssl" }]
entrypoint = ["/app"]
cmd = ["serve"]
env = { PORT = 1, HOME = "/" }
working_dir = "/srv"
user = "1000:1000"

[env]
LOG_LEVEL = "info"
WORKERS = 1_000
HEX = 0x10
RATIO = 1.50
DEBUG = false
GREETING = "$${A} is ${A}, ${NO:-nothing} is not"

[labels]
team = "web"

[resources]
cpu = 0.5
memory = "512MiB"

[scaling]
min = 0
max = 20
concurrency = 80

[health]
startup = { http = "/healthz", period = "2s", failures = 30 }
liveness = { tcp = 9000, delay = "1m", timeout = "5s" }

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "asia-northeast1"
service_account = "run-hello@my-project.iam.gserviceaccount.com"
repository = "asia-northeast1-docker.pkg.dev/my-project/apps"
federation.provider = "projects/12/locations/global/workloadIdentityPools/ci/providers/github"
federation.service_account = "deploy@my-project.iam.gserviceaccount.com"
service = { public = false, args = ["--prod"], exact = ["labels"] }
env = { LOG_LEVEL = "warn", REGION = "tokyo" }
labels.stage = "prod"
resources.memory = "1GiB"
scaling = { min = 1 }
health.startup = { grpc = "hello.Health", port = 9001 }

[targets.staging]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
image.ref = "gcr.io/my-project/hello:staging"
"#;

fn resolve(file: &Loaded, target: Option<&str>) -> Resolved {
    file.resolve(target).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Every field of the spec as `path = value`, one a line.
fn shown(deploy: &Deploy) -> String {
    let line = |(path, value): (String, FieldValue)| format!("{path} = {value}");
    let mut lines: Vec<_> = fields(&deploy.spec).into_iter().map(line).collect();
    lines.push(format!("tables {:?}, exact {:?}", deploy.tables, deploy.exact));
    lines.join("\n")
}

#[test]
fn the_neutral_part() {
    let file = loaded(FULL);
    assert_eq!(file.service_name().as_str(), "hello");
    assert_eq!(file.target_names(), ["prod", "staging"]);
    let resolved = resolve(&file, None);
    assert_eq!(resolved.target, None);
    insta::assert_snapshot!(shown(&resolved.deploy), @r#"
    env.DEBUG = "false"
    env.GREETING = "${A} is one, nothing is not"
    env.HEX = "16"
    env.LOG_LEVEL = "info"
    env.RATIO = "1.50"
    env.WORKERS = "1000"
    health.liveness = tcp 9000, every 10s, timeout 5s, 3 failures, delay 60s
    health.startup = http /healthz, every 2s, timeout 1s, 30 failures, delay 0s
    labels.team = web
    resources.cpu = 0.5
    resources.memory = 512MiB
    scaling.concurrency = 80
    scaling.max = 20
    scaling.min = 0
    service.args = []
    service.command = ["/app", "one"]
    service.port = 8080
    service.public = true
    tables ["env", "labels"], exact ["env"]
    "#);
}

#[test]
fn a_target_is_laid_over_it_entry_by_entry() {
    let resolved = resolve(&loaded(FULL), Some("prod"));
    assert_eq!(resolved.name.as_str(), "hello");
    insta::assert_snapshot!(shown(&resolved.deploy), @r#"
    env.DEBUG = "false"
    env.GREETING = "${A} is one, nothing is not"
    env.HEX = "16"
    env.LOG_LEVEL = "warn"
    env.RATIO = "1.50"
    env.REGION = "tokyo"
    env.WORKERS = "1000"
    health.liveness = tcp 9000, every 10s, timeout 5s, 3 failures, delay 60s
    health.startup = grpc:9001 hello.Health, every 10s, timeout 1s, 3 failures, delay 0s
    labels.stage = prod
    labels.team = web
    resources.cpu = 0.5
    resources.memory = 1GiB
    scaling.concurrency = 80
    scaling.max = 20
    scaling.min = 1
    service.args = ["--prod"]
    service.command = ["/app", "one"]
    service.port = 8080
    service.public = false
    service_account = run-hello@my-project.iam.gserviceaccount.com
    tables ["env", "labels"], exact ["labels"]
    "#);
    let target = resolved.target.expect("it was asked for");
    assert_eq!(
        target,
        Target {
            name: "prod".to_owned(),
            provider: carrack_core::spec::ProviderId("cloud-run".to_owned()),
            project: "my-project".to_owned(),
            region: "asia-northeast1".to_owned(),
            repository: Some("asia-northeast1-docker.pkg.dev/my-project/apps".to_owned()),
            federation: Some(Federation {
                provider: "projects/12/locations/global/workloadIdentityPools/ci/providers/github".to_owned(),
                service_account: Some("deploy@my-project.iam.gserviceaccount.com".to_owned()),
            }),
        }
    );
}

#[test]
fn a_target_changes_nothing_that_it_does_not_name() {
    let file = loaded(FULL);
    let mut staging = resolve(&file, Some("staging")).deploy;
    assert_eq!(staging.spec.workload.main.image, Some(ImageRef("gcr.io/my-project/hello:staging".into())));
    staging.spec.workload.main.image = None;
    assert_eq!(staging, resolve(&file, None).deploy);
}

#[test]
fn a_build() {
    let file = loaded(FULL);
    let Some(ImageSource::Build(build)) = resolve(&file, Some("prod")).image else { panic!("there is a build") };
    let here = std::path::absolute(".").expect("there is a working directory");
    let copied = |from: &Path, to: &str| BuildFile { from: from.to_owned(), to: to.to_owned() };
    let files = [copied(&here.join("out/app"), "/app"), copied(Path::new("/etc/ssl"), "/etc/ssl")];
    assert_eq!((build.name.as_str(), build.base.as_str()), ("apps/hello", "scratch"));
    assert_eq!((build.files.as_slice(), build.directory.as_path()), (&files[..], here.as_path()));
    assert_eq!((build.run.as_deref(), build.user.as_deref()), (Some("make"), Some("1000:1000")));
    assert_eq!(
        (build.entrypoint.as_slice(), build.cmd.as_slice()),
        (&["/app".to_owned()][..], &["serve".to_owned()][..])
    );
    let env = [("HOME", "/"), ("PORT", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!((build.env, build.working_dir.as_deref()), (BTreeMap::from(env), Some("/srv")));
    assert_eq!(resolve(&file, Some("prod")).deploy.spec.workload.main.image, None);
}

#[test]
fn a_reference_takes_the_place_of_a_build() {
    let reference = ImageRef("gcr.io/my-project/hello:staging".into());
    assert_eq!(resolve(&loaded(FULL), Some("staging")).image, Some(ImageSource::Ref(reference)));
}

#[test]
fn a_build_is_named_after_the_service_and_starts_from_scratch() {
    let file =
        loaded("[service]\nname = \"hello\"\n[image.build]\nfiles = [{ from = \"a\", to = \"/a\" }]\ncmd = [\"/a\"]");
    match resolve(&file, None).image {
        Some(ImageSource::Build(build)) => {
            assert_eq!((&*build.name, &*build.base), ("hello", "scratch"))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_file_asks_for_nothing() {
    let resolved = resolve(&loaded("service.name = \"hello\""), None);
    let nothing = Deploy::new(ServiceSpec::default(), Vec::new(), Vec::new());
    assert_eq!((resolved.deploy, resolved.image), (nothing, None));
}

#[test]
fn an_empty_table_stands_in_the_file() {
    let deploy = resolve(&loaded("service.name = \"hello\"\n[env]\n[labels]"), None).deploy;
    assert_eq!(deploy.tables, ["env", "labels"]);
}

#[test]
fn exact_holds_only_where_the_table_stands() {
    let target = "provider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"us-central1\"\n";
    let file = loaded(&format!(
        "service = {{ name = \"hello\", exact = [\"env\", \"env\"] }}\n[targets.a]\n{target}[targets.a.env]\n[targets.b]\n{target}"
    ));
    assert_eq!(resolve(&file, Some("a")).deploy.exact, ["env"]);
    assert_eq!(resolve(&file, Some("b")).deploy.exact, [""; 0]);
    assert_eq!(resolve(&file, None).deploy.exact, [""; 0]);
}

#[test]
fn sizes_and_checks() {
    let main = resolve(&loaded(FULL), None).deploy.spec.workload.main;
    assert_eq!((main.cpu, main.memory), (Some(MilliCpu(500)), Some(Mebibytes(512))));
    let seconds = Duration::from_secs;
    assert_eq!(
        main.probes.liveness,
        Some(Probe {
            check: ProbeCheck::Tcp { port: Some(9000) },
            delay: seconds(60),
            period: seconds(10),
            timeout: seconds(5),
            failures: 3
        })
    );
}

#[test]
fn every_form_of_a_check() {
    for (text, expected) in [
        ("http = \"/\"", ProbeCheck::Http { path: "/".into(), port: None }),
        ("http = \"/\", port = 81", ProbeCheck::Http { path: "/".into(), port: Some(81) }),
        ("tcp = true", ProbeCheck::Tcp { port: None }),
        ("tcp = 81", ProbeCheck::Tcp { port: Some(81) }),
        ("tcp = true, port = 81", ProbeCheck::Tcp { port: Some(81) }),
        ("grpc = true, port = 81", ProbeCheck::Grpc { port: Some(81), service: None }),
        ("grpc = \"a.B\"", ProbeCheck::Grpc { port: None, service: Some("a.B".into()) }),
    ] {
        let file = loaded(&format!("service.name = \"hello\"\nhealth.startup = {{ {text} }}"));
        let startup = resolve(&file, None).deploy.spec.workload.main.probes.startup;
        assert_eq!(startup.map(|probe| probe.check), Some(expected), "{text}");
    }
}

#[test]
fn the_limits_of_a_check_are_allowed() {
    for check in [
        "startup = { tcp = true, period = \"240s\", timeout = \"4m\", failures = 1, delay = \"4m\" }",
        "startup = { tcp = true, period = \"1s\", timeout = \"1s\", failures = 240, delay = \"0s\" }",
        "liveness = { tcp = true, period = \"1h\", timeout = \"1h\", failures = 1000, delay = \"1h\" }",
    ] {
        loaded(&format!("service.name = \"hello\"\n[health]\n{check}"));
    }
}

#[test]
fn an_unset_variable_below_the_targets_is_an_error_for_all() {
    let errors = refused_below("[targets.a]\nprovider = \"${NO}\"\n[env]\nB = \"${NEITHER}\"");
    assert!(errors.contains("`NEITHER` is not set") && !errors.contains("`NO`"), "{errors}");
}

#[test]
fn an_unset_variable_of_one_target_does_not_hinder_the_others() {
    let target = "provider = \"cloud-run\"\nregion = \"us-central1\"\n";
    let file = loaded(&format!(
        "service.name = \"hello\"\n[targets.a]\n{target}project = \"${{A}}-project\"\n[targets.b]\n{target}project = \"${{NO}}\"\n"
    ));
    assert_eq!(file.target_names(), ["a", "b"]);
    assert_eq!(resolve(&file, Some("a")).target.map(|target| target.project).as_deref(), Some("one-project"));
    insta::assert_snapshot!(file.resolve(Some("b")).expect_err("it needs NO"), @r#"
    error: the variable `NO` is not set
     --> carrack.toml:9:12
      |
    9 | project = "${NO}"
      |            ^^^^^ needed here
      |
      = help: set it in the environment, or give a default: `${NO:-…}`
    "#);
}

#[test]
fn an_unset_variable_does_not_hide_what_else_is_wrong_with_a_target() {
    insta::assert_snapshot!(refused_below("[targets.a]\nprovider = \"cloud-run\"\nproject = \"${NO}\"\nregoin = \"us-central1\""), @r#"
    error: missing key `region` in [targets.a]
     --> carrack.toml:3:1
      |
    3 | [targets.a]
      | ^^^^^^^^^^^ `region` is required

    error: unknown key `regoin`
     --> carrack.toml:6:1
      |
    6 | regoin = "us-central1"
      | ^^^^^^ did you mean `region`?
    "#);
}

#[test]
fn a_target_that_is_not_there() {
    let file = loaded(FULL);
    insta::assert_snapshot!(file.resolve(Some("prdo")).expect_err("a slip"), @r#"
    error: there is no target `prdo`
      --> carrack.toml:46:2
       |
    46 | [targets.prod]
       |  ^^^^^^^
       |
       = help: did you mean `prod`?
    "#);
    insta::assert_snapshot!(file.resolve(Some("azure")).expect_err("nothing like it"), @r#"
    error: there is no target `azure`
      --> carrack.toml:46:2
       |
    46 | [targets.prod]
       |  ^^^^^^^
       |
       = help: the targets are `prod`, `staging`
    "#);
    let file = loaded("service.name = \"hello\"");
    let errors = file.resolve(Some("prod")).expect_err("there is none at all");
    assert_eq!(errors.kind(), ErrorKind::ConfigInvalid);
    insta::assert_snapshot!(errors, @r#"
    error: there is no target `prod`
     --> carrack.toml:1:16
      |
    1 | service.name = "hello"
      |                ^^^^^^^
      |
      = help: add [targets.prod], or use `--local` without a target
    "#);
}

#[test]
fn lines_may_end_as_on_windows() {
    let file = loaded(&FULL.replace('\n', "\r\n"));
    assert_eq!(resolve(&file, Some("prod")).deploy, resolve(&loaded(FULL), Some("prod")).deploy);
    let errors = try_load("[service]\r\nname = 1\r\n").expect_err("a number");
    insta::assert_snapshot!(errors, @r#"
    error: `name` takes a string, not an integer
     --> carrack.toml:2:8
      |
    2 | name = 1
      |        ^ expected a string
    "#);
}
