//! What v2 has comes back from v1 as it was.
use serde_json::{Value, json};

use super::{job, service, template};
use crate::gcp::{
    run::{jobs::names::JobKey, names::Key},
    schema::Documents,
    validate::body,
};

fn documents() -> Documents {
    Documents::load().expect("the committed schemas")
}

fn key() -> Key {
    Key { project: "p".to_owned(), location: "us-central1".to_owned(), service: "hello".to_owned() }
}

/// Everything that both have a word for.
fn whole() -> Value {
    json!({
        "client": "gcloud",
        "clientVersion": "528.0.0",
        "launchStage": "BETA",
        "description": "says hello",
        "ingress": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
        "labels": { "team": "blue" },
        "annotations": { "carrack.dev/receipt": "{}" },
        "scaling": { "minInstanceCount": 1, "maxInstanceCount": 9, "scalingMode": "MANUAL", "manualInstanceCount": 2 },
        "invokerIamDisabled": true,
        "defaultUriDisabled": true,
        "customAudiences": ["https://one", "https://two"],
        "binaryAuthorization": { "policy": "projects/p/platforms/cloudRun/policies/x", "breakglassJustification": "now" },
        "buildConfig": { "functionTarget": "main", "enableAutomaticUpdates": true, "environmentVariables": { "A": "b" } },
        "traffic": [
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 90 },
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "hello-1", "percent": 10, "tag": "old" },
        ],
        "template": {
            "revision": "hello-2",
            "labels": { "client.knative.dev/nonce": "abc" },
            "annotations": { "carrack.dev/receipt": "{}" },
            "scaling": { "minInstanceCount": 1, "maxInstanceCount": 7 },
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN1",
            "encryptionKey": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "encryptionKeyRevocationAction": "SHUTDOWN",
            "encryptionKeyShutdownDuration": "7200s",
            "sessionAffinity": true,
            "healthCheckDisabled": true,
            "gpuZonalRedundancyDisabled": true,
            "nodeSelector": { "accelerator": "nvidia-l4" },
            "serviceAccount": "run@p.iam.gserviceaccount.com",
            "maxInstanceRequestConcurrency": 40,
            "timeout": "60s",
            "vpcAccess": {
                "connector": "projects/p/locations/l/connectors/c",
                "egress": "ALL_TRAFFIC",
                "networkInterfaces": [{ "network": "n", "subnetwork": "s", "tags": ["t"] }],
            },
            "volumes": volumes(),
            "containers": containers(),
        },
    })
}

fn volumes() -> Value {
    json!([
        { "name": "keys", "secret": { "secret": "tls", "defaultMode": 292, "items": [{ "path": "key", "version": "3", "mode": 256 }] } },
        { "name": "scratch", "emptyDir": { "medium": "MEMORY", "sizeLimit": "64Mi" } },
        { "name": "disk", "emptyDir": { "medium": "DISK" } },
        { "name": "bucket", "gcs": { "bucket": "b", "readOnly": true, "mountOptions": ["implicit-dirs", "uid=1"] } },
        { "name": "share", "nfs": { "server": "10.0.0.1", "path": "/x", "readOnly": true } },
        { "name": "cloudsql", "cloudSqlInstance": { "instances": ["p:l:one", "p:l:two"] } },
    ])
}

