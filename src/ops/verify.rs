//! A real request to the service, as a user would make it.
use std::{cell::RefCell, time::Duration};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event, Phase},
    poll::{Poll, PollPolicy, poll_until},
    retry::RetryPolicy,
};
use carrack_http::{Client, ClientOptions, Request};
use reqwest::Method;
use serde::Serialize;
use tokio::time::Instant;

/// A new URL may take a while to be known everywhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the service answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// HTTP status.
    pub status: u16,
    /// From the request to the last byte.
    #[serde(rename = "elapsed_ms", serialize_with = "super::millis")]
    pub elapsed: Duration,
}

/// Asks the URL until it answers below 500. Goes past any endpoint override: this is the service, not the cloud.
/// `opened` says that public access is new, which takes a moment to be known everywhere.
pub async fn probe(cx: &Ctx, url: &str, opened: bool) -> Result<Probe> {
    cx.events.emit(Event::PhaseStarted { phase: Phase::Verify, message: url.to_owned() });
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let http = Client::new(ClientOptions { retry: once, ..ClientOptions::default() })?;
    let ask = || async {
        let started = Instant::now();
        let request =
            Request::new(Method::GET, url).accept(EVERY_STATUS_BELOW_500).timeout(Some(Duration::from_secs(30)));
        let status = http.send(cx, request).await?.status.as_u16();
        Ok::<_, Error>(Probe { status, elapsed: started.elapsed() })
    };
    let not_yet = RefCell::new(None);
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(PATIENCE) };
    let asked = poll_until(cx, policy, || async {
        match ask().await {
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Ok(probe) if !opened || probe.status != 403 => return Ok(Poll::Ready(probe)),
            // Out of time in the middle of a request: the answers before say more.
            Err(error) if error.kind() == ErrorKind::Timeout && not_yet.borrow().is_some() => {}
            other => drop(not_yet.replace(Some(other))),
        }
        Ok(Poll::Pending)
    })
    .await;
    let probe = match (asked, not_yet.into_inner()) {
        (Ok(probe), _) => probe,
        (Err(error), _) if error.kind() == ErrorKind::Cancelled => return Err(error),
        (Err(_), Some(Ok(probe))) => probe,
        (Err(error), last) => {
            let cause = last.and_then(Result::err).unwrap_or(error);
            let text = format!("{url} does not answer as it should");
            return Err(Error::new(ErrorKind::Unhealthy, text).with_source(cause));
        }
    };
    let message = format!("answered {} in {} ms", probe.status, probe.elapsed.as_millis().max(1));
    cx.events.emit(Event::PhaseFinished { phase: Phase::Verify, message, elapsed: probe.elapsed });
    Ok(probe)
}

/// A service may well answer 404 at `/`: it answers.
const EVERY_STATUS_BELOW_500: &[u16] = &{
    let mut statuses = [0; 100];
    let mut index = 0;
    while index < 100 {
        statuses[index] = 400 + index as u16;
        index += 1;
    }
    statuses
};
