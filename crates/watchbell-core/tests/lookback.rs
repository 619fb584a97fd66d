//! Look-backs through the engine: a warehouse that fills, runs that fail and are slow, an agent that is killed.
//!
//! Every due minute within the walk must be judged once, whatever happens in between (S2.7), and every result goes to
//! the handler (S2.8). `WATCHBELL_SEED=n` plays one seed.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use watchbell_core::{
    config::{Capabilities, CheckPolicy, NotifierPolicy, Overlap, Pace, Policy, SourcePlace, SourcePolicy},
    engine::{Effects, Input, RunOrder, State, World, step},
    model::{Action, EventKind, Name, Outcome, Receipt, Rows, Severity, SourceNews, Timestamp},
    schedule::Schedule,
    state::lookback::{Days, Expectation, Lookback, Minutes, count, minute_of},
};

const CHECK: &str = "//web-1/dwmon/orders";
const START: Timestamp = Timestamp::from_secs(1_767_600_000); // Monday, 2026-01-05T08:00:00Z

fn every_minute(lookback_s: u64, min: u64) -> Expectation {
    Expectation {
        part: None,
        severity: Severity::Critical,
        days: Days { weekdays: 0x7f, holidays: false },
        hours: 0xff_ffff,
        minutes: Minutes::OfHour((1 << 60) - 1),
        lookback: Duration::from_secs(lookback_s),
        inclusive: false,
        min: Some(min),
        max: Some(20),
    }
}

fn lookback(expect: Vec<Expectation>) -> Lookback {
    Lookback {
        source: Name::new("warehouse"),
        expect,
        zone: jiff::tz::TimeZone::UTC,
        holidays: BTreeSet::new(),
        delay: Duration::ZERO,
        retention: Duration::from_secs(5 * 86_400),
        value: None,
        extra: Some(serde_json::json!({ "alert": "devops@nerds.com" })),
    }
}

fn policy(lookback: Lookback) -> Arc<Policy> {
    policy_of([check(CHECK, lookback)])
}

fn check(name: &str, lookback: Lookback) -> CheckPolicy {
    let mut check = CheckPolicy::bare(Name::new(name), vec![Name::new("ops")]);
    check.schedule = Some(Schedule::every(Duration::from_secs(60), name));
    check.on_result = vec![Name::new("hook")];
    check.lookback = Some(Arc::new(lookback));
    check
}

fn policy_of(checks: impl IntoIterator<Item = CheckPolicy>) -> Arc<Policy> {
    let source = |name: &str| SourcePolicy {
        name: Name::new(name),
        file: "main.toml".into(),
        place: SourcePlace::Command {
            line: vec!["true".into()],
            shell: false,
            cwd: "/".into(),
            env: BTreeMap::new(),
            format: Default::default(),
        },
        connections_max: 4,
        rows_max: 1000,
        connect_timeout: Duration::from_secs(5),
        grace: Duration::ZERO,
    };
    let notifier = |name: &str| {
        let capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };
        let pace = Pace { gap: Duration::ZERO, in_flight_max: usize::MAX };
        let (kind, fallback, targets) = ("log", None, vec![]);
        let policy = NotifierPolicy {
            name: Name::new(name),
            kind,
            capabilities,
            pace,
            fallback,
            alert_from: None,
            hours: None,
            recoveries: true,
            targets,
        };
        (Name::new(name), Arc::new(policy))
    };
    let mut policy = Policy::default();
    policy.agent.name = Name::new("web-1");
    policy.agent.notify = vec![Name::new("ops")];
    policy.agent.digest_above = usize::MAX;
    policy.checks = checks.into_iter().map(|check| (check.name.clone(), Arc::new(check))).collect();
    policy.notifiers = [notifier("ops"), notifier("hook")].into();
    policy.sources = ["warehouse", "other"].map(|name| (Name::new(name), Arc::new(source(name)))).into();
    Arc::new(policy)
}

