//! What ran, who serves, and what others changed: `history` and `status`.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

/// A service on a local cloud of its own.
pub(crate) struct Shop {
    pub(crate) cloud: LocalCloud,
    file: PathBuf,
}

impl Shop {
    /// The file says `SAY = "one"`, and is not deployed yet.
    pub(crate) fn new(rest: &str) -> Self {
        let cloud = LocalCloud::start();
        let file = project(&cloud.dir().join("app"), "shop", &format!("[env]\nSAY = \"one\"\n{rest}"));
        Self { cloud, file }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.file.parent().unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.cloud.carrack();
        command.args(arguments).args(["--local", "--color", "never", "-f"]).arg(&self.file).output().unwrap()
    }

    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&self.file, text.replace(from, to)).unwrap();
    }

    /// A deploy of the file as it is after the edit; its revision.
    pub(crate) fn deployed(&self, from: &str, to: &str) -> String {
        self.edit(from, to);
        let report = self.report(&["deploy"]);
        report["revision"].as_str().unwrap().to_owned()
    }

    /// The last line of JSON output, of a command that ends well.
    pub(crate) fn report(&self, arguments: &[&str]) -> Value {
        last(&ok(self.run(&[arguments, &["--format", "json"]].concat())))
    }

    pub(crate) fn live(&self) -> Value {
        self.cloud.call(Method::GET, SERVICE, None)
    }

    /// What the service answers.
    pub(crate) fn says(&self) -> String {
        let url = self.live()["uri"].as_str().unwrap().to_owned();
        stdout(&ok(std::process::Command::new("curl").args(["-sS", "--fail", &url]).output().unwrap()))
    }

    /// As a console or `gcloud run services update` would: the whole service, with what they changed.
    pub(crate) fn others(&self, change: impl FnOnce(&mut Value)) {
        let mut service = self.live();
        service["template"].as_object_mut().unwrap().remove("revision");
        change(&mut service);
        let operation = self.cloud.call(Method::PATCH, SERVICE, Some(&service));
        let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
        let done = self.cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));
        assert_eq!((&done["done"], &done["error"]), (&json!(true), &Value::Null));
    }

    /// With the random parts of names replaced.
    pub(crate) fn plain(&self, text: &str) -> String {
        let report = self.report(&["history", "--limit", "0"]);
        let mut text = text.to_owned();
        for revision in report["revisions"].as_array().unwrap() {
            let name = revision["revision"].as_str().unwrap();
            text = text.replace(name, &name[..10]);
            text = text.replace(&format!("{}Z", &revision["created"].as_str().unwrap()[..19]), "TIME");
            if let Some(digest) = revision["digest"].as_str() {
                text = text.replace(&digest["sha256:".len()..][..12], "DIGEST");
            }
        }
        text
    }
}

pub(crate) fn last(output: &Output) -> Value {
    serde_json::from_str(stdout(output).lines().last().unwrap()).unwrap()
}

#[test]
fn history_tells_when_who_and_what_serves() {
    let shop = Shop::new("");
    let none = shop.run(&["history"]);
    assert_eq!(none.status.code(), Some(30), "{}", shown(&none, &[]));
    assert!(stderr(&none).contains("service `shop` does not exist in local/us-central1"), "{}", stderr(&none));
    let first = shop.deployed("one", "one");
    shop.deployed("one", "two");
    // gcloud copies the receipt on: what it says of who and when is not theirs.
    shop.others(|service| service["template"]["containers"][0]["env"][0]["value"] = json!("theirs"));
    shop.others(|service| {
        service["traffic"] = json!([
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 90 },
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": first, "percent": 10, "tag": "old" },
        ]);
    });

    let table = shop.plain(&stdout(&ok(shop.run(&["history"]))));
    insta::assert_snapshot!(table.split_whitespace().collect::<Vec<_>>().join(" ").replace(" shop-", "\nshop-"), @r"
    revision traffic when by who commit image
    shop-00003 90% TIME others local - shop@DIGEST
    shop-00002 - TIME carrack local - shop@DIGEST
    shop-00001 10% TIME carrack local - shop@DIGEST tagged old
    ");
    let limited = ok(shop.run(&["history", "--limit", "1"]));
    assert_eq!(stdout(&limited).lines().count(), 2);
    assert!(
        stderr(&limited).contains("2 older ones are not shown: `--limit 0` lists them all"),
        "{}",
        stderr(&limited)
    );

    let report = shop.report(&["history"]);
    let list = report["revisions"].as_array().unwrap();
    let of = |index: usize, field: &str| list[index][field].clone();
    assert_eq!([of(0, "by"), of(1, "by"), of(2, "by")], ["others", "carrack", "carrack"]);
    assert_eq!((of(0, "commit"), of(0, "previous")), (Value::Null, Value::Null));
    assert_eq!((of(1, "previous"), of(2, "previous")), (json!(first), Value::Null));
    assert!(of(2, "tags")["old"].as_str().unwrap().starts_with("http://"), "{report}");
    assert_eq!(report["older"], 0);
}

