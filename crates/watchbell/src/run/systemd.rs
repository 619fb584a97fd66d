//! What systemd wants to hear: ready, reloading, stopping, still alive. Nothing happens where it does not listen.

use std::{env, os::unix::net::UnixDatagram, time::Duration};

/// Without a watchdog the engine is looked at this often all the same.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The agent does its work.
pub fn ready() {
    notify("READY=1");
}

/// The config is being read again.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec as i128 * 1_000_000 + now.tv_nsec as i128 / 1000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// The agent is ending.
pub fn stopping() {
    notify("STOPPING=1");
}

/// The agent is alive.
pub fn watchdog() {
    notify("WATCHDOG=1");
}

/// How often systemd should hear that: half of what it allows.
pub fn watchdog_interval() -> Duration {
    let micros = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse::<u64>().ok()).filter(|n| *n > 0);
    micros.map_or(LOOK_EVERY, |micros| Duration::from_micros(micros / 2))
}

fn notify(text: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let result = UnixDatagram::unbound().and_then(|socket| match path.to_string_lossy().strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(text.as_bytes(), &address)
        }
        None => socket.send_to(text.as_bytes(), &path),
    });
    if let Err(error) = result {
        tracing::warn!(%error, "systemd does not take what it asked for");
    }
}
