//! Hours: `weekdays 08:00-18:00 Europe/Berlin`. Reads and shows them, and says when they open and close.
//!
//! Hours follow the wall clock: they are open exactly while a clock in their zone shows a time inside one of the
//! windows. So a window inside an hour that is skipped does not open that day, and one inside an hour that is
//! repeated opens twice. Who is told outside of them, and when, is the engine's.

use crate::model::Timestamp;
use jiff::{
    civil::DateTime,
    tz::{TimeZone, db},
};
use std::{fmt, time::Duration};

/// Hours have at most this many windows (`08:00-12:00,13:00-18:00` are two).
pub const HOURS_WINDOWS_MAX: usize = 50;

/// [`Hours::next_change`] looks this far ahead: five weeks, so that a clock change that swallows one week's window is
/// passed. What does not change in this time never does.
pub const HOURS_SEARCH_MAX: Duration = Duration::from_secs(35 * 86_400);

const DAY_MINUTES: u16 = 24 * 60;
const WEEKDAYS: u8 = 0b001_1111;
const WEEKENDS: u8 = 0b110_0000;
const ALL_DAYS: u8 = 0b111_1111;
const DAY_NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const EXAMPLE: &str = "write them like `weekdays 08:00-18:00 Europe/Berlin`";
const TIME_HINT: &str = "write hours and minutes of a 24-hour clock, such as `08:30`";

/// When people may be told.
///
/// ```
/// use watchbell_core::{model::Timestamp, route::hours::Hours};
/// let hours = Hours::parse("weekdays 08:00-18:00 Europe/Berlin", &jiff::tz::TimeZone::UTC).unwrap();
/// let sunday: Timestamp = "2026-03-08T12:00:00Z".parse().unwrap();
/// assert!(!hours.open_at(sunday));
/// assert_eq!(hours.next_open(sunday), "2026-03-09T07:00:00Z".parse().ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    /// At least one.
    parts: Vec<Part>,
}

/// What stands between two `;`.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes of the day, from and to; `to` is 1 to 1440 and different from `from`. A window that ends before it
    /// starts ends on the next day; it belongs to the day on which it starts.
    windows: Vec<(u16, u16)>,
    zone: TimeZone,
}

/// Why a text says no hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursError {
    /// The byte in the text where the trouble starts.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for HoursError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HoursError {}

impl Hours {
    /// Reads `[days] HH:MM-HH:MM[,HH:MM-HH:MM] [zone]`, several of these with `;` between.
    ///
    /// Days are `weekdays`, `weekends`, `all` or `daily` (the default), names, ranges (`fri-mon`) and lists. `24:00`
    /// may end a window, and `22:00-06:00` ends on the day after. A zone is an IANA name. One zone holds for all
    /// parts, whichever names it; if parts name different ones each must name its own; if none does it is
    /// `default_zone`.
    pub fn parse(text: &str, default_zone: &TimeZone) -> Result<Hours, HoursError> {
        if let Some((at, odd)) = text.char_indices().find(|(_, c)| c.is_whitespace() && !is_blank(*c)) {
            let message = format!("here stands U+{:04X}, which only looks like a blank", u32::from(odd));
            return error(at, message, "write a plain blank");
        }
        let mut parts = Vec::new();
        let mut windows_count = 0;
        for piece in (Piece { text, offset: 0 }).split(';') {
            let part = part(piece)?;
            windows_count += part.windows.len();
            if windows_count > HOURS_WINDOWS_MAX {
                return error(
                    piece.offset,
                    format!("more than {HOURS_WINDOWS_MAX} windows"),
                    "write fewer, longer ones",
                );
            }
            parts.push((piece.offset, part));
        }
        let mut named = parts.iter().filter_map(|(_, part)| part.zone.as_ref());
        let common = named.next().unwrap_or(default_zone).clone();
        let differ = named.any(|zone| *zone != common);
        let parts = parts.into_iter().map(|(offset, part)| match part.zone {
            None if differ => {
                error(offset, "this part names no zone, and others name different ones".into(), "name it here too")
            }
            zone => Ok(Part { days: part.days, windows: part.windows, zone: zone.unwrap_or_else(|| common.clone()) }),
        });
        Ok(Hours { parts: parts.collect::<Result<_, _>>()? })
    }

