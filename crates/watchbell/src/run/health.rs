//! How the agent itself is doing: what `/readyz` and `/metrics` say.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

/// Counters and states, written by the parts that know and read by the web.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    stopping: AtomicBool,
    store_failure: Mutex<Option<String>>,
    /// Commits that succeeded.
    pub commits: AtomicU64,
    /// Commits that failed and were tried again.
    pub commit_failures: AtomicU64,
    /// Inputs stepped.
    pub inputs: AtomicU64,
    /// Runs that ended.
    pub runs: AtomicU64,
    /// Tries of deliveries that were taken.
    pub deliveries: AtomicU64,
    /// Tries of deliveries that failed.
    pub delivery_failures: AtomicU64,
    /// Lines that a check's log could not take in time.
    pub log_lines_dropped: AtomicU64,
    /// How late runs start after their slot.
    pub lateness: Histogram,
    /// How long commits take.
    pub commit_time: Histogram,
}

impl Health {
    /// The first config is adopted and the listeners are open.
    pub fn set_ready(&self) {
        self.ready.store(true, Relaxed);
    }

    /// The agent is ending.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// The store could or could not be written.
    pub fn set_store_failure(&self, reason: Option<String>) {
        if let Ok(mut failure) = self.store_failure.lock() {
            *failure = reason;
        }
    }

    /// Why the store can't be written now.
    pub fn store_failure(&self) -> Option<String> {
        self.store_failure.lock().ok()?.clone()
    }

    /// Why the agent should not be given work now; `None` when it is ready.
    pub fn unready(&self) -> Option<String> {
        if self.stopping.load(Relaxed) {
            return Some("the agent is ending".into());
        }
        if !self.ready.load(Relaxed) {
            return Some("the agent is starting".into());
        }
        self.store_failure().map(|reason| format!("the store can't be written: {reason}"))
    }
}

/// Upper bounds of the buckets, in milliseconds; one more bucket holds what is longer.
pub const BUCKETS_MS: [u64; 12] = [1, 2, 3, 5, 10, 25, 50, 100, 250, 1000, 5000, 30_000];

/// Counts durations in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Takes one in.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKETS_MS.iter().position(|bound| us <= bound * 1000).unwrap_or(BUCKETS_MS.len());
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Count per bucket, and the sum in seconds.
    pub fn read(&self) -> (Vec<u64>, f64) {
        (self.buckets.iter().map(|b| b.load(Relaxed)).collect(), self.sum_us.load(Relaxed) as f64 / 1e6)
    }
}
