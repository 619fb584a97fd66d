//! The engine: `step(&mut World, now, Input) -> Effects`.
//!
//! Deterministic: it reads no clock, file or random source, it cannot fail, and the same inputs give the same
//! effects. What one input goes through, in order:
//!
//! ```text
//! input ─▶ checks    due? running? what did the run bring?          checks.rs, passive.rs
//!        ─▶ faults   soft, hard, changed, gone          → events     faults.rs
//!        ─▶ tell     squelch → parent → acknowledged → flapping
//!                    → hours → what does each receiver believe?      tell.rs
//!        ─▶ outbox   order, pace, digest                             outbox.rs
//!                    retry, give up, hand to the next in line        undelivered.rs
//! ```
//! Operators' inputs (squelch, acknowledge, run now, send) enter at `operator.rs` and leave the same way;
//! `policy.rs` adopts a new config and compares it with the state; `clock.rs` is for a wall clock that was set.

mod checks;
mod clock;
mod derived;
mod effects;
mod faults;
mod input;
mod lookback;
mod names;
mod operator;
mod outbox;
mod passive;
mod policy;
mod results;
mod tell;
mod timers;
mod undelivered;
mod world;

pub use effects::{Commit, Effects, ResultRecord, RunOrder, SendOrder};
pub use input::{Input, Message};
pub use world::{Meta, Past, Row, RowKey, State, Told, ToldKey, World};

use crate::state::squelch::Squelch;
use crate::{
    config::CheckPolicy,
    model::{Decision, Event, EventKind, EventState, Metric, Name, Outcome, Severity, Timestamp, Verdict},
};
use derived::Timer;
use std::{collections::BTreeSet, sync::Arc};

/// Takes one input in. See the module.
pub fn step(world: &mut World, now: Timestamp, input: Input) -> Effects {
    let mut step = Step::new(world, now);
    step.take(input);
    step.due_timers();
    step.run_soon();
    step.start_ready();
    step.pump_lanes();
    step.fx
}

/// The same while no agent runs: nothing is begun and nothing sent, so no try is counted that never happened. What is
/// decided waits for the next start.
pub fn step_at_rest(world: &mut World, now: Timestamp, input: Input) -> Effects {
    let mut step = Step::new(world, now);
    step.take(input);
    step.fx
}

/// One step under way: the world, the time, and what has been decided so far.
struct Step<'w> {
    world: &'w mut World,
    now: Timestamp,
    /// When what is taken in happened: now, or earlier where it waited for the agent.
    at: Timestamp,
    /// Since when what a run says has been so: its start.
    evidence: Timestamp,
    /// The fault that is being found.
    finding: Option<Name>,
    /// The run that is being judged, for what it says of faults that are gone.
    judged: Option<Judged>,
    /// The event whose consequences are being worked out.
    cause: Option<u64>,
    /// The clock was set in this step, by so much.
    jumped_us: Option<i64>,
    fx: Effects,
    /// Notifiers whose lane may be able to move.
    lanes: BTreeSet<Name>,
    /// Checks of which a fault waits for a run. They get theirs once all else has set its timers.
    soon: BTreeSet<Name>,
}

/// A run that is being judged: what it says of things that are well.
struct Judged {
    check: Name,
    /// One line, of the check as a whole.
    summary: String,
    metrics: Vec<Metric>,
    /// It found nothing wrong: its line speaks for each part.
    is_well: bool,
}

impl Judged {
    fn of(check: &CheckPolicy, outcome: &Outcome, worst: Option<Severity>) -> Judged {
        let (summary, metrics) = (outcome.summary.clone(), outcome.metrics.clone());
        Judged { check: check.name.clone(), summary, metrics, is_well: worst.is_none() && !outcome.inconclusive }
    }
}

impl<'w> Step<'w> {
    fn new(world: &'w mut World, now: Timestamp) -> Step<'w> {
        let fx = Effects::default();
        let (lanes, soon) = (BTreeSet::new(), BTreeSet::new());
        Step {
            world,
            now,
            at: now,
            evidence: now,
            finding: None,
            judged: None,
            cause: None,
            jumped_us: None,
            fx,
            lanes,
            soon,
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Start { agent_id } => self.start(agent_id),
            Input::Reload(policy) => self.reload(policy),
            Input::Wake => {}
            Input::Result { check: _, run, started, outcome } => self.result(run, started, *outcome),
            Input::Report { check, at, outcome } => self.as_of(at, |step| step.report(&check, *outcome)),
            Input::Begin { check, at } => self.as_of(at, |step| step.begin(&check)),
            Input::Delivered { id, receipt } => self.delivered(id, receipt),
            Input::DeliveryFailed { id, failure } => self.delivery_failed(id, &failure),
            Input::Squelch { regex, reason, by, until, permanent, every } => {
                let at = self.now;
                self.squelch(Squelch { regex, reason, by, at, until, permanent, every });
            }
            Input::Unsquelch { regex, by } => self.unsquelch(&regex, &by),
            Input::Acknowledge { fault, by, comment, until } => self.acknowledge(&fault, by, comment, until),
            Input::Unacknowledge { fault, by } => self.unacknowledge(&fault, &by),
            Input::RunNow { check, by } => self.run_now(&check, &by),
            Input::Message(message) => self.as_of(message.at, |step| step.message(*message)),
            Input::Own { part, finding } => self.own(&part, finding),
            Input::ClockJumped { by_us } => self.clock_jumped(by_us),
            Input::Stop => self.stop(),
        }
    }
}

impl Step<'_> {
    /// Handles every timer that is due.
    fn due_timers(&mut self) {
        while let Some((at, timer)) = self.world.derived.timers.due(self.now) {
            if !matches!(timer, Timer::Check(_)) {
                self.world.derived.timers.set(timer.clone(), None);
            }
            match timer {
                // Sets its own timer anew, which costs less than to take it out and put it in.
                Timer::Check(check) => self.due(&check, at),
                Timer::Refresh(check) => self.overdue(&check),
                Timer::Tell(fault) => self.reconcile(&fault, None),
                Timer::Source(source) => self.source_grace_ends(&source),
                Timer::Squelch(regex) => self.squelch_turns(&regex),
                Timer::Outbox(notifier) => drop(self.lanes.insert(notifier)),
                Timer::Monitors => self.judge_monitors(),
                Timer::Purge => self.purge(),
            }
        }
    }

