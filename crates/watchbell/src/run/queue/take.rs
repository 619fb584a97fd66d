//! The agent's side of the queue: looks into it now and then, and takes in what waits, oldest first, one file at a
//! time. What can't be taken in is a fault of the agent's own, `AGENT#queue`, until somebody mends or removes it: what
//! can't be read is tried again at each look, what makes no sense or is refused is set aside as `.bad`.

use super::{ENDING, QUEUED_BYTES_MAX, Waiting, folder, left_at, open};
use crate::{run::Agent, web};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};
use watchbell_core::{
    engine::Input,
    model::{Finding, Severity},
};
use watchbell_io::shared::file::text;

/// What is added to the names of those that were set aside.
const ASIDE: &str = ".bad";
/// The agent looks into the queue this often: whoever found none running may write a moment after it started.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The fault lists so many files.
const LISTED_MAX: usize = 20;

/// Takes in what waits, now and whenever something new is there, for as long as the agent runs.
pub async fn take_in(agent: Agent) {
    let mut taker = Taker { agent, wrong: BTreeMap::new(), taken: BTreeSet::new(), told: None };
    loop {
        taker.look().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Who looks into the queue.
struct Taker {
    agent: Agent,
    /// What can't be taken in: why, and what to do.
    wrong: BTreeMap<PathBuf, String>,
    /// What was taken in, and can't be removed.
    taken: BTreeSet<PathBuf>,
    /// What the engine was told last.
    told: Option<Option<Finding>>,
}

/// The agent can't take anything in now.
struct Busy;

impl Taker {
    async fn look(&mut self) {
        let before = std::mem::take(&mut self.wrong);
        let looked = self.look_through(&before).await;
        for (path, why) in self.wrong.iter().filter(|(path, why)| before.get(*path) != Some(*why)) {
            tracing::error!(path = %path.display(), why, "what was queued can't be taken in");
        }
        match looked {
            Ok(()) => self.tell().await,
            Err(Busy) => self.wrong.extend(before),
        }
    }

    async fn look_through(&mut self, before: &BTreeMap<PathBuf, String>) -> Result<(), Busy> {
        let state = self.agent.state.clone();
        let paths = match blocking(move || list(&state)).await {
            Ok(paths) => paths,
            Err(error) => {
                let why = format!("{error}; the folder must belong to the agent's user");
                self.wrong.insert(folder(&self.agent.state), why);
                return Ok(());
            }
        };
        for path in paths {
            if ends_in(&path, ENDING) {
                self.take_one(&path).await?;
            } else if ends_in(&path, ASIDE) {
                let why = before.get(&path).cloned();
                let why = why.unwrap_or_else(|| mend("it was set aside before, the agent's log says why"));
                self.wrong.insert(path, why);
            }
        }
        Ok(())
    }

    /// Takes one request in.
    async fn take_one(&mut self, path: &Path) -> Result<(), Busy> {
        if !self.taken.contains(path) {
            let file = path.to_owned();
            let waiting = match blocking(move || read(&file)).await {
                Ok(Ok(waiting)) => waiting,
                Ok(Err(why)) => {
                    self.set_aside(path, &why);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    self.wrong.insert(path.into(), format!("{error}; the file must belong to the agent's user"));
                    return Ok(());
                }
            };
            match web::take_queued(&self.agent, waiting, left_at(path)).await {
                Ok(()) => tracing::info!(path = %path.display(), "took in what was queued while no agent ran"),
                Err(error) if error.status.is_server_error() => {
                    // It stays where it is, and those behind it too, for the next look.
                    tracing::warn!(path = %path.display(), why = error.error, "what was queued waits on");
                    return Err(Busy);
                }
                Err(error) => {
                    let hint = error.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
                    self.set_aside(path, &format!("{}{hint}", error.error));
                    return Ok(());
                }
            }
        }
        self.taken.remove(path);
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.taken.insert(path.into());
            let why =
                format!("it was taken in, but can't be removed: {error}; remove it, or the next start repeats it");
            self.wrong.insert(path.into(), why);
        }
        Ok(())
    }

    fn set_aside(&mut self, path: &Path, why: &str) {
        let mut aside = OsString::from(path);
        aside.push(ASIDE);
        match fs::rename(path, &aside) {
            Ok(()) => self.wrong.insert(aside.into(), mend(why)),
            Err(error) => self.wrong.insert(path.into(), format!("{why}; it can't even be set aside: {error}")),
        };
    }

    /// Tells the engine what is wrong, where that changed.
    async fn tell(&mut self) {
        let finding = finding(&self.wrong);
        if self.told.as_ref() != Some(&finding) {
            let input = Input::Own { part: "queue".into(), finding: finding.clone() };
            self.told = self.agent.handle.submit(input).await.is_ok().then_some(finding);
        }
    }
}

/// Why a request was set aside, and what to do.
fn mend(why: &str) -> String {
    format!("{why}; mend it and take `{ASIDE}` off its name, or remove it")
}

/// The fault that what can't be taken in comes to.
fn finding(wrong: &BTreeMap<PathBuf, String>) -> Option<Finding> {
    let (path, why) = wrong.first_key_value()?;
    let others = if wrong.len() > 1 { format!(" (and {} more)", wrong.len() - 1) } else { String::new() };
    let text = format!("what was queued can't be taken in{others}: `{}`: {why}", path.display());
    let list = wrong.iter().take(LISTED_MAX).map(|(path, why)| format!("{}: {why}", path.display()));
    Some(Finding::new(Severity::Critical, text).with_detail(list.collect::<Vec<_>>().join("\n")))
}

/// What lies in the queue of a state folder, oldest first.
fn list(state: &Path) -> io::Result<Vec<PathBuf>> {
    open(state)?;
    let mut paths = fs::read_dir(folder(state))?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// What begins with a dot is not whole yet.
fn ends_in(path: &Path, ending: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(ending) && !name.starts_with('.')
}

/// Reads one request. The inner error is what is wrong with it.
fn read(path: &Path) -> io::Result<Result<Waiting, String>> {
    let mut body = Vec::new();
    File::open(path)?.take(QUEUED_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > QUEUED_BYTES_MAX {
        return Ok(Err(format!("it is longer than {} MiB", QUEUED_BYTES_MAX >> 20)));
    }
    Ok(text(body).and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())))
}

/// Reading and listing wait for the disk: not on a thread that others need.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
