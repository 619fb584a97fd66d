//! Sources: what can be run as a check. One file per kind, and one line in [`KINDS`].

mod command;
mod connect;
mod dns;
mod http;
mod json;
mod lookback;
mod nagios;
mod options;
mod passive;
mod socket;
#[cfg(test)]
mod suite;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

pub use crate::shared::BoxFuture;
use crate::shared::Shared;
pub use lookback::Look;
use std::{fmt::Debug, sync::Arc, time::Duration};
use watchbell_core::{
    config::Kind,
    model::{Name, Outcome},
};

/// Something that can be run once, and says what it found.
pub trait Probe: Send + Sync + Debug {
    /// Runs once. Never fails: what goes wrong is in the outcome. Ends by `run.timeout` on its own, with
    /// the finding `#monitor-timeout` where it could not finish; where no answer is what it looks for (a network
    /// check), with an error of the check itself.
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome>;

    /// What can be seen without running it: a program that is not there, a secret that is not set.
    /// Each is a warning at validation, and a fault when it runs.
    fn preflight(&self) -> Vec<String> {
        Vec::new()
    }

    /// The folder that its command runs in, where it is a command and has one of its own.
    fn cwd(&self) -> Option<&std::path::Path> {
        None
    }
}

/// One run.
#[derive(Debug)]
pub struct Run<'a> {
    /// The check's full name.
    pub check: &'a Name,
    /// How long it may take.
    pub timeout: Duration,
    /// What all probes share.
    pub shared: &'a Shared,
    /// What only a look-back needs.
    pub lookback: Option<Look<'a>>,
}

/// What the config of a check becomes.
pub type Program = Arc<dyn Probe>;

/// Reads what web and name servers answer: for fuzzing, which knows no server.
#[doc(hidden)]
pub fn read_answers(bytes: &[u8]) {
    http::read_body(bytes);
    dns::read_text(bytes);
    drop(crate::shared::json::documents(bytes));
    crate::shared::net::excerpt(bytes);
    drop(crate::shared::net::Address::tcp(&String::from_utf8_lossy(bytes), None));
}

/// Every kind of check. A kind is one file here and one line in this list.
pub const KINDS: &[Kind<Program>] = &[
    command::KIND,
    nagios::KIND,
    json::KIND,
    socket::TCP,
    socket::UNIX,
    connect::KIND,
    http::KIND,
    tls::KIND,
    dns::KIND,
    lookback::KIND,
    passive::KIND,
];
