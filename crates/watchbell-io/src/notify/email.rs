//! E-mail over SMTP, as text and as simple HTML: each address is a target, so that one which is refused costs nobody
//! else the message. All are named in `To`.
//!
//! A message's id comes from the delivery's key, so a repeat has the same id; what follows a trigger refers to
//! it, so that mail programs show one conversation. The date is the event's. MIME and headers' encoding are lettre's;
//! replies 4xx may pass, 5xx will not (RFC 5321, 4.2.1).

use super::{
    Attempt, Channel, Notifier,
    http_retry::{self, Mask},
    smtp::{Encryption, Error, Server, Session, is_full_name},
    template::{self, Flavour, Template, cut},
};
use crate::{
    shared::{Shared, http, net},
    source::BoxFuture,
};
use lettre::{
    Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use rustls::{ClientConfig, RootCertStore};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Secret, Shape},
    model::{Delivery, Failure, Receipt},
};

/// What is sent of a subject, in characters.
const SUBJECT_MAX_CHARS: usize = 200;
/// What is sent of a body, in characters.
const BODY_MAX_CHARS: usize = 100_000;

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "email",
    doc: "Sends mail through an SMTP server. `title` is the subject.",
    example: r#"
[notify.mail]
kind = "email"
server = "smtp.example.com"
user = "watchbell"
password = { env = "SMTP_PASSWORD" }
from = "Watchbell <watchbell@example.com>"
to = ["ops@example.com"]
"#,
    keys: &[
        Key { name: "server", shape: Shape::String, doc: "The server's name or address." },
        Key {
            name: "port",
            shape: Shape::Integer,
            doc: "Its port. Default: 587, 465 with implicit TLS, 25 with none.",
        },
        Key {
            name: "tls",
            shape: Shape::Choice(&["starttls", "implicit", "none"]),
            doc: "How the connection is encrypted. Default: `starttls`, without which nothing is sent. `none` is for \
                  this machine only, unless `cleartext` says otherwise.",
        },
        Key {
            name: "cleartext",
            shape: Shape::Boolean,
            doc: "Allows `tls = \"none\"` to another machine. Default: false.",
        },
        Key {
            name: "ca",
            shape: Shape::String,
            doc: "A PEM file with the certificates to trust instead of Mozilla's and the machine's.",
        },
        Key { name: "user", shape: Shape::Text, doc: "Who to log in as." },
        Key { name: "password", shape: Shape::Secret, doc: "The password for it." },
        Key { name: "from", shape: Shape::String, doc: "The sender: `ops@example.com` or `Ops <ops@example.com>`." },
        Key { name: "to", shape: Shape::Strings, doc: "Who gets it." },
        Key {
            name: "hello",
            shape: Shape::String,
            doc: "The full name that the server is greeted with. Default: the agent's or the host's, where that is a \
                  full one, else the address, as `[192.0.2.1]`.",
        },
        template::TITLE_KEY,
        template::TEXT_KEY,
    ],
    capabilities: Capabilities { edits: false, digests: true, acknowledges: false, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct Email {
    server: String,
    port: u16,
    encryption: Encryption,
    ca: Option<String>,
    hello: Option<String>,
    login: Option<(Secret, Secret)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    title: Template,
    text: Template,
    html: Template,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let words = [("starttls", Encryption::StartTls), ("implicit", Encryption::Implicit), ("none", Encryption::None)];
    let encryption = reader.choice("tls", &words).unwrap_or(Encryption::StartTls);
    let port = reader.integer("port", 1..=65_535).and_then(|n| u16::try_from(n).ok());
    let cleartext = reader.boolean("cleartext").unwrap_or(false);
    let ca = reader.string("ca");
    let hello = reader.string("hello");
    if let Some(name) = hello.as_deref().filter(|name| !is_full_name(name) && !is_literal(name)) {
        let message = format!("`{name}` is no full name of a host");
        reader.error("hello", message).hint("write it as `web-1.example.com`, or an address as `[192.0.2.1]`");
    }
    let login = read_login(reader);
    let title = Template::read(reader, "title", Flavour::Plain, template::TITLE);
    let text = Template::read(reader, "text", Flavour::Plain, template::TEXT);
    let server = reader.require_string("server");
    if encryption == Encryption::None && !cleartext && server.as_deref().is_some_and(|s| !is_loopback(s)) {
        reader
            .error("tls", "`tls = \"none\"` would send mail, and any password, in clear to another machine")
            .hint("use \"starttls\" or \"implicit\"; if it must be, add `cleartext = true`");
    }
    let from = reader.require_string("from");
    let from = from.and_then(|text| mailbox(reader, "from", &text));
    if !reader.has("to") {
        reader.missing("to");
    }
    let texts = reader.strings("to").unwrap_or_default();
    let mut to: Vec<Mailbox> = texts.iter().filter_map(|text| mailbox(reader, "to", text)).collect();
    if reader.has("to") && texts.is_empty() {
        reader.error("to", "`to` is empty");
    }
    let default_port = match encryption {
        Encryption::StartTls => 587,
        Encryption::Implicit => 465,
        Encryption::None => 25,
    };
    let (server, from, port) = (server?, from?, port.unwrap_or(default_port));
    let html = Template::standard(Flavour::Html, template::HTML);
    if to.is_empty() || to.len() < texts.len() {
        return None;
    }
    // Who stands there twice gets it once.
    let mut seen = BTreeSet::new();
    to.retain(|to| seen.insert(to.email.to_string()));
    Some(Arc::new(Email { server, port, encryption, ca, hello, login, from, to, title, text, html }))
}

fn read_login(reader: &mut Reader<'_>) -> Option<(Secret, Secret)> {
    let (user, password) = (reader.text("user"), reader.secret("password"));
    match (reader.has("user"), reader.has("password")) {
        (true, false) => reader.missing("password"),
        (false, true) => reader.missing("user"),
        _ => {}
    }
    user.zip(password)
}

fn mailbox(reader: &mut Reader<'_>, key: &str, text: &str) -> Option<Mailbox> {
    match text.parse() {
        Ok(mailbox) => Some(mailbox),
        Err(_) => {
            reader
                .error(key, format!("`{text}` is no mail address"))
                .hint("write `ops@example.com` or `Ops <ops@example.com>`");
            None
        }
    }
}

fn is_loopback(server: &str) -> bool {
    server == "localhost" || server.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An address in brackets, as RFC 5321 writes it in place of a name.
fn is_literal(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|ip| {
        ip.strip_prefix("IPv6:")
            .map_or(ip.parse::<std::net::Ipv4Addr>().is_ok(), |ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
    })
}

/// The id of the message that a delivery is: the same for all who get it.
fn message_id(delivery: &Delivery, domain: &str) -> String {
    let target = format!("/{}", delivery.target);
    let key = match delivery.key.rsplit_once(&target).filter(|_| target.len() > 1) {
        Some((before, after)) => format!("{before}{after}"),
        None => delivery.key.clone(),
    };
    format!("<{}@{domain}>", &template::sha256_hex(key.as_bytes())[..40])
}

impl Email {
    fn body(&self, delivery: &Delivery) -> Result<Message, Failure> {
        let subject = cut(&self.title.render_line(delivery, &[]), SUBJECT_MAX_CHARS);
        let text = cut(&self.text.render(delivery, &[]), BODY_MAX_CHARS);
        let html = if self.text.is_custom() {
            let escaped = minijinja::HtmlEscape(&text).to_string();
            format!("<!doctype html>\n<html><body><pre>{escaped}</pre></body></html>\n")
        } else {
            self.html.render(delivery, &[("title", &subject)])
        };
        let at = Duration::from_micros(u64::try_from(delivery.event.at.as_micros()).unwrap_or(0));
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(UNIX_EPOCH + at)
            .message_id(Some(message_id(delivery, self.from.email.domain())));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if let Some(id) = delivery.trigger_receipt.as_ref().and_then(|r| r.id.clone()).filter(|id| id.starts_with('<'))
        {
            builder = builder.in_reply_to(id.clone()).references(id);
        }
        let list = format!("<{}.watchbell.{}>", list_label(&delivery.notifier), self.from.email.domain());
        for (name, value) in [
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("List-Id", list),
            ("X-Watchbell-Key", template::one_line(&delivery.key)),
            ("X-Watchbell-Action", delivery.action.word().to_owned()),
            ("X-Watchbell-Severity", delivery.event.severity.word().to_owned()),
        ] {
            if let Ok(name) = HeaderName::new_from_ascii(name.to_owned()) {
                builder = builder.raw_header(HeaderValue::new(name, value));
            }
        }
        builder
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|e| Failure::permanent(format!("can't make the mail: {e}")))
    }

    /// Whom to trust: the file's authorities alone, or Mozilla's and the machine's.
    fn tls(&self, shared: &Shared) -> Result<Arc<ClientConfig>, Failure> {
        let Some(path) = &self.ca else { return Ok(shared.http.tls.clone()) };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(http::read_certificates(path).map_err(Failure::retry)?);
        Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
    }

    /// Who gets a delivery: its target, or all where it names none.
    fn receivers(&self, delivery: &Delivery) -> Vec<String> {
        match delivery.target.as_str() {
            "" => self.targets(),
            target => vec![target.to_owned()],
        }
    }

    /// What we call ourselves: as the config says, else the agent's name or the host's, where that is a full one.
    fn hello(&self, delivery: &Delivery) -> Option<String> {
        let agent = Some(template::agent(&delivery.event).to_owned()).filter(|name| is_full_name(name));
        let host = || Some(net::host_name()).filter(|name| is_full_name(name));
        self.hello.clone().or(agent).or_else(host)
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let mut mask = Mask::default();
        let mail = self.body(delivery)?.formatted();
        let login = match &self.login {
            Some((user, password)) => Some((
                http_retry::reveal(user, "user", &mut Mask::default())?,
                http_retry::reveal(password, "password", &mut mask)?,
            )),
            None => None,
        };
        let (host, port, encryption) = (&self.server, self.port, self.encryption);
        let (tls, hello) = (self.tls(attempt.shared)?, self.hello(delivery));
        let server = Server { host, port, encryption, tls, hello, login };
        let (from, to) = (self.from.email.to_string(), self.receivers(delivery));
        let place = format!("mail server {host}:{port}");
        let sent = async {
            let mut session = Session::open(&server).await?;
            let sent = session.send(&from, &to, &mail).await;
            session.leave();
            sent
        };
        match tokio::time::timeout(attempt.timeout, sent).await {
            Ok(Ok(taken)) => {
                let refused = taken.refused.iter().map(|(to, reply)| format!("; it refused {to}: {reply}"));
                let text = mask.quote(&format!("{}{}", taken.reply, refused.collect::<String>()));
                Ok(Receipt { id: Some(message_id(delivery, self.from.email.domain())), text })
            }
            Ok(Err(error)) => Err(refused(error, &place, &mask)),
            Err(_) => {
                let secs = attempt.timeout.as_secs_f64();
                Err(Failure::retry(format!("{place} did not finish within {secs} s")))
            }
        }
    }
}

/// What an SMTP error means.
fn refused(error: Error, place: &str, mask: &Mask) -> Failure {
    match error {
        Error::Broken(why) => Failure::retry(format!("{place}: {}", mask.quote(&why))),
        Error::Tls(why) => Failure::retry(format!("{place}: no TLS: {}", mask.quote(&why))),
        Error::Unfit(why) => Failure::permanent(format!("{place}: {why}; check `tls` and what the server offers")),
        Error::Said(what, reply) => {
            let hint = match reply.code {
                530 | 534 | 535 | 538 => "; check `user` and `password`",
                501 | 504 if what == "HELO" => "; set `hello` to this machine's full name",
                550 | 551 | 553 => "; check the addresses in `to` and `from`",
                _ => "",
            };
            let reason = format!("{place} refused {what}: {}{hint}", mask.quote(&reply.to_string()));
            if reply.code >= 500 { Failure::permanent(reason) } else { Failure::retry(reason) }
        }
    }
}

/// A notifier's name as a part of a list's id (RFC 2919: letters, digits, `-`, `_`).
fn list_label(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect()
}

impl Notifier for Email {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        let to: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        let (subject, text) = (self.title.render_line(delivery, &[]), self.text.render(delivery, &[]));
        let subject = cut(&subject, SUBJECT_MAX_CHARS);
        let server = format!("{}:{}", self.server, self.port);
        format!("smtp {server}\nFrom: {}\nTo: {}\nSubject: {subject}\n\n{text}", self.from, to.join(", "))
    }

    fn targets(&self) -> Vec<String> {
        self.to.iter().map(|to| to.email.to_string()).collect()
    }

    fn preflight(&self) -> Vec<String> {
        let (user, password) = self.login.as_ref().map(|(u, p)| (u, p)).unzip();
        let mut missing = http_retry::preflight([("user", user), ("password", password)]);
        missing.extend(self.ca.as_ref().and_then(|path| http::read_certificates(path).err()));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        suite::{problems_of, read_kind, smtp},
        template::tests::trigger,
    };
    use super::*;
    use crate::shared::Shared;
    use watchbell_core::model::Action;

    fn config(server: &smtp::Server, tls: &str, login: bool) -> String {
        let login = if login { "user = \"bell\"\npassword = { env = \"CARGO_PKG_NAME\" }" } else { "" };
        let ca = if tls == "none" { String::new() } else { format!("ca = {:?}", server.ca) };
        format!(
            "server = \"{}\"\nport = {}\ntls = \"{tls}\"\n{ca}\n{login}\nfrom = \"Bell <bell@example.com>\"\nto = [\"a@example.com\", \"Bö <b@example.com>\"]",
            server.host, server.port
        )
    }

    async fn send(config: &str, delivery: &Delivery) -> Result<Receipt, Failure> {
        let notifier = read_kind("email", config);
        let shared = Shared::new().unwrap();
        let attempt = Attempt { timeout: Duration::from_secs(20), shared: &shared };
        let result = notifier.deliver(delivery, &attempt).await;
        assert!(!format!("{result:?} {notifier:?}").contains(smtp::PASSWORD));
        result
    }

    #[tokio::test]
    async fn mail_arrives_over_every_sort_of_connection() {
        for (tls, login) in [("starttls", true), ("implicit", true), ("none", false)] {
            for mechanism in ["PLAIN", "LOGIN"] {
                let server = smtp::Server::start(tls, smtp::Script { mechanism, ..Default::default() }).await;
                let receipt = send(&config(&server, tls, login), &trigger()).await.unwrap();
                let mails = server.mails();
                assert_eq!(mails.len(), 1, "{tls}");
                let mail = &mails[0];
                assert_eq!(mail.to, ["a@example.com", "b@example.com"]);
                assert_eq!(mail.login, login.then(|| format!("bell:{}", smtp::PASSWORD)));
                assert_eq!(mail.encrypted, tls != "none");
                for expect in [
                    "Subject: CRITICAL: app/disk on web-1: 91% used",
                    "Auto-Submitted: auto-generated",
                    "Date: Thu, 01 Jan 1970 00:30:00 +0000",
                    "Content-Type: text/plain",
                    "Content-Type: text/html",
                    "List-Id: <ops.watchbell.example.com>",
                    &format!("Message-ID: {}", receipt.id.as_deref().unwrap()),
                ] {
                    assert!(mail.data.contains(expect), "{expect} in {}", mail.data);
                }
            }
        }
    }

    #[tokio::test]
    async fn what_follows_refers_to_the_trigger_and_repeats_are_equal() {
        let server = smtp::Server::start("none", smtp::Script::default()).await;
        let config = config(&server, "none", false);
        let told = send(&config, &trigger()).await.unwrap();
        let again = send(&config, &trigger()).await.unwrap();
        assert_eq!(told.id, again.id);
        let key = "agent///web-1/app/disk/1/2/ops/resolve".to_owned();
        let trigger_receipt = Some(told.clone());
        let resolve = Delivery { action: Action::Resolve, key, trigger_receipt, ..trigger() };
        assert_ne!(send(&config, &resolve).await.unwrap().id, told.id);
        let last = server.mails().pop().unwrap().data;
        let id = told.id.unwrap();
        assert!(last.contains(&format!("In-Reply-To: {id}")) && last.contains(&format!("References: {id}")), "{last}");
    }

    #[tokio::test]
    async fn replies_4xx_may_pass_and_5xx_will_not() {
        for (script, later, expect) in [
            (smtp::Script { rcpt: "450 4.2.1 mailbox busy", ..Default::default() }, true, "mailbox busy"),
            (smtp::Script { rcpt: "550 5.1.1 no such user", ..Default::default() }, false, "check the addresses"),
            (smtp::Script { data: "451 4.3.0 try later", ..Default::default() }, true, "try later"),
            (smtp::Script { data: "554 5.7.1 refused", ..Default::default() }, false, "refused"),
            (smtp::Script { greeting: "421 too busy", ..Default::default() }, true, "too busy"),
        ] {
            let server = smtp::Server::start("none", script).await;
            let failure = send(&config(&server, "none", false), &trigger()).await.unwrap_err();
            assert!(failure.reason().contains(expect), "{failure:?}");
            assert_eq!(matches!(failure, Failure::Retry { .. }), later, "{failure:?}");
        }
        let script = smtp::Script { auth: "535 5.7.8 bad credentials", ..Default::default() };
        let server = smtp::Server::start("starttls", script).await;
        let failure = send(&config(&server, "starttls", true), &trigger()).await.unwrap_err();
        assert!(matches!(&failure, Failure::Permanent { reason } if reason.contains("`password`")), "{failure:?}");
    }

    /// Each address is told for itself; what names no target goes to all who can be told.
    #[tokio::test]
    async fn one_refused_address_costs_nobody_else_the_mail() {
        for reply in ["550 5.1.1 no such user", "450 4.2.1 mailbox busy", "552 5.2.2 mailbox full"] {
            let server = smtp::Server::start("none", smtp::Script { b: reply, ..Default::default() }).await;
            let config = config(&server, "none", false);
            assert_eq!(read_kind("email", &config).targets(), ["a@example.com", "b@example.com"]);
            let to = |target: &str| Delivery { target: target.into(), ..trigger() };
            let told = send(&config, &to("a@example.com")).await.unwrap();
            let failure = send(&config, &to("b@example.com")).await.unwrap_err();
            assert!(failure.reason().contains(&format!("refused b@example.com: {reply}")), "{failure:?}");
            assert_eq!(matches!(failure, Failure::Retry { .. }), reply.starts_with('4'));
            let all = send(&config, &trigger()).await.unwrap();
            assert!(all.text.contains(&format!("it refused b@example.com: {reply}")), "{all:?}");
            let mails = server.mails();
            assert_eq!(mails.iter().map(|m| m.to.clone()).collect::<Vec<_>>(), [["a@example.com"], ["a@example.com"]]);
            for mail in mails {
                assert!(mail.data.contains("b@example.com"), "{}", mail.data);
            }
            assert_eq!(told.id, send(&config, &to("a@example.com")).await.unwrap().id);
        }
    }

    /// A message has one id, whoever of its receivers gets it.
    #[test]
    fn all_receivers_get_the_same_message() {
        let id = |target: &str, key: &str| {
            message_id(&Delivery { target: target.into(), key: key.into(), ..trigger() }, "example.com")
        };
        let whole = id("", "agent///h/f/1/1/mail/trigger");
        assert_eq!(id("a@b.c", "agent///h/f/1/1/mail/a@b.c/trigger"), whole);
        assert_eq!(id("d@b.c", "agent///h/f/1/1/mail/d@b.c/trigger"), whole);
        assert_ne!(id("d@b.c", "agent///h/f/1/1/mail/d@b.c/resolve"), whole);
    }

    /// What comes after the server's yes does not take it back.
    #[tokio::test]
    async fn after_the_yes_there_is_no_no() {
        for after in ["hang", "reset", "451 changed my mind", "garbage", "250-and more\r\n", ""] {
            let server = smtp::Server::start("none", smtp::Script { after, ..Default::default() }).await;
            let receipt = send(&config(&server, "none", false), &trigger()).await;
            assert!(receipt.as_ref().is_ok_and(|r| r.text.starts_with("250 2.0.0 queued")), "{after}: {receipt:?}");
            assert_eq!(server.mails().len(), 1);
        }
        // The yes itself may be broken off.
        let script = smtp::Script { data: "250-2.0.0 queued", after: "reset", ..Default::default() };
        let server = smtp::Server::start("none", script).await;
        send(&config(&server, "none", false), &trigger()).await.unwrap();
    }

    #[tokio::test]
    async fn servers_are_greeted_with_a_full_name() {
        let server = smtp::Server::start("none", smtp::Script::default()).await;
        let plain = config(&server, "none", false);
        let mut named = trigger();
        named.event.name = "//web-1.example.com/app/disk".into();
        send(&plain, &named).await.unwrap();
        send(&format!("{plain}\nhello = \"bell.example.org\""), &named).await.unwrap();
        send(&format!("{plain}\nhello = \"[192.0.2.1]\""), &named).await.unwrap();
        send(&plain, &trigger()).await.unwrap();
        let greeted: Vec<String> = server.mails().into_iter().map(|mail| mail.hello).collect();
        assert_eq!(greeted[..3], ["EHLO web-1.example.com", "EHLO bell.example.org", "EHLO [192.0.2.1]"]);
        let name = greeted[3].strip_prefix("EHLO ").unwrap();
        assert!(is_full_name(name) || is_literal(name), "{greeted:?}");
        for ehlo in ["500 what?", "502 5.5.1 no", "504 5.5.2 no"] {
            let old = smtp::Server::start("none", smtp::Script { ehlo, ..Default::default() }).await;
            send(&config(&old, "none", false), &named).await.unwrap();
            assert_eq!(old.mails()[0].hello, "HELO web-1.example.com");
        }
        for wrong in ["web-1", "10.0.0.1", "a b.example.com", "[nonsense]"] {
            let problems = problems_of("email", &format!("{plain}\nhello = \"{wrong}\""));
            assert!(problems.iter().any(|p| p.contains("is no full name of a host")), "{wrong}: {problems:?}");
        }
    }

    #[tokio::test]
    async fn without_starttls_or_a_trusted_certificate_nothing_is_sent() {
        let plain = smtp::Server::start("none", smtp::Script::default()).await;
        let text = config(&plain, "starttls", true);
        let failure = send(&text, &trigger()).await.unwrap_err();
        assert!(matches!(failure, Failure::Permanent { .. }), "{failure:?}");
        let server = smtp::Server::start("starttls", smtp::Script::default()).await;
        let untrusted = config(&server, "starttls", true).replace("ca", "#");
        let failure = send(&untrusted, &trigger()).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
        assert!(plain.mails().is_empty() && server.mails().is_empty());
    }

    #[tokio::test]
    async fn no_server_and_a_server_that_hangs_may_pass() {
        let server = smtp::Server::start("none", smtp::Script { greeting: "", ..Default::default() }).await;
        let notifier = read_kind("email", &config(&server, "none", false));
        let shared = Shared::new().unwrap();
        let attempt = Attempt { timeout: Duration::from_millis(300), shared: &shared };
        let failure = notifier.deliver(&trigger(), &attempt).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
        let text = config(&server, "none", false).replace(&server.port.to_string(), &smtp::closed_port().to_string());
        let failure = send(&text, &trigger()).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
    }

    #[test]
    fn no_header_can_be_smuggled_in() {
        let notifier = "server = \"localhost\"\ntls = \"none\"\nfrom = \"a@example.com\"\nto = \"b@example.com\"";
        let mut delivery = trigger();
        delivery.event.text = "x\r\nBcc: evil@example.com\r\n\r\nbody".into();
        delivery.key = "k\r\nX-Evil: 1".into();
        let preview = read_kind("email", notifier).preview(&delivery);
        assert!(preview.contains("Subject: CRITICAL: app/disk on web-1: x\n"), "{preview}");
    }

    #[test]
    fn wrong_values_are_found_when_the_config_is_read() {
        let fine = "from = \"a@example.com\"\nto = \"b@example.com\"\n";
        for (config, expect) in [
            ("server = \"mail.example.com\"\ntls = \"none\"\n", "in clear to another machine"),
            ("server = \"h\"\nuser = \"u\"\n", "has no `password`"),
            ("server = \"h\"\nport = 70000\n", "`port` must be from 1 to 65535"),
            ("server = \"h\"\npassword = \"p\"\nuser = \"u\"\n", "must not stand in a file"),
            ("", "has no `server`"),
        ] {
            let problems = problems_of("email", &format!("{config}{fine}"));
            assert!(problems.iter().any(|p| p.contains(expect)), "{config}: {problems:?}");
        }
        let problems = problems_of("email", "server = \"h\"\nfrom = \"nobody\"\nto = []");
        assert!(problems.iter().any(|p| p.contains("`nobody` is no mail address")), "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("`to` is empty")), "{problems:?}");
    }
}
