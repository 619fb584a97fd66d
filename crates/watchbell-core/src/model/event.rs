//! An event: something that happened. The stream is all of them, in order of commit.

use super::{Name, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What sort of thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A fault changed.
    Fault,
    /// An alarm changed.
    Alarm,
    /// A job wrote something, or a run failed to happen (missed, overlapped, interrupted).
    Job,
    /// Something came in from outside (`watchbell send`, an inlet).
    Message,
    /// Somebody did something: squelched, acknowledged, reloaded.
    Operator,
    /// The agent speaks of itself: started, stopped, clock jumped.
    Agent,
    /// A look-back judged a minute, or could not.
    Result,
}

/// What it means for the thing it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// Something became wrong.
    Problem,
    /// It is still wrong, in another way.
    Update,
    /// It is well again.
    Recovery,
    /// Neither.
    Info,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Position in the stream, from 1, in order of commit.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// When the agent learned of it.
    pub received_at: Timestamp,
    /// What sort of thing.
    pub kind: EventKind,
    /// What it means.
    pub state: EventState,
    /// How bad.
    pub severity: Severity,
    /// The source says that it does not know: people read "unknown" in place of the severity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Where it came from: `check`, `send`, `exec`, `agent`, an inlet's kind.
    pub source: String,
    /// The fault's, check's or job's name.
    pub name: Name,
    /// What ties the events of one matter together (for a fault its name).
    pub key: String,
    /// The host it concerns.
    pub host: String,
    /// The service or check, in short.
    pub service: String,
    /// A topic, where the source has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// One line for people, then more lines if any.
    pub text: String,
    /// More lines, where the source had them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Of a recovery: what is so now, in one line, where that is known (what the run that found it well says, or the
    /// number that was too high). `text` is what was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Of an acknowledgement: who takes care of it, and what they say they do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// What the check is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Labels of the check or message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Since when it has been wrong, for events about faults; of a recovery: since when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Which attempt of how many, for events about faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<(u32, u32)>,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<u64>,
    /// What came in, as it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<serde_json::Value>,
}

impl Event {
    /// How bad, in the word that people read.
    pub fn word(&self) -> &'static str {
        if self.unknown { Severity::UNKNOWN } else { self.severity.word() }
    }
}
