//! The engine's loop: takes inputs in, steps, commits in groups, and lets effects leave.
//!
//! Everything that arrived while the last commit ran goes into the next one. Runs start at once, except jobs,
//! whose start is on disk before it happens. Deliveries leave only after the commit that holds them. A commit
//! that fails is tried again unchanged; meanwhile nothing more is taken in, and people are told of it directly.

use super::{
    clock::Watch,
    direct::{self, News},
    handle::{Answer, Request, Requests},
    health::Health,
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use watchbell_core::{
    engine::{Commit, Effects, Input, RowKey, RunOrder, SendOrder, World, step},
    model::{Delivery, Finding, Severity, Timestamp},
};
use watchbell_io::store::StoreError;

/// A batch on which something depends closes after this long.
const BATCH_OPEN_FOR: Duration = Duration::from_millis(10);
/// A batch that only says that checks ran and found nothing new closes after this long: their next runs say it again,
/// and one commit for many runs of many checks writes each page of the database once.
const QUIET_BATCH_OPEN_FOR: Duration = Duration::from_secs(1);
/// Inputs taken from the queue at a time.
const TAKEN_AT_ONCE: usize = 512;
/// A commit that failed is tried again after this long.
const COMMIT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// People are told of a store that could not be written for this long.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the store must work before the fault that says it did not is gone.
const STORE_FAULT_FOR: Duration = Duration::from_secs(60);
/// The engine looks at the clock at least this often, to notice that it was set; and at the store's files, that they are there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What leaves the engine.
#[derive(Debug)]
pub enum Out {
    /// Start this run.
    Run(RunOrder),
    /// Try this delivery.
    Send(SendOrder),
    /// Send this; the outbox knows nothing of it.
    Direct(Arc<Delivery>),
    /// Results and numbers of a batch.
    Records(Box<Records>),
}

/// Takes what leaves the engine. Must not wait.
pub type Outlet = Box<dyn FnMut(Out) + Send>;

/// Results for the checks' logs, numbers for the sinks.
#[derive(Debug, Default)]
pub struct Records {
    /// Results.
    pub results: Vec<watchbell_core::engine::ResultRecord>,
    /// Numbers.
    pub samples: Vec<watchbell_core::model::Sample>,
}

/// The other end of the store's thread: one commit at a time.
pub struct Committer {
    /// Takes a commit.
    pub commits: std::sync::mpsc::Sender<Commit>,
    /// Says that it is done, and what is wrong with the disk all the same; or brings the commit back where it
    /// failed, and why.
    pub done: mpsc::Receiver<Result<Option<String>, (Commit, StoreError)>>,
}

/// The engine's loop.
pub struct Engine {
    world: World,
    health: Arc<Health>,
    requests: Requests,
    committer: Committer,
    out: Outlet,
    watch: Watch,
    /// What the steps since the last commit want.
    open: Batch,
    /// What leaves once the commit under way is done.
    committing: Option<Batch>,
    /// When the store was last given something: when nothing happens, it is asked whether it still could be.
    given: Instant,
    /// The store fails: nothing is taken in until it works.
    outage: Option<Outage>,
    /// The commit that failed, and when it is tried again.
    again: Option<(Instant, Commit)>,
    /// The store failed of late: its fault stays until it has worked for a while.
    failed_at: Option<Instant>,
    /// Nothing new begins: no run, no delivery.
    stopping: bool,
    closing: Option<oneshot::Sender<()>>,
}

/// The store can't be written.
struct Outage {
    /// Since when, for people.
    at: Timestamp,
    since: Instant,
    reason: String,
    hint: String,
    may_pass: bool,
    /// People were told.
    told: bool,
}

#[derive(Default)]
struct Batch {
    effects: Effects,
    waiters: Vec<(oneshot::Sender<Answer>, Answer)>,
    since: Option<Instant>,
    /// Nothing is in it: the store is asked whether it could keep something.
    only_looks: bool,
    /// More is in it than that checks ran and found nothing new.
    matters: bool,
}

impl Engine {
    /// Puts the engine together.
    pub fn new(world: World, health: Arc<Health>, requests: Requests, committer: Committer, out: Outlet) -> Engine {
        Engine {
            world,
            health,
            requests,
            committer,
            out,
            watch: Watch::new(),
            open: Batch::default(),
            committing: None,
            given: Instant::now(),
            outage: None,
            again: None,
            failed_at: None,
            stopping: false,
            closing: None,
        }
    }

    /// Runs until it is closed.
    ///
    /// # Errors
    /// The store can't be written, and never will; or its thread is gone.
    pub async fn run(mut self, start: Input) -> Result<(), String> {
        self.step(start);
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            self.close_batch();
            if self.closing.is_some() && self.committing.is_none() && self.open.is_empty() {
                break;
            }
            let wake = self.sleep();
            tokio::select! {
                biased;
                done = self.committer.done.recv(), if self.committing.is_some() => match done {
                    Some(result) => self.committed(result),
                    None => return Err("the store's thread is gone; what was not committed is done again by the next start".into()),
                },
                n = self.requests.inputs.recv_many(&mut taken, TAKEN_AT_ONCE), if self.outage.is_none() => {
                    if n == 0 {
                        break;
                    }
                    taken.drain(..).for_each(|request| self.take(request));
                }
                Some(look) = self.requests.looks.recv() => look(&self.world),
                () = tokio::time::sleep(wake) => {}
            }
            // Inputs come first, but however many there are, a look has its turn.
            if let Ok(look) = self.requests.looks.try_recv() {
                look(&self.world);
            }
            self.commit_again();
            self.watch_store()?;
            if self.outage.is_none() {
                self.wake();
            }
        }
        if let Some(closed) = self.closing.take() {
            let _ = closed.send(());
        }
        Ok(())
    }

    /// How long nothing needs doing unless something arrives.
    fn sleep(&self) -> Duration {
        let mut wait = LOOK_EVERY;
        if self.committing.is_none()
            && let Some(since) = self.open.since
        {
            wait = wait.min(self.open.open_for().saturating_sub(since.elapsed()));
        }
        if let Some((at, _)) = &self.again {
            wait = wait.min(at.saturating_duration_since(Instant::now()));
        }
        if let Some(at) = self.world.next_wake().filter(|_| self.outage.is_none()) {
            wait = wait.min(at.since(super::clock::now()));
        }
        wait
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Input(input) => drop(self.step(input)),
            Request::Submit(input, waiter) => {
                let answer = self.step(input);
                self.open.waiters.push((waiter, answer));
            }
            Request::Stop => self.stop(),
            Request::Close(closed) => {
                self.stop();
                self.closing = Some(closed);
            }
        }
    }

    /// Begins nothing new. What is under way may still bring its answer.
    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.step(Input::Stop);
        }
    }

    /// Steps what time alone brings.
    fn wake(&mut self) {
        let now = self.now();
        if !self.stopping && self.world.next_wake().is_some_and(|at| at <= now) {
            self.step_at(now, Input::Wake);
        }
    }

    /// What time it is. If the clock was set, the world hears of that before it hears anything else: it would take
    /// the hours that a machine slept for hours in which nobody reported.
    fn now(&mut self) -> Timestamp {
        let (now, jumped) = self.watch.read();
        if let Some(by_us) = jumped {
            tracing::warn!(by_us, "the clock was set; schedules follow the new time");
            self.step_at(now, Input::ClockJumped { by_us });
        }
        now
    }

    fn step(&mut self, input: Input) -> Answer {
        let now = self.now();
        self.step_at(now, input)
    }

    fn step_at(&mut self, now: Timestamp, input: Input) -> Answer {
        self.health.inputs.fetch_add(1, Relaxed);
        let mut effects = step(&mut self.world, now, input);
        let events = effects.events.iter().map(|e| e.seq).collect();
        let answer = Answer { refused: effects.refused.take(), warned: effects.warned.take(), events };
        if self.stopping {
            // Nothing new is begun; deliveries stay in the outbox for the next start.
            effects.runs.clear();
            effects.sends.clear();
        }
        let (later, at_once): (Vec<_>, Vec<_>) = effects.runs.drain(..).partition(|run| run.after_commit);
        effects.runs = later;
        at_once.into_iter().for_each(|run| (self.out)(Out::Run(run)));
        if !effects.results.is_empty() || !effects.samples.is_empty() {
            let results = std::mem::take(&mut effects.results);
            let samples = std::mem::take(&mut effects.samples);
            (self.out)(Out::Records(Box::new(Records { results, samples })));
        }
        self.open.absorb(effects);
        answer
    }

    /// Gives the open batch to the store, if it is time and the store is free.
    fn close_batch(&mut self) {
        let due = !self.open.waiters.is_empty()
            || self.closing.is_some()
            || self.open.since.is_some_and(|since| since.elapsed() >= self.open.open_for());
        let look = self.open.is_empty() && self.given.elapsed() >= LOOK_EVERY;
        if self.committing.is_some() || self.outage.is_some() || !(due || look) {
            return;
        }
        let mut batch = std::mem::take(&mut self.open);
        let commit = batch.effects.take_commit(&self.world.state);
        if commit.is_empty() && !look {
            return self.release(batch);
        }
        batch.only_looks = commit.is_empty();
        self.given = Instant::now();
        batch.since = Some(self.given);
        // Should its thread be gone, waiting for its answer says so.
        let _ = self.committer.commits.send(commit);
        self.committing = Some(batch);
    }

    /// A commit is done, or must be tried again.
    fn committed(&mut self, result: Result<Option<String>, (Commit, StoreError)>) {
        match result {
            Ok(disk_trouble) => {
                if let Some(batch) = self.committing.take() {
                    if !batch.only_looks {
                        self.health.commits.fetch_add(1, Relaxed);
                        self.health.commit_time.observe(batch.since.map(|s| s.elapsed()).unwrap_or_default());
                    }
                    self.release(batch);
                }
                self.tell_of_store(disk_trouble);
            }
            Err((commit, error)) => {
                self.health.commit_failures.fetch_add(1, Relaxed);
                self.store_fails(error.to_string(), error.hint(), error.may_pass());
                self.again = Some((Instant::now() + COMMIT_AGAIN_AFTER, commit));
            }
        }
    }

    fn store_fails(&mut self, reason: String, hint: String, may_pass: bool) {
        self.health.set_store_failure(Some(reason.clone()));
        if let Some(outage) = &mut self.outage {
            (outage.reason, outage.hint, outage.may_pass) = (reason, hint, may_pass);
            return;
        }
        tracing::error!(reason, "the store can't be written; nothing is taken in until it can");
        let since = self.committing.as_ref().and_then(|batch| batch.since).unwrap_or_else(Instant::now);
        self.outage = Some(Outage { at: super::clock::now(), since, reason, hint, may_pass, told: false });
    }

    /// Nothing can be told by the store's ways while it can't be written: whoever hears of the agent's own faults is
    /// told directly. What will not pass ends the agent, so that its supervisor sees it too.
    fn watch_store(&mut self) -> Result<(), String> {
        let hangs = |batch: &Batch| batch.since.is_some_and(|since| since.elapsed() >= STORE_PATIENCE);
        if self.outage.is_none() && self.committing.as_ref().is_some_and(hangs) {
            let reason = format!("a commit takes longer than {} s", STORE_PATIENCE.as_secs());
            self.store_fails(reason, "see whether the disk is well (`dmesg`)".into(), true);
        }
        let Some(outage) = &mut self.outage else { return Ok(()) };
        if outage.told || outage.since.elapsed() < STORE_PATIENCE {
            return Ok(());
        }
        outage.told = true;
        let text =
            format!("the store can't be written, so no check is judged and nothing else is told: {}", outage.reason);
        let news = News { since: outage.at, works: false, text: &text, detail: &outage.hint };
        let direct = direct::deliveries(&self.world, super::clock::now(), &news);
        let ended = if outage.may_pass { Ok(()) } else { Err(format!("{}\nhint: {}", outage.reason, outage.hint)) };
        direct.into_iter().for_each(|delivery| (self.out)(Out::Direct(delivery)));
        ended
    }

    /// Tries the commit that failed once more, if it is time.
    fn commit_again(&mut self) {
        if let Some((_, commit)) = self.again.take_if(|(at, _)| *at <= Instant::now()) {
            drop(self.committer.commits.send(commit));
        }
    }

    /// The store works; whether it failed before, and whether the disk is in trouble, are faults of the agent.
    fn tell_of_store(&mut self, disk_trouble: Option<String>) {
        if let Some(Outage { at, reason, told, .. }) = self.outage.take() {
            self.health.set_store_failure(None);
            tracing::warn!("the store can be written again");
            self.failed_at = Some(Instant::now());
            if told {
                let news = News { since: at, works: true, text: "the store can be written again", detail: "" };
                let direct = direct::deliveries(&self.world, super::clock::now(), &news);
                direct.into_iter().for_each(|delivery| (self.out)(Out::Direct(delivery)));
            }
            let text = format!("the store could not be written for a while: {reason}");
            self.own("store", Some(Finding::new(Severity::Critical, text)));
        } else if self.failed_at.is_none_or(|at| at.elapsed() >= STORE_FAULT_FOR) {
            self.failed_at = None;
            self.own("store", None);
        }
        self.own("disk", disk_trouble.map(|text| Finding::new(Severity::Critical, text)));
    }

    /// Raises or clears a fault of the agent itself, where that changes anything.
    fn own(&mut self, part: &str, finding: Option<Finding>) {
        let name = self.world.policy.agent.name.part(part);
        let now = self.world.state.faults.get(&name).map(|f| &f.message);
        if now != finding.as_ref().map(|f| &f.message) {
            self.step(Input::Own { part: part.into(), finding });
        }
    }

    /// What was waiting for its commit leaves.
    fn release(&mut self, mut batch: Batch) {
        if self.stopping {
            batch.effects.runs.clear();
            batch.effects.sends.clear();
        }
        batch.effects.runs.into_iter().for_each(|run| (self.out)(Out::Run(run)));
        batch.effects.sends.into_iter().for_each(|send| (self.out)(Out::Send(send)));
        for (waiter, answer) in batch.waiters {
            // Whoever asked may have gone.
            let _ = waiter.send(answer);
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    fn open_for(&self) -> Duration {
        if self.matters { BATCH_OPEN_FOR } else { QUIET_BATCH_OPEN_FOR }
    }

    /// Adds what one step wants.
    fn absorb(&mut self, effects: Effects) {
        self.since.get_or_insert_with(Instant::now);
        let quiet = effects.events.is_empty() && effects.decisions.is_empty() && effects.sends.is_empty();
        let only_runs = || effects.changed.iter().all(|key| matches!(key, RowKey::Check(_)));
        self.matters |= !(quiet && effects.runs.is_empty() && only_runs());
        self.effects.absorb(effects);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{clock, config::KINDS, handle::Handle};
    use super::*;
    use jiff::tz::TimeZone;
    use watchbell_core::config::{Config, InputFile, LoadOptions};
    use watchbell_core::engine::State;
    use watchbell_core::model::Outcome;

    const CONFIG: &str = "[agent]\nname = \"h\"\nnotify = [\"ops\"]\n[notify.ops]\nkind = \"log\"\n\
                          [check.job]\npassive = \"1h\"\n";

    /// An engine that was started this long ago, whose machine slept since.
    fn slept(hours: u64) -> Engine {
        let options = LoadOptions { root: "/".into(), default_agent_name: "x".into(), local_zone: TimeZone::UTC };
        let mut config = Config::new(KINDS, options, |notifier| notifier.targets());
        let path = "watchbell.toml".to_owned();
        config.update(vec![InputFile { absolute: format!("/{path}"), path, text: Ok(CONFIG.into()) }]);
        let mut world = World::new(Arc::new(config.assemble().policy), State::default());
        let then = clock::now() - Duration::from_secs(hours * 3600);
        step(&mut world, then, Input::Start { agent_id: "a".into() });
        let report =
            Input::Report { check: "//h/watchbell/job".into(), at: None, outcome: Box::new(Outcome::default()) };
        step(&mut world, then, report);
        let health = Arc::new(Health::default());
        // The door stays open for as long as the test runs.
        let (handle, requests) = Handle::new(health.clone());
        std::mem::forget(handle);
        let committer = Committer { commits: std::sync::mpsc::channel().0, done: mpsc::channel(1).1 };
        let mut engine = Engine::new(world, health, requests, committer, Box::new(|_| {}));
        engine.watch = Watch::since(then);
        engine
    }

    /// A machine that slept: whatever is heard first, the clock comes before it, and nobody is blamed for the silence.
    #[test]
    fn a_jump_of_the_clock_comes_first() {
        let mut engine = slept(2);
        engine.step(Input::Wake);
        let texts: Vec<&str> = engine.open.effects.events.iter().map(|event| event.text.as_str()).collect();
        assert!(matches!(texts[..], [first] if first.starts_with("the clock was set by +7200")), "{texts:?}");
        assert!(engine.world.state.faults.is_empty());
    }

    /// A store that will never work again: people are told once, directly, and the agent ends with the reason.
    #[test]
    fn a_store_that_will_not_work_again() {
        let mut engine = slept(0);
        let (sent, direct) = std::sync::mpsc::channel();
        engine.out = Box::new(move |out| {
            if let Out::Direct(delivery) = out {
                sent.send(delivery).unwrap();
            }
        });
        let corrupt = StoreError::Corrupt { path: "state.db".into(), why: "page 7".into() };
        engine.committed(Err((Commit::default(), corrupt.clone())));
        assert_eq!(engine.watch_store(), Ok(()), "it may be over in a moment");
        let outage = engine.outage.as_mut().unwrap();
        outage.since = outage.since.checked_sub(STORE_PATIENCE).unwrap();
        let (at, ended) = (outage.at, engine.watch_store().unwrap_err());
        assert!(ended.starts_with(&corrupt.to_string()) && ended.contains("hint:"), "{ended}");
        let told: Vec<_> = direct.try_iter().collect();
        assert!(matches!(&told[..], [one] if one.key == format!("a/store/{at}/ops")), "{told:?}");
        engine.committed(Ok(None));
        let told: Vec<_> = direct.try_iter().map(|d| (d.key.clone(), d.event.text.clone())).collect();
        assert_eq!(told, [(format!("a/store/{at}/ops/works"), "the store can be written again".to_owned())]);
    }

    /// Without the store's thread there is no agent.
    #[tokio::test]
    async fn an_engine_without_a_store_ends() {
        let ended = slept(0).run(Input::ClockJumped { by_us: 3_000_000 }).await;
        assert!(ended.is_err_and(|why| why.contains("the store's thread is gone")));
    }
}
