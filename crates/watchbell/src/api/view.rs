//! How what the API shows follows from policy and state. Pure: the agent calls it on the world it has, the
//! command line on a state read from disk while no agent runs.

use super::{
    AckView, CheckStatus, CheckView, EventsQuery, FaultView, FaultsQuery, HeldView, LastRunView, NotifierView,
    ProblemLevel, ProblemView, RelatedView, SlowView, SquelchPreview, SquelchView, StatusView, ToldView, WaitingView,
    WhyEntryView, WhyIs, WhyView,
};
use regex::{Regex, RegexBuilder};
use std::{collections::BTreeMap, ops::Bound, time::Duration};
use watchbell_core::{
    config::{CheckPolicy, Level, Policy, Problem, Problems, source_line, tree::Span},
    engine::{State, ToldKey},
    model::{Fault, Hardness, Held, Name, Severity, Timestamp},
    state::{
        check::{CheckState, LastRun},
        outbox::Queued,
        squelch::Squelch,
    },
};
use watchbell_io::store::{Cut, EVENTS_MAX, EventQuery, NameMatch, Why, WhyEntry, WhyKind};

/// A regular expression that somebody searches with may take this many bytes once compiled.
pub const REGEX_SIZE_MAX: usize = 1 << 20;
/// A preview names at most this many checks.
const PREVIEW_CHECKS_MAX: usize = 100;

/// A regular expression as squelches and queries use it: searched anywhere.
///
/// # Errors
/// Why it is none.
pub fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).build().map_err(|error| {
        // The library draws the place in several lines; its last one says what is wrong.
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("`{text}` is not a regular expression: {why}")
    })
}

/// Squelches, compiled, to find which one matches a name.
pub struct Squelched(Vec<(String, Regex)>);

impl Squelched {
    /// Those of a state.
    pub fn of(state: &State) -> Squelched {
        // One that comes again holds when the engine says so: that is on the fault.
        let always = state.squelches.values().filter(|squelch| squelch.every.is_none());
        Squelched::new(always.map(|squelch| squelch.regex.clone()))
    }

    /// As they were compiled elsewhere.
    pub fn from_compiled(squelches: Vec<(String, Regex)>) -> Squelched {
        Squelched(squelches)
    }

    /// From the texts of regular expressions; what is none matches nothing.
    fn new(texts: impl IntoIterator<Item = String>) -> Squelched {
        Squelched(texts.into_iter().filter_map(|text| regex(&text).ok().map(|regex| (text, regex))).collect())
    }

    /// The first that matches.
    pub fn by(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(_, regex)| regex.is_match(name)).map(|(text, _)| text.as_str())
    }
}

/// One fault.
pub fn fault(policy: &Policy, state: &State, squelched: &Squelched, fault: &Fault) -> FaultView {
    let check = policy.checks.get(&fault.check);
    FaultView {
        name: fault.name.clone(),
        severity: fault.severity,
        unknown: fault.unknown,
        state: fault.state,
        message: fault.message.clone(),
        detail: fault.detail.clone(),
        attempt: fault.attempt,
        attempts: fault.attempts,
        since: fault.since,
        updated: fault.updated,
        told: told(state, fault),
        squelched_by: squelched.by(&fault.name).map(str::to_owned).or_else(|| match &fault.held {
            Some(Held::Squelch { regex }) => Some(regex.clone()),
            _ => None,
        }),
        acknowledged_by: fault.acknowledged.as_ref().map(|a| a.by.clone()),
        acknowledged: fault.acknowledged.as_ref().map(|a| AckView {
            by: a.by.clone(),
            comment: a.comment.clone(),
            at: a.at,
            until: a.until,
        }),
        held: fault.held.as_ref().map(|rule| held(state, fault, rule)),
        held_for: fault
            .held_for
            .iter()
            .map(|(notifier, rule)| HeldView { notifier: Some(notifier.clone()), ..held(state, fault, rule) })
            .collect(),
        stale: fault.stale,
        check: fault.check.clone(),
        episode: fault.episode,
        description: check.and_then(|c| c.description.clone()),
        runbook: check.and_then(|c| c.runbook.clone()),
    }
}

fn told(state: &State, fault: &Fault) -> Vec<ToldView> {
    let first = ToldKey { fault: fault.name.clone(), notifier: Name::new(""), target: String::new() };
    let rows = state.told.range((Bound::Included(first), Bound::Unbounded));
    rows.take_while(|(key, _)| key.fault == fault.name)
        .filter(|(_, told)| told.episode == fault.episode)
        .map(|(key, told)| ToldView {
            notifier: key.notifier.clone(),
            target: key.target.clone(),
            at: told.at,
            severity: told.severity,
            message: told.message.clone(),
            receipt: told.receipt.as_ref().and_then(|r| r.id.clone()),
        })
        .collect()
}

