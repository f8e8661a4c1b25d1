use std::{fs, time::Duration};

use carrack_core::{
    event::{Event, EventSink},
    provider::RegistryAuth,
    retry::RetryPolicy,
};
use carrack_http::{Client, ClientOptions, Endpoint};

use super::*;
use crate::image::{
    build::{Built, build},
    inspect::tests::elf,
    spec::tests::spec,
    test_registry::{Behaviour, Head, Instead, TestRegistry},
};

mod bases;
mod credentials;
mod resumed;

/// One image of three layers, and a client that waits for nothing.
struct Case {
    _folder: tempfile::TempDir,
    built: Built,
    http: Client,
    cx: Ctx,
}

impl Case {
    async fn new() -> Self {
        Self::of(&["one", "two"]).await
    }

    /// An image of the program and these other files, a layer each.
    async fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("app"), elf(0x3e, None)).expect("write");
        let noise: Vec<u8> = (0..300_000_u64).map(|n| (n * n % 65_521) as u8).collect();
        for name in names {
            fs::write(folder.path().join(name), [name.as_bytes(), &noise].concat()).expect("write");
        }
        let targets: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
        let files = names.iter().copied().zip(targets.iter().map(String::as_str));
        let files: Vec<(&str, &str)> = files.chain([("app", "/app")]).collect();
        let layout = folder.path().join("layout");
        let spec = spec(folder.path(), &files);
        let built = build(&Ctx::silent(), &spec, None, &layout, 2).await.expect("built");
        Self { _folder: folder, built, http: client(None), cx: Ctx::silent() }
    }

    async fn push(&self, registry: &TestRegistry, tag: Option<&str>) -> Result<Pushed> {
        self.push_as(registry, tag, None).await
    }

    async fn push_as(&self, registry: &TestRegistry, tag: Option<&str>, auth: Option<&RegistryAuth>) -> Result<Pushed> {
        let to = Destination {
            repository: format!("{}/p/r/hello", registry.host()),
            tag: tag.map(|tag| Tag::Required(tag.to_owned())),
        };
        push(&self.cx, &self.way(auth), &self.built.layout, &self.built.digest, &to).await
    }

    fn way(&self, auth: Option<&RegistryAuth>) -> Way {
        Way { http: self.http.clone(), auth: auth.cloned() }
    }

    fn manifest(&self) -> Vec<u8> {
        let layout = Layout::open(&self.built.layout).expect("layout");
        layout.manifest(&self.built.digest).expect("manifest").0.to_vec()
    }
}

fn client(endpoint: Option<Endpoint>) -> Client {
    let retry =
        RetryPolicy { first: Duration::from_millis(1), max: Duration::from_millis(1), ..RetryPolicy::default() };
    Client::new(ClientOptions { endpoint, retry, ..ClientOptions::default() }).expect("client")
}

fn auth() -> RegistryAuth {
    RegistryAuth { user: "me".into(), password: String::from("secret").into() }
}

fn hooked(hook: impl Fn(&Head) -> Option<Instead> + Send + Sync + 'static) -> TestRegistry {
    TestRegistry::start(Behaviour { hook: Some(Box::new(hook)), ..Behaviour::default() })
}

fn is_upload(head: &Head) -> bool {
    head.method == "PUT" && head.target.contains("/blobs/uploads/")
}

#[tokio::test]
async fn only_what_is_missing_is_sent() {
    let case = Case::new().await;
    let registry = TestRegistry::start(Behaviour::default());
    let digest = &case.built.digest;
    let pushed = case.push(&registry, None).await.expect("pushed");
    assert_eq!(
        pushed,
        Pushed {
            reference: format!("{}/p/r/hello@{digest}", registry.host()),
            uploaded: case.built.size,
            existed: false,
        }
    );
    assert_eq!(registry.manifest(digest), Some(case.manifest()));
    assert_eq!(registry.blobs(), 4);
    // One for the manifest, four for the blobs; two for each blob, one for the manifest.
    assert_eq!(registry.requests("").len(), 5 + 8 + 1);

    registry.forget_requests();
    let again = case.push(&registry, None).await.expect("pushed");
    assert_eq!((again.uploaded, again.existed), (0, true));
    assert_eq!(registry.requests(""), [format!("HEAD /v2/p/r/hello/manifests/{digest}")]);

    registry.forget_requests();
    let tagged = case.push(&registry, Some("v1")).await.expect("pushed");
    assert_eq!((tagged.uploaded, tagged.existed), (0, false));
    assert_eq!(registry.requests("PUT"), ["PUT /v2/p/r/hello/manifests/v1"]);
    assert_eq!(registry.requests("POST"), [""; 0]);
    assert!(case.push(&registry, Some("v1")).await.expect("pushed").existed);
}

