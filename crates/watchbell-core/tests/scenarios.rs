//! Plays every `tests/scenarios/*.scenario`. Each file says at its top which rows of the behaviour it proves.
//!
//! `WATCHBELL_SCENARIO=name cargo test -p watchbell-core --test scenarios -- --nocapture` plays the files whose name
//! holds `name`, and shows all that happens in them.

#[allow(dead_code)] // each test binary uses its own part of it
mod common;

use common::Agent;
use std::{fs, path::Path};
use watchbell_core::scenario::{Report, Scenario};

/// At least so many files are there.
const FILES_MIN: usize = 20;

fn play(text: &str) -> Result<Report, String> {
    let scenario = Scenario::parse(text).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("\n")
    })?;
    // Scenarios that say so have mistakes in their config.
    let strict = !text.contains("# The config has mistakes.");
    let mut agent = Agent::new();
    scenario.run_with(&mut |text, start| {
        if start {
            agent = Agent::new();
        }
        agent.load(text, strict)
    })
}

#[test]
fn every_scenario_goes_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let wanted = std::env::var("WATCHBELL_SCENARIO").unwrap_or_default();
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut played, mut wrong) = (0, Vec::new());
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "scenario")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.contains(&wanted) {
            continue;
        }
        played += 1;
        match play(&fs::read_to_string(path).unwrap()) {
            Ok(report) => {
                if !wanted.is_empty() {
                    report.timeline.iter().for_each(|entry| println!("{entry}"));
                }
                wrong.extend(report.failures.iter().map(|failure| format!("=== {name} {failure}")));
            }
            Err(error) => wrong.push(format!("=== {name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!wanted.is_empty() || played >= FILES_MIN, "only {played} scenarios");
}

/// An expectation that is not met says where it stands, what was found instead, and what may help.
#[test]
fn what_is_not_met_is_explained() {
    let config = "config\n[check.disk]\ncommand = \"true\"\nretry = 0\nend\n";
    let cases = [
        ("at 5m expect fault disk", "line 6: at 5m expect fault disk", "there is no fault `disk`|nothing is wrong"),
        (
            "disk critical \"91%\"\nat 5m expect quiet",
            "line 7:",
            "there is one: trigger `//web-1/main/disk` to ops \"91%\"",
        ),
        ("disk error \"91%\"\nat 5m expect deliver disk to pager", "line 7:", "told, and not asked for: trigger"),
        ("dsik critical \"91%\"", "line 6:", "there is no check `dsik`|hint: did you mean `disk`?"),
        (
            "at 5m disk ok\nat 3m disk ok",
            "line 7:",
            "it is 2026-01-05T08:05:00Z by then|hint: lines stand in the order",
        ),
        ("notifier opps works", "line 6:", "there is no notifier `opps`|hint: did you mean `ops`?"),
        (
            "squelch \"disk\" because \"x\"\ndisk critical \"91%\"\nwithin 5m expect deliver trigger disk",
            "line 8:",
            "nothing was told that no line asked for|hint: it is held: squelched by `disk`|before that:",
        ),
        ("expect refused", "line 6:", "nothing was refused"),
        ("at 5m expect no run disk", "line 6:", "runs were begun"),
    ];
    for (lines, place, texts) in cases {
        let report = play(&format!("{config}{lines}\n")).unwrap();
        assert_eq!(report.failures.len(), 1, "{lines}: {report}");
        let shown = report.failures[0].to_string();
        assert!(shown.starts_with(place), "{lines}: {shown}");
        let found = |text: &str| shown.contains(text);
        assert!(texts.split('|').any(found), "{lines}: {shown}");
        assert!(report.to_string().contains(&shown), "{report}");
    }
}

/// What happened can be read.
#[test]
fn a_report_tells_the_story() {
    let text = "config\n[check.disk]\ncommand = \"true\"\nend\nat 5m disk critical \"91%\"\nat 10m disk ok\nat 15m\n";
    let report = play(text).unwrap();
    assert!(report.is_good(), "{report}");
    let shown = report.to_string();
    for part in [
        "told   trigger //web-1/main/disk to ops: 91%",
        "told   resolve //web-1/main/disk to ops: 91%",
        "run    //web-1/main/disk: critical \"91%\"",
        "event  recovery critical //web-1/main/disk: 91%",
        "line   at 5m disk critical \"91%\"",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}
