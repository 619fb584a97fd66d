//! Look-backs: how many rows a window must hold, and which minutes are to be judged now.
//!
//! A minute is judged once, by the first run that begins after it and gets an answer. After an outage the clock is
//! walked back from now: ten windows long, minute by minute, as dwmon does (S2.7). Minutes beyond the walk are
//! counted and reported. What was judged stays judged, whatever the config becomes.

pub mod backtest;
pub mod histogram;
pub mod suggest;

use crate::model::{Counted, Name, Severity, Timestamp, Wanted, Window};
use jiff::{
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A minute, in microseconds.
const MINUTE_US: i64 = 60_000_000;

/// The walk back is so many times the look-back, counted in started minutes.
pub const WALK_FACTOR: u64 = 10;

/// So many bad minutes of a check are remembered for rows that come late; the oldest are forgotten first.
pub const BAD_MAX: usize = 1000;

/// So many windows are judged in one run; the next run takes the next ones.
pub const WINDOWS_MAX: usize = 20_000;

/// A walk that takes several runs goes on from where it began for so long; then it begins anew, and what it did not
/// get to is beyond it.
pub const WALK_LASTS_MAX: Duration = Duration::from_secs(3600);

/// Minutes beyond the walk are counted this far back from it, however long nothing was judged (400 days).
pub const BEYOND_MINUTES_MAX: u64 = 576_000;

/// What was judged by a clock that was ahead by no more than this is not judged again once it is right: as cron has it.
pub const AHEAD_MAX: Duration = Duration::from_secs(3 * 3600);

/// What a check expects of the rows that its query finds.
#[derive(Clone, PartialEq, Debug)]
pub struct Lookback {
    /// Where the query is asked.
    pub source: Name,
    /// Each is judged by itself.
    pub expect: Vec<Expectation>,
    /// Hours, minutes and days are in this zone.
    pub zone: TimeZone,
    /// On these dates only expectations whose days name `holidays` are judged.
    pub holidays: BTreeSet<Date>,
    /// A minute is judged once it is this old: for rows that arrive late.
    pub delay: Duration,
    /// Seen rows are kept this long, and never shorter than a walk needs.
    pub retention: Duration,
    /// Passed on with every result (`__EXTRA__`).
    pub extra: Option<serde_json::Value>,
    /// No rows are counted: the one that comes is measured, and this is what thresholds want of it. Then nothing is expected.
    pub value: Option<Wanted>,
}

/// One line: when how many rows are expected.
#[derive(Clone, PartialEq, Debug)]
pub struct Expectation {
    /// The part of its fault's name, `CHECK#PART`; `None` for a check's only expectation.
    pub part: Option<String>,
    /// How bad it is when it is not met.
    pub severity: Severity,
    /// On which days.
    pub days: Days,
    /// In which hours of the day: bit 0 is the hour from 00:00.
    pub hours: u32,
    /// At which minutes.
    pub minutes: Minutes,
    /// How far the window reaches back; whole seconds, at least one.
    pub lookback: Duration,
    /// Rows at the very ends of the window count too.
    pub inclusive: bool,
    /// At least so many rows.
    pub min: Option<u64>,
    /// At most so many.
    pub max: Option<u64>,
}

/// Days on which something is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days {
    /// Bit 0 is Monday.
    pub weekdays: u8,
    /// Listed holidays.
    pub holidays: bool,
}

/// Minutes at which something is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Minutes {
    /// These of each hour: bit 0 is minute 0.
    OfHour(u64),
    /// Every so many minutes from midnight on.
    EveryFromMidnight(u16),
}

/// What was found of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As many rows as expected.
    Good,
    /// Too few.
    TooFew,
    /// Too many.
    TooMany,
}

/// What a check remembers of its look-backs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LookbackState {
    /// Every minute up to this one is judged, or was reported as out of reach.
    pub judged: Timestamp,
    /// Minutes that held too few rows and are still within the walk, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<BadMinute>,
    /// Expectations that are not met, by part (empty for an only one), and the minute that says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faulty: BTreeMap<String, Timestamp>,
    /// A walk that takes several runs went back from this minute: what is beyond it is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Timestamp>,
    /// Its source could not be asked when it last was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Away>,
}

