//! What can come in. A closed list: nothing else can change the world.

use crate::{
    config::Policy,
    model::{EventState, Failure, Finding, Name, Outcome, Receipt, Severity, Timestamp},
};
use std::{collections::BTreeMap, sync::Arc};

/// One fact from outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The agent has started; the state was loaded. Always the first.
    Start {
        /// Used only if the state has none yet.
        agent_id: String,
    },
    /// The config changed.
    Reload(Arc<Policy>),
    /// Time has come for something ([`super::World::next_wake`]).
    Wake,
    /// A run of a check ended.
    Result {
        /// The check.
        check: Name,
        /// The id from [`super::RunOrder`].
        run: u64,
        /// When it was really started.
        started: Timestamp,
        /// What it brought.
        outcome: Box<Outcome>,
    },
    /// Somebody else reports on a passive check.
    Report {
        /// The check.
        check: Name,
        /// Since when it waited, where no agent ran; `None` is now.
        at: Option<Timestamp>,
        /// What it says.
        outcome: Box<Outcome>,
    },
    /// What a passive check reports on has begun.
    Begin {
        /// The check.
        check: Name,
        /// Since when it waited, where no agent ran; `None` is now.
        at: Option<Timestamp>,
    },
    /// A delivery was taken.
    Delivered {
        /// Its id in the outbox.
        id: u64,
        /// What the receiver answered.
        receipt: Receipt,
    },
    /// A try of a delivery failed.
    DeliveryFailed {
        /// Its id in the outbox.
        id: u64,
        /// How.
        failure: Failure,
    },
    /// Keep alerts quiet.
    Squelch {
        /// Searched anywhere in fault names.
        regex: String,
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// Until when; `None` until it is lifted.
        until: Option<Timestamp>,
        /// Meant to stay: the meta check does not complain of it.
        permanent: bool,
        /// When it holds, as hours in the agent's zone; `None` is all the time.
        every: Option<String>,
    },
    /// Lift a squelch.
    Unsquelch {
        /// Its regular expression, exactly.
        regex: String,
        /// Who.
        by: String,
    },
    /// Somebody takes care of a fault.
    Acknowledge {
        /// The fault.
        fault: Name,
        /// Who.
        by: String,
        /// What they say.
        comment: String,
        /// Until when; `None` until the fault is gone.
        until: Option<Timestamp>,
    },
    /// Nobody does any more.
    Unacknowledge {
        /// The fault.
        fault: Name,
        /// Who says so.
        by: String,
    },
    /// Run a check now, besides its schedule.
    RunNow {
        /// The check.
        check: Name,
        /// Who asked.
        by: String,
    },
    /// A message from a script.
    Message(Box<Message>),
    /// The agent found something about itself, or found it gone: the fault is `AGENT#PART`.
    Own {
        /// The part: `store`, `config`, `disk`.
        part: String,
        /// What is wrong; `None` when nothing is.
        finding: Option<Finding>,
    },
    /// The wall clock was set: it is off by more than two seconds from what the monotonic clock says.
    ClockJumped {
        /// By how much, forward positive.
        by_us: i64,
    },
    /// The agent stops in good order.
    Stop,
}

/// A message from a script.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Since when it waited, where no agent ran; `None` is now.
    pub at: Option<Timestamp>,
    /// Where it came from (`send`, `exec`).
    pub source: String,
    /// What it is about; made a name below `//AGENT/send/` unless it starts with `//`.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// What it means.
    pub state: EventState,
    /// A topic.
    pub topic: Option<String>,
    /// One line, then more if any.
    pub text: String,
    /// Where to look.
    pub link: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who is told; empty is nobody, it is only kept.
    pub notify: Vec<Name>,
    /// A key that makes repeats of one request the same message.
    pub id: Option<String>,
}
