//! Who asks, without `--local`: real names over TLS, by the local cloud as the proxy, and the credentials of each way.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, snapshot, stderr, stdout},
    support::{LocalCloud, carrack, project},
};

const CI: &str = "ci-deploy@local.iam.gserviceaccount.com";
const OWNER: &str = "the-owner@local.iam.gserviceaccount.com";
const TARGET: &str = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n";

/// `carrack` in a folder of its own, that finds the clouds by their names, and no credentials.
fn outside(cloud: &LocalCloud) -> Command {
    let home = cloud.dir().join("home");
    fs::create_dir_all(&home).unwrap();
    let (google, ..) = cloud.parts();
    let mut command = carrack(cloud.dir());
    // No gcloud, and no metadata server of the machine that tests run on.
    command.env("HOME", &home).env("NO_GCE_CHECK", "true").env("PATH", &home).current_dir(&home);
    command.env("HTTPS_PROXY", google).env("SSL_CERT_FILE", cloud.dir().join("ca.pem"));
    command
}

fn nobody(home: &Path) -> Command {
    let mut command = carrack(home);
    command.env("NO_GCE_CHECK", "true").env("PATH", home).current_dir(home);
    command
}

fn key(cloud: &LocalCloud, email: &str) -> PathBuf {
    let file = cloud.dir().join(format!("{email}.json"));
    ok(cloud.run(&["emulator", "key", email, "--out", file.to_str().unwrap()]));
    file
}

/// What it may do in the project.
fn grant(cloud: &LocalCloud, member: &str, roles: &[&str]) {
    let url = "https://cloudresourcemanager.googleapis.com/v1/projects/local";
    let mut policy = cloud.call(Method::POST, &format!("{url}:getIamPolicy"), Some(&json!({})));
    let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
    bindings.extend(roles.iter().map(|role| json!({ "role": role, "members": [member] })));
    policy["bindings"] = json!(bindings);
    cloud.call(Method::POST, &format!("{url}:setIamPolicy"), Some(&json!({ "policy": policy })));
}

/// Who may speak for the account.
fn let_speak(cloud: &LocalCloud, role: &str, member: &str, email: &str) {
    let url = format!("https://iam.googleapis.com/v1/projects/local/serviceAccounts/{email}:setIamPolicy");
    let policy = json!({ "policy": { "bindings": [{ "role": role, "members": [member] }] } });
    cloud.call(Method::POST, &url, Some(&policy));
}

fn make_account(cloud: &LocalCloud, email: &str) {
    let name = email.split('@').next().unwrap();
    let url = "https://iam.googleapis.com/v1/projects/local/serviceAccounts";
    cloud.call(Method::POST, url, Some(&json!({ "accountId": name, "serviceAccount": {} })));
}

/// A pool with providers for both, for one repository; its name without the provider's.
fn make_pool(cloud: &LocalCloud) -> String {
    let project = cloud.call(Method::GET, "https://cloudresourcemanager.googleapis.com/v1/projects/local", None);
    let number = project["projectNumber"].as_str().unwrap().to_owned();
    let base = "https://iam.googleapis.com/v1/projects/local/locations/global/workloadIdentityPools";
    cloud.call(Method::POST, &format!("{base}?workloadIdentityPoolId=ci-pool"), Some(&json!({ "displayName": "CI" })));
    for (name, issuer, claim) in [
        ("github", "https://token.actions.githubusercontent.com", "repository"),
        ("gitlab", "https://gitlab.com", "project_path"),
    ] {
        let provider = json!({
            "oidc": { "issuerUri": issuer },
            "attributeMapping": { "google.subject": "assertion.sub", "attribute.repository": format!("assertion.{claim}") },
            "attributeCondition": format!("assertion.{claim} == 'octo/hello'"),
        });
        let url = format!("{base}/ci-pool/providers?workloadIdentityPoolProviderId={name}");
        cloud.call(Method::POST, &url, Some(&provider));
    }
    format!("projects/{number}/locations/global/workloadIdentityPools/ci-pool")
}

