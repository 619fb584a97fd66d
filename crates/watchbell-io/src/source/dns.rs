//! `dns = "name"`: does a name resolve, to what it should, and how fast?
//!
//! Asks name servers itself, past the hosts file, search domains and every cache of this machine's own
//! resolver library; `localhost` and other special names too. A name that does not exist (NXDOMAIN), a server that fails (SERVFAIL, REFUSED) and one
//! that does not answer are different findings.

use super::{BoxFuture, Probe, Program, Run};
use crate::shared::net::{self, Stage, Timeline};
use hickory_resolver::{
    NameServerPool, PoolContext, TlsConfig,
    config::{NameServerConfig, ResolverOpts},
    net::{DnsError, DnsHandle, NetError, RetryDnsHandle, runtime::TokioRuntimeProvider, xfer::FirstAnswer},
    proto::{
        op::{DnsRequestOptions, DnsResponse, Query, ResponseCode},
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Finding, Metric, Outcome, Severity},
};

/// How many answers are shown in a message.
pub const ANSWERS_SHOWN_MAX: usize = 10;

/// How many aliases (CNAME) are followed where a server names one and no more.
pub const ALIASES_MAX: usize = 8;

const TYPES: [(&str, RecordType); 10] = [
    ("A", RecordType::A),
    ("AAAA", RecordType::AAAA),
    ("CAA", RecordType::CAA),
    ("CNAME", RecordType::CNAME),
    ("MX", RecordType::MX),
    ("NS", RecordType::NS),
    ("PTR", RecordType::PTR),
    ("SOA", RecordType::SOA),
    ("SRV", RecordType::SRV),
    ("TXT", RecordType::TXT),
];

