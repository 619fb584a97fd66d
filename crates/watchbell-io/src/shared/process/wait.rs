//! From a started process to what it wrote and how it ended.
//!
//! Most commands write little and end soon. For them one thing is watched, the process's own file descriptor:
//! when it ends, both pipes hold all it wrote and are read without waiting. Watching the pipes as well would
//! double the wake-ups of a run, and spawning is the cost of this program. Only what still runs after
//! [`FIRST_LOOK`] (a full pipe may hold it up), or has a long standard input, gets its pipes watched.
//!
//! Invariants: no process is left unreaped and no descriptor open, also when the future is dropped; a process
//! group is signalled only while its number can't be another's (its leader is not reaped, or members are left). A run
//! that is killed takes along all that carries its mark; one that ended does not.

use super::{
    Note, OUTPUT_HARD_MAX, end,
    mark::{Mark, Process},
};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process_group},
};
use std::{
    future::pending,
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, ExitStatus},
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until, timeout_at},
};
use watchbell_core::model::Exit;

/// For so long only the end of the process is watched, not its pipes.
pub const FIRST_LOOK: Duration = Duration::from_millis(200);

/// From the polite signal at the time limit to the one that can't be ignored.
pub const TERM_GRACE: Duration = Duration::from_millis(500);

/// How long children that a command left behind may hold its output open before they are killed.
pub const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(1);

/// How long a killed process may take to go: one that waits for a dead disk can't be killed at all.
const KILLED_GRACE: Duration = Duration::from_secs(2);

/// Read at a time: as much as a pipe holds.
const READ_SIZE: usize = 64 << 10;

/// Stands for "no time limit".
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

/// One pipe of the process, and what came out of it.
#[derive(Debug)]
struct Stream {
    pipe: Option<Pipe>,
    kept: Kept,
}

#[derive(Debug)]
enum Pipe {
    Plain(OwnedFd),
    Watched(AsyncFd<OwnedFd>),
}

/// Watches a descriptor.
#[expect(deprecated, reason = "deprecated for types that may lie about their descriptor; an OwnedFd can't")]
fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

/// The first `max` bytes, and how many there were.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    seen: usize,
}

impl Kept {
    /// Reads what is there, without waiting and no more than the hard limit. Returns whether there may be more to read later.
    fn drain(&mut self, pipe: &OwnedFd) -> bool {
        let mut buffer = [MaybeUninit::uninit(); READ_SIZE];
        while self.seen <= OUTPUT_HARD_MAX {
            match rustix::io::read(pipe, &mut buffer) {
                Ok((bytes, _)) if !bytes.is_empty() => {
                    self.seen += bytes.len();
                    let room = self.max.saturating_sub(self.bytes.len()).min(bytes.len());
                    self.bytes.extend_from_slice(&bytes[..room]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                // The end, or a pipe that can't be read any more, which is no different.
                Ok(_) | Err(_) => return false,
            }
        }
        // Nobody reads on. Left open, a pipe whose writers are gone would be ready for ever, and this task never wait.
        false
    }
}

impl Stream {
    fn new(fd: Option<impl Into<OwnedFd>>, max: usize) -> io::Result<Stream> {
        let fd: Option<OwnedFd> = fd.map(Into::into);
        if let Some(fd) = &fd {
            fcntl_setfl(fd, OFlags::NONBLOCK)?;
        }
        Ok(Stream { pipe: fd.map(Pipe::Plain), kept: Kept { max, ..Kept::default() } })
    }

    fn open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Starts to watch the pipe.
    fn watch(&mut self) -> io::Result<()> {
        self.pipe = match self.pipe.take() {
            Some(Pipe::Plain(fd)) => Some(Pipe::Watched(watched(fd, Interest::READABLE)?)),
            other => other,
        };
        Ok(())
    }

    fn drain(&mut self) {
        let open = match &self.pipe {
            Some(Pipe::Plain(fd)) => self.kept.drain(fd),
            Some(Pipe::Watched(fd)) => self.kept.drain(fd.get_ref()),
            None => false,
        };
        if !open {
            self.pipe = None;
        }
    }

    /// Ends when something was read or the pipe was closed. Never for a pipe that is closed already.
    async fn readable(&mut self) {
        let Some(Pipe::Watched(fd)) = &self.pipe else { return pending().await };
        let open = match fd.readable().await {
            Ok(mut guard) => {
                let open = self.kept.drain(fd.get_ref());
                guard.clear_ready();
                open
            }
            Err(_) => false,
        };
        if !open {
            self.pipe = None;
        }
    }
}

/// What is still to be written to the process's standard input.
#[derive(Debug)]
struct Input {
    pipe: Option<Pipe>,
    bytes: Vec<u8>,
    written: usize,
}

impl Input {
    /// Writes what the pipe takes, and closes it after the last byte.
    fn feed(&mut self) {
        loop {
            let rest = &self.bytes[self.written..];
            let wrote = match &self.pipe {
                _ if rest.is_empty() => return self.pipe = None,
                Some(Pipe::Plain(fd)) => rustix::io::write(fd, rest),
                Some(Pipe::Watched(fd)) => rustix::io::write(fd, rest),
                None => return,
            };
            match wrote {
                Ok(n) => self.written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // It does not want to read it all: its own affair.
                Err(_) => self.pipe = None,
            }
        }
    }

    async fn writable(&mut self) {
        let Some(Pipe::Watched(fd)) = &self.pipe else { return pending().await };
        match fd.writable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => return self.pipe = None,
        }
        self.feed();
    }
}

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It may go on until its time limit.
    Runs,
    /// It ended, and children of it hold its output open.
    LeftBehind,
    /// It was asked to end.
    Asked,
    /// It was killed.
    Killed,
}

