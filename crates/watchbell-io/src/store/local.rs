//! The writer: opens the state folder, keeps commits, and keeps house.
//!
//! How a commit is written was measured (`cargo run --example store_rate`): write-ahead log, a sync for every
//! commit, statements prepared once, one transaction per commit.

use super::{
    StoreError,
    ballast::{BALLAST_BYTES, Ballast},
    database,
    files::Files,
    journal,
    lock::{self, Lock},
    make_dir, open_file,
    rows::{self, DECISION, EVENT, signed},
    schema, sync_dir,
};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Duration,
};
use watchbell_core::{
    engine::{Commit, State},
    model::Timestamp,
};

/// How long events and decisions are kept.
pub const KEEP: Duration = Duration::from_secs(90 * 86_400);
/// How many events are kept at most; the oldest go first.
pub const EVENTS_KEPT_MAX: u64 = 1_000_000;
/// How many decisions are kept at most; the oldest go first.
pub const DECISIONS_KEPT_MAX: u64 = 2_000_000;
/// How many bytes of the database are used at most before the oldest events and decisions go.
pub const STORE_BYTES_MAX: u64 = 4 << 30;
/// How many rows of each journal table one [`Store::tend`] removes at most: a commit waits for it.
pub const PURGE_SLICE_MAX: u32 = 500;
/// [`Store::tend`] does something at most this often, unless there is more to remove.
pub const TEND_EVERY: Duration = Duration::from_secs(10);

/// How long another process may keep the database (a backup's first moment, somebody's shell).
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is moved into the database when it has this many pages of 4 KiB.
const WAL_PAGES: u32 = 1_000;
/// A write-ahead log that grew (a long reader kept it) is cut back to this many bytes.
const WAL_BYTES_MAX: u32 = 16 << 20;

/// How a store is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// The time, for the lock file and the record of migrations.
    pub now: Timestamp,
    /// How long events and decisions are kept.
    pub keep: Duration,
    /// How many events are kept at most.
    pub events_max: u64,
    /// How many decisions are kept at most.
    pub decisions_max: u64,
    /// How many bytes of the database are used at most before the oldest events and decisions go.
    pub bytes_max: u64,
    /// How much space is kept back for a full disk, in bytes.
    pub ballast_bytes: u64,
    /// How often the lock is tried, 20 ms apart, before the folder counts as taken.
    pub lock_tries: u32,
}

impl StoreOptions {
    /// The defaults, at this time.
    pub fn at(now: Timestamp) -> StoreOptions {
        StoreOptions {
            now,
            keep: KEEP,
            events_max: EVENTS_KEPT_MAX,
            decisions_max: DECISIONS_KEPT_MAX,
            bytes_max: STORE_BYTES_MAX,
            ballast_bytes: BALLAST_BYTES,
            lock_tries: lock::TRIES,
        }
    }
}

/// What [`Store::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The store, ready to write.
    pub store: Store,
    /// What it holds.
    pub state: State,
    /// Rows that can't be read, each with why. They stay where they are until something writes their key.
    pub damaged: Vec<String>,
    /// The folder was used before, and nothing is known: the database was removed or emptied.
    pub lost: bool,
}

/// The one writer of a state folder. Blocking; it belongs on a thread of its own.
#[derive(Debug)]
pub struct Store {
    /// Closed before the lock is given back: fields are dropped in this order.
    conn: Connection,
    lock: Lock,
    ballast: Ballast,
    path: PathBuf,
    files: Files,
    options: StoreOptions,
    /// The id of the next decision.
    next_decision: u64,
    /// The last commit with decisions, by its hash, and the id of its first one: given again, it must not
    /// append them again.
    last: Option<(u64, u64)>,
    /// A write found the disk full, and the ballast was not made again since.
    disk_full: bool,
    tended: Option<Timestamp>,
    /// Why the last house-keeping failed: it stays true until one succeeds.
    untended: Option<String>,
}

