//! dwmon's `*.dwmon` files, one check each: a query, requirement lines, a source, and JSON of its own.
//!
//! Translated into the tables that a check with `query` has ([`crate::config::keys::EXPECT_KEYS`]); whether its source
//! is there is for the loader to see. Everything the old grammar lays down is judged here, in its own words where it
//! has such, all mistakes of a file at once. Two things are taken more kindly than by dwmon itself: `__EXTRA__` may be
//! missing or empty, and comment lines may stand before the first section.
//!
//! dwmon looks for a section's name anywhere. So does this: a section's content may begin on the line of its name, and a
//! name in the middle of a line opens the section that comes next if no line begins with it. Else it is part of the text
//! that it stands in, as in a query that asks for it.

use super::{ERRORS_MAX, TEXT_LEN_MAX, json};
use crate::config::{
    Problem, Problems,
    expect::{COUNT_MAX, EXPECT_MAX, LOOKBACK_MAX, STEP_MAX},
    reader::nearest,
    tree::{FileId, Node, Span, Table, Value},
};

/// The lines that part a file, in the order that they must have; the last may be missing.
const SECTIONS: [&str; 4] = ["__QUERY__", "__REQUIREMENTS__", "__SOURCE__", "__EXTRA__"];

/// How many of them must be there.
const SECTIONS_NEEDED: usize = 3;

const ORDER: &str = "the order is `__QUERY__`, `__REQUIREMENTS__`, `__SOURCE__`, `__EXTRA__`";
const EXAMPLE: &str = "CHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180";

/// Turns a file into a native one with one check of this name. `None` when an error was reported.
pub fn translate(file: FileId, name: &str, problems: &mut Problems) -> Option<Table> {
    let text = problems.files.get(file.0 as usize)?.text.clone();
    if text.len() > TEXT_LEN_MAX {
        super::too_long(file, text.len(), problems);
        return None;
    }
    let before = problems.errors();
    let mut dwmon = Dwmon { text: &text, file, problems, sections: [None; SECTIONS.len()] };
    dwmon.split();
    let query = dwmon.query();
    let expect = dwmon.requirements();
    let source = dwmon.source();
    let extra = dwmon.extra();
    if problems.errors() > before {
        return None;
    }
    let whole = Span { file, start: 0, end: text.len() };
    let mut check = Table { span: Span { end: 0, ..whole }, entries: Vec::new() };
    for (key, node) in [("query", query), ("expect", expect), ("source", source), ("extra", extra)] {
        if let Some(node) = node {
            check.put(key, node.span, node.value);
        }
    }
    Some(super::one_check(name.to_owned(), Span { end: 0, ..whole }, check))
}

/// One requirement line, whose place is given, as the table of an expectation. `None` when an error was reported.
pub(in crate::config) fn requirement(span: Span, problems: &mut Problems) -> Option<Node> {
    let text = problems.files.get(span.file.0 as usize)?.text.get(span.start..span.end)?.to_owned();
    let before = problems.errors();
    let mut line =
        Line { text: &text, span, problems, found: Default::default(), excused: [false; OPTIONS.len()], unknown: 0 };
    line.options();
    line.missing();
    let table = line.table();
    (problems.errors() == before).then_some(Node { span, value: Value::Table(table) })
}

/// A section: where its name stands, and its content.
#[derive(Clone, Copy)]
struct Section {
    marker: Span,
    start: usize,
    end: usize,
}

struct Dwmon<'a> {
    text: &'a str,
    file: FileId,
    problems: &'a mut Problems,
    sections: [Option<Section>; SECTIONS.len()],
}

/// The lines of a stretch of text without blanks around them, with their places; a comment or blank line is one too.
fn lines(text: &str, start: usize, end: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = start;
    text[start..end].split_inclusive('\n').map(move |line| {
        let begin = at + (line.len() - line.trim_start().len());
        at += line.len();
        (begin, line.trim())
    })
}

fn means_something(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// How a line opens a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    /// It holds the section's name alone.
    Alone,
    /// Its content begins on the same line.
    WithContent,
    /// By a name that is misspelt.
    Nearly,
}

