//! `watchbell why`: how something was decided and delivered, rule by rule.

use super::{
    client::{Reach, Target},
    place::Place,
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::{
    api::{CheckView, NameQuery, WaitingView, WhyEntryView, WhyIs, WhyQuery, WhyView, path, view},
    run::clock,
};
use jiff::tz::TimeZone;
use watchbell_core::model::{Decision, Event, EventState, Verdict};

/// Explain a fault, an event or a delivery: which rule did what, and who was told
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A name (in full, or what comes after `//AGENT/`), an event's number, or a delivery's key
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Explains it.
    pub fn run(&self, place: &Place) -> Done {
        let why: WhyView = match self.target.reach(place)? {
            Reach::Up(client) => match client.get(path::WHY, &WhyQuery { id: self.id.clone() }) {
                Err(Trouble::Wrong(why)) if !self.json => {
                    let check = client.get::<CheckView>(path::CHECK, &NameQuery { name: self.id.clone() });
                    return ui::print(&uneventful(&check.map_err(|_| Trouble::Wrong(why))?));
                }
                answer => answer?,
            },
            Reach::Down(down) => {
                let (state, journal) = down.knew()?;
                let full = view::full_name(&down.policy().agent.name, &self.id);
                let found = match journal.why(&self.id)? {
                    Some(found) => Some(found),
                    None => journal.why(&full)?,
                };
                let checks = || view::checks(down.policy(), &state).into_iter();
                let Some(found) = found else {
                    if let Some(check) = checks().find(|c| c.name == full).filter(|_| !self.json) {
                        return ui::print(&uneventful(&check));
                    }
                    return Err(Trouble::Wrong(format!(
                        "nothing is known of `{}`\nhint: `watchbell faults` and `watchbell checks` list names; an \
                         event's number is `seq` in what a notifier gets",
                        self.id
                    )));
                };
                view::why(down.policy(), &state, &view::Squelched::of(&state), found)
            }
        };
        if self.json {
            return ui::print_json(&why);
        }
        ui::print(&show(&why, &TimeZone::system(), Paint::stdout()))
    }
}

/// A check to which nothing has happened.
fn uneventful(check: &CheckView) -> String {
    let last = match &check.last {
        Some(last) => {
            format!("its last run was {}: {}", when::ago(last.started, clock::now()), ui::clean(&last.summary))
        }
        None => "it has not run yet".to_owned(),
    };
    let name = Paint::stdout().head(&ui::clean(&check.name));
    format!("{name}\nnow: not wrong\n\nnothing has happened to it, as far as is known; {last}\n")
}

fn show(why: &WhyView, zone: &TimeZone, paint: Paint) -> String {
    let what = match why.kind {
        WhyIs::Name => "",
        WhyIs::Event => "event ",
        WhyIs::Delivery => "delivery ",
    };
    let mut out = format!("{}\n", paint.head(&format!("{what}{}", ui::clean(&why.id))));
    match &why.fault {
        Some(fault) => {
            let attempt = format!("attempt {} of {}", fault.attempt, fault.attempts);
            let severity = paint.severity(fault.severity, fault.severity.word());
            let since = when::plain(fault.since, zone);
            out.push_str(&format!("now: {severity} since {since}, {attempt}: {}\n", ui::clean(&fault.message)));
            if let Some(held) = &fault.held {
                out.push_str(&format!("held: {} ({})\n", ui::clean(&held.text), held.rule));
            }
            if let Some(runbook) = &fault.runbook {
                out.push_str(&format!("runbook: {}\n", ui::clean(runbook)));
            }
        }
        None if why.kind == WhyIs::Name => out.push_str("now: not wrong\n"),
        None => {}
    }
    out.push('\n');
    if why.cut {
        out.push_str("(older entries are left out)\n");
    }
    for entry in &why.entries {
        out.push_str(&entry_line(entry, why, zone, paint));
    }
    for waiting in &why.waiting {
        out.push_str(&waiting_line(waiting, zone));
    }
    out
}

fn entry_line(entry: &WhyEntryView, why: &WhyView, zone: &TimeZone, paint: Paint) -> String {
    let at = paint.dim(&when::plain(entry.at, zone));
    match (&entry.event, &entry.decision) {
        (Some(event), _) => format!("{at}  {}\n", event_text(event, why, paint)),
        (None, Some(decision)) => format!("{at}    {}\n", decision_text(decision, why, paint)),
        (None, None) => String::new(),
    }
}

fn event_text(event: &Event, why: &WhyView, paint: Paint) -> String {
    let state = match event.state {
        EventState::Problem => paint.severity(event.severity, &format!("problem {}", event.severity)),
        EventState::Update => paint.severity(event.severity, &format!("update {}", event.severity)),
        EventState::Recovery => paint.good("recovery"),
        EventState::Info => event.source.clone(),
    };
    let attempt = event.attempt.filter(|(n, of)| n != of).map_or_else(String::new, |(n, of)| format!(" ({n} of {of})"));
    // The name is said once, above.
    let name = if *event.name == *why.id { String::new() } else { format!(" {}", ui::clean(&event.name)) };
    let cause = event.caused_by.map_or_else(String::new, |seq| paint.dim(&format!("  [because of #{seq}]")));
    format!("#{} {state}{name}: {}{attempt}{cause}", event.seq, ui::clean(&event.text))
}

fn decision_text(decision: &Decision, why: &WhyView, paint: Paint) -> String {
    let verdict = match decision.verdict {
        Verdict::Tell => paint.good("tell"),
        Verdict::Hold => paint.dim("hold"),
        Verdict::Drop => paint.dim("drop"),
    };
    let notifier = decision.notifier.as_ref().map_or_else(String::new, |n| format!(" {n}"));
    let name = if *decision.name == *why.id || why.kind != WhyIs::Name {
        String::new()
    } else {
        format!(" {}", ui::clean(&decision.name))
    };
    let key = decision.delivery.as_ref().map_or_else(String::new, |key| paint.dim(&format!("  [{key}]")));
    format!("{verdict}{notifier}{name}: {} ({}){key}", ui::clean(&decision.text), decision.rule)
}

fn waiting_line(waiting: &WaitingView, zone: &TimeZone) -> String {
    let tries = match waiting.failures {
        0 => "not tried yet".to_owned(),
        n => format!(
            "{}; the next is not before {}",
            ui::count(n as usize, "failed try").replace("trys", "tries"),
            when::plain(waiting.not_before, zone)
        ),
    };
    let last = waiting.last_failure.as_ref().map_or_else(String::new, |why| format!(": {}", ui::clean(why)));
    format!("waiting: {} by {}, {tries}{last}  [{}]\n", waiting.action, waiting.notifier, waiting.key)
}
