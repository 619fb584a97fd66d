//! Noticing that the config changed: inotify on its folders, asked only for what can change a config. Libraries
//! for this ask for every opening of every file too, and checks open files in these folders all the time.

use super::config::is_config;
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
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

/// Watches folders, those only that it is told of: whoever reads a folder adds it first.
pub struct Watch {
    fd: Arc<OwnedFd>,
    /// A folder could not be watched, and that was said.
    told: AtomicBool,
}

impl Watch {
    /// Sends a message whenever a config file or a folder in a watched folder may have changed, until nobody
    /// listens. A message that waits says the same as ten.
    ///
    /// # Errors
    /// The kernel does not watch; whoever calls reads the folders now and then instead.
    pub fn start(changed: mpsc::Sender<()>) -> std::io::Result<Watch> {
        let fd = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let watch = Watch { fd: fd.clone(), told: AtomicBool::new(false) };
        std::thread::Builder::new().name("watch".into()).spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
            let mut reader = Reader::new(&*fd, &mut buffer);
            while !changed.is_closed() {
                match reader.next() {
                    Ok(event) => {
                        let matters = ReadFlags::ISDIR.union(ReadFlags::QUEUE_OVERFLOW);
                        let name = event.file_name().map(|n| PathBuf::from(OsStr::from_bytes(n.to_bytes())));
                        if event.events().intersects(matters) || name.is_some_and(|n| is_config(&n)) {
                            let _ = changed.try_send(());
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => {
                        return tracing::warn!(%error, "the config is not watched any more; it is read once a minute");
                    }
                }
            }
        })?;
        Ok(watch)
    }

    /// Watches a folder. Watching one again changes nothing.
    pub fn add(&self, folder: &Path) {
        match inotify::add_watch(&*self.fd, folder, CHANGES) {
            // It went away meanwhile, or nobody may look into it: reading it says so.
            Ok(_) | Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR) => {}
            Err(error) if !self.told.swap(true, Relaxed) => {
                let folder = folder.display();
                tracing::warn!(%error, %folder, "a folder is not watched; the config is read once a minute");
            }
            Err(_) => {}
        }
    }
}
