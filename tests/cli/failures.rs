//! Why a deploy failed: each rule from a container that really is broken in that way.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Output,
};

use insta::assert_snapshot;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    run::{ok, shown, stdout},
    support::{LocalCloud, app, project},
};

/// A probe that gives up soon; the cloud's own waits four minutes.
const SOON: &str = "[health]\nstartup = { tcp = true, period = \"1s\", timeout = \"1s\", failures = 1 }\n";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// From the error on, without what differs from run to run.
fn told(output: &Output, file: &Path) -> String {
    let text = shown(output, &[(&file.display().to_string(), "FILE")]);
    let (exit, _) = text.split_once('\n').unwrap();
    let error = &text[text.find("error").unwrap_or_else(|| panic!("an error: {text}"))..];
    let words = error.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "-:@".contains(c)));
    let words = words.map(|word| {
        let end = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || "-:@".contains(c)));
        let rest = &word[end.len()..];
        match end {
            _ if end.starts_with("shop-0000") => format!("shop-REVISION{rest}"),
            _ if end.contains("@sha256:") => format!("{}@DIGEST{rest}", end.split('@').next().unwrap()),
            _ if end.starts_with("serviceAccount:service-") => {
                format!("serviceAccount:service-NUMBER@serverless-robot-prod{rest}")
            }
            _ if end.starts_with("service-") && end.contains('@') => {
                format!("service-NUMBER@serverless-robot-prod{rest}")
            }
            _ => word.to_owned(),
        }
    });
    format!("{exit}\n{}", words.collect::<String>())
}

/// A first deploy of the test program, with this in its file.
fn deploy(rest: &str) -> String {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", rest);
    told(&cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap(), &file)
}

/// A first deploy of an image.
fn deploy_image(cloud: &LocalCloud, image: &str) -> String {
    let file = project(&cloud.dir().join("app"), "shop", SOON);
    told(&cloud.carrack().args(["deploy", "--local", "--image", image, "-f"]).arg(&file).output().unwrap(), &file)
}

