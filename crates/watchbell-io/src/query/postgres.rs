//! `postgres://`: PostgreSQL and what speaks like it (Redshift, CockroachDB, PgBouncer).
//!
//! A question is asked in a read-only transaction that is always rolled back, with `statement_timeout` where the
//! server knows it. Connections are kept and used again; one that was given up on is told to stop over another one and
//! is not used again.

mod value;
mod wire;

use super::{
    Ask, Opened, Place, Trouble,
    sql::{CLEANING, Dialect, Idle, Login, one_line, position, slow, too_big, working_time},
};
use crate::shared::BoxFuture;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};
use watchbell_core::{config::SourcePolicy, model::Answer};
pub(super) use wire::read_messages;
use wire::{Canceller, Complaint, Fault, Wire};

/// One paragraph for the reference.
pub const DOC: &str = "PostgreSQL 9.3 or later, and what speaks like it: Redshift, CockroachDB, PgBouncer. \
                       `postgres://USER@HOST:PORT/DATABASE`, with `?sslmode=disable`, `prefer` (the default: TLS where the \
                       server offers it; its certificate is looked at only if `ca` is given) or `require` (TLS with a \
                       certificate that is trusted and for this name), and `?host=/run/postgresql` for a unix socket. \
                       Each question is a read-only transaction. `timestamp` counts in the check's zone.";

const DIALECT: Dialect = Dialect { port: 5432, encryption: "sslmode", socket: "host", socket_file: Some(".s.PGSQL.") };

/// How long the connection that tells a server to stop may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Postgres {
    login: Login,
    connections_max: usize,
    connect_timeout: Duration,
    idle: Idle<Wire>,
    /// It knows no `statement_timeout`.
    untimed: AtomicBool,
}

/// Reads the address.
///
/// # Errors
/// What is wrong with it.
pub fn open(policy: &Arc<SourcePolicy>) -> Opened {
    Ok(Box::new(Postgres {
        login: Login::read(policy, DIALECT)?,
        connections_max: policy.connections_max,
        connect_timeout: policy.connect_timeout,
        idle: Idle::default(),
        untimed: AtomicBool::new(false),
    }))
}

