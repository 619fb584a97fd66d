//! What a query answered, as rows that are kept: a key as text and a time (S2.4).
//!
//! # Columns
//! The key is in the column `dwmon_unique_key`, else `key`; the time in `dwmon_timestamp`, else `time` (large and small
//! letters are the same). Where one of the two has no such name, it is the first of the other columns: so without any of
//! these names the first column is the key and the second the time. Further columns are not read.
//!
//! # Keys
//! One value is one text, whatever the source's type and driver were:
//!
//! | value | text |
//! |---|---|
//! | text | as it is |
//! | whole number | decimal digits: `42`, `-7` |
//! | decimal | without exponent and needless zeros: `1.50` and `15e-1` are `1.5`, `1.0` is `1` |
//! | floating point | the shortest digits that read back the same, without exponent: `0.1`, `1`; `NaN`, `inf`, `-inf` |
//! | truth | `true`, `false` (MySQL and SQLite have none: there they are the numbers `1` and `0`) |
//! | bytes | hexadecimal in small letters: `00ff` |
//! | point in time | RFC 3339 in UTC: `2026-03-01T09:30:00.5Z` |
//! | date and time without zone | the same without `Z`: `2026-03-01T09:30:00` |
//!
//! # Times
//! Seconds since 1970 as a whole number, decimal, floating point or text of these; SQL timestamps; ISO 8601 text, the day
//! and the time separated by `T` or a blank, with `Z`, `UTC`, `GMT`, `+01`, `+0100` or `+01:00` or none, down to the day
//! alone. Without a zone it is the check's; in the hour that a clock change leaves out, the time that the clock before the change
//! would have shown (02:30 is 03:30), and in the one that comes twice, the first. Fractions are cut to microseconds.
//!
//! A row with no key, no time, or a time that is none, not between 1980 and 2200, or more than a day ahead of now, is left
//! out; each kind of it is one problem, one line, with a few examples. Numbers that would fit as milliseconds, microseconds
//! or nanoseconds get a hint and not a guess: what is guessed wrong is counted wrong.

use super::text::{cut, one_line};
use crate::model::{Answer, Cell, Row, Timestamp};
use jiff::tz::TimeZone;
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// Names of the key's column, the first that is there counts.
pub const KEY_COLUMNS: [&str; 2] = ["dwmon_unique_key", "key"];
/// Names of the time's column, the first that is there counts.
pub const TIME_COLUMNS: [&str; 2] = ["dwmon_timestamp", "time"];
/// Times before this are none: 1980.
pub const EARLIEST: Timestamp = Timestamp::from_secs(315_532_800);
/// Nor are those from this on: 2200.
pub const LATEST: Timestamp = Timestamp::from_secs(7_258_118_400);
/// A time may be so far ahead of now: clocks differ, and so do people's ideas of midnight.
pub const AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// So many examples are shown of a kind of problem.
const EXAMPLES: usize = 3;
/// So much of an example is shown, in characters.
const EXAMPLE_CHARS: usize = 40;
/// So many names of columns are shown.
const COLUMNS_SHOWN: usize = 10;
/// A decimal of more characters, or with a larger exponent, stays as it is and is no time.
const DECIMAL_CHARS_MAX: usize = 400;

/// Rows as they are kept, and what was left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RowsFound {
    /// The rows in the answer's order; one key may come more than once.
    pub rows: Vec<Row>,
    /// What is wrong with the others, one line each.
    pub problems: Vec<String>,
}

