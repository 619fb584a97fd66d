//! What people read: title and text of a delivery, from Jinja templates with defaults.
//!
//! Everything comes from the delivery: no clock is read, so that a repeat has the same words. A template that
//! is wrong is a problem of the config file; one that fails all the same when it is used gives way to the
//! default, because a message with plain words is better than none.
//!
//! What a user's template costs nobody can tell from its text (one that doubles a text forty times takes all memory): it is
//! tried and rendered apart from the agent ([`apart`]); defaults are ours, and are rendered here.
//!
//! The lengths that receivers allow are kept by the notifiers, with the functions at the end of this file.

use crate::shared::apart::{self, Failure, Job};
use jiff::tz::TimeZone;
use minijinja::{
    AutoEscape, Environment, UndefinedBehavior,
    value::{Serde, Value},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt, fmt::Write as _, io, time::Duration};
use watchbell_core::{
    config::{Key, Reader, Shape},
    model::{Action, Delivery, Event, EventKind, EventState, Severity, Timestamp},
    wire::text,
};

/// A digest lists this many of its events and counts the rest.
pub const DIGEST_LINES_MAX: usize = 20;
/// No template makes more than this; the rest is cut.
const RENDER_MAX_BYTES: usize = 256 * 1024;
/// Steps that a template may take: a loop in a loop over `range` must not hold a worker for minutes.
const FUEL: u64 = 1_000_000;
/// A template may take so long.
pub const RENDER_WITHIN: Duration = Duration::from_secs(3);

/// The default title: one line.
pub const TITLE: &str = r#"
{%- if action == "digest" -%}
{{ count }} notifications from {{ agent }}{% if counts %}: {{ counts }}{% endif %}
{%- elif action == "message" -%}
{% if topic %}{{ topic }} - {% endif %}{{ message }}
{%- elif action == "resolve" -%}
OK: {{ short_name }} on {{ agent }}{% if now %}: {{ now }}{% endif %}{% if duration %} (it lasted {{ duration }}){% endif %}
{%- elif action == "acknowledge" -%}
ACKNOWLEDGED: {{ short_name }} on {{ agent }}: {{ message }}{% if taken %} (by {{ taken }}){% endif %}
{%- else -%}
{{ word | upper }}: {{ short_name }} on {{ agent }}: {{ message }}
{%- endif -%}"#;

/// The default text: what, how bad, since when, last output, where to look, what to do. Of a recovery: what is so now,
/// and what was.
pub const TEXT: &str = r#"
{%- if action == "digest" -%}
{% for line in lines %}{{ line.at }}  {{ line.word | upper }}  {{ line.name }}: {{ line.message }}
{% endfor %}{% if more %}... and {{ more }} more
{% endif %}
{%- elif action == "resolve" -%}
{% if now %}Now: {{ now }}
{% endif %}Was: {{ message }}
{% if since %}Lasted: {{ duration }}, from {{ since }} to {{ at }}
{% endif %}{% if description %}Check: {{ description }}
{% endif %}Name: {{ name }}
{% for label, value in labels | items %}{{ label }}: {{ value }}
{% endfor %}{% if link %}
Look: {{ link }}
{% endif %}
{%- else -%}
{{ text }}

{% if taken %}Taken by: {{ taken }}
{% endif %}{% if description %}Check: {{ description }}
{% endif %}Name: {{ name }}
{% if action != "message" or severity != "info" %}Severity: {{ word }}
{% endif %}{% if since %}Since: {{ since }}{% if duration %} ({{ duration }}){% endif %}
{% endif %}{% if attempt %}Attempt: {{ attempt }} of {{ attempts }}
{% endif %}{% for label, value in labels | items %}{{ label }}: {{ value }}
{% endfor %}{% if detail %}
Output:
{{ detail | cut(2000) }}
{% endif %}{% if link %}
Look: {{ link }}
{% endif %}{% if runbook %}
What to do: {{ runbook }}
{% endif %}{% if ack %}
Take it: {{ ack }}
{% endif %}
{%- endif -%}"#;

