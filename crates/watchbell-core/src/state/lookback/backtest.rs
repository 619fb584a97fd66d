//! How often lines would have fired (S2.12): every due minute of a period is judged again, over the rows that are known.
//!
//! It is what the agent's faults would have been, were every row there in time: a firing begins with the first bad
//! minute of a line and ends with the next one that is good; what is not due in between does not end it. The windows
//! slide over the times: a month costs one pass over its rows for each line, however many minutes are judged.
//! Work is done in steps, so that a long one can show how far it is and be stopped: what was found until then holds.

use super::{Expectation, Lookback, MINUTE_US, Piece, Verdict, minute_of, minutes_later};
use crate::model::{Timestamp, Window};

/// What is judged again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    /// From this minute on.
    pub from: Timestamp,
    /// Up to this one.
    pub until: Timestamp,
    /// Nothing is known of what was before this: windows that begin earlier are not judged.
    pub known_from: Timestamp,
}

/// One line was not met, from a minute on until it was met again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Firing {
    /// Which of the lines, from 0.
    pub line: usize,
    /// The first bad minute.
    pub from: Timestamp,
    /// The last bad minute.
    pub to: Timestamp,
    /// The minute that was good again; `None`: it lasts until the end of the period.
    pub over: Option<Timestamp>,
    /// How many minutes were judged and found bad.
    pub minutes: u64,
    /// The lowest count.
    pub lowest: u64,
    /// The highest count.
    pub highest: u64,
    /// The minute that is farthest from what is wanted; of equal ones the first.
    pub worst: Timestamp,
    /// What was counted at it.
    pub worst_count: u64,
    /// What it was.
    pub worst_verdict: Verdict,
}

/// What became of one line.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Minutes that were judged.
    pub judged: u64,
    /// Minutes with too few rows.
    pub too_few: u64,
    /// Minutes with too many.
    pub too_many: u64,
    /// Firings.
    pub firings: u64,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// For each line.
    pub lines: Vec<Tally>,
    /// Each time that a line would have fired, by time and line.
    pub firings: Vec<Firing>,
    /// Minutes before this one were judged.
    pub next: Timestamp,
}

/// A backtest under way.
#[derive(Debug)]
pub struct Backtest<'a> {
    walk: Walk<'a>,
    period: Period,
    open: Vec<Option<Firing>>,
    report: Report,
}

impl<'a> Backtest<'a> {
    /// Of the policy's lines, over times in order.
    pub fn new(policy: &'a Lookback, times: &'a [Timestamp], period: Period) -> Backtest<'a> {
        let lines = policy.expect.len();
        let report = Report { lines: vec![Tally::default(); lines], ..Report::default() };
        Backtest { walk: Walk::new(policy, times, period), period, open: vec![None; lines], report }
    }

    /// Judges at most so many minutes more. Returns whether there are more.
    pub fn advance(&mut self, minutes: u64) -> bool {
        let Backtest { walk, open, report, .. } = self;
        let policy = walk.policy;
        walk.advance(minutes, &mut |_, window, count| {
            let line = window.line;
            note(&policy.expect[line], window, count, &mut open[line], report);
        })
    }

    /// How much is done, from 0 to 1.
    pub fn done(&self) -> f64 {
        let whole = self.period.until.since(self.period.from).as_secs_f64();
        let left = self.period.until.since(self.walk.next).as_secs_f64();
        if whole > 0.0 { (1.0 - left / whole).clamp(0.0, 1.0) } else { 1.0 }
    }

    /// What was found so far.
    pub fn finish(mut self) -> Report {
        self.report.firings.extend(self.open.into_iter().flatten());
        self.report.firings.sort_by_key(|firing| (firing.from, firing.line));
        self.report.next = self.walk.next;
        self.report
    }
}

