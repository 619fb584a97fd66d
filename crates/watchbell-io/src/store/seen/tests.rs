//! What the seen rows do, as tables, against a model in memory, from many threads, and with files that are bad.

use super::{
    super::testing::{Dice, TempDir},
    *,
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn row(key: &str, secs: i64) -> Row {
    Row { key: key.to_owned(), time: at(secs) }
}

fn name() -> Name {
    Name::new("//web/orders/checkout")
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("rows.db")
}

/// Every row of a checker's, by key.
fn stored(rows: &SeenRows, checker: &Name) -> BTreeMap<String, i64> {
    rows.readers
        .with(|conn| {
            let sql = "SELECT key, time FROM seen JOIN checker ON checker = id WHERE name = ?1";
            conn.prepare(sql)?.query_map([checker.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
        })
        .unwrap()
}

fn none() -> HashSet<String> {
    HashSet::new()
}

/// What must always hold between the tables.
fn assert_sound(rows: &SeenRows) {
    let wrong: Vec<String> = rows
        .readers
        .with(|conn| {
            let one = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0));
            let mut wrong = Vec::new();
            let (seen, slots) = (one("SELECT count(*) FROM seen")?, one("SELECT count(*) FROM slot")?);
            let twins = one("SELECT count(*) FROM twin")?;
            if seen != slots + twins {
                wrong.push(format!("{seen} rows, {slots} slots, {twins} twins"));
            }
            if one("SELECT coalesce(sum(count), 0) FROM checker")? != seen {
                wrong.push("the counts of the checkers are off".to_owned());
            }
            let keys = "SELECT count(*) FROM (SELECT 1 FROM seen GROUP BY checker, key HAVING count(*) > 1)";
            if one(keys)? != 0 {
                wrong.push("a key is there twice".to_owned());
            }
            Ok(wrong)
        })
        .unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// S2.5: a key is stored once, under the time it came with first, across results and within one.
#[test]
fn a_key_keeps_its_first_time() {
    type Results<'a> = &'a [(&'a [(&'a str, i64)], u64)];
    type Case<'a> = (&'a str, Results<'a>, &'a [(&'a str, i64)]);
    let cases: &[Case] = &[
        ("none", &[(&[], 0)], &[]),
        ("two keys", &[(&[("a", 1), ("b", 2)], 2)], &[("a", 1), ("b", 2)]),
        ("the same again", &[(&[("a", 1)], 1), (&[("a", 1)], 0)], &[("a", 1)]),
        ("later", &[(&[("a", 5)], 1), (&[("a", 9)], 0)], &[("a", 5)]),
        ("earlier", &[(&[("a", 5)], 1), (&[("a", 3)], 0)], &[("a", 5)]),
        ("twice in one result", &[(&[("a", 5), ("a", 3), ("a", 5), ("a", 9)], 1)], &[("a", 5)]),
        ("known and twice", &[(&[("a", 5)], 1), (&[("a", 9), ("b", 9), ("b", 8), ("a", 5)], 1)], &[("a", 5), ("b", 9)]),
        (
            "one time, many keys",
            &[(&[("c", 5), ("a", 5), ("b", 5)], 3), (&[("b", 5), ("d", 5)], 1)],
            &[("a", 5), ("b", 5), ("c", 5), ("d", 5)],
        ),
        (
            "keys are bytes",
            &[(&[("a", 1), ("A", 1), ("a ", 1), ("", 1), ("ä", 1), ("a\0b", 1), ("1", 1), ("01", 1)], 8)],
            &[("a", 1), ("A", 1), ("a ", 1), ("", 1), ("ä", 1), ("a\0b", 1), ("1", 1), ("01", 1)],
        ),
        (
            "times at the ends",
            &[(&[("a", i64::MIN / 1_000_000), ("b", -1), ("c", 0)], 3), (&[("b", -1)], 0)],
            &[("a", i64::MIN / 1_000_000), ("b", -1), ("c", 0)],
        ),
    ];
    for (what, results, expected) in cases {
        let dir = TempDir::new("seen");
        let rows = SeenRows::open(&file(&dir)).unwrap();
        let other = Name::new("other");
        rows.add(&other, &[row("a", 77)], at(0)).unwrap();
        for (result, new) in *results {
            let result: Vec<Row> = result.iter().map(|(k, t)| row(k, *t)).collect();
            let added = rows.add(&name(), &result, Timestamp::from_micros(i64::MIN)).unwrap();
            assert_eq!(added, Added { new: *new, too_old: 0 }, "{what}");
        }
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(k, t)| ((*k).to_owned(), at(*t).as_micros())).collect();
        assert_eq!(stored(&rows, &name()), expected, "{what}");
        assert_eq!(stored(&rows, &other).len(), 1, "{what}");
        assert_sound(&rows);
        drop(rows);
        let again = SeenRows::open(&file(&dir)).unwrap();
        assert_eq!(stored(&again, &name()), expected, "{what}: opened again");
    }
}

/// S2.6: a count excludes both ends of its window.
#[test]
fn both_ends_are_excluded() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    let result: Vec<Row> = [10, 20, 20, 30, 40].iter().zip('a'..).map(|(t, k)| row(&k.to_string(), *t)).collect();
    rows.add(&name(), &result, at(0)).unwrap();
    rows.add(&Name::new("other"), &result, at(0)).unwrap();
    let cases: &[(i64, i64, &[i64])] = &[
        (0, 100, &[10, 20, 20, 30, 40]),
        (10, 40, &[20, 20, 30]),
        (9, 41, &[10, 20, 20, 30, 40]),
        (10, 20, &[]),
        (10, 21, &[20, 20]),
        (20, 20, &[]),
        (19, 21, &[20, 20]),
        (40, 50, &[]),
        (30, 10, &[]),
        (i64::MIN / 1_000_000, i64::MAX / 1_000_000, &[10, 20, 20, 30, 40]),
    ];
    for (from, to, expected) in cases {
        let times: Vec<Timestamp> = expected.iter().map(|t| at(*t)).collect();
        assert_eq!(rows.count(&name(), at(*from), at(*to)).unwrap(), times.len() as u64, "{from} to {to}");
        assert_eq!(rows.times(&name(), at(*from), at(*to), 5).unwrap(), times, "{from} to {to}");
    }
    let error = rows.times(&name(), at(0), at(100), 4).unwrap_err();
    assert!(error.contains("more than 4 rows"), "{error}");
    assert_eq!(rows.count(&Name::new("nobody"), at(0), at(100)).unwrap(), 0);
}

