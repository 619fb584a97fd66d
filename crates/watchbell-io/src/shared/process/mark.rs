//! Which processes belong to a run: the mark in their environment, and whose children they are.
//!
//! A process group holds what a command starts only until something in it makes a group of its own (`timeout`,
//! `setsid`, a shell with job control). So every run has a mark of its own in its environment, which all that it
//! starts inherits, and what is to be killed is looked for by it in `/proc`. What cleans its environment is found as
//! long as the process that started it lives. `/proc` is read only when something is killed.
//!
//! Marks nest: a run within a run carries both, so that the end of the outer one takes the inner one along, and the
//! end of the inner one nothing else. A number that another process has by now is never signalled: a process is held
//! by a descriptor of its own, and looked at again through that before it is signalled.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
    os::fd::OwnedFd,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The variable that holds the mark.
pub const VARIABLE: &str = "WATCHBELL_RUN";

/// So many runs within runs are told apart; of more the outermost are forgotten.
pub const NESTED_MAX: usize = 8;

/// So often is `/proc` looked through for what belongs to a killed run and was started meanwhile, [`LOOK_EVERY`] apart.
pub const LOOKS_MAX: u32 = 40;

/// See [`LOOKS_MAX`].
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// So much of a process's environment is read.
const ENVIRON_BYTES_MAX: u64 = 4 << 20;

/// The mark of one run.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Mark(String);

impl Default for Mark {
    fn default() -> Mark {
        Mark::new()
    }
}

impl Mark {
    /// One that no other run of any agent on this machine has.
    pub fn new() -> Mark {
        static AGENT: OnceLock<u64> = OnceLock::new();
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let agent = AGENT.get_or_init(|| RandomState::new().hash_one(std::process::id()));
        Mark(format!("{agent:016x}-{}", RUNS.fetch_add(1, Ordering::Relaxed)))
    }

    /// What the variable is set to: the marks that this process has itself, and this one.
    pub fn value(&self) -> OsString {
        static OWN: OnceLock<String> = OnceLock::new();
        let own = OWN.get_or_init(|| {
            let own = std::env::var(VARIABLE).unwrap_or_default();
            let marks: Vec<&str> = own.split(':').filter(|mark| !mark.is_empty()).collect();
            let kept = &marks[marks.len().saturating_sub(NESTED_MAX - 1)..];
            kept.iter().map(|mark| format!("{mark}:")).collect()
        });
        format!("{own}{}", self.0).into()
    }
}

/// A process of a run, held so that its number can't become another's.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// Holds a process. It must not be reaped yet: a child of this program, say.
    pub fn hold(pid: Pid) -> Option<Process> {
        pidfd_open(pid, PidfdFlags::empty()).ok().map(|fd| Process { pid, fd })
    }

    /// The same from a descriptor that holds it.
    pub(super) fn held(pid: Pid, fd: OwnedFd) -> Process {
        Process { pid, fd }
    }

    /// Sends a signal. Returns whether it is still there and was reached.
    pub fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.fd, signal).is_ok()
    }

    /// Whether it runs: not ended, not waiting to be reaped.
    pub fn runs(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())) == Ok(0)
    }
}

/// All processes at one moment, but this one.
#[derive(Debug, Default)]
pub struct Snapshot {
    marked: Vec<(Pid, String)>,
    children: HashMap<Pid, Vec<Pid>>,
}

impl Snapshot {
    /// Looks through `/proc`. Empty where that can't be read.
    pub fn take() -> Snapshot {
        let mut all = Snapshot::default();
        let me = rustix::process::getpid();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        for pid in pids.filter(|pid| *pid != me) {
            let Some(parent) = stat(pid) else { continue };
            if let Some(parent) = Pid::from_raw(parent) {
                all.children.entry(parent).or_default().push(pid);
            }
            all.marked.extend(value_of(pid).map(|value| (pid, value)));
        }
        all
    }

    /// What carries the mark, and what descends from that or from `leader`, with `leader` itself.
    pub fn of(&self, mark: &Mark, leader: Option<&Process>) -> Vec<Process> {
        let found = self.hold(mark, leader.map(|leader| leader.pid));
        // A leader that ended meanwhile may be reaped, and its number another's.
        if leader.is_none_or(Process::runs) { found } else { self.hold(mark, None) }
    }

    fn hold(&self, mark: &Mark, leader: Option<Pid>) -> Vec<Process> {
        let mut found = HashSet::new();
        let mut next: Vec<(Pid, Option<Pid>)> = leader.map(|leader| (leader, None)).into_iter().collect();
        next.extend(self.marked.iter().filter(|(_, value)| has(value, mark)).map(|(pid, _)| (*pid, None)));
        let mut held = Vec::new();
        while let Some((pid, parent)) = next.pop() {
            if !found.insert(pid) {
                continue;
            }
            next.extend(self.children.get(&pid).into_iter().flatten().map(|child| (*child, Some(pid))));
            let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // From here on the number can be another's only if this process is gone, and then no signal reaches it.
            let same = match parent {
                Some(parent) => stat(pid) == Some(parent.as_raw_nonzero().get()),
                None => leader == Some(pid) || value_of(pid).is_some_and(|value| has(&value, mark)),
            };
            if same {
                held.push(Process { pid, fd });
            }
        }
        held
    }
}

/// Kills all that belongs to the runs, also what is started meanwhile. `known` are processes of theirs that were seen
/// before. Returns what could not be killed.
pub fn kill_all(marks: &[Mark], known: Vec<Process>) -> Vec<Pid> {
    let mut left = known;
    for look in 0..LOOKS_MAX {
        let snapshot = Snapshot::take();
        left.retain(Process::runs);
        left.extend(marks.iter().flat_map(|mark| snapshot.of(mark, None)));
        if left.is_empty() {
            break;
        }
        for process in &left {
            process.signal(Signal::KILL);
        }
        left.sort_by_key(|process| process.pid.as_raw_nonzero());
        left.dedup_by_key(|process| process.pid);
        if look + 1 < LOOKS_MAX {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    left.retain(Process::runs);
    left.iter().map(|process| process.pid).collect()
}

fn has(value: &str, mark: &Mark) -> bool {
    value.split(':').any(|one| one == mark.0)
}

/// The number of a process's parent; `None` where it is gone or only waits to be reaped.
fn stat(pid: Pid) -> Option<i32> {
    let text = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Its name stands in brackets, and may hold some.
    let after = text.iter().rposition(|b| *b == b')')? + 1;
    let rest = String::from_utf8_lossy(&text[after..]);
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") { None } else { fields.next()?.parse().ok() }
}

/// The marks of a process; `None` where it has none, or they are not ours to read.
fn value_of(pid: Pid) -> Option<String> {
    let file = File::open(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let mut bytes = Vec::new();
    match file.take(ENVIRON_BYTES_MAX).read_to_end(&mut bytes) {
        Err(why) if why.raw_os_error() != Some(Errno::SRCH.raw_os_error()) && bytes.is_empty() => return None,
        _ => {}
    }
    bytes.split(|b| *b == 0).find_map(|variable| {
        let value = variable.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}
