//! Reading the store: the state, the events, the decisions, and why things were as they were. Never writes, and
//! works beside a running agent as well as with none.

use super::{
    StoreError, database,
    local::BUSY_TIMEOUT,
    rows::{DECISION, EVENT, event_bytes, kind_word, lossy, read_decision, read_event, signed, unsigned},
    schema,
};
use regex::Regex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter, types::Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use watchbell_core::{
    engine::State,
    model::{Decision, Event, EventKind, Fault, Name, Severity, Timestamp},
    state::outbox::Queued,
};

/// No query returns more events than this.
pub const EVENTS_MAX: usize = 10_000;
/// No query returns more events than these bytes hold, but for the first.
const EVENTS_BYTES_MAX: usize = 16 << 20;
/// [`Journal::why`] returns no more entries than this: the newest.
pub const WHY_ENTRIES_MAX: usize = 500;
/// How far [`Journal::why`] follows what led to an event.
const CAUSES_MAX: usize = 32;
/// No more rows that can't be read are told of by name.
pub(super) const DAMAGED_MAX: usize = 100;

/// Reads the store of a state folder.
#[derive(Debug)]
pub struct Journal {
    conn: Connection,
    path: PathBuf,
}

/// Which names a query wants.
#[derive(Clone, Debug)]
pub enum NameMatch {
    /// This one.
    Exact(String),
    /// Those that begin with this.
    Prefix(String),
    /// Those in which this is found.
    Regex(Regex),
}

/// Which end of what matches is wanted when there is more than the limit. The answer is oldest first in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cut {
    /// The newest: for a look at what happened.
    #[default]
    Newest,
    /// The oldest: for going on from `after_seq`.
    Oldest,
}

/// Which events are wanted; the default is the newest [`EVENTS_MAX`] of all.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Those that happened then or later.
    pub since: Option<Timestamp>,
    /// Those that happened before.
    pub until: Option<Timestamp>,
    /// Those about these names.
    pub name: Option<NameMatch>,
    /// Those that are at least so bad.
    pub min_severity: Option<Severity>,
    /// Those of this kind.
    pub kind: Option<EventKind>,
    /// Those later in the stream than this.
    pub after_seq: Option<u64>,
    /// Those earlier in the stream than this.
    pub before_seq: Option<u64>,
    /// How many at most; [`EVENTS_MAX`] where there is none.
    pub limit: Option<usize>,
    /// Which of them, if there are more.
    pub cut: Cut,
}

/// What an id turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhyKind {
    /// The name of a fault, check or message.
    Name,
    /// An event's position in the stream.
    Event,
    /// A delivery's key.
    Delivery,
}

/// One line of an answer to "why".
#[derive(Clone, PartialEq, Debug)]
pub enum WhyEntry {
    /// Something happened.
    Event(Box<Event>),
    /// A rule decided something.
    Decision(Box<Decision>),
}

impl WhyEntry {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            WhyEntry::Event(event) => event.at,
            WhyEntry::Decision(decision) => decision.at,
        }
    }
}

/// How something was decided and delivered.
#[derive(Clone, PartialEq, Debug)]
pub struct Why {
    /// What was asked for.
    pub id: String,
    /// What it is.
    pub kind: WhyKind,
    /// What happened and what was decided, in order of time; what was decided about an event follows it.
    pub entries: Vec<WhyEntry>,
    /// There was more than [`WHY_ENTRIES_MAX`]; the oldest are not here.
    pub cut: bool,
    /// The fault as it is now, if it is one and is wrong.
    pub fault: Option<Fault>,
    /// The faults of its parts, and others that it found, if it is a check's name.
    pub parts: Vec<Fault>,
    /// The deliveries about it that are not confirmed yet.
    pub waiting: Vec<Queued>,
}

/// How much there is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Rows of the state by table.
    pub rows: BTreeMap<String, u64>,
    /// Events kept.
    pub events: u64,
    /// Decisions kept.
    pub decisions: u64,
    /// When the oldest event that is kept happened.
    pub oldest_event: Option<Timestamp>,
    /// The position of the newest event.
    pub newest_seq: Option<u64>,
    /// Size of the database and its write-ahead log, in bytes.
    pub bytes: u64,
}

