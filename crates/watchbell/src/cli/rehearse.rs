//! `watchbell rehearse`: plays scenario files against the config: what would be told, when, and whether that is what
//! the file expects.

use super::{
    place::{Place, Setup},
    ui::{self, Done, Paint, Trouble},
};
use crate::run::config::Folder;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use watchbell_core::{
    config::{AGENT_FILE, InputFile, Policy, render},
    scenario::{Entry, EntryKind, Report, Scenario, ScenarioError},
};

/// A scenario file may have this many bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Play scenario files: what would be told, when, and whether it is as expected
#[derive(clap::Args, Debug)]
#[command(
    after_help = "A scenario says what checks report, what people do and what breaks, and what is expected of it; \
                        `watchbell man scenarios` has the language. It is played in a moment, with a clock of its own; nothing is \
                        run and nothing is sent. One that brings its own `config` block uses that instead of the config \
                        folder's.\n\nExit code 1 if an expectation is not met."
)]
pub struct Args {
    /// The scenario files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Show all that happens: runs, events, and what was decided by which rule
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Plays them.
    pub fn run(&self, place: &Place) -> Done {
        let mut setup = None;
        let (mut bad, mut list) = (0, Vec::new());
        for file in &self.files {
            let scenario = read(file)?;
            let report = if scenario.has_own_config {
                play_own(&scenario, place).map_err(|why| Trouble::Wrong(format!("`{}`: {why}", file.display())))?
            } else {
                let setup = match &mut setup {
                    Some(setup) => setup,
                    empty => empty.insert(loaded(place)?),
                };
                scenario.run(Arc::new(setup.loaded.policy.clone()))
            };
            bad += usize::from(!report.is_good());
            if self.json {
                list.push(to_json(file, &report));
            } else {
                ui::print(&self.show(file, &report))?;
            }
        }
        if self.json {
            ui::print_json(&list)?;
        } else {
            let paint = Paint::stdout();
            let all = ui::count(self.files.len(), "scenario");
            ui::print(&match bad {
                0 => format!("{}: {all}\n", paint.good("as expected")),
                n => format!("{}: {n} of {all}\n", paint.bad("not as expected")),
            })?;
        }
        if bad > 0 { Err(Trouble::Found) } else { Ok(()) }
    }

    fn show(&self, file: &Path, report: &Report) -> String {
        let paint = Paint::stdout();
        let verdict = if report.is_good() { paint.good("ok") } else { paint.bad("failed") };
        let mut out = format!("{} {verdict}\n", paint.head(&file.display().to_string()));
        for entry in report.timeline.iter().filter(|e| self.all || is_told(e)) {
            out.push_str(&format!("  {}\n", ui::clean(&entry.to_string())));
        }
        for failure in &report.failures {
            out.push('\n');
            for line in failure.to_string().lines() {
                out.push_str(&format!("  {}\n", ui::clean(line)));
            }
        }
        out.push('\n');
        out
    }
}

/// What the scenario does, and what is told of it.
fn is_told(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Line | EntryKind::Delivery | EntryKind::Failed)
}

fn loaded(place: &Place) -> Done<Setup> {
    let setup = place.load(None)?;
    let errors = setup.loaded.problems.errors();
    if errors > 0 {
        let errors = ui::count(errors, "error");
        ui::warn(&format!("the config has {errors}; what is wrong is left out\nhint: see `watchbell validate`"));
    }
    Ok(setup)
}

fn read(file: &PathBuf) -> Done<Scenario> {
    let wrong = |why: String| Trouble::Wrong(format!("can't read `{}`: {why}", file.display()));
    let text = watchbell_io::shared::file::read(file, FILE_BYTES_MAX).map_err(wrong)?;
    Scenario::parse(&text).map_err(|errors| Trouble::Wrong(mistakes(file, &text, &errors)))
}

/// All mistakes in a scenario, each with its line and a caret.
fn mistakes(file: &Path, text: &str, errors: &[ScenarioError]) -> String {
    let mut out = format!("`{}` has {}", file.display(), ui::count(errors.len(), "mistake"));
    for error in errors {
        let line = text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
        let caret = " ".repeat(error.column.saturating_sub(1));
        out.push_str(&format!("\n\n{}:{}:{}: {}\n", file.display(), error.line, error.column, error.message));
        out.push_str(&format!("  {}\n  {caret}^", ui::clean(&line.replace('\t', " "))));
        if let Some(hint) = &error.hint {
            out.push_str(&format!("\nhint: {hint}"));
        }
    }
    out
}

/// Plays a scenario under the config that it brings.
fn play_own(scenario: &Scenario, place: &Place) -> Result<Report, String> {
    // Paths in it start where the config folder is, or here.
    let folder = place.folder(None).unwrap_or_else(|_| Folder { root: PathBuf::from("/"), file: None });
    let mut config = folder.config();
    scenario.run_with(&mut |text, start| {
        if start {
            config = folder.config();
        }
        let absolute = folder.root.join(AGENT_FILE).display().to_string();
        config.update(vec![InputFile { path: AGENT_FILE.to_owned(), absolute, text: Ok(text.to_owned()) }]);
        let loaded = config.assemble();
        if start && loaded.problems.errors() > 0 {
            return Err(format!("its config can't be used\n{}", render(&loaded.problems, false)));
        }
        Ok::<Arc<Policy>, String>(Arc::new(loaded.policy))
    })
}

fn to_json(file: &Path, report: &Report) -> serde_json::Value {
    let entry = |e: &Entry| {
        let kind = match e.kind {
            EntryKind::Line => "line",
            EntryKind::Run => "run",
            EntryKind::Event => "event",
            EntryKind::Decision => "decision",
            EntryKind::Delivery => "delivery",
            EntryKind::Failed => "failed",
        };
        json!({ "at": e.at, "kind": kind, "text": e.text })
    };
    json!({
        "file": file.display().to_string(),
        "good": report.is_good(),
        "timeline": report.timeline.iter().map(entry).collect::<Vec<_>>(),
        "failures": report.failures.iter().map(|f| json!({
            "line": f.line, "at": f.at, "expected": f.expected, "found": f.found, "hint": f.hint,
        })).collect::<Vec<_>>(),
    })
}
