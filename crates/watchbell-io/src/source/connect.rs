//! `connect = "host:port"`: can it be connected to, and does it greet as it should?
//!
//! Nothing is understood beyond the greeting's text; TLS is left to the `tls` kind.

use super::{BoxFuture, Probe, Program, Run};
use crate::shared::net::{self, Address, End, Stage, Timeline};
use regex::Regex;
use std::{sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, time::timeout};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Finding, Outcome, Severity},
    wire::text::clean,
};

/// How much of a greeting is read.
pub const GREETING_BYTES_MAX: usize = 64 * 1024;

/// This kind.
pub const KIND: Kind<Program> = Kind {
    key: "connect",
    doc: "Can this address be connected to? With `expect`, the first words that come back must match. \
          The metric `connect_seconds` is how long connecting took, name resolution included.",
    example: r#"[check.ssh]
connect = "127.0.0.1:22"
expect = "^SSH-2"
every = "1m"
"#,
    keys: &[
        Key { name: "connect", shape: Shape::String, doc: "`host:port`, `[::1]:port`, or the path of a unix socket" },
        Key {
            name: "send",
            shape: Shape::String,
            doc: "text to send once connected (`\\r\\n` ends a line in most protocols); needs `expect`",
        },
        Key {
            name: "expect",
            shape: Shape::Pattern,
            doc: "a regular expression that must match what comes back, or one of its lines",
        },
    ],
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

/// One address to connect to.
#[derive(Debug)]
struct Connect {
    address: Address,
    send: Option<String>,
    expect: Option<Regex>,
}

fn read(reader: &mut Reader<'_>) -> Option<Program> {
    let text = reader.require_string("connect");
    let send = reader.string("send");
    let expect = reader.pattern("expect");
    if send.is_some() && !reader.has("expect") {
        reader.error("send", "`send` needs `expect`: what should come back?").hint("add `expect = \"REGEX\"`");
    }
    let text = text?;
    let address = if text.starts_with('/') { Address::unix(&text) } else { Address::tcp(&text, None) };
    match address {
        Ok(address) => Some(Arc::new(Connect { address, send, expect })),
        Err(problem) => {
            reader.error("connect", problem);
            None
        }
    }
}

impl Connect {
    async fn probe(&self, heard: &mut Heard, timeline: &mut Timeline) -> Result<Outcome, Finding> {
        let mut stream = net::connect(&self.address, timeline).await.map_err(net::fault)?;
        let took = [Stage::Dns, Stage::Connect].iter().filter_map(|s| timeline.stage(*s)).sum::<Duration>();
        let mut outcome = Outcome {
            metrics: vec![net::seconds("connect_seconds", took)],
            summary: format!("connected to `{}` in {}", self.address, net::millis(took)),
            ..Outcome::default()
        };
        let Some(expect) = &self.expect else { return Ok(outcome) };
        heard.connected = Some(outcome.clone());
        if let Some(text) = &self.send {
            let sent = stream.write_all(text.as_bytes()).await;
            sent.map_err(|e| net::fault(format!("can't send to `{}`: {}", self.address, net::plain(&e))))?;
        }
        let bytes = &mut heard.bytes;
        let end = net::read_bounded(&mut *stream, bytes, GREETING_BYTES_MAX, timeline, |b| matches(expect, b)).await;
        outcome.output = clean(bytes);
        let (address, said) = (&self.address, net::excerpt(bytes));
        let wrong = match end {
            Ok(End::Enough) => {
                outcome.summary.push_str(&format!(", it said `{said}`"));
                return Ok(outcome);
            }
            Ok(End::Closed) if bytes.is_empty() => format!("`{address}` closed the connection and said nothing"),
            Ok(End::Closed) => format!("`{address}` said `{said}`, which does not match `{expect}`"),
            Ok(End::Full) => {
                format!("the first {GREETING_BYTES_MAX} bytes from `{address}` do not match `{expect}`: `{said}`")
            }
            Err(e) if bytes.is_empty() => format!("the connection with `{address}` broke: {}", net::plain(&e)),
            Err(e) => {
                let e = net::plain(&e);
                format!("`{address}` said `{said}`, which does not match `{expect}`, and the connection broke: {e}")
            }
        };
        Ok(wrong_greeting(outcome, wrong))
    }

    /// The time is over: what came until then was not what should come.
    fn waited_in_vain(&self, heard: Heard, limit: Duration) -> Option<Outcome> {
        let (expect, outcome) = (self.expect.as_ref()?, heard.connected?);
        if heard.bytes.is_empty() {
            return None;
        }
        let said = net::excerpt(&heard.bytes);
        let outcome = Outcome { output: clean(&heard.bytes), ..outcome };
        let text = format!(
            "`{}` said `{said}`, which does not match `{expect}`, and nothing that does came within {limit:?}",
            self.address
        );
        Some(wrong_greeting(outcome, text))
    }
}

/// What came before the time was over.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    /// What is known once connected.
    connected: Option<Outcome>,
}

fn wrong_greeting(mut outcome: Outcome, wrong: String) -> Outcome {
    outcome.summary.clone_from(&wrong);
    outcome.findings.push(Finding::new(Severity::Error, wrong));
    outcome
}

/// Whether it is found in all that came, or in one of its whole lines: greetings may have several, which end with CRLF.
fn matches(expect: &Regex, bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let whole = |line: &str| line.strip_suffix('\n').map(|line| line.trim_end_matches('\r').to_owned());
    expect.is_match(&text) || text.split_inclusive('\n').filter_map(whole).any(|line| expect.is_match(&line))
}

