//! Cloud Logging: what containers write, what the system says of them, and each request.
mod entry;
mod evaluate;
mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod list;
mod logs;

pub(crate) use self::{
    entry::{Severity, Source},
    filter::{Filter, parse as parse_filter},
    list::handle,
    logs::Logs,
};
