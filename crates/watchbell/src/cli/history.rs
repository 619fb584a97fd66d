//! What the history tools share: which look-back is meant, what is known of its rows, and lines as people write them.
//! Rows are read from the state folder's `rows.db`, beside a running agent or with none.

use super::{
    place::{Place, Setup},
    table::{Look, one_line},
    ui::{self, Done, Trouble},
    when,
};
use crate::api::view;
use jiff::{Timestamp as Instant, tz::TimeZone};
use std::{path::Path, sync::Arc, time::Duration};
use watchbell_core::{
    config::{CheckPolicy, RETENTION_DEFAULT},
    model::Timestamp,
    state::lookback::{Days, Expectation, Lookback, Minutes, suggest::hour_ranges},
};
use watchbell_io::store::{Journal, ROWS_FILE, seen::SeenRows};

/// So many rows are read at most: 8 bytes each.
const ROWS_MAX: usize = 20_000_000;
/// The agent judges each minute; when it is this much behind, it is said.
const BEHIND: Duration = Duration::from_secs(600);

/// Which look-back, and which part of its history.
#[derive(clap::Args, Clone, Debug)]
pub struct Which {
    /// A look-back's name: in full, what comes after `//AGENT/`, or its last part
    pub name: String,
    /// How far back [default: 28d]
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    since: Option<Duration>,
    /// Up to when [default: now]
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    until: Option<when::Typed>,
    #[command(flatten)]
    pub look: Look,
}

/// How far back is looked unless the command line says.
const SINCE_DEFAULT: Duration = Duration::from_secs(28 * 86_400);
// What is looked at unless asked otherwise is kept unless configured otherwise.
const _: () = assert!(SINCE_DEFAULT.as_secs() <= RETENTION_DEFAULT.as_secs());

/// A look-back and what is known of its rows.
pub struct History {
    /// Its check.
    pub check: Arc<CheckPolicy>,
    /// What it expects.
    pub lookback: Arc<Lookback>,
    /// What is asked for.
    pub from: Timestamp,
    /// The end of what is asked for, or of what is known.
    pub until: Timestamp,
    /// Rows before this are not known: it is when the first one was.
    pub known_from: Timestamp,
    rows: SeenRows,
}

impl Which {
    /// Finds the look-back and opens its rows. What is not as it was asked for is said on standard error.
    ///
    /// # Errors
    /// There is no such look-back, none of its rows are known, or they can't be read.
    pub fn open(&self, place: &Place) -> Done<History> {
        let setup = place.load(None)?;
        let (check, lookback) = self.find(&setup)?;
        let state = setup.state()?;
        let rows = open_rows(&state)?;
        let ends = rows.checkers()?.into_iter().find(|(name, ..)| *name == check.name).and_then(|(.., ends)| ends);
        let Some((first, last)) = ends else {
            return Err(Trouble::Failed(format!(
                "no rows of `{}` are known yet\nhint: the agent remembers what the query finds from its first run on; \
                 `watchbell checks` shows how that went",
                check.name
            )));
        };
        let typed = self.until.as_ref().map(|typed| typed.in_zone(&lookback.zone));
        let until = typed.unwrap_or(setup.now).min(setup.now);
        let until = until.min(self.known_until(&state, &check, last, setup.now, typed.is_some(), &lookback.zone));
        let since = self.since.unwrap_or(SINCE_DEFAULT);
        let from = until.max(typed.unwrap_or(setup.now).min(setup.now)) - since;
        let history = History { check, lookback, from, until, known_from: first, rows };
        history.say_what_is_missing(since, self.since.is_some());
        Ok(history)
    }

    fn find(&self, setup: &Setup) -> Done<(Arc<CheckPolicy>, Arc<Lookback>)> {
        let policy = &setup.loaded.policy;
        let full = view::full_name(&policy.agent.name, &self.name);
        let by_last_part = || {
            let of_name = || policy.checks.values().filter(|c| c.short() == self.name);
            let mut lookbacks = of_name().filter(|c| c.counts().is_some());
            match (lookbacks.next(), lookbacks.next()) {
                (Some(_), Some(_)) => None,
                (Some(one), None) => Some(one),
                _ => of_name().next(),
            }
        };
        let found = policy.checks.get(&full).or_else(by_last_part);
        let lookbacks = || policy.checks.values().filter(|c| c.counts().is_some()).map(|c| &c.name);
        let Some(check) = found else {
            let near = match view::similar(&self.name, lookbacks()) {
                near if near.is_empty() => lookbacks().take(5).collect(),
                near => near,
            };
            let near: Vec<String> = near.iter().map(|name| format!("`{}`", one_line(name))).collect();
            let hint = match near.as_slice() {
                [] => "the config has none; `watchbell validate` says why".to_owned(),
                names => format!("there is {}; `watchbell validate` says if one is left out", names.join(", ")),
            };
            return Err(Trouble::Wrong(format!("there is no look-back `{}`\nhint: {hint}", self.name)));
        };
        match &check.lookback {
            Some(lookback) if lookback.value.is_some() => Err(Trouble::Wrong(format!(
                "`{}` is no look-back: its query answers a number (`value = true`), and no rows are counted or kept\nhint: \
                 it is at {}:{}; `watchbell test {}` shows what it answers now",
                check.name,
                check.file,
                check.line,
                check.short()
            ))),
            Some(lookback) => Ok((check.clone(), lookback.clone())),
            None => Err(Trouble::Wrong(format!(
                "`{}` is no look-back: it has no `query`, and nothing is counted\nhint: it is at {}:{}",
                check.name, check.file, check.line
            ))),
        }
    }

