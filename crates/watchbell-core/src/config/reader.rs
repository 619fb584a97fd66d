//! Reads one table: typed values out, problems with their places reported, unknown keys found.

use super::{
    Key, Problem, Problems, Secret, Shape,
    tree::{Entry, Node, Span, Table, Value},
};
use jiff::tz::TimeZone;
use regex::Regex;
use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

/// The longest time that can be configured: a hundred years. What is counted with it stays within its type.
pub const DURATION_MAX: Duration = Duration::from_secs(36_600 * 86_400);

/// So many unknown keys of one table are told; each is compared with all that are known.
const UNKNOWN_KEYS_MAX: usize = 50;

/// Reads one table. Each method reads one key; a missing key is `None` without a problem (the `require_…`
/// forms report it); a wrong value is a problem and `None`. Call [`Reader::finish`] at the end, or let the
/// caller do it: it reports every key that is in no key list.
///
/// Keys are declared ([`Key`]); reading one that is not is a programmer's error and panics.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The table.
    pub table: &'a Table,
    /// Where problems go.
    pub problems: &'a mut Problems,
    /// How the table is called in messages: "`[check.disk]`".
    pub title: String,
    /// The agent's time zone.
    pub zone: TimeZone,
    known: Vec<&'static Key>,
    hidden: Vec<&'static Key>,
}

