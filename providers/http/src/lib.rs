//! HTTP as every cloud needs it: one client, one retry, one map from status to error kind.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | sends: with token, user agent, retry and classification |
//! | [`request`] | one request and its answer |
//! | [`endpoint`] | where requests really go: the cloud, or a local cloud in its place |
//! | [`token`] | the token source and the one cache over it |
//! | `ways` | with TLS or without, by a proxy or past it |
//! | [`redact`] | URLs that may be shown |
#![warn(missing_docs)]

pub mod client;
pub mod endpoint;
pub mod redact;
pub mod request;
pub mod token;
mod ways;

pub use client::{Client, ClientOptions};
pub use endpoint::Endpoint;
pub use request::{Body, Request, Response};
pub use token::{Identity, Token, TokenCache, TokenSource};
