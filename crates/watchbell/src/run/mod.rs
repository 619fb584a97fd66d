//! The agent: reads the config, opens the store, runs the engine, and ends in good order.

pub mod checklog;
pub mod clock;
mod code;
pub mod config;
mod direct;
pub mod engine;
mod forget;
pub mod handle;
pub mod health;
mod integrity;
pub mod pings;
pub mod queue;
mod reload;
mod samples;
mod systemd;
mod walk;
mod watch;
mod work;

use self::{
    checklog::{CheckLogs, Rotation},
    config::Folder,
    engine::{Committer, Engine},
    handle::Handle,
    health::Health,
    pings::Pings,
    reload::{Keeper, Read, parts},
    samples::SampleLog,
    work::{Rows, Sending, SharedKit, Workers},
};
use crate::logs::Missing;
pub use reload::load;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use watchbell_core::{
    config::{AgentSettings, Loaded, Problems, sentry_dsn_in},
    engine::{Commit, Input, Message, World},
    model::{EventState, Finding, Name, Severity},
};
use watchbell_io::{
    notify::Channel,
    shared::Shared,
    source::Program,
    store::{Store, StoreOptions},
};

/// Deliveries that are under way when the agent ends get this long to bring their answers.
const END_WITHIN: Duration = Duration::from_secs(5);
/// After that, what has come in gets this long to be committed.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// What runs is killed in the end; its tasks get this long to see to it.
pub const KILL_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether the agent's log goes where it should.
const LOGS_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

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
    /// The keys by which passive checks are reported on.
    pub pings: Pings,
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// Why it could not start, and what to do.
pub async fn run(folder: Folder) -> Result<(), String> {
    folder.enter()?;
    let (read, mut loaded) = load(&folder);
    if loaded.agent_broken {
        loaded.agent.sentry_dsn = read.agent_text(&loaded).and_then(sentry_dsn_in);
    }
    let logs = crate::logs::start(&loaded.agent);
    let ended = match usable(&folder, &loaded) {
        Ok(()) => serve(folder, read, loaded, logs.missing.clone()).await,
        Err(why) => Err(why),
    };
    if let Err(error) = &ended {
        logs.report(error);
    }
    ended
}

/// Whether there is a config to run.
fn usable(folder: &Folder, loaded: &Loaded<Program, Channel>) -> Result<(), String> {
    if !loaded.agent_broken {
        return folder.refuse_broken(loaded);
    }
    Err(format!(
        "the agent's own file can't be used; nothing was started\n{}hint: mend it; `watchbell validate` shows all that is wrong",
        watchbell_core::config::render(&loaded.problems, false)
    ))
}

/// The agent, once it can say what goes wrong.
async fn serve(folder: Folder, read: Read, loaded: Loaded<Program, Channel>, logs: Missing) -> Result<(), String> {
    reload::log_problems(&loaded.problems);
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
    if opened.lost {
        // It waits for the start, and goes into the same commit.
        handle.input(Input::Message(Box::new(lost(&world, opened.store.path())))).await;
    }
    let committer = committer(opened.store);
    let kit: SharedKit = Arc::new(RwLock::new(Arc::new(kit)));
    let (reloads, asked) = mpsc::channel(1);
    let agent = Agent { handle, health: health.clone(), config: Arc::new(RwLock::new(Arc::new(view))), state, reloads };
    let house = tokio::spawn(forget::keep_house(agent.clone(), kit.clone(), seen.clone()));
    let sending = Sending::default();
    let mut workers = workers(&agent, &kit, shared, seen, &sending);
    let engine = Engine::new(world, health, requests, committer, Box::new(move |order| workers.take(order)));
    let [term, int, hup] = signals()?;
    // A task among the workers' and not a thread of its own: a result is mostly stepped, and the next run begun,
    // by the thread that brought it, without waking another.
    let engine = tokio::spawn(engine.run(Input::Start { agent_id: new_id() }));
    let web = crate::web::start(&agent).await?;
    agent.health.set_ready();
    systemd::ready();
    code::let_go();
    let keeper = Keeper { folder, read, agent: agent.clone(), kit };
    let keeper = tokio::spawn(keeper.keep(hup, asked));
    let queue = tokio::spawn(queue::take_in(agent.clone()));
    let watchdog = tokio::spawn(feed_watchdog(agent.handle.clone()));
    let logs = tokio::spawn(tell_of_logs(logs, agent.handle.clone()));
    let looks = tokio::spawn(integrity::keep_looking(agent.clone()));
    let keeping = keeper.abort_handle();
    let ended = until_the_end([term, int], engine, keeper).await;
    agent.health.set_stopping();
    systemd::stopping();
    let tasks = [&queue, &house, &watchdog, &logs, &looks].map(|task| task.abort_handle());
    tasks.iter().chain([&keeping]).for_each(|task| task.abort());
    web.stop().await;
    end_in_good_order(&agent, &sending).await;
    ended
}

