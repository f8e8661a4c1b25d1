//! One service: what was asked for, what serves, and the ports it has.
use std::{
    collections::{BTreeMap, btree_map::Entry::Vacant},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Parts,
    condition::{Condition, Since},
    etag,
    names::Key,
    owner::Gate,
    revision::Revision,
    template,
};
use crate::{
    gcp::{policy, time::stamp},
    router::{Entry, Front, Routes},
};

const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) key: Key,
    pub(crate) parts: Parts,
    pub(crate) routes: Arc<Routes>,
    /// Ends every start when the service is deleted.
    pub(crate) closed: CancellationToken,
    /// Revisions that are brought up.
    pub(crate) tasks: TaskTracker,
    state: Mutex<State>,
}

/// Never held across an await.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) uid: Uuid,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) deleted: Option<Timestamp>,
    pub(super) creator: String,
    pub(super) last_modifier: String,
    pub(super) generation: u64,
    pub(super) observed_generation: u64,
    /// What the user may set, the defaults filled in.
    pub(super) spec: Value,
    /// In the order in which each became the latest one, last.
    pub(super) revisions: Vec<Revision>,
    /// How many revisions there have been.
    pub(super) cuts: u64,
    pub(super) latest_ready: Option<String>,
    /// The traffic that is served.
    pub(super) applied: Vec<Target>,
    pub(super) reconciling: bool,
    pub(super) ready: Since,
    pub(super) routes_ready: Since,
    pub(super) configurations_ready: Since,
    pub(super) policy: Value,
    pub(super) pending: Vec<Pending>,
    /// The last change's.
    pub(super) operation: Option<String>,
    main: Option<Front>,
    tags: BTreeMap<String, Front>,
}

/// An operation that waits for the service.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: String,
    /// The revision that the change made.
    pub(super) revision: Option<String>,
}

/// One entry of `traffic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `None` is the latest ready one.
    pub(super) revision: Option<String>,
    pub(super) percent: u32,
    pub(super) tag: Option<String>,
}

impl Target {
    pub(super) fn all(spec: &Value) -> Vec<Self> {
        let targets = spec["traffic"].as_array().into_iter().flatten();
        targets
            .map(|target| Self {
                revision: target["revision"].as_str().filter(|_| target["type"] != LATEST).map(str::to_owned),
                percent: target["percent"].as_u64().and_then(|percent| u32::try_from(percent).ok()).unwrap_or(0),
                tag: target["tag"].as_str().map(str::to_owned),
            })
            .collect()
    }
}

