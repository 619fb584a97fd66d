//! What can be done: every route that changes something. What comes in is checked for what would not be
//! plain text in a name, a log line or a terminal; whether it makes sense is the engine's to say.

use super::{
    call::{Call, Shared, peek, submit},
    door::{Grants, Ingest, Operate, Permit},
    read::missing,
    reply::{ApiError, json},
};
use crate::{
    api::{
        Accepted, AckRequest, MessageRequest, ReloadView, ReportFinding, ReportRequest, RunRequest, SquelchRequest,
        UnackQuery, UnsquelchQuery,
        view::{self, full_name},
    },
    run::{Agent, queue::Waiting},
};
use axum::{http::StatusCode, response::Response};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use watchbell_core::{
    engine::{Input, Message, World},
    model::{Exit, Finding, Metric, Name, Outcome, Severity, Timestamp},
};

type Answer = Result<Response, ApiError>;

/// Names, regular expressions, who, topics and keys are at most this long.
const WORD_BYTES_MAX: usize = 1024;
/// Reasons, comments and texts are at most this long.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;
/// A report holds at most so many findings, and so many metrics.
const REPORT_ROWS_MAX: usize = 1000;
/// A message holds at most so many labels, and goes to so many notifiers.
const MESSAGE_ROWS_MAX: usize = 64;
/// Reading the config again may take this long.
const RELOAD_WITHIN: Duration = Duration::from_secs(30);

/// A text of one line.
fn word(field: &str, text: &str) -> Result<(), ApiError> {
    if let Some(odd) = text.chars().find(|c| c.is_control()) {
        return Err(ApiError::bad(format!("`{field}` holds the control character {odd:?}"), "leave it out"));
    }
    bounded(field, text, WORD_BYTES_MAX)
}

/// A text of many lines.
fn lines(field: &str, text: &str) -> Result<(), ApiError> {
    bounded(field, text, TEXT_BYTES_MAX)
}

fn bounded(field: &str, text: &str, bytes_max: usize) -> Result<(), ApiError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let error = format!("`{field}` is {} bytes long; at most {bytes_max} are taken", text.len());
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error, "cut it"))
}

fn few(field: &str, count: usize, max: usize) -> Result<(), ApiError> {
    if count <= max {
        return Ok(());
    }
    let error = format!("`{field}` has {count} entries; at most {max} are taken");
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send fewer"))
}

fn who<S: Grants>(permit: &Permit<S>, by: Option<String>) -> Result<String, ApiError> {
    word("by", by.as_deref().unwrap_or_default())?;
    Ok(permit.who(by))
}

/// Until when, from how long or until when; it must be in the future.
fn end(for_seconds: Option<u64>, until: Option<Timestamp>) -> Result<Option<Timestamp>, ApiError> {
    let now = crate::run::clock::now();
    let until = match (for_seconds, until) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad("`for_seconds` and `until` don't go together", "give one of them"));
        }
        (Some(seconds), None) => Some((now + Duration::from_secs(seconds)).min(Timestamp::MAX)),
        (None, until) => until,
    };
    match until {
        Some(until) if until <= now => {
            Err(ApiError::bad(format!("it would have ended at {until}"), "give a time to come"))
        }
        until => Ok(until),
    }
}

async fn accepted<S: Grants>(shared: &Shared, permit: &Permit<S>, input: Input) -> Answer {
    let answer = submit(&shared.agent, permit, input).await?;
    Ok(json(StatusCode::OK, &Accepted { events: answer.events, warning: answer.warned }))
}

/// The full name of a fault that stands.
async fn standing_fault<S: Grants>(shared: &Shared, _: &Permit<S>, text: String) -> Result<Name, ApiError> {
    word("fault", &text)?;
    peek(&shared.agent, move |world| {
        let name = full_name(&world.policy.agent.name, &text);
        let faults = &world.state.faults;
        if faults.contains_key(&name) { Ok(name) } else { Err(missing("fault", &name, faults.keys())) }
    })
    .await?
}

/// The full name of a check that there is.
async fn known_check<S: Grants>(shared: &Shared, _: &Permit<S>, text: String) -> Result<Name, ApiError> {
    word("check", &text)?;
    peek(&shared.agent, move |world| {
        let name = full_name(&world.policy.agent.name, &text);
        let checks = &world.policy.checks;
        if checks.contains_key(&name) { Ok(name) } else { Err(missing("check", &name, checks.keys())) }
    })
    .await?
}

