//! `[rollout]`: the traffic goes over in steps, under load, and back by itself; who is killed goes on.
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use carrack::registry::{LOCAL_PROJECT, LOCAL_REGION};
use reqwest::Method;
use serde_json::Value;

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, project},
};

/// The status and the body of an answer.
fn get(url: &str) -> Result<(u16, String), String> {
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {text}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    Ok((status, body.to_owned()))
}

/// Requests one after the other, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<(usize, usize)>,
}

impl Load {
    fn start(url: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (url, stopped, count) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let (mut good, mut bad) = (0, 0);
            // Bounded, whatever happens.
            while !stopped.load(Ordering::Relaxed) && good + bad < 100_000 {
                match get(&url) {
                    Ok((200, _)) => good += 1,
                    _ => bad += 1,
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            (good, bad)
        });
        Self { stop, answered, thread }
    }

    /// How many were answered with 200, and how many were not.
    fn end(self) -> (usize, usize) {
        let seen = self.answered.load(Ordering::Relaxed);
        while self.answered.load(Ordering::Relaxed) < seen + 20 && !self.thread.is_finished() {
            thread::yield_now();
        }
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A service that is deployed, and what comes next.
struct Shop {
    cloud: LocalCloud,
    file: PathBuf,
    url: String,
}

const VERIFY: &str = "verify = { http = \"/healthz\", status = 200 }";

impl Shop {
    fn open() -> Self {
        let cloud = LocalCloud::start();
        let file = project(&cloud.dir().join("app"), "shop", "[env]\nSAY = \"one\"\n");
        let url = stdout(&ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap()));
        Self { cloud, file, url }
    }

    /// The file with this variable, and this rollout.
    fn write(&self, env: &str, rollout: &str) {
        let text = fs::read_to_string(&self.file).unwrap();
        let neutral = text.split("[env]").next().unwrap();
        fs::write(&self.file, format!("{neutral}[env]\n{env}\n[rollout]\n{rollout}\n")).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.cloud.carrack().args(arguments).args(["--local", "-f"]).arg(&self.file).output().unwrap()
    }

    fn live(&self) -> Value {
        let url =
            format!("https://run.googleapis.com/v2/projects/{LOCAL_PROJECT}/locations/{LOCAL_REGION}/services/shop");
        self.cloud.call(Method::GET, &url, None)
    }

    /// `00001=90 00002=10#carrack-new`, what was asked for and what is.
    fn traffic(&self) -> String {
        let live = self.live();
        let told = |targets: &Value| {
            let mut texts: Vec<String> = targets
                .as_array()
                .unwrap()
                .iter()
                .map(|target| {
                    let revision = target["revision"].as_str().unwrap_or("latest");
                    let revision = revision.strip_prefix("shop-").map_or(revision, |rest| &rest[..5]);
                    let tag = target["tag"].as_str().map(|tag| format!("#{tag}")).unwrap_or_default();
                    format!("{revision}={}{tag}", target["percent"].as_u64().unwrap_or(0))
                })
                .collect();
            texts.sort();
            texts.join(" ")
        };
        let asked = told(&live["traffic"]);
        if !asked.contains("latest") {
            assert_eq!(asked, told(&live["trafficStatuses"]), "what is, is what was asked for");
        }
        asked
    }

    /// A deploy that is at this share of its rollout, and will be for long.
    fn until(&self, percent: u8) -> Child {
        let mut command = self.cloud.carrack();
        command.args(["deploy", "--local", "--format", "json", "-f"]).arg(&self.file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let wanted = |line: &String| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["type"] == "rollout_step" && event["percent"] == percent
        };
        assert!(lines.any(|line| wanted(&line)), "the rollout comes to {percent} %");
        drop(lines);
        child
    }
}

#[test]
fn the_traffic_goes_over_in_steps_and_no_request_fails() {
    let shop = Shop::open();
    shop.write("SAY = \"two\"", &format!("steps = [10, 50]\nwait = \"2s\"\n{VERIFY}"));
    let load = Load::start(&shop.url);
    let output = ok(shop.run(&["deploy"]));
    let (good, bad) = load.end();
    let text = stderr(&output);
    assert!(good > 100 && bad == 0, "{good} were answered, {bad} failed: {text}");
    assert_eq!(stdout(&output), shop.url);
    for told in
        ["10 % of the traffic to shop-00002-", "50 % of the traffic to shop-00002-", "watched for 2s", "10 %: it got "]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(shop.traffic(), "latest=100");
    assert!(get(&shop.url).unwrap().1.contains("two from shop-00002-"));

    let writes = shop.cloud.writes();
    let again = ok(shop.run(&["deploy"]));
    assert!(stderr(&again).contains("no changes to service `shop`"), "{}", stderr(&again));
    assert_eq!(shop.cloud.writes(), writes);
}

#[test]
fn a_report_tells_each_step() {
    let shop = Shop::open();
    shop.write("SAY = \"two\"", "steps = [25]\nwait = \"1s\"");
    let output = ok(shop.run(&["deploy", "--format", "json"]));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    let percents: Vec<_> = of("rollout_step").iter().map(|step| step["percent"].as_u64().unwrap()).collect();
    assert_eq!((percents, of("rollout_watched").len()), (vec![25, 100], 1));
    let report = lines.last().unwrap();
    let rollout = &report["run"]["rollout"];
    assert_eq!((&rollout["percent"], &rollout["returned"]), (&100.into(), &false.into()), "{report}");
    assert_eq!(rollout["revision"], report["revision"]);
    assert_eq!(rollout["steps"][0]["percent"], 25);
    assert_eq!(rollout["before"].as_object().unwrap().values().collect::<Vec<_>>(), [&Value::from(100)]);
    assert_eq!(report["probe"]["status"], 200);
}

#[test]
fn a_first_deploy_has_nobody_to_take_the_traffic_from() {
    let cloud = LocalCloud::start();
    let file = project(&cloud.dir().join("app"), "shop", "[rollout]\nwait = \"1m\"\n");
    let output = ok(cloud.carrack().args(["deploy", "--local", "-f"]).arg(&file).output().unwrap());
    assert!(get(&stdout(&output)).unwrap().1.contains("from shop-00001-"));
    assert!(!stderr(&output).contains("Rollout"), "{}", stderr(&output));
}

#[test]
fn a_bad_revision_is_taken_back_with_the_share_that_it_got() {
    let shop = Shop::open();
    let rollout = format!("steps = [50, 75]\nwait = \"20s\"\n{VERIFY}");
    shop.write("BAD = \"/\"", &rollout);
    let load = Load::start(&shop.url);
    let output = shop.run(&["deploy"]);
    let (good, bad) = load.end();
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(50), "{text}");
    assert!(good > 0 && bad >= 50, "{good} {bad}");
    for told in [
        "its rollout failed with 50 % of the traffic: ",
        "requests that it got failed with a status of 500 or more",
        "; it got ",
        " %); all traffic is back at shop-00001-",
        "Returned 50 % of the traffic from shop-00002-",
        "it goes on answering at http://",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains("75 %"), "it ends at the first step: {text}");
    let share: f64 = text.split(" requests (").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((20.0..80.0).contains(&share), "half of the traffic is about half of the requests: {text}");
    assert_eq!(shop.traffic(), "00001=100 00002=0#carrack-new");
    for _ in 0..20 {
        assert!(get(&shop.url).unwrap().1.contains("one from shop-00001-"));
    }

