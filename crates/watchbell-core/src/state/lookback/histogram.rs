//! How many rows there are by weekday and hour (S2.11), in local time.
//!
//! An hour is divided by how often it really was: the period is cut into local hours, and each hour of the week is
//! given the time that it had. So a weekday that occurs three times is divided by three, the hour that a clock change
//! skips has no time on that day and one that it repeats has twice as much, and the cut hours at both ends of the
//! period count as the part of an hour that they are. Nobody's zone is asked for a row: rows are counted by two
//! searches an hour.

use crate::model::Timestamp;
use jiff::tz::TimeZone;

/// An hour, in microseconds.
const HOUR_US: i64 = 3_600_000_000;
/// A day, in microseconds.
const DAY_US: i64 = 24 * HOUR_US;
/// 1970-01-01 was a Thursday; Monday is 0.
const EPOCH_WEEKDAY: i64 = 3;

/// Rows by weekday and hour.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// Rows from this time on are counted.
    pub from: Timestamp,
    /// Rows before this time are counted.
    pub until: Timestamp,
    /// By weekday, Monday first, and hour of the day.
    pub hours: [[Hour; 24]; 7],
}

/// One hour of the week.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Hour {
    /// Rows in the whole period.
    pub rows: u64,
    /// How much time the period has in this hour, in microseconds.
    pub time_us: i64,
}

/// Several hours of the week together.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Total {
    /// Rows in the whole period.
    pub rows: u64,
    /// Rows on average; `None` where the period does not show it.
    pub mean: Option<f64>,
}

impl Hour {
    /// How often the period has this hour.
    pub fn times(self) -> f64 {
        self.time_us as f64 / HOUR_US as f64
    }

    /// Rows on average in this hour; `None` where the period has none of it.
    pub fn mean(self) -> Option<f64> {
        (self.time_us > 0).then(|| self.rows as f64 / self.times())
    }
}

impl Histogram {
    /// Counts times in order from a time on and before another.
    pub fn of(times: &[Timestamp], zone: &TimeZone, from: Timestamp, until: Timestamp) -> Histogram {
        let mut hours = [[Hour::default(); 24]; 7];
        let mut next = times.partition_point(|time| *time < from);
        local_hours(zone, from, until, |piece| {
            let end = next + times[next..].partition_point(|time| *time < piece.end);
            let hour = &mut hours[piece.weekday][piece.hour];
            hour.rows += u64::try_from(end - next).unwrap_or(0);
            hour.time_us += piece.end.as_micros() - piece.start.as_micros();
            next = end;
        });
        Histogram { from, until, hours }
    }

    /// An average day of the week, from Monday as 0. Known where the period shows the whole day; one hour may be missing, as
    /// a clock change may skip it.
    pub fn weekday(&self, weekday: usize) -> Total {
        let hours = &self.hours[weekday % 7];
        let unknown = hours.iter().filter(|hour| hour.mean().is_none()).count();
        let mean = (unknown <= 1).then(|| hours.iter().filter_map(|hour| hour.mean()).sum());
        Total { rows: hours.iter().map(|hour| hour.rows).sum(), mean }
    }

    /// An hour of the day, on an average day.
    pub fn hour(&self, hour: usize) -> Total {
        let sum = self
            .hours
            .iter()
            .map(|day| day[hour % 24])
            .fold(Hour::default(), |a, b| Hour { rows: a.rows + b.rows, time_us: a.time_us + b.time_us });
        Total { rows: sum.rows, mean: sum.mean() }
    }

    /// An average week; known where every weekday is.
    pub fn week(&self) -> Total {
        let days = (0..7).map(|weekday| self.weekday(weekday));
        let mean = days.clone().map(|day| day.mean).sum::<Option<f64>>();
        Total { rows: days.map(|day| day.rows).sum(), mean }
    }

    /// The highest average of an hour; 0 where there are no rows.
    pub fn highest(&self) -> f64 {
        self.hours.iter().flatten().filter_map(|hour| hour.mean()).fold(0.0, f64::max)
    }
}

/// A part of one local hour.
struct Piece {
    start: Timestamp,
    end: Timestamp,
    weekday: usize,
    hour: usize,
}

