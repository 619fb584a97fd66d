//! `mysql://` and `mariadb://`: MySQL and MariaDB.
//!
//! A question is a prepared statement in a read-only transaction that is always rolled back, with the server's own
//! limits on time and rows. Connections are kept and used again; one that was given up on is killed over another one.
//! The session's zone is UTC, so that a `TIMESTAMP` is a point in time.

use super::{
    Ask, Opened, Place, Trouble,
    sql::{CLEANING, Dialect, Encryption, Gather, Idle, Login, one_line, slow, too_big, working_time},
};
use crate::shared::{
    BoxFuture, Shared,
    http::{machine_certificates, named_certificates},
    net::{Address, plain},
    tls,
};
use jiff::civil;
use mysql_async::{
    Column, Conn, DriverError, Error, IoError, Opts, OptsBuilder, ServerError, SslOpts, TlsError, Value,
    consts::ColumnType, prelude::Queryable,
};
use rustls::RootCertStore;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};
use watchbell_core::{
    config::SourcePolicy,
    model::{Answer, Cell, Timestamp},
};

/// One paragraph for the reference.
pub const DOC: &str = "MySQL 5.6 or later, and MariaDB. `mysql://USER@HOST:PORT/DATABASE`, with `?ssl-mode=DISABLED`, \
                       `PREFERRED` (the default: TLS where the server offers it; its certificate is looked at only if \
                       `ca` is given) or `REQUIRED` (TLS with a certificate that is trusted and for this name), and \
                       `?socket=/run/mysqld/mysqld.sock` for a unix socket. Each question is a read-only transaction, \
                       in UTC: a `TIMESTAMP` is a point in time; a `DATETIME` counts in the check's zone, also that of \
                       `NOW()`, for which `UNIX_TIMESTAMP()` is better.";

const DIALECT: Dialect = Dialect { port: 3306, encryption: "ssl-mode", socket: "socket", socket_file: None };

/// How long the connection that kills another may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A packet is not read beyond this many bytes; a row is one packet.
pub const PACKET_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The character set that says that a string is bytes.
const BINARY: u16 = 63;

#[derive(Debug)]
struct Mysql {
    login: Login,
    connections_max: usize,
    connect_timeout: Duration,
    idle: Idle<Session>,
}

/// A connection.
#[derive(Debug)]
struct Session {
    conn: Conn,
    /// To reach the server again.
    opts: Opts,
    clock: Clock,
}

/// How the server is told how long a query may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    MariaDb,
    Mysql,
    /// It is older than that.
    None,
}

/// Reads the address.
///
/// # Errors
/// What is wrong with it.
pub fn open(policy: &Arc<SourcePolicy>) -> Opened {
    Ok(Box::new(Mysql {
        login: Login::read(policy, DIALECT)?,
        connections_max: policy.connections_max,
        connect_timeout: policy.connect_timeout,
        idle: Idle::default(),
    }))
}

impl Place for Mysql {
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move {
            let deadline = Instant::now() + working_time(ask.timeout);
            let (session, kept) = match self.resume(ask, deadline).await {
                Some(session) => (session, true),
                None => (self.begin(ask, deadline).await?, false),
            };
            match self.answer(session, ask, deadline).await {
                // One that was kept may have been lost meanwhile, and nobody told us.
                Err(Trouble::Broken(_)) if kept => self.answer(self.begin(ask, deadline).await?, ask, deadline).await,
                answer => answer,
            }
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.login.preflight()
    }
}

/// Why a question was not answered.
enum Failure {
    /// Seen here, with the connection in order.
    Mine(Trouble),
    /// What the driver or the server says.
    Server(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Server(error)
    }
}

impl Mysql {
    /// Asks over a connection that is in a transaction, and keeps it if it is in order after that.
    async fn answer(&self, mut session: Session, ask: &Ask<'_>, deadline: Instant) -> Result<Answer, Trouble> {
        let mut guard = KillOnDrop(Some((session.opts.clone(), session.conn.id())));
        // The server's own limit comes first: then the connection stays in order.
        let patience = deadline + CLEANING.min(ask.timeout / 10) / 2;
        let result = timeout_at(patience, session.answer(ask)).await.map_err(|_| slow(ask.timeout))?;
        let in_order = match &result {
            Ok((_, whole)) => *whole,
            Err(Failure::Mine(_) | Failure::Server(Error::Server(_))) => true,
            Err(_) => false,
        };
        // What is left of an answer would be read before anything else.
        if in_order && timeout_at(patience, session.conn.query_drop("ROLLBACK")).await.is_ok_and(|end| end.is_ok()) {
            guard.0 = None;
            self.idle.put(session, self.connections_max);
        }
        match result {
            Ok((answer, _)) => Ok(answer),
            Err(Failure::Mine(trouble)) => Err(trouble),
            Err(Failure::Server(error)) => Err(self.trouble(&error, ask)),
        }
    }

