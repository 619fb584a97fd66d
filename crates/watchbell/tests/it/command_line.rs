//! Every command, end to end with the real binary. What people read is kept in `expected/*.txt`, with what differs
//! from run to run replaced by words; `UPDATE_EXPECTED=1 cargo test` writes it anew.

use crate::place::Place;
use regex::Regex;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};
use watchbell_core::model::{Action, EventState};

/// A check of each mind, and nothing that depends on the machine or, by itself, on the time.
const CHECKS: &str = r#"
[check.disk]
nagios = "./plugin.sh 2 'DISK CRITICAL - 91% used|used=91%;80;90'"
cron = "0 0 1 1 *"
retry = 0
runbook = "make room"

[check.queue]
command = "echo 42"
unit = "Count"
cron = "0 0 1 1 *"
thresholds = ["value warning > 50 error > 80"]

[check.backup]
passive = "1h"
retry = 0
"#;
const PLUGIN: &str = "#!/bin/sh\necho \"$2\"\nexit $1\n";

fn place() -> Place {
    let place = Place::new("", CHECKS);
    place.script("plugin.sh", PLUGIN);
    place
}

/// Has both checks run, and waits until the fault was told.
fn settled(place: &Place) {
    up(place);
    run_now(place, "//test/watchbell/disk");
    place.until("the fault is told", || place.told().iter().any(|d| d.action == Action::Trigger));
    // Only then: what happens stands in one order.
    run_now(place, "//test/watchbell/queue");
    // The notifier's answer too is on disk: nothing is left to change by itself.
    place.until("the delivery is confirmed", || {
        let state = place.state();
        state.outbox.is_empty() && state.notifiers.values().any(|n| n.delivered == 1)
    });
    place.until("the queue was measured", || out(&place.run(&["checks", "queue", "--state", "ok"])).contains("42"));
}

