//! Webhook: a delivery as an HTTP request to any address, as JSON or in a body of the user's own.
//!
//! Each request carries the delivery's key (`Idempotency-Key`), the same for repeats, and, where a secret is
//! set, a signature: `X-Watchbell-Signature: sha256=HEX` is the HMAC-SHA256 of `TIMESTAMP.BODY`, TIMESTAMP being
//! the seconds in `X-Watchbell-Timestamp` when this try was made. A receiver checks both and refuses old ones.

use super::{
    Attempt, Channel, Notifier,
    http_retry::{self, MASKED, Mask},
    template::{self, Flavour, Template},
};
use crate::source::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use sha2::Sha256;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Secret, Shape},
    model::{Delivery, Failure, Receipt},
};

/// The header of the delivery's key.
pub const KEY_HEADER: &str = "idempotency-key";
/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "x-watchbell-signature";
/// The header of the second in which a try was signed.
pub const TIMESTAMP_HEADER: &str = "x-watchbell-timestamp";

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "webhook",
    doc: "Sends each delivery to an address: its JSON, or a body of your own. With a `secret` requests are signed: \
          `X-Watchbell-Signature: sha256=HEX` is the HMAC-SHA256 of the text `TIMESTAMP.BODY` (TIMESTAMP from \
          `X-Watchbell-Timestamp`). `Idempotency-Key` is the same for every repeat of a delivery.",
    example: r#"
[notify.hook]
kind = "webhook"
url = "https://example.com/hook"
secret = { env = "HOOK_SECRET" }
headers = { Authorization = { env = "HOOK_AUTHORIZATION" } }
body = '{"text": {{ message | tojson }}, "bad": {{ (severity == "critical") | tojson }}}'
"#,
    keys: &[
        Key { name: "url", shape: Shape::Text, doc: "The address; a reference to a secret where it holds one." },
        Key { name: "method", shape: Shape::Choice(&["POST", "PUT", "PATCH"]), doc: "The method. Default: `POST`." },
        Key {
            name: "headers",
            shape: Shape::StringMap,
            doc: "More headers; each value may be a reference to a secret.",
        },
        Key {
            name: "body",
            shape: Shape::String,
            doc: "A Jinja template for the body (`{{ message | tojson }}` writes a JSON text). Default: the delivery's JSON.",
        },
        Key { name: "content_type", shape: Shape::String, doc: "What the body is. Default: `application/json`." },
        Key { name: "secret", shape: Shape::Secret, doc: "The secret that requests are signed with." },
    ],
    capabilities: Capabilities { edits: false, digests: true, acknowledges: true, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct Webhook {
    url: Secret,
    method: Method,
    headers: Vec<(HeaderName, Secret)>,
    template: Option<Template>,
    content_type: HeaderValue,
    secret: Option<Secret>,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let methods = [("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH)];
    let method = reader.choice("method", &methods).unwrap_or(Method::POST);
    let headers = read_headers(reader);
    let template = reader.has("body").then(|| Template::read(reader, "body", Flavour::Plain, template::TEXT));
    let content_type = reader.string("content_type").unwrap_or_else(|| "application/json".to_owned());
    let content_type = HeaderValue::from_str(&content_type).unwrap_or_else(|_| {
        reader.error("content_type", "`content_type` holds characters that a header can't");
        HeaderValue::from_static("application/json")
    });
    let secret = reader.secret("secret");
    if !reader.has("url") {
        reader.missing("url");
    }
    let url = reader.text("url")?;
    if let Secret::Value(text) = &url
        && let Some(why) = http_retry::url_problem(text)
    {
        reader.error("url", format!("`url` is no address: {why}"));
        return None;
    }
    Some(Arc::new(Webhook { url, method, headers, template, content_type, secret }))
}

fn read_headers(reader: &mut Reader<'_>) -> Vec<(HeaderName, Secret)> {
    let own = [KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, "content-type", "content-length", "host"];
    let mut headers = Vec::new();
    for (name, value) in reader.secret_map("headers").unwrap_or_default() {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(header) if header == CONTENT_TYPE => {
                reader.error("headers", format!("the header `{name}` has a key of its own")).hint("use `content_type`");
            }
            Ok(header) if own.contains(&header.as_str()) => {
                reader.error("headers", format!("the header `{name}` is set by Watchbell itself")).hint("remove it");
            }
            Ok(header) => {
                headers.push((header, value));
            }
            Err(_) => {
                // Who writes `"Authorization: Bearer …"` means the value, too.
                let name = name.split(':').next().unwrap_or_default();
                reader.error("headers", format!("`{name}` is no name of a header")).hint("letters, digits and `-`");
            }
        }
    }
    headers
}

/// The signature of a body sent at this second.
fn signature(secret: &str, timestamp: u64, body: &str) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| Failure::permanent("`secret` can't be used to sign"))?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    Ok(format!("sha256={}", template::hex(&mac.finalize().into_bytes())))
}

