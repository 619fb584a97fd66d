//! Cases of the plan: which minutes are due, which are judged, and what is counted.

use super::*;

const START: i64 = 1_767_600_000; // Monday, 2026-01-05T08:00:00Z

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(START + seconds)
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn every_minute(lookback_s: u64) -> Expectation {
    Expectation {
        part: None,
        severity: Severity::Critical,
        days: Days { weekdays: 0x7f, holidays: false },
        hours: 0xff_ffff,
        minutes: Minutes::OfHour((1 << 60) - 1),
        lookback: Duration::from_secs(lookback_s),
        inclusive: false,
        min: Some(5),
        max: Some(20),
    }
}

fn policy(expect: Vec<Expectation>) -> Lookback {
    Lookback {
        source: Name::new("warehouse"),
        expect,
        zone: TimeZone::UTC,
        holidays: BTreeSet::new(),
        delay: Duration::ZERO,
        retention: Duration::from_secs(5 * 86_400),
        extra: None,
        value: None,
    }
}

/// S2.6: both ends of the window are excluded, whatever lies on them.
#[test]
fn counts_exclude_both_ends() {
    let expectation = every_minute(180);
    let window = expectation.window(0, at(180));
    let table: &[(&[i64], u64)] =
        &[(&[], 0), (&[0], 0), (&[180], 0), (&[0, 180], 0), (&[1], 1), (&[179], 1), (&[0, 1, 1, 90, 179, 180, 181], 4)];
    for (times, expect) in table {
        let times: Vec<Timestamp> = times.iter().map(|t| at(*t)).collect();
        assert_eq!(count(&times, &[window])[0].count, *expect, "{times:?}");
    }
    let both = Expectation { inclusive: true, ..every_minute(180) }.window(0, at(180));
    assert_eq!(count(&[at(-1), at(0), at(90), at(180), at(181)], &[both])[0].count, 3);
    let almost = [Timestamp::from_micros(at(0).as_micros() + 1), Timestamp::from_micros(at(180).as_micros() - 1)];
    assert_eq!(count(&almost, &[window])[0].count, 2);
}

/// S2.6: good between the bounds, they included.
#[test]
fn counts_are_judged_against_both_bounds() {
    let both = every_minute(60);
    for (count, expect) in [(4, Verdict::TooFew), (5, Verdict::Good), (20, Verdict::Good), (21, Verdict::TooMany)] {
        assert_eq!(both.judge(count), expect, "{count}");
    }
    let open = Expectation { max: None, ..both.clone() };
    assert_eq!(open.judge(u64::MAX), Verdict::Good);
    let none = Expectation { min: None, max: Some(0), ..both };
    assert_eq!((none.judge(0), none.judge(1)), (Verdict::Good, Verdict::TooMany));
}

/// S2.2, S2.6: hours, minutes and weekdays are local time; a listed holiday is no weekday.
#[test]
fn minutes_are_due_by_local_time() {
    let weekdays = Days { weekdays: 0x1f, holidays: false };
    let weekends = Days { weekdays: 0x60, holidays: false };
    let holidays = Days { weekdays: 0, holidays: true };
    let nine = |days| Expectation { days, hours: 1 << 9, minutes: Minutes::OfHour(1), ..every_minute(60) };
    let twentieth = (0..60).step_by(20).fold(0u64, |mask, m| mask | 1 << m);
    let table = [
        (nine(weekdays), "2026-01-05T08:00:00Z", true),
        (nine(weekdays), "2026-01-05T08:01:00Z", false),
        (nine(weekdays), "2026-01-05T09:00:00Z", false),
        (nine(weekdays), "2026-07-06T07:00:00Z", true),
        (nine(weekdays), "2026-01-10T08:00:00Z", false),
        (nine(weekends), "2026-01-10T08:00:00Z", true),
        (nine(weekdays), "2026-12-25T08:00:00Z", false),
        (nine(holidays), "2026-12-25T08:00:00Z", true),
        (nine(holidays), "2026-12-28T08:00:00Z", false),
        (Expectation { minutes: Minutes::OfHour(twentieth), ..every_minute(60) }, "2026-01-05T08:40:00Z", true),
        (Expectation { minutes: Minutes::OfHour(twentieth), ..every_minute(60) }, "2026-01-05T08:41:00Z", false),
        (Expectation { minutes: Minutes::EveryFromMidnight(90), ..every_minute(60) }, "2026-01-05T08:00:00Z", true),
        (Expectation { minutes: Minutes::EveryFromMidnight(90), ..every_minute(60) }, "2026-01-05T09:00:00Z", false),
    ];
    for (expectation, time, expect) in table {
        let mut policy = policy(vec![expectation]);
        policy.zone = zone("Europe/Berlin");
        policy.holidays = BTreeSet::from(["2026-12-25".parse().unwrap()]);
        let minute = Timestamp::from_jiff(time.parse().unwrap());
        assert_eq!(policy.is_due(0, minute), expect, "{time} {:?}", policy.expect[0]);
    }
}

