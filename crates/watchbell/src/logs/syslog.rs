//! The agent's log to this machine's syslog: the traditional form without a time stamp, which the daemon adds. A daemon
//! that is away, or begins anew, is found again with the next line.

use std::{
    fmt::{self, Write},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{Layer, layer::Context};
use watchbell_core::wire::text::shown;

/// Where the daemon listens.
pub(super) const SOCKET: &str = "/dev/log";
/// The facility `daemon` (RFC 3164, 4.1.1).
const FACILITY: u8 = 3;
/// Longer lines are cut: what daemons are bound to take (RFC 5424, 6.1).
const LINE_BYTES_MAX: usize = 2048;

/// A layer that writes to syslog.
pub(super) struct Syslog {
    path: PathBuf,
    socket: io::Result<UnixDatagram>,
}

/// Whether somebody listens.
///
/// # Errors
/// Nobody does, and what to do.
pub(super) fn reach(path: &Path) -> Result<(), String> {
    UnixDatagram::unbound().and_then(|socket| socket.connect(path)).map_err(|error| {
        let path = path.display();
        format!("can't log to syslog: {path}: {error}; start a syslog daemon, or leave `syslog` out")
    })
}

impl Syslog {
    pub(super) fn new(path: impl Into<PathBuf>) -> Syslog {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Syslog { path: path.into(), socket }
    }
}

impl<S: Subscriber> Layer<S> for Syslog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let severity = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        let mut line = Line(format!("<{}>watchbell[{}]:", FACILITY * 8 + severity, std::process::id()));
        event.record(&mut line);
        let mut text = shown(&line.0).replace('\n', " | ");
        while text.len() > LINE_BYTES_MAX {
            text.pop();
        }
        if let Ok(socket) = &self.socket {
            // Not connected: a daemon that begins anew has another socket at the same path. One that is away must not
            // stop the agent; its log on standard error has the line too.
            let _ = socket.send_to(text.as_bytes(), &self.path);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// S3.14: lines go to syslog, and to the next daemon when the first one has gone.
    #[test]
    fn a_daemon_that_begins_anew_is_found() {
        let path = std::env::temp_dir().join(format!("watchbell-syslog-{}", std::process::id()));
        let listen = || {
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let hear = |socket: &UnixDatagram| {
            let mut buffer = [0; 4096];
            socket.recv(&mut buffer).map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()).ok()
        };
        assert!(reach(&path).unwrap_err().contains("can't log to syslog"));
        let log = tracing_subscriber::registry().with(Syslog::new(&path));
        let line = |severity: u8, text: &str| Some(format!("<{severity}>watchbell[{}]: {text}", std::process::id()));
        tracing::subscriber::with_default(log, || {
            tracing::info!("nobody listens yet");
            let first = listen();
            tracing::warn!(path = "a b", "one\ntwo\u{200b}\u{202e}\u{2028}");
            assert_eq!(hear(&first), line(28, "one | two\\u{200b}\\u{202e}\\u{2028} path=\"a b\""));
            drop(first);
            std::fs::remove_file(&path).unwrap();
            tracing::info!("lost");
            let second = listen();
            tracing::error!("{}", "ä".repeat(LINE_BYTES_MAX));
            assert!(hear(&second).is_some_and(|text| text.starts_with("<27>") && text.len() <= LINE_BYTES_MAX));
            tracing::info!("found");
            assert_eq!((hear(&second), hear(&second)), (line(30, "found"), None));
            assert_eq!(reach(&path), Ok(()));
        });
        std::fs::remove_file(&path).unwrap();
    }
}
