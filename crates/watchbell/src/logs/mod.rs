//! The agent's own log: text on a terminal, JSON lines else; syslog and systemd's journal where the config asks
//! for them; errors of the agent itself to Sentry, from the first line that is logged on.
//!
//! A place that can't be had stops nothing: it is left out, and said ([`Missing`]). What is data and not the
//! agent's own word, faults told by the notifier `log` and samples, is written whatever the level, and is no error.

mod sentry;
mod syslog;

use ::sentry::{ClientInitGuard, integrations::tracing::ErrorLayer, types::Dsn};
use std::{
    io::{self, IsTerminal},
    path::Path,
};
use tracing::{Level, Metadata};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};
use watchbell_core::{
    config::{AgentSettings, LogFormat},
    wire::text::{shown, shown_json},
};
use watchbell_io::notify::log::TARGET as TOLD;

/// The target of samples in the log.
pub const SAMPLES: &str = "metrics";

/// Keeps what logs in the background alive; dropping it sends what waits.
pub struct Guard {
    sentry: Option<ClientInitGuard>,
    /// The places that are not logged to.
    pub missing: Missing,
}

/// Which places that the config asks for are not logged to.
#[derive(Clone, Default)]
pub struct Missing {
    syslog: bool,
    left_out: Vec<String>,
}

impl Guard {
    /// Reports the error that ends the agent. Whoever called prints it; this is for those who are not there.
    pub fn report(&self, error: &str) {
        if self.sentry.is_some() {
            ::sentry::capture_message(error, ::sentry::Level::Error);
        }
    }
}

impl Missing {
    /// Those that are missing now, each with the reason.
    pub fn now(&self) -> Vec<String> {
        let away = self.syslog.then(|| syslog::reach(Path::new(syslog::SOCKET)).err()).flatten();
        self.left_out.iter().cloned().chain(away).collect()
    }
}

/// The journal's priorities are syslog's, where what is only worth knowing is no notice.
fn as_in_syslog() -> PriorityMappings {
    let (info, debug) = (Priority::Informational, Priority::Debug);
    PriorityMappings { info, debug, ..PriorityMappings::new() }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Places to log to beside standard error, as far as they can be had.
#[derive(Default)]
struct Places {
    dsn: Option<Dsn>,
    journal: Option<BoxedLayer>,
    missing: Missing,
}

impl Places {
    fn of(settings: &AgentSettings) -> Places {
        let mut places = Places::default();
        places.missing.syslog = settings.log.syslog;
        match settings.sentry_dsn.as_ref().map(sentry::dsn) {
            Some(Ok(dsn)) => places.dsn = Some(dsn),
            Some(Err(why)) => places.missing.left_out.push(why),
            None => {}
        }
        match settings.log.journald.then(tracing_journald::layer) {
            Some(Ok(journal)) => places.journal = Some(journal.with_priority_mappings(as_in_syslog()).boxed()),
            Some(Err(error)) => places
                .missing
                .left_out
                .push(format!("can't log to the journal: {error}; leave `journald` out where systemd does not run")),
            None => {}
        }
        places
    }
}

/// What can be seen of the places to log to without logging: those that are missing.
pub fn preflight(settings: &AgentSettings) -> Vec<String> {
    Places::of(settings).missing.now()
}

/// Starts the log as the config says, Sentry first. `WATCHBELL_LOG` overrides the level (`debug`, `watchbell=trace`).
pub fn start(settings: &AgentSettings) -> Guard {
    let log = &settings.log;
    let places = Places::of(settings);
    let sentry = places.dsn.map(sentry::start);
    let mut layers: Vec<BoxedLayer> = vec![to_stderr(log.format, std::io::stderr)];
    layers.extend(log.syslog.then(|| syslog::Syslog::new(syslog::SOCKET).boxed()));
    layers.extend(places.journal);
    let asked = std::env::var("WATCHBELL_LOG").unwrap_or_default();
    let mut layers = vec![layers.with_filter(filter(log.level, &asked)).boxed()];
    layers.extend(sentry.as_ref().map(|_| ErrorLayer::new().with_filter(filter_fn(is_own_error)).boxed()));
    // A second start in one process keeps the first log.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Guard { sentry, missing: places.missing }
}

/// What is written: from this level on, or as was asked for; data in any case, unless it is itself asked to be quiet.
fn filter(level: &str, asked: &str) -> EnvFilter {
    let with_data = |wanted: &str| EnvFilter::builder().parse(format!("{SAMPLES}=info,{TOLD}=info,{wanted}"));
    let asked = Some(asked).filter(|text| !text.trim().is_empty());
    asked.and_then(|text| with_data(text).ok()).or_else(|| with_data(level).ok()).unwrap_or_default()
}

/// Whether a line is an error of the agent itself.
fn is_own_error(line: &Metadata<'_>) -> bool {
    *line.level() == Level::ERROR && ![SAMPLES, TOLD].contains(&line.target())
}

fn to_stderr<W>(format: LogFormat, writer: W) -> BoxedLayer
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let writer = Safe { to: writer, text };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    if text { layer.with_target(false).boxed() } else { layer.json().flatten_event(true).boxed() }
}

/// Writes lines in which nothing hides: neither what can't be seen nor, in text, a line end that would begin another
/// line. The subscriber hands over whole lines, and has written out the escape sequences that are not its own colours.
struct Safe<W> {
    to: W,
    text: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Safe<W> {
    type Writer = Safe<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Safe { to: self.to.make_writer(), text: self.text }
    }
}

impl<W: io::Write> io::Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let safe = if self.text {
            let parts: Vec<String> = line.split('\x1b').map(shown).collect();
            parts.join("\x1b").replace('\n', "\\n")
        } else {
            shown_json(line)
        };
        self.to.write_all((safe + "\n").as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
