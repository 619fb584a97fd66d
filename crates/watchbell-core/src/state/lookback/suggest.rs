//! Lines proposed from history (S2.12): for each part of the week how many rows its windows must hold.
//!
//! 1. Every window that would be judged is counted; each hour of the week is spoken for by its median.
//! 2. Hours are put together where their medians are alike, days too; each line that is more has to be worth it. So
//!    the result is a handful of lines. An hour in which windows still reach back into quieter ones goes to those.
//! 3. In each part, all on the scale of square roots, where chance alone (Poisson) makes a spread of 1/2 whatever the
//!    count: the spread is 1/2, or what the middle half of the windows shows where that is wider. Windows more than
//!    [`INCIDENT_SPREADS`] from the median, that are as far from what is usual at their time of the week, are taken for
//!    incidents and left out. `min` and `max` are [`LINE_SPREADS`] from the median, and never closer than any window
//!    that is left.
//! 4. The lines are judged over the same period, so that it shows what they would have found.

use super::{
    Days, Expectation, Lookback, Minutes, Piece,
    backtest::{Backtest, Period, Report, Walk},
};
use crate::model::{Severity, Timestamp, Window};
use std::{collections::BTreeMap, time::Duration};

/// Less history than this says too little about a week.
pub const SEEN_WANTED: Duration = Duration::from_secs(7 * 86_400);
/// So many look-backs must fit into the history.
pub const LOOKBACKS_WANTED: u32 = 7;
/// Lines are so many spreads from the median.
pub const LINE_SPREADS: f64 = 4.0;
/// What is farther than so many spreads from the median is taken for an incident.
pub const INCIDENT_SPREADS: f64 = 5.0;
/// So many windows that do not overlap make a part's limits well founded.
pub const SURE_WINDOWS: f64 = 60.0;
/// With fewer than this they are a guess.
pub const FAIR_WINDOWS: f64 = 20.0;
/// What chance alone makes of a count's square root.
const CHANCE_SPREAD: f64 = 0.5;
/// The middle half of a normal distribution is so many spreads wide.
const MIDDLE_HALF_SPREADS: f64 = 1.349;
/// What one more line must save: squared differences of logarithms of medians, summed over the hours of a week. Two
/// hours on each weekday with half of the rows are worth a line, one such hour is not.
const LINE_COST: f64 = 3.0;
/// So many windows at the same time of the week say what is usual then.
const USUAL_COUNT: usize = 3;
/// A day is cut into at most so many parts.
const PARTS_A_DAY: usize = 5;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// How far windows reach back.
    pub lookback: Duration,
    /// At which minutes they are judged.
    pub minutes: Minutes,
    /// The history that is looked at.
    pub period: Period,
    /// Weekdays and weekends only, as a `.dwmon` file can say.
    pub coarse_days: bool,
}

/// What is proposed.
#[derive(Clone, PartialEq, Debug)]
pub struct Suggested {
    /// The policy with the proposed lines.
    pub policy: Lookback,
    /// What each line is founded on, in the order of the lines.
    pub lines: Vec<Basis>,
    /// How often they would have fired.
    pub report: Report,
}

/// What a line is founded on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Basis {
    /// Windows that were counted.
    pub windows: u64,
    /// How many windows would fit without overlapping: the real number of observations.
    pub apart: f64,
    /// Windows that are taken for incidents, and left out of what follows.
    pub incidents: u64,
    /// The lowest count.
    pub lowest: u64,
    /// The count in the middle.
    pub median: u64,
    /// The highest count.
    pub highest: u64,
    /// How often a week the line fires by chance alone, at most.
    pub chance_per_week: f64,
}

/// How well founded something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sure {
    /// A guess.
    Weak,
    /// Some history.
    Fair,
    /// Much history.
    Good,
}

impl Basis {
    /// How sure it is.
    pub fn sure(&self) -> Sure {
        match self.apart {
            n if n >= SURE_WINDOWS => Sure::Good,
            n if n >= FAIR_WINDOWS => Sure::Fair,
            _ => Sure::Weak,
        }
    }
}

