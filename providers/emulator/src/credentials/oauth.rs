//! `https://oauth2.googleapis.com/token`: an access token, or an ID token, for what proves who one is.
//!
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>
use std::time::Duration;

use axum::body::Body;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{
    Credentials,
    form::Form,
    jwt::{SKEW, Unverified, now},
    keys::Unproved,
    refusal::Refusal,
};
use crate::iam::Member;

/// As key files name it.
pub(super) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Other names of the same endpoint, in older files.
const OTHER_URIS: [&str; 2] =
    ["https://www.googleapis.com/oauth2/v4/token", "https://accounts.google.com/o/oauth2/token"];
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Of an access token: <https://cloud.google.com/docs/authentication/token-types#access>
pub(super) const LIFE: Duration = Duration::from_secs(60 * 60);
/// What is left of it when the answer is there.
pub(super) const EXPIRES_IN: u64 = 3599;
const LONGEST: i64 = 60 * 60;
const TIMES: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
const SCOPE: &str = "Invalid OAuth scope or ID token audience provided.";
/// What a login of gcloud's agrees to.
const AGREED: &str =
    "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email openid";

impl Credentials {
    /// `own` is the endpoint's address as this request named it.
    pub(super) async fn token(&self, own: &str, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
        let form = Form::read(headers, body, false).await?;
        match form.required("grant_type")? {
            ASSERTION => self.of_assertion(own, form.required("assertion")?).await,
            "refresh_token" => self.of_refresh_token(&form).await,
            other => Err(Refusal::new("unsupported_grant_type", format!("Invalid grant_type: {other}"))),
        }
    }

    async fn of_assertion(&self, own: &str, assertion: &str) -> Result<Value, Refusal> {
        let token = Unverified::read(assertion)
            .ok_or_else(|| Refusal::invalid_grant("Invalid JWT: Not a valid JSON web token."))?;
        let email = token.text("iss").ok_or_else(|| Refusal::invalid_grant("Invalid JWT: Missing issuer."))?;
        self.keys.prove(email, &token).map_err(|why| {
            Refusal::invalid_grant(match why {
                Unproved::NoAccount => "Invalid grant: account not found",
                Unproved::Signature => "Invalid JWT Signature.",
            })
        })?;
        if self.accounts.is_disabled(email) {
            return Err(Refusal::invalid_grant("Invalid grant: account disabled"));
        }
        if !is_in_time(&token, now()) {
            return Err(Refusal::invalid_grant(TIMES));
        }
        let known = |audience: &str| audience == TOKEN_URI || audience == own || OTHER_URIS.contains(&audience);
        if !matches!(token.audiences().as_slice(), [audience] if known(audience)) {
            return Err(Refusal::invalid_grant("Invalid JWT: Failed audience check."));
        }
        // Domain-wide delegation, which nobody was given here.
        if token.text("sub").is_some_and(|subject| subject != email) {
            return Err(Refusal::new(
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
            ));
        }
        // https://cloud.google.com/iam/docs/create-short-lived-credentials-direct#id
        if let Some(audience) = token.text("target_audience").filter(|audience| !audience.is_empty()) {
            return Ok(json!({ "id_token": self.id_token(email, audience, true).await? }));
        }
        if !token.text("scope").is_some_and(are_scopes) {
            return Err(Refusal::new("invalid_scope", SCOPE));
        }
        Ok(bearer(self.iam.issue(Member::ServiceAccount(email.to_owned()), LIFE)))
    }

    /// <https://developers.google.com/identity/protocols/oauth2/web-server#offline>
    async fn of_refresh_token(&self, form: &Form) -> Result<Value, Refusal> {
        let refresh_token = form.required("refresh_token")?;
        let client_id = form.required("client_id")?;
        let grant = self.users.of(refresh_token);
        if !self.users.has_client(client_id) {
            return Err(Refusal::new("invalid_client", "The OAuth client was not found."));
        }
        let grant = grant.filter(|grant| grant.client_id == client_id);
        let grant = grant.ok_or_else(|| Refusal::invalid_grant("Bad Request"))?;
        if form.get("client_secret") != Some(grant.client_secret.as_str()) {
            return Err(Refusal::new("invalid_client", "The provided client secret is invalid."));
        }
        let scope = form.get("scope").unwrap_or(AGREED);
        if !scope.split(' ').all(|scope| AGREED.split(' ').any(|agreed| agreed == scope)) {
            return Err(Refusal::new("invalid_scope", "Bad Request"));
        }
        let mut answer = bearer(self.iam.issue(Member::User(grant.email.clone()), LIFE));
        answer["scope"] = json!(scope);
        if scope.split(' ').any(|scope| scope == "openid") {
            // Its audience is the client: nobody chooses another.
            answer["id_token"] = json!(self.id_token(&grant.email, &grant.client_id, true).await?);
        }
        Ok(answer)
    }
}

fn bearer(token: String) -> Value {
    json!({ "access_token": token, "expires_in": EXPIRES_IN, "token_type": "Bearer" })
}

fn is_in_time(token: &Unverified, now: i64) -> bool {
    match (token.moment("iat"), token.moment("exp")) {
        (Some(begin), Some(end)) => {
            let life = end.saturating_sub(begin);
            life > 0 && life <= LONGEST && begin <= now.saturating_add(SKEW) && end > now
        }
        _ => false,
    }
}

/// Names, with one space between them: <https://developers.google.com/identity/protocols/oauth2/scopes>
pub(super) fn are_scopes(scopes: &str) -> bool {
    scopes.split(' ').all(|scope| {
        matches!(scope, "openid" | "email" | "profile")
            || scope.strip_prefix("https://www.googleapis.com/auth/").is_some_and(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_googles() {
        assert!(are_scopes("https://www.googleapis.com/auth/cloud-platform openid"));
        for wrong in ["", " ", "cloud-platform", "https://www.googleapis.com/auth/", "openid  email"] {
            assert!(!are_scopes(wrong), "{wrong}");
        }
    }
}
