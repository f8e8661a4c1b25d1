//! Google's APIs, as gcloud and Google's own clients use them.
//!
//! | module | what it holds |
//! |---|---|
//! | `face`, `call` | a request by host and path: who calls, which method, is it one, then its handler |
//! | `schema`, `validate`, `numbers`, `proto` | Google's documents, and requests held against them |
//! | `run` | Cloud Run: services and jobs, API v2 and v1 |
//! | `secret_manager`, `artifact_registry`, `logging` | the APIs beside it |
//! | `service_usage`, `project` | what clients ask before they act |
//! | `iam`, `access`, `policy`, `repository_policy` | who may do what |
//! | `operations`, `status`, `time` | long-running operations, errors, moments |
pub(crate) mod access;
pub(crate) mod artifact_registry;
pub(crate) mod call;
pub(crate) mod face;
pub(crate) mod iam;
pub(crate) mod logging;
mod numbers;
pub(crate) mod operations;
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
pub(crate) mod validate;
