//! Slack: posts, edits and threads messages with a bot token, or posts through an incoming webhook.
//!
//! One message per fault: the trigger is posted, a change edits it in place, and the resolve edits it too, or
//! answers in its thread, or is a message of its own. What ties them is the receipt `CHANNEL_ID:ts` of the trigger.
//! Fields and limits are those of <https://docs.slack.dev/reference/methods/chat.postMessage>.

use super::{
    Attempt, Channel, Notifier,
    http_retry::{self, MASKED, Mask},
    template::{self, Flavour, Template, cut, people_duration, people_time, slack_escape},
};
use crate::{shared::json, source::BoxFuture};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Secret, Shape, Style},
    model::{Action, Delivery, Failure, Receipt, Severity},
};

/// Slack's limit for the text of a section, in characters.
const SECTION_MAX_CHARS: usize = 3_000;
/// What is sent of a title. Slack cuts `text` at 40,000 and shows little of it in notifications.
const TITLE_MAX_CHARS: usize = 2_000;
/// What is sent of CIMAA's texts, which are whole: below the 40,000 at which Slack cuts them, with who is called.
const CIMAA_MAX_CHARS: usize = 38_000;
/// What is shown of a check's output.
const OUTPUT_MAX_CHARS: usize = 1_500;
/// Where Slack's API is.
const API: &str = "https://slack.com/api";

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "slack",
    doc: "Posts to Slack channels: with a bot `token` (scope `chat:write`) to any number of `channels`, or through an \
          incoming `webhook`. With a token, changes edit what was posted and the resolve follows `resolve`.",
    example: r#"
[notify.ops]
kind = "slack"
token = { env = "SLACK_TOKEN" }
channels = ["ops", "web-team"]
mention = "@here"
resolve = "thread"
"#,
    keys: &[
        Key { name: "token", shape: Shape::Secret, doc: "A bot's token (`xoxb-…`)." },
        Key {
            name: "channels",
            shape: Shape::Strings,
            doc: "Where to post; `#` may be left out. One text is one channel.",
        },
        Key { name: "webhook", shape: Shape::Secret, doc: "The address of an incoming webhook, instead of a token." },
        Key {
            name: "mention",
            shape: Shape::Strings,
            doc: "Who is called when something is wrong: `@here`, `@channel`, a user's id (`U024BE7LH`), or as Slack \
                  writes it (`<!subteam^S0614TZR7>`). Nobody by default.",
        },
        Key {
            name: "resolve",
            shape: Shape::Choice(&["update", "thread", "message"]),
            doc: "How it is told that all is well again: the trigger's message is edited (`update`, the default), \
                  answered in its thread, or followed by a message of its own. A webhook always makes a new message.",
        },
        Key {
            name: "style",
            shape: Shape::Choice(&["native", "cimaa"]),
            doc: "`cimaa` writes the exact texts of CIMAA's alerter. Default: `native`.",
        },
        Key { name: "url", shape: Shape::String, doc: "Another base address of the API, for a proxy or a stand-in." },
        template::TITLE_KEY,
        template::TEXT_KEY,
    ],
    capabilities: Capabilities { edits: true, digests: true, acknowledges: true, gap_ms: 1_000 },
    read,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resolve {
    Update,
    Thread,
    Message,
}

#[derive(Debug)]
enum Way {
    Token { token: Secret, channels: Vec<String>, api: String },
    Webhook(Secret),
}

#[derive(Debug)]
struct Slack {
    way: Way,
    mention: String,
    resolve: Resolve,
    style: Style,
    title: Template,
    text: Template,
}

