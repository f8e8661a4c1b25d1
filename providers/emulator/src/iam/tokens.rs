//! Whose a token is.
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use uuid::Uuid;

use super::{Member, Permissions, Principal};

/// The name of whoever holds the local cloud's own token.
const LOCAL: &str = "local";

/// Why nobody is behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// No token.
    Unnamed,
    /// A token that is nobody's.
    Unknown,
    /// A token that was somebody's.
    Expired,
}

#[derive(Debug)]
pub(crate) struct Iam {
    tokens: RwLock<BTreeMap<String, Known>>,
    default_token: String,
}

/// Whose a token is, and until when.
#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    end: Option<Instant>,
    /// It ended before its time.
    expired: bool,
}

impl Known {
    fn new(principal: Principal, end: Option<Instant>) -> Self {
        Self { principal: Arc::new(principal), end, expired: false }
    }
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
        let local = Principal::new(Member::User(LOCAL.to_owned()), Permissions::All);
        tokens.insert(self.default_token.clone(), Known::new(local, None));
    }

    pub(crate) fn is_default_token(&self, token: &str) -> bool {
        token == self.default_token
    }

    /// A token of a principal, that is good for its life time.
    pub(crate) fn add(&self, email: String, permissions: Permissions, life: Option<Duration>) -> String {
        self.remember(Principal::new(Member::of_email(email), permissions), life)
    }

    /// A token of `member`, who may do what policies give, and nothing by itself.
    pub(crate) fn issue(&self, member: Member, life: Duration) -> String {
        self.remember(Principal::of(member), Some(life))
    }

    fn remember(&self, principal: Principal, life: Option<Duration>) -> String {
        let token = format!("local.{}", Uuid::new_v4().simple());
        // A life that no clock has room for has no end.
        let end = life.and_then(|life| Instant::now().checked_add(life));
        let known = Known::new(principal, end);
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), known);
        token
    }

    /// Ends a token before its time. The console goes on taking the default one.
    pub(crate) fn expire(&self, token: &str) {
        if let Some(known) = self.tokens.write().unwrap_or_else(PoisonError::into_inner).get_mut(token) {
            known.expired = true;
        }
    }

    /// Takes back every early end.
    pub(crate) fn revive(&self) {
        for known in self.tokens.write().unwrap_or_else(PoisonError::into_inner).values_mut() {
            known.expired = false;
        }
    }

    /// `Bearer TOKEN`, or `Basic` with the token as the password, as registry clients send it.
    pub(crate) fn authenticate(&self, authorization: Option<&str>) -> Result<Arc<Principal>, Anonymous> {
        let token = token(authorization.ok_or(Anonymous::Unnamed)?).ok_or(Anonymous::Unknown)?;
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let known = tokens.get(&token).ok_or(Anonymous::Unknown)?;
        if known.expired || known.end.is_some_and(|end| end <= Instant::now()) {
            return Err(Anonymous::Expired);
        }
        Ok(known.principal.clone())
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_token_names_its_principal() {
        let iam = Iam::new("secret".to_owned());
        let limited =
            iam.add("a@b".to_owned(), Permissions::Only(BTreeSet::from(["run.services.get".to_owned()])), None);
        let local = iam.authenticate(Some("Bearer secret")).expect("known");
        assert!(local.may("anything"));
        let principal = iam.authenticate(Some(&format!("bearer {limited}"))).expect("known");
        assert!(principal.may("run.services.get"));
        assert!(!principal.may("run.services.list"));
        assert!(principal.is_member("user:a@b"));
        assert!(principal.is_member("allAuthenticatedUsers"));
        assert!(!principal.is_member("user:c@b"));
        let issued = iam.issue(Member::ServiceAccount("a@b".to_owned()), Duration::from_secs(60));
        let issued = iam.authenticate(Some(&format!("Bearer {issued}"))).expect("known");
        assert_eq!(issued.member(), &Member::ServiceAccount("a@b".to_owned()));
        assert!(!issued.may("run.services.get"), "policies alone say what it may");
        let basic = STANDARD.encode("oauth2accesstoken:secret");
        assert!(iam.authenticate(Some(&format!("Basic {basic}"))).is_ok());
        assert_eq!(iam.authenticate(None).err(), Some(Anonymous::Unnamed));
        for wrong in ["Bearer nothing", "secret", "Digest secret", "Basic !"] {
            assert_eq!(iam.authenticate(Some(wrong)).err(), Some(Anonymous::Unknown), "{wrong}");
        }
        iam.reset();
        assert!(iam.authenticate(Some(&format!("Bearer {limited}"))).is_err());
    }

    #[test]
    fn a_token_ends_with_its_life_or_before() {
        let iam = Iam::new("secret".to_owned());
        let ended = iam.add("a@b".to_owned(), Permissions::All, Some(Duration::ZERO));
        assert_eq!(iam.authenticate(Some(&format!("Bearer {ended}"))).err(), Some(Anonymous::Expired));
        iam.expire("secret");
        assert_eq!(iam.authenticate(Some("Bearer secret")).err(), Some(Anonymous::Expired));
        assert!(iam.is_default_token("secret"), "whoever holds it may take that back");
        iam.revive();
        assert!(iam.authenticate(Some("Bearer secret")).is_ok());
        assert!(iam.authenticate(Some(&format!("Bearer {ended}"))).is_err());
    }
}
