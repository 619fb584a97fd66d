//! Output of monitoring plugins (Nagios, Icinga): `TEXT|perfdata`, then long text, then from the first `|` on
//! performance data again (<https://www.monitoring-plugins.org/doc/guidelines.html>); the exit code is the verdict.
//!
//! Exit 0 is fine, 1 a warning, 2 and 3 an error; the one of 3 is called "unknown". Any other ending says nothing about
//! what the check is for: it is `#monitor-status`, and what was wrong before stays ([`Outcome::inconclusive`]). The same
//! where a plugin says that all is fine without a word. CIMAA's plugins, which may answer JSON instead, are read here too,
//! as its check files run both.
//!
//! `|` is also a character of tables and log lines: behind it stands performance data only where there is a
//! `label=value`.

use super::{
    json_plugin, perfdata, run,
    text::{MESSAGE_CHARS_MAX, clean, cut, headline},
};
use crate::model::{Exit, Finding, Outcome, Raw, Severity};

/// What a check says about how to read its plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NagiosOptions {
    /// Exit code 0 and `{` as the very first character: a JSON plugin (CIMAA's check files).
    pub accept_json: bool,
    /// Reads performance data. Where not, `|` is text.
    pub performance: bool,
    /// Judges each value of the performance data on the ranges that the plugin gives with it. Needs `performance`.
    pub perfdata_thresholds: bool,
}

impl Default for NagiosOptions {
    /// A plugin as the guidelines describe it.
    fn default() -> NagiosOptions {
        NagiosOptions { accept_json: false, performance: true, perfdata_thresholds: false }
    }
}

/// The three parts of an output.
struct Parts {
    first: String,
    long: String,
    perfdata: String,
}

/// Judges one run of a plugin.
///
/// Findings: `#monitor-start` and `#monitor-timeout` (nothing else then), `#monitor-status` and `#monitor-no-out`; as
/// warnings beside a verdict that holds `#monitor-stderr` (what was written there), `#monitor-output` (too much) and
/// `#monitor-perfdata` (a number is missing); the verdict itself as the check as a whole, and with
/// `perfdata_thresholds` one per value out of its range. The verdict's message is the first line, its detail the long
/// text.
pub fn judge(raw: &Raw, options: &NagiosOptions) -> Outcome {
    if let Some(outcome) = run::unfinished(raw) {
        return outcome;
    }
    if options.accept_json && raw.exit == Some(Exit::Code(0)) && raw.stdout.first() == Some(&b'{') {
        return json_plugin::judge(raw);
    }
    let mut outcome = run::outcome(raw);
    outcome.findings.extend(run::stderr_finding(raw));
    let text = clean(&raw.stdout);
    let parts = split(&text, options.performance, raw.truncated);
    let (message, detail) = message_and_detail(&parts);
    let is_silent = text.trim().is_empty();
    let verdict = verdict(raw.exit);
    if is_silent {
        const SILENT: &str = "the plugin wrote nothing to standard output";
        // Where the exit says that something is wrong, that is told already.
        outcome.inconclusive = verdict == Ok(None);
        outcome.findings.push(match outcome.inconclusive {
            true => Finding::monitor("no-out", SILENT),
            false => Finding::partial("no-out", SILENT),
        });
    }
    let message = match (message.is_empty(), is_silent) {
        (false, _) => message,
        (true, true) => "(no output)".to_owned(),
        (true, false) => "(no text)".to_owned(),
    };
    outcome.summary.clone_from(&message);
    match verdict {
        Ok(None) => {}
        Ok(Some(severity)) => {
            let unknown = raw.exit == Some(Exit::Code(UNKNOWN));
            outcome.findings.push(Finding { unknown, ..Finding::new(severity, message).with_detail(detail) });
        }
        Err(how) => {
            outcome.inconclusive = true;
            let message = cut(&format!("{how}: {message}"), MESSAGE_CHARS_MAX);
            outcome.findings.push(Finding::monitor("status", message).with_detail(detail));
        }
    }
    add_perfdata(&mut outcome, &parts.perfdata, options);
    outcome
}