/// Why nothing is proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TooLittle {
    /// There are no rows.
    NoRows,
    /// The history is shorter than [`SEEN_WANTED`], or than [`LOOKBACKS_WANTED`] look-backs.
    Short {
        /// How long it is.
        seen: Duration,
        /// How long it has to be.
        wanted: Duration,
    },
}

/// The minutes at which windows of a length are best judged: three times while a row is in it, where whole parts
/// of an hour allow it.
pub fn usual_minutes(lookback: Duration) -> Minutes {
    let third = lookback.as_secs() / 180;
    let steps = [60u16, 30, 20, 15, 10, 5, 2];
    let step = steps.into_iter().find(|step| u64::from(*step) <= third);
    Minutes::EveryFromMidnight(step.unwrap_or(1))
}

/// Proposes lines from times in order.
///
/// # Errors
/// There is too little history.
pub fn suggest(policy: &Lookback, times: &[Timestamp], ask: &Ask) -> Result<Suggested, TooLittle> {
    if times.is_empty() {
        return Err(TooLittle::NoRows);
    }
    let begin = ask.period.from.max(ask.period.known_from);
    let seen = ask.period.until.since(begin);
    let wanted = SEEN_WANTED.max(ask.lookback.saturating_mul(LOOKBACKS_WANTED));
    if seen < wanted {
        return Err(TooLittle::Short { seen, wanted });
    }
    let always = Expectation {
        part: None,
        severity: Severity::Error,
        days: Days { weekdays: 0x7f, holidays: false },
        hours: 0xff_ffff,
        minutes: ask.minutes,
        lookback: ask.lookback,
        inclusive: policy.expect.iter().any(|line| line.inclusive),
        min: None,
        max: None,
    };
    let probe = Lookback { expect: vec![always.clone()], ..policy.clone() };
    let week = Week::of(&probe, times, ask.period);
    let weeks = seen.as_secs_f64() / (7.0 * 86_400.0);
    let (mut expect, mut lines) = (Vec::new(), Vec::new());
    for part in week.parts(ask.coarse_days) {
        let Some((basis, min, max)) = limits(&week.of_part(&part), &always, weeks) else { continue };
        let hours = part.hours.iter().fold(0, |mask, hour| mask | 1 << hour);
        let weekdays = part.days.iter().fold(0, |mask, day| mask | 1 << day);
        expect.push(Expectation { days: Days { weekdays, holidays: false }, hours, min, max, ..always.clone() });
        lines.push(basis);
    }
    let policy = Lookback { expect, ..policy.clone() };
    let mut backtest = Backtest::new(&policy, times, ask.period);
    while backtest.advance(u64::from(u32::MAX)) {}
    let report = backtest.finish();
    Ok(Suggested { policy, lines, report })
}

/// The counts of windows, by weekday and hour of the minutes that they were judged at.
struct Week {
    windows: Vec<Vec<Seen>>,
    /// The logarithm of each hour's median; `None` where nothing was judged.
    levels: Vec<Option<f64>>,
}

/// One window's count, and when it was judged.
#[derive(Clone, Copy, Debug)]
struct Seen {
    count: u64,
    day: usize,
    hour: usize,
    minute: u8,
}

/// Hours of some days that have a line of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Part {
    days: Vec<usize>,
    hours: Vec<usize>,
}

/// How days may be put together.
fn day_classes(coarse: bool) -> Vec<Vec<Vec<usize>>> {
    let weekdays = || (0..5).collect::<Vec<usize>>();
    let mut all = vec![vec![(0..7).collect()], vec![weekdays(), vec![5, 6]]];
    if !coarse {
        all.push(vec![weekdays(), vec![5], vec![6]]);
        all.push(vec![(0..6).collect(), vec![6]]);
        for odd in 0..5 {
            all.push(vec![weekdays().into_iter().filter(|day| *day != odd).collect(), vec![odd], vec![5, 6]]);
        }
    }
    all
}

