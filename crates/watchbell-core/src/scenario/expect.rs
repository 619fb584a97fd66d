//! What is expected: names made full, and each expectation compared with what is there.

use super::{Expect, Faulty, Happened, Told, report::Mismatch, stage::Stage};
use crate::{
    config::nearest,
    model::{Delivery, Event, Fault, Held, Name},
};

/// A message lists at most this many names.
const LISTED_MAX: usize = 8;

type Met = Result<(), Mismatch>;

/// The one of `names` that a short name means: the same, or the only one that ends so.
fn resolve<'n>(what: &str, short: &str, names: impl Iterator<Item = &'n Name> + Clone) -> Result<Name, Mismatch> {
    if let Some(same) = names.clone().find(|n| n.as_str() == short) {
        return Ok(same.clone());
    }
    let ends = |name: &&Name| {
        let rest = name.strip_suffix(short);
        rest.is_some_and(|rest| rest.ends_with('/') || (short.starts_with('#') && !rest.is_empty()))
    };
    let mut found: Vec<&Name> = names.clone().filter(ends).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let shorts = names.clone().map(|n| n.rsplit('/').next().unwrap_or(n));
            let hint = match nearest(short, shorts) {
                Some(near) => format!("did you mean `{near}`?"),
                None => listed(names),
            };
            Err(Mismatch::hint(format!("there is no {what} `{short}`"), hint))
        }
        several => Err(Mismatch::hint(
            format!("`{short}` can be any of {} {what}s", several.len()),
            format!("write more of the name: {}", listed(several.iter().copied())),
        )),
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n Name>) -> String {
    let all: Vec<_> = names.take(LISTED_MAX + 1).map(|n| format!("`{n}`")).collect();
    match all.len() {
        0 => "there are none".to_owned(),
        n if n > LISTED_MAX => format!("there are {} and more", all[..LISTED_MAX].join(", ")),
        _ => format!("there are {}", all.join(", ")),
    }
}

/// Whether a name is meant by a short one, where the thing itself may be gone.
fn means(name: &str, short: &str) -> bool {
    name == short || name.strip_suffix(short).is_some_and(|rest| rest.ends_with('/') || short.starts_with('#'))
}

impl Stage<'_, '_> {
    pub(super) fn check_name(&self, short: &str) -> Result<Name, Mismatch> {
        resolve("check", short, self.policy().checks.keys())
    }

    pub(super) fn notifier_name(&self, short: &str) -> Result<Name, Mismatch> {
        resolve("notifier", short, self.policy().notifiers.keys())
    }

    pub(super) fn fault_name(&self, short: &str) -> Result<Name, Mismatch> {
        let faults = self.world.as_ref().map(|w| &w.state.faults);
        resolve("fault", short, faults.into_iter().flat_map(|f| f.keys()))
    }

    pub(super) fn check(&mut self, expect: &Expect) -> Met {
        match expect {
            Expect::Deliver { not, wanted } => self.expect_delivery(*not, wanted),
            Expect::Quiet => self.expect_delivery(true, &Told::default()),
            Expect::Fault { not: false, wanted } => self.expect_fault(wanted),
            Expect::Fault { not: true, wanted } => match self.expect_fault(wanted) {
                Ok(()) => Err(Mismatch::new(self.fault_list())),
                Err(_) => Ok(()),
            },
            Expect::NoFaults => match self.world.as_ref().is_none_or(|w| w.state.faults.is_empty()) {
                true => Ok(()),
                false => Err(Mismatch::new(self.fault_list())),
            },
            Expect::Held { not, fault, rule, to } => self.expect_held(*not, fault, rule.as_deref(), to.as_deref()),
            Expect::Run { check, count } => self.expect_run(check, *count),
            Expect::Event { not, wanted } => self.expect_event(*not, wanted),
            Expect::Queued(wanted) => {
                let found = self.world.as_ref().map_or(0, |w| w.state.outbox.len());
                same("deliveries wait", *wanted, found)
            }
            Expect::Running(wanted) => {
                let found = self.world.as_ref().map_or(0, |w| w.running());
                same("runs are under way", *wanted, found)
            }
            Expect::Warned(text) => match &self.warned {
                None => Err(Mismatch::new("there was no warning")),
                Some(why) if text.as_ref().is_none_or(|text| why.contains(text)) => Ok(()),
                Some(why) => Err(Mismatch::new(format!("the warning was: {why}"))),
            },
            Expect::Refused(text) => match &self.refused {
                None => Err(Mismatch::new("nothing was refused")),
                Some(why) if text.as_ref().is_none_or(|text| why.contains(text)) => Ok(()),
                Some(why) => Err(Mismatch::new(format!("it was refused: {why}"))),
            },
        }
    }

