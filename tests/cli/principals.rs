//! `carrack emulator token`: whose tokens it makes, and that they may do so much and no more.
use serde_json::Value;

use crate::{
    run::{ok, shown, snapshot, stdout},
    support::{LocalCloud, carrack, project},
};

const TARGET: &str = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"p\"\nregion = \"us-central1\"\n";

#[test]
fn a_token_may_do_what_its_roles_hold() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", TARGET);
    let (endpoint, ..) = cloud.parts();
    let token = |arguments: &[&str]| {
        let mut command = cloud.carrack();
        stdout(&ok(command.args(["emulator", "token", "--project", "p"]).args(arguments).output().unwrap()))
    };
    let status = |token: &str| {
        let mut command = cloud.carrack();
        command.env("CARRACK_ENDPOINT", endpoint).env("CARRACK_ENDPOINT_TOKEN", token);
        command.args(["status", "-f"]).arg(&file).output().unwrap()
    };
    let email = ["--email", "ci@p.iam.gserviceaccount.com"];
    let nothing = token(&email);
    let output = status(&nothing);
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(21), "{text}");
    assert!(text.contains("run.services.get") && !text.contains(&nothing), "{text}");
    let more = ["--permission", "run.services.get", "--permission", "run.revisions.list", "--life", "1h"];
    let allowed = token(&[&email[..], &more].concat());
    let output = status(&allowed);
    assert_eq!(output.status.code(), Some(30), "there is no service: {}", shown(&output, &[]));
    let viewer = token(&["--email", "me@example.com", "--role", "roles/run.viewer"]);
    assert_eq!(status(&viewer).status.code(), Some(30));
    assert_eq!(status(&nothing).status.code(), Some(21), "it is somebody else's role");
    token(&[&email[..], &["--role", "roles/run.viewer"]].concat());
    assert_eq!(status(&nothing).status.code(), Some(30), "a role is its owner's, not the token's");
    let report: Value = serde_json::from_str(&token(&[&email[..], &["--format", "json"]].concat())).unwrap();
    assert_eq!((&report["type"], &report["email"]), (&"report".into(), &email[1].into()));
    assert!(report["token"].as_str().is_some_and(|token| token.starts_with("local.")));
}

#[test]
fn a_token_of_nobody_is_refused() {
    let cloud = LocalCloud::start();
    for (arguments, text, hint) in [
        (
            &["ci@p", "--role", "run.developer"][..],
            "there is no role `run.developer`",
            "see `carrack emulator token --help`",
        ),
        (&["a b"], "`a b` is no e-mail address", "see `carrack emulator token --help`"),
        (&["ci@p", "--life", "0s"], "`--life` must be from a second to a hundred years", "write `90s` or `1h`"),
    ] {
        let output = cloud.carrack().args(["emulator", "token", "--email"]).args(arguments).output().unwrap();
        let said = shown(&output, &[]);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("error: {text}")) && said.contains(&format!("help: {hint}")), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let nothing = snapshot(carrack(dir.path()).args(["emulator", "token", "--email", "ci@p"]), &[]);
    insta::assert_snapshot!(nothing, @r"
    exit 41
    --- stderr
    error: no local cloud runs
      help: start it with `carrack emulator start`
    ");
}
