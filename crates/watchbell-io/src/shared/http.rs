//! HTTP clients for notifiers and sinks, and whom everything here trusts: Mozilla's roots and the machine's.

use rustls::{
    RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, TrustAnchor, pem::PemObject},
};
use std::{collections::BTreeSet, sync::Arc};

/// A file of certificates or keys is not read beyond this many bytes.
pub const PEM_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Where systems keep the authorities that the machine trusts: Debian and Arch, Fedora and Red Hat, SUSE,
/// Alpine and the BSDs. The first that is there counts.
const MACHINE_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A client with Mozilla's roots and, where the machine has them, its own.
#[derive(Clone, Debug)]
pub struct Http {
    /// For JSON calls to services: no redirects, connections are kept.
    pub client: reqwest::Client,
    /// The TLS configuration for probes that speak TLS themselves. Sessions are not resumed: a resumed one
    /// shows no certificate, and its handshake takes less than a visitor's first one.
    pub tls: Arc<rustls::ClientConfig>,
    /// The authorities behind both.
    pub roots: Arc<RootCertStore>,
}

impl Http {
    /// Makes the clients.
    ///
    /// # Errors
    /// A text that says why the TLS configuration could not be made.
    pub fn new() -> Result<Http, String> {
        // A second start in one process (tests) finds the provider there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let machine = machine_certificates(named_certificates()).unwrap_or_else(|problem| {
            tracing::warn!("{problem}; only Mozilla's authorities are trusted");
            Vec::new()
        });
        let roots = Arc::new(merge(&machine));
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("watchbell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| format!("can't make an HTTP client: {e}"))?;
        tls.resumption = Resumption::disabled();
        Ok(Http { client, tls: Arc::new(tls), roots })
    }
}

/// What `SSL_CERT_FILE` says, if anything.
pub fn named_certificates() -> Option<String> {
    std::env::var("SSL_CERT_FILE").ok()
}

/// The machine's own authorities: those of `SSL_CERT_FILE` where that is set, else of the system's file. None
/// where there is no such file.
///
/// # Errors
/// Why the file can't be used.
pub fn machine_certificates(named: Option<String>) -> Result<Vec<CertificateDer<'static>>, String> {
    if let Some(path) = named.filter(|p| !p.is_empty()) {
        return read_certificates(&path).map_err(|e| format!("{e}; see the environment variable `SSL_CERT_FILE`"));
    }
    match MACHINE_FILES.iter().find(|path| std::path::Path::new(path).exists()) {
        Some(path) => read_certificates(path),
        None => Ok(Vec::new()),
    }
}

/// Mozilla's roots and these, each once.
fn merge(machine: &[CertificateDer<'_>]) -> RootCertStore {
    let mut own = RootCertStore::empty();
    own.add_parsable_certificates(machine.iter().cloned());
    let id = |anchor: &TrustAnchor<'_>| (anchor.subject.to_vec(), anchor.subject_public_key_info.to_vec());
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let known: BTreeSet<_> = roots.roots.iter().map(id).collect();
    roots.extend(own.roots.into_iter().filter(|anchor| !known.contains(&id(anchor))));
    roots
}

/// All certificates of a PEM file.
///
/// # Errors
/// Why there are none.
pub fn read_certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let why = |reason: String| format!("can't read certificates from `{path}`: {reason}");
    let text = read_pem(path).map_err(why)?;
    let list = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|e| why(format!("it is no PEM file: {e}")))?;
    if list.is_empty() {
        return Err(why("there is none in it; a certificate begins with `-----BEGIN CERTIFICATE-----`".to_owned()));
    }
    Ok(list)
}

/// A PEM file, no longer than [`PEM_BYTES_MAX`]. Nothing but a file is opened: a pipe would be waited for.
///
/// # Errors
/// Why it can't be read.
pub fn read_pem(path: &str) -> Result<Vec<u8>, String> {
    let about = std::fs::metadata(path).map_err(|e| super::net::plain(&e))?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    if about.len() > PEM_BYTES_MAX {
        return Err(format!("it has {} bytes, more than {PEM_BYTES_MAX}", about.len()));
    }
    std::fs::read(path).map_err(|e| super::net::plain(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_authorities_come_beside_mozillas_each_once() {
        let mozilla = webpki_roots::TLS_SERVER_ROOTS.len();
        let own = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert;
        let twice = [own.der().clone(), own.der().clone()];
        assert_eq!(merge(&[]).len(), mozilla);
        assert!(merge(&twice).len() > mozilla);

        let dir = std::env::temp_dir().join(format!("watchbell-roots-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("ca.pem").display().to_string();
        std::fs::write(&path, own.pem()).unwrap();
        assert_eq!(machine_certificates(Some(path.clone())).unwrap().len(), 1);
        std::fs::write(&path, "no certificate").unwrap();
        let problem = machine_certificates(Some(path)).unwrap_err();
        assert!(problem.contains("there is none in it") && problem.contains("SSL_CERT_FILE"), "{problem}");
        assert!(machine_certificates(Some("/nowhere.pem".into())).unwrap_err().contains("no such file"));
        assert!(machine_certificates(Some(dir.display().to_string())).unwrap_err().contains("it is no file"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// A resumed session shows no certificate: an expired one would go unseen.
    #[test]
    fn probes_do_not_resume_sessions() {
        let http = Http::new().unwrap();
        assert!(format!("{:?}", http.tls.resumption).contains("NoClientSessionStorage"));
    }
}
