//! What was pushed, as Artifact Registry lists it.
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    containers::FakeRuntime,
    harness::{Local, PARENT, TOKEN, last},
};
use crate::{gcp::project, registry::Registry, state::Ingredients};

const REPOSITORIES: &str = "/v1/projects/local/locations/us-central1/repositories";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// With a registry that keeps what it is given, and a repository `apps`.
async fn start(dir: &std::path::Path) -> Local {
    let local = empty(dir);
    make(&local, "apps").await;
    local
}

fn empty(dir: &std::path::Path) -> Local {
    let runtime = Arc::new(FakeRuntime::default());
    let ingredients = Ingredients {
        images: Arc::new(Registry::open(dir.to_owned()).expect("a folder")),
        runtime: Ok(runtime.clone()),
        token: TOKEN.to_owned(),
        latency: std::time::Duration::ZERO,
        shares: crate::gcp::run::group::Shares::at(std::path::Path::new("/nonexistent")),
        instance_idle: std::time::Duration::from_secs(900),
        recorder: None,
    };
    Local::of(ingredients, runtime)
}

async fn make(local: &Local, repository: &str) {
    let body = json!({ "format": "DOCKER", "mode": "MODE_UNSPECIFIED" });
    let answer = local.call(Method::POST, &format!("{REPOSITORIES}?repositoryId={repository}"), Some(body)).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

/// An image without layers; another `created` is another image. Gives its digest.
async fn push(local: &Local, name: &str, tag: &str, created: &str) -> String {
    let base = format!("http://{}/v2/us-central1-docker.pkg.dev/local/{name}", local.running.addresses().registry);
    let config = json!({ "architecture": "amd64", "os": "linux", "created": created, "config": {} }).to_string();
    let hex: String = Sha256::digest(config.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = format!("sha256:{hex}");
    let upload = local.client.post(format!("{base}/blobs/uploads/?digest={digest}")).body(config.clone());
    assert_eq!(upload.send().await.expect("an answer").status(), 201);
    let config =
        json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() });
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] });
    let put = local.client.put(format!("{base}/manifests/{tag}")).header("content-type", MANIFEST);
    let answer = put.body(manifest.to_string()).send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    answer.headers()["docker-content-digest"].to_str().expect("a digest").to_owned()
}

