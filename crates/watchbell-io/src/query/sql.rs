//! What the places that speak SQL share: reading addresses, gathering rows up to a limit, keeping connections for the
//! next question, the place in a query that an error speaks of, and texts without line ends or secrets.

use super::Trouble;
use crate::shared::{
    Shared, net, secret,
    tls::{self, TlsOptions},
};
use rustls::ClientConfig;
use std::{
    fmt,
    mem::size_of,
    sync::Arc,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use url::Url;
use watchbell_core::{
    config::{Secret, SourcePlace, SourcePolicy},
    model::{Answer, Cell},
    wire::text,
};

/// An answer is not read beyond this many bytes, as it lies in memory.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A connection that nobody wanted for so long is closed rather than used: firewalls forget such.
pub const IDLE_MAX: Duration = Duration::from_secs(300);

/// A place ends by itself so long before the time is over, to clean up behind it; a tenth of the time where that is less.
pub const CLEANING: Duration = Duration::from_millis(200);

/// A message of a server is not shown beyond this many characters.
pub const MESSAGE_CHARS_MAX: usize = 1_000;

/// What a question has until the datastore is told to stop.
pub fn working_time(timeout: Duration) -> Duration {
    timeout.saturating_sub(CLEANING.min(timeout / 10))
}

/// The text of [`Trouble::Slow`].
pub fn slow(timeout: Duration) -> Trouble {
    let shown = Duration::from_millis(u64::try_from((timeout.as_micros() + 500) / 1000).unwrap_or(u64::MAX));
    Trouble::Slow(format!(
        "the query was stopped, because it took longer than {shown:?}: ask for fewer rows, add an index, or raise the \
         check's `timeout`"
    ))
}

/// Takes rows until there are enough.
#[derive(Debug)]
pub struct Gather {
    answer: Answer,
    rows_max: usize,
    bytes: usize,
}

impl Gather {
    /// No rows yet.
    pub fn new(columns: Vec<String>, rows_max: usize) -> Gather {
        Gather { answer: Answer { columns, ..Answer::default() }, rows_max, bytes: 0 }
    }

    /// Takes a row, or says that it is one too many: then reading can end.
    ///
    /// # Errors
    /// The answer is beyond [`ANSWER_BYTES_MAX`].
    pub fn take(&mut self, row: Vec<Cell>) -> Result<bool, Trouble> {
        if self.answer.rows.len() >= self.rows_max {
            self.answer.truncated = true;
            return Ok(false);
        }
        self.bytes += size_of::<Vec<Cell>>() + row.iter().map(bytes).sum::<usize>();
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(too_big());
        }
        self.answer.rows.push(row);
        Ok(true)
    }

    /// What was taken.
    pub fn finish(self) -> Answer {
        self.answer
    }
}

/// The answer, or one value of it, is too big.
pub fn too_big() -> Trouble {
    let most = ANSWER_BYTES_MAX / (1024 * 1024);
    Trouble::Wrong(format!(
        "the answer has more than {most} MiB: ask for fewer rows, and only for the columns that are needed"
    ))
}

fn bytes(cell: &Cell) -> usize {
    let beside = match cell {
        Cell::Decimal(text) | Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    size_of::<Cell>() + beside
}

/// Connections that wait for the next question. How many are in use at a time is not its matter.
pub struct Idle<C>(Mutex<Vec<(C, Instant)>>);

impl<C> Default for Idle<C> {
    fn default() -> Idle<C> {
        Idle(Mutex::default())
    }
}

impl<C> Idle<C> {
    /// The one that was used last, unless all are too old.
    pub fn take(&self) -> Option<C> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        list.pop().map(|(connection, _)| connection)
    }

    /// Keeps one, if not so many are kept already.
    pub fn put(&self, connection: C, most: usize) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        if list.len() < most {
            list.push((connection, Instant::now()));
        }
    }
}

