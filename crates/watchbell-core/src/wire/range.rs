//! Ranges of the monitoring plugins' guidelines: `10`, `10:`, `~:10`, `10:20`, `@10:20`
//! (<https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT>).
//!
//! A value alerts when it is outside the range, ends included in the range; with `@` when it is inside.

use std::fmt;

/// The longest range that is read, in bytes.
pub const RANGE_BYTES_MAX: usize = 700;

/// A range of good values (of bad ones where `inside`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// The lowest value in it; negative infinity for `~`.
    pub start: f64,
    /// The highest value in it; infinity where it is left out.
    pub end: f64,
    /// `@`: what is inside alerts.
    pub inside: bool,
}

/// Why a text is no range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeError {
    /// Where, in bytes from the text's beginning.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at character {})", self.message, self.offset + 1)
    }
}

impl Range {
    /// Reads a range. Decimals may have a point or, as some locales print them, a comma.
    pub fn parse(text: &str) -> Result<Range, RangeError> {
        if text.len() > RANGE_BYTES_MAX {
            return Err(RangeError { offset: 0, message: format!("a range has at most {RANGE_BYTES_MAX} characters") });
        }
        let inside = text.starts_with('@');
        let from = usize::from(inside);
        let rest = &text[from..];
        let (start, end) = match rest.find(':') {
            None => (0.0, bound(rest, from)?),
            Some(colon) => {
                let (low, high) = (&rest[..colon], &rest[colon + 1..]);
                let start = match low {
                    "" => 0.0,
                    "~" => f64::NEG_INFINITY,
                    low => bound(low, from)?,
                };
                (start, if high.is_empty() { f64::INFINITY } else { bound(high, from + colon + 1)? })
            }
        };
        if start > end {
            let message = format!("the start {start} is above the end {end}");
            return Err(RangeError { offset: from, message });
        }
        Ok(Range { start, end, inside })
    }

    /// Whether this value is a problem. (What is not a number is one.)
    pub fn alerts(&self, value: f64) -> bool {
        let is_in = self.start <= value && value <= self.end;
        is_in == self.inside
    }
}

fn bound(text: &str, offset: usize) -> Result<f64, RangeError> {
    match number_prefix(text) {
        Some((value, len)) if len == text.len() => match value.is_finite() {
            true => Ok(value),
            false => Err(RangeError { offset, message: format!("the number `{}` is too large", shorten(text)) }),
        },
        Some((_, len)) => Err(RangeError {
            offset: offset + len,
            message: format!("expected `:` or the end, found `{}`", shorten(&text[len..])),
        }),
        None if text.is_empty() => Err(RangeError { offset, message: "expected a number, found nothing".into() }),
        None => Err(RangeError { offset, message: format!("expected a number, found `{}`", shorten(text)) }),
    }
}

fn shorten(text: &str) -> String {
    super::text::cut(text, 40)
}

