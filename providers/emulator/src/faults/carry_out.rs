//! A call with its fault, in front of every face.
use std::{future::Future, io, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::stream;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::{Fault, Hit, Subject, answer::refusal};
use crate::{
    gcp::call::FailOperation,
    iam,
    requests::{Call, Outcome},
    server::listen::Cut,
    state::Cloud,
};

/// Who calls may be gone without a word, so what a stall holds is let go after this long.
const LONGEST_STALL: Duration = Duration::from_secs(600);

/// Answers a request as `handle` does, or as a fault has it, and keeps a line of it.
pub(crate) async fn served<H, F>(
    cloud: &Cloud,
    subject: Subject<'_>,
    call: Call,
    request: Request<Body>,
    handle: H,
) -> Response
where
    H: FnOnce(Request<Body>) -> F + Send,
    F: Future<Output = Response> + Send,
{
    let using = cloud.activity.begin();
    let begun = Instant::now();
    cloud.faults.lag().await;
    let Some(Hit { fault, cleared }) = cloud.faults.decide(&subject) else {
        let response = handle(request).await;
        cloud.requests.record(call, Outcome::answered(&response), begun.elapsed());
        return response;
    };
    let host = call.host.clone();
    let end = meet(cloud, &subject, &host, &fault, request, handle).await;
    let status = match &end {
        End::Answer(response) => Some(response.status()),
        End::Cut | End::Silence => None,
    };
    cloud.requests.record(call, Outcome { status, fault: Some(fault.name()) }, begun.elapsed());
    match end {
        End::Answer(response) => response,
        End::Cut => Cut::response(),
        End::Silence => {
            // Nobody uses the local cloud while it is silent.
            drop(using);
            tokio::select! {
                () = cleared.cancelled() => {}
                () = tokio::time::sleep(LONGEST_STALL) => {}
            }
            Cut::response()
        }
    }
}

enum End {
    Answer(Response),
    Cut,
    Silence,
}

async fn meet<H, F>(
    cloud: &Cloud,
    subject: &Subject<'_>,
    host: &str,
    fault: &Fault,
    mut request: Request<Body>,
    handle: H,
) -> End
where
    H: FnOnce(Request<Body>) -> F + Send,
    F: Future<Output = Response> + Send,
{
    match fault {
        Fault::Status { status, retry_after, message } => {
            // A client that is still sending would see a broken connection in place of the answer.
            drain(request.into_body()).await;
            End::Answer(refusal(subject.service, host, *status, *retry_after, message.as_deref()))
        }
        Fault::Reset => End::Cut,
        Fault::ResetAfter => {
            handle(request).await;
            End::Cut
        }
        Fault::Stall => End::Silence,
        Fault::StallAfter => {
            handle(request).await;
            End::Silence
        }
        Fault::Truncate => truncated(handle(request).await).await.map_or(End::Cut, End::Answer),
        Fault::Conflict => {
            cloud.google.interfere(subject.path);
            End::Answer(handle(request).await)
        }
        Fault::FailedOperation { message } => {
            request.extensions_mut().insert(FailOperation::new(message.as_deref()));
            End::Answer(handle(request).await)
        }
        Fault::ExpiredToken => {
            let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            if let Some(token) = value.and_then(iam::token) {
                cloud.iam.expire(&token);
            }
            End::Answer(handle(request).await)
        }
    }
}

async fn drain(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// Half of the body, with the length of the whole; `None` when there is no body.
async fn truncated(response: Response) -> Option<Response> {
    let (mut parts, body) = response.into_parts();
    let whole = body.collect().await.ok()?.to_bytes();
    if whole.is_empty() || parts.status == StatusCode::NO_CONTENT {
        return None;
    }
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half: io::Result<Bytes> = Ok(whole.slice(..whole.len() / 2));
    let end = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    Some(Response::from_parts(parts, Body::from_stream(stream::iter([half, end]))))
}
