//! Whether two texts say the same but for their numbers. A number that moves in a message (`91% used`, `92% used`) is no
//! news: nobody is told again, and no event is made of it.
//!
//! A number is a run of digits with what belongs to it: a sign before it, a decimal point or comma, separators of
//! thousands, the colons of a time, an exponent. A hexadecimal id counts as one: `0x1f`, or seven or more hexadecimal digits
//! of which one word mixes letters and digits (`9f2c41d0`, a UUID, a MAC address). Units and words are text.

use std::iter::from_fn;

/// So many hexadecimal digits are an id, as in Git's short hashes.
const ID_DIGITS: usize = 7;
/// What is longer is no id.
const LONGEST_ID: usize = 80;
/// What a text that was cut ends with.
const CUT: &str = " ...";
/// Of two texts that were cut at the same length, one may say so many bytes more than the other before the cut, as its
/// numbers are shorter.
const CUT_SLACK: usize = 32;

/// Whether two texts are the same but for numbers.
pub fn same_but_digits(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (a_is_cut, b_is_cut) = (a.ends_with(CUT), b.ends_with(CUT));
    if !a_is_cut && !b_is_cut {
        return pieces(a).eq(pieces(b));
    }
    let (a, b) = (shape(head(a, a_is_cut)), shape(head(b, b_is_cut)));
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.len() - short.len() <= CUT_SLACK && long.starts_with(&short)
}

/// What was left of a text that was cut, without its last word, which may be half a one.
fn head(text: &str, is_cut: bool) -> &str {
    let Some(kept) = text.strip_suffix(CUT).filter(|_| is_cut) else { return text };
    kept.rfind(char::is_whitespace).map_or(kept, |end| &kept[..end])
}

fn shape(text: &str) -> String {
    pieces(text).map(|piece| piece.unwrap_or('\0')).collect()
}

/// The characters of a text, `None` for each number.
fn pieces(text: &str) -> impl Iterator<Item = Option<char>> {
    let mut rest = text;
    let mut before = None::<char>;
    from_fn(move || {
        let first = rest.chars().next()?;
        let in_word = before.is_some_and(char::is_alphanumeric);
        let length = if in_word { 0 } else { id(rest) };
        let length = if length > 0 { length } else { number(rest, in_word) };
        let taken = if length > 0 { length } else { first.len_utf8() };
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
        Some(if length > 0 { None } else { Some(first) })
    })
}

/// How many bytes of a hexadecimal id a text begins with.
fn id(text: &str) -> usize {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let digits = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        return if digits > 0 { 2 + digits } else { 0 };
    }
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':');
    let chain = &text[..text.bytes().take(LONGEST_ID).take_while(is_part).count()];
    let chain = chain.trim_end_matches(['-', ':']);
    // What follows must not be a letter that is no ASCII.
    let ends = text[chain.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric());
    let is_hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit());
    let mixes = |word: &str| {
        word.bytes().any(|b| b.is_ascii_digit()) && word.bytes().any(|b| b.is_ascii_alphabetic()) && is_hex(word)
    };
    let words = || chain.split(['-', ':']);
    let digits: usize = words().map(str::len).sum();
    let is_id = ends && digits >= ID_DIGITS && words().all(is_hex) && words().any(mixes);
    if is_id { chain.len() } else { 0 }
}

/// How many bytes of a number a text begins with; inside of a word a sign is none.
fn number(text: &str, in_word: bool) -> usize {
    let mut end = 0;
    if !in_word {
        end += text.chars().next().filter(|c| matches!(c, '-' | '+' | '\u{2212}')).map_or(0, char::len_utf8);
        end += usize::from(text[end..].starts_with('.'));
    }
    let digits = run(&text[end..]);
    if digits == 0 {
        return 0;
    }
    end += digits;
    loop {
        let rest = &text[end..];
        let joint = rest.chars().next().filter(|c| is_joint(*c)).map_or(0, char::len_utf8);
        let exponent = match rest.bytes().next() {
            Some(b'e' | b'E') => 1 + usize::from(rest[1..].starts_with(['+', '-'])),
            _ => 0,
        };
        let more = joint.max(exponent);
        let digits = if more > 0 { run(&rest[more..]) } else { 0 };
        if digits == 0 {
            return end;
        }
        end += more + digits;
    }
}