/// How a run ended and what it wrote.
#[derive(Debug)]
pub(super) struct Ended {
    /// How; `None` if nobody can tell.
    pub exit: Option<Exit>,
    /// Kept standard output.
    pub stdout: Vec<u8>,
    /// Kept standard error.
    pub stderr: Vec<u8>,
    /// More was written than is kept.
    pub truncated: bool,
    /// What happened besides.
    pub note: Option<Note>,
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Running {
    leader: Leader,
    stdout: Stream,
    stderr: Stream,
    input: Input,
    stage: Stage,
    until: Instant,
    timed_out: bool,
    note: Option<Note>,
}

impl Running {
    /// Takes over a child that leads a process group of its own and carries the mark.
    ///
    /// # Errors
    /// Its descriptors can't be watched: too many are open, or the kernel is older than Linux 5.3. The child is killed.
    pub(super) fn new(
        mut child: Child,
        mark: Mark,
        input: Vec<u8>,
        kept_max: usize,
        timeout: Duration,
    ) -> io::Result<Running> {
        let (stdout, stderr, stdin) = (child.stdout.take(), child.stderr.take(), child.stdin.take());
        let leader = Leader::new(child, mark)?;
        let stdout = Stream::new(stdout, kept_max)?;
        let stderr = Stream::new(stderr, kept_max)?;
        let pipe = stdin.map(OwnedFd::from);
        if let Some(pipe) = &pipe {
            fcntl_setfl(pipe, OFlags::NONBLOCK)?;
        }
        let mut input = Input { pipe: pipe.map(Pipe::Plain), bytes: input, written: 0 };
        input.feed();
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now + FOR_EVER);
        Ok(Running { leader, stdout, stderr, input, stage: Stage::Runs, until, timed_out: false, note: None })
    }

    /// Waits for the end, or brings it about.
    pub(super) async fn finish(mut self) -> Ended {
        if self.input.pipe.is_none() {
            let first_look = self.until.min(Instant::now() + FIRST_LOOK);
            if timeout_at(first_look, self.leader.ended()).await.is_ok() && self.on_exit() {
                return self.into_ended();
            }
        }
        if let Err(why) = self.watch() {
            let stderr = format!("can't watch the output: {why}").into_bytes();
            return Ended { exit: None, stdout: Vec::new(), stderr, truncated: false, note: None };
        }
        self.wait().await;
        self.into_ended()
    }

    fn watch(&mut self) -> io::Result<()> {
        self.stdout.watch()?;
        self.stderr.watch()?;
        if let Some(Pipe::Plain(fd)) = self.input.pipe.take() {
            self.input.pipe = Some(Pipe::Watched(watched(fd, Interest::WRITABLE)?));
        }
        Ok(())
    }

    async fn wait(&mut self) {
        loop {
            let done = tokio::select! {
                () = self.leader.ended(), if self.leader.status.is_none() => self.on_exit(),
                () = self.stdout.readable() => self.on_output(),
                () = self.stderr.readable() => self.on_output(),
                () = self.input.writable() => false,
                () = sleep_until(self.until) => self.on_time(),
            };
            if done {
                return;
            }
        }
    }

    /// The leader ended. Returns whether the run is over.
    fn on_exit(&mut self) -> bool {
        if matches!(self.stage, Stage::Asked | Stage::Killed) {
            // Its group is killed before it is reaped: until then nobody else can have its number.
            self.leader.signal(Signal::KILL);
        }
        if self.stage == Stage::Asked {
            end::kill(&self.leader.mark, None);
        }
        self.stdout.drain();
        self.stderr.drain();
        self.leader.reap();
        if self.over_limit() {
            self.note = Some(Note::Overflow);
        }
        if !self.stdout.open() && !self.stderr.open() || self.stage != Stage::Runs {
            return true;
        }
        // A pipe is still open. Another command that is just being started may hold a copy until its exec;
        // only a living group has more to write.
        if !self.leader.group_lives() {
            return true;
        }
        self.stage = Stage::LeftBehind;
        self.until = self.until.min(Instant::now() + LEFT_BEHIND_GRACE);
        false
    }

