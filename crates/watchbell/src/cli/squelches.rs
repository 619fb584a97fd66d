//! `watchbell squelches`: what keeps alerts quiet now.

use super::{
    client::{Reach, Target},
    place::Place,
    table::{Look, Table},
    ui::{self, Done},
    when,
};
use crate::{
    api::{SquelchView, path, view},
    run::clock,
};

/// List the squelches there are
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Lists them.
    pub fn run(&self, place: &Place) -> Done {
        let squelches: Vec<SquelchView> = match self.target.reach(place)? {
            Reach::Up(client) => client.get(path::SQUELCHES, &())?,
            Reach::Down(down) => view::squelches(&down.knew()?.0),
        };
        if self.look.json {
            return ui::print_json(&squelches);
        }
        if squelches.is_empty() {
            return ui::print("nothing is squelched\n");
        }
        let now = clock::now();
        let mut table = Table::new(&["!since", "!ends", ">hides", "by", "!regex", "reason"]);
        for squelch in &squelches {
            let ends = match (squelch.until, squelch.permanent) {
                (Some(at), _) => when::ago(at, now),
                (None, true) => "permanent".into(),
                (None, false) => "when lifted".into(),
            };
            let ends = squelch.every.as_ref().map_or(ends.clone(), |every| format!("{ends}, on {every}"));
            table.row(vec![
                when::ago(squelch.at, now).into(),
                ends.into(),
                squelch.hides.to_string().into(),
                squelch.by.as_str().into(),
                squelch.regex.as_str().into(),
                squelch.reason.as_str().into(),
            ]);
        }
        ui::print(&table.show(self.look))
    }
}
