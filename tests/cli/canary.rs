//! Marked secret values go through every command that can touch them, and are looked for in everything that is written.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "who watches looks again a moment later")]
#![expect(clippy::print_stdout, reason = "the number of places is what the test is for")]

mod needles;
mod watch;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use carrack_core::secret::SecretValue;
use reqwest::Method;
use serde_json::Value;

use self::{needles::Needles, watch::Watch};
use crate::{
    run::{shown, stdout},
    support::{CARRACK, LocalCloud, app},
};

/// Random letters and digits, so that nothing else is like it.
fn word() -> String {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).unwrap();
    let word: String = bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("Kanarienvogel{word}{}", bytes[0])
}

/// One run of everything.
struct Mine {
    cloud: LocalCloud,
    needles: Arc<Needles>,
    app: PathBuf,
    /// For the files that a user asks for, which hold a value.
    asked: PathBuf,
    /// How often each kind of place was searched, and how many bytes.
    places: BTreeMap<&'static str, (usize, usize)>,
    leaks: Vec<String>,
}

impl Mine {
    fn search(&mut self, kind: &'static str, name: &str, text: &[u8]) {
        let place = self.places.entry(kind).or_default();
        *place = (place.0 + 1, place.1 + text.len());
        let found = self.needles.found_in(text);
        self.leaks.extend(found.into_iter().map(|needle| format!("{kind} of `{name}`: {needle}")));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cloud.carrack();
        command.args(arguments).current_dir(&self.app).env("TMPDIR", self.cloud.dir().join("tmp"));
        command
    }

    /// Runs it, and searches what it writes. `asks`: what it writes to stdout is asked for, and holds a value.
    fn ran(&mut self, mut command: Command, input: &[u8], asks: bool) -> Output {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        if !asks {
            self.search("stdout", &name, &output.stdout);
        }
        self.search("stderr", &name, &output.stderr);
        output
    }

    fn fed(&mut self, arguments: &[&str], input: &[u8]) -> Output {
        self.ran(self.command(arguments), input, false)
    }

    fn runs(&mut self, arguments: &[&str]) -> Output {
        self.fed(arguments, b"")
    }

