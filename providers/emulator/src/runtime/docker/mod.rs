//! The docker runtime: containers of a Docker or Podman engine, through its socket.
//!
//! | file | what it does |
//! |---|---|
//! | `engine` | the connection, what errors say, what is created and how it is found again |
//! | `trial` | runs a program of a few bytes, to know that containers really run |
//! | `import` | an image from the registry's blobs into the engine |
//! | `program` | says beforehand why a program could not start |
//! | `runtime` | launches |
//! | `container` | one container to its end |
//! | `volumes` | files and folders beside the image's |
//! | `reach` | connections to its ports, and whether something really listens there |
//! | `clean` | removes what a local cloud left in an engine |
//!
//! Containers of one instance are in the first one's network, which publishes the ports of all.
//!
//! What differs from the namespace runtime: the image's `USER` holds, and the container's network has a way out. A
//! killed local cloud cannot take its containers along: `carrack emulator stop`, or the next start, removes them.
mod clean;
mod container;
mod engine;
mod import;
mod program;
pub(super) mod reach;
mod runtime;
mod trial;
mod volumes;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use clean::sweep_engine;
pub(super) use runtime::DockerRuntime;

/// Where an engine may answer.
#[derive(Clone, Debug, Default)]
pub struct EngineSockets {
    /// Tried in this order.
    pub paths: Vec<PathBuf>,
    /// Why what the environment names is not among them.
    pub refused: Option<String>,
}
