//! Layers as an attacker would write them.
use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
};

use proptest::prelude::*;
use tar::EntryType;

use super::{
    place::{Place, file, folder, hard_link, symlink},
    support::{File, archive, digest, image, layer},
};
use crate::runtime::extract::{Limits, extract_into};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn what_leaves_the_root_is_refused() {
    let long = "x/".repeat(300);
    let deep = format!("{}x", "x/".repeat(2100));
    for (files, expected) in [
        (vec![file("../outside/file", "owned")], "it has `..`"),
        (vec![file("a/../../outside/file", "owned")], "it has `..`"),
        (vec![file("/../outside/file", "owned")], "it has `..`"),
        (vec![hard_link("link", "../outside/file")], "it has `..`"),
        (vec![symlink("up", ".."), hard_link("link", "up/outside/file")], "leads nowhere"),
        (vec![hard_link("link", "/etc/passwd")], "leads nowhere"),
        (vec![hard_link("link", "/")], "names the root"),
        (vec![folder("d"), hard_link("link", "d")], "names no file"),
        (vec![file("f", ""), file("f/below", "")], "lies below a file"),
        (vec![symlink("a", "b"), symlink("b", "a"), file("a/f", "")], "leads round in symbolic links"),
        (vec![file("", "root")], "replaces the root by a file"),
        (vec![file(".wh...", "")], "deletes a file without a name"),
        (vec![file(".wh.", "")], "deletes a file without a name"),
        (vec![file("nul\0byte", "")], "has a zero byte"),
        (vec![file(&long, "")], "lies too deep"),
        (vec![file(&deep, "")], "is too long"),
        (vec![file(&"y".repeat(256), "")], "a name that is too long"),
        (vec![File::new("sparse", EntryType::GNUSparse)], "is a sparse file"),
        (vec![File::new("what", EntryType::new(b'~'))], "has the unknown type '~'"),
        (vec![symlink("empty", "")], "has no target"),
    ] {
        let mut names: Vec<_> = files.iter().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect();
        names.iter_mut().for_each(|name| name.truncate(40));
        // A short name ends at its first zero byte in the header; a long one has its own.
        let files: Vec<File> = files
            .into_iter()
            .map(|file| {
                if file.path.contains(&0) { File { path: [file.path, vec![b'z'; 100]].concat(), ..file } } else { file }
            })
            .collect();
        let place = Place::new();
        let text = place.extract(&[files]).expect_err(&format!("{names:?}"));
        assert!(text.contains(expected), "{names:?}: {text}");
    }
}

#[test]
fn links_lead_inside() {
    let place = Place::new();
    let outside = place.folder.path().join("outside");
    let outside = outside.to_str().unwrap();
    let inside = &outside[1..];
    place
        .extract(&[
            vec![symlink("absolute", outside), symlink("relative", "../../../outside"), symlink("etc/self", "..")],
            vec![
                file("absolute/file", "one"),
                file("relative/file", "two"),
                file("/rooted", "three"),
                file("etc/self/etc/self/four", "four"),
                // Replaces the link, does not write through it.
                symlink("target", &format!("{outside}/file")),
                file("target", "five"),
            ],
        ])
        .unwrap();
    let listing = place.listing();
    for line in [&format!("{inside}/file =one"), "outside/file =two", "rooted =three", "four =four", "target =five"] {
        assert!(listing.iter().any(|found| found == line), "{line} is not in {listing:#?}");
    }
}

#[test]
fn a_link_that_replaces_a_folder_takes_its_files_away() {
    let place = Place::new();
    let outside = place.folder.path().join("outside");
    place
        .extract(&[
            vec![folder("d"), file("d/file", "lower")],
            vec![symlink("d", outside.to_str().unwrap())],
            // Hides what the link leads to inside the root: nothing.
            vec![file("d/.wh.file", ""), file("d/.wh..wh..opq", "")],
            vec![file("d", "a file again")],
        ])
        .unwrap();
    assert_eq!(place.listing(), ["d =a file again"]);
}

#[test]
fn devices_and_fifos_are_left_out() {
    let place = Place::new();
    let kinds = [EntryType::Char, EntryType::Block, EntryType::Fifo];
    let files = kinds.iter().enumerate().map(|(index, &kind)| File::new(&format!("dev/{index}"), kind)).collect();
    place.extract(&[files]).unwrap();
    assert!(place.listing().is_empty());
}

