//! Simulated days of an agent whose store, notifiers, clock and process fail at random, against the invariants of
//! [`common::audit`].
//!
//! `WATCHBELL_SEED=7 cargo test -p watchbell-core --test simulation` plays one seed again; the seed of a run that fails
//! is printed. `WATCHBELL_HOURS` says for how long, `WATCHBELL_SHOW=text` prints whatever holds the text.

#[allow(dead_code)] // each test binary uses its own part of it
mod common;

use common::{Agent, audit::Audit};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    sync::Arc,
    time::Duration,
};
use watchbell_core::{
    config::Policy,
    engine::{Effects, Input, Message, RunOrder, SendOrder, State, World, step},
    model::{EventState, Exit, Failure, Finding, Metric, Name, Outcome, Raw, Receipt, Severity, Timestamp},
    wire::run::unfinished,
};

const SEEDS_DEFAULT: u64 = 8;
const HOURS_DEFAULT: u64 = 24;
/// Inputs that come within this long are one commit.
const BATCH: Duration = Duration::from_millis(10);
/// Every so many commits all that is stored is compared; what a commit wrote is compared each time.
const COMPARE_EVERY: u64 = 16;
/// So much of what happened is shown when something is wrong.
const SHOWN_MAX: usize = 60;

const NOTIFIERS: [&str; 4] = ["ops", "pager", "chat", "mail"];

/// splitmix64, its author's constants.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.below(most_ms - least_ms + 1))
    }
}