    /// Whether `t` lies within them. The minute in which a window ends is outside.
    pub fn open_at(&self, t: Timestamp) -> bool {
        self.parts.iter().any(|part| part.open_at(t))
    }

    /// The next opening or closing strictly after `t`; `None` if they are always open.
    pub fn next_change(&self, t: Timestamp) -> Option<Timestamp> {
        let open = self.open_at(t);
        let mut at = t;
        loop {
            at = self.parts.iter().filter_map(|part| part.next_edge(at)).min()?;
            if at.since(t) > HOURS_SEARCH_MAX {
                return None;
            }
            if self.open_at(at) != open {
                return Some(at);
            }
        }
    }

    /// The earliest time from `t` on at which they are open: `t` itself if they are.
    pub fn next_open(&self, t: Timestamp) -> Option<Timestamp> {
        if self.open_at(t) { Some(t) } else { self.next_change(t) }
    }
}

impl Part {
    fn open_at(&self, t: Timestamp) -> bool {
        let civil = self.zone.to_datetime(t.to_jiff());
        let today = civil.weekday().to_monday_zero_offset() as u32;
        let (is_today, was_yesterday) = (self.days >> today & 1 == 1, self.days >> ((today + 6) % 7) & 1 == 1);
        let minute = minute_of_day(civil);
        self.windows.iter().any(|&(from, to)| {
            if from < to {
                is_today && (from..to).contains(&minute)
            } else {
                is_today && minute >= from || was_yesterday && minute < to
            }
        })
    }

    /// The first time strictly after `t` at which a window may start or end: its civil time comes, or the clock is
    /// changed. Between two edges nothing opens or closes.
    fn next_edge(&self, t: Timestamp) -> Option<Timestamp> {
        let at = t.to_jiff();
        let offset = self.zone.to_offset(at);
        let civil = offset.to_datetime(at);
        let marks = || self.windows.iter().flat_map(|&(from, to)| [from, to % DAY_MINUTES]);
        let (now, today) = (minute_of_day(civil), civil.date());
        let mark = match marks().filter(|mark| *mark > now).min() {
            Some(mark) => Some((today, mark)),
            None => today.tomorrow().ok().zip(marks().min()),
        };
        let by_clock =
            mark.and_then(|(date, mark)| offset.to_timestamp(date.at((mark / 60) as i8, (mark % 60) as i8, 0, 0)).ok());
        let by_change = self.zone.following(at).next().map(|change| change.timestamp());
        by_clock.into_iter().chain(by_change).min().map(Timestamp::from_jiff).filter(|edge| *edge > t)
    }
}

fn minute_of_day(civil: DateTime) -> u16 {
    civil.hour() as u16 * 60 + civil.minute() as u16
}

/// A piece of the text and where it starts; blanks around it are cut off.
#[derive(Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Piece<'t> {
    fn trim(self) -> Piece<'t> {
        let start = self.text.trim_start();
        Piece { text: start.trim_end(), offset: self.offset + self.text.len() - start.len() }
    }

    fn slice(self, range: std::ops::Range<usize>) -> Piece<'t> {
        Piece { text: &self.text[range.clone()], offset: self.offset + range.start }.trim()
    }

    fn split(self, at: char) -> impl Iterator<Item = Piece<'t>> {
        let mut start = 0;
        self.text.split(at).map(move |text| {
            let piece = self.slice(start..start + text.len());
            start += text.len() + at.len_utf8();
            piece
        })
    }

    fn split_once(self, at: char) -> Option<(Piece<'t>, Piece<'t>)> {
        let mid = self.text.find(at)?;
        Some((self.slice(0..mid), self.slice(mid + at.len_utf8()..self.text.len())))
    }
}

/// A part whose zone may yet have to be found.
struct ParsedPart {
    days: u8,
    windows: Vec<(u16, u16)>,
    zone: Option<TimeZone>,
}

fn error<T>(offset: usize, message: String, hint: impl Into<String>) -> Result<T, HoursError> {
    Err(HoursError { offset, message, hint: Some(hint.into()) })
}

/// What parts words. No-break spaces and their kind get into texts by mistake, and look as if they did too.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