/// Reads an answer. `zone` is that of times without one; rows beyond [`AHEAD_MAX`] after `now` are left out.
///
/// # Errors
/// There are no two columns: what is needed, and which there are.
pub fn rows_of(answer: &Answer, zone: &TimeZone, now: Timestamp) -> Result<RowsFound, String> {
    let (key_at, time_at) = columns(&answer.columns)?;
    let latest = now + AHEAD_MAX;
    let mut rows = Vec::with_capacity(answer.rows.len());
    let mut left_out: BTreeMap<Fault, LeftOut> = BTreeMap::new();
    for row in &answer.rows {
        let cell = |at: usize| row.get(at).unwrap_or(&Cell::Null);
        let time = match time_of(cell(time_at), zone) {
            Ok(time) if time > latest => Err(Fault::Ahead),
            time => time,
        };
        match (key_text(cell(key_at)), time) {
            (Some(key), Ok(time)) => rows.push(Row { key, time }),
            (None, _) => left_out.entry(Fault::NoKey).or_default().add(&Cell::Null),
            (_, Err(fault)) => left_out.entry(fault).or_default().add(cell(time_at)),
        }
    }
    let name = |at: usize| one_line(&cut(&answer.columns[at], EXAMPLE_CHARS));
    let (key, time) = (name(key_at), name(time_at));
    let mut problems: Vec<String> = left_out.iter().map(|(fault, left)| fault.describe(left, &key, &time)).collect();
    if answer.truncated {
        problems.push(format!(
            "only the first {} rows were read and there are more: let the query ask for newer ones only, newest first, or \
             raise `rows_max`",
            answer.rows.len()
        ));
    }
    Ok(RowsFound { rows, problems })
}

/// The places of key and time.
fn columns(names: &[String]) -> Result<(usize, usize), String> {
    let named = |wanted: &[&str]| {
        wanted.iter().find_map(|wanted| names.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted)))
    };
    let other = |than: Option<usize>| (0..names.len()).find(|at| Some(*at) != than);
    let (key, time) = (named(&KEY_COLUMNS), named(&TIME_COLUMNS));
    let key = key.or_else(|| other(time));
    let time = time.or_else(|| other(key));
    if let (Some(key), Some(time)) = (key, time) {
        return Ok((key, time));
    }
    let mut shown: Vec<String> =
        names.iter().take(COLUMNS_SHOWN).map(|n| format!("`{}`", one_line(&cut(n, EXAMPLE_CHARS)))).collect();
    if names.is_empty() {
        shown.push("none".to_owned());
    }
    Err(format!(
        "the query must answer two columns, a key and a time, and there is {}: name them `dwmon_unique_key` and \
         `dwmon_timestamp`, or `key` and `time`, or select the key first and the time second",
        shown.join(", ")
    ))
}

/// Why a row is left out; in the order in which they are told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    NoKey,
    NoTime,
    NotATime,
    Millis,
    Micros,
    Nanos,
    DateAsNumber,
    Early,
    Late,
    Ahead,
}

/// How many rows, and what some of them held.
#[derive(Default)]
struct LeftOut {
    rows: u64,
    examples: Vec<String>,
}

impl LeftOut {
    fn add(&mut self, cell: &Cell) {
        self.rows += 1;
        if self.examples.len() >= EXAMPLES {
            return;
        }
        let Some(text) = key_text(cell) else { return };
        let text = format!("`{}`", one_line(&cut(&text, EXAMPLE_CHARS)));
        if !self.examples.contains(&text) {
            self.examples.push(text);
        }
    }
}

impl Fault {
    fn describe(self, left: &LeftOut, key: &str, time: &str) -> String {
        let mut text = match left.rows {
            1 => "1 row was left out: ".to_owned(),
            n => format!("{n} rows were left out: "),
        };
        let divide = |unit: &str, by: &str| format!("`{time}` looks like {unit}; divide it by {by} in the query");
        let why = match self {
            Fault::NoKey => format!("`{key}` is NULL; give each row a key, or leave such rows out in the query"),
            Fault::NoTime => format!("`{time}` is NULL; give each row a time, or leave such rows out in the query"),
            Fault::NotATime => {
                format!("`{time}` is no time; it must be seconds since 1970, or like `2026-03-01T09:30:00Z`")
            }
            Fault::Millis => divide("milliseconds", "1000"),
            Fault::Micros => divide("microseconds", "1000000"),
            Fault::Nanos => divide("nanoseconds", "1000000000"),
            Fault::DateAsNumber => {
                format!("`{time}` looks like a date written as a number; turn it into a timestamp in the query")
            }
            Fault::Early => {
                format!("`{time}` is before 1980; it must be seconds since 1970, or like `2026-03-01T09:30:00Z`")
            }
            Fault::Late => {
                format!("`{time}` is after 2200; it must be seconds since 1970, or like `2026-03-01T09:30:00Z`")
            }
            Fault::Ahead => format!(
                "`{time}` is more than a day in the future; is it in another zone than the check's `time_zone`, or the \
                 source's clock wrong?"
            ),
        };
        text.push_str(&why);
        if !left.examples.is_empty() {
            let _ = write!(text, " (for example {})", left.examples.join(", "));
        }
        text
    }
}

