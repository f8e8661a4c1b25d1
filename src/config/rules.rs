//! What must hold between several keys.
use std::{collections::BTreeSet, time::Duration};

use super::{
    diagnostics::Problem,
    job,
    numbers::Failures,
    read::{At, Context, Table},
    schema::{Build, File, Image, Probe, Target},
    secrets, sidecars,
    units::show_duration,
    values::{KeyedTable, PROVIDERS, SCRATCH},
};

/// The defaults and limits of Cloud Run's probes:
/// <https://cloud.google.com/run/docs/reference/rest/v2/Container#Probe>.
pub(crate) const DEFAULT_PERIOD: Duration = Duration::from_secs(10);
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
pub(crate) const DEFAULT_FAILURES: u32 = 3;
/// The longest period and the longest delay.
const LONGEST_STARTUP_TIME: Duration = Duration::from_secs(240);
const LONGEST_LIVENESS_TIME: Duration = Duration::from_secs(3600);
/// A start may take `failures` times `period`, and this long at the most:
/// <https://cloud.google.com/run/docs/configuring/healthchecks#probe_requirements>.
const LONGEST_START: Duration = Duration::from_secs(240);

/// `exact` names only sections that stand in the file: an absent one is not managed at all.
pub(crate) fn file(file: &File, table: &Table<'_>, context: &mut Context) {
    secrets::rules(file, table, context);
    job::rules(table, context);
    sidecars::rules(file, context);
    let targets = table.node.get("targets").map_or(&[][..], |entry| entry.node.entries());
    for name in file.exact().iter().flat_map(|exact| &exact.value) {
        let key = &name.value.0;
        let stands = table.has(key) || targets.iter().any(|target| target.node.get(key).is_some());
        if !stands {
            context.report(absent_table(name, &format!("[{key}]")));
        }
    }
    for (name, target) in file.targets.iter().flat_map(|targets| &targets.value.map) {
        for table_name in target.value.exact().iter().flat_map(|exact| &exact.value) {
            let key = &table_name.value.0;
            let in_target = targets.iter().any(|other| other.key == *name && other.node.get(key).is_some());
            if !table.has(key) && !in_target {
                context.report(absent_table(table_name, &format!("[targets.{name}.{key}]")));
            }
        }
    }
}

fn absent_table(name: &At<KeyedTable>, section: &str) -> Problem {
    let key = &name.value.0;
    Problem::new(&name.span, format!("`exact` names `{key}`, but there is no {section}"))
        .hint(format!("add {section}; an empty one removes every live entry"))
}

/// A cloud's own section stands only in its own targets.
pub(crate) fn target(target: &Target, table: &Table<'_>, context: &mut Context) {
    let provider = &target.provider.value.0;
    for entry in PROVIDERS.iter().filter(|name| *name != provider).filter_map(|name| table.node.get(name)) {
        let name = &entry.key;
        let message = format!("[{}.{name}] is for the provider `{name}`", context.path.join("."));
        context.report(Problem::new(&entry.key_span, message).label(format!("this target's is `{provider}`")));
    }
}

/// Either a reference or a build.
pub(crate) fn image(_: &Image, table: &Table<'_>, context: &mut Context) {
    if !table.has("ref") && !table.has("build") {
        let label = "needs `ref` or [image.build]";
        let problem = Problem::new(&table.node.span, "[image] does not say which image").label(label);
        context.report(problem.hint("leave [image] out to deploy with `--image`"));
    }
    for (key, shown) in [("name", "`name`"), ("build", "[image.build]")] {
        if let (Some(entry), true) = (table.node.get(key), table.has("ref")) {
            let message = format!("[image] has both `ref` and {shown}");
            let label = "an image that exists is not built";
            context
                .report(Problem::new(&entry.key_span, message).label(label).hint(format!("remove `ref` or {shown}")));
        }
    }
}

/// What a Dockerfile says itself, and what only goes with one.
const SAID_BY_DOCKERFILE: [&str; 7] = ["base", "files", "entrypoint", "cmd", "env", "working_dir", "user"];
const GOES_WITH_DOCKERFILE: [&str; 3] = ["context", "target", "args"];

