//! Everything of Watchbell that touches the world: running checks, telling people, keeping rows on disk.

pub mod notify;
pub mod shared;
pub mod source;
pub mod store;
