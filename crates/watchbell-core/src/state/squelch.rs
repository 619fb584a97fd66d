//! Squelches: regular expressions on fault names that keep alerts quiet, with a reason and an owner.
//! They stop alerts, not records.

use crate::model::Timestamp;
use serde::{Deserialize, Serialize};

/// A squelch. Its regular expression is its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Squelch {
    /// Searched anywhere in fault names.
    pub regex: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when; `None` until it is lifted.
    pub until: Option<Timestamp>,
    /// Meant to stay.
    pub permanent: bool,
    /// When it holds, as hours in the agent's zone; `None` is all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
}

impl Squelch {
    /// How long it lasts, for people: `until …`, `for good`.
    pub fn lasts(&self) -> String {
        let end = match self.until {
            Some(at) => format!("until {at}"),
            None if self.permanent => "for good".to_owned(),
            None => "until it is lifted".to_owned(),
        };
        self.every.as_ref().map_or(end.clone(), |every| format!("{end}, on {every}"))
    }

    /// What is lost where this one takes the place of another for the same expression: silence that the other promised.
    pub fn shortens(&self, other: &Squelch) -> Option<String> {
        let ends_sooner = self.until.is_some_and(|end| other.until.is_none_or(|other| end < other));
        let pauses = self.every.is_some() && self.every != other.every;
        (ends_sooner || pauses).then(|| {
            let Squelch { by, reason, .. } = other;
            let (old, new) = (other.lasts(), self.lasts());
            format!(
                "it takes the place of the squelch by {by} ({reason}), which held {old}: now it holds {new}, which is less"
            )
        })
    }
}
