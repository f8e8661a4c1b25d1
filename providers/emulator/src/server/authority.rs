//! The local cloud's own certificate authority: it signs for the clouds' real names, and no machine trusts it by itself.
use std::{fmt, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A clock that is a little behind takes the certificates too.
const BEHIND: Duration = Duration::from_secs(60 * 60);
/// Longer than a local cloud lives; a key that got out is worth nothing after that.
const LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Its key is made anew with each local cloud, and never leaves the process.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Of every name that it signs for.
    key: KeyPair,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authority")
    }
}

impl Authority {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let mut params = limited(CertificateParams::default());
        params.distinguished_name = named("Carrack local cloud");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, key: KeyPair::generate()? })
    }

    /// The certificate that a client has to trust, in PEM.
    pub(crate) fn certificate(&self) -> String {
        self.issuer.as_ref().pem()
    }

    /// Speaks TLS as `host`.
    pub(crate) fn acceptor(&self, host: &str) -> Result<TlsAcceptor, CannotSign> {
        let mut params = limited(CertificateParams::new([host.to_owned()])?);
        params.distinguished_name = named(host);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn limited(mut params: CertificateParams) -> CertificateParams {
    let now = std::time::SystemTime::now();
    params.not_before = (now - BEHIND).into();
    params.not_after = (now + LIFE).into();
    params
}

/// Why there is no certificate for a name.
#[derive(Debug)]
pub(crate) enum CannotSign {
    Certificate(rcgen::Error),
    Tls(rustls::Error),
}

impl From<rcgen::Error> for CannotSign {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error)
    }
}

impl From<rustls::Error> for CannotSign {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl fmt::Display for CannotSign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(formatter),
            Self::Tls(error) => error.fmt(formatter),
        }
    }
}
