//! Secrets in memory: numbered versions, and who may read them.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    Error, ErrorKind, Result,
    event::Ctx,
    plan::ResourceRef,
    secret::{LATEST, NewSecret, Reader, Secret, SecretStore, SecretValue, SecretVersion, VersionState},
};

const LONGEST: usize = 64 << 10;
/// What services run as when the file names no account.
const DEFAULT_ACCOUNT: &str = "memory-default";

#[derive(Debug, Default)]
pub(super) struct Secrets(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    secrets: BTreeMap<String, Stored>,
    /// Changes so far, which is what etags are made of.
    changes: u64,
}

#[derive(Debug)]
struct Stored {
    secret: Secret,
    versions: Vec<(SecretVersion, Option<SecretValue>)>,
    readers: BTreeSet<String>,
}

impl Secrets {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn etag(&mut self) -> String {
        self.changes += 1;
        self.changes.to_string()
    }

    fn find(&mut self, name: &str) -> Result<&mut Stored> {
        self.secrets.get_mut(name).ok_or_else(|| refuse(ErrorKind::NotFound, name, "it does not exist"))
    }
}

impl Stored {
    /// Where the version is.
    fn place(&self, version: &str) -> Option<usize> {
        let number = if version == LATEST { self.versions.len() } else { version.parse().ok()? };
        (1..=self.versions.len()).contains(&number).then(|| number - 1)
    }
}

fn refuse(kind: ErrorKind, name: &str, text: impl Into<String>) -> Error {
    Error::new(kind, text).on(ResourceRef::new("secret", name))
}

fn current(name: &str, given: Option<&str>, etag: Option<&String>) -> Result<()> {
    if given.is_some() && given != etag.map(String::as_str) {
        return Err(refuse(ErrorKind::Conflict, name, "somebody else changed it at the same time"));
    }
    Ok(())
}

#[async_trait]
impl SecretStore for Secrets {
    fn longest(&self) -> usize {
        LONGEST
    }

    fn check_name(&self, secret: &str) -> Result<()> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if !secret.is_empty() && secret.chars().all(allowed) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ConfigInvalid, format!("`{secret}` is no name of a secret")))
    }

    async fn list(&self, _cx: &Ctx) -> Result<Vec<Secret>> {
        Ok(self.store().secrets.values().map(|stored| stored.secret.clone()).collect())
    }

    async fn secret(&self, _cx: &Ctx, secret: &str) -> Result<Option<Secret>> {
        self.check_name(secret)?;
        Ok(self.store().secrets.get(secret).map(|stored| stored.secret.clone()))
    }

    async fn create(&self, _cx: &Ctx, secret: &str, new: &NewSecret) -> Result<Secret> {
        self.check_name(secret)?;
        let mut store = self.store();
        if store.secrets.contains_key(secret) {
            return Err(refuse(ErrorKind::Conflict, secret, "it exists already"));
        }
        let made = Secret {
            name: secret.to_owned(),
            created: Timestamp::now().to_string(),
            labels: new.labels.clone(),
            locations: new.locations.clone(),
            etag: Some(store.etag()),
        };
        let stored = Stored { secret: made.clone(), versions: Vec::new(), readers: BTreeSet::new() };
        store.secrets.insert(secret.to_owned(), stored);
        Ok(made)
    }

    async fn label(
        &self,
        _cx: &Ctx,
        secret: &str,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<Secret> {
        let mut store = self.store();
        let etag = store.etag();
        let found = &mut store.find(secret)?.secret;
        let mut labels = found.labels.clone();
        labels.retain(|key, _| !remove.contains(key));
        labels.extend(set.clone());
        if labels != found.labels {
            (found.labels, found.etag) = (labels, Some(etag));
        }
        Ok(found.clone())
    }

    async fn delete(&self, _cx: &Ctx, secret: &str, etag: Option<&str>) -> Result<()> {
        let mut store = self.store();
        current(secret, etag, store.find(secret)?.secret.etag.as_ref())?;
        store.secrets.remove(secret);
        Ok(())
    }

    async fn versions(&self, _cx: &Ctx, secret: &str) -> Result<Vec<SecretVersion>> {
        Ok(self.store().find(secret)?.versions.iter().rev().map(|(version, _)| version.clone()).collect())
    }

    async fn version(&self, _cx: &Ctx, secret: &str, version: &str) -> Result<Option<SecretVersion>> {
        self.check_name(secret)?;
        let store = self.store();
        let Some(found) = store.secrets.get(secret) else { return Ok(None) };
        Ok(found.place(version).map(|place| found.versions[place].0.clone()))
    }

    async fn add(&self, _cx: &Ctx, secret: &str, value: &SecretValue) -> Result<SecretVersion> {
        if value.expose().is_empty() || value.expose().len() > LONGEST {
            return Err(refuse(ErrorKind::Unclassified, secret, "the value is empty or too long"));
        }
        let mut store = self.store();
        let etag = store.etag();
        let found = store.find(secret)?;
        let made = SecretVersion {
            id: (found.versions.len() + 1).to_string(),
            created: Timestamp::now().to_string(),
            state: VersionState::Enabled,
            etag: Some(etag),
        };
        found.versions.push((made.clone(), Some(value.clone())));
        Ok(made)
    }

    async fn get(&self, _cx: &Ctx, secret: &str, version: &str) -> Result<(String, SecretValue)> {
        let mut store = self.store();
        let found = store.find(secret)?;
        let missing = || refuse(ErrorKind::NotFound, secret, format!("it has no version `{version}`"));
        let (description, value) = &found.versions[found.place(version).ok_or_else(missing)?];
        match (description.state, value) {
            (VersionState::Enabled, Some(value)) => Ok((description.id.clone(), value.clone())),
            (VersionState::Disabled, _) => {
                Err(refuse(ErrorKind::Conflict, secret, format!("version {} is disabled", description.id)))
            }
            _ => Err(refuse(ErrorKind::NotFound, secret, "the version is destroyed: its value is gone for good")),
        }
    }

    async fn set_state(
        &self,
        _cx: &Ctx,
        secret: &str,
        version: &str,
        state: VersionState,
        etag: Option<&str>,
    ) -> Result<SecretVersion> {
        let mut store = self.store();
        let next = store.etag();
        let found = store.find(secret)?;
        let missing = || refuse(ErrorKind::NotFound, secret, format!("it has no version `{version}`"));
        let place = found.place(version).ok_or_else(missing)?;
        let (description, value) = &mut found.versions[place];
        if description.state == state {
            return Ok(description.clone());
        }
        if description.state == VersionState::Destroyed {
            return Err(refuse(ErrorKind::NotFound, secret, "the version is destroyed: its value is gone for good"));
        }
        current(secret, etag, description.etag.as_ref())?;
        (description.state, description.etag) = (state, Some(next));
        if state == VersionState::Destroyed {
            *value = None;
        }
        Ok(description.clone())
    }

    async fn reader(&self, _cx: &Ctx, secret: &str, account: Option<&str>) -> Result<Reader> {
        let account = account.unwrap_or(DEFAULT_ACCOUNT).to_owned();
        let may = Ok(self.store().find(secret)?.readers.contains(&account));
        Ok(Reader { account, may })
    }

    async fn grant(&self, _cx: &Ctx, secret: &str, account: &str) -> Result<bool> {
        Ok(self.store().find(secret)?.readers.insert(account.to_owned()))
    }

    fn grant_command(&self, secret: &str, account: &str) -> String {
        format!("memory grant {secret} {account}")
    }
}