/// A source that could not be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Away {
    /// Which.
    pub source: Name,
    /// Why.
    pub why: String,
    /// Since when; an older agent did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A minute that held too few rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadMinute {
    /// Which expectation: its part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The minute.
    pub minute: Timestamp,
    /// What was asked of it: asked anything else, it is another minute, and not judged again.
    #[serde(default)]
    pub asked: Asked,
}

/// What an expectation asks of a minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Asked {
    /// How far the window reaches back.
    pub lookback_seconds: u64,
    /// Whether its ends belong to it.
    pub inclusive: bool,
    /// At least so many rows.
    pub min: Option<u64>,
    /// At most so many.
    pub max: Option<u64>,
}

/// What a run is to judge.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Windows to count, by minute and line; those judged before come last.
    pub windows: Vec<Window>,
    /// Once the run is through, every minute up to this one is judged.
    pub until: Timestamp,
    /// Minutes that were due and are beyond the walk, unless an earlier run reported them.
    pub beyond: Option<Beyond>,
    /// There are more windows than one run judges: the minute that the walk goes back from, also for the next ones.
    pub walk: Option<Timestamp>,
}

/// Minutes that were due and can't be judged any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beyond {
    /// How many.
    pub count: u64,
    /// There are more, too long ago to be counted.
    pub more: bool,
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

/// The beginning of the minute that a time is in.
pub fn minute_of(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().div_euclid(MINUTE_US).saturating_mul(MINUTE_US))
}

fn minutes_later(minute: Timestamp, count: u64) -> Timestamp {
    let by = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(MINUTE_US);
    Timestamp::from_micros(minute.as_micros().saturating_add(by))
}

/// How many whole minutes a time is after a minute; none if it is before it.
fn minutes_since(minute: Timestamp, at: Timestamp) -> u64 {
    u64::try_from(at.as_micros().saturating_sub(minute.as_micros()) / MINUTE_US).unwrap_or(0)
}

fn minutes_before(minute: Timestamp, count: u64) -> Timestamp {
    let by = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(MINUTE_US);
    Timestamp::from_micros(minute.as_micros().saturating_sub(by))
}

impl Expectation {
    /// How many minutes are walked back.
    pub fn walk_minutes(&self) -> u64 {
        WALK_FACTOR.saturating_mul(self.lookback.as_secs().div_ceil(60))
    }

    /// The first minute of a walk back from a minute.
    fn walk_start(&self, from: Timestamp) -> Timestamp {
        minutes_before(from, self.walk_minutes().saturating_sub(1))
    }

    /// What is asked of a minute.
    fn asked(&self) -> Asked {
        let lookback_seconds = self.lookback.as_secs();
        Asked { lookback_seconds, inclusive: self.inclusive, min: self.min, max: self.max }
    }

    /// What a count means.
    pub fn judge(&self, count: u64) -> Verdict {
        match (self.min, self.max) {
            (Some(min), _) if count < min => Verdict::TooFew,
            (_, Some(max)) if count > max => Verdict::TooMany,
            _ => Verdict::Good,
        }
    }

    /// The window that is judged at a minute.
    pub fn window(&self, line: usize, minute: Timestamp) -> Window {
        let beyond = if self.inclusive { Duration::from_micros(1) } else { Duration::ZERO };
        Window { line, minute, from: minute - self.lookback - beyond, until: minute + beyond, again: false }
    }

    /// Minutes of one hour of a day at which this is judged: bit 0 is minute 0.
    fn minutes_in(&self, date: Date, hour: u8, holidays: &BTreeSet<Date>) -> u64 {
        let day = match holidays.contains(&date) {
            true => self.days.holidays,
            false => self.days.weekdays & (1 << weekday_bit(date.weekday())) != 0,
        };
        if !day || self.hours & (1 << hour) == 0 {
            return 0;
        }
        match self.minutes {
            Minutes::OfHour(mask) => mask,
            Minutes::EveryFromMidnight(step) => {
                let before = u16::from(hour) * 60;
                let due = (0..60u16).filter(|minute| (before + minute) % step.max(1) == 0);
                due.fold(0, |mask, minute| mask | 1 << minute)
            }
        }
    }
}

