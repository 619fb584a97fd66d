//! Listeners and connections: limits, ends, and what is in the way.

use super::{Limits, Method, Rig, SHOP, agent, answer, body};
use crate::{
    api::path,
    web::{listen_unix, start},
};
use serde_json::json;
use std::{
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SOON: Duration = Duration::from_millis(200);

fn tight() -> Limits {
    Limits {
        connections_max: 2,
        connections_reserved: 1,
        header_bytes_max: 8192,
        headers_max: 16,
        body_bytes_max: 2000,
        headers_within: SOON,
        body_within: SOON,
        connection_age_max: Duration::from_secs(60),
        finish_within: Duration::from_secs(5),
        ..Limits::default()
    }
}

async fn connect(rig: &Rig) -> TcpStream {
    TcpStream::connect(rig.base.trim_start_matches("http://")).await.unwrap()
}

/// Sends bytes and reads until the other side closes.
async fn raw(rig: &Rig, text: &str) -> String {
    let mut stream = connect(rig).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    // The other side may reset what it did not read.
    let _ = read.await.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// What is too long or never comes is refused, and the connection is closed.
#[tokio::test]
async fn what_is_too_long_or_too_slow_is_refused() {
    let rig = Rig::with("", SHOP, tight()).await;
    let post = "POST /api/v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\n";
    let many: String = (0..20).map(|n| format!("x-{n}: y\r\n")).collect();
    for (text, status) in [
        ("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(), "200"),
        (format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(10_000)), "431"),
        (format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), "431"),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "y".repeat(70_000)), "4"),
        (format!("{post}content-length: 2001\r\n\r\n{}", " ".repeat(2001)), "413"),
        (format!("{post}transfer-encoding: chunked\r\n\r\n7d1\r\n{}\r\n0\r\n\r\n", " ".repeat(2001)), "413"),
        (format!("{post}content-length: 50\r\n\r\n{{\"name\":"), "408"),
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: loc".to_owned(), ""),
        (String::new(), ""),
    ] {
        let answer = raw(&rig, &text).await;
        let got = answer.strip_prefix("HTTP/1.1 ").unwrap_or_default();
        assert!(got.starts_with(status), "{:.80}: {answer}", text);
    }
    rig.end().await;
}

