//! Layers as anybody may write them, extracted beside a file that nobody may touch.
use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
};

use sha2::{Digest, Sha256};

use super::{ExtractError, Limits, cache::extract_into};
use crate::image::{Blob, Image, ImageConfig, Layer};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const BLOCK: usize = 512;

/// Any bytes as the blob of a layer: as they are, in gzip, and with right checksums in each block that may be a
/// header, so that what stands in it is looked at.
pub fn archive(bytes: &[u8]) {
    extract(&[(bytes, TAR)]);
    extract(&[(bytes, GZIP)]);
    let mut checked = bytes.to_vec();
    for block in checked.chunks_exact_mut(BLOCK) {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    extract(&[(&checked, TAR)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    if gzip.write_all(&checked).is_ok()
        && let Ok(packed) = gzip.finish()
    {
        extract(&[(&packed, GZIP)]);
    }
}

/// Any lines as the entries of layers: a kind, a path, and after `>` a target or the bytes; an empty line begins
/// another layer.
pub fn layer(bytes: &[u8]) {
    let layers: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').fold(vec![Vec::new()], |mut layers, line| {
        match (line.split_first(), layers.last_mut()) {
            (Some((&kind, rest)), Some(layer)) => {
                let at = rest.iter().position(|&byte| byte == b'>');
                let (path, target) = at.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 1..]));
                entry(layer, kind, path, target);
            }
            _ => layers.push(Vec::new()),
        }
        layers
    });
    let layers: Vec<_> = layers.iter().take(4).map(|layer| (layer.as_slice(), TAR)).collect();
    extract(&layers);
}

/// Appends one entry; a name that the header has no room for comes before it.
fn entry(stream: &mut Vec<u8>, kind: u8, path: &[u8], target: &[u8]) {
    let is_file = matches!(kind, b'0' | b'7');
    let link = if is_file { &b""[..] } else { target };
    for (kind, name) in [(b'L', path), (b'K', link)] {
        if name.len() > 100 {
            block(stream, kind, b"", b"", name);
        }
    }
    block(stream, kind, path, link, if is_file { target } else { b"" });
}

fn block(stream: &mut Vec<u8>, kind: u8, path: &[u8], link: &[u8], bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    if let Some(gnu) = header.as_gnu_mut() {
        for (field, name) in [(&mut gnu.name[..], path), (&mut gnu.linkname[..], link)] {
            let length = name.len().min(field.len());
            field[..length].copy_from_slice(&name[..length]);
        }
    }
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o755);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    stream.extend_from_slice(header.as_bytes());
    stream.extend_from_slice(bytes);
    stream.resize(stream.len().next_multiple_of(BLOCK), 0);
}

fn extract(layers: &[(&[u8], &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = folder.path().join("outside");
    fs::write(&outside, "untouched").expect("a file");
    let layers = layers
        .iter()
        .map(|(bytes, media_type)| {
            let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let path = folder.path().join(format!("blob-{digest}"));
            fs::write(&path, bytes).expect("a blob");
            Layer { digest: format!("sha256:{digest}"), media_type: (*media_type).to_owned(), path }
        })
        .collect();
    let image = Image {
        reference: String::new(),
        digest: String::new(),
        os: String::new(),
        architecture: String::new(),
        config: ImageConfig::default(),
        configuration: Blob { digest: String::new(), path: outside.clone() },
        layers,
    };
    let limits = Limits { bytes: 1 << 20, entries: 1000, steps: 100_000, ..Limits::default() };
    if let Err(error @ ExtractError::Host { .. }) = extract_into(&image, &folder.path().join("root"), limits) {
        panic!("a layer is no reason to blame the machine: {error}");
    }
    assert_eq!(fs::read_to_string(&outside).expect("the file"), "untouched");
    assert_eq!(fs::metadata(&outside).expect("the file").nlink(), 1, "linked from the root");
    for entry in fs::read_dir(folder.path()).expect("the folder") {
        let name = entry.expect("an entry").file_name();
        let ours = name == "outside" || name == "root" || name.as_bytes().starts_with(b"blob-");
        assert!(ours, "{} was made beside the root", name.display());
    }
}
