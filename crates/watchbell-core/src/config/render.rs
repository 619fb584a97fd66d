//! Problems for people (with the source line underlined), as JSON, and as one line each. Pure text: where it
//! is printed, and whether in colour, is the caller's business.
//!
//! A problem always shows one line of the file, whatever its span, so that a report stays readable.

use super::{
    Level, Problem, Problems, SourceFile,
    guard::guarded,
    problem::boundary,
    secret,
    tree::{FileId, Span},
};
use crate::wire::text::shown as clean;
use annotate_snippets::{AnnotationKind, Group, Level as Style, Origin, Renderer, Snippet};
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeSet, ops::Range};

/// Columns that a rendered line of the file may take before its ends are cut.
const WIDTH_MAX: usize = 120;
/// What is shown in place of a secret.
const MASK: &str = "***";
/// Longest source line in JSON, in characters.
const SOURCE_LINE_MAX: usize = 1000;
/// A line of a file that is longer, in bytes, is not shown: of one problem in it nobody would see where, and what of it
/// is secret could only be seen from its start.
const LINE_BYTES_MAX: usize = 4000;

/// All problems for people: message, file, line, column, the line itself, and what to do.
pub fn render(problems: &Problems, color: bool) -> String {
    let shown = Shown::of(problems);
    let mut out = String::new();
    for problem in &problems.list {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&shown.render_one(problem, color));
    }
    out
}

/// One problem, ending in a line end.
pub fn render_one(problems: &Problems, problem: &Problem, color: bool) -> String {
    Shown::of(problems).render_one(problem, color)
}

/// Problems with what must be known of all of them before one may be shown.
pub(super) struct Shown<'a> {
    problems: &'a Problems,
    /// Where those stand whose lines hold secrets.
    masked: BTreeSet<(FileId, usize)>,
}

impl<'a> Shown<'a> {
    pub(super) fn of(problems: &'a Problems) -> Shown<'a> {
        let masked = problems.list.iter().filter(|p| p.masked).map(|p| (p.span.file, p.span.start));
        Shown { problems, masked: masked.chain(problems.masked.iter().copied()).collect() }
    }

    pub(super) fn render_one(&self, problem: &Problem, color: bool) -> String {
        guarded(|| self.drawn(problem, color)).unwrap_or_else(|| summary_line(self.problems, problem) + "\n")
    }

    fn drawn(&self, problem: &Problem, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH_MAX);
        let level = match problem.level {
            Level::Error => Style::ERROR,
            Level::Warning => Style::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(clean(&problem.message)));
        if let Some(place) = self.place(problem.span, problem.masked) {
            group = place.add_to(group, AnnotationKind::Primary, None);
        }
        if let Some((span, label)) = &problem.related
            && let Some(place) = self.place(*span, problem.masked)
        {
            group = place.add_to(group, AnnotationKind::Context, Some(clean(label)));
        }
        if let Some(hint) = &problem.hint {
            group = group.element(Style::HELP.with_name("hint").message(clean(hint)));
        }
        let mut text = renderer.render(&[group]);
        text.push('\n');
        text
    }

    fn to_json(&self, problem: &Problem) -> Value {
        let mut object = self.span_to_json(problem.span, problem.masked);
        object["level"] = json!(problem.level);
        object["message"] = json!(problem.message);
        object["hint"] = json!(problem.hint);
        object["related"] = match &problem.related {
            None => Value::Null,
            Some((span, label)) => {
                let mut related = self.span_to_json(*span, problem.masked);
                related["message"] = json!(label);
                related
            }
        };
        object
    }

    fn span_to_json(&self, span: Span, masked: bool) -> Value {
        let problems = self.problems;
        let Some(file) = problems.files.get(span.file.0 as usize) else { return json!({}) };
        let (line, column) = problems.position(span);
        let (end_line, end_column) = problems.position(Span { start: span.end, ..span });
        json!({
            "file": file.path, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
            "source_line": self.line_shown(span, masked),
        })
    }

    fn line_shown(&self, span: Span, masked: bool) -> Option<String> {
        self.place(span, masked)?.line.map(|line| line.chars().take(SOURCE_LINE_MAX).collect())
    }

