//! Secrets and addresses in texts for people: what was put into a [`Mask`] shows in none, and an address without its path.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use std::fmt;
use watchbell_core::{
    config::names_secret,
    model::Outcome,
    wire::text::{CUT, clean, one_line},
};

/// At most this much of what a receiver said goes into a reason or receipt.
pub const QUOTE_MAX_CHARS: usize = 300;
/// A secret shorter than this is not masked: too many words would hold it, and it keeps nobody out.
pub const SECRET_CHARS_MIN: usize = 4;
/// Parts of an address shorter than this are words, not secrets.
const SECRET_PART_MIN_CHARS: usize = 6;
/// So much of a secret's beginning is masked where a text was cut within it.
const CUT_CHARS_MIN: usize = 4;
/// The same at the end of a text that may have been cut: anybody's last word can begin like a secret.
const END_CHARS_MIN: usize = 8;
/// A part of a Base64 text shorter than this may stand in any text.
const BASE64_CHARS_MIN: usize = 5;
/// What stands where a secret was.
pub const MASKED: &str = "***";

/// Secrets of one run, delivery or question, to be kept out of every text that comes of it.
#[derive(Default)]
pub struct Mask {
    /// What must not show, the longest first, so that no part of a longer one is left over.
    hidden: Vec<String>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} texts)", self.hidden.len())
    }
}

impl Mask {
    /// Takes a secret in, and the ways in which JSON, an address, a page, a header or our own cleaning would write it.
    pub fn add(&mut self, secret: &str) {
        let mut forms = written(secret);
        forms.retain(|form| form.chars().count() >= SECRET_CHARS_MIN);
        if !forms.is_empty() {
            forms.extend(in_base64(secret));
        }
        self.hidden.append(&mut forms);
        self.hidden.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.hidden.dedup();
    }

    /// Takes an address in that is a secret: all of it, its path, and each part that may be one of its own.
    pub fn add_url(&mut self, url: &str) {
        self.add(url);
        let Ok(url) = url::Url::parse(url) else { return };
        self.add_login(&url);
        let mut parts: Vec<&str> = url.path_segments().into_iter().flatten().collect();
        parts.extend([url.path(), url.query().unwrap_or_default()]);
        let values: Vec<String> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
        for part in parts.into_iter().chain(values.iter().map(String::as_str)) {
            if part.chars().count() >= SECRET_PART_MIN_CHARS {
                self.add(part);
            }
        }
    }

    /// Takes in what an address that everybody may see holds of secrets: its password, and what its query calls one.
    pub fn add_login(&mut self, url: &url::Url) {
        let password = url.password().unwrap_or_default();
        self.add(password);
        self.add(&percent_encoding::percent_decode_str(password).decode_utf8_lossy());
        for (name, value) in url.query_pairs() {
            if names_secret(&name) || SECRET_PARAMETERS.contains(&&*name) {
                self.add(&value);
            }
        }
    }

    /// The text with every secret replaced, also where the text was cut within one.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for hidden in &self.hidden {
            if text.contains(hidden.as_str()) {
                text = text.replace(hidden.as_str(), MASKED);
            }
        }
        for hidden in &self.hidden {
            for cut in [CUT, "…"] {
                text = without_begun(text, hidden, cut);
            }
            if let Some(end) = begun(&text, hidden, END_CHARS_MIN) {
                text.replace_range(end.., MASKED);
            }
        }
        text
    }

    /// Masks what is for people in what a run brought, and the names that it gave. Numbers stay: they were asked for.
    pub fn outcome(&self, mut outcome: Outcome) -> Outcome {
        if self.hidden.is_empty() {
            return outcome;
        }
        let Outcome { findings, metrics, summary, output, source, .. } = &mut outcome;
        let mut texts = vec![summary, output];
        for finding in findings {
            texts.extend([&mut finding.message, &mut finding.detail]);
            texts.extend(&mut finding.part);
        }
        for metric in metrics {
            texts.push(&mut metric.name);
            texts.extend(&mut metric.unit);
        }
        texts.extend(source.iter_mut().filter_map(|source| source.problem.as_mut()));
        for text in texts {
            *text = self.clean(text);
        }
        outcome
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

/// Parameters of an address that are secrets, besides those that [`names_secret`] knows.
const SECRET_PARAMETERS: [&str; 6] = ["key", "sig", "signature", "auth", "pass", "pw"];

/// The ways in which a secret is written.
fn written(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), secret.trim().to_owned(), one_line(secret), clean(secret.as_bytes())];
    forms.extend(secret.lines().map(|line| line.trim().to_owned()));
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default();
    forms.extend([json.to_owned(), json.replace('/', "\\/"), in_ascii(json)]);
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let percent = form.replace('+', "%20");
    forms.extend([small_percent(&form), small_percent(&percent), percent.replace("%2F", "/"), form, percent]);
    let page = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    forms.extend([page.replace('"', "&quot;").replace('\'', "&#39;"), page.replace('"', "&#34;"), page]);
    forms
}

/// JSON as programs write it that keep to ASCII.
fn in_ascii(json: &str) -> String {
    let mut units = [0; 2];
    json.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
        out
    })
}

