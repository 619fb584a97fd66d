//! The binary, end to end.

mod kill;