/// A value as the text of a key, see the table above; `None` for no value.
pub fn key_text(cell: &Cell) -> Option<String> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(truth) => truth.to_string(),
        Cell::Integer(number) => number.to_string(),
        Cell::Float(number) if *number == 0.0 => "0".to_owned(),
        Cell::Float(number) => number.to_string(),
        Cell::Decimal(text) => plain_decimal(text).unwrap_or_else(|| text.clone()),
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) => bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Cell::Time(at) => at.to_string(),
        Cell::Civil(at) => at.to_string(),
    })
}

fn time_of(cell: &Cell, zone: &TimeZone) -> Result<Timestamp, Fault> {
    match cell {
        Cell::Null => Err(Fault::NoTime),
        Cell::Bool(_) => Err(Fault::NotATime),
        Cell::Integer(seconds) => epoch(i128::from(*seconds) * 1_000_000),
        Cell::Float(seconds) if seconds.is_finite() => epoch_of_float(*seconds),
        Cell::Float(_) => Err(Fault::NotATime),
        Cell::Decimal(text) | Cell::Text(text) => time_of_text(text.trim(), zone),
        // Some drivers give text as bytes.
        Cell::Bytes(bytes) => time_of_text(std::str::from_utf8(bytes).map_err(|_| Fault::NotATime)?.trim(), zone),
        Cell::Time(at) => plausible(*at),
        Cell::Civil(at) => plausible(local(*at, zone)?),
    }
}

fn time_of_text(text: &str, zone: &TimeZone) -> Result<Timestamp, Fault> {
    if let Some(number) = plain_decimal(text) {
        return epoch(micros(&number).ok_or(Fault::Late)?);
    }
    let (civil, offset_secs) = Iso::read(text).ok_or(Fault::NotATime)?;
    let at = match offset_secs {
        Some(offset_secs) => {
            let utc = civil.to_zoned(TimeZone::UTC).map_err(|_| beyond(civil))?.timestamp();
            let at = Timestamp::from_jiff(utc);
            Timestamp::from_micros(at.as_micros().saturating_sub(i64::from(offset_secs) * 1_000_000))
        }
        None => local(civil, zone)?,
    };
    plausible(at)
}

fn local(civil: jiff::civil::DateTime, zone: &TimeZone) -> Result<Timestamp, Fault> {
    let at = zone.to_ambiguous_zoned(civil).compatible().map_err(|_| beyond(civil))?;
    Ok(Timestamp::from_jiff(at.timestamp()))
}

/// What the calendar can't place is at one of its ends.
fn beyond(civil: jiff::civil::DateTime) -> Fault {
    if civil.year() < 1980 { Fault::Early } else { Fault::Late }
}

fn plausible(at: Timestamp) -> Result<Timestamp, Fault> {
    match at {
        at if at < EARLIEST => Err(Fault::Early),
        at if at >= LATEST => Err(Fault::Late),
        at => Ok(at),
    }
}

/// A floating point number has no more than microseconds to say of our times.
#[allow(clippy::cast_possible_truncation)] // finite, and the cast saturates
fn epoch_of_float(seconds: f64) -> Result<Timestamp, Fault> {
    epoch((seconds * 1e6).round() as i128)
}

