//! A deploy changes what the file names, and nothing that others set.
use std::{fs, process::Output};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, stderr},
    support::{LocalCloud, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

/// The changes that a plan shows, and what it says is kept.
fn shown(output: &Output) -> (Vec<String>, String) {
    let lines: Vec<String> = stderr(output).lines().map(|line| line.trim().to_owned()).collect();
    let kept = lines.iter().find_map(|line| line.strip_prefix("kept: ")).unwrap_or_default().to_owned();
    (lines.into_iter().filter(|line| line.starts_with(['+', '-', '~'])).collect(), kept)
}

/// As a console or `gcloud run services update` would: the whole service, with what they changed.
fn replace(cloud: &LocalCloud, mut service: Value) {
    service["template"].as_object_mut().unwrap().remove("revision");
    let operation = cloud.call(Method::PATCH, SERVICE, Some(&service));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    let done = cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));
    assert_eq!((&done["done"], &done["error"]), (&json!(true), &Value::Null));
}

#[test]
fn what_another_client_sets_is_there_after_two_more_deploys() {
    let cloud = LocalCloud::start();
    let text = "[env]\nSAY = \"one\"\nGONE = \"soon\"\n[labels]\napp = \"shop\"\n";
    let file = project(&cloud.dir().join("app"), "shop", text);
    let carrack = |arguments: &[&str]| {
        ok(cloud.carrack().args(arguments).args(["--local", "--color", "never", "-f"]).arg(&file).output().unwrap())
    };
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        fs::write(&file, text.replace(from, to)).unwrap();
    };
    carrack(&["deploy"]);

    let mut theirs = cloud.call(Method::GET, SERVICE, None);
    theirs["labels"]["team"] = json!("payments");
    theirs["annotations"]["example.com/owner"] = json!("them");
    theirs["template"]["sessionAffinity"] = json!(true);
    theirs["template"]["vpcAccess"] =
        json!({ "egress": "PRIVATE_RANGES_ONLY", "networkInterfaces": [{ "network": "default" }] });
    let container = &mut theirs["template"]["containers"][0];
    container["env"].as_array_mut().unwrap().insert(0, json!({ "name": "THEIRS", "value": "1" }));
    container["workingDir"] = json!("/");
    replace(&cloud, theirs);
    let live = |cloud: &LocalCloud| cloud.call(Method::GET, SERVICE, None);
    let before = live(&cloud);

    let (changes, kept) = shown(&carrack(&["plan"]));
    assert_eq!(changes, [""; 0], "what others set is no change");
    for part in
        ["1 env", "1 labels", "1 annotations", "service.session_affinity", "network.network", "service.working_dir"]
    {
        assert!(kept.split(", ").any(|kept| kept == part), "{part} in {kept}");
    }

    edit("\"one\"", "\"two\"");
    let (changes, kept_again) = shown(&carrack(&["deploy"]));
    assert_eq!(changes, ["~ env.SAY  \"one\" -> \"two\""]);
    assert_eq!(kept_again, kept);
    edit("GONE = \"soon\"\n", "");
    let (changes, _) = shown(&carrack(&["deploy"]));
    assert_eq!(changes, ["- env.GONE  \"soon\""], "a variable that is removed from the file is removed");

    let after = live(&cloud);
    for path in ["/labels", "/template/sessionAffinity", "/template/vpcAccess", "/template/containers/0/workingDir"] {
        assert!(before.pointer(path).is_some(), "{path}");
        assert_eq!(after.pointer(path), before.pointer(path), "{path}");
    }
    assert_eq!(after["annotations"]["example.com/owner"], "them");
    let env = &after["template"]["containers"][0]["env"];
    assert_eq!(env, &json!([{ "name": "THEIRS", "value": "1" }, { "name": "SAY", "value": "two" }]));
    assert_eq!(shown(&carrack(&["plan"])).0, [""; 0]);
}

#[test]
fn an_exact_table_is_the_files_alone() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nSAY = \"one\"\n");
    let carrack = |arguments: &[&str]| {
        ok(cloud.carrack().args(arguments).args(["--local", "--color", "never", "-f"]).arg(&file).output().unwrap())
    };
    carrack(&["deploy"]);
    let mut theirs = cloud.call(Method::GET, SERVICE, None);
    theirs["template"]["containers"][0]["env"].as_array_mut().unwrap().push(json!({ "name": "THEIRS", "value": "1" }));
    replace(&cloud, theirs);
    assert_eq!(shown(&carrack(&["plan"])).0, [""; 0]);

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("port = 8080", "port = 8080\nexact = [\"env\"]")).unwrap();
    assert_eq!(shown(&carrack(&["plan"])).0, ["- env.THEIRS  \"1\""]);
    carrack(&["deploy"]);
    let live = cloud.call(Method::GET, SERVICE, None);
    assert_eq!(live["template"]["containers"][0]["env"], json!([{ "name": "SAY", "value": "one" }]));
}
