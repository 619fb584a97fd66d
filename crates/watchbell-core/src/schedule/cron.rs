//! Cron expressions as Debian's cron understands them, and the instants at which they fire.
//!
//! This file holds the sets an expression stands for and the search over them; `parse` reads the text and
//! `explain` says it in English. Slots are whole civil minutes of a zone. What Debian's cron(8) and crontab(5) lay
//! down and this keeps to:
//!
//! - Day-of-month and weekday combine by OR, unless one of the two fields starts with `*`: then by AND.
//! - A job with a fixed minute and hour (neither field starts with `*`) runs once over a clock change: one whose
//!   time is skipped runs right after the jump, one in the repeated hour runs the first time only.
//! - A job with `*` at the start of minute or hour follows the wall clock: nothing in a skipped hour, both times in
//!   a repeated one.
//! - Changes of three hours or more are taken for corrections: the new time simply holds.
//!
//! One difference: where several skipped times of one job meet at the same jump, Debian's cron starts the job once
//! for each, here it is one slot.

mod explain;
mod parse;

use crate::model::Timestamp;
use jiff::{
    ToSpan,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};
use parse::Dialect;
use std::fmt;

/// How far ahead [`Cron::next_after`] looks. The longest wait in the calendar is 40 years (a 29 February on a given
/// weekday, across a year such as 2100); the rest is room for a slot that a clock change swallows.
pub const SEARCH_YEARS_MAX: i64 = 90;

/// Clock changes shorter than this are daylight saving's, longer ones are corrections (cron(8)).
const CLOCK_CHANGE_SECS_MAX: i32 = 3 * 3600;

/// A cron expression.
///
/// ```
/// use watchbell_core::{model::Timestamp, schedule::cron::Cron};
/// let cron = Cron::parse("*/5 8-18 * * mon-fri").unwrap();
/// let friday: Timestamp = "2026-03-06T18:55:00Z".parse().unwrap();
/// let next = cron.next_after(friday, &jiff::tz::TimeZone::UTC);
/// assert_eq!(next, "2026-03-09T08:00:00Z".parse().ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    /// As it was written.
    text: String,
    /// Bit n is minute n.
    minutes: u64,
    /// Bit n is hour n.
    hours: u32,
    /// Bit n is month n, from 1.
    months: u16,
    days: Days,
    weekdays: Weekdays,
    /// Day and weekday must both hold (one of the fields starts with `*` or is `?`); else one is enough.
    both: bool,
    /// Neither minute nor hour starts with `*`.
    fixed: bool,
}

/// What stands in the day-of-month field.
#[derive(Clone, Debug, Default, PartialEq)]
struct Days {
    /// Bit n is day n, from 1.
    plain: u32,
    /// Bit n is the day n before the last one (`L` is bit 0, `L-3` bit 3).
    from_end: u32,
    /// Bit n: the weekday (Monday to Friday) nearest to day n, in the same month (`15W`).
    nearest: u32,
    /// The last Monday to Friday of the month (`LW`).
    last_weekday: bool,
}