    // The same again is no better, and one that is mended goes the whole way.
    let again = shop.run(&["deploy", "--format", "json"]);
    assert_eq!(again.status.code(), Some(0), "nobody asks it, so nothing fails: {}", shown(&again, &[]));
    assert_eq!(shop.traffic(), "latest=100");
    shop.write("SAY = \"mended\"", &format!("steps = []\n{VERIFY}"));
    ok(shop.run(&["deploy"]));
    assert_eq!(shop.traffic(), "latest=100");
    assert!(get(&shop.url).unwrap().1.contains("mended from shop-00003-"));
}

#[test]
fn a_revision_that_answers_wrongly_gets_nothing() {
    let shop = Shop::open();
    for (env, rollout, why) in [
        ("SAY = \"two\"", "verify = { http = \"/healthz\", status = 204 }", "answers 200, and 204 is right"),
        ("STATUS = \"500 Oh\"", "steps = [10]", "does not answer as it should"),
    ] {
        shop.write(env, rollout);
        let output = shop.run(&["deploy", "--timeout", "15s", "--format", "json"]);
        let report: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
        assert_eq!(output.status.code(), Some(50), "{report}");
        let message = report["error"]["message"].as_str().unwrap();
        assert!(message.contains("its rollout failed with 0 % of the traffic") && message.contains(why), "{message}");
        assert!(message.contains("shop-00001-") && message.ends_with("goes on serving"), "{message}");
        assert_eq!(report["run"]["rollout"]["percent"], 0);
        assert!(shop.traffic().starts_with("00001=100 0000"), "{}", shop.traffic());
        assert!(get(&shop.url).unwrap().1.contains("one from shop-00001-"));
    }
}

#[test]
fn a_revision_that_never_starts_gets_nothing() {
    let shop = Shop::open();
    shop.write("EXIT = \"3\"", "steps = [10]");
    let output = shop.run(&["deploy"]);
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(50), "{text}");
    assert!(text.contains("cause[exit-at-start]"), "{text}");
    assert!(get(&shop.url).unwrap().1.contains("one from shop-00001-"));
    shop.write("SAY = \"two\"", "steps = [10]\nwait = \"1s\"");
    ok(shop.run(&["deploy"]));
    assert_eq!(shop.traffic(), "latest=100");
}

