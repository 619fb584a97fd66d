//! Noticing that the config changed: inotify on its folders, asked only for what can change a config. Libraries
//! for this ask for every opening of every file too, and checks open files in these folders all the time.

use super::config::{is_config, subfolders};
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::mpsc;

/// A file written and closed, moved, removed, or made readable; a folder made or removed.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);
/// Room for the events of one read.
const BUFFER_BYTES: usize = 16 << 10;

/// Sends a message whenever a config file below these folders may have changed, until nobody listens. A message
/// that waits says the same as ten.
///
/// # Errors
/// The kernel does not watch; whoever calls reads the folders now and then instead.
pub fn watch(roots: Vec<PathBuf>, changed: mpsc::Sender<()>) -> std::io::Result<()> {
    let fd = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
    add_all(&fd, &roots)?;
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&*fd, &mut buffer);
        while !changed.is_closed() {
            let (folder, file) = match reader.next() {
                Ok(event) => {
                    let flags = event.events();
                    let lost = flags.contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(|n| PathBuf::from(OsStr::from_bytes(n.to_bytes())));
                    (flags.contains(ReadFlags::ISDIR) || lost, lost || name.is_some_and(|n| is_config(&n)))
                }
                Err(Errno::INTR) => continue,
                Err(error) => {
                    return tracing::warn!(%error, "the config is not watched any more; it is read once a minute");
                }
            };
            if folder && let Err(error) = add_all(&fd, &roots) {
                tracing::warn!(%error, "a new folder is not watched; the config is read once a minute");
            }
            if folder || file {
                let _ = changed.try_send(());
            }
        }
    })?;
    Ok(())
}

/// Watches every folder there is now. Watching one again changes nothing.
fn add_all(fd: &OwnedFd, roots: &[PathBuf]) -> std::io::Result<()> {
    for root in roots {
        for folder in subfolders(root) {
            match inotify::add_watch(fd, &folder, CHANGES) {
                // It went away meanwhile, or nobody may look into it: reading it says so.
                Ok(_) | Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
