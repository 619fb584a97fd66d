//! The doors of a real engine on a real store, asked by a real HTTP client. Nothing is run or sent: what the engine
//! orders stays with the test.

mod api;
mod documents;
mod wire;

use super::{Limits, Web, start_within};
use crate::run::{
    Agent, ConfigView, clock,
    config::KINDS,
    engine::{Committer, Engine},
    handle::Handle,
    health::Health,
};
use jiff::tz::TimeZone;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use watchbell_core::{
    config::{Config, InputFile, LoadOptions},
    engine::{Commit, Input, World},
};
use watchbell_io::store::{Store, StoreError, StoreOptions};

/// What every test's agent watches.
const SHOP: &str = r#"
[check.job]
passive = "1h"
description = "the nightly job"
runbook = "start it again"

[check.disk]
passive = "1h"
retry = 3
labels = { team = "shop" }

[check.ping]
command = "true"
every = "1h"

[check.wrong]
command = "true"
evry = "1h"
"#;

/// An agent with open doors.
struct Rig {
    agent: Agent,
    web: Option<Web>,
    folder: PathBuf,
    /// Commits fail while this is set.
    failing: Arc<AtomicBool>,
    tcp: Client,
    unix: Client,
    base: String,
}

impl Rig {
    async fn new() -> Rig {
        Rig::with("", SHOP, Limits::default()).await
    }

    async fn with(agent_toml: &str, shop: &str, limits: Limits) -> Rig {
        // The TLS provider that clients need, used or not.
        let http = watchbell_io::shared::http::Http::new().unwrap();
        drop(http);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("watchbell-web-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let failing = Arc::new(AtomicBool::new(false));
        let agent = agent(&folder, &failing, agent_toml, shop);
        agent.health.set_ready();
        let web = start_within(&agent, limits).await.unwrap();
        let base = web.address.map_or_else(String::new, |address| format!("http://{address}"));
        let client = || Client::builder().timeout(Duration::from_secs(30)).no_proxy();
        let unix = client().unix_socket(folder.join(crate::api::SOCKET)).build().unwrap();
        Rig { agent, web: Some(web), folder, failing, tcp: client().build().unwrap(), unix, base }
    }

    /// A request at the socket.
    fn socket(&self, method: Method, path: &str) -> RequestBuilder {
        self.unix.request(method, format!("http://localhost{path}"))
    }

    /// A request over TCP.
    fn over_tcp(&self, method: Method, path: &str) -> RequestBuilder {
        self.tcp.request(method, format!("{}{path}", self.base))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.socket(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.socket(Method::POST, path).json(&body)).await
    }

    async fn delete(&self, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
        answer(self.socket(Method::DELETE, &with_query(path, query))).await
    }

    /// Brings in some of everything: a hard fault that is told, one that is soft, a squelch, a message, an
    /// acknowledgement.
    async fn fill(&self) {
        use crate::api::path;
        use serde_json::json;
        for (path, body) in [
            (
                path::REPORT,
                json!({"check": "shop/job", "text": "3 failed", "exit": 2, "value": 3.5, "took_ms": 1500,
                "findings": [{"severity": "critical", "message": "3 failed", "detail": "a\nb\nc"}]}),
            ),
            (
                path::REPORT,
                json!({"check": "//h/shop/disk", "text": "91%", "metrics": [{"name": "used", "value": 91.0}],
                "findings": [{"severity": "error", "message": "91%", "part": "/ home".trim_start_matches('/')}]}),
            ),
            (
                path::MESSAGES,
                json!({"name": "deploy", "text": "done\nall of it", "notify": ["ops"], "topic": "x",
                "labels": {"team": "shop"}, "link": "https://example.com/"}),
            ),
            (path::ACKS, json!({"fault": "shop/job", "by": "ann", "comment": "looking", "for_seconds": 3600})),
            (path::SQUELCHES, json!({"regex": "shop/d.sk", "reason": "known", "by": "ben", "permanent": true})),
        ] {
            let (status, answer) = self.post(path, body).await;
            assert_eq!(status, 200, "{path}: {answer}");
            assert!(answer["events"].as_array().is_some_and(|e| !e.is_empty()), "{path}: {answer}");
        }
    }

    async fn end(mut self) {
        if let Some(web) = self.web.take() {
            web.stop().await;
        }
        self.agent.handle.close().await;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A path with a query.
fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse(&format!("http://x{path}")).unwrap();
    url.query_pairs_mut().extend_pairs(query);
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), body(response).await)
}

/// The body as JSON, or as text where it is none.
async fn body(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// An agent whose engine runs on a store in `folder`.
fn agent(folder: &std::path::Path, failing: &Arc<AtomicBool>, agent_toml: &str, shop: &str) -> Agent {
    let head = format!(
        "[agent]\nname = \"h\"\nstate = {folder:?}\nlisten = \"127.0.0.1:0\"\nnotify = [\"ops\"]\n{agent_toml}\n\
         [notify.ops]\nkind = \"log\"\n"
    );
    let options =
        LoadOptions { root: "/etc/watchbell".into(), default_agent_name: "x".into(), local_zone: TimeZone::UTC };
    let mut config = Config::new(KINDS, options, |notifier| notifier.targets());
    let file = |name: &str, text: &str| InputFile {
        path: name.into(),
        absolute: format!("/etc/watchbell/{name}"),
        text: Ok(text.into()),
    };
    config.update(vec![file("watchbell.toml", &head), file("shop.toml", shop)]);
    let loaded = config.assemble();
    let policy = Arc::new(loaded.policy);
    let pings = crate::run::pings::Pings::read(&policy).0;
    let view = ConfigView { name: policy.agent.name.clone(), settings: loaded.agent, problems: loaded.problems, pings };
    let opened = Store::open(folder, &StoreOptions { ballast_bytes: 1 << 10, ..StoreOptions::at(clock::now()) });
    let opened = opened.unwrap();
    let health = Arc::new(Health::default());
    let (handle, requests) = Handle::new(health.clone());
    let committer = committer(opened.store, failing.clone());
    let engine = Engine::new(World::new(policy, opened.state), health.clone(), requests, committer, Box::new(|_| {}));
    tokio::spawn(engine.run(Input::Start { agent_id: "a1".into() }));
    let (reloads, mut asked) = mpsc::channel::<tokio::sync::oneshot::Sender<()>>(1);
    tokio::spawn(async move {
        while let Some(done) = asked.recv().await {
            let _ = done.send(());
        }
    });
    Agent { handle, health, config: Arc::new(RwLock::new(Arc::new(view))), state: folder.into(), reloads }
}

/// Commits, unless they are to fail.
fn committer(mut store: Store, failing: Arc<AtomicBool>) -> Committer {
    let (commits, todo) = std::sync::mpsc::channel::<Commit>();
    let (tx, done) = mpsc::channel(1);
    std::thread::spawn(move || {
        for commit in todo {
            let result = if failing.load(Relaxed) {
                Err((commit, StoreError::Other { what: "the disk is full".into(), path: PathBuf::new() }))
            } else {
                store.commit(&commit).map(|()| None).map_err(|error| (commit, error))
            };
            if tx.blocking_send(result).is_err() {
                break;
            }
        }
    });
    Committer { commits, done }
}
