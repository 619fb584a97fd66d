//! What scripts and cron jobs hand in reaches people, by whichever door, whoever leaves it, and whatever the agent does
//! just then.

use crate::place::{Place, Running};
use rustix::process::geteuid;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::PathBuf,
    process::Output,
};
use watchbell_core::model::{Action, Delivery};

const BACKUP: &str = "[check.backup]\npassive = \"1h\"\nretry = 0\n";
/// Somebody who is not root, and nobody in particular.
const OTHER: u32 = 65534;

fn up(place: &Place) {
    let socket = place.state_folder().join("agent.sock");
    place.until("the agent answers", || UnixStream::connect(&socket).is_ok());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn queue(place: &Place) -> Vec<PathBuf> {
    fs::read_dir(place.state_folder().join("queue")).unwrap().map(|e| e.unwrap().path()).collect()
}

fn told(place: &Place, wanted: impl Fn(&Delivery) -> bool) -> bool {
    place.told().iter().any(wanted)
}

fn message(text: &str) -> impl Fn(&Delivery) -> bool {
    move |d| d.action == Action::Message && d.event.text == text
}

fn of(action: Action, name: &str) -> impl Fn(&Delivery) -> bool {
    move |d| d.action == action && *d.event.name == *name
}

/// An agent that has run and ended: its state folder is there.
fn has_run(place: &Place) {
    let agent = place.start();
    up(place);
    place.until("its queue", || place.state_folder().join("queue").exists());
    drop(agent);
}

/// A message that names a notifier reaches it through the API's both listeners, and from the command line with the
/// agent up and down.
#[test]
fn messages_reach_people_by_every_door() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new(&format!("listen = \"127.0.0.1:{port}\""), BACKUP);
    let agent = place.start();
    up(&place);
    let post = |stream: &mut dyn ReadWrite, text: &str| {
        let body = format!("{{\"name\": \"x\", \"text\": \"{text}\", \"notify\": [\"told\"]}}");
        let head = "POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                    Content-Type: application/json\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    post(&mut UnixStream::connect(place.state_folder().join("agent.sock")).unwrap(), "by the socket");
    post(&mut TcpStream::connect(("127.0.0.1", port)).unwrap(), "by TCP");
    assert!(place.run(&["send", "by the command", "--notify", "told"]).status.success());
    let url = format!("http://127.0.0.1:{port}");
    assert!(place.run(&["send", "by its address", "--notify", "told", "--url", &url]).status.success());
    drop(agent);
    assert!(place.run(&["send", "while it was down", "--notify", "told"]).status.success());
    let _agent = place.start();
    for text in ["by the socket", "by TCP", "by the command", "by its address", "while it was down"] {
        place.until(text, || told(&place, message(text)));
    }
    let left = place.told().into_iter().find(message("while it was down")).unwrap().event;
    assert!(left.at < left.received_at, "{left:?}");
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// What root leaves for another user's agent is taken in; what that agent can't read is told, and taken in once it can.
#[test]
fn root_leaves_it_for_another_users_agent() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED root_leaves_it_for_another_users_agent: it needs root");
        return;
    }
    let place = Place::new("", BACKUP);
    chown(&place.folder, Some(OTHER), Some(OTHER)).unwrap();
    let start = || place.start_with(|command| command.uid(OTHER).gid(OTHER));
    let agent = start();
    up(&place);
    let folder = place.state_folder().join("queue");
    place.until("its queue", || folder.exists());
    let found = fs::metadata(&folder).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (OTHER, 0o750));
    drop(agent);
    // As older versions left it.
    fs::remove_dir(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    assert!(place.run(&["send", "by root", "--notify", "told"]).status.success());
    assert_eq!(place.run(&["exec", "backup", "--", "sh", "-c", "exit 3"]).status.code(), Some(3));
    assert_eq!(queue(&place).len(), 2);
    let unreadable = folder.join("00000000000000000001-1.json");
    let text = r#"{"message": {"name": "x", "text": "in the end", "notify": ["told"]}}"#;
    fs::write(&unreadable, text).unwrap();
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o600)).unwrap();
    let _agent = start();
    place.until("root's message", || told(&place, message("by root")));
    place.until("root's report", || told(&place, of(Action::Trigger, "//test/watchbell/backup")));
    place.until("the queue's fault", || told(&place, of(Action::Trigger, "test#queue")));
    let fault = place.told().into_iter().find(of(Action::Trigger, "test#queue")).unwrap().event.text;
    for part in [unreadable.to_str().unwrap(), "Permission denied", "must belong to the agent's user"] {
        assert!(fault.contains(part), "{fault}");
    }
    chown(&unreadable, Some(OTHER), None).unwrap();
    place.until("the last message", || told(&place, message("in the end")));
    place.until("the queue is well", || told(&place, of(Action::Resolve, "test#queue")));
    assert_eq!(queue(&place), Vec::<PathBuf>::new());
    let complaints = place.log().lines().filter(|line| line.contains("can't be taken in")).count();
    assert!(complaints <= 2, "once in the log, once as the fault: {}", place.log());
}

