//! Secret Manager: <https://cloud.google.com/secret-manager/docs/reference/rest>.
//!
//! | module | what it holds |
//! |---|---|
//! | `names` | a secret by its short or its whole name |
//! | `wire` | what is sent and what is answered; values with their checksums |
//! | `client` | the calls |
//! | `policy` | who may read a value, and letting somebody |
//! | `refusal` | Google's texts, with the secret and a command to type |
mod client;
mod names;
mod policy;
mod refusal;
mod wire;

use std::collections::BTreeMap;

use async_trait::async_trait;
use carrack_core::{
    Result,
    event::Ctx,
    secret::{NewSecret, Reader, Secret, SecretStore, SecretValue, SecretVersion, VersionState},
};

use self::names::SecretName;
use crate::CloudRun;

/// <https://cloud.google.com/secret-manager/quotas#content_limits>
const LONGEST: usize = 64 << 10;

/// The command that lets an account read a secret, whose project may be told by its number.
pub(crate) fn grant_command(project: &str, secret: &str, account: &str) -> String {
    policy::command(&SecretName { project: project.to_owned(), id: secret.to_owned(), own: false }, account)
}

impl CloudRun {
    fn secret_name(&self, text: &str) -> Result<SecretName> {
        SecretName::parse(text, &self.project)
    }
}

#[async_trait]
impl SecretStore for CloudRun {
    fn longest(&self) -> usize {
        LONGEST
    }
    fn check_name(&self, secret: &str) -> Result<()> {
        self.secret_name(secret).map(drop)
    }
    async fn list(&self, cx: &Ctx) -> Result<Vec<Secret>> {
        client::list(self, cx).await
    }
    async fn secret(&self, cx: &Ctx, secret: &str) -> Result<Option<Secret>> {
        client::secret(self, cx, &self.secret_name(secret)?).await
    }
    async fn create(&self, cx: &Ctx, secret: &str, new: &NewSecret) -> Result<Secret> {
        client::create(self, cx, &self.secret_name(secret)?, new).await
    }
    async fn label(&self, cx: &Ctx, secret: &str, set: &BTreeMap<String, String>, remove: &[String]) -> Result<Secret> {
        client::label(self, cx, &self.secret_name(secret)?, set, remove).await
    }
    async fn delete(&self, cx: &Ctx, secret: &str, etag: Option<&str>) -> Result<()> {
        client::delete(self, cx, &self.secret_name(secret)?, etag).await
    }
    async fn versions(&self, cx: &Ctx, secret: &str) -> Result<Vec<SecretVersion>> {
        client::versions(self, cx, &self.secret_name(secret)?).await
    }
    async fn version(&self, cx: &Ctx, secret: &str, version: &str) -> Result<Option<SecretVersion>> {
        client::version(self, cx, &self.secret_name(secret)?, names::version(version)?).await
    }
    async fn add(&self, cx: &Ctx, secret: &str, value: &SecretValue) -> Result<SecretVersion> {
        client::add(self, cx, &self.secret_name(secret)?, value).await
    }
    async fn get(&self, cx: &Ctx, secret: &str, version: &str) -> Result<(String, SecretValue)> {
        client::access(self, cx, &self.secret_name(secret)?, names::version(version)?).await
    }
    async fn set_state(
        &self,
        cx: &Ctx,
        secret: &str,
        version: &str,
        state: VersionState,
        etag: Option<&str>,
    ) -> Result<SecretVersion> {
        client::set_state(self, cx, &self.secret_name(secret)?, names::version(version)?, state, etag).await
    }
    async fn reader(&self, cx: &Ctx, secret: &str, account: Option<&str>) -> Result<Reader> {
        policy::reader(self, cx, &self.secret_name(secret)?, account).await
    }
    async fn grant(&self, cx: &Ctx, secret: &str, account: &str) -> Result<bool> {
        policy::grant(self, cx, &self.secret_name(secret)?, account).await
    }
    fn grant_command(&self, secret: &str, account: &str) -> String {
        match self.secret_name(secret) {
            Ok(name) => policy::command(&name, account),
            Err(_) => policy::command(&SecretName::unchecked(secret, &self.project), account),
        }
    }
}
