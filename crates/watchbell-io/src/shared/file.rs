//! Files of text, read in one way wherever they come from: config, secrets, variables, scenarios, what waits in the queue. A
//! byte order mark is no part of the text, lines end in a line feed, and a file that is no text, too long or no file at
//! all is an error that says so. Nothing is waited for: a pipe or device with a file's name is refused.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Reads a text that has no more than so many bytes.
///
/// # Errors
/// Why it can't be read, without the path.
pub fn read(path: impl AsRef<Path>, bytes_max: u64) -> Result<String, String> {
    let file = open(path.as_ref()).map_err(|e| e.to_string())?.ok_or("not a regular file")?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(match bytes_max >> 20 {
            0 => format!("it is longer than {} KiB", bytes_max >> 10),
            mebibytes => format!("it is longer than {mebibytes} MiB"),
        });
    }
    text(bytes)
}

/// `None`: it is something else than a file.
fn open(path: &Path) -> io::Result<Option<File>> {
    // Opening a device may already do something.
    if !path.metadata()?.is_file() {
        return Ok(None);
    }
    // Should a pipe have come in its place meanwhile, nobody may ever write to it.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let is_file = file.metadata().as_ref().is_ok_and(Metadata::is_file);
    Ok(is_file.then_some(file))
}

/// Bytes as a text.
///
/// # Errors
/// They are none, and where.
pub fn text(mut bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let text = String::from_utf8(bytes).map_err(|wrong| {
        let (bytes, at) = (wrong.as_bytes(), wrong.utf8_error().valid_up_to());
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return "it is UTF-16, not UTF-8 text".to_owned();
        }
        let before = &bytes[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(column).chars().count() + 1;
        format!("it is not UTF-8 text (line {line}, column {column}: the byte {:#04x} is wrong)", bytes[at])
    })?;
    Ok(if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (bytes, expect) in [
            (&b"a\n"[..], Ok("a\n")),
            (b"\xef\xbb\xbfa\r\nb\r", Ok("a\nb\r")),
            (b"\xef\xbb\xbf\xef\xbb\xbf", Ok("\u{feff}")),
            (b"", Ok("")),
            (b"a\n\xc3\xa4\xe4", Err("it is not UTF-8 text (line 2, column 2: the byte 0xe4 is wrong)")),
            (b"\xef\xbb\xbf\xc3", Err("it is not UTF-8 text (line 1, column 1: the byte 0xc3 is wrong)")),
            (b"\xff\xfea\0", Err("it is UTF-16, not UTF-8 text")),
        ] {
            let found = text(bytes.to_vec());
            assert_eq!(found.as_deref().map_err(String::as_str), expect, "{bytes:?}");
        }
    }

    #[test]
    fn files() {
        let folder = std::env::temp_dir().join(format!("watchbell-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a");
        std::fs::write(&path, "\u{feff}0123").unwrap();
        assert_eq!(read(&path, 7), Ok("0123".to_owned()));
        assert_eq!(read(&path, 6), Err("it is longer than 0 KiB".to_owned()));
        for (path, why) in [("/dev/zero", "not a regular file"), ("/", "not a regular file"), ("/none", "No such file")]
        {
            let found = read(path, 10).unwrap_err();
            assert!(found.starts_with(why), "{path}: {found}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
