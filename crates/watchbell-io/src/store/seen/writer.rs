//! The one thread that writes `rows.db`. It commits everything that queued up while it committed in one
//! transaction: a thousand checkers that fall due together cost a few syncs, not a thousand.
//!
//! Invariants: what is answered `Ok` is committed and synced; a job that fails leaves nothing behind and fails
//! no other.

use super::{
    hash::Salt,
    tables::{self, Fresh, Place},
    told,
};
use crate::store::{StoreError, files::Files};
use rusqlite::Connection;
use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};
use watchbell_core::model::Name;

/// So many jobs wait for the writer; who brings more waits.
pub const QUEUE_MAX: usize = 256;
/// No more jobs are taken into a transaction that has so many rows to write.
pub const GROUP_ROWS_MAX: usize = 20_000;

/// What is to be done to a checker's rows.
#[derive(Debug)]
pub(super) enum Work {
    /// Store what is new; the answer is how many rows.
    Add(Vec<Fresh>),
    /// Remove these rows; the answer is how many were there.
    Purge(Vec<Place>),
    /// Remove at most `rows_max` rows, and the checker with the last; the answer is how many.
    Forget { rows_max: usize },
}

impl Work {
    fn rows(&self) -> usize {
        match self {
            Work::Add(rows) => rows.len(),
            Work::Purge(rows) => rows.len(),
            Work::Forget { rows_max } => *rows_max,
        }
    }
}

#[derive(Debug)]
struct Job {
    checker: Name,
    work: Work,
    answer: SyncSender<Result<u64, String>>,
}

/// The thread that writes, and the way to it.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it with a connection that may write.
    pub(super) fn start(conn: Connection, path: PathBuf, files: Files, salt: Salt) -> Result<Writer, String> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let mut own = Own { conn, path, files, salt };
        let thread = thread::Builder::new()
            .name("rows".to_owned())
            .spawn(move || own.run(&queue))
            .map_err(|e| format!("can't start the thread that stores rows: {e}"))?;
        Ok(Writer { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has this done, and waits until it is on disk.
    pub(super) fn ask(&self, checker: &Name, work: Work) -> Result<u64, String> {
        let gone = || "the thread that stores rows has ended: restart the agent".to_owned();
        let (answer, answered) = sync_channel(1);
        let job = Job { checker: checker.clone(), work, answer };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Writer {
    /// Waits until everything that was asked for is done and the database is closed.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Own {
    conn: Connection,
    path: PathBuf,
    files: Files,
    salt: Salt,
}

impl Own {
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut rows = first.work.rows();
            let mut group = vec![first];
            while rows < GROUP_ROWS_MAX
                && let Ok(job) = queue.try_recv()
            {
                rows += job.work.rows();
                group.push(job);
            }
            let answers = self.together(&group).unwrap_or_else(|error| match group.len() {
                1 => vec![Err(error)],
                // What breaks the whole transaction may be one job's: each by itself then.
                _ => group.iter().map(|job| self.alone(job)).collect(),
            });
            for (job, answer) in group.iter().zip(answers) {
                // Nobody waits for the answer any more: it is done all the same.
                let _ = job.answer.send(answer.map_err(|e| told(&e)));
            }
        }
    }

    fn alone(&mut self, job: &Job) -> Result<u64, StoreError> {
        self.together(std::slice::from_ref(job))?.pop().unwrap_or(Ok(0))
    }

    /// All of these in one transaction: an error if it is lost, else each one's answer.
    fn together(&mut self, group: &[Job]) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
        // What is written to a removed file would be lost.
        self.files.in_place()?;
        let wrong = |path: &PathBuf, e| StoreError::sqlite(path, &e);
        let path = &self.path;
        // Rolled back where this returns early.
        let mut tx = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|e| wrong(path, e))?;
        let mut answers = Vec::with_capacity(group.len());
        for job in group {
            let mut point = tx.savepoint().map_err(|e| wrong(path, e))?;
            let answer = run(&point, job, self.salt);
            if answer.is_err() && !point.is_autocommit() {
                point.rollback().map_err(|e| wrong(path, e))?;
            }
            if point.is_autocommit() {
                // SQLite gave the whole transaction up: nothing of the jobs before is stored either.
                let error = answer.err().unwrap_or(rusqlite::Error::InvalidQuery);
                return Err(wrong(path, error));
            }
            point.commit().map_err(|e| wrong(path, e))?;
            answers.push(answer.map_err(|e| wrong(path, e)));
        }
        tx.commit().map_err(|e| wrong(path, e))?;
        Ok(answers)
    }
}

fn run(conn: &Connection, job: &Job, salt: Salt) -> rusqlite::Result<u64> {
    let hash = |key: &str| salt.hash(key.as_bytes());
    match &job.work {
        Work::Add(rows) => tables::add(conn, &job.checker, rows),
        Work::Purge(rows) => tables::purge(conn, &job.checker, rows, hash),
        Work::Forget { rows_max } => tables::forget(conn, &job.checker, *rows_max, hash),
    }
}
