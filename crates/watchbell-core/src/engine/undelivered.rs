//! What could not be delivered: it is tried later, given up, handed to the next notifier in line; and what receivers are
//! then taken to believe, so that they are told when that is possible again.

use super::{
    Step,
    derived::{Lane, Timer},
    faults::PURGE_EVERY,
    outbox::{matters_in, merged_key, opened_by, told_key},
    results::RESULT_SOURCE,
    world::{RowKey, Told, ToldKey, World},
};
use crate::{
    config::NotifierPolicy,
    model::{Action, Delivery, Failure, Finding, Name, Severity, Verdict},
    state::outbox::{Ends, Merged, NotifierState, Open, Queued, RETRY_AFTER_MAX, backoff},
};
use std::time::Duration;

/// So many that are too old are given up at a time; the next try that fails gives up more.
const GIVEN_UP_AT_ONCE_MAX: usize = 1_000;
/// Tries in a row that fail before the agent says so by `AGENT#alerts`.
const FAILURES_TOLD: u32 = 3;
/// What was told and can't be ended is remembered for this long.
const TOLD_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// What a notifier refused is held against it for this long.
const FORGIVEN_AFTER: Duration = Duration::from_secs(86_400);
/// Why a delivery to a notifier that is gone is given up.
const REMOVED: &str = "its notifier was removed from the config";

