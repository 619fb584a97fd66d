//! Checks: when they are due, which may start, and what their runs bring.

use super::{
    Judged, RunOrder, Step,
    derived::{Derived, Running, Timer, is_monitor},
    effects::ResultRecord,
    lookback::PlanEnd,
    results::RESULT_SOURCE,
    world::RowKey,
};
use crate::{
    config::{CheckPolicy, Missed, Overlap, Retry, Style},
    model::{EventKind, EventState, Exit, Finding, Name, Outcome, Sample, Severity, Timestamp},
    schedule::{self, Schedule},
    state::{
        check::{CheckState, LastRun},
        flapping::{FlapChange, Flapping},
        threshold,
    },
    wire::text::{DETAIL_CHARS_MAX, cut_middle},
};
use std::{sync::Arc, time::Duration};

/// Runs that were missed are made up for one by one up to this many ([`Missed::All`]).
const MISSED_RUNS_MAX: usize = 100;
/// A check that never ran is first run within this long, if its interval is longer.
pub(super) const FIRST_RUN_WITHIN: Duration = Duration::from_secs(60);
/// A clock set back by less than this does not make jobs run twice, as in Debian's cron.
pub(super) const CLOCK_BACK_MAX: Duration = Duration::from_secs(3 * 3600);
/// A clock set forward by no more than this makes up for jobs whose time it skipped, as in Debian's cron.
const CLOCK_CHANGE_MAX_US: i64 = 3 * 3_600_000_000;
/// The part of the agent's faults about sources that too many wait for: `AGENT#monitor-source-NAME`.
const CROWDED_PART: &str = "monitor-source-";
/// What a summary in the state is cut to, in characters.
pub(super) const SUMMARY_CHARS_MAX: usize = 200;

/// What is known of a check before a run is judged.
struct Before {
    /// The worst that the last run found, if there was one.
    worst: Option<Option<Severity>>,
    failures: u32,
    retries: bool,
    /// It has faults, or things worth knowing.
    has_findings: bool,
}

/// CIMAA's count of failed runs, this one taken in. Every error counts, whether it escalates or not; a critical one
/// uses up all retries, so that an error beside it is critical at once. A run that was cut off, or never began,
/// counts for nothing.
fn count_failures(check: &CheckPolicy, before: &Before, outcome: &Outcome) -> u32 {
    if outcome.inconclusive && matches!(outcome.exit, None | Some(Exit::TimedOut)) {
        return before.failures;
    }
    let found = |severity| outcome.findings.iter().any(|f| f.severity == severity);
    let before = if found(Severity::Critical) { check.retry } else { before.failures };
    match (found(Severity::Critical), found(Severity::Error)) {
        (_, true) => before.saturating_add(1).min(check.retry.saturating_add(1)),
        (true, false) => before,
        (false, false) => 0,
    }
}

/// S3.4, S3.6: CIMAA's monitor faults never escalate; `AGENT#checks` stands behind those that say that nothing was judged.
/// Text on standard error and no text at all are errors there, whatever the verdict.
fn quiet_as_cimaa(finding: &mut Finding) {
    if finding.trouble.is_none() {
        return;
    }
    finding.escalates = false;
    if matches!(finding.part.as_deref(), Some("monitor-stderr" | "monitor-no-out")) {
        finding.severity = Severity::Error;
    }
}

