//! Log: writes deliveries to the agent's log, to a file as JSON lines, or to syslog.
//!
//! A line in a file is on disk before the delivery counts as taken. Syslog over UDP has no answer: what is sent
//! counts as taken. The local socket gets the traditional form without a time stamp, which the daemon adds; UDP
//! gets RFC 5424.

use super::{
    Attempt, Channel, Notifier,
    template::{self, Flavour, Template, cut},
};
use crate::source::BoxFuture;
use std::{
    fs::OpenOptions,
    io::{self, Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::Arc,
};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape, tree::Value},
    model::{Action, Delivery, Failure, Receipt, Severity},
    wire::text::shown_json,
};

/// The target of what is told in the agent's own log, so that the log knows it from the agent's own lines.
pub const TARGET: &str = "watchbell_io::notify::log";
/// Where the local syslog daemon listens.
const SYSLOG_SOCKET: &str = "/dev/log";
/// What receivers of syslog over UDP should take (RFC 5424, 6.1).
const SYSLOG_MAX_BYTES: usize = 2_048;
/// The facility `daemon`.
const FACILITY: u8 = 3;

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "log",
    doc: "Writes each delivery to the agent's own log; or to a `file`, as one line of JSON each; or to `syslog`.",
    example: r#"
[notify.told]
kind = "log"
file = "/var/log/watchbell/told.jsonl"
"#,
    keys: &[
        Key { name: "file", shape: Shape::String, doc: "A file to append to; each line is on disk before it counts." },
        Key {
            name: "syslog",
            shape: Shape::Other,
            doc: "`true` for this machine's syslog, or `\"HOST:PORT\"` for another's over UDP (RFC 5424).",
        },
        template::TITLE_KEY,
    ],
    capabilities: Capabilities { edits: false, digests: true, acknowledges: true, gap_ms: 0 },
    read,
};

#[derive(Debug)]
enum Place {
    Agent,
    File(PathBuf),
    Socket(PathBuf),
    Udp(String),
}

#[derive(Debug)]
struct Log {
    place: Place,
    title: Template,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let title = Template::read(reader, "title", Flavour::Plain, template::TITLE);
    let file = reader.string("file");
    let syslog = match reader.entry("syslog").map(|e| &e.value.value) {
        None | Some(Value::Boolean(false)) => None,
        Some(Value::Boolean(true)) => Some(Place::Socket(SYSLOG_SOCKET.into())),
        Some(Value::String(text)) if text.starts_with('/') => Some(Place::Socket(text.into())),
        Some(Value::String(text))
            if text.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok()) =>
        {
            Some(Place::Udp(text.clone()))
        }
        Some(_) => {
            reader.error("syslog", "`syslog` is neither true nor an address").hint("write `true` or \"HOST:514\"");
            return None;
        }
    };
    let place = match (file, syslog) {
        (Some(_), Some(_)) => {
            reader.error("syslog", "`file` and `syslog` are two places").hint("make two notifiers");
            return None;
        }
        (Some(file), None) if file.trim().is_empty() => {
            reader.error("file", "`file` is empty");
            return None;
        }
        (Some(file), None) => Place::File(file.into()),
        (None, Some(place)) => place,
        (None, None) => Place::Agent,
    };
    if matches!(place, Place::File(_)) && reader.has("title") {
        reader.error("title", "`title` has no effect with `file`, which gets JSON").hint("drop one of the two");
    }
    Some(Arc::new(Log { place, title }))
}

/// Syslog's number for how bad it is (RFC 5424, 6.2.1).
fn priority(delivery: &Delivery) -> u8 {
    let level = match (delivery.action, delivery.event.severity) {
        (Action::Resolve, _) => 5,
        (_, Severity::Critical) => 2,
        (_, Severity::Error) => 3,
        (_, Severity::Warning) => 4,
        (_, Severity::Info) => 6,
    };
    FACILITY * 8 + level
}

