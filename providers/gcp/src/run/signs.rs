//! What Cloud Run's texts say of a failure. Pure.
//!
//! The texts are those of <https://cloud.google.com/run/docs/troubleshooting> and of public reports; a text that is
//! not known is no sign.
use carrack_core::{
    evidence::Sign,
    spec::{ImageRef, Mebibytes},
};

use crate::{
    artifact_registry::{Place, place},
    iam, secret_manager,
};

/// What Cloud Run runs: <https://cloud.google.com/run/docs/container-contract#languages>.
const PLATFORM: &str = "linux/amd64";

/// What is known before the texts are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// The service's project.
    pub(super) project: &'a str,
    /// Who deploys, if that is known.
    pub(super) principal: Option<&'a str>,
}

/// The signs in the text of an operation, a condition or a refusal.
pub(super) fn of_text(text: &str, around: Surroundings<'_>) -> Vec<Sign> {
    let has = |part: &str| text.contains(part);
    let mut signs = Vec::new();
    if let Some(image) = missing_image(text) {
        signs.push(Sign::ImageNotFound { list: list_command(&image) });
    }
    if let Some((reader, image)) = unreadable_image(text) {
        signs.push(not_readable(reader, &image, around));
    }
    signs.extend(secret(text));
    signs.extend(act_as(text, around));
    signs.extend(of_refusal(text));
    if has("must support amd64/linux") {
        signs.push(Sign::WrongArchitecture { platform: PLATFORM.to_owned() });
    }
    if has("container ran out of memory") {
        signs.push(Sign::OutOfMemory { limit: None, used: None });
    }
    if has("The configured timeout was reached") {
        signs.push(Sign::TimedOut);
    }
    if has("failed the configured startup probe") {
        signs.push(Sign::ProbeFailed { answered: None });
    }
    if has("failed to start and listen on the port") || has("Failed to start and then listen on the port") {
        signs.push(Sign::NotListening);
    }
    signs
}

/// What a refusal says that needs nothing else to be understood, whichever call it is of.
pub(crate) fn of_refusal(text: &str) -> Option<Sign> {
    // Of every API: <https://cloud.google.com/resource-manager/docs/organization-policy/defining-locations>
    if let Some((_, rest)) = text.split_once("Permission denied on 'locations/") {
        let (region, _) = rest.split_once("' (or it may not exist)")?;
        let list = "gcloud run regions list".to_owned();
        return Some(Sign::RegionUnavailable { region: region.to_owned(), list });
    }
    if let Some((before, _)) = text.split_once(" does not exist, or Cloud Run does not have permission to use it") {
        let (_, name) = before.rsplit_once("VPC connector ")?;
        let (project, rest) = name.strip_prefix("projects/")?.split_once("/locations/")?;
        let (region, connector) = rest.split_once("/connectors/")?;
        let list = format!("gcloud compute networks vpc-access connectors list --region {region} --project {project}");
        return Some(Sign::ConnectorMissing { connector: connector.to_owned(), list });
    }
    // <https://cloud.google.com/run/docs/configuring/max-instances-limits>
    let (before, rest) = text.split_once("Quota violated:")?;
    let most = number_after(before, "Max instances must be set to ").and_then(|most| u32::try_from(most).ok());
    let what = rest.lines().map(|line| line.trim().trim_start_matches("- ")).find(|line| !line.is_empty());
    Some(Sign::QuotaExceeded { most, what: what.map(|what| what.trim_end_matches('.').to_owned()) })
}

/// `Permission 'iam.serviceaccounts.actAs' denied on service account X (or it may not exist).`
/// <https://cloud.google.com/run/docs/troubleshooting>
fn act_as(text: &str, around: Surroundings<'_>) -> Option<Sign> {
    let (_, rest) = text.split_once("'iam.serviceaccounts.actAs' denied on service account ")?;
    let account = rest.split_whitespace().next()?.trim_end_matches('.').to_owned();
    let member = around
        .principal
        .and_then(iam::member)
        .unwrap_or_else(|| format!("serviceAccount:DEPLOYER@{}.iam.gserviceaccount.com", around.project));
    let grant = format!(
        "gcloud iam service-accounts add-iam-policy-binding {account} --member {member} --role roles/iam.serviceAccountUser --condition None"
    );
    let make = account.split_once('@').and_then(|(name, host)| {
        let project = host.strip_suffix(".iam.gserviceaccount.com")?;
        Some(format!("gcloud iam service-accounts create {name} --project {project}"))
    });
    Some(Sign::ActAsDenied { account, exists: None, make, grant })
}

