//! The store as a whole, on real files.

use super::{
    CheckReport, Cut, EventQuery, Journal, NameMatch, Opened, ROWS_FILE, Store, StoreError, StoreOptions, WhyEntry,
    WhyKind, backup, check, check_until, database, holder, schema,
    seen::SeenRows,
    testing::{Dice, TempDir, at, decision, event, fault, mutate, open, options, queued},
};
use rusqlite::Connection;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use watchbell_core::{
    engine::{Commit, Meta, Row, RowKey, State},
    model::{Event, EventKind, Name, Severity, Timestamp, Verdict},
};

/// Everything in the tables, as text: two stores with the same content are equal.
fn dump(path: &Path) -> String {
    let conn = Connection::open(path).unwrap();
    let tables = ["row ORDER BY tab, key", "event ORDER BY seq", "decision ORDER BY id"];
    let mut out = String::new();
    for table in tables {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let line: Vec<_> = (0..columns).map(|c| format!("{:?}", row.get_ref(c).unwrap())).collect();
            out += &format!("{}\n", line.join("|"));
        }
    }
    out
}

fn row(key: &str, value: Option<String>) -> Row {
    Row { table: "check", key: key.into(), value }
}

/// Writes events and decisions, one commit each.
fn fill(store: &mut Store, commits: impl IntoIterator<Item = Commit>) {
    commits.into_iter().for_each(|c| store.commit(&c).unwrap());
}

/// S3.7: the state is read back at start: after any commits, with restarts between them, what is loaded is what
/// was committed, and so is what a reader beside the agent sees.
#[test]
fn what_was_committed_is_read_back() {
    for seed in 1..=8_u64 {
        let dir = TempDir::new("round");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut state = State::default();
        let (mut events, mut decisions) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let Opened { mut store, state: loaded, damaged, .. } = open(dir.path());
            assert_eq!((loaded, damaged), (state.clone(), vec![]), "seed {seed}");
            for _ in 0..10 {
                let commit = mutate(&mut state, &mut dice);
                store.commit(&commit).unwrap();
                events.extend(commit.events);
                decisions.extend(commit.decisions);
            }
            let journal = Journal::open(dir.path()).unwrap();
            assert_eq!(journal.state().unwrap(), (state.clone(), vec![]), "seed {seed}");
            assert_eq!(journal.events(&EventQuery::default()).unwrap(), events, "seed {seed}");
            assert_eq!(journal.decisions_of("//h/f/c", 10_000).unwrap(), decisions, "seed {seed}");
        }
        assert!(check(&database(dir.path())).unwrap().is_fine());
    }
}

/// A commit that fails in its middle leaves nothing, and the same one given again (once or more) leaves what one
/// leaves.
#[test]
fn a_failed_commit_can_be_given_again() {
    let (dir, other) = (TempDir::new("retry"), TempDir::new("retry"));
    let (mut store, mut plain) = (open(dir.path()).store, open(other.path()).store);
    let (mut state, mut dice) = (State::default(), Dice(99));
    for n in 0..20 {
        let commit = mutate(&mut state, &mut dice);
        plain.commit(&commit).unwrap();
        let before = dump(store.path());
        let broken = ["row", "event", "decision"][n % 3];
        let trigger = format!(
            "CREATE TEMP TRIGGER broken BEFORE INSERT ON main.{broken} BEGIN SELECT RAISE(ABORT, 'injected'); END"
        );
        store.raw().execute_batch(&trigger).unwrap();
        for _ in 0..2 {
            let error = store.commit(&commit).unwrap_err();
            assert!(error.to_string().contains("injected") && error.may_pass(), "{error}");
            assert_eq!(dump(store.path()), before);
        }
        store.raw().execute_batch("DROP TRIGGER broken").unwrap();
        for _ in 0..=n % 3 {
            store.commit(&commit).unwrap();
        }
    }
    assert_eq!(dump(store.path()), dump(plain.path()));
}

const CHILD: &str = "WATCHBELL_STORE_TEST_CHILD";

