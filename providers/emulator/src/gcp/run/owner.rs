//! Who may call a service, and the log of who did.
use std::sync::{Arc, Weak};

use serde_json::Value;

use super::service::{Service, State};
use crate::{
    iam::{self, Anonymous, Principal},
    router::{Admission, Entry, Owner, Served},
};

/// <https://cloud.google.com/run/docs/reference/iam/permissions>
const INVOKE: &str = "run.routes.invoke";

/// The router's way back to its service; it keeps none alive.
#[derive(Debug)]
pub(super) struct Gate(Weak<Service>);

impl Gate {
    pub(super) fn new(service: &Arc<Service>) -> Self {
        Self(Arc::downgrade(service))
    }
}

impl Owner for Gate {
    fn admit(&self, entry: &Entry, authorization: Option<&str>, inside: bool) -> Admission {
        let Some(service) = self.0.upgrade() else {
            return Admission::NotFound;
        };
        let state = service.state();
        let spec = &state.spec;
        let hidden = *entry == Entry::Main && spec["defaultUriDisabled"] == true;
        // https://cloud.google.com/run/docs/securing/ingress: who may not come in gets what is not there.
        let open = match spec["ingress"].as_str() {
            Some("INGRESS_TRAFFIC_NONE") => false,
            Some("INGRESS_TRAFFIC_INTERNAL_ONLY" | "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER") => inside,
            _ => true,
        };
        if hidden || !open {
            return Admission::NotFound;
        }
        let (grants, policy) = (&service.parts.grants, &state.policy);
        let public = spec["invokerIamDisabled"] == true || grants.gives(policy, INVOKE, |member| member == "allUsers");
        match caller(&service, &state, authorization) {
            principal if public => {
                // The console goes on taking a token that ended before its time.
                Admission::Admitted { hide_token: matches!(principal, Ok(_) | Err(Anonymous::Expired)) }
            }
            Ok(principal) if grants.may(&principal, INVOKE, &service.key.project, Some(policy)) => {
                Admission::Admitted { hide_token: true }
            }
            Err(Anonymous::Unknown | Anonymous::Expired) => Admission::Unauthenticated,
            Ok(_) | Err(Anonymous::Unnamed) => Admission::Forbidden,
        }
    }

    fn served(&self, served: Served) {
        if let Some(service) = self.0.upgrade() {
            service.parts.logs.request(&service.key, served);
        }
    }
}

/// By one of the local cloud's tokens, or by an ID token for this service.
fn caller(service: &Service, state: &State, authorization: Option<&str>) -> Result<Arc<Principal>, Anonymous> {
    let parts = &service.parts;
    let principal = parts.iam.authenticate(authorization).or_else(|why| {
        let token = authorization.and_then(iam::token).filter(|_| why == Anonymous::Unknown).ok_or(why)?;
        parts.credentials.holder(&token, &audiences(state)).map(|member| Arc::new(Principal::of(member))).ok_or(why)
    })?;
    if parts.credentials.bars(principal.member()) { Err(Anonymous::Expired) } else { Ok(principal) }
}

/// The service's address, whatever tag is called, and those that it chose itself:
/// <https://cloud.google.com/run/docs/configuring/custom-audiences>
fn audiences(state: &State) -> Vec<String> {
    let custom = state.spec["customAudiences"].as_array().into_iter().flatten();
    let custom = custom.filter_map(Value::as_str).map(str::to_owned);
    state.url().into_iter().flat_map(|url| [format!("{url}/"), url]).chain(custom).collect()
}
