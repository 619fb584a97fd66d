//! Rows that a web server or a command wrote, as an answer (S2.4).
//!
//! - **JSON**: an array of rows, or rows one after the other (one a line). A row is an object, whose keys are the columns,
//!   or an array, whose first value is the key and whose second the time. With a jq filter its outputs are read like this,
//!   and of several documents each goes through the filter; objects that a filter made have their keys in alphabetical
//!   order, so they want the names `key` and `time`. Whole numbers stay exact, others are decimals as written (after a
//!   filter: as jq writes them); objects and arrays within a row are text.
//! - **CSV** (RFC 4180): the first line names the columns; it also says what stands between fields, the first of `,`, `;`,
//!   tab and `|` in it. An empty field is no value, all others are text.
//! - No output at all is no rows, but for CSV, which has its line of names even then.
//!
//! Columns beyond the first two are kept only where the reader of rows would look for their names, or where the row is
//! measured: a row is small whatever a source writes. Rows beyond the limit are not read. What is wrong is said with line and column.

use super::Ask;
use crate::shared::{
    jq::{Filter, Trouble},
    json::{bare, problem, without_mark},
    net::excerpt,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};
use watchbell_core::{
    config::RowFormat,
    model::{Answer, Cell},
    wire::{
        rows::{KEY_COLUMNS, TIME_COLUMNS},
        values::MEASURED_COLUMNS_MAX,
    },
};

/// Longer answers are read on a thread of their own: others wait for this one.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// So many columns are kept.
const COLUMNS_MAX: usize = 8;
/// What may stand between fields of CSV.
const DELIMITERS: &[u8] = b",;\t|";
/// A name of a column that begins with so many digits is a value: the line of names is missing.
const VALUE_DIGITS: usize = 4;

/// What of an answer is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// At most so many rows.
    rows_max: usize,
    /// At most so many columns.
    columns_max: usize,
    /// Columns beyond the first two are kept only if they are named as keys and times are.
    rows_only: bool,
}

impl Keep {
    /// What a question wants.
    pub(super) fn of(ask: &Ask<'_>) -> Keep {
        // One more, which shows that there are too many.
        let columns_max = if ask.all_columns { MEASURED_COLUMNS_MAX + 1 } else { COLUMNS_MAX };
        Keep { columns_max, rows_only: !ask.all_columns, ..Keep::rows(ask.rows_max) }
    }

    /// Rows that are counted.
    pub(super) fn rows(rows_max: usize) -> Keep {
        Keep { rows_max, columns_max: COLUMNS_MAX, rows_only: true }
    }
}

/// Reads what one source writes.
#[derive(Debug)]
pub(super) struct Decoder {
    format: RowFormat,
    filter: Option<Filter>,
}

impl Decoder {
    /// A reader of this format.
    ///
    /// # Errors
    /// What is wrong with the jq filter, and where.
    pub(super) fn new(format: &RowFormat) -> Result<Decoder, String> {
        let filter = match format {
            RowFormat::Json { jq: Some(text) } => Some(Filter::compile(text).map_err(|why| format!("`jq`: {why}"))?),
            _ => None,
        };
        Ok(Decoder { format: format.clone(), filter })
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// What is wrong, and in which line and column.
    pub(super) async fn decode(&self, bytes: Vec<u8>, keep: Keep) -> Result<Answer, String> {
        let Some(filter) = &self.filter else {
            let format = self.format.clone();
            return apart(bytes, move |bytes| decode(&format, bytes, keep)).await;
        };
        // One more than wanted, which the rows are counted by.
        let ran = filter.run_on_all(&bytes, keep.rows_max.saturating_add(1)).await;
        let (text, _) = ran.map_err(|trouble| match trouble {
            Trouble::Input(why) => why,
            Trouble::Filter(why) => format!("the jq filter failed: {why}"),
        })?;
        let answer = apart(text.into_bytes(), move |bytes| json(bytes, keep)).await;
        answer.map_err(|why| format!("in what the jq filter made of it, {why}"))
    }
}

/// Does what may take long apart from the others.
async fn apart<T: Send + 'static>(
    bytes: Vec<u8>,
    work: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if bytes.len() <= INLINE_BYTES_MAX {
        return work(&bytes);
    }
    let done = tokio::task::spawn_blocking(move || work(&bytes)).await;
    done.unwrap_or_else(|e| Err(format!("reading the rows broke off: {e}")))
}

