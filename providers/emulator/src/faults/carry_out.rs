//! A call with its fault, in front of every face.
use std::{future::Future, io, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::{Fault, Hit, Service, Subject, answer::refusal};
use crate::{
    gcp::call::FailOperation,
    iam,
    record::Exchange,
    requests::{Call, Outcome},
    server::listen::Cut,
    state::Cloud,
};

/// Who calls may be gone without a word, so what a stall holds is let go after this long.
const LONGEST_STALL: Duration = Duration::from_secs(600);
/// What is read of a refused request's body: a layer of an image, and nobody who sends without an end.
const LARGEST_DRAIN: u64 = 4 << 30;
/// What is held of a body to change a byte of it.
const LARGEST_CHANGED: usize = 256 << 20;
const LONGEST_DRAIN: Duration = Duration::from_secs(60);
/// The server drops what it has not sent when a body fails, so that waits until it is sent.
const FLUSH: Duration = Duration::from_millis(10);

/// Answers a request as `handle` does, or as a fault has it, and keeps a line of it.
pub(crate) async fn served<H, F>(
    cloud: &Cloud,
    subject: Subject<'_>,
    call: Call,
    mut request: Request<Body>,
    handle: H,
) -> Response
where
    H: FnOnce(Request<Body>) -> F + Send,
    F: Future<Output = Response> + Send,
{
    let using = cloud.activity.begin();
    let begun = Instant::now();
    cloud.faults.lag().await;
    let registry = subject.service == Some(Service::Registry);
    let mut exchange = cloud.recorder.as_ref().map(|_| Exchange::begin(&call, registry, &mut request));
    let Some(Hit { fault, cleared }) = cloud.faults.decide(&subject) else {
        let response = handle(request).await;
        let outcome = Outcome::answered(&response);
        let response = match &mut exchange {
            Some(exchange) => exchange.answered(response).await,
            None => response,
        };
        note(cloud, call, &outcome, begun, exchange);
        return response;
    };
    let host = call.host.clone();
    let end = meet(cloud, &subject, &host, &fault, request, handle).await;
    let status = match &end {
        End::Answer(response) => Some(response.status()),
        End::Cut | End::Silence => None,
    };
    // Without its answer: that is none of the cloud's.
    note(cloud, call, &Outcome { status, fault: Some(fault.name()) }, begun, exchange);
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

/// In the list of requests, and in the recording.
fn note(cloud: &Cloud, call: Call, outcome: &Outcome, begun: Instant, exchange: Option<Exchange>) {
    let n = cloud.requests.record(call, outcome, begun.elapsed());
    if let (Some(recorder), Some(exchange)) = (&cloud.recorder, exchange) {
        recorder.keep(n, exchange, outcome);
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
            drain(request.into_body(), LARGEST_DRAIN, LONGEST_DRAIN).await;
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
        Fault::Truncate => truncated(handle(request).await).map_or(End::Cut, End::Answer),
        Fault::Corrupt => {
            let (mut parts, body) = handle(request).await.into_parts();
            // It is sent by its own length.
            parts.headers.remove(header::TRANSFER_ENCODING);
            corrupted(body).await.map_or(End::Cut, |body| End::Answer(Response::from_parts(parts, body)))
        }
        Fault::CorruptRequest => {
            let (parts, body) = request.into_parts();
            match corrupted(body).await {
                Some(body) => End::Answer(handle(Request::from_parts(parts, body)).await),
                None => End::Cut,
            }
        }
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

/// Reads `body` to its end, or so many bytes of it, or for so long.
async fn drain(mut body: Body, most: u64, patience: Duration) {
    let read = async {
        let mut count = 0_u64;
        while let Some(Ok(frame)) = body.frame().await {
            count += frame.data_ref().map_or(0, |data| data.len() as u64);
            if count > most {
                return;
            }
        }
    };
    // The answer goes out all the same.
    let _ = tokio::time::timeout(patience, read).await;
}

/// The body with another byte in it; `None` when it is too long to be held, or broke off.
async fn corrupted(body: Body) -> Option<Body> {
    let mut bytes = axum::body::to_bytes(body, LARGEST_CHANGED).await.ok()?.to_vec();
    corrupt(&mut bytes);
    Some(Body::from(bytes))
}

/// A character of `data` where there is one, so that JSON stays JSON, else a bit in the middle.
fn corrupt(bytes: &mut [u8]) {
    const FIELD: &[u8] = b"\"data\":";
    let field = bytes.windows(FIELD.len()).position(|window| window == FIELD).map(|at| at + FIELD.len());
    let value = field.and_then(|from| Some(from + bytes[from..].iter().position(|byte| *byte == b'"')? + 1));
    let middle = bytes.len() / 2;
    match value.and_then(|at| bytes.get_mut(at)) {
        Some(first) => *first = if *first == b'A' { b'B' } else { b'A' },
        None => {
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
        }
    }
}

/// Half of the body, with the length of the whole; `None` when there is no body. Nothing is held back for it: where
/// the length is not known beforehand, half of the first piece.
fn truncated(response: Response) -> Option<Response> {
    let (mut parts, body) = response.into_parts();
    let declared = || parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let length: Option<u64> = body.size_hint().exact().or_else(declared);
    if length == Some(0) || parts.status == StatusCode::NO_CONTENT {
        return None;
    }
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let half =
        stream::unfold((body.into_data_stream(), length.map(|length| length / 2)), |(mut data, left)| async move {
            let piece = if left == Some(0) { None } else { data.next().await };
            let mut piece = piece?.ok()?;
            let left = left.unwrap_or(piece.len() as u64 / 2);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left - piece.len() as u64;
            Some((Ok(piece), (data, Some(left))))
        });
    let end = stream::once(async {
        tokio::time::sleep(FLUSH).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Some(Response::from_parts(parts, Body::from_stream(half.chain(end))))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Pieces, and then nothing, without an end.
    fn endless(pieces: impl IntoIterator<Item = &'static str, IntoIter: Send + 'static>) -> Body {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, io::Error>(Bytes::from_static(piece.as_bytes())));
        Body::from_stream(stream::iter(pieces).chain(stream::pending()))
    }

    #[tokio::test]
    async fn what_is_drained_has_bounds() {
        let large = drain(endless(std::iter::repeat("0123456789")), 1_000, PATIENCE);
        tokio::time::timeout(PATIENCE, large).await.expect("it stops by its size");
        let slow = drain(endless(["0"]), 1_000, Duration::from_millis(10));
        tokio::time::timeout(PATIENCE, slow).await.expect("it stops by its time");
    }

    #[test]
    fn one_byte_is_another() {
        for (before, after) in [
            (
                r#"{"payload": {"data": "QUJD", "dataCrc32c": "1"}}"#,
                r#"{"payload": {"data": "AUJD", "dataCrc32c": "1"}}"#,
            ),
            (r#"{"data":"AAAA"}"#, r#"{"data":"BAAA"}"#),
            ("0000", "0010"),
            ("", ""),
        ] {
            let mut bytes = before.as_bytes().to_vec();
            corrupt(&mut bytes);
            assert_eq!(String::from_utf8_lossy(&bytes), after);
        }
    }

    #[tokio::test]
    async fn half_of_an_answer_is_passed_on_as_it_comes() {
        for (length, pieces, half) in [
            (Some("12"), vec!["abc", "def"], "abcdef"),
            (Some("13"), vec!["abcdefghi"], "abcdef"),
            (None, vec!["abcd", "efgh"], "ab"),
        ] {
            let mut response = Response::new(endless(pieces));
            if let Some(length) = length {
                response.headers_mut().insert(header::CONTENT_LENGTH, http::HeaderValue::from_static(length));
            }
            let mut data = truncated(response).expect("an answer").into_body().into_data_stream();
            let mut seen = Vec::new();
            let read = async {
                loop {
                    match data.next().await.expect("an error before the end") {
                        Ok(piece) => seen.extend(piece),
                        Err(_) => return,
                    }
                }
            };
            tokio::time::timeout(PATIENCE, read).await.expect("it waits for no more than the half");
            assert_eq!(String::from_utf8_lossy(&seen), half);
        }
        assert!(truncated(Response::new(Body::empty())).is_none());
    }
}