impl Store {
    /// Opens the store of a state folder, makes what is not there, and reads the state.
    ///
    /// # Errors
    /// Another agent holds the folder, a newer program wrote the database, it is damaged, or it can't be used.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Opened, StoreError> {
        make_dir(dir)?;
        let lock = Lock::take(dir, options.now, options.lock_tries)?;
        let path = database(dir);
        let wrong = |e: &std::io::Error| StoreError::io(format!("can't open `{}`", path.display()), &path, e);
        // Made here for its mode: SQLite gives its other files the mode of the database.
        let used = was_used(dir);
        drop(open_file(&path).map_err(|e| wrong(&e))?);
        let mut ballast = Ballast::new(dir, options.ballast_bytes);
        let mut disk_full = false;
        let conn = connect(&path, options.now).or_else(|error| {
            disk_full = ballast.means_full(&error);
            if disk_full && ballast.free() { connect(&path, options.now) } else { Err(error) }
        })?;
        sync_dir(dir).map_err(|e| wrong(&e))?;
        let (state, damaged) = journal::load(&conn, &path)?;
        let last: Option<i64> = conn
            .query_row("SELECT max(id) FROM decision", [], |r| r.get(0))
            .map_err(|e| StoreError::sqlite(&path, &e))?;
        let store = Store {
            conn,
            lock,
            ballast,
            disk_full,
            files: Files::of(&path),
            path,
            options: options.clone(),
            next_decision: last.map_or(1, |id| rows::unsigned(id) + 1),
            last: None,
            tended: None,
            untended: None,
        };
        // Each agent's first commit gives its state an id.
        let lost = used && damaged.is_empty() && state.meta.agent_id.is_empty();
        Ok(Opened { store, state, damaged, lost })
    }

    /// Writes all of a commit, durably, or nothing of it. After an error the same commit can be given again.
    ///
    /// On a full disk the ballast is freed and the commit tried once more; see [`Store::disk_trouble`]. An empty commit
    /// only looks whether one could be kept: whether the files are still at their paths.
    ///
    /// # Errors
    /// What stood in the way; [`StoreError::may_pass`] says whether waiting can help.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.still_ours()?;
        if commit.is_empty() {
            return Ok(());
        }
        let hash = hash(commit);
        let first = self.last.filter(|(last, _)| *last == hash).map_or(self.next_decision, |(_, first)| first);
        if let Err(error) = self.write(commit, first) {
            self.disk_full |= matches!(error, StoreError::DiskFull { .. });
            if !self.disk_full || !self.ballast.free() {
                return Err(error);
            }
            self.write(commit, first)?;
        }
        if !commit.decisions.is_empty() {
            self.last = Some((hash, first));
            self.next_decision = self.next_decision.max(first + commit.decisions.len() as u64);
        }
        // Removed while it was written: it must be given again.
        self.still_ours()
    }

    /// Keeps house: removes old events and decisions in small slices, and makes the ballast again when there is
    /// room. Meant to be called after a commit; it does something at most every [`TEND_EVERY`] unless there is more to remove. Says how many
    /// rows it removed.
    ///
    /// # Errors
    /// The rows could not be removed. Nothing that was committed depends on it; until it
    /// succeeds again, [`Store::disk_trouble`] says so.
    pub fn tend(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        // A clock that was set back must not stop it until it has caught up.
        if self.tended.is_some_and(|then| then <= now && now.since(then) < TEND_EVERY) {
            return Ok(0);
        }
        self.tended = Some(now);
        let result = self.keep_house(now);
        self.untended = result.as_ref().err().map(ToString::to_string);
        result
    }

    fn keep_house(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        if self.ballast.fill() {
            self.disk_full = false;
        }
        let removed = self.purge(now).map_err(|e| self.explain(&e))?;
        if removed.contains(&(PURGE_SLICE_MAX as usize)) {
            self.tended = None;
        }
        Ok(removed.iter().sum())
    }

    /// What is wrong with the disk, while it goes on: for a fault of the agent's own. The text stays the same
    /// as long as the trouble does.
    pub fn disk_trouble(&self) -> Option<String> {
        if let Some(why) = &self.untended {
            return Some(why.clone());
        }
        let dir = self.path.parent().unwrap_or(&self.path).display();
        let kib = self.options.ballast_bytes >> 10;
        match (self.disk_full, self.ballast.there()) {
            (true, _) => Some(format!(
                "the disk that holds `{dir}` is full: the {kib} KiB kept back for that were freed and will not \
                 last; make room"
            )),
            (false, false) => {
                Some(format!("the disk that holds `{dir}` has no room to keep {kib} KiB back; make room"))
            }
            (false, true) => None,
        }
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, commit: &Commit, first: u64) -> Result<(), StoreError> {
        write(&mut self.conn, commit, first).map_err(|e| self.explain(&e))
    }

    /// What an error of SQLite means. A full disk does not always say that it is one.
    fn explain(&self, error: &rusqlite::Error) -> StoreError {
        let error = StoreError::sqlite(&self.path, error);
        if self.ballast.means_full(&error) { StoreError::DiskFull { path: self.path.clone() } } else { error }
    }

    /// Whether the database and the lock are still at their paths.
    fn still_ours(&self) -> Result<(), StoreError> {
        if self.lock.moved() {
            return Err(StoreError::Moved { path: self.lock.path().to_owned() });
        }
        self.files.in_place()
    }

    /// Removes what is too old or too many, or anything while the database is too large, at most a slice of each table,
    /// and says how many rows of each. The oldest by position: where the clock was wrong for a while, what came before
    /// an old row goes with it.
    fn purge(&mut self, now: Timestamp) -> rusqlite::Result<[usize; 2]> {
        let too_large = used_bytes(&self.conn)? > self.options.bytes_max;
        let before = if too_large { i64::MAX } else { (now - self.options.keep).as_micros() };
        let tables = [("event", "seq", self.options.events_max), ("decision", "id", self.options.decisions_max)];
        let mut removed = [0; 2];
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (removed, (table, id, max)) in removed.iter_mut().zip(tables) {
            let sql = format!(
                "DELETE FROM {table} WHERE {id} <= (SELECT max({id}) FROM
                    (SELECT {id}, at FROM {table} ORDER BY {id} LIMIT ?1)
                 WHERE at < ?2 OR {id} <= (SELECT max({id}) FROM {table}) - ?3)"
            );
            *removed = tx.prepare_cached(&sql)?.execute(params![PURGE_SLICE_MAX, before, signed(max)])?;
        }
        tx.commit()?;
        Ok(removed)
    }

    /// The connection, to break things in tests.
    #[cfg(test)]
    pub(super) fn raw(&mut self) -> &mut Connection {
        &mut self.conn
    }
}

