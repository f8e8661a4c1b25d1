//! Each setting of a service that is one value: what the container, the router or the log shows of it.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, stderr, stdout},
    support::{LocalCloud, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

/// A project whose `[service]` has these lines too, and these sections.
fn file(cloud: &LocalCloud, service: &str, rest: &str) -> PathBuf {
    let file = project(&cloud.dir().join("app"), "shop", rest);
    change(&file, "public = true\n", &format!("{service}\n"));
    file
}

fn change(file: &PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

fn carrack(cloud: &LocalCloud, arguments: &[&str], file: &PathBuf) -> Output {
    cloud.carrack().args(arguments).args(["--local", "--color", "never", "-f"]).arg(file).output().unwrap()
}

fn deploy(cloud: &LocalCloud, file: &PathBuf) -> String {
    stdout(&ok(carrack(cloud, &["deploy"], file)))
}

fn live(cloud: &LocalCloud) -> Value {
    cloud.call(Method::GET, SERVICE, None)
}

/// The whole answer.
fn ask(url: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The log, once it is as wanted.
fn log(cloud: &LocalCloud, file: &PathBuf, wanted: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let text = stdout(&ok(carrack(cloud, &["logs"], file)));
        if wanted(&text) || Instant::now() > end {
            return text;
        }
        thread::yield_now();
    }
}

#[test]
fn the_container_starts_in_its_working_dir() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true\nworking_dir = \"/srv/data\"", "[env]\nREAD = \"motd\"\n");
    fs::write(file.with_file_name("motd"), "good morning").unwrap();
    change(&file, "to = \"/app\" }", "to = \"/app\" }, { from = \"motd\", to = \"/srv/data/motd\" }");
    let url = deploy(&cloud, &file);
    assert!(body(&ask(&url, "/", &[])).starts_with("good morning from shop-00001"), "{}", ask(&url, "/", &[]));
}

#[test]
fn h2c_is_spoken_to_the_container() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true", "");
    let url = deploy(&cloud, &file);
    assert!(body(&ask(&url, "/", &[])).starts_with("hello from"), "HTTP/1 at first");
    change(&file, "public = true", "public = true\nprotocol = \"h2c\"");
    let output = ok(carrack(&cloud, &["deploy"], &file));
    assert!(stderr(&output).contains("~ service.protocol  http1 -> h2c"), "{}", stderr(&output));
    assert!(body(&ask(&url, "/", &[])).contains("over HTTP/2\n"), "{}", ask(&url, "/", &[]));
}

#[test]
fn a_request_that_takes_longer_than_the_timeout_is_answered_504() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true\ntimeout = \"1s\"", "");
    let url = deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/slow", &[])), 504);
    change(&file, "timeout = \"1s\"", "timeout = \"1m\"");
    deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/slow", &[])), 200);
}

#[test]
fn with_session_affinity_a_cookie_leads_back_to_the_instance() {
    let cloud = LocalCloud::start();
    let scaling = "[scaling]\ninstances = 2\nconcurrency = 1\n";
    let file = file(&cloud, "public = true\nsession_affinity = true", scaling);
    let url = deploy(&cloud, &file);
    // An instance takes one request at a time, so that these are answered by both.
    let asking = || {
        let url = url.clone();
        thread::spawn(move || ask(&url, "/slow", &[]))
    };
    let answers = [asking(), asking()].map(|answer| answer.join().unwrap());
    assert_ne!(body(&answers[0]), body(&answers[1]));
    for answer in &answers {
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let cookie = cookie.split(';').next().unwrap();
        for _ in 0..5 {
            assert_eq!(body(&ask(&url, "/instance", &[("cookie", cookie)])), body(answer));
        }
    }
    change(&file, "session_affinity = true", "session_affinity = false");
    deploy(&cloud, &file);
    assert!(!ask(&url, "/", &[]).contains("set-cookie"));
}

#[test]
fn an_internal_service_does_not_answer_outside() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true", "");
    let url = deploy(&cloud, &file);
    let inside = [("x-carrack-network", "internal")];
    for (ingress, without, within) in
        [("internal", 404, 200), ("internal-and-load-balancer", 404, 200), ("none", 404, 404), ("all", 200, 200)]
    {
        change(&file, "public = true", &format!("public = true\ningress = \"{ingress}\""));
        deploy(&cloud, &file);
        assert_eq!((status(&ask(&url, "/", &[])), status(&ask(&url, "/", &inside))), (without, within), "{ingress}");
        change(&file, &format!("\ningress = \"{ingress}\""), "");
    }
    assert!(live(&cloud)["latestReadyRevision"].as_str().unwrap().contains("shop-00001-"), "it is no new revision");
}

#[test]
fn without_its_default_url_a_service_does_not_answer_there() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true", "");
    let url = deploy(&cloud, &file);
    change(&file, "public = true", "public = true\ndefault_url = false");
    deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/", &[])), 404);
    change(&file, "default_url = false", "default_url = true");
    deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/", &[])), 200);
}

