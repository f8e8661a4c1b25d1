//! Requests of the same form are one class: a poll loop, the questions for each layer.
use std::collections::BTreeSet;

use serde_json::Value;

use super::bench::Cell;

/// Which calls, for a rule and for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) service: &'static str,
    pub(crate) method: String,
    /// For people, without a cell's own names.
    pub(crate) form: String,
    /// For a rule: a glob.
    pub(crate) path: String,
}

impl Class {
    pub(crate) fn is(&self, part: &str) -> bool {
        self.form.contains(part)
    }

    /// For the names of another cell.
    pub(crate) fn of(&self, cell: &Cell) -> Self {
        let path = format!("*{}", self.form.replacen("/v2", "", 1));
        let repository = cell.repository.split_once("/local/").map_or("", |(_, name)| name);
        let folder = repository.split('/').next().unwrap_or_default();
        let path = path.replace("REPOSITORY/app", repository).replace("REPOSITORY", folder);
        Self { path: path.replace("SERVICE", cell.name.as_str()), ..self.clone() }
    }
}

/// The classes of the requests that a cell's run made, in the order of their first call.
pub(crate) fn classes(requests: &Value, cell: &Cell) -> Vec<Class> {
    let mut seen = BTreeSet::new();
    requests
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|request| class(request, cell))
        .filter(|class| seen.insert(class.clone()))
        .collect()
}

fn class(request: &Value, cell: &Cell) -> Option<Class> {
    let host = request["host"].as_str()?;
    let service = match host.split('.').next()? {
        "run" => "run",
        "artifactregistry" => "artifactregistry",
        "logging" => "logging",
        "iam" => "iam",
        "cloudresourcemanager" => "cloudresourcemanager",
        name if name.ends_with("-docker") => "registry",
        other => panic!("requests of {other} are in no table"),
    };
    let path = request["path"].as_str()?.split('?').next()?;
    let repository = cell.repository.split_once("/local/")?.1;
    let folder = repository.split('/').next()?;
    let path =
        path.replace(cell.name.as_str(), "SERVICE").replace(repository, "REPOSITORY/app").replace(folder, "REPOSITORY");
    let mut form: Vec<&str> = path.split('/').collect();
    let last = form.pop()?;
    // Digests, tags, operations and uploads.
    let variable =
        last.starts_with("sha256:") || last == "latest" || matches!(form.last(), Some(&"operations" | &"uploads"));
    form.push(if variable && !last.is_empty() { "*" } else { last });
    Some(Class { service, method: request["method"].as_str()?.to_owned(), form: form.join("/"), path: String::new() })
}
