//! Scenarios: what would be told, and when, if this happened? A plain text says what checks report, what people do
//! and what breaks, and what is expected of it; the engine plays it with a clock of its own. The project's own
//! tests and users' rule tests (`watchbell rehearse`) are written in the same language.
//!
//! ```text
//! # A disk fills up at night.
//! start 2026-01-05T22:00:00Z
//! at 5m disk critical "91%"
//! within 2m expect deliver trigger disk to ops "91%"
//! at 1h squelch "disk" because "new disks are on their way" for 2h by joe
//! at 90m disk ok
//! within 2m expect deliver resolve disk
//! expect quiet
//! ```
//!
//! One line is one thing. `#` at its beginning, or with a blank behind it, begins a comment. Times are counted from the start; a line without one is at the time
//! of the line before it. What is done at a time comes before what the engine does then, an `expect` after it.
//! A check's or fault's short name is enough where only one ends so. What can be written:
//!
//! | line | means |
//! |---|---|
//! | `start TIME` | when it begins (default: Monday 2026-01-05T08:00:00Z) |
//! | `at 90s …`, `at 2026-01-05T09:00:00Z …`, `after 10s …` | when the rest of the line happens; alone, only time passes |
//! | `disk critical "91%"`, `disk#inodes error "x"` | from now on, runs report this (`info`, `warning`, `error`, `critical`); `\n` begins a new line; `steady` behind it: it doesn't escalate |
//! | `disk ok`, `disk ok "40%"`, `disk#inodes ok` | runs report nothing wrong any more; the line that they say it with |
//! | `disk metric load 5` | runs measure this (`value` is the nameless one) |
//! | `disk hangs`, `disk can't start` | runs end at their time limit; can't begin |
//! | `disk runs for 90s` | how long a run takes from now on (default: no time) |
//! | `disk alternates critical "x"` | every other run finds this |
//! | `orders rows 5`, `orders rows 3 ago 90s` | rows that its query finds from now on, of now or of some time ago |
//! | `orders rows every 20s`, `orders rows none` | rows that keep coming; no more of them |
//! | `source warehouse away "text"`, `source warehouse answers` | whether queries get an answer |
//! | `report backup ok`, `report backup error "x"` | somebody reports on a passive check |
//! | `squelch "REGEX" because "reason" for 2h by joe`, `unsquelch "REGEX"` | also `permanently`, `every "sat 02:00-04:00"` |
//! | `ack disk "comment" for 1h by joe`, `unack disk` | |
//! | `run disk` | run it now |
//! | `send "text" to ops` | a message, as by `watchbell send`; also `as error`, `id "x"`, `about NAME` |
//! | `notifier ops works`, `fails "500"`, `refuses "404"`, `hangs`, `resets`, `answers retry-after 60s`, `takes 2s` | how a receiver behaves; one that `resets` takes what it gets, and its answer is lost |
//! | `restart`, `crash`, `stop`, `begin`, `away 3h` | the agent ends (`crash`: losing what is under way) and begins again |
//! | `clock jump -1h` | the wall clock is set |
//! | `reload`, `reload without disk` | the config changes; the rest is as at the start |
//! | `config` … `end` | a config file's text; the first one is there from the start, later ones replace it |
//! | `expect deliver [ACTION] [FAULT] [to NOTIFIER] ["text"] [lasted 5m]` | one more delivery that no `expect` asked for before; `lasted`: of a fault that began so long before |
//! | `expect no deliver …`, `expect quiet` | none such; none at all |
//! | `expect fault disk [critical] [hard] [2 of 4] [stale] [acknowledged] ["text"]`, `expect no fault disk`, `expect no faults` | what is wrong now |
//! | `expect held disk by squelch`, `expect not held disk` | why nobody is told (`squelch`, `parent`, `acknowledged`, `flapping`, `hours`) |
//! | `expect held disk by hours to ops`, `expect not held disk to ops` | why one notifier is not told (`severity`, `hours`) |
//! | `expect run disk`, `expect 3 runs disk`, `expect no run disk` | runs begun since the last such line |
//! | `expect event [problem] [FAULT] "text"`, `expect no event …` | one more event |
//! | `expect queued 2`, `expect running 2` | deliveries that wait; runs under way |
//! | `expect refused "text"` | why the last thing that somebody did was refused |
//! | `expect warned "text"` | what somebody should know of what was taken |
//! | `within 2m expect …` | the same, at the latest after this long; what follows happens when it was seen |

mod expect;
mod parse;
mod report;
mod stage;

pub use report::{Entry, EntryKind, Failure, Report};

use crate::{
    config::Policy,
    model::{Action, EventState, Hardness, Severity, Timestamp},
};
use std::{fmt, sync::Arc, time::Duration};

/// A scenario file has at most this many lines.
pub const LINES_MAX: usize = 20_000;
/// A scenario lasts at most this long.
pub const SPAN_MAX: Duration = Duration::from_secs(400 * 86_400);
/// Monday, 2026-01-05T08:00:00Z.
pub const START_DEFAULT: Timestamp = Timestamp::from_secs(1_767_600_000);