    /// In a step of GitHub's, with its files.
    fn in_github(&mut self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", &self.app);
        for name in ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV"] {
            let file = self.cloud.dir().join(name);
            File::options().create(true).append(true).open(&file).unwrap();
            command.env(name, file);
        }
        self.ran(command, b"", false)
    }

    fn works(&mut self, arguments: &[&str]) -> Output {
        let output = self.runs(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", shown(&output, &[]));
        output
    }

    fn fails(&mut self, arguments: &[&str]) {
        let output = self.runs(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", shown(&output, &[]));
    }

    fn faulty(&mut self, fault: &[&str]) {
        self.works(&["emulator", "faults", "clear"]);
        self.works(&[&["emulator", "faults", "add"], fault].concat());
    }

    fn file(&self, rest: &str) {
        let text = format!(
            "[service]\nname = \"shop\"\nport = 8080\npublic = true\n\n[image]\nname = \"shop\"\n[image.build]\nbase = \"scratch\"\n\
             files = [{{ from = \"app\", to = \"/app\" }}]\nentrypoint = [\"/app\"]\n\n[secrets]\nSAY = \"text\"\n\
             KEY = {{ secret = \"binary\", version = \"1\", mount = \"/etc/binary/key\" }}\nPEM = {{ secret = \"lines\", mount = \"/etc/lines/key.pem\" }}\n\
             [targets.prod]\nprovider = \"cloud-run\"\nproject = \"local\"\nregion = \"us-central1\"\n\
             service_account = \"run-shop@local.iam.gserviceaccount.com\"\n{rest}"
        );
        fs::write(self.app.join("carrack.toml"), text).unwrap();
    }
}

#[test]
fn no_value_is_written_anywhere_but_where_it_is_asked_for() {
    let word_of = |text: &str| text.replace("WORD", &word());
    let text = word_of("postgres://shop:WORD&=%@db/\"sh op\"?ü=\\").into_bytes();
    let newer = word_of("postgres://shop:WORD@db").into_bytes();
    let lines = word_of("-----BEGIN PRIVATE KEY-----\nWORD\n-----END PRIVATE KEY-----\n").into_bytes();
    let mut binary = vec![0; 48];
    getrandom::fill(&mut binary[1..]).unwrap();
    let lost = word_of("WORD").into_bytes();
    let token = word();
    let argument = word_of("-----BEGIN PRIVATE KEY-----\nWORD\n-----END PRIVATE KEY-----\n");
    let control = word();
    let values: [(&str, &[u8]); 8] = [
        ("text", &text),
        ("newer", &newer),
        ("lines", &lines),
        ("binary", &binary),
        ("lost", &lost),
        ("control", control.as_bytes()),
        // These are put on a command line and into an environment by whoever calls.
        ("argument", argument.as_bytes()),
        ("token", token.as_bytes()),
    ];
    let needles = Arc::new(Needles::new(&values));

    let cloud = LocalCloud::start_as(&["-vvv"], |command, dir| {
        let written = |name: &str| File::create(dir.join(name)).unwrap();
        command.env("CARRACK_LOG", "trace").arg("--record").arg(dir.join("recorded.jsonl"));
        command.stdout(written("cloud.stdout")).stderr(written("cloud.stderr"));
    });
    let dir = cloud.dir().to_owned();
    let [app_dir, asked, tmp] = ["app", "asked", "tmp"].map(|name| dir.join(name));
    for folder in [&app_dir, &asked, &tmp] {
        fs::create_dir(folder).unwrap();
    }
    fs::copy(app(), app_dir.join("app")).unwrap();
    fs::write(asked.join("lines.pem"), &lines).unwrap();
    let watched = Arc::new(Needles::new(&values[..values.len() - 2]));
    let watch = Watch::begin(watched, dir.clone(), vec![tmp.clone(), app_dir.clone()]);
    let places = BTreeMap::new();
    let mut mine =
        Mine { cloud, needles: Arc::clone(&needles), app: app_dir.clone(), asked, places, leaks: Vec::new() };
    mine.file("");

    values_go_in_and_out(&mut mine, &text, &lines, &binary);
    a_value_in_the_wrong_place_is_not_repeated(&mut mine, &argument);
    a_service_reads_them(&mut mine, &text, &newer);
    things_go_wrong(&mut mine, &lost, &token);
    descriptors_run_out(&mut mine, &lost);
    mine.places.insert("panic", panics(&mut mine.leaks, &needles, &text));
    removed(&mut mine);

    // Who watches sees what is there for a moment only.
    fs::write(tmp.join("moment"), STANDARD.encode(&control)).unwrap();
    let status = Command::new("sleep").arg("0.3").env("CARRACK_STATE_DIR", &dir).env("VALUE", &control).status();
    assert!(status.unwrap().success());
    fs::remove_file(tmp.join("moment")).unwrap();
    let seen = watch.end();
    let (seen_control, seen_leaks): (Vec<_>, Vec<_>) =
        seen.leaks.into_iter().partition(|leak| leak.contains("control"));
    for what in ["environment of `sleep", "tmp/moment`"] {
        assert!(seen_control.iter().any(|leak| leak.contains(what)), "{what}: {seen_control:?}");
    }
    mine.leaks.extend(seen_leaks);
    mine.places.insert("process", (seen.processes.len(), 0));
    mine.places.insert("file while it ran", (seen.files.len(), 0));

    everything_left(&mut mine, &dir);
    let total: usize = mine.places.values().map(|(count, _)| count).sum();
    let bytes: usize = mine.places.values().map(|(_, bytes)| bytes).sum();
    println!(
        "{total} places and {bytes} bytes were searched for {} forms of {} values:",
        needles.count(),
        values.len()
    );
    for (kind, (count, bytes)) in &mine.places {
        println!("  {count} × {kind}, {bytes} bytes");
    }
    println!("  in {} looks at processes and files", seen.looks);
    assert!(total > 300 && seen.processes.len() > 50 && seen.looks > 100, "too few places: {total}");
    assert!(mine.leaks.is_empty(), "{}", mine.leaks.join("\n"));
}

fn values_go_in_and_out(mine: &mut Mine, text: &[u8], lines: &[u8], binary: &[u8]) {
    for flags in [&["-vvv"][..], &["--format", "json"], &["-q"], &["--format", "json", "-vvv"]] {
        for (name, value) in [("text", text), ("binary", binary)] {
            let output = mine.fed(&[&["secrets", "set", name, "--local"], flags].concat(), value);
            assert!(output.status.success(), "{}", shown(&output, &[]));
        }
        let from = mine.asked.join("lines.pem");
        mine.works(&[&["secrets", "set", "lines", "--local", "--from-file", from.to_str().unwrap()], flags].concat());
        for (name, value) in [("text", text), ("binary", binary), ("lines", lines)] {
            let file = mine.asked.join(format!("{name}.out"));
            let out = [&["secrets", "get", name, "1", "--local", "--out", file.to_str().unwrap()], flags].concat();
            mine.works(&out);
            assert!(fs::read(&file).unwrap() == value, "it is what it was");
            if flags.contains(&"json") {
                mine.fails(&[&["secrets", "get", name, "--local"], flags].concat());
                let show = mine.command(&[&["secrets", "get", name, "--local", "--show"], flags].concat());
                let output = mine.ran(show, b"", true);
                let mut report: Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
                let shown = report["value_base64"].take();
                assert!(STANDARD.decode(shown.as_str().unwrap()).unwrap() == value);
                mine.search("stdout", "secrets get --show, without its value", report.to_string().as_bytes());
            } else {
                let pipe = mine.command(&[&["secrets", "get", name, "--local"], flags].concat());
                assert!(mine.ran(pipe, b"", true).stdout == value);
            }
        }
        for arguments in [&["list"][..], &["versions", "text"], &["disable", "text", "1"], &["enable", "text", "1"]] {
            mine.works(&[&["secrets"], arguments, &["--local"], flags].concat());
        }
        for name in ["text", "binary", "lines"] {
            mine.fails(&[&["secrets", "set", name, "--local", "--from-file", "none"], flags].concat());
        }
    }
    let mut traced = mine.command(&["secrets", "set", "text", "--local"]);
    traced.env("CARRACK_LOG", "trace");
    assert!(mine.ran(traced, text, false).status.success());
}

fn a_value_in_the_wrong_place_is_not_repeated(mine: &mut Mine, argument: &str) {
    for value in [argument, argument.trim_start_matches('-')] {
        for arguments in
            [&["secrets", "set", "text", value, "--local"][..], &["secrets", "set", "--format", "json", "text", value]]
        {
            let output = mine.cloud.carrack().args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{}", shown(&output, &[]));
            mine.search("stderr", "secrets set with the value as an argument", &output.stderr);
            mine.search("stdout", "secrets set with the value as an argument", &output.stdout);
        }
    }
}

fn a_service_reads_them(mine: &mut Mine, text: &[u8], newer: &[u8]) {
    for arguments in [
        &["check"][..],
        &["permissions", "show"],
        &["permissions", "show", "--format", "json"],
        &["auth", "show", "--local"],
        &["push", "--local", "-vvv"],
        &["ci", "init", "github"],
        &["ci", "init", "gitlab"],
        &["ci", "init", "script"],
    ] {
        mine.runs(arguments);
    }
    mine.fails(&["deploy", "--local", "-vvv"]);
    mine.fails(&["deploy", "--local", "--format", "json"]);
    for name in ["text", "binary", "lines"] {
        mine.works(&["secrets", "grant", name, "--local", "-vvv"]);
    }
    mine.works(&["plan", "--local", "-vvv"]);
    mine.works(&["plan", "--local", "--format", "json"]);
    mine.works(&["plan", "--local", "--out", "plan.json"]);
    assert!(mine.in_github(&["plan", "--local", "-vvv"]).status.success());
    let url = stdout(&mine.works(&["deploy", "--local", "--plan", "plan.json", "-vvv"]));
    let answer = Command::new("curl").args(["-sS", "--fail", &url]).output().unwrap();
    assert!(answer.stdout.starts_with(text), "the value reaches the service: {}", shown(&answer, &[]));
    let output = mine.fed(&["secrets", "set", "text", "--local"], newer);
    assert!(output.status.success());
    mine.works(&["plan", "--local"]);
    let deploy = mine.in_github(&["deploy", "--local", "-vvv"]);
    assert!(deploy.status.success(), "{}", shown(&deploy, &[]));
    mine.works(&["deploy", "--local", "--format", "json"]);
    for flags in [&["-vvv"][..], &["--format", "json"], &[]] {
        for command in [&["status"][..], &["status", "--all"], &["logs"], &["plan"], &["permissions", "check"]] {
            mine.runs(&[command, &["--local"], flags].concat());
        }
    }
}

fn things_go_wrong(mine: &mut Mine, lost: &[u8], token: &str) {
    for fault in [
        "400",
        "401",
        "403",
        "404",
        "409",
        "429",
        "500",
        "503",
        "reset",
        "reset-after",
        "truncate",
        "corrupt",
        "corrupt-request",
    ] {
        for path in ["*:addVersion", "*:access", "*/secrets"] {
            mine.faulty(&[fault, "--service", "secretmanager", "--path", path, "--count", "2"]);
            let flags = if path == "*:access" { &["--format", "json", "-vvv"][..] } else { &["-vvv"] };
            mine.fed(&[&["secrets", "set", "lost", "--local"], flags].concat(), lost);
            let out = mine.asked.join("lost.out");
            mine.runs(&["secrets", "get", "lost", "--local", "-vvv", "--out", out.to_str().unwrap()]);
        }
        if matches!(fault, "403" | "500" | "reset-after" | "corrupt") {
            mine.faulty(&[fault, "--service", "run", "--count", "1"]);
            mine.file(&format!("[env]\nFAULT = \"{fault}\"\n"));
            mine.runs(&["deploy", "--local", "-vvv"]);
        }
    }
    for fault in ["stall", "stall-after"] {
        mine.faulty(&[fault, "--service", "secretmanager", "--path", "*:a*"]);
        let output = mine.fed(&["secrets", "set", "lost", "--local", "-vvv", "--timeout", "1s"], lost);
        assert_eq!(output.status.code(), Some(42), "{}", shown(&output, &[]));
    }
    mine.works(&["emulator", "faults", "clear"]);
    // What fails leaves evidence, of which a dossier is made.
    for (rest, flags) in [
        ("[env]\nEXIT = \"3\"\n", &["-vvv"][..]),
        ("[env]\nEXIT = \"4\"\n", &["--format", "json"]),
        ("[env]\nSTATUS = \"500 Oh\"\n", &["-vvv"]),
    ] {
        mine.file(rest);
        mine.fails(&[&["deploy", "--local", "--timeout", "8s"], flags].concat());
        if rest.contains("EXIT") {
            assert!(!mine.in_github(&["deploy", "--local"]).status.success());
        }
        for command in ["status", "logs"] {
            mine.works(&[command, "--local"]);
        }
    }
    mine.file("[env]\nAGAIN = \"1\"\n");
    mine.works(&["secrets", "disable", "text", "latest", "--local"]);
    mine.fails(&["deploy", "--local", "-vvv", "--format", "json"]);
    mine.works(&["secrets", "enable", "text", "2", "--local"]);
    // A token is a secret, too.
    for arguments in
        [&["secrets", "get", "text", "-vvv"][..], &["deploy", "-vvv", "--format", "json"], &["auth", "show", "-vvv"]]
    {
        let mut command = mine.command(arguments);
        command.env_remove("CARRACK_STATE_DIR").env("CARRACK_STATE_DIR", "/nowhere");
        command.env("CARRACK_ENDPOINT", mine.cloud.parts().0).env("CARRACK_ENDPOINT_TOKEN", token);
        let output = mine.ran(command, b"", false);
        assert!(arguments[0] == "auth" || output.status.code() == Some(20), "{}", shown(&output, &[]));
    }
}

/// With few descriptors the program ends somewhere, at some numbers of them by a panic, while a value is on its way in.
fn descriptors_run_out(mine: &mut Mine, value: &[u8]) {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for descriptors in 4..16 {
        let line = format!("ulimit -c 0; ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let like = mine.command(&[]);
        let mut command = Command::new("sh");
        command
            .env_clear()
            .envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(&mine.app);
        command.env("RUST_BACKTRACE", "full").args(["-c", &line, CARRACK, "secrets", "set", "lost", "--local", "-vvv"]);
        let output = mine.ran(command, value, false);
        let panicked = String::from_utf8_lossy(&output.stderr).contains("panicked at");
        *ends.entry(if panicked { "a panic".to_owned() } else { format!("{}", output.status) }).or_default() += 1;
    }
    println!("with few descriptors: {ends:?}");
    assert!(ends.contains_key("a panic") && ends.contains_key("exit status: 0"), "{ends:?}");
}

/// What a panic says of a value that it is about.
fn panics(leaks: &mut Vec<String>, needles: &Needles, value: &[u8]) -> (usize, usize) {
    let said = Arc::new(Mutex::new(Vec::<String>::new()));
    let secret = || SecretValue::new(value.to_vec());
    let refused = || -> Result<(), SecretValue> { Err(secret()) };
    let about: [&dyn Fn(); 4] = [
        &|| refused().expect("a value"),
        &|| assert_eq!(secret(), SecretValue::new(b"x".to_vec())),
        &|| panic!("{:?} {:#?}", secret(), Some((1, secret()))),
        &|| assert!(value.is_empty(), "{:?}", vec![secret()]),
    ];
    let before = panic::take_hook();
    let into = Arc::clone(&said);
    panic::set_hook(Box::new(move |info| into.lock().unwrap().push(info.to_string())));
    for panics in &about {
        assert!(panic::catch_unwind(AssertUnwindSafe(panics)).is_err());
    }
    panic::set_hook(before);
    let said = said.lock().unwrap();
    let ours = said.iter().filter(|text| text.contains("REDACTED")).count();
    assert_eq!(ours, about.len(), "{said:?}");
    for text in said.iter() {
        leaks.extend(needles.found_in(text.as_bytes()).into_iter().map(|needle| format!("a panic: {needle}")));
    }
    (said.len(), said.iter().map(String::len).sum())
}

fn removed(mine: &mut Mine) {
    // What the cloud keeps of it: services, revisions, policies and what the list of requests says.
    let run = "https://run.googleapis.com";
    let secrets = "https://secretmanager.googleapis.com/v1/projects/local/secrets";
    let shop = "projects/local/locations/us-central1/services/shop";
    for url in [
        format!("{run}/v2/{shop}"),
        format!("{run}/v2/{shop}/revisions"),
        format!("{run}/v2/{shop}:getIamPolicy"),
        "https://us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/local/services/shop".to_owned(),
        secrets.to_owned(),
        format!("{secrets}/text"),
        format!("{secrets}/text/versions"),
        format!("{secrets}/text:getIamPolicy"),
    ] {
        let answer = mine.cloud.call(Method::GET, &url, None);
        mine.search("the cloud's own description", &url, answer.to_string().as_bytes());
    }
    for arguments in [
        &["requests"][..],
        &["requests", "--format", "json"],
        &["logs"],
        &["status", "--format", "json"],
        &["faults", "list"],
    ] {
        mine.runs(&[&["emulator"], arguments].concat());
    }
    for arguments in [
        &["destroy", "--local", "--yes", "-vvv"][..],
        &["secrets", "destroy", "text", "1", "--local", "--yes", "-vvv"],
        &["secrets", "delete", "lines", "--local", "--yes", "--format", "json"],
    ] {
        mine.works(arguments);
    }
    mine.works(&["emulator", "stop"]);
}

/// Every file in the folders of state, home, temporary files and work, apart from those that were asked for.
fn everything_left(mine: &mut Mine, dir: &Path) {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let mut seen_asked = 0;
    for entry in files.collect::<Vec<_>>() {
        let text = fs::read(entry.path()).unwrap();
        if entry.path().starts_with(&mine.asked) {
            seen_asked += usize::from(!mine.needles.found_in(&text).is_empty());
            continue;
        }
        mine.search("file that is left", &entry.path().display().to_string(), &text);
    }
    assert!(seen_asked >= 3, "a value is found where it is");
    for name in ["recorded.jsonl", "cloud.stderr", "app/plan.json", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
        assert!(fs::metadata(dir.join(name)).is_ok_and(|data| data.len() > 0), "{name} has something in it");
    }
}