impl<'a> Reader<'a> {
    /// A reader of a table whose keys are declared in `keys`.
    pub fn new(
        table: &'a Table,
        problems: &'a mut Problems,
        title: impl Into<String>,
        keys: &'static [Key],
    ) -> Reader<'a> {
        Reader {
            table,
            problems,
            title: title.into(),
            zone: TimeZone::UTC,
            known: keys.iter().collect(),
            hidden: Vec::new(),
        }
    }

    /// Declares more keys of the same table (a kind's, after the common ones).
    pub fn declare(&mut self, keys: &'static [Key]) {
        self.known.extend(keys);
    }

    /// Declares keys that may be read but not written here: [`Reader::finish`] reports them as it does
    /// unknown ones, and never proposes them. Translated old formats declare the same keys openly.
    pub fn declare_hidden(&mut self, keys: &'static [Key]) {
        self.hidden.extend(keys);
    }

    /// The entry of a key, if it is there.
    pub fn entry(&self, key: &str) -> Option<&'a Entry> {
        let declared = self.known.iter().chain(&self.hidden).any(|k| k.name == key);
        assert!(declared, "key `{key}` of {} is not declared", self.title);
        self.table.get(key)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// All keys that are written, known or not.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.table.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Where a key's value stands; the table itself if it is missing.
    pub fn span(&self, key: &str) -> Span {
        self.table.get(key).map_or(self.table.span, |e| e.value.span)
    }

    /// Reports a problem with a key's value, which is not shown if it may hold a secret.
    pub fn error(&mut self, key: &str, message: impl Into<String>) -> &mut Problem {
        let (span, secret) = (self.span(key), self.may_be_secret(key));
        let problem = self.problems.error(span, message);
        problem.masked |= secret;
        problem
    }

    /// Whether the value of a key may hold a secret, by the shape that it is declared with.
    fn may_be_secret(&self, key: &str) -> bool {
        let secret = |shape| matches!(shape, Shape::Secret | Shape::Text | Shape::StringMap);
        self.known.iter().chain(&self.hidden).any(|k| k.name == key && secret(k.shape))
    }

    fn wrong_type(&mut self, node: &Node, key: &str, wanted: &str) {
        let found = node.value.type_name();
        let plain = matches!(node.value, Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_));
        let hint = match &node.value {
            Value::String(text) if wanted.contains("number") || wanted.contains("integer") => {
                text.trim().parse::<f64>().is_ok().then(|| "remove the quotes".to_owned())
            }
            Value::String(text) if wanted == "true or false" => {
                matches!(text.as_str(), "true" | "false").then(|| "remove the quotes".to_owned())
            }
            _ if plain && wanted.contains("string") => Some("put it in quotes".to_owned()),
            Value::Array(_) if wanted == "a string" => Some("write one text in quotes".to_owned()),
            _ => None,
        };
        let secret = self.may_be_secret(key);
        let problem = self.problems.error(node.span, format!("`{key}` must be {wanted}, this is {found}"));
        problem.hint = hint;
        problem.masked |= secret;
    }

    /// Reports a missing key.
    pub fn missing(&mut self, key: &str) {
        let message = format!("{} has no `{key}`", self.title);
        self.problems.error(self.table.span, message).hint(format!("add `{key} = …`"));
    }

    /// Text.
    pub fn string(&mut self, key: &str) -> Option<String> {
        let entry = self.entry(key)?;
        match &entry.value.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong_type(&entry.value, key, "a string");
                None
            }
        }
    }

    /// Text that must be there and not be empty.
    pub fn require_string(&mut self, key: &str) -> Option<String> {
        if !self.has(key) {
            self.missing(key);
            return None;
        }
        let text = self.string(key)?;
        if text.trim().is_empty() {
            self.error(key, format!("`{key}` is empty")).hint("write what it should be");
            return None;
        }
        Some(text)
    }

    /// A whole number within a range.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let entry = self.entry(key)?;
        match entry.value.value {
            Value::Integer(n) if range.contains(&n) => Some(n),
            Value::Integer(n) => {
                let (low, high) = (range.start(), range.end());
                self.error(key, format!("`{key}` must be from {low} to {high}, this is {n}"));
                None
            }
            _ => {
                self.wrong_type(&entry.value, key, "an integer");
                None
            }
        }
    }

    /// Any finite number.
    pub fn number(&mut self, key: &str) -> Option<f64> {
        let entry = self.entry(key)?;
        match entry.value.value {
            Value::Integer(n) => Some(n as f64),
            Value::Float(x) if x.is_finite() => Some(x),
            Value::Float(x) => {
                self.error(key, format!("`{key}` must be a number that can be counted with, this is {x}"));
                None
            }
            _ => {
                self.wrong_type(&entry.value, key, "a number");
                None
            }
        }
    }

    /// true or false.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let entry = self.entry(key)?;
        match entry.value.value {
            Value::Boolean(b) => Some(b),
            _ => {
                self.wrong_type(&entry.value, key, "true or false");
                None
            }
        }
    }

    /// A length of time, more than zero and at most [`DURATION_MAX`]: `"90s"`, `"5m"`, `"1h30m"`, `"2d"`, `"250ms"`; a bare number is seconds.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        let entry = self.entry(key)?;
        let parsed = match &entry.value.value {
            Value::String(text) => parse_duration(text),
            Value::Integer(n) => u64::try_from(*n).ok().map(Duration::from_secs),
            Value::Float(x) => Duration::try_from_secs_f64(*x).ok(),
            _ => None,
        };
        let found = entry.value.value.to_string();
        match parsed.filter(|d| !d.is_zero()) {
            Some(length) if length <= DURATION_MAX => Some(length),
            Some(_) => {
                let days = DURATION_MAX.as_secs() / 86_400;
                self.error(key, format!("`{key}` is too long a time: {found}"))
                    .hint(format!("write at most \"{days}d\", a hundred years"));
                None
            }
            None => {
                self.error(key, format!("`{key}` is not a length of time: {found}"))
                    .hint("write it as \"30s\", \"5m\", \"1h30m\" or \"2d\"");
                None
            }
        }
    }

    /// One text or a list of texts; one text is one element.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        let entry = self.entry(key)?;
        match &entry.value.value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(nodes) => {
                let mut texts = Vec::new();
                for node in nodes {
                    match &node.value {
                        Value::String(text) => texts.push(text.clone()),
                        _ => self.wrong_type(node, key, "a list of strings"),
                    }
                }
                Some(texts)
            }
            _ => {
                self.wrong_type(&entry.value, key, "a string or a list of strings");
                None
            }
        }
    }

    /// The same, each with its node, so that a problem can point into it.
    pub fn string_nodes(&mut self, key: &str) -> Option<Vec<(String, &'a Node)>> {
        let entry = self.entry(key)?;
        let nodes = match &entry.value.value {
            Value::Array(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        self.strings(key)?;
        let text = |node: &'a Node| match &node.value {
            Value::String(text) => Some((text.clone(), node)),
            _ => None,
        };
        Some(nodes.iter().filter_map(text).collect())
    }

    /// Keys and texts.
    pub fn string_map(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        let entry = self.entry(key)?;
        let Value::Table(table) = &entry.value.value else {
            self.wrong_type(&entry.value, key, "a table of strings");
            return None;
        };
        let mut map = BTreeMap::new();
        for e in &table.entries {
            match &e.value.value {
                Value::String(text) => {
                    map.insert(e.key.clone(), text.clone());
                }
                _ => self.wrong_type(&e.value, &e.key, "a string"),
            }
        }
        Some(map)
    }

    /// Keys and texts that may be references; the texts may be secrets themselves.
    pub fn secret_map(&mut self, key: &str) -> Option<BTreeMap<String, Secret>> {
        let entry = self.entry(key)?;
        let Value::Table(table) = &entry.value.value else {
            self.wrong_type(&entry.value, key, "a table of strings");
            return None;
        };
        let mut map = BTreeMap::new();
        let before = self.problems.list.len();
        for e in &table.entries {
            if let Some(secret) = self.secret_node(&e.value, &e.key, true) {
                map.insert(e.key.clone(), secret);
            }
        }
        self.problems.mask_since(before);
        Some(map)
    }

    /// One of these words.
    pub fn choice<T: Clone>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(value.clone());
        }
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.error(key, format!("`{key}` can't be {text:?}")).hint(format!("it is one of {}", all.join(", ")));
        None
    }

    /// A regular expression.
    pub fn pattern(&mut self, key: &str) -> Option<Regex> {
        let text = self.string(key)?;
        match Regex::new(&text) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().replace("error: ", "");
                self.error(key, format!("`{key}` is not a regular expression: {why}")).hint(
                    "signs as `(`, `[`, `*` and `?` have a meaning; to be taken as they are they need `\\` before them",
                );
                None
            }
        }
    }

    /// A reference to a secret. The secret itself in the file is an error.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let entry = self.entry(key)?;
        self.secret_node(&entry.value, key, false)
    }

    /// Text, or a reference as for a secret.
    pub fn text(&mut self, key: &str) -> Option<Secret> {
        let entry = self.entry(key)?;
        self.secret_node(&entry.value, key, true)
    }

    fn secret_node(&mut self, node: &Node, key: &str, plain: bool) -> Option<Secret> {
        match &node.value {
            Value::String(text) if plain => Some(Secret::Value(text.clone())),
            // Old formats have no references; `formats` marks what they write in plain.
            Value::Secret(secret) => Some(secret.clone()),
            Value::String(_) => {
                self.problems
                    .error(node.span, format!("`{key}` is a secret, and must not stand in a file that many read"))
                    .mask()
                    .hint(format!("write `{key} = {{ env = \"NAME\" }}` or `{key} = {{ file = \"PATH\" }}`"));
                None
            }
            Value::Table(table) => match table.entries.as_slice() {
                [Entry { key: k, value: Node { value: Value::String(name), .. }, .. }] if k == "env" => {
                    Some(Secret::Env(name.clone()))
                }
                [Entry { key: k, value: Node { value: Value::String(path), .. }, .. }] if k == "file" => {
                    Some(Secret::File(path.clone()))
                }
                _ => {
                    self.problems
                        .error(node.span, format!("`{key}` is no reference to a secret: it has {}", keys_of(table)))
                        .mask()
                        .hint("write `{ env = \"NAME\" }` or `{ file = \"PATH\" }`");
                    None
                }
            },
            _ => {
                self.wrong_type(node, key, "`{ env = \"NAME\" }` or `{ file = \"PATH\" }`");
                None
            }
        }
    }

    /// Reports every key that is in no key list, with the nearest that is.
    pub fn finish(self) {
        self.finish_with(|_| None);
    }

    /// The same with a say in what to do about a key that looks like no known one.
    pub fn finish_with(self, hint: impl Fn(&str) -> Option<String>) {
        let unknown = self.table.entries.iter().filter(|entry| self.known.iter().all(|k| k.name != entry.key));
        let unknown: Vec<&Entry> = unknown.collect();
        if let Some(entry) = unknown.get(UNKNOWN_KEYS_MAX) {
            let message = format!("{} has {} more such keys", self.title, unknown.len() - UNKNOWN_KEYS_MAX);
            self.problems.error(entry.key_span, message).hint("mend those above it first");
        }
        for entry in unknown.into_iter().take(UNKNOWN_KEYS_MAX) {
            let near = nearest(&entry.key, self.known.iter().map(|k| k.name));
            let secret = near.is_some_and(|near| self.may_be_secret(near));
            let problem = self.problems.error(entry.key_span, format!("{} has no key `{}`", self.title, entry.key));
            // Misspelt, it is as secret as what was meant.
            problem.masked |= secret;
            let advice = hint(&entry.key);
            match (near, advice) {
                (Some(name), _) => problem.hint(format!("did you mean `{name}`?")),
                (None, Some(advice)) => problem.hint(advice),
                (None, None) => problem.hint("remove it; `watchbell man config` lists the keys there are"),
            };
        }
    }
}