async fn list(local: &Local, path: &str, field: &str) -> Vec<Value> {
    let (status, answer) = local.get(&format!("{REPOSITORIES}/apps/{path}")).await;
    assert_eq!(status, 200, "{answer:#}");
    answer[field].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_listed_with_what_was_pushed() {
    let dir = tempfile::tempdir().expect("a folder");
    let local = start(dir.path()).await;
    make(&local, "apps2").await;
    let first = push(&local, "apps/hello", "v1", "2026-01-02T03:04:05Z").await;
    let second = push(&local, "apps/team/hello", "v1", "2026-01-02T03:04:06Z").await;
    assert_eq!(push(&local, "apps/team/hello", "latest", "2026-01-02T03:04:06Z").await, second);
    push(&local, "apps2/other", "v1", "2026-01-02T03:04:05Z").await;

    let found = list(&local, "dockerImages", "dockerImages").await;
    assert_eq!(found.len(), 2, "{found:#?}");
    let image = &found[0];
    assert_eq!(image["name"], format!("{}/apps/dockerImages/hello@{first}", &REPOSITORIES[4..]));
    assert_eq!(image["uri"], format!("us-central1-docker.pkg.dev/local/apps/hello@{first}"));
    assert_eq!((&image["tags"], &image["mediaType"]), (&json!(["v1"]), &json!(MANIFEST)));
    assert_eq!(image["buildTime"], "2026-01-02T03:04:05.000000Z");
    assert!(image["imageSizeBytes"].as_str().is_some_and(|size| size.parse::<u64>().is_ok_and(|size| size > 200)));
    let nested = &found[1];
    assert_eq!(nested["name"], format!("{}/apps/dockerImages/team%2Fhello@{second}", &REPOSITORIES[4..]));
    assert_eq!(nested["tags"], json!(["latest", "v1"]));
    assert!(nested["updateTime"].as_str() > nested["uploadTime"].as_str(), "the second tag came later: {nested:#}");
    for (id, image) in [(format!("hello@{first}"), image), (format!("team%2Fhello@{second}"), nested)] {
        assert_eq!(local.get(&format!("{REPOSITORIES}/apps/dockerImages/{id}")).await, (200, image.clone()));
    }

    let page = local.get(&format!("{REPOSITORIES}/apps/dockerImages?pageSize=1")).await.1;
    assert_eq!(page["dockerImages"], json!([image]));
    let rest = format!("{REPOSITORIES}/apps/dockerImages?pageToken={}", page["nextPageToken"].as_str().expect("more"));
    assert_eq!(local.get(&rest).await.1, json!({ "dockerImages": [nested] }));
    for path in ["nothing/dockerImages", "nothing/packages", "apps/packages/nothing", "apps/packages/nothing/tags"] {
        let (status, answer) = local.get(&format!("{REPOSITORIES}/{path}")).await;
        assert_eq!((status, &answer["error"]["message"]), (404, &json!("Requested entity was not found.")), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_have_versions_and_tags_which_can_be_deleted() {
    let dir = tempfile::tempdir().expect("a folder");
    let local = start(dir.path()).await;
    let old = push(&local, "apps/team/hello", "v1", "2026-01-02T03:04:05Z").await;
    let new = push(&local, "apps/team/hello", "v2", "2026-01-02T03:04:06Z").await;
    let packages = list(&local, "packages", "packages").await;
    assert_eq!(packages.iter().map(|package| last(&package["name"])).collect::<Vec<_>>(), ["team%2Fhello"]);
    let package = format!("{REPOSITORIES}/apps/packages/team%2Fhello");
    assert_eq!(local.get(&package).await, (200, packages[0].clone()));

    let versions = list(&local, "packages/team%2Fhello/versions?view=FULL", "versions").await;
    assert_eq!(versions.iter().map(|version| last(&version["name"])).collect::<Vec<_>>(), [&old, &new]);
    let version = &versions[0];
    assert_eq!(version["metadata"]["buildTime"], "2026-01-02T03:04:05.000000Z");
    let tag = json!({ "name": format!("{}/tags/v1", &package[4..]), "version": version["name"] });
    assert_eq!(version["relatedTags"], json!([tag]));
    let (_, basic) = local.get(&format!("{package}/versions/{old}")).await;
    assert_eq!((basic.get("relatedTags"), &basic["name"]), (None, &version["name"]));

    let filter = format!("version=\"{}/versions/{old}\"", &package[4..]);
    let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
    assert_eq!(
        list(&local, &format!("packages/team%2Fhello/tags?filter={filter}"), "tags").await,
        std::slice::from_ref(&tag)
    );
    assert_eq!(list(&local, "packages/team%2Fhello/tags", "tags").await.len(), 2);
    assert_eq!(local.get(&format!("{package}/tags?filter=name=x")).await.0, 501);
    assert_eq!(local.get(&format!("{package}/tags/v1")).await, (200, tag));

    let delete = async |path: &str| local.call(Method::DELETE, &format!("{package}{path}"), None).await;
    let (status, answer) = delete(&format!("/versions/{old}")).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")), "{answer:#}");
    assert_eq!(delete("/tags/v1").await, (200, json!({})));
    assert_eq!(delete("/tags/v1").await.0, 404);
    assert_eq!(delete(&format!("/versions/{old}")).await.0, 200);
    assert_eq!(list(&local, "dockerImages", "dockerImages").await.len(), 1);
    assert_eq!(delete("").await.0, 200);
    assert!(list(&local, "packages", "packages").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_goes_with_its_images() {
    let dir = tempfile::tempdir().expect("a folder");
    let local = start(dir.path()).await;
    push(&local, "apps/hello", "v1", "2026-01-02T03:04:05Z").await;
    assert_eq!(local.call(Method::DELETE, &format!("{REPOSITORIES}/apps"), None).await.0, 200);
    make(&local, "apps").await;
    assert!(list(&local, "dockerImages", "dockerImages").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_by_a_projects_number_is_found_by_its_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let (local, number) = (empty(dir.path()), project::number("local"));
    let numbered = REPOSITORIES.replace("local", &number);
    let body = json!({ "format": "DOCKER" });
    let made = local.call(Method::POST, &format!("{numbered}?repositoryId=apps"), Some(body)).await;
    assert_eq!(made.0, 200, "{made:?}");
    push(&local, "apps/hello", "v1", "2026-01-02T03:04:05Z").await;
    for path in [REPOSITORIES, &numbered] {
        let (_, images) = local.get(&format!("{path}/apps/dockerImages")).await;
        assert_eq!(images["dockerImages"].as_array().map(Vec::len), Some(1), "{path} {images:#}");
    }
    assert_eq!(local.get("/v1/projects/local").await.1["projectId"], "local");
    let service = local.deployed("hello").await;
    assert_eq!(local.service("hello").await, service);
    let path = format!("{}/services/hello", PARENT.replace("local", &number));
    assert_eq!(local.get(&path).await, (200, service));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_by_a_number_names_no_project() {
    let local = Local::start();
    let services = format!("{}/services?serviceId=x", PARENT.replace("local", &project::number("local")));
    assert_eq!(local.call(Method::POST, &services, Some(json!({ "template": {} }))).await.0, 400);
    let service = local.deployed("hello").await;
    assert!(service["name"].as_str().is_some_and(|name| name.starts_with("projects/local/")), "{service:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_has_a_number() {
    let local = Local::start();
    let (status, project) = local.get("/v1/projects/shop").await;
    assert_eq!((status, &project["projectId"], &project["lifecycleState"]), (200, &json!("shop"), &json!("ACTIVE")));
    let number = project["projectNumber"].as_str().expect("a number");
    assert_eq!(local.get(&format!("/v1/projects/{number}")).await.1["projectId"], "shop");
}
