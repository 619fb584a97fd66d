//! What was sent while no agent ran: one JSON file each in `STATE/queue/`, on disk before the caller hears that it
//! was taken, and taken in by the agent once it runs.
//!
//! A file appears under its name only when it is whole, and goes when what it says is committed; its name says since
//! when it waits. Messages carry an id, so that one that is taken in twice (the agent was killed in between) is the
//! same message to its receivers. What root leaves belongs to the owner of the state folder, who takes it in.

mod take;

pub use take::take_in;

use super::clock;
use crate::api::{MessageRequest, ReportRequest};
use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};
use watchbell_core::model::Timestamp;
use watchbell_io::store::{DIR_MODE, FILE_MODE};

/// So many wait at most: an agent that is down for good must not fill the disk.
pub const QUEUE_MAX: usize = 10_000;
/// A queued request may have this many bytes.
pub const QUEUED_BYTES_MAX: u64 = 4 << 20;
/// What the names of whole files end in.
const ENDING: &str = ".json";

/// Where the queue of a state folder is.
pub fn folder(state: &Path) -> PathBuf {
    state.join("queue")
}

/// One thing that waits for the agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Waiting {
    /// A message.
    Message(MessageRequest),
    /// A report.
    Report(ReportRequest),
}

/// Puts something into the queue of a state folder; it is on disk when this returns.
///
/// # Errors
/// It can't be written, or too much waits already; with a hint.
pub fn put(state: &Path, mut waiting: Waiting) -> Result<PathBuf, String> {
    let folder = folder(state);
    let wrong = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "call it as the agent's user or as root, or start the agent",
            io::ErrorKind::NotFound => "start the agent once with `watchbell run`: it makes its state folder",
            _ => "make room, or start the agent",
        };
        format!("`{}` can't be written: {error}\nhint: {hint}", folder.display())
    };
    let opened = open(state).map_err(wrong)?;
    if fs::read_dir(&folder).map_err(wrong)?.count() >= QUEUE_MAX {
        let hint = "start the agent: it takes them in";
        return Err(format!("{QUEUE_MAX} requests wait in `{}` already\nhint: {hint}", folder.display()));
    }
    let stem = stem();
    if let Waiting::Message(message) = &mut waiting {
        message.id.get_or_insert_with(|| stem.clone());
    }
    let body = serde_json::to_vec(&waiting).map_err(|e| format!("it has no JSON form: {e}"))?;
    let path = folder.join(format!("{stem}{ENDING}"));
    let unfinished = folder.join(format!(".{stem}.tmp"));
    write_durably(&unfinished, &path, state, &body).and_then(|()| opened.sync_all()).map_err(wrong)?;
    Ok(path)
}

/// The name of what is left now, before its ending. No other has it: a process leaves one thing at a time.
pub fn stem() -> String {
    format!("{:020}-{}", clock::now().as_micros(), std::process::id())
}

/// Since when a request waits, by its name.
fn left_at(path: &Path) -> Option<Timestamp> {
    let (micros, _) = path.file_stem()?.to_str()?.split_once('-')?;
    micros.parse().ok().map(Timestamp::from_micros)
}

/// Opens the queue's folder; makes it where there is none.
fn open(state: &Path) -> io::Result<File> {
    let folder = folder(state);
    match DirBuilder::new().mode(DIR_MODE).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Not through a link: root would give away what it leads to.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = File::from(rustix::fs::open(&folder, flags, Mode::empty())?);
    give(&opened, state)?;
    Ok(opened)
}

/// What root makes in a state folder is for its owner.
fn give(file: &File, state: &Path) -> io::Result<()> {
    let owner = fs::metadata(state)?;
    if geteuid().is_root() && file.metadata()?.uid() != owner.uid() {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn write_durably(unfinished: &Path, path: &Path, state: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(unfinished)?;
    let written = give(&file, state).and_then(|()| file.write_all(body)).and_then(|()| file.sync_all());
    let written = written.and_then(|()| fs::rename(unfinished, path));
    if written.is_err() {
        // What is half there is of no use; if it stays, nobody reads it.
        let _ = fs::remove_file(unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Waiting {
        let request = serde_json::json!({ "name": "deploy", "text": text });
        Waiting::Message(serde_json::from_value(request).unwrap())
    }

    #[test]
    fn what_is_left_is_whole_and_of_its_time() {
        let state = std::env::temp_dir().join(format!("watchbell-queue-{}", std::process::id()));
        assert!(put(&state, message("x")).is_err(), "there is no state folder");
        fs::create_dir_all(&state).unwrap();
        let before = clock::now();
        let paths = ["one", "two"].map(|text| put(&state, message(text)).unwrap());
        assert!(paths[0] < paths[1] && left_at(&paths[0]).is_some_and(|at| before <= at && at <= clock::now()));
        let Waiting::Message(one) = serde_json::from_slice(&fs::read(&paths[0]).unwrap()).unwrap() else { panic!() };
        assert!(one.text == "one" && one.id.is_some_and(|id| paths[0].ends_with(format!("{id}.json"))));
        assert_eq!(fs::read_dir(folder(&state)).unwrap().count(), 2, "nothing half is left");
        assert_eq!(left_at(Path::new("/x/by-hand.json")), None);
        fs::remove_dir_all(&state).unwrap();
    }

    /// What root leaves is for whom the state folder belongs to, and nobody else may read it.
    #[test]
    fn root_leaves_it_to_the_owner() {
        if !geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "SKIPPED root_leaves_it_to_the_owner: it needs root, and this is CI"
            );
            eprintln!("SKIPPED root_leaves_it_to_the_owner: it needs root");
            return;
        }
        let state = std::env::temp_dir().join(format!("watchbell-queue-owner-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        std::os::unix::fs::chown(&state, Some(4711), Some(4712)).unwrap();
        let path = put(&state, message("x")).unwrap();
        for (path, mode) in [(folder(&state), DIR_MODE), (path, FILE_MODE)] {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), (4711, 4712), "{}", path.display());
            assert_eq!(found.mode() & 0o777 & !mode, 0, "{}: {:o}", path.display(), found.mode());
        }
        fs::remove_dir_all(folder(&state)).unwrap();
        std::os::unix::fs::symlink("/", folder(&state)).unwrap();
        assert!(put(&state, message("x")).is_err(), "root does not give away what a link leads to");
        fs::remove_dir_all(&state).unwrap();
    }
}
