//! HTTP clients for notifiers and sinks.

use std::sync::Arc;

/// A client with Mozilla's roots and, where the machine has them, its own.
#[derive(Clone, Debug)]
pub struct Http {
    /// For JSON calls to services: no redirects, connections are kept.
    pub client: reqwest::Client,
    /// The TLS configuration behind it, for probes that speak TLS themselves.
    pub tls: Arc<rustls::ClientConfig>,
}

impl Http {
    /// Makes the clients.
    ///
    /// # Errors
    /// A text that says why the TLS configuration could not be made.
    pub fn new() -> Result<Http, String> {
        // A second start in one process (tests) finds the provider there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("watchbell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| format!("can't make an HTTP client: {e}"))?;
        Ok(Http { client, tls: Arc::new(tls) })
    }
}
