//! GitLab's issuer: a job finds its token in a variable of its environment.
//!
//! <https://docs.gitlab.com/ci/secrets/id_token_authentication/>
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Credentials, jwt::now, rsa::Failed};

/// As long as a job may take: <https://docs.gitlab.com/ci/pipelines/settings/#set-a-limit-for-how-long-jobs-can-run>
const LIFE: i64 = 60 * 60;
const BEFORE: i64 = 5;

/// What runs where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Job {
    /// `GROUP/PROJECT`, or deeper.
    project: String,
    audience: String,
    /// Of a branch, or of a tag.
    #[serde(rename = "ref", default = "main")]
    reference: String,
    #[serde(default)]
    tag: bool,
    #[serde(default)]
    protected: bool,
    /// What made the pipeline: `$CI_PIPELINE_SOURCE`.
    #[serde(default = "push")]
    source: String,
    environment: Option<String>,
}

fn main() -> String {
    "main".to_owned()
}

fn push() -> String {
    "push".to_owned()
}

impl Job {
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !self.project.contains('/') || !self.project.split('/').all(plain) {
            return Err(format!("`{}` is no project: it is GROUP/PROJECT", self.project));
        }
        if self.audience.is_empty() || self.reference.is_empty() || self.reference.starts_with("refs/") {
            return Err("an audience, and a branch or tag without refs/, are needed".to_owned());
        }
        Ok(())
    }

    /// <https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload>
    fn claims(&self) -> Value {
        let now = now();
        let (project, reference) = (&self.project, &self.reference);
        let namespace = project.rsplit_once('/').map_or("", |(namespace, _)| namespace);
        let kind = if self.tag { "tag" } else { "branch" };
        let path = if self.tag { format!("refs/tags/{reference}") } else { format!("refs/heads/{reference}") };
        let sha = super::digest(&format!("{project}@{path}"), 20);
        let mut claims = json!({
            "namespace_id": number(namespace),
            "namespace_path": namespace,
            "project_id": number(project),
            "project_path": project,
            "user_id": "1",
            "user_login": "local",
            "user_email": "local@example.com",
            "user_access_level": "maintainer",
            "pipeline_id": "1",
            "pipeline_source": self.source,
            "job_id": "1",
            "ref": reference,
            "ref_type": kind,
            "ref_path": path,
            "ref_protected": self.protected.to_string(),
            "runner_id": 1,
            "runner_environment": "gitlab-hosted",
            "sha": sha,
            "project_visibility": "private",
            "ci_config_ref_uri": format!("gitlab.com/{project}//.gitlab-ci.yml@{path}"),
            "ci_config_sha": sha,
            "jti": Uuid::new_v4().to_string(),
            "iat": now,
            "nbf": now - BEFORE,
            "exp": now + LIFE,
            "sub": format!("project_path:{project}:ref_type:{kind}:ref:{reference}"),
            "aud": self.audience,
        });
        if let Some(environment) = &self.environment {
            claims["environment"] = json!(environment);
            claims["environment_protected"] = json!("false");
            claims["deployment_tier"] = json!("production");
        }
        claims
    }
}

fn number(name: &str) -> String {
    super::unique_id(name)[14..].to_owned()
}

impl Credentials {
    pub(super) async fn gitlab_token(&self, job: &Job) -> Result<String, Failed> {
        self.issuers.gitlab.sign(job.claims()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_runs_where() {
        let job = |fields: Value| serde_json::from_value::<Job>(fields).expect("a job");
        let of_branch = job(json!({ "project": "g/s/p", "audience": "a" }));
        assert_eq!(of_branch.check(), Ok(()));
        let claims = of_branch.claims();
        assert_eq!(claims["sub"], "project_path:g/s/p:ref_type:branch:ref:main");
        assert_eq!((&claims["namespace_path"], &claims["ref_path"]), (&json!("g/s"), &json!("refs/heads/main")));
        assert_eq!((&claims["ref_protected"], &claims["pipeline_source"]), (&json!("false"), &json!("push")));
        let of_merge_request = json!({
            "project": "g/s/p", "audience": "a", "protected": true, "source": "merge_request_event",
        });
        let claims = job(of_merge_request).claims();
        assert_eq!(claims["sub"], "project_path:g/s/p:ref_type:branch:ref:main", "as the branch that it is from");
        assert_eq!(
            (&claims["ref_protected"], &claims["pipeline_source"]),
            (&json!("true"), &json!("merge_request_event"))
        );
        let claims = job(json!({ "project": "g/p", "audience": "a", "ref": "v1", "tag": true })).claims();
        assert_eq!(claims["sub"], "project_path:g/p:ref_type:tag:ref:v1");
        for (project, audience, reference) in
            [("p", "a", "main"), ("g/", "a", "main"), ("g/p", "", "main"), ("g/p", "a", "refs/heads/x")]
        {
            assert!(job(json!({ "project": project, "audience": audience, "ref": reference })).check().is_err());
        }
    }
}
