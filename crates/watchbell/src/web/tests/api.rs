//! What the routes answer, to what is right and to what is wrong.

use super::{Limits, Method, Rig, SHOP, answer, body, with_query};
use crate::{
    api::{CheckStatus, CheckView, FaultView, StatusView, WhyView, path},
    web::routes::{Handler, ROUTES, Verb},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use watchbell_core::model::{Event, Hardness, Severity};

/// S3.9, issue 2 part 9: faults, checks, squelches and acknowledgements over HTTP.
#[tokio::test]
async fn what_is_wrong_is_shown() {
    let rig = Rig::new().await;
    rig.fill().await;
    let (_, faults) = rig.get(path::FAULTS).await;
    let faults: Vec<FaultView> = serde_json::from_value(faults).unwrap();
    let names: Vec<&str> = faults.iter().map(|f| &*f.name).collect();
    // The wrong check of the config is a fault too, and the newest of the critical ones comes first.
    assert!(names.contains(&"//h/shop/wrong"), "{names:?}");
    let job = faults.iter().find(|f| &*f.name == "//h/shop/job").unwrap();
    assert_eq!((job.severity, job.state, job.message.as_str()), (Severity::Critical, Hardness::Hard, "3 failed"));
    assert_eq!(job.detail, "a\nb\nc");
    assert_eq!(job.acknowledged_by.as_deref(), Some("ann"));
    assert_eq!(job.acknowledged.as_ref().unwrap().comment, "looking");
    assert_eq!(job.runbook.as_deref(), Some("start it again"));
    assert_eq!((job.told.len(), &*job.told[0].notifier), (1, "ops"));
    let disk = &faults.last().unwrap();
    assert_eq!((&*disk.name, disk.state, disk.attempt, disk.attempts), ("//h/shop/disk# home", Hardness::Soft, 1, 4));
    assert_eq!(disk.squelched_by.as_deref(), Some("shop/d.sk"));

    let (_, check) = rig.get("/api/v1/check?name=shop/job").await;
    let check: CheckView = serde_json::from_value(check).unwrap();
    assert_eq!((check.state, check.severity), (CheckStatus::Hard, Some(Severity::Critical)));
    let last = check.last.unwrap();
    assert_eq!((last.summary.as_str(), last.value, last.took_ms), ("3 failed", Some(3.5), 1500.0));
    assert_eq!(check.faults, ["//h/shop/job".into()]);

    let (_, status) = rig.get(path::STATUS).await;
    let status: StatusView = serde_json::from_value(status).unwrap();
    assert_eq!((&*status.agent, status.agent_id.as_str(), status.ready), ("h", "a1", true));
    assert_eq!((status.checks, status.faults_soft, status.squelches), (3, 1, 1));
    assert_eq!((status.faults["critical"], status.faults["warning"]), (2, 0));
    assert_eq!(status.config_errors, 1);
    assert!(status.outbox >= 2 && status.outbox_oldest.is_some(), "{status:?}");
    rig.end().await;
}

/// Who may only read is shown what is wrong with the config, but no secret that stands in a wrong line.
#[tokio::test]
async fn problems_show_no_secret() {
    let shop = "[notify.slack]\nkind = \"slack\"\ntoken = \"xoxb-1\"\nwebhok = \"https://hooks.example.com/xoxb-2\"\n\
                [notify.hook]\nkind = \"webhook\"\nurl = \"https://example.com/\"\nheaders = { \"a b\" = \"xoxb-3\" }\n\
                [check.wrong]\ncommand = \"true\"\nevry = \"1h\"\n";
    let rig = Rig::with("", shop, Limits::default()).await;
    let (status, problems) = rig.get(path::PROBLEMS).await;
    let lines: Vec<&str> = problems.as_array().unwrap().iter().filter_map(|p| p["source_line"].as_str()).collect();
    for line in ["token = ***", "webhok = ***", "headers = ***", "evry = \"1h\""] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    let (_, faults) = rig.get(path::FAULTS).await;
    let (reloaded, view) = rig.post(path::RELOAD, json!({})).await;
    assert_eq!((status, reloaded), (200, 200));
    for answer in [problems, faults, view] {
        assert!(!answer.to_string().contains("xoxb"), "{answer}");
    }
    rig.end().await;
}

/// Each way to ask for part of a list.
#[tokio::test]
async fn lists_are_filtered() {
    let rig = Rig::new().await;
    rig.fill().await;
    rig.post(path::RUN, json!({"check": "shop/ping", "by": "ann"})).await;
    for (path, query, key, expect) in [
        (path::FAULTS, vec![("state", "soft")], "name", "//h/shop/disk# home"),
        (path::FAULTS, vec![("check", "shop/job")], "name", "//h/shop/job"),
        (path::FAULTS, vec![("severity", "critical"), ("regex", "j.b$")], "name", "//h/shop/job"),
        (path::FAULTS, vec![("regex", "nothing")], "name", ""),
        (path::CHECKS, vec![], "name", "//h/shop/disk //h/shop/job //h/shop/ping"),
        (path::CHECKS, vec![("state", "pending")], "name", "//h/shop/ping"),
        (path::CHECKS, vec![("regex", "/[dj]")], "name", "//h/shop/disk //h/shop/job"),
        (path::SLOW, vec![("limit", "1")], "name", "//h/shop/job"),
        (path::EVENTS, vec![("kind", "message")], "name", "//h/send/deploy"),
        (path::EVENTS, vec![("name", "shop/job"), ("kind", "operator")], "name", "//h/shop/job"),
        (path::EVENTS, vec![("prefix", "//h/shop/d"), ("limit", "1")], "name", "//h/shop/disk# home"),
        (path::EVENTS, vec![("regex", "d.ploy"), ("severity", "info")], "name", "//h/send/deploy"),
        (path::EVENTS, vec![("until", "2001-01-01T00:00:00Z")], "name", ""),
        (path::EVENTS, vec![("since", "2999-01-01T00:00:00Z")], "name", ""),
        (path::SQUELCH_PREVIEW, vec![("regex", "job|ping")], "faults", "//h/shop/job"),
        (path::EVENTS, vec![("name", "h"), ("kind", "agent"), ("limit", "1")], "name", "h"),
        (path::SQUELCHES, vec![], "regex", "shop/d.sk"),
        (path::NOTIFIERS, vec![], "name", "ops"),
        (path::PROBLEMS, vec![], "file", "shop.toml"),
    ] {
        let (status, answer) = rig.get(&with_query(path, &query)).await;
        let rows = if key == "faults" { &answer["faults"] } else { &answer };
        let key = if key == "faults" { "name" } else { key };
        let found: Vec<&str> = rows.as_array().into_iter().flatten().filter_map(|row| row[key].as_str()).collect();
        assert_eq!((status, found.join(" ").as_str()), (200, expect), "{path} {query:?}: {answer}");
    }
    // One after the other, from the first.
    let (_, first) = rig.get(&with_query(path::EVENTS, &[("after", "0"), ("limit", "2")])).await;
    let first: Vec<Event> = serde_json::from_value(first).unwrap();
    assert_eq!(first.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2]);
    let (_, check) = rig.get("/api/v1/check?name=//h/shop/ping").await;
    assert_eq!((&check["running"], &check["state"]), (&json!(true), &json!("pending")));
    assert!(check["schedule"].as_str().unwrap().contains("every 1h"), "{check}");
    rig.end().await;
}

