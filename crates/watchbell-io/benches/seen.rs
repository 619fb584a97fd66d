//! How fast seen rows are stored and counted: `store::seen::SeenRows` against bare SQLite, in one run.
//!
//! `[SEEN_ROWS=10000000] [SEEN_DIR=/var/tmp] cargo bench -p watchbell-io --bench seen` fills both with the same rows
//! of 100 checkers (half have UUIDs as keys, half decimal numbers; results of 10,000 rows in random order), then
//! prints rates and their ratios, the median of seven alternating rounds, each of a checker of its own. Bare SQLite is
//! one prepared `INSERT OR IGNORE` a row in one transaction, on `(checker TEXT, key TEXT, time INTEGER, PRIMARY KEY
//! (checker, key))` with an index on `(checker, time)`; both have a write-ahead log, sync every commit, and keep
//! 16 MiB in memory.

use rusqlite::{Connection, params};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use watchbell_core::model::{Name, Row, Timestamp};
use watchbell_io::store::seen::SeenRows;

const CHECKERS: usize = 100;
const RESULT_ROWS: usize = 10_000;
const ROUNDS: usize = 7;
const COUNTS: usize = 401;
/// The rows of a checker are spread over five days, as retention keeps them.
const SPAN_US: u64 = 5 * 86_400 * 1_000_000;
const START_US: u64 = 1_760_000_000_000_000;

/// Numbers that a seed repeats (splitmix).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The rows of a checker, made from its number and theirs: nothing is kept in memory.
struct Data {
    rows: usize,
}

impl Data {
    fn name(checker: usize) -> Name {
        Name::new(format!("//warehouse/orders/checker-{checker}"))
    }

    fn row(&self, checker: usize, n: usize) -> Row {
        let mut dice = Dice((checker as u64) << 32 | n as u64);
        let key = if checker.is_multiple_of(2) {
            let (a, b) = (dice.next(), dice.next());
            let (a1, a2, a3) = (a >> 32, a >> 16 & 0xffff, a & 0xfff);
            format!("{a1:08x}-{a2:04x}-4{a3:03x}-{:04x}-{:012x}", b >> 48 & 0x3fff | 0x8000, b & 0xffff_ffff_ffff)
        } else {
            // Numbers of orders, with gaps.
            (4_711_000_000 + n as u64 * 7 + dice.next() % 7).to_string()
        };
        let step = SPAN_US / self.rows as u64;
        let time = START_US + n as u64 * step + dice.next() % step;
        Row { key, time: Timestamp::from_micros(time.cast_signed()) }
    }

    fn some(&self, checker: usize, which: impl Iterator<Item = usize>, dice: &mut Dice) -> Vec<Row> {
        let mut rows: Vec<Row> = which.map(|n| self.row(checker, n)).collect();
        dice.shuffle(&mut rows);
        rows
    }
}

/// SQLite as anybody would use it.
struct Bare(Connection);

impl Bare {
    fn open(path: &Path) -> Bare {
        let conn = Connection::open(path).expect("a database");
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;
             CREATE TABLE IF NOT EXISTS seen (checker TEXT, key TEXT, time INTEGER, PRIMARY KEY (checker, key));
             CREATE INDEX IF NOT EXISTS seen_time ON seen (checker, time);",
        )
        .expect("the tables");
        Bare(conn)
    }

    fn add(&mut self, checker: &Name, rows: &[Row]) -> u64 {
        let tx = self.0.transaction().expect("a transaction");
        let mut new = 0;
        {
            let sql = "INSERT OR IGNORE INTO seen (checker, key, time) VALUES (?1, ?2, ?3)";
            let mut put = tx.prepare_cached(sql).expect("a statement");
            for row in rows {
                new += put.execute(params![checker.as_str(), row.key, row.time.as_micros()]).expect("a row") as u64;
            }
        }
        tx.commit().expect("a commit");
        new
    }

    fn count(&self, checker: &Name, from: Timestamp, to: Timestamp) -> u64 {
        let sql = "SELECT count(*) FROM seen WHERE checker = ?1 AND time > ?2 AND time < ?3";
        let mut count = self.0.prepare_cached(sql).expect("a statement");
        count
            .query_row(params![checker.as_str(), from.as_micros(), to.as_micros()], |r| r.get::<_, i64>(0))
            .expect("a count")
            .cast_unsigned()
    }
}