/// An agent, a warehouse, a clock, and what the handler was told.
struct Play {
    policy: Arc<Policy>,
    world: World,
    stored: State,
    now: Timestamp,
    rows: Vec<Timestamp>,
    under_way: Vec<(Timestamp, RunOrder)>,
    results: Vec<Value>,
    told: Vec<(Action, Name, String)>,
    events: Vec<String>,
    /// Minutes that were judged, by part.
    samples: Vec<(Name, Timestamp)>,
}

impl Play {
    fn new(lookback: Lookback) -> Play {
        Play::of(policy(lookback))
    }

    fn of(policy: Arc<Policy>) -> Play {
        let world = World::new(policy.clone(), State::default());
        let mut play = Play {
            policy,
            world,
            stored: State::default(),
            now: START,
            rows: Vec::new(),
            under_way: Vec::new(),
            results: Vec::new(),
            told: Vec::new(),
            events: Vec::new(),
            samples: Vec::new(),
        };
        play.input(Input::Start { agent_id: "a".into() });
        play
    }

    fn input(&mut self, input: Input) {
        let mut effects = step(&mut self.world, self.now, input);
        let commit = effects.take_commit(&self.world.state);
        for row in &commit.rows {
            match &row.value {
                Some(value) => self.stored.put_row(row.table, &row.key, value).expect("a row that was just written"),
                None => self.stored.remove_row(row.table, &row.key),
            }
        }
        assert_eq!(self.stored, self.world.state);
        let texts = commit.events.iter().filter(|e| e.kind == EventKind::Result).map(|e| e.text.clone());
        self.events.extend(texts);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Effects) {
        self.samples.extend(effects.samples.into_iter().map(|sample| (sample.name, sample.at)));
        self.under_way.extend(effects.runs.into_iter().map(|order| (self.now, order)));
        for order in effects.sends {
            let delivery = &order.delivery;
            if delivery.notifier.as_str() == "hook" {
                self.results.push(delivery.event.original.clone().expect("a result"));
            } else {
                self.told.push((delivery.action, delivery.event.name.clone(), delivery.event.text.clone()));
            }
            self.input(Input::Delivered { id: order.id, receipt: Receipt::default() });
        }
    }

    /// Ends the oldest run, with what the warehouse had when it began.
    fn end_run(&mut self, away: bool) {
        if !self.under_way.is_empty() {
            self.end_run_at(0, away);
        }
    }

    /// Ends the oldest run of a check, which must be under way.
    fn end_run_of(&mut self, check: &str, away: bool) {
        let at = self.under_way.iter().position(|(_, order)| order.check.as_str() == check);
        self.end_run_at(at.expect("a run under way"), away);
    }

    fn end_run_at(&mut self, at: usize, away: bool) {
        let (started, order) = self.under_way.remove(at);
        let problem = away.then(|| "connection refused".to_owned());
        let mut outcome = Outcome { inconclusive: away, ..Outcome::default() };
        let source = self.policy.checks.get(&order.check).and_then(|check| check.lookback.clone());
        let source = source.map_or_else(|| Name::new("warehouse"), |lookback| lookback.source.clone());
        outcome.source = Some(SourceNews { source, problem });
        if !away {
            let mut there: Vec<Timestamp> = self.rows.clone();
            there.sort();
            let counts = count(&there, &order.windows);
            outcome.rows = Some(Box::new(Rows { seen: there.len() as u64, new: 1, counts }));
        }
        let outcome = Box::new(outcome);
        self.input(Input::Result { check: order.check, run: order.run, started, outcome });
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            if self.world.next_wake().is_some_and(|at| at <= self.now) {
                self.input(Input::Wake);
            }
        }
    }

    /// Time passes, and queries answer at once.
    fn run(&mut self, minutes: u64) {
        for _ in 0..minutes * 60 {
            self.pass(1);
            while !self.under_way.is_empty() {
                self.end_run(false);
            }
        }
    }

    fn reload(&mut self, policy: Arc<Policy>) {
        self.policy = policy.clone();
        self.input(Input::Reload(policy));
    }

    /// The clock is set.
    fn jump(&mut self, by_s: i64) {
        self.now = Timestamp::from_secs(self.now.as_secs() + by_s);
        self.input(Input::ClockJumped { by_us: by_s * 1_000_000 });
    }

    fn killed_for(&mut self, minutes: u64) {
        self.under_way.clear();
        self.now = self.now + Duration::from_secs(60 * minutes);
        self.world = World::new(self.policy.clone(), self.stored.clone());
        self.input(Input::Start { agent_id: "a".into() });
    }

    fn minutes(&self) -> Vec<i64> {
        let epoch = |result: &Value| (result["minute_epoch"].as_i64().expect("an epoch") - START.as_secs()) / 60;
        self.results.iter().filter(|r| r["late"] == false).map(epoch).collect()
    }
}

