//! Cases.

use super::*;
use crate::{
    model::{Name, Severity},
    state::lookback::{Days, Minutes, count},
};
use jiff::{civil::date, tz::TimeZone};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn line(lookback_secs: u64, min: Option<u64>, max: Option<u64>) -> Expectation {
    Expectation {
        part: None,
        severity: Severity::Error,
        days: Days { weekdays: 0x7f, holidays: false },
        hours: 0xff_ffff,
        minutes: Minutes::EveryFromMidnight(1),
        lookback: Duration::from_secs(lookback_secs),
        inclusive: false,
        min,
        max,
    }
}

fn policy(expect: Vec<Expectation>) -> Lookback {
    Lookback {
        source: Name::new("warehouse"),
        expect,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        holidays: BTreeSet::new(),
        delay: Duration::ZERO,
        retention: Duration::from_secs(40 * 86_400),
        extra: None,
        value: None,
    }
}

fn run(policy: &Lookback, times: &[Timestamp], period: Period, step: u64) -> Report {
    let mut backtest = Backtest::new(policy, times, period);
    while backtest.advance(step) {}
    assert!((backtest.done() - 1.0).abs() < 1e-9);
    backtest.finish()
}

/// Minutes of an hour of 2026-03-02 (a Monday) in Berlin.
fn minute(hour: i64, minute: i64) -> Timestamp {
    Timestamp::from_secs(at("2026-03-02T00:00:00+01:00").as_secs() + hour * 3600 + minute * 60)
}

fn local(at: Timestamp) -> String {
    at.to_jiff().to_zoned(TimeZone::get("Europe/Berlin").unwrap()).strftime("%a %H:%M").to_string()
}

/// A firing on one line.
fn text(firing: &Firing) -> String {
    let over = firing.over.map_or_else(|| "-".to_owned(), local);
    format!(
        "{} {}..{} over {over} {} bad {}..{} worst {} {} {:?}",
        firing.line,
        local(firing.from),
        local(firing.to),
        firing.minutes,
        firing.lowest,
        firing.highest,
        local(firing.worst),
        firing.worst_count,
        firing.worst_verdict
    )
}

/// S2.12: bad minutes in a row are one firing, with its ends, its counts and its worst minute.
#[test]
fn firings_are_runs_of_bad_minutes() {
    let every_minute = |from: Timestamp, until: Timestamp| {
        let secs = (from.as_secs() + 30..until.as_secs()).step_by(60);
        secs.map(Timestamp::from_secs).collect::<Vec<_>>()
    };
    let gap = [every_minute(minute(0, 0), minute(9, 0)), every_minute(minute(9, 10), minute(24, 0))].concat();
    let burst = {
        let mut all = [gap.clone(), vec![minute(10, 0) + Duration::from_secs(1); 5]].concat();
        all.sort();
        all
    };
    // Three at 09:01:00, at 09:02:00 and at 09:04:00: none of them is in a window that begins or ends there.
    let on_ends = [1, 2, 4].map(|at| vec![minute(9, at); 3]).concat();
    let office = |mut e: Expectation| {
        e.hours = 0b11 << 9;
        e
    };
    let every_20 = |mut e: Expectation| {
        e.minutes = Minutes::EveryFromMidnight(20);
        e
    };
    let day = Period { from: minute(1, 0), until: minute(12, 0), known_from: minute(0, 0) };
    for (name, times, expect, period, firings) in [
        (
            "too few",
            &gap,
            vec![line(300, Some(4), None)],
            day,
            vec!["0 Mon 09:02..Mon 09:13 over Mon 09:14 12 bad 0..3 worst Mon 09:05 0 TooFew"],
        ),
        (
            "too few and too many",
            &burst,
            vec![line(300, Some(4), Some(6))],
            day,
            vec![
                "0 Mon 09:02..Mon 09:13 over Mon 09:14 12 bad 0..3 worst Mon 09:05 0 TooFew",
                "0 Mon 10:01..Mon 10:05 over Mon 10:06 5 bad 10..10 worst Mon 10:01 10 TooMany",
            ],
        ),
        (
            "what is not due does not end it",
            &gap,
            vec![office(every_20(line(300, Some(6), None)))],
            Period { until: minute(34, 0), ..day },
            vec!["0 Mon 09:00..Tue 10:00 over - 10 bad 0..5 worst Tue 09:00 0 TooFew"],
        ),
        (
            "lines by themselves",
            &gap,
            vec![line(600, Some(1), None), line(300, None, Some(4))],
            Period { from: minute(9, 8), until: minute(9, 16), ..day },
            vec![
                "0 Mon 09:10..Mon 09:10 over Mon 09:11 1 bad 0..0 worst Mon 09:10 0 TooFew",
                "1 Mon 09:15..Mon 09:16 over - 2 bad 5..5 worst Mon 09:15 5 TooMany",
            ],
        ),
        (
            "windows that begin before anything is known are not judged",
            &gap,
            vec![line(3600, Some(100), None)],
            Period { from: minute(9, 0), until: minute(9, 2), known_from: minute(8, 1) },
            vec!["0 Mon 09:01..Mon 09:02 over - 2 bad 58..59 worst Mon 09:02 58 TooFew"],
        ),
        (
            "both ends of a window are excluded",
            &on_ends,
            vec![line(120, None, Some(2))],
            Period { from: minute(9, 0), until: minute(9, 8), ..day },
            vec![
                "0 Mon 09:02..Mon 09:03 over Mon 09:04 2 bad 3..3 worst Mon 09:02 3 TooMany",
                "0 Mon 09:05..Mon 09:05 over Mon 09:06 1 bad 3..3 worst Mon 09:05 3 TooMany",
            ],
        ),
        ("nothing", &gap, vec![], day, vec![]),
        ("no time", &gap, vec![line(60, Some(9), None)], Period { until: minute(0, 30), ..day }, vec![]),
    ] {
        let report = run(&policy(expect), times, period, 7);
        assert_eq!(report.firings.iter().map(text).collect::<Vec<_>>(), firings, "{name}");
        let fired: u64 = report.lines.iter().map(|tally| tally.firings).sum();
        assert_eq!(fired, u64::try_from(firings.len()).unwrap(), "{name}");
    }
}