impl Step<'_> {
    /// A try failed: wait and try again, or give up and hand over to the next in line.
    pub(super) fn delivery_failed(&mut self, id: u64, failure: &Failure) {
        self.world.derived.in_flight.remove(&id);
        let Some(queued) = self.world.state.outbox.get(&id).cloned() else { return };
        if !self.world.policy.notifiers.contains_key(&queued.delivery.notifier) {
            return self.failed_after_removal(id, &queued, failure);
        }
        let give_up_at = queued.at + self.world.policy.agent.give_up_after;
        self.note_failure(&queued, failure);
        match failure {
            Failure::Permanent { reason } => {
                self.give_up(id, &format!("it will never be taken: {reason}"), queued.tries == 1);
            }
            Failure::Retry { reason, .. } if self.now >= give_up_at => {
                self.give_up(id, &format!("given up after {} tries: {reason}", queued.failures + 1), false);
            }
            Failure::Retry { reason, .. } => self.try_later(id, &queued, reason),
        }
        if let Failure::Retry { reason, .. } = failure {
            // Whichever was tried: where more keeps coming, that is never the oldest.
            self.give_up_old(&queued.delivery.notifier, reason);
        }
        self.lanes.insert(queued.delivery.notifier.clone());
        self.because_of(queued.delivery.event.seq, Self::judge_alerts);
    }

    /// What is too old need not wait for tries of its own while its notifier keeps failing: they are minutes apart.
    fn give_up_old(&mut self, notifier: &Name, reason: &str) {
        if self.world.state.notifiers.get(notifier).is_none_or(|state| state.failures < FAILURES_TOLD) {
            return;
        }
        let (now, give_up_after) = (self.now, self.world.policy.agent.give_up_after);
        let is_old = |id: &u64| self.world.state.outbox.get(id).is_some_and(|q| q.at + give_up_after <= now);
        let lane = self.world.derived.lanes.get(notifier).into_iter().flat_map(Lane::ids);
        let waiting = lane.filter(|id| !self.world.derived.in_flight.contains_key(id));
        let old: Vec<u64> = waiting.filter(is_old).take(GIVEN_UP_AT_ONCE_MAX).collect();
        for id in old {
            let Some(queued) = self.world.state.outbox.get(&id) else { continue };
            let (tries, why) = (queued.tries, format!("given up after {} tries: {reason}", queued.failures));
            self.give_up(id, &why, tries == 0);
        }
    }

    /// Its notifier was removed from the config while it was under way. As in [`Step::wake_outbox`], only an end waits,
    /// should the notifier come back.
    fn failed_after_removal(&mut self, id: u64, queued: &Queued, failure: &Failure) {
        match failure {
            Failure::Retry { reason, .. } if queued.delivery.action == Action::Resolve => {
                self.try_later(id, queued, reason);
            }
            _ => self.give_up(id, &format!("{REMOVED}: {}", failure.reason()), false),
        }
    }

    fn try_later(&mut self, id: u64, queued: &Queued, reason: &str) {
        let not_before = self.now + backoff(queued.failures + 1, &queued.delivery.key);
        if let Some(stored) = self.world.state.outbox.get_mut(&id) {
            stored.failures += 1;
            stored.last_failure = Some(reason.to_owned());
            stored.not_before = not_before;
        }
        self.touch(RowKey::Outbox(id));
        let text = format!("try {} failed, again at {not_before}: {reason}", queued.failures + 1);
        self.decide_on(&queued.delivery, queued.episode, "outbox", Verdict::Hold, text);
    }

    /// Keeps count of a notifier's failures. A delivery that is refused for good says nothing about the others.
    fn note_failure(&mut self, queued: &Queued, failure: &Failure) {
        let now = self.now;
        let notifier = queued.delivery.notifier.clone();
        let state = self.world.state.notifiers.entry(notifier.clone()).or_default();
        state.last_failure = Some(failure.reason().to_owned());
        state.failing_since.get_or_insert(now);
        if let Failure::Retry { after, .. } = failure {
            state.failures = state.failures.saturating_add(1);
            let wait = after.map_or_else(|| backoff(state.failures, &notifier), |a| a.min(RETRY_AFTER_MAX));
            state.not_before = Some(now + wait);
        }
        self.touch(RowKey::Notifier(notifier));
    }

    /// A delivery that can't be made leaves the outbox; what opens something goes to the next in line. A result for
    /// a handler is for nobody else.
    /// `never_taken`: it is certain that the receiver did not take it.
    pub(super) fn give_up(&mut self, id: u64, why: &str, never_taken: bool) {
        let Some(queued) = self.remove(id) else { return };
        let delivery = &queued.delivery;
        let notifier = delivery.notifier.clone();
        if self.world.policy.notifiers.contains_key(&notifier) {
            let now = self.now;
            let state = self.world.state.notifiers.entry(notifier.clone()).or_default();
            state.given_up += 1;
            if matches!(delivery.action, Action::Trigger | Action::Resolve | Action::Digest) {
                state.untold.get_or_insert(now);
            }
            self.world.derived.timers.set_earlier(Timer::Purge, self.now + PURGE_EVERY);
            self.touch(RowKey::Notifier(notifier.clone()));
        }
        let opens = matches!(delivery.action, Action::Trigger | Action::Message | Action::Digest)
            && delivery.event.source != RESULT_SOURCE;
        let superseded = delivery.action == Action::Trigger && {
            let key = told_key(delivery);
            self.waiting_for(&key, queued.episode).any(|(_, later)| later.delivery.action == Action::Trigger)
        };
        let next = if opens && !superseded { self.next_in_line(&queued) } else { None };
        let then = match &next {
            Some(next) => format!("; told over `{next}` instead"),
            None if superseded => "; what waits behind it says it better".to_owned(),
            None if opens => "; there is no other notifier to tell it over".to_owned(),
            None => String::new(),
        };
        self.decide_on(delivery, queued.episode, "outbox", Verdict::Drop, format!("{why}{then}"));
        if let Some(next) = &next {
            self.hand_to(next, &queued);
        }
        for opened in opened_by(&queued).iter().filter(|_| !never_taken && queued.tries > 0) {
            // It may have been: there is something to end.
            self.note_open(&merged_key(&queued, opened), opened.episode, Open::Maybe);
        }
        match queued.delivery.action {
            Action::Trigger if superseded => {}
            Action::Trigger => self.forget_told(&queued),
            Action::Resolve => {
                for ended in matters_in(&queued) {
                    self.remember_told(&queued, ended, never_taken);
                }
            }
            Action::Digest => self.digest_is_lost(&queued, never_taken),
            _ => {}
        }
    }

    /// A receiver did not hear of the end: it still believes what it was told. The next reload or start tells it, and
    /// so does its first success after a long failure.
    fn remember_told(&mut self, queued: &Queued, merged: Merged, never_taken: bool) {
        let key = merged_key(queued, &merged);
        let Some(ends) = merged.ends.filter(|ends| ends.open > Open::No) else { return };
        let open = if never_taken && !merged.tried { ends.open } else { Open::Maybe };
        if let Some(told) = self.world.state.told.get_mut(&key) {
            // It is wrong again: that has an end of its own.
            told.open = told.open.max(open);
            return self.touch(RowKey::Told(key));
        }
        if self.note_to_end(&key, None, open) {
            return;
        }
        let told = Told {
            check: ends.check,
            episode: merged.episode,
            change: ends.change,
            // Grows with every delivery, and the end that is told next is one.
            again: self.world.state.meta.outbox_id,
            since: queued.delivery.event.since,
            message: queued.delivery.event.text.clone(),
            severity: queued.delivery.event.severity,
            at: self.now,
            open,
            outdated: open != Open::Yes,
            acknowledged: false,
            receipt: merged.receipt,
        };
        self.world.state.told.insert(key.clone(), told);
        self.touch(RowKey::Told(key));
    }

    /// A receiver did not hear what a digest says: what it opens is not open there, what it ends is.
    fn digest_is_lost(&mut self, queued: &Queued, never_taken: bool) {
        for merged in &queued.merged {
            if merged.ends.is_some() {
                self.remember_told(queued, merged.clone(), never_taken);
                continue;
            }
            let key = merged_key(queued, merged);
            let told = self.world.state.told.get_mut(&key).filter(|t| t.episode == merged.episode);
            match told {
                Some(told) if told.open > Open::No => told.outdated = true,
                Some(_) => {
                    self.world.state.told.remove(&key);
                    self.next_is_another_change(&key.fault);
                }
                None => continue,
            }
            self.touch(RowKey::Told(key));
        }
    }

    /// Should it be told later, that is another delivery.
    fn next_is_another_change(&mut self, name: &Name) {
        if let Some(fault) = self.world.state.faults.get_mut(name) {
            fault.change = fault.change.saturating_add(1);
            self.touch(RowKey::Fault(name.clone()));
        }
    }

    /// A receiver did not hear what it was to be told: it knows nothing. The next change, reload or start tells it,
    /// and so does its first success after a long failure.
    fn forget_told(&mut self, queued: &Queued) {
        let key = told_key(&queued.delivery);
        if key.fault == self.own_name("alerts") {
            // That it could not be told changes this very fault: it would be told and refused without end.
            return;
        }
        let Some(told) = self.world.state.told.get_mut(&key).filter(|t| t.episode == queued.episode) else { return };
        if told.open > Open::No {
            // It has an earlier one open, which says something else.
            told.outdated = true;
            return self.touch(RowKey::Told(key));
        }
        let behind: Vec<u64> = self.waiting_for(&key, queued.episode).map(|(id, _)| id).collect();
        for id in behind {
            // An edit of what was never said.
            self.give_up(id, "what it changes was never taken", true);
        }
        self.world.state.told.remove(&key);
        self.next_is_another_change(&key.fault);
        self.touch(RowKey::Told(key));
    }

    /// The same thing, over another notifier; it will hear of the end too.
    fn hand_to(&mut self, next: &Name, queued: &Queued) {
        let mut delivery = (*queued.delivery).clone();
        let from = told_key(&delivery);
        let targets = self.world.policy.notifiers.get(next).map(|n| n.targets.clone()).unwrap_or_default();
        delivery.target = targets.first().cloned().unwrap_or_default();
        delivery.key = format!("{}>{next}", delivery.key);
        delivery.notifier = next.clone();
        delivery.trigger_receipt = None;
        let told = self.world.state.told.get(&from).filter(|t| t.episode == queued.episode).cloned();
        let to = ToldKey { notifier: next.clone(), target: delivery.target.clone(), ..from };
        let asks = self.world.policy.notifiers.get(&queued.delivery.notifier).is_none_or(|n| n.recoveries);
        let stands = self.world.state.faults.contains_key(&to.fault);
        let is_known = self.world.state.told.contains_key(&to);
        if told.is_none() && delivery.action == Action::Trigger && !asks && !stands && !is_known {
            return self.hand_over_what_ended(delivery, to, queued);
        }
        if told.is_none() && delivery.action == Action::Trigger {
            return self.hand_over_what_is_over(delivery, to, queued);
        }
        if let Some(told) = told.filter(|_| delivery.action == Action::Trigger) {
            if self.world.state.told.contains_key(&to) {
                let text = format!("`{next}` knows of it already");
                self.decide(&delivery.event.name, "told", Verdict::Drop, text).notifier = Some(next.clone());
                return;
            }
            self.world
                .state
                .told
                .insert(to.clone(), Told { open: Open::No, receipt: None, acknowledged: false, ..told });
            self.touch(RowKey::Told(to.clone()));
        }
        let text = format!("{}: in place of `{}`", delivery.action.word(), queued.delivery.notifier);
        self.decide_on(&delivery, queued.episode, "told", Verdict::Tell, text);
        self.put(delivery, queued.episode, Some(queued.delivery.notifier.clone()));
    }

    /// It is well again, of which its notifier does not want to hear: the other one hears of both.
    fn hand_over_what_ended(&mut self, trigger: Delivery, to: ToldKey, queued: &Queued) {
        let event = &trigger.event;
        let (fault, check) = (event.name.clone(), event.name.split('#').next().unwrap_or_default().into());
        let told = Told {
            check,
            episode: queued.episode,
            change: 0,
            again: 0,
            since: event.since,
            message: event.text.clone(),
            severity: event.severity,
            at: self.now,
            open: Open::No,
            outdated: false,
            acknowledged: false,
            receipt: None,
        };
        let text = format!("{}: in place of `{}`", trigger.action.word(), queued.delivery.notifier);
        self.decide_on(&trigger, queued.episode, "told", Verdict::Tell, text);
        self.touch(RowKey::Told(to.clone()));
        self.world.state.told.insert(to, told);
        self.put(trigger, queued.episode, Some(queued.delivery.notifier.clone()));
        self.reconcile(&fault, None);
    }

    /// It is well again, and the end waits behind the beginning that could not be told: the other notifier hears of
    /// both, or nobody would ever have heard of it.
    fn hand_over_what_is_over(&mut self, trigger: Delivery, to: ToldKey, queued: &Queued) {
        let key = told_key(&queued.delivery);
        let mut waiting = self.waiting_for(&key, queued.episode).map(|(_, later)| later);
        let end = waiting.find(|later| later.delivery.action == Action::Resolve).cloned();
        drop(waiting);
        let Some(end) = end.filter(|_| !self.world.state.told.contains_key(&to)) else {
            let text = "it is well again, or known there: nobody else is told";
            self.decide(&to.fault, "told", Verdict::Drop, text).notifier = Some(to.notifier);
            return;
        };
        let mut resolve = (*end.delivery).clone();
        let asks = self.world.policy.notifiers.get(&to.notifier).is_none_or(|n| n.recoveries);
        resolve.key = format!("{}>{}", resolve.key, to.notifier);
        resolve.notifier = to.notifier.clone();
        resolve.target = to.target;
        let both = [Some(trigger), Some(resolve).filter(|_| asks)];
        for delivery in both.into_iter().flatten() {
            let text = format!("{}: in place of `{}`", delivery.action.word(), queued.delivery.notifier);
            self.decide_on(&delivery, queued.episode, "told", Verdict::Tell, text);
            let is_end = delivery.action == Action::Resolve;
            let id = self.put(delivery, queued.episode, Some(queued.delivery.notifier.clone()));
            if let Some(stored) = self.world.state.outbox.get_mut(&id).filter(|_| is_end) {
                stored.ends = end.ends.clone().map(|ends| Ends { open: Open::No, ..ends });
            }
        }
    }

    /// Who is told what a notifier can't take: its `fallback`, else the next of the agent's notifiers, else any
    /// other; never one that is failing, and never back.
    fn next_in_line(&self, queued: &Queued) -> Option<Name> {
        let policy = &self.world.policy;
        let notifier = &queued.delivery.notifier;
        if queued.instead_of.is_some() && policy.notifiers.get(notifier).is_none_or(|n| n.fallback.is_none()) {
            return None;
        }
        let fallback = policy.notifiers.get(notifier).and_then(|n| n.fallback.clone());
        let line =
            fallback.into_iter().chain(policy.agent.notify.iter().cloned()).chain(policy.notifiers.keys().cloned());
        line.filter(|n| n != notifier && Some(n) != queued.instead_of.as_ref())
            .find(|n| !self.is_failing(n) && policy.notifiers.get(n).is_some_and(|next| self.may_be_told(next, queued)))
    }

    /// Whether a notifier may be told now what another one can't take: what wakes nobody there must wake nobody here.
    fn may_be_told(&self, next: &NotifierPolicy, queued: &Queued) -> bool {
        let (policy, event) = (&self.world.policy, &queued.delivery.event);
        if queued.delivery.action == Action::Message {
            return true;
        }
        // Who is named as `fallback` and says nothing of how bad takes it all.
        let named =
            policy.notifiers.get(&queued.delivery.notifier).and_then(|n| n.fallback.as_ref()) == Some(&next.name);
        let check = self.world.state.faults.get(&event.name).and_then(|f| self.check_policy(&f.check, &event.name));
        let from = match check {
            Some(check) if !named => policy.told_from(&check, next),
            _ if named => next.alert_from.unwrap_or(Severity::Info),
            _ => next.alert_from.unwrap_or(Severity::Critical),
        };
        event.severity >= from && next.hours.as_ref().is_none_or(|hours| hours.open_at(self.now))
    }

    fn is_failing(&self, notifier: &Name) -> bool {
        self.world.is_failing(notifier)
    }

    pub(super) fn healthy_notifiers(&self) -> Vec<Name> {
        self.world.healthy_notifiers()
    }

    /// S3.10's `AGENT#alerts`: deliveries fail, said over those notifiers that work.
    pub(super) fn judge_alerts(&mut self) {
        let failing: Vec<Name> = self.world.state.notifiers.keys().filter(|n| self.is_failing(n)).cloned().collect();
        if failing.is_empty() {
            return self.own("alerts", None);
        }
        let waiting = self.world.state.outbox.values().filter(|q| q.failures > 0).count() as u64;
        let given_up: u64 = failing.iter().map(|n| self.world.state.notifiers[n].given_up).sum();
        let total = self.world.state.outbox.len() as u64 + given_up;
        let text = format!("Failed to send alert information ({}/{total})", waiting + given_up);
        let lines: Vec<_> = failing
            .iter()
            .map(|n| {
                let state = &self.world.state.notifiers[n];
                let since = state.failing_since.map_or_else(String::new, |s| format!(" since {s}"));
                format!("`{n}` fails{since}: {}", state.last_failure.as_deref().unwrap_or("unknown"))
            })
            .collect();
        self.own("alerts", Some(Finding::new(Severity::Critical, text).with_detail(lines.join("\n"))));
    }

    /// What was under way when the agent ended is tried again; every lane is looked at. What waits for a notifier
    /// that is gone goes to the next in line; what ends something waits, should the notifier come back.
    pub(super) fn wake_outbox(&mut self) {
        let lanes: Vec<Name> = self.world.derived.lanes.keys().cloned().collect();
        for id in self.without_notifier(|q| q.delivery.action != Action::Resolve) {
            self.give_up(id, REMOVED, false);
        }
        let state = &mut self.world.state;
        let removed: Vec<Name> =
            state.notifiers.keys().filter(|n| !self.world.policy.notifiers.contains_key(*n)).cloned().collect();
        for notifier in removed {
            self.world.state.notifiers.remove(&notifier);
            self.touch(RowKey::Notifier(notifier));
        }
        self.forgive(|_| true);
        // All was looked at with the config or the start that led here.
        self.take_untold(|_| true);
        self.judge_alerts();
        self.judge_results();
        self.lanes.extend(lanes);
    }

    /// What a notifier refused says nothing about it for ever: at a start, with another config, or after a day it is
    /// taken for one that works, until it refuses again.
    fn forgive(&mut self, is_due: impl Fn(&NotifierState) -> bool) {
        for (name, state) in &mut self.world.state.notifiers {
            let waits = self.world.derived.lanes.get(name).is_some_and(|lane| !lane.is_empty());
            if state.given_up > 0 && (state.failures == 0 || !waits) && is_due(state) {
                state.works_again();
                self.fx.changed.insert(RowKey::Notifier(name.clone()));
            }
        }
    }

    /// Whether there are notifiers that were not told something which is due to be told again; it will be.
    fn take_untold(&mut self, is_due: impl Fn(&NotifierState) -> bool) -> bool {
        let mut any = false;
        for (name, state) in &mut self.world.state.notifiers {
            if is_due(state) && state.untold.take().is_some() {
                any = true;
                self.fx.changed.insert(RowKey::Notifier(name.clone()));
            }
        }
        any
    }

    /// Deliveries that wait for a notifier which the config does not have.
    fn without_notifier(&self, wanted: impl Fn(&Queued) -> bool) -> Vec<u64> {
        let policy = &self.world.policy;
        let lanes = self.world.derived.lanes.iter().filter(|(n, _)| !policy.notifiers.contains_key(*n));
        lanes
            .flat_map(|(_, lane)| lane.ids())
            .filter(|id| !self.world.derived.in_flight.contains_key(id))
            .filter(|id| self.world.state.outbox.get(id).is_some_and(&wanted))
            .collect()
    }

    /// Drops what could not be told because its notifier is gone or refuses it, after a long while.
    pub(super) fn purge_unreachable(&mut self) {
        let (now, give_up_after) = (self.now, self.world.policy.agent.give_up_after);
        for id in self.without_notifier(|q| q.at + give_up_after <= now) {
            self.give_up(id, REMOVED, false);
        }
        self.forgive(|state| state.failing_since.is_none_or(|since| since + FORGIVEN_AFTER <= now));
        self.judge_alerts();
        let is_due = |state: &NotifierState| state.untold.is_some_and(|at| at + FORGIVEN_AFTER <= now);
        if self.take_untold(|state| state.failures == 0 && is_due(state)) {
            self.reconcile_told();
        }
        let state = &self.world.state;
        let is_old = |told: &Told| told.at + TOLD_KEPT <= now;
        let orphans: Vec<ToldKey> = state
            .told
            .iter()
            .filter(|(k, t)| is_old(t) && !state.faults.contains_key(&k.fault) && !self.check_flaps(&t.check))
            .map(|(key, _)| key.clone())
            .collect();
        for key in orphans {
            self.world.state.told.remove(&key);
            self.touch(RowKey::Told(key));
        }
    }
}

impl World {
    pub(super) fn is_failing(&self, notifier: &Name) -> bool {
        self.state.notifiers.get(notifier).is_some_and(|s| s.failures >= FAILURES_TOLD || s.given_up > 0)
    }

    /// Who is told of the agent's own faults: its notifiers, without those that fail, else any that works.
    pub fn healthy_notifiers(&self) -> Vec<Name> {
        let policy = &self.policy;
        let healthy: Vec<Name> = policy.agent.notify.iter().filter(|n| !self.is_failing(n)).cloned().collect();
        if !healthy.is_empty() {
            return healthy;
        }
        match policy.notifiers.keys().find(|n| !self.is_failing(n)) {
            Some(other) if !policy.agent.notify.is_empty() => vec![other.clone()],
            _ => policy.agent.notify.clone(),
        }
    }
}
