//! What operators and their machines do to an agent: signals, reloads, a second start, systemd, Sentry, a full disk.

use crate::place::{PATIENCE, Place, skipped};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixDatagram,
    process::Command,
    sync::mpsc,
    time::Duration,
};
use watchbell_core::model::Action;

const BROKEN: &str = "[check.broken]\nnagios = \"echo no; exit 2\"\nevery = \"1s\"\nretry = 0\n";

fn told(place: &Place, action: Action, name: &str) -> bool {
    place.told().iter().any(|d| d.action == action && *d.event.name == *name)
}

/// S3.1, S3.12: a file that is dropped in is picked up without a restart; one that breaks is a fault, keeps what
/// it had, and everything else keeps running; one that is removed resolves what it told.
#[test]
fn files_come_break_and_go() {
    let place = Place::new("", "");
    let _agent = place.start();
    place.until("a start", || place.log().contains("agent") || place.state_folder().join("state.db").exists());
    place.file("app.toml", BROKEN);
    place.until("the new check's fault", || told(&place, Action::Trigger, "//test/app/broken"));
    place.file("app.toml", "[check.broken\nnagios = \"true\"\n");
    place.until("the file's own fault", || told(&place, Action::Trigger, "//test/app/"));
    assert!(!told(&place, Action::Resolve, "//test/app/broken"), "what was good before stays");
    place.file("app.toml", BROKEN);
    place.until("the file is well", || told(&place, Action::Resolve, "//test/app/"));
    std::fs::remove_file(place.folder.join("app.toml")).unwrap();
    place.until("the check's fault is resolved", || told(&place, Action::Resolve, "//test/app/broken"));
    let resolved = place.told().into_iter().rfind(|d| *d.event.name == *"//test/app/broken").unwrap();
    assert_eq!(resolved.event.text, "removed from the config");
}

/// SIGHUP reads the config again; SIGTERM ends the agent in good order, and the fault is not told again by the
/// next one (S3.7).
#[test]
fn signals_reload_and_end() {
    let place = Place::new("", BROKEN);
    let mut agent = place.start();
    place.until("the fault", || told(&place, Action::Trigger, "//test/watchbell/broken"));
    agent.signal(Signal::HUP);
    place.until("the reload", || place.log().contains("SIGHUP"));
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
    let mut agent = place.start();
    std::thread::sleep(Duration::from_secs(3));
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
    let triggers = place.told().iter().filter(|d| d.action == Action::Trigger).count();
    assert_eq!(triggers, 1, "told once, over two agents");
}

/// A second agent on the same state folder is refused, says who has it, and leaves the first alone.
#[test]
fn a_second_agent_is_refused() {
    let place = Place::new("", BROKEN);
    let first = place.start();
    place.until("the fault", || told(&place, Action::Trigger, "//test/watchbell/broken"));
    let second = place.run(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains(&first.0.id().to_string()) && text.contains("hint:"), "{text}");
}

