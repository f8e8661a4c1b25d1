//! Who calls, and what that one may do wherever it is.
use std::collections::BTreeSet;

use super::member::Member;

/// What somebody may do in every project, whatever the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Permissions {
    All,
    Only(BTreeSet<String>),
}

#[derive(Debug)]
pub(crate) struct Principal {
    /// What answers call it: the address, or the whole name of who has none.
    pub(crate) email: String,
    member: Member,
    permissions: Permissions,
}

impl Principal {
    pub(crate) fn new(member: Member, permissions: Permissions) -> Self {
        Self { email: member.name(), member, permissions }
    }

    /// Who may do what policies give, and nothing else.
    pub(crate) fn of(member: Member) -> Self {
        Self::new(member, Permissions::Only(BTreeSet::new()))
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// By what it was made with. What policies give beside it, the resources know.
    pub(crate) fn may(&self, permission: &str) -> bool {
        match &self.permissions {
            Permissions::All => true,
            Permissions::Only(names) => names.contains(permission),
        }
    }

    /// As a policy's members name it.
    pub(crate) fn is_member(&self, member: &str) -> bool {
        self.member.is(member)
    }
}
