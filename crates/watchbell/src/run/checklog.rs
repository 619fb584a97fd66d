//! One log per check: JSON lines in `STATE/logs/FILE/CHECK.log`, rotated by size, fit for logstash. Changes and
//! failures are written, every run only where the check asks for it. Files are opened when they are written
//! to; what the disk does not take is counted and said once, never waited for by the engine.

use super::health::Health;
use serde::Serialize;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
};
use watchbell_core::{
    engine::ResultRecord,
    model::{Exit, Finding, Metric, Name, Severity, Timestamp},
    wire::text::shown_json,
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
    agent: Name,
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
    /// Logs of the checks of `agent` below `folder`, which is made if it is not there.
    pub fn new(agent: Name, folder: PathBuf, rotation: Rotation, health: Arc<Health>) -> CheckLogs {
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
        CheckLogs { lines, agent, folder, health }
    }

    /// Writes what is notable.
    pub fn write(&self, results: &[ResultRecord]) {
        for record in results.iter().filter(|r| r.notable) {
            let line = line(record);
            if self.lines.try_send((self.folder.join(file_name(&self.agent, &record.check)), line)).is_err() {
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
    serde_json::to_string(&line)
        .map_or_else(|error| format!("{{\"message\":\"no JSON form: {error}\"}}"), |json| shown_json(&json))
}

/// The file of a check. `//AGENT/FILE/CHECK` has `FILE/CHECK.log` (so that a flake's is named after the flake, in
/// `flakes`); a name of its own, `//shared/api`, has `@shared/api.log`. Two names never have one file.
fn file_name(agent: &Name, check: &Name) -> PathBuf {
    let name = check.trim_start_matches('/');
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    match rest.split_once('/') {
        Some((file, check)) if first == agent.as_str() => format!("{}/{}.log", part(file), part(check)).into(),
        _ => format!("@{}/{}.log", part(first), part(rest)).into(),
    }
}

/// A part of a name with nothing in it that a path could mean something by: each such byte is `%XX`.
fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c.is_alphanumeric() || "-_#".contains(c) || c == '.' && at > 0 {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        }
    }
    out
}

fn append(path: &Path, line: &str, rotation: Rotation) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    let long = fs::metadata(path).is_ok_and(|m| m.len() + line.len() as u64 + 1 > rotation.size_max_bytes);
    if long {
        rotate(path, rotation.count)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
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
    use std::os::unix::fs::PermissionsExt;
    use watchbell_core::model::Outcome;

    /// S1.9: a log is named after its flake; no name leads out of the folder, and no two to one file.
    #[test]
    fn logs_are_named_after_checks() {
        let cases = [
            ("//h/flakes/example-perminute", "flakes/example-perminute.log"),
            ("//h/web/disk", "web/disk.log"),
            ("//h/flakes/web_disk", "flakes/web_disk.log"),
            ("//h/web_a/b", "web_a/b.log"),
            ("//h/web/a_b", "web/a_b.log"),
            ("//h/web/a b", "web/a%20b.log"),
            ("//h/web/größe", "web/größe.log"),
            ("//h/web/../../etc/passwd", "web/%2E.%2F..%2Fetc%2Fpasswd.log"),
            ("//h/../x", "%2E./x.log"),
            ("//h/x", "@h/x.log"),
            ("//shared/api", "@shared/api.log"),
            ("//shared/web/api", "@shared/web%2Fapi.log"),
            ("//../x", "@%2E./x.log"),
        ];
        for (name, expect) in cases {
            assert_eq!(file_name(&Name::new("h"), &Name::new(name)), Path::new(expect));
        }
    }

    /// S1.9: what is notable becomes a line of JSON with the fields that logstash looks for, and all that the run brought.
    #[test]
    fn notable_results_are_lines() {
        let folder = std::env::temp_dir().join(format!("watchbell-checklines-{}", std::process::id()));
        let rotation = Rotation { size_max_bytes: 1_000_000, count: 1 };
        let logs = CheckLogs::new(Name::new("h"), folder.join("logs"), rotation, Arc::default());
        let record = |check: &str, notable, outcome| ResultRecord {
            check: Name::new(check),
            slot: Timestamp::from_secs(1_800),
            started: Timestamp::from_secs(1_801),
            outcome: Box::new(outcome),
            notable,
        };
        let bad = Outcome {
            summary: "91%\n\"full\"".into(),
            findings: vec![Finding::new(Severity::Error, "91%")],
            took: std::time::Duration::from_millis(1_500),
            output: "out\u{200b}\u{202e}\u{2028}\u{e0041}".into(),
            ..Outcome::default()
        };
        logs.write(&[record("//h/web/disk", true, bad), record("//h/web/quiet", false, Outcome::default())]);
        logs.write(&[record("//h/web/fine", true, Outcome::default())]);
        let lines = |name: &str| fs::read_to_string(folder.join("logs/web").join(name)).unwrap_or_default();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while lines("fine.log").is_empty() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let read = |name: &str| serde_json::from_str::<serde_json::Value>(&lines(name)).unwrap();
        let mut disk = read("disk.log");
        assert_eq!(disk["findings"].take()[0]["message"], "91%");
        let expect = serde_json::json!({
            "@timestamp": "1970-01-01T00:30:01Z", "check": "//h/web/disk", "level": "error", "message": "91%\n\"full\"",
            "due": "1970-01-01T00:30:00Z", "took_ms": 1500, "findings": null,
            "output": "out\u{200b}\u{202e}\u{2028}\u{e0041}",
        });
        assert_eq!(disk, expect);
        assert!(lines("disk.log").is_ascii());
        assert_eq!(read("fine.log")["level"], "info");
        assert!(!folder.join("logs/web/quiet.log").exists());
        let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("logs"), mode("logs/web"), mode("logs/web/disk.log")), (0o750, 0o750, 0o640));
        fs::remove_dir_all(&folder).unwrap();
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