    fn expect_delivery(&mut self, not: bool, wanted: &Told) -> Met {
        let found = self.heard.iter_mut().find(|h| !h.asked && wanted.is_met(&h.delivery));
        match (found, not) {
            (None, true) => Ok(()),
            (Some(heard), false) => {
                heard.asked = true;
                Ok(())
            }
            (Some(heard), true) => Err(Mismatch::new(format!("there is one: {}", told(&heard.delivery)))),
            (None, false) => {
                let others: Vec<_> = self.heard.iter().filter(|h| !h.asked).map(|h| told(&h.delivery)).collect();
                let found = match others.as_slice() {
                    [] => "nothing was told that no line asked for".to_owned(),
                    others => format!("told, and not asked for: {}", others.join("; ")),
                };
                Err(Mismatch { found, hint: self.quiet_hint(wanted) })
            }
        }
    }

    /// Why a fault was not told, if it is there.
    fn quiet_hint(&self, wanted: &Told) -> Option<String> {
        let fault = self.fault_name(wanted.fault.as_ref()?).ok()?;
        let fault = self.world.as_ref()?.state.faults.get(&fault)?;
        Some(match &fault.held {
            Some(held) => format!("it is held: {}", held.explain().1),
            None if !fault.held_for.is_empty() => {
                let all = fault.held_for.iter().map(|(name, held)| format!("for {name}: {}", held.explain().1));
                format!("it is held {}", all.collect::<Vec<_>>().join("; "))
            }
            None => format!("the fault is there: {}", described(fault)),
        })
    }

    fn fault_list(&self) -> String {
        let faults = self.world.as_ref().into_iter().flat_map(|w| w.state.faults.values());
        let all: Vec<_> = faults.map(described).collect();
        if all.is_empty() { "nothing is wrong".to_owned() } else { format!("wrong now: {}", all.join("; ")) }
    }

    fn expect_fault(&self, wanted: &Faulty) -> Met {
        let name = self.fault_name(&wanted.fault).map_err(|why| Mismatch { found: self.fault_list(), ..why })?;
        let fault = self.world.as_ref().and_then(|w| w.state.faults.get(&name));
        match fault {
            Some(fault) if wanted.is_met(fault) => Ok(()),
            Some(fault) => Err(Mismatch::new(described(fault))),
            None => Err(Mismatch::new(self.fault_list())),
        }
    }

    fn expect_held(&self, not: bool, fault: &str, rule: Option<&str>, to: Option<&str>) -> Met {
        let name = self.fault_name(fault).map_err(|why| Mismatch { found: self.fault_list(), ..why })?;
        let held = self.world.as_ref().and_then(|w| w.state.faults.get(&name));
        let held = held.and_then(|f| to.map_or(f.held.as_ref(), |to| f.held_for.get(to)));
        let is_met = held.is_some_and(|h| rule.is_none_or(|rule| h.explain().0 == rule));
        match (is_met != not, held.map(Held::explain)) {
            (true, _) => Ok(()),
            (false, Some((_, text))) => Err(Mismatch::new(format!("it is held: {text}"))),
            (false, None) => Err(Mismatch::new("no rule holds it")),
        }
    }

