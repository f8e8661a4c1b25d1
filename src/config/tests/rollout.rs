//! `[rollout]`: defaults, a target's keys over it, and what is refused.
use std::time::Duration;

use carrack_core::rollout::{Rollout, Verify};
use insta::assert_snapshot;

use super::{loaded, refused_below};

fn rollout(text: &str, target: Option<&str>) -> Option<Rollout> {
    let file = loaded(&format!("[service]\nname = \"hello\"\n{text}"));
    file.resolve(target).unwrap_or_else(|errors| panic!("{errors}")).deploy.rollout
}

const TARGET: &str = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"us-central1\"\n";

#[test]
fn a_section_alone_has_defaults() {
    assert_eq!(rollout("", None), None);
    let default = Rollout { steps: vec![10, 50], wait: Duration::from_secs(60), verify: None };
    assert_eq!(rollout("[rollout]\n", None), Some(default.clone()));
    let verify = Verify { path: "/healthz".into(), status: None };
    let text = "[rollout]\nverify = { http = \"/healthz\" }\n";
    assert_eq!(rollout(text, None), Some(Rollout { verify: Some(verify), ..default }));
}

#[test]
fn a_target_overrides_keys() {
    let text = format!(
        "[rollout]\nsteps = [1, 5, 99]\nverify = {{ http = \"/a\", status = 204 }}\n{TARGET}[targets.prod.rollout]\nwait = \"10m\"\n"
    );
    let verify = Some(Verify { path: "/a".into(), status: Some(204) });
    let neutral = Rollout { steps: vec![1, 5, 99], wait: Duration::from_secs(60), verify: verify.clone() };
    assert_eq!(rollout(&text, None), Some(neutral.clone()));
    assert_eq!(rollout(&text, Some("prod")), Some(Rollout { wait: Duration::from_secs(600), ..neutral }));
    let text = format!("{TARGET}[targets.prod.rollout]\nsteps = []\n");
    assert_eq!(rollout(&text, None), None);
    assert_eq!(rollout(&text, Some("prod")).map(|rollout| rollout.steps), Some(Vec::new()));
}

#[test]
fn steps_that_are_none() {
    assert_snapshot!(refused_below("[rollout]\nsteps = [10, 100, 0]\nwait = \"25h\"\n"), @r#"
    error: `steps` cannot be 100
     --> carrack.toml:4:14
      |
    4 | steps = [10, 100, 0]
      |              ^^^ use 1 to 99

    error: `steps` cannot be 0
     --> carrack.toml:4:19
      |
    4 | steps = [10, 100, 0]
      |                   ^ use 1 to 99

    error: `wait` cannot be 1500m
     --> carrack.toml:5:8
      |
    5 | wait = "25h"
      |        ^^^^^ use 24h or less
    "#);
    assert_snapshot!(refused_below("[rollout]\nsteps = [10, 10, 5]\n"), @"
    error: step 10 does not come after step 10
     --> carrack.toml:4:14
      |
    4 | steps = [10, 10, 5]
      |              ^^ each step is more than the one before

    error: step 5 does not come after step 10
     --> carrack.toml:4:18
      |
    4 | steps = [10, 10, 5]
      |                  ^ each step is more than the one before
    ");
}

#[test]
fn an_answer_that_is_none() {
    assert_snapshot!(refused_below("[rollout]\nsteps = 10\nverify = { http = \"healthz\", status = 600 }\n"), @r#"
    error: `steps` takes a list, not an integer
     --> carrack.toml:4:9
      |
    4 | steps = 10
      |         ^^ expected a list

    error: invalid path `healthz`
     --> carrack.toml:5:19
      |
    5 | verify = { http = "healthz", status = 600 }
      |                   ^^^^^^^^^
      |
      = help: write a path such as "/healthz"

    error: `status` cannot be 600
     --> carrack.toml:5:39
      |
    5 | verify = { http = "healthz", status = 600 }
      |                                       ^^^ use 100 to 499
    "#);
    assert_snapshot!(refused_below("[rollout]\nverify = { status = 200 }\n"), @"
    error: missing key `http` in [rollout.verify]
     --> carrack.toml:4:10
      |
    4 | verify = { status = 200 }
      |          ^^^^^^^^^^^^^^^^ `http` is required
    ");
}
