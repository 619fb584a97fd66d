//! Thresholds on metrics, with hysteresis: `NAME [?|optional] warning > 50 error > 70 critical > 110 clear < 60`.
//!
//! CIMAA's, down to the texts. What a threshold remembers (that it is bad until it clears) is a set of texts that the
//! engine stores; judging is for runs that brought a result, not for inconclusive ones.

use crate::model::{Finding, Metric, NAMELESS, Severity};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The longest threshold line, in bytes.
pub const LINE_BYTES_MAX: usize = 2_000;
/// How much of a wrong word is shown in a message.
const SHOWN_CHARS_MAX: usize = 40;

/// One threshold line.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The metric's name, its quotes taken off.
    pub name: String,
    /// The name as it was written, quotes included.
    pub written: String,
    /// A run without the metric is fine.
    pub optional: bool,
    /// From where on it is a warning.
    pub warning: Option<Bound>,
    /// From where on it is an error.
    pub error: Option<Bound>,
    /// From where on it is critical.
    pub critical: Option<Bound>,
    /// From where on an error or critical is over; without it, as soon as they are not reached.
    pub clear: Option<Bound>,
}

/// A comparison: `> 50`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// How to compare.
    pub op: Op,
    /// What with. Always finite.
    pub value: f64,
    /// The number as it was written, for messages.
    pub text: String,
}

/// How to compare a value with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

/// Why a text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdError {
    /// Where, in bytes from the line's beginning.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Op {
    const ALL: [Op; 5] = [Op::AtLeast, Op::Above, Op::Equal, Op::AtMost, Op::Below];

    /// As it is written.
    pub const fn sign(self) -> &'static str {
        match self {
            Op::Above => ">",
            Op::AtLeast => ">=",
            Op::Equal => "==",
            Op::Below => "<",
            Op::AtMost => "<=",
        }
    }
}

impl Bound {
    fn holds(&self, value: f64) -> bool {
        match self.op {
            Op::Above => value > self.value,
            Op::AtLeast => value >= self.value,
            Op::Equal => value == self.value,
            Op::Below => value < self.value,
            Op::AtMost => value <= self.value,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.sign(), self.text)
    }
}

impl fmt::Display for Threshold {
    /// As it is written; the levels in the order warning, error, critical, clear.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)?;
        if self.optional {
            f.write_str(" ?")?;
        }
        let levels =
            [("warning", &self.warning), ("error", &self.error), ("critical", &self.critical), ("clear", &self.clear)];
        for (level, bound) in levels {
            if let Some(bound) = bound {
                write!(f, " {level} {bound}")?;
            }
        }
        Ok(())
    }
}

impl Threshold {
    /// Reads one line. A name with blanks stands in `'` or `"`, doubled where it holds them. Blanks around operators may be
    /// left out, levels may come in any order and in any case.
    pub fn parse(text: &str) -> Result<Threshold, ThresholdError> {
        if text.len() > LINE_BYTES_MAX {
            return Err(error(0, format!("a threshold has at most {LINE_BYTES_MAX} characters")));
        }
        let mut line = Line { text, at: 0 };
        let (name, written) = line.name()?;
        let mut threshold =
            Threshold { name, written, optional: false, warning: None, error: None, critical: None, clear: None };
        let mut levels = 0;
        while let Some((at, word)) = line.word() {
            match word {
                "?" | "optional" if levels == 0 && !threshold.optional => threshold.optional = true,
                _ => {
                    threshold.add_level(&mut line, at, word)?;
                    levels += 1;
                }
            }
        }
        if levels == 0 {
            let hint = "add at least one level, like `warning > 50`".to_owned();
            let message = format!("the threshold for `{}` has no level", threshold.name);
            return Err(ThresholdError { hint: Some(hint), ..error(text.trim_end().len(), message) });
        }
        Ok(threshold)
    }

