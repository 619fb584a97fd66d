//! Asking through the driver manager.
//!
//! Drivers block, so each question has a thread of its own; it is no thread of the runtime, because a driver that does not
//! heed its time limit may never come back, and the agent must end all the same. Such a thread keeps one of the source's
//! connections until it ends, so there are never more of them. Connections are kept and used again.

use super::super::{
    Ask, Opened, Place, Trouble,
    sql::{Gather, Idle, one_line, slow, working_time},
};
use crate::shared::{BoxFuture, secret};
use odbc_api::{
    Connection, ConnectionOptions, Cursor, CursorRow, DataType, Error, ResultSetMetadata,
    buffers::Indicator,
    environment,
    parameter::{VarBinaryBox, VarCell, VarWCharBox},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use watchbell_core::{
    config::{SourcePlace, SourcePolicy},
    model::{Answer, Cell},
};

/// A value has at most so many characters (UTF-16 units), or bytes.
pub const VALUE_LEN_MAX: usize = 64 * 1024;

/// What makes a connection read only, by the beginning of the datastore's name.
const READ_ONLY: [(&str, &str); 4] = [
    ("PostgreSQL", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
    ("MySQL", "SET SESSION TRANSACTION READ ONLY"),
    ("MariaDB", "SET SESSION TRANSACTION READ ONLY"),
    ("SQLite", "PRAGMA query_only = 1"),
];

#[derive(Debug)]
struct Odbc {
    inner: Arc<Inner>,
    /// One for each thread that is at work, also where nobody waits for it any more.
    threads: Arc<Semaphore>,
}

struct Inner {
    policy: Arc<SourcePolicy>,
    idle: Idle<Connection<'static>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("policy", &self.policy).field("idle", &self.idle).finish()
    }
}

/// Reads the address.
///
/// # Errors
/// That it is no connection string.
pub fn open(policy: &Arc<SourcePolicy>) -> Opened {
    let SourcePlace::Url { url, .. } = &policy.place else { return Err("`url` is missing".to_owned()) };
    let text = secret::read(url)?;
    if !text.split_once(':').is_some_and(|(_, attributes)| attributes.contains('=')) {
        return Err(
            "`odbc:` is followed by what a connection string holds, like `odbc:DSN=warehouse;UID=watchbell` or \
                    `odbc:Driver={SQLite3};Database=/var/lib/app.db`"
                .to_owned(),
        );
    }
    let inner = Inner { policy: policy.clone(), idle: Idle::default() };
    Ok(Box::new(Odbc { inner: Arc::new(inner), threads: Arc::new(Semaphore::new(policy.connections_max)) }))
}

impl Place for Odbc {
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move {
            let time = working_time(ask.timeout);
            let deadline = Instant::now() + time;
            let answer = tokio::time::timeout(time, self.on_a_thread(ask, deadline)).await;
            answer.unwrap_or_else(|_| Err(slow(ask.timeout)))
        })
    }

    fn preflight(&self) -> Vec<String> {
        let SourcePlace::Url { password: Some(password), .. } = &self.inner.policy.place else { return Vec::new() };
        secret::read(password).err().map(|why| format!("`password`: {why}")).into_iter().collect()
    }
}

impl Odbc {
    async fn on_a_thread(&self, ask: &Ask<'_>, deadline: Instant) -> Result<Answer, Trouble> {
        let Ok(permit) = self.threads.clone().acquire_owned().await else { return Err(slow(ask.timeout)) };
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            inner: self.inner.clone(),
            query: ask.query.to_owned(),
            rows_max: ask.rows_max,
            timeout: ask.timeout,
            deadline,
            stop: stop.clone(),
            secrets: Vec::new(),
            _permit: permit,
        };
        let _given_up = StopOnDrop(stop);
        let (answer, wait) = oneshot::channel();
        let spawned = std::thread::Builder::new().name("odbc".to_owned()).spawn(move || {
            let _ = answer.send(work.run());
        });
        spawned.map_err(|e| Trouble::Away(format!("no thread could be started: {e}")))?;
        wait.await
            .unwrap_or_else(|_| Err(Trouble::Wrong("the query could not be run: its thread broke down".to_owned())))
    }
}

/// Nobody waits for the answer any more: the thread should end.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One question, as its thread knows it.
struct Work {
    inner: Arc<Inner>,
    query: String,
    rows_max: usize,
    timeout: Duration,
    deadline: Instant,
    stop: Arc<AtomicBool>,
    /// To be kept out of every text.
    secrets: Vec<String>,
    _permit: OwnedSemaphorePermit,
}

