//! Images above a base that lies in the local cloud's registry.
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::mpsc,
    thread,
};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, carrack, project},
};

#[test]
fn a_base_in_the_local_cloud_is_inherited_and_runs() {
    let cloud = LocalCloud::start();
    // It starts the test program, and says so in its environment.
    let base = cloud.push_app("base");
    let tagged = format!("{}:latest", base.repository());
    let dir = cloud.dir().join("above");
    let file = project(&dir, "above", "");
    fs::write(dir.join("note"), "a file above the base").unwrap();
    let text = format!(
        "[service]\nname = \"above\"\nport = 8080\npublic = true\n[image.build]\nbase = \"{tagged}\"\n\
         files = [{{ from = \"note\", to = \"/srv/note\" }}]\nenv = {{ SAY = \"above\" }}\n"
    );
    fs::write(&file, &text).unwrap();
    let deploy = || ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap());
    let first = deploy();
    assert!(stderr(&first).contains(&format!("the base {tagged} is {}", base.0)), "{}", stderr(&first));
    assert!(stderr(&first).contains("answered 200 in "), "{}", stderr(&first));
    assert!(stderr(&deploy()).contains("no changes to service `above`"));

    // By digest it is known, and the same files are the same image wherever the base is named so.
    fs::write(&file, text.replace(&tagged, &base.0)).unwrap();
    let build = || stdout(&ok(cloud.carrack().args(["build", "--quiet", "-f"]).arg(&file).output().unwrap()));
    let digest = build();
    assert_eq!(build(), digest, "no local cloud is asked, and none is started");
}

#[test]
fn a_base_whose_registry_does_not_answer_is_41() {
    let cloud = LocalCloud::start();
    let dir = cloud.dir().join("app");
    let file = project(&dir, "app", "");
    let base = "us-central1-docker.pkg.dev/local/carrack/none:1";
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"scratch\"", &format!("\"{base}\""))).unwrap();
    // The registry itself cannot be reached from here; without that it would be asked too.
    let output = cloud
        .carrack()
        .args(["build", "--local", "--timeout", "20s", "-f"])
        .arg(&file)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(41), "{}", stderr(&output));
    assert!(stderr(&output).contains("a base by digest"), "{}", stderr(&output));
}

