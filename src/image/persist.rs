//! Going on for as long as it leads somewhere: a line that breaks again and again still brings a large layer.
use carrack_core::{
    Result,
    event::Ctx,
    retry::{RetryPolicy, retry},
};

/// What a round of retries must bring at least, to be followed by another one.
const WORTH_IT_BYTES: u64 = 1 << 20;

/// Retries as the policy says, and then again when `reached` has grown meanwhile: the bytes that are through for good.
pub(crate) async fn persist<F, Fut>(
    cx: &Ctx,
    policy: RetryPolicy,
    name: &str,
    reached: impl Fn() -> u64,
    mut attempt: F,
) -> Result<()>
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    loop {
        let before = reached();
        match retry(cx, policy, name, &mut attempt).await {
            Err(error) if error.kind().is_retryable() && reached() >= before + WORTH_IT_BYTES => {
                tracing::debug!(name, %error, "it got further, so it goes on");
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use carrack_core::{Error, ErrorKind};

    use super::*;

    /// How often it was tried, when each attempt brings so many bytes of ten megabytes.
    async fn attempts(bytes: u64) -> (u32, Result<()>) {
        let policy = RetryPolicy { first: Duration::ZERO, attempts: 3, ..RetryPolicy::default() };
        let (reached, count) = (Cell::new(0), Cell::new(0));
        let attempt = async |_| {
            count.set(count.get() + 1);
            reached.set(reached.get() + bytes);
            if reached.get() >= 10 << 20 { Ok(()) } else { Err(Error::new(ErrorKind::Unavailable, "broke off")) }
        };
        let result = persist(&Ctx::silent(), policy, "test", || reached.get(), attempt).await;
        (count.get(), result)
    }

    #[tokio::test]
    async fn what_leads_somewhere_goes_on_and_what_does_not_ends() {
        assert!(matches!(attempts(1 << 20).await, (10, Ok(()))));
        assert!(matches!(attempts(0).await, (3, Err(_))));
        assert!(matches!(attempts(1).await, (3, Err(_))));
    }
}
