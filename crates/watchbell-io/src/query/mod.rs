//! Where queries are asked. One file per kind of place, and one line in [`SCHEMES`] (or, for what has no address, in
//! [`open`]).
//!
//! A place reads and never writes: it asks in a read-only transaction where the datastore has such, with a time limit
//! of its own on the datastore's side where it can, so that a query that is given up on does not go on there.

mod command;
mod decode;
mod http;
mod mysql;
mod odbc;
mod postgres;
mod sql;
mod sqlite;
#[cfg(test)]
mod testing;

use crate::shared::{BoxFuture, Shared};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use watchbell_core::{
    config::{SourcePlace, SourcePolicy},
    model::{Answer, Name},
};

/// One question.
#[derive(Debug)]
pub struct Ask<'a> {
    /// What is asked, as it stands in the config.
    pub query: &'a str,
    /// The check that asks, and what its config passes on, for commands.
    pub checker: &'a str,
    /// See `checker`.
    pub extra: Option<&'a serde_json::Value>,
    /// At most so many rows are read; [`Answer::truncated`] says that there were more.
    pub rows_max: usize,
    /// How long it may take in all.
    pub timeout: Duration,
    /// What all share.
    pub shared: &'a Shared,
}

/// Why there is no answer. The text is one line, says what happened and where, then what to do, and holds no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The source can't be reached, or won't let us in: every query that it is asked would fail.
    Away(String),
    /// This query is wrong, or what came back can't be read.
    Wrong(String),
    /// It took longer than the check allows.
    Slow(String),
}

/// Somewhere queries can be asked.
pub trait Place: Send + Sync + Debug {
    /// Asks once. Ends by `ask.timeout`. Must be called within a tokio runtime.
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>>;

    /// What can be seen without asking.
    fn preflight(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A place, or why there is none, in a text for people.
pub type Opened = Result<Box<dyn Place>, String>;

/// A kind of place that an address names.
#[derive(Debug)]
pub struct Scheme {
    /// The words before the first colon of the address.
    pub words: &'static [&'static str],
    /// What it is, one paragraph of Markdown.
    pub doc: &'static str,
    /// An address.
    pub example: &'static str,
    /// Makes it; nothing is connected yet. Fails with a text for people.
    pub open: fn(&Arc<SourcePolicy>) -> Opened,
}

/// Every kind of place that an address names. A kind is one file here and one line in this list.
pub const SCHEMES: &[Scheme] = &[
    Scheme { words: &["sqlite"], doc: sqlite::DOC, example: "sqlite:/var/lib/app/app.db", open: sqlite::open },
    Scheme {
        words: &["postgres", "postgresql"],
        doc: postgres::DOC,
        example: "postgres://watchbell@db.example/app?sslmode=require",
        open: postgres::open,
    },
    Scheme {
        words: &["mysql", "mariadb"],
        doc: mysql::DOC,
        example: "mysql://watchbell@db.example/app?ssl-mode=REQUIRED",
        open: mysql::open,
    },
    Scheme { words: &["odbc"], doc: odbc::DOC, example: "odbc:DSN=warehouse;UID=watchbell", open: odbc::open },
    Scheme { words: &["https", "http"], doc: http::DOC, example: "https://api.example.com/v1", open: http::open },
];

/// A source: a place, and who may ask it at the same time.
#[derive(Debug)]
pub struct Source {
    policy: Arc<SourcePolicy>,
    permits: Semaphore,
    place: Opened,
}

impl Source {
    /// A source. What is wrong with it is said when it is asked, and by [`Source::preflight`].
    pub fn new(policy: Arc<SourcePolicy>) -> Source {
        let place = open(&policy);
        Source { permits: Semaphore::new(policy.connections_max), place, policy }
    }

    /// What the config says of it.
    pub fn policy(&self) -> &SourcePolicy {
        &self.policy
    }

    /// Asks once, when it is this question's turn.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let name = &self.policy.name;
        let place = self.place.as_ref().map_err(|why| Trouble::Away(format!("source `{name}`: {why}")))?;
        let begun = tokio::time::Instant::now();
        let slow = || Trouble::Slow(format!("no answer from source `{name}` within {:?}", ask.timeout));
        let Ok(permit) = tokio::time::timeout(ask.timeout, self.permits.acquire()).await else {
            let most = self.policy.connections_max;
            return Err(Trouble::Slow(format!(
                "waited {:?} for one of the {most} connections of source `{name}`: raise its `connections`, or look for \
                 what is slow with `watchbell slow`",
                ask.timeout
            )));
        };
        let left = Ask { timeout: ask.timeout.saturating_sub(begun.elapsed()), ..*ask };
        let answer = tokio::time::timeout(left.timeout, place.ask(&left)).await.unwrap_or_else(|_| Err(slow()));
        drop(permit);
        answer
    }

    /// What can be seen without asking.
    pub fn preflight(&self) -> Vec<String> {
        match &self.place {
            Ok(place) => place.preflight(),
            Err(why) => vec![why.clone()],
        }
    }
}

/// The sources of a config, those that did not change taken over with their connections.
pub fn sources(
    policies: &BTreeMap<Name, Arc<SourcePolicy>>,
    before: &BTreeMap<Name, Arc<Source>>,
) -> BTreeMap<Name, Arc<Source>> {
    let source = |(name, policy): (&Name, &Arc<SourcePolicy>)| {
        let known = before.get(name).filter(|source| *source.policy == **policy).cloned();
        (name.clone(), known.unwrap_or_else(|| Arc::new(Source::new(policy.clone()))))
    };
    policies.iter().map(source).collect()
}

fn open(policy: &Arc<SourcePolicy>) -> Opened {
    match &policy.place {
        SourcePlace::Command { .. } => command::open(policy),
        SourcePlace::Url { url, .. } => {
            let url = crate::shared::secret::read(url)?;
            let word = url.split(':').next().unwrap_or_default();
            let Some(scheme) = SCHEMES.iter().find(|scheme| scheme.words.contains(&word)) else {
                let known: Vec<&str> = SCHEMES.iter().flat_map(|scheme| scheme.words).copied().collect();
                return Err(format!("nothing here speaks `{word}:`; there is {}, and `command`", known.join(", ")));
            };
            (scheme.open)(policy)
        }
    }
}
