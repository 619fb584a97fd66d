//! What is wrong with config files: collected, all of them, and rendered for people or as JSON.

use super::tree::{FileId, Node, Span, Value};
use crate::wire::text::{MESSAGE_CHARS_MAX, bounded};
use serde::Serialize;
use std::collections::BTreeSet;

/// How bad a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works, but not as somebody may think.
    Warning,
    /// The thing it is about is not used.
    Error,
}

/// So many problems of one file are told; and the first error of each thing that is wrong, since that has a fault of its
/// own. The rest is counted.
pub const FILE_PROBLEMS_MAX: usize = 200;

/// How far apart the places are whose line and column are known beforehand, in bytes.
const MARK_EVERY: usize = 512;

/// One file that was read, kept so that problems can show the line.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceFile {
    /// The path as people should see it (relative to the config folder).
    pub path: String,
    /// Its text.
    pub text: String,
    /// Places with their line and column, in order: to number a place no more than [`MARK_EVERY`] bytes are read.
    marks: Vec<Mark>,
}

/// A place in a text.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Mark {
    at: usize,
    /// How many lines end before it.
    line: usize,
    /// How many characters of its line stand before it.
    column: usize,
}

impl Mark {
    /// The place so far behind this one as `text` is long, which stands there.
    fn after(self, text: &str) -> Mark {
        let (lines, tail) = match text.rfind('\n') {
            Some(at) => (text.matches('\n').count(), &text[at + 1..]),
            None => (0, text),
        };
        let column = tail.chars().count() + if lines == 0 { self.column } else { 0 };
        Mark { at: self.at + text.len(), line: self.line + lines, column }
    }
}

impl SourceFile {
    fn new(path: String, text: String) -> SourceFile {
        let mut marks = vec![Mark { at: 0, line: 0, column: 0 }];
        let mut last = marks[0];
        while text.len() - last.at > MARK_EVERY {
            let end = boundary(&text, last.at + MARK_EVERY);
            last = last.after(&text[last.at..end]);
            marks.push(last);
        }
        SourceFile { path, text, marks }
    }

    /// Line and column of a place, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let at = boundary(&self.text, at);
        let known = self.marks.partition_point(|mark| mark.at <= at).saturating_sub(1);
        let Some(mark) = self.marks.get(known) else { return (1, 1) };
        let here = mark.after(&self.text[mark.at..at]);
        (here.line + 1, here.column + 1)
    }
}

/// The last character boundary at or before a byte.
pub(super) fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
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
    /// How many of them are errors: readers ask before and after each thing they read.
    errors: usize,
    /// Places of lines that hold secrets, beside those of masked problems in the list.
    pub(super) masked: BTreeSet<(FileId, usize)>,
}

impl Problems {
    /// None yet, of files that were read before.
    pub(super) fn none_of(files: Vec<SourceFile>) -> Problems {
        Problems { files, ..Problems::default() }
    }

    /// Takes a file in.
    pub fn add_file(&mut self, path: impl Into<String>, text: impl Into<String>) -> FileId {
        self.files.push(SourceFile::new(path.into(), text.into()));
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
        let message = bounded(&message, MESSAGE_CHARS_MAX).into_owned();
        self.add(Problem { level, span, message, hint: None, related: None, masked: false });
        &mut self.list[at]
    }

    /// Takes in what was found elsewhere.
    pub(super) fn add(&mut self, problem: Problem) {
        self.errors += usize::from(problem.level == Level::Error);
        self.list.push(problem);
    }

    /// Takes out all that were found after the first `from`.
    pub(super) fn take_since(&mut self, from: usize) -> Vec<Problem> {
        let taken = self.list.split_off(from);
        self.errors -= taken.iter().filter(|p| p.level == Level::Error).count();
        taken
    }

    /// Masks all that were found after the first `from`.
    pub fn mask_since(&mut self, from: usize) {
        for problem in self.list.iter_mut().skip(from) {
            problem.mask();
        }
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors
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
        self.files.get(span.file.0 as usize).map_or((1, 1), |file| file.position(span.start))
    }
}

impl Problem {
    /// Adds what to do.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Problem {
        self.hint = Some(bounded(&hint.into(), MESSAGE_CHARS_MAX).into_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

        /// A place is numbered without reading the text from its start, and the numbers are the same.
        #[test]
        fn places(pieces in prop::collection::vec("[a\u{e4}\u{65e5}]{0,400}\n?", 0..40), at in 0..20_000_usize) {
            let text = pieces.concat();
            let mut problems = Problems::default();
            let file = problems.add_file("a", text.as_str());
            let before = &text[..boundary(&text, at)];
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let expect = (before.matches('\n').count() + 1, column);
            prop_assert_eq!(problems.position(Span { file, start: at, end: at }), expect);
            let marks = &problems.files[0].marks;
            prop_assert!(marks.windows(2).all(|two| two[1].at - two[0].at <= MARK_EVERY));
            prop_assert!(text.len() - marks[marks.len() - 1].at <= MARK_EVERY);
        }
    }

    #[test]
    fn errors_are_counted_as_they_come_and_go() {
        let mut problems = Problems::default();
        problems.warning(Span::default(), "a");
        problems.error(Span::default(), "b");
        problems.error(Span::default(), "c");
        assert_eq!(problems.errors(), 2);
        let taken = problems.take_since(2);
        assert_eq!((problems.errors(), taken.len()), (1, 1));
        taken.into_iter().for_each(|problem| problems.add(problem));
        assert_eq!(problems.errors(), 2);
        problems.error(Span::default(), "x".repeat(1 << 20)).hint("y".repeat(1 << 20));
        let last = &problems.list[3];
        assert!(last.message.len() < 1100 && last.hint.as_ref().is_some_and(|hint| hint.len() < 1100));
    }
}
