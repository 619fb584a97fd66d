//! The binary, end to end; and what is true of the repository as a whole.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it expects")]

mod apart;
mod command_line;
mod examples;
mod exec;
mod handing_in;
mod install;
mod kill;
mod look_back_seed;
mod look_back_tools;
mod look_backs;
mod operations;
mod place;
mod secrets;
mod soak;
mod tidy;
