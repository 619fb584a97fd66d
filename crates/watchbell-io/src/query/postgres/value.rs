//! PostgreSQL's values, which come as text (<https://www.postgresql.org/docs/current/datatype.html>), with `DateStyle`
//! ISO and in UTF-8. What is no value of its type in our terms (`infinity`, years before Christ) stays text.

use watchbell_core::model::{Cell, Timestamp};

/// Numbers of types in PostgreSQL's own catalogue, `pg_type`; they never change.
mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const OID: u32 = 26;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const DATE: u32 = 1082;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
}

/// A value of the type with this number.
pub fn cell(kind: u32, bytes: &[u8]) -> Cell {
    if kind == oid::BYTEA {
        return Cell::Bytes(unescape(bytes));
    }
    let text = String::from_utf8_lossy(bytes);
    let known = match kind {
        oid::BOOL => Some(Cell::Bool(text == "t")),
        oid::INT2 | oid::INT4 | oid::INT8 | oid::OID => text.parse().ok().map(Cell::Integer),
        oid::FLOAT4 | oid::FLOAT8 => text.parse().ok().map(Cell::Float),
        oid::NUMERIC => Some(Cell::Decimal(text.to_string())),
        oid::DATE => {
            text.parse().ok().map(|day: jiff::civil::Date| Cell::Civil(day.to_datetime(jiff::civil::Time::midnight())))
        }
        oid::TIMESTAMP => text.parse().ok().map(Cell::Civil),
        oid::TIMESTAMPTZ => text.parse().ok().map(|at| Cell::Time(Timestamp::from_jiff(at))),
        _ => None,
    };
    known.unwrap_or_else(|| Cell::Text(text.into_owned()))
}

/// `bytea`: `\x` and hexadecimal digits, or (old servers, Redshift) bytes with `\\` and `\ooo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    if let Some(hex) = text.strip_prefix(b"\\x") {
        return hex.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        (bytes, rest) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (push(bytes, b'\\'), after),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                (push(bytes, (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')), after)
            }
            _ => (push(bytes, *first), after),
        };
    }
    bytes
}

fn push(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_none_of_their_type_stay_text() {
        let text = |text: &str| Cell::Text(text.to_owned());
        for (kind, given, expect) in [
            (oid::TIMESTAMP, "infinity", text("infinity")),
            (oid::TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", text("0044-03-15 12:00:00+00 BC")),
            (oid::DATE, "12024-01-01", text("12024-01-01")),
            (oid::INT4, "", text("")),
            (oid::FLOAT8, "-Infinity", Cell::Float(f64::NEG_INFINITY)),
            (oid::BYTEA, "\\x00fF", Cell::Bytes(vec![0, 255])),
            (oid::BYTEA, "a\\\\b\\000\\377\\9", Cell::Bytes(b"a\\b\0\xff\\9".to_vec())),
            (3802, "{\"a\": 1}", text("{\"a\": 1}")),
        ] {
            assert_eq!(cell(kind, given.as_bytes()), expect, "{given}");
        }
    }
}
