//! The agent's local store: what it has learned, and the journal of what happened, in `state.db`.
//!
//! ```text
//! STATE/lock                  held by the one agent that may write      lock.rs
//! STATE/state.db (-wal, -shm) rows of the state, events, decisions      schema.rs, local.rs, journal.rs
//! STATE/state.db.before-vN    a copy made before migration N            schema.rs
//! STATE/ballast               freed when the disk is full               ballast.rs
//! STATE/rows.db (-wal, -shm)  rows that look-backs have seen            seen/
//! ```
//! One [`Store`] writes, one transaction per [`Commit`](watchbell_core::engine::Commit); any number of
//! [`Journal`]s read, while it runs and when it is down. What the rows mean is the engine's business: here they
//! are a table, a key and a text.
//!
//! Invariants:
//! - What [`Store::commit`] answered `Ok` to survives a kill and a power cut: every commit is synced.
//! - A commit that failed changed nothing and can be tried again unchanged; a commit that is given twice in a
//!   row leaves what one leaves.
//! - A row that can't be read is told of and left where it is; the others are read.
//! - No clock is read here: whoever calls says what time it is.
//! - What was committed is in the files that are at their paths: a commit into removed or replaced ones fails.
//!
//! Permissions: the folder is made with mode 0750, the files with 0640 (the group may read the state with the
//! agent down, nobody else can); the umask can take more away. What is there already keeps its mode.

mod backup;
mod ballast;
mod error;
mod files;
mod journal;
mod local;
mod lock;
mod rows;
mod schema;
pub mod seen;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use backup::{CheckReport, PROBLEMS_MAX, backup, check, check_until};
pub use ballast::BALLAST_BYTES;
pub use error::StoreError;
pub use journal::{Counts, Cut, EVENTS_MAX, EventQuery, Journal, NameMatch, WHY_ENTRIES_MAX, Why, WhyEntry, WhyKind};
pub use local::{
    DECISIONS_KEPT_MAX, EVENTS_KEPT_MAX, KEEP, Opened, PURGE_SLICE_MAX, STORE_BYTES_MAX, Store, StoreOptions,
    TEND_EVERY,
};
pub use lock::{Holder, holder};
pub use schema::VERSION as SCHEMA_VERSION;

/// The file of a state folder that look-backs keep rows in.
pub const ROWS_FILE: &str = "rows.db";

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Mode of the state folder when it is made.
pub const DIR_MODE: u32 = 0o750;
/// Mode of the files in it when they are made.
pub const FILE_MODE: u32 = 0o640;

/// The database in a state folder.
pub fn database(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

/// Makes the state folder, and those above it, where they are not there.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(dir)
        .map_err(|e| StoreError::io(format!("can't make the state folder `{}`", dir.display()), dir, &e))
}

/// Opens a file for reading and writing, and makes it (empty, mode 0640) where it is not there.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Makes the names in a folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