/// The number at the beginning of a text and how many bytes it takes: optional sign, digits with at most one
/// decimal point or comma (a digit on one side at least), optional exponent. Too large a number is infinite.
///
/// A comma with no digit behind it is no part of the number: people write `a=1, b=2`.
pub(super) fn number_prefix(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let mut len = sign + whole;
    let mut fraction = 0;
    match bytes.get(len) {
        Some(b'.') => fraction = digits(len + 1),
        Some(b',') if whole > 0 => fraction = digits(len + 1),
        _ => {}
    }
    if fraction > 0 || (whole > 0 && bytes.get(len) == Some(&b'.')) {
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    let number = &text[..len];
    let value = if number.contains(',') { number.replace(',', ".").parse() } else { number.parse() };
    value.ok().map(|value: f64| (value, len))
}

impl fmt::Display for Range {
    /// As it is written, in its shortest form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            f.write_str("@")?;
        }
        if self.start == f64::NEG_INFINITY {
            f.write_str("~:")?;
        } else if self.start != 0.0 || self.end == f64::INFINITY {
            write!(f, "{}:", self.start)?;
        }
        if self.end == f64::INFINITY { Ok(()) } else { write!(f, "{}", self.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// S3.4: the table of the plugin guidelines, and its neighbours.
    #[test]
    fn guidelines_table() {
        // (range, values that alert, values that do not)
        let cases: &[(&str, &[f64], &[f64])] = &[
            ("10", &[-0.1, 10.1, f64::NAN], &[0.0, 5.0, 10.0]),
            ("10:", &[9.9, -10.0], &[10.0, 1e300]),
            ("~:10", &[10.1], &[-1e300, 0.0, 10.0]),
            ("10:20", &[9.9, 20.1], &[10.0, 15.0, 20.0]),
            ("@10:20", &[10.0, 15.0, 20.0], &[9.9, 20.1]),
            ("@~:0", &[0.0, -5.0], &[0.1]),
            (":10", &[-1.0, 11.0], &[0.0, 10.0]),
            ("-5:-1", &[0.0, -5.1], &[-5.0, -1.0]),
            ("~:", &[], &[-1e300, 1e300]),
            ("0", &[0.1], &[0.0]),
            ("1.5:2,5", &[1.4, 2.6], &[1.5, 2.5]),
            ("1e3:1E+4", &[999.0, 10_001.0], &[1_000.0]),
        ];
        for (text, bad, good) in cases {
            let range = Range::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            bad.iter().for_each(|v| assert!(range.alerts(*v), "{v} should alert on {text}"));
            good.iter().for_each(|v| assert!(!range.alerts(*v), "{v} should not alert on {text}"));
        }
    }

    #[test]
    fn errors_are_located() {
        let cases = [
            ("", 0, "expected a number, found nothing"),
            ("@", 1, "expected a number, found nothing"),
            ("abc", 0, "expected a number, found `abc`"),
            ("~", 0, "expected a number, found `~`"),
            ("10:x", 3, "expected a number, found `x`"),
            ("10%", 2, "expected `:` or the end, found `%`"),
            ("10:20:30", 5, "expected `:` or the end, found `:30`"),
            ("@20:10", 1, "the start 20 is above the end 10"),
            ("1e999", 0, "the number `1e999` is too large"),
            ("1:inf", 2, "expected a number, found `inf`"),
            ("1:~", 2, "expected a number, found `~`"),
            (" 1", 0, "expected a number, found ` 1`"),
        ];
        for (text, offset, message) in cases {
            assert_eq!(Range::parse(text), Err(RangeError { offset, message: message.into() }), "{text}");
        }
        assert_eq!(Range::parse("10%").unwrap_err().to_string(), "expected `:` or the end, found `%` (at character 3)");
        assert_eq!(Range::parse(&"1".repeat(701)).unwrap_err().offset, 0);
    }

    #[test]
    fn numbers_end_where_they_end() {
        let cases = [
            ("12MB", Some((12.0, 2))),
            ("+1.5s", Some((1.5, 4))),
            (".5", Some((0.5, 2))),
            ("5.", Some((5.0, 2))),
            ("5,", Some((5.0, 1))),
            ("0,25;", Some((0.25, 4))),
            ("2EB", Some((2.0, 1))),
            ("2e3B", Some((2_000.0, 3))),
            ("2e+B", Some((2.0, 1))),
            ("1e999", Some((f64::INFINITY, 5))),
            (",5", None),
            (".", None),
            ("-", None),
            ("U", None),
            ("", None),
        ];
        for (text, expect) in cases {
            assert_eq!(number_prefix(text), expect, "{text}");
        }
    }

    fn bound_strategy() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), -1e6..1e6_f64, (-1_000_i32..1_000).prop_map(f64::from), Just(1e300), Just(-1e300)]
    }

    proptest! {
        #[test]
        fn never_panics(text: String, tail in "[-+@~:0-9.,eE]{0,12}") {
            let _ = Range::parse(&text);
            let _ = Range::parse(&tail);
        }

        #[test]
        fn round_trip(a in bound_strategy(), b in bound_strategy(), open in 0..3, inside: bool) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            let start = if open == 1 { f64::NEG_INFINITY } else { low };
            let end = if open == 2 { f64::INFINITY } else { high };
            let range = Range { start, end, inside };
            prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
        }
    }
}
