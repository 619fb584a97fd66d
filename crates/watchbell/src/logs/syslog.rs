//! The agent's log to this machine's syslog: the traditional form without a time stamp, which the daemon adds.

use std::{
    fmt::{self, Write},
    os::unix::net::UnixDatagram,
};
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{Layer, Registry, layer::Context};

/// Where the daemon listens.
const SOCKET: &str = "/dev/log";
/// The facility `daemon` (RFC 3164, 4.1.1).
const FACILITY: u8 = 3;
/// Longer lines are cut: what daemons are bound to take (RFC 5424, 6.1).
const LINE_BYTES_MAX: usize = 2048;

struct Syslog {
    socket: UnixDatagram,
}

/// A layer that writes to syslog.
///
/// # Errors
/// Nobody listens, and what to do.
pub(super) fn layer() -> Result<Box<dyn Layer<Registry> + Send + Sync>, String> {
    let socket = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(SOCKET)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    let socket = socket.map_err(|error| {
        format!("can't log to syslog: {SOCKET}: {error}\nhint: start a syslog daemon, or leave `syslog` out")
    })?;
    Ok(Syslog { socket }.boxed())
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
        let mut text = line.0.replace('\n', " | ");
        while text.len() > LINE_BYTES_MAX {
            text.pop();
        }
        // A daemon that is away must not stop the agent; its log on standard error has the line too.
        let _ = self.socket.send(text.as_bytes());
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
