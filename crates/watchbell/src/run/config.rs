//! The config folder: reading all its files, and noticing when one changes.

use jiff::tz::TimeZone;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;
use watchbell_core::config::{Config, InputFile, Kinds, LoadOptions};
use watchbell_io::{notify::Channel, source::Program};

/// A config file may be this long.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Folders below the config folder are read down to this depth.
const DEPTH_MAX: usize = 32;
/// So many files are read.
const FILES_MAX: usize = 20_000;
/// After a change the folder must be still for this long before it is read: editors write in several steps.
const STILL_FOR: Duration = Duration::from_millis(200);
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

    /// A config with no files read yet.
    pub fn config(&self) -> Config<Program, Channel> {
        let options = LoadOptions {
            root: self.root.display().to_string(),
            default_agent_name: host_name(),
            local_zone: TimeZone::system(),
        };
        Config::new(KINDS, options, |notifier| notifier.targets())
    }

    /// Reads every config file, those of further folders too, in order of their paths.
    pub fn read(&self, further: &[String]) -> Vec<InputFile> {
        let mut files = Vec::new();
        match &self.file {
            Some(file) => files.push(self.input(file)),
            None => self.collect(&self.root, 0, &mut files),
        }
        for folder in further {
            let path = self.root.join(folder);
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.collect(&path, 0, &mut files),
                _ => files.push(self.input(&path)),
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        files
    }

    fn collect(&self, folder: &Path, depth: usize, files: &mut Vec<InputFile>) {
        let Ok(entries) = fs::read_dir(folder) else {
            // A folder that can't be read is a file that can't be read: the loader says so.
            return files.push(self.input(folder));
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            if is_hidden(&path) || files.len() >= FILES_MAX {
                continue;
            }
            if path.is_dir() {
                if depth < DEPTH_MAX {
                    self.collect(&path, depth + 1, files);
                }
            } else if is_config(&path) {
                files.push(self.input(&path));
            }
        }
    }

    fn input(&self, path: &Path) -> InputFile {
        let shown = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        InputFile { path: shown, absolute: path.display().to_string(), text: read_text(path) }
    }

    /// Sends a message whenever files may have changed, until the receiver is gone.
    pub fn watch(&self, further: &[String], changed: mpsc::Sender<()>) {
        let roots = std::iter::once(self.root.clone()).chain(further.iter().map(|f| self.root.join(f)));
        if let Err(error) = super::watch::watch(roots.collect(), changed.clone()) {
            tracing::warn!(%error, "the config is not watched; it is read once a minute");
        }
        tokio::spawn(async move {
            while changed.send(()).await.is_ok() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }
}

/// A folder and all below it that may hold config files, hidden ones aside.
pub fn subfolders(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![(root.to_owned(), 0)];
    let mut next = 0;
    while let Some((folder, depth)) = found.get(next).cloned() {
        next += 1;
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let folders = entries.filter(|e| !is_hidden(&e.path()) && e.path().is_dir()).map(|e| (e.path(), depth + 1));
        if depth < DEPTH_MAX && found.len() < FILES_MAX {
            found.extend(folders);
        }
    }
    found.into_iter().map(|(folder, _)| folder).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
}

/// Passes changes on once the folder is still. A task of its own, because waiting for that must not be cut off by
/// whatever else the receiver waits for: the change would be forgotten.
pub fn settled(mut changes: mpsc::Receiver<()>) -> mpsc::Receiver<()> {
    let (sender, settled) = mpsc::channel(1);
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            while let Ok(Some(())) = tokio::time::timeout(STILL_FOR, changes.recv()).await {}
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

fn read_text(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {} MiB", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes)
        .map_err(|e| format!("it is not UTF-8 text (byte {} is wrong)", e.utf8_error().valid_up_to()))
}

/// The host's full name, as far as the machine knows it.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.contains('.') {
        return name;
    }
    // What `hostname -f` does without asking a name server: the first name of the address in the hosts file.
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let full = hosts.lines().map(|l| l.split('#').next().unwrap_or_default()).find_map(|line| {
        let names: Vec<&str> = line.split_whitespace().skip(1).collect();
        let known = names.contains(&name.as_str());
        names.into_iter().find(|n| known && n.starts_with(&format!("{name}."))).map(str::to_owned)
    });
    full.unwrap_or(name)
}
