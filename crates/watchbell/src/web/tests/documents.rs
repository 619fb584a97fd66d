//! The OpenAPI document, the answers held against it, and the figures' grammar.

use super::{Method, Rig, with_query};
use crate::{
    api::{
        path,
        schema::{Schema, Schemas},
    },
    web::{
        openapi,
        routes::{Body, ROUTES, Verb},
    },
};
use regex::Regex;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use watchbell_core::model::{Decision, Event, EventKind, EventState, Metric, Severity, Timestamp, Verdict};

/// The document that is checked in is the one that is served. `UPDATE_EXPECTED=1` writes it anew.
#[test]
fn the_document_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = format!("{:#}\n", openapi::document());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == text, "docs/openapi.json is not current: run the test with UPDATE_EXPECTED=1");
}

/// Every reference leads somewhere, every name is used once, every operation says what it is.
#[test]
fn the_document_holds_together() {
    let document = openapi::document();
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let reference = Regex::new(r##""\$ref":"#/components/schemas/(\w+)""##).unwrap();
    let used: BTreeSet<&str> = reference.captures_iter(&text).map(|c| c.get(1).unwrap().as_str()).collect();
    let defined: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(used, defined);
    for (name, schema) in schemas {
        assert_eq!(schema["type"], "object", "{name}");
        assert!(!schema["description"].as_str().unwrap().is_empty(), "{name}");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'));
        for (verb, operation) in item.as_object().unwrap() {
            assert!(["get", "post", "delete"].contains(&verb.as_str()), "{path} {verb}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{path} {verb}");
            assert!(operation["responses"]["200"]["content"].is_object(), "{path} {verb}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let place = if path.contains('{') { "path" } else { "query" };
                assert_eq!(parameter["in"], place);
                assert!(parameter["schema"].is_object() && parameter["description"].is_string(), "{parameter}");
                assert!(parameter["schema"]["type"].is_string(), "no null in a query: {parameter}");
            }
        }
    }
    assert_eq!(ids.len(), ROUTES.len());
}

/// Says where a value does not fit its schema: the part of JSON Schema that the document uses. A property that the
/// schema does not name does not fit.
fn fits(schema: &Value, value: &Value, all: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return fits(&all[name], value, all, at);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(options) = schema[key].as_array() {
            let fitting = options.iter().filter(|s| fits(s, value, all, at).is_ok()).count();
            return if fitting == 1 { Ok(()) } else { Err(format!("{at}: {value} fits {fitting} of {schema}")) };
        }
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{at}: {value} is none of {schema}"));
    }
    let is = |word: &str| match word {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => value.is_null(),
    };
    let known = match &schema["type"] {
        Value::String(word) => is(word),
        Value::Array(words) => words.iter().any(|w| w.as_str().is_some_and(is)),
        _ => true,
    };
    if !known {
        return Err(format!("{at}: {value} is not {}", schema["type"]));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| value.get(name).is_none()) {
        return Err(format!("{at}: `{missing}` is missing in {value}"));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let own = schema["properties"].get(name).or(schema.get("additionalProperties"));
        match own {
            Some(own) => fits(own, inner, all, &format!("{at}.{name}"))?,
            None if schema["type"] == "object" && schema.get("properties").is_none() => {}
            None if schema["type"].is_null() => {}
            None => return Err(format!("{at}: `{name}` is not in the document")),
        }
    }
    for (i, inner) in value.as_array().into_iter().flatten().enumerate() {
        fits(&schema["items"], inner, all, &format!("{at}[{i}]"))?;
    }
    Ok(())
}

/// What every route answers is what the document says, with a world in which there is some of everything.
#[tokio::test]
async fn answers_fit_the_document() {
    let rig = Rig::new().await;
    rig.fill().await;
    rig.post(
        path::REPORT,
        json!({"check": "exec/nightly", "text": "failed", "exit": 3,
        "findings": [{"severity": "critical", "message": "exit code 3"}]}),
    )
    .await;
    let document = openapi::document();
    let all = &document["components"]["schemas"];
    let queries = BTreeMap::from([
        (path::FAULT, ("name", "shop/job")),
        (path::CHECK, ("name", "shop/disk")),
        (path::SQUELCH_PREVIEW, ("regex", ".")),
        (path::WHY, ("id", "shop/job")),
    ]);
    let mut seen = 0;
    for route in ROUTES.iter().filter(|route| route.verb == Verb::Get) {
        let query: Vec<(&str, &str)> = queries.get(route.path).copied().into_iter().collect();
        let path = route.path.replace("{*what}", "shop/job");
        let response = rig.socket(Method::GET, &with_query(&path, &query)).send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(response.status(), 200, "{}", route.path);
        match route.answer {
            Body::Text(expect) => assert!(kind.starts_with(expect), "{}: {kind}", route.path),
            Body::Json(schema) => {
                assert_eq!(kind, "application/json", "{}", route.path);
                let answer: Value = response.json().await.unwrap();
                assert!(!answer.as_array().is_some_and(Vec::is_empty), "{} is empty", route.path);
                let schema = schema(&mut Schemas::new());
                if let Err(error) = fits(&schema, &answer, all, route.path) {
                    panic!("{error}\n{answer:#}");
                }
                seen += 1;
            }
        }
        let response = rig.socket(Method::HEAD, &with_query(&path, &query)).send().await.unwrap();
        assert_eq!(response.status(), 200, "HEAD {}", route.path);
        assert_eq!(response.text().await.unwrap(), "");
    }
    assert!(seen >= 12, "{seen}");
    rig.end().await;
}

