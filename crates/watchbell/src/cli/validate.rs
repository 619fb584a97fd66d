//! `watchbell validate`: everything that is wrong with a config, all at once, without running anything.

use super::{
    place::{EnvFile, Place, Setup},
    ui::{self, Done, Trouble},
};
use crate::run::pings::Pings;
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf};
use watchbell_core::config::{
    Problems, render, to_json,
    tree::{FileId, Span},
};
use watchbell_io::query;

/// Check a config: every mistake with its place and what to do
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Nothing is run and nothing is sent; programs, folders and secrets that are missing are warnings. \
                        Exit code 1 if there are errors, 0 if there are none or warnings only."
)]
pub struct Args {
    /// The config folder, or CIMAA's agent file
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    env: EnvFile,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// Each problem with the line it is about, and a summary
    Text,
    /// An object with counts and `problems`, an array with places
    Json,
}

impl Args {
    /// Reads the config and says what is wrong.
    pub fn run(&self, place: &Place) -> Done {
        self.env.apply()?;
        let setup = place.load(self.dir.as_deref())?;
        // As the agent does: what an old format names relatively is looked for in its folder.
        setup.folder.enter()?;
        let problems = with_preflight(&setup);
        let errors = problems.errors();
        match self.format {
            Format::Text => {
                let mut text = render(&problems, ui::Paint::stdout().on);
                if !text.is_empty() {
                    text.push('\n');
                }
                ui::print(&(text + &summary(&setup, &problems)))?;
            }
            Format::Json => {
                let loaded = &setup.loaded;
                ui::print_json(&json!({
                    "config": setup.folder.root.display().to_string(),
                    "files": loaded.files.len(),
                    "checks": loaded.policy.checks.len(),
                    "notifiers": loaded.policy.notifiers.len(),
                    "errors": errors,
                    "warnings": problems.list.len() - errors,
                    "problems": to_json(&problems),
                }))?;
            }
        }
        if errors > 0 { Err(Trouble::Found) } else { Ok(()) }
    }
}

fn summary(setup: &Setup, problems: &Problems) -> String {
    let loaded = &setup.loaded;
    let what = format!(
        "{} and {} in {}",
        ui::count(loaded.policy.checks.len(), "check"),
        ui::count(loaded.policy.notifiers.len(), "notifier"),
        ui::count(loaded.files.len(), "file")
    );
    let errors = problems.errors();
    let warnings = problems.list.len() - errors;
    let paint = ui::Paint::stdout();
    let verdict = match (errors, warnings) {
        (0, 0) => paint.good("all is well"),
        (0, n) => format!("no errors, {}", ui::count(n, "warning")),
        (e, 0) => paint.bad(&ui::count(e, "error")),
        (e, w) => format!("{}, {}", paint.bad(&ui::count(e, "error")), ui::count(w, "warning")),
    };
    let empty = if loaded.files.is_empty() {
        format!(
            "\nthere is no config file in `{}`: put a `watchbell.toml` there, or a file for an application",
            setup.folder.root.display()
        )
    } else {
        String::new()
    };
    format!("{verdict}: {what}{empty}\n")
}

/// The config's problems, and after them what the log, programs and notifiers see without being run.
fn with_preflight(setup: &Setup) -> Problems {
    let mut problems = setup.loaded.problems.clone();
    let mut texts = Texts::new(setup);
    for text in crate::logs::preflight(&setup.loaded.agent) {
        problems.warning(NOWHERE, format!("the agent's log: {text}"));
    }
    for (name, program) in &setup.loaded.programs {
        let Some(policy) = setup.loaded.policy.checks.get(name) else { continue };
        for text in program.preflight() {
            let span = texts.line(&mut problems, &policy.file, policy.line);
            problems.warning(span, format!("check `{}`: {text}", policy.short()));
        }
    }
    for (name, why) in Pings::read(&setup.loaded.policy).1 {
        let Some(policy) = setup.loaded.policy.checks.get(&name) else { continue };
        let span = texts.line(&mut problems, &policy.file, policy.line);
        problems.warning(span, format!("check `{}`: {why}", policy.short()));
    }
    for (name, source) in &query::sources(&setup.loaded.policy.sources, &BTreeMap::new()) {
        for text in source.preflight() {
            problems.warning(NOWHERE, format!("source `{name}`: {text}"));
        }
    }
    for (name, notifier) in &setup.loaded.notifiers {
        for text in notifier.preflight() {
            problems.warning(NOWHERE, format!("notifier `{name}`: {text}"));
        }
    }
    problems
}

/// A problem that is about no place in a file.
const NOWHERE: Span = Span { file: FileId(u32::MAX), start: 0, end: 0 };

/// Texts of files for places in them; those without problems are not among the problems' own.
struct Texts<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    ids: BTreeMap<String, FileId>,
}

impl<'a> Texts<'a> {
    fn new(setup: &'a Setup) -> Texts<'a> {
        let texts = setup.files.iter().filter_map(|f| Some((f.path.as_str(), f.text.as_deref().ok()?))).collect();
        let known = setup.loaded.problems.files.iter().enumerate();
        let ids = known.map(|(i, f)| (f.path.clone(), FileId(u32::try_from(i).unwrap_or(u32::MAX)))).collect();
        Texts { texts, ids }
    }

    /// A line of a file, from 1.
    fn line(&mut self, problems: &mut Problems, path: &str, line: usize) -> Span {
        let Some(text) = self.texts.get(path) else { return NOWHERE };
        let file = *self.ids.entry(path.to_owned()).or_insert_with(|| problems.add_file(path, *text));
        let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let length = text[before..].lines().next().map_or(0, str::len);
        Span { file, start: before, end: before + length }
    }
}
