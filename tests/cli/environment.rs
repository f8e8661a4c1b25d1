//! What `emulator env` prints for a shell.
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use insta::assert_snapshot;
use serde_json::Value;

use crate::{
    run::{ok, shown, snapshot, stdout},
    support::{LocalCloud, carrack},
};

#[test]
fn gcloud_gets_all_that_leads_it_to_the_local_cloud() {
    let cloud = LocalCloud::start();
    let (google, _, token) = cloud.parts();
    let dir = cloud.dir().to_str().unwrap();
    let port = google.rsplit(':').next().unwrap();
    let output = cloud.run(&["emulator", "env", "--for", "gcloud"]);
    assert!(!shown(&output, &[]).contains(token), "the token goes by a file");
    assert_snapshot!(shown(&output, &[(dir, "DIR"), (port, "PORT")]), @"
    exit 0
    --- stdout
    unset CLOUDSDK_ACTIVE_CONFIG_NAME CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT CLOUDSDK_BILLING_QUOTA_PROJECT CLOUDSDK_CORE_UNIVERSE_DOMAIN CLOUDSDK_PROXY_PASSWORD CLOUDSDK_PROXY_USERNAME CLOUDSDK_RUN_PLATFORM
    export CLOUDSDK_CONFIG=DIR/gcloud
    export CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=DIR/gcloud/token
    export CLOUDSDK_AUTH_TOKEN_HOST=http://oauth2.googleapis.com/token
    export CLOUDSDK_CORE_PROJECT=local
    export CLOUDSDK_RUN_REGION=us-central1
    export CLOUDSDK_ARTIFACTS_LOCATION=us-central1
    export CLOUDSDK_PROXY_TYPE=http
    export CLOUDSDK_PROXY_ADDRESS=127.0.0.1
    export CLOUDSDK_PROXY_PORT=PORT
    export CLOUDSDK_CORE_DISABLE_PROMPTS=true
    export CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true
    export CLOUDSDK_CORE_DISABLE_FILE_LOGGING=true
    export CLOUDSDK_CORE_CHECK_GCE_METADATA=false
    export CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true
    export CLOUDSDK_SURVEY_DISABLE_PROMPTS=true
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_ARTIFACTREGISTRY=http://artifactregistry.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER=http://cloudresourcemanager.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM=http://iam.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS=http://iamcredentials.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING=http://logging.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN=http://run.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER=http://secretmanager.googleapis.com/
    export CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE=http://serviceusage.googleapis.com/
    ");
    let folder = cloud.dir().join("gcloud");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(folder.join("token")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(folder.join("token")).unwrap(), token);

    fs::write(folder.join("token"), "an earlier one").unwrap();
    ok(cloud.run(&["emulator", "env", "--for", "gcloud"]));
    assert_eq!(fs::read_to_string(folder.join("token")).unwrap(), token);
}

#[test]
fn what_is_printed_is_for_eval() {
    let cloud = LocalCloud::start();
    let seen = |arguments: &[&str], line: &str| {
        let printed = stdout(&ok(cloud.run(&[&["emulator", "env"], arguments].concat())));
        let script = format!("CLOUDSDK_PROXY_PASSWORD=old\neval \"$1\"\n{line}");
        let mut shell = Command::new("sh");
        stdout(&ok(shell.args(["-euc", &script, "sh", &printed]).output().unwrap()))
    };
    let gcloud = ["--for", "gcloud", "--project", "it's; $(mine)", "--region", "europe-west1"];
    let line = "echo \"$CLOUDSDK_CORE_PROJECT $CLOUDSDK_RUN_REGION ${CLOUDSDK_PROXY_PASSWORD-gone}\"";
    assert_eq!(seen(&gcloud, line), "it's; $(mine) europe-west1 gone");
    let (google, _, token) = cloud.parts();
    let line = "echo \"$CARRACK_ENDPOINT $CARRACK_ENDPOINT_TOKEN ${CLOUDSDK_CONFIG-none}\"";
    assert_eq!(seen(&[], line), format!("{google} {token} none"));
}

#[test]
fn nothing_is_printed_for_eval_when_no_local_cloud_runs() {
    let dir = tempfile::tempdir().unwrap();
    assert_snapshot!(snapshot(carrack(dir.path()).args(["emulator", "env", "--for", "gcloud"]), &[]), @"
    exit 41
    --- stderr
    error: no local cloud runs
      help: start it with `carrack emulator start`
    ");
    assert_snapshot!(snapshot(carrack(dir.path()).args(["emulator", "env", "--project", "shop"]), &[]), @"
    exit 2
    --- stderr
    error: `--project` and `--region` are gcloud's: carrack.toml says both
      help: add `--for gcloud`, or leave them out
    ");
}

#[test]
fn the_token_of_gcloud_is_the_one_of_the_local_cloud_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| ok(carrack(dir.path()).arg("emulator").args(arguments).output().unwrap());
    let state = || serde_json::from_slice::<Value>(&fs::read(dir.path().join("emulator.json")).unwrap()).unwrap();
    let file = dir.path().join("gcloud/token");
    run(&["start"]);
    assert!(!file.exists(), "nobody asked for it");
    run(&["env", "--for", "gcloud"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), state()["token"].as_str().unwrap());
    run(&["stop"]);
    assert!(!file.exists());
    run(&["start"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), state()["token"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let pid = state()["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    run(&["stop"]);
    assert!(!file.exists(), "also of one that was killed");
}
