//! A command that prints one number, or a job whose output is text.

use super::{BoxFuture, Probe, Program, Run, options};
use crate::shared::process::Command;
use std::sync::Arc;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Outcome, Raw},
    wire::number::{judge_flake_metric, judge_job, judge_metric},
};

const OWN: &[Key] = &[
    Key {
        name: "command",
        shape: Shape::Strings,
        doc: "The command line, or a list of a program and its arguments. `./x` counts from `cwd`.",
    },
    Key {
        name: "type",
        shape: Shape::Choice(&["metric", "job"]),
        doc: "`metric`: the output must be one integer or decimal. `job`: any output is fine, only the exit code counts. \
              Default: `metric`.",
    },
];
const KEYS: [Key; OWN.len() + options::KEYS.len()] = options::with_common(OWN);

/// `command = "…"`.
pub const KIND: Kind<Program> = Kind {
    key: "command",
    doc: "A command that prints one number (`type = \"metric\"`), which becomes the check's value (`value` in `thresholds`), or a job whose output \
          is text (`type = \"job\"`). A metric with other output than a number, and anything that ends with an exit code \
          other than 0, is an error that shows what was written.",
    example: r#"[check.queue]
command = "./res/queue.sh --all"
unit = "Count"
every = "1m"
env = { QUEUE_HOST = "mq.example.com", QUEUE_TOKEN = { env = "QUEUE_TOKEN" } }
thresholds = ["value warning > 100 error > 1000"]
"#,
    keys: &KEYS,
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

/// What its output means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Metric,
    FlakeMetric,
    Job,
}

#[derive(Debug)]
struct Number {
    command: Command,
    meaning: Meaning,
    unit: Option<String>,
}

fn read(r: &mut Reader<'_>) -> Option<Program> {
    let metric = if options::old_style(r) == Some("flake") { Meaning::FlakeMetric } else { Meaning::Metric };
    let meaning = r.choice("type", &[("metric", metric), ("job", Meaning::Job)]);
    let command = options::read_command(r, "command")?;
    Some(Arc::new(Number { command, meaning: meaning.unwrap_or(metric), unit: options::unit(r) }))
}

impl Number {
    fn judge(&self, raw: &Raw) -> Outcome {
        match self.meaning {
            Meaning::Metric => judge_metric(raw, self.unit.as_deref()),
            Meaning::FlakeMetric => judge_flake_metric(raw, self.unit.as_deref()),
            Meaning::Job => judge_job(raw),
        }
    }
}

impl Probe for Number {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            let ran = self.command.run(Vec::new(), run.timeout).await;
            options::judge(&ran, |raw| self.judge(raw))
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.command.preflight()
    }

    fn cwd(&self) -> Option<&std::path::Path> {
        self.command.cwd.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::suite::{assert_problems, outcome, parts};
    use watchbell_core::model::Severity;

    /// S1.3, S1.5: a metric must be one number; a job's output is never a failure for being text.
    #[test]
    fn numbers_and_jobs() {
        /// Lines, metrics, parts of findings, severity of the first, a part of its message.
        type Case = (&'static str, &'static [f64], &'static [&'static str], Option<Severity>, &'static str);
        let table: &[Case] = &[
            ("command = 'echo 42'\nunit = 'Count'", &[42.0], &[], None, ""),
            ("command = 'echo \" -3.5 \"'", &[-3.5], &[], None, ""),
            ("command = 'echo fine'", &[], &[""], Some(Severity::Error), "`fine` is not a number"),
            ("command = 'echo 1e999'", &[], &[""], Some(Severity::Error), "1e999"),
            ("command = '/usr/bin/env true'", &[], &[""], Some(Severity::Error), "no output"),
            ("command = 'echo 5; exit 3'", &[5.0], &[""], Some(Severity::Error), "exit code 3"),
            ("command = 'echo all done'\ntype = 'job'", &[], &[], None, ""),
            ("command = 'echo 7'\ntype = 'job'", &[7.0], &[], None, ""),
            ("command = 'echo bad >&2; exit 4'\ntype = 'job'", &[], &[""], Some(Severity::Error), "bad"),
            ("command = 'no-such-program-at-all'", &[], &["monitor-start"], Some(Severity::Error), "PATH ("),
            ("command = 'sleep 600'\ntimeout = '300ms'", &[], &["monitor-timeout"], Some(Severity::Error), "limit"),
            ("command = 'yes'", &[], &["monitor-output"], Some(Severity::Error), "more than 16 MiB"),
            ("command = ['echo', '1', '']", &[1.0], &[], None, ""),
            ("command = ['echo', '$HOME']\ntype = 'job'", &[], &[], None, ""),
        ];
        for (lines, metrics, wanted, severity, message) in table {
            let outcome = outcome(&KIND, lines);
            assert_eq!(outcome.metrics.iter().map(|m| m.value).collect::<Vec<_>>(), *metrics, "{lines}: {outcome:?}");
            assert_eq!(parts(&outcome), *wanted, "{lines}: {outcome:?}");
            let first = outcome.findings.first();
            assert_eq!(first.map(|f| f.severity), *severity, "{lines}: {outcome:?}");
            assert!(first.is_none_or(|f| f.message.contains(message)), "{lines}: {outcome:?}");
        }
        let outcome = outcome(&KIND, "command = 'echo 42'\nunit = 'Count'");
        assert_eq!(outcome.metrics[0].unit.as_deref(), Some("Count"));
    }

    /// S1.5: in a flake only the output counts; `grep -c` exits with 1 when it counts 0.
    #[test]
    fn flakes() {
        let outcome = outcome(&KIND, "command = 'echo 0; exit 1'\nstyle = 'flake'\ntype = 'metric'\nshell = true");
        assert_eq!((outcome.metrics[0].value, outcome.findings[0].severity), (0.0, Severity::Warning));
    }

    #[test]
    fn processes_left_behind_are_named() {
        let outcome = outcome(&KIND, "command = 'echo 5; sleep 611 &'");
        assert_eq!((outcome.metrics.len(), outcome.findings.len()), (1, 0), "{outcome:?}");
        assert!(outcome.output.contains("left processes"), "{outcome:?}");
    }

    #[test]
    fn mistakes() {
        assert_problems(
            &KIND,
            &[
                ("command = ''", "`command` is empty"),
                ("command = 5", "`command` must be"),
                ("command = []", "names no program"),
                ("command = ['']", "names no program"),
                ("command = ['a', 1]", "must be a list of strings"),
                ("command = ['a']\nshell = true", "contradict"),
                ("command = 'a'\ntype = 'text'", "it is one of \"metric\", \"job\""),
                ("command = 'a'\nshell = 'yes'", "`shell` must be true or false"),
                ("command = 'a'\noutput_max = 0", "from 1 to 16777216"),
                ("command = 'a'\nnetwork = 'none'", "without `image`"),
                ("command = 'a'\nengine = 'podman'", "without `image`"),
                ("command = 'a'\nimage = '--privileged'", "no name of a container image"),
                ("command = 'a'\nenv = 'A=1'", "must be a table of strings"),
                ("command = 'a'\nenv = { A = { nev = 'B' } }", "no reference to a secret"),
                ("command = 'a'\ncwd = ''", "`cwd` is empty"),
                ("command = 'a'\nuser = ''", "`user` is empty"),
            ],
        );
    }
}