    /// A connection that was kept, if it still begins a transaction.
    async fn resume(&self, ask: &Ask<'_>, deadline: Instant) -> Option<Session> {
        let mut session = self.idle.take()?;
        // What has gone since, a firewall may have swallowed without a word.
        let patience = self.connect_timeout.min(deadline.saturating_duration_since(Instant::now()) / 2);
        let tried = timeout(patience, session.start(ask.rows_max, deadline)).await;
        matches!(tried, Ok(Ok(()))).then_some(session)
    }

    /// A new connection, in a transaction that only reads.
    async fn begin(&self, ask: &Ask<'_>, deadline: Instant) -> Result<Session, Trouble> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let limit = self.connect_timeout.min(left());
        let connected = timeout(limit, async {
            let mut session = self.connect(ask.shared).await?;
            // Before the query is sent, nothing can be wrong with it.
            session.start(ask.rows_max, deadline).await.map_err(|e| self.unreachable(&e))?;
            Ok(session)
        });
        let late = || {
            let address = &self.login.address;
            format!("no connection with `{address}` within {limit:?}: is the host up, or does a firewall drop it?")
        };
        connected.await.unwrap_or_else(|_| Err(late())).map_err(Trouble::Away)
    }

    async fn connect(&self, shared: &Shared) -> Result<Session, String> {
        let mut builder = self.options().await?;
        let encrypted = self.login.encryption != Encryption::Off && matches!(self.login.address, Address::Tcp { .. });
        if encrypted {
            builder = builder.ssl_opts(self.tls(shared)?);
        }
        let mut made = Conn::new(builder.clone()).await;
        let offers_none = matches!(&made, Err(Error::Driver(DriverError::NoClientSslFlagFromServer)));
        if offers_none && self.login.encryption == Encryption::Offered {
            builder = builder.ssl_opts(None);
            made = Conn::new(builder.clone()).await;
        }
        let mut conn = made.map_err(|e| self.unreachable(&e))?;
        let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(|e| self.unreachable(&e))?;
        let clock = match (version.unwrap_or_default().contains("MariaDB"), conn.server_version()) {
            (true, _) => Clock::MariaDb,
            (false, version) if version >= (5, 7, 8) => Clock::Mysql,
            (false, _) => Clock::None,
        };
        Ok(Session { conn, opts: builder.into(), clock })
    }

    async fn options(&self) -> Result<OptsBuilder, String> {
        let login = &self.login;
        let password = Some(login.password()?).filter(|password| !password.is_empty());
        let database = Some(login.database.clone()).filter(|name| !name.is_empty());
        let builder = OptsBuilder::default()
            .user(Some(login.user.clone()))
            .pass(password)
            .db_name(database)
            .prefer_socket(false)
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            // Only so that the driver need not ask for it: how long a connection is kept is decided here.
            .wait_timeout(Some(u16::MAX.into()))
            // One more net, for statements that end a transaction by themselves.
            .setup(vec!["SET time_zone = '+00:00'", "SET SESSION TRANSACTION READ ONLY"]);
        match &login.address {
            Address::Unix(path) => Ok(builder.socket(Some(path.display().to_string()))),
            Address::Tcp { host, port } => {
                let found = tokio::net::lookup_host((host.as_str(), *port)).await;
                let found = found.map_err(|e| format!("the name `{host}` can't be resolved: {}", plain(&e)))?;
                let list: Vec<_> = found.map(|address| address.ip()).collect();
                Ok(builder.ip_or_hostname(host.clone()).tcp_port(*port).resolved_ips(Some(list)))
            }
        }
    }

