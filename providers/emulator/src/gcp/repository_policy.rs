//! Who may read a repository: its access policy, and what Cloud Run's own account may pull by it.
use serde_json::Value;

use super::{
    artifact_registry::{self, Repositories},
    call::{Call, unimplemented},
    policy,
    status::Status,
};

/// The roles that hold `artifactregistry.repositories.downloadArtifacts`:
/// <https://cloud.google.com/artifact-registry/docs/access-control#roles>.
const READERS: [&str; 6] = [
    "roles/artifactregistry.reader",
    "roles/artifactregistry.writer",
    "roles/artifactregistry.repoAdmin",
    "roles/artifactregistry.admin",
    "roles/artifactregistry.createOnPushWriter",
    "roles/artifactregistry.createOnPushRepoAdmin",
];

pub(crate) fn handle(repositories: &Repositories, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let name = artifact_registry::name(call);
    match verb {
        "getIamPolicy" => {
            call.authorize("artifactregistry.repositories.getIamPolicy", &name)?;
            repositories.policy(&name).ok_or_else(|| artifact_registry::missing(&name))
        }
        "setIamPolicy" => {
            call.authorize("artifactregistry.repositories.setIamPolicy", &name)?;
            repositories.set_policy(&name, call.body.get("policy").unwrap_or(&Value::Null))
        }
        "testIamPermissions" => Ok(policy::held(call)),
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
pub(crate) fn agent_may_read(repositories: &Repositories, repository: &str, agent: &str) -> bool {
    let agent = format!("serviceAccount:{agent}");
    let members = [agent.as_str(), "allUsers", "allAuthenticatedUsers"];
    repositories.policy(repository).is_some_and(|policy| policy::gives(&policy, &READERS, &members))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_grant_without_a_condition_counts() {
        let agent = "serviceAccount:service-1@serverless-robot-prod.iam.gserviceaccount.com";
        let may = |binding: Value| policy::gives(&json!({ "bindings": [binding] }), &READERS, &[agent, "allUsers"]);
        assert!(may(json!({ "role": "roles/artifactregistry.reader", "members": ["user:a@b", agent] })));
        assert!(may(json!({ "role": "roles/artifactregistry.writer", "members": ["allUsers"] })));
        assert!(!may(json!({ "role": "roles/run.invoker", "members": [agent] })));
        assert!(!may(json!({ "role": "roles/artifactregistry.reader", "members": ["user:a@b"] })));
        let condition = json!({ "expression": "true" });
        assert!(!may(json!({ "role": "roles/artifactregistry.reader", "members": [agent], "condition": condition })));
    }
}
