//! What follows from policy and state: timers, running checks, indexes. Rebuilt at start and at a reload.

use super::{
    lookback::PlanEnd,
    operator::{compiled, size},
    results::result_bytes,
    timers::Timers,
    world::State,
};
use crate::{
    config::{CheckPolicy, Policy},
    model::{Delivery, Name, Timestamp},
    route::hours::Hours,
    state::squelch::Squelch,
};
use foldhash::fast::FixedState;
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// What is looked up by key at every run, and never gone through in order. The hash's seed is fixed: the same inputs
/// give the same effects.
pub(super) type Hashed<K, V> = HashMap<K, V, FixedState>;

/// What a timer is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Timer {
    /// A check is due.
    Check(Name),
    /// A passive check should have been reported on by then.
    Refresh(Name),
    /// A fault is to be looked at again: hours begin, an acknowledgement ends, it is time to tell again.
    Tell(Name),
    /// A squelch ends.
    Squelch(String),
    /// A source has been away for as long as it may.
    Source(Name),
    /// A notifier may be told the next thing.
    Outbox(Name),
    /// A `#monitor-…` fault has stood long enough to be told of.
    Monitors,
    /// Old memories are dropped.
    Purge,
}

/// A check under way.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub check: Name,
    pub slot: Timestamp,
    /// What it was started with, and under which config.
    pub policy: Option<Arc<CheckPolicy>>,
    pub generation: u64,
    /// A look-back: what is done once it is through.
    pub plan: Option<PlanEnd>,
}

/// What is due and not yet started. Who waits longest is first, whoever they are: that is since its slot, or where
/// that was missed, since its turn came to be made up for. But a second run of a check beside its first
/// ([`crate::config::Overlap::Allow`]) comes after every check that has none, so that one check can't take all places.
/// A check waits at most once in each of both.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready {
    /// Slots by since when they wait.
    first: BTreeMap<(Timestamp, Name), Timestamp>,
    /// Since when.
    first_of: Hashed<Name, Timestamp>,
    beside: BTreeSet<(Timestamp, Name)>,
    beside_of: Hashed<Name, Timestamp>,
    /// Those among the first that wait for their source and take no place meanwhile, by source.
    held: BTreeMap<Name, BTreeMap<(Timestamp, Name), Timestamp>>,
}

/// What is to be started next.
#[derive(Clone, Debug)]
pub(super) struct Next {
    /// Since when it waits.
    pub since: Timestamp,
    pub slot: Timestamp,
    pub check: Name,
}

