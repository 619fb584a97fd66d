//! Every short sequence of what can happen to one check, against the invariants of [`common::audit`].
//!
//! `WATCHBELL_DEPTH=6 cargo test -p watchbell-core --test enumeration --release` goes deeper than the default.

#[allow(dead_code)] // each test binary uses its own part of it
mod common;

use common::{Agent, audit::Audit};
use std::{sync::Arc, time::Duration};
use watchbell_core::{
    config::Policy,
    engine::{Input, SendOrder, State, World, step},
    model::{Failure, Finding, Name, Outcome, Receipt, Severity, Timestamp},
};

/// Sequences up to this long.
const DEPTH_DEFAULT: usize = 4;
/// More steps than this to reach the next run is an engine that does not come to rest.
const STEPS_MAX: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Letter {
    Ok,
    Warning,
    Error,
    Critical,
    /// Critical, with another text.
    Other,
    Squelch,
    Unsquelch,
    Ack,
    Crash,
    Fails,
    Refuses,
    Works,
}

const LETTERS: &[Letter] = &[
    Letter::Ok,
    Letter::Warning,
    Letter::Error,
    Letter::Critical,
    Letter::Other,
    Letter::Squelch,
    Letter::Unsquelch,
    Letter::Ack,
    Letter::Crash,
    Letter::Fails,
    Letter::Refuses,
    Letter::Works,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behaves {
    Works,
    Fails,
    Refuses,
}

/// A world with one check, and its receivers.
#[derive(Clone)]
struct Play {
    policy: Arc<Policy>,
    world: World,
    stored: State,
    audit: Audit,
    now: Timestamp,
    behaves: Behaves,
    /// What the next run finds.
    finds: Option<(Severity, &'static str)>,
    ran: bool,
}

impl Play {
    fn new(policy: Arc<Policy>) -> Play {
        let mut play = Play {
            world: World::new(policy.clone(), State::default()),
            policy,
            stored: State::default(),
            audit: Audit::default(),
            now: Timestamp::from_secs(1_767_600_000),
            behaves: Behaves::Works,
            finds: None,
            ran: false,
        };
        play.input(Input::Start { agent_id: "a".into() });
        play
    }

    /// One step, committed at once; runs end and tries are answered at once.
    fn input(&mut self, input: Input) {
        let mut effects = step(&mut self.world, self.now, input);
        let commit = effects.take_commit(&self.world.state);
        self.audit.committed(&commit);
        for row in &commit.rows {
            match &row.value {
                Some(value) => self.stored.put_row(row.table, &row.key, value).expect("it was written"),
                None => self.stored.remove_row(row.table, &row.key),
            }
        }
        assert_eq!(self.stored, self.world.state, "what is stored is what is known");
        for run in effects.runs {
            self.ran = true;
            let findings = self.finds.map(|(severity, text)| Finding::new(severity, text)).into_iter().collect();
            let outcome = Box::new(Outcome { findings, ..Outcome::default() });
            self.input(Input::Result { check: run.check, run: run.run, started: self.now, outcome });
        }
        for order in effects.sends {
            self.send(&order);
        }
    }

    fn send(&mut self, order: &SendOrder) {
        self.audit.sent(order).expect("every try is right");
        // Only `ops` is ever in trouble.
        let behaves = if &*order.delivery.notifier == "ops" { self.behaves } else { Behaves::Works };
        let id = order.id;
        match behaves {
            Behaves::Works => {
                self.audit.taken(&order.delivery).expect("nobody is told twice");
                self.input(Input::Delivered { id, receipt: Receipt { id: Some(id.to_string()), text: String::new() } });
            }
            Behaves::Fails => self.input(Input::DeliveryFailed { id, failure: Failure::retry("500") }),
            Behaves::Refuses => self.input(Input::DeliveryFailed { id, failure: Failure::permanent("401") }),
        }
    }

    /// Time goes on until the check has run once more.
    fn run(&mut self) {
        self.ran = false;
        for _ in 0..STEPS_MAX {
            let at = self.world.next_wake().expect("the check is due some time");
            self.now = self.now.max(at);
            self.input(Input::Wake);
            if self.ran {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Time goes on for twelve minutes: longer than any wait that these sequences can bring.
    fn rest(&mut self) {
        let until = self.now + Duration::from_secs(720);
        for _ in 0..STEPS_MAX {
            match self.world.next_wake().filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.input(Input::Wake);
        }
        self.now = until;
    }

    fn restart(&mut self) {
        self.world = World::new(self.policy.clone(), self.stored.clone());
        self.input(Input::Start { agent_id: "a".into() });
    }

    fn play(&mut self, letter: Letter) -> bool {
        let check = Name::new("//web-1/main/disk");
        let squelched = !self.world.state.squelches.is_empty();
        match letter {
            Letter::Ok => self.finds = None,
            Letter::Warning => self.finds = Some((Severity::Warning, "warm")),
            Letter::Error => self.finds = Some((Severity::Error, "hot")),
            Letter::Critical => self.finds = Some((Severity::Critical, "fire")),
            Letter::Other => self.finds = Some((Severity::Critical, "fire and smoke")),
            Letter::Squelch | Letter::Unsquelch if squelched != (letter == Letter::Unsquelch) => return false,
            Letter::Squelch => {
                let (regex, reason, by) = ("disk".into(), "x".into(), "joe".into());
                self.input(Input::Squelch { regex, reason, by, until: None, permanent: false, every: None });
            }
            Letter::Unsquelch => self.input(Input::Unsquelch { regex: "disk".into(), by: "joe".into() }),
            Letter::Ack => {
                let Some(fault) = self.world.state.faults.get(&check) else { return false };
                if fault.acknowledged.is_some() {
                    return false;
                }
                let until = Some(self.now + Duration::from_secs(150));
                let (by, comment) = ("joe".into(), "x".into());
                self.input(Input::Acknowledge { fault: check, by, comment, until });
            }
            Letter::Crash => self.restart(),
            Letter::Fails | Letter::Refuses | Letter::Works => {
                let behaves = match letter {
                    Letter::Fails => Behaves::Fails,
                    Letter::Refuses => Behaves::Refuses,
                    _ => Behaves::Works,
                };
                if behaves == self.behaves {
                    return false;
                }
                self.behaves = behaves;
            }
        }
        if matches!(letter, Letter::Ok | Letter::Warning | Letter::Error | Letter::Critical | Letter::Other) {
            self.run();
        }
        true
    }

    /// After all of this: when the notifiers work again, everybody knows what is true; and when it is well, nothing
    /// stays open.
    fn settles(mut self) -> Result<(), String> {
        self.audit.nothing_lost(&self.world)?;
        self.behaves = Behaves::Works;
        self.rest();
        self.restart();
        self.rest();
        self.audit.nothing_lost(&self.world)?;
        self.audit.beliefs_hold(&self.world)?;
        self.audit.truth_is_known(&self.world)?;
        self.finds = None;
        self.run();
        self.rest();
        self.audit.beliefs_hold(&self.world)?;
        self.audit.truth_is_known(&self.world)?;
        if !self.world.state.told.is_empty() || !self.world.state.faults.is_empty() {
            return Err(format!("not at rest: {:?} {:?}", self.world.state.told, self.world.state.faults));
        }
        Ok(())
    }
}

/// What came of it, or the text of its panic.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f))
        .map_err(|why| why.downcast_ref::<String>().cloned().unwrap_or_default())
}

fn explore(play: &Play, path: &mut Vec<Letter>, depth: usize, count: &mut u64) {
    *count += 1;
    let end = play.clone();
    match caught(move || end.settles()) {
        Ok(Ok(())) => {}
        Ok(Err(why)) | Err(why) => panic!("after {path:?}: {why}"),
    }
    if depth == 0 {
        return;
    }
    for letter in LETTERS {
        let mut next = play.clone();
        path.push(*letter);
        match caught(|| next.play(*letter)) {
            Ok(true) => explore(&next, path, depth - 1, count),
            Ok(false) => {}
            Err(why) => panic!("after {path:?}: {why}"),
        }
        path.pop();
    }
}

/// S3.6, S3.7, S3.9, S3.10: whatever happens in whatever order, nobody is told twice, nothing is lost, and in the end
/// everybody knows what is true.
#[test]
fn every_short_sequence_keeps_the_invariants() {
    let depth = std::env::var("WATCHBELL_DEPTH").ok().and_then(|d| d.parse().ok()).unwrap_or(DEPTH_DEFAULT);
    let checks = [
        "notify = [\"ops\"]",
        "notify = [\"ops\", \"chat\"]\nrenotify = \"on-change\"",
        "notify = [\"chat\"]\nrenotify = \"3m\"\nretry = 0",
    ];
    let mut total = 0;
    for (i, lines) in checks.iter().enumerate() {
        let text = format!(
            "[notify.chat]\nkind = \"chat\"\n[check.disk]\ncommand = \"x\"\nevery = \"5m\"\nretry = 1\n{lines}\n"
        );
        let text = if lines.contains("retry = 0") { text.replace("retry = 1\n", "") } else { text };
        let policy = Agent::new().load(&text, true).expect("the config is right");
        let mut count = 0;
        // The first is the plainest, and goes deepest.
        explore(&Play::new(policy), &mut Vec::new(), depth - usize::from(i > 0), &mut count);
        total += count;
    }
    println!("{total} sequences of up to {depth}");
    assert!(depth < DEPTH_DEFAULT || total > 8_000, "{total}");
}