/// Judges one minute of one line.
fn note(expectation: &Expectation, window: Window, count: u64, open: &mut Option<Firing>, report: &mut Report) {
    let verdict = expectation.judge(count);
    let tally = &mut report.lines[window.line];
    tally.judged += 1;
    match verdict {
        Verdict::Good => {
            let over = open.take().map(|firing| Firing { over: Some(window.minute), ..firing });
            report.firings.extend(over);
            return;
        }
        Verdict::TooFew => tally.too_few += 1,
        Verdict::TooMany => tally.too_many += 1,
    }
    let new = Firing {
        line: window.line,
        from: window.minute,
        to: window.minute,
        over: None,
        minutes: 0,
        lowest: count,
        highest: count,
        worst: window.minute,
        worst_count: count,
        worst_verdict: verdict,
    };
    tally.firings += u64::from(open.is_none());
    let firing = open.get_or_insert(new);
    firing.to = window.minute;
    firing.minutes += 1;
    firing.lowest = firing.lowest.min(count);
    firing.highest = firing.highest.max(count);
    if expectation.misses_by(count) > expectation.misses_by(firing.worst_count) {
        (firing.worst, firing.worst_count, firing.worst_verdict) = (window.minute, count, verdict);
    }
}

impl Expectation {
    /// How far a count is from what is wanted.
    fn misses_by(&self, count: u64) -> u64 {
        match self.judge(count) {
            Verdict::Good => 0,
            Verdict::TooFew => self.min.unwrap_or(0).saturating_sub(count),
            Verdict::TooMany => count.saturating_sub(self.max.unwrap_or(u64::MAX)),
        }
    }
}

/// Goes through the due minutes of a period, in order, and counts each one's windows by sliding them.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    policy: &'a Lookback,
    times: &'a [Timestamp],
    next: Timestamp,
    period: Period,
    slides: Vec<Slide>,
}

/// Where a line's window stands: `times[first..end]` are in it.
#[derive(Clone, Copy, Default, Debug)]
struct Slide {
    first: usize,
    end: usize,
}

impl Slide {
    /// Moves on to a later window and counts it.
    fn count(&mut self, times: &[Timestamp], window: &Window) -> u64 {
        while times.get(self.first).is_some_and(|time| *time <= window.from) {
            self.first += 1;
        }
        self.end = self.end.max(self.first);
        while times.get(self.end).is_some_and(|time| *time < window.until) {
            self.end += 1;
        }
        u64::try_from(self.end - self.first).unwrap_or(u64::MAX)
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(policy: &'a Lookback, times: &'a [Timestamp], period: Period) -> Walk<'a> {
        let floor = minute_of(period.from);
        let next = if floor < period.from { minutes_later(floor, 1) } else { floor };
        let slide = |expectation: &Expectation| {
            let from = expectation.window(0, next).from;
            let first = times.partition_point(|time| *time <= from);
            Slide { first, end: first }
        };
        Walk { policy, times, next, period, slides: policy.expect.iter().map(slide).collect() }
    }

    /// Goes through at most so many minutes; returns whether there are more.
    pub(super) fn advance(&mut self, minutes: u64, each: &mut dyn FnMut(&Piece, Window, u64)) -> bool {
        let end = minutes_later(self.next, minutes);
        let last = self.period.until.min(Timestamp::from_micros(end.as_micros().saturating_sub(MINUTE_US)));
        while self.next <= last {
            let piece = self.policy.piece(self.next, last);
            self.piece(&piece, each);
            self.next = minutes_later(piece.start, piece.len);
        }
        self.next <= self.period.until
    }

    fn piece(&mut self, piece: &Piece, each: &mut dyn FnMut(&Piece, Window, u64)) {
        let masks = self.policy.expect.iter().map(|e| e.minutes_in(piece.date, piece.hour, &self.policy.holidays));
        let masks: Vec<u64> = masks.collect();
        if masks.iter().all(|mask| *mask == 0) {
            return;
        }
        for offset in 0..piece.len {
            let bit = 1u64 << (u64::from(piece.minute) + offset);
            for (line, expectation) in self.policy.expect.iter().enumerate() {
                if masks[line] & bit == 0 {
                    continue;
                }
                let window = expectation.window(line, minutes_later(piece.start, offset));
                if window.from >= self.period.known_from {
                    let count = self.slides[line].count(self.times, &window);
                    each(piece, window, count);
                }
            }
        }
    }
}
#[cfg(test)]
mod tests;
