//! Which services run an old version of a secret.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use carrack_core::{
    Result,
    event::Ctx,
    fields::FieldPath,
    secret::{LATEST, SecretStore, VersionState},
    spec::SecretRef,
};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

/// How long the store is waited for by somebody who only looks.
const GLANCE: Duration = Duration::from_secs(3);

/// A live secret of which there is a newer version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outdated {
    /// Whose.
    pub service: String,
    /// `secrets.DATABASE_URL`.
    pub field: FieldPath,
    /// The secret.
    pub secret: String,
    /// The version that runs.
    pub version: String,
    /// The newest one that can be read.
    pub newest: String,
}

/// Of each service's secrets those that run an older version than the newest enabled one. A secret that may not be
/// looked at is left out, and without secrets nothing is asked.
pub async fn outdated<'a>(
    cx: &Ctx,
    store: &dyn SecretStore,
    services: impl IntoIterator<Item = (&'a str, &'a BTreeMap<FieldPath, SecretRef>)>,
) -> Vec<Outdated> {
    let numbered: Vec<_> = services
        .into_iter()
        .flat_map(|(service, secrets)| secrets.iter().map(move |(field, secret)| (service, field, secret)))
        .filter_map(|(service, field, secret)| Some((service, field, secret, number(&secret.version)?)))
        .collect();
    let names: BTreeSet<&String> = numbered.iter().map(|(_, _, secret, _)| &secret.name).collect();
    let cx = &Ctx { deadline: Some(Instant::now() + GLANCE), ..cx.clone() };
    let newest = join_all(names.into_iter().map(async |name| (name, newest(cx, store, name).await))).await;
    let newest: BTreeMap<&String, u64> = newest
        .into_iter()
        .filter_map(|(name, newest)| match newest {
            Ok(newest) => Some((name, newest?)),
            Err(error) => {
                tracing::debug!(%error, "the versions of a secret cannot be looked at");
                None
            }
        })
        .collect();
    let old = |(service, field, secret, version): (&str, &FieldPath, &SecretRef, u64)| {
        let newest = newest.get(&secret.name).filter(|newest| **newest > version)?;
        Some(Outdated {
            service: service.to_owned(),
            field: field.clone(),
            secret: secret.name.clone(),
            version: secret.version.clone(),
            newest: newest.to_string(),
        })
    };
    numbered.into_iter().filter_map(old).collect()
}

fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

async fn newest(cx: &Ctx, store: &dyn SecretStore, secret: &str) -> Result<Option<u64>> {
    match store.version(cx, secret, LATEST).await? {
        Some(version) if version.state == VersionState::Enabled => Ok(number(&version.id)),
        // The version that was made last is not one that a service could take up.
        Some(_) => {
            let versions = store.versions(cx, secret).await?;
            Ok(versions
                .iter()
                .find(|version| version.state == VersionState::Enabled)
                .and_then(|found| number(&found.id)))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use carrack_core::{
        memory::Memory,
        provider::Provider,
        secret::{NewSecret, SecretValue},
    };

    use super::*;

    #[tokio::test]
    async fn a_newer_version_that_cannot_be_read_is_none() {
        let (memory, cx) = (Memory::default(), Ctx::silent());
        let store = memory.secrets();
        store.create(&cx, "key", &NewSecret::default()).await.expect("it is new");
        for value in ["one", "two", "three"] {
            store.add(&cx, "key", &SecretValue::new(value.as_bytes().to_vec())).await.expect("it is added");
        }
        let secret = |name: &str, version: &str| SecretRef { name: name.to_owned(), version: version.to_owned() };
        let live: BTreeMap<FieldPath, SecretRef> = [
            ("secrets.A".to_owned(), secret("key", "1")),
            ("secrets.B".to_owned(), secret("key", "2")),
            ("secrets.C".to_owned(), secret("key", "latest")),
            ("secrets.D".to_owned(), secret("gone", "1")),
            ("secrets./a/b".to_owned(), secret("key", "3")),
        ]
        .into();
        let found = async || {
            let found = outdated(&cx, store, [("shop", &live)]).await;
            found.into_iter().map(|old| format!("{} {} {}", old.field, old.version, old.newest)).collect::<Vec<_>>()
        };
        assert_eq!(found().await, ["secrets.A 1 3", "secrets.B 2 3"]);
        store.set_state(&cx, "key", "3", VersionState::Disabled, None).await.expect("it is disabled");
        assert_eq!(found().await, ["secrets.A 1 2"]);
    }
}
