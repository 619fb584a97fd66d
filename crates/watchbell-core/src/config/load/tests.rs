//! The loader over several files and several readings of them.

mod hostile;

use super::*;
use crate::{
    config::{
        Capabilities, CheckPolicy, Key, Kind, LogFormat, Missed, Overlap, Reader, Renotify, Retry, Scope, Shape, Style,
    },
    model::Severity,
    schedule::Schedule,
};
use jiff::tz::TimeZone;
use std::{sync::Arc, time::Duration};

type Program = Arc<String>;

const NONE: Capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 250 };
const TYPE: Key = Key { name: "type", shape: Shape::Choice(&["metric", "job"]), doc: "" };
const RUN: &[Key] =
    &[Key { name: "run", shape: Shape::String, doc: "" }, Key { name: "cwd", shape: Shape::String, doc: "" }, TYPE];
const NAGIOS: &[Key] = &[Key { name: "nagios", shape: Shape::String, doc: "" }];
const COMMAND: &[Key] = &[Key { name: "command", shape: Shape::String, doc: "" }];
const URL: &[Key] = &[Key { name: "http", shape: Shape::String, doc: "" }];

/// The program is its own table, as text: keys and values.
fn read_any(reader: &mut Reader<'_>) -> Option<Program> {
    let text = |e: &crate::config::tree::Entry| format!("{}={}", e.key, e.value.value);
    Some(Arc::new(reader.table.entries.iter().map(text).collect::<Vec<_>>().join(" ")))
}

const fn kind(key: &'static str, keys: &'static [Key]) -> Kind<Program> {
    Kind { key, doc: "", example: "", keys, capabilities: NONE, read: read_any }
}

const KINDS: Kinds<Program, Program> = Kinds {
    checks: &[
        kind("run", RUN),
        kind("nagios", NAGIOS),
        kind("command", COMMAND),
        kind("http", URL),
        kind("query", crate::config::keys::QUERY_KEYS),
    ],
    notifiers: &[kind("note", &[Key { name: "to", shape: Shape::Strings, doc: "" }])],
};

fn config() -> Config<Program, Program> {
    let options =
        LoadOptions { root: "/etc/watchbell".into(), default_agent_name: "web-1".into(), local_zone: TimeZone::UTC };
    Config::new(KINDS, options, |notifier| {
        notifier.split(' ').filter(|w| w.starts_with("to=")).map(Into::into).collect()
    })
}

fn input(path: &str, text: &str) -> InputFile {
    InputFile { path: path.into(), absolute: format!("/etc/watchbell/{path}"), text: Ok(text.into()) }
}

/// Files as (path, text); all are read again.
fn reload(config: &mut Config<Program, Program>, files: &[(&str, &str)]) -> Loaded<Program, Program> {
    config.update(files.iter().map(|(path, text)| input(path, text)).collect());
    config.assemble()
}

fn load(files: &[(&str, &str)]) -> Loaded<Program, Program> {
    reload(&mut config(), files)
}

/// One check in one file beside an agent that has two notifiers.
fn check(body: &str) -> Arc<CheckPolicy> {
    let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", &format!("[check.x]\n{body}\n"))]);
    assert_eq!(loaded.problems.list, [], "{body}");
    loaded.policy.checks["//web-1/app/x"].clone()
}

const AGENT: &str = "[agent]\nnotify = [\"ops\"]\n[notify.ops]\nkind = \"note\"\n[notify.pager]\nkind = \"note\"\n";

fn faults(loaded: &Loaded<Program, Program>) -> Vec<(&str, &str)> {
    loaded.policy.faults.iter().map(|f| (f.name.as_str(), f.message.as_str())).collect()
}

fn names(loaded: &Loaded<Program, Program>) -> Vec<&str> {
    loaded.policy.checks.keys().map(Name::as_str).collect()
}

/// S3.12: a file that can't be parsed keeps what it said before and is a fault; everything else goes on.
#[test]
fn a_broken_file_keeps_what_it_had() {
    let mut config = config();
    let good = "[check.a]\nrun = \"a\"\nretry = 7\n[check.b]\nrun = \"b\"\n[notify.x]\nkind = \"note\"\n";
    let first =
        reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", good), ("db.toml", "[check.c]\nrun = \"c\"\n")]);
    assert_eq!(names(&first), ["//web-1/app/a", "//web-1/app/b", "//web-1/db/c"]);
    assert_eq!(faults(&first), []);

    let bad =
        [("watchbell.toml", AGENT), ("app.toml", "[check.a]\nrun = a\n"), ("db.toml", "[check.d]\nrun = \"d\"\n")];
    let second = reload(&mut config, &bad);
    assert_eq!(names(&second), ["//web-1/app/a", "//web-1/app/b", "//web-1/db/d"]);
    assert_eq!(second.policy.checks["//web-1/app/a"].retry, 7);
    assert!(second.notifiers.contains_key("x"));
    let message = "app.toml:2:7: text must stand in quotes; what the file said before goes on";
    assert_eq!(faults(&second), [("//web-1/app/", message)]);
    assert!(second.policy.faults[0].detail.contains("2 | run = a\n"));
    assert!(second.policy.broken.is_empty());
    assert_eq!(second.files[0].path, "app.toml");
    assert!(second.files[0].broken);

    // Still broken in another way, then well again.
    let third = reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", "[check")]);
    assert_eq!(names(&third), ["//web-1/app/a", "//web-1/app/b"]);
    let fourth = reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", "[check.a]\nrun = \"a\"\n")]);
    assert_eq!((names(&fourth), faults(&fourth)), (vec!["//web-1/app/a"], vec![]));
    assert_eq!(fourth.policy.checks["//web-1/app/a"].retry, 3);
}

/// S3.12: at start nothing is last good: the file is a fault, and what is known of its checks stays, stale.
#[test]
fn a_file_that_was_never_good() {
    let mut unreadable = input("db.toml", "");
    unreadable.text = Err("permission denied".into());
    let mut config = config();
    let flake = input("flakes/a.flake.json", "{");
    config.update(vec![input("watchbell.toml", AGENT), input("app.toml", "x = = 1"), unreadable, flake]);
    let loaded = config.assemble();
    assert_eq!(names(&loaded), Vec::<&str>::new());
    let expect = ["//web-1/app/", "//web-1/db/", "//web-1/flakes/a.flake.json"];
    assert_eq!(faults(&loaded).iter().map(|(name, _)| *name).collect::<Vec<_>>(), expect);
    assert_eq!(
        faults(&loaded)[1].1,
        "db.toml: the file can't be read: permission denied; nothing of this file is used"
    );
    let broken: Vec<_> = loaded.policy.broken.iter().map(String::as_str).collect();
    assert_eq!(broken, ["//web-1/app/", "//web-1/db/", "//web-1/flakes/"]);
}

/// S3.12: which checks stand in a folder that can't be read, nobody knows: none counts as removed.
#[test]
fn a_folder_that_cannot_be_read() {
    let folder = |path: &str| InputFile { text: Err("permission denied".into()), ..input(path, "") };
    let mut config = config();
    config.update(vec![input("watchbell.toml", AGENT), folder("team/apps/")]);
    let loaded = config.assemble();
    let message = "team/apps/: the folder can't be read: permission denied; what its files said before goes on";
    assert_eq!(faults(&loaded), [("//web-1/apps/", message)]);
    assert_eq!(loaded.policy.broken.iter().collect::<Vec<_>>(), ["//web-1/"]);
}

