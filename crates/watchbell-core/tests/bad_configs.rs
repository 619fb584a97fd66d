//! Config files with one mistake each, and beside each the text that people get to see.
//!
//! `tests/bad/NAME.EXT` is loaded beside a good agent file; `NAME.EXT.expected` holds the rendered problems and
//! the faults that come of them. A file whose name starts with `agent-` is the agent file itself (for CIMAA, an
//! agent file without a native one). `NAME.other.EXT` is loaded along with `NAME.EXT`, as what was there first.
//! `UPDATE_EXPECTED=1 cargo test -p watchbell-core --test bad_configs` writes the expected texts anew; read them.

#![allow(clippy::unwrap_used)]

use jiff::tz::TimeZone;
use std::{collections::BTreeMap, fs, path::Path};
use watchbell_core::config::{
    Capabilities, Config, InputFile, Key, Kind, Kinds, LoadOptions, Loaded, ROWS_MAX, Reader, Shape, keys::QUERY_KEYS,
    render, to_json,
};

const AGENT: &str = "[agent]\nname = \"web-1\"\nnotify = [\"ops\"]\n\n[notify.ops]\nkind = \"command\"\ncommand = \"cat\"\n\n\
     [source.warehouse]\nurl = \"sqlite:/var/lib/shop.db\"\n";

/// At least this many mistakes are kept.
const CASES_MIN: usize = 60;

macro_rules! key {
    ($name:literal, $shape:expr) => {
        Key { name: $name, shape: $shape, doc: "for tests" }
    };
}

const COMMAND: &[Key] = &[
    key!("command", Shape::String),
    key!("shell", Shape::Boolean),
    key!("cwd", Shape::String),
    key!("user", Shape::String),
    key!("env", Shape::StringMap),
    key!("image", Shape::String),
];

/// A command or a Nagios plugin: the word is the command line.
fn read_command(r: &mut Reader<'_>) -> Option<String> {
    r.secret_map("env");
    r.string("cwd");
    r.string("user");
    r.string("image");
    r.boolean("shell");
    let word = if r.table.get("nagios").is_some() { "nagios" } else { "command" };
    r.require_string(word)
}

fn read_http(r: &mut Reader<'_>) -> Option<String> {
    let url = r.require_string("http")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        r.error("http", format!("`http` is no address: {url:?}")).hint("write it as \"https://example.com/health\"");
        return None;
    }
    r.integer("status", 100..=599);
    r.string("contains");
    r.pattern("matches");
    r.secret("password");
    r.boolean("redirects");
    Some(url)
}

fn read_slack(r: &mut Reader<'_>) -> Option<String> {
    r.secret("token");
    r.strings("channels");
    if !r.has("token") {
        r.missing("token");
        return None;
    }
    Some("slack".to_owned())
}

const NONE: Capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };

const CHECKS: &[Kind<String>] = &[
    Kind { key: "command", doc: "", example: "", keys: COMMAND, capabilities: NONE, read: read_command },
    Kind {
        key: "nagios",
        doc: "",
        example: "",
        keys: &[key!("nagios", Shape::String), COMMAND[1], COMMAND[2], COMMAND[3], COMMAND[4], COMMAND[5]],
        capabilities: NONE,
        read: read_command,
    },
    Kind {
        key: "http",
        doc: "",
        example: "",
        keys: &[
            key!("http", Shape::String),
            key!("status", Shape::Integer),
            key!("contains", Shape::String),
            key!("matches", Shape::Pattern),
            key!("password", Shape::Secret),
            key!("redirects", Shape::Boolean),
        ],
        capabilities: NONE,
        read: read_http,
    },
    QUERY,
];

const QUERY: Kind<String> =
    Kind { key: "query", doc: "", example: "", keys: QUERY_KEYS, capabilities: NONE, read: read_query };

fn read_query(r: &mut Reader<'_>) -> Option<String> {
    r.integer("rows_max", 1..=ROWS_MAX);
    r.require_string("query")
}

