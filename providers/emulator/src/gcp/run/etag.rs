//! Versions of a resource: a quoted string within the string, as Cloud Run writes them.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::gcp::status::{Code, Status};

pub(crate) fn render(version: i64) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(version.to_string()))
}

/// Whether `given`, when there is one, is the current version of `resource`.
pub(crate) fn check(given: Option<&str>, current: i64, resource: &str) -> Result<(), Status> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(());
    };
    let plain = given.trim_matches('"');
    if plain == render(current).trim_matches('"') {
        return Ok(());
    }
    let version = URL_SAFE_NO_PAD.decode(plain).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let version = version.unwrap_or_else(|| plain.to_owned());
    Err(Status::new(
        Code::Aborted,
        format!(
            "Conflict for resource '{resource}': version '{version}' was specified but current version is '{current}'."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_version_is_named() {
        assert_eq!(check(None, 2, "hello"), Ok(()));
        assert_eq!(check(Some(&render(2)), 2, "hello"), Ok(()));
        let stale = check(Some(&render(1)), 2, "hello").expect_err("stale");
        assert_eq!(stale.code, Code::Aborted);
        assert_eq!(
            stale.message,
            "Conflict for resource 'hello': version '1' was specified but current version is '2'."
        );
    }
}
