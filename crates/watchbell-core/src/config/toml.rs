//! TOML text → spanned tree. All syntax errors are reported, not the first one only, each with its place
//! and what to do. Meaning is left to the loader.
//!
//! Entries come in the order of the file, dates and times as the text that was written.

use super::{
    Problems,
    problem::boundary,
    secret,
    tree::{Entry, FileId, Node, Span, Table, Value},
};
use std::ops::Range;
use toml::de::{DeInteger, DeTable, DeValue};
use toml_parser::{
    ParseError, Source,
    parser::{Event, EventKind, RecursionGuard, parse_document},
};

/// At most this many syntax errors of one file are reported; those behind them are mostly echoes.
pub const SYNTAX_ERRORS_MAX: usize = 20;

/// A text with so many is no TOML: no more of it is read. Many a line brings several.
const ERRORS_MAX: usize = 1000;

/// How many lists and tables may stand in one another.
pub const NESTING_MAX: u32 = 32;

/// How many parts a key may have, as `a.b.c` has three.
pub const KEY_PARTS_MAX: usize = 16;

/// Parses a TOML file. `None` when it has syntax errors, each of which was reported.
pub fn parse(text: &str, file: FileId, problems: &mut Problems) -> Option<Table> {
    let before = problems.errors();
    let survey = survey(text);
    if let Some((at, message)) = survey.deep {
        let hint = "write it flatter; a key that holds dots stands in quotes";
        problems.error(Span { file, start: at, end: at + 1 }, message).hint(hint);
        return None;
    }
    let whole = text;
    let text = &text[..survey.end];
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut places: Vec<_> = errors.iter().map(|e| (e.span().unwrap_or(0..0), e.message())).collect();
    first_of_each_line(text, &mut places);
    drop_echoes(text, &mut places);
    for (span, message) in places.into_iter().take(SYNTAX_ERRORS_MAX) {
        let line = &text[line_of(text, span.start)];
        // PagerDuty's, for all that is known of a file that can't be read.
        let secret = secret::may_stand_in(line) || key(line) == Some("key");
        let from = problems.list.len();
        report(text, file, message, span, secret, problems);
        for problem in problems.list[from..].iter_mut().filter(|_| secret) {
            problem.mask().hint("write `{ env = \"NAME\" }` or `{ file = \"PATH\" }`, never the secret itself");
        }
    }
    if problems.errors() == before && text.len() < whole.len() {
        problems.error(Span { file, start: 0, end: 0 }, "this is not TOML");
    }
    if problems.errors() > before {
        return None;
    }
    let converter = Converter { file, text };
    let table = converter.table(root.get_ref(), 0..0, problems);
    (problems.errors() == before).then_some(table)
}

/// What must be known of a text before a tree is made of it.
struct Survey {
    /// How far it is read: up to where it has too many errors.
    end: usize,
    /// The first place that is nested too deeply, and what is said of it. A tree that is would overflow the stack of
    /// whoever walks it.
    deep: Option<(usize, String)>,
}

fn survey(text: &str) -> Survey {
    let (mut errors, mut deep, mut nested) = (Vec::new(), None, None);
    let mut parts = 1;
    let mut events = |event: Event| match event.kind() {
        EventKind::SimpleKey | EventKind::Whitespace => {}
        EventKind::KeySep => {
            parts += 1;
            if parts > KEY_PARTS_MAX {
                deep.get_or_insert((event.span().start(), format!("a key has more than {KEY_PARTS_MAX} parts")));
            }
        }
        _ => parts = 1,
    };
    let mut sink = |error: ParseError| {
        let at = error.unexpected().or(error.context()).map_or(0, |span| span.start());
        if error.description().starts_with("cannot recurse") {
            nested.get_or_insert((at, format!("more than {NESTING_MAX} lists or tables stand in one another")));
        }
        if errors.len() < ERRORS_MAX {
            errors.push(boundary(text, at));
        }
    };
    let tokens = Source::new(text).lex().into_vec();
    parse_document(&tokens, &mut RecursionGuard::new(&mut events, NESTING_MAX), &mut sink);
    errors.sort_unstable();
    let end = match (errors.first(), errors.get(ERRORS_MAX - 1)) {
        (Some(first), Some(last)) => {
            // A line that is cut would have an error more.
            let start = text[..*last].rfind('\n').map_or(0, |at| at + 1);
            if start > *first { start } else { *last }
        }
        _ => text.len(),
    };
    Survey { end, deep: deep.into_iter().chain(nested).min_by_key(|(at, _)| *at) }
}

