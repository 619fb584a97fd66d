//! The agent's HTTP face.

/// The listeners.
pub struct Web;

/// Opens the listeners.
pub async fn start(_agent: &crate::run::Agent) -> Result<Web, String> {
    Ok(Web)
}

impl Web {
    /// Closes the listeners.
    pub async fn stop(self) {}
}
