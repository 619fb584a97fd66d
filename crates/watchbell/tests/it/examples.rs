//! Every example folder, and every config that the documents show, is read by the loader and has no errors.
//!
//! In documents, a block marked `toml` is a config file: `watchbell.toml` if it has `[agent]`, else one beside it;
//! `ini` is a CIMAA file, `json` with `flakeName` a flake, other `json` at least parses. Notifiers that a block
//! names and does not define are there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use watchbell_core::config::{Config, FileKind, InputFile, Kinds, Level, LoadOptions, Loaded, render_one};
use watchbell_core::scenario::Scenario;
use watchbell_io::{notify::Channel, source::Program};

const KINDS: Kinds<Program, Channel> =
    Kinds { checks: watchbell_io::source::KINDS, notifiers: watchbell_io::notify::KINDS };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the crate stands in a workspace")
}

fn load(folder: &str, files: Vec<InputFile>) -> Loaded<Program, Channel> {
    watchbell_io::shared::apart::use_program(env!("CARGO_BIN_EXE_watchbell").into());
    let options = LoadOptions {
        root: folder.to_owned(),
        default_agent_name: "host.example.com".to_owned(),
        local_zone: jiff::tz::TimeZone::UTC,
    };
    let mut config = Config::new(KINDS, options, |notifier: &Channel| notifier.targets());
    config.update(files);
    config.assemble()
}

/// All problems at least this bad, as people see them.
fn problems(loaded: &Loaded<Program, Channel>, least: Level) -> Vec<String> {
    let bad = loaded.problems.list.iter().filter(|p| p.level == Level::Error || least == Level::Warning);
    bad.map(|p| render_one(&loaded.problems, p, false)).collect()
}

/// The config files below a folder.
fn config_files(folder: &Path, below: &Path, found: &mut Vec<InputFile>) {
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let path = entry.path();
        let shown = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        if path.is_dir() {
            config_files(folder, &path, found);
        } else if FileKind::of(&shown).is_some() {
            let text = fs::read_to_string(&path).map_err(|e| e.to_string());
            found.push(InputFile { path: shown, absolute: path.display().to_string(), text });
        }
    }
}

/// The folders of examples that hold a config.
fn examples() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root().join("examples")).expect("there are examples").flatten().map(|e| e.path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders
}

#[test]
fn every_example_is_read_without_errors() {
    let folders = examples();
    assert!(folders.len() >= 6, "{folders:?}");
    for folder in folders {
        let mut files = Vec::new();
        config_files(&folder, &folder, &mut files);
        let loaded = load(&folder.display().to_string(), files);
        let problems = problems(&loaded, Level::Error);
        assert!(problems.is_empty(), "{}:\n{}", folder.display(), problems.join("\n"));
        assert!(!loaded.policy.checks.is_empty(), "{} has no checks", folder.display());
        assert!(!loaded.policy.agent.notify.is_empty(), "{} tells no one", folder.display());
    }
}

/// The scenarios beside the examples go as they say.
#[test]
fn every_examples_scenario_goes_as_expected() {
    let mut played = 0;
    for folder in examples() {
        let mut files = Vec::new();
        config_files(&folder, &folder, &mut files);
        let policy = Arc::new(load(&folder.display().to_string(), files).policy);
        for entry in fs::read_dir(folder.join("tests")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).expect("a scenario can be read");
            let report = Scenario::parse(&text).expect("a scenario without mistakes").run(policy.clone());
            assert!(report.is_good(), "{}: {report}", entry.path().display());
            played += 1;
        }
    }
    assert!(played >= 1);
}

/// The same by the binary, which also looks for programs, folders and secrets.
#[test]
fn every_example_is_valid() {
    for folder in examples() {
        let agent = folder.join("agent.cfg");
        let place = if agent.exists() { agent } else { folder };
        let output = Command::new(env!("CARGO_BIN_EXE_watchbell"))
            .args(["validate".as_ref(), place.as_os_str()])
            .output()
            .expect("the binary was built for this test");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{text}", place.display(), output.status);
    }
}

