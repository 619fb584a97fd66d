//! One file per state machine. Each is a pure function from what was known and what arrived to what is known.

pub mod check;
pub mod digits;
pub mod fault;
pub mod flapping;
pub mod lookback;
pub mod outbox;
pub mod squelch;
pub mod threshold;
