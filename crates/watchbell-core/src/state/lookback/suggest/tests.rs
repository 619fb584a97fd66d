//! Cases.

use super::*;
use crate::model::Name;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

const START: &str = "2026-03-02T00:00:00+01:00";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

/// Rows that come by chance (always the same), with so many an hour by weekday and hour of local time.
fn rows(days: i64, rate: impl Fn(usize, usize) -> f64) -> Vec<Timestamp> {
    let mut seed = 42u64;
    let mut gap = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((seed >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        -uniform.ln()
    };
    let mut times = Vec::new();
    for minute in 0..days * 1440 {
        let start = Timestamp::from_secs(at(START).as_secs() + minute * 60);
        let local = berlin().to_datetime(start.to_jiff());
        let weekday = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap();
        let in_minute = rate(weekday, usize::try_from(local.hour()).unwrap()) / 60.0;
        let mut spent = gap();
        while spent < in_minute {
            times.push(Timestamp::from_micros(start.as_micros() + (spent / in_minute * 60e6) as i64));
            spent += gap();
        }
    }
    times
}

fn policy() -> Lookback {
    Lookback {
        source: Name::new("warehouse"),
        expect: Vec::new(),
        zone: berlin(),
        holidays: BTreeSet::new(),
        delay: Duration::ZERO,
        retention: Duration::from_secs(40 * 86_400),
        extra: None,
        value: None,
    }
}

fn ask(lookback_secs: u64, days: u64) -> Ask {
    let from = at(START);
    let lookback = Duration::from_secs(lookback_secs);
    Ask {
        lookback,
        minutes: usual_minutes(lookback),
        period: Period { from, until: from + Duration::from_secs(days * 86_400), known_from: from },
        coarse_days: false,
    }
}

/// A line as text: its days, its hours and its limits.
fn text(line: &Expectation) -> String {
    let days: String =
        "MTWTFSS".chars().enumerate().filter(|(i, _)| line.days.weekdays & (1 << i) != 0).map(|d| d.1).collect();
    let hours: Vec<String> = hour_ranges(line.hours).iter().map(|(a, b)| format!("{a}-{b}")).collect();
    format!("{days} {} {:?}..{:?}", hours.join(","), line.min, line.max)
}

fn office(weekday: usize, hour: usize) -> f64 {
    match (weekday, hour) {
        (5 | 6, _) => 6.0,
        (_, 8..18) => 120.0,
        _ => 20.0,
    }
}

/// S2.12: hours and days that are alike share a line, and limits leave room for chance.
#[test]
fn a_handful_of_lines() {
    let (n, some) = (None::<u64>, Some);
    // (name, days of history, look-back, rate, days and hours of the lines with what the limits must be between)
    type Line = (&'static str, Option<u64>, std::ops::RangeInclusive<u64>);
    type Rate = fn(usize, usize) -> f64;
    let cases: Vec<(&str, u64, u64, Rate, Vec<Line>)> = vec![
        ("always the same", 14, 3600, |_, _| 50.0, vec![("MTWTFSS 0-23", some(20), 80..=95)]),
        ("a day's window", 28, 86_400, |_, _| 10.0, vec![("MTWTFSS 0-23", some(160), 290..=330)]),
        ("few", 14, 3600, |_, _| 1.0, vec![("MTWTFSS 0-23", n, 8..=12)]),
        (
            "weekends are quiet; the hour whose windows reach back into them is by itself",
            28,
            600,
            |d, _| if d < 5 { 200.0 } else { 20.0 },
            vec![("MTWTF 1-23", some(13), 55..=75), ("MTWTF 0-0", some(1), 55..=75), ("SS 0-23", n, 40..=70)],
        ),
        (
            "office hours: the morning's first hour, still low, is with the night",
            28,
            600,
            office,
            vec![("MTWTF 9-17", some(5), 40..=50), ("MTWTF 0-8,18-23", n, 30..=70), ("SS 0-23", n, 8..=20)],
        ),
        (
            "mondays are special",
            28,
            600,
            |d, _| if d == 0 { 600.0 } else { 60.0 },
            vec![
                ("TWTF 0-23", some(1), 100..=150),
                ("M 1-23", some(64), 140..=160),
                ("M 0-0", some(7), 130..=160),
                ("SS 0-23", some(1), 25..=35),
            ],
        ),
    ];
    for (name, days, lookback, rate, expect) in cases {
        let times = rows(i64::try_from(days).unwrap(), rate);
        let found = suggest(&policy(), &times, &ask(lookback, days)).unwrap();
        let lines: Vec<String> = found.policy.expect.iter().map(text).collect();
        assert_eq!(lines.len(), expect.len(), "{name}: {lines:?}");
        for ((line, basis), (of, min, max)) in found.policy.expect.iter().zip(&found.lines).zip(expect) {
            let said = text(line);
            assert!(said.starts_with(&format!("{of} ")), "{name}: {said}, wanted {of}");
            let near = |min: u64| line.min.is_some_and(|m| m.abs_diff(min) * 5 <= min.max(10) * 2);
            assert!(min.map_or(line.min.is_none(), near), "{name}: {said}, wanted min {min:?}");
            assert!(max.contains(&line.max.unwrap()), "{name}: {said}, wanted max {max:?}");
            assert_eq!(basis.incidents, 0, "{name}: {said}");
            assert!(basis.chance_per_week < 0.2, "{name}: {basis:?}");
            assert!(basis.lowest <= basis.median && basis.median <= basis.highest);
        }
        // What they are founded on does not fire.
        assert_eq!(found.report.firings, [], "{name}");
    }
}

/// S2.12: an outage and a burst in the history do not widen the lines; the lines find them.
#[test]
fn incidents_are_left_out_and_found() {
    let mut times = rows(28, |_, _| 120.0);
    let outage = at("2026-03-11T10:00:00+01:00");
    times.retain(|time| *time < outage || *time > outage + Duration::from_secs(4 * 3600));
    let burst = at("2026-03-20T15:00:00+01:00");
    times.extend((0..900).map(|i| burst + Duration::from_secs(i)));
    times.sort();
    let found = suggest(&policy(), &times, &ask(3600, 28)).unwrap();
    assert_eq!(found.policy.expect.len(), 1);
    let basis = found.lines[0];
    assert!(basis.incidents >= 12, "{basis:?}");
    assert!(basis.lowest > 60 && basis.highest < 200, "{basis:?}");
    let line = &found.policy.expect[0];
    assert!(line.min.is_some_and(|min| (40..90).contains(&min)), "{line:?}");
    let firings: Vec<Timestamp> = found.report.firings.iter().map(|firing| firing.worst).collect();
    assert_eq!(firings.len(), 2, "{firings:?}");
    assert!(firings[0] > outage && firings[0] <= outage + Duration::from_secs(5 * 3600));
    assert!(firings[1] > burst && firings[1] <= burst + Duration::from_secs(2 * 3600));
}

/// S2.12: too little history is said, not guessed over.
#[test]
fn too_little_history_is_refused() {
    let day = |days: u64| Duration::from_secs(days * 86_400);
    let times = rows(10, |_, _| 10.0);
    let late = |days: u64| Ask {
        period: Period { known_from: at(START) + day(10 - days), ..ask(3600, 10).period },
        ..ask(3600, 10)
    };
    for (ask, expect) in [
        (ask(3600, 2), Some((day(2), day(7)))),
        (ask(86_400, 6), Some((day(6), day(7)))),
        (ask(2 * 86_400, 10), Some((day(10), day(14)))),
        (late(3), Some((day(3), day(7)))),
        (late(7), None),
        (ask(3600, 7), None),
    ] {
        let found = suggest(&policy(), &times, &ask);
        assert_eq!(
            found.as_ref().err(),
            expect.map(|(seen, wanted)| TooLittle::Short { seen, wanted }).as_ref(),
            "{ask:?}"
        );
    }
    assert_eq!(suggest(&policy(), &[], &ask(3600, 28)), Err(TooLittle::NoRows));
}

/// A `.dwmon` file knows weekdays and weekends only; holidays say nothing about usual days.
#[test]
fn days_are_as_the_file_can_say_them() {
    let times = rows(28, |d, _| if d == 0 { 600.0 } else { 60.0 });
    let found = suggest(&policy(), &times, &Ask { coarse_days: true, ..ask(600, 28) }).unwrap();
    assert!(found.policy.expect.iter().all(|line| matches!(line.days.weekdays, 0x7f | 0x1f | 0x60)));
    let mut on_holiday = policy();
    on_holiday.holidays =
        (0..30).map(|d| jiff::civil::date(2026, 3, 2).saturating_add(jiff::Span::new().days(d))).collect();
    let found = suggest(&on_holiday, &times, &ask(600, 28)).unwrap();
    assert_eq!(found.lines, []);
}

#[test]
fn small_parts() {
    for (secs, every) in
        [(1, 1), (60, 1), (180, 1), (600, 2), (900, 5), (1800, 10), (3600, 20), (7200, 30), (86_400, 60)]
    {
        assert_eq!(usual_minutes(Duration::from_secs(secs)), Minutes::EveryFromMidnight(every), "{secs}");
    }
    assert_eq!(hour_ranges(0b1100_0000_0000_0000_0000_0111), [(0, 2), (22, 23)]);
    assert_eq!(hour_ranges(0), []);
    for (spreads, expect) in [(0.0, 0.5), (1.0, 0.158_655), (2.0, 0.022_750), (4.0, 3.167e-5), (-1.0, 0.841_345)] {
        assert!((tail(spreads) - expect).abs() < 1e-6, "{spreads}: {}", tail(spreads));
    }
    let sure = |apart| {
        Basis { windows: 0, apart, incidents: 0, lowest: 0, median: 0, highest: 0, chance_per_week: 0.0 }.sure()
    };
    assert_eq!([sure(1.0), sure(20.0), sure(60.0)], [Sure::Weak, Sure::Fair, Sure::Good]);
}
