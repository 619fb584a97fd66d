//! Reads what a check with `query` expects of its rows: `expect`, and what belongs to it. What is asked, and how many
//! rows of it are read, is the program's; which source is meant is resolved by the loader.
//!
//! dwmon's requirement lines are translated into the same tables ([`super::formats::dwmon`]) and read here too.

use super::{
    CheckPolicy, Problems, Reader,
    formats::ERRORS_MAX,
    keys::EXPECT_KEYS,
    reader::nearest,
    tree::{FileId, Node, Span, Table, Value},
};
use crate::{
    model::{Name, Severity, Wanted},
    schedule::Schedule,
    state::{
        lookback::{Days, Expectation, Lookback, Minutes, span_text},
        threshold::Threshold,
    },
};
use jiff::{civil::Date, tz::TimeZone};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long seen rows are kept unless the config says otherwise.
///
/// It is more than the four weeks that `watchbell suggest` looks at.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// How long rows of dwmon's files are kept, as dwmon kept them.
pub const RETENTION_DWMON: Duration = Duration::from_secs(5 * 86_400);

/// Seen rows are kept no longer than ten years.
pub const RETENTION_MAX: Duration = Duration::from_secs(3660 * 86_400);

/// A window is no longer than a year, and a minute is judged no later.
pub const LOOKBACK_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A check has no more expectations.
pub const EXPECT_MAX: usize = 200;

/// Larger numbers of rows are mistakes.
pub const COUNT_MAX: i64 = 1_000_000_000_000;

/// The name of an expectation is no longer, in bytes.
pub const EXPECT_NAME_MAX: usize = 100;

/// `*/n` takes n up to this: what is due once an hour has a minute of its own.
pub const STEP_MAX: u64 = 58;

/// Parts of fault names that mean something else.
const RESERVED: &[&str] = &["config", "overdue", "flapping"];

/// Minutes of a day.
const DAY_MINUTES: u64 = 24 * 60;

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const WEEKDAYS: Days = Days { weekdays: 0b001_1111, holidays: false };
const WEEKENDS: Days = Days { weekdays: 0b110_0000, holidays: false };
const ALL: Days = Days { weekdays: 0b111_1111, holidays: true };

/// Reads what a check with `query` does with the answer; `None` only with an error. Its source is what is written: the
/// loader finds out whether there is one. `old`: it is a file of dwmon's.
pub(super) fn read(zone: &TimeZone, old: bool, thresholds: &[Threshold], r: &mut Reader<'_>) -> Option<Lookback> {
    let source = if r.has("source") { r.require_string("source") } else { no_source(r) };
    match r.boolean("value") {
        Some(true) => return read_value(zone, source, thresholds, r),
        // What it is instead was reported.
        None if r.has("value") => return None,
        _ => {}
    }
    let mut expect = read_expect(r);
    let inclusive = r.choice("bounds", &[("strict", false), ("inclusive", true)]).unwrap_or_default();
    expect.iter_mut().flatten().for_each(|e| e.inclusive = inclusive);
    let holidays = read_holidays(r);
    if let (Some(expect), true) = (&expect, r.has("holidays")) {
        if expect.iter().all(|e| e.days.holidays) {
            let span = r.span("holidays");
            let message = "`holidays` changes nothing: every expectation is judged on them too";
            r.problems.warning(span, message).hint("write `days = \"weekdays\"` where holidays are to be left out");
        }
    } else if let Some(at) = expect.as_ref().and_then(|expect| expect.iter().position(names_holidays_only)) {
        let message = format!("expectation {} is for holidays, and {} lists none", at + 1, r.title);
        r.error("expect", message).hint("add `holidays = [\"2026-12-25\"]` to the check");
    }
    let delay = bounded(r, "delay", LOOKBACK_MAX, "366d");
    let retention = bounded(r, "retention", RETENTION_MAX, "3660d");
    let extra = r.entry("extra").and_then(|entry| json(&entry.value, r.problems));
    Some(Lookback {
        source: Name::new(source?),
        expect: expect?,
        zone: zone.clone(),
        holidays: holidays?,
        delay: delay.unwrap_or_default(),
        retention: retention.unwrap_or(if old { RETENTION_DWMON } else { RETENTION_DEFAULT }),
        extra,
        value: None,
    })
}

