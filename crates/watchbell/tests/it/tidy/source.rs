//! Reads the repository for the tidy tests: its files, and Rust source with comments, texts and tests blanked
//! out. Blanking keeps every line where it was.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// The repository's top folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the crate stands in a workspace")
}

/// All files below a folder of the repository, as paths from its top; in order.
pub fn files(below: &str) -> Vec<String> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if path.is_file() {
                let shown = path.strip_prefix(&root).unwrap_or(&path);
                found.push(shown.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file of the repository; what is not UTF-8 is replaced.
pub fn read(path: &str) -> String {
    let bytes = fs::read(root().join(path)).unwrap_or_else(|e| panic!("can't read {path}: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A Rust file.
pub struct Source {
    /// From the repository's top.
    pub path: String,
    /// As it is.
    pub text: String,
    /// With comments, texts and, outside of test files, tests blanked out.
    pub code: String,
    /// It is only compiled for tests or benchmarks.
    pub is_test: bool,
}

impl Source {
    /// Every place where a text stands in the code, as `path:line: the line`.
    pub fn places(&self, text: &str) -> Vec<String> {
        let lines = self.text.lines().collect::<Vec<_>>();
        let hit = |(i, line): (usize, &str)| {
            line.contains(text).then(|| format!("{}:{}: {}", self.path, i + 1, lines[i].trim()))
        };
        self.code.lines().enumerate().filter_map(hit).collect()
    }
}

/// All Rust files of the workspace.
pub fn sources() -> Vec<Source> {
    let paths: Vec<String> = files("crates").into_iter().filter(|p| p.ends_with(".rs")).collect();
    let tests = test_files(&paths);
    let source = |path: String| {
        let text = read(&path);
        let blank = blank(&text);
        let is_test = tests.contains(&path);
        let code = if is_test { blank } else { without_tests(&blank) };
        Source { path, text, code, is_test }
    };
    paths.into_iter().map(source).collect()
}

/// Files in `tests/`, `benches/`, `examples/`, and modules that are declared under `#[cfg(test)]`.
fn test_files(paths: &[String]) -> BTreeSet<String> {
    let mut tests: BTreeSet<String> = paths
        .iter()
        .filter(|p| {
            ["/tests/", "/benches/", "/examples/"].iter().any(|folder| p.contains(folder) && !p.contains("/src/"))
        })
        .cloned()
        .collect();
    for path in paths {
        let text = read(path);
        let stem = path.trim_end_matches(".rs");
        let folder = stem.trim_end_matches("/mod").trim_end_matches("/lib").trim_end_matches("/main");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (i, line) in lines.iter().enumerate() {
            let declared = line.strip_suffix(';').and_then(|l| l.rsplit_once("mod ")).map(|(_, name)| name);
            let before = lines[..i].iter().rev().take_while(|l| l.starts_with("#[") || l.starts_with("//"));
            if let Some(name) = declared.filter(|_| before.clone().any(|l| *l == "#[cfg(test)]")) {
                let module = format!("{folder}/{name}");
                let below = format!("{module}/");
                tests.extend(paths.iter().filter(|p| **p == format!("{module}.rs") || p.starts_with(&below)).cloned());
            }
        }
    }
    tests
}

/// Blanks out comments, texts and characters: what is left is code.
pub fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out: String = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = token_end(&chars, i);
        if end > i {
            out.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            i = end;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// The end of the comment, text or character that begins at `at`; `at` itself if none does.
fn token_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let starts = |s: &str| s.chars().zip(rest.iter().copied()).filter(|(a, b)| a == b).count() == s.len();
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts("//") {
        return rest.iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n);
    }
    if starts("/*") {
        let end = (at + 2..chars.len()).find(|i| chars[*i] == '/' && chars[*i - 1] == '*' && *i > at + 2);
        return end.map_or(chars.len(), |i| i + 1);
    }
    if rest[0] == 'r' && !word_before {
        let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
        if rest.get(1 + hashes) == Some(&'"') {
            return raw_end(chars, at + 2 + hashes, hashes);
        }
    }
    if rest[0] == '"' {
        return quoted_end(chars, at + 1, '"');
    }
    let is_char = rest[0] == '\'' && (rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\''));
    if is_char { quoted_end(chars, at + 1, '\'') } else { at }
}

fn raw_end(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    chars.len()
}

fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Blanks out what stands behind `#[cfg(test)]` in code whose comments and texts are blank already.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let after = at + "#[cfg(test)]".len();
        let open = out[after..].find(['{', ';']).map_or(out.len(), |n| after + n);
        let end = if out[open..].starts_with('{') { closing(&out, open) + 1 } else { open + 1 };
        let end = end.min(out.len());
        let blank: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &blank);
    }
    out
}

/// Where the brace that opens at `open` is closed.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + i;
        }
    }
    code.len()
}

/// Functions: name, line and how many lines they take, signature and braces included.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let word_before = code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(stop) = code[at..].find(['{', ';']).map(|n| at + n) else { continue };
        if word_before || name.is_empty() || code[stop..].starts_with(';') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let end = closing(code, stop).min(code.len() - 1);
        let lines = code[at..=end].lines().count();
        found.push((name, line, lines));
    }
    found
}

#[test]
fn blanking_leaves_code_only() {
    let cases = [
        ("let a = \"x // y\"; // z\nb", "let a =         ;     \nb"),
        ("r#\"a\"b\"# c", "         c"),
        ("'a' 'b: &'b str", "    'b: &'b str"),
        ("'\\'' + '\"' x", "     +     x"),
        ("/* a\n */ b", "    \n    b"),
    ];
    for (text, expect) in cases {
        assert_eq!(blank(text), expect, "{text}");
    }
    let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {\n}\n";
    assert_eq!(without_tests(code).split_whitespace().collect::<Vec<_>>(), ["fn", "a()", "{}", "fn", "c()", "{", "}"]);
    assert_eq!(functions(code), [("a".into(), 1, 1), ("b".into(), 4, 1), ("c".into(), 6, 2)]);
}