/// S3.9: a squelch is previewed, set with an end, replaced, and lifted, by whoever says so.
#[tokio::test]
async fn squelch_and_acknowledge() {
    let rig = Rig::new().await;
    rig.fill().await;
    let (_, list) = rig.get(path::SQUELCHES).await;
    assert_eq!(list[0]["hides"], 1);
    assert_eq!((&list[0]["by"], &list[0]["permanent"], &list[0]["until"]), (&json!("ben"), &json!(true), &Value::Null));
    let body = json!({"regex": "job", "reason": "night", "for_seconds": 60});
    assert_eq!(rig.post(path::SQUELCHES, body).await.0, 200);
    let (_, list) = rig.get(path::SQUELCHES).await;
    assert_eq!(list[0]["regex"], "job");
    assert!(list[0]["until"].as_str().unwrap().ends_with('Z'), "{list}");
    assert_eq!(list[0]["by"], "somebody on this host");
    // The answer says that less is kept quiet than was promised; one that comes again is listed with its hours.
    let body = json!({"regex": "job", "reason": "weekly", "every": "sat 02:00-04:00"});
    let (status, answer) = rig.post(path::SQUELCHES, body).await;
    let warning = answer["warning"].as_str().unwrap_or_default();
    assert!(
        status == 200 && warning.contains("it takes the place of the squelch by somebody on this host"),
        "{answer}"
    );
    let (_, list) = rig.get(path::SQUELCHES).await;
    assert_eq!((&list[0]["every"], &list[0]["until"]), (&json!("sat 02:00-04:00"), &Value::Null));
    let body = json!({"regex": "job", "reason": "weekly", "every": "sat 02:00-04:00"});
    assert_eq!(rig.post(path::SQUELCHES, body).await.1["warning"], Value::Null);
    assert_eq!(rig.delete(path::SQUELCHES, &[("regex", "job"), ("by", "ann")]).await.0, 200);
    let (status, error) = rig.delete(path::SQUELCHES, &[("regex", "job")]).await;
    assert_eq!((status, error["error"].as_str()), (404, Some("there is no squelch `job`")));
    let (_, events) = rig.get(&with_query(path::EVENTS, &[("name", "job")])).await;
    assert!(events.as_array().unwrap().is_empty(), "a squelch's name is no name below the agent: {events}");

    assert_eq!(rig.delete(path::ACKS, &[("fault", "shop/job"), ("by", "ann")]).await.0, 200);
    let (status, error) = rig.delete(path::ACKS, &[("fault", "shop/job")]).await;
    assert_eq!((status, error["error"].as_str()), (422, Some("`//h/shop/job` is not acknowledged")));
    let (_, fault) = rig.get("/api/v1/fault?name=shop/job").await;
    assert_eq!(fault["acknowledged_by"], Value::Null);
    rig.end().await;
}