#[test]
fn a_token_for_an_audience_of_the_service_is_let_in() {
    const CALLER: &str = "caller@local.iam.gserviceaccount.com";
    let cloud = LocalCloud::start();
    let file = file(&cloud, "", "");
    let url = deploy(&cloud, &file);
    let bindings = json!([{ "role": "roles/run.invoker", "members": [format!("serviceAccount:{CALLER}")] }]);
    let policy = json!({ "policy": { "bindings": bindings } });
    cloud.call(Method::POST, &format!("{SERVICE}:setIamPolicy"), Some(&policy));
    let mint = format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{CALLER}:generateIdToken");
    let body = json!({ "audience": "https://shop.example.com", "includeEmail": true });
    let token = cloud.call(Method::POST, &mint, Some(&body))["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let asked = || status(&ask(&url, "/", &[("authorization", &bearer)]));
    assert_eq!(asked(), 401);
    change(&file, "port = 8080", "port = 8080\naudiences = [\"https://shop.example.com\"]");
    deploy(&cloud, &file);
    assert_eq!(asked(), 200);
    change(&file, "[\"https://shop.example.com\"]", "[]");
    deploy(&cloud, &file);
    assert_eq!(asked(), 401);
}

#[test]
fn without_the_check_of_callers_a_service_is_open() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "", "");
    let url = deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/", &[])), 403);
    change(&file, "port = 8080", "port = 8080\ninvoker_check = false");
    deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/", &[])), 200);
    change(&file, "invoker_check = false", "invoker_check = true");
    deploy(&cloud, &file);
    assert_eq!(status(&ask(&url, "/", &[])), 403);
}

#[test]
fn a_fixed_number_of_instances_runs() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true", "[scaling]\ninstances = 3\n");
    deploy(&cloud, &file);
    let count = |log: &str| log.matches("listening on port").count();
    let text = log(&cloud, &file, |log| count(log) >= 3);
    assert_eq!(count(&text), 3, "{text}");
    change(&file, "instances = 3", "max = 5");
    let output = ok(carrack(&cloud, &["deploy"], &file));
    assert!(stderr(&output).contains("- scaling.instances  3"), "{}", stderr(&output));
    assert_eq!(live(&cloud)["scaling"].get("manualInstanceCount"), None);
    assert!(stderr(&ok(carrack(&cloud, &["plan", "--exit-code"], &file))).contains("no changes"));
}

#[test]
fn texts_for_people_are_the_services() {
    let cloud = LocalCloud::start();
    let text = "[annotations]\n\"example.com/owner\" = \"web\"\n\"example.com/gone\" = \"soon\"\n";
    let file = file(&cloud, "public = true\ndescription = \"Sells\"", text);
    deploy(&cloud, &file);
    let first = live(&cloud);
    assert_eq!((&first["description"], &first["annotations"]["example.com/owner"]), (&json!("Sells"), &json!("web")));
    let mut theirs = first.clone();
    theirs["annotations"]["example.com/theirs"] = json!("1");
    let operation = cloud.call(Method::PATCH, &format!("{SERVICE}?updateMask=annotations"), Some(&theirs));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));

    change(&file, "\"example.com/gone\" = \"soon\"\n", "");
    change(&file, "description = \"Sells\"", "description = \"\"");
    deploy(&cloud, &file);
    let second = live(&cloud);
    assert_eq!(second.get("description"), None);
    let annotations = second["annotations"].as_object().unwrap();
    assert!(!annotations.contains_key("example.com/gone"), "{annotations:?}");
    assert!(annotations.contains_key("example.com/owner") && annotations.contains_key("example.com/theirs"));
    assert_eq!(second["latestReadyRevision"], first["latestReadyRevision"], "it is no new revision");
}

#[test]
fn what_makes_no_difference_on_one_machine_is_in_the_instances_log() {
    let cloud = LocalCloud::start();
    let rest = "[resources]\ncpu_always = true\nstartup_boost = true\n[network]\nnetwork = \"default\"\nsubnet = \"default\"\negress = \"all\"\n";
    let file = file(&cloud, "public = true\nexecution_environment = \"gen1\"", rest);
    deploy(&cloud, &file);
    let said = [
        "All outgoing requests would go by the network 'default', which the local cloud does not have.",
        "The local cloud has no first generation: its containers see the machine's own kernel.",
        "The containers have their CPU also between requests",
        "The containers have more CPU while they start",
    ];
    let text = log(&cloud, &file, |log| said.iter().all(|said| log.contains(said)));
    for said in said {
        assert!(text.contains(said), "{said} in {text}");
    }
    let template = &live(&cloud)["template"];
    let resources = &template["containers"][0]["resources"];
    assert_eq!((resources.get("cpuIdle"), &resources["startupCpuBoost"]), (None, &json!(true)));
    assert_eq!(template["executionEnvironment"], "EXECUTION_ENVIRONMENT_GEN1");
    change(&file, "cpu_always = true", "cpu_always = false");
    deploy(&cloud, &file);
    assert_eq!(live(&cloud)["template"]["containers"][0]["resources"]["cpuIdle"], true);
}