    fn add_level(&mut self, line: &mut Line<'_>, at: usize, word: &str) -> Result<(), ThresholdError> {
        let slot = match word.to_ascii_lowercase().as_str() {
            "warning" => &mut self.warning,
            "error" => &mut self.error,
            "critical" => &mut self.critical,
            "clear" => &mut self.clear,
            _ => {
                let hint = match word {
                    "?" | "optional" => "`?` and `optional` stand right behind the name, once",
                    _ => "levels are `warning`, `error`, `critical` and `clear`; a name with blanks stands in quotes",
                };
                let message = format!("`{}` is not a level", shorten(word));
                return Err(ThresholdError { hint: Some(hint.to_owned()), ..error(at, message) });
            }
        };
        if slot.is_some() {
            return Err(error(at, format!("the level `{}` is given twice", word.to_ascii_lowercase())));
        }
        *slot = Some(line.bound(word)?);
        Ok(())
    }

    /// Whether the threshold is for this metric. `keep_quotes`: the name as written, quotes included, counts too.
    fn is_for(&self, metric: &str, keep_quotes: bool) -> bool {
        metric == self.name || (metric.is_empty() && self.name == NAMELESS) || (keep_quotes && metric == self.written)
    }
}

fn error(offset: usize, message: String) -> ThresholdError {
    ThresholdError { offset, message, hint: None }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} ...", &text[..end]),
    }
}

struct Line<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Line<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    /// The metric's name and the same as it was written.
    fn name(&mut self) -> Result<(String, String), ThresholdError> {
        let rest = self.rest();
        let start = self.at;
        let quote = match rest.chars().next() {
            None => return Err(error(start, "the threshold is empty".into())),
            Some(quote @ ('\'' | '"')) => quote,
            Some(_) => {
                let name = rest.split(char::is_whitespace).next().unwrap_or(rest);
                self.at += name.len();
                return Ok((name.to_owned(), name.to_owned()));
            }
        };
        let mut name = String::new();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((i, c)) = chars.next() {
            if c != quote {
                name.push(c);
            } else if chars.next_if(|(_, c)| *c == quote).is_some() {
                name.push(quote);
            } else {
                self.at += i + 1;
                if self.text[self.at..].starts_with(|c: char| !c.is_whitespace()) {
                    return Err(error(self.at, "expected a blank behind the quoted name".into()));
                }
                return Ok((name, rest[..=i].to_owned()));
            }
        }
        let hint = Some(format!("end the name with `{quote}`"));
        Err(ThresholdError { hint, ..error(start, "the quote that begins here has no end".into()) })
    }

    /// The next word and where it begins. Operators end it.
    fn word(&mut self) -> Option<(usize, &'a str)> {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '=')).unwrap_or(rest.len());
        let start = self.at;
        // What is not a word here is still taken, so that the caller can name it.
        let end = if end == 0 { rest.chars().next()?.len_utf8() } else { end };
        self.at += end;
        Some((start, &rest[..end]))
    }

    fn bound(&mut self, level: &str) -> Result<Bound, ThresholdError> {
        let rest = self.rest();
        let Some(op) = Op::ALL.into_iter().find(|op| rest.starts_with(op.sign())) else {
            let found = match rest.split(char::is_whitespace).next() {
                None | Some("") => "nothing".to_owned(),
                Some(found) => format!("`{}`", shorten(found)),
            };
            let hint = Some("operators are `>`, `>=`, `==`, `<` and `<=`".to_owned());
            let message = format!("expected an operator behind `{}`, found {found}", shorten(level));
            return Err(ThresholdError { hint, ..error(self.at, message) });
        };
        self.at += op.sign().len();
        let rest = self.rest();
        let number = rest.split(char::is_whitespace).next().unwrap_or("");
        let start = self.at;
        let is_plain = number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
        let value = number.parse::<f64>().ok().filter(|_| is_plain);
        match value {
            Some(value) if value.is_finite() => {
                self.at += number.len();
                Ok(Bound { op, value, text: number.to_owned() })
            }
            Some(_) => Err(error(start, format!("the number `{}` is too large", shorten(number)))),
            None if number.is_empty() => {
                Err(error(start, format!("expected a number behind `{}`, found nothing", op.sign())))
            }
            None => {
                let hint = Some("write a plain number, without a unit".to_owned());
                Err(ThresholdError { hint, ..error(start, format!("`{}` is not a number", shorten(number))) })
            }
        }
    }
}