/// `180` → `3 min`.
pub(crate) fn span_text(seconds: u64) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

fn weekday_bit(weekday: Weekday) -> u8 {
    u8::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)
}

/// A piece of one local hour: minutes in a row whose local time is known from the first.
struct Piece {
    start: Timestamp,
    date: Date,
    hour: u8,
    /// The minute of the hour at `start`.
    minute: u8,
    len: u64,
}

impl Piece {
    /// Its minutes from one time on and before another: bit 0 is minute 0 of the hour.
    fn bits(&self, from: Timestamp, until: Timestamp) -> u64 {
        let bit = |at| u64::from(self.minute) + minutes_since(self.start, at).min(self.len);
        // A piece has at most 60 minutes.
        (1 << bit(until)) - (1 << bit(from).min(bit(until)))
    }
}

impl Lookback {
    /// Whether an expectation is judged at a minute.
    pub fn is_due(&self, line: usize, minute: Timestamp) -> bool {
        let local = self.zone.to_datetime(minute.to_jiff());
        let Some(expectation) = self.expect.get(line) else { return false };
        let (hour, minute) = (u8::try_from(local.hour()).unwrap_or(0), local.minute());
        expectation.minutes_in(local.date(), hour, &self.holidays) & (1 << minute) != 0
    }

    /// The windows that are judged at a minute, whether it is long past or yet to come.
    pub fn windows_at(&self, minute: Timestamp) -> Vec<Window> {
        let due = self.expect.iter().enumerate().filter(|(line, _)| self.is_due(*line, minute));
        due.map(|(line, expectation)| expectation.window(line, minute)).collect()
    }

    /// What was counted, in one line for people.
    pub fn text(&self, counted: &Counted) -> String {
        let Some(expectation) = self.expect.get(counted.line) else { return String::new() };
        let rows = if counted.count == 1 { "row" } else { "rows" };
        let wanted = match (expectation.judge(counted.count), expectation.min, expectation.max) {
            (Verdict::TooFew, Some(min), _) => format!(", at least {min} wanted"),
            (Verdict::TooMany, _, Some(max)) => format!(", at most {max} wanted"),
            _ => String::new(),
        };
        let span = span_text(expectation.lookback.as_secs());
        let minute = counted.minute.to_jiff().to_zoned(self.zone.clone());
        let minute = minute.strftime("%Y-%m-%d %H:%M %Z");
        format!("{} {rows} in the {span} before {minute}{wanted}", counted.count)
    }

    /// The newest minute that may be judged by a run that begins now.
    pub fn newest(&self, now: Timestamp) -> Timestamp {
        minute_of(now - self.delay)
    }

    /// How far back rows are needed: longer than any walk and its window.
    pub fn needed(&self) -> Duration {
        let needs =
            |e: &Expectation| e.lookback.saturating_add(Duration::from_secs(e.walk_minutes().saturating_mul(60)));
        let longest = self.expect.iter().map(needs).max().unwrap_or_default();
        longest.saturating_add(self.delay).saturating_add(WALK_LASTS_MAX).saturating_add(Duration::from_secs(120))
    }

    /// Rows older than this are not needed any more.
    pub fn keep_from(&self, now: Timestamp) -> Timestamp {
        now - self.retention.max(self.needed())
    }

