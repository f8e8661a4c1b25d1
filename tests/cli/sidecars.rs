//! Sidecars, volumes and readiness checks, as containers feel them.
#![expect(clippy::disallowed_methods, reason = "who watches looks again a moment later")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, stderr, stdout},
    support::{LocalCloud, ROOT, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

/// A local cloud that has the test program's image, and a file for it.
struct Shop {
    cloud: LocalCloud,
    file: PathBuf,
    image: String,
}

impl Shop {
    fn new() -> Self {
        let cloud = LocalCloud::start();
        let file = project(&cloud.dir().join("app"), "shop", "");
        let push = cloud.carrack().args(["push", "--local", "-f"]).arg(&file).output().unwrap();
        let image = stdout(&ok(push));
        Self { cloud, file, image }
    }

    /// IMAGE stands for the pushed one; `service` goes into [service].
    fn write(&self, service: &str, rest: &str) {
        let rest = rest.replace("IMAGE", &self.image);
        let file = project(self.file.parent().unwrap(), "shop", &rest);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("public = true\n", &format!("public = true\n{service}\n"))).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.cloud.carrack();
        command.args(arguments).args(["--local", "--color", "never", "-f"]).arg(&self.file).output().unwrap()
    }

    fn deploy(&self) -> String {
        stdout(&ok(self.run(&["deploy"])))
    }

    fn nothing_to_change(&self) -> bool {
        self.run(&["plan", "--exit-code"]).status.code() == Some(0)
    }

    fn live(&self) -> Value {
        self.cloud.call(Method::GET, SERVICE, None)
    }
}

fn curl(url: &str) -> String {
    stdout(&ok(Command::new("curl").args(["-sS", "-m", "60", url]).output().unwrap()))
}

/// The neighbour takes a while to listen, and the main container ends at once without it.
const NEEDS_ITS_NEIGHBOUR: &str = r#"
[env]
NEED = "127.0.0.1:9000"
ASK = "127.0.0.1:9000"
SAY = "front"
[sidecars.back]
image = "IMAGE"
[sidecars.back.env]
LISTEN_PORT = 9000
DELAY = 2
SAY = "back"
[sidecars.back.resources]
memory = "256MiB"
[sidecars.back.health]
startup = { http = "/", port = 9000, period = "1s", failures = 60 }
"#;

#[test]
fn a_sidecar_is_up_before_who_depends_on_it_and_answers_on_localhost() {
    let shop = Shop::new();
    shop.write("", NEEDS_ITS_NEIGHBOUR);
    let failed = shop.run(&["deploy"]);
    assert_eq!(failed.status.code(), Some(50), "{}", stderr(&failed));
    shop.write("depends_on = [\"back\"]", NEEDS_ITS_NEIGHBOUR);
    let answer = curl(&shop.deploy());
    let said: Vec<&str> = answer.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(said, ["back", "front"], "{answer}");
    assert!(shop.nothing_to_change());
    let containers = shop.live()["template"]["containers"].clone();
    assert_eq!(containers[1]["name"], "back");
    assert_eq!(containers[1]["resources"]["limits"]["memory"], "256Mi");
    assert!(containers[1]["image"].as_str().unwrap().contains("@sha256:"), "{containers}");
}

#[test]
fn a_grpc_check_of_a_sidecar_that_speaks_another_language_fails() {
    let shop = Shop::new();
    shop.write(
        "",
        "[sidecars.back]\nimage = \"IMAGE\"\nenv = { LISTEN_PORT = 9000 }\n\
         health = { startup = { grpc = true, port = 9000, period = \"1s\", failures = 2 } }\n",
    );
    let failed = shop.run(&["deploy"]);
    assert_eq!(failed.status.code(), Some(50), "{}", stderr(&failed));
    shop.write(
        "",
        "[sidecars.back]\nimage = \"IMAGE\"\nenv = { LISTEN_PORT = 9000 }\n\
         health = { startup = { tcp = 9000, period = \"1s\", failures = 60 } }\n",
    );
    assert!(curl(&shop.deploy()).starts_with("hello"));
}

#[test]
fn memory_is_shared_and_a_bucket_and_nfs_are_folders() {
    let shop = Shop::new();
    let with = |read: &str| {
        format!(
            "[env]\nREAD = \"{read}\"\n\
             [volumes]\ncache = {{ kind = \"memory\", size = \"16MiB\", mount = \"/cache\" }}\n\
             words = {{ kind = \"bucket\", bucket = \"words\", mount = \"/words\", read_only = true }}\n\
             share = {{ kind = \"nfs\", server = \"10.0.0.2\", path = \"/share\", mount = \"/share\" }}\n\
             [sidecars.writer]\nimage = \"IMAGE\"\n\
             [sidecars.writer.env]\nLISTEN_PORT = 9000\nSAY = \"from the neighbour\"\nWRITE = \"/out/word\"\n\
             [sidecars.writer.volumes]\ncache = \"/out\"\n\
             [sidecars.writer.health]\nstartup = {{ tcp = 9000, period = \"1s\", failures = 60 }}\n"
        )
    };
    shop.write("depends_on = [\"writer\"]", &with("/cache/word"));
    let answer = curl(&shop.deploy());
    assert!(answer.starts_with("from the neighbour"), "{answer}");
    let shares = shop.cloud.dir().join("emulator/shares");
    for (folder, read) in [("buckets/words", "/words/word"), ("nfs/10.0.0.2/share", "/share/word")] {
        fs::create_dir_all(shares.join(folder)).unwrap();
        fs::write(shares.join(folder).join("word"), folder).unwrap();
        shop.write("depends_on = [\"writer\"]", &with(read));
        let answer = curl(&shop.deploy());
        assert!(answer.starts_with(folder), "{answer}");
    }
    assert!(shop.nothing_to_change());
}

