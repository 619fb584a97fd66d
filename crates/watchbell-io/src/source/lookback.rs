//! A look-back: asks a source for rows, keeps those not seen before, and counts what the engine wants counted; or
//! measures the one row that it answers.
//!
//! What the counts mean is the engine's to say. Rows are on disk before they are counted. In steady state one minute
//! is due, and a window is one count; after an outage the times of all windows are read once, and counted in the core.
//! Old rows are dropped beside the runs: that costs no run its counts.

use super::{BoxFuture, Probe, Program, Run, options};
use crate::{
    query::{Ask, Asked, Source, Trouble},
    shared::{json, process::Command},
    store::seen::SeenRows,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{Capabilities, Key, Kind, ROWS_MAX, Reader, Shape, keys::QUERY_KEYS},
    model::{Answer, Counted, Exit, Finding, Name, Outcome, Phase, Row, Rows, SourceNews, Timestamp, Wanted, Window},
    schedule::spread,
    state::lookback::{Lookback, count},
    wire::{
        rows::rows_of,
        values::{MEASURED_ROWS, Measured, values_of},
    },
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
          query passed over. Too few or too many is a fault, critical unless `severity` says otherwise; rows that come late mend it. \
          With `value = true` it answers one row of numbers instead, which `thresholds` judge.",
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

/// So many times are read at once; the next ones after that.
pub const TIMES_AT_ONCE_MAX: usize = 100_000;

/// How often old rows are dropped.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// So many old rows of a check are dropped after a run; the next run drops the next ones.
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
    purge: Arc<Purge>,
    mended: Mutex<Mended>,
}

/// Who drops old rows, and when.
#[derive(Debug)]
struct Purge {
    command: Option<Command>,
    state: Mutex<PurgeState>,
}

#[derive(Debug, Default)]
struct PurgeState {
    /// When old rows were last looked for; `None` before the first run.
    last: Option<Timestamp>,
    /// There are more than were dropped.
    more: bool,
    /// It is done right now.
    busy: bool,
    /// What went wrong the last time; told until it does not.
    problem: Option<String>,
}

/// Whether minutes that held too few rows were counted again since the last new row, by a run whose result the engine
/// took: only then another count would bring nothing.
#[derive(Debug, Default)]
struct Mended {
    /// The newest minute of a run that counted all. A later run that is not told to judge it shows that the result counted.
    counted: Option<Timestamp>,
    through: bool,
}

impl Mended {
    /// A run begins: whether nothing came since all was counted.
    fn begin(&mut self, windows: &[Window]) -> bool {
        let mut due = windows.iter().filter(|window| !window.again);
        if self.counted.is_some_and(|counted| due.all(|window| window.minute > counted)) {
            self.through = true;
        }
        self.through
    }

    /// Rows came, or may have.
    fn rows_came(&mut self) {
        *self = Mended::default();
    }

    /// A run counted all.
    fn end(&mut self, windows: &[Window]) {
        self.counted = windows.iter().filter(|window| !window.again).map(|window| window.minute).max();
    }
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
    let purge = Arc::new(Purge { command: purge, state: Mutex::default() });
    Some(Arc::new(Query { query, rows_max, purge, mended: Mutex::default() }))
}

impl Probe for Query {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            match &run.lookback {
                Some(look) => self.look(run, look).await,
                None => broken("start", "it has no expectations to look for".to_owned()),
            }
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.purge.command.as_ref().map(Command::preflight).unwrap_or_default()
    }
}

/// An outcome that only says that minutes can't be judged now; they will be.
fn broken(what: &str, why: String) -> Outcome {
    Outcome { findings: vec![Finding::monitor(what, &why)], summary: why, inconclusive: true, ..Outcome::default() }
}

/// Numbers to judge, in place of rows to count.
fn measure(answer: &Answer, wanted: &Wanted) -> Outcome {
    match values_of(answer, wanted) {
        Err(why) => broken("value", why),
        Ok(Measured { metrics, findings }) => {
            let numbers = metrics.iter().map(|metric| format!("{} {}", metric.name, metric.shown()).trim().to_owned());
            let problems = findings.iter().map(|finding| finding.message.clone());
            let mut summary = numbers.chain(problems).collect::<Vec<_>>().join("; ");
            if summary.is_empty() {
                summary = "no value, and none is wanted".to_owned();
            }
            Outcome { findings, metrics, summary, ..Outcome::default() }
        }
    }
}

