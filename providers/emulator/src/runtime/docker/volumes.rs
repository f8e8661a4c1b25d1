//! What is mounted in a container of an engine. A folder is held in memory by the engine: a tmpfs of the container, or
//! a volume of that kind when several mount it. Files are put into a volume of the container before it starts, which is
//! on the engine's disk, for there is no way into a tmpfs before its container runs; the volume goes with the container.
use std::{collections::HashMap, time::Duration};

use bollard::{
    Docker, body_full,
    errors::Error,
    models::{Mount as EngineMount, MountTmpfsOptions, MountType, MountVolumeOptions, VolumeCreateRequest},
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
/// Anybody may write there, whoever the program runs as.
const MODE: u32 = 0o777;

/// Volumes that several containers mount, by the folder's name; removed when dropped, as soon as nobody has them.
#[derive(Debug)]
pub(super) struct Lent {
    docker: Docker,
    volumes: HashMap<String, String>,
}

impl Lent {
    pub(super) async fn create(docker: &Docker, instance: &str, lends: &[Lend]) -> Result<Self, Error> {
        let mut lent = Self { docker: docker.clone(), volumes: HashMap::new() };
        for Lend { name, size, .. } in lends {
            let size = size.map_or_else(String::new, |bytes| format!(",size={bytes}"));
            let options =
                [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", format!("mode=0777{size}"))];
            let volume = format!("carrack-{}", uuid::Uuid::new_v4().simple());
            let request = VolumeCreateRequest {
                name: Some(volume.clone()),
                driver: Some("local".to_owned()),
                driver_opts: Some(options.map(|(name, value)| (name.to_owned(), value)).into()),
                labels: Some(instance_labels(instance)),
                ..VolumeCreateRequest::default()
            };
            // Also one whose creation is not answered.
            lent.volumes.insert(name.clone(), volume);
            docker.create_volume(request).await?;
        }
        Ok(lent)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Ok(handle) = Handle::try_current() else { return };
        for volume in std::mem::take(&mut self.volumes).into_values() {
            let docker = self.docker.clone();
            // What is left is found by its label when the local cloud ends.
            handle.spawn(async move { remove_when_free(&docker, &volume).await });
        }
    }
}

/// As the engine is to mount them; `lent` are those of the container that is joined, or of this one.
pub(super) fn mounts(mounts: &[Mount], lent: Option<&Lent>) -> Vec<EngineMount> {
    let volume = |source: Option<String>| EngineMount {
        typ: Some(MountType::VOLUME),
        source,
        // What the image has there is hidden, and not copied.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..EngineMount::default()
    };
    let one = |Mount { path, content }: &Mount| {
        let mount = match content {
            Content::Files(_) => volume(None),
            Content::Folder { name, size } => match lent.and_then(|lent| lent.volumes.get(name)) {
                Some(source) => volume(Some(source.clone())),
                None => EngineMount {
                    typ: Some(MountType::TMPFS),
                    tmpfs_options: Some(MountTmpfsOptions {
                        size_bytes: size.and_then(|bytes| i64::try_from(bytes).ok()),
                        mode: i64::from(MODE).into(),
                        ..MountTmpfsOptions::default()
                    }),
                    ..EngineMount::default()
                },
            },
        };
        EngineMount { target: Some(path.clone()), ..mount }
    };
    mounts.iter().map(one).collect()
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
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => sleep(PAUSE).await,
            Err(error) => return tracing::debug!(volume, error = explain(&error), "a volume stays in the engine"),
        }
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