/// S2.9: what is too old is not stored, and not new each time.
#[test]
fn rows_from_before_retention_are_left_out() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    let result = [row("a", 9), row("b", 10), row("c", 11), row("c", 3)];
    for new in [2, 0] {
        assert_eq!(rows.add(&name(), &result, at(10)).unwrap(), Added { new, too_old: 2 });
    }
    assert_eq!(rows.times(&name(), at(0), at(99), 9).unwrap(), [at(10), at(11)]);
}

/// S2.9: a purge takes what is older, the oldest first, no more than it may, and of this checker only.
#[test]
fn a_purge_takes_what_is_older() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    let result: Vec<Row> = (0..100).map(|n| row(&format!("{n}"), n)).collect();
    let other = Name::new("other");
    for checker in [&name(), &other] {
        rows.add(checker, &result, at(0)).unwrap();
    }
    assert_eq!(rows.purge(&name(), at(20), 5, &none()).unwrap(), 5);
    assert_eq!(rows.count(&name(), at(-1), at(5)).unwrap(), 0);
    assert_eq!(rows.purge(&name(), at(20), 500, &none()).unwrap(), 15);
    assert_eq!(rows.purge(&name(), at(20), 500, &none()).unwrap(), 0);
    assert_eq!(rows.purge(&Name::new("nobody"), at(20), 500, &none()).unwrap(), 0);
    assert_eq!(
        rows.checkers().unwrap(),
        [(name(), 80, Some((at(20), at(99)))), (other.clone(), 100, Some((at(0), at(99))))]
    );
    // A key that is gone is new when it comes again.
    assert_eq!(rows.add(&name(), &[row("3", 50), row("30", 50)], at(0)).unwrap().new, 1);
    assert_sound(&rows);
    rows.forget(&name()).unwrap();
    rows.forget(&Name::new("nobody")).unwrap();
    assert_eq!(rows.checkers().unwrap().len(), 1);
    rows.purge(&other, Timestamp::MAX, 1000, &none()).unwrap();
    assert_eq!(rows.checkers().unwrap(), [(other, 0, None)]);
    assert_sound(&rows);
}

