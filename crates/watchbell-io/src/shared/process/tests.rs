//! Real processes, run to every kind of end.

use super::*;
use std::os::unix::fs::PermissionsExt;
use watchbell_core::model::Exit;

/// More than any of these runs takes on a busy machine, unless it hangs.
const LONG: Duration = Duration::from_secs(60);

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let n = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("watchbell-process-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Folder(path)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

fn sh(line: &str) -> Command {
    Command::new(Line::shell(line))
}

fn run(command: &Command) -> Ran {
    block(command.run(Vec::new(), LONG))
}

fn out(command: &Command) -> String {
    let ran = run(command);
    assert_eq!(ran.raw.exit, Some(Exit::Code(0)), "{}", String::from_utf8_lossy(&ran.raw.stderr));
    String::from_utf8(ran.raw.stdout).unwrap()
}

fn why(command: &Command) -> String {
    let ran = run(command);
    assert_eq!(ran.raw.exit, None, "{ran:?}");
    String::from_utf8(ran.raw.stderr).unwrap()
}

/// Waits until a process is gone, or only a zombie of somebody else.
fn gone(pid: &str) -> bool {
    let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    };
    (0..200).any(|_| {
        let gone = gone();
        if !gone {
            std::thread::sleep(Duration::from_millis(25));
        }
        gone
    })
}

/// How many children of this process ended and were not reaped.
fn zombies() -> usize {
    let me = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields[0] == "Z" && fields[1] == me
        })
        .count()
}

#[test]
fn every_way_to_end() {
    let table: &[(&str, Option<Exit>, &str, &str)] = &[
        ("exit 0", Some(Exit::Code(0)), "", ""),
        ("echo fine; exit 1", Some(Exit::Code(1)), "fine\n", ""),
        ("echo out; echo err >&2; exit 2", Some(Exit::Code(2)), "out\n", "err\n"),
        ("exit 3", Some(Exit::Code(3)), "", ""),
        ("exit 126", Some(Exit::Code(126)), "", ""),
        ("kill -9 $$", Some(Exit::Signal(9)), "", ""),
        ("kill -TERM $$", Some(Exit::Signal(15)), "", ""),
        ("echo late; exec >&- 2>&-; sleep 0.4; exit 4", Some(Exit::Code(4)), "late\n", ""),
        ("sleep 0.4; echo slow; exit 5", Some(Exit::Code(5)), "slow\n", ""),
        ("cat; exit 6", Some(Exit::Code(6)), "", ""),
    ];
    for (line, exit, stdout, stderr) in table {
        let ran = run(&sh(line));
        assert_eq!(ran.raw.exit, *exit, "{line}");
        assert_eq!(String::from_utf8_lossy(&ran.raw.stdout), *stdout, "{line}");
        assert_eq!(String::from_utf8_lossy(&ran.raw.stderr), *stderr, "{line}");
        assert!(!ran.raw.truncated && ran.note.is_none(), "{line}: {ran:?}");
    }
}

#[test]
fn binary_output_arrives_as_it_is() {
    let ran = run(&sh(r"printf '\000\377\376a\n\200'"));
    assert_eq!(ran.raw.stdout, b"\0\xff\xfea\n\x80");
}

/// More than a pipe holds, on both outputs at once, in full.
#[test]
fn long_output_is_kept_up_to_the_limit() {
    let ran = run(&sh("head -c 600000 /dev/zero; head -c 700000 /dev/zero >&2"));
    assert_eq!((ran.raw.stdout.len(), ran.raw.stderr.len(), ran.raw.truncated), (600_000, 700_000, false));
    let ran = run(&Command { output_max: 1000, ..sh("head -c 3000000 /dev/zero; echo; exit 2") });
    assert_eq!((ran.raw.stdout.len(), ran.raw.exit, ran.raw.truncated), (1000, Some(Exit::Code(2)), true));
    assert_eq!(ran.note, None);
}

