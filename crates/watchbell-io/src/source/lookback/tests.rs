//! Runs of a look-back on a real source and a real `rows.db`.

use super::*;
use crate::{query::sources, shared::Shared, source::KINDS};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use watchbell_core::{
    config::{Config, InputFile, Kinds, LoadOptions, Loaded, render},
    model::Counted,
    state::lookback::LookbackState,
};

/// A Monday, 2026-01-05T08:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_767_600_000);

/// A folder with a warehouse in a file, and a check of it.
struct Place {
    folder: PathBuf,
    loaded: Loaded<Program, ()>,
    seen: Arc<SeenRows>,
}

impl Place {
    fn new(check: &str, source: &str) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("watchbell-look-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let loaded = load(&folder, &format!("[check.orders]\nsource = \"w\"\n{check}\n[source.w]\n{source}\n"));
        let seen = Arc::new(SeenRows::open(&folder.join("rows.db")).unwrap());
        Place { folder, loaded, seen }
    }

    /// A warehouse of orders.
    fn orders(check: &str) -> Place {
        let place = Place::new(&format!("query = 'SELECT id, at FROM orders'\n{check}"), "url = 'sqlite:w.db'");
        place.sql("CREATE TABLE orders (id INTEGER, at INTEGER)");
        place
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.join("w.db")).unwrap().execute_batch(sql).unwrap();
    }

    fn policy(&self) -> Arc<Lookback> {
        self.loaded.policy.checks.values().next().unwrap().lookback.clone().unwrap()
    }

    async fn look(&self, windows: &[Window], now: Timestamp) -> Outcome {
        let (name, program) = self.loaded.programs.iter().next().unwrap();
        let sources = sources(&self.loaded.policy.sources, &BTreeMap::new());
        let policy = self.policy();
        let look = Look {
            policy: &policy,
            source: sources.values().next().map(|source| &**source),
            windows,
            seen: Some(&self.seen),
            now,
        };
        let timeout = self.loaded.policy.checks[name].timeout;
        let shared = Shared::new().unwrap();
        program.run(&Run { check: name, timeout, shared: &shared, lookback: Some(look) }).await
    }

    /// What the windows of a minute hold.
    async fn counts(&self, minute: Timestamp) -> Vec<u64> {
        let outcome = self.look(&self.policy().windows_at(minute), minute).await;
        outcome.rows.unwrap_or_else(|| panic!("{:?}", outcome.findings)).counts.iter().map(|c| c.count).collect()
    }

    /// Old rows are dropped beside the runs.
    async fn stored_becomes(&self, rows: u64, what: &str) {
        for _ in 0..400 {
            if self.stored() == rows {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} rows in place of {rows}: {what}", self.stored());
    }

    fn stored(&self) -> u64 {
        self.seen.checkers().unwrap().iter().map(|(_, rows, _)| rows).sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn load(folder: &Path, text: &str) -> Loaded<Program, ()> {
    let options = LoadOptions {
        root: folder.display().to_string(),
        default_agent_name: "host".into(),
        local_zone: jiff::tz::TimeZone::UTC,
    };
    let mut config = Config::new(Kinds { checks: KINDS, notifiers: &[] }, options, |()| Vec::new());
    let absolute = folder.join("app.toml").display().to_string();
    config.update(vec![InputFile { path: "app.toml".into(), absolute, text: Ok(text.to_owned()) }]);
    let loaded = config.assemble();
    let errors = loaded.problems.list.iter().filter(|p| p.level == watchbell_core::config::Level::Error).count();
    assert_eq!(errors, 0, "{}", render(&loaded.problems, false));
    loaded
}

fn secs(ago: i64) -> i64 {
    NOW.as_secs() - ago
}

const EXPECT: &str = "expect = [{ lookback = '3m', min = 5, max = 20 }]";

/// S2.5, S2.6: a key is counted once, under the time that it was first seen with, also when it is gone from the answer.
#[tokio::test]
async fn a_row_is_counted_once_under_its_first_time() {
    let place = Place::orders(EXPECT);
    let (early, edge) = (secs(100), secs(180));
    place.sql(&format!("INSERT INTO orders VALUES (1, {early}), (2, {early}), (2, {early}), (3, {edge})"));
    assert_eq!(place.counts(NOW).await, [2], "a key twice, and one at the very end of the window");
    place.sql(&format!("UPDATE orders SET at = {}; DELETE FROM orders WHERE id = 1", secs(5000)));
    assert_eq!(place.counts(NOW).await, [2]);
    assert_eq!(place.stored(), 3);
}

/// An outage's windows, read at once, hold what each holds by itself; minutes judged before are counted again only where
/// something new came.
#[tokio::test]
async fn many_windows_hold_what_each_holds() {
    let place = Place::orders(EXPECT);
    let rows: Vec<String> = (0..300).map(|n| format!("({n}, {})", secs(n * 7))).collect();
    place.sql(&format!("INSERT INTO orders VALUES {}", rows.join(", ")));
    let state = LookbackState { judged: NOW - Duration::from_secs(1800), ..LookbackState::new(&place.policy(), NOW) };
    let windows = place.policy().plan(&state, NOW).windows;
    assert!(windows.len() > COUNTED_APART_MAX);
    let at_once = place.look(&windows, NOW).await.rows.unwrap();
    for (window, counted) in windows.iter().zip(&at_once.counts) {
        let alone = place.look(&[*window], NOW).await.rows.unwrap();
        assert_eq!(alone.counts, [*counted], "{window:?}");
    }
    assert!(at_once.counts.iter().any(|counted| counted.count > 20));
    let again = Window { again: true, ..windows[0] };
    assert_eq!(place.look(&[again], NOW).await.rows.unwrap().counts, []);
    place.sql(&format!("INSERT INTO orders VALUES (1000, {})", secs(1)));
    let counts: Vec<Counted> = place.look(&[again], NOW).await.rows.unwrap().counts;
    assert_eq!(counts, [at_once.counts[0]]);
}

/// S2.7: rows are stored before a result counts. A run whose result is lost must not leave them unseen: minutes that held
/// too few are counted again until the engine went on after a count.
#[tokio::test]
async fn late_rows_mend_although_a_result_was_lost() {
    let place = Place::orders(EXPECT);
    let minute = Duration::from_secs(60);
    let due = |minute: Timestamp| place.policy().windows_at(minute);
    let again = Window { again: true, ..due(NOW - minute)[0] };
    let all = |minute| due(minute).into_iter().chain([again]).collect::<Vec<_>>();
    let counted = async |windows: &[Window], now| {
        let rows = place.look(windows, now).await.rows.unwrap();
        rows.counts.iter().any(|counted| counted.minute == again.minute)
    };
    assert!(counted(&all(NOW), NOW).await, "whether something came before is not known");
    assert!(!counted(&all(NOW + minute), NOW + minute).await, "nothing came");
    place.sql(&format!("INSERT INTO orders VALUES (1, {})", secs(100)));
    assert!(counted(&all(NOW + minute * 2), NOW + minute * 2).await);
    // The same minute is asked for again: its result was lost.
    for _ in 0..3 {
        assert!(counted(&all(NOW + minute * 2), NOW + minute * 3).await);
    }
    assert!(!counted(&all(NOW + minute * 4), NOW + minute * 4).await, "the engine went on");
}

/// What can't be asked or read judges nothing, and says what is wrong; only a source that is away is the source's fault.
#[tokio::test]
async fn what_fails_judges_nothing() {
    let sqlite = "url = 'sqlite:w.db'";
    let prints = |what: &str| format!("command = ['printf', '{what}']\nformat = 'json'");
    let table = [
        ("SELECT id, at FROM orders", "url = 'sqlite:nowhere.db'".to_owned(), "", true),
        ("SELEC 1", sqlite.to_owned(), "monitor-query", false),
        ("DELETE FROM orders", sqlite.to_owned(), "monitor-query", false),
        ("SELECT id FROM orders", sqlite.to_owned(), "monitor-rows", false),
        ("x", "command = ['sleep', '600']".to_owned(), "monitor-timeout", false),
        ("x", "command = ['false']".to_owned(), "monitor-query", false),
        ("x", "command = ['/no/such/program']".to_owned(), "", true),
        ("x", prints("[[1"), "monitor-query", false),
    ];
    for (query, source, part, away) in table {
        let place = Place::new(&format!("query = '{query}'\ntimeout = '1s'\n{EXPECT}"), &source);
        place.sql("CREATE TABLE orders (id INTEGER, at INTEGER)");
        let outcome = place.look(&place.policy().windows_at(NOW), NOW).await;
        let parts: Vec<&str> = outcome.findings.iter().filter_map(|f| f.part.as_deref()).collect();
        assert_eq!(parts.join(" "), part, "{query} {source}: {outcome:?}");
        let problem = outcome.source.as_ref().is_some_and(|news| news.problem.is_some());
        assert_eq!((problem, outcome.inconclusive, &outcome.rows), (away, true, &None), "{query}: {outcome:?}");
        assert!(outcome.findings.iter().all(|f| f.escalates && f.trouble.is_some()), "{query}: {outcome:?}");
    }
}

/// Rows that can't be used, and an answer that is too long, are told; the others are judged.
#[tokio::test]
async fn what_is_left_out_is_told() {
    let place = Place::orders(&format!("rows_max = 4\n{EXPECT}"));
    let (good, milliseconds) = (secs(60), secs(60) * 1000);
    place.sql(&format!(
        "INSERT INTO orders VALUES (1, {good}), (NULL, {good}), (3, NULL), (4, {milliseconds}), (5, {good})"
    ));
    let outcome = place.look(&place.policy().windows_at(NOW), NOW).await;
    let text = &outcome.findings[0].message;
    assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-rows"));
    for part in ["milliseconds", "4 rows"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("rows_max").count(), 1, "told once: {text}");
    assert_eq!(outcome.rows.unwrap().counts[0].count, 1);
}

/// S2.9: rows are dropped after the retention, and never inside what a walk still needs.
#[tokio::test]
async fn old_rows_are_dropped() {
    let place = Place::orders(&format!("retention = '1h'\n{EXPECT}"));
    place.sql(&format!("INSERT INTO orders VALUES (1, {}), (2, {})", secs(10), secs(3000)));
    place.counts(NOW).await;
    assert_eq!(place.stored(), 2);
    place.sql("DELETE FROM orders");
    place.counts(NOW + Duration::from_secs(7200)).await;
    place.stored_becomes(0, "an hour is over").await;
    // Ten look-backs of a day, and the window before them, are needed whatever the retention is.
    let place = Place::orders("retention = '1h'\nexpect = [{ lookback = '1d', min = 1 }]");
    place.sql(&format!("INSERT INTO orders VALUES (1, {}), (2, {})", secs(10 * 86_400), secs(11 * 86_400)));
    place.counts(NOW).await;
    place.sql("DELETE FROM orders");
    place.counts(NOW + Duration::from_secs(7200)).await;
    place.stored_becomes(1, "the one that is needed").await;
}

/// S2.5, S2.9: a key that outlives its retention keeps its first time: with the present as its time it would be new
/// again. Once the query does not answer it any more it goes.
#[tokio::test]
async fn what_is_still_answered_is_not_dropped() {
    let hour = Duration::from_secs(3600);
    let place = Place::new(
        &format!("query = 'SELECT id, strftime(\"%s\", \"now\") FROM orders'\nretention = '1h'\n{EXPECT}"),
        "url = 'sqlite:w.db'",
    );
    place.sql("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (1), (2), (3)");
    let now = Timestamp::from_jiff(jiff::Timestamp::now());
    place.look(&[], now).await;
    place.sql("DELETE FROM orders WHERE id = 2");
    // The first run after the start may be one at which nothing is dropped.
    let outcome = place.look(&[], now + hour * 3).await;
    place.stored_becomes(2, "only what is not answered any more").await;
    assert_eq!(outcome.rows.unwrap().new, 0);
    let outcome = place.look(&[], now + hour * 6).await;
    assert_eq!(outcome.rows.unwrap().new, 0);
    place.sql("DELETE FROM orders");
    for _ in 0..400 {
        // While rows are dropped after one run, the next one drops none.
        place.look(&[], now + hour * 9).await;
        if place.stored() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("they are not answered any more, and are still there");
}

/// S2.9: a purge command that hangs costs no run its counts, and is not begun again before its hour.
#[tokio::test]
async fn a_purge_that_hangs_or_fails_costs_nothing() {
    let later = NOW + Duration::from_secs(7200);
    for (command, told) in
        [("echo x >> asked; sleep 600", ""), ("echo x >> asked; echo no >&2; exit 1", "no rows were dropped: no")]
    {
        let place = Place::orders(&format!("timeout = '2s'\npurge = '{command}'\n{EXPECT}"));
        place.sql(&format!("INSERT INTO orders VALUES (1, {})", secs(10)));
        place.look(&[], NOW).await;
        let asked = || std::fs::read_to_string(place.folder.join("asked")).unwrap_or_default();
        for minute in 0..5 {
            let begun = Instant::now();
            let outcome = place.look(&place.policy().windows_at(NOW), later + Duration::from_secs(minute * 60)).await;
            assert_eq!(outcome.rows.unwrap_or_else(|| panic!("{:?}", outcome.findings)).counts[0].count, 1);
            assert!(begun.elapsed() < Duration::from_secs(2), "{command}");
            while asked().is_empty()
                || (minute == 0 && !told.is_empty() && begun.elapsed() < Duration::from_millis(500))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let said: Vec<&str> = outcome.findings.iter().map(|finding| finding.message.as_str()).collect();
            assert!(minute == 0 || told.is_empty() && said.is_empty() || said[0].contains(told), "{command}: {said:?}");
        }
        assert_eq!(asked(), "x\n", "{command}");
    }
}

/// S2.9: a command decides instead, and what it gets; what is needed stays, whatever it says.
#[tokio::test]
async fn a_command_decides_what_is_dropped() {
    let later = NOW + Duration::from_secs(7200);
    let table = [
        (format!("{{\\\"delete_older_than_epoch\\\": {}}}", secs(86_400)), 2),
        ("{\\\"delete_older_than_epoch\\\": null}".to_owned(), 3),
        (String::new(), 3),
        (format!("{}", later.as_secs()), 1),
    ];
    for (says, left) in table {
        let purge = format!("cat > asked.json; echo \\\"{}\\\"; touch done", says.replace('\\', "\\\\\\"));
        let place = Place::orders(&format!("extra = {{ team = 'shop' }}\npurge = \"{purge}\"\n{EXPECT}"));
        place.sql(&format!(
            "INSERT INTO orders VALUES (1, {}), (2, {}), (3, {})",
            later.as_secs() - 60,
            secs(7200),
            secs(90_000)
        ));
        place.counts(NOW).await;
        place.sql("DELETE FROM orders");
        let outcome = place.look(&place.policy().windows_at(later), later).await;
        assert!(outcome.findings.is_empty(), "{says}: {outcome:?}");
        place.stored_becomes(left, &says).await;
        while !place.folder.join("done").exists() {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let asked: Value = serde_json::from_slice(&std::fs::read(place.folder.join("asked.json")).unwrap()).unwrap();
        let expect = json!({
            "checker": "orders", "query": "SELECT id, at FROM orders", "source": "w", "extra": { "team": "shop" },
        });
        assert_eq!(asked, expect);
    }
    let place = Place::orders(&format!("purge = \"echo nonsense\"\n{EXPECT}"));
    place.counts(NOW).await;
    place.look(&[], later).await;
    // It is told by the next run that ends after it.
    for _ in 0..400 {
        let outcome = place.look(&[], later).await;
        if let Some(finding) = outcome.findings.first() {
            assert!(finding.message.contains("`nonsense`"), "{outcome:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nothing is said of it");
}

/// A store that can't be written judges nothing: what is not kept is not counted.
#[tokio::test]
async fn a_store_that_fails_judges_nothing() {
    let place = Place::orders(EXPECT);
    place.sql(&format!("INSERT INTO orders VALUES (1, {})", secs(10)));
    let broken = rusqlite::Connection::open(place.folder.join("rows.db")).unwrap();
    broken.execute_batch("CREATE TRIGGER t BEFORE INSERT ON seen BEGIN SELECT raise(ABORT, 'no'); END").unwrap();
    let outcome = place.look(&place.policy().windows_at(NOW), NOW).await;
    assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-store"), "{outcome:?}");
    assert_eq!((outcome.rows, outcome.inconclusive), (None, true));
}

/// What a check that measures brought: its metrics, its findings' parts and texts, and whether it could be judged.
fn brought(outcome: &Outcome) -> String {
    let metrics = outcome.metrics.iter().map(|m| format!("{}={}", m.name, m.value));
    let findings = outcome.findings.iter().map(|f| format!("{}: {}", f.part.as_deref().unwrap_or("-"), f.message));
    let unjudged = outcome.inconclusive.then(|| "unjudged".to_owned());
    metrics.chain(unjudged).chain(findings).collect::<Vec<_>>().join(" | ")
}

/// Runs checks that measure, one after the other; each must bring what begins so.
async fn measures(source: &str, cases: &[(&str, &str)]) {
    for (check, begins) in cases {
        let place = Place::new(&format!("value = true\n{check}"), source);
        place.sql("CREATE TABLE orders (id INTEGER, at INTEGER, note TEXT); INSERT INTO orders VALUES (1, 100, 'a'), (2, 700, 'b')");
        let outcome = place.look(&[], NOW).await;
        let said = brought(&outcome);
        assert!(said.starts_with(begins), "{check}\nwanted {begins}\nand is {said}");
        assert!(outcome.rows.is_none() && !outcome.summary.is_empty() && place.stored() == 0, "{check}: {outcome:?}");
        let news = outcome.source.unwrap_or_else(|| panic!("{check}: nothing is said of its source"));
        assert_eq!(news, SourceNews { source: Name::new("w"), problem: None }, "{check}");
        assert_eq!(outcome.phases.iter().map(|phase| phase.name.as_str()).collect::<Vec<_>>(), ["wait", "query"]);
    }
}

/// A number from a database: values, metrics, and each way in which an answer is none.
#[tokio::test]
async fn a_value_of_sqlite() {
    let value = "thresholds = ['value error > 3600']";
    let cases: Vec<(String, &str)> = [
        ("SELECT 1000 - max(at) FROM orders", value, "=300"),
        ("SELECT avg(at) AS value FROM orders", value, "=400"),
        ("SELECT count(*) AS n FROM orders", "thresholds = ['n warning > 1']", "n=2"),
        (
            "SELECT 1000 - max(at) AS age, count(*) AS n, avg(note IS NULL) AS nulls FROM orders",
            "thresholds = ['age error > 3600', 'nulls error > 0.1']",
            "age=300 | n=2 | nulls=0",
        ),
        ("SELECT '12.50'", value, "=12.5"),
        ("SELECT max(at) FROM orders WHERE id > 9", value, "value: `max(at)` is NULL: write `coalesce(max(at), …)`"),
        ("SELECT max(at) FROM orders WHERE id > 9", "thresholds = ['value ? error > 3600']", ""),
        ("SELECT NULL AS age, 3 AS n", "thresholds = ['age error > 9', 'n error > 9']", "n=3 | age: `age` is NULL"),
        ("SELECT 3 AS n", "thresholds = ['age error > 9']", "=3 | age: the answer has no column `age`, only `n`"),
        ("SELECT note, 5 AS n FROM orders LIMIT 1", "", "n=5 | note: `note` is `a`, which is no finite number"),
        (
            "SELECT datetime(at, 'unixepoch') AS at FROM orders LIMIT 1",
            value,
            "value: `at` is the time `1970-01-01 00:",
        ),
        ("SELECT x'ff00' AS b", value, "value: `b` is bytes"),
        ("SELECT 9e999 AS big", value, "value: `big` is `inf`"),
        ("SELECT at FROM orders WHERE id > 9", value, "unjudged | monitor-value: the query answered no row"),
        ("SELECT at FROM orders", value, "unjudged | monitor-value: the query answered more than one row"),
        ("SELECT 1 AS n, 2 AS n", "", "unjudged | monitor-value: two columns are called `n`"),
        ("SELECT nothing FROM orders", value, "unjudged | monitor-query: "),
    ]
    .map(|(query, more, begins)| (format!("query = \"{query}\"\n{more}"), begins))
    .into();
    let cases: Vec<(&str, &str)> = cases.iter().map(|(check, begins)| (check.as_str(), *begins)).collect();
    let optional = cases.iter().position(|(check, _)| check.contains("value ?")).unwrap();
    let (fine, rest) = (cases[optional], [&cases[..optional], &cases[optional + 1..]].concat());
    measures("url = 'sqlite:w.db'", &rest).await;
    // Where none is fine there is nothing to say.
    let place = Place::new(&format!("value = true\n{}", fine.0), "url = 'sqlite:w.db'");
    place.sql("CREATE TABLE orders (id INTEGER, at INTEGER)");
    assert_eq!(brought(&place.look(&[], NOW).await), "");
}

/// The same of a command, whose rows are JSON or CSV with as many columns as it likes.
#[tokio::test]
async fn a_value_of_a_command() {
    let source = "command = 'eval \"$WATCHBELL_QUERY\"'";
    measures(
        source,
        &[
            (r#"query = "echo '{\"value\": 12.5}'""#, "=12.5"),
            (r#"query = "echo '[{\"a\": 1, \"b\": \"2\", \"c\": 3.5, \"d\": 4}]'""#, "a=1 | b=2 | c=3.5 | d=4"),
            (r#"query = "echo '[7]'""#, "=7"),
            (r#"query = 'printf "age,n,nulls\n900.5,3,0\n"'"#, "age=900.5 | n=3 | nulls=0"),
            (r#"query = 'printf "age,n,nulls\n900.5,,0\n"'"#, "age=900.5 | nulls=0 | n: `n` is NULL"),
            (r#"query = 'printf "age\n1\n2\n"'"#, "unjudged | monitor-value: the query answered more than one row"),
            (r#"query = "echo '{\"ok\": true, \"n\": 1}'""#, "n=1 | ok: `ok` is the truth value `true`"),
            (r#"query = "echo '{\"tags\": [1], \"n\": 1}'""#, "n=1 | tags: `tags` is `[1]`, which is no finite"),
            (r#"query = "echo '[]'""#, "unjudged | monitor-value: the query answered no row"),
            (r#"query = 'true'"#, "unjudged | monitor-value: the query answered no row"),
            (r#"query = 'echo 5'"#, "unjudged | monitor-value: the query answered no row"),
            (r#"query = 'echo no such table >&2; exit 1'"#, "unjudged | monitor-query: "),
        ],
    )
    .await;
    // One that is away is the source's fault, as for rows.
    let place = Place::new("value = true\nquery = 'exit 69'", source);
    let outcome = place.look(&[], NOW).await;
    assert!(outcome.inconclusive && outcome.findings.is_empty(), "{outcome:?}");
    assert!(outcome.source.is_some_and(|news| news.problem.is_some()));
}
