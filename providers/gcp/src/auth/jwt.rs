//! JSON Web Tokens: signed with a service account's key, and read without being trusted.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carrack_core::{Error, ErrorKind, Result};
use gcp_auth::Signer;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The longest that Google takes: <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>
const LIFE: i64 = 3600;

/// Signs `claims`, with when it was made and when it ends. `key` is the key's id, where the file says one.
pub(super) fn sign(signer: &Signer, key: Option<&str>, mut claims: Value) -> Result<String> {
    let now = Timestamp::now().as_second();
    claims["iat"] = json!(now);
    claims["exp"] = json!(now + LIFE);
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(key) = key {
        header["kid"] = json!(key);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = signer
        .sign(signed.as_bytes())
        .map_err(|e| Error::new(ErrorKind::Unauthenticated, "the private key does not sign").with_source(e))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token says of itself. Nothing is verified: it is for showing alone.
pub(super) fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

/// When a token ends, by its own words.
pub(super) fn end(token: &str) -> Option<Timestamp> {
    Timestamp::from_second(claims(token)?["exp"].as_i64()?).ok()
}
