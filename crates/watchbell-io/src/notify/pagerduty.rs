//! PagerDuty: triggers, acknowledges and resolves through the Events API v2.
//!
//! The key that ties them is the fault's name, so that one fault is one alert whoever tells it, however often.
//! Fields and limits are those of <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>.

use super::{
    Attempt, Channel, Notifier,
    http_retry::{self, MASKED, Mask},
    slack::read_style,
    template::{self, Flavour, Template, cut, cut_middle, hash_tail},
};
use crate::source::BoxFuture;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Secret, Shape, Style},
    model::{Action, Delivery, EventState, Failure, Receipt},
};

/// PagerDuty's limit for `summary`, in characters.
const SUMMARY_MAX_CHARS: usize = 1_024;
/// PagerDuty's limit for `dedup_key`, in characters.
const DEDUP_KEY_MAX_CHARS: usize = 255;
/// What is sent of the check's output, so that an event stays far below PagerDuty's 512 KB.
const DETAIL_MAX_CHARS: usize = 8_000;
/// What is sent of each other field.
const FIELD_MAX_CHARS: usize = 1_024;
/// Where the Events API is.
const API: &str = "https://events.pagerduty.com";

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "pagerduty",
    doc: "Triggers, acknowledges and resolves PagerDuty alerts (Events API v2). The deduplication key is the fault's \
          name. Messages and digests trigger an alert of their own.",
    example: r#"
[notify.pager]
kind = "pagerduty"
key = { env = "PAGERDUTY_KEY" }
component = "web"
"#,
    keys: &[
        Key { name: "key", shape: Shape::Secret, doc: "The integration's routing key." },
        Key { name: "source", shape: Shape::String, doc: "What is shown as the source. Default: the event's host." },
        Key { name: "component", shape: Shape::String, doc: "The component. Default: the event's service." },
        Key {
            name: "group",
            shape: Shape::String,
            doc: "The group. Default: the event's label `group`, if it has one.",
        },
        Key { name: "class", shape: Shape::String, doc: "The class. Default: the kind of event." },
        Key { name: "client", shape: Shape::String, doc: "The name of the sender. Default: `Watchbell`." },
        Key { name: "client_url", shape: Shape::String, doc: "An address to open from the alert." },
        Key {
            name: "style",
            shape: Shape::Choice(&["native", "cimaa"]),
            doc: "`cimaa` writes the exact texts of CIMAA's alerter. Default: `native`.",
        },
        Key {
            name: "url",
            shape: Shape::String,
            doc: "Another base address of the API, for the EU region or a stand-in.",
        },
        template::TITLE_KEY,
    ],
    // A change rings nobody: what is wrong, worse, taken care of and well is all that is told.
    capabilities: Capabilities { edits: false, digests: false, acknowledges: true, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct PagerDuty {
    key: Secret,
    source: Option<String>,
    component: Option<String>,
    group: Option<String>,
    class: Option<String>,
    client: String,
    client_url: Option<String>,
    style: Style,
    api: String,
    title: Template,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let style = read_style(reader);
    let title = Template::read(reader, "title", Flavour::Plain, template::TITLE);
    let api = http_retry::read_base(reader, "url", API);
    let client_url = reader.string("client_url");
    if let Some(why) = client_url.as_deref().and_then(http_retry::url_problem) {
        reader.error("client_url", format!("`client_url` is no address: {why}"));
    }
    let (source, component) = (reader.string("source"), reader.string("component"));
    let (group, class) = (reader.string("group"), reader.string("class"));
    let client = reader.string("client").unwrap_or_else(|| "Watchbell".to_owned());
    if !reader.has("key") {
        reader.missing("key");
    }
    let key = reader.secret("key")?;
    Some(Arc::new(PagerDuty { key, source, component, group, class, client, client_url, style, api, title }))
}

/// What PagerDuty is asked to do. A message that says something is well again resolves what an earlier one opened.
fn event_action(delivery: &Delivery) -> &'static str {
    match delivery.action {
        Action::Resolve => "resolve",
        Action::Acknowledge => "acknowledge",
        Action::Message if delivery.event.state == EventState::Recovery => "resolve",
        _ => "trigger",
    }
}

