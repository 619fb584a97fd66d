//! A JSON reader (RFC 8259) that knows where each value stands, for output of plugins.
//!
//! Its own, because a library's reader gives up the whole document at a number like `1e999` (which Python prints as
//! `Infinity`, and which costs one metric here, not all of them), and forgets places once a document is read.
//! Deviations from the RFC, all towards what plugins print: `NaN`, `Infinity` and `-Infinity` are numbers (not finite
//! ones), half of a surrogate pair reads as U+FFFD, a byte order mark at the beginning is skipped. Of a key given
//! twice the last value counts, as in Python.

use std::fmt;

/// How deep lists and objects may be nested.
pub const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where it begins, in bytes.
    pub offset: usize,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; not finite where it is too large for one or is `NaN` or `Infinity`.
    Number(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object, keys in the order they were given.
    Object(Vec<(String, Node)>),
}

impl Value {
    /// What it is, in words: `a list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The value of a key of an object; `None` where it has none, where it is `null`, and of what is no object.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Object(entries) = self else { return None };
        let (_, node) = entries.iter().rev().find(|(k, _)| k == key)?;
        (node.value != Value::Null).then_some(node)
    }
}

/// Why a text is no JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonError {
    /// Where, in bytes.
    pub offset: usize,
    /// What was expected, or what is wrong.
    pub message: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Line and column (both from 1, columns in characters) of an offset in a text.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before: &[u8] = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

