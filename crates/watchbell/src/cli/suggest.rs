//! `watchbell suggest`: what to expect of a look-back's rows, from its history, ready to paste.

use super::{
    heat,
    history::{self, History, Which},
    place::Place,
    ui::{self, Done, Trouble},
    when,
};
use serde_json::{Value, json};
use std::time::Duration;
use watchbell_core::state::lookback::{
    Expectation, Minutes,
    backtest::{Firing, Period},
    suggest::{
        Ask, Basis, INCIDENT_SPREADS, LINE_SPREADS, Suggested, Sure, TooLittle, hour_ranges, suggest, usual_minutes,
    },
};

/// So many firings of a line are told in its comment.
const TOLD: usize = 3;

/// Propose what to expect of a look-back's rows, from its history
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Prints lines for the check's `expect`, and for a `.dwmon` file its requirement lines, with what each is \
                        founded on. Hours and days that are alike share a line. The limits are 4 spreads from the median, where \
                        a spread is what chance alone makes of a count (Poisson), or what the middle half of the windows shows \
                        where that is wider; no window is outside but those that are taken for incidents: more than 5 spreads \
                        from the median, and as far from what is usual at their time of the week. What the lines would have \
                        found in the same history is said with them.\n\nExamples:\n  watchbell suggest orders\n  watchbell \
                        suggest orders --since 8w --lookback 1d"
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// How far windows reach back [default: as in the check's first line]
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    lookback: Option<Duration>,
}

impl Args {
    /// Proposes lines.
    pub fn run(&self, place: &Place) -> Done {
        let history = self.which.open(place)?;
        let own = history.lookback.expect.iter().find(|line| self.lookback.is_none_or(|asked| asked == line.lookback));
        let Some(lookback) = self.lookback.or(own.map(|line| line.lookback)) else {
            return Err(Trouble::wrong(
                "the check expects nothing yet\nhint: say how far to look back: `--lookback 1h`",
            ));
        };
        if lookback.subsec_nanos() != 0 {
            return Err(Trouble::wrong("`--lookback` must be whole seconds"));
        }
        let times = history.times(lookback)?;
        let minutes =
            own.and_then(|line| step_of(line.minutes)).map_or(usual_minutes(lookback), Minutes::EveryFromMidnight);
        let period = Period { from: history.begin(), until: history.until, known_from: history.known_from };
        let coarse_days = history.is_dwmon();
        let found = suggest(&history.lookback, &times, &Ask { lookback, minutes, period, coarse_days });
        let found = found.map_err(|why| too_little(&history, &why))?;
        let shown = Shown { history: &history, found: &found, rows: times.len(), lookback };
        if self.which.look.json {
            return ui::print_json(&shown.json());
        }
        ui::print(&shown.text())
    }
}

fn too_little(history: &History, why: &TooLittle) -> Trouble {
    let text = match why {
        TooLittle::NoRows => "there are no rows in that time\nhint: a longer `--since` may find some".to_owned(),
        TooLittle::Short { seen, wanted } => {
            let (seen_text, wanted_text) = (history::lasted(*seen), history::lasted(*wanted));
            let hint = match history.lookback.retention < *wanted {
                true => history.keep_more((*wanted * 4).max(Duration::from_secs(28 * 86_400))),
                false => {
                    let left = history::lasted(wanted.saturating_sub(*seen));
                    format!("wait {left} more, or ask with a longer `--since` if it is the short one")
                }
            };
            format!("{seen_text} seen; at least {wanted_text} are wanted to say what is usual\nhint: {hint}")
        }
    };
    Trouble::Failed(text)
}

/// Every how many minutes; `None` for minutes that are not regular.
fn step_of(minutes: Minutes) -> Option<u16> {
    match minutes {
        Minutes::EveryFromMidnight(step) => Some(step.max(1)),
        Minutes::OfHour(mask) => (1..=60u16).filter(|step| 60 % step == 0).find(|step| {
            let due = (0..60).step_by(usize::from(*step)).fold(0u64, |all, minute| all | 1 << minute);
            due == mask
        }),
    }
}

struct Shown<'a> {
    history: &'a History,
    found: &'a Suggested,
    rows: usize,
    lookback: Duration,
}