/// A backtest that is stopped says up to where it came, and what it found holds.
#[test]
fn it_can_be_stopped() {
    let policy = policy(vec![line(60, Some(1), None)]);
    let period = Period { from: minute(1, 0), until: minute(4, 59), known_from: minute(0, 0) };
    let mut backtest = Backtest::new(&policy, &[], period);
    assert!(backtest.advance(60));
    let done = backtest.done();
    assert!((0.24..0.26).contains(&done), "{done}");
    let report = backtest.finish();
    assert_eq!((report.lines[0].judged, report.next), (60, minute(2, 0)));
    assert_eq!(report.firings.len(), 1);
    assert_eq!(report.firings[0].over, None);
}

/// S2.12: a month at one judgement a minute over 100,000 rows is one pass.
#[test]
fn a_month_is_one_pass() {
    let times: Vec<Timestamp> =
        (0..100_000).map(|i| Timestamp::from_secs(minute(0, 0).as_secs() + i * 30 * 864 / 1000)).collect();
    let lines = vec![line(3600, Some(100), Some(200)), line(86_400, Some(1000), None)];
    let until = minute(30 * 24, 0);
    let period = Period { from: minute(24, 0), until, known_from: minute(0, 0) };
    let policy = policy(lines);
    let mut backtest = Backtest::new(&policy, &times, period);
    while backtest.advance(10_000) {}
    // Each pointer went over the times once: what it costs is bounded by rows and minutes.
    assert!(backtest.walk.slides.iter().all(|slide| slide.first <= slide.end && slide.end <= times.len()));
    let report = backtest.finish();
    assert_eq!(report.lines[0].judged, 29 * 1440 + 1);
}

