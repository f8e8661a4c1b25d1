//! Secrets: a new value, another state, who may read.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event},
    plan::ResourceRef,
    poll::{Poll, PollPolicy, poll_until},
    secret::{LATEST, NewSecret, Secret, SecretStore, SecretValue, SecretVersion, VersionState},
};
use serde::Serialize;

/// How long a lost answer's outcome is looked for.
const LOOKING: Duration = Duration::from_secs(10);

/// What came of setting a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The secret.
    pub secret: String,
    /// The version that has the value.
    pub version: String,
    /// The secret is new.
    pub created: bool,
    /// The version is new; else the latest one had this value.
    pub changed: bool,
    /// Its length.
    pub bytes: usize,
}

/// Refuses what no store takes, before anything is sent.
pub fn check_value(store: &dyn SecretStore, value: &SecretValue) -> Result<()> {
    let longest = store.longest();
    if value.expose().is_empty() {
        return Err(Error::new(ErrorKind::ConfigInvalid, "the value is empty")
            .hint("give it on standard input, or name a file: `--from-file FILE`"));
    }
    if value.expose().len() > longest {
        return Err(Error::new(ErrorKind::ConfigInvalid, format!("the value is longer than {longest} bytes"))
            .hint("keep what is long in a bucket, and a key to it in the secret"));
    }
    Ok(())
}

/// Gives a secret this value, and makes the secret when it is missing. A value that it has already is not added again.
pub async fn set(
    cx: &Ctx,
    store: &dyn SecretStore,
    secret: &str,
    value: &SecretValue,
    new: &NewSecret,
) -> Result<Written> {
    store.check_name(secret)?;
    check_value(store, value)?;
    let created = describe(cx, store, secret, new).await?;
    let before = if created { Before::Nothing } else { latest(cx, store, secret).await? };
    let written = |version: String, changed| Written {
        secret: secret.to_owned(),
        version,
        created,
        changed,
        bytes: value.expose().len(),
    };
    match &before {
        Before::Value(version, held) if held == value => return Ok(written(version.clone(), false)),
        Before::Denied => cx.events.emit(Event::Warning {
            message: format!("the value of secret `{secret}` may not be read, so it was not compared"),
        }),
        _ => {}
    }
    let version = match store.add(cx, secret, value).await {
        Ok(version) => version.id,
        Err(error) if error.is_uncertain() => match added(cx, store, secret, value, &before).await {
            Some(version) => version,
            None => {
                return Err(error
                    .hint(format!("whether it was added is not known: `carrack secrets versions {secret}` shows it")));
            }
        },
        Err(error) if created => {
            return Err(error.hint(format!("the secret `{secret}` is made, and has no value yet")));
        }
        Err(error) => return Err(error),
    };
    if let Some(message) = beside(secret, &before, &version) {
        cx.events.emit(Event::Warning { message });
    }
    Ok(written(version, true))
}

/// What the secret held before.
enum Before {
    /// No version, or one whose value is gone or hidden.
    Nothing,
    /// Who asks may not know.
    Denied,
    Value(String, SecretValue),
}

async fn latest(cx: &Ctx, store: &dyn SecretStore, secret: &str) -> Result<Before> {
    match store.get(cx, secret, LATEST).await {
        Ok((version, value)) => Ok(Before::Value(version, value)),
        Err(error) => match error.kind() {
            // None, destroyed, or disabled.
            ErrorKind::NotFound | ErrorKind::Conflict => Ok(Before::Nothing),
            ErrorKind::PermissionDenied => Ok(Before::Denied),
            _ => Err(error),
        },
    }
}

/// Makes the secret, or brings its labels up to date; says whether it is new.
async fn describe(cx: &Ctx, store: &dyn SecretStore, secret: &str, new: &NewSecret) -> Result<bool> {
    let found = match store.secret(cx, secret).await {
        // Who may only add versions need not see the rest.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && *new == NewSecret::default() => return Ok(false),
        found => found?,
    };
    let found = match found {
        Some(found) => found,
        None => match store.create(cx, secret, new).await {
            Ok(_) => return Ok(true),
            // Somebody else made it a moment ago, or an attempt of ours whose answer was lost.
            Err(error) if error.kind() == ErrorKind::Conflict || error.is_uncertain() => {
                store.secret(cx, secret).await?.ok_or(error)?
            }
            Err(error) => return Err(error),
        },
    };
    same_locations(&found, new)?;
    if new.labels.iter().any(|(key, value)| found.labels.get(key) != Some(value)) {
        store.label(cx, secret, &new.labels, &[]).await?;
    }
    Ok(false)
}

fn same_locations(found: &Secret, new: &NewSecret) -> Result<()> {
    let set = |locations: &[String]| locations.iter().cloned().collect::<BTreeSet<_>>();
    if new.locations.is_empty() || set(&new.locations) == set(&found.locations) {
        return Ok(());
    }
    let kept = match found.locations.as_slice() {
        [] => "where the cloud chooses".to_owned(),
        locations => format!("in {}", locations.join(", ")),
    };
    Err(Error::new(ErrorKind::Conflict, format!("it is kept {kept}, and that never changes"))
        .on(ResourceRef::new("secret", &found.name))
        .hint("leave `--replica` out")
        .hint(format!("or begin anew, without its versions: `carrack secrets delete {}`", found.name)))
}

