//! What is printed, offline.
use std::collections::BTreeSet;

use super::*;
use crate::support::carrack;

fn show(dir: &Path, text: &str, arguments: &[&str]) -> String {
    let file = dir.join("carrack.toml");
    fs::write(&file, text).unwrap();
    stdout(&ok(carrack(dir).args(["permissions", "show"]).args(arguments).arg("-f").arg(&file).output().unwrap()))
}

const FILE: &str = "[service]\nname = \"shop\"\n[image]\nref = \"us-central1-docker.pkg.dev/p/apps/shop@sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n[targets.prod]\nprovider = \"cloud-run\"\nproject = \"p\"\nregion = \"us-central1\"\nservice_account = \"run@p.iam.gserviceaccount.com\"\n";

#[test]
fn a_table_for_people() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(show(dir.path(), FILE, &["--for", "image"]), @r#"
    To deploy a new image, and nothing else:

    The deployer needs
      project `p`                                      run.operations.get                               sees how the change ends
      service `shop`                                   run.services.get                                 reads the live service
      service `shop`                                   run.services.update                              changes the service
      service account `run@p.iam.gserviceaccount.com`  iam.serviceAccounts.actAs                        lets the service run as this account
      repository `us-central1-docker.pkg.dev/p/apps`   artifactregistry.repositories.downloadArtifacts  deploys an image that is in it

    The deployer needs only at times
      project `p`     logging.logEntries.list    reads a failed revision's last lines; when a revision does not start, to say why
      service `shop`  run.revisions.get          reads a failed revision; when a revision does not start, to say why
      service `shop`  run.routes.invoke          asks the service itself, when it is private; without it that it answers is not seen
      service `shop`  run.services.getIamPolicy  reads who may call the service; without it whether the service is public is unknown, and stays as it is

    The least roles that the cloud has ready, and what each gives besides
      project `p`                                      roles/run.developer            may make, change, delete and call every service, job and worker pool, and open a shell in them
      service account `run@p.iam.gserviceaccount.com`  roles/iam.serviceAccountUser   may see the account
      repository `us-central1-docker.pkg.dev/p/apps`   roles/artifactregistry.reader  may list what is in it, of every format
    "#);
}

