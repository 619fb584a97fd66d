//! JSON (RFC 8259) into a tree that knows where everything stands, with errors for people.
//!
//! Strict in what it accepts, lenient in how it goes on: after a mistake whose meaning is plain (a comma too
//! many or too few, single quotes, a comment) it reads on and reports what else is wrong. A text with any
//! error gives no tree.

use super::{ERRORS_MAX, TEXT_LEN_MAX};
use crate::config::{
    Problem, Problems,
    tree::{Entry, FileId, Node, Span, Table, Value},
};
use std::collections::BTreeMap;

/// How many arrays and objects may stand in one another.
pub const DEPTH_MAX: usize = 64;

/// Reads a file's text. `None` when an error was reported.
pub fn parse(file: FileId, problems: &mut Problems) -> Option<Node> {
    let text = problems.files.get(file.0 as usize)?.text.clone();
    if text.len() > TEXT_LEN_MAX {
        super::too_long(file, text.len(), problems);
        return None;
    }
    // Editors on Windows write a byte order mark; the RFC lets a parser ignore it.
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    read(&text, file, start, problems)
}

/// Reads a stretch of a file, in bytes, at whose ends characters end. `None` when an error was reported.
pub fn parse_part(file: FileId, start: usize, end: usize, problems: &mut Problems) -> Option<Node> {
    let text = problems.files.get(file.0 as usize)?.text.get(..end)?.to_owned();
    read(&text, file, start, problems)
}

/// Reads the value that stands from `start` to the end of the text.
fn read(text: &str, file: FileId, start: usize, problems: &mut Problems) -> Option<Node> {
    let before = problems.errors();
    let mut parser = Parser { text, at: start, file, problems, errors: 0, open: Vec::new() };
    parser.skip_space();
    if parser.peek().is_none() {
        if parser.errors == 0 {
            parser.error(parser.span(0, 0), "the file is empty, and JSON needs a value");
        }
        return None;
    }
    let node = parser.value(0);
    parser.skip_space();
    if parser.peek().is_some() && parser.errors == 0 {
        let span = parser.here();
        let found = parser.found();
        parser
            .error(span, format!("expected the end of the file, found {found}"))
            .hint("a file holds one value; brackets that close too early are a common reason");
    }
    node.filter(|_| problems.errors() == before)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    file: FileId,
    problems: &'t mut Problems,
    errors: usize,
    /// The brackets that would close the containers at hand, from the outermost.
    open: Vec<u8>,
}

