//! `carrack ci`: pipelines, and what lets them in.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use insta::assert_snapshot;

use crate::{
    documented::{commands, run},
    run::{ok, shown, snapshot, stdout},
    support::{LocalCloud, ROOT, carrack},
};

const TARGET: &str = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"us-central1\"\n";
const BUILD: &str = "[image.build]\nfiles = [{ from = \"app\", to = \"/app\" }]\nentrypoint = [\"/app\"]\n";

/// A folder with a carrack.toml of these sections.
fn folder(sections: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("carrack.toml"), format!("[service]\nname = \"shop\"\n{sections}")).unwrap();
    dir
}

fn ci(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = carrack(dir);
    command.current_dir(dir).arg("ci").args(arguments);
    command
}

fn printed(dir: &Path, arguments: &[&str]) -> String {
    stdout(&ok(ci(dir, arguments).output().unwrap()))
}

/// A copy of examples/ci, in a folder of its own.
fn example() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("ci");
    let from = Path::new(ROOT).join("examples/ci");
    for entry in walkdir::WalkDir::new(&from) {
        let entry = entry.unwrap();
        let to = copy.join(entry.path().strip_prefix(&from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    (dir, copy)
}

#[test]
fn the_example_has_what_is_written_today() {
    let (_dir, copy) = example();
    let cloud = LocalCloud::start();
    let written = ["setup-github.sh", "github.yml", "gitlab.yml", "carrack-ci.sh"];
    for file in written {
        fs::remove_file(copy.join(file)).unwrap();
    }
    let lines = commands("examples/ci/README.md");
    let (with_key, keyless) = lines.split_at(2);
    for line in keyless {
        ok(run(&cloud, line, &copy));
    }
    for file in written {
        let of_example = fs::read_to_string(Path::new(ROOT).join("examples/ci").join(file)).unwrap();
        assert_eq!(fs::read_to_string(copy.join(file)).unwrap(), of_example, "{file}");
    }
    // What they share is in one shell.
    let output = ok(run(&cloud, &format!("COMMIT=c0ffee; {}", with_key.join("; ")), &copy));
    assert!(stdout(&output).starts_with("http://127.0.0.1:"), "{}", shown(&output, &[]));
}

#[test]
fn the_pages() {
    let cloud = LocalCloud::start();
    let dir = folder(&format!("{BUILD}{TARGET}"));
    for line in commands("docs/ci.md").iter().chain(&commands("docs/permissions-map.md")) {
        ok(run(&cloud, line, dir.path()));
    }
    for file in ["setup.sh", ".github/workflows/carrack.yml", "carrack-ci.sh"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    // The job for a comment takes the artifact as the pipeline does.
    let page = fs::read_to_string(Path::new(ROOT).join("docs/ci.md")).unwrap();
    let pipeline = fs::read_to_string(dir.path().join(".github/workflows/carrack.yml")).unwrap();
    let uses = page.lines().find_map(|line| line.trim().strip_prefix("- uses: ")).unwrap();
    assert!(pipeline.contains(uses), "{uses}");
}

#[test]
fn every_script_is_one() {
    let (_dir, copy) = example();
    for script in ["before/build.sh", "before/deploy.sh", "carrack-ci.sh", "setup-github.sh"] {
        ok(Command::new("sh").arg("-n").arg(copy.join(script)).output().unwrap());
    }
    let output = Command::new(copy.join("carrack-ci.sh")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "without a word it says how it is used");
}

#[test]
fn a_script_of_a_file_below_the_root() {
    let dir = folder(TARGET);
    fs::create_dir(dir.path().join("my shop")).unwrap();
    fs::rename(dir.path().join("carrack.toml"), dir.path().join("my shop/carrack.toml")).unwrap();
    let text = printed(dir.path(), &["init", "script", "--print", "--branch", "trunk", "-f", "my shop/carrack.toml"]);
    let code: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_snapshot!(code.join("\n"), @r#"
    set -eu
    cd "$(dirname "$0")"

    case ${1-} in
      plan)
        carrack plan -f 'my shop/carrack.toml' --to prod --out carrack-plan.json --summary carrack-plan.md
        ;;
      deploy)
        carrack deploy --plan carrack-plan.json
        ;;
      *)
        echo "usage: $0 plan|deploy" >&2
        exit 2
        ;;
    esac
    "#);
    assert!(text.contains("on the branch trunk"));
}

#[test]
fn what_is_there_stays() {
    let dir = folder(&format!("{BUILD}{TARGET}"));
    let path = ".github/workflows/carrack.yml";
    assert_snapshot!(snapshot(&mut ci(dir.path(), &["init", "github"]), &[]), @"
    exit 0
    --- stderr
           Wrote .github/workflows/carrack.yml; next: `carrack ci setup github --repository OWNER/NAME`
    ");
    let text = fs::read_to_string(dir.path().join(path)).unwrap();
    fs::write(dir.path().join(path), "mine").unwrap();
    assert_snapshot!(snapshot(&mut ci(dir.path(), &["init", "github"]), &[]), @"
    exit 2
    --- stderr
    error: cannot write `.github/workflows/carrack.yml`
      caused by: File exists (os error 17)
      help: `--yes` writes over it, `--out FILE` elsewhere, `--print` nowhere
    ");
    assert_eq!(fs::read_to_string(dir.path().join(path)).unwrap(), "mine");
    ok(ci(dir.path(), &["init", "github", "--yes", "--quiet"]).output().unwrap());
    assert_eq!(fs::read_to_string(dir.path().join(path)).unwrap(), text);
    assert_eq!(printed(dir.path(), &["init", "github", "--print"]), text.trim_end());
    ok(ci(dir.path(), &["init", "script", "--out", "a/b.sh"]).output().unwrap());
    let output = Command::new(dir.path().join("a/b.sh")).arg("nothing").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "it can be executed");
}

#[test]
fn every_job_has_one_account_and_one_way_to_the_program() {
    let provider = "projects/1/locations/global/workloadIdentityPools/shop/providers/github";
    let dir = folder(&format!("{BUILD}{TARGET}"));
    let arguments = ["init", "github", "--print", "--name", "shop", "--provider", provider, "--install", "one\ntwo"];
    let text = printed(dir.path(), &arguments);
    assert!(text.contains(&format!("CARRACK_FEDERATION_PROVIDER: \"{provider}\"")), "{text}");
    assert_eq!(text.matches("        run: |\n          one\n          two\n").count(), 2, "{text}");
    assert!(text.contains("\"shop-plan@my-project.iam.gserviceaccount.com\""), "{text}");
    assert!(text.contains("\"shop-deploy@my-project.iam.gserviceaccount.com\""), "{text}");
    assert!(!text.contains("CARRACK_GIT") && !text.contains('@'.to_string().repeat(2).as_str()), "{text}");

    // The file's own provider does as well.
    let dir = folder(&format!("{BUILD}{TARGET}federation = {{ provider = \"{provider}\" }}\n"));
    for (kind, place) in
        [("github", format!("\"{provider}\"")), ("gitlab", format!("\"https://iam.googleapis.com/{provider}\""))]
    {
        let text = printed(dir.path(), &["init", kind, "--print"]);
        assert!(text.contains(&place) && !text.contains("vars.CARRACK_FEDERATION_PROVIDER"), "{text}");
    }
}

#[test]
fn an_image_made_elsewhere_is_not_pushed() {
    let dir = folder(&format!("[image]\nref = \"docker.io/library/shop:1\"\n{TARGET}"));
    for kind in ["github", "gitlab", "script"] {
        let text = printed(dir.path(), &["init", kind, "--print"]);
        assert!(!text.contains("carrack push") && text.contains("carrack plan --to prod --out"), "{text}");
    }
    let text = printed(dir.path(), &["setup", "github", "--repository", "me/shop"]);
    assert!(!text.contains("gcloud artifacts"), "{text}");
}

#[test]
fn the_set_up_gives_what_the_file_needs() {
    let plain = folder(&format!("{BUILD}{TARGET}"));
    let text =
        printed(plain.path(), &["setup", "gitlab", "--repository", "g/s/shop", "--issuer", "https://git.example"]);
    assert!(text.contains("--issuer-uri https://git.example \\\n"), "{text}");
    assert!(text.contains("--attribute-condition \"assertion.project_path == 'g/s/shop'\""), "{text}");
    assert!(
        text.contains("\"principalSet://iam.googleapis.com/$pool/attribute.deploy/g/s/shop:branch:main:true:push\"")
    );
    let deploy = "assertion.project_path + ':' + assertion.ref_type + ':' + assertion.ref + ':' + assertion.ref_protected + ':' + assertion.pipeline_source";
    assert!(text.contains(&format!(",attribute.deploy={deploy}\" \\\n")), "{text}");
    let terraform = printed(plain.path(), &["setup", "gitlab", "--repository", "g/s/shop", "--as", "terraform"]);
    assert!(terraform.contains(&format!("    \"attribute.deploy\" = \"{deploy}\"\n")), "{terraform}");
    assert!(terraform.contains("/attribute.deploy/g/s/shop:branch:main:true:push\"\n"), "{terraform}");
    assert!(!text.contains("/subject/") && !terraform.contains("/subject/"), "`sub` is not the branch's alone");
    assert!(text.contains("$number-compute@developer.gserviceaccount.com"), "{text}");
    assert!(
        !text.contains("setIamPolicy") && !text.contains("gcloud secrets") && !text.contains("roles/run."),
        "{text}"
    );

    let rich = folder(&format!(
        "public = true\n{BUILD}[secrets]\nKEY = {{ secret = \"api-key\", version = \"1\" }}\n{TARGET}service_account = \"run@my-project.iam.gserviceaccount.com\"\n"
    ));
    let text = printed(rich.path(), &["setup", "github", "--repository", "me/shop", "--branch", "trunk"]);
    assert!(text.contains("me/shop/.github/workflows/carrack.yml@refs/heads/trunk"), "{text}");
    assert!(text.contains("run.services.setIamPolicy"), "{text}");
    assert!(text.contains(
        "gcloud secrets add-iam-policy-binding api-key --project my-project --member serviceAccount:run@my-project"
    ));
    assert!(!text.contains("PROJECT_NUMBER") && !text.contains("compute@developer"), "{text}");

    let text = printed(rich.path(), &["setup", "github", "--repository", "me/shop", "--as", "terraform"]);
    assert!(text.contains("\"attribute.workflow_ref\" = \"assertion.workflow_ref\""), "{text}");
    assert!(text.contains("secret_id = \"api-key\"") && !text.contains("PROJECT_NUMBER"), "{text}");
    let names: Vec<_> = text.lines().filter(|line| line.starts_with("resource ")).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len(), "each resource has a name of its own: {names:?}");
}

#[test]
fn what_is_of_another_project_is_left_to_its_owner() {
    let image = "[image]\nref = \"us-docker.pkg.dev/cloudrun/container/hello:latest\"\n";
    let dir = folder(&format!("{image}{TARGET}"));
    let text = printed(dir.path(), &["setup", "github", "--repository", "me/shop"]);
    assert!(!text.contains("repositories create"), "{text}");
    let of_other: Vec<_> = text.lines().filter(|line| line.contains("--project cloudrun")).collect();
    assert!(!of_other.is_empty() && of_other.iter().all(|line| line.starts_with("# gcloud artifacts ")), "{text}");
    let text = printed(dir.path(), &["setup", "github", "--repository", "me/shop", "--as", "terraform"]);
    assert!(!text.contains("\"google_artifact_registry_repository\""), "{text}");
    let of_other: Vec<_> = text.lines().filter(|line| line.contains("cloudrun")).collect();
    assert!(!of_other.is_empty() && of_other.iter().all(|line| line.starts_with('#')), "{text}");

    let dir = folder(&format!("{BUILD}{TARGET}service_account = \"run@other-project.iam.gserviceaccount.com\"\n"));
    let text = printed(dir.path(), &["setup", "github", "--repository", "me/shop", "--as", "terraform"]);
    let id = "service_account_id = \"projects/-/serviceAccounts/run@other-project.iam.gserviceaccount.com\"";
    assert!(text.contains(id), "{text}");
}

#[test]
fn what_cannot_be_a_pipeline_is_refused() {
    let no_target = folder(BUILD);
    assert_snapshot!(snapshot(&mut ci(no_target.path(), &["init", "github"]), &[]), @"
    exit 2
    --- stderr
    error: the file names no target
      help: add [targets.prod] with provider, project and region
      help: or deploy to the local cloud, with no account: `carrack deploy --local`
    ");
    let dir = folder(TARGET);
    fs::create_dir(dir.path().join("it's ${{ x }}")).unwrap();
    fs::copy(dir.path().join("carrack.toml"), dir.path().join("it's ${{ x }}/carrack.toml")).unwrap();
    let refused = |arguments: &[&str]| {
        let output = ci(dir.path(), arguments).output().unwrap();
        let text = shown(&output, &[]);
        assert!(text.starts_with("exit 2\n"), "{text}");
        text.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&text).to_owned()
    };
    let refusals = [
        refused(&["init", "github", "--name", "Shop"]),
        refused(&["init", "github", "--branch", "a b"]),
        refused(&["init", "github", "--provider", "github"]),
        refused(&["init", "github", "--print", "-f", dir.path().join("carrack.toml").to_str().unwrap()]),
        refused(&["init", "github", "--print", "-f", "it's ${{ x }}/carrack.toml"]),
        refused(&["setup", "github", "--repository", "shop"]),
        refused(&["setup", "gitlab", "--repository", "g/shop", "--issuer", "http://git.example"]),
        refused(&["setup", "github", "--repository", "me/sh'op"]),
    ];
    assert_snapshot!(refusals.join("\n"), @r#"
    `Shop` cannot be the name of a pool and its accounts
    `a b` is no name of a branch that a pipeline can have
    --provider: invalid federation provider `github`; write "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
    a pipeline runs elsewhere, where this path does not lead to the file
    a pipeline would read this path as something else
    `shop` is no repository
    `http://git.example` is no address that signs tokens
    `me/sh'op` is no repository
    "#);
    assert!(!dir.path().join(".github").exists());
}

#[test]
fn json_has_the_text() {
    let dir = folder(TARGET);
    let text = printed(dir.path(), &["init", "script", "--print", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(report["text"].as_str().unwrap().starts_with("#!/bin/sh\n"), "{report}");
    let text = printed(dir.path(), &["init", "script", "--format", "json"]);
    assert!(text.contains(r#""file":"carrack-ci.sh""#), "{text}");
}
