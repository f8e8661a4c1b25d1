//! `projects.serviceAccounts`: create, get, list, patch, update, delete, enable, disable, and their policies.
//!
//! <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts>
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::accounts::{ServiceAccounts, is_id};
use crate::{
    credentials::unique_id,
    gcp::{
        call::{Call, page, unimplemented},
        schema::camel,
        status::{Code, Status},
    },
};

/// What a caller may say of an account.
const KEPT: [&str; 2] = ["displayName", "description"];

pub(super) fn handle(accounts: &ServiceAccounts, call: &Call<'_>, verb: &str) -> Result<Value, Status> {
    let email = accounts.email(&call.parameter(1));
    match verb {
        "create" => create(accounts, call),
        "list" => {
            let prefix = format!("projects/{}/", call.project);
            let of_project = |account: &Value| account["name"].as_str().is_some_and(|name| name.starts_with(&prefix));
            page(call, "accounts", accounts.all().into_iter().filter(of_project).collect())
        }
        "get" => accounts.change(&email, |account| account.clone()),
        // Both say the whole of what may be said, unless a mask says less.
        "update" => accounts.change(&email, |account| describe(account, &call.body, None)),
        "patch" => {
            let mask = call.body["updateMask"].as_str();
            accounts.change(&email, |account| describe(account, &call.body["serviceAccount"], mask))
        }
        "enable" => accounts.change(&email, |account| {
            account.as_object_mut().map(|fields| fields.remove("disabled"));
            json!({})
        }),
        "disable" => accounts.change(&email, |account| {
            account["disabled"] = json!(true);
            json!({})
        }),
        "delete" => accounts.remove(&email).map(|()| json!({})),
        "getIamPolicy" => Ok(accounts.policy(&email)),
        "setIamPolicy" => accounts.set_policy(&email, call.body.get("policy").unwrap_or(&Value::Null)),
        // Keys are credentials.
        _ => Err(unimplemented()),
    }
}

fn create(accounts: &ServiceAccounts, call: &Call<'_>) -> Result<Value, Status> {
    let id = call.body["accountId"].as_str().unwrap_or_default();
    if !(6..=30).contains(&id.len()) {
        return Err(Status::invalid(format!("The account ID \"{id}\" does not have a length between 6 and 30.")));
    }
    if !is_id(id) {
        return Err(Status::invalid(format!(
            "The account ID \"{id}\" must be lowercase letters, digits and hyphens, begin with a letter and end with a letter or digit."
        )));
    }
    let project = &call.project;
    // A project of a domain, `example.com:p`, is `p.example.com` there.
    let host = match project.split_once(':') {
        Some((domain, project)) => format!("{project}.{domain}"),
        None => project.clone(),
    };
    let email = format!("{id}@{host}.iam.gserviceaccount.com");
    let number = unique_id(&email);
    let mut account = json!({
        "name": format!("projects/{project}/serviceAccounts/{email}"),
        "projectId": project,
        "uniqueId": number,
        "email": email,
        "oauth2ClientId": number,
    });
    describe(&mut account, &call.body["serviceAccount"], None);
    if !accounts.insert(&email, account.clone()) {
        let text = format!("Service account {id} already exists within project projects/{project}.");
        return Err(Status::new(Code::AlreadyExists, text));
    }
    Ok(account)
}

fn describe(account: &mut Value, given: &Value, mask: Option<&str>) -> Value {
    let wanted = |field: &str| mask.is_none_or(|mask| mask.split(',').any(|path| camel(path.trim()) == field));
    for field in KEPT.into_iter().filter(|field| wanted(field)) {
        match given.get(field) {
            Some(value) => account[field] = value.clone(),
            None => drop(account.as_object_mut().map(|fields| fields.remove(field))),
        }
    }
    account["etag"] = json!(STANDARD.encode(fastrand::u64(..).to_be_bytes()));
    account.clone()
}
