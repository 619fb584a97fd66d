//! An HTTP answer and what is wrong with it.

use super::Wanted;
use crate::shared::{
    jq::{Filter, Trouble},
    net::{self, Timeline},
};
use encoding_rs::{Encoding, UTF_8};
use hyper::StatusCode;
use serde_json::Value;
use std::{borrow::Cow, fmt, ops::RangeInclusive, time::Duration};
use watchbell_core::model::{Finding, Metric, Outcome, Severity};

/// How much of the body a finding shows, in characters.
pub const DETAIL_CHARS_MAX: usize = 500;

/// Of the time that is left a filter may take so much, so that there is some to say that it took too long.
const TIME_SHARE: f64 = 0.8;

/// How much of the body an outcome keeps, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// How far into a page the charset is looked for that it names itself.
pub const CHARSET_LOOKED_FOR_BYTES_MAX: usize = 1024;

/// Which status codes are right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Status(Vec<RangeInclusive<u16>>);

impl Default for Status {
    fn default() -> Status {
        Status(vec![200..=299])
    }
}

impl Status {
    /// Reads `200`, `200-299`, `200-299, 404`.
    pub(super) fn parse(text: &str) -> Result<Status, String> {
        let number = |text: &str| {
            let number = text.trim().parse::<u16>().ok().filter(|n| (100..=999).contains(n));
            number.ok_or_else(|| format!("`{}` is no HTTP status", text.trim()))
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (number(low)?, number(high)?);
            if low > high {
                return Err(format!("`{}` has no status in it: the lower number comes first", part.trim()));
            }
            ranges.push(low..=high);
        }
        Ok(Status(ranges))
    }

    /// All of them.
    pub(super) fn join(parts: Vec<Status>) -> Status {
        Status(parts.into_iter().flat_map(|s| s.0).collect())
    }

    fn holds(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match (range.start(), range.end()) {
                (low, high) if low == high => write!(f, "{low}")?,
                (low, high) => write!(f, "{low}-{high}")?,
            }
        }
        Ok(())
    }
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    /// The body is longer than what was read.
    pub(super) cut: bool,
    /// The body is compressed, although nobody asked for it.
    pub(super) encoding: Option<String>,
    /// The charset that the server names.
    pub(super) charset: Option<String>,
}

/// The charset in a media type (RFC 9110, 8.3.1), as `text/html; charset="utf-8"`.
pub(super) fn charset(media_type: &str) -> Option<String> {
    let mut parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

/// The charset that a page names itself: HTML's `<meta charset=…>`, XML's `encoding="…"`.
fn charset_inside(body: &[u8]) -> Option<&'static Encoding> {
    let head = body[..body.len().min(CHARSET_LOOKED_FOR_BYTES_MAX)].to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head);
    ["charset=", "encoding="].iter().find_map(|word| {
        let (_, rest) = head.split_once(word)?;
        let rest = rest.trim_start_matches(['"', '\'']);
        let label = rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).next()?;
        Encoding::for_label(label.as_bytes())
    })
}

/// Reads a body whose charset stands in its first line, as if it were a header's: see [`super::super::read_answers`].
pub(in super::super) fn read_body(bytes: &[u8]) {
    let (head, body) = bytes.split_at(bytes.iter().position(|b| *b == b'\n').unwrap_or_default());
    let head = String::from_utf8_lossy(head);
    let answer =
        Answer { status: StatusCode::OK, body: body.to_vec(), cut: false, encoding: None, charset: charset(&head) };
    answer.show(&answer.text(), DETAIL_CHARS_MAX);
    drop(Status::parse(&head));
}

impl Wanted {
    /// Judges an answer, within the run's limit. `whence` is the request, for messages.
    pub(super) async fn judge(&self, answer: Answer, whence: &str, timeline: &Timeline, limit: Duration) -> Outcome {
        let (status, text) = (answer.status, answer.text());
        let mut wrong = Vec::new();
        let mut metrics = vec![net::seconds("time_total", timeline.took())];
        metrics.extend(timeline.metrics());
        if !answer.cut {
            metrics.push(Metric { unit: Some("B".to_owned()), ..Metric::new("size", answer.body.len() as f64) });
        }
        if !self.status.holds(status) {
            // The body of a wrong status is another page: what it lacks is no news.
            wrong.push(format!("status {}, expected {}", status.as_u16(), self.status));
        } else {
            self.judge_text(&answer, &text, &mut wrong);
            let left = limit.saturating_sub(timeline.took()).mul_f64(TIME_SHARE);
            match self.judge_json(&answer, &text, left).await {
                Ok(Some(number)) => metrics.insert(0, Metric::new("", number)),
                Ok(None) => {}
                Err(message) => wrong.push(message),
            }
        }
        let size = if answer.cut {
            format!("more than {} bytes", answer.body.len())
        } else {
            format!("{} bytes", answer.body.len())
        };
        let took = net::millis(timeline.took());
        let mut summary = format!("status {}, {size} in {took} — {whence}", status.as_u16());
        let mut findings = Vec::new();
        if !wrong.is_empty() {
            summary = format!("{} — {whence}", wrong.join("; "));
            findings
                .push(Finding::new(Severity::Error, summary.clone()).with_detail(answer.show(&text, DETAIL_CHARS_MAX)));
        }
        let output = text[..text.floor_char_boundary(OUTPUT_BYTES_MAX)].to_owned();
        Outcome { findings, metrics, summary, output, ..Outcome::default() }
    }