/// The default text of a mail's HTML part.
pub const HTML: &str = r#"<!doctype html>
<html><body style="font-family:sans-serif">
<h3 style="border-left:6px solid {{ color }};padding-left:8px">{{ title }}</h3>
{% if action == "digest" %}<table cellpadding="4">
{% for line in lines %}<tr><td>{{ line.at }}</td><td><b>{{ line.word | upper }}</b></td><td>{{ line.name }}</td><td>{{ line.message }}</td></tr>
{% endfor %}</table>
{% if more %}<p>... and {{ more }} more</p>
{% endif %}{% else %}{% if action != "resolve" %}<p style="white-space:pre-wrap">{{ text }}</p>
{% endif %}<table cellpadding="4">
{% if taken %}<tr><td>Taken by</td><td>{{ taken }}</td></tr>
{% endif %}{% if action == "resolve" %}{% if now %}<tr><td>Now</td><td>{{ now }}</td></tr>
{% endif %}<tr><td>Was</td><td>{{ message }}</td></tr>
{% if since %}<tr><td>Lasted</td><td>{{ duration }}, from {{ since }} to {{ at }}</td></tr>
{% endif %}{% endif %}{% if description %}<tr><td>Check</td><td>{{ description }}</td></tr>
{% endif %}<tr><td>Name</td><td>{{ name }}</td></tr>
{% if action != "resolve" %}{% if action != "message" or severity != "info" %}<tr><td>Severity</td><td>{{ word }}</td></tr>
{% endif %}{% if since %}<tr><td>Since</td><td>{{ since }}{% if duration %} ({{ duration }}){% endif %}</td></tr>
{% endif %}{% if attempt %}<tr><td>Attempt</td><td>{{ attempt }} of {{ attempts }}</td></tr>
{% endif %}{% endif %}{% for label, value in labels | items %}<tr><td>{{ label }}</td><td>{{ value }}</td></tr>
{% endfor %}{% if link %}<tr><td>Look</td><td>{% if link is startingwith("https://") or link is startingwith("http://") %}<a href="{{ link }}">{{ link }}</a>{% else %}{{ link }}{% endif %}</td></tr>
{% endif %}{% if action != "resolve" %}{% if runbook %}<tr><td>What to do</td><td>{{ runbook }}</td></tr>
{% endif %}{% if ack %}<tr><td>Take it</td><td><code>{{ ack }}</code></td></tr>
{% endif %}{% endif %}</table>
{% if detail and action != "resolve" %}<pre>{{ detail | cut(2000) }}</pre>
{% endif %}{% endif %}</body></html>
"#;

/// What a template can speak of, for messages about those that speak of something else.
pub const VARIABLES: &[&str] = &[
    "key",
    "action",
    "notifier",
    "target",
    "event",
    "seq",
    "at",
    "received_at",
    "kind",
    "state",
    "severity",
    "unknown",
    "word",
    "source",
    "name",
    "host",
    "service",
    "topic",
    "text",
    "message",
    "detail",
    "now",
    "description",
    "link",
    "runbook",
    "labels",
    "since",
    "duration",
    "word",
    "ack",
    "taken",
    "attempt",
    "attempts",
    "original",
    "caused_by",
    "agent",
    "short_name",
    "title",
    "color",
    "count",
    "counts",
    "lines",
    "more",
    "digest",
];

/// The key `title`, for kinds that have one.
pub const TITLE_KEY: Key = Key {
    name: "title",
    shape: Shape::String,
    doc: "A Jinja template for the one line that says it all. Default: `CRITICAL: app/disk on web-1: 91% used`.",
};

/// The key `text`, for kinds that have one.
pub const TEXT_KEY: Key = Key {
    name: "text",
    shape: Shape::String,
    doc: "A Jinja template for the rest. It can use `action`, `severity`, `word` (the severity, or `unknown`), `name`, \
          `short_name`, `agent`, `message` (one line), `text`, `detail`, `now` (of a recovery: what is so now), `since`, \
          `at`, `duration`, `attempt`, `attempts`, `ack` (the command that takes a fault on), `taken` (who did), \
          `description`, `link`, `runbook`, `labels`, `host`, `service`, `topic`, `event` (as in the \
          delivery's JSON) and, in a digest, `count`, `lines`, `more`. \
          `{{ detail | cut(200) }}` keeps the first 200 characters.",
};

/// How values that a template prints are made safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Flavour {
    /// As they are.
    Plain,
    /// For HTML.
    Html,
    /// For Slack's mrkdwn: `&`, `<` and `>`.
    Slack,
}

impl Flavour {
    fn escape(self) -> AutoEscape {
        match self {
            Flavour::Plain => AutoEscape::None,
            Flavour::Html => AutoEscape::Html,
            Flavour::Slack => AutoEscape::Custom("slack".into()),
        }
    }
}

/// A template and its default.
pub struct Template {
    flavour: Flavour,
    /// The default, compiled.
    env: Environment<'static>,
    /// The config's.
    custom: Option<String>,
    /// The zone of times for people: the agent's.
    pub zone: TimeZone,
}

