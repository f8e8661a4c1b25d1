//! All secrets and their versions, as they are kept.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{Timestamp, Unit};
use serde_json::{Map, Value, json};

use super::{
    bytes::SecretBytes,
    names::{LATEST, SecretName, is_number},
};
use crate::gcp::{
    iam::Grants,
    policy,
    status::{Code, Status},
    time::stamp,
};

#[derive(Debug, Default)]
pub(crate) struct Secrets {
    pub(super) grants: Arc<Grants>,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    by_name: BTreeMap<String, Secret>,
    etag: i64,
}

#[derive(Debug)]
pub(super) struct Secret {
    /// By the project's number.
    pub(super) name: String,
    /// What the caller sets, as an answer shows it: replication, labels, annotations, aliases, `versionDestroyTtl`.
    pub(super) fields: Map<String, Value>,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) etag: String,
    pub(super) policy: Value,
    /// The first is number 1; none is ever taken out.
    pub(super) versions: Vec<Version>,
}

#[derive(Debug)]
pub(super) struct Version {
    pub(super) created: Timestamp,
    pub(super) etag: String,
    pub(super) content: Content,
    /// The caller gave a checksum with the value.
    pub(super) checked: bool,
    /// When its value goes, if nobody enables or disables it before.
    pub(super) scheduled: Option<Timestamp>,
}

/// A version's state, with the value as long as there is one.
#[derive(Debug)]
pub(super) enum Content {
    Enabled(SecretBytes),
    Disabled(SecretBytes),
    Destroyed(Timestamp),
}

impl Content {
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Enabled(_) => "ENABLED",
            Self::Disabled(_) => "DISABLED",
            Self::Destroyed(_) => "DESTROYED",
        }
    }
}

/// Now, as exactly as Google tells it.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now)
}

impl Secrets {
    pub(crate) fn new(grants: Arc<Grants>) -> Self {
        Self { grants, store: Mutex::default() }
    }

    /// `None` when there is no such secret.
    pub(crate) fn policy(&self, name: &SecretName) -> Option<Value> {
        self.lock().get(name).map(|secret| secret.policy.clone())
    }

    /// What time ends has ended for whoever looks.
    pub(super) fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.pass(now());
        store
    }

    pub(crate) fn clear(&self) {
        self.lock().by_name.clear();
    }
}

impl Store {
    /// Secrets that expired go, and versions whose destruction was put off are destroyed.
    fn pass(&mut self, now: Timestamp) {
        self.by_name.retain(|_, secret| secret.expires.is_none_or(|end| end > now));
        for version in self.by_name.values_mut().flat_map(|secret| &mut secret.versions) {
            if let Some(due) = version.scheduled.filter(|due| *due <= now) {
                version.scheduled = None;
                version.content = Content::Destroyed(due);
            }
        }
    }

    /// A version string that was never given before, with the quotes that belong to it:
    /// <https://cloud.google.com/secret-manager/docs/etags>
    pub(super) fn new_etag(&mut self) -> String {
        self.etag = now().as_microsecond().max(self.etag + 1);
        format!("\"{:x}\"", self.etag)
    }

    pub(super) fn get(&self, name: &SecretName) -> Option<&Secret> {
        self.by_name.get(&name.to_string())
    }

    pub(super) fn find(&mut self, name: &SecretName) -> Result<&mut Secret, Status> {
        let name = name.to_string();
        self.by_name.get_mut(&name).ok_or_else(|| missing(&name))
    }

    /// For a call about a version: there the text is another one.
    pub(super) fn find_for_version(&mut self, name: &SecretName) -> Result<&mut Secret, Status> {
        let name = name.to_string();
        self.by_name.get_mut(&name).ok_or_else(|| without_versions(&name))
    }

    pub(super) fn insert(
        &mut self,
        name: &SecretName,
        fields: Map<String, Value>,
        expires: Option<Timestamp>,
    ) -> Result<&Secret, Status> {
        let name = name.to_string();
        if self.by_name.contains_key(&name) {
            return Err(Status::new(Code::AlreadyExists, format!("Secret [{name}] already exists.")));
        }
        let secret = Secret {
            name: name.clone(),
            fields,
            created: now(),
            expires,
            etag: self.new_etag(),
            policy: policy::empty(),
            versions: Vec::new(),
        };
        Ok(self.by_name.entry(name).or_insert(secret))
    }

    pub(super) fn remove(&mut self, name: &SecretName) {
        self.by_name.remove(&name.to_string());
    }

    /// A project's, the newest first.
    pub(super) fn of_project(&self, number: &str) -> Vec<&Secret> {
        let prefix = format!("projects/{number}/secrets/");
        let mut found: Vec<_> = self.by_name.values().filter(|secret| secret.name.starts_with(&prefix)).collect();
        found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| b.etag.cmp(&a.etag)));
        found
    }
}

