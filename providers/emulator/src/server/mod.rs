//! Listeners, the dispatch from host name to face, the log of requests.
pub(crate) mod activity;
mod authority;
mod breakable;
pub(crate) mod dispatch;
pub(crate) mod listen;
mod running;
mod tunnel;

pub(crate) use self::running::start;
pub use self::running::{Running, ServeError};
