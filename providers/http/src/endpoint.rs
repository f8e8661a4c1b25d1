//! Where requests really go: to the cloud, or to a local cloud that stands in for it.
use carrack_core::{Error, ErrorKind, Result};
use url::{Host, Url};

/// A server that answers for the clouds' hosts. Requests keep their real `Host`; scheme and address are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Takes `http://127.0.0.1:PORT`, or https anywhere. Plain http that is not loopback is refused: tokens travel on it.
    pub fn parse(text: &str) -> Result<Self> {
        let url = Url::parse(text).map_err(|e| {
            Error::new(ErrorKind::Usage, format!("`{text}` is not an endpoint"))
                .with_source(e)
                .hint("write it as http://127.0.0.1:PORT")
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(Error::new(ErrorKind::Usage, format!("`{text}` is not an http endpoint"))
                .hint("write it as http://127.0.0.1:PORT"));
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("refusing to send a token over plain http to `{}`", url.host_str().unwrap_or_default()),
            )
            .hint("use https, or an address on this machine"));
        }
        Ok(Self(url))
    }

    /// The address that `url` is really sent to, and the `Host` it keeps.
    pub(crate) fn redirect(&self, url: &Url) -> Result<(Url, String)> {
        let host = authority(url);
        let mut target = url.clone();
        let moved = target
            .set_scheme(self.0.scheme())
            .and_then(|()| target.set_host(self.0.host_str()).map_err(|_| ()))
            .and_then(|()| target.set_port(self.0.port()));
        match moved {
            Ok(()) => Ok((target, host)),
            Err(()) => Err(Error::new(ErrorKind::Internal, format!("cannot send `{host}` to `{}`", self.0))),
        }
    }
}

/// Host, and port when it is not the scheme's own.
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether `url` stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_url_goes_to_the_local_address_with_its_own_host() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8585").expect("loopback");
        let url = Url::parse("https://run.googleapis.com/v2/projects/p?a=b").expect("url");
        let (target, host) = endpoint.redirect(&url).expect("redirect");
        assert_eq!(target.as_str(), "http://127.0.0.1:8585/v2/projects/p?a=b");
        assert_eq!(host, "run.googleapis.com");
    }

    #[test]
    fn plain_http_to_elsewhere_is_refused() {
        for text in ["http://example.com", "http://10.0.0.1:80", "ftp://127.0.0.1", "nonsense"] {
            assert_eq!(Endpoint::parse(text).expect_err(text).kind(), ErrorKind::Usage);
        }
    }
}