/// Keys that speak of rows.
const OF_ROWS: &[&str] = &["holidays", "delay", "retention", "bounds", "rows_max", "purge"];

/// Reads a check that measures the one row of its answer; `None` only with an error.
fn read_value(
    zone: &TimeZone,
    source: Option<String>,
    thresholds: &[Threshold],
    r: &mut Reader<'_>,
) -> Option<Lookback> {
    let before = r.problems.errors();
    if r.has("expect") {
        let first = r.span("value");
        r.error("expect", "`expect` counts rows, and `value = true` measures one: a check does one of the two")
            .hint("make two checks of it, or remove one of them; what a value must be is said by `thresholds`")
            .related(first, "`value` stands here");
    }
    for key in OF_ROWS.iter().filter(|key| r.table.get(key).is_some()) {
        r.error(key, format!("`{key}` has no meaning with `value = true`: no rows are counted or kept"))
            .hint("remove it");
    }
    let extra = r.entry("extra").and_then(|entry| json(&entry.value, r.problems));
    let mut wanted = Wanted::new();
    for threshold in thresholds {
        let optional = wanted.entry(threshold.name.clone()).or_insert(true);
        *optional &= threshold.optional;
    }
    let lookback = Lookback {
        source: Name::new(source?),
        expect: Vec::new(),
        zone: zone.clone(),
        holidays: BTreeSet::new(),
        delay: Duration::ZERO,
        retention: Duration::ZERO,
        extra,
        value: Some(wanted),
    };
    (r.problems.errors() == before).then_some(lookback)
}

/// Warns of what is right by itself and does not do what it seems to. `own` is what the check itself says, and not the
/// file's defaults.
pub(super) fn warn(check: &CheckPolicy, own: &Table, r: &mut Reader<'_>) {
    let Some(lookback) = &check.lookback else { return };
    if lookback.value.is_some() {
        if check.thresholds.is_empty() && !r.has("thresholds") {
            let span = r.span("value");
            let message = "the value is measured and never judged: there are no `thresholds`";
            r.problems.warning(span, message).hint("add `thresholds = [\"value error > 3600\"]`");
        }
        return;
    }
    let all_critical = lookback.expect.iter().all(|e| e.severity == Severity::Critical);
    let retry = own.get("retry").filter(|entry| matches!(entry.value.value, Value::Integer(1..)));
    if let Some(retry) = retry.filter(|_| check.thresholds.is_empty() && all_critical) {
        let message = "`retry` changes nothing: every expectation is critical, and a critical fault is told at once";
        r.problems
            .warning(retry.key_span, message)
            .hint("write `severity = \"error\"` in those that may fail a few times before they are told");
    }
    let Some(shortest) = lookback.expect.iter().min_by_key(|e| e.lookback) else { return };
    let walk = Duration::from_secs(60 * shortest.walk_minutes());
    if let Some(Schedule::Every { period, .. }) = &check.schedule
        && *period > walk
    {
        let (span, title) = (r.span("every"), r.title.clone());
        let (period, walk) = (span_text(period.as_secs()), span_text(walk.as_secs()));
        let lookback = span_text(shortest.lookback.as_secs());
        let message = format!(
            "{title} runs every {period} and walks back {walk}, ten look-backs of {lookback}: minutes before are never judged"
        );
        r.problems.warning(span, message).hint(format!(
            "write `every = \"1m\"`; how often it is judged is said in `expect`: `{{ every = \"1h\", lookback = \"{}\", … }}`",
            lookback.replace(" min", "m").replace(' ', "")
        ));
    }
}

