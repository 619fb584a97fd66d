//! The config in use: read at start, and again whenever it changes or somebody asks.

use super::{
    Agent, ConfigView,
    config::{self, Folder},
    pings::Pings,
    systemd,
    watch::Watch,
    work::{Kit, Runnable, SharedKit},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
    task::{AbortHandle, block_in_place},
    time::sleep,
};
use watchbell_core::{
    config::{Config, InputFile, Loaded, Policy, Problems, summary_line},
    engine::Input,
    model::{Finding, Name, Severity},
};
use watchbell_io::{
    notify::Channel,
    query::{self, Source},
    source::Program,
};

/// A config that takes longer to be read than this is told of: meanwhile no change is taken over.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// So many problems are logged of one reading of the config.
const LOGGED_MAX: usize = 100;
/// The part of the agent that follows its config, as its faults name it.
const PART: &str = "reload";

/// The config as it was read last.
pub struct Read {
    config: Config<Program, Channel>,
    /// The files: where they are still the same, there is nothing to read again.
    pub texts: Vec<InputFile>,
    /// Further folders that it names.
    conf: Vec<String>,
}

/// Reads the config as it is now, further folders that it names included.
pub fn load(folder: &Folder) -> (Read, Loaded<Program, Channel>) {
    let mut read = Read { config: folder.config(), texts: Vec::new(), conf: Vec::new() };
    let texts = read.files(folder, None);
    let loaded = read.take(texts, folder, None);
    (read, loaded)
}

impl Read {
    /// The files as they are now.
    fn files(&self, folder: &Folder, watch: Option<&Watch>) -> Vec<InputFile> {
        folder.read(&self.conf, &self.texts, watch)
    }

    /// The text of the agent's own file.
    pub fn agent_text(&self, loaded: &Loaded<Program, Channel>) -> Option<&str> {
        let path = loaded.agent_file.as_ref()?;
        self.texts.iter().find(|file| file.path == *path)?.text.as_deref().ok()
    }

    /// Takes files over; where they name other folders than before, what stands in those too.
    fn take(&mut self, texts: Vec<InputFile>, folder: &Folder, watch: Option<&Watch>) -> Loaded<Program, Channel> {
        self.texts = texts;
        self.config.update(self.texts.clone());
        let mut loaded = self.config.assemble();
        if loaded.agent.conf != self.conf {
            self.conf.clone_from(&loaded.agent.conf);
            self.texts = self.files(folder, watch);
            self.config.update(self.texts.clone());
            loaded = self.config.assemble();
        }
        loaded
    }
}

/// Logs what is wrong, as far as a log may be filled with it.
pub fn log_problems(problems: &Problems) {
    for problem in problems.list.iter().take(LOGGED_MAX) {
        tracing::warn!("{}", summary_line(problems, problem));
    }
    if problems.list.len() > LOGGED_MAX {
        tracing::warn!(
            "and {} more problems with the config; `watchbell validate` shows them",
            problems.list.len() - LOGGED_MAX
        );
    }
}

/// What a config comes to; sources that did not change are taken over from before.
pub fn parts(loaded: Loaded<Program, Channel>, before: &BTreeMap<Name, Arc<Source>>) -> (Arc<Policy>, ConfigView, Kit) {
    let policy = Arc::new(loaded.policy);
    let programs = loaded.programs.into_iter().filter_map(|(name, program)| {
        let check = policy.checks.get(&name)?;
        Some((name, Runnable { program, timeout: check.timeout, lookback: check.lookback.clone() }))
    });
    let programs = programs.collect();
    let sources = query::sources(&policy.sources, before);
    let kit = Kit { deliver_timeout: policy.agent.deliver_timeout, programs, sources, notifiers: loaded.notifiers };
    let name = policy.agent.name.clone();
    let (pings, wrong) = Pings::read(&policy);
    for (check, why) in wrong {
        tracing::warn!(%check, "{why}; nobody can ping it by a key");
    }
    (policy, ConfigView { name, settings: loaded.agent, problems: loaded.problems, pings }, kit)
}

/// Keeps the config in use as its files are.
pub struct Keeper {
    /// Where it is.
    pub folder: Folder,
    /// As it was read last.
    pub read: Read,
    /// Whose config it is.
    pub agent: Agent,
    /// What workers have of it.
    pub kit: SharedKit,
}

impl Keeper {
    /// Follows its changes for ever. A task of its own: whoever waits for signals must wait neither for a file system
    /// that hangs nor for an engine that takes nothing in.
    pub async fn keep(mut self, mut hup: Signal, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let (watch, mut changes) = config::changes();
        let watch = watch.as_ref();
        loop {
            let (mut done, mut must) = (None, true);
            tokio::select! {
                _ = hup.recv() => tracing::info!("reload asked for by SIGHUP"),
                Some(asks) = asked.recv() => {
                    tracing::info!("reload asked for over the API");
                    done = Some(asks);
                }
                // What was dropped in while the agent started counts too: this is compared with what was read then.
                Some(()) = changes.recv() => must = false,
            }
            let slow = self.tell_if_slow();
            let texts = block_in_place(|| self.read.files(&self.folder, watch));
            if must || texts != self.read.texts {
                self.reload(texts, watch).await;
            } else {
                self.tell(None).await;
            }
            slow.abort();
            if let Some(done) = done {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    /// Tells that it takes too long, unless it is aborted before.
    fn tell_if_slow(&self) -> AbortHandle {
        let handle = self.agent.handle.clone();
        let task = tokio::spawn(async move {
            sleep(READ_WITHIN).await;
            let text = format!(
                "the config has been read for {} s and still is; until it is done no change of it is taken over",
                READ_WITHIN.as_secs()
            );
            handle.input(Input::Own { part: PART.into(), finding: Some(Finding::new(Severity::Critical, text)) }).await;
        });
        task.abort_handle()
    }

    async fn tell(&self, finding: Option<Finding>) {
        self.agent.handle.input(Input::Own { part: PART.into(), finding }).await;
    }

    /// Takes the config files over as they are now.
    async fn reload(&mut self, texts: Vec<InputFile>, watch: Option<&Watch>) {
        systemd::reloading();
        // A bug that shows in one file is a fault of that file; this is for one that shows where they come together.
        let taken = block_in_place(|| catch_unwind(AssertUnwindSafe(|| self.read.take(texts, &self.folder, watch))));
        let Ok(loaded) = taken else {
            let text = "the config can't be taken over because of a bug of Watchbell's; what ran before goes on";
            tracing::error!("{text}");
            self.tell(Some(Finding::new(Severity::Critical, text))).await;
            return systemd::ready();
        };
        log_problems(&loaded.problems);
        let before = self.kit.read().map(|kit| kit.sources.clone()).unwrap_or_default();
        let (policy, view, new_kit) = parts(loaded, &before);
        if let Ok(mut view_slot) = self.agent.config.write() {
            *view_slot = Arc::new(view);
        }
        if let Ok(mut slot) = self.kit.write() {
            *slot = Arc::new(new_kit);
        }
        self.agent.handle.input(Input::Reload(policy)).await;
        self.tell(None).await;
        systemd::ready();
    }
}
