//! The tree that every config format is parsed into: values that know where they stand.

use super::Secret;
use std::fmt;

/// Which of the files that were read together; an index into [`super::Problems::files`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileId(pub u32);

/// A stretch of one file, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// A value of a config file.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A list.
    Array(Vec<Node>),
    /// Keys and values.
    Table(Table),
    /// JSON's null.
    Null,
    /// TOML's date or time, as written.
    Datetime(String),
    /// A secret that an old format writes into its file (see [`super::formats`]). No parser makes one.
    Secret(Secret),
}

impl Value {
    /// What it is called in messages: "a string", "a table".
    pub const fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Null => "null",
            Value::Datetime(_) => "a date or time",
            Value::Secret(_) => "a secret",
        }
    }
}

/// Keys and values in the order of the file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table {
    /// Where the table (or its header) stands.
    pub span: Span,
    /// Its entries, in the order of the file.
    pub entries: Vec<Entry>,
}

/// One key and its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The same, as if all of it stood at one place.
    pub fn moved(&self, to: Span) -> Node {
        let value = match &self.value {
            Value::Array(nodes) => Value::Array(nodes.iter().map(|node| node.moved(to)).collect()),
            Value::Table(table) => Value::Table(table.moved(to)),
            plain => plain.clone(),
        };
        Node { span: to, value }
    }
}

impl Span {
    fn in_file(self, file: FileId) -> Span {
        Span { file, ..self }
    }
}

impl Node {
    fn in_file(self, file: FileId) -> Node {
        let value = match self.value {
            Value::Array(nodes) => Value::Array(nodes.into_iter().map(|node| node.in_file(file)).collect()),
            Value::Table(table) => Value::Table(table.in_file(file)),
            plain => plain,
        };
        Node { span: self.span.in_file(file), value }
    }

    /// One text, or a list.
    fn into_list(self) -> Vec<Node> {
        match self.value {
            Value::Array(nodes) => nodes,
            _ => vec![self],
        }
    }
}

impl Table {
    /// The same, its places being those of another file.
    pub fn in_file(self, file: FileId) -> Table {
        let in_file = |e: Entry| Entry { key: e.key, key_span: e.key_span.in_file(file), value: e.value.in_file(file) };
        Table { span: self.span.in_file(file), entries: self.entries.into_iter().map(in_file).collect() }
    }

    /// This with what another says besides: of keys that both have, this one's value counts; of `lists` both count.
    pub fn with(mut self, other: Table, lists: &[&str]) -> Table {
        for entry in other.entries {
            let Some(known) = self.entries.iter_mut().find(|e| e.key == entry.key) else {
                self.entries.push(entry);
                continue;
            };
            if lists.contains(&known.key.as_str()) {
                let span = known.value.span;
                let mine = std::mem::replace(&mut known.value, Node { span, value: Value::Null });
                let all = mine.into_list().into_iter().chain(entry.value.into_list()).collect();
                known.value = Node { span, value: Value::Array(all) };
            }
        }
        self
    }

    /// The same, as if all of it stood at one place, which may be in another file.
    pub fn moved(&self, to: Span) -> Table {
        let moved = |e: &Entry| Entry { key: e.key.clone(), key_span: to, value: e.value.moved(to) };
        Table { span: to, entries: self.entries.iter().map(moved).collect() }
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Adds an entry that stands nowhere of its own: it borrows the span it was derived from.
    pub fn put(&mut self, key: &str, span: Span, value: Value) {
        self.entries.push(Entry { key: key.to_owned(), key_span: span, value: Node { span, value } });
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(s) | Value::Datetime(s) => write!(f, "{s:?}"),
            Value::Integer(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x}"),
            Value::Boolean(b) => write!(f, "{b}"),
            Value::Array(a) => write!(f, "[{} items]", a.len()),
            Value::Table(t) => write!(f, "{{{} keys}}", t.entries.len()),
            Value::Null => write!(f, "null"),
            Value::Secret(_) => write!(f, "***"),
        }
    }
}
