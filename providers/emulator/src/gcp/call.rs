//! One call of an API, its path, query and body already checked.
use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    iam::{Authority, refuse},
    schema::Documents,
    status::{Code, Status},
};
use crate::iam::Principal;

/// More than this is not answered at once.
const LARGEST_PAGE: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) documents: &'a Documents,
    pub(crate) principal: Arc<Principal>,
    pub(crate) authority: &'a Authority,
    /// `run.googleapis.com`.
    pub(crate) api: &'static str,
    /// `v2`.
    pub(crate) version: &'a str,
    /// The project's id, when the path has one.
    pub(crate) project: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// How its operation ends, when it is to fail.
    pub(crate) fail: Option<Status>,
}

/// With a request: its operation fails.
#[derive(Clone, Debug)]
pub(crate) struct FailOperation(pub(crate) Status);

impl FailOperation {
    /// <https://cloud.google.com/run/docs/troubleshooting#container-import-error>
    pub(crate) fn new(message: Option<&str>) -> Self {
        let text = "The service has encountered an error during container import. Please try again later. Resource readiness deadline exceeded.";
        Self(Status::new(Code::Internal, message.unwrap_or(text)))
    }
}

impl Call<'_> {
    pub(crate) fn parameter(&self, index: usize) -> String {
        self.parameters.get(index).cloned().unwrap_or_default()
    }

    /// `projects/P/locations/L`.
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.parameter(1))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn fields(&self) -> Map<String, Value> {
        self.body.as_object().cloned().unwrap_or_default()
    }

    /// What a call needs beside its method's row, on what is not there yet.
    pub(crate) fn authorize_new(&self, permission: &str, resource: &str) -> Result<(), Status> {
        let allowed = self.authority.may_in_parent(&self.principal, permission, resource);
        if allowed { Ok(()) } else { Err(refuse(self.api, permission, resource)) }
    }

    /// The same, on what is there.
    pub(crate) fn authorize(&self, permission: &str, resource: &str) -> Result<(), Status> {
        let allowed = self.authority.may(&self.principal, permission, resource);
        if allowed { Ok(()) } else { Err(refuse(self.api, permission, resource)) }
    }
}

/// The text that goes with the code: <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>
pub(crate) fn unimplemented() -> Status {
    Status::new(Code::Unimplemented, "Operation is not implemented, or supported, or enabled.")
}

/// One page of a list that is sorted by creation time, descending.
pub(crate) fn newest_first(call: &Call<'_>, field: &str, mut items: Vec<(Timestamp, Value)>) -> Result<Value, Status> {
    items.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    page(call, field, items.into_iter().map(|(_, item)| item).collect())
}

/// One page of a list: `pageSize`, `pageToken`. A token is the number of the first item.
pub(crate) fn page(call: &Call<'_>, field: &str, items: Vec<Value>) -> Result<Value, Status> {
    let size = call.query.get("pageSize").and_then(|size| size.parse::<i64>().ok()).unwrap_or(0);
    if size < 0 {
        return Err(Status::invalid("page_size must not be negative."));
    }
    let size = match usize::try_from(size) {
        Ok(0) | Err(_) => LARGEST_PAGE,
        Ok(size) => size.min(LARGEST_PAGE),
    };
    let start = match call.query.get("pageToken").filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => token
            .parse::<usize>()
            .ok()
            .filter(|start| *start <= items.len())
            .ok_or_else(|| Status::invalid("The provided page_token is invalid."))?,
    };
    let end = start.saturating_add(size).min(items.len());
    let mut answer = json!({});
    if start < end {
        answer[field] = json!(items[start..end]);
    }
    if end < items.len() {
        answer["nextPageToken"] = json!(end.to_string());
    }
    Ok(answer)
}
