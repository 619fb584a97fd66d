//! `watchbell completions`: what the shell needs to complete commands and options.

use super::ui::{self, Done};
use clap::CommandFactory;

/// Print completions for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "For bash:\n  watchbell completions bash > /etc/bash_completion.d/watchbell")]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Args {
    /// Prints them.
    pub fn run(&self) -> Done {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "watchbell", &mut out);
        ui::print(&String::from_utf8_lossy(&out))
    }
}
