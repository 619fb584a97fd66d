//! Policy: what the config says. Kept apart from state (what was learned), so that a reload swaps the one
//! and keeps the other.

use super::{Capabilities, Secret, SourcePolicy};
use crate::{
    model::{Name, Severity},
    route::hours::Hours,
    schedule::Schedule,
    state::{lookback::Lookback, threshold::Threshold},
};
use jiff::tz::TimeZone;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Everything that [`crate::engine::step`] needs to know of the config.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The agent itself.
    pub agent: AgentPolicy,
    /// Checks by full name.
    pub checks: BTreeMap<Name, Arc<CheckPolicy>>,
    /// Notifiers by name.
    pub notifiers: BTreeMap<Name, Arc<NotifierPolicy>>,
    /// Where queries are asked, by name.
    pub sources: BTreeMap<Name, Arc<SourcePolicy>>,
    /// What is wrong with the config, each a critical fault of its own.
    pub faults: Vec<ConfigFault>,
    /// What can't be used and was never good: prefixes of check names (`//AGENT/FILE/`) whose file can't be read at
    /// all, and full names of single checks. Their faults stay, marked stale.
    pub broken: BTreeSet<String>,
}

/// The agent itself.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentPolicy {
    /// Its name: the first part of every fault name.
    pub name: Name,
    /// Who is told where neither the check nor its file names anyone.
    pub notify: Vec<Name>,
    /// At most this many checks run at a time.
    pub running_max: usize,
    /// A run of a CIMAA check may take this part of its interval.
    pub timeout_percent: u32,
    /// One try of a delivery may take this long.
    pub deliver_timeout: Duration,
    /// Deliveries are tried again for this long, then given up.
    pub give_up_after: Duration,
    /// How many deliveries may wait for one notifier before they are merged into a digest.
    pub digest_above: usize,
    /// CIMAA's tick.
    pub base_interval: Duration,
    /// How long a `#monitor-…` fault may stand before `AGENT#checks` tells of it.
    pub monitor_patience: Duration,
    /// The zone of hours that name none.
    pub zone: TimeZone,
    /// A squelch without an end gets this one; `None` leaves it open.
    pub squelch_max: Option<Duration>,
}

impl Default for AgentPolicy {
    fn default() -> AgentPolicy {
        AgentPolicy {
            name: Name::new("localhost"),
            notify: Vec::new(),
            running_max: 256,
            timeout_percent: 70,
            deliver_timeout: Duration::from_secs(12),
            give_up_after: Duration::from_secs(86_400),
            digest_above: 20,
            base_interval: Duration::from_secs(60),
            monitor_patience: Duration::from_secs(900),
            zone: TimeZone::UTC,
            squelch_max: None,
        }
    }
}

/// What to do about runs that were due while nothing could run (agent down, machine asleep).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Missed {
    /// Leave them out; the next is the next.
    #[default]
    Skip,
    /// Run once for all of them.
    Once,
    /// Run each, one after the other, oldest first (up to a limit of 100).
    All,
}

/// What to do when a run is due and the one before still runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overlap {
    /// Leave it out, and make that visible as the fault `#monitor-overlap`.
    #[default]
    Skip,
    /// Start it when the one before ends.
    Queue,
    /// Run both.
    Allow,
}

/// When a check that failed runs again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// This long after the slot at which it failed, while its faults are soft.
    After(Duration),
    /// CIMAA: every this many ticks after the tick at which it failed, for as long as it fails.
    Ticks(u32),
}

/// Whether a fault that was told is told again when its message changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Renotify {
    /// No; where the receiver can edit, what was said is edited in place.
    #[default]
    Never,
    /// Yes: a trigger of the same episode, with a change number of its own.
    OnChange,
    /// Yes, and also this often while it stays as it is and nobody acknowledged it.
    Every(Duration),
}

/// Whose texts and tables are spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    /// Our own.
    #[default]
    Native,
    /// CIMAA's: " (n of 4)" behind the message, its alert texts.
    Cimaa,
    /// SpecialSnowflake's.
    Flake,
}

/// How long whoever reports on a passive check may be silent.
#[derive(Clone, PartialEq, Debug)]
pub struct Passive {
    /// A report must come within this long of the one before; where there are slots, of each slot.
    pub within: Duration,
    /// When what reports is due by its own clock.
    pub slots: Option<Schedule>,
    /// What was said to begin must end within this long.
    pub ends_within: Option<Duration>,
}