impl<C> fmt::Debug for Idle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Idle({count})")
    }
}

/// `line L, column C` of the character at an offset in characters, from 0.
pub fn position(query: &str, offset: usize) -> String {
    let before: String = query.chars().take(offset).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

/// What a server says, on one line, without its final full stop, and without secrets if it should repeat one.
pub fn one_line(message: &str, secrets: &[&str]) -> String {
    // Before it is cleaned, as a secret may hold what is dropped; and after, as a server may write its blanks otherwise.
    let hide = |text: String, secret: &&str| text.replace(*secret, "***");
    let hidden = |text: String| secrets.iter().filter(|secret| !secret.is_empty()).fold(text, hide);
    let text = hidden(text::one_line(&hidden(message.to_owned())));
    if text.chars().count() > MESSAGE_CHARS_MAX {
        return text.chars().take(MESSAGE_CHARS_MAX).collect::<String>() + " ...";
    }
    text.trim_end_matches('.').to_owned()
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encryption {
    /// Never.
    Off,
    /// Where the server offers it. Without `ca` the server's certificate is not looked at: who can change what is sent
    /// could as well say that the server offers none.
    Offered,
    /// Always, and the certificate must be trusted and for the server's name.
    Wanted,
}

/// The words of `sslmode` and `ssl-mode`, in PostgreSQL's spelling and MySQL's.
pub const ENCRYPTIONS: [(&str, Encryption); 10] = [
    ("disable", Encryption::Off),
    ("prefer", Encryption::Offered),
    ("require", Encryption::Wanted),
    ("verify-ca", Encryption::Wanted),
    ("verify-full", Encryption::Wanted),
    ("disabled", Encryption::Off),
    ("preferred", Encryption::Offered),
    ("required", Encryption::Wanted),
    ("verify_ca", Encryption::Wanted),
    ("verify_identity", Encryption::Wanted),
];

/// A server's address, `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE`. The password is printed nowhere.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where it listens.
    pub address: net::Address,
    /// The user's name.
    pub user: String,
    /// Where the password is found: it is read for each connection, so that a new one counts at once.
    pub password: Option<Secret>,
    /// The database; empty where the address names none.
    pub database: String,
    /// Whether to encrypt.
    pub encryption: Encryption,
    /// A file of certificates to trust besides the usual ones.
    pub ca: Option<String>,
}

/// What a kind of server has of its own in its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The port where the address names none.
    pub port: u16,
    /// The parameter that says whether to encrypt.
    pub encryption: &'static str,
    /// The parameter that names a unix socket.
    pub socket: &'static str,
    /// The socket's file in the folder that the parameter names; `None` where it names the file.
    pub socket_file: Option<&'static str>,
}

