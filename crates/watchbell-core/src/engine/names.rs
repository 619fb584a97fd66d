//! Who may name what. A check names its own faults, and by an absolute name (`//…`) things that are nobody's check, such
//! as a cluster that several checks look at. What belongs to the agent, its files or another check is not its to name:
//! what it says of that is a fault of its own, [`FOREIGN_PART`], and changes nothing elsewhere.

use super::Step;
use crate::{
    config::{CheckPolicy, is_reserved},
    model::{EventState, Finding, Name, Severity},
};

/// Parts that the engine itself raises on a check: a run's findings neither set nor clear them.
const ENGINE_PARTS: [&str; 2] = ["monitor-overlap", "flapping"];
/// The same that only passive checks have.
const PASSIVE_PART: &str = "overdue";
/// How a fault's name ends that says that a run was left out.
pub(super) const OVERLAP_END: &str = "#monitor-overlap";
/// The part of the fault of a check that named what is not its own.
const FOREIGN_PART: &str = "foreign-name";
/// Of so many names it is said in the detail that they are not the check's own.
const FOREIGN_LISTED_MAX: usize = 20;

pub(super) fn is_engine_part(fault: &Name) -> bool {
    fault.rsplit_once('#').is_some_and(|(_, part)| ENGINE_PARTS.contains(&part))
}

/// The fault that a finding is about. One that bears the name of an engine's or a monitor's part gets another: it would
/// end what the engine found, or be ended by it.
pub(super) fn fault_name(check: &CheckPolicy, finding: &Finding) -> Name {
    let Some(part) = &finding.part else { return check.name.clone() };
    let name = check.name.part(part);
    let is_taken = |part: &str| {
        part.starts_with("monitor-") && finding.trouble.is_none()
            || ENGINE_PARTS.contains(&part)
            || (part == PASSIVE_PART && check.passive.is_some())
    };
    match name.rsplit_once('#') {
        Some((of, part)) if is_taken(part) => Name::new(format!("{of}#found-{part}")),
        _ => name,
    }
}

/// What a check said of things that are not its to name, as a fault of its own: as bad, so that nothing is lost.
pub(super) fn foreign(refused: &[(Name, Finding)]) -> Option<Finding> {
    let ((first, finding), others) = refused.split_first()?;
    let worst = refused.iter().map(|(_, finding)| finding.severity).max().unwrap_or(Severity::Warning);
    let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
    let message = format!(
        "it names `{first}`, which is another's: \"{}\"{more}; let it name parts of its own check, without `//`",
        finding.message
    );
    let lines = refused.iter().take(FOREIGN_LISTED_MAX).map(|(n, f)| format!("{} {n}: {}", f.severity, f.message));
    let detail = lines.collect::<Vec<_>>().join("\n");
    Some(Finding::part(FOREIGN_PART, worst.max(Severity::Warning), message).with_detail(detail))
}

