//! `carrack import live`: a file whose first plan is empty.
use std::{fs, path::Path, process::Output};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::LocalCloud,
};

const SERVICES: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services";

/// Made by another client, and waited for.
fn create(cloud: &LocalCloud, body: &Value) {
    let operation = cloud.call(Method::POST, &format!("{SERVICES}?serviceId=shop"), Some(body));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    let done = cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "60s" })));
    assert_eq!((&done["done"], &done["error"]), (&json!(true), &Value::Null), "{done}");
}

fn import(cloud: &LocalCloud, file: &Path, more: &[&str]) -> Output {
    cloud
        .carrack()
        .args(["import", "live", "shop", "--local", "--color", "never"])
        .args(more)
        .arg("--out")
        .arg(file)
        .output()
        .unwrap()
}

/// Nothing is to be done, and the plan says so.
fn is_empty(cloud: &LocalCloud, file: &Path) {
    let plan =
        cloud.carrack().args(["plan", "--local", "--exit-code", "--color", "never", "-f"]).arg(file).output().unwrap();
    let file = fs::read_to_string(file).unwrap();
    assert_eq!(plan.status.code(), Some(0), "{}\n{file}", shown(&plan, &[]));
}

#[test]
fn the_first_plan_of_a_service_with_everything_set_is_empty() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    create(
        &cloud,
        &json!({
            "description": "says ${HELLO}\nand \"more\"",
            "labels": { "team": "web" },
            "annotations": { "example.com/owner": "them" },
            "ingress": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
            "defaultUriDisabled": true,
            "customAudiences": ["https://shop.example"],
            "client": "another", "clientVersion": "1",
            "binaryAuthorization": { "useDefault": true },
            "template": {
                "revision": "shop-first",
                "labels": { "cost": "a" },
                "encryptionKey": "projects/local/locations/us-central1/keyRings/r/cryptoKeys/k",
                "timeout": "60s", "sessionAffinity": true, "maxInstanceRequestConcurrency": 10,
                "serviceAccount": "run@local.iam.gserviceaccount.com",
                "scaling": { "minInstanceCount": 1, "maxInstanceCount": 3 },
                "containers": [{
                    "image": image,
                    "ports": [{ "name": "http1", "containerPort": 9090 }],
                    "env": [
                        { "name": "SAY", "value": "it costs $${5}" },
                        { "name": "DB_PASSWORD", "value": "hunter2-of-the-test" },
                    ],
                    "resources": { "limits": { "cpu": "2", "memory": "1Gi" }, "cpuIdle": false, "startupCpuBoost": true },
                    "livenessProbe": { "httpGet": { "path": "/", "httpHeaders": [{ "name": "X-A", "value": "1" }] }, "periodSeconds": 30 },
                }],
            },
        }),
    );
    let before = cloud.call(Method::GET, &format!("{SERVICES}/shop"), None);
    let file = cloud.dir().join("shop.toml");
    let output = ok(import(&cloud, &file, &[]));
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        "port = 9090",
        "timeout = \"60s\"",
        "ingress = \"internal-and-load-balancer\"",
        "cpu = 2",
        "memory = \"1GiB\"",
        "cpu_always = true",
        "max = 3",
        "team = \"web\"",
        "\"example.com/owner\" = \"them\"",
        "binaryAuthorization.useDefault = true",
        "template.labels.cost = \"a\"",
        "template.encryptionKey = \"projects/local/locations/us-central1/keyRings/r/cryptoKeys/k\"",
        "[[targets.local.cloud-run.template.containers]]",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    for absent in ["shop-first", "client", "hunter2-of-the-test", "concurrency = 80", "300s"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    let said = stderr(&output);
    assert!(said.contains("env.DB_PASSWORD: its value looks like a secret"), "{said}");
    assert!(!said.contains("hunter2-of-the-test"));
    is_empty(&cloud, &file);
    assert_eq!(
        cloud.call(Method::GET, &format!("{SERVICES}/shop"), None),
        before,
        "an import writes nothing to the cloud"
    );

    let again = import(&cloud, &file, &[]);
    assert_eq!(again.status.code(), Some(10), "a file that is there is not written over");
}

#[test]
fn a_plain_service_is_a_short_file() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    create(&cloud, &json!({ "template": { "containers": [{ "image": image }] } }));
    let file = cloud.dir().join("shop.toml");
    ok(import(&cloud, &file, &[]));
    let expected = format!(
        "# Service `shop` as it runs in local/us-central1. What is not here stays as it is.\n\n[service]\nname = \"shop\"\n\n\
         [image]\nref = \"{image}\"\n\n[targets.local]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    is_empty(&cloud, &file);
}

#[test]
fn terraform_is_told_what_to_leave_alone() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    let env = json!([{ "name": "SAY", "value": "a" }]);
    create(
        &cloud,
        &json!({ "iapEnabled": true, "template": { "timeout": "60s", "containers": [{ "image": image, "env": env }] } }),
    );
    let output = ok(cloud.carrack().args(["import", "live", "shop", "--local", "--terraform"]).output().unwrap());
    let text = stdout(&output);
    for attribute in [
        "client,",
        "client_version,",
        "traffic,",
        "iap_enabled,",
        "template[0].timeout,",
        "template[0].revision,",
        "template[0].containers[0].env,",
        "template[0].containers[0].image,",
    ] {
        assert!(text.lines().any(|line| line.trim() == attribute), "{attribute} in\n{text}");
    }
}

#[test]
fn a_place_and_a_service_have_to_be_there() {
    let cloud = LocalCloud::start();
    let nowhere = cloud.carrack().args(["import", "live", "shop"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));
    let missing = import(&cloud, &cloud.dir().join("shop.toml"), &[]);
    assert_eq!(missing.status.code(), Some(30), "{}", stderr(&missing));
    assert!(!cloud.dir().join("shop.toml").exists());
}

#[test]
fn the_first_plan_of_a_service_with_sidecars_and_volumes_is_empty() {
    let cloud = LocalCloud::start();
    let image = cloud.push_app("app").0;
    let mount = json!([{ "name": "cache", "mountPath": "/cache" }, { "name": "files", "mountPath": "/files" }]);
    create(
        &cloud,
        &json!({ "template": {
            "volumes": [
                { "name": "cache", "emptyDir": { "medium": "MEMORY", "sizeLimit": "16Mi" } },
                { "name": "files", "gcs": { "bucket": "photos", "readOnly": true } },
            ],
            "containers": [
                {
                    "name": "front", "image": image, "dependsOn": ["side"], "ports": [{ "containerPort": 8080 }],
                    "readinessProbe": { "httpGet": { "path": "/ready" }, "periodSeconds": 5 },
                    "volumeMounts": mount,
                },
                {
                    "name": "side", "image": image, "args": ["x"],
                    "env": [{ "name": "PORT", "value": "9000" }, { "name": "SAY", "value": "side" }],
                    "resources": { "limits": { "memory": "256Mi" }, "cpuIdle": true },
                    "startupProbe": { "tcpSocket": { "port": 9000 }, "periodSeconds": 1, "failureThreshold": 30 },
                    "volumeMounts": [{ "name": "cache", "mountPath": "/shared" }],
                },
            ],
        } }),
    );
    let file = cloud.dir().join("carrack.toml");
    ok(import(&cloud, &file, &[]));
    let text = fs::read_to_string(&file).unwrap();
    for part in [
        "[volumes.cache]",
        "kind = \"bucket\"",
        "[sidecars.side]",
        "[sidecars.side.env]",
        "readiness = ",
        "depends_on = ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("cloud-run]"), "every field has a key: {text}");
    is_empty(&cloud, &file);
}
