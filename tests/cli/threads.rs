//! What users of other tools lost or were surprised by, each by the public thread where they said so.
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, stderr, stdout},
    traffic::Shop,
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

/// A change by somebody else, as a console makes it.
fn patch(shop: &Shop, mask: &str, body: &Value) {
    let operation = shop.cloud.call(Method::PATCH, &format!("{SERVICE}?updateMask={mask}"), Some(body));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    let done = shop.cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));
    assert_eq!((&done["done"], &done["error"]), (&json!(true), &Value::Null));
}

fn edit(shop: &Shop, from: &str, to: &str) {
    let text = fs::read_to_string(&shop.file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&shop.file, text.replace(from, to)).unwrap();
}

fn env(shop: &Shop) -> Value {
    shop.live()["template"]["containers"][0]["env"].clone()
}

/// A file with a name and nothing else, as a pipeline has it.
fn image_only(shop: &Shop) {
    let image = shop.live()["template"]["containers"][0]["image"].as_str().unwrap().to_owned();
    let file = shop.file.with_file_name("image-only.toml");
    fs::write(&file, "[service]\nname = \"shop\"\n").unwrap();
    let mut command = shop.command(&["deploy", "--image", &image], &file);
    ok(command.output().unwrap());
}

/// <https://github.com/google-github-actions/setup-gcloud/issues/177>
#[test]
fn setup_gcloud_177_variables_are_not_wiped() {
    let shop = Shop::new();
    shop.run(&["deploy"]);
    let mut template = shop.live()["template"].clone();
    template.as_object_mut().unwrap().remove("revision");
    template["containers"][0]["env"].as_array_mut().unwrap().push(json!({ "name": "THEIRS", "value": "1" }));
    patch(&shop, "template", &json!({ "template": template }));
    let before = env(&shop);
    image_only(&shop);
    assert_eq!(env(&shop), before);
    shop.deploy("two", &[]);
    let names: Vec<Value> = env(&shop).as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["SAY", "THEIRS"]);
}

fn set(shop: &Shop, name: &str, value: &str) {
    let mut command: Command = shop.cloud.carrack();
    command.args(["secrets", "set", name, "--local"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// <https://github.com/GoogleCloudPlatform/cloud-code-vscode/issues/804>
/// <https://github.com/google-github-actions/deploy-cloudrun/issues/184>
#[test]
fn cloud_code_804_secrets_stay_and_deploy_cloudrun_184_a_variable_becomes_one() {
    let shop = Shop::new();
    shop.run(&["deploy"]);
    set(&shop, "say", "hidden");
    edit(&shop, "[env]\nSAY = \"one\"\n", "[secrets]\nSAY = \"say\"\n");
    shop.run(&["deploy", "--grant"]);
    let secret = json!([{
        "name": "SAY", "valueSource": { "secretKeyRef": { "secret": "say", "version": "1" } },
    }]);
    assert_eq!(env(&shop), secret);
    image_only(&shop);
    assert_eq!(env(&shop), secret);
}

/// <https://github.com/google-github-actions/deploy-cloudrun/issues/522>
#[test]
fn deploy_cloudrun_522_a_file_may_be_the_only_one_to_say() {
    let shop = Shop::new();
    shop.run(&["deploy"]);
    let mut template = shop.live()["template"].clone();
    template.as_object_mut().unwrap().remove("revision");
    template["containers"][0]["env"].as_array_mut().unwrap().push(json!({ "name": "THEIRS", "value": "1" }));
    patch(&shop, "template", &json!({ "template": template }));
    edit(&shop, "[service]\n", "[service]\nexact = [\"env\"]\n");
    shop.run(&["deploy"]);
    assert_eq!(env(&shop), json!([{ "name": "SAY", "value": "one" }]));
}

/// <https://github.com/google-github-actions/deploy-cloudrun/issues/46>, 168, 202, 466, 479
#[test]
fn deploy_cloudrun_46_after_a_split_no_deploy_serves_nothing_in_silence() {
    let shop = Shop::new();
    let first = shop.deploy("one", &[]);
    let second = shop.deploy("two", &[]);
    shop.run(&["traffic", &format!("{first}=40"), &format!("{second}=60")]);
    shop.say("three");
    let refused = shop.command(&["deploy"], &shop.file).stdin(Stdio::null()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = stderr(&refused);
    for part in [first.as_str(), second.as_str(), "--all-traffic", "--no-traffic"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let third = shop.deploy("three", &["--all-traffic"]);
    assert_eq!(shop.report(&["status"])["traffic"], json!({ third: 100 }));
}

/// <https://github.com/google-github-actions/deploy-cloudrun/issues/194>, 533
/// <https://github.com/lit/lit.dev/issues/786>
#[test]
fn deploy_cloudrun_194_one_command_goes_by_percent_and_lit_dev_786_leaves_no_tags() {
    let shop = Shop::new();
    shop.deploy("one", &[]);
    let text = fs::read_to_string(&shop.file).unwrap();
    fs::write(&shop.file, text + "[rollout]\nsteps = [20]\nwait = \"1s\"\n").unwrap();
    for say in ["two", "three"] {
        let newest = shop.deploy(say, &[]);
        assert_eq!(shop.report(&["status"])["traffic"], json!({ newest: 100 }));
    }
    let targets = shop.live()["traffic"].clone();
    assert_eq!(targets, json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }]));
}

/// <https://github.com/google-github-actions/deploy-cloudrun/issues/589>
#[test]
fn deploy_cloudrun_589_the_url_is_the_services_and_no_old_tags() {
    let shop = Shop::new();
    let first = shop.deploy("one", &[]);
    shop.run(&["traffic", "--tag", &format!("old={first}")]);
    shop.say("two");
    let url = stdout(&shop.run(&["deploy"]));
    assert_eq!(url.trim(), shop.live()["uri"].as_str().unwrap());
}

/// <https://github.com/hashicorp/terraform-provider-google/issues/17218>, <https://github.com/pulumi/pulumi-gcp/issues/350>
#[test]
fn terraform_google_17218_names_and_clients_are_left_alone() {
    let shop = Shop::new();
    shop.run(&["deploy"]);
    patch(&shop, "client,clientVersion", &json!({ "client": "terraform", "clientVersion": "1.9" }));
    shop.deploy("two", &[]);
    let live = shop.live();
    assert_eq!((&live["client"], &live["clientVersion"]), (&json!("terraform"), &json!("1.9")));
    assert_eq!(live["template"].get("revision"), None);
    let shown = stdout(&ok(shop.command(&["plan", "--format", "json"], &shop.file).output().unwrap()));
    assert!(!shown.contains("clientVersion"), "{shown}");
}