/// The exit code of a plugin that could not find out.
const UNKNOWN: i32 = 3;

/// What an exit code says: fine, a severity, or (how it ended) nothing at all.
fn verdict(exit: Option<Exit>) -> Result<Option<Severity>, String> {
    match exit {
        Some(Exit::Code(0)) => Ok(None),
        Some(Exit::Code(1)) => Ok(Some(Severity::Warning)),
        Some(Exit::Code(2 | UNKNOWN)) => Ok(Some(Severity::Error)),
        Some(exit) => Err(run::describe_exit(exit)),
        None => Err("not started".to_owned()),
    }
}

/// Parts the output, each line at the `|` behind which performance data stands; behind the first one in the long text,
/// lines without a `|` are performance data too. A line without a `label=value` is text, wherever it stands. Where the
/// output was cut off, so may have been its last item, which would then read as a smaller number: it is left out.
fn split(text: &str, performance: bool, truncated: bool) -> Parts {
    let mut parts = Parts { first: String::new(), long: String::new(), perfdata: String::new() };
    let (mut behind, mut ends_in_data) = (false, false);
    for (i, line) in text.split('\n').enumerate() {
        let found = if performance { perfdata::split_line(line, behind) } else { None };
        let (words, data) = found.unwrap_or((line, ""));
        ends_in_data = found.is_some();
        behind |= i > 0 && ends_in_data;
        if i == 0 {
            parts.first.push_str(words);
        } else if !(behind && words.trim().is_empty()) {
            parts.long.push_str(words);
            parts.long.push('\n');
        }
        parts.perfdata.push_str(data);
        parts.perfdata.push('\n');
    }
    if truncated && ends_in_data {
        let end = parts.perfdata.trim_end().rfind(char::is_whitespace).unwrap_or(0);
        parts.perfdata.truncate(end);
    }
    parts
}

/// The first line that says something, and the lines behind it. A first line too long for a message is all in the
/// detail too.
fn message_and_detail(parts: &Parts) -> (String, String) {
    let first = parts.first.trim();
    let long = parts.long.trim_end();
    if first.is_empty() {
        return super::text::message_and_detail(long);
    }
    let detail = match first.chars().count() > MESSAGE_CHARS_MAX {
        true => format!("{first}\n{long}"),
        false => long.to_owned(),
    };
    (headline(first), run::cut_detail(detail.trim_end()))
}

