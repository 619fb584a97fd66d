//! The binary, end to end.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it expects")]

mod command_line;
mod kill;
mod operations;
mod place;