impl Work {
    fn run(mut self) -> Result<Answer, Trouble> {
        let text = self.connection_string().map_err(Trouble::Away)?;
        let known = self.inner.idle.take().filter(|connection| !connection.is_dead().unwrap_or(true));
        let connection = match known {
            Some(connection) => connection,
            None => self.connect(&text)?,
        };
        let answer = self.rows(&connection);
        let well = matches!(answer, Ok(_) | Err(Trouble::Wrong(_)));
        if connection.rollback().is_ok() && well {
            self.inner.idle.put(connection, self.inner.policy.connections_max);
        }
        answer
    }

    /// What the driver manager is given; the secrets in it are noted.
    fn connection_string(&mut self) -> Result<String, String> {
        let SourcePlace::Url { url, password, .. } = &self.inner.policy.place else {
            return Err("`url` is missing".to_owned());
        };
        let text = secret::read(url)?;
        let mut attributes = text.split_once(':').map(|(_, rest)| rest).unwrap_or_default().trim().to_owned();
        self.secrets.extend(passwords(&attributes));
        if let Some(password) = password {
            let password = secret::read(password).map_err(|why| format!("`password`: {why}"))?;
            attributes = format!("{};PWD={}", attributes.trim_end_matches(';'), braced(&password));
            self.secrets.push(password);
        }
        Ok(attributes)
    }

    fn connect(&self, text: &str) -> Result<Connection<'static>, Trouble> {
        let environment =
            environment().map_err(|e| Trouble::Away(format!("ODBC can't be used: {}", self.said(&e).1)))?;
        let patience = self.inner.policy.connect_timeout.min(self.left());
        let login_timeout_sec = Some(u32::try_from(patience.as_secs()).unwrap_or(u32::MAX).max(1));
        let options = ConnectionOptions { login_timeout_sec, packet_size: None };
        let connection = environment.connect_with_connection_string(text, options).map_err(|e| {
            let (state, said) = self.said(&e);
            let hint = match state.as_str() {
                "IM002" => "; `odbcinst -q -s` lists the data sources and `odbcinst -q -d` the drivers that are known",
                "01000" | "IM003" | "IM004" => "; is the driver installed that `odbcinst -q -d` names?",
                "28000" => "; check the user and the password",
                _ => "",
            };
            Trouble::Away(format!("can't connect: {said}{hint}"))
        })?;
        let name = connection.database_management_system_name().unwrap_or_default();
        if let Some((_, statement)) = READ_ONLY.iter().find(|(begins, _)| name.starts_with(begins)) {
            let done = connection.execute(statement, (), None).map(drop);
            done.map_err(|e| Trouble::Away(format!("can't make the connection read only: {}", self.said(&e).1)))?;
        }
        // Not every datastore has transactions.
        let _ = connection.set_autocommit(false);
        Ok(connection)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn rows(&self, connection: &Connection<'_>) -> Result<Answer, Trouble> {
        let failed = |e: Error| self.trouble(&e);
        let mut statement = connection.preallocate().map_err(failed)?;
        // The driver's own limit should come first; not every driver knows one.
        let _ = statement.set_query_timeout_sec(usize::try_from(self.left().as_secs()).unwrap_or(usize::MAX).max(1));
        let cursor = statement.execute(&self.query, ()).map_err(failed)?;
        let Some(mut cursor) = cursor else {
            return Err(Trouble::Wrong("the query answers no columns: write a `SELECT`".to_owned()));
        };
        let columns = u16::try_from(cursor.num_result_cols().map_err(failed)?).unwrap_or(0);
        let mut names = Vec::new();
        let mut kinds = Vec::new();
        for at in 1..=columns {
            names.push(cursor.col_name(at).map_err(failed)?);
            kinds.push(Kind::of(&cursor.col_data_type(at).map_err(failed)?));
        }
        let mut answer = Gather::new(names.clone(), self.rows_max);
        let mut buffers = Buffers::new();
        while let Some(mut row) = cursor.next_row().map_err(failed)? {
            if self.left().is_zero() || self.stop.load(Ordering::Relaxed) {
                return Err(slow(self.timeout));
            }
            let mut cells = Vec::with_capacity(kinds.len());
            for ((at, kind), name) in (1..=columns).zip(&kinds).zip(&names) {
                let cell = buffers.read(&mut row, at, *kind).map_err(failed)?;
                cells.push(cell.ok_or_else(|| {
                    Trouble::Wrong(format!(
                        "a value of `{name}` has more than {VALUE_LEN_MAX} characters: select less of it"
                    ))
                })?);
            }
            if !answer.take(cells)? {
                break;
            }
        }
        Ok(answer.finish())
    }