/// S2.7: an outage of 25 minutes with a look-back of 180 s loses no minute; of 3 hours, it says which are beyond.
#[test]
fn the_walk_reaches_ten_look_backs() {
    let policy = policy(vec![every_minute(180)]);
    let state = LookbackState::new(&policy, at(0));
    let windows = |plan: &Plan| plan.windows.iter().map(|w| (w.minute.as_secs() - START) / 60).collect::<Vec<_>>();
    assert_eq!(windows(&policy.plan(&state, at(0))), [0]);
    let short = policy.plan(&state, at(25 * 60 + 30));
    assert_eq!((windows(&short), short.beyond), ((0..=25).collect(), None));
    let long = policy.plan(&state, at(180 * 60));
    assert_eq!(windows(&long), (151..=180).collect::<Vec<_>>());
    assert_eq!(long.beyond, Some(Beyond { count: 151, more: false, first: at(0), last: at(150 * 60) }));
}

/// S2.7: what was judged is not judged again when the look-back grows or a clock goes back.
#[test]
fn old_minutes_raise_no_new_alarms() {
    let policy = policy(vec![every_minute(86_400)]);
    let state = LookbackState { judged: at(0), ..LookbackState::new(&policy, at(0)) };
    assert_eq!(policy.plan(&state, at(0)).windows, []);
    assert_eq!(policy.plan(&state, at(-3600)).windows, []);
    assert_eq!(policy.plan(&state, at(-3600)).until, at(0));
    assert_eq!(policy.plan(&state, at(60)).windows.len(), 1);
}

#[test]
fn late_data_is_waited_for() {
    let mut policy = policy(vec![every_minute(180)]);
    policy.delay = Duration::from_secs(300);
    let state = LookbackState::new(&policy, at(0));
    let plan = policy.plan(&state, at(59));
    assert_eq!((plan.windows[0].minute, plan.until), (at(-300), at(-300)));
}

/// Every due minute is planned once, however irregularly runs come, over clock changes of any zone: the plan by pieces
/// of hours is the same as asking minute by minute.
#[test]
fn every_due_minute_is_planned_exactly_once() {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for name in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"] {
        let mut policy = policy(vec![
            Expectation { hours: 0b110, ..every_minute(600) },
            Expectation {
                part: Some("b".into()),
                days: Days { weekdays: 0x60, holidays: false },
                minutes: Minutes::EveryFromMidnight(45),
                ..every_minute(7200)
            },
        ]);
        policy.zone = zone(name);
        for change in ["2026-03-28T23:00:00Z", "2026-10-24T23:00:00Z", "2026-04-04T12:00:00Z", "2026-11-01T00:00:00Z"] {
            let begin = Timestamp::from_jiff(change.parse().unwrap());
            let mut state = LookbackState { judged: begin, ..LookbackState::new(&policy, begin) };
            let (mut now, mut planned) = (begin, Vec::new());
            while now < begin + Duration::from_secs(86_400) {
                now = now + Duration::from_secs(1 + random(1800));
                let plan = policy.plan(&state, now);
                assert_eq!(plan.beyond, None);
                planned.extend(plan.windows.iter().map(|w| (w.minute, w.line)));
                state.judged = plan.until;
            }
            let mut expect = Vec::new();
            let mut minute = minutes_later(begin, 1);
            while minute <= state.judged {
                expect.extend((0..2).filter(|line| policy.is_due(*line, minute)).map(|line| (minute, line)));
                minute = minutes_later(minute, 1);
            }
            assert_eq!(planned, expect, "{name} {change}");
        }
    }
}

