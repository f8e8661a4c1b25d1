//! Sizes and times that cannot be.
use insta::assert_snapshot;

use super::refused_below;

#[test]
fn bad_memory_units() {
    let text = r#"
[resources]
memory = "512M"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown memory unit `M`
     --> carrack.toml:5:10
      |
    5 | memory = "512M"
      |          ^^^^^^ write "512MiB"
    "#);
}

#[test]
fn memory_in_gigabytes() {
    let text = r#"
[resources]
memory = "1G"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown memory unit `G`
     --> carrack.toml:5:10
      |
    5 | memory = "1G"
      |          ^^^^ write "1GiB"
    "#);
}

#[test]
fn memory_of_kubernetes() {
    let text = r#"
[resources]
memory = "512Mi"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown memory unit `Mi`
     --> carrack.toml:5:10
      |
    5 | memory = "512Mi"
      |          ^^^^^^^ write "512MiB"
    "#);
}

#[test]
fn memory_without_unit() {
    let text = "
[resources]
memory = 512
";
    assert_snapshot!(refused_below(text), @r#"
    error: `memory` takes a string with a unit, not an integer
     --> carrack.toml:5:10
      |
    5 | memory = 512
      |          ^^^ expected a string with a unit
      |
      = help: write "512MiB"
    "#);
}

#[test]
fn memory_in_nothing_known() {
    let text = r#"
[resources]
memory = "64KiB"
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: unknown memory unit `KiB`
     --> carrack.toml:5:10
      |
    5 | memory = "64KiB"
      |          ^^^^^^^
      |
      = help: write a whole number of MiB or GiB: "512MiB", "1GiB"
    "#);
}

#[test]
fn bad_cpu() {
    let text = "
[resources]
cpu = 0.0001
";
    assert_snapshot!(refused_below(text), @r#"
    error: invalid cpu `0.0001`
     --> carrack.toml:5:7
      |
    5 | cpu = 0.0001
      |       ^^^^^^
      |
      = help: write `1`, `0.5` or `"500m"`; thousandths are the smallest part
    "#);
}

#[test]
fn no_cpu() {
    let text = "
[resources]
cpu = 0
";
    assert_snapshot!(refused_below(text), @r#"
    error: cpu must be more than 0
     --> carrack.toml:5:7
      |
    5 | cpu = 0
      |       ^
    "#);
}

#[test]
fn cpu_of_another_type() {
    let text = "
[resources]
cpu = [1]
";
    assert_snapshot!(refused_below(text), @r#"
    error: `cpu` takes a number or a string, not a list
     --> carrack.toml:5:7
      |
    5 | cpu = [1]
      |       ^^^ expected a number or a string
      |
      = help: write `1`, `0.5` or `"500m"`
    "#);
}

#[test]
fn bad_durations() {
    let text = r#"
[health]
startup = { http = "/", period = "500ms" }
liveness = { http = "/", period = 10, timeout = "5", delay = "soon" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: invalid duration `500ms`
     --> carrack.toml:5:34
      |
    5 | startup = { http = "/", period = "500ms" }
      |                                  ^^^^^^^
      |
      = help: write whole seconds, minutes or hours: "2s", "1m", "1m30s"

    error: `period` takes a string with a unit, not an integer
     --> carrack.toml:6:35
      |
    6 | liveness = { http = "/", period = 10, timeout = "5", delay = "soon" }
      |                                   ^^ expected a string with a unit
      |
      = help: write "10s"

    error: duration `5` has no unit
     --> carrack.toml:6:49
      |
    6 | liveness = { http = "/", period = 10, timeout = "5", delay = "soon" }
      |                                                 ^^^ write "5s"

    error: invalid duration `soon`
     --> carrack.toml:6:62
      |
    6 | liveness = { http = "/", period = 10, timeout = "5", delay = "soon" }
      |                                                              ^^^^^^
      |
      = help: write whole seconds, minutes or hours: "2s", "1m", "1m30s"
    "#);
}

#[test]
fn times_out_of_range() {
    let text = r#"
[health]
startup = { tcp = true, period = "241s", failures = 0, delay = "5m" }
liveness = { tcp = true, period = "2h", timeout = "0s" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `period` cannot be 4m1s
     --> carrack.toml:5:34
      |
    5 | startup = { tcp = true, period = "241s", failures = 0, delay = "5m" }
      |                                  ^^^^^^ use 1s to 4m

    error: `failures` cannot be 0
     --> carrack.toml:5:53
      |
    5 | startup = { tcp = true, period = "241s", failures = 0, delay = "5m" }
      |                                                     ^ use 1 or more

    error: `delay` cannot be 5m
     --> carrack.toml:5:64
      |
    5 | startup = { tcp = true, period = "241s", failures = 0, delay = "5m" }
      |                                                                ^^^^ use 0s to 4m

    error: `period` cannot be 120m
     --> carrack.toml:6:35
      |
    6 | liveness = { tcp = true, period = "2h", timeout = "0s" }
      |                                   ^^^^ use 1s to 60m

    error: `timeout` cannot be 0s
     --> carrack.toml:6:51
      |
    6 | liveness = { tcp = true, period = "2h", timeout = "0s" }
      |                                                   ^^^^ use 1s to 60m
    "#);
}

#[test]
fn timeout_longer_than_period() {
    let text = r#"
[health]
startup = { tcp = true, period = "2s", timeout = "3s" }
liveness = { tcp = true, timeout = "11s" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: `timeout` is longer than `period`, which is 2s
     --> carrack.toml:5:50
      |
    5 | startup = { tcp = true, period = "2s", timeout = "3s" }
      |                                                  ^^^^
      |
      = help: use "2s" or less, or a longer `period`

    error: `timeout` is longer than `period`, which is 10s
     --> carrack.toml:6:36
      |
    6 | liveness = { tcp = true, timeout = "11s" }
      |                                    ^^^^^
      |
      = help: use "10s" or less, or a longer `period`
    "#);
}

#[test]
fn start_that_takes_too_long() {
    let text = r#"
[health]
startup = { tcp = true, period = "100s" }
liveness = { tcp = true, period = "100s" }
"#;
    assert_snapshot!(refused_below(text), @r#"
    error: 3 failures, one each 1m40s, take longer than 4m
     --> carrack.toml:5:34
      |
    5 | startup = { tcp = true, period = "100s" }
      |                                  ^^^^^^
      |
      = help: with `period = "1m40s"` write `failures = 2` or less
    "#);
}

#[test]
fn too_many_failures_at_the_start() {
    let text = "
[health]
startup = { tcp = true, failures = 30 }
";
    assert_snapshot!(refused_below(text), @r#"
    error: 30 failures, one each 10s, take longer than 4m
     --> carrack.toml:5:36
      |
    5 | startup = { tcp = true, failures = 30 }
      |                                    ^^
      |
      = help: with `period = "10s"` write `failures = 24` or less
    "#);
}