impl Secret {
    /// The number of the version that `latest`, a number or an alias names.
    pub(super) fn number(&self, version: &str) -> Result<usize, Status> {
        if version == LATEST {
            return match self.versions.len() {
                0 => Err(without_versions(&self.name)),
                last => Ok(last),
            };
        }
        if is_number(version) {
            return self.own_number(version);
        }
        let alias = self.fields.get("versionAliases").and_then(|aliases| aliases.get(version)).and_then(Value::as_str);
        match alias {
            Some(number) => self.own_number(number),
            None => Err(Status::new(Code::NotFound, format!("Secret [{}] has no alias [{version}]", self.name))),
        }
    }

    pub(super) fn own_number(&self, digits: &str) -> Result<usize, Status> {
        let number = digits.parse::<usize>().ok().filter(|number| (1..=self.versions.len()).contains(number));
        number.ok_or_else(|| {
            Status::new(Code::NotFound, format!("Secret Version [{}/versions/{digits}] not found.", self.name))
        })
    }

    /// `number` is one that `number` or `own_number` gave.
    pub(super) fn value(&self, number: usize) -> Result<&SecretBytes, Status> {
        match self.versions.get(number - 1).map(|version| &version.content) {
            Some(Content::Enabled(value)) => Ok(value),
            other => {
                let state = other.map_or("DESTROYED", Content::state);
                let text = format!("Secret Version [{}/versions/{number}] is in {state} state.", self.name);
                Err(Status::new(Code::FailedPrecondition, text))
            }
        }
    }

    pub(super) fn render(&self) -> Value {
        let mut value = Value::Object(self.fields.clone());
        value["name"] = json!(self.name);
        value["createTime"] = json!(stamp(self.created));
        value["etag"] = json!(self.etag);
        if let Some(end) = self.expires {
            value["expireTime"] = json!(stamp(end));
        }
        value
    }

    /// `number` is one that `number` or `own_number` gave.
    pub(super) fn render_version(&self, number: usize) -> Value {
        let Some(version) = self.versions.get(number - 1) else {
            return json!({});
        };
        let mut value = json!({
            "name": format!("{}/versions/{number}", self.name),
            "createTime": stamp(version.created),
            "state": version.content.state(),
            "replicationStatus": self.replication_status(),
            "etag": version.etag,
        });
        if version.checked {
            value["clientSpecifiedPayloadChecksum"] = json!(true);
        }
        if let Content::Destroyed(at) = version.content {
            value["destroyTime"] = json!(stamp(at));
        }
        if let Some(due) = version.scheduled {
            value["scheduledDestroyTime"] = json!(stamp(due));
        }
        value
    }

    /// Each copy is there at once.
    fn replication_status(&self) -> Value {
        match self.fields.get("replication").and_then(|replication| replication["userManaged"]["replicas"].as_array()) {
            Some(replicas) => {
                let replicas: Vec<_> =
                    replicas.iter().map(|replica| json!({ "location": replica["location"] })).collect();
                json!({ "userManaged": { "replicas": replicas } })
            }
            None => json!({ "automatic": {} }),
        }
    }
}

fn missing(name: &str) -> Status {
    Status::new(Code::NotFound, format!("Secret [{name}] not found."))
}

fn without_versions(name: &str) -> Status {
    Status::new(Code::NotFound, format!("Secret [{name}] not found or has no versions."))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn name() -> SecretName {
        SecretName::parse("projects/1/secrets/s", "p").expect("a name")
    }

    #[test]
    fn time_ends_secrets_and_destroys_versions() {
        let mut store = Store::default();
        let now = now();
        let later = |seconds| now + SignedDuration::from_secs(seconds);
        store.insert(&name(), Map::new(), Some(later(60))).expect("new");
        let version = |value: &[u8], scheduled| Version {
            created: now,
            etag: String::new(),
            content: Content::Disabled(SecretBytes::new(value.to_vec())),
            checked: false,
            scheduled,
        };
        let secret = store.find(&name()).expect("there");
        secret.versions = vec![version(b"a", Some(later(10))), version(b"b", None)];
        store.pass(later(9));
        assert_eq!(store.find(&name()).expect("there").versions[0].content.state(), "DISABLED");
        store.pass(later(10));
        let secret = store.find(&name()).expect("there");
        assert_eq!(secret.render_version(1)["destroyTime"], json!(stamp(later(10))));
        assert_eq!(secret.render_version(1).get("scheduledDestroyTime"), None);
        assert_eq!(secret.versions[1].content.state(), "DISABLED");
        store.pass(later(60));
        assert_eq!(store.find(&name()).expect_err("gone").message, "Secret [projects/1/secrets/s] not found.");
    }

    #[test]
    fn an_etag_is_never_given_twice() {
        let mut store = Store::default();
        let etags: std::collections::BTreeSet<_> = (0..1000).map(|_| store.new_etag()).collect();
        assert_eq!(etags.len(), 1000);
        assert!(etags.iter().all(|etag| etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10), "{etags:?}");
    }
}
