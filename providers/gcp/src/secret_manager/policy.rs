//! Who may read a value, and letting somebody: <https://cloud.google.com/secret-manager/docs/access-control>.
use carrack_core::{Error, ErrorKind, Result, event::Ctx, secret::Reader};
use carrack_http::Request;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{self, TRIES, request, send},
    names::SecretName,
};
use crate::{CloudRun, error::classify};

const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// The predefined roles that hold `secretmanager.versions.access`; `roles/editor` does not.
/// <https://cloud.google.com/iam/docs/roles-permissions/secretmanager>
const READERS: [&str; 3] = [ACCESSOR, "roles/secretmanager.admin", "roles/owner"];

/// <https://cloud.google.com/resource-manager/reference/rest/v1/projects>
const PROJECTS: &str = "https://cloudresourcemanager.googleapis.com/v1/projects";

/// What a policy says of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Yes,
    No,
    /// It depends on what is not in it: who is in a group, what a custom role holds, a condition.
    Depends,
}

fn says(policy: &Value, account: &str) -> Says {
    let own = member(account);
    let mut answer = Says::No;
    for binding in policy["bindings"].as_array().into_iter().flatten() {
        let role = binding["role"].as_str().unwrap_or_default();
        // A project's or an organisation's own: `projects/p/roles/r`.
        let custom = !role.starts_with("roles/");
        if !custom && !READERS.contains(&role) {
            continue;
        }
        let members = || binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let named = members().any(|it| it == own || matches!(it, "allUsers" | "allAuthenticatedUsers"));
        let gathered = members()
            .any(|it| ["group:", "domain:", "principalSet:", "projectOwner:"].iter().any(|kind| it.starts_with(kind)));
        let conditional = binding.get("condition").is_some();
        match (named, gathered) {
            (true, _) if !custom && !conditional => return Says::Yes,
            (true, _) | (_, true) => answer = Says::Depends,
            (false, false) => {}
        }
    }
    answer
}

/// With its kind, which a service account may go without.
fn member(account: &str) -> String {
    if account.contains(':') { account.to_owned() } else { format!("serviceAccount:{account}") }
}

