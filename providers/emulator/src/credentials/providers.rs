//! Providers of a pool: whose tokens it takes, for whom, and who that is there.
//!
//! <https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers>
use serde_json::{Map, Value};

use super::{
    expression::{Expression, Unread},
    issuer::{GITHUB, GITLAB},
    rsa::PublicKey,
};
use crate::gcp::{
    call::unimplemented,
    status::{Code, Status},
};

/// Issuers that anybody can get a token of: a condition has to say whose.
/// <https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions>
const SHARED: [&str; 2] = [GITHUB, GITLAB];
const MOST_AUDIENCES: usize = 10;
const LONGEST_AUDIENCE: usize = 256;
const LONGEST_EXPRESSION: usize = 4096;
const MOST_ATTRIBUTES: usize = 50;
const LONGEST_ATTRIBUTE: usize = 100;

/// What an exchange goes by.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) issuer: String,
    /// Empty is the provider's own name.
    pub(super) audiences: Vec<String>,
    /// Those that it brings; empty is what the issuer publishes.
    pub(super) keys: Vec<PublicKey>,
    pub(super) mapping: Vec<(String, Expression)>,
    pub(super) condition: Option<Expression>,
}

pub(super) fn read(fields: &Map<String, Value>) -> Result<Provider, Status> {
    if ["aws", "saml", "x509", "actorProviders"].iter().any(|name| fields.contains_key(*name)) {
        return Err(unimplemented());
    }
    let oidc = fields.get("oidc").and_then(Value::as_object).ok_or_else(|| invalid("A provider must have oidc."))?;
    if oidc.contains_key("discoveryUri") {
        return Err(unimplemented());
    }
    let issuer = oidc.get("issuerUri").and_then(Value::as_str).unwrap_or_default().to_owned();
    if issuer.strip_prefix("https://").is_none_or(str::is_empty) {
        return Err(invalid("oidc.issuer_uri must be an HTTPS endpoint."));
    }
    let audiences: Vec<_> = oidc.get("allowedAudiences").and_then(Value::as_array).into_iter().flatten().collect();
    let audiences: Vec<_> = audiences.into_iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.len() > MOST_AUDIENCES || audiences.iter().any(|audience| audience.chars().count() > LONGEST_AUDIENCE)
    {
        return Err(invalid("oidc.allowed_audiences has at most 10 values of at most 256 characters."));
    }
    let keys = oidc.get("jwksJson").and_then(Value::as_str).map(keys).transpose()?.unwrap_or_default();
    let mapping = mapping(fields.get("attributeMapping").and_then(Value::as_object))?;
    let condition = fields.get("attributeCondition").and_then(Value::as_str);
    let condition = condition.map(|text| expression("attribute_condition", text)).transpose()?;
    if SHARED.contains(&issuer.as_str()) && !condition.as_ref().is_some_and(|condition| condition.names("assertion")) {
        return Err(invalid(
            "The attribute condition must reference one of the provider's claims. For more information, see https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions",
        ));
    }
    Ok(Provider { issuer, audiences, keys, mapping, condition })
}

/// RSA alone: an issuer with another kind of key cannot be heard here.
fn keys(text: &str) -> Result<Vec<PublicKey>, Status> {
    let read: Value = serde_json::from_str(text).map_err(|_| invalid("oidc.jwks_json is no JSON."))?;
    let keys = read["keys"].as_array().filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| invalid("oidc.jwks_json must have keys."))?;
    if keys.iter().any(|key| key["kty"] == "EC") {
        return Err(unimplemented());
    }
    let keys = keys.iter().map(PublicKey::from_jwk).collect::<Option<Vec<_>>>();
    keys.ok_or_else(|| invalid("oidc.jwks_json has a key that cannot be read."))
}

