//! How commands speak: data to standard output, everything else to standard error, colour only on a terminal,
//! and an exit code that says how it went. A reader that has gone away (`| head`) is no error.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
};
use watchbell_core::{model::Severity, wire::text::shown_json};

/// How a command ends when it does not end well.
#[derive(Debug)]
pub enum Trouble {
    /// It did its work and found problems; it has said which.
    Found,
    /// It could not do its work: what happened, then `hint:` lines.
    Failed(String),
    /// The agent takes nothing in now, or can't be reached: what happened, then `hint:` lines.
    Away(String),
    /// It was used wrongly: what is wrong, then `hint:` lines.
    Wrong(String),
    /// Nobody reads the output any more.
    Closed,
    /// Another program's exit code, passed on.
    Code(u8),
}

/// What commands return.
pub type Done<T = ()> = Result<T, Trouble>;

/// Exit code of a command that found problems, or could not do its work.
const EXIT_PROBLEMS: u8 = 1;
/// Exit code of a command that was used wrongly; clap's own.
const EXIT_WRONG_USE: u8 = 2;

impl Trouble {
    /// It could not do its work.
    pub fn failed(what: impl Into<String>) -> Trouble {
        Trouble::Failed(what.into())
    }

    /// It was used wrongly.
    pub fn wrong(what: impl Into<String>) -> Trouble {
        Trouble::Wrong(what.into())
    }

    /// Says what happened, and with which code the program ends.
    pub fn exit(self) -> ExitCode {
        match self {
            Trouble::Found => ExitCode::from(EXIT_PROBLEMS),
            Trouble::Failed(text) | Trouble::Away(text) => {
                complain("error", &text);
                ExitCode::from(EXIT_PROBLEMS)
            }
            Trouble::Wrong(text) => {
                complain("error", &text);
                ExitCode::from(EXIT_WRONG_USE)
            }
            Trouble::Closed => ExitCode::SUCCESS,
            Trouble::Code(code) => ExitCode::from(code),
        }
    }
}

impl From<String> for Trouble {
    fn from(text: String) -> Trouble {
        Trouble::Failed(text)
    }
}

impl From<watchbell_io::store::StoreError> for Trouble {
    fn from(error: watchbell_io::store::StoreError) -> Trouble {
        Trouble::Failed(format!("{error}\nhint: {}", error.hint()))
    }
}

/// Writes data to standard output.
///
/// # Errors
/// [`Trouble::Closed`] when nobody reads it any more; a text when it can't be written (a full disk).
pub fn print(text: &str) -> Done {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Trouble::Closed,
        _ => Trouble::Failed(format!("can't write to standard output: {error}")),
    })
}

/// Writes data to standard output as indented JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json<T: serde::Serialize>(value: &T) -> Done {
    let text = serde_json::to_string_pretty(value).map_err(|e| Trouble::failed(format!("no JSON form: {e}")))?;
    print(&(shown_json(&text) + "\n"))
}

/// Says something beside the data, on standard error.
pub fn note(text: &str) {
    // Whoever closed standard error does not want to hear.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Warns, on standard error.
pub fn warn(text: &str) {
    complain("warning", text);
}

fn complain(word: &str, text: &str) {
    let paint = Paint::stderr();
    let word = paint.bold(if word == "error" { RED } else { YELLOW }, word);
    // It may repeat names and texts that others chose.
    let text = clean(text);
    let mut lines = text.lines();
    note(&format!("{word}: {}", lines.next().unwrap_or_default()));
    for line in lines {
        match line.strip_prefix("hint:") {
            Some(rest) => note(&format!("{}:{rest}", paint.bold(CYAN, "hint"))),
            None => note(line),
        }
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Whether there are any.
    pub on: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const DIM: &str = "2";

impl Paint {
    /// For standard output, as it is.
    pub fn stdout() -> Paint {
        Paint { on: wants_colour(io::stdout().is_terminal()) }
    }

    /// For standard error, as it is.
    pub fn stderr() -> Paint {
        Paint { on: wants_colour(io::stderr().is_terminal()) }
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, colour: &str, text: &str) -> String {
        self.code(&format!("1;{colour}"), text)
    }

    /// By how bad something is.
    pub fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Info => text.to_owned(),
            Severity::Warning => self.code(YELLOW, text),
            Severity::Error => self.code(RED, text),
            Severity::Critical => self.bold(RED, text),
        }
    }

    /// All is well.
    pub fn good(self, text: &str) -> String {
        self.code(GREEN, text)
    }

    /// Something is bad.
    pub fn bad(self, text: &str) -> String {
        self.bold(RED, text)
    }

    /// Less important than the rest.
    pub fn dim(self, text: &str) -> String {
        self.code(DIM, text)
    }

    /// A heading.
    pub fn head(self, text: &str) -> String {
        self.code("1", text)
    }
}

fn wants_colour(terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How wide a line may be: the terminal's width; `None` where the output is no terminal and is not cut.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Text with no line wider than that, where it has spaces to break at; what goes on is moved in below. Colours take no
/// room; names and addresses stay whole, to be copied.
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let indent = line.len() - line.trim_start_matches(' ').len() + HANGING;
        let mut used = 0;
        for (i, word) in line.split(' ').enumerate() {
            let length = visible(word);
            if i > 0 && used > indent && used + 1 + length > width {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                used = indent;
            } else if i > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += length;
        }
        out.push('\n');
    }
    out
}

/// How far lines that go on are moved in.
const HANGING: usize = 4;

/// How many columns a text with colours takes.
fn visible(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let first = parts.next().map_or(0, super::table::length);
    let rest = |part: &str| super::table::length(part.split_once('m').map_or(part, |(_, rest)| rest));
    first + parts.map(rest).sum::<usize>()
}

/// Text from outside, safe to print.
pub use watchbell_core::wire::text::shown as clean;

/// `1 check`, `2 checks`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_and_words_stay_whole() {
        let text = "2026-12-01  #1 problem critical: the disk is full\n  \u{1b}[2mtold\u{1b}[0m ops\n";
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped(text, Some(80)), text);
        let narrow = "2026-12-01  #1 problem\n    critical: the disk is\n    full\n  \u{1b}[2mtold\u{1b}[0m ops\n";
        assert_eq!(wrapped(text, Some(26)), narrow);
        let key = "k".repeat(40);
        assert_eq!(wrapped(&format!("a {key} b"), Some(20)), format!("a {key}\n    b\n"));
        assert_eq!(wrapped("日本語 日本語 日本語", Some(14)), "日本語 日本語\n    日本語\n");
    }

    #[test]
    fn text_from_outside_does_not_reach_the_terminal_as_commands() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\tc\u{7}"), "a\\u{1b}[31mb\\r\n\tc\\u{7}");
        assert_eq!(clean("a\u{200b}b\u{202e}c\u{e0041}"), "a\\u{200b}b\\u{202e}c\\u{e0041}");
        assert_eq!(count(1, "check"), "1 check");
        assert_eq!(count(0, "check"), "0 checks");
    }
}