/// A check's own name, as dwmon's commands know it.
fn short(check: &Name) -> &str {
    check.rsplit('/').next().unwrap_or(check)
}

fn phase(name: &str, took: Duration) -> Phase {
    Phase { name: name.to_owned(), seconds: took.as_secs_f64() }
}

impl Query {
    async fn look(&self, run: &Run<'_>, look: &Look<'_>) -> Outcome {
        let name = look.policy.source.clone();
        let Some(source) = look.source else {
            return broken("source", format!("there is no source `{name}`: add `[source.{name}]`"));
        };
        let begun = Instant::now();
        let ask = Ask {
            query: &self.query,
            checker: short(run.check),
            extra: look.policy.extra.as_ref(),
            rows_max: match look.policy.value {
                Some(_) => MEASURED_ROWS,
                None => self.rows_max.unwrap_or(source.policy().rows_max),
            },
            all_columns: look.policy.value.is_some(),
            timeout: run.timeout,
            shared: run.shared,
        };
        let Asked { answer, waited } = source.ask(&ask).await;
        // To wait for others and to count is not this query's slowness.
        let took = begun.elapsed().saturating_sub(waited);
        let mut outcome = match answer {
            Ok(answer) => match &look.policy.value {
                Some(wanted) => measure(&answer, wanted),
                None => self.keep_and_count(run, look, answer).await,
            },
            Err(Trouble::Away(why)) => {
                let problem = Some(why.clone());
                let source = Some(SourceNews { source: name, problem });
                return Outcome { summary: why, inconclusive: true, source, took, ..Outcome::default() };
            }
            Err(Trouble::Wrong(why) | Trouble::Broken(why)) => broken("query", why),
            // Who is slow, it or its source, nobody can tell: the source's own fault stays as it is.
            Err(Trouble::Slow(why)) => return Outcome { took, ..broken("timeout", why) },
        };
        outcome.took = took;
        outcome.phases.splice(0..0, [phase("wait", waited), phase("query", took)]);
        outcome.source = Some(SourceNews { source: name, problem: None });
        outcome
    }

    async fn keep_and_count(&self, run: &Run<'_>, look: &Look<'_>, answer: Answer) -> Outcome {
        let found = match rows_of(&answer, &look.policy.zone, look.now) {
            Ok(found) => found,
            Err(why) => return broken("rows", why),
        };
        let mut problems = found.problems;
        let rows = Arc::new(found.rows);
        let counting = Instant::now();
        let counted = match look.seen {
            None => Ok(count_alone(&rows, look.windows)),
            Some(seen) => self.count_seen(run.check, &rows, look, seen).await,
        };
        let counts = match counted {
            Ok(counts) => counts,
            Err(why) => return broken("store", why),
        };
        if let Some(seen) = look.seen {
            problems.extend(self.drop_old(run.check, look, seen, rows));
        }
        let findings = if problems.is_empty() { vec![] } else { vec![Finding::partial("rows", problems.join("; "))] };
        let phases = vec![phase("count", counting.elapsed())];
        Outcome { findings, rows: Some(Box::new(counts)), phases, ..Outcome::default() }
    }

