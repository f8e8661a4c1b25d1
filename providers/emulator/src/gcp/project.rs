//! Projects are never made: every name is one, with a number that stays the same.
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::call::Call;

/// Twelve digits, like Google's. A project that is named by its number has that.
pub(crate) fn number(project: &str) -> String {
    if is_number(project) {
        return project.to_owned();
    }
    let digest = Sha256::digest(project.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (100_000_000_000 + number % 900_000_000_000).to_string()
}

/// No id of a project begins with a digit.
fn is_number(project: &str) -> bool {
    !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit())
}

/// <https://cloud.google.com/resource-manager/reference/rest/v1/projects/get>
pub(crate) fn get(call: &Call<'_>) -> Value {
    // An id that was said is one, whatever its project goes by.
    let named = call.parameter(0);
    let id = if is_number(&named) { &call.project } else { &named };
    let number = number(&call.project);
    match call.version {
        // https://cloud.google.com/resource-manager/reference/rest/v3/projects
        "v3" => json!({ "name": format!("projects/{number}"), "projectId": id, "displayName": id, "state": "ACTIVE" }),
        _ => json!({ "projectId": id, "projectNumber": number, "lifecycleState": "ACTIVE", "name": id }),
    }
}

/// By number the name that each project goes by: its id, or the number where something was made by that before anybody
/// said the id, which no number tells. A number is taken wherever an id is, and the other way round.
#[derive(Debug, Default)]
pub(crate) struct Projects(RwLock<BTreeMap<String, String>>);

impl Projects {
    /// The one name of a project, however it was named.
    pub(crate) fn resolve(&self, named: &str) -> String {
        if is_number(named) {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            return known.get(named).cloned().unwrap_or_else(|| named.to_owned());
        }
        self.keep(named)
    }

    /// The same, of a project that something is made in: the name stays.
    pub(crate) fn keep(&self, named: &str) -> String {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(number(named)).or_insert_with(|| named.to_owned()).clone()
    }

    pub(crate) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_its_project() {
        let projects = Projects::default();
        let number = number("local");
        assert_eq!(number.len(), 12);
        assert_eq!(super::number(&number), number);
        assert_eq!(projects.resolve(&number), number);
        assert_eq!(projects.resolve("local"), "local");
        assert_eq!(projects.resolve(&number), "local");
        assert_eq!((projects.keep(&number), projects.keep("local")), ("local".to_owned(), "local".to_owned()));
    }

    #[test]
    fn a_project_goes_by_one_name() {
        let (projects, number) = (Projects::default(), number("local"));
        assert_eq!(projects.keep(&number), number);
        assert_eq!((projects.resolve("local"), projects.resolve(&number)), (number.clone(), number.clone()));
        projects.clear();
        assert_eq!((projects.resolve("local"), projects.resolve(&number)), ("local".to_owned(), "local".to_owned()));
    }
}
