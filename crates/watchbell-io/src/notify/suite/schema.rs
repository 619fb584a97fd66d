//! What Slack and PagerDuty document of their requests: fields, types, lengths. Anything else is a problem.

use super::recorder::Request;
use serde_json::Value;

/// A field: its name, whether it must be there, and what it may be.
type Field = (&'static str, bool, Is);

enum Is {
    /// A text of at most so many characters, not empty.
    Text(usize),
    /// One of these.
    Word(&'static [&'static str]),
    /// A list of at most so many, each as the function says.
    List(usize, fn(&Value) -> Vec<String>),
    /// An object, as the function says.
    Object(fn(&Value) -> Vec<String>),
    /// Any JSON.
    Any,
}

/// What a request has that its receiver does not document.
pub(super) fn problems(variant: &str, request: &Request) -> Vec<String> {
    let Ok(body) = serde_json::from_str::<Value>(&request.body) else { return vec!["no JSON".into()] };
    let mut wrong = match (variant, request.path.split('?').next().unwrap()) {
        ("slack", "/chat.postMessage") => {
            let own = [
                ("thread_ts", false, Is::Text(20)),
                ("unfurl_links", false, Is::Any),
                ("unfurl_media", false, Is::Any),
            ];
            slack(&body, &[&own, &[CHANNEL, METADATA, LINK_NAMES]])
        }
        ("slack", "/chat.update") => slack(&body, &[&[("ts", true, Is::Text(20)), CHANNEL, METADATA, LINK_NAMES]]),
        ("slack-webhook", _) => slack(&body, &[]),
        ("pagerduty", "/v2/enqueue") => pagerduty(&body, request.body.len()),
        (_, path) => vec![format!("unknown path {path}")],
    };
    if request.method != "POST" || request.header("content-type") != Some("application/json") {
        wrong.push("no POST of JSON".into());
    }
    if variant == "slack" && !request.header("authorization").is_some_and(|a| a.starts_with("Bearer ")) {
        wrong.push("no bearer token".into());
    }
    wrong
}

fn object(value: &Value, fields: &[&[Field]]) -> Vec<String> {
    let Some(map) = value.as_object() else { return vec![format!("{value} is no object")] };
    let all = || fields.iter().flat_map(|list| list.iter());
    let mut wrong: Vec<String> =
        map.keys().filter(|key| all().all(|f| f.0 != key.as_str())).map(|key| format!("unknown field {key}")).collect();
    for (name, required, is) in all() {
        match map.get(*name) {
            None if *required => wrong.push(format!("no {name}")),
            None => {}
            Some(value) => wrong.extend(check(value, is).into_iter().map(|why| format!("{name}: {why}"))),
        }
    }
    wrong
}

fn check(value: &Value, is: &Is) -> Vec<String> {
    match is {
        Is::Any => Vec::new(),
        Is::Object(inner) => inner(value),
        Is::Text(max) => match value.as_str().map(|text| text.chars().count()) {
            Some(n) if n > 0 && n <= *max => Vec::new(),
            Some(n) => vec![format!("{n} characters, not 1 to {max}")],
            None => vec![format!("{value} is no text")],
        },
        Is::Word(words) => match value.as_str() {
            Some(word) if words.contains(&word) => Vec::new(),
            _ => vec![format!("{value} is none of {words:?}")],
        },
        Is::List(max, inner) => match value.as_array() {
            Some(list) if !list.is_empty() && list.len() <= *max => list.iter().flat_map(inner).collect(),
            _ => vec![format!("{value} is no list of 1 to {max}")],
        },
    }
}

const CHANNEL: Field = ("channel", true, Is::Text(80));
const LINK_NAMES: Field = ("link_names", false, Is::Any);
const METADATA: Field = ("metadata", false, Is::Object(metadata));

fn metadata(value: &Value) -> Vec<String> {
    object(value, &[&[("event_type", true, Is::Text(255)), ("event_payload", true, Is::Any)]])
}

fn slack(body: &Value, more: &[&[Field]]) -> Vec<String> {
    let common: &[Field] = &[("text", true, Is::Text(40_000)), ("attachments", false, Is::List(20, attachment))];
    object(body, &[&[common], more].concat())
}

fn attachment(value: &Value) -> Vec<String> {
    let fields: &[Field] =
        &[("color", false, Is::Text(7)), ("fallback", false, Is::Text(40_000)), ("blocks", true, Is::List(50, block))];
    object(value, &[fields])
}

fn block(value: &Value) -> Vec<String> {
    let common: &[Field] = &[("type", true, Is::Text(20)), ("block_id", false, Is::Text(255))];
    match value["type"].as_str() {
        Some("section") => object(value, &[common, &[("text", true, Is::Object(section_text))]]),
        Some("context") => object(value, &[common, &[("elements", true, Is::List(10, section_text))]]),
        _ => vec![format!("unknown block {value}")],
    }
}

fn section_text(value: &Value) -> Vec<String> {
    let fields: &[Field] = &[("type", true, Is::Word(&["mrkdwn", "plain_text"])), ("text", true, Is::Text(3_000))];
    object(value, &[fields])
}

fn pagerduty(body: &Value, bytes: usize) -> Vec<String> {
    let fields: &[Field] = &[
        ("routing_key", true, Is::Text(64)),
        ("event_action", true, Is::Word(&["trigger", "acknowledge", "resolve"])),
        ("dedup_key", true, Is::Text(255)),
        ("payload", true, Is::Object(payload)),
        ("client", false, Is::Text(1_024)),
        ("client_url", false, Is::Text(8_000)),
        ("links", false, Is::List(20, link)),
    ];
    let mut wrong = object(body, &[fields]);
    if bytes > 512 * 1024 {
        wrong.push(format!("{bytes} bytes, PagerDuty takes 512 KB"));
    }
    wrong
}

fn payload(value: &Value) -> Vec<String> {
    let fields: &[Field] = &[
        ("summary", true, Is::Text(1_024)),
        ("source", true, Is::Text(1_024)),
        ("severity", true, Is::Word(&["critical", "error", "warning", "info"])),
        ("timestamp", false, Is::Text(40)),
        ("component", false, Is::Text(1_024)),
        ("group", false, Is::Text(1_024)),
        ("class", false, Is::Text(1_024)),
        ("custom_details", false, Is::Any),
    ];
    object(value, &[fields])
}

fn link(value: &Value) -> Vec<String> {
    object(value, &[&[("href", true, Is::Text(8_000)), ("text", false, Is::Text(1_024))]])
}
