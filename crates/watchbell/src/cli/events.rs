//! `watchbell events`: what happened.

use super::{
    client::{Reach, Target},
    faults::severity,
    place::Place,
    table::{Cell, Look, Table},
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::{
    api::{EventsQuery, path, view},
    run::clock,
};
use jiff::tz::TimeZone;
use watchbell_core::model::{Event, EventKind, EventState, Severity, Timestamp};
use watchbell_io::store::EVENTS_MAX;

/// List what happened: faults that came, changed and went, jobs, messages, who did what, the agent's starts and ends
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Of what matches the newest, oldest first. `watchbell why NUMBER` says how one came about and who was told.\n\n\
                        Examples:\n  watchbell events --since 2h\n  watchbell events shop --kind fault --since 2026-03-29\n  \
                        watchbell events --kind operator --limit 20 --json"
)]
pub struct Args {
    /// Only events about names that match this regular expression
    #[arg(value_name = "REGEX")]
    regex: Option<String>,
    /// Only since then: how long ago, or when
    #[arg(long, value_name = "DURATION|TIME", value_parser = when::since)]
    since: Option<when::Since>,
    /// Only before that time
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    until: Option<when::Typed>,
    /// Only this kind: fault, alarm, job, message, operator, agent, result
    #[arg(long, value_parser = kind)]
    kind: Option<EventKind>,
    /// Only those at least this bad
    #[arg(long, value_parser = severity, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// How many
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=EVENTS_MAX as i64))]
    limit: u32,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

/// Reads a kind; for clap.
fn kind(text: &str) -> Result<EventKind, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "it is one of `fault`, `alarm`, `job`, `message`, `operator`, `agent`, `result`".to_owned())
}

impl Args {
    /// Lists them.
    pub fn run(&self, place: &Place) -> Done {
        let (zone, now) = (TimeZone::system(), clock::now());
        let query = EventsQuery {
            since: self.since.as_ref().map(|since| since.at(now, &zone)),
            until: self.until.as_ref().map(|typed| typed.in_zone(&zone)),
            name: None,
            prefix: None,
            regex: self.regex.clone(),
            severity: self.severity,
            kind: self.kind,
            after: None,
            before: None,
            limit: Some(self.limit as usize),
        };
        let events: Vec<Event> = match self.target.reach(place)? {
            Reach::Up(client) => client.get(path::EVENTS, &query)?,
            Reach::Down(down) => {
                let query = view::event_query(&down.policy().agent.name, query);
                let query = query.map_err(|(why, hint)| Trouble::Wrong(format!("{why}\nhint: {hint}")))?;
                down.journal_known()?.events(&query)?
            }
        };
        if self.look.json {
            return ui::print_json(&events);
        }
        if events.is_empty() {
            return ui::print("nothing that matches has happened, as far as is known\n");
        }
        ui::print(&table(&events, &zone, now, Paint::stdout()).show(self.look))?;
        if events.len() >= self.limit as usize {
            ui::note(&format!("the newest {}; --limit shows more", self.limit));
        }
        Ok(())
    }
}

fn table(events: &[Event], zone: &TimeZone, now: Timestamp, paint: Paint) -> Table {
    let mut table = Table::new(&[">#", "!when", "what", "!name", "text"]);
    for event in events {
        let severity = |text: &str| paint.severity(event.severity, text);
        let what = match event.state {
            EventState::Problem => Cell::painted(event.severity.word(), severity),
            EventState::Update => Cell::painted("update", severity),
            EventState::Recovery => Cell::painted("recovery", |text| paint.good(text)),
            EventState::Info => Cell::painted(event.source.as_str(), severity),
        };
        let attempt = event.attempt.filter(|(n, of)| n != of && event.state != EventState::Recovery);
        let attempt = attempt.map_or_else(String::new, |(n, of)| format!("({n}/{of}) "));
        table.row(vec![
            event.seq.to_string().into(),
            when::brief(event.at, now, zone).into(),
            what,
            event.name.as_str().into(),
            format!("{attempt}{}", event.text).into(),
        ]);
    }
    table
}
