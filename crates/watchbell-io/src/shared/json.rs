//! JSON that others sent: one reader for all of it, so that all of it may begin with a byte order mark, can't be nested
//! without end, and is told of with its place.
//!
//! Where a plugin's output is read number by number, and where a config file is mended as it is read, the core has readers of
//! its own that know more of what they read.

use super::net::excerpt;
use serde::{
    Deserialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Deserializer, Error};
use std::fmt;

/// How deep arrays and objects may be nested: what the library reads with a stack that any thread has.
pub const DEPTH_MAX: usize = 127;

/// Reads one value.
///
/// # Errors
/// What is wrong, and where; [`problem`] puts it into words. The error's own text shows nothing of what was sent but for
/// words that were expected to be others.
pub fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Error> {
    serde_json::from_slice(without_mark(bytes))
}

/// The values that stand one after the other, each as its own text: for readers that would not notice where the nesting has no
/// end.
///
/// # Errors
/// What is wrong, and where.
pub fn documents(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let bytes = without_mark(bytes);
    let mut reader = Deserializer::from_slice(bytes).into_iter::<Sound>();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(read) = reader.next() {
        read.map_err(|why| problem(&why, bytes))?;
        let end = reader.byte_offset();
        found.push(bytes.get(from..end).unwrap_or_default());
        from = end;
    }
    Ok(found)
}

/// Any value, looked at and not kept.
pub struct Sound;

impl<'b> Deserialize<'b> for Sound {
    fn deserialize<D: de::Deserializer<'b>>(reader: D) -> Result<Sound, D::Error> {
        // Not `IgnoredAny`, which goes down without end.
        reader.deserialize_any(Sound)
    }
}

impl<'b> Visitor<'b> for Sound {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_str<E>(self, _: &str) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<Sound, A::Error> {
        while list.next_element::<Sound>()?.is_some() {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Sound, A::Error> {
        while map.next_entry::<Sound, Sound>()?.is_some() {}
        Ok(Sound)
    }
}

/// What is wrong with a text: the place, and how it begins, which tells a page for people from JSON.
pub fn problem(why: &Error, bytes: &[u8]) -> String {
    let begins = excerpt(without_mark(bytes));
    format!("line {}, column {}: {}; it begins with `{begins}`", why.line(), why.column(), bare(why))
}

/// The parser's words without the place.
pub fn bare(why: &Error) -> String {
    let text = why.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
    text.replace("recursion limit exceeded", &format!("it is nested deeper than {DEPTH_MAX} levels"))
}

/// The bytes without a byte order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn marks_depth_and_places() {
        assert_eq!(parse::<Vec<u8>>(b"\xef\xbb\xbf[1]").unwrap(), [1]);
        let several = documents(b"\xef\xbb\xbf1 [2]{\"a\":[{}, null, true, 1.5, -1, \"\"]}\n").unwrap();
        assert_eq!(several, [&b"1"[..], b" [2]", b"{\"a\":[{}, null, true, 1.5, -1, \"\"]}"]);
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse::<Value>(nested(DEPTH_MAX).as_bytes()).is_ok());
        for deep in [nested(DEPTH_MAX + 1), "[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
            let why = documents(deep.as_bytes()).unwrap_err();
            assert!(why.contains("it is nested deeper than 127 levels"), "{why}");
        }
        let why = documents(b"[1]\n<html>").unwrap_err();
        assert_eq!(why, "line 2, column 1: expected value; it begins with `[1]\\n<html>`");
    }
}
