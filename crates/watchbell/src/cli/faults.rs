//! `watchbell faults`: what is wrong now.

use super::{
    client::{Reach, Target},
    place::Place,
    table::{Cell, Look, Table},
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::{
    api::{FaultView, FaultsQuery, path, view},
    run::clock,
};
use watchbell_core::model::{Hardness, Severity, Timestamp};

/// List what is wrong now
#[derive(clap::Args, Debug)]
#[command(after_help = "`error 1/3` is the first of three attempts: it is not certain yet, and nobody is told.")]
pub struct Args {
    /// Only faults whose name matches this regular expression
    #[arg(value_name = "REGEX")]
    regex: Option<String>,
    /// Only those at least this bad
    #[arg(long, value_parser = severity, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Only those that are certain
    #[arg(long)]
    hard: bool,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

/// How bad, in the word that people read: a plugin that does not know is "unknown".
pub fn word(severity: Severity, unknown: bool) -> &'static str {
    if unknown { Severity::UNKNOWN } else { severity.word() }
}

/// Reads a severity; for clap.
///
/// # Errors
/// The words there are.
pub fn severity(text: &str) -> Result<Severity, String> {
    Severity::from_word(text).ok_or_else(|| "it is one of `info`, `warning`, `error`, `critical`".to_owned())
}

impl Args {
    /// Lists them.
    pub fn run(&self, place: &Place) -> Done {
        let query = FaultsQuery {
            regex: self.regex.clone(),
            severity: self.severity,
            state: self.hard.then_some(Hardness::Hard),
            check: None,
        };
        let faults: Vec<FaultView> = match self.target.reach(place)? {
            Reach::Up(client) => client.get(path::FAULTS, &query)?,
            Reach::Down(down) => {
                let (state, _) = down.knew()?;
                view::faults(down.policy(), &state, &query).map_err(Trouble::Wrong)?
            }
        };
        if self.look.json {
            return ui::print_json(&faults);
        }
        let asked = self.regex.is_some() || self.severity.is_some() || self.hard;
        if faults.is_empty() {
            return ui::print(match asked {
                true => "no fault matches\n",
                false => "nothing is wrong\n",
            });
        }
        ui::print(&table(&faults, clock::now(), Paint::stdout()).show(self.look))
    }
}

/// Faults as a table.
fn table(faults: &[FaultView], now: Timestamp, paint: Paint) -> Table {
    let mut table = Table::new(&["!severity", "!since", "told", "!name", "message"]);
    for fault in faults {
        let severity = match fault.state {
            Hardness::Hard => word(fault.severity, fault.unknown).to_owned(),
            Hardness::Soft => format!("{} {}/{}", word(fault.severity, fault.unknown), fault.attempt, fault.attempts),
        };
        table.row(vec![
            Cell::painted(severity, |text| paint.severity(fault.severity, text)),
            when::ago(fault.since, now).into(),
            told(fault).into(),
            fault.name.as_str().into(),
            if fault.stale { format!("(stale) {}", fault.message) } else { fault.message.clone() }.into(),
        ]);
    }
    table
}

/// Who was told, or why nobody is.
fn told(fault: &FaultView) -> String {
    if let Some(held) = &fault.held {
        return match held.rule.as_str() {
            "squelch" => "squelched".into(),
            "parent" => "unreachable".into(),
            rule => rule.into(),
        };
    }
    if fault.acknowledged_by.is_some() {
        return "acknowledged".into();
    }
    let mut names: Vec<&str> = fault.told.iter().map(|told| told.notifier.as_str()).collect();
    names.dedup();
    if names.is_empty() { "-".into() } else { names.join(",") }
}
