//! The program's code in memory. A start runs through most of it once (command line, config, databases, TLS), the
//! work after it through a small part; each page that was run counts as the agent's for as long as nobody else needs
//! the memory. So once it is ready the agent lets go of all, and what it goes on running comes back from the page
//! cache within microseconds. Measured with a hundred checks: 8 MB in place of 11.

use rustix::mm::{Advice, madvise};
use std::{ffi::c_void, fs, io, ops::Range};

/// Lets go of the pages of the program's code. Where that can't be done, they stay.
pub fn let_go() {
    if let Err(error) = code().and_then(|code| code.map_or(Ok(()), forget)) {
        tracing::debug!(%error, "the pages of code that only the start needed stay in memory");
    }
}

/// Where the code of this program is mapped.
fn code() -> io::Result<Option<Range<usize>>> {
    let program = fs::read_link("/proc/self/exe")?;
    Ok(code_in(&fs::read_to_string("/proc/self/maps")?, &program.to_string_lossy()))
}

/// The mapping of a file that can be executed and not written; the line's form is that of proc_pid_maps(5).
fn code_in(maps: &str, program: &str) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(" r-xp ")?;
        // Offset, device and inode come before the path, which may have blanks.
        let path = rest.splitn(4, ' ').nth(3)?.trim_start();
        let (from, to) = range.split_once('-').filter(|_| path == program)?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(from)?..address(to)?)
    })
}

fn forget(code: Range<usize>) -> io::Result<()> {
    let start = code.start as *mut c_void;
    // SAFETY: the range is one whole mapping of our own, private, of a file, without the right to write. None of its
    // pages was ever written to (the linker puts what needs relocating into other segments, and nothing here gives
    // itself the right), so each is a page of the file, which can't be written while it is executed (ETXTBSY), and
    // which the kernel may drop and read again at any time anyhow. madvise(2): the next access to a page that was let
    // go of reads it from that file, for any thread, this call's own return included; so none sees other bytes.
    unsafe { madvise(start, code.len(), Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55bce0a00000-55bce0e6a000 r--p 00000000 fe:00 5466820                    /opt/my bell/watchbell
55bce0e6a000-55bce1ee4000 r-xp 0046a000 fe:00 5466820                    /opt/my bell/watchbell
55bce1ee4000-55bce1f5b000 r--p 014e3000 fe:00 5466820                    /opt/my bell/watchbell
55bce1f5b000-55bce1f66000 rw-p 0155a000 fe:00 5466820                    /opt/my bell/watchbell
7fa4b0000000-7fa4b0001000 r-xp 00000000 00:00 0 
7fa4b0ae0000-7fa4b0c36000 r-xp 00026000 fe:00 326279                     /usr/lib/libc.so.6
7ffd3a5e2000-7ffd3a5e4000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn finds_the_code() {
        let cases = [
            ("/opt/my bell/watchbell", Some(0x55bce0e6a000..0x55bce1ee4000)),
            ("/usr/lib/libc.so.6", Some(0x7fa4b0ae0000..0x7fa4b0c36000)),
            ("/opt/my", None),
            ("bell/watchbell", None),
        ];
        for (program, expect) in cases {
            assert_eq!(code_in(MAPS, program), expect, "{program}");
        }
        assert_eq!(code_in("no map\nff-fe r-xp\nx-y r-xp 0 0 0 /p", "/p"), None);
    }

    /// What is let go of comes back: this very function goes on, beside the other tests' threads.
    #[test]
    fn goes_on_without_its_pages() {
        let code = code().unwrap().expect("a program has code");
        assert!(code.contains(&(goes_on_without_its_pages as fn() as usize)), "it is ours");
        for _ in 0..100 {
            forget(code.clone()).unwrap();
        }
    }
}
