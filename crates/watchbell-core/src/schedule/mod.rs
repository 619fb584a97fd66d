//! When is it due next: intervals counted from the epoch, cron expressions, CIMAA's ticks, and the spread
//! that keeps many checks (and many agents) from starting at once. Pure functions of time.

pub mod cron;

use crate::model::Timestamp;
use cron::Cron;
use jiff::tz::TimeZone;
use std::time::Duration;

/// When a check is due.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At `n * period + offset` for whole n, counted from the epoch.
    Every {
        /// More than zero.
        period: Duration,
        /// Less than `period`: the check's place inside it, see [`spread`].
        offset: Duration,
    },
    /// When a cron expression says so, in a zone's civil time.
    Cron {
        /// The expression.
        cron: Cron,
        /// The zone.
        zone: TimeZone,
    },
    /// CIMAA: tick numbers are `floor(now / base) + 1`; due in ticks that `interval` divides.
    Ticks {
        /// Length of a tick.
        base: Duration,
        /// Every how many ticks.
        interval: u32,
        /// The check's place inside its tick.
        offset: Duration,
    },
}
