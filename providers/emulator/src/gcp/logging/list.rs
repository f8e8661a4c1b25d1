//! `entries:list`.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    filter,
    logs::{Logs, Place, Wanted},
};
use crate::gcp::{call::Call, project::Projects, status::Status};

/// <https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list>
const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1_000;

pub(crate) fn handle(logs: &Logs, projects: &Projects, call: &Call<'_>) -> Result<Value, Status> {
    let body = &call.body;
    let project = project(projects, body)?;
    let text = body["filter"].as_str().unwrap_or_default();
    let filter = filter::parse(text).map_err(|why| Status::invalid(format!("Unparseable filter: {why}")))?;
    let newest_first = match body["orderBy"].as_str().unwrap_or("timestamp asc") {
        "timestamp asc" | "timestamp" | "" => false,
        "timestamp desc" => true,
        other => return Err(Status::invalid(format!("Unsupported order_by '{other}'."))),
    };
    let size = match body["pageSize"].as_i64() {
        None | Some(0) => DEFAULT_PAGE,
        Some(size) => {
            usize::try_from(size).map_err(|_| Status::invalid("page_size must not be negative."))?.min(LARGEST_PAGE)
        }
    };
    let after = match body["pageToken"].as_str() {
        Some(token) => Some(read_token(token).ok_or_else(|| Status::invalid("page_token is invalid."))?),
        None => None,
    };
    let page = logs.page(&project, |entry| filter.wants(entry), &Wanted { newest_first, after, size });
    let mut answer = json!({});
    if let Some(last) = &page.last {
        answer["nextPageToken"] = json!(write_token(last));
    }
    if !page.entries.is_empty() {
        answer["entries"] = page.entries.into();
    }
    Ok(answer)
}

/// One project; the local cloud has no folders, organisations or views.
fn project(projects: &Projects, body: &Value) -> Result<String, Status> {
    let names: Vec<_> = body["resourceNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match names.as_slice() {
        [] => Err(Status::invalid("resource_names must not be empty.")),
        [name] => match name.strip_prefix("projects/") {
            Some(project) if !project.is_empty() && !project.contains('/') => Ok(projects.resolve(project)),
            _ => {
                Err(Status::invalid(format!("Unsupported resource name '{name}': the local cloud has only projects.")))
            }
        },
        _ => Err(Status::invalid("Only one resource name is supported by the local cloud.")),
    }
}

/// The place of the last entry that was answered: new entries move no page.
fn write_token((time, number): &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{time} {number}"))
}

fn read_token(token: &str) -> Option<Place> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (time, number) = text.split_once(' ')?;
    Some((time.to_owned(), number.parse().ok()?))
}
