//! The outbox: one lane per notifier. In order within one matter, paced, retried with back-off, merged into a
//! digest when too much waits, handed to the next notifier in line when it can't be delivered. The shell only
//! sends and brings the answer back.

use super::{
    SendOrder, Step,
    derived::{Lane, Timer},
    faults::PURGE_EVERY,
    results::RESULT_SOURCE,
    world::{RowKey, Told, ToldKey, World},
};
use crate::{
    model::{Action, Decision, Delivery, Event, Failure, Finding, Name, Receipt, Severity, Timestamp, Verdict},
    state::outbox::{Ends, Merged, NotifierState, Open, Queued, RETRY_AFTER_MAX, backoff},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// So many that are too old are given up at a time; the next try that fails gives up more.
const GIVEN_UP_AT_ONCE_MAX: usize = 1_000;
/// Tries in a row that fail before the agent says so by `AGENT#alerts`.
const FAILURES_TOLD: u32 = 3;
/// How many waiting deliveries are looked at to find the next one.
const LOOK_AHEAD_MAX: usize = 200;
/// What was told and can't be ended is remembered for this long.
const TOLD_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// What a notifier could not be told is told again by a success that comes so long after, or at once if it was failing:
/// one that is refused for good must not be tried with every other that is taken.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(900);
/// What a notifier refused is held against it for this long.
const FORGIVEN_AFTER: Duration = Duration::from_secs(86_400);
/// Why a delivery to a notifier that is gone is given up.
const REMOVED: &str = "its notifier was removed from the config";
/// A digest lists at most this many events; the rest is counted.
const DIGEST_EVENTS_MAX: usize = 500;

impl Step<'_> {
    /// Puts a delivery into the outbox; its id there.
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
    ) -> u64 {
        if action == Action::Update {
            self.drop_older_update(to, episode);
        }
        let delivery = Delivery {
            key,
            action,
            notifier: to.notifier.clone(),
            event: event.clone(),
            target: to.target.clone(),
            trigger_receipt: receipt,
            digest: Vec::new(),
        };
        let text = format!("{}: {why}", action.word());
        self.decide_on(&delivery, episode, "told", Verdict::Tell, text).event = Some(event.seq);
        self.put(delivery, episode, None)
    }

    /// One line of the trail about a delivery.
    pub(super) fn decide_on(
        &mut self,
        delivery: &Delivery,
        episode: u64,
        rule: &str,
        verdict: Verdict,
        text: impl Into<String>,
    ) -> &mut Decision {
        let decision = self.decide(&delivery.event.name, rule, verdict, text);
        decision.notifier = Some(delivery.notifier.clone());
        decision.delivery = Some(delivery.key.clone());
        decision.episode = episode;
        decision
    }

    /// An edit that was never tried says nothing that the one after it does not say better.
    fn drop_older_update(&mut self, to: &ToldKey, episode: u64) {
        let is_older = |queued: &Queued| queued.delivery.action == Action::Update && queued.tries == 0;
        let older = self.waiting_for(to, episode).filter(|(_, queued)| is_older(queued)).map(|(id, _)| id);
        for id in older.collect::<Vec<_>>() {
            let Some(queued) = self.remove(id) else { continue };
            let text = "update: a newer one takes its place";
            self.decide_on(&queued.delivery, episode, "outbox", Verdict::Drop, text);
        }
    }

    fn put(&mut self, delivery: Delivery, episode: u64, instead_of: Option<Name>) -> u64 {
        self.world.state.meta.outbox_id += 1;
        let id = self.world.state.meta.outbox_id;
        let notifier = delivery.notifier.clone();
        let queued = Queued {
            delivery: Arc::new(delivery),
            at: self.now,
            episode,
            tries: 0,
            failures: 0,
            not_before: self.now,
            last_failure: None,
            ends: None,
            merged: Vec::new(),
            instead_of,
        };
        self.world.derived.lanes.entry(notifier.clone()).or_default().put(id, &queued.delivery);
        self.world.state.outbox.insert(id, queued);
        self.touch(RowKey::Meta);
        self.touch(RowKey::Outbox(id));
        self.lanes.insert(notifier);
        id
    }

    /// A message to one notifier, to each of its targets. `key` makes repeats the same.
    pub(super) fn send_message(&mut self, event: &Event, notifier: &Name, key: &str, why: &str) {
        let Some(policy) = self.world.policy.notifiers.get(notifier).cloned() else {
            let text = format!("there is no notifier `{notifier}`");
            self.decide(&event.name, "notify", Verdict::Drop, text).event = Some(event.seq);
            return;
        };
        for target in policy.every_target() {
            let to = ToldKey { fault: event.name.clone(), notifier: notifier.clone(), target };
            let suffix = if to.target.is_empty() { String::new() } else { format!("/{}", to.target) };
            let key = format!("{}/{key}/{notifier}{suffix}", self.world.state.meta.agent_id);
            self.enqueue(&to, Action::Message, event, 0, key, None, why);
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Queued> {
        let queued = self.world.state.outbox.remove(&id)?;
        let notifier = &queued.delivery.notifier;
        if let Some(lane) = self.world.derived.lanes.get_mut(notifier) {
            lane.remove(id);
        }
        self.world.derived.in_flight.remove(&id);
        self.lanes.insert(notifier.clone());
        self.touch(RowKey::Outbox(id));
        Some(queued)
    }

    /// Gives every notifier whose lane may have moved what it can take now.
    pub(super) fn pump_lanes(&mut self) {
        while let Some(notifier) = self.lanes.pop_first() {
            self.bound_results(&notifier);
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
        let Some(queued) = self.world.state.outbox.get_mut(&id) else { return };
        queued.tries = queued.tries.saturating_add(1);
        let order = SendOrder { id, attempt: queued.tries, delivery: queued.delivery.clone() };
        self.touch(RowKey::Outbox(id));
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
        // Results wait for what is told, or a slow handler's backlog would stand before an alert.
        let told = self.candidate(lane.told.iter(), failing);
        let result = self.candidate(lane.results.keys(), failing);
        match told.into_iter().chain(result).min_by_key(|(failures, at, _)| (*failures, *at)) {
            None => Next::Nothing,
            Some((_, at, _)) if not_before.max(Some(at)) > Some(self.now) => {
                Next::At(not_before.map_or(at, |n| n.max(at)))
            }
            Some((_, _, id)) => Next::Send(id),
        }
    }

    /// The delivery that goes next, when it may, and how often it failed: the oldest, but nothing goes before an earlier one of the
    /// same matter. While the notifier fails, the one that was tried least, so that one which can't be taken
    /// does not stand before all others.
    fn candidate<'i>(&self, ids: impl Iterator<Item = &'i u64>, failing: bool) -> Option<(u32, Timestamp, u64)> {
        let mut matters = BTreeSet::new();
        // Targets that something was found for, and those with a digest, which speaks of many matters: it goes after
        // all before it and before all after it.
        let (mut targets, mut digests) = (BTreeSet::new(), BTreeSet::new());
        let mut best: Option<(u32, Timestamp, u64)> = None;
        for id in ids.take(LOOK_AHEAD_MAX) {
            let queued = &self.world.state.outbox[id];
            let target = &queued.delivery.target;
            let is_first = matters.insert((&queued.delivery.event.key, target)) && !digests.contains(target);
            let is_alone = targets.insert(target);
            let is_digest = queued.delivery.action == Action::Digest && digests.insert(target);
            if !is_first || (is_digest && !is_alone) || self.world.derived.in_flight.contains_key(id) {
                continue;
            }
            let at = queued.not_before.max(self.now);
            if at == self.now && !failing {
                return Some((0, at, *id));
            }
            let rank = (if failing { queued.failures } else { 0 }, at, *id);
            best = Some(best.map_or(rank, |b| b.min(rank)));
        }
        best
    }

    /// Too much waits for a notifier that can say many things at once: one message says it all.
    fn merge_backlog(&mut self, notifier: &Name) {
        let Some(policy) = self.world.policy.notifiers.get(notifier) else { return };
        let above = self.world.policy.agent.digest_above;
        let Some(lane) = self.world.derived.lanes.get(notifier) else { return };
        if !policy.capabilities.digests || lane.told.len() <= above {
            return;
        }
        let edits = policy.capabilities.edits;
        let lane = lane.told.clone();
        let targets: BTreeSet<String> =
            lane.iter().map(|id| self.world.state.outbox[id].delivery.target.clone()).collect();
        for target in targets {
            let waiting: Vec<u64> = lane
                .iter()
                .filter(|id| !self.world.derived.in_flight.contains_key(id))
                .filter(|id| self.world.state.outbox[id].delivery.target == target)
                .copied()
                .collect();
            // Edits ring nowhere; a digest does.
            let rings = |id: &&u64| !edits || self.world.state.outbox[*id].delivery.action != Action::Update;
            if waiting.iter().filter(rings).count() > above {
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
            let text = format!("{text}: {key}");
            self.decide_on(&queued.delivery, queued.episode, "digest", Verdict::Tell, text);
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
        let text = format!("digest: {} deliveries waited for `{notifier}`, more than `digest_above`", merged.len());
        let delivery =
            Delivery { key, action: Action::Digest, notifier, event, target, trigger_receipt: None, digest: events };
        self.decide_on(&delivery, 0, "digest", Verdict::Tell, text);
        let id = self.put(delivery, 0, None);
        for queued in merged.iter().filter(|q| q.tries > 0) {
            // A try whose answer was lost may have been taken.
            for opened in opened_by(queued) {
                self.note_open(&merged_key(queued, &opened), opened.episode, Open::Maybe);
            }
        }
        if let Some(digest) = self.world.state.outbox.get_mut(&id) {
            digest.merged = matters_of(&merged);
        }
    }

    /// A receiver took a delivery.
    pub(super) fn delivered(&mut self, id: u64, receipt: Receipt) {
        let Some(queued) = self.remove(id) else { return };
        let delivery = &queued.delivery;
        let tries = queued.tries;
        let answer = if receipt.text.is_empty() { String::new() } else { format!(": {}", receipt.text) };
        let text = format!("delivered at try {tries}{answer}");
        self.decide_on(delivery, queued.episode, "outbox", Verdict::Tell, text);
        if delivery.action == Action::Trigger && receipt.id.is_some() {
            self.keep_receipt(&queued, receipt);
        }
        for opened in opened_by(&queued) {
            self.note_open(&merged_key(&queued, &opened), opened.episode, Open::Yes);
        }
        let now = self.now;
        let state = self.world.state.notifiers.entry(delivery.notifier.clone()).or_default();
        let failed_before = state.failures > 0 || state.given_up > 0;
        let is_due = |at: &mut Timestamp| state.failures > 0 || *at + TOLD_AGAIN_AFTER <= now;
        let tell_again = state.untold.take_if(is_due).is_some();
        state.delivered += 1;
        state.last_success = Some(now);
        state.works_again();
        self.touch(RowKey::Notifier(delivery.notifier.clone()));
        if failed_before {
            self.judge_alerts();
        }
        if tell_again {
            // What it was never told, it is told now.
            self.reconcile_told();
        }
    }

    /// The receiver has it open from now on.
    fn note_open(&mut self, key: &ToldKey, episode: u64, open: Open) {
        if let Some(told) = self.world.state.told.get_mut(key).filter(|t| t.episode == episode && t.open < open) {
            told.open = open;
            self.touch(RowKey::Told(key.clone()));
        }
        self.note_to_end(key, Some(episode), open);
    }

    /// What waits to end a matter has something to end. Whether anything waits.
    fn note_to_end(&mut self, key: &ToldKey, episode: Option<u64>, open: Open) -> bool {
        let mut any = false;
        let is_it = |e: u64| episode.is_none_or(|episode| episode == e);
        for id in self.world.derived.lanes.get(&key.notifier).into_iter().flat_map(|lane| &lane.told) {
            let Some(later) = self.world.state.outbox.get_mut(id).filter(|q| q.delivery.target == key.target) else {
                continue;
            };
            let is_same = later.delivery.event.name == key.fault && is_it(later.episode);
            let own = later.ends.as_mut().filter(|_| is_same);
            let merged = later.merged.iter_mut().filter(|m| m.fault == key.fault && is_it(m.episode));
            for ends in own.into_iter().chain(merged.filter_map(|m| m.ends.as_mut())) {
                ends.open = ends.open.max(open);
                any = true;
                self.fx.changed.insert(RowKey::Outbox(*id));
            }
        }
        any
    }

    /// What the receiver calls the message is needed to edit it or to answer it.
    fn keep_receipt(&mut self, queued: &Queued, receipt: Receipt) {
        let key = told_key(&queued.delivery);
        if let Some(told) = self.world.state.told.get_mut(&key).filter(|t| t.episode == queued.episode) {
            told.receipt = Some(receipt.clone());
            self.touch(RowKey::Told(key.clone()));
        }
        let behind: Vec<u64> = self.waiting_for(&key, queued.episode).map(|(id, _)| id).collect();
        for id in behind.into_iter().filter(|id| !self.world.derived.in_flight.contains_key(id)) {
            let Some(later) = self.world.state.outbox.get_mut(&id) else { continue };
            Arc::make_mut(&mut later.delivery).trigger_receipt = Some(receipt.clone());
            self.fx.changed.insert(RowKey::Outbox(id));
        }
    }

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

    /// What waits for a receiver or is under way to it in one episode of one matter, in order.
    fn waiting_for(&self, key: &ToldKey, episode: u64) -> impl Iterator<Item = (u64, &Queued)> {
        let lane = self.world.derived.lanes.get(&key.notifier).into_iter().flat_map(|lane| &lane.told);
        let waiting = lane.filter_map(|id| Some((*id, self.world.state.outbox.get(id)?)));
        waiting.filter(move |(_, queued)| {
            let delivery = &queued.delivery;
            queued.episode == episode && delivery.event.name == key.fault && delivery.target == key.target
        })
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
        resolve.key = format!("{}>{}", resolve.key, to.notifier);
        resolve.notifier = to.notifier.clone();
        resolve.target = to.target;
        for delivery in [trigger, resolve] {
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
            .find(|n| policy.notifiers.contains_key(n) && !self.is_failing(n))
    }

    fn is_failing(&self, notifier: &Name) -> bool {
        self.world.is_failing(notifier)
    }

    pub(super) fn healthy_notifiers(&self) -> Vec<Name> {
        self.world.healthy_notifiers()
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

    /// Waits that were counted by the old clock last as long as they would have; a clock that went forward brings
    /// nothing nearer to being given up.
    pub(super) fn outbox_clock_jumped(&mut self, by_us: i64) {
        let now = self.now;
        let shifted = |at: Timestamp| {
            let shifted = Timestamp::from_micros(at.as_micros().saturating_add(by_us));
            if by_us < 0 { shifted.clamp(now.min(at), now + RETRY_AFTER_MAX) } else { at }
        };
        for (id, queued) in &mut self.world.state.outbox {
            queued.not_before = shifted(queued.not_before);
            queued.at = Timestamp::from_micros(queued.at.as_micros().saturating_add(by_us)).min(now);
            self.fx.changed.insert(RowKey::Outbox(*id));
        }
        for (name, state) in &mut self.world.state.notifiers {
            if let Some(at) = state.not_before.filter(|_| by_us < 0) {
                state.not_before = Some(shifted(at));
                self.fx.changed.insert(RowKey::Notifier(name.clone()));
            }
        }
        self.world.derived.last_send.clear();
        self.lanes.extend(self.world.derived.lanes.keys().cloned());
    }
}

/// What the receiver of a delivery is asked under.
fn told_key(delivery: &Delivery) -> ToldKey {
    let (fault, notifier) = (delivery.event.name.clone(), delivery.notifier.clone());
    ToldKey { fault, notifier, target: delivery.target.clone() }
}

/// The same for one matter of a digest.
fn merged_key(queued: &Queued, merged: &Merged) -> ToldKey {
    ToldKey { fault: merged.fault.clone(), ..told_key(&queued.delivery) }
}

/// What a delivery opens and ends, in order.
fn matters_in(queued: &Queued) -> Vec<Merged> {
    let delivery = &queued.delivery;
    let own = matches!(delivery.action, Action::Trigger | Action::Resolve).then(|| Merged {
        fault: delivery.event.name.clone(),
        episode: queued.episode,
        tried: false,
        ends: queued.ends.clone(),
        receipt: delivery.trigger_receipt.clone(),
    });
    own.into_iter().chain(queued.merged.iter().cloned()).collect()
}

/// What a delivery opens.
fn opened_by(queued: &Queued) -> Vec<Merged> {
    let mut matters = matters_in(queued);
    matters.retain(|m| m.ends.is_none() && queued.delivery.action != Action::Resolve);
    matters
}

/// What deliveries open and end, all in all: for each fault at most one end and one beginning after it.
fn matters_of(deliveries: &[Queued]) -> Vec<Merged> {
    let mut matters: BTreeMap<Name, (Option<Merged>, Option<Merged>)> = BTreeMap::new();
    let mut maybe = BTreeSet::new();
    for queued in deliveries {
        for mut new in matters_in(queued) {
            new.tried |= queued.tries > 0;
            if new.tried && new.ends.is_none() {
                maybe.insert(new.fault.clone());
            }
            let (ended, opened) = matters.entry(new.fault.clone()).or_default();
            match &mut new.ends {
                None => *opened = Some(new),
                Some(ends) => {
                    if maybe.contains(&new.fault) {
                        ends.open = ends.open.max(Open::Maybe);
                    }
                    let before = ended.as_ref().and_then(|e| e.ends.as_ref()).map_or(Open::No, |e| e.open);
                    ends.open = ends.open.max(before);
                    (*ended, *opened) = (Some(new), None);
                }
            }
        }
    }
    matters.into_values().flat_map(|(ended, opened)| ended.into_iter().chain(opened)).collect()
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

#[cfg(test)]
mod tests {
    use crate::{
        engine::{
            Input, World,
            results::tests::{message, sent, world},
            step, step_at_rest,
        },
        model::Timestamp,
    };

    /// What is decided while no agent runs is no try: the first one is at the next start.
    #[test]
    fn nothing_is_sent_at_rest() {
        let world = world();
        let (policy, now) = (world.policy.clone(), Timestamp::from_secs(1));
        let mut down = World::new(policy.clone(), world.state);
        let effects = step_at_rest(&mut down, now, message("91%"));
        assert!(effects.sends.is_empty() && !effects.decisions.is_empty(), "{effects:?}");
        assert_eq!(down.state.outbox.values().map(|queued| queued.tries).collect::<Vec<_>>(), [0]);
        let mut up = World::new(policy, down.state);
        let effects = step(&mut up, now, Input::Start { agent_id: "x".into() });
        assert_eq!(sent(&effects, "hook")[0].attempt, 1);
    }
}
