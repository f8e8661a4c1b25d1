//! Made-up settings of one value each, for the property of `edit`.
use std::{collections::BTreeMap, time::Duration};

use carrack_core::spec::{Egress, Ingress, Network, Protocol, ServiceSpec};
use proptest::{collection::btree_map, option::of, prelude::*};

/// What [`super::scalars`] reads and writes. An empty text or list means that there is none, and is read so.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    switches: [Option<bool>; 5],
    protocol: Option<Protocol>,
    ingress: Option<Ingress>,
    timeout: Option<Duration>,
    texts: [Option<String>; 3],
    lists: [Option<Vec<String>>; 2],
    annotations: BTreeMap<String, String>,
    network: Network,
    instances: Option<u32>,
}

impl Settings {
    /// A fixed number of instances and a range do not go together.
    pub(super) fn laid_over(self, mut spec: ServiceSpec) -> ServiceSpec {
        let [invoker_check, session_affinity, default_url, cpu_always, startup_boost] = self.switches;
        let [description, working_dir, execution_environment] = self.texts;
        let [audiences, cloud_sql] = self.lists;
        let free = spec.scaling.min.is_none() && spec.scaling.max.is_none();
        spec.scaling.instances = self.instances.filter(|_| free);
        // Without the check a service is open to anyone.
        spec.invoker_check = invoker_check.filter(|check| *check || spec.public != Some(false));
        (spec.session_affinity, spec.default_url) = (session_affinity, default_url);
        (spec.protocol, spec.ingress, spec.timeout) = (self.protocol, self.ingress, self.timeout);
        (spec.description, spec.audiences) = (description, audiences);
        let workload = &mut spec.workload;
        (workload.annotations, workload.network, workload.cloud_sql) = (self.annotations, self.network, cloud_sql);
        workload.execution_environment = execution_environment;
        workload.main.working_dir = working_dir;
        (workload.main.cpu_always, workload.main.startup_boost) = (cpu_always, startup_boost);
        spec
    }
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let switch = || of(any::<bool>());
    let list = || of(prop::collection::vec("[a-z]{1,4}", 1..3));
    let choices = (
        of(prop_oneof![Just(Protocol::Http1), Just(Protocol::H2c)]),
        of(prop_oneof![
            Just(Ingress::All),
            Just(Ingress::Internal),
            Just(Ingress::InternalAndLoadBalancer),
            Just(Ingress::None)
        ]),
        of((1_u64..3601).prop_map(Duration::from_secs)),
        of(0_u32..4),
    );
    (
        [switch(), switch(), switch(), switch(), switch()],
        choices,
        [of("[a-z]{1,5}"), of("/[a-z]{1,5}"), of("gen[12]")],
        [list(), list()],
        btree_map("[a-c]/[a-c]", ".{0,4}", 0..3),
        network(),
    )
        .prop_map(|(switches, (protocol, ingress, timeout, instances), texts, lists, annotations, network)| {
            Settings { switches, protocol, ingress, timeout, texts, lists, annotations, network, instances }
        })
}

/// Either way, or none; the rest goes with one of them.
fn network() -> impl Strategy<Value = Network> {
    let egress = || of(prop_oneof![Just(Egress::All), Just(Egress::PrivateRanges)]);
    let tags = of(prop::collection::vec("[a-z]{1,4}", 1..3));
    prop_oneof![
        Just(Network::default()),
        ("[a-z]{1,4}", egress()).prop_map(|(connector, egress)| Network {
            connector: Some(connector),
            egress,
            ..Network::default()
        }),
        ("[a-z]{1,4}", of("[a-z]{1,4}"), tags, egress()).prop_map(|(network, subnet, tags, egress)| Network {
            network: Some(network),
            subnet,
            tags,
            egress,
            ..Network::default()
        }),
    ]
}
