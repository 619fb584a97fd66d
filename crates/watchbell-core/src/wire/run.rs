//! What is the same for every kind of command: it could not start, it did not end, it wrote too much, how it ended
//! in words. What its output means is the matter of [`super::nagios`], [`super::json_plugin`] and [`super::number`].

use super::text;
use crate::model::{Exit, Finding, Outcome, Raw};

/// The outcome of a run that says nothing about what the check is for: it could not start (`#monitor-start`) or was
/// killed at its time limit (`#monitor-timeout`). `None` when the command ended by itself.
///
/// The messages hold no durations: a text that differs from run to run would be a change each time.
pub fn unfinished(raw: &Raw) -> Option<Outcome> {
    let finding = match raw.exit {
        Some(Exit::Code(_) | Exit::Signal(_)) => return None,
        None => {
            let (message, detail) = text::message_and_detail(&text::clean(&raw.stderr));
            let message = if message.is_empty() { "the command could not be started".to_owned() } else { message };
            Finding::monitor("start", message).with_detail(detail)
        }
        Some(Exit::TimedOut) => {
            let message = "still running at its time limit and was killed; make it faster or raise `timeout`";
            Finding::monitor("timeout", message).with_detail(cut_detail(output(raw).trim()))
        }
    };
    let summary = finding.message.clone();
    Some(Outcome { findings: vec![finding], summary, inconclusive: true, ..outcome(raw) })
}

/// An outcome with what is known of every run: its output, exit and duration; `#monitor-output` where more was
/// written than is kept.
pub fn outcome(raw: &Raw) -> Outcome {
    let mut findings = Vec::new();
    if raw.truncated && !matches!(raw.exit, None | Some(Exit::TimedOut)) {
        let kept = raw.stdout.len() + raw.stderr.len();
        let message = format!("wrote more than its output limit: the first {kept} bytes are kept, the rest is dropped");
        findings.push(Finding::partial("output", message));
    }
    Outcome { findings, output: output(raw), exit: raw.exit, took: raw.took, ..Outcome::default() }
}

/// `#monitor-stderr`, where something was written to standard error. How the command ended is the verdict, and holds.
pub fn stderr_finding(raw: &Raw) -> Option<Finding> {
    if raw.stderr.is_empty() {
        return None;
    }
    let (message, detail) = text::message_and_detail(&text::clean(&raw.stderr));
    let message = if message.is_empty() { format!("{} blank bytes", raw.stderr.len()) } else { message };
    Some(Finding::partial("stderr", message).with_detail(detail))
}

/// How a command ended, in words: `exit code 127 (command not found)`, `signal 9 (KILL)`.
pub fn describe_exit(exit: Exit) -> String {
    let (what, number, known) = match exit {
        Exit::Code(code) => ("exit code", code, code_text(code)),
        Exit::Signal(signal) => ("signal", signal, signal_name(signal)),
        Exit::TimedOut => return "killed at its time limit".to_owned(),
    };
    known.map_or_else(|| format!("{what} {number}"), |known| format!("{what} {number} ({known})"))
}

/// Both outputs as text fit to show, standard output first.
pub fn output(raw: &Raw) -> String {
    let mut out = text::clean(&raw.stdout);
    if !raw.stderr.is_empty() {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&text::clean(&raw.stderr));
    }
    out
}

/// Text as the detail of a finding.
pub(super) fn cut_detail(text: &str) -> String {
    text::bounded(text, text::DETAIL_CHARS_MAX).into_owned()
}

/// What shells mean by their own exit codes (POSIX, "Exit Status for Commands").
fn code_text(code: i32) -> Option<&'static str> {
    match code {
        126 => Some("not executable"),
        127 => Some("command not found"),
        _ => None,
    }
}

/// The signals that commands die of; the numbers are the same on all Linux machines that matter here.
fn signal_name(signal: i32) -> Option<&'static str> {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Trouble;

    #[test]
    fn exits_in_words() {
        let cases = [
            (Exit::Code(4), "exit code 4"),
            (Exit::Code(127), "exit code 127 (command not found)"),
            (Exit::Signal(11), "signal 11 (SEGV)"),
            (Exit::Signal(64), "signal 64"),
            (Exit::TimedOut, "killed at its time limit"),
        ];
        for (exit, expect) in cases {
            assert_eq!(describe_exit(exit), expect);
        }
    }

    #[test]
    fn both_outputs_are_kept() {
        let raw = |out: &str, err: &str| Raw { stdout: out.into(), stderr: err.into(), ..Raw::default() };
        assert_eq!(output(&raw("a", "b")), "a\nb");
        assert_eq!(output(&raw("a\n", "b\n")), "a\nb\n");
        assert_eq!(output(&raw("", "b")), "b");
    }

    #[test]
    fn truncation_is_a_fault() {
        let raw = Raw { exit: Some(Exit::Code(0)), stdout: vec![b'x'; 64], truncated: true, ..Raw::default() };
        let outcome = outcome(&raw);
        assert_eq!(outcome.findings.len(), 1);
        assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-output"));
        assert!(outcome.findings[0].message.contains("the first 64 bytes are kept"));
        assert_eq!(outcome.findings[0].trouble, Some(Trouble::Partial));
        assert!(!outcome.inconclusive);
    }
}
