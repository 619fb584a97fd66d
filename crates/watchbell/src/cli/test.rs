//! `watchbell test`: runs checks once, now, in this process, and shows everything: how they are run, what they
//! bring, what the rules make of it, and what is told.
//!
//! The rules are the engine's own: the result is stepped through a world of its own that starts empty (but for the
//! squelches that are known) and is thrown away. No state is written.

mod notifier;

use super::{
    faults::word,
    place::{EnvFile, Place, Setup},
    table::{fitting, one_line},
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::api::view;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};
use watchbell_core::{
    config::{CheckPolicy, Policy},
    engine::{Input, State, World, step},
    model::{
        Action, Counted, Decision, Delivery, EventState, Exit, Failure, Fault, Hardness, Name, Outcome, Receipt,
        Severity, Timestamp, Verdict, Window,
    },
    state::lookback::{self, Lookback, minute_of},
};
use watchbell_io::{
    notify::Attempt,
    query,
    shared::{Shared, secret},
    source::{Look, Run},
    store::Journal,
};

/// A check or notifier that does not end by its own time limit is given up on after this much more.
const GRACE: Duration = Duration::from_secs(15);
/// So much of a check's output is shown.
const OUTPUT_CHARS_MAX: usize = 20_000;
/// So many checks run at a time.
const TESTS_MAX: usize = 8;

/// Run matching checks once, now, and show everything; or try a notifier
#[derive(clap::Args, Debug)]
#[command(
    after_help = "PATTERN is found in a check's full name, or in the name of its file, as it is or as a regular \
                        expression: `.` is all checks. They run side by side, and are shown in the order of their names, \
                        with a summary at the end. Each runs in this process, once, whatever its schedule; an agent that runs is not involved, and no state is written. \
                        What a check finds is judged as if it were certain (the last of its retries) and told through its \
                        notifiers as a message marked `[test]`, whose answer is shown; those that open incidents are told at \
                        once that the test is over. With --dry-run nothing is sent, and what would be sent is shown. \
                        A look-back counts the rows of its answer alone, keeps none, and shows every expectation, due or not. \
                        Squelches hold as always.\n\n--notifier NAME sends one message, marked `[test]`, to each target of that notifier, and \
                        shows the answers.\n\nWhat an agent started by systemd has in its environment, --env-file gives.\n\nExit \
                        code 0 if all checks are well, 1 if one finds something wrong or can't be judged, or a notifier fails."
)]
pub struct Args {
    /// Part of a name, or a regular expression
    #[arg(required_unless_present = "notifier")]
    pattern: Option<String>,
    /// Send one test message through this notifier, and run nothing
    #[arg(long, value_name = "NAME", conflicts_with = "pattern")]
    notifier: Option<String>,
    /// Send nothing: show what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Judge as if it were that time (hours, squelches that end); a look-back is judged for that minute
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    at: Option<when::Typed>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    env: EnvFile,
}

/// What came of one check.
struct Tested {
    policy: Arc<CheckPolicy>,
    cwd: Option<String>,
    /// What a look-back expects, and what was counted.
    expected: Vec<String>,
    outcome: Outcome,
    faults: Vec<Fault>,
    decisions: Vec<Decision>,
    deliveries: Vec<Delivery>,
    told: Vec<ToldTest>,
}

/// One delivery, and what came of it.
struct ToldTest {
    delivery: Delivery,
    /// What would be sent, where nothing is.
    preview: Option<String>,
    answer: Option<Result<Receipt, Failure>>,
}

impl Args {
    /// Runs them.
    pub fn run(&self, place: &Place) -> Done {
        self.env.apply()?;
        let setup = place.load(None)?;
        // As the agent does: what the config names relatively starts in its folder.
        setup.folder.enter()?;
        if let Some(name) = &self.notifier {
            return self.notifier(&setup, name);
        }
        let names = self.matching(&setup)?;
        let (runtime, shared) = (runtime()?, Shared::new()?);
        let at = self.at.as_ref().map(|typed| typed.in_zone(&setup.loaded.agent.zone));
        let (mut summary, mut list, mut shown) = (Summary::default(), Vec::new(), Ok(()));
        side_by_side(
            &names,
            |name| runtime.block_on(self.test(&setup, name, at, &shared)),
            |tested| {
                let Some(mut tested) = tested else { return true };
                // One by one: receivers are not to be flooded, and what they show stands in order too.
                for delivery in std::mem::take(&mut tested.deliveries) {
                    tested.told.push(runtime.block_on(self.tell(&setup, delivery, &shared)));
                }
                let gap = if summary.checks() > 0 { "\n" } else { "" };
                summary.add(&tested);
                match self.json {
                    true => list.push(tested.json()),
                    false => shown = ui::print(&format!("{gap}{}", tested.show(Paint::stdout(), self.dry_run))),
                }
                shown.is_ok()
            },
        );
        runtime.shutdown_background();
        shown?;
        match self.json {
            true => ui::print_json(&list)?,
            false if summary.checks() > 1 => ui::print(&summary.show(Paint::stdout()))?,
            false => {}
        }
        if summary.all_well() { Ok(()) } else { Err(Trouble::Found) }
    }