/// Who says nothing, or half of it, or nothing more makes room for who comes; the others are left alone.
#[tokio::test]
async fn who_waits_makes_room() {
    let long = Duration::from_secs(600);
    let limits = Limits { headers_within: long, body_within: long, ..tight() };
    for said in ["", "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ", "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let rig = Rig::with("", SHOP, limits).await;
        let mut idle = [connect(&rig).await, connect(&rig).await];
        for stream in &mut idle {
            stream.write_all(said.as_bytes()).await.unwrap();
        }
        for path in [path::HEALTHZ, path::READYZ, path::STATUS] {
            assert_eq!(answer(rig.over_tcp(Method::GET, path)).await.0, 200, "{said:?} {path}");
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let [a, b] = &mut idle;
        let gone = async {
            tokio::select! { _ = a.read_to_end(&mut first) => {}, _ = b.read_to_end(&mut second) => {} }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("one of them had to go");
        rig.end().await;
    }
}

/// Requests under way keep their places, but leave some: others are told to wait, and how the agent is is answered.
#[tokio::test]
async fn health_has_a_reserve() {
    let long = Duration::from_secs(600);
    for (share, expect) in [(1, 429), (9, 503)] {
        let limits = Limits { headers_within: long, body_within: long, requests_of_address_max: share, ..tight() };
        let rig = Rig::with("", SHOP, limits).await;
        let mut slow = connect(&rig).await;
        let head = "POST /api/v1/messages HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                    content-type: application/json\r\ncontent-length: 50\r\n\r\n";
        slow.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 12];
        slow.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100", "its body is waited for");
        let response = rig.over_tcp(Method::GET, path::STATUS).send().await.unwrap();
        assert_eq!(response.status().as_u16(), expect);
        assert_eq!(response.headers()["retry-after"], "5");
        for path in [path::HEALTHZ, path::READYZ] {
            assert_eq!(answer(rig.over_tcp(Method::GET, path)).await.0, 200, "{path}");
        }
        drop(slow);
        rig.end().await;
    }
}

/// At the socket who comes beyond the limit waits; one that says nothing makes room when its time is over.
#[tokio::test]
async fn connections_are_bounded() {
    let rig = Rig::with("", SHOP, tight()).await;
    let socket = rig.folder.join(crate::api::SOCKET);
    let idle = [UnixStream::connect(&socket).unwrap(), UnixStream::connect(&socket).unwrap()];
    let began = Instant::now();
    assert_eq!(rig.get(path::STATUS).await.0, 200);
    assert!(began.elapsed() >= SOON / 2, "it had to wait: {:?}", began.elapsed());
    // TCP has places of its own.
    assert_eq!(answer(rig.over_tcp(Method::GET, path::STATUS)).await.0, 200);
    drop(idle);
    rig.end().await;
}

/// Over TCP requests have a rate, those that change something a slower one; who shows a token is counted apart, and
/// the socket is free.
#[tokio::test]
async fn rates_are_bounded() {
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // of `secret`
    let token = format!("tokens = [{{ name = \"ann\", scopes = [\"operate\"], sha256 = \"{hash}\" }}]");
    let limits = Limits { requests_burst: 8, requests_per_second: 1, writes_burst: 2, writes_per_second: 1, ..tight() };
    let rig = Rig::with(&token, SHOP, limits).await;
    let body = json!({"regex": "zzz", "reason": "r"});
    let squelch = || rig.over_tcp(Method::POST, path::SQUELCHES).bearer_auth("secret").json(&body);
    for _ in 0..2 {
        assert_eq!(answer(squelch()).await.0, 200);
    }
    let response = squelch().send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let said = super::body(response).await;
    assert_eq!(said["error"], "requests come faster than they are taken");
    let look = || answer(rig.over_tcp(Method::GET, path::STATUS).bearer_auth("secret"));
    assert_eq!(look().await.0, 200, "looks have a rate of their own");
    // Who guesses tokens is counted by the address, and keeps nobody else out.
    let mut guessed = Vec::new();
    for n in 0..10 {
        guessed.push(answer(rig.over_tcp(Method::GET, path::STATUS).bearer_auth(n)).await.0);
    }
    assert_eq!((guessed[0], guessed[9]), (401, 429), "{guessed:?}");
    assert_eq!(look().await.0, 200);
    for _ in 0..10 {
        assert_eq!(rig.post(path::SQUELCHES, body.clone()).await.0, 200, "the socket is this host's own");
    }
    rig.end().await;
}

/// An old connection is closed between two requests.
#[tokio::test]
async fn connections_have_an_age() {
    let rig = Rig::with("", SHOP, Limits { connection_age_max: SOON, ..Limits::default() }).await;
    let mut stream = connect(&rig).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    assert_eq!(read.await.expect("it is closed").unwrap(), 0);
    rig.end().await;
}

/// What is under way when the agent ends is answered; then nobody is let in.
#[tokio::test]
async fn ending_is_orderly() {
    let mut rig = Rig::with("", SHOP, Limits { body_within: Duration::from_secs(5), ..tight() }).await;
    let mut stream = connect(&rig).await;
    let body = json!({"name": "a", "text": "b"}).to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        path::MESSAGES,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(SOON / 4).await;
    let web = rig.web.take().unwrap();
    let ending = tokio::spawn(web.stop());
    tokio::time::sleep(SOON / 4).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ending.await.unwrap();
    assert!(!rig.folder.join(crate::api::SOCKET).exists());
    assert!(rig.over_tcp(Method::GET, "/").send().await.is_err());
    rig.end().await;
}

/// The socket is for its owner and group; what an agent left behind is replaced, what is something else is not.
#[tokio::test]
async fn the_socket() {
    let rig = Rig::new().await;
    let path = rig.folder.join(crate::api::SOCKET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let stale = rig.folder.join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(UnixStream::connect(&stale).is_err());
    let listener = listen_unix(&stale).unwrap();
    UnixStream::connect(&stale).unwrap();
    drop(listener);
    let file = rig.folder.join("file");
    std::fs::write(&file, "mine").unwrap();
    let error = listen_unix(&file).unwrap_err();
    assert!(error.contains("is in the way of the agent's socket\nhint: "), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let error = listen_unix(&rig.folder.join("x".repeat(120))).unwrap_err();
    assert!(error.contains("bytes long, the system takes 107") && error.contains("hint: "), "{error}");
    let error = listen_unix(&rig.folder.join("none/agent.sock")).unwrap_err();
    assert!(error.starts_with("can't make the socket") && error.contains("hint: "), "{error}");
    rig.end().await;
}

/// Where it can't listen it says what to do, and off loopback it wants tokens.
#[tokio::test]
async fn a_listener_that_can_not_be() {
    let rig = Rig::new().await;
    let taken = rig.base.trim_start_matches("http://").to_owned();
    for (listen, expect) in [
        (taken.as_str(), "another program listens there"),
        ("192.0.2.1:1", "can be reached from outside, and there are no `tokens`"),
        ("0.0.0.0:0", "can be reached from outside, and there are no `tokens`"),
        ("nonsense", "is not an address and a port"),
    ] {
        let folder = rig.folder.join("other");
        std::fs::create_dir_all(&folder).unwrap();
        let other = agent(&folder, &Arc::new(AtomicBool::new(false)), "", SHOP);
        let view = other.settings();
        let mut settings = view.settings.clone();
        settings.listen = Some(listen.to_owned());
        let changed = crate::run::ConfigView {
            name: view.name.clone(),
            settings,
            problems: Default::default(),
            pings: Default::default(),
        };
        *other.config.write().unwrap() = Arc::new(changed);
        let error = start(&other).await.err().unwrap();
        assert!(error.contains(expect), "{listen}: {error}");
        assert!(!folder.join(crate::api::SOCKET).exists(), "nothing is left behind");
        other.handle.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
    rig.end().await;
}

/// `listen = "off"`: the socket alone.
#[tokio::test]
async fn without_tcp() {
    let rig = Rig::new().await;
    let folder = rig.folder.join("off");
    std::fs::create_dir_all(&folder).unwrap();
    let other = agent(&folder, &Arc::new(AtomicBool::new(false)), "", SHOP);
    let view = other.settings();
    let mut settings = view.settings.clone();
    settings.listen = None;
    let changed = crate::run::ConfigView {
        name: view.name.clone(),
        settings,
        problems: Default::default(),
        pings: Default::default(),
    };
    *other.config.write().unwrap() = Arc::new(changed);
    let web = start(&other).await.unwrap();
    assert_eq!(web.address, None);
    let client = reqwest::Client::builder().unix_socket(folder.join(crate::api::SOCKET)).build().unwrap();
    let response = client.get("http://anything/readyz").send().await.unwrap();
    assert_eq!(response.status(), 503, "nobody said that it is ready");
    assert_eq!(body(response).await["error"], "the agent is starting");
    web.stop().await;
    other.handle.close().await;
    rig.end().await;
}
