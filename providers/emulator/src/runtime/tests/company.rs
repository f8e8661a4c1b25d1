//! Several containers of one instance, and what is mounted in them, the same for every runtime.
use std::{net::TcpListener, time::Duration};

use rustix::process::Signal;
use zeroize::Zeroizing;

use super::{
    behaviour::for_each_runtime,
    support::{Bench, LONG, Running},
};
use crate::runtime::{
    Company, Content, Exit, FOLDER_MOUNTS, Hidden, Launch, LaunchError, Lend, Mount, MountedFile, RuntimeKind,
    memory::MemoryLimit,
};

for_each_runtime!(
    containers_of_one_instance_meet_on_loopback,
    the_end_of_one_is_not_the_end_of_its_network,
    files_hide_what_the_image_has_there,
    a_folder_is_shared_by_all_that_mount_it,
    a_folder_of_its_own_is_empty_and_writable,
    a_folder_of_this_machine_keeps_what_is_written,
    a_limit_of_memory_is_for_one_container,
    many_containers_leave_nothing,
    what_cannot_be_joined_leaves_nothing,
    files_never_get_into_a_folder_that_others_share,
    too_many_shared_folders_are_refused_at_once,
    a_port_of_its_own_is_told_as_it_is_set,
);

/// Not every runtime has ports of its own for each test.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn folder(path: &str, name: &str) -> Mount {
    Mount { path: path.to_owned(), content: Content::Folder { name: name.to_owned(), size: Some(1 << 20) } }
}

fn lend(name: &str, copies: usize) -> Lend {
    Lend { name: name.to_owned(), size: Some(1 << 20), copies }
}

/// A container beside `first`, which is told no port.
async fn beside(bench: &Bench, first: &Running, words: &[&str], change: impl FnOnce(&mut Launch)) -> Running {
    let joining = |launch: &mut Launch| {
        launch.port = None;
        launch.company = Company::Joins(first.instance.clone());
        change(launch);
    };
    bench.launch(words, joining).await.unwrap()
}

async fn first(bench: &Bench, words: &[&str], reached: u16, change: impl FnOnce(&mut Launch)) -> Running {
    let opening = |launch: &mut Launch| {
        launch.reached = vec![reached];
        launch.company = Company::First(Vec::new());
        change(launch);
    };
    bench.launch(words, opening).await.unwrap()
}

async fn containers_of_one_instance_meet_on_loopback(kind: RuntimeKind) {
    let (bench, port) = (Bench::new(kind).await, free_port());
    let front = first(&bench, &["serve"], port, |_| {}).await;
    let side = beside(&bench, &front, &[&format!("serve-at-{port}")], |launch| {
        launch.env = vec![("NAME".to_owned(), "side".to_owned())];
    })
    .await;
    assert_eq!(side.ask_at(port, "hello").await, "hello", "as a probe reaches it");
    let relayed = front.ask(&format!("relay 127.0.0.1:{port} env")).await;
    assert!(relayed.contains("NAME=side\n"), "{relayed}");
    assert!(!relayed.contains("PORT="), "{relayed}");
    let environment = front.ask("env").await;
    let told = environment.lines().find_map(|line| line.strip_prefix("PORT=")).unwrap();
    assert_eq!(side.ask_at(port, &format!("relay 127.0.0.1:{told} hello")).await, "hello");
    assert_eq!(side.ask_at(port, "write /etc/text changed").await, "ok");
    assert_eq!(front.ask("read /etc/text").await, "just text", "files are each one's own");
    front.instance.stop(LONG).await;
    side.instance.stop(LONG).await;
    bench.assert_nothing_is_left();
}

