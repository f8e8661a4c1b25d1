//! Each rule, by what a failure left behind.
use std::time::Duration;

use super::*;

fn evidence(signs: &[Sign], lines: &[&str]) -> Evidence {
    Evidence {
        signs: signs.to_vec(),
        image: Some(ImageRef("host/p/r/shop@sha256:00".into())),
        port: Some(8080),
        memory: Some(Mebibytes(512)),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        ..Evidence::default()
    }
}

/// Code, message and fix.
fn told(evidence: &Evidence) -> (Code, String, String) {
    let cause = evidence.cause().expect("a cause");
    let fix = cause.fix.steps("again").collect::<Vec<_>>().join(", then: ");
    (cause.code, cause.message, fix)
}

#[track_caller]
fn is(evidence: &Evidence, code: Code, message: &str, fix: &str) {
    assert_eq!(told(evidence), (code, message.to_owned(), fix.to_owned()));
}

fn probe(check: ProbeCheck, failures: u32) -> Option<Probe> {
    let second = Duration::from_secs(1);
    Some(Probe { check, delay: Duration::ZERO, period: second, timeout: second, failures })
}

#[test]
fn another_port_is_told_from_the_programs_own_line() {
    is(
        &evidence(&[Sign::NotListening], &["starting", "Listening on port 3000"]),
        Code::WrongPort,
        "the program listens on port 3000, and requests go to port 8080",
        "write `port = 3000` under [service], then: again",
    );
    // A person's `localhost` is no proof of loopback when the port explains it.
    let evidence = evidence(&[Sign::NotListening], &["App listening at http://localhost:3000"]);
    assert_eq!(told(&evidence).0, Code::WrongPort);
}

#[test]
fn loopback_is_told_from_the_programs_own_line() {
    is(
        &evidence(&[Sign::NotListening], &["listening on 127.0.0.1:8080"]),
        Code::LoopbackOnly,
        "the program listens on 127.0.0.1:8080 alone, which nothing outside of the container reaches",
        "listen on 0.0.0.0:8080, not on 127.0.0.1, then: again",
    );
    let here = evidence(&[Sign::NotListening], &["Server listening on http://localhost:8080"]);
    assert_eq!(told(&here).2, "listen on 0.0.0.0:8080, not on localhost, then: again");
    let flask = evidence(&[Sign::NotListening], &[" * Running on http://127.0.0.1:5000"]);
    is(
        &flask,
        Code::LoopbackOnly,
        "the program listens on 127.0.0.1:5000 alone, which nothing outside of the container reaches",
        "listen on 0.0.0.0 and on the port that the variable PORT names (8080), not on 127.0.0.1:5000, then: again",
    );
}

#[test]
fn a_server_that_names_all_its_addresses_is_not_on_loopback_alone() {
    let lines = ["Running on http://127.0.0.1:5000", "Running on http://172.17.0.2:5000"];
    assert_eq!(told(&evidence(&[Sign::NotListening], &lines)).0, Code::WrongPort);
    let lines = ["Running on http://127.0.0.1:8080", "Running on http://172.17.0.2:8080"];
    assert_eq!(told(&evidence(&[Sign::NotListening], &lines)).0, Code::NotListening);
}

#[test]
fn what_nothing_tells_is_said_so() {
    let silent = evidence(&[Sign::NotListening], &["starting"]);
    is(
        &silent,
        Code::NotListening,
        "nothing answers on port 8080: the program listens on another port, on loopback alone, or too late, and its log does not say which",
        "listen on 0.0.0.0 and on the port that the variable PORT (8080) names, then: again",
    );
    let exposed = Evidence { exposed: vec![3000], ..silent.clone() };
    is(
        &exposed,
        Code::WrongPort,
        "nothing answers on port 8080, and the image exposes port 3000",
        "write `port = 3000` under [service], then: again",
    );
    for exposed in [vec![8080], vec![3000, 9090]] {
        assert_eq!(told(&Evidence { exposed, ..silent.clone() }).0, Code::NotListening);
    }
    let late = evidence(&[Sign::NotListening], &["listening on port 8080"]);
    assert_eq!(told(&late).0, Code::NotListening);
    assert!(told(&late).1.contains("says that it listens on port 8080"));
    assert_eq!(evidence(&[], &["listening on port 3000"]).cause(), None);
}

