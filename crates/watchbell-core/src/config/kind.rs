//! Kinds: what a check or a notifier can be. The list of kinds comes from outside, so that adding one is
//! one file and one line there; help, reference and schema derive from what is stated here.

use super::Reader;

/// The shape of a key's value, for the reference and the JSON schema. [`Reader`]'s method of the same name reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// true or false.
    Boolean,
    /// `"90s"`, `"5m"`, `"1h30m"`, `"2d"`; a bare number is seconds.
    Duration,
    /// One text or a list of texts.
    Strings,
    /// `{ env = "NAME" }` or `{ file = "PATH" }`.
    Secret,
    /// Text, or a reference as for a secret.
    Text,
    /// A regular expression.
    Pattern,
    /// Keys and texts.
    StringMap,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Something of its own shape, described in the doc.
    Other,
}

/// One key of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: Shape,
    /// What it means, with its default.
    pub doc: &'static str,
}

/// What the outbox must know of a notifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Can edit what it said (a changed message is an [`crate::model::Action::Update`]).
    pub edits: bool,
    /// Can say many things in one message.
    pub digests: bool,
    /// Knows that somebody took care ([`crate::model::Action::Acknowledge`]).
    pub acknowledges: bool,
    /// At the least this many milliseconds between two messages, unless the config says otherwise.
    pub gap_ms: u32,
}

/// A kind of check or notifier. `T` is what its config becomes.
#[derive(Debug)]
pub struct Kind<T: 'static> {
    /// The word in the config: the key that makes a check this kind (`http = "…"`), or a notifier's `kind`.
    pub key: &'static str,
    /// What it is, one paragraph of Markdown.
    pub doc: &'static str,
    /// A complete TOML example: the table with its header.
    pub example: &'static str,
    /// Its own keys, the one that names it included; those common to all are read before.
    pub keys: &'static [Key],
    /// What the outbox must know (notifiers only).
    pub capabilities: Capabilities,
    /// Reads its table. `None` when a problem was reported that leaves nothing to use.
    pub read: fn(&mut Reader<'_>) -> Option<T>,
}

/// All kinds: `P` is a program that can be run as a check, `N` a way to tell.
#[derive(Debug)]
pub struct Kinds<P: 'static, N: 'static> {
    /// Kinds of checks.
    pub checks: &'static [Kind<P>],
    /// Kinds of notifiers.
    pub notifiers: &'static [Kind<N>],
}

impl<P, N> Clone for Kinds<P, N> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P, N> Copy for Kinds<P, N> {}
