//! What was sent while no agent ran: one JSON file each in `STATE/queue/`, on disk before the caller hears that it
//! was taken, and taken in by the agent once it runs.
//!
//! A file appears under its name only when it is whole, and goes when what it says is committed. Messages carry an
//! id, so that one that is taken in twice (the agent was killed in between) is the same message to its receivers.

use super::{Agent, clock};
use crate::{
    api::{MessageRequest, ReportRequest},
    web,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// So many wait at most: an agent that is down for good must not fill the disk.
pub const QUEUE_MAX: usize = 10_000;
/// A queued request may have this many bytes.
pub const QUEUED_BYTES_MAX: u64 = 4 << 20;
/// What the names of whole files end in.
const ENDING: &str = ".json";
/// The agent looks into the queue this often: whoever found none running may write a moment after it started.
const LOOK_EVERY: Duration = Duration::from_secs(10);

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
        format!("no agent runs, and `{}` can't be written: {error}\nhint: {hint}", folder.display())
    };
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(wrong(error)),
        _ => {}
    }
    if fs::read_dir(&folder).map_err(wrong)?.count() >= QUEUE_MAX {
        let hint = "start the agent: it takes them in";
        return Err(format!("{QUEUE_MAX} requests wait in `{}` already\nhint: {hint}", folder.display()));
    }
    let stem = format!("{:020}-{}", clock::now().as_micros(), std::process::id());
    if let Waiting::Message(message) = &mut waiting {
        message.id.get_or_insert_with(|| stem.clone());
    }
    let body = serde_json::to_vec(&waiting).map_err(|e| format!("it has no JSON form: {e}"))?;
    let path = folder.join(format!("{stem}{ENDING}"));
    let unfinished = folder.join(format!(".{stem}.tmp"));
    write_durably(&unfinished, &path, &folder, &body).map_err(wrong)?;
    Ok(path)
}

fn write_durably(unfinished: &Path, path: &Path, folder: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(unfinished)?;
    let written = file.write_all(body).and_then(|()| file.sync_all()).and_then(|()| fs::rename(unfinished, path));
    if written.is_err() {
        // What is half there is of no use; if it stays, nobody reads it.
        let _ = fs::remove_file(unfinished);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// Takes in what waits, now and whenever something new is there, for as long as the agent runs.
pub async fn take_in(agent: Agent) {
    loop {
        for (path, waiting) in waiting(&agent.state) {
            take_one(&agent, &path, waiting).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Takes one request in. What the engine does not take can't be told to anybody but the log: it is set aside.
async fn take_one(agent: &Agent, path: &Path, waiting: Waiting) {
    let input = match web::input_of(waiting, &agent.settings().name) {
        Ok(input) => input,
        Err(why) => return set_aside(path, &why),
    };
    match agent.handle.submit(input).await {
        Ok(answer) => match answer.refused {
            None => {
                tracing::info!(path = %path.display(), "took in what was queued while no agent ran");
                if let Err(error) = fs::remove_file(path) {
                    tracing::error!(path = %path.display(), %error, "a queued request can't be removed; it will come again");
                }
            }
            Some(why) => set_aside(path, &why),
        },
        // It stays where it is, for the next look.
        Err(busy) => tracing::warn!(path = %path.display(), busy.reason, "a queued request waits on"),
    }
}

fn set_aside(path: &Path, why: &str) {
    tracing::error!(path = %path.display(), why, "a queued request can't be taken in, and is set aside as `.bad`");
    let mut aside = OsString::from(path);
    aside.push(".bad");
    if let Err(error) = fs::rename(path, aside) {
        tracing::error!(path = %path.display(), %error, "it can't even be renamed");
    }
}

/// What waits in the queue of a state folder, oldest first. A file that can't be understood is set aside.
fn waiting(state: &Path) -> Vec<(PathBuf, Waiting)> {
    let Ok(entries) = fs::read_dir(folder(state)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| is_whole(p)).collect();
    paths.sort();
    let mut waiting = Vec::new();
    for path in paths {
        match read(&path) {
            Ok(one) => waiting.push((path, one)),
            Err(why) => set_aside(&path, &why),
        }
    }
    waiting
}

fn is_whole(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.ends_with(ENDING) && !name.starts_with('.')
    })
}

fn read(path: &Path) -> Result<Waiting, String> {
    let mut body = Vec::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(QUEUED_BYTES_MAX + 1).read_to_end(&mut body).map_err(|e| e.to_string())?;
    if body.len() as u64 > QUEUED_BYTES_MAX {
        return Err(format!("it is longer than {} MiB", QUEUED_BYTES_MAX >> 20));
    }
    serde_json::from_slice(&body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Waiting {
        let request = serde_json::json!({ "name": "deploy", "text": text });
        Waiting::Message(serde_json::from_value(request).unwrap())
    }

    #[test]
    fn what_is_queued_comes_back_in_order_once_it_is_whole() {
        let state = std::env::temp_dir().join(format!("watchbell-queue-{}", std::process::id()));
        assert!(waiting(&state).is_empty());
        assert!(put(&state, message("x")).is_err(), "there is no state folder");
        fs::create_dir_all(&state).unwrap();
        put(&state, message("one")).unwrap();
        put(&state, message("two")).unwrap();
        let queue = folder(&state);
        fs::write(queue.join(".9-9.tmp"), "{\"mess").unwrap();
        fs::write(queue.join("00000000000000000001-1.json"), "not JSON").unwrap();
        let found = waiting(&state);
        let texts: Vec<_> = found
            .iter()
            .map(|(_, w)| match w {
                Waiting::Message(m) => (m.text.as_str(), m.id.is_some()),
                Waiting::Report(_) => ("", false),
            })
            .collect();
        assert_eq!(texts, [("one", true), ("two", true)]);
        assert!(queue.join("00000000000000000001-1.json.bad").exists());
        fs::remove_dir_all(&state).unwrap();
    }
}
