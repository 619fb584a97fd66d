//! What the HTTP API and the command line speak of: plain data that is JSON both ways, and the paths it is
//! found at. How it follows from policy and state is in [`view`], its schemas in [`schema`].
//!
//! Lists are JSON arrays; times are RFC 3339 in UTC; durations say their unit in their name. A reader must
//! ignore fields that it does not know: new ones may come.

pub mod schema;
pub mod view;

use schema::{object, words};
use std::collections::BTreeMap;
use watchbell_core::model::{Decision, Event, EventState, Exit, Hardness, Metric, Name, Severity, Timestamp};

/// Where each thing is. A path that is asked by name takes `?name=`, because names hold slashes. A name that
/// does not start with `//` is taken below `//AGENT/`.
pub mod path {
    /// GET: [`StatusView`](super::StatusView).
    pub const STATUS: &str = "/api/v1/status";
    /// GET: list of [`FaultView`](super::FaultView), by [`FaultsQuery`](super::FaultsQuery).
    pub const FAULTS: &str = "/api/v1/faults";
    /// GET `?name=`: [`FaultView`](super::FaultView), or 404.
    pub const FAULT: &str = "/api/v1/fault";
    /// GET: list of [`CheckView`](super::CheckView), by [`ChecksQuery`](super::ChecksQuery).
    pub const CHECKS: &str = "/api/v1/checks";
    /// GET `?name=`: [`CheckView`](super::CheckView), or 404.
    pub const CHECK: &str = "/api/v1/check";
    /// GET: list of [`SlowView`](super::SlowView), slowest first, by [`SlowQuery`](super::SlowQuery).
    pub const SLOW: &str = "/api/v1/slow";
    /// GET: list of [`SquelchView`](super::SquelchView). POST [`SquelchRequest`](super::SquelchRequest), DELETE
    /// `?regex=&by=`: [`Accepted`](super::Accepted).
    pub const SQUELCHES: &str = "/api/v1/squelches";
    /// GET `?regex=`: [`SquelchPreview`](super::SquelchPreview).
    pub const SQUELCH_PREVIEW: &str = "/api/v1/squelches/preview";
    /// POST [`AckRequest`](super::AckRequest), DELETE `?fault=&by=`: [`Accepted`](super::Accepted).
    pub const ACKS: &str = "/api/v1/acks";
    /// POST [`RunRequest`](super::RunRequest): [`Accepted`](super::Accepted).
    pub const RUN: &str = "/api/v1/run";
    /// GET: list of [`Event`](super::Event), oldest first, by [`EventsQuery`](super::EventsQuery).
    pub const EVENTS: &str = "/api/v1/events";
    /// GET `?id=` (an event's number, a delivery's key, a name): [`WhyView`](super::WhyView), or 404.
    pub const WHY: &str = "/api/v1/why";
    /// GET: list of [`ProblemView`](super::ProblemView).
    pub const PROBLEMS: &str = "/api/v1/config/problems";
    /// POST (no body): [`ReloadView`](super::ReloadView), once the config is read and in use.
    pub const RELOAD: &str = "/api/v1/config/reload";
    /// POST [`ReportRequest`](super::ReportRequest): [`Accepted`](super::Accepted).
    pub const REPORT: &str = "/api/v1/report";
    /// POST [`MessageRequest`](super::MessageRequest): [`Accepted`](super::Accepted).
    pub const MESSAGES: &str = "/api/v1/messages";
    /// GET, POST: text. What follows is a check's name or its key, and what happened.
    pub const PING: &str = "/ping/{*what}";
    /// What stands before that.
    pub const PING_PREFIX: &str = "/ping/";
    /// GET: list of [`NotifierView`](super::NotifierView).
    pub const NOTIFIERS: &str = "/api/v1/notifiers";
    /// GET: the OpenAPI document.
    pub const OPENAPI: &str = "/api/v1/openapi.json";
    /// GET: own figures in Prometheus' text format.
    pub const METRICS: &str = "/metrics";
    /// GET: 200 when the engine answers.
    pub const HEALTHZ: &str = "/healthz";
    /// GET: 200 when the agent takes work, else 503 and why.
    pub const READYZ: &str = "/readyz";
}

