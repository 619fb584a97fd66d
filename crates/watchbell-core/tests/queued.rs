//! What was reported and sent while no agent ran is of the time it was left at, though it is known only now.

use std::{sync::Arc, time::Duration};
use watchbell_core::{
    config::{Capabilities, CheckPolicy, NotifierPolicy, Pace, Passive, Policy},
    engine::{Effects, Input, Message, State, World, step},
    model::{Action, Event, EventState, Finding, Name, Outcome, Severity, Timestamp},
};

const BACKUP: &str = "//web-1/main/backup";

/// A time of the day.
fn at(hours: i64, minutes: i64) -> Timestamp {
    Timestamp::from_secs(1_767_571_200 + hours * 3600 + minutes * 60)
}

fn policy() -> Arc<Policy> {
    let ops = Name::new("ops");
    let mut check = CheckPolicy::bare(Name::new(BACKUP), vec![ops.clone()]);
    check.passive = Some(Passive { within: Duration::from_secs(3600), slots: None, ends_within: None });
    let capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };
    let pace = Pace { gap: Duration::ZERO, in_flight_max: usize::MAX };
    let notifier = NotifierPolicy {
        name: ops.clone(),
        kind: "log",
        capabilities,
        pace,
        fallback: None,
        alert_from: None,
        hours: None,
        recoveries: true,
        targets: Vec::new(),
    };
    let mut policy = Policy::default();
    policy.agent.name = Name::new("web-1");
    policy.checks = [(check.name.clone(), Arc::new(check))].into();
    policy.notifiers = [(ops, Arc::new(notifier))].into();
    Arc::new(policy)
}

/// An agent that starts at ten.
fn started() -> World {
    let mut world = World::new(policy(), State::default());
    step(&mut world, at(10, 0), Input::Start { agent_id: "a".into() });
    world
}

/// Reports on the backup: what is wrong, if anything is.
fn report(world: &mut World, now: Timestamp, left: Option<Timestamp>, wrong: &str) -> Effects {
    let findings = if wrong.is_empty() { vec![] } else { vec![Finding::new(Severity::Critical, wrong)] };
    let outcome = Box::new(Outcome { findings, summary: "done".into(), ..Outcome::default() });
    step(world, now, Input::Report { check: Name::new(BACKUP), at: left, outcome })
}

/// What events say: when it was, when it was known, what.
fn said(effects: &Effects) -> Vec<(Timestamp, Timestamp, EventState, &str)> {
    effects.events.iter().map(|e: &Event| (e.at, e.received_at, e.state, e.text.as_str())).collect()
}

fn overdue(world: &World) -> bool {
    world.state.faults.contains_key(&Name::new(BACKUP).part("overdue"))
}

#[test]
fn a_fault_is_as_old_as_the_report() {
    let mut world = started();
    let effects = report(&mut world, at(10, 1), Some(at(2, 0)), "disk full");
    assert_eq!(said(&effects), [(at(2, 0), at(10, 1), EventState::Problem, "disk full")]);
    let fault = &world.state.faults[BACKUP];
    assert_eq!((fault.since, fault.updated), (at(2, 0), at(2, 0)));
    assert_eq!(effects.sends[0].delivery.action, Action::Trigger);
    let effects = report(&mut world, at(10, 1), Some(at(3, 0)), "");
    assert_eq!(said(&effects), [(at(3, 0), at(10, 1), EventState::Recovery, "disk full")]);
}

/// A report of the night hides no run that was missed since; those that come after it have a moment.
#[test]
fn the_switch_counts_from_the_report() {
    let mut world = started();
    report(&mut world, at(10, 0), Some(at(2, 0)), "");
    assert!(!overdue(&world), "the next in the queue may be newer");
    step(&mut world, at(10, 1), Input::Wake);
    assert!(overdue(&world), "the last was eight hours ago");
    report(&mut world, at(10, 2), Some(at(8, 0)), "");
    assert!(overdue(&world), "two hours ago is too long too");
    report(&mut world, at(10, 2), Some(at(9, 50)), "");
    assert!(!overdue(&world));
    step(&mut world, at(10, 49), Input::Wake);
    assert!(!overdue(&world));
    step(&mut world, at(10, 50), Input::Wake);
    assert!(overdue(&world), "an hour after the report");
}

/// One that comes after a newer one changes nothing, and is not lost; one from the future is of now.
#[test]
fn older_than_known_and_from_the_future() {
    let mut world = started();
    report(&mut world, at(10, 1), None, "");
    let effects = report(&mut world, at(10, 2), Some(at(9, 0)), "disk full");
    assert!(world.state.faults.is_empty() && effects.sends.is_empty());
    let [event] = effects.events.as_slice() else { panic!("{:?}", effects.events) };
    assert_eq!((event.at, event.state, event.severity), (at(9, 0), EventState::Info, Severity::Critical));
    assert!(event.text.starts_with("done (it counts for nothing: the report of "), "{}", event.text);
    report(&mut world, at(10, 3), Some(at(12, 0)), "disk full");
    assert_eq!(world.state.faults[BACKUP].since, at(10, 3));
}

#[test]
fn a_message_is_of_its_time() {
    let message = |left| {
        Input::Message(Box::new(Message {
            at: left,
            source: "send".into(),
            name: "deploy".into(),
            severity: Severity::Info,
            state: EventState::Info,
            topic: None,
            text: "shop 1.4".into(),
            link: None,
            labels: Default::default(),
            notify: vec![Name::new("ops")],
            id: None,
        }))
    };
    let mut world = started();
    let effects = step(&mut world, at(10, 1), message(Some(at(2, 0))));
    assert_eq!(said(&effects), [(at(2, 0), at(10, 1), EventState::Info, "shop 1.4")]);
    assert_eq!(effects.sends[0].delivery.event.at, at(2, 0));
    let effects = step(&mut world, at(10, 1), message(Some(at(12, 0))));
    assert_eq!(said(&effects)[0].0, at(10, 1), "never in the future");
    let effects = step(&mut world, at(10, 1), message(None));
    assert_eq!(said(&effects)[0].0, at(10, 1));
}
