//! What a store of secrets does: Secret Manager, Key Vault, Secrets Manager.
//!
//! A secret is named as the cloud names it: `db-url`, or by its whole name where it is elsewhere
//! (`projects/other/secrets/db-url`). Values are in [`SecretValue`] and nowhere else.
use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Result, event::Ctx};

/// The version that was made last, whatever its state.
pub const LATEST: &str = "latest";

/// A secret's value: any bytes, wiped from memory and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self(bytes.into())
    }
    /// The bytes, for the one request or file that carries them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(REDACTED)")
    }
}

/// A secret, without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// As the cloud names it.
    pub name: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The locations that hold it; empty = the cloud chooses.
    pub locations: Vec<String>,
    /// The version of this description, for [`SecretStore::delete`].
    pub etag: Option<String>,
}

/// How a secret is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSecret {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The locations that shall hold it; empty = the cloud chooses. Fixed afterwards.
    pub locations: Vec<String>,
}

/// One version of a secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretVersion {
    /// The cloud's own name for it; a number in Secret Manager.
    pub id: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// Whether its value can be read.
    pub state: VersionState,
    /// The version of this description, for [`SecretStore::set_state`].
    pub etag: Option<String>,
}

/// Whether a version's value can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// It can.
    Enabled,
    /// Not now.
    Disabled,
    /// Never again.
    Destroyed,
}

/// Whether an account may read a secret's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The account that was asked about: the cloud's default one where none was named.
    pub account: String,
    /// Or why it could not be asked.
    pub may: Result<bool, String>,
}

/// A cloud's store of secrets. Every write of a secret goes through here.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync {
    /// The longest value, in bytes.
    fn longest(&self) -> usize;

    /// Refuses what can be no secret's name, with kind `ConfigInvalid`. Pure; the calls check it as well.
    fn check_name(&self, secret: &str) -> Result<()>;

    /// Lists the secrets of this place, by name. Idempotent.
    async fn list(&self, cx: &Ctx) -> Result<Vec<Secret>>;

    /// Reads a secret's description; `None` when there is none of that name. Idempotent.
    async fn secret(&self, cx: &Ctx, secret: &str) -> Result<Option<Secret>>;

    /// Makes a secret without a version. One that is there already is an error of kind `Conflict`.
    async fn create(&self, cx: &Ctx, secret: &str, new: &NewSecret) -> Result<Secret>;

    /// Sets and removes labels; the others stay. Idempotent.
    async fn label(&self, cx: &Ctx, secret: &str, set: &BTreeMap<String, String>, remove: &[String]) -> Result<Secret>;

    /// Removes a secret with all its versions, when it still is as `etag` says.
    async fn delete(&self, cx: &Ctx, secret: &str, etag: Option<&str>) -> Result<()>;

    /// Lists the versions, newest first. Idempotent.
    async fn versions(&self, cx: &Ctx, secret: &str) -> Result<Vec<SecretVersion>>;

    /// Reads one version's description: a number, an alias or [`LATEST`]; `None` when there is none. Idempotent.
    async fn version(&self, cx: &Ctx, secret: &str, version: &str) -> Result<Option<SecretVersion>>;

    /// Adds a version with this value.
    async fn add(&self, cx: &Ctx, secret: &str, value: &SecretValue) -> Result<SecretVersion>;

    /// Reads a value, and which version it is. Idempotent.
    async fn get(&self, cx: &Ctx, secret: &str, version: &str) -> Result<(String, SecretValue)>;

    /// Enables, disables or destroys a version, when it still is as `etag` says. Idempotent.
    async fn set_state(
        &self,
        cx: &Ctx,
        secret: &str,
        version: &str,
        state: VersionState,
        etag: Option<&str>,
    ) -> Result<SecretVersion>;

    /// Whether `account` may read the values: `None` is the account that a service runs as by default. Idempotent.
    ///
    /// `Ok(false)` is what the policies say that could be read; a grant further up may not be among them.
    async fn reader(&self, cx: &Ctx, secret: &str, account: Option<&str>) -> Result<Reader>;

    /// Lets `account` read the values; says whether that is new. Everything else of the policy stays. Idempotent.
    async fn grant(&self, cx: &Ctx, secret: &str, account: &str) -> Result<bool>;

    /// The cloud's own command for [`grant`](Self::grant), to type.
    fn grant_command(&self, secret: &str, account: &str) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_shown() {
        let value = SecretValue::new(b"hunter2".to_vec());
        assert_eq!(format!("{value:?}"), "SecretValue(REDACTED)");
        assert_eq!(value.expose(), b"hunter2");
    }
}