#[tokio::test]
async fn a_tag_that_does_not_move_is_a_warning_where_the_digest_is_used() {
    let mut case = Case::new().await;
    let registry = hooked(|head| {
        let body = r#"{"errors":[{"code":"TAG_IMMUTABLE","message":"tags stay"}]}"#;
        let moves = head.method == "PUT" && head.target.ends_with("/manifests/latest");
        moves.then(|| Instead::Answer(409, Vec::new(), body.into()))
    });
    registry.put_manifest("p/r/hello", "latest", &serde_json::json!({ "schemaVersion": 2 }));
    let repository = format!("{}/p/r/hello", registry.host());
    let to = |tag| Destination { repository: repository.clone(), tag: Some(tag) };
    let (layout, digest) = (&case.built.layout, &case.built.digest);

    let required = to(Tag::Required("latest".into()));
    let error = push(&case.cx, &case.way(None), layout, digest, &required).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::BuildFailed);
    assert!(error.hints().iter().any(|hint| hint.contains("carrack push --tag NAME")), "{error:?}");

    let (events, mut received) = EventSink::channel();
    case.cx.events = events;
    let wanted = to(Tag::Wanted("latest".into()));
    // The first sends it by its digest, and the second only asks.
    for sent in [true, false] {
        registry.forget_requests();
        push(&case.cx, &case.way(None), layout, digest, &wanted).await.expect("pushed");
        let mut warnings = Vec::new();
        while let Some(event) = received.try_recv() {
            if let Event::Warning { message } = event {
                warnings.push(message);
            }
        }
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("`latest`") && warnings[0].contains("tags stay"), "{warnings:?}");
        assert_eq!(registry.requests("PUT").contains(&format!("PUT /v2/p/r/hello/manifests/{digest}")), sent);
    }
    assert_eq!(registry.manifest(digest), Some(case.manifest()));
}

#[tokio::test]
async fn blobs_that_are_there_are_skipped() {
    let case = Case::new().await;
    let registry = hooked(|head| {
        let first_manifest = head.method == "PUT" && head.target.contains("/manifests/") && head.number < 6;
        first_manifest.then(|| Instead::Answer(400, Vec::new(), String::new()))
    });
    let error = case.push(&registry, None).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::BuildFailed);
    registry.forget_requests();
    // The blobs of the first try are there; one request a manifest is counted from here.
    let error = case.push(&registry, None).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::BuildFailed);
    assert_eq!(registry.requests("POST"), [""; 0]);
}

#[tokio::test]
async fn uploads_go_side_by_side_and_not_too_many() {
    let case = Case::of(&["1", "2", "3", "4", "5", "6", "7", "8"]).await;
    let registry = TestRegistry::start(Behaviour { together: 4, ..Behaviour::default() });
    case.push(&registry, None).await.expect("pushed");
    assert_eq!(registry.most_uploads_at_once(), 4);
}

#[tokio::test]
async fn locations_may_be_absolute() {
    let case = Case::new().await;
    let registry = TestRegistry::start(Behaviour { absolute_locations: true, ..Behaviour::default() });
    case.push(&registry, Some("v1")).await.expect("pushed");
    assert_eq!(registry.manifest("v1"), Some(case.manifest()));
}

