//! CIMAA's INI files: the agent's own, and the check files in its folder.
//!
//! A check file holds one check per section; a wrong section leaves the others as they are. In the agent's
//! file, classes that have no part here yet are a warning that says what is used instead. What a threshold
//! line means is the loader's to judge, like the limits of numbers that native files have too.

use super::{
    ini::{Ini, Item, SECRET_SECTION, Section},
    table_entry,
};
use crate::config::{
    Level, Problem, Problems, Secret, Shape,
    keys::AGENT_KEYS,
    reader::nearest,
    secret::names_secret,
    toml,
    tree::{Entry, Node, Span, Table, Value},
};

/// Part of `base_interval` that a run may take, where the file doesn't say.
const TIMEOUT_PART: f64 = 0.7;
/// Part of `base_interval` that telling may take, where the file doesn't say.
const ALERT_TIMEOUT_PART: f64 = 0.2;
/// The tick in seconds, where the file doesn't say.
const BASE_INTERVAL_SECS: f64 = 60.0;
/// Stands for a command that is missing.
const STAND_IN: &str = "-";
/// The name of the notifier that `[alerter]` becomes.
pub const ALERTER: &str = "alerter";

const AGENT_OPTIONS: &[&str] =
    &["directory", "name", "base_interval", "timeout", "alert_timeout", "logging", "sentry_dsn"];
const AGENT_SECTIONS: &[&str] = &["agent", "database", "alerter", "metrics", OWN_SECTION];
/// The section that says what CIMAA had no word for: the keys of a native `[agent]`.
const OWN_SECTION: &str = "watchbell";
const CHECK_OPTIONS: &[&str] = &["command", "interval", "retry", "retry_interval", "thresholds", "nagios_performance"];

/// What a class of CIMAA's becomes here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The agent's own store does what it did.
    LocalStore,
    /// The agent's own store is used instead.
    DynamoDb,
    PagerDuty,
    Slack,
    /// Alerts are logged.
    LogAlerter,
    /// Samples are logged.
    LogMetrics,
    /// Samples are logged instead.
    Kinesis,
}

struct Class {
    /// `MODULE:NAME`. The documentation of CIMAA also writes `MODULE.NAME`.
    name: &'static str,
    part: Part,
    options: &'static [&'static str],
}

const DATABASES: &[Class] = &[
    Class {
        name: "zc.cimaa.dynamodb:DB",
        part: Part::DynamoDb,
        options: &["region", "prefix", "aws_access_key_id", "aws_secret_access_key"],
    },
    Class { name: "zc.cimaa.stub:MemoryDB", part: Part::LocalStore, options: &["faults"] },
];

const ALERTERS: &[Class] = &[
    Class { name: "zc.cimaa.pagerduty:Alerter", part: Part::PagerDuty, options: &["token", "service"] },
    Class { name: "zc.cimaa.slack:Alerter", part: Part::Slack, options: &["token", "channel", "target"] },
    Class { name: "zc.cimaa.stub:OutputAlerter", part: Part::LogAlerter, options: &[] },
];

const METRICS: &[Class] = &[
    Class {
        name: "zc.cimaa.kinesis:Metrics",
        part: Part::Kinesis,
        options: &["region", "stream", "partition_key", "explicit_hash_key"],
    },
    Class { name: "zc.cimaa.logmetrics:LogMetrics", part: Part::LogMetrics, options: &["name"] },
    Class { name: "zc.cimaa.stub:OutputMetrics", part: Part::LogMetrics, options: &[] },
];

/// What the agent's file says.
#[derive(Clone, PartialEq, Debug)]
pub struct CimaaAgent {
    /// The root table: `agent` and, where there is an alerter, `notify`.
    pub root: Table,
    /// The folder of check files as written, and where that stands. CIMAA looks for it from where it was started.
    pub directory: Option<(String, Span)>,
}

/// What a check file says.
#[derive(Clone, PartialEq, Debug)]
pub struct CimaaChecks {
    /// The root table: `check`, with the sections that are right.
    pub root: Table,
    /// The others. What the translator finds wrong with them was reported.
    pub broken: Vec<BrokenSection>,
    /// The same as a root table, with stand-ins for what is wrong, so that the loader can say what else is.
    pub rest: Table,
}

/// A section that gives no check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokenSection {
    /// Its name as written.
    pub section: String,
    /// Where the name stands.
    pub span: Span,
    /// What is wrong, in CIMAA's words: for [`check_fault`].
    pub reason: String,
}

/// The message of the fault of a file that can't be read.
pub fn file_fault(path: &str) -> String {
    format!("error parsing {path}")
}

/// The message of the fault of a section that gives no check.
pub fn check_fault(path: &str, section: &str, reason: &str) -> String {
    format!("error loading check {path} [{section}]: {reason}")
}

