//! One suite that every kind of notifier passes, and what their tests share: a recorder that stands in for HTTP
//! receivers, an SMTP server, moto's stand-in for AWS, and reading a kind's config from TOML.

pub(crate) mod moto;
pub(crate) mod recorder;
mod schema;
pub(crate) mod smtp;

use super::{
    Attempt, Channel, KINDS,
    template::{
        self, Flavour, Template,
        tests::{samples, trigger},
    },
};
use crate::shared::Shared;
use recorder::{Recorder, Reply};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{Key, Kind, Problems, Reader, Shape, render, toml},
    model::{Action, Delivery, Event, EventKind, EventState, Failure, Receipt, Severity},
};

/// The secret that the tests' notifiers use; no text may show it.
pub(crate) const SECRET: &str = "s3cr3t-0a1b2c3d4e5f";
/// A part of secret addresses; no text may show it.
const SECRET_PATH: &str = "hidd3n-p4th-segment";

/// Keys that the loader reads before the kind does.
const COMMON: &[Key] = &[Key { name: "kind", shape: Shape::String, doc: "The kind." }];

/// A folder that is removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("watchbell-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kind(key: &str) -> &'static Kind<Channel> {
    KINDS.iter().find(|k| k.key == key).unwrap_or_else(|| panic!("no kind {key}"))
}

/// Reads a table of a kind: what came of it, and its problems.
fn read(kind: &Kind<Channel>, config: &str) -> (Option<Channel>, Problems) {
    // Kinds are found in a constant list, so that their keys live as long as readers want.
    let keys = KINDS.iter().find(|k| k.key == kind.key).unwrap().keys;
    let mut problems = Problems::default();
    let file = problems.add_file("test.toml", config);
    let table = toml::parse(config, file, &mut problems).unwrap_or_else(|| panic!("no TOML: {config}"));
    let mut reader = Reader::new(&table, &mut problems, "`[notify.ops]`", COMMON);
    reader.declare(keys);
    let channel = (kind.read)(&mut reader);
    reader.finish();
    (channel, problems)
}

/// The problems of a table, each as `message; hint`.
pub(crate) fn problems_of(key: &str, config: &str) -> Vec<String> {
    let problems = read(kind(key), config).1.list.into_iter();
    problems.map(|p| format!("{}; {}", p.message, p.hint.unwrap_or_default())).collect()
}

/// The problems of a table as people see them.
pub(crate) fn problems_shown(key: &str, config: &str) -> String {
    render(&read(kind(key), config).1, false)
}

/// The notifier of a table that has no problems.
pub(crate) fn read_kind(key: &str, config: &str) -> Channel {
    let (channel, problems) = read(kind(key), config);
    assert!(problems.list.is_empty(), "{config}: {problems:?}");
    channel.unwrap()
}

/// A notifier, the recorder that it speaks to, and what both need.
pub(crate) struct Rig {
    pub(crate) recorder: Recorder,
    pub(crate) notifier: Channel,
    pub(crate) timeout: Duration,
    shared: Shared,
    _scratch: Scratch,
}

/// Every way in which a kind speaks HTTP.
const VARIANTS: &[&str] = &["slack", "slack-webhook", "pagerduty", "webhook", "sns"];

impl Rig {
    /// A variant with its usual config; after these replies it takes everything.
    pub(crate) async fn new(variant: &str, replies: &[Reply]) -> Rig {
        let more = if variant == "webhook" { "secret = { file = \"SECRET_FILE\" }" } else { "" };
        Rig::with(variant, more, replies).await
    }

