//! Google's permissions: which ones our calls need, how they are granted, and whether they are held.
//!
//! | module | what it holds |
//! |---|---|
//! | `needs` | the table: a task's permissions, each with its call's reason and Google's page |
//! | `place` | where in Google's names a scope is |
//! | `roles` | predefined roles, and the least of them |
//! | `document` | a custom role, gcloud commands, Terraform |
//! | `ask` | `testIamPermissions`, everywhere side by side |
mod ask;
mod document;
mod needs;
mod place;
mod roles;

pub(crate) use ask::held;
use carrack_core::{
    Error,
    permission::{Form, Grant, Members, Need, PermissionTable, Subject, Task},
};

/// The permissions of Cloud Run in one project.
#[derive(Clone, Debug)]
pub struct Table {
    project: String,
}

impl Table {
    /// Binds the project. Sends nothing.
    pub fn new(project: impl Into<String>) -> Self {
        Self { project: project.into() }
    }
}

impl PermissionTable for Table {
    fn needs(&self, task: Task, subject: &Subject<'_>) -> Vec<Need> {
        needs::needs(self, task, subject)
    }
    fn grants(&self, needs: &[Need], members: Members<'_>) -> Vec<Grant> {
        roles::grants(self, needs, members)
    }
    fn document(&self, form: Form, name: &str, needs: &[Need], members: Members<'_>) -> String {
        document::document(self, form, name, needs, members)
    }
    fn denied(&self, refusal: &Error) -> Option<String> {
        refusal.permission().map(str::to_owned).or_else(|| named_in(refusal.message()))
    }
}

/// The permission that one of Google's texts names:
/// `Permission 'run.services.get' denied on resource …`, `denied: Permission "artifactregistry.…" denied on …`.
pub(crate) fn named_in(text: &str) -> Option<String> {
    let named = text.split("ermission").skip(1).find_map(|rest| {
        let rest = rest.trim_start_matches([' ', '\'', '"', '`', '\\']);
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        let name = name.trim_end_matches('.');
        (name.matches('.').count() >= 2).then(|| spelled(name))
    });
    // https://cloud.google.com/run/docs/troubleshooting#permissions-to-read-the-image
    let read = || text.contains("must have permission to read the image").then(|| needs::READ.to_owned());
    named.or_else(read)
}

/// Cloud Run's text has `iam.serviceaccounts.actAs`, which is no permission's name.
fn spelled(name: &str) -> String {
    if name.eq_ignore_ascii_case(needs::ACT_AS) { needs::ACT_AS.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_texts_name_a_permission() {
        for (text, expected) in [
            (
                "Permission 'run.services.get' denied on resource 'projects/p' (or resource may not exist)",
                Some("run.services.get"),
            ),
            (
                "Permission 'iam.serviceaccounts.actAs' denied on service account a@b (or it may not exist)",
                Some("iam.serviceAccounts.actAs"),
            ),
            (
                r#"GET https://HOST/v2/a: DENIED: Permission "artifactregistry.repositories.uploadArtifacts" denied on resource"#,
                Some("artifactregistry.repositories.uploadArtifacts"),
            ),
            (
                r#"User must have permission to read the image, HOST/a. {\"errors\":[{\"message\":\"Permission \\\"artifactregistry.repositories.downloadArtifacts\\\" denied"#,
                Some("artifactregistry.repositories.downloadArtifacts"),
            ),
            (
                "Google Cloud Run Service Agent x must have permission to read the image, HOST/a",
                Some("artifactregistry.repositories.downloadArtifacts"),
            ),
            ("The caller does not have permission", None),
            ("The caller does not have permission. See example.com/a.b", None),
        ] {
            assert_eq!(named_in(text).as_deref(), expected, "{text}");
        }
    }
}
