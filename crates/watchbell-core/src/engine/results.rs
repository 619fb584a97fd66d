//! Results for handlers (`on_result`): each run brings one, and a handler may be slower than that. What waits for a
//! handler is bounded: beyond it the oldest results go, each with a decision, and the agent says so. Nothing that is told
//! is ever dropped here.

use super::{Step, world::RowKey};
use crate::model::{Event, Finding, Name, Severity, Verdict};
use serde_json::Value;

/// The source of events that hand a result to a handler.
pub(super) const RESULT_SOURCE: &str = "result";
/// Results that wait for one handler. A look-back's run after an outage may bring as many at a time.
const RESULTS_WAITING_MAX: usize = 20_000;
/// The same in bytes: they are kept in memory and in the store.
const RESULTS_BYTES_MAX: usize = 64 << 20;
/// The agent's fault about it: `AGENT#results`.
const RESULTS_PART: &str = "results";

/// How many bytes a result takes while it waits, about; `None` if it is none.
pub(super) fn result_bytes(event: &Event) -> Option<usize> {
    let original = event.original.as_ref().map_or(0, json_bytes);
    (event.source == RESULT_SOURCE).then(|| event.text.len() + event.detail.len() + original)
}

fn json_bytes(value: &Value) -> usize {
    let inner: usize = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(json_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + json_bytes(value)).sum(),
    };
    inner + size_of::<Value>()
}

