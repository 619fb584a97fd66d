//! `watchbell exec`: runs a command as cron would, passes everything through, and reports how it ended.

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
use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
};
use watchbell_core::model::Severity;

/// So much of the end of what it writes is reported: three times that (a wrong byte becomes a sign of three) is
/// what the API takes.
const TAIL_BYTES_MAX: usize = 16 << 10;
/// So much of its last line is part of the message.
const LAST_LINE_CHARS_MAX: usize = 200;
/// After the time limit's SIGTERM it gets this long before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// Children that it left behind may keep its output open for this long after its end.
const LEFT_BEHIND: Duration = Duration::from_secs(2);
/// Exit code for a time limit that was reached, as `timeout` of coreutils.
const EXIT_TIMED_OUT: u8 = 124;
/// Exit code for a command that can't be started, as shells.
const EXIT_NOT_STARTED: u8 = 127;

/// Run a command and report how it ended: for jobs of cron and others
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Input, output and the exit code are the command's own. It is reported to the passive check NAME \
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
    status: Result<ExitStatus, String>,
    timed_out: bool,
    took: Duration,
    tail: Vec<u8>,
    /// The end of standard error alone: where a program says why it failed.
    errors: Vec<u8>,
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
        let ended = runtime.block_on(self.execute());
        drop(runtime);
        if let Err(why) = &ended.status {
            ui::warn(why);
        }
        // The command's own outcome counts for whoever started this; a report that fails is only told of.
        if let Err(trouble) = self.report(place, &ended)
            && let Trouble::Failed(text) | Trouble::Away(text) | Trouble::Wrong(text) = trouble
        {
            ui::warn(&format!("how `{}` ended could not be reported: {text}", self.name));
        }
        match ended.exit_code() {
            0 => Ok(()),
            code => Err(Trouble::Code(code)),
        }
    }

    async fn execute(&self) -> Ended {
        let started = Instant::now();
        let mut command = std::process::Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that the time limit reaches its children too; but not away from a terminal,
        // where it could not read what is typed.
        let own_group = !io::stdin().is_terminal();
        if own_group {
            command.process_group(0);
        }
        let failed = |why: String| Ended {
            status: Err(why),
            timed_out: false,
            took: started.elapsed(),
            tail: Vec::new(),
            errors: Vec::new(),
        };
        // Before it is started: a signal that comes at once must not end this program and leave the command alone.
        let mut signals = Signals::listen();
        let mut child = match tokio::process::Command::from(command).spawn() {
            Ok(child) => child,
            Err(error) => {
                let shown = self.command[0].to_string_lossy();
                return failed(format!("can't start `{shown}`: {error}"));
            }
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (mut tail, mut errors) = (Tail::default(), Tail::default());
        let (status, timed_out) = {
            let output = pass_on(out, err, &mut tail, &mut errors);
            tokio::pin!(output);
            let waited = wait(&mut child, &mut signals, own_group, self.timeout, output.as_mut());
            let (status, timed_out, output_done) = waited.await;
            if !output_done {
                let _ = tokio::time::timeout(LEFT_BEHIND, output).await;
            }
            (status, timed_out)
        };
        let status = status.map_err(|error| format!("can't wait for the command: {error}"));
        Ended { status, timed_out, took: started.elapsed(), tail: tail.bytes.into(), errors: errors.bytes.into() }
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
        let output = String::from_utf8_lossy(&ended.tail).into_owned();
        let wrong = ended.exit_code() != 0;
        let finding =
            ReportFinding { part: None, severity: Severity::Error, message: text.clone(), detail: output.clone() };
        ReportRequest {
            check: format!("exec/{}", self.name.trim_start_matches('/')),
            findings: if wrong { vec![finding] } else { Vec::new() },
            text,
            value: None,
            metrics: Vec::new(),
            exit: ended.status.as_ref().ok().and_then(ExitStatus::code),
            took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
            output,
        }
    }
}