/// Judges every minute by itself, as slowly as can be.
fn slow(policy: &Lookback, times: &[Timestamp], period: Period) -> (Vec<Tally>, Vec<Firing>) {
    let mut tallies = vec![Tally::default(); policy.expect.len()];
    let mut bad: Vec<Vec<(Timestamp, u64, Verdict)>> = vec![Vec::new(); policy.expect.len()];
    let mut firings = Vec::new();
    let firing = |line: usize, run: &[(Timestamp, u64, Verdict)], over| {
        let misses = |&(_, count, _): &(Timestamp, u64, Verdict)| policy.expect[line].misses_by(count);
        let worst = run.iter().rev().max_by_key(|m| misses(m)).unwrap();
        Firing {
            line,
            from: run[0].0,
            to: run.last().unwrap().0,
            over,
            minutes: u64::try_from(run.len()).unwrap(),
            lowest: run.iter().map(|m| m.1).min().unwrap(),
            highest: run.iter().map(|m| m.1).max().unwrap(),
            worst: worst.0,
            worst_count: worst.1,
            worst_verdict: worst.2,
        }
    };
    let first = period.from.as_micros().div_euclid(MINUTE_US) + i64::from(period.from.as_micros() % MINUTE_US != 0);
    for minute in (first..).map(|m| Timestamp::from_micros(m * MINUTE_US)).take_while(|m| *m <= period.until) {
        let windows = policy.windows_at(minute).into_iter().filter(|w| w.from >= period.known_from);
        for counted in count(times, &windows.collect::<Vec<_>>()) {
            let line = counted.line;
            let verdict = policy.expect[line].judge(counted.count);
            tallies[line].judged += 1;
            match verdict {
                Verdict::TooFew => tallies[line].too_few += 1,
                Verdict::TooMany => tallies[line].too_many += 1,
                Verdict::Good if bad[line].is_empty() => {}
                Verdict::Good => firings.push(firing(line, &std::mem::take(&mut bad[line]), Some(minute))),
            }
            if verdict != Verdict::Good {
                bad[line].push((minute, counted.count, verdict));
            }
        }
    }
    for (line, run) in bad.iter().enumerate().filter(|(_, run)| !run.is_empty()) {
        firings.push(firing(line, run, None));
    }
    firings.sort_by_key(|firing| (firing.from, firing.line));
    for firing in &firings {
        tallies[firing.line].firings += 1;
    }
    (tallies, firings)
}

prop_compose! {
    fn expectations()(
        weekdays in 0u8..128, holidays: bool, hours in 0u32..1 << 24, all_hours: bool,
        mask in any::<u64>(), step in 1u16..90, masked: bool,
        lookback_secs in prop_oneof![1u64..120, 120u64..90_000, (1u64..200).prop_map(|minutes| minutes * 60)],
        min in proptest::option::of(0u64..12), over in proptest::option::of(0u64..12),
    ) -> Expectation {
        Expectation {
            days: Days { weekdays, holidays },
            hours: if all_hours { 0xff_ffff } else { hours },
            minutes: if masked { Minutes::OfHour(mask & ((1 << 60) - 1)) } else { Minutes::EveryFromMidnight(step) },
            max: over.map(|over| min.unwrap_or(0) + over),
            ..line(lookback_secs, min, None)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// S2.12: sliding the windows over a period finds what judging every minute by itself finds; over clock changes too.
    #[test]
    fn sliding_finds_what_every_minute_by_itself_finds(
        expect in proptest::collection::vec(expectations(), 1..4),
        autumn: bool,
        rows in proptest::collection::vec(0i64..3 * 86_400_000, 0..400),
        from_secs in 0i64..86_400, length_secs in 0i64..2 * 86_400, known_secs in -86_400i64..86_400,
        step in 1u64..500,
    ) {
        let day = if autumn { "2026-10-24T00:00:00Z" } else { "2026-03-28T00:00:00Z" };
        let start = at(day).as_secs();
        // On whole seconds often, where windows begin and end.
        let time = |ms: i64| Timestamp::from_micros((start * 1000 + if ms % 2 == 0 { ms / 60_000 * 60_000 } else { ms }) * 1000);
        let mut times: Vec<Timestamp> = rows.into_iter().map(time).collect();
        times.sort();
        let mut policy = policy(expect);
        policy.holidays.insert(date(2026, 10, 25));
        let from = Timestamp::from_secs(start + from_secs);
        let period = Period {
            from,
            until: from + Duration::from_secs(length_secs.unsigned_abs()),
            known_from: Timestamp::from_secs(start + known_secs),
        };
        let report = run(&policy, &times, period, step);
        let (lines, firings) = slow(&policy, &times, period);
        prop_assert_eq!(report.lines, lines);
        prop_assert_eq!(report.firings, firings);
    }
}
