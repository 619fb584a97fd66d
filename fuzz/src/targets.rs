//! What is fuzzed: one function for each target, which takes whatever comes and must not panic, hang or take all memory.
//!
//! libFuzzer runs them (`fuzz/`, `make fuzz`), and every test run plays the inputs in `fuzz/corpus` (the binary's tests
//! include this file). A target whose text a stranger can send says so: it is fuzzed longer.

use crate::api::{AckRequest, MessageRequest, ReportRequest, RunRequest, SquelchRequest};
use jiff::tz::TimeZone;
use std::time::Duration;
use watchbell_core::{
    config::{
        self, Capabilities, Config, InputFile, Key, Kind, Kinds, LoadOptions, Reader, RowFormat, Shape, parse_duration,
        parse_expectations,
    },
    model::{Exit, Raw, Timestamp},
    route::hours::Hours,
    scenario::Scenario,
    schedule::cron::Cron,
    state::threshold::Threshold,
    wire::{json, json_plugin, nagios, number, perfdata, range::Range, rows, text},
};

/// One of them.
pub struct Target {
    /// As its file in `fuzz/targets` and its folder in `fuzz/corpus` are called.
    pub name: &'static str,
    /// Whether its text comes over the network or from a plugin.
    pub outside: bool,
    /// Reads it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "config_toml", outside: false, run: |data| load("main.toml", data) },
    Target { name: "config_cfg", outside: false, run: |data| load("main.cfg", data) },
    Target { name: "config_dwmon", outside: false, run: |data| load("main.dwmon", data) },
    Target { name: "config_flake", outside: false, run: |data| load("main.flake.json", data) },
    Target { name: "words", outside: false, run: words },
    Target { name: "scenario", outside: false, run: scenario },
    Target { name: "nagios", outside: true, run: nagios },
    Target { name: "json_plugin", outside: true, run: plugin },
    Target { name: "rows", outside: true, run: read_rows },
    Target { name: "api", outside: true, run: api },
    Target { name: "postgres", outside: true, run: watchbell_io::query::read_postgres },
    Target { name: "answers", outside: true, run: watchbell_io::source::read_answers },
];

/// Runs one by its name.
#[cfg_attr(test, allow(dead_code, reason = "the fuzzers' way in"))]
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    target.map_or_else(|| panic!("there is no target {name}"), |target| (target.run)(data));
}

const NONE: Capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };
const COMMAND: &[Key] = &[
    Key { name: "command", shape: Shape::Strings, doc: "" },
    Key { name: "env", shape: Shape::StringMap, doc: "" },
    Key { name: "matches", shape: Shape::Pattern, doc: "" },
];
const CHECKS: &[Kind<()>] =
    &[Kind { key: "command", doc: "", example: "", keys: COMMAND, capabilities: NONE, read: read_check }];
const NOTIFIERS: &[Kind<()>] =
    &[Kind { key: "log", doc: "", example: "", keys: COMMAND, capabilities: NONE, read: read_check }];

/// A kind of check that reads each shape of value once.
fn read_check(r: &mut Reader<'_>) -> Option<()> {
    r.strings("command");
    r.secret_map("env");
    r.pattern("matches");
    Some(())
}

/// A config of one file, and all that people are shown of it.
fn load(path: &str, data: &[u8]) {
    let options = LoadOptions {
        root: "/etc/watchbell".to_owned(),
        default_agent_name: "host.example.com".to_owned(),
        local_zone: TimeZone::UTC,
    };
    let mut config = Config::new(Kinds { checks: CHECKS, notifiers: NOTIFIERS }, options, |_: &()| Vec::new());
    let text = |path: &str, text: String| InputFile {
        path: path.to_owned(),
        absolute: format!("/etc/watchbell/{path}"),
        text: Ok(text),
    };
    let agent =
        "[agent]\nname = \"h\"\nnotify = [\"n\"]\n[notify.n]\nkind = \"log\"\n[source.s]\nurl = \"sqlite:/a\"\n";
    config
        .update(vec![text("watchbell.toml", agent.to_owned()), text(path, String::from_utf8_lossy(data).into_owned())]);
    let loaded = config.assemble();
    let shown = config::render(&loaded.problems, true);
    // A panic is caught where the file is read, and is a bug all the same.
    assert!(!shown.contains("a bug of Watchbell's"), "{shown}");
    config::to_json(&loaded.problems);
    for problem in &loaded.problems.list {
        config::summary_line(&loaded.problems, problem);
    }
}

/// The small languages within a config.
fn words(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let now = Timestamp::from_secs(1_772_357_400);
    for zone in [TimeZone::UTC, TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC)] {
        if let Ok(cron) = Cron::parse(text) {
            cron.next_after(now, &zone);
            cron.count_between(now, Timestamp::from_secs(1_772_357_400 + 86_400), &zone);
        }
        if let Ok(hours) = Hours::parse(text, &zone) {
            hours.open_at(now);
            hours.next_change(now);
            hours.next_open(now);
        }
    }
    parse_duration(text);
    let _ = Threshold::parse(text);
    let _ = Range::parse(text).map(|range| range.to_string());
    if let Err(problems) = parse_expectations(text) {
        config::render(&problems, false);
    }
    let _ = text.parse::<Timestamp>();
}

/// What a scenario says, not what it would play: that may take as long as it likes.
fn scenario(data: &[u8]) {
    if let Err(errors) = Scenario::parse(&String::from_utf8_lossy(data)) {
        errors.iter().for_each(|error| drop(error.to_string()));
    }
}

/// What a program printed; half of it is its standard error.
fn raw(data: &[u8], exit: i32) -> Raw {
    let stderr = data[data.len() / 2..].to_vec();
    Raw { exit: Some(Exit::Code(exit)), stdout: data.to_vec(), stderr, truncated: false, took: Duration::ZERO }
}

fn nagios(data: &[u8]) {
    for exit in [0, 2, 3, 77] {
        let options = |all| nagios::NagiosOptions { accept_json: all, performance: all, perfdata_thresholds: all };
        nagios::judge(&raw(data, exit), &options(true));
        nagios::judge(&raw(data, exit), &options(false));
        number::judge_metric(&raw(data, exit), Some("s"));
        number::judge_flake_metric(&raw(data, exit), None);
        number::judge_job(&raw(data, exit));
    }
    perfdata::parse(&String::from_utf8_lossy(data));
    let clean = text::clean(data);
    text::message_and_detail(&clean);
}

fn plugin(data: &[u8]) {
    json_plugin::judge(&raw(data, 0));
    let text = String::from_utf8_lossy(data);
    if let Err(why) = json::parse(&text) {
        json::position(&text, why.offset);
    }
}

/// Rows in every format, and what their keys and times mean.
fn read_rows(data: &[u8]) {
    for format in [RowFormat::Json { jq: None }, RowFormat::Csv, RowFormat::Guess] {
        if let Ok(answer) = watchbell_io::query::read_rows(&format, data, 1000) {
            let _ = rows::rows_of(&answer, &TimeZone::UTC, Timestamp::from_secs(1_772_357_400));
        }
    }
}

/// Bodies of the API, read as it reads them and written again.
fn api(data: &[u8]) {
    macro_rules! bodies {
        ($($body:ty),*) => {$(
            if let Ok(body) = serde_json::from_slice::<$body>(data) {
                let written = serde_json::to_vec(&body).expect("what was read can be written");
                serde_json::from_slice::<$body>(&written).expect("what was written can be read");
            }
        )*};
    }
    bodies!(ReportRequest, MessageRequest, SquelchRequest, AckRequest, RunRequest);
}
