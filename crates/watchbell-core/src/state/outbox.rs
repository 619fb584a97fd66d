//! The outbox: deliveries decided but not yet confirmed. When the next try is due, when to give up, what
//! may go before what. The worker only sends and brings the answer back.

use crate::model::{Delivery, Name, Receipt, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A delivery that waits or is under way.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Queued {
    /// What to send.
    pub delivery: Arc<Delivery>,
    /// When it was decided.
    pub at: Timestamp,
    /// The fault's episode; 0 where there is none.
    pub episode: u64,
    /// How many tries were begun: as many may have been taken, whatever was heard of them.
    #[serde(default)]
    pub tries: u32,
    /// How many tries failed.
    #[serde(default)]
    pub failures: u32,
    /// Not before this.
    pub not_before: Timestamp,
    /// What the last try brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// What a resolve ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
    /// What a digest opens and ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Merged>,
    /// It was meant for this notifier, which could not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Name>,
}

/// What a resolve ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ends {
    /// The check that found the fault.
    pub check: Name,
    /// The change that was told last.
    pub change: u32,
    /// Whether there is something to end.
    pub open: Open,
}

/// Whether a receiver has a matter open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// It took nothing yet.
    #[default]
    No,
    /// A try whose answer was lost may have been taken.
    Maybe,
    /// It took a trigger.
    Yes,
}

/// A trigger or a resolve that is in a digest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Merged {
    /// The fault.
    pub fault: Name,
    /// Its episode.
    pub episode: u64,
    /// It was tried before it was merged, and may have been taken.
    #[serde(default)]
    pub tried: bool,
    /// What a resolve ends; a trigger ends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
    /// What the receiver answered to the trigger that is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// A target that takes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusing {
    /// Since when.
    pub since: Timestamp,
    /// What it said last.
    pub reason: String,
}

/// How a notifier is doing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct NotifierState {
    /// Tries in a row that failed.
    #[serde(default)]
    pub failures: u32,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Nothing is sent before this (back-off, `Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What the last failed try brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Deliveries that were given up since it last worked.
    #[serde(default)]
    pub given_up: u64,
    /// Of a notifier with several targets: those that take nothing, while others may. One that takes something again
    /// is taken out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refusing: BTreeMap<String, Refusing>,
    /// Results that were dropped because too many waited, since it last kept up.
    #[serde(default)]
    pub results_dropped: u64,
    /// Since when there is something that it was to be told, could not be, and is to be told when it works again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<Timestamp>,
    /// When it last took something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// How many it took, ever.
    #[serde(default)]
    pub delivered: u64,
}

impl NotifierState {
    /// Nothing that failed counts any more.
    pub fn works_again(&mut self) {
        (self.failures, self.given_up, self.failing_since) = (0, 0, None);
        (self.not_before, self.last_failure) = (None, None);
    }
}

/// The first wait after a failure.
pub const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// The longest wait after a failure, jitter aside.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A receiver may ask for at most this much patience by `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// How long to wait after this many failures in a row: doubling, with up to a quarter more by a hash of
/// `key`, so that many who failed together do not come back together.
pub fn backoff(failures: u32, key: &str) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ u64::from(failures), |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    doubled + doubled.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64 / 4.0)
}
