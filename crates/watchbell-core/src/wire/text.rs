//! Text that programs write, made fit to show: cleaned of what could confuse a terminal, cut, put on one line.
//!
//! All lengths are in characters (Unicode scalar values); no cut falls inside one.

use std::borrow::Cow;

/// What CIMAA cuts an alert's text at.
pub const CIMAA_CHARS_MAX: usize = 200;
/// What a finding's message (one line) is cut at.
pub const MESSAGE_CHARS_MAX: usize = 1_000;
/// What a finding's detail (more lines) is cut at.
pub const DETAIL_CHARS_MAX: usize = 32_768;
/// What a name that a program gives to a fault or a metric is cut at.
pub const NAME_CHARS_MAX: usize = 256;
/// What a unit that a program gives to a metric is cut at.
pub const UNIT_CHARS_MAX: usize = 32;

const CUT: &str = " ...";
const CUT_MIDDLE: &str = " ... ";

/// The first `max_chars` characters and ` ...`, or the whole text where it has no more than that.
pub fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}{CUT}", &text[..end]),
    }
}

/// At most `max_chars` characters in all: both ends of the text with ` ... ` between them, or the whole text
/// where it fits. (PagerDuty's summary takes 1,024.)
pub fn cut_middle(text: &str, max_chars: usize) -> String {
    let chars = text.chars().count();
    if chars <= max_chars {
        return text.to_owned();
    }
    let Some(room) = max_chars.checked_sub(CUT_MIDDLE.len()).filter(|room| *room >= 2) else {
        return text.chars().take(max_chars).collect();
    };
    let (head, tail) = (room - room / 2, room / 2);
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(i, _)| i);
    format!("{}{CUT_MIDDLE}{}", &text[..at(head)], &text[at(chars - tail)..])
}

/// The text on one line: every run of blanks, line ends and control characters becomes one blank, none at the ends.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(4 * MESSAGE_CHARS_MAX));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// What a program wrote, as text that is safe to show: invalid UTF-8 replaced, line ends as `\n`, no byte order
/// mark, no terminal escape sequences, no control characters but `\n` and `\t`, and no marks that turn the
/// direction of writing (they make a line read as another one).
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // Nearly every run is plain text; it is worth not walking it character by character.
    if text.bytes().all(|b| matches!(b, b'\n' | b'\t' | 0x20..=0x7e)) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches('\u{feff}').chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\r' => {
                if rest.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            '\n' | '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    out
}

/// Skips the rest of a terminal escape sequence (ECMA-48): `[` up to a letter, `]` up to BEL or ESC `\`, else one
/// character. A line end stops it, so that a stray escape loses one line at most.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let Some(kind) = rest.next_if(|c| *c != '\n') else { return };
    match kind {
        '[' => {
            while let Some(c) = rest.next_if(|c| matches!(c, ' '..='~')) {
                if matches!(c, '@'..='~') {
                    return;
                }
            }
        }
        ']' => {
            while let Some(c) = rest.next_if(|c| *c != '\n') {
                if c == '\u{7}' {
                    return;
                }
                if c == '\u{1b}' {
                    rest.next_if(|c| *c == '\\');
                    return;
                }
            }
        }
        _ => {}
    }
}

/// The first line of `text` that is not blank, trimmed and fit for a finding's message; empty where there is none.
pub fn headline(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    bounded(first, MESSAGE_CHARS_MAX).replace('\t', " ")
}

/// The text, cut where it is too long.
pub fn bounded(text: &str, max_chars: usize) -> Cow<'_, str> {
    // A text of n bytes has at most n characters.
    if text.len() <= max_chars { Cow::Borrowed(text) } else { Cow::Owned(cut(text, max_chars)) }
}

/// A message and, where the text has more than that one line, the detail: the whole text.
pub fn message_and_detail(text: &str) -> (String, String) {
    let text = text.trim();
    let message = headline(text);
    let is_whole = !text.contains('\n') && bounded(text, MESSAGE_CHARS_MAX).len() == text.len();
    let detail = if is_whole { String::new() } else { bounded(text, DETAIL_CHARS_MAX).into_owned() };
    (message, detail)
}

