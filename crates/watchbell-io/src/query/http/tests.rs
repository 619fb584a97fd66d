//! Questions to servers on loopback that play every answer, plain and over TLS.

use super::super::testing::{ask, ask_within, policy, source};
use super::*;
use crate::{
    query::Source,
    shared::tls::testing::{Authority, Wish, serve_tls},
    source::testing::{Play, Server, nobody, scratch, serve, serve_with},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watchbell_core::model::Cell;

const SECRET: &str = "hunter2-very-secret";
type Heard = Arc<Mutex<Vec<String>>>;

/// A server that answers by the path of the request.
async fn site(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> (Server, Heard) {
    let heard = Heard::default();
    let log = heard.clone();
    let server = serve_with(move |mut stream| {
        let (log, answer) = (log.clone(), answer.clone());
        async move {
            let request = read_request(&mut stream).await;
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            log.lock().unwrap().push(request);
            let _ = stream.write_all(answer(&path).as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    (server, heard)
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.and_then(|l| l.parse().ok()).unwrap_or(0) {
                return text;
            }
        }
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return text,
        }
    }
}

fn page(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A source of this address, with changes to what the config says.
fn place_at(url: &str, change: impl FnOnce(&mut HttpSource, &mut Option<Secret>, &mut Option<String>)) -> Source {
    let mut policy = policy(url, None);
    if let SourcePlace::Url { http, password, ca, .. } = &mut policy.place {
        change(http, password, ca);
    }
    source(policy)
}

fn plain(url: &str) -> Source {
    place_at(url, |_, _, _| {})
}

/// S2.4: the query is joined to the address for GET.
#[test]
fn addresses_are_joined() {
    for (base, query, expect) in [
        ("https://h", "", "https://h/"),
        ("https://h/api", "", "https://h/api"),
        ("https://h/api/?tenant=7", "orders?limit=10", "https://h/api/orders?tenant=7&limit=10"),
        ("https://h/api", "/orders", "https://h/api/orders"),
        ("https://h/api", "?a=1", "https://h/api?a=1"),
        ("https://h/api#x", "a b\n  /c?d=e f\n  &g=#1", "https://h/api/a%20b/c?d=e%20f&g=%231"),
        ("https://h/", "a?u=https://other/", "https://h/a?u=https://other/"),
        ("https://h:8443/x/", "ä%20", "https://h:8443/x/%C3%A4%20"),
    ] {
        assert_eq!(joined(&Url::parse(base).unwrap(), query).unwrap().as_str(), expect, "{base} {query}");
    }
    let wrong = joined(&Url::parse("https://h").unwrap(), "https://other/x").unwrap_err();
    assert!(wrong.contains("without `https://`"), "{wrong}");
}

#[test]
fn bodies_have_the_type_they_look_like() {
    for (body, expect) in [
        ("{\"a\":1}", "application/json"),
        ("[1]", "application/json"),
        ("<q/>", "application/xml"),
        ("a=1&b=2", "application/x-www-form-urlencoded"),
        ("SELECT a=1", "text/plain; charset=utf-8"),
        ("", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(content_type(body), expect, "{body}");
    }
}

/// S2.4: an HTTP endpoint that answers JSON or CSV rows, asked by GET or POST, with headers and passwords.
#[tokio::test]
async fn rows_are_asked_for() {
    let (server, heard) = site(|path| match path {
        "/json?n=1" => page("200 OK", "[{\"key\": 1, \"time\": 2.5}]"),
        "/csv" => page("200 OK", "key,time\na,2\n"),
        "/chunked" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[[1,2]\r\n1\r\n]\r\n0\r\n\r\n".to_owned()
        }
        "/moved" => "HTTP/1.1 302 Found\r\nLocation: /csv\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "/empty" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        _ => page("200 OK", "{\"rows\": [[\"a\", 1], [\"b\", 2]]}"),
    })
    .await;
    let url = format!("http://{}", server.address);
    let get = plain(&url);
    let answer = ask(&get, "json?n=1").await.unwrap();
    assert_eq!(
        (answer.columns, answer.rows),
        (vec!["key".into(), "time".into()], vec![vec![Cell::Integer(1), Cell::Decimal("2.5".into())]])
    );
    for (query, rows) in [("/csv", 1), ("chunked", 1), ("moved", 1), ("empty", 0)] {
        assert_eq!(ask(&get, query).await.unwrap().rows.len(), rows, "{query}");
    }
    let post = place_at(&url.replace("http://", "http://al%20ice@"), |http, password, _| {
        http.post = true;
        http.headers.insert("X-Token".to_owned(), Secret::Value(SECRET.to_owned()));
        http.format = RowFormat::Json { jq: Some(".rows[]".to_owned()) };
        *password = Some(Secret::Value("p:ä".to_owned()));
    });
    assert_eq!(ask(&post, "{\"from\": 1}").await.unwrap().rows.len(), 2);
    let bearer = place_at(&url, |http, password, _| {
        http.headers.insert("Accept".to_owned(), Secret::Value("text/csv".to_owned()));
        *password = Some(Secret::Value(SECRET.to_owned()));
    });
    ask(&bearer, "csv").await.unwrap();
    let heard = heard.lock().unwrap();
    let lines = |n: usize| heard[n].to_lowercase();
    let posted = lines(heard.len() - 2);
    for part in [
        "post / http/1.1",
        "x-token: hunter2",
        "content-type: application/json",
        "{\"from\": 1}",
        "authorization: basic ywwgawnlonA6w6Q=",
    ] {
        assert!(posted.contains(&part.to_lowercase()), "{part}: {posted}");
    }
    let got = lines(heard.len() - 1);
    assert!(got.contains(&format!("authorization: bearer {SECRET}")) && got.contains("accept: text/csv\r\n"), "{got}");
}

/// Bad answers: what is away, what is wrong, each with a hint and without a secret.
#[tokio::test]
async fn bad_answers_are_told_apart() {
    let (server, _) = site(|path| match path.trim_start_matches('/') {
        "401" => page("401 Unauthorized", &format!("no user with token {SECRET}")),
        "403" => page("403 Forbidden", ""),
        "404" => page("404 Not Found", "no such page"),
        "400" => page("400 Bad Request", "syntax error near 'FRM'"),
        "429" => page("429 Too Many Requests", ""),
        "503" => page("503 Service Unavailable", "over\nloaded"),
        "away" => {
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/login\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        "loop" => "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "dropped" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[[1,2],".to_owned(),
        "html" => page("200 OK", "<html>log in</html>"),
        "syntax" => page("200 OK", &format!("[[1,2],\n[{SECRET}]]")),
        _ => "garbage\r\n\r\n".to_owned(),
    })
    .await;
    let source = place_at(&format!("http://{}", server.address), |http, _, _| {
        http.headers.insert("Authorization".to_owned(), Secret::Value(format!("Token {SECRET}")));
    });
    for (query, away, part) in [
        ("401", true, "answered 401: no user with token ***; check the password"),
        ("403", true, "answered 403; check the password"),
        ("404", false, "answered 404: no such page; check the address"),
        ("400", false, "answered 400: syntax error near 'FRM'"),
        ("429", true, "fewer questions"),
        ("503", true, "answered 503: over loaded"),
        ("away", true, "leads elsewhere"),
        ("loop", true, "answered 302"),
        ("dropped", true, "broke off after 7 bytes"),
        ("html", false, "looks like HTML"),
        ("syntax", false, "line 2, column 2"),
        ("garbage", true, "no answer from"),
    ] {
        let trouble = ask(&source, query).await.unwrap_err();
        let (is_away, text) = match &trouble {
            Trouble::Away(text) => (true, text),
            Trouble::Wrong(text) => (false, text),
            Trouble::Slow(text) | Trouble::Broken(text) => panic!("{query}: {text}"),
        };
        assert!(is_away == away && text.contains(part), "{query}: {trouble:?}");
        assert!(!text.contains(SECRET) && !text.contains('\n'), "{query}: {text}");
    }
    assert!(!format!("{source:?}").contains(SECRET), "{source:?}");
}

/// A source that is not there, that hangs, that floods.
#[tokio::test]
async fn away_slow_and_without_end() {
    let away = ask(&plain(&format!("http://{}", nobody().await)), "x").await.unwrap_err();
    assert!(matches!(&away, Trouble::Away(text) if text.contains("can't connect to")), "{away:?}");
    let server = serve(Play::hang()).await;
    let limit = Duration::from_millis(400);
    let slow = ask_within(&plain(&format!("http://{}", server.address)), "x", 10, limit).await.unwrap_err();
    assert!(matches!(&slow, Trouble::Slow(text) if text.contains("no complete answer")), "{slow:?}");
    let half = serve(Play::answer("GET /x", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[[1,").then_hang()).await;
    let slow = ask_within(&plain(&format!("http://{}", half.address)), "x", 10, limit).await.unwrap_err();
    assert!(matches!(&slow, Trouble::Slow(_)), "{slow:?}");
    let flood = serve_with(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let block = vec![b' '; 1 << 20];
        while stream.write_all(&block).await.is_ok() {}
    })
    .await;
    let wrong = ask(&plain(&format!("http://{}", flood.address)), "x").await.unwrap_err();
    assert!(matches!(&wrong, Trouble::Wrong(text) if text.contains("more than 64 MiB")), "{wrong:?}");
}

/// A certificate of one's own authority is trusted with `ca` and not without.
#[tokio::test]
async fn tls() {
    let authority = Authority::new("http-source");
    let server = serve_tls(authority.issue(Wish::good()), |mut stream| async move {
        let _ = read_request(&mut stream).await;
        let _ = stream.write_all(page("200 OK", "[[1,2]]").as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let url = format!("https://localhost:{}", server.address.port());
    let away = ask(&plain(&url), "x").await.unwrap_err();
    assert!(
        matches!(&away, Trouble::Away(text) if text.contains("UnknownIssuer") || text.contains("certificate")),
        "{away:?}"
    );
    let trusting = place_at(&url, |_, _, ca| *ca = Some(authority.ca_path()));
    assert_eq!(ask(&trusting, "x").await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn what_is_missing_is_said_before() {
    let dir = scratch("http-source");
    let source = place_at("https://h.example", |http, password, ca| {
        *ca = Some(dir.join("no.pem").display().to_string());
        *password = Some(Secret::Env("WATCHBELL_TEST_NOT_SET".to_owned()));
        http.headers = BTreeMap::from([("X".to_owned(), Secret::File("/nowhere".to_owned()))]);
    });
    assert_eq!(source.preflight().len(), 3, "{:?}", source.preflight());
    assert!(matches!(ask(&source, "x").await, Err(Trouble::Away(text)) if text.contains("WATCHBELL_TEST_NOT_SET")));
    for (url, part) in [("http://", "no address"), ("https:///x y", "")] {
        let said = plain(url).preflight();
        assert!(said.iter().any(|text| text.contains(part)) || part.is_empty(), "{url}: {said:?}");
    }
    let bad = place_at("https://h", |http, _, _| http.format = RowFormat::Json { jq: Some(".[".to_owned()) });
    assert!(bad.preflight()[0].contains("`jq`: line 1"), "{:?}", bad.preflight());
    std::fs::remove_dir_all(dir).unwrap();
}