/// The signs in the lines of the system's log, oldest first. Every instance that was tried has its own; the last one
/// that says something is taken.
pub(super) fn of_system<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Sign> {
    let mut instances = vec![Vec::new()];
    for line in lines {
        if line.starts_with("Starting new instance") {
            instances.push(Vec::new());
        } else if let Some(instance) = instances.last_mut() {
            read(line, instance);
        }
    }
    instances.into_iter().rev().find(|signs| !signs.is_empty()).unwrap_or_default()
}

fn read(line: &str, signs: &mut Vec<Sign>) {
    if let Some((limit, used)) = memory(line) {
        signs.push(Sign::OutOfMemory { limit, used });
    } else if line.starts_with("Out-of-memory event detected") {
        signs.push(Sign::OutOfMemory { limit: None, used: None });
    } else if let Some((_, why)) = line.split_once("Application failed to start: ") {
        signs.push(Sign::NotStarted(why.trim_end_matches('.').to_owned()));
    } else if line.contains("STARTUP") && line.contains("probe failed") {
        // CANCELLED: the container ended first, which is told in its own line.
        if !line.contains("status CANCELLED") {
            signs.retain(|sign| !matches!(sign, Sign::ProbeFailed { .. }));
            signs.push(Sign::ProbeFailed { answered: answered(line) });
        }
    } else if signs.iter().any(|sign| matches!(sign, Sign::ProbeFailed { .. })) {
        // What ends after its last probe was told to end.
    } else if let Some(code) = number_after(line, "Container called exit(") {
        signs.push(Sign::Exited(code));
    } else if let Some(signal) = number_after(line, "Container terminated on signal ") {
        signs.push(Sign::Killed(signal));
    }
}

/// A probe by HTTP has a second line when the connection failed, and none when the answer was no good one.
fn answered(line: &str) -> Option<bool> {
    if line.contains("TCP probe") || line.contains("ERROR_CONNECTION_FAILED") {
        Some(false)
    } else if line.contains("Connection failed with status") {
        None
    } else {
        Some(true)
    }
}

fn number_after(line: &str, words: &str) -> Option<i32> {
    let (_, rest) = line.split_once(words)?;
    let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    digits.parse().ok()
}

/// `Memory limit of 512 MiB exceeded with 516 MiB used.`; older lines have `512M`.
fn memory(line: &str) -> Option<(Option<Mebibytes>, Option<Mebibytes>)> {
    let size = |words| number_after(line, words).and_then(|size| u32::try_from(size).ok()).map(Mebibytes);
    line.starts_with("Memory limit of ").then(|| (size("Memory limit of "), size("exceeded with ")))
}

/// `Image 'REF' not found.`
fn missing_image(text: &str) -> Option<ImageRef> {
    let (_, rest) = text.split_once("Image '")?;
    let (name, _) = rest.split_once("' not found")?;
    Some(ImageRef(name.to_owned()))
}

/// `READER must have permission to read the image, REF.`
fn unreadable_image(text: &str) -> Option<(&str, ImageRef)> {
    let (before, after) = text.split_once(" must have permission to read the image, ")?;
    let reader = before.rsplit(". ").next().unwrap_or(before);
    let name = after.split_whitespace().next()?.trim_end_matches(['.', ',']);
    Some((reader, ImageRef(name.to_owned())))
}

/// <https://cloud.google.com/run/docs/deploying#other-projects>
fn not_readable(reader: &str, image: &ImageRef, around: Surroundings<'_>) -> Sign {
    const AGENT: &str = "Google Cloud Run Service Agent";
    let (reader, member) = if let Some(rest) = reader.strip_prefix(AGENT) {
        let email = match rest.trim() {
            // Named by its project's number, which the text does not always tell.
            "" => format!(
                "service-$(gcloud projects describe {} --format='value(projectNumber)')@serverless-robot-prod.iam.gserviceaccount.com",
                around.project
            ),
            email => email.to_owned(),
        };
        ("Cloud Run's service agent".to_owned(), format!("serviceAccount:{email}"))
    } else {
        let member = match around.principal {
            Some(email) if email.ends_with("gserviceaccount.com") => format!("serviceAccount:{email}"),
            Some(email) if email.contains('@') => format!("user:{email}"),
            _ => "user:$(gcloud config get-value account)".to_owned(),
        };
        ("whoever deploys".to_owned(), member)
    };
    let grant = place(image).map(|Place { location, project, repository }| {
        format!(
            "gcloud artifacts repositories add-iam-policy-binding {repository} --project={project} --location={location} --member=\"{member}\" --role=roles/artifactregistry.reader"
        )
    });
    Sign::ImageNotReadable { reader, grant }
}

