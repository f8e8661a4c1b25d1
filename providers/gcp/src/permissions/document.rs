//! The same needs as others take them: a custom role, gcloud commands, Terraform.
//!
//! One custom role holds precisely what is needed of the project. What is needed of a service account, a repository
//! or a secret stays out of it, since a role of the project would give it for every one of them: there the least
//! predefined role is bound to the one thing.
use carrack_core::permission::{Form, Grant, Members, Need, Scope, ScopeKind, Who};

use super::{
    Table,
    place::{self, Repository},
    roles::{self, command, groups, member},
};

pub(super) fn document(table: &Table, form: Form, name: &str, needs: &[Need], members: Members<'_>) -> String {
    let (role, rest) = split(table, name, needs, members);
    match form {
        Form::Role => yaml(table, role.as_ref(), &rest, &repositories(needs)),
        Form::Commands => gcloud(table, role.as_ref(), &rest, &repositories(needs)),
        Form::Terraform => terraform(table, role.as_ref(), &rest),
    }
}

/// A custom role: <https://cloud.google.com/iam/docs/creating-custom-roles>.
struct Custom {
    id: String,
    title: String,
    permissions: Vec<String>,
    on: Scope,
    member: String,
}

/// The custom role, and what is granted beside it.
fn split(table: &Table, name: &str, needs: &[Need], members: Members<'_>) -> (Option<Custom>, Vec<Grant>) {
    let mut groups = groups(table, needs);
    let of_project = groups
        .iter()
        .position(|(who, on, _)| *who == Who::Deployer && *on == Scope::new(ScopeKind::Project, table.project.clone()));
    let custom = of_project.map(|index| {
        let (who, on, group) = groups.remove(index);
        let mut permissions: Vec<String> = group.iter().map(|need| need.permission.clone()).collect();
        permissions.sort_unstable();
        permissions.dedup();
        let id = name.split(|c: char| !c.is_ascii_alphanumeric()).fold("carrack".to_owned(), |id, word| {
            let (first, rest) = word.split_at(word.len().min(1));
            id + &first.to_ascii_uppercase() + rest
        });
        Custom { id, title: format!("Carrack: {name}"), permissions, on, member: member(table, who, members) }
    });
    let rest: Vec<Need> = groups.into_iter().flat_map(|(_, _, group)| group.into_iter().cloned()).collect();
    (custom, roles::grants(table, &rest, members))
}

