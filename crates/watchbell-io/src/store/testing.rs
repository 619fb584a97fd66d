//! What the store's tests share: folders that go away, numbers from a seed, and state to write.

use super::{Opened, Store, StoreOptions};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use watchbell_core::{
    engine::{Commit, Past, RowKey, State, Told, ToldKey},
    model::{
        Action, Decision, Delivery, Event, EventKind, EventState, Fault, Finding, Name, Severity, Timestamp, Verdict,
    },
    state::{
        check::{CheckState, LastRun},
        fault::{Context, Rules, seen},
        outbox::{NotifierState, Open, Queued},
        squelch::Squelch,
    },
};

/// A folder that is removed when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(what: &str) -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("watchbell-store-{what}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that a seed repeats (xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

pub fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Options that don't wait for a lock and keep little back.
pub fn options() -> StoreOptions {
    StoreOptions { ballast_bytes: 256 << 10, lock_tries: 1, ..StoreOptions::at(at(1_000)) }
}

pub fn open(dir: &Path) -> Opened {
    Store::open(dir, &options()).unwrap()
}

pub fn event(seq: u64, secs: i64, name: &str) -> Event {
    Event {
        seq,
        at: at(secs),
        received_at: at(secs),
        kind: EventKind::Fault,
        state: EventState::Problem,
        severity: Severity::Critical,
        unknown: false,
        source: "check".into(),
        name: name.into(),
        key: name.to_owned(),
        host: "h".into(),
        service: "c".into(),
        topic: None,
        text: format!("event {seq}: ünwell \"quoted\""),
        detail: String::new(),
        now: None,
        taken: None,
        description: None,
        link: Some("https://example.com/".into()),
        runbook: None,
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        since: Some(at(secs - 60)),
        attempt: Some((4, 4)),
        caused_by: None,
        original: Some(serde_json::json!({"a": [1, 2.5, null]})),
    }
}

pub fn decision(secs: i64, name: &str, verdict: Verdict, delivery: Option<&str>, event: Option<u64>) -> Decision {
    Decision {
        at: at(secs),
        name: name.into(),
        episode: 3,
        notifier: delivery.map(|_| "ops".into()),
        rule: "told".into(),
        verdict,
        text: format!("because of {secs}"),
        delivery: delivery.map(str::to_owned),
        event,
    }
}

pub fn fault(name: &Name, secs: i64, message: &str) -> Fault {
    let context = Context { name, check: name, now: at(secs), next_episode: 3, counted: 0 };
    seen(None, &Finding::new(Severity::Critical, message), Rules { attempts: 4, alert_from: Severity::Error }, &context)
        .0
}

pub fn queued(key: &str, event: Event) -> Queued {
    let delivery = Delivery {
        key: key.to_owned(),
        action: Action::Trigger,
        notifier: "ops".into(),
        event,
        target: String::new(),
        trigger_receipt: None,
        digest: Vec::new(),
    };
    Queued {
        delivery: Arc::new(delivery),
        at: at(1),
        episode: 3,
        tries: 2,
        failures: 2,
        not_before: at(5),
        last_failure: Some("it answered 503".into()),
        ends: None,
        merged: Vec::new(),
        instead_of: None,
    }
}

/// Changes a few rows of the state at random, one of them possibly of any table, and says what must be written:
/// what the engine does in one batch.
pub fn mutate(state: &mut State, dice: &mut Dice) -> Commit {
    let mut keys = vec![RowKey::Meta];
    let mut commit = Commit::default();
    state.meta.agent_id = "agent".into();
    for _ in 0..=dice.below(6) {
        let secs = dice.below(1_000_000) as i64;
        let name = Name::new(format!("//h/ä'\"f/c{}", dice.below(20)));
        let gone = dice.below(3) == 0;
        keys.push(match dice.below(7) {
            0 => put(&mut state.checks, name.clone(), check(secs), gone, RowKey::Check),
            1 => put(&mut state.faults, name.clone(), fault(&name, secs, "line\nline\u{0}"), gone, RowKey::Fault),
            2 => put(&mut state.past, name, Past { episode: 7, cleared: at(secs) }, gone, RowKey::Past),
            3 => {
                let key = ToldKey { fault: name.clone(), notifier: "ops".into(), target: "#a".into() };
                put(&mut state.told, key, told(&name, secs), gone, RowKey::Told)
            }
            4 => put(&mut state.squelches, format!("^{name}$"), squelch(&name, secs), gone, RowKey::Squelch),
            5 => put(&mut state.notifiers, name, NotifierState::default(), gone, RowKey::Notifier),
            _ => {
                state.meta.outbox_id += 1;
                let id = if gone { dice.below(state.meta.outbox_id) + 1 } else { state.meta.outbox_id };
                put(&mut state.outbox, id, queued("k", event(1, secs, &name)), gone, RowKey::Outbox)
            }
        });
        state.meta.seq += 1;
        commit.events.push(event(state.meta.seq, secs, "//h/f/c"));
        commit.decisions.push(decision(secs, "//h/f/c", Verdict::Hold, None, Some(state.meta.seq)));
    }
    commit.rows = keys.iter().map(|key| state.row(key)).collect();
    commit
}

fn put<K: Ord + Clone, V>(
    map: &mut std::collections::BTreeMap<K, V>,
    key: K,
    value: V,
    gone: bool,
    name: fn(K) -> RowKey,
) -> RowKey {
    if gone {
        drop(map.remove(&key))
    } else {
        drop(map.insert(key.clone(), value))
    }
    name(key)
}

fn check(secs: i64) -> CheckState {
    let last = LastRun {
        started: at(secs),
        took: Duration::from_micros(12_345),
        late: Duration::ZERO,
        worst: Some(Severity::Error),
        summary: "DISK CRITICAL".into(),
        exit: None,
        value: Some(0.1),
    };
    let mut check = CheckState { last_slot: Some(at(secs)), last: Some(last), failures: 2, ..CheckState::default() };
    check.durations.add(Duration::from_millis(secs as u64));
    check
}

fn told(name: &Name, secs: i64) -> Told {
    Told {
        check: name.clone(),
        episode: 3,
        change: 2,
        since: Some(at(secs)),
        message: "full".into(),
        severity: Severity::Critical,
        at: at(secs),
        again: 0,
        open: Open::Yes,
        outdated: false,
        acknowledged: false,
        receipt: None,
    }
}

fn squelch(name: &Name, secs: i64) -> Squelch {
    Squelch {
        regex: format!("^{name}$"),
        reason: "work".into(),
        by: "me".into(),
        at: at(secs),
        until: None,
        permanent: true,
        every: Some("sat 02:00-04:00".into()),
    }
}