impl Login {
    /// Reads a source's address.
    ///
    /// # Errors
    /// What is wrong with it, without the address itself, which may hold a password.
    pub fn read(policy: &SourcePolicy, dialect: Dialect) -> Result<Login, String> {
        let SourcePlace::Url { url, password, login, ca, .. } = &policy.place else {
            return Err("`url` is missing".to_owned());
        };
        let url = Url::parse(&secret::read(url)?).map_err(|e| format!("`url` is no address: {e}"))?;
        let beside = |key: &str, secret: &Option<Secret>| beside(key, secret.as_ref());
        let user = beside("user", &login.user)?.map_or_else(|| decode(url.username()), Ok)?;
        if user.is_empty() {
            let scheme = url.scheme();
            return Err(format!("`url` names no user: write it as `{scheme}://USER@HOST/DATABASE`, or add `user = …`"));
        }
        let named = beside("host", &login.host)?.map(with_port);
        let port = named.as_ref().and_then(|named| named.1).or(url.port()).unwrap_or(dialect.port);
        let host = named.map_or_else(|| decode(url.host_str().unwrap_or_default()), |named| Ok(named.0))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (mut socket, mut encryption) = (host.starts_with('/').then(|| host.clone()), Encryption::Offered);
        for (name, value) in url.query_pairs() {
            if name == dialect.encryption {
                let known = ENCRYPTIONS.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
                encryption = known.ok_or_else(|| format!("`{name}={value}` is not known: write `{name}=require`"))?.1;
            } else if name == dialect.socket && value.starts_with('/') {
                socket = if login.host.is_some() { socket } else { Some(value.into_owned()) };
            } else {
                let (a, b) = (dialect.encryption, dialect.socket);
                return Err(format!(
                    "the parameter `{name}` of `url` is not known: there are `{a}` and `{b}` (a path)"
                ));
            }
        }
        let address = match (socket, dialect.socket_file) {
            (Some(folder), Some(file)) => net::Address::unix(&format!("{folder}/{file}{port}"))?,
            (Some(path), None) => net::Address::unix(&path)?,
            (None, _) if host.is_empty() => return Err("`url` names no host, nor does `host`".to_owned()),
            (None, _) if host.contains(',') => return Err("several hosts are named: name one".to_owned()),
            (None, _) => net::Address::Tcp { host, port },
        };
        let inside = url.password().map(decode).transpose()?.map(Secret::Value);
        Ok(Login {
            address,
            user,
            password: password.clone().or(inside),
            database: beside("database", &login.database)?
                .map_or_else(|| decode(url.path().trim_start_matches('/')), Ok)?,
            encryption,
            ca: ca.clone(),
        })
    }

    /// The password as it is now; empty where there is none.
    ///
    /// # Errors
    /// Where it was looked for.
    pub fn password(&self) -> Result<String, String> {
        self.password.as_ref().map_or_else(|| Ok(String::new()), secret::read)
    }

    /// The TLS configuration that goes with [`Login::encryption`].
    ///
    /// # Errors
    /// Why the file of `ca` can't be used.
    pub fn tls(&self, shared: &Shared) -> Result<Arc<ClientConfig>, String> {
        match (self.encryption, &self.ca) {
            (Encryption::Wanted, None) => Ok(shared.http.tls.clone()),
            (_, Some(path)) => tls::config_besides(&shared.http, path),
            (_, None) => TlsOptions { verify: false, ca: None, client: None }.lenient_config(&Arc::default()),
        }
    }

    /// What can be seen without connecting.
    pub fn preflight(&self) -> Vec<String> {
        let ca = self.ca.as_ref().and_then(|path| crate::shared::http::read_certificates(path).err());
        self.password().err().into_iter().chain(ca).collect()
    }
}

/// A part of the address that stands beside it.
fn beside(key: &str, secret: Option<&Secret>) -> Result<Option<String>, String> {
    let Some(secret) = secret else { return Ok(None) };
    let text = secret::read(secret).map_err(|why| format!("`{key}`: {why}"))?;
    let text = text.trim();
    if text.is_empty() { Err(format!("`{key}` is empty")) } else { Ok(Some(text.to_owned())) }
}

/// `HOST:PORT` apart; what has more colons is an address of version 6, with a port only behind `]`.
fn with_port(host: String) -> (String, Option<u16>) {
    let apart = host.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match apart.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?))) {
        Some((host, port)) => (host, Some(port)),
        None => (host, None),
    }
}