/// Whether this is the agent's own file, not a file of checks: it has a section `[agent]` that runs no command
/// and either names the folder of check files or stands beside an alerter, a database or `[watchbell]`.
pub fn is_agent_file(ini: &Ini) -> bool {
    ini.section("agent").is_some_and(|agent| {
        let beside = ["alerter", "database", OWN_SECTION].iter().any(|name| ini.section(name).is_some());
        agent.item("command").is_none() && (agent.item("directory").is_some() || beside)
    })
}

/// Turns the agent's file into native tables. Whatever is wrong is reported and left out.
pub fn translate_agent(ini: &Ini, problems: &mut Problems) -> CimaaAgent {
    let whole = Span { file: ini.file, start: 0, end: 0 };
    let mut root = Table { span: whole, entries: Vec::new() };
    let Some(section) = ini.section("agent") else {
        problems.error(whole, "the file has no section `[agent]`").hint("CIMAA's agent file begins with it");
        return CimaaAgent { root, directory: None };
    };
    unknown_sections(ini, problems);
    unknown_options(section, AGENT_OPTIONS, problems);
    let mut agent = Table { span: section.span, entries: Vec::new() };
    if let Some((name, span)) = text(section, "name", problems) {
        agent.put("name", span, Value::String(name));
    }
    intervals(section, &mut agent, problems);
    logging(section, &mut agent, problems);
    if let Some((dsn, span)) = text(section, "sentry_dsn", problems) {
        agent.put("sentry_dsn", span, secret(dsn));
    }
    database(ini, problems);
    metrics(ini, &mut agent, problems);
    if let Some((span, notifier)) = alerter(ini, section, problems) {
        let name = Node { span, value: Value::String(ALERTER.to_owned()) };
        agent.put("notify", span, Value::Array(vec![name]));
        let all = Table { span, entries: vec![table_entry(ALERTER.to_owned(), span, notifier)] };
        root.entries.push(table_entry("notify".to_owned(), span, all));
    }
    if let Some(section) = ini.section(OWN_SECTION) {
        agent = own(section, problems).with(agent, LISTS);
    }
    root.entries.insert(0, table_entry("agent".to_owned(), section.span, agent));
    let directory = text(section, "directory", problems);
    let elsewhere = ini.section(OWN_SECTION).is_some_and(|own| own.item("conf").is_some());
    if section.item("directory").is_none() && !elsewhere {
        problems
            .error(section.span, "`[agent]` has no `directory`")
            .hint("add `directory = PATH`, the folder of the check files");
    }
    CimaaAgent { root, directory }
}

/// Keys of `[agent]` whose values are lists: what two places say of them counts together.
pub(in crate::config) const LISTS: &[&str] = &["notify", "on_result", "conf", "tokens"];

/// `[watchbell]` as a native `[agent]`. A value is text as everywhere in such a file, a list of names has commas between
/// them, and what begins as a TOML text, list or table does is one.
fn own(section: &Section, problems: &mut Problems) -> Table {
    let mut table = Table { span: section.span, entries: Vec::new() };
    for item in &section.items {
        let value = own_value(item, problems);
        table.entries.push(Entry {
            key: item.key.clone(),
            key_span: item.key_span,
            value: Node { span: item.span(), value },
        });
    }
    table
}

fn own_value(item: &Item, problems: &mut Problems) -> Value {
    let (text, span) = (item.value(), item.span());
    let shape = AGENT_KEYS.iter().find(|key| key.name == item.key).map(|key| &key.shape);
    let typed = matches!(shape, Some(Shape::Boolean | Shape::Integer | Shape::Number));
    if typed || text.starts_with(['"', '\'', '[', '{']) {
        return match toml_value(&text) {
            Some(node) => node.moved(span).value,
            None if typed => Value::String(text),
            None => {
                let problem = problems.error(span, format!("`{}` begins as TOML does, and is none", item.key));
                problem.hint("write plain text, or a TOML text, list or table").masked |= names_secret(&item.key);
                Value::Null
            }
        };
    }
    match shape {
        Some(Shape::Secret) => secret(text),
        Some(Shape::Strings) => {
            let names = text.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty());
            Value::Array(names.map(|name| Node { span, value: Value::String(name.to_owned()) }).collect())
        }
        _ => Value::String(text),
    }
}

/// A value alone as TOML.
fn toml_value(text: &str) -> Option<Node> {
    let mut scratch = Problems::default();
    let file = scratch.add_file("", format!("x = {text}"));
    let table = toml::parse(&scratch.files[0].text.clone(), file, &mut scratch)?;
    match table.entries.as_slice() {
        [one] => Some(one.value.clone()),
        _ => None,
    }
}

fn secret(text: String) -> Value {
    Value::Secret(Secret::Value(text))
}

