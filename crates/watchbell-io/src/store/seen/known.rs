//! Finds out, without the writer, which rows of a result are stored. Rows are sought in the order in which they are
//! stored: near ones are stepped to, far ones sought, so that many cost little more than reading the stretch.

use super::{hash::Salt, tables};
use rusqlite::{Connection, Params, Row as Found, Statement};
use std::cmp::Ordering;
use watchbell_core::model::Row;

/// So many stored rows that are not sought are passed over before the next one is sought by itself.
const STEPS_BEFORE_SEEK: u32 = 32;
/// So many rows that came under another time, or are new, are looked up before the rest is.
const SAMPLE_ROWS: usize = 64;

/// A row that is not known to be stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Unknown {
    /// Of its key.
    pub(super) hash: i64,
    /// Its position in the result.
    pub(super) at: usize,
}

/// Those of `kept` (positions in `rows`) that may be new, by hash and position. What is left out is stored.
pub(super) fn unknown(
    conn: &Connection,
    name: &str,
    rows: &[Row],
    kept: Vec<usize>,
    salt: Salt,
) -> rusqlite::Result<Vec<Unknown>> {
    // One moment, and one lock for all of the look-ups.
    let moment = conn.unchecked_transaction()?;
    let checker = tables::checker(&moment, name)?;
    let mut sought: Vec<Sought> =
        kept.into_iter().map(|at| Sought { time: rows[at].time.as_micros(), key: &rows[at].key, at }).collect();
    sought.sort_unstable();
    sought.dedup_by_key(|s| (s.time, s.key));
    if let Some(checker) = checker {
        // Nearly all of a look-back's rows are stored under the time that they come with.
        sought = not_stored(&moment, checker, &sought)?;
    }
    let hashed = |s: &Sought| Unknown { hash: salt.hash(s.key.as_bytes()), at: s.at };
    let mut unknown: Vec<Unknown> = sought.iter().map(hashed).collect();
    unknown.sort_unstable();
    if let Some(checker) = checker {
        unknown = elsewhere(&moment, checker, rows, unknown)?;
    }
    Ok(unknown)
}

/// Those that are not stored under another time either. Where a sample says that most are new, that is left to the
/// writer, who has to look all the same.
fn elsewhere(conn: &Connection, checker: i64, rows: &[Row], unknown: Vec<Unknown>) -> rusqlite::Result<Vec<Unknown>> {
    if unknown.len() > SAMPLE_ROWS {
        let sample: Vec<Unknown> = unknown.iter().step_by(unknown.len() / SAMPLE_ROWS).copied().collect();
        let hits = slots(conn, checker, &sample)?.iter().flatten().count();
        if hits * 2 < sample.len() {
            return Ok(unknown);
        }
    }
    let times = slots(conn, checker, &unknown)?;
    let mut new = Vec::new();
    let mut sought = Vec::with_capacity(unknown.len());
    for (at, (row, time)) in unknown.iter().zip(times).enumerate() {
        match time {
            Some(time) => sought.push(Sought { time, key: &rows[row.at].key, at }),
            None => new.push(*row),
        }
    }
    sought.sort_unstable();
    // Where another key has the slot: the writer decides.
    new.extend(not_stored(conn, checker, &sought)?.iter().map(|s| unknown[s.at]));
    new.sort_unstable();
    Ok(new)
}

/// A row to be found; `at` says which it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Sought<'a> {
    time: i64,
    key: &'a str,
    at: usize,
}

/// Those that are not stored with this time and key; they are in order.
fn not_stored<'a>(conn: &Connection, checker: i64, sought: &[Sought<'a>]) -> rusqlite::Result<Vec<Sought<'a>>> {
    const SQL: &str = "SELECT time, key FROM seen WHERE checker = ?1 AND (time, key) >= (?2, ?3) ORDER BY time, key";
    let mut missing = Vec::new();
    let mut statement = conn.prepare_cached(SQL)?;
    let compare = |s: &Sought<'a>, found: &Found<'_>| -> rusqlite::Result<Ordering> {
        Ok((s.time, s.key.as_bytes()).cmp(&(found.get_ref(0)?.as_i64()?, found.get_ref(1)?.as_bytes()?)))
    };
    leap(
        &mut statement,
        sought,
        |s| (checker, s.time, s.key),
        compare,
        |s, found| {
            if found.is_none() {
                missing.push(*s);
            }
            Ok(())
        },
    )?;
    Ok(missing)
}

/// The times under which what has these rows' slots is stored; the rows are in order of their hash.
fn slots(conn: &Connection, checker: i64, rows: &[Unknown]) -> rusqlite::Result<Vec<Option<i64>>> {
    const SQL: &str = "SELECT id, time FROM slot WHERE id >= ?1 ORDER BY id";
    let mut times = Vec::with_capacity(rows.len());
    let mut statement = conn.prepare_cached(SQL)?;
    let id = |row: &Unknown| tables::slot(checker, row.hash);
    let compare = |row: &Unknown, found: &Found<'_>| Ok(id(row).cmp(&found.get_ref(0)?.as_i64()?));
    leap(
        &mut statement,
        rows,
        |row| (id(row),),
        compare,
        |_, found| {
            times.push(found.map(|f| f.get(1)).transpose()?);
            Ok(())
        },
    )?;
    Ok(times)
}

/// Reports for each of the sought, in order, what is found for it, if anything is. `statement` reads what is stored
/// in the same order, from what `from` says of one on.
fn leap<S, P: Params>(
    statement: &mut Statement<'_>,
    sought: &[S],
    from: impl Fn(&S) -> P,
    compare: impl Fn(&S, &Found<'_>) -> rusqlite::Result<Ordering>,
    mut report: impl FnMut(&S, Option<&Found<'_>>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut left = sought.iter().peekable();
    while let Some(first) = left.peek().copied() {
        let before = left.len();
        let mut stored = statement.query(from(first))?;
        let mut passed = 0;
        while passed < STEPS_BEFORE_SEEK
            && left.peek().is_some()
            && let Some(found) = stored.next()?
        {
            passed += 1;
            while let Some(next) = left.peek() {
                match compare(next, found)? {
                    Ordering::Less => report(next, None)?,
                    Ordering::Equal => {
                        report(next, Some(found))?;
                        passed = 0;
                    }
                    Ordering::Greater => break,
                }
                left.next();
            }
        }
        if passed < STEPS_BEFORE_SEEK {
            // Nothing is stored any more that could be one of them.
            left.by_ref().try_for_each(|next| report(next, None))?;
        } else if left.len() == before
            && let Some(next) = left.next()
        {
            // A damaged index may be out of order: each search passes one on, lest it never ends.
            report(next, None)?;
        }
    }
    Ok(())
}
