//! A look-back: asks a source for rows, keeps those not seen before, and counts what the engine wants counted.
//!
//! What the counts mean is the engine's to say. Rows are on disk before they are counted. In steady state one minute
//! is due, and a window is one count; after an outage the times of all windows are read once, and counted in the core.

use super::{BoxFuture, Probe, Program, Run, options};
use crate::{
    query::{Ask, Source, Trouble},
    shared::process::Command,
    store::seen::SeenRows,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{Capabilities, Key, Kind, ROWS_MAX, Reader, Shape, keys::QUERY_KEYS},
    model::{Answer, Exit, Finding, Name, Outcome, Phase, Row, Rows, SourceNews, Timestamp, Window},
    schedule::spread,
    state::lookback::{Lookback, count},
    wire::rows::rows_of,
};

/// Beside what all look-backs have: who decides which rows are dropped.
const PURGE: Key = Key {
    name: "purge",
    shape: Shape::Strings,
    doc: "A command that decides once an hour which rows are dropped, in place of `retention`: it prints an epoch in \
          seconds, or `{ \"delete_older_than_epoch\": N }`; nothing drops nothing. What a look-back still needs stays. The keys \
          of commands (`cwd`, `env` …) are for it.",
};
const KEYS: [Key; QUERY_KEYS.len() + 1 + options::KEYS.len()] = joined();

const fn joined<const N: usize>() -> [Key; N] {
    let mut all = [PURGE; N];
    let mut at = 0;
    while at < N {
        if at < QUERY_KEYS.len() {
            all[at] = QUERY_KEYS[at];
        } else if at > QUERY_KEYS.len() {
            all[at] = options::KEYS[at - QUERY_KEYS.len() - 1];
        }
        at += 1;
    }
    all
}

/// `query = "…"`.
pub const KIND: Kind<Program> = Kind {
    key: "query",
    doc: "A look-back: a query that finds rows, and how many of them a window of time must hold (`expect`). It runs every \
          minute unless `every` says otherwise; each minute that is due is judged once, also those that an outage or a slow \
          query passed over. Too few or too many is a fault, critical unless `severity` says otherwise; rows that come late mend it.",
    example: r#"[check.orders]
query = "SELECT id AS key, created_at AS time FROM orders ORDER BY 2 DESC LIMIT 10000"
source = "warehouse"
expect = [
  { days = "weekdays", hours = "9-17", every = "20m", lookback = "1h", min = 5, max = 200 },
  { days = "all", every = "1h", lookback = "1d", min = 1 },
]

[source.warehouse]
url = { env = "WAREHOUSE_URL" }
"#,
    keys: &KEYS,
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

/// So many windows are counted one by one; for more, their times are read at once.
const COUNTED_APART_MAX: usize = 8;

/// So many times are read at once; beyond, each window is counted by itself.
pub const TIMES_AT_ONCE_MAX: usize = 2_000_000;

/// How often old rows are dropped.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// So many old rows of a check are dropped at a time; the next run drops the next ones.
pub const PURGED_MAX: usize = 50_000;

/// How long `purge` may take.
const PURGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a look-back needs besides its own config.
#[derive(Debug)]
pub struct Look<'a> {
    /// What it expects.
    pub policy: &'a Lookback,
    /// Where it asks.
    pub source: Option<&'a Source>,
    /// What is to be counted.
    pub windows: &'a [Window],
    /// Rows seen before; without, only those of this answer are counted and none is kept.
    pub seen: Option<&'a Arc<SeenRows>>,
    /// When the run began.
    pub now: Timestamp,
}

#[derive(Debug)]
struct Query {
    query: String,
    rows_max: Option<usize>,
    purge: Option<Command>,
    /// When old rows were last dropped, in microseconds; 0 is never.
    purged_at: AtomicI64,
}

fn read(r: &mut Reader<'_>) -> Option<Program> {
    let query = r.require_string("query")?;
    let rows_max = r.integer("rows_max", 1..=ROWS_MAX).and_then(|n| usize::try_from(n).ok());
    let purge = if r.has("purge") { options::read_command(r, "purge") } else { None };
    if !r.has("purge") {
        // The folder is always there: the loader adds it.
        let _ = r.string("cwd");
        for key in options::KEYS.iter().map(|key| key.name).filter(|key| *key != "cwd") {
            if r.has(key) {
                r.error(key, format!("`{key}` has no meaning without `purge`"))
                    .hint("remove it: a query is no command");
            }
        }
    }
    Some(Arc::new(Query { query, rows_max, purge, purged_at: AtomicI64::new(0) }))
}

