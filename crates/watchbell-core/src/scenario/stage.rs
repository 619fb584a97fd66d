//! Plays a scenario: a world, a clock, a store that keeps rows as text, checks and receivers that behave as the lines
//! say. What happens next is whatever is due first: a run or a try that ends, or the world's own wake-up.

use super::{Behaves, Command, EntryKind, Finds, Line, Loader, Report, Says, Scenario, When, report::Mismatch};
use crate::{
    config::Policy,
    engine::{Effects, Input, Message, RunOrder, SendOrder, State, World, step},
    model::{
        Action, Delivery, Event, EventKind, EventState, Exit, Failure, Finding, Metric, Name, Outcome, Raw, Receipt,
        Rows, SourceNews, Timestamp, Trouble, Verdict, Window,
    },
    state::lookback,
    wire::{run::unfinished, text},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// At one instant the engine may be stepped this often; more is an engine that never comes to rest.
const STEPS_AT_ONCE_MAX: u32 = 100_000;
/// With this many checks or fewer, the stored rows are read back and compared after every commit.
const CHECKS_VERIFIED_MAX: usize = 200;

/// Plays a scenario.
pub(super) fn play(scenario: &Scenario, policy: Arc<Policy>, loader: &mut Loader<'_>) -> Report {
    let mut stage = Stage::new(scenario, policy, loader);
    stage.begin();
    for line in &scenario.steps {
        stage.line(line);
    }
    stage.report
}

/// How a check behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Actor {
    finds: BTreeMap<Option<String>, Finds>,
    alternates: Option<Finds>,
    runs: u32,
    metrics: BTreeMap<String, f64>,
    /// What it says in one line while nothing is wrong.
    summary: Option<String>,
    hangs: bool,
    cannot_start: bool,
    takes: Duration,
    shown: String,
    /// Times of the rows that its query finds, in order.
    rows: Vec<Timestamp>,
    /// How many of them runs have seen.
    seen: u64,
    /// More rows keep coming: how often, and when the next one does.
    stream: Option<(Duration, Timestamp)>,
    /// Runs begun since the last expectation about them.
    pub begun: u32,
}

#[derive(Debug)]
enum Pending {
    Run { order: RunOrder, started: Timestamp, outcome: Box<Outcome> },
    Send { order: SendOrder },
}

/// What a receiver got.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub delivery: Arc<Delivery>,
    /// An expectation asked for it.
    pub asked: bool,
}

