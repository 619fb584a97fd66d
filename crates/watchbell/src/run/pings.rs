//! The keys by which `/ping/KEY` reports on a passive check without a token. Only their hashes are kept.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use watchbell_core::{config::Policy, model::Name};
use watchbell_io::shared::secret;

/// Shorter keys could be guessed.
pub const PING_KEY_CHARS_MIN: usize = 16;

/// Checks by the hashes of their keys.
#[derive(Clone, Debug, Default)]
pub struct Pings(BTreeMap<[u8; 32], Name>);

impl Pings {
    /// Reads the keys that a config names; with what is wrong with them, by check.
    pub fn read(policy: &Policy) -> (Pings, Vec<(Name, String)>) {
        let (mut pings, mut wrong, mut twice) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for (name, check) in &policy.checks {
            let Some(key) = &check.ping_key else { continue };
            match secret::read(key) {
                Err(why) => wrong.push((name.clone(), format!("its `ping_key` is not known: {why}"))),
                Ok(key) if key.chars().count() < PING_KEY_CHARS_MIN => {
                    let why = format!("its `ping_key` could be guessed: give {PING_KEY_CHARS_MIN} characters or more");
                    wrong.push((name.clone(), why));
                }
                Ok(key) => {
                    let hash: [u8; 32] = Sha256::digest(&key).into();
                    if let Some(other) = pings.insert(hash, name.clone()) {
                        twice.insert(hash);
                        wrong.push((name.clone(), format!("its `ping_key` is that of `{other}`: give each its own")));
                    }
                }
            }
        }
        // Nobody could say which of them is meant.
        twice.iter().for_each(|hash| drop(pings.remove(hash)));
        (Pings(pings), wrong)
    }

    /// The check that a key is for. A look-up of its hash tells nothing of how near a guess was.
    pub fn check(&self, key: &str) -> Option<&Name> {
        self.0.get::<[u8; 32]>(&Sha256::digest(key).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use watchbell_core::config::{CheckPolicy, Secret};

    #[test]
    fn keys_are_read_once_for_each_check() {
        let mut policy = Policy::default();
        for (name, key) in [
            ("//h/f/a", "0123456789abcdef"),
            ("//h/f/b", "short"),
            ("//h/f/c", "one and the same key"),
            ("//h/f/d", "one and the same key"),
            ("//h/f/e", ""),
        ] {
            let mut check = CheckPolicy::bare(Name::new(name), vec![]);
            check.ping_key = Some(Secret::Value(key.to_owned()));
            policy.checks.insert(Name::new(name), Arc::new(check));
        }
        let (pings, wrong) = Pings::read(&policy);
        assert_eq!(pings.check("0123456789abcdef"), Some(&Name::new("//h/f/a")));
        for none in ["short", "one and the same key", "", "0123456789abcdeF", "//h/f/a"] {
            assert_eq!(pings.check(none), None, "{none}");
        }
        let wrong: Vec<&str> = wrong.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(wrong, ["//h/f/b", "//h/f/d", "//h/f/e"]);
        assert!(!format!("{pings:?}").contains("0123456789abcdef"));
    }
}
