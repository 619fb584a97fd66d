//! Look-backs: which minutes a run is to judge, and what their counts mean.
//!
//! A run is told its windows when it starts and brings their counts back. Minutes are judged in order, so that after
//! an outage faults come and go as they would have then. A minute that held too few rows is counted again while it is
//! within the walk: rows that came late may mend it.

use super::{Step, outbox::RESULT_SOURCE, world::RowKey};
use crate::{
    config::CheckPolicy,
    model::{Counted, EventKind, EventState, Finding, Metric, Name, Outcome, Severity, SourceNews, Timestamp, Window},
    state::lookback::{Beyond, Expectation, Lookback, LookbackState, Verdict},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is done once the run is through.
#[derive(Clone, Debug)]
pub(super) struct PlanEnd {
    until: Timestamp,
    beyond: Option<Beyond>,
}

/// One minute of one expectation, judged.
struct Judged<'a> {
    policy: &'a Lookback,
    expectation: &'a Expectation,
    counted: Counted,
    verdict: Verdict,
    /// It was judged before, and rows came late.
    late: bool,
}

impl Judged<'_> {
    /// One line for people.
    fn text(&self) -> String {
        let late = if self.late { "good after all: " } else { "" };
        format!("{late}{}", self.policy.text(&self.counted))
    }

    /// S2.8: what handlers get, in dwmon's own words where it has them.
    fn json(&self, check: &Name) -> serde_json::Value {
        let local = self.counted.minute.to_jiff().to_zoned(self.policy.zone.clone());
        let name = check.rsplit('/').next().unwrap_or(check);
        json!({
            "checker_name": name,
            "check": check.as_str(),
            "expectation": self.expectation.part,
            "event_count": self.counted.count,
            "min_required": self.expectation.min,
            "max_allowed": self.expectation.max,
            "check_status": if self.verdict == Verdict::Good { "GOOD" } else { "BAD" },
            "late": self.late,
            "minute_epoch": self.counted.minute.as_secs(),
            "minute_local_time": local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            "lookback_seconds": self.expectation.lookback.as_secs(),
            "extra": self.policy.extra,
        })
    }
}

fn fault_name(check: &CheckPolicy, expectation: &Expectation) -> Name {
    expectation.part.as_deref().map_or_else(|| check.name.clone(), |part| check.name.part(part))
}