/// The words with a colon are the times; the days stand before them, the zone after.
fn part(piece: Piece<'_>) -> Result<ParsedPart, HoursError> {
    if piece.text.is_empty() {
        return error(piece.offset, "no hours are given here".into(), EXAMPLE);
    }
    let (Some(first), Some(last)) = (piece.text.find(':'), piece.text.rfind(':')) else {
        let message = format!("`{}` has no times", piece.text);
        let hint = format!("{EXAMPLE}; the whole day is `00:00-24:00`");
        return error(piece.offset, message, hint);
    };
    // `parse` let only blanks in that are one byte.
    let start = piece.text[..first].rfind(is_blank).map_or(0, |blank| blank + 1);
    let end = piece.text[last..].find(is_blank).map_or(piece.text.len(), |blank| last + blank);
    let (days, times) = (piece.slice(0..start), piece.slice(start..end));
    let zone = piece.slice(end..piece.text.len());
    Ok(ParsedPart {
        days: if days.text.is_empty() { ALL_DAYS } else { days_of(days)? },
        windows: times.split(',').map(window).collect::<Result<_, _>>()?,
        zone: if zone.text.is_empty() { None } else { Some(zone_of(zone)?) },
    })
}

fn days_of(piece: Piece<'_>) -> Result<u8, HoursError> {
    let mut days = 0;
    for item in piece.split(',') {
        days |= match item.text.to_ascii_lowercase().as_str() {
            "weekdays" | "weekday" => WEEKDAYS,
            "weekends" | "weekend" => WEEKENDS,
            "all" | "daily" => ALL_DAYS,
            _ => match item.split_once('-') {
                None => 1 << day(item)?,
                Some((first, last)) => {
                    let (first, last) = (day(first)?, day(last)?);
                    // Round the end of the week where need be: `fri-mon`.
                    (0..=(last + 7 - first) % 7).fold(0, |days, n| days | 1 << ((first + n) % 7))
                }
            },
        };
    }
    Ok(days)
}

fn day(item: Piece<'_>) -> Result<u8, HoursError> {
    let is = |name: &&str| name.eq_ignore_ascii_case(item.text) || name[..3].eq_ignore_ascii_case(item.text);
    match DAY_NAMES.iter().position(is) {
        Some(day) => Ok(day as u8),
        None => {
            let hint = "days are `mon` to `sun`, ranges and lists of them, `weekdays`, `weekends` or `daily`";
            error(item.offset, format!("`{}` is no day", item.text), hint)
        }
    }
}

fn window(piece: Piece<'_>) -> Result<(u16, u16), HoursError> {
    let Some((from, to)) = piece.split_once('-') else {
        let hint = "write start and end with `-` between, such as `08:00-18:00`";
        return error(piece.offset, format!("`{}` is no window", piece.text), hint);
    };
    let (from_minute, to_minute) = (time(from)?, time(to)?);
    if from_minute == DAY_MINUTES {
        return error(from.offset, "a window can't start at `24:00`".into(), "the day starts at `00:00`");
    }
    let to_minute = if to_minute == 0 && from_minute > 0 { DAY_MINUTES } else { to_minute };
    if from_minute == to_minute {
        let hint = "the whole day is `00:00-24:00`";
        return error(piece.offset, format!("the window `{}` is empty", piece.text), hint);
    }
    Ok((from_minute, to_minute))
}