#[test]
fn a_role_commands_and_terraform() {
    let dir = tempfile::tempdir().unwrap();
    let member = ["--member", "serviceAccount:ci@p.iam.gserviceaccount.com"];
    let show = |form: &str| {
        show(
            dir.path(),
            FILE,
            &[["--for", "image", "--as", form], [member[0], member[1], "-q", "--color=never"]].concat(),
        )
    };
    insta::assert_snapshot!(show("yaml"), @r#"
    # gcloud iam roles create carrackImage --project p --file role.yaml
    # gcloud projects add-iam-policy-binding p --member serviceAccount:ci@p.iam.gserviceaccount.com --role projects/p/roles/carrackImage --condition None
    title: "Carrack: image"
    stage: GA
    includedPermissions:
    - run.operations.get
    - run.services.get
    - run.services.update
    #
    # Not in a role of the project, which would give it for all of their kind:
    # service account `run@p.iam.gserviceaccount.com` of the deployer: iam.serviceAccounts.actAs
    #   gcloud iam service-accounts add-iam-policy-binding run@p.iam.gserviceaccount.com --project p --member serviceAccount:ci@p.iam.gserviceaccount.com --role roles/iam.serviceAccountUser --condition None
    # repository `us-central1-docker.pkg.dev/p/apps` of the deployer: artifactregistry.repositories.downloadArtifacts
    #   gcloud artifacts repositories add-iam-policy-binding apps --location us-central1 --project p --member serviceAccount:ci@p.iam.gserviceaccount.com --role roles/artifactregistry.reader --condition None
    "#);
    insta::assert_snapshot!(show("gcloud"), @r#"
    # project `p` of the deployer; once more with `update` in place of `create`
    gcloud iam roles create carrackImage --project p --title 'Carrack: image' --stage GA --permissions run.operations.get,run.services.get,run.services.update
    gcloud projects add-iam-policy-binding p --member serviceAccount:ci@p.iam.gserviceaccount.com --role projects/p/roles/carrackImage --condition None
    # service account `run@p.iam.gserviceaccount.com` of the deployer: iam.serviceAccounts.actAs
    gcloud iam service-accounts add-iam-policy-binding run@p.iam.gserviceaccount.com --project p --member serviceAccount:ci@p.iam.gserviceaccount.com --role roles/iam.serviceAccountUser --condition None
    # repository `us-central1-docker.pkg.dev/p/apps` of the deployer: artifactregistry.repositories.downloadArtifacts
    gcloud artifacts repositories add-iam-policy-binding apps --location us-central1 --project p --member serviceAccount:ci@p.iam.gserviceaccount.com --role roles/artifactregistry.reader --condition None
    "#);
    insta::assert_snapshot!(show("terraform"), @r#"
    resource "google_project_iam_custom_role" "carrack_image" {
      project = "p"
      role_id = "carrackImage"
      title   = "Carrack: image"

      permissions = [
        "run.operations.get",
        "run.services.get",
        "run.services.update",
      ]
    }

    resource "google_project_iam_member" "carrack_image" {
      project = "p"
      role    = google_project_iam_custom_role.carrack_image.name
      member  = "serviceAccount:ci@p.iam.gserviceaccount.com"
    }

    resource "google_service_account_iam_member" "carrack_deployer_iam_serviceaccountuser_run_p_iam_gserviceaccount_com" {
      service_account_id = "projects/p/serviceAccounts/run@p.iam.gserviceaccount.com"
      role               = "roles/iam.serviceAccountUser"
      member             = "serviceAccount:ci@p.iam.gserviceaccount.com"
    }

    resource "google_artifact_registry_repository_iam_member" "carrack_deployer_artifactregistry_reader_apps" {
      project    = "p"
      location   = "us-central1"
      repository = "apps"
      role       = "roles/artifactregistry.reader"
      member     = "serviceAccount:ci@p.iam.gserviceaccount.com"
    }
    "#);
}

#[test]
fn what_the_file_says_decides() {
    let dir = tempfile::tempdir().unwrap();
    let names = |text: &str, task: &str| -> BTreeSet<String> {
        let shown: Value = serde_json::from_str(&show(dir.path(), text, &["--for", task, "--as", "json"])).unwrap();
        let needs = shown["needs"].as_array().unwrap().iter().filter(|need| need.get("only").is_none());
        needs.map(|need| need["permission"].as_str().unwrap().to_owned()).collect()
    };
    let more =
        |text: &str, task: &str| -> Vec<String> { names(text, task).difference(&names(FILE, task)).cloned().collect() };
    let public = FILE.replacen("name = \"shop\"\n", "name = \"shop\"\npublic = true\n", 1);
    assert_eq!(more(&public, "first"), ["run.services.setIamPolicy"]);
    assert_eq!(more(&public, "plan"), ["run.services.getIamPolicy"]);
    let secret = format!("{FILE}[secrets]\nDB_URL = \"db-url\"\n");
    assert_eq!(more(&secret, "image"), ["secretmanager.versions.access", "secretmanager.versions.get"]);
    let built = FILE.replace("ref = \"us", "name = \"shop\"\n#");
    let built = format!(
        "{built}[image.build]\nbase = \"scratch\"\nfiles = [{{ from = \"app\", to = \"/app\" }}]\nentrypoint = [\"/app\"]\n"
    );
    assert_eq!(more(&built, "change"), ["artifactregistry.repositories.uploadArtifacts"]);
    assert!(!names(FILE, "image").contains("run.services.create"));
}

#[test]
fn an_image_of_another_project_needs_the_clouds_own_account() {
    let dir = tempfile::tempdir().unwrap();
    let text = FILE.replace("pkg.dev/p/", "pkg.dev/images/");
    let shown = show(dir.path(), &text, &["--for", "image", "--as", "gcloud"]);
    let expected = "gcloud artifacts repositories add-iam-policy-binding apps --location us-central1 --project images --member serviceAccount:service-PROJECT_NUMBER@serverless-robot-prod.iam.gserviceaccount.com --role roles/artifactregistry.reader --condition None";
    assert!(shown.lines().any(|line| line == expected), "{shown}");
}

#[test]
fn a_task_that_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let output = carrack(dir.path()).args(["permissions", "show", "--for", "everything"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("[possible values: deploy, first, change, image,"), "{}", stderr(&output));
}
