//! Where the local cloud listens.
use serde::{Deserialize, Serialize};

/// One loopback address for each face.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Google's APIs: `http://127.0.0.1:8585`.
    pub google: String,
    /// The registry, as an image's name begins: `127.0.0.1:5000`, without a scheme.
    pub registry: String,
    /// Carrack's own face: `http://127.0.0.1:8586`.
    pub console: String,
}