fn unknown_sections(ini: &Ini, problems: &mut Problems) {
    for section in &ini.sections {
        if !AGENT_SECTIONS.contains(&section.name.as_str()) {
            let message = format!("section `[{}]` means nothing in an agent's file", section.name);
            let problem = problems.warning(section.span, message);
            match nearest(&section.name, AGENT_SECTIONS.iter().copied()) {
                Some(name) => problem.hint(format!("did you mean `[{name}]`?")),
                None => problem.hint("checks stand in files of their own, in the folder that `directory` names"),
            };
        }
    }
}

/// CIMAA ignores what it doesn't know, so this is no error; but it is nearly always a slip.
fn unknown_options(section: &Section, known: &[&str], problems: &mut Problems) {
    for item in section.items.iter().filter(|item| !known.contains(&item.key.as_str())) {
        let message = format!("`[{}]` knows no `{}`, it is read past", section.name, item.key);
        let problem = problems.warning(item.key_span, message);
        let lower = item.key.to_lowercase();
        let near = nearest(&lower, known.iter().copied());
        problem.masked |= section.name == SECRET_SECTION || near.is_some_and(names_secret);
        match near {
            Some(name) => problem.hint(format!("did you mean `{name}`?")),
            None => problem.hint(format!("it knows {}", list(known.iter().copied()))),
        };
    }
}

/// `a`, `b`, `c`.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The text of an option, if it is there; an empty one is an error.
fn text(section: &Section, key: &str, problems: &mut Problems) -> Option<(String, Span)> {
    let item = section.item(key)?;
    let value = item.value();
    if value.is_empty() {
        problems.error(item.key_span, format!("`{key}` is empty"));
        return None;
    }
    Some((value, item.span()))
}

/// The text of an option that must be there.
fn required(section: &Section, key: &str, problems: &mut Problems) -> Option<(String, Span)> {
    if section.item(key).is_none() {
        let message = format!("`[{}]` has no `{key}`", section.name);
        problems.error(section.span, message).hint(format!("add `{key} = …`"));
    }
    text(section, key, problems)
}

/// `base_interval` and the two time limits that hang on it.
fn intervals(section: &Section, agent: &mut Table, problems: &mut Problems) {
    let base = seconds(section, "base_interval", problems);
    let base_secs = base.map_or(BASE_INTERVAL_SECS, |(secs, _)| secs);
    if let Some((secs, span)) = base {
        agent.put("base_interval", span, Value::Float(secs));
    }
    let inherited = base.map_or(section.span, |(_, span)| span);
    let limits = [("timeout", "timeout", TIMEOUT_PART), ("alert_timeout", "deliver_timeout", ALERT_TIMEOUT_PART)];
    for (old, native, part) in limits {
        let (secs, span) = seconds(section, old, problems).unwrap_or((base_secs * part, inherited));
        agent.put(native, span, Value::Float(secs));
    }
}

/// A number of seconds, more than zero.
fn seconds(section: &Section, key: &str, problems: &mut Problems) -> Option<(f64, Span)> {
    let (value, span) = text(section, key, problems)?;
    match value.parse::<f64>() {
        Ok(secs) if secs.is_finite() && secs > 0.0 => Some((secs, span)),
        _ => {
            problems
                .error(span, format!("`{key}` is not a number of seconds: {}", quoted(&value)))
                .hint("write it as `60` or `0.5`");
            None
        }
    }
}

fn logging(section: &Section, agent: &mut Table, problems: &mut Problems) {
    let Some((value, span)) = text(section, "logging", problems) else { return };
    if value.contains("<logger>") {
        problems
            .warning(span, "ZConfig's way to set up logging is read past, and the log goes where the agent's goes")
            .hint("write `logging = INFO` for the level");
        return;
    }
    let level = match value.to_uppercase().as_str() {
        "DEBUG" | "NOTSET" => "debug",
        "INFO" => "info",
        "WARN" | "WARNING" => "warning",
        "ERROR" => "error",
        "CRITICAL" | "FATAL" => "critical",
        _ => {
            problems
                .error(span, format!("`logging` is no level: {}", quoted(&value)))
                .hint("it is one of DEBUG, INFO, WARNING, ERROR, CRITICAL");
            return;
        }
    };
    agent.put("log_level", span, Value::String(level.to_owned()));
}

/// The class that a section names, with the place where it does.
fn class<'i>(
    ini: &'i Ini,
    name: &str,
    classes: &'static [Class],
    problems: &mut Problems,
) -> Option<(&'static Class, &'i Section, Span)> {
    let section = ini.section(name)?;
    let (value, span) = required(section, "class", problems)?;
    let written = match value.rsplit_once('.') {
        Some((module, class)) if !value.contains(':') => {
            // A module alone is the one class that it has.
            let whole = classes.iter().find(|known| known.name.split(':').next() == Some(value.as_str()));
            whole.map_or_else(|| format!("{module}:{class}"), |known| known.name.to_owned())
        }
        _ => value.clone(),
    };
    let Some(class) = classes.iter().find(|class| class.name == written) else {
        let names = || classes.iter().map(|class| class.name);
        let mean = nearest(&written, names()).map_or(String::new(), |name| format!("did you mean `{name}`? "));
        problems
            .error(span, format!("`{value}` is no class that is known for `[{name}]`"))
            .hint(format!("{mean}it is one of {}", list(names())));
        return None;
    };
    let known: Vec<_> = std::iter::once("class").chain(class.options.iter().copied()).collect();
    unknown_options(section, &known, problems);
    Some((class, section, span))
}

