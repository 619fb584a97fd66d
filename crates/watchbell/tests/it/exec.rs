//! `watchbell exec` changes nothing about a job: each job here runs bare and wrapped, and what can be seen of both is
//! compared.

use crate::place::{Place, Running};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// What stands before the job in both ways.
const WRAPPED: [&str; 5] = [env!("CARGO_BIN_EXE_watchbell"), "exec", "job", "--timeout=1h", "--"];

/// How a job ended, what it wrote, and the files that it left.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    files: BTreeMap<String, String>,
}

/// An exit code as a shell sees it.
fn code(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// What `outer`, a shell's line in which `"$@"` is the job, comes to.
fn seen(place: &Place, prefix: &[&str], outer: &str, job: &[&str]) -> Seen {
    let folder = place.folder.join("work");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("plain"), "no program\n").unwrap();
    place.script("work/bare-script", "echo \"bare script $1\"\n");
    place.script("work/orphan", "#!/no/such/interpreter\n");
    let mut command = Command::new("sh");
    command.args(["-c", outer, "sh"]).args(prefix).args(job).current_dir(&folder).stdin(Stdio::null());
    command.env("WATCHBELL_CONFIG", &place.folder).env("GREETING", "hello world").env_remove("WATCHBELL_LOG");
    let output = command.output().unwrap();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        path.is_file().then(|| (name, of_the_job(&fs::read(&path).unwrap())))
    };
    let files = fs::read_dir(&folder).unwrap().flatten().filter_map(|entry| read(entry.path())).collect();
    Seen { code: code(output.status), stdout: of_the_job(&output.stdout), stderr: of_the_job(&output.stderr), files }
}

/// What was written, but for what `exec` says itself: without an agent the report is kept, and of a full disk it warns.
fn of_the_job(bytes: &[u8]) -> String {
    let own = |line: &&str| line.contains("the report is kept in") || line.contains("could not be passed on");
    String::from_utf8_lossy(bytes).split_inclusive('\n').filter(|line| !own(line)).collect()
}

/// A config folder whose agent ran once: from then on reports wait for it.
fn place() -> Place {
    let place = Place::new("", "");
    fs::create_dir_all(place.state_folder().join("queue")).unwrap();
    place
}

/// How many reports wait for an agent.
fn reports(place: &Place) -> usize {
    fs::read_dir(place.state_folder().join("queue")).map_or(0, |queue| queue.flatten().count())
}

