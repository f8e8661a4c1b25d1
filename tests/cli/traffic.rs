//! Who gets the traffic: `carrack traffic`, and what a deploy does after a split.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    run::{ok, shown, stderr, stdout},
    support::{LocalCloud, project},
};

const SERVICE: &str = "https://run.googleapis.com/v2/projects/local/locations/us-central1/services/shop";

/// A service of its own on a local cloud of its own.
pub(crate) struct Shop {
    pub(crate) cloud: LocalCloud,
    pub(crate) file: PathBuf,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::on(LocalCloud::start())
    }

    fn on(cloud: LocalCloud) -> Self {
        let file = project(&cloud.dir().join("app"), "shop", "[env]\nSAY = \"one\"\n");
        Self { cloud, file }
    }

    /// What it answers.
    pub(crate) fn say(&self, what: &str) {
        let text = fs::read_to_string(&self.file).unwrap();
        let (before, after) = text.split_once("SAY = ").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        fs::write(&self.file, format!("{before}SAY = \"{what}\"\n{after}")).unwrap();
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments, &self.file).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str], file: &Path) -> std::process::Command {
        let mut command = self.cloud.carrack();
        command.args(arguments).args(["--local", "--color", "never", "-f"]).arg(file).current_dir(self.cloud.dir());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        ok(self.try_run(arguments))
    }

    pub(crate) fn report(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap()
    }

    /// Deploys something new, and gives its revision.
    pub(crate) fn deploy(&self, say: &str, arguments: &[&str]) -> String {
        self.say(say);
        self.report(&[&["deploy"], arguments].concat())["revision"].as_str().unwrap().to_owned()
    }

    /// Who serves.
    fn serves(&self) -> Value {
        self.report(&["traffic"])["traffic"].clone()
    }

    pub(crate) fn live(&self) -> Value {
        self.cloud.call(Method::GET, SERVICE, None)
    }

    /// It is refused, and nothing was written.
    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let before = self.cloud.writes();
        let output = self.try_run(arguments);
        let text = shown(&output, &[]);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        let after = self.cloud.writes();
        let asked = |write: &&String| !write.ends_with(":testIamPermissions");
        let count = |writes: &[String]| writes.iter().filter(asked).count();
        assert_eq!(count(&after), count(&before), "{arguments:?}: {after:?}");
        stderr(&output)
    }
}

fn get(url: &str) -> String {
    let output = std::process::Command::new("curl").args(["-sS", "--fail", url]).output().unwrap();
    stdout(&ok(output))
}

