//! Reads one `[check.NAME]`: the common keys, and through its kind what it runs. Names of other things are
//! kept as [`Reference`]s; the loader resolves them.

use super::{
    CheckPolicy, Key, Kind, Missed, Overlap, Passive, Problems, Reader, Renotify, Retry, Shape, Style,
    agent::{AgentState, Defaults, join, zone},
    expect,
    keys::{CHECK_KEYS, HIDDEN_CHECK_KEYS, QUERY, QUERY_KEYS},
    reader::{DURATION_MAX, parse_duration},
    refs::{Reference, references},
    tree::{Entry, Node, Table, Value},
};
use crate::{
    model::{Name, Severity},
    route::hours::Hours,
    schedule::{Schedule, cron::Cron, spread},
    state::{lookback::Lookback, threshold::Threshold},
};
use jiff::tz::TimeZone;
use std::{sync::Arc, time::Duration};

/// A check may not run more often.
pub const EVERY_MIN: Duration = Duration::from_secs(1);
/// How often a check runs that does not say.
pub const EVERY_DEFAULT: Duration = Duration::from_secs(60);
/// Longest time limit that a run gets unless its check says otherwise.
pub const TIMEOUT_DEFAULT_MAX: Duration = Duration::from_secs(60);
/// The time limit of a flake, as long as its own program knew none.
pub const FLAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// The time limit of a job.
pub const JOB_TIMEOUT_DEFAULT: Duration = Duration::from_secs(86_400);
/// The time limit of a query: it ends before the next one of its check begins.
pub const QUERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(50);
/// How long after its slot a passive check's report may come.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(3600);
/// How many retries an error gets. Flakes, jobs and passive checks get none: they run when their line says so, or when
/// somebody else does, and not otherwise.
pub const RETRY_DEFAULT: u32 = 3;
/// Longest time between a failure and its retry unless the check says otherwise.
pub const RETRY_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// Icinga's bounds, in percent of the last 20 results.
pub const FLAPPING_DEFAULT: (f64, f64) = (30.0, 25.0);
/// Longest name of a check, in bytes: names become file names of logs.
pub const NAME_MAX: usize = 200;
/// How much is shown of one that is too long.
const NAME_SHOWN: usize = 40;

/// What a check is read with.
pub(super) struct CheckContext<'a, P: 'static> {
    pub(super) kinds: &'static [Kind<P>],
    pub(super) agent: &'a AgentState,
    /// The config folder.
    pub(super) root: &'a str,
    /// As shown.
    pub(super) path: &'a str,
    /// `//AGENT/FILE/`.
    pub(super) prefix: &'a str,
    /// A translated old format: its hidden keys are allowed.
    pub(super) old: bool,
    /// The file's `[defaults]`, without what is wrong in them.
    pub(super) defaults: &'a Table,
}

/// A check whose references are not resolved yet.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) policy: Arc<CheckPolicy>,
    pub(super) enabled: bool,
    /// `None`: the file's default, else the agent's.
    pub(super) notify: Option<Vec<Reference>>,
    pub(super) parents: Vec<Reference>,
    /// `None`: for a look-back the agent's, else nobody.
    pub(super) on_result: Option<Vec<Reference>>,
    /// Where its query is asked.
    pub(super) source: Option<Reference>,
}

/// What a check's table came to.
pub(super) enum Read<P> {
    Good(Draft, Option<P>),
    /// At least one error was reported.
    Bad,
}

