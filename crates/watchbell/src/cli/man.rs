//! `watchbell man`: manual pages, from the same definitions as `--help`; and the reference of the config, from the
//! same lists that it is read by.

use super::ui::{self, Done, Trouble};
use crate::run::config::KINDS;
use clap::CommandFactory;
use std::{
    fs,
    path::{Path, PathBuf},
};
use watchbell_core::config::{json_schema, reference_markdown};

/// The page about scenario files: servers have no `docs` folder.
const SCENARIOS: &str = include_str!("../../../../docs/scenarios.md");

/// Print a manual page, or write all of them
#[derive(clap::Args, Debug)]
#[command(after_help = "Read one with `watchbell man squelch | man -l -`, or install all with `watchbell man --dir \
                        /usr/local/share/man/man1`.")]
pub struct Args {
    /// The command that the page is about, such as `squelch` or `store backup` [default: watchbell as a whole];
    /// `config` is the reference of the config files, `scenarios` that of scenario files, both as Markdown, `schema` the
    /// JSON schema of config files, for editors
    #[arg(value_name = "PAGE")]
    page: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    dir: Option<PathBuf>,
}

impl Args {
    /// Prints or writes.
    pub fn run(&self) -> Done {
        let mut root = super::Cli::command();
        root.build();
        if let Some(dir) = &self.dir {
            return write_all(&root, dir);
        }
        match self.page.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["config"] => return ui::print(&reference_markdown(KINDS)),
            ["scenarios"] => return ui::print(SCENARIOS),
            ["schema"] => return ui::print_json(&json_schema(KINDS)),
            _ => {}
        }
        let mut command = &root;
        for word in &self.page {
            command = command.find_subcommand(word).ok_or_else(|| {
                let hint = "`watchbell help` lists the commands; `config`, `scenarios` and `schema` are pages too";
                Trouble::Wrong(format!("there is no command `{}`\nhint: {hint}", self.page.join(" ")))
            })?;
        }
        let page = render(command)?;
        ui::print(&String::from_utf8_lossy(&page.text))
    }
}

struct Page {
    file: String,
    text: Vec<u8>,
}

fn render(command: &clap::Command) -> Done<Page> {
    let man = clap_mangen::Man::new(command.clone()).manual("Watchbell");
    let mut text = Vec::new();
    man.render(&mut text).map_err(|e| Trouble::Failed(format!("can't make a manual page: {e}")))?;
    Ok(Page { file: man.get_filename(), text })
}

fn write_all(root: &clap::Command, dir: &Path) -> Done {
    let wrong = |e: std::io::Error| Trouble::Failed(format!("can't write into `{}`: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(wrong)?;
    let mut waiting = vec![root];
    let mut written = 0;
    while let Some(command) = waiting.pop() {
        let page = render(command)?;
        fs::write(dir.join(page.file), page.text).map_err(wrong)?;
        written += 1;
        waiting.extend(command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set()));
    }
    ui::note(&format!("wrote {} into `{}`", ui::count(written, "page"), dir.display()));
    Ok(())
}