/// A repository that the task makes is not there yet, and nothing can be bound to it before it is.
fn repositories(needs: &[Need]) -> Vec<String> {
    let makes = needs.iter().any(|need| need.permission == "artifactregistry.repositories.create");
    let mut lines = Vec::new();
    for need in needs.iter().filter(|need| makes && need.on.kind == ScopeKind::Repository) {
        let Repository { project, location, name } = Repository::of(&need.on);
        let line = format!(
            "gcloud artifacts repositories create {name} --repository-format docker --location {location} --project {project}"
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

const REPOSITORY_FIRST: &str = "# Nothing can be bound to a repository that is not there: make it first, if it is not";

fn heading(grant: &Grant) -> String {
    format!("# {} of {}: {}", grant.on, grant.who.name(), grant.permissions.join(", "))
}

fn yaml(table: &Table, role: Option<&Custom>, rest: &[Grant], repositories: &[String]) -> String {
    let mut lines = Vec::new();
    match role {
        Some(Custom { id, title, permissions, on, member }) => {
            let project = &table.project;
            lines.push(format!("# gcloud iam roles create {id} --project {project} --file role.yaml"));
            lines.push(format!("# {}", command(table, on, member, &format!("projects/{project}/roles/{id}"))));
            lines.push(format!("title: {}", quoted(title)));
            lines.push("stage: GA".to_owned());
            lines.push("includedPermissions:".to_owned());
            lines.extend(permissions.iter().map(|permission| format!("- {permission}")));
        }
        None => lines.push("# nothing is needed of the project itself, so that there is no role to make".to_owned()),
    }
    if !rest.is_empty() {
        lines.push("#".to_owned());
        lines.push("# Not in a role of the project, which would give it for all of their kind:".to_owned());
        for grant in rest {
            lines.push(heading(grant));
            lines.push(format!("#   {}", grant.command));
        }
    }
    if !repositories.is_empty() {
        lines.push(REPOSITORY_FIRST.to_owned());
        lines.extend(repositories.iter().map(|command| format!("#   {command}")));
    }
    lines.join("\n")
}

fn gcloud(table: &Table, role: Option<&Custom>, rest: &[Grant], repositories: &[String]) -> String {
    let mut lines = Vec::new();
    if let Some(Custom { id, title, permissions, on, member }) = role {
        let project = &table.project;
        lines.push(format!("# {on} of {}; once more with `update` in place of `create`", Who::Deployer.name()));
        lines.push(format!(
            "gcloud iam roles create {id} --project {project} --title '{title}' --stage GA --permissions {}",
            permissions.join(",")
        ));
        lines.push(command(table, on, member, &format!("projects/{project}/roles/{id}")));
    }
    if !repositories.is_empty() {
        lines.push(REPOSITORY_FIRST.to_owned());
        lines.extend(repositories.iter().map(|command| format!("# {command}")));
    }
    for grant in rest {
        lines.push(heading(grant));
        lines.push(grant.command.clone());
    }
    lines.join("\n")
}

/// <https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/google_project_iam_custom_role> and
/// the `_iam_member` resources, which leave the other members of a role alone.
fn terraform(table: &Table, role: Option<&Custom>, rest: &[Grant]) -> String {
    let mut blocks = Vec::new();
    if let Some(Custom { id, title, permissions, on, member }) = role {
        let label = label(&title.replace(": ", "_"));
        let list: Vec<String> = permissions.iter().map(|name| format!("    {},", quoted(name))).collect();
        blocks.push(format!(
            "resource \"google_project_iam_custom_role\" \"{label}\" {{\n  project = {}\n  role_id = {}\n  title   = {}\n\n  permissions = [\n{}\n  ]\n}}",
            quoted(&table.project),
            quoted(id),
            quoted(title),
            list.join("\n")
        ));
        blocks.push(format!(
            "resource \"google_project_iam_member\" \"{label}\" {{\n  project = {}\n  role    = google_project_iam_custom_role.{label}.name\n  member  = {}\n}}",
            quoted(&on.name),
            quoted(member)
        ));
    }
    for grant in rest {
        blocks.push(binding(table, grant));
    }
    blocks.join("\n\n")
}

fn binding(table: &Table, grant: &Grant) -> String {
    let (kind, place): (_, Vec<(&str, String)>) = match grant.on.kind {
        ScopeKind::Project | ScopeKind::Service | ScopeKind::Job => {
            ("google_project_iam_member", vec![("project", grant.on.name.clone())])
        }
        ScopeKind::ServiceAccount => {
            let email = &grant.on.name;
            let id = format!("projects/{}/serviceAccounts/{email}", place::account_project(table, email));
            ("google_service_account_iam_member", vec![("service_account_id", id)])
        }
        ScopeKind::Repository => {
            let Repository { project, location, name } = Repository::of(&grant.on);
            let place = vec![("project", project), ("location", location), ("repository", name)];
            ("google_artifact_registry_repository_iam_member", place)
        }
        ScopeKind::Secret => {
            let (project, name) = place::secret(table, &grant.on.name);
            let place = vec![("project", project.to_owned()), ("secret_id", name.to_owned())];
            ("google_secret_manager_secret_iam_member", place)
        }
    };
    let label = label(&format!(
        "carrack_{}_{}_{}",
        who(grant.who),
        grant.role.trim_start_matches("roles/"),
        grant.on.name.rsplit('/').next().unwrap_or_default()
    ));
    let rest = [("role", grant.role.clone()), ("member", grant.member.clone())];
    let width = place.iter().chain(&rest).map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        place.iter().chain(&rest).map(|(key, value)| format!("  {key:<width$} = {}", quoted(value))).collect();
    format!("resource \"{kind}\" \"{label}\" {{\n{}\n}}", lines.join("\n"))
}

const fn who(who: Who) -> &'static str {
    match who {
        Who::Deployer => "deployer",
        Who::Runtime => "runtime",
        Who::Cloud => "cloud",
    }
}

/// <https://developer.hashicorp.com/terraform/language/syntax/configuration#identifiers>
fn label(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// A string of JSON is one of YAML and, without templates, of Terraform.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${").replace("%{", "%%{")).to_string()
}