fn held(state: &State, fault: &Fault, held: &Held) -> HeldView {
    let view = |rule: &str, text: String| HeldView { rule: rule.into(), text, until: None, notifier: None };
    let till = |until: Option<Timestamp>| until.map_or_else(String::new, |at| format!(" until {at}"));
    match held {
        Held::Squelch { regex } => match state.squelches.get(regex) {
            Some(Squelch { by, reason, until, every, .. }) => {
                let every = every.as_ref().map_or_else(String::new, |every| format!(" on {every}"));
                let text = format!("{by} squelched `{regex}`{every}{}: {reason}", till(*until));
                HeldView { until: *until, ..view("squelch", text) }
            }
            None => view("squelch", format!("the squelch `{regex}` matches its name")),
        },
        Held::Parent { parent } => view("parent", format!("unreachable: `{parent}`, on which it depends, is failing")),
        Held::Acknowledged { by } => {
            let ack = fault.acknowledged.as_ref();
            let comment = ack.map(|a| a.comment.as_str()).filter(|comment| !comment.is_empty());
            let (until, comment) = (ack.and_then(|a| a.until), comment.map_or_else(String::new, |c| format!(": {c}")));
            let text = format!("{by} takes care of it{}{comment}", till(until));
            HeldView { until, ..view("acknowledged", text) }
        }
        Held::Severity { from } => view("severity", format!("it is {}, told from {from} on", fault.severity)),
        Held::Flapping => view("flapping", "its check changes state too often".into()),
        Held::Hours { until } => {
            let from = until.map_or_else(String::new, |at| format!(" before {at}"));
            HeldView { until: *until, ..view("hours", format!("nobody is to be told{from}")) }
        }
    }
}

/// Which faults are asked for.
pub struct FaultFilter {
    pattern: Option<Regex>,
    check: Option<Name>,
    severity: Option<Severity>,
    state: Option<Hardness>,
}

impl FaultFilter {
    /// What a query asks for.
    ///
    /// # Errors
    /// Its regular expression is none.
    pub fn new(agent: &Name, query: &FaultsQuery) -> Result<FaultFilter, String> {
        Ok(FaultFilter {
            pattern: query.regex.as_deref().map(regex).transpose()?,
            check: query.check.as_deref().map(|check| full_name(agent, check)),
            severity: query.severity,
            state: query.state,
        })
    }

    /// Whether it asks for this one.
    pub fn takes(&self, fault: &Fault) -> bool {
        self.pattern.as_ref().is_none_or(|p| p.is_match(&fault.name))
            && self.check.as_ref().is_none_or(|check| *check == fault.check)
            && self.severity.is_none_or(|least| fault.severity >= least)
            && self.state.is_none_or(|state| fault.state == state)
    }
}

/// The faults that are asked for, the worst first, of those the newest.
///
/// # Errors
/// The regular expression is none.
pub fn faults(policy: &Policy, state: &State, query: &FaultsQuery) -> Result<Vec<FaultView>, String> {
    let filter = FaultFilter::new(&policy.agent.name, query)?;
    let squelched = Squelched::of(state);
    let wanted = state.faults.values().filter(|f| filter.takes(f));
    let mut views: Vec<FaultView> = wanted.map(|f| fault(policy, state, &squelched, f)).collect();
    worst_first(&mut views);
    Ok(views)
}

/// The worst first, of those the newest.
pub fn worst_first(faults: &mut [FaultView]) {
    faults.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.since.cmp(&a.since)).then(a.name.cmp(&b.name)));
}

/// What only a running agent knows of a check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// Whether it runs now.
    pub running: bool,
}