/// Keeps alerts quiet.
pub async fn squelch(call: Call, permit: Permit<Operate>) -> Answer {
    let shared = call.shared.clone();
    let request: SquelchRequest = call.json().await?;
    word("regex", &request.regex)?;
    word("reason", &request.reason)?;
    word("every", request.every.as_deref().unwrap_or_default())?;
    view::regex(&request.regex).map_err(|error| ApiError::bad(error, "mend the regular expression"))?;
    let input = Input::Squelch {
        regex: request.regex,
        reason: request.reason,
        by: who(&permit, request.by)?,
        until: end(request.for_seconds, request.until)?,
        permanent: request.permanent,
        every: request.every,
    };
    accepted(&shared, &permit, input).await
}

/// Lifts a squelch.
pub async fn unsquelch(call: Call, permit: Permit<Operate>) -> Answer {
    let UnsquelchQuery { regex, by } = call.query()?;
    let by = who(&permit, by)?;
    let (asked, shared) = (regex.clone(), &call.shared);
    if !peek(&shared.agent, move |world| world.state.squelches.contains_key(&asked)).await? {
        let hint = "`watchbell squelches` lists those there are";
        return Err(ApiError::not_found(format!("there is no squelch `{regex}`"), hint));
    }
    accepted(shared, &permit, Input::Unsquelch { regex, by }).await
}

/// Takes care of a fault.
pub async fn acknowledge(call: Call, permit: Permit<Operate>) -> Answer {
    let shared = call.shared.clone();
    let request: AckRequest = call.json().await?;
    word("comment", &request.comment)?;
    let input = Input::Acknowledge {
        fault: standing_fault(&shared, &permit, request.fault).await?,
        by: who(&permit, request.by)?,
        comment: request.comment,
        until: end(request.for_seconds, request.until)?,
    };
    accepted(&shared, &permit, input).await
}

/// Withdraws an acknowledgement.
pub async fn unacknowledge(call: Call, permit: Permit<Operate>) -> Answer {
    let UnackQuery { fault, by } = call.query()?;
    let fault = standing_fault(&call.shared, &permit, fault).await?;
    let by = who(&permit, by)?;
    accepted(&call.shared, &permit, Input::Unacknowledge { fault, by }).await
}

/// Runs a check now.
pub async fn run(call: Call, permit: Permit<Operate>) -> Answer {
    let shared = call.shared.clone();
    let request: RunRequest = call.json().await?;
    let check = known_check(&shared, &permit, request.check).await?;
    let by = who(&permit, request.by)?;
    accepted(&shared, &permit, Input::RunNow { check, by }).await
}

/// Reads the config again.
pub async fn reload(call: Call, _: Permit<Operate>) -> Answer {
    let agent = &call.shared.agent;
    let (done, wait) = oneshot::channel();
    let ending = || ApiError::unavailable("the agent is starting or ending");
    let work = async {
        agent.reloads.send(done).await.map_err(|_| ending())?;
        wait.await.map_err(|_| ending())
    };
    tokio::time::timeout(RELOAD_WITHIN, work)
        .await
        .map_err(|_| ApiError::unavailable(format!("the config was not read within {RELOAD_WITHIN:?}")))??;
    let config = Arc::clone(&agent.settings());
    let checks = peek(agent, |world| world.policy.checks.len()).await?;
    call.apart(move || {
        let problems = &config.problems;
        let view = ReloadView {
            config_errors: problems.errors(),
            config_warnings: problems.list.len() - problems.errors(),
            checks,
            problems: view::problems(problems),
        };
        Ok(json(StatusCode::OK, &view))
    })
    .await
}

/// Takes a report on a passive check in.
pub async fn report(call: Call, permit: Permit<Ingest>) -> Answer {
    let shared = call.shared.clone();
    let input = addressed(&shared.agent, input_of(Waiting::Report(call.json().await?), None)?).await?;
    accepted(&shared, &permit, input).await
}

fn outcome(request: ReportRequest) -> Result<Outcome, ApiError> {
    few("findings", request.findings.len(), REPORT_ROWS_MAX)?;
    few("metrics", request.metrics.len(), REPORT_ROWS_MAX)?;
    lines("text", &request.text)?;
    bounded("output", &request.output, TEXT_BYTES_MAX)?;
    request.metrics.iter().try_for_each(|metric| word("metrics.name", &metric.name))?;
    let findings: Vec<Finding> = request.findings.into_iter().map(finding).collect::<Result<_, _>>()?;
    let value = request.value.map(|value| Metric::new("", value));
    let summary = request.text.lines().next().map(str::to_owned);
    let summary = summary.filter(|text| !text.trim().is_empty());
    Ok(Outcome {
        summary: summary.or_else(|| findings.first().map(|f| f.message.clone())).unwrap_or_else(|| "ok".into()),
        findings,
        metrics: value.into_iter().chain(request.metrics).collect(),
        output: if request.output.is_empty() { request.text } else { request.output },
        exit: request.exit.map(Exit::Code),
        took: Duration::from_millis(request.took_ms),
        ..Outcome::default()
    })
}

