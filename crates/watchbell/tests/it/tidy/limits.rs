//! `docs/limits.md` against the constants in the source: every limit has its row, and the row its value.

use super::{
    report,
    source::{read, sources},
};
use std::collections::BTreeMap;

/// Words that make a constant's name a limit's.
const LIMIT_WORDS: [&str; 3] = ["_MAX", "_MIN", "_WITHIN"];

/// Constants that look like limits, but bound no more than what people see of one line, or an algorithm's inside.
const NO_LIMITS: &[(&str, &str)] = &[
    ("SHOWN_CHARS_MAX", "how much of a wrong word a message quotes"),
    ("NAMES_SHOWN_MAX", "how many names a hint lists"),
    ("HINTS_MAX", "for how many unknown names a near one is looked for"),
    ("COMMON_START_MIN", "what counts as a near name"),
    ("WIDTH_MAX", "how wide a shown line is"),
    ("SOURCE_LINE_MAX", "how much of a source line is shown"),
    ("TIMES_MAX", "how many times an explanation lists"),
    ("SECRET_PART_MIN_CHARS", "what part of an address counts as a secret"),
    ("DRIFT_MAX_US", "what counts as a set clock"),
    ("CLOCK_BACK_MAX", "Debian cron's rule"),
    ("CLOCK_CHANGE_SECS_MAX", "Debian cron's rule"),
    ("ANSWERS_SHOWN_MAX", "how many answers a message lists"),
    ("EXCERPT_CHARS_MAX", "how much of an answer a message quotes"),
    ("QUOTE_MAX_CHARS", "how much of an answer a message quotes"),
    ("FIRST_RUN_WITHIN", "when a new check first runs"),
    ("CLOCK_CHANGE_MAX_US", "Debian cron's rule"),
    ("LISTED_MAX", "how many names a scenario's failure lists"),
    ("NEARBY_MAX", "how many events a scenario's failure shows"),
    ("CHECKS_VERIFIED_MAX", "how many checks a scenario verifies its invariants on"),
    ("SHOWN_MAX", "how many names a preview shows"),
    ("LAST_MIN", "how narrow a table's last column is"),
];

/// The value of a constant's expression, durations in milliseconds.
fn value(expression: &str) -> Option<f64> {
    let text = expression.trim().trim_end_matches(';').trim().replace('_', "");
    if let Some(rest) = text.strip_prefix("Duration::fromsecs(") {
        return Some(value(rest.strip_suffix(')')?)? * 1000.0);
    }
    if let Some(rest) = text.strip_prefix("Duration::frommillis(") {
        return value(rest.strip_suffix(')')?);
    }
    if let Some((a, b)) = text.split_once("<<") {
        return Some(value(a)? * 2_f64.powf(value(b)?));
    }
    if let Some((a, b)) = text.rsplit_once('*') {
        return Some(value(a)? * value(b)?);
    }
    text.parse().ok()
}

/// The value of a cell: `500`, `1 MiB`, `90 s`, `15 min`, `90 d`.
fn cell_value(cell: &str) -> Option<f64> {
    let cell = cell.trim().trim_matches('`');
    let at = cell.find(|c: char| c != ',' && c != '.' && !c.is_ascii_digit()).unwrap_or(cell.len());
    let number: f64 = cell[..at].replace(',', "").parse().ok()?;
    let factor = match cell[at..].split_whitespace().next().unwrap_or_default() {
        "" | "characters" | "bytes" | "ms" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "s" => 1000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        "years" => 1.0,
        _ => return None,
    };
    Some(number * factor)
}

/// `file.rs NAME` to its expression, for every constant and every field of a `Default` in code that runs.
fn constants() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in sources().into_iter().filter(|s| !s.is_test && s.path.contains("/src/")) {
        for line in source.code.lines() {
            if let Some((field, expression)) = line.trim().trim_end_matches(',').split_once(": ")
                && value(expression).is_some()
            {
                found.insert(format!("{} {field}", source.path), expression.to_owned());
            }
            let Some((head, expression)) = line.split_once(" = ") else { continue };
            let Some((before, name)) = head.rsplit_once("const ") else { continue };
            let Some((name, _)) = name.split_once(':') else { continue };
            let before = before.trim();
            if before.is_empty() || before.starts_with("pub") {
                found.insert(format!("{} {name}", source.path), expression.to_owned());
            }
        }
    }
    found
}

/// Rows of `docs/limits.md`: what, value, `path NAME`.
fn rows() -> Vec<(String, String, String)> {
    let text = read("docs/limits.md");
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|c| c.trim().to_owned()).collect() };
    let rows = text.lines().filter(|l| l.starts_with("| ") && l.contains(".rs "));
    rows.map(cells)
        .filter_map(|c| {
            let constant = c.iter().find(|c| c.contains(".rs "))?.trim_matches('`').to_owned();
            Some((c.get(1)?.clone(), c.get(2)?.clone(), constant))
        })
        .collect()
}

#[test]
fn limits_are_as_documented() {
    let constants = constants();
    let mut found = Vec::new();
    for (what, cell, constant) in rows() {
        let (path, name) = constant.split_once(' ').unwrap_or_default();
        let full = constants.iter().find(|(key, _)| key.ends_with(&format!("{path} {name}")));
        match full.map(|(_, expression)| (value(expression), expression)) {
            None => found.push(format!("{what}: there is no constant `{constant}`")),
            Some((code, expression)) if code.is_none() || code != cell_value(&cell) => {
                found.push(format!("{what}: documented as {cell}, `{name}` is{expression}"));
            }
            Some(_) => {}
        }
    }
    report("`docs/limits.md` does not say what the code does", found);
}

#[test]
fn every_limit_is_documented() {
    let rows = rows();
    let mut found = Vec::new();
    for key in constants().keys() {
        let (path, name) = key.split_once(' ').unwrap_or_default();
        let limit = LIMIT_WORDS.iter().any(|w| name.ends_with(w) || name.contains(&format!("{w}_")));
        let excused = NO_LIMITS.iter().any(|(known, _)| *known == name);
        let documented = rows.iter().any(|(_, _, c)| {
            c.split_once(' ').is_some_and(|(file, constant)| constant == name && path.ends_with(file))
        });
        if limit && !excused && !documented {
            found.push(key.clone());
        }
    }
    report("`docs/limits.md` has no row for these constants", found);
}

#[test]
fn values_are_read() {
    let code =
        [("1 << 20", 1_048_576.0), ("64 * 1024", 65_536.0), ("Duration::from_secs(90 * 86_400)", 7_776_000_000.0)];
    for (text, expect) in code {
        assert_eq!(value(text), Some(expect), "{text}");
    }
    for (text, expect) in [("1 MiB", 1_048_576.0), ("10,000", 10_000.0), ("90 d", 7_776_000_000.0), ("2 s", 2_000.0)] {
        assert_eq!(cell_value(text), Some(expect), "{text}");
    }
}