#[test]
fn a_wrapped_job_is_as_a_bare_one() {
    let place = place();
    let table: &[(&str, &str, &str)] = &[
        ("ends well", r#""$@""#, "echo fine"),
        ("ends with 1", r#""$@""#, "echo out; echo err >&2; exit 1"),
        ("ends with 255", r#""$@""#, "exit 255"),
        ("is killed", r#"exec 2>/dev/null; "$@"; echo $?"#, "kill -9 $$"),
        ("ends by SIGTERM", r#"exec 2>/dev/null; "$@"; echo $?"#, "kill -TERM $$"),
        ("exits as if by a signal", r#""$@""#, "exit 130"),
        ("reads", r#"printf 'a\nb\n' | "$@""#, "cat; echo end"),
        ("reads a part", r#"printf 'a\nb\n' > in; { "$@"; cat; } < in"#, "head -c 2 | tr a x; exit 4"),
        ("has no input", r#""$@" < /dev/null"#, "cat; echo $?"),
        (
            "is told things",
            r#"A=1 "$@""#,
            "echo $A $GREETING; env | cut -d= -f1 | grep -v -e '^_$' -e '^WATCHBELL_RUN$' | sort",
        ),
        ("is somewhere", r#"mkdir sub; cd sub; "$@""#, "pwd; echo $PWD"),
        ("has a umask", r#"umask 027; "$@""#, "umask; touch made; stat -c %a made"),
        ("has limits", r#"ulimit -n 77; "$@""#, "ulimit -n"),
        (
            "is in the group and session",
            r#"cut -d' ' -f5,6 /proc/$$/stat > group; "$@""#,
            "cut -d' ' -f5,6 /proc/$$/stat | cmp - group && echo same",
        ),
        ("inherits descriptors", r#""$@" 7>seven"#, "echo to seven >&7"),
        ("ignores SIGHUP", r#"trap '' HUP; "$@""#, "kill -HUP $$; echo alive"),
        ("ignores SIGINT", r#"trap '' INT; "$@""#, "trap - INT; kill -INT $$; echo alive"),
        ("writes in order", r#""$@" 2>&1"#, "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done"),
        (
            "writes in order to a file",
            r#""$@" > log 2>&1"#,
            "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done",
        ),
        ("appends", r#"echo first > log; "$@" >> log"#, "echo second"),
        ("writes much", r#""$@" | cksum"#, "yes 123456789 | head -c 3000000"),
        ("writes much to a file", r#""$@" > much; cksum < much; rm much"#, "yes 123456789 | head -c 3000000; echo end"),
        ("writes bytes", r#""$@" | od -c"#, r"printf '\000\377\376\n\200no line end'"),
        ("has a full disk", r#""$@" >/dev/full 2>/dev/null"#, "echo a; echo b; echo done > done; exit 0"),
        ("has a full disk, and fails", r#""$@" 2>/dev/full"#, "echo a >&2; echo b; echo done > done; exit 3"),
        ("has no output", r#""$@" >&- 2>/dev/null; echo $?"#, "echo done > done; exit 6"),
        (
            "leaves a child that writes",
            r#"mkfifo go; { "$@"; echo "code $?"; echo > go; } | cat"#,
            "{ read x; echo late; echo done > done; } < go 2>&1 & echo started; exit 5",
        ),
        (
            "leaves a child that fails to write",
            r#"mkfifo go end; "$@" > /dev/full 2>&1; echo > go; cat end"#,
            "exec 8>&2; { read x < go; echo a >&8; echo b >&8; echo survived > end; } 2>/dev/null & exit 0",
        ),
        (
            "leaves a daemon",
            r#"mkfifo go end; "$@"; echo > go; cat end"#,
            "{ read x < go; echo lives > end; } >/dev/null 2>&1 & exit 0",
        ),
        ("stops halfway", r#""$@"; echo $?"#, "exec >&- 2>&-; exit 2"),
    ];
    for (what, outer, script) in table {
        let job = ["sh", "-c", script];
        // Without a time limit not even the environment differs.
        let plain: Vec<&str> = WRAPPED.into_iter().filter(|word| !word.starts_with("--timeout")).collect();
        let bare = seen(&place, &[], outer, &job);
        for prefix in [&WRAPPED[..], &plain] {
            let before = reports(&place);
            let wrapped = seen(&place, prefix, outer, &job);
            assert_eq!(wrapped, bare, "{what}");
            assert_eq!(reports(&place), before + 1, "{what}: it is reported");
        }
    }
}

/// 126 and 127 mean what they mean in a shell, and what a shell would run runs.
#[test]
fn what_can_not_be_started_ends_as_in_a_shell() {
    let place = place();
    for (program, expect) in [
        ("/no/such/program", 127),
        ("no-such-program", 127),
        ("./plain", 126),
        ("./", 126),
        ("./orphan", 127),
        ("./bare-script", 0),
        ("bare-script", 0),
    ] {
        let outer = r#"PATH=$PATH:$PWD; "$@""#;
        let (bare, wrapped) =
            (seen(&place, &[], outer, &[program, "x"]), seen(&place, &WRAPPED, outer, &[program, "x"]));
        assert_eq!((wrapped.code, &wrapped.stdout), (Some(expect), &bare.stdout), "{program}: {}", wrapped.stderr);
        assert_eq!(wrapped.code, bare.code, "{program}");
    }
    assert_eq!(reports(&place), 7);
}

/// Starts a job, with and without `exec`, and sends it a signal once it is ready.
fn signalled(place: &Place, prefix: &[&str], script: &str, signal: Signal) -> (Option<i32>, String) {
    let ready = place.folder.join("ready");
    let _ = fs::remove_file(&ready);
    let argv: Vec<&str> = prefix.iter().copied().chain(["sh", "-c", script]).collect();
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).current_dir(&place.folder).env("WATCHBELL_CONFIG", &place.folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut stdout = running.0.stdout.take().unwrap();
    place.until("the job is ready", || ready.exists());
    running.signal(signal);
    let status = running.ended();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    (code(status), text)
}

/// Every signal that would end `exec` is the job's, whether it ends it or not, and is followed by a report.
#[test]
fn signals_are_the_jobs() {
    let place = place();
    let names = [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("PIPE", Signal::PIPE),
        ("ALRM", Signal::ALARM),
        ("TERM", Signal::TERM),
        ("XCPU", Signal::XCPU),
        ("VTALRM", Signal::VTALARM),
        ("PROF", Signal::PROF),
        ("IO", Signal::IO),
    ];
    for (name, signal) in names {
        let trapped = format!(
            "trap 'echo got {name}; kill $!; exit 9' {name}; sleep 600 >/dev/null 2>&1 & echo > ready; wait; echo after"
        );
        for script in [trapped.as_str(), "echo begun; echo > ready; exec sleep 600"] {
            let before = reports(&place);
            let bare = signalled(&place, &[], script, signal);
            assert_eq!(signalled(&place, &WRAPPED, script, signal), bare, "{name}: {script}");
            assert_eq!(reports(&place), before + 1, "{name}: {script}");
        }
    }
}

/// The number of a process, once the job has written it down.
fn written(place: &Place, file: &Path) -> String {
    place.until("the job wrote a number", || fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(file).unwrap().trim().to_owned()
}

fn gone(place: &Place, pid: &str) {
    place.until("the process is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

/// A time limit holds while nobody reads the output, and what it ends takes along what it started, wherever that went.
#[test]
fn a_time_limit_ends_all_of_it() {
    let place = place();
    let pid = place.folder.join("pid");
    let scripts = [
        "echo $$ > pid; exec yes",
        "setsid sleep 600 & echo $! > pid; wait",
        "timeout 600 sleep 600 & echo $! > pid; wait",
        "trap '' TERM; (setsid sh -c 'echo $$ > pid; exec sleep 600' &) ; exec sleep 600",
        "env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > pid; exec sleep 600' & wait",
    ];
    for script in scripts {
        let _ = fs::remove_file(&pid);
        let before = reports(&place);
        let mut command = place.command(&["exec", "job", "--timeout", "1s", "--", "sh", "-c", script]);
        command.current_dir(&place.folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = Running(command.spawn().unwrap());
        // Nobody reads it, and it stays open.
        let _stdout = running.0.stdout.take();
        let number = written(&place, &pid);
        assert_eq!(running.ended().code(), Some(124), "{script}");
        gone(&place, &number);
        assert_eq!(reports(&place), before + 1, "{script}");
    }
}

/// Where nobody reads its output any more, the job still does its work, and the report says so.
#[test]
fn a_closed_pipe_does_not_end_a_job() {
    let place = place();
    let outer = r#"{ "$@"; echo $? > code; } | true"#;
    let script =
        "i=0; while [ $i -lt 300 ]; do echo a long line of text, many times; i=$((i + 1)); done; echo done > done";
    let wrapped = seen(&place, &WRAPPED, outer, &["sh", "-c", script]);
    assert_eq!((wrapped.files["code"].as_str(), wrapped.files["done"].as_str()), ("0\n", "done\n"));
    let kept = fs::read_dir(place.state_folder().join("queue")).unwrap().flatten().next().unwrap();
    let kept = fs::read_to_string(kept.path()).unwrap();
    assert!(kept.contains("nobody read its output to the end"), "{kept}");
}
