//! Images above a base: found, built, pushed, with nothing sent or fetched that is there.
use async_trait::async_trait;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;
use crate::image::{
    Below, base,
    manifest::BASE_DIGEST,
    spec::{Base, BuildSpec, FileCopy, Platform},
};

const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A layer of these empty files; with `/` at the end a folder of somebody's, with ` -> ` a link.
fn layer(names: &[&str]) -> (Vec<u8>, String) {
    let mut tar = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        if let Some((name, target)) = name.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, target).expect("link");
            continue;
        }
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o1777);
            header.set_uid(7);
            header.set_gid(8);
        }
        tar.append_data(&mut header, name, std::io::empty()).expect("entry");
    }
    let plain = tar.into_inner().expect("tar");
    let diff_id = digest_of(&plain);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut gzip, &plain).expect("gzip");
    (gzip.finish().expect("gzip"), diff_id)
}

/// Puts a base of Docker's older kind into `static` of a registry, under the tag `12`; answers its manifest's digest.
fn put_base(registry: &TestRegistry, names: &[&str]) -> String {
    let (one, two) = (layer(&["etc/os-release"]), layer(names));
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/usr/bin", "SSL_CERT_FILE=/certs"], "User": "65532" },
        "rootfs": { "type": "layers", "diff_ids": [one.1, two.1] },
    })
    .to_string();
    let part = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "size": bytes.len(), "digest": registry.put_blob("static", bytes) });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": part("application/vnd.docker.container.image.v1+json", config.as_bytes()),
        "layers": [part(GZIP, &one.0), part(GZIP, &two.0)],
    });
    registry.put_manifest("static", "12", &manifest)
}

struct FromBase {
    folder: tempfile::TempDir,
    spec: BuildSpec,
    cx: Ctx,
    way: Way,
}

impl FromBase {
    fn new(reference: String) -> Self {
        Self::with_program(reference, &elf(0x3e, None))
    }

    fn with_program(reference: String, program: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("app"), program).expect("write");
        let spec = BuildSpec { base: Base::Image(ImageRef(reference)), ..spec(folder.path(), &[("app", "/app")]) };
        Self { folder, spec, cx: Ctx::silent(), way: Way { http: client(None), auth: None } }
    }

    fn layout(&self) -> Layout {
        Layout::create(&self.folder.path().join("layout")).expect("layout")
    }

    async fn find(&self) -> Result<base::BaseImage> {
        let Base::Image(reference) = &self.spec.base else { panic!("no base") };
        base::find(&self.cx, &self.way, reference, self.spec.platform, &self.layout()).await
    }

    async fn build(&self) -> Result<Built> {
        let base = self.find().await?;
        build(&self.cx, &self.spec, Some(Below { image: base, ways: &self.way }), &self.folder.path().join("layout"), 2)
            .await
    }

    async fn push(&self, built: &Built, repository: String) -> Result<Pushed> {
        let to = Destination { repository, tag: None };
        push(&self.cx, &self.way, &built.layout, &built.digest, &to).await
    }

    async fn refused(&self) -> (ErrorKind, String, String) {
        let error = self.find().await.expect_err("refused");
        (error.kind(), error.message().to_owned(), error.hints().join("; "))
    }
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("json")
}

#[tokio::test]
async fn layers_of_a_base_are_copied_from_its_registry() {
    let (from, to) = (TestRegistry::start(Behaviour::default()), TestRegistry::start(Behaviour::default()));
    let digest = put_base(&from, &["usr/bin/true"]);
    let case = FromBase::new(format!("{}/static:12", from.host()));
    let built = case.build().await.expect("built");
    assert_eq!(built.layers, 3);
    // The manifest and the configuration: no layer is needed to build.
    assert_eq!(from.requests("").len(), 2, "{:?}", from.requests(""));

    let pushed = case.push(&built, format!("{}/p/hello", to.host())).await.expect("pushed");
    assert_eq!(pushed.uploaded, built.size);
    let manifest = read(&to.manifest(&built.digest).expect("pushed"));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let types: Vec<&Value> =
        manifest["layers"].as_array().expect("layers").iter().map(|one| &one["mediaType"]).collect();
    assert_eq!(types, ["application/vnd.oci.image.layer.v1.tar+gzip"; 3]);
    assert_eq!(manifest["annotations"][BASE_NAME], format!("{}/static:12", from.host()));
    assert_eq!(manifest["annotations"][BASE_DIGEST], digest);

    // Another registry gets them from the layout, and the same one nothing at all.
    from.forget_requests();
    to.forget_requests();
    assert!(case.push(&built, format!("{}/p/hello", to.host())).await.expect("pushed").existed);
    assert_eq!(to.requests("").len(), 1);
    let third = TestRegistry::start(Behaviour::default());
    case.push(&built, format!("{}/p/hello", third.host())).await.expect("pushed");
    assert_eq!(from.requests(""), [""; 0]);
}

