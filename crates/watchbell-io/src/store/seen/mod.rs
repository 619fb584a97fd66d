//! The rows that look-backs have seen, in `rows.db` (S2.5, S2.6, S2.9): a key of a checker once, under the time it
//! came with first. What a row is and which are counted is decided elsewhere; whoever opens this for writing holds
//! the state folder's lock.
//!
//! Invariants:
//! - What [`SeenRows::add`] has counted is on disk, synced; after an error nothing of the last step is.
//! - A hash never decides that two keys are the same: the keys are compared.
//! - Readers never wait for the writer, nor one checker for another's error.
//! - No clock is read here.
//!
//! Why these tables (`cargo bench -p watchbell-io --bench seen`, 10 million rows, results of 10,000, ratios to bare
//! SQLite with `INSERT OR IGNORE` on text keys; one run on a busy machine, without link-time optimisation): rows in
//! order of time make a look-back's rows neighbours, so those seen before are found by reading one stretch (13 times
//! as fast; rows of all ages 1.16 times, under other times than before 0.95). A slot of two numbers a key is smaller
//! than an index over the keys, so that new rows, whose hashes lie anywhere, touch fewer pages (1.96 times; spread
//! over all of the past 1.07 times). 10,000 rows are counted in 0.36 ms. The database has a third of the bytes. An
//! earlier form (8 passed rows before a seek, no transaction around the reads, other times left to the writer) had
//! 1.0 for rows of all ages and 0.65 to 0.76 for other times; which of the three changes made that was not measured.

mod hash;
mod known;
mod readers;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use readers::READERS_MAX;
pub use tables::CHECKERS_MAX;
pub(super) use tables::{VERSION as SCHEMA_VERSION, is_seen};
pub use writer::{GROUP_ROWS_MAX, QUEUE_MAX};

use super::{StoreError, files::Files, local, open_file, schema, sync_dir};
use hash::Salt;
use readers::Readers;
use rusqlite::{Connection, OpenFlags, params};
use std::{collections::HashSet, path::Path, time::Duration};
use tables::Fresh;
use watchbell_core::{
    model::{Counted, Name, Row, Timestamp, Window},
    state::lookback::count,
};
use writer::{Work, Writer};

/// So many rows of one result are written at a time: between two such steps other checkers have their turn.
pub const STEP_ROWS_MAX: usize = 10_000;
/// What the writer keeps of the database in memory, in KiB.
const WRITER_CACHE_KIB: i64 = 16 << 10;
/// The write-ahead log is moved into the database when it has this many pages of 4 KiB.
const WAL_PAGES: u32 = 2_000;
/// A write-ahead log that grew is cut back to this many bytes.
pub const WAL_BYTES_MAX: u32 = 32 << 20;

/// Times are stored to this.
const MICROSECOND: Duration = Duration::from_micros(1);

/// What became of a result's rows; the others were seen before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Added {
    /// So many keys were not known and are stored now.
    pub new: u64,
    /// So many rows are older than what is kept; they were left out.
    pub too_old: u64,
}

/// The database of seen rows. Blocking; share it by `Arc` between threads.
#[derive(Debug)]
pub struct SeenRows {
    /// Closed before the writer, so that the writer's close tidies the files up: fields are dropped in this order.
    readers: Readers,
    writer: Option<Writer>,
    salt: Salt,
}

impl SeenRows {
    /// Opens the database for reading and writing, and makes it where it is not there. Its folder is there.
    ///
    /// # Errors
    /// A newer program wrote it, it is damaged or another program's, or it can't be used: what, and what to do.
    pub fn open(path: &Path) -> Result<SeenRows, String> {
        SeenRows::open_hashed(path, |salt| salt)
    }

    /// The same; tests make the hashes short, so that keys collide.
    fn open_hashed(path: &Path, change: impl Fn(Salt) -> Salt) -> Result<SeenRows, String> {
        let open = || -> Result<_, StoreError> {
            let wrong = |e: &std::io::Error| StoreError::io(format!("can't open `{}`", path.display()), path, e);
            // Made here for its mode: SQLite gives its other files the mode of the database.
            drop(open_file(path).map_err(|e| wrong(&e))?);
            let conn = connect(path)?;
            let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_dir(dir).map_err(|e| wrong(&e))?;
            let salt = change(salt(&conn).map_err(|e| StoreError::sqlite(path, &e))?);
            Ok((conn, Files::of(path), salt))
        };
        let (conn, files, salt) = open().map_err(|e| told(&e))?;
        let writer = Writer::start(conn, path.to_owned(), files, salt)?;
        Ok(SeenRows { readers: Readers::new(path), writer: Some(writer), salt })
    }

