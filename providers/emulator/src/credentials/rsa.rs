//! RSA keys of 2048 bits that sign with SHA-256, the one algorithm of Google's tokens (`RS256`).
use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The library could not do it; it does not say why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the key cannot be made or used")
    }
}

/// Both halves.
pub(super) struct SigningKey {
    pair: RsaKeyPair,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SigningKey").field(&self.public.id).finish()
    }
}

impl SigningKey {
    /// Takes a good part of a second, on a thread of its own.
    pub(super) async fn generate() -> Result<Self, Failed> {
        tokio::task::spawn_blocking(Self::generate_here).await.map_err(|_| Failed)?
    }

    pub(super) fn generate_here() -> Result<Self, Failed> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| Failed)?;
        let key = pair.public_key();
        let (n, e) =
            (key.modulus().big_endian_without_leading_zero(), key.exponent().big_endian_without_leading_zero());
        let der: PublicKeyX509Der<'_> = key.as_der().map_err(|_| Failed)?;
        let public = PublicKey { id: id(n), n: n.to_vec(), e: e.to_vec(), der: der.as_ref().to_vec() };
        Ok(Self { pair, public })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| Failed)?;
        Ok(signature)
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// PKCS #8, as in Google's key files.
    pub(super) fn private_pem(&self) -> Result<Zeroizing<String>, Failed> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| Failed)?;
        Ok(Zeroizing::new(pem("PRIVATE KEY", der.as_ref())))
    }
}

/// The half that everybody may have.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    /// Forty hexadecimal digits, as Google's keys have.
    pub(super) id: String,
    n: Vec<u8>,
    e: Vec<u8>,
    /// X.509's SubjectPublicKeyInfo; empty of a key that came as a JWK.
    der: Vec<u8>,
}

impl PublicKey {
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents { n: self.n.as_slice(), e: self.e.as_slice() };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }

    /// <https://www.rfc-editor.org/rfc/rfc7517>
    pub(super) fn jwk(&self) -> Value {
        json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id,
            "n": URL_SAFE_NO_PAD.encode(&self.n), "e": URL_SAFE_NO_PAD.encode(&self.e),
        })
    }

    /// Of a set that somebody gave; `None` when it is no RSA key.
    pub(super) fn from_jwk(jwk: &Value) -> Option<Self> {
        let number = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Some(bytes[zeros..].to_vec()).filter(|bytes| !bytes.is_empty())
        };
        (jwk["kty"] == "RSA").then_some(())?;
        let id = jwk["kid"].as_str()?.to_owned();
        Some(Self { id, n: number("n")?, e: number("e")?, der: Vec::new() })
    }

    pub(super) fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.der)
    }
}

fn id(modulus: &[u8]) -> String {
    Sha256::digest(modulus).iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = format!("-----BEGIN {label}-----\n");
    // Enough from the start, so that no copy of a private key is left behind where the text grew.
    pem.reserve(text.len() + text.len() / 64 + 64);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_verified_by_the_public_half_alone() {
        let (key, other) = (SigningKey::generate_here().expect("a key"), SigningKey::generate_here().expect("a key"));
        let signature = key.sign(b"hello").expect("a signature");
        assert!(key.public().verify(b"hello", &signature));
        assert!(!key.public().verify(b"hallo", &signature) && !other.public().verify(b"hello", &signature));
        let published = PublicKey::from_jwk(&key.public().jwk()).expect("a JWK");
        assert!(published.verify(b"hello", &signature) && published.id == key.public().id);
        assert_eq!(key.public().id.len(), 40);
        let pem = key.private_pem().expect("a text");
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\nMII") && pem.ends_with("\n-----END PRIVATE KEY-----\n"));
        assert!(pem.lines().all(|line| line.len() <= 64));
        let read = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let read = RsaKeyPair::from_pkcs8(&STANDARD.decode(read).expect("base64")).expect("a key");
        assert_eq!(read.public_key().as_ref(), key.pair.public_key().as_ref());
        assert!(!format!("{key:?}").contains("BEGIN"));
    }

    #[test]
    fn what_is_no_rsa_key_is_none() {
        let key = SigningKey::generate_here().expect("a key").public().jwk();
        for (field, value) in [("kty", json!("EC")), ("n", json!("")), ("n", json!("*")), ("e", Value::Null)] {
            let mut wrong = key.clone();
            wrong[field] = value;
            assert!(PublicKey::from_jwk(&wrong).is_none(), "{field}");
        }
    }
}
