//! The tables of `rows.db` and what is done to them; each function runs inside its caller's transaction.
//!
//! ```text
//! seen   (checker, time, key)   the rows, in order of time: counts and look-backs read a stretch of it
//! slot   id -> time             where a key is in `seen`; id = checker << 44 | hash of the key
//! twin   (checker, key) -> time keys whose slot another key of the checker has
//! ```
//! Invariants: every row of `seen` has its slot, or is a twin; a slot's row is in `seen` under the slot's time.

use super::hash::HASH_BITS;
use crate::store::{StoreError, schema};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

/// Migration N is at N - 1. Version 1: see above; times are microseconds since 1970 in UTC, `salt` makes the
/// hashes of this database its own.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE migration (version INTEGER PRIMARY KEY, program TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
    CREATE TABLE salt (a INTEGER NOT NULL, b INTEGER NOT NULL) STRICT;
    INSERT INTO salt VALUES (random(), random());
    CREATE TABLE checker (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, count INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE seen (
        checker INTEGER NOT NULL, time INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (checker, time, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE slot (id INTEGER PRIMARY KEY, time INTEGER NOT NULL) STRICT;
    CREATE TABLE twin (
        checker INTEGER NOT NULL, key TEXT NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (checker, key)
    ) STRICT, WITHOUT ROWID;
"];

/// The schema that this program writes.
pub(in crate::store) const VERSION: u32 = MIGRATIONS.len() as u32;

/// So many checkers have rows at a time.
pub const CHECKERS_MAX: i64 = 500_000;

/// A row that may be new.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) hash: i64,
    pub(super) time: i64,
    pub(super) key: String,
}

/// Whether a database holds seen rows, and not a state.
pub(in crate::store) fn is_seen(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'seen'")?.exists([])
}

/// The error for a database that this program can't use, of the version that was found.
pub(super) fn refuse(conn: &Connection, path: &Path, found: u32) -> Result<(), StoreError> {
    schema::refuse_newer(conn, path, found, VERSION)?;
    if found == 0 {
        return Err(StoreError::NotThere { path: path.to_owned() });
    }
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('seen', 'slot', 'twin', 'checker', 'salt')";
    let tables: i64 = conn.query_row(sql, [], |r| r.get(0)).map_err(|e| StoreError::sqlite(path, &e))?;
    if tables != 5 {
        let why = "it is not the database of seen rows".to_owned();
        return Err(StoreError::Corrupt { path: path.to_owned(), why });
    }
    if found < VERSION {
        return Err(StoreError::OlderSchema { path: path.to_owned(), found });
    }
    Ok(())
}

/// The number of a checker that has rows.
pub(super) fn checker(conn: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM checker WHERE name = ?1")?.query_row([name], |r| r.get(0)).optional()
}

/// The number of a checker, a new one if it has none. Numbers of those that were forgotten are used again.
fn checker_or_new(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = checker(conn, name)? {
        return Ok(id);
    }
    let next: i64 = conn.query_row("SELECT coalesce(max(id), 0) + 1 FROM checker", [], |r| r.get(0))?;
    let id = if next <= CHECKERS_MAX {
        next
    } else {
        let hole = "SELECT min(n) FROM (SELECT 1 AS n UNION ALL SELECT id + 1 FROM checker)
            WHERE n <= ?1 AND n NOT IN (SELECT id FROM checker)";
        let hole: Option<i64> = conn.query_row(hole, [CHECKERS_MAX], |r| r.get(0))?;
        let full = || format!("{CHECKERS_MAX} checkers have rows, which is all there can be: forget some");
        hole.ok_or_else(|| rusqlite::Error::ToSqlConversionFailure(full().into()))?
    };
    conn.prepare_cached("INSERT INTO checker (id, name) VALUES (?1, ?2)")?.execute(params![id, name])?;
    Ok(id)
}

/// Where a key with this hash is looked for.
pub(super) fn slot(checker: i64, hash: i64) -> i64 {
    checker << HASH_BITS | hash
}

fn has_twins(conn: &Connection, checker: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM twin WHERE checker = ?1 LIMIT 1")?.exists([checker])
}

/// Stores what is new of these rows, which are in order of their hash and, of one hash, in the order they came;
/// says how many were.
pub(super) fn add(conn: &Connection, name: &str, rows: &[Fresh]) -> rusqlite::Result<u64> {
    let checker = checker_or_new(conn, name)?;
    let twins = has_twins(conn, checker)?;
    let mut is_twin = conn.prepare_cached("SELECT 1 FROM twin WHERE checker = ?1 AND key = ?2")?;
    let mut claim = conn.prepare_cached("INSERT OR IGNORE INTO slot (id, time) VALUES (?1, ?2)")?;
    let (mut new, mut taken) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        if twins && is_twin.exists(params![checker, row.key])? {
            continue;
        }
        match claim.execute([slot(checker, row.hash), row.time])? {
            0 => taken.push(row),
            _ => new.push(row),
        }
    }
    // In order of time they mostly go to the end of the checker's stretch.
    new.sort_unstable_by(|a, b| (a.time, &a.key).cmp(&(b.time, &b.key)));
    let mut put = conn.prepare_cached("INSERT INTO seen (checker, time, key) VALUES (?1, ?2, ?3)")?;
    for row in &new {
        put.execute(params![checker, row.time, row.key])?;
    }
    let mut count = new.len() as u64;
    // What has a slot now has its row too: whether a taken slot is the same key's can be looked up.
    let mut holder = conn.prepare_cached(
        "SELECT 1 FROM seen WHERE checker = ?1 AND time = (SELECT time FROM slot WHERE id = ?2) AND key = ?3",
    )?;
    let mut twin = conn.prepare_cached("INSERT OR IGNORE INTO twin (checker, key, time) VALUES (?1, ?2, ?3)")?;
    for row in taken {
        if !holder.exists(params![checker, slot(checker, row.hash), row.key])?
            && twin.execute(params![checker, row.key, row.time])? > 0
        {
            put.execute(params![checker, row.time, row.key])?;
            count += 1;
        }
    }
    counted(conn, checker, count.cast_signed())?;
    Ok(count)
}

/// Keeps the number of rows of a checker.
fn counted(conn: &Connection, checker: i64, more: i64) -> rusqlite::Result<()> {
    if more != 0 {
        let sql = "UPDATE checker SET count = count + ?2 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute([checker, more])?;
    }
    Ok(())
}

/// The time and key of a row.
pub(super) type Place = (i64, String);

/// The first `max` rows of a checker that are older than `before`, those up to and with `after` left out.
pub(super) fn oldest(
    conn: &Connection,
    name: &str,
    before: i64,
    after: Option<&Place>,
    max: usize,
) -> rusqlite::Result<Vec<Place>> {
    const SQL: &str = "SELECT time, key FROM seen WHERE checker = (SELECT id FROM checker WHERE name = ?1)
        AND (time, key) > (?2, ?3) AND time < ?4 ORDER BY time, key LIMIT ?5";
    // No key is before the empty one, and none has the earliest time.
    let (time, key) = after.map_or((i64::MIN, ""), |(time, key)| (*time, key.as_str()));
    let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?));
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    conn.prepare_cached(SQL)?.query_map(params![name, time, key, before, limit], read)?.collect()
}

