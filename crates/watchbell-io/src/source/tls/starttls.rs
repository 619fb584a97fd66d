//! Asking for TLS within another protocol, up to the point where the handshake begins.
//!
//! Each protocol as in its RFC: SMTP 3207, IMAP 3501, POP3 and the `STLS` command 2595, FTP 4217, NNTP 4642,
//! ManageSieve 5804, LDAP 4511; PostgreSQL's `SSLRequest` and MySQL's SSL connection request packet from
//! their protocol documentation.

use crate::shared::net::{Stream, excerpt, plain};
use std::fmt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a line of an answer may be.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// How many lines an answer may have.
pub(super) const LINES_MAX: usize = 100;

/// A protocol in which TLS can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Starttls {
    Ftp,
    Imap,
    Ldap,
    Mysql,
    Nntp,
    Pop3,
    Postgres,
    Sieve,
    Smtp,
}

impl Starttls {
    /// Words of the config, for the reference.
    pub(super) const WORDS: &'static [&'static str] =
        &["ftp", "imap", "ldap", "mysql", "nntp", "pop3", "postgres", "sieve", "smtp"];

    /// The same with their meaning.
    pub(super) const ALL: [(&'static str, Starttls); 9] = [
        ("ftp", Starttls::Ftp),
        ("imap", Starttls::Imap),
        ("ldap", Starttls::Ldap),
        ("mysql", Starttls::Mysql),
        ("nntp", Starttls::Nntp),
        ("pop3", Starttls::Pop3),
        ("postgres", Starttls::Postgres),
        ("sieve", Starttls::Sieve),
        ("smtp", Starttls::Smtp),
    ];

    /// Where it is usually served.
    pub(super) fn usual_port(self) -> u16 {
        match self {
            Starttls::Ftp => 21,
            Starttls::Imap => 143,
            Starttls::Ldap => 389,
            Starttls::Mysql => 3306,
            Starttls::Nntp => 119,
            Starttls::Pop3 => 110,
            Starttls::Postgres => 5432,
            Starttls::Sieve => 4190,
            Starttls::Smtp => 25,
        }
    }

    /// Asks. Afterwards the next byte in both directions is TLS.
    ///
    /// # Errors
    /// What the server said instead.
    pub(super) async fn ask(self, stream: &mut Stream) -> Result<(), String> {
        match self {
            Starttls::Smtp => {
                reply(stream, "220").await?;
                // An address literal: a server may want a full name (RFC 5321, 4.1.1.1).
                send(stream, b"EHLO [127.0.0.1]\r\n").await?;
                reply(stream, "250").await?;
                send(stream, b"STARTTLS\r\n").await?;
                reply(stream, "220").await
            }
            Starttls::Ftp => {
                reply(stream, "220").await?;
                send(stream, b"AUTH TLS\r\n").await?;
                reply(stream, "234").await
            }
            Starttls::Nntp => {
                reply(stream, "20").await?;
                send(stream, b"STARTTLS\r\n").await?;
                reply(stream, "382").await
            }
            Starttls::Imap => {
                lines_until(stream, "* OK", &["* "]).await?;
                send(stream, b"w1 STARTTLS\r\n").await?;
                lines_until(stream, "w1 OK", &["* "]).await
            }
            Starttls::Pop3 => {
                lines_until(stream, "+OK", &[]).await?;
                send(stream, b"STLS\r\n").await?;
                lines_until(stream, "+OK", &[]).await
            }
            Starttls::Sieve => {
                lines_until(stream, "OK", &["\""]).await?;
                send(stream, b"STARTTLS\r\n").await?;
                lines_until(stream, "OK", &[]).await
            }
            Starttls::Postgres => postgres(stream).await,
            Starttls::Ldap => ldap(stream).await,
            Starttls::Mysql => mysql(stream).await,
        }
    }
}

impl fmt::Display for Starttls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Starttls::ALL.iter().find(|(_, p)| p == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|e| plain(&e))
}

async fn exactly<const N: usize>(stream: &mut Stream) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|e| plain(&e))?;
    Ok(bytes)
}

/// One line. Byte by byte: what follows it may be TLS already.
async fn line(stream: &mut Stream) -> Result<String, String> {
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b'\n') {
        if bytes.len() == LINE_BYTES_MAX {
            return Err(format!("it sent a line of more than {LINE_BYTES_MAX} bytes: `{}`", excerpt(&bytes)));
        }
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) if bytes.is_empty() => return Err("it closed the connection".to_owned()),
            Err(_) => return Err(format!("it closed the connection after `{}`", excerpt(&bytes))),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// A reply of SMTP's and FTP's shape: `250 one`, or `250-first`, whatever lines (RFC 959, 4.2), `250 last`.