/// The keys of a small table, for messages.
fn keys_of(table: &Table) -> String {
    match table.entries.as_slice() {
        [] => "no key".to_owned(),
        entries if entries.len() <= 3 => {
            entries.iter().map(|e| format!("`{}`", e.key)).collect::<Vec<_>>().join(" and ")
        }
        entries => format!("{} keys", entries.len()),
    }
}

/// Reads `"90s"`, `"5m"`, `"1h30m"`, `"2d"`, `"1w"`, `"250ms"`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(secs) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(secs).ok();
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|n| *n > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = rest[letters..].trim_start();
    }
    (!text.is_empty()).then_some(total)
}

/// The candidate nearest to a word, if one is near enough to be what was meant.
pub fn nearest<'n>(word: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // Comparing takes as long as both are long, one times the other.
    if word.len() > NEAREST_LEN_MAX {
        return None;
    }
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    let may_be_near = |c: &&str| c.len() <= 4 * (length + limit) && c.chars().count().abs_diff(length) <= limit;
    let mut same_start = None;
    let mut best = None;
    for candidate in candidates {
        if may_be_near(&candidate) {
            let found = (distance(word, candidate), candidate);
            if found.0 <= limit && best.is_none_or(|best| found < best) {
                best = Some(found);
            }
        }
        // `retries` means `retry`: a long common start says more than the number of edits.
        let common = word.chars().zip(candidate.chars()).take_while(|(a, b)| a == b).count();
        let rest = length.max(candidate.chars().count()) - common;
        if common >= COMMON_START_MIN && rest <= common && same_start.is_none_or(|best| (rest, candidate) < best) {
            same_start = Some((rest, candidate));
        }
    }
    best.or(same_start).map(|(_, candidate)| candidate)
}

/// For longer words, in bytes, nothing near is looked for.
const NEAREST_LEN_MAX: usize = 200;

/// Words that begin with as many equal letters are taken to be meant for each other.
const COMMON_START_MIN: usize = 4;

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