/// A file that was named by hand is CIMAA's agent's if it says so, whatever its name ends in.
#[test]
fn cimaas_agent_file_under_another_name() {
    let cimaa = "[agent]\nhostname = box\ndirectory = conf.d\n";
    let loaded = load(&[("cimaa.conf", cimaa)]);
    assert_eq!(loaded.agent_file.as_deref(), Some("cimaa.conf"));
    assert_eq!(loaded.agent.conf.len(), 1);
    let passwd = load(&[("passwd", "root:x:0:0:root:/root:/bin/bash\n")]);
    assert!(passwd.agent_file.is_none() && passwd.files[0].broken);
}

/// S3.12: a bad check in a good file keeps its own last good, under a fault of its own; the rest changes.
#[test]
fn a_bad_check_keeps_its_own() {
    let mut config = config();
    let first = "[defaults]\nnotify = [\"pager\"]\n[check.a]\nrun = \"a\"\nretry = 7\n[check.b]\nrun = \"b\"\n";
    reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", first)]);
    let second = "[defaults]\nnotify = [\"pager\"]\n[check.a]\nrun = \"a2\"\nretry = -7\n[check.b]\nrun = \"b2\"\n[check.c]\nevery = \"1m\"\n";
    let loaded = reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", second)]);
    assert_eq!(names(&loaded), ["//web-1/app/a", "//web-1/app/b"]);
    assert_eq!(*loaded.programs["//web-1/app/a"], "run=\"a\" retry=7 cwd=\"/etc/watchbell\"");
    assert_eq!(*loaded.programs["//web-1/app/b"], "run=\"b2\" cwd=\"/etc/watchbell\"");
    assert_eq!(
        faults(&loaded),
        [
            (
                "//web-1/app/a#config",
                "app.toml:5:9: `retry` must be from 0 to 1000, this is -7; the check runs as it was before"
            ),
            ("//web-1/app/c", "app.toml:8:1: `[check.c]` does not say what to run; the check does not run"),
        ]
    );
    assert!(loaded.policy.faults.iter().all(|f| f.notify == ["pager".into()]), "the file's own default is told");
    assert_eq!(loaded.policy.broken.iter().collect::<Vec<_>>(), ["//web-1/app/c"]);
}

/// S3.1: an application drops its file into the folder, changes it and takes it away; nothing restarts.
#[test]
fn files_come_change_and_go() {
    let mut config = config();
    assert_eq!(names(&reload(&mut config, &[("watchbell.toml", AGENT)])), Vec::<&str>::new());
    let files = [("watchbell.toml", AGENT), ("shop/app.toml", "[check.a]\nrun = \"a\"\n")];
    let second = reload(&mut config, &files);
    assert_eq!(names(&second), ["//web-1/app/a"]);
    let again = reload(&mut config, &files);
    assert!(Arc::ptr_eq(&second.programs["//web-1/app/a"], &again.programs["//web-1/app/a"]), "read again for nothing");
    assert!(Arc::ptr_eq(&second.policy.checks["//web-1/app/a"], &again.policy.checks["//web-1/app/a"]));
    let renamed = reload(&mut config, &[("watchbell.toml", AGENT), ("shop/app.toml", "[check.b]\nrun = \"a\"\n")]);
    assert_eq!(names(&renamed), ["//web-1/app/b"]);
    assert_eq!(names(&reload(&mut config, &[("watchbell.toml", AGENT)])), Vec::<&str>::new());
}

/// S1.1: a duplicate name is an error that shows both places; the one that runs stays, and the other takes
/// its place when it is gone.
#[test]
fn of_two_with_one_name_the_one_that_runs_stays() {
    let mut config = config();
    let (a, b) = ("[check.x]\nrun = \"first\"\n", "[check.x]\nrun = \"second\"\n");
    reload(&mut config, &[("watchbell.toml", AGENT), ("z/app.toml", a)]);
    let both = reload(&mut config, &[("watchbell.toml", AGENT), ("a/app.toml", b), ("z/app.toml", a)]);
    assert!(both.programs["//web-1/app/x"].contains("first"));
    let [(name, message)] = faults(&both)[..] else { panic!("{:?}", faults(&both)) };
    assert_eq!(name, "//web-1/app/x#config");
    assert_eq!(
        message,
        "a/app.toml:1:8: there is another check named `x` in `z/app.toml`, which is used; this one is not"
    );
    let detail = &both.policy.faults[0].detail;
    assert!(detail.contains("--> a/app.toml:1:8") && detail.contains("::: z/app.toml:1:8"), "{detail}");
    let one = reload(&mut config, &[("watchbell.toml", AGENT), ("a/app.toml", b)]);
    assert!(one.programs["//web-1/app/x"].contains("second"));
    assert_eq!(faults(&one), []);
}

#[test]
fn who_is_told() {
    for (defaults, notify, expect) in [
        ("", "", "ops"),
        ("notify = [\"pager\"]", "", "pager"),
        ("notify = [\"pager\"]", "notify = [\"ops\", \"pager\", \"ops\"]", "ops pager"),
        ("notify = [\"pager\"]", "notify = []", ""),
        ("notify = []", "", ""),
        ("notify = \"pager\"", "notify = [\"nobody\"]", "pager"),
        ("notify = [\"nobody\"]", "", "ops"),
        ("", "notify = [\"nobody\", \"pager\"]", "pager"),
    ] {
        let text = format!("[defaults]\n{defaults}\n[check.x]\nrun = \"x\"\n{notify}\n");
        let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", &text)]);
        assert_eq!(loaded.policy.checks["//web-1/app/x"].notify.join(" "), expect, "{text}");
        assert_eq!(loaded.problems.errors(), usize::from(text.contains("nobody")), "{text}");
    }
}

#[test]
fn a_notifier_that_cannot_be_used_is_reported_once() {
    let agent = "[agent]\nnotify = [\"ops\"]\n[notify.ops]\nkind = \"note\"\n[notify.pager]\nkind = \"nonsense\"\n";
    let loaded = load(&[("watchbell.toml", agent), ("app.toml", "[check.x]\nrun = \"x\"\nnotify = [\"pager\"]\n")]);
    assert_eq!(faults(&loaded).iter().map(|f| f.0).collect::<Vec<_>>(), ["//web-1/watchbell/[notify.pager]"]);
    assert_eq!(loaded.policy.checks["//web-1/app/x"].notify, ["ops".into()]);
}

#[test]
fn notifiers_know_their_targets_pace_and_fallback() {
    let agent = "[agent]\nnotify = [\"a\"]\n[notify.a]\nkind = \"note\"\nto = \"x\"\nfallback = \"b\"\n\
                 [notify.b]\nkind = \"note\"\ngap = \"2s\"\nin_flight = 5\n";
    let loaded = load(&[("watchbell.toml", agent)]);
    let (a, b) = (&loaded.policy.notifiers["a"], &loaded.policy.notifiers["b"]);
    assert_eq!((a.fallback.as_deref(), a.pace.gap, a.pace.in_flight_max), (Some("b"), Duration::from_millis(250), 1));
    assert_eq!((b.fallback.as_deref(), b.pace.gap, b.pace.in_flight_max), (None, Duration::from_secs(2), 5));
    assert_eq!((a.targets.join(","), b.targets.len()), ("to=\"x\"".to_owned(), 0));
}

