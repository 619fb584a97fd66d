//! The whole agent against a bare loop, in one run: `cargo bench -p watchbell --bench agent [-- PART…]`.
//!
//! | part | what is measured |
//! |---|---|
//! | `throughput` | checks run per second, judged and committed, and CPU per 1,000, as parts of what a bare `posix_spawn` + pipe + wait loop reaches with the same plugin |
//! | `paced` | CPU at 100 checks a second as a multiple of the loop's at that rate, and how late runs start |
//! | `catch_up` | 1,000 look-backs with five lines each after a week without an agent: how long until every minute within the walk is judged, and how late other checks start meanwhile |
//! | `footprint` | 10,000 checks: reading and judging the config, memory after a minute; 100 checks: memory, time to ready |
//! | `soak` | memory over many runs (`SOAK_RUNS`, by default 100,000; a million takes some 20 minutes) |

use rustix::process::{Pid, Signal};
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
/// Of a round, where two take turns.
const TURNS: u32 = 8;
const TURN: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(3);
const PLUGIN: &str = "#!/bin/sh\necho \"OK - fine|x=1\"\n";

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let parts: [(&str, fn()); 5] = [
        ("throughput", throughput),
        ("paced", paced),
        ("catch_up", catch_up),
        ("footprint", footprint),
        ("soak", soak),
    ];
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

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("a signal");
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

/// The machine's own speed changes from one second to the next: loop and agent take turns, each stands still while
/// the other runs.
fn throughput() {
    let at_once = 8 * cores();
    let (mut rates, mut cpus, mut ours, mut bare_rates) = (vec![], vec![], vec![], vec![]);
    let mut loops = bare(at_once, TURN, None).0;
    for _ in 0..ROUNDS {
        // More than can be run, whatever the machine: a place that is free is always taken.
        let due = (1.5 * loops) as usize;
        let agent = Agent::start(&format!("{NO_LISTENER}running_max = {at_once}\n{}", checks(due, "1s")));
        std::thread::sleep(WARM_UP);
        let (mut ran, mut looped) = ((0.0, 0.0), (0.0, 0.0));
        for _ in 0..TURNS {
            agent.signal(Signal::STOP);
            let (rate, cpu) = bare(at_once, TURN, None);
            looped = (looped.0 + rate, looped.1 + cpu);
            agent.signal(Signal::CONT);
            let (rate, cpu) = agent_turn(&agent);
            ran = (ran.0 + rate, ran.1 + cpu);
        }
        let turns = f64::from(TURNS);
        let (rate, cpu, bare_cpu) = (ran.0 / turns, ran.1 / turns, looped.1 / turns);
        loops = looped.0 / turns;
        println!("loop {loops:6.0}/s {bare_cpu:.3} s per 1000   agent {rate:6.0}/s {cpu:.3} s per 1000");
        rates.push(rate / loops);
        cpus.push(cpu / bare_cpu);
        ours.push(rate);
        bare_rates.push(loops);
    }
    let (ours, bare) = (median(ours), median(bare_rates));
    println!("median of {ROUNDS}: agent {ours:.0}/s, loop {bare:.0}/s");
    println!("ratio: {:.1} % of the loop's rate (wanted: 88 % or more)", 100.0 * median(rates));
    println!("ratio: {:.2} of the loop's CPU per check (wanted: 1.15 or less)", median(cpus));
}

