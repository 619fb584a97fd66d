//! Certificate checks against servers on loopback whose certificates are wrong in every way.

use super::super::testing::{self, Play, nobody, run, run_within, serve};
use super::*;
use crate::shared::tls::testing::{Authority, Issued, Wish, serve_tls, serve_tls_after};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn the_config_is_read() {
    testing::example(&KIND);
    testing::problems(
        &KIND,
        &[
            ("tls = \"https://example.com\"", "this is a URL"),
            ("tls = \"a_b c:1\"", "is no host name"),
            ("tls = \"h:1\"\nserver_name = \"a b\"", "is neither a host name nor an IP address"),
            ("tls = \"h:1\"\nwarn_days = 5\nerror_days = 9", "is more than `warn_days`"),
            ("tls = \"h:1\"\nwarn_days = -1", "must be from 0"),
            ("tls = \"h:1\"\nstarttls = \"smtps\"", "`starttls` can't be \"smtps\""),
            ("tls = \"h:1\"\nclient_key = \"x\"", "needs its `client_cert`"),
        ],
    );
    for line in ["tls = \"example.com\"", "tls = \"example.com\"\nstarttls = \"smtp\"", "tls = \"[::1]:1\""] {
        testing::read(&KIND, line).unwrap();
    }
    assert_eq!(Starttls::WORDS.len(), Starttls::ALL.len());
    assert!(Starttls::WORDS.iter().zip(Starttls::ALL).all(|(word, (name, _))| *word == name));
}