/// The unix socket's file in the state folder.
pub const SOCKET: &str = "agent.sock";

words! {
    /// How a check is doing.
    pub enum CheckStatus {
        /// Its last run found nothing wrong.
        Ok,
        /// It has faults, none of them certain yet.
        Soft,
        /// It has a fault that is certain.
        Hard,
        /// It has not run yet.
        Pending,
    }
}

words! {
    /// How bad a problem of the config is.
    pub enum ProblemLevel {
        /// It works, but not as somebody may think.
        Warning,
        /// The thing it is about is not used.
        Error,
    }
}

words! {
    /// What an id turned out to be.
    pub enum WhyIs {
        /// The name of a fault, check or message.
        Name,
        /// An event's place in the stream.
        Event,
        /// A delivery's key.
        Delivery,
    }
}

object! {
    /// Why something was not done.
    pub struct ErrorView {
        /// What happened.
        pub error: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hint: Option<String>,
    }

    /// One thing that is wrong now.
    pub struct FaultView {
        /// Its full name: `//AGENT/FILE/CHECK[#PART]`.
        pub name: Name,
        /// How bad it is: an error that used up its attempts is critical.
        pub severity: Severity,
        /// Its source says that it does not know (a plugin's exit code 3): people read "unknown" in place of the severity.
        #[serde(default)]
        pub unknown: bool,
        /// Whether it is certain.
        pub state: Hardness,
        /// The source's own text.
        pub message: String,
        /// More lines, where the source had them.
        #[serde(default)]
        pub detail: String,
        /// Which attempt this is, from 1.
        pub attempt: u32,
        /// How many attempts make it certain.
        pub attempts: u32,
        /// When it was first seen in this episode.
        pub since: Timestamp,
        /// When a run last found it.
        pub updated: Timestamp,
        /// Who was told of this episode, or is about to be: the delivery may still be on its way.
        pub told: Vec<ToldView>,
        /// The regular expression of the first squelch that matches its name.
        pub squelched_by: Option<String>,
        /// Who takes care of it.
        pub acknowledged_by: Option<String>,
        /// The acknowledgement, where there is one.
        #[serde(default)]
        pub acknowledged: Option<AckView>,
        /// Why nobody is told for now, although it is certain and bad enough.
        pub held: Option<HeldView>,
        /// Notifiers that are not told for now, although others may be, and why.
        #[serde(default)]
        pub held_for: Vec<HeldView>,
        /// The check can't be judged now (its file is broken): this is what was known before.
        pub stale: bool,
        /// The check that found it.
        pub check: Name,
        /// Counts the openings of this name, from 1.
        pub episode: u64,
        /// What the check is, for people.
        #[serde(default)]
        pub description: Option<String>,
        /// What to do about it: a text or an address.
        #[serde(default)]
        pub runbook: Option<String>,
    }

    /// Somebody was told of a fault.
    pub struct ToldView {
        /// Through this notifier.
        pub notifier: Name,
        /// To this target of it; empty for its only one.
        #[serde(default)]
        pub target: String,
        /// When that was decided.
        pub at: Timestamp,
        /// The severity that was told.
        pub severity: Severity,
        /// The message that was told.
        pub message: String,
        /// The receiver's own id of what was told, where it has one.
        #[serde(default)]
        pub receipt: Option<String>,
    }

    /// Somebody takes care of a fault.
    pub struct AckView {
        /// Who.
        pub by: String,
        /// What they say about it.
        pub comment: String,
        /// Since when.
        pub at: Timestamp,
        /// Until when; null is until the fault is gone.
        pub until: Option<Timestamp>,
    }

    /// Why nobody is told of a fault for now.
    pub struct HeldView {
        /// The rule: `squelch`, `parent`, `acknowledged`, `flapping`, `hours`; of one notifier `severity`, `hours`.
        pub rule: String,
        /// Why, for people.
        pub text: String,
        /// Until when, where that is known.
        #[serde(default)]
        pub until: Option<Timestamp>,
        /// The notifier that is not told, where others may be.
        #[serde(default)]
        pub notifier: Option<Name>,
    }