impl Journal {
    /// Opens the store of a state folder for reading.
    ///
    /// # Errors
    /// There is none, another version wrote it, it is damaged, or this user may not read it.
    pub fn open(dir: &Path) -> Result<Journal, StoreError> {
        let path = database(dir);
        let (conn, found) = open(&path)?;
        match found {
            0 => Err(StoreError::NotThere { path }),
            schema::VERSION => Ok(Journal { conn, path }),
            found => {
                schema::refuse_newer(&conn, &path, found, schema::VERSION)?;
                Err(StoreError::OlderSchema { path, found })
            }
        }
    }

    /// The state as it was last committed, and the rows that can't be read.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn state(&self) -> Result<(State, Vec<String>), StoreError> {
        self.at_one_moment(|conn| load(conn, &self.path))
    }

    /// The events that are asked for, oldest first; fewer where they are long.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        self.read(events(&self.conn, query))
    }

    /// One event.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn event(&self, seq: u64) -> Result<Option<Event>, StoreError> {
        self.read(event(&self.conn, seq))
    }

    /// The newest decisions about a name, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn decisions_of(&self, name: &str, limit: usize) -> Result<Vec<Decision>, StoreError> {
        self.read(decisions(&self.conn, "name = ?1", [Value::from(name.to_owned())], limit))
    }

    /// Every decision about a delivery, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn decision_trail(&self, delivery: &str) -> Result<Vec<Decision>, StoreError> {
        self.read(trail(&self.conn, delivery, EVENTS_MAX))
    }

    /// How much there is.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.at_one_moment(|conn| self.read(counts(conn, &self.path)))
    }

    /// How something came about: `id` is an event's position, a delivery's key, or the name of a fault, check or
    /// message. `None` when nothing is known of it.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn why(&self, id: &str) -> Result<Option<Why>, StoreError> {
        self.at_one_moment(|conn| {
            let (state, _) = load(conn, &self.path)?;
            self.read(why(conn, &state, id))
        })
    }

    /// Reads in one transaction: the writer does not stop for readers.
    fn at_one_moment<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let tx = self.conn.unchecked_transaction().map_err(|e| StoreError::sqlite(&self.path, &e))?;
        read(&tx)
    }

    fn read<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|e| StoreError::sqlite(&self.path, &e))
    }

    /// The connection, for copying and checking.
    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }
}

/// Opens a database for reading, whatever its version, and says that.
pub(super) fn open(path: &Path) -> Result<(Connection, u32), StoreError> {
    match fs::metadata(path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NotThere { path: path.to_owned() });
        }
        Err(e) => return Err(StoreError::io(format!("can't read `{}`", path.display()), path, &e)),
    }
    match try_open(path, false) {
        // Beside a database in write-ahead mode SQLite wants to make a file of shared memory. Where it can't,
        // and no log is left that it would have to read, the file itself is all there is.
        Err(StoreError::Denied { .. }) if no_log(path) => try_open(path, true),
        other => other,
    }
}

fn try_open(path: &Path, immutable: bool) -> Result<(Connection, u32), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let uri = format!("file:{}?mode=ro{}", encode(path), if immutable { "&immutable=1" } else { "" });
    let wrong = |e| StoreError::sqlite(path, &e);
    let conn = Connection::open_with_flags(uri, flags).map_err(wrong)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(wrong)?;
    let version = schema::version(&conn, path)?;
    Ok((conn, version))
}

/// Whether no write-ahead log is left beside the database, or an empty one.
fn no_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).map_or(true, |m| m.len() == 0)
}