fn database(ini: &Ini, problems: &mut Problems) {
    let Some((class, section, span)) = class(ini, "database", DATABASES, problems) else { return };
    if class.part == Part::DynamoDb {
        problems
            .warning(span, "DynamoDB comes with a later version; the agent's local store is used instead")
            .hint("faults and squelches of other agents are not seen until then");
    } else if let Some(item) = section.item("faults") {
        problems.warning(item.key_span, "faults to begin with are read past: the local store keeps the real ones");
    }
}

fn metrics(ini: &Ini, agent: &mut Table, problems: &mut Problems) {
    let Some((class, section, span)) = class(ini, "metrics", METRICS, problems) else { return };
    if class.part == Part::Kinesis {
        problems.warning(span, "Kinesis comes with a later version; metrics go to the log instead");
    } else if let Some((name, span)) = text(section, "name", problems) {
        agent.put("metrics_logger", span, Value::String(name));
    }
    agent.put("metrics", span, Value::String("log".to_owned()));
}

/// The notifier that `[alerter]` becomes, and where its class stands.
fn alerter(ini: &Ini, agent: &Section, problems: &mut Problems) -> Option<(Span, Table)> {
    if ini.section("alerter").is_none() {
        problems
            .warning(agent.span, "the file has no section `[alerter]`, so nobody is told of faults")
            .hint(format!("add `[alerter]` with `class = {}`", ALERTERS[0].name));
    }
    let (class, section, span) = class(ini, "alerter", ALERTERS, problems)?;
    let mut notifier = Table { span: section.span, entries: Vec::new() };
    let kind = match class.part {
        Part::PagerDuty => "pagerduty",
        Part::Slack => "slack",
        _ => "log",
    };
    notifier.put("kind", span, Value::String(kind.to_owned()));
    // What is logged is data, not CIMAA's texts.
    if kind != "log" {
        notifier.put("style", span, Value::String("cimaa".to_owned()));
    }
    match class.part {
        // The account's token, which the older API wanted beside the key, is not needed.
        Part::PagerDuty => {
            let (key, span) = required(section, "service", problems)?;
            notifier.put("key", span, secret(key));
        }
        Part::Slack => slack(section, span, &mut notifier, problems)?,
        _ => {}
    }
    Some((span, notifier))
}

fn slack(section: &Section, class: Span, notifier: &mut Table, problems: &mut Problems) -> Option<()> {
    let (token, token_span) = required(section, "token", problems)?;
    notifier.put("token", token_span, secret(token));
    // CIMAA takes an empty option for one that isn't there.
    let given = |key| section.item(key).map(|item| (item.value(), item.span())).filter(|(text, _)| !text.is_empty());
    let (channel, span) = given("channel").unwrap_or(("general".to_owned(), class));
    notifier.put("channels", span, Value::Array(vec![Node { span, value: Value::String(channel) }]));
    if let Some((target, span)) = given("target") {
        notifier.put("mention", span, Value::String(target));
    }
    Some(())
}

/// Turns a file of checks into native tables. Sections that are wrong are listed apart.
pub fn translate_checks(ini: &Ini, problems: &mut Problems) -> CimaaChecks {
    let whole = Span { file: ini.file, start: 0, end: 0 };
    let mut checks = Table { span: whole, entries: Vec::new() };
    let mut rest = Table { span: whole, entries: Vec::new() };
    let mut broken = Vec::new();
    let ends = ini.sections.iter().skip(1).map(|next| next.span.start).chain([usize::MAX]);
    for (section, end) in ini.sections.iter().zip(ends) {
        let before = problems.list.len();
        unknown_options(section, CHECK_OPTIONS, problems);
        let table = table_entry(section.name.clone(), section.span, check(section, problems));
        let mut wrong = problems.list[before..].iter().filter(|problem| problem.level == Level::Error);
        match wrong.next().map(|first| first.message.clone()) {
            None => checks.entries.push(table),
            Some(reason) => {
                broken.push(BrokenSection { section: section.name.clone(), span: section.span, reason });
                rest.entries.push(table);
            }
        }
        for problem in &mut problems.list[before..] {
            attribute(problem, section, end);
        }
    }
    let root = |checks| Table { span: whole, entries: vec![table_entry("check".to_owned(), whole, checks)] };
    CimaaChecks { root: root(checks), broken, rest: root(rest) }
}

