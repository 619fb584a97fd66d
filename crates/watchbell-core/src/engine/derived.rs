//! What follows from policy and state: timers, running checks, indexes. Rebuilt at start and at a reload.

use super::{timers::Timers, world::State};
use crate::{
    config::Policy,
    model::{Name, Timestamp},
};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};

/// What a timer is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// A check is due.
    Check(Name),
    /// A passive check should have been reported on by then.
    Refresh(Name),
    /// A fault is to be looked at again: hours begin, an acknowledgement ends, it is time to tell again.
    Tell(Name),
    /// A squelch ends.
    Squelch(String),
    /// A notifier may be told the next thing.
    Outbox(Name),
    /// A `#monitor-…` fault has stood long enough to be told of.
    Monitors,
    /// Old memories are dropped.
    Purge,
}

/// A check under way.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Running {
    pub check: Name,
    pub slot: Timestamp,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Derived {
    pub timers: Timers<Timer>,
    /// Runs under way, by their id.
    pub running: BTreeMap<u64, Running>,
    /// How many runs of a check are under way.
    pub running_of: BTreeMap<Name, u32>,
    /// Due and not yet started, oldest slot first: first come, first served.
    pub ready: BTreeSet<(Timestamp, Name)>,
    /// Due again while running, under [`crate::config::Overlap::Queue`]: the slot to run when it ends.
    pub queued: BTreeMap<Name, Timestamp>,
    /// The last run id given.
    pub run_id: u64,
    /// Deliveries under way, by outbox id.
    pub in_flight: BTreeMap<u64, Name>,
    /// Outbox ids by notifier.
    pub lanes: BTreeMap<Name, BTreeSet<u64>>,
    /// When a notifier was last given something.
    pub last_send: BTreeMap<Name, Timestamp>,
    /// Faults by check.
    pub faults_of: BTreeMap<Name, BTreeSet<Name>>,
    /// `#monitor-…` faults that stand.
    pub monitors: BTreeSet<Name>,
    /// Checks by the parent they depend on.
    pub children: BTreeMap<Name, BTreeSet<Name>>,
    /// Squelches, compiled.
    pub squelches: BTreeMap<String, Regex>,
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
            derived.lanes.entry(queued.delivery.notifier.clone()).or_default().insert(*id);
        }
        for regex in state.squelches.keys() {
            // It compiled when it was set; a later version that refuses it leaves it without effect.
            if let Ok(compiled) = Regex::new(regex) {
                derived.squelches.insert(regex.clone(), compiled);
            }
        }
        derived
    }

    /// The indexes that follow from the policy alone.
    pub fn index_policy(&mut self, policy: &Policy) {
        self.children.clear();
        for check in policy.checks.values() {
            for parent in &check.parents {
                self.children.entry(parent.clone()).or_default().insert(check.name.clone());
            }
        }
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