    /// The checks whose name or file matches, and that can be run.
    fn matching(&self, setup: &Setup) -> Done<Vec<Name>> {
        let policy = &setup.loaded.policy;
        let pattern = self.pattern.as_deref().unwrap_or_default();
        // What is no regular expression may be a part of a name all the same.
        let regex = view::regex(pattern).ok();
        let found = |text: &str| text.contains(pattern) || regex.as_ref().is_some_and(|regex| regex.is_match(text));
        let matches = |c: &&Arc<CheckPolicy>| found(&c.name) || found(&c.file);
        let found: Vec<&Arc<CheckPolicy>> = policy.checks.values().filter(matches).collect();
        if found.is_empty() {
            let near: Vec<String> = policy.checks.keys().take(5).map(|n| format!("`{n}`")).collect();
            let hint = match near.as_slice() {
                [] => "the config has no checks; `watchbell validate` says why".to_owned(),
                names => {
                    format!("names are such as {}; `watchbell validate` says if one is left out", names.join(", "))
                }
            };
            return Err(Trouble::Wrong(format!("no check's name or file contains `{pattern}`\nhint: {hint}")));
        }
        let (run, passive): (Vec<_>, Vec<_>) = found.into_iter().partition(|c| c.passive.is_none());
        for check in &passive {
            ui::note(&format!("`{}` is passive: others report on it, there is nothing to run", check.name));
        }
        match run.is_empty() {
            true => Err(Trouble::wrong("nothing that matches can be run")),
            false => Ok(run.into_iter().map(|c| c.name.clone()).collect()),
        }
    }

    async fn test(&self, setup: &Setup, name: &Name, at: Option<Timestamp>, shared: &Shared) -> Option<Tested> {
        let program = setup.loaded.programs.get(name)?;
        let policy = setup.loaded.policy.checks.get(name)?.clone();
        let now = crate::run::clock::now();
        let looked = policy.lookback.clone().map(|lookback| LookedAt::new(lookback, at, now));
        let sources = query::sources(&setup.loaded.policy.sources, &BTreeMap::new());
        let lookback = looked.as_ref().map(|looked| Look {
            policy: &looked.policy,
            source: sources.get(&looked.policy.source).map(|source| &**source),
            windows: &looked.windows,
            seen: None,
            now,
        });
        let run = Run { check: name, timeout: policy.timeout, shared, lookback };
        let mut outcome = match tokio::time::timeout(policy.timeout + GRACE, secret::masked(program.run(&run))).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("it did not end within {}", when::took(policy.timeout + GRACE));
                let findings = vec![watchbell_core::model::Finding::monitor("timeout", &text)];
                Outcome { findings, summary: text, inconclusive: true, ..Outcome::default() }
            }
        };
        let expected = looked.as_ref().map(|looked| looked.take_due(&mut outcome)).unwrap_or_default();
        let at = looked.as_ref().and_then(LookedAt::judged_at).or(at).unwrap_or(now);
        let judged = judge(setup, &policy, &outcome, at);
        let (faults, decisions, deliveries) = (judged.faults, judged.decisions, judged.deliveries);
        let cwd = program.cwd().map(|path| path.display().to_string());
        Some(Tested { policy, cwd, expected, outcome, faults, decisions, deliveries, told: Vec::new() })
    }

    async fn tell(&self, setup: &Setup, delivery: Delivery, shared: &Shared) -> ToldTest {
        let Some(notifier) = setup.loaded.notifiers.get(&delivery.notifier) else {
            let answer = Some(Err(Failure::permanent("there is no such notifier")));
            return ToldTest { delivery, preview: None, answer };
        };
        if self.dry_run {
            let preview = Some(notifier.preview(&delivery));
            return ToldTest { delivery, preview, answer: None };
        }
        let timeout = setup.loaded.policy.agent.deliver_timeout;
        let send = async |delivery: &Delivery| {
            let attempt = Attempt { timeout, shared };
            match tokio::time::timeout(timeout + GRACE, notifier.deliver(delivery, &attempt)).await {
                Ok(answer) => answer,
                Err(_) => Err(Failure::retry(format!("no answer within {}", when::took(timeout + GRACE)))),
            }
        };
        let message = as_test(delivery);
        let answer = send(&message).await;
        let policy = setup.loaded.policy.notifiers.get(&message.notifier);
        let opens = policy.is_some_and(|p| p.capabilities.acknowledges) && message.event.state == EventState::Problem;
        if opens && answer.is_ok() {
            let over = send(&test_is_over(&message)).await;
            if let Err(failure) = over {
                ui::warn(&format!("`{}` did not take that the test is over: {}", message.notifier, failure.reason()));
            }
        }
        ToldTest { delivery: message, preview: None, answer: Some(answer) }
    }
}

