//! Pure parsers and encoders of what others write: bytes in, plain data or a located error out.
//!
//! Everything here reads what untrusted programs print: nothing panics, every list and text has a named limit,
//! and what could not be understood is reported beside what could.

pub mod json;
pub mod json_plugin;
pub mod nagios;
pub mod number;
pub mod perfdata;
pub mod range;
pub mod rows;
pub mod run;
pub mod text;
pub mod unit;
pub mod values;
