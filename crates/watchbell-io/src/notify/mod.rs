//! Notifiers: ways to reach people and systems. One file per kind, and one line in [`KINDS`].

pub mod command;
pub mod email;
mod http_retry;
pub mod log;
pub mod pagerduty;
pub mod slack;
mod smtp;
pub mod sns;
#[cfg(test)]
mod suite;
mod template;
pub mod webhook;

use crate::{shared::Shared, source::BoxFuture};
use std::{fmt::Debug, sync::Arc, time::Duration};
pub use template::JOB as TEMPLATE;
use watchbell_core::{
    config::Kind,
    model::{Delivery, Failure, Receipt},
};

/// A way to reach people or systems. Retries, pacing, repeats and giving up are the outbox's.
pub trait Notifier: Send + Sync + Debug {
    /// Sends one delivery, once. A receipt only after the receiver took it.
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>>;

    /// What `watchbell test --dry-run` shows instead of sending: the body, secrets masked.
    fn preview(&self, delivery: &Delivery) -> String;

    /// The places it sends to, where it sends to several: the outbox makes one delivery for each. Empty for one
    /// place only.
    fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    /// What can be seen without sending: a secret that is not set, a program that is not there.
    fn preflight(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One try.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// How long it may take.
    pub timeout: Duration,
    /// What all notifiers share.
    pub shared: &'a Shared,
}

/// What the config of a notifier becomes.
pub type Channel = Arc<dyn Notifier>;

/// Every kind of notifier. A kind is one file here and one line in this list.
pub const KINDS: &[Kind<Channel>] =
    &[slack::KIND, pagerduty::KIND, email::KIND, sns::KIND, webhook::KIND, command::KIND, log::KIND];
