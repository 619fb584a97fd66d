//! Reaching others over the network: addresses as people write them, name resolution and connecting with
//! each phase timed, and reading with a limit.
//!
//! What is said over a connection is left to the kinds in `source/`. Nothing here has a time limit of its
//! own: the probe puts one around all it does, and its [`Timeline`] knows what it was waiting for when the
//! time was over ([`Timeline::finish`]).

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    task::JoinSet,
    time::{error::Elapsed, timeout},
};
use watchbell_core::{
    model::{Finding, Metric, Outcome, Phase, Severity},
    wire::text::shown,
};

/// How many addresses of one name are tried.
pub const ADDRESSES_MAX: usize = 16;

/// How long one address has before the next is tried beside it (RFC 8305 names 250 ms).
pub const HEAD_START: Duration = Duration::from_millis(250);

/// The longest path of a unix socket, in bytes (`sun_path` of `unix(7)`, less its closing zero).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// How much of what a server said is shown in a message, in characters.
pub const EXCERPT_CHARS_MAX: usize = 200;

/// Where something listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A name or an IP address, and a port.
    Tcp {
        /// The name or the IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads `host:port`, `1.2.3.4:port` or `[::1]:port`; without a port where there is a usual one.
    ///
    /// # Errors
    /// What is wrong and how to write it.
    pub fn tcp(text: &str, usual_port: Option<u16>) -> Result<Address, String> {
        let text = text.trim();
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(format!("this is a URL: write `host:port` without `{scheme}://`"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => bracketed(rest)?,
            None if text.matches(':').count() > 1 => {
                return Err(format!("an IPv6 address stands in brackets: write `[{text}]:port`"));
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@[]\"'".contains(c)) {
            return Err(format!("`{host}` is no host name: write it as `example.com:80` or `[::1]:80`"));
        }
        let port = match (port, usual_port) {
            (Some(port), _) => port
                .parse::<u16>()
                .ok()
                .filter(|p| *p > 0)
                .ok_or_else(|| format!("`{port}` is no port: it is a number from 1 to 65535"))?,
            (None, Some(port)) => port,
            (None, None) => return Err(format!("the port is missing: write `{text}:PORT`")),
        };
        Ok(Address::Tcp { host: host.to_owned(), port })
    }

    /// Reads the path of a unix socket.
    ///
    /// # Errors
    /// What is wrong and how to write it.
    pub fn unix(path: &str) -> Result<Address, String> {
        if !path.starts_with('/') {
            return Err(format!("`{path}` is no absolute path: write it as `/run/app.sock`"));
        }
        if path.len() > UNIX_PATH_BYTES_MAX {
            return Err(format!("the path of a unix socket can't be longer than {UNIX_PATH_BYTES_MAX} bytes"));
        }
        Ok(Address::Unix(PathBuf::from(path)))
    }

    /// The host, for checking names in certificates; empty for a unix socket.
    pub fn host(&self) -> &str {
        match self {
            Address::Tcp { host, .. } => host,
            Address::Unix(_) => "",
        }
    }
}

/// The host and the port text of what follows an opening bracket.
fn bracketed(rest: &str) -> Result<(&str, Option<&str>), String> {
    let (host, tail) = rest.split_once(']').ok_or("the closing bracket `]` is missing")?;
    if host.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(format!("`{host}` is no IPv6 address"));
    }
    match tail.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if tail.is_empty() => Ok((host, None)),
        None => Err(format!("`{tail}` after `]`: write it as `[::1]:80`")),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is being waited for. The word is the phase's name in the outcome and in metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The name is being resolved.
    Dns,
    /// A connection is being made.
    Connect,
    /// The TLS handshake, and the commands that ask for it.
    Tls,
    /// The question was sent (or there is none), nothing has come back yet.
    FirstByte,
    /// The answer is coming in.
    Transfer,
}

impl Stage {
    /// The phase's name.
    pub const fn word(self) -> &'static str {
        match self {
            Stage::Dns => "dns",
            Stage::Connect => "connect",
            Stage::Tls => "tls",
            Stage::FirstByte => "first_byte",
            Stage::Transfer => "transfer",
        }
    }
}

/// Where the time of one run went. A stage that comes twice (redirects) is one phase, summed up.
#[derive(Debug)]
pub struct Timeline {
    started: Instant,
    now: Option<(Stage, Instant)>,
    phases: Vec<(Stage, Duration)>,
    /// Bytes of the answer that have come in.
    pub received: usize,
    /// How the answer begins, fit to be quoted.
    pub heard: String,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { started: Instant::now(), now: None, phases: Vec::new(), received: 0, heard: String::new() }
    }
}

