//! What a query answered, as numbers that are judged: one row, each of its columns a metric.
//!
//! # Names
//! An only column is the check's value, as is what `command` prints; but where a threshold names it, it is a metric of that
//! name. Several columns are metrics by their names. Large and small letters are the same: databases change them.
//!
//! # Numbers
//! Whole numbers, decimals and floating point, and text or bytes that hold nothing else: CSV has only text, and some drivers
//! give decimals so. What is anything else is an error of its column, and the other columns are judged. NULL is one too,
//! unless the column's threshold says `?`: the age of the newest row of an empty table must not look like a good one.

use super::{
    rows::{is_time_text, key_text, plain_decimal},
    text::{cut, one_line},
};
use crate::model::{Answer, Cell, Finding, Metric, NAMELESS, Severity, Wanted};
use std::collections::BTreeSet;

/// A row that is measured has no more columns.
pub const MEASURED_COLUMNS_MAX: usize = 100;
/// So many rows are read: one, and one that shows that there are more.
pub const MEASURED_ROWS: usize = 2;
/// The name of a column that is measured is no longer, in bytes: it is part of a fault's name.
pub const COLUMN_NAME_MAX: usize = 100;
/// So much of a value is shown, in characters.
const VALUE_CHARS: usize = 40;
/// So many names of columns are shown.
const COLUMNS_SHOWN: usize = 10;
/// Parts of fault names that mean something else.
const RESERVED: &[&str] = &["config", "overdue", "flapping"];

/// What a row came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// The numbers.
    pub metrics: Vec<Metric>,
    /// What is no number, and what a threshold looks for in vain; an error for each column.
    pub findings: Vec<Finding>,
}

/// Measures an answer.
///
/// # Errors
/// There is not one row, or its columns can't be told apart: what is needed, and what came.
pub fn values_of(answer: &Answer, wanted: &Wanted) -> Result<Measured, String> {
    let row = match answer.rows.as_slice() {
        [row] if !answer.truncated => row,
        [] => {
            return Err(
                "the query answered no row: it must answer one, as `SELECT max(…)` or `SELECT count(*)` without \
                        `GROUP BY` always does"
                    .to_owned(),
            );
        }
        _ => {
            return Err(
                "the query answered more than one row: it must answer one, with a column for each number; let it \
                        aggregate, or end it with `LIMIT 1`"
                    .to_owned(),
            );
        }
    };
    let names = names(&answer.columns, wanted)?;
    let mut measured = Measured::default();
    for (at, name) in names.iter().enumerate() {
        let (part, column) = (if name.is_empty() { NAMELESS } else { name }, shown(&answer.columns[at]));
        match number(row.get(at).unwrap_or(&Cell::Null)) {
            Ok(Some(value)) => measured.metrics.push(Metric::new(name.clone(), value)),
            Ok(None) if wanted.get(part) == Some(&true) => {}
            Ok(None) => measured.add(
                part,
                format!(
                    "`{column}` is NULL: write `coalesce({column}, …)` for a number in its place, or `?` behind the name in \
                     the threshold where none is fine"
                ),
            ),
            Err(why) => measured.add(part, format!("`{column}` is {why}")),
        }
    }
    let there = |wanted: &str| names.iter().any(|name| name == wanted || (name.is_empty() && wanted == NAMELESS));
    for (name, _) in wanted.iter().filter(|(name, optional)| !**optional && !there(name)) {
        let columns = list(&answer.columns);
        measured
            .add(name, format!("the answer has no column `{}`, only {columns}: write `AS` and its name", shown(name)));
    }
    Ok(measured)
}

impl Measured {
    fn add(&mut self, part: &str, message: String) {
        self.findings.push(Finding::part(part, Severity::Error, message));
    }
}

/// The metrics' names, in the order of the columns.
fn names(columns: &[String], wanted: &Wanted) -> Result<Vec<String>, String> {
    if columns.is_empty() {
        return Err("the query answered a row without columns: let it answer a number".to_owned());
    }
    if columns.len() > MEASURED_COLUMNS_MAX {
        let n = columns.len();
        return Err(format!(
            "the query answered {n} columns, more than {MEASURED_COLUMNS_MAX}: make several checks of it"
        ));
    }
    let known = |column: &str| wanted.keys().find(|name| name.eq_ignore_ascii_case(column)).cloned();
    if let [column] = columns {
        return Ok(vec![known(column.trim()).filter(|name| name != NAMELESS).unwrap_or_default()]);
    }
    let mut there = BTreeSet::new();
    let mut names = Vec::with_capacity(columns.len());
    for column in columns.iter().map(|column| column.trim()) {
        if !there.insert(column.to_ascii_lowercase()) {
            return Err(format!("two columns are called `{}`: give each a name of its own with `AS`", shown(column)));
        }
        let reserved = RESERVED.contains(&column) || column.starts_with("monitor-") || column.starts_with("//");
        if column.is_empty() || column.len() > COLUMN_NAME_MAX || reserved || column.chars().any(char::is_control) {
            return Err(format!(
                "a metric can't be called `{}`: give the column another name with `AS`",
                shown(column)
            ));
        }
        names.push(known(column).unwrap_or_else(|| column.to_owned()));
    }
    Ok(names)
}