/// What makes no sense, or is refused, is set aside and told until somebody mends or removes it; the rest is taken in,
/// and what is not whole is left alone.
#[test]
fn what_can_not_be_taken_in_is_told() {
    let place = Place::new("", BACKUP);
    has_run(&place);
    let folder = place.state_folder().join("queue");
    let refused = r#"{"message": {"name": "x", "text": "to nobody", "notify": ["nobody"]}}"#;
    for (name, text) in [
        (".9-9.tmp", "{\"mess"),
        ("00000000000000000001-1.json", "not JSON"),
        ("00000000000000000002-1.json", refused),
        ("00000000000000000003-1.json", r#"{"report": {"check": "exec/a\nb"}}"#),
        ("00000000000000000004-1.json", &refused.replace("to nobody", "to somebody").replace("nobody\"", "told\"")),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let _agent = place.start();
    place.until("the good message", || told(&place, message("to somebody")));
    place.until("the fault", || told(&place, of(Action::Trigger, "test#queue")));
    let fault = place.told().into_iter().find(of(Action::Trigger, "test#queue")).unwrap().event;
    assert!(fault.text.contains("(and 2 more)") && fault.text.contains("1-1.json.bad`: expected"), "{}", fault.text);
    for part in ["there is no notifier `nobody`", "control character", "take `.bad` off its name, or remove it"] {
        assert!(fault.detail.contains(part), "{part}: {}", fault.detail);
    }
    let mended = folder.join("00000000000000000002-1.json.bad");
    fs::write(&mended, refused.replace("nobody\"]", "told\"]")).unwrap();
    fs::rename(&mended, mended.with_extension("")).unwrap();
    for n in [1, 3] {
        fs::remove_file(folder.join(format!("0000000000000000000{n}-1.json.bad"))).unwrap();
    }
    place.until("the mended message", || told(&place, message("to nobody")));
    place.until("all is well", || told(&place, of(Action::Resolve, "test#queue")));
    assert_eq!(queue(&place), [folder.join(".9-9.tmp")]);
}

/// What the agent would refuse at its next start is refused at once.
#[test]
fn nothing_wrong_is_left() {
    let place = Place::new("", BACKUP);
    has_run(&place);
    let long = "x".repeat(70 << 10);
    for (args, expect) in [
        (&["send", "x", "--name", ""][..], "`name` is empty"),
        (&["send", "x", "--name", "a\u{1b}b"], "`name` holds the control character"),
        (&["send", "x", "--topic", &long[..2000]], "`topic` is 2000 bytes long; at most 1024 are taken"),
        (&["send", &long], "`text` is 71680 bytes long"),
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expect) && said(&output).contains("hint: "), "{}", said(&output));
    }
    let output = place.run(&["exec", "a\nb", "--", "sh", "-c", "exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("`check` holds the control character"), "{}", said(&output));
    assert_eq!(queue(&place), Vec::<PathBuf>::new());
}

/// An agent that takes nothing in, or breaks off in the middle, costs no report and no message: they wait in its
/// queue, and the job's exit code is its own.
#[test]
fn what_the_agent_does_not_take_waits() {
    let place = Place::new("", BACKUP);
    has_run(&place);
    let socket = place.state_folder().join("agent.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\
                Connection: close\r\n\r\n{\"error\": \"no room\"}\n";
    std::thread::spawn(move || {
        // First full, then broken: of each request the connection that looks whether somebody is there says nothing.
        let mut answers = [busy, busy, "", ""].into_iter();
        for stream in listener.incoming().flatten() {
            let mut stream: UnixStream = stream;
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok_and(|n| n > 0) {
                let Some(answer) = answers.next() else { return };
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    for (code, why) in [(3, "no room"), (4, "does not answer")] {
        let script = format!("exit {code}");
        let output = place.run(&["exec", "backup", "--", "sh", "-c", &script]);
        assert_eq!(output.status.code(), Some(code));
        assert!(said(&output).contains(why) && said(&output).contains("the report is kept in"), "{}", said(&output));
        let output = place.run(&["send", why, "--notify", "told"]);
        assert!(output.status.success() && said(&output).contains("kept in"), "{}", said(&output));
    }
    assert_eq!(queue(&place).len(), 4);
    let _agent = place.start();
    place.until("the report", || told(&place, of(Action::Trigger, "//test/watchbell/backup")));
    for text in ["no room", "does not answer"] {
        place.until(text, || told(&place, message(text)));
    }
}

/// A token that may do one thing is enough for the command that does it.
#[test]
fn one_scope_is_enough() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place::new("", "");
    let made = ["ingest", "operate"].map(|scope| {
        let made = place.run(&["token", "new", scope, "--scope", scope, "--json"]);
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let line = format!("{{ name = \"{scope}\", scopes = [\"{scope}\"], sha256 = {} }}", made["sha256"]);
        (made["token"].as_str().unwrap().to_owned(), line)
    });
    let lines = made.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join(", ");
    place.config(&format!("listen = \"127.0.0.1:{port}\"\ntokens = [{lines}]"), BACKUP);
    let _agent = place.start();
    up(&place);
    let url = format!("http://127.0.0.1:{port}");
    let call = |token: &str, args: &[&str]| {
        place.command(args).env("WATCHBELL_URL", &url).env("WATCHBELL_TOKEN", token).output().unwrap()
    };
    let output = call(&made[0].0, &["exec", "backup", "--", "sh", "-c", "exit 3"]);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(3), ""));
    assert!(String::from_utf8_lossy(&place.run(&["faults"]).stdout).contains("//test/watchbell/backup"));
    let output = call(&made[1].0, &["squelch", "backup", "the night"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("keeps quiet 1 fault"));
}

/// The tour's operator: a job squelches the front page before it fails, nobody is told; the squelch ends by itself, and
/// what is still wrong is told.
#[test]
fn the_tours_operator_squelches() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tour/res/operator.sh");
    let mut script = fs::read_to_string(example).unwrap();
    for (theirs, ours) in [("//tour/shop/web", "//test/watchbell/web"), ("$(date +%s)", "$(cat clock)"), ("50s", "3s")]
    {
        assert!(script.contains(theirs), "{script}");
        script = script.replace(theirs, ours);
    }
    let place = Place::new(
        "",
        "[defaults]\nevery = \"1s\"\nretry = 0\n[check.web]\nnagios = \"cat page; test ! -s page || exit 2\"\n\
         [check.operator]\ncommand = \"./operator.sh\"\ntype = \"job\"\n\
         env = { WATCHBELL = { env = \"WATCHBELL\" }, WATCHBELL_CONFIG = { env = \"WATCHBELL_CONFIG\" } }\n",
    );
    place.script("operator.sh", &script);
    place.file("page", "");
    place.file("clock", "135");
    let _agent: Running = place.start_with(|command| command.env("WATCHBELL", env!("CARGO_BIN_EXE_watchbell")));
    let squelches = || String::from_utf8_lossy(&place.run(&["squelches"]).stdout).into_owned();
    place.until("the squelch", || squelches().contains("the tour shows how a squelch works"));
    place.file("page", "no page");
    let faults = || String::from_utf8_lossy(&place.run(&["faults"]).stdout).into_owned();
    place.until("the fault is held", || faults().contains("squelched"));
    assert_eq!(place.told(), [], "nobody is told meanwhile");
    place.file("clock", "0");
    place.until("it is told after the squelch", || told(&place, of(Action::Trigger, "//test/watchbell/web")));
    assert!(!squelches().contains("the tour"), "{}", squelches());
}
