//! `watchbell send`: an event from a script.

use super::{
    client::{Handed, Reach, Target},
    faults::severity,
    place::Place,
    ui::{self, Done, Trouble},
};
use crate::{api::MessageRequest, run::queue::Waiting};
use std::io::Read;
use watchbell_core::model::{EventState, Name, Severity};

/// A text may have this many bytes.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// Send an event: it is kept in the stream, and told to those named by --notify
#[derive(clap::Args, Debug)]
#[command(after_help = "While no agent runs, or it takes nothing in, the event is kept in its state folder, on disk, \
                        and taken in once it does.\n\nExamples:\n  watchbell send \"deployed 1.4.2\" --name deploy --label app=shop --notify \
                        ops\n  backup.sh 2>&1 | tail -n 20 | watchbell send --name backup --severity error --state problem")]
pub struct Args {
    /// The text: first line for people, then more if any [default: standard input]
    text: Option<String>,
    /// What it is about; taken below `//AGENT/send/` unless it starts with `//`
    #[arg(long, default_value = "message")]
    name: String,
    /// How bad: info, warning, error, critical
    #[arg(long, default_value = "info", value_parser = severity)]
    severity: Severity,
    /// What it means
    #[arg(long, value_enum, default_value_t = State::Info)]
    state: State,
    /// A topic
    #[arg(long)]
    topic: Option<String>,
    /// Where to look
    #[arg(long, value_name = "URL")]
    link: Option<String>,
    /// A label; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The notifiers that pass it on; several with commas, or given more than once
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    notify: Vec<String>,
    /// A key: a repeat with the same key is the same message to its receivers
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum State {
    /// Something became wrong
    Problem,
    /// It is still wrong, in another way
    Update,
    /// It is well again
    Recovery,
    /// Neither
    Info,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as `app=shop`".to_owned()),
    }
}

impl Args {
    /// Sends it, or queues it.
    pub fn run(&self, place: &Place) -> Done {
        let request = self.request()?;
        let agent = self.target.reach(place)?;
        let runs = matches!(agent, Reach::Up(_));
        if let Reach::Down(down) = &agent {
            let known = &down.policy().notifiers;
            if let Some(unknown) = request.notify.iter().find(|name| !known.contains_key(*name)) {
                let names: Vec<String> = known.keys().map(|n| format!("`{n}`")).collect();
                let hint =
                    format!("the config has {}", if names.is_empty() { "none".into() } else { names.join(", ") });
                return Err(Trouble::Wrong(format!("there is no notifier `{unknown}`\nhint: {hint}")));
            }
        }
        match agent.hand_in(Waiting::Message(request))? {
            Handed::Taken(accepted) => {
                let numbers: Vec<String> = accepted.events.iter().map(|n| format!("#{n}")).collect();
                ui::note(&format!("taken as event {}", numbers.join(", ")));
            }
            Handed::Left(path) if runs => {
                ui::note(&format!("kept in `{}`, where the agent looks soon", path.display()))
            }
            Handed::Left(path) => {
                ui::note(&format!("the agent is not running; kept in `{}` for its next start", path.display()));
            }
        }
        Ok(())
    }

    fn request(&self) -> Done<MessageRequest> {
        let text = match &self.text {
            Some(text) => text.clone(),
            None => read_stdin()?,
        };
        let text = text.trim_end().to_owned();
        if text.is_empty() {
            let hint = "give it as an argument, or on standard input";
            return Err(Trouble::Wrong(format!("there is no text to send\nhint: {hint}")));
        }
        Ok(MessageRequest {
            name: self.name.clone(),
            text,
            severity: self.severity,
            state: match self.state {
                State::Problem => EventState::Problem,
                State::Update => EventState::Update,
                State::Recovery => EventState::Recovery,
                State::Info => EventState::Info,
            },
            source: "send".into(),
            topic: self.topic.clone(),
            link: self.link.clone(),
            labels: self.labels.iter().cloned().collect(),
            notify: self.notify.iter().filter(|n| !n.is_empty()).map(Name::new).collect(),
            id: self.id.clone(),
        })
    }
}

fn read_stdin() -> Done<String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Trouble::Failed(format!("can't read standard input: {e}")))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let hint = "send the end of it: `… | tail -n 100 | watchbell send`";
        return Err(Trouble::Wrong(format!("the text is longer than {} KiB\nhint: {hint}", TEXT_BYTES_MAX >> 10)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
