//! The agent: reads the config, opens the store, runs the engine, and ends in good order.

pub mod checklog;
pub mod clock;
pub mod config;
pub mod engine;
pub mod handle;
pub mod health;
pub mod queue;
mod samples;
mod systemd;
mod watch;
mod work;

use self::{
    checklog::{CheckLogs, Rotation},
    config::Folder,
    engine::{Committer, Engine},
    handle::Handle,
    health::Health,
    samples::SampleLog,
    work::{Kit, Rows, Runnable, SharedKit, Workers},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};
use tokio::{
    signal::unix::SignalKind,
    sync::{mpsc, oneshot},
};
use watchbell_core::{
    config::{AgentSettings, Config, InputFile, Loaded, Problems},
    engine::{Commit, Input, World},
    model::Name,
};
use watchbell_io::{
    notify::Channel,
    query::{self, Source},
    shared::Shared,
    source::Program,
    store::{Store, StoreOptions},
};

/// Work that is under way when the agent ends gets this long.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What the parts of a running agent share. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    /// The door to the engine.
    pub handle: Handle,
    /// How the agent itself is doing.
    pub health: Arc<Health>,
    /// What the config says of the agent itself, and what is wrong with the config.
    pub config: Arc<RwLock<Arc<ConfigView>>>,
    /// Folder of the agent's state.
    pub state: PathBuf,
    /// Asks for the config to be read again; answered once it is in use.
    pub reloads: mpsc::Sender<oneshot::Sender<()>>,
}

/// The config as the web shows it.
pub struct ConfigView {
    /// The agent's name.
    pub name: Name,
    /// What the config says of the agent itself.
    pub settings: AgentSettings,
    /// All that is wrong with the config.
    pub problems: Problems,
}