#[test]
fn parents_by_short_and_long_names() {
    for (word, expect) in [
        ("router", "//web-1/app/router"),
        ("net/switch", "//web-1/net/switch"),
        ("//web-1/net/switch", "//web-1/net/switch"),
        ("off", ""),
        ("x", ""),
    ] {
        let app = format!(
            "[check.x]\nrun = \"x\"\nparents = [\"{word}\"]\n[check.router]\nrun = \"r\"\n[check.off]\nrun = \"o\"\nenabled = false\n"
        );
        let net = "[check.switch]\nrun = \"s\"\n[check.router]\nrun = \"r2\"\n";
        let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", &app), ("net.toml", net)]);
        assert_eq!(loaded.policy.checks["//web-1/app/x"].parents.join(" "), expect, "{word}");
        assert_eq!(loaded.problems.errors(), 0, "{word}");
        assert!(!loaded.policy.checks.contains_key("//web-1/app/off"));
    }
}

#[test]
fn defaults_of_a_file() {
    let text = "[defaults]\nevery = \"10m\"\nretry = 1\nlabels = { team = \"shop\", tier = \"2\" }\n\
                [check.a]\nrun = \"a\"\nlabels = { tier = \"1\" }\n\
                [check.b]\nrun = \"b\"\ncron = \"0 3 * * *\"\nretry = 2\n[check.c]\npassive = \"1h\"\n";
    let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", text)]);
    assert_eq!(loaded.problems.list, []);
    let [a, b, c] = ["a", "b", "c"].map(|x| loaded.policy.checks[format!("//web-1/app/{x}").as_str()].clone());
    assert!(matches!(a.schedule, Some(Schedule::Every { period, .. }) if period == Duration::from_secs(600)));
    assert_eq!((a.retry, b.retry, c.retry), (1, 2, 0));
    assert_eq!(a.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["team=shop", "tier=1"]);
    assert!(matches!(b.schedule, Some(Schedule::Cron { .. })));
    assert!(c.schedule.is_none());
    assert_eq!(c.passive.as_ref().map(|p| p.within), Some(Duration::from_secs(3600)));
    assert_eq!((a.file.as_str(), a.line, b.line), ("app.toml", 5, 8));
    assert!(!loaded.programs.contains_key("//web-1/app/c"));
}

/// What Watchbell does not run again to look is certain at once: a nightly job that fails is told on its first night.
/// Defaults are meant for others; what asks for retries itself gets them.
#[test]
fn what_is_not_run_again_has_no_retries() {
    let job =
        |name: &str, more: &str| format!("[check.{name}]\nrun = \"x\"\ntype = \"job\"\ncron = \"0 3 * * *\"\n{more}\n");
    let passive = |name: &str, more: &str| format!("[check.{name}]\npassive = \"26h\"\n{more}\n");
    let own = "retry = 2";
    let table = [job("job", ""), job("job-own", own), passive("passive", ""), passive("passive-own", own)].concat();
    let text = format!("{table}[check.plain]\nrun = \"x\"\n[check.nightly]\nrun = \"x\"\ncron = \"@daily\"\n");
    for (defaults, others) in [("", 3), ("[defaults]\nretry = 5\nretry_interval = \"1s\"\n", 5)] {
        let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", &format!("{defaults}{text}"))]);
        assert_eq!(loaded.problems.list, []);
        let retries = loaded.policy.checks.iter().map(|(name, check)| (name.rsplit('/').next().unwrap(), check.retry));
        let expect =
            [("job", 0), ("job-own", 2), ("nightly", others), ("passive", 0), ("passive-own", 2), ("plain", others)];
        assert_eq!(retries.collect::<Vec<_>>(), expect, "{defaults}");
    }
}

#[test]
fn defaults_that_are_wrong_are_reported_once_and_checks_run_as_before() {
    let mut config = config();
    let file = |retry: &str| format!("[defaults]\nretry = {retry}\n[check.a]\nrun = \"a\"\n[check.b]\nrun = \"b\"\n");
    reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", &file("9"))]);
    let loaded = reload(&mut config, &[("watchbell.toml", AGENT), ("app.toml", &file("\"x\""))]);
    assert_eq!(loaded.policy.checks["//web-1/app/b"].retry, 9);
    assert_eq!(faults(&loaded).iter().map(|f| f.0).collect::<Vec<_>>(), ["//web-1/app/[defaults]"]);
}

#[test]
fn common_keys() {
    let plain = check("run = \"x\"");
    assert_eq!(plain.retry_interval, Retry::After(Duration::from_secs(60)));
    assert_eq!((plain.alert_from, plain.missed, plain.overlap), (None, Missed::Skip, Overlap::Skip));
    assert_eq!((plain.renotify, plain.flapping, plain.style), (Renotify::Never, None, Style::Native));
    let all = check(
        "run = \"x\"\nalert_from = \"warning\"\nmissed = \"all\"\noverlap = \"queue\"\nrenotify = \"4h\"\nflapping = true\n\
         hours = \"weekdays 08:00-18:00\"\nthresholds = \"load warning > 5\"",
    );
    assert_eq!((all.alert_from, all.missed, all.overlap), (Some(Severity::Warning), Missed::All, Overlap::Queue));
    assert_eq!((all.renotify, all.flapping), (Renotify::Every(Duration::from_secs(14_400)), Some((30.0, 25.0))));
    assert!(all.hours.is_some());
    assert_eq!(all.thresholds.len(), 1);
    assert_eq!(check("run = \"x\"\nevery = \"7s\"").retry_interval, Retry::After(Duration::from_secs(7)));
}

#[test]
fn time_limits() {
    for (body, seconds) in [
        ("run = \"x\"", 42.0),
        ("run = \"x\"\nevery = \"10s\"", 7.0),
        ("run = \"x\"\nevery = \"1h\"", 60.0),
        ("run = \"x\"\ncron = \"@daily\"", 60.0),
        ("run = \"x\"\ncron = \"@daily\"\ntimeout = \"2h\"", 7200.0),
    ] {
        assert_eq!(check(body).timeout.as_secs_f64(), seconds, "{body}");
    }
}

#[test]
fn what_is_shown_of_a_check_masks_passwords() {
    for (body, shown) in [
        ("run = \"df -h\"", "df -h"),
        ("run = [\"grep\", \"it's\", \"/var/log/x\"]", r"grep 'it'\''s' /var/log/x"),
        ("http = \"https://user:pass@example.com/?a=b:c@d\"", "https://user:***@example.com/?a=b:c@d"),
        ("http = \"https://example.com/@x\"", "https://example.com/@x"),
    ] {
        assert_eq!(check(body).shown, shown, "{body}");
    }
}

#[test]
fn native_commands_run_in_the_config_folder() {
    for (cwd, expect) in [("", "/etc/watchbell"), ("cwd = \"./res\"", "/etc/watchbell/res"), ("cwd = \"/srv\"", "/srv")]
    {
        let text = format!("[check.x]\nrun = \"x\"\n{cwd}\n");
        let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", &text)]);
        assert!(loaded.programs["//web-1/app/x"].contains(&format!("cwd=\"{expect}\"")), "{:?}", loaded.programs);
    }
}

