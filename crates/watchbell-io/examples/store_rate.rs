//! How fast the local store commits: `cargo run --release --example store_rate [FOLDER]`.
//!
//! Prints, for several sizes of commit, commits and rows a second (each commit synced), beside what the disk
//! allows: a loop that appends as many bytes to a file and syncs it. Then the time to read the state back.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use watchbell_core::{
    engine::{Commit, Row},
    model::Timestamp,
};
use watchbell_io::store::{Journal, Store, StoreOptions};

/// How many checks there are.
const CHECKS: usize = 10_000;
/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);
/// What the state of a check looks like.
const VALUE: &str = r#"{"last_slot":"2026-01-02T03:04:05Z","last":{"started":"2026-01-02T03:04:05.012345Z","took":{"secs":0,"nanos":12345678},"late":{"secs":0,"nanos":1234567},"worst":null,"summary":"DISK OK - free space: / 3326 MB (56%);","exit":{"code":0}},"failures":0,"durations":{"count":NUMBER,"max_ms":31,"buckets":[0,1,12,1234,56]}}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("watchbell-store-rate"), PathBuf::from);
    let options = StoreOptions::at(Timestamp::ZERO);
    println!("{:>12} {:>10} {:>10} {:>12} {:>14}", "rows/commit", "commits/s", "rows/s", "cpu us/row", "bare syncs/s");
    for rows in [1, 15, 100, 1_000] {
        let _ = fs::remove_dir_all(&dir);
        let mut store = Store::open(&dir, &options)?.store;
        for from in (0..CHECKS).step_by(1_000) {
            store.commit(&commit(from, 1_000))?;
        }
        let (mut commits, start, cpu) = (0_usize, Instant::now(), cpu_seconds());
        while start.elapsed() < MEASURE {
            store.commit(&commit(commits * rows, rows))?;
            commits += 1;
        }
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let rate = commits as f64 / seconds;
        let bare = bare_syncs(&dir, rows * (VALUE.len() + 30))?;
        let per_row = cpu * 1e6 / (commits * rows) as f64;
        println!("{rows:>12} {rate:>10.0} {:>10.0} {per_row:>12.1} {bare:>14.0}", rate * rows as f64);
    }
    let start = Instant::now();
    let (state, damaged) = Journal::open(&dir)?.state()?;
    println!("{} checks read back in {:?}, {} damaged", state.checks.len(), start.elapsed(), damaged.len());
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// The rows of `rows` checks, spread over all of them as schedules spread them.
fn commit(from: usize, rows: usize) -> Commit {
    let row = |i: usize| {
        let check = if rows == 1_000 { from + i } else { (from + i) * 7_919 };
        Row {
            table: "check",
            key: format!("//web-1.example.com/app/check-{:05}", check % CHECKS),
            value: Some(VALUE.replace("NUMBER", &from.to_string())),
        }
    };
    Commit { rows: (0..rows).map(row).collect(), ..Commit::default() }
}

/// How often a second the disk takes this many bytes and a sync, written over a file of its size.
fn bare_syncs(dir: &Path, bytes: usize) -> std::io::Result<f64> {
    let chunk = vec![7_u8; bytes];
    let mut file = File::create(dir.join("bare"))?;
    file.write_all(&vec![0; 8 << 20])?;
    file.sync_all()?;
    let (mut syncs, start) = (0_usize, Instant::now());
    while start.elapsed() < MEASURE / 3 {
        file.write_all_at(&chunk, (syncs * bytes % (7 << 20)) as u64)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(syncs as f64 / start.elapsed().as_secs_f64())
}

/// Processor time of this thread, in seconds.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(0.0, |ns| ns / 1e9)
}