    fn trouble(&self, error: &Error) -> Trouble {
        let (state, said) = self.said(error);
        match state.as_str() {
            "HYT00" | "57014" | "S1T00" => slow(self.timeout),
            state if ["08", "28", "IM"].iter().any(|class| state.starts_with(class)) || state == "HYT01" => {
                Trouble::Broken(format!("the connection was lost: {said}"))
            }
            _ => Trouble::Wrong(said),
        }
    }

    /// The state that the driver names, and its words on one line without secrets.
    fn said(&self, error: &Error) -> (String, String) {
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        match error {
            Error::Diagnostics { record, .. } => {
                let text = record.to_string();
                let said = text.split_once("Message: ").map_or(text.as_str(), |(_, said)| said);
                (record.state.as_str().to_owned(), one_line(said, &secrets))
            }
            other => (String::new(), one_line(&other.to_string(), &secrets)),
        }
    }
}

/// The values of `PWD=` and `PASSWORD=` in a connection string.
fn passwords(attributes: &str) -> Vec<String> {
    let is_password = |name: &str| ["pwd", "password"].iter().any(|word| name.trim().eq_ignore_ascii_case(word));
    let pairs = attributes.split(';').filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(|(name, _)| is_password(name)).map(|(_, value)| value.trim());
    values.flat_map(|value| [value.to_owned(), value.trim_matches(['{', '}']).to_owned()]).collect()
}

/// A value as it stands in a connection string.
fn braced(value: &str) -> String {
    if value.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return value.to_owned();
    }
    format!("{{{}}}", value.replace('}', "}}"))
}

/// What is made of a column's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Integer,
    Decimal,
    Float,
    Bool,
    Civil,
    Bytes,
    Text,
}

impl Kind {
    fn of(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Integer | DataType::SmallInt | DataType::BigInt | DataType::TinyInt => Kind::Integer,
            DataType::Numeric { .. } | DataType::Decimal { .. } => Kind::Decimal,
            DataType::Float { .. } | DataType::Real | DataType::Double => Kind::Float,
            DataType::Bit => Kind::Bool,
            DataType::Date | DataType::Timestamp { .. } => Kind::Civil,
            DataType::Binary { .. } | DataType::Varbinary { .. } | DataType::LongVarbinary { .. } => Kind::Bytes,
            _ => Kind::Text,
        }
    }

    /// Some datastores type values and not columns: what does not fit the column's type stays text.
    fn cell(self, text: String) -> Cell {
        let read = match self {
            Kind::Integer => text.parse().map(Cell::Integer).ok(),
            Kind::Decimal => text.parse::<f64>().is_ok().then(|| Cell::Decimal(text.clone())),
            Kind::Float => text.parse().map(Cell::Float).ok(),
            Kind::Bool => match text.as_str() {
                "0" => Some(Cell::Bool(false)),
                "1" => Some(Cell::Bool(true)),
                _ => None,
            },
            Kind::Civil => text.parse().map(Cell::Civil).ok(),
            Kind::Bytes | Kind::Text => None,
        };
        read.unwrap_or(Cell::Text(text))
    }
}

/// Where a driver writes a value to.
struct Buffers {
    text: VarWCharBox,
    bytes: VarBinaryBox,
}

impl Buffers {
    fn new() -> Buffers {
        Buffers {
            text: VarCell::from_buffer(vec![0; VALUE_LEN_MAX + 1].into_boxed_slice(), Indicator::Null),
            bytes: VarCell::from_buffer(vec![0; VALUE_LEN_MAX].into_boxed_slice(), Indicator::Null),
        }
    }

    /// A value; `None`: it is too long.
    fn read(&mut self, row: &mut CursorRow<'_>, at: u16, kind: Kind) -> Result<Option<Cell>, Error> {
        if kind == Kind::Bytes {
            row.get_data(at, &mut self.bytes)?;
            let cell = || self.bytes.as_bytes().map_or(Cell::Null, |bytes| Cell::Bytes(bytes.to_vec()));
            return Ok(self.bytes.is_complete().then(cell));
        }
        row.get_data(at, &mut self.text)?;
        let cell = || self.text.as_slice().map_or(Cell::Null, |text| kind.cell(String::from_utf16_lossy(text)));
        Ok(self.text.is_complete().then(cell))
    }
}

#[cfg(test)]
mod tests;
