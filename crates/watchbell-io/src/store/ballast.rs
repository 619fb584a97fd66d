//! Space kept back for the moment the disk is full: a file that is removed then, so that the fault "the disk
//! is full" can still be written down and told. It is made again when there is room.

use super::{FILE_MODE, StoreError};
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// How much space is kept back, in bytes.
pub const BALLAST_BYTES: u64 = 8 << 20;
/// The ballast is made when this many times its size is free, so that making it does not fill the disk.
const ROOM_FACTOR: u64 = 4;
/// How much is tried to find out whether a failed write means that the disk is full.
const PROBE_BYTES: u64 = 64 << 10;
/// Written at once where the file system can't reserve.
const CHUNK_BYTES: usize = 64 << 10;

/// The file that keeps space back.
#[derive(Debug)]
pub(super) struct Ballast {
    dir: PathBuf,
    bytes: u64,
    there: bool,
}

impl Ballast {
    /// Looks after the ballast in this folder; makes it if there is room.
    pub(super) fn new(dir: &Path, bytes: u64) -> Ballast {
        let mut ballast = Ballast { dir: dir.to_owned(), bytes, there: false };
        ballast.there = fs::metadata(ballast.path()).is_ok_and(|m| m.len() >= bytes);
        ballast.fill();
        ballast
    }

    /// Whether it is there.
    pub(super) fn there(&self) -> bool {
        self.there
    }

    /// Makes it if it is not there and there is room; whether it is there now.
    pub(super) fn fill(&mut self) -> bool {
        if !self.there && self.room() {
            self.there = reserve(&self.path(), self.bytes).is_ok();
        }
        self.there
    }

    /// Whether enough is free to make it, and more.
    pub(super) fn room(&self) -> bool {
        statvfs(&self.dir).is_ok_and(|v| v.f_bavail.saturating_mul(v.f_frsize) >= self.bytes * ROOM_FACTOR)
    }

    /// Gives the space back; whether there was any.
    pub(super) fn free(&mut self) -> bool {
        self.there && {
            self.there = false;
            fs::remove_file(self.path()).is_ok()
        }
    }

    /// Whether an error means that the disk (or the user's quota) is full: not every failed write says so.
    pub(super) fn means_full(&self, error: &StoreError) -> bool {
        match error {
            StoreError::DiskFull { .. } => true,
            StoreError::Disk { .. } | StoreError::Other { .. } => self.disk_is_full(),
            _ => false,
        }
    }

    fn disk_is_full(&self) -> bool {
        let path = self.dir.join("ballast.probe");
        let result = reserve(&path, PROBE_BYTES);
        let _ = fs::remove_file(&path);
        result.is_err_and(|e| matches!(StoreError::io(String::new(), &path, &e), StoreError::DiskFull { .. }))
    }

    fn path(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

/// Makes a file that really takes this much space, or none.
fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let result = try_reserve(path, bytes);
    if result.is_err() {
        let _ = fs::remove_file(path);
    }
    result
}

fn try_reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    if bytes == 0 {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        other => return other.map_err(Into::into),
    }
    // Not zeros: a file system that compresses would keep no space for them.
    let (mut chunk, mut noise) = (vec![0_u8; CHUNK_BYTES], 0x9e37_79b9_7f4a_7c15_u64);
    let mut left = bytes;
    while left > 0 {
        for byte in &mut chunk {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (noise >> 56) as u8;
        }
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        file.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    file.sync_all()
}
