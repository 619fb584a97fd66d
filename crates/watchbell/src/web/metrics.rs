//! `/metrics`: the agent's own figures in Prometheus' text format, version 0.0.4. What the engine can't say now
//! is left out; the rest is always there, so that a hung engine can be seen.

use super::{
    call::Call,
    door::{Permit, Read},
};
use crate::run::health::{BUCKETS_MS, Health, Histogram};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    fs,
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use watchbell_core::{
    engine::World,
    model::{Hardness, Name, Severity},
};

/// Checks that one look at the world counts.
const SLICE_ROWS: usize = 1000;

/// All figures.
pub async fn text(call: &Call, permit: &Permit<Read>) -> String {
    let mut out = Exposition::default();
    about_agent(call, &mut out);
    let health = &call.shared.agent.health;
    counters(health, &mut out);
    let lateness = "How long after their slot runs were started.";
    out.histogram("watchbell_run_lateness_seconds", lateness, &health.lateness);
    out.histogram("watchbell_commit_seconds", "How long commits took.", &health.commit_time);
    answers(&call.shared.answers, &mut out);
    if let Ok(counts) = call.look(permit, counts).await {
        counts.write(&mut out);
    }
    if let Ok(states) = check_states(call, permit).await {
        let rows = states.iter().map(|(state, n)| (vec![("state", (*state).to_owned())], *n));
        out.family("watchbell_checks", "gauge", "Checks, by how they are doing.", rows);
    }
    process(&mut out);
    out.0
}

fn about_agent(call: &Call, out: &mut Exposition) {
    let agent = &call.shared.agent;
    let config = agent.settings();
    let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("agent", config.name.to_string())];
    out.family("watchbell_build_info", "gauge", "The program and the agent it runs as.", [(labels, 1)]);
    let started = call.shared.started.as_micros() as f64 / 1e6;
    out.one("watchbell_start_time_seconds", "gauge", "When the agent was started, since 1970.", started);
    let ready = u8::from(agent.health.unready().is_none());
    out.one("watchbell_ready", "gauge", "Whether the agent takes work.", ready);
    let stored = u8::from(agent.health.store_failure().is_none());
    out.one("watchbell_store_ok", "gauge", "Whether the store can be written.", stored);
    let errors = config.problems.errors();
    let rows = [("error", errors), ("warning", config.problems.list.len() - errors)];
    let rows = rows.map(|(level, n)| (vec![("level", level.to_owned())], n));
    out.family("watchbell_config_problems", "gauge", "What is wrong with the config.", rows);
}

fn counters(health: &Health, out: &mut Exposition) {
    for (name, help, counter) in [
        ("watchbell_commits_total", "Commits that succeeded.", &health.commits),
        ("watchbell_commit_failures_total", "Commits that failed and were tried again.", &health.commit_failures),
        ("watchbell_inputs_total", "Inputs that the engine stepped.", &health.inputs),
        ("watchbell_runs_total", "Runs of checks that ended.", &health.runs),
        ("watchbell_deliveries_total", "Deliveries that were taken.", &health.deliveries),
        ("watchbell_delivery_failures_total", "Tries of deliveries that failed.", &health.delivery_failures),
        ("watchbell_log_lines_dropped_total", "Lines that checks' logs could not take.", &health.log_lines_dropped),
    ] {
        out.one(name, "counter", help, counter.load(Relaxed));
    }
}

fn answers(answers: &[AtomicU64; 5], out: &mut Exposition) {
    let rows = answers.iter().enumerate();
    let rows = rows.map(|(i, n)| (vec![("class", format!("{}xx", i + 1))], n.load(Relaxed)));
    out.family("watchbell_http_answers_total", "counter", "Answers to HTTP requests, by status.", rows);
}

/// What is counted in one look.
struct Counts {
    events: u64,
    running: usize,
    waiting: usize,
    squelches: usize,
    faults: BTreeMap<(Severity, bool), u64>,
    notifiers: BTreeMap<Name, Lane>,
}

/// A notifier and what waits for it.
#[derive(Default)]
struct Lane {
    waiting: u64,
    failures: u32,
    delivered: u64,
    given_up: u64,
}

