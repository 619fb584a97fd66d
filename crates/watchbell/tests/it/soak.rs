//! The agent's memory over many runs.

use crate::place::{Place, Running};
use std::time::Duration;

/// How many checks run every second.
const CHECKS: u32 = 100;

/// S1.12: no memory growth: after some thousand real runs the agent is as large as after the first tenth of them.
/// (`SOAK_RUNS=1000000 tools/bench soak` is the long form.)
#[test]
fn memory_stays_flat() {
    let mut config = "[defaults]\nevery = \"1s\"\n".to_owned();
    for n in 0..CHECKS {
        config += &format!("[check.c{n}]\nnagios = \"./plugin.sh {n}\"\n");
    }
    let place = Place::new("", &config);
    place.script("plugin.sh", "#!/bin/sh\necho \"OK - fine|x=$1\"\n");
    let agent = place.start();
    place.until("the first runs", || runs(&place) >= u64::from(CHECKS));
    // The first seconds fill what is kept for good: connections, caches, the write-ahead log.
    std::thread::sleep(Duration::from_secs(6));
    let (first, before) = (anonymous_kib(&agent), runs(&place));
    std::thread::sleep(Duration::from_secs(24));
    let (last, after) = (anonymous_kib(&agent), runs(&place));
    println!("{before} runs: {first} KiB; {after} runs: {last} KiB");
    assert!(after - before > 800, "only {} runs: the test proves little", after - before);
    // SQLite's page cache may fill up to 2 MiB meanwhile.
    assert!(last < first + first / 10 + 2048, "grew from {first} to {last} KiB over {} runs", after - before);
}

/// Runs that are on disk.
fn runs(place: &Place) -> u64 {
    // The database is there a moment before its tables are.
    if !place.state_folder().join("agent.sock").exists() {
        return 0;
    }
    place.state().checks.values().map(|check| check.durations.count).sum()
}

/// Memory that is the agent's alone: what it shares with agents of other tests comes and goes with them.
fn anonymous_kib(agent: &Running) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", agent.0.id())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
