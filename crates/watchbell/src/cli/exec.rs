//! `watchbell exec`: runs a command as cron would, passes everything through, and reports how it ended.
//!
//! The command is in the process group, the folder and the environment in which it would be without us, with the same
//! standard input, and with a terminal where there is one.

mod output;
mod signals;

use super::{
    client::{Handed, Reach, Target},
    place::Place,
    ui::{self, Done, Trouble},
    when,
};
use crate::{
    api::{ReportFinding, ReportRequest, view},
    run::queue::Waiting,
};
use output::{Outputs, Seen, Stream};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use signals::Signals;
use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::process::Child;
use watchbell_core::{model::Severity, wire::text::clean};
use watchbell_io::shared::process::mark::{self, Mark, Process, Snapshot};

/// So much of its last line is part of the message.
const LAST_LINE_CHARS_MAX: usize = 200;
/// After the time limit's SIGTERM it gets this long before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How often what was asked to end is asked whether it did.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long whoever passes the output on may take to say what is left, after the command's end.
const OUTPUT_GRACE: Duration = Duration::from_secs(4);
/// Exit code for a time limit that was reached, as `timeout` of coreutils.
const EXIT_TIMED_OUT: u8 = 124;
/// Exit code for a command that is there and can't be started, as shells.
const EXIT_NOT_STARTED: u8 = 126;
/// Exit code for a command that is not there, as shells.
const EXIT_NOT_FOUND: u8 = 127;

/// Run a command and report how it ended: for jobs of cron and others
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Input, output, signals and the exit code are the command's own. It is reported to the passive check NAME \
                        if there is one, else as the fault `//AGENT/exec/NAME`, which is gone after the next run that \
                        ends with 0. While no agent runs, or it takes nothing in, the report is kept in its state folder \
                        and taken in once it does.\n\nExample, in a crontab:\n  0 3 * * *  watchbell exec backup --timeout 2h -- \
                        /usr/local/bin/backup --all"
)]
pub struct Args {
    /// The passive check, or a name for it
    name: String,
    /// Stop it after this long
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    timeout: Option<Duration>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    target: Target,
}

/// How it ended.
struct Ended {
    status: Result<ExitStatus, NotStarted>,
    timed_out: bool,
    took: Duration,
    tail: Vec<u8>,
    /// The end of standard error alone: where a program says why it failed.
    errors: Vec<u8>,
    /// Why some of its output could not be passed on.
    lost: Option<Errno>,
}

struct NotStarted {
    why: String,
    code: u8,
}

impl Args {
    /// Runs it, reports, and ends as it ended.
    pub fn run(&self, place: &Place) -> Done {
        if self.name.trim().is_empty() {
            return Err(Trouble::wrong("the name is empty\nhint: `watchbell exec backup -- COMMAND`"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::Failed(format!("can't prepare to run the command: {error}")))?;
        let (ended, left) = runtime.block_on(self.execute());
        // Its handlers stay: no signal ends this program before the report is made.
        drop(runtime);
        if let Err(not) = &ended.status {
            ui::warn(&not.why);
        }
        if let Some(why) = ended.lost.filter(|why| *why != Errno::PIPE) {
            ui::warn(&format!("output of the command could not be passed on: {why}"));
        }
        // The command's own outcome counts for whoever started this; a report that fails is only told of.
        if let Err(trouble) = self.report(place, &ended)
            && let Trouble::Failed(text) | Trouble::Away(text) | Trouble::Wrong(text) = trouble
        {
            ui::warn(&format!("how `{}` ended could not be reported: {text}", self.name));
        }
        output::hand_over(left);
        match ended.exit_code() {
            0 => Ok(()),
            code => Err(Trouble::Code(code)),
        }
    }

    /// Runs it. Returns also the outputs that somebody still holds open.
    async fn execute(&self) -> (Ended, Vec<Stream>) {
        let started = Instant::now();
        let mark = self.timeout.map(|_| Mark::new());
        // Before it is started: a signal that comes at once must not end this program and leave the command alone.
        let mut signals = Signals::listen();
        let seen = Arc::new(Seen::default());
        let started_job = Passing::start(&seen)
            .map_err(|error| self.not_started(&error))
            .and_then(|passing| Ok((passing, self.start(mark)?)));
        let (passing, (mut job, streams)) = match started_job {
            Ok(both) => both,
            Err(not) => return (ended(started, Err(not), false, &seen), Vec::new()),
        };
        passing.begin(streams);
        let status = job.wait(&mut signals, &seen, self.timeout).await;
        let left = passing.stop().await;
        let why = |error| NotStarted { why: format!("can't wait for the command: {error}"), code: u8::MAX };
        (ended(started, status.map_err(why), job.timed_out, &seen), left)
    }

    /// Starts it: a script without a `#!` line by a shell, as shells do.
    fn start(&self, mark: Option<Mark>) -> Result<(Job, Vec<Stream>), NotStarted> {
        let (child, streams) = match spawn(&self.command, mark.as_ref()) {
            Err(error) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
                let script = found(Path::new(&self.command[0])).unwrap_or_else(|| PathBuf::from(&self.command[0]));
                let mut argv = vec![OsString::from("/bin/sh"), script.into()];
                argv.extend_from_slice(&self.command[1..]);
                spawn(&argv, mark.as_ref())
            }
            other => other,
        }
        .map_err(|error| self.not_started(&error))?;
        Ok((Job::new(child, mark), streams))
    }

    fn not_started(&self, error: &io::Error) -> NotStarted {
        let why = format!("can't start `{}`: {error}", self.command[0].to_string_lossy());
        let code = if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_STARTED };
        NotStarted { why, code }
    }

