//! What the documents say against what there is: paths, links, commands and their options, dependencies.

use super::{
    all_dependencies, report,
    source::{files, functions, read, root, sources},
};
use std::{collections::BTreeSet, process::Command};

/// Where this machine's own places would show. Split, so that this file does not name them.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "wt")];

/// All documents for people.
fn documents() -> Vec<String> {
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(String::from);
    let below = files("docs").into_iter().chain(files("examples"));
    top.into_iter().chain(below.filter(|p| p.ends_with(".md"))).collect()
}

/// A word that stands for any: `NAME.toml`.
fn is_placeholder(path: &str) -> bool {
    let stands_for_any = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase());
    path.contains(['*', '…', '<']) || path.split('/').any(|p| stands_for_any(p.split('.').next().unwrap_or_default()))
}

#[test]
fn paths_in_documents_exist() {
    let tops = ["crates/", "docs/", "examples/", "tools/", "benches/"];
    let all = files("");
    let mut found = Vec::new();
    for document in documents() {
        for (i, line) in read(&document).lines().enumerate() {
            for word in line.split(['`', '(', ')', ' ', '"', ',', ';']) {
                let path = word.trim_end_matches(['.', ':']).split('#').next().unwrap_or_default();
                let relative = root().join(&document).parent().is_some_and(|folder| folder.join(path).exists());
                let is_path = tops.iter().any(|top| path.starts_with(top));
                // A file's name in short: `run/engine.rs`.
                let is_short = [".rs", ".scenario"].iter().any(|end| path.ends_with(end) && path.len() > end.len());
                let there = root().join(path).exists()
                    || relative
                    || (is_short && all.iter().any(|p| p.ends_with(&format!("/{}", path.trim_start_matches("../")))));
                if (is_path || is_short) && !is_placeholder(path) && !there {
                    found.push(format!("{document}:{}: `{path}` is not there", i + 1));
                }
            }
        }
    }
    report("documents name paths that do not exist", found);
}

/// The tests that `ARCHITECTURE.md` says enforce its invariants.
#[test]
fn tests_that_enforce_invariants_exist() {
    let names: BTreeSet<String> = sources().iter().flat_map(|s| functions(&s.code)).map(|(name, _, _)| name).collect();
    let text = read("ARCHITECTURE.md");
    let words = text.split('`').skip(1).step_by(2);
    let is_test = |w: &&str| w.matches('_').count() >= 3 && w.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let found = words.filter(is_test).filter(|w| !names.contains(*w)).map(str::to_owned).collect();
    report("`ARCHITECTURE.md` names tests that do not exist", found);
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |heading: String| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter_map(heading).map(anchor).collect()
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    for document in documents() {
        let text = read(&document);
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
            let target = if path.is_empty() { root().join(&document) } else { root().join(folder).join(path) };
            if !target.exists() {
                found.push(format!("{document}:{line}: `{link}` is not there"));
            } else if !anchor.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap_or_default();
                if !anchors(&there).contains(anchor) {
                    found.push(format!("{document}:{line}: `{link}`: no such heading"));
                }
            }
        }
    }
    report("documents have links that lead nowhere", found);
}

#[test]
fn every_document_is_in_the_index() {
    let index = read("docs/README.md");
    let missing = |path: &String| path.starts_with("docs/") && path != "docs/README.md" && !index.contains(&path[5..]);
    report("`docs/README.md` does not name these", documents().into_iter().filter(missing).collect());
}