/// Which section a line opens, as well as can be told.
fn section_of(line: &str) -> Option<(usize, Opens)> {
    if let Some(at) = SECTIONS.iter().position(|name| line.starts_with(name)) {
        return Some((at, if line == SECTIONS[at] { Opens::Alone } else { Opens::WithContent }));
    }
    let framed =
        line.len() > 4 && line.starts_with("__") && line.ends_with("__") && !line.contains(char::is_whitespace);
    let near = nearest(&line.to_ascii_uppercase(), SECTIONS.iter().copied()).filter(|_| framed)?;
    SECTIONS.iter().position(|name| *name == near).map(|at| (at, Opens::Nearly))
}

impl Dwmon<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start, end }
    }

    fn error(&mut self, start: usize, end: usize, message: impl Into<String>) -> &mut Problem {
        let span = self.span(start, end);
        self.problems.error(span, message)
    }

    /// Finds the sections. What is said in the wrong way is taken as it was meant, so that nothing is said twice.
    fn split(&mut self) {
        let text = self.text;
        // Editors on Windows write a byte order mark.
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut leads = [false; SECTIONS.len()];
        lines(text, start, text.len()).filter_map(|(_, line)| section_of(line)).for_each(|(at, _)| leads[at] = true);
        let mut open: Option<usize> = None;
        let mut stray = None;
        for (at, line) in lines(text, start, text.len()) {
            let end = at + line.len();
            let mut from = at;
            match section_of(line) {
                None if open.is_none() && stray.is_none() && means_something(line) => stray = Some((at, end)),
                // A name that is out of order and stands in a text is part of it.
                Some((section, Opens::WithContent)) if open.map_or(0, |open| open + 1) != section => {}
                None => {}
                Some((section, opens)) => {
                    let name = SECTIONS[section];
                    let marker =
                        if opens == Opens::Nearly { self.span(at, end) } else { self.span(at, at + name.len()) };
                    if opens == Opens::Nearly {
                        self.error(at, end, format!("there is no section `{line}`"))
                            .hint(format!("did you mean `{name}`?"));
                    }
                    from = marker.end;
                    if !self.begin(section, &mut open, marker) {
                        // What stands below a second one is nobody's.
                        stray = Some((at, at));
                    }
                }
            }
            while let Some(next) = open.map(|open| open + 1).filter(|next| leads.get(*next) == Some(&false))
                && let Some(found) = text[from..end].find(SECTIONS[next])
            {
                let marker = self.span(from + found, from + found + SECTIONS[next].len());
                from = marker.end;
                self.begin(next, &mut open, marker);
            }
        }
        self.judge_whole(stray.filter(|(start, end)| start != end));
    }

    /// Ends the section at hand and begins another, unless that was there already.
    fn begin(&mut self, section: usize, open: &mut Option<usize>, marker: Span) -> bool {
        if let Some(known) = open.and_then(|open| self.sections[open].as_mut()) {
            known.end = marker.start;
        }
        let may = self.judge_order(section, *open, marker);
        if may {
            self.sections[section] = Some(Section { marker, start: marker.end, end: self.text.len() });
        }
        *open = may.then_some(section);
        may
    }

    /// Whether a section may begin here.
    fn judge_order(&mut self, section: usize, open: Option<usize>, span: Span) -> bool {
        let name = SECTIONS[section];
        if let Some(first) = self.sections[section] {
            let problem = self.problems.error(span, format!("`{name}` stands here for the second time"));
            problem
                .hint("a file is one check: remove one of them, or make two files")
                .related(first.marker, "the first");
            return false;
        }
        if let Some(open) = open.filter(|open| *open > section) {
            let message = format!("`{name}` stands behind `{}`", SECTIONS[open]);
            self.problems.error(span, message).hint(ORDER);
        }
        true
    }

    /// What is missing, and what stands before the first section.
    fn judge_whole(&mut self, stray: Option<(usize, usize)>) {
        if self.sections.iter().all(Option::is_none) {
            let (message, hint) = match self.text.trim().is_empty() {
                true => ("the file is empty".to_owned(), ORDER),
                false => ("the file has none of dwmon's sections".to_owned(), "begin with a line `__QUERY__`"),
            };
            self.error(0, 0, message).hint(hint);
            return;
        }
        if let Some((start, end)) = stray {
            self.error(start, end, "text stands before the first section")
                .hint("begin with a line `__QUERY__`, or make it a comment with `#`");
        }
        for (section, name) in SECTIONS.iter().enumerate().take(SECTIONS_NEEDED) {
            if self.sections[section].is_some() {
                continue;
            }
            let place = self.sections[..section].iter().flatten().next_back().map_or(self.span(0, 0), |s| s.marker);
            self.problems.error(place, format!("the file has no `{name}`")).hint(ORDER);
        }
    }

    /// A section's content without blanks around it; an empty one is an error that says so.
    fn content(&mut self, section: usize, hint: &str) -> Option<(usize, usize)> {
        let Section { marker, start, end } = self.sections[section]?;
        let content = &self.text[start..end];
        let trimmed = content.trim();
        if trimmed.is_empty() {
            self.problems.error(marker, format!("`{}` is empty", SECTIONS[section])).hint(hint);
            return None;
        }
        let start = start + (content.len() - content.trim_start().len());
        Some((start, start + trimmed.len()))
    }

    fn query(&mut self) -> Option<Node> {
        let (start, end) = self.content(0, "write below it what the source is to be asked")?;
        Some(Node { span: self.span(start, end), value: Value::String(self.text[start..end].to_owned()) })
    }

    fn requirements(&mut self) -> Option<Node> {
        let Section { marker, start, end } = self.sections[1]?;
        let before = self.problems.errors();
        let places: Vec<Span> = lines(self.text, start, end)
            .filter(|(_, line)| means_something(line))
            .map(|(at, line)| self.span(at, at + line.len()))
            .collect();
        if places.is_empty() {
            self.problems
                .error(marker, "`__REQUIREMENTS__` has no line")
                .hint(format!("write below it one as `{EXAMPLE}`"));
        }
        if let Some(span) = places.get(EXPECT_MAX) {
            self.problems
                .error(*span, format!("there are {} requirement lines, more than {EXPECT_MAX}", places.len()))
                .hint("make several files of it");
        }
        let mut nodes = Vec::new();
        for span in places.into_iter().take(EXPECT_MAX) {
            if self.problems.errors() - before >= ERRORS_MAX {
                break;
            }
            nodes.extend(requirement(span, self.problems));
        }
        Some(Node { span: marker, value: Value::Array(nodes) })
    }

    fn source(&mut self) -> Option<Node> {
        let (start, end) = self.content(2, "write below it the NAME of a `[source.NAME]`")?;
        let mut names = lines(self.text, start, end).filter(|(_, line)| !line.is_empty());
        let (at, name) = names.next()?;
        if let Some((more, line)) = names.next() {
            self.error(more, more + line.len(), "`__SOURCE__` holds more than one line")
                .hint("it is one line, the NAME of a `[source.NAME]`; JSON of your own stands behind `__EXTRA__`");
        }
        Some(Node { span: self.span(at, at + name.len()), value: Value::String(name.to_owned()) })
    }

    fn extra(&mut self) -> Option<Node> {
        let Section { start, end, .. } = self.sections[3]?;
        if self.text[start..end].trim().is_empty() {
            return None;
        }
        json::parse_part(self.file, start, end, self.problems)
    }
}

