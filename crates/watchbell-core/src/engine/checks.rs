//! Checks: when they are due, which may start, and what their runs bring.

use super::{
    RunOrder, Step,
    derived::{Running, Timer, is_monitor},
    effects::ResultRecord,
    world::RowKey,
};
use crate::{
    config::{CheckPolicy, Missed, Overlap, Retry, Style},
    model::{EventKind, EventState, Finding, Name, Outcome, Sample, Severity, Timestamp},
    schedule::{self, Schedule},
    state::{
        check::{CheckState, LastRun},
        fault::Rules,
        flapping::{FlapChange, Flapping},
        threshold,
    },
};
use std::{sync::Arc, time::Duration};

/// Runs that were missed are made up for one by one up to this many ([`Missed::All`]).
const MISSED_RUNS_MAX: usize = 100;
/// A check that never ran is first run within this long, if its interval is longer.
const FIRST_RUN_WITHIN: Duration = Duration::from_secs(60);
/// A clock set back by less than this does not make jobs run twice, as in Debian's cron.
const CLOCK_BACK_MAX: Duration = Duration::from_secs(3 * 3600);
/// What a summary in the state is cut to, in characters.
const SUMMARY_CHARS_MAX: usize = 200;

impl Step<'_> {
    fn policy_of(&self, check: &Name) -> Option<Arc<CheckPolicy>> {
        self.world.policy.checks.get(check).cloned()
    }

    fn check_state(&mut self, check: &Name) -> &mut CheckState {
        self.fx.changed.insert(RowKey::Check(check.clone()));
        self.world.state.checks.entry(check.clone()).or_default()
    }

    /// Sets the check's timers from what is known of it: at start, and when its schedule changed. Returns how
    /// many runs were missed and are left out.
    pub(super) fn plan_afresh(&mut self, check: &CheckPolicy) -> u64 {
        let state = self.world.state.checks.get(&check.name);
        if let Some(within) = check.refresh_within {
            let since = state.and_then(|s| s.last.as_ref()).map_or(self.now, |l| l.started);
            self.world.derived.timers.set(Timer::Refresh(check.name.clone()), Some(since + within));
        }
        let Some(schedule) = &check.schedule else { return 0 };
        let last = state.and_then(|s| s.last_slot);
        let (due, left_out) = match (last, check.missed) {
            (None, _) => (self.first_due(check, schedule), 0),
            (Some(last), missed) => {
                let gap = schedule.missed_between(last, self.now, MISSED_RUNS_MAX);
                match (missed, gap.slots.first(), gap.slots.last()) {
                    (Missed::Once, _, Some(newest)) => (Some(*newest), gap.total - 1),
                    (Missed::All, Some(oldest), _) => (Some(*oldest), gap.total - gap.slots.len() as u64),
                    _ => (self.next_regular(schedule, Some(last)), gap.total),
                }
            }
        };
        let retry = state.and_then(|s| s.retry_from).and_then(|slot| self.retry_due(check, slot));
        let due = match (retry, due) {
            (Some(retry), Some(due)) => Some(retry.min(due)),
            (retry, due) => retry.or(due),
        };
        self.world.derived.timers.set(Timer::Check(check.name.clone()), due);
        left_out
    }

    /// When a check that never ran is first due: an interval's first run need not wait for its slot.
    fn first_due(&self, check: &CheckPolicy, schedule: &Schedule) -> Option<Timestamp> {
        let regular = schedule.next_after(self.now)?;
        let soon = self.now + schedule::spread(&check.name, FIRST_RUN_WITHIN);
        Some(if matches!(schedule, Schedule::Every { .. }) { regular.min(soon) } else { regular })
    }

    /// The next slot by the schedule. After a clock was set back a little, slots that had their run have none again.
    fn next_regular(&self, schedule: &Schedule, last: Option<Timestamp>) -> Option<Timestamp> {
        let after = match last {
            Some(last) if last > self.now && last.since(self.now) < CLOCK_BACK_MAX => {
                if matches!(schedule, Schedule::Cron { .. }) { last } else { self.now }
            }
            _ => self.now,
        };
        schedule.next_after(after)
    }

    /// When a check that failed in this slot runs again.
    fn retry_due(&self, check: &CheckPolicy, slot: Timestamp) -> Option<Timestamp> {
        Some(match (check.retry_interval, &check.schedule) {
            (Retry::After(wait), _) => slot + wait,
            (Retry::Ticks(ticks), Some(Schedule::Ticks { base, offset, .. })) => {
                Schedule::retry_after_ticks(slot, *base, ticks, *offset)
            }
            (Retry::Ticks(_), _) => return None,
        })
    }

    /// A check is due.
    pub(super) fn due(&mut self, name: &Name, slot: Timestamp) {
        let Some(check) = self.policy_of(name) else { return };
        self.plan_next(&check, slot);
        let busy = self.world.derived.running_of.get(name).copied().unwrap_or(0) > 0;
        match (busy, check.missed, check.overlap) {
            (true, Missed::All, Overlap::Skip) | (true, _, Overlap::Queue) => {
                self.world.derived.queued.entry(name.clone()).or_insert(slot);
            }
            (true, _, Overlap::Skip) => self.overlap(&check, slot),
            (false, ..) | (true, _, Overlap::Allow) => {
                // Waiting for a free place already: one run for both slots.
                let waits = self.world.derived.ready.iter().any(|(_, n)| n == name && !busy);
                if !waits || check.overlap == Overlap::Allow {
                    self.world.derived.ready.insert((slot, name.clone()));
                }
            }
        }
    }

    /// The regular slot after this one; slots that passed meanwhile follow the policy for missed runs.
    fn plan_next(&mut self, check: &CheckPolicy, slot: Timestamp) {
        let Some(schedule) = &check.schedule else { return };
        let after = if check.missed == Missed::All { slot } else { slot.max(self.now) };
        let next = schedule.next_after(after);
        self.world.derived.timers.set(Timer::Check(check.name.clone()), next);
    }

    /// A run is due while the one before still runs: it is left out, visibly.
    fn overlap(&mut self, check: &CheckPolicy, slot: Timestamp) {
        let running = self.world.derived.running.values().find(|r| r.check == check.name).map(|r| r.slot);
        let since = running.map_or_else(String::new, |s| format!(" since {s}"));
        let text = format!("still running{since}: the run due at {slot} was left out");
        let name = check.name.part("monitor-overlap");
        self.check_state(&check.name).last_slot = Some(slot);
        if !self.world.state.faults.contains_key(&name) {
            self.found(check, &name, &Finding::monitor("overlap", text));
        }
    }

    /// Starts what is due, as long as there is a free place. Oldest slot first, so that a check which waits
    /// is before one that came later, whoever they are.
    pub(super) fn start_ready(&mut self) {
        while self.world.derived.running.len() < self.world.policy.agent.running_max {
            let Some((slot, name)) = self.world.derived.ready.pop_first() else { return };
            if let Some(check) = self.policy_of(&name) {
                self.start_run(&check, slot);
            }
        }
    }

    fn start_run(&mut self, check: &CheckPolicy, slot: Timestamp) {
        let derived = &mut self.world.derived;
        derived.run_id += 1;
        let run = derived.run_id;
        derived.running.insert(run, Running { check: check.name.clone(), slot });
        *derived.running_of.entry(check.name.clone()).or_default() += 1;
        if check.job {
            let state = self.check_state(&check.name);
            state.job_started = Some(slot);
            state.last_slot = Some(slot);
        }
        let overlap = check.name.part("monitor-overlap");
        if self.world.state.faults.contains_key(&overlap) && self.world.derived.running_of[&check.name] == 1 {
            self.clear(&overlap, "");
        }
        self.fx.runs.push(RunOrder { check: check.name.clone(), run, slot, after_commit: check.job });
    }

    /// A run ended.
    pub(super) fn result(&mut self, name: &Name, run: u64, started: Timestamp, outcome: Outcome) {
        let Some(running) = self.world.derived.running.remove(&run) else { return };
        let slot = running.slot;
        if let Some(count) = self.world.derived.running_of.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.world.derived.running_of.remove(name);
            }
        }
        if let Some(slot) = self.world.derived.queued.remove(name) {
            self.world.derived.ready.insert((slot, name.clone()));
        }
        let Some(check) = self.policy_of(name) else { return };
        self.judge(&check, slot, started, outcome);
    }

    /// Somebody else reports on a passive check, or on a command that `watchbell exec` ran.
    pub(super) fn report(&mut self, name: &Name, outcome: Outcome) {
        let started = self.now - outcome.took;
        match self.policy_of(name) {
            Some(check) if check.refresh_within.is_some() => {
                let within = check.refresh_within.map(|d| self.now + d);
                self.world.derived.timers.set(Timer::Refresh(name.clone()), within);
                self.judge(&check, self.now, started, outcome);
            }
            Some(_) => {
                let text = format!("`{name}` is run by the agent itself; only a passive check takes reports");
                self.fx.refused = Some(text);
            }
            None if self.is_own(name) => {
                let bare = CheckPolicy::bare(name.clone(), self.world.policy.agent.notify.clone());
                self.apply(&bare, outcome.findings, |_| false);
            }
            None => {
                let text = format!("there is no check `{name}`; `watchbell checks` lists those there are");
                self.fx.refused = Some(text);
            }
        }
    }

    /// Nobody reported on a passive check in time.
    pub(super) fn overdue(&mut self, name: &Name) {
        let Some(check) = self.policy_of(name) else { return };
        let Some(within) = check.refresh_within else { return };
        let last = self.world.state.checks.get(name).and_then(|s| s.last.as_ref()).map(|l| l.started);
        let last = last.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let text = format!("no report within {within:?}; the last was {last}");
        self.found(&check, &name.part("overdue"), &Finding::new(Severity::Critical, text));
    }

    /// What a run brought: remember, judge, tell.
    fn judge(&mut self, check: &Arc<CheckPolicy>, slot: Timestamp, started: Timestamp, mut outcome: Outcome) {
        let keep_quotes = check.style == Style::Cimaa;
        if !check.thresholds.is_empty() && !outcome.inconclusive {
            let flags = &mut self.check_state(&check.name).thresholds;
            let findings = threshold::judge(&check.thresholds, &outcome.metrics, flags, keep_quotes);
            outcome.findings.extend(findings);
        }
        let worst = outcome.findings.iter().map(|f| f.severity).filter(|s| *s > Severity::Info).max();
        let before = self.world.state.checks.get(&check.name).and_then(|s| s.last.as_ref()).map(|l| l.worst);
        let events_before = self.fx.events.len();
        self.samples(check, started, &outcome);
        let findings = outcome.findings.clone();
        let failures = self.count_failures(check, &findings);
        self.apply(check, findings, |name| outcome.inconclusive && !is_monitor(name));
        self.remember(check, slot, started, worst, failures, &outcome);
        self.flap(check, before.is_some_and(|b| b != worst), worst);
        self.plan_retry(check, slot);
        self.job_ended(check, &outcome);
        self.hand_over(check, slot, &outcome);
        let notable = check.log_runs || worst.is_some() || self.fx.events.len() > events_before;
        let outcome = Box::new(outcome);
        self.fx.results.push(ResultRecord { check: check.name.clone(), slot, started, outcome, notable });
    }

    /// CIMAA's count of failed runs, as it will be after this run.
    fn count_failures(&self, check: &CheckPolicy, findings: &[Finding]) -> u32 {
        let critical = findings.iter().any(|f| f.severity == Severity::Critical);
        let Rules { attempts, .. } = check.rules();
        let error = findings.iter().any(|f| f.severity == Severity::Error && f.escalates);
        let before = self.world.state.checks.get(&check.name).map_or(0, |s| s.failures);
        match (critical, error) {
            (true, _) => check.retry.max(u32::from(error)),
            (false, true) => (before + 1).min(attempts),
            (false, false) => 0,
        }
    }

    fn remember(
        &mut self,
        check: &CheckPolicy,
        slot: Timestamp,
        started: Timestamp,
        worst: Option<Severity>,
        failures: u32,
        outcome: &Outcome,
    ) {
        let value = outcome.metrics.iter().find(|m| m.name.is_empty()).map(|m| m.value);
        let state = self.check_state(&check.name);
        state.last_slot = state.last_slot.max(Some(slot));
        state.job_started = None;
        state.failures = failures;
        state.durations.add(outcome.took);
        state.last = Some(LastRun {
            started,
            took: outcome.took,
            late: started.since(slot),
            worst,
            summary: outcome.summary.chars().take(SUMMARY_CHARS_MAX).collect(),
            exit: outcome.exit,
            value,
        });
    }

    /// Where a retry is wanted, the next run is the retry; where none is any more, it is the regular one.
    fn plan_retry(&mut self, check: &CheckPolicy, slot: Timestamp) {
        let Some(schedule) = &check.schedule else { return };
        let wanted = self.wants_retry(check);
        let state = &self.world.state.checks[&check.name];
        if !wanted && state.retry_from.is_none() {
            return;
        }
        let regular = self.next_regular(schedule, state.last_slot);
        // Retries are counted from slots, so that a slow check does not drift.
        let retry = if wanted { self.retry_due(check, slot).map(|at| at.max(self.now)) } else { None };
        let state = self.check_state(&check.name);
        state.retry_from = wanted.then_some(slot);
        self.world.derived.timers.set(Timer::Check(check.name.clone()), retry.or(regular));
    }

    fn wants_retry(&self, check: &CheckPolicy) -> bool {
        if check.style == Style::Cimaa {
            return self.world.state.checks[&check.name].failures > 0;
        }
        let faults = self.world.derived.faults_of.get(&check.name);
        faults
            .into_iter()
            .flatten()
            .filter_map(|f| self.world.state.faults.get(f))
            .any(|f| f.state == crate::model::Hardness::Soft && check.rules().counts(f.reported, f.escalates))
    }

    fn samples(&mut self, check: &CheckPolicy, started: Timestamp, outcome: &Outcome) {
        for metric in &outcome.metrics {
            let name = if metric.name.is_empty() { check.name.clone() } else { check.name.part(&metric.name) };
            self.fx.samples.push(Sample {
                name,
                value: metric.value,
                unit: metric.unit.clone().or_else(|| check.unit.clone()),
                at: metric.at.unwrap_or(started),
                labels: check.labels.clone(),
            });
        }
    }

    /// Counts a change of state; a check that changes too often has a fault that says so, and its other
    /// faults are held meanwhile.
    fn flap(&mut self, check: &CheckPolicy, changed: bool, worst: Option<Severity>) {
        let Some((high, low)) = check.flapping else { return };
        let flapping = self.check_state(&check.name).flapping.get_or_insert_with(Flapping::default);
        let change = flapping.update(changed, high, low);
        let percent = flapping.current;
        let name = check.name.part("flapping");
        match change {
            Some(FlapChange::Started) => {
                let text = format!(
                    "changes state too often ({percent:.0} % of the last 20 runs; now {})",
                    worst.map_or("ok", Severity::word)
                );
                let finding = Finding::new(Severity::Critical, text);
                self.found(check, &name, &finding);
            }
            Some(FlapChange::Stopped) => {
                self.clear(&name, "");
                self.reconcile_check(&check.name);
            }
            None => {}
        }
    }

    /// What a job wrote is an event.
    fn job_ended(&mut self, check: &CheckPolicy, outcome: &Outcome) {
        if !check.job {
            return;
        }
        let severity = outcome.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Info);
        self.event(EventKind::Job, EventState::Info, severity, &check.name, |e| {
            e.source = "job".into();
            e.text.clone_from(&outcome.summary);
            e.detail.clone_from(&outcome.output);
            e.labels.clone_from(&check.labels);
        });
    }

    /// Handlers get every result.
    fn hand_over(&mut self, check: &CheckPolicy, slot: Timestamp, outcome: &Outcome) {
        if check.on_result.is_empty() {
            return;
        }
        let severity = outcome.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Info);
        let original = serde_json::to_value(outcome).ok();
        let event = self.event(EventKind::Job, EventState::Info, severity, &check.name, |e| {
            e.source = "result".into();
            e.text.clone_from(&outcome.summary);
            e.labels.clone_from(&check.labels);
            e.original = original;
        });
        for handler in &check.on_result {
            let key = format!("result/{}/{}", check.name, slot.as_micros());
            self.send_message(&event, handler, &key, "result");
        }
    }

    /// Runs a check now, besides its schedule.
    pub(super) fn run_now(&mut self, name: &Name, by: &str) {
        let Some(check) = self.policy_of(name) else {
            let text = format!("there is no check `{name}`; `watchbell checks` lists those there are");
            self.fx.refused = Some(text);
            return;
        };
        if self.world.derived.running_of.contains_key(name) {
            self.fx.refused = Some(format!("`{name}` is running already; its result will come"));
            return;
        }
        if check.refresh_within.is_some() {
            self.fx.refused = Some(format!("`{name}` is passive: others report on it, the agent can't run it"));
            return;
        }
        self.event(EventKind::Operator, EventState::Info, Severity::Info, name, |e| {
            e.source = "operator".into();
            e.text = format!("run now, asked for by {by}");
        });
        self.world.derived.ready.insert((self.now, name.clone()));
    }

    /// The wall clock was set: what waits for a time waits for it anew.
    pub(super) fn clock_jumped(&mut self, by_us: i64) {
        let agent = self.world.policy.agent.name.clone();
        let seconds = by_us as f64 / 1e6;
        self.event(EventKind::Agent, EventState::Info, Severity::Warning, &agent, |e| {
            e.text = format!("the clock was set by {seconds:+.1} s; schedules follow the new time");
        });
        for check in self.world.policy.clone().checks.values() {
            let last = self.world.state.checks.get(&check.name).and_then(|s| s.last_slot);
            if check.missed == Missed::Skip || by_us < 0 {
                let due = check.schedule.as_ref().and_then(|s| self.next_regular(s, last));
                self.world.derived.timers.set(Timer::Check(check.name.clone()), due);
            }
            let retry = self.world.state.checks.get(&check.name).and_then(|s| s.retry_from);
            if retry.is_some() && check.schedule.is_some() {
                self.world
                    .derived
                    .timers
                    .set_earlier(Timer::Check(check.name.clone()), self.now + FIRST_RUN_WITHIN / 60);
            }
            if let Some(within) = check.refresh_within {
                // A clock that jumped says nothing about whoever should have reported.
                self.world.derived.timers.set(Timer::Refresh(check.name.clone()), Some(self.now + within));
            }
        }
        self.outbox_clock_jumped();
    }

    /// Deliveries that were under way when the agent ended are tried again, jobs that were are told of.
    pub(super) fn interrupted_jobs(&mut self) {
        let started: Vec<_> = self
            .world
            .state
            .checks
            .iter()
            .filter_map(|(name, state)| state.job_started.map(|slot| (name.clone(), slot)))
            .collect();
        for (name, slot) in started {
            self.check_state(&name).job_started = None;
            self.event(EventKind::Job, EventState::Info, Severity::Warning, &name, |e| {
                e.source = "job".into();
                e.text = format!("the run of {slot} was cut off when the agent ended; it is not repeated");
            });
        }
    }
}
