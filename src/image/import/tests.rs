use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;

/// A tar of these files; `-> NAME` as content is a link.
fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match bytes.strip_prefix(b"-> ") {
            Some(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                let target = std::str::from_utf8(target).expect("text");
                tar.append_link(&mut header, name, target).expect("link");
            }
            None => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, name, bytes.as_slice()).expect("entry");
            }
        }
    }
    tar.into_inner().expect("tar")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).expect("gzip");
    gzip.finish().expect("gzip")
}

struct Case {
    folder: tempfile::TempDir,
    layout: Layout,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::create(&folder.path().join("layout")).expect("layout");
        Self { folder, layout }
    }

    fn import(&self, files: &[(&str, Vec<u8>)]) -> Result<Built> {
        let path = self.folder.path().join("image.tar");
        std::fs::write(&path, tar(files)).expect("write");
        let cancel = CancellationToken::new();
        let platform = Platform::LinuxAmd64;
        Import { layout: &self.layout, name: "test", platform, threads: 2, cancel: &cancel }.archive(&path)
    }

    fn refused(&self, files: &[(&str, Vec<u8>)]) -> String {
        let error = self.import(files).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::BuildFailed);
        error.message().to_owned()
    }
}

fn config(architecture: &str, diff_ids: &[String]) -> Vec<u8> {
    json!({ "architecture": architecture, "os": "linux", "config": { "Entrypoint": ["/app"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids } })
    .to_string()
    .into()
}

/// An OCI archive of one layer, as it is stored.
fn oci(architecture: &str, plain: &[u8], stored: &[u8], media_type: &str) -> Vec<(&'static str, Vec<u8>)> {
    let config = config(architecture, &[digest_of(plain)]);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": digest_of(&config), "size": config.len() },
        "layers": [{ "mediaType": media_type, "digest": digest_of(stored), "size": stored.len() }],
    })
    .to_string()
    .into_bytes();
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": MANIFEST, "digest": digest_of(&manifest), "size": manifest.len() }] });
    let blob =
        |bytes: &[u8]| -> &'static str { blob_path(&digest_of(bytes)).expect("path").display().to_string().leak() };
    vec![
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json", index.to_string().into()),
        (blob(&manifest), manifest),
        (blob(&config), config),
        (blob(stored), stored.to_vec()),
    ]
}

fn read(layout: &Layout, digest: &str) -> Value {
    serde_json::from_slice(&layout.read(digest).expect("readable").expect("there")).expect("json")
}

#[test]
fn an_archive_of_compressed_layers_stays_as_it_is() {
    let (case, layer) = (Case::new(), tar(&[("app", b"x".to_vec())]));
    let files = oci("amd64", &layer, &gzip(&layer), LAYER_GZIP);
    let built = case.import(&files).expect("taken");
    assert_eq!(built.digest, digest_of(&files[2].1));
    assert_eq!((built.layers, case.layout.find("test").expect("index")), (1, Some(built.digest.clone())));
    assert_eq!(case.import(&files).expect("again"), built);
}

#[test]
fn what_is_not_compressed_is_and_the_same_each_time() {
    let (case, layer) = (Case::new(), tar(&[("app", b"x".to_vec())]));
    let built = case.import(&oci("amd64", &layer, &layer, LAYER)).expect("taken");
    let manifest = read(&case.layout, &built.digest);
    assert_eq!(manifest["layers"][0]["mediaType"], LAYER_GZIP);

    // Docker's own kind, in both of its forms: the same layers, the same image.
    let config = config("amd64", &[digest_of(&layer), digest_of(&layer)]);
    let saved = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar"] }]);
    let files = [
        ("c.json", config),
        ("1/layer.tar", layer),
        ("2/layer.tar", b"-> ../1/layer.tar".to_vec()),
        ("manifest.json", saved.to_string().into()),
    ];
    let docker = case.import(&files).expect("taken");
    let layers = read(&case.layout, &docker.digest)["layers"].clone();
    assert_eq!((&layers[0], &layers[1]), (&manifest["layers"][0], &manifest["layers"][0]));
    assert_eq!(Case::new().import(&files).expect("elsewhere").digest, docker.digest);
}

#[test]
fn what_another_compressor_packed_is_packed_again() {
    let (case, layer) = (Case::new(), tar(&[("app", b"x".to_vec())]));
    let files = oci("amd64", &layer, &layer, LAYER);
    let expected = Case::new().import(&files).expect("elsewhere").digest;
    let other = case.layout.write_json(LAYER_GZIP, &"other bytes").expect("blob");
    let packed = Layer { digest: other.digest, size: other.size, diff_id: digest_of(&layer) };
    let diff_id = digest_of(&layer).replace(':', "-");
    for format in [String::new(), format!("{}-", FORMAT - 1), format!("{}-", FORMAT + 1)] {
        case.layout.remember(&format!("packed-{format}{diff_id}"), &packed).expect("remembered");
    }
    assert_eq!(case.import(&files).expect("taken").digest, expected);
}

#[test]
fn archives_that_lie_are_refused() {
    let (case, layer) = (Case::new(), tar(&[("app", b"x".to_vec())]));
    let packed = gzip(&layer);
    let good = oci("amd64", &layer, &packed, LAYER_GZIP);
    let changed = |index: usize, bytes: &[u8]| {
        let mut files = good.clone();
        files[index].1 = bytes.to_vec();
        files
    };
    for (files, expected) in [
        (changed(4, b"other"), "where it names"),
        (changed(3, b"{}"), "where it names"),
        (changed(2, b"{}"), "where it names"),
        (changed(1, br#"{"manifests":[]}"#), "it has 0 images"),
        (good[..4].to_vec(), "it has no `blobs/sha256/"),
        (good[..1].to_vec(), "neither an `index.json` nor a `manifest.json`"),
        (oci("arm64", &layer, &packed, LAYER_GZIP), "for linux/arm64, not for linux/amd64"),
        (oci("amd64", &layer, &packed, "application/x"), "a layer of type `application/x`"),
    ] {
        let message = case.refused(&files);
        assert!(message.contains(expected), "{message}");
    }
    let other = tar(&[("app", b"y".to_vec())]);
    let saved = json!([{ "Config": "c.json", "Layers": ["l"] }]).to_string();
    let lying = [("c.json", config("amd64", &[digest_of(&layer)])), ("l", other), ("manifest.json", saved.into())];
    assert!(case.refused(&lying).contains("where it names"));
    assert_eq!(case.layout.find("test").expect("index"), None);
}
