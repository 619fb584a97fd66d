//! Times and durations as people write and read them: `2h`, `3m ago`, `2026-03-29 02:30`.

use crate::run::clock;
use jiff::{civil::DateTime, tz::TimeZone};
use std::time::Duration;
use watchbell_core::{config::parse_duration, model::Timestamp};

/// Reads a duration (`90s`, `1h30m`, `2d`); for clap.
///
/// # Errors
/// What is wrong, with an example.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = parse_duration(text).filter(|d| !d.is_zero());
    parsed.ok_or_else(|| "write it as `90s`, `10m`, `2h`, `1h30m` or `3d`".to_owned())
}

/// A time as it was typed: an instant, or a civil time whose zone is not known yet.
#[derive(Clone, Debug)]
pub enum Typed {
    /// `2026-03-29T01:00:00Z`, `@1774746000`.
    At(Timestamp),
    /// `2026-03-29 02:30`.
    Civil(DateTime),
}

/// Reads a time; for clap.
///
/// # Errors
/// What is wrong, with examples.
pub fn time(text: &str) -> Result<Typed, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Typed::At(at));
    }
    if let Some(secs) = text.strip_prefix('@').and_then(|s| s.parse::<i64>().ok()) {
        return Ok(Typed::At(Timestamp::from_secs(secs)));
    }
    if text == "now" {
        return Ok(Typed::At(clock::now()));
    }
    text.parse::<DateTime>()
        .map(Typed::Civil)
        .map_err(|_| "write it as `2026-03-29T01:30:00Z`, `2026-03-29 02:30` (local time) or `@1774746000`".to_owned())
}

/// How far back: a duration, or from when on.
#[derive(Clone, Debug)]
pub enum Since {
    /// `2h`.
    Ago(Duration),
    /// `2026-03-29`.
    From(Typed),
}

/// Reads how far back; for clap.
///
/// # Errors
/// What is wrong, with examples.
pub fn since(text: &str) -> Result<Since, String> {
    match duration(text) {
        Ok(ago) => Ok(Since::Ago(ago)),
        Err(_) => time(text).map(Since::From).map_err(|_| {
            "write it as `2h`, `3d`, `2026-03-29`, `2026-03-29 02:30` (local time) or `2026-03-29T01:30:00Z`".to_owned()
        }),
    }
}

impl Since {
    /// The instant.
    pub fn at(&self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        match self {
            Since::Ago(ago) => now - *ago,
            Since::From(typed) => typed.in_zone(zone),
        }
    }
}

impl Typed {
    /// The instant, where civil times are of this zone. A time that a clock change skips is the one after it.
    pub fn in_zone(&self, zone: &TimeZone) -> Timestamp {
        match self {
            Typed::At(at) => *at,
            Typed::Civil(civil) => zone
                .to_ambiguous_zoned(*civil)
                .compatible()
                .map_or(Timestamp::MAX, |zoned| Timestamp::from_jiff(zoned.timestamp())),
        }
    }
}

/// How long ago: `now`, `12s ago`, `3m ago`, `2h ago`, `5d ago`; `in 3m` for what is to come.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", short(at.since(now))) } else { format!("{} ago", short(now.since(at))) }
}

/// A duration in its largest unit: `12s`, `3m`, `2h`, `5d`.
pub fn short(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..172_800 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// How long something took: `<1 ms`, `3 ms`, `1.25 s`, `2 min 5 s`.
pub fn took(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "<1 ms".to_owned(),
        1..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.2} s", duration.as_secs_f64()),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A time for people: civil, to the second, with the zone's offset.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_jiff().to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A time for people, without the weekday and the offset.
pub fn plain(at: Timestamp, zone: &TimeZone) -> String {
    at.to_jiff().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The same without the year where that is the present one.
pub fn brief(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let year = |at: Timestamp| at.to_jiff().to_zoned(zone.clone()).year();
    let text = plain(at, zone);
    match year(at) == year(now) {
        true => text.split_once('-').map_or(text.clone(), |(_, rest)| rest.to_owned()),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (text, expect) in [
            ("2026-03-28T23:30:00Z", "2026-03-28T23:30:00Z"),
            ("2026-03-28T23:30:00+02:00", "2026-03-28T21:30:00Z"),
            ("2026-03-28 23:30", "2026-03-28T22:30:00Z"),
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("@0", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(time(text).unwrap().in_zone(&berlin).to_string(), expect, "{text}");
        }
        for text in ["", "soon", "25:00", "2026-13-01"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(duration("0").is_err() && duration("x").is_err());
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn ages() {
        let now = Timestamp::from_secs(1_000_000);
        for (secs, expect) in [
            (0, "0s ago"),
            (59, "59s ago"),
            (200, "3m ago"),
            (7200, "2h ago"),
            (172_799, "47h ago"),
            (700_000, "8d ago"),
            (-200, "in 3m"),
        ] {
            assert_eq!(ago(Timestamp::from_secs(1_000_000 - secs), now), expect);
        }
        assert_eq!(took(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }
}
