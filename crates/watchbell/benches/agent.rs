//! The whole agent against a bare loop, in one run: `cargo bench -p watchbell --bench agent [-- PART…]`.
//!
//! | part | what is measured |
//! |---|---|
//! | `throughput` | checks run per second, judged and committed, and CPU per 1,000, as parts of what a bare `posix_spawn` + pipe + wait loop reaches with the same plugin |
//! | `paced` | CPU at 100 checks a second as a multiple of the loop's at that rate, and how late runs start |
//! | `footprint` | 10,000 checks: reading and judging the config, memory after a minute; 100 checks: memory, time to ready |
//! | `soak` | memory over many runs (`SOAK_RUNS`, by default 100,000; a million takes some 20 minutes) |

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(3);
const PLUGIN: &str = "#!/bin/sh\necho \"OK - fine|x=1\"\n";

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let parts: [(&str, fn()); 4] =
        [("throughput", throughput), ("paced", paced), ("footprint", footprint), ("soak", soak)];
    for (name, part) in parts {
        let by_default = wanted.is_empty() && name != "soak";
        if by_default || wanted.iter().any(|w| w == name) {
            println!("== {name}");
            part();
        }
    }
}

/// An agent on a config of its own; killed and removed when dropped.
struct Agent {
    folder: PathBuf,
    child: Child,
    started: Instant,
}

impl Agent {
    /// Writes the config and starts the agent; waits until it is ready.
    fn start(config: &str) -> Agent {
        let folder = folder(config);
        Agent::start_in(folder)
    }

