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
    state::outbox::{Ends, Merged, NotifierState, Open, Queued, RETRY_AFTER_MAX, Refusing, backoff},
};
use std::time::Duration;

/// So many that are too old are given up at a time; the next try that fails gives up more.
const GIVEN_UP_AT_ONCE_MAX: usize = 1_000;
/// So many of what waits last for a notifier are looked at before one more is handed to it.
const HANDED_LOOK_MAX: usize = 200;
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
        if queued.failures + 1 >= FAILURES_TOLD {
            self.note_refusing(&queued.delivery, reason);
        }
        let text = format!("try {} failed, again at {not_before}: {reason}", queued.failures + 1);
        self.decide_on(&queued.delivery, queued.episode, "outbox", Verdict::Hold, text);
    }

    /// One of several targets takes nothing, which says nothing about the others. Whether it is one of several.
    fn note_refusing(&mut self, delivery: &Delivery, reason: &str) -> bool {
        let policy = self.world.policy.notifiers.get(&delivery.notifier);
        if policy.is_none_or(|n| n.targets.len() < 2 || !n.targets.contains(&delivery.target)) {
            return false;
        }
        let state = self.world.state.notifiers.entry(delivery.notifier.clone()).or_default();
        let since = state.refusing.get(&delivery.target).map_or(self.now, |r| r.since);
        state.refusing.insert(delivery.target.clone(), Refusing { since, reason: reason.to_owned() });
        self.touch(RowKey::Notifier(delivery.notifier.clone()));
        self.world.derived.timers.set_earlier(Timer::Purge, self.now + PURGE_EVERY);
        true
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
            let one_of_several = self.note_refusing(&queued.delivery, why);
            let state = self.world.state.notifiers.entry(notifier.clone()).or_default();
            state.given_up += u64::from(!one_of_several);
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

    /// The same thing, over another notifier, to all its targets; they will hear of the end too.
    fn hand_to(&mut self, next: &Name, queued: &Queued) {
        let targets = self.world.policy.notifiers.get(next).map(|n| n.every_target()).unwrap_or_default();
        for target in targets {
            self.hand_to_target(next, target, queued);
        }
    }

    fn hand_to_target(&mut self, next: &Name, target: String, queued: &Queued) {
        let mut delivery = (*queued.delivery).clone();
        let from = told_key(&delivery);
        delivery.key = handed_key(&delivery, next, &target);
        let lane = self.world.derived.lanes.get(next).into_iter().flat_map(|lane| lane.told.iter().rev());
        let mut newest = lane.take(HANDED_LOOK_MAX).filter_map(|id| self.world.state.outbox.get(id));
        if newest.any(|q| q.delivery.key == delivery.key) {
            // Another target of the one that can't take it has handed it over.
            return;
        }
        drop(newest);
        delivery.target = target;
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
        resolve.key = handed_key(&resolve, &to.notifier, &to.target);
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

    /// S3.10's `AGENT#alerts`: deliveries fail, said over those notifiers that work. Where only some targets of a notifier
    /// take nothing, they are named.
    pub(super) fn judge_alerts(&mut self) {
        let notifiers = &self.world.state.notifiers;
        let failing: Vec<Name> = notifiers.keys().filter(|n| self.is_failing(n)).cloned().collect();
        let refusing = notifiers.iter().filter(|(name, _)| !failing.contains(name));
        let refusing: Vec<_> = refusing.flat_map(|(n, s)| s.refusing.iter().map(move |(t, r)| (n, t, r))).collect();
        if failing.is_empty() && refusing.is_empty() {
            return self.own("alerts", None);
        }
        let waiting = self.world.state.outbox.values().filter(|q| q.failures > 0).count() as u64;
        let given_up: u64 = failing.iter().map(|n| notifiers[n].given_up).sum::<u64>() + refusing.len() as u64;
        let total = self.world.state.outbox.len() as u64 + given_up;
        let mut text = format!("Failed to send alert information ({}/{total})", waiting + given_up);
        if let Some((notifier, target, _)) = refusing.first() {
            let more = if refusing.len() > 1 { format!(" and {} more", refusing.len() - 1) } else { String::new() };
            text = format!("{text}: `{notifier}` can't tell {target}{more}");
        }
        let mut lines: Vec<_> = failing
            .iter()
            .map(|n| {
                let state = &notifiers[n];
                let since = state.failing_since.map_or_else(String::new, |s| format!(" since {s}"));
                format!("`{n}` fails{since}: {}", state.last_failure.as_deref().unwrap_or("unknown"))
            })
            .collect();
        let told = |(n, target, r): &(&Name, &String, &Refusing)| {
            format!("`{n}` can't tell {target} since {}: {}", r.since, r.reason)
        };
        lines.extend(refusing.iter().map(told));
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
        self.forgive_targets(|_| true);
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

    /// The same for targets.
    fn forgive_targets(&mut self, is_due: impl Fn(&Refusing) -> bool) {
        for (name, state) in &mut self.world.state.notifiers {
            let before = state.refusing.len();
            state.refusing.retain(|_, refusing| !is_due(refusing));
            if state.refusing.len() < before {
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
        self.forgive_targets(|refusing| refusing.since + FORGIVEN_AFTER <= now);
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

/// The key of what is told over another notifier: the same whichever target of the first one could not take it.
fn handed_key(delivery: &Delivery, next: &Name, target: &str) -> String {
    let from = format!("/{}", delivery.target);
    let key = match delivery.key.rsplit_once(&from).filter(|_| from.len() > 1) {
        Some((before, after)) => format!("{before}{after}"),
        None => delivery.key.clone(),
    };
    let target = if target.is_empty() { String::new() } else { format!("/{target}") };
    format!("{key}>{next}{target}")
}

impl World {
    pub(super) fn is_failing(&self, notifier: &Name) -> bool {
        let targets = self.policy.notifiers.get(notifier).map(|n| n.targets.as_slice()).unwrap_or_default();
        self.state.notifiers.get(notifier).is_some_and(|s| {
            let none_takes = !targets.is_empty() && targets.iter().all(|t| s.refusing.contains_key(t));
            s.failures >= FAILURES_TOLD || s.given_up > 0 || none_takes
        })
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

#[cfg(test)]
mod tests {
    use crate::{
        engine::{
            Effects, Input, SendOrder, World,
            results::tests::{message, sent, world},
            step,
        },
        model::{Action, Failure, Finding, Name, Outcome, Receipt, Severity, Timestamp},
    };
    use std::sync::Arc;

    /// The world of the results' tests, in which both notifiers have these targets.
    fn world_with(targets: &[&str]) -> World {
        with(world(), targets)
    }

    fn with(world: World, targets: &[&str]) -> World {
        let mut policy = (*world.policy).clone();
        for notifier in policy.notifiers.values_mut() {
            Arc::make_mut(notifier).targets = targets.iter().map(|t| (*t).to_owned()).collect();
        }
        for check in policy.checks.values_mut() {
            let check = Arc::make_mut(check);
            (check.notify, check.on_result, check.retry) = (vec![Name::new("hook")], vec![], 0);
        }
        World::new(Arc::new(policy), world.state)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Answers what is sent: `b` is refused in this way, the others take it. What was sent, as notifier and target.
    fn answer(world: &mut World, now: i64, mut effects: Effects, refuse: &dyn Fn() -> Failure) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let orders: Vec<SendOrder> = std::mem::take(&mut effects.sends);
            if orders.is_empty() {
                return seen;
            }
            for order in orders {
                let (notifier, target) = (order.delivery.notifier.clone(), order.delivery.target.clone());
                seen.push(format!("{notifier} {target} {}", order.delivery.action.word()));
                let input = if &*notifier == "hook" && target == "b" {
                    Input::DeliveryFailed { id: order.id, failure: refuse() }
                } else {
                    Input::Delivered { id: order.id, receipt: Receipt::default() }
                };
                let more = step(world, at(now), input);
                effects.sends.extend(more.sends);
            }
        }
    }

    /// A target that refuses is named for as long as it does, whatever the others take, and what it refused is told
    /// over all targets of another notifier.
    #[test]
    fn one_target_of_several_refuses() {
        let mut world = world_with(&["a", "b", "c"]);
        let effects = step(&mut world, at(1), message("91%"));
        let refuse = || Failure::permanent("no such user");
        let seen = answer(&mut world, 1, effects, &refuse);
        for to in ["hook a message", "hook b message", "hook c message", "ops a message", "ops b message"] {
            assert_eq!(seen.iter().filter(|s| *s == to).count(), 1, "{to}: {seen:?}");
        }
        let alerts = &world.state.faults["web-1#alerts"];
        assert!(alerts.message.starts_with("Failed to send alert information (1/"), "{alerts:?}");
        assert!(alerts.message.ends_with("): `hook` can't tell b"), "{alerts:?}");
        assert!(alerts.detail.contains("no such user"), "{alerts:?}");
        assert!(!world.is_failing(&Name::new("hook")), "the others are told");
        // It takes something again.
        let mut effects = step(&mut world, at(2), message("92%"));
        while let Some(order) = effects.sends.pop() {
            let taken = Input::Delivered { id: order.id, receipt: Receipt::default() };
            effects.sends.extend(step(&mut world, at(2), taken).sends);
        }
        assert!(!world.state.faults.contains_key("web-1#alerts"));
    }

    /// One that is busy for long is named, too; one by one, all of them are the notifier.
    #[test]
    fn one_target_of_several_is_busy() {
        let mut world = world_with(&["a", "b"]);
        let effects = step(&mut world, at(1), message("91%"));
        let busy = || Failure::retry("mailbox busy");
        answer(&mut world, 1, effects, &busy);
        let mut now = 1;
        while !world.state.faults.contains_key("web-1#alerts") {
            now += 60;
            assert!(now < 3_600, "{:?}", world.state.notifiers);
            let effects = step(&mut world, at(now), Input::Wake);
            answer(&mut world, now, effects, &busy);
            let effects = step(&mut world, at(now), message("92%"));
            answer(&mut world, now, effects, &busy);
        }
        assert!(world.state.notifiers["hook"].refusing.contains_key("b"));
    }

    /// What a notifier was told as a whole before it had targets, each of them knows: nothing is told twice, and all
    /// hear of the end.
    #[test]
    fn what_was_told_of_the_whole_was_told_of_each_target() {
        let mut world = world_with(&[]);
        let report = |findings| {
            let outcome = Box::new(Outcome { findings, ..Outcome::default() });
            Input::Report { check: Name::new("//web-1/main/fast"), at: None, outcome }
        };
        let refuse = || Failure::permanent("no");
        let effects = step(&mut world, at(1), report(vec![Finding::new(Severity::Critical, "full")]));
        assert_eq!(answer(&mut world, 1, effects, &refuse), ["hook  trigger"]);
        let mut world = with(world, &["a", "c"]);
        let effects = step(&mut world, at(2), Input::Start { agent_id: "x".into() });
        assert!(effects.sends.is_empty(), "{:?}", effects.sends);
        let effects = step(&mut world, at(3), report(vec![]));
        assert_eq!(sent(&effects, "hook")[0].delivery.action, Action::Resolve);
        assert_eq!(answer(&mut world, 3, effects, &refuse), ["hook a resolve", "hook c resolve"]);
        assert!(world.state.told.is_empty());
    }
}