/// One check.
pub fn check<'f>(
    policy: &CheckPolicy,
    state: Option<&CheckState>,
    faults: impl Iterator<Item = &'f Fault>,
    live: Live,
) -> CheckView {
    let last = state.and_then(|s| s.last.as_ref());
    let slots = policy.passive.as_ref().and_then(|passive| passive.slots.as_ref());
    let mut view = CheckView {
        name: policy.name.clone(),
        kind: policy.kind.into(),
        file: policy.file.clone(),
        line: policy.line,
        schedule: policy.schedule.as_ref().or(slots).map(ToString::to_string),
        next_due: live.next_due,
        state: if last.is_some() { CheckStatus::Ok } else { CheckStatus::Pending },
        severity: None,
        running: live.running,
        last: last.map(|last| last_run(policy, last)),
        faults: Vec::new(),
        retry: policy.retry,
        timeout_seconds: policy.timeout.as_secs_f64(),
        refresh_within_seconds: policy.passive.as_ref().map(|passive| passive.within.as_secs_f64()),
        notify: policy.notify.clone(),
        parents: policy.parents.clone(),
        alert_from: policy.alert_from,
        flapping: state.and_then(|s| s.flapping).is_some_and(|f| f.flapping),
        description: policy.description.clone(),
        runbook: policy.runbook.clone(),
        link: policy.link.clone(),
        command: policy.shown.clone(),
        labels: policy.labels.clone(),
    };
    for fault in faults {
        let worse = if fault.state == Hardness::Hard { CheckStatus::Hard } else { CheckStatus::Soft };
        view.state = if view.state == CheckStatus::Hard { CheckStatus::Hard } else { worse };
        view.severity = view.severity.max(Some(fault.severity));
        view.faults.push(fault.name.clone());
    }
    view
}

fn last_run(policy: &CheckPolicy, last: &LastRun) -> LastRunView {
    LastRunView {
        started: last.started,
        took_ms: millis(last.took),
        late_ms: millis(last.late),
        worst: last.worst,
        summary: last.summary.clone(),
        value: last.value,
        unit: policy.unit.clone(),
        exit: last.exit,
    }
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// All checks, by name, as a state that no agent runs on shows them.
pub fn checks(policy: &Policy, state: &State) -> Vec<CheckView> {
    let mut faults: BTreeMap<&Name, Vec<&Fault>> = BTreeMap::new();
    for fault in state.faults.values() {
        faults.entry(&fault.check).or_default().push(fault);
    }
    let faults_of = |name| faults.get(name).into_iter().flatten().copied();
    let all = policy.checks.values();
    all.map(|c| check(c, state.checks.get(&c.name), faults_of(&c.name), Live::default())).collect()
}

/// How long a check's runs take; nothing before its first run.
pub fn slow(name: &Name, state: &CheckState) -> Option<SlowView> {
    let durations = &state.durations;
    (durations.count > 0).then(|| SlowView {
        name: name.clone(),
        count: durations.count,
        median_ms: durations.quantile_ms(0.5),
        p99_ms: durations.quantile_ms(0.99),
        max_ms: durations.max_ms,
        last_ms: state.last.as_ref().map(|last| millis(last.took)),
    })
}

/// The slowest checks, by the time that 99 of 100 runs stay below.
pub fn slowest(mut all: Vec<SlowView>, limit: usize) -> Vec<SlowView> {
    let key = |s: &SlowView| (s.p99_ms, s.median_ms, s.max_ms);
    all.sort_by(|a, b| key(b).cmp(&key(a)).then(a.name.cmp(&b.name)));
    all.truncate(limit);
    all
}

/// All squelches.
pub fn squelches(state: &State) -> Vec<SquelchView> {
    state.squelches.values().map(|s| squelch(s, state.faults.keys())).collect()
}

/// One squelch, and how many of these faults it hides.
pub fn squelch<'n>(squelch: &Squelch, faults: impl Iterator<Item = &'n Name>) -> SquelchView {
    let compiled = regex(&squelch.regex).ok();
    let hides = compiled.map_or(0, |r| faults.filter(|name| r.is_match(name)).count());
    SquelchView {
        regex: squelch.regex.clone(),
        reason: squelch.reason.clone(),
        by: squelch.by.clone(),
        at: squelch.at,
        until: squelch.until,
        permanent: squelch.permanent,
        every: squelch.every.clone(),
        hides,
    }
}

/// What a squelch would keep quiet, as a state that no agent runs on shows it.
///
/// # Errors
/// The regular expression is none.
pub fn preview(policy: &Policy, state: &State, text: &str) -> Result<SquelchPreview, String> {
    let pattern = regex(text)?;
    let squelched = Squelched::of(state);
    let matching = state.faults.values().filter(|f| pattern.is_match(&f.name));
    let faults = matching.map(|f| fault(policy, state, &squelched, f)).collect();
    Ok(preview_of(text, faults, policy.checks.keys().filter(|name| pattern.is_match(name)).cloned().collect()))
}