fn mapping(given: Option<&Map<String, Value>>) -> Result<Vec<(String, Expression)>, Status> {
    let given = given.filter(|given| given.contains_key("google.subject"));
    let given = given.ok_or_else(|| invalid("The attribute mapping must have google.subject."))?;
    if given.len() > MOST_ATTRIBUTES + 1 {
        return Err(invalid("At most 50 custom attributes can be mapped."));
    }
    let mut mapping = Vec::new();
    for (target, value) in given {
        match target.as_str() {
            "google.subject" => {}
            "google.groups" => return Err(unimplemented()),
            other => {
                let name = other.strip_prefix("attribute.").unwrap_or_default();
                let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
                if name.is_empty() || name.len() > LONGEST_ATTRIBUTE || !plain {
                    return Err(invalid(format!("Invalid attribute mapping key: {other}")));
                }
            }
        }
        let name = format!("attribute_mapping[\"{target}\"]");
        mapping.push((target.clone(), expression(&name, value.as_str().unwrap_or_default())?));
    }
    Ok(mapping)
}

fn expression(field: &str, text: &str) -> Result<Expression, Status> {
    if text.chars().count() > LONGEST_EXPRESSION {
        return Err(invalid(format!("{field} is longer than 4096 characters.")));
    }
    Expression::read(text).map_err(|why| match why {
        Unread::Malformed(why) => invalid(format!("Invalid CEL expression in {field}: {why}")),
        Unread::Unsupported(what) => {
            Status::new(Code::Unimplemented, format!("{what} in {field} is not implemented by the local cloud."))
        }
    })
}

fn invalid(text: impl Into<String>) -> Status {
    Status::invalid(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(change: impl FnOnce(&mut Value)) -> Result<Provider, Status> {
        let mut fields = json!({
            "oidc": { "issuerUri": GITHUB },
            "attributeMapping": { "google.subject": "assertion.sub", "attribute.repository": "assertion.repository" },
            "attributeCondition": "assertion.repository == 'o/r'",
        });
        change(&mut fields);
        read(fields.as_object().expect("an object"))
    }

    #[test]
    fn an_issuer_of_everybodys_needs_a_condition() {
        provider(|_| ()).expect("as Google's guide says");
        let without =
            |fields: &mut Value| drop(fields.as_object_mut().map(|fields| fields.remove("attributeCondition")));
        let refused = provider(without).expect_err("anybody could come");
        assert!(refused.message.starts_with("The attribute condition must reference one of the provider's claims."));
        provider(|fields| fields["attributeCondition"] = json!("true")).expect_err("it says nothing of whose");
        provider(|fields| {
            fields["oidc"]["issuerUri"] = json!("https://ci.example.com");
            without(fields);
        })
        .expect("an issuer of one's own");
    }

    #[test]
    fn what_cannot_be_one_is_refused() {
        let code = |change: &dyn Fn(&mut Value)| provider(change).expect_err("refused").code;
        assert_eq!(
            code(&|fields| fields["attributeMapping"] = json!({ "attribute.a": "assertion.a" })),
            Code::InvalidArgument
        );
        assert_eq!(
            code(&|fields| fields["attributeMapping"]["attribute.A"] = json!("assertion.a")),
            Code::InvalidArgument
        );
        assert_eq!(
            code(&|fields| fields["attributeMapping"]["google.groups"] = json!("assertion.a")),
            Code::Unimplemented
        );
        assert_eq!(code(&|fields| fields["attributeCondition"] = json!("assertion.")), Code::InvalidArgument);
        assert_eq!(code(&|fields| fields["attributeCondition"] = json!("has(assertion.a)")), Code::Unimplemented);
        assert_eq!(code(&|fields| fields["oidc"]["issuerUri"] = json!("http://a")), Code::InvalidArgument);
        assert_eq!(code(&|fields| fields["oidc"]["jwksJson"] = json!("{\"keys\":[{}]}")), Code::InvalidArgument);
        assert_eq!(code(&|fields| fields["aws"] = json!({ "accountId": "1" })), Code::Unimplemented);
    }
}
