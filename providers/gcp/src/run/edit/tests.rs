//! Any live service, any file: what an edit changes, and what it leaves.
use std::{collections::BTreeMap, time::Duration};

use carrack_core::{
    ErrorKind,
    fields::rivals,
    spec::{ContainerSpec, ImageRef, Mebibytes, MilliCpu, Probes, Scaling, Volume, WorkloadSpec},
};
use proptest::{collection::btree_map, option::of, prelude::*};

use super::*;
use crate::run::settings::settings;

fn probe() -> impl Strategy<Value = Probe> {
    let port = || of(1_u16..);
    let check = prop_oneof![
        ("/[a-z]{0,5}", port()).prop_map(|(path, port)| ProbeCheck::Http { path, port }),
        port().prop_map(|port| ProbeCheck::Tcp { port }),
        (port(), of("[a-z]{1,5}")).prop_map(|(port, service)| ProbeCheck::Grpc { port, service }),
    ];
    (check, 0_u64..240, 1_u64..240, 1_u64..240, 1_u32..50).prop_map(|(check, delay, period, timeout, failures)| Probe {
        check,
        delay: Duration::from_secs(delay),
        period: Duration::from_secs(period),
        timeout: Duration::from_secs(timeout),
        failures,
    })
}

fn env() -> impl Strategy<Value = EnvValue> {
    prop_oneof![".{0,8}".prop_map(EnvValue::Plain), secret().prop_map(EnvValue::Secret),]
}

fn secret() -> impl Strategy<Value = SecretRef> {
    ("[a-c]{1,2}", "[1-9]").prop_map(|(name, version)| SecretRef { name, version })
}

/// A folder shows one secret, of which it may show several files.
fn mounts() -> impl Strategy<Value = BTreeMap<String, SecretRef>> {
    let files = btree_map("[xy]", "[1-9]", 1..3);
    btree_map("(/[a-c]){1,2}", ("[a-c]", files), 0..3).prop_map(|folders| {
        let files = folders.into_iter().flat_map(|(folder, (name, files))| {
            let file = move |(file, version)| (format!("{folder}/{file}"), SecretRef { name: name.clone(), version });
            files.into_iter().map(file)
        });
        files.collect()
    })
}

fn words() -> impl Strategy<Value = Option<Vec<String>>> {
    of(prop::collection::vec("[a-z]{1,4}", 1..3))
}

fn volume() -> impl Strategy<Value = Volume> {
    let options = prop::collection::vec("[a-z]{1,4}", 0..2);
    prop_oneof![
        of(1_u32..9000).prop_map(|size| Volume::Memory { size: size.map(Mebibytes) }),
        ("[a-c]", any::<bool>(), options).prop_map(|(name, read_only, options)| Volume::Bucket {
            name,
            read_only,
            options
        }),
        ("[a-c]", "/[a-c]", any::<bool>()).prop_map(|(server, path, read_only)| Volume::Nfs {
            server,
            path,
            read_only
        }),
    ]
}

/// No folder is of two volumes, or of a secret too.
fn volume_mounts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[vw]", "[12]", 0..3)
        .prop_map(|mounts| mounts.into_iter().map(|(name, at)| (name.clone(), format!("/vol/{name}{at}"))).collect())
}

fn probes() -> impl Strategy<Value = Probes> {
    (of(probe()), of(probe()), of(probe())).prop_map(|(startup, liveness, readiness)| Probes {
        startup,
        liveness,
        readiness,
    })
}

/// In a box: what is made up of all of it would not fit on a test's stack.
fn container() -> BoxedStrategy<ContainerSpec> {
    let depends_on = of(prop::collection::vec("main|p|q", 1..3));
    (
        of("[a-z]{1,9}"),
        words(),
        words(),
        (btree_map("[A-C]", env(), 0..3), mounts(), volume_mounts()),
        depends_on,
        of(1_u32..9000),
        of(1_u32..9000),
        probes(),
    )
        .prop_map(|(image, command, args, (env, mounts, volumes), depends_on, cpu, memory, probes)| ContainerSpec {
            image: image.map(ImageRef),
            command,
            args,
            env,
            mounts,
            volumes,
            depends_on,
            cpu: cpu.map(MilliCpu),
            memory: memory.map(Mebibytes),
            probes,
            ..ContainerSpec::default()
        })
        .boxed()
}

