//! Commands whose output is a number (SpecialSnowflake's flakes of type `metric`, native `command` checks), and jobs,
//! whose output is whatever it is.

use super::{
    run,
    text::{clean, cut, headline, one_line},
};
use crate::model::{Exit, Finding, Metric, Outcome, Raw, Severity};

/// The longest output that is read as a number, in characters (no finite number needs more than 310 before its point).
pub const NUMBER_CHARS_MAX: usize = 400;
/// How much of an output that is no number is shown in the message.
const SHOWN_CHARS_MAX: usize = 120;

/// Reads an output as one integer or decimal: digits with an optional sign and an optional point, blanks around it.
/// Anything else is an error that shows the output: letters (`1e3`, `nan`, `inf`), two numbers, a unit.
pub fn parse(text: &str) -> Result<f64, String> {
    const EXPECTED: &str = "expected one integer or decimal like `12` or `-0.5`";
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("no output; {EXPECTED}"));
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().filter(|b| *b == b'.').count() <= 1;
    let shown = cut(&one_line(text), SHOWN_CHARS_MAX);
    if !is_number {
        return Err(format!("the output `{shown}` is not a number; {EXPECTED}"));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && text.len() <= NUMBER_CHARS_MAX => Ok(value),
        _ => Err(format!("the number `{shown}` is too large")),
    }
}

/// Judges a command that prints one number: the metric, with the check's unit.
///
/// Output that is no number is an error that shows it (with the exit where it is not 0, and standard error in the
/// detail). A number with another exit than 0 is an error too, which shows both; the metric is kept. What a command
/// that ends well writes to standard error is kept in the output and is no fault.
pub fn judge_metric(raw: &Raw, unit: Option<&str>) -> Outcome {
    judge_number(raw, unit, Severity::Error)
}

/// The same for a flake, where only the output counts (its `grep -c` exits with 1 when it counts 0): a number with
/// another exit than 0 is a warning, which never alerts.
pub fn judge_flake_metric(raw: &Raw, unit: Option<&str>) -> Outcome {
    judge_number(raw, unit, Severity::Warning)
}

fn judge_number(raw: &Raw, unit: Option<&str>, bad_exit: Severity) -> Outcome {
    if let Some(outcome) = run::unfinished(raw) {
        return outcome;
    }
    let mut outcome = run::outcome(raw);
    let stdout = clean(&raw.stdout);
    let failed = raw.exit.filter(|exit| *exit != Exit::Code(0)).map(run::describe_exit);
    let (summary, finding) = match (parse(&stdout), failed) {
        (Ok(value), failed) => {
            outcome.metrics.push(Metric { unit: unit.map(str::to_owned), ..Metric::new("", value) });
            let shown = cut(stdout.trim(), SHOWN_CHARS_MAX);
            let finding = failed.map(|how| Finding::new(bad_exit, format!("{how}, though it printed `{shown}`")));
            (shown, finding)
        }
        (Err(why), None) => (why.clone(), Some(Finding::new(Severity::Error, why))),
        (Err(why), Some(how)) => {
            let message = format!("{how}: {why}");
            (message.clone(), Some(Finding::new(Severity::Error, message)))
        }
    };
    let detail = run::cut_detail(outcome.output.trim());
    outcome.summary = finding.as_ref().map_or(summary, |finding| finding.message.clone());
    outcome.findings.extend(finding.map(|finding| finding.with_detail(detail)));
    outcome
}

