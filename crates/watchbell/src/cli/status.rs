//! `watchbell status`: how the agent is doing, on one screen.

use super::{
    client::{Reach, Target},
    place::Place,
    table::{Cell, Look, Table},
    ui::{self, Done, Paint, Trouble},
    when,
};
use crate::api::{NotifierView, StatusView, path, view};
use watchbell_core::model::{Severity, Timestamp};

/// Show how the agent is doing
#[derive(clap::Args, Debug)]
#[command(after_help = "Exit code 1 if the agent does not run, takes no work, or something critical stands; else 0.")]
pub struct Args {
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Shows it.
    pub fn run(&self, place: &Place) -> Done {
        let status: StatusView = match self.target.reach(place)? {
            Reach::Up(client) => client.get(path::STATUS, &())?,
            Reach::Down(down) => {
                let (state, _) = down.knew()?;
                view::status(down.policy(), &state, &down.setup.loaded.problems, down.setup.now)
            }
        };
        if self.look.json {
            ui::print_json(&status)?;
        } else {
            ui::print(&show(&status, self.look))?;
        }
        let critical = status.faults.get(Severity::Critical.word()).copied().unwrap_or(0);
        if status.ready && critical == 0 { Ok(()) } else { Err(Trouble::Found) }
    }
}

fn show(status: &StatusView, look: Look) -> String {
    let paint = Paint::stdout();
    let now = status.now;
    let running = match (status.started, &status.unready) {
        (Some(at), None) => format!("{}, started {}", paint.good("running"), when::ago(at, now)),
        (Some(at), Some(why)) => format!("{}, started {}: {why}", paint.bad("takes no work"), when::ago(at, now)),
        (None, _) => paint.bad("not running"),
    };
    let mut lines = vec![
        ("agent", format!("{}, watchbell {}", status.agent, status.version)),
        ("state", running),
        ("checks", format!("{}, {} running, {} waiting", status.checks, status.running, status.waiting)),
        ("faults", faults(status, paint)),
        ("squelches", status.squelches.to_string()),
        ("to be sent", waiting(status.outbox, status.outbox_oldest, now)),
        ("config", config(status)),
    ];
    if let Some(why) = &status.store_failure {
        lines.push(("store", paint.bad(&ui::clean(why))));
    }
    let mut out = String::new();
    for (word, text) in lines {
        out.push_str(&format!("{word:<11} {text}\n"));
    }
    let mut out = ui::wrapped(&out, look.width());
    if !status.notifiers.is_empty() {
        out.push('\n');
        out.push_str(&notifiers(&status.notifiers, now, paint).show(look));
    }
    out
}

fn faults(status: &StatusView, paint: Paint) -> String {
    let mut parts = Vec::new();
    for severity in [Severity::Critical, Severity::Error, Severity::Warning] {
        let n = status.faults.get(severity.word()).copied().unwrap_or(0);
        if n > 0 {
            parts.push(paint.severity(severity, &format!("{n} {severity}")));
        }
    }
    if status.faults_soft > 0 {
        parts.push(format!("{} not certain yet", status.faults_soft));
    }
    if parts.is_empty() { paint.good("nothing is wrong") } else { parts.join(", ") }
}

fn waiting(outbox: usize, oldest: Option<Timestamp>, now: Timestamp) -> String {
    match (outbox, oldest) {
        (0, _) => "nothing".into(),
        (n, Some(at)) => format!("{n}, the oldest was decided {}", when::ago(at, now)),
        (n, None) => n.to_string(),
    }
}

fn config(status: &StatusView) -> String {
    match (status.config_errors, status.config_warnings) {
        (0, 0) => "no problems".into(),
        (errors, warnings) => {
            format!("{}, {}; see `watchbell validate`", ui::count(errors, "error"), ui::count(warnings, "warning"))
        }
    }
}

fn notifiers(list: &[NotifierView], now: Timestamp, paint: Paint) -> Table {
    let mut table = Table::new(&["!notifier", "kind", ">sent", ">waiting", "last", "state"]);
    for notifier in list {
        let state = match (notifier.failing_since, &notifier.last_failure) {
            (Some(at), why) => {
                let why = why.as_deref().unwrap_or("no reason is known");
                let given_up = match notifier.given_up {
                    0 => String::new(),
                    n => format!("; {n} given up"),
                };
                Cell::painted(format!("failing since {}{given_up}: {why}", when::ago(at, now)), |t| paint.bad(t))
            }
            (None, _) => {
                Cell::painted(if notifier.delivered > 0 { "works" } else { "not used yet" }, |t| paint.good(t))
            }
        };
        table.row(vec![
            notifier.name.as_str().into(),
            notifier.kind.as_str().into(),
            notifier.delivered.to_string().into(),
            notifier.waiting.to_string().into(),
            notifier.last_success.map_or("-".into(), |at| when::ago(at, now)).into(),
            state,
        ]);
    }
    table
}