#[test]
fn status_tells_who_serves_and_what_differs() {
    let shop = Shop::new("[labels]\nteam = \"a\"\n");
    shop.deployed("one", "one");
    let status = |shop: &Shop| {
        let text = stdout(&ok(shop.run(&["status"])));
        text.lines().take_while(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let is_drift = |line: &&String| line.starts_with("drift") || line.starts_with("changed");
    let lines = status(&shop);
    assert!(!lines.iter().any(|line| is_drift(&line)), "{lines:?}");
    let image = lines.iter().find(|line| line.starts_with("image ")).unwrap();
    assert!(image.contains("shop@") && image.contains(", in shop-00001-") && image.contains(" for "), "{image}");
    assert_eq!(shop.report(&["status"])["drift"], json!({ "file": [], "others": null }));

    // The file is another one, a client changed what is ours, and something that is not.
    shop.edit("team = \"a\"", "team = \"b\"");
    shop.others(|service| {
        let container = &mut service["template"]["containers"][0];
        container["env"] = json!([{ "name": "SAY", "value": "theirs" }, { "name": "THEIRS", "value": "1" }]);
        service["traffic"] = json!([
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 },
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "tag": "next" },
        ]);
    });
    let told: Vec<String> = status(&shop).iter().filter(is_drift).map(|line| shop.plain(line)).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    drift     env.SAY is "theirs", and "one" in the file
    drift     labels.team is a, and b in the file
    changed   env.SAY from "one" to "theirs", by local in shop-00002, after shop-00001 of ours
    "#);
    let tag = status(&shop).into_iter().find(|line| line.starts_with("tag ")).unwrap();
    assert!(tag.starts_with("tag       next http://127.0.0.1:") && tag.ends_with(" (latest)"), "{tag}");
    assert!(!status(&shop).iter().any(|line| line.starts_with("deployed")), "that deploy is not what is live");
    let report = shop.report(&["status"]);
    assert_eq!(report["drift"]["others"]["fields"][0]["path"], "env.SAY");
    assert_eq!(report["conditions"]["RoutesReady"], "ready");
    assert_eq!(report["targets"][1]["tag"], "next");

    // A deploy takes both back.
    ok(shop.run(&["deploy"]));
    assert_eq!(shop.report(&["status"])["drift"], json!({ "file": [], "others": null }));
}

#[test]
fn status_shows_the_newest_revisions_and_those_that_serve() {
    let shop = Shop::new("");
    let first = shop.deployed("one", "one");
    shop.others(|service| {
        service["traffic"] = json!([
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": first, "percent": 100 },
        ]);
    });
    for value in 0..12 {
        shop.others(|service| service["template"]["containers"][0]["env"][0]["value"] = json!(value.to_string()));
    }
    let text = stdout(&ok(shop.run(&["status"])));
    assert_eq!(text.matches("\nshop-000").count(), 11, "{text}");
    assert!(text.contains(&first), "{text}");
    assert!(text.ends_with("and 2 older ones: `carrack history`"), "{text}");
}