    /// Up to when rows are known: what was not asked for is not there, and is not nothing.
    fn known_until(
        &self,
        state: &Path,
        check: &CheckPolicy,
        last: Timestamp,
        now: Timestamp,
        asked: bool,
        zone: &TimeZone,
    ) -> Timestamp {
        let known = Journal::open(state).ok().and_then(|journal| journal.state().ok());
        let judged = known.and_then(|(state, _)| Some(state.checks.get(&check.name)?.lookback.as_ref()?.judged));
        match judged {
            Some(judged) if now.since(judged) > BEHIND => {
                let at = when::plain(judged, zone);
                ui::warn(&format!("the agent got the last answer for {at}; what came after it is not known"));
                judged
            }
            Some(_) => now,
            None if asked => now,
            None => last + Duration::from_micros(1),
        }
    }
}

fn open_rows(state: &Path) -> Done<SeenRows> {
    let path = state.join(ROWS_FILE);
    if !path.exists() {
        return Err(Trouble::Failed(format!(
            "no rows are known yet: there is no `{}`\nhint: start the agent with `watchbell run`; it remembers what the \
             queries find from then on",
            path.display()
        )));
    }
    Ok(SeenRows::read_only(&path)?)
}

impl History {
    /// From when on rows are looked at.
    pub fn begin(&self) -> Timestamp {
        self.from.max(self.known_from)
    }

    /// The times of the rows from some time before the period on.
    ///
    /// # Errors
    /// They can't be read, or there are too many.
    pub fn times(&self, before: Duration) -> Done<Vec<Timestamp>> {
        let from = self.from - before - Duration::from_micros(1);
        // Of windows whose ends count, the last one's is the end of the period.
        let ends_count = !before.is_zero() && self.lookback.expect.iter().any(|line| line.inclusive);
        let until = if ends_count { self.until + Duration::from_micros(1) } else { self.until };
        self.rows
            .times(&self.check.name, from, until, ROWS_MAX)
            .map_err(|why| Trouble::Failed(format!("{why}\nhint: a shorter `--since` needs fewer rows")))
    }

    /// Whether the check is a `.dwmon` file's.
    pub fn is_dwmon(&self) -> bool {
        self.check.file.ends_with(".dwmon")
    }

    /// The name of the zone.
    pub fn zone_name(&self) -> String {
        self.lookback.zone.iana_name().map_or_else(|| "local time".to_owned(), str::to_owned)
    }

    /// A minute, for people.
    pub fn minute(&self, at: Timestamp) -> String {
        minute(at, &self.lookback.zone)
    }

    /// How to have more history.
    pub fn keep_more(&self, wanted: Duration) -> String {
        let kept = when::short(self.lookback.retention);
        let keep = format!("`retention = \"{}d\"`", wanted.as_secs().div_ceil(86_400));
        match self.is_dwmon() {
            true => format!(
                "rows of a `.dwmon` file are kept for {kept}; the same as a check in a TOML file with {keep} keeps them longer"
            ),
            false => format!("rows are kept for {kept}; {keep} in the check's settings keeps them longer"),
        }
    }

    fn say_what_is_missing(&self, since: Duration, asked: bool) {
        let short = self.known_from.since(self.from);
        // An hour is what a first query may have missed.
        if short < Duration::from_secs(3600) || self.known_from >= self.until {
            return;
        }
        let first = self.minute(self.known_from);
        if since > self.lookback.retention {
            let what = format!("rows are there from {first} on, and not for all of the last {}", when::short(since));
            let text = format!("{what}\nhint: {}", self.keep_more(since));
            if asked { ui::warn(&text) } else { ui::note(&text.replace("\nhint: ", "; ")) }
        } else {
            ui::note(&format!(
                "the first row that is known is of {first}; what was before it does not count as nothing"
            ));
        }
    }
}

/// A minute, for people.
pub fn minute(at: Timestamp, zone: &TimeZone) -> String {
    let at: Instant = at.to_jiff();
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// How long, in its two largest units: `45 min`, `1 h 40 min`, `2 d 3 h`.
pub fn lasted(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    let two = |n: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{n} {unit}"),
        rest => format!("{n} {unit} {rest} {small}"),
    };
    match minutes {
        0..60 => format!("{minutes} min"),
        60..1440 => two(minutes / 60, "h", minutes % 60, "min"),
        _ => two(minutes / 1440, "d", minutes % 1440 / 60, "h"),
    }
}

