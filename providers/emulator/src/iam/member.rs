//! The names that somebody has in a policy.
use std::{collections::BTreeMap, fmt};

/// Of a federated identity, before the pool: <https://cloud.google.com/iam/docs/principal-identifiers>
const HOST: &str = "iam.googleapis.com";

/// Somebody that a token is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    User(String),
    ServiceAccount(String),
    /// Somebody whom another issuer vouches for.
    Federated {
        /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL`.
        pool: String,
        subject: String,
        /// By the name behind `attribute.`.
        attributes: BTreeMap<String, String>,
    },
}

impl Member {
    /// Of an e-mail address: service accounts have addresses of Google's.
    pub(crate) fn of_email(email: String) -> Self {
        if email.ends_with(".gserviceaccount.com") { Self::ServiceAccount(email) } else { Self::User(email) }
    }

    /// What it is called where one name is told.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::User(email) | Self::ServiceAccount(email) => email.clone(),
            Self::Federated { .. } => self.to_string(),
        }
    }

    /// Whether a policy's `member` is this one, or a set that has it.
    pub(crate) fn is(&self, member: &str) -> bool {
        match self {
            Self::User(email) => member == "allAuthenticatedUsers" || member.strip_prefix("user:") == Some(email),
            Self::ServiceAccount(email) => {
                member == "allAuthenticatedUsers" || member.strip_prefix("serviceAccount:") == Some(email)
            }
            // They are none of all authenticated users: https://cloud.google.com/iam/docs/principals-overview
            Self::Federated { pool, attributes, .. } => {
                let set = member
                    .strip_prefix("principalSet://")
                    .and_then(|set| set.strip_prefix(HOST)?.strip_prefix('/')?.strip_prefix(pool)?.strip_prefix('/'));
                match set {
                    None => member == self.to_string(),
                    Some("*") => true,
                    Some(set) => set
                        .strip_prefix("attribute.")
                        .and_then(|set| set.split_once('/'))
                        .is_some_and(|(name, value)| attributes.get(name).is_some_and(|has| has == value)),
                }
            }
        }
    }
}

/// As a policy names it.
impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(email) => write!(formatter, "user:{email}"),
            Self::ServiceAccount(email) => write!(formatter, "serviceAccount:{email}"),
            Self::Federated { pool, subject, .. } => write!(formatter, "principal://{HOST}/{pool}/subject/{subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_no_user() {
        let account = Member::of_email("ci@p.iam.gserviceaccount.com".to_owned());
        assert!(account.is("serviceAccount:ci@p.iam.gserviceaccount.com") && account.is("allAuthenticatedUsers"));
        assert!(!account.is("user:ci@p.iam.gserviceaccount.com") && !account.is("allUsers"));
        let user = Member::of_email("me@example.com".to_owned());
        assert!(user.is("user:me@example.com") && !user.is("serviceAccount:me@example.com"));
    }

    #[test]
    fn a_federated_identity_is_what_its_issuer_said() {
        let pool = "projects/1/locations/global/workloadIdentityPools/github";
        let member = Member::Federated {
            pool: pool.to_owned(),
            subject: "repo:o/r:ref:refs/heads/main".to_owned(),
            attributes: BTreeMap::from([("repository".to_owned(), "o/r".to_owned())]),
        };
        for (name, yes) in [
            (format!("principal://{HOST}/{pool}/subject/repo:o/r:ref:refs/heads/main"), true),
            (format!("principal://{HOST}/{pool}/subject/repo:o/r:ref:refs/heads/other"), false),
            (format!("principalSet://{HOST}/{pool}/attribute.repository/o/r"), true),
            (format!("principalSet://{HOST}/{pool}/attribute.repository/o/other"), false),
            (format!("principalSet://{HOST}/{pool}/attribute.actor/o/r"), false),
            (format!("principalSet://{HOST}/{pool}/*"), true),
            (format!("principalSet://{HOST}/{pool}2/*"), false),
            ("allAuthenticatedUsers".to_owned(), false),
        ] {
            assert_eq!(member.is(&name), yes, "{name}");
        }
    }
}