/// What a squelch would keep quiet, from the faults and checks that it matches.
pub fn preview_of(text: &str, mut faults: Vec<FaultView>, mut checks: Vec<Name>) -> SquelchPreview {
    worst_first(&mut faults);
    let checks_count = checks.len();
    checks.truncate(PREVIEW_CHECKS_MAX);
    SquelchPreview { regex: text.into(), faults, checks_count, checks }
}

/// All notifiers.
pub fn notifiers(policy: &Policy, state: &State) -> Vec<NotifierView> {
    let mut waiting: BTreeMap<&Name, usize> = BTreeMap::new();
    for queued in state.outbox.values() {
        *waiting.entry(&queued.delivery.notifier).or_default() += 1;
    }
    let view = |name: &Name| {
        let policy = policy.notifiers.get(name);
        let state = state.notifiers.get(name).cloned().unwrap_or_default();
        NotifierView {
            name: name.clone(),
            kind: policy.map_or_else(String::new, |p| p.kind.into()),
            targets: policy.map(|p| p.targets.clone()).unwrap_or_default(),
            fallback: policy.and_then(|p| p.fallback.clone()),
            alert_from: policy.and_then(|p| p.alert_from),
            hours: policy.and_then(|p| p.hours.as_ref()).map(ToString::to_string),
            recoveries: policy.is_none_or(|p| p.recoveries),
            waiting: waiting.get(name).copied().unwrap_or(0),
            delivered: state.delivered,
            last_success: state.last_success,
            failing_since: state.failing_since,
            failures: state.failures,
            last_failure: state.last_failure,
            not_before: state.not_before,
            given_up: state.given_up + state.refusing.len() as u64,
        }
    };
    policy.notifiers.keys().map(view).collect()
}

/// How the agent is doing, as far as policy and state know; who runs it adds what only a running agent knows.
pub fn status(policy: &Policy, state: &State, problems: &Problems, now: Timestamp) -> StatusView {
    let mut faults: BTreeMap<String, usize> =
        Severity::ALL.iter().filter(|s| **s > Severity::Info).map(|s| (s.word().to_owned(), 0)).collect();
    let mut faults_soft = 0;
    for fault in state.faults.values() {
        match fault.state {
            Hardness::Soft => faults_soft += 1,
            Hardness::Hard => *faults.entry(fault.severity.word().to_owned()).or_default() += 1,
        }
    }
    StatusView {
        agent: policy.agent.name.clone(),
        agent_id: state.meta.agent_id.clone(),
        version: env!("WATCHBELL_VERSION").into(),
        started: None,
        now,
        ready: false,
        unready: Some("no agent runs".into()),
        store_failure: None,
        checks: policy.checks.len(),
        running: 0,
        waiting: 0,
        faults,
        faults_soft,
        squelches: state.squelches.len(),
        outbox: state.outbox.len(),
        outbox_oldest: state.outbox.values().map(|q| q.at).min(),
        notifiers: notifiers(policy, state),
        config_errors: problems.errors(),
        config_warnings: problems.list.len() - problems.errors(),
        newest_event: state.meta.seq,
    }
}

/// All that is wrong with the config.
pub fn problems(problems: &Problems) -> Vec<ProblemView> {
    problems.list.iter().map(|p| problem(problems, p)).collect()
}

fn problem(all: &Problems, problem: &Problem) -> ProblemView {
    let (file, line, column) = place(all, problem.span);
    ProblemView {
        level: if problem.level == Level::Error { ProblemLevel::Error } else { ProblemLevel::Warning },
        source_line: line.and_then(|_| source_line(all, problem)),
        file,
        line,
        column,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
        related: problem.related.as_ref().map(|(span, message)| {
            let (file, line, column) = place(all, *span);
            RelatedView { message: message.clone(), file, line, column }
        }),
    }
}

fn place(all: &Problems, span: Span) -> (Option<String>, Option<usize>, Option<usize>) {
    let Some(file) = all.files.get(span.file.0 as usize) else { return (None, None, None) };
    if file.text.is_empty() {
        return (Some(file.path.clone()), None, None);
    }
    let (line, column) = all.position(span);
    (Some(file.path.clone()), Some(line), Some(column))
}

/// Events in an answer, unless the query says otherwise.
const EVENTS_DEFAULT: usize = 100;