/// What may stand between the digits of one number.
fn is_joint(c: char) -> bool {
    matches!(c, '.' | ',' | ':' | '\'' | '_' | '\u{2019}' | '\u{a0}' | '\u{202f}' | '\u{2009}')
}

fn run(text: &str) -> usize {
    text.chars().take_while(|c| c.is_numeric()).map(char::len_utf8).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// S3.7: what is an update, and what is not.
    #[test]
    fn numbers_are_no_news() {
        let same = [
            ("91% used", "92% used"),
            ("9% used", "100% used"),
            ("load 5.12", "load 12.3"),
            ("load .5", "load 0.25"),
            ("0,5 s", "1,25 s"),
            ("offset -0.3 s", "offset 0.2 s"),
            ("offset \u{2212}3", "offset +4"),
            ("1,024 rows", "999 rows"),
            ("1'024'000 rows", "7 rows"),
            ("1\u{202f}024 rows", "7 rows"),
            ("1_000_000", "5"),
            ("1e-05", "0.3"),
            ("at 12:03:44", "at 9:59"),
            ("since 2026-01-05T08:00:00Z", "since 2027-11-30T23:59:59.125Z"),
            ("12 > 10; 7 of 9", "13 > 10; 8 of 9"),
            ("core0: 99", "core1: 98"),
            ("request 9f2c41d0 failed", "request 0a1b2c3d4e failed"),
            ("0x1f at", "0xDEADBEEF at"),
            ("pod 3fa85f64-5717-4562-b3fc-2c963f66afa6", "pod 11111111-2222-3333-4444-55555555555a"),
            ("00:1a:2b:3c:4d:5e", "ff:ee:dd:cc:bb:a1"),
            ("٣ errors", "42 errors"),
        ];
        for (a, b) in same {
            assert!(same_but_digits(a, b) && same_but_digits(b, a), "{a} / {b}");
        }
        let other = [
            ("disk sda full", "disk sdb full"),
            ("91% used", "91 used"),
            ("1 GB", "1 MB"),
            ("3 failed", "3 failed, 1 missing"),
            ("web-a", "web-1"),
            ("x", ""),
            ("/srv 9%", "/home 9%"),
            ("decade", "facade"),
            ("état 1", "état un"),
            ("timeout", "refused"),
        ];
        for (a, b) in other {
            assert!(!same_but_digits(a, b) && !same_but_digits(b, a), "{a} / {b}");
        }
    }

    /// A number that gets longer moves the place where a text is cut.
    #[test]
    fn a_cut_may_move() {
        let text = |n: u64, word: &str| crate::wire::text::cut(&format!("{n} of them {}", word.repeat(60)), 200);
        assert!(same_but_digits(&text(9, "word "), &text(12_345, "word ")));
        assert!(same_but_digits(&text(9, "9f2c41d07 "), &text(123_456, "9f2c41d07 ")));
        assert!(!same_but_digits(&text(9, "word "), &text(9, "other ")));
        assert!(!same_but_digits("short", &text(9, "word ")));
    }

    proptest! {
        /// Whatever the text: other digits are the same, and nothing panics.
        #[test]
        fn any_text(text in "\\PC{0,60}", other in "\\PC{0,60}", digit in "[0-9]") {
            let changed: String = text.chars().map(|c| if c.is_ascii_digit() { digit.clone() } else { c.into() }).collect();
            let has_hex = text.bytes().any(|b| b.is_ascii_hexdigit() && b.is_ascii_alphabetic());
            prop_assert!(has_hex || same_but_digits(&text, &changed));
            prop_assert!(same_but_digits(&text, &text));
            prop_assert_eq!(same_but_digits(&text, &other), same_but_digits(&other, &text));
        }
    }
}
