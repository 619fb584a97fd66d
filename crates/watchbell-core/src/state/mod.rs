//! One file per state machine. Each is a pure function from what was known and what arrived to what is known.

pub mod flapping;
pub mod threshold;