    /// As [`Login::tls`], in the driver's terms.
    fn tls(&self, shared: &Shared) -> Result<SslOpts, String> {
        // What is wrong with `ca` is said in the same words everywhere.
        self.login.tls(shared)?;
        let options = SslOpts::default();
        if self.login.encryption == Encryption::Offered && self.login.ca.is_none() {
            return Ok(options.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true));
        }
        // Reading the machine's own was complained of at the start, if it fails.
        let mut certificates = machine_certificates(named_certificates()).unwrap_or_default();
        if let Some(path) = &self.login.ca {
            certificates.extend(crate::shared::http::read_certificates(path)?);
        }
        // The driver gives up at the first certificate that it does not understand.
        certificates.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
        Ok(options.with_root_certs(certificates.iter().map(|certificate| certificate.to_vec().into()).collect()))
    }

    fn unreachable(&self, error: &Error) -> String {
        let address = &self.login.address;
        let text = match error {
            Error::Server(e) => {
                let advice = match e.code {
                    1044 | 1045 | 1698 => "; are the user and the password right, and may it come from this host?",
                    1049 => "; is the database's name in `url` right?",
                    1040 | 1203 | 1226 => "; lower the source's `connections`, or raise the server's `max_connections`",
                    _ => "; look at the server's log",
                };
                format!("`{address}` says: {}{advice}", said(e))
            }
            Error::Driver(DriverError::NoClientSslFlagFromServer) => {
                "the server offers no TLS: set it up there (`ssl_cert`, `ssl_key`), or write `ssl-mode=PREFERRED`"
                    .to_owned()
            }
            Error::Io(IoError::Tls(TlsError::Tls(e))) => {
                format!("no TLS connection with `{address}`: {}", tls::explain(e))
            }
            Error::Io(IoError::Io(e)) if e.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
                format!("no TLS connection with `{address}`: {}", tls::explain_io(e))
            }
            Error::Io(IoError::Io(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("can't connect to `{address}`: {}; is the program running that should listen there?", plain(e))
            }
            Error::Io(IoError::Io(e)) => format!("can't connect to `{address}`: {}", plain(e)),
            other => format!("can't connect to `{address}`: {other}"),
        };
        self.clean(&text)
    }

    fn trouble(&self, error: &Error, ask: &Ask<'_>) -> Trouble {
        let address = &self.login.address;
        match error {
            Error::Server(e) => match e.code {
                // Its limit on time, MariaDB's and MySQL's.
                1969 | 3024 => slow(ask.timeout),
                1317 => Trouble::Slow(format!("the query was stopped on the server: {}", self.clean(&said(e)))),
                // Shutting down, killed, network.
                1053 | 1077..=1080 | 1158..=1161 | 1184 | 1927 | 4031 => Trouble::Broken(self.unreachable(error)),
                code => Trouble::Wrong(format!("{}{}", self.clean(&said(e)), advice(code))),
            },
            Error::Driver(DriverError::PacketTooLarge) => too_big(),
            Error::Driver(DriverError::ConnectionClosed) => self.lost("the server closed the connection"),
            Error::Io(IoError::Io(e)) => self.lost(&plain(e)),
            Error::Io(IoError::Tls(e)) => self.lost(&e.to_string()),
            other => {
                Trouble::Wrong(format!("what `{address}` answers can't be read: {}", self.clean(&other.to_string())))
            }
        }
    }

    fn lost(&self, why: &str) -> Trouble {
        let (address, why) = (&self.login.address, self.clean(why));
        Trouble::Broken(format!("the connection with `{address}` was lost: {why}; look at the server's log"))
    }

    fn clean(&self, text: &str) -> String {
        one_line(text, &[&self.login.password().unwrap_or_default()])
    }
}

fn said(error: &ServerError) -> String {
    format!("{} ({})", error.message.trim_end_matches('.'), error.code)
}

/// What to do about a query that is wrong.
fn advice(code: u16) -> &'static str {
    match code {
        1792 | 1290 => "; sources are only read: write a `SELECT`",
        1044 | 1142 | 1143 | 1227 | 1370 => "; let the source's user read it (`GRANT SELECT`)",
        _ => "",
    }
}