    /// The same with more config.
    pub(crate) async fn with(variant: &str, more: &str, replies: &[Reply]) -> Rig {
        let scratch = Scratch::new("rig");
        let recorder = Recorder::start(replies, taken(variant)).await;
        let (secret_file, url_file) = (scratch.path().join("secret"), scratch.path().join("url"));
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        let secret_url = format!("{}/hooks/{SECRET_PATH}?token={SECRET}", recorder.url);
        std::fs::write(&url_file, secret_url).unwrap();
        let config = match variant {
            "slack" => "token = { file = \"SECRET_FILE\" }\nchannels = [\"ops\"]\nurl = \"BASE\"",
            "slack-webhook" => "webhook = { file = \"URL_FILE\" }",
            "pagerduty" => "key = { file = \"SECRET_FILE\" }\nurl = \"BASE\"",
            "webhook" => "url = { file = \"URL_FILE\" }\nheaders = { Authorization = { file = \"SECRET_FILE\" } }",
            "sns" => {
                "topic = \"arn:aws:sns:eu-west-1:123456789012:alerts\"\nendpoint = \"BASE\"\n\
                 access_key = \"AKIDEXAMPLE\"\nsecret_key = { file = \"SECRET_FILE\" }"
            }
            other => panic!("no variant {other}"),
        };
        let config = format!("{config}\n{more}\n")
            .replace("SECRET_FILE", &secret_file.display().to_string())
            .replace("URL_FILE", &url_file.display().to_string())
            .replace("BASE", &recorder.url);
        let notifier = read_kind(variant.split('-').next().unwrap(), &config);
        let (timeout, shared) = (Duration::from_secs(20), Shared::new().unwrap());
        Rig { recorder, notifier, timeout, shared, _scratch: scratch }
    }

    pub(crate) async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, Failure> {
        let attempt = Attempt { timeout: self.timeout, shared: &self.shared };
        let result = self.notifier.deliver(delivery, &attempt).await;
        let shown = format!("{result:?} {:?} {}", self.notifier, self.notifier.preview(delivery));
        for secret in [SECRET, SECRET_PATH] {
            assert!(!shown.contains(secret), "{secret} shows in {shown}");
        }
        result
    }
}