/// It has an image, and its probes name their port.
fn sidecar_container() -> BoxedStrategy<ContainerSpec> {
    container()
        .prop_map(|mut sidecar| {
            sidecar.image.get_or_insert_with(|| ImageRef("side".to_owned()));
            let probes = &mut sidecar.probes;
            for probe in [&mut probes.startup, &mut probes.liveness, &mut probes.readiness].into_iter().flatten() {
                match &mut probe.check {
                    ProbeCheck::Http { port, .. } | ProbeCheck::Tcp { port } | ProbeCheck::Grpc { port, .. } => {
                        port.get_or_insert(9);
                    }
                }
            }
            sidecar
        })
        .boxed()
}

fn spec() -> BoxedStrategy<ServiceSpec> {
    let scaling = (of(0_u32..9), of(1_u32..9), of(1_u32..9)).prop_map(|(min, max, concurrency)| Scaling {
        min,
        max,
        concurrency,
        ..Scaling::default()
    });
    let labels = btree_map("[a-c]", "[a-z]{0,3}", 0..3);
    let parts = (btree_map("[pq]", sidecar_container(), 0..3), btree_map("[vw]", volume().boxed(), 2));
    (container(), parts, scaling, labels, of(1_u16..9000), of(any::<bool>()), of("[a-z]{1,5}"), settings())
        .prop_map(|(main, (sidecars, volumes), scaling, labels, port, public, service_account, settings)| {
            let workload = WorkloadSpec { main, sidecars, volumes, service_account, labels, ..WorkloadSpec::default() };
            settings.laid_over(ServiceSpec { workload, port, scaling, public, ..ServiceSpec::default() })
        })
        .boxed()
}

fn everything(spec: &ServiceSpec) -> BTreeSet<FieldPath> {
    fields(spec).into_keys().collect()
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The live container of each wanted one, where there is one.
fn both<'a>(
    live: &'a ServiceSpec,
    wanted: &'a ServiceSpec,
) -> impl Iterator<Item = (&'a ContainerSpec, &'a ContainerSpec)> {
    let (live, wanted) = (&live.workload, &wanted.workload);
    let sidecars = live.sidecars.iter().filter_map(|(name, live)| Some((live, wanted.sidecars.get(name)?)));
    std::iter::once((&live.main, &wanted.main)).chain(sidecars)
}

/// A folder that would have to show two secrets, one of them somebody else's.
fn clash(live: &ServiceSpec, wanted: &ServiceSpec) -> bool {
    both(live, wanted).any(|(live, wanted)| {
        live.mounts.keys().filter(|path| !wanted.mounts.contains_key(*path)).any(|path| {
            let name = &live.mounts[path].name;
            let ours = wanted.mounts.iter().filter(|(ours, _)| folder(ours) == folder(path));
            ours.into_iter().any(|(_, secret)| secret.name != *name)
        })
    })
}

/// A container that stays waits for a sidecar that goes.
fn dangling(live: &ServiceSpec, wanted: &ServiceSpec) -> bool {
    let gone =
        |name: &String| live.workload.sidecars.contains_key(name) && !wanted.workload.sidecars.contains_key(name);
    both(live, wanted).any(|(live, wanted)| wanted.depends_on.is_none() && live.depends_on.iter().flatten().any(gone))
        || both(live, wanted).any(|(_, wanted)| wanted.depends_on.iter().flatten().any(gone))
        || wanted.workload.sidecars.iter().any(|(_, new)| new.depends_on.iter().flatten().any(gone))
}

fn named<'a>(template: &'a Value, name: &str) -> &'a Value {
    let containers = template["containers"].as_array().expect("a list");
    containers.iter().find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

