//! `sqlite:PATH`: a database file of SQLite.
//!
//! It is opened for each question, read-only, so that a file that was replaced is seen and nothing is held between two.
//! SQLite waits and computes on the thread that asks, so it has one of its own; a question that is given up on is
//! interrupted there.

use super::{
    Ask, Opened, Place, Trouble,
    sql::{Gather, one_line, position, slow, working_time},
};
use crate::shared::{BoxFuture, net::plain, secret};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, config::DbConfig, types::ValueRef};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{SourcePlace, SourcePolicy},
    model::{Answer, Cell},
};

/// One paragraph for the reference.
pub const DOC: &str = "A database file of SQLite, given by its absolute path (`sqlite:/PATH` or `sqlite:///PATH`). It is \
                       opened read-only for each question. Values have the types that SQLite stores; times are \
                       numbers or text there.";

/// So many of SQLite's steps are done between two looks at the clock; some 10 µs.
const STEPS_PER_LOOK: i32 = 1_000;

/// A file.
#[derive(Debug)]
struct File {
    path: PathBuf,
}

/// Reads the address.
///
/// # Errors
/// That it has no absolute path.
pub fn open(policy: &Arc<SourcePolicy>) -> Opened {
    let SourcePlace::Url { url, .. } = &policy.place else { return Err("`url` is missing".to_owned()) };
    let path = path_of(&secret::read(url)?)?;
    Ok(Box::new(File { path }))
}

fn path_of(url: &str) -> Result<PathBuf, String> {
    let rest = url.split_once(':').map_or(url, |(_, rest)| rest);
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(format!("`{path}` is no absolute path: write it as `sqlite:/var/lib/app/app.db`"))
}

impl Place for File {
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move {
            let stop = Arc::new(AtomicBool::new(false));
            let work = Work {
                path: self.path.clone(),
                query: ask.query.to_owned(),
                rows_max: ask.rows_max,
                timeout: ask.timeout,
                deadline: Instant::now() + working_time(ask.timeout),
                stop: stop.clone(),
            };
            let _given_up = StopOnDrop(stop);
            let answer = tokio::task::spawn_blocking(move || work.run()).await;
            answer.unwrap_or_else(|e| Err(Trouble::Wrong(format!("the query could not be run: {e}"))))
        })
    }

    fn preflight(&self) -> Vec<String> {
        look(&self.path).err().into_iter().collect()
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
    path: PathBuf,
    query: String,
    rows_max: usize,
    timeout: Duration,
    deadline: Instant,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(&self) -> Result<Answer, Trouble> {
        look(&self.path).map_err(Trouble::Away)?;
        let mut connection = self.connect().map_err(|e| self.trouble(&e))?;
        let (deadline, stop) = (self.deadline, self.stop.clone());
        let enough = move || Instant::now() >= deadline || stop.load(Ordering::Relaxed);
        connection.progress_handler(STEPS_PER_LOOK, Some(enough)).map_err(|e| self.trouble(&e))?;
        self.rows(&connection)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.deadline.saturating_duration_since(Instant::now()))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn rows(&self, connection: &Connection) -> Result<Answer, Trouble> {
        let failed = |e: Error| self.trouble(&e);
        let mut statement = connection.prepare(&self.query).map_err(failed)?;
        if !statement.readonly() {
            return Err(Trouble::Wrong("the query writes, and sources are only read: write a `SELECT`".to_owned()));
        }
        if statement.column_count() == 0 {
            return Err(Trouble::Wrong("the query answers no columns: write a `SELECT`".to_owned()));
        }
        let columns = statement.column_names().map(str::to_owned).collect::<Vec<_>>();
        let width = columns.len();
        let mut answer = Gather::new(columns, self.rows_max);
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(failed)? {
            let cells = (0..width).map(|i| row.get_ref(i).map(cell)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
            if !answer.take(cells)? {
                break;
            }
        }
        Ok(answer.finish())
    }

    fn trouble(&self, error: &Error) -> Trouble {
        let shown = self.path.display();
        let (code, text) = match error {
            Error::SqliteFailure(e, text) => (e.code, text.clone().unwrap_or_else(|| e.to_string())),
            Error::SqlInputError { error, msg, offset, sql } => {
                // SQLite counts bytes, and says -1 where it does not know.
                let before = usize::try_from(*offset).ok().and_then(|offset| sql.get(..offset));
                let place = before.map(|before| format!(" at {}", position(sql, before.chars().count())));
                (error.code, format!("{msg}{}", place.unwrap_or_default()))
            }
            Error::MultipleStatement => {
                return Trouble::Wrong("the query is more than one statement: write one".to_owned());
            }
            other => return Trouble::Wrong(one_line(&other.to_string(), &[])),
        };
        let text = one_line(&text, &[]);
        match code {
            ErrorCode::OperationInterrupted => slow(self.timeout),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Trouble::Slow(format!(
                "`{shown}` was locked all the time: {text}; does a program keep a transaction open? In WAL mode readers \
                 do not wait for writers"
            )),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                Trouble::Away(format!("can't open `{shown}`: {text}; may the agent's user read it and its folder?"))
            }
            ErrorCode::NotADatabase => Trouble::Away(format!("`{shown}` is no SQLite database: {text}")),
            ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure => Trouble::Away(format!(
                "can't read `{shown}`: {text}; check it with `sqlite3 {shown} 'PRAGMA integrity_check'`"
            )),
            ErrorCode::ReadOnly => Trouble::Wrong(format!("the query writes, and sources are only read: {text}")),
            _ => Trouble::Wrong(text),
        }
    }
}

