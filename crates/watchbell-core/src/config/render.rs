//! Problems for people (with the source line underlined), as JSON, and as one line each. Pure text: where it
//! is printed, and whether in colour, is the caller's business.
//!
//! A problem always shows one line of the file, whatever its span, so that a report stays readable.

use super::{
    Level, Problem, Problems, SourceFile,
    guard::guarded,
    secret,
    tree::{FileId, Span},
};
use annotate_snippets::{AnnotationKind, Group, Level as Style, Origin, Renderer, Snippet};
use serde_json::{Value, json};
use std::{borrow::Cow, ops::Range};

/// Columns that a rendered line of the file may take before its ends are cut.
const WIDTH_MAX: usize = 120;
/// What is shown in place of a secret.
const MASK: &str = "***";
/// Longest source line in JSON, in characters.
const SOURCE_LINE_MAX: usize = 1000;

/// All problems for people: message, file, line, column, the line itself, and what to do.
pub fn render(problems: &Problems, color: bool) -> String {
    let mut out = String::new();
    for problem in &problems.list {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&render_one(problems, problem, color));
    }
    out
}

/// One problem, ending in a line end.
pub fn render_one(problems: &Problems, problem: &Problem, color: bool) -> String {
    guarded(|| drawn(problems, problem, color)).unwrap_or_else(|| summary_line(problems, problem) + "\n")
}

fn drawn(problems: &Problems, problem: &Problem, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH_MAX);
    let level = match problem.level {
        Level::Error => Style::ERROR,
        Level::Warning => Style::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(clean(&problem.message)));
    if let Some(place) = Place::of(problems, problem.span, problem.masked) {
        group = place.add_to(group, AnnotationKind::Primary, None);
    }
    if let Some((span, label)) = &problem.related
        && let Some(place) = Place::of(problems, *span, problem.masked)
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
    problems.list.iter().map(|p| problem_to_json(problems, p)).collect()
}

fn problem_to_json(problems: &Problems, problem: &Problem) -> Value {
    let mut object = span_to_json(problems, problem.span, problem.masked);
    object["level"] = json!(problem.level);
    object["message"] = json!(problem.message);
    object["hint"] = json!(problem.hint);
    object["related"] = match &problem.related {
        None => Value::Null,
        Some((span, label)) => {
            let mut related = span_to_json(problems, *span, problem.masked);
            related["message"] = json!(label);
            related
        }
    };
    object
}

/// The line that a problem is about, cut to what a screen may show, without what is secret in it.
pub fn source_line(problems: &Problems, problem: &Problem) -> Option<String> {
    line_shown(problems, problem.span, problem.masked)
}

fn line_shown(problems: &Problems, span: Span, masked: bool) -> Option<String> {
    Place::of(problems, span, masked).map(|place| place.line.chars().take(SOURCE_LINE_MAX).collect())
}

fn span_to_json(problems: &Problems, span: Span, masked: bool) -> Value {
    let Some(file) = problems.files.get(span.file.0 as usize) else { return json!({}) };
    let (line, column) = problems.position(span);
    let (end_line, end_column) = problems.position(Span { start: span.end, ..span });
    json!({
        "file": file.path, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
        "source_line": line_shown(problems, span, masked),
    })
}

/// One line of one file with the part that is meant.
struct Place<'a> {
    file: &'a SourceFile,
    line_number: usize,
    line: Cow<'a, str>,
    marked: Range<usize>,
}

impl<'a> Place<'a> {
    /// The line of a span; what is secret in it is masked, or else what `masked` says.
    fn of(problems: &'a Problems, span: Span, masked: bool) -> Option<Place<'a>> {
        let file = problems.files.get(span.file.0 as usize)?;
        let range = line_range(&file.text, span.start);
        let masked = masked || holds_a_secret(problems, span.file, &range);
        let line = &file.text[range.clone()];
        let start = boundary(line, span.start.saturating_sub(range.start));
        let end = boundary(line, span.end.saturating_sub(range.start)).max(start);
        let line_number = problems.position(span).0;
        let place = Place { file, line_number, line: Cow::Borrowed(line), marked: start..end };
        Some(if masked { place.masked() } else { place })
    }

    /// The same with what stands behind the first `=` or `:` hidden; all of it where none stands behind a key.
    fn masked(self) -> Place<'a> {
        let lead = self.line.len() - self.line.trim_start().len();
        let key = self.line.find(['=', ':']).filter(|at| !self.line[..*at].trim().contains(char::is_whitespace));
        let (visible, key_end) = match key {
            Some(at) => (format!("{} ", &self.line[..=at]), at),
            None => (self.line[..lead].to_owned(), 0),
        };
        let mask = visible.len()..visible.len() + MASK.len();
        let marked = if self.marked.end <= key_end { self.marked } else { mask };
        Place { line: Cow::Owned(visible + MASK), marked, ..self }
    }

    fn add_to(self, group: Group<'a>, kind: AnnotationKind, label: Option<String>) -> Group<'a> {
        let path = clean(&self.file.path);
        if self.file.text.is_empty() {
            return group.element(Origin::path(path));
        }
        let annotation = kind.span(self.marked).label(label);
        group.element(Snippet::source(self.line).line_start(self.line_number).path(path).annotation(annotation))
    }
}

/// Whether a line is not to be shown: by how it looks, or because another problem knows of a secret in it.
fn holds_a_secret(problems: &Problems, file: FileId, line: &Range<usize>) -> bool {
    let inside = |span: Span| span.file == file && line.start <= span.start && span.start <= line.end;
    let text = problems.files.get(file.0 as usize).and_then(|f| f.text.get(line.clone()));
    text.is_some_and(secret::may_stand_in) || problems.list.iter().any(|p| p.masked && inside(p.span))
}

/// The line that holds a byte, without its line end.
fn line_range(text: &str, at: usize) -> Range<usize> {
    let at = boundary(text, at);
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    let end = if text[start..end].ends_with('\r') { end - 1 } else { end };
    start..end.max(start)
}

/// The last character boundary at or before a byte.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Text from a file, safe to print: control characters other than line ends are shown, not obeyed.
fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let obeyed = c.is_control() && c != '\n';
            let shown = if obeyed { c.escape_default().to_string() } else { c.to_string() };
            shown.chars().collect::<Vec<_>>()
        })
        .collect()
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