impl Shown<'_> {
    fn lines(&self) -> impl Iterator<Item = (usize, &Expectation, &Basis)> {
        self.found.policy.expect.iter().zip(&self.found.lines).enumerate().map(|(at, (line, basis))| (at, line, basis))
    }

    fn firings(&self, at: usize) -> impl Iterator<Item = &Firing> {
        self.found.report.firings.iter().filter(move |firing| firing.line == at)
    }

    fn text(&self) -> String {
        let history = self.history;
        let seen = history::lasted(history.until.since(history.begin()));
        let mut out = format!(
            "# {}: {} rows in {seen}, {} to {} ({})\n",
            ui::clean(&history.check.name),
            self.rows,
            history.minute(history.begin()),
            history.minute(history.until),
            history.zone_name()
        );
        out += &format!(
            "# Limits are {LINE_SPREADS} spreads from the median, and beyond every window but those that are taken for\n\
             # incidents (more than {INCIDENT_SPREADS} spreads away, and not every week). A spread is what chance makes of a\n\
             # count, or what the middle half of the windows shows where that is wider.\n"
        );
        let others: Vec<String> = history
            .lookback
            .expect
            .iter()
            .map(|line| line.lookback)
            .filter(|l| *l != self.lookback)
            .map(history::span)
            .collect();
        if let Some(other) = others.first() {
            out += &format!("# The check has lines of other lengths too: `--lookback {other}`.\n");
        }
        if history.is_dwmon() {
            out += "\n__REQUIREMENTS__\n";
            for (at, line, basis) in self.lines() {
                out += &self.comment(at, basis, "");
                out += &dwmon(line).into_iter().map(|line| line + "\n").collect::<String>();
            }
            out += "\n# The same for a check in a TOML file:\n";
            let lines =
                self.lines().map(|(_, line, _)| format!("  {},\n", toml(line, self.name(line)))).collect::<String>();
            return out + &format!("expect = [\n{lines}]\n");
        }
        out += "\nexpect = [\n";
        for (at, line, basis) in self.lines() {
            out += &self.comment(at, basis, "  ");
            out += &format!("  {},\n", toml(line, self.name(line)));
        }
        out + "]\n"
    }

    /// What a line is founded on.
    fn comment(&self, at: usize, basis: &Basis, indent: &str) -> String {
        let sure = match basis.sure() {
            Sure::Good => "sure",
            Sure::Fair => "fairly sure",
            Sure::Weak => "a guess",
        };
        let incidents = match basis.incidents {
            0 => String::new(),
            n => {
                format!("; {} taken for incidents", ui::count(usize::try_from(n).unwrap_or(usize::MAX), "more window"))
            }
        };
        let usual = basis.windows - basis.incidents;
        let mut out = format!(
            "{indent}# {usual} windows: lowest {}, median {}, highest {}{incidents}\n\
             {indent}# {sure}: as many as {:.0} that do not overlap; by chance it fires {} times a week\n",
            basis.lowest,
            basis.median,
            basis.highest,
            basis.apart,
            heat::number(basis.chance_per_week)
        );
        let firings: Vec<&Firing> = self.firings(at).collect();
        if firings.is_empty() {
            return out + &format!("{indent}# it would not have fired\n");
        }
        let told = firings.iter().take(TOLD).map(|firing| {
            let lasted = history::lasted(firing.over.unwrap_or(self.history.until).since(firing.from));
            format!("{} for {lasted}, {} rows", self.history.minute(firing.from), firing.worst_count)
        });
        let told = told.collect::<Vec<_>>().join("; ");
        let more = if firings.len() > TOLD { "; …" } else { "" };
        let times = ui::count(firings.len(), "time");
        out += &format!("{indent}# it would have fired {times}: {told}{more}\n");
        out
    }

    /// A name for a line, where there are several.
    fn name(&self, line: &Expectation) -> Option<String> {
        if self.found.policy.expect.len() < 2 {
            return None;
        }
        let hours = if line.hours == 0xff_ffff { String::new() } else { format!("-{}", history::hours(line.hours)) };
        Some(format!("{}{hours}", history::days(line.days)).replace(',', "."))
    }

    fn json(&self) -> Value {
        let history = self.history;
        let line = |(at, line, basis): (usize, &Expectation, &Basis)| {
            json!({
                "days": history::days(line.days),
                "hours": history::hours(line.hours),
                "lookback_seconds": line.lookback.as_secs(),
                "min": line.min,
                "max": line.max,
                "windows": basis.windows,
                "windows_apart": basis.apart,
                "incidents": basis.incidents,
                "lowest": basis.lowest,
                "median": basis.median,
                "highest": basis.highest,
                "sure": match basis.sure() { Sure::Good => "good", Sure::Fair => "fair", Sure::Weak => "weak" },
                "chance_per_week": basis.chance_per_week,
                "firings": self.firings(at).count(),
                "toml": toml(line, self.name(line)),
                "dwmon": history.is_dwmon().then(|| dwmon(line)),
            })
        };
        json!({
            "check": history.check.name,
            "zone": history.zone_name(),
            "from": history.begin(),
            "until": history.until,
            "rows": self.rows,
            "lines": self.lines().map(line).collect::<Value>(),
        })
    }
}