/// `docker-credential-NAME`, which answers with this line of shell; and the `PATH` that finds it.
fn helper(dir: &Path, name: &str, line: &str) -> OsString {
    let tools = dir.join("tools");
    fs::create_dir_all(&tools).unwrap();
    let helper = tools.join(format!("docker-credential-{name}"));
    fs::write(&helper, format!("#!/bin/sh\n[ \"$1\" = get ] || exit 1\nread -r server || true\n{line}\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    std::env::join_paths([tools, "/usr/bin".into(), "/bin".into()]).unwrap()
}

#[test]
fn beside_a_local_cloud_nobody_asks_docker_for_the_clouds_credentials() {
    let cloud = LocalCloud::start();
    let dir = cloud.dir().join("app");
    let file = project(&dir, "app", "");
    let text = fs::read_to_string(&file).unwrap();
    // As `gcloud auth configure-docker` leaves it; this helper tells that it was asked.
    let asked = cloud.dir().join("asked");
    let path = helper(cloud.dir(), "gcloud", &format!("echo \"$server\" >>'{}'; exit 1", asked.display()));
    let config = cloud.dir().join("docker");
    fs::create_dir(&config).unwrap();
    let hosts = ["us-central1-docker.pkg.dev", "gcr.io", "ghcr.io"].map(|host| (host, "gcloud"));
    let helpers = serde_json::json!({ "credHelpers": hosts.into_iter().collect::<std::collections::BTreeMap<_, _>>() });
    fs::write(config.join("config.json"), helpers.to_string()).unwrap();
    let build = |base: &str| {
        fs::write(&file, text.replace("\"scratch\"", &format!("\"{base}\""))).unwrap();
        let mut command = cloud.carrack();
        command.args(["build", "--local", "--timeout", "20s", "-f"]).arg(&file).env("DOCKER_CONFIG", &config);
        command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("PATH", &path).output().unwrap()
    };
    let base = cloud.push_app("base");
    ok(build(&format!("{}:latest", base.repository())));
    for base in ["us-central1-docker.pkg.dev/local/carrack/none:1", "gcr.io/distroless/static-debian12"] {
        assert_eq!(build(base).status.code(), Some(41), "{base}");
    }
    assert!(!asked.exists(), "{:?}", fs::read_to_string(&asked));
    // It is found, and asked for the registry of another.
    build("ghcr.io/me/base:1");
    assert_eq!(fs::read_to_string(&asked).unwrap(), "ghcr.io\n");
}

#[test]
fn names_of_container_registry_are_repositories_of_artifact_registry() {
    let cloud = LocalCloud::start();
    for host in ["gcr.io", "eu.gcr.io"] {
        let name = host.replace('.', "-");
        let target = format!(
            "[targets.prod]\nprovider = \"cloud-run\"\nproject = \"my-project\"\nregion = \"us-central1\"\n\
             repository = \"{host}/my-project/team\"\n"
        );
        let file = project(&cloud.dir().join(&name), &name, &target);
        let output = ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap());
        let text = stderr(&output);
        assert!(text.contains(&format!("made the repository of {host}/my-project/team/{name}")), "{text}");
        assert!(text.contains("answered 200 in "), "{text}");
    }
}

#[test]
fn a_credential_helper_is_asked_and_its_secret_is_never_shown() {
    const SECRET: &str = "hunter2-of-the-helper";
    let state = tempfile::tempdir().unwrap();
    // A registry that has nothing, and says who asked.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (asked, heard) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let _ = asked.send(head.into_iter().find(|line| line.to_ascii_lowercase().starts_with("authorization:")));
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let answer = format!(
        "echo \"{{\\\"ServerURL\\\":\\\"$server\\\",\\\"Username\\\":\\\"of-$server\\\",\\\"Secret\\\":\\\"{SECRET}\\\"}}\""
    );
    helper(state.path(), "test", &answer);
    let path = helper(state.path(), "empty", r#"echo '{"ServerURL":"","Username":"","Secret":""}'"#);
    let config = state.path().join("docker");
    fs::create_dir(&config).unwrap();
    let use_helper = |name: &str| {
        fs::write(config.join("config.json"), format!("{{\"credHelpers\": {{\"{host}\": \"{name}\"}}}}")).unwrap();
    };
    use_helper("test");

    let file = project(&state.path().join("app"), "app", "");
    let base = format!("base = \"{host}/base:1\"");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("base = \"scratch\"", &base)).unwrap();
    let build = || {
        let mut command = carrack(state.path());
        command.args(["build", "--local", "-vv", "-f"]).arg(&file).env("DOCKER_CONFIG", &config).env("PATH", &path);
        command.output().unwrap()
    };
    let output = build();
    use_helper("empty");
    let nobody = build();
    ok(carrack(state.path()).args(["emulator", "stop"]).output().unwrap());
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(30), "{text}");
    assert!(text.contains(&format!("the registry does not have `{host}/base:1`")), "{text}");
    let expected = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("of-{host}:{SECRET}"));
    let header = heard.recv().unwrap().expect("it was asked with credentials");
    assert_eq!(header.split_once(": ").map(|(_, value)| value), Some(format!("Basic {expected}").as_str()));
    assert!(!text.contains(SECRET) && !text.contains(&expected), "{text}");
    // Docker's own client takes an empty user and secret for none, too.
    assert_eq!(nobody.status.code(), Some(30), "{}", stderr(&nobody));
    assert_eq!(heard.recv().unwrap(), None, "it was asked as nobody");
}
