//! `tls = "host:port"`: is the certificate that a server shows in order, and for how long yet?
//!
//! The handshake takes any certificate; what was shown is then judged here, part by part: its dates, its
//! name, and who vouches for it are findings of their own, so that acknowledging one hides no other. It is judged too
//! where the handshake fails after it was shown, which is a finding beside it.
//! Messages name dates, not days left: they stay the same while the matter stays the same. Revocation is
//! not checked.

use super::{BoxFuture, Probe, Program, Run};
use crate::shared::{
    net::{self, Address, Timeline},
    tls::{self, Shown, TlsOptions, Trust},
};
use rustls::{
    CertificateError, Error,
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use starttls::Starttls;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Finding, Metric, Outcome, Severity, Timestamp},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

mod starttls;

const DAY_SECS: i64 = 86_400;

/// This kind.
pub const KIND: Kind<Program> = Kind {
    key: "tls",
    doc: "Is the certificate of this server in order, and for how long yet? Findings are `#expiry` (a certificate of \
          the chain has expired, soon will, or is not valid yet), `#trust` (nobody trusted vouches for it), `#name` (it is \
          for another name) and `#handshake` (TLS fails after the certificate was shown; a warning where the server \
          refuses this client). The metric `days_left` is until the first certificate of the chain expires.",
    example: r#"[check.mail-certificate]
tls = "mail.example.com:25"
starttls = "smtp"
warn_days = 21
error_days = 5
every = "1h"
"#,
    keys: &[
        Key {
            name: "tls",
            shape: Shape::String,
            doc: "`host:port`; the port may be left out where it is the usual one",
        },
        Key {
            name: "warn_days",
            shape: Shape::Integer,
            doc: "a warning when it expires in fewer days than this (default 30)",
        },
        Key { name: "error_days", shape: Shape::Integer, doc: "an error when it expires in fewer days (default 7)" },
        Key {
            name: "server_name",
            shape: Shape::String,
            doc: "the name to ask for and to find in the certificate (default: the host of `tls`)",
        },
        Key {
            name: "starttls",
            shape: Shape::Choice(Starttls::WORDS),
            doc: "the protocol in which TLS is asked for after connecting (default: TLS from the first byte)",
        },
        tls::KEYS[0],
        tls::KEYS[1],
        tls::KEYS[2],
        tls::KEYS[3],
    ],
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

/// One server's certificate.
#[derive(Debug)]
struct Tls {
    address: Address,
    name: ServerName<'static>,
    starttls: Option<Starttls>,
    options: TlsOptions,
    limits: Limits,
}

/// When to speak up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    warn_days: i64,
    error_days: i64,
}

fn read(reader: &mut Reader<'_>) -> Option<Program> {
    let text = reader.require_string("tls");
    let warn_days = reader.integer("warn_days", 0..=3650).unwrap_or(30);
    let error_days = reader.integer("error_days", 0..=3650).unwrap_or(7.min(warn_days));
    if error_days > warn_days {
        let message =
            format!("`error_days` ({error_days}) is more than `warn_days` ({warn_days}): nobody would be warned first");
        reader.error("error_days", message);
    }
    let starttls = reader.choice("starttls", &Starttls::ALL);
    let server_name = reader.string("server_name");
    let options = TlsOptions::read(reader);
    let usual_port = starttls.map_or(443, Starttls::usual_port);
    let address = match Address::tcp(&text?, Some(usual_port)) {
        Ok(address) => address,
        Err(problem) => {
            reader.error("tls", problem);
            return None;
        }
    };
    let key = if server_name.is_some() { "server_name" } else { "tls" };
    match tls::server_name(server_name.as_deref().unwrap_or(address.host())) {
        Ok(name) => Some(Arc::new(Tls { address, name, starttls, options, limits: Limits { warn_days, error_days } })),
        Err(problem) => {
            reader.error(key, problem);
            None
        }
    }
}