#[test]
fn bad_minutes_are_asked_for_again_within_the_walk() {
    let policy = policy(vec![every_minute(60)]);
    let mut state = LookbackState::new(&policy, at(0));
    state.judged = at(0);
    state.note(&policy.expect[0], at(0), Verdict::TooFew);
    state.note(&policy.expect[0], at(0), Verdict::TooFew);
    state.spoke(None, at(0), Verdict::TooFew);
    let again = |state: &LookbackState, now| policy.plan(state, at(now)).windows.iter().filter(|w| w.again).count();
    assert_eq!((again(&state, 60), again(&state, 540), again(&state, 600)), (1, 1, 0));
    state.forget(&policy, at(540));
    assert_eq!((state.bad.len(), state.speaks_of(None)), (1, Some(at(0))));
    state.forget(&policy, at(600));
    assert_eq!(state.bad, []);
    for minute in 0..2 * BAD_MAX as i64 {
        state.note(&policy.expect[0], at(60 * minute), Verdict::TooFew);
    }
    assert_eq!((state.bad.len(), state.bad[0].minute), (BAD_MAX, at(60 * BAD_MAX as i64)));
    state.note(&policy.expect[0], at(60 * BAD_MAX as i64), Verdict::Good);
    assert_eq!(state.bad.len(), BAD_MAX - 1);
}

/// S2.9: what a walk still needs is never purged.
#[test]
fn retention_is_never_shorter_than_the_walk() {
    let mut policy = policy(vec![every_minute(86_400)]);
    policy.retention = Duration::from_secs(3600);
    let kept = at(0).since(policy.keep_from(at(0)));
    assert!(kept > Duration::from_secs(11 * 86_400), "{kept:?}");
    let policy = super::tests::policy(vec![every_minute(60)]);
    assert_eq!(at(0).since(policy.keep_from(at(0))), Duration::from_secs(5 * 86_400));
}

/// However many windows are due, a run gets a bounded number, and the next ones go on from there.
#[test]
fn a_run_gets_a_bounded_number_of_windows() {
    let policy = policy(vec![every_minute(86_400); 3]);
    let mut state = LookbackState { judged: at(-9 * 86_400), ..LookbackState::new(&policy, at(0)) };
    let (mut all, mut runs) = (0, 0);
    while state.judged < at(0) {
        let plan = policy.plan(&state, at(0));
        assert!(plan.windows.len() < WINDOWS_MAX + 3 * 60, "{}", plan.windows.len());
        (all, runs, state.judged) = (all + plan.windows.len(), runs + 1, plan.until);
    }
    assert_eq!((all, runs), (3 * 9 * 1440, 2));
}

/// S2.7: what was asked otherwise is another minute: a bad one is not judged again by other lines, whatever their names.
#[test]
fn bad_minutes_are_not_judged_again_by_other_lines() {
    let named = |part: &str, e: Expectation| Expectation { part: Some(part.into()), ..e };
    let old = named("expect-2", every_minute(60));
    let mut state = LookbackState::new(&policy(vec![old.clone()]), at(0));
    state.judged = at(0);
    state.note(&old, at(0), Verdict::TooFew);
    let table = [
        ("as it was", named("expect-2", every_minute(60)), 1),
        ("at other hours", Expectation { hours: 1, ..old.clone() }, 1),
        ("a longer look-back", named("expect-2", every_minute(3600)), 0),
        ("another `min`", Expectation { min: Some(4), ..old.clone() }, 0),
        ("another `max`", Expectation { max: None, ..old.clone() }, 0),
        ("other bounds", Expectation { inclusive: true, ..old.clone() }, 0),
        ("a line was inserted before it", named("expect-3", every_minute(60)), 0),
    ];
    for (what, line, expect) in table {
        let policy = policy(vec![named("expect-1", every_minute(60)), line]);
        let mut state = state.clone();
        let again = policy.plan(&state, at(60)).windows.into_iter().filter(|w| w.again).count();
        state.forget(&policy, at(60));
        assert_eq!((again, state.bad.len()), (expect, expect), "{what}");
    }
}