/// What a look-back is asked to count: all that it expects, at one minute.
struct LookedAt {
    policy: Arc<Lookback>,
    minute: Timestamp,
    windows: Vec<Window>,
}

impl LookedAt {
    fn new(policy: Arc<Lookback>, at: Option<Timestamp>, now: Timestamp) -> LookedAt {
        let minute = at.map_or_else(|| policy.newest(now), minute_of);
        let windows = policy.expect.iter().enumerate().map(|(line, e)| e.window(line, minute)).collect();
        LookedAt { policy, minute, windows }
    }

    /// When the agent judges this minute; a value is measured now.
    fn judged_at(&self) -> Option<Timestamp> {
        self.policy.value.is_none().then(|| self.minute + self.policy.delay)
    }

    /// A line for each expectation; what is not due at the minute is not judged.
    fn take_due(&self, outcome: &mut Outcome) -> Vec<String> {
        let Some(rows) = &mut outcome.rows else { return Vec::new() };
        let line = |counted: &Counted| {
            let expectation = &self.policy.expect[counted.line];
            let part = expectation.part.as_ref().map_or_else(String::new, |part| format!("{part}: "));
            let verdict = match (self.policy.is_due(counted.line, self.minute), expectation.judge(counted.count)) {
                (false, _) => " (not due at that minute)",
                (true, lookback::Verdict::Good) => ": GOOD",
                (true, _) => ": BAD",
            };
            format!("{part}{}{verdict}", self.policy.text(counted))
        };
        let lines = rows.counts.iter().map(line).collect();
        rows.counts.retain(|counted| self.policy.is_due(counted.line, self.minute));
        lines
    }
}

/// The same as a message that is marked as a test, under a key of its own: nothing that is really open is touched.
fn as_test(mut delivery: Delivery) -> Delivery {
    delivery.key = format!("test/{}", delivery.key);
    delivery.action = Action::Message;
    delivery.event.key.clone_from(&delivery.key);
    delivery.event.text = format!("[test] {}", delivery.event.text);
    delivery
}

fn test_is_over(message: &Delivery) -> Delivery {
    let mut over = Delivery { key: format!("{}/over", message.key), ..message.clone() };
    over.event.state = EventState::Recovery;
    over.event.text = "[test] the test is over".to_owned();
    over
}

/// What the rules make of an outcome.
struct Judged {
    faults: Vec<Fault>,
    decisions: Vec<Decision>,
    deliveries: Vec<Delivery>,
}

/// Steps an outcome through a world that holds this check alone, with no retries left.
fn judge(setup: &Setup, check: &Arc<CheckPolicy>, outcome: &Outcome, at: Timestamp) -> Judged {
    let mut alone = CheckPolicy::clone(check);
    alone.retry = 0;
    alone.parents = Vec::new();
    alone.flapping = None;
    let whole = &setup.loaded.policy;
    let policy = Policy {
        agent: whole.agent.clone(),
        checks: [(check.name.clone(), Arc::new(alone))].into(),
        notifiers: whole.notifiers.clone(),
        sources: whole.sources.clone(),
        ..Policy::default()
    };
    let mut world = World::new(Arc::new(policy), known_squelches(setup));
    let agent_id = format!("{}", at.as_micros());
    let mut orders = step(&mut world, at, Input::Start { agent_id }).runs;
    // It may be due just now.
    let now = Input::RunNow { check: check.name.clone(), by: "test".into() };
    orders.extend(step(&mut world, at, now).runs);
    let mut decisions = Vec::new();
    if let Some(order) = orders.into_iter().next() {
        let outcome = Box::new(outcome.clone());
        let result = Input::Result { check: order.check, run: order.run, started: at, outcome };
        decisions = step(&mut world, at, result).decisions;
    }
    let deliveries = world.deliveries().cloned().collect();
    // It began without any: all of them are the check's, or of the agent because of it, as its source's is.
    let faults = world.state.faults.into_values().collect();
    Judged { faults, decisions, deliveries }
}

