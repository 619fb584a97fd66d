//! How long each reader of text takes for long and nasty texts: `cargo run --example growth -p watchbell-core [WORD]`. What
//! takes more than eight times as long for four times as much is marked. `WORD` names those to be tried.

use jiff::tz::TimeZone;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{
        Capabilities, Config, InputFile, Key, Kind, Kinds, LoadOptions, Reader, Shape, keys::QUERY_KEYS,
        parse_duration, parse_expectations, render, to_json,
    },
    route::hours::Hours,
    scenario::Scenario,
    schedule::cron::Cron,
    state::threshold::Threshold,
    wire::{json, json_plugin, number, perfdata, range, text},
};

/// Lengths that are tried, in bytes; longer ones only while it goes quickly.
const LENGTHS: [usize; 4] = [62_500, 250_000, 1_000_000, 4_000_000];
const PATIENCE: Duration = Duration::from_secs(5);

/// A reader, and texts for it: what begins them, what is repeated, what ends them.
type Case = (&'static str, fn(&str), &'static [(&'static str, &'static str, &'static str)]);

const CASES: &[Case] = &[
    (
        "toml",
        |text| load("a.toml", text),
        &[
            ("", "=", ""),
            ("", "[", ""),
            ("", "]", ""),
            ("", "{", ""),
            ("", "\"", ""),
            ("", "'", ""),
            ("", "\\", ""),
            ("", ",", ""),
            ("", ".", ""),
            ("", "#", ""),
            ("", "\n", ""),
            ("", "\r", ""),
            ("", "a", ""),
            ("", "a.", ""),
            ("", "a=x\n", ""),
            ("", "a = 1\n", ""),
            ("", "[a]\n", ""),
            ("", "[[a]]\n", ""),
            ("", "[a\n", ""),
            ("", "[check.a]\n", ""),
            ("", "[check.N]\nx=1\n", ""),
            ("", "[check.N]\nrun=\"a\"\nnotify=\"N\"\nparents=\"N\"\n", ""),
            ("[check.a]\n", "xN=1\n", ""),
            ("[check.a]\nrun=\"a\"\nthresholds=[", "\"a > 1\",", "]"),
            ("xN=1\n", "N=1\n", ""),
            ("[check.a]\nquery=\"q\"\nsource=\"s\"\nexpect=[", "{lookback=\"1h\",min=1},", "]"),
            ("[check.a]\nquery=\"q\"\nsource=\"s\"\nexpect=[", "x,", "]"),
            ("[check.a]\nquery=\"q\"\nsource=\"s\"\nexpect=[{lookback=\"1h\",min=1,days=\"", "x,", "\"}]"),
            ("[check.a]\nquery=\"q\"\nsource=\"s\"\nexpect=[{lookback=\"1h\",min=1,hours=\"", "9-3,", "\"}]"),
            ("[check.a]\nquery=\"q\"\nsource=\"s\"\nexpect=[{lookback=\"1h\",min=1,hours=[", "99,", "]}]"),
            ("[check.a]\nrun=\"a\"\nnotify=[", "\"N\",", "]"),
            ("[check.a]\nrun=\"a\"\nhours=\"", "mon,", " 08:00-09:00\""),
            ("[check.a]\nrun=\"a\"\ncron=\"", "1,", "1 * * * *\""),
            ("a={", "N={},", "}"),
            ("check={", "N={x=1},", "}"),
            ("[notify.a]\nkind=\"x\"\n[a]\n", "a.b = 1\n", ""),
            ("token = \"", "a=", "\""),
            ("", "\"a\" ", ""),
            ("a=\"\"\"", "\"\" \\\n", "\"\"\""),
            ("a=[", "[", ""),
            ("a=[", "1\n", "]"),
            ("", "[notify.N]\nkind=\"note\"\nfallback=\"M\"\n", ""),
        ],
    ),
    (
        "flake",
        |text| load("a.flake.json", text),
        &[
            ("", "{", ""),
            ("", "[", ""),
            ("", "{\"a\":", ""),
            ("[", ",", ""),
            ("[", "1 ", ""),
            ("[", "\"", ""),
            ("{", "\"a\":1,", "}"),
            ("{", "\"N\":1,", "}"),
            ("{", "a:1,", "}"),
            ("\"", "\\u00e9", "\""),
            ("", "//\n", ""),
            ("", "/*", ""),
            ("[", "}", ""),
            ("{\"flakeName\":\"", "a", "\"}"),
            ("[", "x", ""),
            ("", " ", ""),
        ],
    ),
    (
        "cfg",
        |text| load("a.cfg", text),
        &[
            ("", "[a]\n", ""),
            ("", "[N]\n", ""),
            ("", "[N]\nx=1\n", ""),
            ("[a]\n", "k=v\n", ""),
            ("[a]\n", "N=v\n", ""),
            ("[a]\nk=v\n", " x\n", ""),
            ("", "x\n", ""),
            ("[a]\n", "x\n", ""),
            ("[a]\nk=", ";", ""),
            ("", "[", ""),
            ("[a]\ncommand=a\nthresholds=\n", " a > 1\n", ""),
            ("", "rem\n", ""),
            ("[a]\nk=", " ", ""),
            ("", "[N]\ninterval=x\n", ""),
            ("[DEFAULT]\n", "N=v\n", "[a]\ncommand=a\n"),
            ("", "[N]\ncommand=a\nretry=-1\n", ""),
        ],
    ),
    (
        "dwmon",
        |text| load("a.dwmon", text),
        &[
            ("__QUERY__\nq\n__REQUIREMENTS__\n", "LOOKB3 ", "\n__SOURCE__\ns"),
            ("__QUERY__\nq\n__REQUIREMENTS__\n", "MINNUM5 ", "\n__SOURCE__\ns"),
            ("__QUERY__\nq\n__REQUIREMENTS__\n", "MINNUM5\n", "\n__SOURCE__\ns"),
            ("__QUERY__\nq\n__REQUIREMENTS__\n", "5 ", "\n__SOURCE__\ns"),
            ("__QUERY__\nq\n__REQUIREMENTS__\nMINNUM", " 5", "\n__SOURCE__\ns"),
            ("__QUERY__\nq\n__REQUIREMENTS__\n", "é ", "\n__SOURCE__\ns"),
            ("", "__QUERY__\n", ""),
            ("", "__QUERY__", ""),
            ("", "__X__\n", ""),
            ("", "x\n", ""),
            ("__QUERY__\n", "q\n", "__SOURCE__\ns"),
            ("__QUERY__\nq\n__REQUIREMENTS__\n", "X1 ", "\n__SOURCE__\ns"),
            ("", "_", ""),
            ("__QUERY__\nq\n__REQUIREMENTS__\nMINNUM5\n__SOURCE__\n", "s\n", ""),
        ],
    ),
    (
        "expectations",
        |text| drop(black_box(parse_expectations(text))),
        &[
            ("[", "{lookback=\"1h\",min=1},", "]"),
            ("[", "{lookback=\"1h\",min=1,name=\"N\"},", "]"),
            ("[", "{lookback=1,", "]"),
            ("MINNUM5 ", "X1 ", ""),
            ("lookback=\"1h\",min=1,days=\"", "mon,", "\""),
        ],
    ),
    (
        "cron",
        |text| drop(black_box(Cron::parse(text))),
        &[("", "1,", "1 * * * *"), ("", "* ", ""), ("", "*/", ""), ("", "1-", ""), ("* * * * ", "mon#2,", "mon")],
    ),
    (
        "hours",
        |text| drop(black_box(Hours::parse(text, &TimeZone::UTC))),
        &[
            ("", "mon,", " 08:00-09:00"),
            ("08:00-09:00", ",08:00-09:00", ""),
            ("", ";", ""),
            ("", ":", ""),
            ("08:00-09:00 ", "a/", ""),
            ("", "mon 08:00-09:00;", ""),
            ("", " ", ""),
            ("", "mon-", " 08:00-09:00"),
        ],
    ),
    (
        "duration",
        |text| assert!(black_box(parse_duration(text)) != Some(Duration::MAX)),
        &[("", "1s", ""), ("", "1", ""), ("", "1.", "s")],
    ),
    (
        "threshold",
        |text| drop(black_box(Threshold::parse(text))),
        &[("", "a > 1 ", ""), ("'", "''", ""), ("a ", "warning > 1 ", "")],
    ),
    (
        "scenario",
        |text| drop(black_box(Scenario::parse(text))),
        &[
            ("", "x\n", ""),
            ("", "check N every 1m\n", ""),
            ("", "at 08:00\n", ""),
            ("", "x", ""),
            ("", "\"", ""),
            ("", "expect ", ""),
        ],
    ),
    (
        "json",
        |text| drop(black_box(json::parse(text).map_err(|e| json::position(text, e.offset)))),
        &[
            ("", "{", ""),
            ("", "[", ""),
            ("[", "1,", "1]"),
            ("{", "\"N\":1,", "\"a\":1}"),
            ("{", "\"a\":1,", "\"a\":1}"),
            ("\"", "\\u00e9", "\""),
            ("", "\u{feff}", ""),
            ("[", "\"", "]"),
        ],
    ),
    (
        "plugin",
        |text| drop(black_box(json_plugin::parse(text))),
        &[
            ("{\"faults\":[", "{\"name\":\"N\",\"severity\":40,\"message\":\"x\"},", "1]}"),
            ("{\"faults\":[", "1,", "1]}"),
            ("{\"metrics\":[", "{\"name\":\"N\",\"value\":1},", "1]}"),
            ("{\"faults\":[", "{\"name\":\"a\",\"severity\":40,\"message\":\"N\"},", "1]}"),
            ("{", "\"N\":1,", "\"a\":1}"),
        ],
    ),
    (
        "perfdata",
        |text| drop(black_box(perfdata::parse(text))),
        &[
            ("", "a=1 ", ""),
            ("", "'a=1 ", ""),
            ("", "''", ""),
            ("", "'a'' ", ""),
            ("", "a=1;", ""),
            ("", "=", ""),
            ("a=", "1", ""),
            ("", "x ", ""),
        ],
    ),
    ("range", |text| drop(black_box(range::Range::parse(text))), &[("", "1", ""), ("@", ":", ""), ("", "~", "")]),
    ("number", |text| drop(black_box(number::parse(text))), &[("", "1", ""), ("", " ", "1"), ("1e", "9", "")]),
    (
        "text",
        |found| {
            drop(black_box((
                text::clean(found.as_bytes()),
                text::message_and_detail(found),
                text::cut_middle(found, 100),
            )))
        },
        &[("", "\u{1b}[", ""), ("", "\u{1b}]", ""), ("", "a b\n", ""), ("", "\u{202e}", "")],
    ),
];

fn read_any(reader: &mut Reader<'_>) -> Option<()> {
    reader.string("run");
    Some(())
}

const fn kind(key: &'static str, keys: &'static [Key]) -> Kind<()> {
    let capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };
    Kind { key, doc: "", example: "", keys, capabilities, read: read_any }
}

const RUN: &[Key] =
    &[Key { name: "run", shape: Shape::String, doc: "" }, Key { name: "cwd", shape: Shape::String, doc: "" }];
const KINDS: Kinds<(), ()> = Kinds {
    checks: &[kind("run", RUN), kind("nagios", RUN), kind("command", RUN), kind("query", QUERY_KEYS)],
    notifiers: &[kind("note", RUN)],
};

/// Reads one file of a config and shows all that is wrong with it, twice as the agent does.
fn load(path: &str, text: &str) {
    let options = LoadOptions { root: "/c".into(), default_agent_name: "a".into(), local_zone: TimeZone::UTC };
    let mut config: Config<(), ()> = Config::new(KINDS, options, |()| Vec::new());
    config.update(vec![InputFile { path: path.into(), absolute: format!("/c/{path}"), text: Ok(text.into()) }]);
    let loaded = config.assemble();
    black_box((render(&loaded.problems, false), to_json(&loaded.problems)));
}

/// A text of about this length; `N` is another number each time, `M` the one after it.
fn text_of(len: usize, (begin, unit, end): (&str, &str, &str)) -> String {
    let mut text = begin.to_owned();
    for n in 0.. {
        if text.len() + unit.len() > len {
            break;
        }
        match unit.contains(['N', 'M']) {
            true => text.push_str(&unit.replace('N', &n.to_string()).replace('M', &(n + 1).to_string())),
            false => text.push_str(unit),
        }
    }
    text + end
}

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    for (name, read, shapes) in CASES.iter().filter(|(name, ..)| name.contains(&word)) {
        for shape in *shapes {
            let mut shown = String::new();
            let mut before = Duration::ZERO;
            for len in LENGTHS {
                let text = text_of(len, *shape);
                let began = Instant::now();
                read(&text);
                let took = began.elapsed();
                let steep = before > Duration::from_millis(20) && took > before * 8;
                shown.push_str(&format!(" {:>7.0}{}", took.as_secs_f64() * 1000.0, if steep { "!" } else { " " }));
                before = took;
                if took > PATIENCE {
                    break;
                }
            }
            println!("{name:>12} {shown}  {:?}", shape);
        }
    }
}