/// Whether an agent ran on this folder before: it left something that only comes after a database. `queue` and `lock` may
/// come before one; and a command with no agent running may have made the ballast, with a database.
fn was_used(dir: &Path) -> bool {
    let is_empty = fs::metadata(database(dir)).map_or(true, |file| file.len() == 0);
    let is_left = |name: &str| {
        (is_empty && name == "ballast")
            || ["logs", "agent.sock", super::ROWS_FILE, "state.db-wal", "state.db-shm"].contains(&name)
            || name.starts_with("state.db.before-v")
    };
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_str().is_some_and(is_left))
}

/// Opens the database for writing and brings it up to date.
fn connect(path: &Path, now: Timestamp) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let wrong = |e| StoreError::sqlite(path, &e);
    let mut conn = Connection::open_with_flags(path, flags).map_err(wrong)?;
    // Before anything is written: the database of another program must not be touched.
    conn.busy_timeout(BUSY_TIMEOUT).map_err(wrong)?;
    let found = schema::version(&conn, path)?;
    schema::refuse_newer(&conn, path, found, schema::VERSION)?;
    tune(&conn).map_err(wrong)?;
    schema::migrate(&mut conn, path, schema::MIGRATIONS, now)?;
    Ok(conn)
}

/// The bytes of a database that hold something: what was deleted is used again before the file grows.
fn used_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let number = |name: &str| conn.pragma_query_value(None, name, |r| r.get(0).map(rows::unsigned));
    Ok((number("page_count")? - number("freelist_count")?) * number("page_size")?)
}

fn tune(conn: &Connection) -> rusqlite::Result<()> {
    // A file system without shared memory keeps its own journal mode; commits are as durable there.
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)
}

/// Writes a commit in one transaction; its decisions get the ids from `first` on.
fn write(conn: &mut Connection, commit: &Commit, first: u64) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !commit.rows.is_empty() {
        let mut put = tx.prepare_cached(
            "INSERT INTO row (tab, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?;
        let mut delete = tx.prepare_cached("DELETE FROM row WHERE tab = ?1 AND key = ?2")?;
        for row in &commit.rows {
            match &row.value {
                Some(value) => put.execute(params![row.table, row.key, value])?,
                None => delete.execute(params![row.table, row.key])?,
            };
        }
    }
    if !commit.events.is_empty() {
        let sql = format!("INSERT OR REPLACE INTO event ({EVENT}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
        let mut put = tx.prepare_cached(&sql)?;
        for event in &commit.events {
            rows::write_event(&mut put, event)?;
        }
    }
    if !commit.decisions.is_empty() {
        let sql = format!("INSERT OR REPLACE INTO decision (id, {DECISION}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)");
        let mut put = tx.prepare_cached(&sql)?;
        for (id, decision) in (first..).zip(&commit.decisions) {
            rows::write_decision(&mut put, id, decision)?;
        }
    }
    tx.commit()
}

/// Tells one commit from the next. Two with the same hash in a row are the same one tried again.
fn hash(commit: &Commit) -> u64 {
    let mut hasher = DefaultHasher::new();
    if commit.decisions.is_empty() {
        return hasher.finish();
    }
    for row in &commit.rows {
        (row.table, &row.key, &row.value).hash(&mut hasher);
    }
    for event in &commit.events {
        (event.seq, event.at).hash(&mut hasher);
    }
    for d in &commit.decisions {
        (d.at, &d.name, d.episode, &d.notifier, &d.rule, &d.text, &d.delivery, d.event).hash(&mut hasher);
    }
    hasher.finish()
}
