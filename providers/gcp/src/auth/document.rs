//! Credential files, by their `type`: <https://google.aip.dev/auth/4110>.
use std::{path::Path, sync::Arc};

use carrack_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::{
    asker::{Asker, is_private},
    federated::Federated,
    file,
    impersonated::{Impersonated, account},
    key::Key,
    user::User,
    way::Way,
};

/// One file, or what was given in its place. No error quotes its values.
pub(super) struct Document<'a> {
    pub(super) value: &'a Value,
    /// Where it is, for people.
    pub(super) from: &'a str,
}

/// Reads the file that `by` names.
pub(super) async fn open(path: &Path, by: &str, asker: &Asker) -> Result<Arc<dyn Way>> {
    let text = file::read(path, &asker.cx).await?.map_err(|e| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let text = format!("the credentials in `{}` ({by}) cannot be read", path.display());
        let error = Error::new(ErrorKind::Unauthenticated, text).with_source(e);
        if missing { error.hint(format!("name a file that exists by {by}, or unset it")) } else { error }
    })?;
    read(&text, &format!("`{}` ({by})", path.display()), asker)
}

/// Reads what a file would have.
pub(super) fn read(text: &str, from: &str, asker: &Asker) -> Result<Arc<dyn Way>> {
    let value: Value = serde_json::from_str(text).map_err(|e| {
        Error::new(ErrorKind::Unauthenticated, format!("{from} is not JSON: line {}, column {}", e.line(), e.column()))
            .hint("use a credentials file as Google's console or gcloud wrote it")
    })?;
    of(&Document { value: &value, from }, asker, true)
}

fn of(document: &Document<'_>, asker: &Asker, may_nest: bool) -> Result<Arc<dyn Way>> {
    let kind = document.value["type"].as_str();
    Ok(match kind {
        Some("service_account") => Arc::new(Key::read(document, asker.clone())?),
        Some("authorized_user") => Arc::new(User::read(document, asker.clone())?),
        Some("external_account") => return Federated::read(document, asker),
        Some("impersonated_service_account") if may_nest => {
            let source = Document { value: &document.value["source_credentials"], from: document.from };
            if !source.value.is_object() {
                return Err(document.malformed("`source_credentials` is missing"));
            }
            let own = of(&source, asker, false)?;
            let delegates = document.value["delegates"].as_array().into_iter().flatten();
            let delegates = delegates.filter_map(|delegate| delegate.as_str().map(str::to_owned)).collect();
            Arc::new(Impersonated::at(own, document.impersonation_url()?, delegates, asker.clone()))
        }
        _ => return Err(document.of_no_known_type(kind)),
    })
}

impl<'a> Document<'a> {
    /// A text that must be there.
    pub(super) fn text(&self, field: &str) -> Result<&'a str> {
        let problem = match &self.value[field] {
            Value::String(text) if text.trim().is_empty() => "is empty",
            Value::String(text) => return Ok(text),
            Value::Null => "is missing",
            _ => "is no text",
        };
        Err(self.malformed(&format!("`{field}` {problem}")))
    }

    /// An address that secrets are sent to.
    pub(super) fn private_url(&self, field: &str, otherwise: Option<&str>) -> Result<String> {
        let url = match otherwise {
            Some(url) if self.value[field].is_null() => url,
            _ => self.text(field)?,
        };
        if is_private(url) {
            return Ok(url.to_owned());
        }
        Err(self
            .malformed(&format!("`{field}` is neither https nor on this machine"))
            .hint("a credential would travel in the open: see who wrote that file"))
    }

    /// The address that speaks for an account.
    pub(super) fn impersonation_url(&self) -> Result<String> {
        const FIELD: &str = "service_account_impersonation_url";
        let url = self.private_url(FIELD, None)?;
        match account(&url) {
            Some(_) => Ok(url),
            None => Err(self.malformed(&format!("`{FIELD}` does not end with `/EMAIL:generateAccessToken`"))),
        }
    }

    pub(super) fn malformed(&self, problem: &str) -> Error {
        let kind = self.value["type"].as_str().unwrap_or_default().replace('_', " ");
        Error::new(ErrorKind::Unauthenticated, format!("{} is no valid {kind} file: {problem}", self.from))
    }

    fn of_no_known_type(&self, kind: Option<&str>) -> Error {
        let error = |text: String| Error::new(ErrorKind::Unauthenticated, text);
        let known = "use a file of type `service_account`, `authorized_user`, `external_account` or `impersonated_service_account`";
        match kind {
            // https://developers.google.com/identity/protocols/oauth2/native-app
            None if self.value["installed"].is_object() || self.value["web"].is_object() => {
                error(format!("{} is an OAuth client, which is nobody's credentials", self.from))
                    .hint("log in with it: `gcloud auth application-default login --client-id-file=FILE`")
            }
            None => error(format!("{} is no credentials file: `type` is missing", self.from)).hint(known),
            // It can be long, and anything.
            Some(kind) if kind.len() > 40 || kind.contains(|c: char| !c.is_ascii_lowercase() && c != '_') => {
                error(format!("{} is of no known type", self.from)).hint(known)
            }
            Some(kind) => error(format!("{} is of type `{kind}`, which is not taken here", self.from)).hint(known),
        }
    }
}