    /// One check.
    pub struct CheckView {
        /// Its full name: `//AGENT/FILE/CHECK`.
        pub name: Name,
        /// Its kind: `nagios`, `http`.
        pub kind: String,
        /// The file it stands in.
        pub file: String,
        /// The line it starts at, from 1.
        pub line: usize,
        /// When it is due, for people; null is never by itself (a passive check).
        pub schedule: Option<String>,
        /// When it is due next; null while that is not known (no agent runs) or it is never due by itself.
        pub next_due: Option<Timestamp>,
        /// How it is doing.
        pub state: CheckStatus,
        /// How bad its worst fault is; null when it has none.
        pub severity: Option<Severity>,
        /// Whether it runs now.
        pub running: bool,
        /// Its last run, once it ended.
        pub last: Option<LastRunView>,
        /// The names of its faults.
        pub faults: Vec<Name>,
        /// How many times it is tried again before an error is certain.
        pub retry: u32,
        /// How long a run may take, in seconds.
        pub timeout_seconds: f64,
        /// A passive check: others must report within so many seconds of each other.
        #[serde(default)]
        pub refresh_within_seconds: Option<f64>,
        /// Who is told.
        pub notify: Vec<Name>,
        /// Checks that must be well for this one to mean anything.
        #[serde(default)]
        pub parents: Vec<Name>,
        /// Faults this bad are told once they are certain.
        #[serde(default)]
        pub alert_from: Option<Severity>,
        /// Its runs change state too often; alerts are held.
        #[serde(default)]
        pub flapping: bool,
        /// What it is, for people.
        #[serde(default)]
        pub description: Option<String>,
        /// What to do when it fires: a text or an address.
        #[serde(default)]
        pub runbook: Option<String>,
        /// Where to look.
        #[serde(default)]
        pub link: Option<String>,
        /// The command line it runs, or what it asks, for people.
        #[serde(default)]
        pub command: String,
        /// Labels.
        #[serde(default)]
        pub labels: BTreeMap<String, String>,
    }

    /// A check's last run.
    pub struct LastRunView {
        /// When it was started.
        pub started: Timestamp,
        /// How long it took, in milliseconds.
        pub took_ms: f64,
        /// How long after its slot it was started, in milliseconds.
        pub late_ms: f64,
        /// The worst severity it found; null when all was well.
        pub worst: Option<Severity>,
        /// One line.
        pub summary: String,
        /// The one value, where it has one.
        pub value: Option<f64>,
        /// The unit of that value, where it is known.
        #[serde(default)]
        pub unit: Option<String>,
        /// How the command ended, where there was one.
        pub exit: Option<Exit>,
    }

    /// A regular expression on fault names that keeps alerts quiet.
    pub struct SquelchView {
        /// Searched anywhere in fault names.
        pub regex: String,
        /// Why.
        pub reason: String,
        /// Who.
        pub by: String,
        /// Since when.
        pub at: Timestamp,
        /// Until when; null is until it is lifted.
        pub until: Option<Timestamp>,
        /// Meant to stay.
        pub permanent: bool,
        /// The hours in which it holds, in the agent's zone unless named; null is all the time.
        #[serde(default)]
        pub every: Option<String>,
        /// How many of the faults there are now it matches.
        pub hides: usize,
    }

    /// What a squelch would do.
    pub struct SquelchPreview {
        /// The regular expression.
        pub regex: String,
        /// The faults that it would keep quiet now.
        pub faults: Vec<FaultView>,
        /// How many checks have names that it matches.
        pub checks_count: usize,
        /// The first 100 of them.
        pub checks: Vec<Name>,
    }

