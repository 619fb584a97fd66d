//! A thousand look-backs due in one minute, and a week's outage to catch up with:
//! `cargo bench -p watchbell-io --bench look_backs`.
//!
//! The engine, the check kind, a SQLite source, `rows.db` and `state.db` are the real ones; only the clock is the
//! benchmark's, so that a week passes at once. 1,000 checks with 5 expectations each ask one source that answers at once. Wanted:
//! one minute of them judged within 5 s; the 500,000 judgements that a week's outage leaves within ten look-backs of 600 s
//! within 30 s, and no step of the engine so long that a live check would start late.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use watchbell_core::{
    config::{Config, InputFile, Kinds, LoadOptions, Loaded},
    engine::{Effects, Input, RunOrder, World, step},
    model::{Outcome, Timestamp},
};
use watchbell_io::{
    notify::{self, Channel},
    query::{self, Source},
    shared::Shared,
    source::{self, Look, Program, Run},
    store::{Store, StoreOptions, seen::SeenRows},
};

const CHECKS: usize = 1000;
const START: Timestamp = Timestamp::from_secs(1_767_600_000);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn config(folder: &Path) -> String {
    let mut text = format!(
        "[agent]\nname = \"bench\"\n[source.warehouse]\nurl = \"sqlite:{}\"\nconnections = 2\n",
        folder.join("warehouse.db").display()
    );
    for n in 0..CHECKS {
        let _ = write!(text, "[check.c{n}]\nsource = \"warehouse\"\nquery = \"SELECT id, at FROM orders\"\nexpect = [");
        for line in 0..5 {
            let _ = write!(text, "{{ lookback = \"10m\", min = 0, max = {} }}, ", 1000 + line);
        }
        text.push_str("]\n");
    }
    text
}

fn load(folder: &Path) -> Loaded<Program, Channel> {
    let kinds = Kinds { checks: source::KINDS, notifiers: notify::KINDS };
    let options = LoadOptions {
        root: folder.display().to_string(),
        default_agent_name: "bench".into(),
        local_zone: jiff::tz::TimeZone::UTC,
    };
    let mut config_of = Config::new(kinds, options, |notifier: &Channel| notifier.targets());
    let path = folder.join("watchbell.toml").display().to_string();
    config_of.update(vec![InputFile { path: "watchbell.toml".into(), absolute: path, text: Ok(config(folder)) }]);
    let loaded = config_of.assemble();
    assert!(loaded.problems.list.is_empty(), "{}", watchbell_core::config::render(&loaded.problems, false));
    loaded
}

/// A source that answers at once: the rows of the last ten minutes, one a minute.
fn fill_warehouse(folder: &Path, now: Timestamp) {
    let db = rusqlite::Connection::open(folder.join("warehouse.db")).expect("a warehouse");
    let sql = "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, at INTEGER); DELETE FROM orders;";
    db.execute_batch(sql).expect("a table");
    for minute in 0..10 {
        let at = now.as_secs() - 30 - 60 * minute;
        db.execute("INSERT INTO orders VALUES (?1, ?1)", [at]).expect("a row");
    }
}

struct Bench {
    folder: PathBuf,
    world: World,
    store: Store,
    programs: Arc<BTreeMap<watchbell_core::model::Name, Program>>,
    sources: Arc<BTreeMap<watchbell_core::model::Name, Arc<Source>>>,
    seen: Arc<SeenRows>,
    shared: Shared,
    now: Timestamp,
    longest_step: Duration,
    judged: usize,
}