impl Week {
    fn of(probe: &Lookback, times: &[Timestamp], period: Period) -> Week {
        let mut windows: Vec<Vec<Seen>> = vec![Vec::new(); 7 * 24];
        let mut walk = Walk::new(probe, times, period);
        let mut note = |piece: &Piece, window: Window, count| {
            let (day, hour) = (usize::from(super::weekday_bit(piece.date.weekday())), usize::from(piece.hour));
            let later = window.minute.since(piece.start).as_secs() / 60;
            let minute = piece.minute.saturating_add(u8::try_from(later).unwrap_or(0));
            windows[day * 24 + hour].push(Seen { count, day, hour, minute });
        };
        while walk.advance(u64::from(u32::MAX), &mut note) {}
        let level =
            |seen: &Vec<Seen>| median(seen.iter().map(|w| w.count).collect()).map(|count| (count as f64).ln_1p());
        let levels = windows.iter().map(level).collect();
        Week { windows, levels }
    }

    /// The windows of a part, lowest first.
    fn of_part(&self, part: &Part) -> Vec<Seen> {
        let slots = part.days.iter().flat_map(|day| part.hours.iter().map(move |hour| day * 24 + hour));
        let mut all: Vec<Seen> = slots.flat_map(|slot| self.windows[slot].iter().copied()).collect();
        all.sort_by_key(|window| window.count);
        all
    }

    /// The parts of the week that cost least.
    fn parts(&self, coarse_days: bool) -> Vec<Part> {
        let mut best: Option<(f64, Vec<Part>)> = None;
        for classes in day_classes(coarse_days) {
            let (mut cost, mut parts) = (0.0, Vec::new());
            for days in classes {
                let (of_days, cut) = self.cut(&days);
                cost += of_days;
                let parts_of_days = cut.into_iter().map(|hours| Part { days: days.clone(), hours }).collect();
                parts.extend(self.without_edges(parts_of_days));
            }
            // Of equal ones the first, with fewer classes.
            if best.as_ref().is_none_or(|(least, _)| cost < *least - 1e-9) {
                best = Some((cost, parts));
            }
        }
        best.map(|(_, parts)| parts).unwrap_or_default()
    }

    /// Moves hours in which windows reach back into quieter ones to the part before them, or to one of their own.
    fn without_edges(&self, mut parts: Vec<Part>) -> Vec<Part> {
        let mut own: Vec<usize> = Vec::new();
        for i in 0..parts.len() {
            let windows = self.of_part(&parts[i]);
            let Some(bulk) = Bulk::of(&windows) else { continue };
            let usual = Usual::of(&windows);
            let low = |w: &&Seen| usual.at(w).is_some_and(|usual| bulk.spreads(usual) < -INCIDENT_SPREADS);
            let mut edges: Vec<usize> = windows.iter().filter(low).map(|w| w.hour).collect();
            edges.sort_unstable();
            edges.dedup();
            if edges.len() * 2 >= parts[i].hours.len() {
                continue;
            }
            parts[i].hours.retain(|hour| !edges.contains(hour));
            for hour in edges {
                let before = (hour + 23) % 24;
                match parts.iter().position(|part| part.hours.contains(&before)).filter(|at| *at != i) {
                    Some(at) => parts[at].hours.push(hour),
                    None => own.push(hour),
                }
            }
        }
        if let (Some(days), false) = (parts.first().map(|part| part.days.clone()), own.is_empty()) {
            parts.push(Part { days, hours: own });
        }
        parts.iter_mut().for_each(|part| part.hours.sort_unstable());
        parts
    }

    /// Cuts the hours of some days into parts, the night in one piece, and says what that costs.
    fn cut(&self, days: &[usize]) -> (f64, Vec<Vec<usize>>) {
        let mut best: Option<(f64, Vec<Vec<usize>>)> = None;
        for first in 0..24 {
            let hours: Vec<usize> = (0..24).map(|hour| (first + hour) % 24).collect();
            let (cost, parts) = self.cut_from(days, &hours);
            if best.as_ref().is_none_or(|(least, _)| cost < *least - 1e-9) {
                best = Some((cost, parts));
            }
        }
        let (cost, mut parts) = best.unwrap_or_default();
        parts.iter_mut().for_each(|hours| hours.sort_unstable());
        // The night, which goes on after midnight, is told last.
        parts.sort_by_key(|hours| (hours.contains(&0) && hours.contains(&23), hours.first().copied()));
        (cost, parts)
    }

