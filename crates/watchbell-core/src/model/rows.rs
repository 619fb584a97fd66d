//! Rows of a datastore: what a query answers, what is kept of it, and what is counted.

use super::{Name, Timestamp};
use serde::{Deserialize, Serialize};

/// One value of an answer, as its source typed it.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A floating point number.
    Float(f64),
    /// An exact decimal, as the source writes it.
    Decimal(String),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A point in time.
    Time(Timestamp),
    /// Date and time of day without a zone: what they mean depends on the check's zone.
    Civil(jiff::civil::DateTime),
}

/// What thresholds want of a row that is measured: their names, and whether a run without the metric is fine.
pub type Wanted = std::collections::BTreeMap<String, bool>;

/// What a query answered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// Names of the columns, in order.
    pub columns: Vec<String>,
    /// Rows, each with a value for every column.
    pub rows: Vec<Vec<Cell>>,
    /// There were more rows than were asked for; the rest was not read.
    pub truncated: bool,
}

/// A row as it is kept: seen once, counted from then on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    /// What tells it from others; text, whatever the source's type was.
    pub key: String,
    /// When it happened.
    pub time: Timestamp,
}

/// A count that is asked for: how many rows have `from < time < until`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Which of the check's expectations, from 0.
    pub line: usize,
    /// The minute that is judged.
    pub minute: Timestamp,
    /// The window begins after it.
    pub from: Timestamp,
    /// The window ends before it.
    pub until: Timestamp,
    /// It was judged before and found to hold too few: rows that came late may mend that.
    pub again: bool,
}

/// The answer to a [`Window`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Which of the check's expectations, from 0.
    pub line: usize,
    /// The minute.
    pub minute: Timestamp,
    /// How many rows.
    pub count: u64,
}

/// What a look-back's run brought.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rows {
    /// How many rows the query answered.
    pub seen: u64,
    /// How many of them were new.
    pub new: u64,
    /// One for each window that was asked for; those of windows that were judged before may be missing where
    /// no new row could have changed them.
    pub counts: Vec<Counted>,
}

/// How a source is doing, as a run found it. Its outage is one fault of the agent, and not one of every check
/// that asks it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceNews {
    /// The source's name.
    pub source: Name,
    /// Why it can't be asked; `None`: it answers.
    pub problem: Option<String>,
}