/// Judges a job: any text is fine; where it is a number, it is a metric too. Another exit than 0 is an error that
/// shows the exit and the last thing said (standard error first).
pub fn judge_job(raw: &Raw) -> Outcome {
    if let Some(outcome) = run::unfinished(raw) {
        return outcome;
    }
    let mut outcome = run::outcome(raw);
    let stdout = clean(&raw.stdout);
    if let Ok(value) = parse(&stdout) {
        outcome.metrics.push(Metric::new("", value));
    }
    match raw.exit {
        Some(exit) if exit != Exit::Code(0) => {
            let said = [clean(&raw.stderr), stdout].iter().find_map(|text| {
                let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
                Some(headline(line))
            });
            let how = run::describe_exit(exit);
            let message = said.map_or_else(|| how.clone(), |said| format!("{how}: {said}"));
            let detail = run::cut_detail(outcome.output.trim());
            outcome.summary.clone_from(&message);
            outcome.findings.push(Finding::new(Severity::Error, message).with_detail(detail));
        }
        _ => {
            let line = headline(&outcome.output);
            outcome.summary = if line.is_empty() { "(no output)".to_owned() } else { line };
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(exit: Exit, stdout: &str, stderr: &str) -> Raw {
        Raw { exit: Some(exit), stdout: stdout.into(), stderr: stderr.into(), ..Raw::default() }
    }

    /// S1.5: one integer or float, trimmed; any letter in it is not a number.
    #[test]
    fn numbers() {
        for (text, value) in [
            ("5", 5.0),
            (" 5\n", 5.0),
            ("-3.25", -3.25),
            ("+7", 7.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("007", 7.0),
            ("-0", 0.0),
            ("12345678901234567890", 12_345_678_901_234_567_890.0),
        ] {
            assert_eq!(parse(text), Ok(value), "{text:?}");
        }
        const EXPECTED: &str = "expected one integer or decimal like `12` or `-0.5`";
        for text in [
            "1e3", "nan", "inf", "-inf", "NaN", "0x10", "5 6", "5MB", "1,5", "1.2.3", ".", "-", "+-1", "--1", "'5'",
            "٣", "5;",
        ] {
            assert_eq!(parse(text), Err(format!("the output `{text}` is not a number; {EXPECTED}")));
        }
        assert_eq!(parse(" \n"), Err(format!("no output; {EXPECTED}")));
        assert_eq!(parse("warning:\n  x\n5"), Err(format!("the output `warning: x 5` is not a number; {EXPECTED}")));
        for digits in [350, 100_000] {
            let error = parse(&"9".repeat(digits)).unwrap_err();
            assert!(error.starts_with("the number `999") && error.ends_with("9 ...` is too large"), "{error}");
        }
        assert!(parse(&"x".repeat(100_000)).unwrap_err().len() < 300);
    }

    /// S1.5: a metric's number is the metric; anything else is a failure that shows the output, and nothing is sent.
    #[test]
    fn metrics() {
        let cases = [
            (Exit::Code(0), "42\n", "", None, Some(42.0), "42"),
            (Exit::Code(0), "42\n", "noise", None, Some(42.0), "42"),
            (
                Exit::Code(0),
                "abc",
                "",
                Some(Severity::Error),
                None,
                "the output `abc` is not a number; expected one integer or decimal like `12` or `-0.5`",
            ),
            (
                Exit::Code(0),
                "",
                "",
                Some(Severity::Error),
                None,
                "no output; expected one integer or decimal like `12` or `-0.5`",
            ),
            (
                Exit::Code(2),
                "",
                "boom",
                Some(Severity::Error),
                None,
                "exit code 2: no output; expected one integer or decimal like `12` or `-0.5`",
            ),
            (Exit::Code(1), "0\n", "", Some(Severity::Error), Some(0.0), "exit code 1, though it printed `0`"),
            (Exit::Signal(15), "7", "", Some(Severity::Error), Some(7.0), "signal 15 (TERM), though it printed `7`"),
        ];
        for (exit, stdout, stderr, severity, value, summary) in cases {
            let outcome = judge_metric(&raw(exit, stdout, stderr), Some("Count"));
            assert_eq!(outcome.findings.first().map(|f| f.severity), severity, "{stdout:?}");
            assert!(outcome.findings.iter().all(|f| f.part.is_none() && f.escalates && f.message == summary));
            assert_eq!(outcome.metrics.first().map(|m| m.value), value, "{stdout:?}");
            assert!(outcome.metrics.iter().all(|m| m.name.is_empty() && m.unit.as_deref() == Some("Count")));
            assert_eq!(outcome.summary, summary);
            assert!(!outcome.inconclusive);
        }
        let outcome = judge_metric(&raw(Exit::Code(0), "x", "why"), None);
        assert_eq!((outcome.findings[0].detail.as_str(), outcome.output.as_str()), ("x\nwhy", "x\nwhy"));
    }

    /// S1.5: of a flake only the output counts; `grep -c` exits with 1 when it counts nothing.
    #[test]
    fn flakes_look_at_the_output() {
        let outcome = judge_flake_metric(&raw(Exit::Code(1), "0\n", ""), Some("Count"));
        assert_eq!((outcome.findings.len(), outcome.findings[0].severity), (1, Severity::Warning));
        assert_eq!(outcome.metrics[0].value, 0.0);
        let outcome = judge_flake_metric(&raw(Exit::Code(1), "zero", ""), None);
        assert_eq!((outcome.findings[0].severity, outcome.metrics.len()), (Severity::Error, 0));
    }

    /// S1.5: a job's text is never a failure; its number is kept (here), its exit counts.
    #[test]
    fn jobs() {
        let cases = [
            (Exit::Code(0), "all done\nreally", "", None, None, "all done"),
            (Exit::Code(0), "", "", None, None, "(no output)"),
            (Exit::Code(0), "17\n", "", None, Some(17.0), "17"),
            (Exit::Code(3), "", "", Some("exit code 3"), None, "exit code 3"),
            (Exit::Code(3), "step 1\nstep 2\n", "", Some("exit code 3: step 2"), None, "exit code 3: step 2"),
            (Exit::Code(3), "step 1", "bad\nworse\n\n", Some("exit code 3: worse"), None, "exit code 3: worse"),
            (Exit::Signal(9), "5", "", Some("signal 9 (KILL): 5"), Some(5.0), "signal 9 (KILL): 5"),
        ];
        for (exit, stdout, stderr, message, value, summary) in cases {
            let outcome = judge_job(&raw(exit, stdout, stderr));
            assert_eq!(outcome.findings.first().map(|f| f.message.as_str()), message, "{stdout:?}");
            assert_eq!(outcome.metrics.first().map(|m| m.value), value, "{stdout:?}");
            assert_eq!(outcome.summary, summary, "{stdout:?}");
        }
    }

    #[test]
    fn unfinished_runs_are_inconclusive() {
        for judge in [|raw: &Raw| judge_metric(raw, None), |raw: &Raw| judge_flake_metric(raw, None), judge_job] {
            let outcome = judge(&raw(Exit::TimedOut, "5", ""));
            assert!(outcome.inconclusive && outcome.metrics.is_empty());
            assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-timeout"));
            assert_eq!(judge(&Raw::default()).findings[0].part.as_deref(), Some("monitor-start"));
        }
    }

    proptest! {
        #[test]
        fn never_panics(stdout: Vec<u8>, text: String, number in "[-+0-9.e \n]{0,30}", code in -1..3) {
            for stdout in [stdout, text.into_bytes(), number.into_bytes()] {
                let raw = Raw { exit: Some(Exit::Code(code)), stdout, ..Raw::default() };
                for outcome in [judge_metric(&raw, None), judge_job(&raw)] {
                    prop_assert!(outcome.metrics.iter().all(|m| m.value.is_finite()));
                    prop_assert!(outcome.findings.iter().all(|f| !f.message.is_empty() && !f.message.contains('\n')));
                }
            }
        }

        #[test]
        fn every_decimal_is_read(value in -1e15..1e15_f64) {
            prop_assert_eq!(parse(&format!("{value}\n")), Ok(value));
        }
    }
}