impl Ready {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.first.len() + self.beside.len() + self.held.values().map(BTreeMap::len).sum::<usize>()
    }

    /// How many wait for a source.
    pub fn held(&self, source: &str) -> usize {
        self.held.get(source).map_or(0, BTreeMap::len)
    }

    /// What was to start next waits for its source instead. Two runs of a check that wait are one.
    pub fn hold(&mut self, source: &Name, next: Next) {
        let Next { since, slot, check } = next;
        if !self.first_of.contains_key(&check) {
            self.first_of.insert(check.clone(), since);
            self.held.entry(source.clone()).or_default().insert((since, check), slot);
        }
    }

    /// The source has room for so many more.
    pub fn release(&mut self, source: &str, count: usize) {
        let Some(held) = self.held.get_mut(source) else { return };
        self.first.extend((0..count).map_while(|_| held.pop_first()));
        if held.is_empty() {
            self.held.remove(source);
        }
    }

    /// Who waits for a source is looked at anew.
    pub fn release_all(&mut self) {
        self.first.extend(std::mem::take(&mut self.held).into_values().flatten());
    }

    /// Since when a check waits for its only run.
    pub fn waits(&self, check: &Name) -> Option<Timestamp> {
        self.first_of.get(check).copied()
    }

    /// A run that is its check's only one.
    pub fn push(&mut self, check: &Name, slot: Timestamp) {
        self.push_since(check, slot, slot);
    }

    /// The same for a slot that could not be run when it came.
    pub fn push_since(&mut self, check: &Name, slot: Timestamp, since: Timestamp) {
        if !self.first_of.contains_key(check) {
            self.first_of.insert(check.clone(), since);
            self.first.insert((since, check.clone()), slot);
        }
    }

    /// A run beside others of its check. False: one of these waits already.
    pub fn push_beside(&mut self, check: &Name, slot: Timestamp) -> bool {
        let new = !self.beside_of.contains_key(check);
        if new {
            self.beside_of.insert(check.clone(), slot);
            self.beside.insert((slot, check.clone()));
        }
        new
    }

    /// The check has no run any more: what waited to run beside it is its only one.
    pub fn promote(&mut self, check: &Name) {
        if let Some(slot) = self.beside_of.remove(check) {
            self.beside.remove(&(slot, check.clone()));
            if self.waits(check).is_none() {
                self.push(check, slot);
            }
        }
    }

    /// The next one to start.
    pub fn pop(&mut self) -> Option<Next> {
        if let Some(((since, check), slot)) = self.first.pop_first() {
            self.first_of.remove(&check);
            return Some(Next { since, slot, check });
        }
        let (slot, check) = self.beside.pop_first()?;
        self.beside_of.remove(&check);
        Some(Next { since: slot, slot, check })
    }

    /// A check is gone.
    pub fn forget(&mut self, check: &Name) {
        if let Some(since) = self.first_of.remove(check) {
            let waits = (since, check.clone());
            self.first.remove(&waits);
            self.held.retain(|_, held| held.remove(&waits).is_none() || !held.is_empty());
        }
        if let Some(slot) = self.beside_of.remove(check) {
            self.beside.remove(&(slot, check.clone()));
        }
    }
}

/// What waits for one notifier or is under way to it, by outbox id.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    /// What it is to tell.
    pub told: BTreeSet<u64>,
    /// Results that it handles, with the bytes that each takes.
    pub results: BTreeMap<u64, usize>,
    /// What the results take in all.
    pub results_bytes: usize,
}

impl Lane {
    pub fn put(&mut self, id: u64, delivery: &Delivery) {
        let Some(bytes) = result_bytes(&delivery.event) else {
            self.told.insert(id);
            return;
        };
        self.results_bytes += bytes;
        self.results.insert(id, bytes);
    }

    pub fn remove(&mut self, id: u64) {
        self.told.remove(&id);
        self.results_bytes -= self.results.remove(&id).unwrap_or(0);
    }

    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.results.is_empty()
    }

    /// What is to be told, then the results.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.told.iter().chain(self.results.keys()).copied()
    }
}

/// A squelch, compiled.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub regex: Regex,
    /// What it takes in memory, about.
    pub size: usize,
    /// When it holds, where that is not all the time.
    pub every: Option<Hours>,
}