impl Tls {
    async fn probe(&self, run: &Run<'_>, timeline: &mut Timeline) -> Result<Outcome, Finding> {
        let shown = Arc::<Shown>::default();
        let config = self.options.lenient_config(&shown).map_err(net::not_ready)?;
        let trust = match self.options.verify {
            true => Some(self.options.trust(&run.shared.http).map_err(net::not_ready)?),
            false => None,
        };
        let mut stream = net::connect(&self.address, timeline).await.map_err(net::fault)?;
        if let Some(protocol) = self.starttls {
            timeline.begin(net::Stage::Tls);
            let asked = protocol.ask(&mut stream).await;
            asked.map_err(|why| net::fault(format!("`{}` does not begin TLS by {protocol}: {why}", self.address)))?;
        }
        let failed = tls::shake(stream, config, self.name.clone(), timeline).await.err();
        let why = failed.as_ref().map(|e| format!("no TLS connection with `{}`: {}", self.address, tls::explain_io(e)));
        let Some(chain) = shown.chain() else {
            return Err(net::fault(why.unwrap_or_else(|| format!("`{}` shows no certificate", self.address))));
        };
        let mut outcome = judge(chain, &self.name, trust.as_ref(), self.limits, UnixTime::now());
        if let (Some(error), Some(why)) = (failed, why) {
            let severity = if tls::is_refusal(&error) { Severity::Warning } else { Severity::Error };
            if outcome.findings.is_empty() {
                outcome.summary.clone_from(&why);
            }
            outcome.findings.push(Finding::part("handshake", severity, why));
        }
        outcome.metrics.extend(timeline.metrics());
        Ok(outcome)
    }
}

impl Probe for Tls {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let mut timeline = Timeline::default();
            let result = timeout(run.timeout, self.probe(run, &mut timeline)).await;
            timeline.finish(result, &self.address, run.timeout)
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.options.preflight()
    }
}

/// What a certificate says of itself.
#[derive(Debug)]
struct Card {
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before_secs: i64,
    not_after_secs: i64,
}

impl Card {
    fn read(der: &CertificateDer<'_>) -> Option<Card> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let mut names = Vec::new();
        if let Ok(Some(list)) = cert.subject_alternative_name() {
            for name in &list.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => names.extend(show_ip(bytes)),
                    _ => {}
                }
            }
        }
        Some(Card {
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            names,
            not_before_secs: cert.validity().not_before.timestamp(),
            not_after_secs: cert.validity().not_after.timestamp(),
        })
    }

    fn self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    fn show(&self) -> String {
        let names = if self.names.is_empty() { String::new() } else { format!(", for {}", self.names.join(", ")) };
        let (from, until) = (Timestamp::from_secs(self.not_before_secs), Timestamp::from_secs(self.not_after_secs));
        format!("subject {}, issuer {}, valid from {from} until {until}{names}", self.subject, self.issuer)
    }
}

fn show_ip(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| std::net::Ipv4Addr::from(b).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
        _ => None,
    }
}

/// Judges what a server showed. Without `trust` only the dates count.
fn judge(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    trust: Option<&Trust>,
    limits: Limits,
    now: UnixTime,
) -> Outcome {
    let cards: Option<Vec<Card>> = chain.iter().map(Card::read).collect();
    let Some((cards, leaf)) = cards.as_deref().and_then(|list| Some((list, list.first()?))) else {
        let message = "the server shows a certificate that can't be read".to_owned();
        let findings = vec![Finding::part("trust", Severity::Error, message.clone())];
        return Outcome { summary: message, findings, ..Outcome::default() };
    };
    let detail = cards.iter().map(Card::show).collect::<Vec<_>>().join("\n");
    let mut findings = Vec::new();
    let trusted_now = trust.is_some_and(|t| t.verify(&chain[0], &chain[1..], now).is_ok());
    let now_secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    findings.extend(judge_dates(cards, trusted_now, limits, now_secs));
    if let Some(trust) = trust {
        findings.extend(judge_trust(chain, cards, trust, now));
        let named = ParsedCertificate::try_from(&chain[0]).and_then(|parsed| verify_server_name(&parsed, name));
        if let Err(error) = named {
            findings.push(Finding::part("name", Severity::Error, wrong_name(leaf, name, &error)));
        }
    }
    let findings: Vec<Finding> = findings.into_iter().map(|f| f.with_detail(detail.clone())).collect();
    let first_end = cards.iter().map(|c| c.not_after_secs).filter(|end| !trusted_now || *end > now_secs).min();
    let days_left = (first_end.unwrap_or(leaf.not_after_secs) - now_secs) as f64 / DAY_SECS as f64;
    let days_left = (days_left * 100.0).round() / 100.0;
    let summary = match findings.first() {
        Some(finding) => finding.message.clone(),
        None => format!("the certificate for {} is valid for {} more days", name.to_str(), days_left.floor()),
    };
    let metric = Metric { unit: Some("d".to_owned()), ..Metric::new("days_left", days_left) };
    Outcome { findings, metrics: vec![metric], summary, output: detail, ..Outcome::default() }
}