proptest! {
    /// What is owned becomes as the file says; every other known field, and every unknown one, stays.
    #[test]
    fn an_edit_changes_what_is_owned_and_nothing_else(live in spec(), wanted in spec(), ours in any::<bool>()) {
        let mut raw = edit(&empty(), &live, &everything(&live)).unwrap();
        // Volumes of others, and a sidecar that shows the first secret's volume too.
        let template = &mut raw["service"]["template"];
        let all = array(template, "volumes");
        let shared = all.iter().find(|volume| volume["secret"].is_object()).cloned().unwrap_or_default();
        all.insert(0, json!({ "name": "theirs", "gcs": { "bucket": "b" } }));
        all.push(json!({ "name": "nobodys", "secret": { "secret": "key" } }));
        let mount = json!({ "name": "theirs", "mountPath": "/theirs" });
        array(&mut template["containers"][0], "volumeMounts").insert(0, mount);
        let mut sidecar = json!({ "name": "sidecar", "unknown": 1 });
        if shared.is_object() {
            sidecar["volumeMounts"] = json!([{ "name": shared["name"], "mountPath": "/anywhere" }]);
        }
        array(template, "containers").push(sidecar);
        for container in array(template, "containers") {
            container["unknown"] = json!(7);
        }
        raw["service"]["unknown"] = json!({ "deep": [1, 2] });
        raw["service"]["template"]["unknown"] = json!("kept");
        raw["policy"]["bindings"] = json!([{ "role": "roles/other", "members": ["user:a"] }]);
        let before = fields(&from_wire(&raw).unwrap());
        let asked = fields(&wanted);
        let mut write = everything(&wanted);
        let displaced = |path: &String| rivals(path).iter().any(|rival| asked.contains_key(rival));
        let goes = |path: &String| match carrack_core::fields::sidecar(path) {
            Some(("sidecar", _)) => false,
            Some((name, _)) if !wanted.workload.sidecars.contains_key(name) => true,
            Some((_, field)) => field.starts_with("secrets.") || field.starts_with("volumes."),
            None => path.starts_with("secrets."),
        };
        let removed = |path: &&String| !asked.contains_key(*path) && (displaced(path) || (ours && goes(path)));
        write.extend(before.keys().filter(removed).cloned());
        let after = match edit(&raw, &wanted, &write) {
            Ok(after) => after,
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error);
                let reason = if ours { dangling(&live, &wanted) } else { clash(&live, &wanted) };
                prop_assert!(reason, "{}", error);
                return Ok(());
            }
        };
        let hidden = if ours { dangling(&live, &wanted) } else { clash(&live, &wanted) };
        prop_assert!(!hidden, "nothing is hidden");
        let seen = fields(&from_wire(&after).unwrap());
        for (path, value) in &asked {
            prop_assert_eq!(seen.get(path), Some(value), "{}", path);
        }
        // Each can settle what the other then says.
        let access = ["service.public", "service.invoker_check"];
        let stays = |path: &String| !write.contains(path) && !access.contains(&path.as_str());
        for (path, value) in before.iter().filter(|(path, _)| stays(path)) {
            prop_assert_eq!(seen.get(path), Some(value), "{}", path);
        }
        for path in write.iter().filter(|path| !asked.contains_key(*path)) {
            prop_assert_eq!(seen.get(path), None, "{}", path);
        }
        let (old, new) = (&raw["service"]["template"], &after["service"]["template"]);
        prop_assert_eq!(named(new, "sidecar"), named(old, "sidecar"));
        for name in live.workload.sidecars.keys().filter(|name| !ours || wanted.workload.sidecars.contains_key(*name)) {
            prop_assert_eq!(&named(new, name)["unknown"], 7, "{}", name);
        }
        prop_assert_eq!(&new["containers"][0]["volumeMounts"][0], &old["containers"][0]["volumeMounts"][0]);
        let volumes = new["volumes"].as_array().unwrap();
        prop_assert_eq!(&volumes[0], &old["volumes"][0], "theirs stays where it is");
        prop_assert!(volumes.iter().any(|volume| volume["name"] == "nobodys"));
        if shared.is_object() {
            prop_assert!(volumes.contains(&shared), "the sidecar sees what it saw");
        }
        let names: BTreeSet<&str> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
        prop_assert_eq!(names.len(), volumes.len());
        let mounted = |name: &str| new.to_string().matches(&format!("\"name\":\"{name}\"")).count() > 1;
        let left = names.iter().filter(|name| name.starts_with("secret-")).all(|name| mounted(name));
        prop_assert!(left, "none is left behind");
        prop_assert_eq!(&after["service"]["unknown"], &raw["service"]["unknown"]);
        prop_assert_eq!(&after["service"]["template"]["unknown"], "kept");
        prop_assert_eq!(&after["service"]["template"]["containers"][0]["unknown"], 7);
        prop_assert_eq!(&after["policy"]["bindings"][0], &raw["policy"]["bindings"][0]);
        prop_assert_eq!(&edit(&after, &wanted, &write).unwrap(), &after, "a second edit changes nothing");
    }
}