impl Step<'_> {
    /// What a run that starts now is to count.
    pub(super) fn plan_lookback(&mut self, check: &CheckPolicy) -> (Vec<Window>, Option<PlanEnd>) {
        let Some(policy) = &check.lookback else { return (Vec::new(), None) };
        let now = self.now;
        if self.world.state.checks.get(&check.name).is_none_or(|state| state.lookback.is_none()) {
            // From now on minutes are due, even if the first queries fail.
            self.check_state(&check.name).lookback = Some(Box::new(LookbackState::new(policy, now)));
        }
        let state = self.world.state.checks.get(&check.name).and_then(|state| state.lookback.as_deref());
        let Some(plan) = state.map(|state| policy.plan(state, now)) else { return (Vec::new(), None) };
        (plan.windows, Some(PlanEnd { until: plan.until, beyond: plan.beyond }))
    }

    /// Judges what a run counted. The newest verdict on each expectation becomes a finding of the outcome; the ones
    /// before it are worked off here. Returns the faults that the run says nothing about.
    pub(super) fn judge_rows(
        &mut self,
        check: &Arc<CheckPolicy>,
        end: &PlanEnd,
        outcome: &mut Outcome,
    ) -> BTreeSet<Name> {
        let (Some(policy), Some(rows)) = (check.lookback.clone(), outcome.rows.clone()) else { return BTreeSet::new() };
        let before = self.lookback_state(check).map(|state| state.judged).unwrap_or_default();
        self.report_beyond(check, end.beyond);
        let mut counts = rows.counts;
        counts.retain(|counted| counted.line < policy.expect.len());
        counts.sort_by_key(|counted| (counted.minute, counted.line));
        let mut newest: BTreeMap<usize, Timestamp> = BTreeMap::new();
        for counted in counts.iter().filter(|c| c.minute > before) {
            newest.insert(counted.line, counted.minute);
        }
        let mut spoken: BTreeSet<Name> = BTreeSet::new();
        let mut said = vec![format!("{} rows, {} new", rows.seen, rows.new)];
        for counted in counts {
            let expectation = &policy.expect[counted.line];
            let verdict = expectation.judge(counted.count);
            let late = counted.minute <= before;
            let judged = Judged { policy: &policy, expectation, counted, verdict, late };
            if late {
                self.judge_again(check, &judged, newest.contains_key(&counted.line));
                continue;
            }
            self.judged(check, &judged);
            let part = expectation.part.clone();
            let metric = Metric {
                at: Some(counted.minute),
                ..Metric::new(part.clone().unwrap_or_default(), counted.count as f64)
            };
            outcome.metrics.push(metric);
            // What is good again says so in its own words.
            if newest.get(&counted.line) != Some(&counted.minute) || verdict == Verdict::Good {
                self.apply_one(check, &judged);
            }
            if newest.get(&counted.line) != Some(&counted.minute) {
                continue;
            }
            spoken.insert(fault_name(check, expectation));
            said.push(judged.text());
            if verdict != Verdict::Good {
                outcome.findings.push(Finding { part, ..Finding::new(expectation.severity, judged.text()) });
            }
        }
        if outcome.summary.is_empty() {
            outcome.summary = said.join("; ");
        }
        self.lookback_through(check, &policy, end);
        let standing = policy.expect.iter().map(|e| fault_name(check, e));
        standing.filter(|name| !spoken.contains(name)).collect()
    }

    fn lookback_state(&mut self, check: &CheckPolicy) -> Option<&mut LookbackState> {
        self.world.state.checks.get_mut(&check.name)?.lookback.as_deref_mut()
    }

    /// Every minute up to the run's start is judged.
    fn lookback_through(&mut self, check: &CheckPolicy, policy: &Lookback, end: &PlanEnd) {
        let now = self.now;
        if let Some(state) = self.lookback_state(check) {
            state.judged = state.judged.max(end.until);
            state.forget(policy, now);
            self.touch(RowKey::Check(check.name.clone()));
        }
    }

    /// A minute is judged for the first time.
    fn judged(&mut self, check: &CheckPolicy, judged: &Judged<'_>) {
        let part = judged.expectation.part.as_deref();
        if let Some(state) = self.lookback_state(check) {
            state.note(part, judged.counted.minute, judged.verdict);
            state.spoke(part, judged.counted.minute, judged.verdict);
        }
        if judged.verdict != Verdict::Good || !check.on_result.is_empty() {
            self.tell_result(check, judged);
        }
    }

    /// A verdict that a newer one of the same run follows.
    fn apply_one(&mut self, check: &CheckPolicy, judged: &Judged<'_>) {
        let name = fault_name(check, judged.expectation);
        match judged.verdict {
            Verdict::Good => self.clear(&name, &judged.text()),
            _ => self.found(check, &name, &Finding::new(judged.expectation.severity, judged.text())),
        }
    }

    /// A minute that held too few rows was counted again. `superseded`: the run has a newer verdict, which speaks for the
    /// expectation.
    fn judge_again(&mut self, check: &CheckPolicy, judged: &Judged<'_>, superseded: bool) {
        if judged.verdict == Verdict::TooFew {
            return;
        }
        let part = judged.expectation.part.as_deref();
        let minute = judged.counted.minute;
        let Some(state) = self.lookback_state(check) else { return };
        state.note(part, minute, judged.verdict);
        let was_last = state.speaks_of(part) == Some(minute) && !superseded;
        if was_last {
            state.spoke(part, minute, judged.verdict);
        }
        self.touch(RowKey::Check(check.name.clone()));
        self.tell_result(check, judged);
        if was_last && judged.verdict == Verdict::Good {
            self.clear(&fault_name(check, judged.expectation), &judged.text());
        }
    }

    /// A result is an event; handlers get it.
    fn tell_result(&mut self, check: &CheckPolicy, judged: &Judged<'_>) {
        let bad = judged.verdict != Verdict::Good;
        let severity = if bad { judged.expectation.severity } else { Severity::Info };
        let original = judged.json(&check.name);
        let event = self.event(EventKind::Result, EventState::Info, severity, &check.name, |e| {
            e.source = RESULT_SOURCE.into();
            e.text = judged.text();
            e.labels.clone_from(&check.labels);
            e.original = Some(original);
        });
        let part = judged.expectation.part.as_deref().unwrap_or_default();
        let again = if judged.late { "/late" } else { "" };
        for handler in &check.on_result {
            let key = format!("result/{}/{part}/{}{again}", check.name, judged.counted.minute.as_secs());
            self.send_message(&event, handler, &key, "result");
        }
    }

    fn report_beyond(&mut self, check: &CheckPolicy, beyond: Option<Beyond>) {
        let Some(Beyond { count, first, last }) = beyond else { return };
        self.event(EventKind::Result, EventState::Info, Severity::Warning, &check.name, |e| {
            e.source = RESULT_SOURCE.into();
            e.labels.clone_from(&check.labels);
            e.text = format!(
                "{count} minutes from {first} to {last} were due and are not judged: they are beyond the walk back of \
                 ten look-backs"
            );
        });
    }

    /// A source answers or does not: one fault of the agent, whoever asked.
    pub(super) fn source_news(&mut self, news: &SourceNews) {
        let part = format!("{SOURCE_PART}{}", news.source);
        match &news.problem {
            Some(problem) => self.own(&part, Some(Finding::new(Severity::Critical, problem))),
            None if self.world.state.faults.contains_key(&self.own_name(&part)) => self.own(&part, None),
            None => {}
        }
    }

    /// Sources that the config does not have any more are not wrong any more.
    pub(super) fn drop_removed_sources(&mut self) {
        let prefix = self.own_name(SOURCE_PART);
        let policy = self.world.policy.clone();
        let faults =
            self.world.state.faults.keys().filter_map(|name| Some((name, name.strip_prefix(prefix.as_str())?)));
        let gone: Vec<Name> =
            faults.filter(|(_, source)| !policy.sources.contains_key(*source)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.clear(name, "removed from the config"));
    }
}

/// The part of the agent's faults about sources: `AGENT#source-NAME`.
const SOURCE_PART: &str = "source-";