impl Webhook {
    fn body(&self, delivery: &Delivery) -> String {
        match &self.template {
            Some(template) => template.render(delivery, &[]),
            None => serde_json::to_string(delivery).unwrap_or_default(),
        }
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let mut mask = Mask::default();
        let url = http_retry::reveal(&self.url, "url", &mut mask)?;
        mask.add_url(&url);
        let body = self.body(delivery);
        let mut request = attempt.shared.http.client.request(self.method.clone(), &url);
        for (name, value) in &self.headers {
            request = request.header(name, http_retry::reveal(value, name.as_str(), &mut mask)?);
        }
        request = request.header(CONTENT_TYPE, &self.content_type).header(KEY_HEADER, header_text(&delivery.key));
        if let Some(secret) = &self.secret {
            let secret = http_retry::reveal(secret, "secret", &mut mask)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            request = request.header(TIMESTAMP_HEADER, now).header(SIGNATURE_HEADER, signature(&secret, now, &body)?);
        }
        let answer = http_retry::send(attempt, request.body(body), &http_retry::place(&url), &mask).await?;
        let said = mask.quote(&answer.body);
        Ok(Receipt { id: None, text: format!("{} {said}", answer.status).trim_end().to_owned() })
    }
}

/// A key as a header can carry it: what is not printable ASCII is percent-encoded.
fn header_text(key: &str) -> String {
    key.bytes().fold(String::with_capacity(key.len()), |mut out, byte| {
        match byte {
            b'%' => out.push_str("%25"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

impl Notifier for Webhook {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        let place = match &self.url {
            Secret::Value(url) => format!("{}/{MASKED}", http_retry::place(url)),
            reference => reference.to_string(),
        };
        let mut lines = vec![format!("{} {place}", self.method)];
        lines.extend(self.headers.iter().map(|(name, _)| format!("{name}: {MASKED}")));
        lines.push(format!("{KEY_HEADER}: {}", header_text(&delivery.key)));
        if self.secret.is_some() {
            lines.push(format!("{SIGNATURE_HEADER}: sha256={MASKED}"));
        }
        format!("{}\n\n{}", lines.join("\n"), self.body(delivery))
    }

    fn preflight(&self) -> Vec<String> {
        let mut missing = http_retry::preflight([("url", Some(&self.url)), ("secret", self.secret.as_ref())]);
        for (name, value) in &self.headers {
            missing.extend(crate::shared::secret::read(value).err().map(|why| format!("`headers`: {name}: {why}")));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        suite::{Rig, problems_of, problems_shown, recorder::Reply},
        template::tests::{samples, trigger},
    };
    use super::*;

    /// As Python's `hmac.new(b"key", b'1700000000.{"a":1}', "sha256")` has it.
    #[test]
    fn the_signature_is_over_timestamp_dot_body() {
        let known = "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature("key", 1_700_000_000, r#"{"a":1}"#).unwrap(), format!("sha256={known}"));
    }

    #[tokio::test]
    async fn a_request_is_signed_over_timestamp_and_body() {
        let rig = Rig::new("webhook", &[Reply::status(204)]).await;
        rig.deliver(&trigger()).await.unwrap();
        let request = &rig.recorder.requests()[0];
        let now = request.header(TIMESTAMP_HEADER).unwrap().parse().unwrap();
        let expect = signature(super::super::suite::SECRET, now, &request.body).unwrap();
        assert_eq!(request.header(SIGNATURE_HEADER), Some(expect.as_str()));
        assert_eq!(request.header(KEY_HEADER), Some(trigger().key.as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }

    #[tokio::test]
    async fn the_default_body_is_the_delivery() {
        let rig = Rig::with("webhook", "", &[]).await;
        for delivery in samples() {
            rig.deliver(&delivery).await.unwrap();
            let body = rig.recorder.requests().pop().unwrap().body;
            assert_eq!(serde_json::from_str::<Delivery>(&body).unwrap(), delivery);
        }
    }

    #[test]
    fn wrong_values_are_found_when_the_config_is_read() {
        for (config, expect) in [
            ("url = \"ftp://x/\"", "it must begin with https://"),
            ("url = \"example.com/hook\"", "`url` is no address"),
            ("", "has no `url`"),
            ("url = \"https://x/\"\nmethod = \"GET\"", "`method` can't be \"GET\""),
            ("url = \"https://x/\"\nheaders = { \"a b\" = \"c\" }", "`a b` is no name of a header"),
            ("url = \"https://x/\"\nheaders = { Host = \"c\" }", "is set by Watchbell itself"),
            ("url = \"https://x/\"\nheaders = { Content-Type = \"c\" }", "has a key of its own"),
            ("url = \"https://x/\"\nbody = \"{{ mesage }}\"", "there is no `mesage` in a delivery"),
            ("url = \"https://x/\"\nsecret = \"open\"", "must not stand in a file"),
        ] {
            let problems = problems_of("webhook", config);
            assert!(problems.iter().any(|p| p.contains(expect)), "{config}: {problems:?}");
        }
    }

    #[test]
    fn problems_show_no_secret() {
        for config in [
            "url = \"https://x/\"\nheaders = { \"a b\" = \"hunter2\" }",
            "url = \"https://x/\"\nheaders = { \"Authorization: Bearer hunter2\" = \"\" }",
            "url = \"https://x/\"\nheaders = { Authorization = \"hunter2\", Host = \"c\" }",
            "url = \"htps://a:hunter2@x/hunter2\"",
            "url = \"https://x:y/hunter2\"",
            "ulr = \"https://x/hunter2\"",
            "url = \"https://x/\"\nsecrt = \"hunter2\"",
        ] {
            let shown = problems_shown("webhook", config);
            assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn keys_fit_into_a_header() {
        assert_eq!(header_text("a/b c%ü\n"), "a/b c%25%C3%BC%0A");
    }
}
