//! The trait that every cloud implements.
use std::{collections::BTreeMap, fmt, pin::Pin, time::Duration};

use async_trait::async_trait;
use futures_core::Stream;
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    Result,
    capability::Capabilities,
    event::Ctx,
    evidence::Evidence,
    job::Jobs,
    observed::{Fingerprint, Observed, Revision, ServiceSummary},
    permission::{Held, Need, PermissionTable},
    plan::{Intent, Outcome, Plan, Step},
    rollout::Answers,
    secret::SecretStore,
    spec::{ImageRef, ProviderId, RevisionId, ServiceName, ServiceRef},
};

/// A boxed stream.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// One cloud, bound to its account and region at construction.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// Which backend this is.
    fn id(&self) -> ProviderId;

    /// What this cloud can do.
    fn capabilities(&self) -> &Capabilities;

    /// The full name of a service here.
    fn service_ref(&self, service: &ServiceName) -> ServiceRef;

    /// Reads the live service. Idempotent. A service that does not exist is no error.
    async fn observe(&self, cx: &Ctx, service: &ServiceName) -> Result<Observed>;

    /// Lists the services of this place, by name. Idempotent.
    async fn services(&self, cx: &Ctx) -> Result<Vec<ServiceSummary>>;

    /// Lists the service's revisions, newest first. Idempotent. Empty when the service does not exist.
    async fn revisions(&self, cx: &Ctx, service: &ServiceName) -> Result<Vec<Revision>>;

    /// Reads log lines, oldest first; with `follow` it never ends by itself. Idempotent.
    fn logs<'a>(&'a self, cx: &'a Ctx, service: &'a ServiceName, query: LogQuery) -> BoxStream<'a, Result<LogLine>>;

    /// What each revision answered since then, by the log of requests; questions of our own are left out. Entries come
    /// some seconds late, and of very many the newest are a sample. Idempotent.
    async fn answers(&self, cx: &Ctx, service: &ServiceName, since: Timestamp)
    -> Result<BTreeMap<RevisionId, Answers>>;

    /// Gathers what a failure left behind. `said` is what the cloud said of it; `revision` is the one that failed,
    /// when there is one: its logs and settings are read. Idempotent. What cannot be read is left out.
    async fn evidence(
        &self,
        cx: &Ctx,
        service: &ServiceName,
        revision: Option<&RevisionId>,
        said: &str,
    ) -> Result<Evidence>;

    /// Decides what to do. Pure: no I/O, no clock, no environment. The plan is empty when nothing differs.
    fn plan(&self, service: &ServiceName, intent: &Intent, observed: &Observed) -> Result<Plan>;

    /// Performs exactly one step of a plan that this provider made, and waits until the cloud has done it.
    ///
    /// `at` is the fingerprint after the step before; the first step's is the plan's base. A live state that is
    /// not `at` is an error of kind `Conflict`, and nothing is written.
    async fn apply(&self, cx: &Ctx, plan: &Plan, step: &Step, at: &Fingerprint) -> Result<Outcome>;

    /// What lets whoever deploys call a private service at `url`. Idempotent. Who has no such token gets an error that
    /// says why.
    async fn invocation(&self, cx: &Ctx, url: &str) -> Result<Invocation>;

    /// The registry that this cloud pulls from.
    fn registry(&self) -> &dyn Registry;

    /// The store of secrets that this cloud's services read from.
    fn secrets(&self) -> &dyn SecretStore;

    /// What runs to its end here. A cloud whose [capabilities](Capabilities::jobs) have none refuses all of it.
    fn jobs(&self) -> &dyn Jobs;

    /// What its permissions are called.
    fn permissions(&self) -> &dyn PermissionTable;

    /// Asks the cloud which needs are met, everything side by side; one answer for each need, in their order.
    /// Idempotent. What cannot be asked is an answer too, and no error.
    async fn held(&self, cx: &Ctx, needs: &[Need]) -> Result<Vec<Held>>;

    /// Who asks, as a policy names them; `None` where the credentials do not tell.
    fn member(&self) -> Option<String>;
}

/// A cloud's image registry.
#[async_trait]
pub trait Registry: fmt::Debug + Send + Sync {
    /// Where an image of this name goes when the file does not say (`HOST/PROJECT/REPO/NAME`).
    fn default_repository(&self, image: &str) -> String;

    /// Credentials for the registry that holds `image`; `None` when it is not one of this cloud's. Idempotent.
    async fn login(&self, cx: &Ctx, image: &ImageRef) -> Result<Option<RegistryAuth>>;

    /// Gets other credentials for the next login, in place of ones of this cloud that a registry refused before their
    /// end; says whether there are others.
    async fn renew(&self, cx: &Ctx, refused: &RegistryAuth) -> Result<bool>;

    /// Makes the repository that holds `image` when it is missing; says whether it is there only now. Idempotent.
    async fn ensure_repository(&self, cx: &Ctx, image: &ImageRef) -> Result<bool>;
}

/// A header for requests to a private service. Its value is wiped from memory and never shown.
#[derive(Clone)]
pub struct Invocation {
    /// The header's name.
    pub header: &'static str,
    /// Its value.
    pub value: Zeroizing<String>,
    /// Whom it speaks for, where that is known.
    pub principal: Option<String>,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invocation({}, REDACTED)", self.header)
    }
}

/// Name and password for a registry. The password is wiped from memory and never shown.
#[derive(Clone)]
pub struct RegistryAuth {
    /// The user name.
    pub user: String,
    /// The password or token.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryAuth({}, REDACTED)", self.user)
    }
}

/// Which log lines.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Go on with new lines as they come.
    pub follow: bool,
    /// Only lines this young.
    pub since: Option<Duration>,
    /// Only this revision's.
    pub revision: Option<RevisionId>,
    /// Only lines of this weight or more.
    pub severity: Option<Severity>,
    /// Also a line for each request that the service answered.
    pub requests: bool,
    /// The newest so many; `None` = the provider's page.
    pub tail: Option<usize>,
}

/// How grave a line is, by the words that clouds have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is said of it: what a program writes as plain text.
    Default,
    /// For whoever looks for a mistake.
    Debug,
    /// As it should be.
    Info,
    /// As it should be, and worth to be seen.
    Notice,
    /// It may become an error.
    Warning,
    /// Something failed.
    Error,
    /// Something grave failed.
    Critical,
    /// Somebody has to act at once.
    Alert,
    /// Nothing can be used.
    Emergency,
}

impl Severity {
    /// Every one, the least first.
    pub const ALL: [Self; 9] = [
        Self::Default,
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// As it is typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// By its name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(name))
    }
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// RFC 3339.
    pub at: String,
    /// Whose.
    pub revision: Option<RevisionId>,
    /// The cloud's word for its weight: `DEFAULT`, `ERROR`.
    pub severity: String,
    /// What was written.
    pub text: String,
}