/// The other side of [`a_kill_loses_nothing_that_was_acknowledged`]; alone it does nothing.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let Opened { mut store, mut state, .. } = open(Path::new(&dir));
    let mut out = std::io::stdout().lock();
    loop {
        state.meta.seq += 1;
        let n = state.meta.seq;
        let name = format!("//h/f/c{}", n % 50);
        let commit = Commit {
            rows: vec![
                state.row(&RowKey::Meta),
                Row {
                    table: "past",
                    key: name.clone(),
                    value: Some(format!(r#"{{"episode":{n},"cleared":"{}"}}"#, at(1))),
                },
            ],
            events: vec![event(n, n as i64, &name)],
            decisions: vec![decision(n as i64, &name, Verdict::Tell, None, Some(n))],
        };
        store.commit(&commit).unwrap();
        store.tend(at(n as i64 * 20)).unwrap();
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Killed at random times, what is left is the commits up to one, all of each, and no fewer than were acknowledged.
#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = TempDir::new("kill");
    let mut dice = Dice(0x005e_ed0f_c4a5);
    let mut acknowledged = 0_u64;
    for round in 0..30 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_commits_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let enough = dice.below(40);
        // Some die while they open the store.
        let early = round % 5 == 0;
        if early {
            std::thread::sleep(Duration::from_micros(dice.below(15_000)));
            child.kill().unwrap();
        }
        let mut seen = 0;
        for line in lines.lines().map_while(Result::ok) {
            let Some(n) = line.split("acknowledged ").nth(1).and_then(|n| n.parse().ok()) else { continue };
            acknowledged = n;
            seen += 1;
            if seen == enough + 1 && !early {
                // Anywhere in the commits that follow: those acknowledged until it is dead are read as well.
                std::thread::sleep(Duration::from_micros(dice.below(5_000)));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(early || seen > enough, "round {round}: the child ended by itself after {seen} commits");
        let Opened { state, damaged, .. } = open(dir.path());
        let last = state.meta.seq;
        assert_eq!(damaged, Vec::<String>::new(), "round {round}");
        assert!(last >= acknowledged, "round {round}: {acknowledged} was acknowledged, {last} is there");
        let journal = Journal::open(dir.path()).unwrap();
        let counts = journal.counts().unwrap();
        let newest = (last > 0).then_some(last);
        assert_eq!((counts.events, counts.decisions, counts.newest_seq), (last, last, newest), "round {round}");
        for (name, past) in &state.past {
            let i: u64 = name.rsplit('c').next().unwrap().parse().unwrap();
            let newest = (last.saturating_sub(49)..=last).find(|n| n % 50 == i).unwrap();
            assert_eq!(past.episode, newest, "round {round}: {name}");
        }
        assert_eq!(state.past.len() as u64, last.min(50));
    }
}

/// A second agent is told who has the folder; when the first ends, however, it may have it.
#[test]
fn one_agent_per_folder() {
    let dir = TempDir::new("lock");
    assert_eq!(holder(dir.path()), None);
    let first = open(dir.path()).store;
    let error = Store::open(dir.path(), &options()).unwrap_err();
    let pid = std::process::id();
    let path = dir.path().display();
    assert_eq!(
        error.to_string(),
        format!("process {pid} (since 1970-01-01T00:16:40Z) is using the state folder `{path}`")
    );
    assert_eq!(
        error.hint(),
        format!(
            "stop it (`kill {pid}`), or give this agent a folder of its own: `state` in `[agent]` of `watchbell.toml`"
        )
    );
    assert_eq!(holder(dir.path()).unwrap().pid, Some(pid));
    drop(first);
    assert_eq!(holder(dir.path()), None);
    open(dir.path());
}

/// The lock is waited for as long as it was asked.
#[test]
fn a_command_that_holds_the_folder_for_a_moment_is_waited_for() {
    let dir = TempDir::new("wait");
    let first = open(dir.path()).store;
    let waiter = std::thread::spawn({
        let (dir, options) = (dir.path().to_owned(), StoreOptions { lock_tries: 500, ..options() });
        move || Store::open(&dir, &options).map(|o| o.damaged)
    });
    std::thread::sleep(Duration::from_millis(60));
    drop(first);
    assert_eq!(waiter.join().unwrap(), Ok(vec![]));
}

/// Files that are replaced under a running agent are noticed.
#[test]
fn files_that_are_replaced_are_noticed() {
    for file in ["state.db", "state.db-wal", "state.db-shm", "lock"] {
        for replaced in [false, true] {
            let dir = TempDir::new("moved");
            let mut store = open(dir.path()).store;
            let mut state = State::default();
            let mut dice = Dice(9);
            fill(&mut store, [mutate(&mut state, &mut dice)]);
            let path = dir.path().join(file);
            fs::rename(&path, dir.path().join("aside")).unwrap();
            if replaced {
                fs::write(&path, "").unwrap();
            }
            let commit = mutate(&mut state, &mut dice);
            // What only looks says it too.
            for commit in [&Commit::default(), &commit, &commit] {
                let error = store.commit(commit).unwrap_err();
                assert_eq!(error, StoreError::Moved { path: path.clone() });
                assert!(error.may_pass(), "the same file may come back");
            }
            fs::rename(dir.path().join("aside"), &path).unwrap();
            assert_eq!((store.commit(&Commit::default()), store.commit(&commit)), (Ok(()), Ok(())));
            drop(store);
            assert_eq!(open(dir.path()).state, state, "{file}");
        }
    }
}

/// A database that is gone or empty where an agent ran before is said, once; a first start says nothing.
#[test]
fn a_lost_database_is_said() {
    let known = || Commit {
        rows: vec![
            State { meta: Meta { agent_id: "a".into(), ..Meta::default() }, ..State::default() }.row(&RowKey::Meta),
        ],
        ..Commit::default()
    };
    // What is in the folder, how the database ended, and whether that is said.
    let gone = |path: &Path| fs::remove_file(path).unwrap();
    let emptied = |path: &Path| fs::write(path, "").unwrap();
    let rows_gone = |path: &Path| {
        Connection::open(path).unwrap().execute_batch("DELETE FROM row").unwrap();
    };
    let kept = |_: &Path| {};
    type End<'a> = &'a dyn Fn(&Path);
    let table: [(&str, End<'_>, bool); 8] = [
        ("logs", &gone, true),
        ("rows.db", &gone, true),
        ("ballast", &emptied, true),
        ("state.db.before-v2", &emptied, true),
        ("logs", &rows_gone, true),
        ("logs", &kept, false),
        ("queue", &kept, false),
        ("queue", &gone, true),
    ];
    for (n, (left, end, said)) in table.into_iter().enumerate() {
        let dir = TempDir::new("lost");
        let opened = open(dir.path());
        assert!(!opened.lost, "{n}: a first start");
        let mut store = opened.store;
        store.commit(&known()).unwrap();
        drop(store);
        fs::write(dir.path().join(left), "").unwrap();
        end(&database(dir.path()));
        let mut opened = open(dir.path());
        assert_eq!(opened.lost, said, "{n}: {left}");
        opened.store.commit(&known()).unwrap();
        drop(opened);
        assert!(!open(dir.path()).lost, "{n}: once");
    }
    // What `send` and `exec` leave before the first start, and a start that was ended at once; then a command.
    let dir = TempDir::new("first");
    fs::create_dir(dir.path().join("queue")).unwrap();
    ["lock", "state.db"].into_iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
    assert!(!open(dir.path()).lost);
    assert!(!open(dir.path()).lost, "nothing was known yet");
}

/// What the disk does is not what the database is.
#[test]
fn an_error_of_the_disk_is_no_damage() {
    use rusqlite::ffi;
    let path = Path::new("state.db");
    let table = [
        (ffi::SQLITE_CORRUPT, true),
        (ffi::SQLITE_CORRUPT_INDEX, true),
        (ffi::SQLITE_NOTADB, true),
        (ffi::SQLITE_IOERR, false),
        (ffi::SQLITE_IOERR_READ, false),
        (ffi::SQLITE_IOERR_FSYNC, false),
        (ffi::SQLITE_IOERR_CORRUPTFS, false),
        (ffi::SQLITE_BUSY, false),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_CANTOPEN, false),
    ];
    for (code, damaged) in table {
        let error = StoreError::sqlite(path, &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert_eq!((error.clone().damage().is_ok(), !error.may_pass()), (damaged, damaged), "{error:?}");
        assert_eq!(
            error.to_string().contains("damaged") || error.hint().contains("backup in its place"),
            damaged,
            "{error}"
        );
    }
}

/// A look at a database ends when it should.
#[test]
fn a_look_can_be_ended() {
    let dir = TempDir::new("look");
    let mut store = open(dir.path()).store;
    fill(&mut store, [Commit { events: (1..5_000).map(|n| event(n, 1, "x")).collect(), ..Commit::default() }]);
    let path = database(dir.path());
    for (ended, want) in [(false, false), (true, true)] {
        let report = check_until(&path, &Arc::new(ended.into())).unwrap();
        assert_eq!(report.integrity.iter().any(|line| line.contains("interrupted")), want, "{:?}", report.integrity);
    }
}

/// The folder and the files are for the agent's user and group only.
#[test]
fn others_may_not_read() {
    let dir = TempDir::new("mode");
    let state = dir.path().join("a/b");
    let mut store = open(&state).store;
    store.commit(&Commit { rows: vec![row("//h/f/c", Some("{}".into()))], ..Commit::default() }).unwrap();
    for path in ["", "lock", "state.db", "state.db-wal", "state.db-shm", "ballast"] {
        let mode = fs::metadata(state.join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{path}: {mode:o}");
    }
}

/// A database of a newer program is refused with what it needs, by writer and reader, and is not touched.
#[test]
fn a_newer_schema_is_refused() {
    let dir = TempDir::new("newer");
    drop(open(dir.path()));
    let known = schema::VERSION;
    let conn = Connection::open(database(dir.path())).unwrap();
    conn.pragma_update(None, "user_version", known + 2).unwrap();
    conn.execute("INSERT INTO migration VALUES (?1, 'watchbell 9.8.7', 0)", [known + 2]).unwrap();
    drop(conn);
    let before = fs::read(database(dir.path())).unwrap();
    let errors = [
        Store::open(dir.path(), &options()).unwrap_err(),
        Journal::open(dir.path()).unwrap_err(),
        check(&database(dir.path())).unwrap_err(),
    ];
    for error in errors {
        let StoreError::NewerSchema { found, needs, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found, needs.as_str()), (known + 2, "watchbell 9.8.7"));
        assert!(error.hint().starts_with("install watchbell 9.8.7 or a newer one"), "{}", error.hint());
        assert!(error.hint().contains(&format!("state.db.before-v{}", known + 1)), "{}", error.hint());
    }
    assert_eq!(fs::read(database(dir.path())).unwrap(), before);
}

/// What version 1 wrote, as it stands on disks: the tables must never be read differently.
const VERSION_1: &str = r#"
    CREATE TABLE migration (version INTEGER PRIMARY KEY, program TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
    CREATE TABLE row (
        tab TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (tab, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
        severity INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_at ON event (at);
    CREATE INDEX event_name ON event (name);
    CREATE TABLE decision (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, name TEXT NOT NULL, episode INTEGER NOT NULL,
        notifier TEXT, rule TEXT NOT NULL, verdict TEXT NOT NULL, text TEXT NOT NULL, delivery TEXT, event INTEGER
    ) STRICT;
    CREATE INDEX decision_name ON decision (name);
    CREATE INDEX decision_delivery ON decision (delivery) WHERE delivery IS NOT NULL;
    INSERT INTO migration VALUES (1, 'watchbell 0.1.0', 0);
    INSERT INTO row VALUES ('meta', 'meta', '{"agent_id":"a1","seq":1,"outbox_id":0}');
    INSERT INTO row VALUES ('past', '//h/f/c', '{"episode":2,"cleared":"2026-01-02T03:04:05Z"}');
    INSERT INTO event VALUES (1, 1000000, 'message', 'info', 30, '//h/send/x', 'k', '{"seq":1,"at":"1970-01-01T00:00:01Z","received_at":"1970-01-01T00:00:01Z","kind":"message","state":"info","severity":"warning","source":"send","name":"//h/send/x","key":"k","host":"h","service":"x","text":"hello"}');
    INSERT INTO decision VALUES (1, 1000000, '//h/send/x', 0, 'ops', 'told', 'tell', 'message: sent', 'k1', 1);
    PRAGMA application_id = 0x57626c6c;
    PRAGMA user_version = 1;
"#;

/// A database of version 1 is brought to the newest version with all that is in it, after a copy was made; a
/// migration that fails leaves it as it was.
#[test]
fn version_1_is_migrated_after_a_copy() {
    let dir = TempDir::new("migrate");
    let path = database(dir.path());
    let mut conn = Connection::open(&path).unwrap();
    conn.execute_batch(VERSION_1).unwrap();
    let before = dump(&path);

    let broken = [schema::MIGRATIONS, &["ALTER TABLE row ADD COLUMN x; SELECT nonsense"]].concat();
    let next = broken.len() as u32;
    assert!(schema::migrate(&mut conn, &path, &broken, at(5)).is_err());
    assert_eq!((schema::version(&conn, &path).unwrap(), dump(&path)), (schema::VERSION, before.clone()));

    let good = [schema::MIGRATIONS, &["ALTER TABLE event ADD COLUMN extra TEXT"]].concat();
    schema::migrate(&mut conn, &path, &good, at(5)).unwrap();
    assert_eq!(schema::version(&conn, &path).unwrap(), next);
    let copy = schema::before(&path, next);
    assert_eq!(copy.file_name().unwrap().to_str(), Some("state.db.before-v2"));
    assert_eq!(dump(&copy), before);
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o640);
    drop(conn);

    // The older program goes back to the copy.
    fs::rename(&copy, &path).unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.damaged, Vec::<String>::new());
    assert_eq!((&*opened.state.meta.agent_id, opened.state.past[&Name::new("//h/f/c")].episode), ("a1", 2));
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.event(1).unwrap().unwrap().text, "hello");
    assert_eq!(journal.decision_trail("k1").unwrap()[0].text, "message: sent");
}

/// A commit that finds the disk full frees the ballast and succeeds; when that does not help either it fails,
/// has changed nothing, and succeeds unchanged once there is room.
#[test]
fn a_full_database_frees_the_ballast() {
    let dir = TempDir::new("full");
    let mut store = open(dir.path()).store;
    assert_eq!((store.disk_trouble(), dir.path().join("ballast").exists()), (None, true));
    let pages: i64 = store.raw().pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    store.raw().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    let before = dump(store.path());
    let commit = Commit { rows: vec![row("big", Some("x".repeat(100_000)))], ..Commit::default() };
    let error = store.commit(&commit).unwrap_err();
    assert_eq!(error, StoreError::DiskFull { path: database(dir.path()) });
    assert!(error.may_pass() && error.hint().starts_with("make room on the disk"));
    assert!(!dir.path().join("ballast").exists());
    assert!(store.disk_trouble().unwrap().contains("is full"));
    assert_eq!(dump(store.path()), before);
    store.raw().pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
    store.commit(&commit).unwrap();
    store.tend(at(100)).unwrap();
    assert_eq!((store.disk_trouble(), dir.path().join("ballast").exists()), (None, true));
}

/// A file system of its own size, where the machine lets us have one.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(dir: &'a Path, options: &str) -> Option<Mount<'a>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Mount(dir))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// The same on a real disk that is full: what is committed after the ballast is gone is there, and when there is
/// room again the ballast is too. (Needs the right to mount; `max_page_count` above stands in elsewhere.)
#[test]
fn a_full_disk_frees_the_ballast() {
    let dir = TempDir::new("tmpfs");
    let Some(mount) = Mount::new(dir.path(), "size=3m") else { return };
    let state = mount.0.join("state");
    let mut store = open(&state).store;
    assert_eq!(store.disk_trouble(), None);
    let mut filler = fs::File::create(mount.0.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    let commit = |n: u64| Commit {
        rows: vec![row(&format!("//h/f/{n}"), Some(format!(r#"{{"failures":{n}}}"#)))],
        events: vec![event(n, n as i64, "//h/f/c")],
        decisions: vec![],
    };
    // The log has some room left; then the ballast is used, then there is nothing.
    let (mut n, mut on_ballast) = (0, 0);
    let error = loop {
        match store.commit(&commit(n + 1)) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        on_ballast += u32::from(store.disk_trouble().is_some());
        assert!(n < 2_000, "the disk never gets full");
    };
    assert_eq!(error, StoreError::DiskFull { path: database(&state) });
    assert!(on_ballast >= 3, "the ballast was for {on_ballast} commits only");
    assert!(store.disk_trouble().unwrap().contains("is full") && !state.join("ballast").exists());
    drop(filler);
    fs::remove_file(mount.0.join("filler")).unwrap();
    store.commit(&commit(n + 1)).unwrap();
    store.tend(at(100)).unwrap();
    assert_eq!((store.disk_trouble(), state.join("ballast").exists()), (None, true));
    drop(store);
    let opened = open(&state);
    assert_eq!(
        (opened.damaged, opened.state.checks.len() as u64),
        (vec![format!("the count of events was 0 where the journal goes to {}", n + 1)], n + 1)
    );
    drop(opened.store);
}

/// With the agent down, a folder that can only be read is read: as it was closed, and as a kill left it.
#[test]
fn a_folder_that_can_only_be_read_is_read() {
    for killed in [false, true] {
        let (dir, at_work) = (TempDir::new("ro"), TempDir::new("ro"));
        let Some(mount) = Mount::new(dir.path(), "size=20m") else { return };
        let mut store = open(at_work.path()).store;
        store.commit(&Commit { events: vec![event(1, 1, "//h/f/c")], ..Commit::default() }).unwrap();
        let alive = if killed {
            Some(store)
        } else {
            drop(store);
            None
        };
        for file in fs::read_dir(at_work.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), mount.0.join(file.file_name())).unwrap();
        }
        assert_eq!(mount.0.join("state.db-wal").exists(), killed);
        drop(alive);
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(mount.0).status().unwrap().success());
        assert_eq!(Journal::open(mount.0).unwrap().event(1).unwrap().unwrap().seq, 1, "killed: {killed}");
        let error = Store::open(mount.0, &options()).unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    }
}

/// Rows that can't be read are told of one by one, and the others are loaded; what counts is not set back.
#[test]
fn a_row_that_cannot_be_read_is_told_of() {
    let dir = TempDir::new("damaged");
    let mut store = open(dir.path()).store;
    let (mut state, mut dice) = (State::default(), Dice(5));
    for _ in 0..30 {
        store.commit(&mutate(&mut state, &mut dice)).unwrap();
    }
    drop(store);
    let conn = Connection::open(database(dir.path())).unwrap();
    conn.execute_batch(
        "UPDATE row SET value = '{\"agent_id\":' WHERE tab = 'meta';
         INSERT INTO row VALUES ('check', 'bytes', CAST(x'ff00' AS TEXT));
         INSERT INTO row VALUES ('later', 'k', '{}');
         INSERT INTO row VALUES ('told', 'one part', '{}');
         UPDATE event SET json = '{' WHERE seq = 2;",
    )
    .unwrap();
    drop(conn);
    let Opened { state: loaded, damaged, store, .. } = open(dir.path());
    drop(store);
    let expect = [
        "row `bytes` of `check` can't be read: it is not UTF-8",
        "there is no table `later` in this version",
        "row `meta` of `meta` can't be read: EOF",
        "row `one part` of `told` can't be read: its key has not three parts",
        "the count of events was 0 where",
    ];
    for text in expect {
        assert!(damaged.iter().any(|d| d.starts_with(text)), "{text}: {damaged:#?}");
    }
    assert_eq!(loaded.meta.seq, state.meta.seq);
    assert!(loaded.meta.outbox_id >= state.outbox.keys().max().copied().unwrap_or(0));
    assert_eq!((loaded.faults, loaded.checks, loaded.outbox), (state.faults, state.checks, state.outbox));
    // Nor does the journal pass over anything.
    let events = Journal::open(dir.path()).unwrap().events(&EventQuery::default()).unwrap();
    assert_eq!(events.len() as u64, loaded.meta.seq);
    assert!(events[1].text.starts_with("the rest of this event can't be read: EOF"), "{}", events[1].text);
    assert_eq!((&*events[1].name, events[1].severity, events[1].seq), ("//h/f/c", Severity::Critical, 2));
    let report = check(&database(dir.path())).unwrap();
    assert_eq!((report.integrity.len(), report.is_fine()), (0, false));
    assert!(report.damaged.iter().any(|d| d.starts_with("event 2 can't be read")), "{:#?}", report.damaged);
}

/// A file that is no database, another program's, or full of holes is refused with what to do, and left alone.
#[test]
fn a_damaged_file_is_told_of() {
    let good = TempDir::new("good");
    let (mut state, mut dice) = (State::default(), Dice(6));
    let mut store = open(good.path()).store;
    (0..50).for_each(|_| store.commit(&mutate(&mut state, &mut dice)).unwrap());
    drop(store);
    let mut holes = fs::read(database(good.path())).unwrap();
    for page in holes.chunks_mut(4096).skip(2) {
        page[..64].fill(0x5a);
    }
    let foreign = good.path().join("foreign");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE cats (name)").unwrap();
    let cases = [
        (b"this is no database, but it is long enough for a header: ".repeat(20), "file is not a database"),
        (fs::read(&foreign).unwrap(), "it is the database of another program"),
        (holes, "malformed"),
    ];
    for (bytes, why) in cases {
        let dir = TempDir::new("corrupt");
        let path = database(dir.path());
        fs::write(&path, &bytes).unwrap();
        let error = Store::open(dir.path(), &options()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }) && !error.may_pass(), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().contains("`watchbell store check`"), "{}", error.hint());
        match check(&path) {
            Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}"),
            Ok(CheckReport { integrity, .. }) => assert!(!integrity.is_empty()),
        }
        assert_eq!(fs::read(&path).unwrap()[..100], bytes[..100]);
    }
    let empty = TempDir::new("none");
    assert!(matches!(Journal::open(empty.path()), Err(StoreError::NotThere { .. })));
}

/// Each field of a query, and which end is cut.
#[test]
fn events_are_found() {
    let dir = TempDir::new("query");
    let mut store = open(dir.path()).store;
    let events = (1..=9_u64).map(|seq| {
        let mut event = event(seq, seq as i64 * 10, ["//h/a/x", "//h/a/y", "//h/b/x"][seq as usize % 3]);
        event.severity = Severity::ALL[seq as usize % 4];
        event.kind = if seq.is_multiple_of(2) { EventKind::Job } else { EventKind::Fault };
        event
    });
    fill(&mut store, [Commit { events: events.collect(), ..Commit::default() }]);
    let journal = Journal::open(dir.path()).unwrap();
    let name = |name: NameMatch| EventQuery { name: Some(name), ..EventQuery::default() };
    let regex = |text: &str| name(NameMatch::Regex(regex::Regex::new(text).unwrap()));
    let all = EventQuery::default;
    let cases = [
        (all(), "1 2 3 4 5 6 7 8 9"),
        (EventQuery { since: Some(at(50)), until: Some(at(80)), ..all() }, "5 6 7"),
        (name(NameMatch::Exact("//h/a/x".into())), "3 6 9"),
        (name(NameMatch::Exact("//h/a/".into())), ""),
        (name(NameMatch::Prefix("//h/a/".into())), "1 3 4 6 7 9"),
        (regex("/x$"), "2 3 5 6 8 9"),
        (EventQuery { limit: Some(2), ..regex("/x$") }, "8 9"),
        (EventQuery { min_severity: Some(Severity::Error), ..all() }, "2 3 6 7"),
        (EventQuery { kind: Some(EventKind::Job), ..all() }, "2 4 6 8"),
        (EventQuery { limit: Some(2), ..all() }, "8 9"),
        (EventQuery { limit: Some(2), before_seq: Some(8), ..all() }, "6 7"),
        (EventQuery { limit: Some(2), after_seq: Some(3), cut: Cut::Oldest, ..all() }, "4 5"),
        (EventQuery { after_seq: Some(u64::MAX), ..all() }, ""),
        (EventQuery { limit: Some(0), ..all() }, ""),
    ];
    for (query, expect) in cases {
        let found: Vec<_> = journal.events(&query).unwrap().iter().map(|e| e.seq.to_string()).collect();
        assert_eq!(found.join(" "), expect, "{query:?}");
    }
    let counts = journal.counts().unwrap();
    assert_eq!((counts.events, counts.oldest_event, counts.newest_seq), (9, Some(at(10)), Some(9)));
    assert!(counts.bytes > 0);
}

/// A fault's name, an event's position and a delivery's key each explain the whole of it.
#[test]
fn why_explains() {
    let dir = TempDir::new("why");
    let mut store = open(dir.path()).store;
    let (disk, key) = ("//h/f/disk", "a1///h/f/disk/3/1/ops/trigger");
    let mut second = event(2, 20, disk);
    second.caused_by = Some(1);
    let mut state = State::default();
    state.meta.seq = 3;
    state.meta.outbox_id = 1;
    state.faults.insert(disk.into(), fault(&disk.into(), 20, "91%"));
    state.outbox.insert(1, queued(key, second.clone()));
    let commit = Commit {
        rows: state.keys().iter().map(|k| state.row(k)).collect(),
        events: vec![event(1, 10, "//h/f/switch"), second, event(3, 30, "//h/f/other")],
        decisions: vec![
            decision(20, disk, Verdict::Hold, None, Some(2)),
            decision(25, disk, Verdict::Tell, Some(key), Some(2)),
            decision(26, disk, Verdict::Hold, Some(key), None),
            decision(30, "//h/f/other", Verdict::Drop, None, Some(3)),
            decision(31, "//h/f/switch", Verdict::Hold, None, Some(3)),
        ],
    };
    fill(&mut store, [commit]);
    let journal = Journal::open(dir.path()).unwrap();
    let tell = |id: &str| {
        let Some(why) = journal.why(id).unwrap() else { return "nothing".to_owned() };
        let lines = why.entries.iter().map(|entry| match entry {
            WhyEntry::Event(event) => format!("e{}", event.seq),
            WhyEntry::Decision(decision) => format!("d{}", decision.at.as_secs()),
        });
        let lines: Vec<_> = lines.collect();
        let kind = match why.kind {
            WhyKind::Name => "name",
            WhyKind::Event => "event",
            WhyKind::Delivery => "delivery",
        };
        format!("{kind}: {} fault={} waiting={}", lines.join(" "), why.fault.is_some(), why.waiting.len())
    };
    let cases = [
        (disk, "name: e1 e2 d20 d25 d26 fault=true waiting=1"),
        ("2", "event: e1 e2 d20 d25 d26 fault=true waiting=1"),
        (key, "delivery: e1 e2 d20 d25 d26 fault=true waiting=1"),
        ("3", "event: e3 d30 fault=false waiting=0"),
        ("//h/f/switch", "name: e1 e3 d31 fault=false waiting=0"),
        ("4", "nothing"),
        ("//h/f/none", "nothing"),
        ("", "nothing"),
    ];
    for (id, expect) in cases {
        assert_eq!(tell(id), expect, "{id}");
    }
    assert_eq!(journal.decisions_of(disk, 1).unwrap().len(), 1);
    assert_eq!(journal.decisions_of(disk, 1).unwrap()[0].at, at(26));
    assert_eq!(journal.decision_trail(key).unwrap().len(), 2);
}

/// A long story is cut at its beginning, and says so.
#[test]
fn why_is_bounded() {
    let dir = TempDir::new("long");
    let mut store = open(dir.path()).store;
    let events = (1..=600).map(|n| event(n, n as i64, "//h/f/c")).collect();
    let decisions = (1..=600).map(|n| decision(n, "//h/f/c", Verdict::Hold, None, Some(n as u64))).collect();
    fill(&mut store, [Commit { events, decisions, ..Commit::default() }]);
    let why = Journal::open(dir.path()).unwrap().why("//h/f/c").unwrap().unwrap();
    assert_eq!((why.cut, why.entries.len()), (true, super::WHY_ENTRIES_MAX));
    assert_eq!(why.entries.last().unwrap().at(), at(600));
    assert_eq!(why.entries[0].at(), at(351));
}

/// What is too old or too many goes in slices, the oldest first; the rest stays.
#[test]
fn old_events_and_decisions_are_removed() {
    // Row n is of hour n.
    let hour = |n: i64| at(n * 3_600);
    let late = hour(750) + Duration::from_secs(90 * 86_400 + 1);
    // How many are kept at most, the time, and the first that stays.
    for (max, now, first) in [(1_000_000, late, 751), (600, hour(1_500), 901), (1_000_000, hour(1_500), 1_u64)] {
        let dir = TempDir::new("purge");
        let options = StoreOptions { events_max: max, decisions_max: max, ..options() };
        let mut store = Store::open(dir.path(), &options).unwrap().store;
        let secs = |n: i64| hour(n).as_secs();
        let events = (1..=1_500).map(|n| event(n as u64, secs(n), "//h/f/c")).collect();
        let decisions = (1..=1_500).map(|n| decision(secs(n), "//h/f/c", Verdict::Hold, None, None)).collect();
        fill(&mut store, [Commit { events, decisions, ..Commit::default() }]);
        let mut slices = 0;
        while store.tend(now).unwrap() > 0 {
            slices += 1;
        }
        assert!(slices >= i32::from(first > 1) && slices <= 3, "{slices}");
        let counts = Journal::open(dir.path()).unwrap().counts().unwrap();
        assert_eq!((counts.events, counts.decisions), (1_501 - first, 1_501 - first), "{max} {now}");
        assert_eq!(counts.oldest_event, Some(hour(first as i64)));
        // The next ids go on from there.
        fill(
            &mut store,
            [Commit { decisions: vec![decision(1, "z", Verdict::Drop, None, None)], ..Commit::default() }],
        );
        assert_eq!(Journal::open(dir.path()).unwrap().counts().unwrap().decisions, 1_502 - first);
    }
}

/// A database that is too large gives up its oldest events and decisions, until it is not.
#[test]
fn a_large_journal_is_cut() {
    let dir = TempDir::new("large");
    let options = StoreOptions { bytes_max: 8 << 20, ..options() };
    let mut store = Store::open(dir.path(), &options).unwrap().store;
    let detail = "x".repeat(20_000);
    let long = |n: u64| Event { detail: detail.clone(), ..event(n, 1_000, "//h/f/c") };
    for n in 0..20 {
        fill(&mut store, [Commit { events: (n * 60 + 1..=n * 60 + 60).map(long).collect(), ..Commit::default() }]);
    }
    while store.tend(at(1_000)).unwrap() > 0 {}
    let counts = Journal::open(dir.path()).unwrap().counts().unwrap();
    assert_eq!((counts.events, counts.newest_seq), (200, Some(1_200)), "in slices of 500");
}

/// However long events are, an answer is not: it goes on where it ended.
#[test]
fn an_answer_is_bounded_in_bytes() {
    let dir = TempDir::new("long");
    let mut store = Store::open(dir.path(), &options()).unwrap().store;
    let detail = "x".repeat(5 << 20);
    let long = |n: u64| Event { detail: detail.clone(), ..event(n, 1_000, "//h/f/c") };
    fill(&mut store, [Commit { events: (1..=7).map(long).collect(), ..Commit::default() }]);
    let journal = Journal::open(dir.path()).unwrap();
    let seqs = |query: EventQuery| journal.events(&query).unwrap().iter().map(|e| e.seq).collect::<Vec<_>>();
    assert_eq!(seqs(EventQuery::default()), [5, 6, 7]);
    let after = |seq| EventQuery { after_seq: Some(seq), cut: Cut::Oldest, ..EventQuery::default() };
    assert_eq!((seqs(after(0)), seqs(after(3))), (vec![1, 2, 3], vec![4, 5, 6]));
}

/// House is kept at most every ten seconds, also when the clock is set back.
#[test]
fn tending_is_rare() {
    let dir = TempDir::new("tend");
    let options = StoreOptions { keep: Duration::ZERO, ..options() };
    let mut store = Store::open(dir.path(), &options).unwrap().store;
    let mut seq = 0;
    let mut one = |store: &mut Store, now: Timestamp| {
        seq += 1;
        fill(store, [Commit { events: vec![event(seq, -1, "x")], ..Commit::default() }]);
        store.tend(now).unwrap()
    };
    let removed = [100, 105, 109, 110, 50, 55].map(|secs| one(&mut store, at(secs)));
    assert_eq!(removed, [1, 0, 0, 3, 1, 0]);
}

/// A backup made beside a running agent is a store with the same content.
#[test]
fn a_backup_is_a_store() {
    let (dir, other) = (TempDir::new("backup"), TempDir::new("backup"));
    let mut store = open(dir.path()).store;
    let (mut state, mut dice) = (State::default(), Dice(7));
    (0..30).for_each(|_| store.commit(&mutate(&mut state, &mut dice)).unwrap());
    let copy = database(other.path());
    backup(dir.path(), &copy).unwrap();
    assert_eq!(dump(&copy), dump(store.path()));
    let report = check(&copy).unwrap();
    assert!(report.is_fine() && report.counts.events == state.meta.seq, "{report:?}");
    assert_eq!(open(other.path()).state, state);
    let nowhere = backup(dir.path(), &dir.path().join("no/such/copy")).unwrap_err();
    assert!(nowhere.to_string().contains("no/such/copy"), "{nowhere}");
    assert_eq!(
        fs::read_dir(other.path()).unwrap().filter(|f| f.as_ref().unwrap().file_name() == "state.db.partial").count(),
        0
    );
}

/// What look-backs have seen is part of a backup, and of the check.
#[test]
fn a_backup_has_the_seen_rows() {
    let (dir, other) = (TempDir::new("rows"), TempDir::new("rows"));
    let _store = open(dir.path()).store;
    let copy = other.path().join("copy.db");
    let seen = SeenRows::open(&dir.path().join(ROWS_FILE)).unwrap();
    let rows: Vec<_> = (0..30).map(|n| watchbell_core::model::Row { key: n.to_string(), time: at(n) }).collect();
    let checker = Name::new("//h/f/c");
    seen.add(&checker, &rows, at(0)).unwrap();
    let beside = backup(dir.path(), &copy).unwrap().unwrap();
    assert_eq!(beside, other.path().join("copy.db.rows"));
    let report = check(&beside).unwrap();
    assert!(report.is_fine() && report.is_rows, "{report:?}");
    assert_eq!(report.counts.rows, [("checker".to_owned(), 1), ("seen".to_owned(), 30)].into());
    assert_eq!(check(&dir.path().join(ROWS_FILE)).unwrap().counts.rows, report.counts.rows);
    let restored = SeenRows::read_only(&beside).unwrap();
    assert_eq!(restored.times(&checker, at(-1), at(100), 100).unwrap().len(), 30);
    // Half a backup is none.
    fs::remove_file(&copy).unwrap();
    fs::write(&beside, "somebody's").unwrap();
    let error = backup(dir.path(), &copy).unwrap_err();
    assert!(error.to_string().contains("copy.db.rows` is there already") && !copy.exists(), "{error}");
}

/// An older backup of the same agent is replaced; nothing else is, and what is refused stays as it is.
#[test]
fn a_backup_replaces_its_own_older_one_only() {
    let (dir, other) = (TempDir::new("own"), TempDir::new("own"));
    let mut store = open(dir.path()).store;
    let (mut state, mut dice) = (State::default(), Dice(3));
    let mut commit = |store: &mut Store| (0..10).for_each(|_| store.commit(&mutate(&mut state, &mut dice)).unwrap());
    commit(&mut store);
    let seen = SeenRows::open(&dir.path().join(ROWS_FILE)).unwrap();
    let row = |n: i64| [watchbell_core::model::Row { key: n.to_string(), time: at(n) }];
    seen.add(&Name::new("//h/f/c"), &row(1), at(0)).unwrap();
    let copy = other.path().join("copy.db");
    let beside = backup(dir.path(), &copy).unwrap().unwrap();
    commit(&mut store);
    seen.add(&Name::new("//h/f/c"), &row(2), at(0)).unwrap();
    assert_eq!(backup(dir.path(), &copy).unwrap().as_ref(), Some(&beside));
    assert_eq!(dump(&copy), dump(store.path()), "it is the newer one");
    assert_eq!(check(&beside).unwrap().counts.rows["seen"], 2);
    let left = fs::read_dir(other.path()).unwrap().count();
    assert_eq!(left, 2, "nothing half-written stays");
    let stranger = rusqlite::Connection::open(other.path().join("stranger.db")).unwrap();
    stranger.execute_batch("CREATE TABLE t (x)").unwrap();
    fs::write(other.path().join("notes.txt"), "mine").unwrap();
    fs::write(other.path().join("empty"), "").unwrap();
    fs::create_dir(other.path().join("folder")).unwrap();
    std::os::unix::fs::symlink(&copy, other.path().join("link")).unwrap();
    let another = TempDir::new("another");
    let mut foreign = open(another.path()).store;
    let mut with_id = State::default();
    with_id.meta.agent_id = "another".into();
    foreign.commit(&mutate(&mut with_id, &mut Dice(4))).unwrap();
    rusqlite::Connection::open(foreign.path())
        .unwrap()
        .execute("UPDATE row SET value = json_set(value, '$.agent_id', 'another') WHERE tab = 'meta'", [])
        .unwrap();
    let theirs = other.path().join("theirs.db");
    backup(another.path(), &theirs).unwrap();
    for (path, why) in [
        (other.path().join("stranger.db"), "is no backup"),
        (other.path().join("notes.txt"), "is no backup"),
        (other.path().join("empty"), "is no backup"),
        (other.path().join("folder"), "is no file"),
        (other.path().join("link"), "is no file"),
        (theirs, "is the backup of something else"),
        (beside, "is the backup of something else"),
        (store.path().to_owned(), "is a database in use"),
        (foreign.path().to_owned(), "is a database in use"),
    ] {
        let before = path.is_file().then(|| fs::read(&path).unwrap());
        let error = backup(dir.path(), &path).unwrap_err();
        assert!(error.to_string().contains(why), "{}: {error}", path.display());
        assert_eq!(path.is_file().then(|| fs::read(&path).unwrap()), before, "{}", path.display());
    }
}

/// Readers see whole commits only, while the agent writes.
#[test]
fn readers_see_whole_commits() {
    let dir = TempDir::new("beside");
    let mut store = open(dir.path()).store;
    let writer = std::thread::spawn(move || {
        let (mut state, mut dice) = (State::default(), Dice(8));
        (0..200).for_each(|_| store.commit(&mutate(&mut state, &mut dice)).unwrap());
        state
    });
    while !writer.is_finished() {
        let journal = Journal::open(dir.path()).unwrap();
        let counts = journal.counts().unwrap();
        let (state, damaged) = journal.state().unwrap();
        assert_eq!(damaged, Vec::<String>::new());
        assert!(state.meta.seq >= counts.newest_seq.unwrap_or(0));
    }
    assert_eq!(Journal::open(dir.path()).unwrap().state().unwrap().0, writer.join().unwrap());
}