    fn judge_text(&self, answer: &Answer, text: &str, wrong: &mut Vec<String>) {
        if self.contains.is_none() && self.matches.is_none() {
            return;
        }
        let note = answer.note();
        if let Some(part) = self.contains.as_ref().filter(|part| !text.contains(part.as_str())) {
            wrong.push(format!("the body does not contain {part:?}{note}"));
        }
        if let Some(pattern) = self.matches.as_ref().filter(|pattern| !pattern.is_match(text)) {
            wrong.push(format!("the body does not match `{pattern}`{note}"));
        }
    }

    /// The number of `value`, where it is asked for.
    async fn judge_json(&self, answer: &Answer, text: &str, within: Duration) -> Result<Option<f64>, String> {
        if self.json.is_none() && self.value.is_none() {
            return Ok(None);
        }
        if answer.cut {
            let n = answer.body.len();
            return Err(format!("the body has more than {n} bytes, too many to be read as JSON; raise `max_body`"));
        }
        if let Some(filter) = &self.json {
            let outputs = apply(filter, answer, text, within).await?;
            let all_true = !outputs.is_empty() && outputs.iter().all(|v| *v == Value::Bool(true));
            if !all_true {
                return Err(format!("`{}` puts out {}, expected `true`", filter.text(), shown(&outputs)));
            }
        }
        let Some(filter) = &self.value else { return Ok(None) };
        let outputs = apply(filter, answer, text, within).await?;
        match outputs.as_slice() {
            [Value::Number(n)] if n.as_f64().is_some_and(f64::is_finite) => Ok(n.as_f64()),
            _ => Err(format!("`{}` puts out {}, expected one number", filter.text(), shown(&outputs))),
        }
    }
}

async fn apply(filter: &Filter, answer: &Answer, text: &str, within: Duration) -> Result<Vec<Value>, String> {
    filter.run(text.as_bytes(), within).await.map_err(|trouble| match trouble {
        Trouble::Input(why) => format!("the body is no JSON: {why}{}", answer.note()),
        Trouble::Filter(why) => format!("`{}` fails: {}", filter.text(), net::excerpt(why.as_bytes())),
    })
}

fn shown(outputs: &[Value]) -> String {
    if outputs.is_empty() {
        return "nothing".to_owned();
    }
    let text = outputs.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    format!("`{}`", net::excerpt(text.as_bytes()))
}

impl Answer {
    /// The body as text: by its byte order mark, else by the charset that the server names, else UTF-8 where it is valid, else
    /// by the charset that the page names.
    fn text(&self) -> Cow<'_, str> {
        let named = self.charset.as_ref().and_then(|name| Encoding::for_label(name.as_bytes()));
        let inside = || if std::str::from_utf8(&self.body).is_ok() { None } else { charset_inside(&self.body) };
        named.or_else(inside).unwrap_or(UTF_8).decode(&self.body).0
    }

    /// What one must know to understand why something was not found in the body.
    fn note(&self) -> String {
        if let Some(encoding) = &self.encoding {
            return format!(" (it is sent as `{encoding}`, although that was not asked for)");
        }
        if self.cut {
            return format!(" (in its first {} bytes; `max_body` says how many are read)", self.body.len());
        }
        match &self.charset {
            Some(name) if Encoding::for_label(name.as_bytes()).is_none() => {
                format!(" (it is read as UTF-8: its charset `{}` is unknown)", net::excerpt(name.as_bytes()))
            }
            _ => String::new(),
        }
    }

    /// The beginning of the body for people.
    fn show(&self, text: &str, chars_max: usize) -> String {
        if text.contains('\0') {
            return format!("(no text, {} bytes)", self.body.len());
        }
        let mut cut: String = text.trim().chars().take(chars_max).collect();
        if cut.len() < text.trim().len() {
            cut.push_str(" ...");
        }
        cut
    }
}
