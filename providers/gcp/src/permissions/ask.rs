//! `testIamPermissions`, everywhere side by side: it asks for no permission of its own.
//!
//! A project does not know what is granted on the things in it, and these know what is granted above them, but not
//! before they are there. So both are asked, and what is held on either counts.
//! <https://cloud.google.com/iam/docs/testing-permissions>
use std::collections::{BTreeMap, BTreeSet};

use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    permission::{Answer, Held, Need, Scope, ScopeKind, Who},
    provider::Provider as _,
};
use carrack_http::Request;
use futures_util::future::try_join_all;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::place::{self, DEFAULT_ACCOUNT, Repository};
use crate::{CloudRun, error::classify};

const PROJECTS: &str = "https://cloudresourcemanager.googleapis.com";

#[derive(Deserialize, Default)]
struct Granted {
    #[serde(default)]
    permissions: BTreeSet<String>,
}

/// What came of one question.
enum Asked {
    Granted(BTreeSet<String>),
    /// There is no such thing.
    Missing,
    /// It could not be asked.
    Failed(String),
}

pub(crate) async fn held(provider: &CloudRun, cx: &Ctx, needs: &[Need]) -> Result<Vec<Held>> {
    let needs = with_default_account(provider, cx, needs).await?;
    let mut questions: BTreeMap<Scope, BTreeSet<&str>> = BTreeMap::new();
    for need in needs.iter().filter(|need| need.who == Who::Deployer) {
        for scope in scopes(provider, need) {
            questions.entry(scope).or_default().insert(&need.permission);
        }
    }
    let ask = questions.into_iter().map(async |(scope, permissions)| {
        let answer = ask(provider, cx, &scope, &permissions).await?;
        Ok::<_, Error>((scope, answer))
    });
    let asked: BTreeMap<Scope, Asked> = try_join_all(ask).await?.into_iter().collect();
    let account = needs.iter().find(|need| need.on.kind == ScopeKind::ServiceAccount && !place::is_open(&need.on));
    let account = account.map(|need| need.on.name.clone());
    let held = needs.into_iter().map(async |need| {
        let answer = match need.who {
            Who::Deployer => judge(&need, provider, &asked),
            Who::Runtime => reader(provider, cx, &need.on.name, account.as_deref()).await?,
            Who::Cloud => Answer::Unknown { why: format!("who else may use {} is not looked at", need.on) },
        };
        Ok(Held { need, answer })
    });
    try_join_all(held).await
}

/// What the service's account may, by the policies of the secret and its project, where those may be read.
async fn reader(provider: &CloudRun, cx: &Ctx, secret: &str, account: Option<&str>) -> Result<Answer> {
    match provider.secrets().reader(cx, secret, account).await {
        Ok(reader) => Ok(match reader.may {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No { asked: None },
            Err(why) => Answer::Unknown { why },
        }),
        Err(error) if is_ours(&error) => Err(error),
        Err(error) => Ok(Answer::Unknown { why: error.to_string() }),
    }
}

/// The name of the account that a service runs as by default has the project's number in it.
/// <https://cloud.google.com/compute/docs/access/service-accounts#default_service_account>
async fn with_default_account(provider: &CloudRun, cx: &Ctx, needs: &[Need]) -> Result<Vec<Need>> {
    let mut needs = needs.to_vec();
    if !needs.iter().any(|need| need.on.name == DEFAULT_ACCOUNT) {
        return Ok(needs);
    }
    let number = match provider.number(cx).await {
        Ok(number) => number,
        Err(error) if is_ours(&error) => return Err(error),
        Err(_) => return Ok(needs),
    };
    for need in needs.iter_mut().filter(|need| need.on.name == DEFAULT_ACCOUNT) {
        need.on.name = DEFAULT_ACCOUNT.replace("PROJECT_NUMBER", &number);
    }
    Ok(needs)
}

/// An answer about us, not about what was asked.
fn is_ours(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Unauthenticated)
}

