//! What JSON plugins print, and TCP and unix sockets answer:
//! `{"faults": [{name?, severity, message, escalates?}], "metrics": [{name, value, units?, timestamp?}]}`.
//!
//! Everything that is wrong with a document is told in one `#json-error` finding, each with its path and place, and
//! what is right is used. Where the list of faults could not be read as a whole, that is an error and the run is
//! inconclusive: a fault that stood before may be among those that could not be read, so its silence does not mean that
//! it is gone. What is wrong beside the faults, in a metric say, is a warning.

use super::{
    json::{self, Node, Value},
    run,
    text::{NAME_CHARS_MAX, UNIT_CHARS_MAX, bounded, clean, cut, headline, message_and_detail, one_line},
};
use crate::model::{Exit, Finding, Metric, Outcome, Raw, Severity, Timestamp, Trouble};
use std::collections::BTreeMap;

/// How many faults of one document are used.
pub const FAULTS_MAX: usize = 500;
/// How many metrics of one document are used.
pub const METRICS_MAX: usize = 5_000;
/// How many problems of one document are listed; the rest is counted.
pub const PROBLEMS_MAX: usize = 50;

/// Judges a command that prints JSON. The document is the verdict; another exit than 0 is `#monitor-status` and makes
/// the run inconclusive, with what it printed in the detail. What a command that ends well writes to standard error
/// is kept in the output and is no fault.
pub fn judge(raw: &Raw) -> Outcome {
    if let Some(outcome) = run::unfinished(raw) {
        return outcome;
    }
    let of_run = run::outcome(raw);
    let text = clean(&raw.stdout);
    let (findings, found) = match raw.exit {
        Some(exit) if exit != Exit::Code(0) => {
            let said = headline(&clean(&raw.stderr));
            let said = if said.is_empty() { headline(&text) } else { said };
            let how = run::describe_exit(exit);
            let message = if said.is_empty() { how } else { format!("{how}: {said}") };
            let finding =
                Finding::monitor("status", message.as_str()).with_detail(run::cut_detail(of_run.output.trim()));
            (vec![finding], Outcome { summary: message, inconclusive: true, ..Outcome::default() })
        }
        _ if text.trim().is_empty() => {
            let message = "the plugin wrote nothing to standard output";
            let finding = Finding::monitor("no-out", message);
            (vec![finding], Outcome { summary: message.into(), inconclusive: true, ..Outcome::default() })
        }
        _ => (Vec::new(), parse(&text)),
    };
    let Outcome { output, exit, took, .. } = of_run;
    let findings = of_run.findings.into_iter().chain(findings).chain(found.findings).collect();
    Outcome { findings, output, exit, took, ..found }
}

/// Reads one document: findings, metrics, summary and the output itself; the rest of the outcome is the caller's.
///
/// A fault's name is its part (none, or empty: the check as a whole). A severity is a number (50 and above critical,
/// 40 error, 30 warning, less is info, as Python's `logging` counts) or a name in any case; a fault whose severity is
/// not known is an error that does not escalate and names it. A name given twice: the worst counts, and the others are
/// lines of its detail. An info fault stays a finding of severity info, which becomes an event, not a fault. Whether it
/// escalates is as Python sees it: 0 and what is empty are false.
/// A metric's time is seconds since the epoch or an ISO 8601 text (UTC where it names no zone).
pub fn parse(text: &str) -> Outcome {
    let mut reader = Reader { text, problems: Vec::new(), unlisted: 0, unsure: false };
    let mut findings = Vec::new();
    let mut metrics = Vec::new();
    match json::parse(text) {
        Ok(root) => (findings, metrics) = reader.document(&root),
        Err(e) => {
            let (line, column) = json::position(text, e.offset);
            reader.unsure = true;
            reader.problems.push(format!("line {line} column {column}: {e}"));
        }
    }
    let inconclusive = reader.unsure;
    findings.extend(reader.finding());
    let worst = findings.iter().max_by_key(|f| f.severity);
    let summary = match worst {
        Some(worst) if findings.len() > 1 => format!("{} (and {} more)", worst.message, findings.len() - 1),
        Some(worst) => worst.message.clone(),
        None => format!("no faults, {} metrics", metrics.len()),
    };
    Outcome { findings, metrics, summary, output: text.to_owned(), inconclusive, ..Outcome::default() }
}

