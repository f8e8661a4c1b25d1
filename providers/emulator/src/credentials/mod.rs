//! Where tokens come from: the endpoints of Google's credential flows, and the issuers that these trust.
//!
//! | module | what it holds |
//! |---|---|
//! | `rsa`, `jwt`, `issuer` | keys, signed tokens, and whoever signs them |
//! | `oauth` | `oauth2.googleapis.com`: a service account's assertion, a user's refresh token |
//! | `sts`, `expression` | `sts.googleapis.com`: a foreign token for a federated one, by a provider's mapping and condition |
//! | `pools`, `providers`, `keys`, `impersonate` | IAM's own methods: identity pools, keys, tokens of other accounts |
//! | `metadata` | the metadata server of a machine in the cloud |
//! | `github`, `gitlab` | tokens as two CI services give them to a job |
//! | `identity` | who an ID token of Google's is |
//! | `hosts`, `form`, `refusal` | which request is whose, its parameters, how OAuth refuses |
//! | `console` | what `carrack emulator` asks for: key files, and a job's identity |
mod console;
mod expression;
mod form;
mod github;
mod gitlab;
mod hosts;
mod identity;
mod impersonate;
mod issuer;
mod jwt;
mod keys;
mod metadata;
mod oauth;
mod pools;
mod providers;
mod refusal;
mod rsa;
mod sts;
mod users;

use std::sync::Arc;

use sha2::{Digest, Sha256};

pub(crate) use self::{console::routes, hosts::Endpoint};
use self::{github::Jobs, identity::Subjects, issuer::Issuers, keys::Keys, pools::Pools, users::Users};
use crate::{
    gcp::iam::ServiceAccounts,
    iam::{Iam, Member},
};

/// All that was made to get a token by, and who signs ID tokens.
#[derive(Debug)]
pub(crate) struct Credentials {
    iam: Arc<Iam>,
    accounts: Arc<ServiceAccounts>,
    issuers: Issuers,
    subjects: Subjects,
    keys: Keys,
    users: Users,
    pools: Pools,
    jobs: Jobs,
}

impl Credentials {
    pub(crate) fn new(iam: Arc<Iam>, accounts: Arc<ServiceAccounts>) -> Self {
        Self {
            iam,
            accounts,
            issuers: Issuers::default(),
            subjects: Subjects::default(),
            keys: Keys::default(),
            users: Users::default(),
            pools: Pools::default(),
            jobs: Jobs::default(),
        }
    }

    /// Whether it is an account that is disabled now.
    pub(crate) fn bars(&self, member: &Member) -> bool {
        self.accounts.bars(member)
    }

    /// What was made by callers. Issuers keep their keys, as Google does.
    pub(crate) fn clear(&self) {
        self.keys.clear();
        self.users.clear();
        self.pools.clear();
        self.jobs.clear();
    }
}

/// As accounts are known in a token: 21 digits that stay the same.
pub(crate) fn unique_id(email: &str) -> String {
    let digest = Sha256::digest(email.as_bytes());
    let number = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    (100_000_000_000_000_000_000 + number % 20_000_000_000_000_000_000).to_string()
}

/// So many bytes that stand for a text, in hexadecimal digits.
fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
