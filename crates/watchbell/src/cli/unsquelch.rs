//! `watchbell unsquelch`: lifts a squelch.

use super::{
    client::{Reach, Target, who},
    place::Place,
    ui::{self, Done},
};
use crate::api::{Accepted, UnsquelchQuery, path};
use watchbell_core::engine::Input;

/// Lift a squelch: what is still critical is told
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Its regular expression, exactly as `watchbell squelches` shows it
    #[arg(value_name = "REGEX")]
    regex: String,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Lifts it.
    pub fn run(&self, place: &Place) -> Done {
        let by = who();
        match self.target.reach(place)? {
            Reach::Up(client) => {
                let query = UnsquelchQuery { regex: self.regex.clone(), by: Some(by) };
                let _: Accepted = client.delete(path::SQUELCHES, &query)?;
            }
            Reach::Down(down) => drop(down.step(Input::Unsquelch { regex: self.regex.clone(), by })?),
        }
        ui::note(&format!("lifted `{}`", self.regex));
        Ok(())
    }
}
