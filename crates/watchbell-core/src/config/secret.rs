//! Secrets by reference: what the config says about where one is found. Reading it is the shell's work. And what in a
//! file looks like one, so that no problem shows it: problems are told to people, logged and kept.

use super::source::holds_password;
use std::fmt;

/// Text that may be secret. Printing it in any way shows where it comes from, never what it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, without the line end.
    File(String),
    /// The value itself: for texts that need not be secret, and for old formats that write secrets into
    /// their files.
    Value(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "{{ env = {name:?} }}"),
            Secret::File(path) => write!(f, "{{ file = {path:?} }}"),
            Secret::Value(_) => f.write_str("***"),
        }
    }
}

/// Parts of keys whose values are likely to be secrets.
const SECRET_WORDS: &[&str] =
    &["token", "password", "passwd", "secret", "dsn", "bearer", "webhook", "authorization", "_key", "-key", "apikey"];

/// Whether the value of a key is likely to be a secret.
pub fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // `tokens` are hashes of them. `key` alone is mostly none; where it is, its reader knows.
    key != "tokens" && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Whether a line of a file of any format may hold a secret: behind a key (`token = …`, `"token": …`), behind a first
/// word that has no sign behind it (`token …`), or in an address.
pub(super) fn may_stand_in(line: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let mut rest = line;
    let (mut last, mut signs) = ("", false);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' => rest[1..].find(c).map_or(rest.len(), |n| n + 2),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length);
        if c == '=' || c == ':' {
            signs = true;
            if names_secret(last.trim_matches(['"', '\''])) {
                return true;
            }
        }
        if !c.is_whitespace() {
            last = piece;
        }
        rest = behind;
    }
    // What is indented continues something else, and a header has a name of its user's choice.
    let first = line.split(|c| !is_word(c)).next().unwrap_or_default();
    let address =
        line.split_once("://").map_or("", |(_, address)| address.split(['"', '\'']).next().unwrap_or_default());
    !signs && names_secret(first) || holds_password(address) || line.to_ascii_lowercase().contains("bearer ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_may_hold_a_secret() {
        for (line, expect) in [
            ("token = \"xoxb\"", true),
            ("\ttoken:xoxb", true),
            ("token xoxb", true),
            ("  token_age warning > 5", false),
            ("ops = { kind = \"slack\", \"token\" = \"xoxb\" }", true),
            ("{\"flakeName\": \"x\", \"API-Key\" : \"y\"}", true),
            ("key = 1", false),
            ("routing_key = \"R0\"", true),
            ("query = \"SELECT id AS key, token = 3\"", false),
            ("tokens = [{ name = \"a\", sha256 = \"b\" }]", false),
            ("[notify.webhook]", false),
            ("url = \"postgres://reader:hunter2@db/shop", true),
            ("url = \"postgres://reader@db/shop\" # a:b@c", false),
            ("x = { X = \"Bearer hunter2\" }", true),
            ("every = \"1m\"", false),
            ("", false),
        ] {
            assert_eq!(may_stand_in(line), expect, "{line}");
        }
    }
}
