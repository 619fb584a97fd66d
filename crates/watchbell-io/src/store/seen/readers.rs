//! Connections that read, shared by whoever asks: a reader never waits for the writer, only for other readers
//! when there are too many at a time.

use super::{super::journal, tables, told};
use crate::store::StoreError;
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// So many read `rows.db` at a time; others wait for them.
pub const READERS_MAX: usize = 8;
/// What a reader keeps of the database in memory, in KiB.
const READER_CACHE_KIB: i64 = 4 << 10;

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Idle>,
    back: Condvar,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    out: usize,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Readers {
        Readers { path: path.to_owned(), idle: Mutex::default(), back: Condvar::new() }
    }

    /// Runs this with a connection. One that failed is not used again.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        let lent = self.take();
        let open = || -> Result<(Connection, T), StoreError> {
            let conn = match lent.0 {
                Some(conn) => conn,
                None => connect(&self.path)?,
            };
            let answer = read(&conn).map_err(|e| StoreError::sqlite(&self.path, &e))?;
            Ok((conn, answer))
        };
        let (conn, answer) = open().map_err(|e| told(&e))?;
        self.lock().connections.push(conn);
        drop(lent.1);
        Ok(answer)
    }

    fn take(&self) -> (Option<Connection>, Permit<'_>) {
        let mut idle = self.lock();
        while idle.out >= READERS_MAX {
            idle = self.back.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
        idle.out += 1;
        (idle.connections.pop(), Permit(self))
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to read now; given back also when a reader panics.
struct Permit<'a>(&'a Readers);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().out -= 1;
        self.0.back.notify_one();
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let (conn, found) = journal::open(path)?;
    tables::refuse(&conn, path, found)?;
    let wrong = |e| StoreError::sqlite(path, &e);
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB).map_err(wrong)?;
    conn.pragma_update(None, "trusted_schema", false).map_err(wrong)?;
    conn.pragma_update(None, "cell_size_check", true).map_err(wrong)?;
    Ok(conn)
}