/// What was told, and why, by each sort of id.
#[tokio::test]
async fn why_explains() {
    let rig = Rig::new().await;
    rig.fill().await;
    let (status, why) = rig.get("/api/v1/why?id=shop/job").await;
    assert_eq!(status, 200, "{why}");
    let why: WhyView = serde_json::from_value(why).unwrap();
    assert_eq!(why.fault.unwrap().message, "3 failed");
    let event = why.entries.iter().find_map(|e| e.event.as_ref()).unwrap().seq.to_string();
    let told = why.entries.iter().find_map(|e| e.decision.as_ref()?.delivery.clone()).unwrap();
    assert!(why.waiting.iter().any(|w| w.key == told && w.action == "trigger"), "{:?}", why.waiting);
    for (id, kind) in [(event.as_str(), "event"), (told.as_str(), "delivery"), ("//h/shop/job", "name")] {
        let (status, why) = rig.get(&with_query(path::WHY, &[("id", id)])).await;
        assert_eq!((status, &why["kind"]), (200, &json!(kind)), "{id}: {why}");
    }
    let (status, error) = rig.get("/api/v1/why?id=nothing").await;
    assert_eq!((status, error["error"].as_str()), (404, Some("nothing is known of `nothing`")));
    rig.end().await;
}

/// Posts each body and looks at the status and at what is said.
async fn check_bodies<const N: usize>(cases: [(&str, Value, u16, &str); N]) {
    let rig = Rig::new().await;
    rig.fill().await;
    for (path, body, status, error) in cases {
        let (got, answer) = rig.post(path, body.clone()).await;
        let said = answer["error"].as_str().unwrap_or_default().trim_start_matches("the body can't be read: ");
        assert!(got == status && said.starts_with(error), "{path} {body}: {got} {answer}");
        assert!(answer["hint"].is_string() || got == 422, "{answer}");
    }
    rig.end().await;
}

/// Wrong squelches: the status, and what is said.
#[tokio::test]
async fn wrong_squelches_are_explained() {
    let long = "x".repeat(2000);
    check_bodies([
        (path::SQUELCHES, json!({"regex": "(", "reason": "r"}), 400, "`(` is not a regular expression: unclosed group"),
        (
            path::SQUELCHES,
            json!({"regex": "", "reason": "r"}),
            422,
            "an empty regular expression would squelch everything",
        ),
        (path::SQUELCHES, json!({"regex": "a", "reason": " "}), 422, "a squelch needs a reason: who finds it next"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "every": "sat"}), 422, "the hours `sat` can't be read"),
        (path::SQUELCHES, json!({"regex": "a"}), 400, "missing field `reason`"),
        (path::SQUELCHES, json!({"regex": 1, "reason": "r"}), 400, "`regex`: invalid type: integer `1`"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "fr": 1}), 400, "unknown field `fr`, expected one of"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "for_seconds": -1}), 400, "`for_seconds`: invalid value"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "for_seconds": 0}), 400, "it would have ended at"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "until": "2001-01-01T00:00:00Z"}), 400, "it would have"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "until": "soon"}), 400, "`until`: "),
        (
            path::SQUELCHES,
            json!({"regex": "a", "reason": "r", "for_seconds": 1, "until": "2999-01-01T00:00:00Z"}),
            400,
            "`for_seconds` and `until` don't go together",
        ),
        (path::SQUELCHES, json!({"regex": "a\u{1f}b", "reason": "r"}), 400, "`regex` holds the control character"),
        (path::SQUELCHES, json!({"regex": long, "reason": "r"}), 413, "`regex` is 2000 bytes long; at most 1024"),
        (path::SQUELCHES, json!({"regex": "a", "reason": "r", "by": "a\nb"}), 400, "`by` holds the control character"),
        (path::SQUELCHES, json!([]), 400, "invalid length 0"),
    ])
    .await;
}