/// systemd hears that the agent is ready, that it lives, and that it ends.
#[test]
fn systemd_is_told() {
    let place = Place::new("", "");
    let path = place.folder.join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let agent = place.start_with(|c| c.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000"));
    let hear = || {
        let mut buffer = [0; 256];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "WATCHDOG=1");
    agent.signal(Signal::TERM);
    while hear() != "STOPPING=1" {}
}

/// systemd's journal gets the agent's log with its fields, where the config asks for it; a journal that is not there is
/// a fault.
#[test]
fn the_journal_is_logged_to() {
    let place = Place::new("journald = true", BROKEN);
    std::fs::create_dir(place.folder.join("journal")).unwrap();
    // A view of the file system in which the journal's place is this folder.
    let agent = |folder: &std::path::Path| {
        let script = "mount --bind \"$1\" /run/systemd && exec \"$2\" run";
        let mut view = Command::new("unshare");
        view.args(["--mount", "sh", "-c", script, "sh"]).arg(folder).arg(env!("CARGO_BIN_EXE_watchbell"));
        view.env("WATCHBELL_CONFIG", &place.folder).env_remove("WATCHBELL_LOG");
        view
    };
    let usable = Command::new("unshare").args(["--mount", "mount", "--bind", "/run/systemd", "/run/systemd"]).status();
    if !usable.is_ok_and(|status| status.success()) {
        return skipped("the_journal_is_logged_to: needs root and a folder /run/systemd");
    }
    let without = place.start_with(|command| {
        *command = agent(&place.folder);
        command.stderr(std::process::Stdio::null())
    });
    place.until("the fault of a log without a place", || told(&place, Action::Trigger, "test#log"));
    drop(without);
    let socket = UnixDatagram::bind(place.folder.join("journal/socket")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _agent = place.start_with(|command| {
        *command = agent(&place.folder);
        command.stderr(std::process::Stdio::null())
    });
    let mut buffer = vec![0; 65536];
    let entry = loop {
        let n = socket.recv(&mut buffer).expect("an entry of the journal");
        let entry = journal_fields(&buffer[..n]);
        if entry.get("MESSAGE").is_some_and(|message| message == "delivered") {
            break entry;
        }
    };
    let fields = [("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "watchbell"), ("TARGET", "watchbell::run::work")];
    for (field, value) in fields {
        assert_eq!(entry.get(field).map(String::as_str), Some(value), "{field} in {entry:?}");
    }
    assert!(entry.get("F_KEY").is_some_and(|key| key.contains("/test#log/")), "{entry:?}");
    place.until("the fault's end", || told(&place, Action::Resolve, "test#log"));
}

/// An entry in the journal's native protocol: `NAME=VALUE`, or a name, the value's length and the value.
fn journal_fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        match text(line).split_once('=') {
            Some((name, value)) => {
                fields.insert(name.to_owned(), value.to_owned());
                entry = rest;
            }
            None => {
                let (length, rest) = rest.split_at(8);
                let (value, rest) =
                    rest.split_at(usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap());
                fields.insert(text(line), text(value));
                entry = &rest[1..];
            }
        }
    }
    fields
}

/// S3.14: errors of the agent itself go to Sentry, those at start-up too.
#[test]
fn sentry_hears_of_errors_at_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = String::new();
            let mut buffer = [0; 65536];
            // The report is small: what has come after a moment is all of it.
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            while let Ok(n) = stream.read(&mut buffer) {
                if n == 0 {
                    break;
                }
                text += &String::from_utf8_lossy(&buffer[..n]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            let _ = sender.send(text);
        }
    });
    let place = Place::new("sentry_dsn = { env = \"TEST_SENTRY\" }", "");
    // A state "folder" that is a file: the agent can't start.
    place.file("state", "in the way");
    let dsn = format!("http://publickey@{address}/7");
    let output = place.command(&["run"]).env("TEST_SENTRY", dsn).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report = heard.recv_timeout(PATIENCE).expect("a report");
    assert!(report.starts_with("POST /api/7/envelope/"), "{report}");
    assert!(report.contains("publickey") && report.contains("can't"), "{report}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("publickey"), "the key must not be shown");
}

/// A full disk is itself told, nothing that was accepted is lost, and the agent goes on when there is room.
#[test]
fn a_full_disk_is_told() {
    let place = Place::new("", BROKEN);
    let state = place.state_folder();
    std::fs::create_dir_all(&state).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(&state).status();
    if !mounted.is_ok_and(|s| s.success()) {
        return skipped("a_full_disk_is_told: a small file system can't be mounted here (needs root)");
    }
    let unmount = Unmount(state.clone());
    let agent = place.start();
    place.until("the fault", || told(&place, Action::Trigger, "//test/watchbell/broken"));
    // Fill the disk to the last block.
    let mut filler = std::fs::File::create(state.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    place.file("more.toml", &BROKEN.replace("broken", "later"));
    place.until("the disk's fault", || told(&place, Action::Trigger, "test#disk"));
    place.until("the later fault", || told(&place, Action::Trigger, "//test/more/later"));
    drop(filler);
    std::fs::remove_file(state.join("filler")).unwrap();
    place.until("the disk is well", || told(&place, Action::Resolve, "test#disk"));
    drop(agent);
    drop(unmount);
}

/// A store that can't be written is told outside of it, and that it can again; signals are heard meanwhile.
#[test]
fn a_store_that_cannot_be_written_is_told() {
    let place = Place::new("", "[check.tick]\nnagios = \"date; exit 2\"\nevery = \"1s\"\nretry = 0\n");
    let mut agent = place.start();
    place.until("the fault", || told(&place, Action::Trigger, "//test/watchbell/tick"));
    let database = rusqlite::Connection::open(place.state_folder().join("state.db")).unwrap();
    let direct = |works: bool| {
        let of_store =
            |d: &watchbell_core::model::Delivery| d.key.contains("/store/") && d.key.ends_with("/works") == works;
        place.told().into_iter().filter(of_store).count()
    };
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    place.until("the store's message", || direct(false) == 1);
    let text = place.told().into_iter().rfind(|d| d.key.contains("/store/")).unwrap().event.text;
    assert!(text.starts_with("the store can't be written") && text.contains("locked"), "{text}");
    database.execute_batch("ROLLBACK").unwrap();
    place.until("the store's recovery", || direct(true) == 1);
    place.until("the store's fault", || told(&place, Action::Trigger, "test#store"));
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    place.until("the second outage", || direct(false) == 2);
    agent.signal(Signal::HUP);
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
}

/// A delivery under way when the agent ends is not cut off and not sent again by the next one; a command that runs
/// then does not outlive it.
#[test]
fn what_is_under_way_at_the_end() {
    let slow = "[notify.slow]\nkind = \"command\"\ncommand = \"echo >> begun; sleep 2; echo >> ended\"\n";
    let hang = "[check.hang]\nnagios = \"echo $$ > pid; sleep 1000; true\"\nevery = \"1s\"\n";
    let place = Place::new("", &format!("{BROKEN}notify = [\"slow\"]\n{slow}{hang}"));
    let lines = |file: &str| std::fs::read(place.folder.join(file)).unwrap_or_default().len();
    let mut agent = place.start();
    place.until("a delivery under way, and a command", || lines("begun") == 1 && lines("pid") > 0);
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
    assert_eq!(lines("ended"), 1, "{}", place.log());
    let pid = std::fs::read_to_string(place.folder.join("pid")).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the command lives: {state}");
    let agent = place.start();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(lines("begun"), 1, "sent once, over two agents");
    drop(agent);
}

/// A further folder that is named while the agent runs counts at once, and what changes in it, at any depth. While it
/// is away, what stood in it goes on, and that is told (S3.12).
#[test]
fn further_folders() {
    let place = Place::new("", "");
    let far = place.folder.with_extension("far");
    let put = |file: &str| {
        let path = far.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, BROKEN).unwrap();
    };
    put("team/app.toml");
    let agent = place.start();
    place.until("a start", || place.state_folder().join("state.db").exists());
    place.config(&format!("conf = [{far:?}]"), "");
    place.until("the first fault", || told(&place, Action::Trigger, "//test/app/broken"));
    let began = std::time::Instant::now();
    put("team/a/b/late.toml");
    place.until("the later fault", || told(&place, Action::Trigger, "//test/late/broken"));
    assert!(began.elapsed() < Duration::from_secs(40), "it was not noticed: {:?}", began.elapsed());
    let (aside, name) = (far.with_extension("aside"), far.file_name().unwrap().to_string_lossy().into_owned());
    std::fs::rename(&far, &aside).unwrap();
    agent.signal(Signal::HUP);
    place.until("the folder's fault", || told(&place, Action::Trigger, &format!("//test/{name}/")));
    std::fs::rename(&aside, &far).unwrap();
    place.until("the folder is back", || told(&place, Action::Resolve, &format!("//test/{name}/")));
    assert!(!told(&place, Action::Resolve, "//test/app/broken"), "what can't be read keeps what it had");
    drop(agent);
    std::fs::remove_dir_all(&far).unwrap();
}

/// A pipe with a config's name holds nobody up.
#[test]
fn a_pipe_is_no_config() {
    let place = Place::new("", "");
    assert!(Command::new("mkfifo").arg(place.folder.join("pipe.toml")).status().unwrap().success());
    let checked = place.run(&["validate"]);
    assert_eq!(checked.status.code(), Some(1));
    let mut agent = place.start();
    place.until("the pipe's fault", || told(&place, Action::Trigger, "//test/pipe/"));
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
}

/// A file that is no config starts nothing.
#[test]
fn a_file_that_is_no_config_is_refused() {
    let place = Place::new("", "");
    place.file("notes.txt", "buy milk\n");
    let path = place.folder.join("notes.txt");
    let refused = place.run(&["run", path.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("is no config that can be used") && text.contains("hint: name a folder"), "{text}");
}

/// Unmounts when dropped, also when the test failed.
struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
