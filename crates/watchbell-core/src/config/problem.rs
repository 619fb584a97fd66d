//! What is wrong with config files: collected, all of them, and rendered for people or as JSON.

use super::tree::{FileId, Node, Span, Value};
use serde::Serialize;

/// How bad a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works, but not as somebody may think.
    Warning,
    /// The thing it is about is not used.
    Error,
}

/// One file that was read, kept so that problems can show the line.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceFile {
    /// The path as people should see it (relative to the config folder).
    pub path: String,
    /// Its text.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    /// How bad.
    pub level: Level,
    /// Where; `None` when the file as a whole is meant.
    pub span: Span,
    /// What: lower case, no full stop, names in backticks.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// A second place that matters ("first defined here").
    pub related: Option<(Span, String)>,
    /// The line holds a secret, and so does that of [`Problem::related`]: what stands behind its first `=` or `:` is
    /// never shown, neither by this problem nor by another of the line. (Lines that look like it are masked anyway.)
    pub masked: bool,
}

/// Problems of a set of files read together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Problems {
    /// The files, by [`FileId`].
    pub files: Vec<SourceFile>,
    /// What is wrong, in the order it was found.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Takes a file in.
    pub fn add_file(&mut self, path: impl Into<String>, text: impl Into<String>) -> FileId {
        self.files.push(SourceFile { path: path.into(), text: text.into() });
        FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
    }

    /// Reports an error.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Level::Error, span, message.into())
    }

    /// Reports a warning.
    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Level::Warning, span, message.into())
    }

    fn push(&mut self, level: Level, span: Span, message: String) -> &mut Problem {
        let at = self.list.len();
        self.list.push(Problem { level, span, message, hint: None, related: None, masked: false });
        &mut self.list[at]
    }

    /// Masks all that were found after the first `from`.
    pub fn mask_since(&mut self, from: usize) {
        for problem in self.list.iter_mut().skip(from) {
            problem.mask();
        }
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|p| p.level == Level::Error).count()
    }

    /// The place inside a text of the config: from a byte of the text's content to the end of the word there.
    /// It is exact where the text stands in the file as it is, without escapes; else it is the whole text.
    pub fn inside(&self, node: &Node, offset: usize) -> Span {
        let Value::String(content) = &node.value else { return node.span };
        let place = || {
            let file = self.files.get(node.span.file.0 as usize)?;
            let written = file.text.get(node.span.start..node.span.end)?;
            let rest = content.get(offset..)?;
            let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let start = node.span.start + written.find(content.as_str())? + offset;
            Some(Span { start, end: start + length, ..node.span })
        };
        place().unwrap_or(node.span)
    }

    /// Line and column (both from 1, columns in characters) of a span's start.
    pub fn position(&self, span: Span) -> (usize, usize) {
        let Some(file) = self.files.get(span.file.0 as usize) else { return (1, 1) };
        let mut end = span.start.min(file.text.len());
        while !file.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &file.text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl Problem {
    /// Adds what to do.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Problem {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the line's value from being shown.
    pub fn mask(&mut self) -> &mut Problem {
        self.masked = true;
        self
    }

    /// Adds a second place.
    pub fn related(&mut self, span: Span, label: impl Into<String>) -> &mut Problem {
        self.related = Some((span, label.into()));
        self
    }
}
