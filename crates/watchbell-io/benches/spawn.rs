//! How fast commands run: `process::Command::run` against a bare loop, in one run.
//!
//! `cargo bench -p watchbell-io --bench spawn [-- RUNS]` prints both rates, CPU times (children included) and
//! their ratios, the median of five alternating rounds. The bare loop is threads that each do `posix_spawn`,
//! read one pipe to its end, and wait. Both run the same shell plugin in the same environment, with twice as many
//! at a time as there are cores.

use std::{
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use watchbell_io::shared::process::{Command, Line, STATED};

const ROUNDS: usize = 5;
const PLUGIN: &str = "#!/bin/sh\necho \"OK - fine|x=1\"\n";
const OUTPUT: &[u8] = b"OK - fine|x=1\n";

/// One round of one side.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    cpu_ms_per_run: f64,
}

fn main() {
    let runs = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(5_000);
    let at_once = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    let folder = std::env::temp_dir().join(format!("watchbell-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the plugin");
    let plugin = folder.join("plugin.sh");
    std::fs::write(&plugin, PLUGIN).expect("the plugin");
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");

    bare(&plugin, runs / 10, at_once);
    ours(&runtime, &plugin, runs / 10, at_once);
    let (mut bare_rounds, mut our_rounds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare_rounds.push(measure(runs, || bare(&plugin, runs, at_once)));
        our_rounds.push(measure(runs, || ours(&runtime, &plugin, runs, at_once)));
    }
    let _ = std::fs::remove_dir_all(&folder);

    let of = |rounds: &[Round], f: fn(&Round) -> f64| median(rounds.iter().map(f).collect());
    let ratio = |f: fn(&Round) -> f64| median(our_rounds.iter().zip(&bare_rounds).map(|(o, b)| f(o) / f(b)).collect());
    println!("{runs} runs a round, {at_once} at a time, median of {ROUNDS} rounds");
    for (name, rounds) in [("bare loop", &bare_rounds), ("watchbell", &our_rounds)] {
        let (rate, cpu) = (of(rounds, |r| r.per_second), of(rounds, |r| r.cpu_ms_per_run));
        println!("{name}: {rate:8.0} runs/s, {cpu:.3} s CPU per 1000");
    }
    println!("ratio: {:.3} of the rate, {:.3} of the CPU", ratio(|r| r.per_second), ratio(|r| r.cpu_ms_per_run));
}

fn bare(plugin: &Path, runs: usize, at_once: usize) {
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while begun.fetch_add(1, Ordering::Relaxed) < runs {
                    let mut command = std::process::Command::new(plugin);
                    command.env_clear().envs(STATED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
                    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a child");
                    let mut output = Vec::new();
                    child.stdout.take().expect("its output").read_to_end(&mut output).expect("what it wrote");
                    child.wait().expect("its end");
                    assert_eq!(output, OUTPUT);
                }
            });
        }
    });
}

fn ours(runtime: &tokio::runtime::Runtime, plugin: &Path, runs: usize, at_once: usize) {
    let command = Arc::new(Command::new(Line::parse(&plugin.to_string_lossy()).expect("a line")));
    let begun = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let (command, begun) = (Arc::clone(&command), Arc::clone(&begun));
                tokio::spawn(async move {
                    while begun.fetch_add(1, Ordering::Relaxed) < runs {
                        let ran = command.run(Vec::new(), Duration::from_secs(30)).await;
                        assert_eq!(ran.raw.stdout, OUTPUT, "{ran:?}");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task that ends");
        }
    });
}

fn measure(runs: usize, work: impl FnOnce()) -> Round {
    let (cpu_before, before) = (cpu_ms(), Instant::now());
    work();
    let secs = before.elapsed().as_secs_f64();
    Round { per_second: runs as f64 / secs, cpu_ms_per_run: (cpu_ms() - cpu_before) / runs as f64 }
}

/// User and system time of this process and its children that were waited for.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(4);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks * 1000.0 / rustix::param::clock_ticks_per_second() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