    /// The line of a span; what is secret in it is masked, or else what `masked` says.
    fn place(&self, span: Span, masked: bool) -> Option<Place<'a>> {
        let file = self.problems.files.get(span.file.0 as usize)?;
        let position = self.problems.position(span);
        let Some(range) = line_range(&file.text, span.start) else {
            return Some(Place { file, position, line: None, marked: 0..0 });
        };
        let masked = masked || self.holds_a_secret(span.file, &range);
        let line = &file.text[range.clone()];
        let start = boundary(line, span.start.saturating_sub(range.start));
        let end = boundary(line, span.end.saturating_sub(range.start)).max(start);
        Some(Place { file, position, line: Some(Cow::Borrowed(line)), marked: start..end }.masked_if(masked))
    }

    /// Whether a line is not to be shown: by how it looks, or because a problem knows of a secret in it.
    fn holds_a_secret(&self, file: FileId, line: &Range<usize>) -> bool {
        let text = self.problems.files.get(file.0 as usize).and_then(|f| f.text.get(line.clone()));
        text.is_some_and(secret::may_stand_in)
            || self.masked.range((file, line.start)..=(file, line.end)).next().is_some()
    }
}

/// `file:line:column: message`, on one line.
pub fn summary_line(problems: &Problems, problem: &Problem) -> String {
    let message = clean(&problem.message).replace('\n', " ");
    match problems.files.get(problem.span.file.0 as usize) {
        Some(file) if file.text.is_empty() => format!("{}: {message}", clean(&file.path)),
        Some(file) => {
            let (line, column) = problems.position(problem.span);
            format!("{}:{line}:{column}: {message}", clean(&file.path))
        }
        None => message,
    }
}

/// All problems as a JSON array of `level, file, line, column, end_line, end_column, message, hint,
/// source_line, related`. Lines and columns count from 1, columns in characters; the end is exclusive.
pub fn to_json(problems: &Problems) -> Value {
    let shown = Shown::of(problems);
    problems.list.iter().map(|p| shown.to_json(p)).collect()
}

/// The line that a problem is about, cut to what a screen may show, without what is secret in it. `None` where there is
/// none, or one that is too long.
pub fn source_line(problems: &Problems, problem: &Problem) -> Option<String> {
    Shown::of(problems).line_shown(problem.span, problem.masked)
}

/// One line of one file with the part that is meant.
struct Place<'a> {
    file: &'a SourceFile,
    /// Line and column.
    position: (usize, usize),
    /// `None`: it is too long.
    line: Option<Cow<'a, str>>,
    marked: Range<usize>,
}

impl<'a> Place<'a> {
    /// The same with what stands behind the first `=` or `:` hidden; all of it where none stands behind a key.
    fn masked_if(self, masked: bool) -> Place<'a> {
        let Some(line) = self.line.as_deref().filter(|_| masked) else { return self };
        let lead = line.len() - line.trim_start().len();
        let key = line.find(['=', ':']).filter(|at| !line[..*at].trim().contains(char::is_whitespace));
        let (visible, key_end) = match key {
            Some(at) => (format!("{} ", &line[..=at]), at),
            None => (line[..lead].to_owned(), 0),
        };
        let mask = visible.len()..visible.len() + MASK.len();
        let marked = if self.marked.end <= key_end { self.marked } else { mask };
        Place { line: Some(Cow::Owned(visible + MASK)), marked, ..self }
    }

    fn add_to(self, group: Group<'a>, kind: AnnotationKind, label: Option<String>) -> Group<'a> {
        let path = clean(&self.file.path);
        if self.file.text.is_empty() {
            return group.element(Origin::path(path));
        }
        let (number, column) = self.position;
        let Some(line) = self.line else {
            return group.element(Origin::path(path).line(number).char_column(column));
        };
        let annotation = kind.span(self.marked).label(label);
        group.element(Snippet::source(line).line_start(number).path(path).annotation(annotation))
    }
}