#[test]
fn modes_are_kept_without_setuid() {
    let place = Place::new();
    let with = |mode, file: File| File { mode, ..file };
    place
        .extract(&[vec![
            with(0o4755, file("setuid", "")),
            with(0o2750, folder("setgid")),
            with(0o1777, folder("tmp")),
            with(0o444, file("read-only", "")),
            with(0o000, folder("locked")),
            file("locked/file", ""),
            with(0o750, folder("./")),
        ]])
        .unwrap();
    let mode = |path: &str| fs::metadata(place.root().join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("setuid"), 0o755);
    assert_eq!(mode("setgid"), 0o750);
    assert_eq!(mode("tmp"), 0o1777);
    assert_eq!(mode("read-only"), 0o644, "the owner may always");
    assert_eq!(mode("locked"), 0o700);
    assert_eq!(mode(""), 0o750);
}

#[test]
fn a_damaged_blob_is_told_by_its_digest() {
    let place = Place::new();
    let mut image = image(place.folder.path(), &[vec![file("file", "text")]], &[]);
    let mut bytes = fs::read(&image.layers[0].path).unwrap();
    bytes.truncate(bytes.len() - 9);
    fs::write(&image.layers[0].path, &bytes).unwrap();
    let text = place.extract_image(&image, Limits::default()).unwrap_err();
    assert!(text.contains("is damaged"), "{text}");
    // The same bytes under their own digest are no archive.
    let place = Place::new();
    image.layers[0].digest = digest(&bytes);
    let text = place.extract_image(&image, Limits::default()).unwrap_err();
    assert!(text.starts_with("a layer is damaged at its end"), "{text}");
}

#[test]
fn what_follows_the_archive_is_part_of_the_digest() {
    let place = Place::new();
    let mut image = image(place.folder.path(), &[vec![file("file", "text")]], &[]);
    let mut appended = fs::OpenOptions::new().append(true).open(&image.layers[0].path).unwrap();
    appended.write_all(b"more").unwrap();
    let text = place.extract_image(&image, Limits::default()).unwrap_err();
    assert!(text.contains("is damaged"), "{text}");
    image.layers.clear();
}

#[test]
fn sizes_and_counts_are_bounded() {
    let place = Place::new();
    let zeros = image(place.folder.path(), &[vec![file("zeros", &"\0".repeat(1 << 20))]], &[]);
    let text = place.extract_image(&zeros, Limits { bytes: 1 << 19, ..Limits::default() }).unwrap_err();
    assert_eq!(text, "the image is too large when unpacked");
    let place = Place::new();
    let many: Vec<File> = (0..11).map(|index| file(&index.to_string(), "")).collect();
    let many = image(place.folder.path(), &[many[..6].to_vec(), many[6..].to_vec()], &[]);
    let text = place.extract_image(&many, Limits { entries: 10, ..Limits::default() }).unwrap_err();
    assert_eq!(text, "the image has too many files");
}

#[test]
fn a_bomb_behind_the_archives_end_is_bounded_too() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&archive(&[file("file", "text")])).unwrap();
    gzip.write_all(&vec![0; 4 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 8 << 10, "{} bytes", bomb.len());
    let mut image = image(place.folder.path(), &[], &[]);
    image.layers = vec![layer(place.folder.path(), &bomb, GZIP)];
    let text = place.extract_image(&image, Limits { bytes: 1 << 20, ..Limits::default() }).unwrap_err();
    assert_eq!(text, "the image is too large when unpacked");
}

#[test]
fn one_blob_may_not_be_read_without_end_as_many_layers() {
    let place = Place::new();
    // Thousands of gzip members without a byte, and then an empty archive.
    let member = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let blob = [member(b"").repeat(1000), member(&[0; 1024])].concat();
    let mut image = image(place.folder.path(), &[], &[]);
    image.layers = vec![layer(place.folder.path(), &blob, GZIP); 20];
    let text = place.extract_image(&image, Limits { read: 10 * blob.len() as u64, ..Limits::default() }).unwrap_err();
    assert_eq!(text, "the image is too large");
    let place = Place::new();
    place.extract_image(&image, Limits { read: 20 * blob.len() as u64, ..Limits::default() }).unwrap();
}

