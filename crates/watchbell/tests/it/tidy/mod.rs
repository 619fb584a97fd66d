//! Tidy: the invariants of `ARCHITECTURE.md` and the style of `CONTRIBUTING.md`, as tests over the repository's
//! own text. Each failure lists every place, and what to write instead.

mod docs;
mod limits;
mod source;

use source::{Source, functions, read, sources};

/// A function that is longer than this does not fit a screen.
const FUNCTION_LINES_MAX: usize = 60;

/// Functions that may be longer, and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// What the core must not use, and what it does instead.
const CORE_BANS: &[(&str, &str)] = &[
    ("Instant", "time comes in as an argument: `now: Timestamp`"),
    ("SystemTime", "time comes in as an argument: `now: Timestamp`"),
    ("Timestamp::now", "time comes in as an argument: `now: Timestamp`"),
    ("Zoned::now", "time comes in as an argument: `now: Timestamp`"),
    ("TimeZone::system", "the machine's zone comes in by `LoadOptions`"),
    ("HashMap", "use `BTreeMap`: its order is the same in every run"),
    ("HashSet", "use `BTreeSet`: its order is the same in every run"),
    ("RandomState", "use `FixedState`: its seed is the same in every run"),
    ("std::fs", "files arrive as text"),
    ("std::io", "nothing is read or written here"),
    ("std::env", "nothing of the surroundings is read here"),
    ("std::process", "commands are the shell's"),
    ("std::thread", "the core has no threads"),
    ("std::sync::Mutex", "the core has no threads"),
    ("TcpStream", "the core does no I/O"),
    ("UdpSocket", "the core does no I/O"),
    ("ToSocketAddrs", "the core asks no name server"),
    ("tokio", "the core does no I/O"),
    ("tracing", "what is worth saying is an event or a decision"),
];

/// What may stand in no code that runs, where it may all the same, and what to write instead.
const BANS: &[(&str, &[&str], &str)] = &[
    (".unwrap()", &[], "handle it, or make it impossible by type"),
    (".expect(", &[], "handle it, or make it impossible by type"),
    ("todo!", &[], "finish it"),
    ("unimplemented!", &[], "finish it"),
    ("dbg!", &[], "remove it"),
    ("unsafe ", &["crates/watchbell/src/run/code.rs"], "rustix has it without, or a library that proves it"),
    ("pre_exec", &[], "it makes the standard library fork; see `shared/process/mod.rs`"),
    ("std::process::exit", &[], "return an `ExitCode` from `main`, so that everything is dropped in order"),
    (
        "SystemTime::now",
        &[
            "crates/watchbell/src/run/clock.rs",
            // A receiver checks when a request was signed.
            "crates/watchbell-io/src/notify/webhook.rs",
            // A `Retry-After` that is a date counts from now.
            "crates/watchbell-io/src/notify/http_retry.rs",
            // A certificate is judged by today.
            "crates/watchbell-io/src/source/tls.rs",
            "crates/watchbell-io/src/shared/tls.rs",
        ],
        "use `run::clock::now()`; time limits use `Instant`",
    ),
    ("println!", &["crates/watchbell/src/cli/"], "standard output is for a command's data; log with `tracing`"),
    ("serde_json::from_slice", JSON_OF_OURS, "what others sent is read by `shared/json.rs`"),
    ("serde_json::from_str", JSON_OF_OURS, "what others sent is read by `shared/json.rs`"),
    (
        "Command::new",
        &["crates/watchbell-io/src/", "crates/watchbell/src/cli/"],
        "run commands by `watchbell_io::shared::process`",
    ),
];

/// Where JSON is read that Watchbell itself wrote, or as bodies of its API; and the reader of all other.
const JSON_OF_OURS: &[&str] = &[
    "crates/watchbell-io/src/shared/json.rs",
    // Questions and answers between the agent and its children.
    "crates/watchbell-io/src/notify/template.rs",
    // Rows that are picked out of a text without being kept.
    "crates/watchbell-io/src/query/decode.rs",
    "crates/watchbell-io/src/store/",
    "crates/watchbell/src/",
    "crates/watchbell-core/src/",
];