/// Reads one document.
pub fn parse(text: &str) -> Result<Node, JsonError> {
    let mut reader = Reader { text, at: text.len() - text.trim_start_matches('\u{feff}').len(), depth: 0 };
    let node = reader.value("a JSON value")?;
    reader.blanks();
    if reader.at < text.len() { Err(reader.expected("the end")) } else { Ok(node) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    /// An error at the place that is read now, which shows what stands there.
    fn expected(&self, what: &str) -> JsonError {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => "the end".to_owned(),
            Some('\n' | '\r') => "the end of the line".to_owned(),
            Some(c) if c.is_control() => format!("the control character {:#04x}", u32::from(c)),
            Some(c) if c.is_alphanumeric() => {
                let rest = &self.text[self.at..];
                let word = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(rest);
                format!("`{}`", super::text::cut(word, 20))
            }
            Some(c) => format!("`{c}`"),
        };
        JsonError { offset: self.at, message: format!("expected {what}, found {found}") }
    }

    fn value(&mut self, what: &str) -> Result<Node, JsonError> {
        self.blanks();
        let offset = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Reader::object)?,
            Some(b'[') => self.nested(Reader::list)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => self.word(what)?,
        };
        Ok(Node { offset, value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        if self.depth == DEPTH_MAX {
            return Err(JsonError { offset: self.at, message: format!("nested deeper than {DEPTH_MAX} levels") });
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut entries = Vec::new();
        self.blanks();
        if self.take(b'}') {
            return Ok(Value::Object(entries));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.expected(if entries.is_empty() { "a key in `\"` or `}`" } else { "a key in `\"`" }));
            }
            let key = self.string()?;
            self.blanks();
            if !self.take(b':') {
                return Err(self.expected("`:` behind the key"));
            }
            entries.push((key, self.value("a value")?));
            self.blanks();
            if self.take(b'}') {
                return Ok(Value::Object(entries));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn list(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        self.blanks();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(if items.is_empty() { "a value or `]`" } else { "a value" })?);
            self.blanks();
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn word(&mut self, what: &str) -> Result<Value, JsonError> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Number(f64::NAN)),
            ("Infinity", Value::Number(f64::INFINITY)),
        ];
        for (word, value) in words {
            if let Some(rest) = self.text[self.at..].strip_prefix(word)
                && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.expected(what))
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - from
    }

    fn number(&mut self) -> Result<f64, JsonError> {
        let from = self.at;
        if self.take(b'-') && self.text[self.at..].starts_with("Infinity") {
            self.at += "Infinity".len();
            return Ok(f64::NEG_INFINITY);
        }
        let starts_with_zero = self.peek() == Some(b'0');
        match self.digits() {
            0 => return Err(self.expected("a digit")),
            more if more > 1 && starts_with_zero => {
                return Err(JsonError { offset: from, message: "a number can't begin with `0`".into() });
            }
            _ => {}
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.expected("a digit behind the point"));
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(self.expected("a digit in the exponent"));
            }
        }
        Ok(self.text[from..self.at].parse().unwrap_or(f64::NAN))
    }

    /// Reads a text; the reader stands on its opening `"`.
    fn string(&mut self) -> Result<String, JsonError> {
        let opened = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[from..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                None => {
                    return Err(JsonError { offset: opened, message: "the text that begins here has no end".into() });
                }
                Some(_) => {
                    let message = "a line end or control character in a text must be escaped, like `\\n`";
                    return Err(JsonError { offset: self.at, message: message.into() });
                }
            }
        }
    }

    /// Reads an escape; the reader stands on its `\`.
    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let c = match self.peek() {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.expected("an escape: one of `\"\\/bfnrtu`")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let high = self.hex4()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let after_high = self.at;
        if self.take(b'\\') && self.take(b'u') {
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = after_high;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else { return Err(self.expected("four hexadecimal digits")) };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    #[test]
    fn values() {
        let cases = [
            ("null", Value::Null),
            (" true\n", Value::Bool(true)),
            ("\u{feff}false", Value::Bool(false)),
            ("-12.5e-1", Value::Number(-1.25)),
            ("0", Value::Number(0.0)),
            ("1e999", Value::Number(f64::INFINITY)),
            ("-Infinity", Value::Number(f64::NEG_INFINITY)),
            ("Infinity", Value::Number(f64::INFINITY)),
            (r#""""#, text("")),
            (r#""a\"\\\/\b\f\n\r\tä€😀""#, text("a\"\\/\u{8}\u{c}\n\r\tä€😀")),
            (r#""\u00e4\ud83d\ude00""#, text("ä😀")),
            (r#""\ud83dx\ude00\ud83d\u0041""#, text("\u{fffd}x\u{fffd}\u{fffd}A")),
            ("[]", Value::List(vec![])),
            ("{ }", Value::Object(vec![])),
        ];
        for (json, value) in cases {
            assert_eq!(parse(json).map(|n| n.value), Ok(value), "{json}");
        }
        assert!(matches!(parse("NaN").unwrap().value, Value::Number(n) if n.is_nan()));
    }

    #[test]
    fn places_and_keys() {
        let json = "{\"a\": 1,\n \"b\": [2, {\"c\": null}], \"a\": 3}";
        let root = parse(json).unwrap();
        let a = root.value.get("a").unwrap();
        assert_eq!((&a.value, position(json, a.offset)), (&Value::Number(3.0), (2, 30)));
        let Value::List(items) = &root.value.get("b").unwrap().value else { panic!() };
        assert_eq!(position(json, items[1].offset), (2, 11));
        assert_eq!(items[1].value.get("c"), None);
        assert_eq!(position("ä\nöx", 5), (2, 2));
        assert_eq!(position("", 9), (1, 1));
    }

    /// S3.5: bad JSON: where, and what was expected.
    #[test]
    fn errors() {
        let cases = [
            ("", "1:1 expected a JSON value, found the end"),
            ("{", "1:2 expected a key in `\"` or `}`, found the end"),
            ("{\n", "2:1 expected a key in `\"` or `}`, found the end"),
            ("{\n\"faults\": []", "2:13 expected `,` or `}`, found the end"),
            ("{'a': 1}", "1:2 expected a key in `\"` or `}`, found `'`"),
            ("{\"a\" 1}", "1:6 expected `:` behind the key, found `1`"),
            ("{\"a\": }", "1:7 expected a value, found `}`"),
            ("{\"a\": None}", "1:7 expected a value, found `None`"),
            ("{\"a\": nullish}", "1:7 expected a value, found `nullish`"),
            ("{\"a\": 1,}", "1:9 expected a key in `\"`, found `}`"),
            ("[1 2]", "1:4 expected `,` or `]`, found `2`"),
            ("[1,]", "1:4 expected a value, found `]`"),
            ("[,1]", "1:2 expected a value or `]`, found `,`"),
            ("{} {}", "1:4 expected the end, found `{`"),
            ("{}\u{0}", "1:3 expected the end, found the control character 0x00"),
            ("01", "1:1 a number can't begin with `0`"),
            ("-x", "1:2 expected a digit, found `x`"),
            (".5", "1:1 expected a JSON value, found `.`"),
            ("+5", "1:1 expected a JSON value, found `+`"),
            ("5.", "1:3 expected a digit behind the point, found the end"),
            ("5e", "1:3 expected a digit in the exponent, found the end"),
            ("\"abc", "1:1 the text that begins here has no end"),
            ("\"a\nb\"", "1:3 a line end or control character in a text must be escaped, like `\\n`"),
            (r#""\x""#, "1:3 expected an escape: one of `\"\\/bfnrtu`, found `x`"),
            (r#""\u12g4""#, "1:6 expected four hexadecimal digits, found `g4`"),
        ];
        for (json, expect) in cases {
            let error = parse(json).unwrap_err();
            let (line, column) = position(json, error.offset);
            assert_eq!(format!("{line}:{column} {error}"), expect, "{json:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(parse(&format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX))).is_ok());
        let error = parse(&"[".repeat(1_000_000)).unwrap_err();
        assert_eq!((error.offset, error.message.as_str()), (DEPTH_MAX, "nested deeper than 64 levels"));
        assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
    }

    /// What the library reads, this reads, to the same values.
    fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
        match (ours, theirs) {
            (Value::Null, serde_json::Value::Null) => true,
            (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
            (Value::Number(a), serde_json::Value::Number(b)) => {
                b.as_f64().is_some_and(|b| (a - b).abs() <= b.abs() * 1e-15)
            }
            (Value::Text(a), serde_json::Value::String(b)) => a == b,
            (Value::List(a), serde_json::Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.value, b))
            }
            (Value::Object(a), serde_json::Value::Object(b)) => {
                a.iter().all(|(k, _)| b.contains_key(k))
                    && b.iter().all(|(k, b)| match ours.get(k) {
                        Some(a) => same(&a.value, b),
                        None => b.is_null(),
                    })
            }
            _ => false,
        }
    }

    fn json_strategy() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e9..1e9_f64).prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn never_panics(any: String, likely in "[]\\[{}\",:\\\\u0-9eE.+ntf \n\u{e4}-]{0,40}") {
            for json in [any, likely] {
                let ours = parse(&json);
                let theirs = serde_json::from_str::<serde_json::Value>(&json);
                match (ours, theirs) {
                    (Ok(ours), Ok(theirs)) => prop_assert!(same(&ours.value, &theirs), "{json}"),
                    (Err(e), theirs) => {
                        prop_assert!(e.offset <= json.len());
                        let _ = position(&json, e.offset);
                        prop_assert!(theirs.is_err(), "{json}: {e}");
                    }
                    (Ok(_), Err(_)) => {}
                }
            }
        }

        #[test]
        fn reads_what_others_write(value in json_strategy(), pretty: bool) {
            let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let ours = parse(&json).unwrap();
            prop_assert!(same(&ours.value, &value), "{json}");
        }
    }
}
