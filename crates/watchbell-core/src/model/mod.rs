//! Plain data: what the other modules speak of. No behaviour beyond reading, comparing and printing.

mod delivery;
mod event;
mod fault;
mod name;
mod outcome;
mod rows;
mod severity;
mod time;

pub use delivery::{Action, Decision, Delivery, Failure, Receipt, Verdict};
pub use event::{Event, EventKind, EventState};
pub use fault::{Acknowledgement, Fault, Hardness, Held};
pub use name::Name;
pub use outcome::{Exit, Finding, Metric, NAMELESS, Outcome, Phase, Raw, Sample, Trouble};
pub use rows::{Answer, Cell, Counted, Row, Rows, SourceNews, Wanted, Window};
pub use severity::Severity;
pub use time::Timestamp;