/// Tries or renders a user's template: see [`Question`].
pub static JOB: Job = Job::new(3, RENDER_WITHIN, |question| {
    let answer = serde_json::from_slice::<Question<'_>>(question).map(|question| question.answer());
    serde_json::to_vec(&answer.unwrap_or_else(|why| Err((why.to_string(), String::new())))).unwrap_or_default()
});

/// What is asked apart from the agent.
#[derive(Serialize, Deserialize)]
struct Question<'a> {
    flavour: Flavour,
    source: Cow<'a, str>,
    /// What to render it with; none: try it.
    context: Option<Map<String, serde_json::Value>>,
}

/// What a template makes, or what is wrong with it and a hint.
type Rendered = Result<String, (String, String)>;

impl Question<'_> {
    fn ask(&self) -> Result<Rendered, Failure> {
        let question = serde_json::to_vec(self).map_err(|why| Failure::Gone(why.to_string()))?;
        let answer = apart::ask_here(&JOB, &[&question])?;
        serde_json::from_slice(&answer).map_err(|why| Failure::Gone(why.to_string()))
    }

    /// Answers it, in the child.
    fn answer(self) -> Rendered {
        let mut env = environment(self.flavour);
        env.add_template_owned(CUSTOM, self.source.into_owned()).map_err(located)?;
        match self.context {
            Some(context) => render(&env, CUSTOM, context).map_err(located),
            None => tried(&env).map(|()| String::new()),
        }
    }
}

/// What is wrong with a template, and a hint.
fn located(why: minijinja::Error) -> (String, String) {
    let line = why.line().map(|n| format!(" (line {n} of it)")).unwrap_or_default();
    let what = why.detail().map_or_else(|| why.kind().to_string(), str::to_owned);
    (format!("{what}{line}"), HINT.to_owned())
}

/// How to write one.
const HINT: &str = "templates are Jinja: `{{ message }}`, `{% if link %}…{% endif %}`";

/// Whether a user's template speaks of what there is, and works on each sort of delivery.
fn tried(env: &Environment<'static>) -> Result<(), (String, String)> {
    let template = env.get_template(CUSTOM).map_err(located)?;
    let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    unknown.sort();
    for name in &unknown {
        if VARIABLES.contains(&name.as_str()) || env.globals().any(|(g, _)| g == name) {
            continue;
        }
        let hint = match watchbell_core::config::nearest(name, VARIABLES.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it can use {}", VARIABLES.join(", ")),
        };
        return Err((format!("there is no `{name}` in a delivery"), hint));
    }
    specimens()
        .iter()
        .try_for_each(|delivery| render(env, CUSTOM, context(delivery, &TimeZone::UTC)).map(drop).map_err(located))
}

fn render(
    env: &Environment<'static>,
    name: &str,
    context: Map<String, serde_json::Value>,
) -> Result<String, minijinja::Error> {
    let mut out = Bounded(Vec::new());
    env.get_template(name)?.render_captured_to(Value::from(Serde(&context)), &mut out)?;
    Ok(text::clean(&out.0).trim_end().to_owned())
}

/// The name of the template in its environment.
const CUSTOM: &str = "custom";
/// The name of the default in its environment.
const DEFAULT: &str = "default";

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template {{ custom: {} }}", self.is_custom())
    }
}

impl Template {
    /// The default alone. One that does not compile prints the message instead; a test compiles them all.
    pub fn standard(flavour: Flavour, default: &'static str) -> Template {
        let mut env = environment(flavour);
        let _ = env.add_template(DEFAULT, default);
        Template { flavour, env, custom: None, zone: TimeZone::UTC }
    }

    /// The same with times in a zone.
    pub fn in_zone(self, zone: &TimeZone) -> Template {
        Template { zone: zone.clone(), ..self }
    }

    /// The template of a key, or the default where the key is missing. What is wrong with it is reported.
    pub fn read(reader: &mut Reader<'_>, key: &'static str, flavour: Flavour, default: &'static str) -> Template {
        let mut template = Template::standard(flavour, default).in_zone(&reader.zone);
        let Some(source) = reader.string(key) else { return template };
        if let Err((message, hint)) = template.take(source) {
            reader.error(key, format!("`{key}` is no template: {message}")).hint(hint);
        }
        template
    }

    /// Whether the config wrote it.
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// Takes a user's template in: it must compile, speak of what there is, and work on each sort of delivery. Where it
    /// can't be tried now because no process can be started, it is taken as it is.
    fn take(&mut self, source: String) -> Result<(), (String, String)> {
        let question = Question { flavour: self.flavour, source: Cow::Borrowed(&source), context: None };
        match question.ask() {
            Ok(Ok(_)) | Err(Failure::Gone(_)) => {}
            Ok(Err(wrong)) => return Err(wrong),
            Err(why) => return Err((format!("it {why}"), HINT.to_owned())),
        }
        self.custom = Some(source);
        Ok(())
    }

