//! Questions through Debian's drivers for SQLite and PostgreSQL.

use super::super::super::testing::{PASSWORD, ask, ask_within, policy, postgres, source, wrong};
use super::*;
use crate::{query::Source, source::testing::scratch};
use std::path::PathBuf;
use watchbell_core::{config::Secret, wire::rows::key_text};

/// Whether this driver is installed; in CI it must be.
fn driver(name: &str) -> bool {
    let there = environment().unwrap().drivers().unwrap().iter().any(|driver| driver.description == name);
    if !there {
        assert!(std::env::var_os("CI").is_none(), "the ODBC driver `{name}` is missing: run tools/deps");
        eprintln!("SKIPPED: there is no ODBC driver `{name}`");
    }
    there
}

/// A database of SQLite with a table.
fn database(name: &str) -> (PathBuf, Source) {
    let dir = scratch(name);
    let path = dir.join("app.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "create table kept (n integer, d decimal(9,2), f double, t varchar(20), at timestamp);
             insert into kept values (1, 1.50, 0.25, 'ä€', '2026-03-01 09:30:00');
             insert into kept values (9007199254740993, null, null, '', null);",
        )
        .unwrap();
    (dir, source(policy(&format!("odbc:Driver=SQLite3;Database={}", path.display()), None)))
}

/// S2.4: any ODBC source; types as its driver tells them.
#[tokio::test]
async fn sqlite_answers_through_odbc() {
    if !driver("SQLite3") {
        return;
    }
    let (dir, source) = database("odbc-sqlite");
    assert_eq!(source.preflight(), Vec::<String>::new());
    let answer = ask(&source, "select n, d, f, t, at from kept order by n").await.unwrap();
    assert_eq!(answer.columns, ["n", "d", "f", "t", "at"]);
    let civil = Cell::Civil("2026-03-01T09:30:00".parse().unwrap());
    assert_eq!(answer.rows[0][0], Cell::Integer(1));
    assert_eq!(key_text(&answer.rows[0][1]).as_deref(), Some("1.5"));
    assert_eq!(answer.rows[0][2..], [Cell::Float(0.25), Cell::Text("ä€".to_owned()), civil]);
    assert_eq!(answer.rows[1][0], Cell::Integer(9_007_199_254_740_993));
    assert_eq!(answer.rows[1][4], Cell::Null);
    assert_eq!(answer.rows[1][3], Cell::Text(String::new()));
    let found = ask(&source, "select n from kept where t = 'ä€'").await.unwrap();
    assert_eq!(found.rows.len(), 1, "the query is UTF-8");
    let none = ask(&source, "select n, t from kept where n < 0").await.unwrap();
    assert_eq!((none.columns.len(), none.rows.len()), (2, 0));
    std::fs::remove_dir_all(dir).unwrap();
}

/// Bad queries: syntax, writing, no columns, too many rows, too long values, no end.
#[tokio::test]
async fn sqlite_within_its_limits() {
    if !driver("SQLite3") {
        return;
    }
    let (dir, source) = database("odbc-limits");
    for (query, part) in [
        ("select 1\nfrm kept", "syntax error"),
        ("select * from nowhere", "no such table"),
        ("insert into kept (n) values (7)", "readonly"),
        ("delete from kept", "readonly"),
        ("select hex(zeroblob(65536)) as long", "a value of `long` has more than 65536 characters"),
    ] {
        let text = wrong(&source, query).await;
        assert!(text.contains(part) && !text.contains('\n'), "`{query}`: {text}");
        assert_eq!(ask(&source, "select n from kept").await.unwrap().rows.len(), 2, "`{query}` wrote");
    }
    let million =
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 1000000) select n, n from t";
    let few = ask_within(&source, million, 100, Duration::from_secs(30)).await.unwrap();
    assert_eq!((few.rows.len(), few.truncated), (100, true));
    let long = "with recursive t(n) as (select 1 union all select n + 1 from t where n < 5000000) select max(n) from t";
    let begun = Instant::now();
    let trouble = ask_within(&source, long, 100, Duration::from_millis(200)).await;
    assert!(matches!(&trouble, Err(Trouble::Slow(_))), "{trouble:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    std::fs::remove_dir_all(dir).unwrap();
}

