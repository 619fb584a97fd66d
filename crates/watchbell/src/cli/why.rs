//! `watchbell why`: how something was decided and delivered, rule by rule.

use super::{
    client::{Reach, Target},
    faults::word,
    place::Place,
    table::{Look, one_line},
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::{
    api::{CheckView, FaultView, NameQuery, WaitingView, WhyEntryView, WhyIs, WhyQuery, WhyView, path, view},
    run::clock,
};
use jiff::tz::TimeZone;
use watchbell_core::{
    model::{Decision, Event, EventState, Verdict},
    state::digits::same_but_digits,
};

/// So many lines that come again and again together are folded into one block.
const FOLDED_LINES: usize = 8;

/// Explain a fault, an event or a delivery: which rule did what, and who was told
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Of a check it explains all: what happened to its parts (`CHECK#PART`), when it flapped, and when it \
                        could not be run. On a terminal long lines go on below; --wide and pipes keep each in one line."
)]
pub struct Args {
    /// A name (in full, or what comes after `//AGENT/`), an event's number, or a delivery's key
    id: String,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Explains it.
    pub fn run(&self, place: &Place) -> Done {
        let why: WhyView = match self.target.reach(place)? {
            Reach::Up(client) => match client.get(path::WHY, &WhyQuery { id: self.id.clone() }) {
                Err(Trouble::Wrong(why)) if !self.look.json => {
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
                    if let Some(check) = checks().find(|c| c.name == full).filter(|_| !self.look.json) {
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
        if self.look.json {
            return ui::print_json(&why);
        }
        ui::print(&ui::wrapped(&show(&why, &TimeZone::system(), Paint::stdout()), self.look.width()))
    }
}

/// A check to which nothing has happened.
fn uneventful(check: &CheckView) -> String {
    let last = match &check.last {
        Some(last) => {
            format!("its last run was {}: {}", when::ago(last.started, clock::now()), one_line(&last.summary))
        }
        None => "it has not run yet".to_owned(),
    };
    let name = Paint::stdout().head(&one_line(&check.name));
    format!("{name}\nnow: not wrong\n\nnothing has happened to it, as far as is known; {last}\n")
}

fn show(why: &WhyView, zone: &TimeZone, paint: Paint) -> String {
    let what = match why.kind {
        WhyIs::Name => "",
        WhyIs::Event => "event ",
        WhyIs::Delivery => "delivery ",
    };
    let mut out = format!("{}\n", paint.head(&format!("{what}{}", one_line(&why.id))));
    match &why.fault {
        Some(fault) => {
            let attempt = format!("attempt {} of {}", fault.attempt, fault.attempts);
            let severity = paint.severity(fault.severity, word(fault.severity, fault.unknown));
            let since = when::plain(fault.since, zone);
            out.push_str(&format!("now: {severity} since {since}, {attempt}: {}\n", one_line(&fault.message)));
            if let Some(held) = &fault.held {
                out.push_str(&format!("held: {} ({})\n", one_line(&held.text), held.rule));
            }
            for held in &fault.held_for {
                let notifier = held.notifier.as_deref().unwrap_or_default();
                out.push_str(&format!("held for {}: {} ({})\n", one_line(notifier), one_line(&held.text), held.rule));
            }
            if let Some(runbook) = &fault.runbook {
                out.push_str(&format!("runbook: {}\n", ui::clean(runbook)));
            }
        }
        None if why.kind == WhyIs::Name && why.parts.is_empty() => out.push_str("now: not wrong\n"),
        None => {}
    }
    for part in &why.parts {
        out.push_str(&part_line(part, zone, paint));
    }
    out.push('\n');
    if why.cut {
        out.push_str("(older entries are left out)\n");
    }
    for (entry, first, times) in fold(&why.entries) {
        let line = entry_line(entry, why, zone, paint);
        match times {
            1 => out.push_str(&line),
            _ => {
                let since = paint.dim(&format!("({times} times since {})", when::plain(first.at, zone)));
                out.push_str(&format!("{}  {since}\n", line.trim_end_matches('\n')));
            }
        }
    }
    for waiting in &why.waiting {
        out.push_str(&waiting_line(waiting, zone));
    }
    out
}

/// What came again and again, as a fault that is told, taken and told anew, stands once: its last entry, its first, and
/// how often. Numbers in texts, positions and keys make no difference.
fn fold(entries: &[WhyEntryView]) -> Vec<(&WhyEntryView, &WhyEntryView, usize)> {
    let mut folded = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let times = |length: usize| {
            let (block, more) = rest.split_at(length);
            1 + more.chunks_exact(length).take_while(|next| next.iter().zip(block).all(|(a, b)| is_again(a, b))).count()
        };
        let lengths = 1..=FOLDED_LINES.min(rest.len() / 2);
        let best = lengths.map(|length| (times(length), length)).filter(|(times, _)| *times > 1);
        // The most lines in all, of these the shortest block.
        let best = best.max_by_key(|(times, length)| (times * length, std::cmp::Reverse(*length)));
        let (times, length) = best.unwrap_or((1, 1));
        let last = (times - 1) * length;
        folded.extend((0..length).map(|i| (&rest[last + i], &rest[i], times)));
        rest = &rest[times * length..];
    }
    folded
}

/// Whether two entries say the same.
fn is_again(a: &WhyEntryView, b: &WhyEntryView) -> bool {
    match (&a.event, &b.event, &a.decision, &b.decision) {
        (Some(a), Some(b), _, _) => {
            (a.kind, a.state, a.severity, &a.name) == (b.kind, b.state, b.severity, &b.name)
                && same_but_digits(&a.text, &b.text)
        }
        (None, None, Some(a), Some(b)) => {
            (a.verdict, &a.rule, &a.notifier, &a.name) == (b.verdict, &b.rule, &b.notifier, &b.name)
                && same_but_digits(&a.text, &b.text)
        }
        _ => false,
    }
}

/// What is wrong with a part of a check.
fn part_line(fault: &FaultView, zone: &TimeZone, paint: Paint) -> String {
    let severity = paint.severity(fault.severity, fault.severity.word());
    let (name, since) = (one_line(&fault.name), when::plain(fault.since, zone));
    let held = fault.held.as_ref().map_or_else(String::new, |held| format!(" (held: {})", one_line(&held.text)));
    format!("now: {name} {severity} since {since}: {}{held}\n", one_line(&fault.message))
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
        EventState::Problem => paint.severity(event.severity, &format!("problem {}", event.word())),
        EventState::Update => paint.severity(event.severity, &format!("update {}", event.word())),
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
        format!(" {}", one_line(&decision.name))
    };
    let key = decision.delivery.as_ref().map_or_else(String::new, |key| paint.dim(&format!("  [{key}]")));
    format!("{verdict}{notifier}{name}: {} ({}){key}", one_line(&decision.text), decision.rule)
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
    let last = waiting.last_failure.as_ref().map_or_else(String::new, |why| format!(": {}", one_line(why)));
    format!("waiting: {} by {}, {tries}{last}  [{}]\n", waiting.action, waiting.notifier, waiting.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchbell_core::model::Timestamp;

    fn decision(at: i64, rule: &str, text: &str) -> WhyEntryView {
        let decision = Decision {
            at: Timestamp::from_secs(at),
            name: "//h/f/c".into(),
            episode: 1,
            notifier: Some("ops".into()),
            rule: rule.into(),
            verdict: Verdict::Tell,
            text: text.into(),
            delivery: Some(format!("key/{at}")),
            event: None,
        };
        WhyEntryView { at: Timestamp::from_secs(at), event: None, decision: Some(decision) }
    }

    /// Lines that repeat, alone or in blocks, stand once with their number, first and last time.
    #[test]
    fn repeats_are_folded() {
        let cases = [
            ("", ""),
            ("a", "a1"),
            ("a a a", "a3"),
            ("a b", "a1 b1"),
            ("x a b a b a b y", "x1 a3 b3 y1"),
            ("a b c a b c d", "a2 b2 c2 d1"),
            ("a a b a a b", "a2 a2 b2"),
            ("x y y y y z z", "x1 y4 z2"),
        ];
        for (lines, expect) in cases {
            let lines = lines.split_whitespace().enumerate();
            let entries: Vec<_> =
                lines.map(|(i, word)| decision(i as i64, word, &format!("{word} at try {i}"))).collect();
            let shown = fold(&entries).into_iter().map(|(entry, first, times)| {
                assert!(first.at <= entry.at);
                format!("{}{times}", entry.decision.as_ref().unwrap().rule)
            });
            assert_eq!(shown.collect::<Vec<_>>().join(" "), expect);
        }
        let many: Vec<_> = (0..18).map(|i| decision(i, "told", "trigger: its message changed")).collect();
        let folded = fold(&many);
        assert_eq!((folded.len(), folded[0].0.at.as_secs(), folded[0].1.at.as_secs(), folded[0].2), (1, 17, 0, 18));
    }
}