    /// The cheapest way to cut hours in this order: for each number of parts, the cheapest up to each hour.
    fn cut_from(&self, days: &[usize], hours: &[usize]) -> (f64, Vec<Vec<usize>>) {
        let costs: Vec<Vec<f64>> = (0..24).map(|begin| self.costs_from(days, &hours[begin..])).collect();
        // cheapest[parts - 1][end] and where its last part begins
        let mut cheapest: Vec<Vec<(f64, usize)>> = vec![(0..24).map(|end| (LINE_COST + costs[0][end], 0)).collect()];
        for parts in 1..PARTS_A_DAY {
            let before = &cheapest[parts - 1];
            let at = |end: usize| {
                let with = |begin: usize| (before[begin - 1].0 + LINE_COST + costs[begin][end - begin], begin);
                (1..=end).map(with).fold((f64::INFINITY, 0), |a, b| if b.0 < a.0 { b } else { a })
            };
            cheapest.push((0..24).map(at).collect());
        }
        let last = |parts: &usize| cheapest[*parts][23].0;
        let mut parts = (0..PARTS_A_DAY).min_by(|a, b| last(a).total_cmp(&last(b))).unwrap_or(0);
        let (cost, mut end) = (last(&parts), 23);
        let mut cut = Vec::new();
        loop {
            let begin = cheapest[parts][end].1;
            cut.push(hours[begin..=end].to_vec());
            if begin == 0 || parts == 0 {
                return (cost, cut);
            }
            (parts, end) = (parts - 1, begin - 1);
        }
    }

    /// What parts cost that begin with the first of these hours and end with each: how unlike their hours are.
    fn costs_from(&self, days: &[usize], hours: &[usize]) -> Vec<f64> {
        let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let mut costs = Vec::with_capacity(hours.len());
        for hour in hours {
            for level in days.iter().filter_map(|day| self.levels[day * 24 + hour]) {
                n += 1.0;
                sum += level;
                squares += level * level;
            }
            costs.push(if n > 0.0 { f64::max(squares - sum * sum / n, 0.0) } else { 0.0 });
        }
        costs
    }
}

/// The number in the middle; of two the higher one.
fn median(mut counts: Vec<u64>) -> Option<u64> {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied()
}

/// Where most counts of a part are, on the scale of square roots.
#[derive(Clone, Copy, Debug)]
struct Bulk {
    middle: f64,
    spread: f64,
}

impl Bulk {
    /// Of windows, lowest first.
    fn of(windows: &[Seen]) -> Option<Bulk> {
        let at = |part: usize| windows.get(windows.len() * part / 4).map(|window| window.count as f64);
        let (low, middle, high) = (at(1)?, at(2)?.sqrt(), at(3)?);
        // Counts are whole: half a row on either side is no difference.
        let middle_half = (high - 0.5).max(0.0).sqrt() - (low + 0.5).sqrt();
        Some(Bulk { middle, spread: (middle_half / MIDDLE_HALF_SPREADS).max(CHANCE_SPREAD) })
    }

    /// How many spreads a count is above the middle.
    fn spreads(&self, count: u64) -> f64 {
        ((count as f64).sqrt() - self.middle) / self.spread
    }

    /// How likely a count is below `min` or above `max`.
    fn misses(&self, min: u64, max: u64) -> f64 {
        let below = if min > 0 { tail((self.middle - (min as f64 - 0.5).sqrt()) / self.spread) } else { 0.0 };
        below + tail(((max as f64 + 0.5).sqrt() - self.middle) / self.spread)
    }
}

/// What is usual at a time of the week, or of the day where there are too few weeks.
struct Usual {
    of_week: BTreeMap<(usize, usize, u8), u64>,
    of_day: BTreeMap<(usize, u8), u64>,
}