/// S2.7: the agent is killed for 25 minutes; with a look-back of 180 s every due minute is judged exactly once.
#[test]
fn an_outage_within_the_walk_loses_no_minute() {
    let mut play = Play::new(lookback(vec![every_minute(180, 0)]));
    play.run(10);
    play.killed_for(25);
    play.run(10);
    let last = *play.minutes().last().unwrap();
    assert!(last >= 43, "{last}");
    let first = play.minutes()[0];
    assert_eq!(play.minutes(), (first..=last).collect::<Vec<_>>());
    assert!(!play.events.iter().any(|text| text.contains("beyond")), "{:?}", play.events);
}

/// S2.7: of an outage of 3 hours, the minutes beyond the walk are one event with their number.
#[test]
fn an_outage_beyond_the_walk_is_counted() {
    let mut play = Play::new(lookback(vec![every_minute(180, 0)]));
    play.run(10);
    let before = *play.minutes().last().unwrap();
    play.killed_for(180);
    play.run(5);
    let minutes = play.minutes();
    let after = *minutes.iter().find(|m| **m > before).unwrap();
    let beyond = after - before - 1;
    assert_eq!(minutes.iter().filter(|m| **m > before).count() as i64, minutes.last().unwrap() - after + 1);
    let told: Vec<&String> = play.events.iter().filter(|text| text.contains("beyond")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&format!("{beyond} minutes from ")), "{beyond}: {told:?}");
    assert!(beyond >= 150 && after - before <= 180, "{before} {after}");
}

/// S2.7: a longer look-back raises no old alarms: what was judged stays judged.
#[test]
fn a_longer_look_back_judges_nothing_again() {
    let mut play = Play::new(lookback(vec![every_minute(60, 0)]));
    play.run(20);
    let before = play.minutes();
    play.reload(policy(lookback(vec![every_minute(3600, 10)])));
    play.run(5);
    let after = play.minutes();
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), after.iter().collect::<BTreeSet<_>>().len(), "{after:?}");
}

/// S2.8: what a handler gets.
#[test]
fn a_result_says_all_there_is() {
    let mut play = Play::new(lookback(vec![every_minute(180, 5)]));
    play.rows = (0..600).step_by(30).map(|s| START + Duration::from_secs(s)).collect();
    play.run(6);
    let result = play.results.iter().find(|r| r["minute_epoch"] == START.as_secs() + 240).unwrap();
    let expect = serde_json::json!({
        "checker_name": "orders", "check": CHECK, "expectation": null, "event_count": 5, "min_required": 5,
        "max_allowed": 20, "check_status": "GOOD", "late": false, "minute_epoch": START.as_secs() + 240,
        "minute_local_time": "2026-01-05T08:04:00+00:00", "lookback_seconds": 180,
        "extra": { "alert": "devops@nerds.com" },
    });
    assert_eq!(*result, expect);
}

/// S2.8: too few rows is a fault of the checker that is told once; as many as wanted resolves it.
#[test]
fn bad_is_a_fault_and_good_resolves_it() {
    let mut play = Play::new(lookback(vec![every_minute(180, 5)]));
    play.rows = (0..300).step_by(30).map(|s| START + Duration::from_secs(s)).collect();
    play.rows.extend([START - Duration::from_secs(30); 6]);
    play.run(20);
    let actions: Vec<_> = play.told.iter().map(|(action, name, _)| (*action, name.as_str())).collect();
    assert_eq!(actions, [(Action::Trigger, CHECK)], "{:?}", play.told);
    assert!(play.told[0].2.contains("at least 5 wanted"), "{:?}", play.told);
    let now = play.now;
    play.rows.extend((0..10).map(|n| now + Duration::from_secs(n)));
    play.run(2);
    assert_eq!(play.told.len(), 2, "{:?}", play.told);
    assert_eq!(play.told[1].0, Action::Resolve);
}