/// Reads the value of a check's entry; errors are in `problems` whenever the result is not `Good`, and may be
/// there when it is.
pub(super) fn read<P>(
    cx: &CheckContext<'_, P>,
    name: Name,
    entry: &Entry,
    line: usize,
    problems: &mut Problems,
) -> Read<P> {
    let Value::Table(own) = &entry.value.value else {
        let found = entry.value.value.type_name();
        problems
            .error(entry.value.span, format!("`check.{}` must be a table, this is {found}", entry.key))
            .hint(format!("write `[check.{}]` and its keys below", entry.key));
        return Read::Bad;
    };
    let mut table = merged(own, cx.defaults);
    if !cx.old {
        add_cwd(cx, &mut table);
    }
    let mut reader = Reader::new(&table, problems, format!("`[check.{}]`", entry.key), CHECK_KEYS);
    let kind = match kind_of(cx.kinds, &mut reader) {
        KindOf::One(kind) => Some(kind),
        KindOf::Passive => None,
        KindOf::Wrong => return Read::Bad,
    };
    if let Some(kind) = kind {
        reader.declare(kind.keys);
        if kind.key == QUERY {
            reader.declare(QUERY_KEYS);
        }
    }
    if cx.old {
        reader.declare(HIDDEN_CHECK_KEYS);
    } else {
        reader.declare_hidden(HIDDEN_CHECK_KEYS);
    }
    let before = reader.problems.list.len();
    let draft = read_common(cx, name, kind.map_or("passive", |k| k.key), line, &mut reader);
    expect::warn(&draft.policy, own, &mut reader);
    let program = kind.and_then(|kind| (kind.read)(&mut reader));
    let kind_failed = kind.is_some() && program.is_none();
    if kind_failed && reader.problems.list.len() == before {
        let span = reader.table.span;
        reader.problems.error(span, format!("{} can't be used", reader.title));
    }
    reader.finish_with(|key| {
        let other = cx.kinds.iter().find(|k| k.keys.iter().any(|k| k.name == key))?;
        Some(format!("`{key}` belongs to checks with `{}`; remove it here", other.key))
    });
    if kind_failed { Read::Bad } else { Read::Good(draft, program) }
}

/// Reads a table of defaults, `[defaults]` or `[flakes]`. `None` where something in it is wrong.
pub(super) fn read_defaults<P>(
    cx: &CheckContext<'_, P>,
    entry: &Entry,
    not: &[&str],
    problems: &mut Problems,
) -> Option<Defaults> {
    let Value::Table(table) = &entry.value.value else {
        let found = entry.value.value.type_name();
        problems.error(entry.value.span, format!("`{}` must be a table, this is {found}", entry.key));
        return None;
    };
    let before = problems.errors();
    let mut reader = Reader::new(table, problems, format!("`[{}]`", entry.key), CHECK_KEYS);
    for key in not {
        if let Some(entry) = table.get(key) {
            let problem = reader.problems.error(entry.key_span, format!("`{key}` can't be a default"));
            problem.hint("it speaks of one check: write it there");
        }
    }
    reader.declare_hidden(HIDDEN_CHECK_KEYS);
    // Of its own result only who is told is of use.
    let draft = read_common(cx, Name::new(cx.prefix), "", 0, &mut reader);
    reader.finish();
    (problems.errors() == before).then(|| Defaults { table: table.clone(), notify: draft.notify })
}

/// The check's own entries, and of the file's defaults those that it doesn't state itself.
fn merged(own: &Table, defaults: &Table) -> Table {
    let mut table = own.clone();
    for entry in &defaults.entries {
        let excluded: &[&str] = match entry.key.as_str() {
            "every" | "cron" => &["every", "cron", "passive", "ticks"],
            "grace" if own.get("passive").is_none() => continue,
            "notify" => continue,
            // A retry runs a check again. What must not be, or can't be, asks for it itself.
            "retry" if own.get("passive").is_some() || is_job(own) => continue,
            _ => &[],
        };
        if excluded.iter().any(|key| own.get(key).is_some()) {
            continue;
        }
        match table.entries.iter_mut().find(|e| e.key == entry.key) {
            None => table.entries.push(entry.clone()),
            Some(there) if entry.key == "labels" => add_labels(&mut there.value, &entry.value),
            Some(_) => {}
        }
    }
    table
}

