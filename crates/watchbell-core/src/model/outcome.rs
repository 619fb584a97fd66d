//! What one run of a check brought.

use super::{Name, Rows, Severity, SourceNews, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was still running at its time limit and its process group was killed.
    TimedOut,
}

/// What a command wrote and how it ended, before anybody judged it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Raw {
    /// How it ended; `None` when it could not be started (the reason is in `stderr`).
    pub exit: Option<Exit>,
    /// Standard output, up to the output limit.
    pub stdout: Vec<u8>,
    /// Standard error, up to the output limit.
    pub stderr: Vec<u8>,
    /// It wrote more than the output limit; the rest was dropped.
    pub truncated: bool,
    /// How long it ran.
    pub took: Duration,
}

/// One thing that a run found to be wrong.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Which part of the check is wrong: the fault is `CHECK#PART`, or PART where it starts with `//`;
    /// `None` is the check as a whole.
    pub part: Option<String>,
    /// How bad the source says it is.
    pub severity: Severity,
    /// One line for people. Never empty.
    pub message: String,
    /// More lines, where the source had them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Whether an error that stays becomes critical.
    pub escalates: bool,
    /// The monitor's own word about the run (`#monitor-…`); `None` is what the source itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The source says that it does not know (a plugin's UNKNOWN): people read "unknown" in place of the severity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// The source wrote it as a message: it is told whole where a plugin's output is cut (in CIMAA's files).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

/// What a run that did not go as it should is still worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// Something that it brought can't be used; its verdict holds.
    Partial,
    /// It says nothing about what the check is for.
    Unjudged,
}

impl Finding {
    /// A finding about the check as a whole that escalates.
    pub fn new(severity: Severity, message: impl Into<String>) -> Finding {
        let (message, detail) = (message.into(), String::new());
        Finding { part: None, severity, message, detail, escalates: true, trouble: None, unknown: false, whole: false }
    }

    /// A finding about one part.
    pub fn part(part: impl Into<String>, severity: Severity, message: impl Into<String>) -> Finding {
        Finding { part: Some(part.into()), ..Finding::new(severity, message) }
    }

    /// The run says nothing about what the check is for (`#monitor-…`): an error like any other. Its outcome is
    /// [`Outcome::inconclusive`].
    pub fn monitor(what: &str, message: impl Into<String>) -> Finding {
        let finding = Finding::part(format!("monitor-{what}"), Severity::Error, message);
        Finding { trouble: Some(Trouble::Unjudged), ..finding }
    }

    /// Something that the run brought can't be used (`#monitor-…`), and its verdict holds: a warning.
    pub fn partial(what: &str, message: impl Into<String>) -> Finding {
        let finding = Finding::part(format!("monitor-{what}"), Severity::Warning, message);
        Finding { trouble: Some(Trouble::Partial), ..finding }
    }

    /// The same with more lines.
    pub fn with_detail(self, detail: impl Into<String>) -> Finding {
        Finding { detail: detail.into(), ..self }
    }
}

/// What the one metric without a name is called in thresholds and faults.
pub const NAMELESS: &str = "value";

/// One number that a run measured. Thresholds are judged on it, and it becomes a [`Sample`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// Its name within the check; empty for the check's one value.
    pub name: String,
    /// The value. Always finite.
    pub value: f64,
    /// The unit as the source gave it (`MB`, `%`, `s`, `Count`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When it was measured, where the source says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Metric {
    /// A metric with no unit.
    pub fn new(name: impl Into<String>, value: f64) -> Metric {
        Metric { name: name.into(), value, unit: None, at: None }
    }

    /// Its value with its unit, for people: `42%`, `0.3 s`.
    pub fn shown(&self) -> String {
        match self.unit.as_deref().unwrap_or_default() {
            "" => self.value.to_string(),
            "%" => format!("{}%", self.value),
            unit => format!("{} {unit}", self.value),
        }
    }
}

/// How long one step of a probe took (`dns`, `connect`, `tls`, `first_byte`, `transfer`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Phase {
    /// Which step.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
}

/// What one run of a check brought, judged by its kind: the input of the fault machine.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What is wrong; empty when all is well.
    pub findings: Vec<Finding>,
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// One line for people: the plugin's text, the number, the status line.
    pub summary: String,
    /// What the source wrote (up to the output limit, invalid UTF-8 replaced).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// How the command ended, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// How long the run took.
    pub took: Duration,
    /// Where the time went, for probes that know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// The run says nothing about what is wrong, only that it could not be judged (time-out, could not
    /// start): faults other than `#monitor-…` stay as they are.
    #[serde(default)]
    pub inconclusive: bool,
    /// What a look-back's query brought and what was counted, if it came that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Box<Rows>>,
    /// How the source of a look-back is doing, where the run could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceNews>,
}

/// One value of one series at one time, on its way to the history and the sinks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The series: `CHECK` or `CHECK#METRIC`.
    pub name: Name,
    /// The value.
    pub value: f64,
    /// The unit, if known.
    pub unit: Option<String>,
    /// When it was measured.
    pub at: Timestamp,
    /// Labels of the check.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}