fn time(piece: Piece<'_>) -> Result<u16, HoursError> {
    let digits = |text: &str, least: usize| {
        let fits = (least..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let parsed = piece.text.split_once(':').and_then(|(hour, minute)| digits(hour, 1).zip(digits(minute, 2)));
    match parsed {
        Some((hour, minute)) if minute < 60 && hour * 60 + minute <= DAY_MINUTES => Ok(hour * 60 + minute),
        _ => error(piece.offset, format!("`{}` is no time", piece.text), TIME_HINT),
    }
}

fn zone_of(piece: Piece<'_>) -> Result<TimeZone, HoursError> {
    if let Ok(zone) = TimeZone::get(piece.text) {
        return Ok(zone);
    }
    let city = format!("/{}", piece.text.rsplit('/').next().unwrap_or_default().replace(' ', "_")).to_ascii_lowercase();
    let near = db().available().map(|name| name.to_string()).find(|name| name.to_ascii_lowercase().ends_with(&city));
    let hint = match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => "write its IANA name, such as `Europe/Berlin` or `UTC`".to_owned(),
    };
    error(piece.offset, format!("`{}` is no time zone", piece.text), hint)
}

impl fmt::Display for Hours {
    /// In the form that [`Hours::parse`] reads; a zone without a name (one given as default) is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_zone = self.parts.iter().all(|part| part.zone == self.parts[0].zone);
        for (n, part) in self.parts.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            write_days(f, part.days)?;
            for (n, (from, to)) in part.windows.iter().enumerate() {
                let comma = if n > 0 { "," } else { "" };
                write!(f, "{comma}{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)?;
            }
            if !one_zone || n + 1 == self.parts.len() {
                part.zone.iana_name().map_or(Ok(()), |name| write!(f, " {name}"))?;
            }
        }
        Ok(())
    }
}