    /// Takes in what may have waited for the agent: what it leads to happened then, and is known only now.
    fn as_of(&mut self, at: Option<Timestamp>, take_in: impl FnOnce(&mut Self)) {
        self.at = at.map_or(self.now, |at| at.min(self.now));
        self.evidence = self.at;
        take_in(self);
        (self.at, self.evidence) = (self.now, self.now);
    }

    /// Works out what an event leads to: the events that come of it name it as their cause.
    fn because_of(&mut self, event: u64, consequences: impl FnOnce(&mut Self)) {
        let before = self.cause.replace(event);
        consequences(self);
        self.cause = before;
    }

    /// Marks a row as changed.
    fn touch(&mut self, key: RowKey) {
        self.fx.changed.insert(key);
    }

    /// Appends an event to the stream and returns it; `fill` adds what is not common to all.
    fn event(
        &mut self,
        kind: EventKind,
        state: EventState,
        severity: Severity,
        name: &Name,
        fill: impl FnOnce(&mut Event),
    ) -> Event {
        self.world.state.meta.seq += 1;
        self.touch(RowKey::Meta);
        let agent = &self.world.policy.agent.name;
        let mut event = Event {
            seq: self.world.state.meta.seq,
            at: self.at,
            received_at: self.now,
            kind,
            state,
            severity,
            unknown: false,
            source: "agent".into(),
            name: name.clone(),
            key: name.to_string(),
            host: agent.to_string(),
            service: short(name).to_owned(),
            topic: None,
            text: String::new(),
            detail: String::new(),
            now: None,
            taken: None,
            description: None,
            link: None,
            runbook: None,
            labels: Default::default(),
            since: None,
            attempt: None,
            caused_by: self.cause,
            original: None,
        };
        fill(&mut event);
        self.fx.events.push(event.clone());
        event
    }

    /// Appends one line to the trail.
    fn decide(&mut self, name: &Name, rule: &str, verdict: Verdict, text: impl Into<String>) -> &mut Decision {
        let at = self.fx.decisions.len();
        self.fx.decisions.push(Decision {
            at: self.now,
            name: name.clone(),
            episode: self.world.state.faults.get(name).map_or(0, |f| f.episode),
            notifier: None,
            rule: rule.to_owned(),
            verdict,
            text: text.into(),
            delivery: None,
            event: None,
        });
        &mut self.fx.decisions[at]
    }

    /// The policy of a check, or a bare one for what has no check in the config but belongs to the agent.
    fn check_policy(&self, check: &Name, fault: &Name) -> Option<Arc<CheckPolicy>> {
        if let Some(policy) = self.world.policy.checks.get(check) {
            return Some(policy.clone());
        }
        if self.is_config(check) {
            return Some(Arc::new(CheckPolicy::bare(check.clone(), self.config_notify(fault))));
        }
        self.is_own(check).then(|| Arc::new(CheckPolicy::bare(check.clone(), self.healthy_notifiers())))
    }

    /// The name of one of the agent's own things: `AGENT#PART`.
    fn own_name(&self, part: &str) -> Name {
        self.world.policy.agent.name.part(part)
    }

    /// Whether this is the pseudo-check of config faults.
    fn is_config(&self, check: &Name) -> bool {
        *check == self.own_name("config")
    }

    /// Whether this belongs to the agent or to `watchbell exec`, and not to a check of the config.
    fn is_own(&self, check: &Name) -> bool {
        let agent = &self.world.policy.agent.name;
        check.strip_prefix(agent.as_str()).is_some_and(|rest| rest.starts_with('#')) || self.is_exec(check)
    }
}

/// The last part of a name, for people: `CHECK#PART`.
fn short(name: &str) -> &str {
    name.trim_end_matches('/').rsplit('/').next().unwrap_or(name)
}
