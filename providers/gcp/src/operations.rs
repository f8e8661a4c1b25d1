//! Long-running operations: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.operations>.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    poll::{Poll, PollPolicy, poll_until},
};
use carrack_http::Request;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    CloudRun,
    error::{classify, kind_of_code},
};

/// Cloud Run gives a revision up by itself well before this.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// How long the API is asked to hold its answer back.
const HELD: Duration = Duration::from_secs(20);

/// As an HTTP status: <https://cloud.google.com/apis/design/errors#handling_errors>.
const UNIMPLEMENTED: u16 = 501;

/// How an API tells the end of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    /// It answers when it comes, so that nobody has to ask again and again.
    WhenDone,
    /// It answers at once how things stand.
    WhenAsked,
}

/// An operation as it is read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Operation {
    name: String,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    metadata: Value,
    response: Option<Value>,
    error: Option<Status>,
}

#[derive(Clone, Debug, Deserialize)]
struct Status {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl Operation {
    /// What it works on, as it was when it began.
    pub(crate) fn metadata(&self) -> &Value {
        &self.metadata
    }
}

/// How an operation ended: its response, or its error beside what it had worked on.
pub(crate) enum Ended {
    Done(Value),
    /// `code` is a `google.rpc.Code`.
    Failed {
        code: i64,
        error: Error,
        metadata: Value,
    },
}

/// Waits for the end. `base` is the API's URL up to and with its version.
/// Some servers may not hold an answer back (<https://google.aip.dev/151>): then they are asked.
/// `otherwise` is the kind of an error whose code says nothing better.
pub(crate) async fn wait(
    provider: &CloudRun,
    cx: &Ctx,
    base: &str,
    started: Operation,
    tells: Tells,
    otherwise: ErrorKind,
) -> Result<Ended> {
    let url = format!("{base}/{}", started.name);
    let ended = if started.done {
        started
    } else {
        let policy = PollPolicy::within(PATIENCE);
        let policy = match tells {
            Tells::WhenDone => PollPolicy { first: Duration::ZERO, ..policy },
            Tells::WhenAsked => policy,
        };
        let held = AtomicBool::new(tells == Tells::WhenDone);
        poll_until(cx, policy, || look(provider, cx, &url, &held)).await?
    };
    Ok(match ended.error {
        Some(status) => Ended::Failed {
            code: status.code,
            error: Error::new(kind_of_code(status.code, otherwise), status.message.trim_end_matches('.')),
            metadata: ended.metadata,
        },
        None => Ended::Done(ended.response.unwrap_or(ended.metadata)),
    })
}

/// `held` is whether the answer may be; a server that does not hold it back says so once.
async fn look(provider: &CloudRun, cx: &Ctx, url: &str, held: &AtomicBool) -> Result<Poll<Operation>> {
    let request = if held.load(Ordering::Relaxed) {
        // Once more does no harm: it only looks.
        let body = json!({ "timeout": format!("{}s", HELD.as_secs()) });
        let wait = Request::new(Method::POST, format!("{url}:wait")).json(&body)?;
        wait.idempotent().timeout(Some(2 * HELD)).accept(&[UNIMPLEMENTED])
    } else {
        Request::new(Method::GET, url)
    };
    let answer = provider.http.send(cx, request.bearer(&provider.token).classify(classify)).await?;
    if answer.status == UNIMPLEMENTED {
        held.store(false, Ordering::Relaxed);
        return Ok(Poll::Pending);
    }
    let operation: Operation = answer.json()?;
    Ok(if operation.done { Poll::Ready(operation) } else { Poll::Pending })
}
