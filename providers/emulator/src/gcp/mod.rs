//! Google's APIs: Cloud Run v2 and v1, Secret Manager, Artifact Registry, Logging, and what they need of IAM.
pub(crate) mod access;
pub(crate) mod artifact_registry;
pub(crate) mod call;
pub(crate) mod face;
pub(crate) mod logging;
pub(crate) mod operations;
mod permissions;
pub(crate) mod policy;
pub(crate) mod project;
mod proto;
pub(crate) mod repository_policy;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod secret_manager;
mod service_usage;
pub(crate) mod status;
pub(crate) mod time;
mod validate;