struct Reader<'a> {
    text: &'a str,
    problems: Vec<String>,
    unlisted: usize,
    /// Faults may be missing from what was read.
    unsure: bool,
}

impl Reader<'_> {
    fn problem(&mut self, at: &Node, what: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            let (line, column) = json::position(self.text, at.offset);
            self.problems.push(format!("{what} (line {line} column {column})"));
        } else {
            self.unlisted += 1;
        }
    }

    fn wrong_type(&mut self, at: &Node, path: &str, expected: &str) {
        self.problem(at, &format!("`{path}` is {}, expected {expected}", at.value.kind()));
    }

    /// All problems as one finding.
    fn finding(self) -> Option<Finding> {
        let first = self.problems.first()?;
        let others = self.problems.len() - 1 + self.unlisted;
        let message = if others == 0 { first.clone() } else { format!("{first} (and {others} more)") };
        let mut detail = if others == 0 { String::new() } else { self.problems.join("\n") };
        if self.unlisted > 0 {
            detail.push_str(&format!("\n{} more problems", self.unlisted));
        }
        let severity = if self.unsure { Severity::Error } else { Severity::Warning };
        Some(Finding::part("json-error", severity, message).with_detail(detail))
    }

    fn document(&mut self, root: &Node) -> (Vec<Finding>, Vec<Metric>) {
        if !matches!(root.value, Value::Object(_)) {
            self.unsure = true;
            self.problem(root, &format!("the document is {}, expected an object with `faults`", root.value.kind()));
            return (Vec::new(), Vec::new());
        }
        let mut findings = Vec::new();
        match root.value.get("faults") {
            None => {
                self.unsure = true;
                self.problem(root, "`faults` is missing; a document without faults has `\"faults\": []`");
            }
            Some(Node { value: Value::List(items), .. }) => {
                findings = self.faults(items);
                if items.len() > FAULTS_MAX {
                    self.unsure = true;
                    let left_out = left_out("faults", items.len(), FAULTS_MAX);
                    findings.push(Finding { severity: Severity::Error, trouble: Some(Trouble::Unjudged), ..left_out });
                }
            }
            Some(other) => {
                self.unsure = true;
                self.wrong_type(other, "faults", "a list");
            }
        }
        let mut metrics = Vec::new();
        match root.value.get("metrics") {
            None => {}
            Some(Node { value: Value::List(items), .. }) => {
                let items_used = items.iter().take(METRICS_MAX).enumerate();
                metrics = items_used.filter_map(|(i, item)| self.metric(item, &format!("metrics[{i}]"))).collect();
                if items.len() > METRICS_MAX {
                    findings.push(left_out("metrics", items.len(), METRICS_MAX));
                }
            }
            Some(other) => self.wrong_type(other, "metrics", "a list"),
        }
        (findings, metrics)
    }

    fn faults(&mut self, items: &[Node]) -> Vec<Finding> {
        let mut places: BTreeMap<Option<String>, usize> = BTreeMap::new();
        let mut findings: Vec<Finding> = Vec::new();
        for (i, item) in items.iter().take(FAULTS_MAX).enumerate() {
            let Some(finding) = self.fault(item, &format!("faults[{i}]")) else {
                self.unsure = true;
                continue;
            };
            match places.get(&finding.part) {
                Some(place) => merge(&mut findings[*place], finding),
                None => {
                    places.insert(finding.part.clone(), findings.len());
                    findings.push(finding);
                }
            }
        }
        findings
    }

    /// One fault; `None` where it can't be told which one it is.
    fn fault(&mut self, item: &Node, path: &str) -> Option<Finding> {
        if !matches!(item.value, Value::Object(_)) {
            self.wrong_type(item, path, "an object");
            return None;
        }
        let get = |key: &str| (item.value.get(key), format!("{path}.{key}"));
        let part = match get("name") {
            (None, _) => None,
            (Some(Node { value: Value::Text(name), .. }), _) => {
                Some(short(name, NAME_CHARS_MAX)).filter(|n| !n.is_empty())
            }
            (Some(other), path) => {
                self.wrong_type(other, &path, "a text");
                return None;
            }
        };
        let (severity, unknown) = match get("severity") {
            (None, path) => {
                self.problem(item, &format!("`{path}` is missing; the fault is taken as an error"));
                (Severity::Error, None)
            }
            (Some(node), _) => severity(&node.value).map_or_else(|word| (Severity::Error, Some(word)), |s| (s, None)),
        };
        let (message, detail) = match get("message") {
            (Some(Node { value: Value::Text(message), .. }), _) => message_and_detail(&clean(message.as_bytes())),
            (Some(Node { value: Value::Number(_), offset }), _) => message_and_detail(number_at(self.text, *offset)),
            (None, path) => {
                self.problem(item, &format!("`{path}` is missing"));
                Default::default()
            }
            (Some(other), path) => {
                self.wrong_type(other, &path, "a text");
                Default::default()
            }
        };
        let message = if message.is_empty() { "(no message)".to_owned() } else { message };
        let message = match &unknown {
            None => message,
            Some(word) => format!("{message} (its severity is {word}, which is none)"),
        };
        // `get` takes null for a key that is not there, which escalates.
        let escalates = unknown.is_none() && item.value.get("escalates").is_none_or(|node| is_true(&node.value));
        Some(Finding { part, escalates, whole: true, ..Finding::new(severity, message).with_detail(detail) })
    }

    fn metric(&mut self, item: &Node, path: &str) -> Option<Metric> {
        if !matches!(item.value, Value::Object(_)) {
            self.wrong_type(item, path, "an object");
            return None;
        }
        let name = match item.value.get("name") {
            Some(Node { value: Value::Text(name), .. }) => Some(short(name, NAME_CHARS_MAX)),
            None => {
                self.problem(item, &format!("`{path}.name` is missing"));
                None
            }
            Some(other) => {
                self.wrong_type(other, &format!("{path}.name"), "a text");
                None
            }
        };
        let value = match item.value.get("value") {
            Some(Node { value: Value::Number(value), .. }) if value.is_finite() => Some(*value),
            Some(node @ Node { value: Value::Number(_), .. }) => {
                self.problem(node, &format!("`{path}.value` is too large or not a number"));
                None
            }
            None => {
                self.problem(item, &format!("`{path}.value` is missing"));
                None
            }
            Some(other) => {
                self.wrong_type(other, &format!("{path}.value"), "a number");
                None
            }
        };
        let unit = match item.value.get("units") {
            None => None,
            Some(Node { value: Value::Text(unit), .. }) => Some(short(unit, UNIT_CHARS_MAX)).filter(|u| !u.is_empty()),
            Some(other) => {
                self.wrong_type(other, &format!("{path}.units"), "a text");
                None
            }
        };
        // A metric whose time can't be read would be stored at a wrong one: the number is not used.
        let at = match item.value.get("timestamp") {
            None => None,
            Some(node) => match read_time(&node.value) {
                Ok(at) => Some(at),
                Err(why) => {
                    self.problem(node, &format!("`{path}.timestamp` {why}"));
                    return None;
                }
            },
        };
        Some(Metric { name: name?, value: value?, unit, at })
    }
}

