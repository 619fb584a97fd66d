//! Where and when an event may go.

pub mod hours;