impl Silence {
    /// Whether it keeps a fault quiet now.
    pub fn holds(&self, fault: &str, now: Timestamp) -> bool {
        self.every.as_ref().is_none_or(|hours| hours.open_at(now)) && self.regex.is_match(fault)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Derived {
    pub timers: Timers<Timer>,
    /// Runs under way, by their id.
    pub running: BTreeMap<u64, Running>,
    /// How many runs of a check are under way.
    pub running_of: Hashed<Name, u32>,
    /// How many runs under way ask a source.
    pub asking: Hashed<Name, usize>,
    /// Look-backs that wait for their source, or whose run had to.
    pub held_up: Hashed<Name, ()>,
    /// Due and not yet started.
    pub ready: Ready,
    /// Due again while running, under [`crate::config::Overlap::Queue`] or for a fault that waits for a new run: the
    /// slot to run when it ends.
    pub queued: Hashed<Name, Timestamp>,
    /// Missed slots that are made up for one after the other ([`crate::config::Missed::All`]).
    pub catch_up: Hashed<Name, VecDeque<Timestamp>>,
    /// Counts the configs.
    pub generation: u64,
    /// The last run id given.
    pub run_id: u64,
    /// Deliveries under way, by outbox id.
    pub in_flight: BTreeMap<u64, Name>,
    /// The outbox by notifier.
    pub lanes: BTreeMap<Name, Lane>,
    /// When a notifier was last given something.
    pub last_send: Hashed<Name, Timestamp>,
    /// Faults by check.
    pub faults_of: Hashed<Name, BTreeSet<Name>>,
    /// `#monitor-…` faults that stand.
    pub monitors: BTreeSet<Name>,
    /// Checks by the parent they depend on.
    pub children: BTreeMap<Name, BTreeSet<Name>>,
    /// The policy's checks, as they are looked up at every run.
    pub checks: Hashed<Name, Arc<CheckPolicy>>,
    /// Checks of which a slot was left out since their last run ended.
    pub left_out: Hashed<Name, ()>,
    /// When a check on which others depend was last found well after it was not.
    pub recovered: Hashed<Name, Timestamp>,
    /// Squelches, compiled.
    pub squelches: BTreeMap<String, Silence>,
}

impl Derived {
    /// The indexes of a state under a policy. Timers are set by `Input::Start`.
    pub fn of(policy: &Policy, state: &State) -> Derived {
        let mut derived = Derived::default();
        derived.index_policy(policy);
        for fault in state.faults.values() {
            derived.fault_appears(&fault.check, &fault.name);
        }
        for (id, queued) in &state.outbox {
            derived.lanes.entry(queued.delivery.notifier.clone()).or_default().put(*id, &queued.delivery);
        }
        derived.index_squelches(policy, state);
        derived
    }

    /// The indexes that follow from the policy alone.
    pub fn index_policy(&mut self, policy: &Policy) {
        self.generation += 1;
        self.ready.release_all();
        self.children.clear();
        self.checks = policy.checks.iter().map(|(name, check)| (name.clone(), check.clone())).collect();
        for check in policy.checks.values() {
            for parent in &check.parents {
                self.children.entry(parent.clone()).or_default().insert(check.name.clone());
            }
        }
    }

    /// Squelches, compiled. They could be read when they were set; a later version that refuses one leaves it without
    /// effect.
    pub fn index_squelches(&mut self, policy: &Policy, state: &State) {
        let silence = |squelch: &Squelch| {
            // What is compiled already is the same: a reload does not compile it again.
            let known = self.squelches.get(&squelch.regex).map(|known| (known.regex.clone(), known.size));
            let (regex, size) = known.or_else(|| Some((compiled(&squelch.regex).ok()?, size(&squelch.regex))))?;
            let every = squelch.every.as_ref().map(|every| Hours::parse(every, &policy.agent.zone));
            Some((squelch.regex.clone(), Silence { regex, size, every: every.transpose().ok()? }))
        };
        self.squelches = state.squelches.values().filter_map(silence).collect();
    }

    /// A check is gone.
    pub fn forget_check(&mut self, check: &Name) {
        self.queued.remove(check);
        self.catch_up.remove(check);
        self.left_out.remove(check);
        self.held_up.remove(check);
        self.recovered.remove(check);
        self.ready.forget(check);
    }

    /// A fault is there.
    pub fn fault_appears(&mut self, check: &Name, fault: &Name) {
        self.faults_of.entry(check.clone()).or_default().insert(fault.clone());
        if is_monitor(fault) {
            self.monitors.insert(fault.clone());
        }
    }

    /// A fault is gone.
    pub fn fault_goes(&mut self, check: &Name, fault: &Name) {
        if let Some(faults) = self.faults_of.get_mut(check) {
            faults.remove(fault);
            if faults.is_empty() {
                self.faults_of.remove(check);
            }
        }
        self.monitors.remove(fault);
    }
}

/// Whether a fault is the monitor's about itself.
pub(super) fn is_monitor(fault: &str) -> bool {
    fault.rsplit_once('#').is_some_and(|(_, part)| part.starts_with("monitor-"))
}
