//! Look-backs: which minutes a run is to judge, and what their counts mean.
//!
//! A run is told its windows when it starts and brings their counts back. Minutes are judged in order, so that after
//! an outage faults come and go as they would have then. A minute that held too few rows is counted again while it is
//! within the walk: rows that came late may mend it. Handlers get each minute once, and once more when late rows
//! change what it was found to be.

use super::{Step, derived::Timer, results::RESULT_SOURCE, world::RowKey};
use crate::{
    config::CheckPolicy,
    model::{
        Counted, Event, EventKind, EventState, Finding, Metric, Name, Outcome, Severity, SourceNews, Timestamp, Window,
    },
    state::lookback::{Away, Beyond, Expectation, Lookback, LookbackState, Plan, Verdict},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// So many checks are named in the fault of a source that they can't ask.
const AWAY_LISTED_MAX: usize = 20;

/// What is done once the run is through.
#[derive(Clone, Debug)]
pub(super) struct PlanEnd {
    /// Up to which minute all was judged when the run began.
    judged: Timestamp,
    /// Without its windows: they are counted.
    plan: Plan,
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
        let late = if self.late && self.verdict == Verdict::Good { "good after all: " } else { "" };
        format!("{late}{}", self.policy.text(&self.counted))
    }

    /// The same where several expectations speak.
    fn named(&self) -> String {
        let part = self.expectation.part.as_ref().map_or_else(String::new, |part| format!("{part}: "));
        part + &self.text()
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
        if check.counts().is_some() {
            self.clock_set_right(check, policy);
        }
        let Some(state) = self.lookback_state(check) else { return (Vec::new(), None) };
        let (judged, mut plan) = (state.judged, policy.plan(state, now));
        (std::mem::take(&mut plan.windows), Some(PlanEnd { judged, plan }))
    }

    /// Minutes that a clock judged which was far ahead will be judged when they come.
    fn clock_set_right(&mut self, check: &CheckPolicy, policy: &Lookback) {
        let now = self.now;
        let Some(until) = self.lookback_state(check).and_then(|state| state.set_right(policy, now)) else { return };
        self.touch(RowKey::Check(check.name.clone()));
        self.result_event(check, Severity::Warning, |e| {
            e.text = format!(
                "minutes up to {until} were judged by a clock that was ahead; from {} on they are judged again",
                policy.newest(now)
            );
        });
    }

    /// Judges what a run counted. The newest verdict on each expectation becomes a finding of the outcome; the ones
    /// before it are worked off here. Returns the faults that the run says nothing about.
    pub(super) fn judge_rows(
        &mut self,
        check: &Arc<CheckPolicy>,
        end: &PlanEnd,
        outcome: &mut Outcome,
    ) -> BTreeSet<Name> {
        let Some(policy) = check.lookback.clone() else { return BTreeSet::new() };
        if policy.value.is_some() && !outcome.inconclusive {
            // Once it counts rows, minutes before that are not due.
            self.lookback_through(check, &policy, end);
        }
        let Some(rows) = outcome.rows.clone() else { return BTreeSet::new() };
        let before = self.lookback_state(check).map(|state| state.judged).unwrap_or_default();
        // Else a run beside this one reported it.
        if before == end.judged {
            self.report_beyond(check, end.plan.beyond);
        }
        let mut counts = rows.counts;
        counts.retain(|counted| counted.line < policy.expect.len());
        counts.sort_by_key(|counted| (counted.minute, counted.line));
        let after = counts.iter().filter(|counted| counted.minute > before);
        let newest: BTreeMap<usize, Timestamp> = after.map(|counted| (counted.line, counted.minute)).collect();
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
            said.push(judged.named());
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

    /// Every minute up to the run's start is judged, or as many as one run judges.
    fn lookback_through(&mut self, check: &CheckPolicy, policy: &Lookback, end: &PlanEnd) {
        let now = self.now;
        if let Some(state) = self.lookback_state(check) {
            if state.judged == end.judged {
                state.walk = end.plan.walk;
            }
            state.judged = state.judged.max(end.plan.until);
            state.forget(policy, now);
            self.touch(RowKey::Check(check.name.clone()));
        }
    }

    /// A minute is judged for the first time.
    fn judged(&mut self, check: &CheckPolicy, judged: &Judged<'_>) {
        let part = judged.expectation.part.as_deref();
        if let Some(state) = self.lookback_state(check) {
            state.note(judged.expectation, judged.counted.minute, judged.verdict);
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

    /// A minute that was judged before was counted again: what is news is that it does not hold too few any more.
    /// `superseded`: the run has a newer verdict, which speaks for the expectation.
    fn judge_again(&mut self, check: &CheckPolicy, judged: &Judged<'_>, superseded: bool) {
        let (expectation, minute) = (judged.expectation, judged.counted.minute);
        let part = expectation.part.as_deref();
        let Some(state) = self.lookback_state(check) else { return };
        if judged.verdict == Verdict::TooFew || !state.is_bad(expectation, minute) {
            return;
        }
        state.note(expectation, minute, judged.verdict);
        let was_last = state.speaks_of(part) == Some(minute) && !superseded;
        if was_last {
            state.spoke(part, minute, judged.verdict);
        }
        self.touch(RowKey::Check(check.name.clone()));
        self.tell_result(check, judged);
        if was_last {
            self.apply_one(check, judged);
        }
    }

    /// A result is an event; handlers get it.
    fn tell_result(&mut self, check: &CheckPolicy, judged: &Judged<'_>) {
        let bad = judged.verdict != Verdict::Good;
        let severity = if bad { judged.expectation.severity } else { Severity::Info };
        let event = self.result_event(check, severity, |e| {
            e.text = judged.text();
            e.original = Some(judged.json(&check.name));
        });
        for handler in &check.on_result {
            // Not the minute: after the clock was set right it comes again.
            let key = format!("result/{}", event.seq);
            self.send_message(&event, handler, &key, "result");
        }
    }

    fn result_event(&mut self, check: &CheckPolicy, severity: Severity, fill: impl FnOnce(&mut Event)) -> Event {
        self.event(EventKind::Result, EventState::Info, severity, &check.name, |e| {
            e.source = RESULT_SOURCE.into();
            e.labels.clone_from(&check.labels);
            fill(e);
        })
    }

    fn report_beyond(&mut self, check: &CheckPolicy, beyond: Option<Beyond>) {
        let Some(Beyond { count, more, first, last }) = beyond else { return };
        let more = if more { "more than " } else { "" };
        self.result_event(check, Severity::Warning, |e| {
            e.text = format!(
                "{more}{count} minutes from {first} to {last} were due and are not judged: they are beyond the walk back \
                 of ten look-backs"
            );
        });
    }

    /// A check's source answers it or does not. It is one fault of the agent, whoever asked, and stands as long as it
    /// did not answer any one check when that last asked: a source may answer one query and not another.
    pub(super) fn source_news(&mut self, check: &CheckPolicy, news: &SourceNews) {
        let now = self.now;
        let Some(state) = self.lookback_state(check) else { return };
        let same = state.away.as_ref().filter(|away| away.source == news.source);
        let since = same.map_or(Some(now), |away| away.since);
        let away = news.problem.as_ref().map(|why| Away { source: news.source.clone(), why: why.clone(), since });
        if state.away.is_none() && away.is_none() {
            return;
        }
        state.away = away;
        self.touch(RowKey::Check(check.name.clone()));
        self.judge_source(&news.source, "");
    }

    /// Sources that no check asks any more are not wrong any more.
    pub(super) fn drop_removed_sources(&mut self) {
        let prefix = self.own_name(SOURCE_PART);
        let faults = self.world.state.faults.keys();
        let sources: Vec<Name> = faults.filter_map(|name| name.strip_prefix(prefix.as_str()).map(Name::new)).collect();
        for source in sources {
            let there = self.world.policy.sources.contains_key(&source);
            self.judge_source(&source, if there { "no check asks it any more" } else { "removed from the config" });
        }
    }

    /// `gone`: why it is not wrong any more, where it is not simply that it answers.
    fn judge_source(&mut self, source: &Name, gone: &str) {
        let part = format!("{SOURCE_PART}{source}");
        let told_at = self.source_away_since(source).map(|since| self.end_of_grace(source, since));
        self.world.derived.timers.set(Timer::Source(source.clone()), told_at.filter(|at| *at > self.now));
        match self.source_finding(source) {
            // What stands goes on standing, whatever the config says of it meanwhile.
            Some(_) if told_at > Some(self.now) && !self.world.state.faults.contains_key(&self.own_name(&part)) => {}
            Some(finding) => self.own(&part, Some(finding)),
            None => self.clear(&self.own_name(&part), gone),
        }
    }

    /// A source has been away for as long as it may.
    pub(super) fn source_grace_ends(&mut self, source: &Name) {
        self.judge_source(source, "");
    }

    /// Timers of sources that are away and not yet a fault.
    pub(super) fn restore_source_timers(&mut self) {
        let checks = self.world.state.checks.values();
        let away = checks.filter_map(|state| Some(state.lookback.as_ref()?.away.as_ref()?.source.clone()));
        for source in away.collect::<BTreeSet<Name>>() {
            let stands = self.world.state.faults.contains_key(&self.own_name(&format!("{SOURCE_PART}{source}")));
            if let Some(since) = self.source_away_since(&source).filter(|_| !stands) {
                let at = self.end_of_grace(&source, since).max(self.now);
                self.world.derived.timers.set(Timer::Source(source), Some(at));
            }
        }
    }

    fn end_of_grace(&self, source: &Name, since: Timestamp) -> Timestamp {
        since + self.world.policy.sources.get(source).map_or(Duration::ZERO, |policy| policy.grace)
    }

    /// Since when it did not answer one check or another.
    fn source_away_since(&self, source: &Name) -> Option<Timestamp> {
        // What an older agent wrote is old enough.
        self.away(source)?.map(|(_, away)| away.since.unwrap_or(Timestamp::ZERO)).min()
    }

    /// What checks say of a source that they can't ask; of those that can't be read at the moment, what they said.
    /// `None` where there is no such source.
    fn away(&self, source: &Name) -> Option<impl Iterator<Item = (&Name, &Away)>> {
        let policy = &self.world.policy;
        policy.sources.get(source)?;
        let asks = move |name: &Name| {
            let check = policy.checks.get(name);
            check.is_none_or(|check| check.lookback.as_ref().is_some_and(|l| l.source == *source))
        };
        let away =
            self.world.state.checks.iter().filter_map(|(name, s)| Some((name, s.lookback.as_ref()?.away.as_ref()?)));
        Some(away.filter(move |(name, away)| away.source == *source && asks(name)))
    }

    fn source_finding(&self, source: &Name) -> Option<Finding> {
        let away: Vec<(&Name, &str)> = self.away(source)?.map(|(name, away)| (name, away.why.as_str())).collect();
        let (_, why) = away.first()?;
        let mut lines: Vec<String> =
            away.iter().take(AWAY_LISTED_MAX).map(|(name, why)| format!("{name}: {why}")).collect();
        if away.len() > AWAY_LISTED_MAX {
            lines.push(format!("and {} checks more", away.len() - AWAY_LISTED_MAX));
        }
        Some(Finding::new(Severity::Critical, *why).with_detail(lines.join("\n")))
    }
}

/// The part of the agent's faults about sources: `AGENT#source-NAME`.
const SOURCE_PART: &str = "source-";