/// Reads expectations as they may be given on a command line: `{ lookback = "1h", min = 5 }`, a list of such, or a
/// requirement line of dwmon's.
///
/// # Errors
/// What is wrong with the text, with places in it.
pub fn parse_expectations(text: &str) -> Result<Vec<Expectation>, Problems> {
    let mut problems = Problems::default();
    let line = text.trim();
    if line.starts_with(|c: char| c.is_ascii_uppercase()) {
        let file = problems.add_file("expect", line);
        let found = super::formats::dwmon::requirement(Span { file, start: 0, end: line.len() }, &mut problems);
        return from_nodes(&found.into_iter().collect::<Vec<_>>(), problems);
    }
    let braces = if line.starts_with(['{', '[']) { ("", "") } else { ("{ ", " }") };
    let file = problems.add_file("expect", format!("expect = {}{line}{}", braces.0, braces.1));
    let text = problems.files[0].text.clone();
    let table = super::toml::parse(&text, file, &mut problems);
    let nodes = match table.as_ref().and_then(|table| table.get("expect")).map(|entry| &entry.value) {
        Some(Node { value: Value::Array(nodes), .. }) => nodes.clone(),
        Some(node) => vec![node.clone()],
        None => Vec::new(),
    };
    from_nodes(&nodes, problems)
}

fn from_nodes(nodes: &[Node], mut problems: Problems) -> Result<Vec<Expectation>, Problems> {
    if nodes.is_empty() && problems.errors() == 0 {
        problems.error(Span { file: FileId(0), ..Span::default() }, "nothing is expected");
    }
    let expect = expectations(nodes, "`expect`", &mut problems);
    if problems.errors() > 0 { Err(problems) } else { Ok(expect) }
}

fn no_source(r: &mut Reader<'_>) -> Option<String> {
    r.missing("source");
    if let Some(problem) = r.problems.list.last_mut() {
        problem.hint("add `source = \"NAME\"`, NAME being that of a `[source.NAME]`");
    }
    None
}

fn names_holidays_only(expectation: &Expectation) -> bool {
    expectation.days.holidays && expectation.days.weekdays == 0
}

fn bounded(r: &mut Reader<'_>, key: &str, most: Duration, shown: &str) -> Option<Duration> {
    let found = r.duration(key)?;
    if found > most {
        r.error(key, format!("`{key}` must be at most {shown}")).hint("write a shorter time");
    }
    Some(found.min(most))
}

/// `None` only with an error.
fn read_holidays(r: &mut Reader<'_>) -> Option<BTreeSet<Date>> {
    let Some(entry) = r.entry("holidays") else { return Some(BTreeSet::new()) };
    let nodes = match &entry.value.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    let before = r.problems.errors();
    let mut dates = BTreeSet::new();
    for node in nodes {
        let date = match &node.value {
            Value::String(text) | Value::Datetime(text) if text.trim().len() == "2026-12-25".len() => {
                text.trim().parse::<Date>().ok()
            }
            _ => None,
        };
        match date {
            Some(date) => drop(dates.insert(date)),
            None => {
                let message = format!("{} is no date", node.value);
                r.problems.error(node.span, message).hint("write dates as `\"2026-12-25\"`");
            }
        }
    }
    (r.problems.errors() == before).then_some(dates)
}

/// `None` only with an error.
fn read_expect(r: &mut Reader<'_>) -> Option<Vec<Expectation>> {
    const EXAMPLE: &str = "add `expect = [{ lookback = \"1h\", min = 1 }]`";
    let Some(entry) = r.entry("expect") else {
        r.missing("expect");
        if let Some(problem) = r.problems.list.last_mut() {
            problem.hint(format!("{EXAMPLE}, or `value = true` where the query answers a number and not rows"));
        }
        return None;
    };
    let nodes = match &entry.value.value {
        Value::Array(nodes) => nodes.as_slice(),
        Value::Table(_) => std::slice::from_ref(&entry.value),
        other => {
            let message = format!("`expect` must be a list of tables, this is {}", other.type_name());
            r.error("expect", message).hint(EXAMPLE.replace("add", "write"));
            return None;
        }
    };
    if nodes.is_empty() || nodes.len() > EXPECT_MAX {
        let (message, hint) = match nodes.len() {
            0 => ("`expect` is empty: nothing would be judged".to_owned(), EXAMPLE.replace("add", "write")),
            n => (format!("`expect` has {n} elements, more than {EXPECT_MAX}"), "make several checks of it".to_owned()),
        };
        r.error("expect", message).hint(hint);
        return None;
    }
    let before = r.problems.errors();
    let expect = expectations(nodes, &r.title, r.problems);
    (r.problems.errors() == before).then_some(expect)
}

