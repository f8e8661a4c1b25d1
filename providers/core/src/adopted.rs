//! A live service as a file would have it.
use serde_json::Value;

use crate::spec::ServiceSpec;

/// What differs from the cloud's defaults, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adopted {
    /// In neutral words.
    pub spec: ServiceSpec,
    /// What no key says, in the cloud's own JSON.
    pub cloud: Option<Value>,
    /// What cannot be said either way; it stays as it is live.
    pub left: Vec<String>,
}