/// A source that is not there, and addresses that are none; secrets show nowhere.
#[tokio::test]
async fn what_can_not_be_reached() {
    for (url, part) in [
        ("odbc:DSN=there-is-none;UID=me", "odbcinst -q -s"),
        ("odbc:Driver={No such driver};PWD=hunter2-secret", "No such driver"),
    ] {
        let mut policy = policy(url, Some("hunter3-secret"));
        policy.connect_timeout = Duration::from_secs(5);
        let source = source(policy);
        let trouble = ask(&source, "select 1, 2").await.unwrap_err();
        let Trouble::Away(text) = &trouble else { panic!("{url}: {trouble:?}") };
        assert!(text.contains(part) || text.contains("can't connect"), "{url}: {text}");
        let all = format!("{text} {source:?}");
        assert!(!all.contains("hunter") && !text.contains('\n'), "{url}: {all}");
    }
    let said = source(policy("odbc:warehouse", None)).preflight();
    assert!(said[0].contains("connection string"), "{said:?}");
    assert_eq!(passwords("UID=a;pwd={x;Password = y"), ["{x", "x", "y", "y"]);
    assert_eq!((braced("abc1"), braced("a;}%")), ("abc1".to_owned(), "{a;}}%}".to_owned()));
}

/// S2.4: PostgreSQL through ODBC: read only, with the driver's own time limit, a wrong password is away.
#[tokio::test]
async fn postgresql_answers_through_odbc() {
    let (true, Some(server)) = (driver("PostgreSQL Unicode"), postgres()) else { return };
    let url = url::Url::parse(&server.url("")).unwrap();
    let attributes = format!(
        "odbc:Driver={{PostgreSQL Unicode}};Server=127.0.0.1;Port={};Database={};UID={};SSLmode=disable",
        url.port().unwrap_or(5432),
        url.path().trim_start_matches('/'),
        url.username(),
    );
    let place = |password: &str| {
        let mut policy = policy(&attributes, None);
        if let SourcePlace::Url { password: slot, .. } = &mut policy.place {
            *slot = Some(Secret::Value(password.to_owned()));
        }
        source(policy)
    };
    let source = place(PASSWORD);
    let answer = ask(
        &source,
        "select 1::int8 as k, 1.50::numeric(9,2), 0.25::float8, 'ä€'::text, timestamp '2026-03-01 09:30:00', '\\x00ff'::bytea, null::int",
    )
    .await
    .unwrap();
    let civil = Cell::Civil("2026-03-01T09:30:00".parse().unwrap());
    let text = Cell::Text("ä€".to_owned());
    let (decimal, bytes) = (Cell::Decimal("1.50".to_owned()), Cell::Bytes(vec![0, 255]));
    assert_eq!(answer.rows, [vec![Cell::Integer(1), decimal, Cell::Float(0.25), text, civil, bytes, Cell::Null]]);
    for (query, part) in
        [("select 1\nfrm x", "syntax error"), ("create table written (n int)", "read-only transaction")]
    {
        let text = wrong(&source, query).await;
        assert!(text.contains(part) && !text.contains('\n'), "`{query}`: {text}");
    }
    let slow = ask_within(&source, "select pg_sleep(60), 1", 10, Duration::from_millis(1_500)).await;
    assert!(matches!(&slow, Err(Trouble::Slow(_))), "{slow:?}");
    assert!(ask(&source, "select 1, 2").await.is_ok(), "it can be asked again");
    let trouble = ask(&place("hunter2-wrong"), "select 1, 2").await.unwrap_err();
    assert!(matches!(&trouble, Trouble::Away(text) if !text.contains("hunter2")), "{trouble:?}");
}