/// A value as a number; `None` for no value.
///
/// # Errors
/// What it is instead, and what to do.
fn number(cell: &Cell) -> Result<Option<f64>, String> {
    let value = match cell {
        Cell::Null => return Ok(None),
        #[allow(clippy::cast_precision_loss)] // as every metric
        Cell::Integer(number) => Some(*number as f64),
        Cell::Float(number) => Some(*number),
        Cell::Decimal(text) | Cell::Text(text) => of_text(text),
        Cell::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(of_text),
        Cell::Bool(_) | Cell::Time(_) | Cell::Civil(_) => None,
    };
    match value {
        Some(value) if value.is_finite() => Ok(Some(value)),
        _ => Err(instead(cell)),
    }
}

fn of_text(text: &str) -> Option<f64> {
    plain_decimal(text)?.parse().ok()
}

/// What came in place of a number.
fn instead(cell: &Cell) -> String {
    const AGE: &str = "let the query answer seconds, as `extract(epoch FROM now() - …)`";
    const TRUTH: &str = "let the query answer a number, as `CASE WHEN … THEN 1 ELSE 0 END`";
    let text = match cell {
        Cell::Bytes(bytes) => std::str::from_utf8(bytes).map(str::to_owned).ok(),
        other => key_text(other),
    };
    let it = text.as_deref().map_or_else(|| "bytes".to_owned(), |text| format!("`{}`", shown(text)));
    match (cell, text.as_deref().map(str::trim)) {
        (Cell::Time(_) | Cell::Civil(_), _) => format!("the time {it} and no number: {AGE}"),
        (Cell::Bool(_), _) => format!("the truth value {it} and no number: {TRUTH}"),
        (_, Some("")) => "an empty text and no number: let the query answer a number".to_owned(),
        (_, Some(text)) if is_time_text(text) => format!("the time {it} and no number: {AGE}"),
        (_, Some(text)) if ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
            format!("the truth value {it} and no number: {TRUTH}")
        }
        _ => format!("{it}, which is no finite number: let the query answer digits alone, without a unit"),
    }
}

fn shown(text: &str) -> String {
    one_line(&cut(text, VALUE_CHARS))
}