/// Makes a problem stand in the section that it is about. Its value may stand elsewhere: in `[DEFAULT]`, or where
/// the section comes a second time.
fn attribute(problem: &mut Problem, section: &Section, end: usize) {
    if (section.span.start..end).contains(&problem.span.start) {
        return;
    }
    let value = std::mem::replace(&mut problem.span, section.span);
    if problem.related.is_none() {
        problem.related(value, "the value stands here");
    }
}

/// One check. What is wrong is reported, and has its default or a stand-in.
fn check(section: &Section, problems: &mut Problems) -> Table {
    let mut table = Table { span: section.span, entries: Vec::new() };
    if section.item("command").is_none() {
        problems.error(section.span, "`command` is missing").hint("add `command = …`, the line to run");
    }
    let (command, span) = text(section, "command", problems).unwrap_or((STAND_IN.to_owned(), section.span));
    table.put("nagios", span, Value::String(command));
    // CIMAA takes a retry below 0 and a retry interval below 1 for the least that has a meaning.
    let numbers = [("interval", "ticks", 1, 1, false), ("retry", "retry", 3, 0, true)];
    for (old, native, default, least, lenient) in
        numbers.into_iter().chain([("retry_interval", "retry_ticks", 1, 1, true)])
    {
        let item = section.item(old);
        let span = item.map_or(section.span, Item::span);
        let read = |item| integer(item, least, lenient, problems);
        table.put(native, span, Value::Integer(item.map_or(Some(default), read).unwrap_or(default)));
    }
    if let Some(item) = section.item("thresholds") {
        let lines = item.lines.iter().filter(|(text, _)| !text.is_empty());
        let lines = lines.map(|(text, span)| Node { span: *span, value: Value::String(text.clone()) }).collect();
        table.put("thresholds", item.span(), Value::Array(lines));
    }
    performance(section, &mut table, problems);
    table.put("accept_json", section.span, Value::Boolean(true));
    table.put("keep_quotes", section.span, Value::Boolean(true));
    table.put("shell", section.span, Value::Boolean(true));
    table.put("style", section.span, Value::String("cimaa".to_owned()));
    table.put("section", section.span, Value::String(section.name.clone()));
    table
}

/// A whole number as Python's `int` reads it, and not below the least that has a meaning.
fn integer(item: &Item, least: i64, lenient: bool, problems: &mut Problems) -> Option<i64> {
    let (key, value) = (&item.key, item.value());
    match value.parse::<i64>() {
        Ok(n) if n > i64::from(u32::MAX) => {
            problems.error(item.span(), format!("bad value for {key}: {}", quoted(&value))).hint("it is too large");
            None
        }
        Ok(n) if n >= least => Some(n),
        Ok(n) if lenient => {
            problems.warning(item.span(), format!("`{key}` is {n}, and {least} is used")).hint("write what is meant");
            Some(least)
        }
        Ok(_) => {
            problems
                .error(item.span(), format!("bad value for {key}: {}", quoted(&value)))
                .hint(format!("it is at least {least}"));
            None
        }
        Err(_) => {
            problems
                .error(item.span(), format!("bad value for {key}: {}", quoted(&value)))
                .hint("it is a whole number");
            None
        }
    }
}

fn performance(section: &Section, table: &mut Table, problems: &mut Problems) {
    let Some(item) = section.item("nagios_performance") else { return };
    let value = item.value();
    match value.to_lowercase().as_str() {
        "true" => table.put("performance", item.span(), Value::Boolean(true)),
        "false" => match section.item("thresholds") {
            Some(thresholds) => {
                problems
                    .error(item.span(), "nagios_performance can't be false when thresholds are specified")
                    .hint("remove it, or the thresholds")
                    .related(thresholds.key_span, "thresholds judge performance data");
            }
            None => table.put("performance", item.span(), Value::Boolean(false)),
        },
        _ => {
            problems
                .error(item.span(), format!("bad value for nagios_performance: {}", quoted(&value)))
                .hint("it is `true` or `false`");
        }
    }
}

