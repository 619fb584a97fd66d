//! INI as Python 2.7's `RawConfigParser` reads it, with the case of keys kept: that is what CIMAA's files are
//! written for. Its rules are followed to the letter where they give a meaning to a text; where it is silent
//! about something that is surely a mistake, there is a warning.
//!
//! - A line that starts with `#` or `;`, or with the word `rem`, is a comment; so is nothing else.
//! - A line that starts with white space continues the value above it, whatever it holds.
//! - `key = value` or `key: value`, whichever comes first. In the first line of a value a `;` after white
//!   space starts a comment, if it is the first `;`. `""` is the empty value.
//! - A section that comes twice is one section; a key that comes twice has its last value.
//! - `[DEFAULT]` gives its keys to all sections.

use super::{ERRORS_MAX, TEXT_LEN_MAX};
use crate::config::{
    Problems,
    tree::{FileId, Span},
};
use std::{collections::BTreeMap, sync::Arc};

/// The section whose keys all others have too.
const DEFAULT: &str = "DEFAULT";

/// The section whose values may be secrets: tokens and keys of those who tell.
pub const SECRET_SECTION: &str = "alerter";

/// How many keys one section may have.
pub const KEYS_MAX: usize = 1_000;

/// A file that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Ini {
    /// Which.
    pub file: FileId,
    /// Its sections in the order of the file, without `[DEFAULT]`, whose keys each of them has.
    pub sections: Vec<Section>,
}

/// One section.
#[derive(Clone, PartialEq, Debug)]
pub struct Section {
    /// What stands between the brackets, as written.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// Its own keys and values.
    pub items: Vec<Item>,
    /// Those of `[DEFAULT]`, which count where it has none of its own.
    pub defaults: Arc<Vec<Item>>,
}

/// One key and its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// The key as written.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The lines of the value, trimmed, and where each stands; at least one, which may be empty.
    pub lines: Vec<(String, Span)>,
}

impl Item {
    /// The value: its lines, joined by line feeds.
    pub fn value(&self) -> String {
        self.lines.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Where the value stands.
    pub fn span(&self) -> Span {
        match (self.lines.first(), self.lines.last()) {
            (Some((_, first)), Some((_, last))) => Span { end: last.end, ..*first },
            _ => self.key_span,
        }
    }
}

impl Section {
    /// The item of a key: its own, else that of `[DEFAULT]`.
    pub fn item(&self, key: &str) -> Option<&Item> {
        self.items.iter().chain(self.defaults.iter()).find(|item| item.key == key)
    }
}

impl Ini {
    /// The section of a name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

/// Reads a file's text. `None` when an error was reported.
pub fn parse(file: FileId, problems: &mut Problems) -> Option<Ini> {
    let text = problems.files.get(file.0 as usize)?.text.clone();
    if text.len() > TEXT_LEN_MAX {
        super::too_long(file, text.len(), problems);
        return None;
    }
    let before = problems.errors();
    let mut parser = Parser {
        file,
        problems,
        sections: Vec::new(),
        places: BTreeMap::new(),
        current: None,
        open: false,
        lost: false,
    };
    let mut start = 0;
    for raw in text.split_inclusive('\n') {
        let mark = if start == 0 && raw.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let known = parser.problems.list.len();
        parser.line(raw[mark..].trim_end_matches(['\n', '\r']), start + mark);
        if parser.section().is_some_and(|section| section.name == SECRET_SECTION) {
            parser.problems.mask_since(known);
        }
        start += raw.len();
        if parser.problems.errors() - before >= ERRORS_MAX {
            break;
        }
    }
    let sections = with_defaults(parser.sections);
    (problems.errors() == before).then_some(Ini { file, sections })
}

/// Takes `[DEFAULT]` out and gives its keys to all others.
fn with_defaults(mut sections: Vec<Section>) -> Vec<Section> {
    let Some(at) = sections.iter().position(|section| section.name == DEFAULT) else { return sections };
    let defaults = Arc::new(sections.remove(at).items);
    for section in &mut sections {
        section.defaults = Arc::clone(&defaults);
    }
    sections
}

/// White space as Python's `str` knows it; Unicode's other blanks are letters to it.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

struct Parser<'p> {
    file: FileId,
    problems: &'p mut Problems,
    sections: Vec<Section>,
    /// Their places by name.
    places: BTreeMap<String, usize>,
    /// The section at hand.
    current: Option<usize>,
    /// The last line gave a value that the next can continue.
    open: bool,
    /// The text before the first section was reported already.
    lost: bool,
}

impl Parser<'_> {
    fn span(&self, start: usize, text: &str) -> Span {
        Span { file: self.file, start, end: start + text.len() }
    }