/// Judges the metrics of one run. `flags` holds which thresholds are bad until they clear, and is brought up to date;
/// what it holds of thresholds that are gone is dropped. The part of a finding is the metric's name
/// ([`NAMELESS`] for the one without), so that the fault is `CHECK#NAME`; of several lines for one name the worst
/// finding is kept. `keep_quotes`: under CIMAA's check files a name in quotes also matches a metric that has the
/// quotes in its name.
pub fn judge(
    thresholds: &[Threshold],
    metrics: &[Metric],
    flags: &mut BTreeSet<String>,
    keep_quotes: bool,
) -> Vec<Finding> {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    let mut still_bad = BTreeSet::new();
    let mut findings: Vec<Finding> = Vec::new();
    for threshold in thresholds {
        // The flag is the name, so that it outlives a change of the numbers; a second line for a name has its own.
        let line = lines.entry(&threshold.name).or_default();
        let flag = if *line == 0 { threshold.name.clone() } else { format!("{}\n{line}", threshold.name) };
        *line += 1;
        let values: Vec<f64> =
            metrics.iter().filter(|m| threshold.is_for(&m.name, keep_quotes)).map(|m| m.value).collect();
        let (found, is_bad) = judge_one(threshold, &values, flags.contains(&flag));
        if is_bad {
            still_bad.insert(flag);
        }
        if let Some(found) = found {
            match findings.iter_mut().find(|kept| kept.part == found.part) {
                Some(kept) if kept.severity >= found.severity => {}
                Some(kept) => *kept = found,
                None => findings.push(found),
            }
        }
    }
    *flags = still_bad;
    findings
}

/// One threshold on the values of its metric (usually one): what is wrong, and whether it is bad until it clears.
fn judge_one(threshold: &Threshold, values: &[f64], was_bad: bool) -> (Option<Finding>, bool) {
    let finding = |severity, message: String| Some(Finding::part(threshold.name.clone(), severity, message));
    if values.is_empty() {
        let missing = finding(Severity::Error, "Missing metric".to_owned()).map(|f| Finding { escalates: false, ..f });
        return (missing.filter(|_| !threshold.optional), was_bad);
    }
    let reached = |bound: &Option<Bound>| {
        let bound = bound.as_ref()?;
        let value = values.iter().find(|value| bound.holds(**value))?;
        Some(format!("{} {bound}", shown(*value)))
    };
    let sticks = threshold.clear.is_some();
    if let Some(message) = reached(&threshold.critical) {
        return (finding(Severity::Critical, message), sticks);
    }
    if let Some(message) = reached(&threshold.error) {
        return (finding(Severity::Error, message), sticks);
    }
    if let (true, Some(clear)) = (was_bad, &threshold.clear)
        && let Some(value) = values.iter().find(|value| !clear.holds(**value))
    {
        return (finding(Severity::Error, format!("{} not clear {clear}", shown(*value))), true);
    }
    (reached(&threshold.warning).and_then(|message| finding(Severity::Warning, message)), false)
}