    /// What a run that begins now is to judge.
    pub fn plan(&self, state: &LookbackState, now: Timestamp) -> Plan {
        let newest = self.newest(now);
        if self.expect.is_empty() {
            return Plan { until: state.judged.max(newest), ..Plan::default() };
        }
        let next = minutes_later(minute_of(state.judged), 1);
        let begun = state.walk.filter(|from| state.judged < *from && *from <= newest);
        let from = begun.filter(|from| newest.since(*from) <= WALK_LASTS_MAX).unwrap_or(newest);
        let starts = self.walk_starts(from);
        let reported = begun.map(|from| self.walk_starts(from));
        let beyond = self.beyond(next, reported.as_deref(), &starts);
        let mut plan = Plan { until: state.judged.max(newest), beyond, ..Plan::default() };
        let mut next = starts.iter().min().map_or(next, |first| next.max(*first));
        while next <= newest {
            let piece = self.piece(next, newest);
            next = minutes_later(piece.start, piece.len);
            self.plan_piece(&piece, &starts, &mut plan.windows);
            if plan.windows.len() >= WINDOWS_MAX && next <= newest {
                (plan.until, plan.walk) = (minutes_before(next, 1), Some(from));
                break;
            }
        }
        let again = state.bad.iter().filter_map(|bad| {
            let line = self.line_of(bad)?;
            let expectation = &self.expect[line];
            let within = bad.minute >= expectation.walk_start(newest);
            within.then(|| Window { again: true, ..expectation.window(line, bad.minute) })
        });
        plan.windows.extend(again);
        plan
    }

    fn walk_starts(&self, from: Timestamp) -> Vec<Timestamp> {
        self.expect.iter().map(|e| e.walk_start(from)).collect()
    }

    /// The line that found a minute bad, if it asks the same still.
    fn line_of(&self, bad: &BadMinute) -> Option<usize> {
        self.expect.iter().position(|e| e.part == bad.part && e.asked() == bad.asked)
    }

    /// The minutes of each line from `next` on that are before its walk, without those before the walk that was
    /// `reported`.
    fn beyond(&self, next: Timestamp, reported: Option<&[Timestamp]>, starts: &[Timestamp]) -> Option<Beyond> {
        let end = *starts.iter().max()?;
        let floor = minutes_before(end, BEYOND_MINUTES_MAX);
        let more = next < floor;
        let (mut at, mut found) = (next.max(floor), None::<Beyond>);
        while at < end {
            let piece = self.piece(at, minutes_before(end, 1));
            at = minutes_later(piece.start, piece.len);
            let bits = self.expect.iter().enumerate().fold(0, |bits, (line, expectation)| {
                let from = reported.map_or(next, |reported| reported[line]);
                bits | piece.bits(from, starts[line]) & expectation.minutes_in(piece.date, piece.hour, &self.holidays)
            });
            if bits != 0 {
                let minute = |bit: u32| minutes_later(piece.start, u64::from(bit) - u64::from(piece.minute));
                let first = if more { next } else { minute(bits.trailing_zeros()) };
                let known = found.get_or_insert(Beyond { count: 0, more, first, last: first });
                known.count += u64::from(bits.count_ones());
                known.last = minute(bits.ilog2());
            }
        }
        found
    }

    fn plan_piece(&self, piece: &Piece, starts: &[Timestamp], windows: &mut Vec<Window>) {
        let masks = self.expect.iter().zip(starts).map(|(e, start)| {
            let end = minutes_later(piece.start, piece.len);
            piece.bits(*start, end) & e.minutes_in(piece.date, piece.hour, &self.holidays)
        });
        let masks: Vec<u64> = masks.collect();
        if masks.iter().all(|mask| *mask == 0) {
            return;
        }
        for offset in 0..piece.len {
            let bit = 1u64 << (u64::from(piece.minute) + offset);
            let minute = minutes_later(piece.start, offset);
            let due = self.expect.iter().enumerate().filter(|(line, _)| masks[*line] & bit != 0);
            windows.extend(due.map(|(line, expectation)| expectation.window(line, minute)));
        }
    }

    /// The minutes from `start` on that share its local hour, up to `last`.
    fn piece(&self, start: Timestamp, last: Timestamp) -> Piece {
        let local = self.zone.to_datetime(start.to_jiff());
        let minute = u8::try_from(local.minute()).unwrap_or(0);
        let (date, hour) = (local.date(), u8::try_from(local.hour()).unwrap_or(0));
        let left = u64::try_from((last.as_micros() - start.as_micros()) / MINUTE_US).unwrap_or(0) + 1;
        let len = left.min(60 - u64::from(minute));
        // Where the clock is set within the hour, minute by minute.
        let end = self.zone.to_datetime(minutes_later(start, len - 1).to_jiff());
        let straight =
            end.date() == date && i64::from(end.minute()) == i64::from(minute) + i64::try_from(len).unwrap_or(0) - 1;
        let same = straight && end.hour() == local.hour();
        Piece { start, date, hour, minute, len: if same { len } else { 1 } }
    }
}

