//! Who calls, and what they may do. Shared by all clouds: each brings its own texts.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use uuid::Uuid;

/// The name of whoever holds the local cloud's own token.
pub(crate) const LOCAL: &str = "local";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Permissions {
    All,
    Only(BTreeSet<String>),
}

#[derive(Debug)]
pub(crate) struct Principal {
    pub(crate) email: String,
    permissions: Permissions,
}

impl Principal {
    pub(crate) fn may(&self, permission: &str) -> bool {
        match &self.permissions {
            Permissions::All => true,
            Permissions::Only(names) => names.contains(permission),
        }
    }

    /// As a policy's members name it.
    pub(crate) fn is_member(&self, member: &str) -> bool {
        match member.split_once(':') {
            Some(("user" | "serviceAccount", email)) => email == self.email,
            _ => member == "allAuthenticatedUsers",
        }
    }
}

/// Why nobody is behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    NoToken,
    UnknownToken,
}

#[derive(Debug)]
pub(crate) struct Iam {
    tokens: RwLock<BTreeMap<String, Arc<Principal>>>,
    default_token: String,
}

impl Iam {
    /// `token` is the one that may do all.
    pub(crate) fn new(token: String) -> Self {
        let iam = Self { tokens: RwLock::default(), default_token: token };
        iam.reset();
        iam
    }

    /// Forgets every principal but the default one.
    pub(crate) fn reset(&self) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.clear();
        let local = Principal { email: LOCAL.to_owned(), permissions: Permissions::All };
        tokens.insert(self.default_token.clone(), Arc::new(local));
    }

    pub(crate) fn is_default_token(&self, token: &str) -> bool {
        token == self.default_token
    }

    /// A new principal's token.
    pub(crate) fn add(&self, email: String, permissions: Permissions) -> String {
        let token = format!("local.{}", Uuid::new_v4().simple());
        let principal = Arc::new(Principal { email, permissions });
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), principal);
        token
    }

    /// `Bearer TOKEN`, or `Basic` with the token as the password, as registry clients send it.
    pub(crate) fn authenticate(&self, authorization: Option<&str>) -> Result<Arc<Principal>, Anonymous> {
        let token = token(authorization.ok_or(Anonymous::NoToken)?).ok_or(Anonymous::UnknownToken)?;
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(&token).cloned().ok_or(Anonymous::UnknownToken)
    }
}

/// The scheme's name is not case sensitive: <https://www.rfc-editor.org/rfc/rfc9110#section-11.1>
pub(crate) fn token(authorization: &str) -> Option<String> {
    let (scheme, value) = authorization.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    // https://cloud.google.com/artifact-registry/docs/docker/authentication#token
    (user == "oauth2accesstoken").then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_principal() {
        let iam = Iam::new("secret".to_owned());
        let limited = iam.add("a@b".to_owned(), Permissions::Only(BTreeSet::from(["run.services.get".to_owned()])));
        let local = iam.authenticate(Some("Bearer secret")).expect("known");
        assert!(local.may("anything"));
        let principal = iam.authenticate(Some(&format!("bearer {limited}"))).expect("known");
        assert!(principal.may("run.services.get"));
        assert!(!principal.may("run.services.list"));
        assert!(principal.is_member("serviceAccount:a@b"));
        assert!(principal.is_member("allAuthenticatedUsers"));
        assert!(!principal.is_member("user:c@b"));
        let basic = STANDARD.encode("oauth2accesstoken:secret");
        assert!(iam.authenticate(Some(&format!("Basic {basic}"))).is_ok());
        assert_eq!(iam.authenticate(None).err(), Some(Anonymous::NoToken));
        for wrong in ["Bearer nothing", "secret", "Digest secret", "Basic !"] {
            assert_eq!(iam.authenticate(Some(wrong)).err(), Some(Anonymous::UnknownToken), "{wrong}");
        }
        iam.reset();
        assert!(iam.authenticate(Some(&format!("Bearer {limited}"))).is_err());
    }
}
