//! SNS: publishes to a topic of Amazon's Simple Notification Service (Query protocol, signed).
//!
//! Subscribers tell deliveries apart by message attributes: `action`, `severity`, `name`, `key`. A FIFO topic gets
//! the fault as its group, so that its messages stay in order, and the key's hash as deduplication id.
//! Limits are those of <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>.

use super::{
    Attempt, Channel, Notifier,
    http_retry::{self, Answer, Mask, QUOTE_MAX_CHARS},
    template::{self, Flavour, Template, cut, hash_tail, sha256_hex},
};
use crate::{
    shared::aws::{Aws, Credentials, SignError},
    source::BoxFuture,
};
use std::{sync::Arc, time::Instant};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Delivery, Failure, Receipt},
};

/// A subject must be shorter than 100 characters.
const SUBJECT_MAX_CHARS: usize = 99;
/// SNS takes 256 KB with the attributes; the rest of it is for them.
const MESSAGE_MAX_BYTES: usize = 240 * 1024;
/// What is sent of one attribute.
const ATTRIBUTE_MAX_CHARS: usize = 1_024;
/// The limit of a FIFO topic's group and deduplication ids.
const FIFO_ID_MAX_CHARS: usize = 128;

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "sns",
    doc: "Publishes to a topic of Amazon SNS. Credentials come from the usual places (environment, profile, role of \
          the machine) unless they are given here. Subscribers can filter on the attributes `action`, `severity`, \
          `name` and `key`.",
    example: r#"
[notify.topic]
kind = "sns"
topic = "arn:aws:sns:eu-west-1:123456789012:alerts"
format = "text"
"#,
    keys: &[
        Key { name: "topic", shape: Shape::String, doc: "The topic's ARN; it names the region too." },
        Key {
            name: "format",
            shape: Shape::Choice(&["text", "json"]),
            doc: "What is published: text for people, or the delivery's JSON. Default: `text`.",
        },
        Key { name: "profile", shape: Shape::String, doc: "The profile to take credentials from." },
        Key { name: "access_key", shape: Shape::Text, doc: "A key of its own: its id." },
        Key { name: "secret_key", shape: Shape::Secret, doc: "And its secret." },
        Key { name: "session_token", shape: Shape::Secret, doc: "And its session token, if it is a temporary one." },
        Key {
            name: "endpoint",
            shape: Shape::String,
            doc: "Another address of the service, for a private endpoint or a stand-in.",
        },
        template::TITLE_KEY,
        template::TEXT_KEY,
    ],
    capabilities: Capabilities { edits: false, digests: true, acknowledges: false, gap_ms: 0 },
    read,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Text,
    Json,
}

#[derive(Debug)]
struct Sns {
    topic: String,
    endpoint: String,
    format: Format,
    aws: Aws,
    title: Template,
    text: Template,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let format = reader.choice("format", &formats).unwrap_or(Format::Text);
    let title = Template::read(reader, "title", Flavour::Plain, template::TITLE);
    let text = Template::read(reader, "text", Flavour::Plain, template::TEXT);
    if format == Format::Json && reader.has("text") {
        reader.error("text", "`text` has no effect with `format = \"json\"`").hint("drop one of the two");
    }
    let credentials = read_credentials(reader);
    let topic = reader.require_string("topic");
    let region = topic.as_deref().and_then(region_of);
    if topic.is_some() && region.is_none() {
        reader
            .error("topic", "`topic` is no ARN of an SNS topic")
            .hint("it looks like `arn:aws:sns:eu-west-1:123456789012:alerts`");
    }
    let (partition, region) = region?;
    let suffix = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    let endpoint = http_retry::read_base(reader, "endpoint", &format!("https://sns.{region}.{suffix}"));
    let aws = Aws::new("sns", region, credentials?);
    Some(Arc::new(Sns { topic: topic?, endpoint: format!("{endpoint}/"), format, aws, title, text }))
}

/// Reads `profile`, or `access_key`, `secret_key` and `session_token`.
fn read_credentials(reader: &mut Reader<'_>) -> Option<Credentials> {
    let profile = reader.string("profile");
    let (access_key, secret_key) = (reader.text("access_key"), reader.secret("secret_key"));
    let session_token = reader.secret("session_token");
    match (reader.has("access_key"), reader.has("secret_key")) {
        (true, true) if reader.has("profile") => {
            reader.error("profile", "`profile` has no effect beside `access_key`").hint("keep one of them");
            None
        }
        (true, true) => Some(Credentials::Key { access_key: access_key?, secret_key: secret_key?, session_token }),
        (true, false) => {
            reader.missing("secret_key");
            None
        }
        (false, true) => {
            reader.missing("access_key");
            None
        }
        (false, false) if reader.has("session_token") => {
            reader.missing("access_key");
            None
        }
        (false, false) => Some(profile.map_or(Credentials::Chain, Credentials::Profile)),
    }
}

