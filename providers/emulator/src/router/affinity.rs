//! The cookie that leads a caller back to the instance that answered before:
//! <https://cloud.google.com/run/docs/configuring/session-affinity>
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};

/// As public reports have it.
const NAME: &str = "GAESA";
/// Thirty days.
const LIFE: u32 = 2_592_000;

/// The instance of `backend` that the caller was led to before.
pub(super) fn asked(headers: &HeaderMap, backend: &str) -> Option<u64> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == NAME)?;
    let (of, id) = value.rsplit_once('.')?;
    if of == backend { id.parse().ok() } else { None }
}

pub(super) fn give(headers: &mut HeaderMap, backend: &str, id: u64) {
    let cookie = format!("{NAME}={backend}.{id}; Max-Age={LIFE}; Path=/; HttpOnly");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_leads_back_to_its_own_revision_only() {
        let mut headers = HeaderMap::new();
        give(&mut headers, "hello-00001-abc", 7);
        let given = headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut asking = HeaderMap::new();
        asking.insert(COOKIE, HeaderValue::try_from(format!("a=b; {given}")).unwrap());
        assert_eq!(asked(&asking, "hello-00001-abc"), Some(7));
        assert_eq!(asked(&asking, "hello-00002-abc"), None);
        assert_eq!(asked(&HeaderMap::new(), "hello-00001-abc"), None);
    }
}