impl Probe for Connect {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let (mut timeline, mut heard) = (Timeline::default(), Heard::default());
            let mut result = timeout(run.timeout, self.probe(&mut heard, &mut timeline)).await;
            if result.is_err()
                && let Some(outcome) = self.waited_in_vain(heard, run.timeout)
            {
                result = Ok(Ok(outcome));
            }
            timeline.finish(result, &self.address, run.timeout)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Play, run, run_within, serve};
    use std::time::Duration;

    #[test]
    fn the_config_is_read() {
        testing::example(&super::KIND);
        testing::problems(
            &super::KIND,
            &[
                ("connect = 5", "`connect` must be a string"),
                ("connect = \"host\"", "the port is missing"),
                ("connect = \"run/x.sock:1\"", "is no host name"),
                ("connect = \"h:1\"\nsend = \"x\"", "`send` needs `expect`"),
                ("connect = \"h:1\"\nexpect = \"(\"", "is not a regular expression"),
                ("connect = \"h:1\"\nexpects = \"x\"", "did you mean `expect`?"),
            ],
        );
    }

    /// S3.15: can an address be connected to; what it says may be looked at.
    #[tokio::test]
    async fn greetings_are_judged() {
        let long = "x".repeat(super::GREETING_BYTES_MAX + 1);
        for (play, more, expect) in [
            (Play::hang(), "", None),
            (Play::say("220 mail ready\r\n"), "expect = \"^220 \"", None),
            (Play::say("220 mail ready\r\n").then_hang(), "expect = \"ready\"", None),
            (Play::say("554 no\r\n"), "expect = \"^220 \"", Some("said `554 no`, which does not match `^220 `")),
            (Play::say(""), "expect = \"x\"", Some("closed the connection and said nothing")),
            (Play::say(&long), "expect = \"y\"", Some("bytes from")),
            (Play::reset(), "expect = \"x\"", Some("broke: connection reset")),
            (Play::answer("PING\r\n", "+PONG\r\n"), "send = \"PING\\r\\n\"\nexpect = \"PONG\"", None),
        ] {
            let server = serve(play).await;
            let outcome = run(&super::KIND, &format!("connect = \"{}\"\n{more}", server.address)).await;
            match expect {
                None => assert!(outcome.findings.is_empty(), "{more}: {outcome:?}"),
                Some(part) => assert!(outcome.findings[0].message.contains(part), "{more}: {outcome:?}"),
            }
            assert_eq!(outcome.metrics[0].name, "connect_seconds");
            assert!(outcome.phases.iter().any(|p| p.name == "connect"));
        }
    }

    #[tokio::test]
    async fn nothing_there_is_an_error_that_escalates() {
        let address = testing::nobody().await;
        let outcome = run(&super::KIND, &format!("connect = \"{address}\"")).await;
        let finding = &outcome.findings[0];
        assert!(finding.part.is_none() && finding.escalates);
        assert_eq!(
            finding.message,
            format!(
                "can't connect to `{address}`: connection refused; is the program running that should listen there?"
            )
        );
        let outcome = run(&super::KIND, "connect = \"/nowhere/x.sock\"").await;
        assert!(outcome.findings[0].message.contains("should make this socket"), "{outcome:?}");
    }

    #[tokio::test]
    async fn silence_is_told_with_how_far_it_came() {
        let server = serve(Play::hang()).await;
        let limit = Duration::from_millis(200);
        let config = format!("connect = \"{}\"\nexpect = \"x\"", server.address);
        let outcome = run_within(&super::KIND, &config, limit).await;
        let message = &outcome.findings[0].message;
        assert!(message.starts_with(&format!("no answer from `{}` within 200ms (connected after ", server.address)));
    }

    /// Whoever waits for the right greeting is told what came in its place, and the check is judged.
    #[tokio::test]
    async fn a_wrong_greeting_that_goes_on_waiting_is_shown() {
        let limit = Duration::from_millis(200);
        for (said, expect, shown) in [
            ("22", "^x", "said `22`, which does not match `^x`, and nothing that does came within 200ms"),
            ("554 no\r\n", "^220 ", "said `554 no`, which does not match `^220 `"),
            ("554-no\r\n554 never\r\n", "^220 ", "said `554-no\\r\\n554 never`, which"),
            ("\u{1b}[31mred", "^220 ", "said `\\u{1b}[31mred`, which"),
        ] {
            let server = serve(Play::say(said).then_hang()).await;
            let config = format!("connect = \"{}\"\nexpect = \"{expect}\"", server.address);
            let outcome = run_within(&super::KIND, &config, limit).await;
            assert!(outcome.findings[0].message.contains(shown), "{shown}: {outcome:?}");
            // The output is clean text: an escape sequence is gone from it.
            let kept = said.trim_start_matches("\u{1b}[31m");
            assert!(!outcome.inconclusive && outcome.output.contains(&kept[..2]), "{outcome:?}");
            assert_eq!(outcome.metrics[0].name, "connect_seconds");
        }
    }

    /// A greeting of several lines is right if one of them is; half a line is none.
    #[test]
    fn lines_are_matched_one_by_one() {
        for (said, expect, right) in [
            ("220-mail ready\r\n220 go on\r\n", "^220 ", true),
            ("220-mail ready\r\n220-more\r\n", "^220 ", false),
            ("* hello\nOK\r\nbye", "^OK$", true),
            ("* hello\nOK", "^OK$", false),
            ("* hello\n", "hello$", true),
            ("one\r\ntwo\r\n", "(?s)one.*two", true),
        ] {
            assert_eq!(
                super::matches(&regex::Regex::new(expect).unwrap(), said.as_bytes()),
                right,
                "{said:?} {expect}"
            );
        }
    }
}
