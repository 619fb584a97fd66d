//! The tables of `state.db`, as numbered migrations that only go forward. Each runs in one transaction, after a
//! copy of the database was made beside it; a number never changes its meaning once it was released.

use super::StoreError;
use rusqlite::{Connection, TransactionBehavior, params};
use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use watchbell_core::model::Timestamp;

/// Migration N is at N - 1.
///
/// Version 1. `row` is the state by table and key. `event` has as columns what is searched for; `json` is all
/// of it. A decision's `id` counts in order of commit. Times are microseconds since 1970 in UTC; severities 20
/// info, 30 warning, 40 error, 50 critical.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE migration (version INTEGER PRIMARY KEY, program TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
    CREATE TABLE row (
        tab TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (tab, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
        severity INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_at ON event (at);
    CREATE INDEX event_name ON event (name);
    CREATE TABLE decision (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, name TEXT NOT NULL, episode INTEGER NOT NULL,
        notifier TEXT, rule TEXT NOT NULL, verdict TEXT NOT NULL, text TEXT NOT NULL, delivery TEXT, event INTEGER
    ) STRICT;
    CREATE INDEX decision_name ON decision (name);
    CREATE INDEX decision_delivery ON decision (delivery) WHERE delivery IS NOT NULL;
"];

/// The schema that this program writes.
pub const VERSION: u32 = MIGRATIONS.len() as u32;

/// Marks a database as this program's (`PRAGMA application_id`): `Wbll`.
const APPLICATION_ID: i64 = 0x5762_6c6c;

/// The schema's number; 0 is a database with nothing in it.
pub(super) fn version(conn: &Connection, path: &Path) -> Result<u32, StoreError> {
    let wrong = |e: rusqlite::Error| StoreError::sqlite(path, &e);
    let number = |name: &str| conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).map_err(wrong);
    let (version, owner) = (number("user_version")?, number("application_id")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(wrong)?;
    if owner == APPLICATION_ID || (owner == 0 && version == 0 && tables == 0) {
        return Ok(u32::try_from(version).unwrap_or(u32::MAX));
    }
    Err(StoreError::Corrupt { path: path.to_owned(), why: "it is the database of another program".to_owned() })
}

/// The error for a database of this version, if this program can't write it.
pub(super) fn refuse_newer(conn: &Connection, path: &Path, found: u32, known: u32) -> Result<(), StoreError> {
    if found <= known {
        return Ok(());
    }
    let newest = "SELECT program FROM migration ORDER BY version DESC LIMIT 1";
    let needs = conn.query_row(newest, [], |r| r.get(0)).unwrap_or_else(|_| "a newer watchbell".to_owned());
    Err(StoreError::NewerSchema { path: path.to_owned(), found, known, needs })
}

/// Brings the database to the newest of `migrations`.
pub(super) fn migrate(
    conn: &mut Connection,
    path: &Path,
    migrations: &[&str],
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = version(conn, path)?;
    refuse_newer(conn, path, found, migrations.len() as u32)?;
    for (number, sql) in (1_u32..).zip(migrations).skip(found as usize) {
        if number > 1 {
            copy_to(conn, path, &before(path, number))?;
        }
        apply(conn, number, sql, now).map_err(|e| StoreError::sqlite(path, &e))?;
    }
    Ok(())
}

fn apply(conn: &mut Connection, number: u32, sql: &str, now: Timestamp) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(sql)?;
    let program = concat!("watchbell ", env!("CARGO_PKG_VERSION"));
    tx.execute("INSERT INTO migration VALUES (?1, ?2, ?3)", params![number, program, now.as_micros()])?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", number)?;
    tx.commit()
}

/// Where the copy made before a migration is kept.
pub(super) fn before(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".before-v{number}"));
    name.into()
}

/// Writes a copy of the database as it is in one moment, and makes it durable. Replaces what is at `to`, in one
/// step: a half-written copy never has that name.
pub(super) fn copy_to(conn: &Connection, path: &Path, to: &Path) -> Result<(), StoreError> {
    write_copy(conn, path, to)?.publish()
}

/// A copy that is whole and does not have its name yet. It goes if it does not get it.
#[derive(Debug)]
pub(super) struct Written {
    partial: PathBuf,
    to: PathBuf,
}

impl Written {
    /// Gives it its name, in place of what had it.
    pub(super) fn publish(self) -> Result<(), StoreError> {
        let to = &self.to;
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::rename(&self.partial, to).and_then(|()| super::sync_dir(folder)).map_err(|e| cant_write(to, &e))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Once it has its name there is nothing here.
        let _ = fs::remove_file(&self.partial);
    }
}

fn cant_write(to: &Path, error: &std::io::Error) -> StoreError {
    StoreError::io(format!("can't write the copy `{}`", to.display()), to, error)
}

/// Writes a copy beside where it is to be, and makes it durable.
pub(super) fn write_copy(conn: &Connection, path: &Path, to: &Path) -> Result<Written, StoreError> {
    let mut partial = OsString::from(to);
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let wrong = |e: std::io::Error| cant_write(to, &e);
    let Some(target) = partial.to_str().map(str::to_owned) else {
        let what = format!("can't write the copy `{}`: its path is not UTF-8", to.display());
        return Err(StoreError::Other { what, path: to.to_owned() });
    };
    // What an interrupted copy left.
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(wrong(e)),
        _ => {}
    }
    let copy = Written { partial, to: to.to_owned() };
    conn.execute("VACUUM INTO ?1", [target.as_str()])
        .map_err(|e| match StoreError::sqlite(path, &e) {
            StoreError::DiskFull { .. } => StoreError::DiskFull { path: to.to_owned() },
            StoreError::Denied { what, .. } => StoreError::Denied {
                what: what.replace(&path.display().to_string(), &to.display().to_string()),
                path: to.to_owned(),
            },
            other => other,
        })
        .and_then(|_| {
            fs::set_permissions(&copy.partial, Permissions::from_mode(super::FILE_MODE)).map_err(wrong)?;
            File::open(&copy.partial).and_then(|f| f.sync_all()).map_err(wrong)
        })?;
    Ok(copy)
}