/// What may stand on a requirement line.
const OPTIONS: [&str; 7] =
    ["CHECKHOURS", "CHECKMINUTES", "WEEKENDS", "WEEKDAYS", "MINNUM", "MAXNUM", "LOOKBACKSECONDS"];
const HOURS: usize = 0;
const MINUTES: usize = 1;
const WEEKENDS: usize = 2;
const WEEKDAYS: usize = 3;
const MIN: usize = 4;
const MAX: usize = 5;
const LOOKBACK: usize = 6;

/// What each says that must be there, and an example of it.
const NEEDED: [(usize, &str, &str); 5] = [
    (HOURS, "in which hours it is judged", "CHECKHOURS0-23"),
    (MINUTES, "at which minutes it is judged", "CHECKMINUTES0-59"),
    (MIN, "how many rows there must be at least", "MINNUM5"),
    (MAX, "how many rows there may be at most", "MAXNUM20"),
    (LOOKBACK, "how far the window reaches back", "LOOKBACKSECONDS180"),
];

/// One requirement line.
struct Line<'a> {
    text: &'a str,
    span: Span,
    problems: &'a mut Problems,
    /// By option: where it stands, and what it says.
    found: [Option<(Span, Value)>; OPTIONS.len()],
    /// Options that stand there in a wrong way, which was reported.
    excused: [bool; OPTIONS.len()],
    /// How many words it holds that are no options.
    unknown: usize,
}