    fn expect_run(&mut self, check: &str, count: Option<u32>) -> Met {
        let name = self.check_name(check)?;
        let actor = self.actors.entry(name).or_default();
        let begun = actor.begun;
        let is_met = count.map_or(begun > 0, |count| begun == count);
        if !is_met {
            return Err(Mismatch::new(format!("{begun} runs were begun since the last line that asked")));
        }
        actor.begun = 0;
        Ok(())
    }

    fn expect_event(&mut self, not: bool, wanted: &Happened) -> Met {
        let is_met = |(event, asked): &(Event, bool)| {
            let cause = event.caused_by.and_then(|seq| self.events.iter().find(|(e, _)| e.seq == seq));
            !asked && wanted.is_met(event, cause.map(|(e, _)| e))
        };
        let found = self.events.iter().position(is_met);
        match (found.map(|at| &mut self.events[at]), not) {
            (Some((_, asked)), false) => {
                *asked = true;
                Ok(())
            }
            (None, true) => Ok(()),
            (Some((event, _)), true) => Err(Mismatch::new(format!("there is one: {}: {}", event.name, event.text))),
            (None, false) => Err(Mismatch::new("there is no such event that no line asked for")),
        }
    }
}

impl Happened {
    fn is_met(&self, event: &Event, cause: Option<&Event>) -> bool {
        let says = |event: &Event, text: &String| event.text.contains(text) || event.detail.contains(text);
        self.state.is_none_or(|s| event.state == s)
            && self.name.as_ref().is_none_or(|name| means(&event.name, name))
            && self.text.as_ref().is_none_or(|text| says(event, text))
            && self.because.as_ref().is_none_or(|text| cause.is_some_and(|cause| says(cause, text)))
    }
}

impl Told {
    fn is_met(&self, delivery: &Delivery) -> bool {
        let has = |text: &String| {
            let now = |e: &Event| e.now.as_ref().is_some_and(|now| now.contains(text));
            let said = |e: &Event| e.text.contains(text) || e.detail.contains(text) || now(e);
            said(&delivery.event) || delivery.digest.iter().any(said)
        };
        self.action.is_none_or(|action| action == delivery.action)
            && self.fault.as_ref().is_none_or(|fault| means(&delivery.event.name, fault))
            && self.to.as_ref().is_none_or(|to| match to.split_once('/') {
                Some((to, target)) => *to == *delivery.notifier && target == delivery.target,
                None => *to == *delivery.notifier,
            })
            && self.text.as_ref().is_none_or(has)
            && self
                .lasted
                .is_none_or(|lasted| delivery.event.since.is_some_and(|since| delivery.event.at.since(since) == lasted))
    }
}

impl Faulty {
    fn is_met(&self, fault: &Fault) -> bool {
        self.severity.is_none_or(|s| s == fault.severity)
            && self.state.is_none_or(|s| s == fault.state)
            && self.attempt.is_none_or(|a| a == (fault.attempt, fault.attempts))
            && (!self.stale || fault.stale)
            && (!self.acknowledged || fault.acknowledged.is_some())
            && self.text.as_ref().is_none_or(|text| fault.message.contains(text) || fault.detail.contains(text))
    }
}

fn same(what: &str, wanted: usize, found: usize) -> Met {
    if wanted == found { Ok(()) } else { Err(Mismatch::new(format!("{found} {what}"))) }
}

fn told(delivery: &Delivery) -> String {
    let (action, event) = (delivery.action.word(), &delivery.event);
    format!("{action} `{}` to {} \"{}\"", event.name, delivery.notifier, event.text)
}

fn described(fault: &Fault) -> String {
    let state = format!("{:?}", fault.state).to_lowercase();
    let stale = if fault.stale { ", stale" } else { "" };
    let (attempt, attempts) = (fault.attempt, fault.attempts);
    format!("`{}` {} {state} {attempt} of {attempts}{stale} \"{}\"", fault.name, fault.severity, fault.message)
}