impl Step<'_> {
    pub(super) fn policy_of(&self, check: &Name) -> Option<Arc<CheckPolicy>> {
        self.world.derived.checks.get(check).cloned()
    }

    pub(super) fn check_state(&mut self, check: &Name) -> &mut CheckState {
        self.fx.changed.insert(RowKey::Check(check.clone()));
        self.world.state.checks.entry(check.clone()).or_default()
    }

    /// Sets the check's timers from what is known of it: at start, at a jump of the clock, and when its schedule
    /// changed. `outage`: slots since its last one were missed and are made up for as its policy says. Returns how
    /// many are left out: none of a look-back, whose next run judges the minutes of all.
    pub(super) fn plan_afresh(&mut self, check: &CheckPolicy, outage: bool) -> u64 {
        self.plan_refresh(check);
        let Some(schedule) = &check.schedule else {
            self.world.derived.timers.set(Timer::Check(check.name.clone()), None);
            return 0;
        };
        let state = self.world.state.checks.get(&check.name);
        let last = state.and_then(|s| s.last_slot);
        let retry = state.and_then(|s| s.retry_from).and_then(|slot| self.retry_due(check, slot));
        // Retries replace the schedule: what would have been due before the next one is not missed.
        let last = last.max(retry);
        // A jump of the clock is an outage since the time before it.
        let last = match self.jumped_us.and_then(|by| u64::try_from(by).ok()) {
            Some(by) => last.max(Some(self.now - Duration::from_micros(by))),
            None => last,
        };
        let (due, left_out) = match last {
            None => {
                if matches!(schedule, Schedule::Cron { .. }) && check.missed != Missed::Skip {
                    // From now on its slots count as missed if no agent runs.
                    self.check_state(&check.name).last_slot = Some(self.now);
                }
                (self.first_due(check, schedule), 0)
            }
            Some(last) if outage => self.make_up(check, schedule, last),
            Some(last) => (self.next_regular(schedule, Some(last)), 0),
        };
        // A retry that was due meanwhile is due now.
        let due = retry.map(|at| at.max(self.now)).or(due);
        self.world.derived.timers.set(Timer::Check(check.name.clone()), due);
        if check.counts().is_some() { 0 } else { left_out }
    }

    /// When a check is due next after an outage, and how many of its slots are left out.
    fn make_up(&mut self, check: &CheckPolicy, schedule: &Schedule, last: Timestamp) -> (Option<Timestamp>, u64) {
        let missed = match (check.missed, schedule) {
            // Debian's cron: a job for a time of day that a small change of the clock skipped runs right after it.
            (Missed::Skip, Schedule::Cron { cron, .. })
                if cron.is_fixed() && self.jumped_us.is_some_and(|by| by <= CLOCK_CHANGE_MAX_US) =>
            {
                Missed::Once
            }
            (missed, _) => missed,
        };
        let gap = schedule.missed_between(last, self.now, MISSED_RUNS_MAX);
        match (missed, gap.slots.last()) {
            (Missed::Once, Some(newest)) => (Some(*newest), gap.total - 1),
            (Missed::All, Some(_)) => {
                let left_out = gap.total - gap.slots.len() as u64;
                self.world.derived.catch_up.insert(check.name.clone(), gap.slots.into());
                self.catch_up(&check.name);
                (self.next_regular(schedule, Some(last)), left_out)
            }
            _ => (self.next_regular(schedule, Some(last)), gap.total),
        }
    }

    /// The next missed slot that is made up for, unless the check runs or is about to.
    fn catch_up(&mut self, check: &Name) {
        let derived = &mut self.world.derived;
        if derived.running_of.contains_key(check) || derived.ready.waits(check).is_some() {
            return;
        }
        let Some(slots) = derived.catch_up.get_mut(check) else { return };
        match slots.pop_front() {
            // It waits since now: by its slot, all that is made up for would be before what others are due for.
            Some(slot) => derived.ready.push_since(check, slot, self.now),
            None => drop(derived.catch_up.remove(check)),
        }
    }

    /// When a check that never ran is first due: an interval's first run need not wait for its slot.
    fn first_due(&self, check: &CheckPolicy, schedule: &Schedule) -> Option<Timestamp> {
        let regular = schedule.next_after(self.now)?;
        let soon = self.now + schedule::spread(&check.name, FIRST_RUN_WITHIN);
        Some(if matches!(schedule, Schedule::Every { .. }) { regular.min(soon) } else { regular })
    }

    /// The next slot by the schedule. After a clock was set back a little, jobs for a time of day that had their run
    /// have none again; what runs by the interval follows the new time.
    fn next_regular(&self, schedule: &Schedule, last: Option<Timestamp>) -> Option<Timestamp> {
        let again = |last: &Timestamp| *last > self.now && last.since(self.now) < CLOCK_BACK_MAX;
        let after = match (last.filter(again), schedule) {
            (Some(last), Schedule::Cron { cron, .. }) if cron.is_fixed() => last,
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
        let Some(check) = self.policy_of(name) else {
            return self.world.derived.timers.set(Timer::Check(name.clone()), None);
        };
        let next = check.schedule.as_ref().and_then(|s| s.next_after(slot.max(self.now)));
        self.world.derived.timers.set(Timer::Check(name.clone()), next);
        let derived = &mut self.world.derived;
        if let Some(slots) = derived.catch_up.get_mut(name) {
            if slots.len() < MISSED_RUNS_MAX {
                slots.push_back(slot);
                return self.catch_up(name);
            }
            return self.left_out(&check, slot);
        }
        let busy = derived.running_of.contains_key(name);
        let waits = derived.ready.waits(name).is_some();
        if let Some(lookback) = check.lookback.as_ref().filter(|_| derived.held_up.contains_key(name)) {
            // What waits judges this minute too; what runs began late, and is run again after that.
            if busy && !waits && !derived.queued.contains_key(name) {
                derived.queued.insert(name.clone(), slot);
            }
            return self.crowded(&lookback.source);
        }
        match (busy || waits, check.overlap) {
            (false, _) => derived.ready.push(name, slot),
            (true, Overlap::Allow) if derived.ready.push_beside(name, slot) => {}
            (true, Overlap::Queue) if busy && !derived.queued.contains_key(name) => {
                derived.queued.insert(name.clone(), slot);
            }
            // One run that waits for its turn, or for a place, is for both slots.
            (true, Overlap::Queue) => {}
            (true, _) => self.left_out(&check, slot),
        }
    }

    /// A run is due while the one before still runs, or waits for a place: it is left out, visibly.
    fn left_out(&mut self, check: &CheckPolicy, slot: Timestamp) {
        let derived = &mut self.world.derived;
        derived.left_out.insert(check.name.clone(), ());
        let running = derived.running.values().find(|r| r.check == check.name).map(|r| r.slot);
        let text = match (running, derived.ready.waits(&check.name)) {
            (Some(since), _) => format!("still running since {since}: the run due at {slot} was left out"),
            (None, Some(since)) => {
                format!("no free place since {since}: the run due at {slot} was left out; raise `running_max`")
            }
            (None, None) => format!("too many runs wait: the run due at {slot} was left out"),
        };
        let name = check.name.part("monitor-overlap");
        let state = self.check_state(&check.name);
        state.last_slot = state.last_slot.max(Some(slot));
        if !self.world.state.faults.contains_key(&name) {
            self.found(check, &name, &Finding::partial("overlap", text));
        }
    }

    /// Starts what is due, as long as there is a free place.
    pub(super) fn start_ready(&mut self) {
        while self.world.derived.running.len() < self.world.policy.agent.running_max {
            let Some(next) = self.world.derived.ready.pop() else { break };
            let Some(check) = self.policy_of(&next.check) else { continue };
            match check.lookback.as_ref().filter(|look| self.room_of(&look.source) == 0) {
                Some(lookback) => {
                    self.world.derived.held_up.insert(next.check.clone(), ());
                    self.world.derived.ready.hold(&lookback.source, next);
                }
                None => self.start_run(&check, next.slot),
            }
        }
        self.no_longer_crowded();
    }

    /// How many more runs may ask a source now. Those beyond wait without a place, so that a source that is slow or
    /// hangs holds up none but its own.
    fn room_of(&self, source: &Name) -> usize {
        let most = self.world.policy.sources.get(source).map_or(usize::MAX, |source| source.connections_max);
        most.saturating_sub(self.world.derived.asking.get(source).copied().unwrap_or(0))
    }

    /// Checks are due again while they wait for their source: one fault of the agent, whoever waits. They lose nothing, as
    /// the run that waits judges what is due until then.
    fn crowded(&mut self, source: &Name) {
        let part = format!("{CROWDED_PART}{source}");
        let wait = self.world.derived.ready.held(source);
        if wait == 0 || self.world.state.faults.contains_key(&self.own_name(&part)) {
            return;
        }
        let most = self.world.policy.sources.get(source).map_or(0, |source| source.connections_max);
        let text = format!(
            "{wait} checks wait for source `{source}`, which is asked by {most} at a time, and are due again: raise its \
             `connections`, or look for what is slow with `watchbell slow`"
        );
        // It may be over in a minute: `AGENT#checks` tells of it if not.
        self.own(&part, Some(Finding { escalates: false, ..Finding::monitor("source", text) }));
    }

    /// Nobody waits for a source any more.
    fn no_longer_crowded(&mut self) {
        if self.world.derived.monitors.is_empty() {
            return;
        }
        let prefix = self.own_name(CROWDED_PART);
        let Derived { monitors, ready, .. } = &self.world.derived;
        let ours = monitors.range(prefix.clone()..).map_while(|name| Some((name, name.strip_prefix(&*prefix)?)));
        let over: Vec<Name> =
            ours.filter(|(_, source)| ready.held(source) == 0).map(|(name, _)| name.clone()).collect();
        over.iter().for_each(|name| self.clear(name, ""));
    }

    fn start_run(&mut self, check: &Arc<CheckPolicy>, slot: Timestamp) {
        let (windows, plan) = self.plan_lookback(check);
        let derived = &mut self.world.derived;
        derived.run_id += 1;
        let run = derived.run_id;
        if let Some(lookback) = &check.lookback {
            *derived.asking.entry(lookback.source.clone()).or_default() += 1;
        }
        let (policy, generation) = (Some(check.clone()), derived.generation);
        derived.running.insert(run, Running { check: check.name.clone(), slot, policy, generation, plan });
        *derived.running_of.entry(check.name.clone()).or_default() += 1;
        if check.job {
            let state = self.check_state(&check.name);
            state.job_started = Some(slot);
            state.last_slot = state.last_slot.max(Some(slot));
        }
        self.fx.runs.push(RunOrder { check: check.name.clone(), run, slot, after_commit: check.job, windows });
    }

    /// A run ended.
    pub(super) fn result(&mut self, run: u64, started: Timestamp, mut outcome: Outcome) {
        let Some(running) = self.world.derived.running.remove(&run) else { return };
        let name = &running.check;
        if let Some(lookback) = running.policy.as_ref().and_then(|check| check.lookback.as_ref()) {
            self.asked(&lookback.source);
        }
        let derived = &mut self.world.derived;
        let left = derived.running_of.get_mut(name).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            derived.running_of.remove(name);
            derived.held_up.remove(name);
            derived.ready.promote(name);
        }
        // Without a reload in between, the policy is the one that it was started with.
        let known = running.policy.clone().filter(|_| running.generation == self.world.derived.generation);
        let Some(check) = known.or_else(|| self.policy_of(name)) else { return };
        if running.policy.is_some_and(|before| before.lookback != check.lookback) {
            // What was counted is not what is asked now; the next run asks for the same minutes.
            outcome.inconclusive |= outcome.rows.take().is_some();
        }
        self.evidence = started;
        self.judge(&check, running.slot, started, outcome, running.plan.as_ref());
        self.evidence = self.now;
        if left > 0 && check.job {
            let other = self.world.derived.running.values().find(|r| r.check == *name).map(|r| r.slot);
            self.check_state(name).job_started = other;
        }
        // Over once a run ends and nothing was left out because of it: a check that is always too slow stays wrong.
        if self.world.derived.left_out.remove(name).is_none() {
            self.clear_part(&check, "monitor-overlap");
        } else {
            self.judged_at_last();
        }
        if let Some(slot) = self.world.derived.queued.remove(name) {
            self.world.derived.ready.push(name, slot);
        }
        self.catch_up(name);
    }

    /// A run that asked a source ended: the next ones may.
    fn asked(&mut self, source: &Name) {
        if let Some(asking) = self.world.derived.asking.get_mut(source) {
            *asking = asking.saturating_sub(1);
        }
        let room = self.room_of(source);
        self.world.derived.ready.release(source, room);
    }

    /// One of the engine's own faults of a check is gone.
    pub(super) fn clear_part(&mut self, check: &CheckPolicy, part: &str) {
        // Most checks have no fault at all: then there is no name to make.
        if self.world.derived.faults_of.contains_key(&check.name) {
            self.clear(&check.name.part(part), "");
        }
    }

    /// What a run brought: remember, judge, tell.
    pub(super) fn judge(
        &mut self,
        check: &Arc<CheckPolicy>,
        slot: Timestamp,
        started: Timestamp,
        mut outcome: Outcome,
        plan: Option<&PlanEnd>,
    ) {
        if let Some(news) = &outcome.source {
            self.source_news(check, news);
        }
        if check.style == Style::Cimaa {
            outcome.findings.iter_mut().for_each(quiet_as_cimaa);
        }
        let events_before = self.fx.events.len();
        let unspoken = plan.map(|plan| self.judge_rows(check, plan, &mut outcome)).unwrap_or_default();
        let keep_quotes = check.style == Style::Cimaa;
        if !check.thresholds.is_empty() && !outcome.inconclusive {
            let flags = &mut self.check_state(&check.name).thresholds;
            let findings = threshold::judge(&check.thresholds, &outcome.metrics, flags, keep_quotes);
            outcome.findings.extend(findings);
        }
        let standing = unspoken.iter().filter_map(|name| self.world.state.faults.get(name)).map(|f| f.severity);
        let found = outcome.findings.iter().map(|f| f.severity).filter(|s| *s > Severity::Info);
        let worst = found.chain(standing).max();
        let before = self.glance(check);
        self.samples(check, started, &outcome);
        let failures = count_failures(check, &before, &outcome);
        if failures != before.failures {
            self.check_state(&check.name).failures = failures;
        }
        if before.has_findings || !outcome.findings.is_empty() {
            let findings = outcome.findings.clone();
            // What waited too long itself does not say that somebody is heard of again.
            let late = check.passive.as_ref().is_some_and(|passive| passive.is_old(self.at, self.now));
            let keep = |name: &Name| {
                let overdue = name.ends_with("#overdue");
                let untold = outcome.inconclusive && !is_monitor(name) && !overdue;
                untold || (late && overdue) || unspoken.contains(name)
            };
            self.judged = Some(Judged::of(check, &outcome, worst));
            self.apply(check, findings, keep);
            self.judged = None;
        }
        self.remember(check, slot, started, worst, &outcome);
        self.flap(check, before.worst.is_some_and(|b| b != worst), worst);
        self.plan_retry(check, slot, before.retries);
        self.job_ended(check, &outcome);
        self.hand_over(check, &outcome);
        let notable = check.log_runs || worst.is_some() || self.fx.events.len() > events_before;
        let outcome = Box::new(outcome);
        self.fx.results.push(ResultRecord { check: check.name.clone(), slot, started, outcome, notable });
    }

    /// What a run must know of those before it, in one look: looking names up is what a run that finds nothing costs.
    fn glance(&self, check: &CheckPolicy) -> Before {
        let has_faults = self.world.derived.faults_of.contains_key(&check.name);
        match self.world.state.checks.get(&check.name) {
            None => Before { worst: None, failures: 0, retries: false, has_findings: has_faults },
            Some(state) => Before {
                worst: state.last.as_ref().map(|l| l.worst),
                failures: state.failures,
                retries: state.retry_from.is_some(),
                has_findings: has_faults || !state.infos.is_empty(),
            },
        }
    }

    fn remember(
        &mut self,
        check: &CheckPolicy,
        slot: Timestamp,
        started: Timestamp,
        worst: Option<Severity>,
        outcome: &Outcome,
    ) {
        let value = outcome.metrics.iter().find(|m| m.name.is_empty()).map(|m| m.value);
        let state = self.check_state(&check.name);
        state.last_slot = state.last_slot.max(Some(slot));
        state.job_started = None;
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
    fn plan_retry(&mut self, check: &CheckPolicy, slot: Timestamp, wanted_before: bool) {
        let Some(schedule) = &check.schedule else { return };
        let wanted = self.wants_retry(check);
        if !wanted && !wanted_before {
            return;
        }
        let last_slot = self.world.state.checks.get(&check.name).and_then(|s| s.last_slot);
        let regular = self.next_regular(schedule, last_slot);
        // Retries are counted from slots, so that a slow check does not drift.
        let retry = if wanted { self.retry_due(check, slot).map(|at| at.max(self.now)) } else { None };
        let state = self.check_state(&check.name);
        state.retry_from = wanted.then_some(slot);
        self.world.derived.timers.set(Timer::Check(check.name.clone()), retry.or(regular));
    }

    fn wants_retry(&self, check: &CheckPolicy) -> bool {
        if check.style == Style::Cimaa {
            return self.world.state.checks.get(&check.name).is_some_and(|s| s.failures > 0);
        }
        let faults = self.world.derived.faults_of.get(&check.name);
        let rules = || self.world.policy.rules(check);
        faults
            .into_iter()
            .flatten()
            .filter_map(|f| self.world.state.faults.get(f))
            .any(|f| f.state == crate::model::Hardness::Soft && rules().counts(f.reported, f.escalates))
    }

    fn samples(&mut self, check: &CheckPolicy, started: Timestamp, outcome: &Outcome) {
        for metric in &outcome.metrics {
            let name = self.series_name(check, &metric.name);
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
                // Its other faults are held from now on.
                self.reconcile_check(&check.name);
            }
            Some(FlapChange::Stopped) => {
                self.clear(&name, "");
                self.reconcile_check(&check.name);
            }
            None => {}
        }
    }

    /// The config does not ask for it any more.
    pub(super) fn stop_flapping(&mut self, check: &Name) {
        self.check_state(check).flapping = None;
        self.clear(&check.part("flapping"), "flapping is not looked for any more");
        self.reconcile_check(check);
    }

    /// What a job wrote is an event; all of it is in the check's log.
    fn job_ended(&mut self, check: &CheckPolicy, outcome: &Outcome) {
        if !check.job {
            return;
        }
        let severity = outcome.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Info);
        self.event(EventKind::Job, EventState::Info, severity, &check.name, |e| {
            e.source = "job".into();
            e.text.clone_from(&outcome.summary);
            e.detail = cut_middle(&outcome.output, DETAIL_CHARS_MAX);
            e.labels.clone_from(&check.labels);
        });
    }

    /// Handlers get every result.
    fn hand_over(&mut self, check: &CheckPolicy, outcome: &Outcome) {
        // A look-back hands over each minute that it judged.
        if check.on_result.is_empty() || check.counts().is_some() {
            return;
        }
        let severity = outcome.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Info);
        let mut original = serde_json::to_value(outcome).ok();
        if let Some(serde_json::Value::String(output)) = original.as_mut().and_then(|o| o.get_mut("output")) {
            *output = cut_middle(output, DETAIL_CHARS_MAX);
        }
        let event = self.event(EventKind::Job, EventState::Info, severity, &check.name, |e| {
            e.source = RESULT_SOURCE.into();
            e.text.clone_from(&outcome.summary);
            e.labels.clone_from(&check.labels);
            e.original = original;
        });
        for handler in &check.on_result {
            // Not the slot: after the clock was set back it comes again.
            let key = format!("result/{}", event.seq);
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
        if self.world.derived.ready.waits(name).is_some() {
            self.fx.refused = Some(format!("`{name}` is due already and waits for a free place; its result will come"));
            return;
        }
        if check.schedule.is_none() {
            self.fx.refused = Some(format!("`{name}` is passive: others report on it, the agent can't run it"));
            return;
        }
        self.event(EventKind::Operator, EventState::Info, Severity::Info, name, |e| {
            e.source = "operator".into();
            e.text = format!("run now, asked for by {by}");
        });
        self.world.derived.ready.push(name, self.now);
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