fn containers() -> Value {
    json!([
        {
            "name": "app",
            "image": "gcr.io/p/app",
            "command": ["/app"],
            "args": ["serve"],
            "workingDir": "/srv",
            "dependsOn": ["proxy"],
            "baseImageUri": "gcr.io/p/base",
            "ports": [{ "name": "h2c", "containerPort": 9000 }],
            "env": [
                { "name": "A", "value": "" },
                { "name": "B", "valueSource": { "secretKeyRef": { "secret": "db", "version": "latest" } } },
            ],
            "resources": { "limits": { "cpu": "2", "memory": "1Gi" }, "startupCpuBoost": true },
            "volumeMounts": [{ "name": "keys", "mountPath": "/keys", "subPath": "a" }],
            "startupProbe": { "initialDelaySeconds": 1, "timeoutSeconds": 2, "periodSeconds": 3, "failureThreshold": 4, "httpGet": { "path": "/", "port": 9000, "httpHeaders": [{ "name": "X", "value": "y" }] } },
            "livenessProbe": { "grpc": { "port": 9000, "service": "s" } },
        },
        { "name": "proxy", "image": "gcr.io/p/proxy", "resources": { "limits": { "cpu": "1" }, "startupCpuBoost": true }, "startupProbe": { "tcpSocket": { "port": 9001 } } },
    ])
}

#[test]
fn a_service_comes_back_as_it_was() {
    let (documents, source) = (documents(), whole());
    assert_eq!(body(&documents.run, "GoogleCloudRunV2Service", "service", &source).as_ref(), Ok(&source));
    let shown = service::from_v2(&key(), &source);
    // As a client sends it back.
    let given = body(&documents.run_v1, "Service", "service", &shown).expect("v1's own schema takes it");
    let back = Value::Object(service::to_v2(&documents, &given, &Value::Null).expect("all of it is known"));
    let back = body(&documents.run, "GoogleCloudRunV2Service", "service", &back).expect("v2's schema takes it");
    assert_eq!(back, source);
}

/// Everything of a job that both have a word for.
fn whole_job() -> Value {
    let mut containers = containers();
    for container in containers.as_array_mut().into_iter().flatten() {
        container["resources"].as_object_mut().expect("resources").remove("startupCpuBoost");
    }
    json!({
        "client": "gcloud",
        "clientVersion": "528.0.0",
        "launchStage": "BETA",
        "labels": { "team": "blue" },
        "annotations": { "carrack.dev/receipt": "{}" },
        "binaryAuthorization": { "useDefault": true, "breakglassJustification": "now" },
        "runExecutionToken": "v1",
        "template": {
            "client": "gcloud",
            "clientVersion": "528.0.0",
            "labels": { "team": "green" },
            "annotations": { "carrack.dev/receipt": "{}" },
            "taskCount": 3,
            "parallelism": 2,
            "delayExecution": true,
            "template": {
                "maxRetries": 0,
                "timeout": "604800s",
                "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
                "encryptionKey": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
                "gpuZonalRedundancyDisabled": true,
                "nodeSelector": { "accelerator": "nvidia-l4" },
                "serviceAccount": "run@p.iam.gserviceaccount.com",
                "vpcAccess": { "egress": "PRIVATE_RANGES_ONLY", "networkInterfaces": [{ "network": "n" }] },
                "volumes": volumes(),
                "containers": containers,
            },
        },
    })
}

#[test]
fn a_job_comes_back_as_it_was() {
    let (documents, source) = (documents(), whole_job());
    assert_eq!(body(&documents.run, "GoogleCloudRunV2Job", "job", &source).as_ref(), Ok(&source));
    let key = JobKey { project: "p".to_owned(), location: "us-central1".to_owned(), job: "nightly".to_owned() };
    let shown = job::from_v2(&key, &source);
    let given = body(&documents.run_v1, "Job", "job", &shown).expect("v1's own schema takes it");
    let back = Value::Object(job::to_v2(&documents, &given, &Value::Null).expect("all of it is known"));
    assert_eq!(body(&documents.run, "GoogleCloudRunV2Job", "job", &back), Ok(source));
}

#[test]
fn a_secret_of_another_project_has_an_alias() {
    let source = json!({ "containers": [{ "env": [
        { "name": "A", "valueSource": { "secretKeyRef": { "secret": "projects/999/secrets/db", "version": "2" } } },
    ], "resources": { "cpuIdle": true } }] });
    let shown = template::render_template(&source);
    assert_eq!(
        shown["metadata"]["annotations"]["run.googleapis.com/secrets"],
        "projects-999-secrets-db:projects/999/secrets/db"
    );
    assert_eq!(Value::Object(template::to_v2(&documents(), &shown, &Value::Null).expect("known")), source);
}

