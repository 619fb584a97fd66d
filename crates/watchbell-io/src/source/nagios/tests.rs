//! Real plugins of Debian's `monitoring-plugins`, and scripts for what those do not do.

use super::*;
use crate::source::suite::{assert_problems, outcome, parts};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
};
use watchbell_core::model::Severity::{self, Error, Warning};

const PLUGINS: &str = "/usr/lib/nagios/plugins";

/// S3.4: every exit class, standard error, no output, too slow, too much, and children left behind.
#[test]
fn every_way_to_end() {
    // (command line, parts of findings, severity of the check's own, inconclusive)
    let table: &[(&str, &[&str], Option<Severity>, bool)] = &[
        ("echo OK", &[], None, false),
        ("echo WARN; exit 1", &[""], Some(Warning), false),
        ("echo CRIT; exit 2", &[""], Some(Error), false),
        ("echo UNKNOWN; exit 3", &[""], Some(Error), false),
        ("echo odd; exit 4", &["monitor-status"], None, true),
        ("echo odd; exit 127", &["monitor-status"], None, true),
        ("echo dead; kill -SEGV $$", &["monitor-status"], None, true),
        ("echo OK; echo hm >&2", &["monitor-stderr"], None, false),
        ("echo bad; echo hm >&2; exit 2", &["monitor-stderr", ""], Some(Error), false),
        ("exit 0", &["monitor-no-out"], None, true),
        ("exit 2", &["monitor-no-out", ""], Some(Error), false),
        ("sleep 613", &["monitor-timeout"], None, true),
        ("echo OK; yes >&2", &["monitor-output"], None, true),
        ("/no/such/plugin", &["monitor-start"], None, true),
        ("/etc", &["monitor-start"], None, true),
        ("echo 'OK|a=1'; sleep 614 &", &[], None, false),
        (r"printf '\200\000\377'; exit 1", &[""], Some(Warning), false),
    ];
    for (line, wanted, severity, inconclusive) in table {
        // Two of them need the limit, and a busy machine may need it to start a shell.
        let limit = if line.starts_with("sleep") { "500ms" } else { "60s" };
        let outcome = outcome(&KIND, &format!("nagios = '''{line}'''\ntimeout = '{limit}'"));
        assert_eq!(parts(&outcome), *wanted, "{line}: {outcome:?}");
        let own = outcome.findings.iter().find(|f| f.part.is_none()).map(|f| f.severity);
        assert_eq!((own, outcome.inconclusive), (*severity, *inconclusive), "{line}: {outcome:?}");
        assert!(
            outcome.findings.iter().all(|f| f.escalates && f.part.is_none() == f.trouble.is_none()),
            "{line}: {outcome:?}"
        );
    }
}

#[test]
fn options_change_the_reading() {
    let of = |options: &str, text: &str| outcome(&KIND, &format!("nagios = '''echo '{text}' '''\n{options}"));
    assert_eq!(of("", "OK|a=5;1;2").metrics.len(), 1);
    assert_eq!(parts(&of("perfdata_thresholds = true", "OK|a=5;1;2")).len(), 1);
    let outcome = of("performance = false", "OK|a=5");
    assert_eq!((outcome.metrics.len(), outcome.summary.as_str()), (0, "OK|a=5"));
    let json = r#"{"faults": [{"severity": 50, "message": "m"}]}"#;
    assert_eq!((of("", json).findings.len(), of("accept_json = true", json).findings.len()), (0, 1));
    assert_problems(
        &KIND,
        &[
            ("nagios = ''", "`nagios` is empty"),
            ("nagios = 'a'\nperformance = 1", "true or false"),
            ("nagios = 'a'\nperformance = false\nperfdata_thresholds = true", "needs performance data"),
        ],
    );
}

/// A server that says `banner`, and answers every line with `answer`, until it is told to quit.
fn server(banner: &'static [u8], answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream, banner, answer));
        }
    });
    port
}

