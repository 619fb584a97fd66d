//! One HTTP call on behalf of a notifier, and what its answer means for the outbox.
//!
//! The table, the same for every kind: 2xx is taken; 408, 425, 429, 5xx, a time-out, a connection that fails or
//! breaks may pass; 3xx and every other 4xx will not. `Retry-After` (seconds or a date) is handed on. Redirects
//! are not followed: a secret must not be sent to where somebody else points. No reason ever holds a secret: what
//! was put into the [`Mask`] is replaced, and addresses are shown without their path.

use super::Attempt;
pub use crate::shared::mask::{MASKED, Mask, QUOTE_MAX_CHARS, place, url_problem};
use crate::shared::secret;
use reqwest::{RequestBuilder, header::HeaderMap};
use std::{
    error::Error,
    time::{Duration, Instant, SystemTime},
};
use watchbell_core::{config::Secret, model::Failure};

/// At most this much of an answer is read; the rest is left.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// The body of an answer whose status is there has this long.
const BODY_WAIT: Duration = Duration::from_secs(5);

/// Reads a secret and puts it into the mask.
///
/// # Errors
/// A failure that says what is missing: one that may pass for files, which are renewed while we run.
pub fn reveal(secret: &Secret, key: &str, mask: &mut Mask) -> Result<String, Failure> {
    match secret::read(secret) {
        Ok(text) => {
            mask.add(&text);
            Ok(text)
        }
        Err(why) if matches!(secret, Secret::File(_)) => Err(Failure::retry(format!("no `{key}`: {why}"))),
        Err(why) => Err(Failure::permanent(format!("no `{key}`: {why}; set it and restart the agent"))),
    }
}

/// What can be said of secrets without sending anything.
pub fn preflight<'s>(secrets: impl IntoIterator<Item = (&'static str, Option<&'s Secret>)>) -> Vec<String> {
    let one = |(key, secret): (&str, Option<&Secret>)| secret::read(secret?).err().map(|why| format!("`{key}`: {why}"));
    secrets.into_iter().filter_map(one).collect()
}

/// Reads a key that holds a plain base address (tests and stand-ins), without the slash at its end.
pub fn read_base(reader: &mut watchbell_core::config::Reader<'_>, key: &str, default: &str) -> String {
    let Some(text) = reader.string(key) else { return default.to_owned() };
    if let Some(why) = url_problem(&text) {
        reader.error(key, format!("`{key}` is no address: {why}"));
    }
    text.trim_end_matches('/').to_owned()
}

/// An answer of any status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of the body.
    pub body: String,
}

/// The same try, with the time that is left of it.
pub fn rest<'a>(attempt: &Attempt<'a>, started: Instant) -> Attempt<'a> {
    Attempt { timeout: attempt.timeout.saturating_sub(started.elapsed()), shared: attempt.shared }
}