/// All that can be read; what can't is in `problems`.
fn expectations(nodes: &[Node], title: &str, problems: &mut Problems) -> Vec<Expectation> {
    let mut found = Vec::with_capacity(nodes.len());
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let Value::Table(table) = &node.value else {
            let message = format!("an expectation must be a table, this is {}", node.value.type_name());
            problems.error(node.span, message).hint("write `{ lookback = \"1h\", min = 1 }`");
            continue;
        };
        let called = if nodes.len() == 1 { "the expectation".to_owned() } else { format!("expectation {}", at + 1) };
        let mut r = Reader::new(table, problems, format!("{called} of {title}"), EXPECT_KEYS);
        let expectation = read_one(&mut r);
        let (written, span) = (r.has("name"), if r.has("name") { r.span("name") } else { node.span });
        r.finish();
        let Some(mut expectation) = expectation else { continue };
        if !written && nodes.len() > 1 {
            expectation.part = Some(format!("expect-{}", at + 1));
        }
        if let Some(part) = &expectation.part
            && let Some(first) = names.insert(part.clone(), span)
        {
            let problem = problems.error(span, format!("two expectations are called `{part}`"));
            problem.hint("give each a `name` of its own").related(first, "this one is called so too");
        }
        found.push(expectation);
    }
    found
}

/// One expectation; `None` only with an error.
fn read_one(r: &mut Reader<'_>) -> Option<Expectation> {
    let before = r.problems.errors();
    let severities = [("warning", Severity::Warning), ("error", Severity::Error), ("critical", Severity::Critical)];
    let days = if r.has("days") { read_days(r) } else { Some(ALL) };
    let hours = read_numbers(r, "hours", 23).and_then(|mask| u32::try_from(mask).ok());
    let minutes = read_minutes(r);
    let lookback = read_lookback(r);
    let (min, max) = read_bounds(r);
    let expectation = Expectation {
        part: read_name(r),
        severity: r.choice("severity", &severities).unwrap_or(Severity::Critical),
        days: days?,
        hours: hours?,
        minutes: minutes?,
        lookback: lookback?,
        inclusive: false,
        min,
        max,
    };
    (r.problems.errors() == before).then_some(expectation)
}

fn read_name(r: &mut Reader<'_>) -> Option<String> {
    let name = if r.has("name") { r.require_string("name")? } else { return None };
    let reserved = RESERVED.contains(&name.as_str()) || name.starts_with("monitor-");
    let odd = |c: char| c.is_whitespace() || c.is_control() || "#/".contains(c);
    if reserved {
        let problem = r.error("name", format!("an expectation can't be called `{name}`: other faults are called so"));
        problem.hint("choose another name, such as `mornings`");
    } else if name.len() > EXPECT_NAME_MAX || name.contains(odd) {
        let problem = r.error("name", format!("an expectation can't be called {name:?}"));
        problem.hint(format!("use up to {EXPECT_NAME_MAX} letters, digits, `-`, `_` and `.`"));
    }
    Some(name)
}

fn read_lookback(r: &mut Reader<'_>) -> Option<Duration> {
    if !r.has("lookback") {
        r.missing("lookback");
        if let Some(problem) = r.problems.list.last_mut() {
            problem.hint("add `lookback = \"1h\"`: how far the window reaches back");
        }
        return None;
    }
    let lookback = bounded(r, "lookback", LOOKBACK_MAX, "366d")?;
    if lookback.subsec_nanos() != 0 {
        let message = "`lookback` must be whole seconds, at least one";
        r.error("lookback", message).hint("write it as \"180s\", \"5m\" or \"1h\"");
        return None;
    }
    Some(lookback)
}

fn read_bounds(r: &mut Reader<'_>) -> (Option<u64>, Option<u64>) {
    let bound = |r: &mut Reader<'_>, key| r.integer(key, 0..=COUNT_MAX).and_then(|n| u64::try_from(n).ok());
    let (min, max) = (bound(r, "min"), bound(r, "max"));
    if !r.has("min") && !r.has("max") {
        let (span, message) = (r.table.span, format!("{} has neither `min` nor `max`", r.title));
        r.problems.error(span, message).hint("add `min = 1`: how many rows there must be at least");
    }
    match (min, max) {
        (Some(low), Some(high)) if low > high => {
            let first = r.span("min");
            let problem = r.error("max", format!("`min` is {low} and `max` is {high}: no number of rows is right"));
            problem.hint("let `max` be as large as `min` or larger").related(first, "`min` stands here");
        }
        (Some(0), None) if !r.has("max") => {
            let span = r.span("min");
            let problem = r.problems.warning(span, "`min = 0` is always met: nothing is judged");
            problem.hint("write `min = 1`, or add `max`");
        }
        _ => {}
    }
    (min, max)
}

