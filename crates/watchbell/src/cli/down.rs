//! What can be done while no agent runs: reading what its database knows, and changing it under the lock, by the
//! same engine. Deliveries that come of a change stay in the outbox for the next start.

use super::{
    place::Setup,
    ui::{self, Done, Trouble},
};
use crate::run::clock;
use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};
use watchbell_core::{
    config::Policy,
    engine::{Input, State, World, step_at_rest},
    model::Timestamp,
};
use watchbell_io::store::{self, Journal, Store, StoreOptions};

/// No agent runs.
pub struct Down {
    /// The config.
    pub setup: Setup,
    /// The agent's state folder.
    pub state: PathBuf,
}

impl Down {
    /// What the config says.
    pub fn policy(&self) -> &Policy {
        &self.setup.loaded.policy
    }

    /// What the agent knew, and says so on standard error.
    ///
    /// # Errors
    /// It never ran, or its database can't be read.
    pub fn knew(&self) -> Done<(State, Journal)> {
        let journal = self.journal()?;
        let (state, damaged) = journal.state()?;
        self.say_so();
        for row in damaged {
            ui::warn(&format!("{row}; it is left out"));
        }
        Ok((state, journal))
    }

    /// What the agent wrote down; says on standard error that it does not run.
    ///
    /// # Errors
    /// As [`Down::knew`].
    pub fn journal_known(&self) -> Done<Journal> {
        let journal = self.journal()?;
        self.say_so();
        Ok(journal)
    }

    fn say_so(&self) {
        let when = self.last_written().map_or_else(String::new, |at| format!(" at {at}"));
        ui::note(&format!("the agent is not running; this is what it knew{when}"));
    }

    fn journal(&self) -> Done<Journal> {
        if !store::database(&self.state).exists() {
            return Err(self.never_ran());
        }
        Ok(Journal::open(&self.state)?)
    }

    fn never_ran(&self) -> Trouble {
        Trouble::Failed(format!(
            "no agent runs, and none has run yet: there is no database in `{}`\nhint: start it with `watchbell run`, or \
             name another config folder with `-c DIR`",
            self.state.display()
        ))
    }

    /// When the database was last written.
    fn last_written(&self) -> Option<Timestamp> {
        let database = store::database(&self.state);
        let log = PathBuf::from(format!("{}-wal", database.display()));
        let newest = [database, log].iter().filter_map(|p| fs::metadata(p).and_then(|m| m.modified()).ok()).max()?;
        let since = newest.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_secs(i64::try_from(since.as_secs()).ok()?))
    }

    /// Takes an operator's input in, as the agent would.
    ///
    /// # Errors
    /// It never ran, another process holds the folder, or the input was refused.
    pub fn step(&self, input: Input) -> Done<State> {
        if !store::database(&self.state).exists() {
            return Err(self.never_ran());
        }
        let now = clock::now();
        let mut opened = Store::open(&self.state, &StoreOptions::at(now))?;
        let mut world = World::new(Arc::new(self.policy().clone()), opened.state);
        let mut effects = step_at_rest(&mut world, now, input);
        if let Some(why) = effects.refused {
            return Err(Trouble::Wrong(why));
        }
        if let Some(warning) = effects.warned.take() {
            ui::warn(&warning);
        }
        opened.store.commit(&effects.take_commit(&world.state))?;
        let waiting = world.state.outbox.len();
        let later = match waiting {
            0 => String::new(),
            n => {
                format!("; {} will be sent when it starts", ui::count(n, "delivery").replace("deliverys", "deliveries"))
            }
        };
        ui::note(&format!("the agent is not running; this is stored{later}"));
        Ok(world.state)
    }
}