/// Words of a line, with their places in it.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut from = 0;
    let mut all = Vec::new();
    for word in text.split(char::is_whitespace) {
        if !word.is_empty() {
            all.push((from, word));
        }
        // The blank behind it may be longer than a byte.
        from += word.len();
        from += text[from..].chars().next().map_or(0, char::len_utf8);
    }
    all
}

fn fits(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || "-*/".contains(c)
}

fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

impl Line<'_> {
    fn error(&mut self, start: usize, end: usize, message: impl Into<String>) -> &mut Problem {
        self.problems.error(self.place(start, end), message)
    }

    fn place(&self, start: usize, end: usize) -> Span {
        Span { start: self.span.start + start, end: self.span.start + end, ..self.span }
    }

    /// Reads all options. Words that begin with no letter belong to the option before, from which a blank parts them.
    fn options(&mut self) {
        let text = self.text;
        let all = words(text);
        let mut next = 0;
        let before = self.problems.errors();
        while let Some((at, word)) = all.get(next).copied() {
            if self.problems.errors() - before >= ERRORS_MAX {
                return;
            }
            let own = next;
            next += 1;
            let begins = |word: &str| word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '#');
            while all.get(next).is_some_and(|(_, word)| !begins(word)) && begins(word) {
                next += 1;
            }
            let pieces = &all[own + 1..next];
            let end = pieces.last().map_or(at + word.len(), |(at, piece)| at + piece.len());
            if self.bad_characters(at, end) {
                if text[at..end].contains('#') {
                    return;
                }
                continue;
            }
            self.option(at, word, pieces);
        }
    }

    /// Reports the first character of an option that no line may hold.
    fn bad_characters(&mut self, start: usize, end: usize) -> bool {
        let group = &self.text[start..end];
        let bad = |c: char| !fits(c) && !c.is_whitespace();
        let Some((offset, c)) = group.char_indices().find(|(_, c)| bad(*c)) else { return false };
        let letters = group.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(group.len());
        let capitals = group[..letters].to_ascii_uppercase();
        let meant = OPTIONS.iter().position(|option| *option == capitals);
        if let Some(option) = meant {
            self.excused[option] = true;
        }
        let shout = group.to_ascii_uppercase();
        const WHAT: &str = "Bad characters detected in requirements";
        if c == '#' {
            let hint = "a comment is a line of its own that begins with `#`";
            self.error(start + offset, start + offset + 1, format!("{WHAT}: `#`")).hint(hint);
        } else if meant.is_some() && !shout.contains(bad) {
            self.error(start, end, format!("{WHAT}: `{group}`")).hint(format!("write `{shout}`, in capitals"));
        } else {
            let at = start + offset;
            let shown = if c.is_control() { format!("U+{:04X}", c as u32) } else { c.to_string() };
            self.error(at, at + c.len_utf8(), format!("{WHAT}: `{shown}`"))
                .hint("a line holds capitals, digits, `-`, `*`, `/`, and blanks between options");
        }
        true
    }

    /// One option: its word, and what a blank parts from it.
    fn option(&mut self, at: usize, word: &str, pieces: &[(usize, &str)]) {
        let letters = word.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(word.len());
        let (name, value) = word.split_at(letters);
        if name.is_empty() {
            self.nobodys(at, word);
            return;
        }
        let Some(option) = OPTIONS.iter().position(|option| *option == name) else {
            self.unknown(at, name);
            return;
        };
        let span = self.place(at, at + word.len());
        if let Some((first, _)) = &self.found[option] {
            let first = *first;
            let problem = self.problems.error(span, format!("`{name}` stands here for the second time"));
            problem.hint("remove one of them, or make two lines of it").related(first, "the first");
            return;
        }
        self.excused[option] = true;
        if let Some((first, piece)) = pieces.first().copied() {
            let last = pieces.last().map_or(first, |(at, piece)| at + piece.len());
            let takes_none = option == WEEKENDS || option == WEEKDAYS;
            if takes_none
                || (piece.starts_with(|c: char| c.is_ascii_digit()) && value.ends_with(|c: char| c.is_ascii_digit()))
            {
                self.nobodys(first, &self.text[first..last]);
            } else {
                let joined: String = self.text[at..last].split_whitespace().collect();
                self.error(at, last, format!("a blank stands inside of `{}`", &self.text[at..last]))
                    .hint(format!("write `{joined}`: blanks stand between options only"));
                return;
            }
        }
        let value = match option {
            HOURS => self.range(span, value, ("CHECKHOURS", "hours"), 23),
            MINUTES => self.minutes(span, value),
            WEEKENDS | WEEKDAYS => self.nothing(span, name, value),
            _ => self.number(span, option, value),
        };
        self.found[option] = value.map(|value| (span, value));
    }

    fn nobodys(&mut self, at: usize, text: &str) {
        self.error(at, at + text.len(), format!("`{text}` belongs to no option"))
            .hint("a number stands right behind its option, as in `MINNUM5`");
    }

    /// dwmon looks for the words it knows, and reads past all others.
    fn unknown(&mut self, at: usize, name: &str) {
        self.unknown += 1;
        if self.unknown > ERRORS_MAX {
            return;
        }
        let hint = match nearest(name, OPTIONS.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("options are {}", OPTIONS.map(|option| format!("`{option}`")).join(", ")),
        };
        let span = self.place(at, at + name.len());
        self.problems.warning(span, format!("there is no option `{name}`, it is read past")).hint(hint);
    }

    fn nothing(&mut self, span: Span, name: &str, value: &str) -> Option<Value> {
        if !value.is_empty() {
            let message = format!("`{name}` takes no number, this is `{name}{value}`");
            self.problems.error(span, message).hint(format!("write `{name}`"));
        }
        Some(Value::Boolean(true))
    }

    fn minutes(&mut self, span: Span, value: &str) -> Option<Value> {
        let Some(step) = value.strip_prefix("*/") else {
            return self.range(span, value, ("CHECKMINUTES", "minutes"), 59);
        };
        match digits(step) {
            Some(n) if (1..=STEP_MAX).contains(&n) => Some(Value::String(format!("*/{n}"))),
            Some(n) => {
                let message = format!("out of range minutes specified: the step of `CHECKMINUTES*/{n}`");
                self.problems.error(span, message).hint(format!("a step is from 1 to {STEP_MAX}"));
                None
            }
            None => {
                let message = format!("`CHECKMINUTES{value}` has no number for its step");
                self.problems.error(span, message).hint("write `CHECKMINUTES*/20`");
                None
            }
        }
    }

    /// `a-b`.
    fn range(&mut self, span: Span, value: &str, (name, what): (&str, &str), most: u64) -> Option<Value> {
        let (message, hint) = match value.split_once('-').map(|(a, b)| (digits(a), digits(b))) {
            Some((Some(a), Some(b))) if a > most || b > most => {
                (format!("out of range {what} specified: `{name}{value}`"), format!("{what} are 0 to {most}"))
            }
            Some((Some(a), Some(b))) if a > b => (
                format!("bad {what} relationship: `{name}{value}` ends before it begins"),
                format!("write two lines, with `{name}{a}-{most}` and with `{name}0-{b}`"),
            ),
            Some((Some(a), Some(b))) => return Some(Value::String(format!("{a}-{b}"))),
            _ if value.is_empty() => (format!("`{name}` has no {what}"), format!("write `{name}0-{most}`")),
            _ if value.starts_with('*') && name == "CHECKHOURS" => (
                format!("`{name}{value}` is no range: steps are for `CHECKMINUTES`"),
                format!("write `{name}0-{most}`"),
            ),
            None if digits(value).is_some() => {
                (format!("`{name}{value}` is no range"), format!("write `{name}{value}-{value}`"))
            }
            _ => (format!("`{name}{value}` is no range"), format!("write `{name}0-{most}`")),
        };
        self.problems.error(span, message).hint(hint);
        None
    }

    fn number(&mut self, span: Span, option: usize, value: &str) -> Option<Value> {
        let name = OPTIONS[option];
        let most = if option == LOOKBACK { LOOKBACK_MAX.as_secs() } else { u64::try_from(COUNT_MAX).unwrap_or(0) };
        let example = NEEDED.iter().find(|(needed, ..)| *needed == option).map_or(name, |(.., example)| example);
        let message = match digits(value) {
            None if value.is_empty() => format!("`{name}` has no number"),
            None => format!("`{value}` behind `{name}` is no number"),
            Some(0) if option == LOOKBACK => "`LOOKBACKSECONDS` must be more than 0".to_owned(),
            Some(n) if n > most => format!("`{name}` must be at most {most}"),
            Some(n) => return i64::try_from(n).ok().map(Value::Integer),
        };
        self.problems.error(span, message).hint(format!("write it as `{example}`"));
        None
    }

    /// What the line does not say, in dwmon's words.
    fn missing(&mut self) {
        let there = |line: &Line<'_>, option: usize| line.found[option].is_some() || line.excused[option];
        for (option, what, example) in NEEDED {
            if !there(self, option) {
                let message = format!("missing {}: the line does not say {what}", OPTIONS[option]);
                self.problems.error(self.span, message).hint(format!("add `{example}`"));
            }
        }
        if !there(self, WEEKENDS) && !there(self, WEEKDAYS) {
            self.problems
                .error(self.span, "No weekend/weekday info supplied")
                .hint("add `WEEKDAYS`, `WEEKENDS` or both");
        }
        if let (Some((_, Value::Integer(min))), Some((span, Value::Integer(max)))) =
            (&self.found[MIN], &self.found[MAX])
            && min > max
        {
            let message = format!("bad minnum/maxnum: `MINNUM{min}` is more than `MAXNUM{max}`");
            self.problems.error(*span, message).hint("let `MAXNUM` be as large as `MINNUM` or larger");
        }
    }

    /// The same as a native file says it.
    fn table(self) -> Table {
        let mut table = Table { span: self.span, entries: Vec::new() };
        let days = [(WEEKDAYS, "weekdays"), (WEEKENDS, "weekends")].into_iter().filter_map(|(option, word)| {
            let (span, _) = self.found[option].as_ref()?;
            Some(Node { span: *span, value: Value::String(word.to_owned()) })
        });
        table.put("days", self.span, Value::Array(days.collect()));
        let keys = [(HOURS, "hours"), (MINUTES, "minutes"), (MIN, "min"), (MAX, "max"), (LOOKBACK, "lookback")];
        let mut found = self.found;
        for (option, key) in keys {
            if let Some((span, value)) = found[option].take() {
                table.put(key, span, value);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::{
        config::parse_expectations,
        state::lookback::{Days, Expectation, Minutes},
    };
    use proptest::prelude::*;

    /// The example of dwmon's own page.
    const README: &str = "\
__QUERY__
SELECT
execution_id AS dwmon_unique_key,
ts AS dwmon_timestamp
FROM model_executions
ORDER BY dwmon_timestamp DESC
LIMIT 10000
__REQUIREMENTS__
# This is a comment
CHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180
__SOURCE__
AWS
__EXTRA__
{\"some_extra_config\": [\"your\", \"arbitrary\", \"json\"], \"alert\": \"devops@nerds.com\"}
";

    const QUERY: &str = "SELECT\nexecution_id AS dwmon_unique_key,\nts AS dwmon_timestamp\nFROM model_executions\nORDER BY \
                         dwmon_timestamp DESC\nLIMIT 10000";

    /// The one check of a file, key by key.
    fn translated(text: &str) -> Vec<(String, String)> {
        let (file, mut problems) = testing::file("a.dwmon", text);
        let root = translate(file, "a", &mut problems);
        assert_eq!(testing::told(&problems), "", "{text}");
        let checks = &root.as_ref().unwrap().entries[0].value.value;
        let Value::Table(Table { entries, .. }) = checks else { panic!("{checks:?}") };
        assert_eq!(entries[0].key, "a");
        let Value::Table(check) = &entries[0].value.value else { panic!("{entries:?}") };
        check.entries.iter().map(|e| (e.key.clone(), testing::shown(&e.value.value))).collect()
    }

    fn keys(text: &str) -> Vec<String> {
        translated(text).into_iter().map(|(key, _)| key).collect()
    }

    /// S2.1: dwmon's own example, with `__EXTRA__`, with an empty one and without.
    #[test]
    fn the_example_of_dwmons_page() {
        let expect = "[{days: [\"weekdays\", \"weekends\"], hours: \"0-23\", minutes: \"0-59\", min: 5, max: 20, lookback: 180}]";
        let extra = "{some_extra_config: [\"your\", \"arbitrary\", \"json\"], alert: \"devops@nerds.com\"}";
        let pairs = [("query", &*format!("{QUERY:?}")), ("expect", expect), ("source", "\"AWS\""), ("extra", extra)];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(translated(README), pairs);
        let (without, json) = README.split_once("__EXTRA__").unwrap();
        assert_eq!(translated(without), pairs[..3]);
        assert_eq!(translated(&README.replace(json, "")), pairs[..3]);
        assert_eq!(translated(&README.replace(json, "\n \n")), pairs[..3]);
    }

    /// S2.1: line ends of Windows, blanks around, comments and blank lines change nothing.
    #[test]
    fn what_means_nothing() {
        let plain = translated(README);
        let query = QUERY.replace('\n', "\r\n");
        for (text, changed) in [
            (README.replace("# This is a comment", "\n  # CHECKHOURS\n\t\n"), None),
            (README.replace("\nAWS\n", "\n\n  AWS \n\n"), None),
            (README.replace("__SOURCE__", "  __SOURCE__\t"), None),
            (format!("# ours\n\n{README}"), None),
            (format!("\u{feff}{README}"), None),
            (README.trim_end().to_owned(), None),
            (README.replace(" MINNUM5", "   MINNUM5\t"), None),
            (README.replace('\n', "\r\n"), Some(&query)),
        ] {
            let mut expect = plain.clone();
            if let Some(query) = changed {
                expect[0].1 = format!("{query:?}");
            }
            assert_eq!(translated(&text), expect, "{text:?}");
        }
        assert_eq!(keys(README), ["query", "expect", "source", "extra"]);
    }

    /// S2.3: each line is an expectation; a file has at least one.
    #[test]
    fn several_lines() {
        let line = "CHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180";
        let text = README.replace(line, &format!("{line}\n# more\n{}\n", line.replace("MINNUM5", "MINNUM6")));
        let expect = &translated(&text)[1].1;
        assert_eq!((expect.matches("min: 5").count(), expect.matches("min: 6").count()), (1, 1), "{expect}");
    }

    fn shown(e: &Expectation) -> String {
        let Minutes::OfHour(minutes) = e.minutes else { panic!("{e:?}") };
        let Expectation { days: Days { weekdays, holidays }, hours, min, max, .. } = e;
        assert!(!holidays);
        let secs = e.lookback.as_secs();
        format!("{weekdays:x} {hours:x} {minutes:x} {secs} {} {}", min.unwrap_or(0), max.unwrap_or(0))
    }

    /// S2.1: dwmon looks for a section's name anywhere, and for the words of a line that it knows.
    #[test]
    fn as_dwmon_reads_it() {
        let plain = translated(README);
        for (text, query) in [
            (README.replace("__SOURCE__\n", "__SOURCE__ "), QUERY.to_owned()),
            (README.replace("__EXTRA__\n", "__EXTRA__").replace("__QUERY__\n", "__QUERY__ "), QUERY.to_owned()),
            (README.replace("__REQUIREMENTS__\n# This is a comment\n", "__REQUIREMENTS__"), QUERY.to_owned()),
            (
                README.replace("SELECT\n", "SELECT '__SOURCE__', '__REQUIREMENTS__',\n"),
                QUERY.replace("SELECT\n", "SELECT '__SOURCE__', '__REQUIREMENTS__',\n"),
            ),
            (README.replace("SELECT\n", "__EXTRA__ is\n"), QUERY.replace("SELECT\n", "__EXTRA__ is\n")),
            (README.replace("# This is a comment\n", "").replace('\n', " "), QUERY.replace('\n', " ")),
        ] {
            let mut expect = plain.clone();
            expect[0].1 = format!("{query:?}");
            assert_eq!(translated(&text), expect, "{text}");
        }
        // Words that it does not know are read past, with a warning.
        let (file, mut problems) = testing::file("a.dwmon", &README.replace(" MINNUM5", " URGENT PRIORITY5 MINNUM5"));
        let root = translate(file, "a", &mut problems).unwrap();
        assert_eq!(testing::shown(&Value::Table(root)).matches("min: 5").count(), 1);
        let told: Vec<_> = problems.list.iter().map(|p| (p.level, p.message.as_str())).collect();
        let told_of = |word| (crate::config::Level::Warning, format!("there is no option `{word}`, it is read past"));
        let expect = [told_of("URGENT"), told_of("PRIORITY")];
        assert_eq!(told, expect.each_ref().map(|(level, text)| (*level, text.as_str())));
    }

    /// S2.2: what a requirement line says, its options in any order.
    #[test]
    fn requirement_lines() {
        for (line, expect) in [
            (
                "CHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180",
                "7f ffffff fffffffffffffff 180 5 20",
            ),
            ("CHECKHOURS9-9 CHECKMINUTES0-0 WEEKDAYS MINNUM5 MAXNUM5 LOOKBACKSECONDS1", "1f 200 1 1 5 5"),
            (
                "CHECKHOURS9-17 CHECKMINUTES*/20 WEEKENDS MINNUM0 MAXNUM0 LOOKBACKSECONDS60",
                "60 3fe00 10000100001 60 0 0",
            ),
            (
                "LOOKBACKSECONDS60 MAXNUM2 MINNUM1 WEEKENDS CHECKMINUTES59-59 CHECKHOURS23-23",
                "60 800000 800000000000000 60 1 2",
            ),
            (
                "CHECKHOURS09-017 CHECKMINUTES*/1 WEEKDAYS MINNUM1 MAXNUM2 LOOKBACKSECONDS31622400",
                "1f 3fe00 fffffffffffffff 31622400 1 2",
            ),
            (
                "CHECKHOURS0-0 CHECKMINUTES*/58 WEEKDAYS MINNUM1 MAXNUM1000000000000 LOOKBACKSECONDS60",
                "1f 1 400000000000001 60 1 1000000000000",
            ),
        ] {
            let found = parse_expectations(line).unwrap();
            assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), [expect], "{line}");
        }
    }

    #[derive(Debug, Clone)]
    enum At {
        Range(u64, u64),
        Step(u64),
    }

    fn at() -> impl Strategy<Value = At> {
        let range = (0u64..60, 0u64..60).prop_map(|(a, b)| At::Range(a.min(b), a.max(b)));
        prop_oneof![range, (1..=STEP_MAX).prop_map(At::Step)]
    }

    proptest! {
        /// S2.2: a line means the same in dwmon's words and in ours.
        #[test]
        fn both_forms_say_the_same(
            (a, b) in (0u64..24, 0u64..24), at in at(), days in 1u8..4, min in 0u64..1000, more in 0u64..1000,
            secs in 1u64..1_000_000,
        ) {
            let (first, last, max) = (a.min(b), a.max(b), min + more);
            let minutes = match at {
                At::Range(a, b) => format!("{a}-{b}"),
                At::Step(n) => format!("*/{n}"),
            };
            let old_days = ["WEEKDAYS", "WEEKENDS", "WEEKENDS WEEKDAYS"][usize::from(days) - 1];
            let new_days = ["weekdays", "weekends", "weekdays, weekends"][usize::from(days) - 1];
            let old = format!(
                "CHECKHOURS{first}-{last} CHECKMINUTES{minutes} {old_days} MINNUM{min} MAXNUM{max} LOOKBACKSECONDS{secs}"
            );
            let new = format!(
                "days = \"{new_days}\", hours = \"{first}-{last}\", minutes = \"{minutes}\", min = {min}, max = {max}, \
                 lookback = \"{secs}s\""
            );
            let (old, new) = (parse_expectations(&old), parse_expectations(&new));
            prop_assert!(old.is_ok(), "{:?}", old);
            prop_assert_eq!(old, new);
        }

        /// No text makes it panic, and what can't be used is explained.
        #[test]
        fn any_text_is_read_or_explained(lines in prop::collection::vec(
            prop_oneof![
                Just("__QUERY__".to_owned()), Just("__REQUIREMENTS__".to_owned()), Just("__SOURCE__".to_owned()),
                Just("__EXTRA__".to_owned()), "[A-Z_]{0,12}[0-9a-z*/# \u{a0}é-]{0,12}", "(CHECKHOURS|MINNUM|WEEKDAYS)[ 0-9-]{0,5}( [A-Z0-9]{0,9})?",
                "\\PC{0,20}",
            ], 0..14)) {
            let text = lines.join("\n");
            let (file, mut problems) = testing::file("a.dwmon", &text);
            let read = translate(file, "a", &mut problems);
            prop_assert_eq!(read.is_none(), problems.errors() > 0, "{:?}", text);
            for problem in &problems.list {
                prop_assert!(text.get(problem.span.start..problem.span.end).is_some(), "{problem:?} in {text:?}");
            }
        }
    }

    #[test]
    fn a_long_file_is_not_read() {
        let (file, mut problems) = testing::file("a.dwmon", &"x\n".repeat(TEXT_LEN_MAX));
        assert!(translate(file, "a", &mut problems).is_none());
        assert_eq!(problems.errors(), 1);
    }
}
