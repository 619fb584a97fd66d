//! Passive checks: what others report, that something began, and that nobody was heard of in time.

use super::{Step, checks::FIRST_RUN_WITHIN, derived::Timer};
use crate::{
    config::{CheckPolicy, Passive},
    model::{EventKind, EventState, Finding, Name, Outcome, Severity, Timestamp},
};
use std::time::Duration;

/// A report counts for a slot that is at most this far ahead: clocks differ.
const EARLY_MAX: Duration = Duration::from_secs(60);

impl Passive {
    /// When silence after a report is a fault.
    fn silent_from(&self, report: Timestamp) -> Option<Timestamp> {
        Some(self.slot_after(report)? + self.within)
    }

    /// The slot that the next report is for; the last report where there are no slots.
    fn slot_after(&self, report: Timestamp) -> Option<Timestamp> {
        match &self.slots {
            None => Some(report),
            Some(slots) => slots.next_after(report + EARLY_MAX.min(self.within)),
        }
    }

    /// Until when what began must have ended: by its own limit; else it may also end after the time for its report.
    fn ends_by(&self, begun: Timestamp, silent_from: Option<Timestamp>) -> Option<Timestamp> {
        match (self.ends_within, &self.slots) {
            (Some(limit), _) => Some(begun + limit),
            (None, Some(_)) => silent_from.max(Some(begun + self.within)),
            (None, None) => silent_from,
        }
    }

    /// Whether a report that was made then says nothing of now, as the next one should have come.
    pub(super) fn is_old(&self, report: Timestamp, now: Timestamp) -> bool {
        self.silent_from(report).is_some_and(|from| from <= now)
    }
}

impl Step<'_> {
    /// When a passive check must be heard of. Whoever reports gets a moment after the agent started.
    pub(super) fn plan_refresh(&mut self, check: &CheckPolicy) {
        let due = check.passive.as_ref().and_then(|passive| {
            let last = self.last_report(&check.name).map(|last| last.min(self.now));
            let silent_from = passive.silent_from(last.unwrap_or(self.now));
            let due = match self.begun(&check.name) {
                Some(begun) => passive.ends_by(begun.min(self.now), silent_from),
                None => silent_from,
            };
            let soon = self.now + passive.within.min(FIRST_RUN_WITHIN);
            if last.is_some() { due.map(|due| due.max(soon)) } else { due }
        });
        self.world.derived.timers.set(Timer::Refresh(check.name.clone()), due);
    }

    /// The same after a jump of the clock, which says nothing about whoever should have reported.
    pub(super) fn refresh_anew(&mut self, check: &CheckPolicy) {
        if let Some(passive) = &check.passive {
            let due = passive.silent_from(self.now);
            self.world.derived.timers.set(Timer::Refresh(check.name.clone()), due);
        }
    }

    /// When a passive check was last heard of.
    fn last_report(&self, check: &Name) -> Option<Timestamp> {
        let last = self.world.state.checks.get(check)?.last.as_ref()?;
        Some(last.started + last.took)
    }

    /// When what a passive check reports on began, where it has not ended.
    fn begun(&self, check: &Name) -> Option<Timestamp> {
        self.world.state.checks.get(check)?.begun
    }

    /// What a passive check reports on has begun: its end must be reported.
    pub(super) fn begin(&mut self, name: &Name) {
        match self.policy_of(name) {
            Some(check) if check.passive.is_some() => {
                let newer = self.newer_report(name).is_some();
                if !newer {
                    self.check_state(name).begun = Some(self.at);
                    self.plan_refresh(&check);
                }
            }
            Some(_) => self.fx.refused = Some(not_passive(name)),
            None => self.fx.refused = Some(no_check(name)),
        }
    }

    /// Somebody else reports on a passive check, or on a command that `watchbell exec` ran.
    pub(super) fn report(&mut self, name: &Name, mut outcome: Outcome) {
        match self.policy_of(name) {
            Some(check) if check.passive.is_some() => {
                if let Some(newer) = self.newer_report(name) {
                    return self.overtaken(&check, newer, &outcome);
                }
                if let Some(begun) = self.begun(name).filter(|begun| outcome.took.is_zero() && *begun <= self.at) {
                    outcome.took = self.at.since(begun);
                }
                self.check_state(name).begun = None;
                self.judge(&check, self.at, self.at - outcome.took, outcome, None);
                self.plan_refresh(&check);
            }
            Some(_) => self.fx.refused = Some(not_passive(name)),
            None if self.is_exec(name) => {
                let bare = CheckPolicy::bare(name.clone(), self.world.policy.agent.notify.clone());
                let worst = outcome.findings.iter().map(|f| f.severity).max();
                self.judged = Some(super::Judged::of(&bare, &outcome, worst));
                self.apply(&bare, outcome.findings, |_| false);
                self.judged = None;
            }
            None => self.fx.refused = Some(no_check(name)),
        }
    }

    /// When the report was made that is known already, where that was after this one, which waited.
    fn newer_report(&self, check: &Name) -> Option<Timestamp> {
        let known = self.world.state.checks.get(check)?.last_slot?;
        (self.at < known && known <= self.now).then_some(known)
    }

    /// A report that waited so long that it says nothing of now is kept as an event.
    fn overtaken(&mut self, check: &CheckPolicy, newer: Timestamp, outcome: &Outcome) {
        let severity = outcome.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Info);
        self.event(EventKind::Job, EventState::Info, severity, &check.name, |e| {
            e.source = "report".into();
            e.text = format!("{} (it counts for nothing: the report of {newer} was here before)", outcome.summary);
            e.detail.clone_from(&outcome.output);
            e.labels.clone_from(&check.labels);
        });
    }

    /// Nobody reported on a passive check in time.
    pub(super) fn overdue(&mut self, name: &Name) {
        let Some(check) = self.policy_of(name) else { return };
        let Some(passive) = &check.passive else { return };
        let last = self.last_report(name);
        let said = last.map_or_else(|| "there never was one".to_owned(), |at| format!("the last was at {at}"));
        let text = match (self.begun(name), &passive.slots) {
            (Some(begun), _) => {
                let limit = passive.ends_within.unwrap_or(passive.within);
                format!("began at {begun} and did not end within {}; {said}", as_written(limit))
            }
            (None, None) => format!("no report within {}; {said}", as_written(passive.within)),
            (None, Some(_)) => {
                let slot = last.and_then(|last| passive.slot_after(last));
                let slot = slot.unwrap_or(self.now - passive.within);
                format!("no report within {} of {slot}, when it was due; {said}", as_written(passive.within))
            }
        };
        self.found(&check, &name.part("overdue"), &Finding::new(Severity::Critical, text));
    }
}

/// A length of time as a config would say it, in the largest unit that fits.
fn as_written(length: Duration) -> String {
    let seconds = length.as_secs();
    let (unit, word) = [(86_400, "d"), (3_600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit))
        .unwrap_or((1, "s"));
    format!("{}{word}", seconds / unit)
}

fn not_passive(check: &Name) -> String {
    format!("`{check}` is run by the agent itself; only a passive check takes reports")
}

fn no_check(check: &Name) -> String {
    format!("there is no check `{check}`; `watchbell checks` lists those there are")
}
