//! A local cloud from its options: the real registry, the runtime that works here, the faces.
use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    gcp::run::group::Shares,
    record::Recorder,
    registry::Registry,
    runtime::{self, EngineSockets, RuntimeKind},
    server::{self, Running, ServeError},
    state::Ingredients,
};

/// What a local cloud is started with.
#[derive(Clone)]
pub struct Options {
    /// Scratch: blobs, extracted images. Nothing else is kept, and what an earlier process left is removed.
    pub state_dir: PathBuf,
    /// Without one, the best that works here.
    pub runtime: Option<RuntimeKind>,
    /// Where a Docker or Podman engine may answer.
    pub engines: EngineSockets,
    /// Of Google's face. Without one, the next free port from 8585.
    pub port: Option<u16>,
    /// It ends by itself after this long without a request.
    pub idle: Option<Duration>,
    /// A program whose main calls [`runtime::launcher_main`]: it is executed again as each container's launcher.
    pub launcher: PathBuf,
    /// `CARRACK_INSTANCE` of every container's processes.
    pub instance: String,
    /// The access token of the default principal, who may do all.
    pub token: String,
    /// How much longer every call takes.
    pub latency: Duration,
    /// How long an instance without a request stays.
    pub instance_idle: Duration,
    /// A new file that every exchange is written to, without tokens and secrets.
    pub record: Option<PathBuf>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("state_dir", &self.state_dir)
            .field("runtime", &self.runtime)
            .field("port", &self.port)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Opens all faces. A machine that can run no container gets a local cloud all the same: a deploy then fails its revision.
pub async fn serve(options: Options) -> Result<Running, ServeError> {
    let Options { state_dir, runtime, engines, port, idle, launcher, instance, token, latency, instance_idle, record } =
        options;
    let recorder = match record {
        Some(path) => Some(Recorder::create(&path).map_err(|source| ServeError::Record { path, source })?),
        None => None,
    };
    let registry = Registry::open(state_dir.join("registry")).map_err(ServeError::StateDir)?;
    let shares = Shares::at(&state_dir.join("shares"));
    let containers = state_dir.join("containers");
    let runtime = runtime::choose(runtime, &containers, &launcher, &instance, &engines)
        .await
        .map_err(|why| Arc::from(why.to_string()));
    server::start(
        Ingredients { images: Arc::new(registry), runtime, token, latency, shares, instance_idle, recorder },
        port,
        idle,
    )
}
