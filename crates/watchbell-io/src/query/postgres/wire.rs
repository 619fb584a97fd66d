//! One connection that speaks PostgreSQL's protocol 3.0 (<https://www.postgresql.org/docs/current/protocol.html>).
//!
//! Queries go through the extended protocol, which takes one statement and stops at a number of rows; values come as
//! text, whatever their type. What a message says, in words for people, is left to the place. After any
//! [`Fault`] but [`Fault::Server`] the connection is of no more use.

use super::super::sql::{Encryption, Gather, Login};
use super::value;
use crate::shared::{
    Shared,
    net::{self, Address, Stream, Timeline, plain},
    tls,
};
use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::{
    IsNull,
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    },
    message::frontend,
};
use rustls::ClientConfig;
use std::{io, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watchbell_core::model::{Answer, Cell};

/// A message is not read beyond this many bytes; a row is one message.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// So many rounds of hashing a server may ask of us at login; PostgreSQL asks 4,096 unless told otherwise.
pub const SCRAM_ROUNDS_MAX: u32 = 1_000_000;

/// How much room there is for what comes in.
const READ_BYTES: usize = 32 * 1024;

/// What can go wrong on a connection.
#[derive(Debug)]
pub enum Fault {
    /// No connection could be made, or not as we want it: who is asked is not the matter.
    Unreachable(String),
    /// The connection was lost.
    Lost(String),
    /// The server says that something is wrong; the connection goes on, unless it is [`Complaint::fatal`].
    Server(Box<Complaint>),
    /// The server says what it should not.
    Garbled(String),
    /// The answer, or a row of it, is too big.
    TooBig,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Lost(plain(&error))
    }
}

/// An error as the server tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Complaint {
    /// The server ends the connection.
    pub fatal: bool,
    /// Five letters and digits (SQLSTATE).
    pub code: String,
    /// What it is.
    pub message: String,
    /// More of it, where the server says more.
    pub detail: String,
    /// What to do, where the server says so.
    pub hint: String,
    /// Where in the query: characters, from 1.
    pub position: Option<usize>,
}

/// How to stop what a connection does: over another one.
#[derive(Clone, Debug)]
pub struct Canceller {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    process: i32,
    key: i32,
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    input: BytesMut,
    canceller: Canceller,
}

impl Wire {
    /// Connects and logs in.
    pub async fn open(login: &Login, shared: &Shared) -> Result<Wire, Fault> {
        let wanted = login.encryption != Encryption::Off && matches!(login.address, Address::Tcp { .. });
        let tls = if wanted { Some(login.tls(shared).map_err(Fault::Unreachable)?) } else { None };
        let (stream, tls) = connect(&login.address, tls).await?;
        if login.encryption == Encryption::Wanted && wanted && tls.is_none() {
            return Err(Fault::Unreachable(
                "the server offers no TLS: set it up there (`ssl = on`), or write `sslmode=prefer`".to_owned(),
            ));
        }
        let canceller = Canceller { address: login.address.clone(), tls, process: 0, key: 0 };
        let mut wire = Wire { stream, input: BytesMut::new(), canceller };
        wire.greet(login).await?;
        Ok(wire)
    }

