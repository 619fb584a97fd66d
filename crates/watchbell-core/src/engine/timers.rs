//! Timers as data: wake at a time, for a key. A key has one time.

use super::derived::Hashed;
use crate::model::Timestamp;
use std::{collections::BTreeSet, hash::Hash};

/// A set of timers.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_key: Hashed<K, Timestamp>,
    by_time: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_key: Hashed::default(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Hash + Clone> Timers<K> {
    /// Sets a key's time, or clears it.
    pub fn set(&mut self, key: K, at: Option<Timestamp>) {
        match (self.by_key.get_mut(&key), at) {
            (Some(old), Some(at)) => {
                // A tuple must be owned to be looked up; it is used for both.
                let mut entry = (std::mem::replace(old, at), key);
                self.by_time.remove(&entry);
                entry.0 = at;
                self.by_time.insert(entry);
            }
            (None, Some(at)) => {
                self.by_time.insert((at, key.clone()));
                self.by_key.insert(key, at);
            }
            (Some(_), None) => {
                if let Some(old) = self.by_key.remove(&key) {
                    self.by_time.remove(&(old, key));
                }
            }
            (None, None) => {}
        }
    }

    /// Sets a key's time unless an earlier one is set.
    pub fn set_earlier(&mut self, key: K, at: Timestamp) {
        if self.when(&key).is_none_or(|old| at < old) {
            self.set(key, Some(at));
        }
    }

    /// A key's time.
    pub fn when(&self, key: &K) -> Option<Timestamp> {
        self.by_key.get(key).copied()
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The earliest timer if it is due. It stays; whoever handles it sets it anew or clears it.
    pub fn due(&self, now: Timestamp) -> Option<(Timestamp, K)> {
        self.by_time.first().filter(|(at, _)| *at <= now).cloned()
    }
}