    /// Opens the database for reading, beside a running agent or with none.
    ///
    /// # Errors
    /// There is none, another version wrote it, it is damaged, or this user may not read it.
    pub fn read_only(path: &Path) -> Result<SeenRows, String> {
        let readers = Readers::new(path);
        let salt = readers.with(salt)?;
        Ok(SeenRows { readers, writer: None, salt })
    }

    /// Stores the rows of a result whose keys are not known; of a key that comes twice the first. Rows from before
    /// `keep_from` are passed over: they would be purged and be new again. On disk when it returns.
    ///
    /// # Errors
    /// They could not be stored, or not all of them: those that were are known when they come again.
    pub fn add(&self, checker: &Name, rows: &[Row], keep_from: Timestamp) -> Result<Added, String> {
        let writer = self.writer()?;
        let kept: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].time >= keep_from).collect();
        let too_old = (rows.len() - kept.len()) as u64;
        let unknown = self.readers.with(|conn| known::unknown(conn, checker, rows, kept, self.salt))?;
        let fresh = |u: known::Unknown| {
            let Row { key, time } = &rows[u.at];
            Fresh { hash: u.hash, time: time.as_micros(), key: key.clone() }
        };
        let mut new = 0;
        let mut fresh = unknown.into_iter().map(fresh).peekable();
        while fresh.peek().is_some() {
            new += writer.ask(checker, Work::Add(fresh.by_ref().take(STEP_ROWS_MAX).collect()))?;
        }
        Ok(Added { new, too_old })
    }

    /// The times of a checker's rows with `from < time < to`, in order.
    ///
    /// # Errors
    /// There are more than `max`, or the database can't be read.
    pub fn times(&self, checker: &Name, from: Timestamp, to: Timestamp, max: usize) -> Result<Vec<Timestamp>, String> {
        let found = self.first_times(checker, from, to, max.saturating_add(1))?;
        if found.len() > max {
            return Err(format!(
                "`{checker}` has more than {max} rows between {from} and {to}: ask for a shorter time"
            ));
        }
        Ok(found)
    }

    /// The first `max` of these.
    fn first_times(
        &self,
        checker: &Name,
        from: Timestamp,
        to: Timestamp,
        max: usize,
    ) -> Result<Vec<Timestamp>, String> {
        const SQL: &str = "SELECT time FROM seen WHERE checker = (SELECT id FROM checker WHERE name = ?1)
            AND time > ?2 AND time < ?3 ORDER BY time LIMIT ?4";
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        self.readers.with(|conn| {
            let mut statement = conn.prepare_cached(SQL)?;
            let times = params![checker.as_str(), from.as_micros(), to.as_micros(), limit];
            statement.query_map(times, |r| r.get(0).map(Timestamp::from_micros))?.collect()
        })
    }

    /// How many rows of a checker each window holds, their ends excluded. The times of all of them are read once, at most
    /// `slice_max` at a time: between two such steps others have their turn, and memory does not grow with the rows.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn count_windows(&self, checker: &Name, windows: &[Window], slice_max: usize) -> Result<Vec<Counted>, String> {
        let mut counts = count(&[], windows);
        let ends = windows.iter().map(|w| w.from).min().zip(windows.iter().map(|w| w.until).max());
        let Some((mut from, until)) = ends else { return Ok(counts) };
        let mut add = |times: &[Timestamp], rows_each: u64| {
            for (sum, more) in counts.iter_mut().zip(count(times, windows)) {
                sum.count += more.count * rows_each;
            }
        };
        loop {
            let mut times = self.first_times(checker, from, until, slice_max)?;
            let last = times.last().copied().filter(|_| times.len() >= slice_max);
            let Some(last) = last else {
                add(&times, 1);
                return Ok(counts);
            };
            // What else has the last time belongs to the next slice, unless the whole slice has no other.
            times.retain(|time| *time < last);
            add(&times, 1);
            from = last - MICROSECOND;
            if times.is_empty() {
                add(&[last], self.count(checker, from, last + MICROSECOND)?);
                from = last;
            }
        }
    }

    /// How many rows of a checker have `from < time < to`.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn count(&self, checker: &Name, from: Timestamp, to: Timestamp) -> Result<u64, String> {
        const SQL: &str = "SELECT count(*) FROM seen WHERE checker = (SELECT id FROM checker WHERE name = ?1)
            AND time > ?2 AND time < ?3";
        self.readers.with(|conn| {
            let ends = params![checker.as_str(), from.as_micros(), to.as_micros()];
            conn.prepare_cached(SQL)?.query_row(ends, |r| r.get(0).map(i64::cast_unsigned))
        })
    }

    /// Removes rows of a checker from before a time, the oldest first and at most `max_rows`; how many. Those with a key
    /// in `keep` stay.
    ///
    /// # Errors
    /// They could not be removed, or not all of them.
    pub fn purge(
        &self,
        checker: &Name,
        before: Timestamp,
        max_rows: usize,
        keep: &HashSet<String>,
    ) -> Result<u64, String> {
        let (mut after, mut gone) = (None, 0);
        while gone < max_rows as u64 {
            let rows_max = STEP_ROWS_MAX.min(max_rows - usize::try_from(gone).unwrap_or(max_rows));
            let mut old = self
                .readers
                .with(|conn| tables::oldest(conn, checker, before.as_micros(), after.as_ref(), rows_max))?;
            let whole = old.len() < rows_max;
            after = old.last().cloned();
            old.retain(|(_, key)| !keep.contains(key));
            if !old.is_empty() {
                gone += self.writer()?.ask(checker, Work::Purge(old))?;
            }
            if whole {
                break;
            }
        }
        Ok(gone)
    }

    /// Removes the checkers that `gone` names whose rows are all from before a time, or that have none; which.
    ///
    /// # Errors
    /// One could not be removed; others may be gone.
    pub fn forget_old(&self, gone: impl Fn(&Name) -> bool, before: Timestamp) -> Result<Vec<Name>, String> {
        let old = |last: Option<(Timestamp, Timestamp)>| last.is_none_or(|(_, last)| last < before);
        let mut forgotten = Vec::new();
        for (name, _, _) in self.checkers()?.into_iter().filter(|(name, _, ends)| gone(name) && old(*ends)) {
            self.forget(&name)?;
            forgotten.push(name);
        }
        Ok(forgotten)
    }

    /// Removes a checker and all of its rows, in steps between which others have their turn.
    ///
    /// # Errors
    /// It could not be removed; some of its rows may be gone.
    pub fn forget(&self, checker: &Name) -> Result<(), String> {
        while self.writer()?.ask(checker, Work::Forget { rows_max: STEP_ROWS_MAX })? == STEP_ROWS_MAX as u64 {}
        Ok(())
    }

    /// The checkers that have rows or had some, by name: how many, and the times of the first and the last.
    ///
    /// # Errors
    /// The database can't be read.
    #[expect(clippy::type_complexity, reason = "three columns")]
    pub fn checkers(&self) -> Result<Vec<(Name, u64, Option<(Timestamp, Timestamp)>)>, String> {
        const SQL: &str = "SELECT name, count,
            (SELECT min(time) FROM seen WHERE checker = id), (SELECT max(time) FROM seen WHERE checker = id)
            FROM checker ORDER BY name";
        self.readers.with(|conn| {
            let read = |r: &rusqlite::Row<'_>| {
                let ends = r.get::<_, Option<i64>>(2)?.zip(r.get::<_, Option<i64>>(3)?);
                let ends = ends.map(|(a, b)| (Timestamp::from_micros(a), Timestamp::from_micros(b)));
                Ok((Name::from(r.get::<_, String>(0)?), r.get::<_, i64>(1)?.cast_unsigned(), ends))
            };
            conn.prepare_cached(SQL)?.query_map([], read)?.collect()
        })
    }

    fn writer(&self) -> Result<&Writer, String> {
        self.writer.as_ref().ok_or_else(|| "the seen rows were opened for reading only".to_owned())
    }
}