const NOTIFIERS: &[Kind<String>] = &[
    Kind {
        key: "command",
        doc: "",
        example: "",
        keys: &[key!("command", Shape::String)],
        capabilities: NONE,
        read: |r| r.require_string("command"),
    },
    Kind {
        key: "slack",
        doc: "",
        example: "",
        keys: &[key!("token", Shape::Secret), key!("channels", Shape::Strings), key!("mention", Shape::String)],
        capabilities: NONE,
        read: read_slack,
    },
    Kind {
        key: "pagerduty",
        doc: "",
        example: "",
        keys: &[key!("routing_key", Shape::Secret)],
        capabilities: NONE,
        read: |r| r.secret("routing_key").map(|_| "pagerduty".to_owned()),
    },
    Kind { key: "log", doc: "", example: "", keys: &[], capabilities: NONE, read: |_| Some("log".to_owned()) },
];

const KINDS: Kinds<String, String> = Kinds { checks: CHECKS, notifiers: NOTIFIERS };

fn load(files: &[(&str, &[u8])]) -> Loaded<String, String> {
    let options = LoadOptions {
        root: "/etc/watchbell".to_owned(),
        default_agent_name: "web-1".to_owned(),
        local_zone: TimeZone::UTC,
    };
    let mut config = Config::new(KINDS, options, |_| Vec::new());
    // One after the other, so that what stands first in the list was there first.
    for count in 1..=files.len() {
        config.update(files[..count].iter().map(|(path, bytes)| input(path, bytes)).collect());
    }
    config.assemble()
}

fn input(path: &str, bytes: &[u8]) -> InputFile {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(format!("it is not UTF-8 at byte {}", error.valid_up_to())),
    };
    InputFile { path: path.to_owned(), absolute: format!("/etc/watchbell/{path}"), text }
}

/// What a case shows: the problems, then the faults.
fn shown(loaded: &Loaded<String, String>) -> String {
    let mut text = render(&loaded.problems, false);
    for fault in &loaded.policy.faults {
        text.push_str(&format!("\nfault {}: {}\n", fault.name, fault.message));
    }
    text
}

fn bad_files() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(name, fs::read(&path).unwrap());
    }
    files
}

/// A case's files in the order in which they are found.
fn case_files<'f>(name: &'f str, files: &'f BTreeMap<String, Vec<u8>>) -> Vec<(&'f str, &'f [u8])> {
    let (stem, extension) = name.split_once('.').unwrap();
    let mut all: Vec<(&str, &[u8])> = Vec::new();
    if !stem.starts_with("agent-") {
        all.push(("watchbell.toml", AGENT.as_bytes()));
    }
    if let Some((other, bytes)) = files.get_key_value(&format!("{stem}.other.{extension}")) {
        all.push((other, bytes));
    }
    let path = if stem.starts_with("agent-") && extension == "toml" { "watchbell.toml" } else { name };
    all.push((path, &files[name]));
    all
}

