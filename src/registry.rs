//! From a target to its provider; the only file that names all clouds.
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use carrack_core::{
    Error, ErrorKind, Result, adopted::Adopted, capability::Capabilities, observed::ObservedService,
    permission::PermissionTable, plan::Deploy, provider::Provider, spec::ProviderId,
};
use carrack_http::{Client, ClientOptions, Endpoint, TokenCache};

/// The provider of the built-in local target.
pub const LOCAL_PROVIDER: &str = "cloud-run";
/// Its project.
pub const LOCAL_PROJECT: &str = "local";
/// Its region.
pub const LOCAL_REGION: &str = "us-central1";

/// Where requests go, and who makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The cloud itself, with the user's credentials.
    Cloud(Credentials),
    /// A server that stands in for it. Nobody's credentials are looked up, only this token is used.
    Endpoint {
        /// Its address.
        endpoint: Endpoint,
        /// Its token.
        token: String,
    },
}

/// By what a user's credentials are found.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Those of [`credential_variables`] that are set, and the one that `federation` names.
    pub variables: BTreeMap<String, String>,
    /// The account to speak for, in place of whoever they are of.
    pub impersonate: Option<String>,
    /// How a CI's own token is exchanged.
    pub federation: Option<Federation>,
}

/// Values are tokens and keys.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("variables", &self.variables.keys()).finish_non_exhaustive()
    }
}

/// How a CI's own token is exchanged for the cloud's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// The cloud's name for whoever vouches.
    pub provider: String,
    /// The account to speak for; `None` = the federated identity itself.
    pub service_account: Option<String>,
    /// The variable that holds the CI's token, where there is no server to ask for one.
    pub variable: String,
}

/// The variables that the clouds' credentials are found by.
pub fn credential_variables() -> &'static [&'static str] {
    #[cfg(feature = "gcp")]
    return carrack_gcp::auth::VARIABLES;
    #[cfg(not(feature = "gcp"))]
    &[]
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
    /// How the file has a CI log in there.
    pub federation: Option<crate::config::Federation>,
}

/// A provider, and the HTTP client that it uses.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The cloud.
    pub provider: Arc<dyn Provider>,
    /// For registries.
    pub http: Client,
    /// Whose requests they are.
    pub credentials: TokenCache,
}

/// What a provider can do, without any connection.
pub fn capabilities(provider: &ProviderId) -> Result<Capabilities> {
    match provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => Ok(carrack_gcp::capabilities()),
        _ => Err(unknown(provider)),
    }
}

/// What is wrong in what a deploy says in the cloud's own words, found without any connection.
pub fn refusals(provider: &ProviderId, deploy: &Deploy) -> Vec<Error> {
    match provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => carrack_gcp::check_pass_through(deploy),
        _ => Vec::new(),
    }
}

/// A live service as a file would have it.
pub fn adopt(provider: &ProviderId, live: &ObservedService) -> Result<Adopted> {
    match provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => Ok(carrack_gcp::adopt(live)),
        _ => Err(unknown(provider)),
    }
}

/// What a place's permissions are called, without any connection.
pub fn permissions(place: &Place) -> Result<Box<dyn PermissionTable>> {
    match place.provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => Ok(Box::new(carrack_gcp::permissions::Table::new(&place.scope))),
        _ => Err(unknown(&place.provider)),
    }
}

/// Where an image goes when the file does not say, without any connection.
pub fn default_repository(place: &Place, image: &str) -> Result<String> {
    match place.provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => Ok(carrack_gcp::default_repository(&place.scope, &place.region, image)),
        _ => Err(unknown(&place.provider)),
    }
}

/// The connections of one run: those with the same access share their sockets and the one cache of tokens.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<(Access, Client, TokenCache)>>);

impl Connections {
    /// Binds a provider to its place. No request is sent.
    pub fn connect(&self, place: &Place, access: &Access) -> Result<Connection> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (http, credentials) = match open.iter().find(|(other, _, _)| other == access) {
            Some((_, http, credentials)) => (http.clone(), credentials.clone()),
            None => {
                let endpoint = match access {
                    Access::Cloud(_) => None,
                    Access::Endpoint { endpoint, .. } => Some(endpoint.clone()),
                };
                let http = Client::new(ClientOptions { endpoint, ..ClientOptions::default() })?;
                let credentials = credentials(&place.provider, access, &http)?;
                open.push((access.clone(), http.clone(), credentials.clone()));
                (http, credentials)
            }
        };
        match place.provider.0.as_str() {
            #[cfg(feature = "gcp")]
            carrack_gcp::ID => {
                let provider =
                    carrack_gcp::CloudRun::new(&place.scope, &place.region, http.clone(), credentials.clone());
                Ok(Connection { provider: Arc::new(provider), http, credentials })
            }
            _ => Err(unknown(&place.provider)),
        }
    }
}

/// Binds a provider to its place, with a connection of its own. No request is sent.
pub fn connect(place: &Place, access: &Access) -> Result<Connection> {
    Connections::default().connect(place, access)
}

fn credentials(provider: &ProviderId, access: &Access, http: &Client) -> Result<TokenCache> {
    match provider.0.as_str() {
        #[cfg(feature = "gcp")]
        carrack_gcp::ID => Ok(match access {
            Access::Cloud(credentials) => carrack_gcp::auth::choose(surroundings(credentials), http.clone()),
            Access::Endpoint { token, .. } => carrack_gcp::auth::given(token, Some("local".to_owned())),
        }),
        _ => Err(unknown(provider)),
    }
}

#[cfg(feature = "gcp")]
fn surroundings(credentials: &Credentials) -> carrack_gcp::auth::Surroundings {
    let Credentials { variables, impersonate, federation } = credentials.clone();
    carrack_gcp::auth::Surroundings {
        variables,
        impersonate,
        federation: federation.map(|Federation { provider, service_account, variable }| {
            carrack_gcp::auth::Federation { provider, service_account, variable }
        }),
    }
}

fn unknown(provider: &ProviderId) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("unknown provider `{}`", provider.0)).hint("use `cloud-run`")
}
