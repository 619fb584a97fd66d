//! The outbox: one lane per notifier. In order within one matter, paced, merged into a digest when too much waits; what
//! can't be delivered goes on in `undelivered.rs`. The shell only sends and brings the answer back.

use super::{
    SendOrder, Step,
    derived::Timer,
    world::{RowKey, ToldKey},
};
use crate::{
    model::{Action, Decision, Delivery, Event, Name, Receipt, Severity, Timestamp, Verdict},
    state::outbox::{Merged, Open, Queued, RETRY_AFTER_MAX},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How many waiting deliveries are looked at to find the next one.
const LOOK_AHEAD_MAX: usize = 200;
/// What a notifier could not be told is told again by a success that comes so long after, or at once if it was failing:
/// one that is refused for good must not be tried with every other that is taken.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(900);
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

    pub(super) fn put(&mut self, delivery: Delivery, episode: u64, instead_of: Option<Name>) -> u64 {
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
        let refused_before = state.refusing.remove(&delivery.target).is_some();
        let failed_before = state.failures > 0 || state.given_up > 0 || refused_before;
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
    pub(super) fn note_open(&mut self, key: &ToldKey, episode: u64, open: Open) {
        if let Some(told) = self.world.state.told.get_mut(key).filter(|t| t.episode == episode && t.open < open) {
            told.open = open;
            self.touch(RowKey::Told(key.clone()));
        }
        self.note_to_end(key, Some(episode), open);
    }

    /// What waits to end a matter has something to end. Whether anything waits.
    pub(super) fn note_to_end(&mut self, key: &ToldKey, episode: Option<u64>, open: Open) -> bool {
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

    /// What waits for a receiver or is under way to it in one episode of one matter, in order.
    pub(super) fn waiting_for(&self, key: &ToldKey, episode: u64) -> impl Iterator<Item = (u64, &Queued)> {
        let lane = self.world.derived.lanes.get(&key.notifier).into_iter().flat_map(|lane| &lane.told);
        let waiting = lane.filter_map(|id| Some((*id, self.world.state.outbox.get(id)?)));
        waiting.filter(move |(_, queued)| {
            let delivery = &queued.delivery;
            queued.episode == episode && delivery.event.name == key.fault && delivery.target == key.target
        })
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
pub(super) fn told_key(delivery: &Delivery) -> ToldKey {
    let (fault, notifier) = (delivery.event.name.clone(), delivery.notifier.clone());
    ToldKey { fault, notifier, target: delivery.target.clone() }
}

/// The same for one matter of a digest.
pub(super) fn merged_key(queued: &Queued, merged: &Merged) -> ToldKey {
    ToldKey { fault: merged.fault.clone(), ..told_key(&queued.delivery) }
}

/// What a delivery opens and ends, in order.
pub(super) fn matters_in(queued: &Queued) -> Vec<Merged> {
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
pub(super) fn opened_by(queued: &Queued) -> Vec<Merged> {
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