/// A value as CIMAA's Python shows it (twelve significant digits, an exponent where it is very large or small),
/// without the `.0` of whole numbers.
pub fn shown(value: f64) -> String {
    const DIGITS: i32 = 12;
    if value == 0.0 {
        return "0".to_owned();
    }
    let rounded = format!("{value:.*e}", DIGITS as usize - 1);
    let Some((mantissa, exponent)) = rounded.split_once('e') else { return rounded };
    let power = exponent.parse::<i32>().unwrap_or(0);
    let trimmed = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    };
    if (-4..DIGITS).contains(&power) {
        return trimmed(&format!("{value:.*}", usize::try_from(DIGITS - 1 - power).unwrap_or(0)));
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), power.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn threshold(text: &str) -> Threshold {
        Threshold::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// Runs values through one threshold, each a run (`None`: the metric is missing).
    fn runs(text: &str, values: &[Option<f64>]) -> Vec<String> {
        let (thresholds, mut flags) = ([threshold(text)], BTreeSet::new());
        let mut run = |value: &Option<f64>| {
            let metrics: Vec<Metric> = value.iter().map(|v| Metric::new("foo", *v)).collect();
            let findings = judge(&thresholds, &metrics, &mut flags, false);
            assert!(findings.len() <= 1 && findings.iter().all(|f| f.part.as_deref() == Some("foo")));
            let stays = |f: &Finding| if f.escalates { "" } else { " (stays)" };
            findings.first().map_or("-".to_owned(), |f| format!("{}{} {}", f.severity.number(), stays(f), f.message))
        };
        values.iter().map(&mut run).collect()
    }

    /// S3.8: texts and severities of each level, operators, optional and missing metrics.
    #[test]
    fn levels() {
        let r = "foo critical > 200 warning > 50 error > 99 clear < 80";
        let o = "foo ? warning >= 50 error >= 99";
        let cases = [
            (r, Some(42.0), "-"),
            (r, None, "40 (stays) Missing metric"),
            (o, Some(42.0), "-"),
            (o, None, "-"),
            ("foo optional warning >= 50", None, "-"),
            (r, Some(51.0), "30 51 > 50"),
            (o, Some(50.0), "30 50 >= 50"),
            (r, Some(100.0), "40 100 > 99"),
            (o, Some(99.0), "40 99 >= 99"),
            (r, Some(300.0), "50 300 > 200"),
            ("foo error == 0", Some(0.0), "40 0 == 0"),
            ("foo error == 0", Some(0.1), "-"),
            ("foo warning < 20 error < 10.5", Some(10.25), "40 10.25 < 10.5"),
            ("foo warning <= 20 error <= 10 critical <= 3", Some(3.0), "50 3 <= 3"),
            ("foo warning <= 20 error <= 10 critical <= 3", Some(20.0), "30 20 <= 20"),
            ("foo warning <= 20 error <= 10 critical <= 3", Some(20.01), "-"),
            ("foo error > 1e3", Some(1_500.0), "40 1500 > 1e3"),
            ("foo error < -0.50", Some(-1.0), "40 -1 < -0.50"),
        ];
        for (text, value, expect) in cases {
            assert_eq!(runs(text, &[value]), [expect], "{text} at {value:?}");
        }
    }

    /// S3.8: with `clear` an error sticks until cleared. "Decided": clear resets it.
    #[test]
    fn hysteresis() {
        let v = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        let r = "foo critical > 200 warning > 50 error > 99 clear < 80";
        assert_eq!(
            runs(r, &v(&[100.0, 90.0, 80.0, 60.0, 40.0, 90.0])),
            ["40 100 > 99", "40 90 not clear < 80", "40 80 not clear < 80", "30 60 > 50", "-", "30 90 > 50",]
        );
        assert_eq!(
            runs(r, &v(&[300.0, 100.0, 90.0, 79.0, 60.0]))[1..],
            ["40 100 > 99", "40 90 not clear < 80", "30 79 > 50", "30 60 > 50"]
        );
        // A run without the metric clears nothing.
        assert_eq!(runs(r, &[Some(100.0), None, Some(90.0)])[2], "40 90 not clear < 80");
        // A warning does not stick, and without `clear` nothing does.
        assert_eq!(runs(r, &v(&[60.0, 40.0])), ["30 60 > 50", "-"]);
        assert_eq!(runs("foo error > 99", &v(&[100.0, 98.0])), ["40 100 > 99", "-"]);
        assert_eq!(
            runs("foo ? error > 99 clear < 80", &[Some(100.0), None, Some(90.0)]),
            ["40 100 > 99", "-", "40 90 not clear < 80"]
        );
    }

    #[test]
    fn flags_are_data() {
        let old = [threshold("a error > 9 clear < 5"), threshold("b error > 9 clear < 5")];
        let metrics = |value| [Metric::new("a", value), Metric::new("b", value)];
        let mut flags = BTreeSet::new();
        judge(&old, &metrics(10.0), &mut flags, false);
        assert_eq!(flags, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        // Other numbers for a, b is gone.
        let new = [threshold("a error > 20 clear < 7")];
        assert_eq!(judge(&new, &metrics(8.0), &mut flags, false)[0].message, "8 not clear < 7");
        assert_eq!(flags, BTreeSet::from(["a".to_owned()]));
        assert!(judge(&new, &metrics(6.0), &mut flags, false).is_empty());
        assert!(flags.is_empty());
    }

    #[test]
    fn names() {
        let find = |text: &str, metric: &str, keep_quotes| {
            judge(&[threshold(text)], &[Metric::new(metric, 5.0)], &mut BTreeSet::new(), keep_quotes).remove(0)
        };
        let cases = [
            // (line, metric, under a CIMAA file, matches)
            ("/ error > 4", "/", false, true),
            ("value error > 4", "", false, true),
            ("value error > 4", "value", false, true),
            ("value error > 4", "other", false, false),
            ("'C:\\ Label' error > 4", "C:\\ Label", false, true),
            ("\"two words\" error > 4", "two words", false, true),
            ("'it''s' error > 4", "it's", false, true),
            ("it's error > 4", "it's", false, true),
            ("'used' error > 4", "used", true, true),
            ("'used' error > 4", "'used'", true, true),
            ("'used' error > 4", "'used'", false, false),
            ("\"'used'\" error > 4", "'used'", false, true),
        ];
        for (text, metric, keep_quotes, matches) in cases {
            let finding = find(text, metric, keep_quotes);
            assert_eq!(finding.message, if matches { "5 > 4" } else { "Missing metric" }, "{text} {metric}");
            assert_eq!(finding.part, Some(threshold(text).name));
        }
    }

    #[test]
    fn several_lines_and_values() {
        let lines = [threshold("a warning > 1"), threshold("a error > 3 clear < 2"), threshold("b warning > 1")];
        let mut flags = BTreeSet::new();
        let mut judge = |values: &[(&str, f64)]| {
            let metrics: Vec<Metric> = values.iter().map(|(n, v)| Metric::new(*n, *v)).collect();
            let findings = judge(&lines, &metrics, &mut flags, false);
            findings.iter().map(|f| format!("{} {}", f.severity, f.message)).collect::<Vec<_>>()
        };
        assert_eq!(judge(&[("a", 4.0), ("b", 2.0)]), ["error 4 > 3", "warning 2 > 1"]);
        assert_eq!(judge(&[("a", 2.5), ("b", 0.0)]), ["error 2.5 not clear < 2"]);
        assert_eq!(judge(&[("a", 0.0), ("a", 5.0), ("b", 0.0)]), ["error 5 > 3"]);
        assert_eq!(judge(&[("a", 0.0), ("a", 2.0), ("b", 0.0)]), ["error 2 not clear < 2"]);
        assert_eq!(judge(&[("a", 0.0), ("a", 1.5), ("b", 0.0)]), ["warning 1.5 > 1"]);
    }

    #[test]
    fn spelling_is_free() {
        let plain = threshold("foo ? warning > 50 error >= 70 critical == 110 clear < 60");
        for text in [
            "  foo optional  critical ==110 CLEAR <60 Warning> 50 error>=70 ",
            "foo\t?\twarning>50 error>=70 critical==110 clear<60",
        ] {
            assert_eq!(threshold(text), plain, "{text}");
        }
        assert_eq!(plain.to_string(), "foo ? warning > 50 error >= 70 critical == 110 clear < 60");
        assert_eq!(threshold("'a b' error > 1").to_string(), "'a b' error > 1");
    }

    #[test]
    fn errors_are_located() {
        let cases = [
            ("", 0, "the threshold is empty", None),
            ("foo", 3, "the threshold for `foo` has no level", Some("add at least one level, like `warning > 50`")),
            ("foo ? ", 5, "the threshold for `foo` has no level", Some("add at least one level, like `warning > 50`")),
            (
                "foo warn > 5",
                4,
                "`warn` is not a level",
                Some("levels are `warning`, `error`, `critical` and `clear`; a name with blanks stands in quotes"),
            ),
            (
                "foo > 5",
                4,
                "`>` is not a level",
                Some("levels are `warning`, `error`, `critical` and `clear`; a name with blanks stands in quotes"),
            ),
            ("foo error > 5 ?", 14, "`?` is not a level", Some("`?` and `optional` stand right behind the name, once")),
            (
                "foo error",
                9,
                "expected an operator behind `error`, found nothing",
                Some("operators are `>`, `>=`, `==`, `<` and `<=`"),
            ),
            (
                "foo error 5",
                10,
                "expected an operator behind `error`, found `5`",
                Some("operators are `>`, `>=`, `==`, `<` and `<=`"),
            ),
            (
                "foo error != 5",
                10,
                "expected an operator behind `error`, found `!=`",
                Some("operators are `>`, `>=`, `==`, `<` and `<=`"),
            ),
            (
                "foo error = 5",
                10,
                "expected an operator behind `error`, found `=`",
                Some("operators are `>`, `>=`, `==`, `<` and `<=`"),
            ),
            ("foo error >", 11, "expected a number behind `>`, found nothing", None),
            ("foo error > 5%", 12, "`5%` is not a number", Some("write a plain number, without a unit")),
            ("foo error > nan", 12, "`nan` is not a number", Some("write a plain number, without a unit")),
            ("foo error > inf", 12, "`inf` is not a number", Some("write a plain number, without a unit")),
            ("foo error > 1e999", 12, "the number `1e999` is too large", None),
            ("foo error > 5 error > 6", 14, "the level `error` is given twice", None),
            ("foo error > 5 Error > 6", 14, "the level `error` is given twice", None),
            (" 'foo error > 5", 1, "the quote that begins here has no end", Some("end the name with `'`")),
            ("'foo'bar error > 5", 5, "expected a blank behind the quoted name", None),
        ];
        for (text, offset, message, hint) in cases {
            let expect = ThresholdError { offset, message: message.into(), hint: hint.map(str::to_owned) };
            assert_eq!(Threshold::parse(text), Err(expect), "{text:?}");
        }
        assert!(Threshold::parse(&"x".repeat(LINE_BYTES_MAX + 1)).is_err());
    }

    /// S3.8: numbers as Python 2 shows them, whole ones without `.0`.
    #[test]
    fn numbers_are_shown_as_in_python() {
        let cases = [
            (51.0, "51"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (0.057, "0.057"),
            (2.0 / 3.0, "0.666666666667"),
            (19_595_788_288.0, "19595788288"),
            (123_456_789_012.0, "123456789012"),
            (1_234_567_890_123.0, "1.23456789012e+12"),
            (1e300, "1e+300"),
            (-0.0001, "-0.0001"),
            (0.00001, "1e-05"),
            (999_999_999_999.9, "1e+12"),
            (0.000_099_999_999_999_99, "0.0001"),
        ];
        for (value, expect) in cases {
            assert_eq!(shown(value), expect);
        }
    }

    proptest! {
        #[test]
        fn never_panics(any: String, likely in "['a\"\u{e4} ]{0,6} ?\\?? ?((warning|error|clear|x) ?[<>=!]{0,2} ?[-0-9.ein]{0,4} ?){0,4}") {
            for text in [any, likely] {
                match Threshold::parse(&text) {
                    Ok(threshold) => {
                        prop_assert_eq!(Threshold::parse(&threshold.to_string()), Ok(threshold.clone()));
                        judge(&[threshold], &[Metric::new("a", 1.0)], &mut BTreeSet::new(), true);
                    }
                    Err(e) => prop_assert!(e.offset <= text.len() && text.is_char_boundary(e.offset)),
                }
            }
        }

        #[test]
        fn any_value_is_shown(value: f64) {
            let text = shown(value);
            prop_assert!(text.len() <= 20);
            if value.is_finite() {
                let back: f64 = text.parse().unwrap();
                prop_assert!((back - value).abs() <= value.abs() * 1e-11 || !back.is_finite());
            }
        }

        #[test]
        fn sticks_until_clear(values in prop::collection::vec(0_i32..20, 0..40)) {
            let (thresholds, mut flags) = ([threshold("a error > 15 clear < 5")], BTreeSet::new());
            let mut bad = false;
            for value in values {
                let value = f64::from(value);
                bad = value > 15.0 || (bad && value >= 5.0);
                let found = judge(&thresholds, &[Metric::new("a", value)], &mut flags, false);
                prop_assert_eq!(!found.is_empty(), bad);
            }
        }
    }
}
