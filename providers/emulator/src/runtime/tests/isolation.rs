//! What a container of the namespace runtime sees of the machine, and what it may do.
use std::{fs, time::Duration};

use super::support::{Bench, File, image};
use crate::runtime::{Company, Content, LaunchError, Lend, Mount, RuntimeKind};

async fn bench() -> Bench {
    Bench::new(RuntimeKind::Namespace).await
}

#[tokio::test]
async fn a_container_sees_only_itself() {
    let bench = bench().await;
    let running = bench.start(&["serve"]).await;
    assert_eq!(running.ask("list /").await, "app dev etc proc");
    assert_eq!(running.ask("uid").await, "0");
    assert_eq!(running.ask("directory").await, "/");
    assert_eq!(running.ask("list /dev").await, "fd full null random shm stderr stdin stdout tty urandom zero");
    let mounts = running.ask("read /proc/self/mountinfo").await;
    assert!(!mounts.contains(bench.folder.path().to_str().unwrap()), "{mounts}");
    assert!(mounts.lines().next().unwrap().contains(" - overlay "), "{mounts}");
    let processes = running.ask("list /proc").await;
    let processes: Vec<&str> = processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(processes.len(), 2, "the first process and the program: {processes:?}");
    assert_eq!(running.ask("read /proc/sys/kernel/hostname").await, "localhost\n");
    assert_eq!(running.ask("read /etc/hosts").await, "127.0.0.1 localhost\n::1 localhost\n");
    running.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

#[tokio::test]
async fn no_descriptor_comes_along() {
    let bench = bench().await;
    let path = bench.folder.path().join("secret");
    let open = fs::File::create(&path).unwrap();
    // As a shell or a test harness leaves them.
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let running = bench.start(&["serve"]).await;
    let links = running.ask("links /proc/self/fd").await;
    assert!(links.starts_with("/dev/null pipe:"), "{links}");
    for link in links.split(' ').skip(3) {
        assert!(link.starts_with("socket:") || link.starts_with("/proc/"), "{links}");
    }
    running.instance.stop(Duration::ZERO).await;
}

/// Descriptors of namespaces and mounts travel to both containers of an instance; their programs get none.
#[tokio::test]
async fn no_descriptor_comes_along_with_company() {
    let bench = bench().await;
    let mount = |path: &str| Mount {
        path: path.to_owned(),
        content: Content::Folder { name: "shared".to_owned(), size: None },
    };
    let lends = vec![Lend { name: "shared".to_owned(), size: None, copies: 1 }];
    let base = bench
        .launch(&["serve"], |launch| {
            launch.company = Company::First(lends);
            launch.mounts = vec![mount("/one")];
        })
        .await
        .unwrap();
    let side = bench
        .launch(&["serve-at-9090"], |launch| {
            launch.company = Company::Joins(base.instance.clone());
            launch.mounts = vec![mount("/two")];
        })
        .await
        .unwrap();
    for links in [base.ask("links /proc/self/fd").await, side.ask_at(9090, "links /proc/self/fd").await] {
        assert!(links.starts_with("/dev/null pipe:"), "{links}");
        for link in links.split(' ').skip(3) {
            assert!(link.starts_with("socket:") || link.starts_with("/proc/"), "{links}");
        }
    }
    let spaces = |links: String| -> Vec<String> {
        let kept = |link: &&str| link.starts_with("net:") || link.starts_with("user:");
        links.split(' ').filter(kept).map(str::to_owned).collect()
    };
    let own = spaces(base.ask("links /proc/self/ns").await);
    assert_eq!(own, spaces(side.ask_at(9090, "links /proc/self/ns").await));
    assert_eq!(own.len(), 2, "{own:?}");
    let processes = side.ask_at(9090, "list /proc").await;
    let processes: Vec<&str> = processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(processes.len(), 2, "not the other container's: {processes:?}");
    side.assert_no_rights_at(9090).await;
    base.instance.stop(Duration::ZERO).await;
    side.instance.stop(Duration::ZERO).await;
    bench.assert_nothing_is_left();
}

#[tokio::test]
async fn a_container_has_no_rights() {
    let bench = bench().await;
    let running = bench.start(&["serve"]).await;
    running.assert_no_rights().await;
    // As root its uid owns these files on the machine.
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"] {
        assert!(running.ask(&format!("write {path} x")).await.starts_with("error: "), "{path}");
    }
    for path in ["/proc/1/environ", "/proc/1/mem", "/proc/1/root/etc/hosts"] {
        assert!(running.ask(&format!("read {path}")).await.starts_with("error: "), "{path}");
    }
    assert_eq!(running.ask("kill 1").await, "0");
    assert_eq!(running.ask("hello").await, "hello", "the first process does not end by it");
    running.instance.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn there_is_no_way_out_of_the_network() {
    let bench = bench().await;
    let running = bench.start(&["serve"]).await;
    let outside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let answer = running.ask(&format!("connect {}", outside.local_addr().unwrap())).await;
    assert!(answer.starts_with("error: Connection refused"), "{answer}");
    assert!(running.ask("connect 192.0.2.1:80").await.starts_with("error: "));
    assert_eq!(running.ask("connect 127.0.0.1:8080").await, "ok");
    running.instance.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn what_listens_on_loopback_alone_cannot_be_reached() {
    let bench = bench().await;
    let mut running = bench.start(&["serve-loopback", "lines"]).await;
    let open = bench.launch(&["serve"], |launch| launch.port = Some(80)).await.unwrap();
    // The other container listens on a port below 1024: it tells that time enough has passed for this one.
    let connected = async {
        loop {
            if open.instance.connect(80).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::support::LONG, connected).await.unwrap();
    let refused = running.instance.connect(8080).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    running.instance.stop(Duration::ZERO).await;
    open.instance.stop(Duration::ZERO).await;
    assert!(running.lines.recv().await.is_none(), "it still listened");
}

#[tokio::test]
async fn a_hostile_image_cannot_move_the_mounts() {
    let mut bench = bench().await;
    let app = fs::read(super::support::static_program()).unwrap();
    let link = |path: &str, target: &str| File::link(path, tar::EntryType::Symlink, target);
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let files =
        vec![File::regular("app", &app), link("proc", outside.to_str().unwrap()), link("dev", "../../../../inside")];
    bench.image = image(bench.folder.path(), &[files], &["/app"]);
    let running = bench.start(&["serve"]).await;
    assert!(running.ask("list /inside").await.contains("null"));
    assert!(running.ask("read /proc/self/status").await.contains("NoNewPrivs:\t1"));
    running.instance.stop(Duration::ZERO).await;
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    bench.image = image(bench.folder.path(), &[vec![File::regular("app", &app), File::regular("dev", b"")]], &["/app"]);
    let refused = bench.launch(&["serve"], |_| {}).await;
    let Err(LaunchError::Image(text)) = refused else { panic!("{refused:?}") };
    assert_eq!(text, "`/dev` of the image is no folder");
    bench.assert_nothing_is_left();
}
