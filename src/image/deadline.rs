//! The time that the user gave.
use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use tokio::time::timeout_at;

/// Waits for `future`, until the deadline when there is one; `what` is in the error.
pub(crate) async fn within<T>(cx: &Ctx, what: &str, future: impl Future<Output = T>) -> Result<T> {
    let Some(deadline) = cx.deadline else {
        return Ok(future.await);
    };
    timeout_at(deadline, future)
        .await
        .map_err(|_| Error::new(ErrorKind::Timeout, format!("{what} did not end in time")))
}
