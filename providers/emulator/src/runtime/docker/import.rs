//! An image from the registry's blobs into the engine: a Docker archive, streamed. Both engines take it, as it was
//! pushed and compressed, wherever they run; a pull from the registry's loopback address would need an engine in
//! this machine's network. The image's id in the engine is the digest of its own configuration, which the manifest
//! names, and the engine unpacks only layers that have the digests that the configuration lists.
//! <https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format>
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{
    Docker, body_full,
    errors::Error,
    models::ImageInspect,
    query_parameters::{ImportImageOptions, ListImagesOptions, RemoveImageOptions},
};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::engine::{explain, is_missing, repository};
use crate::{image::Image, runtime::LaunchError};

/// Pieces of an archive on their way; an engine that reads slowly makes the sender wait.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 64 << 10;
/// An engine answers when it has unpacked and stored all layers: minutes for gigabytes on a slow disk. An engine that
/// has gone closes the connection.
const LOAD: Duration = Duration::from_secs(30 * 60);
/// A configuration is a few KiB; it is held in memory.
const CONFIGURATION_BYTES: u64 = 4 << 20;

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// What one local cloud imported into one engine.
#[derive(Debug)]
pub(super) struct Imported {
    repository: String,
    /// One import at a time for each digest.
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// An image in the engine.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: String,
    /// The engine would run a check of its own beside the program.
    pub(super) has_healthcheck: bool,
}

impl Found {
    fn of(name: String, image: &ImageInspect) -> Self {
        let has_healthcheck = image.config.as_ref().is_some_and(|config| config.healthcheck.is_some());
        Self { name, has_healthcheck }
    }
}

#[derive(Debug, Deserialize)]
struct Configuration {
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Imported {
    pub(super) fn new(instance: &str) -> Self {
        Self { repository: repository(instance), gates: Mutex::default() }
    }

    /// `image` as the engine has it, imported now when it is not there yet.
    pub(super) async fn find(&self, docker: &Docker, image: &Image) -> Result<Found, LaunchError> {
        let hex = image.digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64).ok_or_else(|| {
            LaunchError::Image(format!("the image's digest `{}` is not a SHA-256 digest", image.digest))
        })?;
        let name = format!("{}:{hex}", self.repository);
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(gates.entry(image.digest.clone()).or_default())
        };
        let _guard = gate.lock().await;
        match docker.inspect_image(&name).await {
            Ok(found) => return Ok(Found::of(name, &found)),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(LaunchError::Host(format!("asking the engine: {}", explain(&error)))),
        }
        let mut result = import(docker, image, &name).await;
        if result.is_err() {
            // Podman loses a layer that another image, removed meanwhile, has too.
            result = import(docker, image, &name).await;
        }
        match result {
            Ok(found) => Ok(Found::of(name, &found)),
            Err(error) => {
                remove_if_possible(docker, &name).await;
                Err(error)
            }
        }
    }
}

async fn import(docker: &Docker, image: &Image, name: &str) -> Result<ImageInspect, LaunchError> {
    let host = |error| LaunchError::Host(format!("reading the image: {error}"));
    let (sender, pieces) = mpsc::channel(PIECES);
    let (configuration, diff_ids) = {
        let image = image.clone();
        tokio::task::spawn_blocking(move || read_configuration(&image)).await.map_err(host)??
    };
    let writing = tokio::task::spawn_blocking({
        let (image, name) = (image.clone(), name.to_owned());
        move || write_archive(&image, &configuration, &name, &sender)
    });
    let loaded = load(docker, pieces).await;
    // An archive that breaks off is the cause of what the engine says then.
    writing.await.map_err(host)??;
    loaded.map_err(|error| LaunchError::Image(format!("the engine refuses it: {}", explain(&error))))?;
    let found = docker
        .inspect_image(name)
        .await
        .map_err(|error| LaunchError::Image(format!("the engine took it and does not have it: {}", explain(&error))))?;
    // An engine that keeps images by their manifest makes a manifest of its own, so the id may differ.
    let layers = found.root_fs.as_ref().and_then(|files| files.layers.as_ref());
    if found.id.as_ref() != Some(&image.configuration.digest) && layers != Some(&diff_ids) {
        let id = found.id.unwrap_or_default();
        let text = format!("the engine made `{id}` of it, not `{}`", image.configuration.digest);
        return Err(LaunchError::Image(text));
    }
    Ok(found)
}

pub(super) async fn load(docker: &Docker, pieces: mpsc::Receiver<io::Result<Bytes>>) -> Result<(), Error> {
    let body = stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces)));
    let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
    let docker = docker.clone().with_timeout(LOAD);
    docker.import_image_stream(options, body, None).try_for_each(async |_| Ok(())).await
}

/// A small archive.
pub(super) async fn load_bytes(docker: &Docker, archive: Vec<u8>) -> Result<(), Error> {
    let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
    docker.import_image(options, body_full(archive.into()), None).try_for_each(async |_| Ok(())).await
}

