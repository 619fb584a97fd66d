//! What sources, notifiers and sinks share: HTTP clients, secrets, process spawning.

pub mod apart;
pub mod aws;
pub mod file;
pub mod http;
pub mod jq;
pub mod json;
pub mod mask;
pub mod net;
pub mod process;
pub mod secret;
pub mod tls;

use std::{future::Future, pin::Pin};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Handles that live as long as the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    /// HTTP clients over one TLS configuration.
    pub http: http::Http,
}

impl Shared {
    /// New handles. Installs the TLS provider for the process.
    ///
    /// # Errors
    /// A text that says why the TLS configuration could not be made.
    pub fn new() -> Result<Shared, String> {
        Ok(Shared { http: http::Http::new()? })
    }
}