impl LookbackState {
    /// A check that is new: it is judged from this minute on.
    pub fn new(policy: &Lookback, now: Timestamp) -> LookbackState {
        let judged = minutes_before(policy.newest(now), 1);
        LookbackState { judged, bad: Vec::new(), faulty: BTreeMap::new(), walk: None, away: None }
    }

    /// A clock that was far ahead judged minutes that have not come yet: they will be judged when they come. Returns
    /// up to which minute it judged.
    pub fn set_right(&mut self, policy: &Lookback, now: Timestamp) -> Option<Timestamp> {
        if self.judged.since(now) <= AHEAD_MAX {
            return None;
        }
        let newest = policy.newest(now);
        self.bad.retain(|bad| bad.minute <= newest);
        self.faulty.retain(|_, minute| *minute <= newest);
        self.walk = None;
        Some(std::mem::replace(&mut self.judged, minutes_before(newest, 1)))
    }

    /// Remembers or forgets a minute, by what it was found to be.
    pub fn note(&mut self, expectation: &Expectation, minute: Timestamp, verdict: Verdict) {
        let known = self.bad.iter().position(|bad| bad.is(expectation, minute));
        match (verdict, known) {
            (Verdict::TooFew, None) => {
                self.bad.push(BadMinute { part: expectation.part.clone(), minute, asked: expectation.asked() });
            }
            (Verdict::TooFew, Some(_)) | (_, None) => {}
            (_, Some(at)) => drop(self.bad.remove(at)),
        }
        let over = self.bad.len().saturating_sub(BAD_MAX);
        self.bad.drain(..over);
    }

    /// Whether a minute held too few rows when it was last judged.
    pub fn is_bad(&self, expectation: &Expectation, minute: Timestamp) -> bool {
        self.bad.iter().any(|bad| bad.is(expectation, minute))
    }

    /// The newest verdict on an expectation.
    pub fn spoke(&mut self, part: Option<&str>, minute: Timestamp, verdict: Verdict) {
        let part = part.unwrap_or_default();
        match verdict {
            Verdict::Good => drop(self.faulty.remove(part)),
            Verdict::TooFew | Verdict::TooMany => drop(self.faulty.insert(part.to_owned(), minute)),
        }
    }

    /// The minute that an expectation's fault speaks of.
    pub fn speaks_of(&self, part: Option<&str>) -> Option<Timestamp> {
        self.faulty.get(part.unwrap_or_default()).copied()
    }

    /// Forgets minutes that no run judges again.
    pub fn forget(&mut self, policy: &Lookback, now: Timestamp) {
        let newest = policy.newest(now);
        self.bad
            .retain(|bad| policy.line_of(bad).is_some_and(|line| bad.minute >= policy.expect[line].walk_start(newest)));
    }
}

impl BadMinute {
    fn is(&self, expectation: &Expectation, minute: Timestamp) -> bool {
        self.minute == minute && self.part == expectation.part && self.asked == expectation.asked()
    }
}

/// Counts windows over times in order, each end excluded (S2.6). Windows may overlap and come in any order; each costs
/// two searches.
pub fn count(times: &[Timestamp], windows: &[Window]) -> Vec<Counted> {
    let within = |window: &Window| {
        let first = times.partition_point(|time| *time <= window.from);
        let end = times.partition_point(|time| *time < window.until);
        u64::try_from(end.saturating_sub(first)).unwrap_or(u64::MAX)
    };
    windows.iter().map(|w| Counted { line: w.line, minute: w.minute, count: within(w) }).collect()
}

#[cfg(test)]
mod tests;