#[test]
fn a_default_probe_follows_the_port() {
    let mut raw = empty();
    raw["service"]["template"]["containers"][0] = json!({ "ports": [{ "name": "http1", "containerPort": 8080 }], "startupProbe": { "tcpSocket": { "port": 8080 } } });
    let spec = ServiceSpec { port: Some(9090), ..ServiceSpec::default() };
    let after = edit(&raw, &spec, &everything(&spec)).unwrap();
    let container = &after["service"]["template"]["containers"][0];
    assert_eq!(container["ports"], json!([{ "name": "http1", "containerPort": 9090 }]));
    assert_eq!(container["startupProbe"]["tcpSocket"]["port"], 9090);
}

/// A service with a main container, and a spec with one sidecar `proxy` that `change` makes.
fn with_sidecar(change: impl FnOnce(&mut ContainerSpec)) -> ServiceSpec {
    let mut proxy = ContainerSpec { image: Some(ImageRef("proxy".into())), ..ContainerSpec::default() };
    change(&mut proxy);
    let mut spec = ServiceSpec::default();
    spec.workload.main.image = Some(ImageRef("app".into()));
    spec.workload.sidecars.insert("proxy".into(), proxy);
    spec
}

#[test]
fn a_first_deploy_with_a_sidecar_tells_who_gets_the_requests() {
    let mut spec = with_sidecar(|proxy| proxy.depends_on = Some(vec!["main".into()]));
    spec.workload.main.volumes.insert("cache".into(), "/cache".into());
    spec.workload.volumes.insert("cache".into(), Volume::Memory { size: Some(Mebibytes(64)) });
    let after = edit(&empty(), &spec, &everything(&spec)).unwrap();
    assert_eq!(
        after["service"]["template"],
        json!({
            "containers": [
                { "name": "main", "image": "app", "ports": [{ "containerPort": 8080 }],
                    "resources": { "cpuIdle": true }, "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }] },
                { "name": "proxy", "image": "proxy", "resources": { "cpuIdle": true }, "dependsOn": ["main"] },
            ],
            "volumes": [{ "name": "cache", "emptyDir": { "medium": "MEMORY", "sizeLimit": "64Mi" } }],
        })
    );
    assert_eq!(fields(&from_wire(&after).unwrap())["sidecars.proxy.depends_on"].to_string(), "[\"main\"]");
}

#[test]
fn a_sidecar_that_goes_takes_its_secrets_along_and_nothing_else() {
    let secret = SecretRef { name: "key".into(), version: "1".into() };
    let spec = with_sidecar(|proxy| drop(proxy.mounts.insert("/keys/key.pem".into(), secret)));
    let mut raw = edit(&empty(), &spec, &everything(&spec)).unwrap();
    let theirs = json!({ "name": "theirs", "image": "x", "unknown": true, "dependsOn": ["app"] });
    array(template(&mut raw), "containers").push(theirs.clone());
    let mut without = spec.clone();
    without.workload.sidecars.clear();
    let write = ["sidecars.proxy.image", "sidecars.proxy.secrets./keys/key.pem"].map(str::to_owned).into();
    let after = edit(&raw, &without, &write).unwrap();
    let left = &after["service"]["template"];
    assert_eq!((left["containers"].as_array().unwrap().len(), &left["containers"][1]), (2, &theirs));
    assert_eq!(left.get("volumes"), None);
    // Another waits for it.
    raw["service"]["template"]["containers"][2]["dependsOn"] = json!(["proxy"]);
    let error = edit(&raw, &without, &write).expect_err("it would wait for nothing");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Conflict, "refusing to remove sidecar `proxy`: container `theirs` depends on it")
    );
}

#[test]
fn a_sidecar_needs_an_image_and_a_name_of_its_own() {
    let spec = with_sidecar(|proxy| proxy.image = None);
    let error = edit(&empty(), &spec, &everything(&spec)).expect_err("nothing could run");
    assert_eq!((error.kind(), error.field()), (ErrorKind::ConfigInvalid, Some("sidecars.proxy.image")));
    let spec = with_sidecar(|_| {});
    let mut raw = empty();
    raw["service"]["template"]["containers"][0]["name"] = json!("proxy");
    let error = edit(&raw, &spec, &everything(&spec)).expect_err("the main container is called so");
    assert_eq!(error.kind(), ErrorKind::Conflict);
}