/// Microseconds that came as a number of seconds.
fn epoch(micros: i128) -> Result<Timestamp, Fault> {
    let fits = |micros: i128| {
        let at = Timestamp::from_micros(i64::try_from(micros).ok()?);
        plausible(at).ok()
    };
    if let Some(at) = fits(micros) {
        return Ok(at);
    }
    for (by, fault) in [(1_000, Fault::Millis), (1_000_000, Fault::Micros), (1_000_000_000, Fault::Nanos)] {
        if fits(micros / by).is_some() {
            return Err(fault);
        }
    }
    match micros / 1_000_000 {
        number if is_date(number) || is_date(number / 10_000) || is_date(number / 1_000_000) => {
            Err(Fault::DateAsNumber)
        }
        number if number < 0 || micros < i128::from(EARLIEST.as_micros()) => Err(Fault::Early),
        _ => Err(Fault::Late),
    }
}

/// `20260301`: a day, as some warehouses write it.
fn is_date(number: i128) -> bool {
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    (1980..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Whether a text is a time as databases write it, and not a number.
pub(super) fn is_time_text(text: &str) -> bool {
    plain_decimal(text).is_none() && Iso::read(text.trim()).is_some()
}

/// A number in digits, without sign `+`, exponent and needless zeros. `None`: it is no number, or one beyond all limits.
pub(super) fn plain_decimal(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > DECIMAL_CHARS_MAX {
        return None;
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], rest[at + 1..].parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = String::with_capacity(mantissa.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    let limit = i32::try_from(DECIMAL_CHARS_MAX).ok()?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || !(-limit..=limit).contains(&exponent) {
        return None;
    }
    // Where the point stands, counted from the first digit.
    let mut point = i32::try_from(whole.len()).ok()? + exponent;
    while point < 0 {
        digits.insert(0, '0');
        point += 1;
    }
    let point = usize::try_from(point).ok()?;
    while digits.len() < point {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(point);
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let mut plain = String::with_capacity(digits.len() + 2);
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        plain.push('-');
    }
    plain.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        plain.push('.');
        plain.push_str(fraction);
    }
    Some(plain)
}

/// Seconds as [`plain_decimal`] writes them, as microseconds; further digits are cut. `None`: too many.
fn micros(plain: &str) -> Option<i128> {
    let (negative, digits) = plain.strip_prefix('-').map_or((false, plain), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: i128 = if whole.len() > 24 { return None } else { whole.parse().ok()? };
    let fraction: i128 = format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().ok()?;
    let micros = whole * 1_000_000 + fraction;
    Some(if negative { -micros } else { micros })
}

/// ISO 8601 text being read, and the ways in which databases write it.
struct Iso<'a>(&'a [u8]);

impl Iso<'_> {
    /// Date and time, and seconds ahead of UTC where it says so.
    fn read(text: &str) -> Option<(jiff::civil::DateTime, Option<i32>)> {
        let mut left = Iso(text.as_bytes());
        let year = left.digits(4)?;
        let dashed = left.skip(b"-");
        let month = left.digits(2)?;
        if dashed && !left.skip(b"-") {
            return None;
        }
        let day = left.digits(2)?;
        let date = small_date(year, month, day)?;
        if left.0.is_empty() {
            return dashed.then(|| (date.at(0, 0, 0, 0), None));
        }
        if !left.skip(b"Tt ") {
            return None;
        }
        let time = left.time()?;
        let offset_secs = left.offset()?;
        left.0.is_empty().then(|| (date.to_datetime(time), offset_secs))
    }

    fn time(&mut self) -> Option<jiff::civil::Time> {
        let hour = self.digits(2)?;
        let colons = self.skip(b":");
        let more = |left: &Iso<'_>| left.0.first().is_some_and(u8::is_ascii_digit);
        let minute = if colons || more(self) { self.digits(2)? } else { 0 };
        let seconds = if colons { self.skip(b":") } else { more(self) };
        let second = if seconds { self.digits(2)? } else { 0 };
        let mut nanos = 0;
        if seconds && self.skip(b".,") {
            let len = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, rest) = self.0.split_at(len);
            let digit = |at: usize| i32::from(fraction.get(at).map_or(0, |b| b - b'0'));
            nanos = (0..9).fold(0, |sum, at| sum * 10 + digit(at));
            self.0 = rest;
            if len == 0 {
                return None;
            }
        }
        // A leap second is the one before it, as in POSIX time.
        let small = |number: i32| i8::try_from(number).ok();
        jiff::civil::Time::new(small(hour)?, small(minute)?, small(second.min(59))?, nanos)
            .ok()
            .filter(|_| second <= 60)
    }

    /// `Some(None)`: it says none.
    fn offset(&mut self) -> Option<Option<i32>> {
        while self.skip(b" ") {}
        if self.0.is_empty() {
            return Some(None);
        }
        if [&b"z"[..], b"utc", b"gmt"].iter().any(|word| self.0.eq_ignore_ascii_case(word)) {
            self.0 = &[];
            return Some(Some(0));
        }
        let sign = if self.0[0] == b'-' { -1 } else { 1 };
        if !self.skip(b"+-") {
            return None;
        }
        let hours = self.digits(2)?;
        let minutes = if self.skip(b":") || !self.0.is_empty() { self.digits(2)? } else { 0 };
        // PostgreSQL writes seconds too, for times before there were zones.
        let seconds = if self.skip(b":") { self.digits(2)? } else { 0 };
        (hours <= 18 && minutes < 60 && seconds < 60).then_some(Some(sign * (hours * 3600 + minutes * 60 + seconds)))
    }

    /// A number of so many digits.
    fn digits(&mut self, len: usize) -> Option<i32> {
        let digits = self.0.get(..len).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        self.0 = &self.0[len..];
        Some(digits.iter().fold(0, |sum, b| sum * 10 + i32::from(b - b'0')))
    }

    /// Skips one byte if it is one of these.
    fn skip(&mut self, any: &[u8]) -> bool {
        let is = self.0.first().is_some_and(|b| any.contains(b));
        if is {
            self.0 = &self.0[1..];
        }
        is
    }
}

