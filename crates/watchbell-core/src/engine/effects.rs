//! What a step wants done. The shell commits first, then lets deliveries leave.

use super::world::{Row, RowKey, State};
use crate::model::{Decision, Delivery, Event, Name, Outcome, Sample, Timestamp, Window};
use std::{collections::BTreeSet, sync::Arc};

/// What one step wants done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Effects {
    /// Rows of the state that changed or are gone.
    pub changed: BTreeSet<RowKey>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What was decided, for `watchbell why`.
    pub decisions: Vec<Decision>,
    /// Runs to start now (those marked so only after the commit).
    pub runs: Vec<RunOrder>,
    /// Deliveries to try now, after the commit.
    pub sends: Vec<SendOrder>,
    /// Numbers for the history and the sinks.
    pub samples: Vec<Sample>,
    /// Results for the checks' logs.
    pub results: Vec<ResultRecord>,
    /// Why an operator's input was not taken; the text says what to do.
    pub refused: Option<String>,
    /// What an operator should know of an input that was taken.
    pub warned: Option<String>,
}

/// Start this check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunOrder {
    /// The check.
    pub check: Name,
    /// Comes back with the result.
    pub run: u64,
    /// The time it was due.
    pub slot: Timestamp,
    /// It must not be started before this step is committed (jobs).
    pub after_commit: bool,
    /// What a look-back is to count.
    pub windows: Vec<Window>,
}

/// Try this delivery once.
#[derive(Clone, PartialEq, Debug)]
pub struct SendOrder {
    /// Its id in the outbox; comes back with the answer.
    pub id: u64,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// What to send.
    pub delivery: Arc<Delivery>,
}

/// One result, for the check's log.
#[derive(Clone, PartialEq, Debug)]
pub struct ResultRecord {
    /// The check.
    pub check: Name,
    /// The time it was due.
    pub slot: Timestamp,
    /// When it was started.
    pub started: Timestamp,
    /// What it brought.
    pub outcome: Box<Outcome>,
    /// The log wants it: something changed or failed, or the check logs every run.
    pub notable: bool,
}

/// What the store writes in one transaction.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Commit {
    /// Rows to write or delete.
    pub rows: Vec<Row>,
    /// Events to append to the journal.
    pub events: Vec<Event>,
    /// Decisions to append to the journal.
    pub decisions: Vec<Decision>,
}

impl Effects {
    /// Adds what a later step of the same batch wants.
    pub fn absorb(&mut self, later: Effects) {
        self.changed.extend(later.changed);
        self.events.extend(later.events);
        self.decisions.extend(later.decisions);
        self.runs.extend(later.runs);
        self.sends.extend(later.sends);
        self.samples.extend(later.samples);
        self.results.extend(later.results);
    }

    /// Takes out what the store must write: the rows as they are in `state` now. Call it before the next
    /// batch begins.
    pub fn take_commit(&mut self, state: &State) -> Commit {
        Commit {
            rows: std::mem::take(&mut self.changed).iter().map(|key| state.row(key)).collect(),
            events: std::mem::take(&mut self.events),
            decisions: std::mem::take(&mut self.decisions),
        }
    }
}

impl Commit {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.events.is_empty() && self.decisions.is_empty()
    }
}