impl Session {
    /// Begins a transaction with its limits. One row more than is wanted shows that there are more.
    async fn start(&mut self, rows_max: usize, deadline: Instant) -> mysql_async::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let clock = match self.clock {
            Clock::MariaDb => format!("max_statement_time = {:.3}, ", left.as_secs_f64()),
            Clock::Mysql => format!("max_execution_time = {}, ", left.as_millis()),
            Clock::None => String::new(),
        };
        let rows = rows_max.saturating_add(1);
        self.conn.query_drop(format!("SET SESSION {clock}sql_select_limit = {rows}; START TRANSACTION READ ONLY")).await
    }

    /// Asks. Whether the answer was read to its end comes beside it.
    async fn answer(&mut self, ask: &Ask<'_>) -> Result<(Answer, bool), Failure> {
        let wrong = |text: &str| Err(Failure::Mine(Trouble::Wrong(text.to_owned())));
        let statement = self.conn.prep(ask.query).await?;
        if statement.num_params() > 0 {
            return wrong("the query has `?` outside of a text, and there is no value for it: write the value");
        }
        if statement.num_columns() == 0 {
            return wrong("the query answers no columns: write a `SELECT`");
        }
        let mut result = self.conn.exec_iter(&statement, ()).await?;
        let columns = result.columns().unwrap_or_default();
        let names = columns.iter().map(|column| column.name_str().into_owned()).collect();
        let mut rows = Gather::new(names, ask.rows_max);
        let mut whole = true;
        while let Some(row) = result.next().await? {
            let values = row.unwrap_raw().into_iter().map(|value| value.unwrap_or(Value::NULL));
            let row = values.zip(columns.iter()).map(|(value, column)| cell(value, column)).collect();
            if !rows
                .take(row)
                .map_err(Failure::Mine)
                .map_err(|_| Failure::Server(DriverError::PacketTooLarge.into()))?
            {
                // The limit on rows does not hold where a query has its own.
                whole = result.next().await?.is_none();
                break;
            }
        }
        Ok((rows.finish(), whole))
    }
}

fn cell(value: Value, column: &Column) -> Cell {
    match value {
        Value::NULL => Cell::Null,
        Value::Int(number) => Cell::Integer(number),
        Value::UInt(number) => unsigned(number),
        // By way of its text: 1.1, and not what lies next to it in twice the bits.
        Value::Float(number) => Cell::Float(number.to_string().parse().unwrap_or_else(|_| f64::from(number))),
        Value::Double(number) => Cell::Float(number),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let parts = (year, month, day, hour, minute, second, micros);
            date(column.column_type(), parts).unwrap_or_else(|| {
                Cell::Text(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"))
            })
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let (sign, hours) = (if negative { "-" } else { "" }, days * 24 + u32::from(hours));
            let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
            Cell::Text(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"))
        }
        Value::Bytes(bytes) => from_bytes(bytes, column),
    }
}

fn unsigned(number: u64) -> Cell {
    i64::try_from(number).map_or_else(|_| Cell::Decimal(number.to_string()), Cell::Integer)
}

/// `None` for what is no date, such as 0000-00-00.
fn date(kind: ColumnType, parts: (u16, u8, u8, u8, u8, u8, u32)) -> Option<Cell> {
    let (year, month, day, hour, minute, second, micros) = parts;
    let small = |number: u8| i8::try_from(number).ok();
    let day = civil::Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?;
    let nanos = i32::try_from(micros).ok()?.checked_mul(1_000)?;
    let at = day.to_datetime(civil::Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()?);
    match kind {
        ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => {
            let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Cell::Time(Timestamp::from_jiff(at.timestamp())))
        }
        _ => Some(Cell::Civil(at)),
    }
}

fn from_bytes(bytes: Vec<u8>, column: &Column) -> Cell {
    use ColumnType::*;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    };
    match column.column_type() {
        MYSQL_TYPE_DECIMAL | MYSQL_TYPE_NEWDECIMAL => Cell::Decimal(text(bytes)),
        // Most significant byte first.
        MYSQL_TYPE_BIT if bytes.len() <= 8 => {
            unsigned(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        }
        MYSQL_TYPE_GEOMETRY | MYSQL_TYPE_BIT => Cell::Bytes(bytes),
        MYSQL_TYPE_JSON | MYSQL_TYPE_ENUM | MYSQL_TYPE_SET => Cell::Text(text(bytes)),
        _ if column.character_set() == BINARY => Cell::Bytes(bytes),
        _ => Cell::Text(text(bytes)),
    }
}