#[test]
fn wrong_port() {
    assert_snapshot!(deploy(&format!("{SOON}[env]\nLISTEN_PORT = \"3000\"\n")), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container failed the configured startup probe checks
      cause[wrong-port]: the program listens on port 3000, and requests go to port 8080
      fix: write `port = 3000` under [service]
      then: carrack deploy --local -f FILE
      last lines of its log:
        | listening on port 3000
        | STARTUP TCP probe failed 1 time consecutively for container "shop-1" on port 8080. The instance was not started.
        | Connection failed with status DEADLINE_EXCEEDED.
    "#);
}

#[test]
fn loopback_only() {
    assert_snapshot!(deploy(&format!("{SOON}[env]\nLISTEN = \"127.0.0.1\"\n")), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container failed the configured startup probe checks
      cause[loopback-only]: the program listens on 127.0.0.1:8080 alone, which nothing outside of the container reaches
      fix: listen on 0.0.0.0:8080, not on 127.0.0.1
      then: carrack deploy --local -f FILE
      last lines of its log:
        | listening on 127.0.0.1:8080
        | STARTUP TCP probe failed 1 time consecutively for container "shop-1" on port 8080. The instance was not started.
        | Connection failed with status DEADLINE_EXCEEDED.
    "#);
}

#[test]
fn not_listening() {
    assert_snapshot!(deploy(&format!("{SOON}[env]\nLISTEN_PORT = \"3000\"\nQUIET = \"1\"\n")), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container failed the configured startup probe checks
      cause[not-listening]: nothing answers on port 8080: the program listens on another port, on loopback alone, or too late, and its log does not say which
      fix: listen on 0.0.0.0 and on the port that the variable PORT (8080) names
      then: carrack deploy --local -f FILE
      last lines of its log:
        | starting
        | STARTUP TCP probe failed 1 time consecutively for container "shop-1" on port 8080. The instance was not started.
        | Connection failed with status DEADLINE_EXCEEDED.
    "#);
}

#[test]
fn exit_at_start() {
    assert_snapshot!(deploy("[env]\nEXIT = \"3\"\n"), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout
      cause[exit-at-start]: the program ended with exit code 3 before it listened on port 8080
      fix: mend what its log says: `fatal: no database at db.example:5432`
      then: carrack deploy --local -f FILE
      last lines of its log:
        | reading the configuration
        | fatal: no database at db.example:5432
        | Container called exit(3).
        | Default STARTUP TCP probe failed 1 time consecutively for container "shop-1" on port 8080. The instance was not started.
        | Connection failed with status CANCELLED.
    "#);
}

#[test]
fn startup_probe() {
    let health = "[health]\nstartup = { http = \"/healthz\", period = \"1s\", timeout = \"1s\", failures = 2 }\n";
    assert_snapshot!(deploy(&format!("{health}[env]\nSTATUS = \"500 Oh\"\n")), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container failed the configured startup probe checks
      cause[startup-probe]: the startup probe asked for `/healthz` on port 8080 2 times and got no status from 200 to 399
      fix: answer 200 at `/healthz`, or write the path that does under [health]: `startup = { http = "/PATH" }`
      then: carrack deploy --local -f FILE
      last lines of its log:
        | listening on port 8080
        | STARTUP HTTP probe failed 1 time consecutively for container "shop-1" on port 8080 path "/healthz".
        | STARTUP HTTP probe failed 2 times consecutively for container "shop-1" on port 8080 path "/healthz". The instance was not started.
    "#);
}

#[test]
fn out_of_memory() {
    // Where no limit can be set the container runs without one, which no test can change.
    if !limits_memory() {
        return;
    }
    assert_snapshot!(deploy("[resources]\nmemory = \"128MiB\"\n[env]\nEAT = \"300\"\n"), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container ran out of memory
      cause[out-of-memory]: the container used 129MiB, more than its limit of 128MiB
      fix: write `memory = "256MiB"` under [resources]
      then: carrack deploy --local -f FILE
      last lines of its log:
        | loading the model
        | Memory limit of 128 MiB exceeded with 129 MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits
        | Container terminated on signal 9.
        | Default STARTUP TCP probe failed 1 time consecutively for container "shop-1" on port 8080. The instance was not started.
        | Connection failed with status CANCELLED.
    "#);
}

/// Whether this user may make control groups, as the local cloud will; of either version.
fn limits_memory() -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path =
        |mark: &str| groups.lines().find_map(|line| Some(line.split_once(mark)?.1.trim_start_matches('/').to_owned()));
    let root = Path::new("/sys/fs/cgroup");
    let place = match (path(":memory:"), path("0::")) {
        (Some(own), _) => root.join("memory").join(own),
        (None, Some(own)) if own.is_empty() => root.to_owned(),
        (None, Some(own)) => root.join(own).parent().unwrap().to_owned(),
        (None, None) => return false,
    };
    let folder = place.join(format!("carrack-test-{}", std::process::id()));
    fs::create_dir(&folder).and_then(|()| fs::remove_dir(&folder)).is_ok()
}

#[test]
fn image_not_found() {
    let cloud = LocalCloud::start();
    let name = "us-central1-docker.pkg.dev/local/carrack/nothing";
    assert_snapshot!(deploy_image(&cloud, &format!("{name}@sha256:{}", "0".repeat(64))), @"
    exit 50
    error: revision `shop-REVISION`: Image 'us-central1-docker.pkg.dev/local/carrack/nothing@DIGEST' not found
      cause[image-not-found]: the registry does not have `us-central1-docker.pkg.dev/local/carrack/nothing@DIGEST`
      fix: gcloud artifacts docker images list us-central1-docker.pkg.dev/local/carrack/nothing --include-tags
      then: write one of those under [image], or name it with `--image`
    ");
    // A tag is looked up before anything is deployed.
    assert_snapshot!(deploy_image(&cloud, &format!("{name}:v1")), @"
    exit 30
    error[image-not-found]: the registry does not have `us-central1-docker.pkg.dev/local/carrack/nothing:v1`
      caused by: HEAD https://us-central1-docker.pkg.dev/v2/local/carrack/nothing/manifests/v1 answered 403 Forbidden
      fix: push it first (`carrack push`), or write one that is there under [image]
      then: carrack deploy --local --image us-central1-docker.pkg.dev/local/carrack/nothing:v1 -f FILE
    ");
}

#[test]
fn image_not_readable_and_readable_after_the_fix() {
    let cloud = LocalCloud::start();
    let other = "[targets.other]\nprovider = \"cloud-run\"\nproject = \"other\"\nregion = \"us-central1\"\n";
    let file = project(&cloud.dir().join("other"), "shop", other);
    let image = stdout(&ok(cloud.carrack().args(["push", "--local", "--quiet", "-f"]).arg(&file).output().unwrap()));
    assert!(image.starts_with("us-central1-docker.pkg.dev/other/carrack/shop@"), "{image}");
    let text = deploy_image(&cloud, &image);
    assert_snapshot!(text, @r#"
    exit 21
    error: revision `shop-REVISION`: Google Cloud Run Service Agent service-NUMBER@serverless-robot-prod.iam.gserviceaccount.com must have permission to read the image, us-central1-docker.pkg.dev/other/carrack/shop@DIGEST
      cause[image-not-readable]: Cloud Run's service agent may not read `us-central1-docker.pkg.dev/other/carrack/shop@DIGEST`
      fix: gcloud artifacts repositories add-iam-policy-binding carrack --project=other --location=us-central1 --member="serviceAccount:service-NUMBER@serverless-robot-prod.iam.gserviceaccount.com" --role=roles/artifactregistry.reader
      then: carrack deploy --local --image us-central1-docker.pkg.dev/other/carrack/shop@DIGEST -f FILE
    "#);

    // What the command does, by the call that it makes.
    let file = project(&cloud.dir().join("app"), "shop", SOON);
    let deploy = || cloud.carrack().args(["deploy", "--local", "--image", &image, "-f"]).arg(&file).output().unwrap();
    let refused = shown(&deploy(), &[]);
    let member = refused.split("--member=\"").nth(1).unwrap().split('"').next().unwrap();
    let policy =
        json!({ "policy": { "bindings": [{ "role": "roles/artifactregistry.reader", "members": [member] }] } });
    let path = "/v1/projects/other/locations/us-central1/repositories/carrack:setIamPolicy";
    let state: Value = serde_json::from_slice(&fs::read(cloud.dir().join("emulator.json")).unwrap()).unwrap();
    let (google, token) = (state["addresses"]["google"].as_str().unwrap(), state["token"].as_str().unwrap());
    let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
    assert!(http(google, "POST", path, &headers, policy.to_string().as_bytes()).starts_with("HTTP/1.1 200"));
    ok(deploy());
}

#[test]
fn wrong_architecture() {
    let cloud = LocalCloud::start();
    let config = json!({ "os": "linux", "architecture": "s390x", "rootfs": { "type": "layers", "diff_ids": [] } });
    let image = push(&cloud, "local/carrack/mainframe", &config, &[]);
    assert_snapshot!(deploy_image(&cloud, &image), @"
    exit 50
    error: revision `shop-REVISION`: Container manifest type 'application/vnd.oci.image.manifest.v1+json' must support amd64/linux
      cause[wrong-architecture]: `us-central1-docker.pkg.dev/local/carrack/mainframe@DIGEST` has no program for linux/amd64
      fix: docker buildx build --platform linux/amd64 --tag us-central1-docker.pkg.dev/local/carrack/mainframe --push .
      then: deploy what that pushed: write it under [image], or name it with `--image`
    ");
}

#[test]
fn wrong_port_that_the_image_alone_tells() {
    let cloud = LocalCloud::start();
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name(app(), "app").unwrap();
    let layer = layer.into_inner().unwrap();
    let config = json!({
        "os": "linux", "architecture": "amd64",
        "config": { "Entrypoint": ["/app"], "ExposedPorts": { "3000/tcp": {} }, "Env": ["LISTEN_PORT=3000", "QUIET=1"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let image = push(&cloud, "local/carrack/shop", &config, &[layer]);
    // It is pulled by the cloud's name for it, and so from a repository that is there.
    let file = project(&cloud.dir().join("first"), "first", "");
    ok(cloud.carrack().args(["push", "--local", "-f"]).arg(&file).output().unwrap());
    assert_snapshot!(deploy_image(&cloud, &image), @r#"
    exit 50
    error: revision `shop-REVISION`: The user-provided container failed the configured startup probe checks
      cause[wrong-port]: nothing answers on port 8080, and the image exposes port 3000
      fix: write `port = 3000` under [service]
      then: carrack deploy --local --image us-central1-docker.pkg.dev/local/carrack/shop@DIGEST -f FILE
      last lines of its log:
        | starting
        | STARTUP TCP probe failed 1 time consecutively for container "shop-1" on port 8080. The instance was not started.
        | Connection failed with status DEADLINE_EXCEEDED.
    "#);
}

#[test]
fn a_token_that_an_endpoint_refuses_has_nothing_to_do_with_google() {
    let cloud = LocalCloud::start();
    let target = "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"p\"\nregion = \"us-central1\"\n";
    let file = project(&cloud.dir().join("app"), "shop", target);
    let (endpoint, ..) = cloud.parts();
    let mut command = cloud.carrack();
    command.env("CARRACK_ENDPOINT", endpoint).env("CARRACK_ENDPOINT_TOKEN", "of-yesterday");
    let output = command.args(["status", "-f"]).arg(&file).output().unwrap();
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(20), "{text}");
    assert_eq!(text.matches("help: `carrack emulator env` prints the local cloud's token").count(), 1, "{text}");
    assert!(!text.contains("gcloud") && !text.contains("of-yesterday"), "{text}");
}

#[test]
fn the_status_tells_the_cause() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nEXIT = \"3\"\n");
    let carrack = |arguments: &[&str]| cloud.carrack().args(arguments).arg("-f").arg(&file).output().unwrap();
    assert_eq!(carrack(&["deploy", "--local"]).status.code(), Some(50));
    let status = stdout(&ok(carrack(&["status", "--local"])));
    let line = "cause     the program ended with exit code 3 before it listened on port 8080 [exit-at-start]";
    assert_eq!(status.lines().nth(2), Some(line), "{status}");
    let drift: Vec<&str> = status.lines().filter(|line| line.starts_with("drift ")).collect();
    assert_eq!(drift, ["drift     service.public is false, and true in the file"], "its step was never begun");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("EXIT", "FINE")).unwrap();
    ok(carrack(&["deploy", "--local"]));
    let status = stdout(&ok(carrack(&["status", "--local", "--format", "json"])));
    let report: Value = serde_json::from_str(status.lines().last().unwrap()).unwrap();
    assert_eq!(report["cause"], Value::Null);
}

#[test]
fn machines_read_the_code() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[env]\nEXIT = \"3\"\n");
    let arguments = ["deploy", "--local", "--format", "json", "-f"];
    let output = cloud.carrack().args(arguments).arg(&file).output().unwrap();
    let report: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
    assert_eq!((output.status.code(), &report["code"]), (Some(50), &json!(50)));
    assert_eq!(
        report["error"]["cause"],
        json!({
            "code": "exit-at-start",
            "message": "the program ended with exit code 3 before it listened on port 8080",
            "fix": [
                { "change": "mend what its log says: `fatal: no database at db.example:5432`" },
                { "command": format!("carrack {} {}", arguments.join(" "), file.display()) },
            ],
        })
    );
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Pushes an image to the registry's own face; its name by digest.
fn push(cloud: &LocalCloud, name: &str, config: &Value, layers: &[Vec<u8>]) -> String {
    let state: Value = serde_json::from_slice(&fs::read(cloud.dir().join("emulator.json")).unwrap()).unwrap();
    let registry = state["addresses"]["registry"].as_str().unwrap();
    let name = format!("us-central1-docker.pkg.dev/{name}");
    let config = config.to_string().into_bytes();
    let describe =
        |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "size": bytes.len(), "digest": digest(bytes) });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, &config),
        "layers": layers.iter().map(|layer| describe(LAYER, layer)).collect::<Vec<_>>(),
    })
    .to_string();
    for blob in layers.iter().chain([&config]) {
        let begun = http(registry, "POST", &format!("/v2/{name}/blobs/uploads/"), "", b"");
        let place = begun.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_else(|| panic!("{begun}"));
        let path = &place[place.find("/v2/").unwrap()..];
        let joint = if path.contains('?') { '&' } else { '?' };
        let done = http(registry, "PUT", &format!("{path}{joint}digest={}", digest(blob)), "", blob);
        assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    }
    let reference = digest(manifest.as_bytes());
    let kind = format!("content-type: {MANIFEST}\r\n");
    let done = http(registry, "PUT", &format!("/v2/{name}/manifests/{reference}"), &kind, manifest.as_bytes());
    assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    format!("{name}@{reference}")
}

/// One request; the whole answer as it came.
fn http(url: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.replace("\r\n", "\n")
}