#[tokio::test]
async fn layers_of_a_base_in_the_same_registry_are_mounted() {
    let registry = TestRegistry::start(Behaviour { mounts: true, ..Behaviour::default() });
    put_base(&registry, &["usr/bin/true"]);
    let case = FromBase::new(format!("{}/static:12", registry.host()));
    let built = case.build().await.expect("built");
    registry.forget_requests();
    case.push(&built, format!("{}/p/hello", registry.host())).await.expect("pushed");
    let mounts = registry.requests("POST").into_iter().filter(|request| request.contains("from=static")).count();
    // All that the layout lacks, and what else may be there.
    assert!(mounts >= 2, "{:?}", registry.requests("POST"));
    assert_eq!(registry.requests("GET"), [""; 0]);
    // Only our layer and the configuration are sent.
    let puts = registry.requests("PUT").into_iter().filter(|request| request.contains("/uploads/")).count();
    assert_eq!(puts, 2);
}

#[tokio::test]
async fn the_same_base_and_files_are_the_same_image_also_without_the_registry() {
    let registry = TestRegistry::start(Behaviour::default());
    let digest = put_base(&registry, &["usr/bin/true"]);
    let by_digest = format!("{}/static@{digest}", registry.host());
    let (one, two) = (FromBase::new(by_digest.clone()), FromBase::new(by_digest));
    let (first, second) = (one.build().await.expect("built"), two.build().await.expect("built"));
    assert_eq!(first.digest, second.digest);
    registry.forget_requests();
    assert_eq!(one.build().await.expect("built"), first);
    assert_eq!(registry.requests(""), [""; 0]);

    // By tag it is asked for each time, and what it is called by is a part of the image.
    let by_tag = FromBase::new(format!("{}/static:12", registry.host()));
    let tagged = by_tag.build().await.expect("built");
    assert_eq!(by_tag.find().await.expect("found").pinned(), format!("{}/static@{digest}", registry.host()));
    assert_ne!(tagged.digest, first.digest);
    assert!(registry.requests("GET").len() >= 2);
}