fn list(columns: &[String]) -> String {
    let names: Vec<String> = columns.iter().take(COLUMNS_SHOWN).map(|name| format!("`{}`", shown(name))).collect();
    let more = if columns.len() > COLUMNS_SHOWN { " and others" } else { "" };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn answer(columns: &[&str], rows: Vec<Vec<Cell>>) -> Answer {
        Answer { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows, truncated: false }
    }

    /// Names between blanks, `?` behind those that may be missing.
    fn wanted(names: &str) -> Wanted {
        names.split_whitespace().map(|name| (name.trim_end_matches('?').to_owned(), name.ends_with('?'))).collect()
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    /// Every type that sources have: numbers are numbers, and what is none is named with its column.
    #[test]
    fn types() {
        let civil = jiff::civil::date(2026, 3, 1).at(9, 30, 0, 0);
        let table: Vec<(Cell, Result<f64, &str>)> = vec![
            (Cell::Integer(-7), Ok(-7.0)),
            (Cell::Float(0.25), Ok(0.25)),
            (Cell::Decimal("12.50".into()), Ok(12.5)),
            (Cell::Decimal("1E+3".into()), Ok(1000.0)),
            (text(" 900.5 "), Ok(900.5)),
            (text("+3"), Ok(3.0)),
            (Cell::Bytes(b"42".to_vec()), Ok(42.0)),
            (Cell::Null, Err("`age` is NULL: write `coalesce(age, …)`")),
            (Cell::Float(f64::NAN), Err("`age` is `NaN`, which is no finite number")),
            (Cell::Float(f64::INFINITY), Err("`age` is `inf`, which is no finite number")),
            (Cell::Decimal("NaN".into()), Err("`age` is `NaN`, which is no finite number")),
            (Cell::Decimal("1e399".into()), Err("`age` is `1000")),
            (text("15 min"), Err("`age` is `15 min`, which is no finite number")),
            (text("00:15:00"), Err("`age` is `00:15:00`, which is no finite number")),
            (text(""), Err("`age` is an empty text")),
            (text("2026-03-01 09:30:00"), Err("`age` is the time `2026-03-01 09:30:00` and no number: let the query")),
            (text("True"), Err("`age` is the truth value `True`")),
            (Cell::Bool(true), Err("`age` is the truth value `true` and no number")),
            (Cell::Bytes(vec![0xff, 0]), Err("`age` is bytes, which is no finite number")),
            (Cell::Time(Timestamp::from_secs(1_767_600_000)), Err("`age` is the time `2026-01-05T08:00:00Z`")),
            (Cell::Civil(civil), Err("`age` is the time `2026-03-01T09:30:00`")),
        ];
        for (cell, expect) in table {
            let one = values_of(&answer(&["age"], vec![vec![cell.clone()]]), &Wanted::new()).unwrap();
            let two =
                values_of(&answer(&["age", "n"], vec![vec![cell.clone(), Cell::Integer(1)]]), &Wanted::new()).unwrap();
            match expect {
                Ok(value) => {
                    assert_eq!(one, Measured { metrics: vec![Metric::new("", value)], findings: vec![] }, "{cell:?}");
                    assert_eq!(two.metrics, [Metric::new("age", value), Metric::new("n", 1.0)], "{cell:?}");
                }
                Err(says) => {
                    for (measured, part, others) in [(&one, "value", 0), (&two, "age", 1)] {
                        let [finding] = measured.findings.as_slice() else { panic!("{cell:?}: {measured:?}") };
                        assert_eq!((finding.part.as_deref(), measured.metrics.len()), (Some(part), others), "{cell:?}");
                        assert!(finding.message.starts_with(says) && finding.escalates, "{says}: {}", finding.message);
                    }
                }
            }
        }
    }

    /// What is one row and what is not, and which columns can be told apart.
    #[test]
    fn shapes() {
        let one = || vec![Cell::Integer(1)];
        let many: Vec<String> = (0..=MEASURED_COLUMNS_MAX).map(|n| format!("c{n}")).collect();
        let many = Answer { rows: vec![vec![Cell::Integer(1); many.len()]], columns: many, truncated: false };
        let cut_off = Answer { truncated: true, ..answer(&["n"], vec![one()]) };
        let two = || vec![vec![Cell::Integer(1), Cell::Integer(2)]];
        let table = [
            (answer(&["n"], vec![]), "no row"),
            (answer(&["n"], vec![one(), one()]), "more than one row"),
            (cut_off, "more than one row"),
            (answer(&[], vec![vec![]]), "without columns"),
            (many, "101 columns, more than 100"),
            (answer(&["n", "N"], two()), "two columns are called `N`"),
            (answer(&["n", " "], two()), "can't be called ``"),
            (answer(&["n", "//other/check"], two()), "can't be called `//other/check`"),
            (answer(&["n", "monitor-query"], two()), "can't be called `monitor-query`"),
            (answer(&["n", "flapping"], two()), "can't be called `flapping`"),
        ];
        for (answer, says) in table {
            let why = values_of(&answer, &Wanted::new()).unwrap_err();
            assert!(why.contains(says), "{says}: {why}");
        }
    }

    /// Thresholds name columns, however their letters came; one that names none is no silent one, nor is NULL.
    #[test]
    fn names_of_thresholds() {
        let of = |columns: &str, names: &str| {
            let columns: Vec<&str> = columns.split(' ').collect();
            let row = columns.iter().map(|name| if *name == "gone" { Cell::Null } else { Cell::Integer(5) }).collect();
            let measured = values_of(&answer(&columns, vec![row]), &wanted(names)).unwrap();
            let metrics: Vec<&str> = measured.metrics.iter().map(|metric| metric.name.as_str()).collect();
            let findings: Vec<&str> = measured.findings.iter().filter_map(|f| f.part.as_deref()).collect();
            format!("{metrics:?} {findings:?}")
        };
        let table: &[(&str, &str, &str)] = &[
            ("n", "", r#"[""] []"#),
            ("n", "value", r#"[""] []"#),
            ("VALUE", "value", r#"[""] []"#),
            ("N", "n", r#"["n"] []"#),
            ("n", "lag", r#"[""] ["lag"]"#),
            ("n", "lag?", r#"[""] []"#),
            ("LAG n", "lag", r#"["lag", "n"] []"#),
            ("lag n", "value", r#"["lag", "n"] ["value"]"#),
            ("gone", "value", r#"[] ["value"]"#),
            ("gone", "value?", "[] []"),
            ("gone n", "gone?", r#"["n"] []"#),
            ("gone n", "", r#"["n"] ["gone"]"#),
        ];
        for (columns, names, expect) in table {
            assert_eq!(of(columns, names), *expect, "{columns:?} {names:?}");
        }
    }
}
