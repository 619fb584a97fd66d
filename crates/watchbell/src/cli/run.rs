//! `watchbell run`: the agent itself.

use super::{
    place::Place,
    ui::{Done, Trouble},
};
use std::path::PathBuf;

/// Run the agent: checks, notifiers, HTTP API, until a signal ends it
#[derive(clap::Args, Debug)]
#[command(
    after_help = "SIGTERM and SIGINT end it in good order, SIGHUP reads the config again (which also happens by \
                        itself when a file changes). Its log goes to standard error; WATCHBELL_LOG sets the level."
)]
pub struct Args {
    /// The config folder, or CIMAA's agent file
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    /// Runs the agent.
    pub fn run(&self, place: &Place) -> Done {
        let folder = place.folder(self.dir.as_deref())?;
        // Starting a program holds its thread until the program is loaded: with twice as many threads as cores the
        // others go on meanwhile (measured: a third more checks per second than with one a core).
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2 * cores)
            .enable_all()
            .build()
            .map_err(|error| Trouble::Failed(format!("can't start the agent's threads: {error}")))?;
        let ended = runtime.block_on(crate::run::run(folder));
        // Commands that still run are killed by their tasks' end, which is waited for; what hangs (a name server that
        // does not answer) must not keep the process.
        runtime.shutdown_timeout(crate::run::KILL_WITHIN);
        ended.map_err(Trouble::Failed)
    }
}