fn left_out(what: &str, count: usize, max: usize) -> Finding {
    Finding::partial("limit", format!("{count} {what} in one answer: only the first {max} are used"))
}

/// Two faults of one name: the worse one's text first, all texts in the detail.
fn merge(kept: &mut Finding, other: Finding) {
    let full = |f: &Finding| if f.detail.is_empty() { f.message.clone() } else { f.detail.clone() };
    let (worse, milder) = if other.severity > kept.severity { (&other, &*kept) } else { (&*kept, &other) };
    let detail = run::cut_detail(&format!("{}\n{}", full(worse), full(milder)));
    *kept = Finding { detail, ..worse.clone() };
}

/// Names and units: one line, cut.
fn short(text: &str, max_chars: usize) -> String {
    bounded(&one_line(&clean(text.as_bytes())), max_chars).into_owned()
}

/// A number as it is written.
fn number_at(text: &str, offset: usize) -> &str {
    let text = text.get(offset..).unwrap_or_default();
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).next().unwrap_or_default()
}

/// What a severity means, or how it was written where that is nothing known.
fn severity(value: &Value) -> Result<Severity, String> {
    match value {
        Value::Number(number) => severity_from_number(*number).ok_or_else(|| number.to_string()),
        Value::Text(word) => {
            let word = word.trim();
            let number = || word.parse::<f64>().ok().and_then(severity_from_number);
            severity_from_word(word).or_else(number).ok_or_else(|| format!("\"{}\"", short(word, 40)))
        }
        other => Err(other.kind().to_owned()),
    }
}

