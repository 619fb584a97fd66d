//! Adopting a config: at start and at a reload, policy and state are compared. State is keyed by full name.

use super::{
    Step,
    derived::Timer,
    operator::squelch_wakes,
    world::{RowKey, ToldKey},
};
use crate::{
    config::{CheckPolicy, Policy},
    model::{EventKind, EventState, Finding, Name, Severity},
};
use std::{collections::BTreeSet, sync::Arc};

/// What is wrong with the config of a check that has another fault of its own name.
const CONFIG_PART: &str = "config";

impl Step<'_> {
    /// The agent has started: state was loaded, timers begin.
    pub(super) fn start(&mut self, agent_id: String) {
        if self.world.state.meta.agent_id.is_empty() {
            self.world.state.meta.agent_id = agent_id;
            self.touch(RowKey::Meta);
        }
        let agent = self.world.policy.agent.name.clone();
        let checks = self.world.policy.checks.len();
        let event = self.event(EventKind::Agent, EventState::Info, Severity::Info, &agent, |e| {
            e.text = format!("agent started with {checks} checks");
        });
        self.because_of(event.seq, Self::take_up);
    }

    /// What a start leads to: what happened while no agent ran is made up for.
    fn take_up(&mut self) {
        self.clock_while_away();
        self.interrupted_jobs();
        self.drop_removed();
        self.drop_removed_sources();
        self.config_faults();
        let (mut missed, mut affected) = (0, 0);
        for check in self.world.policy.clone().checks.values() {
            let n = self.plan_afresh(check, true);
            missed += n;
            affected += u64::from(n > 0);
        }
        if missed > 0 {
            let agent = self.world.policy.agent.name.clone();
            self.event(EventKind::Agent, EventState::Info, Severity::Info, &agent, |e| {
                e.text = format!("{missed} runs of {affected} checks were due while no agent ran, and are left out");
            });
        }
        self.restore_timers();
        self.target_told();
        self.reconcile_told();
        self.wake_outbox();
    }

    /// Timers that follow from state alone.
    pub(super) fn restore_timers(&mut self) {
        self.restore_source_timers();
        let derived = &mut self.world.derived;
        for squelch in self.world.state.squelches.values() {
            let wakes = squelch_wakes(squelch, derived.squelches.get(&squelch.regex), self.now);
            derived.timers.set(Timer::Squelch(squelch.regex.clone()), wakes);
        }
        let patience = self.world.policy.agent.monitor_patience;
        for name in &derived.monitors {
            if let Some(fault) = self.world.state.faults.get(name) {
                derived.timers.set_earlier(Timer::Monitors, fault.since + patience);
            }
        }
        if !self.world.state.past.is_empty() {
            derived.timers.set(Timer::Purge, Some(self.now));
        }
    }

    /// What was told of a notifier as a whole, which has targets now, each of its targets was told.
    fn target_told(&mut self) {
        let policy = self.world.policy.clone();
        let targets = |key: &ToldKey| policy.notifiers.get(&key.notifier).map_or(&[][..], |n| &n.targets);
        let whole = self.world.state.told.iter().filter(|(k, _)| k.target.is_empty() && !targets(k).is_empty());
        for (key, told) in whole.map(|(k, t)| (k.clone(), t.clone())).collect::<Vec<_>>() {
            self.world.state.told.remove(&key);
            self.touch(RowKey::Told(key.clone()));
            for target in targets(&key) {
                let key = ToldKey { target: target.clone(), ..key.clone() };
                self.world.state.told.entry(key.clone()).or_insert_with(|| told.clone());
                self.touch(RowKey::Told(key));
            }
        }
    }

    /// Looks again at all that is wrong, and at all that somebody was told.
    pub(super) fn reconcile_told(&mut self) {
        let mut names: BTreeSet<Name> = self.world.state.faults.keys().cloned().collect();
        names.extend(self.world.state.told.keys().map(|k| k.fault.clone()));
        for name in names {
            self.reconcile(&name, None);
        }
    }

    /// The config changed.
    pub(super) fn reload(&mut self, policy: Arc<Policy>) {
        let old = std::mem::replace(&mut self.world.policy, policy);
        let new = self.world.policy.clone();
        self.world.derived.index_policy(&new);
        self.world.derived.index_squelches(&new, &self.world.state);
        let agent = new.agent.name.clone();
        let event = self.event(EventKind::Operator, EventState::Info, Severity::Info, &agent, |e| {
            let problems = new.faults.len();
            e.source = "config".into();
            e.text = format!("config reloaded: {} checks, {problems} problems", new.checks.len());
        });
        self.because_of(event.seq, |step| step.adopt(&old, &new));
    }

    /// Brings state in line with a new config.
    fn adopt(&mut self, old: &Policy, new: &Policy) {
        self.drop_removed();
        self.drop_removed_sources();
        for name in old.checks.keys().filter(|name| !new.checks.contains_key(*name)) {
            self.world.derived.timers.set(Timer::Check(name.clone()), None);
            self.world.derived.timers.set(Timer::Refresh(name.clone()), None);
            self.world.derived.forget_check(name);
        }
        for check in new.checks.values() {
            if old.checks.get(&check.name).is_none_or(|before| reschedules(before, check)) {
                self.plan_afresh(check, false);
            }
        }
        self.config_faults();
        // Their hours are in the agent's zone.
        self.restore_timers();
        self.target_told();
        self.reconcile_told();
        self.wake_outbox();
    }

    /// What the config does not have any more: faults are resolved wherever they were told. What stands in a
    /// file that can't be read stays, marked stale.
    fn drop_removed(&mut self) {
        let policy = self.world.policy.clone();
        let broken = |check: &Name| {
            let mut files = policy.broken.iter().filter(|broken| broken.ends_with('/'));
            policy.broken.contains(check.as_str()) || files.any(|prefix| check.starts_with(prefix.as_str()))
        };
        let faults: Vec<_> =
            self.world.state.faults.values().map(|f| (f.name.clone(), f.check.clone(), f.stale)).collect();
        for (name, check, was_stale) in faults {
            if self.is_own(&check) {
                continue;
            }
            let in_force = policy.checks.get(&check);
            let gone = in_force.is_none();
            if in_force.is_some_and(|c| c.flapping.is_none()) && name == check.part("flapping") {
                self.stop_flapping(&check);
                continue;
            }
            let stale = gone && broken(&check);
            if gone && !stale {
                self.clear(&name, "removed from the config");
            } else if stale != was_stale {
                if let Some(fault) = self.world.state.faults.get_mut(&name) {
                    fault.stale = stale;
                }
                self.touch(RowKey::Fault(name));
            }
        }
        let checks: Vec<Name> = self.world.state.checks.keys().cloned().collect();
        for check in checks {
            if !policy.checks.contains_key(&check) && !broken(&check) {
                self.world.state.checks.remove(&check);
                self.touch(RowKey::Check(check));
            }
        }
    }

    /// What is wrong with the config, each a critical fault.
    fn config_faults(&mut self) {
        let policy = self.world.policy.clone();
        let check = CheckPolicy::bare(self.own_name("config"), Vec::new());
        let findings = policy.faults.iter().map(|fault| {
            // What the check found before it was broken stands beside it.
            let is_taken = self.world.state.faults.get(&fault.name).is_some_and(|old| old.check != check.name);
            let name = if is_taken { fault.name.part(CONFIG_PART) } else { fault.name.clone() };
            let finding = Finding::part(name.as_str(), Severity::Critical, &fault.message);
            finding.with_detail(&fault.detail)
        });
        // The shell's own `AGENT#config` is not ours to clear.
        self.apply(&check, findings.collect(), |name| *name == check.name);
    }

    /// Who is told of a fault of the config: those whom its file names.
    pub(super) fn config_notify(&self, fault: &Name) -> Vec<Name> {
        let policy = &self.world.policy;
        let found = policy.faults.iter().find(|f| f.name == *fault || f.name.part(CONFIG_PART) == *fault);
        found.map_or_else(|| policy.agent.notify.clone(), |found| found.notify.clone())
    }

    /// The agent stops in good order.
    pub(super) fn stop(&mut self) {
        let agent = self.world.policy.agent.name.clone();
        self.event(EventKind::Agent, EventState::Info, Severity::Info, &agent, |e| {
            e.text = "agent stopped".into();
        });
    }
}

/// Whether a check's new policy asks for new times.
fn reschedules(old: &Arc<CheckPolicy>, new: &Arc<CheckPolicy>) -> bool {
    if Arc::ptr_eq(old, new) {
        return false;
    }
    old.schedule != new.schedule || old.passive != new.passive
}