/// S2.9: what a query still answers stays, or it would be new again; what lies between goes, however much stays before it.
#[test]
fn a_purge_passes_over_what_is_kept() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    let result: Vec<Row> = (0..100).map(|n| row(&format!("{n}"), n / 10)).collect();
    rows.add(&name(), &result, at(0)).unwrap();
    let keep: HashSet<String> = (0..40).chain([55]).map(|n| n.to_string()).collect();
    assert_eq!(rows.purge(&name(), at(6), 7, &keep).unwrap(), 7);
    assert_eq!(rows.purge(&name(), at(6), 500, &keep).unwrap(), 12);
    let left: Vec<String> = stored(&rows, &name()).into_keys().collect();
    let mut expected: Vec<String> = (0..40).chain([55]).chain(60..100).map(|n| n.to_string()).collect();
    expected.sort();
    assert_eq!(left, expected);
    assert_sound(&rows);
}

/// A checker that the config does not have is forgotten once its rows are old; one that has none at once.
#[test]
fn what_is_gone_is_forgotten_when_it_is_old() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    for (checker, secs) in [("old", 10), ("new", 30), ("kept", 10), ("empty", 10)] {
        rows.add(&Name::new(checker), &[row("a", 5), row("b", secs)], at(0)).unwrap();
    }
    rows.purge(&Name::new("empty"), at(99), 9, &none()).unwrap();
    let gone = |name: &Name| name.as_str() != "kept";
    assert_eq!(rows.forget_old(gone, at(20)).unwrap(), [Name::new("empty"), Name::new("old")]);
    let left: Vec<Name> = rows.checkers().unwrap().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(left, [Name::new("kept"), Name::new("new")]);
    assert_sound(&rows);
}

/// S2.6: what many windows hold is the same, however few times are read at a time, and however many share one.
#[test]
fn windows_are_counted_in_slices() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    let result: Vec<Row> = (0..200).map(|n| row(&format!("{n}"), [n / 20, 5, n / 3][n as usize % 3])).collect();
    rows.add(&name(), &result, at(-1)).unwrap();
    let windows: Vec<Window> = (0..70)
        .flat_map(|n| [(n, 1), (n, 9), (n, 40), (70 - n, 3)])
        .map(|(n, len)| Window { line: 0, minute: at(n), from: at(n - len), until: at(n), again: false })
        .collect();
    let one = |w: &Window| rows.count(&name(), w.from, w.until).unwrap();
    let expected: Vec<u64> = windows.iter().map(one).collect();
    for slice in [1, 2, 7, 80, 199, 200, 201, 9999] {
        let counts = rows.count_windows(&name(), &windows, slice).unwrap();
        assert_eq!(counts.iter().map(|c| c.count).collect::<Vec<_>>(), expected, "{slice}");
        assert_eq!(
            counts.iter().map(|c| c.minute).collect::<Vec<_>>(),
            windows.iter().map(|w| w.minute).collect::<Vec<_>>()
        );
    }
    assert_eq!(rows.count_windows(&name(), &[], 5).unwrap(), []);
}