/// What the check of a template's secrets says: <https://cloud.google.com/run/docs/troubleshooting>.
fn secret(text: &str) -> Option<Sign> {
    if let Some((_, rest)) = text.split_once("Permission denied on secret: ") {
        let (name, rest) = rest.split_once(" for Revision service account ")?;
        let account = rest.split_whitespace().next()?.trim_end_matches('.').to_owned();
        let (project, secret, _) = version_name(name)?;
        let grant = secret_manager::grant_command(&project, &secret, &account);
        return Some(Sign::SecretNotReadable { secret, account, grant });
    }
    if let Some((_, rest)) = text.split_once("Failed to access secret ") {
        let (name, rest) = rest.split_once(": ")?;
        let (_, secret, version) = version_name(name)?;
        let state = rest.split_once("] is in ")?.1.split_once(" state")?.0.to_lowercase();
        return Some(Sign::SecretNotEnabled { secret, version, state });
    }
    if let Some((_, rest)) = text.split_once("Secret projects/")
        && let Some((name, _)) = rest.split_once(" was not found")
    {
        let (_, secret, version) = version_name(&format!("projects/{name}"))?;
        return Some(Sign::SecretMissing { secret, version });
    }
    // The local cloud's own words: Cloud Run's are not known.
    let told = ["the secret's value is not UTF-8 text", "the secret's value has a zero byte"];
    told.iter().any(|told| text.contains(told)).then_some(Sign::SecretNotText)
}

/// `projects/P/secrets/S/versions/V`
fn version_name(name: &str) -> Option<(String, String, String)> {
    let (project, rest) = name.strip_prefix("projects/")?.split_once("/secrets/")?;
    let (secret, version) = rest.split_once("/versions/")?;
    Some((project.to_owned(), secret.to_owned(), version.to_owned()))
}