/// The days and a blank; nothing for all days.
fn write_days(f: &mut fmt::Formatter<'_>, days: u8) -> fmt::Result {
    match days {
        ALL_DAYS => return Ok(()),
        WEEKDAYS => return f.write_str("weekdays "),
        WEEKENDS => return f.write_str("weekends "),
        _ => {}
    }
    let mut comma = "";
    let mut rest = days;
    while rest != 0 {
        let first = rest.trailing_zeros() as usize;
        let length = (rest >> first).trailing_ones() as usize;
        f.write_str(comma)?;
        f.write_str(&DAY_NAMES[first][..3])?;
        if length > 1 {
            write!(f, "-{}", &DAY_NAMES[first + length - 1][..3])?;
        }
        comma = ",";
        rest &= rest.wrapping_add(1 << first);
    }
    f.write_str(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use proptest::prelude::*;

    fn hours(text: &str) -> Hours {
        Hours::parse(text, &TimeZone::UTC).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// S3.16: sleeping hours for less important checks.
    #[test]
    fn open_and_closed() {
        // 2026-03-04 is a Wednesday.
        for (text, open, closed) in [
            (
                "weekdays 08:00-18:00",
                &["2026-03-04T08:00:00Z", "2026-03-04T17:59:59Z"][..],
                &["2026-03-04T07:59:59Z", "2026-03-04T18:00:00Z", "2026-03-07T12:00:00Z"][..],
            ),
            (
                "weekdays 08:00-18:00 Europe/Berlin",
                &["2026-03-04T07:00:00Z", "2026-07-01T06:00:00Z"],
                &["2026-03-04T06:59:59Z", "2026-03-04T17:00:00Z", "2026-07-01T16:00:00Z"],
            ),
            ("8:00-12:00,13:00-18:00", &["2026-03-07T11:59:00Z", "2026-03-08T13:00:00Z"], &["2026-03-07T12:30:00Z"]),
            (
                "weekends 00:00-24:00",
                &["2026-03-07T00:00:00Z", "2026-03-08T23:59:59.999999Z"],
                &["2026-03-09T00:00:00Z", "2026-03-06T23:59:59Z"],
            ),
            (
                "fri 22:00-06:00",
                &["2026-03-06T22:00:00Z", "2026-03-07T05:59:59Z"],
                &["2026-03-06T05:00:00Z", "2026-03-07T06:00:00Z", "2026-03-07T22:00:00Z"],
            ),
            ("sun 22:00-06:00", &["2026-03-08T23:00:00Z", "2026-03-09T05:00:00Z"], &["2026-03-08T05:00:00Z"]),
            (
                "fri-mon 09:00-10:00",
                &["2026-03-06T09:00:00Z", "2026-03-07T09:00:00Z", "2026-03-08T09:00:00Z", "2026-03-09T09:00:00Z"],
                &["2026-03-05T09:00:00Z", "2026-03-10T09:00:00Z"],
            ),
            (
                "mon,Wednesday,SUN 09:00-10:00",
                &["2026-03-04T09:00:00Z", "2026-03-08T09:00:00Z"],
                &["2026-03-05T09:00:00Z"],
            ),
            (
                "weekdays 08:00-18:00; sat 10:00-14:00 Europe/Berlin",
                &["2026-03-07T09:00:00Z", "2026-03-04T07:00:00Z"],
                &["2026-03-07T08:59:00Z", "2026-03-04T17:30:00Z"],
            ),
            (
                "09:00-17:00 Europe/Berlin; 09:00-17:00 America/New_York",
                &["2026-03-04T08:00:00Z", "2026-03-04T21:59:00Z"],
                &["2026-03-04T22:00:00Z", "2026-03-04T07:59:00Z"],
            ),
            ("22:00-00:00", &["2026-03-04T23:59:00Z"], &["2026-03-04T00:00:00Z", "2026-03-04T21:59:00Z"]),
        ] {
            let hours = hours(text);
            for t in open {
                assert!(hours.open_at(at(t)), "{text} at {t}");
            }
            for t in closed {
                assert!(!hours.open_at(at(t)), "{text} at {t}");
            }
        }
    }

    type Changes = (&'static str, &'static str, &'static [&'static str]);

    fn check_changes(table: &[Changes]) {
        for &(text, from, expect) in table {
            let hours = hours(text);
            let mut t = at(from);
            for expected in expect {
                let was_open = hours.open_at(t);
                assert_eq!(hours.next_open(t), if was_open { Some(t) } else { hours.next_change(t) });
                t = hours.next_change(t).unwrap();
                assert_eq!(t, at(expected), "{text} after {from}");
                assert_ne!(hours.open_at(t), was_open, "{text} at {t}");
            }
        }
    }

    /// S3.16: told in the morning: the openings and closings in turn.
    #[test]
    fn changes() {
        check_changes(&[
            (
                "weekdays 08:00-18:00",
                "2026-03-06T12:00:00Z",
                &["2026-03-06T18:00:00Z", "2026-03-09T08:00:00Z", "2026-03-09T18:00:00Z"],
            ),
            ("weekdays 08:00-18:00", "2026-03-06T18:00:00Z", &["2026-03-09T08:00:00Z"]),
            (
                "fri 22:00-06:00",
                "2026-03-04T00:00:00Z",
                &["2026-03-06T22:00:00Z", "2026-03-07T06:00:00Z", "2026-03-13T22:00:00Z"],
            ),
            (
                "sat 00:00-24:00; sun 00:00-12:00",
                "2026-03-04T00:00:00Z",
                &["2026-03-07T00:00:00Z", "2026-03-08T12:00:00Z"],
            ),
            ("08:00-12:00; 10:00-18:00", "2026-03-04T09:00:00Z", &["2026-03-04T18:00:00Z", "2026-03-05T08:00:00Z"]),
        ]);
    }

    /// S3.16: hours follow the wall clock over its changes.
    #[test]
    fn changes_over_clock_changes() {
        check_changes(&[
            // Berlin's clock changes: 2026-03-29 at 01:00 UTC, 2026-10-25 at 01:00 UTC.
            ("08:00-18:00 Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-28T17:00:00Z", "2026-03-29T06:00:00Z"]),
            (
                "02:30-04:00 Europe/Berlin",
                "2026-03-28T12:00:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-30T00:30:00Z"],
            ),
            (
                "sun 02:15-02:45 Europe/Berlin",
                "2026-03-23T00:00:00Z",
                &["2026-04-05T00:15:00Z", "2026-04-05T00:45:00Z"],
            ),
            (
                "sun 02:15-02:45 Europe/Berlin",
                "2026-10-24T00:00:00Z",
                &[
                    "2026-10-25T00:15:00Z",
                    "2026-10-25T00:45:00Z",
                    "2026-10-25T01:15:00Z",
                    "2026-10-25T01:45:00Z",
                    "2026-11-01T01:15:00Z",
                ],
            ),
            ("22:00-06:00 America/New_York", "2026-10-31T12:00:00Z", &["2026-11-01T02:00:00Z", "2026-11-01T11:00:00Z"]),
            (
                "02:10-12:00 Australia/Lord_Howe",
                "2026-10-03T12:00:00Z",
                &["2026-10-03T15:30:00Z", "2026-10-04T01:00:00Z"],
            ),
        ]);
    }

    #[test]
    fn always_open() {
        for text in ["00:00-24:00 Europe/Berlin", "mon-fri 00:00-24:00; sat,sun 00:00-24:00", "06:00-18:00,18:00-06:00"]
        {
            assert_eq!(hours(text).next_change(at("2026-03-04T10:00:00Z")), None, "{text}");
            assert_eq!(hours(text).next_open(at("2026-03-04T10:00:00Z")), Some(at("2026-03-04T10:00:00Z")), "{text}");
        }
    }

    #[test]
    fn shown_as_read() {
        for (text, expect) in [
            ("weekdays 08:00-18:00 Europe/Berlin", "weekdays 08:00-18:00 Europe/Berlin"),
            ("mon-fri 8:00-18:00", "weekdays 08:00-18:00 UTC"),
            ("  sun , sat  08:00 - 12:00 , 13:00-24:00  utc ", "weekends 08:00-12:00,13:00-24:00 UTC"),
            ("DAILY 22:00-6:00", "22:00-06:00 UTC"),
            ("fri-mon 00:00-24:00", "mon,fri-sun 00:00-24:00 UTC"),
            ("mon,wed,thu 22:00-0:00", "mon,wed-thu 22:00-24:00 UTC"),
            (
                "sat 10:00-14:00 Europe/Berlin;weekdays 08:00-18:00",
                "sat 10:00-14:00; weekdays 08:00-18:00 Europe/Berlin",
            ),
            ("08:00-09:00 europe/berlin; 08:00-09:00 UTC", "08:00-09:00 Europe/Berlin; 08:00-09:00 UTC"),
        ] {
            let read = hours(text);
            assert_eq!(read.to_string(), expect);
            assert_eq!(hours(expect), read, "{expect}");
        }
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(Hours::parse("08:00-09:00", &berlin).unwrap().to_string(), "08:00-09:00 Europe/Berlin");
    }

    #[test]
    fn mistakes() {
        let too_many = ["08:00-09:00"; HOURS_WINDOWS_MAX + 1].join(";");
        for (text, offset, message, hint) in [
            ("", 0, "no hours are given here", "weekdays 08:00-18:00 Europe/Berlin"),
            ("  ", 2, "no hours are given here", "weekdays 08:00-18:00 Europe/Berlin"),
            ("08:00-09:00;", 12, "no hours are given here", "weekdays 08:00-18:00 Europe/Berlin"),
            ("weekdays", 0, "`weekdays` has no times", "the whole day is `00:00-24:00`"),
            ("weekdays 9-17", 0, "`weekdays 9-17` has no times", "weekdays 08:00-18:00"),
            ("mon 08:00", 4, "`08:00` is no window", "write start and end"),
            ("mon 08:00-", 10, "`` is no time", "24-hour clock"),
            ("mon 08:00-18", 10, "`18` is no time", "24-hour clock"),
            ("mon 08:00-18:60", 10, "`18:60` is no time", "24-hour clock"),
            ("mon 08:00-24:01", 10, "`24:01` is no time", "24-hour clock"),
            ("mon 8:0-18:00", 4, "`8:0` is no time", "24-hour clock"),
            ("mon 008:00-18:00", 4, "`008:00` is no time", "24-hour clock"),
            ("mon +8:00-18:00", 4, "`+8:00` is no time", "24-hour clock"),
            ("mon 8:00am-6:00pm", 4, "`8:00am` is no time", "24-hour clock"),
            ("mon 24:00-06:00", 4, "a window can't start at `24:00`", "the day starts at `00:00`"),
            ("mon 08:00-08:00", 4, "the window `08:00-08:00` is empty", "the whole day is `00:00-24:00`"),
            ("mon 00:00-00:00", 4, "the window `00:00-00:00` is empty", "the whole day is `00:00-24:00`"),
            ("mon 08:00-09:00, UTC", 16, "`` is no window", "write start and end"),
            ("mun 08:00-18:00", 0, "`mun` is no day", "days are `mon` to `sun`"),
            ("mon-fry 08:00-18:00", 4, "`fry` is no day", "days are `mon` to `sun`"),
            ("mon, 08:00-18:00", 4, "`` is no day", "days are `mon` to `sun`"),
            ("08:00-18:00; sät 08:00-18:00", 13, "`sät` is no day", "days are `mon` to `sun`"),
            ("08:00-18:00 Berlin", 12, "`Berlin` is no time zone", "did you mean `Europe/Berlin`?"),
            (
                "08:00-18:00 Europe/New York",
                12,
                "`Europe/New York` is no time zone",
                "did you mean `America/New_York`?",
            ),
            ("08:00-18:00 Mars/Olympus", 12, "`Mars/Olympus` is no time zone", "write its IANA name"),
            ("mon\u{a0}08:00-18:00", 3, "here stands U+00A0, which only looks like a blank", "write a plain blank"),
            ("\u{3000}08:00-18:00", 0, "here stands U+3000, which only looks like a blank", "write a plain blank"),
            ("08:00-18:00\u{85}UTC", 11, "here stands U+0085, which only looks like a blank", "write a plain blank"),
            (
                "08:00-09:00 UTC; 08:00-09:00; 08:00-09:00 Asia/Tokyo",
                17,
                "this part names no zone, and others name different ones",
                "name it here too",
            ),
            (too_many.as_str(), 600, "more than 50 windows", "write fewer, longer ones"),
        ] {
            let error = Hours::parse(text, &TimeZone::UTC).unwrap_err();
            assert_eq!((error.offset, error.message.as_str()), (offset, message), "{text}");
            let given = error.hint.unwrap_or_default();
            assert!(given.contains(hint), "{text}: `{given}` lacks `{hint}`");
        }
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        let hours = hours("fri 22:00-06:00 Europe/Berlin");
        for t in [i64::MIN, i64::MAX] {
            let t = Timestamp::from_micros(t);
            hours.open_at(t);
            assert!(hours.next_change(t).is_none_or(|next| next > t));
        }
    }

    /// A window over midnight too, as minutes of the day.
    fn a_window() -> impl Strategy<Value = (u16, u16)> {
        (0..DAY_MINUTES, 1..=DAY_MINUTES).prop_filter("not empty", |(from, to)| from != to)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// S3.16: what is shown reads as the same, and the next change is the first minute that differs.
        #[test]
        fn agrees_with_a_walk(
            days in 1..=ALL_DAYS, windows in prop::collection::vec(a_window(), 1..4),
            name in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            minutes in 28_000_000..32_000_000_i64, near in any::<bool>(),
        ) {
            let zone = TimeZone::get(name).unwrap();
            let change = zone.following(jiff::Timestamp::from_second(minutes * 60).unwrap()).next();
            let start = change.filter(|_| near).map_or(minutes, |change| change.timestamp().as_second() / 60 - 600);
            let hours = Hours { parts: vec![Part { days, windows: windows.clone(), zone: zone.clone() }] };
            prop_assert_eq!(&Hours::parse(&hours.to_string(), &TimeZone::UTC).unwrap(), &hours);

            let slow = |minute: i64| {
                let civil = zone.to_datetime(jiff::Timestamp::from_second(minute * 60).unwrap());
                let minute_of = |days_ago: i64| i64::from(minute_of_day(civil)) + days_ago * 1440;
                [0, 1].into_iter().any(|days_ago: i64| {
                    let day = civil.date().checked_sub(days_ago.days()).unwrap();
                    let listed = days >> day.weekday().to_monday_zero_offset() & 1 == 1;
                    listed && windows.iter().any(|&(from, to)| {
                        let end = if from < to { i64::from(to) } else { i64::from(to) + 1440 };
                        (i64::from(from)..end).contains(&minute_of(days_ago))
                    })
                })
            };
            let open = slow(start);
            prop_assert_eq!(hours.open_at(Timestamp::from_secs(start * 60)), open);
            let expect = (start + 1..start + 15 * 1440).find(|minute| slow(*minute) != open);
            let expect = expect.map(|minute| Timestamp::from_secs(minute * 60));
            prop_assert_eq!(hours.next_change(Timestamp::from_secs(start * 60)), expect, "{} after {}", hours, start);
        }

        #[test]
        fn any_text_is_read(text in "([a-z0-9:;,\\- é\u{a0}\u{3000}\u{2028}]|mon|08:00-18:00){0,12}") {
            if let Err(error) = Hours::parse(&text, &TimeZone::UTC) {
                prop_assert!(text.is_char_boundary(error.offset));
            }
        }
    }
}
