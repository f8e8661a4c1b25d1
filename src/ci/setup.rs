//! What an owner does once: a pool that trusts one repository, two accounts, and what each of them may do.
use super::{Host, Names};

/// For whom.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Who gives the identity.
    pub host: Host,
    /// `OWNER/NAME`; a GitLab project may have more groups above.
    pub repository: &'a str,
    /// What is merged here is deployed.
    pub branch: &'a str,
    /// Of the tokens, when the host is one's own.
    pub issuer: Option<&'a str>,
    /// What pool and accounts are called.
    pub names: &'a Names,
    /// The project.
    pub project: &'a str,
    /// Where images are: location, project and name; `None` when no registry of Google's has them.
    pub images: Option<[String; 3]>,
    /// Whether images are pushed, or only read.
    pub builds: bool,
    /// The account that the service runs as; `None` is the default one.
    pub runtime: Option<&'a str>,
    /// Whether a deploy opens the service to anyone.
    pub public: bool,
    /// The secrets that the file names.
    pub secrets: &'a [String],
}

/// One role for one of the two accounts.
pub(super) struct Grant {
    pub(super) to: Account,
    pub(super) role: &'static str,
    pub(super) on: On,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    Plan,
    Deploy,
}

pub(super) enum On {
    Project,
    Images,
    Runtime,
    Secret(String),
}

impl Setup<'_> {
    /// <https://docs.github.com/en/actions/reference/security/oidc>,
    /// <https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload>
    pub(super) fn issuer(&self) -> &str {
        self.issuer.unwrap_or(match self.host {
            Host::GitHub => "https://token.actions.githubusercontent.com",
            Host::GitLab => "https://gitlab.com",
        })
    }

    /// From the token to what members are named by.
    pub(super) const fn mapping(&self) -> &'static [(&'static str, &'static str)] {
        match self.host {
            Host::GitHub => &[
                ("google.subject", "assertion.sub"),
                ("attribute.repository", "assertion.repository"),
                ("attribute.workflow_ref", "assertion.workflow_ref"),
            ],
            Host::GitLab => {
                &[("google.subject", "assertion.sub"), ("attribute.project_path", "assertion.project_path")]
            }
        }
    }

    /// Everybody's repositories get tokens of the same issuer.
    /// <https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions>
    pub(super) fn condition(&self) -> String {
        let claim = match self.host {
            Host::GitHub => "repository",
            Host::GitLab => "project_path",
        };
        format!("assertion.{claim} == '{}'", self.repository)
    }

    /// Who may be an account, behind `principal…://iam.googleapis.com/POOL/`.
    /// GitHub's `sub` is no place for a name: since July 2026 it has numbers in it that the name does not tell.
    /// <https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens/>
    pub(super) fn member(&self, account: Account, pool: &str) -> String {
        let Self { host, repository, branch, .. } = self;
        let (kind, who) = match (host, account) {
            (Host::GitHub, Account::Plan) => ("principalSet", format!("attribute.repository/{repository}")),
            (Host::GitHub, Account::Deploy) => (
                "principalSet",
                format!("attribute.workflow_ref/{repository}/.github/workflows/carrack.yml@refs/heads/{branch}"),
            ),
            (Host::GitLab, Account::Plan) => ("principalSet", format!("attribute.project_path/{repository}")),
            (Host::GitLab, Account::Deploy) => {
                ("principal", format!("subject/project_path:{repository}:ref_type:branch:ref:{branch}"))
            }
        };
        format!("{kind}://iam.googleapis.com/{pool}/{who}")
    }

    /// The least roles: <https://cloud.google.com/run/docs/reference/iam/roles>,
    /// <https://cloud.google.com/artifact-registry/docs/access-control#roles>.
    pub(super) fn grants(&self) -> Vec<Grant> {
        use Account::{Deploy, Plan};
        let grant = |to, role, on| Grant { to, role, on };
        let mut grants = vec![
            grant(Plan, "roles/run.viewer", On::Project),
            // The developer's role cannot open a service.
            grant(Deploy, if self.public { "roles/run.admin" } else { "roles/run.developer" }, On::Project),
            // A deploy that fails shows the container's last lines.
            grant(Deploy, "roles/logging.viewer", On::Project),
            grant(Deploy, "roles/iam.serviceAccountUser", On::Runtime),
        ];
        if self.images.is_some() {
            let plan = if self.builds { "roles/artifactregistry.writer" } else { "roles/artifactregistry.reader" };
            grants.push(grant(Plan, plan, On::Images));
            grants.push(grant(Deploy, "roles/artifactregistry.reader", On::Images));
        }
        for secret in self.secrets {
            // Names and versions, no values.
            for to in [Plan, Deploy] {
                grants.push(grant(to, "roles/secretmanager.viewer", On::Secret(secret.clone())));
            }
        }
        grants
    }
}