impl Bench {
    fn new(folder: PathBuf) -> Bench {
        let loaded = load(&folder);
        let state = folder.join("state");
        let opened = Store::open(&state, &StoreOptions::at(START)).unwrap_or_else(|e| panic!("{e}"));
        let sources = Arc::new(query::sources(&loaded.policy.sources, &BTreeMap::new()));
        let seen = Arc::new(SeenRows::open(&state.join("rows.db")).expect("rows"));
        let world = World::new(Arc::new(loaded.policy), opened.state);
        let shared = Shared::new().expect("TLS");
        let programs = Arc::new(loaded.programs.into_iter().collect());
        let (now, longest_step, judged) = (START, Duration::ZERO, 0);
        Bench { folder, world, store: opened.store, programs, sources, seen, shared, now, longest_step, judged }
    }

    fn input(&mut self, input: Input) -> Effects {
        let begun = Instant::now();
        let effects = step(&mut self.world, self.now, input);
        self.longest_step = self.longest_step.max(begun.elapsed());
        effects
    }

    /// Lets every check run once that is due by `until`; commits in groups, as the agent does.
    async fn run_all(&mut self, until: Timestamp) {
        let mut open = Effects::default();
        let mut orders: Vec<RunOrder> = Vec::new();
        let mut running = JoinSet::new();
        let mut ended = 0;
        self.now = until;
        let mut effects = self.input(Input::Wake);
        while ended < CHECKS {
            orders.append(&mut effects.runs);
            open.absorb(effects);
            for order in orders.drain(..) {
                running.spawn(self.perform(order));
            }
            let (order, outcome) = running.join_next().await.expect("a run").expect("no panic");
            ended += 1;
            self.judged += outcome.rows.as_ref().map_or(0, |rows| rows.counts.len());
            assert!(outcome.findings.is_empty() && outcome.rows.is_some(), "{outcome:?}");
            let outcome = Box::new(outcome);
            effects = self.input(Input::Result { check: order.check, run: order.run, started: self.now, outcome });
            if ended % 200 == 0 {
                let commit = open.take_commit(&self.world.state);
                self.store.commit(&commit).expect("a commit");
            }
        }
        open.absorb(effects);
        let commit = open.take_commit(&self.world.state);
        self.store.commit(&commit).expect("a commit");
    }

    fn perform(&self, order: RunOrder) -> impl Future<Output = (RunOrder, Outcome)> + use<> {
        let (programs, sources, seen) = (self.programs.clone(), self.sources.clone(), self.seen.clone());
        let (shared, now, policy) = (self.shared.clone(), self.now, self.world.policy.clone());
        async move {
            let check = &policy.checks[&order.check];
            let lookback = check.lookback.as_deref().map(|expects| Look {
                policy: expects,
                source: sources.get(&expects.source).map(|source| &**source),
                windows: &order.windows,
                seen: Some(&seen),
                now,
            });
            let run = Run { check: &order.check, timeout: Duration::from_secs(30), shared: &shared, lookback };
            let outcome = programs[&order.check].run(&run).await;
            (order, outcome)
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::main]
async fn main() {
    let folder = std::env::temp_dir().join(format!("watchbell-look-backs-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fill_warehouse(&folder, START);
    let mut bench = Bench::new(folder);
    let _ = bench.input(Input::Start { agent_id: "bench".into() });
    bench.run_all(START + Duration::from_secs(61)).await;
    bench.judged = 0;
    // Every check is due once in each minute; ask for the whole minute at its end.
    let begun = Instant::now();
    bench.run_all(START + Duration::from_secs(121)).await;
    println!(
        "a minute: {CHECKS} checks, {} judgements in {:.2} s (wanted: 5 s)",
        bench.judged,
        begun.elapsed().as_secs_f64()
    );
    bench.judged = 0;
    let later = START + WEEK;
    fill_warehouse(&bench.folder, later);
    bench.longest_step = Duration::ZERO;
    let begun = Instant::now();
    bench.run_all(later).await;
    let took = begun.elapsed().as_secs_f64();
    println!("a week's outage: {} judgements in {took:.2} s (wanted: 500,000 in 30 s)", bench.judged);
    println!("longest step of the engine meanwhile: {:.1} ms", bench.longest_step.as_secs_f64() * 1000.0);
}
