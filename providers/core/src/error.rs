//! Errors that say what failed, on which resource, and what to type next.
use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{cause::Cause, plan::ResourceRef, run::RunReport};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class an error is of; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing more is known.
    Unclassified,
    /// The command line is wrong.
    Usage,
    /// The configuration is wrong: a value outside its range, an unknown key, a wrong architecture.
    ConfigInvalid,
    /// This cloud cannot do what was asked.
    Unsupported,
    /// A saved plan cannot be read or does not belong here.
    PlanInvalid,
    /// The live service changed after the plan was made.
    PlanStale,
    /// No credentials, or the cloud refused them.
    Unauthenticated,
    /// The credentials do not allow it.
    PermissionDenied,
    /// It does not exist.
    NotFound,
    /// Somebody else changed it at the same time.
    Conflict,
    /// A limit of the account is reached.
    QuotaExceeded,
    /// Too many requests.
    RateLimited,
    /// The cloud, or the local cloud, does not answer.
    Unavailable,
    /// It did not finish in time.
    Timeout,
    /// Deployed, but the new revision does not serve.
    Unhealthy,
    /// Building or pushing the image failed.
    BuildFailed,
    /// The user interrupted it.
    Cancelled,
    /// A fault of Carrack itself.
    Internal,
}

impl ErrorKind {
    /// The process's exit code for this kind.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Unclassified => 1,
            Self::Usage => 2,
            Self::ConfigInvalid => 10,
            Self::Unsupported => 11,
            Self::PlanInvalid => 12,
            Self::PlanStale => 13,
            Self::Unauthenticated => 20,
            Self::PermissionDenied => 21,
            Self::NotFound => 30,
            Self::Conflict => 31,
            Self::QuotaExceeded => 32,
            Self::RateLimited => 40,
            Self::Unavailable => 41,
            Self::Timeout => 42,
            Self::Unhealthy => 50,
            Self::BuildFailed => 51,
            Self::Internal => 70,
            Self::Cancelled => 130,
        }
    }

    /// Whether the same request may succeed a little later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

/// The request behind an error. The URL carries no query values and no credentials.
#[derive(Clone, Debug, Serialize)]
pub struct RequestInfo {
    /// HTTP method.
    pub method: String,
    /// Redacted URL.
    pub url: String,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The cloud's own identifier of the request.
    pub request_id: Option<String>,
    /// How often it was sent.
    pub attempts: u32,
}

/// One error, boxed so that results stay small.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    field: Option<String>,
    resource: Option<ResourceRef>,
    request: Option<RequestInfo>,
    hints: Vec<String>,
    details: Vec<String>,
    report: Option<RunReport>,
    cause: Option<Cause>,
    others: Vec<Error>,
    retry_after: Option<Duration>,
    uncertain: bool,
    permission: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; the message is lower case with no trailing period.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            field: None,
            resource: None,
            request: None,
            hints: Vec::new(),
            details: Vec::new(),
            report: None,
            cause: None,
            others: Vec::new(),
            retry_after: None,
            uncertain: false,
            permission: None,
            source: None,
        }))
    }
    /// The class.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    /// The message alone, without the resource.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The configuration field that is to blame (`resources.cpu`).
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }
    /// What it happened on.
    pub fn resource(&self) -> Option<&ResourceRef> {
        self.0.resource.as_ref()
    }
    /// What to type or do next.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
    /// Lines that explain it, such as the last output of a container.
    pub fn details(&self) -> &[String] {
        &self.0.details
    }
    /// What had been done when it happened.
    pub fn report(&self) -> Option<&RunReport> {
        self.0.report.as_ref()
    }
    /// Why it failed, when a rule knows.
    pub fn why(&self) -> Option<&Cause> {
        self.0.cause.as_ref()
    }
    /// What else is wrong, found at the same time.
    pub fn others(&self) -> &[Self] {
        &self.0.others
    }
    /// The request that failed.
    pub fn request(&self) -> Option<&RequestInfo> {
        self.0.request.as_ref()
    }
    /// How long the cloud asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
    /// Whether the cloud may have done what was asked all the same: an answer was lost. Looking again tells.
    pub fn is_uncertain(&self) -> bool {
        self.0.uncertain
    }
    /// The permission that the cloud says is missing.
    pub fn permission(&self) -> Option<&str> {
        self.0.permission.as_deref()
    }
    /// Adds something to type or do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }
    /// Adds a line that explains it.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.0.details.push(line.into());
        self
    }
    /// Names the configuration field that is to blame.
    #[must_use]
    pub fn at_field(mut self, path: impl Into<String>) -> Self {
        self.0.field = Some(path.into());
        self
    }
    /// Names the resource.
    #[must_use]
    pub fn on(mut self, resource: ResourceRef) -> Self {
        self.0.resource = Some(resource);
        self
    }
    /// Changes the class, where the caller knows better than the status code.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }
    /// Attaches the request.
    #[must_use]
    pub fn with_request(mut self, request: RequestInfo) -> Self {
        self.0.request = Some(request);
        self
    }
    /// Attaches what had been done.
    #[must_use]
    pub fn with_report(mut self, report: RunReport) -> Self {
        self.0.report = Some(report);
        self
    }
    /// Adds what else is wrong.
    #[must_use]
    pub fn and(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        self.0.others.extend(others);
        self
    }
    /// Says why it failed.
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.0.cause = Some(cause);
        self
    }
    /// Attaches the wait that the cloud asked for.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.0.retry_after = after;
        self
    }
    /// Says that the cloud may have done it all the same.
    #[must_use]
    pub fn uncertain(mut self) -> Self {
        self.0.uncertain = true;
        self
    }
    /// Names the permission that the cloud says is missing.
    #[must_use]
    pub fn with_permission(mut self, permission: Option<String>) -> Self {
        self.0.permission = permission;
        self
    }
    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(resource) = &self.0.resource {
            write!(f, "{} `{}`: ", resource.kind, resource.name)?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("resource", &self.0.resource)
            .field("request", &self.0.request)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
