//! `[job]`: what a job has of its own, and what of a service it has not.
use carrack_core::{
    job::{JobDeploy, JobSpec},
    plan::Deploy,
    spec::ServiceSpec,
};

use super::{
    diagnostics::Problem,
    document::{Entry, Node},
    numbers::Count,
    read::{At, Context, Table},
    resolve::{put, words},
    schema::{self, File, Words},
};

/// The words of the main container, where `[job]` has any.
pub(super) fn lay_words(spec: &mut ServiceSpec, command: Option<&At<Words>>, args: Option<&At<Words>>) {
    let main = &mut spec.workload.main;
    put(&mut main.command, command, words);
    put(&mut main.args, args, words);
}

/// What a deploy asks for, where the file is of a job. What it shares with a service is in `shared`.
pub(super) fn deploy(file: &File, over: Option<&schema::Target>, shared: &Deploy) -> Option<JobDeploy> {
    let job = &file.job.as_ref()?.value;
    let over = over.and_then(|over| over.job.as_ref()).map(|over| &over.value);
    let count = |of_target: Option<&Option<At<Count>>>, of_file: &Option<At<Count>>| {
        of_target.and_then(Option::as_ref).or(of_file.as_ref()).map(|at| at.value.0)
    };
    let timeout = over.and_then(|over| over.timeout.as_ref()).or(job.timeout.as_ref());
    let spec = JobSpec {
        workload: shared.spec.workload.clone(),
        tasks: count(over.map(|over| &over.tasks), &job.tasks),
        parallelism: count(over.map(|over| &over.parallelism), &job.parallelism),
        retries: count(over.map(|over| &over.retries), &job.retries),
        timeout: timeout.map(|at| at.value),
    };
    Some(JobDeploy { spec, tables: shared.tables.clone(), exact: shared.exact.clone() })
}

/// Sections of a service that a job has not, and what to write in their place.
const OF_SERVICE: [(&str, &str); 4] = [
    ("scaling", "a job has `tasks` and `parallelism` under [job]"),
    ("health", "a job is done when its program ends with exit code 0"),
    ("rollout", "a deploy changes what the next execution runs, and nothing that runs now"),
    ("sidecars", "a job's tasks have one container here; further ones of a live job stay as they are"),
];

/// Keys of [resources] that are about the time between requests, or before the first one.
const OF_REQUESTS: [&str; 2] = ["cpu_always", "startup_boost"];

/// There is a service or a job, and nothing that is only the other's.
pub(super) fn rules(table: &Table<'_>, context: &mut Context) {
    match (table.node.get("service"), table.node.get("job")) {
        (None, None) => {
            let problem = Problem::new(&table.node.span, "missing section [service]");
            context.report(problem.hint("or write [job], for what runs to its end"));
        }
        (Some(_), Some(job)) => {
            let problem = Problem::new(&job.key_span, "the file has both [service] and [job]");
            context.report(problem.label("one file is of one of them").hint("give the job a file of its own"));
        }
        (Some(_), None) => {
            each_target(table, |name, target| {
                if let Some(entry) = target.get("job") {
                    let problem = misplaced(entry, &format!("[targets.{name}.job]"), "[service]");
                    context.report(problem.hint(format!("write [targets.{name}.service]")));
                }
            });
        }
        (None, Some(_)) => of_job(table, context),
    }
}

fn of_job(table: &Table<'_>, context: &mut Context) {
    for (section, instead) in OF_SERVICE {
        if let Some(entry) = table.node.get(section) {
            context.report(misplaced(entry, &format!("[{section}]"), "[job]").hint(instead));
        }
    }
    let mut always = |resources: Option<&Entry>| {
        for key in OF_REQUESTS {
            if let Some(entry) = resources.and_then(|resources| resources.node.get(key)) {
                let problem = Problem::new(&entry.key_span, format!("`{key}` does not go with [job]"));
                context.report(problem.label("a task has its CPU as long as it runs"));
            }
        }
    };
    always(table.node.get("resources"));
    each_target(table, |_, target| always(target.get("resources")));
    each_target(table, |name, target| {
        for (section, instead) in OF_SERVICE {
            if let Some(entry) = target.get(section) {
                context.report(misplaced(entry, &format!("[targets.{name}.{section}]"), "[job]").hint(instead));
            }
        }
        if let Some(entry) = target.get("service") {
            let problem = misplaced(entry, &format!("[targets.{name}.service]"), "[job]");
            context.report(problem.hint(format!("write [targets.{name}.job]")));
        }
    });
}

fn each_target(table: &Table<'_>, mut each: impl FnMut(&str, &Node)) {
    let targets = table.node.get("targets").map_or(&[][..], |entry| entry.node.entries());
    targets.iter().for_each(|target| each(&target.key, &target.node));
}

fn misplaced(entry: &Entry, section: &str, beside: &str) -> Problem {
    Problem::new(&entry.key_span, format!("{section} does not go with {beside}"))
}

/// A key that only a service has, or that a job has elsewhere: what to do instead.
pub(super) fn instead(key: &str, path: &[String]) -> Option<String> {
    let in_job = matches!(path, [job] if job == "job")
        || matches!(path, [targets, _, job] if targets == "targets" && job == "job");
    if !in_job {
        return None;
    }
    if key == "schedule" {
        let text = "Cloud Run has no schedules: let cron, a CI or Cloud Scheduler run it (docs/jobs.md)";
        return Some(text.to_owned());
    }
    if matches!(key, "working_dir" | "execution_environment") {
        return Some(format!("`{key}` cannot be set for a job yet; what is live stays"));
    }
    let of_service = schema::Service::keys().contains(&key) && key != "name";
    of_service.then(|| format!("`{key}` is of a service: nobody sends requests to a job"))
}
