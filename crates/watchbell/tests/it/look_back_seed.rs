//! dwmon's own example files through the real program: what they give is what dwmon's rule gives, computed here anew.

use crate::place::Place;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The files' example, `new_executions.dwmon`, as its page has it.
const NEW_EXECUTIONS: &str = r#"__QUERY__
SELECT
execution_id AS dwmon_unique_key,
ts AS dwmon_timestamp
FROM model_executions
ORDER BY dwmon_timestamp DESC
LIMIT 10000
__REQUIREMENTS__
# This is a comment
CHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180
__SOURCE__
AWS
__EXTRA__
{"some_extra_config": ["your", "arbitrary", "json"], "alert": "devops@nerds.com"}
"#;

/// Its query for rows that have no key of their own.
const MADE_UP_KEY: &str = "SELECT
customer_id || call_time AS dwmon_unique_key,
call_time AS dwmon_timestamp
FROM customer_phone_calls
ORDER BY dwmon_timestamp DESC
LIMIT 10000";

/// Its lines for two times of the day.
const TWICE_A_DAY: &str = "CHECKHOURS9-9 CHECKMINUTES0-0 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180
CHECKHOURS13-13 CHECKMINUTES0-0 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS180";

/// Minutes in New York, where it is five hours earlier than in UTC, and how many rows the 180 seconds before them are given.
const MINUTES: [(&str, i64); 7] = [
    ("2026-01-05T09:00:00-05:00", 4),
    ("2026-01-05T10:20:00-05:00", 5),
    ("2026-01-05T13:00:00-05:00", 20),
    ("2026-01-05T23:59:00-05:00", 21),
    ("2026-01-10T09:00:00-05:00", 0),
    ("2026-01-10T13:00:00-05:00", 12),
    ("2026-01-11T00:00:00-05:00", 6),
];

fn epoch(local: &str) -> i64 {
    local.parse::<jiff::Timestamp>().unwrap().as_second()
}

/// Keys and times: some within each window, one on each of its ends, and one key that comes twice, the older time within
/// the first window.
fn rows() -> Vec<(i64, i64)> {
    let mut times = Vec::new();
    for (local, count) in MINUTES {
        let minute = epoch(local);
        times.extend([minute, minute - 180]);
        times.extend((0..count).map(|n| minute - 1 - n * 178 / count.max(1)));
    }
    let mut rows: Vec<(i64, i64)> = (1..).zip(times).collect();
    rows.push((1, rows[0].1 - 10));
    rows
}

/// dwmon's rule: of a key that comes more than once the first row of the answer counts, and both ends are excluded.
fn original(minute: i64, key_of: fn(&(i64, i64)) -> String) -> (usize, &'static str) {
    let mut answer = rows();
    answer.sort_by_key(|(_, time)| -time);
    let mut seen = BTreeSet::new();
    answer.retain(|row| seen.insert(key_of(row)));
    let count = answer.iter().filter(|(_, time)| minute - 180 < *time && *time < minute).count();
    (count, if (5..=20).contains(&count) { "GOOD" } else { "BAD" })
}

/// What the handler gets of a minute.
fn results(place: &Place, local: &str) -> Vec<Value> {
    let tested = place.run(&["test", "new_executions", "--dry-run", "--json", "--at", local]);
    let list: Value = serde_json::from_slice(&tested.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr))
    });
    let told = list[0]["told"].as_array().unwrap();
    let handed = told.iter().filter(|told| told["notifier"] == "ledger");
    handed.map(|told| told["delivery"]["event"]["original"].clone()).collect()
}

/// S2.1, S2.2, S2.6, S2.8: the example, with and without `__EXTRA__`, and with the page's other query and lines.
#[test]
fn the_examples_give_what_dwmon_gives() {
    let (without, extra) = NEW_EXECUTIONS.split_once("__EXTRA__\n").unwrap();
    let (query, rest) = NEW_EXECUTIONS.split_once("__REQUIREMENTS__").unwrap();
    let line = rest.lines().find(|line| line.starts_with("CHECKHOURS")).unwrap();
    let extra: Value = serde_json::from_str(extra).unwrap();
    let cases: [(&str, String, &Value); 5] = [
        ("as it is", NEW_EXECUTIONS.to_owned(), &extra),
        ("without `__EXTRA__`", without.to_owned(), &Value::Null),
        ("with an empty `__EXTRA__`", format!("{without}__EXTRA__\n"), &Value::Null),
        ("twice a day", NEW_EXECUTIONS.replace(line, TWICE_A_DAY), &extra),
        ("made up keys", NEW_EXECUTIONS.replace(query.trim(), &format!("__QUERY__\n{MADE_UP_KEY}")), &extra),
    ];
    let config = "[source.AWS]\nurl = \"sqlite:aws.db\"\n[notify.ledger]\nkind = \"command\"\ncommand = \"cat\"\n";
    let place = Place::new("time_zone = \"America/New_York\"\non_result = [\"ledger\"]\n", config);
    let mut db = rusqlite::Connection::open(place.folder.join("aws.db")).unwrap();
    let tables = "CREATE TABLE model_executions (execution_id INTEGER, ts INTEGER);
                  CREATE TABLE customer_phone_calls (customer_id INTEGER, call_time INTEGER)";
    db.execute_batch(tables).unwrap();
    let filling = db.transaction().unwrap();
    for (key, time) in rows() {
        filling.execute("INSERT INTO model_executions VALUES (?1, ?2)", [key, time]).unwrap();
        filling.execute("INSERT INTO customer_phone_calls VALUES (?1, ?2)", [key, time]).unwrap();
    }
    filling.commit().unwrap();
    for (what, file, extra) in cases {
        place.file("new_executions.dwmon", &file);
        for (local, _) in MINUTES {
            let minute = epoch(local);
            let made_up = |(id, time): &(i64, i64)| format!("{id}{time}");
            let (count, status) =
                original(minute, if what == "made up keys" { made_up } else { |row| row.0.to_string() });
            let mut found = results(&place, local);
            // Ours alone: where the check stands in the config, and whether rows came late.
            for result in &mut found {
                let result = result.as_object_mut().unwrap();
                result.retain(|key, _| !["check", "expectation", "late"].contains(&key.as_str()));
            }
            let expect = json!({
                "checker_name": "new_executions", "event_count": count, "min_required": 5, "max_allowed": 20,
                "check_status": status, "minute_epoch": minute, "minute_local_time": local, "lookback_seconds": 180,
                "extra": extra,
            });
            let due = what != "twice a day" || local.contains("T09:00") || local.contains("T13:00");
            assert_eq!(found, if due { vec![expect] } else { vec![] }, "{what} at {local}");
        }
    }
}