/// SQLite would wait at a pipe, and says little of a file that is missing.
fn look(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() => Ok(()),
        Ok(_) => Err(format!("`{shown}` is no file: name the database's own file")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("there is no file `{shown}`: is the path right, and is its disk mounted?"))
        }
        Err(e) => Err(format!("can't open `{shown}`: {}; may the agent's user read it and its folder?", plain(&e))),
    }
}

/// A value; text that is no UTF-8 is shown with replacement characters.
fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Float(number),
        ValueRef::Text(bytes) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, ask, policy, source, suite, wrong};
    use super::*;
    use crate::source::testing::scratch;

    fn database(name: &str) -> (PathBuf, String) {
        let dir = scratch(name);
        let path = dir.join("app's data.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("create table kept (n integer); insert into kept values (1)").unwrap();
        (dir, format!("sqlite:{}", path.display()))
    }

    fn case(url: &str) -> Case {
        let text = |text: &str| Cell::Text(text.to_owned());
        Case {
            url: url.to_owned(),
            password: None,
            from: "",
            types: vec![
                ("1", Cell::Integer(1)),
                ("-9223372036854775808", Cell::Integer(i64::MIN)),
                ("1.5", Cell::Float(1.5)),
                ("'it''s ä'", text("it's ä")),
                ("cast(x'ff61' as text)", text("\u{fffd}a")),
                ("''", text("")),
                ("x'00ff'", Cell::Bytes(vec![0, 255])),
                ("true", Cell::Integer(1)),
                ("datetime(0, 'unixepoch')", text("1970-01-01 00:00:00")),
                ("null", Cell::Null),
            ],
            million: "with recursive t(n) as (select 1 union all select n + 1 from t where n < 1000000) \
                      select n, hex(zeroblob(50)) from t",
            hang: "with recursive t(n) as (select 1 union all select n + 1 from t) select max(n) from t",
            wrongs: vec![
                ("select 1\nfrm kept", "near \"kept\": syntax error at line 2, column 5"),
                ("select * from nowhere", "no such table: nowhere"),
                ("select missing from kept", "no such column: missing at line 1, column 8"),
                ("select 1; select 2", "more than one statement"),
                ("", "answers no columns"),
                ("attach 'x.db' as other", "answers no columns"),
            ],
            writes: vec![
                ("insert into kept values (2)", "sources are only read"),
                ("insert into kept values (2) returning n", "sources are only read"),
                ("delete from kept", "sources are only read"),
                ("drop table kept", "sources are only read"),
                ("vacuum", "sources are only read"),
            ],
        }
    }

    /// S2.4: SQLite is asked: types, limits, errors; nothing is ever written.
    #[tokio::test]
    async fn suite_of_sqlite() {
        let (dir, url) = database("sqlite-suite");
        suite(&case(&url)).await;
        let writes = Connection::open(dir.join("app's data.db")).unwrap();
        writes.execute_batch("insert into kept values (2)").unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// S2.4: a file that is missing, is none, or is no database is the source's fault, not the query's.
    #[tokio::test]
    async fn files_that_can_not_be_asked() {
        let dir = scratch("sqlite-away");
        std::fs::write(dir.join("text.db"), "no database, but long enough to be looked at as one".repeat(20)).unwrap();
        for (path, part) in [("gone.db", "there is no file"), ("", "is no file"), ("text.db", "is no SQLite database")]
        {
            let url = format!("sqlite://{}/{path}", dir.display());
            let trouble = ask(&source(policy(&url, None)), "select 1 from sqlite_schema").await.unwrap_err();
            assert!(matches!(&trouble, Trouble::Away(text) if text.contains(part)), "{path}: {trouble:?}");
            let preflight = source(policy(&url, None)).preflight();
            assert_eq!(preflight.len(), usize::from(path != "text.db"), "{path}: {preflight:?}");
        }
        std::fs::remove_dir_all(dir).unwrap();
        assert_eq!(path_of("sqlite:///a/b c.db"), Ok("/a/b c.db".into()));
        assert_eq!(path_of("sqlite:/a.db"), Ok("/a.db".into()));
        assert!(path_of("sqlite:a.db").unwrap_err().contains("`a.db` is no absolute path"));
    }

    /// S2.10: a writer that holds the file costs a query its time limit, and no more.
    #[tokio::test]
    async fn a_locked_file_is_waited_for_within_the_limit() {
        let (dir, url) = database("sqlite-locked");
        let path = dir.join("app's data.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("begin exclusive").unwrap();
        let source = source(policy(&url, None));
        let trouble =
            super::super::testing::ask_within(&source, "select n from kept", 10, Duration::from_millis(300)).await;
        assert!(matches!(&trouble, Err(Trouble::Slow(text)) if text.contains("was locked")), "{trouble:?}");
        writer.execute_batch("commit").unwrap();
        assert_eq!(ask(&source, "select n from kept").await.unwrap().rows, [[Cell::Integer(1)]]);
        assert!(wrong(&source, "select").await.contains("incomplete input"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
