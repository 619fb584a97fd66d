//! HTTP checks against servers on loopback that play every answer, plain and over TLS.

use super::super::testing::{self, Play, Server, nobody, read, run, run_program, run_within, serve, serve_with};
use super::{BODY_BYTES_DEFAULT, KIND, Prepared, REDIRECTS_DEFAULT};
use crate::shared::tls::testing::{Authority, Wish, serve_tls};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn the_config_is_read() {
    testing::example(&KIND);
    testing::problems(
        &KIND,
        &[
            ("http = \"example.com\"", "is no URL: relative URL without a base"),
            ("http = \"ftp://example.com/\"", "`ftp` is no scheme"),
            ("http = \"http://\"", "is no URL"),
            ("http = \"http://a:b@host/\"", "must not stand in the URL"),
            ("http = \"http://h/\"\nstatus = 20", "`20` is no HTTP status"),
            ("http = \"http://h/\"\nstatus = \"299-200\"", "the lower number comes first"),
            ("http = \"http://h/\"\nstatus = []", "`status` can't be an array"),
            ("http = \"http://h/\"\nstatus = [200, true]", "`status` can't be a boolean"),
            ("http = \"http://h/\"\nmatches = \"[\"", "is not a regular expression"),
            ("http = \"http://h/\"\njson = \".a |\"", "`json` is no jq filter: line 1, column 5: expected term"),
            (
                "http = \"http://h/\"\nvalue = \"foo\"",
                "`value` is no jq filter: line 1, column 1: there is no filter `foo`",
            ),
            ("http = \"http://h/\"\nuser = \"x\"", "`user` needs `password`"),
            ("http = \"http://h/\"\npassword = { env = \"X\" }", "`password` needs `user`"),
            ("http = \"http://h/\"\npassword = \"x\"\nuser = \"x\"", "must not stand in a file"),
            ("http = \"http://h/\"\nbearer = { env = \"X\" }\nuser = \"x\"", "can't both be sent"),
            ("http = \"http://h/\"\nheaders = { \"a b\" = \"x\" }", "`a b` is no name of a header"),
            ("http = \"http://h/\"\nheaders = { a = \"x\\ny\" }", "characters that can't be sent"),
            ("http = \"http://h/\"\nmethod = \"GE T\"", "is no method"),
            ("http = \"http://h/\"\nredirects = 21", "must be from 0 to 20"),
            ("http = \"http://h/\"\nmax_body = 0", "must be from 1"),
            ("http = \"http://h/\"\nclient_cert = \"x\"", "needs its `client_key`"),
            ("http = \"http://h/\"\ncontain = \"x\"", "did you mean `contains`?"),
        ],
    );
}

/// Requests that a server heard.
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

