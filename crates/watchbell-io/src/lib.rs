//! Everything of Watchbell that touches the world: running checks, telling people, keeping rows on disk.

pub mod notify;
pub mod query;
pub mod shared;
pub mod source;
pub mod store;