/// S1.1, S1.3: a flake at any depth is `//AGENT/flakes/NAME` and gets the agent's credentials file.
#[test]
fn flakes() {
    let agent = AGENT.replace("[agent]", "[agent]\ncredentials = \"cred.json\"");
    let flake =
        r#"{"flakeName": "load", "flakeCronstring": "*/5 * * * *", "flakeType": "job", "flakeCommand": "./res/x.sh"}"#;
    let loaded = load(&[("watchbell.toml", &agent), ("shop/flakes/deep/a.flake.json", flake)]);
    assert_eq!(loaded.problems.list, []);
    let check = &loaded.policy.checks["//web-1/flakes/load"];
    assert_eq!((check.style, check.job, check.retry), (Style::Flake, true, 0));
    assert_eq!(check.timeout, Duration::from_secs(86_400));
    let program = &loaded.programs["//web-1/flakes/load"];
    assert!(program.contains("env_file=\"/etc/watchbell/cred.json\""), "{program}");
    assert!(program.contains("cwd=\"/etc/watchbell/shop\""), "{program}");
    assert!(program.contains("default_env_file=\"/etc/watchbell/shop/creds.json\""), "{program}");
}

/// S1.4: whether a flake may run beside itself, and all else that its format has no word for, is `[flakes]` in the agent's
/// file; a mistake there is told once, and flakes go on as they were.
#[test]
fn flakes_are_configured_in_one_place() {
    let flake = |name: &str| {
        format!(
            r#"{{"flakeName": "{name}", "flakeCronstring": "@hourly", "flakeType": "metric", "flakeCommand": "x"}}"#
        )
    };
    let (a, b) = (flake("a"), flake("b"));
    let agent = |flakes: &str| format!("{AGENT}\n[flakes]\n{flakes}\n");
    let good = "overlap = \"allow\"\ntimeout = \"5m\"\nretry = 2\nnotify = [\"pager\"]\nlabels = { team = \"shop\" }";
    let mut config = config();
    let mut load = |flakes: &str| {
        let agent = agent(flakes);
        let native = "[check.x]\nrun = \"x\"\n";
        let files =
            [("watchbell.toml", agent.as_str()), ("a.flake.json", &a), ("b.flake.json", &b), ("x.toml", native)];
        let loaded = reload(&mut config, &files);
        let shown = |name: &str| {
            let check = &loaded.policy.checks[name];
            let notify: Vec<_> = check.notify.iter().map(Name::as_str).collect();
            format!("{:?} {:?} {} {} {:?}", check.overlap, check.timeout, check.retry, notify.join(" "), check.labels)
        };
        let (a, b) = (shown("//web-1/flakes/a"), shown("//web-1/flakes/b"));
        assert_eq!(a, b);
        assert_eq!(shown("//web-1/x/x"), "Skip 42s 3 ops {}");
        (a, faults(&loaded).into_iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
    };
    let none: [&str; 0] = [];
    assert_eq!(load(""), ("Skip 3600s 0 ops {}".to_owned(), none.map(str::to_owned).to_vec()));
    let set = "Allow 300s 2 pager {\"team\": \"shop\"}".to_owned();
    assert_eq!(load(good), (set.clone(), Vec::new()));
    let wrong = vec!["//web-1/watchbell/[flakes]".to_owned()];
    assert_eq!(load("overlap = \"never\""), (set, wrong.clone()));
    assert_eq!(load("notify = [\"nobody\"]"), ("Skip 3600s 0 ops {}".to_owned(), wrong));
    assert_eq!(load(""), ("Skip 3600s 0 ops {}".to_owned(), Vec::new()));
}

/// S3.2: names, ticks and limits of CIMAA's check files, and its own words for what is broken.
#[test]
fn cimaa_check_files() {
    let text = "[disk]\ncommand = check_disk\ninterval = 5\nretry_interval = 2\n[//shared/x]\ncommand = check_x\n\
                [yada]\ncommand = y\nnagios_performance = yada\n[thr]\ncommand = t\nthresholds = a warning >> 5\n";
    let loaded = load(&[("watchbell.toml", AGENT), ("app.cfg", text), ("bad.cfg", "command = x\n")]);
    assert_eq!(names(&loaded), ["//shared/x", "//web-1/app/disk"]);
    let disk = &loaded.policy.checks["//web-1/app/disk"];
    let base = Duration::from_secs(60);
    assert!(
        matches!(disk.schedule, Some(Schedule::Ticks { base: b, interval: 5, offset }) if b == base && offset < base)
    );
    assert_eq!((disk.retry_interval, disk.timeout), (Retry::Ticks(2), Duration::from_secs(42)));
    assert_eq!((disk.style, disk.renotify), (Style::Cimaa, Renotify::OnChange));
    let [thr, yada, bad] = faults(&loaded)[..] else { panic!("{:?}", faults(&loaded)) };
    assert_eq!(yada.0, "//web-1/app/yada");
    assert_eq!(yada.1, "error loading check /etc/watchbell/app.cfg [yada]: bad value for nagios_performance: 'yada'");
    assert!(thr.1.starts_with("error loading check /etc/watchbell/app.cfg [thr]: "), "{}", thr.1);
    assert_eq!(thr.0, "//web-1/app/thr");
    assert_eq!(bad, ("//web-1/bad/", "error parsing /etc/watchbell/bad.cfg"));
}

/// S3.2: CIMAA's own agent file speaks for the agent where there is no native one.
#[test]
fn cimaa_agent_file() {
    let agent = "[agent]\ndirectory = checks.d\nname = host.example.com\nbase_interval = 30\nlogging = CRITICAL\n\
                 [metrics]\nclass = zc.cimaa.logmetrics:LogMetrics\n";
    let files = [("agent.cfg", agent), ("checks.d/app.cfg", "[disk]\ncommand = check_disk\n")];
    let loaded = load(&files);
    assert_eq!(names(&loaded), ["//host.example.com/app/disk"]);
    assert_eq!(loaded.agent_file.as_deref(), Some("agent.cfg"));
    assert_eq!(loaded.agent.conf, ["/etc/watchbell/checks.d"]);
    assert_eq!((loaded.agent.log.level, loaded.agent.metrics_log.as_deref()), ("error", Some("metrics")));
    assert_eq!(loaded.policy.agent.base_interval, Duration::from_secs(30));
    assert_eq!(loaded.policy.agent.deliver_timeout, Duration::from_secs(6));
    assert_eq!(loaded.policy.checks["//host.example.com/app/disk"].timeout, Duration::from_secs(21));

    let both = load(&[("watchbell.toml", AGENT), files[0], files[1]]);
    assert_eq!(
        (names(&both), both.problems.list.len()),
        (vec!["//host.example.com/app/disk"], 1),
        "{:?}",
        both.problems.list
    );
    let three = load(&[("watchbell.toml", AGENT), files[0], ("z.cfg", agent)]);
    assert!(three.problems.list.iter().any(|p| p.message.contains("another file speaks for the agent")));
}

#[test]
fn agent_settings() {
    let text = "[agent]\nname = \"db-1\"\nstate = \"./state\"\nlisten = \"0.0.0.0:80\"\nnotify = \"ops\"\nrunning_max = 9\n\
        alert_timeout_percent = 50\ntime_zone = \"Europe/Berlin\"\nsentry_dsn = { file = \"/x\" }\nlog_format = \"json\"\n\
        syslog = true\ncheck_log_size = \"2 MiB\"\nsquelch_max = \"8h\"\nconf = \"/srv/conf\"\n\
        tokens = [{ name = \"t\", scopes = [\"read\", \"ingest\"], sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" }]\n\
        [notify.ops]\nkind = \"note\"\n";
    let loaded = load(&[("watchbell.toml", text)]);
    assert_eq!(loaded.problems.list, []);
    let (agent, policy) = (&loaded.agent, &loaded.policy.agent);
    assert_eq!((agent.state.as_str(), agent.listen.as_deref()), ("/etc/watchbell/state", Some("0.0.0.0:80")));
    assert_eq!((policy.name.as_str(), policy.running_max), ("db-1", 9));
    assert_eq!(policy.deliver_timeout, Duration::from_secs(30));
    assert_eq!((agent.log.format, agent.log.syslog, agent.check_log.size_max_bytes), (LogFormat::Json, true, 2 << 20));
    assert_eq!(policy.squelch_max, Some(Duration::from_secs(28_800)));
    assert_eq!(agent.conf, ["/srv/conf"]);
    let scopes: Vec<_> = agent.tokens[0].scopes.iter().copied().collect();
    assert_eq!((scopes, agent.tokens[0].sha256[0]), (vec![Scope::Read, Scope::Ingest], 0xe3));
    assert_eq!(agent.zone.iana_name(), Some("Europe/Berlin"));
}