impl Service {
    pub(crate) fn new(key: Key, parts: Parts, creator: &str) -> Arc<Self> {
        let now = Timestamp::now();
        let state = State {
            uid: Uuid::new_v4(),
            created: now,
            updated: now,
            deleted: None,
            creator: creator.to_owned(),
            last_modifier: creator.to_owned(),
            generation: 0,
            observed_generation: 0,
            spec: Value::Null,
            revisions: Vec::new(),
            cuts: 0,
            latest_ready: None,
            applied: Vec::new(),
            reconciling: true,
            ready: Since::now(Condition::Reconciling),
            routes_ready: Since::now(Condition::Reconciling),
            configurations_ready: Since::now(Condition::Reconciling),
            policy: policy::empty(),
            pending: Vec::new(),
            operation: None,
            main: None,
            tags: BTreeMap::new(),
        };
        Arc::new(Self {
            key,
            parts,
            routes: Arc::default(),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports of the service and of each tag in its traffic; a port that is open stays.
    pub(super) fn open_ports(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if state.main.is_none() {
            state.main = Some(self.open(Entry::Main, &self.key.to_string())?);
        }
        for tag in Target::all(&state.spec).into_iter().filter_map(|target| target.tag) {
            if let Vacant(place) = state.tags.entry(tag.clone()) {
                let name = format!("{}/tags/{tag}", self.key);
                place.insert(self.open(Entry::Tag(tag), &name)?);
            }
        }
        Ok(())
    }

    fn open(self: &Arc<Self>, entry: Entry, name: &str) -> io::Result<Front> {
        let gate = Arc::new(Gate::new(self));
        Front::open(name, entry, self.routes.clone(), gate, self.parts.activity.clone())
    }

    pub(super) fn take_fronts(&self) -> Vec<Front> {
        let mut state = self.state();
        let tags = std::mem::take(&mut state.tags).into_values();
        state.main.take().into_iter().chain(tags).collect()
    }
}

impl State {
    pub(super) fn version(&self) -> i64 {
        self.updated.as_microsecond()
    }

    /// A change by a user: another version, always a later one.
    pub(super) fn touch(&mut self, by: &str) {
        let later = Timestamp::from_microsecond(self.version() + 1).unwrap_or(self.updated);
        self.updated = Timestamp::now().max(later);
        self.last_modifier = by.to_owned();
    }

    pub(super) fn revision(&self, name: &str) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.name == name)
    }

    pub(super) fn latest_created(&self) -> Option<&Revision> {
        self.revisions.last()
    }

    /// Whether traffic or a tag that is served leads to a revision.
    pub(super) fn leads_to(&self, revision: &str) -> bool {
        self.applied.iter().any(|target| target.revision.as_deref().or(self.latest_ready.as_deref()) == Some(revision))
    }

    /// Whether a revision is the latest one, is on its way, or has traffic or a tag now or soon.
    pub(super) fn needs(&self, revision: &Revision) -> bool {
        let name = Some(revision.name.as_str());
        let wanted = Target::all(&self.spec);
        self.latest_created().map(|latest| latest.name.as_str()) == name
            || self.latest_ready.as_deref() == name
            || matches!(revision.state, super::revision::State::Pending)
            || self.applied.iter().chain(&wanted).any(|target| target.revision.as_deref() == name)
    }

    pub(crate) fn url(&self) -> Option<String> {
        self.main.as_ref().map(Front::url)
    }

    /// The ports of tags that neither are served nor will be.
    pub(super) fn close_tags(&mut self) {
        let wanted = Target::all(&self.spec);
        let applied = &self.applied;
        self.tags.retain(|tag, _| wanted.iter().chain(applied).any(|target| target.tag.as_ref() == Some(tag)));
    }

    fn tag_url(&self, tag: &str) -> Option<String> {
        self.tags.get(tag).map(Front::url)
    }

    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>
    pub(crate) fn render(&self, key: &Key) -> Value {
        let mut service = self.as_set(key);
        service["template"] = template::shown(service["template"].take());
        service
    }

    /// With nothing in its template that is only shown.
    pub(super) fn as_set(&self, key: &Key) -> Value {
        let mut fields = self.spec.as_object().cloned().unwrap_or_default();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("name", json!(key.to_string()));
        set("uid", json!(self.uid.to_string()));
        set("generation", json!(self.generation.to_string()));
        set("createTime", json!(stamp(self.created)));
        set("updateTime", json!(stamp(self.updated)));
        set("creator", json!(self.creator));
        set("lastModifier", json!(self.last_modifier));
        set("etag", json!(etag::render(self.version())));
        set("terminalCondition", self.ready.render("Ready"));
        let conditions =
            [self.routes_ready.render("RoutesReady"), self.configurations_ready.render("ConfigurationsReady")];
        set("conditions", json!(conditions));
        if let Some(deleted) = self.deleted {
            set("deleteTime", json!(stamp(deleted)));
        }
        if self.reconciling {
            set("reconciling", json!(true));
        }
        if self.observed_generation > 0 {
            set("observedGeneration", json!(self.observed_generation.to_string()));
        }
        if let Some(latest) = self.latest_created() {
            set("latestCreatedRevision", json!(key.revision(&latest.name)));
        }
        if let Some(latest) = &self.latest_ready {
            set("latestReadyRevision", json!(key.revision(latest)));
        }
        if !self.applied.is_empty() {
            let statuses: Vec<_> = self.applied.iter().map(|target| self.render_target(target)).collect();
            set("trafficStatuses", json!(statuses));
        }
        // https://cloud.google.com/run/docs/securing/ingress#disable-url
        if let Some(url) = self.url().filter(|_| self.spec["defaultUriDisabled"] != true) {
            set("uri", json!(url));
            set("urls", json!([url]));
        }
        Value::Object(fields)
    }

    fn render_target(&self, target: &Target) -> Value {
        let mut status = Map::new();
        let mut set = |name: &str, value: Value| status.insert(name.to_owned(), value);
        match &target.revision {
            Some(revision) => {
                set("type", json!("TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"));
                set("revision", json!(revision));
            }
            None => {
                set("type", json!(LATEST));
            }
        }
        if target.percent > 0 {
            set("percent", json!(target.percent));
        }
        if let Some(tag) = &target.tag {
            set("tag", json!(tag));
            set("uri", json!(self.tag_url(tag)));
        }
        Value::Object(status)
    }
}

/// As an operation carries it.
pub(crate) fn typed(mut service: Value) -> Value {
    service["@type"] = json!("type.googleapis.com/google.cloud.run.v2.Service");
    service
}
