//! Whether the files of an open database are still at their paths. What is written to removed ones reaches nobody.

use super::StoreError;
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What SQLite keeps beside a database while it is in use, and the database itself.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The files of a database, by device and inode, as they were when it was opened. They are only looked at, never opened:
/// closing one would give up this process's locks on it.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, (u64, u64))>);

impl Files {
    /// Of a database that was just opened and read from.
    pub(super) fn of(path: &Path) -> Files {
        let beside = |suffix: &&str| {
            let mut name = OsString::from(path);
            name.push(suffix);
            PathBuf::from(name)
        };
        Files(SUFFIXES.iter().map(beside).filter_map(|path| identity(&path).map(|id| (path, id))).collect())
    }

    /// Whether they are the same ones still.
    pub(super) fn in_place(&self) -> Result<(), StoreError> {
        match self.0.iter().find(|(path, was)| identity(path) != Some(*was)) {
            Some((path, _)) => Err(StoreError::Moved { path: path.clone() }),
            None => Ok(()),
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
