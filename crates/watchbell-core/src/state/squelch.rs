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
}
