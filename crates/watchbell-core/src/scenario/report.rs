//! What happened in a scenario, and what did not that should have.

use crate::model::Timestamp;
use std::fmt::{self, Write};

/// This much of the timeline is shown beside an expectation that failed.
const NEARBY_MAX: usize = 12;

/// What came of a scenario.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// What happened, in order.
    pub timeline: Vec<Entry>,
    /// Expectations that were not met.
    pub failures: Vec<Failure>,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When, by the wall clock of the scenario.
    pub at: Timestamp,
    /// What sort of thing.
    pub kind: EntryKind,
    /// What, for people.
    pub text: String,
}

/// What sort of thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A line of the scenario.
    Line,
    /// A run brought something else than the one before.
    Run,
    /// An event of the stream.
    Event,
    /// Why something was told, held or dropped.
    Decision,
    /// A receiver took a delivery.
    Delivery,
    /// A try of a delivery failed.
    Failed,
}

/// An expectation that was not met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The line of the scenario.
    pub line: usize,
    /// When it was looked for.
    pub at: Timestamp,
    /// What was expected: the line itself.
    pub expected: String,
    /// What was found instead.
    pub found: String,
    /// The end of the timeline by then.
    pub nearby: Vec<Entry>,
    /// What may help.
    pub hint: Option<String>,
}

impl Report {
    /// Every expectation was met.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    pub(super) fn note(&mut self, at: Timestamp, kind: EntryKind, text: impl Into<String>) {
        self.timeline.push(Entry { at, kind, text: text.into() });
    }

    pub(super) fn fail(&mut self, line: usize, at: Timestamp, expected: &str, why: Mismatch) {
        let from = self.timeline.len().saturating_sub(NEARBY_MAX);
        let nearby = self.timeline[from..].to_vec();
        let expected = expected.to_owned();
        self.failures.push(Failure { line, at, expected, found: why.found, nearby, hint: why.hint });
    }
}

/// Why an expectation is not met.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Mismatch {
    pub found: String,
    pub hint: Option<String>,
}

impl Mismatch {
    pub fn new(found: impl Into<String>) -> Mismatch {
        Mismatch { found: found.into(), hint: None }
    }

    pub fn hint(found: impl Into<String>, hint: impl Into<String>) -> Mismatch {
        Mismatch { found: found.into(), hint: Some(hint.into()) }
    }
}

impl EntryKind {
    const fn word(self) -> &'static str {
        match self {
            EntryKind::Line => "line",
            EntryKind::Run => "run",
            EntryKind::Event => "event",
            EntryKind::Decision => "why",
            EntryKind::Delivery => "told",
            EntryKind::Failed => "failed",
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<27} {:<6} {}", self.at.to_string(), self.kind.word(), self.text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}", self.line, self.expected)?;
        writeln!(f, "  at {}: {}", self.at, self.found)?;
        if let Some(hint) = &self.hint {
            writeln!(f, "  hint: {hint}")?;
        }
        f.write_str("  before that:\n")?;
        self.nearby.iter().try_for_each(|entry| writeln!(f, "    {entry}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.timeline.iter().filter(|e| e.kind != EntryKind::Decision) {
            writeln!(f, "{entry}")?;
        }
        for failure in &self.failures {
            f.write_char('\n')?;
            write!(f, "{failure}")?;
        }
        Ok(())
    }
}