/// The config as it was read last.
pub struct Read {
    config: Config<Program, Channel>,
    /// The files: where they are still the same, there is nothing to read again.
    pub texts: Vec<InputFile>,
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// Why it could not start, and what to do.
pub async fn run(folder: Folder) -> Result<(), String> {
    folder.enter()?;
    let (read, loaded) = load(&folder);
    if loaded.agent_broken {
        eprint!("{}", watchbell_core::config::render(&loaded.problems, false));
        return Err("the agent's own file can't be used; nothing was started\nhint: mend it; `watchbell validate` shows all that is wrong".into());
    }
    let logs = crate::logs::start(&loaded.agent)?;
    let ended = serve(&folder, read, loaded).await;
    if let Err(error) = &ended {
        logs.report(error);
    }
    ended
}

/// The agent, once it can say what goes wrong.
async fn serve(folder: &Folder, read: Read, loaded: Loaded<Program, Channel>) -> Result<(), String> {
    for problem in &loaded.problems.list {
        tracing::warn!("{}", watchbell_core::config::summary_line(&loaded.problems, problem));
    }
    let state = folder.root.join(&loaded.agent.state);
    let opened = Store::open(&state, &StoreOptions::at(clock::now()))
        .map_err(|error| format!("{error}\nhint: {}", error.hint()))?;
    for row in &opened.damaged {
        tracing::error!(row, "a stored row can't be read and is left out");
    }
    let seen = Arc::new(Rows::new(&state));
    let shared = Shared::new()?;
    let health = Arc::new(Health::default());
    let (handle, requests) = Handle::new(health.clone());
    let (policy, view, kit) = parts(loaded, &BTreeMap::new());
    let world = World::new(policy, opened.state);
    let committer = committer(opened.store);
    let kit: SharedKit = Arc::new(RwLock::new(Arc::new(kit)));
    let (reloads, asked) = mpsc::channel(1);
    let agent = Agent { handle, health: health.clone(), config: Arc::new(RwLock::new(Arc::new(view))), state, reloads };
    let mut workers = workers(&agent, &kit, shared, seen);
    let engine = Engine::new(world, health, requests, committer, Box::new(move |order| workers.take(order)));
    // A task among the workers' and not a thread of its own: a result is mostly stepped, and the next run begun,
    // by the thread that brought it, without waking another.
    tokio::spawn(engine.run(Input::Start { agent_id: new_id() }));
    let web = crate::web::start(&agent).await?;
    agent.health.set_ready();
    systemd::ready();
    let queue = tokio::spawn(queue::take_in(agent.clone()));
    let ended = until_the_end(folder, read, &agent, &kit, asked).await;
    agent.health.set_stopping();
    systemd::stopping();
    queue.abort();
    web.stop().await;
    if tokio::time::timeout(END_WITHIN, agent.handle.close()).await.is_err() {
        tracing::error!("the store did not take the last commit in time; what was not committed is done again");
    }
    ended
}

/// Reads the config as it is now, further folders that it names included.
pub fn load(folder: &Folder) -> (Read, Loaded<Program, Channel>) {
    let mut config = folder.config();
    let mut texts = folder.read(&[]);
    config.update(texts.clone());
    let mut loaded = config.assemble();
    if !loaded.agent.conf.is_empty() {
        texts = folder.read(&loaded.agent.conf);
        config.update(texts.clone());
        loaded = config.assemble();
    }
    (Read { config, texts }, loaded)
}

/// What a config comes to; sources that did not change are taken over from before.
fn parts(
    loaded: Loaded<Program, Channel>,
    before: &BTreeMap<Name, Arc<Source>>,
) -> (Arc<watchbell_core::config::Policy>, ConfigView, Kit) {
    let policy = Arc::new(loaded.policy);
    let programs = loaded.programs.into_iter().filter_map(|(name, program)| {
        let check = policy.checks.get(&name)?;
        Some((name, Runnable { program, timeout: check.timeout, lookback: check.lookback.clone() }))
    });
    let programs = programs.collect();
    let sources = query::sources(&policy.sources, before);
    let kit = Kit { deliver_timeout: policy.agent.deliver_timeout, programs, sources, notifiers: loaded.notifiers };
    let name = policy.agent.name.clone();
    (policy, ConfigView { name, settings: loaded.agent, problems: loaded.problems }, kit)
}

fn workers(agent: &Agent, kit: &SharedKit, shared: Shared, seen: Arc<Rows>) -> Workers {
    let settings = &agent.settings().settings;
    let rotation = Rotation { size_max_bytes: settings.check_log.size_max_bytes, count: settings.check_log.count };
    let logs = CheckLogs::new(agent.state.join("logs"), rotation, agent.health.clone());
    let samples = SampleLog { logger: settings.metrics_log.clone() };
    Workers { handle: agent.handle.clone(), kit: kit.clone(), shared, seen, logs, samples }
}

/// The store's thread: one commit at a time; a failed one comes back to be tried again.
fn committer(mut store: Store) -> Committer {
    let (commits, todo) = std::sync::mpsc::channel::<Commit>();
    let (tx, done) = mpsc::channel(1);
    std::thread::spawn(move || {
        for commit in todo {
            let result = store.commit(&commit).map_err(|error| (commit, error.to_string())).map(|()| {
                // Keeping house can wait; what stops it is trouble with the disk and is said as such.
                let kept = store.tend(clock::now());
                kept.err().map(|error| error.to_string()).or_else(|| store.disk_trouble())
            });
            if tx.blocking_send(result).is_err() {
                break;
            }
        }
    });
    Committer { commits, done }
}

/// Waits for signals and changes of the config until a signal ends the agent.
async fn until_the_end(
    folder: &Folder,
    mut read: Read,
    agent: &Agent,
    kit: &SharedKit,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
) -> Result<(), String> {
    let signal = |kind| tokio::signal::unix::signal(kind).map_err(|e| format!("can't listen to signals: {e}"));
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let (tx, changes) = mpsc::channel(1);
    folder.watch(&agent.settings().settings.conf, tx);
    let mut changes = config::settled(changes);
    let files = || folder.read(&agent.settings().settings.conf);
    let mut watchdog = tokio::time::interval(systemd::watchdog_interval());
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hup.recv() => {
                tracing::info!("reload asked for by SIGHUP");
                reload(files(), &mut read, agent, kit).await;
            }
            Some(done) = asked.recv() => {
                tracing::info!("reload asked for over the API");
                reload(files(), &mut read, agent, kit).await;
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            Some(()) = changes.recv() => {
                // What was dropped in while the agent started counts too: this is compared with what was read then.
                let now = files();
                if now != read.texts {
                    reload(now, &mut read, agent, kit).await;
                }
            }
            _ = watchdog.tick() => {
                // The engine must answer for the watchdog to be fed: a hung engine is restarted by systemd.
                if agent.handle.look(|_| ()).await.is_ok() {
                    systemd::watchdog();
                }
            }
        }
    }
}

/// Takes the config files over as they are now.
async fn reload(texts: Vec<InputFile>, read: &mut Read, agent: &Agent, kit: &SharedKit) {
    systemd::reloading();
    read.config.update(texts.clone());
    read.texts = texts;
    let loaded = read.config.assemble();
    for problem in &loaded.problems.list {
        tracing::warn!("{}", watchbell_core::config::summary_line(&loaded.problems, problem));
    }
    let before = kit.read().map(|kit| kit.sources.clone()).unwrap_or_default();
    let (policy, view, new_kit) = parts(loaded, &before);
    if let Ok(mut view_slot) = agent.config.write() {
        *view_slot = Arc::new(view);
    }
    if let Ok(mut slot) = kit.write() {
        *slot = Arc::new(new_kit);
    }
    agent.handle.input(Input::Reload(policy)).await;
    systemd::ready();
}

/// An id for this agent's state: sixteen bytes from the kernel, as hex.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        // Unique enough without the kernel's help: the time in microseconds and the process.
        let text = format!("{:016x}{:016x}", clock::now().as_micros(), std::process::id());
        return text;
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Agent {
    /// The config as it is now.
    pub fn settings(&self) -> Arc<ConfigView> {
        self.config.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}
