//! Signed tokens in their compact form. <https://www.rfc-editor.org/rfc/rfc7519>
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::rsa::{Failed, PublicKey, SigningKey};

/// How far a caller's clock may be off.
pub(super) const SKEW: i64 = 5 * 60;

/// Seconds since 1970, by this machine's clock.
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

pub(super) fn sign(key: &SigningKey, claims: &Value) -> Result<String, Failed> {
    let header = json!({ "alg": "RS256", "kid": key.public().id, "typ": "JWT" });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Read, and not believed yet.
#[derive(Debug)]
pub(super) struct Unverified {
    header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    signed: String,
    signature: Vec<u8>,
}

impl Unverified {
    pub(super) fn read(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            signed: signed.to_owned(),
        })
    }

    /// Only RS256: a token chooses neither its algorithm nor to have none.
    pub(super) fn is_rs256(&self) -> bool {
        self.header.get("alg").is_some_and(|alg| alg == "RS256")
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.is_rs256() && key.verify(self.signed.as_bytes(), &self.signature)
    }

    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A moment. Python's clients send whole numbers, others fractions.
    pub(super) fn moment(&self, claim: &str) -> Option<i64> {
        let value = self.claims.get(claim)?;
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }

    /// One text or a list of them: <https://www.rfc-editor.org/rfc/rfc7519#section-4.1.3>
    pub(super) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(audience)) => vec![audience],
            Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_its_key_signed() {
        let key = SigningKey::generate_here().expect("a key");
        let token = sign(&key, &json!({ "iss": "me", "exp": 5.5, "aud": ["a", "b"] })).expect("a token");
        let read = Unverified::read(&token).expect("a token");
        assert!(read.is_signed_by(key.public()));
        assert_eq!(
            (read.text("iss"), read.moment("exp"), read.key_id()),
            (Some("me"), Some(5), Some(&*key.public().id))
        );
        assert_eq!(read.audiences(), ["a", "b"]);
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let other = URL_SAFE_NO_PAD.encode(r#"{"iss":"you"}"#);
        let header = signed.split_once('.').expect("two parts").0;
        let forged = Unverified::read(&format!("{header}.{other}.{signature}")).expect("a token");
        assert!(!forged.is_signed_by(key.public()));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let unsigned = Unverified::read(&format!("{none}.{other}.")).expect("a token");
        assert!(!unsigned.is_signed_by(key.public()));
        for wrong in ["", "a", "a.b", "a.b.c", "e30.e30", "W10.e30.e30"] {
            assert!(Unverified::read(wrong).is_none(), "{wrong}");
        }
    }
}
