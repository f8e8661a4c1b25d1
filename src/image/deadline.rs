//! The time that the user gave, and the time without any progress that a registry gets.
use std::{pin::pin, time::Duration};

use carrack_core::{Error, ErrorKind, Result, event::Ctx};
use tokio::time::{timeout, timeout_at};

/// Waits for `future`, until the deadline when there is one; `what` is in the error.
pub(crate) async fn within<T>(cx: &Ctx, what: &str, future: impl Future<Output = T>) -> Result<T> {
    let Some(deadline) = cx.deadline else {
        return Ok(future.await);
    };
    timeout_at(deadline, future)
        .await
        .map_err(|_| Error::new(ErrorKind::Timeout, format!("{what} did not end in time")))
}

/// How long a transfer may stand still. A slow line is no reason to end it, a silent one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte, one way or the other; it is noticed before twice that time.
    pub(crate) still: Duration,
    /// After the last byte of an upload: the kernel has some of it still to send, and registries hash and copy it.
    pub(crate) answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { still: Duration::from_secs(60), answer: Duration::from_secs(300) }
    }
}

impl Patience {
    /// Waits for `future` for as long as `moved` grows; with `all` bytes moved only the answer is missing. A transfer
    /// that stands still is one that broke.
    pub(crate) async fn while_it_moves<T>(
        self,
        what: &str,
        moved: impl Fn() -> u64,
        all: Option<u64>,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut future = pin!(future);
        loop {
            let before = moved();
            let limit = if Some(before) == all { self.answer } else { self.still };
            match timeout(limit, &mut future).await {
                Ok(result) => return result,
                Err(_) if moved() != before => {}
                Err(_) => {
                    let message = format!("{what} stood still for {} s", limit.as_secs());
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, poll_fn},
        task::Poll,
    };

    use super::*;

    const SHORT: Patience = Patience { still: Duration::from_millis(20), answer: Duration::from_millis(20) };

    #[tokio::test]
    async fn what_moves_goes_on_and_what_stands_still_ends() {
        // Each look finds another byte, up to the fifth.
        let looks = Cell::new(0_u64);
        let moved = || {
            looks.set(looks.get() + 1);
            looks.get().min(5)
        };
        let ended = SHORT.while_it_moves("it", moved, None, pending::<Result<()>>()).await;
        assert_eq!(ended.expect_err("it ends").kind(), ErrorKind::Unavailable);
        assert!(looks.get() >= 6, "{}", looks.get());

        let ready = poll_fn(|_| if looks.get() > 20 { Poll::Ready(Ok(())) } else { Poll::Pending });
        let always = || {
            looks.set(looks.get() + 1);
            looks.get()
        };
        SHORT.while_it_moves("it", always, None, ready).await.expect("it goes on");
    }

    #[tokio::test]
    async fn the_answer_has_a_time_of_its_own() {
        for (moved, kind) in [(9, "still"), (10, "answer")] {
            let patience = match kind {
                "still" => Patience { answer: Duration::from_secs(3600), ..SHORT },
                _ => Patience { still: Duration::from_secs(3600), ..SHORT },
            };
            let ended = patience.while_it_moves("it", || moved, Some(10), pending::<Result<()>>()).await;
            assert_eq!(ended.expect_err(kind).kind(), ErrorKind::Unavailable);
        }
    }
}