/// What v1 has no word for, or one word for several things.
fn awkward() -> Value {
    json!({
        "sshEnabled": true,
        "scaling": { "scalingMode": "MANUAL", "manualInstanceCount": 0 },
        "iapEnabled": true,
        "multiRegionSettings": { "regions": ["us-central1", "europe-west1"], "multiRegionId": "m" },
        "template": {
            "timeout": "1.5s",
            "encryptionKeyShutdownDuration": "5400s",
            "serviceMesh": { "mesh": "m" },
            "scaling": { "cpuUtilization": 0.5, "concurrencyUtilization": 0.5 },
            "vpcAccess": {},
            "nodeSelector": {},
            "volumes": [
                { "name": "db", "cloudSqlInstance": { "instances": ["p:l:one"] } },
                { "name": "scratch", "emptyDir": { "medium": "MEMORY" } },
                { "name": "other", "cloudSqlInstance": { "instances": ["p:l:two"] } },
                { "name": "files", "filestore": { "volume": "v" } },
                { "name": "bucket", "gcs": { "bucket": "b", "mountOptions": ["a=1,2", "x"] } },
            ],
            "containers": [
                {
                    "name": "main",
                    "image": "gcr.io/p/app",
                    "sourceCode": { "inlinedSource": {} },
                    "resources": { "cpuIdle": true, "startupCpuBoost": true },
                    "env": [
                        { "name": "A", "valueSource": { "secretKeyRef": { "secret": "projects/local/secrets/db" } } },
                    ],
                    "volumeMounts": [{ "name": "db", "mountPath": "/cloudsql" }],
                },
                { "name": "side", "image": "gcr.io/p/side", "resources": { "limits": { "cpu": "1" } } },
            ],
        },
    })
}

/// As a client reads, changes and writes back.
fn replaced(stored: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let documents = documents();
    let mut shown = service::from_v2(&key(), stored);
    change(&mut shown);
    let given = body(&documents.run_v1, "Service", "service", &shown).expect("v1's own schema takes it");
    let back = Value::Object(service::to_v2(&documents, &given, stored).expect("all of it is known"));
    body(&documents.run, "GoogleCloudRunV2Service", "service", &back).expect("v2's schema takes it")
}

#[test]
fn what_is_sent_back_as_it_was_read_changes_nothing() {
    let mut stored = awkward();
    // As checked.
    stored["template"]["containers"][1]["resources"] = json!({ "limits": { "cpu": "1" } });
    assert_eq!(replaced(&stored, |_| {}), stored);
    assert_eq!(replaced(&whole(), |_| {}), whole());
}

#[test]
fn a_change_by_v1_changes_no_more_than_it_says() {
    let stored = awkward();
    let changed = replaced(&stored, |service| {
        service["spec"]["template"]["spec"]["containers"][1]["env"] = json!([{ "name": "B", "value": "1" }]);
    });
    let mut expected = stored.clone();
    expected["template"]["containers"][1]["env"] = json!([{ "name": "B", "value": "1" }]);
    assert_eq!(changed, expected);
    // gcloud knows a project in the alias of a secret by its number alone.
    let alias = &service::from_v2(&key(), &stored)["spec"]["template"]["metadata"]["annotations"][template::SECRETS];
    let number = crate::gcp::project::number("local");
    assert_eq!(alias, &json!(format!("projects-{number}-secrets-db:projects/{number}/secrets/db")));
    let off = replaced(&stored, |service| {
        let annotations = service["metadata"]["annotations"].as_object_mut().expect("some");
        annotations.remove("run.googleapis.com/iap-enabled").expect("it is shown");
    });
    assert_eq!(off.get("iapEnabled"), None);
}

