//! `[secrets]` from the file to the container: versions, grants, and what stops a deploy.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, ROOT, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";
const SECRETS: &str = "[secrets]\nSAY = \"say\"\nKEY = { secret = \"key\", mount = \"/secrets/key/value\" }\n";

/// A local cloud and a file for it.
struct Shop {
    cloud: LocalCloud,
    file: PathBuf,
}

impl Shop {
    fn new(rest: &str) -> Self {
        let cloud = LocalCloud::start();
        let file = project(&cloud.dir().join("app"), "shop", rest);
        Self { cloud, file }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.cloud.carrack();
        command.args(arguments).args(["--local", "--color", "never", "-f"]).arg(&self.file).output().unwrap()
    }

    /// Of `carrack ARGUMENTS`, with what differs from run to run replaced.
    fn told(&self, arguments: &[&str]) -> String {
        let number = self.number();
        let file = self.file.display().to_string();
        let text = shown(&self.run(arguments), &[(&file, "FILE"), (&number, "NUMBER")]);
        // How far the build is meanwhile is chance.
        text.lines().filter(|line| !line.trim().starts_with("Buil")).collect::<Vec<_>>().join("\n")
    }

    fn set(&self, secret: &str, value: &[u8]) {
        set(&self.cloud, secret, value);
    }

    fn write(&self, rest: &str) {
        project(self.file.parent().unwrap(), "shop", rest);
    }

    fn live(&self) -> Value {
        self.cloud.call(Method::GET, SERVICE, None)
    }

    /// The project's, which the local cloud makes of its id.
    fn number(&self) -> String {
        let project = "https://cloudresourcemanager.googleapis.com/v1/projects/local";
        self.cloud.call(Method::GET, project, None)["projectNumber"].as_str().unwrap().to_owned()
    }

    fn answer(&self) -> String {
        let url = stdout(&ok(self.run(&["deploy"])));
        curl(&url)
    }

    /// The writes to Cloud Run and to registries.
    fn changes(&self) -> Vec<String> {
        let writes = self.cloud.writes().into_iter();
        writes
            .filter(|write| write.contains("/services") || write.contains("/blobs") || write.contains("/v2/local"))
            .collect()
    }
}

fn curl(url: &str) -> String {
    String::from_utf8(ok(Command::new("curl").args(["-sS", "--fail", url]).output().unwrap()).stdout).unwrap()
}

fn set(cloud: &LocalCloud, secret: &str, value: &[u8]) {
    let mut command = cloud.carrack();
    command.args(["secrets", "set", secret, "--local"]).current_dir(cloud.dir());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    ok(child.wait_with_output().unwrap());
}

/// The changes that a plan shows.
fn changes(output: &Output) -> Vec<String> {
    let lines = stderr(output);
    lines.lines().map(str::trim).filter(|line| line.starts_with(['+', '-', '~'])).map(str::to_owned).collect()
}