#[test]
fn output_without_end_is_cut_off() {
    for line in ["head -c 100000000 /dev/zero", "yes", "yes >&2 & wait", "trap '' TERM; yes"] {
        let ran = run(&sh(line));
        assert_eq!(ran.note, Some(Note::Overflow), "{line}: {:?}", ran.raw.exit);
        assert!(
            ran.raw.truncated && ran.raw.stdout.len() <= OUTPUT_MAX && ran.raw.stderr.len() <= OUTPUT_MAX,
            "{line}"
        );
    }
}

/// S3.4: too slow, and the whole process group is killed, grandchildren included.
#[test]
fn at_the_time_limit_the_group_is_killed() {
    let table = [
        "echo $$; sleep 600 & echo $!; wait",
        "echo $$; sh -c 'sleep 601; true' & echo $!; sleep 602; true",
        "echo $$; trap '' TERM; sleep 603 & echo $!; while :; do sleep 1; done",
        "exec 2>/dev/null; echo $$; (trap '' TERM; sleep 604; true) & echo $!; wait",
    ];
    for line in table {
        let ran = block(sh(line).run(Vec::new(), Duration::from_millis(400)));
        assert_eq!(ran.raw.exit, Some(Exit::TimedOut), "{line}");
        assert!(ran.raw.took < Duration::from_secs(20), "{line}");
        let pids = String::from_utf8(ran.raw.stdout).unwrap();
        assert_eq!(pids.lines().count(), 2, "{line}");
        assert!(pids.lines().all(gone), "{line}: left {pids:?}");
    }
}

/// Killed at its time limit, given up, or because it writes without end: a run takes along what left its process group,
/// its session, its parent or, while that lives, its environment.
#[test]
fn a_killed_run_takes_everything_along() {
    let folder = Folder::new();
    let escapes = [
        "timeout SECONDS sleep SECONDS",
        "setsid sleep SECONDS",
        "setsid sh -c 'trap \"\" TERM; sleep SECONDS; sleep SECONDS'",
        "sh -c 'setsid sleep SECONDS & exit'",
        "env -i /usr/bin/setsid /bin/sleep SECONDS",
        "WATCHBELL_RUN=$WATCHBELL_RUN:inner setsid sleep SECONDS",
        "sh -c 'setsid setsid timeout SECONDS sh -c \"sleep SECONDS & wait\" >/dev/null 2>&1 < /dev/null'",
    ];
    for (n, escape) in escapes.iter().enumerate() {
        for ending in ["exec sleep 640", "exec yes", "given up"] {
            // What writes without end is killed at once, and only then looked for.
            if escape.starts_with("env -i") && ending == "exec yes" {
                continue;
            }
            let begun = folder.0.join(format!("begun-{n}-{}", ending.replace(' ', "-")));
            let last = if ending == "given up" { "exec sleep 640" } else { ending };
            // Nobody else sleeps for so long.
            let seconds = format!("600.{}{n}", std::process::id());
            let escape = escape.replace("SECONDS", &seconds);
            let script = format!("{escape} & echo > {}; {last}", begun.display());
            let alive = || sleepers(&seconds);
            block(async {
                let limit = if ending == "exec sleep 640" { Duration::from_millis(1500) } else { LONG };
                let command = sh(&script);
                let run = tokio::spawn(async move { command.run(Vec::new(), limit).await });
                if ending == "given up" {
                    while !run.is_finished() && (!begun.exists() || alive() == 0) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    run.abort();
                }
                assert_eq!(run.await.is_err(), ending == "given up", "{escape}");
            });
            settle();
            assert_eq!(alive(), 0, "{escape}, {ending}");
        }
    }
}

/// How many processes sleep for so long, or wait for one that does.
fn sleepers(seconds: &str) -> usize {
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|b| *b == 0).any(|word| word == seconds.as_bytes())).count()
}