impl Log {
    /// The line that is written.
    fn body(&self, delivery: &Delivery) -> String {
        let title = || self.title.render_line(delivery, &[]);
        let line = match &self.place {
            Place::File(_) => return shown_json(&serde_json::to_string(delivery).unwrap_or_default()),
            Place::Agent => return title(),
            Place::Socket(_) => format!("<{}>watchbell[{}]: {}", priority(delivery), std::process::id(), title()),
            Place::Udp(_) => {
                let event = &delivery.event;
                let (host, pid) = (syslog_word(&event.host, 255), std::process::id());
                let action = delivery.action.word();
                let key =
                    template::one_line(&delivery.key).replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
                // 32473 is the enterprise number kept for examples and documents (RFC 5612).
                let data = format!("[watchbell@32473 key=\"{}\"]", cut(&key, 512));
                format!("<{}>1 {} {host} watchbell {pid} {action} {data} {}", priority(delivery), event.at, title())
            }
        };
        let mut end = line.len().min(SYSLOG_MAX_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line[..end].to_owned()
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let line = self.body(delivery);
        let work = async {
            match &self.place {
                Place::Agent => {
                    to_agent(delivery, &line);
                    Ok("logged".to_owned())
                }
                Place::File(path) => {
                    let path = path.clone();
                    let shown = path.display().to_string();
                    let written = tokio::task::spawn_blocking(move || append(&path, &line)).await;
                    match written.map_err(io::Error::other).and_then(|result| result) {
                        Ok(()) => Ok(format!("written to {shown}")),
                        Err(e) => Err(Failure::retry(format!("can't write to `{shown}`: {e}"))),
                    }
                }
                Place::Socket(path) => {
                    let sent = UnixDatagram::unbound().and_then(|socket| {
                        socket.set_nonblocking(true)?;
                        socket.send_to(line.as_bytes(), path)
                    });
                    let shown = path.display();
                    match sent {
                        Ok(_) => Ok(format!("sent to {shown}")),
                        Err(e) => Err(Failure::retry(format!("can't reach syslog at `{shown}`: {e}"))),
                    }
                }
                Place::Udp(address) => match send_udp(address, &line).await {
                    Ok(to) => Ok(format!("sent to {to}")),
                    Err(e) => Err(Failure::retry(format!("can't send to syslog at `{address}`: {e}"))),
                },
            }
        };
        let text = tokio::time::timeout(attempt.timeout, work).await.unwrap_or_else(|_| {
            Err(Failure::retry(format!("the log took longer than {} s", attempt.timeout.as_secs_f64())))
        })?;
        Ok(Receipt { id: None, text })
    }
}

fn to_agent(delivery: &Delivery, line: &str) {
    let (key, name, action) = (delivery.key.as_str(), delivery.event.name.as_str(), delivery.action.word());
    let severity = delivery.event.word();
    let wrong = !matches!(delivery.action, Action::Resolve | Action::Acknowledge);
    match delivery.event.severity {
        Severity::Critical | Severity::Error if wrong => {
            tracing::error!(target: TARGET, key, name, action, severity, "{line}")
        }
        Severity::Warning if wrong => tracing::warn!(target: TARGET, key, name, action, severity, "{line}"),
        _ => tracing::info!(target: TARGET, key, name, action, severity, "{line}"),
    }
}

/// Appends a line and waits for the disk. What an earlier, failed write left unfinished becomes a line of its own.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut bytes = Vec::with_capacity(line.len() + 2);
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    file.write_all(&bytes)?;
    file.sync_data()
}

async fn send_udp(address: &str, line: &str) -> io::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host(address).await?;
    let to = found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = tokio::net::UdpSocket::bind(from).await?;
    socket.send_to(line.as_bytes(), to).await?;
    Ok(to)
}

/// A word of a syslog header: printable ASCII without blanks, `-` for nothing.
fn syslog_word(text: &str, max: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

impl Notifier for Log {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        let line = self.body(delivery);
        match &self.place {
            Place::Agent => format!("the agent's log\n{line}"),
            Place::File(path) | Place::Socket(path) => format!("{}\n{line}", path.display()),
            Place::Udp(address) => format!("udp {address}\n{line}"),
        }
    }

    fn preflight(&self) -> Vec<String> {
        match &self.place {
            Place::File(path) => match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                Some(dir) if !dir.is_dir() => vec![format!("the folder `{}` does not exist", dir.display())],
                _ => Vec::new(),
            },
            Place::Socket(path) if !path.exists() => {
                vec![format!("no syslog daemon listens at `{}`", path.display())]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        suite::{Scratch, problems_of, read_kind},
        template::tests::{samples, trigger},
    };
    use super::*;
    use crate::shared::Shared;
    use std::time::Duration;

    async fn send(config: &str, delivery: &Delivery) -> Result<Receipt, Failure> {
        let shared = Shared::new().unwrap();
        let attempt = Attempt { timeout: Duration::from_secs(20), shared: &shared };
        read_kind("log", config).deliver(delivery, &attempt).await
    }

    #[tokio::test]
    async fn a_file_gets_a_line_each_and_heals_a_torn_one() {
        let scratch = Scratch::new("log");
        let path = scratch.path().join("told.jsonl");
        std::fs::write(&path, "{\"torn\": tr").unwrap();
        let config = format!("file = {path:?}");
        for delivery in samples() {
            send(&config, &delivery).await.unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "{\"torn\": tr");
        let got: Vec<Delivery> = lines[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(got, samples());
        let failure = send(&format!("file = {:?}", scratch.path().join("no/such")), &trigger()).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn syslog_gets_its_forms() {
        let scratch = Scratch::new("syslog");
        let path = scratch.path().join("log");
        let local = UnixDatagram::bind(&path).unwrap();
        send(&format!("syslog = {path:?}"), &trigger()).await.unwrap();
        let mut buffer = [0; 4_096];
        let n = local.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        let pid = std::process::id();
        assert_eq!(text, format!("<26>watchbell[{pid}]: CRITICAL: app/disk on web-1: 91% used"));

        let remote = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut long = trigger();
        long.event.text = "ä".repeat(5_000);
        for delivery in [trigger(), long] {
            send(&format!("syslog = \"{}\"", remote.local_addr().unwrap()), &delivery).await.unwrap();
            let n = remote.recv(&mut buffer).await.unwrap();
            let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
            let head = format!("<26>1 1970-01-01T00:30:00Z web-1 watchbell {pid} trigger [watchbell@32473 key=\"");
            assert!(text.starts_with(&head) && n <= SYSLOG_MAX_BYTES, "{text}");
        }
    }

    #[tokio::test]
    async fn the_agents_log_takes_everything() {
        for delivery in samples() {
            assert_eq!(send("", &delivery).await.unwrap().text, "logged");
        }
    }

    #[test]
    fn wrong_values_are_found_when_the_config_is_read() {
        for (config, expect) in [
            ("syslog = 3", "neither true nor an address"),
            ("syslog = \"host\"", "neither true nor an address"),
            ("syslog = true\nfile = \"x\"", "are two places"),
            ("file = \"\"", "`file` is empty"),
            ("file = \"x\"\ntitle = \"y\"", "has no effect"),
        ] {
            let problems = problems_of("log", config);
            assert!(problems.iter().any(|p| p.contains(expect)), "{config}: {problems:?}");
        }
    }
}
