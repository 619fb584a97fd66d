//! Filters and templates that ask for everything, with the real binary: they cost their check a message.

use crate::place::Place;
use std::{
    io::{Read, Write},
    net::TcpListener,
};

/// Serves `{"n":100000}` to whoever asks, until the test ends.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"n\":100000}");
        }
    });
    format!("http://{address}/")
}

/// Each check is told what its filter did, the others go on, and so does the program.
#[test]
fn filters_cost_their_check_a_message() {
    let url = server();
    let filters = [
        (
            "deep",
            "def s(n): if n==0 then 0 else n+s(n-1) end; s(.n) > 0",
            "nested too deeply or calls itself too often",
        ),
        ("endless", "def f: f; f", "it took longer than "),
        ("range", "[range(1000000000)] | true", "it took more than 64 MiB of memory"),
        ("double", "reduce range(40) as $i (\"x\"; . + .) | true", "it took more than 64 MiB of memory"),
        ("array", "reduce range(40) as $i ([1]; . + .) | true", "it took more than 64 MiB of memory"),
        ("fine", ".n == 100000", "status 200, 12 bytes"),
    ];
    let check = |(name, filter, _): &(&str, &str, &str)| {
        format!("[check.{name}]\nhttp = {url:?}\njson = {filter:?}\ntimeout = \"8s\"\n")
    };
    let place = Place::new("", &filters.iter().map(check).collect::<String>());
    for (name, _, expect) in filters {
        let said = place.run(&["test", &format!("watchbell/{name}"), "--dry-run"]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains(expect), "{name}: {said}");
    }
}

/// Neither brackets nor what doubles ends the program that reads it: each is a mistake with its place.
#[test]
fn what_is_too_much_is_a_mistake_of_the_config() {
    let (brackets, pipes) = (format!("{}{}", "[".repeat(4_000), "]".repeat(4_000)), ".|".repeat(20_000));
    let double = "{% set n = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    for (config, expect) in [
        (format!("[check.a]\nhttp = \"http://h/\"\njson = \"{brackets}\""), "stand more than 200 deep in one another"),
        (format!("[check.a]\nhttp = \"http://h/\"\nvalue = \"{pipes}.\""), "it is nested too deeply"),
        (
            format!("[notify.n]\nkind = \"log\"\ntitle = \"{double}\""),
            "`title` is no template: it took more than 64 MiB",
        ),
    ] {
        let place = Place::new("", &config);
        let said = place.run(&["validate"]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
        assert!(said.status.code() == Some(1) && text.contains(expect), "{:?}: {text}", said.status);
    }
}