/// A mistake closes doors and opens none: whoever wrote `tokens`, however wrong, wants them, and a `listen` that can't be
/// read listens nowhere.
#[test]
fn a_mistake_opens_nothing() {
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let token = format!("{{ name = \"t\", sha256 = \"{hash}\" }}");
    let short = format!("{{ name = \"t\", sha256 = \"{}\" }}", &hash[1..]);
    let default = Some("127.0.0.1:7878");
    let agent = |keys: String| format!("[agent]\nnotify = \"ops\"\n{keys}\n[notify.ops]\nkind = \"note\"\n");
    for (text, wanted, listen) in [
        (agent(String::new()), false, default),
        (agent(format!("tokens = [{token}]")), true, default),
        (agent(format!("tokens = [{short}]")), true, default),
        (agent(format!("token = [{token}]")), true, default),
        (agent(format!("tokens = {token}")), true, default),
        (agent("tokens = \"secret\"".into()), true, default),
        (agent("tokens = []".into()), true, default),
        (agent("tokens = [{ sha256 = 3 }, 4]".into()), true, default),
        (agent(format!("[[agent.token]]\nname = \"t\"\nsha256 = \"{hash}\"")), true, default),
        (format!("tokens = [{token}]\n{}", agent(String::new())), true, default),
        (format!("{}tokens = [{token}]\n", agent(String::new())), true, default),
        (format!("[agnt]\ntokens = [{token}]\n"), true, default),
        ("agent = 3\n".into(), true, default),
        (agent("tokens = [".into()), true, default),
        (agent("listen = \"off\"".into()), false, None),
        (agent("listen = \"of\"".into()), false, None),
        (agent("listen = false".into()), false, None),
        (agent("lisen = \"off\"".into()), false, None),
        (agent("listen = \"0.0.0.0:80\"".into()), false, None),
        (agent(format!("listen = \"0.0.0.0:80\"\ntokens = [{short}]")), true, Some("0.0.0.0:80")),
    ] {
        let loaded = load(&[("watchbell.toml", &text)]);
        assert_eq!((loaded.agent.token_wanted, loaded.agent.listen.as_deref()), (wanted, listen), "{text}");
    }
}

/// A reload with a bad `[agent]` changes nothing of the agent; one with another name renames every check.
#[test]
fn the_agent_over_reloads() {
    let mut config = config();
    let app = ("app.toml", "[check.x]\nrun = \"x\"\n");
    reload(&mut config, &[("watchbell.toml", "[agent]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\n"), app]);
    let bad = reload(&mut config, &[("watchbell.toml", "[agent]\nname = \"b\"\nlisten = \"nonsense\"\n"), app]);
    assert_eq!((names(&bad), bad.agent.listen.as_deref()), (vec!["//a/app/x"], Some("127.0.0.1:1")));
    assert_eq!(faults(&bad).iter().map(|f| f.0).collect::<Vec<_>>(), ["//a/watchbell/[agent]"]);
    let broken = reload(&mut config, &[("watchbell.toml", "[agent"), app]);
    assert_eq!((names(&broken), broken.agent_broken), (vec!["//a/app/x"], false));
    let other = reload(&mut config, &[("watchbell.toml", "[agent]\nname = \"c\"\n"), app]);
    assert_eq!(names(&other), ["//c/app/x"]);
    assert!(load(&[("watchbell.toml", "[agent"), app]).agent_broken);

    let renamed = "[agent]\nname = \"d\"\n";
    let bad_check = ("app.toml", "[check.x]\nrun = \"x\"\nretry = -1\n");
    assert_eq!(names(&reload(&mut config, &[("watchbell.toml", renamed), bad_check])), ["//d/app/x"]);
    let kept = reload(&mut config, &[("watchbell.toml", "[agent]\nname = \"e\"\n"), ("app.toml", "[")]);
    assert_eq!(names(&kept), ["//e/app/x"]);
    assert_eq!(kept.policy.checks["//e/app/x"].name.as_str(), "//e/app/x");
}

#[test]
fn kinds_of_files() {
    for (path, expect) in [
        ("watchbell.toml", Some(FileKind::Agent)),
        ("sub/watchbell.toml", Some(FileKind::Toml)),
        ("a.b.toml", Some(FileKind::Toml)),
        ("flakes/x.flake.json", Some(FileKind::Flake)),
        ("x.cfg", Some(FileKind::Cimaa)),
        ("x.dwmon", Some(FileKind::Dwmon)),
        ("x.json", None),
        (".app.toml", None),
        ("app.toml~", None),
    ] {
        assert_eq!(FileKind::of(path), expect, "{path}");
    }
}

