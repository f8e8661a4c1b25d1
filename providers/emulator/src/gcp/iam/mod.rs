//! Who may do what: service accounts, roles, and the policies that give them.
//!
//! | file | what it holds |
//! |---|---|
//! | `table` | what each method asks, and on which resource |
//! | `authority`, `refusal` | whether a caller may, and what it is told when not |
//! | `grants` | the projects' policies, and whether a policy gives a permission |
//! | `roles`, `custom` | what roles hold: Google's own, and a project's |
//! | `accounts` | service accounts and their policies |
//! | `calls`, `account_calls`, `role_calls`, `project_calls` | the methods of IAM and Resource Manager |
mod account_calls;
mod accounts;
mod authority;
mod calls;
mod custom;
mod grants;
mod project_calls;
mod refusal;
mod role_calls;
mod roles;
mod table;

pub(crate) use self::{
    accounts::ServiceAccounts,
    authority::Authority,
    calls::{check_policy, handle},
    grants::Grants,
    project_calls::handle as handle_project,
    refusal::{refuse, refuse_to_act_as, refuse_to_deploy},
};