/// How the receiver of a variant says that it took a delivery.
fn taken(variant: &str) -> Reply {
    match variant {
        "slack" => Reply::json(200, r#"{"ok":true,"channel":"C024BE91L","ts":"1503435956.000247"}"#),
        "slack-webhook" => Reply::json(200, "ok"),
        "pagerduty" => Reply::json(202, r#"{"status":"success","message":"Event processed","dedup_key":"k"}"#),
        "sns" => Reply::json(
            200,
            "<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>",
        ),
        _ => Reply::status(202),
    }
}

#[tokio::test]
async fn every_http_kind_takes_yes_for_an_answer() {
    for variant in VARIANTS {
        let rig = Rig::new(variant, &[]).await;
        for delivery in samples() {
            rig.deliver(&delivery).await.unwrap_or_else(|f| panic!("{variant} {delivery:?}: {f:?}"));
        }
    }
}

/// The table of `http_retry`: what may pass is tried again, after the receiver's own wish; what will not is not.
#[tokio::test]
async fn every_http_kind_tells_later_from_never() {
    let date = [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT")];
    let cases: &[(Reply, Option<Option<u64>>)] = &[
        (Reply::status(429).header("Retry-After", "7"), Some(Some(7))),
        (Reply::status(429).header(date[0].0, date[0].1).header(date[1].0, date[1].1), Some(Some(60))),
        (Reply::status(503).header("Retry-After", "11"), Some(Some(11))),
        (Reply::status(500), Some(None)),
        (Reply::status(502), Some(None)),
        (Reply::status(408), Some(None)),
        (Reply::Reset, Some(None)),
        (Reply::Garbage, Some(None)),
        (Reply::status(400), None),
        (Reply::status(401), None),
        (Reply::status(404), None),
        (Reply::status(302).header("Location", "/elsewhere"), None),
        (Reply::status(307).header("Location", "/elsewhere"), None),
    ];
    for variant in VARIANTS {
        for (reply, expect) in cases {
            let rig = Rig::new(variant, std::slice::from_ref(reply)).await;
            match (rig.deliver(&trigger()).await, expect) {
                (Err(Failure::Retry { after, .. }), Some(wish)) => {
                    assert_eq!(after, wish.map(Duration::from_secs), "{variant} {reply:?}");
                }
                (Err(Failure::Permanent { .. }), None) => {}
                (got, _) => panic!("{variant} {reply:?}: {got:?}"),
            }
            // One call, no retry, no redirect followed. (A broken connection may be tried twice by the client.)
            assert!(rig.recorder.requests().iter().all(|r| r.path != "/elsewhere"), "{variant} followed a redirect");
            if !matches!(reply, Reply::Reset | Reply::Garbage) {
                assert_eq!(rig.recorder.requests().len(), 1, "{variant} {reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn every_http_kind_gives_up_on_a_receiver_that_hangs_or_is_not_there() {
    for variant in VARIANTS {
        let mut rig = Rig::new(variant, &[Reply::Hang]).await;
        rig.timeout = Duration::from_millis(300);
        let started = Instant::now();
        let failure = rig.deliver(&trigger()).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { after: None, .. }), "{variant}: {failure:?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{variant} took {:?}", started.elapsed());
        rig.timeout = Duration::from_secs(20);
        rig.recorder.stop().await;
        let failure = rig.deliver(&trigger()).await.unwrap_err();
        assert!(failure.reason().contains("can't connect"), "{variant}: {failure:?}");
        assert!(matches!(failure, Failure::Retry { .. }), "{variant}: {failure:?}");
    }
}

/// Whatever comes after the receiver's yes does not take it back: a body that breaks off or never ends, one that is no
/// text, one that is no JSON.
#[tokio::test]
async fn every_http_kind_takes_a_yes_that_breaks_off() {
    for variant in VARIANTS {
        for hang in [false, true] {
            let (status, body): (u16, &'static [u8]) = match *variant {
                "slack" => (200, br#"{"ok": true, "channel": "C0"#),
                _ => (202, b"\xff\xfe not { text"),
            };
            let mut rig = Rig::new(variant, &[Reply::Torn { status, body, hang }]).await;
            rig.timeout = Duration::from_secs(2);
            rig.deliver(&trigger()).await.unwrap_or_else(|f| panic!("{variant} {hang}: {f:?}"));
            assert_eq!(rig.recorder.requests().len(), 1, "{variant}");
        }
        // A no that breaks off stays one.
        let rig = Rig::new(variant, &[Reply::Torn { status: 404, body: b"no", hang: false }]).await;
        assert!(matches!(rig.deliver(&trigger()).await, Err(Failure::Permanent { .. })), "{variant}");
    }
}

/// A receiver that sends back all that it got, its address and its headers too, gets no secret into a reason.
#[tokio::test]
async fn no_secret_shows_even_when_the_receiver_repeats_it() {
    for variant in VARIANTS {
        for status in [200, 400, 500] {
            let rig = Rig::new(variant, &[Reply::Echo(status)]).await;
            // `Rig::deliver` looks at the result, at Debug and at the preview.
            let result = rig.deliver(&trigger()).await;
            assert!(status == 200 || result.is_err(), "{variant} {status}: {result:?}");
            let sent = format!("{:?}", rig.recorder.requests());
            assert!(sent.contains(SECRET) || *variant == "sns", "{variant} did not send its secret: {sent}");
        }
    }
}

/// A repeat carries the same key, another delivery another.
#[tokio::test]
async fn repeats_carry_the_same_key() {
    let find = |variant: &str, request: &recorder::Request| -> String {
        let json = serde_json::from_str::<serde_json::Value>(&request.body).unwrap_or_default();
        let at = |pointer: &str| json.pointer(pointer).and_then(|v| v.as_str()).map(str::to_owned);
        let form = || url::form_urlencoded::parse(request.body.as_bytes()).find(|(_, v)| v.starts_with("agent/"));
        match variant {
            "slack" => at("/metadata/event_payload/key"),
            "slack-webhook" => at("/attachments/0/blocks/0/block_id"),
            "pagerduty" => at("/payload/custom_details/key"),
            "webhook" => request.header("idempotency-key").map(str::to_owned),
            _ => form().map(|(_, value)| value.into_owned()),
        }
        .unwrap_or_else(|| panic!("{variant} sent no key: {request:?}"))
    };
    for variant in VARIANTS {
        let rig = Rig::new(variant, &[Reply::status(500)]).await;
        let other = Delivery { key: "agent/other".into(), ..trigger() };
        let _ = rig.deliver(&trigger()).await;
        let _ = rig.deliver(&trigger()).await;
        let _ = rig.deliver(&other).await;
        let keys: Vec<String> = rig.recorder.requests().iter().map(|r| find(variant, r)).collect();
        assert_eq!(keys.len(), 3, "{variant}");
        assert_eq!(keys[0], keys[1], "{variant}");
        assert_ne!(keys[1], keys[2], "{variant}");
    }
}

/// What Slack and PagerDuty get has only the fields that they document, within their limits.
#[tokio::test]
async fn slack_and_pagerduty_get_what_they_document() {
    let mut deliveries = samples();
    for mut delivery in samples() {
        delivery.event.text = format!("{}\n{}", "<ü&>".repeat(3_000), "long ".repeat(3_000));
        delivery.event.detail = "&".repeat(20_000);
        delivery.event.runbook = Some(format!("https://example.com/{}", "r".repeat(5_000)));
        delivery.event.name = format!("//web-1/app/{}", "n".repeat(3_000)).into();
        delivery.event.labels = (0..500).map(|i| (format!("label-{i}"), "v".repeat(50))).collect();
        delivery.digest = vec![delivery.event.clone(); delivery.digest.len() * 100];
        delivery.key = "k".repeat(4_000);
        deliveries.push(delivery);
    }
    let told = Receipt { id: Some("C024BE91L:1503435956.000247".into()), text: String::new() };
    let answers = deliveries.clone().into_iter().map(|d| Delivery { trigger_receipt: Some(told.clone()), ..d });
    let deliveries: Vec<Delivery> = deliveries.iter().cloned().chain(answers).collect();
    let slack = [
        "",
        "resolve = \"thread\"\nmention = \"@here\"",
        "resolve = \"message\"\ntext = \"{{ text }}\"",
        "style = \"cimaa\"",
    ];
    let pager = ["", "style = \"cimaa\"\ngroup = \"g\"\nclass = \"c\"\nclient_url = \"https://example.com/\""];
    let cases = slack.map(|more| ("slack", more)).into_iter();
    let cases =
        cases.chain([("slack-webhook", "mention = \"U024BE7LH\"")]).chain(pager.map(|more| ("pagerduty", more)));
    for (variant, more) in cases {
        let rig = Rig::with(variant, more, &[]).await;
        for delivery in &deliveries {
            rig.deliver(delivery).await.unwrap();
        }
        for request in rig.recorder.requests() {
            let wrong = schema::problems(variant, &request);
            assert!(wrong.is_empty(), "{variant} {more}: {wrong:?} in {}", request.body);
        }
    }
}

/// Every file of this folder that is not listed here is a kind, and stands in [`KINDS`].
#[test]
fn no_file_is_forgotten() {
    let shared = ["mod", "template", "http_retry", "smtp", "suite"];
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|stem| !shared.contains(&stem.as_str()))
        .collect();
    files.sort();
    let mut kinds: Vec<String> = KINDS.iter().map(|k| k.key.to_owned()).collect();
    kinds.sort();
    assert_eq!(files, kinds, "every file in notify/ needs its line in KINDS");
}

#[test]
fn every_kind_has_a_doc_an_example_and_helps_with_wrong_keys() {
    for kind in KINDS {
        assert!(!kind.doc.is_empty() && kind.keys.iter().all(|k| k.doc.ends_with('.')), "{}", kind.key);
        // The example is a whole table; what stands in it is what the kind reads.
        let lines: Vec<&str> = kind.example.trim().lines().collect();
        assert!(lines[0].starts_with("[notify.") && lines[1] == format!("kind = {:?}", kind.key), "{}", kind.key);
        let body = lines[1..].join("\n");
        let notifier = read_kind(kind.key, &body);
        for delivery in samples() {
            assert!(!notifier.preview(&delivery).is_empty());
        }
        for key in kind.keys {
            let typo: String = key.name.chars().chain(['x']).collect();
            let problems = problems_of(kind.key, &format!("{typo} = 1\n{body}"));
            let hint = format!("has no key `{typo}`; did you mean `{}`?", key.name);
            assert!(problems.iter().any(|p| p.contains(&hint)), "{}: {problems:?}", kind.key);
        }
    }
}

/// A wrong type under any key is a problem, never a panic.
#[test]
fn every_key_of_every_kind_refuses_a_wrong_type() {
    for kind in KINDS {
        let body = kind.example.trim().lines().skip(1);
        let body: Vec<&str> = body.collect();
        for key in kind.keys {
            let others = body.iter().filter(|line| !line.starts_with(&format!("{} ", key.name)));
            let others: Vec<&str> = others.copied().collect();
            for wrong in ["[[1]]", "{ x = 1 }", "1979-05-27"] {
                let config = format!("{}\n{} = {wrong}", others.join("\n"), key.name);
                let (_, problems) = read(kind, &config);
                assert!(
                    problems.list.iter().any(|p| p.message.contains(key.name) || p.message.contains("`x`")),
                    "{} {config}: {problems:?}",
                    kind.key
                );
            }
        }
    }
}

/// Secrets that are not there are known before anything is sent, and fail with their name.
#[tokio::test]
async fn missing_secrets_are_named() {
    let missing = "{ env = \"WATCHBELL_TEST_NO_SUCH_VARIABLE\" }";
    for (key, config) in [
        ("slack", format!("token = {missing}\nchannels = \"ops\"")),
        ("slack", format!("webhook = {missing}")),
        ("pagerduty", format!("key = {missing}")),
        ("webhook", format!("url = \"https://example.com/\"\nsecret = {missing}")),
        ("webhook", format!("url = \"https://example.com/\"\nheaders = {{ A = {missing} }}")),
        (
            "email",
            format!("server = \"localhost\"\nfrom = \"a@b.c\"\nto = \"d@e.f\"\nuser = \"u\"\npassword = {missing}"),
        ),
        ("sns", format!("topic = \"arn:aws:sns:r:1:t\"\naccess_key = \"a\"\nsecret_key = {missing}")),
    ] {
        let notifier = read_kind(key, &config);
        assert!(notifier.preflight().iter().any(|p| p.contains("WATCHBELL_TEST_NO_SUCH_VARIABLE")), "{config}");
        let shared = Shared::new().unwrap();
        let attempt = Attempt { timeout: Duration::from_secs(5), shared: &shared };
        let failure = notifier.deliver(&trigger(), &attempt).await.unwrap_err();
        assert!(failure.reason().contains("WATCHBELL_TEST_NO_SUCH_VARIABLE"), "{config}: {failure:?}");
    }
}

#[test]
fn several_targets_are_several_deliveries() {
    let config = "token = { env = \"T\" }\nchannels = [\"ops\", \"#web\", \"C024BE91L\"]";
    assert_eq!(read_kind("slack", config).targets(), ["#ops", "#web", "C024BE91L"]);
    let one = read_kind("slack", "token = { env = \"T\" }\nchannels = \"ops\"");
    assert_eq!(one.targets(), ["#ops"]);
    let to_web = Delivery { target: "#web".into(), action: Action::Trigger, ..trigger() };
    assert!(one.preview(&to_web).contains("\"channel\": \"#web\""));
}

/// What people read, of every kind and sort, in a file to look at: `UPDATE_EXPECTED=1` writes it anew.
#[test]
fn what_people_read() {
    let mail = "server = \"localhost\"\ntls = \"none\"\nfrom = \"bell@example.com\"\nto = [\"ops@example.com\"]";
    let kinds = [
        ("log", ""),
        ("email", mail),
        ("sns", "topic = \"arn:aws:sns:eu-west-1:123456789012:alerts\""),
        ("slack", "token = { env = \"T\" }\nchannels = [\"ops\"]"),
        ("slack", "style = \"cimaa\"\ntoken = { env = \"T\" }\nchannels = [\"ops\"]"),
        ("pagerduty", "key = { env = \"K\" }"),
        ("pagerduty", "style = \"cimaa\"\nkey = { env = \"K\" }"),
        ("webhook", "url = \"https://example.com/hook\""),
        ("command", "command = \"cat\""),
    ];
    let mut text = String::new();
    for (kind, config) in kinds {
        let style = if config.contains("cimaa") { ", CIMAA's style" } else { "" };
        for (sort, delivery) in night() {
            let shown = read_kind(kind, config).preview(&delivery);
            text.push_str(&format!("=== {kind}{style}: {sort}\n{}\n\n", shown.trim_end()));
        }
    }
    for (sort, delivery) in night() {
        let title = Template::standard(Flavour::Plain, template::TITLE).render_line(&delivery, &[]);
        let html = Template::standard(Flavour::Html, template::HTML).render(&delivery, &[("title", &title)]);
        text.push_str(&format!("=== email, HTML: {sort}\n{html}\n\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/suite/messages.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(expected.lines()).find(|(new, old)| new != old);
    assert!(text == expected, "messages differ (UPDATE_EXPECTED=1 writes them): {differs:?}");
}

/// What is told in a bad night, each sort once.
fn night() -> Vec<(&'static str, Delivery)> {
    let mut problem = trigger();
    problem.event.text = "DISK CRITICAL - free space: / 1.2 GB (9%)".into();
    problem.event.detail = "/dev/sda1 91%\n/dev/sdb1 40%".into();
    let with = |action: Action, change: &dyn Fn(&mut Event)| {
        let mut delivery = Delivery { action, ..problem.clone() };
        change(&mut delivery.event);
        delivery.key = format!("agent///web-1/app/disk/1/1/ops/{}", action.word());
        delivery
    };
    let recovered = |e: &mut Event| {
        (e.state, e.now) = (EventState::Recovery, Some("DISK OK - free space: / 8 GB (60%)".into()));
    };
    let warning = |e: &mut Event| {
        (e.severity, e.text) = (Severity::Warning, "DISK WARNING - free space: / 2 GB (15%)".into());
    };
    let mut ended = problem.event.clone();
    recovered(&mut ended);
    let mut digest = with(Action::Digest, &|e| e.name = "web-1#digest".into());
    digest.digest = vec![problem.event.clone(), ended];
    let now_unknown = |e: &mut Event| e.now = None;
    vec![
        (
            "a warning",
            with(Action::Trigger, &|e| {
                warning(e);
                now_unknown(e)
            }),
        ),
        ("worse", with(Action::Trigger, &now_unknown)),
        (
            "its text changed",
            with(Action::Update, &|e| {
                e.text = "DISK CRITICAL - free space: / 1 GB (8%)".into();
                now_unknown(e)
            }),
        ),
        (
            "not known",
            with(Action::Trigger, &|e| {
                (e.text, e.unknown) = ("UNKNOWN: can't read /proc/mounts".into(), true);
                now_unknown(e)
            }),
        ),
        (
            "acknowledged",
            with(Action::Acknowledge, &|e| {
                e.taken = Some("anna: I free some space".into());
                now_unknown(e)
            }),
        ),
        ("well again", with(Action::Resolve, &recovered)),
        (
            "well again, nobody knows how",
            with(Action::Resolve, &|e| {
                recovered(e);
                now_unknown(e)
            }),
        ),
        (
            "a message",
            with(Action::Message, &|e| {
                (e.kind, e.state, e.severity) = (EventKind::Message, EventState::Info, Severity::Info);
                (e.name, e.text, e.detail) = ("deploy".into(), "version 7 is out".into(), String::new());
                (e.runbook, e.since, e.attempt, e.description) = (None, None, None, None);
                now_unknown(e);
            }),
        ),
        ("a digest", digest),
    ]
}