/// Keeps the first error of each line, in order: those after it come from the parser having lost its place.
fn first_of_each_line(text: &str, places: &mut Vec<(Range<usize>, &str)>) {
    places.sort_by_key(|(span, _)| span.start);
    let mut line_end: Option<usize> = None;
    places.retain(|(span, _)| {
        let known = line_end.is_some_and(|end| span.start <= end);
        if !known {
            let start = boundary(text, span.start);
            line_end = Some(text[start..].find('\n').map_or(text.len(), |at| start + at));
        }
        !known
    });
}

/// What the parser's messages mean to people, by how they start: (its message, ours, what to do). `{}` is
/// the text it points at.
const SAYINGS: &[(&str, &str, &str)] = &[
    ("string values must be quoted", "text must stand in quotes", "write `\"{}\"`"),
    ("unclosed table", "`]` is missing at the end of the table's header", "write `[NAME]`"),
    ("unclosed array table", "`]]` is missing at the end of the table's header", "write `[[NAME]]`"),
    ("unclosed array", "`]` is missing at the end of the list", "add `]`"),
    ("unclosed inline table", "`}` is missing at the end of the table", "add `}`"),
    (
        "missing comma",
        "a comma is missing here, or the bracket of the list or table before is not closed",
        "put `,` between elements, `]` or `}` at the end",
    ),
    ("extra comma", "there is a comma too many", "remove it"),
    (
        "invalid unquoted key",
        "a key can't hold `{}`",
        "a key is letters, digits, `-` and `_`, or stands in quotes; `=` follows it",
    ),
    ("invalid boolean", "`{}` is neither true nor false", "write `true` or `false`, in small letters"),
    (
        "invalid key-value pair",
        "this is no `NAME = value`",
        "a TOML file has headers as `[check.NAME]` and lines as `every = \"1m\"`",
    ),
    ("missing opening quote", "the text has no opening quote", "put `\"` before it"),
    ("invalid basic string", "the text has no closing quote", "put `\"` at its end, on the same line"),
    ("invalid literal string", "the text has no closing quote", "put `'` at its end, on the same line"),
    (
        "missing escaped value",
        "`\\` does not start an escape",
        "write `\\\\` for a backslash, or put the text in 'single quotes'",
    ),
    ("unexpected leading zero", "a number can't start with 0", "remove the 0, or write text in quotes"),
    ("unquoted keys cannot be empty", "there is no key before `=`", "write `NAME = …`"),
    (
        "carriage return must be followed",
        "there is a carriage return inside the line",
        "save the file with line ends of one sort",
    ),
];

fn report(text: &str, file: FileId, message: &str, span: Range<usize>, secret: bool, problems: &mut Problems) {
    let at = Span { file, start: span.start, end: span.end };
    let word = text.get(span.clone()).unwrap_or_default().trim();
    let shown = if secret { "***" } else { word };
    if message.starts_with("duplicate key") {
        let problem = problems.error(at, format!("`{}` stands here for the second time", header_or_key(text, &span)));
        problem.hint("remove one of them, or give it another name");
        if let Some(first) = first_place(text, &span) {
            problem.related(Span { file, start: first.start, end: first.end }, "it stands here first");
        }
        return;
    }
    if word.is_empty() && message.starts_with("string values must be quoted") {
        let hint = "write a value: text in quotes, a number, true, false or a list";
        problems.error(at, "there is no value after `=`").hint(hint);
        return;
    }
    if message.starts_with("key with no value") {
        key_without_value(text, at, problems);
        return;
    }
    let (what, expected) = message.split_once(", expected ").map_or((message, None), |(w, e)| (w, Some(e)));
    if let Some((_, ours, hint)) = SAYINGS.iter().find(|(start, ..)| what.starts_with(start)) {
        problems.error(at, ours.replace("{}", shown)).hint(hint.replace("{}", shown));
        return;
    }
    let problem = problems.error(at, format!("this is not TOML: {what}"));
    match expected {
        Some("nothing") => problem.hint("remove this"),
        Some(expected) => problem.hint(format!("expected here: {expected}")),
        None => problem,
    };
}

