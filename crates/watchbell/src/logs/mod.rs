//! The agent's own log: text on a terminal, JSON lines else; syslog and systemd's journal where the config asks
//! for them; errors to Sentry, from the first line that is logged on.

mod sentry;
mod syslog;

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};
use watchbell_core::config::{AgentSettings, LogFormat};

/// Keeps what logs in the background alive; dropping it sends what waits.
pub struct Guard {
    sentry: Option<::sentry::ClientInitGuard>,
}

impl Guard {
    /// Reports the error that ends the agent. Whoever called prints it; this is for those who are not there.
    pub fn report(&self, error: &str) {
        if self.sentry.is_some() {
            ::sentry::capture_message(error, ::sentry::Level::Error);
        }
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts the log as the config says. `WATCHBELL_LOG` overrides the level (`debug`, `watchbell=trace`).
///
/// # Errors
/// A place to log to that can't be used, and what to do.
pub fn start(settings: &AgentSettings) -> Result<Guard, String> {
    let log = &settings.log;
    let mut layers: Vec<BoxedLayer> = vec![to_stderr(log.format)];
    if log.syslog {
        layers.push(syslog::layer()?);
    }
    if log.journald {
        let journal = tracing_journald::layer().map_err(|error| {
            format!("can't log to the journal: {error}\nhint: leave `journald` out where systemd does not run")
        })?;
        layers.push(journal.boxed());
    }
    let sentry = match &settings.sentry_dsn {
        Some(dsn) => {
            let dsn = watchbell_io::shared::secret::read(dsn).map_err(|why| format!("`sentry_dsn`: {why}"))?;
            Some(sentry::start(&dsn)?)
        }
        None => None,
    };
    if sentry.is_some() {
        layers.push(::sentry::integrations::tracing::ErrorLayer::new().boxed());
    }
    let filter = EnvFilter::try_from_env("WATCHBELL_LOG").unwrap_or_else(|_| EnvFilter::new(log.level));
    // A second start in one process keeps the first log.
    let _ = tracing_subscriber::registry().with(layers.with_filter(filter)).try_init();
    Ok(Guard { sentry })
}

fn to_stderr(format: LogFormat) -> BoxedLayer {
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    if text { layer.with_target(false).boxed() } else { layer.json().flatten_event(true).boxed() }
}