/// Pieces of a key's texts between commas, each with its node and where it begins there.
fn pieces<'a>(nodes: &[(String, &'a Node)]) -> Vec<(String, &'a Node, usize)> {
    let mut all = Vec::new();
    for (text, node) in nodes {
        let mut from = 0;
        for piece in text.split(',') {
            let blank = piece.len() - piece.trim_start().len();
            all.push((piece.trim().to_owned(), *node, from + blank));
            from += piece.len() + 1;
        }
    }
    all
}

fn read_days(r: &mut Reader<'_>) -> Option<Days> {
    let nodes = r.string_nodes("days")?;
    let before = r.problems.errors();
    let mut days = Days { weekdays: 0, holidays: false };
    for (piece, node, at) in pieces(&nodes) {
        if r.problems.errors() - before >= ERRORS_MAX {
            break;
        }
        match days_of(&piece.to_ascii_lowercase()) {
            Ok(found) => {
                days.weekdays |= found.weekdays;
                days.holidays |= found.holidays;
            }
            Err(hint) => {
                let span = r.problems.inside(node, at);
                r.problems.error(span, format!("{piece:?} is no day")).hint(hint);
            }
        }
    }
    if nodes.is_empty() && r.problems.errors() == before {
        r.error("days", "`days` is empty: nothing would be judged").hint("write `days = \"all\"`, or leave it out");
    }
    (r.problems.errors() == before).then_some(days)
}

/// A piece of `days`, or what to write instead.
fn days_of(piece: &str) -> Result<Days, String> {
    const WORDS: &[(&str, Days)] = &[
        ("weekdays", WEEKDAYS),
        ("weekends", WEEKENDS),
        ("all", ALL),
        ("holidays", Days { weekdays: 0, holidays: true }),
    ];
    if let Some((_, days)) = WORDS.iter().find(|(word, _)| *word == piece) {
        return Ok(*days);
    }
    let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
    let day = |word: &str| DAYS.iter().position(|day| word.len() >= 3 && day.starts_with(word));
    match (day(first.trim()), day(last.trim())) {
        (Some(first), Some(last)) => {
            let count = (last + 7 - first) % 7 + 1;
            let weekdays = (0..count).fold(0, |mask, step| mask | 1 << ((first + step) % 7));
            Ok(Days { weekdays, holidays: false })
        }
        _ => {
            let known = WORDS.iter().map(|(word, _)| *word).chain(DAYS);
            let mean = nearest(piece, known).map_or(String::new(), |near| format!("did you mean `{near}`? "));
            Err(format!(
                "{mean}days are `weekdays`, `weekends`, `all`, `holidays`, `mon`, `mon-thu` or a list of these"
            ))
        }
    }
}