/// A path as the middle of a URI.
fn encode(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Reads the state, and says which rows can't be read. What counts things is never behind what was counted: an
/// event or delivery must not take the place of another. Beside a writer it wants a transaction around it.
pub(super) fn load(conn: &Connection, path: &Path) -> Result<(State, Vec<String>), StoreError> {
    let wrong = |e| StoreError::sqlite(path, &e);
    let (mut state, mut damaged) = load_rows(conn).map_err(wrong)?;
    let newest: Option<i64> = conn.query_row("SELECT max(seq) FROM event", [], |r| r.get(0)).map_err(wrong)?;
    let newest = newest.map_or(0, unsigned);
    if state.meta.seq < newest {
        damaged.push(format!("the count of events was {} where the journal goes to {newest}", state.meta.seq));
        state.meta.seq = newest;
    }
    let highest: Option<String> = conn
        .query_row("SELECT max(key) FROM row WHERE tab = 'outbox'", [], |r| lossy(r, 0).map(Some))
        .map_err(wrong)?;
    let highest = highest.and_then(|key| key.parse().ok()).unwrap_or(0);
    if state.meta.outbox_id < highest {
        damaged.push(format!("the count of deliveries was {} where one has {highest}", state.meta.outbox_id));
        state.meta.outbox_id = highest;
    }
    Ok((state, damaged))
}

fn load_rows(conn: &Connection) -> rusqlite::Result<(State, Vec<String>)> {
    let mut state = State::default();
    let mut damaged = Vec::new();
    let mut more = 0_u64;
    let mut statement = conn.prepare("SELECT tab, key, value FROM row")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, key, value) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
        let put = match (table.as_str(), key.as_str(), value.as_str()) {
            (Ok(table), Ok(key), Ok(value)) => state.put_row(table, key, value),
            _ => Err(format!("row `{}` of `{}` can't be read: it is not UTF-8", lossy(row, 1)?, lossy(row, 0)?)),
        };
        match put {
            Ok(()) => {}
            Err(why) if damaged.len() < DAMAGED_MAX => damaged.push(why),
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        damaged.push(format!("{more} more rows can't be read"));
    }
    Ok((state, damaged))
}

fn events(conn: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<Event>> {
    let mut terms: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut term = |sql: &str, value: Value| {
        values.push(value);
        terms.push(format!("{sql} ?{}", values.len()));
    };
    if let Some(at) = query.since {
        term("at >=", at.as_micros().into());
    }
    if let Some(at) = query.until {
        term("at <", at.as_micros().into());
    }
    match &query.name {
        Some(NameMatch::Exact(name)) => term("name =", name.clone().into()),
        Some(NameMatch::Prefix(prefix)) => {
            term("name >=", prefix.clone().into());
            // Text is ordered by its bytes: every name with this prefix is before the prefix and the last character.
            term("name <", format!("{prefix}{}", char::MAX).into());
        }
        Some(NameMatch::Regex(_)) | None => {}
    }
    if let Some(severity) = query.min_severity {
        term("severity >=", i64::from(severity.number()).into());
    }
    if let Some(kind) = query.kind {
        term("kind =", kind_word(kind).to_owned().into());
    }
    if let Some(seq) = query.after_seq {
        term("seq >", signed(seq).into());
    }
    if let Some(seq) = query.before_seq {
        term("seq <", signed(seq).into());
    }
    let terms = if terms.is_empty() { "true".to_owned() } else { terms.join(" AND ") };
    let order = if query.cut == Cut::Newest { "DESC" } else { "ASC" };
    let limit = query.limit.unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
    let mut statement = conn.prepare(&format!("SELECT {EVENT} FROM event WHERE {terms} ORDER BY seq {order}"))?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while found.len() < limit {
        let Some(row) = rows.next()? else { break };
        if let Some(NameMatch::Regex(regex)) = &query.name
            && !regex.is_match(&lossy(row, 5)?)
        {
            continue;
        }
        bytes += event_bytes(row)?;
        if bytes > EVENTS_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(read_event(row)?);
    }
    if query.cut == Cut::Newest {
        found.reverse();
    }
    Ok(found)
}

fn event(conn: &Connection, seq: u64) -> rusqlite::Result<Option<Event>> {
    let sql = format!("SELECT {EVENT} FROM event WHERE seq = ?1");
    conn.prepare_cached(&sql)?.query_row([signed(seq)], read_event).optional()
}

/// The newest decisions that meet `terms`, oldest first.
fn decisions<const N: usize>(
    conn: &Connection,
    terms: &str,
    values: [Value; N],
    limit: usize,
) -> rusqlite::Result<Vec<Decision>> {
    let limit = limit.min(EVENTS_MAX);
    let sql = format!("SELECT {DECISION} FROM decision WHERE {terms} ORDER BY id DESC LIMIT {limit}");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut found = statement.query_map(params_from_iter(values), read_decision)?.collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}

fn trail(conn: &Connection, delivery: &str, limit: usize) -> rusqlite::Result<Vec<Decision>> {
    decisions(conn, "delivery = ?1", [Value::from(delivery.to_owned())], limit)
}

pub(super) fn counts(conn: &Connection, path: &Path) -> rusqlite::Result<Counts> {
    let mut rows = BTreeMap::new();
    let mut statement = conn.prepare("SELECT tab, count(*) FROM row GROUP BY tab")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        rows.insert(lossy(row, 0)?, unsigned(row.get(1)?));
    }
    let count = |table: &str| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0).map(unsigned));
    let ends = |r: &rusqlite::Row<'_>| Ok((r.get::<_, Option<i64>>(0)?, r.get::<_, Option<i64>>(1)?));
    let ends = conn.query_row("SELECT (SELECT at FROM event ORDER BY seq LIMIT 1), max(seq) FROM event", [], ends)?;
    Ok(Counts {
        rows,
        events: count("event")?,
        decisions: count("decision")?,
        oldest_event: ends.0.map(Timestamp::from_micros),
        newest_seq: ends.1.map(unsigned),
        bytes: bytes(path),
    })
}

