//! The agent is killed at random, again and again: no delivery is lost, none is made twice with different keys.

use crate::place::Place;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use watchbell_core::model::{Action, Verdict};

/// How often the agent is killed.
const KILLS: u32 = 200;
/// How many checks flip.
const CHECKS: u32 = 8;

/// S3.7: state is read back at start, nothing is alerted twice, what cleared meanwhile is resolved; over 200 kills
/// at random moments. The seed is printed; `WATCHBELL_SEED` replays it.
#[test]
fn two_hundred_kills_lose_nothing() {
    let seed = std::env::var("WATCHBELL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    println!("seed {seed}");
    let mut random = SplitMix(seed);
    let place = place();
    for _ in 0..KILLS {
        let agent = place.start();
        for n in 0..CHECKS {
            if random.below(4) == 0 {
                flip(&place, n, random.below(2) == 0);
            }
        }
        std::thread::sleep(Duration::from_millis(20 + random.below(350)));
        drop(agent);
    }
    (0..CHECKS).for_each(|n| flip(&place, n, true));
    let agent = place.start();
    wait_until_told(&place);
    drop(agent);
    judge(&place);
}

/// Checks that say what a file says.
fn place() -> Place {
    let mut config = String::new();
    for n in 0..CHECKS {
        config += &format!("[check.c{n}]\nnagios = \"./says.sh c{n}\"\nevery = \"1s\"\nretry = 0\n");
    }
    let place = Place::new("", &config);
    place.script("says.sh", "#!/bin/sh\nread word < \"$1\"\necho \"$word\"\n[ \"$word\" = well ] || exit 2\n");
    (0..CHECKS).for_each(|n| flip(&place, n, true));
    place
}

/// What a check will say.
fn flip(place: &Place, n: u32, well: bool) {
    place.file(&format!("c{n}"), if well { "well\n" } else { "broken\n" });
}

/// Waits until nothing is wrong and nothing waits to be told, for a while.
fn wait_until_told(place: &Place) {
    let mut quiet_since = None::<Instant>;
    place.until("nothing wrong and nothing to tell", || {
        let state = place.state();
        if state.outbox.is_empty() && state.faults.is_empty() && state.told.is_empty() {
            quiet_since.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(3)
        } else {
            quiet_since = None;
            false
        }
    });
}

fn judge(place: &Place) {
    let told = place.told();
    let keys: BTreeSet<&str> = told.iter().map(|d| d.key.as_str()).collect();
    let mut triggers = BTreeMap::<(String, String), BTreeSet<&str>>::new();
    let mut resolves = BTreeSet::new();
    for delivery in &told {
        let episode = delivery.key.rsplit('/').nth(3).unwrap().to_owned();
        let of = (delivery.event.name.to_string(), episode);
        match delivery.action {
            Action::Trigger => drop(triggers.entry(of).or_default().insert(&delivery.key)),
            Action::Resolve => drop(resolves.insert(of)),
            other => panic!("nobody asked for {other:?}"),
        }
    }
    assert!(triggers.len() > 20, "only {} faults were told: the test proves little", triggers.len());
    for (of, keys) in &triggers {
        assert_eq!(keys.len(), 1, "{of:?} was triggered with different keys");
        assert!(resolves.contains(of), "{of:?} was triggered and never resolved");
    }
    let mut decided = BTreeSet::new();
    for n in 0..CHECKS {
        let decisions = place.journal().decisions_of(&format!("//test/watchbell/c{n}"), 100_000).unwrap();
        decided.extend(decisions.into_iter().filter(|d| d.verdict == Verdict::Tell).filter_map(|d| d.delivery));
    }
    println!("{} decided, {} deliveries, {} keys", decided.len(), told.len(), keys.len());
    assert_eq!(decided.iter().map(String::as_str).collect::<BTreeSet<_>>(), keys, "decided and told differ");
}

/// A small generator with a seed (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
