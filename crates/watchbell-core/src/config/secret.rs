//! Secrets by reference: what the config says about where one is found. Reading it is the shell's work.

use std::fmt;

/// Text that may be secret. Printing it in any way shows where it comes from, never what it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, without the line end.
    File(String),
    /// The value itself: for texts that need not be secret, and for old formats that write secrets into
    /// their files.
    Value(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "{{ env = {name:?} }}"),
            Secret::File(path) => write!(f, "{{ file = {path:?} }}"),
            Secret::Value(_) => f.write_str("***"),
        }
    }
}
