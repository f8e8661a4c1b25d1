//! A whole life without `--local`: the clouds' real names over TLS, by a proxy, with a service account's key.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, carrack, project},
};

const DEPLOYER: &str = "deployer@shop-1.iam.gserviceaccount.com";
const RUNTIME: &str = "run-shop@shop-1.iam.gserviceaccount.com";
const TARGET: &str = "[env]\nSAY = \"one\"\n[secrets]\nREAD = { secret = \"greeting\", mount = \"/run/greeting/text\" }\n\
    [targets.prod]\nprovider = \"cloud-run\"\nproject = \"shop-1\"\nregion = \"europe-west1\"\n\
    service_account = \"run-shop@shop-1.iam.gserviceaccount.com\"\n";

/// A machine behind a company's proxy, with a key file and nothing of the local cloud's own.
struct Machine {
    cloud: LocalCloud,
    home: tempfile::TempDir,
    key: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let cloud = LocalCloud::start();
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key.json");
        ok(cloud.carrack().args(["emulator", "key", DEPLOYER, "--out"]).arg(&key).output().unwrap());
        Self { cloud, home, key }
    }

    /// What an owner does once: roles for whoever deploys.
    fn allow(&self, roles: &[&str]) {
        let member = format!("serviceAccount:{DEPLOYER}");
        let bindings: Vec<Value> = roles.iter().map(|role| json!({ "role": role, "members": [member] })).collect();
        let url = "https://cloudresourcemanager.googleapis.com/v1/projects/shop-1:setIamPolicy";
        self.cloud.call(Method::POST, url, Some(&json!({ "policy": { "bindings": bindings } })));
    }

    fn carrack(&self) -> Command {
        let mut command = carrack(self.home.path());
        command
            .env("GOOGLE_APPLICATION_CREDENTIALS", &self.key)
            .env("HTTPS_PROXY", self.cloud.parts().0)
            .env("SSL_CERT_FILE", self.cloud.dir().join("ca.pem"));
        command
    }

    fn run(&self, file: &Path, arguments: &[&str]) -> Output {
        self.carrack().args(arguments).arg("-f").arg(file).output().unwrap()
    }

    /// The hosts that were called, once each.
    fn hosts(&self) -> Vec<String> {
        let lines = stdout(&self.cloud.run(&["emulator", "requests", "--format", "json"]));
        let calls = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut hosts: Vec<String> = calls.map(|call| call["host"].as_str().unwrap().to_owned()).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

const DEPLOYERS_ROLES: [&str; 5] = [
    "roles/run.admin",
    "roles/iam.serviceAccountUser",
    "roles/artifactregistry.admin",
    "roles/secretmanager.admin",
    "roles/logging.viewer",
];

#[test]
fn a_whole_life_over_tls_from_a_key_file() {
    let machine = Machine::new();
    machine.allow(&DEPLOYERS_ROLES);
    let file = project(&machine.home.path().join("app"), "shop", TARGET);
    let run = |arguments: &[&str]| machine.run(&file, arguments);

    let shown = stdout(&ok(run(&["auth", "show"])));
    assert!(shown.contains(DEPLOYER) && shown.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{shown}");
    let mut set = machine.carrack();
    let set = set.args(["secrets", "set", "greeting", "-f"]).arg(&file);
    set.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = set.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a greeting").unwrap();
    ok(child.wait_with_output().unwrap());

    let first = ok(run(&["deploy", "--grant"]));
    assert!(stderr(&first).contains("answered 200 in "), "{}", stderr(&first));
    assert!(stderr(&ok(run(&["deploy"]))).contains("no changes to service `shop`"));
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"one\"", "\"two\"")).unwrap();
    let second = ok(run(&["deploy"]));
    assert!(stderr(&second).contains("shop-00002-"), "{}", stderr(&second));
    assert!(stdout(&ok(run(&["status"]))).contains("shop-00002-"));
    assert!(stdout(&ok(run(&["logs"]))).contains("listening on"));
    assert_eq!(stdout(&ok(run(&["secrets", "get", "greeting"]))), "a greeting");
    ok(run(&["destroy", "--yes"]));
    ok(run(&["secrets", "delete", "greeting", "--yes"]));

    let hosts = machine.hosts();
    for host in [
        "oauth2.googleapis.com",
        "run.googleapis.com",
        "secretmanager.googleapis.com",
        "logging.googleapis.com",
        "artifactregistry.googleapis.com",
        "europe-west1-docker.pkg.dev",
    ] {
        assert!(hosts.iter().any(|called| called == host), "{host} is not among {hosts:?}");
    }
    assert!(!machine.home.path().join("emulator.json").exists(), "nothing of it knows of a local cloud");
    assert!(stderr(&first).contains(RUNTIME), "who may read is said: {}", stderr(&first));
}

#[test]
fn without_the_proxy_or_without_trust_it_is_said_at_once() {
    let machine = Machine::new();
    machine.allow(&DEPLOYERS_ROLES);
    let file = project(&machine.home.path().join("app"), "shop", TARGET);
    // A network of its own, without any way out: where this machine has one, it is not asked.
    let mut alone = Command::new("unshare");
    alone.args(["--user", "--map-root-user", "--net"]).arg(crate::support::CARRACK);
    let alone = alone.args(["status", "-f"]).arg(&file);
    alone.env_clear().envs(machine.carrack().get_envs().filter_map(|(name, value)| Some((name, value?))));
    alone.env_remove("HTTPS_PROXY");
    let began = std::time::Instant::now();
    let output = alone.output().unwrap();
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(41), "{text}");
    assert!(text.contains("no connection to oauth2.googleapis.com"), "{text}");
    assert!(text.contains("HTTPS_PROXY"), "it says what is missing: {text}");
    assert!(began.elapsed().as_secs() < 20, "{text}");

    let output = machine.carrack().args(["status", "-f"]).arg(&file).env_remove("SSL_CERT_FILE").output().unwrap();
    let text = shown(&output, &[]);
    assert!(text.contains("the certificate of oauth2.googleapis.com is not trusted"), "{text}");
    assert!(text.contains("SSL_CERT_FILE"), "{text}");
    assert_eq!(machine.hosts(), ["cloudresourcemanager.googleapis.com"], "the owner's alone went through");
}