    /// The span of a line without its outer white space.
    fn trimmed(&self, line: &str, start: usize) -> Span {
        let lead = line.len() - line.trim_start_matches(is_space).len();
        self.span(start + lead, line.trim_matches(is_space))
    }

    fn line(&mut self, line: &str, start: usize) {
        let text = line.trim_matches(is_space);
        if text.is_empty() || line.starts_with(['#', ';']) {
            return;
        }
        let first = line.split(is_space).next().unwrap_or_default();
        if first.eq_ignore_ascii_case("rem") {
            return;
        }
        if line.starts_with(is_space) && self.open {
            let span = self.trimmed(line, start);
            if let Some(item) = self.item() {
                item.lines.push((text.to_owned(), span));
            }
        } else if let Some(rest) = line.strip_prefix('[') {
            self.header(line, rest, start);
        } else if self.current.is_none() {
            self.before_first(line, start);
        } else {
            self.option(line, start);
        }
    }

    /// The section at hand.
    fn section(&self) -> Option<&Section> {
        self.sections.get(self.current?)
    }

    /// The item that was read last.
    fn item(&mut self) -> Option<&mut Item> {
        self.sections.get_mut(self.current?)?.items.last_mut()
    }

    fn before_first(&mut self, line: &str, start: usize) {
        if !self.lost {
            let span = self.trimmed(line, start);
            self.problems
                .error(span, "text before the first section")
                .hint("begin with a line such as `[name]`, or make this a comment with `#` in front");
        }
        self.lost = true;
    }

    fn header(&mut self, line: &str, rest: &str, start: usize) {
        self.open = false;
        let whole = self.trimmed(line, start);
        let Some(len) = rest.find(']') else {
            self.problems.error(whole, "`[` is never closed").hint("write the section's name as `[name]`");
            // What follows would belong to a section that has no name.
            self.current = None;
            self.lost = true;
            return;
        };
        let (name, behind) = (&rest[..len], rest[len + 1..].trim_matches(is_space));
        let span = self.span(start + 1, name);
        if name.is_empty() {
            self.problems.error(whole, "the section has no name").hint("write a name between `[` and `]`");
            self.current = None;
            self.lost = true;
            return;
        }
        if !behind.is_empty() && !behind.starts_with(['#', ';']) {
            let at = start + line.len() - line[len + 2..].trim_start_matches(is_space).len();
            let span = self.span(at, behind);
            self.problems.warning(span, "text after `]` is read past").hint("put it on a line of its own");
        }
        if let Some(at) = self.places.get(name) {
            self.current = Some(*at);
            self.problems
                .warning(span, format!("section `[{name}]` comes twice, and both are read as one"))
                .related(self.sections[*at].span, "first comes here");
            return;
        }
        self.current = Some(self.sections.len());
        self.places.insert(name.to_owned(), self.sections.len());
        self.sections.push(Section { name: name.to_owned(), span, items: Vec::new(), defaults: Arc::default() });
    }

    fn option(&mut self, line: &str, start: usize) {
        let span = self.trimmed(line, start);
        if line.starts_with(is_space) {
            self.problems
                .error(span, "the line is indented, and there is no value above it to continue")
                .hint("remove the blanks before it");
            return;
        }
        let Some(at) = line.find(['=', ':']) else {
            self.problems
                .error(span, "the line has neither `=` nor `:`")
                .hint("write `key = value`, or indent the line if it continues the one above");
            return;
        };
        let key = line[..at].trim_end_matches(is_space);
        if key.is_empty() {
            let sign = &line[at..=at];
            self.problems.error(span, format!("nothing stands before `{sign}`")).hint("write `key = value`");
            return;
        }
        let value = line[at + 1..].trim_start_matches(is_space);
        let value_start = start + line.len() - value.len();
        let value = without_comment(value).trim_matches(is_space);
        let value_span = self.span(value_start, value);
        let text = if value == "\"\"" { "" } else { value };
        let item =
            Item { key: key.to_owned(), key_span: self.span(start, key), lines: vec![(text.to_owned(), value_span)] };
        self.add(item);
    }

