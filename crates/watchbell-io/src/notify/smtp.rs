//! One SMTP session (RFC 5321): greeting, EHLO or HELO, TLS, login, one mail to some receivers.
//!
//! Written here because lettre's client, which was tried, can't tell which of several receivers was refused, knows no
//! HELO, and takes a mail for lost whose QUIT is not answered. What a mail is made of is lettre's. Nothing here has a
//! time limit of its own, but for the good-bye, which nobody waits for.

use crate::shared::{net::plain, tls};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::ClientConfig;
use std::{fmt, io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A line of an answer is read up to this length; RFC 5321 allows 512 bytes.
const LINE_MAX_BYTES: u64 = 4_096;
/// An answer has at most so many lines.
const LINES_MAX: usize = 100;
/// The good-bye has this long, beside everything else.
const QUIT_WAIT: Duration = Duration::from_secs(2);

/// How the connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encryption {
    /// Asked for in clear; without it nothing is sent.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all.
    None,
}

/// Where and how to reach a server.
#[derive(Debug)]
pub struct Server<'a> {
    /// Its name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Whom to trust.
    pub tls: Arc<ClientConfig>,
    /// What we call ourselves; else the literal of our address.
    pub hello: Option<String>,
    /// User and password.
    pub login: Option<(String, String)>,
}

/// What the server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The code.
    pub code: u16,
    /// The text of all lines.
    pub text: String,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// Why a mail was not taken.
#[derive(Debug)]
pub enum Error {
    /// There is no connection, or there is none any more.
    Broken(String),
    /// No TLS.
    Tls(String),
    /// The server refuses: what was asked, what it said.
    Said(String, Reply),
    /// The server can't do what the config asks for.
    Unfit(&'static str),
}

/// A stream of any sort.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An open session.
pub struct Session {
    stream: BufReader<Box<dyn Wire>>,
    features: Vec<String>,
}

/// A mail that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What the server said.
    pub reply: Reply,
    /// The receivers among several that it refused.
    pub refused: Vec<(String, Reply)>,
}

fn broken(error: io::Error) -> Error {
    Error::Broken(plain(&error))
}

impl Session {
    /// Connects, says hello, encrypts and logs in as the server's config asks for.
    ///
    /// # Errors
    /// Why not.
    pub async fn open(server: &Server<'_>) -> Result<Session, Error> {
        let tcp = TcpStream::connect((server.host, server.port)).await.map_err(broken)?;
        let literal = tcp.local_addr().map(|local| literal(local.ip())).map_err(broken)?;
        let hello = server.hello.as_ref().unwrap_or(&literal);
        let stream: Box<dyn Wire> = match server.encryption {
            Encryption::Implicit => encrypted(server, Box::new(tcp)).await?,
            _ => Box::new(tcp),
        };
        let mut session = Session { stream: BufReader::new(stream), features: Vec::new() };
        let greeting = session.reply().await?;
        if greeting.code != 220 {
            return Err(Error::Said("the connection".into(), greeting));
        }
        session.hello(hello).await?;
        if server.encryption == Encryption::StartTls {
            if !session.offers("STARTTLS") {
                return Err(Error::Unfit("it offers no STARTTLS"));
            }
            session.ask("STARTTLS", "STARTTLS").await?;
            if !session.stream.buffer().is_empty() {
                // What was slipped in before the encryption must not be taken for what comes after it.
                return Err(Error::Unfit("it spoke in clear after STARTTLS"));
            }
            session.stream = BufReader::new(encrypted(server, session.stream.into_inner()).await?);
            session.hello(hello).await?;
        }
        if let Some((user, password)) = &server.login {
            session.log_in(user, password).await?;
        }
        Ok(session)
    }

    /// EHLO; HELO where that is refused.
    async fn hello(&mut self, name: &str) -> Result<(), Error> {
        let answer = self.exchange(&format!("EHLO {name}")).await?;
        if answer.code / 100 == 5 {
            self.features.clear();
            return self.ask("HELO", &format!("HELO {name}")).await.map(drop);
        }
        let answer = accepted("EHLO", answer)?;
        self.features = answer.text.lines().skip(1).map(|line| line.trim().to_ascii_uppercase()).collect();
        Ok(())
    }

    fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f.split([' ', '=']).next() == Some(feature))
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), Error> {
        let ways = self.features.iter().filter(|f| f.starts_with("AUTH"));
        let ways: Vec<String> = ways.flat_map(|f| f.split([' ', '=']).skip(1).map(str::to_owned)).collect();
        let offers = |way: &str| ways.iter().any(|w| w == way);
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        if offers("PLAIN") {
            let secret = encode(&format!("\0{user}\0{password}"));
            return self.ask("the login", &format!("AUTH PLAIN {secret}")).await.map(drop);
        }
        if !offers("LOGIN") {
            return Err(Error::Unfit("it offers no way to log in that is known here (PLAIN, LOGIN)"));
        }
        for line in ["AUTH LOGIN", &encode(user)] {
            let answer = self.exchange(line).await?;
            if answer.code != 334 {
                return Err(Error::Said("the login".into(), answer));
            }
        }
        self.ask("the login", &encode(password)).await.map(drop)
    }

    /// Sends a mail to those of the receivers that the server takes.
    ///
    /// # Errors
    /// Why nobody gets it.
    pub async fn send(&mut self, from: &str, to: &[String], mail: &[u8]) -> Result<Taken, Error> {
        let mut wants = String::new();
        if !from.is_ascii() || to.iter().any(|to| !to.is_ascii()) {
            if !self.offers("SMTPUTF8") {
                return Err(Error::Unfit("it takes no addresses with letters beyond ASCII (SMTPUTF8)"));
            }
            wants.push_str(" SMTPUTF8");
        }
        if !mail.is_ascii() && self.offers("8BITMIME") {
            wants.push_str(" BODY=8BITMIME");
        }
        self.ask(from, &format!("MAIL FROM:<{from}>{wants}")).await?;
        let mut refused = Vec::new();
        for address in to {
            match self.ask(address, &format!("RCPT TO:<{address}>")).await {
                Err(Error::Said(_, reply)) if reply.code != 421 => refused.push((address.clone(), reply)),
                other => drop(other?),
            }
        }
        if refused.len() == to.len()
            && let Some((address, reply)) = refused.pop()
        {
            return Err(Error::Said(address, reply));
        }
        let go_ahead = self.exchange("DATA").await?;
        if go_ahead.code != 354 {
            return Err(Error::Said("the mail".into(), go_ahead));
        }
        self.write(&stuffed(mail)).await?;
        // The first line is the answer: whatever comes after a yes does not take it back.
        let (reply, _) = self.line().await?;
        Ok(Taken { reply: accepted("the mail", reply)?, refused })
    }

    /// Says good-bye, which nobody waits for.
    pub fn leave(mut self) {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(QUIT_WAIT, self.exchange("QUIT")).await;
        });
    }

    async fn ask(&mut self, what: &str, line: &str) -> Result<Reply, Error> {
        accepted(what, self.exchange(line).await?)
    }

    async fn exchange(&mut self, line: &str) -> Result<Reply, Error> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn reply(&mut self) -> Result<Reply, Error> {
        let (mut reply, mut more) = self.line().await?;
        let mut lines = 1;
        while more {
            let (next, then) = self.line().await?;
            lines += 1;
            if next.code != reply.code || lines > LINES_MAX {
                return Err(Error::Broken("its answer is no SMTP".into()));
            }
            reply.text = format!("{}\n{}", reply.text, next.text);
            more = then;
        }
        Ok(reply)
    }

    /// One line of an answer, and whether more follow.
    async fn line(&mut self) -> Result<(Reply, bool), Error> {
        let mut bytes = Vec::new();
        (&mut self.stream).take(LINE_MAX_BYTES).read_until(b'\n', &mut bytes).await.map_err(broken)?;
        if bytes.is_empty() {
            return Err(Error::Broken("it closed the connection".into()));
        }
        let line = String::from_utf8_lossy(&bytes);
        let code = line.get(..3).and_then(|code| code.parse().ok()).filter(|code| (200..600).contains(code));
        let Some(code) = code else { return Err(Error::Broken("its answer is no SMTP".into())) };
        let rest = line.get(3..).unwrap_or_default();
        let text = rest.strip_prefix(['-', ' ']).unwrap_or(rest).trim_end().to_owned();
        Ok((Reply { code, text }, rest.starts_with('-')))
    }
}

fn accepted(what: &str, reply: Reply) -> Result<Reply, Error> {
    if reply.code / 100 == 2 { Ok(reply) } else { Err(Error::Said(what.to_owned(), reply)) }
}

async fn encrypted(server: &Server<'_>, stream: Box<dyn Wire>) -> Result<Box<dyn Wire>, Error> {
    let name = tls::server_name(server.host).map_err(Error::Tls)?;
    match TlsConnector::from(server.tls.clone()).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Error::Tls(tls::explain_io(&error))),
    }
}

/// An address as a name (RFC 5321, 4.1.3).
fn literal(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    }
}

/// Whether a text is the full name of a host: labels of letters, digits and `-`, more than one, not an address.
pub fn is_full_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label)
        // The last label of a name is no number.
        && name.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()))
}

/// A mail as DATA takes it: a dot that begins a line is doubled, and a line with one alone ends it.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 64);
    let mut at_start = true;
    for &byte in mail {
        if at_start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        at_start = byte == b'\n';
    }
    out.extend_from_slice(if at_start { b".\r\n" } else { b"\r\n.\r\n" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals() {
        for name in ["web-1.example.com", "a.b", "xn--bcher-kva.example", "h_1.local"] {
            assert!(is_full_name(name), "{name}");
        }
        for name in ["web-1", "", ".", "a..b", "10.0.0.1", "a b.c", "-a.b", "a.b\r\nMAIL", "[::1]", "bö.de"] {
            assert!(!is_full_name(name), "{name}");
        }
        let list = [("127.0.0.1", "[127.0.0.1]"), ("::1", "[IPv6:::1]"), ("::ffff:10.0.0.1", "[10.0.0.1]")];
        for (ip, expect) in list {
            assert_eq!(literal(ip.parse().unwrap()), expect);
        }
    }

    #[test]
    fn dots_are_doubled() {
        for (mail, expect) in
            [("a\r\n", "a\r\n.\r\n"), ("a", "a\r\n.\r\n"), (".\r\n.b.\r\n", "..\r\n..b.\r\n.\r\n"), ("", ".\r\n")]
        {
            assert_eq!(String::from_utf8(stuffed(mail.as_bytes())).unwrap(), expect);
        }
    }
}
