//! Who is told what. For each fault and each receiver, what the receiver believes ([`Told`]) is brought in
//! line with what is true. Calling [`Step::reconcile`] once more changes nothing, so whatever may matter
//! (a finding, a squelch lifted, hours that begin, a parent that is well, a restart) simply calls it.

use super::{
    Step,
    derived::{Timer, is_monitor},
    names::is_engine_part,
    world::{RowKey, Told, ToldKey},
};
use crate::{
    config::{CheckPolicy, NotifierPolicy, Renotify},
    model::{Action, Event, EventKind, EventState, Fault, Held, Name, Severity, Timestamp, Verdict},
    state::{
        digits::same_but_digits,
        outbox::{Ends, Open},
    },
};
use std::{collections::BTreeMap, ops::Bound, time::Duration};

/// Nobody is told the same again more often than this.
const REMINDER_MIN: Duration = Duration::from_secs(1);

impl Step<'_> {
    /// Brings what receivers believe of a fault in line with what is true. `event` is the fault's own event
    /// that led here, if there is one.
    pub(super) fn reconcile(&mut self, name: &Name, event: Option<&Event>) {
        let fault = self.world.state.faults.get(name).cloned();
        let told = self.told_of(name);
        let check_name = fault.as_ref().map(|f| f.check.clone()).or_else(|| told.first().map(|(_, t)| t.check.clone()));
        let Some(check_name) = check_name else { return };
        let check = self.check_policy(&check_name, name);
        let rules = check.as_ref().map(|c| self.world.policy.rules(c));
        match (fault, check) {
            (Some(fault), Some(check)) if rules.is_some_and(|r| r.tells(&fault)) => {
                self.tell_problem(fault, &check, event);
            }
            // It stands in a file that can't be read: nobody knows any better.
            (Some(_), None) => {}
            (fault, check) => {
                self.unhold(fault.as_ref());
                if fault.is_some() && event.is_some() && told.is_empty() {
                    self.explain_quiet(name, check.as_deref(), event);
                }
                self.tell_resolved(name, &check_name, told, event);
            }
        }
    }

    /// Looks again at all faults of a check.
    pub(super) fn reconcile_check(&mut self, check: &Name) {
        for fault in self.world.derived.faults_of.get(check).cloned().unwrap_or_default() {
            self.reconcile(&fault, None);
        }
        let gone: Vec<Name> = self
            .world
            .state
            .told
            .iter()
            .filter(|(k, t)| t.check == *check && !self.world.state.faults.contains_key(&k.fault))
            .map(|(k, _)| k.fault.clone())
            .collect();
        for fault in gone {
            self.reconcile(&fault, None);
        }
    }

    /// What receivers believe of a fault.
    fn told_of(&self, fault: &Name) -> Vec<(ToldKey, Told)> {
        let from = ToldKey { fault: fault.clone(), notifier: "".into(), target: String::new() };
        let range = (Bound::Included(from), Bound::Unbounded);
        self.world
            .state
            .told
            .range(range)
            .take_while(|(k, _)| k.fault == *fault)
            .map(|(k, t)| (k.clone(), t.clone()))
            .collect()
    }

    /// The rule that keeps a fault quiet for now, if any. This is the order of the rules.
    fn gate(&self, fault: &Fault, check: &CheckPolicy) -> Option<Held> {
        self.squelched(&fault.name)
            .or_else(|| self.unreachable(fault, check))
            .or_else(|| {
                let ack = fault.acknowledged.as_ref().filter(|a| a.until.is_none_or(|until| until > self.now));
                ack.map(|a| Held::Acknowledged { by: a.by.clone() })
            })
            .or_else(|| self.flaps(fault, check).then_some(Held::Flapping))
            .or_else(|| {
                let hours = check.hours.as_ref().filter(|h| !h.open_at(self.now))?;
                Some(Held::Hours { until: hours.next_open(self.now) })
            })
    }

    /// The squelch that matches a name.
    pub(super) fn squelched(&self, name: &Name) -> Option<Held> {
        let matching = self.world.derived.squelches.iter().find(|(_, silence)| silence.holds(name, self.now));
        matching.map(|(regex, _)| Held::Squelch { regex: regex.clone() })
    }

    /// A parent that is failing, certain or not: while it is being found out, nobody is told of the child. Nor when
    /// it is well again, until a run that began after that says that the child is still wrong. What no run will find
    /// again (of a passive check, of a job, the engine's own) waits for none.
    fn unreachable(&self, fault: &Fault, check: &CheckPolicy) -> Option<Held> {
        let is_fresh = self.finding.as_ref() == Some(&fault.name);
        let waits = |parent: &&Name| {
            if is_fresh {
                self.world.derived.recovered.get(*parent).is_some_and(|at| self.evidence < *at)
            } else {
                matches!(&fault.held, Some(Held::Parent { parent: held }) if held == *parent)
            }
        };
        let runs = check.schedule.is_some() && !check.job && !is_engine_part(&fault.name);
        let mut parents = check.parents.iter();
        let down = parents.clone().find(|p| self.is_down(p));
        let parent = down.or_else(|| parents.find(|p| runs && waits(p)));
        parent.map(|parent| Held::Parent { parent: parent.clone() })
    }

    /// Whether a check has a fault for which its children are out of reach.
    pub(super) fn is_down(&self, check: &Name) -> bool {
        let faults = self.world.derived.faults_of.get(check);
        faults.into_iter().flatten().any(|f| {
            let fault = self.world.state.faults.get(f);
            !is_monitor(f) && fault.is_some_and(|f| f.severity >= Severity::Error)
        })
    }

    fn flaps(&self, fault: &Fault, check: &CheckPolicy) -> bool {
        fault.name != check.name.part("flapping") && self.check_flaps(&check.name)
    }

    pub(super) fn check_flaps(&self, check: &Name) -> bool {
        self.world.state.faults.contains_key(&check.part("flapping"))
    }

    /// The fault is certain and bad enough: every receiver should know, unless a rule holds it.
    fn tell_problem(&mut self, mut fault: Fault, check: &CheckPolicy, event: Option<&Event>) {
        match self.acknowledgement_ends(&mut fault) {
            Some(ended) => self.because_of(ended, |step| step.tell_unless_held(&fault, check, event)),
            None => self.tell_unless_held(&fault, check, event),
        }
    }

    fn tell_unless_held(&mut self, fault: &Fault, check: &CheckPolicy, event: Option<&Event>) {
        let held = self.gate(fault, check);
        self.note_held(fault, held.as_ref(), event);
        self.tell_not_so_bad(fault, check, event);
        match &held {
            Some(Held::Parent { parent }) if !self.is_down(parent) => drop(self.soon.insert(check.name.clone())),
            Some(Held::Acknowledged { .. }) => self.tell_acknowledged(fault, event),
            Some(_) => {}
            None if check.notify.is_empty() => {
                if event.is_some() {
                    let text = "nobody is named: set `notify` for the check, its file or the agent";
                    self.decide(&fault.name, "notify", Verdict::Drop, text).event = event.map(|e| e.seq);
                }
            }
            None => self.tell_all(fault, check, event),
        }
        self.watch_fault(fault, check, held.as_ref());
    }

    /// Why one notifier is not told for now of a fault that others may be told of. This is the order of the rules.
    fn held_for(&self, fault: &Fault, check: &CheckPolicy, notifier: &NotifierPolicy) -> Option<Held> {
        let from = self.world.policy.told_from(check, notifier);
        if fault.severity < from {
            return Some(Held::Severity { from });
        }
        let hours = notifier.hours.as_ref().filter(|hours| !hours.open_at(self.now))?;
        Some(Held::Hours { until: hours.next_open(self.now) })
    }

    /// It is not as bad any more as some ask for who were told: for them it is over. As any end, whatever else holds it.
    fn tell_not_so_bad(&mut self, fault: &Fault, check: &CheckPolicy, event: Option<&Event>) {
        let told = self.told_of(&fault.name);
        let is_over = |key: &ToldKey| {
            let notifier = self.world.policy.notifiers.get(&key.notifier)?;
            // Who hears of it in place of another asks for what they say themselves.
            let is_own = check.notify.contains(&key.notifier);
            let from = if is_own { Some(self.world.policy.told_from(check, notifier)) } else { notifier.alert_from };
            from.filter(|from| fault.severity < *from)
        };
        let over: Vec<_> = told.into_iter().filter(|(key, _)| is_over(key).is_some()).collect();
        let why = format!("it was told, and is {} now, which is not told here", fault.severity);
        self.tell_over(&fault.name, &check.name, over, event, &why);
    }

    /// An acknowledgement whose time is over is none. Returns the event that says so.
    fn acknowledgement_ends(&mut self, fault: &mut Fault) -> Option<u64> {
        let over = fault.acknowledged.as_ref().filter(|a| a.until.is_some_and(|until| until <= self.now));
        let by = over.map(|a| a.by.clone())?;
        fault.acknowledged = None;
        if let Some(stored) = self.world.state.faults.get_mut(&fault.name) {
            stored.acknowledged = None;
        }
        self.touch(RowKey::Fault(fault.name.clone()));
        let event = self.event(EventKind::Operator, EventState::Info, fault.severity, &fault.name, |e| {
            e.source = "ack".into();
            e.text = format!("the acknowledgement by {by} ended");
        });
        Some(event.seq)
    }

    /// Tells every receiver what it does not know yet.
    fn tell_all(&mut self, fault: &Fault, check: &CheckPolicy, event: Option<&Event>) {
        let mut event = event.cloned();
        let mut fault = fault.clone();
        let mut held_for = BTreeMap::new();
        for key in self.receivers(&fault.name, &check.notify) {
            let told = self.world.state.told.get(&key).cloned();
            let action = match &told {
                None => Some((Action::Trigger, "it is certain, and this receiver does not know it yet")),
                Some(told) => self.again(told, &fault, check, &key),
            };
            let Some((action, why)) = action else { continue };
            let policy = self.world.policy.notifiers.get(&key.notifier).cloned();
            if let Some(held) = policy.and_then(|policy| self.held_for(&fault, check, &policy)) {
                held_for.insert(key.notifier, held);
                continue;
            }
            if told.as_ref().is_some_and(|t| t.change == fault.change && t.episode == fault.episode) {
                // Telling the same once more is a change of its own, or its key would be taken for a repeat.
                fault.change += 1;
                if let Some(stored) = self.world.state.faults.get_mut(&fault.name) {
                    stored.change = fault.change;
                }
                self.touch(RowKey::Fault(fault.name.clone()));
            }
            let state = if action == Action::Update { EventState::Update } else { EventState::Problem };
            let about = event.get_or_insert_with(|| self.fault_event(check, &fault, state)).clone();
            self.tell(&key, &fault, action, &about, why);
        }
        self.note_held_for(&fault.name, held_for, event.as_ref());
    }

    /// Remembers which notifiers are not told for now, and says so in the trail when that changes.
    fn note_held_for(&mut self, name: &Name, held_for: BTreeMap<Name, Held>, event: Option<&Event>) {
        let Some(fault) = self.world.state.faults.get_mut(name).filter(|f| f.held_for != held_for) else { return };
        let before = std::mem::replace(&mut fault.held_for, held_for.clone());
        self.touch(RowKey::Fault(name.clone()));
        let led_here = event.map(|e| e.seq).or(self.cause);
        for (notifier, held) in held_for {
            if before.get(&notifier) != Some(&held) {
                let (rule, text) = held.explain();
                let decision = self.decide(name, rule, Verdict::Hold, text);
                (decision.notifier, decision.event) = (Some(notifier), led_here);
            }
        }
    }

    /// The receivers of a fault: every target of every notifier that is named and exists.
    fn receivers(&self, fault: &Name, notify: &[Name]) -> Vec<ToldKey> {
        let mut keys = Vec::new();
        for notifier in notify {
            let Some(policy) = self.world.policy.notifiers.get(notifier) else { continue };
            for target in policy.every_target() {
                keys.push(ToldKey { fault: fault.clone(), notifier: notifier.clone(), target });
            }
        }
        keys
    }

    /// Whether a receiver who knows of the fault hears of it again.
    fn again(&self, told: &Told, fault: &Fault, check: &CheckPolicy, key: &ToldKey) -> Option<(Action, &'static str)> {
        if told.acknowledged && fault.acknowledged.is_none() {
            return Some((Action::Trigger, "the acknowledgement ended and it is still wrong"));
        }
        if told.outdated {
            return Some((Action::Trigger, "what it was told last was not taken"));
        }
        if fault.severity > told.severity {
            // Also where the receiver can edit: an edit calls nobody.
            return Some((Action::Trigger, "it is worse than this receiver was told"));
        }
        let changed = !same_but_digits(&told.message, &fault.message)
            || told.severity != fault.severity
            || told.episode != fault.episode;
        let edits = self.world.policy.notifiers.get(&key.notifier).is_some_and(|n| n.capabilities.edits);
        match check.renotify {
            Renotify::OnChange if changed => {
                Some((Action::Trigger, "its message changed, and it asks to be told again"))
            }
            Renotify::Every(_) if changed => {
                Some((Action::Trigger, "its message changed, and it asks to be told again"))
            }
            Renotify::Every(wait) if told.at + wait <= self.now => {
                Some((Action::Trigger, "it is still wrong, and it asks to be told again"))
            }
            Renotify::Never if changed && edits => {
                Some((Action::Update, "its message changed: what was said is edited"))
            }
            _ => None,
        }
    }

    /// Puts one delivery into the outbox and remembers what its receiver will believe.
    fn tell(&mut self, key: &ToldKey, fault: &Fault, action: Action, event: &Event, why: &str) {
        let old = self.world.state.told.get(key).cloned();
        let open = old.as_ref().map_or(Open::No, |t| t.open);
        let receipt = old.and_then(|t| t.receipt);
        let change = fault.change.to_string();
        let delivery_key = self.delivery_key(&fault.name, fault.episode, &change, key, action);
        let told = Told {
            check: fault.check.clone(),
            episode: fault.episode,
            change: fault.change,
            since: Some(fault.since),
            message: fault.message.clone(),
            severity: fault.severity,
            at: self.now,
            again: 0,
            open,
            outdated: false,
            acknowledged: action == Action::Acknowledge,
            receipt: receipt.clone(),
        };
        self.world.state.told.insert(key.clone(), told);
        self.touch(RowKey::Told(key.clone()));
        self.enqueue(key, action, event, fault.episode, delivery_key, receipt, why);
    }

    fn delivery_key(&self, fault: &Name, episode: u64, change: &str, key: &ToldKey, action: Action) -> String {
        let target = if key.target.is_empty() { String::new() } else { format!("/{}", key.target) };
        let agent = &self.world.state.meta.agent_id;
        format!("{agent}/{fault}/{episode}/{change}/{}{target}/{}", key.notifier, action.word())
    }

    /// The fault is gone, or not told any more: what was told is resolved, under a squelch too, so that
    /// nothing stays open elsewhere. Only flapping holds it: it would be opened again in a moment.
    fn tell_resolved(&mut self, name: &Name, check: &Name, told: Vec<(ToldKey, Told)>, event: Option<&Event>) {
        self.tell_over(name, check, told, event, "it was told, and it is not wrong any more");
    }

    /// It is over for these receivers.
    fn tell_over(&mut self, name: &Name, check: &Name, told: Vec<(ToldKey, Told)>, event: Option<&Event>, why: &str) {
        if told.is_empty() || (self.check_flaps(check) && *name != check.part("flapping")) {
            return;
        }
        let mut event = event.cloned();
        let (policy, now) = (self.check_policy(check, name), self.well(check, name));
        if let Some(fault) = self.world.state.faults.get_mut(name) {
            // If it is told once more, that is another change than the one that ends here.
            fault.change = fault.change.saturating_add(1);
            self.fx.changed.insert(RowKey::Fault(name.clone()));
        }
        for (key, told) in told {
            let Some(notifier) = self.world.policy.notifiers.get(&key.notifier) else {
                // Its file may be broken: should the notifier come back, this is still to be told.
                continue;
            };
            if !notifier.recoveries {
                self.world.state.told.remove(&key);
                let decision = self.decide(
                    name,
                    "recoveries",
                    Verdict::Drop,
                    format!("{why}: this notifier does not ask for that"),
                );
                (decision.notifier, decision.event) = (Some(key.notifier.clone()), event.as_ref().map(|e| e.seq));
                self.touch(RowKey::Told(key));
                continue;
            }
            let about = event.get_or_insert_with(|| {
                self.event(EventKind::Fault, EventState::Recovery, told.severity, name, |e| {
                    e.source = "check".into();
                    e.text.clone_from(&told.message);
                    e.now.clone_from(&now);
                    e.since = told.since;
                    if let Some(policy) = &policy {
                        e.description.clone_from(&policy.description);
                        e.link.clone_from(&policy.link);
                        e.runbook.clone_from(&policy.runbook);
                        e.labels.clone_from(&policy.labels);
                    }
                })
            });
            let mut about = about.clone();
            if about.state != EventState::Recovery {
                // It stands, and is not as bad any more: what it says is what is so now.
                about.now.get_or_insert_with(|| about.text.clone());
            }
            about.state = EventState::Recovery;
            // An end that was given up before, and is told with another text now, is another delivery.
            let again = if told.again > 0 { format!(".{}", told.again) } else { String::new() };
            let change = format!("{}{again}", told.change);
            let delivery_key = self.delivery_key(name, told.episode, &change, &key, Action::Resolve);
            self.world.state.told.remove(&key);
            self.touch(RowKey::Told(key.clone()));
            let id = self.enqueue(&key, Action::Resolve, &about, told.episode, delivery_key, told.receipt, why);
            if let Some(queued) = self.world.state.outbox.get_mut(&id) {
                queued.ends = Some(Ends { check: check.clone(), change: told.change, open: told.open });
            }
        }
    }

    /// Somebody takes care: receivers that know what this means hear of it once; the others are only told again
    /// when nobody does any more.
    fn tell_acknowledged(&mut self, fault: &Fault, event: Option<&Event>) {
        for (key, told) in self.told_of(&fault.name) {
            let capable = self.world.policy.notifiers.get(&key.notifier).is_some_and(|n| n.capabilities.acknowledges);
            if told.acknowledged {
                continue;
            }
            if !capable {
                if let Some(stored) = self.world.state.told.get_mut(&key) {
                    stored.acknowledged = true;
                }
                self.touch(RowKey::Told(key));
                continue;
            }
            let mut about = match event {
                Some(event) => event.clone(),
                None => match self.check_policy(&fault.check, &fault.name) {
                    Some(check) => self.fault_event(&check, fault, EventState::Update),
                    None => return,
                },
            };
            about.taken = fault.acknowledged.as_ref().map(|ack| match ack.comment.trim() {
                "" => ack.by.clone(),
                comment => format!("{}: {comment}", ack.by),
            });
            self.tell(&key, fault, Action::Acknowledge, &about, "somebody takes care of it");
        }
    }

    /// Remembers which rule holds a fault, and says so in the trail when that changes.
    fn note_held(&mut self, fault: &Fault, held: Option<&Held>, event: Option<&Event>) {
        if fault.held.as_ref() == held {
            return;
        }
        if let Some(stored) = self.world.state.faults.get_mut(&fault.name) {
            stored.held = held.cloned();
        }
        self.touch(RowKey::Fault(fault.name.clone()));
        let (rule, text) = match held {
            None => ("released", "no rule holds it any more".to_owned()),
            Some(Held::Squelch { regex }) => ("squelch", self.squelch_said(regex)),
            Some(held) => held.explain(),
        };
        let verdict = if held.is_some() { Verdict::Hold } else { Verdict::Tell };
        let led_here = event.map(|e| e.seq).or(self.cause);
        self.decide(&fault.name, rule, verdict, text).event = led_here;
    }

    /// A squelch with its owner and reason: whoever reads the trail finds it long after the squelch is gone.
    fn squelch_said(&self, regex: &str) -> String {
        let said = self.world.state.squelches.get(regex).map(|s| {
            let every = s.every.as_ref().map_or_else(String::new, |every| format!(", on {every}"));
            format!("{every}, set by {}: {}", s.by, s.reason)
        });
        format!("squelched by `{regex}`{}", said.unwrap_or_default())
    }

    /// A fault that is not told for its own sake is held by no rule.
    fn unhold(&mut self, fault: Option<&Fault>) {
        if let Some(fault) = fault.filter(|f| f.held.is_some() || !f.held_for.is_empty()) {
            if let Some(stored) = self.world.state.faults.get_mut(&fault.name) {
                stored.held = None;
                stored.held_for.clear();
            }
            self.touch(RowKey::Fault(fault.name.clone()));
        }
    }

    /// Says in the trail why a fault that changed is not told.
    fn explain_quiet(&mut self, name: &Name, check: Option<&CheckPolicy>, event: Option<&Event>) {
        let Some(fault) = self.world.state.faults.get(name).cloned() else { return };
        let rules = check.map(|c| self.world.policy.rules(c));
        let needed = rules.map_or(Severity::Critical, |r| r.alert_from);
        let (rule, text) = if !fault.escalates {
            ("severity", format!("{} and does not escalate: told only if critical", fault.severity))
        } else if rules.is_some_and(|r| r.counts(fault.reported, true)) {
            ("attempts", format!("attempt {} of {}: not certain yet", fault.attempt, fault.attempts))
        } else {
            ("severity", format!("{} is not told; told from {needed} on", fault.severity))
        };
        self.decide(name, rule, Verdict::Hold, text).event = event.map(|e| e.seq);
    }

    /// When this fault must be looked at again although nothing happens.
    fn watch_fault(&mut self, fault: &Fault, check: &CheckPolicy, held: Option<&Held>) {
        let again = match (held, check.renotify) {
            (Some(Held::Hours { until }), _) => *until,
            (Some(Held::Acknowledged { .. }), _) => fault.acknowledged.as_ref().and_then(|a| a.until),
            (None, renotify) => {
                let stored = self.world.state.faults.get(&fault.name);
                let held = stored.into_iter().flat_map(|f| f.held_for.values());
                let begin = held.filter_map(|held| if let Held::Hours { until } = held { *until } else { None }).min();
                let remind = match renotify {
                    Renotify::Every(wait) => self.next_reminder(fault, check, wait),
                    _ => None,
                };
                begin.into_iter().chain(remind).min()
            }
            _ => None,
        };
        self.world.derived.timers.set(Timer::Tell(fault.name.clone()), again);
    }

    /// When the first of those who are told of a fault is to be told again.
    fn next_reminder(&self, fault: &Fault, check: &CheckPolicy, wait: Duration) -> Option<Timestamp> {
        let mut receivers = self.receivers(&fault.name, &check.notify);
        // Outside its hours a notifier is told when they begin.
        let closed = |name: &Name| {
            let hours = self.world.policy.notifiers.get(name).and_then(|n| n.hours.as_ref());
            hours.filter(|h| !h.open_at(self.now)).map(|h| h.next_open(self.now))
        };
        let opens = receivers.iter().filter_map(|key| closed(&key.notifier).flatten()).min();
        receivers.retain(|key| closed(&key.notifier).is_none());
        let due = receivers.iter().filter_map(|key| self.world.state.told.get(key)).map(|told| told.at + wait).min();
        // All that was due has just been told; a time that is not after now would come round at once, for ever.
        let due = due.map(|due| if due > self.now { due } else { self.now + wait.max(REMINDER_MIN) });
        due.into_iter().chain(opens).min()
    }
}

impl Held {
    /// The rule's word, and what it says, for people.
    pub fn explain(&self) -> (&'static str, String) {
        match self {
            Held::Squelch { regex } => ("squelch", format!("squelched by `{regex}`")),
            Held::Parent { parent } => ("parent", format!("unreachable: `{parent}`, which it depends on, is failing")),
            Held::Acknowledged { by } => ("acknowledged", format!("{by} takes care of it")),
            Held::Severity { from } => ("severity", format!("told from {from} on")),
            Held::Flapping => ("flapping", "its check changes state too often".to_owned()),
            Held::Hours { until: Some(until) } => {
                ("hours", format!("outside its hours; told at {until} if still wrong"))
            }
            Held::Hours { until: None } => ("hours", "outside its hours, which never begin".to_owned()),
        }
    }
}
