//! Sending something again that may succeed a little later; once, for all clouds.
use std::{future::Future, time::Duration};

use tokio::time::Instant;

use crate::{
    Result,
    event::{Ctx, Event},
    poll::pause,
};

/// How often, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// Wait before the second; it doubles from there, and a random part of it is left out.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// All waits together; a longer `Retry-After` is not waited for.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(200),
            max: Duration::from_secs(8),
            budget: Duration::from_secs(60),
        }
    }
}

/// Calls `attempt` (with its number, from 1) until it succeeds, fails for good, or the policy is used up.
///
/// The caller decides what may be tried again: an error of a retryable kind is, every other is not.
pub async fn retry<T, F, Fut>(cx: &Ctx, policy: RetryPolicy, request: &str, mut attempt: F) -> Result<T>
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let mut waited = Duration::ZERO;
    let mut backoff = policy.first;
    let mut number = 1;
    loop {
        let error = match attempt(number).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let jittered = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        let wait = error.retry_after().unwrap_or(jittered);
        let next = Instant::now() + wait;
        waited += wait;
        let late = waited > policy.budget || cx.deadline.is_some_and(|deadline| next > deadline);
        if !error.kind().is_retryable() || number >= policy.attempts || late {
            return Err(error);
        }
        cx.events.emit(Event::Retrying {
            request: request.to_owned(),
            attempt: number + 1,
            after: wait,
            reason: error.to_string(),
        });
        pause(cx, next).await?;
        backoff = (backoff * 2).min(policy.max);
        number += 1;
    }
}