/// Size of a database and its write-ahead log.
pub(super) fn bytes(path: &Path) -> u64 {
    let size = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(name).map_or(0, |m| m.len())
    };
    size("") + size("-wal")
}

/// What an answer to "why" is gathered in: everything once, in order of time.
#[derive(Default)]
struct Gathered {
    events: BTreeMap<u64, Event>,
    /// Decisions have no id that leaves the store: the same one read twice is equal.
    decisions: Vec<Decision>,
}

impl Gathered {
    /// Adds an event, if it is still kept, and what led to it.
    fn event(&mut self, conn: &Connection, seq: u64) -> rusqlite::Result<()> {
        let mut next = Some(seq);
        for _ in 0..CAUSES_MAX {
            let Some(seq) = next.filter(|seq| !self.events.contains_key(seq)) else { break };
            let Some(event) = event(conn, seq)? else { break };
            next = event.caused_by;
            self.events.insert(seq, event);
        }
        Ok(())
    }

    /// Adds every decision about a delivery, and the events that led to it.
    fn delivery(&mut self, conn: &Connection, key: &str) -> rusqlite::Result<()> {
        for decision in trail(conn, key, WHY_ENTRIES_MAX)? {
            if let Some(seq) = decision.event {
                self.event(conn, seq)?;
            }
            self.decision(decision);
        }
        Ok(())
    }

    fn decision(&mut self, decision: Decision) {
        if !self.decisions.contains(&decision) {
            self.decisions.push(decision);
        }
    }

    /// All of it in order of time, and whether it was cut. Of one time, events come first; else the order of the
    /// stream holds.
    fn entries(self) -> (Vec<WhyEntry>, bool) {
        let events = self.events.into_values().map(|e| WhyEntry::Event(Box::new(e)));
        let decisions = self.decisions.into_iter().map(|d| WhyEntry::Decision(Box::new(d)));
        let mut entries: Vec<_> = events.chain(decisions).collect();
        entries.sort_by_key(WhyEntry::at);
        let over = entries.len().saturating_sub(WHY_ENTRIES_MAX);
        entries.drain(..over);
        (entries, over > 0)
    }
}