    /// How the agent is doing.
    pub struct StatusView {
        /// The agent's name.
        pub agent: Name,
        /// Its id, made at its first start.
        pub agent_id: String,
        /// The version of the program.
        pub version: String,
        /// When it was started; null when no agent runs.
        pub started: Option<Timestamp>,
        /// What time it is there.
        pub now: Timestamp,
        /// Whether it takes work.
        pub ready: bool,
        /// Why it does not.
        #[serde(default)]
        pub unready: Option<String>,
        /// Why the store can't be written.
        #[serde(default)]
        pub store_failure: Option<String>,
        /// How many checks there are.
        pub checks: usize,
        /// How many of them run now.
        pub running: usize,
        /// How many are due and wait for a free place.
        pub waiting: usize,
        /// Faults that are certain, by severity.
        pub faults: BTreeMap<String, usize>,
        /// Faults that are still counting their attempts.
        pub faults_soft: usize,
        /// How many squelches there are.
        pub squelches: usize,
        /// How many deliveries are decided and not yet confirmed.
        pub outbox: usize,
        /// When the oldest of them was decided.
        #[serde(default)]
        pub outbox_oldest: Option<Timestamp>,
        /// How notifiers are doing.
        pub notifiers: Vec<NotifierView>,
        /// Errors in the config.
        pub config_errors: usize,
        /// Warnings about the config.
        pub config_warnings: usize,
        /// The newest event's place in the stream.
        pub newest_event: u64,
    }

    /// How a notifier is doing.
    pub struct NotifierView {
        /// Its name.
        pub name: Name,
        /// Its kind: `slack`, `webhook`.
        pub kind: String,
        /// Where it sends by default; empty if it has one target only.
        #[serde(default)]
        pub targets: Vec<String>,
        /// Who is told what it can't take.
        #[serde(default)]
        pub fallback: Option<Name>,
        /// How bad a fault must be to be told here; null: what its check says, else critical.
        #[serde(default)]
        pub alert_from: Option<Severity>,
        /// When it may be told; null is always.
        #[serde(default)]
        pub hours: Option<String>,
        /// Whether it hears that something is well again.
        #[serde(default)]
        pub recoveries: bool,
        /// How many deliveries wait for it or are under way.
        pub waiting: usize,
        /// How many it took, ever.
        pub delivered: u64,
        /// When it last took one.
        pub last_success: Option<Timestamp>,
        /// Since when it has been failing; null when it works.
        pub failing_since: Option<Timestamp>,
        /// Tries in a row that failed.
        pub failures: u32,
        /// What the last failed try brought.
        pub last_failure: Option<String>,
        /// Nothing is sent before this.
        #[serde(default)]
        pub not_before: Option<Timestamp>,
        /// Deliveries that were given up since it last worked.
        pub given_up: u64,
    }

    /// How long a check's runs take. Quantiles are upper bounds within a factor of two.
    pub struct SlowView {
        /// The check.
        pub name: Name,
        /// How many runs.
        pub count: u64,
        /// Half of them took no longer than this.
        pub median_ms: u64,
        /// 99 of 100 took no longer than this.
        pub p99_ms: u64,
        /// The longest.
        pub max_ms: u64,
        /// The last.
        pub last_ms: Option<f64>,
    }

    /// Something wrong with the config.
    pub struct ProblemView {
        /// How bad.
        pub level: ProblemLevel,
        /// The file, as seen from the config folder.
        pub file: Option<String>,
        /// The line, from 1.
        pub line: Option<usize>,
        /// The column, from 1, in characters.
        pub column: Option<usize>,
        /// What is wrong.
        pub message: String,
        /// What to do.
        pub hint: Option<String>,
        /// The line itself.
        #[serde(default)]
        pub source_line: Option<String>,
        /// A second place that matters.
        #[serde(default)]
        pub related: Option<RelatedView>,
    }

    /// A second place that matters to a problem.
    pub struct RelatedView {
        /// Why it matters.
        pub message: String,
        /// The file.
        pub file: Option<String>,
        /// The line, from 1.
        pub line: Option<usize>,
        /// The column, from 1, in characters.
        pub column: Option<usize>,
    }

    /// What came of reading the config again.
    pub struct ReloadView {
        /// Errors in it.
        pub config_errors: usize,
        /// Warnings about it.
        pub config_warnings: usize,
        /// How many checks there are now.
        pub checks: usize,
        /// All that is wrong.
        pub problems: Vec<ProblemView>,
    }

