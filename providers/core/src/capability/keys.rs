//! The keys that not every cloud has, and the pairs of keys that say two things.
use std::time::Duration;

use super::{Capabilities, Feature, invalid, unsupported};
use crate::{
    Error,
    spec::{Ingress, Protocol, ServiceSpec},
};

pub(super) fn check(capabilities: &Capabilities, spec: &ServiceSpec) -> Vec<Error> {
    let mut errors = features(capabilities, spec);
    errors.extend(timeout(capabilities, spec));
    errors.extend(ingress(capabilities, spec));
    errors.extend(description(capabilities, spec));
    errors.extend(execution_environment(capabilities, spec));
    errors.extend(cpu_always(capabilities, spec));
    errors.extend(contradictions(spec));
    errors
}

fn features(capabilities: &Capabilities, spec: &ServiceSpec) -> Vec<Error> {
    use Feature as F;
    let (main, network) = (&spec.workload.main, &spec.workload.network);
    let annotation = spec.workload.annotations.keys().next().map(|key| format!("annotations.{key}"));
    let asked = [
        (F::H2c, "service.protocol", spec.protocol == Some(Protocol::H2c), "no HTTP/2 with a container"),
        (F::SessionAffinity, "service.session_affinity", spec.session_affinity == Some(true), "no session affinity"),
        (F::Description, "service.description", spec.description.is_some(), "no description of a service"),
        (F::DefaultUrl, "service.default_url", spec.default_url == Some(false), "no switch for the name that it gives"),
        (F::Audiences, "service.audiences", spec.audiences.is_some(), "no audiences for callers' tokens"),
        (
            F::InvokerCheck,
            "service.invoker_check",
            spec.invoker_check == Some(false),
            "no switch for the check of callers",
        ),
        (F::WorkingDir, "service.working_dir", main.working_dir.is_some(), "no choice of the folder to start in"),
        (F::CpuAlways, "resources.cpu_always", main.cpu_always.is_some(), "no choice when a container has its CPU"),
        (F::StartupBoost, "resources.startup_boost", main.startup_boost == Some(true), "no more CPU for a start"),
        (F::Instances, "scaling.instances", spec.scaling.instances.is_some(), "no fixed number of instances"),
        (F::Connector, "network.connector", network.connector.is_some(), "no connectors"),
        (F::Network, "network.network", network.network.is_some(), "no instances in a private network"),
        (F::Network, "network.subnet", network.subnet.is_some(), "no instances in a private network"),
        (F::CloudSql, "cloud_sql", spec.workload.cloud_sql.is_some(), "no Cloud SQL"),
        (F::Annotations, annotation.as_deref().unwrap_or("annotations"), annotation.is_some(), "no annotations"),
    ];
    let missing = asked.into_iter().filter(|(feature, _, asked, _)| *asked && !capabilities.features.contains(feature));
    missing.map(|(_, path, _, text)| unsupported(path, format!("this cloud has {text}"))).collect()
}

fn timeout(capabilities: &Capabilities, spec: &ServiceSpec) -> Option<Error> {
    const PATH: &str = "service.timeout";
    let asked = spec.timeout?;
    let Some(longest) = capabilities.longest_timeout else {
        return Some(unsupported(PATH, "this cloud has no limit for the time of a request"));
    };
    let seconds = longest.as_secs();
    (asked < Duration::from_secs(1) || asked > longest).then(|| {
        invalid(PATH, format!("a timeout of {}s is outside what this cloud has", asked.as_secs()))
            .hint(format!("use 1s to {seconds}s"))
    })
}

fn ingress(capabilities: &Capabilities, spec: &ServiceSpec) -> Option<Error> {
    let asked = spec.ingress.filter(|asked| !capabilities.ingress.contains(asked))?;
    let what = match asked {
        Ingress::All => "everywhere",
        Ingress::Internal => "its own networks only",
        Ingress::InternalAndLoadBalancer => "its own networks and a load balancer only",
        Ingress::None => "nowhere",
    };
    Some(unsupported("service.ingress", format!("this cloud has no services that are reached from {what}")))
}

