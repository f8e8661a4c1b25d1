//! The local cloud: the clouds' own APIs on loopback, with real containers behind them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`background`] | the background process: state file, lock, start, stop, sweep |
//! | [`server`] | listeners, the dispatch from host name to face, the log of requests |
//! | `console` | the face that only Carrack uses: status, requests, faults, reset, stop |
//! | [`faults`] | calls that go wrong on purpose |
//! | `gcp` | Cloud Run, Secret Manager, Artifact Registry, IAM and Logging as Google answers them |
//! | `registry` | the OCI registry behind every cloud's registry name |
//! | `runtime` | what really runs a container: namespaces, an engine, or a plain process |
//! | `router` | one port a service; requests go to the revisions by their share |
//! | `credentials` | the endpoints that give tokens, and the issuers that they trust |
//! | `iam`, `state`, `requests`, `record` | who calls, what there is, what was called, word for word |
//! | `serve` | puts all of it together |
//!
//! This crate shares no type with the clients that call it.

mod addresses;
pub mod background;
mod console;
mod credentials;
pub mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gcp;
mod iam;
mod image;
mod record;
mod registry;
mod registry_access;
mod requests;
mod router;
pub mod runtime;
mod serve;
pub mod server;
mod state;
#[cfg(test)]
mod tests;

pub use addresses::Addresses;
pub use runtime::RuntimeKind;
pub use serve::{Options, serve};
pub use server::{Running, ServeError};