/// A length of time as a config has it: `90s`, `20m`, `1h`, `1d`.
pub fn span(duration: Duration) -> String {
    match duration.as_secs() {
        s if s > 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s > 0 && s % 3600 == 0 => format!("{}h", s / 3600),
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// Days as a config has them: `weekdays`, `mon-thu,sat`.
pub fn days(days: Days) -> String {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let holidays = if days.holidays { ",holidays" } else { "" };
    match (days.weekdays & 0x7f, days.holidays) {
        (0x7f, true) => "all".to_owned(),
        (0x7f, false) => "mon-sun".to_owned(),
        (0x1f, _) => format!("weekdays{holidays}"),
        (0x60, _) => format!("weekends{holidays}"),
        (0, true) => "holidays".to_owned(),
        (mask, _) => {
            let ranges = hour_ranges(u32::from(mask));
            let name = |day: u8| NAMES[usize::from(day) % 7];
            let range =
                |(a, b): &(u8, u8)| if a == b { name(*a).to_owned() } else { format!("{}-{}", name(*a), name(*b)) };
            format!("{}{holidays}", ranges.iter().map(range).collect::<Vec<_>>().join(","))
        }
    }
}

/// Hours as a config has them: `9-17`, `0-5,22-23`.
pub fn hours(mask: u32) -> String {
    let range = |(a, b): &(u8, u8)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    hour_ranges(mask).iter().map(range).collect::<Vec<_>>().join(",")
}

/// Minutes as people say them.
fn minutes(minutes: Minutes) -> String {
    const ALL: u64 = (1 << 60) - 1;
    match minutes {
        Minutes::EveryFromMidnight(1) | Minutes::OfHour(ALL) => "every minute".to_owned(),
        Minutes::EveryFromMidnight(step) => format!("every {}", span(Duration::from_secs(u64::from(step) * 60))),
        Minutes::OfHour(mask) => {
            let due: Vec<u32> = (0..60).filter(|minute| mask & (1 << minute) != 0).collect();
            match due.as_slice() {
                [] => "never".to_owned(),
                [one] => format!("at minute {one}"),
                [first, .., last] if (*first..=*last).eq(due.iter().copied()) => format!("at minutes {first}-{last}"),
                [0, step, ..] if due.iter().copied().eq((0..60).step_by(*step as usize)) => format!("every {step}m"),
                few => format!("at minutes {}", few.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
            }
        }
    }
}

/// What a line expects, in words.
pub fn describe(line: &Expectation) -> String {
    let rows = match (line.min, line.max) {
        (Some(min), Some(max)) => format!("{min} to {max} rows"),
        (Some(min), None) => format!("at least {min} rows"),
        (None, Some(max)) => format!("at most {max} rows"),
        (None, None) => "any rows".to_owned(),
    };
    let hours = match line.hours {
        0xff_ffff => String::new(),
        mask => format!(" {}", hours(mask)),
    };
    let days = match line.days {
        Days { weekdays: 0x7f, holidays: true } => "all days".to_owned(),
        some => days(some),
    };
    format!("{rows} in {}, {days}{hours}, {}", span(line.lookback), minutes(line.minutes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchbell_core::model::Severity;

    #[test]
    fn lines_in_words() {
        let line = Expectation {
            part: None,
            severity: Severity::Error,
            days: Days { weekdays: 0x7f, holidays: true },
            hours: 0xff_ffff,
            minutes: Minutes::EveryFromMidnight(1),
            lookback: Duration::from_secs(180),
            inclusive: false,
            min: Some(5),
            max: Some(20),
        };
        let weekdays = Days { weekdays: 0x1f, holidays: false };
        let odd = Days { weekdays: 0b101_0111, holidays: false };
        for (line, expect) in [
            (line.clone(), "5 to 20 rows in 3m, all days, every minute"),
            (
                Expectation {
                    days: weekdays,
                    hours: 0b111 << 9,
                    minutes: Minutes::EveryFromMidnight(20),
                    ..line.clone()
                },
                "5 to 20 rows in 3m, weekdays 9-11, every 20m",
            ),
            (
                Expectation { days: odd, minutes: Minutes::OfHour(1), min: None, ..line.clone() },
                "at most 20 rows in 3m, mon-wed,fri,sun, at minute 0",
            ),
            (
                Expectation {
                    lookback: Duration::from_secs(86_400),
                    minutes: Minutes::OfHour(1 | 1 << 20 | 1 << 40),
                    hours: 1 | 1 << 23,
                    max: None,
                    ..line.clone()
                },
                "at least 5 rows in 1d, all days 0,23, every 20m",
            ),
            (Expectation { minutes: Minutes::OfHour(0b110), ..line }, "5 to 20 rows in 3m, all days, at minutes 1-2"),
        ] {
            assert_eq!(describe(&line), expect);
        }
        for (minutes, expect) in [(0, "0 min"), (59, "59 min"), (60, "1 h"), (100, "1 h 40 min"), (3000, "2 d 2 h")] {
            assert_eq!(lasted(Duration::from_secs(minutes * 60)), expect);
        }
    }
}
