//! The secrets of a deploy: each version by its number, and whether the service may read it. Asked while the service is
//! looked at; all that is wrong is told at once, before anything is changed.
use std::collections::{BTreeMap, BTreeSet};

use carrack_core::{
    Error, ErrorKind, Result,
    cause::{Cause, Code, Fix},
    event::{Ctx, Event},
    fields::FieldPath,
    observed::Observed,
    provider::Provider,
    secret::{LATEST, Reader, SecretStore, SecretVersion, VersionState},
    spec::{SecretRef, ServiceName, ServiceSpec, UNRESOLVED, WorkloadSpec},
};
use futures_util::future::{join, try_join_all};

use super::observe::settled;

/// What the user wants of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the service may not read is granted to it, by [`grant`].
    pub grant: bool,
    /// The flags that commands to type need: ` --to prod`.
    pub flags: String,
}

/// A secret, and the account that shall be able to read it.
pub type Grant = (String, String);

/// Looks at the service, and its secrets up: afterwards `spec` has each version by its number, but for one that is to go
/// on moving. Without secrets nothing more is asked than of the service.
pub(super) async fn observed(
    cx: &Ctx,
    provider: &dyn Provider,
    name: &ServiceName,
    spec: &mut ServiceSpec,
    options: &Options,
) -> Result<(Observed, Vec<Grant>)> {
    let account = |observed: &Observed| observed.service.as_ref()?.spec.workload.service_account.clone();
    checked(cx, provider, &mut spec.workload, options, settled(cx, provider, name), account).await
}

/// The same, of whatever `look` looks at; `account` is the one that it runs as.
pub(super) async fn checked<T>(
    cx: &Ctx,
    provider: &dyn Provider,
    workload: &mut WorkloadSpec,
    options: &Options,
    look: impl Future<Output = Result<T>>,
    account: impl Fn(&T) -> Option<String>,
) -> Result<(T, Vec<Grant>)> {
    let wanted: Vec<(FieldPath, SecretRef)> = workload.secrets().map(|(path, secret)| (path, secret.clone())).collect();
    if wanted.is_empty() {
        return Ok((look.await?, Vec::new()));
    }
    let store = provider.secrets();
    let named = workload.service_account.clone();
    let early = async {
        match &named {
            Some(account) => Ok::<_, Error>(Some(readers(cx, store, &wanted, Some(account)).await?)),
            None => Ok(None),
        }
    };
    let secrets = async {
        let (versions, early) = join(versions(cx, store, &wanted), early).await;
        Ok((versions?, early?))
    };
    let (observed, (versions, early)) = tokio::try_join!(look, secrets)?;
    let readers = match early {
        Some(readers) => readers,
        None => readers(cx, store, &wanted, account(&observed).as_deref()).await?,
    };
    let mut check = Check { cx, store, options, problems: Vec::new(), grants: Vec::new() };
    for (path, secret) in &wanted {
        check.version(path, secret, &versions[secret]);
    }
    check.readers(&wanted, &readers);
    let grants = check.told()?;
    for secret in workload.secrets_mut() {
        if let Some(Answer::Version(version)) = versions.get(secret).filter(|_| secret.version != LATEST) {
            secret.version.clone_from(&version.id);
        }
    }
    Ok((observed, grants))
}

/// Lets the accounts read the secrets.
pub(super) async fn grant(cx: &Ctx, store: &dyn SecretStore, grants: &[Grant]) -> Result<()> {
    for (secret, account) in grants {
        let new = store.grant(cx, secret, account).await.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => {
                error.hint(format!("or let an owner of the secret do it: `{}`", store.grant_command(secret, account)))
            }
            _ => error,
        })?;
        if new {
            let message = format!(
                "granted: `{account}` may read secret `{secret}`; it may take some minutes until that is known everywhere"
            );
            cx.events.emit(Event::Note { message });
        }
    }
    Ok(())
}

/// What is known of one version.
#[derive(Debug)]
enum Answer {
    Version(SecretVersion),
    NoVersion,
    NoSecret,
    /// It may not be asked, and need not be known.
    Unknown(Error),
}

/// Each once, side by side.
async fn versions(
    cx: &Ctx,
    store: &dyn SecretStore,
    wanted: &[(FieldPath, SecretRef)],
) -> Result<BTreeMap<SecretRef, Answer>> {
    let each: BTreeSet<&SecretRef> = wanted.iter().map(|(_, secret)| secret).collect();
    let asked =
        each.into_iter().map(async |secret| Ok::<_, Error>((secret.clone(), version(cx, store, secret).await?)));
    Ok(try_join_all(asked).await?.into_iter().collect())
}

async fn version(cx: &Ctx, store: &dyn SecretStore, secret: &SecretRef) -> Result<Answer> {
    let (name, version) = (&secret.name, if secret.version == UNRESOLVED { LATEST } else { &secret.version });
    match store.version(cx, name, version).await {
        Ok(Some(version)) => Ok(Answer::Version(version)),
        Ok(None) => match store.secret(cx, name).await {
            Ok(None) => Ok(Answer::NoSecret),
            Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
            _ => Ok(Answer::NoVersion),
        },
        Err(error) if secret.stays() && error.kind() == ErrorKind::PermissionDenied => Ok(Answer::Unknown(error)),
        Err(error) => Err(error),
    }
}