fn serve(mut stream: &TcpStream, banner: &[u8], answer: &str) {
    if stream.write_all(banner).is_err() || answer.is_empty() {
        return;
    }
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let http = answer.starts_with("HTTP");
        if (!http || line.is_empty()) && stream.write_all(answer.as_bytes()).is_err() || http && line.is_empty() {
            return;
        }
        if line.to_ascii_uppercase().contains("QUIT") {
            return;
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A plugin's line, the severity it must come to, a part of its text, and labels of its performance data.
type Case = (String, Option<Severity>, &'static str, &'static [&'static str]);

fn local_plugins(log: &str) -> Vec<Case> {
    let dummy = format!("{PLUGINS}/check_dummy");
    let of = |line: &str, severity, text, labels| (line.to_owned(), severity, text, labels);
    vec![
        of("check_dummy 0 fine", None, "OK: fine", &[][..]),
        of("check_dummy 1 hm", Some(Warning), "WARNING: hm", &[]),
        of("check_dummy 2 'so bad'", Some(Error), "CRITICAL: so bad", &[]),
        of("check_dummy 3", Some(Error), "UNKNOWN", &[]),
        of("check_disk -w 0% -c 0% -p /", None, "DISK OK", &["/"]),
        of("check_disk -w 100% -c 100% -p /", Some(Error), "DISK CRITICAL", &["/"]),
        of("check_load -w 9000,9000,9000 -c 9001,9001,9001", None, "OK", &["load1", "load5", "load15"]),
        of("check_procs -w 1:1000000", None, "PROCS OK", &["procs"]),
        of("check_procs -c 1000000:", Some(Error), "PROCS CRITICAL", &["procs"]),
        of("check_users -w 10000 -c 20000", None, "USERS OK", &["users"]),
        of(&format!("check_file_age -w 100000 -c 200000 -f {log}"), None, "FILE_AGE OK", &["age", "size"]),
        of(
            &format!("check_file_age -w 100000 -c 200000 -W 9999999 -f {log}"),
            Some(Warning),
            "FILE_AGE WARNING",
            &["age", "size"],
        ),
        of("check_file_age -f /no/such/file", Some(Error), "FILE_AGE CRITICAL", &[]),
        of("check_cluster -s -l web -d 0,0,2 -w 0 -c 2", Some(Warning), "2 ok, 0 warning, 0 unknown, 1 critical", &[]),
        of(&format!("check_log -F {log} -O {log}.old -q ERROR"), None, "initialized", &[]),
        of(&format!("check_log -F {log} -O {log}.old -q ERROR"), None, "0 pattern matches", &[]),
        of(&format!("negate -o CRITICAL {dummy} 0 fine"), Some(Error), "OK: fine", &[]),
        of(&format!("negate {dummy} 2 bad"), None, "CRITICAL: bad", &[]),
        of(&format!("urlize http://127.0.0.1/ {dummy} 1 hm"), Some(Warning), "WARNING: hm", &[]),
        of("check_nagios -e 5 -F /no/such/status -C no-such-process", Some(Error), "CRITICAL", &[]),
    ]
}

fn network_plugins() -> Vec<Case> {
    let closed = free_port();
    let smtp = server(b"220 mail.example.com ESMTP\r\n", "250 OK\r\n");
    let ftp = server(b"220 ready\r\n", "221 bye\r\n");
    let http = server(b"", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let missing = server(b"", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let of = |line: String, severity, text, labels| (line, severity, text, labels);
    let (host, limits) = ("-H 127.0.0.1", "-w 50 -c 55 -t 58");
    vec![
        of(format!("check_tcp {host} {limits} -p {ftp}"), None, "TCP OK", &["time"][..]),
        of(format!("check_tcp {host} -p {closed}"), Some(Error), "refused", &[]),
        of(format!("check_http {host} {limits} -p {http} -s hello"), None, "HTTP/1.1 200 OK", &["time", "size"]),
        of(format!("check_http {host} {limits} -p {http} -s 'not there'"), Some(Error), "not found", &["time", "size"]),
        of(format!("check_http {host} {limits} -p {missing}"), Some(Error), "503", &["time", "size"]),
        of(format!("check_smtp {host} {limits} -p {smtp}"), None, "SMTP OK", &["time"]),
        of(format!("check_ftp {host} {limits} -p {ftp}"), None, "FTP OK", &["time"]),
        of(format!("check_pop {host} {limits} -p {}", server(b"+OK hi\r\n", "+OK\r\n")), None, "POP OK", &["time"]),
        of(
            format!("check_imap {host} {limits} -p {}", server(b"* OK hi\r\n", "* BYE\r\n")),
            None,
            "IMAP OK",
            &["time"],
        ),
        of(
            format!("check_nntp {host} {limits} -p {}", server(b"200 hi\r\n", "205 bye\r\n")),
            None,
            "NNTP OK",
            &["time"],
        ),
        of(format!("check_ssh -p {} 127.0.0.1", server(b"SSH-2.0-OpenSSH_9.2\r\n", "")), None, "SSH OK", &["time"]),
        of(format!("check_mysql {host} -P {closed}"), Some(Error), "Can't connect", &[]),
        of(format!("check_pgsql {host} -P {closed}"), Some(Error), "CRITICAL", &[]),
    ]
}

/// Whether a plugin can be run; where not, it says so loudly, and in CI that is an error.
fn installed(plugin: &str) -> bool {
    let installed = std::path::Path::new(PLUGINS).join(plugin).exists();
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "`monitoring-plugins` is not installed, and this is CI");
        eprintln!("SKIPPED: install Debian's `monitoring-plugins` to run the plugins themselves");
    }
    installed
}

/// S3.4: the plugins of Debian's `monitoring-plugins` as they are; at least 15 different ones.
#[test]
fn real_plugins() {
    if !installed("check_dummy") {
        return;
    }
    let log = std::env::temp_dir().join(format!("watchbell-nagios-{}.log", std::process::id())).display().to_string();
    std::fs::write(&log, "ERROR one\n").unwrap();
    let (mut ran, mut seen) = (std::collections::BTreeSet::new(), Vec::new());
    for (line, severity, text, labels) in local_plugins(&log).into_iter().chain(network_plugins()) {
        let plugin = line.split(' ').next().unwrap().to_owned();
        if !std::path::Path::new(PLUGINS).join(&plugin).exists() {
            eprintln!("SKIPPED: `{plugin}` is not installed");
            continue;
        }
        ran.insert(plugin);
        // The plugins that wrap others look for theirs in the path.
        let outcome = outcome(&KIND, &format!("nagios = '''{PLUGINS}/{line}'''\ntimeout = '60s'"));
        let own = outcome.findings.iter().find(|f| f.part.is_none()).map(|f| f.severity);
        if own != severity
            || !outcome.output.contains(text)
            || !labels.iter().all(|label| outcome.metrics.iter().any(|m| m.name == *label))
            || outcome.findings.iter().any(|f| f.part.is_some())
        {
            seen.push(format!("{line}\n  {outcome:?}"));
        }
    }
    let _ = (std::fs::remove_file(&log), std::fs::remove_file(format!("{log}.old")));
    assert!(seen.is_empty(), "{}", seen.join("\n"));
    assert!(ran.len() >= 15, "only {ran:?}");
}

/// Limits that stand in the performance data itself are judged where the check asks for it.
#[test]
fn real_perfdata_thresholds() {
    if !installed("check_load") {
        return;
    }
    let line =
        format!("nagios = '{PLUGINS}/check_load -w 9000,9000,9000 -c 9001,9001,9001'\nperfdata_thresholds = true");
    let outcome = outcome(&KIND, &line);
    assert!(outcome.findings.is_empty() && outcome.metrics.len() == 3, "{outcome:?}");
}