/// What follows from an error before: a list that is not closed lacks a comma on every line after it, and below
/// a header that stands twice every key may stand twice.
fn drop_echoes(text: &str, places: &mut Vec<(Range<usize>, &str)>) {
    let mut lacks_comma = false;
    let mut doubled_table: Option<usize> = None;
    places.retain(|(span, message)| {
        let echo = message.starts_with("missing comma") && std::mem::replace(&mut lacks_comma, true);
        lacks_comma &= message.starts_with("missing comma");
        let line = line_of(text, span.start);
        let doubled = message.starts_with("duplicate key");
        if doubled && header(&text[line.clone()]).is_some() {
            doubled_table = Some(line.end);
        } else if doubled && let Some(start) = doubled_table {
            let another = text[start..line.start].lines().any(|line| header(line).is_some());
            doubled_table = (!another).then_some(line.start);
            return another;
        }
        !echo
    });
}

/// `retry`, `retry: 3`, `my key = 3`: the parser points behind the first word.
fn key_without_value(text: &str, at: Span, problems: &mut Problems) {
    let line = line_of(text, at.start);
    let content = text[line.clone()].trim_end();
    let (start, end) = (line.start + (content.len() - content.trim_start().len()), line.start + content.len());
    let (what, hint) = match content.split_once('=') {
        Some((key, _)) if key.trim().contains(char::is_whitespace) => {
            (format!("the key `{}` holds blanks", key.trim()), format!("write `\"{}\" = …`", key.trim()))
        }
        _ => {
            let word = content.trim().split([':', ' ', '\t']).next().unwrap_or_default();
            (format!("`{word}` has no value"), format!("write `{word} = …`"))
        }
    };
    problems.error(Span { start, end: end.max(start), ..at }, what).hint(hint);
}

/// The line that holds a place, as a range without its line end.
fn line_of(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
    let end = text.get(at..).and_then(|t| t.find('\n')).map_or(text.len(), |i| at + i);
    start..end
}

/// `[check.disk]` for a key inside a header, the key itself else.
fn header_or_key<'t>(text: &'t str, span: &Range<usize>) -> &'t str {
    let line = &text[line_of(text, span.start)];
    match header(line) {
        Some(header) => header,
        None => text.get(span.clone()).unwrap_or_default(),
    }
}

/// The header on a line, brackets included.
fn header(line: &str) -> Option<&str> {
    let line = line.trim();
    let end = line.rfind(']')?;
    line.starts_with('[').then(|| &line[..=end])
}

/// The key that a `key = value` line starts with.
fn key(line: &str) -> Option<&str> {
    line.split_once('=').map(|(key, _)| key.trim())
}

/// Where a doubled key or header stood first. The parser does not keep that place, so the lines before are
/// searched: for a header all of them, for a key those of its own table.
fn first_place(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let second = line_of(text, span.start);
    let wanted_header = header(&text[second.clone()]);
    let wanted_key = text.get(span.clone())?;
    let mut end = second.start;
    let mut found = None;
    while end > 0 {
        let line = line_of(text, end - 1);
        let content = &text[line.clone()];
        let place = |word: &str| {
            let start = line.start + content.find(word).unwrap_or(0);
            start..start + word.len()
        };
        match (wanted_header, header(content)) {
            (Some(wanted), Some(here)) if wanted == here => found = Some(place(here)),
            (None, Some(_)) => break,
            (None, None) if key(content) == Some(wanted_key) => found = Some(place(wanted_key)),
            _ => {}
        }
        end = line.start;
    }
    found
}

struct Converter<'t> {
    file: FileId,
    text: &'t str,
}