/// The version with this value that was added although the answer was lost.
async fn added(
    cx: &Ctx,
    store: &dyn SecretStore,
    secret: &str,
    value: &SecretValue,
    before: &Before,
) -> Option<String> {
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(LOOKING) };
    let now = poll_until(cx, policy, || async { Ok(Poll::Ready(latest(cx, store, secret).await?)) }).await.ok()?;
    match (now, before) {
        (Before::Value(version, held), Before::Value(old, _)) if held == *value && version != *old => Some(version),
        (Before::Value(version, held), Before::Nothing) if held == *value => Some(version),
        _ => None,
    }
}

/// Whether others added versions between our look and our write.
fn beside(secret: &str, before: &Before, version: &str) -> Option<String> {
    let Before::Value(before, _) = before else { return None };
    let (before, version): (u64, u64) = (before.parse().ok()?, version.parse().ok()?);
    let others = match version.checked_sub(before + 1)? {
        0 => return None,
        1 => format!("version {}", before + 1),
        _ => format!("versions {} to {}", before + 1, version - 1),
    };
    Some(format!(
        "somebody else added {others} to secret `{secret}` at the same time; version {version} is the latest now"
    ))
}

/// The version, or an error that says what is missing.
pub async fn version(cx: &Ctx, store: &dyn SecretStore, secret: &str, version: &str) -> Result<SecretVersion> {
    if let Some(found) = store.version(cx, secret, version).await? {
        return Ok(found);
    }
    let missing = |text: String| Error::new(ErrorKind::NotFound, text).on(ResourceRef::new("secret", secret));
    Err(match store.secret(cx, secret).await? {
        Some(_) => missing(format!("it has no version `{version}`"))
            .hint(format!("see what it has: `carrack secrets versions {secret}`")),
        None => none(secret),
    })
}

/// The secret, or an error that says that there is none.
pub async fn existing(cx: &Ctx, store: &dyn SecretStore, secret: &str) -> Result<Secret> {
    store.secret(cx, secret).await?.ok_or_else(|| none(secret))
}

fn none(secret: &str) -> Error {
    Error::new(ErrorKind::NotFound, "it does not exist")
        .on(ResourceRef::new("secret", secret))
        .hint("see which there are: `carrack secrets list`")
        .hint(format!("or give it a value: `carrack secrets set {secret}`"))
}

/// Brings one version into a state; says whether it was in another.
///
/// Somebody else's change in between is no conflict when it leads to the same.
pub async fn turn(
    cx: &Ctx,
    store: &dyn SecretStore,
    secret: &str,
    found: &SecretVersion,
    state: VersionState,
) -> Result<(SecretVersion, bool)> {
    if found.state == state {
        return Ok((found.clone(), false));
    }
    if found.state == VersionState::Destroyed {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("version {} is destroyed: its value is gone for good", found.id),
        )
        .on(ResourceRef::new("secret", secret))
        .hint(format!("see what is left: `carrack secrets versions {secret}`")));
    }
    let turned = store.set_state(cx, secret, &found.id, state, found.etag.as_deref()).await?;
    Ok((turned, true))
}

/// Labels as they are typed, `K=V`.
pub fn labels(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (key, value) in pairs {
        if labels.insert(key.clone(), value.clone()).is_some_and(|before| before != *value) {
            return Err(Error::new(ErrorKind::Usage, format!("label `{key}` is given twice")));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use carrack_core::{memory::Memory, provider::Provider};

    use super::*;

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_value_is_added_when_it_is_another() {
        let (memory, cx) = (Memory::default(), Ctx::silent());
        let store = memory.secrets();
        let set = async |text: &str| {
            let written = set(&cx, store, "db", &value(text), &NewSecret::default()).await.expect("it may");
            (written.version, written.created, written.changed)
        };
        assert_eq!(set("one").await, ("1".into(), true, true));
        assert_eq!(set("one").await, ("1".into(), false, false));
        assert_eq!(set("two").await, ("2".into(), false, true));
        assert_eq!(set("one").await, ("3".into(), false, true));
        let found = version(&cx, store, "db", LATEST).await.expect("there");
        turn(&cx, store, "db", &found, VersionState::Disabled).await.expect("it may");
        assert_eq!(set("one").await, ("4".into(), false, true), "a disabled value is not the current one");
    }

    #[tokio::test]
    async fn a_value_that_no_store_takes_is_refused_before_anything_is_made() {
        let (memory, cx) = (Memory::default(), Ctx::silent());
        for bytes in [0, (64 << 10) + 1] {
            let error =
                set(&cx, memory.secrets(), "db", &SecretValue::new(vec![7; bytes]), &NewSecret::default()).await;
            assert_eq!(error.expect_err("refused").kind(), ErrorKind::ConfigInvalid);
        }
        let error = set(&cx, memory.secrets(), "a.b", &value("x"), &NewSecret::default()).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(memory.secrets().list(&cx).await.expect("a list").is_empty());
    }

    #[test]
    fn versions_of_others_are_told() {
        let before = Before::Value("3".into(), value("x"));
        let told = |version: &str| beside("db", &before, version);
        assert_eq!(told("4"), None);
        assert!(told("5").expect("a text").contains("added version 4 to"));
        assert!(told("7").expect("a text").contains("added versions 4 to 6 to"));
        assert_eq!(beside("db", &Before::Denied, "9"), None);
    }
}