impl Probe for Query {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            let begun = Instant::now();
            let outcome = match &run.lookback {
                Some(look) => self.look(run, look).await,
                None => broken("start", "it has no expectations to look for".to_owned()),
            };
            Outcome { took: begun.elapsed(), ..outcome }
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.purge.as_ref().map(Command::preflight).unwrap_or_default()
    }
}

/// An outcome that only says that minutes can't be judged now; they will be.
fn broken(what: &str, why: String) -> Outcome {
    Outcome { findings: vec![Finding::monitor(what, &why)], summary: why, inconclusive: true, ..Outcome::default() }
}

/// A check's own name, as dwmon's commands know it.
fn short(check: &Name) -> &str {
    check.rsplit('/').next().unwrap_or(check)
}

fn phase(name: &str, since: Instant) -> Phase {
    Phase { name: name.to_owned(), seconds: since.elapsed().as_secs_f64() }
}

impl Query {
    async fn look(&self, run: &Run<'_>, look: &Look<'_>) -> Outcome {
        let name = look.policy.source.clone();
        let Some(source) = look.source else {
            return broken("source", format!("there is no source `{name}`: add `[source.{name}]`"));
        };
        let asked = Instant::now();
        let rows_max = self.rows_max.unwrap_or(source.policy().rows_max);
        let ask = Ask {
            query: &self.query,
            checker: short(run.check),
            extra: look.policy.extra.as_ref(),
            rows_max,
            timeout: run.timeout,
            shared: run.shared,
        };
        let answered = source.ask(&ask).await;
        let query_phase = phase("query", asked);
        let mut outcome = match answered {
            Ok(answer) => self.keep_and_count(run, look, answer, rows_max).await,
            Err(Trouble::Away(why)) => {
                let problem = Some(why.clone());
                let source = Some(SourceNews { source: name, problem });
                return Outcome { summary: why, inconclusive: true, source, ..Outcome::default() };
            }
            Err(Trouble::Wrong(why)) => broken("query", why),
            // Who is slow, it or its source, nobody can tell: the source's own fault stays as it is.
            Err(Trouble::Slow(why)) => return broken("timeout", why),
        };
        outcome.phases.insert(0, query_phase);
        outcome.source = Some(SourceNews { source: name, problem: None });
        outcome
    }

    async fn keep_and_count(&self, run: &Run<'_>, look: &Look<'_>, answer: Answer, rows_max: usize) -> Outcome {
        let found = match rows_of(&answer, &look.policy.zone, look.now) {
            Ok(found) => found,
            Err(why) => return broken("rows", why),
        };
        let mut problems = found.problems;
        if answer.truncated {
            problems.push(format!(
                "the answer has more than {rows_max} rows, and the rest was not read: ask for fewer, newest first, or raise `rows_max`"
            ));
        }
        let counting = Instant::now();
        let counted = match look.seen {
            None => Ok(count_alone(found.rows, look.windows)),
            Some(seen) => count_seen(run.check.clone(), found.rows, look, seen.clone()).await,
        };
        let rows = match counted {
            Ok(rows) => rows,
            Err(why) => return broken("store", why),
        };
        if let Some(seen) = look.seen
            && let Err(why) = self.purge(run, look, seen).await
        {
            problems.push(why);
        }
        let findings = if problems.is_empty() { vec![] } else { vec![Finding::monitor("rows", problems.join("; "))] };
        Outcome { findings, rows: Some(Box::new(rows)), phases: vec![phase("count", counting)], ..Outcome::default() }
    }

    /// What a purge command is told: the same as a command that prints rows.
    fn input(&self, check: &Name, policy: &Lookback) -> Value {
        json!({
            "checker": short(check), "query": self.query, "source": policy.source.as_str(), "extra": policy.extra,
        })
    }