/// One call of the API.
#[derive(Debug)]
struct Call {
    method: &'static str,
    body: Value,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let (token, webhook) = (reader.secret("token"), reader.secret("webhook"));
    let channels: Vec<String> =
        reader.strings("channels").unwrap_or_default().iter().map(|c| channel_name(c)).collect();
    let api = http_retry::read_base(reader, "url", API);
    let mention: Vec<String> = reader.strings("mention").unwrap_or_default().iter().map(|m| mention_text(m)).collect();
    let resolve = [("update", Resolve::Update), ("thread", Resolve::Thread), ("message", Resolve::Message)];
    let resolve = reader.choice("resolve", &resolve);
    let style = read_style(reader);
    // CIMAA's alerter edits nothing.
    let usual = if style == Style::Cimaa { Resolve::Message } else { Resolve::Update };
    let resolve = resolve.unwrap_or(usual);
    let title = Template::read(reader, "title", Flavour::Slack, template::TITLE);
    let text = Template::read(reader, "text", Flavour::Slack, template::TEXT);
    let way = match (reader.has("token"), reader.has("webhook")) {
        (true, false) => {
            if channels.iter().all(|c| c.len() < 2) {
                reader.missing("channels");
                return None;
            }
            Way::Token { token: token?, channels, api }
        }
        (false, true) => {
            let table = reader.table;
            for key in ["channels", "url"].into_iter().filter(|key| table.get(key).is_some()) {
                let message = format!("`{key}` has no effect with `webhook`, which has its one channel");
                reader.error(key, message).hint("use a `token` to choose channels");
            }
            Way::Webhook(webhook?)
        }
        (true, true) => {
            reader.error("webhook", "`token` and `webhook` are two ways to do the same").hint("keep one of them");
            return None;
        }
        (false, false) => {
            let span = reader.table.span;
            let message = format!("{} has neither `token` nor `webhook`", reader.title);
            reader.problems.error(span, message).hint("add `token = { env = \"SLACK_TOKEN\" }` and `channels`");
            return None;
        }
    };
    Some(Arc::new(Slack { way, mention: mention.join(" "), resolve, style, title, text }))
}

/// Reads `style`, which leaves nothing for templates to say.
pub(super) fn read_style(reader: &mut Reader<'_>) -> Style {
    let style = reader.choice("style", &[("native", Style::Native), ("cimaa", Style::Cimaa)]).unwrap_or_default();
    if style == Style::Cimaa {
        let table = reader.table;
        for key in ["title", "text"].into_iter().filter(|key| table.get(key).is_some()) {
            reader
                .error(key, format!("`{key}` has no effect with `style = \"cimaa\"`, whose texts are fixed"))
                .hint("drop one of the two");
        }
    }
    style
}

/// `#` before a name that lacks it; ids of channels and people stay as they are.
fn channel_name(text: &str) -> String {
    let text = text.trim();
    let id = text.len() >= 9
        && text.starts_with(['C', 'G', 'D', 'U', 'W'])
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    if id || text.starts_with(['#', '@']) { text.to_owned() } else { format!("#{text}") }
}

/// A mention as Slack wants it written.
fn mention_text(text: &str) -> String {
    let text = text.trim();
    let bare = text.trim_start_matches('@');
    let id = bare.len() >= 9 && bare.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    match bare {
        _ if text.starts_with('<') => text.to_owned(),
        "here" | "channel" | "everyone" => format!("<!{bare}>"),
        _ if id && bare.starts_with(['U', 'W']) => format!("<@{bare}>"),
        _ if id && bare.starts_with('S') => format!("<!subteam^{bare}>"),
        _ => text.to_owned(),
    }
}

fn emoji(delivery: &Delivery) -> &'static str {
    match (delivery.action, delivery.event.severity) {
        (Action::Resolve, _) => ":white_check_mark:",
        (Action::Acknowledge, _) => ":eyes:",
        (_, Severity::Critical) => ":red_circle:",
        (_, Severity::Error) => ":large_orange_circle:",
        (_, Severity::Warning) => ":large_yellow_circle:",
        (_, Severity::Info) => ":information_source:",
    }
}

/// Cuts text that is escaped already, not in the middle of an escape.
fn cut_escaped(text: &str, max: usize) -> String {
    let short = cut(text, max);
    match short.rfind('&') {
        Some(at) if short.len() < text.len() && !short[at..].contains(';') && short.len() - at < 8 => {
            format!("{}…", &short[..at])
        }
        _ => short,
    }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": cut_escaped(text, SECTION_MAX_CHARS)}})
}

