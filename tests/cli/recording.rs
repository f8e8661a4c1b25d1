//! `carrack emulator start --record`: where it writes, and when it refuses to start.
use std::fs;

use serde_json::Value;

use crate::{
    run::{ok, snapshot, stdout},
    support::{LocalCloud, carrack, project},
};

#[test]
fn every_exchange_of_a_command_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls");
    let cloud = LocalCloud::start_with(&["--record", path.to_str().unwrap()]);
    let file = project(&cloud.dir().join("app"), "shop", "");
    ok(cloud.carrack().args(["deploy", "--local", "--quiet", "-f"]).arg(&file).output().unwrap());
    let calls = stdout(&ok(cloud.run(&["emulator", "requests", "--format", "json"])));
    let shown = |line: &Value| format!("{} {} {}", line["n"], line["method"], line["status"]);
    let lines = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    let recorded = lines(&fs::read_to_string(&path).unwrap());
    let mut written: Vec<_> = recorded.iter().map(shown).collect();
    let mut listed: Vec<_> = lines(&calls).iter().map(shown).collect();
    written.sort();
    listed.sort();
    assert!(written.len() > 5, "{written:?}");
    assert_eq!(written, listed);
    let create = recorded.iter().find(|line| line["query"] == "serviceId=shop").unwrap();
    assert!(create["client"].as_str().unwrap().starts_with("carrack/"), "{create}");
    let image = |service: &Value| service["template"]["containers"][0]["image"].as_str().unwrap().to_owned();
    assert_eq!(image(&create["request"]), image(&create["response"]["metadata"]));
    assert!(stdout(&ok(cloud.run(&["emulator", "status"]))).contains(&format!("record    {}", path.display())));
    let other = dir.path().join("other");
    let again = cloud.carrack().args(["emulator", "start", "--record"]).arg(&other).output().unwrap();
    assert_eq!((again.status.code(), other.exists()), (Some(41), false), "it is not changed while it runs");
    ok(cloud.run(&["emulator", "stop"]));
    let last = lines(&fs::read_to_string(&path).unwrap()).pop().unwrap();
    assert!(last["end"].is_string() && last["exchanges"].as_u64() >= Some(recorded.len() as u64), "{last}");
}

#[test]
fn what_cannot_be_written_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("calls"), "{}\n").unwrap();
    for foreground in [&["--foreground"][..], &[]] {
        let start = |file: &str| {
            let mut command = carrack(&dir.path().join("state"));
            command.args(["emulator", "start", "--record", file]).args(foreground).current_dir(dir.path());
            snapshot(&mut command, &[(dir.path().to_str().unwrap(), "DIR")])
        };
        let (there, nowhere) = (start("calls"), start("no/such/folder/calls"));
        assert!(there.starts_with("exit 41") && there.contains("cannot record to `DIR/calls`"), "{there}");
        assert!(nowhere.starts_with("exit 41") && nowhere.contains("cannot record to `DIR/no/such"), "{nowhere}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("calls")).unwrap(), "{}\n");
}