impl Ended {
    fn exit_code(&self) -> u8 {
        let Ok(status) = &self.status else { return EXIT_NOT_STARTED };
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
        match &self.status {
            Err(why) => why.clone(),
            Ok(_) if self.timed_out => format!("stopped after {took}, its time limit{last}"),
            Ok(status) => match (status.code(), status.signal()) {
                (Some(0), _) => format!("fine after {took}"),
                (Some(code), _) => format!("ended with {code} after {took}{last}"),
                (None, Some(signal)) => format!("ended by signal {signal} after {took}{last}"),
                (None, None) => format!("ended after {took}{last}"),
            },
        }
    }
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(last.chars().take(LAST_LINE_CHARS_MAX).collect())
}

/// The end of what was written.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(TAIL_BYTES_MAX);
        self.bytes.drain(..over);
    }
}

/// Passes both outputs on as they come, and keeps their common end.
async fn pass_on(
    mut out: Option<tokio::process::ChildStdout>,
    mut err: Option<tokio::process::ChildStderr>,
    tail: &mut Tail,
    errors: &mut Tail,
) {
    let (mut from_out, mut from_err) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    while out.is_some() || err.is_some() {
        tokio::select! {
            n = read(&mut out, &mut from_out), if out.is_some() => hand_on(n, &from_out, &mut io::stdout(), &mut out, tail),
            n = read(&mut err, &mut from_err), if err.is_some() => {
                errors.add(&from_err[..n]);
                hand_on(n, &from_err, &mut io::stderr(), &mut err, tail);
            }
        }
    }
}

async fn read<R: AsyncRead + Unpin>(from: &mut Option<R>, buffer: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

/// Writes on what was read; at the end of input, or where nobody reads any more, the source is closed.
fn hand_on<R>(n: usize, buffer: &[u8], to: &mut impl Write, from: &mut Option<R>, tail: &mut Tail) {
    tail.add(&buffer[..n]);
    if n == 0 || to.write_all(&buffer[..n]).and_then(|()| to.flush()).is_err() {
        *from = None;
    }
}

/// What ends programs.
struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
    hup: Option<Signal>,
}

impl Signals {
    fn listen() -> Signals {
        let listen = |kind| signal(kind).ok();
        Signals {
            term: listen(SignalKind::terminate()),
            int: listen(SignalKind::interrupt()),
            hup: listen(SignalKind::hangup()),
        }
    }
}

/// Waits for the end, within the time limit. What ends this program is passed on to the command, so that its end
/// is still reported. Says whether its output came to an end too.
async fn wait(
    child: &mut Child,
    signals: &mut Signals,
    own_group: bool,
    timeout: Option<Duration>,
    mut output: impl Future<Output = ()> + Unpin,
) -> (io::Result<ExitStatus>, bool, bool) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    let kill = |signal| {
        let Some(pid) = pid else { return };
        // It may be gone already.
        let _ = if own_group {
            rustix::process::kill_process_group(pid, signal)
        } else {
            rustix::process::kill_process(pid, signal)
        };
    };
    let mut limit = timeout.map(|t| Box::pin(tokio::time::sleep(t)));
    let (mut timed_out, mut output_done) = (false, false);
    loop {
        tokio::select! {
            status = child.wait() => return (status, timed_out, output_done),
            () = &mut output, if !output_done => output_done = true,
            () = heard(&mut signals.term) => kill(rustix::process::Signal::TERM),
            // Within one group the terminal has told the command itself.
            () = heard(&mut signals.int) => if own_group { kill(rustix::process::Signal::INT) },
            () = heard(&mut signals.hup) => if own_group { kill(rustix::process::Signal::HUP) },
            () = elapsed(&mut limit) => {
                kill(if timed_out { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM });
                timed_out = true;
                limit = Some(Box::pin(tokio::time::sleep(TERM_GRACE)));
            }
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn elapsed(limit: &mut Option<std::pin::Pin<Box<tokio::time::Sleep>>>) {
    match limit {
        Some(limit) => limit.as_mut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let mut tail = Tail::default();
        for n in 0..20_000 {
            tail.add(format!("line {n}\n").as_bytes());
        }
        let bytes: Vec<u8> = tail.bytes.into();
        assert_eq!(bytes.len(), TAIL_BYTES_MAX);
        assert!(bytes.ends_with(b"line 19999\n"));
    }
}
