//! Ends runs that are over before they ended: a thread that kills all that belongs to them and reaps what it killed.
//!
//! Looking for processes takes milliseconds, and being killed a moment (for one that hangs in the kernel, for ever):
//! neither may stop a thread of the runtime. What many runs ask for at the same time is looked for once.

use super::mark::{Mark, Process, Snapshot, kill_all};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::HashMap,
    process::Child,
    sync::{Condvar, Mutex, OnceLock, PoisonError, mpsc},
    time::Duration,
};

/// How often a process that was killed and does not go is asked whether it went.
const REAP_EVERY: Duration = Duration::from_millis(20);

/// How long the end of a program waits for what it is just killing.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum Request {
    /// Who belongs to the run now? Some are not found any more once what started them has ended. Then its group is asked
    /// to end.
    Look(Mark, Process),
    /// Nothing of the run may be left. The child leads its process group, and is not reaped.
    Kill(Mark, Option<Child>),
    /// It is killed, or ends by itself.
    Reap(Child),
}

/// How many requests are not done.
static OPEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Asks the leader's process group to end, and remembers until it is killed who belongs to the run.
pub(super) fn ask_to_end(mark: &Mark, leader: Process) {
    order(Request::Look(mark.clone(), leader));
}

/// Kills all that belongs to a run, with the group of its leader where that is not reaped yet, and reaps that.
pub(super) fn kill(mark: &Mark, leader: Option<Child>) {
    order(Request::Kill(mark.clone(), leader));
}

/// Reaps a child that ends soon.
pub(super) fn reap(child: Child) {
    order(Request::Reap(child));
}

/// Waits until nothing of what was to be killed is left: the last thing that a program does.
pub fn settle() {
    let open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(OPEN.1.wait_timeout_while(open, SETTLE_WITHIN, |open| *open > 0));
}

fn order(request: Request) {
    static THREAD: OnceLock<Option<mpsc::Sender<Request>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new().name("reaper".into()).spawn(move || work(&receiver)).ok().map(|_| sender)
    });
    *OPEN.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    let unsent = match thread {
        Some(thread) => thread.send(request).err().map(|mpsc::SendError(request)| request),
        None => Some(request),
    };
    // Without a thread of its own it is done here.
    if let Some(request) = unsent {
        Ender::default().take(vec![request]);
    }
}

fn work(requests: &mpsc::Receiver<Request>) {
    let mut ender = Ender::default();
    loop {
        let next = if ender.dying.is_empty() {
            requests.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            requests.recv_timeout(REAP_EVERY)
        };
        match next {
            Ok(first) => ender.take(std::iter::once(first).chain(requests.try_iter()).collect()),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        ender.dying.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

#[derive(Default)]
struct Ender {
    /// Who belongs to runs that were asked to end.
    seen: HashMap<Mark, Vec<Process>>,
    /// Killed, not yet reaped.
    dying: Vec<Child>,
}

impl Ender {
    fn take(&mut self, requests: Vec<Request>) {
        let done = requests.len();
        let looks = requests.iter().any(|r| matches!(r, Request::Look(..) | Request::Kill(_, Some(_))));
        let snapshot = if looks { Snapshot::take() } else { Snapshot::default() };
        let (mut marks, mut known) = (Vec::new(), Vec::new());
        for request in requests {
            match request {
                Request::Look(mark, leader) => {
                    let found = snapshot.of(&mark, Some(&leader));
                    // Only now: what it started is found through it.
                    if leader.runs() {
                        let _ = kill_process_group(leader.pid, Signal::TERM);
                    }
                    self.seen.insert(mark, found);
                }
                Request::Kill(mark, leader) => {
                    known.extend(self.seen.remove(&mark).into_iter().flatten());
                    if let Some(leader) = leader {
                        let pid = Pid::from_child(&leader);
                        known.extend(
                            Process::hold(pid).into_iter().flat_map(|leader| snapshot.of(&mark, Some(&leader))),
                        );
                        // The group may be gone, which is what is wanted.
                        let _ = kill_process_group(pid, Signal::KILL);
                        self.dying.push(leader);
                    }
                    marks.push(mark);
                }
                Request::Reap(child) => self.dying.push(child),
            }
        }
        if !marks.is_empty() {
            let left = kill_all(&marks, known);
            if !left.is_empty() {
                let pids: Vec<String> = left.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
                tracing::warn!(pids = pids.join(" "), "processes of a run that was killed are still there");
            }
        }
        let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(done);
        OPEN.1.notify_all();
    }
}