    /// How something came about.
    pub struct WhyView {
        /// What was asked for.
        pub id: String,
        /// What it is.
        pub kind: WhyIs,
        /// What happened and what was decided, in order of time.
        pub entries: Vec<WhyEntryView>,
        /// There was more; the oldest are not here.
        pub cut: bool,
        /// The fault as it is now, if it is one and is wrong.
        pub fault: Option<FaultView>,
        /// What else is wrong, if it is a check: the faults of its parts, the worst first.
        #[serde(default)]
        pub parts: Vec<FaultView>,
        /// The deliveries about it that are not confirmed yet.
        pub waiting: Vec<WaitingView>,
    }

    /// One line of an answer to "why": an event or a decision.
    pub struct WhyEntryView {
        /// When.
        pub at: Timestamp,
        /// What happened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub event: Option<Event>,
        /// What a rule said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub decision: Option<Decision>,
    }

    /// A delivery that is decided and not yet confirmed.
    pub struct WaitingView {
        /// Its key: the same for every repeat.
        pub key: String,
        /// The notifier.
        pub notifier: Name,
        /// The target of it; empty for its only one.
        #[serde(default)]
        pub target: String,
        /// What it says: `trigger`, `resolve`.
        pub action: String,
        /// The fault, check or message it is about.
        pub name: Name,
        /// When it was decided.
        pub at: Timestamp,
        /// How many tries failed.
        pub failures: u32,
        /// It is not tried before this.
        pub not_before: Timestamp,
        /// What the last try brought.
        pub last_failure: Option<String>,
        /// It was meant for this notifier, which could not take it.
        #[serde(default)]
        pub instead_of: Option<Name>,
    }

    /// It is done, and on disk.
    pub struct Accepted {
        /// The events it led to, by their place in the stream.
        pub events: Vec<u64>,
        /// What whoever asked should know, as that a squelch ends sooner than the one it takes the place of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub warning: Option<String>,
    }

    /// Which faults are wanted; all where nothing is said.
    #[serde(deny_unknown_fields)]
    pub struct FaultsQuery {
        /// Those whose name matches this regular expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub regex: Option<String>,
        /// Those of this check.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub check: Option<String>,
        /// Those that are at least so bad.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub severity: Option<Severity>,
        /// Those that are certain (`hard`), or not yet (`soft`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub state: Option<Hardness>,
    }

    /// Which checks are wanted; all where nothing is said.
    #[serde(deny_unknown_fields)]
    pub struct ChecksQuery {
        /// Those whose name matches this regular expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub regex: Option<String>,
        /// Those that are doing so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub state: Option<CheckStatus>,
    }

    /// Which slow checks are wanted.
    #[serde(deny_unknown_fields)]
    pub struct SlowQuery {
        /// So many; 20 where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub limit: Option<usize>,
    }

    /// A name.
    #[serde(deny_unknown_fields)]
    pub struct NameQuery {
        /// The full name, or what comes after `//AGENT/`.
        pub name: String,
    }

    /// Which events are wanted: of what matches the newest, or the oldest after `after`.
    #[serde(deny_unknown_fields)]
    pub struct EventsQuery {
        /// Those that happened then or later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub since: Option<Timestamp>,
        /// Those that happened before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<Timestamp>,
        /// Those about this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// Those whose name begins with this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub prefix: Option<String>,
        /// Those in whose name this regular expression is found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub regex: Option<String>,
        /// Those that are at least so bad.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub severity: Option<Severity>,
        /// Those of this kind: `fault`, `alarm`, `job`, `message`, `operator`, `agent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub kind: Option<watchbell_core::model::EventKind>,
        /// Those later in the stream than this place; then the oldest are given, so that one can go on from the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub after: Option<u64>,
        /// Those earlier in the stream than this place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub before: Option<u64>,
        /// So many at most; 100 where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub limit: Option<usize>,
    }

    /// What is to be explained.
    #[serde(deny_unknown_fields)]
    pub struct WhyQuery {
        /// An event's place in the stream, a delivery's key, or the name of a fault, check or message.
        pub id: String,
    }