/// S2.5: keys with the same hash are different keys.
#[test]
fn a_collision_loses_no_row() {
    for mask in [0, 1, 0xf] {
        let dir = TempDir::new("seen");
        let short = |salt: Salt| Salt { mask, ..salt };
        let rows = SeenRows::open_hashed(&file(&dir), short).unwrap();
        let result: Vec<Row> = (0..100).map(|n| row(&format!("{n}"), n % 7)).collect();
        assert_eq!(rows.add(&name(), &result, at(0)).unwrap().new, 100);
        let later: Vec<Row> = (0..120).map(|n| row(&format!("{n}"), 50)).collect();
        assert_eq!(rows.add(&name(), &later, at(0)).unwrap().new, 20);
        assert_eq!(rows.count(&name(), at(-1), at(7)).unwrap(), 100);
        assert_sound(&rows);
        // The one that has the slot may go before its twins, and come again after.
        assert_eq!(rows.purge(&name(), at(3), 1000, &none()).unwrap(), 44);
        assert_sound(&rows);
        assert_eq!(rows.add(&name(), &later, at(0)).unwrap().new, 44);
        assert_sound(&rows);
        rows.forget(&name()).unwrap();
        assert_sound(&rows);
    }
}

/// S2.5, S2.6, S2.9: the same as a map does, whatever the order; the seed is printed.
#[test]
fn it_does_what_a_map_does() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_0001);
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    for mask in [(1 << hash::HASH_BITS) - 1, 0x1f] {
        let dir = TempDir::new("seen");
        let open = || SeenRows::open_hashed(&file(&dir), |salt| Salt { mask, ..salt }).unwrap();
        let mut rows = open();
        let checkers = [name(), Name::new("b"), Name::new("c")];
        let mut model = vec![BTreeMap::<String, i64>::new(); 3];
        for _ in 0..150 {
            let n = dice.below(3) as usize;
            let (checker, known) = (&checkers[n], &mut model[n]);
            let time = |dice: &mut Dice| dice.below(50) as i64;
            match dice.below(10) {
                0..4 => {
                    let count = dice.below(60);
                    let result: Vec<Row> =
                        (0..count).map(|_| row(&dice.below(300).to_string(), time(&mut dice))).collect();
                    let from = time(&mut dice) / 3;
                    let mut expected = Added::default();
                    for Row { key, time } in &result {
                        if *time < at(from) {
                            expected.too_old += 1;
                        } else if !known.contains_key(key) {
                            expected.new += 1;
                            known.insert(key.clone(), time.as_micros());
                        }
                    }
                    assert_eq!(rows.add(checker, &result, at(from)).unwrap(), expected);
                }
                4..7 => {
                    let (from, to) = (at(time(&mut dice)), at(time(&mut dice)));
                    let inside = |t: &&i64| from.as_micros() < **t && **t < to.as_micros();
                    let mut times: Vec<_> = known.values().filter(inside).map(|t| Timestamp::from_micros(*t)).collect();
                    times.sort_unstable();
                    assert_eq!(rows.count(checker, from, to).unwrap(), times.len() as u64);
                    assert_eq!(rows.times(checker, from, to, times.len()).unwrap(), times);
                }
                7 | 8 => {
                    let (before, max) = (at(time(&mut dice)), dice.below(30) as usize);
                    let mut old: Vec<_> =
                        known.iter().filter(|(_, t)| **t < before.as_micros()).map(|(k, t)| (*t, k.clone())).collect();
                    old.sort_unstable();
                    old.truncate(max);
                    assert_eq!(rows.purge(checker, before, max, &none()).unwrap(), old.len() as u64);
                    for (_, key) in &old {
                        known.remove(key);
                    }
                }
                _ => {
                    drop(rows);
                    rows = open();
                }
            }
            assert_eq!(&stored(&rows, checker), known);
            assert_sound(&rows);
        }
    }
}

