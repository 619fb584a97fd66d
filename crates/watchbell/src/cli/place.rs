//! Where the config is, and what it says: shared by every command that needs it.

use super::ui::{Done, Trouble};
use crate::run::{self, clock, config::Folder};
use std::path::{Path, PathBuf};
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
