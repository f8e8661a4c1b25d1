//! How a service's further settings come into its spec: the neutral ones first, a target's over them.
use carrack_core::spec::{Scaling, ServiceSpec};

use super::{
    read::At,
    schema,
    settings::{NetworkName, SqlInstance},
};

/// Lays the keys of `[service]` or `[targets.NAME.service]` over `spec`: both sections have them.
macro_rules! lay_service {
    ($spec:expr, $service:expr) => {{
        let (spec, service): (&mut ServiceSpec, _) = ($spec, $service);
        put(&mut spec.protocol, service.protocol.as_ref(), |at| at.value);
        put(&mut spec.timeout, service.timeout.as_ref(), |at| at.value);
        put(&mut spec.ingress, service.ingress.as_ref(), |at| at.value);
        put(&mut spec.session_affinity, service.session_affinity.as_ref(), |at| at.value);
        put(&mut spec.description, service.description.as_ref(), |at| at.value.0.clone());
        put(&mut spec.default_url, service.default_url.as_ref(), |at| at.value);
        put(&mut spec.audiences, service.audiences.as_ref(), |at| {
            at.value.iter().map(|audience| audience.value.0.clone()).collect()
        });
        put(&mut spec.invoker_check, service.invoker_check.as_ref(), |at| at.value);
        let workload = &mut spec.workload;
        put(&mut workload.main.working_dir, service.working_dir.as_ref(), |at| at.value.0.clone());
        put(&mut workload.execution_environment, service.execution_environment.as_ref(), |at| at.value.0.clone());
    }};
}

/// The keys of `[service]`.
pub(crate) fn service(spec: &mut ServiceSpec, service: &schema::Service) {
    lay_service!(spec, service);
}

/// The keys of `[targets.NAME.service]`.
pub(crate) fn service_override(spec: &mut ServiceSpec, service: &schema::ServiceOverride) {
    lay_service!(spec, service);
}

/// Which of a range and a fixed number holds is for the part that is laid last.
pub(crate) fn instances(spec: &mut Scaling, scaling: &schema::Scaling) {
    if scaling.min.is_some() || scaling.max.is_some() {
        spec.instances = None;
    }
    if let Some(instances) = &scaling.instances {
        (spec.min, spec.max, spec.instances) = (None, None, Some(instances.value.0));
        // In one section they are a contradiction, which is for the check to tell.
        put(&mut spec.min, scaling.min.as_ref(), |at| at.value.0);
        put(&mut spec.max, scaling.max.as_ref(), |at| at.value.0);
    }
}

/// `[network]`, `cloud_sql` and `[annotations]`.
pub(crate) fn parts(
    spec: &mut ServiceSpec,
    network: Option<&At<schema::Network>>,
    cloud_sql: Option<&At<Vec<At<SqlInstance>>>>,
    annotations: Option<&At<schema::Annotations>>,
) {
    let workload = &mut spec.workload;
    if let Some(At { value, .. }) = network {
        let named = |name: &Option<At<NetworkName>>| name.as_ref().is_some_and(|at| !at.value.0.is_empty());
        let network = &mut workload.network;
        // As with instances.
        if named(&value.connector) {
            (network.network, network.subnet, network.tags) = (None, None, None);
        }
        if named(&value.network) || named(&value.subnet) {
            network.connector = None;
        }
        put(&mut network.connector, value.connector.as_ref(), |at| at.value.0.clone());
        put(&mut network.network, value.network.as_ref(), |at| at.value.0.clone());
        put(&mut network.subnet, value.subnet.as_ref(), |at| at.value.0.clone());
        put(&mut network.tags, value.tags.as_ref(), |at| at.value.iter().map(|tag| tag.value.0.clone()).collect());
        put(&mut network.egress, value.egress.as_ref(), |at| at.value);
    }
    put(&mut workload.cloud_sql, cloud_sql, |at| at.value.iter().map(|name| name.value.0.clone()).collect());
    for (key, text) in annotations.iter().flat_map(|annotations| &annotations.value.map) {
        workload.annotations.insert(key.clone(), text.value.clone());
    }
}

fn put<S, T>(field: &mut Option<T>, value: Option<S>, convert: impl Fn(S) -> T) {
    if let Some(value) = value {
        *field = Some(convert(value));
    }
}
