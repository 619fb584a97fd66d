//! When is it due next: intervals counted from the epoch, cron expressions, CIMAA's ticks, and the spread
//! that keeps many checks (and many agents) from starting at once. Pure functions of time.
//!
//! A *slot* is a time at which a check is due. Slots follow from the schedule alone, so they are the same before
//! and after a restart and on every agent; when a check really starts is not of interest here.

pub mod cron;

use crate::model::Timestamp;
use cron::Cron;
use jiff::tz::TimeZone;
use std::{fmt, time::Duration};

/// [`Schedule::missed_between`] lists at most this many slots.
pub const MISSED_SLOTS_MAX: usize = 1_000;

/// [`Schedule::missed_between`] looks back this far from its end and no further: 100 years of 366 days. A clock that
/// starts in 1970 is within it, and counting a cron expression over it takes some milliseconds.
pub const MISSED_SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// What [`Schedule::period_hint`] answers where there are no two slots to measure.
pub const PERIOD_HINT_DEFAULT: Duration = Duration::from_secs(86_400);

/// When a check is due.
#[derive(Clone, Debug, PartialEq)]
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
    /// CIMAA: due in every tick whose number `interval` divides, at the tick's start plus `offset`.
    ///
    /// Tick k starts at `k * base` after the epoch, so with a base of 60 s and an interval of 5 a check runs in the
    /// minutes 0, 5, 10, ... of each hour, as CIMAA's manual says ("every 5 minutes on the hour"). CIMAA's own
    /// formula `floor(now / base) + 1` gives these very numbers: it is taken before the agent sleeps until the next
    /// tick starts, and names the tick that it wakes up in.
    Ticks {
        /// Length of a tick.
        base: Duration,
        /// Every how many ticks.
        interval: u32,
        /// The check's place inside its tick, less than `base`.
        offset: Duration,
    },
}

/// The slots that went by while nothing could run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// The latest of them, oldest first, as many as were asked for.
    pub slots: Vec<Timestamp>,
    /// How many there were in all.
    pub total: u64,
}

impl Schedule {
    /// Every so often, at the place inside the period that the name is given by [`spread`].
    pub fn every(period: Duration, name: &str) -> Schedule {
        Schedule::Every { period, offset: spread(name, period) }
    }