/// What stands in the weekday field. Bit 0 is Sunday, bit 6 Saturday.
#[derive(Clone, Debug, Default, PartialEq)]
struct Weekdays {
    plain: u8,
    /// The last such day of the month (`5L`).
    last: u8,
    /// The first to fifth such day of the month (`mon#2`).
    nth: [u8; 5],
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    /// The byte in the text where the trouble starts.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CronError {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// Reads five fields, or a word such as `@daily`.
    ///
    /// Numbers, names (any case), `*`, ranges `a-b`, lists `a,b`, steps `*/n`, `a-b/n` and `a/n` (from `a` to the
    /// end of the field, which Debian's cron does not know and other crons do); 7 is Sunday. In the day field also
    /// `?` (as `*`), `L`, `L-3`, `LW`, `15W`; in the weekday field `?`, `5L` (the last Friday), `mon#2`.
    ///
    /// A date that never comes (30 February) parses; see [`Cron::never_fires`].
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        parse::cron(text, Dialect::Debian)
    }

    /// The same as a flake's own parser read it, which also took ranges that go round the end of their field (`22-3` is
    /// 22, 23, 0, 1, 2 and 3), and `@anually`.
    pub fn parse_flake(text: &str) -> Result<Cron, CronError> {
        parse::cron(text, Dialect::Flake)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether neither minute nor hour starts with `*`: a job for a time of day, which runs once whatever the clock
    /// does.
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Whether no year has a day that this names (`0 0 30 2 *`).
    pub fn never_fires(&self) -> bool {
        // The calendar knows fourteen years, one for each weekday of 1 January with a leap day and without. The years
        // 2000 to 2027 are all of them.
        !(2000..2028).any(|year| (1..=12).any(|month| self.has_month(month) && self.days_in(year, month) != 0))
    }

    /// The first slot strictly after `t`, in the civil time of `zone`. `None` if there is none in
    /// [`SEARCH_YEARS_MAX`] years.
    pub fn next_after(&self, t: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = clamp(t);
        let years = jiff::SignedDuration::from_hours(SEARCH_YEARS_MAX * 366 * 24);
        let end = start.saturating_add(years).unwrap_or(jiff::Timestamp::MAX);
        for stretch in Stretches::new(self, zone, start, end) {
            if let Some(slot) = self.next_civil(stretch.from, stretch.to) {
                return stretch.offset.to_timestamp(slot).ok().map(Timestamp::from_jiff);
            }
            if stretch.made_up {
                return stretch.jump_at.map(Timestamp::from_jiff);
            }
        }
        None
    }

    /// How many slots lie after `after`, up to and including `until`. Work grows with the months between, not with
    /// the slots.
    pub fn count_between(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> u64 {
        let mut total = 0;
        for stretch in Stretches::new(self, zone, clamp(after), clamp(until)) {
            total += self.count_civil(stretch.from, stretch.to);
            // The time right after the jump may be a slot of its own, and is then counted in the next stretch.
            let also_due = stretch.lands_on.is_some_and(|civil| self.matches(civil));
            total += u64::from(stretch.made_up && !also_due);
        }
        total
    }

    fn has_month(&self, month: i8) -> bool {
        self.months >> month & 1 == 1
    }

    fn matches(&self, civil: DateTime) -> bool {
        civil.second() == 0
            && self.minutes >> civil.minute() & 1 == 1
            && self.hours >> civil.hour() & 1 == 1
            && self.day_matches(civil.date())
    }

    fn day_matches(&self, date: Date) -> bool {
        self.has_month(date.month()) && self.days_in(date.year(), date.month()) >> date.day() & 1 == 1
    }

    /// The days of a month on which this is due, bit n for day n. The month field is not looked at.
    fn days_in(&self, year: i16, month: i8) -> u32 {
        let Ok(first) = Date::new(year, month, 1) else { return 0 };
        let (length, starts_on) = (first.days_in_month() as u32, first.weekday().to_sunday_zero_offset() as u32);
        let (days, weekdays) = (self.days.of(length, starts_on), self.weekdays.of(length, starts_on));
        if self.both { days & weekdays } else { days | weekdays }
    }

    /// The first matching civil minute at or after `from` and before `to`.
    fn next_civil(&self, from: DateTime, to: DateTime) -> Option<DateTime> {
        let mut month = from.date().first_of_month();
        while month.to_datetime(jiff::civil::Time::midnight()) < to && from < to {
            let mut days = if self.has_month(month.month()) { self.days_in(month.year(), month.month()) } else { 0 };
            if month == from.date().first_of_month() {
                days &= u32::MAX << from.day();
            }
            while days != 0 {
                let date = Date::new(month.year(), month.month(), days.trailing_zeros() as i8).ok()?;
                let earliest = if date == from.date() { (from.hour(), from.minute()) } else { (0, 0) };
                if let Some((hour, minute)) = self.next_time(earliest) {
                    return Some(date.at(hour, minute, 0, 0)).filter(|found| *found < to);
                }
                days &= days - 1;
            }
            month = month.checked_add(1.month()).ok()?;
        }
        None
    }

    /// The first matching hour and minute of a day, at or after one.
    fn next_time(&self, (hour, minute): (i8, i8)) -> Option<(i8, i8)> {
        let minutes_left = self.minutes & u64::MAX << minute;
        if self.hours >> hour & 1 == 1 && minutes_left != 0 {
            return Some((hour, minutes_left.trailing_zeros() as i8));
        }
        let hours_left = self.hours & (u32::MAX << hour) << 1;
        (hours_left != 0).then(|| (hours_left.trailing_zeros() as i8, self.minutes.trailing_zeros() as i8))
    }

    /// Matching civil minutes at or after `from` and before `to`.
    fn count_civil(&self, from: DateTime, to: DateTime) -> u64 {
        if from >= to {
            return 0;
        }
        let a_day = u64::from(self.hours.count_ones() * self.minutes.count_ones());
        let mut total = 0;
        let mut month = from.date().first_of_month();
        while month <= to.date() {
            if self.has_month(month.month()) {
                let mut days = self.days_in(month.year(), month.month());
                if month == from.date().first_of_month() {
                    days &= u32::MAX << from.day();
                }
                if month == to.date().first_of_month() {
                    days &= !(u32::MAX << to.day());
                }
                total += u64::from(days.count_ones()) * a_day;
            }
            let Ok(next) = month.checked_add(1.month()) else { break };
            month = next;
        }
        // Whole days from `from`'s to the one before `to`'s were counted: the ends need their parts.
        let start = if self.day_matches(from.date()) { self.times_before(from) } else { 0 };
        let end = if self.day_matches(to.date()) { self.times_before(to) } else { 0 };
        (total + end).saturating_sub(start)
    }

    /// Matching times of a day before this one's hour, minute and second.
    fn times_before(&self, civil: DateTime) -> u64 {
        let hours = (self.hours & !(u32::MAX << civil.hour())).count_ones();
        let mut total = hours * self.minutes.count_ones();
        if self.hours >> civil.hour() & 1 == 1 {
            total += (self.minutes & !(u64::MAX << civil.minute())).count_ones();
        }
        u64::from(total)
    }
}

impl Days {
    /// The days of a month this long that starts on this weekday (0 is Sunday), bit n for day n.
    fn of(&self, length: u32, starts_on: u32) -> u32 {
        let weekday = |day: u32| (starts_on + day - 1) % 7;
        let mut days = self.plain;
        for back in (0..length).filter(|back| self.from_end >> back & 1 == 1) {
            days |= 1 << (length - back);
        }
        for day in (1..=length).filter(|day| self.nearest >> day & 1 == 1) {
            days |= 1
                << match weekday(day) {
                    6 if day == 1 => 3,
                    6 => day - 1,
                    0 if day == length => day - 2,
                    0 => day + 1,
                    _ => day,
                };
        }
        if self.last_weekday {
            let back = match weekday(length) {
                6 => 1,
                0 => 2,
                _ => 0,
            };
            days |= 1 << (length - back);
        }
        days & !(u32::MAX.checked_shl(length + 1).unwrap_or(0)) & !1
    }
}

impl Weekdays {
    /// As [`Days::of`].
    fn of(&self, length: u32, starts_on: u32) -> u32 {
        (1..=length).fold(0, |days, day| {
            let bit = 1_u8 << ((starts_on + day - 1) % 7);
            let nth = self.nth[(day as usize - 1) / 7] & bit != 0;
            let last = day + 7 > length && self.last & bit != 0;
            days | u32::from(self.plain & bit != 0 || nth || last) << day
        })
    }
}

/// A time between two clock changes, as one expression sees it: civil minutes run straight through it.
struct Stretch {
    offset: Offset,
    /// The first civil minute that counts.
    from: DateTime,
    /// The first that no longer does.
    to: DateTime,
    /// The clock change that ends it.
    jump_at: Option<jiff::Timestamp>,
    /// The civil time right after the change.
    lands_on: Option<DateTime>,
    /// A slot was skipped by the change and is made up for right after it.
    made_up: bool,
}

/// The stretches that cover the time after `at`, up to and including `end`.
struct Stretches<'a> {
    cron: &'a Cron,
    zone: &'a TimeZone,
    at: jiff::Timestamp,
    end: jiff::Timestamp,
    offset: Offset,
    /// The first civil minute of the next stretch; `None` when there is no more.
    from: Option<DateTime>,
}

