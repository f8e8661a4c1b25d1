//! Removes what a local cloud made in an engine, found by its instance.
use std::path::Path;

use bollard::Docker;

use super::{
    engine::{connect, instance_label, remove_labelled, repository},
    import::remove_all,
    volumes,
};

/// Removes every container, volume and image of the local cloud `instance` from the engine at `socket`, and says how many
/// containers there were. Idempotent. What does not go keeps nothing else from going.
pub async fn sweep_engine(socket: &Path, instance: &str) -> Result<usize, String> {
    clear(&connect(socket).await?, instance).await
}

/// The same, through a connection.
pub(super) async fn clear(docker: &Docker, instance: &str) -> Result<usize, String> {
    // An image cannot be removed before its containers.
    let containers = remove_labelled(docker, &instance_label(instance)).await;
    let volumes = volumes::remove_all(docker, instance).await;
    let images = remove_all(docker, &repository(instance)).await;
    let removed = containers?;
    volumes.and(images).map(|()| removed)
}
