//! What is remembered of a check between runs.

use super::{flapping::Flapping, lookback::LookbackState};
use crate::model::{Exit, Name, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is remembered of a check between runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CheckState {
    /// The newest slot that was started, skipped or reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_slot: Option<Timestamp>,
    /// The last run, once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
    /// The slot of the run that failed last, while a retry is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_from: Option<Timestamp>,
    /// CIMAA's counter: runs in a row with an error, the last one taken in; `retry` after a critical one.
    #[serde(default)]
    pub failures: u32,
    /// Thresholds that are bad until they clear.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub thresholds: BTreeSet<String>,
    /// How often its state changed of late; kept where the policy asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping: Option<Flapping>,
    /// What its last run found worth knowing, by name: an event is made of it only when it changes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub infos: BTreeMap<Name, String>,
    /// A job that was started and has not ended: its slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_started: Option<Timestamp>,
    /// What a passive check reports on has begun, and its end was not reported: since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    /// How long its runs take.
    #[serde(default)]
    pub durations: Durations,
    /// Which minutes of its look-backs are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback: Option<Box<LookbackState>>,
}

/// The last run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LastRun {
    /// When it was started.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How long after its slot it was started.
    pub late: Duration,
    /// The worst severity it found; `None` when all was well.
    pub worst: Option<Severity>,
    /// One line.
    pub summary: String,
    /// How the command ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The one value, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// How long runs take: a count per power of two milliseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Durations {
    /// How many runs.
    pub count: u64,
    /// The longest, in milliseconds.
    pub max_ms: u64,
    /// `buckets[i]` counts runs shorter than `2^i` milliseconds (and not shorter than half of that).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<u32>,
}

impl Durations {
    /// Takes one run in.
    pub fn add(&mut self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.count += 1;
        self.max_ms = self.max_ms.max(ms);
        let bucket = (u64::BITS - ms.leading_zeros()).min(31) as usize;
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if self.buckets[bucket] == u32::MAX {
            // Halving all keeps the shape; a count that stops would bend it.
            self.buckets.iter_mut().for_each(|n| *n /= 2);
        }
        self.buckets[bucket] += 1;
    }

    /// An upper bound, within a factor of two, of the duration that `part` (0 to 1) of the runs stay below.
    pub fn quantile_ms(&self, part: f64) -> u64 {
        let total: u64 = self.buckets.iter().map(|n| u64::from(*n)).sum();
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += u64::from(*n);
            if seen as f64 >= part * total as f64 {
                return (1_u64 << i).min(self.max_ms);
            }
        }
        self.max_ms
    }
}
