//! Which runtime works here, found by trying.
use std::{fmt, path::Path, sync::Arc};

use super::{
    EngineSockets, Runtime, RuntimeKind, docker::DockerRuntime, namespace::NamespaceRuntime, process::ProcessRuntime,
};

/// Best first.
const ORDER: [RuntimeKind; 3] = [RuntimeKind::Namespace, RuntimeKind::Docker, RuntimeKind::Process];

/// No runtime works here: each one that was tried, and why it does not.
#[derive(Clone, Debug)]
pub(crate) struct NoRuntime(pub(crate) Vec<(RuntimeKind, String)>);

impl fmt::Display for NoRuntime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("containers cannot run here")?;
        for (kind, reason) in &self.0 {
            write!(formatter, "; {kind}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoRuntime {}

/// The requested runtime, or the best that works. `dir` belongs to this local cloud alone; `launcher` is a program
/// whose main calls [`super::launcher_main`]; `instance` marks every process and container.
pub(crate) async fn choose(
    requested: Option<RuntimeKind>,
    dir: &Path,
    launcher: &Path,
    instance: &str,
    engines: &EngineSockets,
) -> Result<Arc<dyn Runtime>, NoRuntime> {
    let mut reasons = Vec::new();
    for kind in ORDER.into_iter().filter(|&kind| requested.is_none_or(|requested| requested == kind)) {
        let opened: Result<Arc<dyn Runtime>, String> = match kind {
            RuntimeKind::Namespace => {
                NamespaceRuntime::open(dir, launcher, instance).await.map(|runtime| Arc::new(runtime) as _)
            }
            RuntimeKind::Docker => DockerRuntime::open(engines, instance).await.map(|runtime| Arc::new(runtime) as _),
            RuntimeKind::Process => {
                ProcessRuntime::open(dir, launcher, instance).await.map(|runtime| Arc::new(runtime) as _)
            }
        };
        match opened {
            Ok(runtime) => return Ok(runtime),
            Err(reason) => reasons.push((kind, reason)),
        }
    }
    Err(NoRuntime(reasons))
}
