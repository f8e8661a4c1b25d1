//! The promise to a pipeline: an owner sets account, variables and secrets once, and whoever brings a new image, with
//! no more permissions than `permissions show --for image` prints and a file that names none of it, changes the image
//! and nothing else.
use std::{fs, io::Write, process::Stdio};

use reqwest::Method;
use serde_json::Value;

use crate::{
    permissions::{ACCOUNT, TARGET, built, carrack_as, folder, owner, printed, token},
    run::{ok, stderr, stdout},
    support::LocalCloud,
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

#[test]
fn a_new_image_leaves_account_variables_and_secrets_as_they_are() {
    let cloud = LocalCloud::start();
    let settings = format!(
        "[env]\nSAY = \"kept\"\nMODE = \"production\"\n[secrets]\nDB_URL = \"db-url\"\n[labels]\nteam = \"payments\"\n\
         [scaling]\nmax = 7\n{TARGET}{ACCOUNT}"
    );
    let file = folder(&cloud.dir().join("owners"), &built("shop", &settings));
    let mut set = owner(&cloud);
    set.args(["secrets", "set", "db-url", "-f"]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut set = set.spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"postgres://db").unwrap();
    assert!(set.wait().unwrap().success());
    ok(owner(&cloud).args(["secrets", "grant", "db-url", "-f"]).arg(&file).output().unwrap());
    ok(owner(&cloud).args(["deploy", "-f"]).arg(&file).output().unwrap());
    let before = cloud.call(Method::GET, SERVICE, None);
    let template = &before["template"];
    assert_eq!(template["serviceAccount"], "run@local.iam.gserviceaccount.com");

    // The pipeline's file: a name and an image.
    let text = built("shop", TARGET).replace("public = true\n", "").replace("the image", "the next one");
    let small = folder(&cloud.dir().join("pipelines"), &text);
    let needed = printed(&cloud, &small, "image", false);
    for none in ["secretmanager.", "run.services.setIamPolicy", "run.services.create", "IamPolicy", ".list"] {
        assert!(!needed.iter().any(|name| name.contains(none)), "{needed:?}");
    }
    let ci = token(&cloud, &needed);
    let run = |arguments: &[&str]| {
        let mut command = carrack_as(&cloud, &ci);
        ok(command.args(arguments).args(["--color", "never", "-f"]).arg(&small).output().unwrap())
    };
    let plan = run(&["plan"]);
    let changes: Vec<String> = stderr(&plan)
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(['+', '-', '~']))
        .map(str::to_owned)
        .collect();
    assert!(changes.len() == 1 && changes[0].starts_with("~ image"), "{changes:?}");
    run(&["deploy"]);

    let after = cloud.call(Method::GET, SERVICE, None);
    let image = |service: &Value| service["template"]["containers"][0]["image"].clone();
    assert_ne!(image(&after), image(&before));
    let rest = |service: &Value| {
        let mut template = service["template"].clone();
        template["containers"][0]["image"].take();
        for own in ["revision", "annotations"] {
            template.as_object_mut().unwrap().remove(own);
        }
        (template, service["labels"].clone())
    };
    assert_eq!(rest(&after), rest(&before));
    let policy = cloud.call(Method::GET, &format!("{SERVICE}:getIamPolicy"), None);
    assert_eq!(policy["bindings"][0]["members"][0], "allUsers", "it is public still");
    // And again, as the owner: nothing is to be done but for the image.
    let next = fs::read_to_string(&file).unwrap().replace("the image", "the next one");
    fs::write(&file, next).unwrap();
    let again = ok(owner(&cloud).args(["deploy", "-f"]).arg(&file).output().unwrap());
    assert!(stderr(&again).contains("no changes"), "{}", stderr(&again));
    assert!(!stdout(&again).is_empty());
}
