//! Undoing the newest deploy: the traffic, or the settings too.
use std::fs;

use serde_json::{Value, json};

use crate::{
    documented::{commands, run},
    history::{Shop, last},
    run::{ok, shown, stderr, stdout},
};

const TARGET: &str = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";

/// The lines of a run that say what is to be known.
fn told(shop: &Shop, arguments: &[&str]) -> String {
    let output = shop.run(arguments);
    let text = shown(&output, &[]);
    let url = shop.live()["uri"].as_str().unwrap_or_default().to_owned();
    let lines: Vec<String> = text
        .replace(&url, "URL")
        .lines()
        .filter(|line| !line.contains("answered ") && !line.contains("Done ") && !line.contains("Verifying"))
        .map(str::to_owned)
        .collect();
    let file = format!(" -f {}", shop.folder().join("carrack.toml").display());
    shop.plain(&lines.join("\n")).replace(&file, "")
}

fn traffic(shop: &Shop) -> Value {
    shop.live()["traffic"].clone()
}

fn to(revision: &str) -> Value {
    json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": 100 }])
}

#[test]
fn the_traffic_goes_back_and_the_same_command_again_changes_nothing() {
    let shop = Shop::new("");
    let first = shop.deployed("one", "one");
    let second = shop.deployed("one", "two");
    assert!(shop.says().starts_with("two from "));
    let writes = shop.cloud.writes().len();
    insta::assert_snapshot!(told(&shop, &["rollback"]), @r"
    exit 0
    --- stdout
    URL
    --- stderr
            Plan route traffic `shop` (cloud-run in local/us-central1)
                 ~ traffic  latest 100% -> shop-00001 100%
         Routing traffic `shop`
            Note shop-00001 has all traffic, by its name: the next deploy asks who serves then, or is told by `carrack deploy --local --all-traffic`
    ");
    assert_eq!(traffic(&shop), to(&first));
    assert_eq!(shop.says(), format!("one from {first}"));
    let new: Vec<String> = shop.cloud.writes().split_off(writes);
    let patches = new.iter().filter(|write| write.starts_with("PATCH")).count();
    assert_eq!(patches, 1, "one write: {new:?}");

    // A rerun after a lost answer does not go further back.
    insta::assert_snapshot!(told(&shop, &["rollback"]), @r"
    exit 0
    --- stdout
    URL
    --- stderr
            Plan no changes to service `shop` (cloud-run in local/us-central1)
         Warning shop-00001 serves already, and shop-00002, which is newer, does not
    ");
    assert_eq!(traffic(&shop), to(&first));
    // The next deploy is never silently without traffic.
    shop.edit("two", "three");
    let deploy = shop.run(&["deploy"]);
    assert_eq!(deploy.status.code(), Some(2), "{}", shown(&deploy, &[]));
    assert!(stderr(&deploy).contains(&first) && stderr(&deploy).contains("--all-traffic"), "{}", stderr(&deploy));
    ok(shop.run(&["deploy", "--all-traffic"]));
    assert!(shop.says().starts_with("three from shop-00003-"));
    // What served before was the first one, not the newest of then.
    let report = shop.report(&["rollback"]);
    assert_eq!((&report["result"], &report["revision"]), (&json!("rolled_back"), &json!(first)));
    assert_eq!(report["probe"]["status"], 200);
    // To the newest it goes as the newest, so that deploys go on.
    let third = shop.live()["latestReadyRevision"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    ok(shop.run(&["rollback", "--to-revision", &third]));
    assert_eq!(traffic(&shop), json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }]));
    ok(shop.run(&["rollback", "--to-revision", &second]));
    assert_eq!(traffic(&shop), to(&second));
}

#[test]
fn a_failed_deploy_is_undone_without_going_further_back() {
    let shop = Shop::new("");
    shop.deployed("one", "one");
    let second = shop.deployed("one", "two");
    shop.edit("SAY = \"two\"", "SAY = \"two\"\nEXIT = \"3\"");
    assert_eq!(shop.run(&["deploy"]).status.code(), Some(50));
    let output = ok(shop.run(&["rollback"]));
    assert!(stderr(&output).contains(&format!("{second} serves already")), "{}", stderr(&output));
    assert_eq!(shop.says(), format!("two from {second}"));
    // With its settings the service is as it was, and ready.
    let report = shop.report(&["rollback", "--config"]);
    assert_eq!(report["result"], "rolled_back");
    assert_eq!(shop.report(&["status"])["readiness"], "ready");
    assert!(shop.says().starts_with("two from shop-00004-"));
}