/// Twenty checks, no two alike.
fn config(variant: u64) -> String {
    let mut text = String::from(
        r#"
[notify.chat]
kind = "chat"
in_flight = 3
[notify.mail]
kind = "mail"
gap = "5s"
fallback = "chat"
[check.router]
command = "x"
retry = 2
[check.silent-inlet]
passive = "20m"
[check.hours]
command = "x"
hours = "08:00-18:00 Europe/Berlin"
[check.nightly]
command = "x"
cron = "30 2 * * *"
missed = "once"
overlap = "queue"
"#,
    );
    let renotify = ["", "renotify = \"on-change\"\n", "renotify = \"30m\"\n"];
    let overlap = ["skip", "queue", "allow"];
    let missed = ["skip", "once", "all"];
    for i in 0..16 {
        if variant % 4 == 1 && i == 3 || variant % 4 == 2 && i > 12 {
            continue;
        }
        let _ = write!(text, "[check.c{i}]\ncommand = \"x\"\nretry = {}\n{}", i % 4, renotify[i % 3]);
        let _ =
            write!(text, "overlap = \"{}\"\nmissed = \"{}\"\ntimeout = \"50s\"\n", overlap[i / 2 % 3], missed[i % 3]);
        let _ = writeln!(text, "every = \"{}\"", ["1m", "2m", "5m", "90s"][(i + variant as usize / 2) % 4]);
        if i % 4 == 1 {
            text.push_str("parents = [\"router\"]\n");
        }
        if i % 5 == 2 && variant % 3 != 2 {
            text.push_str("flapping = true\n");
        }
        if i % 6 == 4 {
            text.push_str("thresholds = [\"load warning > 50 error > 70 critical > 90 clear < 40\"]\n");
        }
        let notify = ["\"ops\"", "\"pager\", \"chat\"", "\"chat\", \"mail\"", "\"mail\", \"ops\""][i / 3 % 4];
        let _ = writeln!(text, "notify = [{notify}]");
    }
    text.push_str("--- old.cfg\n[cimaa]\ncommand = x\nretry = 2\nretry_interval = 2\n");
    text.push_str("--- flakes/job.flake.json\n");
    text.push_str(
        r#"{"flakeName": "job", "flakeCronstring": "*/20 * * * *", "flakeType": "job", "flakeCommand": "x"}"#,
    );
    let _ = write!(
        text,
        "\n--- watchbell.toml\n[agent]\nname = \"web-1\"\nnotify = [\"ops\"]\nrunning_max = 12\ndigest_above = 6\n\
         give_up_after = \"2h\"\n[notify.ops]\nkind = \"plain\"\n[notify.pager]\nkind = \"plain\"\n"
    );
    text
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behaves {
    Works,
    Fails,
    TooMany,
    Hangs,
    Resets,
    Refuses,
}

/// What comes back, by the clock that nobody sets.
enum Coming {
    Result { order: RunOrder, started: Timestamp, outcome: Box<Outcome> },
    Answer { order: SendOrder },
}

#[derive(Clone, Copy, Default)]
struct Health {
    severity: Option<Severity>,
    text: u64,
    hangs: bool,
}

struct Sim {
    dice: Dice,
    policy: Arc<Policy>,
    agent: Agent,
    world: Option<World>,
    stored: State,
    audit: Audit,
    start: Timestamp,
    elapsed: Duration,
    skew_us: i64,
    coming: BTreeMap<(Duration, u64), Coming>,
    coming_seq: u64,
    batch: Effects,
    batch_since: Option<Duration>,
    health: BTreeMap<Name, Health>,
    behaves: BTreeMap<Name, Behaves>,
    /// Nothing fails any more.
    calm: bool,
    variant: u64,
    commits: u64,
    crashes: u64,
    runs: u64,
    log: VecDeque<String>,
    /// All that holds this text is printed at once.
    show: Option<String>,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut agent = Agent::new();
        let policy = agent.load(&config(0), true).expect("the config is right");
        let mut sim = Sim {
            dice: Dice(seed),
            world: None,
            policy,
            agent,
            stored: State::default(),
            audit: Audit::default(),
            start: Timestamp::from_secs(1_767_600_000),
            elapsed: Duration::ZERO,
            skew_us: 0,
            coming: BTreeMap::new(),
            coming_seq: 0,
            batch: Effects::default(),
            batch_since: None,
            health: BTreeMap::new(),
            behaves: BTreeMap::new(),
            calm: false,
            variant: 0,
            commits: 0,
            crashes: 0,
            runs: 0,
            log: VecDeque::new(),
            show: std::env::var("WATCHBELL_SHOW").ok(),
        };
        sim.begin();
        sim
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.start.as_micros() + self.skew_us) + self.elapsed
    }

    fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.show.as_ref().is_some_and(|show| text.contains(show)) {
            println!("{} {text}", self.now());
        }
        if self.log.len() == SHOWN_MAX {
            self.log.pop_front();
        }
        let text = format!("{} {text}", self.now());
        self.log.push_back(text);
    }

    fn must<T>(&self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|why| {
            let log: Vec<_> = self.log.iter().map(String::as_str).collect();
            panic!("{why}\nat {} after {} commits:\n{}", self.now(), self.commits, log.join("\n"))
        })
    }

    fn begin(&mut self) {
        self.world = Some(World::new(self.policy.clone(), self.stored.clone()));
        self.input(Input::Start { agent_id: "sim".into() });
    }

    /// A step; its runs start at once, but jobs only after the commit. What it wants to send waits for the commit too.
    fn input(&mut self, input: Input) {
        let now = self.now();
        let Some(world) = &mut self.world else { return };
        let mut effects = step(world, now, input);
        let (later, at_once): (Vec<_>, Vec<_>) = effects.runs.drain(..).partition(|run| run.after_commit);
        effects.runs = later;
        self.batch.absorb(effects);
        self.batch_since.get_or_insert(self.elapsed);
        at_once.into_iter().for_each(|run| self.run(run));
    }

    fn pend(&mut self, after: Duration, coming: Coming) {
        self.coming_seq += 1;
        self.coming.insert((self.elapsed + after, self.coming_seq), coming);
    }

    fn run(&mut self, order: RunOrder) {
        self.runs += 1;
        let timeout = self.policy.checks.get(&order.check).map_or(BATCH, |c| c.timeout);
        let health = self.health.get(&order.check).copied().unwrap_or_default();
        let slow = !self.calm && self.dice.one_in(40);
        let took = if slow { self.dice.between(1_000, 90_000) } else { self.dice.between(1, 2_000) };
        let started = self.now();
        if health.hangs || took >= timeout {
            let took = timeout.min(Duration::from_secs(300));
            let raw = Raw { exit: Some(Exit::TimedOut), took, ..Raw::default() };
            let outcome = Box::new(unfinished(&raw).expect("it was killed"));
            return self.pend(took, Coming::Result { order, started, outcome });
        }
        let text = format!("text {}", health.text);
        let mut outcome = Outcome { took, ..Outcome::default() };
        outcome.findings.extend(health.severity.map(|severity| Finding::new(severity, text)));
        let load = if self.calm { 0.0 } else { self.dice.below(100) as f64 };
        outcome.metrics.push(Metric::new("load", load));
        // Any number must come back from the store as it was.
        outcome.metrics.push(Metric::new("", self.dice.next() as f64 / 1e7));
        self.pend(took, Coming::Result { order, started, outcome: Box::new(outcome) });
    }

    /// The commit: it may fail a few times, during which nothing is taken in; it may be the last that the process does,
    /// or never happen.
    fn commit(&mut self) {
        self.batch_since = None;
        let mut effects = std::mem::take(&mut self.batch);
        if !self.calm && self.dice.one_in(2_000) {
            return self.crash("before a commit");
        }
        let Some(world) = &self.world else { return };
        let commit = effects.take_commit(&world.state);
        self.commits += 1;
        if !self.calm && self.dice.one_in(500) {
            // The same commit is tried again until it works; time passes, and nothing else does.
            let wait = self.dice.between(1_000, 20_000);
            self.note(format!("the store is away for {wait:?}"));
            self.elapsed += wait;
        }
        for row in &commit.rows {
            match &row.value {
                Some(value) => {
                    let put = self.stored.put_row(row.table, &row.key, value);
                    self.must(put);
                }
                None => self.stored.remove_row(row.table, &row.key),
            }
        }
        let same =
            !self.commits.is_multiple_of(COMPARE_EVERY) || self.world.as_ref().is_some_and(|w| w.state == self.stored);
        self.must(if same { Ok(()) } else { Err("what is stored is not what is known".into()) });
        self.audit.committed(&commit);
        for decision in &commit.decisions {
            let d = decision;
            self.note(format!("{} {:?} {:?} {}: {}", d.name, d.verdict, d.notifier, d.rule, d.text));
        }
        if !self.calm && self.dice.one_in(2_000) {
            return self.crash("after a commit");
        }
        effects.runs.into_iter().for_each(|run| self.run(run));
        for order in effects.sends {
            let sent = self.audit.sent(&order);
            self.must(sent);
            let latency = match self.behaves(&order.delivery.notifier) {
                Behaves::Hangs => self.policy.agent.deliver_timeout,
                _ => self.dice.between(1, 3_000),
            };
            self.pend(latency, Coming::Answer { order });
        }
    }

    fn behaves(&self, notifier: &Name) -> Behaves {
        self.behaves.get(notifier).copied().unwrap_or(Behaves::Works)
    }

    fn comes(&mut self, coming: Coming) {
        match coming {
            Coming::Result { order, started, outcome } => {
                self.input(Input::Result { check: order.check, run: order.run, started, outcome });
            }
            Coming::Answer { order } => self.answer(order),
        }
    }

    fn answer(&mut self, order: SendOrder) {
        let delivery = order.delivery.clone();
        let behaves = self.behaves(&delivery.notifier);
        self.note(format!("{} try {}: {behaves:?}", delivery.key, order.attempt));
        if matches!(behaves, Behaves::Works | Behaves::Resets) {
            let taken = self.audit.taken(&delivery);
            self.must(taken);
        }
        if behaves == Behaves::Resets {
            self.audit.doubtful(&delivery);
        }
        let id = order.id;
        let failure = match behaves {
            Behaves::Works => {
                let receipt = Receipt { id: Some(format!("m{id}")), text: String::new() };
                return self.input(Input::Delivered { id, receipt });
            }
            Behaves::Fails => Failure::retry("500"),
            Behaves::TooMany => {
                let after = Some(Duration::from_secs(self.dice.below(600)));
                Failure::Retry { after, reason: "429".into() }
            }
            Behaves::Hangs => Failure::retry("no answer in time"),
            Behaves::Resets => Failure::retry("connection reset"),
            Behaves::Refuses => Failure::permanent("404"),
        };
        self.input(Input::DeliveryFailed { id, failure });
    }

    /// The process is gone, with all that is not stored. What was on its way may have been taken.
    fn crash(&mut self, when: &str) {
        self.crashes += 1;
        self.note(format!("crash {when}"));
        self.batch = Effects::default();
        self.batch_since = None;
        self.world = None;
        for coming in std::mem::take(&mut self.coming).into_values() {
            if let Coming::Answer { order } = coming
                && self.dice.one_in(2)
                && matches!(self.behaves(&order.delivery.notifier), Behaves::Works | Behaves::Resets)
            {
                let taken = self.audit.taken(&order.delivery);
                self.must(taken);
                self.audit.doubtful(&order.delivery);
            }
        }
        if !self.calm && self.dice.one_in(3) {
            self.elapsed += self.dice.between(1_000, 7_200_000);
        }
        // A start reads the config anew: nothing is last good.
        self.agent = Agent::new();
        self.policy = self.agent.load(&config(self.variant), true).expect("the config is right");
        self.begin();
    }

    /// Something happens outside.
    fn chance(&mut self) {
        let checks: Vec<Name> = self.policy.checks.keys().cloned().collect();
        let check = checks[self.dice.below(checks.len() as u64) as usize].clone();
        match self.dice.below(100) {
            0..40 => {
                let severity = self.dice.pick(&[
                    None,
                    None,
                    None,
                    Some(Severity::Warning),
                    Some(Severity::Error),
                    Some(Severity::Critical),
                    Some(Severity::Info),
                ]);
                let health = Health { severity, text: self.dice.below(3), hangs: self.dice.one_in(15) };
                self.health.insert(check, health);
            }
            40..60 => {
                let behaves = self.dice.pick(&[
                    Behaves::Works,
                    Behaves::Works,
                    Behaves::Works,
                    Behaves::Fails,
                    Behaves::TooMany,
                    Behaves::Hangs,
                    Behaves::Resets,
                    Behaves::Refuses,
                ]);
                let notifier = Name::new(self.dice.pick(&NOTIFIERS));
                self.note(format!("{notifier} {behaves:?}"));
                self.behaves.insert(notifier, behaves);
            }
            60..62 => self.clock_jumps(),
            62..65 => {
                self.variant = self.dice.below(8);
                self.policy = self.agent.load(&config(self.variant), true).expect("the config is right");
                self.note(format!("config {}", self.variant));
                self.input(Input::Reload(self.policy.clone()));
            }
            65..67 => self.crash("at rest"),
            67..75 => self.input(Input::RunNow { check, by: "joe".into() }),
            _ => self.operator(),
        }
    }

    fn clock_jumps(&mut self) {
        let seconds = self.dice.below(7_200) as i64 - 3_600;
        self.note(format!("the clock jumps by {seconds} s"));
        self.skew_us += seconds * 1_000_000;
        self.input(Input::ClockJumped { by_us: seconds * 1_000_000 });
    }

    fn operator(&mut self) {
        let now = self.now();
        let regex = self.dice.pick(&["c1", "c[0-5]$", "router", "//web-1/main/", "alerts", "monitor"]).to_owned();
        let until = Some(now + self.dice.between(60_000, 7_200_000)).filter(|_| !self.dice.one_in(3));
        let faults: Vec<Name> = self.world.iter().flat_map(|w| w.state.faults.keys().cloned()).collect();
        let fault = (!faults.is_empty()).then(|| faults[self.dice.below(faults.len() as u64) as usize].clone());
        let (by, comment) = ("joe".to_owned(), "x".to_owned());
        let input = match (self.dice.below(6), fault) {
            (0, _) => Input::Squelch { regex, reason: "x".into(), by, until, permanent: false, every: None },
            (1, _) => Input::Unsquelch { regex, by },
            (2, Some(fault)) => Input::Acknowledge { fault, by, comment, until },
            (3, Some(fault)) => Input::Unacknowledge { fault, by },
            (4, _) => {
                let notify = vec![Name::new(self.dice.pick(&NOTIFIERS))];
                let (source, name, text) = ("send".into(), "script".into(), "done".into());
                let (severity, state) = (Severity::Info, EventState::Info);
                let (topic, link, labels, id) = (None, None, BTreeMap::new(), None);
                Input::Message(Box::new(Message {
                    at: None,
                    source,
                    name,
                    severity,
                    state,
                    topic,
                    text,
                    link,
                    labels,
                    notify,
                    id,
                }))
            }
            _ => {
                let severity = self.dice.pick(&[None, None, Some(Severity::Critical)]);
                let findings = severity.map(|s| Finding::new(s, "reported")).into_iter().collect();
                let outcome = Box::new(Outcome { findings, ..Outcome::default() });
                Input::Report { check: "//web-1/main/silent-inlet".into(), at: None, outcome }
            }
        };
        self.input(input);
    }

    /// Lets time go on until then.
    fn until(&mut self, end: Duration) {
        let mut chance_at = self.elapsed;
        let mut at_once = 0_u32;
        while self.elapsed < end {
            let before = self.elapsed;
            let wake = self.world.as_ref().and_then(World::next_wake);
            let wake = wake.map_or(Duration::MAX, |at| self.elapsed + at.since(self.now()));
            let coming = self.coming.first_key_value().map_or(Duration::MAX, |((at, _), _)| *at);
            let closes = self.batch_since.map_or(Duration::MAX, |since| since + BATCH);
            let chance = if self.calm { Duration::MAX } else { chance_at };
            let next = wake.min(coming).min(closes).min(chance).min(end).max(self.elapsed);
            self.elapsed = next;
            if closes <= next {
                self.commit();
            } else if coming <= next {
                let (_, coming) = self.coming.pop_first().expect("it is there");
                self.comes(coming);
            } else if chance <= next {
                self.chance();
                chance_at = self.elapsed + self.dice.between(1_000, 90_000);
            } else if wake <= next {
                self.input(Input::Wake);
            }
            at_once = if self.elapsed > before { 0 } else { at_once + 1 };
            assert!(at_once < 100_000, "the engine does not come to rest: {:?}", self.log);
        }
    }

    /// Nothing fails any more and nothing is wrong: in the end everybody knows that, and nothing is left over.
    fn settle(&mut self) {
        self.calm = true;
        self.behaves.clear();
        for regex in self.stored.squelches.keys().cloned().collect::<Vec<_>>() {
            self.input(Input::Unsquelch { regex, by: "joe".into() });
        }
        // First with what is wrong as it is: everybody must know of it.
        self.until(self.elapsed + Duration::from_secs(3 * 3_600));
        self.input(Input::Reload(self.policy.clone()));
        self.until(self.elapsed + Duration::from_secs(3_600));
        let world = self.world.as_ref().expect("it runs");
        self.must(self.audit.nothing_lost(world));
        self.must(self.audit.beliefs_hold(world));
        self.must(self.audit.truth_is_known(world));
        self.health.clear();
        // What runs once a day is run now.
        self.input(Input::RunNow { check: "//web-1/main/nightly".into(), by: "joe".into() });
        for _ in 0..36 {
            self.until(self.elapsed + Duration::from_secs(600));
            let check = "//web-1/main/silent-inlet".into();
            self.input(Input::Report { check, at: None, outcome: Box::default() });
        }
        self.until(self.elapsed + Duration::from_secs(60));
        self.crash("in the end");
        self.until(self.elapsed + Duration::from_secs(600));
        let world = self.world.as_ref().expect("it runs");
        self.must(self.audit.nothing_lost(world));
        self.must(self.audit.beliefs_hold(world));
        let left: Vec<_> = world.state.faults.keys().chain(world.state.told.keys().map(|k| &k.fault)).collect();
        let left = format!("left over: {left:?}, {} deliveries", world.state.outbox.len());
        let is_clean = world.state.faults.is_empty() && world.state.told.is_empty() && world.state.outbox.is_empty();
        self.must(if is_clean { Ok(()) } else { Err(left) });
    }
}

fn play(seed: u64, hours: u64) {
    println!("seed {seed}: WATCHBELL_SEED={seed} plays it again");
    let mut sim = Sim::new(seed);
    sim.until(Duration::from_secs(hours * 3_600));
    sim.settle();
    let audit = &sim.audit;
    println!(
        "  {} runs, {} commits, {} crashes, {} deliveries taken ({} triggers), {} repeats dropped",
        sim.runs, sim.commits, sim.crashes, audit.taken, audit.triggers, audit.repeats
    );
    assert!(audit.triggers > hours && sim.crashes > hours / 4, "too little happened");
}

/// S3.7, S3.10, S1.4: killing the agent at any moment loses no delivery and triggers none twice with different keys;
/// nor does a store, a notifier or a clock that fails.
#[test]
fn nothing_is_lost_and_nothing_told_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    let hours = number("WATCHBELL_HOURS").unwrap_or(HOURS_DEFAULT);
    match number("WATCHBELL_SEED") {
        Some(seed) => play(seed, hours),
        None => (1..=SEEDS_DEFAULT).for_each(|seed| play(seed, hours)),
    }
}