    /// Takes an item in, behind all others so that lines to come continue it.
    fn add(&mut self, item: Item) {
        self.open = true;
        let Some(section) = self.current.and_then(|at| self.sections.get_mut(at)) else { return };
        if let Some(at) = section.items.iter().position(|known| known.key == item.key) {
            let first = section.items.remove(at);
            self.problems
                .warning(item.key_span, format!("`{}` is given twice, and this one counts", item.key))
                .related(first.key_span, "first given here");
        }
        if section.items.len() == KEYS_MAX {
            let message = format!("section `[{}]` has more than {KEYS_MAX} keys", section.name);
            self.problems.error(item.key_span, message);
        }
        if section.items.len() < KEYS_MAX + 1 {
            section.items.push(item);
        }
    }
}

/// A value without the comment behind it: from the first `;`, if white space stands before it.
fn without_comment(value: &str) -> &str {
    let Some(at) = value.find(';') else { return value };
    // Python looks at the character before index 0, too: the last one.
    let before = if at == 0 { value.chars().next_back() } else { value[..at].chars().next_back() };
    if before.is_some_and(is_space) { &value[..at] } else { value }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use proptest::prelude::*;

    /// Sections with their keys, sorted: `[a] k="v"; l="w";`.
    fn shown(ini: &Ini) -> String {
        let mut sections = Vec::new();
        for section in &ini.sections {
            let items = section.defaults.iter().chain(&section.items);
            let values: BTreeMap<_, _> = items.map(|item| (&item.key, item.value())).collect();
            let values: String = values.iter().map(|(key, value)| format!(" {key}={value:?};")).collect();
            sections.push(format!("[{}]{values}", section.name));
        }
        sections.join(" ")
    }

    #[rustfmt::skip]
    const CASES: &[(&str, &str, &str)] = &[
            (
                "",
                "",
                "",
            ),
            (
                "[a]\nk = v\nK: w\n",
                r#"[a] K="w"; k="v";"#,
                "",
            ),
            (
                "[a]\nk : a = b\nu = http://x:80/\n",
                r#"[a] k="a = b"; u="http://x:80/";"#,
                "",
            ),
            (
                "[a]\nthresholds =\n  x warning > 5\n\n\ty error > 6 ; no comment here\n# comment\n  # no comment here\nk = v\n",
                r#"[a] k="v"; thresholds="\nx warning > 5\ny error > 6 ; no comment here\n# no comment here";"#,
                "",
            ),
            (
                "[a]\nk = v ; comment\nl = v;no ; comment\nm = ;v\nn =\no = \"\"\n",
                r#"[a] k="v"; l="v;no ; comment"; m=";v"; n=""; o="";"#,
                "",
            ),
            (
                "# c\n; c\nrem c\nREM\n[a] ; c\nremark = 1\nrem = 1\n",
                r#"[a] remark="1";"#,
                "",
            ),
            (
                "[a]\nk = 1\nk = 2\n  3\n",
                r#"[a] k="2\n3";"#,
                r#"3:1 "k" warning: `k` is given twice, and this one counts; see 2:1 first given here"#,
            ),
            (
                "[a]\nk = 1\n[b]\n[a]\nl = 2\n",
                r#"[a] k="1"; l="2"; [b]"#,
                r#"4:2 "a" warning: section `[a]` comes twice, and both are read as one; see 1:2 first comes here"#,
            ),
            (
                "[DEFAULT]\nk = 1\nl = 1\n[a]\nk = 2\n[DEFAULT]\nm = 3\n[b]\n",
                r#"[a] k="2"; l="1"; m="3"; [b] k="1"; l="1"; m="3";"#,
                r#"6:2 "DEFAULT" warning: section `[DEFAULT]` comes twice, and both are read as one; see 1:2 first comes here"#,
            ),
            (
                "\u{feff}[a]\r\nk = v\r\n  w\r\n",
                r#"[a] k="v\nw";"#,
                "",
            ),
            (
                "[//meta]\nk=v\n[a/b #c]\nk=v\n",
                r#"[//meta] k="v"; [a/b #c] k="v";"#,
                "",
            ),
            (
                "[a] b\nk = v\n",
                r#"[a] k="v";"#,
                r#"1:5 "b" warning: text after `]` is read past; hint: put it on a line of its own"#,
            ),
            (
                "k = v\nl = w\n[a]\nk = v\n",
                "-",
                r#"1:1 "k = v" error: text before the first section; hint: begin with a line such as `[name]`, or make this a comment with `#` in front"#,
            ),
            (
                "[a]\nword\nk = v\nmore words\n",
                "-",
                r#"2:1 "word" error: the line has neither `=` nor `:`; hint: write `key = value`, or indent the line if it continues the one above
4:1 "more words" error: the line has neither `=` nor `:`; hint: write `key = value`, or indent the line if it continues the one above"#,
            ),
            (
                "[a\nk = v\n[b]\nk = v\n",
                "-",
                r#"1:1 "[a" error: `[` is never closed; hint: write the section's name as `[name]`"#,
            ),
            (
                "[]\nk = v\n",
                "-",
                r#"1:1 "[]" error: the section has no name; hint: write a name between `[` and `]`"#,
            ),
            (
                "[a]\n  k = v\n",
                "-",
                r#"2:3 "k = v" error: the line is indented, and there is no value above it to continue; hint: remove the blanks before it"#,
            ),
            (
                "[a]\n= v\n : v\n",
                "-",
                r#"2:1 "= v" error: nothing stands before `=`; hint: write `key = value`
3:2 ": v" error: the line is indented, and there is no value above it to continue; hint: remove the blanks before it"#,
            ),
            (
                "[default]\nk = v\n[a]\n",
                r#"[default] k="v"; [a]"#,
                "",
            ),
    ];

    /// S3.2: files are read as Python's RawConfigParser reads them (each of these was given to it), and what
    /// is wrong is told where it is.
    #[test]
    fn sections_and_mistakes() {
        for (text, values, told) in CASES {
            let (file, mut problems) = testing::file("a.cfg", text);
            let ini = parse(file, &mut problems).map_or("-".to_owned(), |ini| shown(&ini));
            assert_eq!((ini.as_str(), testing::told(&problems).as_str()), (*values, *told), "{text}");
        }
    }

    /// What a span covers is what was written.
    #[test]
    fn spans() {
        let text = "\u{feff}[ä b]\r\nkey  =  one ; two\r\n \tthree\r\n";
        let (file, mut problems) = testing::file("a.cfg", text);
        let ini = parse(file, &mut problems).unwrap();
        let covered = |span: Span| &text[span.start..span.end];
        let item = ini.section("ä b").unwrap().item("key").unwrap();
        assert_eq!(covered(ini.sections[0].span), "ä b");
        assert_eq!(covered(item.key_span), "key");
        assert_eq!(item.lines.iter().map(|(_, span)| covered(*span)).collect::<Vec<_>>(), ["one", "three"]);
        assert_eq!(covered(item.span()), "one ; two\r\n \tthree");
    }

    /// Neither many errors, nor a long file, nor many keys take more than they may.
    #[test]
    fn limits() {
        let cases = [
            ("[a]\n".to_owned() + &"x\n".repeat(500), ERRORS_MAX, "the line has neither `=` nor `:`"),
            (
                "#".repeat(TEXT_LEN_MAX + 1),
                1,
                "the file has 1048577 bytes, more than the 1048576 that a config file may have",
            ),
            (
                "[a]\n".to_owned() + &(0..2000).map(|n| format!("k{n}=v\n")).collect::<String>(),
                1,
                "section `[a]` has more than 1000 keys",
            ),
        ];
        for (text, count, message) in cases {
            let (file, mut problems) = testing::file("a.cfg", &text);
            assert_eq!(parse(file, &mut problems), None);
            assert_eq!((problems.list.len(), problems.list[0].message.as_str()), (count, message));
        }
    }

    proptest! {
        /// No text makes it panic, and a file without sections is the only one that is well without any.
        #[test]
        fn never_panics(text in r"(\[a\]|\[DEFAULT\]|[\[\]=:;# \n\ré\x0b]|k|rem ){0,24}") {
            let (file, mut problems) = testing::file("a.cfg", &text);
            let ini = parse(file, &mut problems);
            prop_assert_eq!(ini.is_none(), problems.errors() > 0);
            for section in ini.iter().flat_map(|ini| &ini.sections) {
                prop_assert_eq!(&text[section.span.start..section.span.end], section.name.as_str());
            }
        }
    }
}
