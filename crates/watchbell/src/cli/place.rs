//! Where the config is, and what it says: shared by every command that needs it.

use super::ui::{Done, Trouble, note};
use crate::run::{self, clock, config::Folder};
use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};
use watchbell_core::{
    config::{AGENT_FILE, InputFile, Loaded},
    model::Timestamp,
};
use watchbell_io::{notify::Channel, source::Program};

/// Where the config is if nobody says otherwise and the current folder has none.
const CONFIG_DEFAULT: &str = "/etc/watchbell";

/// The options that every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Place {
    /// The config folder (or CIMAA's agent file). Default: WATCHBELL_CONFIG, else the current folder if it holds a
    /// `watchbell.toml`, else /etc/watchbell
    #[arg(short, long = "config", value_name = "DIR", global = true)]
    pub config: Option<PathBuf>,
}

/// The environment that systemd gives the agent.
#[derive(clap::Args, Clone, Debug)]
pub struct EnvFile {
    /// Read variables from FILE, as systemd's `EnvironmentFile=` does; of this shell's only those count that systemd
    /// sets too, such as PATH. May be given more than once
    #[arg(long = "env-file", value_name = "FILE", allow_hyphen_values = true)]
    files: Vec<PathBuf>,
}

/// Variables that systemd sets too, or that are about the terminal and the command line alone.
const KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TERM",
    "NO_COLOR",
    "WATCHBELL_CONFIG",
    "SUDO_USER",
    "TMPDIR",
];
/// Set in the program that has the environment of the files.
const APPLIED: &str = "WATCHBELL_ENV_FILE_APPLIED";

impl EnvFile {
    /// Goes on as this program with that environment: nobody can tell it from one that systemd started.
    ///
    /// # Errors
    /// A file can't be read or understood.
    pub fn apply(&self) -> Done {
        if self.files.is_empty() || env::var_os(APPLIED).is_some() {
            return Ok(());
        }
        let mut variables = BTreeMap::new();
        for path in &self.files {
            // An optional file, as systemd writes it, may be missing.
            let (path, optional) = match path.to_str().and_then(|text| text.strip_prefix('-')) {
                Some(rest) => (PathBuf::from(rest), true),
                None => (path.clone(), false),
            };
            let text = match fs::read_to_string(&path) {
                Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.map_err(|error| {
                    let hint = "call it as root, or as a user who may read it; `systemctl cat watchbell` shows which the unit reads";
                    Trouble::Wrong(format!("can't read `{}`: {error}\nhint: {hint}", path.display()))
                })?,
            };
            let (found, ignored) = super::env_file::parse(&text);
            for (line, why) in ignored {
                note(&format!("{}:{line}: {why}; systemd ignores this line", path.display()));
            }
            variables.extend(found);
        }
        let program = env::current_exe().map_err(|error| Trouble::Failed(format!("can't start again: {error}")))?;
        let kept =
            env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|n| KEPT.contains(&n) || n.starts_with("LC_")));
        let error = Command::new(program)
            .args(env::args_os().skip(1))
            .env_clear()
            .envs(kept)
            .envs(variables)
            .env(APPLIED, "1")
            .exec();
        Err(Trouble::Failed(format!("can't start again with that environment: {error}")))
    }
}

/// A config that was read.
pub struct Setup {
    /// Its folder.
    pub folder: Folder,
    /// What it says.
    pub loaded: Loaded<Program, Channel>,
    /// Its files.
    pub files: Vec<InputFile>,
    /// When it was read: the commands' one "now".
    pub now: Timestamp,
}

impl Place {
    /// The folder that is meant, a path given to the command itself before the option.
    ///
    /// # Errors
    /// It is not there.
    pub fn folder(&self, given: Option<&Path>) -> Done<Folder> {
        // Not clap's `env`: a variable that is set would stand in every usage line as if it had been typed.
        let variable = || std::env::var_os("WATCHBELL_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
        let typed = given.map(Path::to_owned).or_else(|| self.config.clone());
        let chosen = typed.or_else(variable).unwrap_or_else(|| {
            let here = PathBuf::from(".");
            if here.join(AGENT_FILE).is_file() { here } else { PathBuf::from(CONFIG_DEFAULT) }
        });
        Folder::new(&chosen).map_err(Trouble::Wrong)
    }

    /// Reads the config.
    ///
    /// # Errors
    /// It is not there. What is wrong in it is in what is returned.
    pub fn load(&self, given: Option<&Path>) -> Done<Setup> {
        let folder = self.folder(given)?;
        let (read, loaded) = run::load(&folder);
        Ok(Setup { folder, loaded, files: read.texts, now: clock::now() })
    }
}

impl Setup {
    /// The agent's state folder.
    ///
    /// # Errors
    /// The agent's own file can't be read, so that nobody knows where its state is.
    pub fn state(&self) -> Done<PathBuf> {
        if self.loaded.agent_broken {
            let file = self.loaded.agent_file.as_deref().unwrap_or(AGENT_FILE);
            return Err(Trouble::Failed(format!(
                "`{file}` can't be used, so where the agent's state is can't be known\nhint: `watchbell validate` \
                 shows what is wrong"
            )));
        }
        Ok(self.folder.root.join(&self.loaded.agent.state))
    }
}