/// The variables that a job of this repository has.
fn github(cloud: &LocalCloud, repository: &str) -> Vec<(String, String)> {
    let printed = stdout(&ok(cloud.run(&["emulator", "identity", "github", "--repository", repository])));
    let variables = printed.lines().map(|line| {
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('\'').to_owned())
    });
    variables.collect()
}

/// Whom `auth show` names.
fn identity(command: &mut Command) -> Value {
    let output = ok(command.args(["auth", "show", "--format", "json"]).output().unwrap());
    let line = stdout(&output);
    assert!(!line.contains("local-") && !line.contains("eyJ"), "no token is shown: {line}");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn every_way_leads_to_its_identity() {
    let cloud = LocalCloud::start();
    let pool = make_pool(&cloud);
    make_account(&cloud, CI);
    let members = format!("principalSet://iam.googleapis.com/{pool}/attribute.repository/octo/hello");
    let_speak(&cloud, "roles/iam.workloadIdentityUser", &members, CI);
    make_account(&cloud, OWNER);
    let_speak(&cloud, "roles/iam.serviceAccountTokenCreator", &format!("serviceAccount:{CI}"), OWNER);
    let ci = key(&cloud, CI);
    let (google, _, token) = cloud.parts();
    let home = cloud.dir().join("home");

    let by_key = identity(outside(&cloud).env("GOOGLE_APPLICATION_CREDENTIALS", &ci));
    assert_eq!((&by_key["principal"], &by_key["kind"]), (&json!(CI), &json!("service account key")));
    assert_eq!(by_key["project"], "local");
    assert!(by_key["expires"].as_str().unwrap().ends_with('Z'));
    let text = fs::read_to_string(&ci).unwrap();
    let by_text = identity(outside(&cloud).env("GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON", &text));
    assert_eq!(by_text["principal"], CI);
    assert_eq!(by_text["from"], "the variable GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON");

    let given = identity(outside(&cloud).env("CARRACK_ACCESS_TOKEN", token));
    assert_eq!((&given["kind"], &given["expires"]), (&json!("access token"), &Value::Null));

    let host = google.trim_start_matches("http://");
    let machine = identity(outside(&cloud).env("GCE_METADATA_HOST", host).env("NO_GCE_CHECK", ""));
    assert_eq!(machine["kind"], "machine's service account");
    assert!(machine["principal"].as_str().unwrap().ends_with("-compute@developer.gserviceaccount.com"));

    let chained = identity(outside(&cloud).env("GOOGLE_APPLICATION_CREDENTIALS", &ci).args(["--impersonate", OWNER]));
    assert_eq!((&chained["principal"], &chained["through"]["principal"]), (&json!(OWNER), &json!(CI)));
    let chained =
        identity(outside(&cloud).env("GOOGLE_APPLICATION_CREDENTIALS", &ci).env("CARRACK_IMPERSONATE", OWNER));
    assert_eq!(chained["kind"], "impersonation");

    let provider = format!("{pool}/providers/github");
    let mut job = outside(&cloud);
    job.envs(github(&cloud, "octo/hello")).env("CARRACK_FEDERATION_PROVIDER", &provider);
    let federated = identity(&mut job);
    assert_eq!(federated["kind"], "workload identity federation");
    assert_eq!(federated["principal"], "repo:octo/hello:ref:refs/heads/main");
    let mut job = outside(&cloud);
    job.envs(github(&cloud, "octo/hello")).env("CARRACK_FEDERATION_PROVIDER", &provider);
    let federated = identity(job.env("CARRACK_FEDERATION_ACCOUNT", CI));
    assert_eq!((&federated["principal"], &federated["from"]), (&json!(CI), &json!("GitHub Actions")));

    let audience = format!("https://iam.googleapis.com/{pool}/providers/gitlab");
    let arguments = ["emulator", "identity", "gitlab", "--project", "octo/hello", "--audience", &audience];
    let job_token = stdout(&ok(cloud.run(&arguments)));
    let mut job = outside(&cloud);
    job.env("GITLAB_CI", "true").env("CARRACK_ID_TOKEN_VARIABLE", "OURS").env("OURS", &job_token);
    job.env("CARRACK_FEDERATION_PROVIDER", format!("{pool}/providers/gitlab"));
    let federated = identity(job.env("CARRACK_FEDERATION_ACCOUNT", CI));
    assert_eq!((&federated["principal"], &federated["from"]), (&json!(CI), &json!("the variable OURS")));

    // As gcloud and GitHub's own action write it.
    let variables = github(&cloud, "octo/hello");
    let file = json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{provider}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "url": format!("{}&audience=https://iam.googleapis.com/{provider}", variables[0].1),
            "headers": { "Authorization": format!("Bearer {}", variables[1].1) },
            "format": { "type": "json", "subject_token_field_name": "value" },
        },
        "service_account_impersonation_url":
            format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{CI}:generateAccessToken"),
    });
    let path = home.join("federation.json");
    fs::write(&path, file.to_string()).unwrap();
    let federated = identity(outside(&cloud).env("GOOGLE_APPLICATION_CREDENTIALS", &path));
    assert_eq!((&federated["principal"], &federated["kind"]), (&json!(CI), &json!("impersonation")));
    assert_eq!(federated["through"]["principal"], "repo:octo/hello:ref:refs/heads/main");

    // What gcloud's helper for other programs prints.
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(30);
    let printed = json!({
        "configuration": { "properties": { "core": { "account": "dev@example.com", "project": "shop" } } },
        "credential": { "access_token": token, "token_expiry": format!("{end:.0}") },
    });
    let gcloud = home.join("gcloud");
    fs::write(&gcloud, format!("#!/bin/sh\necho '{printed}'\n")).unwrap();
    fs::set_permissions(&gcloud, fs::Permissions::from_mode(0o755)).unwrap();
    let by_gcloud = identity(&mut outside(&cloud));
    assert_eq!((&by_gcloud["principal"], &by_gcloud["project"]), (&json!("dev@example.com"), &json!("shop")));
    assert_eq!(by_gcloud["from"], "gcloud");
    let told: jiff::Timestamp = by_gcloud["expires"].as_str().unwrap().parse().unwrap();
    assert!(told.duration_until(end).abs() < jiff::SignedDuration::from_secs(5), "{told}, and not {end}");
    fs::write(&gcloud, "#!/bin/sh\necho 'ERROR: (gcloud.config.config-helper) nobody is there' >&2\nexit 1\n").unwrap();
    let nobody = outside(&cloud).args(["auth", "show"]).output().unwrap();
    assert!(stderr(&nobody).contains("; gcloud gives no token: (gcloud.config.config-helper) nobody is there\n"));

    // A login that is where gcloud puts it.
    let adc = home.join(".config/gcloud/application_default_credentials.json");
    fs::create_dir_all(adc.parent().unwrap()).unwrap();
    ok(cloud.run(&["emulator", "login", "me@example.com", "--out", adc.to_str().unwrap()]));
    let login = identity(&mut outside(&cloud));
    assert_eq!((&login["principal"], &login["kind"]), (&json!("me@example.com"), &json!("user's login")));
}