impl Slack {
    /// The text that stands first, in notifications too.
    fn headline(&self, delivery: &Delivery) -> String {
        let event = &delivery.event;
        let problem = matches!(delivery.action, Action::Trigger);
        let line = match (self.style, delivery.action) {
            (Style::Cimaa, Action::Trigger | Action::Update) => {
                let name = slack_escape(&template::cimaa_name(event));
                cut_escaped(&format!("_*Alert*_: *{name}*: {}", slack_escape(&event.text)), CIMAA_MAX_CHARS)
            }
            (Style::Cimaa, Action::Resolve) => {
                format!("*Clear*: *{}*", slack_escape(&template::cimaa_name(event)))
            }
            _ => {
                let title = self.title.render_line(delivery, &[]);
                let title = cut_escaped(&title, TITLE_MAX_CHARS);
                if self.title.is_custom() { title } else { format!("{} *{title}*", emoji(delivery)) }
            }
        };
        // CIMAA calls its target for what cleared, too.
        let called = problem || (self.style == Style::Cimaa && delivery.action == Action::Resolve);
        if called && !self.mention.is_empty() { format!("{} {line}", self.mention) } else { line }
    }

    /// The coloured part below: what a person needs next.
    fn blocks(&self, delivery: &Delivery) -> Vec<Value> {
        if self.text.is_custom() {
            let text = self.text.render(delivery, &[]);
            return if text.trim().is_empty() { Vec::new() } else { vec![section(&text)] };
        }
        if delivery.action == Action::Digest {
            return vec![section(&self.text.render(delivery, &[]))];
        }
        let event = &delivery.event;
        let is_over = delivery.action == Action::Resolve;
        let mut blocks = Vec::new();
        let first = template::first_line(&event.text);
        let rest = event.text.trim().strip_prefix(first).unwrap_or_default().trim();
        if is_over && !first.is_empty() {
            blocks.push(section(&format!("Was: {}", slack_escape(&template::without_status(first)))));
        } else if !rest.is_empty() {
            blocks.push(section(&slack_escape(rest)));
        }
        if let Some(description) = event.description.as_ref().filter(|text| !text.trim().is_empty()) {
            blocks.push(section(&format!("*Check:* {}", slack_escape(description))));
        }
        if !is_over && !event.detail.trim().is_empty() {
            let output = cut(event.detail.trim(), OUTPUT_MAX_CHARS).replace("```", "'''");
            blocks.push(section(&format!("```{}```", slack_escape(&output))));
        }
        if let Some(runbook) = event.runbook.as_ref().filter(|_| !is_over) {
            blocks.push(section(&format!("*What to do:* {}", slack_escape(runbook))));
        }
        // Anything but an address would be markup: `<!channel|…>` calls everybody.
        if let Some(link) = event.link.as_ref().filter(|link| http_retry::url_problem(link).is_none()) {
            // `|` would end the address.
            let address = slack_escape(link).replace('|', "%7C");
            blocks.push(section(&format!("<{address}|Where to look>")));
        }
        if let Some(command) = template::ack(delivery) {
            blocks.push(section(&format!("*Take it:* `{}`", slack_escape(&command).replace('`', "'"))));
        }
        let facts = facts(delivery, &self.title.zone);
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": facts}]}));
        blocks
    }

    /// What is sent, without channel and thread.
    fn message(&self, delivery: &Delivery) -> Map<String, Value> {
        let headline = self.headline(delivery);
        let mut body = Map::new();
        if self.style != Style::Cimaa {
            let mut blocks = self.blocks(delivery);
            if let (Way::Webhook(_), Some(Value::Object(first))) = (&self.way, blocks.first_mut()) {
                // The only place of a webhook's message that carries an id: the delivery's, to know repeats by.
                first.insert("block_id".into(), json!(template::sha256_hex(delivery.key.as_bytes())));
            }
            if !blocks.is_empty() {
                let fallback = template::one_line(&headline);
                let color = template::color(delivery);
                body.insert("attachments".into(), json!([{"color": color, "fallback": fallback, "blocks": blocks}]));
            }
        }
        body.insert("text".into(), json!(headline));
        // `@name` of a person or group is found by Slack itself where the config asks for it.
        if headline.starts_with('@') {
            body.insert("link_names".into(), json!(true));
        }
        body
    }