/// An empty state with the squelches that the agent has, where they can be read.
fn known_squelches(setup: &Setup) -> State {
    let known = setup.state().ok().and_then(|dir| Journal::open(&dir).ok()).and_then(|j| j.state().ok());
    State { squelches: known.map(|(state, _)| state.squelches).unwrap_or_default(), ..State::default() }
}

fn runtime() -> Done<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Trouble::Failed(format!("can't start: {error}")))
}

/// Does the work for each, several at a time, and hands on what came of it in order, as soon as it can; no more once
/// `show` says so.
fn side_by_side<T: Sync, R: Send>(list: &[T], work: impl Fn(&T) -> R + Sync, mut show: impl FnMut(R) -> bool) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (done, wait) = mpsc::channel();
        for _ in 0..TESTS_MAX.min(list.len()) {
            let (done, next, work) = (done.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((at, item)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, list.get(at)?))) {
                    if done.send((at, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut early: BTreeMap<usize, R> = BTreeMap::new();
        let mut shown = 0;
        for (at, result) in wait {
            early.insert(at, result);
            while let Some(result) = early.remove(&shown) {
                shown += 1;
                if !show(result) {
                    next.store(list.len(), Relaxed);
                    return;
                }
            }
        }
    });
}

/// What came of all.
#[derive(Default)]
struct Summary {
    well: usize,
    /// Name and what is wrong.
    wrong: Vec<(Name, String)>,
    /// Name and why it can't be judged.
    unknown: Vec<(Name, String)>,
    /// Deliveries that failed.
    failed: usize,
}

impl Summary {
    fn add(&mut self, tested: &Tested) {
        let first = tested.faults.first().map(|fault| (fault.name.clone(), fault.message.clone()));
        let summary = || (tested.policy.name.clone(), tested.outcome.summary.clone());
        match (tested.outcome.inconclusive, first) {
            (true, first) => self.unknown.push(first.unwrap_or_else(summary)),
            (false, Some(first)) => self.wrong.push(first),
            (false, None) => self.well += 1,
        }
        self.failed += tested.told.iter().filter(|told| told.failed()).count();
    }

    fn checks(&self) -> usize {
        self.well + self.wrong.len() + self.unknown.len()
    }

    fn all_well(&self) -> bool {
        self.well == self.checks() && self.failed == 0
    }

    fn show(&self, paint: Paint) -> String {
        let count = |n: usize, what: &str, paint: &dyn Fn(&str) -> String| match n {
            0 => format!("0 {what}"),
            n => paint(&format!("{n} {what}")),
        };
        let mut out = format!(
            "\n{}: {}, {}, {}\n",
            ui::count(self.checks(), "check"),
            count(self.well, "well", &|t| paint.good(t)),
            count(self.wrong.len(), "wrong", &|t| paint.bad(t)),
            count(self.unknown.len(), "could not be judged", &|t| paint.bad(t)),
        );
        for (name, text) in self.wrong.iter().chain(&self.unknown) {
            let line = one_line(&format!("{name}: {text}"));
            out.push_str(&format!("  {}\n", fitting(&line, ui::width().map(|width| width.saturating_sub(2)))));
        }
        if self.failed > 0 {
            out.push_str(&format!("{}\n", paint.bad(&format!("{} failed", ui::count(self.failed, "message")))));
        }
        out
    }
}