fn add_perfdata(outcome: &mut Outcome, text: &str, options: &NagiosOptions) {
    let data = perfdata::parse(text);
    outcome.metrics = data.metrics();
    let mut problems = data.problems;
    if options.perfdata_thresholds {
        for item in &data.items {
            match item.finding() {
                Ok(finding) => outcome.findings.extend(finding),
                Err(problem) if problems.len() < perfdata::PROBLEMS_MAX => problems.push(problem),
                Err(_) => {}
            }
        }
    }
    // A usage text (exit code 3) and a crash hold `|` that part nothing; that they are a problem is said already.
    let is_plugin_talk = matches!(outcome.exit, Some(Exit::Code(0..=2)));
    if let (Some(first), true) = (problems.first(), is_plugin_talk) {
        let more = match problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let message = format!("performance data that can't be read: {first}{more}");
        outcome.findings.push(Finding::partial("perfdata", message).with_detail(problems.join("\n")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const CIMAA: NagiosOptions = NagiosOptions { accept_json: true, performance: true, perfdata_thresholds: false };

    fn raw(exit: Exit, stdout: &str, stderr: &str) -> Raw {
        let took = Duration::from_millis(7);
        Raw { exit: Some(exit), stdout: stdout.into(), stderr: stderr.into(), truncated: false, took }
    }

    /// An outcome's findings and metrics as lines.
    fn shown(outcome: &Outcome) -> Vec<String> {
        let finding = |f: &Finding| {
            let part = f.part.as_ref().map(|p| format!("#{p} ")).unwrap_or_default();
            let stays = if f.escalates { "" } else { " (stays)" };
            let unknown = if f.unknown { ", unknown" } else { "" };
            format!("{part}{}{unknown}{stays}: {}", f.severity, f.message)
        };
        let metrics = outcome
            .metrics
            .iter()
            .map(|m| format!("{} = {} {}", m.name, m.value, m.unit.as_deref().unwrap_or("")).trim_end().to_owned());
        outcome.findings.iter().map(finding).chain(metrics).collect()
    }

    /// S3.4: what the exit code means; a signal and another code are no verdict.
    #[test]
    fn exit_codes() {
        let cases: [(Exit, &[&str], bool); 9] = [
            (Exit::Code(0), &[], false),
            (Exit::Code(1), &["warning: text"], false),
            (Exit::Code(2), &["error: text"], false),
            (Exit::Code(3), &["error, unknown: text"], false),
            (Exit::Code(4), &["#monitor-status error: exit code 4: text"], true),
            (Exit::Code(-1), &["#monitor-status error: exit code -1: text"], true),
            (Exit::Code(127), &["#monitor-status error: exit code 127 (command not found): text"], true),
            (Exit::Code(255), &["#monitor-status error: exit code 255: text"], true),
            (Exit::Signal(11), &["#monitor-status error: signal 11 (SEGV): text"], true),
        ];
        for (exit, expect, inconclusive) in cases {
            let outcome = judge(&raw(exit, "text\n", ""), &NagiosOptions::default());
            assert_eq!(shown(&outcome), expect, "{exit:?}");
            assert_eq!(outcome.inconclusive, inconclusive, "{exit:?}");
            assert_eq!((outcome.summary.as_str(), outcome.exit), ("text", Some(exit)));
            assert_eq!((outcome.output.as_str(), outcome.took), ("text\n", Duration::from_millis(7)));
        }
    }

    /// S3.4: something on stderr, no output.
    #[test]
    fn misbehaviour_is_monitored() {
        const NO_OUT: &str = "#monitor-no-out error: the plugin wrote nothing to standard output";
        // A verdict without a word is told by itself.
        const NO_WORD: &str = "#monitor-no-out warning: the plugin wrote nothing to standard output";
        let cases: [(Exit, &str, &str, &[&str]); 7] = [
            (Exit::Code(0), "ok", "what happened?", &["#monitor-stderr warning: what happened?"]),
            (Exit::Code(0), "ok", " \n", &["#monitor-stderr warning: 2 blank bytes"]),
            (Exit::Code(0), "", "", &[NO_OUT]),
            (Exit::Code(0), "\n \n", "", &[NO_OUT]),
            (Exit::Code(1), "", "", &[NO_WORD, "warning: (no output)"]),
            (Exit::Code(2), "", "sh: 1\nsh: 2", &["#monitor-stderr warning: sh: 1", NO_WORD, "error: (no output)"]),
            (Exit::Signal(9), "", "", &[NO_WORD, "#monitor-status error: signal 9 (KILL): (no output)"]),
        ];
        for (exit, stdout, stderr, expect) in cases {
            let outcome = judge(&raw(exit, stdout, stderr), &NagiosOptions::default());
            assert_eq!(shown(&outcome), expect, "{exit:?} {stdout:?} {stderr:?}");
            let is_verdict = matches!(exit, Exit::Code(1..=2)) || (exit == Exit::Code(0) && stdout == "ok");
            assert_eq!(outcome.inconclusive, !is_verdict, "{exit:?} {stdout:?}");
        }
        let outcome = judge(&raw(Exit::Code(0), "ok", "sh: 1\nsh: 2\n"), &NagiosOptions::default());
        assert_eq!(outcome.findings[0].detail, "sh: 1\nsh: 2");
        assert_eq!(outcome.output, "ok\nsh: 1\nsh: 2\n");
    }

    /// S3.4: too slow is `#monitor-timeout`; so is what cannot start its own fault; both say nothing else.
    #[test]
    fn unfinished_runs_are_inconclusive() {
        let outcome = judge(&raw(Exit::TimedOut, "so far|a=1", "e"), &CIMAA);
        assert!(outcome.inconclusive && outcome.metrics.is_empty());
        assert_eq!(shown(&outcome).len(), 1);
        assert!(shown(&outcome)[0].starts_with("#monitor-timeout error: still running at its time limit"));
        assert_eq!(outcome.findings[0].detail, "so far|a=1\ne");
        let lost = Raw { stderr: b"no such file: `x`".to_vec(), ..Raw::default() };
        let outcome = judge(&lost, &CIMAA);
        assert!(outcome.inconclusive);
        assert_eq!(shown(&outcome), ["#monitor-start error: no such file: `x`"]);
        assert_eq!(outcome.summary, "no such file: `x`");
        assert_eq!(shown(&judge(&Raw::default(), &CIMAA)), ["#monitor-start error: the command could not be started"]);
    }

    /// S3.4: first line, long text, performance data over several lines.
    #[test]
    fn text_and_perfdata_are_parted() {
        let output = "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n\
            / 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n/var/log 819 MB (84%); | /boot=68MB;88;93;0;98\n\
            /home=69357MB;253404;253409;0;253414\n/var/log=818MB;970;975;0;980\nspeed=0 loudness=0\n";
        let outcome = judge(&raw(Exit::Code(2), output, ""), &NagiosOptions::default());
        assert_eq!(
            shown(&outcome),
            [
                "error: DISK OK - free space: / 3326 MB (56%);",
                "/ = 2643 MB",
                "/boot = 68 MB",
                "/home = 69357 MB",
                "/var/log = 818 MB",
                "speed = 0",
                "loudness = 0",
            ]
        );
        let long = "/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n/var/log 819 MB (84%);";
        assert_eq!(outcome.findings[0].detail, long);

        let cases: [(&str, &str, &str, &[&str]); 8] = [
            ("text", "text", "", &[]),
            ("text | a=1", "text", "", &["a = 1"]),
            ("| a=1", "(no text)", "", &["a = 1"]),
            ("text\n| a=1\nb=2", "text", "", &["a = 1", "b = 2"]),
            ("text\nlong\nlonger\n", "text", "long\nlonger", &[]),
            ("\n\ntext\nlong", "text", "text\nlong", &[]),
            ("text|", "text", "", &[]),
            ("tab\there \x1b[31mred\x1b[0m \x07\u{fffd}\r\n", "tab here red \u{fffd}", "", &[]),
        ];
        for (stdout, message, detail, metrics) in cases {
            let outcome = judge(&raw(Exit::Code(1), stdout, ""), &NagiosOptions::default());
            assert_eq!(outcome.findings[0].message, message, "{stdout:?}");
            assert_eq!(outcome.findings[0].detail, detail, "{stdout:?}");
            assert_eq!(shown(&outcome)[1..], *metrics, "{stdout:?}");
        }
    }

    /// `|` in a text is text, where no performance data stands behind it; and the text is whole then.
    #[test]
    fn pipes_in_text() {
        // output => message => detail => metrics
        let cases: [(&str, &str, &str, &[&str]); 12] = [
            (
                "WARNING - 1 line - 02:27:25|/Svc ERROR not allowed |log_lines=7 log_warnings=1",
                "WARNING - 1 line - 02:27:25|/Svc ERROR not allowed",
                "",
                &["log_lines = 7", "log_warnings = 1"],
            ),
            (
                "OK - 2 hosts\n+----+-----+\n| h1 | up  |\n| h2 | up  |\n+----+-----+\n",
                "OK - 2 hosts",
                "+----+-----+\n| h1 | up  |\n| h2 | up  |\n+----+-----+",
                &[],
            ),
            ("a || b", "a || b", "", &[]),
            ("cat x | grep y", "cat x | grep y", "", &[]),
            ("cat x | grep y | lines=3", "cat x | grep y", "", &["lines = 3"]),
            ("ok | 'a|b'=1", "ok", "", &["a|b = 1"]),
            ("ok | '|a'=1", "ok", "", &["a = 1"]),
            ("ok | a=1 | b=2", "ok", "", &["a = 1", "b = 2"]),
            ("ok ||a=1", "ok", "", &["a = 1"]),
            ("ok|a=1|", "ok", "", &["a = 1"]),
            (
                "ok\nlong | a=1\nb=2\nthat was all\nmore | c=3\n",
                "ok",
                "long \nthat was all\nmore",
                &["a = 1", "b = 2", "c = 3"],
            ),
            ("x|y=1 of them | load=1", "x|y=1 of them", "", &["load = 1"]),
        ];
        for (stdout, message, detail, metrics) in cases {
            let outcome = judge(&raw(Exit::Code(1), stdout, ""), &NagiosOptions::default());
            assert_eq!(shown(&outcome)[1..], *metrics, "{stdout}");
            assert_eq!(outcome.findings[0].message, message, "{stdout}");
            assert_eq!(outcome.findings[0].detail, detail, "{stdout}");
        }
        // A great many of them take no time.
        let outcome = judge(&raw(Exit::Code(1), &"| a b".repeat(200_000), ""), &NagiosOptions::default());
        assert_eq!(shown(&outcome).len(), 1);
    }

    /// S3.2: `nagios_performance = false`: `|` is text.
    #[test]
    fn performance_can_be_off() {
        let options = NagiosOptions { performance: false, ..CIMAA };
        let outcome = judge(&raw(Exit::Code(1), "a | b=1 junk\nlong | c", ""), &options);
        assert_eq!(shown(&outcome), ["warning: a | b=1 junk"]);
        assert_eq!(outcome.findings[0].detail, "long | c");
    }

    #[test]
    fn bad_perfdata_is_a_quiet_warning() {
        let outcome = judge(&raw(Exit::Code(0), "ok | a=1 b=1e999 junk c=2", ""), &NagiosOptions::default());
        assert_eq!(
            shown(&outcome),
            [
                "#monitor-perfdata warning: performance data that can't be read: \
                `b=1e999`: the number is too large (and 1 more)",
                "a = 1",
                "c = 2",
            ]
        );
        assert_eq!(outcome.findings[0].detail, "`b=1e999`: the number is too large\n`junk`: expected `label=value`");
        assert!(!outcome.inconclusive);
    }

    /// A usage text holds `|`; that is no performance data gone wrong.
    #[test]
    fn usage_text() {
        let usage = "check_disk: Could not parse arguments\nUsage:\n check_disk {-w limit |-w  percent% | -W percent } \
            {-p path | -x device}\n[-C] [-E]\n";
        let outcome = judge(&raw(Exit::Code(3), usage, ""), &NagiosOptions::default());
        assert_eq!(shown(&outcome), ["error, unknown: check_disk: Could not parse arguments"]);
        assert_eq!(outcome.output, usage);
    }

    /// S3.4, issue: thresholds from performance data, where the check asks for them.
    #[test]
    fn perfdata_thresholds() {
        let options = NagiosOptions { perfdata_thresholds: true, ..NagiosOptions::default() };
        let output = "LOAD OK|load1=6.270;5.000;10.000;0; load5=11;4;8;0; load15=0.270;3;6;0; odd=1;x%;2";
        let outcome = judge(&raw(Exit::Code(0), output, ""), &options);
        assert_eq!(
            shown(&outcome)[..3],
            [
                "#load1 warning: 6.27 is outside the warning range 5.000",
                "#load5 error: 11 is outside the critical range 8",
                "#monitor-perfdata warning: performance data that can't be read: the warning range of `odd` \
                can't be read: expected a number, found `x%` (at character 1)",
            ]
        );
        assert_eq!(outcome.metrics.len(), 4);
        let outcome = judge(&raw(Exit::Code(0), output, ""), &NagiosOptions::default());
        assert!(outcome.findings.is_empty());
    }

    /// S3.5: JSON counts only with exit 0 and `{` as first character.
    #[test]
    fn json_where_cimaa_takes_it() {
        let json = r#"{"faults": [{"name": "server", "severity": "error", "message": "badness"}]}"#;
        let run = |exit, text: &str, options: &NagiosOptions| shown(&judge(&raw(Exit::Code(exit), text, ""), options));
        assert_eq!(run(0, json, &CIMAA), ["#server error: badness"]);
        assert_eq!(run(1, json, &CIMAA), [format!("warning: {json}")]);
        assert!(run(0, &format!(" {json}"), &CIMAA).is_empty());
        assert!(run(0, json, &NagiosOptions::default()).is_empty());
        let bad = run(0, "{", &CIMAA);
        assert!(bad[0].starts_with("#json-error error: line 1 column 2: "), "{bad:?}");
    }

    #[test]
    fn too_much_output() {
        let cut_off = Raw { truncated: true, ..raw(Exit::Code(0), "ok | a=1 b=26", "") };
        let outcome = judge(&cut_off, &NagiosOptions::default());
        assert_eq!(shown(&outcome)[1..], ["a = 1"]);
        assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-output"));
        // Cut off within the long text: the first line's data is whole.
        let cut_off = Raw { truncated: true, ..raw(Exit::Code(0), "ok | a=1 b=26\nlong te", "") };
        assert_eq!(shown(&judge(&cut_off, &NagiosOptions::default()))[1..], ["a = 1", "b = 26"]);
        let long = "x".repeat(100_000);
        let outcome = judge(&raw(Exit::Code(2), &long, ""), &NagiosOptions::default());
        assert_eq!(outcome.findings[0].message.chars().count(), MESSAGE_CHARS_MAX + 4);
        assert!(outcome.findings[0].detail.starts_with(&long[..MESSAGE_CHARS_MAX + 1]));
    }

    /// Exit code, output, and what comes of it.
    const REAL: &[(i32, &str, &[&str])] = &[
        (
            0,
            "DISK OK - free space: / 74363MiB (79% inode=97%);| /=19595788288B;243497277849;257024904396;0;270552530944\n",
            &["/ = 19595788288 B"],
        ),
        (
            0,
            "LOAD OK - total load average: 0.27, 0.21, 0.27|load1=0.270;5.000;10.000;0; load5=0.210;4.000;8.000;0; load15=0.270;3.000;6.000;0; \n",
            &["load1 = 0.27", "load5 = 0.21", "load15 = 0.27"],
        ),
        (0, "PROCS OK: 77 processes | procs=77;;;0;\n", &["procs = 77"]),
        (
            1,
            "CPU WARNING: 77 warn out of 77 processes | procs=77;;;0; procs_warn=77;;;0; procs_crit=0;;;0;\n",
            &["warning: CPU WARNING: 77 warn out of 77 processes", "procs = 77", "procs_warn = 77", "procs_crit = 0"],
        ),
        (0, "USERS OK - 0 users currently logged in |users=0;5;10;0\n", &["users = 0"]),
        (
            2,
            "SWAP CRITICAL - 0% free (0MB out of 0MB) - Swap is either disabled, not present, or of zero size. |swap=0B;0;0;0;0\n",
            &[
                "error: SWAP CRITICAL - 0% free (0MB out of 0MB) - Swap is either disabled, not present, or of zero size.",
                "swap = 0 B",
            ],
        ),
        (0, "OK: fine\n", &[]),
        (3, "UNKNOWN\n", &["error, unknown: UNKNOWN"]),
        (
            0,
            "PING OK - Packet loss = 0%, RTA = 0.06 ms|rta=0.057000ms;100.000000;500.000000;0.000000 pl=0%;20;60;0;\n",
            &["rta = 0.057 ms", "pl = 0 %"],
        ),
        (
            0,
            "OK - 127.0.0.1: rta 0.006ms, lost 0%|rta=0.006ms;200.000;500.000;0; pl=0%;40;80;; rtmax=0.022ms;;;; rtmin=0.001ms;;;; \n",
            &["rta = 0.006 ms", "pl = 0 %", "rtmax = 0.022 ms", "rtmin = 0.001 ms"],
        ),
        (
            2,
            "connect to address 127.0.0.1 and port 1: Connection refused\nHTTP CRITICAL - Unable to open TCP socket\n",
            &["error: connect to address 127.0.0.1 and port 1: Connection refused"],
        ),
        (
            2,
            "FILE_AGE CRITICAL: /etc/passwd is 1054 seconds old and 1270 bytes | age=1054s;1;2 size=1270B;0;0;0\n",
            &[
                "error: FILE_AGE CRITICAL: /etc/passwd is 1054 seconds old and 1270 bytes",
                "age = 1054 s",
                "size = 1270 B",
            ],
        ),
        (
            2,
            "APT CRITICAL: 132 packages available for upgrade (81 critical updates). |available_upgrades=132;;;0 critical_updates=81;;;0\n",
            &[
                "error: APT CRITICAL: 132 packages available for upgrade (81 critical updates).",
                "available_upgrades = 132",
                "critical_updates = 81",
            ],
        ),
        (
            1,
            "CLUSTER WARNING: Service cluster: 1 ok, 1 warning, 0 unknown, 1 critical\n",
            &["warning: CLUSTER WARNING: Service cluster: 1 ok, 1 warning, 0 unknown, 1 critical"],
        ),
        (
            2,
            "LOAD CRITICAL - scaled load average: 0.19, 0.12, 0.14 - total load average: 0.38, 0.23, 0.28|load1=0.380;;;0; scaled_load1=0.190;0.000;0.000;0; \n",
            &[
                "error: LOAD CRITICAL - scaled load average: 0.19, 0.12, 0.14 - total load average: 0.38, 0.23, 0.28",
                "load1 = 0.38",
                "scaled_load1 = 0.19",
            ],
        ),
        (
            3,
            "SENSORS UNKNOWN - command not found (did you install lmsensors?)\n",
            &["error, unknown: SENSORS UNKNOWN - command not found (did you install lmsensors?)"],
        ),
    ];

    /// S3.4: outputs of Debian's monitoring-plugins 2.3, as they came.
    #[test]
    fn real_plugins() {
        for (code, stdout, expect) in REAL {
            let outcome = judge(&raw(Exit::Code(*code), stdout, ""), &NagiosOptions::default());
            assert_eq!(shown(&outcome), *expect, "{stdout}");
        }
        let usage = "./check_load: invalid option -- 'P'\n";
        let outcome =
            judge(&raw(Exit::Code(3), "Usage:\ncheck_load [-r] -w WLOAD1\n", usage), &NagiosOptions::default());
        assert_eq!(
            shown(&outcome),
            ["#monitor-stderr warning: ./check_load: invalid option -- 'P'", "error, unknown: Usage:",]
        );
    }

    proptest! {
        #[test]
        fn never_panics(stdout: Vec<u8>, stderr: Vec<u8>, code in -2..6, flags in 0..16_u8, text: String) {
            let options = NagiosOptions {
                accept_json: flags & 1 != 0,
                performance: flags & 2 != 0,
                perfdata_thresholds: flags & 4 != 0,
            };
            for stdout in [stdout, text.into_bytes()] {
                let raw = Raw { exit: Some(Exit::Code(code)), stdout, stderr: stderr.clone(), truncated: flags & 8 != 0, ..Raw::default() };
                let outcome = judge(&raw, &options);
                for finding in &outcome.findings {
                    prop_assert!(!finding.message.is_empty() && !finding.message.contains('\n'));
                }
                prop_assert!(!outcome.summary.is_empty());
            }
        }
    }
}