/// Name, type, help, and the value.
type Column = (&'static str, &'static str, &'static str, fn(&Lane) -> u64);

fn counts(world: &World) -> Counts {
    let mut faults = BTreeMap::new();
    for severity in [Severity::Warning, Severity::Error, Severity::Critical] {
        faults.extend([((severity, false), 0), ((severity, true), 0)]);
    }
    for fault in world.state.faults.values() {
        *faults.entry((fault.severity, fault.state == Hardness::Hard)).or_default() += 1;
    }
    let mut notifiers: BTreeMap<Name, Lane> = BTreeMap::new();
    for name in world.policy.notifiers.keys() {
        let state = world.state.notifiers.get(name).cloned().unwrap_or_default();
        let lane = Lane {
            waiting: 0,
            failures: state.failures,
            delivered: state.delivered,
            given_up: state.given_up + state.refusing.len() as u64,
        };
        notifiers.insert(name.clone(), lane);
    }
    for delivery in world.deliveries() {
        notifiers.entry(delivery.notifier.clone()).or_default().waiting += 1;
    }
    Counts {
        events: world.state.meta.seq,
        running: world.running(),
        waiting: world.waiting(),
        squelches: world.state.squelches.len(),
        faults,
        notifiers,
    }
}

impl Counts {
    fn write(&self, out: &mut Exposition) {
        out.one("watchbell_events_total", "counter", "Events in the stream, ever.", self.events);
        out.one("watchbell_checks_running", "gauge", "Checks that run now.", self.running);
        out.one("watchbell_checks_waiting", "gauge", "Checks that are due and wait for a place.", self.waiting);
        out.one("watchbell_squelches", "gauge", "Squelches.", self.squelches);
        let rows = self.faults.iter().map(|((severity, hard), n)| {
            let state = if *hard { "hard" } else { "soft" };
            (vec![("severity", severity.word().to_owned()), ("state", state.to_owned())], *n)
        });
        out.family("watchbell_faults", "gauge", "What is wrong now.", rows);
        let lanes: [Column; 4] = [
            ("watchbell_outbox_deliveries", "gauge", "Deliveries that wait or are under way.", |l| l.waiting),
            ("watchbell_notifier_failures", "gauge", "Tries in a row that failed.", |l| l.failures.into()),
            ("watchbell_notifier_given_up", "gauge", "Deliveries given up since it last worked.", |l| l.given_up),
            ("watchbell_notifier_delivered_total", "counter", "Deliveries taken, ever.", |l| l.delivered),
        ];
        for (name, kind, help, value) in lanes {
            let rows = self.notifiers.iter().map(|(n, lane)| (vec![("notifier", n.to_string())], value(lane)));
            out.family(name, kind, help, rows);
        }
    }
}

async fn check_states(
    call: &Call,
    permit: &Permit<Read>,
) -> Result<BTreeMap<&'static str, u64>, super::reply::ApiError> {
    let rows = |world: &World, from: Option<&Name>| {
        let mut counts = BTreeMap::from([("hard", 0_u64), ("ok", 0), ("pending", 0), ("soft", 0)]);
        let bounds = (from.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut seen = 0;
        let mut end = None;
        for name in world.policy.checks.range::<Name, _>(bounds).map(|(name, _)| name).take(SLICE_ROWS) {
            seen += 1;
            let ran = world.state.checks.get(name).is_some_and(|s| s.last.is_some());
            let worst = world.faults_of(name).map(|f| f.state).max();
            let state = match worst {
                Some(Hardness::Hard) => "hard",
                Some(Hardness::Soft) => "soft",
                None if ran => "ok",
                None => "pending",
            };
            *counts.entry(state).or_default() += 1;
            if seen == SLICE_ROWS {
                end = Some(name.clone());
            }
        }
        (vec![counts], end)
    };
    let slices = call.slices(permit, rows).await?;
    let mut all = BTreeMap::new();
    for (state, n) in slices.into_iter().flatten() {
        *all.entry(state).or_default() += n;
    }
    Ok(all)
}

/// The process, by the names that Prometheus' own libraries use.
fn process(out: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, which may hold blanks; user and system time are the
    // 14th and 15th.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
        let seconds = (user + system) as f64 / rustix::param::clock_ticks_per_second() as f64;
        out.one("process_cpu_seconds_total", "counter", "CPU time used.", seconds);
    }
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split_whitespace().nth(1).and_then(|f| f.parse::<u64>().ok()) {
        let bytes = pages * rustix::param::page_size() as u64;
        out.one("process_resident_memory_bytes", "gauge", "Memory in use.", bytes);
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder being read.
        out.one("process_open_fds", "gauge", "Open files.", fds.count().saturating_sub(1));
    }
}

/// Text in Prometheus' format.
#[derive(Default)]
struct Exposition(String);

type Labels = Vec<(&'static str, String)>;

impl Exposition {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help, [(Labels::new(), value)]);
    }

    fn family<V: Display>(&mut self, name: &str, kind: &str, help: &str, rows: impl IntoIterator<Item = (Labels, V)>) {
        self.head(name, kind, help);
        for (labels, value) in rows {
            self.row(name, &labels, value);
        }
    }

    fn row(&mut self, name: &str, labels: &[(&'static str, String)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let (buckets, sum) = histogram.read();
        let bounds = BUCKETS_MS.iter().map(|ms| (*ms as f64 / 1000.0).to_string()).chain(["+Inf".to_owned()]);
        let mut total = 0;
        for (bound, count) in bounds.zip(buckets) {
            total += count;
            self.row(&format!("{name}_bucket"), &[("le", bound)], total);
        }
        self.row(&format!("{name}_sum"), &[], sum);
        self.row(&format!("{name}_count"), &[], total);
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
