//! Layers as images have them.
use std::fs;

use tar::EntryType;

use super::{
    place::{Place, file, folder, hard_link, symlink},
    support::{File, image, layer},
};
use crate::runtime::extract::{Cache, Limits};

#[test]
fn whiteouts_hide_what_is_older() {
    let place = Place::new();
    place
        .extract(&[
            vec![
                file("gone", "old"),
                folder("hidden"),
                file("hidden/old", "old"),
                file("opaque/old", "old"),
                file("opaque/sub/old", "old"),
                file("both", "old"),
                file("kept", "old"),
                symlink("link", "opaque"),
            ],
            vec![
                file(".wh.gone", ""),
                file(".wh.hidden", ""),
                // Its own files come before and after: neither is hidden.
                file("opaque/sub/new", "new"),
                file("opaque/.wh..wh..opq", ""),
                file("opaque/new", "new"),
                file("both", "new"),
                file(".wh.both", ""),
                file(".wh.never-there", ""),
                file("no-folder/.wh.x", ""),
                file(".wh..wh.plnk", ""),
            ],
        ])
        .unwrap();
    assert_eq!(
        place.listing(),
        [
            "both =new",
            "kept =old",
            "link >opaque",
            "opaque d",
            "opaque/new =new",
            "opaque/sub d",
            "opaque/sub/new =new"
        ]
    );
}

#[test]
fn a_folder_that_is_hidden_and_made_again_has_only_the_new() {
    let place = Place::new();
    place
        .extract(&[vec![file("d/old", "old"), file("d/sub/old", "old")], vec![file("d/new", "new"), file(".wh.d", "")]])
        .unwrap();
    assert_eq!(place.listing(), ["d d", "d/new =new"]);
}

#[test]
fn a_later_layer_does_not_write_into_an_earlier_files_links() {
    let place = Place::new();
    place.extract(&[vec![file("one", "old"), hard_link("two", "/one")], vec![file("two", "new")]]).unwrap();
    assert_eq!(place.listing(), ["one =old", "two =new"]);
}

#[test]
fn long_names_are_whole() {
    let place = Place::new();
    let name = format!("{}/{}", "a".repeat(200), "b".repeat(200));
    place.extract(&[vec![file(&name, "text"), hard_link("link", &name), symlink("far", &name)]]).unwrap();
    let expected =
        [format!("{} d", "a".repeat(200)), format!("{name} =text"), format!("far >{name}"), "link =text".to_owned()];
    assert_eq!(place.listing(), expected);
}

#[test]
fn a_pax_header_names_the_next_entry() {
    let pax = |key: &str, value: &str| {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| length - length.to_string().len() == rest).unwrap();
        let record = format!("{length} {key}={value}\n");
        File { bytes: record.into_bytes(), ..File::new("pax", EntryType::XHeader) }
    };
    let place = Place::new();
    place
        .extract(&[vec![
            pax("path", "named"),
            file("ignored", "text"),
            pax("linkpath", "named"),
            hard_link("link", "nowhere"),
        ]])
        .unwrap();
    assert_eq!(place.listing(), ["link =text", "named =text"]);
    for (key, value, expected) in [
        ("path", "../outside/file", "it has `..`"),
        ("size", "1", "two sizes"),
        ("size", "none", "no size"),
        ("GNU.sparse.major", "1", "sparse"),
    ] {
        let text = Place::new().extract(&[vec![pax(key, value), file("file", "text")]]).unwrap_err();
        assert!(text.contains(expected), "{text}");
    }
    let endless = File { bytes: vec![b'x'; (1 << 20) + 1], ..File::new("pax", EntryType::XHeader) };
    let text = Place::new().extract(&[vec![endless]]).unwrap_err();
    assert!(text.contains("whose name has no end"), "{text}");
}

#[test]
fn an_unknown_compression_is_said() {
    let place = Place::new();
    let mut image = image(place.folder.path(), &[], &[]);
    image.layers = vec![layer(place.folder.path(), b"", "application/vnd.oci.image.layer.v1.tar+zstd")];
    let text = place.extract_image(&image, Limits::default()).unwrap_err();
    assert_eq!(text, "the local cloud does not unpack zstd layers; push the image with gzip layers");
}

#[tokio::test]
async fn an_image_is_extracted_once_and_whole() {
    let place = Place::new();
    let rootfs = place.folder.path().join("rootfs");
    fs::create_dir_all(rootfs.join(".new-interrupted/x")).unwrap();
    let cache = Cache::open(rootfs.clone()).unwrap();
    assert!(fs::read_dir(&rootfs).unwrap().next().is_none(), "what was interrupted is removed");
    let good = image(place.folder.path(), &[vec![file("file", "text")]], &[]);
    let (one, two) = futures_util::join!(cache.root_of(&good), cache.root_of(&good));
    let root = one.unwrap();
    assert_eq!(root, two.unwrap());
    fs::write(root.join("marker"), "").unwrap();
    assert!(cache.root_of(&good).await.unwrap().join("marker").exists(), "it was extracted again");
    let bad = image(place.folder.path(), &[vec![file("file", "text"), file("../x", "")]], &[]);
    assert!(cache.root_of(&bad).await.is_err());
    assert_eq!(fs::read_dir(&rootfs).unwrap().count(), 1, "a refused image leaves nothing");
}