/// One check.
#[derive(Clone, Debug)]
pub struct CheckPolicy {
    /// `//AGENT/FILE/CHECK`.
    pub name: Name,
    /// The word of its kind (`nagios`, `http`).
    pub kind: &'static str,
    /// The file it stands in, as shown to people.
    pub file: String,
    /// The line it starts at.
    pub line: usize,
    /// When it is due; `None` is never by itself (a passive check).
    pub schedule: Option<Schedule>,
    /// How many retries an error gets before it is critical.
    pub retry: u32,
    /// When a retry runs.
    pub retry_interval: Retry,
    /// How long a run may take.
    pub timeout: Duration,
    /// Runs that were due while nothing could run.
    pub missed: Missed,
    /// A run that is due while the one before still runs.
    pub overlap: Overlap,
    /// Runs are things that must not be repeated lightly (flake jobs): each start is committed before it happens.
    pub job: bool,
    /// A passive check: others report, and in time.
    pub passive: Option<Passive>,
    /// What opens `/ping/KEY` for it, without a token.
    pub ping_key: Option<Secret>,
    /// Judged on the metrics of every run.
    pub thresholds: Vec<Threshold>,
    /// Faults this bad, once hard, are told to those who don't want to hear of worse ones only; `None`: what is
    /// critical, and what a notifier asks for. See [`Policy::told_from`].
    pub alert_from: Option<Severity>,
    /// Who is told; resolved from check, file and agent.
    pub notify: Vec<Name>,
    /// When they may be told; `None` is always.
    pub hours: Option<Hours>,
    /// Checks that must be well for this one to mean anything.
    pub parents: Vec<Name>,
    /// Telling again.
    pub renotify: Renotify,
    /// Holds alerts while the check changes state too often: (above percent, below percent).
    pub flapping: Option<(f64, f64)>,
    /// What it is, for people.
    pub description: Option<String>,
    /// What to do when it fires: a text or an address.
    pub runbook: Option<String>,
    /// Where to look.
    pub link: Option<String>,
    /// Labels for events and samples.
    pub labels: BTreeMap<String, String>,
    /// The command line it runs, for people and for `watchbell test`.
    pub shown: String,
    /// Unit of its one value.
    pub unit: Option<String>,
    /// Every run goes to the check's log, not only changes and failures.
    pub log_runs: bool,
    /// Notifiers (handlers) that get every result, well or not.
    pub on_result: Vec<Name>,
    /// Whose texts.
    pub style: Style,
    /// How many rows its query must find, and when.
    pub lookback: Option<Arc<Lookback>>,
}

impl CheckPolicy {
    /// The look-back of a check that counts rows; one that measures a value has none.
    pub fn counts(&self) -> Option<&Arc<Lookback>> {
        self.lookback.as_ref().filter(|lookback| lookback.value.is_none())
    }

    /// The policy of what has no check in the config: the agent's own faults, config faults, `watchbell exec`.
    pub fn bare(name: Name, notify: Vec<Name>) -> CheckPolicy {
        CheckPolicy {
            name,
            kind: "",
            file: String::new(),
            line: 0,
            schedule: None,
            retry: 0,
            retry_interval: Retry::After(Duration::from_secs(60)),
            timeout: Duration::from_secs(60),
            missed: Missed::Skip,
            overlap: Overlap::Skip,
            job: false,
            passive: None,
            ping_key: None,
            thresholds: Vec::new(),
            alert_from: None,
            notify,
            hours: None,
            parents: Vec::new(),
            renotify: Renotify::Never,
            flapping: None,
            description: None,
            runbook: None,
            link: None,
            labels: BTreeMap::new(),
            shown: String::new(),
            unit: None,
            log_runs: false,
            on_result: Vec::new(),
            style: Style::Native,
            lookback: None,
        }
    }

    /// The last part of its name, for people.
    pub fn short(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// One notifier, as the outbox sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct NotifierPolicy {
    /// Its name.
    pub name: Name,
    /// The word of its kind (`slack`).
    pub kind: &'static str,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How fast it may be told things.
    pub pace: Pace,
    /// Who is told what this one can't take; next in line.
    pub fallback: Option<Name>,
    /// It is told of faults this bad.
    pub alert_from: Option<Severity>,
    /// When it may be told; `None` is always.
    pub hours: Option<Hours>,
    /// Whether it hears that something is well again.
    pub recoveries: bool,
    /// Where it sends by default; empty if it has one target only.
    pub targets: Vec<String>,
}

impl Policy {
    /// From which severity on a notifier is told of a check's faults: where both say something, the stricter holds; where
    /// none does, what is critical.
    pub fn told_from(&self, check: &CheckPolicy, notifier: &NotifierPolicy) -> Severity {
        match (check.alert_from, notifier.alert_from) {
            (Some(check), Some(notifier)) => check.max(notifier),
            (check, notifier) => check.or(notifier).unwrap_or(Severity::Critical),
        }
    }

    /// From which severity on anybody is told of a check's faults. Below critical, it counts retries as errors do.
    pub fn alert_from(&self, check: &CheckPolicy) -> Severity {
        let notifiers = check.notify.iter().filter_map(|name| self.notifiers.get(name));
        let lowest = notifiers.map(|notifier| self.told_from(check, notifier)).min();
        lowest.or(check.alert_from).unwrap_or(Severity::Critical)
    }
}

impl NotifierPolicy {
    /// Where it sends; empty text is its only target.
    pub fn every_target(&self) -> Vec<String> {
        if self.targets.is_empty() { vec![String::new()] } else { self.targets.clone() }
    }
}

/// How fast a notifier may be told things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// At least this long between two deliveries.
    pub gap: Duration,
    /// At most this many on their way at a time.
    pub in_flight_max: usize,
}

/// Something wrong with the config, as a fault.
#[derive(Clone, PartialEq, Debug)]
pub struct ConfigFault {
    /// The fault's full name: `//AGENT/FILE/` for a file, `//AGENT/FILE/CHECK` for a check.
    pub name: Name,
    /// One line.
    pub message: String,
    /// Every problem with its place.
    pub detail: String,
    /// Who is told: the file's own default where it could be read, else the agent's.
    pub notify: Vec<Name>,
}