/// A job: what it does is not done once more only to look.
fn is_job(table: &Table) -> bool {
    matches!(table.get("type").map(|e| &e.value.value), Some(Value::String(word)) if word == "job")
}

/// Native commands run in the config folder, so that `./res/queue.sh` means the same wherever the agent was
/// started; a folder or credentials file that is given counts from there.
fn add_cwd<P>(cx: &CheckContext<'_, P>, table: &mut Table) {
    let takes = |key: &str| candidates(cx.kinds, table).iter().any(|kind| kind.keys.iter().any(|k| k.name == key));
    if !takes(CWD) {
        return;
    }
    if table.get(CWD).is_none() {
        table.put(CWD, table.span, Value::String(cx.root.to_owned()));
    }
    for entry in table.entries.iter_mut().filter(|entry| [CWD, ENV_FILE].contains(&entry.key.as_str())) {
        if let Value::String(path) = &mut entry.value.value
            && !path.trim().is_empty()
        {
            *path = join(cx.root, path);
        }
    }
}

/// The key by which kinds that run commands take the folder to run them in.
const CWD: &str = "cwd";
/// The key by which they take a credentials file.
const ENV_FILE: &str = "env_file";

fn add_labels(own: &mut Node, defaults: &Node) {
    if let (Value::Table(own), Value::Table(defaults)) = (&mut own.value, &defaults.value) {
        for entry in &defaults.entries {
            if own.get(&entry.key).is_none() {
                own.entries.push(entry.clone());
            }
        }
    }
}

enum KindOf<P: 'static> {
    One(&'static Kind<P>),
    Passive,
    Wrong,
}

