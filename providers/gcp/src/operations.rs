//! Long-running operations: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.operations>.
use std::time::Duration;

use carrack_core::{
    Error, ErrorKind, Result,
    event::Ctx,
    poll::{Poll, PollPolicy, poll_until},
};
use carrack_http::Request;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    CloudRun,
    error::{classify, kind_of_code},
};

/// Cloud Run gives a revision up by itself well before this.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

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

/// How an operation ended: its response, or its error beside what it had worked on.
pub(crate) enum Ended {
    Done(Value),
    Failed { error: Error, metadata: Value },
}

/// Waits for the end. `base` is the API's URL up to and with its version.
/// `otherwise` is the kind of an error whose code says nothing better.
pub(crate) async fn wait(
    provider: &CloudRun,
    cx: &Ctx,
    base: &str,
    started: Operation,
    otherwise: ErrorKind,
) -> Result<Ended> {
    let url = format!("{base}/{}", started.name);
    let ended = if started.done {
        started
    } else {
        poll_until(cx, PollPolicy::within(PATIENCE), || async {
            let request = Request::new(Method::GET, &url).bearer(&provider.token).classify(classify);
            let operation: Operation = provider.http.send(cx, request).await?.json()?;
            Ok(if operation.done { Poll::Ready(operation) } else { Poll::Pending })
        })
        .await?
    };
    Ok(match ended.error {
        Some(status) => Ended::Failed {
            error: Error::new(kind_of_code(status.code, otherwise), status.message.trim_end_matches('.')),
            metadata: ended.metadata,
        },
        None => Ended::Done(ended.response.unwrap_or(ended.metadata)),
    })
}