#[test]
fn containers_keep_their_own_settings() {
    let stored = json!({ "template": { "containers": [
        { "image": "gcr.io/p/main", "resources": { "cpuIdle": true }, "env": [
            { "name": "A", "valueSource": { "secretKeyRef": { "secret": "projects/local/secrets/x", "version": "1" } } },
        ] },
        { "name": "side", "image": "gcr.io/p/side", "resources": { "startupCpuBoost": true } },
        { "image": "gcr.io/p/third", "resources": { "cpuIdle": true, "startupCpuBoost": true } },
    ] } });
    assert_eq!(replaced(&stored, |_| {})["template"], stored["template"]);
    let slower = replaced(&stored, |service| {
        let annotations = &mut service["spec"]["template"]["metadata"]["annotations"];
        annotations["run.googleapis.com/startup-cpu-boost"] = json!("false");
    });
    let mut expected = stored.clone();
    for container in expected["template"]["containers"].as_array_mut().expect("some") {
        // As checked: false is not on the wire.
        container["resources"].as_object_mut().expect("some").remove("startupCpuBoost");
    }
    assert_eq!(slower["template"], expected["template"]);
    let fewer = replaced(&stored, |service| {
        service["spec"]["template"]["spec"]["containers"].as_array_mut().expect("some").remove(1);
    });
    let left = json!([stored["template"]["containers"][0], stored["template"]["containers"][2]]);
    assert_eq!(fewer["template"]["containers"], left);
}

#[test]
fn volumes_stay_when_others_come() {
    let stored = awkward();
    let changed = replaced(&stored, |service| {
        let volumes = service["spec"]["template"]["spec"]["volumes"].as_array_mut().expect("some");
        volumes.push(json!({ "name": "tmp", "emptyDir": { "medium": "Memory" } }));
    });
    let volumes = changed["template"]["volumes"].as_array().expect("some");
    for volume in stored["template"]["volumes"].as_array().expect("some") {
        assert!(volumes.contains(volume), "{volume} in {volumes:#?}");
    }
    assert_eq!(volumes.len(), 6);
}

#[test]
fn words_that_are_no_json_and_old_words_are_taken() {
    let given = json!({
        "metadata": { "annotations": {
            "run.googleapis.com/container-dependencies": "{nginx: [hello]}",
            "run.googleapis.com/vpc-access-egress": "all",
        } },
        "spec": { "containers": [{ "name": "nginx", "image": "i" }, { "name": "hello", "image": "i" }] },
    });
    let template = Value::Object(template::to_v2(&documents(), &given, &Value::Null).expect("known"));
    assert_eq!(template["containers"][0]["dependsOn"], json!(["hello"]));
    assert_eq!(template["vpcAccess"]["egress"], "ALL_TRAFFIC");
}

#[test]
fn what_cloud_run_does_not_support_is_refused() {
    let refused = |container: Value| {
        let template = json!({ "spec": { "containers": [container] } });
        template::to_v2(&documents(), &template, &Value::Null).expect_err("refused").message
    };
    assert_eq!(
        refused(json!({ "imagePullPolicy": "Always" })),
        "spec.template.spec.containers[0].imagePullPolicy: not supported by Cloud Run."
    );
    for container in [
        json!({ "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": {} } }] }),
        json!({ "startupProbe": { "exec": {} } }),
        json!({ "livenessProbe": { "successThreshold": 2 } }),
    ] {
        refused(container);
    }
    let traffic = json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": { "template": {}, "traffic": [{ "revisionName": "a", "latestRevision": true }] } });
    assert!(service::to_v2(&documents(), &traffic, &Value::Null).is_err());
    let nowhere = json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": { "template": {}, "traffic": [{ "latestRevision": false, "percent": 100 }] } });
    assert!(service::to_v2(&documents(), &nowhere, &Value::Null).is_err());
}