/// Percent-encoded bytes with small digits.
fn small_percent(text: &str) -> String {
    let mut digits = 0_u8;
    let small = |c: char| {
        let is_digit = digits > 0;
        digits = if c == '%' { 2 } else { digits.saturating_sub(1) };
        if is_digit { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(small).collect()
}

/// What is in every Base64 text that holds the secret, whatever stands before and behind it: three alignments, in both
/// alphabets.
fn in_base64(secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let text = BASE64_STANDARD_NO_PAD.encode(&bytes);
        // Without the signs that the bytes before it change, and the last one where bytes behind it do.
        let own = text.get((before * 8).div_ceil(6)..bytes.len() * 8 / 6).unwrap_or_default();
        if own.len() >= BASE64_CHARS_MIN {
            found.extend([own.to_owned(), own.replace('/', "\\/"), own.replace('+', "-").replace('/', "_")]);
        }
    }
    found
}

/// Where the text's end is the beginning of a secret, at least `min` characters of it.
fn begun(text: &str, secret: &str, min: usize) -> Option<usize> {
    let longest = (secret.len() - 1).min(text.len());
    let mut starts = (min..=longest).rev().map(|n| text.len() - n).filter(|at| text.is_char_boundary(*at));
    starts.find(|at| secret.starts_with(&text[*at..]) && text[*at..].chars().count() >= min)
}

/// The text without what was left of a secret before each cut.
fn without_begun(text: String, secret: &str, cut: &str) -> String {
    if !text.contains(cut) {
        return text;
    }
    let mut parts: Vec<&str> = text.split(cut).collect();
    let last = parts.pop().unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    for part in parts {
        match begun(part, secret, CUT_CHARS_MIN) {
            Some(end) => out.extend([&part[..end], MASKED, cut]),
            None => out.extend([part, cut]),
        }
    }
    out + last
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};

    /// However a server or a program writes a secret, it does not show.
    #[test]
    fn no_way_of_writing_shows_a_secret() {
        for secret in ["s3cret-token", "p/a+s&s w\"ord", "größe→42", "abcd", "two\nlines of secret", "??>>~~ü"] {
            let mut mask = Mask::default();
            mask.add(secret);
            let json = serde_json::to_string(secret).unwrap();
            let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let ways = [
                secret.to_owned(),
                json.trim_matches('"').to_owned(),
                json.replace('/', "\\/").trim_matches('"').to_owned(),
                form.clone(),
                form.replace('+', "%20").replace("%2F", "%2f").replace("%2B", "%2b"),
                form.replace('+', "%20").replace("%2F", "/"),
                one_line(secret),
            ];
            for way in ways {
                let shown = mask.clean(&format!("it said {way} to me"));
                assert_eq!(shown, "it said *** to me", "{secret:?} as {way:?}");
            }
            for before in ["", "u", "us", "user:", "Bearer ", "someone:"] {
                let text = format!("{before}{secret};rest");
                for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE.encode(&text)] {
                    let shown = mask.clean(&format!("Basic {encoded}"));
                    assert!(shown.contains(MASKED) || secret.len() < 6, "{secret:?} behind {before:?}: {shown}");
                }
            }
        }
    }

    /// Texts are cut before they are masked: what is left of a secret there goes too, and a short one stays.
    #[test]
    fn short_ones_stay_and_cut_ones_go() {
        let mut mask = Mask::default();
        for short in ["", "a", "ab", "abc"] {
            mask.add(short);
        }
        assert_eq!(mask.clean("a cab, an abc"), "a cab, an abc");
        mask.add("hunter2hunter2");
        mask.add("ünïcödeünïcöde");
        for (text, expect) in [
            ("the password is hunter2hu ...", "the password is *** ..."),
            ("hunte… and so on", "***… and so on"),
            ("`hunter2h ...` is no number, nor is hunte", "`*** ...` is no number, nor is hunte"),
            ("cut without a mark: hunter2hunt", "cut without a mark: ***"),
            ("ünïcöd ...", "*** ..."),
            ("ünïcödeün", "***"),
            ("a hunt", "a hunt"),
            ("hun ...", "hun ..."),
            ("hunter2hunter2hunter2hunter2", "******"),
            ("", ""),
        ] {
            assert_eq!(mask.clean(text), expect, "{text}");
        }
    }

    /// What everybody may see of an address stays, its password and keys do not; of one that is a secret nothing stays.
    #[test]
    fn addresses() {
        let url = "https://monitor:p%40ssword@example.com/status?view=everything&api_key=0123456789&sig=abcdef";
        let text = "monitor p@ssword p%40ssword example.com status everything 0123456789 abcdef";
        let mut mask = Mask::default();
        mask.add_login(&url::Url::parse(url).unwrap());
        assert_eq!(mask.clean(text), "monitor *** *** example.com status everything *** ***");
        mask.add_url(url);
        assert_eq!(mask.clean(text), "monitor *** *** example.com *** *** *** ***");
        assert_eq!(mask.clean(url), "***");
    }
}
