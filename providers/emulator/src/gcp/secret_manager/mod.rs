//! Secret Manager v1: secrets, their versions, and who may read them.
//!
//! Global secrets only: Cloud Run takes no others.
mod access;
mod bytes;
mod checks;
mod filter;
mod handle;
mod names;
mod policy;
mod read;
mod secrets;
mod store;
mod versions;

pub(crate) use self::{bytes::SecretBytes, handle::handle, names::SecretName, store::Secrets};
