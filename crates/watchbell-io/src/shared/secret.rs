//! Reading secrets where the config says they are, and keeping those of a run out of what comes of it.
//!
//! Whatever a check reads while it runs goes through [`read`], so no kind of check can forget to mask one. What stands in
//! the config as plain text is no secret, unless it is used as one: see [`hide`].

use super::{file, mask::Mask};
use std::{
    cell::RefCell,
    env::{self, VarError},
};
use watchbell_core::{config::Secret, model::Outcome};

/// A secret's file may be this long, in bytes.
pub const SECRET_BYTES_MAX: u64 = 1 << 20;

tokio::task_local! {
    /// What the run that this task is has read.
    static MASK: RefCell<Mask>;
}

/// Runs a check, and masks every secret that was read meanwhile in what it brought.
pub async fn masked(run: impl Future<Output = Outcome>) -> Outcome {
    let run = async {
        let outcome = run.await;
        MASK.with(|mask| mask.borrow().outcome(outcome))
    };
    MASK.scope(RefCell::default(), run).await
}

/// Has the run that this task is mask a secret that was not read by [`read`]. Where no run is under way, nothing is
/// kept: whoever tells or asks outside one has a [`Mask`] of its own.
pub fn hide(secret: &str) {
    hide_with(|mask| if secret.contains("://") { mask.add_url(secret) } else { mask.add(secret) });
}

/// [`hide`] for more than one text.
pub fn hide_with(add: impl FnOnce(&mut Mask)) {
    // The error says that no run is under way.
    let _ = MASK.try_with(|mask| add(&mut mask.borrow_mut()));
}

/// Reads a secret. An empty one is none: whoever sent it would be refused without a word on why.
///
/// # Errors
/// What is missing and where it was looked for; never the secret.
pub fn read(secret: &Secret) -> Result<String, String> {
    let text = match secret {
        Secret::Value(text) => return Ok(text.clone()),
        Secret::Env(name) => match env::var(name) {
            Ok(text) => bare(&text).ok_or_else(|| format!("the environment variable `{name}` is empty"))?,
            Err(VarError::NotPresent) => return Err(format!("the environment variable `{name}` is not set")),
            Err(VarError::NotUnicode(_)) => return Err(format!("the environment variable `{name}` is not UTF-8 text")),
        },
        Secret::File(path) => {
            let text =
                file::read(path, SECRET_BYTES_MAX).map_err(|e| format!("can't read the secret in `{path}`: {e}"))?;
            bare(&text).ok_or_else(|| format!("the secret in `{path}` is empty"))?
        }
    };
    hide(&text);
    Ok(text)
}

/// What is written without a mark at its begin and line ends at its end; `None` if that is nothing.
fn bare(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    (!text.trim().is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let folder = std::env::temp_dir().join(format!("watchbell-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("token").display().to_string();
        for (text, expect) in [
            (&b"xoxb"[..], Some("xoxb")),
            (b"\xef\xbb\xbfxoxb\r\n", Some("xoxb")),
            (b" a b \n\n", Some(" a b ")),
            (b"a\r\nb\n", Some("a\nb")),
            (b"", None),
            (b"\n", None),
            (b"\xef\xbb\xbf\r\n", None),
            (b"xoxb\xe4", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = read(&Secret::File(path.clone()));
            assert_eq!(found.as_deref().ok(), expect, "{text:?}");
            assert!(!found.is_err_and(|why| why.contains("xoxb") || !why.contains(&path)), "{text:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
        for (text, expect) in [("\u{feff}xoxb\n", Some("xoxb")), ("", None), ("\u{feff}\n", None), (" ", None)] {
            assert_eq!(bare(text).as_deref(), expect, "{text:?}");
        }
        let missing = read(&Secret::Env("WATCHBELL_TEST_NO_SUCH_VARIABLE".into())).unwrap_err();
        assert_eq!(missing, "the environment variable `WATCHBELL_TEST_NO_SUCH_VARIABLE` is not set");
        assert_eq!(read(&Secret::Value(String::new())).as_deref(), Ok(""));
    }
}