fn description(capabilities: &Capabilities, spec: &ServiceSpec) -> Option<Error> {
    let most = capabilities.longest_description;
    let characters = spec.description.as_ref()?.chars().count();
    (capabilities.features.contains(&Feature::Description) && characters > most).then(|| {
        invalid(
            "service.description",
            format!("a description of {characters} characters is longer than this cloud has"),
        )
        .hint(format!("use {most} characters or less"))
    })
}

fn execution_environment(capabilities: &Capabilities, spec: &ServiceSpec) -> Option<Error> {
    const PATH: &str = "service.execution_environment";
    let asked = spec.workload.execution_environment.as_ref()?;
    let known = &capabilities.execution_environments;
    if known.is_empty() {
        return Some(unsupported(PATH, "this cloud has no choice of execution environments"));
    }
    let Some(environment) = known.iter().find(|known| known.name == *asked) else {
        let names: Vec<String> = known.iter().map(|known| format!("`{}`", known.name)).collect();
        return Some(
            invalid(PATH, format!("unknown execution environment `{asked}`"))
                .hint(format!("use {}", names.join(" or "))),
        );
    };
    let main = &spec.workload.main;
    let (cpu, memory) = (environment.cpu_from, environment.memory_from);
    if let Some(small) = main.cpu.filter(|asked| *asked < cpu) {
        return Some(
            invalid(PATH, format!("cpu {small} is less than `{asked}` takes"))
                .hint(format!("write `cpu = {cpu}` or more under [resources]")),
        );
    }
    let small = main.memory.filter(|asked| *asked < memory)?;
    Some(
        invalid(PATH, format!("memory {small} is less than `{asked}` takes"))
            .hint(format!("write `memory = \"{memory}\"` or more under [resources]")),
    )
}

/// A part of a CPU is only to be had for the time of a request.
fn cpu_always(capabilities: &Capabilities, spec: &ServiceSpec) -> Option<Error> {
    let main = &spec.workload.main;
    let (limit, cpu) = (capabilities.single_request_below?, main.cpu?);
    (main.cpu_always == Some(true) && cpu < limit).then(|| {
        invalid("resources.cpu_always", format!("cpu {cpu} is only there during requests"))
            .hint(format!("write `cpu = {limit}` or more under [resources], or `cpu_always = false`"))
    })
}

