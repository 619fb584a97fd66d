//! The history tools of look-backs, end to end with the real binary, over a `rows.db` that is filled as the agent does.

use crate::place::{PATIENCE, Place};
use regex::Regex;
use serde_json::Value;
use std::{
    fs,
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use watchbell_core::model::{Name, Row, Timestamp};
use watchbell_io::store::seen::SeenRows;

/// Monday, 2026-03-02 00:00 in Berlin; four weeks later the clock has gone forward.
const START: &str = "2026-03-02T00:00:00+01:00";
const END: &str = "2026-03-30T00:00:00+02:00";
const CONFIG: &str = r#"
[source.warehouse]
url = "sqlite:warehouse.db"

[check.orders]
query = "SELECT id AS key, at AS time FROM orders"
source = "warehouse"
time_zone = "Europe/Berlin"
retention = "60d"
expect = [
  { name = "office", days = "weekdays", hours = "9-16", every = "20m", lookback = "1h", min = 60, max = 260 },
  { name = "always", every = "1h", lookback = "1d", min = 100 },
]

[check.short]
query = "SELECT id AS key, at AS time FROM orders"
source = "warehouse"
time_zone = "Europe/Berlin"
retention = "5d"
expect = [{ lookback = "1h", min = 1 }]

[check.plain]
command = "echo 1"

[check.age]
query = "SELECT 90 AS age, count(*) AS n FROM orders"
source = "warehouse"
value = true
thresholds = ["age error > 60"]
"#;
const DWMON: &str = "__QUERY__\nSELECT id, at FROM orders\n__REQUIREMENTS__\nCHECKHOURS0-23 CHECKMINUTES*/20 WEEKDAYS WEEKENDS \
                     MINNUM1 MAXNUM500 LOOKBACKSECONDS3600\n__SOURCE__\nwarehouse\n";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// 120 rows an hour on weekdays from 8 to 18, 12 an hour else, 6 at weekends; with an outage on Wednesday the 11th from 10 to 14.
fn orders() -> Vec<Row> {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let mut seed = 7u64;
    let mut rows = Vec::new();
    let outage = at("2026-03-11T10:00:00+01:00")..at("2026-03-11T14:00:00+01:00");
    for minute in (at(START).as_secs()..at(END).as_secs()).step_by(60) {
        let local = zone.to_datetime(Timestamp::from_secs(minute).to_jiff());
        let weekend = local.weekday().to_monday_zero_offset() > 4;
        let in_hour = match (weekend, local.hour()) {
            (true, _) => 6,
            (false, 8..18) => 120,
            _ => 12,
        };
        for second in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let time = Timestamp::from_secs(minute + second);
            if (seed >> 33) % 3600 < in_hour && !outage.contains(&time) {
                rows.push(Row { key: rows.len().to_string(), time });
            }
        }
    }
    rows
}

/// A place whose agent has seen these rows of some checks.
fn place(seen: &[(&str, &[Row])]) -> Place {
    let place = Place::new("time_zone = \"Europe/Berlin\"\n", CONFIG);
    place.file("visits.dwmon", DWMON);
    fs::create_dir_all(place.state_folder()).unwrap();
    if !seen.is_empty() {
        let store = SeenRows::open(&place.state_folder().join("rows.db")).unwrap();
        for (name, rows) in seen {
            store.add(&Name::new(name), rows, Timestamp::ZERO).unwrap();
        }
    }
    place
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command on the four weeks; it ends well.
fn good(place: &Place, args: &[&str]) -> String {
    let output = place.run(&[args, &["--until", END]].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{}{}", out(&output), err(&output));
    out(&output)
}

fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&good(place, &[args, &["--json"]].concat())).unwrap()
}

const ORDERS: &str = "//test/watchbell/orders";
const VISITS: &str = "//test/dwmon/visits";