/// Reads without a filter.
pub(super) fn decode(format: &RowFormat, bytes: &[u8], keep: Keep) -> Result<Answer, String> {
    let bytes = without_mark(bytes);
    match (format, bytes.trim_ascii_start().first()) {
        (RowFormat::Json { .. }, _) | (RowFormat::Guess, Some(b'[' | b'{') | None) => json(bytes, keep),
        (RowFormat::Guess, Some(b'<')) => {
            Err(format!("it looks like HTML or XML and not like rows; it begins with `{}`", excerpt(bytes)))
        }
        (RowFormat::Guess | RowFormat::Csv, _) => csv(bytes, keep),
    }
}

fn json(bytes: &[u8], keep: Keep) -> Result<Answer, String> {
    let mut reader = JsonRows { table: Table::new(keep), bytes, arrays: None };
    for document in serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>() {
        let document = document.map_err(|e| problem(&e, bytes))?;
        if !reader.document(document)? {
            break;
        }
    }
    Ok(reader.table.finish())
}

/// Rows of JSON as they are found. What is read answers whether more are wanted.
struct JsonRows<'b> {
    table: Table,
    /// The whole text, for places.
    bytes: &'b [u8],
    /// Whether rows are arrays, once it is known.
    arrays: Option<bool>,
}

impl<'b> JsonRows<'b> {
    /// A row, or an array of rows: its first element tells.
    fn document(&mut self, document: &'b RawValue) -> Result<bool, String> {
        if kind(document) != b'[' {
            return self.row(document);
        }
        let (mut first, mut enough) = (true, false);
        let mut result = Ok(true);
        let read = each(document, |_, element| {
            if std::mem::take(&mut first) && !matches!(kind(element), b'[' | b'{') {
                enough = true;
                result = self.row(document);
                return false;
            }
            result = self.row(element);
            matches!(result, Ok(true))
        });
        match read {
            Err(why) if result == Ok(true) && !enough => Err(self.at(document, &why)),
            _ => result,
        }
    }

    fn row(&mut self, row: &'b RawValue) -> Result<bool, String> {
        let is_array = match kind(row) {
            b'[' => true,
            b'{' => false,
            _ => {
                let found = excerpt(row.get().as_bytes());
                return Err(self.at(row, &format!("a row is an object or an array, and this is `{found}`")));
            }
        };
        if *self.arrays.get_or_insert(is_array) != is_array {
            return Err(
                self.at(row, "rows must be all objects or all arrays, and this one differs from those before it")
            );
        }
        let mut cells = Vec::with_capacity(2);
        let (mut index, mut wrong) = (0, None);
        let table = &mut self.table;
        let read = each(row, |name, value| {
            index += 1;
            let name = name.unwrap_or_else(|| Cow::Owned(index.to_string()));
            let Some(place) = table.column(&name) else { return !is_array };
            match cell(value) {
                Ok(cell) => put(&mut cells, place, cell),
                Err(why) => wrong = Some((value, why)),
            }
            wrong.is_none()
        });
        match (read, wrong) {
            (_, Some((value, why))) => Err(self.at(value, &why)),
            (Err(why), None) if !why.is_empty() => Err(self.at(row, &why)),
            _ => Ok(self.table.push(cells)),
        }
    }

    /// A problem with the place of a part of the text.
    fn at(&self, part: &RawValue, problem: &str) -> String {
        let offset = (part.get().as_ptr() as usize).saturating_sub(self.bytes.as_ptr() as usize);
        let before = self.bytes.get(..offset).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column =
            String::from_utf8_lossy(before.rsplit(|b| *b == b'\n').next().unwrap_or_default()).chars().count() + 1;
        format!("line {line}, column {column}: {problem}")
    }
}

/// The first byte of a value, which says what it is.
fn kind(value: &RawValue) -> u8 {
    value.get().as_bytes().first().copied().unwrap_or_default()
}

