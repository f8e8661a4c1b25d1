//! What `carrack secrets` does not do, and what it says of it.
use super::{calls, fault, fed, piped, report, secrets, seen, somebody};
use crate::{
    run::{ok, shown},
    support::LocalCloud,
};

#[test]
fn what_is_wrong_is_refused_before_anything_is_sent() {
    let cloud = LocalCloud::start();
    ok(fed(&cloud, &["list"], b""));
    let before = calls(&cloud);
    let seen = |arguments: &[&str], input: &[u8]| seen(&fed(&cloud, arguments, input));
    insta::assert_snapshot!(seen(&["set", "db-url"], b""), @r"
    exit 10
    --- stderr
    error: the value is empty
      help: give it on standard input, or name a file: `--from-file FILE`
    ");
    insta::assert_snapshot!(seen(&["set", "db-url"], &vec![b'a'; (64 << 10) + 1]), @r"
    exit 10
    --- stderr
    error: the value is longer than 65536 bytes
      help: keep what is long in a bucket, and a key to it in the secret
    ");
    insta::assert_snapshot!(seen(&["set", "db.url"], b"x"), @r"
    exit 10
    --- stderr
    error: `db.url` is no name of a secret
      help: use 1 to 255 letters, digits, `-` and `_`; a secret of another project is `projects/PROJECT/secrets/NAME`
    ");
    insta::assert_snapshot!(seen(&["set", "db-url", "hunter2"], b""), @r#"
    exit 2
    --- stderr
    error: refusing to take a value from the command line, which others can see
      help: pipe it: `printf %s "$VALUE" | carrack secrets set db-url`
      help: or name a file: `--from-file FILE`; flags are in `carrack secrets set --help`
    "#);
    insta::assert_snapshot!(seen(&["set", "db-url", "--from-file", "none.txt"], b""), @r"
    exit 2
    --- stderr
    error: cannot read `none.txt`
      caused by: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(seen(&["set", "db-url", "--label", "Team=a"], b"x"), @r"
    exit 10
    --- stderr
    error: invalid label key `Team`
      help: use 1 to 63 lower-case letters, digits, `_` and `-`, with a letter first
    ");
    insta::assert_snapshot!(seen(&["set", "db-url", "--label", "team"], b"x"), @r"
    exit 2
    --- stderr
    error: `team` is no label
      help: write `--label KEY=VALUE`
    ");
    insta::assert_snapshot!(seen(&["set", "db-url", "--replica", "Europe"], b"x"), @r#"
    exit 10
    --- stderr
    error: invalid region `Europe`
      help: write a region such as "us-central1"
    "#);
    insta::assert_snapshot!(seen(&["get", "db-url", "1.2"], b""), @r"
    exit 10
    --- stderr
    error: `1.2` is no version of a secret
      help: use a number, an alias or `latest`
    ");
    insta::assert_snapshot!(seen(&["get", "db-url", "--out", "/dev/full"], b""), @r"
    exit 2
    --- stderr
    error: `/dev/full` is no regular file
      help: leave `--out` out: the value goes to standard output
    ");
    insta::assert_snapshot!(seen(&["get", "db-url", "--out", "no/such/file"], b""), @r"
    exit 2
    --- stderr
    error: `no/such/file` is in a folder that does not exist
    ");
    insta::assert_snapshot!(seen(&["get", "db-url", "--format", "json"], b""), @r#"
    exit 2
    --- stdout
    {"code":2,"error":{"cause":null,"causes":[],"details":[],"hints":["pipe it, or write it to a file: `carrack secrets get db-url --out FILE`","or add `--show`"],"kind":"usage","message":"refusing to write the value of a secret into JSON","request":null},"ok":false,"run":null,"type":"report"}
    --- stderr
    error: refusing to write the value of a secret into JSON
      help: pipe it, or write it to a file: `carrack secrets get db-url --out FILE`
      help: or add `--show`
    "#);
    insta::assert_snapshot!(seen(&["grant", "db-url", "--to-account", "me"], b""), @r#"
    exit 10
    --- stderr
    error: invalid service account `me`
      help: write its email address: "NAME@PROJECT.iam.gserviceaccount.com"
    "#);
    insta::assert_snapshot!(seen(&["delete", "projects/a/b"], b""), @r"
    exit 10
    --- stderr
    error: `projects/a/b` is no name of a secret
      help: use 1 to 255 letters, digits, `-` and `_`; a secret of another project is `projects/PROJECT/secrets/NAME`
    ");
    insta::assert_snapshot!(seen(&["list", "--project", "My Project"], b""), @r#"
    exit 10
    --- stderr
    error: invalid project `My Project`
      help: write the project's id, such as "my-project", not its display name
    "#);
    assert_eq!(calls(&cloud), before);
    let mut command = cloud.carrack();
    command.args(["secrets", "list"]).current_dir(cloud.dir());
    insta::assert_snapshot!(shown(&command.output().unwrap(), &[]), @r"
    exit 2
    --- stderr
    error: nothing says which project: there is no `carrack.toml` here
      help: name it: `--project PROJECT`
      help: or the file: `-f FILE`; or use the local cloud, with no account: `--local`
    ");
}

#[test]
fn what_is_not_there_or_not_enabled() {
    let cloud = LocalCloud::start();
    let seen = |arguments: &[&str]| seen(&secrets(&cloud, arguments));
    insta::assert_snapshot!(seen(&["get", "db"]), @r"
    exit 30
    --- stderr
    error: secret `db`: it does not exist, or has no version in project `local`
      caused by: Secret [projects/NUMBER/secrets/db] not found or has no versions
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/latest:access (answered 404)
      help: see which there are: `carrack secrets list`
      help: or give it a value: `carrack secrets set db`
    ");
    insta::assert_snapshot!(seen(&["disable", "db", "1"]), @r"
    exit 30
    --- stderr
    error: secret `db`: it does not exist
      help: see which there are: `carrack secrets list`
      help: or give it a value: `carrack secrets set db`
    ");
    insta::assert_snapshot!(seen(&["delete", "db", "--yes"]), @r"
    exit 30
    --- stderr
    error: secret `db`: it does not exist
      help: see which there are: `carrack secrets list`
      help: or give it a value: `carrack secrets set db`
    ");
    insta::assert_snapshot!(seen(&["grant", "db", "--to-account", "a@b.iam.gserviceaccount.com"]), @r"
    exit 30
    --- stderr
    error: secret `db`: it does not exist in project `local`
      caused by: Secret [projects/NUMBER/secrets/db] not found
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db:getIamPolicy?options.requestedPolicyVersion=… (answered 404)
      help: see which there are: `carrack secrets list`
      help: or give it a value: `carrack secrets set db`
    ");
    for value in ["one", "two"] {
        ok(fed(&cloud, &["set", "db"], value.as_bytes()));
    }
    insta::assert_snapshot!(seen(&["get", "db", "7"]), @r"
    exit 30
    --- stderr
    error: secret `db`: it has no version `7`
      caused by: Secret Version [projects/NUMBER/secrets/db/versions/7] not found
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/7:access (answered 404)
      help: see what it has: `carrack secrets versions db`
    ");
    insta::assert_snapshot!(seen(&["get", "db", "prod"]), @r"
    exit 30
    --- stderr
    error: secret `db`: it has no version `prod`
      caused by: Secret [projects/NUMBER/secrets/db] has no alias [prod]
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/prod:access (answered 404)
      help: see what it has: `carrack secrets versions db`
    ");
    ok(secrets(&cloud, &["disable", "db", "2"]));
    // Nothing falls back to an earlier version.
    insta::assert_snapshot!(seen(&["get", "db"]), @r"
    exit 31
    --- stderr
    error: secret `db`: version 2 is disabled
      caused by: Secret Version [projects/NUMBER/secrets/db/versions/2] is in DISABLED state
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/latest:access (answered 400)
      help: enable it: `carrack secrets enable db 2`
    ");
    insta::assert_snapshot!(seen(&["destroy", "db", "1"]), @r"
    exit 2
    --- stderr
    error: refusing to destroy version 1 of secret `db` without a confirmation
      help: add `--yes`
    ");
    ok(secrets(&cloud, &["destroy", "db", "1", "--yes"]));
    insta::assert_snapshot!(seen(&["get", "db", "1"]), @r"
    exit 30
    --- stderr
    error: secret `db`: the version is destroyed: its value is gone for good
      caused by: Secret Version [projects/NUMBER/secrets/db/versions/1] is in DESTROYED state
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/1:access (answered 400)
      help: see what is left: `carrack secrets versions db`
      help: or give it a value anew: `carrack secrets set db`
    ");
    insta::assert_snapshot!(seen(&["enable", "db", "1"]), @r"
    exit 30
    --- stderr
    error: secret `db`: version 1 is destroyed: its value is gone for good
      help: see what is left: `carrack secrets versions db`
    ");
    insta::assert_snapshot!(seen(&["destroy", "db", "1", "--yes"]), @r"
    exit 0
    --- stderr
            Done version 1 of secret `db` was destroyed before
    ");
    insta::assert_snapshot!(seen(&["set", "db", "--replica", "europe-west1", "--from-file", "/etc/hostname"]), @r"
    exit 31
    --- stderr
            Note the value ends with a line break, which is part of it; `printf %s` writes none
    error: secret `db`: it is kept where the cloud chooses, and that never changes
      help: leave `--replica` out
      help: or begin anew, without its versions: `carrack secrets delete db`
    ");
}

#[test]
fn a_value_that_was_changed_on_its_way_is_no_value() {
    let cloud = LocalCloud::start();
    ok(fed(&cloud, &["set", "db"], b"hunter2"));
    fault(&cloud, &["corrupt", "--path", "*:access", "--nth", "1"]);
    assert_eq!(ok(secrets(&cloud, &["get", "db"])).stdout, b"hunter2", "it is asked for once more");
    ok(cloud.run(&["emulator", "faults", "clear"]));
    fault(&cloud, &["corrupt", "--path", "*:access"]);
    let file = cloud.dir().join("db.txt");
    let broken = secrets(&cloud, &["get", "db", "--out", file.to_str().unwrap()]);
    insta::assert_snapshot!(seen(&broken), @r"
    exit 41
    --- stderr
    error: secret `db`: Secret Manager answered with a value that does not match its checksum
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/latest:access (answered 200)
      help: run the command again: the value was changed on its way
    ");
    assert!(!file.exists());
    ok(cloud.run(&["emulator", "faults", "clear"]));
    fault(&cloud, &["corrupt-request", "--path", "*:addVersion"]);
    insta::assert_snapshot!(seen(&fed(&cloud, &["set", "db"], b"hunter3")), @r"
    exit 41
    --- stderr
    error: secret `db`: the value was changed on its way, and nothing was stored
      caused by: Provided SecretPayload.data crc32c does not match calculated crc32c
      request: POST https://secretmanager.googleapis.com/v1/projects/local/secrets/db:addVersion (answered 400)
      help: run the command again
    ");
    ok(cloud.run(&["emulator", "faults", "clear"]));
    assert_eq!(
        report(secrets(&cloud, &["versions", "db", "--format", "json"]))["versions"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn who_may_not_is_told_what_is_missing() {
    let cloud = LocalCloud::start();
    ok(fed(&cloud, &["set", "db"], b"hunter2"));
    let project = ["--project", "local"];
    let as_somebody = |permissions: &[&str], arguments: &[&str]| {
        let mut command = somebody(&cloud, permissions);
        command.args(arguments).args(project);
        piped(command, b"hunter3")
    };
    insta::assert_snapshot!(seen(&as_somebody(&[], &["list"])), @r"
    exit 21
    --- stderr
    error[permission-missing]: to list secrets, the permission `secretmanager.secrets.list` on project `local` (lists secrets) is missing
      caused by: project `local`: Permission 'secretmanager.secrets.list' denied for resource 'projects/local' (or it may not exist)
      fix: gcloud projects add-iam-policy-binding local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/secretmanager.viewer --condition None
      then: carrack secrets list --project local
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets?pageSize=… (answered 403)
      help: or grant precisely what is needed: `carrack permissions show --for secrets-list --as gcloud`
    ");
    insta::assert_snapshot!(seen(&as_somebody(&[], &["get", "db"])), @r"
    exit 21
    --- stderr
    error[permission-missing]: to read a secret's value, the permission `secretmanager.versions.access` on secret `db` (reads the value) is missing
      caused by: secret `db`: Permission 'secretmanager.versions.access' denied for resource 'projects/local/secrets/db/versions/latest' (or it may not exist)
      fix: gcloud secrets add-iam-policy-binding db --project local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/secretmanager.secretAccessor --condition None
      then: carrack secrets get db --project local
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/latest:access (answered 403)
      help: or grant precisely what is needed: `carrack permissions show --for secrets-get --as gcloud`
    ");
    insta::assert_snapshot!(seen(&as_somebody(&[], &["set", "db"])), @r"
    exit 21
    --- stderr
         Warning the value of secret `db` may not be read, so it was not compared
    error[permission-missing]: to set a secret, the permission `secretmanager.versions.add` on secret `db` (adds a version) is missing
      caused by: secret `db`: Permission 'secretmanager.versions.add' denied for resource 'projects/local/secrets/db' (or it may not exist)
      fix: gcloud secrets add-iam-policy-binding db --project local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/secretmanager.secretVersionAdder --condition None
      then: carrack secrets set db --project local
      request: POST https://secretmanager.googleapis.com/v1/projects/local/secrets/db:addVersion (answered 403)
      help: or grant precisely what is needed: `carrack permissions show --for secrets-set --as gcloud`
    ");
    insta::assert_snapshot!(seen(&as_somebody(&["secretmanager.secrets.get"], &["set", "new"])), @r"
    exit 21
    --- stderr
    error[permission-missing]: to set a secret, the permission `secretmanager.versions.add` on secret `new` (adds a version) is missing
      caused by: secret `new`: Permission 'secretmanager.secrets.create' denied for resource 'projects/local' (or it may not exist)
      fix: gcloud secrets add-iam-policy-binding new --project local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/secretmanager.secretVersionAdder --condition None
      then: carrack secrets set new --project local
      request: POST https://secretmanager.googleapis.com/v1/projects/local/secrets?secretId=… (answered 403)
      help: or grant precisely what is needed: `carrack permissions show --for secrets-set --as gcloud`
    ");
    insta::assert_snapshot!(
        seen(&as_somebody(&["secretmanager.secrets.getIamPolicy"], &["grant", "db", "--to-account", "a@b.iam.gserviceaccount.com"])),
        @r"
    exit 21
    --- stderr
    error[permission-missing]: to let the service read a secret, the permission `secretmanager.secrets.setIamPolicy` on secret `db` (lets the service's account read the value) is missing
      caused by: secret `db`: Permission 'secretmanager.secrets.setIamPolicy' denied for resource 'projects/local/secrets/db' (or it may not exist)
      fix: gcloud secrets add-iam-policy-binding db --project local --member serviceAccount:DEPLOYER@local.iam.gserviceaccount.com --role roles/secretmanager.admin --condition None
      then: carrack secrets grant db --to-account a@b.iam.gserviceaccount.com --project local
      request: POST https://secretmanager.googleapis.com/v1/projects/local/secrets/db:setIamPolicy (answered 403)
      help: or grant precisely what is needed: `carrack permissions show --for secrets-grant --as gcloud`
    "
    );
    // Adding is all that a rotation needs.
    insta::assert_snapshot!(seen(&as_somebody(&["secretmanager.versions.add"], &["set", "db"])), @r"
    exit 0
    --- stdout
    2
    --- stderr
         Warning the value of secret `db` may not be read, so it was not compared
           Added version 2 of secret `db`, 7 bytes
    ");
    let mut command = cloud.carrack();
    command.env("CARRACK_ENDPOINT", cloud.parts().0).env("CARRACK_ENDPOINT_TOKEN", "expired");
    let output = command.args(["secrets", "get", "db"]).args(project).current_dir(cloud.dir()).output().unwrap();
    insta::assert_snapshot!(seen(&output), @r"
    exit 20
    --- stderr
    error: secret `db`: Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project
      request: GET https://secretmanager.googleapis.com/v1/projects/local/secrets/db/versions/latest:access (answered 401)
      help: `carrack emulator env` prints the local cloud's token; with CARRACK_ENDPOINT set CARRACK_ENDPOINT_TOKEN anew
    ");
}