fn salt(conn: &Connection) -> rusqlite::Result<Salt> {
    conn.query_row("SELECT a, b FROM salt", [], |r| Ok(Salt::new(r.get(0)?, r.get(1)?)))
}

/// Opens the database for writing and brings it up to date.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let wrong = |e| StoreError::sqlite(path, &e);
    let mut conn = Connection::open_with_flags(path, flags).map_err(wrong)?;
    // Before anything is written: the database of another program must not be touched.
    conn.busy_timeout(local::BUSY_TIMEOUT).map_err(wrong)?;
    let found = schema::version(&conn, path)?;
    schema::refuse_newer(&conn, path, found, tables::VERSION)?;
    if found == tables::VERSION {
        tables::refuse(&conn, path, found)?;
    }
    tune(&conn).map_err(wrong)?;
    // When it was made matters to nobody: rows.db can be made anew from its sources.
    schema::migrate(&mut conn, path, tables::MIGRATIONS, Timestamp::ZERO)?;
    Ok(conn)
}

fn tune(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)
}

/// An error for people: what happened, and what to do about this database.
fn told(error: &StoreError) -> String {
    let hint = match error {
        StoreError::Corrupt { path, .. } => format!(
            "stop the agent, move `{}` aside and start it again: the rows that the queries still find are stored anew",
            path.display()
        ),
        StoreError::NewerSchema { path, known, needs, .. } => format!(
            "install {needs} or a newer one, or go back to the copy that it made before: `{}`",
            schema::before(path, known + 1).display()
        ),
        StoreError::Other { .. } => "see whether the disk is well (`dmesg`)".to_owned(),
        other => other.hint(),
    };
    format!("{error}; {hint}")
}