/// What no cloud could do: each says two things.
fn contradictions(spec: &ServiceSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    let (scaling, network) = (&spec.scaling, &spec.workload.network);
    if scaling.instances.is_some() && (scaling.min.is_some() || scaling.max.is_some()) {
        let ranges = [("min", scaling.min), ("max", scaling.max)];
        let named: Vec<_> = ranges.iter().filter(|(_, n)| n.is_some()).map(|(key, _)| format!("`{key}`")).collect();
        let named = named.join(" and ");
        errors.push(
            invalid("scaling.instances", format!("a fixed number of instances goes without {named}"))
                .hint(format!("remove `instances`, or {named}")),
        );
    }
    if spec.public == Some(false) && spec.invoker_check == Some(false) {
        errors.push(
            invalid("service.invoker_check", "without the check of callers a service is open to anyone")
                .hint("write `public = true`, or remove `invoker_check`"),
        );
    }
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let (connector, network_too) = (set(&network.connector), set(&network.network) || set(&network.subnet));
    if connector && network_too {
        errors.push(
            invalid("network.connector", "a connector takes the place of a network")
                .hint("remove `connector`, or `network` and `subnet`"),
        );
    }
    if network.egress.is_some() && !connector && !network_too {
        errors.push(
            invalid("network.egress", "`egress` goes with a way into a network, and there is none")
                .hint("add `network`, `subnet` or `connector` under [network]"),
        );
    }
    if network.tags.as_ref().is_some_and(|tags| !tags.is_empty()) && !network_too {
        errors.push(
            invalid("network.tags", "`tags` go with a network, and there is none")
                .hint("add `network` or `subnet` under [network]"),
        );
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ErrorKind,
        capability::{ExecutionEnvironment, check as check_all},
        memory::Memory,
        provider::Provider,
        spec::{ContainerSpec, Egress, Mebibytes, MilliCpu, Network, Scaling, WorkloadSpec},
    };

    fn cloud() -> Capabilities {
        let environment = |name: &str, cpu, memory| ExecutionEnvironment {
            name: name.to_owned(),
            cpu_from: MilliCpu(cpu),
            memory_from: Mebibytes(memory),
        };
        Capabilities {
            traffic_split: true,
            longest_name_and_tag: Some(60),
            sizes: Vec::new(),
            single_request_below: Some(MilliCpu(1000)),
            max_concurrency: Some(10),
            max_instances: 10,
            features: Vec::new(),
            longest_timeout: None,
            ingress: Vec::new(),
            execution_environments: vec![environment("small", 1, 1), environment("large", 1000, 512)],
            longest_description: 3,
            ..Memory::default().capabilities().clone()
        }
    }

    fn told(errors: &[Error]) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.field().unwrap_or_default(), error.message())).collect()
    }

    fn everything() -> ServiceSpec {
        let text = || Some("x".to_owned());
        ServiceSpec {
            protocol: Some(Protocol::H2c),
            scaling: Scaling { instances: Some(1), ..Scaling::default() },
            invoker_check: Some(false),
            ingress: Some(Ingress::All),
            timeout: Some(Duration::from_secs(3)),
            session_affinity: Some(true),
            description: text(),
            default_url: Some(false),
            audiences: Some(Vec::new()),
            workload: WorkloadSpec {
                annotations: [("a".to_owned(), String::new())].into(),
                network: Network { network: text(), subnet: text(), ..Network::default() },
                cloud_sql: Some(Vec::new()),
                main: ContainerSpec {
                    working_dir: text(),
                    cpu_always: Some(false),
                    startup_boost: Some(true),
                    ..ContainerSpec::default()
                },
                ..WorkloadSpec::default()
            },
            ..ServiceSpec::default()
        }
    }

    #[test]
    fn what_a_cloud_does_not_have_is_refused_key_by_key() {
        let errors = check_all(&cloud(), &everything());
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Unsupported));
        let fields: Vec<&str> = errors.iter().filter_map(Error::field).collect();
        assert_eq!(
            fields,
            [
                "service.protocol",
                "service.session_affinity",
                "service.description",
                "service.default_url",
                "service.audiences",
                "service.invoker_check",
                "service.working_dir",
                "resources.cpu_always",
                "resources.startup_boost",
                "scaling.instances",
                "network.network",
                "network.subnet",
                "cloud_sql",
                "annotations.a",
                "service.timeout",
                "service.ingress",
            ]
        );
    }

    #[test]
    fn what_says_that_nothing_is_wanted_needs_no_feature() {
        let spec = ServiceSpec {
            protocol: Some(Protocol::Http1),
            session_affinity: Some(false),
            default_url: Some(true),
            invoker_check: Some(true),
            ..ServiceSpec::default()
        };
        assert_eq!(told(&check_all(&cloud(), &spec)), [""; 0]);
    }

    #[test]
    fn what_is_outside_of_a_range() {
        let cloud = Capabilities { longest_timeout: Some(Duration::from_secs(60)), ..cloud() };
        for (seconds, good) in [(0, false), (1, true), (60, true), (61, false)] {
            let spec = ServiceSpec { timeout: Some(Duration::from_secs(seconds)), ..ServiceSpec::default() };
            assert_eq!(check_all(&cloud, &spec).is_empty(), good, "{seconds}");
        }
        let cloud = Capabilities { features: vec![Feature::Description], ..cloud };
        for (text, good) in [("äöü", true), ("äöü.", false)] {
            let spec = ServiceSpec { description: Some(text.to_owned()), ..ServiceSpec::default() };
            assert_eq!(check_all(&cloud, &spec).is_empty(), good, "{text}");
        }
    }

    #[test]
    fn execution_environments() {
        let of = |name: &str, cpu, memory| {
            let mut spec = ServiceSpec::default();
            spec.workload.execution_environment = Some(name.to_owned());
            spec.workload.main.cpu = cpu;
            spec.workload.main.memory = memory;
            spec.scaling.concurrency = Some(1);
            let own = |error: &Error| error.field() == Some("service.execution_environment");
            told(&check_all(&cloud(), &spec).into_iter().filter(own).collect::<Vec<_>>())
        };
        let none: [&str; 0] = [];
        assert_eq!(of("large", None, None), none);
        assert_eq!(of("small", Some(MilliCpu(500)), Some(Mebibytes(128))), none);
        let at = "service.execution_environment";
        assert_eq!(of("lrage", None, None), [format!("{at}: unknown execution environment `lrage`")]);
        assert_eq!(of("large", Some(MilliCpu(500)), None), [format!("{at}: cpu 0.5 is less than `large` takes")]);
        let memory = of("large", None, Some(Mebibytes(256)));
        assert_eq!(memory, [format!("{at}: memory 256MiB is less than `large` takes")]);
    }

    #[test]
    fn two_things_at_once() {
        let all = Capabilities {
            features: vec![Feature::Instances, Feature::InvokerCheck, Feature::Connector, Feature::Network],
            ..cloud()
        };
        let at = |change: fn(&mut ServiceSpec)| {
            let mut spec = ServiceSpec::default();
            change(&mut spec);
            told(&check_all(&all, &spec))
        };
        assert_eq!(
            at(|spec| spec.scaling = Scaling { max: Some(2), instances: Some(1), ..Scaling::default() }),
            ["scaling.instances: a fixed number of instances goes without `max`"]
        );
        assert_eq!(
            at(|spec| (spec.public, spec.invoker_check) = (Some(false), Some(false))),
            ["service.invoker_check: without the check of callers a service is open to anyone"]
        );
        assert_eq!(at(|spec| spec.invoker_check = Some(false)), [""; 0]);
        let text = |text: &str| Some(text.to_owned());
        let network = |network: Network| {
            let mut spec = ServiceSpec::default();
            spec.workload.network = network;
            told(&check_all(&all, &spec))
        };
        assert_eq!(
            network(Network { connector: text("c"), subnet: text("s"), ..Network::default() }),
            ["network.connector: a connector takes the place of a network"]
        );
        let lonely = Network { egress: Some(Egress::All), tags: Some(vec!["t".into()]), ..Network::default() };
        assert_eq!(
            network(lonely.clone()),
            [
                "network.egress: `egress` goes with a way into a network, and there is none",
                "network.tags: `tags` go with a network, and there is none",
            ]
        );
        assert_eq!(network(Network { network: text("n"), ..lonely }), [""; 0]);
        // An empty name takes it away.
        assert_eq!(network(Network { connector: text(""), network: text("n"), ..Network::default() }), [""; 0]);
    }

    #[test]
    fn a_part_of_a_cpu_is_there_during_requests() {
        let all = Capabilities { features: vec![Feature::CpuAlways], ..cloud() };
        let mut spec = everything();
        spec.workload.main.cpu_always = Some(true);
        spec.workload.main.cpu = Some(MilliCpu(500));
        let errors = told(&check_all(&all, &spec));
        assert!(
            errors.contains(&"resources.cpu_always: cpu 0.5 is only there during requests".to_owned()),
            "{errors:?}"
        );
    }
}
