//! Removes what a local cloud made in an engine, found by its instance.
use std::path::Path;

use bollard::query_parameters::ListContainersOptions;

use super::{
    engine::{connect, explain, label_filter, remove, repository},
    import::remove_all,
};

/// Removes every container and image of the local cloud `instance` from the engine at `socket`, and says how many
/// containers there were. Idempotent.
pub async fn sweep_engine(socket: &Path, instance: &str) -> Result<usize, String> {
    let docker = connect(socket).await?;
    let options =
        ListContainersOptions { all: true, filters: Some(label_filter(instance)), ..ListContainersOptions::default() };
    let found = docker.list_containers(Some(options)).await.map_err(|error| explain(&error))?;
    let mut removed = 0;
    for id in found.into_iter().filter_map(|container| container.id) {
        remove(&docker, &id).await.map_err(|error| explain(&error))?;
        removed += 1;
    }
    remove_all(&docker, &repository(instance)).await;
    Ok(removed)
}
