//! The binary, end to end.

mod kill;
mod operations;
mod place;