    /// The call that a delivery is. `edit` is false where editing has failed before.
    fn body(&self, delivery: &Delivery, edit: bool) -> Call {
        let mut body = self.message(delivery);
        let Way::Token { channels, .. } = &self.way else {
            return Call { method: "webhook", body: Value::Object(body) };
        };
        let channel = match delivery.target.as_str() {
            "" => channels.first().cloned().unwrap_or_default(),
            target => channel_name(target),
        };
        let key = json!({"event_type": "watchbell_delivery", "event_payload": {"key": delivery.key}});
        body.insert("metadata".into(), key);
        let told = delivery.trigger_receipt.as_ref().and_then(|r| r.id.as_deref()).and_then(|id| id.rsplit_once(':'));
        let edits = edit
            && self.style != Style::Cimaa
            && match delivery.action {
                Action::Update => true,
                Action::Resolve => self.resolve == Resolve::Update,
                _ => false,
            };
        let threads = match delivery.action {
            Action::Acknowledge => true,
            Action::Resolve => self.resolve == Resolve::Thread,
            _ => false,
        };
        let mut put = |key: &str, value: &str| body.insert(key.to_owned(), json!(value));
        let method = match told {
            Some((channel, ts)) if edits => {
                put("channel", channel);
                put("ts", ts);
                "chat.update"
            }
            Some((channel, ts)) if threads => {
                put("channel", channel);
                put("thread_ts", ts);
                "chat.postMessage"
            }
            _ => {
                put("channel", &channel);
                "chat.postMessage"
            }
        };
        if method == "chat.postMessage" {
            // A message about a site is not the place for its picture.
            body.insert("unfurl_links".into(), json!(false));
            body.insert("unfurl_media".into(), json!(false));
        }
        Call { method, body: Value::Object(body) }
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let mut mask = Mask::default();
        let client = &attempt.shared.http.client;
        match &self.way {
            Way::Webhook(secret) => {
                if delivery.action == Action::Update {
                    let text = "not posted: an incoming webhook can't edit what it said".to_owned();
                    return Ok(Receipt { id: None, text });
                }
                let url = http_retry::reveal(secret, "webhook", &mut mask)?;
                mask.add_url(&url);
                let request = client.post(&url).json(&self.body(delivery, true).body);
                let answer = http_retry::send(attempt, request, &http_retry::place(&url), &mask).await?;
                Ok(Receipt { id: None, text: mask.quote(&answer.body) })
            }
            Way::Token { token, api, .. } => {
                let token = http_retry::reveal(token, "token", &mut mask)?;
                let (mut edit, started) = (true, Instant::now());
                loop {
                    let call = self.body(delivery, edit);
                    let request = client.post(format!("{api}/{}", call.method)).bearer_auth(&token).json(&call.body);
                    let answer =
                        http_retry::send(&http_retry::rest(attempt, started), request, &http_retry::place(api), &mask)
                            .await?;
                    match answered(&answer, &call, api, &mask) {
                        // Somebody removed it, or it is too old: a message of its own says it.
                        Err(Refusal::NotEditable) if edit => edit = false,
                        Err(Refusal::NotEditable) => return Err(Failure::permanent("slack: can't edit the message")),
                        Err(Refusal::Failure(failure)) => return Err(failure),
                        Ok(receipt) => return Ok(receipt),
                    }
                }
            }
        }
    }
}

/// "critical · since 2 Jan 03:04 CET (12 min) · attempt 4 of 4 · //web-1/app/disk"; of a recovery how long it lasted.
fn facts(delivery: &Delivery, zone: &TimeZone) -> String {
    let event = &delivery.event;
    let mut facts = Vec::new();
    let since = event.since.map(|since| (people_time(since, zone), people_duration(event.at.since(since))));
    match (delivery.action, since) {
        (Action::Resolve, Some((since, lasted))) => {
            facts.push(format!("lasted {lasted}, from {since} to {}", people_time(event.at, zone)));
        }
        (Action::Resolve, None) => {}
        (_, since) => {
            facts.push(event.word().to_owned());
            facts.extend(since.map(|(since, lasts)| format!("since {since} ({lasts})")));
            facts.extend(event.attempt.map(|(attempt, attempts)| format!("attempt {attempt} of {attempts}")));
        }
    }
    facts.push(event.name.to_string());
    facts.extend(event.labels.iter().map(|(label, value)| format!("{label}={value}")));
    cut_escaped(&slack_escape(&facts.join(" · ")), SECTION_MAX_CHARS)
}