/// The one finding about dates: the worst. An expired certificate that the chain does not need (`trusted_now`)
/// is a warning, because other clients may want it.
fn judge_dates(cards: &[Card], trusted_now: bool, limits: Limits, now_secs: i64) -> Option<Finding> {
    let mut worst: Option<(Severity, i64, String)> = None;
    for (i, card) in cards.iter().enumerate() {
        let who =
            if i == 0 { "the certificate".to_owned() } else { format!("the chain's certificate `{}`", card.subject) };
        let (from, until) = (Timestamp::from_secs(card.not_before_secs), Timestamp::from_secs(card.not_after_secs));
        let left_secs = card.not_after_secs - now_secs;
        let within = |days: i64| left_secs < days * DAY_SECS;
        let (severity, message) = if left_secs <= 0 && i > 0 && trusted_now {
            let advice = "it is not needed here, but other clients may mind; take it out of what the server sends";
            (Severity::Warning, format!("{who} has expired at {until}; {advice}"))
        } else if left_secs <= 0 {
            (Severity::Error, format!("{who} has expired at {until}; renew it"))
        } else if now_secs < card.not_before_secs {
            (Severity::Error, format!("{who} is not valid before {from}; is a clock wrong?"))
        } else if within(limits.error_days) {
            (Severity::Error, format!("{who} expires at {until}, in less than {} days; renew it", limits.error_days))
        } else if within(limits.warn_days) {
            (Severity::Warning, format!("{who} expires at {until}, in less than {} days; renew it", limits.warn_days))
        } else {
            continue;
        };
        let worse = worst.as_ref().is_none_or(|(s, left, _)| severity > *s || (severity == *s && left_secs < *left));
        if worse {
            worst = Some((severity, left_secs, message));
        }
    }
    worst.map(|(severity, _, message)| Finding::part("expiry", severity, message))
}

/// Whether somebody trusted vouches for it, its dates aside: those are a finding of their own.
fn judge_trust(chain: &[CertificateDer<'_>], cards: &[Card], trust: &Trust, now: UnixTime) -> Option<Finding> {
    let mut error = trust.verify(&chain[0], &chain[1..], now).err()?;
    if about_dates(&error) {
        // Judge it at a time when the whole chain was valid, or at least the server's own certificate.
        let window = |list: &[Card]| {
            let from = list.iter().map(|c| c.not_before_secs).max().unwrap_or(0);
            let until = list.iter().map(|c| c.not_after_secs).min().unwrap_or(0);
            (from <= until).then_some((from, until))
        };
        let (from, until) = window(cards).or_else(|| window(&cards[..1]))?;
        let then = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).clamp(from, until);
        let then = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(then).unwrap_or(0)));
        error = trust.verify(&chain[0], &chain[1..], then).err().filter(|e| !about_dates(e))?;
    }
    let last = cards.last()?;
    let message = match &error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) if cards.len() == 1 && last.self_signed() => {
            "the certificate is self-signed: nobody vouches for it; get one from an authority, or name this one in `ca`"
                .to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "the certificate is not trusted: `{}` is no trusted authority; name it in `ca`, or let the server send the \
             whole chain",
            last.issuer
        ),
        other => format!("the certificate is not trusted: {}", tls::explain(other)),
    };
    Some(Finding::part("trust", Severity::Error, message))
}

fn about_dates(error: &Error) -> bool {
    use CertificateError as C;
    matches!(
        error,
        Error::InvalidCertificate(
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }
        )
    )
}

fn wrong_name(leaf: &Card, name: &ServerName<'_>, error: &Error) -> String {
    use CertificateError as C;
    match error {
        Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            let names = if leaf.names.is_empty() {
                format!("`{}` (no name that counts)", leaf.subject)
            } else {
                leaf.names.join(", ")
            };
            format!(
                "the certificate is for {names}, not for `{}`; get one for this name, or set `server_name`",
                name.to_str()
            )
        }
        other => format!("the certificate's names can't be checked: {}", tls::explain(other)),
    }
}

#[cfg(test)]
mod tests;