#[test]
fn what_cannot_be_used_stops_the_deploy_before_any_change() {
    let shop = Shop::new(&format!("{SECRETS}PINNED = {{ secret = \"say\", version = \"7\" }}\n"));
    shop.set("say", b"hello");
    assert_snapshot!(shop.told(&["deploy"]), @r#"
    exit 30
    --- stderr
    error[secret-missing]: secret `say` has no version `7`
      --> FILE:15:1
       |
    15 | PINNED = { secret = "say", version = "7" }
       | ^^^^^^
       |
       = help: see what it has: `carrack secrets versions say --local -f FILE`

    error[secret-missing]: secret `key` does not exist
      --> FILE:14:33
       |
    14 | KEY = { secret = "key", mount = "/secrets/key/value" }
       |                                 ^^^^^^^^^^^^^^^^^^^^
       |
       = help: give it a value: `carrack secrets set key --local -f FILE`

    error[secret-not-readable]: the service's account `NUMBER-compute@developer.gserviceaccount.com` may not read secret `say`
      --> FILE:15:1
       |
    15 | PINNED = { secret = "say", version = "7" }
       | ^^^^^^
       |
       = help: grant it: `carrack secrets grant say --to-account NUMBER-compute@developer.gserviceaccount.com --local -f FILE`
       = help: or: `gcloud secrets add-iam-policy-binding say --project local --member=serviceAccount:NUMBER-compute@developer.gserviceaccount.com --role=roles/secretmanager.secretAccessor`
       = help: or let the deploy grant what is missing: `carrack deploy --grant --local -f FILE`
    "#);
    shop.set("key", b"key");
    shop.write(SECRETS);
    let told = shop.told(&["deploy"]);
    assert_snapshot!(told, @r#"
    exit 21
    --- stderr
    error[secret-not-readable]: the service's account `NUMBER-compute@developer.gserviceaccount.com` may not read secret `say`
      --> FILE:13:7
       |
    13 | SAY = "say"
       |       ^^^^^
       |
       = help: grant it: `carrack secrets grant say --to-account NUMBER-compute@developer.gserviceaccount.com --local -f FILE`
       = help: or: `gcloud secrets add-iam-policy-binding say --project local --member=serviceAccount:NUMBER-compute@developer.gserviceaccount.com --role=roles/secretmanager.secretAccessor`
       = help: or let the deploy grant what is missing: `carrack deploy --grant --local -f FILE`

    error[secret-not-readable]: the service's account `NUMBER-compute@developer.gserviceaccount.com` may not read secret `key`
      --> FILE:14:33
       |
    14 | KEY = { secret = "key", mount = "/secrets/key/value" }
       |                                 ^^^^^^^^^^^^^^^^^^^^
       |
       = help: grant it: `carrack secrets grant key --to-account NUMBER-compute@developer.gserviceaccount.com --local -f FILE`
       = help: or: `gcloud secrets add-iam-policy-binding key --project local --member=serviceAccount:NUMBER-compute@developer.gserviceaccount.com --role=roles/secretmanager.secretAccessor`
       = help: or let the deploy grant what is missing: `carrack deploy --grant --local -f FILE`
    "#);
    assert_eq!(shop.told(&["plan"]), told, "a plan tells the same");
    ok(shop.run(&["secrets", "disable", "say", "1"]));
    assert_snapshot!(shop.told(&["deploy", "--grant"]), @r#"
    exit 31
    --- stderr
    error[secret-not-enabled]: the newest version of secret `say`, 1, is disabled
      --> FILE:13:7
       |
    13 | SAY = "say"
       |       ^^^^^
       |
       = help: enable it: `carrack secrets enable say 1 --local -f FILE`
       = help: or name another: `{ secret = "say", version = "…" }`
    "#);
    assert_eq!(shop.changes(), [""; 0]);
    assert!(shop.cloud.writes().iter().all(|write| !write.contains("setIamPolicy")), "{:?}", shop.cloud.writes());
}

#[test]
fn a_deploy_grants_when_it_is_told_to() {
    let shop = Shop::new(SECRETS);
    shop.set("say", b"hidden words");
    shop.set("key", b"key");
    let output = ok(shop.run(&["deploy", "--grant"]));
    let text = stderr(&output);
    let number = shop.number();
    for secret in ["say", "key"] {
        let granted =
            format!("Note granted: `{number}-compute@developer.gserviceaccount.com` may read secret `{secret}`");
        assert!(text.contains(&granted), "{text}");
    }
    assert!(curl(&stdout(&output)).starts_with("hidden words from shop-"), "{text}");
    let again = ok(shop.run(&["deploy", "--grant"]));
    assert!(!stderr(&again).contains("granted"), "{}", stderr(&again));
    assert!(stderr(&again).contains("no changes"));
}

#[test]
fn a_new_version_is_taken_up_by_the_next_deploy() {
    let shop = Shop::new(SECRETS);
    shop.set("say", b"one");
    shop.set("key", b"key");
    ok(shop.run(&["deploy", "--grant"]));
    let status = || -> Vec<String> {
        let text = stdout(&ok(shop.run(&["status"])));
        text.lines()
            .filter(|line| line.starts_with("secret "))
            .map(|line| line.replace(&*shop.file.to_string_lossy(), "FILE"))
            .collect()
    };
    assert_eq!(status(), [""; 0]);
    shop.set("say", b"two");
    assert_eq!(
        status(),
        ["secret    SAY has version 1 of `say`, and 2 is newer: `carrack deploy --local -f FILE` takes it up"]
    );
    let all = stdout(&ok(shop.run(&["status", "--all"])));
    assert!(all.ends_with("ready; old secrets: SAY"), "{all}");
    assert_eq!(changes(&ok(shop.run(&["plan"]))), ["~ secrets.SAY  version 1 -> 2"]);

    // What was planned is what is deployed, whatever comes meanwhile.
    let saved = shop.cloud.dir().join("plan.json");
    ok(shop.run(&["plan", "--out", saved.to_str().unwrap()]));
    let text = fs::read_to_string(&saved).unwrap();
    assert!(text.contains("\"version\": \"2\"") && !text.contains("\"two\""), "{text}");
    let planned = ["deploy", "--local", "--plan", saved.to_str().unwrap()];
    ok(shop.run(&["secrets", "disable", "say", "2"]));
    let refused = shop.cloud.carrack().args(planned).output().unwrap();
    assert_eq!(refused.status.code(), Some(31));
    assert!(
        stderr(&refused).contains("error[secret-not-enabled]: version 2 of secret `say` is disabled"),
        "{}",
        stderr(&refused)
    );
    ok(shop.run(&["secrets", "enable", "say", "2"]));
    shop.set("say", b"three");
    let url = stdout(&ok(shop.cloud.carrack().args(planned).output().unwrap()));
    assert!(curl(&url).starts_with("two from shop-00002-"));
    let report: Value = serde_json::from_str(&stdout(&ok(shop.run(&["status", "--format", "json"])))).unwrap();
    assert_eq!(
        report["outdated"],
        json!([{ "service": "shop", "field": "secrets.SAY", "secret": "say", "version": "2", "newest": "3" }])
    );
    assert!(shop.answer().starts_with("three from shop-00003-"));
    assert!(stderr(&ok(shop.run(&["plan"]))).contains("no changes"));
}

#[test]
fn a_version_that_moves_is_told_of() {
    let target = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\nservice_account = \"run@local.iam.gserviceaccount.com\"\n";
    let shop = Shop::new(&format!("[secrets]\nSAY = {{ secret = \"say\", version = \"latest\" }}\n{target}"));
    shop.set("say", b"one");
    assert!(shop.told(&["deploy"]).contains("the service's account `run@local.iam.gserviceaccount.com` may not read"));
    let output = ok(shop.run(&["deploy", "--grant"]));
    assert!(stderr(&output).contains("Note `secrets.SAY` goes on moving: "), "{}", stderr(&output));
    assert_eq!(shop.live()["template"]["containers"][0]["env"][0]["valueSource"]["secretKeyRef"]["version"], "latest");
    shop.set("say", b"two");
    assert!(stderr(&ok(shop.run(&["plan"]))).contains("no changes"));
}

#[test]
fn a_variable_becomes_a_secret_and_back_in_one_deploy_each() {
    let shop = Shop::new("[env]\nBEFORE = \"1\"\nSAY = \"text\"\nZ = \"1\"\n");
    shop.set("say", b"secret");
    ok(shop.run(&["deploy"]));
    shop.write("[env]\nBEFORE = \"1\"\nZ = \"1\"\n[secrets]\nSAY = \"say\"\n");
    let output = ok(shop.run(&["deploy", "--grant"]));
    assert_eq!(changes(&output), ["- env.SAY      \"text\"", "+ secrets.SAY  say version 1"]);
    assert!(curl(&stdout(&output)).starts_with("secret from shop-00002-"));
    let names = |live: &Value| -> Vec<String> {
        let env = live["template"]["containers"][0]["env"].as_array().unwrap().clone();
        env.iter().map(|variable| variable["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&shop.live()), ["BEFORE", "SAY", "Z"], "it stays in its place");
    shop.write("[env]\nBEFORE = \"1\"\nZ = \"1\"\nSAY = \"text again\"\n");
    let output = ok(shop.run(&["deploy"]));
    assert_eq!(changes(&output), ["+ env.SAY      \"text again\"", "- secrets.SAY  say version 1"]);
    assert!(curl(&stdout(&output)).starts_with("text again from shop-00003-"));
    assert_eq!(names(&shop.live()), ["BEFORE", "SAY", "Z"]);
}

#[test]
fn a_secret_by_another_of_its_names_is_no_change() {
    let shop = Shop::new(SECRETS);
    shop.set("say", b"one");
    shop.set("key", b"key");
    ok(shop.run(&["deploy", "--grant"]));
    let number = shop.number();
    let mut theirs = shop.live();
    let template = &mut theirs["template"];
    template.as_object_mut().unwrap().remove("revision");
    template["containers"][0]["env"][0]["valueSource"]["secretKeyRef"]["secret"] =
        json!(format!("projects/{number}/secrets/say"));
    template["volumes"][0]["secret"]["secret"] = json!("projects/local/secrets/key");
    template["volumes"][0]["secret"]["defaultMode"] = json!(0o400);
    let operation = shop.cloud.call(Method::PATCH, SERVICE, Some(&theirs));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    let done = shop.cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));
    assert_eq!((&done["done"], &done["error"]), (&json!(true), &Value::Null));
    let output = ok(shop.run(&["plan"]));
    assert!(stderr(&output).contains("no changes"), "{}", stderr(&output));
    assert!(stderr(&output).contains("template.volumes[0].secret.defaultMode"), "{}", stderr(&output));
    // What is theirs in our volume stays when it changes.
    shop.set("key", b"another key");
    assert_eq!(changes(&ok(shop.run(&["deploy"]))), ["~ secrets./secrets/key/value  version 1 -> 2"]);
    assert_eq!(shop.live()["template"]["volumes"][0]["secret"]["defaultMode"], 0o400);
}

#[test]
fn every_byte_comes_through_a_mount() {
    let shop = Shop::new(
        "[env]\nBYTES = \"/secrets/key/value\"\n[secrets]\nKEY = { secret = \"key\", mount = \"/secrets/key/value\" }\n",
    );
    // 64 KiB with every value, and every value after every other.
    let bytes: Vec<u8> = (0..65_536_u32).map(|at| (at % 256 * (at / 256) + at) as u8).collect();
    assert!((0..=255).all(|value| bytes.contains(&value)));
    shop.set("key", &bytes);
    let url = stdout(&ok(shop.run(&["deploy", "--grant"])));
    let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(curl(&url) == expected, "64 KiB survive");
}

#[test]
fn a_variable_is_text() {
    let shop = Shop::new("[secrets]\nSAY = \"say\"\n");
    shop.set("say", b"a\0b");
    let told = shop.told(&["deploy", "--grant"]);
    let error = &told[told.find("error").unwrap()..];
    let revision = error.split('`').nth(1).unwrap().to_owned();
    assert_snapshot!(error.replace(&revision, "REVISION"), @r#"
    error: revision `REVISION`: spec.template.spec.containers[0].env[0].value_from.secret_key_ref.name: the secret's value has a zero byte, which a variable cannot hold
      cause[secret-not-text]: the value of a secret under [secrets] is no text, which a variable has to be
      fix: mount it as a file: `NAME = { secret = "…", mount = "/secrets/name/value" }`
      then: carrack deploy --grant --local --color never -f FILE
    "#);
    shop.set("say", &[0xff, b'a']);
    let told = shop.told(&["deploy"]);
    assert!(told.starts_with("exit 50\n") && told.contains("[secret-not-text]"), "{told}");
}

/// Who may change services and read nothing of Secret Manager.
#[test]
fn what_may_not_be_asked_is_said_and_hinders_nothing() {
    let shop = Shop::new("[secrets]\nSAY = { secret = \"say\", version = \"1\" }\n");
    shop.set("say", b"one");
    ok(shop.run(&["deploy", "--grant"]));
    let (google, console, token) = shop.cloud.parts();
    let principal = json!({ "email": "ci@local.iam.gserviceaccount.com", "roles": ["roles/run.viewer"] });
    let made = Command::new("curl")
        .args(["-sS", "--fail", "-H", "content-type: application/json", "-d", &principal.to_string()])
        .args(["-H", &format!("authorization: Bearer {token}"), &format!("{console}/principals")])
        .output()
        .unwrap();
    let made: Value = serde_json::from_str(&stdout(&ok(made))).unwrap();
    let target = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";
    let plan = |secret: &str| {
        shop.write(&format!("[secrets]\n{secret}\n{target}"));
        let text = fs::read_to_string(&shop.file).unwrap();
        // Without a build nothing is asked of a registry.
        let (before, rest) = text.split_once("[image]").unwrap();
        fs::write(
            &shop.file,
            format!("{before}{}", rest.split_once("[secrets]").map(|(_, rest)| format!("[secrets]{rest}")).unwrap()),
        )
        .unwrap();
        let mut command = shop.cloud.carrack();
        command.env("CARRACK_ENDPOINT", google).env("CARRACK_ENDPOINT_TOKEN", made["token"].as_str().unwrap());
        command.args(["plan", "--color", "never", "-f"]).arg(&shop.file).output().unwrap()
    };
    let text = stderr(&ok(plan("SAY = { secret = \"say\", version = \"1\" }")));
    assert!(text.contains("Note version 1 of secret `say` could not be asked for: "), "{text}");
    assert!(text.contains("may read secret `say` could not be asked: ") && text.contains("no changes"), "{text}");
    // A number that nobody knows cannot be written.
    let refused = plan("SAY = \"say\"");
    assert_eq!(refused.status.code(), Some(21), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("secretmanager.versions.get"), "{}", stderr(&refused));
}

#[test]
fn a_deploy_without_secrets_asks_for_none() {
    let shop = Shop::new("[env]\nSAY = \"one\"\n");
    let asked = || -> Vec<String> {
        let output = ok(shop.cloud.run(&["emulator", "requests", "--format", "json"]));
        let lines = stdout(&output);
        let requests = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        requests.map(|request| request["path"].as_str().unwrap().to_owned()).collect()
    };
    let image = stdout(&ok(shop.run(&["push"])));
    ok(shop.run(&["deploy", "--image", &image]));
    let before = asked().len();
    ok(shop.run(&["deploy", "--image", &image]));
    let requests = asked()[before..].to_vec();
    assert_eq!(requests.len(), 2, "{requests:?}");
    shop.set("say", b"one");
    shop.write("[secrets]\nSAY = \"say\"\n");
    ok(shop.run(&["deploy", "--image", &image, "--grant"]));
    let before = asked().len();
    ok(shop.run(&["deploy", "--image", &image]));
    let requests = asked()[before..].to_vec();
    assert_eq!(requests.len(), 4, "the service, its policy, the version and who may read it: {requests:?}");
}

#[test]
fn the_secrets_example_has_its_secrets() {
    let cloud = LocalCloud::start();
    set(&cloud, "db-url", b"postgres://db.example/shop");
    set(&cloud, "signing-key", &[7; 1234]);
    let deploy = |arguments: &[&str]| {
        let arguments = [&["deploy", "--local", "-f", "examples/secrets/carrack.toml"], arguments].concat();
        cloud.carrack().args(arguments).current_dir(Path::new(ROOT)).output().unwrap()
    };
    let refused = deploy(&[]);
    assert_eq!(refused.status.code(), Some(21), "{}", stderr(&refused));
    let url = stdout(&ok(deploy(&["--grant"])));
    assert_eq!(curl(&url), "database at db.example, signing key of 1234 bytes\n");
}
