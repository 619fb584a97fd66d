//! What every place that speaks SQL must do, as one suite over all of them; and servers of our own to ask.

use super::{Ask, Source, Trouble};
use crate::shared::Shared;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{CONNECTIONS_DEFAULT, HttpSource, ROWS_DEFAULT, Secret, SourcePlace, SourcePolicy},
    model::{Answer, Cell, Name},
};

/// So long has a question that should be answered.
const PLENTY: Duration = Duration::from_secs(30);

/// One place, with words it understands. There is a table `kept` with a column `n` and one row, 1.
pub(crate) struct Case {
    pub(crate) url: String,
    pub(crate) password: Option<&'static str>,
    /// Expressions and what they are.
    pub(crate) types: Vec<(&'static str, Cell)>,
    /// Makes a million rows.
    pub(crate) million: &'static str,
    /// Does not end by itself within minutes.
    pub(crate) hang: &'static str,
    /// Queries that are wrong, and part of what is said.
    pub(crate) wrongs: Vec<(&'static str, &'static str)>,
    /// Queries that write, and part of what is said.
    pub(crate) writes: Vec<(&'static str, &'static str)>,
}

pub(crate) fn policy(url: &str, password: Option<&str>) -> SourcePolicy {
    SourcePolicy {
        name: Name::new("db"),
        file: "sources.toml".to_owned(),
        place: SourcePlace::Url {
            url: Secret::Value(url.to_owned()),
            password: password.map(|text| Secret::Value(text.to_owned())),
            ca: None,
            http: HttpSource::default(),
        },
        connections_max: CONNECTIONS_DEFAULT,
        rows_max: ROWS_DEFAULT,
        connect_timeout: Duration::from_secs(10),
    }
}

pub(crate) fn source(policy: SourcePolicy) -> Source {
    Source::new(Arc::new(policy))
}

pub(crate) async fn ask_within(
    source: &Source,
    query: &str,
    rows_max: usize,
    timeout: Duration,
) -> Result<Answer, Trouble> {
    let shared = Shared::new().unwrap();
    source.ask(&Ask { query, rows_max, timeout, shared: &shared }).await
}

pub(crate) async fn ask(source: &Source, query: &str) -> Result<Answer, Trouble> {
    ask_within(source, query, ROWS_DEFAULT, PLENTY).await
}

/// The text of [`Trouble::Wrong`], which it must be.
pub(crate) async fn wrong(source: &Source, query: &str) -> String {
    match ask(source, query).await {
        Err(Trouble::Wrong(text)) => text,
        other => panic!("`{query}`: {other:?}"),
    }
}

/// What every place must do.
pub(crate) async fn suite(case: &Case) {
    let source = source(policy(&case.url, case.password));
    assert_eq!(source.preflight(), Vec::<String>::new());
    types(case, &source).await;
    shapes(&source).await;
    limits(case, &source).await;
    for (query, part) in &case.wrongs {
        let text = wrong(&source, query).await;
        assert!(text.contains(part) && !text.contains('\n'), "`{query}`: {text}");
    }
    for (query, part) in &case.writes {
        let text = wrong(&source, query).await;
        assert!(text.contains(part), "`{query}`: {text}");
        let kept = ask(&source, "select n from kept").await.unwrap();
        assert_eq!(kept.rows, [[Cell::Integer(1)]], "`{query}` wrote");
    }
}

async fn types(case: &Case, source: &Source) {
    let columns: Vec<String> = case.types.iter().enumerate().map(|(i, (sql, _))| format!("{sql} as c{i}")).collect();
    let answer = ask(source, &format!("select {}", columns.join(", "))).await.unwrap();
    for ((sql, expect), (name, got)) in case.types.iter().zip(answer.columns.iter().zip(&answer.rows[0])) {
        assert_eq!(got, expect, "`{sql}` in `{name}`");
    }
    assert_eq!(answer.columns.len(), case.types.len());
}

/// No rows, one column, columns of one name, comments, a semicolon.
async fn shapes(source: &Source) {
    let none = ask(source, "select n, n as m from kept where n > 1").await.unwrap();
    assert_eq!(none, Answer { columns: vec!["n".to_owned(), "m".to_owned()], ..Answer::default() });
    let one = ask(source, "-- all\nselect n from kept /* the one */;").await.unwrap();
    assert_eq!((one.rows, one.truncated), (vec![vec![Cell::Integer(1)]], false));
    let twice = ask(source, "select n, n from kept").await.unwrap();
    assert_eq!((twice.columns, twice.rows[0].len()), (vec!["n".to_owned(); 2], 2));
}

async fn limits(case: &Case, source: &Source) {
    let begun = Instant::now();
    let answer = ask_within(source, case.million, 100, PLENTY).await.unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (100, true));
    let first = ask_within(source, "select n from kept", 1, PLENTY).await.unwrap();
    assert_eq!((first.rows.len(), first.truncated), (1, false), "as many as the limit are not too many");
    assert!(begun.elapsed() < Duration::from_secs(10), "the rest was read: {:?}", begun.elapsed());

    let begun = Instant::now();
    let limit = Duration::from_millis(400);
    let trouble = ask_within(source, case.hang, 100, limit).await;
    assert!(matches!(&trouble, Err(Trouble::Slow(text)) if text.contains("was stopped")), "{trouble:?}");
    assert!(begun.elapsed() >= limit / 2 && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(ask(source, "select n from kept").await.is_ok(), "it can be asked again");
}