    /// The text for a delivery. `extra` are more variables.
    pub fn render(&self, delivery: &Delivery, extra: &[(&str, &str)]) -> String {
        let mut context = context(delivery, &self.zone);
        context.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        if let Some(source) = &self.custom {
            let question =
                Question { flavour: self.flavour, source: Cow::Borrowed(source), context: Some(context.clone()) };
            match question.ask() {
                Ok(Ok(text)) => return text,
                Ok(Err((why, _))) => tracing::warn!("a template failed, the default takes its place: {why}"),
                Err(why) => tracing::warn!("a template failed, the default takes its place: it {why}"),
            }
        }
        render(&self.env, DEFAULT, context).unwrap_or_else(|_| plain(delivery))
    }

    /// The same as one line.
    pub fn render_line(&self, delivery: &Delivery, extra: &[(&str, &str)]) -> String {
        one_line(&self.render(delivery, extra))
    }
}

/// Keeps what fits and lets the rest go.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = RENDER_MAX_BYTES.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn environment(flavour: Flavour) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(move |_| flavour.escape());
    env.set_formatter(|out, state, value| {
        if matches!(state.auto_escape(), AutoEscape::Custom(_)) && !value.is_safe() {
            if !value.is_undefined() && !value.is_none() {
                out.write_str(&slack_escape(&value.to_string()))?;
            }
            return Ok(());
        }
        let value = if value.is_none() { &Value::UNDEFINED } else { value };
        minijinja::escape_formatter(out, state, value)
    });
    env.add_filter("cut", |text: String, max: usize| cut(&text, max));
    env
}

/// What stands in for a template that can't be rendered: the delivery's own words.
fn plain(delivery: &Delivery) -> String {
    let event = &delivery.event;
    format!("{}: {}: {}", delivery.action.word(), event.name, event.text)
}

/// One delivery of each sort that a template meets.
fn specimens() -> Vec<Delivery> {
    let event = Event {
        seq: 1,
        at: Timestamp::from_secs(1_800),
        received_at: Timestamp::from_secs(1_800),
        kind: EventKind::Fault,
        state: EventState::Problem,
        severity: Severity::Critical,
        unknown: false,
        source: "check".into(),
        name: "//web-1/app/disk".into(),
        key: "//web-1/app/disk".into(),
        host: "web-1".into(),
        service: "disk".into(),
        topic: None,
        text: "91% used".into(),
        detail: "/dev/sda1 91%".into(),
        now: Some("40% used".into()),
        taken: None,
        description: Some("the disk of the shop".into()),
        link: Some("https://example.com/".into()),
        runbook: Some("clean up".into()),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        since: Some(Timestamp::from_secs(600)),
        attempt: Some((4, 4)),
        caused_by: None,
        original: None,
    };
    let delivery = Delivery {
        key: "agent///web-1/app/disk/1/1/ops/trigger".into(),
        action: Action::Trigger,
        notifier: "ops".into(),
        event: event.clone(),
        target: String::new(),
        trigger_receipt: None,
        digest: Vec::new(),
    };
    let bare = Event { detail: String::new(), link: None, runbook: None, since: None, attempt: None, ..event.clone() };
    let bare = Event { labels: Default::default(), description: None, now: None, ..bare };
    let mut all = vec![Delivery { event: bare.clone(), ..delivery.clone() }];
    for action in [Action::Trigger, Action::Update, Action::Acknowledge, Action::Resolve, Action::Message] {
        let taken = (action == Action::Acknowledge).then(|| "anna: on my way".to_owned());
        all.push(Delivery { action, event: Event { taken, ..event.clone() }, ..delivery.clone() });
    }
    all.push(Delivery { action: Action::Digest, digest: vec![event, bare], ..delivery });
    all
}