/// What ties the events of one matter together: the fault's name.
fn dedup_key(delivery: &Delivery) -> String {
    let event = &delivery.event;
    let key = match delivery.action {
        Action::Digest => &delivery.key,
        Action::Message if event.state == EventState::Info || event.key.is_empty() => &delivery.key,
        Action::Message => &event.key,
        _ => event.name.as_str(),
    };
    hash_tail(key, DEDUP_KEY_MAX_CHARS)
}

impl PagerDuty {
    fn summary(&self, delivery: &Delivery) -> String {
        let event = &delivery.event;
        let text = match (self.style, delivery.action) {
            (Style::Cimaa, Action::Trigger | Action::Update) => {
                format!("{}\n{}", template::cimaa_name(event), event.text)
            }
            (Style::Cimaa, Action::Resolve) => format!("Cleared: {}", template::cimaa_name(event)),
            _ => self.title.render_line(delivery, &[]),
        };
        // PagerDuty refuses an event without a summary.
        let text = if text.trim().is_empty() { delivery.action.word().to_owned() } else { text };
        cut_middle(&text, SUMMARY_MAX_CHARS)
    }

    fn details(&self, delivery: &Delivery) -> Value {
        let event = &delivery.event;
        let mut details = Map::new();
        let mut put = |key: &str, value: Value| details.insert(key.to_owned(), value);
        put("name", json!(cut(&event.name, FIELD_MAX_CHARS)));
        let is_over = delivery.action == Action::Resolve;
        put(if is_over { "was" } else { "message" }, json!(cut_middle(&event.text, DETAIL_MAX_CHARS)));
        put("key", json!(delivery.key));
        if let Some(now) = &event.now {
            put("now", json!(cut(now, FIELD_MAX_CHARS)));
        }
        if let Some(taken) = &event.taken {
            put("taken", json!(cut(taken, FIELD_MAX_CHARS)));
        }
        if let Some(description) = &event.description {
            put("description", json!(cut(description, FIELD_MAX_CHARS)));
        }
        if !event.detail.is_empty() && !is_over {
            put("output", json!(cut_middle(&event.detail, DETAIL_MAX_CHARS)));
        }
        if let Some(runbook) = event.runbook.as_ref().filter(|_| !is_over) {
            put("runbook", json!(cut(runbook, DETAIL_MAX_CHARS)));
        }
        if let Some(since) = event.since {
            put("since", json!(template::people_time(since, &self.title.zone)));
            put("duration", json!(template::people_duration(event.at.since(since))));
        }
        if let Some((attempt, attempts)) = event.attempt.filter(|_| !is_over) {
            put("attempt", json!(format!("{attempt} of {attempts}")));
        }
        if !event.labels.is_empty() {
            put("labels", json!(event.labels));
        }
        if delivery.action == Action::Digest {
            let text =
                Template::standard(Flavour::Plain, template::TEXT).in_zone(&self.title.zone).render(delivery, &[]);
            put("digest", json!(cut(&text, DETAIL_MAX_CHARS)));
        }
        Value::Object(details)
    }

    /// The event, with this routing key.
    fn body(&self, delivery: &Delivery, routing_key: &str) -> Value {
        let event = &delivery.event;
        let source = self.source.as_deref().unwrap_or(&event.host);
        let source = if source.is_empty() { template::agent(event) } else { source };
        let mut payload = json!({
            "summary": self.summary(delivery),
            "source": cut(if source.is_empty() { "watchbell" } else { source }, FIELD_MAX_CHARS),
            "severity": event.severity.word(),
            "timestamp": event.at,
            "custom_details": self.details(delivery),
        });
        let component = self.component.as_ref().or(Some(&event.service));
        let kind = serde_json::to_value(event.kind).ok().and_then(|k| k.as_str().map(str::to_owned));
        let optional = [
            ("component", component),
            ("group", self.group.as_ref().or(event.labels.get("group"))),
            ("class", self.class.as_ref().or(kind.as_ref())),
        ];
        for (key, value) in optional {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                payload[key] = json!(cut(value, FIELD_MAX_CHARS));
            }
        }
        let mut body = json!({
            "routing_key": routing_key,
            "event_action": event_action(delivery),
            "dedup_key": dedup_key(delivery),
            "payload": payload,
        });
        if event_action(delivery) == "trigger" {
            body["client"] = json!(self.client);
            if let Some(url) = &self.client_url {
                body["client_url"] = json!(url);
            }
            let links = self.links(delivery);
            if !links.is_empty() {
                body["links"] = Value::Array(links);
            }
        }
        body
    }

    fn links(&self, delivery: &Delivery) -> Vec<Value> {
        let address = |text: &&String| http_retry::url_problem(text).is_none();
        let runbook = delivery.event.runbook.as_ref().filter(address);
        let link =
            delivery.event.link.as_ref().filter(address).map(|href| json!({"href": href, "text": "Where to look"}));
        link.into_iter().chain(runbook.map(|href| json!({"href": href, "text": "What to do"}))).collect()
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let mut mask = Mask::default();
        let key = http_retry::reveal(&self.key, "key", &mut mask)?;
        let url = format!("{}/v2/enqueue", self.api);
        let request = attempt.shared.http.client.post(&url).json(&self.body(delivery, &key));
        let answer = http_retry::send(attempt, request, &http_retry::place(&url), &mask).await?;
        Ok(Receipt { id: Some(dedup_key(delivery)), text: mask.quote(&answer.body) })
    }
}