#[tokio::test]
async fn an_index_is_asked_for_the_platform() {
    let registry = TestRegistry::start(Behaviour::default());
    let manifest = put_base(&registry, &["usr/bin/true"]);
    let entry = |digest: &str, architecture: &str| {
        json!({ "mediaType": MANIFEST, "size": 1, "digest": digest,
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let list = |entries: Value| json!({ "schemaVersion": 2, "mediaType": LIST, "manifests": entries });
    let other = digest_of(b"other");
    let top =
        registry.put_manifest("static", "many", &list(json!([entry(&other, "arm64"), entry(&manifest, "amd64")])));
    let case = FromBase::new(format!("{}/static:many", registry.host()));
    let found = case.find().await.expect("found");
    assert_eq!((found.digest.as_str(), found.top.as_str()), (manifest.as_str(), top.as_str()));
    let pinned =
        FromBase { spec: BuildSpec { base: Base::Image(ImageRef(found.pinned())), ..case.spec.clone() }, ..case };
    registry.forget_requests();
    assert_eq!(pinned.find().await.expect("known").digest, manifest);
    assert_eq!(registry.requests(""), [""; 0]);

    registry.put_manifest("static", "arm", &list(json!([entry(&other, "arm64"), entry(&other, "s390x")])));
    let name = format!("{}/static:arm", registry.host());
    let (kind, message, hint) = FromBase::new(name.clone()).refused().await;
    assert_eq!((kind, message), (ErrorKind::ConfigInvalid, format!("`{name}` has no image for linux/amd64")));
    assert_eq!(hint, "it has linux/arm64, linux/s390x");
    let mut arm = FromBase::new(format!("{}/static:12", registry.host()));
    arm.spec.platform = Platform::LinuxArm64;
    assert_eq!(arm.refused().await.2, "it has linux/amd64");
}

/// First as one, then as another.
#[derive(Debug)]
struct Two([Way; 2]);

#[async_trait]
impl Ways for Two {
    async fn pull(&self, _: &Ctx, _: &ImageRef, number: usize) -> Result<Option<Way>> {
        Ok(self.0.get(number).cloned())
    }
    async fn push(&self, _: &Ctx, _: &ImageRef) -> Result<Way> {
        Ok(Way { http: client(None), auth: None })
    }
}

#[tokio::test]
async fn whom_the_cloud_does_not_let_in_docker_may() {
    // docker:d
    let registry = hooked(|head| {
        (head.header("authorization") != "Basic ZG9ja2VyOmQ=").then(|| Instead::Answer(401, Vec::new(), String::new()))
    });
    put_base(&registry, &["usr/bin/true"]);
    let case = FromBase::new(format!("{}/static:12", registry.host()));
    let way = |name: Option<(&str, &str)>, endpoint: Option<&str>| Way {
        http: client(endpoint.map(|text| Endpoint::parse(text).expect("an endpoint"))),
        auth: name.map(|(user, password)| RegistryAuth { user: user.into(), password: password.to_owned().into() }),
    };
    let (cloud, docker) = (Some(("cloud", "c")), Some(("docker", "d")));
    let find = async |name: &str, ways: [Way; 2]| {
        base::find(&case.cx, &Two(ways), &ImageRef(name.into()), case.spec.platform, &case.layout()).await
    };
    let name = format!("{}/static:12", registry.host());
    let base = find(&name, [way(cloud, None), way(docker, None)]).await.expect("found");
    let error = find(&name, [way(cloud, None), way(None, None)]).await.expect_err("refused");
    assert_eq!(error.hints(), [format!("the base needs credentials: docker login {}", registry.host())]);

    // Beside a local cloud nothing that Docker has is looked up, so that would not help.
    let endpoint = format!("http://{}", registry.host());
    let beside = || way(None, Some(&endpoint));
    let error = find("gcr.io/p/static:12", [way(cloud, Some(&endpoint)), beside()]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let hint = "beside a local cloud only what is public comes from gcr.io";
    assert!(error.hints().iter().any(|one| one == hint), "{:?}", error.hints());

    // Layers come by the same ways. A refusal stays one: the caller may have a newer token.
    let both = Two([way(cloud, None), way(docker, None)]);
    let below = Below { image: base, ways: &both };
    let built = build(&case.cx, &case.spec, Some(below), &case.folder.path().join("layout"), 2).await.expect("built");
    let to = TestRegistry::start(Behaviour::default());
    let to = Destination { repository: format!("{}/p/hello", to.host()), tag: None };
    let send = async |ways| push(&case.cx, &Two(ways), &built.layout, &built.digest, &to).await;
    let error = send([way(cloud, None), way(None, None)]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let pushed = send([way(cloud, None), way(docker, None)]).await.expect("pushed");
    assert!(pushed.uploaded > 0 && !pushed.existed);
}

#[tokio::test]
async fn a_registry_that_lies_is_not_believed() {
    let registry = TestRegistry::start(Behaviour::default());
    let digest = put_base(&registry, &["usr/bin/true"]);
    let manifest = read(&registry.manifest(&digest).expect("manifest"));
    let case = FromBase::new(format!("{}/static:12", registry.host()));
    let built = case.build().await.expect("built");

    let layer = &manifest["layers"][1];
    let name = layer["digest"].as_str().expect("a digest");
    let size = usize::try_from(layer["size"].as_u64().expect("a size")).expect("small");
    for lie in [vec![0; size], vec![0; size + 1]] {
        registry.put_lie("static", name, &lie);
        let to = TestRegistry::start(Behaviour::default());
        let error = case.push(&built, format!("{}/p/hello", to.host())).await.expect_err("a lie");
        assert_eq!(error.kind(), ErrorKind::BuildFailed, "{error}");
        assert!(!case.layout().has(name, size as u64));
        assert_eq!(to.manifest(&built.digest), None);
    }

    // A manifest that is not the one of its digest.
    let lying = hooked(|head| {
        head.target.contains("/manifests/").then(|| Instead::Answer(200, Vec::new(), r#"{"schemaVersion":2}"#.into()))
    });
    let (kind, message, _) = FromBase::new(format!("{}/static@{digest}", lying.host())).refused().await;
    assert_eq!(kind, ErrorKind::BuildFailed);
    assert!(message.contains(&digest), "{message}");

    // More than anybody needs.
    let endless = hooked(|head| {
        head.target.contains("/manifests/").then(|| Instead::Answer(200, Vec::new(), " ".repeat(5 << 20)))
    });
    let (_, message, _) = FromBase::new(format!("{}/static:12", endless.host())).refused().await;
    assert!(message.contains("longer than"), "{message}");
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let registry = TestRegistry::start(Behaviour::default());
    let digest = put_base(&registry, &["usr/bin/true"]);
    let good = read(&registry.manifest(&digest).expect("manifest"));
    let refused = async |change: fn(&mut Value)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        registry.put_manifest("static", "bad", &manifest);
        let (kind, message, _) = FromBase::new(format!("{}/static:bad", registry.host())).refused().await;
        assert!(matches!(kind, ErrorKind::ConfigInvalid | ErrorKind::BuildFailed), "{message}");
        message
    };
    let foreign = refused(|manifest| {
        manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into()
    })
    .await;
    assert!(foreign.contains("it has a layer of type"), "{foreign}");
    let fewer = refused(|manifest| manifest["layers"] = json!([])).await;
    assert!(fewer.contains("it has 0 layers, and its configuration names 2"), "{fewer}");
    let path = refused(|manifest| manifest["layers"][0]["digest"] = "sha256:../../etc/passwd".into()).await;
    assert!(path.contains("is not a sha256 digest"), "{path}");
    let old = refused(|manifest| *manifest = json!({ "schemaVersion": 1 })).await;
    assert!(old.contains("first schema"), "{old}");
    let large = refused(|manifest| manifest["config"]["size"] = json!(1 << 30)).await;
    assert!(large.contains("configuration has 1073741824 bytes"), "{large}");
    let itself = refused(|manifest| *manifest = json!({ "schemaVersion": 2, "manifests": [] })).await;
    assert!(itself.contains("has no image for linux/amd64"), "{itself}");
    let (kind, _, hint) = FromBase::new(format!("{}/static:none", registry.host())).refused().await;
    assert_eq!((kind, hint.as_str()), (ErrorKind::NotFound, "look at the name of the base, and at its tag"));
}

#[tokio::test]
async fn a_download_that_breaks_goes_on() {
    for ignores_ranges in [false, true] {
        let to = TestRegistry::start(Behaviour::default());
        let hook = |head: &Head| {
            let is_first = head.method == "GET" && head.target.contains("/blobs/") && (3..=5).contains(&head.number);
            is_first.then_some(Instead::Cut(40))
        };
        let from =
            TestRegistry::start(Behaviour { ignores_ranges, hook: Some(Box::new(hook)), ..Behaviour::default() });
        put_base(&from, &["usr/bin/true", "usr/bin/false"]);
        let case = FromBase::new(format!("{}/static:12", from.host()));
        let built = case.build().await.expect("built");
        case.push(&built, format!("{}/p/hello", to.host())).await.expect("pushed");
        let ranges = from.heads().into_iter().filter(|head| head.header("range") == "bytes=40-").count();
        assert!(ranges >= 1, "{:?}", from.requests("GET"));
    }
}

#[tokio::test]
async fn a_download_that_breaks_after_its_last_byte_is_whole() {
    let to = TestRegistry::start(Behaviour::default());
    let from = hooked(|head| {
        let is_layer = head.method == "GET" && head.target.contains("/blobs/") && head.number > 2;
        is_layer.then_some(Instead::Unended)
    });
    put_base(&from, &["usr/bin/true", "usr/bin/false"]);
    let case = FromBase::new(format!("{}/static:12", from.host()));
    let built = case.build().await.expect("built");
    case.push(&built, format!("{}/p/hello", to.host())).await.expect("pushed");
    // The manifest, the configuration and two layers, each asked for once.
    assert_eq!(from.requests("GET").len(), 4, "{:?}", from.requests("GET"));
}

#[tokio::test]
async fn a_registry_that_has_no_such_part_is_asked_for_the_whole() {
    let other_part = || {
        let headers = vec![("Content-Range", "bytes 0-3/99".to_owned())];
        Instead::Answer(206, headers, "else".into())
    };
    for instead in [Instead::Answer(416, Vec::new(), String::new()), other_part()] {
        let to = TestRegistry::start(Behaviour::default());
        let refusal = instead.clone();
        let from = hooked(move |head| {
            if head.method != "GET" || !head.target.contains("/blobs/") {
                return None;
            }
            match head.header("range") {
                // One of the layers, which are the third and fourth.
                "" => (head.number == 3).then_some(Instead::Cut(40)),
                _ => Some(refusal.clone()),
            }
        });
        put_base(&from, &["usr/bin/true", "usr/bin/false"]);
        let case = FromBase::new(format!("{}/static:12", from.host()));
        let built = case.build().await.expect("built");
        let pushed = case.push(&built, format!("{}/p/hello", to.host())).await;
        pushed.unwrap_or_else(|error| panic!("{instead:?}: {error}"));
        // Two layers, the rest of one, and it from its beginning.
        assert_eq!(from.requests("GET").len(), 2 + 4, "{:?}", from.requests("GET"));
    }
}

/// Sends everybody who asks for a blob to `host`.
fn sends_to(host: String) -> TestRegistry {
    hooked(move |head| {
        let asks = matches!(head.method.as_str(), "GET" | "HEAD") && head.target.contains("/blobs/sha256:");
        let location = format!("http://{host}{}", head.target);
        asks.then(|| Instead::Answer(307, vec![("Location", location)], String::new()))
    })
}

#[tokio::test]
async fn blobs_may_lie_in_a_store_of_their_own() {
    let store = hooked(|head| {
        // An address for downloads alone.
        (head.method == "HEAD").then(|| Instead::Answer(403, Vec::new(), String::new()))
    });
    let (from, to) = (sends_to(store.host()), sends_to(store.host()));
    put_base(&store, &["usr/bin/true"]);
    put_base(&from, &["usr/bin/true"]);
    let case = FromBase::new(format!("{}/static:12", from.host()));
    let built = case.build().await.expect("built");
    let pushed = case.push(&built, format!("{}/p/hello", to.host())).await.expect("pushed");
    // The configuration and two layers of the base; whether four blobs are there is not known, and they are sent.
    assert_eq!((store.requests("GET").len(), store.requests("HEAD").len()), (3, 4));
    assert_eq!(pushed.uploaded, built.size);
}

#[tokio::test]
async fn a_registry_that_sends_us_round_is_left() {
    let round = hooked(|head| {
        let location = head.target.clone();
        head.target
            .contains("/blobs/sha256:")
            .then(|| Instead::Answer(307, vec![("Location", location)], String::new()))
    });
    put_base(&round, &["usr/bin/true"]);
    let (kind, message, _) = FromBase::new(format!("{}/static:12", round.host())).refused().await;
    assert_eq!(kind, ErrorKind::BuildFailed);
    assert!(message.contains("again and again"), "{message}");
}

#[tokio::test]
async fn a_loader_is_looked_for_in_the_base_when_its_layers_are_here() {
    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
    for (files, good) in [(&["usr/bin/true"][..], false), (&["lib64/ld-linux-x86-64.so.2"], true)] {
        let (from, to) = (TestRegistry::start(Behaviour::default()), TestRegistry::start(Behaviour::default()));
        put_base(&from, files);
        let case = FromBase::with_program(format!("{}/static:12", from.host()), &elf(0x3e, Some(LOADER)));
        // Nothing is known of the base's files yet, and nothing guessed.
        let built = case.build().await.expect("built");
        case.push(&built, format!("{}/p/hello", to.host())).await.expect("pushed");
        match case.build().await {
            Ok(again) => assert!(good && again.digest == built.digest),
            Err(error) => {
                assert!(!good);
                assert!(error.message().contains(LOADER), "{error}");
            }
        }
    }
    let known = FromBase::with_program("gcr.io/distroless/static-debian12".into(), &elf(0x3e, Some(LOADER)));
    let error = crate::image::spec::check_files(&known.spec).expect_err("it is known to have none");
    assert!(error.message().contains(LOADER), "{error}");
}

/// What our layers of an image hold: paths, modes and owners.
fn entries(case: &FromBase, built: &Built) -> Vec<String> {
    let (_, manifest) = case.layout().manifest(&built.digest).expect("manifest");
    let ours = manifest.layers().iter().skip(2);
    let lines = ours.flat_map(|layer| {
        let file = fs::File::open(case.layout().blob(layer.digest().as_ref()).expect("path")).expect("open");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let entries = tar.entries().expect("tar").map(|entry| {
            let entry = entry.expect("entry");
            let (header, path) = (entry.header(), entry.path().expect("path").display().to_string());
            let number = |number: std::io::Result<u64>| number.expect("a number");
            format!("{path} {:o} {}:{}", header.mode().expect("a mode"), number(header.uid()), number(header.gid()))
        });
        entries.collect::<Vec<_>>()
    });
    lines.collect()
}

#[tokio::test]
async fn folders_and_links_of_the_base_stay_what_they_are() {
    let (registry, to) = (TestRegistry::start(Behaviour::default()), TestRegistry::start(Behaviour::default()));
    let digest = put_base(&registry, &["bin -> usr/bin", "usr/bin/true", "tmp/", "home/me/"]);
    let case = || {
        let mut case = FromBase::new(format!("{}/static@{digest}", registry.host()));
        let from = case.folder.path().join("app");
        case.spec.files = ["/bin/app", "/tmp/seed"].map(|to| FileCopy { from: from.clone(), to: to.to_owned() }).into();
        case.spec.entrypoint = vec!["/bin/app".into()];
        case.spec.working_dir = Some("/home/me".into());
        case
    };
    let first = case();
    let built = first.build().await.expect("built");
    assert_eq!(
        entries(&first, &built),
        ["usr/ 755 0:0", "usr/bin/ 755 0:0", "usr/bin/app 755 0:0", "tmp/ 1777 7:8", "tmp/seed 644 0:0"]
    );
    let layers = || registry.requests("GET").into_iter().filter(|request| request.contains("/blobs/")).count();
    // The configuration and two layers, once.
    assert_eq!(layers(), 3, "{:?}", registry.requests("GET"));
    registry.forget_requests();
    assert_eq!(first.build().await.expect("built"), built);
    assert_eq!(registry.requests(""), [""; 0]);

    // What was read of them is kept when they are not.
    let (_, manifest) = first.layout().manifest(&built.digest).expect("manifest");
    for layer in manifest.layers().iter().take(2) {
        fs::remove_file(first.layout().blob(layer.digest().as_ref()).expect("path")).expect("remove");
    }
    assert_eq!(first.build().await.expect("built"), built);
    assert_eq!(registry.requests(""), [""; 0]);

    // Elsewhere nothing is known of it, or all, because a push copied it.
    assert_eq!(case().build().await.expect("built").digest, built.digest);
    let mut pushed = case();
    let files = std::mem::take(&mut pushed.spec.files);
    pushed.spec.files = vec![FileCopy { from: files[0].from.clone(), to: "/app".into() }];
    (pushed.spec.entrypoint, pushed.spec.working_dir) = (vec!["/app".into()], None);
    registry.forget_requests();
    let flat = pushed.build().await.expect("built");
    assert_eq!(layers(), 1, "a file in the root needs the configuration alone");
    pushed.push(&flat, format!("{}/p/hello", to.host())).await.expect("pushed");
    let full = case().spec;
    pushed.spec =
        BuildSpec { entrypoint: full.entrypoint, working_dir: full.working_dir, files, ..pushed.spec.clone() };
    registry.forget_requests();
    assert_eq!(pushed.build().await.expect("built").digest, built.digest);
    assert_eq!(registry.requests(""), [""; 0]);
}

#[tokio::test]
async fn a_base_whose_folders_cannot_be_known_is_refused() {
    let registry = TestRegistry::start(Behaviour::default());
    let digest = put_base(&registry, &["usr/bin/true"]);
    let good = read(&registry.manifest(&digest).expect("manifest"));
    let mut case = FromBase::new(format!("{}/static:bad", registry.host()));
    case.spec.files[0].to = "/usr/app".into();
    case.spec.entrypoint = vec!["/usr/app".into()];
    let mut manifest = good.clone();
    manifest["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd".into();
    registry.put_manifest("static", "bad", &manifest);
    let error = case.build().await.expect_err("refused");
    assert_eq!((error.kind(), error.field()), (ErrorKind::ConfigInvalid, Some("image.build.base")));
    assert!(error.message().contains("zstd") && error.hints()[0].contains("to = \"/app\""), "{error:?}");

    let mut manifest = good;
    manifest["layers"][1]["digest"] = digest_of(b"gone").into();
    registry.put_manifest("static", "bad", &manifest);
    let error = case.build().await.expect_err("refused");
    assert_eq!((error.kind(), error.field()), (ErrorKind::NotFound, Some("image.build.base")));
    case.spec.files[0].to = "/app".into();
    case.spec.entrypoint = vec!["/app".into()];
    case.build().await.expect("a file in the root needs no folder");
}