#[tokio::test]
async fn an_upload_that_breaks_or_is_refused_for_now_begins_with_a_new_session() {
    for instead in [
        Instead::Reset,
        Instead::Answer(503, vec![("Retry-After", "0".into())], String::new()),
        Instead::Answer(404, Vec::new(), r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#.into()),
    ] {
        let mut case = Case::new().await;
        let (events, mut received) = EventSink::channel();
        case.cx.events = events;
        let registry = hooked(move |head| (is_upload(head) && head.number <= 2).then(|| instead.clone()));
        let pushed = case.push(&registry, None).await.expect("pushed");
        assert_eq!(pushed.uploaded, case.built.size);
        let sessions = registry.requests("POST").len();
        assert_eq!((sessions, registry.requests("PUT").len()), (6, 7));
        let (mut progress, mut retries) = (Vec::new(), 0);
        while let Some(event) = received.try_recv() {
            match event {
                Event::PhaseProgress { done, total, .. } => progress.push((done, total)),
                Event::Retrying { .. } => retries += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(retries, 2);
        let total = case.built.size - case.manifest().len() as u64;
        assert_eq!(progress.last(), Some(&(total, total)));
        assert!(progress.iter().all(|(done, _)| *done <= total), "{progress:?}");
    }
}

#[tokio::test]
async fn a_registry_that_never_takes_it_is_given_up() {
    let case = Case::new().await;
    let registry = hooked(|head| is_upload(head).then_some(Instead::Answer(503, Vec::new(), String::new())));
    let error = case.push(&registry, None).await.expect_err("unavailable");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(registry.requests("PUT").len() <= 4 * 5);
}

#[tokio::test]
async fn a_registry_that_stored_something_else_is_not_believed() {
    let case = Case::new().await;
    let registry =
        TestRegistry::start(Behaviour { stored_digest: Some(digest_of(b"something else")), ..Behaviour::default() });
    let error = case.push(&registry, None).await.expect_err("mismatch");
    assert_eq!(error.kind(), ErrorKind::BuildFailed);
    assert!(error.message().contains(&case.built.digest), "{error}");
}

#[tokio::test]
async fn a_missing_repository_is_said_to_be_missing() {
    let case = Case::new().await;
    for (code, status, kind) in
        [("NAME_UNKNOWN", 404, ErrorKind::NotFound), ("DENIED", 403, ErrorKind::PermissionDenied)]
    {
        let registry = hooked(move |head| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no such thing"}}]}}"#);
            (head.method == "POST").then(|| Instead::Answer(status, Vec::new(), body))
        });
        let error = case.push(&registry, None).await.expect_err(code);
        assert_eq!(error.kind(), kind);
        assert!(error.message().ends_with(&format!("{code}: no such thing")), "{error}");
    }
}

#[tokio::test]
async fn an_image_is_found_by_tag_and_by_digest() {
    let case = Case::new().await;
    let registry = TestRegistry::start(Behaviour::default());
    case.push(&registry, Some("v1")).await.expect("pushed");
    let digest = &case.built.digest;
    let other = digest_of(b"other");
    let repository = format!("{}/p/r/hello", registry.host());
    for (reference, expected) in [
        (format!("{repository}:v1"), Ok(Some(digest.clone()))),
        (format!("{repository}@{digest}"), Ok(Some(digest.clone()))),
        (format!("{repository}@{other}"), Ok(None)),
        (repository.clone(), Ok(None)),
        (format!("{repository}@sha256:../x"), Err(ErrorKind::ConfigInvalid)),
        (format!("{repository}:-"), Err(ErrorKind::ConfigInvalid)),
        ("hello:v1".to_owned(), Err(ErrorKind::ConfigInvalid)),
    ] {
        let image = ImageRef(reference.clone());
        let found = exists(&case.cx, &case.way(None), &image).await;
        assert_eq!(found.map_err(|error| error.kind()), expected, "{reference}");
    }
}

#[tokio::test]
async fn a_blob_that_is_not_whole_is_not_sent() {
    let case = Case::new().await;
    let registry = TestRegistry::start(Behaviour::default());
    let layout = Layout::open(&case.built.layout).expect("layout");
    let (_, manifest) = layout.manifest(&case.built.digest).expect("manifest");
    let blob = layout.blob(manifest.layers()[0].digest().as_ref()).expect("path");
    fs::write(blob, "cut").expect("write");
    let error = case.push(&registry, None).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::BuildFailed);
    assert_eq!(registry.requests("POST"), [""; 0]);
}

#[tokio::test]
async fn an_interruption_and_the_deadline_end_it() {
    let mut case = Case::new().await;
    let cancel = case.cx.cancel.clone();
    let registry = hooked(move |head| {
        if is_upload(head) {
            cancel.cancel();
        }
        None
    });
    let error = case.push(&registry, None).await.expect_err("interrupted");
    assert_eq!(error.kind(), ErrorKind::Cancelled);

    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    case.cx = Ctx { deadline: Some(tokio::time::Instant::now() + Duration::from_millis(50)), ..Ctx::silent() };
    let to = Destination { repository: format!("{}/hello", silent.local_addr().expect("address")), tag: None };
    let error = push(&case.cx, &case.way(None), &case.built.layout, &case.built.digest, &to).await;
    assert_eq!(error.expect_err("late").kind(), ErrorKind::Timeout);
}
