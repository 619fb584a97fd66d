//! `tcp = "host:port"` and `unix = "/path"`: an application that answers JSON faults and metrics to whoever
//! connects.
//!
//! The answer is a JSON plugin's output and is understood by [`watchbell_core::wire::json_plugin`]. The other
//! side ends its answer by closing the connection.

use super::{BoxFuture, Probe, Program, Run};
use crate::shared::net::{self, Address, End, Timeline};
use std::sync::Arc;
use tokio::{io::AsyncWriteExt, time::timeout};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Finding, Outcome},
    wire::json_plugin,
};

/// How long an answer may be.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

const DOC: &str = "The address answers JSON faults and metrics, as a JSON plugin does \
    (`{\"faults\": [{\"name\", \"severity\", \"message\"}], \"metrics\": [{\"name\", \"value\"}]}`), and then closes the \
    connection. No connection, no answer or a broken one is an error of the check itself.";

const SEND: Key = Key {
    name: "send",
    shape: Shape::String,
    doc: "text to send once connected, for applications that want a question",
};

const NO_CAPABILITIES: Capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };

/// Over TCP.
pub const TCP: Kind<Program> = Kind {
    key: "tcp",
    doc: DOC,
    example: r#"[check.app]
tcp = "127.0.0.1:9000"
every = "1m"
"#,
    keys: &[Key { name: "tcp", shape: Shape::String, doc: "`host:port` or `[::1]:port`" }, SEND],
    capabilities: NO_CAPABILITIES,
    read: read_tcp,
};

/// Over a unix socket.
pub const UNIX: Kind<Program> = Kind {
    key: "unix",
    doc: DOC,
    example: r#"[check.app]
unix = "/run/app/health.sock"
send = "health\n"
every = "1m"
"#,
    keys: &[Key { name: "unix", shape: Shape::String, doc: "the absolute path of a unix socket" }, SEND],
    capabilities: NO_CAPABILITIES,
    read: read_unix,
};

/// An application that answers JSON.
#[derive(Debug)]
struct Socket {
    address: Address,
    send: Option<String>,
}

fn read_tcp(reader: &mut Reader<'_>) -> Option<Program> {
    let text = reader.require_string("tcp")?;
    build(reader, "tcp", Address::tcp(&text, None))
}

fn read_unix(reader: &mut Reader<'_>) -> Option<Program> {
    let text = reader.require_string("unix")?;
    build(reader, "unix", Address::unix(&text))
}

fn build(reader: &mut Reader<'_>, key: &str, address: Result<Address, String>) -> Option<Program> {
    let send = reader.string("send");
    match address {
        Ok(address) => Some(Arc::new(Socket { address, send })),
        Err(problem) => {
            reader.error(key, problem);
            None
        }
    }
}

impl Socket {
    async fn probe(&self, timeline: &mut Timeline) -> Result<Outcome, Finding> {
        let address = &self.address;
        let mut stream = net::connect(address, timeline).await.map_err(net::fault)?;
        if let Some(text) = &self.send {
            let sent = stream.write_all(text.as_bytes()).await;
            sent.map_err(|e| net::fault(format!("can't send to `{address}`: {}", net::plain(&e))))?;
        }
        let mut answer = Vec::new();
        let end = net::read_bounded(&mut *stream, &mut answer, ANSWER_BYTES_MAX, timeline, |_| false).await;
        let came = || format!("{} bytes came", answer.len());
        match end {
            Ok(End::Closed | End::Enough) if answer.iter().all(u8::is_ascii_whitespace) => {
                Err(net::fault(format!("`{address}` closed the connection without an answer")))
            }
            Ok(End::Closed | End::Enough) => Ok(json_plugin::parse(&String::from_utf8_lossy(&answer))),
            Ok(End::Full) => Err(net::fault(format!(
                "the answer of `{address}` is longer than {ANSWER_BYTES_MAX} bytes; is this the right port? it begins `{}`",
                net::excerpt(&answer)
            ))),
            Err(e) => Err(net::fault(format!(
                "the connection with `{address}` broke before the answer was complete ({}): {}",
                came(),
                net::plain(&e)
            ))),
        }
    }
}