/// Wrong acknowledgements, runs, reports and messages: the status, and what is said.
#[tokio::test]
async fn wrong_bodies_are_explained() {
    check_bodies([
        (path::ACKS, json!({"fault": "shop/jo"}), 404, "there is no fault `//h/shop/jo`"),
        (path::ACKS, json!({"fault": "shop/job", "comment": "a\u{7}"}), 400, "`comment` holds the control character"),
        (path::RUN, json!({"check": "shop/pin"}), 404, "there is no check `//h/shop/pin`"),
        (path::RUN, json!({"check": "shop/job"}), 422, "`//h/shop/job` is passive"),
        (path::RUN, json!({}), 400, "missing field `check`"),
        (path::REPORT, json!({"check": "shop/ping"}), 422, "`//h/shop/ping` is run by the agent itself"),
        (path::REPORT, json!({"check": "none"}), 404, "there is no check `//h/none`"),
        (path::REPORT, json!({"check": "//other/exec/x"}), 404, "there is no check `//other/exec/x`"),
        (path::REPORT, json!({"check": "exec/"}), 404, "there is no check `//h/exec/`"),
        (
            path::REPORT,
            json!({"check": "shop/job", "findings": [{"severity": "bad", "message": "m"}]}),
            400,
            "`findings[0].severity`: unknown variant `bad`",
        ),
        (
            path::REPORT,
            json!({"check": "shop/job", "findings": [{"severity": "info", "message": "m"}]}),
            400,
            "`findings.severity` is info",
        ),
        (
            path::REPORT,
            json!({"check": "shop/job", "findings": [{"severity": "error", "message": " "}]}),
            400,
            "`findings.message` is empty",
        ),
        (
            path::REPORT,
            json!({"check": "shop/job", "findings": [{"severity": "error", "message": "m", "part": "//h/x"}]}),
            400,
            "`findings.part` is \"//h/x\"",
        ),
        (path::REPORT, json!({"check": "shop/job", "value": "1"}), 400, "`value`: invalid type: string"),
        (
            path::REPORT,
            json!({"check": "shop/job", "metrics": vec![json!({"name": "a", "value": 1.0}); 1001]}),
            413,
            "`metrics` has 1001 entries",
        ),
        (path::MESSAGES, json!({"name": "x", "text": ""}), 400, "`text` is empty"),
        (path::MESSAGES, json!({"name": "x", "text": "t", "source": "a/b"}), 400, "`source` holds a slash"),
        (path::MESSAGES, json!({"name": "x", "text": "t", "notify": ["nobody"]}), 422, "there is no notifier `nobody`"),
        (path::MESSAGES, json!({"name": "x", "text": "t", "labels": {"a": 1}}), 400, "`labels.a`: invalid type"),
        (path::MESSAGES, json!({"name": "x", "text": "t".repeat(70_000)}), 413, "`text` is 70000 bytes long"),
    ])
    .await;
}

/// Queries, paths and methods that are wrong.
#[tokio::test]
async fn wrong_requests_are_explained() {
    let rig = Rig::new().await;
    rig.fill().await;
    let get = Method::GET;
    for (method, path, status, error, hint) in [
        (get.clone(), "/api/v1/fault?name=jo", 404, "there is no fault `//h/jo`", "did you mean `//h/shop/job`?"),
        (get.clone(), "/api/v1/check?name=zzz", 404, "there is no check `//h/zzz`", "`watchbell checks` lists"),
        (get.clone(), "/api/v1/check", 400, "the query can't be read: missing field `name`", "times are"),
        (
            get.clone(),
            "/api/v1/faults?severity=bad",
            400,
            "the query can't be read: severity: unknown variant",
            "times",
        ),
        (get.clone(), "/api/v1/faults?name=x", 400, "the query can't be read: name: unknown field `name`", "times"),
        (get.clone(), "/api/v1/faults?regex=(", 400, "`(` is not a regular expression: unclosed group", "mend"),
        (get.clone(), "/api/v1/squelches/preview?regex=[", 400, "`[` is not a regular expression", "the syntax"),
        (get.clone(), "/api/v1/events?limit=x", 400, "the query can't be read: limit: invalid digit", "times are"),
        (
            get.clone(),
            "/api/v1/events?limit=10001",
            400,
            "`limit` must be at most 10000, this is 10001",
            "ask for less",
        ),
        (get.clone(), "/api/v1/events?since=now", 400, "the query can't be read: since: ", "times are RFC 3339"),
        (get.clone(), "/api/v1/events?name=a&prefix=b", 400, "`name`, `prefix` and `regex` don't go", "give one"),
        (get.clone(), "/api/v1/events?kind=x", 400, "the query can't be read: kind: unknown variant `x`", "times"),
        (get.clone(), "/api/v1/nothing", 404, "there is nothing at `/api/v1/nothing`", "`/api/v1/openapi.json` lists"),
        (Method::PUT, "/api/v1/faults", 405, "`PUT` is not a method of `/api/v1/faults`", "it takes GET, HEAD"),
        (Method::POST, "/healthz", 405, "`POST` is not a method of `/healthz`", "it takes GET, HEAD"),
        (get.clone(), "/api/v1/run", 405, "`GET` is not a method of `/api/v1/run`", "it takes POST"),
        (Method::PATCH, "/api/v1/squelches", 405, "`PATCH` is", "it takes DELETE, GET, HEAD, POST"),
        (Method::DELETE, "/api/v1/acks?fault=none", 404, "there is no fault `//h/none`", "`watchbell faults`"),
        (Method::DELETE, "/api/v1/acks", 400, "the query can't be read: missing field `fault`", "times"),
    ] {
        let response = rig.socket(method.clone(), path).send().await.unwrap();
        let (got, allow) = (response.status().as_u16(), response.headers().contains_key("allow"));
        let answer = body(response).await;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        assert!(got == status && text("error").starts_with(error), "{method} {path}: {got} {answer}");
        assert!(text("hint").starts_with(hint), "{method} {path}: {answer}");
        assert_eq!(allow, status == 405, "{path}");
    }
    rig.end().await;
}