/// A scenario that can be played.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// When it begins.
    pub start: Timestamp,
    /// Its `config` blocks: the line each begins at, and its text.
    pub configs: Vec<(usize, String)>,
    /// A `config` block stands before anything else: the scenario brings its own config.
    pub has_own_config: bool,
    steps: Vec<Line>,
}

/// One mistake in a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScenarioError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ScenarioError {}

/// Makes a policy of a config file's text: given the text, and whether the agent starts with it (nothing is last
/// good then) rather than runs and reads it anew.
pub type Loader<'l> = dyn FnMut(&str, bool) -> Result<Arc<Policy>, String> + 'l;

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Every line that can't be understood.
    pub fn parse(text: &str) -> Result<Scenario, Vec<ScenarioError>> {
        parse::scenario(text)
    }

    /// Plays it under a policy. Its own `config` blocks are not read: see [`Scenario::run_with`].
    pub fn run(&self, policy: Arc<Policy>) -> Report {
        let mut loader = |_: &str, start: bool| match start {
            true => Ok(policy.clone()),
            false => Err("`config` blocks are not read here: the config is the one beside the scenario".to_owned()),
        };
        stage::play(self, policy.clone(), &mut loader)
    }

    /// Plays it under the config that it brings itself, and every later one.
    ///
    /// # Errors
    /// Its first config can't be read, or there is none.
    pub fn run_with(&self, loader: &mut Loader<'_>) -> Result<Report, String> {
        let (_, text) = self.configs.first().filter(|_| self.has_own_config).ok_or("the scenario brings no config")?;
        let policy = loader(text, true)?;
        Ok(stage::play(self, policy, loader))
    }
}

/// One line, read.
#[derive(Clone, PartialEq, Debug)]
struct Line {
    number: usize,
    text: String,
    when: When,
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// At the time of the line before.
    Now,
    /// This long after the start, by a clock that nobody sets.
    At(Duration),
    /// At this time by the wall clock.
    Clock(Timestamp),
    /// This long after the line before.
    After(Duration),
    /// As soon as it is seen, at the latest after this long.
    Within(Duration),
}

#[derive(Clone, PartialEq, Debug)]
enum Command {
    Wait,
    Say {
        check: String,
        part: Option<String>,
        says: Says,
    },
    Report {
        check: String,
        finding: Result<Option<String>, Finds>,
    },
    ReportStart {
        check: String,
    },
    Squelch {
        regex: String,
        reason: String,
        by: String,
        lasts: Option<Duration>,
        permanent: bool,
        every: Option<String>,
    },
    Unsquelch {
        regex: String,
        by: String,
    },
    Ack {
        fault: String,
        comment: String,
        by: String,
        lasts: Option<Duration>,
    },
    Unack {
        fault: String,
        by: String,
    },
    Run {
        check: String,
    },
    Source {
        name: String,
        problem: Option<String>,
    },
    Send {
        text: String,
        severity: Severity,
        to: Vec<String>,
        id: Option<String>,
        about: String,
    },
    Notifier {
        name: String,
        behaves: Behaves,
    },
    Stop {
        kindly: bool,
    },
    Begin,
    Restart {
        kindly: bool,
    },
    Away(Duration),
    ClockJump(i64),
    Reload {
        without: Vec<String>,
    },
    Config(usize),
    Expect(Expect),
}

#[derive(Clone, PartialEq, Debug)]
struct Finds {
    severity: Severity,
    message: String,
    escalates: bool,
}

#[derive(Clone, PartialEq, Debug)]
enum Says {
    /// The line it says so with, if any.
    Ok(Option<String>),
    Finds(Finds),
    Alternates(Finds),
    Metric(String, f64),
    Hangs,
    CannotStart,
    RunsFor(Duration),
    Rows {
        count: u32,
        ago: Duration,
    },
    RowsEvery(Option<Duration>),
}

#[derive(Clone, PartialEq, Debug)]
enum Behaves {
    Works,
    Fails(String),
    Refuses(String),
    Hangs,
    Resets,
    RetryAfter(Duration),
    Takes(Duration),
}

/// An event that is looked for; `because`: what the event says that led to it.
#[derive(Clone, PartialEq, Default, Debug)]
struct Happened {
    state: Option<EventState>,
    name: Option<String>,
    text: Option<String>,
    because: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
enum Expect {
    Deliver { not: bool, wanted: Told },
    Quiet,
    Fault { not: bool, wanted: Faulty },
    NoFaults,
    Held { not: bool, fault: String, rule: Option<String>, to: Option<String> },
    Run { check: String, count: Option<u32> },
    Event { not: bool, wanted: Happened },
    Queued(usize),
    Running(usize),
    Refused(Option<String>),
    Warned(Option<String>),
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Told {
    action: Option<Action>,
    fault: Option<String>,
    to: Option<String>,
    text: Option<String>,
    lasted: Option<Duration>,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Faulty {
    fault: String,
    severity: Option<Severity>,
    state: Option<Hardness>,
    attempt: Option<(u32, u32)>,
    stale: bool,
    acknowledged: bool,
    text: Option<String>,
}