/// S2.3: each expectation is judged by itself, and is a fault of its own.
#[test]
fn expectations_are_faults_of_their_own() {
    let part = |part: &str, e: Expectation| Expectation { part: Some(part.into()), ..e };
    let never = Expectation { hours: 0, ..every_minute(60, 1000) };
    let expect = vec![part("few", every_minute(60, 100)), part("fine", every_minute(60, 0)), part("never", never)];
    let mut play = Play::new(lookback(expect));
    play.run(3);
    let faults: Vec<&str> = play.world.state.faults.keys().map(|name| name.as_str()).collect();
    assert_eq!(faults, ["//web-1/dwmon/orders#few"]);
    // One that the config does not have any more is wrong no more.
    play.reload(policy(lookback(vec![part("fine", every_minute(60, 0))])));
    play.run(2);
    assert_eq!(play.world.state.faults.len(), 0);
}

/// Rows that come late make a bad minute good, late, and it is told as such.
#[test]
fn late_rows_mend_a_minute() {
    let hourly = Expectation { minutes: Minutes::OfHour(1), ..every_minute(3600, 3) };
    let mut play = Play::new(lookback(vec![hourly]));
    play.run(65);
    assert_eq!(play.told.len(), 1, "{:?}", play.told);
    play.rows = vec![START + Duration::from_secs(1800); 4];
    play.run(2);
    assert_eq!(play.told.len(), 2, "{:?}", play.told);
    assert!(play.told[1].0 == Action::Resolve, "{:?}", play.told);
    let late: Vec<_> = play.results.iter().filter(|r| r["late"] == true).collect();
    assert_eq!(late.len(), 1);
    assert_eq!((&late[0]["check_status"], &late[0]["event_count"]), (&Value::from("GOOD"), &Value::from(4)));
    assert!(play.events.iter().any(|text| text.starts_with("good after all: 4 rows")), "{:?}", play.events);
}

/// Late rows may be too many: it is told as that, once, and is what the fault says from then on.
#[test]
fn late_rows_may_be_too_many() {
    let hourly = Expectation { minutes: Minutes::OfHour(1), max: Some(5), ..every_minute(3600, 3) };
    let mut play = Play::new(lookback(vec![hourly]));
    play.run(65);
    play.rows = vec![START + Duration::from_secs(1800); 8];
    play.run(3);
    let late: Vec<_> = play.results.iter().filter(|r| r["late"] == true).collect();
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((&late[0]["check_status"], &late[0]["event_count"]), (&Value::from("BAD"), &Value::from(8)));
    let text = "8 rows in the 1 h before 2026-01-05 09:00 UTC, at most 5 wanted";
    assert_eq!(play.events.last().map(String::as_str), Some(text));
    let faults: Vec<_> = play.world.state.faults.values().map(|fault| fault.message.as_str()).collect();
    assert_eq!(faults, [text]);
}

/// Runs beside each other judge the same minutes: each is handed over once, and what is beyond the walk is one event.
#[test]
fn runs_beside_each_other_judge_minutes_once() {
    let mut beside = check(CHECK, lookback(vec![Expectation { max: None, ..every_minute(60, 1) }]));
    beside.overlap = Overlap::Allow;
    let mut play = Play::of(policy_of([beside]));
    play.rows = (0..400).map(|n| START + Duration::from_secs(n * 20)).collect();
    play.run(3);
    for newest_first in [false, true] {
        play.killed_for(30);
        play.pass(240);
        assert!(play.under_way.len() >= 3, "{}", play.under_way.len());
        while !play.under_way.is_empty() {
            let at = if newest_first { play.under_way.len() - 1 } else { 0 };
            play.end_run_at(at, false);
        }
    }
    play.run(1);
    let minutes = play.minutes();
    assert_eq!(minutes.len(), minutes.iter().collect::<BTreeSet<_>>().len(), "{minutes:?}");
    assert_eq!(play.results.len(), minutes.len(), "none is late");
    let beyond = play.events.iter().filter(|text| text.contains("beyond")).count();
    assert_eq!(beyond, 2, "{:?}", play.events);
}