/// Why the API did not do it.
#[derive(Debug)]
enum Refusal {
    NotEditable,
    Failure(Failure),
}

/// What the API's JSON means: it answers 200 whatever happened.
fn answered(answer: &http_retry::Answer, call: &Call, api: &str, mask: &Mask) -> Result<Receipt, Refusal> {
    let fail = |failure| Err(Refusal::Failure(failure));
    let Ok(said) = json::parse::<Value>(answer.body.as_bytes()) else {
        let start: String = answer.body.chars().filter(|c| !c.is_whitespace()).take(16).collect();
        if (200..300).contains(&answer.status) && start.starts_with(r#"{"ok":true"#) {
            // It was taken, whatever broke the rest off.
            return Ok(Receipt { id: None, text: "posted; the rest of the answer is missing".to_owned() });
        }
        let reason = format!("{} answered no JSON: {}", http_retry::place(api), mask.quote(&answer.body));
        return fail(Failure::retry(reason));
    };
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    if said.get("ok") == Some(&Value::Bool(true)) {
        let id = format!("{}:{}", text("channel"), text("ts"));
        let place = call.body.get("channel").and_then(Value::as_str).unwrap_or_default();
        let verb = if call.method == "chat.update" { "edited in" } else { "posted to" };
        return Ok(Receipt { id: (id.len() > 1).then_some(id), text: format!("{verb} {place}") });
    }
    let error = text("error");
    if matches!(error, "message_not_found" | "cant_update_message" | "edit_window_closed" | "is_inactive")
        && call.method == "chat.update"
    {
        return Err(Refusal::NotEditable);
    }
    let channel = call.body.get("channel").and_then(Value::as_str).unwrap_or_default();
    let hint = match error {
        "ratelimited" | "rate_limited" => {
            let after = answer.retry_after.or(Some(Duration::from_secs(30)));
            return fail(Failure::Retry { after, reason: "slack: ratelimited".into() });
        }
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" | "team_added_to_org" => {
            return fail(Failure::Retry { after: answer.retry_after, reason: format!("slack: {error}") });
        }
        "channel_not_found" => format!("check the name `{channel}`; a private channel must invite the app first"),
        "not_in_channel" => format!("invite the app into `{channel}` (`/invite @app`)"),
        "is_archived" => format!("`{channel}` is archived: choose another"),
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            "check `token`: it must be a valid bot token (xoxb-…)".to_owned()
        }
        "missing_scope" | "not_allowed_token_type" | "no_permission" => {
            let needed = mask.quote(text("needed"));
            let needed = if needed.is_empty() { "chat:write" } else { needed.as_str() };
            format!("give the app the scope `{needed}` and install it again")
        }
        "restricted_action" | "ekm_access_denied" | "team_access_not_granted" => {
            "a workspace setting forbids it: ask its administrators".to_owned()
        }
        _ => "see https://docs.slack.dev/reference/methods/chat.postMessage".to_owned(),
    };
    fail(Failure::permanent(format!("slack: {}; {hint}", mask.quote(error))))
}

