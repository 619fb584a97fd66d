//! The world: policy, state, and what follows from the two.
//!
//! State is rows in `BTreeMap`s by stable id. [`Effects::changed`](super::Effects) names the rows that a
//! step touched;
//! [`take_commit`](super::Effects::take_commit) turns them into what the store writes; [`State::load`] reads
//! all back. After every commit `load() == state` holds. Timers, running checks and indexes are derived: they are
//! rebuilt at start and never stored.

use super::derived::Derived;
use crate::{
    config::Policy,
    model::{Delivery, Fault, Name, Receipt, Severity, Timestamp},
    state::{
        check::CheckState,
        outbox::{NotifierState, Open, Queued},
        squelch::Squelch,
    },
};
use regex::Regex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// Everything that [`super::step`] reads and changes.
#[derive(Clone, Debug)]
pub struct World {
    /// What the config says.
    pub policy: Arc<Policy>,
    /// What was learned; survives a restart.
    pub state: State,
    /// What follows from the two; rebuilt at start.
    pub(super) derived: Derived,
}

/// What was learned: the rows that the store keeps.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct State {
    /// One row of its own.
    pub meta: Meta,
    /// Checks by full name.
    pub checks: BTreeMap<Name, CheckState>,
    /// What is wrong now, by full name.
    pub faults: BTreeMap<Name, Fault>,
    /// What is remembered of faults that are gone.
    pub past: BTreeMap<Name, Past>,
    /// What was told to whom.
    pub told: BTreeMap<ToldKey, Told>,
    /// Squelches by their regular expression.
    pub squelches: BTreeMap<String, Squelch>,
    /// Deliveries decided but not yet confirmed, in the order they were decided.
    pub outbox: BTreeMap<u64, Queued>,
    /// How notifiers are doing.
    pub notifiers: BTreeMap<Name, NotifierState>,
}

/// What belongs to the agent as a whole.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Made at the first start; the first part of every delivery key.
    pub agent_id: String,
    /// The last event's position in the stream.
    pub seq: u64,
    /// The last id given in the outbox.
    pub outbox_id: u64,
    /// The highest episode of a fault whose memory was dropped: later ones of any name are higher.
    #[serde(default)]
    pub episodes_forgotten: u64,
}

/// What is remembered of a fault that is gone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// How often it opened.
    pub episode: u64,
    /// When it was last found gone.
    pub cleared: Timestamp,
}

/// A fault, a notifier, and the notifier's target (empty for its only one).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ToldKey {
    /// The fault.
    pub fault: Name,
    /// The notifier.
    pub notifier: Name,
    /// The target.
    pub target: String,
}

/// What a receiver believes, because we told it (or decided to: the delivery may still be in the outbox).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The check that found the fault.
    pub check: Name,
    /// Which opening of the fault.
    pub episode: u64,
    /// Which change within it.
    pub change: u32,
    /// Since when it has been wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The message that was told.
    pub message: String,
    /// The severity that was told.
    pub severity: Severity,
    /// When it was decided to tell.
    pub at: Timestamp,
    /// Its end was given up once: then this tells the next one from it. 0 where none was.
    #[serde(default)]
    pub again: u64,
    /// Whether the receiver took a trigger. Until then it may still refuse it.
    #[serde(default)]
    pub open: Open,
    /// What was told last was not taken, or it is not certain: it is told again when there is reason to look at it.
    #[serde(default)]
    pub outdated: bool,
    /// Whether an acknowledgement was told.
    #[serde(default)]
    pub acknowledged: bool,
    /// What the receiver answered to the trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Names one row of the state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RowKey {
    /// [`State::meta`].
    Meta,
    /// A row of [`State::checks`].
    Check(Name),
    /// A row of [`State::faults`].
    Fault(Name),
    /// A row of [`State::past`].
    Past(Name),
    /// A row of [`State::told`].
    Told(ToldKey),
    /// A row of [`State::squelches`].
    Squelch(String),
    /// A row of [`State::outbox`].
    Outbox(u64),
    /// A row of [`State::notifiers`].
    Notifier(Name),
}

/// One row as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which map it belongs to (`check`, `fault`, …).
    pub table: &'static str,
    /// Its key within the map.
    pub key: String,
    /// Its JSON; `None` when the row is gone and must be deleted.
    pub value: Option<String>,
}

/// Joins the parts of a [`ToldKey`]; no name or target contains it (control characters are refused by the config).
const PART: char = '\u{1f}';

impl State {
    /// The row that a key names, as the store keeps it.
    pub fn row(&self, key: &RowKey) -> Row {
        let (table, text, value) = match key {
            RowKey::Meta => ("meta", "meta".to_owned(), json(Some(&self.meta))),
            RowKey::Check(name) => ("check", name.to_string(), json(self.checks.get(name))),
            RowKey::Fault(name) => ("fault", name.to_string(), json(self.faults.get(name))),
            RowKey::Past(name) => ("past", name.to_string(), json(self.past.get(name))),
            RowKey::Told(key) => {
                let text = format!("{}{PART}{}{PART}{}", key.fault, key.notifier, key.target);
                ("told", text, json(self.told.get(key)))
            }
            RowKey::Squelch(regex) => ("squelch", regex.clone(), json(self.squelches.get(regex))),
            // Zero-padded, so that text order is number order for whoever reads the table by hand.
            RowKey::Outbox(id) => ("outbox", format!("{id:020}"), json(self.outbox.get(id))),
            RowKey::Notifier(name) => ("notifier", name.to_string(), json(self.notifiers.get(name))),
        };
        Row { table, key: text, value }
    }

