//! Secrets and addresses in texts for people: what was put into a [`Mask`] shows in none, and an address without its path.

use std::fmt;
use watchbell_core::wire::text::one_line;

/// At most this much of what a receiver said goes into a reason or receipt.
pub const QUOTE_MAX_CHARS: usize = 300;
/// Parts of an address shorter than this are words, not secrets.
const SECRET_PART_MIN_CHARS: usize = 6;
/// What stands where a secret was.
pub const MASKED: &str = "***";

/// Secrets of one delivery or question, to be kept out of every text that comes of it.
#[derive(Default)]
pub struct Mask(Vec<String>);

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} secrets)", self.0.len())
    }
}

impl Mask {
    /// Takes a secret in, and the ways in which JSON, an address and a header would write it.
    pub fn add(&mut self, secret: &str) {
        let json = serde_json::to_string(secret).unwrap_or_default();
        let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for text in [secret, secret.trim(), json.trim_matches('"'), &form, &form.replace('+', "%20")] {
            if !text.is_empty() && !self.0.iter().any(|known| known == text) {
                self.0.push(text.to_owned());
            }
        }
        // The longest first, so that no part of a longer one is left over.
        self.0.sort_by_key(|s| std::cmp::Reverse(s.len()));
    }

    /// Takes an address in: all of it, its path, and each part that may be a secret.
    pub fn add_url(&mut self, url: &str) {
        self.add(url);
        let Ok(url) = url::Url::parse(url) else { return };
        let mut parts: Vec<&str> = url.path_segments().into_iter().flatten().collect();
        parts.extend([url.path(), url.query().unwrap_or_default(), url.password().unwrap_or_default(), url.username()]);
        let values: Vec<String> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
        for part in parts.into_iter().chain(values.iter().map(String::as_str)) {
            if part.chars().count() >= SECRET_PART_MIN_CHARS {
                self.add(part);
            }
        }
    }

    /// The text with every secret replaced.
    pub fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASKED))
    }

    /// What a receiver said, as one line that is safe to show.
    pub fn quote(&self, text: &str) -> String {
        let line = one_line(&self.clean(text));
        if line.chars().nth(QUOTE_MAX_CHARS).is_none() {
            return line;
        }
        line.chars().take(QUOTE_MAX_CHARS - 1).chain(['…']).collect()
    }
}

/// An address without what may be secret in it: `https://hooks.example.com`.
pub fn place(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(url) => match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
            (Some(host), None) => format!("{}://{host}", url.scheme()),
            (None, _) => MASKED.to_owned(),
        },
        Err(_) => MASKED.to_owned(),
    }
}

/// What is wrong with a base address, if anything.
pub fn url_problem(text: &str) -> Option<String> {
    match url::Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            Some(format!("it must begin with https:// or http://, not {}://", url.scheme()))
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => Some("it names no host".to_owned()),
        Ok(_) => None,
        Err(e) => Some(e.to_string()),
    }
}