/// A text as Python's `repr` shows it; letters beyond ASCII stay readable.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            c if c == quote || c == '\\' => shown.extend(['\\', c]),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => shown.push_str(&format!("\\x{:02x}", c as u32)),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ini, testing},
        *,
    };

    fn read(text: &str) -> (Ini, Problems) {
        let (file, mut problems) = testing::file("app.cfg", text);
        (ini::parse(file, &mut problems).unwrap(), problems)
    }

    /// What every check of CIMAA's has beside its own.
    const COMMON: &str = r#"accept_json: true, keep_quotes: true, shell: true, style: "cimaa", "#;

    #[rustfmt::skip]
    const CHECK_FILES: &[(&str, &str, &str, &str)] = &[
            (
                r"[foo.txt]
command = check_file foo.txt
",
                r#"{check: {foo.txt: {nagios: "check_file foo.txt", ticks: 1, retry: 3, retry_ticks: 1, … section: "foo.txt"}}}"#,
                "",
                "",
            ),
            (
                r"[load]
command: check_load -w 5
  -c 9
interval = 5
retry = 0
retry_interval = 2
nagios_performance = TRUE
thresholds =
  load1 warning > 5
  'a b' ? error >= 7 clear < 3
[//meta]
command = meta-check agent.cfg ; a comment
",
                r#"{check: {load: {nagios: "check_load -w 5\n-c 9", ticks: 5, retry: 0, retry_ticks: 2, thresholds: ["load1 warning > 5", "'a b' ? error >= 7 clear < 3"], performance: true, … section: "load"}, //meta: {nagios: "meta-check agent.cfg", ticks: 1, retry: 3, retry_ticks: 1, … section: "//meta"}}}"#,
                "",
                "",
            ),
            (
                r"[a]
command = x
nagios_performance = False
[b]
command = x
nagios_performance = yada
[c]
command = x
nagios_performance = FALSE
thresholds =
  load1 warning > 5
[d]
command = x
",
                r#"{check: {a: {nagios: "x", ticks: 1, retry: 3, retry_ticks: 1, performance: false, … section: "a"}, d: {nagios: "x", ticks: 1, retry: 3, retry_ticks: 1, … section: "d"}}}"#,
                r"[b] bad value for nagios_performance: 'yada'
[c] nagios_performance can't be false when thresholds are specified",
                r#"6:22 "yada" error: bad value for nagios_performance: 'yada'; hint: it is `true` or `false`
9:22 "FALSE" error: nagios_performance can't be false when thresholds are specified; hint: remove it, or the thresholds; see 10:1 thresholds judge performance data"#,
            ),
            (
                r"[a]
interval = 5
[b]
command =
[c]
command = x
interval = 0
retry = lots
retry_interval = 1.5
[d]
command = x
retry = -1
retry_interval = 0
[e]
command = x
interval = 99999999999
",
                r#"{check: {d: {nagios: "x", ticks: 1, retry: 0, retry_ticks: 1, … section: "d"}}}"#,
                r"[a] `command` is missing
[b] `command` is empty
[c] bad value for interval: '0'
[e] bad value for interval: '99999999999'",
                r#"1:2 "a" error: `command` is missing; hint: add `command = …`, the line to run
4:1 "command" error: `command` is empty
7:12 "0" error: bad value for interval: '0'; hint: it is at least 1
8:9 "lots" error: bad value for retry: 'lots'; hint: it is a whole number
9:18 "1.5" error: bad value for retry_interval: '1.5'; hint: it is a whole number
12:9 "-1" warning: `retry` is -1, and 0 is used; hint: write what is meant
13:18 "0" warning: `retry_interval` is 0, and 1 is used; hint: write what is meant
16:12 "99999999999" error: bad value for interval: '99999999999'; hint: it is too large"#,
            ),
            (
                r"[DEFAULT]
interval = often
retry = 1
[a]
command = x
[b]
command = y
interval = 2
[a]
retry = it's
",
                r#"{check: {b: {nagios: "y", ticks: 2, retry: 1, retry_ticks: 1, … section: "b"}}}"#,
                "[a] bad value for interval: 'often'",
                r#"9:2 "a" warning: section `[a]` comes twice, and both are read as one; see 4:2 first comes here
4:2 "a" error: bad value for interval: 'often'; hint: it is a whole number; see 2:12 the value stands here
4:2 "a" error: bad value for retry: "it's"; hint: it is a whole number; see 10:9 the value stands here"#,
            ),
            (
                r"[a]
command = x
intervall = 2
Command = y
timeout = 5
",
                r#"{check: {a: {nagios: "x", ticks: 1, retry: 3, retry_ticks: 1, … section: "a"}}}"#,
                "",
                r#"3:1 "intervall" warning: `[a]` knows no `intervall`, it is read past; hint: did you mean `interval`?
4:1 "Command" warning: `[a]` knows no `Command`, it is read past; hint: did you mean `command`?
5:1 "timeout" warning: `[a]` knows no `timeout`, it is read past; hint: it knows `command`, `interval`, `retry`, `retry_interval`, `thresholds`, `nagios_performance`"#,
            ),
            (
                "",
                "{check: {}}",
                "",
                "",
            ),
    ];

    /// S3.2, S3.12: check files as native tables, and for each wrong section the reason that its fault gives;
    /// the sections around it stay.
    #[test]
    fn check_files() {
        for (text, tree, broken, told) in CHECK_FILES {
            let (ini, mut problems) = read(text);
            assert!(!is_agent_file(&ini), "{text}");
            let checks = translate_checks(&ini, &mut problems);
            let shown = testing::shown(&Value::Table(checks.root)).replace(COMMON, "… ");
            let reasons = checks.broken.iter().map(|b| format!("[{}] {}", b.section, b.reason)).collect::<Vec<_>>();
            let (reasons, problems) = (reasons.join("\n"), testing::told(&problems));
            assert_eq!((shown.as_str(), reasons.as_str(), problems.as_str()), (*tree, *broken, *told), "{text}");
        }
    }

    #[rustfmt::skip]
    const AGENT_FILES: &[(&str, &str, &str, &str)] = &[
            (
                r"[agent]
directory = agent.d
timeout = 1

[database]
class = zc.cimaa.stub:MemoryDB

[alerter]
class = zc.cimaa.stub:OutputAlerter
",
                r#"{agent: {timeout: 1, deliver_timeout: 12, notify: ["alerter"]}, notify: {alerter: {kind: "log"}}}"#,
                "agent.d",
                "",
            ),
            (
                r"[agent]
directory = /etc/cimaa.d
name = web-1
base_interval = 30
logging = debug
sentry_dsn = https://k:s@sentry.example.com/1
[database]
class = zc.cimaa.dynamodb
region = us-east-1
prefix = mon
[alerter]
class = zc.cimaa.pagerduty:Alerter
token = t0k3n
service = k3y
[metrics]
class = zc.cimaa.kinesis.Metrics
region = us-east-1
stream = test
partition_key = 42
explicit_hash_key = 0
",
                r#"{agent: {name: "web-1", base_interval: 30, timeout: 21, deliver_timeout: 6, log_level: "debug", sentry_dsn: *"https://k:s@sentry.example.com/1", metrics: "log", notify: ["alerter"]}, notify: {alerter: {kind: "pagerduty", style: "cimaa", key: *"k3y"}}}"#,
                "/etc/cimaa.d",
                r#"8:9 "zc.cimaa.dynamodb" warning: DynamoDB comes with a later version; the agent's local store is used instead; hint: faults and squelches of other agents are not seen until then
16:9 "zc.cimaa.kinesis.Metrics" warning: Kinesis comes with a later version; metrics go to the log instead"#,
            ),
            (
                r"[agent]
directory = d
alert_timeout = 2.5
[alerter]
class = zc.cimaa.slack:Alerter
token = xoxb
channel = #ops
target = <!channel>
[metrics]
class = zc.cimaa.logmetrics:LogMetrics
name = numbers
",
                r##"{agent: {timeout: 42, deliver_timeout: 2.5, metrics_logger: "numbers", metrics: "log", notify: ["alerter"]}, notify: {alerter: {kind: "slack", style: "cimaa", token: *"xoxb", channels: ["#ops"], mention: "<!channel>"}}}"##,
                "d",
                "",
            ),
            (
                r"[agent]
directory = d
[alerter]
class = zc.cimaa.slack:Alerter
token = xoxb
channel =
[metrics]
class = zc.cimaa.stub:OutputMetrics
[database]
class = zc.cimaa.stub:MemoryDB
faults = {}
",
                r#"{agent: {timeout: 42, deliver_timeout: 12, metrics: "log", notify: ["alerter"]}, notify: {alerter: {kind: "slack", style: "cimaa", token: *"xoxb", channels: ["general"]}}}"#,
                "d",
                r#"11:1 "faults" warning: faults to begin with are read past: the local store keeps the real ones"#,
            ),
            (
                r"[agent]
name =
base_interval = soon
timeout = -1
alert_timeout = nan
logging = loud
colour = red
[alerter]
class = zc.cimaa.pagerduti:Alerter
[database]
region = x
[metrics]
class = Other
[alert]
k = v
[web]
k = v
",
                "{agent: {timeout: 42, deliver_timeout: 12}}",
                "-",
                r#"14:2 "alert" warning: section `[alert]` means nothing in an agent's file; hint: did you mean `[alerter]`?
16:2 "web" warning: section `[web]` means nothing in an agent's file; hint: checks stand in files of their own, in the folder that `directory` names
7:1 "colour" warning: `[agent]` knows no `colour`, it is read past; hint: it knows `directory`, `name`, `base_interval`, `timeout`, `alert_timeout`, `logging`, `sentry_dsn`
2:1 "name" error: `name` is empty
3:17 "soon" error: `base_interval` is not a number of seconds: 'soon'; hint: write it as `60` or `0.5`
4:11 "-1" error: `timeout` is not a number of seconds: '-1'; hint: write it as `60` or `0.5`
5:17 "nan" error: `alert_timeout` is not a number of seconds: 'nan'; hint: write it as `60` or `0.5`
6:11 "loud" error: `logging` is no level: 'loud'; hint: it is one of DEBUG, INFO, WARNING, ERROR, CRITICAL
10:2 "database" error: `[database]` has no `class`; hint: add `class = …`
13:9 "Other" error: `Other` is no class that is known for `[metrics]`; hint: it is one of `zc.cimaa.kinesis:Metrics`, `zc.cimaa.logmetrics:LogMetrics`, `zc.cimaa.stub:OutputMetrics`
9:9 "zc.cimaa.pagerduti:Alerter" error: `zc.cimaa.pagerduti:Alerter` is no class that is known for `[alerter]`; hint: did you mean `zc.cimaa.pagerduty:Alerter`? it is one of `zc.cimaa.pagerduty:Alerter`, `zc.cimaa.slack:Alerter`, `zc.cimaa.stub:OutputAlerter`
1:2 "agent" error: `[agent]` has no `directory`; hint: add `directory = PATH`, the folder of the check files"#,
            ),
            (
                r"[agent]
directory = d
logging =
  <logger>
    level INFO
  </logger>
[alerter]
class = zc.cimaa.pagerduty:Alerter
token = x
",
                "{agent: {timeout: 42, deliver_timeout: 12}}",
                "d",
                r#"3:10 "\n  <logger>\n    level INFO\n  </logger>" warning: ZConfig's way to set up logging is read past, and the log goes where the agent's goes; hint: write `logging = INFO` for the level
7:2 "alerter" error: `[alerter]` has no `service`; hint: add `service = …`"#,
            ),
            (
                r"[agent]
directory = d
[alerter]
class = zc.cimaa.slack:Alerter
token =
",
                "{agent: {timeout: 42, deliver_timeout: 12}}",
                "d",
                r#"5:1 "token" error: `token` is empty"#,
            ),
    ];

    /// S3.2: the agent's file as native tables; parts that come later are told with what is used instead.
    #[test]
    fn agent_files() {
        for (text, tree, directory, told) in AGENT_FILES {
            let (ini, mut problems) = read(text);
            assert!(is_agent_file(&ini), "{text}");
            let agent = translate_agent(&ini, &mut problems);
            let shown = testing::shown(&Value::Table(agent.root));
            let (found, problems) = (agent.directory.map_or("-".to_owned(), |d| d.0), testing::told(&problems));
            assert_eq!((shown.as_str(), found.as_str(), problems.as_str()), (*tree, *directory, *told), "{text}");
        }
    }

    /// S3.12: the texts of the faults, as CIMAA has them.
    #[test]
    fn fault_texts() {
        assert_eq!(file_fault("agent.d/test.cfg"), "error parsing agent.d/test.cfg");
        let (ini, mut problems) = read("[foo.txt]\ncommand = x\nnagios_performance = yada yada\n");
        let broken = translate_checks(&ini, &mut problems).broken.remove(0);
        assert_eq!(
            check_fault("agent.d/test.cfg", &broken.section, &broken.reason),
            "error loading check agent.d/test.cfg [foo.txt]: bad value for nagios_performance: 'yada yada'"
        );
    }

    /// A section called `agent` in a file of checks is a check.
    #[test]
    fn kinds_of_files() {
        for (text, agent) in [
            ("[agent]\ncommand = x\n", false),
            ("[agent]\ncommand = x\ndirectory = d\n", false),
            ("[agent]\n", false),
            ("[agent]\ndirectory = d\n", true),
            ("[agent]\nname = x\n[alerter]\nclass = y\n", true),
            ("[alerter]\nclass = y\n", false),
        ] {
            assert_eq!(is_agent_file(&read(text).0), agent, "{text}");
        }
    }

    /// Each threshold line knows where it stands, so that the loader can point at it.
    #[test]
    fn spans() {
        let text = "[a]\ncommand = run  it\nthresholds = x warning > 1\n   y warning > 2\n";
        let (ini, mut problems) = read(text);
        let root = translate_checks(&ini, &mut problems).root;
        let Value::Table(checks) = &root.get("check").unwrap().value.value else { panic!() };
        let entry = checks.get("a").unwrap();
        let Value::Table(check) = &entry.value.value else { panic!() };
        let Value::Array(lines) = &check.get("thresholds").unwrap().value.value else { panic!() };
        let covered = |span: Span| &text[span.start..span.end];
        assert_eq!(covered(entry.key_span), "a");
        assert_eq!(covered(check.get("nagios").unwrap().value.span), "run  it");
        assert_eq!(lines.iter().map(|line| covered(line.span)).collect::<Vec<_>>(), ["x warning > 1", "y warning > 2"]);
    }

    /// Secrets don't show, however a tree is printed.
    #[test]
    fn secrets() {
        let (ini, mut problems) = read(
            "[agent]\ndirectory = d\nsentry_dsn = s3cret\n[alerter]\nclass = zc.cimaa.pagerduty:Alerter\nservice = s3cret\n",
        );
        let agent = translate_agent(&ini, &mut problems);
        assert!(!format!("{agent:?}").contains("s3cret"));
    }

    #[test]
    fn quoting() {
        for (text, shown) in [
            ("yada", "'yada'"),
            ("it's", "\"it's\""),
            ("it's \"so\"", "'it\\'s \"so\"'"),
            ("a\nb\t\\\u{1}é", "'a\\nb\\t\\\\\\x01é'"),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }
}
