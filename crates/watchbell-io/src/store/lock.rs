//! One agent per state folder: a lock on `STATE/lock` that the kernel drops with the process, however it ends.
//! The file says who holds it; it is never removed, because a lock on a removed file would keep nobody out.

use super::{StoreError, open_file};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::File,
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use watchbell_core::model::Timestamp;

/// How often the lock is tried: a command with the agent down (squelch, ack) holds it for a moment.
pub const TRIES: u32 = 25;
/// How long to wait between two tries.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// No more of a lock file is read.
const LOCK_FILE_BYTES_MAX: u64 = 200;

/// The lock; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

/// Who holds a state folder, as it wrote it down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holder {
    /// Its process.
    pub pid: Option<u32>,
    /// When it took the folder.
    pub since: Option<Timestamp>,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(dir: &Path, now: Timestamp, tries: u32) -> Result<Lock, StoreError> {
        let path = dir.join("lock");
        let wrong = |e: &std::io::Error| StoreError::io(format!("can't lock `{}`", path.display()), &path, e);
        for attempt in 1.. {
            let file = open_file(&path).map_err(|e| wrong(&e))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let mut lock = Lock { path: path.clone(), file };
                    if lock.moved() {
                        continue;
                    }
                    lock.sign(now).map_err(|e| wrong(&e))?;
                    return Ok(lock);
                }
                Err(rustix::io::Errno::WOULDBLOCK) if attempt >= tries => {
                    let Holder { pid, since } = read(&file);
                    return Err(StoreError::Locked { dir: dir.to_owned(), pid, since });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(TRY_AGAIN_AFTER),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(wrong(&e.into())),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Whether the file is no longer the one at its path, so that another process could lock a new one.
    pub(super) fn moved(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(held), Ok(there)) => (held.dev(), held.ino()) != (there.dev(), there.ino()),
            _ => true,
        }
    }

    /// The lock file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down who holds it. Without room for it the lock holds all the same.
    fn sign(&mut self, now: Timestamp) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        match self.file.write_all(format!("{} {now}\n", std::process::id()).as_bytes()) {
            Err(e) if e.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            other => other,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being spawned this moment has a copy of it until it
        // runs its program.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Who holds this state folder now; `None` when nobody does (or there is no such folder).
pub fn holder(dir: &Path) -> Option<Holder> {
    let file = File::open(dir.join("lock")).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(read(&file)),
        _ => None,
    }
}

/// Reads `PID TIME`; what is not there or makes no sense stays out.
fn read(mut file: &File) -> Holder {
    let mut text = String::new();
    // A file that can't be read tells nothing about the holder, and that is all this is for.
    let _ = file.take(LOCK_FILE_BYTES_MAX).read_to_string(&mut text);
    let _ = file.rewind();
    let mut words = text.split_whitespace();
    Holder { pid: words.next().and_then(|w| w.parse().ok()), since: words.next().and_then(|w| w.parse().ok()) }
}