    /// How to stop what it does.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    async fn greet(&mut self, login: &Login) -> Result<(), Fault> {
        let mut parameters = vec![
            ("user", login.user.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", "watchbell"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
        ];
        if !login.database.is_empty() {
            parameters.push(("database", &login.database));
        }
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out).map_err(|e| Fault::Unreachable(plain(&e)))?;
        self.send(&out).await?;
        let mut scram = None;
        loop {
            let (tag, mut body) = self.read().await?;
            match tag {
                b'R' => self.authenticate(login, body, &mut scram).await?,
                b'K' if body.len() >= 8 => {
                    (self.canceller.process, self.canceller.key) = (body.get_i32(), body.get_i32());
                }
                b'E' => return Err(Fault::Server(Box::new(complaint(&body)))),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    /// Does what the server asks to prove who we are.
    async fn authenticate(
        &mut self,
        login: &Login,
        mut body: Bytes,
        scram: &mut Option<ScramSha256>,
    ) -> Result<(), Fault> {
        let garbled = |e: io::Error| Fault::Unreachable(format!("the login failed: {}", plain(&e)));
        if body.len() < 4 {
            return Err(Fault::Garbled("a question for the password that is cut off".to_owned()));
        }
        let kind = body.get_i32();
        // Read only where it is wanted: a trusted user has none.
        let password = match kind {
            3 | 5 | 10 => login.password().map_err(Fault::Unreachable)?,
            _ => String::new(),
        };
        let mut out = BytesMut::new();
        match (kind, scram) {
            (0, _) => return Ok(()),
            (3, _) => frontend::password_message(password.as_bytes(), &mut out).map_err(garbled)?,
            (5, _) if body.len() >= 4 => {
                let salt = [body[0], body[1], body[2], body[3]];
                let hash = md5_hash(login.user.as_bytes(), password.as_bytes(), salt);
                frontend::password_message(hash.as_bytes(), &mut out).map_err(garbled)?;
            }
            (10, scram) => {
                if !body.split(|b| *b == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    let known = String::from_utf8_lossy(&body).replace('\0', " ");
                    return Err(Fault::Unreachable(format!(
                        "the server wants one of the logins {known}: allow {SCRAM_SHA_256}"
                    )));
                }
                let begun = scram.insert(ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported()));
                frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut out).map_err(garbled)?;
            }
            (11, Some(scram)) => {
                bounded_rounds(&body)?;
                scram.update(&body).map_err(garbled)?;
                frontend::sasl_response(scram.message(), &mut out).map_err(garbled)?;
            }
            (12, Some(scram)) => return scram.finish(&body).map_err(garbled),
            (kind, _) => {
                return Err(Fault::Unreachable(format!(
                    "the server wants a login of kind {kind}, which is not known here: allow `scram-sha-256` in its \
                     `pg_hba.conf`"
                )));
            }
        }
        self.send(&out).await
    }

    /// Runs statements that answer no rows.
    pub async fn run(&mut self, statements: &str) -> Result<(), Fault> {
        let mut out = BytesMut::new();
        frontend::query(statements, &mut out)?;
        self.send(&out).await?;
        let mut result = Ok(());
        loop {
            match self.read().await? {
                (b'Z', _) => return result,
                (b'E', body) => result = Err(failed(&body)?),
                _ => {}
            }
        }
    }

    /// Asks, and then undoes whatever the transaction did. `None`: the statement has no columns.
    pub async fn ask(&mut self, query: &str, rows_max: usize) -> Result<Option<Answer>, Fault> {
        self.send(&question(query, rows_max)?).await?;
        let (mut rows, mut types, mut result) = (None, Vec::new(), Ok(()));
        // One for the question, one for the transaction's end.
        let mut ready = 0;
        while ready < 2 {
            let (tag, body) = self.read().await?;
            match tag {
                b'T' => {
                    let (names, oids) = columns(body)?;
                    types = oids;
                    rows = Some(Gather::new(names, rows_max));
                }
                b'D' => {
                    let rows = rows.as_mut().ok_or_else(|| Fault::Garbled("a row before its columns".to_owned()))?;
                    rows.take(row(body, &types)?).map_err(|_| Fault::TooBig)?;
                }
                b'E' if result.is_ok() => result = Err(failed(&body)?),
                b'G' | b'H' | b'W' => return Err(Fault::Garbled("it copies, and does not answer rows".to_owned())),
                b'Z' => ready += 1,
                _ => {}
            }
        }
        result.map(|()| rows.map(Gather::finish))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next message that is not just said by the way.
    async fn read(&mut self) -> Result<(u8, Bytes), Fault> {
        loop {
            if let Some((tag, body)) = cut(&mut self.input)? {
                match tag {
                    // Notices, parameters, notifications.
                    b'N' | b'S' | b'A' => continue,
                    _ => return Ok((tag, body)),
                }
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Fault::Lost("the server closed the connection".to_owned()));
            }
        }
    }
}

impl Canceller {
    /// Asks the server to stop what the connection does. The server tells nobody whether it did.
    pub async fn cancel(self) {
        let Ok((mut stream, _)) = connect(&self.address, self.tls).await else { return };
        let mut out = BytesMut::new();
        frontend::cancel_request(self.process, self.key, &mut out);
        let _ = stream.write_all(&out).await;
        let _ = stream.flush().await;
        // The server closes when it has passed it on.
        let _ = stream.read(&mut [0; 1]).await;
    }
}