impl Timeline {
    /// Ends the stage before and begins this one.
    pub fn begin(&mut self, stage: Stage) {
        self.end();
        self.now = Some((stage, Instant::now()));
    }

    /// Ends the stage that is going on, if any.
    pub fn end(&mut self) {
        let Some((stage, since)) = self.now.take() else { return };
        match self.phases.iter_mut().find(|(s, _)| *s == stage) {
            Some((_, total)) => *total += since.elapsed(),
            None => self.phases.push((stage, since.elapsed())),
        }
    }

    /// How long it has gone on altogether.
    pub fn took(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long a stage took that has ended.
    pub fn stage(&self, stage: Stage) -> Option<Duration> {
        self.phases.iter().find(|(s, _)| *s == stage).map(|(_, d)| *d)
    }

    /// The phases for the outcome.
    pub fn phases(&self) -> Vec<Phase> {
        self.phases.iter().map(|(s, d)| Phase { name: s.word().to_owned(), seconds: d.as_secs_f64() }).collect()
    }

    /// The phases as metrics `time_PHASE`, in seconds.
    pub fn metrics(&self) -> Vec<Metric> {
        self.phases.iter().map(|(s, d)| seconds(format!("time_{}", s.word()), *d)).collect()
    }

    /// What to say when the time was over: what was waited for, and how far it came.
    pub fn overdue(&self, peer: &dyn fmt::Display, limit: Duration) -> String {
        let connected = match self.stage(Stage::Connect) {
            Some(d) => format!(" (connected after {})", millis(d)),
            None => String::new(),
        };
        match self.now.map(|(stage, _)| stage) {
            Some(Stage::Dns) => {
                format!("the name in `{peer}` was not resolved within {limit:?}; is the name server reachable?")
            }
            Some(Stage::Connect) => format!(
                "no connection to `{peer}` within {limit:?}: nothing answers; is the host up, or does a firewall drop it?"
            ),
            Some(Stage::Tls) => format!("no TLS handshake with `{peer}` within {limit:?}{connected}"),
            Some(Stage::Transfer) => {
                let begins = if self.heard.is_empty() { String::new() } else { format!(", `{}`", self.heard) };
                let n = self.received;
                format!("the answer from `{peer}` was not complete within {limit:?}: {n} bytes came{begins}{connected}")
            }
            Some(Stage::FirstByte) | None => format!("no answer from `{peer}` within {limit:?}{connected}"),
        }
    }

    /// Makes the outcome of a run that had a time limit around it. A finding instead of an outcome means that
    /// the check could not be judged: faults found before stay as they are, this one comes beside them.
    pub fn finish(
        mut self,
        result: Result<Result<Outcome, Finding>, Elapsed>,
        peer: &dyn fmt::Display,
        limit: Duration,
    ) -> Outcome {
        let result = result.unwrap_or_else(|_| Err(fault(self.overdue(peer, limit))));
        self.end();
        let mut outcome = result.unwrap_or_else(|finding| Outcome {
            summary: finding.message.clone(),
            findings: vec![finding],
            inconclusive: true,
            ..Outcome::default()
        });
        outcome.took = self.took();
        outcome.phases = self.phases();
        outcome
    }
}

/// A metric in seconds.
pub fn seconds(name: impl Into<String>, took: Duration) -> Metric {
    Metric { unit: Some("s".to_owned()), ..Metric::new(name, took.as_secs_f64()) }
}

/// A measured time for people: `3 ms`, `1.2 s`.
pub fn millis(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// What answers: both directions of a connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Io for T {}

/// A connection of any sort.
pub type Stream = Box<dyn Io>;

/// Resolves and connects. The stages go into the timeline; the last one is ended.
///
/// # Errors
/// A text for people: what happened, then what to do.
pub async fn connect(address: &Address, timeline: &mut Timeline) -> Result<Stream, String> {
    let stream: Stream = match address {
        Address::Unix(path) => {
            timeline.begin(Stage::Connect);
            Box::new(UnixStream::connect(path).await.map_err(|e| refusal(address, &[(path.display().to_string(), e)]))?)
        }
        Address::Tcp { host, port } => {
            timeline.begin(Stage::Dns);
            let found = lookup_host((host.as_str(), *port)).await;
            let found = found.map_err(|e| unresolved(host, &e))?;
            timeline.begin(Stage::Connect);
            let list = interleave(found.collect());
            if list.is_empty() {
                return Err(format!("the name `{host}` has no address"));
            }
            let stream = race(list).await.map_err(|failed| refusal(address, &failed))?;
            // Probes send little and wait: no use in holding small packets back.
            let _ = stream.set_nodelay(true);
            Box::new(stream)
        }
    };
    timeline.end();
    Ok(stream)
}

fn unresolved(host: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase();
    format!("the name `{host}` can't be resolved: {why}; is it spelled right, and is there a name server?")
}

/// Addresses of both families in turn, each family in the resolver's order (RFC 6724, RFC 8305).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (a, b): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let mut list = Vec::new();
    loop {
        let before = list.len();
        list.extend(a.next());
        list.extend(b.next());
        if list.len() == before || list.len() >= ADDRESSES_MAX {
            list.truncate(ADDRESSES_MAX);
            return list;
        }
    }
}

/// Tries the addresses one after the other, each with a head start before the next; the first that connects
/// wins. An address that fails lets the next go at once.
async fn race(list: Vec<SocketAddr>) -> Result<TcpStream, Vec<(String, io::Error)>> {
    let mut tries = JoinSet::new();
    let mut failed = Vec::new();
    let mut list = list.into_iter().peekable();
    loop {
        if let Some(address) = list.next() {
            tries.spawn(async move { TcpStream::connect(address).await.map_err(|e| (address.to_string(), e)) });
        }
        let ended = if list.peek().is_some() {
            match timeout(HEAD_START, tries.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        } else {
            tries.join_next().await
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(failure))) => failed.push(failure),
            Some(Err(broken)) => failed.push((String::new(), io::Error::other(broken))),
            None if list.peek().is_none() => return Err(failed),
            None => {}
        }
    }
}