fn main() {
    let rows: usize = std::env::var("SEEN_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let data = Data { rows: (rows / CHECKERS).max(2 * RESULT_ROWS) };
    let parent = std::env::var_os("SEEN_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("watchbell-bench-seen-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    run(&data, &folder);
    let _ = fs::remove_dir_all(&folder);
}

fn run(data: &Data, folder: &Path) {
    let (ours_at, bare_at) = (folder.join("rows.db"), folder.join("bare.db"));
    let ours = SeenRows::open(&ours_at).expect("ours");
    let mut bare = Bare::open(&bare_at);
    fill(data, &ours, &mut bare);
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len() / 1_000_000);
    println!("{} MB here, {} MB bare; a result is {RESULT_ROWS} rows", size(&ours_at), size(&bare_at));

    let mut dice = Dice(1);
    let tail = data.rows - RESULT_ROWS;
    adds("all seen, the newest", &ours, &mut bare, 0, |c| data.some(c, tail..data.rows, &mut Dice(c as u64)));
    adds("all seen, of all ages", &ours, &mut bare, 0, |c| {
        let mut dice = Dice(c as u64);
        let mut all: Vec<usize> = (0..data.rows).collect();
        dice.shuffle(&mut all);
        data.some(c, all.into_iter().take(RESULT_ROWS), &mut dice)
    });
    adds("all seen, at other times", &ours, &mut bare, 0, |c| {
        let mut rows = data.some(c, tail..data.rows, &mut Dice(c as u64));
        rows.iter_mut().for_each(|row| row.time = row.time + Duration::from_micros(1));
        rows
    });
    counts(data, &ours, &bare, &mut dice);
    let mut from = data.rows;
    adds("all new", &ours, &mut bare, RESULT_ROWS, |c| {
        from += RESULT_ROWS;
        data.some(c, from - RESULT_ROWS..from, &mut Dice(c as u64))
    });
    adds("all new, late", &ours, &mut bare, RESULT_ROWS, |c| {
        let mut dice = Dice(c as u64);
        let mut rows = data.some(c, 1_000_000_000..1_000_000_000 + RESULT_ROWS, &mut dice);
        for row in &mut rows {
            row.time = Timestamp::from_micros((START_US + dice.next() % SPAN_US).cast_signed());
        }
        rows
    });
}

/// Fills both with the same rows, result by result, each checker's in its turn.
fn fill(data: &Data, ours: &SeenRows, bare: &mut Bare) {
    let mut dice = Dice(0);
    let (mut our_time, mut bare_time) = (Duration::ZERO, Duration::ZERO);
    bare.0.execute_batch("PRAGMA synchronous = OFF").expect("no sync");
    for from in (0..data.rows).step_by(RESULT_ROWS) {
        for checker in 0..CHECKERS {
            let rows = data.some(checker, from..(from + RESULT_ROWS).min(data.rows), &mut dice);
            let name = Data::name(checker);
            let begin = Instant::now();
            let added = ours.add(&name, &rows, Timestamp::ZERO).expect("rows");
            our_time += begin.elapsed();
            let begin = Instant::now();
            assert_eq!(added.new, bare.add(&name, &rows));
            bare_time += begin.elapsed();
        }
    }
    bare.0.execute_batch("PRAGMA synchronous = FULL").expect("sync");
    let rate = |time: Duration| (data.rows * CHECKERS) as f64 / time.as_secs_f64();
    println!(
        "filled with {} rows: {:.0} rows/s here, {:.0} bare (without syncs)",
        data.rows * CHECKERS,
        rate(our_time),
        rate(bare_time)
    );
}

/// Adds results to both, each round another checker's.
fn adds(what: &str, ours: &SeenRows, bare: &mut Bare, new: usize, mut result: impl FnMut(usize) -> Vec<Row>) {
    let (mut our_rates, mut bare_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Apart from each other, and as many with keys of one kind as of the other.
        let checker = round * 13 % CHECKERS;
        let (rows, name) = (result(checker), Data::name(checker));
        let begin = Instant::now();
        let bare_new = bare.add(&name, &rows);
        let bare_time = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let added = ours.add(&name, &rows, Timestamp::ZERO).expect("rows");
        let our_time = begin.elapsed().as_secs_f64();
        assert_eq!((added.new, bare_new), (new as u64, new as u64), "{what}");
        our_rates.push(rows.len() as f64 / our_time);
        bare_rates.push(rows.len() as f64 / bare_time);
        ratios.push(bare_time / our_time);
    }
    let (our_rate, bare_rate, ratio) = (median(our_rates), median(bare_rates), median(ratios));
    println!("{what:26} {our_rate:9.0} rows/s, bare {bare_rate:8.0} rows/s, ratio {ratio:.2}");
}

/// Counts windows that hold the most rows a window is promised to be fast for.
fn counts(data: &Data, ours: &SeenRows, bare: &Bare, dice: &mut Dice) {
    for size in [100, 1_000, RESULT_ROWS] {
        let (mut our_ms, mut bare_ms) = (Vec::new(), Vec::new());
        for _ in 0..COUNTS {
            let (checker, first) = (dice.below(CHECKERS), dice.below(data.rows - size));
            let (name, from, to) =
                (Data::name(checker), data.row(checker, first).time, data.row(checker, first + size).time);
            let begin = Instant::now();
            let bare_count = bare.count(&name, from, to);
            bare_ms.push(begin.elapsed().as_secs_f64() * 1e3);
            let begin = Instant::now();
            let count = ours.count(&name, from, to).expect("a count");
            our_ms.push(begin.elapsed().as_secs_f64() * 1e3);
            assert_eq!((count, bare_count), (size as u64 - 1, size as u64 - 1));
        }
        let (ours, bare) = (median(our_ms), median(bare_ms));
        println!("count of {size:6} rows: {ours:.3} ms at the median, bare {bare:.3} ms, ratio {:.2}", bare / ours);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