#[test]
fn traffic_goes_where_it_is_sent_and_is_shown() {
    let shop = Shop::new();
    let first = shop.deploy("one", &[]);
    let second = shop.deploy("two", &[]);
    let url = shop.report(&["traffic"])["url"].as_str().unwrap().to_owned();
    let output = shop.run(&["traffic", &format!("{first}=100"), "--tag", &format!("blue={second}")]);
    assert!(get(&url).starts_with("one from "));
    let report = shop.report(&["traffic"]);
    let blue = report["targets"][1]["url"].as_str().unwrap();
    assert!(get(blue).starts_with("two from "));
    let hide = [(first.as_str(), "FIRST"), (&second, "SECOND"), (&url, "URL"), (blue, "BLUE")];
    let text = stderr(&output).replace(&first, "FIRST").replace(&second, "SECOND");
    assert!(text.contains("Plan route traffic `shop`"), "{text}");
    assert!(text.contains("~ traffic    latest 100% -> FIRST 100%") && text.contains("+ tags.blue  SECOND"), "{text}");
    let table = hide.iter().fold(stdout(&shop.run(&["traffic"])), |text, (what, with)| text.replace(what, with));
    insta::assert_snapshot!(table, @r"
    service  shop
    url      URL

    traffic  revision        tag   url
       100%  FIRST
             SECOND  blue  BLUE
    ");
    let report = shop.report(&["traffic", "latest=25", "blue=70", &format!("{first}=5"), "--remove-tag", "blue"]);
    assert_eq!(
        (&report["result"], &report["traffic"], &report["run"]["done"]),
        (&json!("routed"), &json!({ &first: 5, &second: 95 }), &json!([1])),
        "a share by tag is the tag's revision"
    );
    assert_eq!(report["targets"].as_array().unwrap().len(), 3);
    let again = shop.report(&["traffic", "latest=25", &format!("{second}=70"), &format!("{first}=5")]);
    assert_eq!((&again["result"], &again["run"]), (&json!("no_changes"), &Value::Null));
    // Nothing but the traffic was sent.
    let revisions = shop.report(&["status"])["revisions"].as_array().unwrap().len();
    let requests = stdout(&ok(shop.cloud.run(&["emulator", "requests", "--format", "json"])));
    let writes = requests.lines().filter(|line| line.contains("\"PATCH\"")).filter(|line| line.contains("=traffic"));
    assert_eq!((revisions, writes.filter(|line| !line.contains("template")).count()), (2, 2), "{requests}");
}

#[test]
fn what_cannot_be_is_refused_before_any_write() {
    let shop = Shop::new();
    shop.refused(&["traffic", "latest=100"], 30);
    shop.refused(&["traffic"], 30);
    let text = shop.refused(&["deploy", "--no-traffic"], 2);
    assert!(text.contains("no earlier revision serves") && text.contains("leave `--no-traffic` out"), "{text}");
    let first = shop.deploy("one", &[]);
    shop.say("two\"\nEXIT = \"3");
    let broken = shop.try_run(&["deploy"]);
    assert_eq!(broken.status.code(), Some(50));
    let broken = shop.report(&["status"])["revisions"][0]["id"].as_str().unwrap().to_owned();
    assert_ne!(broken, first);
    let cases: [(&[&str], i32, &str, &str); 14] = [
        (&["latest=90"], 2, "the shares of the traffic are 90 % in all", "100 % in all"),
        (&["latest=90", "shop-1=20"], 2, "the shares of the traffic are 110 % in all", "100 % in all"),
        (&["latest=50", "latest=50"], 2, "`latest` is named twice among those that get traffic", "name each once"),
        (&["latest=101"], 2, "`101` is no percentage from 0 to 100", "--help"),
        (&["latest"], 2, "`latest` is not WHO=PERCENT", "--help"),
        (&["shop-00009-zzz=100"], 30, "there is no revision and no tag `shop-00009-zzz`", &first),
        (&["--tag", "blue=green"], 30, "there is no revision and no tag `green`", "`latest`"),
        (&["--remove-tag", "blue"], 30, "there is no tag `blue`", "carrack traffic --tag blue=REVISION"),
        (&["--tag", "Blue=latest"], 2, "`Blue` is no name for a tag", "a-z, 0-9 and `-`"),
        (&["--tag", "b-=latest"], 2, "`b-` is no name for a tag", "a-z, 0-9 and `-`"),
        (&["--tag", "a=latest", "--remove-tag", "a"], 2, "`a` is named twice among the tags", "name each once"),
        (
            &["--tag", "a-tag-that-is-much-longer-than-google-has-it=latest"],
            2,
            "have 48 characters together, 46 are the most",
            "a tag of 42 characters at the most",
        ),
        (&["--tag", "blue"], 2, "`blue` is not NAME=REVISION", "--help"),
        (&[&format!("{broken}=100")], 50, "it is not ready and cannot serve", "carrack status"),
    ];
    for (arguments, code, says, hint) in cases {
        let text = shop.refused(&[&["traffic"], arguments].concat(), code);
        assert!(text.contains(says) && text.contains(hint), "{arguments:?}: {text}");
    }
    let text = shop.refused(&["deploy", "--tag", "Next"], 2);
    assert!(text.contains("`Next` is no name for a tag"), "{text}");
    shop.refused(&["deploy", "--no-traffic", "--all-traffic"], 2);
    assert_eq!(shop.serves(), json!({ first: 100 }));
}

#[test]
fn a_revision_without_traffic_is_asked_at_its_own_url() {
    let shop = Shop::new();
    let first = shop.deploy("one", &[]);
    shop.say("two");
    let output = shop.run(&["deploy", "--no-traffic", "--tag", "next"]);
    let next = stdout(&output);
    assert!(get(&next).starts_with("two from shop-00002-"), "what is printed is where it is reached");
    assert!(stderr(&output).contains(&format!("Verifying {next}")), "{}", stderr(&output));
    let report = shop.report(&["deploy", "--no-traffic", "--tag", "next"]);
    assert_eq!((&report["result"], &report["tag"]), (&json!("no_changes"), &json!({ "name": "next", "url": next })));
    assert!(report["revision"].as_str().unwrap().starts_with("shop-00002-"), "{report}");
    assert_eq!(report["probe"]["status"], 200);
    assert!(get(report["url"].as_str().unwrap()).starts_with("one from "));
    // The tag is the second one's, whatever comes after.
    shop.say("three");
    let output = shop.run(&["deploy", "--no-traffic"]);
    assert!(stderr(&output).contains("not probed: shop-00003-"), "{}", stderr(&output));
    assert!(get(&next).starts_with("two from "));
    assert_eq!(shop.serves(), json!({ first: 100 }));
    // One that answers 500 fails, and takes nobody's traffic.
    shop.say("four\"\nSTATUS = \"500 Oh");
    let output = shop.try_run(&["deploy", "--no-traffic", "--tag", "bad", "--timeout", "4s"]);
    let text = shown(&output, &[]);
    assert_eq!(output.status.code(), Some(50), "{text}");
    assert!(text.contains("has no traffic: who served before goes on"), "{text}");
}

#[test]
fn a_private_revision_is_asked_with_a_token() {
    let shop = Shop::new();
    let text = fs::read_to_string(&shop.file).unwrap().replace("public = true", "public = false");
    fs::write(&shop.file, text).unwrap();
    shop.deploy("one", &[]);
    shop.say("two");
    let output = shop.run(&["deploy", "--no-traffic", "--tag", "next"]);
    assert!(stderr(&output).contains("Verified answered 200"), "{}", stderr(&output));
}

#[test]
fn after_a_split_a_deploy_wants_a_choice() {
    let shop = Shop::new();
    let first = shop.deploy("one", &[]);
    shop.deploy("two", &[]);
    shop.run(&["traffic", &format!("{first}=90"), "latest=10"]);
    // What is live already needs no choice only where the newest revision has it all.
    shop.say("three");
    let text = shop.refused(&["deploy"], 2).replace(&first, "FIRST");
    let error = text.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(error, @r"
    error: service `shop`: traffic was sent by hand (FIRST 90%, latest 10%), and it was not said what becomes of it
      help: `--all-traffic` gives the newest revision all of it
      help: `--no-traffic` leaves it as it is; with `--tag NAME` the new revision gets a URL of its own
    ");
    let text = shop.refused(&["plan"], 0);
    assert!(
        text.contains("-> latest 100%") && text.contains("a deploy asks first: traffic was sent by hand"),
        "{text}"
    );
    let choice = shop.report(&["plan"])["choice"].clone();
    assert!(choice.as_str().is_some_and(|choice| choice.contains(&first)), "{choice}");
    shop.refused(&["plan", "--out", "plan.json"], 2);
    let text = shop.refused(&["plan", "--no-traffic"], 0);
    assert!(!text.contains("asks first"), "{text}");

    // A tag alone is a revision beside the traffic.
    let third = shop.deploy("three", &["--tag", "next"]);
    assert!(third.starts_with("shop-00003-"));
    let second = shop.report(&["status"])["revisions"][1]["id"].as_str().unwrap().to_owned();
    assert_eq!(shop.serves(), json!({ &first: 90, &second: 10 }), "latest is its name now");
    // A plan that was saved is a choice.
    shop.say("four");
    shop.run(&["plan", "--all-traffic", "--out", "plan.json"]);
    let apply =
        shop.cloud.carrack().args(["deploy", "--local", "--plan", "plan.json"]).current_dir(shop.cloud.dir()).output();
    ok(apply.unwrap());
    assert!(shop.serves().as_object().unwrap().keys().all(|one| one.starts_with("shop-00004-")));
    // From now on each new one gets all of it again.
    let fifth = shop.deploy("five", &[]);
    assert_eq!(shop.serves(), json!({ fifth: 100 }));

    shop.run(&["traffic", &format!("{first}=100")]);
    let sixth = shop.deploy("six", &["--yes"]);
    assert_eq!(shop.serves(), json!({ &sixth: 100 }));
    shop.run(&["traffic", &format!("{first}=100")]);
    shop.refused(&["deploy"], 2);
    let report = shop.report(&["deploy", "--all-traffic"]);
    assert_eq!((&report["revision"], shop.serves()), (&json!(sixth), json!({ sixth.as_str(): 100 })), "no new one");
    shop.run(&["traffic", &format!("{sixth}=100")]);
    shop.run(&["deploy"]);
}

#[test]
fn what_another_client_routed_is_there_after_our_changes() {
    let shop = Shop::new();
    let first = shop.deploy("one", &[]);
    let by_name = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
    let latest = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
    // One revision by a share and three tags, and a tag that moves on by itself.
    let theirs = json!([
        { "type": by_name, "revision": &first, "percent": 100, "tag": "stable" },
        { "type": by_name, "revision": &first, "tag": "blue" },
        { "type": by_name, "revision": &first, "tag": "carracks" },
        { "type": latest, "tag": "newest" },
        { "type": by_name, "revision": &first, "tag": "carrack-old" },
    ]);
    let url = format!("{SERVICE}?updateMask=traffic");
    let operation = shop.cloud.call(Method::PATCH, &url, Some(&json!({ "traffic": theirs })));
    let wait = format!("https://run.googleapis.com/v2/{}:wait", operation["name"].as_str().unwrap());
    shop.cloud.call(Method::POST, &wait, Some(&json!({ "timeout": "30s" })));
    let tags = |live: &Value| -> Vec<(String, Value)> {
        let targets = live["traffic"].as_array().unwrap().iter().filter(|target| target["tag"].is_string());
        let mut tags: Vec<_> =
            targets.map(|one| (one["tag"].as_str().unwrap().to_owned(), one["revision"].clone())).collect();
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        tags
    };
    let name = |tag: &str, revision: &Value| (tag.to_owned(), revision.clone());
    let (one, newest) = (json!(first), Value::Null);
    let others = [name("blue", &one), name("carracks", &one), name("newest", &newest), name("stable", &one)].to_vec();
    let before = shop.live();
    shop.run(&["traffic", "stable=60", "latest=40"]);
    let after = shop.live();
    assert_eq!(tags(&after).len(), 5, "a change of traffic names no tag: {after}");
    assert_eq!(
        (&before["template"], &before["annotations"]),
        (&after["template"], &after["annotations"]),
        "no setting is sent"
    );
    // A tag of ours goes with the next revision, which nobody else's does.
    shop.deploy("two", &["--all-traffic"]);
    assert_eq!(tags(&shop.live()), others);
    shop.deploy("three", &["--no-traffic", "--tag", "next"]);
    let mut with_next = others.clone();
    with_next.retain(|(tag, _)| tag != "stable");
    let seen = tags(&shop.live());
    assert!(others.iter().all(|tag| seen.contains(tag)) && seen.len() == 5, "{seen:?}");
}

/// Two commands begin together; how each ended, and what it said.
fn together(shop: &Shop, commands: [(&[&str], &Path); 2]) -> [(i32, String); 2] {
    let started = commands.map(|(arguments, file)| {
        let mut command = shop.command(arguments, file);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    started.map(|child| {
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), shown(&output, &[]))
    })
}

/// Each call takes so long that both look before either of them writes.
const SLOW: [&str; 2] = ["--latency", "700ms"];

#[test]
fn of_two_deploys_at_once_one_wins_and_nothing_is_mixed() {
    let shop = Shop::on(LocalCloud::start_with(&SLOW));
    shop.deploy("none", &[]);
    let other = project(
        &shop.cloud.dir().join("other"),
        "shop",
        "[env]\nSAY = \"theirs\"\nMORE = \"theirs\"\n[scaling]\nmax = 7\n",
    );
    shop.say("ours\"\nMORE = \"ours");
    let ended = together(&shop, [(&["deploy"], &shop.file), (&["deploy", "--tag", "theirs"], &other)]);
    let codes: Vec<i32> = ended.iter().map(|(code, _)| *code).collect();
    assert!(codes == [0, 31] || codes == [31, 0], "{ended:?}");
    let lost = usize::from(codes[1] == 31);
    assert!(ended[lost].1.contains("the service changed meanwhile"), "{}", ended[lost].1);
    let live = shop.live();
    let env: Vec<&Value> = live["template"]["containers"][0]["env"].as_array().unwrap().iter().collect();
    let (say, maximum) = if lost == 0 { ("theirs", 7) } else { ("ours", 100) };
    assert!(env.iter().all(|one| one["value"] == say) && env.len() == 2, "{env:?}");
    assert_eq!(live["template"]["scaling"]["maxInstanceCount"], maximum);
    let tagged = live["traffic"].as_array().unwrap().iter().any(|target| target["tag"] == "theirs");
    assert_eq!(tagged, lost == 0, "{live}");
    assert!(get(live["uri"].as_str().unwrap()).starts_with(say));
    assert_eq!(shop.report(&["status"])["revisions"].as_array().unwrap().len(), 2, "the one that lost made none");
}

#[test]
fn of_two_changes_of_traffic_at_once_one_wins() {
    let shop = Shop::on(LocalCloud::start_with(&SLOW));
    let first = shop.deploy("one", &[]);
    let second = shop.deploy("two", &[]);
    let (ours, theirs) = (format!("{first}=100"), format!("{second}=60"));
    let rest = format!("{first}=40");
    let ended = together(&shop, [(&["traffic", &ours], &shop.file), (&["traffic", &theirs, &rest], &shop.file)]);
    let codes: Vec<i32> = ended.iter().map(|(code, _)| *code).collect();
    assert!(codes == [0, 31] || codes == [31, 0], "{ended:?}");
    let won = if codes[0] == 0 { json!({ first: 100 }) } else { json!({ first: 40, second: 60 }) };
    assert_eq!(shop.serves(), won);
}