/// Each secret once, side by side. One that is not there is left out.
async fn readers(
    cx: &Ctx,
    store: &dyn SecretStore,
    wanted: &[(FieldPath, SecretRef)],
    account: Option<&str>,
) -> Result<BTreeMap<String, Reader>> {
    let each: BTreeSet<&String> = wanted.iter().map(|(_, secret)| &secret.name).collect();
    let asked = each.into_iter().map(async |secret| match store.reader(cx, secret, account).await {
        Ok(reader) => Ok(Some((secret.clone(), reader))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// What the answers come to.
struct Check<'a> {
    cx: &'a Ctx,
    store: &'a dyn SecretStore,
    options: &'a Options,
    problems: Vec<Error>,
    grants: Vec<Grant>,
}

impl Check<'_> {
    fn version(&mut self, path: &str, secret: &SecretRef, answer: &Answer) {
        let (SecretRef { name, version }, flags) = (secret, &self.options.flags);
        let set = format!("give it a value: `carrack secrets set {name}{flags}`");
        let list = format!("see what it has: `carrack secrets versions {name}{flags}`");
        let newest = version == UNRESOLVED || version == LATEST;
        let found = match answer {
            Answer::Version(found) => found,
            Answer::Unknown(why) => {
                self.note(format!("version {version} of secret `{name}` could not be asked for: {why}"));
                return;
            }
            Answer::NoSecret => {
                let text = format!("secret `{name}` does not exist");
                self.problem(path, ErrorKind::NotFound, Code::SecretMissing, text, &[&set]);
                return;
            }
            Answer::NoVersion => {
                let (text, hint) = match newest {
                    true => (format!("secret `{name}` has no version yet"), &set),
                    false => (format!("secret `{name}` has no version `{version}`"), &list),
                };
                self.problem(path, ErrorKind::NotFound, Code::SecretMissing, text, &[hint]);
                return;
            }
        };
        let id = &found.id;
        let subject = match newest {
            true => format!("the newest version of secret `{name}`, {id},"),
            false => format!("version {id} of secret `{name}`"),
        };
        match found.state {
            VersionState::Enabled if version == LATEST => self.note(format!(
                "`{path}` goes on moving: whatever is the newest version of `{name}` is read at each start; without `version` a deploy writes its number"
            )),
            VersionState::Enabled => {}
            VersionState::Disabled => {
                let enable = format!("enable it: `carrack secrets enable {name} {id}{flags}`");
                let other = format!("or name another: `{{ secret = \"{name}\", version = \"…\" }}`");
                let text = format!("{subject} is disabled");
                self.problem(path, ErrorKind::Conflict, Code::SecretNotEnabled, text, &[&enable, &other]);
            }
            VersionState::Destroyed => {
                let text = format!("{subject} is destroyed: its value is gone for good");
                self.problem(path, ErrorKind::NotFound, Code::SecretNotEnabled, text, &[&list, &set]);
            }
        }
    }

    /// A secret is told of once, at the first of its fields.
    fn readers(&mut self, wanted: &[(FieldPath, SecretRef)], readers: &BTreeMap<String, Reader>) {
        let mut told = BTreeSet::new();
        for (path, SecretRef { name, .. }) in wanted.iter().filter(|(_, secret)| told.insert(&secret.name)) {
            let Some(Reader { account, may }) = readers.get(name) else { continue };
            match may {
                Ok(true) => {}
                // What may be there already is given once more, where it is known to whom.
                Ok(false) | Err(_) if self.options.grant && account.contains('@') => {
                    self.grants.push((name.clone(), account.clone()))
                }
                Err(why) => {
                    self.note(format!("whether `{account}` may read secret `{name}` could not be asked: {why}"));
                }
                Ok(false) => {
                    let flags = &self.options.flags;
                    let text = format!("the service's account `{account}` may not read secret `{name}`");
                    let ours = format!("grant it: `carrack secrets grant {name} --to-account {account}{flags}`");
                    let clouds = format!("or: `{}`", self.store.grant_command(name, account));
                    let all = format!("or let the deploy grant what is missing: `carrack deploy --grant{flags}`");
                    let kind = ErrorKind::PermissionDenied;
                    self.problem(path, kind, Code::SecretNotReadable, text, &[&ours, &clouds, &all]);
                }
            }
        }
    }

    fn note(&self, message: String) {
        self.cx.events.emit(Event::Note { message });
    }

    fn problem(&mut self, path: &str, kind: ErrorKind, code: Code, message: String, hints: &[&String]) {
        let cause = Cause { code, message: message.clone(), fix: Fix::default() };
        let error = Error::new(kind, message).at_field(path).with_cause(cause);
        self.problems.push(hints.iter().fold(error, |error, hint| error.hint(*hint)));
    }

    /// All that is wrong as one error, what is missing before what is not allowed.
    fn told(mut self) -> Result<Vec<Grant>> {
        let rank = |error: &Error| match error.kind() {
            ErrorKind::NotFound => 0,
            ErrorKind::Conflict => 1,
            _ => 2,
        };
        self.problems.sort_by_key(rank);
        let mut problems = self.problems.into_iter();
        match problems.next() {
            Some(first) => Err(first.and(problems)),
            None => Ok(self.grants),
        }
    }
}