    /// The first slot strictly after `t`; `None` if there is none (a cron expression for 30 February).
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Cron { cron, zone } => cron.next_after(t, zone),
            Schedule::Every { .. } | Schedule::Ticks { .. } => {
                let grid = self.grid()?;
                grid.slot(grid.index(t) + 1)
            }
        }
    }

    /// The slots in `after < slot <= until`: all are counted, the latest `limit` of them listed (never more than
    /// [`MISSED_SLOTS_MAX`]).
    ///
    /// The work is bounded whatever the time between: [`MISSED_SPAN_MAX`] before `until` is the earliest slot
    /// counted; an interval is a division, a cron expression is counted month by month.
    pub fn missed_between(&self, after: Timestamp, until: Timestamp, limit: usize) -> Missed {
        let after = after.max(until - MISSED_SPAN_MAX);
        let total = self.count_between(after, until);
        let wanted = limit.min(MISSED_SLOTS_MAX) as u64;
        let mut t = if total > wanted { self.leave(wanted, after, until) } else { after };
        let mut slots = Vec::new();
        while let Some(slot) = self.next_after(t).filter(|slot| *slot <= until && (slots.len() as u64) < wanted) {
            slots.push(slot);
            t = slot;
        }
        Missed { slots, total }
    }

    /// The time between the next two slots after `at`: how long a run has before the next one. A day where there
    /// are no two ([`PERIOD_HINT_DEFAULT`]).
    pub fn period_hint(&self, at: Timestamp) -> Duration {
        let first = self.next_after(at);
        let second = first.and_then(|first| self.next_after(first));
        first.zip(second).map_or(PERIOD_HINT_DEFAULT, |(first, second)| second.since(first))
    }

    /// CIMAA's retry: `ticks` ticks (at least one) after the tick at which the check failed.
    ///
    /// `failed_at` is the slot of the run that failed, not the time its result came. While a check of CIMAA's fails,
    /// soft or hard, its retries replace its interval: next is this and not the next multiple of the interval, until
    /// a run is well.
    pub fn retry_after_ticks(failed_at: Timestamp, base: Duration, ticks: u32, offset: Duration) -> Timestamp {
        let base_us = i128::from(micros(base).max(1));
        let tick = i128::from(failed_at.as_micros()).div_euclid(base_us) + i128::from(ticks.max(1));
        let slot = tick * base_us + i128::from(micros(offset)) % base_us;
        Timestamp::from_micros(i64::try_from(slot).unwrap_or(Timestamp::MAX.as_micros()))
    }

    fn count_between(&self, after: Timestamp, until: Timestamp) -> u64 {
        match self {
            Schedule::Cron { cron, zone } => cron.count_between(after, until, zone),
            Schedule::Every { .. } | Schedule::Ticks { .. } => {
                self.grid().map_or(0, |grid| u64::try_from(grid.index(until) - grid.index(after)).unwrap_or(0))
            }
        }
    }

    /// The latest time between the two, to the microsecond, after which `count` slots or more are left. Halving finds
    /// it: the number of slots left only falls as time goes on.
    fn leave(&self, count: u64, after: Timestamp, until: Timestamp) -> Timestamp {
        let (mut enough, mut too_late) = (after.as_micros(), until.as_micros());
        while too_late - enough > 1 {
            let middle = enough + (too_late - enough) / 2;
            if self.count_between(Timestamp::from_micros(middle), until) >= count {
                enough = middle;
            } else {
                too_late = middle;
            }
        }
        Timestamp::from_micros(enough)
    }

    /// The even grid of an interval.
    fn grid(&self) -> Option<Grid> {
        let (period, offset) = match self {
            Schedule::Every { period, offset } => (*period, *offset),
            Schedule::Ticks { base, interval, offset } => (base.saturating_mul((*interval).max(1)), *offset),
            Schedule::Cron { .. } => return None,
        };
        let period_us = i128::from(micros(period).max(1));
        Some(Grid { period_us, offset_us: i128::from(micros(offset)) % period_us })
    }
}

/// Slots at `n * period + offset`.
struct Grid {
    period_us: i128,
    offset_us: i128,
}

impl Grid {
    /// The number of the last slot at or before `t`.
    fn index(&self, t: Timestamp) -> i128 {
        (i128::from(t.as_micros()) - self.offset_us).div_euclid(self.period_us)
    }

    fn slot(&self, index: i128) -> Option<Timestamp> {
        let slot = index.checked_mul(self.period_us)? + self.offset_us;
        i64::try_from(slot).ok().map(Timestamp::from_micros)
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// Where inside a period a name's slot lies: a hash of the name, evenly spread over `[0, period)` in whole
/// milliseconds. The same on every machine and in every version, so that slots survive restarts and upgrades.
pub fn spread(name: &str, period: Duration) -> Duration {
    // FNV-1a (its authors' 64-bit constants) takes the bytes in, the finalizer of MurmurHash3 mixes the bits: FNV
    // alone leaves names that differ in the last letter close together.
    let mut hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(((u128::from(hash) * u128::from(period_ms)) >> 64) as u64)
}

impl fmt::Display for Schedule {
    /// `every 1m`, ``cron `*/5 * * * *` Europe/Berlin``, `every 5 ticks of 60s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Every { period, .. } => write!(f, "every {}", Units(*period)),
            Schedule::Cron { cron, zone } => {
                write!(f, "cron `{cron}`")?;
                zone.iana_name().map_or(Ok(()), |name| write!(f, " {name}"))
            }
            Schedule::Ticks { base, interval, .. } => {
                match interval {
                    0 | 1 => f.write_str("every tick of ")?,
                    n => write!(f, "every {n} ticks of ")?,
                }
                if base.subsec_nanos() == 0 { write!(f, "{}s", base.as_secs()) } else { write!(f, "{}", Units(*base)) }
            }
        }
    }
}