    fn report(&self, place: &Place, ended: &Ended) -> Done {
        let request = self.request(ended);
        let agent = self.target.reach(place)?;
        let runs = matches!(agent, Reach::Up(_));
        if let Reach::Down(down) = &agent {
            view::reported(down.policy(), &request.check)
                .map_err(|several| Trouble::Wrong(format!("{several}\nhint: give the whole name")))?;
        }
        match agent.hand_in(Waiting::Report(request))? {
            Handed::Taken(_) => {}
            Handed::Left(path) if runs => {
                ui::note(&format!("the report is kept in `{}`, where the agent looks soon", path.display()));
            }
            Handed::Left(path) => {
                ui::note(&format!("the agent is not running; the report is kept in `{}`", path.display()));
            }
        }
        Ok(())
    }

    fn request(&self, ended: &Ended) -> ReportRequest {
        let text = ended.text();
        let output = clean(&ended.tail);
        let severity = match (ended.exit_code(), ended.lost) {
            (0, None | Some(Errno::PIPE)) => None,
            (0, Some(_)) => Some(Severity::Warning),
            _ => Some(Severity::Error),
        };
        let finding = |severity| ReportFinding { part: None, severity, message: text.clone(), detail: output.clone() };
        ReportRequest {
            check: format!("exec/{}", self.name.trim_start_matches('/')),
            findings: severity.map(finding).into_iter().collect(),
            text: text.clone(),
            value: None,
            metrics: Vec::new(),
            exit: ended.status.as_ref().ok().and_then(ExitStatus::code),
            took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
            output: output.clone(),
        }
    }
}

