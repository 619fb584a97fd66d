//! The agent is killed at random, again and again: no delivery is lost, none is made twice with different keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use watchbell_core::model::{Action, Delivery, Verdict};
use watchbell_io::store::Journal;

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
    let place = Place::new();
    for _ in 0..KILLS {
        let agent = place.start();
        for n in 0..CHECKS {
            if random.below(4) == 0 {
                place.flip(n, random.below(2) == 0);
            }
        }
        std::thread::sleep(Duration::from_millis(20 + random.below(350)));
        drop(agent);
    }
    (0..CHECKS).for_each(|n| place.flip(n, true));
    let agent = place.start();
    place.wait_until_told();
    drop(agent);
    place.judge();
}

/// A config folder with checks that say what a file says, and a notifier that writes down what it is told.
struct Place {
    folder: PathBuf,
}

/// A running agent; killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    fn new() -> Place {
        let folder = std::env::temp_dir().join(format!("watchbell-kill-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let script = folder.join("says.sh");
        fs::write(&script, "#!/bin/sh\nread word < \"$1\"\necho \"$word\"\n[ \"$word\" = well ]  || exit 2\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let shown = folder.display();
        let mut config = format!(
            "[agent]\nname = \"kill\"\nstate = \"{shown}/state\"\nlisten = \"off\"\nnotify = [\"told\"]\n\
             [notify.told]\nkind = \"command\"\ncommand = \"cat >> {shown}/told.jsonl\"\ngap = \"1ms\"\n"
        );
        for n in 0..CHECKS {
            config += &format!("[check.c{n}]\nnagios = \"{shown}/says.sh {shown}/c{n}\"\nevery = \"1s\"\nretry = 0\n");
        }
        fs::write(folder.join("watchbell.toml"), config).unwrap();
        let place = Place { folder };
        (0..CHECKS).for_each(|n| place.flip(n, true));
        place
    }

    fn start(&self) -> Killed {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("agent.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchbell"));
        Killed(
            command
                .arg("run")
                .arg(&self.folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    /// What a check will say: written beside and moved, so that no run reads half of it.
    fn flip(&self, n: u32, well: bool) {
        let beside = self.folder.join(format!("c{n}.new"));
        fs::write(&beside, if well { "well\n" } else { "broken\n" }).unwrap();
        fs::rename(beside, self.folder.join(format!("c{n}"))).unwrap();
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.folder.join("state")).unwrap()
    }

    /// Waits until nothing is wrong and nothing waits to be told.
    fn wait_until_told(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        let mut quiet_since = None::<Instant>;
        while quiet_since.is_none_or(|since| since.elapsed() < Duration::from_secs(3)) {
            assert!(Instant::now() < until, "still not told: {:?}", self.journal().state().unwrap().0.outbox);
            std::thread::sleep(Duration::from_millis(100));
            let (state, damaged) = self.journal().state().unwrap();
            assert_eq!(damaged, Vec::<String>::new());
            if state.outbox.is_empty() && state.faults.is_empty() && state.told.is_empty() {
                quiet_since.get_or_insert_with(Instant::now);
            } else {
                quiet_since = None;
            }
        }
    }

    fn told(&self) -> Vec<Delivery> {
        let text = fs::read_to_string(self.folder.join("told.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn judge(&self) {
        let told = self.told();
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
        let mut decided = 0;
        for n in 0..CHECKS {
            let name = format!("//kill/watchbell/c{n}");
            for decision in self.journal().decisions_of(&name, 100_000).unwrap() {
                let Some(key) = decision.delivery.filter(|_| decision.verdict == Verdict::Tell) else { continue };
                decided += 1;
                assert!(keys.contains(key.as_str()), "{key} was decided and never told");
            }
        }
        println!("{decided} decisions, {} deliveries, {} with a key of their own", told.len(), keys.len());
        assert!(decided >= keys.len(), "something was told that nobody decided");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for you to look at: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(Path::new(&self.folder));
        }
    }
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