impl Notifier for Slack {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        let call = self.body(delivery, true);
        let place = match &self.way {
            Way::Token { api, .. } => format!("{api}/{}", call.method),
            Way::Webhook(_) => format!("{MASKED} (the incoming webhook)"),
        };
        format!("POST {place}\n{:#}", call.body)
    }

    fn targets(&self) -> Vec<String> {
        match &self.way {
            Way::Token { channels, .. } => channels.clone(),
            Way::Webhook(_) => Vec::new(),
        }
    }

    fn preflight(&self) -> Vec<String> {
        match &self.way {
            Way::Token { token, .. } => http_retry::preflight([("token", Some(token))]),
            Way::Webhook(url) => http_retry::preflight([("webhook", Some(url))]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        suite::{Rig, recorder::Reply},
        template::tests::trigger,
    };
    use super::*;

    fn slack(more: &str) -> Slack {
        let channels = vec!["#ops".to_owned()];
        let token = Secret::Value("xoxb-1".into());
        let resolve = match more {
            "thread" => Resolve::Thread,
            "message" => Resolve::Message,
            _ => Resolve::Update,
        };
        Slack {
            way: Way::Token { token, channels, api: API.into() },
            mention: "<!here>".into(),
            resolve,
            style: if more == "cimaa" { Style::Cimaa } else { Style::Native },
            title: Template::standard(Flavour::Slack, template::TITLE),
            text: Template::standard(Flavour::Slack, template::TEXT),
        }
    }

    /// S3.14: a target that Slack must look up is marked for it, and stands first.
    #[test]
    fn a_name_is_left_to_slack() {
        let slack = Slack { mention: "@ops".into(), ..slack("") };
        let body = slack.body(&with(Action::Trigger), true).body;
        assert_eq!(body["link_names"], true);
        assert!(body["text"].as_str().unwrap().starts_with("@ops :red_circle: *CRITICAL: "), "{body}");
    }

    fn with(action: Action) -> Delivery {
        let told = Receipt { id: Some("C024BE91L:1503435956.000247".into()), text: String::new() };
        Delivery { action, trigger_receipt: (action != Action::Trigger).then_some(told), ..trigger() }
    }

    /// S3.14: CIMAA's texts, exactly, the target before them.
    #[test]
    fn cimaa_texts_are_exact() {
        let s = slack("cimaa");
        let mut delivery = with(Action::Trigger);
        delivery.event.name = "//h/f/c".into();
        assert_eq!(s.body(&delivery, true).body["text"], "<!here> _*Alert*_: *h f c*: 91% used");
        delivery.action = Action::Resolve;
        assert_eq!(s.body(&delivery, true).body["text"], "<!here> *Clear*: *h f c*");
        assert!(s.body(&delivery, true).body.get("attachments").is_none());
    }

    /// S3.14: CIMAA's alerter edits nothing: the end is a message of its own, and a message of JSON is told whole.
    #[test]
    fn cimaas_messages_stand_for_themselves() {
        let s = slack("cimaa");
        for (action, starts) in [
            (Action::Trigger, "<!here> _*Alert*_: *web-1 app disk*: "),
            (Action::Update, "_*Alert*_: *web-1 app disk*: "),
            (Action::Resolve, "<!here> *Clear*: *web-1 app disk*"),
        ] {
            let mut delivery = with(action);
            delivery.event.text = format!("{} and the end", "x".repeat(5_000));
            let call = s.body(&delivery, true);
            assert_eq!(call.method, "chat.postMessage", "{action:?}");
            assert!(call.body.get("ts").is_none() && call.body.get("thread_ts").is_none(), "{action:?}");
            let text = call.body["text"].as_str().unwrap();
            assert!(text.starts_with(starts), "{text}");
            assert_eq!(text.ends_with("and the end"), action != Action::Resolve, "{action:?}");
        }
    }

    /// S3.7: one message per fault: what follows the trigger edits it or answers under it.
    #[test]
    fn what_follows_the_trigger_edits_or_threads() {
        for (more, action, method, field) in [
            ("update", Action::Trigger, "chat.postMessage", ""),
            ("update", Action::Update, "chat.update", "ts"),
            ("update", Action::Resolve, "chat.update", "ts"),
            ("thread", Action::Resolve, "chat.postMessage", "thread_ts"),
            ("message", Action::Resolve, "chat.postMessage", ""),
            ("thread", Action::Update, "chat.update", "ts"),
            ("message", Action::Acknowledge, "chat.postMessage", "thread_ts"),
            ("update", Action::Message, "chat.postMessage", ""),
        ] {
            let call = slack(more).body(&with(action), true);
            assert_eq!(call.method, method, "{more} {action:?}");
            for key in ["ts", "thread_ts"] {
                let expect = if key == field { json!("1503435956.000247") } else { Value::Null };
                assert_eq!(call.body.get(key).cloned().unwrap_or_default(), expect, "{more} {action:?} {key}");
            }
            let channel = if field.is_empty() { "#ops" } else { "C024BE91L" };
            assert_eq!(call.body["channel"], channel);
            let text = call.body["text"].as_str().unwrap();
            assert_eq!(text.contains("<!here>"), action == Action::Trigger, "{text}");
        }
    }

    #[test]
    fn names_and_mentions_as_slack_wants_them() {
        for (text, expect) in
            [("ops", "#ops"), ("#ops", "#ops"), (" ops ", "#ops"), ("C024BE91L", "C024BE91L"), ("@jane", "@jane")]
        {
            assert_eq!(channel_name(text), expect);
        }
        for (text, expect) in [
            ("@here", "<!here>"),
            ("channel", "<!channel>"),
            ("U024BE7LH", "<@U024BE7LH>"),
            ("@U024BE7LH", "<@U024BE7LH>"),
            ("S0614TZR7", "<!subteam^S0614TZR7>"),
            ("<!subteam^S0614TZR7>", "<!subteam^S0614TZR7>"),
            ("@ops", "@ops"),
        ] {
            assert_eq!(mention_text(text), expect);
        }
    }

    #[test]
    fn markup_in_messages_is_text_and_long_ones_are_cut() {
        let mut delivery = with(Action::Trigger);
        delivery.event.text = format!("<!channel> & ```x```\n{}", "&".repeat(9_000));
        delivery.event.detail = "``` out".into();
        delivery.event.link = Some("!channel".into());
        let body = slack("").body(&delivery, true).body;
        assert!(body["text"].as_str().unwrap().contains("&lt;!channel&gt; &amp;"), "{body}");
        assert!(!body.to_string().contains("<!channel"), "{body}");
        for block in body["attachments"][0]["blocks"].as_array().unwrap() {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            assert!(text.chars().count() <= SECTION_MAX_CHARS);
            assert!(!text.ends_with("&a…") && !text.ends_with("&am…"), "{text}");
        }
    }

    /// S3.14: the API's errors, which come with status 200, are told apart.
    #[tokio::test]
    async fn api_errors_are_later_or_never_with_a_hint() {
        for (error, expect) in [
            ("ratelimited", "retry"),
            ("service_unavailable", "retry"),
            ("channel_not_found", "invite the app"),
            ("invalid_auth", "check `token`"),
            ("missing_scope", "chat:write"),
            ("some_new_error", "docs.slack.dev"),
        ] {
            let rig = Rig::new("slack", &[Reply::json(200, &format!(r#"{{"ok":false,"error":"{error}"}}"#))]).await;
            let failure = rig.deliver(&with(Action::Trigger)).await.unwrap_err();
            match failure {
                Failure::Retry { .. } => assert_eq!(expect, "retry", "{error}"),
                Failure::Permanent { reason } => assert!(reason.contains(expect), "{error}: {reason}"),
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_is_gone_is_posted_anew() {
        let gone = Reply::json(200, r#"{"ok":false,"error":"message_not_found"}"#);
        let fine = Reply::json(200, r#"{"ok":true,"channel":"C024BE91L","ts":"2.000"}"#);
        let rig = Rig::new("slack", &[gone, fine]).await;
        let receipt = rig.deliver(&with(Action::Resolve)).await.unwrap();
        assert_eq!(receipt.id.as_deref(), Some("C024BE91L:2.000"));
        let paths: Vec<String> = rig.recorder.requests().iter().map(|r| r.path.clone()).collect();
        assert_eq!(paths, ["/chat.update", "/chat.postMessage"]);
    }

    #[test]
    fn a_webhook_posts_and_never_edits() {
        let webhook = Slack { way: Way::Webhook(Secret::Value("https://h/s".into())), ..slack("") };
        let body = webhook.body(&with(Action::Resolve), true).body;
        assert!(body.get("channel").is_none() && body.get("ts").is_none() && body.get("metadata").is_none());
        assert_eq!(body["attachments"][0]["blocks"][0]["block_id"].as_str().unwrap().len(), 64);
        assert!(webhook.targets().is_empty());
    }
}