/// Whether a name is a thing's own or one of its parts.
fn is_of(name: &str, thing: &str) -> bool {
    name.strip_prefix(thing).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// The things that a name may be a part of, and the name itself: `//a/f/c#d#e` is `//a/f/c`'s, `//a/f/c#d`'s and its own.
fn things(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('#').map(|(at, _)| &name[..at]).chain([name])
}

impl Step<'_> {
    /// Whether a check may find this fault.
    pub(super) fn may_name(&self, check: &CheckPolicy, name: &Name) -> bool {
        if self.is_config(&check.name) {
            return true;
        }
        let is_its_own = is_of(name, &check.name);
        let checks = &self.world.derived.checks;
        // A section of an old file may be called like a part of another: each check's name is its own.
        let from = if is_its_own { check.name.len() + 1 } else { 0 };
        let is_anothers = name.contains('#') || !is_its_own;
        let is_anothers = is_anothers && things(name).any(|thing| thing.len() >= from && checks.contains_key(thing));
        !is_anothers && (is_its_own || !self.is_agents(name))
    }

    /// Whether a name is below the agent's: its files, their checks, and what is reserved.
    fn is_agents(&self, name: &str) -> bool {
        let rest = name.strip_prefix("//").and_then(|rest| rest.strip_prefix(self.world.policy.agent.name.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#']))
    }

    /// Whether a command that `watchbell exec` runs can be called this.
    pub(super) fn is_exec(&self, name: &str) -> bool {
        let rest = name.strip_prefix("//").and_then(|rest| rest.strip_prefix(self.world.policy.agent.name.as_str()));
        let rest = rest.and_then(|rest| rest.strip_prefix("/exec/"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('#'))
    }

    /// A fault that several checks may find belongs to the one that found it first, as long as that finds it. Another
    /// one is heard only if it says worse, so that none of them can calm what another one found.
    pub(super) fn is_held_by_another(&self, check: &CheckPolicy, name: &Name, finding: &Finding) -> bool {
        let Some(old) = self.world.state.faults.get(name).filter(|old| old.check != check.name && !old.stale) else {
            return false;
        };
        let is_there = self.world.derived.checks.contains_key(&old.check) || self.is_own(&old.check);
        let is_free = is_of(name, &check.name) && !self.is_config(&old.check);
        is_there && !is_free && !self.is_config(&check.name) && old.reported >= finding.severity
    }

    /// The series of a metric.
    pub(super) fn series_name(&self, check: &CheckPolicy, metric: &str) -> Name {
        if metric.is_empty() {
            return check.name.clone();
        }
        let name = check.name.part(metric);
        match metric.starts_with("//") && !self.may_name(check, &name) {
            true => Name::new(format!("{}#{metric}", check.name)),
            false => name,
        }
    }

    /// Why a message can't say of this name that it is wrong or well again: receivers know it from somebody else.
    pub(super) fn name_is_taken(&self, name: &Name, state: EventState) -> Option<String> {
        if state == EventState::Info {
            return None;
        }
        let is_reserved = self.is_agents(name)
            && name.split('/').nth(3).is_some_and(|file| is_reserved(file.split('#').next().unwrap_or_default()));
        let is_check = things(name).any(|thing| self.world.derived.checks.contains_key(thing));
        let is_known = is_check || is_reserved || self.world.state.faults.contains_key(name);
        is_known.then(|| {
            format!(
                "`{name}` is a fault of its check: a message can't say that it is wrong or well; give it another name"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{message, sent, world};
    use crate::{
        engine::{Effects, Input, World, step},
        model::{EventState, Finding, Metric, Name, Outcome, Severity, Timestamp},
    };

    const DAY: i64 = 86_400;

    fn report(world: &mut World, at: i64, check: &str, outcome: Outcome) -> Effects {
        let input = Input::Report { check: Name::new(check), at: None, outcome: Box::new(outcome) };
        step(world, Timestamp::from_secs(at), input)
    }

    fn wrong() -> Outcome {
        Outcome { findings: vec![Finding::new(Severity::Critical, "x")], ..Outcome::default() }
    }

    /// What a receiver knows from a check or from `watchbell exec` is not made wrong or well by a message.
    #[test]
    fn messages_speak_for_nobody_else() {
        let mut world = world();
        report(&mut world, 1, "//web-1/exec/dump", wrong());
        // source, name, refused
        let cases = [
            ("send", "//web-1/main/fast", true),
            ("send", "//web-1/main/fast#part", true),
            ("main", "fast", true),
            ("exec", "dump", true),
            ("exec", "new", true),
            ("in", "mail/42", true),
            ("send", "//web-1/groups/x", true),
            ("send", "web-1#checks", false),
            ("send", "fast", false),
            ("send", "//web-1/main/other", false),
            ("send", "//db-cluster/fast", false),
        ];
        for (source, name, refused) in cases {
            for state in [EventState::Problem, EventState::Update, EventState::Recovery, EventState::Info] {
                let Input::Message(mut said) = message("x") else { unreachable!() };
                (said.source, said.name, said.state) = (source.into(), name.into(), state);
                let effects = step(&mut world, Timestamp::from_secs(2), Input::Message(said));
                let expect = refused && state != EventState::Info;
                assert_eq!(effects.refused.is_some(), expect, "{source} {name} {state:?}: {:?}", effects.refused);
            }
        }
    }

    /// Reports are about passive checks and commands, never about the agent's own faults or parts of others'.
    #[test]
    fn reports_speak_for_nobody_else() {
        for (name, taken) in [
            ("//web-1/main/fast", true),
            ("//web-1/exec/dump", true),
            ("//web-1/exec/", false),
            ("//web-1/exec/dump#part", false),
            ("//web-1/main/fast#part", false),
            ("web-1#alerts", false),
            ("//web-1/in/mail", false),
        ] {
            let effects = report(&mut world(), 1, name, wrong());
            assert_eq!(effects.refused.is_none(), taken, "{name}: {:?}", effects.refused);
        }
    }

    /// A metric's name makes no series of another check.
    #[test]
    fn metrics_speak_for_nobody_else() {
        let names = ["", "a", "//db/a", "//web-1/main/other", "//web-1/main/fast#a"];
        let metrics = names.iter().map(|name| Metric::new(*name, 1.0)).collect();
        let effects = report(&mut world(), 1, "//web-1/main/fast", Outcome { metrics, ..Outcome::default() });
        let series: Vec<&str> = effects.samples.iter().map(|sample| sample.name.as_str()).collect();
        let refused = "//web-1/main/fast#//web-1/main/other";
        assert_eq!(series, ["//web-1/main/fast", "//web-1/main/fast#a", "//db/a", refused, "//web-1/main/fast#a"]);
    }

    /// A delivery's key never comes again: not after the memory of its fault was dropped, nor after a clock that was ahead
    /// for a moment dropped it.
    #[test]
    fn keys_are_not_used_again() {
        let mut world = world();
        let mut keys = std::collections::BTreeSet::new();
        let mut told = 0;
        for at in [1, 10, 100 * DAY, 100 * DAY + 60, 20, 400 * DAY, 500 * DAY, 30] {
            for name in ["//web-1/exec/a", "//web-1/exec/b"] {
                let effects = report(&mut world, at, name, wrong());
                for order in sent(&effects, "ops") {
                    told += 1;
                    assert!(keys.insert(order.delivery.key.clone()), "{} was used before", order.delivery.key);
                }
                let taken: Vec<u64> = world.state.outbox.keys().copied().collect();
                for id in taken {
                    let input = Input::Delivered { id, receipt: Default::default() };
                    step(&mut world, Timestamp::from_secs(at), input);
                }
                report(&mut world, at, name, Outcome::default());
                let taken: Vec<u64> = world.state.outbox.keys().copied().collect();
                for id in taken {
                    let input = Input::Delivered { id, receipt: Default::default() };
                    step(&mut world, Timestamp::from_secs(at), input);
                }
            }
            step(&mut world, Timestamp::from_secs(at + 92 * DAY), Input::Wake);
            // It survives a restart.
            let (policy, state) = (world.policy.clone(), world.state.clone());
            world = World::new(policy, state);
            step(&mut world, Timestamp::from_secs(at), Input::Start { agent_id: "x".into() });
        }
        assert!(told >= 8 && world.state.meta.episodes_forgotten > 0, "{told} told, {:?}", world.state.meta);
    }
}