/// Nobody waits for the answer any more: the server should stop.
struct KillOnDrop(Option<(Opts, u32)>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let (Some((opts, id)), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(timeout(KILL_TIMEOUT, async move {
            if let Ok(mut conn) = Conn::new(opts).await {
                // It may have ended by itself.
                let _ = conn.query_drop(format!("KILL {id}")).await;
                let _ = conn.disconnect().await;
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, mariadb, server_suite, suite};
    use watchbell_core::model::{Cell, Timestamp};

    fn types() -> Vec<(&'static str, Cell)> {
        let text = |text: &str| Cell::Text(text.to_owned());
        let decimal = |text: &str| Cell::Decimal(text.to_owned());
        let civil = |text: &str| Cell::Civil(text.parse().unwrap());
        vec![
            ("true", Cell::Integer(1)),
            ("cast(-9223372036854775808 as signed)", Cell::Integer(i64::MIN)),
            ("cast(18446744073709551615 as unsigned)", decimal("18446744073709551615")),
            ("cast(7 as unsigned)", Cell::Integer(7)),
            ("tiny", Cell::Integer(-128)),
            ("bits", Cell::Integer(5)),
            ("allbits", decimal("18446744073709551615")),
            ("yr", Cell::Integer(2024)),
            ("f", Cell::Float(1.1)),
            ("0.1e0 + 0.2e0", Cell::Float(0.1 + 0.2)),
            ("1.50", decimal("1.50")),
            (
                "cast('123456789012345678901234567890.10' as decimal(40, 2))",
                decimal("123456789012345678901234567890.10"),
            ),
            ("'it''s ä'", text("it's ä")),
            ("''", text("")),
            ("word", text("fünf")),
            ("long_text", text("lang")),
            ("kind", text("b")),
            ("doc", text("{\"a\": 1}")),
            ("x'00ff'", Cell::Bytes(vec![0, 255])),
            ("bin", Cell::Bytes(vec![1, 0])),
            ("blo", Cell::Bytes(vec![255, 1])),
            ("cast('2024-02-29' as date)", civil("2024-02-29T00:00:00")),
            ("cast('2024-02-29 23:59:59.123456' as datetime(6))", civil("2024-02-29T23:59:59.123456")),
            ("at", Cell::Time(Timestamp::from_secs(1_700_000_000))),
            ("zero", text("0000-00-00 00:00:00.000000")),
            ("cast('-25:00:01' as time)", text("-25:00:01")),
            ("null", Cell::Null),
            ("nothing", Cell::Null),
        ]
    }

    fn case(url: String) -> Case {
        Case {
            url,
            password: None,
            from: "from typed",
            types: types(),
            million: "select seq, repeat('x', 100) from seq_1_to_1000000",
            // Unlike `sleep`, this would not end by itself when the connection goes.
            hang: "select count(*) from seq_1_to_1000000 a, seq_1_to_1000000 b where a.seq > b.seq + 2000000",
            wrongs: vec![
                ("select 1\nfrm kept", "near 'kept' at line 2 (1064)"),
                ("select * from nowhere", "Table 'app.nowhere' doesn't exist (1146)"),
                ("select missing from kept", "Unknown column 'missing'"),
                ("select n from other.hidden", "command denied to user"),
                ("select 1; select 2", "near 'select 2' at line 1"),
                ("select 1; commit; delete from kept", "near 'commit; delete from kept'"),
                ("select ?", "no value for it"),
                ("", "empty"),
                ("select n from kept into outfile '/tmp/x'", "answers no columns"),
                ("do sleep(0)", "answers no columns"),
            ],
            writes: vec![
                ("insert into kept values (2)", "sources are only read"),
                ("insert into kept values (2) returning n", "sources are only read"),
                ("delete from kept returning n", "sources are only read"),
                ("create table other (n int)", "sources are only read"),
                ("commit", "answers no columns"),
            ],
        }
    }

    /// S2.4, S2.10: MariaDB is asked: types, limits, errors; nothing is ever written.
    #[tokio::test(flavor = "multi_thread")]
    async fn suite_of_mariadb() {
        let Some(server) = mariadb() else { return };
        let case = case(server.url(""));
        suite(&case).await;
        // Where the query has a limit of its own, the server goes by that.
        let bounded = Case { million: "select seq from seq_1_to_1000000 limit 999999", ..case };
        suite(&bounded).await;
        server_suite(&Case { million: "select seq, repeat('x', 100) from seq_1_to_1000000", ..bounded }, server).await;
    }
}
