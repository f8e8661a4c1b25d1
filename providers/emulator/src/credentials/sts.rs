//! `https://sts.googleapis.com/v1/token`: a federated token for the token of an issuer that a provider trusts.
//!
//! <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>
use std::collections::BTreeMap;

use axum::body::Body;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::{
    Credentials,
    form::Form,
    jwt::{SKEW, Unverified, now},
    oauth::{EXPIRES_IN, LIFE, are_scopes},
    providers::Provider,
    refusal::Refusal,
    rsa::PublicKey,
};
use crate::iam::Member;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const SUBJECT_TOKENS: [&str; 2] = ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
const HOST: &str = "//iam.googleapis.com/";
/// How old a subject token may be: <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>
const OLDEST: i64 = 24 * 60 * 60;
/// <https://cloud.google.com/iam/docs/workload-identity-federation#mapping>
const LONGEST_SUBJECT: usize = 127;

impl Credentials {
    pub(super) async fn exchange(&self, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
        let form = Form::read(headers, body, true).await?;
        let grant_type = form.required("grant_type")?;
        if grant_type != EXCHANGE {
            return Err(Refusal::new(
                "unsupported_grant_type",
                format!("Invalid value for \"grant_type\": {grant_type}"),
            ));
        }
        expect(&form, "requested_token_type", &[ACCESS_TOKEN])?;
        expect(&form, "subject_token_type", &SUBJECT_TOKENS)?;
        if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
            return Err(Refusal::invalid_request("Actor tokens are not implemented."));
        }
        check_options(form.get("options"))?;
        if !are_scopes(form.required("scope")?) {
            return Err(Refusal::new("invalid_scope", "Some requested scopes were invalid."));
        }
        let audience = form.required("audience")?;
        let name = audience.strip_prefix(HOST).filter(|name| is_provider(name)).ok_or_else(|| {
            Refusal::invalid_request("Invalid value for \"audience\". This value should be the full resource name of the Identity Provider. See https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for the list of possible formats.")
        })?;
        let provider = self.pools.usable_provider(name).ok_or_else(|| {
            Refusal::new("invalid_target", "The target service indicated by the \"audience\" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.")
        })?;
        let token = Unverified::read(form.required("subject_token")?)
            .ok_or_else(|| Refusal::invalid_grant("Unable to parse the ID Token."))?;
        self.verify(&provider, name, &token)?;
        let member = federated(&provider, name, token.claims)?;
        Ok(json!({
            "access_token": self.iam.issue(member, LIFE),
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": EXPIRES_IN,
        }))
    }

    /// Whether it is the provider's, for the provider, and of now.
    fn verify(&self, provider: &Provider, name: &str, token: &Unverified) -> Result<(), Refusal> {
        let issuer = token.text("iss").unwrap_or_default();
        if issuer != provider.issuer {
            return Err(Refusal::invalid_grant(format!(
                "The issuer in ID Token {issuer} does not match the expected ones: {}.",
                provider.issuer
            )));
        }
        let keys = self.keys_of(provider)?;
        // https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token: `kid` and `alg` are required.
        let id = token.key_id().filter(|_| token.is_rs256());
        let key = keys.iter().find(|key| Some(key.id.as_str()) == id);
        if !key.is_some_and(|key| token.is_signed_by(key)) {
            return Err(Refusal::invalid_grant("Invalid ID Token signature."));
        }
        let (begin, end) = (token.moment("iat"), token.moment("exp"));
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(Refusal::invalid_grant("The ID Token must have the claims iat and exp."));
        };
        let now = now();
        if end <= now || begin < now - OLDEST {
            return Err(Refusal::invalid_grant(format!("ID Token issued at {begin} is stale to sign-in.")));
        }
        if begin > now.saturating_add(SKEW) || token.moment("nbf").is_some_and(|from| from > now.saturating_add(SKEW)) {
            return Err(Refusal::invalid_grant(format!("ID Token issued at {begin} is not valid yet.")));
        }
        let own = [format!("{HOST}{name}"), format!("https:{HOST}{name}")];
        let expected = if provider.audiences.is_empty() { own.as_slice() } else { &provider.audiences };
        if token.audiences().iter().any(|audience| expected.iter().any(|expected| expected == audience)) {
            return Ok(());
        }
        Err(Refusal::invalid_grant(format!(
            "The audience in ID Token [{}] does not match the expected audience.",
            token.audiences().join(", ")
        )))
    }

    /// Those that the provider brings, or those of an issuer that the local cloud plays. No other is asked.
    fn keys_of(&self, provider: &Provider) -> Result<Vec<PublicKey>, Refusal> {
        if !provider.keys.is_empty() {
            return Ok(provider.keys.clone());
        }
        let issuer = self.issuers.by_name(&provider.issuer);
        let issuer =
            issuer.ok_or_else(|| Refusal::invalid_grant("Error connecting to the given credential's issuer."))?;
        Ok(issuer.public().into_iter().cloned().collect())
    }
}

