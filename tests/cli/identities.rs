//! Who somebody is in the local cloud: key files, logins, and jobs of a CI.
use std::{fs, os::unix::fs::PermissionsExt};

use insta::assert_snapshot;
use serde_json::Value;

use crate::{
    run::{ok, shown, stderr, stdout},
    support::LocalCloud,
};

#[test]
fn a_file_of_credentials_is_its_users_alone() {
    let cloud = LocalCloud::start();
    let (google, ..) = cloud.parts();
    let read = |arguments: &[&str]| {
        let file = cloud.dir().join("file.json");
        // One that others may read is replaced, and not written into.
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let out = file.to_str().unwrap();
        let output = ok(cloud.run(&[&["emulator"], arguments, &["--out", out]].concat()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let read: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for secret in ["private_key", "refresh_token", "client_secret"] {
            if let Some(secret) = read[secret].as_str() {
                assert!(!shown(&output, &[]).contains(secret), "the secret is in the file alone");
            }
        }
        read
    };
    let key = read(&["key", "ci@local.iam.gserviceaccount.com"]);
    assert_eq!((key["type"].as_str(), key["project_id"].as_str()), (Some("service_account"), Some("local")));
    assert_eq!(key["token_uri"], "https://oauth2.googleapis.com/token");
    assert!(key["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let key = read(&["key", "ci@local.iam.gserviceaccount.com", "--loopback"]);
    assert_eq!(key["token_uri"], format!("{google}/token"));
    let login = read(&["login", "me@example.com"]);
    assert_eq!((login["type"].as_str(), login.get("token_uri")), (Some("authorized_user"), None));

    let refused = cloud.run(&["emulator", "key", "me@example.com", "--out", "/dev/null/x"]);
    let console =
        stderr(&refused).lines().find_map(|line| line.split("POST ").nth(1)?.split("/cred").next().map(str::to_owned));
    assert_snapshot!(shown(&refused, &[(&console.unwrap(), "CONSOLE")]), @"
    exit 2
    --- stderr
    error: `me@example.com` is no service account: it is NAME@PROJECT.iam.gserviceaccount.com
      request: POST CONSOLE/credentials/key (answered 400)
    ");
}

#[test]
fn a_job_says_who_it_is() {
    let cloud = LocalCloud::start();
    let (google, ..) = cloud.parts();
    let variables = |arguments: &[&str]| {
        let printed = stdout(&ok(cloud.run(&[&["emulator", "identity", "github"], arguments].concat())));
        let script = "eval \"$1\"; echo \"$ACTIONS_ID_TOKEN_REQUEST_URL ${#ACTIONS_ID_TOKEN_REQUEST_TOKEN}\"";
        let mut shell = std::process::Command::new("sh");
        stdout(&ok(shell.args(["-euc", script, "sh", &printed]).output().unwrap()))
    };
    let printed = variables(&["--repository", "octo/hello"]);
    assert!(printed.starts_with("https://pipelines.actions.githubusercontent.com/"), "{printed}");
    assert!(printed.ends_with("/idtoken?api-version=2.0 32"), "{printed}");
    assert!(variables(&["--repository", "octo/hello", "--loopback"]).starts_with(&format!("{google}/")));
    let token = ok(cloud.run(&["emulator", "identity", "gitlab", "--project", "g/p", "--audience", "https://a"]));
    assert_eq!(stdout(&token).split('.').count(), 3);
    for wrong in [
        &["github", "--repository", "octo"][..],
        &["github", "--repository", "octo/hello", "--ref", "main"],
        &["gitlab", "--project", "p", "--audience", "a"],
        &["gitlab", "--project", "g/p", "--audience", ""],
    ] {
        let refused = cloud.run(&[&["emulator", "identity"], wrong].concat());
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{wrong:?}");
    }
}