/// S2.5: many checkers at a time, and many threads of one checker's: each row is new once.
#[test]
fn many_threads_add() {
    let dir = TempDir::new("seen");
    let rows = Arc::new(SeenRows::open(&file(&dir)).unwrap());
    let threads: Vec<_> = (0..32)
        .map(|n| {
            let rows = Arc::clone(&rows);
            thread::spawn(move || {
                // Four threads bring the same rows of one checker.
                let checker = Name::new(format!("checker {}", n / 4));
                let all: Vec<Row> = (0..400).map(|k| row(&format!("key {k}"), k)).collect();
                all.chunks(50).map(|part| rows.add(&checker, part, at(0)).unwrap().new).sum::<u64>()
            })
        })
        .collect();
    let new: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert_eq!(new, 8 * 400);
    assert!(rows.checkers().unwrap().iter().all(|(_, count, _)| *count == 400));
    assert_sound(&rows);
}

#[test]
fn a_reader_does_not_wait_for_the_writer() {
    let dir = TempDir::new("seen");
    let rows = Arc::new(SeenRows::open(&file(&dir)).unwrap());
    rows.add(&name(), &[row("a", 1)], at(0)).unwrap();
    let aside = SeenRows::read_only(&file(&dir)).unwrap();
    // A transaction that stays open, as a long one would be.
    let conn = Connection::open(file(&dir)).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE; INSERT INTO checker (name) VALUES ('half')").unwrap();
    for reader in [&*rows, &aside] {
        assert_eq!(reader.count(&name(), at(0), at(9)).unwrap(), 1);
        assert_eq!(reader.checkers().unwrap().len(), 1);
    }
    // All seen before: nothing to write either.
    assert_eq!(rows.add(&name(), &[row("a", 1)], at(0)).unwrap(), Added::default());
    conn.execute_batch("ROLLBACK").unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (rows, done) = (Arc::clone(&rows), Arc::clone(&done));
        move || {
            for n in 1..30 {
                let part: Vec<Row> = (0..300).map(|k| row(&format!("{n} {k}"), n)).collect();
                rows.add(&name(), &part, at(0)).unwrap();
            }
            done.store(true, SeqCst);
        }
    });
    let mut last = 0;
    while !done.load(SeqCst) {
        let count = aside.count(&name(), at(1), at(99)).unwrap();
        // Each result is there as a whole.
        assert!(count >= last && count.is_multiple_of(300), "{count} after {last}");
        last = count;
    }
    writer.join().unwrap();
}

/// S2.5: rows that come scattered, under other times and in large results are told apart as few near ones are.
#[test]
fn large_results_are_told_apart() {
    let dir = TempDir::new("seen");
    let rows = SeenRows::open(&file(&dir)).unwrap();
    let all: Vec<Row> = (0..3000).map(|n| row(&format!("{n}"), n % 100)).collect();
    rows.add(&name(), &all, at(0)).unwrap();
    let part = |step: usize, later: i64, from: i64| -> Vec<Row> {
        (from..from + 2500).step_by(step).map(|n| row(&format!("{n}"), n % 100 + later)).collect()
    };
    for (step, later, from, new) in [
        (1, 0, 0, 0),
        (90, 0, 0, 0),
        (1, 3, 0, 0),
        (7, 500, 3, 0),
        // Some of them are new.
        (1, 500, 600, 100),
        (1, 500, 2600, 2000),
        (1, 0, 9000, 2500),
    ] {
        let result = part(step, later, from);
        let added = rows.add(&name(), &result, at(0)).unwrap();
        assert_eq!(added, Added { new, too_old: 0 }, "every {step}, {later} s later, from {from}");
        assert_eq!(rows.add(&name(), &result, at(0)).unwrap().new, 0);
        assert_sound(&rows);
    }
}