/// A script of gcloud's commands; what is there already stays.
pub fn gcloud(setup: &Setup<'_>) -> String {
    let Setup { host, repository, branch, names, project, .. } = setup;
    let (pool, provider) = (names.pool(), host.name());
    let mapping: Vec<_> = setup.mapping().iter().map(|(to, from)| format!("{to}={from}")).collect();
    let mut text = format!(
        "\
#!/bin/sh
# Lets the pipeline of {repository} plan and deploy without a key. Written by `carrack ci setup {provider}`.
# An owner of {project} runs it once; a second run changes nothing.
set -eu
project={project}
number=$(gcloud projects describe \"$project\" --format 'value(projectNumber)')
pool=projects/$number/locations/global/workloadIdentityPools/{pool}
plan={plan}
deploy={deploy}

gcloud services enable --project \"$project\" \\
  iam.googleapis.com iamcredentials.googleapis.com sts.googleapis.com cloudresourcemanager.googleapis.com \\
  run.googleapis.com artifactregistry.googleapis.com secretmanager.googleapis.com logging.googleapis.com

# Who is trusted: tokens of that issuer, for that repository alone.
gcloud iam workload-identity-pools describe {pool} --project \"$project\" --location global >/dev/null 2>&1 ||
  gcloud iam workload-identity-pools create {pool} --project \"$project\" --location global --display-name Carrack
gcloud iam workload-identity-pools providers describe {provider} --project \"$project\" --location global \\
  --workload-identity-pool {pool} >/dev/null 2>&1 ||
  gcloud iam workload-identity-pools providers create-oidc {provider} --project \"$project\" --location global \\
    --workload-identity-pool {pool} --issuer-uri {issuer} \\
    --attribute-mapping {mapping} \\
    --attribute-condition \"{condition}\"

# The two accounts: one for any branch, one for {branch} alone.
for account in \"$plan\" \"$deploy\"; do
  gcloud iam service-accounts describe \"$account\" --project \"$project\" >/dev/null 2>&1 ||
    gcloud iam service-accounts create \"${{account%%@*}}\" --project \"$project\" --display-name 'Carrack, for {repository}'
done
gcloud iam service-accounts add-iam-policy-binding \"$plan\" --project \"$project\" --role roles/iam.workloadIdentityUser \\
  --member \"{any}\"
gcloud iam service-accounts add-iam-policy-binding \"$deploy\" --project \"$project\" --role roles/iam.workloadIdentityUser \\
  --member \"{main}\"

# What they may do.
",
        plan = names.plan_account(),
        deploy = names.deploy_account(),
        issuer = setup.issuer(),
        mapping = mapping.join(","),
        condition = setup.condition(),
        any = setup.member(Account::Plan, "$pool"),
        main = setup.member(Account::Deploy, "$pool"),
    );
    if let Some([location, images_project, name]) = &setup.images {
        text += &format!(
            "\
gcloud artifacts repositories describe {name} --project {images_project} --location {location} >/dev/null 2>&1 ||
  gcloud artifacts repositories create {name} --project {images_project} --location {location} --repository-format docker
"
        );
    }
    for grant in setup.grants() {
        text += &command(setup, &grant);
    }
    text + &format!(
        "
# What the pipeline has to know; it is no secret.
echo \"CARRACK_FEDERATION_PROVIDER=$pool/providers/{provider}\"
"
    )
}

fn command(setup: &Setup<'_>, grant: &Grant) -> String {
    let on = match &grant.on {
        On::Project => "projects add-iam-policy-binding \"$project\" --condition None".to_owned(),
        On::Images => {
            let [location, project, name] = setup.images.clone().unwrap_or_default();
            format!("artifacts repositories add-iam-policy-binding {name} --project {project} --location {location}")
        }
        On::Runtime => {
            let account = setup.runtime.unwrap_or("$number-compute@developer.gserviceaccount.com");
            format!("iam service-accounts add-iam-policy-binding \"{account}\" --project \"$project\"")
        }
        On::Secret(name) => match secret(name) {
            (Some(project), name) => format!("secrets add-iam-policy-binding {name} --project {project}"),
            (None, name) => format!("secrets add-iam-policy-binding {name} --project \"$project\""),
        },
    };
    let who = match grant.to {
        Account::Plan => "$plan",
        Account::Deploy => "$deploy",
    };
    format!("gcloud {on} \\\n  --member \"serviceAccount:{who}\" --role {} --quiet >/dev/null\n", grant.role)
}

/// A secret of another project is named whole.
pub(super) fn secret(name: &str) -> (Option<&str>, &str) {
    let parts: Vec<_> = name.split('/').collect();
    match parts.as_slice() {
        ["projects", project, "secrets", name] => (Some(project), name),
        _ => (None, name),
    }
}
