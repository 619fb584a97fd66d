//! Performance data of monitoring plugins: `'label'=value[UOM];[warn];[crit];[min];[max]`, items parted by blanks
//! (<https://www.monitoring-plugins.org/doc/guidelines.html#AEN201>).
//!
//! Tolerant where plugins in use are sloppy (decimal comma, a comma or `|` between items, trailing `;`, many blanks), and
//! exact about the rest: an item that can't be read is reported and costs no other item, and what is no decimal number
//! (`0x1F`, `1_000`, `5m30s`) is never the number that it begins with.

use super::{
    range::{Range, number_prefix},
    text::{NAME_CHARS_MAX, UNIT_CHARS_MAX, bounded, cut},
};
use crate::model::{Finding, Metric, Severity};

/// How many items of one output are read; more is a problem that says how many.
pub const ITEMS_MAX: usize = 2_000;
/// How many problems of one output are listed; the rest is counted.
pub const PROBLEMS_MAX: usize = 20;

/// So many `|` of a line are looked behind, from its end: the text before them may hold any number.
const PIPES_MAX: usize = 16;

/// One item that was understood.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// The label, its quotes taken off and `''` read as `'`.
    pub label: String,
    /// The value, always finite; `None` for `U`, "could not be determined".
    pub value: Option<f64>,
    /// The unit as given; empty where there is none.
    pub unit: String,
    /// The warning range as written; empty where there is none. Plugins write other things here too (`20%`), which
    /// only matters to who asks for it: [`Item::finding`].
    pub warn: String,
    /// The critical range as written; empty where there is none.
    pub crit: String,
    /// The lowest possible value, where it is given and a number.
    pub min: Option<f64>,
    /// The highest possible value, where it is given and a number.
    pub max: Option<f64>,
}

/// What was in the performance data of one output.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PerfData {
    /// What was understood, in order.
    pub items: Vec<Item>,
    /// What was not, each with the item it is about: at most [`PROBLEMS_MAX`] and one that counts the rest.
    pub problems: Vec<String>,
}

impl PerfData {
    /// The values as metrics.
    pub fn metrics(&self) -> Vec<Metric> {
        self.items.iter().filter_map(Item::metric).collect()
    }
}

impl Item {
    /// The value as a metric; `None` where it could not be determined.
    pub fn metric(&self) -> Option<Metric> {
        let unit = (!self.unit.is_empty()).then(|| self.unit.clone());
        Some(Metric { unit, ..Metric::new(self.label.clone(), self.value?) })
    }

    /// What the item's own ranges say of its value: an error outside the critical one, else a warning outside the
    /// warning one; the part is the label. The error is a range that can't be read.
    pub fn finding(&self) -> Result<Option<Finding>, String> {
        let Some(value) = self.value else { return Ok(None) };
        let levels = [("critical", &self.crit, Severity::Error), ("warning", &self.warn, Severity::Warning)];
        let mut broken = None;
        for (word, text, severity) in levels {
            if text.is_empty() {
                continue;
            }
            match Range::parse(text) {
                Ok(range) if range.alerts(value) => {
                    let side = if range.inside { "inside" } else { "outside" };
                    let range = cut(text, NAME_CHARS_MAX);
                    let message = format!("{value}{} is {side} the {word} range {range}", self.unit);
                    return Ok(Some(Finding::part(self.label.clone(), severity, message)));
                }
                Ok(_) => {}
                Err(e) => {
                    broken.get_or_insert_with(|| format!("the {word} range of `{}` can't be read: {e}", self.label));
                }
            }
        }
        broken.map_or(Ok(None), Err)
    }
}

/// Where a line has performance data: the words before the `|` and the data behind it; `None` where all of it is text.
/// `whole`: it may be data without a `|` too.
///
/// Text may hold `|` as well, and an item may follow it that is none. So of the places from which on a line may be
/// data, the first counts behind which there is nothing else; else the first behind which an item stands at once, or
/// any item at all; else the first with what is meant to be one (`label=`), which is reported.
pub fn split_line(line: &str, whole: bool) -> Option<(&str, &str)> {
    let pipes: Vec<usize> = line.rmatch_indices('|').take(PIPES_MAX).map(|(at, _)| at).collect();
    if let [at] = pipes[..]
        && line[at + 1..].trim().is_empty()
    {
        return Some((&line[..at], ""));
    }
    let places = whole.then_some((0, 0)).into_iter().chain(pipes.iter().rev().map(|at| (*at, at + 1)));
    let places: Vec<(usize, usize)> = places.collect();
    let is_data: [fn(&str) -> bool; 4] = [
        |data| Items(data).next().is_some() && Items(data).all(|item| read_item(item).is_ok()),
        |data| Items(data).next().is_some_and(|item| read_item(item).is_ok()),
        |data| Items(data).any(|item| read_item(item).is_ok()),
        |data| Items(data).next().is_some_and(|item| item.find('=').is_some_and(|at| at > 0)),
    ];
    let (end, from) = is_data.iter().find_map(|is_data| places.iter().find(|(_, from)| is_data(&line[*from..])))?;
    Some((&line[..*end], &line[*from..]))
}