async fn reply(stream: &mut Stream, code: &str) -> Result<(), String> {
    let first = line(stream).await?;
    if !first.starts_with(code) {
        return Err(format!("it said `{}`", excerpt(first.as_bytes())));
    }
    let is_last = |line: &str| line.starts_with(code) && line.as_bytes().get(3) != Some(&b'-');
    let mut last = first;
    for _ in 0..LINES_MAX {
        if is_last(&last) {
            return Ok(());
        }
        last = line(stream).await?;
    }
    Err(format!("its answer has more than {LINES_MAX} lines"))
}

/// Lines with one of these beginnings are skipped until one begins as wanted.
async fn lines_until(stream: &mut Stream, wanted: &str, skipped: &[&str]) -> Result<(), String> {
    for _ in 0..LINES_MAX {
        let line = line(stream).await?;
        if line.starts_with(wanted) {
            return Ok(());
        }
        if !skipped.iter().any(|s| line.starts_with(s)) {
            return Err(format!("it said `{}`", excerpt(line.as_bytes())));
        }
    }
    Err(format!("its answer has more than {LINES_MAX} lines"))
}

/// `SSLRequest`: length 8, code 80877103; the answer is one letter.
async fn postgres(stream: &mut Stream) -> Result<(), String> {
    send(stream, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
    match exactly::<1>(stream).await? {
        [b'S'] => Ok(()),
        [b'N'] => Err("it does not offer TLS".to_owned()),
        other => Err(format!("it said `{}`", excerpt(&other))),
    }
}

/// An extended request with the OID of StartTLS; the answer must have the result code 0.
async fn ldap(stream: &mut Stream) -> Result<(), String> {
    let mut request = vec![0x30, 0x1d, 0x02, 0x01, 0x01, 0x77, 0x18, 0x80, 0x16];
    request.extend_from_slice(b"1.3.6.1.4.1.1466.20037");
    send(stream, &request).await?;
    let [tag, length] = exactly::<2>(stream).await?;
    // A length over 127 says in how many bytes it stands.
    let length = match length {
        0..=0x7f => usize::from(length),
        0x81 => usize::from(exactly::<1>(stream).await?[0]),
        0x82 => usize::from(u16::from_be_bytes(exactly::<2>(stream).await?)),
        0x84 => usize::try_from(u32::from_be_bytes(exactly::<4>(stream).await?)).unwrap_or(usize::MAX),
        _ => return Err("what it says is no LDAP".to_owned()),
    };
    if tag != 0x30 || length > LINE_BYTES_MAX {
        return Err("what it says is no LDAP".to_owned());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.map_err(|e| plain(&e))?;
    // The message id, then [APPLICATION 24] (0x78), in which the result code comes first.
    let result = answer.iter().position(|b| *b == 0x78).and_then(|at| {
        let code = answer[at..].windows(3).find(|w| w[0] == 0x0a && w[1] == 1)?;
        Some(code[2])
    });
    match result {
        Some(0) => Ok(()),
        Some(code) => Err(format!("it answered with the result code {code}")),
        None => Err("what it says is no LDAP".to_owned()),
    }
}

/// The client's side of `CLIENT_SSL`, after a greeting that offers it.
async fn mysql(stream: &mut Stream) -> Result<(), String> {
    const PROTOCOL_41: u32 = 0x0200;
    const SSL: u32 = 0x0800;
    const SECURE_CONNECTION: u32 = 0x8000;
    let [a, b, c, number] = exactly::<4>(stream).await?;
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if length > LINE_BYTES_MAX {
        return Err("what it says is not MySQL's protocol".to_owned());
    }
    let mut greeting = vec![0; length];
    stream.read_exact(&mut greeting).await.map_err(|e| plain(&e))?;
    // Protocol version, server version up to a zero, 4 of thread id, 8 of salt, a zero, then capabilities.
    let capabilities = match greeting.first() {
        Some(10) => greeting.iter().position(|b| *b == 0).and_then(|end| greeting.get(end + 14..end + 16)),
        Some(0xff) => return Err(format!("it said `{}`", excerpt(greeting.get(3..).unwrap_or_default()))),
        _ => None,
    };
    let Some(&[low, high]) = capabilities else { return Err("what it says is not MySQL's protocol".to_owned()) };
    if u32::from(u16::from_le_bytes([low, high])) & SSL == 0 {
        return Err("it does not offer TLS".to_owned());
    }
    let mut request = vec![32, 0, 0, number.wrapping_add(1)];
    request.extend_from_slice(&(PROTOCOL_41 | SSL | SECURE_CONNECTION).to_le_bytes());
    request.extend_from_slice(&(16_u32 << 20).to_le_bytes());
    // The character set utf8mb4_general_ci, and a filler.
    request.push(45);
    request.extend_from_slice(&[0; 23]);
    send(stream, &request).await
}