/// Undoes the `%XX` of addresses (RFC 3986).
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| "what stands for `%XX` in `url` is no UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchbell_core::config::LoginSource;

    #[test]
    fn rows_are_taken_until_there_are_enough() {
        let mut rows = Gather::new(vec!["a".to_owned()], 2);
        let taken: Vec<bool> = (0..4).map(|i| rows.take(vec![Cell::Integer(i)]).unwrap()).collect();
        assert_eq!(taken, [true, true, false, false]);
        let answer = rows.finish();
        assert_eq!((answer.rows.len(), answer.truncated), (2, true));

        let mut rows = Gather::new(Vec::new(), usize::MAX);
        let big = || vec![Cell::Bytes(vec![0; ANSWER_BYTES_MAX / 4])];
        let fits = (0..5).take_while(|_| rows.take(big()).is_ok()).count();
        assert_eq!(fits, 3, "and what is around them counts too");
    }

    /// S2.4: host, user and database may stand beside the address, in the environment or a file, as dwmon's do.
    #[test]
    fn an_address_in_parts() {
        let dir = crate::source::testing::scratch("address-in-parts");
        let file = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text).unwrap();
            Some(Secret::File(dir.join(name).display().to_string()))
        };
        let plain = |text: &str| Some(Secret::Value(text.to_owned()));
        let dialect = Dialect { port: 5432, encryption: "sslmode", socket: "host", socket_file: Some(".s.PGSQL.") };
        let missing = || Some(Secret::Env("WATCHBELL_TEST_NOT_SET".to_owned()));
        for (url, host, user, database, expect) in [
            (
                "postgres://",
                file("host", "db.example\n"),
                file("user", "watch\n"),
                file("db", "shop\n"),
                "watch@db.example:5432/shop",
            ),
            ("postgres://a@b:7/c?sslmode=require", plain("h:99"), None, None, "a@h:99/c"),
            ("postgres://a@b:7/c", plain("h"), plain("u/1"), None, "u/1@h:7/c"),
            ("postgres://a@b/c", plain("[::1]:9"), None, plain("d d"), "a@[::1]:9/d d"),
            ("postgres://a@b/c", plain("::1"), None, None, "a@[::1]:5432/c"),
            ("postgres://a@b/c", plain("/run/pg"), None, None, "a@/run/pg/.s.PGSQL.5432/c"),
            ("postgres://", None, plain("u"), None, "`url` names no host, nor does `host`"),
            ("postgres://h", None, None, None, "`url` names no user"),
            (
                "postgres://a@b",
                missing(),
                None,
                None,
                "`host`: the environment variable `WATCHBELL_TEST_NOT_SET` is not set",
            ),
            ("postgres://a@b", None, file("empty", " \n"), None, "`user`: the secret in `"),
            ("postgres://a@b", None, plain(" "), None, "`user` is empty"),
        ] {
            let mut policy = super::super::testing::policy(url, None);
            if let SourcePlace::Url { login, .. } = &mut policy.place {
                *login = LoginSource { host, user, database };
            }
            let said = match Login::read(&policy, dialect) {
                Ok(login) => format!("{}@{}/{}", login.user, login.address, login.database),
                Err(why) => why,
            };
            assert!(said.starts_with(expect), "{url}: {said}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn positions_and_messages() {
        assert_eq!(position("select\n  ä, x", 12), "line 2, column 6");
        assert_eq!(position("", 0), "line 1, column 1");
        assert_eq!(one_line("no\nuser  with hunter2.", &["hunter2", ""]), "no user with ***");
        assert_eq!(one_line("no hun\n ter2 here", &["hun ter2"]), "no *** here");
        assert_eq!(one_line("no\u{200b} user\u{2028}x\u{1b}[31m", &[]), "no user x");
        assert!(one_line(&"x".repeat(5000), &[]).ends_with("xx ..."));
        assert_eq!(working_time(Duration::from_secs(10)), Duration::from_millis(9_800));
        assert_eq!(working_time(Duration::from_millis(100)), Duration::from_millis(90));
        assert!(matches!(slow(Duration::from_micros(9_999_980)), Trouble::Slow(text) if text.contains("than 10s:")));
    }

    #[test]
    fn connections_are_kept_up_to_a_number() {
        let idle = Idle::default();
        assert_eq!(idle.take(), None);
        (1..=3).for_each(|n| idle.put(n, 2));
        assert_eq!((idle.take(), idle.take(), idle.take()), (Some(2), Some(1), None));
    }
}