impl Step<'_> {
    /// Drops the oldest results that wait for a handler beyond what may wait.
    pub(super) fn bound_results(&mut self, handler: &Name) {
        let mut dropped = 0;
        while let Some(id) = self.result_too_many(handler) {
            let Some(queued) = self.remove(id) else { break };
            let text = format!("more results wait for `{handler}` than may: the oldest is dropped");
            self.decide_on(&queued.delivery, queued.episode, "outbox", Verdict::Drop, text);
            dropped += 1;
        }
        // Once it is said, it stands until much less waits, or it would come and go with every result.
        let lane = self.world.derived.lanes.get(handler);
        let keeps_up = lane.is_none_or(|lane| {
            lane.results.len() <= RESULTS_WAITING_MAX / 2 && lane.results_bytes <= RESULTS_BYTES_MAX / 2
        });
        let before = self.world.state.notifiers.get(handler).map_or(0, |state| state.results_dropped);
        let now = if keeps_up { dropped } else { before + dropped };
        if now != before {
            self.world.state.notifiers.entry(handler.clone()).or_default().results_dropped = now;
            self.touch(RowKey::Notifier(handler.clone()));
            self.judge_results();
        }
    }

    fn result_too_many(&self, handler: &Name) -> Option<u64> {
        let lane = self.world.derived.lanes.get(handler)?;
        let too_many = lane.results.len() > RESULTS_WAITING_MAX || lane.results_bytes > RESULTS_BYTES_MAX;
        lane.results.keys().find(|id| too_many && !self.world.derived.in_flight.contains_key(id)).copied()
    }

    /// `AGENT#results`: handlers that can't keep up.
    pub(super) fn judge_results(&mut self) {
        let behind = self.world.state.notifiers.iter().filter(|(_, state)| state.results_dropped > 0);
        let lines: Vec<String> = behind
            .map(|(name, state)| {
                // Another message is an event, and an edit of what was said: not one for each that is dropped.
                let at_least = 10_u64.pow(state.results_dropped.ilog10());
                format!("`{name}` can't keep up with results: {at_least} or more were dropped, the oldest")
            })
            .collect();
        let finding = (!lines.is_empty()).then(|| Finding::new(Severity::Critical, lines.join("; ")));
        self.own(RESULTS_PART, finding);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        config::{Capabilities, CheckPolicy, NotifierPolicy, Pace, Passive, Policy},
        engine::{Effects, Input, SendOrder, State, World, step},
        model::{Action, Outcome, Receipt, Timestamp},
    };
    use std::{sync::Arc, time::Duration};

    const CHECK: &str = "//web-1/main/fast";

    /// A check that reports as it likes, its handler, and whoever is told of the agent's own faults.
    pub fn world() -> World {
        let mut check = CheckPolicy::bare(Name::new(CHECK), vec![]);
        check.passive = Some(Passive { within: Duration::from_secs(86_400), slots: None, ends_within: None });
        check.on_result = vec![Name::new("hook")];
        let notifier = |name: &str| {
            let capabilities = Capabilities { edits: false, digests: true, acknowledges: false, gap_ms: 0 };
            let pace = Pace { gap: Duration::ZERO, in_flight_max: 1 };
            let (kind, fallback, targets) = ("command", None, vec![]);
            let policy = NotifierPolicy {
                name: Name::new(name),
                kind,
                capabilities,
                pace,
                fallback,
                alert_from: None,
                hours: None,
                recoveries: true,
                targets,
            };
            (Name::new(name), Arc::new(policy))
        };
        let mut policy = Policy::default();
        policy.agent.name = Name::new("web-1");
        policy.agent.notify = vec![Name::new("ops")];
        policy.checks = [(check.name.clone(), Arc::new(check))].into();
        policy.notifiers = [notifier("ops"), notifier("hook")].into();
        let mut world = World::new(Arc::new(policy), State::default());
        step(&mut world, Timestamp::from_secs(0), Input::Start { agent_id: "x".into() });
        world
    }

    fn report(world: &mut World, n: usize, output: &str) -> Effects {
        let outcome = Outcome { output: output.into(), ..Outcome::default() };
        let now = Timestamp::from_secs(i64::try_from(n).unwrap());
        step(world, now, Input::Report { check: Name::new(CHECK), at: None, outcome: Box::new(outcome) })
    }

    pub fn sent<'e>(effects: &'e Effects, notifier: &str) -> Vec<&'e SendOrder> {
        effects.sends.iter().filter(|order| &*order.delivery.notifier == notifier).collect()
    }

    /// So many results wait, as long as this one.
    fn backlog(n: usize, output: &str) -> World {
        let mut world = world();
        report(&mut world, 1, output);
        let mut state = world.state;
        let (first, one) = state.outbox.pop_first().unwrap();
        state.outbox = (first..).take(n).map(|id| (id, one.clone())).collect();
        state.meta.outbox_id = first + n as u64;
        World::new(world.policy, state)
    }

    fn dropped(effects: &Effects) -> usize {
        effects.decisions.iter().filter(|d| d.verdict == Verdict::Drop && d.delivery.is_some()).count()
    }

    /// A handler that takes nothing: the oldest results go, each with a decision, and the agent says so once.
    #[test]
    fn what_a_handler_does_not_keep_up_with_is_dropped_and_told() {
        let mut world = backlog(RESULTS_WAITING_MAX - 1, "");
        let first = report(&mut world, 1, "");
        assert_eq!(dropped(&first), 0);
        let flying = sent(&first, "hook")[0].id;
        let mut told = Vec::new();
        for n in 2..=1_100 {
            let effects = report(&mut world, n, "");
            assert_eq!(dropped(&effects), 1, "{:?}", effects.decisions);
            told.extend(sent(&effects, "ops").iter().map(|order| order.delivery.event.text.clone()));
        }
        assert_eq!(told, ["`hook` can't keep up with results: 1 or more were dropped, the oldest"]);
        let waiting = &world.derived.lanes["hook"].results;
        assert_eq!(waiting.len(), RESULTS_WAITING_MAX);
        assert!(waiting.contains_key(&flying), "what is under way is not dropped");
        assert_eq!(world.state.notifiers["hook"].results_dropped, 1_099);
        let fault = &world.state.faults["web-1#results"];
        assert_eq!(fault.message, "`hook` can't keep up with results: 1000 or more were dropped, the oldest");
    }

    /// Results are bounded in bytes too; what is said of it ends when much less waits.
    #[test]
    fn a_handler_that_wakes_up_is_well_again() {
        let output = "x".repeat(30_000);
        let mut world = backlog(2_300, &output);
        let effects = report(&mut world, 2, &output);
        assert!(dropped(&effects) > 1, "more than may wait was stored");
        let mut flying = sent(&effects, "hook")[0].id;
        let mut taken = 0;
        while world.state.faults.contains_key("web-1#results") {
            let bytes = world.derived.lanes["hook"].results_bytes;
            assert!(bytes > RESULTS_BYTES_MAX / 2 && bytes <= RESULTS_BYTES_MAX, "{bytes}");
            let input = Input::Delivered { id: flying, receipt: Receipt::default() };
            let effects = step(&mut world, Timestamp::from_secs(3), input);
            flying = sent(&effects, "hook")[0].id;
            taken += 1;
        }
        assert!(taken > 1_000, "{taken}");
        assert_eq!(world.state.notifiers["hook"].results_dropped, 0);
        let afresh = World::new(world.policy.clone(), world.state.clone());
        assert_eq!(afresh.derived.lanes["hook"].results_bytes, world.derived.lanes["hook"].results_bytes);
    }

    /// S1.9: a megabyte of output is in the check's log, not in every event and row.
    #[test]
    fn long_output_is_cut_in_events_and_whole_in_the_log() {
        let mut world = world();
        let mut policy = (*world.policy).clone();
        policy.checks.values_mut().for_each(|check| Arc::make_mut(check).job = true);
        step(&mut world, Timestamp::from_secs(1), Input::Reload(Arc::new(policy)));
        let output = format!("begin{}end", "x".repeat(100_000));
        let effects = report(&mut world, 2, &output);
        assert_eq!(effects.results[0].outcome.output, output);
        let detail = &effects.events.iter().find(|e| e.source == "job").unwrap().detail;
        let original = sent(&effects, "hook")[0].delivery.event.original.as_ref().unwrap();
        for text in [detail.as_str(), original["output"].as_str().unwrap()] {
            assert!(text.starts_with("begin") && text.ends_with("end"), "both ends");
            assert_eq!(text.chars().count(), 32_768);
        }
    }

    /// A message to the handler.
    pub fn message(text: &str) -> Input {
        Input::Message(Box::new(crate::engine::Message {
            source: "send".into(),
            name: "disk".into(),
            severity: Severity::Critical,
            state: crate::model::EventState::Info,
            topic: None,
            text: text.into(),
            link: None,
            labels: [].into(),
            notify: vec![Name::new("hook")],
            id: None,
            at: None,
        }))
    }

    /// What waits for a slow handler does not stand before an alert.
    #[test]
    fn an_alert_goes_before_results() {
        let mut world = world();
        let mut flying = sent(&report(&mut world, 1, ""), "hook")[0].id;
        for n in 2..=300 {
            report(&mut world, n, "");
        }
        step(&mut world, Timestamp::from_secs(301), message("91%"));
        let mut texts = Vec::new();
        for _ in 0..2 {
            let taken = Input::Delivered { id: flying, receipt: Receipt::default() };
            let effects = step(&mut world, Timestamp::from_secs(302), taken);
            let next = sent(&effects, "hook")[0];
            assert_eq!(next.delivery.action, Action::Message);
            texts.push(next.delivery.event.text.clone());
            flying = next.id;
        }
        assert_eq!(texts, ["91%", ""]);
    }
}
