//! The same set-up for Terraform: <https://registry.terraform.io/providers/hashicorp/google/latest/docs>.
use super::setup::{Account, Grant, On, Setup, secret};

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
    for (number, grant) in setup.grants().iter().enumerate() {
        text += &resource(setup, grant, number + 1);
    }
    text + "\
# What the pipeline has to know; it is no secret.
output \"CARRACK_FEDERATION_PROVIDER\" {
  value = google_iam_workload_identity_pool_provider.carrack.name
}
"
}

fn resource(setup: &Setup<'_>, grant: &Grant, number: usize) -> String {
    let who = match grant.to {
        Account::Plan => "carrack_plan",
        Account::Deploy => "carrack_deploy",
    };
    let (kind, on) = match &grant.on {
        On::Project => ("google_project_iam_member", format!("  project = \"{}\"\n", setup.project)),
        On::Images => (
            "google_artifact_registry_repository_iam_member",
            ["project", "location", "repository_id"]
                .map(|key| {
                    let from = if key == "repository_id" { "name" } else { key };
                    let key = if key == "repository_id" { "repository" } else { key };
                    format!("  {key} = google_artifact_registry_repository.carrack.{from}\n")
                })
                .concat(),
        ),
        On::Runtime => {
            let account = setup
                .runtime
                .map_or("${data.google_project.carrack.number}-compute@developer.gserviceaccount.com", |account| {
                    account
                });
            let id = format!("projects/{}/serviceAccounts/{account}", setup.project);
            ("google_service_account_iam_member", format!("  service_account_id = \"{id}\"\n"))
        }
        On::Secret(name) => {
            let (project, name) = secret(name);
            let project = project.unwrap_or(setup.project);
            (
                "google_secret_manager_secret_iam_member",
                format!("  project = \"{project}\"\n  secret_id = \"{name}\"\n"),
            )
        }
    };
    format!(
        "\
resource \"{kind}\" \"{who}_{number}\" {{
{on}  role = \"{role}\"
  member = google_service_account.{who}.member
}}

",
        role = grant.role
    )
}