impl Tested {
    fn show(&self, paint: Paint, dry_run: bool) -> String {
        let (policy, outcome) = (&self.policy, &self.outcome);
        let mut out = format!("{}\n", paint.head(&policy.name));
        let mut line = |word: &str, text: &str| out.push_str(&format!("  {word:<10} {}\n", indented(text)));
        line("file", &format!("{}:{}", policy.file, policy.line));
        line(policy.kind, &policy.shown);
        if let Some(cwd) = &self.cwd {
            line("in", cwd);
        }
        let exit = outcome.exit.map_or_else(String::new, |exit| format!("{}, ", exit_text(exit)));
        line("ended", &format!("{exit}after {}", when::took(outcome.took)));
        for phase in &outcome.phases {
            line("", &format!("{} {}", phase.name, when::took(Duration::from_secs_f64(phase.seconds.max(0.0)))));
        }
        let output = outcome.output.trim_end();
        if !output.is_empty() {
            line("output", &cut(output));
        }
        if output.trim() != outcome.summary.trim() {
            line("result", &outcome.summary);
        }
        if let Some(rows) = &outcome.rows {
            line(
                "rows",
                &format!(
                    "{} in the answer, {} of them with a key of their own; rows seen before are not counted here",
                    rows.seen, rows.new
                ),
            );
        }
        for expected in &self.expected {
            line("expect", expected);
        }
        for metric in &outcome.metrics {
            let unit = metric.unit.as_deref().or(policy.unit.as_deref().filter(|_| metric.name.is_empty()));
            let value = super::checks::number(metric.value, unit);
            match metric.name.as_str() {
                "" => line("value", &value),
                name => line("metric", &format!("{name} = {value}")),
            }
        }
        if self.faults.is_empty() {
            line("wrong", &paint.good("nothing"));
        }
        for fault in &self.faults {
            let severity = paint.severity(fault.reported, word(fault.reported, fault.unknown));
            line("wrong", &format!("{severity} {}: {}{}", fault.name, fault.message, self.retries(fault)));
        }
        for decision in self.decisions.iter().filter(|d| d.verdict != Verdict::Tell) {
            line("quiet", &format!("{} ({})", decision.text, decision.rule));
        }
        for told in &self.told {
            told.show(&mut line, paint, dry_run);
        }
        out
    }

    /// What the agent would wait for before it tells.
    fn retries(&self, fault: &Fault) -> String {
        let counts = fault.escalates && fault.reported < Severity::Critical && fault.state == Hardness::Hard;
        match self.policy.retry {
            n if n > 0 && counts && fault.reported >= Severity::Error => {
                format!(" (the agent tells it when {} runs in a row fail)", n + 1)
            }
            _ => String::new(),
        }
    }

    fn json(&self) -> serde_json::Value {
        let told: Vec<_> = self.told.iter().map(ToldTest::json).collect();
        serde_json::json!({
            "check": self.policy.name, "kind": self.policy.kind, "file": self.policy.file, "line": self.policy.line,
            "command": self.policy.shown, "cwd": self.cwd, "expected": self.expected, "outcome": self.outcome, "faults": self.faults,
            "decisions": self.decisions, "told": told,
        })
    }
}

impl ToldTest {
    fn failed(&self) -> bool {
        matches!(self.answer, Some(Err(_)))
    }

    fn to(&self) -> String {
        let delivery = &self.delivery;
        match delivery.target.as_str() {
            "" => delivery.notifier.to_string(),
            target => format!("{} ({target})", delivery.notifier),
        }
    }

    fn show(&self, line: &mut impl FnMut(&str, &str), paint: Paint, dry_run: bool) {
        let word = if dry_run { "would tell" } else { "told" };
        match (&self.preview, &self.answer) {
            (Some(preview), _) => line(word, &format!("{}:\n{}", self.to(), preview.trim_end())),
            (None, Some(Ok(receipt))) => {
                let id = receipt.id.as_ref().map_or_else(String::new, |id| format!(" (id {id})"));
                let text = if receipt.text.is_empty() { "taken" } else { receipt.text.as_str() };
                line(word, &format!("{}: {}{id}", self.to(), text));
            }
            (None, Some(Err(failure))) => {
                line(word, &format!("{}: {} {}", self.to(), paint.bad("failed:"), failure.reason()));
            }
            (None, None) => {}
        }
    }

    fn json(&self) -> serde_json::Value {
        let (answer, failure) = match &self.answer {
            Some(Ok(receipt)) => (Some(receipt), None),
            Some(Err(failure)) => (None, Some(failure.reason())),
            None => (None, None),
        };
        serde_json::json!({
            "notifier": self.delivery.notifier, "target": self.delivery.target, "delivery": self.delivery,
            "preview": self.preview, "answer": answer, "failure": failure,
        })
    }
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("with {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
        Exit::TimedOut => "by its time limit".to_owned(),
    }
}

/// Several lines below each other; colours of our own stay.
fn indented(text: &str) -> String {
    let mut lines = text.lines().map(|line| line.split('\x1b').map(ui::clean).collect::<Vec<_>>().join("\x1b"));
    let first = lines.next().unwrap_or_default();
    lines.fold(first, |all, line| format!("{all}\n             {line}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(OUTPUT_CHARS_MAX) {
        Some((at, _)) => format!("{}\n… ({} more bytes)", &text[..at], text.len() - at),
        None => text.to_owned(),
    }
}
