//! Signals that would end this program: they are for the command, and its end is still reported.

use super::output::Seen;
use rustix::process::Signal;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// All that end a program which does nothing about them and can be listened to. (What stands for a broken program,
/// such as SIGSEGV, can't be.)
const ENDING: [Signal; 18] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TRAP,
    Signal::ABORT,
    Signal::USR1,
    Signal::USR2,
    Signal::PIPE,
    Signal::ALARM,
    Signal::TERM,
    Signal::STKFLT,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::POWER,
    Signal::SYS,
];

/// A write of ours that raised a signal is counted within this time.
const OWN_SIGNAL: Duration = Duration::from_millis(20);

/// Signals that came, in their order.
pub(super) struct Signals(mpsc::UnboundedReceiver<Signal>);

impl Signals {
    /// Listens. What was ignored when this program began stays ignored, for the command too (`nohup`, `&` in a script).
    pub(super) fn listen() -> Signals {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ignored = ignored();
        for one in ENDING {
            let raw = one.as_raw();
            // The standard library ignores SIGPIPE in every Rust program.
            if one != Signal::PIPE && ignored >> (raw - 1) & 1 == 1 {
                continue;
            }
            let Ok(mut heard) = signal(SignalKind::from_raw(raw)) else { continue };
            let sender = sender.clone();
            tokio::spawn(async move { while heard.recv().await.is_some() && sender.send(one).is_ok() {} });
        }
        Signals(receiver)
    }

    /// The next one that is to be passed on.
    pub(super) async fn next(&mut self, seen: &Arc<Seen>) -> Signal {
        loop {
            let Some(one) = self.0.recv().await else { return std::future::pending().await };
            let own = matches!(one, Signal::PIPE | Signal::XFSZ) && raised_by_us(seen).await;
            // The terminal has told the command itself: it is in the same process group.
            let told = matches!(one, Signal::INT | Signal::QUIT | Signal::HUP) && at_terminal();
            if !own && !told {
                return one;
            }
        }
    }
}

async fn raised_by_us(seen: &Arc<Seen>) -> bool {
    tokio::time::sleep(OWN_SIGNAL).await;
    seen.own_signals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

/// The signals that are ignored, one bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether this program's process group has a terminal in front of it.
fn at_terminal() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|tty| rustix::termios::tcgetpgrp(tty).is_ok_and(|group| group == rustix::process::getpgrp()))
}
