//! Services of the Cloud Run Admin API v2.
pub(crate) mod adopt;
pub(crate) mod apply;
mod client;
mod cloud_sql;
mod containers;
mod edit;
pub(crate) mod evidence;
mod jobs;
mod mounts;
mod network;
pub(crate) mod pass_through;
mod passed;
pub(crate) mod plan;
mod restore;
pub(crate) mod revisions;
mod scalars;
mod schema;
mod secret_names;
#[cfg(test)]
mod settings;
pub(crate) mod signs;
mod traffic;
mod unnamed;
mod verdict;
mod volumes;
mod wire;

use carrack_core::{
    Result,
    event::Ctx,
    observed::{Fingerprint, Observed, ServiceSummary},
    spec::ServiceName,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::CloudRun;

/// The two etags that writes are guarded by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Etags {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// The newest revision that was ready, for a step that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
}

impl Etags {
    fn of(service: Option<&Value>, policy: Option<&Value>) -> Self {
        let etag = |value: Option<&Value>| value?.get("etag")?.as_str().map(str::to_owned);
        let revision = service.and_then(|service| service["latestReadyRevision"].as_str());
        let revision = revision.map(wire::short_name).filter(|name| !name.is_empty()).map(str::to_owned);
        Self { service: etag(service), policy: etag(policy), revision }
    }
    fn read(fingerprint: &Fingerprint) -> Self {
        serde_json::from_str(&fingerprint.0).unwrap_or_default()
    }
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint(json!(self).to_string())
    }
}

/// Service and policy, asked for side by side.
pub(crate) async fn observe(provider: &CloudRun, cx: &Ctx, name: &ServiceName) -> Result<Observed> {
    let (service, policy) =
        tokio::try_join!(client::get_service(provider, cx, name), client::get_policy(provider, cx, name))?;
    let Some(service) = service else {
        return Ok(Observed { service: None, fingerprint: Etags::default().fingerprint() });
    };
    let fingerprint = Etags::of(Some(&service), policy.as_ref()).fingerprint();
    let raw = json!({ "service": service, "policy": policy });
    Ok(Observed { service: Some(wire::observed(raw)?), fingerprint })
}

/// Every service of the region.
pub(crate) async fn services(provider: &CloudRun, cx: &Ctx) -> Result<Vec<ServiceSummary>> {
    let mut list = client::list_services(provider, cx).await?.iter().map(wire::summary).collect::<Result<Vec<_>>>()?;
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}
