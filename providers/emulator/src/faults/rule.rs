//! What a rule matches, and what it does.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::pattern;

/// An API of the local cloud, by the first part of its host name; the registry, the metadata server and the endpoint
/// that GitHub's jobs ask are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    Run,
    ArtifactRegistry,
    Logging,
    SecretManager,
    ServiceUsage,
    Iam,
    CloudResourceManager,
    IamCredentials,
    OAuth2,
    Sts,
    Metadata,
    GitHub,
    Registry,
}

impl Service {
    const ALL: [(&str, Self); 13] = [
        ("run", Self::Run),
        ("artifactregistry", Self::ArtifactRegistry),
        ("logging", Self::Logging),
        ("secretmanager", Self::SecretManager),
        ("serviceusage", Self::ServiceUsage),
        ("iam", Self::Iam),
        ("cloudresourcemanager", Self::CloudResourceManager),
        ("iamcredentials", Self::IamCredentials),
        ("oauth2", Self::OAuth2),
        ("sts", Self::Sts),
        ("metadata", Self::Metadata),
        ("github", Self::GitHub),
        ("registry", Self::Registry),
    ];

    /// Of `run.googleapis.com`, in every region.
    pub(crate) fn of_host(host: &str) -> Option<Self> {
        let name = host.strip_suffix(".googleapis.com")?;
        let name = name.rsplit('-').next().unwrap_or(name);
        name.parse().ok().filter(|service| *service != Self::Registry)
    }
}

impl FromStr for Service {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, service)| *service).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            InvalidRule(format!("`{text}` is no service of the local cloud: use {}", names.join(", ")))
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, service)| service == self).map_or("", |(name, _)| name);
        formatter.write_str(name)
    }
}

/// What a call meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Fault {
    /// Refused with this status, in the face's own form; nothing is done.
    Status {
        status: u16,
        /// Of the header, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The connection breaks before anything is done.
    Reset,
    /// It is done, and the connection breaks before the answer.
    ResetAfter,
    /// Nothing is done and nothing is answered.
    Stall,
    /// It is done, and nothing is answered.
    StallAfter,
    /// It is done, and the answer breaks off in the middle of its body; one that has none is not answered at all.
    Truncate,
    /// It is done, and a byte of the answer's content is another; of a secret's answer one of its value.
    Corrupt,
    /// The same, of the request.
    CorruptRequest,
    /// Somebody else changes the service first, so that the call's version is stale. Only calls that may carry one.
    Conflict,
    /// Accepted, and the operation fails. Only calls that begin one.
    FailedOperation {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The call's token ends now. Only calls that carry one.
    ExpiredToken,
}

impl Fault {
    /// As it is written on the command line.
    pub fn name(&self) -> String {
        match self {
            Self::Status { status, .. } => status.to_string(),
            Self::Reset => "reset".to_owned(),
            Self::ResetAfter => "reset-after".to_owned(),
            Self::Stall => "stall".to_owned(),
            Self::StallAfter => "stall-after".to_owned(),
            Self::Truncate => "truncate".to_owned(),
            Self::Corrupt => "corrupt".to_owned(),
            Self::CorruptRequest => "corrupt-request".to_owned(),
            Self::Conflict => "conflict".to_owned(),
            Self::FailedOperation { .. } => "failed-operation".to_owned(),
            Self::ExpiredToken => "expired-token".to_owned(),
        }
    }
}

impl FromStr for Fault {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        Ok(match text {
            "reset" => Self::Reset,
            "reset-after" => Self::ResetAfter,
            "stall" => Self::Stall,
            "stall-after" => Self::StallAfter,
            "truncate" => Self::Truncate,
            "corrupt" => Self::Corrupt,
            "corrupt-request" => Self::CorruptRequest,
            "conflict" => Self::Conflict,
            "failed-operation" => Self::FailedOperation { message: None },
            "expired-token" => Self::ExpiredToken,
            other => {
                let status = other.parse().map_err(|_| InvalidRule(format!("`{other}` is no fault")))?;
                check_status(status)?;
                Self::Status { status, retry_after: None, message: None }
            }
        })
    }
}