#[test]
fn a_connector_goes_by_its_whole_name_and_gives_way_to_a_network() {
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true", "[network]\nconnector = \"office\"\n");
    deploy(&cloud, &file);
    let access = || live(&cloud)["template"]["vpcAccess"].clone();
    assert_eq!(access()["connector"], "projects/local/locations/us-central1/connectors/office");
    assert!(stderr(&ok(carrack(&cloud, &["plan", "--exit-code"], &file))).contains("no changes"));
    change(&file, "connector = \"office\"", "network = \"default\"\ntags = [\"web\"]");
    let output = ok(carrack(&cloud, &["deploy"], &file));
    assert!(stderr(&output).contains("- network.connector  office"), "{}", stderr(&output));
    assert_eq!(access().get("connector"), None);
    assert_eq!(access()["networkInterfaces"], json!([{ "network": "default", "tags": ["web"] }]));
    change(&file, "network = \"default\"\ntags = [\"web\"]", "network = \"\"");
    deploy(&cloud, &file);
    assert_eq!(access(), Value::Null);
}

#[test]
fn a_container_finds_the_sockets_of_its_databases() {
    const NAME: &str = "local:us-central1:orders";
    let cloud = LocalCloud::start();
    let file = file(&cloud, "public = true", &format!("[env]\nREAD = \"/cloudsql/{NAME}/who\"\n"));
    change(&file, "[service]", &format!("cloud_sql = [\"{NAME}\"]\n[service]"));
    let url = deploy(&cloud, &file);
    let folder = cloud.dir().join("emulator/shares/cloudsql").join(NAME);
    fs::write(folder.join("who"), "a database").unwrap();
    assert!(body(&ask(&url, "/", &[])).starts_with("a database from"), "{}", ask(&url, "/", &[]));
    change(&file, &format!("[\"{NAME}\"]"), "[]");
    deploy(&cloud, &file);
    assert!(body(&ask(&url, "/", &[])).contains("No such file"), "{}", ask(&url, "/", &[]));
    assert_eq!(live(&cloud)["template"].get("volumes"), None);
}

/// The cloud fills in what a file leaves out, and may not say what is zero.
#[test]
fn no_setting_makes_a_second_plan() {
    let cloud = LocalCloud::start();
    let service = "public = true\nprotocol = \"http1\"\ntimeout = \"300s\"\ningress = \"all\"\nsession_affinity = false\ndescription = \"\"\ndefault_url = true\naudiences = []\ninvoker_check = true\nworking_dir = \"\"\nexecution_environment = \"gen2\"";
    let rest = "[annotations]\n[resources]\ncpu_always = false\nstartup_boost = false\n[network]\nnetwork = \"\"\nconnector = \"\"\n";
    let file = file(&cloud, service, rest);
    change(&file, "[service]", "cloud_sql = []\n[service]");
    deploy(&cloud, &file);
    let plan = ok(carrack(&cloud, &["plan", "--exit-code"], &file));
    assert!(stderr(&plan).contains("no changes"), "{}", stderr(&plan));
    // And none of it is told as kept from others.
    let least = file.with_file_name("least.toml");
    fs::write(&least, "[service]\nname = \"shop\"\n").unwrap();
    let image = live(&cloud)["template"]["containers"][0]["image"].as_str().unwrap().to_owned();
    let kept = stderr(&ok(carrack(&cloud, &["plan", "--image", &image], &least)));
    for key in
        ["protocol", "timeout", "ingress", "session", "default_url", "invoker", "execution", "cpu_always", "boost"]
    {
        assert!(!kept.contains(key), "{key} in {kept}");
    }
}

#[test]
fn what_says_two_things_is_refused_before_any_request() {
    let cloud = LocalCloud::start();
    for (service, rest, message) in [
        ("public = false\ninvoker_check = false", "", "without the check of callers a service is open to anyone"),
        ("timeout = \"2h\"", "", "a timeout of 7200s is outside what this cloud has"),
        ("execution_environment = \"gen3\"", "", "unknown execution environment `gen3`"),
        ("", "[scaling]\ninstances = 1\nmax = 2\n", "a fixed number of instances goes without `max`"),
        ("", "[network]\nconnector = \"a\"\nnetwork = \"b\"\n", "a connector takes the place of a network"),
        ("", "[network]\negress = \"all\"\n", "`egress` goes with a way into a network, and there is none"),
        (
            "",
            "[resources]\ncpu = 0.5\ncpu_always = true\n[scaling]\nconcurrency = 1\n",
            "cpu 0.5 is only there during requests",
        ),
    ] {
        let file = file(&cloud, service, rest);
        for command in ["check", "deploy"] {
            let output = carrack(&cloud, &[command], &file);
            assert_eq!(output.status.code(), Some(10), "{command}: {}", stderr(&output));
            assert!(stderr(&output).contains(message), "{}", stderr(&output));
        }
    }
    assert_eq!(cloud.writes(), [""; 0]);
}