/// What a query asks the journal for.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn event_query(agent: &Name, query: EventsQuery) -> Result<EventQuery, (String, &'static str)> {
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT);
    if limit > EVENTS_MAX {
        let hint = "ask for less, and go on with `after`";
        return Err((format!("`limit` must be at most {EVENTS_MAX}, this is {limit}"), hint));
    }
    let name = match (query.name, query.prefix, query.regex) {
        (None, None, None) => None,
        (Some(name), None, None) => Some(NameMatch::Exact(full_name(agent, &name).to_string())),
        (None, Some(prefix), None) => Some(NameMatch::Prefix(prefix)),
        (None, None, Some(text)) => {
            let regex = regex(&text).map_err(|why| (why, "the syntax is that of the Rust crate `regex`"))?;
            Some(NameMatch::Regex(regex))
        }
        _ => return Err(("`name`, `prefix` and `regex` don't go together".to_owned(), "give one of them")),
    };
    Ok(EventQuery {
        since: query.since,
        until: query.until,
        name,
        min_severity: query.severity,
        kind: query.kind,
        after_seq: query.after,
        before_seq: query.before,
        limit: Some(limit),
        cut: if query.after.is_some() { Cut::Oldest } else { Cut::Newest },
    })
}

/// How something came about.
pub fn why(policy: &Policy, state: &State, squelched: &Squelched, why: Why) -> WhyView {
    let kind = match why.kind {
        WhyKind::Name => WhyIs::Name,
        WhyKind::Event => WhyIs::Event,
        WhyKind::Delivery => WhyIs::Delivery,
    };
    let entries = why.entries.into_iter().map(|entry| match entry {
        WhyEntry::Event(event) => WhyEntryView { at: event.at, event: Some(*event), decision: None },
        WhyEntry::Decision(decision) => WhyEntryView { at: decision.at, event: None, decision: Some(*decision) },
    });
    let mut parts: Vec<FaultView> = why.parts.iter().map(|f| fault(policy, state, squelched, f)).collect();
    worst_first(&mut parts);
    WhyView {
        kind,
        parts,
        entries: entries.collect(),
        cut: why.cut,
        fault: why.fault.as_ref().map(|f| fault(policy, state, squelched, f)),
        waiting: why.waiting.iter().map(waiting).collect(),
        id: why.id,
    }
}

fn waiting(queued: &Queued) -> WaitingView {
    let delivery = &queued.delivery;
    WaitingView {
        key: delivery.key.clone(),
        notifier: delivery.notifier.clone(),
        target: delivery.target.clone(),
        action: delivery.action.word().into(),
        name: delivery.event.name.clone(),
        at: queued.at,
        failures: queued.failures,
        not_before: queued.not_before,
        last_failure: queued.last_failure.clone(),
        instead_of: queued.instead_of.clone(),
    }
}

/// A full name: what does not start with `//` stands below `//AGENT/`.
pub fn full_name(agent: &Name, text: &str) -> Name {
    // The agent itself is `AGENT`, its own faults are `AGENT#PART`.
    let own = |rest: &str| rest.is_empty() || rest.starts_with('#');
    let whole = text.starts_with("//") || text.strip_prefix(agent.as_str()).is_some_and(own);
    if whole { Name::new(text) } else { Name::new(format!("//{agent}/{}", text.trim_start_matches('/'))) }
}

/// The check that a report means: by its full name or below the agent, or a passive check by the end of its name.
/// What `watchbell exec NAME` ran is `exec/NAME`: the passive check NAME if there is one, else a name of its own.
///
/// # Errors
/// It may be several.
pub fn reported(policy: &Policy, text: &str) -> Result<Option<Name>, String> {
    let agent = &policy.agent.name;
    let name = full_name(agent, text);
    if policy.checks.contains_key(&name) {
        return Ok(Some(name));
    }
    let short = text.strip_prefix("exec/").unwrap_or(text).trim_start_matches('/');
    let end = format!("/{short}");
    let passive = policy.checks.values().filter(|check| check.passive.is_some()).map(|check| &check.name);
    let found: Vec<&Name> = passive.filter(|name| name.ends_with(&end)).collect();
    match found.as_slice() {
        [] => {
            let own = name.strip_prefix(format!("//{agent}/exec/").as_str()).is_some_and(|own| !own.is_empty());
            Ok(own.then_some(name))
        }
        [one] => Ok(Some((*one).clone())),
        several => {
            let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
            Err(format!("`{short}` may be {}", names.join(" or ")))
        }
    }
}

/// Up to three names that hold the last part of what was asked for, for a hint.
pub fn similar<'n>(asked: &str, names: impl Iterator<Item = &'n Name>) -> Vec<&'n Name> {
    let part = asked.trim_end_matches('/').rsplit('/').next().unwrap_or(asked).to_lowercase();
    names.filter(|name| !part.is_empty() && name.to_lowercase().contains(&part)).take(3).collect()
}