/// The kinds that the table may be: one, unless it is wrong.
fn candidates<P>(kinds: &'static [Kind<P>], table: &Table) -> Vec<&'static Kind<P>> {
    let mut there: Vec<&'static Kind<P>> = kinds.iter().filter(|kind| table.get(kind.key).is_some()).collect();
    if there.len() > 1 {
        // The word of one kind may be an ordinary key of another.
        let all = there.clone();
        let belongs = |word: &str| all.iter().any(|k| k.key != word && k.keys.iter().any(|key| key.name == word));
        there.retain(|kind| !belongs(kind.key));
    }
    there
}

/// The kind whose key the table has: exactly one.
fn kind_of<P>(kinds: &'static [Kind<P>], reader: &mut Reader<'_>) -> KindOf<P> {
    let table = reader.table;
    let there = candidates(kinds, table);
    let passive = table.get("passive");
    match (there.as_slice(), passive) {
        ([kind], None) => KindOf::One(kind),
        ([kind], Some(_)) if kind.key == "passive" => KindOf::One(kind),
        ([], Some(_)) => KindOf::Passive,
        ([], None) => {
            no_kind(kinds, reader);
            KindOf::Wrong
        }
        (kinds, passive) => {
            let mut keys: Vec<&Entry> = kinds.iter().filter_map(|kind| table.get(kind.key)).chain(passive).collect();
            keys.dedup_by_key(|entry| entry.key_span);
            let words: Vec<_> = keys.iter().map(|entry| format!("`{}`", entry.key)).collect();
            let message = format!("{} can't be {} at once", reader.title, words.join(" and "));
            if let [first, .., last] = keys.as_slice() {
                reader
                    .problems
                    .error(last.key_span, message)
                    .hint("make two checks of it, or remove one of them")
                    .related(first.key_span, "this makes it a check already");
            }
            KindOf::Wrong
        }
    }
}

fn no_kind<P>(kinds: &'static [Kind<P>], reader: &mut Reader<'_>) {
    let words = || kinds.iter().map(|kind| kind.key);
    let known = |key: &str| CHECK_KEYS.iter().any(|k| k.name == key);
    let typo = reader.table.entries.iter().filter(|entry| !known(&entry.key)).find_map(|entry| {
        let near = super::reader::nearest(&entry.key, words())?;
        Some((entry, near))
    });
    let title = reader.title.clone();
    if let Some((entry, near)) = typo {
        let problem = reader.problems.error(entry.key_span, format!("{title} has no key `{}`", entry.key));
        problem.hint(format!("did you mean `{near}`?"));
        return;
    }
    let mut all: Vec<_> = words().map(|word| format!("`{word}`")).collect();
    if !words().any(|word| word == "passive") {
        all.push("`passive`".to_owned());
    }
    let span = reader.table.span;
    let problem = reader.problems.error(span, format!("{title} does not say what to run"));
    problem.hint(format!("add one of {}", all.join(", ")));
}

fn read_common<P>(cx: &CheckContext<'_, P>, name: Name, kind: &'static str, line: usize, r: &mut Reader<'_>) -> Draft {
    let zone = zone(r).unwrap_or_else(|| cx.agent.settings.zone.clone());
    let style = r.choice("style", &[("flake", Style::Flake), ("cimaa", Style::Cimaa)]).unwrap_or_default();
    let job = is_job(r.table);
    let (schedule, period) = read_schedule(cx, &name, &zone, r);
    let passive = read_passive(&schedule, r);
    let is_passive = passive.is_some() || kind == "passive";
    let ping_key = r.secret("ping_key");
    only_passive(is_passive, &["grace", "ping_key"], r);
    let overlap = [("skip", Overlap::Skip), ("queue", Overlap::Queue), ("allow", Overlap::Allow)];
    let retry = r.integer("retry", 0..=1000).and_then(|n| u32::try_from(n).ok());
    let thresholds = read_thresholds(r);
    let lookback = match kind {
        QUERY => expect::read(&zone, cx.old, &thresholds, r).map(Arc::new),
        _ => None,
    };
    let policy = CheckPolicy {
        kind,
        file: cx.path.to_owned(),
        line,
        retry: retry.unwrap_or(if job || is_passive || style == Style::Flake { 0 } else { RETRY_DEFAULT }),
        retry_interval: read_retry_interval(period, r),
        timeout: r.duration("timeout").unwrap_or_else(|| default_timeout(cx, &schedule, style, job, kind)),
        schedule: if is_passive { None } else { Some(schedule) },
        missed: read_missed(lookback.as_deref(), r),
        overlap: r.choice("overlap", &overlap).unwrap_or_default(),
        job,
        passive,
        ping_key,
        thresholds,
        alert_from: r.choice("alert_from", &ALERT_FROM),
        notify: Vec::new(),
        hours: read_hours(&zone, r),
        parents: Vec::new(),
        renotify: read_renotify(r).unwrap_or(if style == Style::Cimaa { Renotify::OnChange } else { Renotify::Never }),
        flapping: read_flapping(r),
        description: r.string("description"),
        runbook: r.string("runbook"),
        link: r.string("link"),
        labels: r.string_map("labels").unwrap_or_default(),
        shown: r.table.get(kind).map(|e| shown(&e.value.value)).unwrap_or_default(),
        unit: r.string("unit"),
        log_runs: r.choice("log", &[("changes", false), ("runs", true)]).unwrap_or_default(),
        on_result: Vec::new(),
        style,
        lookback,
        name,
    };
    Draft {
        policy: Arc::new(policy),
        enabled: r.boolean("enabled").unwrap_or(true),
        notify: references(r, "notify"),
        parents: references(r, "parents").unwrap_or_default(),
        on_result: references(r, "on_result"),
        source: if kind == QUERY { source_reference(r) } else { None },
    }
}

/// The source as it is written; what is wrong with it was reported.
fn source_reference(r: &Reader<'_>) -> Option<Reference> {
    match &r.table.get("source")?.value {
        Node { span, value: Value::String(name) } => Some(Reference { name: name.clone(), span: *span }),
        _ => None,
    }
}

/// When it is due, and about how long it is between two runs.
fn read_schedule<P>(
    cx: &CheckContext<'_, P>,
    name: &Name,
    zone: &TimeZone,
    r: &mut Reader<'_>,
) -> (Schedule, Duration) {
    let every = r.duration("every").filter(|every| {
        let long_enough = *every >= EVERY_MIN;
        if !long_enough {
            r.error("every", "`every` must be at least 1s").hint("write `every = \"1s\"` or more");
        }
        long_enough
    });
    let base = cx.agent.policy.base_interval;
    if let Some(ticks) = r.integer("ticks", 1..=10_000_000).and_then(|n| u32::try_from(n).ok()) {
        return (Schedule::Ticks { base, interval: ticks, offset: spread(name, base) }, base.saturating_mul(ticks));
    }
    if r.has("cron") {
        if let (Some(cron), Some(every)) = (r.table.get("cron"), r.table.get("every")) {
            let message = format!("{} has both `every` and `cron`", r.title);
            r.problems
                .error(cron.key_span, message)
                .hint("remove one of them")
                .related(every.key_span, "the other one");
        }
        if let Some(cron) = read_cron(r) {
            return (Schedule::Cron { cron, zone: zone.clone() }, EVERY_DEFAULT);
        }
    }
    let period = every.unwrap_or(EVERY_DEFAULT);
    (Schedule::Every { period, offset: spread(name, period) }, period)
}

fn read_cron(r: &mut Reader<'_>) -> Option<Cron> {
    let text = r.string("cron")?;
    let flake = r.table.get("style").is_some_and(|style| style.value.value == Value::String("flake".to_owned()));
    let parse = if flake { Cron::parse_flake } else { Cron::parse };
    match parse(&text) {
        Ok(cron) if cron.never_fires() => {
            let problem = r.error("cron", format!("`{text}` names a day that no year has: it would never run"));
            problem.hint("check its day and month");
            None
        }
        Ok(cron) => Some(cron),
        Err(error) => {
            let at = r.entry("cron").map(|e| r.problems.inside(&e.value, error.offset)).unwrap_or_default();
            let problem = r.problems.error(at, format!("`cron` can't be read: {}", error.message));
            if let Some(hint) = error.hint {
                problem.hint(hint);
            }
            None
        }
    }
}

/// `passive = "26h"`: so long after the last report. `passive = true` with `cron`: so long as `grace` after each slot.
fn read_passive(schedule: &Schedule, r: &mut Reader<'_>) -> Option<Passive> {
    let entry = r.table.get("passive")?;
    let by_slots = entry.value.value == Value::Boolean(true);
    let grace = r.duration("grace");
    let ends_within = if r.has("timeout") { r.duration("timeout") } else { None };
    let refused = match (r.table.get("every"), r.table.get("cron")) {
        (Some(every), _) => Some((every, "remove `every`: the length of time stands at `passive`")),
        (None, Some(cron)) if !by_slots => {
            Some((cron, "write `passive = true`, and `grace` for how late a report may be"))
        }
        _ => None,
    };
    if let Some((entry, hint)) = refused {
        let message = format!("{} is passive and does not run: `{}` means nothing", r.title, entry.key);
        r.problems.error(entry.key_span, message).hint(hint);
    }
    if !by_slots {
        let within = r.duration("passive")?.saturating_add(grace.unwrap_or_default());
        return Some(Passive { within, slots: None, ends_within });
    }
    // So that its type is not found wrong.
    r.boolean("passive");
    if !r.has("cron") {
        let problem = r.error("passive", "`passive = true` needs to know when a report is due");
        problem.hint("add `cron = \"30 2 * * *\"`, or write how long it may be silent: `passive = \"26h\"`");
    }
    Some(Passive { within: grace.unwrap_or(GRACE_DEFAULT), slots: Some(schedule.clone()), ends_within })
}

/// Keys that mean something where others report, and nowhere else.
fn only_passive(is_passive: bool, keys: &[&str], r: &mut Reader<'_>) {
    for key in keys.iter().filter(|_| !is_passive) {
        if let Some(entry) = r.table.get(key) {
            let message = format!("{} runs itself: `{key}` means nothing", r.title);
            r.problems.error(entry.key_span, message).hint(format!("remove `{key}`, or make it `passive`"));
        }
    }
}

fn read_missed(lookback: Option<&Lookback>, r: &mut Reader<'_>) -> Missed {
    let all = [("skip", Missed::Skip), ("once", Missed::Once), ("all", Missed::All)];
    // Minutes wait to be judged; a value of yesterday can't be measured any more.
    let counts = lookback.is_some_and(|lookback| lookback.value.is_none());
    r.choice("missed", &all).unwrap_or(if counts { Missed::Once } else { Missed::default() })
}

fn read_retry_interval(period: Duration, r: &mut Reader<'_>) -> Retry {
    if let Some(ticks) = r.integer("retry_ticks", 1..=10_000_000).and_then(|n| u32::try_from(n).ok()) {
        return Retry::Ticks(ticks);
    }
    match r.duration("retry_interval") {
        Some(interval) if interval < EVERY_MIN => {
            r.error("retry_interval", "`retry_interval` must be at least 1s").hint("write \"1s\" or more");
            Retry::After(EVERY_MIN)
        }
        Some(interval) => Retry::After(interval),
        None => Retry::After(RETRY_INTERVAL_DEFAULT.min(period)),
    }
}

fn default_timeout<P>(cx: &CheckContext<'_, P>, schedule: &Schedule, style: Style, job: bool, kind: &str) -> Duration {
    let percent = cx.agent.policy.timeout_percent;
    if job {
        return JOB_TIMEOUT_DEFAULT;
    }
    match schedule {
        _ if kind == QUERY => QUERY_TIMEOUT_DEFAULT,
        _ if style == Style::Flake => FLAKE_TIMEOUT_DEFAULT,
        Schedule::Every { period, .. } => (period.saturating_mul(percent) / 100).min(TIMEOUT_DEFAULT_MAX),
        Schedule::Cron { .. } => TIMEOUT_DEFAULT_MAX,
        Schedule::Ticks { base, .. } => cx.agent.cimaa_timeout.unwrap_or(base.saturating_mul(percent) / 100),
    }
}

fn read_thresholds(r: &mut Reader<'_>) -> Vec<Threshold> {
    let mut thresholds = Vec::new();
    for (text, node) in r.string_nodes("thresholds").unwrap_or_default() {
        match Threshold::parse(&text) {
            Ok(threshold) => thresholds.push(threshold),
            Err(error) => {
                let at = r.problems.inside(node, error.offset);
                let problem = r.problems.error(at, format!("this is no threshold: {}", error.message));
                if let Some(hint) = error.hint {
                    problem.hint(hint);
                }
            }
        }
    }
    thresholds
}

/// What `alert_from` can say.
pub(super) const ALERT_FROM: [(&str, Severity); 3] =
    [("warning", Severity::Warning), ("error", Severity::Error), ("critical", Severity::Critical)];

pub(super) fn read_hours(zone: &TimeZone, r: &mut Reader<'_>) -> Option<Hours> {
    let text = r.string("hours")?;
    match Hours::parse(&text, zone) {
        Ok(hours) => Some(hours),
        Err(error) => {
            let at = r.entry("hours").map(|e| r.problems.inside(&e.value, error.offset)).unwrap_or_default();
            let problem = r.problems.error(at, format!("`hours` can't be read: {}", error.message));
            if let Some(hint) = error.hint {
                problem.hint(hint);
            }
            None
        }
    }
}

fn read_renotify(r: &mut Reader<'_>) -> Option<Renotify> {
    let entry = r.entry("renotify")?;
    match &entry.value.value {
        Value::String(word) if word == "never" => Some(Renotify::Never),
        Value::String(word) if word == "on-change" => Some(Renotify::OnChange),
        value => {
            let every = match value {
                Value::String(text) => parse_duration(text),
                _ => None,
            };
            if let Some(every) = every.filter(|every| (RENOTIFY_MIN..=DURATION_MAX).contains(every)) {
                return Some(Renotify::Every(every));
            }
            let problem = r.error("renotify", format!("`renotify` can't be {value}"));
            problem.hint("it is \"never\", \"on-change\", or a length of time from \"1m\" to a hundred years");
            None
        }
    }
}

/// What was told is not repeated more often.
const RENOTIFY_MIN: Duration = Duration::from_secs(60);

fn read_flapping(r: &mut Reader<'_>) -> Option<(f64, f64)> {
    const KEYS: &[Key] = &[
        Key { name: "high", shape: Shape::Number, doc: "It flaps above this percentage." },
        Key { name: "low", shape: Shape::Number, doc: "It has settled below this percentage." },
    ];
    let entry = r.entry("flapping")?;
    match &entry.value.value {
        Value::Boolean(on) => on.then_some(FLAPPING_DEFAULT),
        Value::Table(table) => {
            let mut inner = Reader::new(table, r.problems, "`flapping`", KEYS);
            let high = inner.number("high").unwrap_or(FLAPPING_DEFAULT.0);
            let low = inner.number("low").unwrap_or(FLAPPING_DEFAULT.1);
            inner.finish();
            if !(0.0 < low && low < high && high <= 100.0) {
                let message = format!("`flapping` must have 0 < low < high <= 100, this is low {low} and high {high}");
                r.error("flapping", message).hint("write `flapping = { high = 30, low = 25 }`");
                return None;
            }
            Some((high, low))
        }
        value => {
            let message = format!("`flapping` must be true, false or a table, this is {}", value.type_name());
            r.error("flapping", message).hint("write `flapping = true`");
            None
        }
    }
}

/// What a check runs, for people: passwords in addresses are masked, words of a list are quoted as a shell
/// would want them.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => masked(text),
        Value::Array(nodes) => {
            let words: Vec<_> = nodes.iter().map(|node| quoted(&shown(&node.value))).collect();
            words.join(" ")
        }
        other => other.to_string(),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `https://user:password@host` with the password masked.
fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    match authority.rsplit_once('@').map(|(user, _)| user) {
        Some(user) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:***{}", &rest[user.len()..])
        }
        _ => text.to_owned(),
    }
}