/// What a template sees. `text` is all of the event's text, `message` its first line; `since` and `at` are
/// written for people.
fn context(delivery: &Delivery, zone: &TimeZone) -> Map<String, serde_json::Value> {
    let event = serde_json::to_value(&delivery.event).unwrap_or_default();
    let mut map = event.as_object().cloned().unwrap_or_default();
    let mut put = |key: &str, value: serde_json::Value| map.insert(key.to_owned(), value);
    let e = &delivery.event;
    put("event", event);
    put("key", json!(delivery.key));
    put("action", json!(delivery.action.word()));
    put("notifier", json!(delivery.notifier));
    put("target", json!(delivery.target));
    put("word", json!(e.word()));
    put("message", json!(without_status(first_line(&e.text))));
    if let Some(now) = &e.now {
        put("now", json!(without_status(first_line(now))));
    }
    if let Some(command) = ack(delivery) {
        put("ack", json!(command));
    }
    put("detail", json!(e.detail));
    put("labels", json!(e.labels));
    put("at", json!(people_time(e.at, zone)));
    put("agent", json!(agent(e)));
    put("short_name", json!(short_name(e)));
    put("color", json!(color(delivery)));
    if let Some(since) = e.since {
        put("since", json!(people_time(since, zone)));
        put("duration", json!(people_duration(e.at.since(since))));
    }
    if let Some((attempt, attempts)) = e.attempt {
        put("attempt", json!(attempt));
        put("attempts", json!(attempts));
    }
    if delivery.action == Action::Digest {
        let lines: Vec<_> =
            delivery.digest.iter().take(DIGEST_LINES_MAX).map(|event| digest_line(event, zone)).collect();
        put("count", json!(delivery.digest.len()));
        put("counts", json!(digest_counts(&delivery.digest)));
        put("more", json!(delivery.digest.len().saturating_sub(DIGEST_LINES_MAX)));
        put("lines", json!(lines));
        put("digest", json!(delivery.digest));
    }
    map
}

fn digest_line(event: &Event, zone: &TimeZone) -> serde_json::Value {
    json!({
        "at": people_time(event.at, zone),
        "word": event_word(event),
        "severity": event.severity,
        "state": event.state,
        "name": event.name,
        "message": without_status(first_line(match (event.state, &event.now) {
            (EventState::Recovery, Some(now)) => now,
            _ => &event.text,
        })),
    })
}

/// "ok" for a recovery, else how bad it is.
pub fn event_word(event: &Event) -> &'static str {
    if event.state == EventState::Recovery { "ok" } else { event.word() }
}

