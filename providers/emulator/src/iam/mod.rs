//! Who calls. Shared by all clouds: each brings its own texts, policies and roles.
mod member;
mod principal;
mod tokens;

pub(crate) use self::{
    member::Member,
    principal::{Permissions, Principal},
    tokens::{Anonymous, Iam, token},
};