impl Place for Postgres {
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move {
            let deadline = Instant::now() + working_time(ask.timeout);
            if ask.query.contains('\0') {
                return Err(Trouble::Wrong("the query holds a zero byte: remove it".to_owned()));
            }
            let (wire, kept) = match self.resume(deadline).await {
                Some(wire) => (wire, true),
                None => (self.begin(ask, deadline).await?, false),
            };
            match self.answer(wire, ask, deadline).await {
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

impl Postgres {
    /// Asks over a connection that is in a transaction, and keeps it if it is in order after that.
    async fn answer(&self, mut wire: Wire, ask: &Ask<'_>, deadline: Instant) -> Result<Answer, Trouble> {
        let mut guard = StopOnDrop(Some(wire.canceller()));
        // The server's own limit comes first: then the connection stays in order.
        let patience = deadline + CLEANING.min(ask.timeout / 10) / 2;
        let result = timeout_at(patience, wire.ask(ask.query, ask.rows_max)).await;
        let result = result.map_err(|_| slow(ask.timeout))?;
        let (done, kept) = match &result {
            Ok(_) => (true, true),
            Err(Fault::Server(complaint)) => (true, !complaint.fatal),
            Err(Fault::Lost(_) | Fault::Unreachable(_)) => (true, false),
            Err(Fault::TooBig | Fault::Garbled(_)) => (false, false),
        };
        if done {
            guard.0 = None;
        }
        if kept {
            self.idle.put(wire, self.connections_max);
        }
        let none = || Trouble::Wrong("the query answers no columns: write one `SELECT`".to_owned());
        result.map_err(|fault| self.trouble(fault, ask))?.ok_or_else(none)
    }

    /// A connection that was kept, if it still begins a transaction.
    async fn resume(&self, deadline: Instant) -> Option<Wire> {
        let mut wire = self.idle.take()?;
        // What has gone since, a firewall may have swallowed without a word.
        let patience = self.connect_timeout.min(deadline.saturating_duration_since(Instant::now()) / 2);
        let tried = timeout(patience, self.start(&mut wire, deadline)).await;
        matches!(tried, Ok(Ok(()))).then_some(wire)
    }

    /// A new connection, in a transaction that only reads.
    async fn begin(&self, ask: &Ask<'_>, deadline: Instant) -> Result<Wire, Trouble> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let limit = self.connect_timeout.min(left());
        let connected = timeout(limit, async {
            let mut wire = Wire::open(&self.login, ask.shared).await?;
            self.start(&mut wire, deadline).await.map(|()| wire)
        });
        let Ok(connected) = connected.await else {
            return Err(Trouble::Away(format!(
                "no connection with `{}` within {limit:?}: is the host up, or does a firewall drop it?",
                self.login.address
            )));
        };
        connected.map_err(|fault| match fault {
            // Before the query is sent, nothing can be wrong with it.
            Fault::Server(complaint) => Trouble::Away(self.turned_away(&complaint)),
            other => match self.trouble(other, ask) {
                Trouble::Broken(why) => Trouble::Away(why),
                other => other,
            },
        })
    }

    async fn start(&self, wire: &mut Wire, deadline: Instant) -> Result<(), Fault> {
        let millis = deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, i32::MAX as u128);
        let known = !self.untimed.load(Ordering::Relaxed);
        let limit = if known { format!("; SET LOCAL statement_timeout = {millis}") } else { String::new() };
        match wire.run(&format!("BEGIN READ ONLY{limit}")).await {
            Err(Fault::Server(complaint)) if known && !complaint.fatal => {
                // Most likely it does not know that parameter: ours is the only limit then.
                wire.run("ROLLBACK").await?;
                wire.run("BEGIN READ ONLY").await?;
                self.untimed.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }

    fn trouble(&self, fault: Fault, ask: &Ask<'_>) -> Trouble {
        let address = &self.login.address;
        match fault {
            Fault::Unreachable(text) => Trouble::Away(self.clean(&text)),
            Fault::Lost(text) => Trouble::Broken(format!(
                "the connection with `{address}` was lost: {}; look at the server's log",
                self.clean(&text)
            )),
            Fault::Garbled(text) => {
                Trouble::Wrong(format!("what `{address}` answers can't be read: {}", self.clean(&text)))
            }
            Fault::TooBig => too_big(),
            Fault::Server(complaint) => match complaint.code.as_str() {
                "57014" if complaint.message.contains("timeout") => slow(ask.timeout),
                "57014" => {
                    Trouble::Slow(format!("the query was stopped on the server: {}", self.said(&complaint, None)))
                }
                code if complaint.fatal || is_away(code) => Trouble::Broken(self.turned_away(&complaint)),
                code => Trouble::Wrong(format!("{}{}", self.said(&complaint, Some(ask.query)), advice(code))),
            },
        }
    }

    fn turned_away(&self, complaint: &Complaint) -> String {
        let advice = match complaint.code.as_str() {
            code if code.starts_with("28") || code == "08P01" => {
                "; are the user and the password right, and does its `pg_hba.conf` let them in?"
            }
            "3D000" => "; is the database's name in `url` right?",
            "53300" => "; lower the source's `connections`, or raise the server's `max_connections`",
            "57P01" | "57P02" | "57P03" => "; it stops or starts, and is asked again at the next run",
            _ => "; look at the server's log",
        };
        format!("`{}` says: {}{advice}", self.login.address, self.said(complaint, None))
    }

    /// The server's own words.
    fn said(&self, complaint: &Complaint, query: Option<&str>) -> String {
        let mut text = complaint.message.clone();
        if let (Some(at), Some(query)) = (complaint.position, query) {
            text += &format!(" at {}", position(query, at.saturating_sub(1)));
        }
        for more in [&complaint.detail, &complaint.hint] {
            if !more.is_empty() {
                text += &format!("; {more}");
            }
        }
        self.clean(&text)
    }

    fn clean(&self, text: &str) -> String {
        one_line(text, &[&self.login.password().unwrap_or_default()])
    }
}

/// Codes (SQLSTATE) that speak of the server, not of the query: connections, logins, databases, too many clients,
/// shutting down, failing disks.
fn is_away(code: &str) -> bool {
    let class = ["08", "28", "3D", "57P", "58"].iter().any(|class| code.starts_with(class));
    // Also what it says when a value for `$1` is missing.
    (class && code != "08P01") || code == "53300"
}

/// What to do about a query that is wrong.
fn advice(code: &str) -> &'static str {
    match code {
        "25006" => "; sources are only read: write a `SELECT`",
        "42501" => "; let the source's user read it (`GRANT SELECT`)",
        _ => "",
    }
}

/// Nobody waits for the answer any more: the server should stop.
struct StopOnDrop(Option<Canceller>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let (Some(canceller), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(timeout(CANCEL_TIMEOUT, canceller.cancel()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, postgres, server_suite, suite};
    use watchbell_core::model::{Cell, Timestamp};

    fn types() -> Vec<(&'static str, Cell)> {
        let text = |text: &str| Cell::Text(text.to_owned());
        let decimal = |text: &str| Cell::Decimal(text.to_owned());
        let civil = |text: &str| Cell::Civil(text.parse().unwrap());
        vec![
            ("true", Cell::Bool(true)),
            ("false", Cell::Bool(false)),
            ("(-32768)::int2", Cell::Integer(-32768)),
            ("1::int4", Cell::Integer(1)),
            ("(-9223372036854775808)::int8", Cell::Integer(i64::MIN)),
            ("4294967295::oid", Cell::Integer(4_294_967_295)),
            ("1.1::float4", Cell::Float(1.1)),
            ("0.1::float8 + 0.2::float8", Cell::Float(0.1 + 0.2)),
            ("'infinity'::float8", Cell::Float(f64::INFINITY)),
            ("123456789012345678901234567890.10::numeric(40, 2)", decimal("123456789012345678901234567890.10")),
            ("'it''s ä'::text", text("it's ä")),
            ("''::varchar(3)", text("")),
            ("'a'::char(3)", text("a  ")),
            ("'a'::\"char\"", text("a")),
            ("'a'::name", text("a")),
            ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            ("'\\x00ff'::bytea", Cell::Bytes(vec![0, 255])),
            ("'2024-02-29'::date", civil("2024-02-29T00:00:00")),
            ("'2024-02-29 23:59:59.123456'::timestamp", civil("2024-02-29T23:59:59.123456")),
            ("'2024-03-01 01:30:00.5+05:30'::timestamptz", Cell::Time(Timestamp::from_micros(1_709_236_800_500_000))),
            ("'1960-01-01 00:00:00+00'::timestamptz", Cell::Time(Timestamp::from_secs(-315_619_200))),
            ("'infinity'::timestamp", text("infinity")),
            ("'{\"a\": [1]}'::json", text("{\"a\": [1]}")),
            ("'{\"a\":1}'::jsonb", text("{\"a\": 1}")),
            ("'{1,2}'::int[]", text("{1,2}")),
            ("'10.0.0.1'::inet", text("10.0.0.1")),
            ("'01:02:03'::time", text("01:02:03")),
            ("null", Cell::Null),
            ("null::int", Cell::Null),
        ]
    }

    fn case(url: String) -> Case {
        Case {
            url,
            password: None,
            from: "",
            types: types(),
            million: "select n, repeat('x', 100) from generate_series(1, 1000000) as t(n)",
            hang: "select pg_sleep(600)",
            wrongs: vec![
                ("select 1\nfrm kept", "syntax error at or near \"kept\" at line 2, column 5"),
                ("select * from nowhere", "relation \"nowhere\" does not exist at line 1, column 15"),
                ("select missing from kept", "column \"missing\" does not exist at line 1, column 8"),
                ("select n from hidden", "permission denied for table hidden; let the source's user read it"),
                ("select 1; select 2", "multiple commands"),
                ("select 1; commit; delete from kept", "multiple commands"),
                ("select $1::int", "requires 1"),
                ("select 1/0", "division by zero"),
                ("select 1/(3-n) from generate_series(1, 9) as t(n)", "division by zero"),
                ("select '\0'", "zero byte"),
                ("", "answers no columns"),
                ("copy kept to stdout", "can't be read"),
            ],
            writes: vec![
                ("insert into kept values (2)", "sources are only read"),
                ("insert into kept values (2) returning n", "sources are only read"),
                ("with gone as (delete from kept returning n) select * from gone", "sources are only read"),
                ("create table other (n int)", "sources are only read"),
                ("commit", "answers no columns"),
            ],
        }
    }

    /// S2.4, S2.10: PostgreSQL is asked: types, limits, errors; nothing is ever written.
    #[tokio::test(flavor = "multi_thread")]
    async fn suite_of_postgres() {
        let Some(server) = postgres() else { return };
        let case = case(server.url(""));
        suite(&case).await;
        server_suite(&case, server).await;
    }
}
