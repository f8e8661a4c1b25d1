//! What only holds for containers of an engine. `CARRACK_TEST_ENGINE` names its socket.
use std::{fs, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptions, ListContainersOptions, ListImagesOptions, ListVolumesOptions, RemoveContainerOptions,
    },
};
use tokio::time::{sleep, timeout};

use super::support::{Bench, LONG, engine, layer};
use crate::{
    image::Blob,
    runtime::{Company, Content, Launch, LaunchError, Lend, Mount, RuntimeKind, docker::reach::Reach, sweep_engine},
};

async fn bench() -> Bench {
    Bench::new(RuntimeKind::Docker).await
}

fn docker() -> Docker {
    Docker::connect_with_unix(engine().to_str().unwrap(), 60, API_DEFAULT_VERSION).unwrap()
}

/// The containers of a bench, as the engine knows them.
async fn containers(bench: &Bench) -> Vec<ContainerInspectResponse> {
    let docker = docker().negotiate_version().await.unwrap();
    let filters = [("label".to_owned(), vec![format!("dev.carrack.instance={}", bench.instance)])].into();
    let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
    let mut found = Vec::new();
    for container in docker.list_containers(Some(options)).await.unwrap() {
        found.push(docker.inspect_container(&container.id.unwrap(), None).await.unwrap());
    }
    found
}

async fn images(bench: &Bench) -> Vec<String> {
    let docker = docker().negotiate_version().await.unwrap();
    let images = docker.list_images(None::<ListImagesOptions>).await.unwrap();
    images.into_iter().flat_map(|image| image.repo_tags).filter(|name| name.contains(&bench.instance)).collect()
}

