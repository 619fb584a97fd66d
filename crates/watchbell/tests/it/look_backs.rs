//! Look-backs by the real agent: a warehouse in a file, one that is slow, and an agent that is killed.

use crate::place::Place;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use watchbell_core::model::{Action, Name, Row, Timestamp};
use watchbell_io::store::seen::SeenRows;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn warehouse(place: &Place) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(place.folder.join("warehouse.db")).unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS orders (id INTEGER, at INTEGER)").unwrap();
    db
}

fn results(place: &Place) -> Vec<Value> {
    let text = std::fs::read_to_string(place.folder.join("results.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|delivery| delivery["event"]["original"].clone()).collect()
}

const SOURCE: &str = "[source.warehouse]\nurl = \"sqlite:warehouse.db\"\n";
const LEDGER: &str = "[notify.ledger]\nkind = \"command\"\ncommand = \"cat >> results.jsonl\"\ngap = \"1ms\"\n";

/// S2.1, S2.4, S2.8: a `.dwmon` file that is dropped in is judged, and its result goes to the notifier.
#[test]
fn a_dwmon_file_is_judged() {
    let place = Place::new("", SOURCE);
    warehouse(&place).execute("INSERT INTO orders VALUES (1, ?1), (2, ?1), (2, ?1)", [now() - 100]).unwrap();
    let _agent = place.start();
    place.until("a start", || place.state_folder().join("agent.sock").exists());
    // Its name is one whose first run comes soon.
    place.file(
        "users.dwmon",
        "__QUERY__\nSELECT id AS dwmon_unique_key, at AS dwmon_timestamp FROM orders\n__REQUIREMENTS__\n# by day and night\n\
         CHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS3600\n__SOURCE__\nwarehouse\n",
    );
    place.until("the alert", || place.told().iter().any(|d| d.event.text.starts_with("2 rows in the 1 h before")));
    assert_eq!(*place.told()[0].event.name, *"//test/dwmon/users");
}

/// S2.5, S2.7: an agent that is killed and started again knows which rows it saw and which minutes it judged; rows that come
/// late mend the minute.
#[test]
fn a_killed_agent_goes_on_where_it_was() {
    let check = "[check.orders]\nquery = \"SELECT id, at FROM orders\"\nsource = \"warehouse\"\nevery = \"1s\"\n\
                 expect = [{ lookback = \"1h\", min = 5 }]\n";
    let place = Place::new("", &format!("{SOURCE}{check}"));
    let db = warehouse(&place);
    db.execute("INSERT INTO orders VALUES (1, ?1), (2, ?1), (2, ?1)", [now() - 100]).unwrap();
    let mut agent = place.start();
    place.until("the alert", || place.told().iter().any(|d| d.event.text.starts_with("2 rows in the 1 h before")));
    agent.signal(Signal::KILL);
    agent.ended();
    // Rows that were seen are gone from the answer, and are counted all the same.
    let late = now() - 90;
    db.execute_batch(&format!("DELETE FROM orders; INSERT INTO orders VALUES (3, {late}), (4, {late}), (5, {late})"))
        .unwrap();
    let _agent = place.start();
    place.until("enough rows", || place.told().iter().any(|d| d.action == Action::Resolve));
    let told = place.told();
    let resolved = told.iter().find(|d| d.action == Action::Resolve).unwrap();
    assert!(resolved.event.text.contains("5 rows in the 1 h before"), "{}", resolved.event.text);
    let mut triggers: Vec<_> = told.iter().filter(|d| d.action == Action::Trigger).map(|d| &d.key).collect();
    triggers.dedup();
    assert_eq!(triggers.len(), 1, "{told:?}");
}

/// S2.8: every result, good ones too, goes to the handler as JSON.
#[test]
fn handlers_get_every_result() {
    let check = "[check.orders]\nquery = \"SELECT id, at FROM orders\"\nsource = \"warehouse\"\nevery = \"1s\"\n\
                 on_result = [\"ledger\"]\nextra = { team = \"shop\" }\nexpect = [{ lookback = \"1h\", min = 1 }]\n";
    let place = Place::new("", &format!("{SOURCE}{LEDGER}{check}"));
    warehouse(&place).execute("INSERT INTO orders VALUES (1, ?1)", [now() - 100]).unwrap();
    let _agent = place.start();
    place.until("a result", || !results(&place).is_empty());
    let result = results(&place).remove(0);
    assert_eq!((&result["checker_name"], &result["check_status"]), (&"orders".into(), &"GOOD".into()));
    assert_eq!(
        (result["event_count"].as_u64(), result["min_required"].as_u64(), result["max_allowed"].as_u64()),
        (Some(1), Some(1), None)
    );
    assert_eq!((&result["extra"]["team"], result["lookback_seconds"].as_u64()), (&"shop".into(), Some(3600)));
    assert!(result["minute_epoch"].as_i64().is_some_and(|epoch| epoch % 60 == 0), "{result}");
    assert!(place.told().is_empty(), "a good minute wakes nobody");
}

/// S2.10: a slow query delays no other check, has a time limit, and is listed as the slowest.
#[test]
fn a_slow_query_delays_no_other() {
    let check = |name: &str, source: &str| {
        format!(
            "[check.{name}]\nquery = \"q\"\nsource = \"{source}\"\nevery = \"1s\"\ntimeout = \"2s\"\nexpect = [{{ lookback = \"1m\", max = 9 }}]\n"
        )
    };
    let sources = "[source.slow]\ncommand = [\"sleep\", \"600\"]\n[source.quick]\ncommand = \"echo key,time\"\nformat = \"csv\"\n";
    let place = Place::new("", &format!("{sources}{}{}", check("late", "slow"), check("soon", "quick")));
    let _agent = place.start();
    place.until("a start", || place.state_folder().join("agent.sock").exists());
    place.until("both ran", || {
        let state = place.state();
        let runs = |name: &str| state.checks.get(name).map_or(0, |c| c.durations.count);
        runs("//test/watchbell/late") >= 1 && runs("//test/watchbell/soon") >= 3
    });
    let state = place.state();
    assert!(state.faults.contains_key("//test/watchbell/late#monitor-timeout"), "{:?}", state.faults.keys());
    assert!(state.checks["//test/watchbell/soon"].last.as_ref().unwrap().took < Duration::from_secs(2));
    let slow = place.run(&["slow", "--json"]);
    let list: Value = serde_json::from_slice(&slow.stdout).unwrap();
    assert_eq!(list[0]["name"], "//test/watchbell/late", "{list}");
}

/// One source that is away is one fault of the agent, whoever asked.
#[test]
fn a_source_that_is_away_is_told_once() {
    let mut config = "[source.warehouse]\nurl = \"sqlite:nowhere.db\"\n".to_owned();
    for n in 0..5 {
        config += &format!(
            "[check.c{n}]\nquery = \"q\"\nsource = \"warehouse\"\nevery = \"1s\"\nexpect = [{{ lookback = \"1m\", min = 1 }}]\n"
        );
    }
    let place = Place::new("", &config);
    let _agent = place.start();
    place.until("the fault", || !place.told().is_empty());
    std::thread::sleep(Duration::from_secs(3));
    let told: Vec<_> = place.told().iter().map(|d| d.event.name.to_string()).collect();
    assert_eq!(told, ["test#source-warehouse"]);
}

/// A check whose source can't be asked is not well, and its test says so.
#[test]
fn a_test_without_its_source_fails() {
    let check = "[source.warehouse]\nurl = \"sqlite:nowhere.db\"\n[check.orders]\nquery = \"SELECT id, at FROM orders\"\n\
                 source = \"warehouse\"\nexpect = [{ lookback = \"1h\", min = 2 }]\n";
    let tested = Place::new("", check).run(&["test", "orders", "--dry-run"]);
    let text = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(text.contains("critical test#source-warehouse: "), "{text}");
    assert_eq!(tested.status.code(), Some(1), "{text}");
}

/// S2.9: rows of a check that is gone are forgotten once they are old; and not while the config has a mistake.
#[test]
fn rows_of_a_check_that_is_gone_are_forgotten() {
    let broken = Place::new("", "[check.x]\ncommand = 5\n");
    let whole = Place::new("", SOURCE);
    for (place, left) in [(&broken, 2), (&whole, 1)] {
        let file = place.state_folder().join("rows.db");
        std::fs::create_dir_all(place.state_folder()).unwrap();
        let rows = SeenRows::open(&file).unwrap();
        for (check, days) in [("//test/watchbell/gone", 6), ("//test/watchbell/renamed", 4)] {
            let time = Timestamp::from_secs(now() - days * 86_400);
            rows.add(&Name::new(check), &[Row { key: "a".to_owned(), time }], Timestamp::ZERO).unwrap();
        }
        drop(rows);
        let _agent = place.start();
        place.until("a start", || place.state_folder().join("agent.sock").exists());
        let count = || SeenRows::read_only(&file).unwrap().checkers().unwrap().len();
        place.until("the right number of checks", || count() == left);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(count(), left);
    }
}

/// S2.10: a source that accepts and says nothing is one fault, however many ask it, more than may run at a time; and what
/// does not ask it keeps its rhythm.
#[test]
fn a_mute_source_starves_nobody() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://watch@{}/shop", mute.local_addr().unwrap());
    let mut config = format!("[source.mute]\nurl = \"{url}\"\nconnect_timeout = \"3s\"\n");
    config += "[check.live]\ncommand = \"echo 1\"\nevery = \"1s\"\n";
    for n in 0..300 {
        config += &format!(
            "[check.c{n}]\nquery = \"q\"\nsource = \"mute\"\nevery = \"10s\"\nexpect = [{{ lookback = \"1m\", min = 1 }}]\n"
        );
    }
    let place = Place::new("", &config);
    let _agent = place.start();
    let runs = |name: &str| place.state().checks.get(name).map_or(0, |check| check.durations.count);
    place.until("the fault", || !place.told().is_empty());
    let before = runs("//test/watchbell/live");
    std::thread::sleep(Duration::from_secs(15));
    let told: BTreeSet<_> = place.told().iter().map(|d| d.event.name.to_string()).collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["test#source-mute"]);
    let state = place.state();
    let faults: Vec<_> = state.faults.keys().map(|name| name.to_string()).collect();
    assert_eq!(faults, ["test#source-mute"]);
    let all = state.checks.iter().filter(|(name, check)| name.contains("/c") && check.durations.count > 0).count();
    assert_eq!(all, 300, "each was run");
    // A commit that only says that checks ran takes a second.
    let live = runs("//test/watchbell/live") - before;
    assert!(live >= 12, "{live} runs in 15 s");
}

/// `watchbell test` judges a look-back for any minute, and keeps nothing.
#[test]
fn a_look_back_is_tested_for_a_minute() {
    let check = "[check.orders]\nquery = \"SELECT id, at FROM orders\"\nsource = \"warehouse\"\n\
                 expect = [{ lookback = \"1h\", min = 2 }, { minutes = \"30\", lookback = \"1h\", max = 0 }]\n";
    let place = Place::new("", &format!("{SOURCE}{check}"));
    let at = 1_767_600_000 - 60;
    warehouse(&place).execute("INSERT INTO orders VALUES (1, ?1)", [at]).unwrap();
    let tested = place.run(&["test", "orders", "--dry-run", "--at", "2026-01-05T08:00:00Z"]);
    let text = String::from_utf8_lossy(&tested.stdout).into_owned();
    for part in
        ["1 row in the 1 h before 2026-01-05", "at least 2 wanted: BAD", "(not due at that minute)", "#expect-1"]
    {
        assert!(text.contains(part), "{part}\n{text}{}", String::from_utf8_lossy(&tested.stderr));
    }
    assert_eq!(tested.status.code(), Some(1));
    assert!(!place.state_folder().join("rows.db").exists());
}
