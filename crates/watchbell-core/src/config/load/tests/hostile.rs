//! Texts that nobody would write on purpose, or somebody would: none ends the reading of the others.

use super::*;
use crate::config::{render, to_json};
use proptest::prelude::*;

/// A reader with a bug: it can't stand the word `now`.
fn read_broken(reader: &mut Reader<'_>) -> Option<Program> {
    let word = reader.string("boom")?;
    assert_ne!(word, "now", "a bug of ours");
    Some(Arc::new(word))
}

const BOOM: &[Key] = &[Key { name: "boom", shape: Shape::String, doc: "" }];

fn broken_kinds() -> Config<Program, Program> {
    const BROKEN: Kinds<Program, Program> = Kinds {
        checks: &[Kind { read: read_broken, ..kind("boom", BOOM) }, kind("run", RUN)],
        notifiers: &[kind("note", &[]), Kind { read: read_broken, ..kind("boom", BOOM) }],
    };
    Config { kinds: BROKEN, ..config() }
}

/// S3.12: a bug that shows while one file is read is that file's fault: what it said before goes on, and everything else
/// changes as it should.
#[test]
fn a_panic_is_the_fault_of_its_file() {
    let check = "[check.a]\nrun = \"a\"\nretry = 7\n";
    for bad in [
        format!("{check}[check.b]\nboom = \"now\"\n"),
        format!("{check}[notify.n]\nkind = \"boom\"\nboom = \"now\"\n"),
        "[check.a]\nboom = \"now\"\n".to_owned(),
    ] {
        let mut config = broken_kinds();
        let good = [("watchbell.toml", AGENT), ("app.toml", check), ("db.toml", "[check.c]\nrun = \"c\"\n")];
        assert_eq!(faults(&reload(&mut config, &good)), []);
        for _ in 0..2 {
            let files = [("watchbell.toml", AGENT), ("app.toml", &bad), ("db.toml", "[check.d]\nrun = \"d\"\n")];
            let loaded = reload(&mut config, &files);
            assert_eq!(names(&loaded), ["//web-1/app/a", "//web-1/db/d"], "{bad}");
            assert_eq!(loaded.policy.checks["//web-1/app/a"].retry, 7);
            let message = "app.toml:1:1: reading this file ran into a bug of Watchbell's; nothing of it could be read; what the file said before goes on";
            assert_eq!(faults(&loaded), [("//web-1/app/", message)], "{bad}");
        }
        // At start nothing of it is used, and what is known of its checks stays.
        let loaded = reload(&mut broken_kinds(), &[("watchbell.toml", AGENT), ("app.toml", &bad)]);
        assert_eq!((names(&loaded), loaded.policy.broken.len(), faults(&loaded).len()), (vec![], 1, 1), "{bad}");
        // Once it is mended, all is well.
        assert_eq!(faults(&reload(&mut config, &good)), []);
    }
}

/// The same for the file that speaks for the agent: the agent stays who it is.
#[test]
fn a_panic_in_the_agents_file() {
    let mut config = broken_kinds();
    let good = "[agent]\nname = \"x\"\nnotify = [\"n\"]\n[notify.n]\nkind = \"note\"\n";
    reload(&mut config, &[("watchbell.toml", good)]);
    let bad = "[agent]\nname = \"y\"\nnotify = [\"n\"]\n[notify.n]\nkind = \"boom\"\nboom = \"now\"\n[flakes]\nboom = \"now\"\n";
    let loaded = reload(&mut config, &[("watchbell.toml", bad)]);
    assert!(loaded.notifiers.contains_key("n") && !loaded.agent_broken);
    assert_eq!(faults(&loaded).len(), 1);
}

/// S2.10: an agent's file of CIMAA's that can't be read any more is still the agent's: it keeps its name and ways to tell.
#[test]
fn a_broken_agent_file_of_cimaas() {
    let mut config = config();
    let good = "[agent]\nname = old\ndirectory = checks\n[alerter]\nclass = zc.cimaa.stub:OutputAlerter\n";
    reload(&mut config, &[("agent.cfg", good), ("app.cfg", "[a]\ncommand = a\n")]);
    let loaded = reload(&mut config, &[("agent.cfg", "[agent\nname = new\n"), ("app.cfg", "[a]\ncommand = a\n")]);
    assert_eq!(loaded.agent_file.as_deref(), Some("agent.cfg"));
    assert_eq!(names(&loaded), ["//old/app/a"]);
}

/// A file of mistakes is told as far as somebody may read it: what else there is is counted; and each thing that does not
/// work because of one is still a fault of its own.
#[test]
fn a_file_of_mistakes() {
    use crate::config::problem::FILE_PROBLEMS_MAX;
    let numbered = |unit: &str, n: usize| (0..n).map(|i| unit.replace('N', &i.to_string())).collect::<String>();
    let line = "CHECKHOURS0-23 CHECKMINUTES0-59 WEEKDAYS MINNUM5 MAXNUM20 LOOKBACKSECONDS60";
    for (path, text, faults_told) in [
        ("a.toml", numbered("[check.cN]\nrun = \"a\"\nx = 1\ny = 1\n", 1000), 1000),
        ("a.toml", numbered("xN = 1\n", 5000), 1),
        ("a.toml", format!("[check.a]\nrun = \"a\"\n{}", numbered("xN = 1\n", 5000)), 1),
        ("a.cfg", numbered("[cN]\ncommand = a\nretry = x\ninterval = x\n", 1000), 1000),
        ("a.cfg", format!("[a]\ncommand = a\n{}", "k = v\n".repeat(5000)), 0),
        ("a.cfg", numbered("[cN]\ncommand = a\nkN = v\n", 5000), 0),
        ("a.dwmon", format!("__QUERY__\nq\n__REQUIREMENTS__\n{line}{}\n__SOURCE__\ns", " LOOKB3".repeat(5000)), 1),
        ("a.flake.json", format!("[{}", "x,".repeat(5000)), 1),
    ] {
        let loaded = load(&[(path, &text)]);
        let list = &loaded.problems.list;
        assert!(list.len() <= FILE_PROBLEMS_MAX + faults_told + 1, "{path}: {} problems", list.len());
        assert_eq!(faults(&loaded).len(), faults_told, "{path}: {:?}", list.first());
        let counted = list.iter().filter(|p| p.message.starts_with("this file has ")).count();
        assert_eq!(counted, usize::from(list.len() > FILE_PROBLEMS_MAX), "{path}: {} problems", list.len());
        let recount = list.iter().filter(|p| p.level == Level::Error).count();
        assert_eq!(loaded.problems.errors(), recount, "{path}");
    }
}