/// Every mistake is told with its place and what to do, and is a fault (S3.12: a config file that can't be
/// read, or a check in it that is wrong, is itself a critical fault).
#[test]
fn every_mistake_is_explained() {
    let files = bad_files();
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut differing = Vec::new();
    let mut cases = 0;
    for name in files.keys().filter(|name| !name.ends_with(".expected") && !name.contains(".other.")) {
        cases += 1;
        let found = shown(&load(&case_files(name, &files)));
        let expected_name = format!("{name}.expected");
        let expected = files.get(&expected_name).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        if found != expected {
            if update {
                fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad").join(expected_name), &found).unwrap();
            } else {
                differing.push(format!("=== {name}: expected\n{expected}=== found\n{found}"));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(cases >= CASES_MIN, "only {cases} cases");
}

/// No expected text is left behind, and each says something.
#[test]
fn every_expected_text_has_its_file() {
    let files = bad_files();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".expected")) {
        assert!(files.contains_key(name.trim_end_matches(".expected")), "{name} has no file");
        let text = String::from_utf8_lossy(text);
        assert!(text.starts_with("error: ") || text.starts_with("warning: "), "{name} tells of nothing:\n{text}");
        assert!(!text.contains(".expected"), "{name}");
    }
}

/// The agent's file that is loaded beside each mistake has none itself.
#[test]
fn the_good_file_is_good() {
    assert_eq!(shown(&load(&[("watchbell.toml", AGENT.as_bytes())])), "");
}

/// What is wrong is told to people, kept in the state and shown over the API: no secret may stand in it, wherever and
/// however wrong it was written.
#[test]
fn no_secret_is_shown() {
    let agent = "[agent]\ndirectory = .\n[alerter]\nclass = zc.cimaa.slack:Alerter\n";
    for (path, text) in [
        ("a.toml", "[notify.a]\nkind = \"slack\"\ntoken = \"xoxb-1\"\n"),
        ("a.toml", "[notify.a]\nkind = \"slack\"\ntokn = \"xoxb-1\"\n"),
        ("a.toml", "[notify.a]\nkind = \"slack\"\ntoken = 3 xoxb-1\n"),
        ("a.toml", "[notify.a]\nkind = \"slack\"\ntoken xoxb-1\n"),
        ("a.toml", "[notify]\na = { kind = \"slack\", tokn = \"xoxb-1\", chanels = [] }\n"),
        ("a.toml", "[notify.a]\nkind = \"pagerduty\"\nroutin_key = \"xoxb-1\"\n"),
        ("a.toml", "[notify.a]\nkind = \"pagerduty\"\nrouting_key = [\"xoxb-1\"]\n"),
        ("a.toml", "[check.a]\ncommand = \"true\"\nenv = { A = \"xoxb-1\", B = 3 }\n"),
        ("a.toml", "[check.a]\ncommand = \"true\"\nenvv = { A = \"xoxb-1\" }\n"),
        ("a.toml", "[source.a]\ncommand = \"true\"\nurl = \"postgres://u:xoxb-1@h/d\"\n"),
        ("a.toml", "[source.a]\nurl = \"sqlite:/a?key=xoxb-1\"\ncommand = \"true\"\n"),
        ("watchbell.cfg", &format!("{agent}token = xoxb-1\ntoken = xoxb-2\n")),
        ("watchbell.cfg", &format!("{agent}token xoxb-1\n")),
        ("watchbell.cfg", &format!("{agent}tokn = xoxb-1\n")),
        ("watchbell.cfg", &format!("{agent}key = xoxb-1\n")),
        ("watchbell.cfg", &format!("{agent}service = xoxb-1\nservice = xoxb-2\n")),
        ("watchbell.cfg", &format!("{agent}service xoxb-1\n")),
    ] {
        let loaded = match path {
            "watchbell.cfg" => load(&[(path, text.as_bytes())]),
            _ => load(&[("watchbell.toml", AGENT.as_bytes()), (path, text.as_bytes())]),
        };
        let faults: String = loaded.policy.faults.iter().map(|f| format!("{}{}", f.message, f.detail)).collect();
        let all = format!("{}{}{faults}", shown(&loaded), to_json(&loaded.problems));
        assert!(!all.contains("xoxb") && all.contains("***"), "{text}\n{all}");
    }
}

/// S1.1: two flakes with one name are a config fault that names both files; the one that was there first runs.
#[test]
fn two_flakes_with_one_name() {
    let flake = |command: &str| {
        format!(
            r#"{{"flakeName": "load", "flakeCronstring": "* * * * *", "flakeType": "metric", "flakeCommand": "{command}",
                "flakeUnit": "Count", "flakeMetricNamespace": "n", "flakeRegion": "us-east-1"}}"#
        )
    };
    let (first, second) = (flake("echo 1"), flake("echo 2"));
    let loaded = load(&[
        ("watchbell.toml", AGENT.as_bytes()),
        ("flakes/b.flake.json", first.as_bytes()),
        ("flakes/sub/a.flake.json", second.as_bytes()),
    ]);
    assert_eq!(loaded.programs["//web-1/flakes/load"], "echo 1");
    let [fault] = loaded.policy.faults.as_slice() else { panic!("{:?}", loaded.policy.faults) };
    assert!(
        fault.message.contains("flakes/b.flake.json") && fault.message.contains("flakes/sub/a.flake.json"),
        "{fault:?}"
    );
}