impl Converter<'_> {
    fn span(&self, range: &Range<usize>) -> Span {
        Span { file: self.file, start: range.start, end: range.end }
    }

    fn table(&self, table: &DeTable<'_>, range: Range<usize>, problems: &mut Problems) -> Table {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_span: self.span(&key.span()),
                value: self.node(value.get_ref(), value.span(), problems),
            })
            .collect();
        // The library sorts by key; people expect the order they wrote.
        entries.sort_by_key(|entry| entry.key_span.start);
        Table { span: self.span(&range), entries }
    }

    fn node(&self, value: &DeValue<'_>, range: Range<usize>, problems: &mut Problems) -> Node {
        let span = self.span(&range);
        let value = match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(b) => Value::Boolean(*b),
            DeValue::Datetime(_) => Value::Datetime(self.text.get(range).unwrap_or_default().to_owned()),
            DeValue::Array(nodes) => {
                Value::Array(nodes.iter().map(|n| self.node(n.get_ref(), n.span(), problems)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, range, problems)),
            DeValue::Integer(number) => integer(number).unwrap_or_else(|| {
                problems
                    .error(span, format!("the number {number} is too large"))
                    .hint("whole numbers go from -9223372036854775808 to 9223372036854775807");
                Value::Null
            }),
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(x) if x.is_finite() || number.as_str().contains(['i', 'n']) => Value::Float(x),
                _ => {
                    problems.error(span, format!("the number {} is too large", number.as_str()));
                    Value::Null
                }
            },
        };
        Node { span, value }
    }
}