/// The names of Python's `logging` beside ours.
fn severity_from_word(word: &str) -> Option<Severity> {
    match word.to_ascii_lowercase().as_str() {
        "debug" | "notset" => Some(Severity::Info),
        "fatal" => Some(Severity::Critical),
        word => Severity::from_word(word),
    }
}

/// As Python's `logging` counts: each level reaches up to the next, above critical is critical, and what is below a
/// warning is nothing wrong. `None` for what is no number.
fn severity_from_number(number: f64) -> Option<Severity> {
    match number {
        n if n >= 50.0 => Some(Severity::Critical),
        n if n >= 40.0 => Some(Severity::Error),
        n if n >= 30.0 => Some(Severity::Warning),
        n if n < 30.0 => Some(Severity::Info),
        _ => None,
    }
}

/// What Python takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => *number != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// A point in time: seconds since the epoch as number or text, RFC 3339, or ISO 8601 without a zone (UTC).
fn read_time(value: &Value) -> Result<Timestamp, String> {
    const EXPECTED: &str = "expected seconds since 1970 or a time like `2026-01-31T12:00:00Z`";
    let seconds = match value {
        Value::Number(seconds) => *seconds,
        Value::Text(text) => {
            let text = text.trim();
            if let Ok(at) = text.parse::<Timestamp>() {
                return in_range(at);
            }
            if let Ok(at) = text.parse::<jiff::civil::DateTime>()
                && let Ok(at) = at.to_zoned(jiff::tz::TimeZone::UTC)
            {
                return in_range(Timestamp::from_jiff(at.timestamp()));
            }
            match text.parse::<f64>() {
                Ok(seconds) => seconds,
                Err(_) => return Err(format!("is \"{}\", {EXPECTED}", short(text, 40))),
            }
        }
        other => return Err(format!("is {}, {EXPECTED}", other.kind())),
    };
    let micros = seconds * 1e6;
    // NaN compares false.
    if micros.abs() <= Timestamp::MAX.as_micros() as f64 {
        return in_range(Timestamp::from_micros(micros.round() as i64));
    }
    let hint = if seconds.is_finite() { " (milliseconds?)" } else { "" };
    Err(format!("is {}, out of range{hint}; {EXPECTED}", cut(&seconds.to_string(), 30)))
}