/// S3.15: HTTP with URL, expected status, expected text; patterns and JSON beside.
#[tokio::test]
async fn answers_are_judged() {
    let (server, _) = site(|path| match path {
        "/ok" => page("200 OK", "all is ok"),
        "/created" => page("201 Created", ""),
        "/json" => page("200 OK", r#"{"status": "ok", "n": 41.5, "list": [1, 2]}"#),
        "/cut" => page("200 OK", &"x".repeat(BODY_BYTES_DEFAULT + 1)),
        "/gzip" => "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        "/until-close" => "HTTP/1.1 200 OK\r\n\r\nok until the end".to_owned(),
        _ => page("404 Not Found", "no such page"),
    })
    .await;
    for (path, more, expect) in [
        ("/ok", "", ""),
        ("/ok", "status = 200\ncontains = \"is ok\"\nmatches = \"^all .* ok$\"", ""),
        ("/ok", "status = 201", "status 200, expected 201"),
        ("/ok", "contains = \"great\"", "the body does not contain \"great\""),
        ("/ok", "matches = \"^ok\"", "the body does not match `^ok`"),
        ("/ok", "contains = \"a\"\nmatches = \"^ok\"", "the body does not match `^ok`"),
        ("/ok", "contains = \"z\"\nmatches = \"^ok\"", "does not contain \"z\"; the body does not match `^ok`"),
        ("/created", "", ""),
        ("/created", "status = [200, \"204-299\"]", "status 201, expected 200, 204-299"),
        ("/created", "status = \"200, 201\"", ""),
        ("/gone", "contains = \"x\"", "status 404, expected 200-299 — GET http"),
        ("/gone", "status = \"400-499\"", ""),
        ("/json", "json = '.status == \"ok\"'", ""),
        ("/json", "json = '.status == \"bad\"'", "`.status == \"bad\"` puts out `false`, expected `true`"),
        ("/json", "json = '.list[] > 1'", "puts out `false, true`, expected `true`"),
        ("/json", "json = 'empty'", "puts out nothing"),
        ("/json", "json = '.status.x'", "`.status.x` fails: cannot index"),
        ("/json", "value = '.n'", ""),
        ("/json", "value = '.list[]'", "puts out `1, 2`, expected one number"),
        ("/json", "value = '.status'", "puts out `\"ok\"`, expected one number"),
        ("/ok", "value = '.n'", "the body is no JSON: line 1, column 1: expected value"),
        ("/cut", "", ""),
        ("/cut", "contains = \"xxx\"", ""),
        ("/cut", "contains = \"y\"", "(in its first 1048576 bytes; `max_body` says how many are read)"),
        ("/cut", "json = '.'", "too many to be read as JSON; raise `max_body`"),
        ("/cut", "json = '.'\nmax_body = 2000000", "the body is no JSON"),
        ("/gzip", "contains = \"y\"", "it is sent as `gzip`, although that was not asked for"),
        ("/chunked", "matches = \"^ok$\"", ""),
        ("/until-close", "matches = \"the end$\"", ""),
    ] {
        let outcome = run(&KIND, &format!("http = \"http://{}{path}\"\n{more}", server.address)).await;
        let said = outcome.findings.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("|");
        assert_eq!(said.is_empty(), expect.is_empty(), "{path} {more}: {outcome:?}");
        assert!(said.contains(expect), "{path} {more}: expected {expect}\n{outcome:?}");
        assert!(outcome.findings.iter().all(|f| f.part.is_none() && f.escalates) && !outcome.inconclusive);
    }
}

#[tokio::test]
async fn what_was_measured_is_in_the_outcome() {
    let (server, _) = site(|_| page("200 OK", r#"{"n": 41.5}"#)).await;
    let config = format!("http = \"http://{}/\"\nvalue = '.n'", server.address);
    let outcome = run(&KIND, &config).await;
    let metrics: Vec<_> = outcome.metrics.iter().map(|m| (m.name.as_str(), m.unit.as_deref().unwrap_or(""))).collect();
    let names = ["time_total", "time_dns", "time_connect", "time_first_byte", "time_transfer"];
    let mut expect = vec![("", "")];
    expect.extend(names.map(|n| (n, "s")));
    expect.push(("size", "B"));
    assert_eq!(metrics, expect);
    assert_eq!(outcome.metrics[0].value, 41.5);
    let phases: Vec<_> = outcome.phases.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(phases, ["dns", "connect", "first_byte", "transfer"]);
    assert!(outcome.phases.iter().map(|p| p.seconds).sum::<f64>() <= outcome.took.as_secs_f64());
    assert!(outcome.summary.starts_with("status 200, 11 bytes in "), "{}", outcome.summary);
}

#[tokio::test]
async fn a_finding_shows_the_page_and_no_times() {
    let (server, _) = site(|_| page("503 Service Unavailable", &format!("down {}", "z".repeat(5000)))).await;
    let url = format!("http://{}/health", server.address);
    let outcome = run(&KIND, &format!("http = \"{url}\"")).await;
    assert_eq!(outcome.findings[0].message, format!("status 503, expected 200-299 — GET {url}"));
    assert!(outcome.findings[0].detail.starts_with("down zzz") && outcome.findings[0].detail.len() < 600);
}

#[tokio::test]
async fn requests_are_what_the_config_says() {
    let (server, heard) = site(|_| page("200 OK", "")).await;
    let dir = testing::scratch("http-secret");
    let file = dir.join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let secret = format!("{{ file = {:?} }}", file.display().to_string());
    let url = format!("http://{}/a?b=c%20d", server.address);
    for (more, lines) in [
        (
            "",
            vec!["GET /a?b=c%20d HTTP/1.1", "host: 127.0.0.1:", "user-agent: watchbell/", "accept-encoding: identity"],
        ),
        ("method = \"head\"", vec!["HEAD /a?b=c%20d HTTP/1.1"]),
        ("body = \"x=1\"", vec!["POST /a", "content-length: 3", "x=1"]),
        ("body = \"x\"\nmethod = \"PUT\"", vec!["PUT /a"]),
        ("headers = { X-A = \"b\", User-Agent = \"me\" }", vec!["x-a: b", "user-agent: me\r\n"]),
        ("headers = { Host = \"other.example\" }", vec!["host: other.example\r\n"]),
        (&format!("headers = {{ X-Key = {secret} }}"), vec!["x-key: s3cret\r\n"]),
        (&format!("bearer = {secret}"), vec!["authorization: Bearer s3cret\r\n"]),
        (&format!("user = \"me\"\npassword = {secret}"), vec!["authorization: Basic bWU6czNjcmV0\r\n"]),
    ] {
        let config = format!("http = \"{url}\"\n{more}");
        let outcome = run(&KIND, &config).await;
        assert!(outcome.findings.is_empty(), "{more}: {outcome:?}");
        let request = heard.lock().unwrap().pop().unwrap();
        for line in lines {
            assert!(request.contains(line), "{more}: {line} is not in {request}");
        }
        let shown = format!("{:?} {outcome:?}", read(&KIND, &config).unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    std::fs::remove_dir_all(dir).unwrap();
    // The secret is gone: a fault of the monitor, and a warning at validation.
    let program = read(&KIND, &format!("http = \"{url}\"\nbearer = {secret}")).unwrap();
    assert!(program.preflight()[0].contains("can't read the secret"));
    let outcome = run_program(&*program, Duration::from_secs(5)).await;
    assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-start"));
    assert!(heard.lock().unwrap().is_empty(), "nothing is sent without it");
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_allowed() {
    let to = |status: &str, place: &str| {
        format!("HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")
    };
    let (server, heard) = site(move |path| match path {
        "/loop" => to("302", "/loop"),
        "/one" => to("301", "two?x#frag"),
        "/keep" => to("307", "/two"),
        "/other" => to("303", "/two"),
        "/mail" => to("302", "mailto:x@example.com"),
        "/odd" => to("302", "http://[x"),
        "/nowhere" => page("302 Found", ""),
        _ => page("200 OK", "here"),
    })
    .await;
    let base = format!("http://{}", server.address);
    for (path, more, expect, requests) in [
        ("/one", "contains = \"here\"", None, vec!["GET /one", "GET /two?x"]),
        ("/one", "body = \"b\"", None, vec!["POST /one", "GET /two?x"]),
        ("/keep", "body = \"b\"", None, vec!["POST /keep", "POST /two"]),
        // Only POST becomes GET by 301 and 302, everything but HEAD by 303; what became of it is said.
        ("/one", "method = \"PUT\"\nbody = \"b\"", None, vec!["PUT /one", "PUT /two?x"]),
        ("/one", "method = \"DELETE\"", None, vec!["DELETE /one", "DELETE /two?x"]),
        ("/other", "method = \"PUT\"\nbody = \"b\"", None, vec!["PUT /other", "GET /two"]),
        ("/other", "method = \"HEAD\"", None, vec!["HEAD /other", "HEAD /two"]),
        ("/one", "body = \"b\"\nstatus = 204", Some(", redirected to GET http://"), vec!["POST /one", "GET /two?x"]),
        ("/keep", "body = \"b\"\nstatus = 204", Some(", redirected to http://"), vec!["POST /keep", "POST /two"]),
        ("/one", "redirects = 0", Some("status 301, expected 200-299"), vec!["GET /one"]),
        ("/one", "redirects = 0\nstatus = 301", None, vec!["GET /one"]),
        (
            "/loop",
            "",
            Some("more than 5 redirects, the last to http"),
            vec!["GET /loop"; REDIRECTS_DEFAULT as usize + 1],
        ),
        ("/mail", "", Some("which is not HTTP"), vec!["GET /mail"]),
        ("/odd", "", Some("which is no URL"), vec!["GET /odd"]),
        ("/nowhere", "", Some("status 302"), vec!["GET /nowhere"]),
        ("/one", "contains = \"gone\"", Some("/two?x#frag"), vec!["GET /one", "GET /two?x"]),
    ] {
        let outcome = run(&KIND, &format!("http = \"{base}{path}\"\n{more}")).await;
        match expect {
            None => assert!(outcome.findings.is_empty(), "{path} {more}: {outcome:?}"),
            Some(part) => assert!(outcome.findings[0].message.contains(part), "{path} {more}: {outcome:?}"),
        }
        let lines: Vec<String> = heard.lock().unwrap().drain(..).collect();
        assert_eq!(lines.len(), requests.len(), "{path} {more}: {lines:?}");
        for (line, request) in lines.iter().zip(requests) {
            assert!(line.starts_with(&format!("{request} ")), "{path} {more}: {line}");
        }
        // Phases that come twice are summed up.
        assert!(outcome.phases.iter().filter(|p| p.name == "connect").count() == 1);
    }
}

#[tokio::test]
async fn secrets_do_not_follow_a_redirect_to_another_origin() {
    let (there, heard) = site(|_| page("200 OK", "")).await;
    let place = format!("http://{}/", there.address);
    let (here, _) =
        site(move |_| format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")).await;
    let dir = testing::scratch("http-redirect-secret");
    std::fs::write(dir.join("token"), "s3cret").unwrap();
    let secret = format!("{{ file = {:?} }}", dir.join("token").display().to_string());
    let config = format!(
        "http = \"http://{}/\"\nbearer = {secret}\nheaders = {{ Cookie = \"id=s3cret\", X-Key = {secret}, X-Open = \"yes\" }}",
        here.address
    );
    let outcome = run(&KIND, &config).await;
    assert!(outcome.findings.is_empty(), "{outcome:?}");
    let request = heard.lock().unwrap().pop().unwrap();
    assert!(request.contains("x-open: yes") && !request.contains("s3cret"), "{request}");
    // Nor does a secret body, where the redirect would keep it.
    let place = format!("http://{}/", there.address);
    let (here, _) =
        site(move |_| format!("HTTP/1.1 307 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")).await;
    let outcome = run(&KIND, &format!("http = \"http://{}/\"\nbody = {secret}", here.address)).await;
    assert!(outcome.findings[0].message.contains("must not get the body, a secret"), "{outcome:?}");
    assert!(heard.lock().unwrap().is_empty());
    std::fs::remove_dir_all(dir).unwrap();
}

/// RFC 9110, 8.6: what has content by its method says how much, also where that is none.
#[tokio::test]
async fn a_length_of_nothing_is_said() {
    let (server, heard) = site(|_| page("200 OK", "")).await;
    for (more, expect) in [
        ("method = \"POST\"", Some("0")),
        ("method = \"PUT\"", Some("0")),
        ("method = \"PATCH\"", Some("0")),
        ("method = \"GET\"", None),
        ("method = \"DELETE\"", None),
        ("body = \"four\"", Some("4")),
    ] {
        run(&KIND, &format!("http = \"http://{}/\"\n{more}", server.address)).await;
        let request = heard.lock().unwrap().pop().unwrap().to_lowercase();
        let length = request.lines().find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(length, expect, "{more}: {request}");
    }
}

/// The body is text in the charset that the server names, or that it names itself.
#[tokio::test]
async fn a_body_is_read_in_its_charset() {
    let utf16: Vec<u8> = "Größe".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (media_type, body, expect) in [
        ("text/html; charset=iso-8859-1", b"Gr\xf6\xdfe".as_slice(), ""),
        ("text/html;boundary=x; CHARSET=\"ISO-8859-1\"", b"Gr\xf6\xdfe", ""),
        ("text/plain; charset=utf-16le", &utf16, ""),
        ("text/plain", &[b"\xff\xfe".as_slice(), &utf16].concat(), ""),
        ("text/plain; charset=koi8-r", "\u{feff}Größe".as_bytes(), ""),
        ("text/plain", "Größe".as_bytes(), ""),
        ("text/html", b"<meta charset='latin1'>Gr\xf6\xdfe", ""),
        ("text/html", b"<meta content=\"text/html; charset=windows-1252\">Gr\xf6\xdfe", ""),
        ("text/xml", b"<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?>Gr\xf6\xdfe", ""),
        // Valid UTF-8 is that, whatever the page says.
        ("text/html", "<meta charset=latin1>Größe".as_bytes(), ""),
        ("text/html", b"Gr\xf6\xdfe", "does not contain \"Größe\""),
        ("text/html; charset=x-none", b"Gr\xf6\xdfe", "(it is read as UTF-8: its charset `x-none` is unknown)"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n").into_bytes();
        let answer = [answer.as_slice(), body].concat();
        let server = serve_with(move |mut stream| {
            let answer = answer.clone();
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await;
        let outcome = run(&KIND, &format!("http = \"http://{}/\"\ncontains = \"Größe\"", server.address)).await;
        let found = outcome.findings.first().map_or("", |f| f.message.as_str());
        assert!(found.contains(expect) && found.is_empty() == expect.is_empty(), "{media_type}: {outcome:?}");
    }
}

/// Whatever a server does, the run ends and says what happened.
#[tokio::test]
async fn servers_that_misbehave_are_told() {
    let say = |text: &str| Play::answer("GET / HTTP/1.1\r\n", text);
    for (play, expect) in [
        (Play::hang(), "no answer from `http://"),
        (say("HTTP/1.1 200 OK\r\n").then_hang(), "no answer from `http://"),
        (
            say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").then_hang(),
            "was not complete within 500ms: 3 bytes came, `abc`",
        ),
        (say(""), "closed the connection before the answer was complete"),
        (Play::reset(), "broke the connection: connection reset by peer"),
        (say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "the body of the answer (status 200) broke off"),
        (Play::say("220 mail.example.com ready\r\n"), "is no HTTP"),
        (say("220 mail.example.com ready\r\n"), "is no HTTP"),
        (say("\u{1}\u{2}garbage\r\n\r\n"), "is no HTTP"),
        (Play::flood(100 * 1024 * 1024), "is no HTTP"),
        (say(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(300))), "sent headers of more than 200 lines"),
        (say(&format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(300_000))), "sent headers of more than 200 lines"),
    ] {
        let server = serve(play.clone()).await;
        let slow = expect.starts_with("no answer") || expect.contains("500ms");
        let limit = Duration::from_millis(if slow { 500 } else { 20_000 });
        let outcome = run_within(&KIND, &format!("http = \"http://{}/\"", server.address), limit).await;
        assert_eq!(outcome.findings.len(), 1, "{expect}: {}", outcome.summary);
        let message = &outcome.findings[0].message;
        assert!(message.contains(expect), "{expect}: {message}");
        assert!(outcome.inconclusive && outcome.findings[0].escalates);
    }
    let address = nobody().await;
    let outcome = run(&KIND, &format!("http = \"http://{address}/\"")).await;
    assert!(outcome.findings[0].message.contains("connection refused; is the program running"), "{outcome:?}");
    let outcome = run(&KIND, "http = \"http://no-such-host.invalid/\"").await;
    assert!(outcome.findings[0].message.contains("can't be resolved"), "{outcome:?}");
}

/// A body without end is read to the limit and no further.
#[tokio::test]
async fn an_endless_body_ends_at_the_limit() {
    let server = serve_with(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await;
    let outcome = run(&KIND, &format!("http = \"http://{}/\"\nmax_body = 100000", server.address)).await;
    assert!(outcome.findings.is_empty(), "{outcome:?}");
    assert!(outcome.summary.contains("more than 100000 bytes") && !outcome.metrics.iter().any(|m| m.name == "size"));
}

/// S3.15: HTTPS, with certificates of every sort.
#[tokio::test]
async fn https_is_judged_by_its_certificate() {
    let authority = Authority::new("http");
    for (wish, more, expect) in [
        (Wish::good(), "", None),
        (Wish::good().named("other.example"), "", Some("the certificate is for other.example, not for `localhost`")),
        (Wish::good().days(-20, -10), "", Some("the certificate has expired at ")),
        (Wish::good().days(10, 20), "", Some("the certificate is not valid before ")),
        (Wish::self_signed(), "", Some("issuer is not trusted")),
        (Wish::self_signed(), "verify = false", None),
        (Wish::good().days(-20, -10), "verify = false", None),
    ] {
        let server = serve_tls(authority.issue(wish.clone()), |mut stream| async move {
            let _ = read_request(&mut stream).await;
            let _ = stream.write_all(page("200 OK", "secure").as_bytes()).await;
            let _ = stream.shutdown().await;
        })
        .await;
        let ca = authority.ca_path();
        let port = server.address.port();
        let config = format!("http = \"https://localhost:{port}/\"\ncontains = \"secure\"\nca = {ca:?}\n{more}");
        let outcome = run(&KIND, &config).await;
        match expect {
            None => {
                assert!(outcome.findings.is_empty(), "{wish:?} {more}: {outcome:?}");
                assert!(outcome.phases.iter().any(|p| p.name == "tls"));
            }
            Some(part) => assert!(outcome.findings[0].message.contains(part), "{wish:?} {more}: {outcome:?}"),
        }
        // Nobody knows this authority without being told.
        let outcome = run(&KIND, &format!("http = \"https://localhost:{port}/\"")).await;
        assert!(outcome.findings[0].message.contains("no TLS connection with `localhost:"), "{outcome:?}");
    }
    let server = serve(Play::say("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let outcome = run(&KIND, &format!("http = \"https://{}/\"", server.address)).await;
    assert!(outcome.findings[0].message.contains("is no TLS; is this the right port"), "{outcome:?}");
    let outcome = run(&KIND, &format!("http = \"https://{}/\"\nca = \"/nowhere.pem\"", server.address)).await;
    assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-start"), "{outcome:?}");
}

#[test]
fn prepared_requests_hide_their_secrets() {
    let mut headers = super::HeaderMap::new();
    headers.insert("a", super::sensitive(&super::HeaderName::from_static("a"), "s3cret").unwrap());
    let prepared =
        Prepared { method: super::Method::GET, headers, private: super::HeaderMap::new(), body: super::Bytes::new() };
    assert!(!format!("{:?}", prepared.headers).contains("s3cret"));
    assert!(super::sensitive(&super::HeaderName::from_static("a"), "x\ny").is_err_and(|e| !e.contains("x\n")));
}
