//! What must hold whatever happens: a model of the receivers, and an auditor who sees what is committed, sent and taken.
//!
//! 1. A key never appears with another content.
//! 2. Nobody is told of a fault that they have open already, unless the check asks for that, an acknowledgement ended,
//!    or the agent had to believe that it was not taken.
//! 3. Every delivery has a decision that explains it.
//! 4. What was decided to be told is taken, waits, or is explained as given up or merged.
//! 5. At rest, what receivers have open is what the agent believes, and that is what is true.

use std::collections::{BTreeMap, BTreeSet};
use watchbell_core::{
    engine::{Commit, SendOrder, World},
    model::{Action, Decision, Delivery, Name, Verdict},
    state::outbox::Open,
};

/// One receiver, as PagerDuty behaves: things open and close by name, a key that is known is a repeat.
#[derive(Clone, Debug, Default)]
struct Receiver {
    keys: BTreeSet<String>,
    open: BTreeSet<Name>,
    /// Faults of which the agent had to believe that they were not taken.
    doubtful: BTreeSet<Name>,
}

/// What a digest is made of, those in it taken apart. One that was handed over from another receiver is only a
/// message.
fn parts_of(merged: &BTreeMap<String, Vec<(String, Name)>>, key: &str, parts: &mut Vec<(String, Name)>) {
    for (part, name) in merged.get(key).into_iter().flatten().filter(|_| !key.contains('>')) {
        parts.push((part.clone(), name.clone()));
        parts_of(merged, part, parts);
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    receivers: BTreeMap<(Name, String), Receiver>,
    decisions: BTreeMap<String, Vec<Decision>>,
    contents: BTreeMap<String, Delivery>,
    /// What digests are made of: keys and faults.
    merged: BTreeMap<String, Vec<(String, Name)>>,
    /// How many deliveries were taken, repeats aside.
    pub taken: u64,
    /// How many repeats were dropped.
    pub repeats: u64,
    /// How many triggers were taken, repeats aside.
    pub triggers: u64,
}

impl Audit {
    /// What is in the store from now on.
    pub fn committed(&mut self, commit: &Commit) {
        for decision in &commit.decisions {
            if let Some(key) = &decision.delivery {
                self.decisions.entry(key.clone()).or_default().push(decision.clone());
                if let Some((_, into)) = decision.text.split_once("merged into a digest: ") {
                    let parts = self.merged.entry(into.to_owned()).or_default();
                    parts.push((key.clone(), decision.name.clone()));
                }
                // Who did not hear of an end is told of the next beginning all the same.
                if decision.verdict == Verdict::Drop && (key.ends_with("/resolve") || key.contains("/digest/")) {
                    let name = decision.notifier.as_ref();
                    for (_, receiver) in self.receivers.iter_mut().filter(|((n, _), _)| Some(n) == name) {
                        let of = |fault: &&Name| key.contains("/digest/") || **fault == decision.name;
                        receiver.doubtful.extend(receiver.open.iter().filter(of).cloned());
                    }
                }
            }
        }
    }

    fn decided(&self, key: &str) -> &[Decision] {
        self.decisions.get(key).map_or(&[], Vec::as_slice)
    }

    /// A try begins: only after its commit, explained, and with the content that its key always had.
    pub fn sent(&mut self, order: &SendOrder) -> Result<(), String> {
        let delivery = &*order.delivery;
        let why = self.decided(&delivery.key).iter().find(|d| d.verdict == Verdict::Tell);
        if why.is_none_or(|d| d.text.is_empty()) {
            return Err(format!("{} is sent, and nothing explains it", delivery.key));
        }
        // The receipt of the trigger comes later; it is no content.
        let content = Delivery { trigger_receipt: None, ..delivery.clone() };
        match self.contents.get(&delivery.key) {
            Some(before) if *before != content => {
                Err(format!("{} has two contents:\n{before:?}\n{content:?}", delivery.key))
            }
            Some(_) => Ok(()),
            None => {
                self.contents.insert(delivery.key.clone(), content);
                Ok(())
            }
        }
    }

    /// A receiver takes a delivery.
    pub fn taken(&mut self, delivery: &Delivery) -> Result<(), String> {
        let receiver = self.receivers.entry((delivery.notifier.clone(), delivery.target.clone())).or_default();
        if !receiver.keys.insert(delivery.key.clone()) {
            self.repeats += 1;
            return Ok(());
        }
        self.taken += 1;
        let fault = &delivery.event.name;
        match delivery.action {
            Action::Trigger => {
                self.triggers += 1;
                let is_new = receiver.open.insert(fault.clone());
                let may_repeat = receiver.doubtful.remove(fault) || self.asks_again(&delivery.key);
                if !is_new && !may_repeat {
                    return Err(format!("{} triggers what {} has open", delivery.key, delivery.notifier));
                }
            }
            Action::Resolve => _ = receiver.open.remove(fault),
            Action::Digest => {
                let mut parts = Vec::new();
                parts_of(&self.merged, &delivery.key, &mut parts);
                for (key, name) in parts {
                    // `…/trigger`, or `…/trigger>chat` where it was handed over.
                    match key.rsplit('/').next().and_then(|end| end.split('>').next()) {
                        Some("trigger") => _ = receiver.open.insert(name),
                        Some("resolve") => _ = receiver.open.remove(&name),
                        _ => {}
                    }
                }
            }
            Action::Update | Action::Acknowledge | Action::Message => {}
        }
        Ok(())
    }

    /// Whether the trail says that this trigger is meant to repeat what is known.
    fn asks_again(&self, key: &str) -> bool {
        let again = ["it asks to be told again", "the acknowledgement ended", "was told last was not taken"];
        self.decided(key).iter().any(|d| again.iter().any(|text| d.text.contains(text)))
    }

    /// The receiver took something and the agent can't know: should it give it up, it may tell it again.
    pub fn doubtful(&mut self, delivery: &Delivery) {
        let receiver = self.receivers.entry((delivery.notifier.clone(), delivery.target.clone())).or_default();
        receiver.doubtful.insert(delivery.event.name.clone());
    }

    /// Nothing that was decided to be told is lost.
    pub fn nothing_lost(&self, world: &World) -> Result<(), String> {
        let waiting: BTreeSet<&str> = world.deliveries().map(|d| d.key.as_str()).collect();
        for (key, decisions) in &self.decisions {
            let is_told =
                decisions.iter().any(|d| d.verdict == Verdict::Tell && (d.rule == "told" || d.rule == "digest"));
            let is_merged = decisions.iter().any(|d| d.rule == "digest" && d.text.contains("merged into a digest"));
            let is_dropped = decisions.iter().any(|d| d.verdict == Verdict::Drop);
            let is_taken = self.receivers.values().any(|r| r.keys.contains(key));
            if is_told && !is_merged && !is_dropped && !is_taken && !waiting.contains(key.as_str()) {
                return Err(format!("{key} was decided and is nowhere: {decisions:?}"));
            }
        }
        Ok(())
    }

    /// What receivers have open is what the agent believes. Where a try whose answer was lost may have been
    /// taken, it believes nothing certain.
    pub fn beliefs_hold(&self, world: &World) -> Result<(), String> {
        let mut believed: BTreeMap<(Name, String), BTreeSet<Name>> = BTreeMap::new();
        for (key, told) in &world.state.told {
            let who = (key.notifier.clone(), key.target.clone());
            let is_open = self.receivers.get(&who).is_some_and(|r| r.open.contains(&key.fault));
            if is_open || told.open != Open::Maybe {
                believed.entry(who).or_default().insert(key.fault.clone());
            }
        }
        for (who, receiver) in &self.receivers {
            let believed = believed.remove(who).unwrap_or_default();
            if receiver.open != believed {
                return Err(format!("{who:?} has open {:?}, the agent believes {believed:?}", receiver.open));
            }
        }
        match believed.into_iter().find(|(_, faults)| !faults.is_empty()) {
            Some((who, faults)) => Err(format!("the agent believes that {who:?} has open {faults:?}")),
            None => Ok(()),
        }
    }

    /// What receivers have open is what is true: every fault that is told and that no rule holds, nothing that is gone.
    pub fn truth_is_known(&self, world: &World) -> Result<(), String> {
        for (who, receiver) in &self.receivers {
            if let Some(gone) = receiver.open.iter().find(|fault| !world.state.faults.contains_key(*fault)) {
                return Err(format!("{who:?} has {gone} open, which is gone"));
            }
        }
        for fault in world.state.faults.values() {
            let Some(check) = world.policy.checks.get(&fault.check) else { continue };
            let is_told = fault.state == watchbell_core::model::Hardness::Hard
                && fault.severity >= world.policy.alert_from(check);
            if !is_told || fault.held.is_some() {
                continue;
            }
            for notifier in &check.notify {
                let known =
                    |((name, _), r): (&(Name, String), &Receiver)| name == notifier && r.open.contains(&fault.name);
                if world.policy.notifiers.contains_key(notifier) && !self.receivers.iter().any(known) {
                    return Err(format!("{notifier} does not know of {}", fault.name));
                }
            }
        }
        Ok(())
    }
}