async fn the_end_of_one_is_not_the_end_of_its_network(kind: RuntimeKind) {
    let (bench, port) = (Bench::new(kind).await, free_port());
    let base = first(&bench, &["serve"], port, |_| {}).await;
    assert_eq!(base.ask("hello").await, "hello");
    let side = beside(&bench, &base, &[&format!("serve-at-{port}")], |_| {}).await;
    let third = beside(&bench, &base, &["7"], |_| {}).await;
    assert_eq!(third.exited().await, Exit::code(7));
    assert_eq!(side.ask_at(port, "hello").await, "hello");
    assert_eq!(base.ask(&format!("relay 127.0.0.1:{port} hello")).await, "hello");
    base.instance.stop(Duration::ZERO).await;
    side.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn a_folder_of_this_machine_keeps_what_is_written(kind: RuntimeKind) {
    let (bench, kept) = (Bench::new(kind).await, tempfile::tempdir().unwrap());
    std::fs::set_permissions(kept.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::write(kept.path().join("before"), "was there").unwrap();
    let mount = |path: &str, read_only| {
        let content = Content::Kept { source: kept.path().to_owned(), read_only };
        Mount { path: path.to_owned(), content }
    };
    let mounts = vec![mount("/data", false), mount("/same/shown", true)];
    let running = bench.launch(&["serve"], |launch| launch.mounts = mounts).await.unwrap();
    assert_eq!(running.ask("read /data/before").await, "was there");
    assert_eq!(running.ask("write /data/after new").await, "ok");
    assert_eq!(running.ask("read /same/shown/after").await, "new");
    assert_ne!(running.ask("write /same/shown/other new").await, "ok");
    running.instance.stop(LONG).await;
    assert_eq!(std::fs::read_to_string(kept.path().join("after")).unwrap(), "new");
    bench.assert_nothing_is_left();
}

/// What is in `/etc`, without the three that an engine puts there itself.
async fn listed(running: &Running) -> Vec<String> {
    let listed = running.ask("list /etc").await;
    let own = listed.split_whitespace().filter(|name| !["hostname", "hosts", "resolv.conf"].contains(name));
    own.map(str::to_owned).collect()
}

async fn files_hide_what_the_image_has_there(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let file = |path: &str, text: &str, mode| MountedFile {
        path: path.to_owned(),
        bytes: Hidden(Zeroizing::new(text.as_bytes().to_vec())),
        mode,
    };
    let files = vec![file("key", "hidden\n", 0o444), file("below/other", "second", 0o400)];
    let shown = format!("{files:?}");
    assert!(!shown.contains("second") && !shown.contains("104"), "{shown}");
    let mount = Mount { path: "/etc".to_owned(), content: Content::Files(files) };
    let running = bench.launch(&["serve"], |launch| launch.mounts = vec![mount]).await.unwrap();
    assert_eq!(listed(&running).await, ["below", "key"]);
    assert_eq!(running.ask("read /etc/key").await, "hidden\n");
    assert_eq!(running.ask("read /etc/below/other").await, "second");
    assert_eq!(running.ask("mode /etc/key").await, "0444");
    assert_eq!(running.ask("mode /etc/below/other").await, "0400");
    if kind.keeps_files_in_memory() {
        let refused = running.ask("write /etc/new text").await;
        assert!(refused.starts_with("error: Read-only file system"), "{refused}");
    }
    let other = bench.start(&["serve"]).await;
    assert_eq!(other.ask("read /etc/text").await, "just text", "the image is as it was");
    running.instance.stop(Duration::ZERO).await;
    other.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn a_folder_is_shared_by_all_that_mount_it(kind: RuntimeKind) {
    let (bench, port) = (Bench::new(kind).await, free_port());
    // The first one lends `there`, and does not have it itself.
    let base = first(&bench, &["serve"], port, |launch| {
        launch.company = Company::First(vec![lend("here", 1), lend("there", 2)]);
        launch.mounts = vec![folder("/shared", "here")];
    })
    .await;
    let words = [format!("serve-at-{port}")];
    let side = beside(&bench, &base, &[&words[0]], |launch| {
        launch.mounts = vec![folder("/etc/deep/place", "here"), folder("/one", "there"), folder("/two", "there")];
    })
    .await;
    assert_eq!(base.ask("write /shared/file text").await, "ok");
    assert_eq!(side.ask_at(port, "read /etc/deep/place/file").await, "text");
    assert_eq!(side.ask_at(port, "write /etc/deep/place/back text").await, "ok");
    assert_eq!(base.ask("list /shared").await, "back file");
    assert_eq!(side.ask_at(port, "write /one/file text").await, "ok");
    assert_eq!(side.ask_at(port, "read /two/file").await, "text");
    assert!(!base.ask("list /").await.contains("one"));
    base.instance.stop(Duration::ZERO).await;
    side.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn a_folder_of_its_own_is_empty_and_writable(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let running = bench.launch(&["serve"], |launch| launch.mounts = vec![folder("/etc", "own")]).await.unwrap();
    assert!(listed(&running).await.is_empty());
    assert_eq!(running.ask("write /etc/file text").await, "ok");
    if kind != RuntimeKind::Docker {
        // Podman gives it to the container's user, with the mode that the image's folder has.
        assert_eq!(running.ask("mode /etc").await, "0777");
    }
    running.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

/// Where this user may make control groups; elsewhere there is no limit to test.
async fn a_limit_of_memory_is_for_one_container(kind: RuntimeKind) {
    const LIMIT: u64 = 64 << 20;
    if MemoryLimit::create("test", "probe", LIMIT).is_none() {
        return;
    }
    let bench = Bench::new(kind).await;
    let base = first(&bench, &["serve"], 8080, |launch| launch.memory = Some(4 * LIMIT)).await;
    let side = beside(&bench, &base, &["eat"], |launch| launch.memory = Some(LIMIT)).await;
    let exit = side.exited().await;
    assert_eq!(exit.signal, Some(Signal::KILL.as_raw()), "{exit:?}");
    assert_eq!(base.ask("hello").await, "hello");
    base.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn what_cannot_be_joined_leaves_nothing(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let alone = bench.start(&["serve"]).await;
    let joining = |launch: &mut Launch| launch.company = Company::Joins(alone.instance.clone());
    if kind != RuntimeKind::Docker {
        // An engine lets any container be joined.
        let Err(LaunchError::Host(text)) = bench.launch(&["wait"], joining).await else { panic!("it is joined") };
        assert_eq!(text, "the container to join shares nothing");
    }
    alone.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

/// A neighbour puts a folder of its own where another container's files are being mounted. Requests with such mounts
/// are refused; the launcher must not depend on it.
async fn files_never_get_into_a_folder_that_others_share(kind: RuntimeKind) {
    const TRIES: usize = 60;
    if kind == RuntimeKind::Docker {
        // What it mounts where is the engine's own.
        return;
    }
    let (bench, port) = (Bench::new(kind).await, free_port());
    let words = ["replace", &format!("serve-at-{port}")];
    let base = first(&bench, &words, port, |launch| {
        launch.company = Company::First(vec![lend("here", TRIES)]);
        launch.mounts = vec![folder("/shared", "here")];
    })
    .await;
    assert_eq!(base.ask_at(port, "hello").await, "hello");
    let mut started = 0;
    for _ in 0..TRIES {
        let file =
            MountedFile { path: "key".to_owned(), bytes: Hidden(Zeroizing::new(b"hidden".to_vec())), mode: 0o444 };
        let files = Mount { path: "/shared/x".to_owned(), content: Content::Files(vec![file]) };
        let joining = |launch: &mut Launch| {
            launch.port = None;
            launch.company = Company::Joins(base.instance.clone());
            launch.mounts = vec![folder("/shared", "here"), files];
        };
        // The folder may be gone at the wrong moment: then it does not start.
        if let Ok(side) = bench.launch(&["wait"], joining).await {
            started += 1;
            side.instance.stop(Duration::ZERO).await;
        }
    }
    let listed = base.ask_at(port, "list /shared").await;
    assert!(!listed.contains("caught"), "{listed}");
    assert!(started > 0, "none of {TRIES} started");
    base.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn too_many_shared_folders_are_refused_at_once(kind: RuntimeKind) {
    if kind == RuntimeKind::Docker {
        // Its volumes have names and are not handed over.
        return;
    }
    let bench = Bench::new(kind).await;
    let opening = |launch: &mut Launch| launch.company = Company::First(vec![lend("here", FOLDER_MOUNTS + 4)]);
    let Err(LaunchError::Host(text)) = bench.launch(&["family", "serve"], opening).await else {
        panic!("they are handed over")
    };
    assert!(text.starts_with("handing over what containers share: one message takes 253 descriptors"), "{text}");
    bench.assert_nothing_is_left();
    let opening = |launch: &mut Launch| launch.company = Company::First(vec![lend("here", FOLDER_MOUNTS)]);
    let most = bench.launch(&["serve"], opening).await.unwrap();
    assert_eq!(most.ask("hello").await, "hello");
    most.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn a_port_of_its_own_is_told_as_it_is_set(kind: RuntimeKind) {
    let (bench, port) = (Bench::new(kind).await, free_port());
    let base = first(&bench, &["serve"], port, |_| {}).await;
    let side = beside(&bench, &base, &[&format!("serve-at-{port}")], |launch| {
        launch.env = vec![("PORT".to_owned(), "8888".to_owned())];
    })
    .await;
    let environment = side.ask_at(port, "env").await;
    assert!(environment.lines().any(|line| line == "PORT=8888"), "{environment}");
    base.instance.stop(Duration::ZERO).await;
    side.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

async fn many_containers_leave_nothing(kind: RuntimeKind) {
    let bench = Bench::new(kind).await;
    let base = first(&bench, &["stubborn", "daemon", "wait"], 8080, |_| {}).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(beside(&bench, &base, &["stubborn", "daemon", "wait"], |_| {}).await);
    }
    // The one that the network was made by goes first.
    base.instance.stop(Duration::ZERO).await;
    for running in all {
        running.instance.stop(Duration::ZERO).await;
    }
    bench.assert_nothing_is_left();
}
