//! Secret Manager v1: secrets, their versions, and who may read them.
//!
//! Global secrets only: Cloud Run takes no others.
mod bytes;
mod names;
mod read;
mod roles;
mod store;

pub(crate) use self::{bytes::SecretBytes, names::SecretName, read::Unreadable, store::Secrets};