/// One rule: which calls, and what they meet. What is absent matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Without the query: a glob when it has a `*`, else a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The first call that it acts on, from 1; on that one alone unless there is a count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// How many calls it acts on, from the nth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    pub fault: Fault,
}

/// A rule that can never be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRule(String);

impl fmt::Display for InvalidRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRule {}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) service: Option<Service>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// It begins an operation.
    pub(crate) changes: bool,
    /// It may say which version it changes.
    pub(crate) has_version: bool,
    pub(crate) has_token: bool,
}

impl FaultRule {
    /// On every call.
    pub fn every(fault: Fault) -> Self {
        Self { service: None, method: None, path: None, nth: None, count: None, fault }
    }

    /// Whether it can be carried out.
    pub fn check(&self) -> Result<(), InvalidRule> {
        if let Fault::Status { status, .. } = self.fault {
            check_status(status)?;
        }
        if self.nth == Some(0) || self.count == Some(0) {
            return Err(InvalidRule("calls are counted from 1".to_owned()));
        }
        Ok(())
    }

    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let applies = match self.fault {
            Fault::Conflict => subject.has_version,
            Fault::FailedOperation { .. } => subject.changes,
            Fault::ExpiredToken => subject.has_token,
            _ => true,
        };
        applies
            && self.service.is_none_or(|service| subject.service == Some(service))
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(subject.method))
            && self.path.as_ref().is_none_or(|path| pattern::matches(path, subject.path))
    }

    /// Whether the call that it matched as this one, from 1, is its turn.
    pub(super) fn acts_on(&self, call: u64) -> bool {
        let from = self.nth.unwrap_or(1);
        let count = self.count.or(self.nth.map(|_| 1));
        call >= from && count.is_none_or(|count| call - from < count)
    }
}

fn check_status(status: u16) -> Result<(), InvalidRule> {
    if (400..=599).contains(&status) {
        return Ok(());
    }
    Err(InvalidRule(format!("{status} is no status of a fault: use one from 400 to 599")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for name in [
            "503",
            "reset",
            "reset-after",
            "stall",
            "stall-after",
            "truncate",
            "corrupt",
            "corrupt-request",
            "conflict",
            "failed-operation",
            "expired-token",
        ] {
            let fault: Fault = name.parse().expect(name);
            assert_eq!(fault.name(), name);
            let rule = FaultRule::every(fault);
            let json = serde_json::to_value(&rule).expect("json");
            assert_eq!(serde_json::from_value::<FaultRule>(json).expect(name), rule);
        }
        for wrong in ["", "200", "600", "break"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
        for (name, service) in Service::ALL {
            assert_eq!((name.parse(), service.to_string()), (Ok(service), name.to_owned()));
            assert_eq!(serde_json::to_value(service).expect("json"), name);
        }
    }

    #[test]
    fn a_service_is_named_by_its_host() {
        for (host, service) in [
            ("run.googleapis.com", Some(Service::Run)),
            ("us-central1-run.googleapis.com", Some(Service::Run)),
            ("artifactregistry.googleapis.com", Some(Service::ArtifactRegistry)),
            ("secretmanager.googleapis.com", Some(Service::SecretManager)),
            ("registry.googleapis.com", None),
            ("gcr.io", None),
        ] {
            assert_eq!(Service::of_host(host), service, "{host}");
        }
    }

    #[test]
    fn a_fault_that_a_call_cannot_meet_does_not_match() {
        let subject = Subject {
            service: Some(Service::Registry),
            method: "PUT",
            path: "/v2/p/r/i/manifests/latest",
            changes: false,
            has_version: false,
            has_token: false,
        };
        for (fault, expected) in [
            (Fault::Reset, true),
            (Fault::Conflict, false),
            (Fault::FailedOperation { message: None }, false),
            (Fault::ExpiredToken, false),
        ] {
            assert_eq!(FaultRule::every(fault.clone()).matches(&subject), expected, "{fault:?}");
        }
        let put = FaultRule { method: Some("put".to_owned()), ..FaultRule::every(Fault::Reset) };
        assert!(put.matches(&subject));
        let run = FaultRule { service: Some(Service::Run), ..FaultRule::every(Fault::Reset) };
        assert!(!run.matches(&subject));
        assert!(FaultRule { count: Some(0), ..run }.check().is_err());
    }
}
