//! The child: limits itself, then does what it is asked, one job after the other, until the socket closes.

use super::{DONE, Job, LAST, MEMORY_MAX, PANICKED, memory};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    any::Any,
    fs, io,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    panic,
    process::ExitCode,
    sync::mpsc::{self, Receiver, Sender},
};

/// The stack that a job has.
const STACK_BYTES: usize = 16 << 20;

/// Answers on standard input, which is a socket, until it is closed. The thread that waits there does no work: it must see the
/// end while a job runs for ever.
pub fn serve(jobs: &'static [&'static Job]) -> ExitCode {
    match listen(jobs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn listen(jobs: &'static [&'static Job]) -> io::Result<()> {
    // What the machine shows of it; and where memory runs out, this goes before the agent does.
    let _ = fs::write("/proc/self/comm", "watchbell-apart");
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    panic::set_hook(Box::new(|_| {}));
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let answers = socket.try_clone()?;
    let (questions, asked) = mpsc::channel();
    let (ready, begun) = mpsc::channel();
    let worker = std::thread::Builder::new().name("apart".to_owned()).stack_size(STACK_BYTES);
    worker.spawn(move || work(jobs, answers, &asked, &ready))?;
    let own = begun.recv().unwrap_or_default();
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).is_err() {
            return Ok(());
        }
        let [number, length @ ..] = head;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        limit(own.saturating_add(memory(length)))?;
        let mut question = vec![0; length];
        socket.read_exact(&mut question)?;
        if questions.send((number, question)).is_err() {
            return Ok(());
        }
    }
}

/// Does the jobs, after it has said how large the process is without any.
fn work(jobs: &[&Job], mut answers: UnixStream, asked: &Receiver<(u8, Vec<u8>)>, ready: &Sender<usize>) {
    // By now this thread has memory of its own to allocate from.
    let own = size();
    if ready.send(own).is_err() {
        return;
    }
    for (number, question) in asked {
        let Some(job) = jobs.iter().find(|job| job.number == number) else { return };
        let done = panic::catch_unwind(|| (job.work)(&question));
        drop(question);
        let (kind, answer) = match done {
            Err(why) => (PANICKED, words(&*why).into_bytes()),
            // What the allocator keeps would be missing from the next one's limit.
            Ok(answer) if size() > own.saturating_add(MEMORY_MAX / 2) => (LAST, answer),
            Ok(answer) => (DONE, answer),
        };
        let mut head = vec![kind];
        head.extend((answer.len() as u64).to_le_bytes());
        if answers.write_all(&head).and_then(|()| answers.write_all(&answer)).is_err() {
            return;
        }
    }
}

fn words(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| why.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// How much of the address space is in use, in bytes; the first number of `statm` in proc_pid_statm(5).
fn size() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages.saturating_mul(rustix::param::page_size())
}

fn limit(most: usize) -> io::Result<()> {
    let maximum = getrlimit(Resource::As).maximum;
    let most = maximum.unwrap_or(u64::MAX).min(most as u64);
    Ok(setrlimit(Resource::As, Rlimit { current: Some(most), maximum })?)
}
