//! What is mounted in a container of an engine. A folder is a volume that the engine holds in memory: the tmpfs that an
//! engine mounts by itself takes its mode, and in Podman its content, from the image. Files are put into a volume of the
//! container before it starts, which is on the engine's disk, for there is no way into a tmpfs before its container
//! runs; it goes with the container.
use std::{collections::HashMap, sync::Arc, time::Duration};

use bollard::{
    Docker, body_full,
    errors::Error,
    models::{Mount as EngineMount, MountType, MountVolumeOptions, VolumeCreateRequest},
    query_parameters::{ListVolumesOptions, RemoveVolumeOptions, UploadToContainerOptions},
};
use tokio::{runtime::Handle, time::sleep};

use super::{
    engine::{explain, instance_label, instance_labels, is_missing},
    import::append,
};
use crate::runtime::{Content, Lend, Mount, MountedFile};

/// Between two tries to remove a volume that an ending container still has.
const PAUSE: Duration = Duration::from_millis(100);
/// So many.
const PATIENCE: usize = 100;
/// Of most machines; what tmpfs counts by.
const PAGE_BYTES: u64 = 4096;

/// Volumes by the folder's name; removed when dropped, as soon as nobody has them.
#[derive(Debug)]
pub(super) struct Folders {
    docker: Docker,
    volumes: HashMap<String, String>,
}

impl Folders {
    /// One for each folder that is lent or mounted, and not among `known`.
    pub(super) async fn create(
        docker: &Docker,
        instance: &str,
        lends: &[Lend],
        mounts: &[Mount],
        known: &[Arc<Self>],
    ) -> Result<Self, Error> {
        let lent = lends.iter().map(|lend| (&lend.name, lend.size));
        let mounted = mounts.iter().filter_map(|mount| match &mount.content {
            Content::Folder { name, size } => Some((name, *size)),
            Content::Files(_) | Content::Kept { .. } => None,
        });
        let mut folders = Self { docker: docker.clone(), volumes: HashMap::new() };
        for (name, size) in lent.chain(mounted) {
            if folders.volumes.contains_key(name) || find(known, name).is_some() {
                continue;
            }
            // Not by `size`, which Podman 4.3 takes for a quota.
            let blocks = size.map_or_else(String::new, |bytes| format!(",nr_blocks={}", bytes.div_ceil(PAGE_BYTES)));
            // Anybody may write there, whoever the program runs as.
            let options = format!("mode=0777{blocks}");
            let options = [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", options)];
            let volume = format!("carrack-{}", uuid::Uuid::new_v4().simple());
            let request = VolumeCreateRequest {
                name: Some(volume.clone()),
                driver: Some("local".to_owned()),
                driver_opts: Some(options.map(|(name, value)| (name.to_owned(), value)).into()),
                labels: Some(instance_labels(instance)),
                ..VolumeCreateRequest::default()
            };
            // Also one whose creation is not answered.
            folders.volumes.insert(name.clone(), volume);
            docker.create_volume(request).await?;
        }
        Ok(folders)
    }
}

fn find<'a>(folders: &'a [Arc<Folders>], name: &str) -> Option<&'a String> {
    folders.iter().find_map(|folders| folders.volumes.get(name))
}

impl Drop for Folders {
    fn drop(&mut self) {
        let Ok(handle) = Handle::try_current() else { return };
        for volume in std::mem::take(&mut self.volumes).into_values() {
            let docker = self.docker.clone();
            // What is left is found by its label when the local cloud ends.
            handle.spawn(async move { remove_when_free(&docker, &volume).await });
        }
    }
}

/// The volumes of folders, as `VOLUME:PATH:OPTIONS`: Podman 4.3 copies what the image has there unless told so here.
pub(super) fn binds(mounts: &[Mount], folders: &[Arc<Folders>]) -> Vec<String> {
    let one = |mount: &Mount| {
        let volume = find(folders, mount.folder()?)?;
        Some(format!("{volume}:{}:nocopy", mount.path))
    };
    mounts.iter().filter_map(one).collect()
}

/// The volumes of files, which have no name and go with their container, and folders of this machine.
pub(super) fn nameless(mounts: &[Mount]) -> Vec<EngineMount> {
    let one = |mount: &Mount| {
        let target = Some(mount.path.clone());
        match &mount.content {
            Content::Folder { .. } => None,
            // What the image has there is hidden, and not copied.
            Content::Files(_) => Some(EngineMount {
                target,
                typ: Some(MountType::VOLUME),
                volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
                ..EngineMount::default()
            }),
            Content::Kept { source, read_only } => Some(EngineMount {
                target,
                typ: Some(MountType::BIND),
                source: Some(source.display().to_string()),
                read_only: Some(*read_only),
                ..EngineMount::default()
            }),
        }
    };
    mounts.iter().filter_map(one).collect()
}

/// Puts the files into the volumes of a container that is not started yet.
pub(super) async fn fill(docker: &Docker, container: &str, mounts: &[Mount]) -> Result<(), String> {
    for Mount { path, content } in mounts {
        let Content::Files(files) = content else { continue };
        let mut archive = tar::Builder::new(Vec::new());
        for MountedFile { path, bytes, mode } in files {
            append(&mut archive, path, *mode, &bytes.0).map_err(|error| error.to_string())?;
        }
        let archive = archive.into_inner().map_err(|error| error.to_string())?;
        let options = UploadToContainerOptions { path: path.clone(), ..UploadToContainerOptions::default() };
        docker
            .upload_to_container(container, Some(options), body_full(archive.into()))
            .await
            .map_err(|error| format!("putting files into `{path}`: {}", explain(&error)))?;
    }
    Ok(())
}

async fn remove_when_free(docker: &Docker, volume: &str) {
    for _ in 0..PATIENCE {
        match remove(docker, volume).await {
            Ok(()) => return,
            // An ending container still has it; engines say so by different numbers.
            Err(error) => tracing::debug!(volume, error = explain(&error), "a volume is in use"),
        }
        sleep(PAUSE).await;
    }
}

async fn remove(docker: &Docker, volume: &str) -> Result<(), Error> {
    match docker.remove_volume(volume, None::<RemoveVolumeOptions>).await {
        Err(error) if is_missing(&error) => Ok(()),
        result => result,
    }
}

/// Removes the volumes of a local cloud, whose containers have gone.
pub(super) async fn remove_all(docker: &Docker, instance: &str) -> Result<(), String> {
    let filters = HashMap::from([("label".to_owned(), vec![instance_label(instance)])]);
    let options = ListVolumesOptions { filters: Some(filters) };
    let found = docker.list_volumes(Some(options)).await.map_err(|error| explain(&error))?;
    let mut first = Ok(());
    for volume in found.volumes.unwrap_or_default() {
        if let Err(error) = remove(docker, &volume.name).await {
            first = first.and_then(|()| Err(format!("volume `{}`: {}", volume.name, explain(&error))));
        }
    }
    first
}