/// Removes rows of a checker and says how many were there. `hash` is the database's.
pub(super) fn purge(
    conn: &Connection,
    name: &str,
    rows: &[Place],
    hash: impl Fn(&str) -> i64,
) -> rusqlite::Result<u64> {
    let Some(checker) = checker(conn, name)? else { return Ok(0) };
    let twins = has_twins(conn, checker)?;
    let mut seen = conn.prepare_cached("DELETE FROM seen WHERE checker = ?1 AND time = ?2 AND key = ?3")?;
    let mut twin = conn.prepare_cached("DELETE FROM twin WHERE checker = ?1 AND key = ?2")?;
    let mut slots = Vec::with_capacity(rows.len());
    let mut gone = 0;
    for (time, key) in rows {
        if seen.execute(params![checker, time, key])? == 0 {
            continue;
        }
        gone += 1;
        if !twins || twin.execute(params![checker, key])? == 0 {
            slots.push(slot(checker, hash(key)));
        }
    }
    slots.sort_unstable();
    let mut free = conn.prepare_cached("DELETE FROM slot WHERE id = ?1")?;
    for id in slots {
        free.execute([id])?;
    }
    counted(conn, checker, -gone)?;
    Ok(gone.cast_unsigned())
}

/// Removes at most `rows_max` rows of a checker, and its name with the last of them.
pub(super) fn forget(
    conn: &Connection,
    name: &str,
    rows_max: usize,
    hash: impl Fn(&str) -> i64,
) -> rusqlite::Result<u64> {
    let gone = purge(conn, name, &oldest(conn, name, i64::MAX, None, rows_max)?, hash)?;
    if gone < rows_max as u64 {
        conn.prepare_cached("DELETE FROM checker WHERE name = ?1")?.execute([name])?;
    }
    Ok(gone)
}