/// S2.7: of a gap that takes several runs, each line's minutes are judged once, and those beyond are one event.
#[test]
fn a_long_gap_is_one_event_however_many_runs_it_takes() {
    let part = |part: &str, e: Expectation| Expectation { part: Some(part.into()), max: None, ..e };
    let day = every_minute(86_400, 0);
    let expect = vec![part("a", day.clone()), part("b", day), part("short", every_minute(60, 0))];
    let mut quiet = check(CHECK, lookback(expect));
    quiet.on_result = Vec::new();
    let mut play = Play::of(policy_of([quiet]));
    play.run(3);
    play.killed_for(8 * 1440);
    play.run(4);
    let beyond: Vec<_> = play.events.iter().filter(|text| text.contains("beyond")).collect();
    assert_eq!(beyond.len(), 1, "{beyond:?}");
    let minutes = |part: &str| {
        let of = play.samples.iter().filter(|(name, _)| name.ends_with(part));
        of.map(|(_, at)| (at.as_secs() - START.as_secs()) / 60).collect::<Vec<_>>()
    };
    let all = minutes("#a");
    assert_eq!(all, (all[0]..=all[0] + 8 * 1440 + 6).collect::<Vec<_>>());
    assert_eq!(minutes("#b"), all);
    let (short, count) = (minutes("#short"), beyond[0].split_once(' ').unwrap().0.parse::<usize>().unwrap());
    assert_eq!(all.len() - short.len(), count);
    assert!(short.is_sorted_by(|a, b| a < b), "{short:?}");
}

/// A clock that was days ahead and is set right: minutes are judged again as they come.
#[test]
fn a_clock_set_right_judges_on() {
    let mut play = Play::new(lookback(vec![every_minute(180, 0)]));
    play.run(3);
    play.jump(5 * 86_400);
    play.run(3);
    let ahead = play.results.len();
    play.jump(-5 * 86_400);
    play.run(5);
    let minutes = play.minutes()[ahead..].to_vec();
    assert!(minutes.len() >= 4 && minutes.is_sorted_by(|a, b| a + 1 == *b), "{minutes:?}");
    let told: Vec<_> = play.events.iter().filter(|text| text.contains("a clock that was ahead")).collect();
    assert_eq!(told.len(), 1, "{:?}", play.events);
}

/// One source's outage is one fault of the agent, and loses no minute.
#[test]
fn a_source_that_is_away_is_one_fault() {
    let mut play = Play::new(lookback(vec![every_minute(180, 0)]));
    play.run(3);
    for _ in 0..4 {
        play.pass(60);
        play.end_run(true);
    }
    let faults: Vec<_> = play.world.state.faults.values().map(|f| (f.name.as_str(), f.message.as_str())).collect();
    assert_eq!(faults, [("web-1#source-warehouse", "connection refused")]);
    play.run(2);
    assert_eq!(play.world.state.faults.len(), 0);
    let minutes = play.minutes();
    assert_eq!(minutes, (minutes[0]..=*minutes.last().unwrap()).collect::<Vec<_>>());
}

const USERS: &str = "//web-1/dwmon/users";

/// A source that answers one check and not another is one fault, which stands and names those that it does not answer.
#[test]
fn a_source_that_answers_some_is_one_fault_all_the_time() {
    let of = |name: &str| check(name, lookback(vec![every_minute(180, 0)]));
    let mut play = Play::of(policy_of([of(CHECK), of(USERS)]));
    for minute in 0..5 {
        play.pass(60);
        play.end_run_of(USERS, minute < 4);
        play.end_run_of(CHECK, false);
        if minute == 1 {
            play.killed_for(0);
        }
    }
    let told: Vec<_> = play.told.iter().map(|(action, name, _)| (*action, name.as_str())).collect();
    assert_eq!(told, [(Action::Trigger, "web-1#source-warehouse"), (Action::Resolve, "web-1#source-warehouse")]);
    for check in [USERS, CHECK] {
        play.pass(60);
        play.end_run_of(check, true);
    }
    let fault = &play.world.state.faults[&Name::new("web-1#source-warehouse")];
    assert_eq!(fault.detail, format!("{CHECK}: connection refused\n{USERS}: connection refused"));
}