/// This kind.
pub const KIND: Kind<Program> = Kind {
    key: "dns",
    doc: "Does this name resolve, and to what it should? The metrics are `time` (seconds until the answer) and \
          `answers` (how many). The name is taken as it is: search domains and the hosts file don't count.",
    example: r#"[check.mail-exchanger]
dns = "example.com"
type = "MX"
server = "192.0.2.53"
expect = ["10 mail.example.com"]
every = "5m"
"#,
    keys: &[
        Key { name: "dns", shape: Shape::String, doc: "the name; for `PTR` an IP address will do" },
        Key {
            name: "type",
            shape: Shape::Choice(&["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]),
            doc: "which records to ask for (default `A`, for an IP address `PTR`)",
        },
        Key {
            name: "server",
            shape: Shape::String,
            doc: "the name server's IP address, with a port if it is not 53 (default: those of `/etc/resolv.conf`)",
        },
        Key {
            name: "expect",
            shape: Shape::Strings,
            doc: "answers as `dig +short` prints them; a closing dot makes no difference, nor do capitals but in `TXT`",
        },
        Key {
            name: "expect_match",
            shape: Shape::Choice(&["all", "any", "exact"]),
            doc: "`all` (default): every expected answer is there; `any`: one of them is; `exact`: they and no others are",
        },
        Key {
            name: "min_answers",
            shape: Shape::Integer,
            doc: "fewer answers than this are an error (default 1; with 0 the name need not exist)",
        },
    ],
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

/// How the answers must agree with what is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Match {
    All,
    Any,
    Exact,
}

/// One question.
#[derive(Debug)]
struct Dns {
    name: Name,
    record_type: RecordType,
    server: Option<SocketAddr>,
    expect: Vec<String>,
    how: Match,
    min_answers: usize,
}

fn read(reader: &mut Reader<'_>) -> Option<Program> {
    let text = reader.require_string("dns");
    let record_type = reader.choice("type", &TYPES);
    let server = reader.string("server");
    let expect = reader.strings("expect").unwrap_or_default();
    let words = [("all", Match::All), ("any", Match::Any), ("exact", Match::Exact)];
    let how = reader.choice("expect_match", &words).unwrap_or(Match::All);
    if reader.has("expect_match") && !reader.has("expect") {
        reader.error("expect_match", "`expect_match` needs `expect`").hint("add `expect = [\"ANSWER\"]`");
    }
    let min_answers = reader.integer("min_answers", 0..=1000).unwrap_or(1);
    let server = match server.map(|text| parse_server(&text)).transpose() {
        Ok(server) => server,
        Err(problem) => {
            reader
                .error("server", problem)
                .hint("write it as \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"");
            return None;
        }
    };
    let text = text?;
    let (name, usual) = match text.parse::<IpAddr>() {
        Ok(ip) => (Ok(Name::from(ip)), RecordType::PTR),
        Err(_) => (parse_name(&text), RecordType::A),
    };
    let name = match name {
        Ok(name) => name,
        Err(problem) => {
            reader.error("dns", format!("`{text}` is no domain name: {problem}"));
            return None;
        }
    };
    let record_type = record_type.unwrap_or(usual);
    let expect = expect.iter().map(|answer| normal(record_type, answer)).collect();
    let min_answers = usize::try_from(min_answers).unwrap_or(1);
    Some(Arc::new(Dns { name, record_type, server, expect, how, min_answers }))
}

fn parse_name(text: &str) -> Result<Name, String> {
    if text.contains("://") || text.contains(|c: char| c.is_whitespace() || "/:@".contains(c)) {
        return Err("write the bare name, as `example.com`".to_owned());
    }
    let mut name = Name::from_utf8(text).map_err(|e| e.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 53));
    }
    text.trim().parse().map_err(|_| format!("`{text}` is no IP address of a name server"))
}

/// An answer as it is compared and shown: addresses in their short form, names without the closing dot and in
/// lower case, TXT as it is.
fn normal(record_type: RecordType, answer: &str) -> String {
    let answer = answer.trim();
    if record_type == RecordType::TXT {
        return match quoted_strings(answer) {
            Some(bytes) => show_text(&bytes),
            None => answer.to_owned(),
        };
    }
    if let Ok(ip) = answer.parse::<IpAddr>() {
        return ip.to_string();
    }
    let words = answer.split_whitespace().map(|word| word.strip_suffix('.').unwrap_or(word).to_lowercase());
    words.collect::<Vec<_>>().join(" ")
}

/// Reads a record as if it were a text: see [`super::read_answers`].
pub(super) fn read_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for kind in [RecordType::TXT, RecordType::MX] {
        normal(kind, &text);
    }
    show_text(bytes);
    drop(parse_name(&text));
    drop(parse_server(&text));
}

/// What `dig` prints of a TXT record, `"one" "two"`, with its escapes (RFC 1035, 5.1: `\X` and `\DDD`): the bytes.
/// `None` where it has no such form.
fn quoted_strings(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        rest = rest.strip_prefix(b"\"")?;
        loop {
            let (first, after) = rest.split_first()?;
            rest = after;
            match first {
                b'"' => break,
                b'\\' => {
                    let number = rest.get(..3).and_then(|d| std::str::from_utf8(d).ok()?.parse::<u8>().ok());
                    let taken = if number.is_some() { 3 } else { 1 };
                    bytes.push(number.or_else(|| rest.first().copied())?);
                    rest = rest.get(taken..)?;
                }
                other => bytes.push(*other),
            }
        }
        rest = rest.trim_ascii_start();
    }
    (!bytes.is_empty() || !text.is_empty()).then_some(bytes)
}

/// The text of a TXT record, as it is compared and shown: what is no text is `\DDD`.
fn show_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\{byte:03}")));
    }
    text
}

/// What a question brought, as far as it was answered.
enum Answer {
    Records(Vec<String>),
    NoName,
    NoRecords,
}

