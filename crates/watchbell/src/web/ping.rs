//! `/ping/NAME` and `/ping/KEY`: a report that any cron line can make with curl.
//!
//! `…/start` says that something began, `…/fail` and `…/CODE` (other than 0) that it failed, the bare address and `…/0` that it
//! is well. The body is its log. A check's `ping_key` is all that is needed; by its name the caller must be one who may
//! send reports. Keys are never logged nor answered.

use super::{
    call::{Call, peek, submit},
    door::{self, Ingest, Permit},
    operate::TEXT_BYTES_MAX,
    reply::{ApiError, text},
};
use crate::{api::path, api::view};
use axum::{http::StatusCode, response::Response};
use percent_encoding::percent_decode_str;
use watchbell_core::{
    engine::Input,
    model::{Exit, Finding, Name, Outcome, Severity},
};

/// What a ping says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signal {
    Start,
    /// With this exit code; `None` is a failure that has none.
    End(Option<u8>),
}

/// Takes a ping in.
///
/// # Errors
/// 404: there is no such check or key. 401, 403: by its name, the caller may not.
pub async fn ping(call: Call) -> Result<Response, ApiError> {
    let shared = call.shared.clone();
    let asked = call.uri.path().strip_prefix(path::PING_PREFIX).unwrap_or_default();
    let asked = percent_decode_str(asked).decode_utf8_lossy().trim_matches('/').to_owned();
    let (what, signal) = split(&asked);
    let known = shared.agent.settings().pings.check(what).cloned();
    let (permit, check, signal) = match known {
        Some(check) => (Permit::of_ping_key(&check), check, signal),
        None => {
            door::keep_images_out(&call)?;
            let permit = Permit::<Ingest>::of(&call)?;
            let (check, signal) = named(&call, asked).await?;
            (permit, check, signal)
        }
    };
    let log = call.text_up_to(TEXT_BYTES_MAX).await;
    let input = match signal {
        Signal::Start => Input::Begin { check, at: None },
        Signal::End(code) => Input::Report { check, at: None, outcome: Box::new(outcome(code, log)) },
    };
    submit(&shared.agent, &permit, input).await?;
    Ok(text(StatusCode::OK, "OK\n"))
}

/// The check that is meant by its name: the whole, if there is one, else what stands before the signal.
async fn named(call: &Call, asked: String) -> Result<(Name, Signal), ApiError> {
    let found = peek(&call.shared.agent, move |world| {
        let (what, signal) = split(&asked);
        let whole = view::reported(&world.policy, &asked).transpose().map(|name| (name, Signal::End(Some(0))));
        whole.or_else(|| view::reported(&world.policy, what).transpose().map(|name| (name, signal)))
    });
    match found.await? {
        Some((Ok(name), signal)) => Ok((name, signal)),
        Some((Err(several), _)) => Err(ApiError::bad(several, "give the whole name")),
        None => {
            let hint = "`watchbell checks` lists the checks; a key may have changed";
            Err(ApiError::not_found("there is no passive check of this name or key".to_owned(), hint))
        }
    }
}

/// What stands before the signal, and the signal.
fn split(asked: &str) -> (&str, Signal) {
    let split = asked.rsplit_once('/').and_then(|(what, word)| {
        let signal = match word {
            "start" => Signal::Start,
            "fail" => Signal::End(None),
            code if code.bytes().all(|b| b.is_ascii_digit()) => Signal::End(Some(code.parse().ok()?)),
            _ => return None,
        };
        Some((what, signal))
    });
    split.unwrap_or((asked, Signal::End(Some(0))))
}

fn outcome(code: Option<u8>, log: String) -> Outcome {
    let last = log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned();
    let with_last = |what: String| if last.is_empty() { what } else { format!("{what}: {last}") };
    let wrong = match code {
        Some(0) => None,
        Some(code) => Some(with_last(format!("exit code {code}"))),
        None => Some(with_last("it failed".to_owned())),
    };
    let well = if last.is_empty() { "ok".to_owned() } else { last.clone() };
    let finding = wrong.map(|text| Finding::new(Severity::Error, text).with_detail(log.trim_end()));
    Outcome {
        summary: finding.as_ref().map_or(well, |finding| finding.message.clone()),
        findings: finding.into_iter().collect(),
        output: log,
        exit: code.map(|code| Exit::Code(i32::from(code))),
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_stands_last() {
        for (asked, expect) in [
            ("backup", ("backup", Signal::End(Some(0)))),
            ("backup/start", ("backup", Signal::Start)),
            ("db/backup/fail", ("db/backup", Signal::End(None))),
            ("backup/0", ("backup", Signal::End(Some(0)))),
            ("backup/255", ("backup", Signal::End(Some(255)))),
            ("backup/256", ("backup/256", Signal::End(Some(0)))),
            ("backup/-1", ("backup/-1", Signal::End(Some(0)))),
            ("start", ("start", Signal::End(Some(0)))),
            ("", ("", Signal::End(Some(0)))),
        ] {
            assert_eq!(split(asked), expect, "{asked}");
        }
    }

    #[test]
    fn the_log_is_told_by_its_last_line() {
        let well = outcome(Some(0), "one\ntwo\n\n".into());
        assert_eq!((well.summary.as_str(), well.findings.len()), ("two", 0));
        assert_eq!(outcome(Some(0), String::new()).summary, "ok");
        let bad = outcome(Some(7), "one\nno space\n".into());
        assert_eq!(bad.findings[0].message, "exit code 7: no space");
        assert_eq!((bad.findings[0].detail.as_str(), bad.exit), ("one\nno space", Some(Exit::Code(7))));
        assert_eq!(outcome(None, String::new()).findings[0].message, "it failed");
    }
}