/// S2.7: a walk that takes several runs loses no minute of a line with a shorter one, and what is beyond is counted once.
#[test]
fn a_walk_of_several_runs_is_one_walk() {
    let part = |part: &str, e: Expectation| Expectation { part: Some(part.into()), ..e };
    let day = every_minute(86_400);
    let policy = policy(vec![part("a", day.clone()), part("b", day), part("short", every_minute(60))]);
    let mut state = LookbackState { judged: at(-8 * 86_400), ..LookbackState::new(&policy, at(0)) };
    let (mut planned, mut beyond, mut now) = (vec![Vec::new(); 3], Vec::new(), at(0));
    while state.judged < policy.newest(now) {
        now = now + Duration::from_secs(60);
        let plan = policy.plan(&state, now);
        plan.windows.iter().for_each(|w| planned[w.line].push((w.minute.as_secs() - START) / 60));
        beyond.extend(plan.beyond);
        (state.judged, state.walk) = (plan.until, plan.walk);
    }
    assert_eq!((now, state.walk), (at(120), None));
    assert_eq!(planned[0], (-8 * 1440 + 1..=2).collect::<Vec<_>>());
    assert_eq!(planned[2], (-8..=2).collect::<Vec<_>>());
    let (count, first) = (8 * 1440 - 9, at((-8 * 1440 + 1) * 60));
    assert_eq!(beyond, [Beyond { count, more: false, first, last: at(-9 * 60) }]);
}

/// A walk that was begun and not ended before a second outage: what was reported then is not reported again.
#[test]
fn a_second_outage_reports_only_its_own_minutes() {
    let policy = policy(vec![every_minute(60)]);
    let state = LookbackState { judged: at(-7200), walk: Some(at(0)), ..LookbackState::new(&policy, at(0)) };
    let plan = policy.plan(&state, at(7200));
    let expect = Beyond { count: 120, more: false, first: at(-9 * 60), last: at(7200 - 10 * 60) };
    assert_eq!((plan.beyond, plan.windows.len()), (Some(expect), 10));
    let soon = policy.plan(&state, at(60));
    assert_eq!((soon.beyond, soon.windows.len()), (None, 11));
}

/// From a clock that stood at 1970 on: what is beyond the walk is counted as far as that makes sense.
#[test]
fn a_gap_of_decades_is_counted_in_part() {
    let policy = policy(vec![every_minute(180)]);
    let state = LookbackState { judged: Timestamp::ZERO, ..LookbackState::new(&policy, at(0)) };
    let plan = policy.plan(&state, at(0));
    let (first, last) = (Timestamp::from_secs(60), at(-30 * 60));
    assert_eq!(plan.beyond, Some(Beyond { count: BEYOND_MINUTES_MAX, more: true, first, last }));
    assert_eq!((plan.windows.len(), plan.until), (30, at(0)));
}

/// What a clock that was far ahead judged is judged when it comes; an hour back is no such clock (S2.7), and neither is
/// a `delay` that was added.
#[test]
fn a_clock_set_right_judges_anew() {
    let mut policy = policy(vec![every_minute(60)]);
    let mut state = LookbackState { judged: at(5 * 86_400), ..LookbackState::new(&policy, at(0)) };
    for minute in [at(-60), at(5 * 86_400)] {
        state.note(&policy.expect[0], minute, Verdict::TooFew);
        state.spoke(None, minute, Verdict::TooFew);
    }
    assert_eq!(state.set_right(&policy, at(0)), Some(at(5 * 86_400)));
    let minutes: Vec<Timestamp> = policy.plan(&state, at(0)).windows.iter().map(|w| w.minute).collect();
    assert_eq!((minutes, state.speaks_of(None)), (vec![at(0), at(-60)], None));
    let mut hour = LookbackState { judged: at(3600), ..LookbackState::new(&policy, at(0)) };
    assert_eq!((hour.set_right(&policy, at(0)), hour.judged), (None, at(3600)));
    policy.delay = Duration::from_secs(86_400);
    assert_eq!(hour.set_right(&policy, at(3600)), None);
}
