//! Ten simulated days of 1,000 checks at 60 s, with random faults, failing notifiers and restarts, on a store in
//! memory that keeps rows as a database would: as text. Prints what it took; the mark is 60 s of CPU time.
//!
//! `cargo bench -p watchbell-core --bench ten_days` (`-- --days 1` for a shorter one, `-- --seed 7` for another).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{Capabilities, CheckPolicy, NotifierPolicy, Pace, Policy},
    engine::{Effects, Input, State, World, step},
    model::{Action, Failure, Finding, Metric, Name, Outcome, Receipt, Severity, Timestamp},
    schedule::Schedule,
};

const CHECKS: usize = 1_000;
const EVERY: Duration = Duration::from_secs(60);
/// Inputs that arrive within this long are one commit, as in the agent.
const BATCH: Duration = Duration::from_millis(10);
const CPU_SECONDS_MAX: f64 = 60.0;

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
}

/// What comes back to the engine, and when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Result { check: Name, run: u64, started: Timestamp },
    Answer { id: u64, attempt: u32 },
}

#[derive(Default)]
struct Figures {
    runs: u64,
    steps: u64,
    commits: u64,
    rows: u64,
    events: u64,
    decisions: u64,
    sends: u64,
    triggers: u64,
    restarts: u64,
}

struct Bench {
    world: World,
    policy: Arc<Policy>,
    rows: HashMap<(&'static str, String), String>,
    coming: BinaryHeap<Reverse<(Timestamp, u64, Coming)>>,
    coming_seq: u64,
    batch: Effects,
    batch_since: Option<Timestamp>,
    bad_until: BTreeMap<Name, (Timestamp, Severity)>,
    dice: Dice,
    figures: Figures,
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.agent.name = "bench".into();
    policy.agent.notify = vec!["ops".into(), "pager".into()];
    for (name, edits, digests) in [("ops", true, true), ("pager", false, false)] {
        let notifier = NotifierPolicy {
            name: name.into(),
            kind: "command",
            capabilities: Capabilities { edits, digests, acknowledges: false, gap_ms: 0 },
            pace: Pace { gap: Duration::from_millis(100), in_flight_max: 4 },
            fallback: None,
            alert_from: None,
            hours: None,
            recoveries: true,
            targets: Vec::new(),
        };
        policy.notifiers.insert(name.into(), Arc::new(notifier));
    }
    for i in 0..CHECKS {
        let name = Name::new(format!("//bench.example.com/application-{}/check-{i}", i / 20));
        let mut check = CheckPolicy::bare(name.clone(), policy.agent.notify.clone());
        check.kind = "command";
        check.schedule = Some(Schedule::every(EVERY, &name));
        check.retry = 3;
        policy.checks.insert(name, Arc::new(check));
    }
    policy
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let policy = Arc::new(policy());
        Bench {
            world: World::new(policy.clone(), State::default()),
            policy,
            rows: HashMap::new(),
            coming: BinaryHeap::new(),
            coming_seq: 0,
            batch: Effects::default(),
            batch_since: None,
            bad_until: BTreeMap::new(),
            dice: Dice(seed),
            figures: Figures::default(),
        }
    }

    fn run(&mut self, from: Timestamp, until: Timestamp) {
        self.step(from, Input::Start { agent_id: "bench".into() });
        let mut restart_at = from + Duration::from_secs(3_600);
        loop {
            let wake = self.world.next_wake().unwrap_or(Timestamp::MAX);
            let coming = self.coming.peek().map_or(Timestamp::MAX, |Reverse((at, ..))| *at);
            let closes = self.batch_since.map_or(Timestamp::MAX, |since| since + BATCH);
            let now = wake.min(coming).min(closes).min(restart_at);
            if now > until {
                return;
            }
            if closes == now {
                self.commit();
            } else if coming == now {
                self.comes(now);
            } else if wake <= now {
                self.step(now, Input::Wake);
            } else {
                self.restart(now);
                restart_at = now + Duration::from_secs(600 + self.dice.below(7_200));
            }
        }
    }

    fn step(&mut self, now: Timestamp, input: Input) {
        self.figures.steps += 1;
        let effects = step(&mut self.world, now, input);
        for order in &effects.runs {
            let took = Duration::from_millis(5 + self.dice.below(2_000));
            let started = now;
            let coming = Coming::Result { check: order.check.clone(), run: order.run, started };
            self.coming_seq += 1;
            self.coming.push(Reverse((now + took, self.coming_seq, coming)));
        }
        self.batch.absorb(effects);
        self.batch_since.get_or_insert(now);
    }