impl Ended {
    fn exit_code(&self) -> u8 {
        let status = match &self.status {
            Ok(status) => status,
            Err(not) => return not.code,
        };
        if self.timed_out {
            return EXIT_TIMED_OUT;
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        // An exit code has eight bits; what does not fit is at least not 0.
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
    }

    /// One line for people.
    fn text(&self) -> String {
        let took = when::took(self.took);
        let last = last_line(&self.errors).or_else(|| last_line(&self.tail));
        let last = last.map_or_else(String::new, |line| format!(": {line}"));
        let lost = match self.lost {
            None => String::new(),
            Some(Errno::PIPE) => "; nobody read its output to the end".to_owned(),
            Some(why) => format!("; some of its output could not be passed on ({why})"),
        };
        match &self.status {
            Err(not) => not.why.clone(),
            Ok(_) if self.timed_out => format!("stopped after {took}, its time limit{lost}{last}"),
            Ok(status) => match (status.code(), status.signal()) {
                (Some(0), _) => format!("fine after {took}{lost}"),
                (Some(code), _) => format!("ended with {code} after {took}{lost}{last}"),
                (None, Some(signal)) => format!("ended by signal {signal} after {took}{lost}{last}"),
                (None, None) => format!("ended after {took}{lost}{last}"),
            },
        }
    }
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let text = clean(bytes);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(last.chars().take(LAST_LINE_CHARS_MAX).collect())
}

/// The file that a name without a `/` stands for.
fn found(program: &Path) -> Option<PathBuf> {
    if program.components().count() != 1 {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn spawn(argv: &[OsString], mark: Option<&Mark>) -> io::Result<(Child, Vec<Stream>)> {
    let Outputs { stdout, stderr, streams } = Outputs::new()?;
    let mut command = std::process::Command::new(&argv[0]);
    command.args(&argv[1..]).stdout(stdout).stderr(stderr);
    if let Some(mark) = mark {
        command.env(mark::VARIABLE, mark.value());
    }
    Ok((tokio::process::Command::from(command).spawn()?, streams))
}

fn ended(started: Instant, status: Result<ExitStatus, NotStarted>, timed_out: bool, seen: &Seen) -> Ended {
    let (tail, errors, lost) = (seen.tail(), seen.errors(), seen.lost());
    Ended { status, timed_out, took: started.elapsed(), tail, errors, lost }
}

/// A thread that passes the output on: writing may have to wait, and signals and the time limit must not.
struct Passing {
    streams: std::sync::mpsc::Sender<Vec<Stream>>,
    /// Closed at the command's end.
    command: io::PipeWriter,
    left: tokio::sync::oneshot::Receiver<Vec<Stream>>,
}

impl Passing {
    fn start(seen: &Arc<Seen>) -> io::Result<Passing> {
        let (ended, command) = io::pipe()?;
        let ended = OwnedFd::from(ended);
        let (streams, given) = std::sync::mpsc::channel();
        let (sender, left) = tokio::sync::oneshot::channel();
        let seen = Arc::clone(seen);
        let pass = move || {
            let left = given.recv().map(|streams| output::pass_on(streams, &ended, &seen));
            drop(sender.send(left.unwrap_or_default()));
        };
        std::thread::Builder::new().name("output".into()).spawn(pass)?;
        Ok(Passing { streams, command, left })
    }

    fn begin(&self, streams: Vec<Stream>) {
        // It waits for them.
        let _ = self.streams.send(streams);
    }

    /// The command has ended: what is still open?
    async fn stop(self) -> Vec<Stream> {
        drop(self.command);
        tokio::time::timeout(OUTPUT_GRACE, self.left).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// A command that runs.
struct Job {
    child: Child,
    pid: Option<Pid>,
    mark: Option<Mark>,
    timed_out: bool,
    /// What belonged to it when it was asked to end, without itself.
    asked: Vec<Process>,
}

impl Job {
    fn new(child: Child, mark: Option<Mark>) -> Job {
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Job { child, pid, mark, timed_out: false, asked: Vec::new() }
    }

    /// Waits for the end, within the time limit. What ends this program is passed on to the command, so that its end
    /// is still reported.
    async fn wait(
        &mut self,
        signals: &mut Signals,
        seen: &Arc<Seen>,
        limit: Option<Duration>,
    ) -> io::Result<ExitStatus> {
        let mut limit = limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
        let mut passed = None;
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    self.end_the_rest(&status, passed, limit).await;
                    return status;
                }
                signal = signals.next(seen) => {
                    passed = Some(signal);
                    self.look();
                    self.signal(signal);
                }
                () = elapsed(&mut limit) => {
                    self.look();
                    let signal = if self.timed_out { Signal::KILL } else { Signal::TERM };
                    self.signal(signal);
                    self.signal_asked(signal);
                    self.timed_out = true;
                    limit = Some(Box::pin(tokio::time::sleep(TERM_GRACE)));
                }
            }
        }
    }

    /// Sends a signal to the command itself, as whoever sent it meant to.
    fn signal(&self, signal: Signal) {
        // It may have ended a moment ago; it is not reaped before that is seen.
        let _ = self.pid.map(|pid| kill_process(pid, signal));
    }

    /// Sends one to what was looked up.
    fn signal_asked(&self, signal: Signal) {
        for process in &self.asked {
            process.signal(signal);
        }
    }

    /// Looks who belongs to it now.
    fn look(&mut self) {
        let nobody = Mark::new();
        let leader = self.pid.and_then(Process::hold);
        let found = Snapshot::take().of(self.mark.as_ref().unwrap_or(&nobody), leader.as_ref());
        self.asked = found.into_iter().filter(|process| Some(process.pid) != self.pid).collect();
    }

    /// What a time limit ended has its time to go, and is then killed; what a signal ended takes along what it had
    /// started, by the same signal. What ended by itself leaves its children alone.
    async fn end_the_rest(
        &mut self,
        status: &io::Result<ExitStatus>,
        passed: Option<Signal>,
        limit: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    ) {
        if let (true, Some(mark)) = (self.timed_out, &self.mark) {
            let until = limit.map_or_else(tokio::time::Instant::now, |limit| limit.deadline());
            while tokio::time::Instant::now() < until && self.asked.iter().any(Process::runs) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            mark::kill_all(std::slice::from_ref(mark), std::mem::take(&mut self.asked));
        } else if let (Some(signal), Ok(status)) = (passed, status)
            && status.signal() == Some(signal.as_raw())
        {
            self.signal_asked(signal);
        }
    }
}

async fn elapsed(limit: &mut Option<std::pin::Pin<Box<tokio::time::Sleep>>>) {
    match limit {
        Some(limit) => limit.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Passes standard input on to standard output until nobody can write it any more, whatever happens to the output
#[derive(clap::Args, Debug)]
pub struct PassOn {}

impl PassOn {
    /// Does so: what `exec` leaves behind when its command left children behind that go on to write.
    pub fn run(&self) -> Done {
        let copies = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .and_then(|from| Ok((from, io::stdout().as_fd().try_clone_to_owned()?)));
        let (from, to) = copies.map_err(|error| Trouble::Failed(format!("can't pass the output on: {error}")))?;
        output::to_the_end(vec![Stream::new(from, to, false)]);
        Ok(())
    }
}