fn read_minutes(r: &mut Reader<'_>) -> Option<Minutes> {
    let (Some(every), minutes) = (r.table.get("every"), r.table.get("minutes")) else {
        return read_numbers(r, "minutes", 59).map(Minutes::OfHour);
    };
    if let Some(minutes) = minutes {
        let message = format!("{} has both `minutes` and `every`", r.title);
        let problem = r.problems.error(every.key_span, message).hint("remove one of them");
        problem.related(minutes.key_span, "the other one");
    }
    let period = r.duration("every")?;
    let minutes = period.as_secs() / 60;
    let whole = period.subsec_nanos() == 0 && period.as_secs() % 60 == 0 && minutes > 0;
    let step = u16::try_from(minutes).ok().filter(|_| whole && DAY_MINUTES.is_multiple_of(minutes));
    if step.is_none() {
        let why = if whole { "a day holds no whole number of these" } else { "it must be whole minutes" };
        r.error("every", format!("`every` can't be {}: {why}", shown(&every.value.value)))
            .hint("write \"1m\", \"5m\", \"20m\", \"1h\", \"6h\" or \"1d\": it counts from midnight");
    }
    step.map(Minutes::EveryFromMidnight)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// Numbers from 0 to `most` as bits: `7`, `"9-17"`, `"9,14-17"`, a list of such; for minutes also `"*/20"`. All of them
/// where the key is missing; `None` only with an error.
fn read_numbers(r: &mut Reader<'_>, key: &'static str, most: u64) -> Option<u64> {
    let every = (2u64 << most) - 1;
    let Some(entry) = r.entry(key) else { return Some(every) };
    let nodes = match &entry.value.value {
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    let before = r.problems.errors();
    let mut texts = Vec::new();
    for node in nodes {
        match &node.value {
            Value::String(text) => texts.push((text.clone(), node)),
            Value::Integer(n) => texts.push((n.to_string(), node)),
            other => {
                let message = format!("`{key}` must be numbers or texts, this is {}", other.type_name());
                r.problems.error(node.span, message).hint(format!("write `{key} = \"9-17\"`"));
            }
        }
    }
    let mut mask = 0;
    for (piece, node, at) in pieces(&texts) {
        if r.problems.errors() - before >= ERRORS_MAX {
            break;
        }
        match numbers_of(&piece, key, most) {
            Ok(found) => mask |= found,
            Err((message, hint)) => {
                let span = r.problems.inside(node, at);
                r.problems.error(span, message).hint(hint);
            }
        }
    }
    if nodes.is_empty() {
        r.error(key, format!("`{key}` is empty: nothing would be judged")).hint("leave it out to mean all");
    }
    (r.problems.errors() == before).then_some(mask)
}

/// A piece of `hours` or `minutes`, or what is wrong with it and what to write instead.
fn numbers_of(piece: &str, key: &str, most: u64) -> Result<u64, (String, String)> {
    let one = key.trim_end_matches('s');
    if let Some(step) = piece.strip_prefix("*/") {
        if key != "minutes" {
            let message = format!("`{key}` can't be {piece:?}: steps are for `minutes`");
            return Err((message, format!("write a list, as `{key} = \"0,6,12,18\"`; or `every` for both")));
        }
        return match step.trim().parse::<u64>() {
            Ok(n) if (1..=STEP_MAX).contains(&n) => {
                Ok((0..=most).filter(|minute| minute % n == 0).fold(0, |mask, minute| mask | 1 << minute))
            }
            _ => {
                let message = format!("`{key}` can't be {piece:?}: the step must be from 1 to {STEP_MAX}");
                Err((message, "write `\"*/20\"`; for longer steps use `every`".to_owned()))
            }
        };
    }
    let (first, last) = piece.split_once('-').map_or((piece, piece), |(a, b)| (a.trim(), b.trim()));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(a), Some(b)) if a > most || b > most => {
            Err((format!("`{key}` are from 0 to {most}, this is {piece:?}"), format!("the last {one} is {most}")))
        }
        (Some(a), Some(b)) if a > b => Err((
            format!("`{key}` can't go from {a} to {b}"),
            format!("write two parts: `{key} = [\"{a}-{most}\", \"0-{b}\"]`"),
        )),
        (Some(a), Some(b)) => Ok((a..=b).fold(0, |mask, n| mask | 1 << n)),
        _ => {
            let example = if key == "minutes" { "`\"0-59\"`, `\"*/20\"`, `5`" } else { "`\"9-17\"`, `5`" };
            Err((format!("`{key}` can't be {piece:?}"), format!("write {example} or a list of these")))
        }
    }
}

