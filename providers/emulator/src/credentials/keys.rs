//! Keys of service accounts: of each the public half, and when it may be used.
//!
//! <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys>
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    Credentials,
    jwt::Unverified,
    rsa::{Failed, PublicKey, SigningKey},
    unique_id,
};
use crate::gcp::{
    call::{Call, unimplemented},
    status::{Code, Status},
};

/// <https://cloud.google.com/iam/quotas>
const MOST: usize = 10;
/// A key that has no end.
const NEVER: &str = "9999-12-31T23:59:59Z";

#[derive(Debug)]
struct Key {
    public: PublicKey,
    project: String,
    made: Timestamp,
    disabled: bool,
}

/// By the account's address, the oldest key first.
#[derive(Debug, Default)]
pub(super) struct Keys(RwLock<BTreeMap<String, Vec<Key>>>);

/// Why an assertion is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproved {
    NoAccount,
    Signature,
}

impl Keys {
    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether a key of this account, that is enabled, signed it.
    pub(super) fn prove(&self, email: &str, token: &Unverified) -> Result<(), Unproved> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let keys = known.get(email).ok_or(Unproved::NoAccount)?;
        let mut usable = keys.iter().filter(|key| !key.disabled);
        let signed = match token.key_id() {
            Some(id) => usable.find(|key| key.public.id == id).is_some_and(|key| token.is_signed_by(&key.public)),
            None => usable.any(|key| token.is_signed_by(&key.public)),
        };
        if signed { Ok(()) } else { Err(Unproved::Signature) }
    }

    /// Its name, or that there are enough.
    fn keep(&self, email: &str, key: Key) -> Result<Value, Status> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let keys = known.entry(email.to_owned()).or_default();
        if keys.len() >= MOST {
            return Err(Status::new(Code::FailedPrecondition, "Precondition check failed."));
        }
        let shown = render(email, &key);
        keys.push(key);
        Ok(shown)
    }
}

impl Credentials {
    /// The key file as Google writes it, and the key as the API shows it.
    pub(super) async fn new_key(
        &self,
        project: &str,
        email: &str,
        token_uri: &str,
    ) -> Result<(Zeroizing<String>, Value), Status> {
        let key = SigningKey::generate().await.map_err(internal)?;
        let file = key_file(&key, project, email, token_uri).map_err(internal)?;
        let key =
            Key { public: key.public().clone(), project: project.to_owned(), made: Timestamp::now(), disabled: false };
        Ok((file, self.keys.keep(email, key)?))
    }

    /// Keys end with their account.
    pub(crate) fn forget(&self, email: &str) {
        self.keys.0.write().unwrap_or_else(PoisonError::into_inner).remove(email);
    }

    /// `method` is its id below `iam.projects.serviceAccounts.keys.`.
    pub(crate) async fn handle_key(&self, call: &Call<'_>, method: &str) -> Result<Value, Status> {
        let email = self.accounts.email(&call.parameter(1));
        if !email.contains('@') {
            return Err(not_found());
        }
        match method {
            "create" => self.create_key(call, &email).await,
            "list" => Ok(self.list_keys(call, &email)),
            "get" => self.with_key(call, &email, |key| match call.query.get("publicKeyType").map(String::as_str) {
                None | Some("TYPE_NONE") => Ok(render(&email, key)),
                Some("TYPE_RAW_PUBLIC_KEY") => {
                    let mut shown = render(&email, key);
                    shown["publicKeyData"] = json!(STANDARD.encode(key.public.pem()));
                    Ok(shown)
                }
                // A certificate, which is not made here.
                Some(_) => Err(unimplemented()),
            }),
            "enable" | "disable" => self.with_key(call, &email, |key| {
                key.disabled = method == "disable";
                Ok(json!({}))
            }),
            "delete" => self.delete_key(call, &email),
            _ => Err(unimplemented()),
        }
    }

    async fn create_key(&self, call: &Call<'_>, email: &str) -> Result<Value, Status> {
        let kind = call.body["privateKeyType"].as_str();
        let algorithm = call.body["keyAlgorithm"].as_str();
        if kind == Some("TYPE_PKCS12_FILE") || algorithm == Some("KEY_ALG_RSA_1024") {
            return Err(unimplemented());
        }
        let project = project(call, email);
        let (file, mut shown) = self.new_key(&project, email, super::oauth::TOKEN_URI).await?;
        shown["privateKeyType"] = json!("TYPE_GOOGLE_CREDENTIALS_FILE");
        shown["privateKeyData"] = json!(STANDARD.encode(file.as_bytes()));
        Ok(shown)
    }