/// Bodies that are not one JSON value, or don't say that they are.
#[tokio::test]
async fn what_is_no_json_is_refused() {
    let rig = Rig::new().await;
    for (kind, text, status, error) in [
        ("application/json", "{\"regex\": ", 400, "the body can't be read: `regex`: EOF while parsing"),
        ("application/json", "", 400, "the body can't be read: EOF while parsing a value"),
        (
            "application/json",
            "{\"regex\":\"a\",\"reason\":\"r\"} {}",
            400,
            "the body can't be read: trailing characters",
        ),
        (
            "application/json",
            "{\"regex\":\"a\",\"reason\":\"r\",\"for_seconds\":1e999}",
            400,
            "the body can't be read: ",
        ),
        ("application/json", "\u{0}\u{1}", 400, "the body can't be read: expected value"),
        ("text/plain", "{}", 415, "the body must be JSON"),
        ("application/x-www-form-urlencoded", "regex=a", 415, "the body must be JSON"),
        ("", "{}", 415, "the body must be JSON"),
    ] {
        let request = rig.socket(Method::POST, path::SQUELCHES).body(text);
        let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
        let (got, answer) = answer(request).await;
        let said = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && said.starts_with(error), "{kind} {text:?}: {got} {answer}");
    }
    rig.end().await;
}

/// Every route but the open ones wants a token with its scope, and no other; the socket wants none.
#[tokio::test]
async fn tokens_have_scopes() {
    let scopes = ["read", "operate", "ingest"];
    let token = |scope: &&str| {
        let hash: String = Sha256::digest(format!("secret-{scope}")).iter().map(|b| format!("{b:02x}")).collect();
        format!("{{ name = \"t-{scope}\", scopes = [\"{scope}\"], sha256 = \"{hash}\" }}")
    };
    let tokens = scopes.iter().map(token).collect::<Vec<_>>().join(", ");
    let rig = Rig::with(&format!("tokens = [{tokens}]"), SHOP, Limits::default()).await;
    // Pings have a test of their own: a key does in place of a token.
    for route in ROUTES.iter().filter(|route| route.path != path::PING) {
        let method = match route.verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        };
        let wanted = match route.handler {
            Handler::Open(_) => None,
            Handler::Read(_) => Some("read"),
            Handler::Operate(_) => Some("operate"),
            Handler::Ingest(_) => Some("ingest"),
        };
        let ask = async |shown: Option<String>| {
            let mut request = rig.over_tcp(method.clone(), route.path);
            if let Some(shown) = shown {
                request = request.bearer_auth(shown);
            }
            request.send().await.unwrap().status().as_u16()
        };
        let may = |status: u16| status != 401 && status != 403;
        assert_eq!(may(ask(None).await), wanted.is_none(), "{} without a token", route.path);
        assert_eq!(may(ask(Some("wrong".into())).await), wanted.is_none(), "{} with a wrong token", route.path);
        for scope in scopes {
            let status = ask(Some(format!("secret-{scope}"))).await;
            // Who may operate may see what there is to operate on.
            let implied = wanted == Some("read") && scope == "operate";
            assert_eq!(may(status), implied || wanted.is_none_or(|w| w == scope), "{} {scope}: {status}", route.path);
        }
        let at_socket = rig.socket(method.clone(), route.path).send().await.unwrap().status().as_u16();
        assert!(may(at_socket), "{}: {at_socket}", route.path);
    }
    let response = rig.over_tcp(Method::GET, path::STATUS).send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"watchbell\"");
    // Behind a proxy: its name, and pages that it serves.
    let behind = rig.over_tcp(Method::GET, path::STATUS).header("host", "proxy.example.com").bearer_auth("secret-read");
    assert_eq!(answer(behind).await.0, 200);
    // Whose token it was stands in the record.
    let body = json!({"regex": "x", "reason": "r", "by": "ann"});
    let request = rig.over_tcp(Method::POST, path::SQUELCHES).bearer_auth("secret-operate").json(&body);
    assert_eq!(answer(request).await.0, 200);
    assert_eq!(rig.get(path::SQUELCHES).await.1[0]["by"], "ann (token t-operate)");
    rig.end().await;
}