fn expect(form: &Form, name: &str, values: &[&str]) -> Result<(), Refusal> {
    let value = form.required(name)?;
    if values.contains(&value) {
        return Ok(());
    }
    Err(Refusal::invalid_request(format!("Invalid value for \"{name}\": {value}")))
}

/// The project that pays makes no difference here; a boundary would.
fn check_options(options: Option<&str>) -> Result<(), Refusal> {
    let Some(options) = options else { return Ok(()) };
    let fields: Map<String, Value> =
        serde_json::from_str(options).map_err(|_| Refusal::invalid_request("Invalid value for \"options\"."))?;
    match fields.keys().find(|name| *name != "userProject") {
        None => Ok(()),
        Some(name) => Err(Refusal::invalid_request(format!("The option {name} is not implemented."))),
    }
}

/// `projects/P/locations/global/workloadIdentityPools/P/providers/R`.
fn is_provider(name: &str) -> bool {
    let parts: Vec<_> = name.split('/').collect();
    matches!(parts.as_slice(), ["projects", project, "locations", "global", "workloadIdentityPools", pool, "providers", provider]
        if ![project, pool, provider].iter().any(|part| part.is_empty()))
}

/// Who it is there, by the provider's mapping, when the provider's condition holds.
fn federated(provider: &Provider, name: &str, claims: Map<String, Value>) -> Result<Member, Refusal> {
    let mut variables = Map::from_iter([("assertion".to_owned(), Value::Object(claims))]);
    let (mut subject, mut attributes) = (String::new(), BTreeMap::new());
    for (target, expression) in &provider.mapping {
        let value = expression.evaluate(&variables).map_err(|_| {
            Refusal::invalid_grant(format!("Could not obtain a value for {target} from the given credential."))
        })?;
        let Value::String(value) = value else {
            return Err(Refusal::new(
                "unauthorized_client",
                format!("The mapped attribute '{target}' must be of type STRING."),
            ));
        };
        match target.strip_prefix("attribute.") {
            Some(attribute) => {
                attributes.insert(attribute.to_owned(), value);
            }
            None => subject = value,
        }
    }
    if subject.is_empty() {
        return Err(Refusal::invalid_grant("Could not obtain a value for google.subject from the given credential."));
    }
    if subject.len() > LONGEST_SUBJECT {
        return Err(Refusal::invalid_request(
            "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either modify your attribute mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes.",
        ));
    }
    variables.insert("google".to_owned(), json!({ "subject": subject }));
    variables.insert("attribute".to_owned(), json!(attributes));
    if let Some(condition) = &provider.condition
        && condition.truth(&variables) != Ok(true)
    {
        return Err(Refusal::new(
            "unauthorized_client",
            "The given credential is rejected by the attribute condition.",
        ));
    }
    let pool = name.split_once("/providers/").map_or(name, |(pool, _)| pool).to_owned();
    Ok(Member::Federated { pool, subject, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_has_one_name() {
        assert!(is_provider("projects/1/locations/global/workloadIdentityPools/p/providers/r"));
        for wrong in [
            "projects/1/locations/global/workloadIdentityPools/p",
            "projects/1/locations/us/workloadIdentityPools/p/providers/r",
            "projects//locations/global/workloadIdentityPools/p/providers/r",
            "projects/1/locations/global/workloadIdentityPools/p/providers/r/x",
            "locations/global/workforcePools/p/providers/r",
        ] {
            assert!(!is_provider(wrong), "{wrong}");
        }
    }

    #[test]
    fn options_that_would_matter_are_refused() {
        assert_eq!(check_options(Some("{\"userProject\":\"1\"}")), Ok(()));
        assert!(check_options(Some("{\"accessBoundary\":{}}")).is_err() && check_options(Some("x")).is_err());
    }
}