#[test]
fn the_settings_go_back_and_what_is_the_services_own_stays() {
    let shop = Shop::new("GONE = \"1\"\n[labels]\nteam = \"a\"\n");
    let first = shop.deployed("one", "one");
    let before = shop.live();
    // Of others, and without a key in carrack.toml.
    shop.others(|service| service["template"]["containers"][0]["workingDir"] = json!("/"));
    let theirs = shop.live();
    shop.edit("GONE = \"1\"\n", "NEW = \"1\"\n");
    shop.edit("team = \"a\"", "team = \"b\"");
    let third = shop.deployed("one", "two");
    insta::assert_snapshot!(told(&shop, &["rollback", "--config", "--to-revision", &first]), @r#"
    exit 0
    --- stdout
    URL
    --- stderr
            Plan update service `shop` (cloud-run in local/us-central1)
                 + env.GONE             "1"
                 - env.NEW              "1"
                 ~ env.SAY              "two" -> "one"
                 - service.working_dir  /
        Updating service `shop`
            Note shop-00004 has the settings of shop-00001 and all traffic; carrack.toml is as it was, and the next deploy makes it live again
    "#);
    let after = shop.live();
    let env = |service: &Value| service["template"]["containers"][0]["env"].clone();
    assert_eq!(env(&after), env(&before));
    assert_eq!((&after["labels"]["team"], &after["template"]["revision"]), (&json!("b"), &Value::Null));
    assert_eq!(after["annotations"], shop.live()["annotations"]);
    assert!(after["template"]["containers"][0].get("workingDir").is_none());
    let history = shop.report(&["history"]);
    let newest = &history["revisions"][0];
    assert_eq!((&newest["restored"], &newest["previous"]), (&json!(first), &json!(third)));
    assert_eq!((&newest["by"], &newest["percent"]), (&json!("carrack"), &json!(100)));
    // Again it is so already, and one of another client is carried whole.
    let again = shop.report(&["rollback", "--config"]);
    assert_eq!(again["result"], "no_changes");
    let of_others = history["revisions"][2]["revision"].as_str().unwrap();
    ok(shop.run(&["rollback", "--config", "--to-revision", of_others]));
    assert_eq!(shop.live()["template"]["containers"], theirs["template"]["containers"]);
    // The file is as it was: a deploy makes it live again, and what the receipt of then lacks is removed with it.
    let plan = stderr(&ok(shop.run(&["plan"])));
    assert!(plan.contains("+ env.NEW") && plan.contains("- env.GONE"), "{plan}");
}

#[test]
fn what_cannot_serve_is_refused_before_any_write() {
    let shop = Shop::new("");
    let missing = shop.run(&["rollback"]);
    assert_eq!(missing.status.code(), Some(30), "{}", shown(&missing, &[]));
    shop.deployed("one", "one");
    let writes = |shop: &Shop| {
        let all = shop.cloud.writes().into_iter();
        all.filter(|write| write.starts_with("PATCH")).count()
    };
    let before = writes(&shop);
    insta::assert_snapshot!(told(&shop, &["rollback"]), @r"
    exit 30
    --- stderr
    error: there is no earlier revision that could serve
      help: see which there are: `carrack history --local`
    ");
    insta::assert_snapshot!(told(&shop, &["rollback", "--to-revision", "shop-00009-abc"]), @r"
    exit 30
    --- stderr
    error: revision `shop-00009-abc` does not exist
      help: see which there are: `carrack history --local`
    ");
    let with_secrets = "SAY = \"one\"\n[secrets]\nKEY = \"key\"\n";
    fs::write(shop.folder().join("value"), "hidden").unwrap();
    let value = shop.folder().join("value").display().to_string();
    let set = |name: &str| ok(shop.run(&["secrets", "set", name, "--from-file", &value]));
    set("key");
    shop.edit("SAY = \"one\"\n", with_secrets);
    ok(shop.run(&["deploy", "--grant"]));
    set("key");
    fs::write(shop.folder().join("value"), "other").unwrap();
    set("key");
    ok(shop.run(&["deploy"]));
    let patched = writes(&shop);
    assert!(patched > before);
    ok(shop.run(&["secrets", "disable", "key", "1"]));
    insta::assert_snapshot!(told(&shop, &["rollback"]), @r"
    exit 31
    --- stderr
    error: revision `shop-00002`: version `1` of its secret `key` is disabled
      help: enable it: `carrack secrets enable key 1 --local`
      help: go back to another one: `carrack rollback --to-revision REVISION --local`; `carrack history --local` lists them
      help: or send the traffic there all the same: `carrack traffic shop-00002=100 --local`
    ");
    ok(shop.run(&["secrets", "destroy", "key", "1", "--yes"]));
    insta::assert_snapshot!(told(&shop, &["rollback", "--config"]), @r"
    exit 30
    --- stderr
    error: revision `shop-00002`: version `1` of its secret `key` is destroyed
      help: go back to another one: `carrack rollback --to-revision REVISION --local`; `carrack history --local` lists them
    ");
    let failing = shop.run(&["rollback", "--format", "json"]);
    assert_eq!(last(&failing)["code"], 30);
    assert_eq!(writes(&shop), patched, "nothing was written");

    shop.edit("[secrets]\nKEY = \"key\"\n", "EXIT = \"3\"\n[secrets]\n");
    let failed = shop.run(&["deploy"]);
    assert_eq!(failed.status.code(), Some(50), "{}", shown(&failed, &[]));
    let history = shop.report(&["history"]);
    let broken = history["revisions"][0]["revision"].as_str().unwrap();
    let refused = told(&shop, &["rollback", "--to-revision", broken]);
    assert!(refused.starts_with("exit 50\n"), "{refused}");
    assert!(refused.contains("revision `shop-00004`: it never became ready: The user-provided container"), "{refused}");
}

#[test]
fn an_image_that_is_gone_is_told() {
    let shop = Shop::new("");
    let first = shop.deployed("one", "one");
    shop.deployed("one", "two");
    // As a registry says it whose clean-up took the image.
    let gone = ["emulator", "faults", "add", "404", "--service", "registry", "--method", "HEAD"];
    ok(shop.cloud.run(&gone));
    let refused = shop.run(&["rollback", "--config"]);
    assert_eq!(refused.status.code(), Some(30), "{}", shown(&refused, &[]));
    assert!(stderr(&refused).contains("is not in the registry any more"), "{}", stderr(&refused));
    // Whoever knows better has a way.
    let refused = stderr(&shop.run(&["rollback"]));
    let line = refused.lines().find(|line| line.contains("carrack traffic ")).unwrap_or_else(|| panic!("{refused}"));
    assert!(line.contains(&format!("carrack traffic {first}=100 --local")), "{line}");
    ok(shop.run(&["traffic", &format!("{first}=100")]));
    // What serves is known to run.
    ok(shop.run(&["rollback", "--to-revision", &first]));
}

#[test]
fn a_split_and_our_own_tags_end_with_it() {
    let shop = Shop::new("");
    let first = shop.deployed("one", "one");
    let second = shop.deployed("one", "two");
    // As a rollout that was interrupted leaves it.
    shop.others(|service| {
        service["traffic"] = json!([
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": first, "percent": 90 },
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": second, "percent": 10 },
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": second, "tag": "carrack-rollout" },
            { "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": second, "tag": "blue" },
        ]);
    });
    ok(shop.run(&["rollback"]));
    let mut expected = to(&first);
    expected
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": second, "tag": "blue" }));
    assert_eq!(traffic(&shop), expected);
}

#[test]
fn a_missing_permission_is_named() {
    let shop = Shop::new(TARGET);
    shop.deployed("one", "one");
    shop.deployed("one", "two");
    let held = ["--permission", "run.services.get", "--permission", "run.revisions.list"];
    let token = ["emulator", "token", "--project", "local", "--email", "me@example.com"];
    let token = stdout(&ok(shop.cloud.run(&[&token[..], &held].concat())));
    let mut command = shop.cloud.carrack();
    command.env("CARRACK_ENDPOINT", shop.cloud.parts().0).env("CARRACK_ENDPOINT_TOKEN", token);
    let output = command.args(["rollback", "-f"]).arg(shop.folder().join("carrack.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(21), "{}", shown(&output, &[]));
    assert!(stderr(&output).contains("`run.services.update` on service `shop`"), "{}", stderr(&output));
}

#[test]
fn the_page_on_rollbacks() {
    let shop = Shop::new(TARGET);
    shop.deployed("one", "one");
    shop.deployed("one", "two");
    let lines = commands("docs/rollback.md");
    assert!(lines.len() >= 5);
    for line in lines {
        let first = shop.report(&["history", "--limit", "0"]);
        let first = first["revisions"].as_array().unwrap().last().unwrap()["revision"].as_str().unwrap().to_owned();
        ok(run(&shop.cloud, &line.replace("shop-00001-abc", &first), shop.folder()));
    }
}