/// The whole of a text that was parted into a message and a detail, which holds all lines or only those behind it.
pub fn whole(message: &str, detail: &str) -> String {
    let (begins, detail) = (one_line(message.strip_suffix(CUT).unwrap_or(message)), detail.trim_end());
    if detail.is_empty() {
        message.to_owned()
    } else if one_line(detail).starts_with(&begins) {
        detail.to_owned()
    } else {
        format!("{message}\n{detail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_is_what_was_parted() {
        let long = "x".repeat(MESSAGE_CHARS_MAX + 1);
        let text = format!("{long}\nsecond");
        let parted = message_and_detail(&text);
        let cases = [
            ("one line", "", "one line"),
            ("first", "second\nthird\n", "first\nsecond\nthird"),
            ("first", "first\nsecond", "first\nsecond"),
            ("a\tb  c", "a\tb  c\nsecond", "a\tb  c\nsecond"),
            (&parted.0, &parted.1, &text),
        ];
        for (message, detail, expect) in cases {
            assert_eq!(whole(message, detail), expect);
        }
    }

    /// S3.4: the alert's text is cut at 200 characters plus ` ...`.
    #[test]
    fn cut_keeps_the_beginning() {
        let cases = [
            ("", 0, ""),
            ("", 5, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc ..."),
            ("äöü€", 4, "äöü€"),
            ("äöü€x", 4, "äöü€ ..."),
            ("ab", 0, " ..."),
        ];
        for (text, max, expect) in cases {
            assert_eq!(cut(text, max), expect, "{text:?} at {max}");
        }
        assert_eq!(cut(&"x".repeat(201), CIMAA_CHARS_MAX), format!("{} ...", "x".repeat(200)));
    }

    /// S3.14: text is cut to PagerDuty's limit keeping both ends.
    #[test]
    fn cut_middle_keeps_both_ends() {
        let cases = [
            ("abcdefghij", 10, "abcdefghij"),
            ("abcdefghijk", 10, "abc ... jk"),
            ("abcdefghijk", 7, "a ... k"),
            ("abcdefghijk", 6, "abcdef"),
            ("äbcdefghijö", 9, "äb ... jö"),
            ("abc", 0, ""),
        ];
        for (text, max, expect) in cases {
            assert_eq!(cut_middle(text, max), expect, "{text:?} at {max}");
        }
        let long = format!("begin {} end", "x".repeat(3_000));
        let short = cut_middle(&long, 1_024);
        assert_eq!(short.chars().count(), 1_024);
        assert!(short.starts_with("begin x") && short.ends_with("x end") && short.contains("x ... x"));
    }

    #[test]
    fn one_line_folds_blanks() {
        assert_eq!(one_line("  a\r\n\tb \u{7}c  "), "a b c");
        assert_eq!(one_line("\n\n"), "");
    }

    #[test]
    fn clean_removes_what_could_confuse() {
        let cases: [(&[u8], &str); 12] = [
            (b"plain\n\ttext", "plain\n\ttext"),
            (b"dos\r\nline\rold mac", "dos\nline\nold mac"),
            (b"\xef\xbb\xbfmark", "mark"),
            (b"bad \xff\xfe byte", "bad \u{fffd}\u{fffd} byte"),
            (b"\x1b[1;31mred\x1b[0m!", "red!"),
            (b"\x1b]0;title\x07text", "text"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"stray \x1b\nnext", "stray \nnext"),
            (b"\x1b[31\nnext", "\nnext"),
            (b"nul\x00bell\x07del\x7f", "nulbelldel"),
            ("c1\u{9b}31m".as_bytes(), "c131m"),
            ("turned \u{202e}txt".as_bytes(), "turned txt"),
        ];
        for (bytes, expect) in cases {
            assert_eq!(clean(bytes), expect, "{bytes:?}");
        }
    }

    #[test]
    fn message_is_one_line_and_detail_the_rest() {
        assert_eq!(message_and_detail("  one  line\tmore \n"), ("one  line more".into(), String::new()));
        assert_eq!(message_and_detail("one"), ("one".into(), String::new()));
        assert_eq!(message_and_detail("\n\none\ntwo\n"), ("one".into(), "one\ntwo".into()));
        assert_eq!(message_and_detail(" \n "), (String::new(), String::new()));
        let long = "x".repeat(MESSAGE_CHARS_MAX + 1);
        assert_eq!(message_and_detail(&long), (format!("{} ...", "x".repeat(MESSAGE_CHARS_MAX)), long));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, text: String, max in 0_usize..40) {
            let cleaned = clean(&bytes);
            prop_assert!(!cleaned.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            prop_assert!(cut(&text, max).chars().count() <= max + CUT.len());
            prop_assert!(cut_middle(&text, max).chars().count() <= max);
            prop_assert!(!one_line(&text).contains('\n'));
            prop_assert!(!headline(&text).contains('\n'));
            let _ = message_and_detail(&text);
        }
    }
}
