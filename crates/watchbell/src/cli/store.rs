//! `watchbell store`: looking after the agent's database.

use super::{
    place::Place,
    table::{Look, Table},
    ui::{self, Done, Trouble},
};
use std::path::PathBuf;
use watchbell_io::store::{self, CheckReport};

/// Look after the agent's database
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(Check),
    Backup(Backup),
}

/// Read all of the database and say whether it is sound; works beside a running agent
#[derive(clap::Args, Debug)]
struct Check {
    /// Another database, such as a backup [default: the agent's]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Copy the database as it is now into FILE, and what look-backs saw into FILE.rows; works beside a running agent
#[derive(clap::Args, Debug)]
struct Backup {
    /// Where to; an older backup of the same agent is replaced, anything else is left alone
    file: PathBuf,
}

impl Args {
    /// Does it.
    pub fn run(&self, place: &Place) -> Done {
        match &self.command {
            Command::Check(check) => check.run(place),
            Command::Backup(backup) => backup.run(place),
        }
    }
}

impl Check {
    fn run(&self, place: &Place) -> Done {
        let (report, rows) = match &self.file {
            Some(file) => (store::check(file)?, None),
            None => {
                let state = place.load(None)?.state()?;
                let rows = state.join(store::ROWS_FILE);
                (store::check(&store::database(&state))?, rows.exists().then(|| store::check(&rows)).transpose()?)
            }
        };
        if self.json {
            let mut object = json(&report);
            if let Some(rows) = &rows {
                object["seen_rows"] = json(rows);
            }
            ui::print_json(&object)?;
        } else {
            let texts: Vec<_> = [&report].into_iter().chain(&rows).map(text).collect();
            ui::print(&texts.join("\n"))?;
        }
        if report.is_fine() && rows.is_none_or(|rows| rows.is_fine()) {
            return Ok(());
        }
        Err(Trouble::failed(
            "the database is damaged\nhint: stop the agent, move the file away, and put the newest backup in its place; \
             rows that can still be read are used until then",
        ))
    }
}

fn json(report: &CheckReport) -> serde_json::Value {
    let counts = &report.counts;
    serde_json::json!({
        "path": report.path.display().to_string(), "schema": report.schema, "fine": report.is_fine(),
        "integrity": report.integrity, "damaged": report.damaged, "rows": counts.rows,
        "events": counts.events, "decisions": counts.decisions, "oldest_event": counts.oldest_event,
        "newest_seq": counts.newest_seq, "bytes": counts.bytes,
    })
}

fn text(report: &CheckReport) -> String {
    let counts = &report.counts;
    let mut table = Table::new(&["what", ">count"]);
    for (name, n) in &counts.rows {
        table.row(vec![name.as_str().into(), n.to_string().into()]);
    }
    if !report.is_rows {
        table.row(vec!["event".into(), counts.events.to_string().into()]);
        table.row(vec!["decision".into(), counts.decisions.to_string().into()]);
    }
    let mut text = format!("{}\nschema {}, {} bytes\n\n", report.path.display(), report.schema, counts.bytes);
    text.push_str(&table.show(Look { wide: false, json: false }));
    for problem in report.integrity.iter().chain(&report.damaged) {
        text.push_str(&format!("\n{}", ui::clean(problem)));
    }
    let paint = ui::Paint::stdout();
    let verdict = if report.is_fine() { paint.good("sound") } else { paint.bad("damaged") };
    format!("{text}\n{verdict}\n")
}

impl Backup {
    fn run(&self, place: &Place) -> Done {
        let state = place.load(None)?.state()?;
        let rows = store::backup(&state, &self.file)?;
        ui::note(&format!("copied `{}` to `{}`", store::database(&state).display(), self.file.display()));
        if let Some(rows) = rows {
            ui::note(&format!("copied `{}` to `{}`", state.join(store::ROWS_FILE).display(), rows.display()));
        }
        Ok(())
    }
}
