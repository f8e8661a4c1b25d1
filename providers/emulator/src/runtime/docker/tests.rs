//! What no engine does on demand: it hangs, refuses, and takes its time. This one does as a test says.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    clean::sweep_engine,
    container::{Created, Shared},
    import, program,
    runtime::DockerRuntime,
};
use crate::runtime::{Exit, Instance, launcher::message::Program};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

type Answer = BoxFuture<'static, (u16, String)>;
type Answers = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// Removed with its folder.
struct Fake {
    folder: tempfile::TempDir,
    /// `DELETE /images/x?force=false`, without the version.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn new(answers: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let listener = UnixListener::bind(folder.path().join("engine")).unwrap();
        let router = Router::new().fallback(answer).with_state((requests.clone(), Arc::new(answers) as Answers));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { folder, requests }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("engine")
    }

    fn docker(&self) -> Docker {
        Docker::connect_with_unix(self.socket().to_str().unwrap(), 1, API_DEFAULT_VERSION).unwrap()
    }

    fn requests(&self, start: &str) -> Vec<String> {
        self.requests.lock().unwrap().iter().filter(|request| request.starts_with(start)).cloned().collect()
    }
}

async fn answer(State((requests, answers)): State<(Arc<Mutex<Vec<String>>>, Answers)>, request: Request) -> Response {
    let target = request.uri().path_and_query().unwrap().as_str();
    let target = match target.strip_prefix("/v1.") {
        Some(versioned) => versioned.split_once('/').unwrap().1,
        None => &target[1..],
    };
    let line = format!("{} /{target}", request.method());
    let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    requests.lock().unwrap().push(line.clone());
    let (status, body) = answers(&line).await;
    let response = Response::builder().status(status);
    let response = match status {
        101 => response.header("connection", "upgrade").header("upgrade", "tcp"),
        _ => response.header("content-type", "application/json"),
    };
    response.body(Body::from(body)).unwrap()
}

fn now(status: u16, body: serde_json::Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Box::pin(async move { (status, body) })
}

fn never() -> Answer {
    Box::pin(std::future::pending())
}

fn version() -> Answer {
    now(200, json!({ "ApiVersion": "1.41", "Arch": "amd64" }))
}

fn image(name: &str) -> serde_json::Value {
    json!({
        "Id": "sha256:1", "ParentId": "", "RepoTags": [name], "RepoDigests": [], "Created": 0, "Size": 0,
        "SharedSize": 0, "Labels": {}, "Containers": 0,
    })
}

/// Podman would remove every container of the image with it, whoever made it.
#[tokio::test]
async fn images_are_never_removed_by_force() {
    for (status, removed) in [(200, true), (409, true), (500, false)] {
        let fake = Fake::new(move |request| match request {
            "GET /version" => version(),
            request if request.starts_with("GET /containers/json") => now(200, json!([])),
            request if request.starts_with("GET /volumes") => now(200, json!({ "Volumes": [] })),
            request if request.starts_with("GET /images/json") => {
                now(200, json!([image("localhost/carrack-x:1"), image("localhost/carrack-xy:1"), image("other:1")]))
            }
            request if request.starts_with("DELETE") && status == 200 => now(200, json!([])),
            _ => now(status, json!({ "message": "in use" })),
        });
        let swept = sweep_engine(&fake.socket(), "x").await;
        assert_eq!(swept.is_ok(), removed, "{status}: {swept:?}");
        let [request] = &fake.requests("DELETE")[..] else { panic!("{:?}", fake.requests("")) };
        assert!(request.contains("carrack-x:1") || request.contains("carrack-x%3A1"), "{request}");
        assert!(!request.contains("force=true"), "{request}");
    }
}

#[tokio::test]
async fn one_stubborn_container_keeps_nothing_else() {
    let there = Arc::new(Mutex::new(vec!["stubborn", "other"]));
    let fake = Fake::new(move |request| match request {
        "GET /version" => version(),
        request if request.starts_with("GET /containers/json") => {
            now(200, there.lock().unwrap().iter().map(|id| json!({ "Id": id })).collect())
        }
        request if request.starts_with("DELETE /containers/stubborn") => now(500, json!({ "message": "busy" })),
        request if request.starts_with("DELETE /containers/other") => {
            there.lock().unwrap().retain(|&id| id != "other");
            now(204, json!(null))
        }
        request if request.starts_with("GET /images/json") => now(200, json!([image("localhost/carrack-x:1")])),
        _ => now(200, json!([])),
    });
    let swept = sweep_engine(&fake.socket(), "x").await;
    assert_eq!(swept, Err("container stubborn: busy".to_owned()));
    assert_eq!(fake.requests("DELETE /containers/").len(), 2);
    assert_eq!(fake.requests("DELETE /images/").len(), 1);
}

#[tokio::test]
async fn an_import_may_take_longer_than_other_requests() {
    let fake = Fake::new(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(1500)).await;
            (200, json!({ "stream": "Loaded" }).to_string())
        })
    });
    let (sender, pieces) = mpsc::channel(1);
    drop(sender);
    import::load(&fake.docker(), pieces).await.unwrap();
    // Others have one second here.
    assert!(fake.docker().version().await.is_err());
}

