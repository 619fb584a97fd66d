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
mod reach;
mod sql;
mod sqlite;
#[cfg(test)]
mod testing;

use crate::shared::{BoxFuture, Shared, secret};
use reach::Reach;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use watchbell_core::{
    config::{RowFormat, SourcePlace, SourcePolicy},
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
    /// Columns besides key and time are of use too; without, sources that read text leave them out.
    pub all_columns: bool,
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
    /// It was reached and this came to nothing all the same: refused by its status, or cut off in the middle. What a place
    /// says so, [`Source::ask`] says only where other queries are answered; else the source is away.
    Broken(String),
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

/// A source: a place, who may ask it at the same time, and whether it can be reached.
#[derive(Debug)]
pub struct Source {
    policy: Arc<SourcePolicy>,
    permits: Semaphore,
    place: Mutex<Held>,
    reach: Reach,
}

/// A place as it was last opened.
#[derive(Debug)]
struct Held {
    /// The hash of what it was opened with: a secret may change while we run.
    of: u64,
    opened: Result<Arc<dyn Place>, String>,
}

/// An answer or none, and when it was this question's turn.
#[derive(Debug)]
pub struct Asked {
    /// What came.
    pub answer: Result<Answer, Trouble>,
    /// How long it had to wait for one of the source's connections.
    pub waited: Duration,
}

impl Source {
    /// A source. What is wrong with it is said when it is asked, and by [`Source::preflight`].
    pub fn new(policy: Arc<SourcePolicy>) -> Source {
        let place = Mutex::new(hold(&policy));
        Source { permits: Semaphore::new(policy.connections_max), place, reach: Reach::default(), policy }
    }

    /// What the config says of it.
    pub fn policy(&self) -> &SourcePolicy {
        &self.policy
    }

    /// Asks once, when it is this question's turn. While the source can't be reached, one question tries and the others
    /// are told what that one found.
    pub async fn ask(&self, ask: &Ask<'_>) -> Asked {
        let begun = Instant::now();
        let waited = |answer| Asked { answer, waited: begun.elapsed() };
        if let Err(why) = self.reach.may_try() {
            return waited(Err(Trouble::Away(why)));
        }
        let Ok(Ok(_permit)) = tokio::time::timeout(ask.timeout, self.permits.acquire()).await else {
            let most = self.policy.connections_max;
            return waited(Err(Trouble::Slow(format!(
                "waited {:?} for one of the {most} connections of source `{}`: raise its `connections`, or look for what is \
                 slow with `watchbell slow`",
                ask.timeout, self.policy.name
            ))));
        };
        // Meanwhile others may have found out.
        let turn = match self.reach.turn() {
            Ok(turn) => turn,
            Err(why) => return waited(Err(Trouble::Away(why))),
        };
        let waited = begun.elapsed();
        let left = Ask { timeout: ask.timeout.saturating_sub(waited), ..*ask };
        Asked { answer: turn.found(ask.query, self.ask_now(&left).await), waited }
    }

    async fn ask_now(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let name = &self.policy.name;
        let place = self.place().map_err(|why| Trouble::Away(format!("source `{name}`: {why}")))?;
        let slow = || Trouble::Slow(format!("no answer from source `{name}` within {:?}", ask.timeout));
        tokio::time::timeout(ask.timeout, place.ask(ask)).await.unwrap_or_else(|_| Err(slow()))
    }

    /// What can be seen without asking.
    pub fn preflight(&self) -> Vec<String> {
        self.place().map_or_else(|why| vec![why], |place| place.preflight())
    }

    /// The place, opened anew where it could not be or what it was opened with has changed.
    fn place(&self) -> Result<Arc<dyn Place>, String> {
        let mut held = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if held.opened.is_err() || written(&self.policy)? != held.of {
            *held = hold(&self.policy);
        }
        held.opened.clone()
    }
}

/// Reads rows that a web server or a command wrote: for fuzzing, which knows no source.
///
/// # Errors
/// What is wrong, and where.
#[doc(hidden)]
pub fn read_rows(format: &RowFormat, bytes: &[u8], rows_max: usize) -> Result<Answer, String> {
    decode::decode(format, bytes, decode::Keep::rows(rows_max))
}

/// Reads what a PostgreSQL server says: for fuzzing, which knows no server.
#[doc(hidden)]
pub fn read_postgres(bytes: &[u8]) {
    postgres::read_messages(bytes);
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

fn hold(policy: &Arc<SourcePolicy>) -> Held {
    match written(policy) {
        Ok(of) => Held { of, opened: open(policy).map(Arc::from) },
        Err(why) => Held { of: 0, opened: Err(why) },
    }
}

/// The hash of what a place is opened with; passwords and headers are read for each question or connection.
fn written(policy: &SourcePolicy) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    if let SourcePlace::Url { url, login, .. } = &policy.place {
        let parts = [("url", Some(url)), ("host", login.host.as_ref()), ("user", login.user.as_ref())];
        for (key, secret) in parts.into_iter().chain([("database", login.database.as_ref())]) {
            let text = secret.map(secret::read).transpose().map_err(|why| format!("`{key}`: {why}"))?;
            text.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

fn open(policy: &Arc<SourcePolicy>) -> Opened {
    let SourcePlace::Url { url, .. } = &policy.place else { return command::open(policy) };
    let url = secret::read(url)?;
    let word = url.split(':').next().unwrap_or_default();
    let scheme = SCHEMES.iter().find(|scheme| scheme.words.contains(&word)).ok_or_else(|| unspoken(&url))?;
    (scheme.open)(policy)
}

/// Nothing speaks with such an address. It may be a secret: only what is a scheme for sure is shown.
fn unspoken(url: &str) -> String {
    let known: Vec<&str> = SCHEMES.iter().flat_map(|scheme| scheme.words).copied().collect();
    let fit = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c))
    };
    match url.split_once("://").map(|(word, _)| word).filter(fit) {
        Some(word) => format!("nothing here speaks `{word}:`; there is {}, and `command`", known.join(", ")),
        None => format!("`url` is no address: it must begin with one of {}, and `:`", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;
