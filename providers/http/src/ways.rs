//! The ways that a request can go: on this machine or elsewhere, with TLS or without. Each is made when it is needed.
use std::{sync::OnceLock, time::Duration};

use carrack_core::{Error, ErrorKind, Result};
use reqwest::{Client, ClientBuilder};
use url::Url;

use crate::endpoint::is_loopback;

/// What stays on this machine goes past any proxy, and has no use for HTTP/2.
#[derive(Debug)]
pub(crate) struct Ways {
    /// Here, without TLS. It reads no file of certificates: the local cloud works where there is none.
    plain: Client,
    /// Here, with TLS.
    direct: OnceLock<Client>,
    /// Elsewhere: by `HTTPS_PROXY` where it is set, `NO_PROXY` excepted.
    proxied: OnceLock<Client>,
}

impl Ways {
    pub(crate) fn new() -> Result<Self> {
        let plain = Client::builder().no_proxy().http1_only().tls_certs_only([]);
        Ok(Self { plain: made(plain)?, direct: OnceLock::new(), proxied: OnceLock::new() })
    }

    /// The way to `target`, which may be as near as this machine.
    pub(crate) fn to(&self, target: &Url, past_proxies: bool) -> Result<Client> {
        match (past_proxies || is_loopback(target), target.scheme()) {
            (true, "http") => Ok(self.plain.clone()),
            (true, _) => once(&self.direct, || Client::builder().no_proxy().http1_only()),
            (false, _) => once(&self.proxied, Client::builder),
        }
    }
}

fn once(held: &OnceLock<Client>, builder: impl FnOnce() -> ClientBuilder) -> Result<Client> {
    match held.get() {
        Some(client) => Ok(client.clone()),
        // Of two at the same time the first stays, so that all share its connections.
        None => made(builder()).map(|client| held.get_or_init(|| client).clone()),
    }
}

fn made(builder: ClientBuilder) -> Result<Client> {
    let builder = builder
        .user_agent(concat!("carrack/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| {
        // The text is the verifier's, whose type reqwest keeps to itself.
        let no_certificates = std::iter::successors(std::error::Error::source(&error), |error| error.source())
            .any(|cause| cause.to_string().contains("No CA certificates were loaded"));
        if no_certificates {
            return Error::new(ErrorKind::Usage, "no authority's certificate was found, so no cloud can be trusted")
                .with_source(error)
                .hint("SSL_CERT_FILE or SSL_CERT_DIR, where one is set, must name a PEM file of certificates or a folder of them")
                .hint("else install the system's: the package `ca-certificates`");
        }
        Error::new(ErrorKind::Internal, "setting up HTTP failed").with_source(error)
    })
}