    fn list_keys(&self, call: &Call<'_>, email: &str) -> Value {
        let only_system = call.query.get("keyTypes").is_some_and(|kind| kind == "SYSTEM_MANAGED");
        let known = self.keys.0.read().unwrap_or_else(PoisonError::into_inner);
        let keys = known.get(email).into_iter().flatten().filter(|_| !only_system);
        let keys: Vec<_> = keys.map(|key| render(email, key)).collect();
        if keys.is_empty() { json!({}) } else { json!({ "keys": keys }) }
    }

    fn with_key(
        &self,
        call: &Call<'_>,
        email: &str,
        act: impl FnOnce(&mut Key) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        let mut known = self.keys.0.write().unwrap_or_else(PoisonError::into_inner);
        let id = call.parameter(2);
        let key = known.get_mut(email).into_iter().flatten().find(|key| key.public.id == id);
        act(key.ok_or_else(not_found)?)
    }

    fn delete_key(&self, call: &Call<'_>, email: &str) -> Result<Value, Status> {
        let mut known = self.keys.0.write().unwrap_or_else(PoisonError::into_inner);
        let keys = known.get_mut(email).ok_or_else(not_found)?;
        let id = call.parameter(2);
        let at = keys.iter().position(|key| key.public.id == id).ok_or_else(not_found)?;
        keys.remove(at);
        Ok(json!({}))
    }
}

/// The path's, or the one in the address: `-` is any. <https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts>
fn project(call: &Call<'_>, email: &str) -> String {
    match call.parameter(0).as_str() {
        "-" => project_of(email).unwrap_or("-").to_owned(),
        _ => call.project.clone(),
    }
}

/// `NAME@PROJECT.iam.gserviceaccount.com`.
pub(super) fn project_of(email: &str) -> Option<&str> {
    email.split_once('@')?.1.strip_suffix(".iam.gserviceaccount.com")
}

fn render(email: &str, key: &Key) -> Value {
    let mut shown = json!({
        "name": format!("projects/{}/serviceAccounts/{email}/keys/{}", key.project, key.public.id),
        "validAfterTime": format!("{:.0}", key.made),
        "validBeforeTime": NEVER,
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    });
    if key.disabled {
        shown["disabled"] = json!(true);
        shown["disableReason"] = json!("SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED");
    }
    shown
}

/// <https://cloud.google.com/iam/docs/keys-create-delete#creating>
fn key_file(key: &SigningKey, project: &str, email: &str, token_uri: &str) -> Result<Zeroizing<String>, Failed> {
    let private = key.private_pem()?;
    let text = |value: &str| Zeroizing::new(json!(value).to_string());
    // Written by hand: no value that holds the key is left behind, and the order is Google's.
    let fields = [
        ("type", text("service_account")),
        ("project_id", text(project)),
        ("private_key_id", text(&key.public().id)),
        ("private_key", text(&private)),
        ("client_email", text(email)),
        ("client_id", text(&unique_id(email))),
        ("auth_uri", text("https://accounts.google.com/o/oauth2/auth")),
        ("token_uri", text(token_uri)),
        ("auth_provider_x509_cert_url", text("https://www.googleapis.com/oauth2/v1/certs")),
        (
            "client_x509_cert_url",
            text(&format!("https://www.googleapis.com/robot/v1/metadata/x509/{}", email.replace('@', "%40"))),
        ),
        ("universe_domain", text("googleapis.com")),
    ];
    let length = fields.iter().map(|(name, value)| name.len() + value.len() + 9).sum::<usize>() + 4;
    let mut file = Zeroizing::new(String::with_capacity(length));
    for (index, (name, value)) in fields.iter().enumerate() {
        file.push_str(if index == 0 { "{\n  \"" } else { ",\n  \"" });
        file.push_str(name);
        file.push_str("\": ");
        file.push_str(value);
    }
    file.push_str("\n}\n");
    Ok(file)
}

pub(super) fn internal(failed: Failed) -> Status {
    Status::new(Code::Internal, failed.to_string())
}

pub(super) fn not_found() -> Status {
    Status::new(Code::NotFound, "Requested entity was not found.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_as_google_writes_it() {
        let key = SigningKey::generate_here().expect("a key");
        let email = "ci@p.iam.gserviceaccount.com";
        let file = key_file(&key, "p", email, "http://127.0.0.1:1/token").expect("a file");
        let read: Value = serde_json::from_str(&file).expect("JSON");
        assert_eq!((&read["type"], &read["client_email"]), (&json!("service_account"), &json!(email)));
        assert_eq!((&read["project_id"], &read["token_uri"]), (&json!("p"), &json!("http://127.0.0.1:1/token")));
        assert_eq!(read["private_key"].as_str(), Some(key.private_pem().expect("a text").as_str()));
        assert_eq!(read["private_key_id"], key.public().id);
        assert_eq!(read["client_id"].as_str().map(str::len), Some(21));
        assert_eq!(project_of(email), Some("p"));
        assert_eq!(project_of("1-compute@developer.gserviceaccount.com"), None);
    }
}