impl Dns {
    /// Not the library's resolver: that answers special names (`localhost`, `invalid`) itself.
    fn servers(&self, limit: Duration) -> Result<RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>, String> {
        let broken =
            |e: NetError| format!("no resolver could be made: {e}; look at `/etc/resolv.conf`, or name a `server`");
        let (servers, mut options) = match self.server {
            None => {
                let (config, options) = read_system_conf().map_err(broken)?;
                (config.name_servers, options)
            }
            Some(server) => {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut config.connections {
                    connection.port = server.port();
                }
                (vec![config], ResolverOpts::default())
            }
        };
        // A lost packet is asked for again within the limit.
        options.timeout = (limit / 2).max(Duration::from_millis(1));
        options.attempts = 1;
        let attempts = options.attempts;
        let context = Arc::new(PoolContext::new(options, TlsConfig::new().map_err(broken)?));
        let pool = NameServerPool::from_config(servers, context, TokioRuntimeProvider::default());
        Ok(RetryDnsHandle::new(pool, attempts))
    }

    /// The records that were asked for. A server that answers with an alias only is asked for what that names.
    async fn look_up(&self, limit: Duration) -> Result<Result<Vec<RData>, NetError>, String> {
        let servers = self.servers(limit)?;
        let mut name = self.name.clone();
        for _ in 0..=ALIASES_MAX {
            let query = Query::query(name.clone(), self.record_type);
            let answer = servers.lookup(query, DnsRequestOptions::default()).first_answer().await;
            let answer: DnsResponse = match answer.and_then(|a| DnsError::from_response(a).map_err(NetError::from)) {
                Ok(answer) => answer,
                Err(error) => return Ok(Err(error)),
            };
            let of_type = answer.answers.iter().filter(|r| r.record_type() == self.record_type);
            let records: Vec<RData> = of_type.map(|r| r.data.clone()).collect();
            let alias = answer.answers.iter().rev().find_map(|r| match &r.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            match alias {
                Some(target) if records.is_empty() => name = target,
                _ => return Ok(Ok(records)),
            }
        }
        Ok(Ok(Vec::new()))
    }

    fn asked(&self) -> String {
        match self.server {
            Some(server) => format!("the name server {server}"),
            None => "the name servers of this machine".to_owned(),
        }
    }

    async fn ask(&self, limit: Duration) -> Result<Answer, Finding> {
        let error = match self.look_up(limit).await.map_err(net::not_ready)? {
            Ok(records) => return Ok(Answer::Records(records.iter().map(|data| self.show(data)).collect())),
            Err(error) => error,
        };
        let (asked, question) = (self.asked(), self.question());
        Err(net::fault(match error {
            NetError::Dns(DnsError::NoRecordsFound(found)) => match found.response_code {
                ResponseCode::NXDomain => return Ok(Answer::NoName),
                ResponseCode::NoError => return Ok(Answer::NoRecords),
                code => refused(&asked, &question, code),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => refused(&asked, &question, code),
            NetError::Timeout => format!("no answer from {asked} for {question} within {limit:?}"),
            NetError::Io(e) => format!("{asked} can't be asked for {question}: {}", net::plain(&e)),
            NetError::NoConnections => {
                format!("{asked} can't be asked for {question}: no connection; is the address right?")
            }
            other => format!("{asked} can't be asked for {question}: {other}"),
        }))
    }

    fn question(&self) -> String {
        format!("`{}` {}", show_name(&self.name), self.record_type)
    }

    fn show(&self, data: &RData) -> String {
        match data {
            // RFC 1035, 3.3.14: several strings; where they are joined does not matter (RFC 7208, 3.3).
            RData::TXT(text) => show_text(&text.txt_data.concat()),
            data => normal(self.record_type, &data.to_string()),
        }
    }

    async fn probe(&self, limit: Duration, timeline: &mut Timeline) -> Result<Outcome, Finding> {
        timeline.begin(Stage::Dns);
        let answer = self.ask(limit).await?;
        timeline.end();
        let took = timeline.stage(Stage::Dns).unwrap_or_default();
        let (records, nothing) = match answer {
            Answer::Records(records) => (records, ""),
            Answer::NoName => (Vec::new(), "does not exist (NXDOMAIN)"),
            Answer::NoRecords => (Vec::new(), "exists, but has no such records"),
        };
        let question = self.question();
        let mut outcome = Outcome {
            metrics: vec![net::seconds("time", took), Metric::new("answers", records.len() as f64)],
            summary: format!("{question}: {} ({})", shown(&records), net::millis(took)),
            output: records.join("\n"),
            ..Outcome::default()
        };
        if let Some(wrong) = self.judge(&records, nothing) {
            let message = format!("{question} {wrong}, says {}", self.asked());
            outcome.summary.clone_from(&message);
            outcome.findings.push(Finding::new(Severity::Error, message).with_detail(records.join("\n")));
        }
        Ok(outcome)
    }

    /// What is wrong with the answers, if anything is.
    fn judge(&self, records: &[String], nothing: &str) -> Option<String> {
        if records.len() < self.min_answers {
            return Some(match (records.len(), nothing) {
                (0, "") => "has no answers".to_owned(),
                (0, nothing) => nothing.to_owned(),
                (n, _) => format!("has {n} answers, expected at least {}: {}", self.min_answers, shown(records)),
            });
        }
        let missing: Vec<String> = self.expect.iter().filter(|e| !records.contains(e)).cloned().collect();
        let others: Vec<String> = records.iter().filter(|r| !self.expect.contains(r)).cloned().collect();
        let right = match self.how {
            Match::All => missing.is_empty(),
            Match::Any => self.expect.is_empty() || missing.len() < self.expect.len(),
            Match::Exact => missing.is_empty() && others.is_empty(),
        };
        if right {
            return None;
        }
        Some(match self.how {
            Match::Any => format!("is {}, expected any of {}", shown(records), shown(&self.expect)),
            Match::All => format!("is {}, and {} is missing", shown(records), shown(&missing)),
            Match::Exact if missing.is_empty() => {
                format!("is {}, and {} is not expected", shown(records), shown(&others))
            }
            Match::Exact => format!("is {}, expected {}", shown(records), shown(&self.expect)),
        })
    }
}

fn refused(asked: &str, question: &str, code: ResponseCode) -> String {
    let (word, advice) = match code {
        ResponseCode::ServFail => {
            ("SERVFAIL", "; it could not find out: is the zone's own name server up, are its signatures valid?")
        }
        ResponseCode::Refused => ("REFUSED", "; it does not serve this machine, or not this name"),
        ResponseCode::FormErr => ("FORMERR", ""),
        ResponseCode::NotImp => ("NOTIMP", ""),
        other => return format!("{asked} answered {question} with the error \"{other}\""),
    };
    format!("{asked} answered {question} with {word}{advice}")
}

fn show_name(name: &Name) -> String {
    let text = name.to_utf8();
    text.strip_suffix('.').filter(|t| !t.is_empty()).unwrap_or(&text).to_owned()
}

fn shown(list: &[String]) -> String {
    if list.is_empty() {
        return "nothing".to_owned();
    }
    let mut sorted = list.to_vec();
    // Servers rotate their answers; a message must not change with them.
    sorted.sort();
    let more = sorted.len().saturating_sub(ANSWERS_SHOWN_MAX);
    sorted.truncate(ANSWERS_SHOWN_MAX);
    let text = sorted.join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

impl Probe for Dns {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let mut timeline = Timeline::default();
            let result = timeout(run.timeout, self.probe(run.timeout, &mut timeline)).await;
            let overdue = || {
                net::fault(format!("no answer from {} for {} within {:?}", self.asked(), self.question(), run.timeout))
            };
            let result = Ok(result.unwrap_or_else(|_| Err(overdue())));
            timeline.finish(result, &self.question(), run.timeout)
        })
    }
}

#[cfg(test)]
mod tests;
