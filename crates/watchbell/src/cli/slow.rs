//! `watchbell slow`: which checks take longest.

use super::{
    client::{Reach, Target},
    place::Place,
    table::{Look, Table},
    ui::{self, Done},
    when,
};
use crate::api::{SlowQuery, SlowView, path, view};
use std::time::Duration;

/// List the checks whose runs take longest
#[derive(clap::Args, Debug)]
#[command(after_help = "Median and p99 (99 of 100 runs take no longer) are upper bounds within a factor of two.")]
pub struct Args {
    /// How many
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Lists them.
    pub fn run(&self, place: &Place) -> Done {
        let slow: Vec<SlowView> = match self.target.reach(place)? {
            Reach::Up(client) => client.get(path::SLOW, &SlowQuery { limit: Some(self.limit) })?,
            Reach::Down(down) => {
                let (state, _) = down.knew()?;
                let all = state.checks.iter().filter_map(|(name, check)| view::slow(name, check)).collect();
                view::slowest(all, self.limit)
            }
        };
        if self.look.json {
            return ui::print_json(&slow);
        }
        if slow.is_empty() {
            return ui::print("no check has run yet\n");
        }
        let took = |ms: u64| when::took(Duration::from_millis(ms));
        let mut table = Table::new(&[">p99", ">median", ">longest", ">last", ">runs", "!name"]);
        for check in &slow {
            let last = check.last_ms.map_or("-".into(), |ms| when::took(Duration::from_secs_f64(ms.max(0.0) / 1000.0)));
            table.row(vec![
                took(check.p99_ms).into(),
                took(check.median_ms).into(),
                took(check.max_ms).into(),
                last.into(),
                check.count.to_string().into(),
                check.name.as_str().into(),
            ]);
        }
        ui::print(&table.show(self.look))
    }
}