/// The answer, or in words why the cloud gives none. A cloud that does not answer at all is an error, and so is a secret
/// that is not there.
fn asked<T>(answer: Result<T>) -> Result<Result<T, String>> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unclassified) => {
            Ok(Err(error.message().to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// The own project's number; where the project may not be asked, any secret of it tells.
async fn number(provider: &CloudRun, cx: &Ctx, name: &SecretName) -> Result<String> {
    let error = match provider.number(cx).await {
        Ok(number) => return Ok(number),
        Err(error) => error,
    };
    if name.own && matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unclassified) {
        // The answer's name has it.
        client::secret(provider, cx, name).await?;
    }
    provider.number.get().cloned().ok_or(error)
}

pub(super) async fn reader(provider: &CloudRun, cx: &Ctx, name: &SecretName, account: Option<&str>) -> Result<Reader> {
    let account = match account {
        Some(account) => account.to_owned(),
        None => match asked(number(provider, cx, name).await)? {
            // https://cloud.google.com/run/docs/configuring/services/service-identity
            Ok(number) => format!("{number}-compute@developer.gserviceaccount.com"),
            Err(why) => {
                let account = format!("the default compute service account of project `{}`", provider.project);
                return Ok(Reader { account, may: Err(format!("the project's number could not be asked: {why}")) });
            }
        },
    };
    let own = asked(get(provider, cx, name).await)?;
    let own_says = own.as_ref().map(|policy| says(policy, &account));
    if own_says == Ok(Says::Yes) {
        return Ok(Reader { account, may: Ok(true) });
    }
    let above = asked(project_policy(provider, cx, &name.project).await)?;
    let above_says = above.as_ref().map(|policy| says(policy, &account));
    let may = match (own_says, above_says) {
        (_, Ok(Says::Yes)) => Ok(true),
        (Ok(Says::No), Ok(Says::No)) => Ok(false),
        (Err(why), _) => Err(format!("the secret's policy could not be read: {why}")),
        (_, Err(why)) => Err(format!("the secret's policy does not say, and the project's could not be read: {why}")),
        (Ok(_), Ok(_)) => Err("it depends on a group, a condition or a custom role".to_owned()),
    };
    Ok(Reader { account, may })
}

async fn get(provider: &CloudRun, cx: &Ctx, name: &SecretName) -> Result<Value> {
    let call = request(provider, Method::GET, &format!("{}:getIamPolicy", name.full()));
    send(provider, cx, name, call.query("options.requestedPolicyVersion", "3")).await?.json()
}

async fn project_policy(provider: &CloudRun, cx: &Ctx, project: &str) -> Result<Value> {
    let call = Request::new(Method::POST, format!("{PROJECTS}/{project}:getIamPolicy"))
        .bearer(&provider.token)
        .classify(classify)
        .json(&json!({ "options": { "requestedPolicyVersion": 3 } }))?
        .idempotent();
    // A project that is not there, and one that may not be seen, are the same to Google.
    let denied = |error: Error| {
        if error.kind() == ErrorKind::NotFound { error.with_kind(ErrorKind::PermissionDenied) } else { error }
    };
    provider.http.send(cx, call).await.map_err(denied)?.json()
}

impl CloudRun {
    /// Keeps the number of the own project, which every answer about a secret of it has in its name.
    pub(super) fn learn_number(&self, name: &str) {
        if let Some(number) = name.split('/').nth(1).filter(|number| is_number(number)) {
            // Whoever was first had the same.
            let _ = self.number.set(number.to_owned());
        }
    }

    /// The number of the own project.
    pub(crate) async fn number(&self, cx: &Ctx) -> Result<String> {
        if is_number(&self.project) {
            return Ok(self.project.clone());
        }
        let ask = async || {
            let call = Request::new(Method::GET, format!("{PROJECTS}/{}", self.project)).bearer(&self.token);
            let project: Value = self.http.send(cx, call.classify(classify)).await?.json()?;
            let number = project["projectNumber"].as_str().map(str::to_owned);
            number.ok_or_else(|| Error::new(ErrorKind::Unclassified, "the project has no number"))
        };
        self.number.get_or_try_init(ask).await.cloned()
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The policy with `account` as a reader; `None` when it is one already.
fn with_reader(policy: &Value, account: &str) -> Option<Value> {
    let own = member(account);
    let is_ours = |binding: &Value| binding["role"] == ACCESSOR && binding.get("condition").is_none();
    let mut policy = if policy.is_object() { policy.clone() } else { json!({}) };
    let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
    match bindings.iter_mut().find(|binding| is_ours(binding)) {
        Some(binding) => {
            let mut members = binding["members"].as_array().cloned().unwrap_or_default();
            if members.iter().any(|known| known == own.as_str()) {
                return None;
            }
            members.push(json!(own));
            binding["members"] = Value::Array(members);
        }
        None => bindings.push(json!({ "role": ACCESSOR, "members": [own] })),
    }
    policy["bindings"] = Value::Array(bindings);
    Some(policy)
}

/// Read, change, write, as long as others do the same: <https://cloud.google.com/iam/docs/policies#etag>
pub(super) async fn grant(provider: &CloudRun, cx: &Ctx, name: &SecretName, account: &str) -> Result<bool> {
    let mut tries = 1;
    loop {
        let Some(policy) = with_reader(&get(provider, cx, name).await?, account) else { return Ok(false) };
        let call = request(provider, Method::POST, &format!("{}:setIamPolicy", name.full()));
        match send(provider, cx, name, call.json(&json!({ "policy": policy }))?).await {
            Err(error) if (error.kind() == ErrorKind::Conflict || error.is_uncertain()) && tries < TRIES => tries += 1,
            answer => return answer.map(|_| true),
        }
    }
}

pub(super) fn command(name: &SecretName, account: &str) -> String {
    let SecretName { project, id, .. } = name;
    format!(
        "gcloud secrets add-iam-policy-binding {id} --project {project} --member={} --role={ACCESSOR}",
        member(account)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "run@p.iam.gserviceaccount.com";

    fn bound(role: &str, member: &str, condition: bool) -> Value {
        let mut binding = json!({ "role": role, "members": ["user:a@example.com", member] });
        if condition {
            binding["condition"] = json!({ "expression": "true" });
        }
        json!({ "bindings": [{ "role": "roles/viewer", "members": [format!("serviceAccount:{ACCOUNT}")] }, binding] })
    }

    #[test]
    fn a_policy_says_who_reads() {
        let own = format!("serviceAccount:{ACCOUNT}");
        for (role, who, condition, expected) in [
            (ACCESSOR, own.as_str(), false, Says::Yes),
            ("roles/secretmanager.admin", &own, false, Says::Yes),
            ("roles/owner", &own, false, Says::Yes),
            (ACCESSOR, "allAuthenticatedUsers", false, Says::Yes),
            ("roles/editor", &own, false, Says::No),
            ("roles/secretmanager.viewer", &own, false, Says::No),
            (ACCESSOR, "serviceAccount:other@p.iam", false, Says::No),
            (ACCESSOR, &format!("user:{ACCOUNT}"), false, Says::No),
            (ACCESSOR, &own, true, Says::Depends),
            (ACCESSOR, "group:all@example.com", false, Says::Depends),
            ("projects/p/roles/reads", &own, false, Says::Depends),
            ("projects/p/roles/reads", "user:b@example.com", false, Says::No),
        ] {
            assert_eq!(says(&bound(role, who, condition), ACCOUNT), expected, "{role} {who} {condition}");
        }
        assert_eq!(says(&json!({ "etag": "ACAB" }), ACCOUNT), Says::No);
    }

    #[test]
    fn a_grant_is_one_member_more_and_all_else_stays() {
        let own = format!("serviceAccount:{ACCOUNT}");
        let first = with_reader(&json!({ "etag": "ACAB" }), ACCOUNT).expect("new");
        assert_eq!(first, json!({ "etag": "ACAB", "bindings": [{ "role": ACCESSOR, "members": [own] }] }));
        assert_eq!(with_reader(&first, ACCOUNT), None);
        let second = with_reader(&first, "user:b@example.com").expect("new");
        assert_eq!(second["bindings"], json!([{ "role": ACCESSOR, "members": [own, "user:b@example.com"] }]));
        let conditional = bound(ACCESSOR, &own, true);
        let third = with_reader(&conditional, ACCOUNT).expect("new");
        let (before, after) = (&conditional["bindings"], &third["bindings"]);
        assert_eq!((&after[0], &after[1]), (&before[0], &before[1]));
        assert_eq!(after[2], json!({ "role": ACCESSOR, "members": [own] }));
    }

    #[test]
    fn the_command_to_type() {
        let name = SecretName::parse("projects/q/secrets/tls", "p").expect("a name");
        assert_eq!(
            command(&name, ACCOUNT),
            "gcloud secrets add-iam-policy-binding tls --project q --member=serviceAccount:run@p.iam.gserviceaccount.com --role=roles/secretmanager.secretAccessor"
        );
    }
}