/// Whoever reports need not see the checks: the end of a name is enough, and `exec/NAME` is the passive check of that
/// name if there is one.
#[tokio::test]
async fn reports_find_their_check() {
    let shop = "[check.job]\npassive = \"1h\"\n[check.a]\npassive = \"1h\"\n[check.run]\ncommand = \"true\"\n";
    let rig = Rig::with("", shop, Limits::default()).await;
    for (check, expect) in [
        ("//h/shop/job", Ok("//h/shop/job")),
        ("shop/job", Ok("//h/shop/job")),
        ("job", Ok("//h/shop/job")),
        ("exec/job", Ok("//h/shop/job")),
        ("exec/shop/job", Ok("//h/shop/job")),
        ("exec/h/shop/job", Ok("//h/shop/job")),
        ("exec/nightly", Ok("//h/exec/nightly")),
        ("exec/run", Ok("//h/exec/run")),
        ("//h/exec/job", Ok("//h/exec/job")),
        ("ob", Err((404, "there is no check `//h/ob`"))),
        ("run", Err((404, "there is no check `//h/run`"))),
        ("exec/", Err((404, "there is no check `//h/exec/`"))),
        ("", Err((404, "there is no check `//h/`"))),
        ("exec/a\nb", Err((400, "`check` holds the control character '\\n'"))),
    ] {
        let body = json!({"check": check, "findings": [{"severity": "critical", "message": "m"}]});
        let (status, answer) = rig.post(path::REPORT, body).await;
        match expect {
            Ok(name) => {
                assert_eq!(status, 200, "{check:?}: {answer}");
                assert_eq!(rig.get(&with_query(path::FAULT, &[("name", name)])).await.0, 200, "{check:?} is {name}");
                rig.post(path::REPORT, json!({"check": name})).await;
            }
            Err((expect, error)) => assert_eq!((status, answer["error"].as_str()), (expect, Some(error)), "{check:?}"),
        }
    }
    rig.end().await;
    let policy = |names: [&str; 2]| {
        let mut policy = watchbell_core::config::Policy::default();
        policy.agent.name = "h".into();
        policy.checks.extend(names.map(|name| {
            let mut check = watchbell_core::config::CheckPolicy::bare(name.into(), Vec::new());
            check.passive = Some(watchbell_core::config::Passive {
                within: Duration::from_secs(60),
                slots: None,
                ends_within: None,
            });
            (name.into(), Arc::new(check))
        }));
        policy
    };
    let several = crate::api::view::reported(&policy(["//h/db/backup", "//h/shop/backup"]), "exec/backup");
    assert_eq!(several, Err("`backup` may be `//h/db/backup` or `//h/shop/backup`".to_owned()));
}

/// A page in a browser on this host can neither read nor do anything.
#[tokio::test]
async fn pages_of_others_are_kept_out() {
    let rig = Rig::new().await;
    let address = rig.base.trim_start_matches("http://").to_owned();
    let port = address.rsplit(':').next().unwrap();
    let (local, evil) = (format!("localhost:{port}"), format!("evil.example.com:{port}"));
    for (method, host, origin, status) in [
        (Method::GET, address.clone(), "", 405),
        (Method::GET, local.clone(), "", 405),
        (Method::GET, "h".to_owned(), "", 405),
        (Method::GET, evil.clone(), "", 403),
        (Method::GET, evil.clone(), "http://evil.example.com", 403),
        (Method::POST, address.clone(), "", 200),
        (Method::POST, address.clone(), &format!("http://{address}"), 200),
        (Method::POST, local.clone(), &format!("http://{local}"), 200),
        (Method::POST, address.clone(), "http://evil.example.com", 403),
        (Method::POST, address.clone(), "null", 403),
        (Method::POST, address.clone(), "http://127.0.0.1:1", 403),
        (Method::POST, address.clone(), "http://127.0.0.1", 403),
        (Method::POST, local.clone(), &format!("http://{address}"), 403),
        (Method::POST, local.clone(), &format!("https://{local}"), 403),
        (Method::POST, evil.clone(), "", 403),
        (Method::POST, evil.clone(), &format!("http://{evil}"), 403),
    ] {
        let mut request = rig.over_tcp(method.clone(), path::MESSAGES).header("host", &host);
        if method == Method::POST {
            request = request.json(&json!({"name": "a", "text": "b"}));
        }
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let (got, answer) = answer(request).await;
        assert_eq!(got, status, "{method} {host} {origin}: {answer}");
    }
    rig.end().await;
}