pub(super) struct Stage<'s, 'l> {
    scenario: &'s Scenario,
    loader: &'s mut Loader<'l>,
    /// The config's text in force, where the scenario brings its own.
    config: Option<usize>,
    /// The config as it is without `reload without`.
    full_policy: Arc<Policy>,
    policy: Arc<Policy>,
    pub world: Option<World>,
    rows: BTreeMap<(&'static str, String), String>,
    /// Sources that do not answer, and why.
    away: BTreeMap<String, String>,
    elapsed: Duration,
    skew_us: i64,
    pending: BTreeMap<(Duration, u64), Pending>,
    pending_seq: u64,
    pub actors: BTreeMap<Name, Actor>,
    behaves: BTreeMap<Name, Behaves>,
    takes: BTreeMap<Name, Duration>,
    pub heard: Vec<Heard>,
    keys_heard: BTreeSet<String>,
    pub events: Vec<(Event, bool)>,
    pub refused: Option<String>,
    pub warned: Option<String>,
    line: usize,
    pub report: Report,
}

impl<'s, 'l> Stage<'s, 'l> {
    fn new(scenario: &'s Scenario, policy: Arc<Policy>, loader: &'s mut Loader<'l>) -> Stage<'s, 'l> {
        Stage {
            scenario,
            loader,
            config: scenario.has_own_config.then_some(0),
            full_policy: policy.clone(),
            policy,
            world: None,
            rows: BTreeMap::new(),
            away: BTreeMap::new(),
            elapsed: Duration::ZERO,
            skew_us: 0,
            pending: BTreeMap::new(),
            pending_seq: 0,
            actors: BTreeMap::new(),
            behaves: BTreeMap::new(),
            takes: BTreeMap::new(),
            heard: Vec::new(),
            keys_heard: BTreeSet::new(),
            events: Vec::new(),
            refused: None,
            warned: None,
            line: 0,
            report: Report::default(),
        }
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        let start = self.scenario.start.as_micros().saturating_add(self.skew_us);
        Timestamp::from_micros(start) + self.elapsed
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn wrong(&mut self, text: &str, why: Mismatch) {
        let (line, now) = (self.line, self.now());
        self.report.fail(line, now, text, why);
    }

    fn line(&mut self, line: &Line) {
        self.line = line.number;
        if let (When::Within(patience), Command::Expect(expect)) = (line.when, &line.command) {
            let until = self.elapsed + patience;
            loop {
                match self.check(expect) {
                    Ok(()) => return,
                    Err(why) if !self.advance_once(until) => {
                        self.elapsed = until;
                        return self.wrong(&line.text, why);
                    }
                    Err(_) => {}
                }
            }
        }
        let is_expectation = matches!(line.command, Command::Expect(_) | Command::Wait);
        if let Some(to) = self.time_of(line) {
            self.advance(to, is_expectation);
        }
        if !is_expectation {
            let now = self.now();
            self.report.note(now, EntryKind::Line, &line.text);
        }
        let done = match &line.command {
            Command::Expect(expect) => self.check(expect),
            command => self.act(command),
        };
        if let Err(why) = done {
            self.wrong(&line.text, why);
        }
    }

    /// When a line happens, on the clock that nobody sets.
    fn time_of(&mut self, line: &Line) -> Option<Duration> {
        let to = match line.when {
            When::Now | When::Within(_) => self.elapsed,
            When::After(length) => self.elapsed + length,
            When::At(length) => length,
            When::Clock(at) => self.elapsed + at.since(self.now()),
        };
        let is_past = to < self.elapsed || matches!(line.when, When::Clock(at) if at < self.now());
        if is_past {
            let hint = "lines stand in the order of their times";
            self.wrong(&line.text, Mismatch::hint(format!("it is {} by then", self.now()), hint));
            return None;
        }
        Some(to)
    }

    /// Lets everything happen that is due before `to`, and at `to` if it is `inclusive`.
    fn advance(&mut self, to: Duration, inclusive: bool) {
        let until = if inclusive { to } else { to.saturating_sub(Duration::from_micros(1)) };
        while self.advance_once(until) {}
        self.elapsed = self.elapsed.max(to);
    }

    /// Lets all that is due first happen, if it is due by `until`.
    fn advance_once(&mut self, until: Duration) -> bool {
        let Some(next) = self.next_time().filter(|next| *next <= until) else { return false };
        self.elapsed = next;
        for _ in 0..STEPS_AT_ONCE_MAX {
            if self.next_time() != Some(next) {
                return true;
            }
            match self.pending.first_entry().filter(|p| p.key().0 <= next).map(|p| p.remove()) {
                Some(Pending::Run { order, started, outcome }) => self.run_ends(order, started, outcome),
                Some(Pending::Send { order }) => self.send_ends(order),
                None => self.input(Input::Wake),
            }
        }
        self.wrong("(engine)", Mismatch::new("the engine does not come to rest"));
        self.world = None;
        true
    }

    fn next_time(&self) -> Option<Duration> {
        let now = self.now();
        let wake = self.world.as_ref().and_then(World::next_wake).map(|at| self.elapsed + at.since(now));
        let pending = self.pending.first_key_value().map(|((at, _), _)| (*at).max(self.elapsed));
        wake.into_iter().chain(pending).min()
    }

    fn pend(&mut self, after: Duration, pending: Pending) {
        self.pending_seq += 1;
        self.pending.insert((self.elapsed + after, self.pending_seq), pending);
    }

    /// One step, committed at once; what it wants is set going.
    fn input(&mut self, input: Input) {
        let now = self.now();
        let Some(world) = &mut self.world else { return };
        let mut effects = step(world, now, input);
        (self.refused, self.warned) = (effects.refused.take(), effects.warned.take());
        self.commit(&mut effects);
        for order in effects.runs {
            self.run_begins(order);
        }
        for order in effects.sends {
            let notifier = &order.delivery.notifier;
            let mut takes = self.takes.get(notifier).copied().unwrap_or_default();
            if self.behaves.get(notifier) == Some(&Behaves::Hangs) {
                takes = self.policy.agent.deliver_timeout;
            }
            self.pend(takes, Pending::Send { order });
        }
    }

    fn commit(&mut self, effects: &mut Effects) {
        let Some(world) = &self.world else { return };
        let commit = effects.take_commit(&world.state);
        for row in commit.rows {
            match row.value {
                Some(value) => drop(self.rows.insert((row.table, row.key), value)),
                None => drop(self.rows.remove(&(row.table, row.key))),
            }
        }
        let verified = world.policy.checks.len() > CHECKS_VERIFIED_MAX || self.load().as_ref() == Ok(&world.state);
        let now = self.now();
        for event in commit.events {
            let state = format!("{:?}", event.state).to_lowercase();
            let text = format!("{state} {} {}: {}", event.severity, event.name, event.text);
            if event.kind != EventKind::Job || event.source == "job" {
                self.report.note(now, EntryKind::Event, text);
            }
            self.events.push((event, false));
        }
        for d in commit.decisions {
            let verdict = match d.verdict {
                Verdict::Tell => "tell",
                Verdict::Hold => "hold",
                Verdict::Drop => "drop",
            };
            let notifier = d.notifier.map_or_else(String::new, |n| format!(" {n}"));
            self.report.note(
                now,
                EntryKind::Decision,
                format!("{} {verdict}{notifier} by {}: {}", d.name, d.rule, d.text),
            );
        }
        if !verified {
            self.wrong("(engine)", Mismatch::new("what was stored is not what the engine knows"));
        }
    }

    fn load(&self) -> Result<State, Vec<String>> {
        let rows = self.rows.iter().map(|((table, key), value)| (*table, key.as_str(), value.as_str()));
        let (state, errors) = State::load(rows);
        if errors.is_empty() { Ok(state) } else { Err(errors) }
    }

    fn begin(&mut self) {
        if self.world.is_some() {
            return;
        }
        match self.load() {
            Ok(state) => {
                self.world = Some(World::new(self.policy.clone(), state));
                self.input(Input::Start { agent_id: "scenario".into() });
            }
            Err(errors) => self.wrong("(engine)", Mismatch::new(errors.join("; "))),
        }
    }

    /// The agent ends. `kindly`: it says so; either way what is under way is lost, and asked for again.
    fn stop(&mut self, kindly: bool) {
        if kindly {
            self.input(Input::Stop);
        }
        self.world = None;
        self.pending.clear();
    }

    /// The agent begins again, which reads its config anew: nothing is last good.
    fn begin_anew(&mut self) -> Result<(), Mismatch> {
        if let Some((_, text)) = self.config.and_then(|at| self.scenario.configs.get(at)) {
            self.policy = (self.loader)(text, true).map_err(Mismatch::new)?;
            self.full_policy = self.policy.clone();
        }
        self.begin();
        Ok(())
    }

    fn run_begins(&mut self, order: RunOrder) {
        let policy = self.policy.checks.get(&order.check).cloned();
        let timeout = policy.as_ref().map_or(Duration::ZERO, |c| c.timeout);
        let started = self.now();
        let actor = self.actors.entry(order.check.clone()).or_default();
        actor.begun += 1;
        let (mut outcome, takes) = actor.perform(timeout);
        if let Some(lookback) = policy.and_then(|policy| policy.lookback.clone()).filter(|_| !outcome.inconclusive) {
            let problem = self.away.get(lookback.source.as_str()).cloned();
            match &problem {
                Some(problem) => (outcome.inconclusive, outcome.summary) = (true, problem.clone()),
                None if lookback.value.is_some() => {}
                None => outcome.rows = Some(Box::new(actor.finds_rows(&order.windows, started))),
            }
            outcome.source = Some(SourceNews { source: lookback.source.clone(), problem });
        }
        self.pend(takes, Pending::Run { order, started, outcome: Box::new(outcome) });
    }

    fn run_ends(&mut self, order: RunOrder, started: Timestamp, outcome: Box<Outcome>) {
        let shown = shown(&outcome);
        let actor = self.actors.entry(order.check.clone()).or_default();
        if actor.shown != shown {
            let text = format!("{}: {shown}", order.check);
            actor.shown = shown;
            let now = self.now();
            self.report.note(now, EntryKind::Run, text);
        }
        self.input(Input::Result { check: order.check, run: order.run, started, outcome });
    }

    fn send_ends(&mut self, order: SendOrder) {
        let delivery = &order.delivery;
        let behaves = self.behaves.get(&delivery.notifier).cloned().unwrap_or(Behaves::Works);
        let failure = match &behaves {
            Behaves::Works | Behaves::Takes(_) => None,
            Behaves::Fails(reason) => Some(Failure::retry(reason.clone())),
            Behaves::Refuses(reason) => Some(Failure::permanent(reason.clone())),
            Behaves::Hangs => Some(Failure::retry("no answer in time")),
            Behaves::Resets => Some(Failure::retry("connection reset")),
            Behaves::RetryAfter(after) => {
                Some(Failure::Retry { after: Some(*after), reason: "429 too many requests".into() })
            }
        };
        if matches!(behaves, Behaves::Works | Behaves::Resets) {
            self.hear(delivery.clone());
        }
        let id = order.id;
        let input = match failure {
            None => {
                let receipt = Receipt { id: Some(format!("message-{id}")), text: "taken".into() };
                Input::Delivered { id, receipt }
            }
            Some(failure) => {
                let what = format!("{} {} to {}", delivery.action.word(), delivery.event.name, delivery.notifier);
                let (now, text) = (self.now(), format!("{what}, try {}: {}", order.attempt, failure.reason()));
                self.report.note(now, EntryKind::Failed, text);
                Input::DeliveryFailed { id, failure }
            }
        };
        self.input(input);
    }

    /// A receiver takes a delivery; one with a key that it knows is a repeat, which it drops.
    fn hear(&mut self, delivery: Arc<Delivery>) {
        let new = self.keys_heard.insert(delivery.key.clone());
        let repeat = if new { "" } else { " (a repeat, dropped)" };
        let target = if delivery.target.is_empty() { String::new() } else { format!("/{}", delivery.target) };
        let event = &delivery.event;
        let (action, notifier) = (delivery.action.word(), &delivery.notifier);
        let mut text = format!("{action} {} to {notifier}{target}: {}{repeat}", event.name, event.text);
        if delivery.action == Action::Digest {
            delivery.digest.iter().for_each(|e| text.push_str(&format!("\n{:>40} {}: {}", "-", e.name, e.text)));
        }
        let now = self.now();
        self.report.note(now, EntryKind::Delivery, text);
        if new {
            self.heard.push(Heard { delivery, asked: false });
        }
    }

    fn act(&mut self, command: &Command) -> Result<(), Mismatch> {
        match command {
            Command::Wait | Command::Expect(_) => {}
            Command::Say { check, part, says } => {
                let check = self.check_name(check)?;
                let now = self.now();
                self.actors.entry(check).or_default().says(part.clone(), says, now);
            }
            Command::Notifier { name, behaves } => {
                let name = self.notifier_name(name)?;
                match behaves {
                    Behaves::Takes(length) => drop(self.takes.insert(name, *length)),
                    _ => drop(self.behaves.insert(name, behaves.clone())),
                }
            }
            Command::Source { name, problem } => match problem {
                Some(problem) => drop(self.away.insert(name.clone(), problem.clone())),
                None => drop(self.away.remove(name)),
            },
            Command::Stop { kindly } => self.stop(*kindly),
            Command::Begin => self.begin_anew()?,
            Command::Restart { kindly } => {
                self.stop(*kindly);
                self.begin_anew()?;
            }
            Command::Away(length) => {
                self.stop(true);
                self.elapsed += *length;
                self.begin_anew()?;
            }
            Command::ClockJump(by_us) => {
                self.skew_us = self.skew_us.saturating_add(*by_us);
                self.input(Input::ClockJumped { by_us: *by_us });
            }
            Command::Reload { without } => self.reload_without(without)?,
            Command::Config(at) => {
                self.config = Some(*at);
                let text = self.scenario.configs.get(*at).map_or("", |(_, text)| text);
                self.full_policy = (self.loader)(text, false).map_err(Mismatch::new)?;
                self.policy = self.full_policy.clone();
                self.input(Input::Reload(self.policy.clone()));
            }
            command => self.somebody(command)?,
        }
        Ok(())
    }

    fn reload_without(&mut self, without: &[String]) -> Result<(), Mismatch> {
        let names = without.iter().map(|n| self.check_name(n)).collect::<Result<Vec<_>, _>>()?;
        let mut policy = (*self.full_policy).clone();
        policy.checks.retain(|name, _| !names.contains(name));
        self.policy = Arc::new(policy);
        self.input(Input::Reload(self.policy.clone()));
        Ok(())
    }

    /// What people and scripts do.
    fn somebody(&mut self, command: &Command) -> Result<(), Mismatch> {
        let now = self.now();
        let until = |lasts: &Option<Duration>| lasts.map(|d| now + d);
        let input = match command.clone() {
            Command::Report { check, finding } => {
                let (check, mut outcome) = (self.check_name(&check)?, Outcome::default());
                match finding {
                    Ok(summary) => outcome.summary = summary.unwrap_or_default(),
                    Err(finds) => outcome.findings.push(finds.finding(None)),
                }
                Input::Report { check, at: None, outcome: Box::new(outcome) }
            }
            Command::ReportStart { check } => Input::Begin { check: self.check_name(&check)?, at: None },
            Command::Squelch { regex, reason, by, lasts, permanent, every } => {
                Input::Squelch { regex, reason, by, until: until(&lasts), permanent, every }
            }
            Command::Unsquelch { regex, by } => Input::Unsquelch { regex, by },
            Command::Ack { fault, comment, by, lasts } => {
                Input::Acknowledge { fault: self.fault_name(&fault)?, by, comment, until: until(&lasts) }
            }
            Command::Unack { fault, by } => Input::Unacknowledge { fault: self.fault_name(&fault)?, by },
            Command::Run { check } => Input::RunNow { check: self.check_name(&check)?, by: "somebody".into() },
            Command::Send { text, severity, to, id, about } => Input::Message(Box::new(Message {
                at: None,
                source: "send".into(),
                name: about,
                severity,
                state: EventState::Info,
                topic: None,
                text,
                link: None,
                labels: BTreeMap::new(),
                notify: to.iter().map(Name::new).collect(),
                id,
            })),
            _ => return Ok(()),
        };
        self.input(input);
        Ok(())
    }
}

impl Finds {
    fn finding(&self, part: Option<String>) -> Finding {
        let (message, detail) = text::message_and_detail(&self.message);
        let finding = Finding::new(self.severity, message).with_detail(detail);
        // What is written to standard error is found by the monitor, not by the plugin.
        let trouble = part.as_ref().filter(|part| *part == "monitor-stderr").map(|_| Trouble::Partial);
        Finding { part, trouble, escalates: self.escalates, ..finding }
    }
}

impl Actor {
    fn says(&mut self, part: Option<String>, says: &Says, now: Timestamp) {
        match says {
            Says::Ok(summary) if part.is_none() => {
                self.summary.clone_from(summary);
                self.finds.clear();
                self.alternates = None;
                (self.hangs, self.cannot_start) = (false, false);
            }
            Says::Ok(_) => drop(self.finds.remove(&part)),
            Says::Finds(finds) => drop(self.finds.insert(part, finds.clone())),
            Says::Alternates(finds) => self.alternates = Some(finds.clone()),
            Says::Metric(name, value) => {
                let name = if name == crate::model::NAMELESS { "" } else { name };
                self.metrics.insert(name.to_owned(), *value);
            }
            Says::Hangs => self.hangs = true,
            Says::CannotStart => self.cannot_start = true,
            Says::RunsFor(length) => self.takes = *length,
            Says::Rows { count, ago } => {
                let time = now - *ago;
                let at = self.rows.partition_point(|row| *row <= time);
                self.rows.splice(at..at, (0..*count).map(|_| time));
            }
            Says::RowsEvery(every) => {
                self.rows_until(now);
                self.stream = every.map(|every| (every, now));
            }
        }
    }