/// Reads performance data. Line ends are blanks.
pub fn parse(text: &str) -> PerfData {
    let mut data = PerfData::default();
    let (mut left_out, mut unlisted) = (0_usize, 0_usize);
    for item in Items(text) {
        if data.items.len() >= ITEMS_MAX {
            left_out += 1;
            continue;
        }
        match read_item(item) {
            Ok(item) => data.items.push(item),
            Err(why) if data.problems.len() < PROBLEMS_MAX => {
                data.problems.push(format!("`{}`: {why}", cut(item, 60)));
            }
            Err(_) => unlisted += 1,
        }
    }
    if unlisted > 0 {
        data.problems.push(format!("{unlisted} more items that can't be read"));
    }
    if left_out > 0 {
        data.problems.push(format!("more than {ITEMS_MAX} items: the last {left_out} are left out"));
    }
    data
}

/// The items of a text, as they are written. Between two stands a blank or a `|` (not inside a quoted label), and maybe
/// a comma on its own (`a=1 , b=2`).
struct Items<'a>(&'a str);

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        let parts = |c: char| c.is_whitespace() || c == '|';
        loop {
            let text = self.0.trim_start_matches(parts);
            // A quote that never ends: the damage ends at the next blank.
            let label = quoted_len(text).unwrap_or(0);
            let (item, rest) = text.split_at(text[label..].find(parts).map_or(text.len(), |i| label + i));
            self.0 = rest;
            if item != "," {
                return (!item.is_empty()).then_some(item);
            }
        }
    }
}