#[test]
fn who_is_killed_at_a_step_goes_on_from_there() {
    let shop = Shop::open();
    // The step that it stands at is watched anew.
    shop.write("SAY = \"two\"", "steps = [10, 50]\nwait = \"4s\"");
    for (percent, stands) in
        [(10, "00001=90 00002=0#carrack-new 00002=10"), (50, "00001=50 00002=0#carrack-new 00002=50")]
    {
        let mut child = shop.until(percent);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(shop.traffic(), stands);
    }
    shop.write("SAY = \"two\"", "steps = [10, 50, 75]\nwait = \"1s\"");
    let text = stderr(&ok(shop.run(&["deploy"])));
    assert!(text.contains("going on with the rollout of shop-00002-"), "{text}");
    assert!(!text.contains("Rollout 10 %") && text.contains("Rollout 75 %"), "{text}");
    assert_eq!(shop.traffic(), "latest=100");
    assert!(get(&shop.url).unwrap().1.contains("two from shop-00002-"));
}

#[test]
fn an_interrupt_leaves_the_split_and_says_what_to_type() {
    let shop = Shop::open();
    shop.write("SAY = \"two\"", "steps = [20]\nwait = \"5m\"");
    let child = shop.until(20);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains(" has 20 % of the traffic, and keeps it: `carrack deploy --local -f "), "{text}");
    assert!(text.contains("or give it back: `carrack traffic shop-00001-"), "{text}");
    assert_eq!(shop.traffic(), "00001=80 00002=0#carrack-new 00002=20");

    // Another revision does not count the one that stopped among those that served.
    shop.write("SAY = \"three\"", "steps = [30]\nwait = \"1s\"");
    let output = ok(shop.run(&["deploy", "--format", "json"]));
    let text = stdout(&output);
    assert!(text.contains("an earlier rollout stopped with 20 % at shop-00002-"), "{text}");
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let before: Vec<&String> = report["run"]["rollout"]["before"].as_object().unwrap().keys().collect();
    assert!(before.len() == 1 && before[0].starts_with("shop-00001-"), "{before:?}");
    assert_eq!(shop.traffic(), "latest=100");
}

#[test]
fn time_that_is_up_leaves_the_split() {
    let shop = Shop::open();
    shop.write("SAY = \"two\"", "steps = [20]\nwait = \"5m\"");
    let output = shop.run(&["deploy", "--timeout", "20s"]);
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(42), "{text}");
    assert!(text.contains("has 20 % of the traffic, and keeps it"), "{text}");
    assert_eq!(shop.traffic(), "00001=80 00002=0#carrack-new 00002=20");
}

#[test]
fn a_private_service_is_asked_as_whoever_deploys() {
    let shop = Shop::open();
    let text = fs::read_to_string(&shop.file).unwrap().replace("public = true", "public = false");
    fs::write(&shop.file, text).unwrap();
    shop.write("SAY = \"two\"", &format!("steps = [50]\nwait = \"1s\"\n{VERIFY}"));
    let output = ok(shop.run(&["deploy"]));
    let text = stderr(&output);
    assert!(text.contains("answered 200 in ") && !text.contains("not probed"), "{text}");
    assert_eq!(get(&shop.url).unwrap().0, 403);
    assert_eq!(shop.traffic(), "latest=100");
}

#[test]
fn a_log_that_may_not_be_read_is_a_note() {
    let shop = Shop::open();
    let add = ["emulator", "faults", "add", "403", "--service", "logging"];
    ok(shop.cloud.run(&add));
    shop.write("SAY = \"two\"", "steps = [50]\nwait = \"3s\"");
    let text = stderr(&ok(shop.run(&["deploy"])));
    assert_eq!(text.matches("requests that fail are not counted, the log cannot be read").count(), 1, "{text}");
    assert!(text.contains("50 %: it answers as it should"), "{text}");
    assert_eq!(shop.traffic(), "latest=100");
}

#[test]
fn a_name_that_leaves_no_room_for_the_tag_is_refused_offline() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("carrack.toml");
    let name = "a".repeat(36);
    fs::write(&file, format!("[service]\nname = \"{name}\"\n[rollout]\n")).unwrap();
    let check =
        |file: &Path| crate::support::carrack(folder.path()).args(["check", "--local", "-f"]).arg(file).output();
    let output = check(&file).unwrap();
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(10), "{text}");
    assert!(text.contains("a rollout's tag `carrack-new` goes with names of 35 characters at the most"), "{text}");
    fs::write(&file, format!("[service]\nname = \"{}\"\n[rollout]\n", &name[1..])).unwrap();
    ok(check(&file).unwrap());
}
