//! Finds and reads what stands in config folders. What can't be read keeps what it had: a folder that nobody may
//! look into, or that went away with its mount, must not look as if its files had been removed.

use super::{
    config::{Folder, is_config, is_hidden},
    watch::Watch,
};
use std::{
    collections::BTreeSet,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use watchbell_core::config::{FILE_SIZE_MAX, InputFile};
use watchbell_io::shared::file;

/// Folders below the config folder are read down to this depth.
const DEPTH_MAX: usize = 32;
/// So many files are read.
const FILES_MAX: usize = 20_000;

/// One reading of all folders.
pub struct Walk<'a> {
    folder: &'a Folder,
    known: &'a [InputFile],
    watch: Option<&'a Watch>,
    files: Vec<InputFile>,
    /// Folders that were entered, by device and inode: links may lead in circles.
    entered: BTreeSet<(u64, u64)>,
    /// Folders that can't be read, and why.
    unread: Vec<(PathBuf, String)>,
    /// There are more files than are read.
    full: bool,
}

impl<'a> Walk<'a> {
    /// A reading that found nothing yet. `known` is what the last one found; every folder is watched before it is
    /// read, so that nothing happens unseen.
    pub fn new(folder: &'a Folder, known: &'a [InputFile], watch: Option<&'a Watch>) -> Walk<'a> {
        let (files, entered, unread) = (Vec::new(), BTreeSet::new(), Vec::new());
        Walk { folder, known, watch, files, entered, unread, full: false }
    }

    /// Reads a folder (or file) that the agent was told to read: one that is not there went missing.
    pub fn root(&mut self, path: &Path) {
        let meta = fs::metadata(path);
        if !meta.as_ref().is_ok_and(Metadata::is_dir)
            && let (Some(watch), Some(parent)) = (self.watch, path.parent())
        {
            watch.add(parent);
        }
        let absolute = path.display().to_string();
        match meta {
            Ok(meta) if meta.is_dir() => self.enter(path, &meta, 0),
            Ok(_) => self.file(path),
            Err(_) if self.known.iter().any(|file| file.absolute == absolute) => self.file(path),
            Err(error) => self.unread.push((path.to_owned(), error.to_string())),
        }
    }

    fn enter(&mut self, path: &Path, meta: &Metadata, depth: usize) {
        if !self.entered.insert((meta.dev(), meta.ino())) {
            return;
        }
        if depth > DEPTH_MAX {
            return self.unread.push((path.to_owned(), format!("it stands more than {DEPTH_MAX} folders deep")));
        }
        if let Some(watch) = self.watch {
            watch.add(path);
        }
        match list(path) {
            Ok(entries) => entries.into_iter().for_each(|entry| self.entry(&entry, depth)),
            // Removed this moment, by somebody who could write the folder above it.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unread.push((path.to_owned(), error.to_string())),
        }
    }

    fn entry(&mut self, entry: &Entry, depth: usize) {
        let path = &entry.path;
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.enter(path, &meta, depth + 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !entry.is_link => {}
            Err(error) if entry.is_folder || self.knows_below(path) => {
                self.unread.push((path.clone(), error.to_string()));
            }
            // What can't be read the loader tells of.
            Ok(_) | Err(_) if is_config(path) => self.file(path),
            Ok(_) | Err(_) => {}
        }
    }

    fn knows_below(&self, folder: &Path) -> bool {
        self.known.iter().any(|file| {
            let path = Path::new(&file.absolute);
            path.starts_with(folder) && path != folder
        })
    }

    /// Reads one file.
    pub fn file(&mut self, path: &Path) {
        if self.files.len() >= FILES_MAX {
            self.full = true;
            return;
        }
        let input = self.input(path, file::read(path, FILE_SIZE_MAX as u64));
        self.files.push(input);
    }

    fn input(&self, path: &Path, text: Result<String, String>) -> InputFile {
        let shown = path.strip_prefix(&self.folder.root).unwrap_or(path).display().to_string();
        InputFile { path: shown, absolute: path.display().to_string(), text }
    }

    /// What was found, in order of paths: with it what stood in folders that can't be read now.
    pub fn finish(mut self) -> Vec<InputFile> {
        if self.full {
            let why = format!("it and the folders of `conf` hold more than {FILES_MAX} config files");
            self.unread.push((self.folder.root.clone(), why));
        }
        let lost = |path: &Path| self.full || self.unread.iter().any(|(folder, _)| path.starts_with(folder));
        let found: BTreeSet<&str> = self.files.iter().map(|file| file.absolute.as_str()).collect();
        let kept = self.known.iter().filter(|file| {
            let is_folder = file.path.ends_with('/');
            !is_folder && lost(Path::new(&file.absolute)) && !found.contains(file.absolute.as_str())
        });
        let kept: Vec<InputFile> = kept.cloned().collect();
        for (folder, why) in std::mem::take(&mut self.unread) {
            let mut input = self.input(&folder, Err(why));
            if input.path.is_empty() {
                input.path.clone_from(&input.absolute);
            }
            input.path.push('/');
            input.absolute.push('/');
            self.files.push(input);
        }
        self.files.extend(kept);
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.files.dedup_by(|a, b| a.path == b.path);
        self.files
    }
}

/// What stands in a folder.
struct Entry {
    path: PathBuf,
    is_link: bool,
    is_folder: bool,
}

/// What stands in a folder, in order of names, links last: a folder counts under its own path, not a link's.
fn list(folder: &Path) -> io::Result<Vec<Entry>> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let kind = entry.file_type()?;
        Ok(Entry { path: entry.path(), is_link: kind.is_symlink(), is_folder: kind.is_dir() })
    };
    let mut entries = fs::read_dir(folder)?.map(entry).collect::<io::Result<Vec<_>>>()?;
    entries.retain(|entry| !is_hidden(&entry.path));
    entries.sort_by(|a, b| (a.is_link, &a.path).cmp(&(b.is_link, &b.path)));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder of a test's own, with files in it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, files: &[&str]) -> Scratch {
            let root = std::env::temp_dir().join(format!("watchbell-walk-{name}-{}", std::process::id()));
            let scratch = Scratch(root);
            files.iter().for_each(|file| scratch.write(file));
            scratch
        }

        fn write(&self, file: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }

        /// Reads `root` and the folders of `conf`.
        fn read(&self, conf: &[&str], known: &[InputFile]) -> Vec<InputFile> {
            let folder = Folder { root: self.0.join("base"), file: None };
            let conf: Vec<String> = conf.iter().map(|c| (*c).to_owned()).collect();
            folder.read(&conf, known, None)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Paths, each with why it can't be read.
    fn shown(files: &[InputFile]) -> Vec<(&str, Option<&str>)> {
        files.iter().map(|f| (f.path.as_str(), f.text.as_ref().err().map(String::as_str))).collect()
    }

    const GONE: Option<&str> = Some("No such file or directory (os error 2)");

    /// S3.12: what can't be read keeps what it had; a folder that was removed is removed.
    #[test]
    fn folders_that_go_away() {
        let scratch = Scratch::new("gone", &["base/a.toml", "base/sub/b.toml", "far/c.toml", "mount/d.toml"]);
        symlink("../mount", scratch.0.join("base/link")).unwrap();
        let all = scratch.read(&["../far"], &[]);
        assert_eq!(
            shown(&all),
            [("../far/c.toml", None), ("a.toml", None), ("link/d.toml", None), ("sub/b.toml", None)]
        );
        for folder in ["far", "mount", "base/sub"] {
            fs::rename(scratch.0.join(folder), scratch.0.join("aside")).unwrap();
            let now = scratch.read(&["../far"], &all);
            let texts = |files: &[InputFile]| files.iter().filter(|f| f.text.is_ok()).cloned().collect::<Vec<_>>();
            match folder {
                "far" => assert_eq!((shown(&now)[0], texts(&now)), (("../far/", GONE), all.clone())),
                "mount" => assert_eq!((shown(&now)[2], texts(&now)), (("link/", GONE), all.clone())),
                _ => assert_eq!(now, all[..3]),
            }
            fs::rename(scratch.0.join("aside"), scratch.0.join(folder)).unwrap();
            assert_eq!(scratch.read(&["../far"], &now), all, "{folder} is back");
        }
        fs::rename(scratch.0.join("base"), scratch.0.join("aside")).unwrap();
        let now = scratch.read(&[], &all[1..]);
        let root = format!("{}/base/", scratch.0.display());
        assert_eq!(shown(&now)[0], (root.as_str(), GONE));
        assert_eq!(now[1..], all[1..]);
    }

    /// A pipe or device with a config's name is a mistake, and nobody waits for it.
    #[test]
    fn what_is_no_file() {
        let scratch = Scratch::new("pipe", &["base/a.toml"]);
        let pipe = std::process::Command::new("mkfifo").arg(scratch.0.join("base/pipe.toml")).status();
        assert!(pipe.unwrap().success());
        symlink("/dev/zero", scratch.0.join("base/zero.toml")).unwrap();
        let found = scratch.read(&[], &[]);
        let why = Some("not a regular file");
        assert_eq!(shown(&found), [("a.toml", None), ("pipe.toml", why), ("zero.toml", why)]);
    }

    /// Links in a circle are followed once, and what stands too deep is told.
    #[test]
    fn circles_and_depth() {
        let deep = "d/".repeat(DEPTH_MAX);
        let scratch = Scratch::new("deep", &["base/a.toml", &format!("base/{deep}b.toml"), "base/z/c.toml"]);
        symlink(".", scratch.0.join("base/again")).unwrap();
        symlink("z", scratch.0.join("base/b")).unwrap();
        let found = scratch.read(&["."], &[]);
        let b = format!("{deep}b.toml");
        assert_eq!(shown(&found), [("a.toml", None), (b.as_str(), None), ("z/c.toml", None)]);
        scratch.write(&format!("base/{deep}e/f.toml"));
        let too_deep = format!("{deep}e/");
        let found = scratch.read(&[], &[]);
        let told: Vec<_> = shown(&found).into_iter().filter(|(_, why)| why.is_some()).collect();
        assert_eq!(told, [(too_deep.as_str(), Some("it stands more than 32 folders deep"))]);
    }

    /// Too many files are told, and those that were read before stay.
    #[test]
    fn too_many_files() {
        let scratch = Scratch::new("many", &["base/z.toml"]);
        let before = scratch.read(&[], &[]);
        let first = scratch.0.join("base/0.toml");
        fs::write(&first, "").unwrap();
        for n in 1..FILES_MAX {
            fs::hard_link(&first, scratch.0.join(format!("base/{n}.toml"))).unwrap();
        }
        let found = scratch.read(&[], &before);
        assert_eq!(found.len(), FILES_MAX + 2);
        assert_eq!(found[found.len() - 1], before[0]);
        assert!(found.iter().any(|f| f.path.ends_with("/base/") && f.text.is_err()));
    }
}
