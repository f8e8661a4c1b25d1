//! Uploads that break, are refused for now, or need not be sent at all.
use super::*;
use crate::image::deadline::Patience;

fn resuming(hook: impl Fn(&Head) -> Option<Instead> + Send + Sync + 'static) -> TestRegistry {
    TestRegistry::start(Behaviour { resumes: true, hook: Some(Box::new(hook)), ..Behaviour::default() })
}

/// Bytes of all bodies that were sent with this method.
fn sent(registry: &TestRegistry, method: &str) -> u64 {
    let heads = registry.heads();
    let bodies = heads.iter().filter(|head| head.method == method && !head.target.contains("/manifests/"));
    bodies.map(|head| head.header("content-length").parse::<u64>().unwrap_or(0)).sum()
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_broke() {
    let case = Case::of(&["one"]).await;
    let longest = {
        let layout = Layout::open(&case.built.layout).expect("layout");
        let (_, manifest) = layout.manifest(&case.built.digest).expect("manifest");
        manifest.layers().iter().map(oci_spec::image::Descriptor::size).max().expect("layers")
    };
    // The PUT breaks in its middle, and the first PATCH after it too.
    let is_long =
        move |head: &Head| head.header("content-length").parse::<u64>().is_ok_and(|length| length > longest / 4);
    let registry = resuming(move |head| {
        let breaks = match head.method.as_str() {
            "PUT" => is_upload(head) && is_long(head),
            "PATCH" => head.number == 1,
            _ => false,
        };
        breaks.then_some(Instead::Reset)
    });
    let pushed = case.push(&registry, None).await.expect("pushed");
    assert_eq!(pushed.uploaded, case.built.size);
    let patches: Vec<String> = registry
        .heads()
        .iter()
        .filter(|head| head.method == "PATCH")
        .map(|head| head.header("content-range").to_owned())
        .collect();
    let (half, rest) = (longest / 2, longest - longest / 2);
    assert_eq!(patches, [format!("{half}-{}", longest - 1), format!("{}-{}", half + rest / 2, longest - 1)]);
    // One session for each of the three blobs, and no more.
    assert_eq!((registry.requests("POST").len(), registry.open_sessions()), (3, 0));
}

#[tokio::test]
async fn a_registry_that_cannot_go_on_gets_a_new_session() {
    // It says how far it is and takes nothing; it says something that cannot be; it does not know.
    for (method, status, header) in [
        ("PATCH", 416, ("X", String::new())),
        ("GET", 204, ("Range", "0-99999999".to_owned())),
        ("GET", 204, ("Range", "0-0".to_owned())),
        ("GET", 404, ("X", String::new())),
        ("GET", 500, ("X", String::new())),
    ] {
        let case = Case::of(&["one"]).await;
        let expected = header.clone();
        let registry = resuming(move |head| {
            if is_upload(head) && head.number == 1 {
                return Some(Instead::Reset);
            }
            let is_session = head.target.contains("/uploads/session");
            (head.method == method && is_session).then(|| Instead::Answer(status, vec![header.clone()], String::new()))
        });
        case.push(&registry, None).await.unwrap_or_else(|error| panic!("{method} {status} {expected:?}: {error}"));
        // A session that the registry says not to know is not ended.
        let left = usize::from(status == 404);
        assert_eq!(
            (registry.requests("POST").len(), registry.open_sessions()),
            (4, left),
            "{method} {status} {expected:?}"
        );
    }
}

#[tokio::test]
async fn a_blob_whose_last_answer_was_lost_is_not_sent_again() {
    let case = Case::of(&["one"]).await;
    let registry = hooked(|head| (is_upload(head) && head.number == 1).then_some(Instead::Lose));
    case.push(&registry, None).await.expect("pushed");
    // Three blobs and the manifest, each once.
    assert_eq!((registry.requests("POST").len(), registry.requests("PUT").len()), (3, 4));
}

#[tokio::test]
async fn too_many_requests_are_met_with_the_patience_that_is_asked_for() {
    let case = Case::of(&["one"]).await;
    let registry = hooked(|head| {
        let busy = matches!(head.method.as_str(), "HEAD" | "POST" | "PUT") && head.number == 1;
        busy.then(|| Instead::Answer(429, vec![("Retry-After", "1".into())], String::new()))
    });
    let started = std::time::Instant::now();
    case.push(&registry, None).await.expect("pushed");
    // The question, then the sessions and blobs beside each other.
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_another_repository_has_is_mounted() {
    let case = Case::new().await;
    let registry = TestRegistry::start(Behaviour { mounts: true, ..Behaviour::default() });
    case.push(&registry, None).await.expect("pushed");
    registry.forget_requests();
    let elsewhere = |name: &str| Destination { repository: format!("{}/p/r/{name}", registry.host()), tag: None };
    let (layout, digest) = (&case.built.layout, &case.built.digest);
    let pushed = push(&case.cx, &case.way(None), layout, digest, &elsewhere("other")).await.expect("pushed");
    assert_eq!((pushed.uploaded, sent(&registry, "PUT")), (case.manifest().len() as u64, 0));
    let mounts = registry.requests("POST");
    assert_eq!(mounts.len(), 4);
    assert!(mounts.iter().all(|mount| mount.contains("from=p%2Fr%2Fhello")), "{mounts:?}");

    // A registry that mounts nothing opens a session at once, or refuses: then it is sent.
    for refusal in [None, Some(403), Some(404), Some(405), Some(429), Some(503)] {
        let registry = hooked(move |head| {
            let is_mount = head.method == "POST" && head.target.contains("mount=");
            refusal.filter(|_| is_mount).map(|status| Instead::Answer(status, Vec::new(), String::new()))
        });
        let to = |name: &str| Destination { repository: format!("{}/p/r/{name}", registry.host()), tag: None };
        push(&case.cx, &case.way(None), layout, digest, &to("hello")).await.expect("pushed");
        registry.forget_requests();
        let pushed = push(&case.cx, &case.way(None), layout, digest, &to("other")).await.expect("pushed");
        assert_eq!(pushed.uploaded, case.built.size);
        let is_mount = |request: &&String| request.contains("mount=");
        let (mounts, others): (Vec<_>, Vec<_>) = registry.requests("POST").into_iter().partition(|one| is_mount(&one));
        assert_eq!(others.len(), if refusal.is_some() { 4 } else { 0 }, "{refusal:?}");
        // What may be better a moment later is tried again.
        assert_eq!(mounts.len() > 4, matches!(refusal, Some(429 | 503)), "{refusal:?}: {mounts:?}");
        assert_eq!(registry.open_sessions(), 0);
    }
}

#[tokio::test]
async fn a_mount_that_is_refused_for_now_is_asked_for_again() {
    let case = Case::new().await;
    let hook = |head: &Head| {
        let busy = head.method == "POST" && head.target.contains("mount=") && head.number == 1;
        busy.then(|| Instead::Answer(429, vec![("Retry-After", "0".into())], String::new()))
    };
    let registry = TestRegistry::start(Behaviour { mounts: true, hook: Some(Box::new(hook)), ..Behaviour::default() });
    case.push(&registry, None).await.expect("pushed");
    registry.forget_requests();
    let to = Destination { repository: format!("{}/p/r/other", registry.host()), tag: None };
    let pushed = push(&case.cx, &case.way(None), &case.built.layout, &case.built.digest, &to).await.expect("pushed");
    assert_eq!((pushed.uploaded, registry.requests("POST").len()), (case.manifest().len() as u64, 5));
}

#[tokio::test]
async fn a_layer_is_read_as_fast_as_it_is_taken() {
    const SIZE: u64 = 256 << 20;
    let mut case = Case::of(&["one"]).await;
    // A hole in a file, whose hash nobody looks at before the end.
    let layout = Layout::open(&case.built.layout).expect("layout");
    let digest = digest_of(b"never asked");
    fs::File::create(layout.blob(&digest).expect("path")).and_then(|file| file.set_len(SIZE)).expect("a hole");
    // Takes connections and reads nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = reqwest::Url::parse(&format!("http://{}/p/r/x/blobs/uploads/1", listener.local_addr().expect("address")));
    let name = format!("{}/p/r/x", listener.local_addr().expect("address"));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
    case.cx.deadline = Some(deadline);
    let repository = Repository::new(&case.cx, &case.http, None, &name, Access::Push).expect("repository");
    let part = Progress::silent().part();
    let path = layout.blob(&digest).expect("path");
    let blob = Blob { path: &path, digest: &digest, size: SIZE };
    let session = crate::image::upload::Session::at(url.expect("an address"));
    upload(&repository, blob, &part, Some(session)).await.expect_err("nobody takes it");
    // What the kernel holds of a connection is a few megabytes.
    assert!(part.sent() > 0 && part.sent() < SIZE / 4, "{} bytes were read ahead", part.sent());
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_asked_again() {
    let case = Case::of(&["one"]).await;
    let layout = Layout::open(&case.built.layout).expect("layout");
    // One that the kernel takes whole, so that only the answer is missing, and one that it does not.
    for size in [1000, 32 << 20] {
        let bytes = vec![7; size];
        let digest = digest_of(&bytes);
        let path = layout.blob(&digest).expect("path");
        fs::write(&path, &bytes).expect("write");
        // Of the uploads, and of the questions for a blob.
        let registry = hooked(|head| {
            let is_blob = head.method == "GET" && !head.target.contains("/uploads/") && head.number == 2;
            (is_blob || (is_upload(head) && head.number == 1)).then_some(Instead::Hold)
        });
        let name = format!("{}/p/r/x", registry.host());
        let mut repository = Repository::new(&case.cx, &case.http, None, &name, Access::Push).expect("repository");
        repository.patience = Patience { still: Duration::from_secs(1), answer: Duration::from_secs(1) };
        let part = Progress::silent().part();
        let blob = Blob { path: &path, digest: &digest, size: size as u64 };
        upload(&repository, blob, &part, None).await.expect("sent");
        fs::remove_file(&path).expect("remove");
        pull::blob(&repository, &layout, (&digest, size as u64), &Progress::silent().part()).await.expect("fetched");
        assert!(layout.has(&digest, size as u64));
        // The session and the blob, twice; the blob's upload too.
        assert_eq!((registry.requests("GET").len(), registry.requests("PUT").len()), (3, 2));
    }
}

#[tokio::test]
async fn a_line_that_breaks_often_still_brings_a_large_layer() {
    let case = Case::new().await;
    let layout = Layout::open(&case.built.layout).expect("layout");
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(8 << 20)
    .collect();
    let digest = digest_of(&noise);
    let path = layout.blob(&digest).expect("path");
    fs::write(&path, &noise).expect("write");
    // More often than anything is tried that leads nowhere.
    let registry = resuming(|head| {
        let breaks = is_upload(head) || (head.method == "PATCH" && head.number < 7);
        (breaks && head.header("content-length") != "0").then_some(Instead::Reset)
    });
    let name = format!("{}/p/r/x", registry.host());
    let repository = Repository::new(&case.cx, &case.http, None, &name, Access::Push).expect("repository");
    let part = Progress::silent().part();
    upload(&repository, Blob { path: &path, digest: &digest, size: 8 << 20 }, &part, None)
        .await
        .expect("it came through");
    assert_eq!((registry.requests("PATCH").len(), registry.requests("POST").len()), (7, 1));
    assert_eq!(part.sent(), 8 << 20);
}
