//! A fault: a named thing that is wrong now.

use super::{Name, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a fault is still counting its retries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hardness {
    /// Seen fewer times in a row than its attempts; nobody is told.
    Soft,
    /// Certain.
    Hard,
}

/// Somebody has seen it and takes care.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they say about it.
    pub comment: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when; `None` until the fault is gone.
    pub until: Option<Timestamp>,
}

/// A named thing that is wrong now. A fault that is gone has no row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// Its full name: `//AGENT/FILE/CHECK[#PART]`.
    pub name: Name,
    /// The check that found it.
    pub check: Name,
    /// How bad it is now: an error that used up its attempts is critical.
    pub severity: Severity,
    /// How bad the source says it is.
    pub reported: Severity,
    /// Whether it is certain.
    pub state: Hardness,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many attempts make it hard (`retry + 1`).
    pub attempts: u32,
    /// Whether an error that stays becomes critical.
    pub escalates: bool,
    /// The source says that it does not know: people read "unknown" in place of the severity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// The run that found it says nothing about what its check is for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unjudged: bool,
    /// The source's own text.
    pub message: String,
    /// More lines, where the source had them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When it was first seen in this episode.
    pub since: Timestamp,
    /// When a run last found it.
    pub updated: Timestamp,
    /// Counts the openings of this name, from 1.
    pub episode: u64,
    /// Counts the changes worth telling within the episode, from 1.
    pub change: u32,
    /// The check cannot be judged now (its file is broken): this is what was known before.
    #[serde(default)]
    pub stale: bool,
    /// Why nobody is told, although it is certain and bad enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Notifiers that are not told for now, although others may be, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_for: BTreeMap<Name, Held>,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

impl Fault {
    /// How bad it is, in the word that people read.
    pub fn word(&self) -> &'static str {
        if self.unknown { Severity::UNKNOWN } else { self.severity.word() }
    }
}

/// Why nobody is told of a fault for now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub enum Held {
    /// A squelch matches its name.
    Squelch {
        /// The squelch's regular expression.
        regex: String,
    },
    /// A check that it depends on is failing: it is unreachable, not a problem of its own.
    Parent {
        /// That check.
        parent: Name,
    },
    /// Somebody takes care of it.
    Acknowledged {
        /// Who.
        by: String,
    },
    /// Its check changes state too often.
    Flapping,
    /// It is not as bad as a notifier asks for; of one notifier only.
    Severity {
        /// From where on that is told.
        from: Severity,
    },
    /// Outside the hours at which people may be told.
    Hours {
        /// When they begin.
        until: Option<Timestamp>,
    },
}