/// S2.11: counts by weekday and hour of the check's zone, as a table, as JSON and as a picture.
#[test]
fn histogram() {
    let rows = orders();
    let place = place(&[(ORDERS, &rows)]);
    let table = good(&place, &["histogram", "orders"]);
    assert!(table.starts_with("//test/watchbell/orders\n"), "{table}");
    assert!(table.contains(" to 2026-03-30 00:00 (Europe/Berlin)"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(!table.contains('\x1b'), "no colour where it is no terminal\n{table}");
    let all = json(&place, &["histogram", ORDERS, "--since", "28d"]);
    let of = |key: &str, day: usize, hour: usize| all[key][day][hour].as_f64();
    assert_eq!(all["week"]["rows"].as_u64(), Some(u64::try_from(rows.len()).unwrap()));
    assert_eq!((of("hours", 0, 9), of("hours", 6, 2)), (Some(4.0), Some(3.0)), "the clock went forward on a Sunday");
    let about = |key, day, hour, low: f64, high: f64| {
        let is = of(key, day, hour).unwrap();
        assert!((low..high).contains(&is), "{key} {day} {hour}: {is}");
    };
    about("means", 0, 9, 100.0, 140.0);
    about("means", 2, 11, 75.0, 105.0);
    about("means", 0, 3, 6.0, 18.0);
    about("means", 5, 9, 2.0, 12.0);
    let hours = Regex::new(r"(?m)^09:00  *(\d+) ").unwrap();
    let monday = hours.captures(&table).unwrap()[1].parse::<f64>().unwrap();
    assert!((monday - of("means", 0, 9).unwrap()).abs() <= 0.5, "{table}");
    let picture = good(&place, &["histogram", "orders", "--svg"]);
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(picture.contains("prefers-color-scheme: dark") && picture.contains("Monday 09:00:"), "{picture}");
}

/// S2.11: what was before the first row is not nothing, and it is said.
#[test]
fn what_is_not_known_is_no_zero() {
    let from = at("2026-03-16T10:30:00+01:00");
    let rows: Vec<Row> = orders().into_iter().filter(|row| row.time >= from).collect();
    let place = place(&[(ORDERS, &rows), ("//test/watchbell/short", &rows)]);
    let output = place.run(&["histogram", "orders", "--until", END, "--json"]);
    assert!(err(&output).contains("the first row that is known is of 2026-03-16 10:3"), "{}", err(&output));
    let all: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((all["hours"][0][9].as_f64(), all["hours"][1][9].as_f64()), (Some(1.0), Some(2.0)));
    assert!(all["hours"][0][10].as_f64().is_some_and(|times| (1.4..1.5).contains(&times)), "{}", all["hours"][0]);
    let short = place.run(&["histogram", "short", "--until", END, "--since", "30d"]);
    assert_eq!(short.status.code(), Some(0));
    let said = err(&short);
    assert!(said.contains("rows are kept for 5d; `retention = \"30d\"` in the check's settings"), "{said}");
}

/// S2.12: lines with what they are founded on; pasted into the config they are read, and find the outage alone.
#[test]
fn suggest() {
    let rows = orders();
    let place = place(&[(ORDERS, &rows), (VISITS, &rows)]);
    let text = good(&place, &["suggest", "orders"]);
    assert!(text.contains("days = \"weekdays\""), "{text}");
    assert!(text.contains("it would have fired 1 time: 2026-03-11 1"), "{text}");
    let all = json(&place, &["suggest", "orders"]);
    let lines = all["lines"].as_array().unwrap();
    assert!((2..=5).contains(&lines.len()), "{lines:#?}");
    let office = lines.iter().find(|line| line["hours"].as_str().is_some_and(|hours| hours.contains("9-17"))).unwrap();
    assert!(office["min"].as_u64().is_some_and(|min| (50..100).contains(&min)), "{office}");
    assert_eq!((office["sure"].as_str(), office["firings"].as_u64()), (Some("good"), Some(1)), "{office}");
    // Ready to paste.
    let pasted = CONFIG.replacen("expect = [\n", &format!("{}\nold = [\n", text.trim_end()), 1);
    let (kept, old) = pasted.split_once("\nold = [").unwrap();
    let rest = old.split_once("\n]\n").unwrap().1;
    place.config("", &format!("{kept}\n{rest}"));
    let validated = place.run(&["validate"]);
    assert_eq!(validated.status.code(), Some(0), "{}", out(&validated));
    let report = json(&place, &["backtest", "orders"]);
    let fired: u64 = report["lines"].as_array().unwrap().iter().map(|line| line["firings"].as_u64().unwrap()).sum();
    assert_eq!(fired, 1, "{report:#}");
    // For a `.dwmon` file, requirement lines.
    let visits = good(&place, &["suggest", "visits"]);
    let requirement =
        Regex::new(r"(?m)^CHECKHOURS\d+-\d+ CHECKMINUTES\*/20 WEEKDAYS MINNUM\d+ MAXNUM\d+ LOOKBACKSECONDS3600$");
    assert!(requirement.unwrap().is_match(&visits), "{visits}");
    let lines: Vec<&str> = visits.lines().filter(|line| line.starts_with("CHECKHOURS")).collect();
    place.file("visits.dwmon", &DWMON.replacen("CHECKHOURS", &format!("{}\nCHECKHOURS", lines.join("\n")), 1));
    let validated = place.run(&["validate"]);
    assert_eq!(validated.status.code(), Some(0), "{}", out(&validated));
}

/// S2.12: too little history is said, and what to do; the command fails.
#[test]
fn too_little_history() {
    let from = at(END).as_secs() - 2 * 86_400;
    let rows: Vec<Row> = orders().into_iter().filter(|row| row.time.as_secs() >= from).collect();
    let place = place(&[(ORDERS, &rows), ("//test/watchbell/short", &rows)]);
    for (name, says) in [("orders", "wait 5 d more"), ("short", "`retention = \"28d\"`")] {
        let output = place.run(&["suggest", name, "--until", END]);
        let said = err(&output);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{said}");
        assert!(said.contains("seen; at least 7 d are wanted") && said.contains(says), "{said}");
    }
}

/// S2.12: each time that the config's lines would have fired, or those that are given.
#[test]
fn backtest() {
    let place = place(&[(ORDERS, &orders())]);
    let text = good(&place, &["backtest", "orders", "--since", "28d"]);
    let firing = Regex::new(r"(?m)^2026-03-11 10:40 +4 h +office +12 +0-\d+ +0 at 03-11 11:00, too few$");
    assert!(firing.unwrap().is_match(&text), "{text}");
    let all = json(&place, &["backtest", "orders"]);
    let office = &all["lines"][0];
    assert_eq!((office["name"].as_str(), office["firings"].as_u64()), (Some("office"), Some(1)), "{all:#}");
    assert_eq!(office["judged"].as_u64(), Some(20 * 8 * 3));
    let first = &all["firings"][0];
    assert_eq!((first["lowest"].as_u64(), first["worst"]["is"].as_str()), (Some(0), Some("too few")), "{first}");
    for given in [
        "{ days = \"weekdays\", hours = \"9-16\", every = \"20m\", lookback = \"1h\", min = 60 }",
        "CHECKHOURS9-16 CHECKMINUTES*/20 WEEKDAYS MINNUM60 MAXNUM260 LOOKBACKSECONDS3600",
    ] {
        let all = json(&place, &["backtest", "orders", "--expect", given]);
        assert_eq!(all["lines"].as_array().map(Vec::len), Some(1), "{all:#}");
        assert_eq!(all["firings"][0]["from"], first["from"], "{given}");
    }
    let quiet = good(&place, &["backtest", "orders", "--expect", "{ lookback = \"1d\", min = 1 }"]);
    assert!(quiet.contains("nothing would have fired"), "{quiet}");
    let many = good(&place, &["backtest", "orders", "--expect", "{ lookback = \"1m\", min = 1 }", "-n", "3"]);
    assert!(many.contains("older ones are left out") && many.lines().count() < 15, "{many}");
}

/// S2.12: a check's `bounds` hold for lines that are tried and for those that are proposed, too.
#[test]
fn bounds_are_the_checks() {
    let (from, end) = (at(END).as_secs() - 9 * 86_400, at(END).as_secs());
    let rows: Vec<Row> =
        (from..=end).step_by(60).map(|t| Row { key: t.to_string(), time: Timestamp::from_secs(t) }).collect();
    let place = place(&[(ORDERS, &rows)]);
    for (bounds, median, fired) in [("strict", 0, 1), ("inclusive", 2, 0)] {
        place.config(
            "time_zone = \"Europe/Berlin\"\n",
            &CONFIG.replacen("retention = \"60d\"\n", &format!("retention = \"60d\"\nbounds = \"{bounds}\"\n"), 1),
        );
        let tried =
            json(&place, &["backtest", "orders", "--since", "8d", "--expect", "{ lookback = \"1m\", min = 2 }"]);
        assert_eq!(tried["lines"][0]["firings"].as_u64(), Some(fired), "{bounds}: {tried}");
        let proposed = json(&place, &["suggest", "orders", "--since", "8d", "--lookback", "1m"]);
        assert_eq!(proposed["lines"][0]["median"].as_u64(), Some(median), "{bounds}: {proposed}");
    }
}

/// What is used wrongly exits with 2, what can't be done with 1, and each says what to do.
#[test]
fn what_is_wrong_is_said() {
    let rows = [Row { key: "1".to_owned(), time: at(START) }];
    let some = place(&[(ORDERS, &rows)]);
    let never_ran = place(&[]);
    let cases: &[(&Place, &[&str], i32, &str)] = &[
        (&some, &["histogram", "nothing"], 2, "there is no look-back `nothing`\nhint: there is `//test/dwmon/visits`"),
        (&some, &["histogram", "order"], 2, "hint: there is `//test/watchbell/orders`"),
        (&some, &["suggest", "plain"], 2, "no `query`"),
        (&some, &["suggest", "age"], 2, "answers a number (`value = true`)"),
        (&some, &["histogram", "age"], 2, "`watchbell test age` shows"),
        (&some, &["backtest", "age"], 2, "no rows are counted or kept"),
        (&some, &["backtest", "short"], 1, "no rows of `//test/watchbell/short` are known yet"),
        (&some, &["backtest", "orders", "--since", "soon"], 2, "write it as `90s`"),
        (&some, &["backtest", "orders", "--since", "0"], 2, "write it as `90s`"),
        (&some, &["histogram", "orders", "--until", "x"], 2, "--until"),
        (&some, &["histogram", "orders", "--svg", "--json"], 2, "cannot be used with"),
        (&some, &["backtest", "orders", "--expect", "{ lookback = 5, mni = 3 }"], 2, "`mni`"),
        (&some, &["backtest", "orders", "--expect", "CHECKHOURS9-5"], 2, "hours"),
        (&some, &["suggest", "orders", "--lookback", "500ms"], 2, "whole seconds"),
        (&never_ran, &["histogram", "orders"], 1, "start the agent with `watchbell run`"),
    ];
    for (place, args, code, says) in cases {
        let output = place.run(args);
        let said = err(&output);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(*code), ""), "{args:?}\n{said}");
        assert!(said.contains(says), "{args:?}\n{said}");
    }
}

/// S2.12: Ctrl-C stops a long backtest, which shows what it found until then.
#[test]
fn a_backtest_can_be_interrupted() {
    let old = Row { key: "0".to_owned(), time: at("1990-01-01T00:00:00Z") };
    let rows = [old, Row { key: "1".to_owned(), time: at(START) }];
    let place = place(&[(ORDERS, &rows)]);
    let line = "{ lookback = \"1h\", min = 1 }";
    let lines = vec![line; 190].join(", ");
    let mut command =
        place.command(&["backtest", "orders", "--since", "12000d", "--json", "--expect", &format!("[{lines}]")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // Not before it listens: until then Ctrl-C just ends it.
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
    };
    let end = Instant::now() + PATIENCE;
    while !listens() {
        assert!(Instant::now() < end, "it never listened to Ctrl-C");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = err(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped: minutes from"), "{said}");
    let found: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(found["interrupted"], Value::Bool(true));
    assert_eq!(found["lines"].as_array().map(Vec::len), Some(190));
}