/// Takes a name from an image; the last one takes the image along. Never by force: with it Podman removes every
/// container of the image too, also one that somebody else made.
/// <https://docs.podman.io/en/latest/markdown/podman-rmi.1.html>
async fn remove(docker: &Docker, name: &str) -> Result<(), Error> {
    let options = RemoveImageOptions { force: false, ..RemoveImageOptions::default() };
    match docker.remove_image(name, Some(options), None).await {
        Err(error) if is_missing(&error) => Ok(()),
        // Whoever made a container of it may keep the image too.
        Err(Error::DockerResponseServerError { status_code: 409, message }) => {
            tracing::debug!(name, message, "an image stays in the engine, for it is in use");
            Ok(())
        }
        result => result.map(|_| ()),
    }
}

/// What cannot be removed now is found by its name when the local cloud ends.
pub(super) async fn remove_if_possible(docker: &Docker, name: &str) {
    if let Err(error) = remove(docker, name).await {
        tracing::debug!(name, error = explain(&error), "an image stays in the engine");
    }
}

/// Removes every image of a repository. One that does not go keeps none of the others.
pub(super) async fn remove_all(docker: &Docker, repository: &str) -> Result<(), String> {
    let prefix = format!("{repository}:");
    let images = docker.list_images(None::<ListImagesOptions>).await.map_err(|error| explain(&error))?;
    let mut first = Ok(());
    for name in images.into_iter().flat_map(|image| image.repo_tags).filter(|name| name.starts_with(&prefix)) {
        if let Err(error) = remove(docker, &name).await {
            first = first.and_then(|()| Err(format!("image `{name}`: {}", explain(&error))));
        }
    }
    first
}

/// The archive's list of what it holds.
pub(super) fn manifest(configuration: &str, name: &str, layers: Vec<String>) -> Value {
    json!([{ "Config": configuration, "RepoTags": [name], "Layers": layers }])
}

/// A file that is held in memory.
pub(super) fn append(archive: &mut tar::Builder<impl Write>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(bytes.len() as u64, mode), path, bytes)
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header
}

/// The configuration's bytes, and the digests of the unpacked layers that it lists.
fn read_configuration(image: &Image) -> Result<(Vec<u8>, Vec<String>), LaunchError> {
    let mut bytes = Vec::new();
    File::open(&image.configuration.path)
        .and_then(|file| file.take(CONFIGURATION_BYTES).read_to_end(&mut bytes))
        .map_err(|error| LaunchError::Host(format!("reading the image: {error}")))?;
    check("configuration", &image.configuration.digest, Sha256::new().chain_update(&bytes))?;
    let diff_ids = serde_json::from_slice::<Configuration>(&bytes)
        .map_err(|error| LaunchError::Image(format!("the configuration is not valid: {error}")))?
        .rootfs
        .diff_ids;
    if diff_ids.len() != image.layers.len() {
        let text = format!("the configuration lists {} layers, the manifest {}", diff_ids.len(), image.layers.len());
        return Err(LaunchError::Image(text));
    }
    Ok((bytes, diff_ids))
}

/// Writes the archive, or as much of it as the engine wants.
fn write_archive(image: &Image, configuration: &[u8], name: &str, sender: &Sender) -> Result<(), LaunchError> {
    let result = try_write(image, configuration, name, sender);
    match result {
        // It says why in its answer.
        Err(_) if sender.is_closed() => Ok(()),
        Err(error) => {
            // The engine must not take what it has so far for all.
            let _ = sender.blocking_send(Err(io::Error::other("the image cannot be read")));
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

fn try_write(image: &Image, configuration: &[u8], name: &str, sender: &Sender) -> Result<(), LaunchError> {
    let host = |error: io::Error| LaunchError::Host(format!("reading the image: {error}"));
    let path = |digest: &str| format!("{}.tar", digest.replace(':', "-"));
    let layers = image.layers.iter().map(|layer| path(&layer.digest)).collect();
    let mut archive = tar::Builder::new(Pieces { sender, piece: Vec::with_capacity(PIECE_BYTES) });
    append(&mut archive, "manifest.json", 0o644, manifest("config.json", name, layers).to_string().as_bytes())
        .and_then(|()| append(&mut archive, "config.json", 0o644, configuration))
        .map_err(host)?;
    let mut seen = HashSet::new();
    for layer in image.layers.iter().filter(|layer| seen.insert(&layer.digest)) {
        let mut file = File::open(&layer.path).map_err(host)?;
        let size = file.metadata().map_err(host)?.len();
        let mut hashing = Hashing { file: &mut file, hasher: Sha256::new() };
        archive.append_data(&mut header(size, 0o644), path(&layer.digest), &mut hashing).map_err(host)?;
        check("layer", &layer.digest, hashing.hasher)?;
    }
    archive.into_inner().and_then(|mut pieces| pieces.flush()).map_err(host)
}

fn check(what: &str, digest: &str, hasher: Sha256) -> Result<(), LaunchError> {
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if digest == format!("sha256:{hex}") {
        return Ok(());
    }
    Err(LaunchError::Image(format!("{what} `{digest}` is damaged: its bytes are `sha256:{hex}`")))
}

struct Hashing<'file> {
    file: &'file mut File,
    hasher: Sha256,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Hands on what is written, piece by piece.
struct Pieces<'sender> {
    sender: &'sender Sender,
    piece: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.sender
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine hung up"))
    }
}