/// The agent's runs per second and CPU seconds per 1,000, for one turn.
fn agent_turn(agent: &Agent) -> (f64, f64) {
    // What stood still is under way again after a moment.
    std::thread::sleep(TURN / 10);
    let (runs, cpu, begun) = (agent.figure("watchbell_runs_total"), agent.cpu_ms(), Instant::now());
    std::thread::sleep(TURN);
    let done = agent.figure("watchbell_runs_total") - runs;
    (done / begun.elapsed().as_secs_f64(), (agent.cpu_ms() - cpu) / done)
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

const LOOK_BACKS: usize = 1000;

/// Look-backs that ask one file, and checks that run every second beside them.
fn look_backs() -> String {
    let mut text = format!("{NO_LISTENER}[source.warehouse]\nurl = \"sqlite:warehouse.db\"\n");
    for n in 0..LOOK_BACKS {
        let _ =
            writeln!(text, "[check.l{n}]\nsource = \"warehouse\"\nquery = \"SELECT id, at FROM orders\"\nexpect = [");
        for line in 0..5 {
            let _ = writeln!(text, "  {{ lookback = \"10m\", max = {} }},", 1000 + line);
        }
        text.push_str("]\n");
    }
    for n in 0..20 {
        let _ = writeln!(text, "[check.live{n}]\nnagios = \"./plugin.sh\"\nevery = \"1s\"\nlog = \"runs\"");
    }
    text
}

fn catch_up() {
    let folder = folder(&look_backs());
    let warehouse = rusqlite::Connection::open(folder.join("warehouse.db")).expect("a warehouse");
    warehouse.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, at INTEGER)").expect("a table");
    for n in 0..10 {
        let sql = "INSERT INTO orders VALUES (?1, unixepoch() - 60 * ?1 - 30)";
        warehouse.execute(sql, [n]).expect("a row");
    }
    let agent = Agent::start_in(folder);
    let state = agent.folder.join("state/state.db");
    until(|| behind(&state, "-10 years") == 0);
    let folder = agent.end();
    let state = folder.join("state/state.db");
    let edit = rusqlite::Connection::open(&state).expect("the state");
    // The last slot too: with one just past, nothing is to be made up for, and each check waits for its next.
    let sql = "WITH ago AS (SELECT strftime('%Y-%m-%dT%H:%M:00Z', 'now', '-7 days') AS week)
               UPDATE row SET value = json_set(value, '$.lookback.judged', ago.week, '$.last_slot', ago.week)
               FROM ago WHERE tab = 'check' AND value ->> '$.lookback' IS NOT NULL";
    assert_eq!(edit.execute(sql, []).expect("a week back"), LOOK_BACKS);
    drop(edit);
    let begun = jiff::Timestamp::now();
    let agent = Agent::start_in(folder);
    until(|| behind(&state, "-2 minutes") == 0);
    let took = agent.started.elapsed().as_secs_f64();
    // Each has said which minutes of the week lay beyond its walk: it did begin there.
    assert!(agent.figure("watchbell_events_total") >= LOOK_BACKS as f64, "not all had a week to catch up with");
    // What was under way is in the logs a moment later.
    std::thread::sleep(Duration::from_secs(2));
    let mut late = live_lateness_ms(&agent.folder.join("state/logs"), begun);
    late.sort_by(f64::total_cmp);
    println!("a week's outage: {} judgements in {took:.1} s (wanted: 30 s)", LOOK_BACKS * 5 * 100);
    let at = |part: f64| late[(part * (late.len() - 1) as f64) as usize];
    println!("{} live runs meanwhile: late by {:.1} ms at the median, {:.1} ms at p99", late.len(), at(0.5), at(0.99));
}

fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it takes more than five minutes");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How many look-backs have not judged up to so long ago.
fn behind(state: &Path, ago: &str) -> usize {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(state, flags).expect("the state");
    let sql = "SELECT count(*) FROM row
               WHERE tab = 'check' AND value ->> '$.lookback.judged' >= strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?1)";
    let there: i64 = conn.query_row(sql, [ago], |row| row.get(0)).expect("a count");
    LOOK_BACKS - usize::try_from(there).expect("few")
}

/// How long after their slots the live checks started, by their logs.
fn live_lateness_ms(logs: &Path, since: jiff::Timestamp) -> Vec<f64> {
    let of_checks = |file: fs::DirEntry| fs::read_dir(file.path()).ok();
    let files = fs::read_dir(logs).expect("logs").flatten().filter_map(of_checks).flatten().flatten();
    let mut late = Vec::new();
    for text in files.filter_map(|file| fs::read_to_string(file.path()).ok()) {
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let time = |key: &str| line[key].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let (Some(started), Some(due)) = (time("@timestamp"), time("due")) else { continue };
            let live = line["check"].as_str().is_some_and(|name| name.contains("/live"));
            if live && due >= since {
                late.push((started.as_microsecond() - due.as_microsecond()) as f64 / 1000.0);
            }
        }
    }
    late
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
    let (mut first, mut highest, mut next, mut samples) = (None, 0.0_f64, 0.1 * wanted, vec![]);
    while next <= wanted {
        std::thread::sleep(Duration::from_secs(1));
        // At one moment there may be a batch on its way to the disk, at another none.
        samples.push(agent.pss_mb());
        let runs = agent.figure("watchbell_runs_total");
        if runs >= next {
            let most = samples.iter().copied().fold(0.0, f64::max);
            let pss = median(std::mem::take(&mut samples));
            println!("{runs:9.0} runs: Pss {pss:.2} MB at the median of this tenth, {most:.2} at most");
            highest = highest.max(100.0 * (pss / *first.get_or_insert(pss) - 1.0));
            next += 0.1 * wanted;
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