#[test]
fn few_entries_cannot_cost_any_time() {
    let expected = "the image has too many files, or links between them";
    // Each link leads a long way through the one before.
    let round = "a/../".repeat(100);
    let mut links = vec![folder("a"), symlink("l0", &format!("{round}a"))];
    links.extend((1..20).map(|index| symlink(&format!("l{index}"), &format!("{round}l{}", index - 1))));
    links.extend((0..20).map(|index| file(&format!("l19/{index}"), "")));
    // Each whiteout looks at all that its own layer has made.
    let mut whiteouts: Vec<File> = (0..200).map(|index| file(&format!("d/{index}"), "")).collect();
    whiteouts.extend(vec![file("d/.wh..wh..opq", ""); 200]);
    // Each name makes a hundred folders.
    let folders = (0..20).map(|index| file(&format!("{index}/{}", "x/".repeat(99)), "")).collect();
    for files in [links, whiteouts, folders] {
        let place = Place::new();
        let image = image(place.folder.path(), &[files], &[]);
        let text = place.extract_image(&image, Limits { steps: 20_000, ..Limits::default() }).unwrap_err();
        assert_eq!(text, expected);
        let place = Place::new();
        place.extract_image(&image, Limits::default()).unwrap();
    }
}

/// Names that lead out, in, through links and nowhere.
fn hostile_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("outside".to_owned()),
        Just("file".to_owned()),
        Just(".wh.a".to_owned()),
        Just(".wh..wh..opq".to_owned()),
    ];
    proptest::collection::vec(part, 0..5).prop_map(|parts| parts.join("/"))
}

fn hostile_file() -> impl Strategy<Value = File> {
    let kind = prop_oneof![
        3 => Just(EntryType::Regular),
        2 => Just(EntryType::Directory),
        4 => Just(EntryType::Symlink),
        3 => Just(EntryType::Link),
        1 => Just(EntryType::Fifo),
    ];
    (hostile_name(), kind, hostile_name(), any::<u32>()).prop_map(|(path, kind, link, mode)| File {
        mode: mode & 0o7777,
        link: link.into_bytes(),
        ..File::new(&path, kind)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_entries_touch_the_outside(layers in proptest::collection::vec(proptest::collection::vec(hostile_file(), 0..12), 1..3)) {
        let place = Place::new();
        // An error of either kind is fine; `extract` looks at the outside.
        let image = image(place.folder.path(), &layers, &[]);
        let _ = extract_into(&image, &place.root(), Limits::default());
        place.assert_untouched();
        let names: Vec<_> = fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        prop_assert!(names.iter().all(|name| name == "outside" || name == "root" || name.as_bytes().starts_with(b"sha256-")));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048), gzip in any::<bool>()) {
        let place = Place::new();
        let mut image = image(place.folder.path(), &[], &[]);
        image.layers = vec![layer(place.folder.path(), &bytes, if gzip { GZIP } else { TAR })];
        let _ = extract_into(&image, &place.root(), Limits::default());
        place.assert_untouched();
    }

    #[test]
    fn no_flipped_byte_of_a_gzip_stream_makes_it_panic(files in proptest::collection::vec(hostile_file(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let place = Place::new();
        let mut image = image(place.folder.path(), &[files], &[]);
        let mut bytes = fs::read(&image.layers[0].path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        image.layers = vec![layer(place.folder.path(), &bytes, GZIP)];
        let _ = extract_into(&image, &place.root(), Limits::default());
        place.assert_untouched();
    }

    #[test]
    fn no_flipped_byte_makes_it_panic(files in proptest::collection::vec(hostile_file(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let place = Place::new();
        let mut bytes = archive(&files);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // With a right checksum, so that it gets past the first look.
        let header = at / 512 * 512;
        let mut block = tar::Header::new_old();
        block.as_mut_bytes().copy_from_slice(&bytes[header..header + 512]);
        block.set_cksum();
        bytes[header..header + 512].copy_from_slice(block.as_bytes());
        let mut image = image(place.folder.path(), &[], &[]);
        image.layers = vec![layer(place.folder.path(), &bytes, TAR)];
        let _ = extract_into(&image, &place.root(), Limits::default());
        place.assert_untouched();
    }
}