    fn start_in(folder: PathBuf) -> Agent {
        let started = Instant::now();
        let log = fs::File::create(folder.join("agent.log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_watchbell"))
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        let agent = Agent { folder, child, started };
        while !agent.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(agent.started.elapsed() < Duration::from_secs(60), "the agent is not ready; see its log");
            std::thread::sleep(Duration::from_millis(1));
        }
        agent
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.folder.join("state/agent.sock")).ok()?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// One figure of `/metrics`.
    fn figure(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").expect("metrics");
        let line = metrics.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim().parse().expect("a number")
    }

    /// Proportional set size, in MB.
    fn pss_mb(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).expect("smaps");
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).expect("Pss");
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number") / 1024.0
    }

    fn cpu_ms(&self) -> f64 {
        cpu_ms(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Ends the agent and leaves its folder.
    fn end(mut self) -> PathBuf {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::take(&mut self.folder)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.folder.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A new folder with a plugin and a config.
fn folder(config: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Relaxed);
    let folder = std::env::temp_dir().join(format!("watchbell-bench-{}-{n}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let plugin = folder.join("plugin.sh");
    fs::write(&plugin, PLUGIN).expect("the plugin");
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).expect("its mode");
    let agent = format!("[agent]\nname = \"bench\"\nstate = \"{}\"\n", folder.join("state").display());
    fs::write(folder.join("watchbell.toml"), format!("{agent}{config}")).expect("the config");
    folder
}

fn checks(count: usize, every: &str) -> String {
    // More is due than can be run: what waits is not left out, or the benchmark would measure faults.
    let mut text = "[defaults]\noverlap = \"queue\"\n".to_owned();
    for n in 0..count {
        let _ = write!(text, "[check.c{n}]\nnagios = \"./plugin.sh\"\nevery = \"{every}\"\n");
    }
    text
}

/// Agents of the benchmark listen on their socket only.
const NO_LISTENER: &str = "listen = \"off\"\n";

fn throughput() {
    let at_once = 8 * cores();
    let config = format!("{NO_LISTENER}running_max = {at_once}\n{}", checks(8000, "1s"));
    let (mut rates, mut cpus, mut ours, mut bare_rates) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (bare_rate, bare_cpu) = bare(at_once, ROUND, None);
        let agent = Agent::start(&config);
        std::thread::sleep(WARM_UP);
        let (runs, cpu, begun) = (agent.figure("watchbell_runs_total"), agent.cpu_ms(), Instant::now());
        std::thread::sleep(ROUND);
        let done = agent.figure("watchbell_runs_total") - runs;
        let (rate, cpu) = (done / begun.elapsed().as_secs_f64(), (agent.cpu_ms() - cpu) / done);
        println!("loop {bare_rate:6.0}/s {bare_cpu:.3} s per 1000   agent {rate:6.0}/s {cpu:.3} s per 1000");
        rates.push(rate / bare_rate);
        cpus.push(cpu / bare_cpu);
        ours.push(rate);
        bare_rates.push(bare_rate);
    }
    let (ours, bare) = (median(ours), median(bare_rates));
    println!("median of {ROUNDS}: agent {ours:.0}/s, loop {bare:.0}/s");
    println!("ratio: {:.1} % of the loop's rate (wanted: 88 % or more)", 100.0 * median(rates));
    println!("ratio: {:.2} of the loop's CPU per check (wanted: 1.15 or less)", median(cpus));
}

fn paced() {
    let config = format!("{NO_LISTENER}{}", checks(1000, "10s"));
    let (_, bare_cpu) = bare(2, ROUND, Some(Duration::from_millis(10)));
    let agent = Agent::start(&config);
    // The first runs come within a minute, spread; let them pass.
    std::thread::sleep(Duration::from_secs(15));
    let (runs, cpu, late) = (agent.figure("watchbell_runs_total"), agent.cpu_ms(), lateness(&agent));
    std::thread::sleep(Duration::from_secs(30));
    let done = agent.figure("watchbell_runs_total") - runs;
    let cpu = (agent.cpu_ms() - cpu) / done;
    println!("{:.0} runs in 30 s; loop {bare_cpu:.3} s per 1000, agent {cpu:.3} s per 1000", done);
    println!("ratio: {:.2} of the loop's CPU (wanted: 1.5 or less)", cpu / bare_cpu);
    let after = lateness(&agent);
    let counts: Vec<(f64, f64)> = after.iter().zip(&late).map(|((le, a), (_, b))| (*le, a - b)).collect();
    let total = counts.last().map_or(0.0, |c| c.1);
    for (le, count) in counts.iter().take(6) {
        println!("started within {:4.0} ms of the slot: {:6.2} %", le * 1000.0, 100.0 * count / total);
    }
    let p99 = counts.iter().find(|(_, n)| *n >= 0.99 * total).map_or(f64::INFINITY, |c| c.0);
    println!("start lateness p99: at most {:.0} ms (wanted: 3 ms)", p99 * 1000.0);
}

/// Bounds in seconds and counts of the histogram of start lateness.
fn lateness(agent: &Agent) -> Vec<(f64, f64)> {
    let metrics = agent.get("/metrics").expect("metrics");
    let buckets = metrics.lines().filter_map(|l| l.strip_prefix("watchbell_run_lateness_seconds_bucket{le=\""));
    let parse = |line: &str| {
        let (le, count) = line.split_once("\"} ")?;
        Some((le.replace("+Inf", "inf").parse().ok()?, count.trim().parse().ok()?))
    };
    buckets.filter_map(parse).collect()
}

fn footprint() {
    let big = folder(&format!("{NO_LISTENER}{}", checks(10_000, "60s")));
    let begun = Instant::now();
    let valid = Command::new(env!("CARGO_BIN_EXE_watchbell")).arg("validate").arg(&big).output().expect("validate");
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
    println!("10,000 checks: read and judged in {:.2} s (wanted: 1 s)", begun.elapsed().as_secs_f64());
    let agent = Agent::start_in(big);
    println!("10,000 checks: ready after {:.0} ms", agent.started.elapsed().as_secs_f64() * 1000.0);
    std::thread::sleep(Duration::from_secs(60));
    println!("10,000 checks: Pss after 60 s {:.1} MB (wanted: below 64)", agent.pss_mb());
    drop(agent);
    let small = Agent::start(&format!("{NO_LISTENER}{}", checks(100, "60s")));
    std::thread::sleep(Duration::from_secs(5));
    println!("100 checks: Pss {:.1} MB (wanted: below 16)", small.pss_mb());
    let again = Agent::start_in(small.end());
    println!(
        "100 checks: ready after {:.0} ms at a second start (wanted: 50)",
        again.started.elapsed().as_secs_f64() * 1000.0
    );
}

fn soak() {
    let wanted: f64 = std::env::var("SOAK_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000.0);
    let config = format!("{NO_LISTENER}running_max = {}\n{}", 2 * cores(), checks(2000, "1s"));
    let agent = Agent::start(&config);
    let (mut first, mut highest, mut next) = (None, 0.0_f64, 0.1 * wanted);
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let runs = agent.figure("watchbell_runs_total");
        if runs >= next {
            let pss = agent.pss_mb();
            println!("{runs:9.0} runs: Pss {pss:.2} MB");
            let base = *first.get_or_insert(pss);
            highest = highest.max(100.0 * (pss / base - 1.0));
            next += 0.1 * wanted;
        }
        if runs >= wanted {
            break;
        }
    }
    println!("Pss grew by at most {highest:.1} % after the first tenth (wanted: 5 %)");
}

/// The bare loop for a while: `posix_spawn`, one pipe, wait. Runs per second, and CPU seconds per 1,000.
/// `pace` is the time between two starts.
fn bare(at_once: usize, how_long: Duration, pace: Option<Duration>) -> (f64, f64) {
    let folder = folder("");
    let plugin = folder.join("plugin.sh");
    let (stop, runs, turn) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (cpu, begun) = (cpu_ms("/proc/self/stat"), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    if let Some(pace) = pace {
                        let slot = begun + pace * u32::try_from(turn.fetch_add(1, Relaxed)).expect("few");
                        std::thread::sleep(slot.saturating_duration_since(Instant::now()));
                    }
                    spawn_once(&plugin);
                    runs.fetch_add(1, Relaxed);
                }
            });
        }
        std::thread::sleep(how_long);
        stop.store(true, Relaxed);
    });
    let runs = runs.load(Relaxed) as f64;
    let figures = (runs / begun.elapsed().as_secs_f64(), (cpu_ms("/proc/self/stat") - cpu) / runs);
    let _ = fs::remove_dir_all(folder);
    figures
}

fn spawn_once(plugin: &Path) {
    let mut command = Command::new(plugin);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a child");
    let mut output = Vec::new();
    child.stdout.take().expect("its output").read_to_end(&mut output).expect("what it wrote");
    child.wait().expect("its end");
    assert!(!output.is_empty());
}

/// User and system time of a process and its children that were waited for, in milliseconds.
fn cpu_ms(stat: &str) -> f64 {
    let stat = fs::read_to_string(stat).expect("/proc");
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(4);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks * 1000.0 / rustix::param::clock_ticks_per_second() as f64
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