#[tokio::test]
async fn a_trial_that_comes_too_late_takes_away_what_it_made() {
    let label = Arc::new(Mutex::new(String::new()));
    let there = Arc::new(Mutex::new(true));
    let fake = Fake::new(move |request| match request {
        "GET /version" => version(),
        request if request.starts_with("POST /containers/create") => Box::pin(async {
            sleep(3 * SHORT).await;
            (500, json!({ "message": "it was made all the same" }).to_string())
        }),
        request if request.starts_with("GET /containers/json") => {
            request.clone_into(&mut label.lock().unwrap());
            let there = *there.lock().unwrap();
            now(200, if there { json!([{ "Id": "late" }]) } else { json!([]) })
        }
        request if request.starts_with("POST /images/load") => now(200, json!(null)),
        "DELETE /containers/late?v=true&force=true&link=false" => {
            *there.lock().unwrap() = false;
            now(204, json!(null))
        }
        _ => now(200, json!([])),
    });
    let opened = timeout(LONG, DockerRuntime::open_one(&fake.socket(), "x", SHORT)).await.unwrap();
    let refusal = opened.unwrap_err();
    assert!(refusal.starts_with("it answers, and ran no container within"), "{refusal}");
    assert!(fake.requests("DELETE").is_empty());
    let removed = async {
        while fake.requests("DELETE /images/").is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, removed).await.unwrap();
    assert_eq!(fake.requests("DELETE /containers/late").len(), 1);
    // Another engine's socket may be of the same engine, which runs other containers of this instance by then.
    assert!(fake.requests("GET /containers/json").iter().all(|request| request.contains("dev.carrack.trial")));
}

#[tokio::test]
async fn a_path_of_many_folders_is_left_to_the_engine() {
    let fake = Fake::new(|_| {
        Box::pin(async {
            sleep(Duration::from_millis(20)).await;
            (404, json!({ "message": "no such file" }).to_string())
        })
    });
    let path = |folders: usize| {
        let folders: Vec<String> = (0..folders).map(|number| format!("/{number}")).collect();
        Program {
            arguments: vec!["server".to_owned()],
            environment: vec![("PATH".to_owned(), folders.join(":"))],
            working_dir: "/".to_owned(),
        }
    };
    let begin = Instant::now();
    assert_eq!(program::check_within(SHORT, &fake.docker(), "x", &path(10_000)).await, Ok(()));
    assert!(begin.elapsed() < LONG);
    assert!(program::check_within(LONG, &fake.docker(), "x", &path(2)).await.is_err());
}

async fn started(fake: &Fake) -> super::container::Container {
    let (output, _) = mpsc::channel(1);
    Created::new(fake.docker(), "x".to_owned()).start(output, Shared::default()).await.unwrap()
}

#[tokio::test]
async fn one_that_the_engine_does_not_end_is_given_up() {
    let fake = Fake::new(|request| match request {
        request if request.starts_with("POST /containers/x/attach") => now(101, json!(null)),
        "POST /containers/x/start" => now(204, json!(null)),
        "GET /containers/x/json" => now(200, json!({ "Id": "x", "State": { "Running": true } })),
        _ => never(),
    });
    let mut container = started(&fake).await;
    container.patience = SHORT;
    let (stopped, told) =
        timeout(LONG, async { tokio::join!(container.stop(Duration::ZERO), container.exited()) }).await.unwrap();
    assert_eq!((stopped, told), (Exit::signal(9), Exit::signal(9)));
    assert_eq!(fake.requests("POST /containers/x/kill").len(), 2);
    assert!(container.connect(8080).await.is_err());
}

#[tokio::test]
async fn one_that_has_ended_is_not_connected_to_while_it_is_removed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (end, ended) = tokio::sync::watch::channel(false);
    let fake = Fake::new(move |request| match request {
        request if request.starts_with("POST /containers/x/attach") => now(101, json!(null)),
        "POST /containers/x/start" => now(204, json!(null)),
        "GET /containers/x/json" => {
            let ports = json!({ "8080/tcp": [{ "HostIp": "127.0.0.1", "HostPort": port.to_string() }] });
            let state = json!({ "Running": !*ended.borrow(), "ExitCode": 0 });
            now(200, json!({ "Id": "x", "State": state, "NetworkSettings": { "Ports": ports } }))
        }
        request if request.starts_with("POST /containers/x/wait") => {
            let mut ended = ended.clone();
            Box::pin(async move {
                let _ = ended.wait_for(|&ended| ended).await;
                (200, json!({ "StatusCode": 0 }).to_string())
            })
        }
        _ => never(),
    });
    let container = started(&fake).await;
    assert!(container.connect(8080).await.is_ok());
    end.send(true).unwrap();
    let removing = async {
        while fake.requests("DELETE").is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, removing).await.unwrap();
    assert!(container.connect(8080).await.is_err());
}
