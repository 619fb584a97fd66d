//! From findings to faults: what a run says is compared with what was wrong before.

use super::{
    Step,
    checks::SUMMARY_CHARS_MAX,
    derived::{Timer, is_monitor},
    names::{self, OVERLAP_END, fault_name, is_engine_part},
    world::{Past, RowKey},
};
use crate::{
    config::{CheckPolicy, Policy, Style},
    model::{Event, EventKind, EventState, Fault, Finding, Metric, NAMELESS, Name, Severity, Timestamp},
    schedule,
    state::{
        digits::same_but_digits,
        fault::{self, Change, Context, Rules},
    },
    wire::text,
};
use std::{collections::BTreeMap, time::Duration};

/// What is remembered of a fault that is gone is dropped after this long.
const PAST_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// A check whose parent is well again runs within this long.
const RUN_SOON_WITHIN: Duration = Duration::from_secs(5);
/// How often old memories are looked for.
pub(super) const PURGE_EVERY: Duration = Duration::from_secs(6 * 3600);

impl Policy {
    /// What the fault machine must know of a check.
    pub(super) fn rules(&self, check: &CheckPolicy) -> Rules {
        Rules { attempts: check.retry.saturating_add(1), alert_from: self.alert_from(check) }
    }
}

/// S3.4: the text of an alert in CIMAA's files is all that was written; what a plugin printed is cut, a message of JSON
/// (S3.5) is whole. A change in any of its lines is one.
fn as_cimaa(finding: &mut Finding) {
    let whole = text::whole(&finding.message, &finding.detail);
    finding.message = if finding.whole { whole.clone() } else { text::cut(&whole, text::CIMAA_CHARS_MAX) };
    finding.detail = if finding.message == whole { String::new() } else { whole };
}