/// What is left out is still known to be secret.
#[test]
fn a_secret_behind_the_last_problem_that_is_told() {
    let mut merged = merged::Merged::default();
    let mut problems = crate::config::Problems::default();
    let file = problems.add_file("a", "k = \"xoxb-1\"\n".repeat(2).as_str());
    let span = |start| crate::config::tree::Span { file, start, end: start + 1 };
    for _ in 0..crate::config::problem::FILE_PROBLEMS_MAX {
        problems.warning(span(0), "a");
    }
    problems.warning(span(4), "masked").mask();
    merged.take("a", &problems, &vec![file::Subject::File; problems.list.len()]);
    let shown = render(&merged.sorted(), false);
    assert!(!shown.contains("xoxb"), "{}", &shown[..300]);
}

/// What each format is made of, and blanks, signs and letters that are longer than a byte.
const PIECES: &[&str] = &[
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{85}",
    "\u{feff}",
    "é",
    "日",
    "\u{1f600}",
    "\0",
    "\u{1b}",
    "\r",
    "\r\n",
    "\n",
    " ",
    "\t",
    ",",
    ",,",
    "=",
    "==",
    ":",
    "::",
    ";",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u",
    "\\ud800",
    "\\x",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    "#",
    "/*",
    "//",
    "-",
    "*/",
    "/",
    "@",
    "0",
    "1e999",
    "-1",
    "99999999999999999999",
    "inf",
    "nan",
    "1979-05-27",
    "a",
    "a.b",
    "a\n",
    "k = v\n",
    "k: v",
    "[check.a]\n",
    "check",
    "run = \"a\"\n",
    "hours = \"mon",
    "08:00-18:00",
    "24:00",
    "Europe/Berlin",
    "cron = \"",
    "* * * * *",
    "5L",
    "L-3",
    "15W",
    "mon#2",
    "@daily",
    "22-3",
    "every = \"",
    "1h",
    "expect = [",
    "{ lookback = \"1h\", min = 1 }",
    "thresholds = ",
    "load > 5",
    "command = ",
    "rem ",
    "[agent]\n",
    "[DEFAULT]\n",
    "directory = x\n",
    "[alerter]\n",
    "token = xoxb\n",
    "flakeName",
    "\"flakeName\": \"a\"",
    "\"flakeCronstring\": \"* * * * *\"",
    "__QUERY__\n",
    "__REQUIREMENTS__",
    "__SOURCE__",
    "__EXTRA__",
    "CHECKHOURS0-23",
    "CHECKMINUTES*/5",
    "WEEKENDS",
    "MINNUM5",
    "MAXNUM",
    "LOOKBACKSECONDS180",
    "X1",
];

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES);
    // Most parsers give up after some mistakes, so one piece comes often.
    let many = (piece.clone(), 0..40_usize).prop_map(|(piece, times)| piece.repeat(times));
    let pieces = prop::collection::vec(prop_oneof![4 => piece.prop_map(str::to_owned), 1 => many], 0..24);
    pieces.prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every reader holds by itself, so that its file says what is wrong and where; the net below it stays unused. What
    /// is found can be shown.
    #[test]
    fn any_text_in_any_file(text in any_text()) {
        let value = text.replace(['"', '\\', '\n', '\r'], "");
        let inside = |key: &str| format!("[check.a]\nrun = \"a\"\n{key} = \"{value}\"\n");
        let keys = ["hours", "cron", "every", "timezone", "thresholds", "notify"];
        let files = [
            ("a.toml".to_owned(), text.clone()), ("watchbell.toml".to_owned(), text.clone()),
            ("a.cfg".to_owned(), text.clone()), ("a.dwmon".to_owned(), text.clone()),
            ("a.flake.json".to_owned(), text.clone()), ("by hand".to_owned(), text.clone()),
            ("b.flake.json".to_owned(), format!("{{\"flakeName\": \"a\", \"flakeCronstring\": \"{value}\"}}")),
            ("b.dwmon".to_owned(), format!("__QUERY__\nq\n__REQUIREMENTS__\n{text}\n__SOURCE__\na\n")),
            ("b.cfg".to_owned(), format!("[a]\ncommand = a\nthresholds = {text}\n")),
        ];
        let in_values = keys.map(|key| (format!("{key}.toml"), inside(key)));
        for (path, text) in files.into_iter().chain(in_values) {
            let loaded = load(&[(&path, &text)]);
            let bug = loaded.problems.list.iter().find(|problem| problem.message.contains("a bug of Watchbell"));
            prop_assert!(bug.is_none(), "{path}: {text:?}");
            render(&loaded.problems, false);
            to_json(&loaded.problems);
        }
    }
}