#[test]
fn every_dependency_has_its_reason() {
    let text = read("docs/dependencies.md");
    let rows: BTreeSet<&str> = text.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let used = all_dependencies();
    let missing = used.iter().filter(|name| !rows.contains(name.as_str()));
    report("`docs/dependencies.md` has no line of reason for", missing.cloned().collect());
    let gone = rows.iter().filter(|name| !used.iter().any(|u| u == *name));
    report("`docs/dependencies.md` gives reasons for what no manifest has", gone.map(|n| n.to_string()).collect());
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let mut found = Vec::new();
    // In a linked work tree `.git` is a file, which is not the repository's; nor is what an example's agent left.
    let ours = |path: &String| path != ".git" && !(path.starts_with("examples/") && path.contains("/state/"));
    for path in files("").into_iter().filter(ours) {
        for (i, line) in read(&path).lines().enumerate() {
            if MACHINE_PATHS.iter().any(|place| line.contains(place)) && !path.ends_with("Cargo.lock") {
                found.push(format!("{path}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    report("files name places of one machine", found);
}

/// The table of kinds in `docs/notifiers.md` says what they can.
#[test]
fn notifiers_can_what_their_table_says() {
    let text = read("docs/notifiers.md");
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let mut found = Vec::new();
    for kind in watchbell_io::notify::KINDS {
        let can = kind.capabilities;
        let expected =
            [word(can.edits), word(can.acknowledges), word(can.digests), &format!("{} s", can.gap_ms / 1000)];
        let row = text.lines().find(|l| l.starts_with(&format!("| `{}` |", kind.key))).unwrap_or_default();
        let cells: Vec<&str> =
            row.split('|').skip(2).map(|c| c.split(" (").next().unwrap_or_default().trim()).collect();
        if cells.get(..4) != Some(&expected) {
            found.push(format!("`{}`: {expected:?}, the table says {cells:?}", kind.key));
        }
        if !text.contains(&format!("\n## {}\n", kind.key)) {
            found.push(format!("`{}` has no section", kind.key));
        }
    }
    report("`docs/notifiers.md` does not say what the kinds can", found);
}

/// Every kind of check has its place in `docs/checks.md`.
#[test]
fn every_kind_of_check_is_documented() {
    let text = read("docs/checks.md");
    let titles: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("## ")?.split(':').next()).collect();
    let has = |key: &str| titles.iter().any(|title| title.split(", ").any(|word| word == key));
    let missing = watchbell_io::source::KINDS.iter().map(|kind| kind.key).filter(|key| !has(key));
    report("`docs/checks.md` has no section for", missing.map(str::to_owned).collect());
}

/// What a command's `--help` says.
fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_watchbell")).args(words).arg("--help").output();
    let output = output.unwrap_or_else(|e| panic!("the binary was built for this test: {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names below `Commands:` in a help text.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|l| !l.trim().is_empty());
    let names = lines.filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    names.filter_map(|l| l.split_whitespace().next()).map(str::to_owned).filter(|n| n != "help").collect()
}

#[test]
fn every_command_is_documented() {
    let text = read("docs/command-line.md");
    let commands = subcommands(&help(&[]));
    assert!(commands.len() > 5, "no commands found in `watchbell --help`");
    let missing = commands.iter().filter(|name| !text.contains(&format!("`watchbell {name}")));
    report("`docs/command-line.md` does not speak of", missing.cloned().collect());
}

/// The lines of all shell blocks of a document that begin with `watchbell`, with their line numbers.
fn shell_lines(text: &str) -> Vec<(usize, String)> {
    let (mut inside, mut found) = (false, Vec::new());
    for (i, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside && ["```sh", "```bash"].contains(&line.trim());
        } else if inside {
            let line = line.split(" #").next().unwrap_or_default();
            for part in line.split(['|', ';', '&']) {
                let part = part.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
                let part = part.trim_start_matches("-u watchbell ");
                if part.starts_with("watchbell ") {
                    found.push((i + 1, part.to_owned()));
                }
            }
        }
    }
    found
}

#[test]
fn commands_in_documents_are_as_the_binary_has_them() {
    let commands = subcommands(&help(&[]));
    let mut found = Vec::new();
    for document in documents() {
        for (line, text) in shell_lines(&read(&document)) {
            let mut words: Vec<&str> = text.split_whitespace().take_while(|w| *w != "--").collect();
            if words.get(1) == Some(&"-c") {
                words.drain(1..3.min(words.len()));
            }
            let Some(command) = words.get(1).filter(|w| !w.starts_with('-')) else { continue };
            if !commands.iter().any(|c| c == command) {
                found.push(format!("{document}:{line}: there is no `watchbell {command}`"));
                continue;
            }
            let mut path = vec![*command];
            let below = subcommands(&help(&path));
            path.extend(words.get(2).filter(|w| below.iter().any(|b| b == *w)));
            let help = help(&path);
            for option in words.iter().filter(|w| w.starts_with("--")) {
                let name = option.split('=').next().unwrap_or_default();
                if !help.contains(name) {
                    found.push(format!("{document}:{line}: `watchbell {}` has no `{name}`", path.join(" ")));
                }
            }
        }
    }
    report("documents show commands that the binary does not have", found);
}

/// A server has the binary and its manual pages, not this repository: what is printed names pages of `watchbell man`.
#[test]
fn what_is_printed_names_no_file_of_the_repository() {
    let mut found = Vec::new();
    let names =
        |line: &str| ["docs/", "README.md", "CONTRIBUTING.md", "crates/"].iter().any(|name| line.contains(name));
    for source in sources().into_iter().filter(|source| !source.is_test && !source.path.contains("/benches/")) {
        let lines = source.text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
        // The doc comments of commands are their help.
        let is_code =
            |line: &str| !line.starts_with("//") || (source.path.contains("/src/cli/") && line.starts_with("/// "));
        let hits = lines.filter(|(_, line)| is_code(line.trim()) && names(line) && !line.contains("include_str!"));
        found.extend(hits.map(|(i, line)| format!("{}:{}: {}", source.path, i + 1, line.trim())));
    }
    report("what is printed names files that servers don't have", found);
}