/// Why no connection was made, for people.
fn refusal(address: &Address, failed: &[(String, io::Error)]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for (tried, error) in failed {
        let why = plain(error);
        let reason = if *tried == address.to_string() || tried.is_empty() { why } else { format!("{why} ({tried})") };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let unix = matches!(address, Address::Unix(_));
    let advice = match failed.first().map(|(_, e)| e.kind()) {
        Some(io::ErrorKind::ConnectionRefused) => "; is the program running that should listen there?",
        Some(io::ErrorKind::NotFound) if unix => "; is the program running that should make this socket?",
        Some(io::ErrorKind::PermissionDenied) if unix => "; may the agent's user write to the socket?",
        _ => "",
    };
    format!("can't connect to `{address}`: {}{advice}", reasons.join(", "))
}

/// An I/O error in words, without the number that the standard library adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The finding of a probe that could not reach what it asks: a network check that gets no answer has found
/// what it looks for, so this is an error of the check itself, and escalates.
pub fn fault(message: impl Into<String>) -> Finding {
    Finding::new(Severity::Error, message)
}

/// The finding of a probe whose own means are missing: a secret, a file of certificates.
pub fn not_ready(message: impl Into<String>) -> Finding {
    Finding::monitor("start", message)
}

/// How reading ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The other side closed the connection.
    Closed,
    /// There was more than the limit; the rest is unread.
    Full,
    /// `enough` said so.
    Enough,
}

/// Reads until the other side closes, `bytes_max` are there, or `enough` is satisfied. The stage becomes
/// [`Stage::Transfer`] with the first byte.
///
/// # Errors
/// The I/O error; what came before it is in `into`.
pub async fn read_bounded(
    stream: &mut (dyn Io + '_),
    into: &mut Vec<u8>,
    bytes_max: usize,
    timeline: &mut Timeline,
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<End> {
    let mut buffer = [0; 16 * 1024];
    timeline.begin(Stage::FirstByte);
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(End::Closed);
        }
        if into.is_empty() {
            timeline.begin(Stage::Transfer);
        }
        timeline.received += n;
        let room = bytes_max - into.len();
        into.extend_from_slice(&buffer[..n.min(room)]);
        if into.len() < 4 * EXCERPT_CHARS_MAX {
            timeline.heard = excerpt(into);
        }
        if n > room {
            return Ok(End::Full);
        }
        if enough(into) {
            return Ok(End::Enough);
        }
    }
}

/// The beginning of what a server said, on one line, fit to be quoted in a message.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT_CHARS_MAX)]);
    let text = text.trim();
    let begin: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    let mut line = shown(&begin).replace('\n', "\\n").replace('\t', "\\t");
    if text.chars().count() > EXCERPT_CHARS_MAX || bytes.len() > 4 * EXCERPT_CHARS_MAX {
        line.push_str(" ...");
    }
    line
}

