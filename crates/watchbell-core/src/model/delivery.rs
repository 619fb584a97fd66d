//! A delivery: one thing to tell, through one notifier; and the record of why.

use super::{Event, Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the receiver should do with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Something is wrong (or was told before and its message changed).
    Trigger,
    /// The same thing is wrong, in other words: edit what was said, do not ring again.
    Update,
    /// Somebody takes care of it.
    Acknowledge,
    /// It is well again.
    Resolve,
    /// A message to pass on; nothing opens or closes.
    Message,
    /// Many at once, because they waited too long to be told one by one.
    Digest,
}

impl Action {
    /// The lower-case word.
    pub const fn word(self) -> &'static str {
        match self {
            Action::Trigger => "trigger",
            Action::Update => "update",
            Action::Acknowledge => "acknowledge",
            Action::Resolve => "resolve",
            Action::Message => "message",
            Action::Digest => "digest",
        }
    }
}

/// One thing to tell, through one notifier. As JSON this is what webhooks and command notifiers get.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The same for every repeat of the same delivery, so that a receiver can drop repeats:
    /// `AGENT_ID/FAULT/EPISODE/CHANGE/NOTIFIER/ACTION`.
    pub key: String,
    /// What the receiver should do.
    pub action: Action,
    /// The notifier's name.
    pub notifier: Name,
    /// What happened.
    pub event: Event,
    /// Where a notifier can send to several targets: which one (a channel, an address). Empty is its default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// What the receiver answered when this matter was triggered (a message's id), for editing and threading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_receipt: Option<Receipt>,
    /// The events of a digest, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digest: Vec<Event>,
}

/// What a receiver answered to a delivery it took.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Receipt {
    /// The receiver's id of the message, where it has one (Slack's `channel:ts`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it said, in short, for `watchbell why`.
    #[serde(default)]
    pub text: String,
}

/// Why a delivery was not taken.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// It may work later.
    Retry {
        /// The receiver's own wish (`Retry-After`).
        after: Option<Duration>,
        /// What happened, then what to do. Secrets never appear in it.
        reason: String,
    },
    /// It will never work as it is.
    Permanent {
        /// What happened, then what to do. Secrets never appear in it.
        reason: String,
    },
}

impl Failure {
    /// A failure that may pass.
    pub fn retry(reason: impl Into<String>) -> Failure {
        Failure::Retry { after: None, reason: reason.into() }
    }

    /// A failure that will not pass.
    pub fn permanent(reason: impl Into<String>) -> Failure {
        Failure::Permanent { reason: reason.into() }
    }

    /// What happened.
    pub fn reason(&self) -> &str {
        match self {
            Failure::Retry { reason, .. } | Failure::Permanent { reason } => reason,
        }
    }
}

/// What a rule said about telling one fault through one notifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is told: a delivery was put in the outbox.
    Tell,
    /// It is not told now; it may be later (squelch, hours, parent, acknowledgement, flapping).
    Hold,
    /// It is not told at all.
    Drop,
}

/// One line of the trail that `watchbell why` prints.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// When it was decided.
    pub at: Timestamp,
    /// The fault, check or message it is about.
    pub name: Name,
    /// The fault's episode; 0 where there is none.
    pub episode: u64,
    /// The notifier it concerns, where it concerns one.
    pub notifier: Option<Name>,
    /// The rule that decided: `severity`, `attempts`, `squelch`, `hours`, `parent`, `acknowledged`,
    /// `flapping`, `told`, `outbox`.
    pub rule: String,
    /// What it said.
    pub verdict: Verdict,
    /// Why, for people.
    pub text: String,
    /// The delivery that came of it.
    pub delivery: Option<String>,
    /// The event that led to it.
    pub event: Option<u64>,
}