impl<'a> Stretches<'a> {
    fn new(cron: &'a Cron, zone: &'a TimeZone, at: jiff::Timestamp, end: jiff::Timestamp) -> Stretches<'a> {
        let offset = zone.to_offset(at);
        let mut from = floor_minute(offset.to_datetime(at)).checked_add(1.minute()).ok();
        if cron.fixed {
            from = from.max(told_until(zone, at, offset));
        }
        Stretches { cron, zone, at, end, offset, from }
    }
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let from = self.from.take()?;
        let old = self.offset;
        let past_end = floor_minute(old.to_datetime(self.end)).saturating_add(1.minute());
        let change = self.zone.following(self.at).next().filter(|change| change.timestamp() <= self.end);
        let Some(change) = change else {
            return Some(Stretch { offset: old, from, to: past_end, jump_at: None, lands_on: None, made_up: false });
        };
        let (at, new) = (change.timestamp(), change.offset());
        let (leaves, lands) = (ceil_minute(old.to_datetime(at)), ceil_minute(new.to_datetime(at)));
        let shift_secs = new.seconds() - old.seconds();
        let once = self.cron.fixed && shift_secs.abs() < CLOCK_CHANGE_SECS_MAX;
        let made_up = once && shift_secs > 0 && self.cron.next_civil(from.max(leaves), lands).is_some();
        self.at = at;
        self.offset = new;
        // Back in time: what the repeated hour holds was told the first time.
        self.from = Some(if once && shift_secs < 0 { leaves.max(from) } else { lands });
        Some(Stretch { offset: old, from, to: leaves, jump_at: Some(at), lands_on: Some(lands), made_up })
    }
}

/// If `at` lies in an hour that is being repeated: the civil minute up to which jobs with a fixed time have run.
fn told_until(zone: &TimeZone, at: jiff::Timestamp, offset: Offset) -> Option<DateTime> {
    let tick = jiff::SignedDuration::from_nanos(1);
    let change = zone.preceding(at.checked_add(tick).ok()?).next()?;
    let before = zone.to_offset(change.timestamp().checked_sub(tick).ok()?);
    let back_secs = before.seconds() - offset.seconds();
    (back_secs > 0 && back_secs < CLOCK_CHANGE_SECS_MAX).then(|| ceil_minute(before.to_datetime(change.timestamp())))
}

fn floor_minute(civil: DateTime) -> DateTime {
    civil.date().at(civil.hour(), civil.minute(), 0, 0)
}

fn ceil_minute(civil: DateTime) -> DateTime {
    let floor = floor_minute(civil);
    if floor == civil { civil } else { floor.saturating_add(1.minute()) }
}

/// The calendar library ends in the years -9999 and 9999; beyond them is the end.
fn clamp(t: Timestamp) -> jiff::Timestamp {
    let end = if t < Timestamp::ZERO { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(t.as_micros()).unwrap_or(end)
}

#[cfg(test)]
mod tests;
