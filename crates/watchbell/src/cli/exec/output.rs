//! Passes a command's output on as it comes, and keeps its end for the report.
//!
//! Whoever writes always has a reader: where what is written can't be passed on (a full disk, a closed pipe), it is
//! read and dropped, and that is told. Nothing is read before there is room for it, and no more than fits without
//! waiting; so whatever was read was passed on, and another process can take over at any moment. The outputs are
//! shared with others and must not be made non-blocking.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
    io::Errno,
};
use std::{
    collections::VecDeque,
    io::{self, IsTerminal},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// So much of the end of what it writes is reported: three times that (a wrong byte becomes a sign of three) is
/// what the API takes.
pub(super) const TAIL_BYTES_MAX: usize = 16 << 10;
/// Read at a time where it goes to a pipe: what one that has room takes at once.
const PIPE_BUF: usize = 4 << 10;
/// Read at a time where it goes to a file, or nowhere.
const FILE_BUF: usize = 64 << 10;
/// After the command's end its output counts as read once nothing came or went for this long.
const IDLE: Duration = Duration::from_millis(100);
/// And at the latest after this long: somebody may go on to write.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// The end of what was written.
#[derive(Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..]);
        let over = self.bytes.len().saturating_sub(TAIL_BYTES_MAX);
        self.bytes.drain(..over);
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes).into()
    }
}

/// What is known of the output, for the report.
#[derive(Default)]
pub(super) struct Seen {
    /// The common end of both outputs.
    tail: Mutex<Tail>,
    /// The end of standard error alone: where a program says why it failed.
    errors: Mutex<Tail>,
    /// Why some of it could not be passed on: the first reason.
    lost: Mutex<Option<Errno>>,
    /// Writes that raised a signal in this process itself.
    pub(super) own_signals: AtomicU32,
}

impl Seen {
    pub(super) fn tail(&self) -> Vec<u8> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn errors(&self) -> Vec<u8> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn lost(&self) -> Option<Errno> {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, bytes: &[u8], is_error: bool) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        if is_error {
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        }
    }
}

/// One output of the command: where it comes from and where it goes to.
pub(super) struct Stream {
    pub(super) from: OwnedFd,
    /// `None` once nobody reads it any more.
    pub(super) to: Option<OwnedFd>,
    is_error: bool,
    is_file: bool,
    /// There is something to read.
    ready: bool,
    ended: bool,
}

impl Stream {
    pub(super) fn new(from: OwnedFd, to: OwnedFd, is_error: bool) -> Stream {
        let is_file = fstat(&to).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        Stream { from, to: Some(to), is_error, is_file, ready: false, ended: false }
    }

    /// What it waits for.
    fn waits(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.to {
            Some(to) if self.ready => (to.as_fd(), PollFlags::OUT),
            _ => (self.from.as_fd(), PollFlags::IN),
        }
    }

    /// What it waited for came.
    fn go_on(&mut self, came: PollFlags, seen: &Seen) {
        if self.ready && came.intersects(PollFlags::ERR | PollFlags::NVAL) {
            self.lose(Errno::PIPE, seen);
        }
        if self.ready || self.to.is_none() {
            self.ready = false;
            self.transfer(seen);
        } else {
            self.ready = true;
        }
    }

    fn transfer(&mut self, seen: &Seen) {
        let mut buffer = [0; FILE_BUF];
        let size = if self.is_file || self.to.is_none() { FILE_BUF } else { PIPE_BUF };
        match rustix::io::read(&self.from, &mut buffer[..size]) {
            Ok(n) if n > 0 => {
                seen.note(&buffer[..n], self.is_error);
                self.write(&buffer[..n], seen);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.ended = true,
        }
    }

    fn write(&mut self, mut rest: &[u8], seen: &Seen) {
        while let Some(to) = &self.to
            && !rest.is_empty()
        {
            match rustix::io::write(to, rest) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                // Somebody who shares it does not want to wait.
                Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(to, PollFlags::OUT)], None)),
                Err(why) => {
                    if matches!(why, Errno::PIPE | Errno::FBIG) {
                        seen.own_signals.fetch_add(1, Ordering::SeqCst);
                    }
                    return self.lose(why, seen);
                }
            }
        }
    }

    /// Drops what can't be written. A disk may get room again; a pipe gets no other reader.
    fn lose(&mut self, why: Errno, seen: &Seen) {
        seen.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        if why == Errno::PIPE {
            self.to = None;
        }
    }
}

