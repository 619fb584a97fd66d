//! How bad something is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a fault or an event is. Ordered: a critical is more than an error.
///
/// The numbers are those of CIMAA and of Python's `logging`: 20, 30, 40, 50.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing wrong; worth knowing. Never a fault.
    Info,
    /// Should be looked at some time. Does not escalate.
    Warning,
    /// Wrong; becomes critical when it stays through its retries.
    Error,
    /// Wrong and told at once.
    Critical,
}

impl Severity {
    /// All of them, mildest first.
    pub const ALL: [Severity; 4] = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];

    /// What people read where the source says that it does not know: it is told like an error, and is none.
    pub const UNKNOWN: &'static str = "unknown";

    /// The lower-case word.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }

    /// The number that CIMAA's plugins and tables use.
    pub const fn number(self) -> u8 {
        match self {
            Severity::Info => 20,
            Severity::Warning => 30,
            Severity::Error => 40,
            Severity::Critical => 50,
        }
    }

    /// From a word in any case (`warn` and `crit` count too).
    pub fn from_word(word: &str) -> Option<Severity> {
        match word.to_ascii_lowercase().as_str() {
            "info" => Some(Severity::Info),
            "warning" | "warn" => Some(Severity::Warning),
            "error" => Some(Severity::Error),
            "critical" | "crit" => Some(Severity::Critical),
            _ => None,
        }
    }

    /// From CIMAA's number.
    pub const fn from_number(number: i64) -> Option<Severity> {
        match number {
            20 => Some(Severity::Info),
            30 => Some(Severity::Warning),
            40 => Some(Severity::Error),
            50 => Some(Severity::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
