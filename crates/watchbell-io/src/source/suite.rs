//! What every kind of check must do, run over [`KINDS`]; and what the tests of single kinds share.

use super::{KINDS, Program, Run};
use crate::shared::Shared;
use std::{collections::BTreeSet, path::Path, time::Duration};
use watchbell_core::{
    config::{
        Capabilities, Config, InputFile, Kind, Kinds, LoadOptions, Problems, Reader, Secret, Shape,
        keys::{CHECK_KEYS, HIDDEN_CHECK_KEYS, QUERY_KEYS},
        render, toml,
        tree::{Entry, Node, Table, Value},
    },
    model::{Name, Outcome},
};

/// Reads the table of a check as the loader would, once it knows the kind.
fn read_table(kind: &Kind<Program>, table: &Table, problems: &mut Problems) -> Option<(Program, Duration)> {
    let mut reader = Reader::new(table, problems, "`[check.x]`", CHECK_KEYS);
    reader.declare(HIDDEN_CHECK_KEYS);
    reader.declare(kind.keys);
    let timeout = reader.duration("timeout").unwrap_or(Duration::from_secs(60));
    let program = (kind.read)(&mut reader);
    reader.finish();
    let ok = problems.list.is_empty();
    program.filter(|_| ok).map(|program| (program, timeout))
}

fn parse(text: &str, problems: &mut Problems) -> Option<Table> {
    let file = problems.add_file("test.toml", text);
    let root = toml::parse(text, file, problems)?;
    let Value::Table(checks) = &root.get("check")?.value.value else { return None };
    match &checks.entries.first()?.value.value {
        Value::Table(table) => Some(table.clone()),
        _ => None,
    }
}

/// The check that these lines make, and its time limit; else all problems as text.
pub(super) fn read(kind: &Kind<Program>, lines: &str) -> Result<(Program, Duration), String> {
    let mut problems = Problems::default();
    let table = parse(&format!("[check.x]\n{lines}\n"), &mut problems);
    let program = table.and_then(|table| read_table(kind, &table, &mut problems));
    program.ok_or_else(|| render(&problems, false))
}