/// The host's full name, as far as the machine knows it.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.contains('.') {
        return name;
    }
    // What `hostname -f` does without asking a name server: the first name of the address in the hosts file.
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let full = hosts.lines().map(|l| l.split('#').next().unwrap_or_default()).find_map(|line| {
        let names: Vec<&str> = line.split_whitespace().skip(1).collect();
        let known = names.contains(&name.as_str());
        names.into_iter().find(|n| known && n.starts_with(&format!("{name}."))).map(str::to_owned)
    });
    full.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, usual, expect) in [
            ("example.com:80", None, Ok("example.com:80")),
            (" example.com:80 ", None, Ok("example.com:80")),
            ("[::1]:443", None, Ok("[::1]:443")),
            ("[::1]", Some(443), Ok("[::1]:443")),
            ("127.0.0.1:1", None, Ok("127.0.0.1:1")),
            ("example.com", Some(443), Ok("example.com:443")),
            ("example.com", None, Err("the port is missing")),
            ("", Some(1), Err("no host name")),
            (":80", None, Err("no host name")),
            ("a b:80", None, Err("no host name")),
            ("user@host:80", None, Err("no host name")),
            ("host:http", None, Err("`http` is no port")),
            ("host:0", None, Err("`0` is no port")),
            ("host:65536", None, Err("is no port")),
            ("::1:80", None, Err("write `[::1:80]:port`")),
            ("[::1", None, Err("closing bracket")),
            ("[::1]80", None, Err("after `]`")),
            ("[host]:80", None, Err("no IPv6 address")),
            ("http://host:80", None, Err("without `http://`")),
        ] {
            match (Address::tcp(text, usual), expect) {
                (Ok(address), Ok(shown)) => assert_eq!(address.to_string(), shown, "{text}"),
                (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        assert!(Address::unix("run/x").is_err_and(|m| m.contains("absolute")));
        assert!(Address::unix(&format!("/{}", "x".repeat(UNIX_PATH_BYTES_MAX))).is_err());
        assert!(Address::unix("/run/x").is_ok());
    }

    #[test]
    fn families_take_turns() {
        let list = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = list(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        assert_eq!(interleave(mixed), list(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]));
        let many = vec![list(&["1.1.1.1:1"])[0]; 100];
        assert_eq!(interleave(many).len(), ADDRESSES_MAX);
        assert!(interleave(Vec::new()).is_empty());
    }

    /// The first address refuses, the second answers: the probe does not fail for it.
    #[tokio::test]
    async fn a_dead_address_beside_a_live_one_does_no_harm() {
        let dead = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = race(vec![dead, live.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live.local_addr().unwrap());
        let failed = race(vec![dead, dead]).await.unwrap_err();
        let address = Address::tcp("name:1", None).unwrap();
        let message = refusal(&address, &failed);
        assert_eq!(
            message,
            format!(
                "can't connect to `name:1`: connection refused ({dead}); is the program running that should listen there?"
            )
        );
    }

    #[tokio::test]
    async fn names_that_do_not_resolve_say_so() {
        let address = Address::tcp("no-such-host.invalid:80", None).unwrap();
        let message = connect(&address, &mut Timeline::default()).await.unwrap_err();
        assert!(message.starts_with("the name `no-such-host.invalid` can't be resolved: "), "{message}");
    }

    #[test]
    fn what_was_waited_for_is_said() {
        let limit = Duration::from_secs(5);
        let mut timeline = Timeline::default();
        timeline.begin(Stage::Dns);
        assert!(timeline.overdue(&"x:1", limit).contains("not resolved within 5s"));
        timeline.begin(Stage::Connect);
        assert!(timeline.overdue(&"x:1", limit).starts_with("no connection to `x:1` within 5s"));
        timeline.begin(Stage::FirstByte);
        assert_eq!(timeline.overdue(&"x:1", limit), "no answer from `x:1` within 5s (connected after 0 ms)");
        timeline.begin(Stage::Connect);
        timeline.end();
        assert_eq!(timeline.phases().iter().filter(|p| p.name == "connect").count(), 1, "stages are summed up");
    }

    #[test]
    fn excerpts_are_one_clean_line() {
        assert_eq!(excerpt(b"  220 ready\r\n"), "220 ready");
        assert_eq!(excerpt(b"a\x07b\nc"), "a\\u{7}b\\nc");
        assert_eq!(excerpt("a\u{200b}b\u{202e}c\u{2028}d".as_bytes()), "a\\u{200b}b\\u{202e}c\\u{2028}d");
        assert_eq!(excerpt(&b"x".repeat(1000)).chars().count(), EXCERPT_CHARS_MAX + 4);
        assert_eq!(excerpt(&[0xff, b'x']), "\u{fffd}x");
    }
}
