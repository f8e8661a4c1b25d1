//! GitHub's issuer: a job asks for its token with an address and a bearer token from its environment.
//!
//! <https://docs.github.com/en/actions/reference/security/oidc>
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Credentials, jwt::now, rsa::Failed};
use crate::iam;

/// The claims' own span: <https://docs.github.com/en/actions/concepts/security/openid-connect#understanding-the-oidc-token>
const LIFE: i64 = 5 * 60;
const BEFORE: i64 = 10 * 60;
pub(super) const HOST: &str = "pipelines.actions.githubusercontent.com";
/// The end of a request's path; what is before it differs from job to job.
pub(super) const PATH: &str = "/idtoken";

/// What runs where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Job {
    /// `OWNER/NAME`.
    pub(super) repository: String,
    #[serde(rename = "ref", default = "main")]
    reference: String,
    #[serde(default = "push")]
    event: String,
    environment: Option<String>,
    /// A file below `.github/workflows`.
    #[serde(default = "workflow")]
    workflow: String,
    #[serde(default)]
    loopback: bool,
}

fn main() -> String {
    "refs/heads/main".to_owned()
}

fn push() -> String {
    "push".to_owned()
}

fn workflow() -> String {
    "deploy.yml".to_owned()
}

/// By the token that a job asks with.
#[derive(Default)]
pub(super) struct Jobs(RwLock<BTreeMap<String, Job>>);

impl std::fmt::Debug for Jobs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let jobs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        formatter.debug_list().entries(jobs.values()).finish()
    }
}

impl Jobs {
    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Job {
    /// The name's form; the rest may be anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let named = self.repository.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name));
        if !named {
            return Err(format!("`{}` is no repository: it is OWNER/NAME", self.repository));
        }
        if !self.reference.starts_with("refs/") {
            return Err(format!("`{}` is no ref: it begins with refs/", self.reference));
        }
        Ok(())
    }

    fn owner(&self) -> &str {
        self.repository.split_once('/').map_or("", |(owner, _)| owner)
    }

    /// <https://docs.github.com/en/actions/reference/security/oidc#example-subject-claims>
    fn subject(&self) -> String {
        let repository = &self.repository;
        match &self.environment {
            Some(environment) => format!("repo:{repository}:environment:{environment}"),
            None if self.event == "pull_request" => format!("repo:{repository}:pull_request"),
            None => format!("repo:{repository}:ref:{}", self.reference),
        }
    }

    fn claims(&self, audience: Option<&str>) -> Value {
        let now = now();
        let owner = self.owner();
        let default = format!("https://github.com/{owner}");
        let workflow = format!("{}/.github/workflows/{}@{}", self.repository, self.workflow, self.reference);
        // A commit that is nobody's, and the same for the same ref.
        let sha = super::digest(&format!("{}@{}", self.repository, self.reference), 20);
        let mut claims = json!({
            "jti": Uuid::new_v4().to_string(),
            "sub": self.subject(),
            "aud": audience.unwrap_or(&default),
            "ref": self.reference,
            "sha": sha,
            "repository": self.repository,
            "repository_owner": owner,
            "repository_owner_id": number(owner),
            "repository_id": number(&self.repository),
            "repository_visibility": "private",
            "run_id": "1",
            "run_number": "1",
            "run_attempt": "1",
            "actor": owner,
            "actor_id": number(owner),
            "workflow": self.workflow.trim_end_matches(".yml"),
            "workflow_ref": workflow,
            "workflow_sha": sha,
            "job_workflow_ref": workflow,
            "job_workflow_sha": sha,
            "head_ref": "",
            "base_ref": "",
            "event_name": self.event,
            "ref_protected": "false",
            "ref_type": if self.reference.starts_with("refs/tags/") { "tag" } else { "branch" },
            "runner_environment": "github-hosted",
            "iat": now,
            "nbf": now - BEFORE,
            "exp": now + LIFE,
        });
        if let Some(environment) = &self.environment {
            claims["environment"] = json!(environment);
        }
        claims
    }
}

/// Ids are texts of digits.
fn number(name: &str) -> String {
    super::unique_id(name)[12..].to_owned()
}

impl Credentials {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`; `google` is the loopback address.
    pub(super) fn begin_job(&self, job: Job, google: &str) -> (String, String) {
        let token = Uuid::new_v4().simple().to_string();
        let base = if job.loopback { google.to_owned() } else { format!("https://{HOST}") };
        let plan = Uuid::new_v4();
        let url = format!(
            "{base}/local/00000000-0000-0000-0000-000000000000/_apis/distributedtask/hubs/Actions/plans/{plan}/jobs/{}{PATH}?api-version=2.0",
            Uuid::new_v4()
        );
        self.jobs.0.write().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), job);
        (url, token)
    }

    /// `None` when nobody's job asks.
    pub(super) async fn job_token(&self, authorization: Option<&str>, query: &str) -> Result<Option<Value>, Failed> {
        let token = authorization.and_then(iam::token);
        let job = {
            let jobs = self.jobs.0.read().unwrap_or_else(PoisonError::into_inner);
            token.and_then(|token| jobs.get(&token).cloned())
        };
        let Some(job) = job else { return Ok(None) };
        let audience = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "audience");
        let audience = audience.map(|(_, value)| value.into_owned()).filter(|audience| !audience.is_empty());
        let token = self.issuers.github.sign(job.claims(audience.as_deref())).await?;
        Ok(Some(json!({ "count": token.len(), "value": token })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(extra: Value) -> Job {
        let mut fields = json!({ "repository": "o/r" });
        fields.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(fields).expect("a job")
    }

    #[test]
    fn a_subject_says_what_runs_where() {
        for (extra, subject) in [
            (json!({}), "repo:o/r:ref:refs/heads/main"),
            (json!({ "ref": "refs/tags/v1" }), "repo:o/r:ref:refs/tags/v1"),
            (json!({ "event": "pull_request" }), "repo:o/r:pull_request"),
            (json!({ "environment": "prod" }), "repo:o/r:environment:prod"),
        ] {
            assert_eq!(job(extra).subject(), subject);
        }
        let claims = job(json!({ "ref": "refs/tags/v1" })).claims(None);
        assert_eq!((&claims["aud"], &claims["ref_type"]), (&json!("https://github.com/o"), &json!("tag")));
        assert_eq!(claims["workflow_ref"], "o/r/.github/workflows/deploy.yml@refs/tags/v1");
        assert_eq!(claims["sha"].as_str().map(str::len), Some(40));
    }

    #[test]
    fn names() {
        assert_eq!(job(json!({})).check(), Ok(()));
        for wrong in ["", "o", "/r", "o/", "o/r/x", "o r/x"] {
            assert!(job(json!({ "repository": wrong })).check().is_err(), "{wrong}");
        }
        assert!(job(json!({ "ref": "main" })).check().is_err());
    }
}
