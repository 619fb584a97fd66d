//! The wall clock was set, while the agent ran or while none did. Schedules follow the new time; what a clock that was
//! ahead has stored is brought back to now, in one place: [`stored_times`].

use super::{
    Step,
    checks::{CLOCK_BACK_MAX, FIRST_RUN_WITHIN},
    derived::Timer,
    world::{RowKey, State},
};
use crate::model::{EventKind, EventState, Severity, Timestamp};

/// Every stored time at which something happened, with its row. None can be later than now by a clock that was not set
/// back; and waits that count from one that is would last until then.
fn stored_times(state: &mut State, mut visit: impl FnMut(RowKey, &mut Timestamp)) {
    for (name, fault) in &mut state.faults {
        visit(RowKey::Fault(name.clone()), &mut fault.since);
        visit(RowKey::Fault(name.clone()), &mut fault.updated);
    }
    for (name, past) in &mut state.past {
        visit(RowKey::Past(name.clone()), &mut past.cleared);
    }
    for (key, told) in &mut state.told {
        visit(RowKey::Told(key.clone()), &mut told.at);
    }
    for (id, queued) in &mut state.outbox {
        visit(RowKey::Outbox(*id), &mut queued.at);
    }
    for (name, notifier) in &mut state.notifiers {
        let times = [&mut notifier.failing_since, &mut notifier.untold, &mut notifier.last_success];
        times.into_iter().flatten().for_each(|at| visit(RowKey::Notifier(name.clone()), at));
    }
    for (name, check) in &mut state.checks {
        let away = check.lookback.as_mut().and_then(|lookback| lookback.away.as_mut()?.since.as_mut());
        let last = check.last.as_mut().map(|last| &mut last.started);
        let times = [last, check.retry_from.as_mut(), check.begun.as_mut(), away];
        times.into_iter().flatten().for_each(|at| visit(RowKey::Check(name.clone()), at));
    }
}

impl Step<'_> {
    /// The wall clock was set: what waits for a time waits for it anew. Forward it may also have been a sleep of the
    /// machine: slots in between were missed.
    pub(super) fn clock_jumped(&mut self, by_us: i64) {
        self.jumped_us = Some(by_us);
        self.outbox_clock_jumped(by_us);
        if by_us < 0 {
            self.nothing_in_the_future();
        }
        let mut left_out = 0;
        for check in self.world.policy.clone().checks.values() {
            left_out += self.plan_afresh(check, by_us > 0);
            self.refresh_anew(check);
            let retry = self.world.state.checks.get(&check.name).and_then(|s| s.retry_from);
            if retry.is_some() && check.schedule.is_some() {
                let soon = self.now + FIRST_RUN_WITHIN / 60;
                self.world.derived.timers.set_earlier(Timer::Check(check.name.clone()), soon);
            }
        }
        let agent = self.world.policy.agent.name.clone();
        let seconds = by_us as f64 / 1e6;
        let runs = if left_out > 0 { format!("; {left_out} runs are left out") } else { String::new() };
        let event = self.event(EventKind::Agent, EventState::Info, Severity::Warning, &agent, |e| {
            e.text = format!("the clock was set by {seconds:+.1} s; schedules follow the new time{runs}");
        });
        // Hours may have begun or ended; patience is counted anew.
        self.restore_timers();
        self.because_of(event.seq, Self::reconcile_told);
    }

    /// At a start: what is stored says that the clock was set back while no agent ran, by so much or more.
    pub(super) fn clock_while_away(&mut self) {
        let mut newest = self.now;
        stored_times(&mut self.world.state, |_, at| newest = newest.max(*at));
        let by_us = self.now.as_micros().saturating_sub(newest.as_micros());
        if by_us == 0 {
            return;
        }
        self.outbox_clock_jumped(by_us);
        self.nothing_in_the_future();
        let agent = self.world.policy.agent.name.clone();
        let seconds = -by_us as f64 / 1e6;
        self.event(EventKind::Agent, EventState::Info, Severity::Warning, &agent, |e| {
            e.text = format!("the clock was set back by {seconds:.1} s or more while no agent ran");
        });
    }

    /// A clock that was ahead wrote times that have not come yet: they are now.
    fn nothing_in_the_future(&mut self) {
        let (now, changed) = (self.now, &mut self.fx.changed);
        stored_times(&mut self.world.state, |row, at| {
            if *at > now {
                *at = now;
                changed.insert(row);
            }
        });
        for (name, check) in &mut self.world.state.checks {
            // Up to this far ahead it keeps jobs from running twice.
            if check.last_slot.is_some_and(|slot| slot > now + CLOCK_BACK_MAX) {
                check.last_slot = Some(now);
                changed.insert(RowKey::Check(name.clone()));
            }
        }
        for at in self.world.derived.recovered.values_mut() {
            *at = (*at).min(now);
        }
    }
}
