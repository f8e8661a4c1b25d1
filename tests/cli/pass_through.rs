//! `[targets.NAME.cloud-run]`: fields in Cloud Run's own words.
use std::{fs, path::Path, process::Output};

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, snapshot, stderr},
    support::{LocalCloud, carrack, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

const TARGET: &str = "[targets.here]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";

/// What `carrack check` says of this section.
fn check(section: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("[service]\nname = \"shop\"\n\n{TARGET}[targets.here.cloud-run]\n{section}");
    fs::write(dir.path().join("carrack.toml"), text).unwrap();
    snapshot(carrack(dir.path()).arg("check").current_dir(dir.path()), &[])
}

#[test]
fn what_is_wrong_in_it_is_told_at_its_place_without_a_request() {
    assert_snapshot!(
        check("template.encriptionKey = \"k\"\ntemplate.encryptionKeyShutdownDuration = 300\niapEnabled = \"yes\"\nuri = \"https://x\"\ntemplate.serviceAccount = \"a@b\"\n"),
        @r#"
    exit 10
    --- stderr
    error: Cloud Run knows no field `template.encriptionKey`
     --> carrack.toml:9:10
      |
    9 | template.encriptionKey = "k"
      |          ^^^^^^^^^^^^^
      |
      = help: did you mean `encryptionKey`?

    error: `template.encryptionKeyShutdownDuration` takes seconds such as "300s", not a number
      --> carrack.toml:10:10
       |
    10 | template.encryptionKeyShutdownDuration = 300
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: `iapEnabled` takes `true` or `false`, not a string
      --> carrack.toml:11:1
       |
    11 | iapEnabled = "yes"
       | ^^^^^^^^^^

    error: `uri` is output only: the cloud fills it in
      --> carrack.toml:12:1
       |
    12 | uri = "https://x"
       | ^^^
       |
       = help: remove it

    error: `template.serviceAccount` is what `service_account` says
      --> carrack.toml:13:10
       |
    13 | template.serviceAccount = "a@b"
       |          ^^^^^^^^^^^^^^
       |
       = help: remove it here, and write `service_account`
    "#
    );
}

#[test]
fn a_field_of_the_container_is_found_in_its_list() {
    assert_snapshot!(
        check("[[targets.here.cloud-run.template.containers]]\nresources.limits.\"nvidia.com/gpu\" = 1\n"),
        @r#"
    exit 10
    --- stderr
    error: `template.containers[].resources.limits."nvidia.com/gpu"` takes a string, not a number
      --> carrack.toml:10:18
       |
    10 | resources.limits."nvidia.com/gpu" = 1
       |                  ^^^^^^^^^^^^^^^^
    "#
    );
}

#[test]
fn other_clouds_have_no_such_section() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("[service]\nname = \"shop\"\n\n{TARGET}[targets.here.fargate]\ncpu = 1\n");
    fs::write(dir.path().join("carrack.toml"), text).unwrap();
    let output = carrack(dir.path()).arg("check").current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    assert!(stderr(&output).contains("unknown key `fargate`"), "{}", stderr(&output));
}

fn run(cloud: &LocalCloud, file: &Path, arguments: &[&str]) -> Output {
    cloud.carrack().args(arguments).args(["--local", "--color", "never", "-f"]).arg(file).output().unwrap()
}

/// The lines of a plan that change something.
fn changes(output: &Output) -> Vec<String> {
    let lines = stderr(output);
    let lines = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| line.starts_with(['+', '-', '~'])).collect()
}

fn live(cloud: &LocalCloud) -> Value {
    cloud.call(Method::GET, SERVICE, None)
}

fn receipt(part: &Value) -> Vec<String> {
    let receipt: Value = serde_json::from_str(part["annotations"]["carrack.dev/receipt"].as_str().unwrap()).unwrap();
    serde_json::from_value(receipt["owned"].clone()).unwrap()
}