#[test]
fn a_sidecar_of_others_stays_and_one_of_ours_goes() {
    let shop = Shop::new();
    let back = "[sidecars.back]\nimage = \"IMAGE\"\nenv = { LISTEN_PORT = 9000, SAY = \"back\" }\n";
    shop.write("", back);
    shop.deploy();
    let mut service = shop.live();
    let theirs = json!({
        "name": "theirs", "image": shop.image, "workingDir": "/", "env": [{ "name": "LISTEN_PORT", "value": "9001" }],
    });
    let template = &mut service["template"];
    template["containers"].as_array_mut().unwrap().push(theirs);
    // A field that carrack.toml does not have.
    template["containers"][1]["resources"]["startupCpuBoost"] = json!(true);
    template.as_object_mut().unwrap().remove("revision");
    shop.cloud.call(Method::PATCH, &format!("{SERVICE}?updateMask=template"), Some(&json!({ "template": template })));
    let names = || -> Vec<String> {
        let containers = shop.live()["template"]["containers"].as_array().unwrap().clone();
        containers.iter().skip(1).map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(shop.nothing_to_change());
    shop.write("", &back.replace("SAY = \"back\"", "SAY = \"again\", MORE = 1"));
    shop.deploy();
    assert_eq!(names(), ["back", "theirs"]);
    let live = shop.live()["template"]["containers"].clone();
    assert_eq!(live[1]["resources"]["startupCpuBoost"], true);
    assert_eq!(live[2]["workingDir"], "/");
    // Without the section nothing of it is managed, and what is recorded is carried on.
    shop.write("", "[env]\nA = \"1\"\n");
    shop.deploy();
    assert_eq!(names(), ["back", "theirs"]);
    shop.write("", "[sidecars]\n");
    let plan = ok(shop.run(&["plan"]));
    assert!(stderr(&plan).contains("- sidecars.back.image"), "{}", stderr(&plan));
    shop.deploy();
    assert_eq!(names(), ["theirs"]);
    assert!(shop.nothing_to_change());
}

#[test]
fn a_sidecars_secrets_are_checked_granted_and_read() {
    let shop = Shop::new();
    let value = shop.cloud.dir().join("word");
    fs::write(&value, "whispered").unwrap();
    let mut set = shop.cloud.carrack();
    ok(set.args(["secrets", "set", "word", "--local", "--from-file"]).arg(&value).output().unwrap());
    shop.write(
        "depends_on = [\"back\"]",
        "[env]\nASK = \"127.0.0.1:9000\"\n[sidecars.back]\nimage = \"IMAGE\"\nenv = { LISTEN_PORT = 9000 }\n\
         secrets = { SAY = \"word\" }\nhealth = { startup = { tcp = 9000, period = \"1s\", failures = 60 } }\n",
    );
    let refused = shop.run(&["deploy"]);
    assert_eq!(refused.status.code(), Some(21), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("may not read secret `word`"), "{}", stderr(&refused));
    let url = stdout(&ok(shop.run(&["deploy", "--grant"])));
    assert!(curl(&url).starts_with("whispered from"), "{}", curl(&url));
    let reference = &shop.live()["template"]["containers"][1]["env"][1]["valueSource"]["secretKeyRef"];
    assert_eq!(reference["version"], "1", "it is written by its number");
}

#[test]
fn a_sidecar_whose_image_is_not_there_stops_the_deploy_before_any_change() {
    let shop = Shop::new();
    let before = shop.cloud.writes().len();
    shop.write("", &format!("[sidecars.back]\nimage = \"{}/local/nowhere/back:1\"\n", shop.cloud.registry()));
    let refused = shop.run(&["deploy"]);
    assert_eq!(refused.status.code(), Some(30), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("back:1"), "{}", stderr(&refused));
    assert_eq!(shop.cloud.writes().len(), before);
}

#[test]
fn an_instance_that_is_not_ready_gets_no_more_requests() {
    let shop = Shop::new();
    shop.write(
        "",
        "[env]\nWHO = 1\nSICK = 3\n[scaling]\nmin = 1\nmax = 2\n\
         [health]\nreadiness = { http = \"/ready\", period = \"1s\", failures = 1 }\n",
    );
    let url = shop.deploy();
    let first = curl(&url);
    assert_eq!(curl(&url), first, "one instance answers as long as it is ready");
    let end = Instant::now() + Duration::from_secs(90);
    while curl(&url) == first {
        assert!(Instant::now() < end, "another instance takes over");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_sidecar_example_says_what_its_sidecar_knows() {
    let cloud = LocalCloud::start();
    let run = |arguments: &[&str], image: &str| {
        let mut command = cloud.carrack();
        command.args(arguments).env("WORDS_IMAGE", image).current_dir(Path::new(ROOT)).output().unwrap()
    };
    let image = stdout(&ok(run(&["push", "--local", "-f", "examples/sidecar/words/carrack.toml"], "")));
    let url = stdout(&ok(run(&["deploy", "--local", "-f", "examples/sidecar/carrack.toml"], &image)));
    let answer = curl(&url);
    // The deploy asks too.
    let known = "over localhost: ahoy\nfrom the shared memory: ahoy was said ";
    assert!(answer.starts_with(known) && answer.ends_with(" times"), "{answer}");
}