/// What is looked up at every run and never gone through in order; its hash has no seed.
const LOOKED_UP_ONLY: &str = "crates/watchbell-core/src/engine/derived.rs";

/// Modules of the core, each with those it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("schedule", &["model"]),
    ("state", &["model"]),
    ("route", &["model"]),
    ("config", &["model", "wire", "schedule", "state", "route"]),
    ("engine", &["model", "wire", "schedule", "state", "route", "config"]),
    ("scenario", &["model", "wire", "schedule", "state", "route", "config", "engine"]),
];

/// Modules of `watchbell-io`, each with those it may use: a source knows no notifier, the store knows neither.
const IO_LAYERS: &[(&str, &[&str])] = &[
    ("shared", &[]),
    ("query", &["shared"]),
    ("store", &["shared"]),
    ("source", &["shared", "query", "store"]),
    ("notify", &["shared", "source"]),
];

fn report(what: &str, mut found: Vec<String>) {
    found.sort();
    assert!(found.is_empty(), "{what}:\n  {}\n", found.join("\n  "));
}

fn running() -> Vec<Source> {
    sources().into_iter().filter(|s| !s.is_test).collect()
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let mut found = Vec::new();
    for source in running().iter().filter(|s| s.path.starts_with("crates/watchbell-core/")) {
        for (word, instead) in CORE_BANS {
            if *word == "HashMap" && source.path == LOOKED_UP_ONLY {
                continue;
            }
            let hits = source.places(word).into_iter().chain(grouped(source, word));
            found.extend(hits.map(|place| format!("{place}\n      {instead}")));
        }
    }
    report("the core uses what it must not", found);
    let manifest = read("crates/watchbell-core/Cargo.toml");
    let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
    let known = ["annotate-snippets", "foldhash", "jiff", "regex", "serde", "serde_json", "toml", "toml_parser"];
    let added: Vec<String> = dependencies(normal).into_iter().filter(|d| !known.contains(&d.as_str())).collect();
    report("the core has a new dependency: add it here if it does no I/O and reads no clock", added);
}

/// `std::fs` as it stands in `use std::{fs, …}`.
fn grouped(source: &Source, word: &str) -> Vec<String> {
    let Some(module) = word.strip_prefix("std::") else { return Vec::new() };
    let code = &source.code;
    let groups = code.match_indices("std::{").map(|(at, s)| (at, source::closing(code, at + s.len() - 1)));
    let uses = |(at, end): &(usize, usize)| top_level_names(&code[at + 6..*end]).iter().any(|n| n == module);
    groups.filter(uses).map(|(at, _)| format!("{}:{}: use of {word}", source.path, line_of(code, at))).collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The first words of the members of a `use` group.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut word) = (0, Vec::new(), String::new());
    for c in group.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    let first = |w: &String| w.trim().split([':', ' ']).next().unwrap_or_default().to_owned();
    names.iter().map(first).filter(|n| !n.is_empty()).collect()
}

/// The modules of its own crate that a file names.
fn modules_used(source: &Source) -> Vec<(String, usize)> {
    let code = &source.code;
    let mut used = Vec::new();
    for (at, s) in code.match_indices("crate::") {
        let dollar = code[..at].ends_with(['$', '_']) || code[..at].ends_with(char::is_alphanumeric);
        let rest = &code[at + s.len()..];
        let names = if rest.starts_with('{') {
            top_level_names(&rest[1..source::closing(rest, 0)])
        } else {
            vec![rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()]
        };
        if !dollar {
            used.extend(names.into_iter().map(|name| (name, line_of(code, at))));
        }
    }
    used
}

