//! Sources that change, can't be reached, or answer some and not others.

use super::{
    testing::{ask, ask_within, policy, source},
    *,
};
use crate::source::testing::scratch;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watchbell_core::config::Secret;

fn of_secret(url: Secret) -> SourcePolicy {
    let mut policy = policy("", None);
    if let SourcePlace::Url { url: place, .. } = &mut policy.place {
        *place = url;
    }
    policy
}

/// What stands in the wrong variable or file is a secret, and told in no text; what is a scheme is told.
#[tokio::test]
async fn an_address_that_is_none_is_not_shown() {
    let dir = scratch("query-address");
    let path = dir.join("url").display().to_string();
    for (written, shown) in [
        ("host=db user=watch password=hunter2", ""),
        ("password=hunter2:x", ""),
        ("hunter2", ""),
        ("hunter2:x@db/shop", ""),
        ("Hunter2://x", ""),
        ("", ""),
        ("redshift://watch:hunter2@db/shop", "`redshift:`"),
    ] {
        std::fs::write(&path, written).unwrap();
        for url in [Secret::File(path.clone()), Secret::Value(written.to_owned())] {
            let source = source(of_secret(url));
            let told = format!("{:?} {:?}", source.preflight(), ask(&source, "select 1").await);
            assert!(!told.to_lowercase().contains("hunter2") && told.contains(shown), "{written}: {told}");
            // A file with nothing in it is said to be empty; what else is no address is told which there are.
            let says_why = told.contains("postgres") || (written.is_empty() && told.contains("is empty"));
            assert!(says_why && told.contains("Away"), "{written}: {told}");
        }
    }
    let source = source(of_secret(Secret::Env("WATCHBELL_TEST_NOT_SET".to_owned())));
    assert!(source.preflight()[0].contains("`WATCHBELL_TEST_NOT_SET` is not set"), "{:?}", source.preflight());
    std::fs::remove_dir_all(dir).unwrap();
}

/// S2.4: an address is read again for each question: one that was not there at the start, and one that is changed.
#[tokio::test]
async fn an_address_counts_as_it_is_now() {
    let dir = scratch("query-rotated");
    let database = |name: &str| {
        let path = dir.join(name);
        rusqlite::Connection::open(&path).unwrap().execute_batch(&format!("create table {name} (n)")).unwrap();
        format!("sqlite:{}\n", path.display())
    };
    let (one, two) = (database("one"), database("two"));
    let path = dir.join("url");
    let policy = Arc::new(of_secret(Secret::File(path.display().to_string())));
    let first = sources(&BTreeMap::from([(policy.name.clone(), policy.clone())]), &BTreeMap::new());
    let source = &first[&policy.name];
    assert!(matches!(ask(source, "select n from one").await, Err(Trouble::Away(_))));
    std::fs::write(&path, &one).unwrap();
    assert!(ask(source, "select n from one").await.is_ok());
    std::fs::write(&path, &two).unwrap();
    assert!(ask(source, "select n from two").await.is_ok());
    assert!(matches!(ask(source, "select n from one").await, Err(Trouble::Wrong(_))));
    std::fs::remove_dir_all(dir).unwrap();
}

/// A status for what is asked, or none.
type Answers = Arc<dyn Fn(&str) -> Option<&'static str> + Send + Sync>;

/// A server that accepts and says nothing, unless it is told to answer like a web server.
async fn server(answers: Answers) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Relaxed);
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
                match answers(&asked) {
                    Some(status) => {
                        let text =
                            format!("HTTP/1.1 {status}\r\nContent-Length: 7\r\nConnection: close\r\n\r\n[[1,2]]");
                        let _ = stream.write_all(text.as_bytes()).await;
                    }
                    None => std::future::pending().await,
                }
            });
        }
    });
    (format!("127.0.0.1:{port}"), count)
}