/// A value as JSON; `None` only with an error.
fn json(node: &Node, problems: &mut Problems) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::String(text) | Value::Datetime(text) => text.clone().into(),
        Value::Integer(n) => (*n).into(),
        Value::Boolean(b) => (*b).into(),
        Value::Null => serde_json::Value::Null,
        Value::Float(x) => match serde_json::Number::from_f64(*x) {
            Some(number) => number.into(),
            None => {
                let problem = problems.error(node.span, format!("`extra` holds {x}, which JSON can't say"));
                problem.hint("write it as text, in quotes");
                return None;
            }
        },
        Value::Array(nodes) => nodes.iter().map(|node| json(node, problems)).collect::<Option<Vec<_>>>()?.into(),
        Value::Table(table) => {
            let entry = |e: &super::tree::Entry| Some((e.key.clone(), json(&e.value, problems)?));
            let map: Option<serde_json::Map<_, _>> = table.entries.iter().map(entry).collect();
            map?.into()
        }
        Value::Secret(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An expectation without a name, shown as `days hours minutes lookback min max severity`, masks in hexadecimal.
    fn shown(e: &Expectation) -> String {
        let minutes = match e.minutes {
            Minutes::OfHour(mask) => format!("{mask:x}"),
            Minutes::EveryFromMidnight(step) => format!("every {step}"),
        };
        let bound = |bound: Option<u64>| bound.map_or("-".to_owned(), |n| n.to_string());
        let holidays = if e.days.holidays { "+" } else { "" };
        let (days, hours) = (e.days.weekdays, e.hours);
        let (min, max, secs, severity) = (bound(e.min), bound(e.max), e.lookback.as_secs(), e.severity);
        format!("{days:x}{holidays} {hours:x} {minutes} {secs} {min} {max} {severity}")
    }

    /// S2.2, S2.3: what a table says of days, hours, minutes, look-back and bounds.
    #[test]
    fn tables() {
        const ANY: &str = "7f+ ffffff fffffffffffffff";
        for (text, expect) in [
            ("min = 5", format!("{ANY} 3600 5 - critical")),
            ("max = 7, severity = \"error\"", format!("{ANY} 3600 - 7 error")),
            ("min = 5, max = 5", format!("{ANY} 3600 5 5 critical")),
            ("min = 1, days = \"weekdays\"", "1f ffffff fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, days = \"Weekends, holidays\"", "60+ ffffff fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, days = [\"mon\", \"sat\"]", "21 ffffff fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, days = \"fri-mon,wednesday\"", "75 ffffff fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, hours = \"9-17\"", "7f+ 3fe00 fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, hours = [\"22-23\", 0]", "7f+ c00001 fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, hours = 5", "7f+ 20 fffffffffffffff 3600 1 - critical".to_owned()),
            ("min = 1, minutes = \"*/20\"", "7f+ ffffff 10000100001 3600 1 - critical".to_owned()),
            ("min = 1, minutes = \"0, 58-59\"", "7f+ ffffff c00000000000001 3600 1 - critical".to_owned()),
            ("min = 1, every = \"20m\"", "7f+ ffffff every 20 3600 1 - critical".to_owned()),
            ("min = 1, every = \"1d\"", "7f+ ffffff every 1440 3600 1 - critical".to_owned()),
        ] {
            let text = format!("{{ lookback = \"1h\", {text} }}");
            let found = parse_expectations(&text).unwrap();
            assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), [expect], "{text}");
        }
    }

    #[test]
    fn names() {
        for (text, parts) in [
            ("lookback = 60, min = 1", &[None] as &[Option<&str>]),
            ("{ lookback = 60, min = 1, name = \"a\" }", &[Some("a")]),
            (
                "[{ lookback = 60, min = 1 }, { lookback = 60, min = 1, name = \"late\" }, { lookback = 60, min = 1 }]",
                &[Some("expect-1"), Some("late"), Some("expect-3")],
            ),
        ] {
            let found = parse_expectations(text).unwrap();
            assert_eq!(found.iter().map(|e| e.part.as_deref()).collect::<Vec<_>>(), parts, "{text}");
        }
    }

    #[test]
    fn what_is_given_on_a_command_line_is_explained_too() {
        for (text, message) in [
            ("lookback = 60", "the expectation of `expect` has neither `min` nor `max`"),
            ("[]", "nothing is expected"),
            ("{ lookback = 60, min = 1", "`}` is missing at the end of the table"),
            ("min = 5", "the expectation of `expect` has no `lookback`"),
        ] {
            let problems = parse_expectations(text).unwrap_err();
            assert!(problems.list.iter().any(|p| p.message == message), "{text}: {:?}", problems.list);
        }
    }
}