/// A run that ended leaves its daemons alone, also while others are killed; and a run inside a run that is killed takes
/// nothing of the outer one along.
#[test]
fn what_ended_leaves_its_daemons_alone() {
    let pid = |ran: &Ran| String::from_utf8(ran.raw.stdout.clone()).unwrap().trim().to_owned();
    let daemon = run(&sh("setsid sleep 630 >/dev/null 2>&1 & echo $!"));
    assert_eq!(daemon.raw.exit, Some(Exit::Code(0)));
    let held = run(&sh("setsid sleep 631 >/dev/null 2>&1 & echo $!; exec 2>&-; sleep 632 &"));
    assert_eq!(held.note, Some(Note::LeftBehind));
    let killed = block(sh("setsid sleep 633 & echo $!; wait").run(Vec::new(), Duration::from_millis(300)));
    settle();
    assert!(gone(&pid(&killed)));
    for left in [&daemon, &held] {
        let left = pid(left);
        let left = rustix::process::Pid::from_raw(left.parse().unwrap()).unwrap();
        let left = mark::Process::hold(left).unwrap();
        assert!(left.runs());
        left.signal(rustix::process::Signal::KILL);
    }
    let (outer, inner) = (Mark::new(), Mark::new());
    let nested = |marks: String| {
        let mut command = std::process::Command::new("/bin/sleep");
        command.arg("634").env(mark::VARIABLE, marks);
        command.spawn().unwrap()
    };
    let value = |mark: &Mark| mark.value().into_string().unwrap();
    let mut of_outer = nested(value(&outer));
    let mut of_inner = nested(format!("{}:{}", value(&outer), value(&inner)));
    assert_eq!(mark::kill_all(&[inner], Vec::new()), []);
    assert!(of_inner.wait().unwrap().code().is_none() && of_outer.try_wait().unwrap().is_none());
    assert_eq!(mark::kill_all(&[outer], Vec::new()), []);
    assert!(of_outer.wait().unwrap().code().is_none());
}

#[test]
fn what_was_written_before_the_time_limit_is_kept() {
    let line = "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.02; done";
    let ran = block(sh(line).run(Vec::new(), Duration::from_millis(400)));
    assert_eq!((ran.raw.exit, &*ran.raw.stdout), (Some(Exit::TimedOut), &b"begun\nasked\n"[..]));
}

#[test]
fn children_left_behind_are_killed_after_a_grace() {
    let ran = run(&sh("echo OK; sleep 605 & echo $!; exit 1"));
    assert_eq!((ran.raw.exit, ran.note), (Some(Exit::Code(1)), Some(Note::LeftBehind)));
    assert!(ran.raw.took >= LEFT_BEHIND_GRACE && ran.raw.took < Duration::from_secs(30), "{:?}", ran.raw.took);
    let text = String::from_utf8(ran.raw.stdout).unwrap();
    assert!(gone(text.lines().nth(1).unwrap()), "{text}");
    // What they write in time counts.
    let ran = run(&sh("(sleep 0.3; echo child) & echo leader"));
    assert_eq!((&*ran.raw.stdout, ran.note), (&b"leader\nchild\n"[..], None));
    // A daemon that closed its output is none of our affair.
    let ran = run(&sh("sleep 0.5 >/dev/null 2>&1 & echo $!"));
    assert_eq!((ran.raw.exit, ran.note), (Some(Exit::Code(0)), None));
    assert!(!String::from_utf8(ran.raw.stdout).unwrap().is_empty());
}

#[test]
fn standard_input_is_written_and_closed() {
    let long = vec![b'x'; 3_000_000];
    for (input, line) in [(b"hello".to_vec(), "cat"), (long.clone(), "cat"), (long, "sleep 0.3; cat")] {
        let ran = block(Command { output_max: 4_000_000, ..sh(line) }.run(input.clone(), LONG));
        assert!(ran.raw.stdout == input, "{line}: {} of {}", ran.raw.stdout.len(), input.len());
    }
    // One that does not read it is not stopped, and stops nothing.
    let ran = block(sh("exit 7").run(vec![b'x'; 3_000_000], LONG));
    assert_eq!(ran.raw.exit, Some(Exit::Code(7)));
}