    /// A regular expression to try.
    #[serde(deny_unknown_fields)]
    pub struct PreviewQuery {
        /// Searched anywhere in fault names.
        pub regex: String,
    }

    /// Lift a squelch.
    #[serde(deny_unknown_fields)]
    pub struct UnsquelchQuery {
        /// Its regular expression, exactly.
        pub regex: String,
        /// Who lifts it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
    }

    /// Withdraw an acknowledgement.
    #[serde(deny_unknown_fields)]
    pub struct UnackQuery {
        /// The fault.
        pub fault: String,
        /// Who says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
    }

    /// Keep alerts quiet.
    #[serde(deny_unknown_fields)]
    pub struct SquelchRequest {
        /// Searched anywhere in fault names.
        pub regex: String,
        /// Why: who finds it next week must know.
        pub reason: String,
        /// Who; the token's name where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
        /// For so many seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub for_seconds: Option<u64>,
        /// Until then (not together with `for_seconds`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<Timestamp>,
        /// Meant to stay.
        #[serde(default)]
        pub permanent: bool,
        /// Holds only in these hours, in the agent's zone unless named: `sat 02:00-04:00`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub every: Option<String>,
    }

    /// Take care of a fault.
    #[serde(deny_unknown_fields)]
    pub struct AckRequest {
        /// The fault.
        pub fault: String,
        /// Who; the token's name where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
        /// What they say about it.
        #[serde(default)]
        pub comment: String,
        /// For so many seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub for_seconds: Option<u64>,
        /// Until then (not together with `for_seconds`); without either until the fault is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<Timestamp>,
    }

    /// Run a check now, besides its schedule.
    #[serde(deny_unknown_fields)]
    pub struct RunRequest {
        /// The check.
        pub check: String,
        /// Who asks; the token's name where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
    }

    /// Report on a passive check, or on `exec/NAME`: a command that somebody else ran.
    #[serde(deny_unknown_fields)]
    pub struct ReportRequest {
        /// The check.
        pub check: String,
        /// What is wrong; empty when all is well.
        #[serde(default)]
        pub findings: Vec<ReportFinding>,
        /// One line for people.
        #[serde(default)]
        pub text: String,
        /// The check's one value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub value: Option<f64>,
        /// What else was measured.
        #[serde(default)]
        pub metrics: Vec<Metric>,
        /// The exit code of the command, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub exit: Option<i32>,
        /// How long it took, in milliseconds.
        #[serde(default)]
        pub took_ms: u64,
        /// What it wrote.
        #[serde(default)]
        pub output: String,
    }

    /// One thing that a report finds to be wrong.
    #[serde(deny_unknown_fields)]
    pub struct ReportFinding {
        /// Which part of the check; the check as a whole where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub part: Option<String>,
        /// How bad: `warning`, `error`, `critical`.
        pub severity: Severity,
        /// One line for people.
        pub message: String,
        /// More lines.
        #[serde(default)]
        pub detail: String,
    }

    /// A message: it is kept as an event, and sent to those it names.
    #[serde(deny_unknown_fields)]
    pub struct MessageRequest {
        /// What it is about; taken below `//AGENT/SOURCE/` unless it starts with `//`.
        pub name: String,
        /// One line, then more if any.
        pub text: String,
        /// How bad; `info` where nothing is said.
        #[serde(default = "info")]
        pub severity: Severity,
        /// What it means; `info` where nothing is said.
        #[serde(default = "no_state")]
        pub state: EventState,
        /// Where it comes from; `send` where nothing is said.
        #[serde(default = "send")]
        pub source: String,
        /// A topic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub topic: Option<String>,
        /// Where to look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub link: Option<String>,
        /// Labels.
        #[serde(default)]
        pub labels: BTreeMap<String, String>,
        /// The notifiers that pass it on; none is only kept.
        #[serde(default)]
        pub notify: Vec<Name>,
        /// A key that makes repeats of one request the same message to its receivers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub id: Option<String>,
    }
}

fn info() -> Severity {
    Severity::Info
}

fn no_state() -> EventState {
    EventState::Info
}

fn send() -> String {
    "send".into()
}