#[test]
fn what_it_names_is_set_recorded_kept_apart_and_removed() {
    let cloud = LocalCloud::start();
    let key = "projects/local/locations/us-central1/keyRings/r/cryptoKeys/k";
    let section = format!("{TARGET}[targets.here.cloud-run]\ntemplate.encryptionKey = \"{key}\"\n");
    let file = project(&cloud.dir().join("app"), "shop", &section);
    ok(run(&cloud, &file, &["deploy"]));
    assert_eq!(live(&cloud)["template"]["encryptionKey"], key);
    assert!(receipt(&live(&cloud)["template"]).contains(&"cloud-run.template.encryptionKey".to_owned()));

    let again = ok(run(&cloud, &file, &["plan", "--exit-code"]));
    assert!(stderr(&again).contains("no changes"), "{}", stderr(&again));
    assert!(!stderr(&again).contains("template.encryptionKey"), "what the file names is not kept: {}", stderr(&again));

    // A service-level field, beside what somebody else set.
    let mut theirs = live(&cloud);
    theirs["template"].as_object_mut().unwrap().remove("revision");
    theirs["template"]["healthCheckDisabled"] = json!(true);
    let operation = cloud.call(Method::PATCH, SERVICE, Some(&theirs));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("template.encryptionKey", "binaryAuthorization.useDefault = true\ntemplate.encryptionKey"),
    )
    .unwrap();
    let plan = run(&cloud, &file, &["plan"]);
    assert_eq!(changes(&plan), ["+ cloud-run.binaryAuthorization.useDefault true"]);
    assert!(stderr(&plan).contains("template.healthCheckDisabled"), "{}", stderr(&plan));
    ok(run(&cloud, &file, &["deploy"]));
    let after = live(&cloud);
    assert_eq!(after["binaryAuthorization"], json!({ "useDefault": true }));
    assert_eq!(
        (&after["template"]["encryptionKey"], &after["template"]["healthCheckDisabled"]),
        (&json!(key), &json!(true))
    );
    assert!(receipt(&after).contains(&"cloud-run.binaryAuthorization.useDefault".to_owned()));

    // Out of the file, and so out of the service; what others set stays.
    let text = fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("template.") && !line.starts_with("binary")).collect();
    fs::write(&file, kept.join("\n")).unwrap();
    let plan = run(&cloud, &file, &["deploy"]);
    assert_eq!(
        changes(&plan),
        ["- cloud-run.binaryAuthorization.useDefault true", &format!("- cloud-run.template.encryptionKey \"{key}\""),]
    );
    let after = live(&cloud);
    assert_eq!((after.get("binaryAuthorization"), after["template"].get("encryptionKey")), (None, None));
    assert_eq!(after["template"]["healthCheckDisabled"], true);
    assert_eq!(changes(&run(&cloud, &file, &["plan"])), [""; 0]);
}

#[test]
fn the_whole_of_what_has_no_key_goes_through_and_the_second_plan_is_empty() {
    let cloud = LocalCloud::start();
    let section = format!(
        "[resources]\ncpu = 4\nmemory = \"16GiB\"\n\n{TARGET}\n[targets.here.cloud-run]\nlaunchStage = \"BETA\"\niapEnabled = true\n\
         template.serviceMesh.mesh = \"projects/local/locations/global/meshes/m\"\ntemplate.nodeSelector.accelerator = \"nvidia-l4\"\n\
         template.gpuZonalRedundancyDisabled = true\n[targets.here.cloud-run.multiRegionSettings]\nregions = [\"us-central1\", \"europe-west1\"]\n\
         [targets.here.cloud-run.template.labels]\ncost = \"a\"\n[[targets.here.cloud-run.template.containers]]\n\
         resources.limits.\"nvidia.com/gpu\" = \"1\"\n"
    );
    let file = project(&cloud.dir().join("app"), "shop", &section);
    let deploy = run(&cloud, &file, &["deploy"]);
    assert!(deploy.status.success(), "{}", shown(&deploy, &[]));
    let service = live(&cloud);
    let limits = &service["template"]["containers"][0]["resources"]["limits"];
    assert_eq!((&limits["nvidia.com/gpu"], &limits["cpu"]), (&json!("1"), &json!("4000m")));
    for (path, value) in [
        ("/launchStage", json!("BETA")),
        ("/iapEnabled", json!(true)),
        ("/multiRegionSettings/regions", json!(["us-central1", "europe-west1"])),
        ("/template/serviceMesh/mesh", json!("projects/local/locations/global/meshes/m")),
        ("/template/nodeSelector/accelerator", json!("nvidia-l4")),
        ("/template/gpuZonalRedundancyDisabled", json!(true)),
        ("/template/labels/cost", json!("a")),
    ] {
        assert_eq!(service.pointer(path), Some(&value), "{path}");
    }
    let again = run(&cloud, &file, &["plan", "--exit-code"]);
    assert_eq!(again.status.code(), Some(0), "{}", shown(&again, &[]));
}