fn why(conn: &Connection, state: &State, id: &str) -> rusqlite::Result<Option<Why>> {
    let mut all = Gathered::default();
    let waiting = |wanted: &dyn Fn(&Queued) -> bool| -> Vec<Queued> {
        state.outbox.values().filter(|q| wanted(q)).cloned().collect()
    };
    let (kind, name, waiting) = if let Some(event) = id.parse().ok().map(|seq| event(conn, seq)).transpose()?.flatten()
    {
        about_event(conn, &event, &mut all)?;
        let seq = event.seq;
        (WhyKind::Event, event.name, waiting(&|q| q.delivery.event.seq == seq))
    } else if let Some(name) = about_delivery(conn, state, id, &mut all)? {
        (WhyKind::Delivery, name, waiting(&|q| q.delivery.key == id))
    } else {
        about_name(conn, id, &mut all)?;
        let of_part = |name: &str| name.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
        (WhyKind::Name, Name::new(id), waiting(&|q| of_part(&q.delivery.event.name)))
    };
    let own = |fault: &&Fault| kind == WhyKind::Name && fault.check == name && fault.name != name;
    let parts: Vec<Fault> = state.faults.values().filter(own).cloned().collect();
    let fault = state.faults.get(&name).cloned();
    let (entries, cut) = all.entries();
    if entries.is_empty() && fault.is_none() && parts.is_empty() && waiting.is_empty() {
        return Ok(None);
    }
    Ok(Some(Why { id: id.to_owned(), kind, entries, cut, fault, parts, waiting }))
}

/// An event, what led to it, what was decided about it, and what became of the deliveries.
fn about_event(conn: &Connection, event: &Event, all: &mut Gathered) -> rusqlite::Result<()> {
    all.event(conn, event.seq)?;
    let values = [Value::from(event.name.to_string()), signed(event.seq).into()];
    let decided = decisions(conn, "name = ?1 AND event = ?2", values, WHY_ENTRIES_MAX)?;
    let keys: BTreeSet<String> = decided.iter().filter_map(|d| d.delivery.clone()).collect();
    decided.into_iter().for_each(|d| all.decision(d));
    keys.iter().try_for_each(|key| all.delivery(conn, key))
}

/// A delivery, if there is one with this key: its trail, and what else was decided about the events that led to
/// it. Says whose it is.
fn about_delivery(conn: &Connection, state: &State, key: &str, all: &mut Gathered) -> rusqlite::Result<Option<Name>> {
    all.delivery(conn, key)?;
    let queued = state.outbox.values().find(|q| q.delivery.key == key);
    if let Some(queued) = queued {
        all.event(conn, queued.delivery.event.seq)?;
    }
    let Some(name) = all.decisions.first().map(|d| &d.name).or(queued.map(|q| &q.delivery.event.name)).cloned() else {
        return Ok(None);
    };
    for seq in all.decisions.iter().filter_map(|d| d.event).collect::<BTreeSet<_>>() {
        let values = [Value::from(name.to_string()), signed(seq).into()];
        let held = decisions(conn, "name = ?1 AND event = ?2 AND delivery IS NULL", values, WHY_ENTRIES_MAX)?;
        held.into_iter().for_each(|d| all.decision(d));
    }
    Ok(Some(name))
}

/// The newest of what happened to a name and to its parts (`NAME#PART`), what led to it, and what was decided about it.
fn about_name(conn: &Connection, name: &str, all: &mut Gathered) -> rusqlite::Result<()> {
    // One more than is shown, so that a cut is noticed.
    let limit = WHY_ENTRIES_MAX + 1;
    let part = format!("{name}#");
    let mut causes = BTreeSet::new();
    for wanted in [NameMatch::Exact(name.to_owned()), NameMatch::Prefix(part.clone())] {
        let found = events(conn, &EventQuery { name: Some(wanted), limit: Some(limit), ..EventQuery::default() })?;
        causes.extend(found.iter().filter_map(|event| event.caused_by));
        all.events.extend(found.into_iter().map(|event| (event.seq, event)));
    }
    all.decisions = decisions(conn, "name = ?1", [Value::from(name.to_owned())], limit)?;
    // As with the events: every name with this prefix is before the prefix and the last character.
    let end = Value::from(format!("{part}{}", char::MAX));
    all.decisions.extend(decisions(conn, "name >= ?1 AND name < ?2", [part.into(), end], limit)?);
    causes.extend(all.decisions.iter().filter_map(|decision| decision.event));
    causes.into_iter().try_for_each(|seq| all.event(conn, seq))
}
