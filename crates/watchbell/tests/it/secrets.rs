//! What a check was given as a secret shows in nothing that comes of its run.

use crate::place::Place;
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

const SECRETS: [&str; 5] =
    ["bearer-of-bad-news", "correct horse battery", "key/with+signs&more", "p4ssw0rd-in-a-file", "from-the-creds-file"];

/// S1.3: a server that sends back what it was sent, and commands that print what they were given: no file of the
/// agent holds a secret, whole or behind any part of a Base64 text.
#[test]
fn what_echoes_a_secret_does_not_show_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap();
    std::thread::spawn(move || server.incoming().flatten().for_each(echo));
    let place = Place::new("", &config(&format!("http://{at}/")));
    place.file("password", &format!("{}\n", SECRETS[3]));
    place.script("print.sh", "#!/bin/sh\necho \"$PHRASE|$KEY|$PW\" | tee /dev/stderr\n");
    place.script(
        "tell.sh",
        "#!/bin/sh\necho '{\"faults\": [{\"severity\": 50, \"message\": \"'\"$PHRASE|$KEY|$PW\"'\"}]}'\n",
    );
    place.file("creds.json", &format!("{{\"DB\": \"{}\"}}", SECRETS[4]));
    let given = [("BEARER", SECRETS[0]), ("PHRASE", SECRETS[1]), ("KEY", SECRETS[2])];
    let agent = place.start_with(|command| command.envs(given));
    let checks = ["bearer", "basic", "header", "body", "prints", "plugin", "tells", "creds"];
    place.until("all checks told", || {
        let told = place.told();
        let is_told = |name: &str| told.iter().any(|d| *d.event.name == *name);
        is_told("test#source-rows") && checks.iter().all(|check| is_told(&format!("//test/watchbell/{check}")))
    });
    let shown = place.command(&["test", "."]).envs(given).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).matches("***").count() > checks.len());
    fs::write(place.folder.join("shown"), [shown.stdout, shown.stderr].concat()).unwrap();
    drop(agent);
    let masked = place.told().iter().filter(|d| format!("{:?}", d.event).contains("***")).count();
    assert!(masked > checks.len(), "only {masked} deliveries show that something was masked");
    fs::remove_file(place.folder.join("password")).unwrap();
    fs::remove_file(place.folder.join("creds.json")).unwrap();
    assert_nothing_holds_one(&place.folder);
}

fn config(url: &str) -> String {
    let check = |name: &str, what: &str| format!("[check.{name}]\nevery = \"1s\"\nretry = 0\n{what}\n");
    let http = |name: &str, what: &str| check(name, &format!("http = \"{url}\"\n{what}"));
    let env = "env = { PHRASE = { env = \"PHRASE\" }, KEY = { env = \"KEY\" }, PW = { file = \"password\" } }";
    [
        http("bearer", "bearer = { env = \"BEARER\" }"),
        http("basic", "user = \"somebody\"\npassword = { env = \"PHRASE\" }"),
        http("header", "headers = { X-Key = { env = \"KEY\" } }"),
        http("body", "method = \"POST\"\nbody = { env = \"PHRASE\" }"),
        check("prints", &format!("command = './print.sh'\n{env}")),
        check("plugin", &format!("nagios = './print.sh; exit 2'\n{env}")),
        check("tells", &format!("json = './tell.sh'\n{env}")),
        check("creds", "command = 'printenv DB'\nenv_file = \"creds.json\""),
        check("query", "query = \"x\"\nsource = \"rows\"\nvalue = true\nthresholds = [\"x error > 1\"]"),
        format!("[source.rows]\nurl = \"{url}\"\npassword = {{ env = \"BEARER\" }}"),
    ]
    .concat()
}

/// Answers what it was sent, as a debug page would.
fn echo(mut stream: std::net::TcpStream) {
    let mut asked = vec![0; 65536];
    let mut n = 0;
    // The head and its body come together, or one behind the other.
    while let Ok(more) = stream.read(&mut asked[n..]) {
        n += more;
        let text = String::from_utf8_lossy(&asked[..n]).to_lowercase();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        let length =
            text.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap_or_default());
        if more == 0 || body.is_some_and(|n| n >= length.parse().unwrap_or_default()) {
            break;
        }
    }
    let _ = write!(stream, "HTTP/1.1 500 Broken\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&asked[..n]);
}

fn assert_nothing_holds_one(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            assert_nothing_holds_one(&path);
            continue;
        }
        // Sockets can't be read.
        let Ok(bytes) = fs::read(&path) else { continue };
        for secret in SECRETS.iter().flat_map(|secret| parts_of(secret)) {
            let found = bytes.windows(secret.len()).position(|part| part == secret.as_bytes());
            assert_eq!(found, None, "{} holds `{secret}`", path.display());
        }
    }
}

/// The secret, and what of it is in a Base64 text behind 0, 1 or 2 more bytes.
fn parts_of(secret: &str) -> Vec<String> {
    use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
    let encoded = (0..3).map(|skip| {
        let whole = &secret.as_bytes()[skip..];
        BASE64_STANDARD_NO_PAD.encode(&whole[..whole.len() / 3 * 3])
    });
    encoded.chain([secret.to_owned()]).collect()
}