/// The line that holds a byte, without its line end; `None` for one that is longer than [`LINE_BYTES_MAX`].
fn line_range(text: &str, at: usize) -> Option<Range<usize>> {
    let at = boundary(text, at);
    let (first, last) = (boundary(text, at.saturating_sub(LINE_BYTES_MAX)), boundary(text, at + LINE_BYTES_MAX));
    let start = text[first..at].rfind('\n').map(|i| first + i + 1).or((first == 0).then_some(0))?;
    let end = text[at..last].find('\n').map(|i| at + i).or((last == text.len()).then_some(last))?;
    let end = if text[start..end].ends_with('\r') { end - 1 } else { end };
    (end - start <= LINE_BYTES_MAX).then_some(start..end.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::FileId;

    fn problems(text: &str, start: usize, end: usize) -> Problems {
        let mut problems = Problems::default();
        let file = problems.add_file("conf.d/web.toml", text);
        problems
            .error(Span { file, start, end }, "`retry` must be from 0 to 1000, this is -1")
            .hint("write 0 for none");
        problems
    }

    #[test]
    fn one_problem() {
        let text = "[check.disk]\nretry = -1\n";
        let mut p = problems(text, 21, 23);
        p.list[0].related(Span { file: FileId(0), start: 0, end: 12 }, "in this check");
        let expect = "\
error: `retry` must be from 0 to 1000, this is -1
 --> conf.d/web.toml:2:9
  |
2 | retry = -1
  |         ^^
  |
 ::: conf.d/web.toml:1:1
  |
1 | [check.disk]
  | ------------ in this check
  |
  = hint: write 0 for none
";
        assert_eq!(render(&p, false), expect);
        assert!(render(&p, true).contains("\u{1b}["));
        assert_eq!(summary_line(&p, &p.list[0]), "conf.d/web.toml:2:9: `retry` must be from 0 to 1000, this is -1");
        let json = to_json(&p);
        assert_eq!(json[0]["line"], 2);
        assert_eq!(json[0]["end_column"], 11);
        assert_eq!(json[0]["source_line"], "retry = -1");
        assert_eq!(json[0]["related"]["message"], "in this check");
        assert_eq!(json[0]["level"], "error");
    }

    #[test]
    fn odd_lines() {
        let long = format!("x = \"{}\" # {}", "a".repeat(400), "b".repeat(400));
        for (text, start, end, place, line) in [
            ("\tkey = 1\r\nb = 2\r\n", 1, 4, "1:2", "    key = 1"),
            ("ключ = \"日本\" # x", 11, 19, "1:8", "ключ = \"日本\" # x"),
            ("a\n", 2, 2, "2:1", ""),
            ("a", 99, 120, "1:2", "a"),
            ("\u{1b}[31m = 1", 0, 5, "1:1", "[31m = 1"),
            (long.as_str(), 4, 406, "1:5", "x = \"aaa"),
        ] {
            let out = render(&problems(text, start, end), false);
            assert!(out.contains(&format!("conf.d/web.toml:{place}\n")), "{text:?}\n{out}");
            assert!(out.contains(line), "{text:?}\n{out}");
            assert!(!out.contains(['\u{1b}', '\r', '\t']), "{out:?}");
            assert!(out.lines().all(|l| l.chars().count() <= WIDTH_MAX + 10), "{out}");
        }
    }

    /// A line of which nobody sees the start on a screen is not shown, only where it is: it may hold a secret.
    #[test]
    fn lines_that_are_too_long() {
        for (before, after) in [(LINE_BYTES_MAX, 1), (1, LINE_BYTES_MAX), (1 << 20, 1 << 20)] {
            let text = format!("a\ntoken = {}{}", "é".repeat(before), "b".repeat(after));
            let p = problems(&text, 10 + 2 * before, 11 + 2 * before);
            let out = render(&p, false);
            assert!(out.contains(&format!("conf.d/web.toml:2:{}\n", before + 9)), "{out}");
            assert!(!out.contains("token") && out.len() < 300, "{out}");
            assert_eq!(to_json(&p)[0]["source_line"], Value::Null);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (text, start, end) in [("token = \"xoxb-1\"\n", 8, 16), ("\ttoken:xoxb-1", 13, 13), ("xoxb-1", 0, 6)] {
            let mut p = problems(text, start, end);
            p.list[0].mask();
            let all = format!("{}{}{}", render(&p, false), to_json(&p), summary_line(&p, &p.list[0]));
            assert!(!all.contains("xoxb"), "{all}");
            assert!(all.contains("***"), "{all}");
        }
    }

    #[test]
    fn secrets_show_in_no_other_problem_and_no_second_place() {
        let text = "a = { b = \"xoxb-1\", c = 1 }\ntoken = \"xoxb-2\"\n";
        let mut p = problems(text, 4, 5);
        let file = FileId(0);
        p.error(Span { file, start: 20, end: 21 }, "c is wrong").related(Span { file, start: 29, end: 34 }, "see here");
        let shown = |p: &Problems| format!("{}{}{:?}", render(p, false), to_json(p), source_line(p, &p.list[1]));
        assert!(shown(&p).contains("xoxb-1") && !shown(&p).contains("xoxb-2"), "{}", shown(&p));
        p.list[0].mask();
        assert!(!shown(&p).contains("xoxb"), "{}", shown(&p));
    }

    #[test]
    fn a_file_without_text_is_shown_by_name() {
        let mut p = Problems::default();
        let file = p.add_file("a.toml", "");
        p.error(Span { file, ..Span::default() }, "can't be read: permission denied\u{7}");
        assert_eq!(render(&p, false), "error: can't be read: permission denied\\u{7}\n--> a.toml\n");
        assert_eq!(summary_line(&p, &p.list[0]), "a.toml: can't be read: permission denied\\u{7}");
    }
}