/// A line as an inline table.
fn toml(line: &Expectation, name: Option<String>) -> String {
    let mut keys: Vec<String> = name.iter().map(|name| format!("name = \"{name}\"")).collect();
    keys.push(format!("days = \"{}\"", history::days(line.days)));
    if line.hours != 0xff_ffff {
        keys.push(format!("hours = \"{}\"", history::hours(line.hours)));
    }
    if let Some(step) = step_of(line.minutes) {
        keys.push(format!("every = \"{}\"", history::span(Duration::from_secs(u64::from(step) * 60))));
    }
    keys.push(format!("lookback = \"{}\"", history::span(line.lookback)));
    keys.extend(line.min.map(|min| format!("min = {min}")));
    keys.extend(line.max.map(|max| format!("max = {max}")));
    format!("{{ {} }}", keys.join(", "))
}

/// A line as requirement lines of dwmon's: one for each range of hours.
fn dwmon(line: &Expectation) -> Vec<String> {
    let minutes = match step_of(line.minutes) {
        Some(1) | None => "0-59".to_owned(),
        Some(step) if step < 59 => format!("*/{step}"),
        Some(_) => "0-0".to_owned(),
    };
    let (weekends, weekdays) = (line.days.weekdays & 0x60 != 0, line.days.weekdays & 0x1f != 0);
    let days: Vec<&str> = [(weekends, "WEEKENDS"), (weekdays, "WEEKDAYS")]
        .iter()
        .filter(|(there, _)| *there)
        .map(|(_, word)| *word)
        .collect();
    let days = days.join(" ");
    let limits = format!("MINNUM{} MAXNUM{}", line.min.unwrap_or(0), line.max.unwrap_or(u64::from(u32::MAX)));
    let seconds = line.lookback.as_secs();
    let of =
        |(a, b): (u8, u8)| format!("CHECKHOURS{a}-{b} CHECKMINUTES{minutes} {days} {limits} LOOKBACKSECONDS{seconds}");
    hour_ranges(line.hours).into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchbell_core::{config::parse_expectations, model::Severity, state::lookback::Days};

    /// S2.12: what is proposed can be pasted.
    #[test]
    fn lines_can_be_pasted() {
        let line = Expectation {
            part: None,
            severity: Severity::Critical,
            days: Days { weekdays: 0x1f, holidays: false },
            hours: 0xff_ffff,
            minutes: Minutes::EveryFromMidnight(20),
            lookback: Duration::from_secs(3600),
            inclusive: false,
            min: Some(5),
            max: Some(20),
        };
        let night = Expectation {
            hours: 0b1100_0000_0000_0000_0000_0011,
            days: Days { weekdays: 0b110_0011, holidays: false },
            min: None,
            minutes: Minutes::EveryFromMidnight(60),
            ..line.clone()
        };
        for line in [&line, &night] {
            assert_eq!(parse_expectations(&toml(line, None)).as_deref(), Ok([line.clone()].as_slice()), "{line:?}");
        }
        assert_eq!(
            toml(&line, Some("x".to_owned())),
            "{ name = \"x\", days = \"weekdays\", every = \"20m\", lookback = \"1h\", min = 5, max = 20 }"
        );
        assert_eq!(dwmon(&line), ["CHECKHOURS0-23 CHECKMINUTES*/20 WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS3600"]);
        assert_eq!(
            dwmon(&night),
            [
                "CHECKHOURS0-1 CHECKMINUTES0-0 WEEKENDS WEEKDAYS MINNUM0 MAXNUM20 LOOKBACKSECONDS3600",
                "CHECKHOURS22-23 CHECKMINUTES0-0 WEEKENDS WEEKDAYS MINNUM0 MAXNUM20 LOOKBACKSECONDS3600",
            ]
        );
    }

    #[test]
    fn steps_of_minutes() {
        for (minutes, expect) in [
            (Minutes::EveryFromMidnight(90), Some(90)),
            (Minutes::OfHour((1 << 60) - 1), Some(1)),
            (Minutes::OfHour(1), Some(60)),
            (Minutes::OfHour(1 | 1 << 20 | 1 << 40), Some(20)),
            (Minutes::OfHour(1 | 1 << 20), None),
            (Minutes::OfHour(0), None),
        ] {
            assert_eq!(step_of(minutes), expect, "{minutes:?}");
        }
    }
}
