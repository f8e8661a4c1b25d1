//! Files with `[job]`: what is read, and what goes with a service alone.
use std::time::Duration;

use carrack_core::job::job_fields;
use insta::assert_snapshot;

use super::{loaded, refused};

#[test]
fn a_job_and_what_a_target_has_otherwise() {
    let file = loaded(
        r#"
[job]
name = "nightly"
tasks = 10
parallelism = 2
retries = 0
timeout = "1h"
args = ["every"]
exact = ["env"]

[env]
MODE = "full"

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
service_account = "run@my-project.iam.gserviceaccount.com"
[targets.prod.job]
tasks = 100
args = ["all"]
"#,
    );
    assert!(file.is_job());
    let neutral = file.resolve(None).expect("it is valid").job.expect("a job");
    assert_eq!((neutral.tables, neutral.exact), (vec!["env".to_owned()], vec!["env".to_owned()]));
    assert_eq!(neutral.spec.timeout, Some(Duration::from_secs(3600)));
    let prod = file.resolve(Some("prod")).expect("it is valid");
    assert_eq!(prod.name.as_str(), "nightly");
    let fields: Vec<String> =
        job_fields(&prod.job.expect("a job").spec).into_iter().map(|(path, value)| format!("{path} {value}")).collect();
    assert_eq!(
        fields,
        [
            "env.MODE \"full\"",
            "job.args [\"all\"]",
            "job.parallelism 2",
            "job.retries 0",
            "job.tasks 100",
            "job.timeout 3600s",
            "service_account run@my-project.iam.gserviceaccount.com",
        ]
    );
}

#[test]
fn what_only_a_service_has_is_refused_with_what_to_do_instead() {
    let text = r#"
[job]
name = "nightly"
port = 8080
public = true
schedule = "0 3 * * *"
taks = 3

working_dir = "/srv"

[scaling]
max = 3

[resources]
cpu_always = true

[health]
startup = { tcp = true }

[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.scaling]
min = 1
[targets.prod.service]
args = ["a"]
"#;
    assert_snapshot!(refused(text), @r#"
    error: unknown key `port`
     --> carrack.toml:4:1
      |
    4 | port = 8080
      | ^^^^ `port` is of a service: nobody sends requests to a job

    error: unknown key `public`
     --> carrack.toml:5:1
      |
    5 | public = true
      | ^^^^^^ `public` is of a service: nobody sends requests to a job

    error: unknown key `schedule`
     --> carrack.toml:6:1
      |
    6 | schedule = "0 3 * * *"
      | ^^^^^^^^ Cloud Run has no schedules: let cron, a CI or Cloud Scheduler run it (docs/jobs.md)

    error: unknown key `taks`
     --> carrack.toml:7:1
      |
    7 | taks = 3
      | ^^^^ did you mean `tasks`?

    error: unknown key `working_dir`
     --> carrack.toml:9:1
      |
    9 | working_dir = "/srv"
      | ^^^^^^^^^^^ `working_dir` cannot be set for a job yet; what is live stays

    error: [scaling] does not go with [job]
      --> carrack.toml:11:2
       |
    11 | [scaling]
       |  ^^^^^^^
       |
       = help: a job has `tasks` and `parallelism` under [job]

    error: `cpu_always` does not go with [job]
      --> carrack.toml:15:1
       |
    15 | cpu_always = true
       | ^^^^^^^^^^ a task has its CPU as long as it runs

    error: [health] does not go with [job]
      --> carrack.toml:17:2
       |
    17 | [health]
       |  ^^^^^^
       |
       = help: a job is done when its program ends with exit code 0

    error: [targets.prod.scaling] does not go with [job]
      --> carrack.toml:24:15
       |
    24 | [targets.prod.scaling]
       |               ^^^^^^^
       |
       = help: a job has `tasks` and `parallelism` under [job]

    error: [targets.prod.service] does not go with [job]
      --> carrack.toml:26:15
       |
    26 | [targets.prod.service]
       |               ^^^^^^^
       |
       = help: write [targets.prod.job]
    "#);
}

#[test]
fn one_file_is_of_one_of_them() {
    let text = r#"
[service]
name = "shop"

[job]
name = "nightly"
"#;
    assert_snapshot!(refused(text), @r#"
    error: the file has both [service] and [job]
     --> carrack.toml:5:2
      |
    5 | [job]
      |  ^^^ one file is of one of them
      |
      = help: give the job a file of its own
    "#);
    let text = r#"
[service]
name = "shop"
[targets.prod]
provider = "cloud-run"
project = "my-project"
region = "us-central1"
[targets.prod.job]
tasks = 3
"#;
    assert_snapshot!(refused(text), @r#"
    error: [targets.prod.job] does not go with [service]
     --> carrack.toml:8:15
      |
    8 | [targets.prod.job]
      |               ^^^
      |
      = help: write [targets.prod.service]
    "#);
}