#[test]
fn modules_depend_one_way() {
    let mut found = Vec::new();
    for (krate, layers) in [("watchbell-core", LAYERS), ("watchbell-io", IO_LAYERS)] {
        for source in running() {
            let Some(inside) = source.path.strip_prefix(&format!("crates/{krate}/src/")) else { continue };
            let module = inside.split(['/', '.']).next().unwrap_or_default();
            let Some((_, may)) = layers.iter().find(|(name, _)| *name == module) else { continue };
            for (used, line) in modules_used(&source) {
                let is_module = layers.iter().any(|(name, _)| *name == used);
                if is_module && used != module && !may.contains(&used.as_str()) {
                    found.push(format!("{}:{line}: `{module}` must not use `{used}`", source.path));
                }
            }
        }
    }
    report("modules depend the wrong way", found);
}

#[test]
fn banned_words_stand_nowhere() {
    let mut found = Vec::new();
    // What Cargo hears of a build script is its output.
    for source in running().into_iter().filter(|s| !s.path.ends_with("/build.rs")) {
        for (word, allowed, instead) in BANS {
            if !allowed.iter().any(|prefix| source.path.starts_with(prefix)) {
                found.extend(source.places(word).into_iter().map(|place| format!("{place}\n      {instead}")));
            }
        }
    }
    report("these words are banned where they stand", found);
}

#[test]
fn unsafe_code_says_why_it_is_safe() {
    let mut found = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (i, line) in source.code.lines().enumerate() {
            let is_unsafe = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            let mut above = lines[..i].iter().rev().take_while(|l| l.trim_start().starts_with("//"));
            if is_unsafe && !above.any(|l| l.contains("SAFETY:")) {
                found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    report("`unsafe` needs a comment `// SAFETY: …` above it", found);
}

#[test]
fn functions_fit_a_screen() {
    let mut found = Vec::new();
    for source in running() {
        for (name, line, lines) in functions(&source.code) {
            let allowed = LONG_FUNCTIONS.iter().any(|(path, function, _)| *path == source.path && *function == name);
            if lines > FUNCTION_LINES_MAX && !allowed {
                found.push(format!("{}:{line}: `{name}` has {lines} lines", source.path));
            }
        }
    }
    report("functions have at most 60 lines", found);
}

#[test]
fn files_begin_with_what_they_are_for() {
    let lacks = |s: &Source| !s.text.starts_with("//! ");
    let found = sources().iter().filter(|s| lacks(s)).map(|s| s.path.clone()).collect();
    report("a file begins with `//!`: what it does, what it leaves to others, its invariants", found);
}

#[test]
fn no_test_is_switched_off() {
    let ignored = |s: Source| s.places("#[ignore]");
    report("`#[ignore]` needs a reason: `#[ignore = \"…\"]`", sources().into_iter().flat_map(ignored).collect());
}

#[test]
fn every_file_belongs_to_a_module() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| s.path.contains("/src/")) {
        let (folder, name) = source.path.rsplit_once('/').unwrap_or_default();
        if ["lib.rs", "main.rs"].contains(&name) {
            continue;
        }
        let (folder, module) = match name {
            "mod.rs" => folder.rsplit_once('/').unwrap_or_default(),
            _ => (folder, name.trim_end_matches(".rs")),
        };
        let parents = [
            format!("{folder}/mod.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}/main.rs"),
            format!("{folder}.rs"),
        ];
        let declared =
            |path: &String| source::root().join(path).exists() && read(path).contains(&format!("mod {module};"));
        if !parents.iter().any(declared) {
            found.push(source.path.clone());
        }
    }
    report("no `mod` line names these files, so they are never compiled", found);
}

/// The names below `[dependencies]` and `[dev-dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once(['=', '.']).filter(|_| inside && !line.starts_with('#')) {
            names.push(name.trim().to_owned());
        }
    }
    names.retain(|name| !name.is_empty() && !name.starts_with("watchbell"));
    names
}

/// Every manifest's dependencies.
fn all_dependencies() -> Vec<String> {
    let manifests = source::files("crates").into_iter().filter(|p| p.ends_with("/Cargo.toml"));
    let mut all: Vec<String> = manifests.flat_map(|path| dependencies(&read(&path))).collect();
    all.extend(["Cargo.toml", "fuzz/Cargo.toml"].iter().flat_map(|path| dependencies(&read(path))));
    all.sort();
    all.dedup();
    all
}