fn in_range(at: Timestamp) -> Result<Timestamp, String> {
    if at < Timestamp::ZERO { Err("is before 1970".to_owned()) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(outcome: &Outcome) -> Vec<String> {
        let finding = |f: &Finding| {
            let part = f.part.as_ref().map(|p| format!("#{p} ")).unwrap_or_default();
            let stays = if f.escalates { "" } else { " (stays)" };
            format!("{part}{}{stays}: {}", f.severity, f.message)
        };
        let metrics = outcome.metrics.iter().map(|m| {
            let at = m.at.map(|at| format!(" at {at}")).unwrap_or_default();
            format!("{} = {} {}{at}", m.name, m.value, m.unit.as_deref().unwrap_or("-"))
        });
        outcome.findings.iter().map(finding).chain(metrics).collect()
    }

    /// S3.5: faults: names, severities as numbers and words, escalation; metrics: units, times.
    #[test]
    fn documents() {
        let cases: [(&str, &[&str]); 19] = [
            (r#"{"faults": []}"#, &[]),
            (r#"{"faults": [], "metrics": null, "other": {"x": [1]}}"#, &[]),
            (r#"{"faults": [{"message": "Panic!", "severity": 50}]}"#, &["critical: Panic!"]),
            (r#"{"faults": [{"message": "Panic!", "severity": 99, "name": "OMG"}]}"#, &["#OMG critical: Panic!"]),
            (r#"{"faults": [{"message": "m", "severity": 40.0}]}"#, &["error: m"]),
            (r#"{"faults": [{"message": "m", "severity": 30}]}"#, &["warning: m"]),
            (r#"{"faults": [{"message": "Worry", "severity": "WARNING"}]}"#, &["warning: Worry"]),
            (r#"{"faults": [{"message": "Bad", "severity": "Error"}]}"#, &["error: Bad"]),
            (r#"{"faults": [{"message": "m", "severity": "critical"}]}"#, &["critical: m"]),
            (r#"{"faults": [{"message": "m", "severity": "40"}]}"#, &["error: m"]),
            (
                r#"{"faults": [{"name": "server", "severity": "error", "message": "badness", "escalates": false}]}"#,
                &["#server error (stays): badness"],
            ),
            (r#"{"faults": [{"name": "", "severity": 40, "message": "m", "escalates": true}]}"#, &["error: m"]),
            (r#"{"faults": [{"name": null, "severity": 40, "message": "m", "escalates": null}]}"#, &["error: m"]),
            (r#"{"faults": [{"name": "//other/x", "severity": 40, "message": "m"}]}"#, &["#//other/x error: m"]),
            (
                r#"{"faults": [], "metrics": [{"name": "speed", "value": 99, "units": "rpm"}, {"name": "loudness", "value": 11, "timestamp": "2014-12-13T10:28:31"}]}"#,
                &["speed = 99 rpm", "loudness = 11 - at 2014-12-13T10:28:31Z"],
            ),
            (
                r#"{"faults": [], "metrics": [{"name": "a", "value": -1.5e-3, "timestamp": 1418466511}]}"#,
                &["a = -0.0015 - at 2014-12-13T10:28:31Z"],
            ),
            (
                r#"{"faults": [], "metrics": [{"name": "a", "value": 1, "timestamp": "1418466511.25"}]}"#,
                &["a = 1 - at 2014-12-13T10:28:31.25Z"],
            ),
            (
                r#"{"faults": [], "metrics": [{"name": "a", "value": 1, "timestamp": "2014-12-13T11:28:31.5+01:00"}]}"#,
                &["a = 1 - at 2014-12-13T10:28:31.5Z"],
            ),
            (r#"{"faults": [], "metrics": [{"name": "", "value": 0, "units": ""}]}"#, &[" = 0 -"]),
        ];
        for (json, expect) in cases {
            let outcome = parse(json);
            assert_eq!(shown(&outcome), expect, "{json}");
            assert!(!outcome.inconclusive, "{json}");
            assert_eq!(outcome.output, json);
        }
    }

    /// "Decided": an info fault is an event, not a fault: it keeps its severity on the way to the engine.
    #[test]
    fn info_faults() {
        for severity in
            ["20", "25", "29.9", "10", "5", "0", "-1", "\"info\"", "\"INFO\"", "\"debug\"", "\"NotSet\"", "\"10\""]
        {
            let outcome = parse(&format!(r#"{{"faults": [{{"message": "hello", "severity": {severity}}}]}}"#));
            assert_eq!(shown(&outcome), ["info: hello"]);
        }
    }

    /// A severity that is not known is an error that does not escalate, and names it.
    #[test]
    fn unknown_severities() {
        for (severity, shown_as) in [
            ("\"bad\"", "\"bad\""),
            ("\"KRITISCH\"", "\"KRITISCH\""),
            ("\"\"", "\"\""),
            ("[40]", "a list"),
            ("true", "a boolean"),
            ("NaN", "NaN"),
        ] {
            let outcome = parse(&format!(r#"{{"faults": [{{"message": "m", "severity": {severity}}}]}}"#));
            assert_eq!(shown(&outcome), [format!("error (stays): m (its severity is {shown_as}, which is none)")]);
            assert!(!outcome.inconclusive);
        }
        for (severity, word) in [("\"fatal\"", "critical"), ("\"WARN\"", "warning"), ("\"45.5\"", "error")] {
            let outcome = parse(&format!(r#"{{"faults": [{{"message": "m", "severity": {severity}}}]}}"#));
            assert_eq!(shown(&outcome), [format!("{word}: m")]);
        }
    }

    /// Python's truth, and a number for a text.
    #[test]
    fn escalation_and_numbers_as_python_takes_them() {
        for (escalates, stays) in [
            ("0", true),
            ("0.0", true),
            ("\"\"", true),
            ("[]", true),
            ("{}", true),
            ("false", true),
            ("1", false),
            ("\"no\"", false),
            ("[0]", false),
            ("null", false),
        ] {
            let json = format!(r#"{{"faults": [{{"message": 7, "severity": 40, "escalates": {escalates}}}]}}"#);
            let expect = if stays { "error (stays): 7" } else { "error: 7" };
            assert_eq!(shown(&parse(&json)), [expect], "{escalates}");
        }
        for number in ["0", "-1.50", "1e9", "12345678901234567890", "NaN"] {
            let outcome = parse(&format!(r#"{{"faults": [{{"severity": 30, "message":{number}}}]}}"#));
            assert_eq!(shown(&outcome), [format!("warning: {number}")]);
        }
    }

    /// S3.5: bad JSON is a `#json-error` fault that says line and column, and escalates as CIMAA's does.
    #[test]
    fn bad_json() {
        let cases = [
            ("{\n\"faults\": []", "line 2 column 13: expected `,` or `}`, found the end"),
            ("{\n", "line 2 column 1: expected a key in `\"` or `}`, found the end"),
            ("", "line 1 column 1: expected a JSON value, found the end"),
            ("{'faults': []}", "line 1 column 2: expected a key in `\"` or `}`, found `'`"),
            ("{}", "`faults` is missing; a document without faults has `\"faults\": []` (line 1 column 1)"),
            ("{\"faults\": 1}", "`faults` is a number, expected a list (line 1 column 12)"),
            ("[]", "the document is a list, expected an object with `faults` (line 1 column 1)"),
            ("5", "the document is a number, expected an object with `faults` (line 1 column 1)"),
        ];
        for (json, message) in cases {
            let outcome = parse(json);
            assert_eq!(outcome.findings, [Finding::part("json-error", Severity::Error, message)], "{json:?}");
            assert!(outcome.inconclusive, "{json:?}");
            assert_eq!(outcome.summary, message);
        }
    }

    /// Wrong types in a fault are named with their path and place, and cost no other fault. A fault that can't be
    /// told apart is lost, which makes the run inconclusive.
    #[test]
    fn wrong_types_in_faults() {
        // item => problem => what the fault becomes
        let cases = r#"
            7 => `faults[0]` is a number, expected an object => lost
            {"name": 5, "severity": 40, "message": "m"} => `faults[0].name` is a number, expected a text => lost
            {"severity": 40} => `faults[0].message` is missing => error: (no message)
            {"severity": 40, "message": ["m"]} => `faults[0].message` is a list, expected a text => error: (no message)
            {"message": "m"} => `faults[0].severity` is missing; the fault is taken as an error => error: m
            {"severity": 30, "message": true} => `faults[0].message` is a boolean, expected a text => warning: (no message)
        "#;
        for case in cases.trim().lines() {
            let parts: Vec<&str> = case.trim().split(" => ").collect();
            let (item, problem, becomes) = (parts[0], parts[1], parts[2]);
            let good = r#"{"name": "good", "severity": 40, "message": "m"}"#;
            let outcome = parse(&format!(r#"{{"faults": [{item}, {good}]}}"#));
            let lines = shown(&outcome);
            let expect: Vec<&str> = [becomes, "#good error: m"].into_iter().filter(|line| *line != "lost").collect();
            assert_eq!(lines[..lines.len() - 1], expect, "{item}");
            let last = &lines[lines.len() - 1];
            // Only where a fault is lost, the document says nothing of it.
            let worth = if becomes == "lost" { "error" } else { "warning" };
            assert!(last.starts_with(&format!("#json-error {worth}: {problem} (line 1 column ")), "{last}");
            assert_eq!(outcome.inconclusive, becomes == "lost", "{item}");
        }
    }

    /// Wrong types in a metric are named with their path and place, and cost that metric only.
    #[test]
    fn wrong_types_in_metrics() {
        // item => problem
        let cases = r#"
            7 => `metrics[0]` is a number, expected an object (line 1 column 28)
            {"value": 1} => `metrics[0].name` is missing (line 1 column 28)
            {"name": 1, "value": 1} => `metrics[0].name` is a number, expected a text (line 1 column 37)
            {"name": "a"} => `metrics[0].value` is missing (line 1 column 28)
            {"name": "a", "value": "99"} => `metrics[0].value` is a text, expected a number (line 1 column 51)
            {"name": "a", "value": true} => `metrics[0].value` is a boolean, expected a number (line 1 column 51)
            {"name": "a", "value": 1e999} => `metrics[0].value` is too large or not a number (line 1 column 51)
            {"name": "a", "value": -Infinity} => `metrics[0].value` is too large or not a number (line 1 column 51)
            {"name": "a", "value": NaN} => `metrics[0].value` is too large or not a number (line 1 column 51)
            {"name": "a", "value": 1, "timestamp": "soon"} => `metrics[0].timestamp` is "soon", expected TIME (line 1 column 67)
            {"name": "a", "value": 1, "timestamp": []} => `metrics[0].timestamp` is a list, expected TIME (line 1 column 67)
            {"name": "a", "value": 1, "timestamp": 1418466511000} => `metrics[0].timestamp` is 1418466511000, out of range (milliseconds?); expected TIME (line 1 column 67)
            {"name": "a", "value": 1, "timestamp": 1e999} => `metrics[0].timestamp` is inf, out of range; expected TIME (line 1 column 67)
            {"name": "a", "value": 1, "timestamp": -5} => `metrics[0].timestamp` is before 1970 (line 1 column 67)
        "#;
        for case in cases.trim().lines() {
            let Some((item, problem)) = case.trim().split_once(" => ") else { panic!("{case}") };
            let problem = problem.replace("TIME", "seconds since 1970 or a time like `2026-01-31T12:00:00Z`");
            let outcome = parse(&format!(r#"{{"faults": [], "metrics": [{item}, {{"name": "good", "value": 2}}]}}"#));
            assert_eq!(shown(&outcome), [format!("#json-error warning: {problem}"), "good = 2 -".into()], "{item}");
            assert!(!outcome.inconclusive, "{item}");
        }
        let outcome = parse(r#"{"faults": [], "metrics": [{"name": "a", "value": 1, "units": 5}]}"#);
        let problem = "#json-error warning: `metrics[0].units` is a number, expected a text (line 1 column 63)";
        assert_eq!(shown(&outcome), [problem, "a = 1 -"]);
        let outcome = parse(r#"{"faults": [], "metrics": {}}"#);
        assert_eq!(
            shown(&outcome),
            ["#json-error warning: `metrics` is an object, expected a list (line 1 column 27)"]
        );
    }

    #[test]
    fn all_problems_are_one_finding() {
        let outcome = parse("{\"faults\": [1,\n 2],\n \"metrics\": [{\"name\": \"a\"}]}");
        assert_eq!(outcome.findings.len(), 1);
        let (message, detail) = (&outcome.findings[0].message, &outcome.findings[0].detail);
        assert_eq!(message, "`faults[0]` is a number, expected an object (line 1 column 13) (and 2 more)");
        assert_eq!(
            detail.lines().skip(1).collect::<Vec<_>>(),
            [
                "`faults[1]` is a number, expected an object (line 2 column 2)",
                "`metrics[0].value` is missing (line 3 column 14)",
            ]
        );
    }

    /// A name given twice: the worst counts.
    #[test]
    fn duplicate_names() {
        let one =
            |severity: u8, message: &str| format!(r#"{{"name": "x", "severity": {severity}, "message": "{message}"}}"#);
        for (first, second, expect) in [(30, 50, "b\na"), (50, 30, "a\nb"), (40, 40, "a\nb")] {
            let outcome = parse(&format!(r#"{{"faults": [{}, {}]}}"#, one(first, "a"), one(second, "b")));
            assert_eq!(outcome.findings.len(), 1);
            let finding = &outcome.findings[0];
            assert_eq!(finding.severity.number(), first.max(second));
            assert_eq!((finding.message.as_str(), finding.detail.as_str()), (&expect[..1], expect));
        }
    }

    #[test]
    fn messages_are_cleaned_and_bounded() {
        let outcome =
            parse(r#"{"faults": [{"name": "a\nb", "severity": 40, "message": "\u001b[31mfirst\u0000\nsecond"}]}"#);
        let finding = &outcome.findings[0];
        assert_eq!((finding.part.as_deref(), finding.message.as_str()), (Some("a b"), "first"));
        assert_eq!(finding.detail, "first\nsecond");
    }

    #[test]
    fn limits_are_findings() {
        let many = |item: &str, n: usize| vec![item; n].join(",");
        let outcome =
            parse(&format!(r#"{{"faults": [{}]}}"#, many(r#"{"severity": 40, "message": "m"}"#, FAULTS_MAX + 1)));
        assert_eq!(
            shown(&outcome),
            ["error: m", "#monitor-limit error: 501 faults in one answer: only the first 500 are used"]
        );
        assert!(outcome.inconclusive);
        let outcome = parse(&format!(
            r#"{{"faults": [], "metrics": [{}]}}"#,
            many(r#"{"name": "a", "value": 1}"#, METRICS_MAX + 2)
        ));
        assert_eq!((outcome.metrics.len(), outcome.findings.len()), (METRICS_MAX, 1));
        assert_eq!(outcome.findings[0].message, "5002 metrics in one answer: only the first 5000 are used");
        let outcome = parse(&format!(r#"{{"faults": [{}]}}"#, many("1", PROBLEMS_MAX + 7)));
        let finding = &outcome.findings[0];
        assert!(finding.message.ends_with(" (and 56 more)"), "{}", finding.message);
        assert!(finding.detail.ends_with("\n7 more problems") && finding.detail.lines().count() == PROBLEMS_MAX + 1);
    }

    /// A command that prints JSON: its ending counts, its standard error does not.
    #[test]
    fn commands() {
        let raw = |exit, stdout: &str, stderr: &str| Raw {
            exit: Some(exit),
            stdout: stdout.into(),
            stderr: stderr.into(),
            ..Raw::default()
        };
        let good = r#"{"faults": [{"severity": 40, "message": "m"}]}"#;
        let cases = [
            (raw(Exit::Code(0), good, "debug"), "error: m", false),
            (raw(Exit::Code(0), " \n", ""), "#monitor-no-out error: the plugin wrote nothing to standard output", true),
            (raw(Exit::Code(2), good, "boom"), "#monitor-status error: exit code 2: boom", true),
            (raw(Exit::Signal(11), "", ""), "#monitor-status error: signal 11 (SEGV)", true),
            (
                raw(Exit::Code(0), "oops", ""),
                "#json-error error: line 1 column 1: expected a JSON value, found `oops`",
                true,
            ),
            (Raw::default(), "#monitor-start error: the command could not be started", true),
        ];
        for (raw, expect, inconclusive) in cases {
            let outcome = judge(&raw);
            assert_eq!(shown(&outcome), [expect]);
            assert_eq!((outcome.inconclusive, outcome.exit), (inconclusive, raw.exit), "{expect}");
        }
        assert!(judge(&raw(Exit::Code(0), good, "debug")).output.ends_with("debug"));
        assert_eq!(judge(&raw(Exit::TimedOut, good, "")).findings[0].part.as_deref(), Some("monitor-timeout"));
    }

    proptest! {
        #[test]
        fn never_panics(stdout: Vec<u8>, item in "(\\{(\"(name|severity|message|value|timestamp|units)\": ?(1|-1e999|\"[a-z0-9\u{e4}:TZ.-]{0,9}\"|null|\\[\\]),?){0,4}\\}|[0-9]),?") {
            let likely = format!("{{\"faults\": [{item}], \"metrics\": [{item}]}}").into_bytes();
            for stdout in [stdout, likely] {
                let outcome = judge(&Raw { exit: Some(Exit::Code(0)), stdout, ..Raw::default() });
                prop_assert!(outcome.metrics.iter().all(|m| m.value.is_finite()));
                prop_assert!(outcome.findings.iter().all(|f| !f.message.is_empty() && !f.message.contains('\n')));
            }
        }

        #[test]
        fn any_time_is_read_or_refused(seconds: f64, text in "[0-9TZ:. +-]{0,30}") {
            let _ = read_time(&Value::Number(seconds));
            let _ = read_time(&Value::Text(text));
        }
    }
}