    /// Keeps what was not seen before, then counts all that was.
    async fn count_seen(
        &self,
        check: &Name,
        rows: &Arc<Vec<Row>>,
        look: &Look<'_>,
        seen: &Arc<SeenRows>,
    ) -> Result<Rows, String> {
        let (seen, check, rows, keep_from) =
            (seen.clone(), check.clone(), rows.clone(), look.policy.keep_from(look.now));
        let mut windows = look.windows.to_vec();
        let through = locked(&self.mended).begin(&windows);
        let (counted, windows) = blocking(move || {
            let there = rows.len() as u64;
            let new = seen.add(&check, &rows, keep_from)?.new;
            if through && new == 0 {
                // Nothing came that could change what was judged.
                windows.retain(|window| !window.again);
            }
            let counts = match windows.len() > COUNTED_APART_MAX {
                true => seen.count_windows(&check, &windows, TIMES_AT_ONCE_MAX)?,
                false => windows.iter().map(|window| count_one(&seen, &check, window)).collect::<Result<_, _>>()?,
            };
            Ok((Rows { seen: there, new, counts }, windows))
        })
        .await
        .inspect_err(|_| locked(&self.mended).rows_came())?;
        let mut mended = locked(&self.mended);
        if counted.new > 0 {
            mended.rows_came();
        }
        if !mended.through {
            mended.end(&windows);
        }
        Ok(counted)
    }

    /// Drops old rows once in a while, beside this run and the next ones: a command that decides may take its time.
    /// Returns what went wrong before.
    fn drop_old(&self, check: &Name, look: &Look<'_>, seen: &Arc<SeenRows>, rows: Arc<Vec<Row>>) -> Option<String> {
        let mut state = locked(&self.purge.state);
        // Not all checks at once after a start.
        let last = *state.last.get_or_insert_with(|| look.now - PURGE_EVERY + spread(check, PURGE_EVERY));
        let problem = state.problem.clone();
        if state.busy || (look.now.since(last) < PURGE_EVERY && !state.more) {
            return problem;
        }
        (state.last, state.more, state.busy) = (Some(look.now), false, true);
        let work = PurgeWork {
            check: check.clone(),
            input: self.input(check, look.policy),
            needed: look.now - look.policy.needed(),
            keep_from: look.policy.keep_from(look.now),
            seen: seen.clone(),
            rows,
        };
        let purge = self.purge.clone();
        tokio::spawn(async move {
            let done = purge.run(work).await;
            let mut state = locked(&purge.state);
            state.busy = false;
            (state.more, state.problem) = done.map_or_else(|why| (false, Some(why)), |more| (more, None));
        });
        problem
    }

    /// What a purge command is told: the same as a command that prints rows.
    fn input(&self, check: &Name, policy: &Lookback) -> Value {
        json!({
            "checker": short(check), "query": self.query, "source": policy.source.as_str(), "extra": policy.extra,
        })
    }
}

/// What is dropped, and for whom.
struct PurgeWork {
    check: Name,
    /// What a command is told.
    input: Value,
    /// No row from after this is dropped.
    needed: Timestamp,
    /// Rows from before this are, unless a command decides.
    keep_from: Timestamp,
    seen: Arc<SeenRows>,
    /// What the query answers now stays: it would be new again.
    rows: Arc<Vec<Row>>,
}

impl Purge {
    /// Drops old rows; whether there are more.
    async fn run(&self, work: PurgeWork) -> Result<bool, String> {
        let before = match &self.command {
            None => Some(work.keep_from),
            Some(command) => decided(command, &work.input).await?.map(|before| before.min(work.needed)),
        };
        let Some(before) = before else { return Ok(false) };
        blocking(move || {
            let keep = work.rows.iter().map(|row| row.key.clone()).collect();
            let purged = work.seen.purge(&work.check, before, PURGED_MAX, &keep)?;
            Ok(purged >= PURGED_MAX as u64)
        })
        .await
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
    let said: Option<Value> = json::parse(text.as_bytes()).ok();
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
fn count_alone(rows: &[Row], windows: &[Window]) -> Rows {
    let mut keys = BTreeSet::new();
    let mut times: Vec<Timestamp> = rows.iter().filter(|row| keys.insert(&row.key)).map(|row| row.time).collect();
    times.sort();
    Rows { seen: rows.len() as u64, new: times.len() as u64, counts: count(&times, windows) }
}

fn count_one(seen: &SeenRows, check: &Name, window: &Window) -> Result<Counted, String> {
    let count = seen.count(check, window.from, window.until)?;
    Ok(Counted { line: window.line, minute: window.minute, count })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("the work was cut off: {error}")))
}

#[cfg(test)]
mod tests;
