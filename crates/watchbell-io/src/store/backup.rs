//! Copies of the store, and looking whether one is well. Both work beside a running agent, and on copies.

use super::{
    ROWS_FILE, StoreError,
    journal::{self, Counts, Journal},
    rows::{parse_event, unsigned},
    schema, seen,
};
use rusqlite::{Connection, OptionalExtension};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// No more problems of one sort are told of.
pub const PROBLEMS_MAX: usize = 100;
/// So many instructions of SQLite run before it is looked whether they should go on.
const LOOK_EVERY: i32 = 10_000;

/// What [`check`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// The database that was looked at.
    pub path: PathBuf,
    /// It holds the rows that look-backs have seen, not the state.
    pub is_rows: bool,
    /// Its schema's number.
    pub schema: u32,
    /// What SQLite's own check found; empty when the file is well.
    pub integrity: Vec<String>,
    /// Rows and events that can't be understood.
    pub damaged: Vec<String>,
    /// How much there is, as far as it can be counted.
    pub counts: Counts,
}

impl CheckReport {
    /// Whether all is well.
    pub fn is_fine(&self) -> bool {
        self.integrity.is_empty() && self.damaged.is_empty()
    }
}

/// Copies the store of a state folder to `to`, as it is in one moment, beside a running agent too, and the rows that
/// look-backs have seen, if there are any, to the path beside it that is the answer. The copies are databases without a
/// write-ahead log; put in place as `state.db` and `rows.db` they can be used as they are. Older copies of the same agent's
/// are replaced, once both new ones are whole.
///
/// # Errors
/// Something else is at `to` or beside it, there is no room or no right to write there, or the store can't be read.
pub fn backup(dir: &Path, to: &Path) -> Result<Option<PathBuf>, StoreError> {
    let journal = Journal::open(dir)?;
    let rows = dir.join(ROWS_FILE);
    let seen = match journal::open(&rows) {
        Ok((_, 0)) | Err(StoreError::NotThere { .. }) => None,
        Ok((conn, _)) => Some((conn, rows_beside(to))),
        Err(error) => return Err(error),
    };
    may_replace(to, |conn| Ok(!seen::is_seen(conn)? && agent(conn)? == agent(journal.conn())?))?;
    if let Some((_, beside)) = &seen {
        may_replace(beside, seen::is_seen)?;
    }
    let state = schema::write_copy(journal.conn(), &super::database(dir), to)?;
    // After the state: a row that the state does not know of yet is harmless, one that is missing would be new again.
    let Some((conn, beside)) = seen else { return state.publish().map(|()| None) };
    schema::write_copy(&conn, &rows, &beside)?.publish()?;
    state.publish().map(|()| Some(beside))
}

/// Refuses to replace what is not a backup, as `is_ours` knows it: another program's file, another agent's, or a database
/// that is in use, which unlike a copy has a write-ahead log.
fn may_replace(path: &Path, is_ours: impl Fn(&Connection) -> rusqlite::Result<bool>) -> Result<(), StoreError> {
    let refuse = |why: &str| {
        let what = format!("`{}` is there already, and is {why}: a backup replaces only an older one", path.display());
        Err(StoreError::Other { what, path: path.to_owned() })
    };
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(format!("can't look at `{}`", path.display()), path, &error)),
        Ok(found) if !found.is_file() => return refuse("no file"),
        Ok(_) => {}
    }
    let Ok((conn, 1..)) = journal::open(path) else { return refuse("no backup") };
    let log: String = conn.pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap_or_default();
    match is_ours(&conn) {
        _ if log == "wal" => refuse("a database in use"),
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => refuse("the backup of something else"),
    }
}

/// Whose database it is.
fn agent(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value ->> 'agent_id' FROM row WHERE tab = 'meta'";
    conn.query_row(sql, [], |r| r.get(0)).optional().map(Option::flatten)
}

/// Where the rows go that belong to a copy of the state: `state.db.rows`.
fn rows_beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".rows");
    name.into()
}

/// Looks at every page and every row of a database, that of a state folder or a copy. Takes a while on a large one.
///
/// # Errors
/// There is no file, it can't be opened at all, or the disk can't read it; damage that SQLite can get past is in the report.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    check_until(path, &Arc::default())
}

/// The same, until `stop` is set: what is answered then says nothing of the database.
///
/// # Errors
/// As [`check`].
pub fn check_until(path: &Path, stop: &Arc<AtomicBool>) -> Result<CheckReport, StoreError> {
    let (mut conn, found) = journal::open(path)?;
    let stop = stop.clone();
    conn.progress_handler(LOOK_EVERY, Some(move || stop.load(Relaxed))).map_err(|e| StoreError::sqlite(path, &e))?;
    let conn = conn.unchecked_transaction().map_err(|e| StoreError::sqlite(path, &e))?;
    let is_rows = seen::is_seen(&conn).map_err(|e| StoreError::sqlite(path, &e))?;
    schema::refuse_newer(&conn, path, found, if is_rows { seen::SCHEMA_VERSION } else { schema::VERSION })?;
    if found == 0 {
        return Err(StoreError::NotThere { path: path.to_owned() });
    }
    let mut report = CheckReport { path: path.to_owned(), is_rows, schema: found, ..CheckReport::default() };
    // A damaged file fails here and there; each part says what it can.
    let damage = |e: rusqlite::Error| StoreError::sqlite(path, &e).damage();
    match integrity(&conn) {
        Ok(problems) => report.integrity = problems,
        Err(e) => report.integrity.push(damage(e)?),
    }
    if is_rows {
        match rows_counts(&conn) {
            Ok(rows) => report.counts.rows = rows.into_iter().collect(),
            Err(e) => report.damaged.push(format!("not everything can be counted: {}", damage(e)?)),
        }
        report.counts.bytes = journal::bytes(path);
        return Ok(report);
    }
    match journal::load(&conn, path) {
        Ok((_, damaged)) => report.damaged = damaged,
        Err(e) => report.damaged.push(e.damage()?),
    }
    match events(&conn) {
        Ok(damaged) => report.damaged.extend(damaged),
        Err(e) => report.damaged.push(format!("the events can't be read to their end: {}", damage(e)?)),
    }
    match journal::counts(&conn, path) {
        Ok(counts) => report.counts = counts,
        Err(e) => report.damaged.push(format!("not everything can be counted: {}", damage(e)?)),
    }
    Ok(report)
}

fn rows_counts(conn: &Connection) -> rusqlite::Result<[(String, u64); 2]> {
    let count = |table: &str| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0).map(unsigned));
    Ok([("checker".to_owned(), count("checker")?), ("seen".to_owned(), count("seen")?)])
}

fn integrity(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let lines = statement.query_map([], |r| r.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn events(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut damaged = Vec::new();
    let mut statement = conn.prepare(&format!("SELECT {} FROM event", super::rows::EVENT))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Err(why) = parse_event(row)? {
            if damaged.len() >= PROBLEMS_MAX {
                damaged.push("more events can't be read".to_owned());
                break;
            }
            damaged.push(format!("event {} can't be read: {why}", row.get::<_, i64>(0)?));
        }
    }
    Ok(damaged)
}
