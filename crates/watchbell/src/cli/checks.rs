//! `watchbell checks`: all checks, when they run, and what their last run found.

use super::{
    client::{Reach, Target},
    place::Place,
    table::{Cell, Look, Table},
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::{
    api::{CheckStatus, CheckView, ChecksQuery, path, view},
    run::clock,
};
use watchbell_core::model::{Severity, Timestamp};

/// List checks: how they are doing, when they run, what the last run found
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The state is how bad its worst fault is, `soft` while none is certain. `ran` is how long ago the last run \
                        began, `due` how long it is to the next. Values are rounded; --json has all digits."
)]
pub struct Args {
    /// Only checks whose name matches this regular expression
    #[arg(value_name = "REGEX")]
    regex: Option<String>,
    /// Only those that are doing so
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum State {
    /// The last run found nothing wrong
    Ok,
    /// Wrong, and still counting its attempts
    Soft,
    /// Wrong for certain
    Hard,
    /// Has not run yet
    Pending,
}

impl From<State> for CheckStatus {
    fn from(state: State) -> CheckStatus {
        match state {
            State::Ok => CheckStatus::Ok,
            State::Soft => CheckStatus::Soft,
            State::Hard => CheckStatus::Hard,
            State::Pending => CheckStatus::Pending,
        }
    }
}

impl Args {
    /// Lists them.
    pub fn run(&self, place: &Place) -> Done {
        let state = self.state.map(CheckStatus::from);
        let checks: Vec<CheckView> = match self.target.reach(place)? {
            Reach::Up(client) => client.get(path::CHECKS, &ChecksQuery { regex: self.regex.clone(), state })?,
            Reach::Down(down) => {
                let pattern = self.regex.as_deref().map(view::regex).transpose().map_err(Trouble::Wrong)?;
                let (known, _) = down.knew()?;
                let mut checks = view::checks(down.policy(), &known);
                checks.retain(|c| pattern.as_ref().is_none_or(|p| p.is_match(&c.name)));
                checks.retain(|c| state.is_none_or(|state| c.state == state));
                checks
            }
        };
        if self.look.json {
            return ui::print_json(&checks);
        }
        if checks.is_empty() {
            return ui::print(match self.regex.is_some() || self.state.is_some() {
                true => "no check matches\n",
                false => "there are no checks: put a file for an application into the config folder\n",
            });
        }
        ui::print(&table(&checks, clock::now(), Paint::stdout()).show(self.look))
    }
}

fn table(checks: &[CheckView], now: Timestamp, paint: Paint) -> Table {
    let mut table = Table::new(&["!state", ">ran", ">due", ">value", "!name", "result"]);
    for check in checks {
        let severity = check.severity.map_or("wrong", Severity::word);
        let word = match check.state {
            CheckStatus::Ok => "ok".to_owned(),
            CheckStatus::Soft => format!("soft {severity}"),
            CheckStatus::Hard => severity.to_owned(),
            CheckStatus::Pending => "pending".to_owned(),
        };
        let state = Cell::painted(word, |text| match (check.state, check.severity) {
            (_, Some(severity)) => paint.severity(severity, text),
            (CheckStatus::Ok, None) => paint.good(text),
            _ => paint.dim(text),
        });
        let next = match (check.running, check.next_due, check.refresh_within_seconds) {
            (true, ..) => "running".into(),
            (_, Some(at), _) if at <= now => "now".into(),
            (_, Some(at), _) => when::short(at.since(now)),
            (_, None, Some(_)) => "passive".into(),
            (_, None, None) => "-".into(),
        };
        let last = check.last.as_ref();
        table.row(vec![
            state,
            last.map_or("-".into(), |l| when::short(now.since(l.started))).into(),
            next.into(),
            last.and_then(|l| l.value)
                .map_or_else(String::new, |v| number(rounded(v), last.and_then(|l| l.unit.as_deref())))
                .into(),
            check.name.as_str().into(),
            last.map_or_else(String::new, |l| l.summary.clone()).into(),
        ]);
    }
    table
}

/// With six digits, those before the point all kept.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().ok().filter(|_| value.abs() < 1e6).unwrap_or_else(|| value.round())
}

/// A value with its unit. `Count` and `None` are CloudWatch's words for no unit.
pub fn number(value: f64, unit: Option<&str>) -> String {
    match unit {
        None | Some("" | "Count" | "None") => value.to_string(),
        Some("%" | "Percent") => format!("{value}%"),
        Some(unit) => format!("{value} {unit}"),
    }
}