/// Ten thousand checks in four files load, reload and are found; nothing in it is quadratic.
#[test]
fn ten_thousand_checks() {
    let mut files = vec![("watchbell.toml".to_owned(), AGENT.to_owned())];
    for file in 0..4 {
        let mut text = "[defaults]\nretry = 2\n".to_owned();
        for check in 0..2500 {
            let parent = if check == 0 { String::new() } else { format!("parents = [\"c{}\"]\n", check - 1) };
            text.push_str(&format!("[check.c{check}]\nrun = \"check {check}\"\nevery = \"5m\"\n{parent}\n"));
        }
        files.push((format!("app{file}.toml"), text));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut config = config();
    let loaded = reload(&mut config, &files);
    assert_eq!((loaded.policy.checks.len(), loaded.problems.list.len()), (10_000, 0));
    assert_eq!(loaded.policy.checks["//web-1/app3/c2499"].parents, ["//web-1/app3/c2498".into()]);
    assert_eq!(loaded.policy.checks["//web-1/app3/c2499"].line, 2 + 5 * 2499);
    assert_eq!(reload(&mut config, &files).programs.len(), 10_000);
}

#[test]
fn the_same_files_mean_the_same_in_any_order() {
    let files =
        [("b.toml", "[check.x]\nrun = \"1\"\n"), ("watchbell.toml", AGENT), ("sub/b.toml", "[check.x]\nrun = \"2\"\n")];
    let mut reversed = files;
    reversed.reverse();
    let (one, two) = (load(&files), load(&reversed));
    assert_eq!(one.programs, two.programs);
    assert_eq!(one.problems, two.problems);
}

#[test]
fn circles_are_cut_where_they_close() {
    let text = "[check.a]\nrun = \"a\"\nparents = [\"b\"]\n[check.b]\nrun = \"b\"\nparents = [\"a\"]\n\
                [notify.x]\nkind = \"note\"\nfallback = \"y\"\n[notify.y]\nkind = \"note\"\nfallback = \"x\"\n";
    let loaded = load(&[("watchbell.toml", AGENT), ("app.toml", text)]);
    let parents = |name: &str| loaded.policy.checks[name].parents.join(" ");
    assert_eq!((parents("//web-1/app/a"), parents("//web-1/app/b")), ("//web-1/app/b".into(), String::new()));
    let fallback = |name: &str| loaded.policy.notifiers[name].fallback.as_deref().map(str::to_owned);
    assert_eq!((fallback("x"), fallback("y")), (Some("y".into()), None));
    assert_eq!(loaded.problems.errors(), 2);
}

proptest::proptest! {
    /// Whatever becomes of a file: it loads, what is wrong can be shown, and what was good before stays whole.
    #[test]
    fn nothing_in_a_file_is_too_odd(at in 0usize..400, cut in 0usize..30, put in ".{0,6}", which in 0usize..3) {
        let native = "[agent]\nnotify = [\"ops\"]\nlisten = \"127.0.0.1:1\"\n[notify.ops]\nkind = \"note\"\n[defaults]\nretry = 1\n\
            [check.a]\nrun = \"größe 日本\"\ncron = \"*/5 * * * mon-fri\"\nthresholds = [\"load warning > 5\"]\nhours = \"weekdays 08:00-18:00\"\n\
            labels = { a = \"b\" }\nparents = [\"b\"]\nflapping = { high = 30, low = 25 }\n[check.b]\npassive = \"1h\"\n";
        let flake = r#"{"flakeName": "löad", "flakeCronstring": "* * * * *", "flakeCommand": "x", "flakeType": "metric", "flakeUnit": "Count"}"#;
        let cimaa = "[disk]\ncommand = check_disk -w 10%\ninterval = 5\nthresholds =\n  load warning > 5\n  'a b' error > 7\n";
        let files = [("watchbell.toml", native), ("x.flake.json", flake), ("y.cfg", cimaa)];
        let mut config = config();
        reload(&mut config, &files);
        let (path, good) = files[which];
        let mut chars: Vec<char> = good.chars().collect();
        let start = at.min(chars.len());
        let end = (start + cut).min(chars.len());
        chars.splice(start..end, put.chars());
        let bad: String = chars.into_iter().collect();
        let mut changed = files;
        changed[which] = (path, bad.as_str());
        let loaded = reload(&mut config, &changed);
        proptest::prop_assert!(!crate::config::render(&loaded.problems, true).contains('\r'));
        let json = crate::config::to_json(&loaded.problems);
        proptest::prop_assert_eq!(json.as_array().map(Vec::len), Some(loaded.problems.list.len()));
        proptest::prop_assert_eq!(loaded.policy.faults.is_empty(), loaded.problems.errors() == 0);
        let fresh = load(&changed);
        proptest::prop_assert!(fresh.policy.checks.len() <= 5);
    }
}

const LAKE: &str = "[source.lake]\nurl = \"sqlite:/var/lib/lake.db\"\nrows_max = 7\n";
const ORDERS: &str =
    "[check.orders]\nquery = \"SELECT 1, 2\"\nsource = \"lake\"\nexpect = [{ lookback = \"1h\", min = 1 }]\n";

/// S2.3: a check with a query has a look-back, runs each minute and may take 50 seconds.
#[test]
fn a_check_with_a_query() {
    let more = "time_zone = \"Europe/Berlin\"\nholidays = [\"2026-12-25\", 2027-01-01]\ndelay = \"5m\"\nretention = \"9d\"\n\
                extra = { alert = \"a@b\", list = [1, 2.5, true, 2026-01-01] }\n";
    let days =
        "{ days = \"weekdays\", lookback = \"1h\", min = 1 }, { days = \"holidays\", lookback = \"1d\", max = 9 }";
    let orders = ORDERS.replace("{ lookback = \"1h\", min = 1 }", days);
    let loaded = load(&[("watchbell.toml", AGENT), ("shop.toml", &format!("{orders}{more}")), ("db.toml", LAKE)]);
    assert_eq!(loaded.problems.list, []);
    let check = &loaded.policy.checks["//web-1/shop/orders"];
    assert_eq!((check.timeout, check.retry), (Duration::from_secs(50), 3));
    assert!(matches!(check.schedule, Some(Schedule::Every { period, .. }) if period == Duration::from_secs(60)));
    let lookback = check.lookback.as_deref().unwrap();
    assert_eq!((lookback.source.as_str(), lookback.expect.len()), ("lake", 2));
    // After an outage it runs at once: minutes wait to be judged.
    assert_eq!(check.missed, Missed::Once);
    assert_eq!((lookback.delay, lookback.retention), (Duration::from_secs(300), Duration::from_secs(9 * 86_400)));
    assert_eq!(lookback.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(lookback.holidays.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2026-12-25", "2027-01-01"]);
    let extra = serde_json::json!({"alert": "a@b", "list": [1, 2.5, true, "2026-01-01"]});
    assert_eq!(lookback.extra.as_ref(), Some(&extra));
    assert_eq!(loaded.policy.sources["lake"].rows_max, 7);
    assert_eq!(loaded.policy.sources["lake"].file, "db.toml");
    assert_eq!(loaded.files[0].sources, 1);
}

/// A check that measures has no rows to count: it runs as others do, and knows what its thresholds want.
#[test]
fn a_check_with_a_value() {
    let text = "[check.age]\nquery = \"SELECT 1 AS age\"\nsource = \"lake\"\nvalue = true\ncron = \"*/5 * * * *\"\nextra = 1\n\
                thresholds = [\"age error > 9\", \"n ? warning > 1\", \"'two words' ? error > 1\", \"'two words' warning > 0\"]\n";
    let agent = AGENT.replace("[agent]\n", "[agent]\non_result = [\"pager\"]\n");
    let loaded = load(&[("watchbell.toml", &agent), ("shop.toml", text), ("db.toml", LAKE)]);
    let check = &loaded.policy.checks["//web-1/shop/age"];
    let lookback = check.lookback.as_deref().unwrap();
    assert_eq!((lookback.source.as_str(), lookback.expect.len(), check.counts()), ("lake", 0, None));
    let wanted =
        [("age", false), ("n", true), ("two words", false)].map(|(name, optional)| (name.to_owned(), optional));
    assert_eq!(lookback.value, Some(wanted.into()));
    assert_eq!(lookback.extra, Some(serde_json::json!(1)));
    assert_eq!((check.missed, check.timeout, check.retry), (Missed::Skip, Duration::from_secs(50), 3));
    assert_eq!(check.on_result, [] as [Name; 0], "they are told of minutes");
    // Rows are kept long enough for the tools that choose the numbers.
    let loaded = load(&[("watchbell.toml", AGENT), ("shop.toml", ORDERS), ("db.toml", LAKE)]);
    let lookback = loaded.policy.checks["//web-1/shop/orders"].lookback.as_deref().unwrap();
    assert_eq!((lookback.retention, &lookback.value), (Duration::from_secs(30 * 86_400), &None));
}

/// S3.12: a source that breaks is asked as it was before; without one a query can't be asked, and what is known of its
/// check stays, stale.
#[test]
fn sources_over_several_readings() {
    let mut config = config();
    let files = |lake| [("watchbell.toml", AGENT), ("db.toml", lake), ("shop.toml", ORDERS)];
    let first = reload(&mut config, &files(LAKE));
    assert_eq!((names(&first), faults(&first)), (vec!["//web-1/shop/orders"], vec![]));

    let bad = LAKE.replace("rows_max = 7", "rows_max = 0");
    let second = reload(&mut config, &files(&bad));
    assert_eq!(second.policy.sources["lake"].rows_max, 7);
    let message = "db.toml:3:12: `rows_max` must be from 1 to 10000000, this is 0; it is asked as it was before";
    assert_eq!(faults(&second), [("//web-1/db/[source.lake]", message)]);
    assert_eq!(names(&second), ["//web-1/shop/orders"]);

    let third = reload(&mut config, &files("x = = 1"));
    assert_eq!(third.policy.sources["lake"].rows_max, 7);
    assert_eq!(names(&third), ["//web-1/shop/orders"]);

    let fourth = reload(&mut config, &files(""));
    assert_eq!((names(&fourth), fourth.policy.sources.len()), (vec![], 0));
    let message = "shop.toml:3:10: there is no source `lake`; the check does not run";
    assert_eq!(faults(&fourth), [("//web-1/shop/orders", message)]);
    assert_eq!(fourth.policy.broken.iter().collect::<Vec<_>>(), ["//web-1/shop/orders"]);

    let fifth = reload(&mut config, &files(LAKE));
    assert_eq!((names(&fifth), faults(&fifth)), (vec!["//web-1/shop/orders"], vec![]));
    assert!(fifth.policy.broken.is_empty());
}

/// A source that was never good leaves its checks without one, and only the source is told of.
#[test]
fn a_source_that_was_never_good() {
    let disabled = format!("{ORDERS}enabled = false\n").replace("check.orders", "check.off");
    let text = format!("{ORDERS}{disabled}[source.lake]\nurl = \"sqlite:\"\n");
    let loaded = load(&[("watchbell.toml", AGENT), ("shop.toml", &text)]);
    let told: Vec<_> = faults(&loaded).iter().map(|(name, _)| *name).collect();
    assert_eq!((names(&loaded), told), (vec![], vec!["//web-1/shop/[source.lake]"]));
    assert_eq!(loaded.policy.broken.iter().collect::<Vec<_>>(), ["//web-1/shop/orders"]);
}

const DWMON: &str = "__QUERY__\nSELECT 1, 2\n__REQUIREMENTS__\nCHECKHOURS0-23 CHECKMINUTES0-59 WEEKENDS WEEKDAYS MINNUM5 MAXNUM20 \
                     LOOKBACKSECONDS180\n__SOURCE__\nlake\n__EXTRA__\n{\"alert\": \"devops@nerds.com\", \"n\": [1, null]}\n";

/// S2.1: a file is one check below `dwmon`, in the agent's zone, told to whom the agent tells.
#[test]
fn a_dwmon_file_is_a_check() {
    let agent = AGENT.replace("[agent]\n", "[agent]\ntime_zone = \"Asia/Tokyo\"\n");
    let loaded = load(&[("watchbell.toml", &agent), ("db.toml", LAKE), ("warehouse/new_executions.dwmon", DWMON)]);
    assert_eq!((names(&loaded), loaded.problems.list.len()), (vec!["//web-1/dwmon/new_executions"], 0));
    let check = &loaded.policy.checks["//web-1/dwmon/new_executions"];
    assert_eq!((check.file.as_str(), check.line, check.kind), ("warehouse/new_executions.dwmon", 1, "query"));
    assert_eq!((check.timeout, check.shown.as_str()), (Duration::from_secs(50), "SELECT 1, 2"));
    assert_eq!(check.notify, ["ops".into()]);
    let lookback = check.lookback.as_deref().unwrap();
    assert_eq!(lookback.zone.iana_name(), Some("Asia/Tokyo"));
    assert_eq!((lookback.source.as_str(), lookback.retention), ("lake", Duration::from_secs(5 * 86_400)));
    let extra = serde_json::json!({"alert": "devops@nerds.com", "n": [1, null]});
    assert_eq!(lookback.extra.as_ref(), Some(&extra));
    let [expectation] = lookback.expect.as_slice() else { panic!("{lookback:?}") };
    assert_eq!((expectation.part.as_deref(), expectation.severity), (None, Severity::Critical));
}

/// S2.8: every result of a look-back goes to the agent's `on_result`, unless it has its own; a name that nobody has is a
/// fault of the agent.
#[test]
fn the_agents_handlers_are_for_look_backs() {
    let agent = AGENT.replace("[agent]\n", "[agent]\non_result = [\"pager\", \"nobody\"]\n");
    let own = |name: &str, handlers: &str| ORDERS.replace("orders", name) + &format!("on_result = {handlers}\n");
    let shop = format!("{ORDERS}{}{}[check.plain]\nrun = \"x\"\n", own("own", "\"ops\""), own("none", "[]"));
    let files = [("watchbell.toml", &*agent), ("db.toml", LAKE), ("a.dwmon", DWMON), ("shop.toml", &shop)];
    let loaded = load(&files);
    let handlers = loaded.policy.checks.iter().map(|(name, check)| {
        let handlers: Vec<&str> = check.on_result.iter().map(Name::as_str).collect();
        (name.rsplit('/').next().unwrap(), handlers)
    });
    let expect =
        [("a", vec!["pager"]), ("none", vec![]), ("orders", vec!["pager"]), ("own", vec!["ops"]), ("plain", vec![])];
    assert_eq!(handlers.collect::<Vec<_>>(), expect);
    assert_eq!(faults(&loaded).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["//web-1/watchbell/[agent]"]);
}

/// S3.12 for dwmon's files: what breaks goes on as it was; what never was good is a fault of the check.
#[test]
fn a_dwmon_file_that_breaks() {
    let mut config = config();
    let bad = DWMON.replace("MINNUM5", "MINNUM50");
    let files = |text| [("watchbell.toml", AGENT), ("db.toml", LAKE), ("a.dwmon", text)];
    let message = "a.dwmon:4:60: bad minnum/maxnum: `MINNUM50` is more than `MAXNUM20`";
    let never = reload(&mut config, &files(&bad));
    assert_eq!(faults(&never), [("//web-1/dwmon/a", &*format!("{message}; the check does not run"))]);
    assert_eq!(never.policy.broken.iter().collect::<Vec<_>>(), ["//web-1/dwmon/a"]);

    let good = reload(&mut config, &files(DWMON));
    assert_eq!((names(&good), faults(&good)), (vec!["//web-1/dwmon/a"], vec![]));
    let broken = reload(&mut config, &files(&bad));
    assert_eq!(names(&broken), ["//web-1/dwmon/a"]);
    assert_eq!(faults(&broken), [("//web-1/dwmon/a#config", &*format!("{message}; the check runs as it was before"))]);

    let unreadable = |path: &str| InputFile { text: Err("permission denied".into()), ..input(path, "") };
    config.update(vec![
        input("watchbell.toml", AGENT),
        input("db.toml", LAKE),
        unreadable("a.dwmon"),
        unreadable("b.dwmon"),
    ]);
    let loaded = config.assemble();
    assert_eq!(names(&loaded), ["//web-1/dwmon/a"]);
    let told: Vec<_> = faults(&loaded).iter().map(|(name, _)| *name).collect();
    assert_eq!(told, ["//web-1/dwmon/a.dwmon", "//web-1/dwmon/b.dwmon"]);
    assert_eq!(loaded.policy.broken.iter().collect::<Vec<_>>(), ["//web-1/dwmon/b"]);
}

/// Two files with one stem are two checks with one name: both are shown, and the one that was there first runs.
#[test]
fn two_dwmon_files_with_one_stem() {
    let second = DWMON.replace("MINNUM5", "MINNUM6");
    let loaded =
        load(&[("watchbell.toml", AGENT), ("db.toml", LAKE), ("a/orders.dwmon", DWMON), ("b/orders.dwmon", &second)]);
    let check = &loaded.policy.checks["//web-1/dwmon/orders"];
    assert_eq!(check.lookback.as_deref().unwrap().expect[0].min, Some(5));
    let message =
        "b/orders.dwmon:1:1: there is another check named `orders` in `a/orders.dwmon`, which is used; this one is not";
    assert_eq!(faults(&loaded), [("//web-1/dwmon/orders#config", message)]);
}

/// A config with the kind that an `[alerter]` of CIMAA's becomes.
fn config_with_log() -> Config<Program, Program> {
    const WITH_LOG: Kinds<Program, Program> =
        Kinds { checks: KINDS.checks, notifiers: &[kind("note", &[]), kind("log", &[])] };
    Config { kinds: WITH_LOG, ..config() }
}

/// S3.1: an agent's file of CIMAA's says everything in a section of its own.
#[test]
fn an_agent_file_of_cimaas_that_says_everything() {
    let token = "a".repeat(64);
    let text = format!(
        "[agent]\nname = old\ndirectory = checks\n[alerter]\nclass = zc.cimaa.stub:OutputAlerter\n[watchbell]\n\
         state = data\nlisten = 127.0.0.1:9000\nnotify = ops, pager\ntime_zone = Europe/Berlin\nrunning_max = 7\n\
         syslog = true\ncheck_log_size = 10MB\nsentry_dsn = https://k@example.com/1\nconf = more\n\
         tokens = [{{ name = \"a\",\n  sha256 = \"{token}\" }}]\n"
    );
    let notify = "[notify.ops]\nkind = \"note\"\n[notify.pager]\nkind = \"note\"\n";
    let loaded = reload(&mut config_with_log(), &[("agent.cfg", &text), ("ways.toml", notify)]);
    assert_eq!(loaded.problems.list.iter().map(|p| p.message.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
    let agent = &loaded.agent;
    assert_eq!(loaded.policy.agent.name, "old".into());
    assert_eq!(agent.state, "/etc/watchbell/data");
    assert_eq!(agent.listen.as_deref(), Some("127.0.0.1:9000"));
    assert_eq!(agent.conf, ["/etc/watchbell/more", "/etc/watchbell/checks"]);
    assert_eq!((agent.log.syslog, agent.check_log.size_max_bytes, agent.tokens.len()), (true, 10_000_000, 1));
    assert_eq!(agent.zone.iana_name(), Some("Europe/Berlin"));
    assert!(agent.sentry_dsn.is_some());
    assert_eq!(loaded.policy.agent.running_max, 7);
    assert_eq!(loaded.policy.agent.notify, ["ops".into(), "pager".into(), "alerter".into()]);
    // A mistake has its place there.
    let wrong = load(&[("agent.cfg", "[agent]\ndirectory = c\n[watchbell]\nlisten = nowhere\nstat = x\n")]);
    let told: Vec<String> =
        wrong.problems.list.iter().map(|p| crate::config::summary_line(&wrong.problems, p)).collect();
    assert!(told.iter().any(|t| t.starts_with("agent.cfg:4:10: `listen` is not an address")), "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("agent.cfg:5:1: ") && t.contains("no key `stat`")), "{told:?}");
}

/// S3.1: a `watchbell.toml` beside CIMAA's agent file adds to it, and nothing of either is lost.
#[test]
fn two_files_speak_for_the_agent() {
    let cfg =
        "[agent]\nname = old\ndirectory = checks\nbase_interval = 10\n[alerter]\nclass = zc.cimaa.stub:OutputAlerter\n";
    let toml = "[agent]\nlisten = \"off\"\nnotify = [\"ops\"]\n[notify.ops]\nkind = \"note\"\n";
    let mut config = config_with_log();
    let loaded =
        reload(&mut config, &[("agent.cfg", cfg), ("watchbell.toml", toml), ("app.cfg", "[a]\ncommand = a\n")]);
    assert_eq!(loaded.problems.list, []);
    assert_eq!((loaded.agent_file.as_deref(), names(&loaded)), (Some("watchbell.toml"), vec!["//old/app/a"]));
    assert_eq!(loaded.policy.agent.notify, ["ops".into(), "alerter".into()]);
    assert_eq!((loaded.agent.listen, loaded.agent.conf), (None, vec!["/etc/watchbell/checks".to_owned()]));
    assert_eq!(loaded.policy.agent.base_interval, Duration::from_secs(10));
    // Of what both say, the new file's counts; a mistake stands where it was made, and the agent stays as it was.
    let named = format!("[agent]\nname = \"new\"\n{}", toml.replace("[agent]\n", ""));
    let files = |cfg: &str, toml: &str| [("agent.cfg", cfg.to_owned()), ("watchbell.toml", toml.to_owned())];
    let mut again = |cfg: &str, toml: &str| {
        let files = files(cfg, toml);
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        reload(&mut config, &files)
    };
    assert_eq!(again(cfg, &named).policy.agent.name, "new".into());
    let wrong = again(&cfg.replace("base_interval = 10", "base_interval = 0"), &named);
    assert_eq!(wrong.policy.agent.base_interval, Duration::from_secs(10));
    assert_eq!(faults(&wrong).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["//new/agent/"]);
    let broken = again("[agent\n", &named);
    assert_eq!((broken.policy.agent.name, broken.policy.agent.notify.len()), ("new".into(), 2));
    let wrong = again(&format!("{cfg}[watchbell]\nname = a b\n"), toml);
    assert!(faults(&wrong)[0].1.starts_with("agent.cfg:8:8: the agent can't be called"), "{:?}", faults(&wrong));
    // Without the new file the old one speaks for itself.
    assert_eq!(reload(&mut config, &[("agent.cfg", cfg)]).agent_file.as_deref(), Some("agent.cfg"));
}