fn list_command(image: &ImageRef) -> Option<String> {
    place(image)?;
    Some(format!("gcloud artifacts docker images list {} --include-tags", image.repository()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings<'_> = Surroundings { project: "shop", principal: Some("me@example.com") };

    fn text(text: &str) -> Vec<Sign> {
        of_text(text, AROUND)
    }

    fn system(lines: &[&str]) -> Vec<Sign> {
        of_system(lines.iter().copied())
    }

    #[test]
    fn texts_of_operations() {
        let prefix = "Revision 'hello-00003-r27' is not ready and cannot serve traffic. ";
        let port = "The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout. This can happen when the container port is misconfigured or if the timeout is too short. The health check timeout can be extended. Logs for this revision might contain more information.\n\nLogs URL: https://console.cloud.google.com/logs/viewer?project=p";
        assert_eq!(text(port), [Sign::NotListening]);
        assert_eq!(text(&format!("{prefix}{port}")), [Sign::NotListening]);
        let first = "Container failed to start. Failed to start and then listen on the port defined by the PORT environment variable.";
        assert_eq!(text(first), [Sign::NotListening]);
        let probe = "The user-provided container failed the configured startup probe checks. Logs for this revision might contain more information.";
        assert_eq!(text(probe), [Sign::ProbeFailed { answered: None }]);
        let memory = "The user-provided container ran out of memory. Logs for this revision might contain more information; consider increasing the memory limit.";
        assert_eq!(text(memory), [Sign::OutOfMemory { limit: None, used: None }]);
        let platform = "Container manifest type 'application/vnd.oci.image.index.v1+json' must support amd64/linux.";
        assert_eq!(text(platform), [Sign::WrongArchitecture { platform: "linux/amd64".to_owned() }]);
        assert_eq!(text("Quota exceeded"), []);
    }

    #[test]
    fn an_image_that_is_not_there() {
        let list = |name: &str| Some(format!("gcloud artifacts docker images list {name} --include-tags"));
        let found = text(
            "Revision 'a-00001-b' is not ready and cannot serve traffic. Image 'asia-southeast1-docker.pkg.dev/p/r/engine:latest' not found.",
        );
        assert_eq!(found, [Sign::ImageNotFound { list: list("asia-southeast1-docker.pkg.dev/p/r/engine") }]);
        assert_eq!(text("Image 'docker.io/library/nothing' not found."), [Sign::ImageNotFound { list: None }]);
    }

    #[test]
    fn an_image_that_may_not_be_read() {
        let grant = |repository: &str, project: &str, location: &str, member: &str| {
            Some(format!(
                "gcloud artifacts repositories add-iam-policy-binding {repository} --project={project} --location={location} --member=\"{member}\" --role=roles/artifactregistry.reader"
            ))
        };
        let agent = "Cloud Run's service agent".to_owned();
        let full = "Google Cloud Run Service Agent service-98@serverless-robot-prod.iam.gserviceaccount.com must have permission to read the image, us-central1-docker.pkg.dev/develop/registry/web:latest. Ensure that the provided container image URL is correct and that the above account has permission to access the image. If you just enabled the Cloud Run API, the permissions might take a few minutes to propagate. Note that the image is from project [develop], which is not the same as this project [production]. Permission must be granted to the Google Cloud Run Service Agent service-98@serverless-robot-prod.iam.gserviceaccount.com from this project.";
        let member = "serviceAccount:service-98@serverless-robot-prod.iam.gserviceaccount.com";
        let expected = [Sign::ImageNotReadable {
            reader: agent.clone(),
            grant: grant("registry", "develop", "us-central1", member),
        }];
        assert_eq!(text(full), expected);
        assert_eq!(text(&format!("Revision 'web-00003-r27' is not ready and cannot serve traffic. {full}")), expected);
        let short = "Google Cloud Run Service Agent must have permission to read the image, gcr.io/other/ms1. Ensure that the provided container image URL is correct";
        let member = "serviceAccount:service-$(gcloud projects describe shop --format='value(projectNumber)')@serverless-robot-prod.iam.gserviceaccount.com";
        assert_eq!(
            text(short),
            [Sign::ImageNotReadable { reader: agent, grant: grant("gcr.io", "other", "us", member) }]
        );
        let user = "User must have permission to read the image, europe-docker.pkg.dev/p/r/i:latest. Ensure that";
        assert_eq!(
            text(user),
            [Sign::ImageNotReadable {
                reader: "whoever deploys".to_owned(),
                grant: grant("r", "p", "europe", "user:me@example.com")
            }]
        );
    }

    #[test]
    fn secrets_that_cannot_be_had() {
        let at = "Revision 'a-00001-b' is not ready and cannot serve traffic. spec.template.spec.containers[0].env[0].value_from.secret_key_ref.name: ";
        let name = "projects/12/secrets/db-url/versions";
        let (secret, account) = ("db-url".to_owned(), "run@shop.iam.gserviceaccount.com".to_owned());
        let denied = format!(
            "{at}Permission denied on secret: {name}/latest for Revision service account {account}. The service account used must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project or higher level."
        );
        let grant = format!(
            "gcloud secrets add-iam-policy-binding db-url --project 12 --member=serviceAccount:{account} --role=roles/secretmanager.secretAccessor"
        );
        assert_eq!(text(&denied), [Sign::SecretNotReadable { secret: secret.clone(), account, grant }]);
        let version = "3".to_owned();
        assert_eq!(
            text(&format!("{at}Secret {name}/3 was not found")),
            [Sign::SecretMissing { secret: secret.clone(), version: version.clone() }]
        );
        assert_eq!(
            text(&format!("{at}Failed to access secret {name}/3: Secret Version [{name}/3] is in DISABLED state.")),
            [Sign::SecretNotEnabled { secret, version, state: "disabled".to_owned() }]
        );
        assert_eq!(
            text(&format!("{at}the secret's value is not UTF-8 text, which a variable has to be.")),
            [Sign::SecretNotText]
        );
        assert_eq!(text("Secret projects/1 was not found"), []);
    }

    #[test]
    fn refusals_that_say_all_by_themselves() {
        let region = "Permission denied on 'locations/europe-west99' (or it may not exist).";
        let list = "gcloud run regions list".to_owned();
        assert_eq!(text(region), [Sign::RegionUnavailable { region: "europe-west99".to_owned(), list }]);
        let connector = "VPC connector projects/shop/locations/europe-west1/connectors/vpc does not exist, or Cloud Run does not have permission to use it.";
        let list = "gcloud compute networks vpc-access connectors list --region europe-west1 --project shop".to_owned();
        assert_eq!(text(connector), [Sign::ConnectorMissing { connector: "vpc".to_owned(), list }]);
        let quota = "template.scaling.max_instance_count: Max instances must be set to 5 or fewer to set the requested total CPU.\n\nQuota violated:\nCpuAllocPerProjectRegion requested: 400000 allowed: 20000\nMemAllocPerProjectRegion requested: 858993459200 allowed: 42949672960";
        let what = Some("CpuAllocPerProjectRegion requested: 400000 allowed: 20000".to_owned());
        assert_eq!(text(quota), [Sign::QuotaExceeded { most: Some(5), what }]);
        let gpu = "Quota violated:\n  NvidiaL4GpuAlloc requested: 4 allowed: 3";
        let what = Some("NvidiaL4GpuAlloc requested: 4 allowed: 3".to_owned());
        assert_eq!(text(gpu), [Sign::QuotaExceeded { most: None, what }]);
        let act = "Permission 'iam.serviceaccounts.actAs' denied on service account run@shop.iam.gserviceaccount.com (or it may not exist).";
        let account = "run@shop.iam.gserviceaccount.com".to_owned();
        let make = Some("gcloud iam service-accounts create run --project shop".to_owned());
        let grant = format!(
            "gcloud iam service-accounts add-iam-policy-binding {account} --member user:me@example.com --role roles/iam.serviceAccountUser --condition None"
        );
        assert_eq!(text(act), [Sign::ActAsDenied { account, exists: None, make, grant }]);
    }

    #[test]
    fn an_instance_that_ended_by_itself() {
        let signs = system(&[
            "Starting new instance. Reason: DEPLOYMENT_ROLLOUT - Instance started due to traffic shifting between revisions due to deployment, traffic split adjustment, or deployment health check.",
            "Container called exit(1).",
            "Default STARTUP TCP probe failed 1 time consecutively for container \"backend-1\" on port 8080. The instance was not started.\nConnection failed with status CANCELLED.",
        ]);
        assert_eq!(signs, [Sign::Exited(1)]);
    }

    #[test]
    fn an_instance_that_was_told_to_end() {
        let failed = "Default STARTUP TCP probe failed 1 time consecutively for container \"worker\" on port 8080. The instance was not started.\nConnection failed with status DEADLINE_EXCEEDED.";
        assert_eq!(system(&[failed, "Container called exit(0)."]), [Sign::ProbeFailed { answered: Some(false) }]);
    }

    #[test]
    fn an_instance_that_used_too_much_memory() {
        let line = "Memory limit of 512 MiB exceeded with 526 MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits";
        let (limit, used) = (Some(Mebibytes(512)), Some(Mebibytes(526)));
        assert_eq!(
            system(&[line, "Container terminated on signal 9."]),
            [Sign::OutOfMemory { limit, used }, Sign::Killed(9)]
        );
        assert_eq!(system(&["Memory limit of 512M exceeded with 526M used."]), [Sign::OutOfMemory { limit, used }]);
        let event = "Out-of-memory event detected in container";
        assert_eq!(system(&[event]), [Sign::OutOfMemory { limit: None, used: None }]);
    }

    #[test]
    fn a_probe_by_http_tells_whether_something_answered() {
        let failed = "STARTUP HTTP probe failed 12 times consecutively for container \"core-1\" on port 8080 path \"/health/ready\". The instance was not started.";
        assert_eq!(system(&[failed]), [Sign::ProbeFailed { answered: Some(true) }]);
        let refused = format!("{failed}\nConnection failed with status ERROR_CONNECTION_FAILED.");
        assert_eq!(system(&[failed, &refused]), [Sign::ProbeFailed { answered: Some(false) }]);
        let late = format!("{failed}\nConnection failed with status DEADLINE_EXCEEDED.");
        assert_eq!(system(&[&late]), [Sign::ProbeFailed { answered: None }]);
        assert_eq!(
            system(&["Default STARTUP TCP probe succeeded after 1 attempt for container \"a-1\" on port 8080."]),
            []
        );
    }

    #[test]
    fn the_last_instance_that_says_something_counts() {
        let lines = [
            "Starting new instance.",
            "Container called exit(1).",
            "Starting new instance.",
            "Container called exit(2).",
            "Starting new instance.",
        ];
        assert_eq!(system(&lines), [Sign::Exited(2)]);
        assert_eq!(
            system(&["terminated: Application failed to start: failed to load /app: exec format error."]),
            [Sign::NotStarted("failed to load /app: exec format error".to_owned())]
        );
        assert_eq!(system(&[]), []);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(words in "\\PC{0,120}") {
            for before in ["", "Permission denied on secret: projects/1/secrets/a/versions/", "Failed to access secret ", "Secret projects/", "Image '", "User must have permission to read the image, ", "Container called exit(", "Memory limit of "] {
                let line = format!("{before}{words}");
                let _ = (text(&line), system(&[&line]));
            }
        }
    }
}