/// Where the command's outputs go, and what is to be passed on.
pub(super) struct Outputs {
    pub(super) stdout: Stdio,
    pub(super) stderr: Stdio,
    pub(super) streams: Vec<Stream>,
}

impl Outputs {
    /// A terminal is the command's own, so that it behaves as it does there. Where both go to the same file or pipe,
    /// they are one, so that their order stays.
    pub(super) fn new() -> io::Result<Outputs> {
        let (out, err) = (io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?);
        let mut outputs = Outputs { stdout: Stdio::inherit(), stderr: Stdio::inherit(), streams: Vec::new() };
        let one = is_one(&out, &err);
        if !out.is_terminal() {
            let (from, into) = io::pipe()?;
            if one {
                outputs.stderr = into.try_clone()?.into();
            }
            outputs.stdout = into.into();
            outputs.streams.push(Stream::new(from.into(), out, false));
        }
        if !one && !err.is_terminal() {
            let (from, into) = io::pipe()?;
            outputs.stderr = into.into();
            outputs.streams.push(Stream::new(from.into(), err, true));
        }
        Ok(outputs)
    }
}

/// Whether two outputs are one file, pipe or socket.
fn is_one(a: &OwnedFd, b: &OwnedFd) -> bool {
    let (Ok(a), Ok(b)) = (fstat(a), fstat(b)) else { return false };
    // What goes to the null device has no order.
    let ordered = FileType::from_raw_mode(a.st_mode) != FileType::CharacterDevice;
    ordered && (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// Passes all on to its end; or, once `command` is closed because the command has ended, until nothing comes or
/// goes. Returns what is still open.
pub(super) fn pass_on(mut streams: Vec<Stream>, command: &OwnedFd, seen: &Arc<Seen>) -> Vec<Stream> {
    let mut ended: Option<Instant> = None;
    loop {
        streams.retain(|stream| !stream.ended);
        let over = ended.is_some_and(|at| at.elapsed() > IDLE_MAX);
        if streams.is_empty() || over {
            return streams;
        }
        let mut fds: Vec<PollFd<'_>> = streams.iter().map(|s| s.waits()).map(|(fd, on)| from_fd(fd, on)).collect();
        if ended.is_none() {
            fds.push(PollFd::new(command, PollFlags::IN));
        }
        let limit = Timespec::try_from(IDLE).ok().filter(|_| ended.is_some());
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) => return streams,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return streams,
        }
        let came: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        for (stream, came) in streams.iter_mut().zip(&came) {
            if !came.is_empty() {
                stream.go_on(*came, seen);
            }
        }
        if came.get(streams.len()).is_some_and(|came| !came.is_empty()) {
            ended = Some(Instant::now());
        }
    }
}

fn from_fd(fd: BorrowedFd<'_>, on: PollFlags) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, on)
}

/// Hands what is still open to a process of its own each, so that this one can end as the command did.
pub(super) fn hand_over(streams: Vec<Stream>) {
    let mut stay = Vec::new();
    for stream in streams {
        let Err(stream) = take_over(stream) else { continue };
        stay.push(stream);
    }
    if !stay.is_empty() {
        // Without anybody else to do it, this process stays: nothing that others wrote may be lost.
        to_the_end(stay);
    }
}

fn take_over(stream: Stream) -> Result<(), Stream> {
    use std::os::unix::process::CommandExt;
    let copies =
        stream.from.try_clone().and_then(|from| Ok((from, stream.to.as_ref().map(OwnedFd::try_clone).transpose()?)));
    let Ok((from, to)) = copies else { return Err(stream) };
    // The program itself, though its file may have been replaced meanwhile.
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg("pass-on").process_group(0).stdin(from).stdout(to.map_or_else(Stdio::null, Stdio::from));
    command.stderr(Stdio::null()).current_dir("/");
    command.spawn().map(drop).map_err(|_| stream)
}

/// Passes all on until nobody can write any more.
pub(super) fn to_the_end(streams: Vec<Stream>) {
    let Ok((open, _never_closed)) = io::pipe() else { return };
    pass_on(streams, &open.into(), &Arc::default());
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
        let bytes = tail.take();
        assert_eq!(bytes.len(), TAIL_BYTES_MAX);
        assert!(bytes.ends_with(b"line 19999\n"));
    }
}