impl Usual {
    fn of(windows: &[Seen]) -> Usual {
        let mut of_week: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        let mut of_day: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for w in windows {
            of_week.entry((w.day, w.hour, w.minute)).or_default().push(w.count);
            of_day.entry((w.hour, w.minute)).or_default().push(w.count);
        }
        let enough = |counts: Vec<u64>| Some(counts).filter(|counts| counts.len() >= USUAL_COUNT).and_then(median);
        Usual {
            of_week: of_week.into_iter().filter_map(|(at, counts)| Some((at, enough(counts)?))).collect(),
            of_day: of_day.into_iter().filter_map(|(at, counts)| Some((at, enough(counts)?))).collect(),
        }
    }

    fn at(&self, w: &Seen) -> Option<u64> {
        let of_week = self.of_week.get(&(w.day, w.hour, w.minute));
        of_week.or_else(|| self.of_day.get(&(w.hour, w.minute))).copied()
    }
}

/// Finds the limits of a part from its windows, lowest first: what they are founded on, the lowest and the highest count.
fn limits(windows: &[Seen], line: &Expectation, weeks: f64) -> Option<(Basis, Option<u64>, Option<u64>)> {
    let bulk = Bulk::of(windows)?;
    let usual = Usual::of(windows);
    let far = |count: u64| bulk.spreads(count).abs() > INCIDENT_SPREADS;
    // What is the same every week is no incident.
    let of_time = |w: &Seen| Some(Bulk { middle: (usual.at(w)? as f64).sqrt(), spread: bulk.spread });
    let is_incident =
        |w: &&Seen| far(w.count) && of_time(w).is_none_or(|usual| usual.spreads(w.count).abs() > INCIDENT_SPREADS);
    let left = || windows.iter().filter(|w| !is_incident(w));
    let (lowest, highest) = (left().next()?.count, left().next_back()?.count);
    let below = (bulk.middle - LINE_SPREADS * bulk.spread).max(0.0).powi(2).floor() as u64;
    let above = (bulk.middle + LINE_SPREADS * bulk.spread).powi(2).ceil() as u64;
    // Those at odd times by what is usual then, the others all alike.
    let odd = |w: &Seen| usual.at(w).filter(|usual| bulk.spreads(*usual).abs() > LINE_SPREADS);
    let room = |usual: u64| ((usual as f64).sqrt() + LINE_SPREADS * CHANCE_SPREAD).powi(2).ceil() as u64;
    let odd_above = windows.iter().filter_map(odd).max().map_or(0, room);
    let (min, max) = (below.min(lowest), above.max(highest).max(odd_above));
    let misses = |w: &Seen| match odd(w) {
        Some(usual) => Bulk { middle: (usual as f64).sqrt(), spread: CHANCE_SPREAD }.misses(min, max),
        None => bulk.misses(min, max),
    };
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let all = windows.len() as f64;
    let basis = Basis {
        windows: count(windows.len()),
        apart: (all * minutes_apart(line.minutes) * 60.0 / line.lookback.as_secs_f64()).min(all),
        incidents: count(windows.iter().filter(is_incident).count()),
        lowest,
        median: windows[windows.len() / 2].count,
        highest,
        chance_per_week: windows.iter().map(misses).sum::<f64>() / weeks,
    };
    Some((basis, Some(min).filter(|min| *min > 0), Some(max)))
}

/// How many minutes there are from one to the next on average.
fn minutes_apart(minutes: Minutes) -> f64 {
    match minutes {
        Minutes::OfHour(mask) => 60.0 / f64::from(mask.count_ones().max(1)),
        Minutes::EveryFromMidnight(step) => f64::from(step.max(1)),
    }
}

/// How likely a normally distributed value is more than so many spreads above its mean (Abramowitz and Stegun, 7.1.26;
/// off by less than 1e-7).
fn tail(spreads: f64) -> f64 {
    let x = spreads.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let erfc = series.into_iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp();
    if spreads < 0.0 { 1.0 - erfc / 2.0 } else { erfc / 2.0 }
}

/// The hours of a line as ranges, both ends included.
pub fn hour_ranges(hours: u32) -> Vec<(u8, u8)> {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for hour in (0..24u8).filter(|hour| hours & (1 << hour) != 0) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == hour => *last = hour,
            _ => ranges.push((hour, hour)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests;