#[test]
fn a_job_of_github_deploys_with_nothing_on_the_disk() {
    let cloud = LocalCloud::start();
    let pool = make_pool(&cloud);
    make_account(&cloud, CI);
    let members = format!("principalSet://iam.googleapis.com/{pool}/attribute.repository/octo/hello");
    let_speak(&cloud, "roles/iam.workloadIdentityUser", &members, CI);
    let roles = ["run.admin", "run.invoker", "artifactregistry.admin", "iam.serviceAccountUser"];
    let roles = roles.map(|role| format!("roles/{role}"));
    grant(&cloud, &format!("serviceAccount:{CI}"), &roles.each_ref().map(String::as_str));
    let federation =
        format!("[targets.prod.federation]\nprovider = \"{pool}/providers/github\"\nservice_account = \"{CI}\"\n");
    let file = project(&cloud.dir().join("app"), "keyless", &format!("{TARGET}{federation}"));
    // Only its deployer may call it.
    let text = fs::read_to_string(&file).unwrap().replace("public = true\n", "");
    fs::write(&file, text).unwrap();

    let run = |arguments: &[&str], repository: &str| {
        let mut job = outside(&cloud);
        job.envs(github(&cloud, repository)).args(arguments).arg("-f").arg(&file).output().unwrap()
    };
    let deployed = ok(run(&["deploy", "--yes"], "octo/hello"));
    assert!(
        stderr(&deployed).contains("answered 200 in "),
        "a private service answers its deployer: {}",
        stderr(&deployed)
    );
    let status = ok(run(&["status", "--probe"], "octo/hello"));
    assert!(stdout(&status).contains(&format!(" by {CI}")), "{}", stdout(&status));
    assert!(stdout(&status).contains("answer    200 in "), "{}", stdout(&status));
    assert!(!cloud.dir().join("home/.config").exists(), "no file of credentials was needed");

    // A plan on the pull request, and precisely that on the main branch: who logs in is found by the file.
    let text = fs::read_to_string(&file).unwrap().replace("[targets.prod]", "[env]\nA = \"1\"\n[targets.prod]");
    fs::write(&file, text).unwrap();
    let plan = cloud.dir().join("plan.json");
    ok(run(&["plan", "--out", plan.to_str().unwrap()], "octo/hello"));
    let mut job = outside(&cloud);
    job.envs(github(&cloud, "octo/hello")).current_dir(file.parent().unwrap());
    let deployed = ok(job.args(["deploy", "--yes", "--plan"]).arg(&plan).output().unwrap());
    assert!(stderr(&deployed).contains("answered 200 in "), "{}", stderr(&deployed));

    let refused = run(&["status"], "mallory/hello");
    assert_snapshot!(shown(&refused, &[(pool.split('/').nth(1).unwrap(), "NUMBER")]), @r#"
    exit 20
    --- stderr
    error: sts.googleapis.com refuses the credentials: The given credential is rejected by the attribute condition (unauthorized_client)
      caused by: they are the token of repo:mallory/hello:ref:refs/heads/main, from GitHub Actions
      request: POST https://sts.googleapis.com/v1/token (answered 400)
      help: see what the provider takes: its issuer, audience and attribute condition
      help: `gcloud iam workload-identity-pools providers describe github --workload-identity-pool=ci-pool --location=global --project=NUMBER`
    "#);
    let mut job = outside(&cloud);
    job.env("GITHUB_ACTIONS", "true").args(["auth", "show", "-f"]).arg(&file);
    // What GitHub reads of it is beside the point here.
    let shown = snapshot(&mut job, &[]);
    let told: Vec<_> = shown.lines().filter(|line| !line.starts_with("::")).collect();
    assert_snapshot!(told.join("\n"), @r"
    exit 20
    --- stderr
    error: GitHub Actions gives this job no token to exchange: ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN are not set
      help: give the job `permissions: { id-token: write, contents: read }`
    ");
}

#[test]
fn a_private_service_is_asked_by_whoever_may_and_else_it_is_said() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "private", TARGET);
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("public = true\n", "")).unwrap();
    ok(cloud.carrack().args(["deploy", "--local", "--yes", "-f"]).arg(&file).output().unwrap());
    grant(&cloud, &format!("serviceAccount:{CI}"), &["roles/run.viewer", "roles/run.invoker"]);
    grant(&cloud, &format!("serviceAccount:{OWNER}"), &["roles/run.viewer"]);
    grant(&cloud, "user:me@example.com", &["roles/run.viewer", "roles/run.invoker"]);
    let login = cloud.dir().join("login.json");
    ok(cloud.run(&["emulator", "login", "me@example.com", "--out", login.to_str().unwrap()]));
    make_account(&cloud, CI);
    let_speak(&cloud, "roles/iam.serviceAccountTokenCreator", "user:me@example.com", CI);
    let probed = |name: &str, value: &Path| {
        let mut command = outside(&cloud);
        if name == "CARRACK_IMPERSONATE" {
            command.env("GOOGLE_APPLICATION_CREDENTIALS", &login);
        }
        ok(command.env(name, value).args(["status", "--probe", "-f"]).arg(&file).output().unwrap())
    };
    const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    for (name, value) in [(VARIABLE, key(&cloud, CI)), ("CARRACK_IMPERSONATE", CI.into())] {
        let output = probed(name, &value);
        assert!(stdout(&output).contains("answer    200 in "), "{}", shown(&output, &[]));
    }
    // The audience of a user's is the program that the login was given to.
    let output = probed(VARIABLE, &login);
    assert!(stderr(&output).contains("it answers 401 to me@example.com, whose ID token it does not take"));
    assert!(!stderr(&output).contains("Verified"), "{}", stderr(&output));
    let output = probed(VARIABLE, &key(&cloud, OWNER));
    assert!(
        stderr(&output).contains(&format!(
            "not probed: the service is private, and it answers 403 to {OWNER}, who may not call it"
        )),
        "{}",
        stderr(&output)
    );
    let (.., token) = cloud.parts();
    let output = probed("CARRACK_ACCESS_TOKEN", Path::new(token));
    assert!(
        stderr(&output).contains(
            "not probed: the service is private, and an access token alone (CARRACK_ACCESS_TOKEN) gives no ID token"
        ),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let shown = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = nobody(home);
        command.envs(variables.iter().copied()).args(["auth", "show"]).args(arguments);
        snapshot(&mut command, &[(home.to_str().unwrap(), "HOME")])
    };
    let write = |name: &str, text: &str| {
        fs::write(home.join(name), text).unwrap();
        home.join(name).to_str().unwrap().to_owned()
    };
    const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    assert_snapshot!(shown(&[], &[]), @r"
    exit 20
    --- stderr
    error: no Google credentials were found
      caused by: no access token and no key file is named by a variable; no federation is set up; `HOME/.config/gcloud/application_default_credentials.json` does not exist; NO_GCE_CHECK says not to look for a metadata server; gcloud is not installed
      help: run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS
      help: to try it without a cloud account: `carrack deploy --local`
    ");
    assert_snapshot!(shown(&[(VARIABLE, "missing.json")], &[]), @r"
    exit 20
    --- stderr
    error: the credentials in `missing.json` (GOOGLE_APPLICATION_CREDENTIALS) cannot be read
      caused by: No such file or directory (os error 2)
      help: name a file that exists by GOOGLE_APPLICATION_CREDENTIALS, or unset it
    ");
    let cut = write("cut.json", "{\n  \"type\": \"service_account\",\n  \"private_key\": \"-----BEGIN PRIV");
    assert_snapshot!(shown(&[(VARIABLE, &cut)], &[]), @r"
    exit 20
    --- stderr
    error: `HOME/cut.json` (GOOGLE_APPLICATION_CREDENTIALS) is not JSON: line 3, column 33
      help: use a credentials file as Google's console or gcloud wrote it
    ");
    let no_key = write("no-key.json", r#"{ "type": "service_account", "client_email": "a@b.c", "private_key": "x" }"#);
    assert_snapshot!(shown(&[(VARIABLE, &no_key)], &[]), @r"
    exit 20
    --- stderr
    error: `HOME/no-key.json` (GOOGLE_APPLICATION_CREDENTIALS) is no valid service account file: `private_key` is no RSA key in PEM (`-----BEGIN PRIVATE KEY-----`)
      help: use the file as it was downloaded: line breaks of the key are `\n` in it
    ");
    let federation = write(
        "federation.json",
        r#"{ "type": "external_account", "audience": "//a", "subject_token_type": "t", "credential_source": { "file": "/nowhere/token" } }"#,
    );
    assert_snapshot!(shown(&[(VARIABLE, &federation)], &[]), @r"
    exit 20
    --- stderr
    error: the federation's token file `/nowhere/token` cannot be read
      caused by: No such file or directory (os error 2)
      help: whatever runs this must write it first; `carrack auth show` tries again
    ");
    assert_snapshot!(shown(&[("CARRACK_FEDERATION_PROVIDER", "projects/my-project/locations/global/workloadIdentityPools/a/providers/b")], &[]), @r"
    exit 2
    --- stderr
    error: CARRACK_FEDERATION_PROVIDER: invalid federation provider `projects/my-project/locations/global/workloadIdentityPools/a/providers/b`; the project must be its number; ask for it: `gcloud projects describe my-project --format='value(projectNumber)'`
    ");
    assert_snapshot!(shown(&[("CARRACK_ACCESS_TOKEN", "t")], &["--impersonate", "ci"]), @r"
    exit 2
    --- stderr
    error: `ci` is no service account to impersonate
      help: name it by its email address: `--impersonate NAME@PROJECT.iam.gserviceaccount.com`
    ");
    let text = format!("[service]\nname = \"hello\"\n{TARGET}federation.provider = \"github\"\n");
    let file = write("carrack.toml", &text);
    assert_snapshot!(shown(&[], &["-f", &file]), @r#"
    exit 10
    --- stderr
    error: invalid federation provider `github`
     --> HOME/carrack.toml:7:23
      |
    7 | federation.provider = "github"
      |                       ^^^^^^^^
      |
      = help: write "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
    "#);
}

#[test]
fn a_token_service_says_no_or_nothing() {
    let cloud = LocalCloud::start();
    let ci = key(&cloud, CI);
    let show = || {
        let mut command = outside(&cloud);
        command.env("GOOGLE_APPLICATION_CREDENTIALS", &ci).args(["auth", "show"]);
        snapshot(&mut command, &[(ci.to_str().unwrap(), "KEY")])
    };
    ok(cloud.run(&["emulator", "faults", "add", "503", "--service", "oauth2"]));
    let shown = show();
    let last: Vec<_> = shown.lines().filter(|line| !line.contains("Retrying")).collect();
    assert_snapshot!(last.join("\n"), @r"
    exit 41
    --- stderr
    error: oauth2.googleapis.com gives no token: Backend Error (internal_failure)
      request: POST https://oauth2.googleapis.com/token (answered 503, 5 attempts)
    ");
    ok(cloud.run(&["emulator", "faults", "clear"]));
    // It was good an hour ago.
    let file = project(&cloud.dir().join("app"), "shop", TARGET);
    let mut status = outside(&cloud);
    status.env("CARRACK_ACCESS_TOKEN", "ya29.old").args(["status", "-f"]).arg(file);
    let shown = snapshot(&mut status, &[]);
    // One of two that are sent together.
    let told: Vec<_> = shown.lines().filter(|line| !line.starts_with("  request: GET ")).collect();
    assert_snapshot!(told.join("\n"), @r"
    exit 20
    --- stderr
    error: Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project
      help: the token in CARRACK_ACCESS_TOKEN is used as it is: put a fresh one there, or unset CARRACK_ACCESS_TOKEN
    ");
    // The key is gone.
    ok(cloud.run(&["emulator", "reset"]));
    assert_snapshot!(show(), @r"
    exit 20
    --- stderr
    error: oauth2.googleapis.com refuses the credentials: Invalid grant: account not found (invalid_grant)
      caused by: they are the key of ci-deploy@local.iam.gserviceaccount.com from `KEY` (GOOGLE_APPLICATION_CREDENTIALS)
      request: POST https://oauth2.googleapis.com/token (answered 400)
      help: see whether the key still exists (`gcloud iam service-accounts keys list --iam-account=ci-deploy@local.iam.gserviceaccount.com`), or make another: `gcloud iam service-accounts keys create key.json --iam-account=ci-deploy@local.iam.gserviceaccount.com`
    ");
}
