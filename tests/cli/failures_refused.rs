//! Why a call was refused: each rule from a refusal that the local cloud really gives.
use std::path::Path;

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::json;

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, project},
};

const ACCOUNT: &str = "run-shop@local.iam.gserviceaccount.com";

fn target(region: &str, more: &str) -> String {
    format!("[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"{region}\"\n{more}")
}

/// A deploy by whoever has this token, from its error on.
fn refused(cloud: &LocalCloud, token: Option<&str>, rest: &str) -> String {
    let file = project(&cloud.dir().join("app"), "shop", rest);
    let (google, _, owner) = cloud.parts();
    let mut command = cloud.carrack();
    command.env("CARRACK_ENDPOINT", google).env("CARRACK_ENDPOINT_TOKEN", token.unwrap_or(owner));
    told(&command.args(["deploy", "-f"]).arg(&file).output().unwrap(), &file)
}

fn told(output: &std::process::Output, file: &Path) -> String {
    let text = shown(output, &[(&file.display().to_string(), "FILE")]);
    let (exit, _) = text.split_once('\n').unwrap();
    format!("{exit}\n{}", &text[text.find("error").unwrap_or_else(|| panic!("an error: {text}"))..])
}

/// A token of somebody with these roles.
fn token(cloud: &LocalCloud, roles: &[&str]) -> String {
    let mut command = cloud.carrack();
    command.args(["emulator", "token", "--email", "ci@local.iam.gserviceaccount.com", "--quiet"]);
    for role in roles {
        command.args(["--role", role]);
    }
    stdout(&ok(command.output().unwrap()))
}

/// An account that was made, and deleted again unless it is to stay.
fn account(cloud: &LocalCloud, stays: bool) {
    let all = "https://iam.googleapis.com/v1/projects/local/serviceAccounts";
    cloud.call(Method::POST, all, Some(&json!({ "accountId": "run-shop" })));
    if !stays {
        cloud.call(Method::DELETE, &format!("{all}/{ACCOUNT}"), None);
    }
}

#[test]
fn a_service_account_that_is_missing() {
    let cloud = LocalCloud::start();
    account(&cloud, false);
    let rest = target("us-central1", &format!("service_account = \"{ACCOUNT}\"\n"));
    assert_snapshot!(refused(&cloud, None, &rest), @r"
    exit 21
    error: Permission 'iam.serviceaccounts.actAs' denied on service account run-shop@local.iam.gserviceaccount.com (or it may not exist)
      cause[account-missing]: there is no service account run-shop@local.iam.gserviceaccount.com
      fix: gcloud iam service-accounts create run-shop --project local
      then: carrack deploy -f FILE
      request: POST https://run.googleapis.com/v2/projects/local/locations/us-central1/services?serviceId=… (answered 403)
    ");
}

#[test]
fn a_service_account_that_nobody_may_act_as() {
    let cloud = LocalCloud::start();
    account(&cloud, true);
    let rest = target("us-central1", &format!("service_account = \"{ACCOUNT}\"\n"));
    let ci = token(&cloud, &["roles/run.admin", "roles/artifactregistry.admin"]);
    assert_snapshot!(refused(&cloud, Some(&ci), &rest), @r"
    exit 21
    error[act-as-denied]: to deploy for the first time, the permission `iam.serviceAccounts.actAs` on service account `run-shop@local.iam.gserviceaccount.com` (lets the service run as this account) is missing
      fix: gcloud iam service-accounts add-iam-policy-binding run-shop@local.iam.gserviceaccount.com --project local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/iam.serviceAccountUser --condition None
      then: carrack deploy -f FILE
      help: or grant precisely what is needed: `carrack permissions show --for first --as gcloud`
    ");
}

#[test]
fn a_permission_that_is_missing() {
    let cloud = LocalCloud::start();
    let ci = token(&cloud, &["roles/run.viewer", "roles/artifactregistry.admin", "roles/iam.serviceAccountUser"]);
    assert_snapshot!(refused(&cloud, Some(&ci), &target("us-central1", "")), @r"
    exit 21
    error[permission-missing]: to deploy for the first time, the permissions `run.services.create` on project `local` (makes the service), `run.services.setIamPolicy` on service `shop` (lets anyone call it) are missing
      fix: gcloud projects add-iam-policy-binding local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/run.admin --condition None
      then: carrack deploy -f FILE
      help: or grant precisely what is needed: `carrack permissions show --for first --as gcloud`
    ");
}

#[test]
fn a_quota_that_is_too_small() {
    let cloud = LocalCloud::start();
    let rest = format!("[scaling]\nmax = 300\n{}", target("us-central1", ""));
    assert_snapshot!(refused(&cloud, None, &rest), @r"
    exit 32
    error: template.scaling.max_instance_count: Max instances must be set to 200 or fewer to set the requested total CPU.
      cause[quota-exceeded]: the region's quota allows 200 instances of this size (CpuAllocPerProjectRegion requested: 300000 allowed: 200000)
      fix: write `max = 200` under [scaling], or ask the cloud for more
      then: carrack deploy -f FILE
      request: POST https://run.googleapis.com/v2/projects/local/locations/us-central1/services?serviceId=… (answered 400)
    ");
}

#[test]
fn a_region_that_is_not_there() {
    let cloud = LocalCloud::start();
    assert_snapshot!(refused(&cloud, None, &target("us-central", "")), @r"
    exit 21
    error: Permission denied on 'locations/us-central' (or it may not exist)
      cause[region-unavailable]: region `us-central` does not exist, or the project may not use it
      fix: gcloud run regions list
      then: write one of those as `region` of the target
      then: carrack deploy -f FILE
      request: GET https://run.googleapis.com/v2/projects/local/locations/us-central/services/shop (answered 403)
    ");
}

#[test]
fn a_connector_of_another_region() {
    let cloud = LocalCloud::start();
    let network = "[network]\nconnector = \"projects/local/locations/europe-west1/connectors/vpc\"\n";
    let rest = format!("{network}{}", target("us-central1", ""));
    assert_snapshot!(refused(&cloud, None, &rest), @r"
    exit 1
    error: VPC connector projects/local/locations/europe-west1/connectors/vpc does not exist, or Cloud Run does not have permission to use it
      cause[network-missing]: there is no connector `vpc`, or the cloud may not use it
      fix: gcloud compute networks vpc-access connectors list --region europe-west1 --project local
      then: write one of those as `connector` under [network]
      then: carrack deploy -f FILE
      request: POST https://run.googleapis.com/v2/projects/local/locations/us-central1/services?serviceId=… (answered 400)
    ");
}

#[test]
fn a_log_that_may_not_be_read_is_said_and_hides_no_failure() {
    let cloud = LocalCloud::start();
    let roles = ["roles/run.admin", "roles/artifactregistry.admin", "roles/iam.serviceAccountUser"];
    let ci = token(&cloud, &roles);
    let rest = format!("[env]\nEXIT = \"3\"\n{}", target("us-central1", ""));
    let file = project(&cloud.dir().join("app"), "shop", &rest);
    let mut command = cloud.carrack();
    command.env("CARRACK_ENDPOINT", cloud.parts().0).env("CARRACK_ENDPOINT_TOKEN", &ci);
    let output = command.args(["deploy", "-f"]).arg(&file).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(50), "{said}");
    assert!(said.contains("Warning the logs of shop-00001-"), "{said}");
    assert!(said.contains("cannot be read: Permission denied for all log views"), "{said}");
    assert!(said.contains("cause[not-listening]"), "{said}");
}
