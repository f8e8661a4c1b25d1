//! Who may read a repository: its access policy, and what Cloud Run's own account may pull by it.
use serde_json::Value;

use super::{
    artifact_registry::{self, Repositories},
    call::{Call, unimplemented},
    iam::Grants,
    status::Status,
};

pub(crate) fn handle(repositories: &Repositories, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let name = artifact_registry::name(call);
    match verb {
        "getIamPolicy" => repositories.policy(&name).ok_or_else(|| artifact_registry::missing(&name)),
        "setIamPolicy" => repositories.set_policy(&name, call.body.get("policy").unwrap_or(&Value::Null)),
        _ => Err(unimplemented()),
    }
}

/// Cloud Run's account for a project: it pulls the images of that project's services.
/// <https://cloud.google.com/run/docs/deploying#other-projects>
pub(crate) fn service_agent(project_number: &str) -> String {
    format!("service-{project_number}@serverless-robot-prod.iam.gserviceaccount.com")
}

/// Whether that account may pull from a repository of another project. In its own it may by the role it has there;
/// a repository that is not there looks as one that is denied.
pub(crate) fn agent_may_read(repositories: &Repositories, grants: &Grants, repository: &str, agent: &str) -> bool {
    let project = repository.split('/').nth(1).unwrap_or_default();
    let permission = "artifactregistry.repositories.downloadArtifacts";
    let policy = repositories.policy(repository);
    policy.is_some_and(|policy| grants.account_may(agent, permission, project, Some(&policy)))
}