/// Cuts a period where local hours begin and where the clock is set.
fn local_hours(zone: &TimeZone, from: Timestamp, until: Timestamp, mut each: impl FnMut(&Piece)) {
    let mut start = from;
    while start < until {
        let changes = zone.following(start.to_jiff()).map(|change| Timestamp::from_jiff(change.timestamp()));
        let change = changes.into_iter().find(|change| *change > start);
        let until_change = change.map_or(until, |change| change.min(until));
        let offset_us = i64::from(zone.to_offset(start.to_jiff()).seconds()) * 1_000_000;
        while start < until_change {
            let local_us = start.as_micros().saturating_add(offset_us);
            let hours = local_us.div_euclid(HOUR_US);
            let next = Timestamp::from_micros((hours + 1).saturating_mul(HOUR_US).saturating_sub(offset_us));
            let weekday = (local_us.div_euclid(DAY_US) + EPOCH_WEEKDAY).rem_euclid(7);
            let piece = Piece {
                start,
                end: next.min(until_change),
                weekday: usize::try_from(weekday).unwrap_or(0),
                hour: usize::try_from(hours.rem_euclid(24)).unwrap_or(0),
            };
            each(&piece);
            start = piece.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// Every so many minutes.
    fn rows(from: &str, until: &str, every_minutes: i64) -> Vec<Timestamp> {
        let (from, until) = (at(from).as_secs(), at(until).as_secs());
        (from..until).step_by(usize::try_from(every_minutes * 60).unwrap()).map(Timestamp::from_secs).collect()
    }

    /// S2.11: what occurs n times is divided by n, in local time, cut hours included.
    #[test]
    fn means_are_by_how_often_an_hour_was() {
        // (from, until, every so many minutes, weekday, hour, rows, times, mean)
        for (from, until, every, weekday, hour, rows_in, times, mean) in [
            // Four Mondays.
            ("2026-03-02T00:00:00+01:00", "2026-03-29T00:00:00+01:00", 1, 0, 9, 240, 4.0, Some(60.0)),
            // The Sunday that is not in it, and the one that is cut.
            ("2026-03-02T00:00:00+01:00", "2026-03-08T00:00:00+01:00", 1, 6, 9, 0, 0.0, None),
            ("2026-03-02T00:00:00+01:00", "2026-03-08T09:15:00+01:00", 1, 6, 9, 15, 0.25, Some(60.0)),
            // The hour that the clock skips was three times in four weeks.
            ("2026-03-02T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 1, 6, 2, 180, 3.0, Some(60.0)),
            ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 1, 6, 2, 0, 0.0, None),
            ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 1, 6, 3, 60, 1.0, Some(60.0)),
            // The hour that it repeats was there twice on that day.
            ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 1, 6, 2, 120, 2.0, Some(60.0)),
            ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 1, 6, 3, 60, 1.0, Some(60.0)),
        ] {
            let found = Histogram::of(&rows(from, until, every), &berlin(), at(from), at(until));
            let cell = found.hours[weekday][hour];
            assert_eq!(
                (cell.rows, cell.times(), cell.mean()),
                (rows_in, times, mean),
                "{from} {until} {weekday} {hour}"
            );
        }
    }

    /// S2.11: every row is in one hour, and totals agree with their parts.
    #[test]
    fn totals_are_of_all_rows() {
        let (from, until) = ("2026-10-12T00:00:00+02:00", "2026-10-26T00:00:00+01:00");
        let times = rows(from, until, 7);
        let found = Histogram::of(&times, &berlin(), at(from), at(until));
        let all = u64::try_from(times.len()).unwrap();
        assert_eq!(found.week().rows, all);
        assert_eq!((0..24).map(|hour| found.hour(hour).rows).sum::<u64>(), all);
        // A day is a day, also the Sunday of 25 hours.
        let sunday = found.weekday(6).mean.unwrap();
        assert!((sunday - 24.0 * 60.0 / 7.0).abs() < 1.0, "{sunday}");
        let week = found.week().mean.unwrap();
        assert!((week - 7.0 * 24.0 * 60.0 / 7.0).abs() < 2.0, "{week}");
        assert!(found.highest() >= 60.0 / 7.0);
    }

    #[test]
    fn what_is_not_in_the_period_does_not_count() {
        let (from, until) = (at("2026-03-02T10:00:00Z"), at("2026-03-02T11:00:00Z"));
        let times: Vec<Timestamp> =
            ["2026-03-02T09:59:59Z", "2026-03-02T10:00:00Z", "2026-03-02T10:59:59Z", "2026-03-02T11:00:00Z"]
                .map(at)
                .to_vec();
        let found = Histogram::of(&times, &TimeZone::UTC, from, until);
        assert_eq!(found.hours[0][10], Hour { rows: 2, time_us: HOUR_US });
        assert_eq!(found.weekday(0), Total { rows: 2, mean: None });
        assert_eq!(found.week(), Total { rows: 2, mean: None });
        assert_eq!(found.hour(10), Total { rows: 2, mean: Some(2.0) });
        let empty = Histogram::of(&times, &TimeZone::UTC, until, from);
        assert_eq!((empty.week().rows, empty.highest()), (0, 0.0));
    }

    /// A zone whose clock is set by half an hour, and one that is off by 45 minutes.
    #[test]
    fn odd_zones_are_cut_where_their_hours_are() {
        for (zone, from, until) in [
            ("Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z"),
            ("Asia/Kathmandu", "2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            let times = rows(from, until, 1);
            let found = Histogram::of(&times, &zone, at(from), at(until));
            let mut expect = [[0u64; 24]; 7];
            for time in &times {
                let local = zone.to_datetime(time.to_jiff());
                let weekday = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap();
                expect[weekday][usize::try_from(local.hour()).unwrap()] += 1;
            }
            assert_eq!(found.hours.map(|day| day.map(|hour| hour.rows)), expect, "{zone:?}");
            let whole: i64 = found.hours.iter().flatten().map(|hour| hour.time_us).sum();
            assert_eq!(whole, 48 * HOUR_US);
        }
    }
}
