//! Copies of the store, and looking whether one is well. Both work beside a running agent, and on copies.

use super::{
    StoreError,
    journal::{self, Counts, Journal},
    rows::parse_event,
    schema,
};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// No more problems of one sort are told of.
pub const PROBLEMS_MAX: usize = 100;

/// What [`check`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// The database that was looked at.
    pub path: PathBuf,
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

/// Copies the store of a state folder to `to`, as it is in one moment, beside a running agent too. The copy is a
/// database without a write-ahead log; put in place as `state.db` it can be used as it is.
///
/// # Errors
/// Something is at `to` already, there is no room or no right to write there, or the store can't be read.
pub fn backup(dir: &Path, to: &Path) -> Result<(), StoreError> {
    let journal = Journal::open(dir)?;
    if to.symlink_metadata().is_ok() {
        let what = format!("`{}` is there already, and a backup never replaces anything", to.display());
        return Err(StoreError::Other { what, path: to.to_owned() });
    }
    schema::copy_to(journal.conn(), &super::database(dir), to)
}

/// Looks at every page and every row of a database, that of a state folder or a copy. Takes a while on a large one.
///
/// # Errors
/// There is no file, or it can't be opened at all; damage that SQLite can get past is in the report.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let (conn, found) = journal::open(path)?;
    let conn = conn.unchecked_transaction().map_err(|e| StoreError::sqlite(path, &e))?;
    schema::refuse_newer(&conn, path, found, schema::VERSION)?;
    if found == 0 {
        return Err(StoreError::NotThere { path: path.to_owned() });
    }
    let mut report = CheckReport { path: path.to_owned(), schema: found, ..CheckReport::default() };
    // A damaged file fails here and there; each part says what it can.
    match integrity(&conn) {
        Ok(problems) => report.integrity = problems,
        Err(e) => report.integrity.push(e.to_string()),
    }
    match journal::load(&conn, path) {
        Ok((_, damaged)) => report.damaged = damaged,
        Err(e) => report.damaged.push(e.to_string()),
    }
    match events(&conn) {
        Ok(damaged) => report.damaged.extend(damaged),
        Err(e) => report.damaged.push(format!("the events can't be read to their end: {e}")),
    }
    match journal::counts(&conn, path) {
        Ok(counts) => report.counts = counts,
        Err(e) => report.damaged.push(format!("not everything can be counted: {e}")),
    }
    Ok(report)
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
