//! Work whose cost a text from outside decides, in processes of our own binary apart from the agent.
//!
//! A jq filter or a template can ask for all memory, for a stack without end or for ever, and Rust answers the first two by
//! ending the process. So they run in a child ([`serve`]) that limits its own memory and stack; a child that takes too
//! long, dies or is not waited for any more is killed, and the next question gets another. Children start when they are first
//! needed, are kept warm for a while, know nothing of the agent's environment and end with the agent: the socket that they
//! are asked over is closed.
//!
//! What is asked is a [`Job`]; what it means is its module's affair.

mod child;

pub use child::serve;
use std::{
    fmt, io,
    io::Read,
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::Semaphore,
};

/// The argument that makes a process of this binary such a child; see [`serve`].
pub const CHILD_ARGUMENT: &str = "--apart";
/// Of each job so many are done at a time.
pub const AT_ONCE_MAX: usize = 4;
/// So many children are kept although nobody needs them now.
pub const KEPT_MAX: usize = 4;
/// They are kept so long.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// No answer is longer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A child may take so much memory beside what it is given, and [`MEMORY_FACTOR`] times that.
pub const MEMORY_MAX: usize = 64 << 20;
/// See [`MEMORY_MAX`]: JSON takes more room once it is read.
pub const MEMORY_FACTOR: usize = 32;
/// So much of what a child said before it died is read.
const LAST_WORDS_BYTES_MAX: u64 = 4096;

/// Something that is done apart.
#[derive(Debug)]
pub struct Job {
    /// What it is called between the processes.
    pub number: u8,
    /// How long it may take.
    pub within: Duration,
    /// Does it, in the child.
    pub work: fn(&[u8]) -> Vec<u8>,
    /// Who waits for the jobs before it: each kind of job for its own kind only.
    pub turns: Semaphore,
}

impl Job {
    /// A job that may take so long.
    pub const fn new(number: u8, within: Duration, work: fn(&[u8]) -> Vec<u8>) -> Job {
        Job { number, within, work, turns: Semaphore::const_new(AT_ONCE_MAX) }
    }
}

/// Why there is no answer. The text goes on after "it": `took longer than 10s`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It asked for more memory than this, in bytes.
    Memory(usize),
    /// It needed more stack than there is.
    Depth,
    /// It took longer than this.
    Slow(Duration),
    /// Its answer is too long.
    Long,
    /// It could not be done, or broke off for another reason.
    Gone(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Memory(most) => write!(f, "took more than {} MiB of memory", most >> 20),
            Failure::Depth => {
                f.write_str("is nested too deeply or calls itself too often, or its data is nested too deeply")
            }
            Failure::Slow(within) => write!(f, "took longer than {within:?}"),
            Failure::Long => write!(f, "put out more than {} MiB", ANSWER_BYTES_MAX >> 20),
            Failure::Gone(why) => write!(f, "could not run: {why}"),
        }
    }
}

/// Has it done, within the job's time and this one. What is asked is sent in parts, to save a copy. Dropping the future kills what it was given to.
///
/// # Errors
/// Why there is no answer.
pub async fn ask(job: &Job, within: Duration, parts: &[&[u8]]) -> Result<Vec<u8>, Failure> {
    let (answer, worker) = ask_one(job, within.min(job.within), parts).await;
    keep(worker);
    answer
}

/// The same for who can't wait in a runtime: reading the config, and rendering a message.
///
/// # Errors
/// As [`ask`].
pub fn ask_here(job: &Job, parts: &[&[u8]]) -> Result<Vec<u8>, Failure> {
    let (answer, worker) = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        // The other tasks of this thread go on on another.
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| ask_beside(job, parts)),
        _ => ask_beside(job, parts),
    };
    keep(worker);
    answer
}

/// Asks from a thread of its own: the one that wants to know may belong to a runtime, which must not be entered twice.
fn ask_beside(job: &Job, parts: &[&[u8]]) -> (Result<Vec<u8>, Failure>, Option<Worker>) {
    let gone = |why: String| (Err(Failure::Gone(why)), None);
    let work = || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(ask_one(job, job.within, parts)),
        Err(why) => gone(why.to_string()),
    };
    std::thread::scope(|scope| match std::thread::Builder::new().name("apart".to_owned()).spawn_scoped(scope, work) {
        Ok(thread) => thread.join().unwrap_or_else(|_| gone("asking for it panicked".to_owned())),
        Err(why) => gone(format!("no thread could be started: {why}")),
    })
}

/// Asks once. The child comes back where it can be asked again.
async fn ask_one(job: &Job, within: Duration, parts: &[&[u8]]) -> (Result<Vec<u8>, Failure>, Option<Worker>) {
    let Ok(_turn) = job.turns.acquire().await else { return (Err(Failure::Gone("no turn".to_owned())), None) };
    let mut worker = match take() {
        Ok(worker) => worker,
        Err(why) => return (Err(Failure::Gone(format!("no process could be started for it: {why}"))), None),
    };
    let length = parts.iter().map(|part| part.len()).sum();
    match tokio::time::timeout(within, worker.talk(job, parts, length)).await {
        Err(_) => (Err(Failure::Slow(within)), None),
        Ok(Err(why)) => (Err(worker.last_words(&why, length)), None),
        Ok(Ok(Reply::Panicked(why))) if why.contains("capacity overflow") => {
            (Err(Failure::Memory(memory(length))), None)
        }
        Ok(Ok(Reply::Panicked(why))) => (Err(Failure::Gone(format!("the interpreter panicked: {why}"))), None),
        Ok(Ok(Reply::TooLong)) => (Err(Failure::Long), None),
        Ok(Ok(Reply::Done(answer))) => (Ok(answer), Some(worker)),
        Ok(Ok(Reply::Last(answer))) => (Ok(answer), None),
    }
}