/// The schemas of the core's types name the fields that the types have.
#[test]
fn schemas_of_the_core() {
    let event = Event {
        seq: 1,
        at: Timestamp::ZERO,
        received_at: Timestamp::ZERO,
        kind: EventKind::Fault,
        state: EventState::Problem,
        severity: Severity::Error,
        unknown: true,
        source: "check".into(),
        name: "//h/f/c".into(),
        key: "k".into(),
        host: "h".into(),
        service: "c".into(),
        topic: Some("t".into()),
        text: "x".into(),
        detail: "y".into(),
        now: Some("n".into()),
        description: Some("d".into()),
        link: Some("l".into()),
        runbook: Some("r".into()),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        since: Some(Timestamp::ZERO),
        attempt: Some((1, 2)),
        caused_by: Some(1),
        taken: None,
        original: Some(json!({"a": [1]})),
    };
    let decision = Decision {
        at: Timestamp::ZERO,
        name: "//h/f/c".into(),
        episode: 1,
        notifier: Some("ops".into()),
        rule: "told".into(),
        verdict: Verdict::Tell,
        text: "x".into(),
        delivery: Some("k".into()),
        event: Some(1),
    };
    let metric = Metric { name: "m".into(), value: 1.0, unit: Some("s".into()), at: Some(Timestamp::ZERO) };
    check_fields::<Event>(&json!(event));
    check_fields::<Decision>(&json!(decision));
    check_fields::<Metric>(&json!(metric));
}

fn check_fields<T: Schema>(full: &Value) {
    let mut all = Schemas::new();
    let schema = T::schema(&mut all);
    let all = json!(all);
    fits(&schema, full, &all, "").unwrap();
    let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    let said: BTreeSet<&String> = all[name]["properties"].as_object().unwrap().keys().collect();
    let there: BTreeSet<&String> = full.as_object().unwrap().keys().collect();
    assert_eq!(said, there);
}

/// The text format 0.0.4, line by line, as Prometheus' documentation states it.
fn check_exposition(text: &str) -> BTreeMap<String, f64> {
    let head = Regex::new(r"^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$").unwrap();
    let row = Regex::new(r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? (\S+)$"#).unwrap();
    let (mut family, mut kind) = (String::new(), String::new());
    let (mut families, mut rows) = (BTreeSet::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(found) = head.captures(line) {
            if &found[1] == "HELP" {
                family = found[2].to_owned();
                assert!(families.insert(family.clone()), "{family} comes twice");
                assert!(found[3].ends_with('.'), "{line}");
            } else {
                assert_eq!(found[2], family, "TYPE follows HELP");
                kind = found[3].to_owned();
                assert!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{line}");
            }
            continue;
        }
        let found = row.captures(line).unwrap_or_else(|| panic!("not a line of the format: {line:?}"));
        let base = if kind == "histogram" {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| found[1].strip_suffix(end)).unwrap()
        } else {
            &found[1]
        };
        assert_eq!(base, family, "{line}");
        assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
        let value: f64 = found[3].parse().unwrap();
        let series = format!("{}{}", &found[1], found.get(2).map_or("", |l| l.as_str()));
        assert!(rows.insert(series, value).is_none(), "{line} comes twice");
    }
    assert!(text.ends_with('\n'));
    rows
}

/// Issue 2 part 9: own figures in Prometheus' text format.
#[tokio::test]
async fn figures() {
    let rig = Rig::new().await;
    rig.fill().await;
    rig.agent.health.lateness.observe(std::time::Duration::from_micros(700));
    rig.agent.health.lateness.observe(std::time::Duration::from_millis(40));
    rig.agent.health.lateness.observe(std::time::Duration::from_secs(60));
    let text = rig.get(path::METRICS).await.1;
    let text = text.as_str().unwrap();
    let rows = check_exposition(text);
    for (series, expect) in [
        ("watchbell_ready", 1.0),
        ("watchbell_store_ok", 1.0),
        ("watchbell_checks{state=\"hard\"}", 1.0),
        ("watchbell_checks{state=\"soft\"}", 1.0),
        ("watchbell_checks{state=\"pending\"}", 1.0),
        ("watchbell_faults{severity=\"critical\",state=\"hard\"}", 2.0),
        ("watchbell_faults{severity=\"error\",state=\"soft\"}", 1.0),
        ("watchbell_squelches", 1.0),
        ("watchbell_config_problems{level=\"error\"}", 1.0),
        ("watchbell_run_lateness_seconds_bucket{le=\"0.001\"}", 1.0),
        ("watchbell_run_lateness_seconds_bucket{le=\"0.05\"}", 2.0),
        ("watchbell_run_lateness_seconds_bucket{le=\"30\"}", 2.0),
        ("watchbell_run_lateness_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("watchbell_run_lateness_seconds_count", 3.0),
        ("watchbell_http_answers_total{class=\"2xx\"}", 5.0),
    ] {
        assert_eq!(rows.get(series), Some(&expect), "{series}\n{text}");
    }
    for series in [
        "watchbell_commits_total",
        "watchbell_events_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "watchbell_outbox_deliveries{notifier=\"ops\"}",
        "watchbell_start_time_seconds",
    ] {
        assert!(rows.get(series).is_some_and(|v| *v >= 1.0), "{series}\n{text}");
    }
    assert!(rows["watchbell_run_lateness_seconds_sum"] > 60.0);
    assert!(rows.contains_key("process_cpu_seconds_total"));
    rig.end().await;
}
