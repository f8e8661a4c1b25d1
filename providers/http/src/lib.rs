//! HTTP as every cloud needs it: one client, one retry, one map from status to error kind.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | a request, sent with token, user agent, retry and classification |
//! | [`endpoint`] | where requests really go: the cloud, or a local cloud in its place |
//! | [`token`] | the token source and the one cache over it |
//! | [`redact`] | URLs that may be shown |
#![warn(missing_docs)]

pub mod client;
pub mod endpoint;
pub mod redact;
pub mod token;

pub use client::{Body, Client, ClientOptions, Request, Response};
pub use endpoint::Endpoint;
pub use token::{Token, TokenCache, TokenSource};
