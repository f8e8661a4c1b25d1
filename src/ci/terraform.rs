//! The same set-up for Terraform: <https://registry.terraform.io/providers/hashicorp/google/latest/docs>.
use carrack_core::permission::{Grant, ScopeKind, Who};

use super::{
    artifact_registry,
    setup::{Account, NUMBER, Setup},
};

/// One file of resources.
pub fn terraform(setup: &Setup<'_>) -> String {
    let (pool, host) = (setup.names.pool(), setup.host.name());
    let mapping: String = setup.mapping().iter().map(|(to, from)| format!("    \"{to}\" = \"{from}\"\n")).collect();
    let local = "${google_iam_workload_identity_pool.carrack.name}";
    let mut text = format!(
        "\
# Lets the pipeline of {repository} plan and deploy without a key. Written by `carrack ci setup {host} --as terraform`.

data \"google_project\" \"carrack\" {{
  project_id = \"{project}\"
}}

# Who is trusted: tokens of that issuer, for that repository alone.
resource \"google_iam_workload_identity_pool\" \"carrack\" {{
  project                   = \"{project}\"
  workload_identity_pool_id = \"{pool}\"
  display_name              = \"Carrack\"
}}

resource \"google_iam_workload_identity_pool_provider\" \"carrack\" {{
  project                            = \"{project}\"
  workload_identity_pool_id          = google_iam_workload_identity_pool.carrack.workload_identity_pool_id
  workload_identity_pool_provider_id = \"{host}\"
  attribute_condition                = \"{condition}\"
  attribute_mapping = {{
{mapping}  }}
  oidc {{
    issuer_uri = \"{issuer}\"
  }}
}}

# The two accounts: one for any branch, one for {branch} alone.
resource \"google_service_account\" \"carrack_plan\" {{
  project    = \"{project}\"
  account_id = \"{pool}-plan\"
}}

resource \"google_service_account\" \"carrack_deploy\" {{
  project    = \"{project}\"
  account_id = \"{pool}-deploy\"
}}

resource \"google_service_account_iam_member\" \"carrack_plan_identity\" {{
  service_account_id = google_service_account.carrack_plan.name
  role               = \"roles/iam.workloadIdentityUser\"
  member             = \"{any}\"
}}

resource \"google_service_account_iam_member\" \"carrack_deploy_identity\" {{
  service_account_id = google_service_account.carrack_deploy.name
  role               = \"roles/iam.workloadIdentityUser\"
  member             = \"{main}\"
}}

# What they may do.
",
        repository = setup.repository,
        project = setup.project,
        branch = setup.branch,
        condition = setup.condition(),
        issuer = setup.issuer(),
        any = setup.member(Account::Plan, local),
        main = setup.member(Account::Deploy, local),
    );
    if let Some([location, project, name]) = &setup.images {
        text += &format!(
            "\
resource \"google_artifact_registry_repository\" \"carrack\" {{
  project       = \"{project}\"
  location      = \"{location}\"
  repository_id = \"{name}\"
  format        = \"DOCKER\"
}}

"
        );
    }
    for account in Account::BOTH {
        text += &rights(setup, account);
    }
    text + "\
# What the pipeline has to know; it is no secret.
output \"CARRACK_FEDERATION_PROVIDER\" {
  value = google_iam_workload_identity_pool_provider.carrack.name
}
"
}

fn rights(setup: &Setup<'_>, account: Account) -> String {
    let (permissions, grants) = setup.rights(account);
    let (name, role, project, repository) = (account.name(), setup.role(account), setup.project, setup.repository);
    let permissions: String = permissions.iter().map(|permission| format!("    \"{permission}\",\n")).collect();
    let mut text = format!(
        "\
resource \"google_project_iam_custom_role\" \"carrack_{name}\" {{
  project = \"{project}\"
  role_id = \"{role}\"
  title   = \"Carrack: {name} for {repository}\"
  permissions = [
{permissions}  ]
}}

resource \"google_project_iam_member\" \"carrack_{name}\" {{
  project = \"{project}\"
  role    = google_project_iam_custom_role.carrack_{name}.name
  member  = google_service_account.carrack_{name}.member
}}

"
    );
    for (number, grant) in grants.iter().enumerate() {
        let one = binding(setup, account, grant, number + 1);
        text += &match setup.elsewhere(grant) {
            Some(other) => {
                let lines: String = one.trim_end().lines().map(|line| format!("# {line}\n")).collect();
                format!("# If the image is not public, an owner of {other} applies:\n{lines}\n")
            }
            None => one,
        };
    }
    text
}

fn binding(setup: &Setup<'_>, account: Account, grant: &Grant, number: usize) -> String {
    let name = account.name();
    let numbered = |text: &str| text.replace(NUMBER, "${data.google_project.carrack.number}");
    let member = match grant.who {
        Who::Deployer => format!("google_service_account.carrack_{name}.member"),
        Who::Runtime | Who::Cloud => format!("\"{}\"", numbered(&grant.member)),
    };
    let (kind, place) = match grant.on.kind {
        ScopeKind::Project | ScopeKind::Service | ScopeKind::Job => {
            ("google_project_iam_member", vec![("project", setup.project.to_owned())])
        }
        ScopeKind::ServiceAccount => {
            // An account may be another project's; `-` stands for the one that its address names.
            // <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/setIamPolicy>
            let id = format!("projects/-/serviceAccounts/{}", numbered(&grant.on.name));
            ("google_service_account_iam_member", vec![("service_account_id", id)])
        }
        ScopeKind::Repository => {
            let [location, project, repository] = artifact_registry(&grant.on.name).unwrap_or_default();
            let place = vec![("project", project), ("location", location), ("repository", repository)];
            ("google_artifact_registry_repository_iam_member", place)
        }
        ScopeKind::Secret => {
            let (project, secret) = match grant.on.name.split('/').collect::<Vec<_>>().as_slice() {
                ["projects", project, "secrets", secret] => ((*project).to_owned(), (*secret).to_owned()),
                _ => (setup.project.to_owned(), grant.on.name.clone()),
            };
            ("google_secret_manager_secret_iam_member", vec![("project", project), ("secret_id", secret)])
        }
    };
    let place: String = place.iter().map(|(key, value)| format!("  {key} = \"{value}\"\n")).collect();
    // Nothing can be bound to a repository before it is there.
    let after = match (grant.on.kind, &setup.images) {
        (ScopeKind::Repository, Some(_)) => "  depends_on = [google_artifact_registry_repository.carrack]\n",
        _ => "",
    };
    format!(
        "\
resource \"{kind}\" \"carrack_{name}_{number}\" {{
{place}  role = \"{role}\"
  member = {member}
{after}}}

",
        role = grant.role
    )
}
