//! Who may do what: service accounts, roles, and the policies that give them.
//!
//! | file | what it holds |
//! |---|---|
//! | `grants` | the projects' policies, and whether a policy gives a permission |
//! | `roles`, `custom` | what roles hold: Google's own, and a project's |
//! | `accounts` | service accounts and their policies |
mod accounts;
mod custom;
mod grants;
mod roles;

pub(crate) use self::{accounts::ServiceAccounts, grants::Grants};