/// A stream, and the TLS configuration again if the server wanted TLS too.
async fn connect(
    address: &Address,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(Stream, Option<Arc<ClientConfig>>), Fault> {
    let mut timeline = Timeline::default();
    let mut stream = net::connect(address, &mut timeline).await.map_err(Fault::Unreachable)?;
    let Some(config) = tls else { return Ok((stream, None)) };
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out).await?;
    // Not one byte more: what follows must come through TLS.
    match stream.read_u8().await {
        Ok(b'S') => {}
        Ok(b'N') => return Ok((stream, None)),
        Ok(_) => return Err(Fault::Unreachable(format!("what listens on `{address}` is no PostgreSQL"))),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(Fault::Unreachable(format!("`{address}` closed the connection before it said anything")));
        }
        Err(e) => return Err(e.into()),
    }
    let name = tls::server_name(address.host()).map_err(Fault::Unreachable)?;
    let stream =
        tls::handshake(stream, config.clone(), name, address, &mut timeline).await.map_err(Fault::Unreachable)?;
    Ok((Box::new(stream), Some(config)))
}

/// Reads messages until one is not whole or not right, and what each holds. A connection does so one by one.
pub(in super::super) fn read_messages(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    let mut types = vec![25];
    while let Ok(Some((tag, body))) = cut(&mut input) {
        match tag {
            b'T' => types = columns(body).map_or(types, |(_, types)| types),
            b'D' => drop(row(body, &types)),
            b'R' => drop(bounded_rounds(&body)),
            _ => drop(failed(&body)),
        }
    }
}

/// The first whole message of what has come in.
fn cut(input: &mut BytesMut) -> Result<Option<(u8, Bytes)>, Fault> {
    let Some(&[tag, a, b, c, d]) = input.first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length < 4 {
        return Err(Fault::Garbled("a message without a length".to_owned()));
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(if tag == b'D' { Fault::TooBig } else { Fault::Garbled(format!("a message of {length} bytes")) });
    }
    if input.len() <= length {
        input.reserve(length + 1 - input.len());
        return Ok(None);
    }
    let mut message = input.split_to(length + 1).freeze();
    message.advance(5);
    Ok(Some((tag, message)))
}

/// All that is said at once: the query with text for all values and one row more than is wanted, and the end of
/// the transaction, whatever becomes of it.
fn question(query: &str, rows_max: usize) -> Result<BytesMut, Fault> {
    // 0 stands for no limit.
    let most = i32::try_from(rows_max).ok().and_then(|most| most.checked_add(1)).unwrap_or(0);
    let no = |e: io::Error| Fault::Server(Box::new(Complaint { message: plain(&e), ..Complaint::default() }));
    let mut out = BytesMut::new();
    frontend::parse("", query, [], &mut out).map_err(no)?;
    let nothing = |(): (), _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::bind("", "", [], [], nothing, [0], &mut out).map_err(|_| Fault::Garbled("no values".to_owned()))?;
    frontend::describe(b'P', "", &mut out)?;
    frontend::execute("", most, &mut out)?;
    frontend::sync(&mut out);
    frontend::query("ROLLBACK", &mut out)?;
    Ok(out)
}

/// `i=` of the server's first SCRAM message (RFC 5802): a number that costs us time.
fn bounded_rounds(message: &[u8]) -> Result<(), Fault> {
    let text = String::from_utf8_lossy(message);
    let rounds = text.split(',').find_map(|part| part.strip_prefix("i=")?.parse::<u32>().ok());
    match rounds {
        Some(rounds) if rounds <= SCRAM_ROUNDS_MAX => Ok(()),
        _ => Err(Fault::Unreachable(format!(
            "the server asks for more than {SCRAM_ROUNDS_MAX} rounds of hashing at login"
        ))),
    }
}

/// A complaint that leaves the connection in order, or else the connection's end.
fn failed(body: &Bytes) -> Result<Fault, Fault> {
    let complaint = Fault::Server(Box::new(complaint(body)));
    match &complaint {
        Fault::Server(c) if c.fatal => Err(complaint),
        _ => Ok(complaint),
    }
}