/// Over TCP without tokens everybody on the host looks and reports, and nobody operates; the socket does it all. With
/// tokens that can't be read TCP answers nothing.
#[tokio::test]
async fn tcp_without_tokens_does_not_operate() {
    for (line, looks, operates) in [("", true, false), ("tokens = [{ name = \"a\", sha256 = \"12\" }]", false, false)] {
        let rig = Rig::with(line, SHOP, Limits::default()).await;
        for route in ROUTES {
            let (method, may) = match (&route.verb, &route.handler) {
                (_, Handler::Open(_)) if route.path == path::PING => (Method::POST, looks),
                (_, Handler::Open(_)) => (Method::GET, true),
                (Verb::Get, _) => (Method::GET, looks),
                (_, Handler::Ingest(_)) => (Method::POST, looks),
                (Verb::Post, _) => (Method::POST, operates),
                (Verb::Delete, _) => (Method::DELETE, operates),
            };
            let status = rig.over_tcp(method.clone(), route.path).send().await.unwrap().status().as_u16();
            assert_eq!(status != 401, may, "{line} {}: {status}", route.path);
            let status = rig.socket(method, route.path).send().await.unwrap().status().as_u16();
            assert!(status != 401 && status != 403, "{line} {}: {status}", route.path);
        }
        rig.end().await;
    }
}

/// While the store fails, what would have to be stored is refused with a time to come back, and what is known can
/// still be seen; afterwards all is as before.
#[tokio::test]
async fn a_failing_store_refuses_and_shows() {
    let rig = Rig::new().await;
    rig.fill().await;
    rig.failing.store(true, Relaxed);
    rig.agent.handle.input(watchbell_core::engine::Input::Own { part: "disk".into(), finding: None }).await;
    // The failing commit itself is waited for; what comes after it is refused at once.
    let body = || json!({"regex": "a", "reason": "r"});
    let request = rig.socket(Method::POST, path::SQUELCHES).json(&body());
    let slow = tokio::spawn(request.send());
    while rig.agent.health.store_failure().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let response = rig.socket(Method::POST, path::SQUELCHES).json(&body()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "5");
    let said = super::body(response).await;
    assert_eq!(said["error"], "nothing can be stored now: the disk is full");
    let (status, ready) = rig.get(path::READYZ).await;
    assert_eq!((status, ready["error"].as_str()), (503, Some("the store can't be written: the disk is full")));
    for path in [path::HEALTHZ, path::FAULTS, path::CHECKS, path::SQUELCHES, path::EVENTS, path::STATUS, path::METRICS]
    {
        assert_eq!(rig.get(path).await.0, 200, "{path}");
    }
    let (_, status) = rig.get(path::STATUS).await;
    assert_eq!((&status["ready"], &status["store_failure"]), (&json!(false), &json!("the disk is full")));
    assert!(rig.get(path::METRICS).await.1.as_str().unwrap().contains("\nwatchbell_store_ok 0\n"));
    rig.failing.store(false, Relaxed);
    // The one that waited is either on disk or was refused; then all works again.
    assert!(matches!(slow.await.unwrap().unwrap().status().as_u16(), 200 | 503));
    assert_eq!(rig.post(path::SQUELCHES, body()).await.0, 200);
    assert_eq!(rig.get(path::READYZ).await.0, 200);
    rig.end().await;
}

/// Lists that take many looks at the world are whole.
#[tokio::test]
async fn long_lists_are_whole() {
    let shop: String = (0..401).map(|n| format!("[check.c{n:03}]\npassive = \"1h\"\n")).collect();
    let rig = Rig::with("", &shop, Limits::default()).await;
    for n in 0..401 {
        let outcome = watchbell_core::model::Outcome {
            findings: vec![watchbell_core::model::Finding::new(Severity::Critical, "m")],
            ..Default::default()
        };
        let check = format!("//h/shop/c{n:03}").into();
        rig.agent
            .handle
            .input(watchbell_core::engine::Input::Report { check, at: None, outcome: Box::new(outcome) })
            .await;
    }
    assert_eq!(rig.post(path::SQUELCHES, json!({"regex": "zzz", "reason": "r"})).await.0, 200);
    for path in [path::CHECKS, path::FAULTS, "/api/v1/slow?limit=1000"] {
        let (_, list) = rig.get(path).await;
        let mut names: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 401, "{path}");
    }
    let metrics = rig.get(path::METRICS).await.1;
    assert!(metrics.as_str().unwrap().contains("\nwatchbell_checks{state=\"hard\"} 401\n"), "{metrics}");
    rig.end().await;
}