    /// Reads one stored row back.
    ///
    /// # Errors
    /// Which row can't be understood, and why.
    pub fn put_row(&mut self, table: &str, key: &str, value: &str) -> Result<(), String> {
        let wrong = |why: String| format!("row `{key}` of `{table}` can't be read: {why}");
        match table {
            "meta" => self.meta = parse(value).map_err(wrong)?,
            "check" => drop(self.checks.insert(key.into(), parse(value).map_err(wrong)?)),
            "fault" => drop(self.faults.insert(key.into(), parse(value).map_err(wrong)?)),
            "past" => drop(self.past.insert(key.into(), parse(value).map_err(wrong)?)),
            "told" => {
                let key = told_key(key).ok_or_else(|| wrong("its key has not three parts".into()))?;
                self.told.insert(key, parse(value).map_err(wrong)?);
            }
            "squelch" => drop(self.squelches.insert(key.into(), parse(value).map_err(wrong)?)),
            "outbox" => {
                let id = key.parse().map_err(|_| wrong("its key is no number".into()))?;
                self.outbox.insert(id, parse(value).map_err(wrong)?);
            }
            "notifier" => drop(self.notifiers.insert(key.into(), parse(value).map_err(wrong)?)),
            _ => return Err(format!("there is no table `{table}` in this version")),
        }
        Ok(())
    }

    /// Drops a row that is gone; one that is not there is gone already.
    pub fn remove_row(&mut self, table: &str, key: &str) {
        match table {
            "meta" => self.meta = Meta::default(),
            "check" => drop(self.checks.remove(key)),
            "fault" => drop(self.faults.remove(key)),
            "past" => drop(self.past.remove(key)),
            "told" => drop(told_key(key).and_then(|key| self.told.remove(&key))),
            "squelch" => drop(self.squelches.remove(key)),
            "outbox" => drop(key.parse().ok().and_then(|id: u64| self.outbox.remove(&id))),
            "notifier" => drop(self.notifiers.remove(key)),
            _ => {}
        }
    }

    /// Reads all stored rows back: `(table, key, JSON)`.
    ///
    /// # Errors
    /// Every row that can't be understood, and why; the others are in the state that comes with them.
    pub fn load<'r>(rows: impl Iterator<Item = (&'r str, &'r str, &'r str)>) -> (State, Vec<String>) {
        let mut state = State::default();
        let mut errors = Vec::new();
        for (table, key, value) in rows {
            if let Err(error) = state.put_row(table, key, value) {
                errors.push(error);
            }
        }
        (state, errors)
    }

    /// Every row key there is, for writing the whole state.
    pub fn keys(&self) -> Vec<RowKey> {
        let mut keys = vec![RowKey::Meta];
        keys.extend(self.checks.keys().cloned().map(RowKey::Check));
        keys.extend(self.faults.keys().cloned().map(RowKey::Fault));
        keys.extend(self.past.keys().cloned().map(RowKey::Past));
        keys.extend(self.told.keys().cloned().map(RowKey::Told));
        keys.extend(self.squelches.keys().cloned().map(RowKey::Squelch));
        keys.extend(self.outbox.keys().copied().map(RowKey::Outbox));
        keys.extend(self.notifiers.keys().cloned().map(RowKey::Notifier));
        keys
    }
}

fn told_key(text: &str) -> Option<ToldKey> {
    let mut parts = text.split(PART);
    let (fault, notifier, target) = (parts.next()?, parts.next()?, parts.next()?);
    Some(ToldKey { fault: fault.into(), notifier: notifier.into(), target: target.into() })
}

fn json<T: Serialize>(value: Option<&T>) -> Option<String> {
    // Plain data with text keys always has a JSON form; a failure would be a programmer's error.
    value.map(|v| serde_json::to_string(v).unwrap_or_else(|e| unreachable!("a row without a JSON form: {e}")))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

impl World {
    /// A world at start: the state as it was stored, under this policy. Nothing happens before
    /// [`super::Input::Start`] arrives.
    pub fn new(policy: Arc<Policy>, mut state: State) -> World {
        // The same text once: less memory, and names that are compared are the same.
        let shared = |name: Name| policy.checks.get_key_value(&name).map_or(name, |(shared, _)| shared.clone());
        state.checks = state.checks.into_iter().map(|(name, check)| (shared(name), check)).collect();
        let derived = Derived::of(&policy, &state);
        World { policy, state, derived }
    }

    /// When the world wants [`super::Input::Wake`], at the latest.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.derived.timers.next()
    }

    /// The squelches that hold all the time, compiled. Of one that comes again the fault says whether it holds.
    pub fn squelches(&self) -> impl Iterator<Item = (&str, &Regex)> {
        let always = self.derived.squelches.iter().filter(|(_, silence)| silence.every.is_none());
        always.map(|(text, silence)| (text.as_str(), &silence.regex))
    }

    /// How many checks are running.
    pub fn running(&self) -> usize {
        self.derived.running.len()
    }

    /// How many checks are due and wait for a free place.
    pub fn waiting(&self) -> usize {
        self.derived.ready.len()
    }

    /// When a check is due next by its schedule or as a retry.
    pub fn next_due(&self, check: &Name) -> Option<Timestamp> {
        self.derived.timers.when(&super::derived::Timer::Check(check.clone()))
    }

    /// Whether a check runs now.
    pub fn is_running(&self, check: &Name) -> bool {
        self.derived.running_of.contains_key(check)
    }

    /// What is wrong with a check now, by name.
    pub fn faults_of(&self, check: &Name) -> impl Iterator<Item = &Fault> {
        let names = self.derived.faults_of.get(check);
        names.into_iter().flatten().filter_map(|name| self.state.faults.get(name))
    }

    /// The deliveries that wait or are under way, oldest first.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.state.outbox.values().map(|q| &*q.delivery)
    }
}