    /// Drops old rows, once in a while.
    async fn purge(&self, run: &Run<'_>, look: &Look<'_>, seen: &Arc<SeenRows>) -> Result<(), String> {
        let last = match self.purged_at.load(Ordering::Relaxed) {
            // Not all checks at once after a start.
            0 => look.now - PURGE_EVERY + spread(run.check, PURGE_EVERY),
            last => Timestamp::from_micros(last),
        };
        self.purged_at.store(last.as_micros(), Ordering::Relaxed);
        if look.now.since(last) < PURGE_EVERY {
            return Ok(());
        }
        let needed = look.now - look.policy.needed();
        let before = match &self.purge {
            None => Some(look.policy.keep_from(look.now)),
            Some(command) => {
                decided(command, &self.input(run.check, look.policy)).await?.map(|before| before.min(needed))
            }
        };
        let mut through = true;
        if let Some(before) = before {
            let (seen, check) = (seen.clone(), run.check.clone());
            let purged = blocking(move || seen.purge(&check, before, PURGED_MAX)).await?;
            through = purged < PURGED_MAX as u64;
        }
        if through {
            self.purged_at.store(look.now.as_micros(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What the purge command says: rows older than this are dropped.
async fn decided(command: &Command, input: &Value) -> Result<Option<Timestamp>, String> {
    let ran = command.run(input.to_string().into_bytes(), PURGE_TIMEOUT).await;
    let text = String::from_utf8_lossy(&ran.raw.stdout).trim().to_owned();
    if ran.raw.exit != Some(Exit::Code(0)) {
        let why = String::from_utf8_lossy(&ran.raw.stderr).trim().to_owned();
        return Err(format!("`purge` failed, no rows were dropped: {}", why.lines().last().unwrap_or("no text")));
    }
    if text.is_empty() {
        return Ok(None);
    }
    let said: Option<Value> = serde_json::from_str(&text).ok();
    let number = said.as_ref().map(|said| said.get("delete_older_than_epoch").unwrap_or(said));
    match number {
        Some(Value::Number(number)) => Ok(number.as_f64().map(|epoch| Timestamp::from_secs(epoch as i64))),
        Some(Value::Null | Value::Object(_)) => Ok(None),
        _ => Err(format!(
            "`purge` printed `{}`: wanted is an epoch in seconds",
            text.chars().take(80).collect::<String>()
        )),
    }
}

/// Counts the rows of one answer, each key once.
fn count_alone(rows: Vec<Row>, windows: &[Window]) -> Rows {
    let mut keys = BTreeSet::new();
    let seen = rows.len() as u64;
    let mut times: Vec<Timestamp> =
        rows.into_iter().filter(|row| keys.insert(row.key.clone())).map(|r| r.time).collect();
    times.sort();
    Rows { seen, new: times.len() as u64, counts: count(&times, windows) }
}

/// Keeps what was not seen before, then counts all that was.
async fn count_seen(check: Name, rows: Vec<Row>, look: &Look<'_>, seen: Arc<SeenRows>) -> Result<Rows, String> {
    let keep_from = look.policy.keep_from(look.now);
    let mut windows = look.windows.to_vec();
    blocking(move || {
        let there = rows.len() as u64;
        let added = seen.add(&check, &rows, keep_from)?;
        if added.new == 0 {
            // Nothing came that could change what was judged.
            windows.retain(|window| !window.again);
        }
        let from = windows.iter().map(|w| w.from).min();
        let until = windows.iter().map(|w| w.until).max();
        let apart = || {
            let one = |w: &Window| {
                let count = seen.count(&check, w.from, w.until)?;
                Ok(watchbell_core::model::Counted { line: w.line, minute: w.minute, count })
            };
            windows.iter().map(one).collect::<Result<Vec<_>, String>>()
        };
        let counts = match (from, until) {
            (Some(from), Some(until)) if windows.len() > COUNTED_APART_MAX => {
                match seen.times(&check, from, until, TIMES_AT_ONCE_MAX) {
                    Ok(times) => count(&times, &windows),
                    Err(_) => apart()?,
                }
            }
            _ => apart()?,
        };
        Ok(Rows { seen: there, new: added.new, counts })
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("the work was cut off: {error}")))
}

#[cfg(test)]
mod tests;
