//! `watchbell ack`: somebody takes care of a fault.

use super::{
    client::{Reach, Target, who},
    place::Place,
    table::one_line,
    ui::{self, Done, Trouble},
    when,
};
use crate::{
    api::{Accepted, AckRequest, UnackQuery, path, view},
    run::clock,
};
use std::time::Duration;
use watchbell_core::{engine::Input, model::Name};

/// Say that somebody takes care of a fault; nobody is told of it again while they do
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The fault's name, in full or what comes after `//AGENT/`
    #[arg(value_name = "FAULT")]
    fault: String,
    /// What you do about it
    #[arg(required_unless_present = "remove")]
    comment: Option<String>,
    /// For how long, such as `2h` [default: until the fault is gone]
    #[arg(long = "for", value_name = "DURATION", value_parser = when::duration)]
    duration: Option<Duration>,
    /// Withdraw the acknowledgement
    #[arg(long, conflicts_with_all = ["comment", "duration"])]
    remove: bool,
    #[command(flatten)]
    target: Target,
}

impl Args {
    /// Acknowledges, or withdraws.
    pub fn run(&self, place: &Place) -> Done {
        let by = who();
        match self.target.reach(place)? {
            Reach::Up(client) if self.remove => {
                let query = UnackQuery { fault: self.fault.clone(), by: Some(by) };
                let _: Accepted = client.delete(path::ACKS, &query)?;
            }
            Reach::Up(client) => {
                let request = AckRequest {
                    fault: self.fault.clone(),
                    by: Some(by),
                    comment: self.comment.clone().unwrap_or_default(),
                    for_seconds: self.duration.map(|d| d.as_secs().max(1)),
                    until: None,
                };
                let _: Accepted = client.post(path::ACKS, &request)?;
            }
            Reach::Down(down) => {
                let (state, _) = down.knew()?;
                let fault = view::full_name(&down.policy().agent.name, &self.fault);
                if !state.faults.contains_key(&fault) {
                    return Err(no_fault(&fault, view::similar(&self.fault, state.faults.keys())));
                }
                let comment = self.comment.clone().unwrap_or_default();
                down.step(match self.remove {
                    true => Input::Unacknowledge { fault, by },
                    false => {
                        let until = self.duration.map(|d| clock::now() + d);
                        Input::Acknowledge { fault, by, comment, until }
                    }
                })?;
            }
        }
        ui::note(&match self.remove {
            true => format!("the acknowledgement of `{}` is withdrawn", self.fault),
            false => format!("acknowledged `{}`", self.fault),
        });
        Ok(())
    }
}

fn no_fault(name: &Name, similar: Vec<&Name>) -> Trouble {
    let hint = match similar.as_slice() {
        [] => "`watchbell faults` lists those there are".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(|n| format!("`{}`", one_line(n))).collect();
            format!("is it {}?", names.join(" or "))
        }
    };
    Trouble::Wrong(format!("there is no fault `{name}` now\nhint: {hint}"))
}