/// "3 critical, 1 warning, 2 ok".
fn digest_counts(events: &[Event]) -> String {
    let words = ["critical", Severity::UNKNOWN, "error", "warning", "info", "ok"];
    let counts = words.iter().filter_map(|word| {
        let n = events.iter().filter(|e| event_word(e) == *word).count();
        (n > 0).then(|| format!("{n} {word}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// The agent that a fault's name speaks of (`//AGENT/…`, `AGENT#…`), else the event's host.
pub fn agent(event: &Event) -> &str {
    match event.name.strip_prefix("//") {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None if event.host.is_empty() => event.name.split('#').next().unwrap_or_default(),
        None => &event.host,
    }
}

/// The name without its agent: `app/disk` of `//web-1/app/disk`, `alerts` of `web-1#alerts`.
pub fn short_name(event: &Event) -> &str {
    if let Some(rest) = event.name.strip_prefix("//") {
        return rest.split_once('/').map_or(rest, |(_, rest)| rest);
    }
    event.name.strip_prefix(agent(event)).and_then(|rest| rest.strip_prefix('#')).unwrap_or(&event.name)
}

/// The colour of a delivery, as HTML and Slack write it.
pub fn color(delivery: &Delivery) -> &'static str {
    match (delivery.action, delivery.event.severity) {
        (Action::Resolve, _) => "#2eb886",
        (Action::Acknowledge, _) => "#439fe0",
        (_, Severity::Critical) => "#c92a2a",
        (_, Severity::Error) => "#e8590c",
        (_, Severity::Warning) => "#daa038",
        (_, Severity::Info) => "#868e96",
    }
}

/// `2 Jan 03:04 CET`: the seconds and the year say little to whoever reads it.
pub fn people_time(at: Timestamp, zone: &TimeZone) -> String {
    let at = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime("%-d %b %H:%M %Z").to_string()
}

/// The words by which plugins say how bad it is.
const STATUS_WORDS: [&str; 7] = ["OK", "WARNING", "WARN", "CRITICAL", "CRIT", "UNKNOWN", "ERROR"];

/// What stands before and after the status by which a plugin's line begins (`DISK CRITICAL - free space`).
fn around_status(line: &str) -> Option<(&str, &str)> {
    let is_upper = |word: &str| {
        word.chars().any(|c| c.is_ascii_uppercase()) && !word.chars().any(|c| c.is_lowercase() || c == ':')
    };
    let mut at = 0;
    for word in line.split(' ').take(4) {
        let bare = word.trim_end_matches([':', '-', ',', ';']);
        if STATUS_WORDS.contains(&bare) {
            let rest = line[at + bare.len()..].trim_start();
            let said = rest.trim_start_matches([':', '-', ',', ';', '|']).trim_start();
            // `OK` in the middle of a sentence is no status.
            let ends = said.len() < rest.len();
            return (ends && !said.is_empty()).then(|| (line[..at].trim_end(), said));
        }
        if !is_upper(word) {
            return None;
        }
        at += word.len() + 1;
    }
    None
}

/// A plugin's line without its own word for how bad it is, which stands in the title already: `CRITICAL: 91% used` is
/// `91% used`, `DISK CRITICAL - free space` is `DISK: free space`.
pub fn without_status(line: &str) -> String {
    match around_status(line) {
        Some(("", said)) => said.to_owned(),
        Some((before, said)) => format!("{before}: {said}"),
        None => line.to_owned(),
    }
}

/// The command by which somebody takes a fault on, for those that can be.
pub fn ack(delivery: &Delivery) -> Option<String> {
    let name = &delivery.event.name;
    let is_open = matches!(delivery.action, Action::Trigger | Action::Update);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    let quoted = if name.chars().all(plain) { name.to_string() } else { format!("'{}'", name.replace('\'', "'\\''")) };
    (is_open && delivery.event.kind == EventKind::Fault).then(|| format!("watchbell ack {quoted}"))
}

/// `45 s`, `12 min`, `2 h 5 min`, `3 d 4 h`: the two largest units that say something.
pub fn people_duration(d: Duration) -> String {
    let s = d.as_secs();
    let (days, hours, minutes) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    let two =
        |a: u64, ua: &str, b: u64, ub: &str| if b == 0 { format!("{a} {ua}") } else { format!("{a} {ua} {b} {ub}") };
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => two(minutes, "min", if minutes < 10 { s % 60 } else { 0 }, "s"),
        3_600..86_400 => two(hours, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

/// CIMAA's way to write a fault's name: `HOST FILE NAME`.
pub fn cimaa_name(event: &Event) -> String {
    match event.name.strip_prefix("//") {
        Some(rest) => rest.splitn(3, '/').collect::<Vec<_>>().join(" ").trim_end().to_owned(),
        None => event.name.to_string(),
    }
}

/// The first line that says something.
pub fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

pub use watchbell_core::wire::text::one_line;

/// The first `max` characters, the last of them `…` where something is cut.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// At most `max` characters: the beginning, `...`, and the end, because the end of an error often says most.
pub fn cut_middle(text: &str, max: usize) -> String {
    const GAP: &str = "\n\n...\n\n";
    let length = text.chars().count();
    if length <= max {
        return text.to_owned();
    }
    let keep = max.saturating_sub(GAP.chars().count());
    let head: String = text.chars().take(keep - keep / 2).collect();
    let tail: String = text.chars().skip(length - keep / 2).collect();
    format!("{head}{GAP}{tail}")
}

/// At most `max` characters that are still different for different names: the tail of a longer one is hashed.
pub fn hash_tail(name: &str, max: usize) -> String {
    const HASH_CHARS: usize = 32;
    if name.chars().nth(max).is_none() {
        return name.to_owned();
    }
    let head: String = name.chars().take(max.saturating_sub(HASH_CHARS + 1)).collect();
    format!("{head}~{}", &sha256_hex(name.as_bytes())[..HASH_CHARS])
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Text that Slack shows as it is.
pub fn slack_escape(text: &str) -> String {
    text::clean(text.as_bytes()).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One delivery of each sort, for the tests of the kinds.
    pub(crate) fn samples() -> Vec<Delivery> {
        specimens()
    }

    /// A trigger as most tests want it.
    pub(crate) fn trigger() -> Delivery {
        specimens().swap_remove(1)
    }

    #[test]
    fn default_texts_read_well() {
        let (title, text) = (Template::standard(Flavour::Plain, TITLE), Template::standard(Flavour::Plain, TEXT));
        let t = trigger();
        assert_eq!(title.render(&t, &[]), "CRITICAL: app/disk on web-1: 91% used");
        assert_eq!(
            text.render(&t, &[]),
            "91% used\n\nCheck: the disk of the shop\nName: //web-1/app/disk\nSeverity: critical\n\
             Since: 1 Jan 00:10 UTC (20 min)\nAttempt: 4 of 4\nteam: web\n\nOutput:\n/dev/sda1 91%\n\n\
             Look: https://example.com/\n\nWhat to do: clean up\n\nTake it: watchbell ack //web-1/app/disk"
        );
        let resolve = Delivery { action: Action::Resolve, ..t.clone() };
        let odd = "a\u{200b}b\u{61c}c\u{2028}d\u{e0041}e\u{202e}f\x1b[31mg";
        let hidden = Delivery { event: Event { text: odd.into(), ..t.event.clone() }, ..t.clone() };
        assert_eq!(title.render_line(&hidden, &[]), "CRITICAL: app/disk on web-1: abc defg");
        assert_eq!(slack_escape(odd), "abc\ndefg");
        assert_eq!(title.render(&resolve, &[]), "OK: app/disk on web-1: 40% used (it lasted 20 min)");
        let mut message = Delivery { action: Action::Message, ..t.clone() };
        message.event.topic = Some("deploy".into());
        assert_eq!(title.render(&message, &[]), "deploy - 91% used");
        let bare = &samples()[0];
        assert_eq!(
            text.render(bare, &[]),
            "91% used\n\nName: //web-1/app/disk\nSeverity: critical\n\nTake it: watchbell ack //web-1/app/disk"
        );
    }

    #[test]
    fn a_plugins_own_word_is_said_once() {
        for (line, expect) in [
            ("CRITICAL: 91% used", "91% used"),
            ("CRITICAL - 91% used", "91% used"),
            ("DISK CRITICAL - free space: / 10%", "DISK: free space: / 10%"),
            ("PROCS WARNING: 3 processes", "PROCS: 3 processes"),
            ("UNKNOWN: no such host", "no such host"),
            ("OK", "OK"),
            ("CRITICAL", "CRITICAL"),
            ("OK now, but late", "OK now, but late"),
            ("91% used", "91% used"),
            ("", ""),
        ] {
            assert_eq!(without_status(line), expect, "{line}");
        }
        let mut delivery = trigger();
        (delivery.event.text, delivery.event.unknown) = ("UNKNOWN - no route to host".into(), true);
        assert_eq!(
            Template::standard(Flavour::Plain, TITLE).render(&delivery, &[]),
            "UNKNOWN: app/disk on web-1: no route to host"
        );
    }

    #[test]
    fn times_are_in_the_agents_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(people_time(Timestamp::from_secs(1_767_323_045), &zone), "2 Jan 04:04 CET");
        assert_eq!(people_time(Timestamp::from_secs(1_782_961_445), &TimeZone::UTC), "2 Jul 03:04 UTC");
    }

    #[test]
    fn digest_lists_the_first_and_counts_the_rest() {
        let mut ok = trigger().event;
        ok.state = EventState::Recovery;
        let mut digest = vec![trigger().event; DIGEST_LINES_MAX + 2];
        digest.push(ok);
        let delivery = Delivery { action: Action::Digest, digest, ..trigger() };
        let title = Template::standard(Flavour::Plain, TITLE).render(&delivery, &[]);
        assert_eq!(title, "23 notifications from web-1: 22 critical, 1 ok");
        let text = Template::standard(Flavour::Plain, TEXT).render(&delivery, &[]);
        assert_eq!(text.lines().count(), DIGEST_LINES_MAX + 1);
        assert_eq!(text.lines().next(), Some("1 Jan 00:30 UTC  CRITICAL  //web-1/app/disk: 91% used"));
        assert_eq!(text.lines().last(), Some("... and 3 more"));
    }

    #[test]
    fn every_default_renders_every_sort_of_delivery() {
        for default in [TITLE, TEXT, HTML] {
            for flavour in [Flavour::Plain, Flavour::Html, Flavour::Slack] {
                let template = Template::standard(flavour, default);
                for delivery in specimens() {
                    render(&template.env, DEFAULT, context(&delivery, &TimeZone::UTC)).unwrap();
                }
            }
        }
    }

    #[test]
    fn only_addresses_become_links() {
        let html = Template::standard(Flavour::Html, HTML);
        let mut delivery = trigger();
        assert!(html.render(&delivery, &[]).contains("<a href=\"https:"));
        delivery.event.link = Some("javascript:alert(1)".into());
        assert!(!html.render(&delivery, &[]).contains("href"));
    }

    #[test]
    fn context_holds_nothing_that_is_not_listed() {
        for delivery in specimens() {
            for key in context(&delivery, &TimeZone::UTC).keys() {
                assert!(VARIABLES.contains(&key.as_str()), "{key} is not in VARIABLES");
            }
        }
    }

    #[test]
    fn wrong_templates_say_where() {
        for (source, message, hint) in [
            ("{{ mesage }}", "there is no `mesage` in a delivery", "did you mean `message`?"),
            ("a\n{% if %}", "(line 2 of it)", "Jinja"),
            ("{{ text | shout }}", "shout", "Jinja"),
            ("{{ 1 / 0 }}", "1 / 0", "Jinja"),
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "fuel", "Jinja"),
        ] {
            let (m, h) = Template::standard(Flavour::Plain, TEXT).take(source.into()).unwrap_err();
            assert!(m.contains(message) && h.contains(hint), "{source}: {m} / {h}");
        }
        let mut fine = Template::standard(Flavour::Plain, TEXT);
        fine.take("{% set x = 1 %}{% for i in range(2) %}{{ event.since }}{{ x }}{% endfor %}".into()).unwrap();
    }

    /// What asks for more than it may have is a mistake of the config, or gives way to the default where the delivery
    /// decides it; the agent lives.
    #[test]
    fn no_template_takes_the_agent_along() {
        let double = "{% set n = namespace(x='xxxxxxxx') %}{% for i in RANGE %}{% set n.x = n.x ~ n.x %}{% endfor %}";
        let (deep, blocks) = ("(".repeat(4_000), "{% if 1 %}".repeat(4_000));
        let more = "{{ [[".repeat(4_000);
        let large = "it took more than 64 MiB of memory";
        for (source, expect) in [
            (double.replace("RANGE", "range(60)").as_str(), large),
            ("{{ 'x' * 1000000000 }}", "too large"),
            ("{{ 'x' | indent(1000000000) }}", large),
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "fuel"),
            (&format!("{{{{ {deep}"), "recursion"),
            (&blocks, "recursion"),
            (&more, "recursion"),
        ] {
            let (why, _) = Template::standard(Flavour::Plain, TEXT).take(source.into()).unwrap_err();
            assert!(why.contains(expect), "{source}: {why}");
        }
        let mut template = Template::standard(Flavour::Plain, "the default");
        template.take(double.replace("RANGE", "text") + "{{ n.x[:8] }}").unwrap();
        let mut delivery = trigger();
        assert_eq!(template.render(&delivery, &[]), "xxxxxxxx");
        delivery.event.text = "text ".repeat(200);
        assert_eq!(template.render(&delivery, &[]), "the default");
    }

    #[test]
    fn values_are_made_safe_and_markup_is_kept() {
        let mut delivery = trigger();
        delivery.event.text = "a <b> & 'c'".into();
        for (flavour, expect) in [
            (Flavour::Plain, "<i>a <b> & 'c'</i>"),
            (Flavour::Slack, "<i>a &lt;b&gt; &amp; 'c'</i>"),
            (Flavour::Html, "<i>a &lt;b&gt; &amp; &#x27;c&#x27;</i>"),
        ] {
            let mut template = Template::standard(flavour, TEXT);
            template.take("<i>{{ message }}</i>".into()).unwrap();
            assert_eq!(template.render(&delivery, &[]), expect);
        }
    }

    #[test]
    fn names_durations_and_cuts() {
        let mut event = trigger().event;
        for (name, agent_is, short, cimaa) in [
            ("//h/f/c#p", "h", "f/c#p", "h f c#p"),
            ("//h/f/a/b", "h", "f/a/b", "h f a/b"),
            ("//h/f/", "h", "f/", "h f"),
            ("web-1#alerts", "web-1", "alerts", "web-1#alerts"),
            ("other", "web-1", "other", "other"),
        ] {
            event.name = name.into();
            assert_eq!((agent(&event), short_name(&event)), (agent_is, short));
            assert_eq!(cimaa_name(&event), cimaa);
        }
        for (secs, expect) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (720, "12 min"), (7500, "2 h 5 min")]
        {
            assert_eq!(people_duration(Duration::from_secs(secs)), expect);
        }
        assert_eq!(people_duration(Duration::from_secs(273_600)), "3 d 4 h");
        assert_eq!((cut("abcd", 4), cut("abcde", 4)), ("abcd".into(), "abc…".into()));
        let long = format!("BEGIN{}END", "ä".repeat(2_000));
        let short = cut_middle(&long, 1_024);
        assert_eq!(short.chars().count(), 1_024);
        assert!(short.starts_with("BEGIN") && short.ends_with("END") && short.contains("..."));
        let (a, b) = (format!("{}a", "x".repeat(300)), format!("{}b", "x".repeat(300)));
        assert_eq!(hash_tail(&a, 255).chars().count(), 255);
        assert_ne!(hash_tail(&a, 255), hash_tail(&b, 255));
        assert_eq!(hash_tail("short", 255), "short");
    }
}
