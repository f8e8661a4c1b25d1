//! Which key of carrack.toml says what a field of Cloud Run says. `docs/cloud-run-fields.md` has it for people.
use carrack_core::json_path::{JsonPath, Part};

use super::schema::Root;

/// How a field is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By this key.
    Key(&'static str),
    /// By no way, and why.
    Unsupported(&'static str),
    /// In the cloud's own words.
    PassThrough,
}

use Verdict::{Key, Unsupported};

const NAMES: Verdict = Unsupported("it tells one from the others");
const CLIENT: Verdict = Unsupported("it says who wrote last, and Terraform would undo it");
const BUILT: Verdict = Unsupported("Carrack deploys an image that is there, and the cloud builds none");
const FILE: Verdict = Unsupported("it goes with a file of [secrets], and stays as it is live");

/// Of a service; what is below a field shares its verdict. A job's fields below `template.template` are those of a
/// service below `template`.
const SERVICE: &[(&str, Verdict)] = &[
    ("name", Key("service.name")),
    ("etag", Unsupported("each write sends the one that was read, so that it meets no other")),
    ("labels", Key("labels")),
    ("client", CLIENT),
    ("clientVersion", CLIENT),
    ("annotations", Key("annotations")),
    ("description", Key("service.description")),
    ("ingress", Key("service.ingress")),
    ("invokerIamDisabled", Key("service.invoker_check")),
    ("defaultUriDisabled", Key("service.default_url")),
    ("customAudiences", Key("service.audiences")),
    ("scaling.scalingMode", Key("scaling.instances")),
    ("scaling.manualInstanceCount", Key("scaling.instances")),
    ("buildConfig", BUILT),
    ("multiRegionSettings.multiRegionId", Unsupported("the cloud makes it up")),
    ("traffic", Unsupported("who serves is for `carrack traffic`, `deploy` and [rollout]")),
    ("annotations.\"carrack.dev/receipt\"", Unsupported("Carrack keeps its receipt there")),
    ("template.annotations.\"carrack.dev/receipt\"", Unsupported("Carrack keeps its receipt there")),
    ("template.revision", Unsupported("a revision's name can be used once, so the cloud makes it up")),
    ("template.client", CLIENT),
    ("template.clientVersion", CLIENT),
    ("template.serviceAccount", Key("service_account")),
    ("template.scaling.minInstanceCount", Key("scaling.min")),
    ("template.scaling.maxInstanceCount", Key("scaling.max")),
    ("template.maxInstanceRequestConcurrency", Key("scaling.concurrency")),
    ("template.timeout", Key("service.timeout")),
    ("template.sessionAffinity", Key("service.session_affinity")),
    ("template.executionEnvironment", Key("service.execution_environment")),
    ("template.vpcAccess.connector", Key("network.connector")),
    ("template.vpcAccess.egress", Key("network.egress")),
    ("template.vpcAccess.networkInterfaces[].network", Key("network.network")),
    ("template.vpcAccess.networkInterfaces[].subnetwork", Key("network.subnet")),
    ("template.vpcAccess.networkInterfaces[].tags", Key("network.tags")),
    ("template.containers[].name", NAMES),
    ("template.containers[].image", Key("image")),
    ("template.containers[].command", Key("service.command")),
    ("template.containers[].args", Key("service.args")),
    ("template.containers[].env[].name", Key("env")),
    ("template.containers[].env[].value", Key("env")),
    ("template.containers[].env[].valueSource", Key("secrets")),
    ("template.containers[].workingDir", Key("service.working_dir")),
    ("template.containers[].ports[].containerPort", Key("service.port")),
    ("template.containers[].ports[].name", Key("service.protocol")),
    ("template.containers[].resources.cpuIdle", Key("resources.cpu_always")),
    ("template.containers[].resources.startupCpuBoost", Key("resources.startup_boost")),
    ("template.containers[].resources.limits.cpu", Key("resources.cpu")),
    ("template.containers[].resources.limits.memory", Key("resources.memory")),
    ("template.containers[].dependsOn", Key("service.depends_on")),
    ("template.containers[].sourceCode", BUILT),
    ("template.containers[].buildConfig", BUILT),
    ("template.containers[].volumeMounts[].name", NAMES),
    ("template.volumes[].name", NAMES),
    ("template.volumes[].secret.secret", Key("secrets")),
    ("template.volumes[].secret.items[].path", Key("secrets")),
    ("template.volumes[].secret.items[].version", Key("secrets")),
    ("template.volumes[].secret.items[].mode", FILE),
    ("template.volumes[].secret.defaultMode", FILE),
    ("template.volumes[].cloudSqlInstance", Key("cloud_sql")),
    ("template.volumes[].gcs", Key("volumes")),
    ("template.volumes[].nfs", Key("volumes")),
    ("template.sandboxes.templates[].name", NAMES),
];

/// Health checks all have the same fields.
const PROBES: [(&str, &str); 3] = [
    ("template.containers[].startupProbe", "health.startup"),
    ("template.containers[].livenessProbe", "health.liveness"),
    ("template.containers[].readinessProbe", "health.readiness"),
];

/// Headers have no key.
const HEADERS: &str = "httpGet.httpHeaders";

const REQUESTS: Verdict = Unsupported("nobody sends requests to a job");
const NOT_YET: Verdict = Unsupported("a job has no key for it and no pass-through yet, and what is live stays");
const RUN: Verdict = Unsupported("`carrack jobs run` runs it");

/// Of a job alone.
const JOB: &[(&str, Verdict)] = &[
    ("name", Key("job.name")),
    ("annotations.\"carrack.dev/receipt\"", Unsupported("Carrack keeps its receipt there")),
    ("startExecutionToken", RUN),
    ("runExecutionToken", RUN),
    ("template.taskCount", Key("job.tasks")),
    ("template.parallelism", Key("job.parallelism")),
    ("template.labels", NOT_YET),
    ("template.annotations", NOT_YET),
    ("template.client", CLIENT),
    ("template.clientVersion", CLIENT),
    ("template.template.maxRetries", Key("job.retries")),
    ("template.template.timeout", Key("job.timeout")),
    ("template.template.executionEnvironment", NOT_YET),
    ("template.template.containers[].command", Key("job.command")),
    ("template.template.containers[].args", Key("job.args")),
    ("template.template.containers[].workingDir", NOT_YET),
    ("template.template.containers[].dependsOn", NOT_YET),
    ("template.template.containers[].ports", REQUESTS),
    ("template.template.containers[].startupProbe", NOT_YET),
    ("template.template.containers[].livenessProbe", REQUESTS),
    ("template.template.containers[].readinessProbe", REQUESTS),
    ("template.template.containers[].resources.cpuIdle", REQUESTS),
    ("template.template.containers[].resources.startupCpuBoost", NOT_YET),
];

/// `path` is from the resource down; lists are entered by `[]`.
pub(super) fn verdict(root: Root, path: &str) -> Verdict {
    let in_service;
    let path = match root {
        Root::Service => path,
        Root::Job => {
            if let Some(found) = longest(JOB, path) {
                return found;
            }
            in_service = match path.strip_prefix("template.template.") {
                Some(rest) => format!("template.{rest}"),
                None => path.to_owned(),
            };
            &in_service
        }
    };
    for (probe, key) in PROBES {
        let Some(below) = path.strip_prefix(probe).filter(|_| !key.is_empty()) else { continue };
        let below = below.trim_start_matches('.');
        if !below.is_empty() && below != "httpGet" && !within(HEADERS, below) {
            return Key(key);
        }
    }
    longest(SERVICE, path).unwrap_or(if root == Root::Service { Verdict::PassThrough } else { NOT_YET })
}

fn longest(table: &[(&str, Verdict)], path: &str) -> Option<Verdict> {
    let found = table.iter().filter(|(field, _)| within(field, path)).max_by_key(|(field, _)| field.len());
    found.map(|(_, verdict)| *verdict)
}

/// Whether `path` is `field`, or below it.
fn within(field: &str, path: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path of the field, whichever entry it is of.
pub(super) fn pattern(path: &JsonPath) -> String {
    let parts = path.0.iter().map(|part| match part {
        Part::Entry(_) => Part::Entry(None),
        key => key.clone(),
    });
    JsonPath(parts.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::run::schema::{Field, message};

    const PAGE: &str = include_str!("../../../../docs/cloud-run-fields.md");
    /// The limits that Cloud Run knows: <https://cloud.google.com/run/docs/reference/rest/v2/Container#ResourceRequirements>.
    const LIMITS: [&str; 3] = ["cpu", "memory", "\"nvidia.com/gpu\""];

    /// Every field of a message, with how it is reached.
    fn fields(root: Root, name: &str, at: &str, found: &mut BTreeMap<String, String>) {
        let message = message(name).expect("the document has it");
        if message.is_empty() {
            found.insert(at.trim_end_matches('.').to_owned(), words(root, at.trim_end_matches('.')));
        }
        for (key, field) in message {
            let path = format!("{at}{key}");
            if field.read_only {
                found.insert(path, "output only".to_owned());
            } else {
                one(root, field, path, found);
            }
        }
    }

    fn one(root: Root, field: &Field, path: String, found: &mut BTreeMap<String, String>) {
        if let Some(name) = &field.message {
            return fields(root, name, &format!("{path}."), found);
        }
        if let Some(items) = &field.items {
            return one(root, items, format!("{path}[]"), found);
        }
        let names = match field.additional_properties {
            Some(_) if path.ends_with(".limits") => LIMITS.iter().map(|name| format!("{path}.{name}")).collect(),
            Some(_) => vec![format!("{path}.*")],
            None => vec![path],
        };
        found.extend(names.into_iter().map(|path| (path.clone(), words(root, &path))));
    }

    fn words(root: Root, path: &str) -> String {
        match verdict(root, path) {
            Verdict::Key(key) => format!("`{key}`"),
            Verdict::Unsupported(why) => format!("not supported: {why}"),
            Verdict::PassThrough => "pass-through".to_owned(),
        }
    }

    /// The rows of a table of the page.
    fn rows(heading: &str) -> BTreeMap<String, String> {
        let part = PAGE.split("\n## ").find(|part| part.starts_with(heading)).expect("the page has it");
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
        rows.map(|(path, how)| (path.to_owned(), how.to_owned())).collect()
    }

    fn is_complete(root: Root, heading: &str) {
        let mut wanted = BTreeMap::new();
        fields(root, root.message(), "", &mut wanted);
        assert!(wanted.len() > 100, "{}", wanted.len());
        let page = rows(heading);
        let row = |(path, how): (&String, &String)| format!("| `{path}` | {how} |");
        let missing: Vec<String> = wanted.iter().filter(|(path, how)| page.get(*path) != Some(how)).map(row).collect();
        let wrong: Vec<String> = page.iter().filter(|(path, how)| wanted.get(*path) != Some(how)).map(row).collect();
        assert!(
            missing.is_empty() && wrong.is_empty(),
            "docs/cloud-run-fields.md, {heading}: decide of each field how it is reached, and write it there\n\
             missing:\n{}\nwrong:\n{}",
            missing.join("\n"),
            wrong.join("\n")
        );
    }

    #[test]
    fn the_page_has_every_field_of_a_service_and_says_how_it_is_reached() {
        is_complete(Root::Service, "Services");
        is_complete(Root::Job, "Jobs");
    }

    #[test]
    fn what_is_decided_is_of_fields_that_there_are() {
        let mut all = BTreeMap::new();
        fields(Root::Service, Root::Service.message(), "", &mut all);
        for (path, _) in SERVICE.iter().filter(|(path, _)| !path.contains("carrack.dev")) {
            assert!(all.keys().any(|field| within(path, field)), "{path}");
        }
        let mut of_job = BTreeMap::new();
        fields(Root::Job, Root::Job.message(), "", &mut of_job);
        for (path, _) in JOB.iter().filter(|(path, _)| !path.contains("carrack.dev")) {
            assert!(of_job.keys().any(|field| within(path, field)), "{path}");
        }
        for (probe, _) in PROBES {
            assert!(all.contains_key(&format!("{probe}.{HEADERS}[].name")), "{probe}");
        }
    }
}
