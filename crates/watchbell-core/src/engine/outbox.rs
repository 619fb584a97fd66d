//! The outbox: one lane per notifier. In order within one matter, paced, retried with back-off, merged into a
//! digest when too much waits, handed to the next notifier in line when it can't be delivered. The shell only
//! sends and brings the answer back.

use super::{
    SendOrder, Step,
    derived::Timer,
    world::{RowKey, ToldKey},
};
use crate::{
    model::{Action, Delivery, Event, Failure, Finding, Name, Receipt, Severity, Timestamp, Verdict},
    state::outbox::{Queued, RETRY_AFTER_MAX, backoff},
};
use std::{collections::BTreeSet, sync::Arc};

/// Tries in a row that fail before the agent says so by `AGENT#alerts`.
const FAILURES_TOLD: u32 = 3;
/// How many waiting deliveries are looked at to find the next one.
const LOOK_AHEAD_MAX: usize = 200;
/// A digest lists at most this many events; the rest is counted.
const DIGEST_EVENTS_MAX: usize = 500;

impl Step<'_> {
    /// Puts a delivery into the outbox.
    #[allow(clippy::too_many_arguments)] // one caller a kind, each argument its own word
    pub(super) fn enqueue(
        &mut self,
        to: &ToldKey,
        action: Action,
        event: &Event,
        episode: u64,
        key: String,
        receipt: Option<Receipt>,
        why: &str,
    ) {
        let decision = self.decide(&to.fault, "told", Verdict::Tell, format!("{}: {why}", action.word()));
        decision.notifier = Some(to.notifier.clone());
        decision.delivery = Some(key.clone());
        decision.event = Some(event.seq);
        decision.episode = episode;
        let delivery = Delivery {
            key,
            action,
            notifier: to.notifier.clone(),
            event: event.clone(),
            target: to.target.clone(),
            trigger_receipt: receipt,
            digest: Vec::new(),
        };
        self.put(delivery, episode, None);
    }

    fn put(&mut self, delivery: Delivery, episode: u64, instead_of: Option<Name>) {
        self.world.state.meta.outbox_id += 1;
        let id = self.world.state.meta.outbox_id;
        let notifier = delivery.notifier.clone();
        let queued = Queued {
            delivery: Arc::new(delivery),
            at: self.now,
            episode,
            failures: 0,
            not_before: self.now,
            last_failure: None,
            instead_of,
        };
        self.world.state.outbox.insert(id, queued);
        self.world.derived.lanes.entry(notifier.clone()).or_default().insert(id);
        self.touch(RowKey::Meta);
        self.touch(RowKey::Outbox(id));
        self.lanes.insert(notifier);
    }

    /// A message to one notifier, to each of its targets. `key` makes repeats the same.
    pub(super) fn send_message(&mut self, event: &Event, notifier: &Name, key: &str, why: &str) {
        let Some(policy) = self.world.policy.notifiers.get(notifier).cloned() else {
            let text = format!("there is no notifier `{notifier}`");
            self.decide(&event.name, "notify", Verdict::Drop, text).event = Some(event.seq);
            return;
        };
        let targets = if policy.targets.is_empty() { vec![String::new()] } else { policy.targets.clone() };
        for target in targets {
            let to = ToldKey { fault: event.name.clone(), notifier: notifier.clone(), target };
            let suffix = if to.target.is_empty() { String::new() } else { format!("/{}", to.target) };
            let key = format!("{}/{key}/{notifier}{suffix}", self.world.state.meta.agent_id);
            self.enqueue(&to, Action::Message, event, 0, key, None, why);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Queued> {
        let queued = self.world.state.outbox.remove(&id)?;
        let notifier = &queued.delivery.notifier;
        if let Some(lane) = self.world.derived.lanes.get_mut(notifier) {
            lane.remove(&id);
        }
        self.world.derived.in_flight.remove(&id);
        self.lanes.insert(notifier.clone());
        self.touch(RowKey::Outbox(id));
        Some(queued)
    }

    /// Gives every notifier whose lane may have moved what it can take now.
    pub(super) fn pump_lanes(&mut self) {
        while let Some(notifier) = self.lanes.pop_first() {
            self.merge_backlog(&notifier);
            let wake = loop {
                match self.next_of(&notifier) {
                    Next::Send(id) => self.send(&notifier, id),
                    Next::At(at) => break Some(at),
                    Next::Nothing => break None,
                }
            };
            self.world.derived.timers.set(Timer::Outbox(notifier), wake);
        }
    }

    fn send(&mut self, notifier: &Name, id: u64) {
        let queued = &self.world.state.outbox[&id];
        let order = SendOrder { id, attempt: queued.failures + 1, delivery: queued.delivery.clone() };
        self.world.derived.in_flight.insert(id, notifier.clone());
        self.world.derived.last_send.insert(notifier.clone(), self.now);
        self.fx.sends.push(order);
    }

    /// What a notifier may be given next.
    fn next_of(&self, notifier: &Name) -> Next {
        let Some(policy) = self.world.policy.notifiers.get(notifier) else { return Next::Nothing };
        let Some(lane) = self.world.derived.lanes.get(notifier).filter(|l| !l.is_empty()) else { return Next::Nothing };
        let flying = self.world.derived.in_flight.values().filter(|n| *n == notifier).count();
        let state = self.world.state.notifiers.get(notifier);
        // While it fails, one at a time finds out whether it works again.
        let failing = state.is_some_and(|s| s.failures > 0);
        if flying >= if failing { 1 } else { policy.pace.in_flight_max } {
            return Next::Nothing;
        }
        let paced = self.world.derived.last_send.get(notifier).map(|at| *at + policy.pace.gap);
        let not_before = paced.max(state.and_then(|s| s.not_before)).filter(|at| *at > self.now);
        match self.candidate(lane, failing) {
            None => Next::Nothing,
            Some((_, at)) if not_before.max(Some(at)) > Some(self.now) => {
                Next::At(not_before.map_or(at, |n| n.max(at)))
            }
            Some((id, _)) => Next::Send(id),
        }
    }

    /// The delivery that goes next and when it may: the oldest, but nothing goes before an earlier one of the
    /// same matter. While the notifier fails, the one that was tried least, so that one which can't be taken
    /// does not stand before all others.
    fn candidate(&self, lane: &BTreeSet<u64>, failing: bool) -> Option<(u64, Timestamp)> {
        let mut matters = BTreeSet::new();
        let mut best: Option<(u32, Timestamp, u64)> = None;
        for id in lane.iter().take(LOOK_AHEAD_MAX) {
            let queued = &self.world.state.outbox[id];
            let first = matters.insert((&queued.delivery.event.key, &queued.delivery.target));
            if !first || self.world.derived.in_flight.contains_key(id) {
                continue;
            }
            let at = queued.not_before.max(self.now);
            if at == self.now && !failing {
                return Some((*id, at));
            }
            let rank = (if failing { queued.failures } else { 0 }, at, *id);
            best = Some(best.map_or(rank, |b| b.min(rank)));
        }
        best.map(|(_, at, id)| (id, at))
    }

    /// Too much waits for a notifier that can say many things at once: one message says it all.
    fn merge_backlog(&mut self, notifier: &Name) {
        let Some(policy) = self.world.policy.notifiers.get(notifier) else { return };
        let above = self.world.policy.agent.digest_above;
        let lane = self.world.derived.lanes.get(notifier).cloned().unwrap_or_default();
        if !policy.capabilities.digests || lane.len() <= above {
            return;
        }
        let targets: BTreeSet<String> =
            lane.iter().map(|id| self.world.state.outbox[id].delivery.target.clone()).collect();
        for target in targets {
            let waiting: Vec<u64> = lane
                .iter()
                .filter(|id| !self.world.derived.in_flight.contains_key(id))
                .filter(|id| self.world.state.outbox[id].delivery.target == target)
                .copied()
                .collect();
            if waiting.len() > above {
                self.merge(notifier, target, &waiting);
            }
        }
    }

    fn merge(&mut self, notifier: &Name, target: String, ids: &[u64]) {
        let merged: Vec<Queued> = ids.iter().filter_map(|id| self.remove(*id)).collect();
        let Some(newest) = merged.last() else { return };
        let agent = self.world.policy.agent.name.clone();
        let key =
            format!("{}/digest/{}/{notifier}", self.world.state.meta.agent_id, self.world.state.meta.outbox_id + 1);
        let mut events: Vec<Event> = Vec::new();
        for queued in &merged {
            let text = format!("{} waited too long and was merged into a digest", queued.delivery.action.word());
            let decision = self.decide(&queued.delivery.event.name, "digest", Verdict::Tell, format!("{text}: {key}"));
            decision.notifier = Some(notifier.clone());
            decision.delivery = Some(queued.delivery.key.clone());
            decision.episode = queued.episode;
            // A digest that waits itself is taken apart, not nested.
            match queued.delivery.action {
                Action::Digest => events.extend(queued.delivery.digest.iter().cloned()),
                _ => events.push(queued.delivery.event.clone()),
            }
        }
        let dropped = events.len().saturating_sub(DIGEST_EVENTS_MAX);
        events.drain(..dropped);
        let mut event = newest.delivery.event.clone();
        event.name = agent.part("digest");
        event.key = event.name.to_string();
        event.severity = events.iter().map(|e| e.severity).max().unwrap_or(Severity::Info);
        let earlier =
            if dropped > 0 { format!(" (and {dropped} earlier ones, in the event stream)") } else { String::new() };
        event.text = format!("{} messages waited{earlier}", events.len());
        let notifier = notifier.clone();
        let delivery =
            Delivery { key, action: Action::Digest, notifier, event, target, trigger_receipt: None, digest: events };
        self.put(delivery, 0, None);
    }

    /// A receiver took a delivery.
    pub(super) fn delivered(&mut self, id: u64, receipt: Receipt) {
        let Some(queued) = self.remove(id) else { return };
        let delivery = &queued.delivery;
        let tries = queued.failures + 1;
        let answer = if receipt.text.is_empty() { String::new() } else { format!(": {}", receipt.text) };
        let decision =
            self.decide(&delivery.event.name, "outbox", Verdict::Tell, format!("delivered at try {tries}{answer}"));
        decision.notifier = Some(delivery.notifier.clone());
        decision.delivery = Some(delivery.key.clone());
        decision.episode = queued.episode;
        if delivery.action == Action::Trigger && receipt.id.is_some() {
            self.keep_receipt(&queued, receipt);
        }
        let now = self.now;
        let state = self.world.state.notifiers.entry(delivery.notifier.clone()).or_default();
        let failed_before = state.failures > 0 || state.given_up > 0;
        state.delivered += 1;
        state.last_success = Some(now);
        (state.failures, state.given_up, state.failing_since, state.not_before, state.last_failure) =
            (0, 0, None, None, None);
        self.touch(RowKey::Notifier(delivery.notifier.clone()));
        if failed_before {
            self.judge_alerts();
        }
    }

    /// What the receiver calls the message is needed to edit it or to answer it.
    fn keep_receipt(&mut self, queued: &Queued, receipt: Receipt) {
        let delivery = &queued.delivery;
        let key = ToldKey {
            fault: delivery.event.name.clone(),
            notifier: delivery.notifier.clone(),
            target: delivery.target.clone(),
        };
        if let Some(told) = self.world.state.told.get_mut(&key).filter(|t| t.episode == queued.episode) {
            told.receipt = Some(receipt.clone());
            self.touch(RowKey::Told(key));
        }
        let lane = self.world.derived.lanes.get(&delivery.notifier).cloned().unwrap_or_default();
        for id in lane {
            let Some(later) = self.world.state.outbox.get_mut(&id) else { continue };
            let same = later.delivery.event.name == delivery.event.name && later.delivery.target == delivery.target;
            if same && later.episode == queued.episode && !self.world.derived.in_flight.contains_key(&id) {
                Arc::make_mut(&mut later.delivery).trigger_receipt = Some(receipt.clone());
                self.touch(RowKey::Outbox(id));
            }
        }
    }

    /// A try failed: wait and try again, or give up and hand over to the next in line.
    pub(super) fn delivery_failed(&mut self, id: u64, failure: &Failure) {
        self.world.derived.in_flight.remove(&id);
        let Some(queued) = self.world.state.outbox.get(&id).cloned() else { return };
        let give_up_at = queued.at + self.world.policy.agent.give_up_after;
        self.note_failure(&queued, failure);
        match failure {
            Failure::Permanent { reason } => self.give_up(id, &format!("it will never be taken: {reason}")),
            Failure::Retry { reason, .. } if self.now >= give_up_at => {
                self.give_up(id, &format!("given up after {} tries: {reason}", queued.failures + 1));
            }
            Failure::Retry { reason, .. } => self.try_later(id, &queued, reason),
        }
        self.lanes.insert(queued.delivery.notifier.clone());
        self.judge_alerts();
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
        let decision = self.decide(&queued.delivery.event.name, "outbox", Verdict::Hold, text);
        decision.notifier = Some(queued.delivery.notifier.clone());
        decision.delivery = Some(queued.delivery.key.clone());
        decision.episode = queued.episode;
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

    /// A delivery that can't be made leaves the outbox; what opens something goes to the next in line.
    pub(super) fn give_up(&mut self, id: u64, why: &str) {
        let Some(queued) = self.remove(id) else { return };
        let delivery = &queued.delivery;
        let notifier = delivery.notifier.clone();
        self.world.state.notifiers.entry(notifier.clone()).or_default().given_up += 1;
        self.touch(RowKey::Notifier(notifier.clone()));
        let opens = matches!(delivery.action, Action::Trigger | Action::Message | Action::Digest);
        let next = if opens { self.next_in_line(&queued) } else { None };
        let then = match &next {
            Some(next) => format!("; told over `{next}` instead"),
            None if opens => "; there is no other notifier to tell it over".to_owned(),
            None => String::new(),
        };
        let decision = self.decide(&delivery.event.name, "outbox", Verdict::Drop, format!("{why}{then}"));
        decision.notifier = Some(notifier.clone());
        decision.delivery = Some(delivery.key.clone());
        decision.episode = queued.episode;
        if let Some(next) = next {
            self.hand_to(&next, &queued);
        }
    }

    /// The same thing, over another notifier; it will hear of the end too.
    fn hand_to(&mut self, next: &Name, queued: &Queued) {
        let mut delivery = (*queued.delivery).clone();
        let from = ToldKey {
            fault: delivery.event.name.clone(),
            notifier: delivery.notifier.clone(),
            target: delivery.target.clone(),
        };
        let targets = self.world.policy.notifiers.get(next).map(|n| n.targets.clone()).unwrap_or_default();
        delivery.target = targets.first().cloned().unwrap_or_default();
        delivery.key = format!("{}>{next}", delivery.key);
        delivery.notifier = next.clone();
        delivery.trigger_receipt = None;
        let told = self.world.state.told.get(&from).filter(|t| t.episode == queued.episode).cloned();
        let to = ToldKey { notifier: next.clone(), target: delivery.target.clone(), ..from };
        if let Some(told) = told.filter(|_| delivery.action == Action::Trigger) {
            if self.world.state.told.contains_key(&to) {
                let text = format!("`{next}` knows of it already");
                self.decide(&delivery.event.name, "told", Verdict::Drop, text).notifier = Some(next.clone());
                return;
            }
            self.world.state.told.insert(to.clone(), told);
            self.touch(RowKey::Told(to.clone()));
        }
        let decision = self.decide(
            &delivery.event.name,
            "told",
            Verdict::Tell,
            format!("{}: in place of `{}`", delivery.action.word(), queued.delivery.notifier),
        );
        decision.notifier = Some(next.clone());
        decision.delivery = Some(delivery.key.clone());
        decision.episode = queued.episode;
        self.put(delivery, queued.episode, Some(queued.delivery.notifier.clone()));
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
            .find(|n| policy.notifiers.contains_key(n) && !self.is_failing(n))
    }

    fn is_failing(&self, notifier: &Name) -> bool {
        self.world.state.notifiers.get(notifier).is_some_and(|s| s.failures >= FAILURES_TOLD || s.given_up > 0)
    }

    /// Who is told of the agent's own faults: its notifiers, without those that fail, else any that works.
    pub(super) fn healthy_notifiers(&self) -> Vec<Name> {
        let policy = &self.world.policy;
        let healthy: Vec<Name> = policy.agent.notify.iter().filter(|n| !self.is_failing(n)).cloned().collect();
        if !healthy.is_empty() {
            return healthy;
        }
        match policy.notifiers.keys().find(|n| !self.is_failing(n)) {
            Some(other) if !policy.agent.notify.is_empty() => vec![other.clone()],
            _ => policy.agent.notify.clone(),
        }
    }

    /// S3.10's `AGENT#alerts`: deliveries fail, said over those notifiers that work.
    fn judge_alerts(&mut self) {
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

    /// What was under way when the agent ended is tried again; every lane is looked at.
    pub(super) fn wake_outbox(&mut self) {
        let lanes: Vec<Name> = self.world.derived.lanes.keys().cloned().collect();
        let gone: Vec<u64> = lanes
            .iter()
            .filter(|n| !self.world.policy.notifiers.contains_key(*n))
            .flat_map(|n| self.world.derived.lanes[n].iter().copied())
            .filter(|id| !self.world.derived.in_flight.contains_key(id))
            .collect();
        for id in gone {
            self.give_up(id, "its notifier was removed from the config");
        }
        let state = &mut self.world.state;
        let removed: Vec<Name> =
            state.notifiers.keys().filter(|n| !self.world.policy.notifiers.contains_key(*n)).cloned().collect();
        for notifier in removed {
            self.world.state.notifiers.remove(&notifier);
            self.touch(RowKey::Notifier(notifier));
        }
        self.lanes.extend(lanes);
    }

    /// Waits that were counted by the old clock begin anew where they would last too long.
    pub(super) fn outbox_clock_jumped(&mut self) {
        let now = self.now;
        let latest = now + RETRY_AFTER_MAX;
        for (id, queued) in &mut self.world.state.outbox {
            if queued.not_before > latest {
                queued.not_before = now;
                self.fx.changed.insert(RowKey::Outbox(*id));
            }
            if queued.at > now {
                queued.at = now;
                self.fx.changed.insert(RowKey::Outbox(*id));
            }
        }
        for (name, state) in &mut self.world.state.notifiers {
            if state.not_before.is_some_and(|at| at > latest) {
                state.not_before = None;
                self.fx.changed.insert(RowKey::Notifier(name.clone()));
            }
        }
        self.world.derived.last_send.clear();
        self.lanes.extend(self.world.derived.lanes.keys().cloned());
    }
}

/// What a lane has next.
enum Next {
    /// This one, now.
    Send(u64),
    /// Something, not before this.
    At(Timestamp),
    /// Nothing until something changes.
    Nothing,
}
