use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;
use crate::image::{spec::tests::spec, tree::Tree};

/// Larger than some blocks, and not all of one byte.
fn data(blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK_BYTES + 77).map(|n| (n * n / 7 % 251) as u8).collect()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir(root.join("site")).expect("folder");
    fs::write(root.join("site/b.bin"), data(3)).expect("write");
    fs::write(root.join("site/a.sh"), "#!/bin/sh\n").expect("write");
    fs::set_permissions(root.join("site/a.sh"), fs::Permissions::from_mode(0o750)).expect("mode");
    fs::write(root.join("site").join("n".repeat(150)), "long").expect("write");
    symlink("a.sh", root.join("site/link")).expect("link");
    folder
}

fn layer(folder: &Path, layout: &Path, threads: usize) -> Layer {
    try_layer(folder, layout, threads).expect("a layer")
}

fn try_layer(folder: &Path, layout: &Path, threads: usize) -> Result<Layer> {
    let spec = spec(folder, &[("site", "/srv/")]);
    let layout = Layout::create(layout)?;
    let cancel = CancellationToken::new();
    let writer = Writer { spec: &spec, layout: &layout, threads, cancel: &cancel };
    writer.layer(&Tree::read(&spec)?.layers[0])
}

#[test]
fn the_same_files_make_the_same_bytes_with_any_number_of_threads() {
    let layers: Vec<Layer> = [1, 2, 4]
        .into_iter()
        .map(|threads| {
            // Another folder has other times, other inodes, another order on disk.
            let (folder, layout) = (folder(), tempfile::tempdir().expect("a folder"));
            layer(folder.path(), layout.path(), threads)
        })
        .collect();
    assert_eq!(layers[0], layers[1]);
    assert_eq!(layers[0], layers[2]);
    // When this changes, count `FORMAT` up.
    assert_eq!(layers[0].digest, "sha256:53c467a4b6fa5e681868f7da18d1ced89c682836e1ba914b57cd1e2820a76ec6");
}

#[test]
fn the_archive_says_nothing_of_this_machine() {
    let (folder, layout) = (folder(), tempfile::tempdir().expect("a folder"));
    let layer = layer(folder.path(), layout.path(), 2);
    let path = Layout::open(layout.path()).expect("layout").blob(&layer.digest).expect("path");
    let bytes = fs::read(path).expect("blob");
    assert_eq!(bytes.len() as u64, layer.size);
    assert_eq!(crate::image::layout::digest_of(&bytes), layer.digest);
    assert_eq!(&bytes[4..8], &[0; 4], "time in the gzip header");
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut tar).expect("gzip");
    assert_eq!(crate::image::layout::digest_of(&tar), layer.diff_id);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut lines = Vec::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let header = entry.header().clone();
        assert_eq!((header.uid().expect("uid"), header.gid().expect("gid"), header.mtime().expect("time")), (0, 0, 0));
        let path = entry.path().expect("path").display().to_string();
        lines.push(format!(
            "{} {:o} {}",
            path.chars().take(12).collect::<String>(),
            header.mode().expect("mode"),
            header.size().expect("size")
        ));
        if path == "srv/b.bin" {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            assert!(content == data(3));
        }
    }
    assert_eq!(
        lines,
        ["srv/ 755 0", "srv/a.sh 755 10", "srv/b.bin 644 1572941", "srv/link 777 0", "srv/nnnnnnnn 644 4"]
    );
}

#[test]
fn an_unchanged_layer_is_not_made_again_and_a_lost_one_is() {
    let (folder, layout) = (folder(), tempfile::tempdir().expect("a folder"));
    let first = layer(folder.path(), layout.path(), 2);
    let blob = Layout::open(layout.path()).expect("layout").blob(&first.digest).expect("path");
    // Marked through its time: made again, the file would be a new one.
    let modified = |path: &Path| fs::metadata(path).expect("blob").modified().expect("time");
    let marked = std::time::SystemTime::UNIX_EPOCH;
    File::options().write(true).open(&blob).expect("blob").set_modified(marked).expect("time");
    assert_eq!(layer(folder.path(), layout.path(), 1), first);
    assert_eq!(modified(&blob), marked);
    fs::remove_file(&blob).expect("remove");
    assert_eq!(layer(folder.path(), layout.path(), 1), first);
    assert_ne!(modified(&blob), marked);
    for change in [
        |root: &Path| fs::write(root.join("site/a.sh"), "#!/bin/zz\n"),
        |root: &Path| fs::rename(root.join("site/a.sh"), root.join("site/c.sh")),
        |root: &Path| fs::set_permissions(root.join("site/c.sh"), fs::Permissions::from_mode(0o600)),
    ] {
        let before = layer(folder.path(), layout.path(), 1);
        change(folder.path()).expect("change");
        assert_ne!(layer(folder.path(), layout.path(), 1), before);
    }
}

#[test]
fn a_file_that_changes_under_way_is_refused() {
    let (folder, layout) = (folder(), tempfile::tempdir().expect("a folder"));
    let spec = spec(folder.path(), &[("site/a.sh", "/app")]);
    let layout = Layout::create(layout.path()).expect("layout");
    let cancel = CancellationToken::new();
    let writer = Writer { spec: &spec, layout: &layout, threads: 1, cancel: &cancel };
    let plan = Tree::read(&spec).expect("tree").layers.remove(0);
    let (_, hashes) = writer.key(&plan).expect("key");
    for text in ["#!/bin/sh\n# longer", "short", "#!/bin/zz\n"] {
        fs::write(folder.path().join("site/a.sh"), text).expect("write");
        let error = writer.write(&plan, &hashes).expect_err("changed");
        assert_eq!(error.message(), "`site/a.sh` changed while it was read", "{text}");
    }
    fs::remove_file(folder.path().join("site/a.sh")).expect("remove");
    assert_eq!(writer.write(&plan, &hashes).expect_err("gone").kind(), ErrorKind::ConfigInvalid);
}

#[test]
fn an_interruption_ends_it() {
    let (folder, layout) = (folder(), tempfile::tempdir().expect("a folder"));
    let spec = spec(folder.path(), &[("site", "/srv/")]);
    let layout = Layout::create(layout.path()).expect("layout");
    let cancel = CancellationToken::new();
    let writer = Writer { spec: &spec, layout: &layout, threads: 2, cancel: &cancel };
    let plan = Tree::read(&spec).expect("tree").layers.remove(0);
    let (_, hashes) = writer.key(&plan).expect("key");
    cancel.cancel();
    assert_eq!(writer.write(&plan, &hashes).expect_err("stopped").kind(), ErrorKind::Cancelled);
}