/// Waits until the agent answers.
fn up(place: &Place) {
    let socket = place.state_folder().join("agent.sock");
    place.until("the agent answers", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command and says how it ended; standard error follows standard output.
fn all(place: &Place, args: &[&str]) -> String {
    let output = place.run(args);
    let (out, err) = (out(&output), err(&output));
    let err: String = err.lines().map(|line| format!("stderr: {line}\n")).collect();
    format!("$ watchbell {}\n{out}{err}exit {}\n", args.join(" "), output.status.code().unwrap_or(-1))
}

/// What differs from run to run, as words.
fn normal(place: &Place, text: &str) -> String {
    let folder = fs::canonicalize(&place.folder).unwrap().display().to_string();
    let mut text = text.replace(&folder, "DIR").replace(&place.folder.display().to_string(), "DIR");
    for (pattern, word) in [
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
        (r"\b\d+[smhd] ago\b", "AGO"),
        (r"\bin \d+[smhd]\b", "SOON"),
        (r"  \d+[smhd]\b", "  AGE"),
        (r"\b\d\d-\d\d \d\d:\d\d:\d\d\b", "TIME"),
        (r"(<1 ms|\b\d+(\.\d+)? (ms|s))\b", "TOOK"),
        (r"\b[0-9a-f]{32}\b", "AGENT-ID"),
        (r"\d{20}-\d+", "REQUEST"),
        (r"\b\d+ bytes", "N bytes"),
        (r"#\d+ ", "#N "),
        (r"event #\d+", "event #N"),
        (r"because of #\d+", "because of #N"),
        (r"\(process \d+\)", "(process N)"),
        // How wide a column is depends on what was replaced in it.
        (r"(\S)   +", "$1  "),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Compares with what is kept under a name.
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/expected").join(format!("{name}.txt"));
    current(&path, text);
}

/// Compares with a file that is generated, or writes it.
fn current(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(path, text).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "`{}` is not current; UPDATE_EXPECTED=1 writes it anew\n--- kept\n{kept}\n--- now\n{text}",
        path.display()
    );
}

/// The commands that look at a running agent, as people see them.
#[test]
fn looking_at_a_running_agent() {
    let place = place();
    let _agent = place.start();
    settled(&place);
    let mut text = String::new();
    for args in [
        &["status"][..],
        &["faults"],
        &["faults", "nothing-like-it"],
        &["faults", "("],
        &["faults", "--severity", "warning", "--hard"],
        &["checks"],
        &["checks", "--state", "soft"],
        &["squelches"],
        &["why", "//test/watchbell/disk"],
        &["why", "watchbell/queue"],
        &["why", "watchbell/nothing"],
    ] {
        text += &all(&place, args);
        text.push('\n');
    }
    check("looking", &normal(&place, &text));
}

/// `--json` prints what the API says.
#[test]
fn json_everywhere() {
    let place = place();
    let agent = place.start();
    settled(&place);
    let live = ["status", "faults", "checks", "slow", "squelches"].map(|command| {
        let output = place.run(&[command, "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (command, value)
    });
    assert_eq!(live[1].1[0]["name"], "//test/watchbell/disk");
    assert_eq!(live[1].1[0]["severity"], "critical");
    for field in
        ["state", "message", "attempt", "attempts", "since", "updated", "told", "squelched_by", "acknowledged_by"]
    {
        assert!(live[1].1[0].get(field).is_some(), "{field} of {}", live[1].1[0]);
    }
    assert_eq!(live[2].1.as_array().map(Vec::len), Some(3));
    let why = place.run(&["why", "watchbell/disk", "--json"]);
    let why: serde_json::Value = serde_json::from_slice(&why.stdout).unwrap();
    assert!(why["entries"].as_array().is_some_and(|e| e.len() >= 3), "{why}");
    let slow = out(&place.run(&["slow"]));
    assert!(slow.lines().count() == 3 && slow.contains("p99") && slow.contains("//test/watchbell/queue"), "{slow}");
    // With the agent down the same comes from the database.
    drop(agent);
    let faults: serde_json::Value = serde_json::from_slice(&place.run(&["faults", "--json"]).stdout).unwrap();
    assert_eq!(faults, live[1].1);
}

/// S3.9: squelches have a reason and a user, show what they hide before they do, stop alerts, and lifting one tells
/// what is still critical.
#[test]
fn squelch_and_lift() {
    let place = place();
    place.script("plugin.sh", &PLUGIN.replace("exit $1", "exit 0"));
    let _agent = place.start();
    up(&place);
    run_now(&place, "//test/watchbell/disk");
    place.until("the disk is checked", || out(&place.run(&["checks", "disk", "--state", "ok"])).contains("disk"));
    let mut text = all(&place, &["squelch", "disk$", "new disks are on their way", "--for", "2h", "--dry-run"]);
    text += &all(&place, &["squelches"]);
    let squelched = place
        .command(&["squelch", "disk$", "new disks are on their way", "--for", "2h"])
        .env("SUDO_USER", "alice")
        .output()
        .unwrap();
    assert_eq!(squelched.status.code(), Some(0), "{}", err(&squelched));
    text += &out(&squelched);
    text += &err(&squelched);
    // Only where the user is root does SUDO_USER say who it is.
    let root = rustix_uid() == 0;
    let by = if root { "alice".to_owned() } else { user_name() };
    let table = all(&place, &["squelches"]);
    assert!(table.contains(&by), "{table}");
    text += &table.replace(&format!("{by:<5}"), "alice").replace(&by, "alice");
    place.script("plugin.sh", PLUGIN);
    let tested = all(&place, &["test", "disk", "--dry-run"]);
    assert!(tested.contains("squelched by `disk$`, set by") && !tested.contains("would tell"), "{tested}");
    run_now(&place, "//test/watchbell/disk");
    place.until("the fault", || out(&place.run(&["faults"])).contains("squelched"));
    assert!(place.told().is_empty(), "squelched: nobody is told");
    text += &all(&place, &["faults"]);
    text += &all(&place, &["unsquelch", "disk$"]);
    place.until("it is told", || place.told().iter().any(|d| d.action == Action::Trigger));
    text += &all(&place, &["unsquelch", "disk$"]);
    text += &all(&place, &["squelch", "//test/", "for good", "--permanent"]);
    let permanent = all(&place, &["squelches"]);
    assert!(permanent.contains("permanent"), "{permanent}");
    // Who did what, and what came of it.
    let why = || out(&place.run(&["why", "//test/watchbell/disk"]));
    place.until("what became of it is written", || {
        why().contains("delivered at try 1") && why().contains("squelched `//test/`")
    });
    text += &why().replace(&by, "alice").replace(&user_name(), "bob");
    check("squelch", &normal(&place, &text));
}

/// Has a running agent run a check now.
fn run_now(place: &Place, name: &str) {
    use std::io::Read;
    let mut stream = std::os::unix::net::UnixStream::connect(place.state_folder().join("agent.sock")).unwrap();
    let body = format!("{{\"check\": \"{name}\", \"by\": \"a test\"}}");
    let head = "POST /api/v1/run HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn rustix_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn user_name() -> String {
    out(&Command::new("id").arg("-un").output().unwrap()).trim().to_owned()
}

/// What an old format names relatively starts at the config folder, wherever `validate` is called from.
#[test]
fn relative_programs_are_looked_for_as_the_agent_does() {
    let place = place();
    place.script("wave.sh", "#!/bin/sh\nexit 0\n");
    place.file("host.cfg", "[load]\ncommand = ./wave.sh\n\n[gone]\ncommand = ./gone.sh\n");
    let said = all(&place, &["validate"]);
    assert!(said.contains("gone.sh` can't be run") && !said.contains("wave.sh"), "{said}");
}

/// Acknowledging, by a short name, and withdrawing it.
#[test]
fn acknowledge_and_withdraw() {
    let place = place();
    let _agent = place.start();
    settled(&place);
    let mut text = all(&place, &["ack", "watchbell/disk", "on it", "--for", "1h"]);
    text += &all(&place, &["faults"]);
    text += &all(&place, &["ack", "watchbell/disk", "--remove"]);
    text += &all(&place, &["ack", "watchbell/disc", "on it"]);
    text += &all(&place, &["ack", "//test/other/disk", "on it"]);
    text += &all(&place, &["ack", "watchbell/disk"]);
    check("ack", &normal(&place, &text));
}

/// With the agent down, what it knew can be read, and squelches, acknowledgements and messages are taken all the
/// same: they are there, and told, at the next start.
#[test]
fn without_an_agent() {
    let place = place();
    let mut text = all(&place, &["faults"]);
    text += &all(&place, &["squelch", "x", "y"]);
    text += &all(&place, &["send", "x"]);
    text += &all(&place, &["exec", "backup", "--", "sh", "-c", "echo ran all the same; exit 4"]);
    let agent = place.start();
    settled(&place);
    drop(agent);
    for args in [
        &["status"][..],
        &["faults"],
        &["checks", "disk"],
        &["squelch", "disk", "while it is down"],
        &["faults"],
        &["squelches"],
        &["ack", "watchbell/disk", "on it"],
        &["ack", "watchbell/nothing", "on it"],
        &["unsquelch", "disk"],
        &["unsquelch", "disk"],
        &["squelch", "(", "no regular expression"],
        &["squelch", "nosuch", "moving", "--every", "sat 26:00-04:00"],
        &["squelch", "nosuch", "moving"],
        &["squelch", "nosuch", "weekly restart", "--every", "sat 02:00-04:00"],
        &["squelches"],
        &["unsquelch", "nosuch"],
        &["why", "nothing"],
        &["send", "sent while it is down", "--notify", "told", "--name", "deploy"],
        &["send", "x", "--notify", "nobody"],
        &["exec", "backup", "--", "sh", "-c", "echo it broke; exit 3"],
    ] {
        text += &all(&place, args);
    }
    check("down", &normal(&place, &text.replace(&format!(" {} ", user_name()), " USER ")));
    let agent = place.start();
    up(&place);
    place.until("the message and the report", || {
        let told = place.told();
        let message = told.iter().any(|d| d.action == Action::Message && d.event.text == "sent while it is down");
        message && told.iter().any(|d| *d.event.name == *"//test/watchbell/backup" && d.action == Action::Trigger)
    });
    assert!(place.told().iter().any(|d| d.action == Action::Acknowledge), "what was decided while it was down");
    place.until("the queue is empty", || fs::read_dir(place.state_folder().join("queue")).unwrap().count() == 0);
    drop(agent);
}

/// Messages: from arguments and from standard input, kept as events, told to whom they name.
#[test]
fn send_messages() {
    let place = place();
    let _agent = place.start();
    settled(&place);
    let args = ["send", "deployed 1.4", "--name", "deploy", "--label", "app=shop", "--notify", "told", "--id", "d-1"];
    let mut text = all(&place, &args);
    let mut child = place
        .command(&["send", "--severity", "error", "--state", "problem", "--topic", "nightly", "--notify", "told"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"backup failed\nsecond line\n").unwrap();
    assert!(child.wait().unwrap().success());
    place.until("both messages", || place.told().iter().filter(|d| d.action == Action::Message).count() == 2);
    let told: Vec<_> = place.told().into_iter().filter(|d| d.action == Action::Message).map(|d| d.event).collect();
    assert_eq!(*told[0].name, *"//test/send/deploy");
    assert_eq!(told[0].labels["app"], "shop");
    assert_eq!((told[1].text.as_str(), told[1].detail.trim_end()), ("backup failed", "second line"));
    assert_eq!(told[1].state, EventState::Problem);
    assert_eq!(told[1].topic.as_deref(), Some("nightly"));
    text += &all(&place, &["send", "x", "--notify", "nobody"]);
    text += &all(&place, &["send", "  "]);
    text += &all(&place, &["send", "x", "--label", "novalue"]);
    text += &all(&place, &["send", "x", "--severity", "awful"]);
    check("send", &normal(&place, &text));
}

/// `exec` passes input, output and exit code through, and reports how it ended: to a passive check, or as a fault of
/// its own that the next good run clears.
#[test]
fn exec_wraps_a_job() {
    let place = place();
    let _agent = place.start();
    settled(&place);
    let mut child = place
        .command(&["exec", "backup", "--", "sh", "-c", "cat; echo to stderr >&2; exit 3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), out(&output).as_str(), err(&output).as_str()),
        (Some(3), "through\n", "to stderr\n")
    );
    let mut text = all(&place, &["faults", "backup"]);
    text += &all(&place, &["exec", "backup", "--", "true"]);
    text += &all(&place, &["faults", "backup"]);
    text += &all(&place, &["exec", "nightly", "--", "sh", "-c", "kill -9 $$"]);
    text += &all(&place, &["exec", "nightly", "--timeout", "200ms", "--", "sleep", "60"]);
    text += &all(&place, &["faults", "exec/nightly"]);
    text += &all(&place, &["exec", "nightly", "--", "/no/such/program"]);
    text += &all(&place, &["exec", "nightly", "--", "true"]);
    text += &all(&place, &["faults", "exec/nightly"]);
    text += &all(&place, &["exec", "nightly"]);
    check("exec", &normal(&place, &text));
}

/// The time limit and a SIGTERM reach the job's children too, and are reported.
#[test]
fn exec_ends_what_it_started() {
    let place = place();
    let _agent = place.start();
    settled(&place);
    let mark = place.folder.join("child.pid");
    let script = format!("sleep 300 & echo $! > {}; wait", mark.display());
    let child = place.command(&["exec", "job", "--", "sh", "-c", &script]).spawn().unwrap();
    place.until("the job's child", || fs::read_to_string(&mark).is_ok_and(|text| text.ends_with('\n')));
    let mut child = crate::place::Running(child);
    child.signal(rustix::process::Signal::TERM);
    assert_eq!(child.ended().code(), Some(128 + 15));
    let pid = fs::read_to_string(&mark).unwrap().trim().to_owned();
    place.until("the child is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    assert!(out(&place.run(&["faults", "exec/job"])).contains("ended by signal 15"));
}

/// S1.10: `test PATTERN` runs each check whose name contains PATTERN, or whose file's name does, once, now, and shows
/// command, exit, output, value, what was (with --dry-run would be) sent, and the answer; no state is written.
#[test]
fn test_shows_everything() {
    let place = place();
    let flake = r#"{"flakeName": "orders", "flakeCronstring": "* * * * *", "flakeCommand": "echo $((6 * 7))",
        "flakeType": "metric", "flakeUnit": "Count", "flakeMetricNamespace": "shop", "flakeRegion": "us-east-1"}"#;
    place.file("flakes/shop.flake.json", flake);
    let mut text = all(&place, &["test", "disk", "--dry-run"]);
    assert!(place.told().is_empty(), "a dry run sends nothing");
    text += &all(&place, &["test", "disk"]);
    let told = place.told();
    assert_eq!(told.len(), 2, "the test, and that it is over: {told:?}");
    assert!(told.iter().all(|d| d.action == Action::Message && d.event.text.starts_with("[test] ")));
    text += &all(&place, &["test", "orders"]);
    text += &all(&place, &["test", "shop.flake"]);
    text += &all(&place, &["test", "queue"]);
    text += &all(&place, &["test", "backup"]);
    text += &all(&place, &["test", "no-such-check"]);
    assert!(!place.state_folder().exists(), "no state is written");
    let text = Regex::new(r"test/\d{16}//").unwrap().replace_all(&text, "test/NOW//").into_owned();
    let text = Regex::new(r#""key":"\d{16}//"#).unwrap().replace_all(&text, "\"key\":\"NOW//").into_owned();
    check("test", &normal(&place, &text));
    let json = place.run(&["test", "watchbell", "--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let names: Vec<_> = json.as_array().unwrap().iter().map(|t| t["check"].as_str().unwrap()).collect();
    assert_eq!(names, ["//test/watchbell/disk", "//test/watchbell/queue"]);
    assert_eq!(json[0]["outcome"]["exit"]["code"], 2);
    assert!(json[0]["told"][0]["preview"].as_str().unwrap().contains("DISK CRITICAL"));
}

/// S1.3: SpecialSnowflake's folder as it is: commands run in it, with the members of its `creds.json` as variables.
#[test]
fn a_folder_of_flakes_as_it_is() {
    let place = place();
    place.file("snow/creds.json", r#"{"user1": "me", "port": 5432}"#);
    place.script("snow/res/report.sh", "#!/bin/sh\necho \"by $user1 at $port in $(basename \"$PWD\")\"\n");
    let flake = r#"{"flakeName": "report", "flakeCronstring": "@daily", "flakeCommand": "./res/report.sh", "flakeType": "job"}"#;
    place.file("snow/flakes/daily/report.flake.json", flake);
    let text = all(&place, &["test", "flakes/report", "--dry-run"]);
    assert!(text.contains("by me at 5432 in snow"), "{text}");
}

/// S1.10: a notifier that fails says why, and the exit code says that something failed.
#[test]
fn test_shows_a_failing_notifier() {
    let place = Place::new(
        "",
        &CHECKS.replace(
            "retry = 0\nrunbook",
            "notify = [\"broken\"]\nhours = \"weekdays 09:00-17:00\"\nretry = 2\nrunbook",
        ),
    );
    place.script("plugin.sh", PLUGIN);
    place.file("notify.toml", "[notify.broken]\nkind = \"command\"\ncommand = \"echo no such channel >&2; exit 78\"\n");
    let text = all(&place, &["test", "disk", "--at", "2026-03-04 10:00"]);
    assert!(
        text.contains("broken: failed:") && text.contains("no such channel") && text.ends_with("exit 1\n"),
        "{text}"
    );
    assert!(text.contains("when 3 runs in a row fail"), "{text}");
    // The same on a Sunday: outside its hours.
    let text = all(&place, &["test", "disk", "--at", "2026-03-08 10:00"]);
    assert!(text.contains("(hours)") && !text.contains("broken:"), "{text}");
}

/// `test --notifier` sends one marked message to each target, shows the answers, and says in its exit code whether
/// all was taken; nothing is sent by a dry run, and no state is written.
#[test]
fn a_notifier_is_tried_alone() {
    let place = Place::new("", CHECKS);
    place.file("notify.toml", "[notify.broken]\nkind = \"command\"\ncommand = \"echo no such channel >&2; exit 78\"\n");
    let dry = all(&place, &["test", "--notifier", "told", "--dry-run"]);
    assert!(dry.contains("[test] ") && dry.contains("nothing is wrong") && dry.ends_with("exit 0\n"), "{dry}");
    assert!(place.told().is_empty(), "a dry run sends nothing");
    let sent = all(&place, &["test", "--notifier", "told"]);
    assert!(sent.contains("told:") && sent.ends_with("exit 0\n"), "{sent}");
    let told = place.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].action == Action::Message && told[0].event.text.starts_with("[test] "), "{told:?}");
    assert!(told[0].key.starts_with("test/"), "nothing that is open has this key: {}", told[0].key);
    let broken = all(&place, &["test", "--notifier", "broken"]);
    assert!(
        broken.contains("failed:") && broken.contains("no such channel") && broken.ends_with("exit 1\n"),
        "{broken}"
    );
    let json = place.run(&["test", "--notifier", "broken", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["notifier"] == "broken" && json["told"][0]["failure"].is_string(), "{json}");
    let nobody = all(&place, &["test", "--notifier", "nobody"]);
    assert!(nobody.contains("the config has `broken`, `told`") && nobody.ends_with("exit 2\n"), "{nobody}");
    assert!(all(&place, &["test"]).ends_with("exit 2\n"), "a pattern or a notifier");
    assert!(!place.state_folder().exists(), "no state is written");
    // With several targets each is told, and beside a running agent it is the same.
    let agent = place.start();
    up(&place);
    assert!(all(&place, &["test", "--notifier", "told"]).ends_with("exit 0\n"));
    assert_eq!(place.told().len(), 2);
    drop(agent);
}

/// Many checks run side by side, are shown in order, and end with a summary that the exit code repeats.
#[test]
fn all_checks_are_tried_side_by_side() {
    let place = Place::new("", "");
    let mut checks = String::new();
    for n in 0..20 {
        checks += &format!("[check.c{n:02}]\ncommand = \"echo {n}\"\nevery = \"1h\"\n");
    }
    // The first waits for the last: one after the other this would not end well.
    let mark = place.folder.join("mark").display().to_string();
    checks += &format!(
        "[check.a]\nnagios = \"for i in 1 2 3 4 5 6 7 8 9 10; do test -e {mark} && echo there && exit 0; sleep 1; done; exit 2\"\nevery = \"1h\"\n"
    );
    checks += &format!("[check.b]\nnagios = \"touch {mark}; echo made it\"\nevery = \"1h\"\n");
    place.file("many.toml", &checks);
    let text = all(&place, &["test", ".", "--dry-run"]);
    assert!(text.ends_with("\n22 checks: 22 well, 0 wrong, 0 could not be judged\nexit 0\n"), "{text}");
    let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("//test/many/")).collect();
    assert!(shown.len() == 22 && shown.is_sorted(), "{shown:?}");
    place.file("bad.toml", "[check.gone]\nconnect = \"127.0.0.1:1\"\nevery = \"1h\"\n[check.bad]\nnagios = \"echo broken; exit 2\"\nevery = \"1h\"\n");
    let text = all(&place, &["test", "bad/(gone|bad)$", "--dry-run"]);
    assert!(text.contains("\n2 checks: 0 well, 1 wrong, 1 could not be judged\n  //test/bad/bad: broken\n"), "{text}");
    assert!(text.ends_with("exit 1\n"), "{text}");
    assert!(!all(&place, &["test", "many/b", "--dry-run"]).contains("1 check:"), "one is its own summary");
}

/// What happened can be listed, by time, kind, name and number, beside an agent and without one.
#[test]
fn events_are_listed() {
    let place = place();
    let agent = place.start();
    settled(&place);
    let mut text = all(&place, &["events"]);
    for args in [
        &["events", "disk$"][..],
        &["events", "--kind", "agent", "--since", "1h"],
        &["events", "--severity", "critical", "--limit", "1"],
        &["events", "--until", "2020-01-01"],
        &["events", "--since", "2999-01-01 10:00"],
        &["events", "--kind", "nonsense"],
        &["events", "--since", "soon"],
        &["events", "("],
    ] {
        text += &all(&place, args);
    }
    check("events", &normal(&place, &text));
    let json = |args: &[&str]| serde_json::from_slice::<serde_json::Value>(&place.run(args).stdout).unwrap();
    let live = json(&["events", "--kind", "fault", "--json"]);
    assert_eq!(live[0]["name"], "//test/watchbell/disk");
    drop(agent);
    assert_eq!(json(&["events", "--kind", "fault", "--json"]), live);
    let down = all(&place, &["events", "("]);
    assert!(down.contains("is not a regular expression") && down.ends_with("exit 2\n"), "{down}");
}

/// `why` of a check tells what is wrong with its parts, and what happened to them.
#[test]
fn why_of_a_check_includes_its_parts() {
    let place = Place::new("", "[check.queues]\njson = \"./queues.sh\"\nevery = \"1h\"\nretry = 0\n");
    let queues = |names: &[&str]| {
        let one = |name: &&str| {
            format!("{{\"name\": \"{name}\", \"severity\": \"critical\", \"message\": \"{name} is full\"}}")
        };
        let faults: Vec<String> = names.iter().map(one).collect();
        place.script(
            "queues.sh",
            &format!("#!/bin/sh\necho '{{\"faults\": [{}], \"metrics\": []}}'\n", faults.join(", ")),
        );
    };
    queues(&["mail", "orders"]);
    let agent = place.start();
    up(&place);
    run_now(&place, "//test/watchbell/queues");
    let why = || out(&place.run(&["why", "watchbell/queues"]));
    place.until("both parts", || why().matches("is full").count() >= 4);
    queues(&["orders"]);
    run_now(&place, "//test/watchbell/queues");
    place.until("one is gone", || why().contains("recovery //test/watchbell/queues#mail"));
    let live = why();
    assert!(live.contains("now: //test/watchbell/queues#orders critical since"), "{live}");
    assert!(!live.contains("now: //test/watchbell/queues#mail"), "{live}");
    assert!(live.contains("tell told //test/watchbell/queues#mail: trigger"), "{live}");
    // Another check whose name begins the same is none of its parts.
    assert!(out(&place.run(&["why", "watchbell/queue"])).is_empty());
    drop(agent);
    let down = why();
    assert!(down.contains("now: //test/watchbell/queues#orders critical since"), "{down}");
}

/// What only the unit's environment has is known by its file; what only this shell has does not count then.
#[test]
fn the_units_variables_are_known_by_their_file() {
    let place = Place::new("", "");
    place.file(
        "slack.toml",
        "[notify.ops]\nkind = \"slack\"\nchannels = [\"x\"]\ntoken = { env = \"WB_TEST_TOKEN\" }\n",
    );
    let env = place.folder.join("unit.env");
    let env = env.to_str().unwrap();
    fs::write(env, "# secrets\nWB_TEST_TOKEN=\"xoxb-1\"\n").unwrap();
    let told = |args: &[&str], shell: Option<&str>| {
        let mut command = place.command(args);
        if let Some(value) = shell {
            command.env("WB_TEST_TOKEN", value);
        }
        let output = command.output().unwrap();
        format!("{}{}", out(&output), err(&output))
    };
    assert!(told(&["validate"], None).contains("`WB_TEST_TOKEN` is not set"));
    assert!(!told(&["validate", "--env-file", env], None).contains("not set"));
    assert!(!told(&["validate"], Some("x")).contains("not set"));
    fs::write(env, "OTHER=1\nexport WB_TEST_TOKEN=x\n").unwrap();
    let said = told(&["validate", "--env-file", env], Some("x"));
    assert!(said.contains("`WB_TEST_TOKEN` is not set") && said.contains("unit.env:2: "), "{said}");
    let dry = told(&["test", "--notifier", "ops", "--env-file", env], None);
    assert!(dry.contains("`WB_TEST_TOKEN` is not set"), "{dry}");
    let missing = told(&["validate", "--env-file", "/no/such/file"], None);
    assert!(missing.contains("can't read `/no/such/file`"), "{missing}");
    assert!(
        told(&["validate", "--env-file", "-/no/such/file"], None).contains("not set"),
        "an optional one may be missing"
    );
}

/// Every problem of a config is shown, with missing programs and secrets as warnings; exit codes say if it can be used.
#[test]
fn validate_shows_all() {
    let place = place();
    place.file("good.toml", "[check.a]\ncommand = \"echo 1\"\n");
    let mut text = all(&place, &["validate"]);
    let missing = "[check.b]\nnagios = \"/no/such/plugin -w 1\"\n\n[notify.n]\nkind = \"slack\"\nchannels = [\"x\"]\ntoken = { env = \"NOT_SET_ANYWHERE\" }\n";
    place.file("missing.toml", missing);
    text += &all(&place, &["validate"]);
    place.file(
        "wrong.toml",
        "[check.c]\nnagio = \"x\"\nretry = -1\n\n[check.d]\ncommand = \"echo\"\nnotify = [\"nobody\"]\n",
    );
    place.file("broken.toml", "[check.e\n");
    text += &all(&place, &["validate"]);
    check("validate", &normal(&place, &text));
    let json = place.run(&["validate", "--format", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["files"], 5);
    assert_eq!(json["errors"], 3, "{json}");
    assert!(json["problems"].as_array().unwrap().iter().any(|p| p["file"] == "broken.toml" && p["line"] == 1));
}

/// When schedules fire, over both clock changes, and what is wrong with one that is none.
#[test]
fn next_lists_times() {
    let place = Place::new("", "");
    let mut text = String::new();
    for args in [
        &["next", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28", "-n", "3"][..],
        &["next", "*/30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-10-25", "-n", "5"],
        &["next", "@weekly", "--tz", "UTC", "--from", "2026-01-01T00:00:00Z", "--count", "2"],
        &["next", "0", "9", "*", "*", "mon#1", "--tz", "America/New_York", "--from", "2026-01-01", "-n", "2"],
        &["next", "*/5 25 * * *"],
        &["next", "* * * *"],
        &["next", "0 0 30 2 *", "--tz", "UTC"],
        &["next", "@daily", "--tz", "Europe/Berlim"],
        &["next", "@daily", "--from", "tomorrow"],
    ] {
        text += &all(&place, args);
        text.push('\n');
    }
    let text = Regex::new(r"(\d+d ago|in \d+d)").unwrap().replace_all(&text, "AGO");
    check("next", &text.lines().map(|l| format!("{}\n", l.trim_end())).collect::<String>());
    let json = place.run(&["next", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28", "-n", "2", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["times"][1]["utc"], "2026-03-29T01:00:00Z");
    assert_eq!(json["clock_changes"][0]["at"], "2026-03-29T01:00:00Z");
}

/// A token that is made opens the door over HTTP, for what its scopes allow, and no other does.
#[test]
fn tokens_open_the_door() {
    let place = place();
    let made = place.run(&["token", "new", "ci", "--scope", "read,operate", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let token = made["token"].as_str().unwrap();
    assert!(token.len() > 60, "{token}");
    let text = out(&place.run(&["token", "new", "ci", "--scope", "read,operate"]));
    assert!(text.contains("scopes = [\"read\", \"operate\"], sha256 = \""), "{text}");
    let line = format!("tokens = [{{ name = \"ci\", scopes = [\"read\", \"operate\"], sha256 = {} }}]", made["sha256"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    place.config(&format!("listen = \"127.0.0.1:{port}\"\n{line}"), CHECKS);
    let _agent = place.start();
    settled(&place);
    let url = format!("http://127.0.0.1:{port}");
    let call = |args: &[&str], token: &str| {
        let mut command = place.command(args);
        command.args(["--url", &url]).env("WATCHBELL_TOKEN", token).env("WATCHBELL_CONFIG", "/nowhere");
        let output = command.output().unwrap();
        (output.status.code(), out(&output), err(&output))
    };
    let (code, text, _) = call(&["faults"], token);
    assert!(code == Some(0) && text.contains("DISK CRITICAL"), "{text}");
    assert_eq!(call(&["squelch", "x", "y"], token).0, Some(0));
    let (code, _, text) = call(&["send", "x"], token);
    assert!(code == Some(1) && text.contains("ingest"), "{text}");
    for wrong in ["", "wb_0000"] {
        let (code, text, said) = call(&["squelch", "x", "y"], wrong);
        assert!(code == Some(1) && said.starts_with("error: "), "{wrong:?}: {text}{said}");
    }
    let (code, _, text) = call(&["faults"], "x");
    assert!(!text.contains(token) && code == Some(1), "{text}");
}

/// The database can be checked and copied beside a running agent; damage is found.
#[test]
fn store_is_checked_and_copied() {
    let place = place();
    let agent = place.start();
    settled(&place);
    let mut text = all(&place, &["store", "check"]);
    let text_counts = Regex::new(r"(?m)^(\w+)  +\d+$").unwrap();
    assert!(text.contains("\nsound\n"), "{text}");
    let copy = place.folder.join("copy.db").display().to_string();
    text = all(&place, &["store", "backup", &copy]);
    text += &all(&place, &["store", "backup", &copy]);
    drop(agent);
    text += &all(&place, &["store", "check", &copy]);
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(7);
    fs::write(&copy, bytes).unwrap();
    let damaged = place.run(&["store", "check", &copy]);
    assert_eq!(damaged.status.code(), Some(1), "{}{}", out(&damaged), err(&damaged));
    text += &all(&place, &["store", "check", "/no/such/file"]);
    check("store", &normal(&place, &text_counts.replace_all(&text, "$1 N")));
}

/// What is used wrongly says what is wrong and what to do, on standard error, with exit code 2.
#[test]
fn wrong_use_is_told() {
    let place = place();
    let mut text = String::new();
    for args in [
        &["squelsh", "x", "y"][..],
        &["faults", "--jsn"],
        &["squelch", "disk"],
        &["squelch", "disk", " "],
        &["squelch", "disk", "x", "--for", "soon"],
        &["squelch", "disk", "x", "--for", "1h", "--permanent"],
        &["run", "/no/such/folder"],
        &["validate", "/no/such/folder"],
        &["status", "--url", "example.com"],
        &["token", "new", "x", "--scope", "admin"],
        &["man", "nothing"],
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{args:?}");
        text += &all(&place, args);
        text.push('\n');
    }
    let nowhere = place.command(&["faults"]).env("WATCHBELL_CONFIG", "/no/such/folder").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    text += &err(&nowhere);
    check("wrong-use", &normal(&place, &text));
}

/// The config is found by the option, the variable, or the current folder, in this order.
#[test]
fn the_config_is_found() {
    let (a, b) = (place(), Place::new("", ""));
    let checks = |command: &mut Command| {
        let output = command.output().unwrap();
        Regex::new(r"(\d+) checks?").unwrap().captures(&out(&output)).map(|c| c[1].to_owned())
    };
    let folder = b.folder.display().to_string();
    assert_eq!(checks(&mut a.command(&["validate"])).as_deref(), Some("3"));
    assert_eq!(checks(&mut a.command(&["validate", "-c", &folder])).as_deref(), Some("0"));
    assert_eq!(checks(&mut a.command(&["-c", &folder, "validate"])).as_deref(), Some("0"));
    assert_eq!(checks(&mut a.command(&["validate", &folder])).as_deref(), Some("0"));
    let mut here = b.command(&["validate"]);
    here.env_remove("WATCHBELL_CONFIG").current_dir(&a.folder);
    assert_eq!(checks(&mut here).as_deref(), Some("3"));
}

/// A reader that goes away is no error, and output that can't be written is one.
#[test]
fn pipes_and_full_disks() {
    let place = place();
    let mut child =
        place.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("can't write to standard output"), "{}", err(&output));
}

/// On a terminal severities have colours and lines are cut to its width; NO_COLOR leaves the colours out.
#[test]
fn terminals_get_colours() {
    let place = place();
    let _agent = place.start();
    settled(&place);
    let on_terminal = |no_color: &str, what: &str| {
        let line = format!("stty cols 30; {} events {what}", env!("CARGO_BIN_EXE_watchbell"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("WATCHBELL_CONFIG", &place.folder);
        command.env("TERM", "xterm").env("NO_COLOR", no_color).stdin(Stdio::null()).output()
    };
    let Ok(output) = on_terminal("", "") else {
        eprintln!("SKIPPED terminals_get_colours: `script` of util-linux is not there");
        return;
    };
    let text = out(&output);
    assert!(text.contains("\u{1b}[1;31mcritical\u{1b}[0m") && text.contains('…'), "{text:?}");
    let text = out(&on_terminal("1", "").unwrap());
    assert!(text.contains("critical") && !text.contains('\u{1b}'), "{text:?}");
    let text = out(&on_terminal("1", "--wide").unwrap());
    assert!(!text.contains('…') && text.contains("//test/watchbell/disk"), "{text:?}");
}

/// Completions for each shell, and a manual page for each command.
#[test]
fn completions_and_manual_pages() {
    let place = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = place.run(&["completions", shell]);
        assert!(output.status.success() && out(&output).contains("squelch"), "{shell}");
    }
    let page = out(&place.run(&["man", "store", "backup"]));
    assert!(page.contains(".TH") && page.contains("Copy the database"), "{page}");
    let folder = place.folder.join("man");
    let output = place.run(&["man", "--dir", &folder.display().to_string()]);
    assert!(output.status.success(), "{}", err(&output));
    for page in ["watchbell.1", "watchbell-squelch.1", "watchbell-store-backup.1"] {
        assert!(folder.join(page).exists(), "{page}: {}", err(&output));
    }
}

/// Scenario files are played against the config, or against their own: what is told, and what is not as expected.
#[test]
fn rehearse_scenarios() {
    let place = place();
    let good =
        "at 1m run disk\n\nat 5m disk critical \"91%\"\nrun disk\nwithin 2m expect deliver trigger disk \"91%\"\n";
    place.file("good.scenario", good);
    place.file("bad.scenario", &format!("{good}expect held disk by squelch\n"));
    place.file("mistakes.scenario", "at noon disk critical\nexpect delivery\n");
    let own = "config\n[agent]\nname = \"own\"\nnotify = [\"n\"]\n[notify.n]\nkind = \"log\"\n[check.c]\ncommand = \"x\"\n\
               every = \"1m\"\nretry = 0\nend\nat 5m c error \"x\"\nwithin 2m expect deliver trigger c\n";
    place.file("own.scenario", own);
    place.file("own-broken.scenario", &own.replace("command = ", "comand = "));
    let file = |name: &str| place.folder.join(name).display().to_string();
    let mut text = String::new();
    for names in [
        &["good.scenario"][..],
        &["own.scenario", "bad.scenario"],
        &["mistakes.scenario"],
        &["own-broken.scenario"],
        &["none.scenario"],
    ] {
        let files: Vec<String> = names.iter().map(|name| file(name)).collect();
        let args: Vec<&str> = std::iter::once("rehearse").chain(files.iter().map(String::as_str)).collect();
        text += &all(&place, &args);
        text.push('\n');
    }
    // The scenario's clock is its own: its times are the same in each run.
    let folder = fs::canonicalize(&place.folder).unwrap().display().to_string();
    check("rehearse", &text.replace(&folder, "DIR").replace(&place.folder.display().to_string(), "DIR"));
    let json = place.run(&["rehearse", "--json", &file("bad.scenario")]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json[0]["good"], &json[0]["failures"][0]["line"]), (&false.into(), &6.into()), "{json}");
    let all = out(&place.run(&["rehearse", "--all", &file("good.scenario")]));
    assert!(all.contains(" why ") && all.contains(" run "), "{all}");
}

/// The reference of the config and its JSON schema, as the program prints them, are those that are checked in.
#[test]
fn the_config_reference_is_current() {
    let place = place();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    current(&docs.join("reference.md"), &out(&place.run(&["man", "config"])));
    current(&docs.join("config.schema.json"), &out(&place.run(&["man", "schema"])));
}

/// `docs/commands.md` holds the help of every command, as it is.
#[test]
fn the_command_reference_is_current() {
    let place = place();
    let help = |args: &[&str]| {
        let mut command = place.command(args);
        command.arg("--help").env_remove("COLUMNS").env_remove("WATCHBELL_CONFIG");
        out(&command.output().unwrap())
    };
    let mut text =
        "# Commands\n\nWhat `watchbell COMMAND --help` says. Generated: `UPDATE_EXPECTED=1 cargo test -p watchbell \
                    command_reference` writes it anew.\n"
            .to_owned();
    let mut waiting = vec![Vec::new()];
    while !waiting.is_empty() {
        let words: Vec<String> = waiting.remove(0);
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = help(&args);
        let title = if words.is_empty() { "watchbell".to_owned() } else { format!("watchbell {}", words.join(" ")) };
        let body: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        text += &format!("\n## {title}\n\n```text\n{body}```\n");
        let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let names =
            commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
        let inner = names.filter(|name| *name != "help").map(|name| [words.clone(), vec![name.to_owned()]].concat());
        let inner: Vec<_> = inner.collect();
        waiting.splice(0..0, inner);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    current(&path, &text);
}