impl Probe for Socket {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let mut timeline = Timeline::default();
            let result = timeout(run.timeout, self.probe(&mut timeline)).await;
            timeline.finish(result, &self.address, run.timeout)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Play, run, run_within, serve};
    use std::time::Duration;
    use watchbell_core::model::Severity;

    const ANSWER: &str = r#"{"faults": [{"name": "queue", "severity": "error", "message": "500 wait"}],
        "metrics": [{"name": "waiting", "value": 500}]}"#;

    #[test]
    fn the_config_is_read() {
        testing::example(&super::TCP);
        testing::example(&super::UNIX);
        testing::problems(
            &super::TCP,
            &[
                ("tcp = \"\"", "`tcp` is empty"),
                ("tcp = \"9000\"", "the port is missing"),
                ("tcp = 1", "must be a string"),
            ],
        );
        testing::problems(&super::UNIX, &[("unix = \"app.sock\"", "is no absolute path")]);
    }

    /// S3.15: a TCP address that answers JSON faults and metrics.
    #[tokio::test]
    async fn a_tcp_address_answers_faults_and_metrics() {
        for play in [Play::say(ANSWER), Play::say(ANSWER).slowly(), Play::answer("health\n", ANSWER)] {
            let server = serve(play).await;
            let outcome = run(&super::TCP, &format!("tcp = \"{}\"\nsend = \"health\\n\"", server.address)).await;
            let finding = &outcome.findings[0];
            assert_eq!((finding.part.as_deref(), finding.severity), (Some("queue"), Severity::Error));
            assert_eq!(finding.message, "500 wait");
            assert_eq!((outcome.metrics[0].name.as_str(), outcome.metrics[0].value), ("waiting", 500.0));
            assert!(!outcome.inconclusive && outcome.phases.iter().any(|p| p.name == "first_byte"), "{outcome:?}");
        }
    }

    /// S3.15: a unix socket that answers JSON faults and metrics.
    #[tokio::test]
    async fn a_unix_socket_answers_faults_and_metrics() {
        let dir = testing::scratch("unix-socket");
        let path = dir.join("app.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, ANSWER.as_bytes()).await.unwrap();
        });
        let config = format!("unix = \"{}\"", path.display());
        let outcome = run(&super::UNIX, &config).await;
        assert_eq!(outcome.findings[0].message, "500 wait", "{outcome:?}");
        server.await.unwrap();
        let outcome = run(&super::UNIX, &config).await;
        assert!(outcome.findings[0].message.contains("connection refused"), "{outcome:?}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// Whatever the other side does, the run ends, with a finding that says what happened, and what was known
    /// of the application's own faults stays.
    #[tokio::test]
    async fn bad_answers_are_errors_of_the_check_itself() {
        for (play, expect) in [
            (Play::say(""), "closed the connection without an answer"),
            (Play::say(" \n"), "closed the connection without an answer"),
            (Play::reset(), "broke before the answer was complete (0 bytes came): connection reset"),
            (Play::hang(), "within 300ms (connected after"),
            (Play::say("{\"faults\"").then_hang(), "9 bytes came, `{\"faults\"` (connected after"),
            (Play::flood(100 * 1024 * 1024), "is longer than 1048576 bytes; is this the right port? it begins `xxx"),
        ] {
            let server = serve(play).await;
            let config = format!("tcp = \"{}\"", server.address);
            let limit = if expect.contains("after") && !expect.contains("broke") { 300 } else { 10_000 };
            let outcome = run_within(&super::TCP, &config, Duration::from_millis(limit)).await;
            let finding = &outcome.findings[0];
            assert!(finding.message.contains(expect), "{expect}: {outcome:?}");
            assert!(finding.part.is_none() && finding.escalates && finding.severity == Severity::Error);
            assert!(outcome.inconclusive);
        }
        let address = testing::nobody().await;
        let outcome = run(&super::TCP, &format!("tcp = \"{address}\"")).await;
        assert!(outcome.findings[0].message.contains("connection refused"), "{outcome:?}");
    }

    #[tokio::test]
    async fn garbage_is_a_json_error() {
        for garbage in ["hello", "\u{1}\u{2}\u{3}", "{\"faults\": 5}", "[1,"] {
            let server = serve(Play::say(garbage)).await;
            let outcome = run(&super::TCP, &format!("tcp = \"{}\"", server.address)).await;
            assert_eq!(outcome.findings.len(), 1, "{garbage}: {outcome:?}");
            assert!(outcome.findings[0].part.as_deref().is_some_and(|p| p.contains("json")), "{garbage}: {outcome:?}");
        }
    }
}