impl Step<'_> {
    /// Makes the check's faults what its findings say. What is not found any more is gone, except where
    /// `keep` says that the run could not tell.
    pub(super) fn apply(&mut self, check: &CheckPolicy, findings: Vec<Finding>, keep: impl Fn(&Name) -> bool) {
        let was_well = !self.world.derived.faults_of.contains_key(&check.name);
        if findings.is_empty()
            && was_well
            && self.world.state.checks.get(&check.name).is_none_or(|s| s.infos.is_empty())
        {
            return;
        }
        let mut found = self.named(check, findings);
        let before = self.world.derived.faults_of.get(&check.name).cloned().unwrap_or_default();
        for name in &before {
            if !found.contains_key(name) && !is_engine_part(name) && !keep(name) {
                self.clear(name, "");
            }
        }
        self.infos(check, &mut found);
        for (name, finding) in found {
            if !self.is_held_by_another(check, &name, &finding) {
                self.found(check, &name, &finding);
            }
        }
    }

    /// The faults that findings are about. What may not be named is a fault of the check that did.
    fn named(&self, check: &CheckPolicy, findings: Vec<Finding>) -> BTreeMap<Name, Finding> {
        let mut found = BTreeMap::<Name, Finding>::new();
        let mut put = |name: Name, finding: Finding| {
            // Two findings of one name: the worse one stands.
            if found.get(&name).is_none_or(|other| other.severity < finding.severity) {
                found.insert(name, finding);
            }
        };
        let mut foreign = Vec::new();
        for mut finding in findings {
            if check.style == Style::Cimaa {
                as_cimaa(&mut finding);
            }
            let name = fault_name(check, &finding);
            match self.may_name(check, &name) {
                true => put(name, finding),
                false => foreign.push((name, finding)),
            }
        }
        if let Some(finding) = names::foreign(&foreign) {
            put(fault_name(check, &finding), finding);
        }
        found
    }

    /// One finding about one fault.
    pub(super) fn found(&mut self, check: &CheckPolicy, name: &Name, finding: &Finding) {
        let state = &self.world.state;
        let old = state.faults.get(name).cloned();
        let mut rules = self.world.policy.rules(check);
        if is_engine_part(name) {
            // The engine finds it once, and no run will find it again.
            rules.attempts = 1;
        }
        let counted = match check.style {
            // A warning is not counted there: where somebody wants to hear of it, it is certain at once.
            Style::Cimaa if finding.severity < Severity::Error => rules.attempts,
            // This run is counted already, with all that it found.
            Style::Cimaa => state.checks.get(&check.name).map_or(0, |c| c.failures.saturating_sub(1)),
            _ => old.as_ref().filter(|f| rules.counts(f.reported, f.escalates)).map_or(0, |f| f.attempt),
        };
        // A number that is gone from memory is given to nobody again: it is part of every delivery's key.
        let last_episode = state.past.get(name).map_or(state.meta.episodes_forgotten, |p| p.episode);
        let next_episode = last_episode.saturating_add(1);
        let context = Context { name, check: &check.name, now: self.at, next_episode, counted };
        let (new, change) = fault::seen(old.as_ref(), finding, rules, &context);
        // An absolute name may be found by several checks: one of them owns it.
        if let Some(old) = old.as_ref().filter(|old| old.check != check.name) {
            self.world.derived.fault_goes(&old.check, name);
        }
        if old.as_ref().is_none_or(|old| old.check != check.name) {
            self.world.derived.fault_appears(&check.name, name);
            self.watch_monitors(name, new.since);
        }
        self.world.state.faults.insert(name.clone(), new.clone());
        self.touch(RowKey::Fault(name.clone()));
        let event = match change {
            Change::Same => None,
            Change::Opened | Change::Hardened => Some(self.fault_event(check, &new, EventState::Problem)),
            Change::Softened | Change::Changed => Some(self.fault_event(check, &new, EventState::Update)),
        };
        // A fault that says the same needs no second look: squelches, hours and acknowledgements bring their
        // own. One that waits for a parent does: it is told when it is still wrong after the parent is well.
        if event.is_some() || new.held.is_some() {
            self.finding = Some(name.clone());
            self.reconcile(name, event.as_ref());
            self.finding = None;
        }
        if let Some(event) = event
            && (old.is_none() || matches!(change, Change::Changed | Change::Softened))
        {
            self.parent_changed(&check.name, &event);
        }
    }

    /// Takes out the findings that are no faults, only worth knowing; what is new of them is an event.
    fn infos(&mut self, check: &CheckPolicy, found: &mut BTreeMap<Name, Finding>) {
        let known = self.world.state.checks.get(&check.name).map(|s| s.infos.clone()).unwrap_or_default();
        let mut infos = BTreeMap::new();
        found.retain(|name, finding| {
            let is_info = finding.severity == Severity::Info;
            if is_info {
                infos.insert(name.clone(), finding.message.clone());
                if known.get(name).is_none_or(|known| !same_but_digits(known, &finding.message)) {
                    self.info(check, name, finding);
                }
            }
            !is_info
        });
        if infos != known
            && let Some(state) = self.world.state.checks.get_mut(&check.name)
        {
            state.infos = infos;
            self.touch(RowKey::Check(check.name.clone()));
        }
    }

    fn info(&mut self, check: &CheckPolicy, name: &Name, finding: &Finding) {
        self.event(EventKind::Fault, EventState::Info, Severity::Info, name, |e| {
            e.source = "check".into();
            e.text.clone_from(&finding.message);
            e.detail.clone_from(&finding.detail);
            e.labels.clone_from(&check.labels);
        });
    }

    /// A fault is gone. `why` is said where it is not simply that a run did not find it.
    pub(super) fn clear(&mut self, name: &Name, why: &str) {
        let Some(old) = self.world.state.faults.remove(name) else { return };
        self.touch(RowKey::Fault(name.clone()));
        self.world.derived.fault_goes(&old.check, name);
        self.world.derived.timers.set(Timer::Tell(name.clone()), None);
        self.world.state.past.insert(name.clone(), Past { episode: old.episode, cleared: self.now });
        self.touch(RowKey::Past(name.clone()));
        self.world.derived.timers.set_earlier(Timer::Purge, self.now + PURGE_EVERY);
        if is_monitor(name) {
            self.world.derived.timers.set_earlier(Timer::Monitors, self.now);
        }
        let policy = self.check_policy(&old.check, name);
        let bare;
        let check = match &policy {
            Some(policy) => &**policy,
            None => {
                bare = CheckPolicy::bare(old.check.clone(), Vec::new());
                &bare
            }
        };
        let mut event = self.fault_event(check, &old, EventState::Recovery);
        event.now = if why.is_empty() { self.well(&old.check, name) } else { Some(why.to_owned()) };
        if !why.is_empty() {
            event.text = why.to_owned();
        }
        if let Some(last) = self.fx.events.last_mut() {
            last.clone_from(&event);
        }
        self.reconcile(name, Some(&event));
        self.parent_changed(&old.check, &event);
    }

    /// What is so now of a fault that is gone, as its check said last: the number that was too high, or the line of the
    /// run, if that speaks of nothing else that is wrong.
    pub(super) fn well(&self, check: &Name, fault: &Name) -> Option<String> {
        let part = fault.strip_prefix(&**check).and_then(|rest| rest.strip_prefix('#'));
        let summary = match self.judged.as_ref().filter(|judged| judged.check == *check) {
            Some(judged) => {
                let is_it =
                    |m: &&Metric| part.is_some_and(|part| m.name == part || m.name.is_empty() && part == NAMELESS);
                if let Some(metric) = judged.metrics.iter().find(is_it) {
                    return Some(metric.shown());
                }
                Some(&judged.summary).filter(|_| judged.is_well || fault == check)
            }
            None => {
                let last = self.world.state.checks.get(check).and_then(|state| state.last.as_ref());
                last.filter(|last| last.worst.is_none()).map(|last| &last.summary)
            }
        };
        let summary = summary?.trim();
        (!summary.is_empty()).then(|| summary.chars().take(SUMMARY_CHARS_MAX).collect())
    }

    /// The event of a fault's change, appended to the stream.
    pub(super) fn fault_event(&mut self, check: &CheckPolicy, fault: &Fault, state: EventState) -> Event {
        self.event(EventKind::Fault, state, fault.severity, &fault.name, |e| {
            e.source = "check".into();
            e.unknown = fault.unknown;
            e.text.clone_from(&fault.message);
            e.detail.clone_from(&fault.detail);
            e.description.clone_from(&check.description);
            e.link.clone_from(&check.link);
            e.runbook.clone_from(&check.runbook);
            e.labels.clone_from(&check.labels);
            e.since = Some(fault.since);
            e.attempt = Some((fault.attempt, fault.attempts));
        })
    }

    /// Looks again at the faults of the checks that depend on this one, of which `event` has just happened.
    fn parent_changed(&mut self, parent: &Name, event: &Event) {
        let Some(children) = self.world.derived.children.get(parent).cloned() else { return };
        if !self.is_down(parent) {
            self.world.derived.recovered.insert(parent.clone(), self.now);
        }
        self.because_of(event.seq, |step| {
            for child in children {
                for fault in step.world.derived.faults_of.get(&child).cloned().unwrap_or_default() {
                    step.reconcile(&fault, None);
                }
            }
        });
    }

    /// Checks whose faults wait for a run, as a parent is well again, run before their time.
    pub(super) fn run_soon(&mut self) {
        while let Some(name) = self.soon.pop_first() {
            let derived = &mut self.world.derived;
            if derived.ready.waits(&name).is_some() {
                continue;
            }
            if derived.running_of.contains_key(&name) {
                // It may have begun before the parent was well.
                derived.queued.entry(name).or_insert(self.now);
                continue;
            }
            let at = self.now + schedule::spread(&name, RUN_SOON_WITHIN);
            derived.timers.set_earlier(Timer::Check(name), at);
        }
    }

    /// The agent found something about itself, or found it gone.
    pub(super) fn own(&mut self, part: &str, finding: Option<Finding>) {
        let name = self.own_name(part);
        match finding {
            None => self.clear(&name, ""),
            Some(finding) => {
                let check = CheckPolicy::bare(name.clone(), self.healthy_notifiers());
                self.found(&check, &name, &finding);
            }
        }
    }

    /// Takes care that a `#monitor-…` fault which stands too long is told of.
    fn watch_monitors(&mut self, name: &Name, since: Timestamp) {
        if is_monitor(name) {
            let at = since + self.world.policy.agent.monitor_patience;
            self.world.derived.timers.set_earlier(Timer::Monitors, at);
        }
    }

    /// Checks that can't be judged, and whose own receivers don't hear of it: where that lasts, the agent itself is at
    /// fault.
    pub(super) fn judge_monitors(&mut self) {
        let patience = self.world.policy.agent.monitor_patience;
        let standing = self.world.derived.monitors.iter().filter(|name| self.squelched(name).is_none());
        let standing = standing.filter_map(|name| self.world.state.faults.get(name)).filter(|f| !f.stale);
        let standing = standing.filter_map(|fault| Some((fault, self.unjudged_since(fault)? + patience)));
        let (old, young): (Vec<_>, Vec<_>) = standing.partition(|(_, until)| *until <= self.now);
        let next = young.iter().map(|(_, until)| *until).min();
        let finding = old.first().map(|(first, _)| {
            let list: Vec<_> = old.iter().map(|(f, _)| format!("{}: {}", f.name, f.message)).collect();
            let minutes = patience.as_secs() / 60;
            let others = if old.len() > 1 { format!(" and {} more", old.len() - 1) } else { String::new() };
            let text = format!("{}{others} can't be judged, for {minutes} minutes or longer", first.name);
            Finding::new(Severity::Critical, text).with_detail(list.join("\n"))
        });
        self.world.derived.timers.set(Timer::Monitors, next);
        self.own("checks", finding);
    }

    /// Since when a check can't be judged for what this fault says; `None` where it is judged, or where its own receivers
    /// hear of it. A check that is always too slow is judged by the runs that end.
    fn unjudged_since(&self, fault: &Fault) -> Option<Timestamp> {
        if fault.name.ends_with(OVERLAP_END) {
            let last = self.world.state.checks.get(&fault.check).and_then(|state| state.last.as_ref());
            return Some(last.map_or(fault.since, |last| fault.since.max((last.started + last.took).min(self.now))));
        }
        (fault.unjudged && !fault.escalates).then_some(fault.since)
    }

    /// A run of a check that is always too slow has ended: if it was among those that can't be judged, it is no more.
    pub(super) fn judged_at_last(&mut self) {
        if self.world.state.faults.contains_key(&self.own_name("checks")) {
            self.world.derived.timers.set_earlier(Timer::Monitors, self.now);
        }
    }

    /// Drops what is remembered of faults that are long gone.
    pub(super) fn purge(&mut self) {
        let now = self.now;
        let state = &mut self.world.state;
        let old: Vec<Name> =
            state.past.iter().filter(|(_, p)| p.cleared + PAST_KEPT <= now).map(|(name, _)| name.clone()).collect();
        for name in old {
            if let Some(past) = self.world.state.past.remove(&name) {
                let meta = &mut self.world.state.meta;
                meta.episodes_forgotten = meta.episodes_forgotten.max(past.episode);
                self.touch(RowKey::Meta);
            }
            self.touch(RowKey::Past(name));
        }
        self.purge_unreachable();
        let given_up =
            self.world.state.notifiers.values().any(|n| n.given_up > 0 || n.untold.is_some() || !n.refusing.is_empty());
        if given_up || !self.world.state.past.is_empty() {
            self.world.derived.timers.set(Timer::Purge, Some(now + PURGE_EVERY));
        }
    }
}
