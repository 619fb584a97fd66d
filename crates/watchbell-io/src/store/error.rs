//! What can go wrong with the store, told for people: what happened, then what to do.

use rusqlite::ErrorCode;
use std::{
    fmt, io,
    path::{Path, PathBuf},
};
use watchbell_core::model::Timestamp;

/// Why the store did not do what it was asked. The text says what happened; [`StoreError::hint`] what to do.
#[derive(Clone, PartialEq, Debug)]
pub enum StoreError {
    /// Another process holds the state folder.
    Locked {
        /// The state folder.
        dir: PathBuf,
        /// The process, as it wrote it into the lock file.
        pid: Option<u32>,
        /// When it took the lock.
        since: Option<Timestamp>,
    },
    /// A newer program wrote the database.
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema's number.
        found: u32,
        /// The newest number that this program knows.
        known: u32,
        /// The program that it needs, as `watchbell 1.2.3`.
        needs: String,
    },
    /// An older program wrote the database, and whoever asked may only read.
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its schema's number.
        found: u32,
    },
    /// There is no room for what must be written. It may work later.
    DiskFull {
        /// The database.
        path: PathBuf,
    },
    /// Another process kept the database for longer than the busy time. It may work later.
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// The database is damaged, or is none.
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The system could not read or write what the database holds. That says nothing about the database itself, and may
    /// pass.
    Disk {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// A file was replaced or removed while the agent used it: what is written no longer arrives there.
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// There is no database: no agent has run on this folder.
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The files can't be used by this user, or can only be read.
    Denied {
        /// What was tried, and why it failed.
        what: String,
        /// The file or folder.
        path: PathBuf,
    },
    /// Anything else.
    Other {
        /// What was tried, and why it failed.
        what: String,
        /// The file or folder.
        path: PathBuf,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Locked { dir, pid, since } => {
                match pid {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => write!(f, "another process")?,
                }
                if let Some(since) = since {
                    write!(f, " (since {since})")?;
                }
                write!(f, " is using the state folder `{}`", dir.display())
            }
            StoreError::NewerSchema { path, found, known, needs } => write!(
                f,
                "`{}` was written by {needs}: it has schema {found}, this is watchbell {} which knows up to {known}",
                path.display(),
                env!("CARGO_PKG_VERSION")
            ),
            StoreError::OlderSchema { path, found } => {
                write!(f, "`{}` still has schema {found}, which an older watchbell wrote", path.display())
            }
            StoreError::DiskFull { path } => write!(f, "no room on the disk to write `{}`", path.display()),
            StoreError::Busy { path } => write!(f, "another process keeps `{}` locked", path.display()),
            StoreError::Corrupt { path, why } => write!(f, "`{}` is damaged: {why}", path.display()),
            StoreError::Disk { path, why } => write!(f, "the disk fails to read or write `{}`: {why}", path.display()),
            StoreError::Moved { path } => {
                write!(f, "`{}` was replaced or removed while the agent was using it", path.display())
            }
            StoreError::NotThere { path } => write!(f, "there is no `{}`: no agent has run there", path.display()),
            StoreError::Denied { what, .. } | StoreError::Other { what, .. } => f.write_str(what),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            StoreError::Locked { pid, .. } => {
                let stop = pid.map_or_else(|| "stop it".to_owned(), |pid| format!("stop it (`kill {pid}`)"));
                format!("{stop}, or give this agent a folder of its own: `state` in `[agent]` of `watchbell.toml`")
            }
            StoreError::NewerSchema { known, needs, .. } => format!(
                "install {needs} or a newer one, or go back to the copy that it made before: `state.db.before-v{}`",
                known + 1
            ),
            StoreError::OlderSchema { .. } => "start the agent once: it brings the database up to date".to_owned(),
            StoreError::DiskFull { path } => {
                let dir = path.parent().unwrap_or(path);
                format!("make room on the disk that holds `{}`; the agent goes on by itself then", dir.display())
            }
            StoreError::Busy { .. } => {
                "see who has it open (`fuser -v FILE`), such as a backup or an sqlite3 shell, and end it".to_owned()
            }
            StoreError::Corrupt { path, .. } => format!(
                "`watchbell store check` says what can still be read; put a backup in its place, or move `{}` \
                 aside to start with nothing known (what is wrong now is told again)",
                path.display()
            ),
            StoreError::Disk { .. } => {
                "see what the kernel says of the disk (`dmesg`) and whether it is mounted; the database itself may be well"
                    .to_owned()
            }
            StoreError::Moved { path } => {
                let dir = path.parent().unwrap_or(path).display();
                format!(
                    "put the same files back into `{dir}` (as with `mv`) and the agent goes on by itself; else restart it, and \
                     stop it before you put others in place"
                )
            }
            StoreError::NotThere { .. } => {
                "check `state` in `[agent]` of `watchbell.toml`, or start the agent: `watchbell run`".to_owned()
            }
            StoreError::Denied { path, .. } => {
                format!("run this as the user that the agent runs as, or give that user `{}`", path.display())
            }
            StoreError::Other { .. } => {
                "see whether the disk is well (`dmesg`), and `watchbell store check`".to_owned()
            }
        }
    }

    /// Whether the same thing may work later with nothing changed but the disk or the other process.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::DiskFull { .. }
            | StoreError::Busy { .. }
            | StoreError::Locked { .. }
            | StoreError::Denied { .. }
            | StoreError::Disk { .. }
            | StoreError::Moved { .. }
            | StoreError::Other { .. } => true,
            StoreError::NewerSchema { .. }
            | StoreError::OlderSchema { .. }
            | StoreError::Corrupt { .. }
            | StoreError::NotThere { .. } => false,
        }
    }

    /// What this says of the file that was looked at, where it says anything: what is wrong with the disk, or who keeps it
    /// locked, is no damage.
    pub(super) fn damage(self) -> Result<String, StoreError> {
        match self {
            StoreError::Corrupt { why, .. } => Ok(why),
            StoreError::Other { what, .. } => Ok(what),
            other => Err(other),
        }
    }

    /// From what SQLite says about this database.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt { path, why },
            Some(ErrorCode::SystemIoFailure) => StoreError::Disk { path, why },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                StoreError::Denied { what: format!("can't use `{}`: {why}", path.display()), path }
            }
            _ => StoreError::Other { what: format!("can't use `{}`: {why}", path.display()), path },
        }
    }

    /// From what the system says about this file; `what` is what was tried.
    pub(super) fn io(what: String, path: &Path, error: &io::Error) -> StoreError {
        let path = path.to_owned();
        let told = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::Denied { what: told, path }
            }
            _ => StoreError::Other { what: told, path },
        }
    }
}