    fn comes(&mut self, now: Timestamp) {
        let Some(Reverse((_, _, coming))) = self.coming.pop() else { return };
        let input = match coming {
            Coming::Result { check, run, started } => {
                let outcome = Box::new(self.outcome(&check, now, now.since(started)));
                self.figures.runs += 1;
                Input::Result { check, run, started, outcome }
            }
            Coming::Answer { id, attempt } => match self.dice.below(50) {
                0 if attempt < 20 => Input::DeliveryFailed { id, failure: Failure::retry("500 internal server error") },
                _ => Input::Delivered { id, receipt: Receipt::default() },
            },
        };
        self.step(now, input);
    }

    /// Once in about ten hours a check becomes bad for some minutes.
    fn outcome(&mut self, check: &Name, now: Timestamp, took: Duration) -> Outcome {
        if self.dice.below(600) == 0 {
            let severity = [Severity::Warning, Severity::Error, Severity::Critical][self.dice.below(3) as usize];
            let until = now + Duration::from_secs(60 * (1 + self.dice.below(10)));
            self.bad_until.insert(check.clone(), (until, severity));
        }
        let mut outcome = Outcome { summary: "OK - all is well".into(), took, ..Outcome::default() };
        outcome.metrics.push(Metric::new("load", self.dice.below(1_000) as f64 / 10.0));
        match self.bad_until.get(check) {
            Some((until, severity)) if *until > now => {
                outcome.findings.push(Finding::new(*severity, "it does not answer"));
            }
            Some(_) => drop(self.bad_until.remove(check)),
            None => {}
        }
        outcome
    }

    fn commit(&mut self) {
        self.batch_since = None;
        let mut effects = std::mem::take(&mut self.batch);
        let commit = effects.take_commit(&self.world.state);
        self.figures.commits += 1;
        self.figures.rows += commit.rows.len() as u64;
        self.figures.events += commit.events.len() as u64;
        self.figures.decisions += commit.decisions.len() as u64;
        for row in commit.rows {
            match row.value {
                Some(value) => drop(self.rows.insert((row.table, row.key), value)),
                None => drop(self.rows.remove(&(row.table, row.key))),
            }
        }
        for order in effects.sends {
            self.figures.sends += 1;
            self.figures.triggers += u64::from(order.delivery.action == Action::Trigger);
            let at = self.world_time(&order.delivery.event.at) + Duration::from_millis(self.dice.below(500));
            self.coming_seq += 1;
            self.coming.push(Reverse((at, self.coming_seq, Coming::Answer { id: order.id, attempt: order.attempt })));
        }
    }

    /// Answers come after what was sent, never in the past.
    fn world_time(&self, at: &Timestamp) -> Timestamp {
        let next = self.coming.peek().map_or(*at, |Reverse((next, ..))| *next);
        next.max(*at)
    }

    /// The process ends at once; what was not committed and what was under way is gone.
    fn restart(&mut self, now: Timestamp) {
        self.figures.restarts += 1;
        self.batch = Effects::default();
        self.batch_since = None;
        self.coming.clear();
        let rows = self.rows.iter().map(|((table, key), value)| (*table, key.as_str(), value.as_str()));
        let (state, errors) = State::load(rows);
        assert!(errors.is_empty(), "{errors:?}");
        self.world = World::new(self.policy.clone(), state);
        self.step(now, Input::Start { agent_id: "bench".into() });
    }
}

/// This process's user and system time so far, in seconds; `None` where there is no `/proc`.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The fields behind the command's name, which may hold blanks: utime and stime are the 14th and 15th of all.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // USER_HZ is 100 on every Linux there is.
    Some((user + system) / 100.0)
}

fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

fn argument(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    let value = args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    value.and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn main() {
    let (days, seed) = (argument("--days", 10), argument("--seed", 1));
    let from = Timestamp::from_secs(1_767_600_000);
    let (begun, cpu_before) = (Instant::now(), cpu_seconds());
    let mut bench = Bench::new(seed);
    bench.run(from, from + Duration::from_secs(days * 86_400));
    let wall = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds().zip(cpu_before).map_or(wall, |(after, before)| after - before);
    let f = &bench.figures;
    let per_run_us = cpu * 1e6 / f.runs.max(1) as f64;
    let allowed = CPU_SECONDS_MAX * days as f64 / 10.0;
    println!("ten_days: {days} simulated days of {CHECKS} checks every {} s, seed {seed}", EVERY.as_secs());
    println!("  cpu {cpu:.2} s (allowed {allowed:.0} s), wall {wall:.2} s, {per_run_us:.2} us of cpu a run");
    println!("  runs {}, steps {}, commits {}, rows {}", f.runs, f.steps, f.commits, f.rows);
    println!("  events {}, decisions {}, sends {}, triggers {}", f.events, f.decisions, f.sends, f.triggers);
    println!("  restarts {}, resident {} kB", f.restarts, resident_kb().unwrap_or(0));
    assert!(f.runs >= days * 1_440 * CHECKS as u64 * 95 / 100, "too few runs: {}", f.runs);
    if cpu > allowed {
        eprintln!("ten_days: slower than allowed");
        std::process::exit(1);
    }
}