/// Reading the config again, and an agent that is not ready.
#[tokio::test]
async fn reload_and_ready() {
    let rig = Rig::new().await;
    let (status, view) = rig.post(path::RELOAD, json!({})).await;
    assert_eq!((status, &view["config_errors"], &view["checks"]), (200, &json!(1), &json!(3)), "{view}");
    let problem = &view["problems"][0];
    assert_eq!((&problem["file"], &problem["level"]), (&json!("shop.toml"), &json!("error")), "{view}");
    assert_eq!(problem["source_line"], "evry = \"1h\"");
    rig.agent.health.set_stopping();
    let (status, error) = rig.get(path::READYZ).await;
    assert_eq!((status, error["error"].as_str()), (503, Some("the agent is ending")));
    assert_eq!(rig.get(path::HEALTHZ).await, (200, Value::String("ok\n".into())));
    rig.agent.handle.close().await;
    assert_eq!(rig.get(path::HEALTHZ).await.0, 503);
    assert_eq!(rig.post(path::MESSAGES, json!({"name": "x", "text": "t"})).await.0, 503);
    if let Some(web) = { rig }.web.take() {
        web.stop().await;
    }
}

/// A report by nothing but an address: by the check's key from anywhere, by its name for who may report.
#[tokio::test]
async fn pings_are_reports() {
    let folder = std::env::temp_dir().join(format!("watchbell-ping-{}", std::process::id()));
    std::fs::write(&folder, "a key of many letters\n").unwrap();
    let shop = format!(
        "[check.backup]\npassive = \"1d\"\nretry = 0\nping_key = {{ file = {folder:?} }}\n[check.other]\npassive = \"1d\"\n[check.own]\nevery = \"1d\"\ncommand = \"true\"\n"
    );
    let hash: String = Sha256::digest("w").iter().map(|b| format!("{b:02x}")).collect();
    let token = format!("tokens = [{{ name = \"ci\", scopes = [\"ingest\"], sha256 = \"{hash}\" }}]");
    let key = "/ping/a%20key%20of%20many%20letters";
    let rig = Rig::with(&token, &shop, Limits::default()).await;
    let ping = async |method: Method, path: &str, body: &'static str, token: &str| {
        let request = rig.tcp.request(method, format!("{}{path}", rig.base)).body(body);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        answer(request).await.0
    };
    let last = async |check: &str| {
        let check = crate::api::view::full_name(&"h".into(), check);
        let look = move |world: &watchbell_core::engine::World| {
            let state = world.state.checks.get(&check);
            let begun = state.is_some_and(|s| s.begun.is_some());
            (begun, state.and_then(|s| s.last.as_ref()).map(|l| l.summary.clone()).unwrap_or_default())
        };
        rig.agent.handle.look(look).await.unwrap()
    };
    for (method, path, body, token, status, expect) in [
        (Method::GET, "/ping/shop/backup", "", "", 401, (false, "")),
        (Method::GET, "/ping/shop/backup", "", "x", 401, (false, "")),
        (Method::GET, &format!("{key}/start"), "", "", 200, (true, "")),
        (Method::GET, key, "", "", 200, (false, "ok")),
        (Method::POST, &format!("{key}/3"), "a\nno space", "", 200, (false, "exit code 3: no space")),
        (Method::POST, &format!("{key}/0"), "copied 7 files\n", "", 200, (false, "copied 7 files")),
        (Method::HEAD, &format!("{key}/fail"), "", "", 200, (false, "it failed")),
        (Method::GET, "/ping/backup", "", "w", 200, (false, "ok")),
        (Method::GET, "/ping/shop/backup/7", "", "w", 200, (false, "exit code 7")),
        (Method::GET, "/ping/%2F%2Fh%2Fshop%2Fbackup/0", "", "w", 200, (false, "ok")),
        (Method::POST, key, "\u{feff}\0x\u{1b}[31m", "", 200, (false, "\u{feff}\0x\u{1b}[31m")),
        (Method::GET, &format!("{key}x"), "", "w", 404, (false, "\u{feff}\0x\u{1b}[31m")),
        (Method::GET, "/ping/", "", "w", 404, (false, "\u{feff}\0x\u{1b}[31m")),
        (Method::DELETE, key, "", "", 405, (false, "\u{feff}\0x\u{1b}[31m")),
    ] {
        assert_eq!(ping(method.clone(), path, body, token).await, status, "{method} {path}");
        let (begun, summary) = last("shop/backup").await;
        assert_eq!((begun, summary.as_str()), expect, "{method} {path}");
    }
    // A key is for its own check; a check that the agent runs takes none.
    assert_eq!(last("shop/other").await, (false, String::new()));
    assert_eq!(ping(Method::GET, "/ping/shop/own", "", "w").await, 422);
    // More than is kept of a log is no reason to refuse it.
    let long: &'static str = "x".repeat(3 << 20).leak();
    assert_eq!(ping(Method::POST, &format!("{key}/1"), long, "").await, 200);
    // An image on somebody's page.
    let request =
        rig.tcp.get(format!("{}/ping/backup", rig.base)).bearer_auth("w").header("sec-fetch-site", "cross-site");
    assert_eq!(answer(request).await.0, 403);
    std::fs::remove_file(folder).unwrap();
    rig.end().await;
}