fn small_date(year: i32, month: i32, day: i32) -> Option<jiff::civil::Date> {
    let (year, month, day) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    jiff::civil::Date::new(year, month, day).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn answer(columns: &[&str], rows: Vec<Vec<Cell>>) -> Answer {
        Answer { columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows, truncated: false }
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn decimal(text: &str) -> Cell {
        Cell::Decimal(text.to_owned())
    }

    fn civil(text: &str) -> Cell {
        Cell::Civil(text.parse().unwrap())
    }

    /// S2.4: key and time by their names, in any letters and order, else the first two columns.
    #[test]
    fn columns_by_name_or_place() {
        /// Columns, and the places of key and time.
        type Case = (&'static [&'static str], Result<(usize, usize), &'static str>);
        let table: &[Case] = &[
            (&["dwmon_unique_key", "dwmon_timestamp"], Ok((0, 1))),
            (&["DWMON_TIMESTAMP", "x", "DWMON_Unique_Key"], Ok((2, 0))),
            (&["time", "key"], Ok((1, 0))),
            (&["key", "time", "dwmon_unique_key", "dwmon_timestamp"], Ok((2, 3))),
            (&["id", "created_at", "more"], Ok((0, 1))),
            (&["time", "id"], Ok((1, 0))),
            (&["created_at", "key"], Ok((1, 0))),
            (&["key", "key"], Ok((0, 1))),
            (&["", ""], Ok((0, 1))),
            (&["id"], Err("there is `id`: name them")),
            (&["key"], Err("there is `key`: name them")),
            (&["time"], Err("there is `time`: name them")),
            (&[], Err("there is none: name them")),
        ];
        for (names, expect) in table {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            match (columns(&names), expect) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, *wanted, "{names:?}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{names:?}: {got}"),
                (got, _) => panic!("{names:?}: {got:?}"),
            }
        }
    }

    /// S2.4: the same value gives the same key, whatever its type was.
    #[test]
    fn keys_are_text_in_one_way() {
        let table: Vec<(Cell, &str)> = vec![
            (text(" as it is\n"), " as it is\n"),
            (text("1.0"), "1.0"),
            (text(""), ""),
            (Cell::Integer(i64::MIN), "-9223372036854775808"),
            (Cell::Integer(1), "1"),
            (Cell::Float(1.0), "1"),
            (decimal("1.00"), "1"),
            (decimal("+01."), "1"),
            (decimal("1e0"), "1"),
            (decimal("0.10"), "0.1"),
            (decimal(".1"), "0.1"),
            (decimal("1E-1"), "0.1"),
            (Cell::Float(0.1), "0.1"),
            (Cell::Float(-0.0), "0"),
            (decimal("-0.0"), "0"),
            (decimal("-0.50"), "-0.5"),
            (Cell::Float(1e21), "1000000000000000000000"),
            (decimal("1e21"), "1000000000000000000000"),
            (decimal("123e-5"), "0.00123"),
            (decimal("100"), "100"),
            (decimal("NaN"), "NaN"),
            (Cell::Float(f64::NAN), "NaN"),
            (Cell::Float(f64::NEG_INFINITY), "-inf"),
            (decimal("1e999999999"), "1e999999999"),
            (Cell::Bool(true), "true"),
            (Cell::Bytes(vec![0, 0xff, 0x10]), "00ff10"),
            (Cell::Time("2026-03-01T10:30:00.50+01:00".parse().unwrap()), "2026-03-01T09:30:00.5Z"),
            (civil("2026-03-01T09:30:00"), "2026-03-01T09:30:00"),
        ];
        for (cell, expect) in table {
            assert_eq!(key_text(&cell).as_deref(), Some(expect), "{cell:?}");
        }
        assert_eq!(key_text(&Cell::Null), None);
    }

    /// S2.4: epoch integers or decimals, numeric text, ISO 8601 text, SQL timestamps; in the check's zone where they say none.
    #[test]
    fn times_in_every_form() {
        let table: Vec<(Cell, &str)> = vec![
            (Cell::Integer(1_772_357_400), "2026-03-01T09:30:00Z"),
            (Cell::Float(1_772_357_400.25), "2026-03-01T09:30:00.25Z"),
            (decimal("1772357400.1234567"), "2026-03-01T09:30:00.123456Z"),
            (decimal("1.7723574E+9"), "2026-03-01T09:30:00Z"),
            (text(" 1772357400 "), "2026-03-01T09:30:00Z"),
            (text("1772357400.5"), "2026-03-01T09:30:00.5Z"),
            (Cell::Bytes(b"1772357400".to_vec()), "2026-03-01T09:30:00Z"),
            (Cell::Bytes(b"2026-03-01 10:30:00".to_vec()), "2026-03-01T09:30:00Z"),
            (text("2026-03-01T09:30:00Z"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01t09:30:00z"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01 09:30:00 UTC"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01 10:30:00+01"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01 10:30:00 +0100"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01 04:00:00.123-05:30"), "2026-03-01T09:30:00.123Z"),
            (text("2026-03-01 10:30:00.1234567 +01:00"), "2026-03-01T09:30:00.123456Z"),
            (text("2026-03-01T09:30:00,5Z"), "2026-03-01T09:30:00.5Z"),
            (text("20260301T093000Z"), "2026-03-01T09:30:00Z"),
            (text("20260301T0930Z"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01 10:30"), "2026-03-01T09:30:00Z"),
            (text("2026-03-01T10"), "2026-03-01T09:00:00Z"),
            (text("2026-03-01T10+01"), "2026-03-01T09:00:00Z"),
            (text("2026-03-01"), "2026-02-28T23:00:00Z"),
            (text("2016-12-31T23:59:60Z"), "2016-12-31T23:59:59Z"),
            (civil("2026-07-01T12:00:00"), "2026-07-01T10:00:00Z"),
            // The hour that is left out, and the one that comes twice.
            (civil("2026-03-29T02:30:00"), "2026-03-29T01:30:00Z"),
            (text("2026-10-25 02:30:00"), "2026-10-25T00:30:00Z"),
            (text("2026-10-25 02:30:00+01"), "2026-10-25T01:30:00Z"),
            (Cell::Time("2026-03-01T09:30:00Z".parse().unwrap()), "2026-03-01T09:30:00Z"),
            // Its edges.
            (Cell::Integer(315_532_800), "1980-01-01T00:00:00Z"),
            (text("2026-11-22T12:00:00Z"), "2026-11-22T12:00:00Z"),
        ];
        for (cell, expect) in table {
            let found = rows_of(&answer(&["k", "t"], vec![vec![text("a"), cell.clone()]]), &zone(), now()).unwrap();
            let got: Vec<String> = found.rows.iter().map(|row| row.time.to_string()).collect();
            assert_eq!(got, [expect], "{cell:?}: {found:?}");
            assert!(found.problems.is_empty(), "{cell:?}: {found:?}");
        }
    }

    /// S2.4: what is no time, or no likely one, is said and not guessed.
    #[test]
    fn times_that_are_none() {
        let table: Vec<(Cell, &str)> = vec![
            (Cell::Null, "`t` is NULL"),
            (Cell::Bool(true), "`t` is no time"),
            (text(""), "`t` is no time"),
            (
                text("yesterday"),
                "is no time; it must be seconds since 1970, or like `2026-03-01T09:30:00Z` (for example `yesterday`)",
            ),
            (text("03/01/2026"), "is no time"),
            (text("2026-3-1"), "is no time"),
            (text("2026-02-30"), "is no time"),
            (text("2026-03-01T25:00:00Z"), "is no time"),
            (text("2026-03-01T09:30:61Z"), "is no time"),
            (text("2026-03-01T09:30:00+99"), "is no time"),
            (text("2026-03-01T09:30:00 CET"), "is no time"),
            (text("2026-03-01T09:30:00Z and more"), "is no time"),
            (text("2026-03-01T09:30:00."), "is no time"),
            (text("2026-03-01T"), "is no time"),
            (text("202603"), "is before 1980"),
            (text("0000-00-00 00:00:00"), "is no time"),
            (text("２０２６-03-01"), "is no time"),
            (Cell::Bytes(vec![0xff, 0xfe]), "is no time"),
            (Cell::Float(f64::NAN), "is no time"),
            (Cell::Float(1e300), "is after 2200"),
            (Cell::Float(-1e300), "is before 1980"),
            (Cell::Integer(0), "is before 1980"),
            (Cell::Integer(-5), "is before 1980"),
            (Cell::Integer(i64::MAX), "is after 2200"),
            (Cell::Integer(i64::MIN), "is before 1980"),
            (text("999999999999999999999999999999999999999"), "is after 2200"),
            (Cell::Integer(1_772_357_400_000), "looks like milliseconds; divide it by 1000 in the query"),
            (decimal("1772357400000.5"), "looks like milliseconds"),
            (Cell::Float(1.772_357_4e12), "looks like milliseconds"),
            (text("1772357400000000"), "looks like microseconds"),
            (Cell::Integer(1_772_357_400_000_000_000), "looks like nanoseconds"),
            (Cell::Integer(20_260_301), "a date written as a number"),
            (text("20260301093000"), "a date written as a number"),
            (Cell::Integer(202_603_010_930), "a date written as a number"),
            (Cell::Time(Timestamp::ZERO), "is before 1980"),
            (Cell::Time(Timestamp::from_micros(i64::MAX)), "is after 2200"),
            (civil("-009999-01-01T00:00:00"), "is before 1980"),
            (civil("9999-12-31T23:59:59"), "is after 2200"),
            (text("9999-12-31T23:59:59Z"), "is after 2200"),
            (text("9999-12-31 23:59:59-18:00"), "is after 2200"),
            (Cell::Time("2026-11-22T12:00:00.000001Z".parse().unwrap()), "more than a day in the future"),
            (civil("2100-01-01T00:00:00"), "more than a day in the future"),
        ];
        for (cell, expect) in table {
            let found = rows_of(&answer(&["k", "t"], vec![vec![text("a"), cell.clone()]]), &zone(), now()).unwrap();
            assert!(found.rows.is_empty(), "{cell:?}: {found:?}");
            assert!(found.problems.len() == 1 && found.problems[0].contains(expect), "{cell:?}: {found:?}");
        }
    }

    /// S2.4: rows are read one by one; what is wrong with some is one line a kind and keeps none of the others out.
    #[test]
    fn mixed_rows() {
        let time = Cell::Integer(1_772_357_400);
        let mut rows = vec![
            vec![Cell::Integer(1), time.clone()],
            vec![text("b"), text("2026-03-01T09:30:00Z")],
            vec![Cell::Null, time.clone()],
            vec![Cell::Null, Cell::Null],
            vec![text("c"), Cell::Null],
            vec![text("short")],
            vec![],
            vec![Cell::Integer(1), decimal("1772357401.5")],
        ];
        rows.extend((0..50).map(|n| vec![Cell::Integer(n), text(&format!("bad\n{n}{}", "x".repeat(100)))]));
        let found = rows_of(&Answer { truncated: true, ..answer(&["k", "t"], rows) }, &zone(), now()).unwrap();
        let got: Vec<String> = found.rows.iter().map(|row| format!("{} {}", row.key, row.time)).collect();
        assert_eq!(got, ["1 2026-03-01T09:30:00Z", "b 2026-03-01T09:30:00Z", "1 2026-03-01T09:30:01.5Z"]);
        let starts = [
            "3 rows were left out: `k` is NULL",
            "2 rows were left out: `t` is NULL",
            "50 rows were left out: `t` is no time",
        ];
        for (problem, start) in found.problems.iter().zip(starts) {
            assert!(problem.starts_with(start) && !problem.contains('\n') && problem.len() < 400, "{problem}");
        }
        assert!(found.problems[3].starts_with("only the first 58 rows were read"), "{:?}", found.problems);
        assert_eq!(found.problems.len(), 4);
        let none = rows_of(&answer(&["k", "t"], vec![]), &zone(), now()).unwrap();
        assert_eq!(none, RowsFound::default());
    }

    fn cells() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<bool>().prop_map(Cell::Bool),
            any::<i64>().prop_map(Cell::Integer),
            any::<f64>().prop_map(Cell::Float),
            "[-+0-9.eE]{0,12}".prop_map(Cell::Decimal),
            "[-+0-9.eE:TZ ]{0,30}".prop_map(Cell::Text),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{0,12})?)? ?(Z|[-+][0-9]{2}(:?[0-9]{2})?)?"
                .prop_map(Cell::Text),
            ".{0,12}".prop_map(Cell::Text),
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(Cell::Bytes),
            any::<i64>().prop_map(|n| Cell::Time(Timestamp::from_micros(n))),
            (-9999i16..=9999, 0i8..24).prop_map(|(y, h)| Cell::Civil(jiff::civil::date(y, 1, 1).at(h, 0, 0, 0))),
        ]
    }

    proptest! {
        /// Whatever comes: no panic, times within their limits, each row either found or told.
        #[test]
        fn any_answer_is_read(rows in proptest::collection::vec(proptest::collection::vec(cells(), 0..3), 0..20)) {
            let found = rows_of(&answer(&["k", "t"], rows.clone()), &zone(), now()).unwrap();
            let told: u64 = found.problems.iter().map(|p| p.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
            prop_assert_eq!(found.rows.len() as u64 + told, rows.len() as u64);
            prop_assert!(found.rows.iter().all(|r| r.time >= EARLIEST && r.time <= now() + AHEAD_MAX));
        }

        /// A whole number, a decimal with zeros and a floating point number of one value have one key.
        #[test]
        fn numbers_of_one_value_have_one_key(n in -1_000_000_000i64..1_000_000_000, zeros in 0usize..5) {
            let key = key_text(&Cell::Integer(n));
            let with_zeros = format!("{n}.{}", "0".repeat(zeros));
            prop_assert_eq!(&key, &key_text(&decimal(&with_zeros)));
            #[allow(clippy::cast_precision_loss)]
            let float = Cell::Float(n as f64);
            prop_assert_eq!(&key, &key_text(&float));
        }
    }
}
