//! Whether a source can be reached, as its questions found out: so that an outage is found out by one of them, and is
//! the source's fault rather than each question's.
//!
//! - **Away** is believed as long as it took to find out (at most [`BELIEVED_MAX`]); after that one question tries, and
//!   the others are told at once what the last one found. What is found out at once is tried at once.
//! - **Broken** questions are the source's fault only if nobody else is answered: see [`Known::others_answered`].

use super::Trouble;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use watchbell_core::model::Answer;

/// That a source is away is believed no longer than this.
pub const BELIEVED_MAX: Duration = Duration::from_secs(30);

/// An answer is a sign of life for so long.
pub const ALIVE: Duration = Duration::from_secs(120);

/// So many queries that broke are remembered; beyond, all are forgotten.
pub const BROKEN_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reach(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    away: Option<Away>,
    /// The last answers to two different queries, the newest first.
    answered: [Option<(u64, Instant)>; 2],
    /// Queries whose last question broke, and when.
    broken: BTreeMap<u64, Instant>,
}

#[derive(Debug)]
struct Away {
    why: String,
    /// Nobody tries before.
    until: Instant,
    /// Somebody tries now.
    tried: bool,
}

impl Known {
    fn may_try(&self) -> Result<(), String> {
        match &self.away {
            Some(away) if away.tried || Instant::now() < away.until => Err(away.why.clone()),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, query: u64) {
        self.broken.remove(&query);
        if self.answered[0].is_some_and(|(last, _)| last != query) {
            self.answered[1] = self.answered[0];
        }
        self.answered[0] = Some((query, Instant::now()));
    }

    /// A query broke: whether others were answered since it broke before. The first time it is whether others were
    /// answered of late, and none of them broke since.
    fn others_answered(&mut self, query: u64) -> bool {
        let now = Instant::now();
        let other = self.answered.iter().flatten().find(|(other, _)| *other != query).map(|(_, at)| *at);
        let with_others = match (other, self.broken.get(&query)) {
            (None, _) => false,
            (Some(other), Some(before)) => other > *before,
            (Some(other), None) => other + ALIVE > now && self.broken.values().all(|at| *at < other),
        };
        if self.broken.len() >= BROKEN_MAX {
            self.broken.clear();
        }
        self.broken.insert(query, now);
        with_others
    }
}

impl Reach {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it makes sense to ask.
    ///
    /// # Errors
    /// It is away and somebody else tries, or it is too early to: why it is away.
    pub(super) fn may_try(&self) -> Result<(), String> {
        self.known().may_try()
    }

    /// The same, and begins.
    pub(super) fn turn(&self) -> Result<Turn<'_>, String> {
        let mut known = self.known();
        known.may_try()?;
        if let Some(away) = &mut known.away {
            away.tried = true;
        }
        Ok(Turn { reach: self, tries: known.away.is_some(), begun: Instant::now() })
    }
}

/// A question under way. One that is given up on leaves the try to the next.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    reach: &'a Reach,
    tries: bool,
    begun: Instant,
}

impl Turn<'_> {
    /// What came of it, and whose fault it is.
    pub(super) fn found(mut self, query: &str, answer: Result<Answer, Trouble>) -> Result<Answer, Trouble> {
        let mut hasher = DefaultHasher::new();
        query.hash(&mut hasher);
        let query = hasher.finish();
        let mut known = self.reach.known();
        self.tries = false;
        if let Err(Trouble::Away(why)) = &answer {
            let now = Instant::now();
            let until = now + now.duration_since(self.begun).min(BELIEVED_MAX);
            known.away = Some(Away { why: why.clone(), until, tried: false });
            return answer;
        }
        known.away = None;
        match answer {
            Ok(_) => known.answer(query),
            Err(Trouble::Broken(why)) if !known.others_answered(query) => return Err(Trouble::Away(why)),
            _ => {}
        }
        answer
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.tries
            && let Some(away) = &mut self.reach.known().away
        {
            away.tried = false;
        }
    }
}