/// Whether a check can be called this, in a native file: the rest of a fault's name depends on it.
pub(super) fn check_name(entry: &Entry, problems: &mut Problems) -> bool {
    let name = &entry.key;
    let wrong = if name.trim().is_empty() {
        "it is empty"
    } else if name.len() > NAME_MAX {
        return old_check_name(entry, problems);
    } else if name.contains(['#', '/']) {
        "`#` and `/` part the names of faults"
    } else if name.trim() != name || name.chars().any(char::is_control) {
        "it has blanks around it or control characters in it"
    } else {
        return true;
    };
    problems
        .error(entry.key_span, format!("a check can't be called {name:?}: {wrong}"))
        .hint("use letters, digits, `-`, `_` and `.`");
    false
}

/// The same for a flake or a section of CIMAA's, which may be called anything that is not too long.
pub(super) fn old_check_name(entry: &Entry, problems: &mut Problems) -> bool {
    let name = &entry.key;
    if name.len() > NAME_MAX {
        let start = name.chars().take(NAME_SHOWN).collect::<String>();
        problems
            .error(entry.key_span, format!("a check can't be called \"{start}…\": it is longer than {NAME_MAX} bytes"))
            .hint("shorten it: its log is named after it");
    }
    name.len() <= NAME_MAX
}