fn put(row: &mut Vec<Cell>, place: usize, cell: Cell) {
    if row.len() <= place {
        row.resize(place + 1, Cell::Null);
    }
    row[place] = cell;
}

fn cell(value: &RawValue) -> Result<Cell, String> {
    let text = value.get();
    Ok(match kind(value) {
        b'"' => Cell::Text(serde_json::from_str(text).map_err(|e| bare(&e))?),
        b'n' => Cell::Null,
        b't' => Cell::Bool(true),
        b'f' => Cell::Bool(false),
        b'[' | b'{' => Cell::Text(text.to_owned()),
        _ => text.parse().map_or_else(|_| Cell::Decimal(text.to_owned()), Cell::Integer),
    })
}

/// Calls a function with each value of an array or object, and its name there, until that answers false.
///
/// # Errors
/// What is wrong with a name; an empty text where the function wanted no more.
fn each<'b>(value: &'b RawValue, call: impl FnMut(Option<Cow<'b, str>>, &'b RawValue) -> bool) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_str(value.get());
    (&mut reader).deserialize_any(Each(call)).map_err(|e| bare(&e))
}

struct Each<F>(F);

impl<'b, F: FnMut(Option<Cow<'b, str>>, &'b RawValue) -> bool> Visitor<'b> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element()? {
            if !(self.0)(None, value) {
                return Err(A::Error::custom(""));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(KeyText)? {
            if !(self.0)(Some(name), map.next_value()?) {
                return Err(A::Error::custom(""));
            }
        }
        Ok(())
    }
}

/// A name, borrowed where it can be.
struct KeyText;

impl<'b> DeserializeSeed<'b> for KeyText {
    type Value = Cow<'b, str>;

    fn deserialize<D: Deserializer<'b>>(self, reader: D) -> Result<Cow<'b, str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'b> Visitor<'b> for KeyText {
    type Value = Cow<'b, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<Cow<'b, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'b, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

fn csv(bytes: &[u8], keep: Keep) -> Result<Answer, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter(bytes)).from_reader(bytes);
    let names = reader.byte_headers().map_err(|e| csv_problem(&e))?.clone();
    let names: Vec<String> = names.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    check_names(&names)?;
    let mut table = Table::new(keep);
    let places: Vec<Option<usize>> = names.iter().map(|name| table.add_column(name)).collect();
    let mut record = csv::ByteRecord::new();
    let (mut last_line, mut last_byte) = (1, 0);
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Err(why) if table.rows.len() < keep.rows_max => return Err(csv_problem(&why)),
            Ok(true) | Err(_) => {}
        }
        if let Some(at) = record.position() {
            (last_line, last_byte) = (at.line(), usize::try_from(at.byte()).unwrap_or(usize::MAX));
        }
        let mut row = Vec::with_capacity(table.columns.len());
        for (at, field) in record.iter().enumerate().filter(|(_, field)| !field.is_empty()) {
            let Some(place) = places.get(at).copied().flatten() else { continue };
            let text = std::str::from_utf8(field)
                .map_err(|_| format!("line {last_line}, field {} (`{}`): it is no UTF-8", at + 1, names[at]))?;
            put(&mut row, place, Cell::Text(text.to_owned()));
        }
        if !table.push(row) {
            return Ok(table.finish());
        }
    }
    // The library takes the end of the text for the end of an open field.
    let quotes = bytes.get(last_byte..).unwrap_or_default().iter().filter(|b| **b == b'"').count();
    if quotes % 2 == 1 {
        return Err(format!("line {last_line}, column 1: a quote in the record that begins here is not closed"));
    }
    Ok(table.finish())
}

/// Whether the first line is one of names.
fn check_names(names: &[String]) -> Result<(), String> {
    const ADVICE: &str =
        "the first line must name the columns (`sqlite3` needs `-header` for it, `psql` must go without `-t`)";
    if names.is_empty() {
        return Err(format!("there is nothing in it: {ADVICE}"));
    }
    let digits = |name: &str| name.bytes().take_while(u8::is_ascii_digit).count();
    match names.get(1).filter(|name| digits(name) >= VALUE_DIGITS) {
        Some(name) => Err(format!("line 1, field 2: `{}` is no name of a column: {ADVICE}", excerpt(name.as_bytes()))),
        None => Ok(()),
    }
}