/// There is something to copy and something to start, or a Dockerfile.
pub(crate) fn build(build: &Build, table: &Table<'_>, context: &mut Context) {
    if table.has("dockerfile") {
        for entry in SAID_BY_DOCKERFILE.iter().filter_map(|key| table.node.get(key)) {
            let message = format!("[image.build] has both `dockerfile` and `{}`", entry.key);
            let problem = Problem::new(&entry.key_span, message).label("the Dockerfile says this");
            context.report(problem.hint(format!("remove `dockerfile` or `{}`", entry.key)));
        }
        return;
    }
    for entry in GOES_WITH_DOCKERFILE.iter().filter_map(|key| table.node.get(key)) {
        let message = format!("`{}` goes with a Dockerfile, and there is none", entry.key);
        context.report(Problem::new(&entry.key_span, message).hint("add `dockerfile = \"Dockerfile\"`"));
    }
    let Some(files) = &build.files else {
        // One that cannot be read was reported where it stands.
        if !table.has("files") {
            let message = format!("missing key `files` in {}", context.section());
            let problem = Problem::new(&table.node.span, message).label("`files` is required");
            context.report(problem.hint("or name a Dockerfile: `dockerfile = \"Dockerfile\"`"));
        }
        return;
    };
    if files.value.is_empty() {
        let problem = Problem::new(&files.span, "`files` is empty, and so would be the image");
        context.report(problem.hint("write `files = [{ from = \"…\", to = \"/app\" }]`"));
    }
    let mut places = BTreeSet::new();
    for file in &files.value {
        let to = &file.value.to;
        if !places.insert(&to.value.0) {
            let message = format!("two files go to `{}`", to.value.0);
            context.report(Problem::new(&to.span, message).label("this one would replace the other"));
        }
    }
    // A base brings a program of its own.
    if build.base.as_ref().is_some_and(|base| base.value.0 != SCRATCH) {
        return;
    }
    let empty = |words: &Option<At<Vec<At<String>>>>| words.as_ref().is_none_or(|words| words.value.is_empty());
    if empty(&build.entrypoint) && empty(&build.cmd) {
        let problem =
            Problem::new(&table.node.span, "the image has nothing to start").label("needs `entrypoint` or `cmd`");
        context.report(problem.hint("write `entrypoint = [\"/app\"]`"));
    }
}

/// One check, and times that Cloud Run takes.
pub(crate) fn probe(probe: &Probe, table: &Table<'_>, context: &mut Context) {
    let kinds: Vec<_> = ["http", "tcp", "grpc"].into_iter().filter(|key| table.has(key)).collect();
    let name = context.path.join(".");
    if kinds.is_empty() {
        let problem = Problem::new(&table.node.span, format!("`{name}` does not say what to check"))
            .label("needs `http`, `tcp` or `grpc`");
        context.report(problem.hint(format!("write `{} = {{ http = \"/healthz\" }}`", context.key())));
    }
    for key in kinds.iter().skip(1) {
        if let (Some(entry), Some(first)) = (table.node.get(key), kinds.first()) {
            let message = format!("`{name}` has both `{first}` and `{key}`");
            context.report(Problem::new(&entry.key_span, message).label("one check is enough"));
        }
    }
    if let (Some(tcp), Some(port)) = (&probe.tcp, &probe.port)
        && let Some(number) = tcp.value.0
    {
        let message = format!("`{name}` names two ports");
        context.report(Problem::new(&port.span, message).label(format!("`tcp` names {number}")));
    }
    let startup = context.key() == "startup";
    times(probe, startup, context);
}

fn times(probe: &Probe, startup: bool, context: &mut Context) {
    let longest = if startup { LONGEST_STARTUP_TIME } else { LONGEST_LIVENESS_TIME };
    let second = Duration::from_secs(1);
    let fits = [
        between(&probe.period, "period", second, longest, context),
        between(&probe.timeout, "timeout", second, longest, context),
        between(&probe.delay, "delay", Duration::ZERO, longest, context),
    ];
    if fits.contains(&false) {
        return;
    }
    let period = probe.period.as_ref().map_or(DEFAULT_PERIOD, |period| period.value);
    if let Some(timeout) = &probe.timeout
        && timeout.value > period
    {
        let shown = show_duration(period);
        let message = format!("`timeout` is longer than `period`, which is {shown}");
        let hint = format!("use \"{shown}\" or less, or a longer `period`");
        context.report(Problem::new(&timeout.span, message).hint(hint));
    }
    let failures = probe.failures.as_ref().map_or(DEFAULT_FAILURES, |failures| failures.value.0);
    let whole = period.saturating_mul(failures);
    let blamed = probe.failures.as_ref().map(|at: &At<Failures>| &at.span);
    if let Some(span) = blamed.or(probe.period.as_ref().map(|at| &at.span))
        && startup
        && whole > LONGEST_START
    {
        let most = LONGEST_START.as_secs() / period.as_secs().max(1);
        let shown = show_duration(period);
        let message = format!("{failures} failures, one each {shown}, take longer than 4m");
        let hint = format!("with `period = \"{shown}\"` write `failures = {most}` or less");
        context.report(Problem::new(span, message).hint(hint));
    }
}

fn between(value: &Option<At<Duration>>, key: &str, from: Duration, to: Duration, context: &mut Context) -> bool {
    let Some(at) = value else { return true };
    if (from..=to).contains(&at.value) {
        return true;
    }
    let message = format!("`{key}` cannot be {}", show_duration(at.value));
    let range = format!("use {} to {}", show_duration(from), show_duration(to));
    context.report(Problem::new(&at.span, message).label(range));
    false
}