async fn check(issued: Issued, lines: &str) -> Outcome {
    let server = serve_tls(issued, |mut stream| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    run(&KIND, &format!("tls = \"localhost:{}\"\n{lines}", server.address.port())).await
}

fn findings(outcome: &Outcome) -> Vec<(&str, Severity, &str)> {
    outcome.findings.iter().map(|f| (f.part.as_deref().unwrap_or(""), f.severity, f.message.as_str())).collect()
}

fn agree(outcome: &Outcome, expect: &[(&str, Severity, &str)], case: &str) {
    let got = findings(outcome);
    assert_eq!(got.len(), expect.len(), "{case}: {got:?}");
    for (got, expect) in got.iter().zip(expect) {
        assert_eq!((got.0, got.1), (expect.0, expect.1), "{case}: {got:?}");
        assert!(got.2.contains(expect.2), "{case}: expected {}, got {}", expect.2, got.2);
    }
}

/// S3.15: certificates of every sort, each with what is said of it.
#[tokio::test]
async fn certificates_are_judged() {
    use Severity::{Error, Warning};
    let authority = Authority::new("tls");
    let ca = format!("ca = {:?}", authority.ca_path());
    for (wish, lines, expect) in [
        (Wish::good(), "", vec![]),
        (Wish::good().days(-1, 20), "", vec![("expiry", Warning, "Z, in less than 30 days; renew it")]),
        (Wish::good().days(-1, 5), "", vec![("expiry", Error, "Z, in less than 7 days; renew it")]),
        (Wish::good().days(-1, 20), "warn_days = 10", vec![]),
        (Wish::good().days(-1, 20), "warn_days = 50\nerror_days = 40", vec![("expiry", Error, "less than 40 days")]),
        (Wish::good().days(-20, -10), "", vec![("expiry", Error, "the certificate has expired at ")]),
        (Wish::good().days(-20, -10), "verify = false", vec![("expiry", Error, "the certificate has expired at ")]),
        (Wish::good().days(10, 90), "", vec![("expiry", Error, "the certificate is not valid before ")]),
        (Wish::good().named("b.example"), "", vec![("name", Error, "is for b.example, not for `localhost`")]),
        (Wish::good().named("b.example"), "server_name = \"b.example\"", vec![]),
        (Wish::good().named("*.b.example"), "server_name = \"a.b.example\"", vec![]),
        (Wish::good().named("b.example"), "verify = false", vec![]),
        (Wish::self_signed(), "", vec![("trust", Error, "self-signed: nobody vouches for it")]),
        (
            Wish::self_signed().named("b.example").days(-20, -10),
            "",
            vec![
                ("expiry", Error, "has expired at"),
                ("trust", Error, "self-signed"),
                ("name", Error, "not for `localhost`"),
            ],
        ),
        (Wish::good().through_intermediate(-9, 90), "", vec![]),
        (
            Wish::good().through_intermediate(-9, 20),
            "",
            vec![("expiry", Warning, "the chain's certificate `CN=intermediate` expires at ")],
        ),
        (
            Wish::good().through_intermediate(-9, -1),
            "",
            vec![("expiry", Error, "the chain's certificate `CN=intermediate` has expired at ")],
        ),
        (
            Wish::good().through_intermediate(-9, 90).without_chain(),
            "",
            vec![(
                "trust",
                Error,
                "`CN=intermediate` is no trusted authority; name it in `ca`, or let the server send",
            )],
        ),
    ] {
        let outcome = check(authority.issue(wish.clone()), &format!("{ca}\n{lines}")).await;
        agree(&outcome, &expect, &format!("{wish:?} {lines}"));
        let days = outcome.metrics.iter().find(|m| m.name == "days_left").unwrap();
        let ends = wish.first_end_days() as f64;
        assert!((days.value - ends).abs() <= 1.01, "{wish:?}: {} days left, expected {ends}", days.value);
        assert!(outcome.output.contains("subject CN="), "{outcome:?}");
        assert!(outcome.phases.iter().any(|p| p.name == "tls") && !outcome.inconclusive);
    }
}

/// A root that was sent along and has expired does not break a chain that does not need it.
#[tokio::test]
async fn an_expired_certificate_that_is_not_needed_is_a_warning() {
    let authority = Authority::new("tls-extra");
    let mut issued = authority.issue(Wish::good());
    issued.chain.push(Authority::new("tls-old").issue(Wish::good().days(-20, -10)).chain[0].clone());
    let outcome = check(issued, &format!("ca = {:?}", authority.ca_path())).await;
    let got = findings(&outcome);
    assert_eq!((got.len(), got[0].0, got[0].1), (1, "expiry", Severity::Warning), "{got:?}");
    assert!(got[0].2.contains("it is not needed here"), "{got:?}");
    assert!(outcome.metrics[0].value > 30.0);
}

/// A self-signed certificate that `ca` names is trusted, marked as an authority or not.
#[tokio::test]
async fn a_self_signed_certificate_can_be_trusted_itself() {
    let dir = testing::scratch("tls-pinned");
    let authority = Authority::new("tls-pin");
    for wish in [Wish::self_signed(), Wish::self_signed().marked_as_authority()] {
        let issued = authority.issue(wish.clone());
        let path = dir.join("own.pem");
        std::fs::write(&path, &issued.leaf_pem).unwrap();
        let lines = format!("ca = {:?}", path.display().to_string());
        let outcome = check(issued.clone(), &lines).await;
        assert!(outcome.findings.is_empty(), "{wish:?}: {outcome:?}");
        let outcome = check(issued, "").await;
        assert_eq!(findings(&outcome)[0].0, "trust", "{wish:?}: {outcome:?}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn servers_without_tls_are_told() {
    for (play, expect) in [
        (Play::say("SSH-2.0-OpenSSH_9.6\r\n"), "is no TLS; is this the right port, or is `starttls` needed?"),
        (Play::say(""), "does it speak TLS on this port?"),
        (Play::reset(), "connection reset by peer"),
        (Play::hang(), "no TLS handshake with `localhost:"),
    ] {
        let server = serve(play).await;
        let config = format!("tls = \"localhost:{}\"", server.address.port());
        let limit = if expect.contains("handshake") { 300 } else { 10_000 };
        let outcome = run_within(&KIND, &config, Duration::from_millis(limit)).await;
        assert!(outcome.findings[0].message.contains(expect), "{expect}: {outcome:?}");
        assert!(outcome.findings[0].part.is_none() && outcome.inconclusive);
    }
    let outcome = run(&KIND, &format!("tls = \"{}\"", nobody().await)).await;
    assert!(outcome.findings[0].message.contains("connection refused"), "{outcome:?}");
}

/// A server that wants a client certificate is given one.
#[tokio::test]
async fn client_certificates_are_shown() {
    let authority = Authority::new("tls-client");
    let server = authority.issue(Wish::good().wanting_clients());
    let client = authority.issue(Wish::good().named("client.example"));
    let dir = testing::scratch("tls-client-cert");
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, &client.leaf_pem).unwrap();
    std::fs::write(&key, &client.key_pem).unwrap();
    let ca = format!("ca = {:?}", authority.ca_path());
    let lines = format!("{ca}\nclient_cert = {cert:?}\nclient_key = {key:?}");
    let outcome = check(server, &lines).await;
    assert!(outcome.findings.is_empty(), "{outcome:?}");
    // Without one TLS fails, after the server's certificate was seen: that is judged all the same.
    for (wish, expect) in [
        (Wish::good(), vec![("handshake", Severity::Warning)]),
        (Wish::good().days(-10, 3), vec![("expiry", Severity::Error), ("handshake", Severity::Warning)]),
        (Wish::good().named("other.example"), vec![("name", Severity::Error), ("handshake", Severity::Warning)]),
    ] {
        let outcome = check(authority.issue(wish.wanting_clients()), &ca).await;
        let found: Vec<_> = findings(&outcome).into_iter().map(|(part, severity, _)| (part, severity)).collect();
        assert_eq!(found, expect, "{outcome:?}");
        assert!(outcome.metrics.iter().any(|m| m.name == "days_left") && !outcome.inconclusive, "{outcome:?}");
    }
    std::fs::write(&key, "nothing").unwrap();
    let outcome = check(authority.issue(Wish::good()), &lines).await;
    assert_eq!(outcome.findings[0].part.as_deref(), Some("monitor-start"), "{outcome:?}");
    assert!(outcome.findings[0].message.contains("can't read a private key"), "{outcome:?}");
    let program = testing::read(&KIND, &format!("tls = \"h:1\"\n{lines}")).unwrap();
    assert_eq!(program.preflight().len(), 1);
    std::fs::remove_dir_all(dir).unwrap();
}

const LDAP_YES: &[u8] = &[0x30, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0];
const LDAP_NO: &[u8] = &[0x30, 0x84, 0, 0, 0, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, 2, 4, 0, 4, 0];

fn mysql_greeting(ssl: bool) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend_from_slice(b"8.0.36\0\x07\0\0\0saltsalt\0");
    payload.extend_from_slice(&if ssl { 0xffff_u16 } else { 0xf7ff }.to_le_bytes());
    payload.extend_from_slice(&[45, 2, 0, 0, 0]);
    let mut packet = vec![u8::try_from(payload.len()).unwrap(), 0, 0, 0];
    packet.extend_from_slice(&payload);
    packet
}

/// What a server hears, and what it then says.
type Script<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Each protocol's way into TLS, against a server that plays its part and then shows a certificate.
#[tokio::test]
async fn starttls_is_asked_for_in_each_protocol() {
    let authority = Authority::new("starttls");
    let ca = format!("ca = {:?}", authority.ca_path());
    let offer = mysql_greeting(true);
    let scripts: Vec<(&str, Script<'_>)> = vec![
        (
            "smtp",
            vec![
                (b"", b"220-one\r\n220 two\r\n"),
                (b"EHLO [127.0.0.1]\r\n", b"250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n"),
                (b"STARTTLS\r\n", b"220 go\r\n"),
            ],
        ),
        (
            "ftp",
            vec![(b"", b"220-hi\r\nno code here\r\n 220 nor here\r\n220 go on\r\n"), (b"AUTH TLS\r\n", b"234 go\r\n")],
        ),
        ("nntp", vec![(b"", b"201 hi\r\n"), (b"STARTTLS\r\n", b"382 go\r\n")]),
        ("imap", vec![(b"", b"* OK hi\r\n"), (b"w1 STARTTLS\r\n", b"* CAPABILITY X\r\nw1 OK go\r\n")]),
        ("pop3", vec![(b"", b"+OK hi\r\n"), (b"STLS\r\n", b"+OK go\r\n")]),
        ("sieve", vec![(b"", b"\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK\r\n"), (b"STARTTLS\r\n", b"OK go\r\n")]),
        ("postgres", vec![(&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f], b"S")]),
        ("ldap", vec![(b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", LDAP_YES)]),
        (
            "mysql",
            vec![
                (b"", &offer),
                (b"\x20\0\0\x01\0\x8a\0\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b""),
            ],
        ),
    ];
    assert_eq!(scripts.len(), Starttls::ALL.len());
    for (word, script) in scripts {
        let script: Vec<(Vec<u8>, Vec<u8>)> = script.into_iter().map(|(a, b)| (a.to_vec(), b.to_vec())).collect();
        let server = serve_tls_after(authority.issue(Wish::good()), move |mut stream| {
            let script = script.clone();
            async move {
                for (ask, answer) in script {
                    let mut heard = vec![0; ask.len()];
                    stream.read_exact(&mut heard).await.unwrap();
                    assert_eq!(heard, ask);
                    stream.write_all(&answer).await.unwrap();
                }
                stream
            }
        })
        .await;
        let config = format!("tls = \"localhost:{}\"\nstarttls = \"{word}\"\n{ca}", server.address.port());
        let outcome = run(&KIND, &config).await;
        assert!(outcome.findings.is_empty() && outcome.metrics[0].name == "days_left", "{word}: {outcome:?}");
    }
}

#[tokio::test]
async fn servers_that_refuse_starttls_are_told() {
    let no_ssl = mysql_greeting(false);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("smtp", b"554 go away\r\n".to_vec(), "by smtp: it said `554 go away`"),
        ("smtp", b"".to_vec(), "it closed the connection"),
        ("smtp", b"220 hi\r\n250 x\r\n454 not now\r\n".to_vec(), "it said `454 not now`"),
        ("smtp", b"220-x\r\n".repeat(200), "has more than 100 lines"),
        ("smtp", b"x".repeat(10_000), "a line of more than 4096 bytes"),
        ("imap", b"* OK\r\nw1 NO never\r\n".to_vec(), "it said `w1 NO never`"),
        ("pop3", b"+OK\r\n-ERR\r\n".to_vec(), "it said `-ERR`"),
        ("postgres", b"N".to_vec(), "it does not offer TLS"),
        ("postgres", b"HTTP".to_vec(), "it said `H`"),
        ("ldap", LDAP_NO.to_vec(), "result code 2"),
        ("ldap", b"HTTP/1.1 400\r\n".to_vec(), "is no LDAP"),
        ("mysql", no_ssl, "it does not offer TLS"),
        ("mysql", b"\x12\0\0\0\xff\x69\x04Host is blocked".to_vec(), "it said `Host is blocked`"),
        ("mysql", b"\x01\0\0\0\x09".to_vec(), "is not MySQL's protocol"),
        ("mysql", b"HTTP".to_vec(), "is not MySQL's protocol"),
    ];
    for (word, says, expect) in cases {
        let server = testing::serve_with(move |mut stream| {
            let says = says.clone();
            async move {
                let _ = stream.write_all(&says).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let config = format!("tls = \"localhost:{}\"\nstarttls = \"{word}\"", server.address.port());
        let outcome = run(&KIND, &config).await;
        assert!(outcome.findings[0].message.contains(expect), "{word} {expect}: {outcome:?}");
        assert!(outcome.findings[0].part.is_none());
    }
}

#[test]
fn what_can_not_be_read_is_not_trusted() {
    let garbage = CertificateDer::from(vec![0x30, 3, 1, 2, 3]);
    let limits = Limits { warn_days: 30, error_days: 7 };
    let name = ServerName::try_from("localhost").unwrap();
    for chain in [vec![garbage], vec![]] {
        let outcome = judge(&chain, &name, None, limits, UnixTime::now());
        assert_eq!(findings(&outcome)[0].0, "trust");
    }
}