/// The thing itself, and the project that it is in where that is the service's own.
fn scopes(provider: &CloudRun, need: &Need) -> Vec<Scope> {
    let own = &provider.project;
    let table = &provider.permissions;
    let project = match need.on.kind {
        ScopeKind::Project => return vec![need.on.clone()],
        ScopeKind::Service | ScopeKind::Job => own.clone(),
        ScopeKind::ServiceAccount => place::account_project(table, &need.on.name).to_owned(),
        ScopeKind::Repository => Repository::of(&need.on).project,
        ScopeKind::Secret => place::secret(table, &need.on.name).0.to_owned(),
    };
    let mut scopes = Vec::new();
    if project == *own || place::is_open(&need.on) {
        scopes.push(Scope::new(ScopeKind::Project, own.clone()));
    }
    if !place::is_open(&need.on) {
        scopes.push(need.on.clone());
    }
    scopes
}

async fn ask(provider: &CloudRun, cx: &Ctx, scope: &Scope, permissions: &BTreeSet<&str>) -> Result<Asked> {
    let CloudRun { project, region, permissions: table, .. } = provider;
    let resource = match scope.kind {
        ScopeKind::Project => format!("{PROJECTS}/v3/projects/{}", scope.name),
        ScopeKind::Service => {
            format!("https://run.googleapis.com/v2/projects/{project}/locations/{region}/services/{}", scope.name)
        }
        ScopeKind::Job => {
            format!("https://run.googleapis.com/v2/projects/{project}/locations/{region}/jobs/{}", scope.name)
        }
        ScopeKind::ServiceAccount => {
            format!("https://iam.googleapis.com/v1/projects/-/serviceAccounts/{}", scope.name)
        }
        ScopeKind::Repository => {
            format!("https://artifactregistry.googleapis.com/v1/{}", Repository::of(scope).resource())
        }
        ScopeKind::Secret => {
            let (project, name) = place::secret(table, &scope.name);
            format!("https://secretmanager.googleapis.com/v1/projects/{project}/secrets/{name}")
        }
    };
    let call = Request::new(Method::POST, format!("{resource}:testIamPermissions"))
        .json(&json!({ "permissions": permissions }))?
        .idempotent()
        .bearer(&provider.token)
        .classify(classify);
    match provider.http.send(cx, call).await.and_then(|answer| answer.json::<Granted>()) {
        Ok(granted) => Ok(Asked::Granted(granted.permissions)),
        Err(error) if is_ours(&error) => Err(error),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Asked::Missing),
        // Google says at length how to switch an API on.
        Err(error) => {
            Ok(Asked::Failed(error.message().split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()))
        }
    }
}

fn judge(need: &Need, provider: &CloudRun, asked: &BTreeMap<Scope, Asked>) -> Answer {
    let scopes = scopes(provider, need);
    let answers: Vec<(&Scope, &Asked)> = scopes.iter().filter_map(|scope| asked.get_key_value(scope)).collect();
    let granted = |answer: &Asked| matches!(answer, Asked::Granted(all) if all.contains(&need.permission));
    if answers.iter().any(|(_, answer)| granted(answer)) {
        return Answer::Yes;
    }
    let of = |scope: &Scope| answers.iter().find(|(known, _)| *known == scope).map(|(_, answer)| *answer);
    let project = answers.iter().find(|(scope, _)| scope.kind == ScopeKind::Project).map(|(_, answer)| *answer);
    let unknown = |why: String| Answer::Unknown { why };
    let project_failed = match project {
        Some(Asked::Failed(why)) => Some(format!("the project could not be asked: {why}")),
        Some(Asked::Missing) => Some("there is no such project, or it may not be seen".to_owned()),
        _ => None,
    };
    if need.on.kind == ScopeKind::Project {
        return project_failed.map_or(Answer::No { asked: None }, unknown);
    }
    match of(&need.on) {
        // What is not there answers with nothing too.
        Some(Asked::Granted(all)) if all.is_empty() => project_failed.map_or(Answer::No { asked: None }, unknown),
        Some(Asked::Granted(_)) => Answer::No { asked: None },
        Some(Asked::Missing) => project_failed.map_or_else(
            || Answer::No { asked: Some(format!("only the project was asked: {} does not exist", need.on)) },
            unknown,
        ),
        Some(Asked::Failed(why)) => unknown(format!("{} could not be asked: {why}", need.on)),
        None => unknown(format!("only the project was asked, since nothing names the {} yet", need.on.kind.name())),
    }
}
