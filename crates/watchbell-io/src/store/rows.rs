//! Events and decisions as columns, and back. What can't be read back comes as what its columns still say, with
//! a text that says so: the journal never passes over anything in silence.

use rusqlite::{CachedStatement, Row, params};
use watchbell_core::model::{Decision, Event, EventKind, EventState, Name, Severity, Timestamp, Verdict};

/// The columns of an event, in the order of [`read_event`].
pub(super) const EVENT: &str = "seq, at, kind, state, severity, name, key, json";
/// The columns of a decision, in the order of [`read_decision`].
pub(super) const DECISION: &str = "at, name, episode, notifier, rule, verdict, text, delivery, event";

/// A count as SQLite keeps it. No count comes near the end of the range.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A count as SQLite kept it.
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Writes an event; `put` has the columns of [`EVENT`].
pub(super) fn write_event(put: &mut CachedStatement<'_>, event: &Event) -> rusqlite::Result<usize> {
    let json = serde_json::to_string(event).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    put.execute(params![
        signed(event.seq),
        event.at.as_micros(),
        kind_word(event.kind),
        state_word(event.state),
        event.severity.number(),
        event.name.as_str(),
        event.key,
        json
    ])
}

/// Writes a decision; `put` has `id` and the columns of [`DECISION`].
pub(super) fn write_decision(put: &mut CachedStatement<'_>, id: u64, d: &Decision) -> rusqlite::Result<usize> {
    put.execute(params![
        signed(id),
        d.at.as_micros(),
        d.name.as_str(),
        signed(d.episode),
        d.notifier.as_deref(),
        d.rule,
        verdict_word(d.verdict),
        d.text,
        d.delivery,
        d.event.map(signed)
    ])
}

/// An event, or why its JSON can't be read.
pub(super) fn parse_event(row: &Row<'_>) -> rusqlite::Result<Result<Event, String>> {
    let parsed = match row.get_ref(7)?.as_bytes_or_null() {
        Ok(json) => serde_json::from_slice(json.unwrap_or_default()).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    Ok(parsed)
}

/// An event; where its JSON can't be read, what its columns say.
pub(super) fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let why = match parse_event(row)? {
        Ok(event) => return Ok(event),
        Err(why) => why,
    };
    let at = Timestamp::from_micros(row.get(1)?);
    Ok(Event {
        seq: unsigned(row.get(0)?),
        at,
        received_at: at,
        kind: kind_of(&lossy(row, 2)?),
        state: state_of(&lossy(row, 3)?),
        severity: Severity::from_number(row.get(4)?).unwrap_or(Severity::Info),
        unknown: false,
        source: String::new(),
        name: Name::from(lossy(row, 5)?),
        key: lossy(row, 6)?,
        host: String::new(),
        service: String::new(),
        topic: None,
        text: format!("the rest of this event can't be read: {why}"),
        detail: String::new(),
        now: None,
        taken: None,
        description: None,
        link: None,
        runbook: None,
        labels: Default::default(),
        since: None,
        attempt: None,
        caused_by: None,
        original: None,
    })
}

/// How long an event is.
pub(super) fn event_bytes(row: &Row<'_>) -> rusqlite::Result<usize> {
    Ok(row.get_ref(7)?.as_bytes_or_null().ok().flatten().map_or(0, <[u8]>::len))
}

/// A decision.
pub(super) fn read_decision(row: &Row<'_>) -> rusqlite::Result<Decision> {
    let mut text = lossy(row, 6)?;
    let word = lossy(row, 5)?;
    let verdict = verdict_of(&word).unwrap_or_else(|| {
        text.push_str(&format!(" (its verdict `{word}` can't be read)"));
        Verdict::Hold
    });
    Ok(Decision {
        at: Timestamp::from_micros(row.get(0)?),
        name: Name::from(lossy(row, 1)?),
        episode: unsigned(row.get(2)?),
        notifier: row.get::<_, Option<String>>(3)?.map(Name::from),
        rule: lossy(row, 4)?,
        verdict,
        text,
        delivery: row.get(7)?,
        event: row.get::<_, Option<i64>>(8)?.map(unsigned),
    })
}

/// A text column, with what is not UTF-8 replaced.
pub(super) fn lossy(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes_or_null().ok().flatten().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The word of a kind, as in JSON.
pub(super) const fn kind_word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Fault => "fault",
        EventKind::Alarm => "alarm",
        EventKind::Job => "job",
        EventKind::Message => "message",
        EventKind::Operator => "operator",
        EventKind::Agent => "agent",
        EventKind::Result => "result",
    }
}

fn kind_of(word: &str) -> EventKind {
    use EventKind::{Agent, Alarm, Fault, Job, Message, Operator, Result};
    [Fault, Alarm, Job, Message, Operator, Agent, Result].into_iter().find(|k| kind_word(*k) == word).unwrap_or(Agent)
}

const fn state_word(state: EventState) -> &'static str {
    match state {
        EventState::Problem => "problem",
        EventState::Update => "update",
        EventState::Recovery => "recovery",
        EventState::Info => "info",
    }
}

fn state_of(word: &str) -> EventState {
    use EventState::{Info, Problem, Recovery, Update};
    [Problem, Update, Recovery, Info].into_iter().find(|s| state_word(*s) == word).unwrap_or(Info)
}

const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Tell => "tell",
        Verdict::Hold => "hold",
        Verdict::Drop => "drop",
    }
}

fn verdict_of(word: &str) -> Option<Verdict> {
    [Verdict::Tell, Verdict::Hold, Verdict::Drop].into_iter().find(|v| verdict_word(*v) == word)
}