    /// Something was written or a pipe was closed. Returns whether the run is over.
    fn on_output(&mut self) -> bool {
        if self.over_limit() && self.stage != Stage::Killed {
            self.note = Some(Note::Overflow);
            return self.kill();
        }
        self.leader.status.is_some() && !self.stdout.open() && !self.stderr.open()
    }

    fn over_limit(&self) -> bool {
        self.stdout.kept.seen > OUTPUT_HARD_MAX || self.stderr.kept.seen > OUTPUT_HARD_MAX
    }

    /// The stage's time is over. Returns whether the run is.
    fn on_time(&mut self) -> bool {
        match self.stage {
            Stage::Runs => {
                self.timed_out = true;
                self.leader.ask_to_end();
                self.stage = Stage::Asked;
                self.until = Instant::now() + TERM_GRACE;
                false
            }
            Stage::LeftBehind => {
                self.note = Some(Note::LeftBehind);
                self.kill()
            }
            Stage::Asked => self.kill(),
            // Nothing helps; the drop of the leader sees to it that it is reaped some day.
            Stage::Killed => true,
        }
    }

    /// Kills the group. Returns whether the run is over.
    fn kill(&mut self) -> bool {
        self.leader.signal(Signal::KILL);
        // What ended by itself leaves daemons alone; only what holds its output open is in the way.
        if self.leader.status.is_none() {
            end::kill(&self.leader.mark, None);
        }
        self.stdout.drain();
        self.stderr.drain();
        self.stage = Stage::Killed;
        self.until = Instant::now() + KILLED_GRACE;
        self.leader.status.is_some()
    }

    fn into_ended(mut self) -> Ended {
        let exit = match self.leader.status.take() {
            _ if self.timed_out => Some(Exit::TimedOut),
            Some(Some(status)) => status.code().map(Exit::Code).or_else(|| status.signal().map(Exit::Signal)),
            Some(None) => None,
            // Killed, and still not gone.
            None => Some(Exit::Signal(Signal::KILL.as_raw())),
        };
        let truncated = self.stdout.kept.seen > self.stdout.kept.bytes.len()
            || self.stderr.kept.seen > self.stderr.kept.bytes.len();
        let (stdout, stderr) =
            (std::mem::take(&mut self.stdout.kept.bytes), std::mem::take(&mut self.stderr.kept.bytes));
        Ended { exit, stdout, stderr, truncated, note: self.note }
    }
}

/// The process itself: reaped at the latest after it is dropped.
#[derive(Debug)]
struct Leader {
    /// `None` once it is reaped.
    child: Option<Child>,
    group: Pid,
    mark: Mark,
    ended: Option<AsyncFd<OwnedFd>>,
    /// `Some` once it ended; the inner one is missing if somebody else took it.
    status: Option<Option<ExitStatus>>,
}

impl Leader {
    fn new(child: Child, mark: Mark) -> io::Result<Leader> {
        let group = Pid::from_child(&child);
        let mut leader = Leader { child: Some(child), group, mark, ended: None, status: None };
        // From here on an early return drops the leader, which kills and reaps it.
        let pidfd = pidfd_open(group, PidfdFlags::empty())?;
        leader.ended = Some(watched(pidfd, Interest::READABLE)?);
        Ok(leader)
    }

    /// Ends when the process has.
    async fn ended(&self) {
        match &self.ended {
            Some(fd) => drop(fd.readable().await.map(|mut guard| guard.retain_ready())),
            None => pending().await,
        }
    }

    /// Takes the status of a process that ended.
    fn reap(&mut self) {
        let status = self.child.as_mut().map(Child::try_wait);
        if !matches!(status, Some(Ok(None))) {
            self.child = None;
        }
        self.status = Some(status.and_then(Result::ok).flatten());
    }

    /// Asks its group to end, once it is known who belongs to the run.
    fn ask_to_end(&self) {
        match self.ended.as_ref().and_then(|fd| fd.get_ref().try_clone().ok()) {
            Some(held) => end::ask_to_end(&self.mark, Process::held(self.group, held)),
            None => self.signal(Signal::TERM),
        }
    }

    fn signal(&self, signal: Signal) {
        // The group may be gone, which is what is wanted.
        let _ = kill_process_group(self.group, signal);
    }

    fn group_lives(&self) -> bool {
        test_kill_process_group(self.group) != Err(Errno::SRCH)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end::kill(&self.mark, Some(child));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe beyond the hard limit is closed: it would be ready for ever once its writers are gone.
    #[test]
    fn a_pipe_beyond_the_limit_is_not_read_on() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut stream = Stream::new(Some(reader), 10).unwrap();
        stream.kept.seen = OUTPUT_HARD_MAX;
        rustix::io::write(&writer, b"one byte too many").unwrap();
        stream.drain();
        assert!(!stream.open() && stream.kept.seen > OUTPUT_HARD_MAX);
    }
}
