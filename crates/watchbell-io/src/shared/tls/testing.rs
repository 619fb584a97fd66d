//! Certificates of every sort and servers that show them, for tests.

use crate::source::testing::{Server, scratch, serve_with};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{path::PathBuf, sync::Arc, time::SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use watchbell_core::model::Timestamp;

/// What a certificate should be like.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    name: String,
    days: (i64, i64),
    self_signed: bool,
    is_ca: bool,
    intermediate: Option<(i64, i64)>,
    chain: bool,
    wants_clients: bool,
}

impl Wish {
    /// In order, for `localhost`, and for 90 more days.
    pub(crate) fn good() -> Wish {
        Wish {
            name: "localhost".to_owned(),
            days: (-10, 90),
            self_signed: false,
            is_ca: false,
            intermediate: None,
            chain: true,
            wants_clients: false,
        }
    }

    pub(crate) fn self_signed() -> Wish {
        Wish { self_signed: true, ..Wish::good() }
    }

    pub(crate) fn named(self, name: &str) -> Wish {
        Wish { name: name.to_owned(), ..self }
    }

    /// Valid from and until, in days from now.
    pub(crate) fn days(self, from: i64, until: i64) -> Wish {
        Wish { days: (from, until), ..self }
    }

    pub(crate) fn marked_as_authority(self) -> Wish {
        Wish { is_ca: true, ..self }
    }

    /// Issued by an authority under the root, which is valid from and until these days.
    pub(crate) fn through_intermediate(self, from: i64, until: i64) -> Wish {
        Wish { intermediate: Some((from, until)), ..self }
    }

    /// The server forgets to send the intermediate.
    pub(crate) fn without_chain(self) -> Wish {
        Wish { chain: false, ..self }
    }

    /// The server wants to see a certificate of the client.
    pub(crate) fn wanting_clients(self) -> Wish {
        Wish { wants_clients: true, ..self }
    }

    /// In how many days the first certificate of the chain that is sent expires.
    pub(crate) fn first_end_days(&self) -> i64 {
        let intermediate = self.intermediate.filter(|_| self.chain).map_or(i64::MAX, |(_, until)| until);
        self.days.1.min(intermediate)
    }
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) leaf_pem: String,
    pub(crate) key_pem: String,
    clients: Option<CertificateDer<'static>>,
}

/// An authority of our own.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn params(names: &[&str], common_name: &str, days: (i64, i64)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // The beginning of the day that is this many days from now.
    let midnight = |days: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let text = Timestamp::from_secs(i64::try_from(now).unwrap() + days * 86_400).to_string();
        let mut parts = text[..10].split('-').map(|p| p.parse::<i32>().unwrap());
        let (year, month, day) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        date_time_ymd(year, u8::try_from(month).unwrap(), u8::try_from(day).unwrap())
    };
    params.not_before = midnight(days.0);
    params.not_after = midnight(days.1);
    params
}

impl Authority {
    /// A new one; the name keeps the folders of tests apart.
    pub(crate) fn new(name: &str) -> Authority {
        let mut root = params(&[], "root", (-1000, 1000));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let dir = scratch(&format!("authority-{name}"));
        std::fs::write(dir.join("ca.pem"), root.pem()).unwrap();
        Authority { root, dir }
    }

    /// Where its certificate is.
    pub(crate) fn ca_path(&self) -> String {
        self.dir.join("ca.pem").display().to_string()
    }

    /// Issues what is wished for.
    pub(crate) fn issue(&self, wish: Wish) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut leaf = params(&[&wish.name], &wish.name, wish.days);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if wish.is_ca {
            leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let mut rest = Vec::new();
        let leaf = if wish.self_signed {
            leaf.self_signed(&key).unwrap()
        } else if let Some(days) = wish.intermediate {
            let mut between = params(&[], "intermediate", days);
            between.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let between = CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &self.root).unwrap();
            if wish.chain {
                rest.push(between.der().clone());
            }
            leaf.signed_by(&key, &between).unwrap()
        } else {
            leaf.signed_by(&key, &self.root).unwrap()
        };
        let mut chain = vec![leaf.der().clone()];
        chain.extend(rest);
        let clients = wish.wants_clients.then(|| self.root.der().clone());
        Issued { chain, leaf_pem: leaf.pem(), key_pem: key.serialize_pem(), clients }
    }
}

impl Issued {
    fn acceptor(&self) -> TlsAcceptor {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = match &self.clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(root) => {
                // Only so is the handshake what fails where the client shows none (RFC 5246, 7.4.6): in TLS 1.3 the
                // client is through before the server minds.
                let builder = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]);
                let mut roots = RootCertStore::empty();
                roots.add(root.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(self.chain.clone(), key).unwrap()))
    }
}

/// A server that shows a certificate and then serves each connection by a function.
pub(crate) async fn serve_tls<F, R>(issued: Issued, each: F) -> Server
where
    F: Fn(TlsStream<TcpStream>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let acceptor = issued.acceptor();
    serve_with(move |stream| {
        let (acceptor, each) = (acceptor.clone(), each.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                each(stream).await;
            }
        }
    })
    .await
}

/// A server that first speaks in the clear and then shows a certificate.
pub(crate) async fn serve_tls_after<F, R>(issued: Issued, before: F) -> Server
where
    F: Fn(TcpStream) -> R + Clone + Send + 'static,
    R: Future<Output = TcpStream> + Send + 'static,
{
    let acceptor = issued.acceptor();
    serve_with(move |stream| {
        let (acceptor, before) = (acceptor.clone(), before.clone());
        async move {
            let stream = before(stream).await;
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = tokio::io::AsyncReadExt::read_u8(&mut stream).await;
            }
        }
    })
    .await
}