/// S2.10: a source that accepts and says nothing is found out once, and not by each question anew; soon after it answers
/// again, so does each question.
#[tokio::test]
async fn an_outage_is_found_out_once() {
    let (address, tries) = server(Arc::new(|_| None)).await;
    let dir = scratch("query-outage");
    let path = dir.join("url");
    std::fs::write(&path, format!("postgres://watch@{address}/shop")).unwrap();
    let url = Secret::File(path.display().to_string());
    let wait = Duration::from_millis(1000);
    let source = Arc::new(source(SourcePolicy { connect_timeout: wait, ..of_secret(url) }));
    let shared = Shared::new().unwrap();
    let begun = Instant::now();
    let round = || {
        let ask = |n: u32| {
            let (source, shared) = (source.clone(), shared.clone());
            tokio::spawn(async move {
                let (query, timeout) = (format!("select {n}"), Duration::from_secs(30));
                let ask = Ask {
                    query: &query,
                    checker: "c",
                    extra: None,
                    rows_max: 9,
                    all_columns: false,
                    timeout,
                    shared: &shared,
                };
                source.ask(&ask).await.answer
            })
        };
        (0..300).map(ask).collect::<Vec<_>>()
    };
    let mut away = 0;
    for task in round() {
        away +=
            u32::from(matches!(task.await.unwrap(), Err(Trouble::Away(text)) if text.contains("no connection with")));
    }
    assert_eq!(away, 300);
    assert!(begun.elapsed() < wait * 3, "{:?}", begun.elapsed());
    assert_eq!(tries.load(Relaxed), 4, "as many as it has connections");
    tokio::time::sleep(wait * 2).await;
    let again = Instant::now();
    for task in round() {
        assert!(matches!(task.await.unwrap(), Err(Trouble::Away(_))));
    }
    assert!(again.elapsed() < wait * 3 && tries.load(Relaxed) == 5, "one tries: {tries:?}, {:?}", again.elapsed());
    // One that is given up on leaves the try to the next.
    tokio::time::sleep(wait * 2).await;
    assert!(tokio::time::timeout(wait / 4, ask(&source, "select 1")).await.is_err());
    assert!(tokio::time::timeout(wait / 4, ask(&source, "select 1")).await.is_err());
    let database = dir.join("db");
    rusqlite::Connection::open(&database).unwrap().execute_batch("create table t (n)").unwrap();
    std::fs::write(&path, format!("sqlite:{}", database.display())).unwrap();
    assert!(ask_within(&source, "select n from t", 1, wait).await.is_ok());
    std::fs::remove_dir_all(dir).unwrap();
}

/// A path that is refused while others are answered is its check's problem; a server that refuses all is away.
#[tokio::test]
async fn one_query_that_breaks_is_not_the_source() {
    let down = Arc::new(AtomicUsize::new(0));
    let (address, _) = server(Arc::new({
        let down = down.clone();
        move |asked| match asked {
            asked if asked.contains("secret") => Some("403 Forbidden"),
            asked if asked.contains("heavy") => Some("502 Bad Gateway"),
            _ if down.load(Relaxed) > 0 => Some("503 Service Unavailable"),
            _ => Some("200 OK"),
        }
    }))
    .await;
    let source = source(policy(&format!("http://{address}/"), None));
    let say = async |query: &str| match ask(&source, query).await {
        Ok(_) => "answer",
        Err(Trouble::Broken(_)) => "broken",
        Err(Trouble::Away(_)) => "away",
        other => panic!("{other:?}"),
    };
    assert_eq!(say("secret").await, "away", "nobody was ever answered");
    assert_eq!(say("orders").await, "answer");
    for round in 0..3 {
        assert_eq!(say("secret").await, "broken", "{round}");
        // The first time it can't be told from the beginning of an outage.
        assert_eq!(say("heavy").await, if round == 0 { "away" } else { "broken" }, "{round}");
        assert_eq!(say("orders").await, "answer", "{round}");
        assert_eq!(say("users").await, "answer", "{round}");
    }
    down.store(1, Relaxed);
    assert_eq!(say("orders").await, "broken", "one alone may be its own fault");
    for query in ["users", "orders", "secret", "heavy", "users", "secret"] {
        let first_since = query == "secret" || query == "heavy";
        let said = say(query).await;
        assert!(said == "away" || first_since, "{query}: {said}");
    }
    assert_eq!(say("secret").await, "away");
    down.store(0, Relaxed);
    assert_eq!(say("orders").await, "answer");
    assert_eq!(say("secret").await, "broken");
}