fn integer(number: &DeInteger<'_>) -> Option<Value> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let file = problems.add_file("a.toml", text);
        assert!(parse(text, file, &mut problems).is_none(), "{text:?} should not parse");
        let list = &problems.list;
        list.iter()
            .map(|p| {
                let (line, column) = problems.position(p.span);
                format!("{line}:{column}: {} | {}", p.message, p.hint.as_deref().unwrap_or("-"))
            })
            .collect()
    }

    #[test]
    fn all_syntax_errors_are_reported() {
        let text = "[check.a]\nevery = 1m\nretry = \n[check.b\nnotify = [\"a\", \"b\"]\n\n[check.c]\nx = \"abc\n";
        assert_eq!(
            errors(text),
            [
                "2:9: text must stand in quotes | write `\"1m\"`",
                "3:9: there is no value after `=` | write a value: text in quotes, a number, true, false or a list",
                "4:9: `]` is missing at the end of the table's header | write `[NAME]`",
                "8:9: the text has no closing quote | put `\"` at its end, on the same line",
            ]
        );
    }

    #[test]
    fn messages_say_what_to_do() {
        for (text, expect) in [
            ("a = 1m\n", "1:5: text must stand in quotes | write `\"1m\"`"),
            ("a\n", "1:1: `a` has no value | write `a = …`"),
            (
                "a: 1\n",
                "1:2: a key can't hold `:` | a key is letters, digits, `-` and `_`, or stands in quotes; `=` follows it",
            ),
            ("a b = 1\n", "1:1: the key `a b` holds blanks | write `\"a b\" = …`"),
            ("[[a]\n", "1:5: `]]` is missing at the end of the table's header | write `[[NAME]]`"),
            ("a = [1, 2\n", "1:10: `]` is missing at the end of the list | add `]`"),
            ("a = { b = 1\n", "1:12: `}` is missing at the end of the table | add `}`"),
            ("a = [1,,2]\n", "1:8: there is a comma too many | remove it"),
            ("a = abc\"\n", "1:5: the text has no opening quote | put `\"` before it"),
            ("a = 012\n", "1:5: a number can't start with 0 | remove the 0, or write text in quotes"),
            (" = 1\n", "1:2: there is no key before `=` | write `NAME = …`"),
            ("a = 1e999\n", "1:5: the number 1e999 is too large | -"),
            (
                "a = 1\n\na = 2\n",
                "3:1: `a` stands here for the second time | remove one of them, or give it another name",
            ),
        ] {
            assert_eq!(errors(text)[0], expect, "{text:?}");
        }
        assert!(errors("a = 99999999999999999999\n")[0].contains("is too large"));
    }

    #[test]
    fn a_broken_secret_is_not_repeated() {
        for text in [
            "token = xoxb-1\n",
            "token = \"xoxb-1\n",
            "token = truexoxb-1\n",
            "token xoxb-1\n",
            "token: xoxb-1\n",
            "sentry_dsn = \"xoxb-1\" x\n",
            "key = xoxb-1",
            "token = \"xoxb-1\"\ntoken = \"xoxb-2\"\n",
            "url = \"https://a:xoxb-1@b/\n",
            "headers = { X = \"Bearer xoxb-1\" \n",
        ] {
            let mut problems = Problems::default();
            let file = problems.add_file("a.toml", text);
            parse(text, file, &mut problems);
            let shown = format!("{}{}", crate::config::render(&problems, false), crate::config::to_json(&problems));
            assert!(!shown.contains("xoxb"), "{shown}");
        }
    }

    /// What is no TOML at all is not read to its end: a tree or a list of errors as long as the text would take all memory.
    #[test]
    fn garbage_is_given_up() {
        for (text, told) in [
            ("=".repeat(200_000), 1),
            ("[".repeat(200_000), 1),
            ("]\n".repeat(100_000), SYNTAX_ERRORS_MAX),
            (format!("a = 1\n{}", "x\n".repeat(100_000)), SYNTAX_ERRORS_MAX),
            (format!("a = [{}]", "x,".repeat(100_000)), 1),
            (format!("{}a = [{}", "a = x\n".repeat(3), "1\n".repeat(50_000)), 5),
        ] {
            assert_eq!(errors(&text).len(), told, "{}", &text[..20]);
            assert!(survey(&text).end <= text.len());
        }
        let many = "x\n".repeat(100_000);
        assert_eq!(survey(&many).end, 2 * (ERRORS_MAX - 1), "it stops at a line's start");
    }

    /// A tree as deep as a text can be long would overflow the stack of whoever walks it.
    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("a = {}1{}", "[".repeat(n), "]".repeat(n));
        let tables = |n: usize| format!("a = {}1{}", "{ b = ".repeat(n), "}".repeat(n));
        let parts = |n: usize| vec!["a"; n].join(".");
        let most = NESTING_MAX as usize;
        for (text, message) in [
            (nested(most + 1), "more than 32 lists or tables stand in one another"),
            (nested(200_000), "more than 32 lists or tables stand in one another"),
            (tables(200_000), "more than 32 lists or tables stand in one another"),
            (format!("{} = 1", parts(KEY_PARTS_MAX + 1)), "a key has more than 16 parts"),
            (format!("[{}]", parts(200_000)), "a key has more than 16 parts"),
            (format!("x = {{ {} = 1 }}", parts(200_000)), "a key has more than 16 parts"),
        ] {
            let found = errors(&text);
            assert!(found.len() == 1 && found[0].contains(message), "{}: {found:?}", &text[..30]);
        }
        for text in
            [nested(most), tables(most), format!("{} = 1.5", parts(KEY_PARTS_MAX)), format!("a = \"{}\"", parts(500))]
        {
            let mut problems = Problems::default();
            let file = problems.add_file("a.toml", text.as_str());
            assert!(parse(&text, file, &mut problems).is_some(), "{text}: {:?}", problems.list);
        }
    }

    #[test]
    fn a_doubled_key_shows_where_it_stood_first() {
        for (text, first) in [("[a]\nb = 1\n\n[c]\n[a] # x\n", (1, 1)), ("[c]\nb = 1\n[a]\nb = 1\n b = 2\n", (4, 1))] {
            let mut problems = Problems::default();
            let file = problems.add_file("a.toml", text);
            parse(text, file, &mut problems);
            let (span, _) = problems.list[0].related.clone().unwrap();
            assert_eq!(problems.position(span), first, "{text:?}");
        }
    }

    #[test]
    fn entries_keep_their_order_and_places() {
        let text = "\u{feff}z = 1\na = { y = 2020-01-02, b = [0x10, 1.5] }\n[t.u]\nk = inf\n";
        let mut problems = Problems::default();
        let file = problems.add_file("a.toml", text);
        let table = parse(text, file, &mut problems).unwrap();
        let keys: Vec<_> = table.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "t"]);
        let Value::Table(inner) = &table.entries[1].value.value else { panic!() };
        assert_eq!(inner.entries[0].value.value, Value::Datetime("2020-01-02".into()));
        assert_eq!(problems.position(inner.entries[0].value.span), (2, 11));
        let Value::Array(list) = &inner.entries[1].value.value else { panic!() };
        assert_eq!((&list[0].value, &list[1].value), (&Value::Integer(16), &Value::Float(1.5)));
    }
}