/// Where an object or array goes on after one of its items.
#[derive(Clone, Copy)]
struct Container {
    open: usize,
    close: u8,
    /// The comma behind the last item, to be blamed if nothing follows.
    comma: Option<usize>,
    /// Where the last item ended, if it is still to be followed by a comma.
    item_end: Option<usize>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes over the byte at hand. After an error that was one too many this is the end of the text; it stays there.
    fn step(&mut self) {
        self.at = (self.at + 1).min(self.text.len());
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start, end }
    }

    /// The character that comes next, or the end of the file.
    fn here(&self) -> Span {
        let len = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        self.span(self.at, self.at + len)
    }

    fn found(&self) -> String {
        match self.text[self.at..].chars().next() {
            Some(c) if c.is_control() => format!("the character U+{:04X}", c as u32),
            Some(c) => format!("`{c}`"),
            None => "the end of the file".to_owned(),
        }
    }

    /// Reports an error, and gives up after too many: what comes then is noise.
    fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.errors += 1;
        if self.errors >= ERRORS_MAX {
            self.at = self.text.len();
        }
        self.problems.error(span, message)
    }

    /// Reports what stands here instead of something else. The end of the file is reported by the container
    /// that it leaves open.
    fn unexpected(&mut self, message: &str) -> Option<&mut Problem> {
        self.peek()?;
        let (span, found) = (self.here(), self.found());
        Some(self.error(span, format!("{message}, found {found}")))
    }

    /// Ends the reading: what follows can only be an echo of what was reported.
    fn give_up(&mut self) {
        self.at = self.text.len();
        self.errors = ERRORS_MAX;
    }

    /// Goes over white space, and over comments, which are an error each.
    fn skip_space(&mut self) {
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            let rest = &self.text[self.at..];
            let len = if rest.starts_with("//") || rest.starts_with('#') {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |n| n + 2)
            } else {
                return;
            };
            let span = self.span(self.at, self.at + len);
            self.at += len;
            self.error(span, "JSON has no comments").hint("put it into a field, such as \"_comment1\": \"…\"");
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => {
                let span = self.here();
                self.error(span, format!("brackets stand more than {DEPTH_MAX} deep in one another"));
                self.give_up();
                return None;
            }
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"' | b'\'') => Value::String(self.string()),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == b'_' => self.word(),
            _ => {
                self.unexpected("expected a value");
                return None;
            }
        };
        Some(Node { span: self.span(start, self.at), value })
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut container = self.open_container(b'}');
        let mut table = Table { span: self.span(container.open, self.at), entries: Vec::new() };
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        while self.next_item(&mut container)? {
            let entry = self.entry(depth);
            if entry.is_none() {
                self.recover();
            }
            container.item_end = Some(self.at);
            let Some(entry) = entry else { continue };
            let key_span = entry.key_span;
            match places.get(&entry.key) {
                Some(place) => {
                    let first = table.entries[*place].key_span;
                    self.problems
                        .warning(key_span, format!("key `{}` is given twice, and this one counts", entry.key))
                        .related(first, "first given here");
                    table.entries[*place] = entry;
                }
                None => {
                    places.insert(entry.key.clone(), table.entries.len());
                    table.entries.push(entry);
                }
            }
        }
        table.span.end = self.at;
        Some(Value::Table(table))
    }

    fn entry(&mut self, depth: usize) -> Option<Entry> {
        let (key, key_span) = self.key()?;
        self.skip_space();
        self.colon()?;
        self.skip_space();
        Some(Entry { key, key_span, value: self.value(depth + 1)? })
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut container = self.open_container(b']');
        let mut nodes = Vec::new();
        while self.next_item(&mut container)? {
            match self.value(depth + 1) {
                Some(node) => nodes.push(node),
                None => self.recover(),
            }
            container.item_end = Some(self.at);
        }
        Some(Value::Array(nodes))
    }

    fn open_container(&mut self, close: u8) -> Container {
        self.open.push(close);
        self.at += 1;
        Container { open: self.at - 1, close, comma: None, item_end: None }
    }

    /// Comes to the start of the next item (true) or over the closing bracket (false); `None` when the file
    /// ends before. Commas are judged here.
    fn next_item(&mut self, container: &mut Container) -> Option<bool> {
        loop {
            self.skip_space();
            match self.peek() {
                None => {
                    self.unclosed(container);
                    return None;
                }
                Some(c @ (b'}' | b']')) => {
                    self.close(container, c);
                    return Some(false);
                }
                Some(b',') => {
                    if container.item_end.take().is_none() {
                        let span = self.here();
                        self.error(span, "a comma with nothing before it").hint("remove the comma");
                    }
                    container.comma = Some(self.at);
                    self.step();
                }
                Some(_) => {
                    let starts = match container.item_end.take() {
                        Some(end) => self.missing_comma(end, container.close as char),
                        None => true,
                    };
                    if starts && self.peek().is_some() {
                        container.comma = None;
                        return Some(true);
                    }
                }
            }
        }
    }

    /// Ends a container at a closing bracket, which may be the wrong one.
    fn close(&mut self, container: &Container, found: u8) {
        let close = container.close as char;
        self.open.pop();
        if found == container.close {
            if let Some(comma) = container.comma {
                let span = self.span(comma, comma + 1);
                self.error(span, format!("a comma before `{close}`")).hint("remove the comma");
            }
        } else {
            let (span, open) = (self.here(), self.span(container.open, container.open + 1));
            self.error(span, format!("expected `{close}`, found `{}`", found as char)).related(open, "opened here");
            // It may belong to what stands around; then only the bracket of this container is missing.
            if self.open.contains(&found) {
                return;
            }
        }
        self.step();
    }

    /// Something that is neither a comma nor the closing bracket stands behind an item: another item (true), or
    /// something that is gone over.
    fn missing_comma(&mut self, end: usize, close: char) -> bool {
        let found = self.found();
        let starts = matches!(self.peek(), Some(b'"' | b'\'' | b'{' | b'[' | b'-' | b'0'..=b'9'))
            || self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
        if starts {
            let span = self.span(end, end);
            self.error(span, format!("expected `,` or `{close}`, found {found}")).hint("add a comma here");
            return true;
        }
        let semicolon = self.peek() == Some(b';');
        let problem = self.unexpected(&format!("expected `,` or `{close}`"));
        if let Some(problem) = problem.filter(|_| semicolon) {
            problem.hint("write `,`");
        }
        if semicolon && self.peek().is_some() {
            self.step();
        } else {
            self.recover();
            // The comma that ends what was gone over is not one too many.
            self.at += usize::from(self.peek() == Some(b','));
        }
        false
    }

    fn unclosed(&mut self, container: &Container) {
        if self.errors >= ERRORS_MAX {
            return;
        }
        let open = if container.close == b'}' { '{' } else { '[' };
        let span = self.span(container.open, container.open + 1);
        let end = self.span(self.text.len(), self.text.len());
        self.error(span, format!("`{open}` is never closed"))
            .related(end, "the file ends here")
            .hint(format!("add `{}`", container.close as char));
        // What encloses this one is not closed either; once is enough.
        self.give_up();
    }

    fn key(&mut self) -> Option<(String, Span)> {
        let start = self.at;
        match self.peek() {
            Some(b'"' | b'\'') => {
                let text = self.string();
                Some((text, self.span(start, self.at)))
            }
            Some(c) if c.is_ascii_alphanumeric() || c == b'_' || c == b'$' => {
                while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'-')) {
                    self.at += 1;
                }
                let text = self.text[start..self.at].to_owned();
                let span = self.span(start, self.at);
                self.error(span, format!("the key `{text}` must stand in double quotes"))
                    .hint(format!("write \"{text}\""));
                Some((text, span))
            }
            _ => {
                self.unexpected("expected a key in double quotes");
                None
            }
        }
    }

    fn colon(&mut self) -> Option<()> {
        match self.peek() {
            Some(b':') => {}
            Some(b'=') => {
                self.unexpected("expected `:` after the key")?.hint("write `:`");
            }
            _ => {
                self.unexpected("expected `:` after the key")?
                    .hint("each key of an object has a value: \"key\": value");
                return None;
            }
        }
        self.step();
        Some(())
    }

    /// A string, single quotes tolerated with an error. Always ends behind what belongs to it.
    fn string(&mut self) -> String {
        let start = self.at;
        let quote = self.text.as_bytes()[start];
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            match rest.chars().next() {
                None | Some('\n') => {
                    self.unclosed_string(start);
                    return text;
                }
                Some(c) if c as u32 == u32::from(quote) => {
                    self.at += 1;
                    break;
                }
                Some('\\') => self.escape(&mut text),
                Some(c) if (c as u32) < 0x20 => {
                    // A carriage return before the line's end belongs to the line's end.
                    if !rest.starts_with("\r\n") {
                        let span = self.here();
                        let shown = if c == '\t' { "\\t".to_owned() } else { format!("\\u{:04x}", c as u32) };
                        self.error(span, "a control character stands in a string")
                            .hint(format!("write it as `{shown}`"));
                    }
                    self.step();
                }
                Some(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        if quote == b'\'' {
            let span = self.span(start, self.at);
            self.error(span, "strings stand in double quotes in JSON").hint("replace each `'` by `\"`");
        }
        text
    }

    fn unclosed_string(&mut self, start: usize) {
        let line = self.text[start..self.at].trim_end();
        // A comma at the end of the line is most likely the one behind the string.
        let len = line.strip_suffix(',').map_or(line.len(), str::len).max(1);
        let quote = &self.text[start..=start];
        let comma = line.len() > len;
        self.at = start + len;
        let span = self.span(start, start + len);
        self.error(span, "the string is not closed on its line")
            .hint(format!("add `{quote}` at its end; a line break inside is written `\\n`"));
        // Where the text goes on in the next line, its words would be an error each.
        let next = self.text[self.at..].trim_start().chars().next();
        if !comma && !matches!(next, Some('}' | ']')) {
            self.give_up();
        }
    }

    fn escape(&mut self, text: &mut String) {
        let start = self.at;
        let next = self.text[start + 1..].chars().next();
        let plain = match next {
            Some(c @ ('"' | '\\' | '/')) => Some(c),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            _ => None,
        };
        if let Some(c) = plain {
            text.push(c);
            self.at += 2;
        } else if next == Some('u') {
            self.unicode_escape(text);
        } else {
            // A line that ends in a backslash is reported as a string that is not closed.
            let shown = next.filter(|c| !c.is_control());
            self.at += 1 + shown.map_or(0, char::len_utf8);
            if let Some(c) = shown {
                let span = self.span(start, self.at);
                self.error(span, format!("`\\{c}` means nothing in JSON")).hint("write `\\\\` for a backslash");
            }
        }
    }

    fn unicode_escape(&mut self, text: &mut String) {
        let start = self.at;
        let Some(high) = self.hex(start) else {
            self.at += 2;
            let span = self.span(start, self.at);
            self.error(span, "`\\u` must be followed by four hexadecimal digits");
            return;
        };
        self.at = start + 6;
        let pair = (0xd800..0xdc00).contains(&high).then(|| self.hex(self.at)).flatten();
        let code = match pair.filter(|low| (0xdc00..0xe000).contains(low)) {
            Some(low) => {
                self.at += 6;
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            None => high,
        };
        match char::from_u32(code) {
            Some(c) => text.push(c),
            None => {
                let span = self.span(start, self.at);
                self.error(span, format!("`\\u{high:04x}` is half of a surrogate pair, not a character"));
            }
        }
    }

    /// The number of a `\uXXXX` at a place.
    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    fn number(&mut self) -> Value {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.' | b'_')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let span = self.span(start, self.at);
        if !is_number(text) {
            self.error(span, format!("`{text}` is no number in JSON"))
                .hint("numbers look like 5, -0.5 or 1e3; anything else stands in double quotes");
            return Value::Null;
        }
        if let Ok(n) = text.parse::<i64>() {
            return Value::Integer(n);
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Value::Float(x),
            _ => {
                self.error(span, format!("the number `{text}` is too large"));
                Value::Null
            }
        }
    }

    fn word(&mut self) -> Value {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let meant = match text {
            "true" => return Value::Boolean(true),
            "false" => return Value::Boolean(false),
            "null" => return Value::Null,
            _ => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => "write `true`".to_owned(),
                "false" | "no" | "off" => "write `false`".to_owned(),
                "none" | "nil" | "null" | "undefined" => "write `null`".to_owned(),
                _ => return self.bare_text(start),
            },
        };
        let span = self.span(start, self.at);
        self.error(span, format!("`{text}` is no value in JSON")).hint(meant);
        Value::Null
    }

    /// Text without quotes: up to where a value would end.
    fn bare_text(&mut self, start: usize) -> Value {
        let rest = &self.text[start..];
        let len = rest.find([',', '}', ']', '"', '\n']).unwrap_or(rest.len());
        let text = rest[..len].trim_end();
        self.at = start + text.len();
        let span = self.span(start, self.at);
        self.error(span, format!("`{text}` is no value in JSON")).hint("put it in double quotes if it is text");
        Value::Null
    }

    /// After a mistake: on to the next comma or closing bracket that belongs to the container at hand.
    fn recover(&mut self) {
        let mut depth = 0_usize;
        let bytes = self.text.as_bytes();
        while let Some(c) = self.peek() {
            match c {
                b',' if depth == 0 => return,
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => depth -= 1,
                b'{' | b'[' => depth += 1,
                b'"' => {
                    self.at += 1;
                    while self.peek().is_some_and(|c| c != b'"' && c != b'\n') {
                        self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        // Steps of two may have gone past the end or into a character.
        self.at = self.at.min(self.text.len());
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
    }
}

/// Whether a text is a number by the grammar of RFC 8259, section 6.
fn is_number(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use proptest::prelude::*;

    #[rustfmt::skip]
    const CASES: &[(&str, &str, &str)] = &[
            ("", "-", r#"1:1 "" error: the file is empty, and JSON needs a value"#),
            (r" 
", "-", r#"1:1 "" error: the file is empty, and JSON needs a value"#),
            ("\u{feff}{}", "{}", ""),
            ("[]", "[]", ""),
            (r#"{"a": 1,}"#, "-", r#"1:8 "," error: a comma before `}`; hint: remove the comma"#),
            ("[1, 2,]", "-", r#"1:6 "," error: a comma before `]`; hint: remove the comma"#),
            ("[1,,2]", "-", r#"1:4 "," error: a comma with nothing before it; hint: remove the comma"#),
            ("[,1]", "-", r#"1:2 "," error: a comma with nothing before it; hint: remove the comma"#),
            ("{'a': 'b'}", "-", r#"1:2 "'a'" error: strings stand in double quotes in JSON; hint: replace each `'` by `"`
1:7 "'b'" error: strings stand in double quotes in JSON; hint: replace each `'` by `"`"#),
            ("{a: 1, b: 2}", "-", r#"1:2 "a" error: the key `a` must stand in double quotes; hint: write "a"
1:8 "b" error: the key `b` must stand in double quotes; hint: write "b""#),
            (r#"{"a": 1 "b": 2}"#, "-", r#"1:8 "" error: expected `,` or `}`, found `"`; hint: add a comma here"#),
            (r#"{
  "a": 1
  "b": 2
}"#, "-", r#"2:9 "" error: expected `,` or `}`, found `"`; hint: add a comma here"#),
            (r#"// hello
{"a": 1 /* x */, # y
 "b": 2}"#, "-", r##"1:1 "// hello" error: JSON has no comments; hint: put it into a field, such as "_comment1": "…"
2:9 "/* x */" error: JSON has no comments; hint: put it into a field, such as "_comment1": "…"
2:18 "# y" error: JSON has no comments; hint: put it into a field, such as "_comment1": "…""##),
            ("/*", "-", r#"1:1 "/*" error: JSON has no comments; hint: put it into a field, such as "_comment1": "…""#),
            (r#"{"a": "x,
 "b": 2,}"#, "-", r#"1:7 "\"x" error: the string is not closed on its line; hint: add `"` at its end; a line break inside is written `\n`
2:8 "," error: a comma before `}`; hint: remove the comma"#),
            (r#"{"a": "x
}"#, "-", r#"1:7 "\"x" error: the string is not closed on its line; hint: add `"` at its end; a line break inside is written `\n`"#),
            ("{\"a\": \"x\r\n\"}", "-", r#"1:7 "\"x" error: the string is not closed on its line; hint: add `"` at its end; a line break inside is written `\n`"#),
            (r#"""#, "-", r#"1:1 "\"" error: the string is not closed on its line; hint: add `"` at its end; a line break inside is written `\n`"#),
            ("'", "-", r#"1:1 "'" error: the string is not closed on its line; hint: add `'` at its end; a line break inside is written `\n`"#),
            (r#""a\"#, "-", r#"1:1 "\"a\\" error: the string is not closed on its line; hint: add `"` at its end; a line break inside is written `\n`"#),
            (r#"{"a""#, "-", r#"1:1 "{" error: `{` is never closed; hint: add `}`; see 1:5 the file ends here"#),
            (r#"{"a":"#, "-", r#"1:1 "{" error: `{` is never closed; hint: add `}`; see 1:6 the file ends here"#),
            (r#"{"a": }"#, "-", r#"1:7 "}" error: expected a value, found `}`"#),
            (r#"{"a" 1}"#, "-", r#"1:6 "1" error: expected `:` after the key, found `1`; hint: each key of an object has a value: "key": value"#),
            (r#"{"a" = 1}"#, "-", r#"1:6 "=" error: expected `:` after the key, found `=`; hint: write `:`"#),
            (r#"{"a": 1"#, "-", r#"1:1 "{" error: `{` is never closed; hint: add `}`; see 1:8 the file ends here"#),
            (r#"{"a": [1, 2}"#, "-", r#"1:12 "}" error: expected `]`, found `}`; see 1:7 opened here"#),
            (r#"[{"a": 1]"#, "-", r#"1:9 "]" error: expected `}`, found `]`; see 1:2 opened here"#),
            (r#"{"a": 1}}"#, "-", r#"1:9 "}" error: expected the end of the file, found `}`; hint: a file holds one value; brackets that close too early are a common reason"#),
            (r#"{"a": 1} x"#, "-", r#"1:10 "x" error: expected the end of the file, found `x`; hint: a file holds one value; brackets that close too early are a common reason"#),
            ("[1 2 3]", "-", r#"1:3 "" error: expected `,` or `]`, found `2`; hint: add a comma here
1:5 "" error: expected `,` or `]`, found `3`; hint: add a comma here"#),
            ("[01, .5, 1., +1, 0x1f, 1e999]", "-", r#"1:2 "01" error: `01` is no number in JSON; hint: numbers look like 5, -0.5 or 1e3; anything else stands in double quotes
1:6 ".5" error: `.5` is no number in JSON; hint: numbers look like 5, -0.5 or 1e3; anything else stands in double quotes
1:10 "1." error: `1.` is no number in JSON; hint: numbers look like 5, -0.5 or 1e3; anything else stands in double quotes
1:14 "+1" error: `+1` is no number in JSON; hint: numbers look like 5, -0.5 or 1e3; anything else stands in double quotes
1:18 "0x1f" error: `0x1f` is no number in JSON; hint: numbers look like 5, -0.5 or 1e3; anything else stands in double quotes
1:24 "1e999" error: the number `1e999` is too large"#),
            ("[12345678901234567890, -0, 1e3, 0.5]", "[12345678901234567000, 0, 1000, 0.5]", ""),
            ("[true, false, null]", "[true, false, null]", ""),
            ("[True, None, nul]", "-", r#"1:2 "True" error: `True` is no value in JSON; hint: write `true`
1:8 "None" error: `None` is no value in JSON; hint: write `null`
1:14 "nul" error: `nul` is no value in JSON; hint: put it in double quotes if it is text"#),
            (r#""\u00e9\ud83d\ude00\n\/""#, r#""é😀\n/""#, ""),
            (r#""\ud83d""#, "-", r#"1:2 "\\ud83d" error: `\ud83d` is half of a surrogate pair, not a character"#),
            (r#""\u12""#, "-", r#"1:2 "\\u" error: `\u` must be followed by four hexadecimal digits"#),
            (r#""a\qb""#, "-", r#"1:3 "\\q" error: `\q` means nothing in JSON; hint: write `\\` for a backslash"#),
            ("\"a\tb\"", "-", r#"1:3 "\t" error: a control character stands in a string; hint: write it as `\t`"#),
            (r#"{"a": 1, "b": 2, "a": 3}"#, "{a: 3, b: 2}", r#"1:18 "\"a\"" warning: key `a` is given twice, and this one counts; see 1:2 first given here"#),
            (r#"{"a": 1; "b": 2}"#, "-", r#"1:8 ";" error: expected `,` or `}`, found `;`; hint: write `,`"#),
            (r#"{"a": @, "b": 1, c: 2}"#, "-", r#"1:7 "@" error: expected a value, found `@`
1:18 "c" error: the key `c` must stand in double quotes; hint: write "c""#),
            (r#"{"a": hello world, "b": 'c'}"#, "-", r#"1:7 "hello world" error: `hello world` is no value in JSON; hint: put it in double quotes if it is text
1:25 "'c'" error: strings stand in double quotes in JSON; hint: replace each `'` by `"`"#),
            ("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "-", r#"1:65 "[" error: brackets stand more than 64 deep in one another"#),
            (r#"[@"\é"#, "-", r#"1:2 "@" error: expected a value, found `@`
1:1 "[" error: `[` is never closed; hint: add `]`; see 1:6 the file ends here"#),
            (r#"{"é": é}"#, "-", r#"1:7 "é" error: expected a value, found `é`"#),
    ];

    /// S3.12, S1.1: what a broken file tells, at the place where it is broken, and how the parser goes on.
    #[test]
    fn values_and_mistakes() {
        for (text, tree, told) in CASES {
            let (file, mut problems) = testing::file("a.json", text);
            let node = parse(file, &mut problems);
            let node = node.map_or("-".to_owned(), |node| testing::shown(&node.value));
            assert_eq!((node.as_str(), testing::told(&problems).as_str()), (*tree, *told), "{text}");
        }
    }

    /// After so many errors there are no more, and a file that is too long is not read.
    #[test]
    fn limits() {
        let (file, mut problems) = testing::file("a.json", &format!("[{}]", "x, ".repeat(500)));
        assert_eq!(parse(file, &mut problems), None);
        assert_eq!(problems.list.len(), ERRORS_MAX);
        let (file, mut problems) = testing::file("a.json", &format!("\"{}\"", "x".repeat(TEXT_LEN_MAX)));
        assert_eq!(parse(file, &mut problems), None);
        assert_eq!(
            testing::told(&problems),
            "1:1 \"\" error: the file has 1048578 bytes, more than the 1048576 that a config file may have; \
             hint: split it into several files"
        );
        let (file, mut problems) = testing::file("a.json", &format!("{}1{}", "[".repeat(64), "]".repeat(64)));
        assert!(parse(file, &mut problems).is_some());
    }

    /// What a span covers is what was written.
    #[test]
    fn spans() {
        let text = " {\"a\": [1, \"é\"],\n \"b\" : {\"c\": -1.5}}\n";
        let (file, mut problems) = testing::file("a.json", text);
        let node = parse(file, &mut problems).unwrap();
        let covered = |span: Span| &text[span.start..span.end];
        assert_eq!(covered(node.span), text.trim());
        let Value::Table(table) = &node.value else { panic!() };
        assert_eq!(covered(table.span), text.trim());
        let [a, b] = table.entries.as_slice() else { panic!() };
        assert_eq!((covered(a.key_span), covered(a.value.span)), ("\"a\"", "[1, \"é\"]"));
        assert_eq!((covered(b.key_span), covered(b.value.span)), ("\"b\"", "{\"c\": -1.5}"));
    }

    /// Whether the tree is the one that another parser of the same grammar has.
    fn same(value: &Value, other: &serde_json::Value) -> bool {
        match (value, other) {
            (Value::Null, serde_json::Value::Null) => true,
            (Value::Boolean(a), serde_json::Value::Bool(b)) => a == b,
            (Value::String(a), serde_json::Value::String(b)) => a == b,
            (Value::Integer(a), serde_json::Value::Number(b)) => b.as_f64() == Some(*a as f64),
            (Value::Float(a), serde_json::Value::Number(b)) => b.as_f64() == Some(*a),
            (Value::Array(a), serde_json::Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.value, b))
            }
            (Value::Table(a), serde_json::Value::Object(b)) => {
                a.entries.len() == b.len()
                    && a.entries.iter().all(|e| b.get(&e.key).is_some_and(|b| same(&e.value.value, b)))
            }
            _ => false,
        }
    }

    proptest! {
        /// Any text is read or refused as another strict parser does, and nothing panics.
        #[test]
        fn agrees(text in r#"([\[\]{},:" \n]|"[ab]"|[01][.eE]?[+-]?|true|null|\\[nu"]|\{"a":|é|'|;|//|x){0,24}"#) {
            let (file, mut problems) = testing::file("a.json", &text);
            let node = parse(file, &mut problems);
            prop_assert_eq!(node.is_none(), problems.errors() > 0);
            match (serde_json::from_str::<serde_json::Value>(&text), &node) {
                (Ok(other), Some(node)) => prop_assert!(same(&node.value, &other), "{node:?} {other}"),
                (Err(_), None) => {}
                (other, node) => prop_assert!(false, "{other:?} {node:?}"),
            }
        }
    }
}