/// S1.4: runs do not wait for each other.
#[test]
fn runs_go_on_side_by_side() {
    let started_at = Instant::now();
    block(async {
        let runs: Vec<_> =
            (0..40).map(|_| tokio::spawn(async { sh("sleep 1").run(Vec::new(), LONG).await.raw.exit })).collect();
        for run in runs {
            assert_eq!(run.await.unwrap(), Some(Exit::Code(0)));
        }
    });
    assert!(started_at.elapsed() < Duration::from_secs(20), "{:?}", started_at.elapsed());
}

#[test]
fn the_environment_is_stated() {
    // Cargo sets this one for every test.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    let mut command = Command::new(Line::parse("env").unwrap());
    let names = |text: &str| -> Vec<String> {
        let mut names: Vec<_> = text.lines().filter_map(|l| l.split_once('=')).map(|(n, _)| n.to_owned()).collect();
        names.sort();
        names
    };
    let got = names(&out(&command));
    assert!(got.iter().all(|name| STATED.contains(&name.as_str()) || name == mark::VARIABLE), "{got:?}");
    assert!(got.contains(&"PATH".into()) && got.contains(&"HOME".into()));
    command.env.insert("GREETING".into(), Secret::Value("hello = 'world'".into()));
    command.env.insert("COPIED".into(), Secret::Env("CARGO_PKG_NAME".into()));
    let text = out(&command);
    assert!(text.contains("GREETING=hello = 'world'\n") && text.contains("COPIED=watchbell-io\n"), "{text}");
    assert!(!text.contains("CARGO_PKG_NAME"), "{text}");
    command.inherit_env = true;
    let text = out(&command);
    assert!(text.contains("CARGO_PKG_NAME=watchbell-io\n") && text.contains("GREETING="), "{text}");
}