/// Partition and region of a topic's ARN.
fn region_of(arn: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = arn.split(':').collect();
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match parts.as_slice() {
        ["arn", partition, "sns", region, account, name]
            if [partition, region, account, name].iter().all(|part| word(part)) =>
        {
            Some(((*partition).to_owned(), (*region).to_owned()))
        }
        _ => None,
    }
}

/// A subject as SNS takes it: printable ASCII, one line, beginning with a letter, number or punctuation.
fn subject(title: &str) -> String {
    let ascii: String = title.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let line = template::one_line(&ascii);
    let line = if line.is_empty() { "Watchbell".to_owned() } else { line };
    match line.char_indices().nth(SUBJECT_MAX_CHARS) {
        Some(_) => format!("{}...", &line[..SUBJECT_MAX_CHARS - 3]),
        None => line,
    }
}

/// An attribute's text: never empty, one line.
fn attribute(text: &str) -> String {
    let line = cut(&template::one_line(text), ATTRIBUTE_MAX_CHARS);
    if line.is_empty() { "-".to_owned() } else { line }
}

/// Cuts text to bytes, not within a character.
fn cut_bytes(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The text of the first element of this name in an XML answer.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

impl Sns {
    /// The form that is published.
    fn body(&self, delivery: &Delivery) -> Vec<(String, String)> {
        let message = match self.format {
            Format::Text => self.text.render(delivery, &[]),
            Format::Json => serde_json::to_string(delivery).unwrap_or_default(),
        };
        let message = if message.is_empty() { delivery.action.word().to_owned() } else { message };
        let mut form = vec![
            ("Action".to_owned(), "Publish".to_owned()),
            ("Version".to_owned(), "2010-03-31".to_owned()),
            ("TopicArn".to_owned(), self.topic.clone()),
            ("Subject".to_owned(), subject(&self.title.render_line(delivery, &[]))),
            ("Message".to_owned(), cut_bytes(&message, MESSAGE_MAX_BYTES).to_owned()),
        ];
        let event = &delivery.event;
        let attributes = [
            ("action", delivery.action.word()),
            ("severity", event.severity.word()),
            ("name", &event.name),
            ("key", &delivery.key),
        ];
        for (i, (name, value)) in attributes.into_iter().enumerate() {
            let at = format!("MessageAttributes.entry.{}", i + 1);
            form.push((format!("{at}.Name"), name.to_owned()));
            form.push((format!("{at}.Value.DataType"), "String".to_owned()));
            form.push((format!("{at}.Value.StringValue"), attribute(value)));
        }
        if self.topic.ends_with(".fifo") {
            form.push(("MessageGroupId".to_owned(), group(&event.name)));
            form.push(("MessageDeduplicationId".to_owned(), sha256_hex(delivery.key.as_bytes())));
        }
        form
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let started = Instant::now();
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(self.body(delivery)).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let request = self.aws.post(attempt.shared, &self.endpoint, &headers, form, attempt.timeout).await;
        let request = request.map_err(|error| match error {
            SignError::Credentials(_) => Failure::retry(error.to_string()),
            SignError::Request(_) => Failure::permanent(error.to_string()),
        })?;
        let (to, mask) = (http_retry::place(&self.endpoint), Mask::default());
        let answer = http_retry::call(&http_retry::rest(attempt, started), request, &to, &mask).await?;
        judge(answer, &to, &mask)
    }
}

/// A FIFO group id: letters, digits and punctuation only, different for different names.
fn group(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    let unlike = if plain == name { plain } else { format!("{plain}~{}", &sha256_hex(name.as_bytes())[..16]) };
    hash_tail(if unlike.is_empty() { "watchbell" } else { &unlike }, FIFO_ID_MAX_CHARS)
}

/// What SNS's XML means: throttling and clocks that differ come as 400, too.
fn judge(answer: Answer, to: &str, mask: &Mask) -> Result<Receipt, Failure> {
    if (200..300).contains(&answer.status) {
        let id = element(&answer.body, "MessageId").map(str::to_owned);
        let text = format!("published as {}", id.as_deref().unwrap_or("(no id)"));
        return Ok(Receipt { id, text });
    }
    let (Some(code), message) = (element(&answer.body, "Code"), element(&answer.body, "Message")) else {
        return http_retry::judge(answer, to, mask).map(|_| Receipt::default());
    };
    let said = cut(&mask.quote(&format!("{code}: {}", message.unwrap_or_default())), QUOTE_MAX_CHARS);
    let later = code.contains("Throttl")
        || matches!(
            code,
            "InternalError" | "InternalFailure" | "ServiceUnavailable" | "RequestExpired" | "ExpiredToken"
        )
        || answer.status >= 500;
    if later {
        return Err(Failure::Retry { after: answer.retry_after, reason: format!("{to}: {said}") });
    }
    let hint = match code {
        "AuthorizationError" | "AccessDenied" => "; allow `sns:Publish` on the topic",
        "InvalidClientTokenId" | "SignatureDoesNotMatch" | "MissingAuthenticationToken" => "; check the credentials",
        "NotFound" => "; check `topic`",
        _ => "",
    };
    Err(Failure::permanent(format!("{to}: {said}{hint}")))
}

impl Notifier for Sns {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        let lines = self.body(delivery).into_iter().map(|(key, value)| format!("{key}: {value}"));
        format!("POST {}\n{}", self.endpoint, lines.collect::<Vec<_>>().join("\n"))
    }

    fn preflight(&self) -> Vec<String> {
        self.aws.preflight()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        suite::{moto::Moto, problems_of, read_kind},
        template::tests::trigger,
    };
    use super::*;
    use crate::shared::Shared;
    use std::time::Duration;

    #[test]
    fn subjects_are_short_ascii_lines() {
        for (title, expect) in [("a\nb", "a b"), ("", "Watchbell"), ("größe", "gr??e"), ("  x", "x")] {
            assert_eq!(subject(title), expect);
        }
        assert_eq!(subject(&"x".repeat(300)).len(), SUBJECT_MAX_CHARS);
    }

    #[test]
    fn codes_mean_later_or_never() {
        for (status, code, later) in [
            (400, "Throttling", true),
            (400, "ThrottledException", false),
            (400, "KMSThrottling", true),
            (403, "ExpiredToken", true),
            (500, "InternalError", true),
            (403, "AuthorizationError", false),
            (404, "NotFound", false),
            (400, "InvalidParameter", false),
        ] {
            let body = format!("<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>");
            let failure = judge(Answer { status, retry_after: None, body }, "sns", &Mask::default()).unwrap_err();
            let later = later || code.starts_with("Throttl");
            assert_eq!(matches!(failure, Failure::Retry { .. }), later, "{code}: {failure:?}");
        }
    }

    #[test]
    fn wrong_values_are_found_when_the_config_is_read() {
        let topic = "topic = \"arn:aws:sns:eu-west-1:123456789012:alerts\"\n";
        for (config, expect) in [
            ("topic = \"alerts\"", "`topic` is no ARN of an SNS topic"),
            ("topic = \"arn:aws:sqs:eu-west-1:123456789012:alerts\"", "`topic` is no ARN of an SNS topic"),
            (&format!("{topic}access_key = \"A\""), "has no `secret_key`"),
            (&format!("{topic}format = \"json\"\ntext = \"x\""), "`text` has no effect"),
        ] {
            let problems = problems_of("sns", config);
            assert!(problems.iter().any(|p| p.contains(expect)), "{config}: {problems:?}");
        }
    }

    #[test]
    fn groups_fit_and_differ() {
        assert_eq!(group("//h/f/c"), "//h/f/c");
        assert_ne!(group("//h/f/a b"), group("//h/f/a_b"));
        assert!(group(&"ü".repeat(500)).chars().count() <= FIFO_ID_MAX_CHARS);
    }

    /// Against moto's stand-in: text, JSON, attributes and a FIFO topic arrive as they should.
    #[tokio::test]
    async fn publishes_to_a_topic() {
        let Some(moto) = Moto::start().await else { return };
        for (name, format) in [("alerts", "text"), ("alerts-json", "json"), ("alerts.fifo", "text")] {
            let topic = moto.topic(name).await;
            let config = format!(
                "topic = \"{topic}\"\nformat = \"{format}\"\nendpoint = \"{}\"\naccess_key = \"AKIDEXAMPLE\"\nsecret_key = {{ env = \"CARGO_PKG_NAME\" }}",
                moto.url
            );
            let notifier = read_kind("sns", &config);
            let shared = Shared::new().unwrap();
            let attempt = Attempt { timeout: Duration::from_secs(20), shared: &shared };
            let receipt = notifier.deliver(&trigger(), &attempt).await.unwrap();
            let got = moto.received(name).await;
            let id = receipt.id.unwrap();
            let mail = got.iter().find(|(m, _)| m["MessageId"] == id.as_str());
            let (mail, attributes) = mail.unwrap_or_else(|| panic!("{id} is not in {got:?}"));
            let group = name.ends_with(".fifo").then_some("//web-1/app/disk");
            assert_eq!(attributes["MessageGroupId"].as_str(), group);
            assert_eq!(mail["Subject"], "CRITICAL: app/disk on web-1: 91% used");
            assert_eq!(mail["MessageAttributes"]["severity"]["Value"], "critical");
            assert_eq!(mail["MessageAttributes"]["name"]["Value"], "//web-1/app/disk");
            let message = mail["Message"].as_str().unwrap();
            match format {
                "json" => assert_eq!(serde_json::from_str::<Delivery>(message).unwrap(), trigger()),
                _ => assert!(message.starts_with("91% used\n"), "{message}"),
            }
            let failure = read_kind("sns", &config.replace(&topic, &format!("{topic}-missing")));
            let failure = failure.deliver(&trigger(), &attempt).await.unwrap_err();
            assert!(matches!(failure, Failure::Permanent { .. }), "{failure:?}");
        }
    }
}