/// What a check said that was removed, or asks another source now, does not count any more.
#[test]
fn a_source_that_nobody_asks_is_not_wrong() {
    let of = |name: &str, source: &str| {
        check(name, Lookback { source: Name::new(source), ..lookback(vec![every_minute(180, 0)]) })
    };
    for then in [vec![of(CHECK, "warehouse")], vec![of(CHECK, "warehouse"), of(USERS, "other")]] {
        let mut play = Play::of(policy_of([of(CHECK, "warehouse"), of(USERS, "warehouse")]));
        play.pass(60);
        play.end_run_of(USERS, true);
        play.end_run_of(CHECK, false);
        assert_eq!(play.world.state.faults.len(), 1);
        play.reload(policy_of(then));
        assert_eq!(play.world.state.faults.len(), 0);
        let (action, _, text) = play.told.last().unwrap();
        assert_eq!((*action, text.as_str()), (Action::Resolve, "no check asks it any more"));
    }
}

/// A check that measured a value and counts rows now judges no minute from before; its handlers got each value.
#[test]
fn from_a_value_to_rows() {
    let mut play = Play::new(Lookback { value: Some(BTreeMap::new()), ..lookback(vec![]) });
    play.run(60);
    assert!(play.results.iter().all(|result| result.get("minute_epoch").is_none()), "{:?}", play.results);
    assert!((59..=61).contains(&play.results.len()), "{}", play.results.len());
    play.results.clear();
    play.reload(policy(lookback(vec![every_minute(180, 0)])));
    play.run(3);
    let minutes = play.minutes();
    assert!(minutes.first().is_some_and(|first| (59..=62).contains(first)) && minutes.len() <= 4, "{minutes:?}");
}

/// A source that the config has no more is not wrong any more.
#[test]
fn a_source_that_is_removed_is_not_wrong() {
    let mut play = Play::new(lookback(vec![every_minute(180, 0)]));
    play.pass(60);
    play.end_run(true);
    assert_eq!(play.world.state.faults.len(), 1);
    let mut without = Policy::clone(&play.policy);
    without.sources.clear();
    play.input(Input::Reload(Arc::new(without)));
    assert_eq!(play.world.state.faults.len(), 0);
}

/// S2.7: whatever fails, is slow or is killed, minutes are judged once, in order, and those beyond the walk are counted.
#[test]
fn whatever_happens_minutes_are_judged_once() {
    let seeds = match std::env::var("WATCHBELL_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 1..40,
    };
    for seed in seeds {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let mut play = Play::new(lookback(vec![every_minute(300, 1)]));
        for _ in 0..200 {
            match below(10) {
                0 => play.killed_for(below(20)),
                1 => play.rows.push(play.now - Duration::from_secs(below(600))),
                2 => play.end_run(true),
                3..6 => play.end_run(false),
                _ => play.pass(below(90)),
            }
        }
        play.run(3);
        let minutes = play.minutes();
        let newest = (minute_of(play.now).as_secs() - START.as_secs()) / 60;
        assert!(minutes.is_sorted_by(|a, b| a < b), "WATCHBELL_SEED={seed}: {minutes:?}");
        let span = minutes.last().unwrap() - minutes[0] + 1;
        let count = |text: &String| text.split_once(" minutes from ").and_then(|(n, _)| n.parse::<i64>().ok());
        let beyond: i64 = play.events.iter().filter_map(count).sum();
        assert_eq!(minutes.len() as i64 + beyond, span, "WATCHBELL_SEED={seed}: {minutes:?}");
        assert!(newest - minutes.last().unwrap() <= 1, "WATCHBELL_SEED={seed}: {newest}");
    }
}
