//! The engine's loop: takes inputs in, steps, commits in groups, and lets effects leave.
//!
//! Everything that arrived while the last commit ran goes into the next one. Runs start at once, except jobs,
//! whose start is on disk before it happens. Deliveries leave only after the commit that holds them. A commit
//! that fails is tried again unchanged; meanwhile nothing more is taken in.

use super::{
    clock::Watch,
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
    model::{Finding, Severity},
};

/// A batch on which something depends closes after this long.
const BATCH_OPEN_FOR: Duration = Duration::from_millis(10);
/// A batch that only says that checks ran and found nothing new closes after this long: their next runs say it again,
/// and one commit for many runs of many checks writes each page of the database once.
const QUIET_BATCH_OPEN_FOR: Duration = Duration::from_secs(1);
/// Inputs taken from the queue at a time.
const TAKEN_AT_ONCE: usize = 512;
/// A commit that failed is tried again after this long.
const COMMIT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the store must work before the fault that says it did not is gone.
const STORE_FAULT_FOR: Duration = Duration::from_secs(60);
/// The engine looks at the clock at least this often, to notice that it was set.
const LOOK_AT_CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What leaves the engine.
#[derive(Debug)]
pub enum Out {
    /// Start this run.
    Run(RunOrder),
    /// Try this delivery.
    Send(SendOrder),
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
    pub done: mpsc::Receiver<Result<Option<String>, (Commit, String)>>,
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
    /// The store failed: nothing is taken in until it works.
    failing: bool,
    /// The commit that failed, and when it is tried again.
    again: Option<(Instant, Commit)>,
    /// The store failed of late: its fault stays until it has worked for a while.
    failed_at: Option<Instant>,
    closing: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Batch {
    effects: Effects,
    waiters: Vec<(oneshot::Sender<Answer>, Answer)>,
    since: Option<Instant>,
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
            failing: false,
            again: None,
            failed_at: None,
            closing: None,
        }
    }

    /// Runs until it is closed.
    pub async fn run(mut self, start: Input) {
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
                    None => break,
                },
                n = self.requests.inputs.recv_many(&mut taken, TAKEN_AT_ONCE), if !self.failing => {
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
            if !self.failing {
                self.wake();
            }
        }
        if let Some(closed) = self.closing.take() {
            let _ = closed.send(());
        }
    }

    /// How long nothing needs doing unless something arrives.
    fn sleep(&self) -> Duration {
        let mut wait = LOOK_AT_CLOCK_EVERY;
        if self.committing.is_none()
            && let Some(since) = self.open.since
        {
            wait = wait.min(self.open.open_for().saturating_sub(since.elapsed()));
        }
        if let Some((at, _)) = &self.again {
            wait = wait.min(at.saturating_duration_since(Instant::now()));
        }
        if let Some(at) = self.world.next_wake().filter(|_| !self.failing) {
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
            Request::Close(closed) => {
                self.step(Input::Stop);
                self.closing = Some(closed);
            }
        }
    }

    /// Steps what time alone brings.
    fn wake(&mut self) {
        let (now, jumped) = self.watch.read();
        if let Some(by_us) = jumped {
            tracing::warn!(by_us, "the clock was set; schedules follow the new time");
            self.step(Input::ClockJumped { by_us });
        }
        if self.closing.is_none() && self.world.next_wake().is_some_and(|at| at <= now) {
            self.step(Input::Wake);
        }
    }

    fn step(&mut self, input: Input) -> Answer {
        let now = super::clock::now();
        self.health.inputs.fetch_add(1, Relaxed);
        let mut effects = step(&mut self.world, now, input);
        let answer = Answer { refused: effects.refused.take(), events: effects.events.iter().map(|e| e.seq).collect() };
        if self.closing.is_some() {
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
        if self.committing.is_some() || self.failing || !due {
            return;
        }
        let mut batch = std::mem::take(&mut self.open);
        let commit = batch.effects.take_commit(&self.world.state);
        if commit.is_empty() {
            return self.release(batch);
        }
        batch.since = Some(Instant::now());
        if self.committer.commits.send(commit).is_ok() {
            self.committing = Some(batch);
        }
    }

    /// A commit is done, or must be tried again.
    fn committed(&mut self, result: Result<Option<String>, (Commit, String)>) {
        match result {
            Ok(disk_trouble) => {
                self.health.commits.fetch_add(1, Relaxed);
                if let Some(batch) = self.committing.take() {
                    self.health.commit_time.observe(batch.since.map(|s| s.elapsed()).unwrap_or_default());
                    self.release(batch);
                }
                self.tell_of_store(disk_trouble);
            }
            Err((commit, reason)) => {
                self.health.commit_failures.fetch_add(1, Relaxed);
                if !self.failing {
                    tracing::error!(reason, "the store can't be written; nothing is taken in until it can");
                }
                self.failing = true;
                self.health.set_store_failure(Some(reason));
                self.again = Some((Instant::now() + COMMIT_AGAIN_AFTER, commit));
            }
        }
    }

    /// Tries the commit that failed once more, if it is time.
    fn commit_again(&mut self) {
        if let Some((_, commit)) = self.again.take_if(|(at, _)| *at <= Instant::now()) {
            drop(self.committer.commits.send(commit));
        }
    }

    /// The store works; whether it failed before, and whether the disk is in trouble, are faults of the agent.
    fn tell_of_store(&mut self, disk_trouble: Option<String>) {
        if std::mem::take(&mut self.failing) {
            let reason = self.health.store_failure().unwrap_or_default();
            self.health.set_store_failure(None);
            tracing::warn!("the store can be written again");
            self.failed_at = Some(Instant::now());
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
    fn release(&mut self, batch: Batch) {
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