/// S1.3: the variables of a credentials file are in the command's environment.
#[test]
fn credentials_files() {
    let folder = Folder::new();
    let file = folder.file("creds.json", r#"{"user1": "s3cret", "port": 5432, "tls": true}"#);
    let mut command = Command { env_file: Some(file), ..sh("echo $user1 $port $tls") };
    assert_eq!(out(&command), "s3cret 5432 true\n");
    command.env.insert("user1".into(), Secret::Value("mine".into()));
    assert_eq!(out(&command), "mine 5432 true\n");
    assert!(!format!("{command:?}").contains("mine"));
    for (text, want) in [
        ("[1]", "one JSON object (line 1, column"),
        ("{\"a\":\n s3cret}", "line 2, column"),
        ("{\"a\": [1]}", "`a` must be a text"),
        ("{\"a=b\": \"1\"}", "`a=b` can't be the name"),
        ("{\"a\": \"s3\\u0000cret\"}", "zero byte"),
    ] {
        let why = why(&Command { env_file: Some(folder.file("bad.json", text)), ..sh("true") });
        assert!(why.contains(want) && !why.contains("cret"), "{text}: {why}");
    }
    let none = || Some(folder.0.join("none.json"));
    let missing = why(&Command { env_file: none(), ..sh("true") });
    assert!(missing.contains("none.json"), "{missing}");
    // That of the flakes' folder is read where it is there, and where the config names no other.
    let default_env_file = Some(folder.file("default.json", r#"{"user1": "theirs"}"#));
    assert_eq!(out(&Command { default_env_file: default_env_file.clone(), ..sh("echo $user1") }), "theirs\n");
    let env_file = Some(folder.file("creds.json", r#"{"user1": "mine"}"#));
    assert_eq!(out(&Command { env_file, default_env_file, ..sh("echo $user1") }), "mine\n");
    assert_eq!(out(&Command { default_env_file: none(), ..sh("echo $user1") }), "\n");
}

/// S1.3: the working directory is the one that is asked for, and `./res/x.sh` counts from it.
#[test]
fn the_working_directory() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("res")).unwrap();
    folder.script("res/x.sh", "#!/bin/sh\npwd -P\n");
    let cwd = folder.0.canonicalize().unwrap();
    for line in [Line::parse("./res/x.sh").unwrap(), Line::shell("./res/x.sh")] {
        let command = Command { cwd: Some(folder.0.clone()), ..Command::new(line) };
        assert_eq!(out(&command), format!("{}\n", cwd.display()));
        assert_eq!(command.preflight(), Vec::<String>::new());
    }
    let command = Command { cwd: Some(folder.0.clone()), ..Command::new(Line::parse("printenv PWD").unwrap()) };
    assert_eq!(out(&command), format!("{}\n", folder.0.display()));
    let command = Command { cwd: Some(folder.0.join("gone")), ..sh("true") };
    for why in [why(&command), command.preflight().remove(0)] {
        assert!(why.contains("working directory") && why.contains("gone"), "{why}");
    }
}

#[test]
fn what_can_not_be_started_says_why() {
    let folder = Folder::new();
    let plain = folder.file("plain", "text").display().to_string();
    let orphan = folder.script("orphan", "#!/no/such/interpreter\n").display().to_string();
    let inside = folder.0.display().to_string();
    let unset = || BTreeMap::from([("A".to_owned(), Secret::Env("WATCHBELL_NOT_SET_ANYWHERE".to_owned()))]);
    let of = |line: &str| Command::new(Line::parse(line).unwrap());
    let table: Vec<(Command, &[&str], bool)> = vec![
        (of("no-such-program -x"), &["`no-such-program`", "PATH (", "install it"], true),
        (of("/no/such/program"), &["`/no/such/program`", "correct its path"], true),
        (of(&plain), &["not executable", "chmod +x"], true),
        (of(&inside), &["is a folder"], true),
        (of(&orphan), &["interpreter"], false),
        (Command { env: unset(), ..of("true-program") }, &["WATCHBELL_NOT_SET_ANYWHERE", "`A`"], true),
        (Command { user: Some("no-such-user".into()), ..of("/bin/sh") }, &["no-such-user", ":GROUP"], true),
    ];
    for (command, wanted, early) in table {
        let mut texts = vec![why(&command)];
        if early {
            texts.extend(command.preflight());
            assert_eq!(texts.len(), 2, "{texts:?}");
        }
        for text in texts {
            assert!(wanted.iter().all(|want| text.contains(want)), "{wanted:?}: {text}");
        }
    }
}

#[test]
fn a_script_without_its_first_line_is_for_the_shell() {
    let folder = Folder::new();
    let script = folder.script("bare", "echo \"$1\"\n").display().to_string();
    assert_eq!(out(&Command::new(Line::Words(vec![script, "a b".into()]))), "a b\n");
}

#[test]
fn a_program_that_moved_is_found_again() {
    let folder = Folder::new();
    let (one, two) = (folder.0.join("one"), folder.0.join("two"));
    for bin in [&one, &two] {
        std::fs::create_dir(bin).unwrap();
    }
    folder.script("one/tool", "#!/bin/sh\necho one\n");
    let path = format!("{}:{}:{DEFAULT_PATH}", one.display(), two.display());
    let mut command = Command::new(Line::parse("tool").unwrap());
    command.env.insert("PATH".into(), Secret::Value(path));
    assert_eq!(out(&command), "one\n");
    std::fs::rename(one.join("tool"), two.join("tool")).unwrap();
    assert_eq!(out(&command), "one\n", "from its new place");
}

/// Other users by `setpriv`: their ids, their groups, their home. Needs root.
#[test]
fn another_user() {
    if !rustix::process::geteuid().is_root() {
        assert!(sh("id").preflight().is_empty());
        let other = Command { user: Some("daemon".into()), ..sh("id") };
        assert!(other.preflight().iter().any(|why| why.contains("root")));
        return;
    }
    let command = Command { user: Some("daemon".into()), ..sh("id -un; id -gn; echo $HOME $USER $LOGNAME") };
    assert_eq!(out(&command), "daemon\ndaemon\n/usr/sbin daemon daemon\n");
    let command = Command { user: Some("4711:4712".into()), ..sh("id -u; id -g; id -G; echo $HOME") };
    assert_eq!(out(&command), "4711\n4712\n4712\n/\n");
    assert_eq!(command.preflight(), Vec::<String>::new());
}

/// S1.11: a container program on the path runs the line in the image, and kills it by name at the time limit.
#[test]
fn containers() {
    let folder = Folder::new();
    let log = folder.0.join("log");
    // Stands in for docker: writes down what it was asked, then runs what stands behind the image.
    let fake = format!(
        "#!/bin/sh\necho \"$@\" >> {log}\nif [ \"$1\" = kill ]; then exit 0; fi\nwhile [ \"$1\" != some/image:1 ]; do shift; done\nshift\nexec \"$@\"\n",
        log = log.display()
    );
    folder.script("podman", &fake);
    let path = format!("/nowhere:{}", folder.0.display());
    let engine = container_engine(OsStr::new(&path)).unwrap();
    assert_eq!(engine, folder.0.join("podman"), "no docker there");
    assert!(container_engine(OsStr::new("/nowhere")).unwrap_err().contains("neither `docker` nor `podman`"));
    let engine = Some(engine.into_string().unwrap());
    let mut command = sh("true");
    command.container = Some(Container { image: "some/image:1".into(), network: "host".into(), engine });
    command.cwd = Some(folder.0.clone());
    command.user = Some("4711:4712".into());
    command.env.insert("GREETING".into(), Secret::Value("hello".into()));
    assert_eq!(command.preflight(), Vec::<String>::new());
    let with_fake = |line: &str, timeout| {
        let command = Command { line: Line::shell(line), ..command.clone() };
        block(async move {
            let ran = command.run(Vec::new(), timeout).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            ran
        })
    };
    let ran = with_fake("echo \"in $GREETING\"", LONG);
    assert_eq!(String::from_utf8_lossy(&ran.raw.stdout), "in hello\n", "{ran:?}");
    let asked = std::fs::read_to_string(&log).unwrap();
    for part in
        ["run --rm -i --name watchbell-", "--network host", "--user 4711:4712", ":ro --workdir", "--env GREETING"]
    {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    assert!(!asked.contains("hello") && !asked.contains("kill"), "{asked}");
    let ran = with_fake("sleep 606", Duration::from_millis(300));
    assert_eq!(ran.raw.exit, Some(Exit::TimedOut));
    let asked = std::fs::read_to_string(&log).unwrap();
    let last_run = asked.lines().rfind(|l| l.starts_with("run ")).unwrap();
    let name = last_run.split(' ').find(|word| word.starts_with("watchbell-")).unwrap();
    assert!(asked.contains(&format!("kill {name}")), "{asked}");
}

#[test]
fn a_run_that_is_given_up_is_killed() {
    let folder = Folder::new();
    let pids = folder.0.join("pids");
    let command =
        Command { cwd: Some(folder.0.clone()), ..sh("echo $$ > new; sleep 615 & echo $! >> new; mv new pids; wait") };
    block(async {
        let run = tokio::spawn(async move { command.run(Vec::new(), LONG).await });
        while !pids.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run.abort();
        assert!(run.await.is_err());
    });
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    assert!(pids.lines().all(gone), "{pids}");
}

/// Every way a run can end leaves no zombie and no descriptor, dropping it half-way included.
#[test]
fn nothing_is_left() {
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    block(async {
        for line in ["true", "exit 3", "kill -9 $$", "sleep 607", "sleep 608 & exit", "yes", "trap '' TERM; sleep 609"]
        {
            sh(line).run(Vec::new(), Duration::from_millis(300)).await;
        }
        let before = fds();
        for n in 0..60_u64 {
            let command = sh("sleep 610 & echo $!; yes");
            let run = tokio::time::timeout(Duration::from_millis(n % 30), command.run(b"in".to_vec(), LONG));
            assert!(run.await.is_err() || n > 0);
        }
        // What was given up is killed by a thread that holds on to the processes until then. Other tests of this binary open
        // and close theirs meanwhile; a leak here would be 180 of them.
        let closed = (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            fds() < before + 100
        });
        assert!(closed, "{} before, {} after", before, fds());
    });
    assert!((0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        zombies() == 0
    }));
}