#[test]
fn bad_files_are_told() {
    type Make = fn(&std::path::Path);
    let cases: [(&str, Make, &[&str]); 5] = [
        (
            "no database",
            |p| fs::write(p, "not a database at all, by far".repeat(50)).unwrap(),
            &["is damaged", "aside"],
        ),
        (
            "another program's",
            |p| Connection::open(p).unwrap().execute_batch("CREATE TABLE x (y)").unwrap(),
            &["another program", "aside"],
        ),
        (
            "newer",
            |p| {
                drop(SeenRows::open(p).unwrap());
                let sql = "INSERT INTO migration VALUES (99, 'watchbell 9.9.9', 0); PRAGMA user_version = 99";
                Connection::open(p).unwrap().execute_batch(sql).unwrap();
            },
            &["watchbell 9.9.9", "schema 99", "rows.db.before-v2"],
        ),
        (
            "not ours but of watchbell",
            |p| {
                drop(SeenRows::open(p).unwrap());
                Connection::open(p).unwrap().execute_batch("DROP TABLE slot").unwrap();
            },
            &["not the database of seen rows"],
        ),
        ("a folder", |p| fs::create_dir(p).unwrap(), &["can't"]),
    ];
    for (what, make, parts) in cases {
        let dir = TempDir::new("seen");
        make(&file(&dir));
        for error in [SeenRows::open(&file(&dir)).unwrap_err(), SeenRows::read_only(&file(&dir)).unwrap_err()] {
            let there = parts.iter().filter(|p| error.contains(**p)).count();
            assert!(there == parts.len() || what == "a folder", "{what}: {error}");
        }
    }
    let dir = TempDir::new("seen");
    let error = SeenRows::read_only(&file(&dir)).unwrap_err();
    assert!(error.contains("there is no"), "{error}");
    assert!(!file(&dir).exists());
    let rows = SeenRows::open(&file(&dir)).unwrap();
    assert_eq!(fs::metadata(file(&dir)).unwrap().permissions().mode() & 0o137, 0);
    assert!(SeenRows::read_only(&file(&dir)).unwrap().add(&name(), &[row("a", 1)], at(0)).is_err());
    // Taken away while it is used: nothing counts as stored any more.
    assert_eq!(rows.add(&name(), &[row("b", 1)], at(0)).unwrap().new, 1);
    fs::remove_file(file(&dir)).unwrap();
    let error = rows.add(&name(), &[row("a", 1)], at(0)).unwrap_err();
    assert!(error.contains("replaced or removed") && error.contains("restart"), "{error}");
}

/// One checker's error is its own, and what has failed is not stored; nor is it with a full disk.
#[test]
fn an_error_is_one_checkers() {
    let dir = TempDir::new("seen");
    let rows = Arc::new(SeenRows::open(&file(&dir)).unwrap());
    let conn = Connection::open(file(&dir)).unwrap();
    conn.execute_batch(
        "CREATE TRIGGER t1 BEFORE INSERT ON seen WHEN new.key = 'bad' BEGIN SELECT raise(ABORT, 'no'); END;
         CREATE TRIGGER t2 BEFORE INSERT ON seen WHEN new.key = 'worse' BEGIN SELECT raise(ROLLBACK, 'no'); END",
    )
    .unwrap();
    // Held up, so that all of them are in one transaction.
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let threads: Vec<_> = (0..40)
        .map(|n| {
            let rows = Arc::clone(&rows);
            thread::spawn(move || {
                let key = ["good", "bad", "good", "worse"][n % 4];
                let result = [row("one", 1), row(key, 2), row("other", 3)];
                (n, rows.add(&Name::new(format!("{n:02}")), &result, at(0)))
            })
        })
        .collect();
    thread::sleep(std::time::Duration::from_millis(300));
    conn.execute_batch("COMMIT").unwrap();
    for thread in threads {
        let (n, added) = thread.join().unwrap();
        let there = rows.count(&Name::new(format!("{n:02}")), at(0), at(9)).unwrap();
        match n % 2 {
            0 => assert_eq!((added.unwrap().new, there), (3, 3)),
            _ => assert_eq!((added.is_err(), there), (true, 0)),
        }
    }
    assert_sound(&rows);
}