#[test]
fn a_program_that_ends_is_told_with_its_code() {
    is(
        &evidence(&[Sign::NotListening, Sign::Exited(3)], &["reading", "fatal: no database", ""]),
        Code::ExitAtStart,
        "the program ended with exit code 3 before it listened on port 8080",
        "mend what its log says: `fatal: no database`, then: again",
    );
    let node = ["Error: Cannot find module 'express'", "    at node:internal/modules", "Node.js v22.1.0"];
    assert!(told(&evidence(&[Sign::Exited(1)], &node)).2.contains("module 'express'"));
    assert!(told(&evidence(&[Sign::Exited(0)], &[])).2.starts_with("start the server in the foreground"));
    assert!(told(&evidence(&[Sign::Exited(1)], &[])).2.starts_with("let the program say why"));
    assert!(told(&evidence(&[Sign::Killed(11)], &["x"])).1.contains("ended by signal 11"));
    let missing = Sign::NotStarted("cannot find `/app`".to_owned());
    assert_eq!(told(&evidence(&[missing], &[])).1, "the program did not start: cannot find `/app`");
    let red = "\u{1b}[31mError:\u{1b}[0m no\u{7} database\u{1b}";
    assert!(told(&evidence(&[Sign::Exited(1)], &[red])).2.contains("`Error: no database`"));
    let long = "é".repeat(200);
    assert!(told(&evidence(&[Sign::Exited(1)], &[&long])).2.contains("é…`"));
}

#[test]
fn memory_is_doubled_or_what_was_used() {
    let told_by = |limit, used| told(&evidence(&[Sign::Exited(1), Sign::OutOfMemory { limit, used }], &[]));
    assert_eq!(
        told_by(Some(Mebibytes(128)), Some(Mebibytes(131))),
        (
            Code::OutOfMemory,
            "the container used 131MiB, more than its limit of 128MiB".to_owned(),
            "write `memory = \"256MiB\"` under [resources], then: again".to_owned(),
        )
    );
    assert!(told_by(None, None).1.ends_with("more memory than its limit of 512MiB"));
    assert!(told_by(None, Some(Mebibytes(1500))).2.contains("\"2GiB\""));
    assert!(told_by(Some(Mebibytes(1000)), None).2.contains("\"1GiB\""));
}

#[test]
fn a_probe_that_is_answered_wrongly_is_not_a_port() {
    let http = || probe(ProbeCheck::Http { path: "/healthz".to_owned(), port: None }, 3);
    let sign = |answered| [Sign::ProbeFailed { answered }];
    let failed =
        Evidence { startup: http(), ..evidence(&sign(Some(true)), &["listening on 8080", "listening on :3000"]) };
    is(
        &failed,
        Code::StartupProbe,
        "the startup probe asked for `/healthz` on port 8080 3 times and got no status from 200 to 399",
        "answer 200 at `/healthz`, or write the path that does under [health]: `startup = { http = \"/PATH\" }`, then: again",
    );
    let refused = Evidence { startup: http(), ..evidence(&sign(Some(false)), &["listening on :3000"]) };
    assert_eq!(told(&refused).0, Code::WrongPort);
    let silent = Evidence { startup: http(), ..evidence(&sign(Some(false)), &[]) };
    assert_eq!(told(&silent).0, Code::NotListening);
    let tcp = Evidence {
        startup: probe(ProbeCheck::Tcp { port: None }, 2),
        ..evidence(&sign(None), &["listening on :3000"])
    };
    assert_eq!(told(&tcp).0, Code::WrongPort);
    let grpc = probe(ProbeCheck::Grpc { port: None, service: None }, 1);
    let grpc = Evidence { startup: grpc, ..evidence(&sign(Some(true)), &[]) };
    assert_eq!(told(&grpc).0, Code::StartupProbe);
}

#[test]
fn images_come_before_everything() {
    let missing = Sign::ImageNotFound { list: Some("list r".to_owned()) };
    is(
        &evidence(&[Sign::NotListening, missing], &[]),
        Code::ImageNotFound,
        "the registry does not have `host/p/r/shop@sha256:00`",
        "list r, then: write one of those under [image], or name it with `--image`",
    );
    let denied = Sign::ImageNotReadable { reader: "the agent".to_owned(), grant: Some("grant".to_owned()) };
    is(
        &evidence(&[denied], &[]),
        Code::ImageNotReadable,
        "the agent may not read `host/p/r/shop@sha256:00`",
        "grant, then: again",
    );
    is(
        &evidence(&[Sign::WrongArchitecture { platform: "linux/amd64".to_owned() }], &[]),
        Code::WrongArchitecture,
        "`host/p/r/shop@sha256:00` has no program for linux/amd64",
        "docker buildx build --platform linux/amd64 --tag host/p/r/shop --push ., then: deploy what that pushed: write it under [image], or name it with `--image`",
    );
    let shell = evidence(&[Sign::Exited(126)], &["/entrypoint.sh: /app: Exec format error"]);
    assert_eq!(told(&shell).0, Code::WrongArchitecture);
    let kernel = Sign::NotStarted("cannot start `/app`: Exec format error (os error 8)".to_owned());
    assert_eq!(told(&evidence(&[kernel], &[])).0, Code::WrongArchitecture);
}

#[test]
fn the_programs_lines_come_before_the_clouds() {
    let mut evidence = evidence(&[], &["one", "two", "three"]);
    evidence.system = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(evidence.last_lines(2), ["two", "three"]);
    assert_eq!(evidence.last_lines(4), ["one", "two", "three", "b"]);
    assert_eq!(evidence.last_lines(9).len(), 5);
}
