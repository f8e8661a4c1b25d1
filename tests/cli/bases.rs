//! Images above a base that lies in the local cloud's registry.
use std::fs;

use crate::{
    run::{ok, stderr, stdout},
    support::{LocalCloud, project},
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
