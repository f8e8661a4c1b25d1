//! What every provider's store of secrets must hold to.
use carrack_core::{
    ErrorKind, Result,
    secret::{LATEST, NewSecret, SecretStore, SecretValue, VersionState},
};

use crate::cases::Backend;

impl<'a> Backend<'a> {
    fn secrets(&self) -> &'a dyn SecretStore {
        self.provider.secrets()
    }

    /// A secret of this case's own, with these values.
    async fn secret(&self, values: &[&[u8]]) -> Result<String> {
        let name = format!("secret-{}", self.name);
        self.secrets().create(&self.cx, &name, &NewSecret::default()).await?;
        for value in values {
            self.secrets().add(&self.cx, &name, &SecretValue::new(value.to_vec())).await?;
        }
        Ok(name)
    }
}

pub(crate) async fn a_secret_that_is_not_there(backend: &Backend<'_>) -> Result<()> {
    let (store, cx, name) = (backend.secrets(), &backend.cx, "secret-of-nobody");
    assert_eq!(store.secret(cx, name).await?, None);
    assert_eq!(store.version(cx, name, LATEST).await?, None);
    let value = SecretValue::new(b"x".to_vec());
    for error in [
        store.versions(cx, name).await.expect_err("no versions"),
        store.get(cx, name, LATEST).await.expect_err("no value"),
        store.add(cx, name, &value).await.expect_err("no secret"),
        store.delete(cx, name, None).await.expect_err("nothing to delete"),
        store.set_state(cx, name, "1", VersionState::Disabled, None).await.expect_err("no version"),
        store.reader(cx, name, None).await.expect_err("no policy"),
        store.grant(cx, name, "a@b.iam.gserviceaccount.com").await.expect_err("no policy"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(error.resource().map(|resource| resource.name.as_str()), Some(name), "{error}");
    }
    for wrong in ["", "a.b", "a b"] {
        assert_eq!(store.check_name(wrong).expect_err(wrong).kind(), ErrorKind::ConfigInvalid);
        assert_eq!(store.secret(cx, wrong).await.expect_err(wrong).kind(), ErrorKind::ConfigInvalid);
    }
    Ok(())
}

pub(crate) async fn a_secret_is_made_once(backend: &Backend<'_>) -> Result<()> {
    let (store, cx) = (backend.secrets(), &backend.cx);
    let name = format!("secret-{}", backend.name);
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let new = NewSecret { labels: labels(&[("a", "1"), ("b", "2")]), locations: vec!["europe-west1".into()] };
    let made = store.create(cx, &name, &new).await?;
    assert_eq!((&made.name, &made.labels, &made.locations), (&name, &new.labels, &new.locations));
    assert_eq!(store.secret(cx, &name).await?.as_ref(), Some(&made));
    assert!(store.list(cx).await?.contains(&made));
    let again = store.create(cx, &name, &NewSecret::default()).await.expect_err("it is there");
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let changed = store.label(cx, &name, &labels(&[("b", "3"), ("c", "4")]), &["a".to_owned()]).await?;
    assert_eq!(changed.labels, labels(&[("b", "3"), ("c", "4")]));
    let stale = store.delete(cx, &name, made.etag.as_deref()).await.expect_err("it changed");
    assert_eq!(stale.kind(), ErrorKind::Conflict, "{stale}");
    store.delete(cx, &name, changed.etag.as_deref()).await?;
    assert_eq!(store.secret(cx, &name).await?, None);
    Ok(())
}

pub(crate) async fn a_value_comes_back_as_it_was_added(backend: &Backend<'_>) -> Result<()> {
    let (store, cx) = (backend.secrets(), &backend.cx);
    let all: Vec<u8> = (0..=255).collect();
    let longest = vec![0xa5; store.longest()];
    let name = backend.secret(&[&all, b"\n", &longest]).await?;
    for (version, value) in [("1", all.as_slice()), ("2", b"\n"), ("3", &longest), (LATEST, &longest)] {
        let (id, got) = store.get(cx, &name, version).await?;
        assert!(got.expose() == value, "version {version}");
        assert_eq!(id, if version == LATEST { "3" } else { version });
    }
    for refused in [Vec::new(), vec![0; store.longest() + 1]] {
        store.add(cx, &name, &SecretValue::new(refused)).await.expect_err("empty or too long");
    }
    Ok(())
}

pub(crate) async fn versions_are_listed_newest_first(backend: &Backend<'_>) -> Result<()> {
    let (store, cx) = (backend.secrets(), &backend.cx);
    let name = backend.secret(&[]).await?;
    assert!(store.versions(cx, &name).await?.is_empty());
    // More than a page.
    let count = 1001;
    for number in 1..=count {
        let value = SecretValue::new(number.to_string().into_bytes());
        assert_eq!(store.add(cx, &name, &value).await?.id, number.to_string());
    }
    let ids: Vec<usize> =
        store.versions(cx, &name).await?.iter().map(|version| version.id.parse().expect("a number")).collect();
    assert_eq!(ids, (1..=count).rev().collect::<Vec<_>>());
    assert_eq!(store.version(cx, &name, LATEST).await?.expect("a version").id, count.to_string());
    assert_eq!(store.version(cx, &name, "1002").await?, None);
    Ok(())
}

pub(crate) async fn a_versions_state_decides_who_reads(backend: &Backend<'_>) -> Result<()> {
    use VersionState::{Destroyed, Disabled, Enabled};
    let (store, cx) = (backend.secrets(), &backend.cx);
    let name = backend.secret(&[b"one", b"two"]).await?;
    let turned = store.set_state(cx, &name, "2", Disabled, None).await?;
    assert_eq!((turned.id.as_str(), turned.state), ("2", Disabled));
    assert_eq!(store.set_state(cx, &name, "2", Disabled, turned.etag.as_deref()).await?.state, Disabled);
    // Nothing falls back to an earlier one.
    assert_eq!(store.get(cx, &name, LATEST).await.expect_err("disabled").kind(), ErrorKind::Conflict);
    assert_eq!(
        store.version(cx, &name, LATEST).await?.map(|version| (version.id, version.state)),
        Some(("2".into(), Disabled))
    );
    assert_eq!(store.set_state(cx, &name, "2", Enabled, None).await?.state, Enabled);
    assert_eq!(store.get(cx, &name, LATEST).await?.1.expose(), b"two");
    for _ in 0..2 {
        assert_eq!(store.set_state(cx, &name, "1", Destroyed, None).await?.state, Destroyed);
    }
    for error in [
        store.get(cx, &name, "1").await.expect_err("no value is left"),
        store.set_state(cx, &name, "1", Enabled, None).await.expect_err("no value is left"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    Ok(())
}

pub(crate) async fn a_stale_version_is_a_conflict(backend: &Backend<'_>) -> Result<()> {
    let (store, cx) = (backend.secrets(), &backend.cx);
    let name = backend.secret(&[b"one"]).await?;
    let seen = store.version(cx, &name, "1").await?.expect("a version");
    store.set_state(cx, &name, "1", VersionState::Disabled, seen.etag.as_deref()).await?;
    let error = store.set_state(cx, &name, "1", VersionState::Destroyed, seen.etag.as_deref()).await;
    assert_eq!(error.expect_err("somebody else was first").kind(), ErrorKind::Conflict);
    assert_eq!(store.version(cx, &name, "1").await?.expect("a version").state, VersionState::Disabled);
    Ok(())
}

pub(crate) async fn a_grant_is_made_once_and_read_back(backend: &Backend<'_>) -> Result<()> {
    let (store, cx) = (backend.secrets(), &backend.cx);
    let name = backend.secret(&[b"one"]).await?;
    let account = "run-case@local.iam.gserviceaccount.com";
    assert!(store.grant(cx, &name, account).await?);
    assert!(!store.grant(cx, &name, account).await?);
    let reader = store.reader(cx, &name, Some(account)).await?;
    assert_eq!((reader.account.as_str(), reader.may), (account, Ok(true)));
    let default = store.reader(cx, &name, None).await?;
    assert!(!default.account.is_empty() && default.may != Ok(true), "{default:?}");
    assert!(store.grant(cx, &name, &default.account).await?);
    assert_eq!(store.reader(cx, &name, None).await?.may, Ok(true));
    let command = store.grant_command(&name, account);
    assert!(command.contains(&name) && command.contains(account), "{command}");
    Ok(())
}