/// What stands between fields: the first that the line of names has.
fn delimiter(bytes: &[u8]) -> u8 {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let mut quoted = false;
    let found = line.iter().find(|b| {
        quoted ^= **b == b'"';
        !quoted && DELIMITERS.contains(b)
    });
    found.copied().unwrap_or(b',')
}

fn csv_problem(why: &csv::Error) -> String {
    match why.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => format!(
            "line {}, field {}: the line that names the columns has {expected_len} fields, and this one has {len}",
            pos.as_ref().map_or(0, csv::Position::line),
            expected_len.min(len) + 1
        ),
        _ => why.to_string(),
    }
}

/// Rows being collected.
struct Table {
    /// The columns that are kept.
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    keep: Keep,
    truncated: bool,
}

impl Table {
    fn new(keep: Keep) -> Table {
        Table { columns: Vec::new(), rows: Vec::new(), keep, truncated: false }
    }

    /// The place of the column of this name, a new one at the end; `None`: it is not kept.
    fn column(&mut self, name: &str) -> Option<usize> {
        self.columns.iter().position(|known| known == name).or_else(|| self.add_column(name))
    }

    /// The place of a new column; `None`: it is not kept.
    fn add_column(&mut self, name: &str) -> Option<usize> {
        let wanted = || KEY_COLUMNS.iter().chain(&TIME_COLUMNS).any(|wanted| wanted.eq_ignore_ascii_case(name));
        let place = self.columns.len();
        if place >= self.keep.columns_max || (self.keep.rows_only && place >= 2 && !wanted()) {
            return None;
        }
        self.columns.push(name.to_owned());
        Some(place)
    }

    /// Adds a row; false: there were enough.
    fn push(&mut self, row: Vec<Cell>) -> bool {
        if self.rows.len() >= self.keep.rows_max {
            self.truncated = true;
            return false;
        }
        self.rows.push(row);
        true
    }

    fn finish(mut self) -> Answer {
        if self.columns.is_empty() && self.rows.is_empty() {
            // There is nothing to name them by, and nothing is wrong either.
            self.columns = [KEY_COLUMNS[1], TIME_COLUMNS[1]].map(str::to_owned).to_vec();
        }
        for row in &mut self.rows {
            row.resize(self.columns.len(), Cell::Null);
        }
        Answer { columns: self.columns, rows: self.rows, truncated: self.truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns, then rows, each cell by its type's first letter.
    fn shown(answer: &Answer) -> String {
        let cell = |cell: &Cell| match cell {
            Cell::Null => "-".to_owned(),
            Cell::Integer(n) => format!("i{n}"),
            Cell::Decimal(n) => format!("d{n}"),
            Cell::Text(t) => format!("t{t}"),
            Cell::Bool(b) => format!("b{b}"),
            other => format!("{other:?}"),
        };
        let mut lines = vec![answer.columns.join(" ")];
        lines.extend(answer.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" ")));
        if answer.truncated {
            lines.push("...".to_owned());
        }
        lines.join("/")
    }

    fn rows(rows_max: usize) -> Keep {
        Keep { rows_max, columns_max: COLUMNS_MAX, rows_only: true }
    }

    async fn read(format: &RowFormat, text: &[u8], rows_max: usize) -> Result<String, String> {
        Decoder::new(format)?.decode(text.to_vec(), rows(rows_max)).await.map(|answer| shown(&answer))
    }

    fn jq(text: &str) -> RowFormat {
        RowFormat::Json { jq: Some(text.to_owned()) }
    }

    const JSON: RowFormat = RowFormat::Json { jq: None };

