//! The config folder: what is read of it, and when.

use super::{walk::Walk, watch::Watch};
use jiff::tz::TimeZone;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use watchbell_core::config::{AGENT_FILE, Config, InputFile, Kinds, LoadOptions, Loaded, render};
use watchbell_io::{notify::Channel, source::Program};

/// After a change the folder must be still for this long before it is read: editors write in several steps.
const STILL_FOR: Duration = Duration::from_millis(200);
/// One that is never still is read all the same, this long after the first change.
const STILL_WITHIN: Duration = Duration::from_secs(5);
/// The folder is read this often even if nothing was noticed: not every file system tells.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Every kind there is.
pub const KINDS: Kinds<Program, Channel> =
    Kinds { checks: watchbell_io::source::KINDS, notifiers: watchbell_io::notify::KINDS };

/// A config folder (or one file that speaks for a folder, as CIMAA's agent file does).
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder.
    pub root: PathBuf,
    /// The file named on the command line, where it was a file.
    pub file: Option<PathBuf>,
}

impl Folder {
    /// From what the command line says.
    ///
    /// # Errors
    /// It is not there, with a hint.
    pub fn new(path: &Path) -> Result<Folder, String> {
        let whole = fs::canonicalize(path).map_err(|error| {
            format!(
                "can't read the config `{}`: {error}\nhint: name the folder with `-c DIR`, or set WATCHBELL_CONFIG",
                path.display()
            )
        })?;
        if whole.is_dir() {
            return Ok(Folder { root: whole, file: None });
        }
        let root = whole.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        Ok(Folder { root, file: Some(whole) })
    }

    /// Makes it the process's working folder: what the config names relatively (files of secrets, what commands
    /// read and write) starts there, for checks and notifiers alike.
    ///
    /// # Errors
    /// It can't be entered.
    pub fn enter(&self) -> Result<(), String> {
        std::env::set_current_dir(&self.root)
            .map_err(|error| format!("can't enter the config folder `{}`: {error}", self.root.display()))
    }

    /// Refuses a file named by hand that can't be understood: what would start is an agent with nothing to do, in
    /// places that nobody chose.
    ///
    /// # Errors
    /// It says nothing that can be used, and what to do.
    pub fn refuse_broken(&self, loaded: &Loaded<Program, Channel>) -> Result<(), String> {
        let Some(file) = self.file.as_ref().map(|file| file.display().to_string()) else { return Ok(()) };
        if !loaded.files.iter().any(|found| found.absolute == file && found.broken) {
            return Ok(());
        }
        eprint!("{}", render(&loaded.problems, false));
        Err(format!(
            "`{file}` is no config that can be used; nothing was started\nhint: name a folder with a `{AGENT_FILE}`, or \
             CIMAA's agent file"
        ))
    }

    /// A config with no files read yet.
    pub fn config(&self) -> Config<Program, Channel> {
        let options = LoadOptions {
            root: self.root.display().to_string(),
            default_agent_name: watchbell_io::shared::net::host_name(),
            local_zone: TimeZone::system(),
        };
        Config::new(KINDS, options, |notifier| notifier.targets())
    }

    /// Reads every config file, those of further folders too, in order of their paths. `known` is what was read
    /// before: what can't be read keeps what it had.
    pub fn read(&self, further: &[String], known: &[InputFile], watch: Option<&Watch>) -> Vec<InputFile> {
        let mut walk = Walk::new(self, known, watch);
        walk.root(self.file.as_deref().unwrap_or(&self.root));
        further.iter().for_each(|folder| walk.root(&self.root.join(folder)));
        walk.finish()
    }
}

/// Whether a file or folder is passed over for its name.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
}

/// Sends a message whenever a config may have changed: what is noticed once all is still, and now and then.
pub fn changes() -> (Option<Watch>, mpsc::Receiver<()>) {
    let (changed, changes) = mpsc::channel(1);
    let watch = Watch::start(changed.clone()).inspect_err(|error| {
        tracing::warn!(%error, "the config is not watched; it is read once a minute");
    });
    tokio::spawn(async move {
        while changed.send(()).await.is_ok() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    (watch.ok(), settled(changes))
}

/// Passes changes on once the folder is still. A task of its own, because waiting for that must not be cut off by
/// whatever else the receiver waits for: the change would be forgotten.
fn settled(mut changes: mpsc::Receiver<()>) -> mpsc::Receiver<()> {
    let (sender, settled) = mpsc::channel(1);
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            let end = Instant::now() + STILL_WITHIN;
            while let Ok(Some(())) = timeout_at(end.min(Instant::now() + STILL_FOR), changes.recv()).await {
                if Instant::now() >= end {
                    break;
                }
            }
            if sender.send(()).await.is_err() {
                break;
            }
        }
    });
    settled
}

/// Whether a path is named like a config file.
pub fn is_config(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".toml", ".flake.json", ".dwmon", ".cfg"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that something writes to all the time is read all the same.
    #[tokio::test]
    async fn a_folder_that_is_never_still() {
        let (changed, changes) = mpsc::channel(1);
        let mut settled = settled(changes);
        let began = Instant::now();
        let busy = tokio::spawn(async move {
            while changed.send(()).await.is_ok() {
                tokio::time::sleep(STILL_FOR / 4).await;
            }
        });
        let heard = tokio::time::timeout(2 * STILL_WITHIN, settled.recv()).await;
        assert_eq!(heard, Ok(Some(())), "after {:?}", began.elapsed());
        assert!(began.elapsed() >= STILL_WITHIN);
        busy.abort();
    }
}
