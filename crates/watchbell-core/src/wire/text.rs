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

/// What stands where a text was cut.
pub const CUT: &str = " ...";
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

/// The text on one line, [`clean`]: every run of blanks and line ends becomes one blank, none at the ends.
pub fn one_line(text: &str) -> String {
    let text = clean(text.as_bytes());
    let mut line = String::with_capacity(text.len().min(4 * MESSAGE_CHARS_MAX));
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// What a program wrote, as text that is safe to show: invalid UTF-8 replaced, line ends (also U+2028 and U+2029)
/// as `\n`, no terminal escape sequences, and nothing that is [`unfit`] but `\n` and `\t`.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // Nearly every run is plain text; it is worth not walking it character by character.
    if text.bytes().all(|b| matches!(b, b'\n' | b'\t' | 0x20..=0x7e)) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut before = None;
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_control_string(&mut rest),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{b}' | '\u{c}' => out.push(' '),
            '\n' | '\t' => out.push(c),
            _ if unfit(before, c, rest.peek().copied()) => {}
            _ => out.push(c),
        }
        before = Some(c);
    }
    out
}

/// The text with all that is [`unfit`] written as `\u{200b}`, for people who must see that it is there; `\n` and `\t`
/// stay.
pub fn shown(text: &str) -> String {
    escaped(text, |c, out| out.extend(c.escape_default()))
}

/// JSON with all that is [`unfit`] in its strings written as `\u200b`: the same data, safe to look at.
pub fn shown_json(json: &str) -> String {
    escaped(json, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escaped(text: &str, write: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut before = None;
    while let Some(c) = rest.next() {
        if !matches!(c, '\n' | '\t') && unfit(before, c, rest.peek().copied()) {
            write(c, &mut out);
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

/// Whether a character, between its neighbours, has no place in text that people see: a control character (C0, C1),
/// a line end that is none of ASCII's, or one that shows nothing and so hides in a text, makes two look the same, or
/// turns the direction of writing (they make a line read as another one).
///
/// What joins is kept where it does its work: ZWJ and ZWNJ between two characters of a script that is joined (Arabic,
/// the Indic ones) or of an emoji, one variation selector behind a character that has variants. Elsewhere they hide
/// like the others. Tag characters always go: the flags of regions (Scotland) show as a black flag.
pub fn unfit(before: Option<char>, c: char, after: Option<char>) -> bool {
    match c {
        ' '..='~' => false,
        '\u{200c}' | '\u{200d}' => !(before.is_some_and(is_joined) && after.is_some_and(is_joined)),
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
            let keycap = c >= '\u{fe0e}' && matches!(before, Some('0'..='9' | '#' | '*' | '©' | '®'));
            !keycap && !before.is_some_and(|b| b >= '\u{1000}' && !is_selector(b) && !b.is_whitespace() && !hides(b))
        }
        _ => c.is_control() || hides(c),
    }
}

/// Shows nothing wherever it stands.
fn hides(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}'
    )
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Letters of scripts that ZWJ and ZWNJ have a meaning in, and parts of emoji.
fn is_joined(c: char) -> bool {
    let may = matches!(
        c,
        '\u{600}'..='\u{109f}' | '\u{1700}'..='\u{1cff}' | '\u{2190}'..='\u{2bff}' | '\u{a800}'..='\u{abff}'
            | '\u{fb50}'..='\u{fdff}' | '\u{fe0e}'..='\u{fe0f}' | '\u{fe70}'..='\u{fefc}' | '\u{10a00}'..='\u{11fff}'
            | '\u{1e900}'..='\u{1e95f}' | '\u{1f000}'..='\u{1faff}'
    );
    may && !hides(c)
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips the rest of a terminal escape sequence (ECMA-48) behind its ESC. A line end stops it, so that a stray escape
/// loses one line at most.
fn skip_escape(rest: &mut Rest<'_>) {
    let Some(kind) = rest.next_if(|c| *c != '\n') else { return };
    match kind {
        '[' => skip_control_sequence(rest),
        ']' | 'P' | 'X' | '^' | '_' => skip_control_string(rest),
        ' '..='/' => {
            while rest.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            rest.next_if(|c| matches!(c, '0'..='~'));
        }
        _ => {}
    }
}

/// Up to a letter.
fn skip_control_sequence(rest: &mut Rest<'_>) {
    while let Some(c) = rest.next_if(|c| matches!(c, ' '..='~')) {
        if matches!(c, '@'..='~') {
            return;
        }
    }
}

/// Up to BEL, ST or ESC `\`.
fn skip_control_string(rest: &mut Rest<'_>) {
    while let Some(c) = rest.next_if(|c| *c != '\n') {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                rest.next_if(|c| *c == '\\');
                return;
            }
            _ => {}
        }
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
            ("c1\u{9b}31m".as_bytes(), "c1"),
            ("turned \u{202e}txt".as_bytes(), "turned txt"),
        ];
        for (bytes, expect) in cases {
            assert_eq!(clean(bytes), expect, "{bytes:?}");
        }
    }

    /// What hides is dropped, or written out where it must be seen; the data of JSON is the same either way.
    #[test]
    fn nothing_hides() {
        let mut hidden: Vec<char> =
            "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{61c}\u{feff}\u{180e}\u{ad}\u{34f}\u{115f}\
            \u{1160}\u{3164}\u{ffa0}\u{fe0f}\u{e0100}\u{fff9}\u{1d173}\u{0}\u{7}\u{8}\u{7f}\u{80}"
                .chars()
                .collect();
        hidden.extend(('\u{202a}'..='\u{202e}').chain('\u{2060}'..='\u{206f}').chain('\u{e0000}'..='\u{e007f}'));
        for c in hidden {
            let text = format!("a{c}b");
            assert_eq!((clean(text.as_bytes()), one_line(&text)), ("ab".into(), "ab".into()), "{c:?}");
            assert_eq!(shown(&text), format!("a{}b", c.escape_unicode()), "{c:?}");
            let json = serde_json::to_string(&text).unwrap();
            let safe = shown_json(&json);
            assert!(safe.is_ascii(), "{safe}");
            assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
        for end in ["\n", "\r\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"] {
            let text = format!("a{end}b");
            assert_eq!((clean(text.as_bytes()), one_line(&text)), ("a\nb".into(), "a b".into()), "{end:?}");
        }
        for escape in [
            "\x1b[1;31m",
            "\x1b(B",
            "\x1b]0;t\x07",
            "\x1bPq\x1b\\",
            "\x1b_x\u{9c}",
            "\u{9b}2J",
            "\u{9d}0;t\x07",
            "\x1bc",
        ] {
            assert_eq!(one_line(&format!("a{escape}b")), "ab", "{escape:?}");
        }
    }

    /// What joins is kept where it joins, and there alone.
    #[test]
    fn joiners_stay_where_they_join() {
        let kept = [
            "👨\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "葛\u{e0100}",
            "©\u{fe0f}",
        ];
        for text in kept {
            assert_eq!((clean(text.as_bytes()), shown(text)), (text.into(), text.into()));
        }
        let cases = [
            ("а\u{200d}б", "аб"),
            ("🔥\u{200d}", "🔥"),
            ("🔥\u{200d}\u{200d}🔥", "🔥🔥"),
            ("❤\u{fe0f}\u{fe0f}\u{e0101}", "❤\u{fe0f}"),
            ("🏴\u{e0067}\u{e0062}\u{e007f}", "🏴"),
        ];
        for (text, expect) in cases {
            assert_eq!(clean(text.as_bytes()), expect, "{text:?}");
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
