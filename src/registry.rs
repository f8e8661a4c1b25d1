//! From a target to its provider; the only file that names all clouds.
use std::sync::Arc;

use carrack_core::{Error, ErrorKind, Result, capability::Capabilities, provider::Provider, spec::ProviderId};
use carrack_http::{Client, ClientOptions, Endpoint};

/// The provider of the built-in local target.
pub const LOCAL_PROVIDER: &str = "cloud-run";
/// Its project.
pub const LOCAL_PROJECT: &str = "local";
/// Its region.
pub const LOCAL_REGION: &str = "us-central1";

/// Where requests go, and who makes them.
#[derive(Clone, Debug)]
pub enum Access {
    /// The cloud itself, with the user's credentials.
    Cloud,
    /// A server that stands in for it. Nobody's credentials are looked up, only this token is used.
    Endpoint {
        /// Its address.
        endpoint: Endpoint,
        /// Its token.
        token: String,
    },
}

/// A place to deploy to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which backend.
    pub provider: ProviderId,
    /// Project, subscription or account.
    pub scope: String,
    /// Region or location.
    pub region: String,
}

/// A provider, and the HTTP client that it uses.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The cloud.
    pub provider: Arc<dyn Provider>,
    /// For registries.
    pub http: Client,
}

/// What a provider can do, without any connection.
pub fn capabilities(provider: &ProviderId) -> Result<Capabilities> {
    match provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => Ok(carrack_gcp::capabilities()),
        _ => Err(unknown(provider)),
    }
}

/// Binds a provider to its place. No request is sent.
pub fn connect(place: &Place, access: &Access) -> Result<Connection> {
    let endpoint = match access {
        Access::Cloud => None,
        Access::Endpoint { endpoint, .. } => Some(endpoint.clone()),
    };
    let http = Client::new(ClientOptions { endpoint, ..ClientOptions::default() })?;
    let provider: Arc<dyn Provider> = match place.provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => {
            let token = match access {
                Access::Cloud => carrack_gcp::auth::application_default(),
                Access::Endpoint { token, .. } => carrack_gcp::auth::given(token, Some("local".to_owned())),
            };
            Arc::new(carrack_gcp::CloudRun::new(&place.scope, &place.region, http.clone(), token))
        }
        _ => return Err(unknown(&place.provider)),
    };
    Ok(Connection { provider, http })
}

fn unknown(provider: &ProviderId) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("unknown provider `{}`", provider.0)).hint("use `cloud-run`")
}