impl Notifier for PagerDuty {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        format!("POST {}/v2/enqueue\n{:#}", self.api, self.body(delivery, MASKED))
    }

    fn preflight(&self) -> Vec<String> {
        http_retry::preflight([("key", Some(&self.key))])
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::tests::{samples, trigger};
    use super::*;
    use watchbell_core::model::Severity;

    fn pager(style: Style) -> PagerDuty {
        PagerDuty {
            key: Secret::Value("routing-key".into()),
            source: None,
            component: None,
            group: None,
            class: None,
            client: "Watchbell".into(),
            client_url: None,
            style,
            api: API.into(),
            title: Template::standard(Flavour::Plain, template::TITLE),
        }
    }

    /// S3.14: the key is the fault's name, its tail hashed beyond PagerDuty's limit.
    #[test]
    fn the_key_is_the_faults_name() {
        for delivery in samples().iter().filter(|d| !matches!(d.action, Action::Message | Action::Digest)) {
            assert_eq!(dedup_key(delivery), "//web-1/app/disk");
        }
        let mut long = trigger();
        long.event.name = format!("//h/f/{}", "x".repeat(400)).into();
        assert_eq!(dedup_key(&long).chars().count(), 255);
    }

    /// S3.14: text is cut to PagerDuty's limit keeping both ends.
    #[test]
    fn long_texts_keep_both_ends() {
        let mut delivery = trigger();
        delivery.event.text = format!("{} and the reason", "x".repeat(3_000));
        let summary = pager(Style::Native).summary(&delivery);
        assert_eq!(summary.chars().count(), 1_024);
        assert!(summary.starts_with("CRITICAL: app/disk on web-1") && summary.ends_with("and the reason"));
        let summary = pager(Style::Cimaa).summary(&delivery);
        assert_eq!(summary.chars().count(), 1_024);
        assert!(summary.starts_with("web-1 app disk\nxxx") && summary.ends_with("and the reason"), "{summary}");
    }

    /// S3.14: CIMAA's texts, exactly.
    #[test]
    fn cimaa_texts_are_exact() {
        let mut delivery = trigger();
        delivery.event.name = "//h/f/c".into();
        assert_eq!(pager(Style::Cimaa).summary(&delivery), "h f c\n91% used");
        delivery.action = Action::Resolve;
        assert_eq!(pager(Style::Cimaa).summary(&delivery), "Cleared: h f c");
    }

    /// S3.14: trigger and resolve; severities are PagerDuty's words.
    #[test]
    fn actions_and_severities_are_pagerdutys() {
        let pager = pager(Style::Native);
        for (action, expect) in [
            (Action::Trigger, "trigger"),
            (Action::Update, "trigger"),
            (Action::Acknowledge, "acknowledge"),
            (Action::Resolve, "resolve"),
            (Action::Message, "trigger"),
        ] {
            assert_eq!(pager.body(&Delivery { action, ..trigger() }, "k")["event_action"], expect);
        }
        for severity in Severity::ALL {
            let mut delivery = trigger();
            delivery.event.severity = severity;
            assert_eq!(pager.body(&delivery, "k")["payload"]["severity"], severity.word());
        }
        let mut recovery = Delivery { action: Action::Message, ..trigger() };
        recovery.event.state = EventState::Recovery;
        let body = pager.body(&recovery, "k");
        assert_eq!((&body["event_action"], &body["dedup_key"]), (&json!("resolve"), &json!("//web-1/app/disk")));
        assert!(body.get("client").is_none() && body.get("links").is_none());
    }
}
