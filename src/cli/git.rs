//! The commit that a deploy comes from.
use std::path::Path;

/// The source's commit, with `-dirty` when it is not what is committed; `None` without git.
pub(super) async fn commit(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("git");
        command.arg("-C").arg(folder).args(arguments).stdin(std::process::Stdio::null());
        async move {
            let output = command.output().await.ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
    };
    let (head, changes) =
        tokio::join!(git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no", "."]));
    let dirty = changes.is_none_or(|changes| !changes.is_empty());
    head.map(|head| if dirty { format!("{head}-dirty") } else { head })
}
