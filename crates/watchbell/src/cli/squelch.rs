//! `watchbell squelch`: keeps alerts quiet for a while, after showing which.

use super::{
    client::{Reach, Target, who},
    place::Place,
    table::{self, one_line},
    ui::{self, Done, Trouble},
    when,
};
use crate::{
    api::{Accepted, PreviewQuery, SquelchPreview, SquelchRequest, path, view},
    run::clock,
};
use std::time::Duration;
use watchbell_core::engine::Input;

/// So many names are shown of what a squelch hides.
const SHOWN_MAX: usize = 10;

/// Keep alerts quiet for faults whose name matches; records are kept all the same
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The regular expression is searched anywhere in names such as `//web-1/shop/disk#root`. What it \
                        hides now is shown first. A squelch without --for or --permanent stays until `watchbell \
                        unsquelch`, or for as long as `squelch_max` of the config allows. With --every it comes again, as in --every \
                        \"sat 02:00-04:00\", and holds in these hours only. Lifting it tells what is still \
                        critical."
)]
pub struct Args {
    /// The regular expression
    #[arg(value_name = "REGEX")]
    regex: String,
    /// Why: whoever finds it next week must know
    reason: String,
    /// For how long, such as `2h`
    #[arg(long = "for", value_name = "DURATION", value_parser = when::duration)]
    duration: Option<Duration>,
    /// Only in these hours, in the agent's time zone, such as `sat 02:00-04:00`
    #[arg(long, value_name = "HOURS")]
    every: Option<String>,
    /// It is meant to stay
    #[arg(long, conflicts_with = "duration")]
    permanent: bool,
    /// Show what it would hide, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Shows what it hides, and sets it.
    pub fn run(&self, place: &Place) -> Done {
        if self.reason.trim().is_empty() {
            return Err(Trouble::wrong(
                "a squelch needs a reason\nhint: say why, as in `watchbell squelch disk \"moving to a new disk\" --for 2h`",
            ));
        }
        let by = who();
        match self.target.reach(place)? {
            Reach::Up(client) => {
                let preview: SquelchPreview =
                    client.get(path::SQUELCH_PREVIEW, &PreviewQuery { regex: self.regex.clone() })?;
                self.show(&preview)?;
                if !self.dry_run {
                    let request = SquelchRequest {
                        regex: self.regex.clone(),
                        reason: self.reason.clone(),
                        by: Some(by),
                        for_seconds: self.duration.map(|d| d.as_secs().max(1)),
                        until: None,
                        permanent: self.permanent,
                        every: self.every.clone(),
                    };
                    let answer: Accepted = client.post(path::SQUELCHES, &request)?;
                    if let Some(warning) = answer.warning {
                        ui::warn(&warning);
                    }
                    self.done();
                }
            }
            Reach::Down(down) => {
                let (state, _) = down.knew()?;
                self.show(&view::preview(down.policy(), &state, &self.regex).map_err(Trouble::Wrong)?)?;
                if !self.dry_run {
                    down.step(Input::Squelch {
                        regex: self.regex.clone(),
                        reason: self.reason.clone(),
                        by,
                        until: self.duration.map(|d| clock::now() + d),
                        permanent: self.permanent,
                        every: self.every.clone(),
                    })?;
                    self.done();
                }
            }
        }
        Ok(())
    }

    fn show(&self, preview: &SquelchPreview) -> Done {
        let quiet = if self.dry_run { "would keep quiet" } else { "keeps quiet" };
        let faults = preview.faults.len();
        let mut text = match (faults, preview.checks_count) {
            (0, 0) => format!("`{}` matches no fault and no check now\n", self.regex),
            (0, n) => format!("nothing is wrong now with the {} that it matches:\n", ui::count(n, "check")),
            (n, 1) => format!("{quiet} {} (1 check matches):\n", ui::count(n, "fault")),
            (n, checks) => format!("{quiet} {} ({checks} checks match):\n", ui::count(n, "fault")),
        };
        let lines: Vec<String> = if faults > 0 {
            preview.faults.iter().map(|f| one_line(&format!("{} {}: {}", f.severity, f.name, f.message))).collect()
        } else {
            preview.checks.iter().map(|name| one_line(name)).collect()
        };
        for line in lines.iter().take(SHOWN_MAX) {
            text.push_str(&format!("  {}\n", table::fitting(line, ui::width().map(|width| width.saturating_sub(2)))));
        }
        let all = if faults > 0 { faults } else { preview.checks_count };
        if all > SHOWN_MAX {
            text.push_str(&format!("  and {} more\n", all - SHOWN_MAX));
        }
        ui::print(&text)
    }

    fn done(&self) {
        let until = match (self.duration, self.permanent) {
            (Some(d), _) => format!("for {}", when::short(d)),
            (None, true) => "permanently".into(),
            (None, false) => "until it is lifted".into(),
        };
        let every = self.every.as_ref().map_or_else(String::new, |every| format!(", on {}", every.trim()));
        ui::note(&format!("squelched `{}` {until}{every}", self.regex));
    }
}
