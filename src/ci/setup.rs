//! What an owner does once: a pool that trusts one repository, two accounts, and what each of them may do.
use carrack_core::permission::{Grant, Members, Need, PermissionTable, ScopeKind, Subject, Task, Who, together};

use super::{Host, Names, artifact_registry};

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
    /// Where images are: location, project and name; `None` when that is not in the project.
    pub images: Option<[String; 3]>,
    /// The account that the service runs as; `None` is the default one.
    pub runtime: Option<&'a str>,
    /// What permissions are called.
    pub table: &'a dyn PermissionTable,
    /// What the account that plans needs.
    pub plan: Vec<Need>,
    /// What the account that deploys needs, and the service's own.
    pub deploy: Vec<Need>,
}

/// Stands for the project's number, which no file says.
pub(super) const NUMBER: &str = "PROJECT_NUMBER";

/// What the tasks need of a pipeline: not to make the repository of images, which the set-up does.
pub fn needs(table: &dyn PermissionTable, tasks: &[Task], subject: &Subject<'_>) -> Vec<Need> {
    let mut needs = together(tasks.iter().map(|task| table.needs(*task, subject)));
    // A later deploy runs as the account that is live, and only the first one's is known here.
    needs.retain(|need| need.permission != "artifactregistry.repositories.create" && need.on.name != UNKNOWN_ACCOUNT);
    needs
}

/// Stands for an account that the file does not name.
const UNKNOWN_ACCOUNT: &str = "SERVICE_ACCOUNT";

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    Plan,
    Deploy,
}

impl Account {
    pub(super) const BOTH: [Self; 2] = [Self::Plan, Self::Deploy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Deploy => "deploy",
        }
    }
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
            Host::GitLab => &[
                ("google.subject", "assertion.sub"),
                ("attribute.project_path", "assertion.project_path"),
                ("attribute.ref", "assertion.ref"),
                ("attribute.ref_type", "assertion.ref_type"),
                ("attribute.ref_protected", "assertion.ref_protected"),
                ("attribute.pipeline_source", "assertion.pipeline_source"),
                // A member is named by one attribute. No part of it can have a `:` in its name.
                (
                    "attribute.deploy",
                    "assertion.project_path + ':' + assertion.ref_type + ':' + assertion.ref + ':' + assertion.ref_protected + ':' + assertion.pipeline_source",
                ),
            ],
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

    /// Who may be an account, behind `principalSet://iam.googleapis.com/POOL/`.
    /// GitHub's `sub` is no place for a name: since July 2026 it has numbers in it that the name does not tell.
    /// <https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens/>
    /// Nor is GitLab's: a merge request from a fork's branch `main` has, when a member runs its pipeline in the
    /// parent, the `sub` of the parent's `main`, and the fork's jobs.
    /// <https://docs.gitlab.com/ci/pipelines/merge_request_pipelines/#run-pipelines-in-the-parent-project>
    pub(super) fn member(&self, account: Account, pool: &str) -> String {
        let Self { host, repository, branch, .. } = self;
        let who = match (host, account) {
            (Host::GitHub, Account::Plan) => format!("repository/{repository}"),
            (Host::GitHub, Account::Deploy) => {
                format!("workflow_ref/{repository}/.github/workflows/carrack.yml@refs/heads/{branch}")
            }
            (Host::GitLab, Account::Plan) => format!("project_path/{repository}"),
            (Host::GitLab, Account::Deploy) => format!("deploy/{repository}:branch:{branch}:true:push"),
        };
        format!("principalSet://iam.googleapis.com/{pool}/attribute.{who}")
    }

    /// A role of the project of one's own has precisely what is needed of the project and of services, which need not
    /// be there yet; of each other thing the least role that Google has ready.
    pub(super) fn rights(&self, account: Account) -> (Vec<&str>, Vec<Grant>) {
        let (needs, email) = match account {
            Account::Plan => (&self.plan, self.names.plan_account()),
            Account::Deploy => (&self.deploy, self.names.deploy_account()),
        };
        let of_project =
            |need: &&Need| need.who == Who::Deployer && matches!(need.on.kind, ScopeKind::Project | ScopeKind::Service);
        let mut permissions: Vec<&str> = needs.iter().filter(of_project).map(|need| need.permission.as_str()).collect();
        permissions.sort_unstable();
        permissions.dedup();
        let rest: Vec<Need> = needs.iter().filter(|need| !of_project(need)).cloned().collect();
        let member = format!("serviceAccount:{email}");
        let members = Members { deployer: Some(&member), runtime: self.runtime };
        (permissions, self.table.grants(&rest, members))
    }

    /// The other project that this is a right in, which an owner of this one cannot give.
    pub(super) fn elsewhere(&self, grant: &Grant) -> Option<String> {
        let place = (grant.on.kind == ScopeKind::Repository).then(|| artifact_registry(&grant.on.name)).flatten();
        place.map(|[_, project, _]| project).filter(|project| project != self.project)
    }

    /// The role's id: letters and digits. <https://cloud.google.com/iam/docs/creating-custom-roles>
    pub(super) fn role(&self, account: Account) -> String {
        let words = self.names.pool().split('-').chain([account.name()]);
        let capital = |word: &str| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + rest
        };
        let id = words.map(capital).collect::<String>();
        let (first, rest) = id.split_at(1);
        first.to_ascii_lowercase() + rest
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
    --attribute-mapping \"{mapping}\" \\
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
role() {{
  if gcloud iam roles describe \"$1\" --project \"$project\" >/dev/null 2>&1; then verb=update; else verb=create; fi
  gcloud iam roles \"$verb\" \"$1\" --project \"$project\" --title \"$2\" --stage GA --permissions \"$3\" --quiet >/dev/null
}}
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
    for account in Account::BOTH {
        let (permissions, grants) = setup.rights(account);
        let (name, role) = (account.name(), setup.role(account));
        text += &format!(
            "\
role {role} 'Carrack: {name} for {repository}' \\
  {permissions}
gcloud projects add-iam-policy-binding \"$project\" --condition None --quiet \\
  --member \"serviceAccount:${name}\" --role \"projects/$project/roles/{role}\" >/dev/null
",
            permissions = permissions.join(","),
        );
        for grant in &grants {
            let command = grant.command.replace(NUMBER, "$number");
            text += &match setup.elsewhere(grant) {
                Some(other) => format!("# If the image is not public, an owner of {other} runs:\n# {command}\n"),
                None => format!("{command} --quiet >/dev/null\n"),
            };
        }
    }
    text + &format!(
        "
# What the pipeline has to know; it is no secret.
echo \"CARRACK_FEDERATION_PROVIDER=$pool/providers/{provider}\"
"
    )
}