/// By the container's address, by its published port with a look at its sockets, and by that port alone.
#[tokio::test]
async fn what_listens_on_loopback_alone_cannot_be_reached_in_any_way() {
    for (word, open) in [("serve-loopback", false), ("serve", true)] {
        let bench = bench().await;
        let running = bench.start(&[word]).await;
        let [container] = &containers(&bench).await[..] else { panic!("one container") };
        let table = format!("/proc/{}/net/tcp", container.state.as_ref().unwrap().pid.unwrap());
        // 8080.
        let listening = async {
            while !fs::read_to_string(&table).unwrap().contains(":1F90 ") {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, listening).await.unwrap();
        assert_eq!(running.instance.connect(8080).await.is_ok(), open, "{word}");
        for reach in Reach::published(container) {
            assert_eq!(reach.connect(8080).await.is_ok(), open, "{word}: {reach:?}");
            assert!(reach.connect(8081).await.is_err(), "{word}: {reach:?}");
        }
        running.instance.stop(Duration::ZERO).await;
        bench.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn a_container_has_no_rights_and_no_process_beside_its_own() {
    let bench = bench().await;
    let running = bench.start(&["serve"]).await;
    running.assert_no_rights().await;
    let processes = running.ask("list /proc").await;
    let processes: Vec<&str> = processes.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert!(processes.len() <= 2, "at most the first process and the program: {processes:?}");
    running.instance.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn the_images_user_holds_and_its_id_is_its_configurations_digest() {
    let mut bench = bench().await;
    let text = fs::read_to_string(&bench.image.configuration.path).unwrap();
    let mut configuration: serde_json::Value = serde_json::from_str(&text).unwrap();
    configuration["config"]["User"] = "1234:1234".into();
    let blob = layer(bench.folder.path(), configuration.to_string().as_bytes(), "");
    bench.image.configuration = Blob { digest: blob.digest, path: blob.path };
    bench.image.config.user = Some("1234:1234".to_owned());
    let running = bench.start(&["serve"]).await;
    assert_eq!(running.ask("uid").await, "1234");
    let [container] = &containers(&bench).await[..] else { panic!("one container") };
    let hex = |id: &str| id.trim_start_matches("sha256:").to_owned();
    assert_eq!(hex(container.image.as_ref().unwrap()), hex(&bench.image.configuration.digest));
    running.instance.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn blobs_that_are_not_what_they_are_called_are_refused() {
    let mut bench = bench().await;
    let whole = bench.image.clone();
    let bytes = fs::read(&bench.image.layers[0].path).unwrap();
    let other = bench.folder.path().join("other");
    fs::write(&other, &bytes[..bytes.len() - 1]).unwrap();
    bench.image.layers[0].path.clone_from(&other);
    let refused = bench.launch(&["serve"], |_| {}).await;
    let Err(LaunchError::Image(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("is damaged"), "{text}");
    bench.image = whole.clone();
    bench.image.configuration.path = other;
    let refused = bench.launch(&["serve"], |_| {}).await;
    let Err(LaunchError::Image(text)) = refused else { panic!("{refused:?}") };
    assert!(text.starts_with("configuration `sha256:"), "{text}");
    // A configuration whose layers unpack to something else.
    let text = fs::read_to_string(&whole.configuration.path).unwrap();
    let mut configuration: serde_json::Value = serde_json::from_str(&text).unwrap();
    configuration["rootfs"]["diff_ids"][0] = format!("sha256:{}", "0".repeat(64)).into();
    let blob = layer(bench.folder.path(), configuration.to_string().as_bytes(), "");
    bench.image = whole;
    bench.image.configuration = Blob { digest: blob.digest, path: blob.path };
    let refused = bench.launch(&["serve"], |_| {}).await;
    assert!(matches!(refused, Err(LaunchError::Image(_))), "{refused:?}");
    assert!(images(&bench).await.is_empty(), "{:?}", images(&bench).await);
}

#[tokio::test]
async fn what_is_left_in_an_engine_is_found_and_removed() {
    let bench = bench().await;
    let running = bench.start(&["stubborn", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    assert_eq!(images(&bench).await.len(), 1);
    assert_eq!(sweep_engine(&engine(), &bench.instance).await, Ok(1));
    running.exited().await;
    assert!(containers(&bench).await.is_empty());
    assert!(images(&bench).await.is_empty());
    assert_eq!(sweep_engine(&engine(), &bench.instance).await, Ok(0));
    bench.assert_nothing_is_left();
}

async fn volumes(bench: &Bench) -> usize {
    let docker = docker().negotiate_version().await.unwrap();
    let filters = [("label".to_owned(), vec![format!("dev.carrack.instance={}", bench.instance)])].into();
    let options = ListVolumesOptions { filters: Some(filters) };
    docker.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default().len()
}

/// Volumes go with the containers that have them, and with a local cloud that was killed before it could say so.
#[tokio::test]
async fn folders_leave_no_volume() {
    let bench = bench().await;
    let shared = |launch: &mut Launch| {
        launch.mounts =
            vec![Mount { path: "/here".to_owned(), content: Content::Folder { name: "a".to_owned(), size: None } }];
    };
    let lends = vec![Lend { name: "a".to_owned(), size: None, copies: 1 }];
    let first = bench
        .launch(&["wait"], |launch| {
            launch.company = Company::First(lends);
            shared(launch);
        })
        .await
        .unwrap();
    let second = bench
        .launch(&["wait"], |launch| {
            launch.company = Company::Joins(first.instance.clone());
            launch.port = None;
            shared(launch);
        })
        .await
        .unwrap();
    assert_eq!(volumes(&bench).await, 1);
    first.instance.stop(Duration::ZERO).await;
    second.instance.stop(Duration::ZERO).await;
    drop((first, second));
    let gone = async {
        while volumes(&bench).await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, gone).await.unwrap();
    assert!(containers(&bench).await.is_empty());
    let running = bench.launch(&["wait"], shared).await.unwrap();
    assert_eq!(volumes(&bench).await, 1);
    assert_eq!(sweep_engine(&engine(), &bench.instance).await, Ok(1));
    assert_eq!(volumes(&bench).await, 0);
    drop(running);
}

#[tokio::test]
async fn forgotten_images_are_gone_and_come_again() {
    let bench = bench().await;
    for _ in 0..2 {
        let running = bench.start(&["7"]).await;
        running.exited().await;
        assert_eq!(images(&bench).await.len(), 1);
        bench.runtime.clear().await.unwrap();
        assert!(images(&bench).await.is_empty());
    }
}

#[tokio::test]
async fn whatever_still_runs_is_cleared() {
    let bench = bench().await;
    let running = bench.start(&["stubborn", "serve"]).await;
    assert_eq!(running.ask("hello").await, "hello");
    bench.runtime.clear().await.unwrap();
    assert!(containers(&bench).await.is_empty());
    assert!(images(&bench).await.is_empty());
    running.exited().await;
}

/// Podman removes the containers of an image that is removed by force, and takes them for the image's own.
#[tokio::test]
async fn a_container_that_somebody_made_of_an_imported_image_stays() {
    let bench = bench().await;
    let running = bench.start(&["7"]).await;
    running.exited().await;
    let docker = docker().negotiate_version().await.unwrap();
    let body = ContainerCreateBody { image: images(&bench).await.pop(), ..ContainerCreateBody::default() };
    let foreign = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let cleared = bench.runtime.clear().await;
    let swept = sweep_engine(&engine(), &bench.instance).await;
    let stays = docker.inspect_container(&foreign, None).await;
    docker.remove_container(&foreign, None::<RemoveContainerOptions>).await.unwrap();
    assert_eq!((cleared, swept), (Ok(()), Ok(0)));
    stays.unwrap();
    bench.runtime.clear().await.unwrap();
    assert!(images(&bench).await.is_empty());
}

#[tokio::test]
async fn processes_are_limited_where_they_can_be_counted() {
    let bench = bench().await;
    let running = bench.start(&["serve"]).await;
    let [container] = &containers(&bench).await[..] else { panic!("one container") };
    let controllers = fs::read_to_string("/proc/self/cgroup").unwrap();
    let counted = controllers.contains("pids") || fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let limit = container.host_config.as_ref().unwrap().pids_limit;
    assert_eq!(limit == Some(4096), counted, "{limit:?} {controllers}");
    running.instance.stop(Duration::ZERO).await;
}

/// Podman 4.3 does not say so of a container in control groups of version 1.
#[tokio::test]
async fn docker_says_that_memory_ran_out() {
    let bench = bench().await;
    let running = bench.launch(&["eat"], |launch| launch.memory = Some(64 << 20)).await.unwrap();
    let exit = running.exited().await;
    let components = docker().version().await.unwrap().components.unwrap_or_default();
    let is_podman = components.iter().any(|component| component.name == "Podman Engine");
    assert!(exit.out_of_memory || is_podman, "{exit:?}");
    assert_eq!(exit.signal, Some(9));
}