/// What is said, once, where the database was removed or emptied while no agent ran.
fn lost(world: &World, database: &Path) -> Message {
    let text = format!(
        "`{}` was missing or empty though this folder was used before: history, squelches, acknowledgements and what was \
         told are lost; what is wrong now is told again",
        database.display()
    );
    tracing::error!("{text}");
    let hint = "If you have a backup: stop the agent, put it in place (see \"Backup\" in the operations guide), start. If not: \
                set squelches and acknowledgements again, and close by hand what receivers have open and is no longer wrong.";
    let known = |notifier: &Name| world.policy.notifiers.contains_key(notifier);
    Message {
        at: None,
        source: "agent".into(),
        name: "store".into(),
        severity: Severity::Critical,
        state: EventState::Info,
        topic: None,
        text: format!("{text}\n{hint}"),
        link: None,
        labels: BTreeMap::new(),
        notify: world.healthy_notifiers().into_iter().filter(known).collect(),
        id: None,
    }
}

/// Says by a fault of the agent's own, for as long as it is so, that a place which the config asks for is not logged
/// to.
async fn tell_of_logs(logs: Missing, handle: Handle) {
    let mut told = None;
    loop {
        let missing = logs.now();
        if told.as_ref() != Some(&missing) {
            missing.iter().for_each(|why| tracing::warn!(why, "a place to log to is missing"));
            let text = format!("the agent's log does not go where it should: {}", missing.join("; "));
            let finding = (!missing.is_empty()).then(|| Finding::new(Severity::Critical, text));
            handle.input(Input::Own { part: "log".into(), finding }).await;
            told = Some(missing);
        }
        tokio::time::sleep(LOGS_LOOKED_AT_EVERY).await;
    }
}

/// Nothing new begins; deliveries under way may end, so that nobody hears of the same thing twice; and what came of
/// them is committed.
async fn end_in_good_order(agent: &Agent, sending: &Sending) {
    let all_sent = async {
        agent.handle.stop().await;
        drop(sending.write().await);
    };
    if timeout(END_WITHIN, all_sent).await.is_err() {
        tracing::warn!("deliveries under way did not end in time; they are sent again by the next start");
    }
    if timeout(CLOSE_WITHIN, agent.handle.close()).await.is_err() {
        tracing::error!("the store did not take the last commit in time; what was not committed is done again");
    }
}

/// SIGTERM, SIGINT and SIGHUP.
fn signals() -> Result<[Signal; 3], String> {
    let signal = |kind| tokio::signal::unix::signal(kind).map_err(|e| format!("can't listen to signals: {e}"));
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?])
}

/// Waits until a signal ends the agent. If a part without which it is none ends before that, so does the agent: its
/// supervisor must see it, and starts it again.
async fn until_the_end(
    [mut term, mut int]: [Signal; 2],
    engine: JoinHandle<Result<(), String>>,
    keeper: JoinHandle<()>,
) -> Result<(), String> {
    tokio::select! {
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
        why = broken(engine, keeper) => Err(why),
    }
}

/// Ends when the engine does, or who follows the config, with why.
async fn broken(engine: JoinHandle<Result<(), String>>, keeper: JoinHandle<()>) -> String {
    let panicked =
        |part: &str, panic| format!("{part} broke: {panic}\nhint: start the agent again, and report this as a bug");
    tokio::select! {
        ended = engine => match ended {
            Ok(Err(why)) => why,
            Ok(Ok(())) => "the engine ended".into(),
            Err(panic) => panicked("the engine", panic),
        },
        ended = keeper => match ended {
            Ok(()) => "nobody follows the config any more".into(),
            Err(panic) => panicked("who follows the config", panic),
        },
    }
}

/// Tells systemd that the agent lives for as long as the engine answers: a hung engine is restarted.
async fn feed_watchdog(handle: Handle) {
    let mut ticks = tokio::time::interval(systemd::watchdog_interval());
    loop {
        ticks.tick().await;
        if handle.look(|_| ()).await.is_ok() {
            systemd::watchdog();
        }
    }
}

fn workers(agent: &Agent, kit: &SharedKit, shared: Shared, seen: Arc<Rows>, sending: &Sending) -> Workers {
    let settings = &agent.settings().settings;
    let rotation = Rotation { size_max_bytes: settings.check_log.size_max_bytes, count: settings.check_log.count };
    let name = agent.settings().name.clone();
    let logs = CheckLogs::new(name, agent.state.join("logs"), rotation, agent.health.clone());
    let samples = SampleLog { logger: settings.metrics_log.clone() };
    Workers { handle: agent.handle.clone(), kit: kit.clone(), shared, seen, sending: sending.clone(), logs, samples }
}

/// The store's thread: one commit at a time; a failed one comes back to be tried again.
fn committer(mut store: Store) -> Committer {
    let (commits, todo) = std::sync::mpsc::channel::<Commit>();
    let (tx, done) = mpsc::channel(1);
    std::thread::spawn(move || {
        for commit in todo {
            let result = store.commit(&commit).map_err(|error| (commit, error)).map(|()| {
                // Keeping house can wait; what stops it is trouble with the disk, and said as such below.
                let _ = store.tend(clock::now());
                store.disk_trouble()
            });
            if tx.blocking_send(result).is_err() {
                break;
            }
        }
    });
    Committer { commits, done }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    /// An engine that breaks ends the agent, and says why.
    #[tokio::test]
    async fn an_agent_without_an_engine_ends() {
        let table: [(JoinHandle<Result<(), String>>, &str); 2] = [
            (tokio::spawn(async { Err("the store's thread is gone".into()) }), "the store's thread is gone"),
            (tokio::spawn(async { panic!("index 7 is not there") }), "index 7 is not there"),
        ];
        for (engine, want) in table {
            let why = broken(engine, tokio::spawn(pending())).await;
            assert!(why.contains(want), "{why}");
        }
    }
}
