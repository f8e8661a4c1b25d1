//! What changes in a request's headers on its way through.
use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, CONNECTION, TE, TRANSFER_ENCODING, UPGRADE},
};

/// For one connection only: <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// <https://cloud.google.com/trace/docs/trace-context#legacy-http-header>
pub(super) const TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

/// The protocol that an HTTP/1 request asks to change to. An upgrade to HTTP/2 is not one that goes through.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE)?;
    (asked && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// Says that a request comes from inside the project's networks, which on one machine nothing else tells.
const NETWORK: HeaderName = HeaderName::from_static("x-carrack-network");

/// It is the local cloud's own, and no container sees it.
pub(super) fn from_inside(headers: &mut HeaderMap) -> bool {
    headers.remove(NETWORK).is_some_and(|network| network == "internal")
}

pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove(HeaderName::from_static("http2-settings"));
    // gRPC needs it end to end: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    if headers.get(TE).is_some_and(|value| value != "trailers") {
        headers.remove(TE);
    }
}

pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

/// <https://cloud.google.com/run/docs/reference/container-contract>
pub(super) fn add_forwarded(headers: &mut HeaderMap, peer: IpAddr) {
    let before = headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = match before {
        Some(before) => format!("{before}, {peer}"),
        None => peer.to_string(),
    };
    if let Ok(chain) = HeaderValue::try_from(chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// The trace that the request belongs to; a new one when it has none.
pub(super) fn trace(headers: &mut HeaderMap) -> String {
    let given = headers
        .get(&TRACE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(['/', ';']).next())
        .filter(|trace| trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned);
    given.unwrap_or_else(|| {
        let trace = format!("{:032x}", fastrand::u128(..));
        if let Ok(value) = HeaderValue::try_from(format!("{trace}/{};o=1", fastrand::u64(1..))) {
            headers.insert(TRACE, value);
        }
        trace
    })
}

pub(super) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

pub(super) fn authorization(headers: &HeaderMap) -> (Option<String>, HeaderName) {
    // https://cloud.google.com/run/docs/authenticating/service-to-service#acquire-token
    const SERVERLESS: HeaderName = HeaderName::from_static("x-serverless-authorization");
    match text(headers, &SERVERLESS) {
        Some(value) => (Some(value), SERVERLESS),
        None => (text(headers, &header::AUTHORIZATION), header::AUTHORIZATION),
    }
}

/// An ID token as a container sees it: its claims, and nothing that could be shown to anybody else.
/// <https://cloud.google.com/run/docs/authenticating/service-to-service>
pub(super) fn unsigned(authorization: &str) -> Option<HeaderValue> {
    let (signed, _) = authorization.rsplit_once('.').filter(|(signed, _)| signed.split('.').count() == 2)?;
    HeaderValue::try_from(format!("{signed}.SIGNATURE_REMOVED_BY_GOOGLE")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_belongs_to_a_connection_is_removed() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("host", "a"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers"), ("host", "a")]));
    }

    #[test]
    fn only_a_real_upgrade_is_one() {
        assert_eq!(
            upgrade(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])),
            Some(HeaderValue::from_static("websocket"))
        );
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade(&map(&[("connection", "Upgrade"), ("upgrade", "h2c")])), None);
    }

    #[test]
    fn of_an_id_token_the_signature_is_left_out() {
        let seen = HeaderValue::from_static("Bearer e30.e30.SIGNATURE_REMOVED_BY_GOOGLE");
        assert_eq!(unsigned("Bearer e30.e30.c2ln"), Some(seen));
        for other in ["Bearer local.5b4c", "Bearer x", "Basic YTpi"] {
            assert_eq!(unsigned(other), None, "{other}");
        }
    }

    #[test]
    fn the_callers_are_a_chain() {
        let mut headers = map(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]);
        add_forwarded(&mut headers, IpAddr::from([127, 0, 0, 1]));
        assert_eq!(headers, map(&[("x-forwarded-for", "1.2.3.4, 127.0.0.1"), ("x-forwarded-proto", "http")]));
    }
}