/// The length of the quoted label that the text starts with, quotes included; 0 where it is not quoted, `None`
/// where the quote does not end.
fn quoted_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'\'') {
        return Some(0);
    }
    let mut at = 1;
    loop {
        at += bytes[at..].iter().position(|b| *b == b'\'')?;
        if bytes.get(at + 1) != Some(&b'\'') {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn read_item(item: &str) -> Result<Item, String> {
    let (label, rest) = match quoted_len(item) {
        None => return Err("the quote does not end".into()),
        Some(0) => match item.find('=') {
            Some(at) => (item[..at].to_owned(), &item[at..]),
            None => return Err("expected `label=value`".into()),
        },
        Some(len) => (item[1..len - 1].replace("''", "'"), &item[len..]),
    };
    let Some(rest) = rest.strip_prefix('=') else { return Err("expected `=` behind the label".into()) };
    let label = label.trim_start_matches('|').trim();
    if label.is_empty() {
        return Err("the label is empty".into());
    }
    let mut fields = rest.split(';');
    let (value, unit) = read_value(fields.next().unwrap_or(""))?;
    let mut field = || fields.next().unwrap_or("").trim_end_matches(',');
    let (warn, crit, min, max) = (field().to_owned(), field().to_owned(), limit(field()), limit(field()));
    let label = bounded(label, NAME_CHARS_MAX).into_owned();
    Ok(Item { label, value, unit, warn, crit, min, max })
}

fn limit(text: &str) -> Option<f64> {
    read_value(text).ok()?.0
}

/// The value, `None` where it could not be determined, and its unit.
fn read_value(text: &str) -> Result<(Option<f64>, String), String> {
    let text = text.trim_end_matches(',');
    let (value, unit) = match (text.strip_prefix('U'), number_prefix(text)) {
        (Some(unit), _) => (None, unit),
        (None, Some((value, _))) if !value.is_finite() => return Err("the number is too large".into()),
        (None, Some((value, len))) => (Some(value), &text[len..]),
        (None, None) if text.is_empty() => return Err("no value behind `=`".into()),
        (None, None) => return Err("the value is not a number".into()),
    };
    // `0x1F` and `0b11` are the beginning of other numbers.
    let is_other = value == Some(0.0) && unit.starts_with(['x', 'X', 'b', 'B', 'o', 'O']) && is_hex(&unit[1..]);
    if is_other || !is_unit(unit) {
        return Err(
            if value.is_some() { "the value is not a decimal number" } else { "the value is not a number" }.into()
        );
    }
    Ok((value, bounded(unit, UNIT_CHARS_MAX).into_owned()))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether this can be a unit: no digits but powers (`m3/h`), or it is the rest of a number (`1_000`, `5m30s`, `1/2`),
/// nothing that parts numbers or items, and no blanks.
fn is_unit(text: &str) -> bool {
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let fits = match c {
            '2' | '3' => matches!(before, Some('m' | 't' | 'n' | 'O')) && next.is_none_or(|c| "/*·".contains(c)),
            '/' | '.' => next.is_some_and(char::is_alphabetic),
            '%' | '$' | '²' | '³' => true,
            c if c.is_ascii() => c.is_ascii_alphabetic() || (before.is_some() && "-^*()[]".contains(c)),
            c => !c.is_numeric() && !c.is_whitespace(),
        };
        if !fits {
            return false;
        }
        before = Some(c);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Metrics as text: `label=value unit`, `label=U`.
    fn shown(text: &str) -> String {
        let data = parse(text);
        assert_eq!(data.problems, Vec::<String>::new(), "{text}");
        let one = |i: &Item| match i.value {
            Some(value) => format!("{}={value} {}", i.label, i.unit).trim_end().to_owned(),
            None => format!("{}=U", i.label),
        };
        data.items.iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    /// S3.4: performance data becomes metrics: quoted labels, units.
    #[test]
    fn items() {
        let cases = [
            ("", ""),
            ("  ", ""),
            ("/=2643MB;5948;5958;0;5968", "/=2643 MB"),
            ("a=1 b=2", "a=1 | b=2"),
            ("  a=1   b=2;;;; ", "a=1 | b=2"),
            ("a=1\nb=2\r\nc=3", "a=1 | b=2 | c=3"),
            ("'ha ha ha'=3has", "ha ha ha=3 has"),
            ("'ha ha ha'=-3has", "ha ha ha=-3 has"),
            ("'ha ha ha'=+3has", "ha ha ha=3 has"),
            ("m=2643MB;-5948;+5958;-6000;6000", "m=2643 MB"),
            ("'it''s'=1s", "it's=1 s"),
            ("''''=1", "'=1"),
            ("'a=b'=1", "a=b=1"),
            ("'C:\\ Label:Foo'=3.5%;80;90", "C:\\ Label:Foo=3.5 %"),
            ("a=U b=1", "a=U | b=1"),
            ("a=U;1;2 b=1", "a=U | b=1"),
            ("t=0.057000ms;100.000000;500.000000;0.000000 pl=0%;20;60;0;", "t=0.057 ms | pl=0 %"),
            ("t=0,80s;1,5;2,5", "t=0.8 s"),
            ("percent_packet_loss=0, rta=0.80", "percent_packet_loss=0 | rta=0.8"),
            ("a=1 , b=2", "a=1 | b=2"),
            ("a=1.5e3B b=2E-3s c=3E", "a=1500 B | b=0.002 s | c=3 E"),
            (
                "a=1us b=2ms c=3s d=4% e=5B f=6KB g=7MB h=8TB i=9c",
                "a=1 us | b=2 ms | c=3 s | d=4 % | e=5 B | f=6 KB | g=7 MB | h=8 TB | i=9 c",
            ),
            ("temp=21.5°C flow=3m3/h", "temp=21.5 °C | flow=3 m3/h"),
            (".5=.5 a=5.", ".5=0.5 | a=5"),
            ("a=U% b=Ums;1;2 c=UMB, d=U°C e=Um3/h", "a=U | b=U | c=U | d=U | e=U"),
            (
                "a=0B b=0x c=4m2 d=7CO2 e=5€ f=1kg*m/s² g=3$",
                "a=0 B | b=0 x | c=4 m2 | d=7 CO2 | e=5 € | f=1 kg*m/s² | g=3 $",
            ),
            ("größe=1", "größe=1"),
        ];
        for (text, expect) in cases {
            assert_eq!(shown(text), expect, "{text}");
        }
    }

    /// What is no decimal number is not the number that it begins with.
    #[test]
    fn other_numbers_are_none() {
        let none = "0x1F 0xff 0X10 0b101 0o17 1_000 1/2 5m30s 1h2m 1h2 12:30 10.0.0.1 2024-01-01 5-6 1,000,000 1'000 U5 \
                    5٣ 1e+ 5½ 3d4h 1.5.";
        for value in none.split_whitespace() {
            let data = parse(&format!("a=1 x={value} b=2"));
            assert_eq!(data.metrics().len(), 2, "{value}: {data:?}");
            assert_eq!(data.problems.len(), 1, "{value}: {data:?}");
        }
    }

    /// A malformed item is reported and costs no other.
    #[test]
    fn malformed_items() {
        let cases = [
            ("a=1 junk b=2", "`junk`: expected `label=value`"),
            ("a=1 =5 b=2", "`=5`: the label is empty"),
            ("a=1 ''=5 b=2", "`''=5`: the label is empty"),
            ("a=1 x= b=2", "`x=`: no value behind `=`"),
            ("a=1 x=;1;2 b=2", "`x=;1;2`: no value behind `=`"),
            ("a=1 x=abc b=2", "`x=abc`: the value is not a number"),
            ("a=1 x=1.2.3 b=2", "`x=1.2.3`: the value is not a decimal number"),
            ("a=1 x=y=3 b=2", "`x=y=3`: the value is not a number"),
            ("a=1 x=1e999 b=2", "`x=1e999`: the number is too large"),
            ("a=1 x=nan b=2", "`x=nan`: the value is not a number"),
            ("a=1 x=inf b=2", "`x=inf`: the value is not a number"),
            ("a=1 x=-Infinity b=2", "`x=-Infinity`: the value is not a number"),
            ("a=1 'x y'5 b=2", "`'x y'5`: expected `=` behind the label"),
            ("a=1 b=2 'x=5", "`'x=5`: the quote does not end"),
            ("a=1 'x=5 b=2", "`'x=5`: the quote does not end"),
        ];
        for (text, problem) in cases {
            let data = parse(text);
            assert_eq!(data.problems, [problem], "{text}");
            let metrics = data.metrics();
            let values: Vec<_> = metrics.iter().map(|m| (m.name.as_str(), m.value)).collect();
            assert_eq!(values, [("a", 1.0), ("b", 2.0)], "{text}");
        }
    }

    #[test]
    fn limits_are_kept_and_reported() {
        let data = parse(&"a=1 ".repeat(ITEMS_MAX + 3));
        assert_eq!(data.items.len(), ITEMS_MAX);
        assert_eq!(data.problems, ["more than 2000 items: the last 3 are left out"]);
        let data = parse(&"junk ".repeat(PROBLEMS_MAX + 5));
        assert_eq!(data.problems.len(), PROBLEMS_MAX + 1);
        assert_eq!(data.problems[PROBLEMS_MAX], "5 more items that can't be read");
        let data = parse(&format!("{}=1{}", "l".repeat(5_000), "u".repeat(5_000)));
        assert_eq!(data.items[0].label.chars().count(), NAME_CHARS_MAX + 4);
        assert_eq!(data.items[0].unit.chars().count(), UNIT_CHARS_MAX + 4);
    }

    #[test]
    fn limits_of_an_item() {
        let data = parse("a=5MB;~:3;@1:2;0;10,5 b=1;x;y;z;U");
        let (a, b) = (&data.items[0], &data.items[1]);
        assert_eq!((a.warn.as_str(), a.crit.as_str(), a.min, a.max), ("~:3", "@1:2", Some(0.0), Some(10.5)));
        assert_eq!((b.warn.as_str(), b.crit.as_str(), b.min, b.max), ("x", "y", None, None));
    }

    /// S3.4: thresholds taken from performance data where the check says so.
    #[test]
    fn findings_from_ranges() {
        let cases = [
            ("a=5;10;20", None),
            ("a=15;10;20", Some((Severity::Warning, "15 is outside the warning range 10"))),
            ("a=25.5%;10;20", Some((Severity::Error, "25.5% is outside the critical range 20"))),
            ("a=25MB;10;", Some((Severity::Warning, "25MB is outside the warning range 10"))),
            ("a=15;;@10:20", Some((Severity::Error, "15 is inside the critical range @10:20"))),
            ("a=5;~:;10:", Some((Severity::Error, "5 is outside the critical range 10:"))),
            ("a=5", None),
            ("a=U;1;2", None),
            ("a=9;20%;8", Some((Severity::Error, "9 is outside the critical range 8"))),
        ];
        for (text, expect) in cases {
            let finding = parse(text).items[0].finding();
            let expect = expect.map(|(severity, message)| Finding::part("a", severity, message));
            assert_eq!(finding, Ok(expect), "{text}");
        }
        assert_eq!(
            parse("a=9;20%;80").items[0].finding(),
            Err("the warning range of `a` can't be read: expected `:` or the end, found `%` (at character 3)".into())
        );
    }

    proptest! {
        #[test]
        fn never_panics(text: String, likely in "[ a='0-9.,;:@~eEU\u{e4}]{0,60}") {
            for text in [text, likely] {
                let data = parse(&text);
                prop_assert!(data.metrics().iter().all(|m| m.value.is_finite() && !m.name.is_empty()));
                data.items.iter().for_each(|item| drop(item.finding()));
            }
        }

        #[test]
        fn good_items_survive(junk in "[a-z;,.]{1,10}") {
            let data = parse(&format!("first=1s {junk} 'last one'=2"));
            prop_assert_eq!(data.items.len(), 2);
            prop_assert_eq!(data.problems.len(), usize::from(junk != ","));
        }
    }
}