/// How much memory a child may take for a question of this length.
fn memory(length: usize) -> usize {
    length.saturating_mul(MEMORY_FACTOR).saturating_add(MEMORY_MAX)
}

/// What a child answers.
enum Reply {
    Done(Vec<u8>),
    /// The same, and it has grown so much that another should be asked next.
    Last(Vec<u8>),
    Panicked(String),
    TooLong,
}

/// How replies are called between the processes.
const DONE: u8 = 0;
/// See [`DONE`].
const LAST: u8 = 1;
/// See [`DONE`].
const PANICKED: u8 = 2;

/// A child. Dropping it kills it.
#[derive(Debug)]
struct Worker {
    child: Child,
    socket: UnixStream,
    /// When it was last asked.
    since: Instant,
}

impl Worker {
    fn start() -> io::Result<Worker> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let mut command = command();
        // The allocator would reserve a gigabyte of addresses, which the child's limit counts.
        command.env("MIMALLOC_ARENA_RESERVE", "0").current_dir("/").process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(Worker { child: command.spawn()?, socket, since: Instant::now() })
    }

    fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn talk(&mut self, job: &Job, parts: &[&[u8]], length: usize) -> io::Result<Reply> {
        let mut socket = tokio::net::UnixStream::from_std(self.socket.try_clone()?)?;
        socket.write_u8(job.number).await?;
        socket.write_u64_le(length as u64).await?;
        for part in parts {
            socket.write_all(part).await?;
        }
        let kind = socket.read_u8().await?;
        let length = usize::try_from(socket.read_u64_le().await?).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Ok(Reply::TooLong);
        }
        let mut answer = vec![0; length];
        socket.read_exact(&mut answer).await?;
        self.since = Instant::now();
        Ok(match kind {
            DONE => Reply::Done(answer),
            LAST => Reply::Last(answer),
            _ => Reply::Panicked(String::from_utf8_lossy(&answer).into_owned()),
        })
    }

    /// Why it broke off: the standard library says what it ends a process for.
    fn last_words(&mut self, why: &io::Error, length: usize) -> Failure {
        let _ = self.child.kill();
        let ended = self.child.wait();
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(LAST_WORDS_BYTES_MAX).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        if said.contains("overflowed its stack") {
            return Failure::Depth;
        }
        if said.contains("memory allocation of") {
            return Failure::Memory(memory(length));
        }
        let how = ended.map_or_else(|_| why.to_string(), |status| status.to_string());
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        Failure::Gone(format!("its process ended ({how}) {last}").trim_end().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file that children are started from, where it is not the one that runs.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Starts children from another file: tests, which are programs of their own, name Watchbell's.
pub fn use_program(program: PathBuf) {
    // Whoever came first said the same.
    let _ = PROGRAM.set(program);
}

/// What starts a child: the file that runs now, even if another has taken its path.
fn command() -> Command {
    let mut command = Command::new(PROGRAM.get_or_init(|| PathBuf::from("/proc/self/exe")));
    command.env_clear();
    #[cfg(not(test))]
    command.arg0("watchbell").arg(CHILD_ARGUMENT);
    // Tests of this crate are a program that runs what it is told by name.
    #[cfg(test)]
    command.args(["--exact", "shared::apart::tests::child", "--nocapture"]).env(tests::CHILD, "1");
    command
}

/// Children that wait for a question, and whether somebody sees to their end.
#[derive(Default)]
struct Idle {
    workers: Vec<Worker>,
    watched: bool,
}

static IDLE: Mutex<Idle> = Mutex::new(Idle { workers: Vec::new(), watched: false });

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take() -> io::Result<Worker> {
    loop {
        let kept = idle().workers.pop();
        let Some(mut worker) = kept else { return Worker::start() };
        if worker.lives() {
            return Ok(worker);
        }
    }
}

/// Keeps a child warm for the next question.
fn keep(worker: Option<Worker>) {
    let Some(worker) = worker else { return };
    let mut idle = idle();
    if idle.workers.len() >= KEPT_MAX {
        return;
    }
    if !idle.watched {
        let watch = std::thread::Builder::new().name("apart-idle".to_owned()).stack_size(64 << 10).spawn(watch);
        idle.watched = watch.is_ok();
    }
    if idle.watched {
        idle.workers.push(worker);
    }
}

/// Ends children that nobody needed for a while, and itself with the last of them.
fn watch() {
    loop {
        std::thread::sleep(IDLE_MAX / 2);
        let mut idle = idle();
        let (kept, ended) = std::mem::take(&mut idle.workers).into_iter().partition(|w| w.since.elapsed() < IDLE_MAX);
        idle.workers = kept;
        idle.watched = !idle.workers.is_empty();
        let watched = idle.watched;
        drop(idle);
        drop::<Vec<Worker>>(ended);
        if !watched {
            return;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