/// Sends a request once and returns its answer whatever its status.
///
/// # Errors
/// A failure that may pass where there was no answer; one that will not where the request can't be made.
pub async fn call(attempt: &Attempt<'_>, request: RequestBuilder, to: &str, mask: &Mask) -> Result<Answer, Failure> {
    let (timeout, started) = (attempt.timeout, Instant::now());
    let mut response = match tokio::time::timeout(timeout, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(unsent(error, to, mask)),
        Err(_) => return Err(Failure::retry(format!("{to} did not answer within {} s", timeout.as_secs_f64()))),
    };
    let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
    let mut body = Vec::new();
    // The status is the answer: a body that breaks off or never ends does not change it.
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_MAX_BYTES - body.len())]);
            if body.len() == ANSWER_MAX_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(timeout.saturating_sub(started.elapsed()).min(BODY_WAIT), read).await;
    Ok(Answer { status, retry_after, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Sends a request once; only an answer that says "taken" is one.
///
/// # Errors
/// As the table of this file says.
pub async fn send(attempt: &Attempt<'_>, request: RequestBuilder, to: &str, mask: &Mask) -> Result<Answer, Failure> {
    judge(call(attempt, request, to, mask).await?, to, mask)
}

/// What an answer means.
///
/// # Errors
/// As the table of this file says.
pub fn judge(answer: Answer, to: &str, mask: &Mask) -> Result<Answer, Failure> {
    let said = match mask.quote(&answer.body) {
        quote if quote.is_empty() => String::new(),
        quote => format!(": {quote}"),
    };
    let status = answer.status;
    let hint = match status {
        200..=299 => return Ok(answer),
        300..=399 => "; redirects are not followed, set the address it points to",
        401 | 403 => "; check the secret and what it may do",
        404 | 410 => "; check the address",
        413 => "; the message is too long for it",
        _ => "",
    };
    let reason = format!("{to} answered {status}{said}{hint}");
    match status {
        408 | 425 | 429 | 500..=599 => Err(Failure::Retry { after: answer.retry_after, reason }),
        _ => Err(Failure::permanent(reason)),
    }
}

/// Why there was no answer.
fn unsent(error: reqwest::Error, to: &str, mask: &Mask) -> Failure {
    let error = error.without_url();
    let mut why = Vec::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(e) = next {
        why.push(e.to_string());
        next = e.source();
    }
    // The innermost says most: "connection refused", "certificate has expired".
    let why = mask.quote(&why.pop().unwrap_or_else(|| error.to_string()));
    if error.is_builder() {
        return Failure::permanent(format!("can't make the request to {to}: {why}"));
    }
    let what = if error.is_connect() { "can't connect to" } else { "no answer from" };
    Failure::retry(format!("{what} {to}: {why}"))
}

/// `Retry-After` as a length of time. A date counts from the answer's own `Date`, so that clocks that differ do
/// no harm; without one, from ours. How much of it is granted is the outbox's business.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wish = text("retry-after")?;
    Some(match wish.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let until = httpdate::parse_http_date(wish).ok()?;
            let now = text("date").and_then(|d| httpdate::parse_http_date(d).ok()).unwrap_or_else(SystemTime::now);
            until.duration_since(now).unwrap_or_default()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (list, expect) in [
            (vec![], None),
            (vec![("retry-after", "7")], Some(7)),
            (vec![("retry-after", "99999999")], Some(99_999_999)),
            (vec![("retry-after", "soon")], None),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), date], Some(60)),
            (vec![("retry-after", "Sunday, 06-Nov-94 08:50:37 GMT"), date], Some(60)),
            (vec![("retry-after", "Sun Nov  6 08:50:37 1994"), date], Some(60)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:40:37 GMT"), date], Some(0)),
        ] {
            assert_eq!(retry_after(&headers(&list)), expect.map(Duration::from_secs), "{list:?}");
        }
    }

    #[test]
    fn statuses_mean_taken_later_or_never() {
        let to = "https://example.com";
        for (statuses, expect) in [
            (&[200, 201, 202, 204][..], "taken"),
            (&[408, 425, 429, 500, 502, 503, 504][..], "later"),
            (&[301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422][..], "never"),
        ] {
            for status in statuses {
                let answer = Answer { status: *status, retry_after: Some(Duration::from_secs(3)), body: "why".into() };
                let got = match judge(answer, to, &Mask::default()) {
                    Ok(_) => "taken",
                    Err(Failure::Retry { after, reason }) => {
                        assert_eq!(after, Some(Duration::from_secs(3)));
                        assert!(reason.contains(&format!("{to} answered {status}: why")), "{reason}");
                        "later"
                    }
                    Err(Failure::Permanent { .. }) => "never",
                };
                assert_eq!(got, expect, "{status}");
            }
        }
    }

    #[test]
    fn secrets_are_masked_whole_and_in_parts() {
        let mut mask = Mask::default();
        mask.add("tok");
        mask.add("token-123");
        mask.add_url("https://user:hunter22@hooks.example.com/services/T00/XXXXSECRET?key=abcdef1&a=b");
        let said = mask.clean("no token-123, path /services/T00/XXXXSECRET, XXXXSECRET, hunter22, abcdef1, a=b");
        assert_eq!(said, "no ***, path ***, ***, ***, ***, a=b");
        assert_eq!(place("https://user:pw@h.example:8443/secret?x=y"), "https://h.example:8443");
        assert_eq!(place("not an address"), "***");
        assert!(!format!("{mask:?}").contains("token"));
        let mut odd = Mask::default();
        odd.add("a+b \"c\" ");
        let said = odd.clean(r#"{"a":"a+b \"c\" ", "b": "a%2Bb+%22c%22+", "c": "a+b "c""}"#);
        assert_eq!(said, r#"{"a":"***", "b": "***", "c": "***"}"#);
    }
}