fn finding(finding: ReportFinding) -> Result<Finding, ApiError> {
    let part = finding.part.filter(|part| !part.is_empty());
    if let Some(part) = &part {
        word("findings.part", part)?;
        if part.starts_with('/') {
            let error = format!("`findings.part` is {part:?}: a report speaks of parts of its own check");
            return Err(ApiError::bad(error, "name it without leading slashes"));
        }
    }
    if finding.severity == Severity::Info {
        return Err(ApiError::bad("`findings.severity` is info: nothing is wrong then", "leave the finding out"));
    }
    if finding.message.trim().is_empty() {
        return Err(ApiError::bad("`findings.message` is empty", "say what is wrong"));
    }
    lines("findings.message", &finding.message)?;
    lines("findings.detail", &finding.detail)?;
    Ok(Finding { part, ..Finding::new(finding.severity, finding.message).with_detail(finding.detail) })
}

/// Takes a message in.
pub async fn message(call: Call, permit: Permit<Ingest>) -> Answer {
    let shared = call.shared.clone();
    let input = input_of(Waiting::Message(call.json().await?), None)?;
    accepted(&shared, &permit, input).await
}

fn to_message(request: MessageRequest, at: Option<Timestamp>) -> Result<Message, ApiError> {
    let option = |text: &Option<String>| text.clone().unwrap_or_default();
    for (field, text) in [
        ("name", &request.name),
        ("source", &request.source),
        ("topic", &option(&request.topic)),
        ("link", &option(&request.link)),
        ("id", &option(&request.id)),
    ] {
        word(field, text)?;
    }
    lines("text", &request.text)?;
    few("labels", request.labels.len(), MESSAGE_ROWS_MAX)?;
    few("notify", request.notify.len(), MESSAGE_ROWS_MAX)?;
    request.labels.iter().try_for_each(|(key, value)| word("labels", key).and_then(|()| word("labels", value)))?;
    for (field, text) in [("name", &request.name), ("text", &request.text), ("source", &request.source)] {
        if text.trim().is_empty() {
            return Err(ApiError::bad(format!("`{field}` is empty"), "say what it is about"));
        }
    }
    if request.source.contains('/') {
        return Err(ApiError::bad("`source` holds a slash", "it is one part of a name, such as `send`"));
    }
    Ok(Message {
        at,
        source: request.source,
        name: request.name,
        severity: request.severity,
        state: request.state,
        topic: request.topic,
        text: request.text,
        link: request.link,
        labels: request.labels,
        notify: request.notify,
        id: request.id,
    })
}

/// What is handed in, checked; `at` where it waited for the agent. Which check a report means is not looked for yet.
///
/// # Errors
/// 400, 413: it holds what can't be.
pub fn input_of(waiting: Waiting, at: Option<Timestamp>) -> Result<Input, ApiError> {
    match waiting {
        Waiting::Message(request) => Ok(Input::Message(Box::new(to_message(request, at)?))),
        Waiting::Report(request) => {
            word("check", &request.check)?;
            let check = Name::new(&request.check);
            Ok(Input::Report { check, at, outcome: Box::new(outcome(request)?) })
        }
    }
}

/// The same with the full name of the check that a report means.
async fn addressed(agent: &Agent, input: Input) -> Result<Input, ApiError> {
    let Input::Report { check: text, at, outcome } = input else { return Ok(input) };
    let find = move |world: &World| match view::reported(&world.policy, &text) {
        Ok(Some(check)) => Ok(check),
        Ok(None) => Err(missing("check", &full_name(&world.policy.agent.name, &text), world.policy.checks.keys())),
        Err(several) => Err(ApiError::bad(several, "give the whole name")),
    };
    Ok(Input::Report { check: peek(agent, find).await??, at, outcome })
}

/// Takes in what waited in the queue: whoever can write there needs no permit.
///
/// # Errors
/// As the API's.
pub async fn take_queued(agent: &Agent, waiting: Waiting, at: Option<Timestamp>) -> Result<(), ApiError> {
    let input = addressed(agent, input_of(waiting, at)?).await?;
    match agent.handle.submit(input).await?.refused {
        Some(text) => Err(ApiError::refused(&text)),
        None => Ok(()),
    }
}