    /// Lets rows come that have come by now.
    fn rows_until(&mut self, now: Timestamp) {
        let Some((every, next)) = &mut self.stream else { return };
        while *next <= now {
            let at = self.rows.partition_point(|row| row <= next);
            self.rows.insert(at, *next);
            *next = *next + *every;
        }
    }

    /// What a look-back's query finds and counts.
    fn finds_rows(&mut self, windows: &[Window], now: Timestamp) -> Rows {
        self.rows_until(now);
        let there = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        let new = there.saturating_sub(std::mem::replace(&mut self.seen, there));
        Rows { seen: there, new, counts: lookback::count(&self.rows, windows) }
    }

    /// One run: what it brings, and how long it takes.
    fn perform(&mut self, timeout: Duration) -> (Outcome, Duration) {
        let ends = match (self.cannot_start, self.hangs || self.takes > timeout) {
            (true, _) => None,
            (false, true) => Some(Exit::TimedOut),
            (false, false) => Some(Exit::Code(0)),
        };
        let took = if self.cannot_start { Duration::ZERO } else { self.takes };
        let took = if ends == Some(Exit::TimedOut) { timeout } else { took };
        if let Some(outcome) = unfinished(&Raw { exit: ends, took, ..Raw::default() }) {
            return (outcome, took);
        }
        self.runs += 1;
        let alternates = self.alternates.iter().filter(|_| self.runs % 2 == 1).map(|f| f.finding(None));
        let findings = alternates.chain(self.finds.iter().map(|(part, f)| f.finding(part.clone())));
        let findings: Vec<Finding> = findings.collect();
        let summary = findings.first().map(|f| f.message.clone()).or_else(|| self.summary.clone()).unwrap_or_default();
        let metrics = self.metrics.iter().map(|(name, value)| Metric::new(name, *value)).collect();
        (Outcome { findings, metrics, summary, exit: ends, took, ..Outcome::default() }, took)
    }
}

/// What a run brought, in short.
fn shown(outcome: &Outcome) -> String {
    let findings = outcome.findings.iter().map(|f| {
        let part = f.part.as_ref().map_or_else(String::new, |p| format!("#{p} "));
        format!("{part}{} {:?}", f.severity, f.message)
    });
    let metrics = outcome.metrics.iter().map(|m| format!("{}={}", m.name, m.value));
    let all: Vec<_> = findings.chain(metrics).collect();
    if all.is_empty() { "ok".to_owned() } else { all.join(", ") }
}
