//! Tables of expressions and their slots, and a slow oracle that plays Debian's cron minute by minute.

use super::*;
use jiff::civil::Weekday;
use proptest::prelude::*;
use std::collections::BTreeSet;

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The slots after a time, in UTC, as many as are expected.
fn check(cron: &str, zone_name: &str, from: &str, expect: &[&str]) {
    let parsed = Cron::parse(cron).unwrap();
    let mut t = at(from);
    for (n, expected) in expect.iter().enumerate() {
        let next = parsed.next_after(t, &zone(zone_name)).unwrap();
        assert_eq!(next, at(expected), "slot {n} of `{cron}` in {zone_name} after {from}");
        t = next;
    }
    let counted = parsed.count_between(at(from), t, &zone(zone_name));
    assert_eq!(counted, expect.len() as u64, "count of `{cron}` in {zone_name} from {from} to {t}");
}

/// S1.2: lists, ranges, steps, names, 7 = Sunday, the words.
#[test]
fn fields() {
    let from = "2026-03-04T10:07:30Z"; // a Wednesday
    for (cron, expect) in [
        ("* * * * *", &["2026-03-04T10:08:00Z", "2026-03-04T10:09:00Z"][..]),
        ("*/5 * * * *", &["2026-03-04T10:10:00Z", "2026-03-04T10:15:00Z"]),
        ("5-5 * * * *", &["2026-03-04T11:05:00Z", "2026-03-04T12:05:00Z"]),
        ("1-10/3 * * * *", &["2026-03-04T10:10:00Z", "2026-03-04T11:01:00Z", "2026-03-04T11:04:00Z"]),
        (
            "50/4 * * * *",
            &["2026-03-04T10:50:00Z", "2026-03-04T10:54:00Z", "2026-03-04T10:58:00Z", "2026-03-04T11:50:00Z"],
        ),
        ("*/90 * * * *", &["2026-03-04T11:00:00Z", "2026-03-04T12:00:00Z"]),
        ("0,30 8-18/5 * * *", &["2026-03-04T13:00:00Z", "2026-03-04T13:30:00Z", "2026-03-04T18:00:00Z"]),
        ("07 010 * * *", &["2026-03-05T10:07:00Z"]),
        ("0 0 * * 7", &["2026-03-08T00:00:00Z", "2026-03-15T00:00:00Z"]),
        ("0 0 * * 0", &["2026-03-08T00:00:00Z"]),
        (
            "0 0 * * 5-7",
            &["2026-03-06T00:00:00Z", "2026-03-07T00:00:00Z", "2026-03-08T00:00:00Z", "2026-03-13T00:00:00Z"],
        ),
        ("0 0 * * Mon-FRI", &["2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-09T00:00:00Z"]),
        ("0 0 * * sunday,tue", &["2026-03-08T00:00:00Z", "2026-03-10T00:00:00Z"]),
        ("0 12 1 Jan,JUL *", &["2026-07-01T12:00:00Z", "2027-01-01T12:00:00Z"]),
        ("0 12 1 nov-december *", &["2026-11-01T12:00:00Z", "2026-12-01T12:00:00Z", "2027-11-01T12:00:00Z"]),
        ("  0\t12  1 1  * ", &["2027-01-01T12:00:00Z"]),
        ("@hourly", &["2026-03-04T11:00:00Z", "2026-03-04T12:00:00Z"]),
        ("@daily", &["2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z"]),
        ("@Midnight", &["2026-03-05T00:00:00Z"]),
        ("@weekly", &["2026-03-08T00:00:00Z", "2026-03-15T00:00:00Z"]),
        ("@monthly", &["2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"]),
        ("@yearly", &["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
        ("@annually", &["2027-01-01T00:00:00Z"]),
    ] {
        check(cron, "UTC", from, expect);
    }
}

/// S1.2: day-of-month and weekday combine by OR, unless one of them starts with `*`.
#[test]
fn days_and_weekdays() {
    let from = "2026-03-04T10:07:30Z";
    for (cron, expect) in [
        ("0 0 13 * 5", &["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"][..]),
        ("0 0 10 * 5", &["2026-03-06T00:00:00Z", "2026-03-10T00:00:00Z", "2026-03-13T00:00:00Z"]),
        ("0 0 */10 * 1", &["2026-05-11T00:00:00Z", "2026-06-01T00:00:00Z", "2026-08-31T00:00:00Z"]),
        ("0 0 1,15 * */3", &["2026-03-15T00:00:00Z", "2026-04-01T00:00:00Z", "2026-04-15T00:00:00Z"]),
        ("0 0 15 * ?", &["2026-03-15T00:00:00Z", "2026-04-15T00:00:00Z"]),
        ("0 0 ? * mon", &["2026-03-09T00:00:00Z", "2026-03-16T00:00:00Z"]),
        ("0 0 ? * *", &["2026-03-05T00:00:00Z"]),
        ("0 0 1-31 * mon", &["2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z"]),
        ("0 0 *,5 * mon", &["2026-03-09T00:00:00Z", "2026-03-16T00:00:00Z"]),
        ("0 0 5,* * mon", &["2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z"]),
    ] {
        check(cron, "UTC", from, expect);
    }
}

/// S1.2: `L`, `W` and `#`.
#[test]
fn last_nearest_nth() {
    let from = "2026-01-01T12:00:00Z"; // a Thursday
    for (cron, expect) in [
        ("0 0 L * *", &["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"][..]),
        ("0 0 l-3 * *", &["2026-01-28T00:00:00Z", "2026-02-25T00:00:00Z"]),
        ("0 0 L-30 * *", &["2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z"]),
        ("0 0 LW * *", &["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-31T00:00:00Z"]),
        ("0 0 15W * *", &["2026-01-15T00:00:00Z", "2026-02-16T00:00:00Z", "2026-03-16T00:00:00Z"]),
        ("0 0 1w * *", &["2026-02-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-04-01T00:00:00Z"]),
        ("0 0 1W 8 *", &["2026-08-03T00:00:00Z"]),
        ("0 0 31W * *", &["2026-01-30T00:00:00Z", "2026-03-31T00:00:00Z", "2026-05-29T00:00:00Z"]),
        ("0 0 1,15W,L 2 *", &["2026-02-01T00:00:00Z", "2026-02-16T00:00:00Z", "2026-02-28T00:00:00Z"]),
        ("0 0 * * 5L", &["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"]),
        ("0 0 * * friL", &["2026-01-30T00:00:00Z"]),
        ("0 0 * * 7l", &["2026-01-25T00:00:00Z", "2026-02-22T00:00:00Z"]),
        ("0 0 * * mon#2", &["2026-01-12T00:00:00Z", "2026-02-09T00:00:00Z"]),
        ("0 0 * * 1#1", &["2026-01-05T00:00:00Z", "2026-02-02T00:00:00Z"]),
        ("0 0 ? * 1#5", &["2026-03-30T00:00:00Z", "2026-06-29T00:00:00Z"]),
        ("0 0 * * mon#1,fri", &["2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-09T00:00:00Z"]),
        ("0 0 L * 1#1", &["2026-01-05T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-02T00:00:00Z"]),
    ] {
        check(cron, "UTC", from, expect);
    }
}

#[test]
fn year_ends_and_leap_days() {
    check("59 23 31 12 *", "UTC", "2026-12-31T23:58:59Z", &["2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"]);
    check("* * * * *", "UTC", "2026-12-31T23:59:00Z", &["2027-01-01T00:00:00Z"]);
    check("0 0 1 1 *", BERLIN, "2026-12-31T22:59:59.999999Z", &["2026-12-31T23:00:00Z", "2027-12-31T23:00:00Z"]);
    check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
    check("0 0 L 2 *", "UTC", "2027-03-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2029-02-28T00:00:00Z"]);
    // A leap day on a Sunday waits 28 years, and 40 across 2100.
    check(
        "0 0 29 2 */7",
        "UTC",
        "2032-03-01T00:00:00Z",
        &["2060-02-29T00:00:00Z", "2088-02-29T00:00:00Z", "2128-02-29T00:00:00Z"],
    );
}

/// S1.2 and DESIGN's rule for clock changes: fixed times run once, `*` follows the wall clock.
#[test]
fn clock_changes() {
    // Berlin skips 02:00-03:00 on 2026-03-29 (01:00 UTC) and repeats it on 2026-10-25 (until 01:00 UTC).
    let (spring, autumn) = ("2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z");
    check("30 2 * * *", BERLIN, spring, &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    check("0,10,50 2 * * *", BERLIN, spring, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
    check("30 2 29 3 *", BERLIN, "2025-04-01T00:00:00Z", &["2026-03-29T01:00:00Z", "2027-03-29T00:30:00Z"]);
    check("0 2-3 * * *", BERLIN, spring, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z"]);
    check("0 3 * * *", BERLIN, spring, &["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]);
    check("*/30 2 * * *", BERLIN, spring, &["2026-03-30T00:00:00Z", "2026-03-30T00:30:00Z"]);
    check("30 * * * *", BERLIN, "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
    check("30 2 * * *", BERLIN, autumn, &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    check("30 2 * * *", BERLIN, "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
    check("0 3 * * *", BERLIN, autumn, &["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]);
    check(
        "*/30 2 * * *",
        BERLIN,
        autumn,
        &[
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:00:00Z",
        ],
    );
    check(
        "@hourly",
        BERLIN,
        "2026-10-24T23:30:00Z",
        &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
    );
    // New York skips 02:00-03:00 on 2026-03-08 (07:00 UTC) and repeats 01:00-02:00 on 2026-11-01 (until 06:00 UTC).
    check("15 2 * * *", NEW_YORK, "2026-03-07T12:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"]);
    check("15 1 * * *", NEW_YORK, "2026-10-31T12:00:00Z", &["2026-11-01T05:15:00Z", "2026-11-02T06:15:00Z"]);
    check("15 */1 * * *", NEW_YORK, "2026-11-01T05:00:00Z", &["2026-11-01T05:15:00Z", "2026-11-01T06:15:00Z"]);
    // Lord Howe moves by half an hour: skips 02:00-02:30 on 2026-10-04, repeats 01:30-02:00 on 2026-04-05.
    let lord_howe = "Australia/Lord_Howe";
    check("10 2 * * *", lord_howe, "2026-10-02T16:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:10:00Z"]);
    check("40 2 * * *", lord_howe, "2026-10-02T17:00:00Z", &["2026-10-03T15:40:00Z"]);
    check("45 1 * * *", lord_howe, "2026-04-04T00:00:00Z", &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    check(
        "*/45 1 * * *",
        lord_howe,
        "2026-04-04T00:00:00Z",
        &["2026-04-04T14:00:00Z", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"],
    );
    // Samoa left out 2011-12-30: a day is a correction, nothing is made up for.
    check("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", &["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"]);
    // Beirut skips midnight: the day's job runs right after.
    check("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", &["2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"]);
}

#[test]
fn impossible_dates_end_the_search() {
    for cron in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 L-29 2 *", "0 0 */30 * 1#2"] {
        let parsed = Cron::parse(cron).unwrap();
        assert!(parsed.never_fires(), "{cron}");
        assert_eq!(parsed.next_after(Timestamp::ZERO, &zone(BERLIN)), None, "{cron}");
        assert_eq!(parsed.count_between(Timestamp::ZERO, at("2400-01-01T00:00:00Z"), &zone(BERLIN)), 0, "{cron}");
    }
    for cron in ["0 0 29 2 *", "0 0 29 2 */7", "* * * * *", "0 0 30 2 1"] {
        assert!(!Cron::parse(cron).unwrap().never_fires(), "{cron}");
    }
    // Always in the skipped hour, and bound to the wall clock.
    assert_eq!(Cron::parse("* 2 * 3 7L").unwrap().next_after(at("2026-01-01T00:00:00Z"), &zone(BERLIN)), None);
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let every = Cron::parse("* * * * *").unwrap();
    for micros in [i64::MIN, i64::MIN / 2, i64::MAX / 2, i64::MAX] {
        for name in ["UTC", BERLIN] {
            let t = Timestamp::from_micros(micros);
            let next = every.next_after(t, &zone(name));
            assert!(next.is_none_or(|next| micros < 0 || next > t));
            every.count_between(t, Timestamp::MAX, &zone(name));
        }
    }
}

/// A text, and what is told about it: offset, message, a part of the hint.
type Mistake = (&'static str, usize, &'static str, &'static str);

fn check_mistakes(table: &[Mistake]) {
    for &(text, offset, message, hint) in table {
        let error = Cron::parse(text).unwrap_err();
        assert_eq!((error.offset, error.message.as_str()), (offset, message), "{text}");
        let given = error.hint.unwrap_or_default();
        assert!(given.contains(hint), "{text}: `{given}` lacks `{hint}`");
    }
}

/// S1.2: what is no crontab syntax is told, with its place and what to write.
#[test]
fn wrong_values() {
    let order = "the five fields are minute, hour, day of the month, month, weekday";
    check_mistakes(&[
        ("", 0, "the cron expression is empty", order),
        ("   ", 0, "the cron expression is empty", order),
        ("* * * *", 7, "a cron expression has five fields, this has 4", order),
        ("* * * * * *", 10, "a cron expression has five fields, this has 6", "there is none for seconds or years"),
        ("60 * * * *", 0, "`60` is no minute", "minutes are 0 to 59"),
        ("-1 * * * *", 0, "a minute is missing here", "minutes are 0 to 59"),
        ("+5 * * * *", 0, "`+5` is no minute", "minutes are 0 to 59"),
        ("1.5 * * * *", 0, "`1.5` is no minute", "minutes are 0 to 59"),
        ("99999999999 * * * *", 0, "`99999999999` is no minute", "minutes are 0 to 59"),
        ("* 24 * * *", 2, "`24` is no hour", "hours are 0 to 23"),
        ("* 8-25 * * *", 4, "`25` is no hour", "hours are 0 to 23"),
        ("* L * * *", 2, "`L` is no hour", "hours are 0 to 23"),
        ("* * 0 * *", 4, "`0` is no day of the month", "days are 1 to 31"),
        ("* * 32 * *", 4, "`32` is no day of the month", "days are 1 to 31"),
        ("* * 32W * *", 4, "`32` is no day of the month", "days are 1 to 31"),
        ("* * W * *", 4, "a day of the month is missing here", "`15W`"),
        ("* * L-31 * *", 6, "`31` is no number of days before the last", "write `L-1` to `L-30`"),
        ("* * L-3W * *", 6, "`3W` is no number of days before the last", "write `L-1` to `L-30`"),
        ("* * * 13 *", 6, "`13` is no month", "months are 1 to 12 or `jan` to `dec`"),
        ("* * * 0 *", 6, "`0` is no month", "months are 1 to 12"),
        ("* * * foo *", 6, "`foo` is no month", "`jan` to `dec`"),
        ("* * * * 8", 8, "`8` is no weekday", "weekdays are 0 to 7"),
        ("* * * * mond", 8, "`mond` is no weekday", "`sun` to `sat`"),
        ("* * * * 5W", 8, "`5W` is no weekday", "weekdays are 0 to 7"),
        ("* * * * L", 8, "`L` needs a weekday before it", "write `5L` for the last Friday of the month"),
        ("* * * * mon#6", 12, "`6` is no count of a weekday in a month", "write `#1` to `#5`"),
        ("* * * * mon#", 12, "`` is no count of a weekday in a month", "write `#1` to `#5`"),
        ("* * * * #2", 8, "a weekday is missing here", "weekdays are 0 to 7"),
        ("* * 3#2 * *", 4, "`3#2` is no day of the month", "days are 1 to 31"),
    ]);
}

/// S1.2: the same for lists, ranges, steps and words.
#[test]
fn wrong_shapes() {
    check_mistakes(&[
        ("1,,2 * * * *", 2, "a minute is missing here", "minutes are 0 to 59"),
        ("1,2, * * * *", 4, "a minute is missing here", "minutes are 0 to 59"),
        ("5- * * * *", 2, "a minute is missing here", "minutes are 0 to 59"),
        ("*-5 * * * *", 0, "`*` is no minute", "minutes are 0 to 59"),
        ("30-10 * * * *", 0, "the range `30-10` ends before it starts", "write `30-59,0-10`"),
        ("* 22-0 * * *", 2, "the range `22-0` ends before it starts", "write `22-23,0`"),
        ("* * * nov-feb *", 6, "the range `nov-feb` ends before it starts", "write `nov-12,1-feb`"),
        ("* * * * 6-1", 8, "the range `6-1` ends before it starts", "write `6,0-1`"),
        ("* * * * 5-0", 8, "the range `5-0` ends before it starts", "write `5-7`"),
        ("* * * * 7-2", 8, "the range `7-2` ends before it starts", "write `0-2`"),
        ("* 23-0 * * *", 2, "the range `23-0` ends before it starts", "write `23,0`"),
        ("* 22-3 * * *", 2, "the range `22-3` ends before it starts", "write `22-23,0-3`"),
        ("* 22-3/2 * * *", 2, "the range `22-3` ends before it starts", "write `22,0,2`"),
        ("* * 31-1 * *", 4, "the range `31-1` ends before it starts", "write `31,1`"),
        ("@anually", 0, "`@anually` is no cron word", "did you mean `@annually`?"),
        ("* * * * fri-sun", 8, "the range `fri-sun` ends before it starts", "write `fri-7`"),
        ("* * * * sat-tue", 8, "the range `sat-tue` ends before it starts", "write `sat,0-tue`"),
        ("*/0 * * * *", 2, "`0` is no step", "a step is a number from 1 on"),
        ("*/ * * * *", 2, "`` is no step", "a step is a number from 1 on"),
        ("*/x * * * *", 2, "`x` is no step", "a step is a number from 1 on"),
        ("*/5/2 * * * *", 2, "`5/2` is no step", "a step is a number from 1 on"),
        ("/5 * * * *", 0, "a minute is missing here", "minutes are 0 to 59"),
        ("? * * * *", 0, "`?` is no minute", "elsewhere write `*`"),
        ("* * * ? *", 6, "`?` is no month", "elsewhere write `*`"),
        ("* * 1,? * *", 6, "`?` is no day of the month", "`?` stands alone"),
        ("* * ?/2 * *", 4, "`?` is no day of the month", "`?` stands alone"),
        ("é * * * *", 0, "`é` is no minute", "minutes are 0 to 59"),
        ("* * * * éL", 8, "`é` is no weekday", "weekdays are 0 to 7"),
        (" @reboot", 1, "`@reboot` is no time at which a check could be due", "use an interval or five fields"),
        ("@every 5m", 7, "`@every` stands alone", "take out what follows it"),
        ("@every", 0, "`@every` is no cron word", "use an interval: `every = \"5m\"`"),
        ("@dayly", 0, "`@dayly` is no cron word", "the words are `@hourly`, `@daily`"),
        ("@daily * * * *", 7, "`@daily` stands alone", "take out what follows it"),
    ]);
}

#[test]
fn every_hint_for_a_range_parses() {
    for (text, hint) in [
        ("30-10 * * * *", "30-59,0-10 * * * *"),
        ("* 22-0 * * *", "* 22-23,0 * * *"),
        ("* * * nov-feb *", "* * * nov-12,1-feb *"),
        ("* * * * fri-sun", "* * * * fri-7"),
        ("* * * * sat-tue", "* * * * sat-6,0-tue"),
    ] {
        assert!(Cron::parse(text).is_err(), "{text}");
        assert!(Cron::parse(hint).is_ok(), "{hint}");
    }
}

#[test]
fn english() {
    for (cron, expect) in [
        ("*/5 8-18 * * mon-fri", "every 5 minutes in hours 8 to 18, on Monday to Friday"),
        ("30 2 * * *", "at 02:30, every day"),
        ("0,30 8,20 * * *", "at 08:00, 08:30, 20:00 and 20:30, every day"),
        ("@hourly", "at minute 0 of every hour, every day"),
        ("* * * * *", "every minute, every day"),
        ("* 3 * * *", "every minute in hour 3, every day"),
        ("5,10-12 * * * *", "at minute 5 and 10 to 12 of every hour, every day"),
        ("0 0 1 1 *", "at 00:00, on day 1 of the month, in January"),
        ("0 0 13 * 5", "at 00:00, on day 13 of the month or on Friday"),
        ("0 0 */10 * 1", "at 00:00, on day 1, 11, 21 and 31 of the month if it is Monday"),
        (
            "0 0 L,L-1,L-3,LW,15W * ?",
            "at 00:00, on the last day of the month, the day before the last of the month, \
          3 days before the last of the month, the last Monday to Friday of the month and \
          the Monday to Friday nearest to day 15",
        ),
        ("0 0 * 6-8 sat,sun", "at 00:00, on Saturday and Sunday, in June to August"),
        ("0 0 * * mon#2,5L", "at 00:00, on the second Monday of the month and the last Friday of the month"),
        ("0 0 1-31 * 1", "at 00:00, every day"),
    ] {
        assert_eq!(Cron::parse(cron).unwrap().describe(), expect, "{cron}");
    }
}

#[test]
fn keeps_its_text() {
    for text in ["*/5 * * * *", "@DAILY", "0  0 L * ?"] {
        let cron = Cron::parse(&format!(" {text} ")).unwrap();
        assert_eq!((cron.text(), cron.to_string().as_str()), (text, text));
        assert_eq!(Cron::parse(&cron.to_string()).unwrap(), cron);
    }
}

/// An expression read in another way than the one under test: sets of numbers, and the calendar library for days.
struct Slow {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    months: BTreeSet<i8>,
    day: String,
    weekday: String,
    fixed: bool,
}

fn numbers(field: &str, low: i8, high: i8) -> BTreeSet<i8> {
    let mut set = BTreeSet::new();
    for item in field.split(',') {
        let (base, step) = item.split_once('/').unwrap_or((item, "1"));
        let step: i8 = step.parse().unwrap();
        let (from, to): (i8, i8) = match base.split_once('-') {
            _ if base == "*" || base == "?" => (low, high),
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if item.contains('/') => (base.parse().unwrap(), high),
            None => (base.parse().unwrap(), base.parse().unwrap()),
        };
        set.extend((from..=to).filter(|n| (n - from) % step == 0));
    }
    set
}

impl Slow {
    fn new(text: &str) -> Slow {
        let fields: Vec<&str> = text.split(' ').collect();
        Slow {
            minutes: numbers(fields[0], 0, 59),
            hours: numbers(fields[1], 0, 23),
            months: numbers(fields[3], 1, 12),
            day: fields[2].to_owned(),
            weekday: fields[4].to_owned(),
            fixed: !fields[0].starts_with('*') && !fields[1].starts_with('*'),
        }
    }

    fn matches(&self, civil: DateTime) -> bool {
        let date = civil.date();
        if !(self.minutes.contains(&civil.minute())
            && self.hours.contains(&civil.hour())
            && self.months.contains(&civil.month()))
        {
            return false;
        }
        let (day, weekday) = (self.day_holds(date), self.weekday_holds(date));
        if self.day.starts_with(['*', '?']) || self.weekday.starts_with(['*', '?']) {
            day && weekday
        } else {
            day || weekday
        }
    }

    fn day_holds(&self, date: Date) -> bool {
        let works = |d: &Date| !matches!(d.weekday(), Weekday::Saturday | Weekday::Sunday);
        let in_month = |d: &Date| d.month() == date.month();
        self.day.split(',').any(|item| match item {
            "L" => date == date.last_of_month(),
            "LW" => {
                let mut last = date.last_of_month();
                while !works(&last) {
                    last = last.yesterday().unwrap();
                }
                date == last
            }
            _ if item.starts_with("L-") => {
                let back: i64 = item[2..].parse().unwrap();
                date.last_of_month().checked_sub(back.days()).is_ok_and(|d| d == date)
            }
            _ if item.ends_with('W') => {
                let Ok(wanted) = Date::new(date.year(), date.month(), item[..item.len() - 1].parse().unwrap()) else {
                    return false;
                };
                let near = [0, -1, 1, -2, 2].map(|n: i64| wanted.checked_add(n.days()).unwrap());
                near.into_iter().find(|d| works(d) && in_month(d)) == Some(date)
            }
            _ => numbers(item, 1, 31).contains(&date.day()),
        })
    }

    fn weekday_holds(&self, date: Date) -> bool {
        let number = |text: &str| Weekday::from_sunday_zero_offset(text.parse::<i8>().unwrap() % 7).unwrap();
        self.weekday.split(',').any(|item| match item.split_once('#') {
            Some((day, nth)) => date.nth_weekday_of_month(nth.parse().unwrap(), number(day)).is_ok_and(|d| d == date),
            None if item.ends_with('L') => {
                date.nth_weekday_of_month(-1, number(&item[..1])).is_ok_and(|last| last == date)
            }
            None => numbers(item, 0, 7).iter().any(|n| n % 7 == date.weekday().to_sunday_zero_offset()),
        })
    }

    /// The slots in `after < slot <= until`, as cron(8) describes its own loop: a virtual clock that is caught up
    /// with the wall clock, with fixed times run for each virtual minute and wild ones for the minute it is.
    fn slots(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
        let epoch = Date::constant(1970, 1, 1).at(0, 0, 0, 0);
        let wall = |now: i64| {
            let civil = zone.to_datetime(jiff::Timestamp::from_second(now * 60).unwrap());
            civil.duration_since(epoch).as_secs() / 60
        };
        let matches = |minute: i64| self.matches(epoch.checked_add(minute.minutes()).unwrap());
        // Some hours earlier, so that the virtual clock is where it would be.
        let first = after.as_secs().div_euclid(60) - 6 * 60;
        let mut clock = wall(first);
        let mut slots = Vec::new();
        for now in first + 1..=until.as_secs().div_euclid(60) {
            let minute = wall(now);
            let due = match minute - clock {
                // A small step back: what is fixed waits for the virtual clock.
                -180..=0 => !self.fixed && matches(minute),
                2..=180 if self.fixed => {
                    let due = (clock + 1..=minute).any(matches);
                    clock = minute;
                    due
                }
                _ => {
                    clock = minute;
                    matches(minute)
                }
            };
            let slot = Timestamp::from_secs(now * 60);
            if due && slot > after {
                slots.push(slot);
            }
        }
        slots
    }
}

/// `n` items out of `one`, with commas.
fn a_list(one: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec(one, 1..3).prop_map(|items| items.join(","))
}

fn a_field(low: i8, high: i8) -> impl Strategy<Value = String> {
    let two = move || (low..=high, low..=high).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let one = prop_oneof![
        3 => Just("*".to_owned()),
        2 => (1..20_i8).prop_map(|n| format!("*/{n}")),
        3 => (low..=high).prop_map(|n| n.to_string()),
        2 => two().prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (two(), 1..9_i8).prop_map(|((a, b), n)| format!("{a}-{b}/{n}")),
        1 => (low..=high, 1..20_i8).prop_map(|(a, n)| format!("{a}/{n}")),
    ];
    a_list(one)
}

fn a_day() -> impl Strategy<Value = String> {
    let special = prop_oneof![
        Just("L".to_owned()),
        Just("LW".to_owned()),
        (1..=30_i8).prop_map(|n| format!("L-{n}")),
        (1..=31_i8).prop_map(|n| format!("{n}W")),
    ];
    prop_oneof![4 => Just("*".to_owned()), 1 => Just("?".to_owned()), 3 => a_field(1, 31), 2 => a_list(special)]
}

fn a_weekday() -> impl Strategy<Value = String> {
    let special = prop_oneof![
        (0..=7_i8).prop_map(|n| format!("{n}L")),
        (0..=7_i8, 1..=5_i8).prop_map(|(d, n)| format!("{d}#{n}")),
    ];
    prop_oneof![4 => Just("*".to_owned()), 1 => Just("?".to_owned()), 3 => a_field(0, 7), 2 => a_list(special)]
}

/// Hours near clock changes more often than others.
fn an_hour() -> impl Strategy<Value = String> {
    prop_oneof![a_field(0, 23), a_field(0, 4)]
}

/// A time in some zone: up to two days before or three hours after a clock change, or anywhere.
fn a_time() -> impl Strategy<Value = (&'static str, i64)> {
    let zones = prop::sample::select(vec![
        BERLIN,
        NEW_YORK,
        "UTC",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kathmandu",
        "Asia/Beirut",
        "Africa/Casablanca",
        "Antarctica/Troll",
    ]);
    (zones, 946_684_800..2_208_988_800_i64, -10_800..172_800_i64, any::<bool>()).prop_map(|(name, secs, back, near)| {
        let tz = zone(name);
        let change = tz.following(jiff::Timestamp::from_second(secs).unwrap()).next();
        (name, change.filter(|_| near).map_or(secs, |change| change.timestamp().as_second() - back))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    /// S1.2: the search agrees with cron's own loop, played minute by minute.
    #[test]
    fn agrees_with_a_slow_cron(
        (minute, hour, day, month, weekday) in (a_field(0, 59), an_hour(), a_day(), a_field(1, 12), a_weekday()),
        (name, secs) in a_time(),
        micros in 0..60_000_000_i64,
    ) {
        let text = format!("{minute} {hour} {day} {month} {weekday}");
        let (cron, slow, tz) = (Cron::parse(&text).unwrap(), Slow::new(&text), zone(name));
        let after = Timestamp::from_micros(secs * 1_000_000 + micros);
        let until = after + std::time::Duration::from_secs(4 * 86_400);
        let expect = slow.slots(after, until, &tz);
        prop_assert_eq!(cron.count_between(after, until, &tz), expect.len() as u64, "count of {} in {}", text, name);
        let mut t = after;
        for slot in expect.iter().take(200) {
            prop_assert_eq!(cron.next_after(t, &tz), Some(*slot), "`{}` in {} after {}", text, name, t);
            t = *slot;
        }
        if expect.len() <= 200 {
            prop_assert!(cron.next_after(t, &tz).is_none_or(|next| next > until), "`{}` in {} after {}", text, name, t);
        }
        prop_assert!(!cron.never_fires() || cron.next_after(after, &tz).is_none());
    }

    /// Whatever is typed, reading it neither fails nor points outside.
    #[test]
    fn any_text_is_read(text in "[-0-9*/,#?LWlwa-z@ é]{0,24}") {
        match Cron::parse(&text) {
            Ok(cron) => { cron.next_after(Timestamp::ZERO, &TimeZone::UTC); }
            Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
        }
    }
}

/// S1.1: what Debian's cron refuses and a flake's own parser ran: each is the same as what the hint proposes.
#[test]
fn flakes_go_round() {
    for (flake, native) in [
        ("0 22-3 * * *", "0 22-23,0-3 * * *"),
        ("0 22-3/2 * * *", "0 22,0,2 * * *"),
        ("55-5/5 * * * *", "55,0,5 * * * *"),
        ("0 0 30-2 * *", "0 0 30-31,1-2 * *"),
        ("0 0 1 nov-feb *", "0 0 1 nov-12,1-feb *"),
        ("0 0 * * 6-1", "0 0 * * 6,0-1"),
        ("0 0 * * sat-mon", "0 0 * * 6,0,1"),
        ("0 0 * * 7-2", "0 0 * * 0-2"),
        ("0 0 * * fri-sun", "0 0 * * 5-7"),
        ("0 0 * * 5-1/2", "0 0 * * 5,0"),
        ("@anually", "@annually"),
        ("*/5 8-18 * * 1-5", "*/5 8-18 * * 1-5"),
    ] {
        let fields = |cron: Cron| Cron { text: String::new(), ..cron };
        assert_eq!(fields(Cron::parse_flake(flake).unwrap()), fields(Cron::parse(native).unwrap()), "{flake}");
        assert_eq!(Cron::parse(flake).is_ok(), flake == native, "{flake}");
        assert_eq!(Cron::parse_flake(flake).unwrap().text(), flake);
    }
}
