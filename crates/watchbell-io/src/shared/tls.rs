//! TLS for probes: whom to trust, client certificates, and errors in words that stay the same from run to run.
//!
//! Certificates are checked for what they are at each handshake: sessions are never resumed, because a
//! resumed one shows no certificate. Revocation is not checked.

use super::{
    http::{Http, read_certificates, read_pem},
    net::{Address, Stage, Stream, Timeline, plain},
};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use std::{
    io,
    sync::{Arc, OnceLock},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use watchbell_core::{
    config::{Key, Reader, Shape},
    model::Timestamp,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A chain of more certificates than this is looked at no further.
pub const CHAIN_MAX: usize = 16;

/// The keys that kinds with TLS share.
pub const KEYS: [Key; 4] = [
    Key {
        name: "verify",
        shape: Shape::Boolean,
        doc: "whether the server's certificate must be valid, trusted and for this name (default `true`)",
    },
    Key {
        name: "ca",
        shape: Shape::String,
        doc: "a PEM file with the certificates to trust instead of Mozilla's and the machine's; a server's own \
              self-signed certificate may stand in it",
    },
    Key {
        name: "client_cert",
        shape: Shape::String,
        doc: "a PEM file with the certificate (and its chain) to show to the server",
    },
    Key { name: "client_key", shape: Shape::String, doc: "the PEM file with the key of `client_cert`" },
];

/// What the config says about TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsOptions {
    /// Whether the certificate must be in order.
    pub verify: bool,
    /// Trust these instead of the usual ones.
    pub ca: Option<String>,
    /// The certificate to show and its key, both PEM files.
    pub client: Option<(String, String)>,
}

impl TlsOptions {
    /// Reads [`KEYS`].
    pub fn read(reader: &mut Reader<'_>) -> TlsOptions {
        let verify = reader.boolean("verify").unwrap_or(true);
        let ca = reader.string("ca");
        let client = match (reader.string("client_cert"), reader.string("client_key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => {
                reader.error("client_cert", "`client_cert` needs its `client_key`").hint("add `client_key = \"PATH\"`");
                None
            }
            (None, Some(_)) => {
                reader.error("client_key", "`client_key` needs its `client_cert`").hint("add `client_cert = \"PATH\"`");
                None
            }
            (None, None) => None,
        };
        TlsOptions { verify, ca, client }
    }

    /// Files that are not there, for validation.
    pub fn preflight(&self) -> Vec<String> {
        let mut list = Vec::new();
        if let Some(path) = &self.ca {
            list.extend(read_certificates(path).err());
        }
        if let Some((cert, key)) = &self.client {
            list.extend(read_certificates(cert).err());
            list.extend(read_key(key).err());
        }
        list
    }

    /// Whom to trust.
    ///
    /// # Errors
    /// Why the file of `ca` can't be used.
    pub fn trust(&self, http: &Http) -> Result<Trust, String> {
        let Some(path) = &self.ca else {
            return Ok(Trust { roots: http.roots.clone(), pinned: Vec::new() });
        };
        let pinned = read_certificates(path)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pinned.iter().cloned());
        Ok(Trust { roots: Arc::new(roots), pinned })
    }

    /// The client's configuration. Without options it is the shared one; else files are read each time, so
    /// that a renewed one counts at once.
    ///
    /// # Errors
    /// Why a file can't be used.
    pub fn client_config(&self, http: &Http) -> Result<Arc<ClientConfig>, String> {
        if self.verify && self.ca.is_none() && self.client.is_none() {
            return Ok(http.tls.clone());
        }
        let trust = if self.verify { Some(self.trust(http)?) } else { None };
        self.config_with(trust, Arc::default())
    }

    /// A configuration that takes any certificate, for a probe that judges it afterwards.
    ///
    /// # Errors
    /// Why a client certificate can't be used.
    pub fn lenient_config(&self, shown: &Arc<Shown>) -> Result<Arc<ClientConfig>, String> {
        self.config_with(None, shown.clone())
    }

    fn config_with(&self, trust: Option<Trust>, shown: Arc<Shown>) -> Result<Arc<ClientConfig>, String> {
        let verifier = Arc::new(Verifier { trust, algorithms: algorithms(), shown });
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(read_certificates(cert)?, read_key(key)?)
                .map_err(|e| format!("the client certificate in `{cert}` can't be used with `{key}`: {e}"))?,
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The client's configuration that trusts the certificates of a file besides the usual ones.
///
/// # Errors
/// Why the file can't be used.
pub fn config_besides(http: &Http, ca: &str) -> Result<Arc<ClientConfig>, String> {
    let pinned = read_certificates(ca)?;
    let mut roots = RootCertStore::clone(&http.roots);
    roots.add_parsable_certificates(pinned.iter().cloned());
    let trust = Trust { roots: Arc::new(roots), pinned };
    TlsOptions { verify: true, ca: None, client: None }.config_with(Some(trust), Arc::default())
}

fn read_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let why = |reason: String| format!("can't read a private key from `{path}`: {reason}");
    PrivateKeyDer::from_pem_slice(&read_pem(path).map_err(why)?).map_err(|e| why(e.to_string()))
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

/// Whom to trust: the issuers, and certificates that are trusted for what they are.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Issuers.
    pub roots: Arc<RootCertStore>,
    /// Certificates that a server may show itself: self-signed ones are often marked as an authority, which
    /// the rules for chains (RFC 5280) do not allow for a server.
    pub pinned: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Whether the chain leads to somebody trusted and its dates are right at a time. Names are not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.pinned.iter().any(|c| c == leaf) {
            return verify_dates(leaf, now);
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms().all)
    }
}