    /// S2.4: JSON and CSV in every form, with what is wrong located.
    #[tokio::test]
    async fn forms() {
        let table: Vec<(RowFormat, &str, Result<&str, &str>)> = vec![
            (JSON, r#"[{"key": "a", "time": 1}, {"time": 2.50, "key": 7}]"#, Ok("key time/ta i1/i7 d2.50")),
            (JSON, "{\"id\":1,\"at\":true}\n\n{\"id\":null}\n", Ok("id at/i1 btrue/- -")),
            (JSON, "{\"id\":1}{\"at\":2}", Ok("id at/i1 -/- i2")),
            (JSON, r#"[["a", 1, "more"], ["b", 2]]"#, Ok("1 2/ta i1/tb i2")),
            (JSON, "[\"a\", 1]\n[\"b\", \"x\"]", Ok("1 2/ta i1/tb tx")),
            (JSON, "[]", Ok("key time")),
            (JSON, "[[]]", Ok("/")),
            (JSON, " \n", Ok("key time")),
            (JSON, "[\"a\"]", Ok("1/ta")),
            (JSON, "{\"a\":1,\"b\":2,\"c\":3,\"TIME\":4,\"d\":5}", Ok("a b TIME/i1 i2 i4")),
            (JSON, r#"{"key":{"a": [1]},"time":"\u00e9\"x"}"#, Ok("key time/t{\"a\": [1]} té\"x")),
            (
                JSON,
                "{\"key\":9223372036854775807,\"time\":9223372036854775808}",
                Ok("key time/i9223372036854775807 d9223372036854775808"),
            ),
            (JSON, "\u{feff}[[1,1.234567890123456789]]", Ok("1 2/i1 d1.234567890123456789")),
            (JSON, "[[1,2],\n [3 4]]", Err("line 2, column 5: expected `,` or `]`")),
            (JSON, "{\"a\":1}\n{\"a\"", Err("line 2, column 4: EOF while parsing an object")),
            (JSON, "[{\"a\":1},\n  5]", Err("line 2, column 3: a row is an object or an array, and this is `5`")),
            (JSON, "5", Err("line 1, column 1: a row is an object")),
            (JSON, "[[1,2],{\"a\":1}]", Err("line 1, column 8: rows must be all objects or all arrays")),
            (JSON, r#"[["a\ud800", 1]]"#, Err("line 1, column 3: ")),
            (JSON, "<html>", Err("line 1, column 1: expected value; it begins with `<html>`")),
            (
                jq(".rows[] | {key: .id, time: .t}"),
                r#"{"rows":[{"id":1,"t":2},{"id":3,"t":4.5}]}"#,
                Ok("key time/i1 i2/i3 d4.5"),
            ),
            (jq(".rows"), r#"{"rows":[[1,2],[3,4]]}"#, Ok("1 2/i1 i2/i3 i4")),
            (
                jq("[.id, .t]"),
                "{\"id\":1,\"t\":2}\n{\"id\":12345678901234567,\"t\":4}",
                Ok("1 2/i1 i2/i12345678901234567 i4"),
            ),
            (jq(".rows[]?"), "{}", Ok("key time")),
            (jq(".rows[]"), "5", Err("the jq filter failed: cannot index")),
            (jq(".id"), r#"{"id":"x"}"#, Err("in what the jq filter made of it, line 1, column 1: a row is an object")),
            (jq("."), "{\n]", Err("line 2, column 1: key must be a string")),
            (jq(".["), "[]", Err("`jq`: line 1")),
            (RowFormat::Csv, "key,time\na,1\n\n\"b,\"\"\nc\",2\r\n", Ok("key time/ta t1/tb,\"\nc t2")),
            (RowFormat::Csv, "id;created at;x\n1;;3", Ok("id created at/t1 -")),
            (RowFormat::Csv, "\"a,b\"\ttime\n1\t2", Ok("a,b time/t1 t2")),
            (RowFormat::Csv, "a|b|key\n1|2|3", Ok("a b key/t1 t2 t3")),
            (RowFormat::Csv, "\u{feff}key,time\n", Ok("key time")),
            (RowFormat::Csv, "id,id\n1,2", Ok("id id/t1 t2")),
            (RowFormat::Csv, "id\n1", Ok("id/t1")),
            (RowFormat::Csv, "", Err("there is nothing in it: the first line must name the columns")),
            (RowFormat::Csv, "a,1772357400\nb,1772357401", Err("line 1, field 2: `1772357400` is no name of a column")),
            (RowFormat::Csv, "a,b\n1,2\n1,2,3\n", Err("line 3, field 3: the line that names the columns has 2 fields")),
            (RowFormat::Csv, "a,b\n1\n", Err("line 2, field 2: ")),
            (RowFormat::Csv, "a,b\n1,2\n\"3,4\n5,6\n", Err("line 3")),
            (RowFormat::Guess, " [[1,2]]", Ok("1 2/i1 i2")),
            (RowFormat::Guess, "key,time\n1,2", Ok("key time/t1 t2")),
            (RowFormat::Guess, "", Ok("key time")),
            (RowFormat::Guess, "<!DOCTYPE html>\n<p>", Err("looks like HTML or XML")),
        ];
        for (format, text, expect) in table {
            match (read(&format, text.as_bytes(), 1000).await, expect) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{text}"),
                (Err(got), Err(part)) => assert!(got.contains(part) && !got.contains('\n'), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        let wrong = read(&RowFormat::Csv, b"key,time\na,1\n\xff,2", 10).await.unwrap_err();
        assert!(wrong.contains("line 3, field 1 (`key`): it is no UTF-8"), "{wrong}");
        assert!(read(&JSON, b"[[\"\xff\",2]]", 10).await.unwrap_err().contains("line 1"));
    }

    /// S2.4: rows beyond the limit are not read, and that is said; what is wrong after them is not seen.
    #[tokio::test]
    async fn limits() {
        for (format, text, expect) in [
            (JSON, "[[1,2],[3,4],[5,6]]", "1 2/i1 i2/i3 i4/..."),
            (JSON, "[1,2]\n[3,4]\n[5,6]\n}", "1 2/i1 i2/i3 i4/..."),
            (JSON, "[[1,2],[3,4]]", "1 2/i1 i2/i3 i4"),
            (jq(".[]"), "[[1,2],[3,4],[5,6]]", "1 2/i1 i2/i3 i4/..."),
            (jq("."), "[[1,2],[3,4],[5,6]]", "1 2/i1 i2/i3 i4/..."),
            (jq("repeat([1,2])"), "0", "1 2/i1 i2/i1 i2/..."),
            (RowFormat::Csv, "a,b\n1,2\n3,4\n5,6\n", "a b/t1 t2/t3 t4/..."),
            (RowFormat::Csv, "a,b\n1,2\n3,4\n5,6,7\n", "a b/t1 t2/t3 t4/..."),
            (RowFormat::Csv, "a,b\n1,2\n3,4\n", "a b/t1 t2/t3 t4"),
        ] {
            assert_eq!(read(&format, text.as_bytes(), 2).await.unwrap(), expect, "{text}");
        }
    }

    /// A million rows are read apart from the others, and no more than the limit is kept.
    #[tokio::test]
    async fn a_million_rows() {
        let lines: String = (0..1_000_000).map(|n| format!("{n},1772357400\n")).collect();
        let answer =
            Decoder::new(&RowFormat::Guess).unwrap().decode(format!("k,t\n{lines}").into(), rows(1000)).await.unwrap();
        assert!(answer.rows.len() == 1000 && answer.truncated);
        let array = format!("[{}[1,2]]", "[1,2],".repeat(1_000_000));
        let answer = Decoder::new(&JSON).unwrap().decode(array.into(), rows(2_000_000)).await.unwrap();
        assert!(answer.rows.len() == 1_000_001 && !answer.truncated);
    }

    /// Whatever comes, nothing panics: every short text over the bytes that mean something.
    #[test]
    fn any_text_is_read() {
        const BYTES: &[u8] = b"[]{}\",:1\n x\\u\xff";
        let mut text = Vec::new();
        for number in 0..BYTES.len().pow(4) {
            text.clear();
            let mut rest = number;
            for _ in 0..4 {
                text.push(BYTES[rest % BYTES.len()]);
                rest /= BYTES.len();
            }
            for format in [JSON, RowFormat::Csv, RowFormat::Guess] {
                if let Ok(answer) = decode(&format, &text, rows(2)) {
                    assert!(answer.rows.iter().all(|row| row.len() == answer.columns.len()), "{text:?}");
                }
            }
        }
    }
}