/// A duration as config writes it: `1h30m`, `250ms`. Less than a millisecond is not shown.
struct Units(Duration);

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = self.0.as_millis();
        if rest_ms == 0 {
            return f.write_str("0s");
        }
        for (unit, length_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let n = rest_ms / length_ms;
            rest_ms %= length_ms;
            if n > 0 {
                write!(f, "{n}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(text: &str, zone: &str) -> Schedule {
        Schedule::Cron { cron: Cron::parse(text).unwrap(), zone: TimeZone::get(zone).unwrap() }
    }

    fn ticks(interval: u32, offset: Duration) -> Schedule {
        Schedule::Ticks { base: MINUTE, interval, offset }
    }

    #[test]
    fn slots() {
        let offset = 7 * SECOND;
        for (schedule, from, expect) in [
            (Schedule::Every { period: MINUTE, offset }, "2026-03-04T10:00:06.999999Z", "2026-03-04T10:00:07Z"),
            (Schedule::Every { period: MINUTE, offset }, "2026-03-04T10:00:07Z", "2026-03-04T10:01:07Z"),
            (Schedule::Every { period: MINUTE, offset }, "1969-12-31T23:59:07Z", "1970-01-01T00:00:07Z"),
            (
                Schedule::Every { period: 7 * SECOND, offset: Duration::ZERO },
                "1970-01-01T00:00:13Z",
                "1970-01-01T00:00:14Z",
            ),
            (cron("0 9 * * *", "Europe/Berlin"), "2026-03-04T10:00:00Z", "2026-03-05T08:00:00Z"),
            (ticks(1, offset), "2026-03-04T10:00:07Z", "2026-03-04T10:01:07Z"),
            (ticks(5, offset), "2026-03-04T10:00:07Z", "2026-03-04T10:05:07Z"),
        ] {
            assert_eq!(schedule.next_after(at(from)), Some(at(expect)), "{schedule} after {from}");
        }
    }

    /// S3.3: interval numbers are counted from the epoch; a check with interval 5 falls on multiples of 5.
    #[test]
    fn an_interval_of_5_falls_on_multiples_of_5() {
        let schedule = ticks(5, 12 * SECOND);
        let mut t = at("2026-03-04T09:57:01Z");
        for expect in ["10:00", "10:05", "10:10", "10:15"] {
            t = schedule.next_after(t).unwrap();
            assert_eq!(t, at(&format!("2026-03-04T{expect}:12Z")));
            assert_eq!(t.as_secs() / 60 % 5, 0);
        }
    }

    /// S3.3: after a failure retries run every retry_interval, counted from the tick that failed (the scenarios of
    /// CIMAA's own manual: a check with interval 5 fails in tick 5).
    #[test]
    fn retries_replace_the_interval() {
        let offset = 12 * SECOND;
        for (retry_interval, expect) in
            [(1, [6, 7, 8, 9]), (2, [7, 9, 11, 13]), (3, [8, 11, 14, 17]), (5, [10, 15, 20, 25])]
        {
            let mut slot = Timestamp::from_secs(5 * 60 + 12);
            for tick in expect {
                slot = Schedule::retry_after_ticks(slot, MINUTE, retry_interval, offset);
                assert_eq!(slot, Timestamp::from_secs(tick * 60 + 12), "retry_interval {retry_interval}");
            }
        }
        // Well again in tick 11: back to the multiples of 5.
        assert_eq!(
            ticks(5, offset).next_after(Timestamp::from_secs(11 * 60 + 12)),
            Some(Timestamp::from_secs(15 * 60 + 12))
        );
        // No ticks would be the same slot again.
        let t = Timestamp::from_secs(60);
        assert_eq!(Schedule::retry_after_ticks(t, MINUTE, 0, Duration::ZERO), Timestamp::from_secs(120));
    }

    #[test]
    fn missed() {
        let minutely = Schedule::Every { period: MINUTE, offset: Duration::ZERO };
        let missed = minutely.missed_between(at("2026-03-04T10:00:00Z"), at("2026-03-04T10:05:00Z"), 2);
        assert_eq!(missed.total, 5);
        assert_eq!(missed.slots, [at("2026-03-04T10:04:00Z"), at("2026-03-04T10:05:00Z")]);
        let missed = minutely.missed_between(at("2026-03-04T10:00:00Z"), at("2026-03-04T10:00:59Z"), 10);
        assert_eq!(missed, Missed::default());
        // Backwards is nothing.
        assert_eq!(
            minutely.missed_between(at("2026-03-04T10:00:00Z"), at("2026-03-01T00:00:00Z"), 9),
            Missed::default()
        );
        let missed = minutely.missed_between(at("2026-03-04T10:00:00Z"), at("2026-03-04T10:05:00Z"), 0);
        assert_eq!((missed.total, missed.slots.len()), (5, 0));
        // Berlin's clock change on 2026-03-29: the fixed job is made up for, once.
        let missed = cron("30 2 * * *", "Europe/Berlin").missed_between(
            at("2026-03-28T00:00:00Z"),
            at("2026-03-30T12:00:00Z"),
            2,
        );
        assert_eq!(missed.total, 3);
        assert_eq!(missed.slots, [at("2026-03-29T01:00:00Z"), at("2026-03-30T00:30:00Z")]);
    }

    /// A clock that stood at the epoch: the count is exact and the latest slots are found without a walk.
    #[test]
    fn missed_for_decades() {
        let until = at("2026-03-04T10:05:00Z");
        let schedule = cron("* * * * *", "Europe/Berlin");
        let missed = schedule.missed_between(Timestamp::ZERO, until, usize::MAX);
        assert_eq!(missed.total, until.as_secs() as u64 / 60);
        assert_eq!(missed.slots.len(), MISSED_SLOTS_MAX);
        assert_eq!(missed.slots.last(), Some(&until));
        let missed = schedule.missed_between(Timestamp::from_micros(i64::MIN), until, 1);
        assert_eq!(missed.total, MISSED_SPAN_MAX.as_secs() / 60);
        let every = Schedule::Every { period: Duration::from_nanos(1), offset: Duration::ZERO };
        assert_eq!(every.missed_between(Timestamp::ZERO, until, 3).total, until.as_micros() as u64);
    }

    #[test]
    fn odd_values_are_no_trouble() {
        let odd = [
            Schedule::Every { period: Duration::ZERO, offset: Duration::MAX },
            Schedule::Every { period: Duration::MAX, offset: Duration::ZERO },
            Schedule::Ticks { base: Duration::ZERO, interval: 0, offset: Duration::MAX },
            Schedule::Ticks { base: Duration::MAX, interval: u32::MAX, offset: Duration::MAX },
        ];
        for schedule in odd {
            for t in [i64::MIN, -1, 0, 1, i64::MAX] {
                let t = Timestamp::from_micros(t);
                assert!(schedule.next_after(t).is_none_or(|next| next > t), "{schedule:?}");
                schedule.missed_between(t, Timestamp::MAX, 3);
                schedule.period_hint(t);
            }
        }
        Schedule::retry_after_ticks(Timestamp::from_micros(i64::MAX), Duration::MAX, u32::MAX, Duration::MAX);
    }

    #[test]
    fn period_hints() {
        let t = at("2026-03-04T10:00:00Z");
        for (schedule, expect_secs) in [
            (Schedule::every(MINUTE, "disk"), 60),
            (ticks(5, SECOND), 300),
            (cron("*/10 * * * *", "UTC"), 600),
            (cron("0 0 30 2 *", "UTC"), PERIOD_HINT_DEFAULT.as_secs()),
        ] {
            assert_eq!(schedule.period_hint(t), Duration::from_secs(expect_secs), "{schedule}");
        }
    }

    #[test]
    fn shown() {
        for (schedule, expect) in [
            (Schedule::every(MINUTE, "disk"), "every 1m"),
            (Schedule::every(Duration::from_millis(5_400_250), "disk"), "every 1h30m250ms"),
            (Schedule::every(86_400 * SECOND, "disk"), "every 1d"),
            (cron("*/5 * * * *", "Europe/Berlin"), "cron `*/5 * * * *` Europe/Berlin"),
            (cron("@daily", "UTC"), "cron `@daily` UTC"),
            (ticks(5, SECOND), "every 5 ticks of 60s"),
            (ticks(1, SECOND), "every tick of 60s"),
            (
                Schedule::Ticks { base: Duration::from_millis(100), interval: 5, offset: Duration::ZERO },
                "every 5 ticks of 100ms",
            ),
        ] {
            assert_eq!(schedule.to_string(), expect);
        }
    }

    /// S3.16: many checks, and many agents with the same check, do not start at once. 10,000 names in 60 cells of a
    /// minute: by chi-squared with 59 degrees of freedom, one even spread in a million passes 122.
    #[test]
    fn names_are_spread_evenly() {
        let checks = ["disk", "load", "ntp", "http", "queue", "mail", "ssh", "dns", "swap", "procs"];
        let names: Vec<String> = (0..1_000)
            .flat_map(|host| checks.map(|check| format!("//web-{host}.example.com/system/{check}")))
            .collect();
        for period in [MINUTE, 60 * MINUTE, Duration::from_millis(60)] {
            let mut cells = [0_u32; 60];
            for name in &names {
                let offset = spread(name, period);
                assert!(offset < period && offset.subsec_nanos().is_multiple_of(1_000_000));
                cells[(offset.as_nanos() * 60 / period.as_nanos()) as usize] += 1;
            }
            let mean = names.len() as f64 / 60.0;
            let chi_squared: f64 = cells.iter().map(|n| (f64::from(*n) - mean).powi(2) / mean).sum();
            assert!(chi_squared < 122.0, "{chi_squared} over {period:?}: {cells:?}");
        }
        // One check on a thousand hosts is spread as well as ten on one.
        let mut seconds: Vec<u64> = names.iter().step_by(10).map(|name| spread(name, MINUTE).as_secs()).collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert_eq!(seconds.len(), 60);
    }

    /// Slots must not move with a new version: a change of the hash is a change that users see.
    #[test]
    fn the_spread_is_fixed() {
        for (name, expect_ms) in [("", 56206), ("//web-1/system/disk", 9657), ("//web-2/system/disk", 33026)] {
            assert_eq!(spread(name, MINUTE).as_millis(), expect_ms, "{name}");
        }
        assert_eq!(spread("disk", Duration::ZERO), Duration::ZERO);
        assert_eq!(spread("disk", Duration::from_micros(900)), Duration::ZERO);
    }

    proptest! {
        /// The latest slots, found by halving, are those of a walk.
        #[test]
        fn missed_agrees_with_a_walk(
            text in prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "15 */3 * * mon", "0 0 1 * *"]),
            start in 1_700_000_000..1_800_000_000_i64, days in 0..90_i64, limit in 0..40_usize,
        ) {
            let schedule = cron(text, "America/New_York");
            let (after, until) = (Timestamp::from_secs(start), Timestamp::from_secs(start + days * 86_400));
            let mut walk = Vec::new();
            let mut t = after;
            while let Some(slot) = schedule.next_after(t).filter(|slot| *slot <= until) {
                walk.push(slot);
                t = slot;
            }
            let missed = schedule.missed_between(after, until, limit);
            prop_assert_eq!(missed.total, walk.len() as u64);
            prop_assert_eq!(&missed.slots[..], &walk[walk.len().saturating_sub(limit)..]);
        }
    }
}