fn verify_dates(der: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let unix = |at: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at).unwrap_or(0)));
    let (from, until) = (unix(cert.validity().not_before.timestamp()), unix(cert.validity().not_after.timestamp()));
    if now < from {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: from }.into());
    }
    if now > until {
        return Err(CertificateError::ExpiredContext { time: now, not_after: until }.into());
    }
    Ok(())
}

/// Judges a server's certificate by a [`Trust`]; without one it takes any. The handshake's own signature is
/// always checked: the server must have the key of what it shows.
#[derive(Debug)]
struct Verifier {
    trust: Option<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
    shown: Arc<Shown>,
}

/// The chain of certificates that a server showed, the server's own first; kept where the handshake fails after that, too.
#[derive(Debug, Default)]
pub struct Shown(OnceLock<Vec<CertificateDer<'static>>>);

impl Shown {
    /// It, if the server came that far.
    pub fn chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.get().map(Vec::as_slice)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(intermediates).take(CHAIN_MAX);
        // A second one would be of a second handshake; there is none.
        let _ = self.shown.0.set(chain.map(|cert| cert.clone().into_owned()).collect());
        if let Some(trust) = &self.trust {
            trust.verify(leaf, intermediates, now)?;
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A name for the handshake and the certificate: a host name or an IP address.
///
/// # Errors
/// That it is neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is neither a host name nor an IP address"))
}

/// The handshake, timed as [`Stage::Tls`].
///
/// # Errors
/// A text for people: what happened, then what to do.
pub async fn handshake(
    stream: Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    address: &Address,
    timeline: &mut Timeline,
) -> Result<TlsStream<Stream>, String> {
    let shaken = shake(stream, config, name, timeline).await;
    shaken.map_err(|e| format!("no TLS connection with `{address}`: {}", explain_io(&e)))
}

/// The same with the library's error.
///
/// # Errors
/// See [`explain_io`].
pub async fn shake(
    stream: Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    timeline: &mut Timeline,
) -> io::Result<TlsStream<Stream>> {
    timeline.begin(Stage::Tls);
    let result = TlsConnector::from(config).connect(name, stream).await;
    timeline.end();
    result
}

/// Whether it is the server that does not want this client, rather than something that is wrong with the server.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|e| e.downcast_ref::<Error>()), Some(Error::AlertReceived(_)))
}

/// Why a TLS connection failed.
pub fn explain_io(error: &io::Error) -> String {
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(error) => explain(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection; does it speak TLS on this port?".to_owned()
        }
        None => plain(error),
    }
}

/// A TLS error in words that do not change from run to run, then what to do.
pub fn explain(error: &Error) -> String {
    use CertificateError as C;
    let text = match error {
        Error::InvalidCertificate(C::Expired) => "the certificate has expired; renew it",
        Error::InvalidCertificate(C::ExpiredContext { not_after, .. }) => {
            return format!("the certificate has expired at {}; renew it", at(*not_after));
        }
        Error::InvalidCertificate(C::NotValidYet) => "the certificate is not valid yet; is a clock wrong?",
        Error::InvalidCertificate(C::NotValidYetContext { not_before, .. }) => {
            return format!("the certificate is not valid before {}; is a clock wrong?", at(*not_before));
        }
        Error::InvalidCertificate(C::UnknownIssuer) => {
            "the certificate's issuer is not trusted, or an intermediate certificate is missing; name its authority \
             in `ca`, or let the server send the whole chain"
        }
        Error::InvalidCertificate(C::NotValidForName) => "the certificate is for another name",
        Error::InvalidCertificate(C::NotValidForNameContext { expected, presented }) => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            return format!("the certificate is for {names}, not for `{}`", expected.to_str());
        }
        Error::InvalidCertificate(C::BadSignature) => "a signature in the certificate chain is wrong",
        Error::InvalidCertificate(C::InvalidPurpose | C::InvalidPurposeContext { .. }) => {
            "the certificate is not meant for servers (its extended key usage lacks server authentication)"
        }
        Error::InvalidCertificate(C::Other(other)) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is that of an authority, not of a server; name this certificate itself in `ca` to trust it"
        }
        Error::InvalidMessage(_) => {
            "what the server answers is no TLS; is this the right port, or is `starttls` needed?"
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion) => {
            "the server refused the handshake: no protocol version or cipher in common, or it wants a client certificate"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a client certificate; give `client_cert` and `client_key`"
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => "the server does not know this name",
        Error::AlertReceived(alert) => return format!("the server refused with the alert {alert:?}"),
        other => return other.to_string(),
    };
    text.to_owned()
}

/// A name as the TLS library shows it, `DnsName("example.com")`, without what is around it.
fn bare(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(shown, |name| name.trim_matches('"'))
}

/// A time in a certificate.
pub fn at(time: UnixTime) -> Timestamp {
    Timestamp::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub(crate) mod testing;