fn complaint(body: &[u8]) -> Complaint {
    let mut complaint = Complaint::default();
    for field in body.split(|b| *b == 0) {
        let Some((kind, text)) = field.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'V' => complaint.fatal = matches!(text.as_str(), "FATAL" | "PANIC"),
            b'S' if matches!(text.as_str(), "FATAL" | "PANIC") => complaint.fatal = true,
            b'C' => complaint.code = text,
            b'M' => complaint.message = text,
            b'D' => complaint.detail = text,
            b'H' => complaint.hint = text,
            b'P' => complaint.position = text.parse().ok(),
            _ => {}
        }
    }
    complaint
}

fn cut_off() -> Fault {
    Fault::Garbled("a message that is cut off".to_owned())
}

/// Names and types (as OIDs) of columns.
fn columns(mut body: Bytes) -> Result<(Vec<String>, Vec<u32>), Fault> {
    let count = body.try_get_u16().map_err(|_| cut_off())?;
    let (mut names, mut types) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let end = body.iter().position(|b| *b == 0).ok_or_else(cut_off)?;
        names.push(String::from_utf8_lossy(&body.split_to(end)).into_owned());
        // The zero, table, column, type, size, modifier, format.
        if body.len() < 1 + 4 + 2 + 4 + 2 + 4 + 2 {
            return Err(cut_off());
        }
        body.advance(1 + 4 + 2);
        types.push(body.get_u32());
        body.advance(2 + 4 + 2);
    }
    Ok((names, types))
}

fn row(mut body: Bytes, types: &[u32]) -> Result<Vec<Cell>, Fault> {
    let count = body.try_get_u16().map_err(|_| cut_off())?;
    if usize::from(count) != types.len() {
        return Err(Fault::Garbled("a row of another width than its columns".to_owned()));
    }
    let mut cells = Vec::with_capacity(types.len());
    for kind in types {
        let length = body.try_get_i32().map_err(|_| cut_off())?;
        // -1 stands for no value.
        let Ok(length) = usize::try_from(length) else {
            cells.push(Cell::Null);
            continue;
        };
        if body.len() < length {
            return Err(cut_off());
        }
        cells.push(value::cell(*kind, &body.split_to(length)));
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a server says, there is no panic, and no memory is set aside for what was only announced.
    #[test]
    fn what_is_garbled_is_refused() {
        for (bytes, fine) in [
            (&b""[..], true),
            (b"D\0\0\0", true),
            (b"D\0\0\0\x08ab", true),
            (b"D\0\0\0\x03", false),
            (b"D\xff\xff\xff\xff", false),
            (b"E\x7f\xff\xff\xff", false),
        ] {
            assert_eq!(matches!(cut(&mut BytesMut::from(bytes)), Ok(None)), fine, "{bytes:?}");
        }
        let whole = cut(&mut BytesMut::from(&b"Z\0\0\0\x05I"[..])).unwrap();
        assert_eq!(whole, Some((b'Z', Bytes::from_static(b"I"))));
        for bytes in [&b""[..], b"\0\x01a", b"\0\x01a\0\0\0", b"\xff\xff"] {
            assert!(columns(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
        for bytes in [&b""[..], b"\0\x02", b"\0\x01\0\0", b"\0\x01\0\0\0\x05ab"] {
            assert!(row(Bytes::copy_from_slice(bytes), &[25]).is_err(), "{bytes:?}");
        }
        assert_eq!(row(Bytes::from_static(b"\0\x01\xff\xff\xff\xff"), &[25]).unwrap(), [Cell::Null]);
        assert_eq!(
            complaint(b"SFATAL\0C57P01\0Mbye\0P7\0\0"),
            Complaint {
                fatal: true,
                code: "57P01".to_owned(),
                message: "bye".to_owned(),
                position: Some(7),
                ..Complaint::default()
            }
        );
        assert!(bounded_rounds(b"r=x,s=y,i=4096").is_ok());
        assert!(bounded_rounds(b"r=x,s=y,i=4294967295").is_err());
        assert!(bounded_rounds(b"").is_err());
    }
}