/// Runs the check that these lines make.
pub(super) fn outcome(kind: &Kind<Program>, lines: &str) -> Outcome {
    let (program, timeout) = read(kind, lines).unwrap_or_else(|problems| panic!("{lines}\n{problems}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let shared = Shared::new().unwrap();
    let run = Run { check: &Name::new("//host/file/check"), timeout, shared: &shared, lookback: None };
    runtime.block_on(program.run(&run))
}

/// The parts that its findings are about; the check as a whole is the empty one.
pub(super) fn parts(outcome: &Outcome) -> Vec<&str> {
    outcome.findings.iter().map(|f| f.part.as_deref().unwrap_or_default()).collect()
}

/// One mistake each, and a part of what is said about it.
pub(super) fn assert_problems(kind: &Kind<Program>, cases: &[(&str, &str)]) {
    for (lines, expect) in cases {
        match read(kind, lines) {
            Ok(_) => panic!("no problem found in {lines}"),
            Err(text) => assert!(text.contains(expect), "{lines}: expected {expect}\n{text}"),
        }
    }
}

/// The kind's own example as a table.
fn example(kind: &Kind<Program>, problems: &mut Problems) -> Table {
    parse(kind.example, problems).unwrap_or_else(|| panic!("{}: {}", kind.key, render(problems, false)))
}

fn put(table: &mut Table, key: &str, value: Value) {
    table.entries.retain(|entry| entry.key != key);
    let span = table.span;
    table.entries.push(Entry { key: key.to_owned(), key_span: span, value: Node { span, value } });
}

#[test]
fn every_example_is_right_and_every_key_documented() {
    let mut words = BTreeSet::new();
    for kind in KINDS {
        assert!(words.insert(kind.key), "two kinds are `{}`", kind.key);
        assert!(kind.doc.len() > 40 && kind.example.starts_with("[check."), "{}", kind.key);
        let mut keys = BTreeSet::new();
        for key in kind.keys {
            assert!(keys.insert(key.name), "{}: `{}` stands there twice", kind.key, key.name);
            assert!(key.doc.len() > 10, "{}: the doc of `{}`", kind.key, key.name);
        }
        assert!(keys.contains(kind.key), "{}: its own key is not among its keys", kind.key);
        let mut problems = Problems::default();
        let table = example(kind, &mut problems);
        assert!(table.get(kind.key).is_some(), "{}: its example is another kind's", kind.key);
        let (program, _) =
            read_table(kind, &table, &mut problems).unwrap_or_else(|| panic!("{}", render(&problems, false)));
        // Whatever is missing on this machine: it says so, and does not panic.
        program.preflight();
    }
}

/// The examples as users have them: in a file, with the keys of all checks, read by the loader.
#[test]
fn the_loader_reads_every_example() {
    static NOTIFIERS: &[Kind<()>] = &[Kind {
        key: "quiet",
        doc: "",
        example: "",
        keys: &[],
        capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
        read: |_| Some(()),
    }];
    let options = LoadOptions {
        root: "/etc/watchbell".into(),
        default_agent_name: "host".into(),
        local_zone: jiff::tz::TimeZone::UTC,
    };
    for kind in KINDS {
        let kinds = Kinds { checks: KINDS, notifiers: NOTIFIERS };
        let mut config = Config::new(kinds, options.clone(), |()| Vec::new());
        let text = format!("{}\n[notify.ops]\nkind = \"quiet\"\n", kind.example);
        config.update(vec![InputFile {
            path: "x.toml".into(),
            absolute: "/etc/watchbell/x.toml".into(),
            text: Ok(text),
        }]);
        let loaded = config.assemble();
        assert!(loaded.problems.list.is_empty(), "{}", render(&loaded.problems, false));
        assert_eq!(loaded.policy.checks.values().map(|check| check.kind).collect::<Vec<_>>(), [kind.key]);
        assert_eq!(loaded.programs.len(), 1, "{}", kind.key);
    }
}

#[test]
fn an_unknown_key_gives_a_hint() {
    for kind in KINDS {
        let name = kind.keys.iter().map(|key| key.name).max_by_key(|name| name.len()).unwrap();
        let mut problems = Problems::default();
        let mut table = example(kind, &mut problems);
        put(&mut table, &format!("{name}x"), Value::Boolean(true));
        assert!(read_table(kind, &table, &mut problems).is_none());
        let text = render(&problems, false);
        assert!(text.contains(&format!("no key `{name}x`")), "{}: {text}", kind.key);
        assert!(text.contains(&format!("did you mean `{name}`?")), "{}: {text}", kind.key);
    }
}

/// A key that nobody reads would be an option that does nothing.
#[test]
fn every_key_is_read() {
    for kind in KINDS {
        // Some name a key of all checks again, which the loader reads for them; so it does what a look-back expects.
        let loaders =
            CHECK_KEYS.iter().chain(QUERY_KEYS.iter().filter(|key| !["query", "rows_max"].contains(&key.name)));
        for key in kind.keys.iter().filter(|key| loaders.clone().all(|common| common.name != key.name)) {
            let mut problems = Problems::default();
            let mut table = example(kind, &mut problems);
            put(&mut table, key.name, Value::Datetime("1979-05-27".into()));
            assert!(read_table(kind, &table, &mut problems).is_none(), "{}: `{}` is not read", kind.key, key.name);
            let text = render(&problems, false);
            assert!(text.contains(&format!("`{}`", key.name)), "{}: `{}`: {text}", kind.key, key.name);
        }
    }
}

#[test]
fn a_secret_never_shows() {
    const SECRET: &str = "s3cretValue";
    for kind in KINDS {
        let secret = || Value::Secret(Secret::Value(SECRET.to_owned()));
        for key in kind.keys {
            let value = match (key.shape, key.name) {
                (Shape::Secret | Shape::Text, _) => secret(),
                (_, "env") => {
                    let mut map = Table::default();
                    put(&mut map, "TOKEN", secret());
                    Value::Table(map)
                }
                _ => continue,
            };
            let mut problems = Problems::default();
            let mut table = example(kind, &mut problems);
            put(&mut table, key.name, value);
            let program = read_table(kind, &table, &mut problems);
            let shown = format!("{program:?} {}", render(&problems, false));
            assert!(!shown.contains(SECRET), "{}: `{}` shows it: {shown}", kind.key, key.name);
        }
    }
}

/// A kind is one file and one line: no file may be forgotten.
#[test]
fn every_file_is_in_the_list() {
    /// Files that are no kinds.
    const HELPERS: &[&str] = &["mod", "options", "suite", "testing"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source");
    let list = include_str!("mod.rs").rsplit("pub const KINDS").next().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|ext| ext == "rs") && !HELPERS.contains(&stem.as_str()) {
            assert!(list.contains(&format!("{stem}::")), "`{stem}.rs` is not in KINDS");
        }
    }
}
