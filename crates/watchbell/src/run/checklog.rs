//! One log per check: JSON lines in `STATE/logs/NAME.log`, rotated by size, fit for logstash. Changes and
//! failures are written, every run only where the check asks for it. Files are opened when they are written
//! to; what the disk does not take is counted and said once, never waited for by the engine.

use super::health::Health;
use serde::Serialize;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
};
use watchbell_core::{
    engine::ResultRecord,
    model::{Exit, Finding, Metric, Name, Severity, Timestamp},
};

/// Lines that wait to be written, at most; more are dropped and counted.
const LINES_WAITING_MAX: usize = 10_000;

/// How logs are rotated.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// A file that is this long is rotated.
    pub size_max_bytes: u64,
    /// So many rotated files are kept (`NAME.log.1` is the newest).
    pub count: u32,
}

/// The logs of all checks.
pub struct CheckLogs {
    lines: mpsc::SyncSender<(PathBuf, String)>,
    folder: PathBuf,
    health: Arc<Health>,
}

/// One line. Field names follow what logstash expects: `@timestamp`, `message`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    at: Timestamp,
    check: &'a Name,
    level: Severity,
    message: &'a str,
    due: Timestamp,
    took_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<Exit>,
    #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "<[Metric]>::is_empty")]
    metrics: &'a [Metric],
    #[serde(skip_serializing_if = "str::is_empty")]
    output: &'a str,
}

impl CheckLogs {
    /// Logs below `folder`, which is made if it is not there.
    pub fn new(folder: PathBuf, rotation: Rotation, health: Arc<Health>) -> CheckLogs {
        let (lines, receiver) = mpsc::sync_channel::<(PathBuf, String)>(LINES_WAITING_MAX);
        std::thread::spawn(move || {
            let mut told = false;
            for (path, line) in receiver {
                match append(&path, &line, rotation) {
                    Ok(()) => told = false,
                    // Once per outage: a line for each line would fill another disk.
                    Err(error) if !told => {
                        told = true;
                        tracing::error!(path = %path.display(), %error, "a check's log can't be written");
                    }
                    Err(_) => {}
                }
            }
        });
        CheckLogs { lines, folder, health }
    }

    /// Writes what is notable.
    pub fn write(&mut self, results: &[ResultRecord]) {
        for record in results.iter().filter(|r| r.notable) {
            let line = line(record);
            if self.lines.try_send((self.folder.join(file_name(&record.check)), line)).is_err() {
                self.health.log_lines_dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

fn line(record: &ResultRecord) -> String {
    let outcome = &record.outcome;
    let line = Line {
        at: record.started,
        check: &record.check,
        level: outcome.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Info),
        message: &outcome.summary,
        due: record.slot,
        took_ms: outcome.took.as_millis(),
        exit: outcome.exit,
        findings: &outcome.findings,
        metrics: &outcome.metrics,
        output: &outcome.output,
    };
    serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"message\":\"no JSON form: {error}\"}}"))
}

/// The file of a check: named after its last part, with the file it stands in before it, and nothing in it
/// that a path could mean something by.
pub fn file_name(check: &Name) -> String {
    let parts: Vec<&str> = check.trim_start_matches('/').splitn(2, '/').collect();
    let rest = parts.last().copied().unwrap_or_default();
    // A flake's log is named after the flake.
    let rest = rest.strip_prefix("flakes/").unwrap_or(rest);
    let safe: String = rest.chars().map(|c| if c.is_alphanumeric() || "-_.#".contains(c) { c } else { '_' }).collect();
    format!("{}.log", safe.trim_start_matches('.'))
}

fn append(path: &Path, line: &str, rotation: Rotation) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let long = fs::metadata(path).is_ok_and(|m| m.len() + line.len() as u64 + 1 > rotation.size_max_bytes);
    if long {
        rotate(path, rotation.count)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// `NAME.log` becomes `NAME.log.1`, that `NAME.log.2`, and the last goes.
fn rotate(path: &Path, count: u32) -> io::Result<()> {
    let numbered = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    if count == 0 {
        return fs::remove_file(path);
    }
    for n in (1..count).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S1.9: a log is named after its flake, and no name leads out of the folder.
    #[test]
    fn logs_are_named_after_checks() {
        let cases = [
            ("//h/flakes/example-perminute", "example-perminute.log"),
            ("//h/web/disk", "web_disk.log"),
            ("//h/web/../../etc/passwd", "web_.._.._etc_passwd.log"),
            ("//shared/api", "api.log"),
        ];
        for (name, expect) in cases {
            assert_eq!(file_name(&Name::new(name)), expect);
        }
    }

    /// S1.9: logs are rotated, and only so many are kept.
    #[test]
    fn logs_rotate() {
        let folder = std::env::temp_dir().join(format!("watchbell-checklog-{}", std::process::id()));
        let path = folder.join("x.log");
        let rotation = Rotation { size_max_bytes: 20, count: 2 };
        for n in 0..8 {
            append(&path, &format!("line {n}"), rotation).expect("the folder can be written");
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(read("x.log"), "line 6\nline 7\n");
        assert_eq!(read("x.log.1"), "line 4\nline 5\n");
        assert_eq!(read("x.log.2"), "line 2\nline 3\n");
        assert!(!folder.join("x.log.3").exists());
        fs::remove_dir_all(&folder).expect("it was made above");
    }
}