/// What the checks of an example run is there and may be run.
#[test]
fn scripts_of_examples_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let mut folders = examples();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "sh") {
                let mode = fs::metadata(&path).map_or(0, |m| m.permissions().mode());
                assert!(mode & 0o111 != 0, "{} can't be run: chmod +x", path.display());
            }
        }
    }
}

/// A block of a document.
struct Block {
    /// `docs/x.md:17`.
    place: String,
    language: String,
    text: String,
}

fn blocks(document: &Path) -> Vec<Block> {
    let text = fs::read_to_string(document).unwrap_or_default();
    let shown = document.strip_prefix(root()).unwrap_or(document).display().to_string();
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (i, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                let place = format!("{shown}:{}", i + 1);
                found.push(Block { place, language: language.trim().to_owned(), text: String::new() });
            }
            None if inside => {
                let block = found.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].iter().map(|name| root().join(name)).collect();
    let docs = fs::read_dir(root().join("docs")).into_iter().flatten().flatten().map(|e| e.path());
    found.extend(docs.filter(|p| p.extension().is_some_and(|e| e == "md")));
    found.sort();
    found
}

/// The config file that a block is, if it is one.
fn as_file(block: &Block) -> Option<InputFile> {
    let path = match block.language.as_str() {
        "toml" if block.text.contains("[agent]") => "watchbell.toml",
        "toml" => "app.toml",
        "ini" => "app.cfg",
        "json" if block.text.contains("\"flakeName\"") => "flakes/x.flake.json",
        _ => return None,
    };
    Some(InputFile { path: path.into(), absolute: format!("/etc/watchbell/{path}"), text: Ok(block.text.clone()) })
}

/// The notifiers that a block names and does not define, as an agent's file defines them.
fn surroundings(block: &Block) -> String {
    let mut names = BTreeSet::from(["me".to_owned()]);
    for line in
        block.text.lines().filter(|l| ["notify", "fallback", "on_result"].iter().any(|k| l.trim_start().starts_with(k)))
    {
        let quoted = line.split('#').next().unwrap_or_default().split('"').skip(1).step_by(2);
        names.extend(quoted.map(str::to_owned));
    }
    names.retain(|name| !block.text.contains(&format!("[notify.{name}]")));
    let mut text = String::new();
    if !block.text.contains("[agent]") {
        text.push_str("[agent]\nnotify = [\"me\"]\n");
    }
    names.iter().for_each(|name| text.push_str(&format!("[notify.{name}]\nkind = \"log\"\n")));
    text
}

#[test]
fn configs_in_documents_are_read_without_errors() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for block in documents().iter().flat_map(|document| blocks(document)) {
        let Some(file) = as_file(&block) else { continue };
        seen += 1;
        let path = if file.path == "watchbell.toml" { "others.toml" } else { "watchbell.toml" };
        let text = surroundings(&block);
        let others = InputFile { path: path.into(), absolute: format!("/etc/watchbell/{path}"), text: Ok(text) };
        let loaded = load("/etc/watchbell", vec![file, others]);
        let problems = problems(&loaded, Level::Error);
        if !problems.is_empty() {
            wrong.push(format!("{}:\n{}", block.place, problems.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen >= 30, "only {seen} configs found in the documents");
}

#[test]
fn json_in_documents_parses() {
    for block in documents().iter().flat_map(|document| blocks(document)).filter(|b| b.language == "json") {
        let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
        assert!(parsed.is_ok(), "{}: {}", block.place, parsed.err().map(|e| e.to_string()).unwrap_or_default());
    }
}

#[test]
fn the_first_check_is_the_one_of_the_readme() {
    let example = fs::read_to_string(root().join("examples/first-check/watchbell.toml")).unwrap();
    let config = &example[example.find("[agent]").unwrap()..];
    assert!(fs::read_to_string(root().join("README.md")).unwrap().contains(config), "README.md shows another config");
}
