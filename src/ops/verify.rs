//! A real request to the service, as a user would make it.
use std::{cell::RefCell, time::Duration};

use carrack_core::{
    Error, ErrorKind, Result,
    event::{Ctx, Event, Phase},
    poll::{Poll, PollPolicy, poll_until},
    provider::{Invocation, Provider},
    retry::RetryPolicy,
    rollout::Verify,
};
use carrack_http::{Client, ClientOptions, Request, endpoint::is_loopback};
use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
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

/// Asks the service itself. A private one is asked as whoever deploys, where that can be; else it is said why not.
pub async fn verify(cx: &Ctx, provider: &dyn Provider, url: &str, public: bool, opened: bool) -> Result<Option<Probe>> {
    verify_at(cx, provider, url, url, public, opened).await
}

/// The same of a service at another of its URLs, such as a tag's: an ID token is for the service's own URL, `audience`.
/// <https://cloud.google.com/run/docs/authenticating/service-to-service#acquire-token>
pub async fn verify_at(
    cx: &Ctx,
    provider: &dyn Provider,
    url: &str,
    audience: &str,
    public: bool,
    opened: bool,
) -> Result<Option<Probe>> {
    let question = Question { url, audience, public, opened, right: None, patience: PATIENCE, quiet: false };
    ask(cx, provider, &question).await
}

/// What is asked, of whom, and how.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where the service, or one revision of it, answers.
    pub url: &'a str,
    /// The service's own URL, which callers of a private one name.
    pub audience: &'a str,
    /// Whether anyone may ask.
    pub public: bool,
    /// Public access is new, which takes a moment to be known everywhere.
    pub opened: bool,
    /// The path and the right answer; `None` asks the URL itself, which has to answer below 500.
    pub right: Option<&'a Verify>,
    /// How long a wrong answer, or none, may become a right one.
    pub patience: Duration,
    /// A right answer is not told.
    pub quiet: bool,
}

/// Asks until the answer is right.
pub async fn ask(cx: &Ctx, provider: &dyn Provider, question: &Question<'_>) -> Result<Option<Probe>> {
    let Question { url, audience, public, quiet, .. } = *question;
    if public {
        let probe = probe(cx, question, None).await?;
        if !quiet {
            answered(cx, &probe);
        }
        return Ok(Some(probe));
    }
    let not_probed = |why: String| {
        let message = format!("not probed: the service is private, and {why}");
        cx.events.emit(Event::Note { message });
        Ok(None)
    };
    if !Url::parse(url).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url)) {
        return not_probed(format!("a token is not sent to {url} in the open"));
    }
    let invocation = match provider.invocation(cx, audience).await {
        Ok(invocation) => invocation,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // The deploy is done, and this is no fault of it.
        Err(error) => return not_probed(error.to_string()),
    };
    let probe = probe(cx, question, Some(&invocation)).await?;
    if matches!(probe.status, 401 | 403) {
        let who = invocation.principal.as_deref().unwrap_or("whoever deploys");
        let why = if probe.status == 403 { "who may not call it" } else { "whose ID token it does not take" };
        return not_probed(format!("it answers {} to {who}, {why}", probe.status));
    }
    if !quiet {
        answered(cx, &probe);
    }
    Ok(Some(probe))
}

/// Goes past any endpoint override: this is the service, not the cloud.
async fn probe(cx: &Ctx, question: &Question<'_>, invocation: Option<&Invocation>) -> Result<Probe> {
    let Question { opened, right, patience, .. } = *question;
    let url = &match right {
        Some(right) => format!("{}{}", question.url.trim_end_matches('/'), right.path),
        None => question.url.to_owned(),
    };
    if !question.quiet {
        cx.events.emit(Event::PhaseStarted { phase: Phase::Verify, message: url.clone() });
    }
    let refused = |status| invocation.is_some() && matches!(status, 401 | 403);
    let is_right = |status| right.is_none_or(|right| right.takes(status)) || refused(status);
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let http = Client::new(ClientOptions { retry: once, ..ClientOptions::default() })?;
    let ask = || async {
        let started = Instant::now();
        let mut request = Request::new(Method::GET, url.as_str())
            .accept(EVERY_STATUS_BELOW_500)
            .timeout(Some(Duration::from_secs(30)));
        if let Some(Invocation { header, value, .. }) = invocation {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| Error::new(ErrorKind::Unauthenticated, "the ID token has characters that no token has"))?;
            value.set_sensitive(true);
            request = request.header(HeaderName::from_static(header), value);
        }
        let status = http.send(cx, request).await?.status.as_u16();
        Ok::<_, Error>(Probe { status, elapsed: started.elapsed() })
    };
    let not_yet = RefCell::new(None);
    let policy = PollPolicy { first: Duration::ZERO, ..PollPolicy::within(patience) };
    let asked = poll_until(cx, policy, || async {
        match ask().await {
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Ok(probe) if is_right(probe.status) && (!opened || probe.status != 403) => return Ok(Poll::Ready(probe)),
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
        (Err(_), Some(Ok(probe))) if is_right(probe.status) => probe,
        (Err(_), Some(Ok(probe))) => {
            let wanted = right.and_then(|right| right.status);
            let wanted = wanted.map_or_else(|| "200 to 399".to_owned(), |status| status.to_string());
            let text = format!("{url} answers {}, and {wanted} is right", probe.status);
            return Err(Error::new(ErrorKind::Unhealthy, text));
        }
        (Err(error), last) => {
            let cause = last.and_then(Result::err).unwrap_or(error);
            let text = format!("{url} does not answer as it should");
            return Err(Error::new(ErrorKind::Unhealthy, text).with_source(cause));
        }
    };
    Ok(probe)
}

fn answered(cx: &Ctx, probe: &Probe) {
    let message = format!("answered {} in {} ms", probe.status, probe.elapsed.as_millis().max(1));
    cx.events.emit(Event::PhaseFinished { phase: Phase::Verify, message, elapsed: probe.elapsed });
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
