//! ID tokens of Google's own issuer: who somebody is, told to one audience.
//!
//! <https://cloud.google.com/docs/authentication/token-types#id>
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use serde_json::json;

use super::{
    Credentials,
    jwt::{self, Unverified, now},
    rsa::Failed,
    unique_id,
};
use crate::iam::Member;

/// <https://cloud.google.com/docs/authentication/token-types#id-lifetime>
const LIFE: i64 = 60 * 60;

/// Whose a `sub` is: a token need not tell the address.
#[derive(Debug, Default)]
pub(super) struct Subjects(RwLock<BTreeMap<String, String>>);

impl Subjects {
    fn keep(&self, email: &str, id: String) -> String {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), email.to_owned());
        id
    }

    fn email(&self, id: &str) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl Credentials {
    pub(super) async fn id_token(&self, email: &str, audience: &str, tell_email: bool) -> Result<String, Failed> {
        let id = self.accounts.unique_id(email).unwrap_or_else(|| unique_id(email));
        let (now, id) = (now(), self.subjects.keep(email, id));
        let mut claims = json!({ "aud": audience, "azp": id, "sub": id, "iat": now, "exp": now + LIFE });
        if tell_email {
            claims["email"] = json!(email);
            claims["email_verified"] = json!(true);
        }
        self.issuers.google.sign(claims).await
    }

    /// Who shows this ID token to one of `audiences`; `None` when it is none, or not for them, or no longer.
    pub(crate) fn holder(&self, token: &str, audiences: &[String]) -> Option<Member> {
        let token = Unverified::read(token)?;
        let google = &self.issuers.google;
        let valid = token.text("iss") == Some(google.name)
            && google.public().is_some_and(|key| token.is_signed_by(key))
            && token.moment("exp").is_some_and(|end| end > now())
            && token.moment("iat").is_some_and(|begin| begin <= now() + jwt::SKEW)
            && token.audiences().iter().any(|audience| audiences.iter().any(|wanted| wanted == audience));
        if !valid {
            return None;
        }
        self.subjects.email(token.text("sub")?).map(Member::of_email)
    }
}
