//! Text to [`Cron`]. One pass, the first mistake is the one reported, with its place.

use super::{Cron, CronError, Days, Weekdays};

/// One of the five fields.
struct Field {
    /// `minute`
    what: &'static str,
    /// `minutes are 0 to 59`
    hint: &'static str,
    low: u8,
    high: u8,
    /// Names of the values from `low` on; their first three letters are enough.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { what: "minute", hint: "minutes are 0 to 59", low: 0, high: 59, names: &[] };
const HOUR: Field = Field { what: "hour", hint: "hours are 0 to 23", low: 0, high: 23, names: &[] };
const DAY: Field = Field {
    what: "day of the month",
    hint: "days are 1 to 31, `L` (the last), `L-3`, `LW` (the last Monday to Friday) or `15W` (the nearest to the 15th)",
    low: 1,
    high: 31,
    names: &[],
};
const MONTH: Field = Field {
    what: "month",
    hint: "months are 1 to 12 or `jan` to `dec`",
    low: 1,
    high: 12,
    names: &super::explain::MONTHS,
};
const WEEKDAY: Field = Field {
    what: "weekday",
    hint: "weekdays are 0 to 7 (0 and 7 are Sunday), `sun` to `sat`, `5L` (the last Friday) or `mon#2`",
    low: 0,
    high: 7,
    names: &super::explain::WEEKDAYS,
};

/// The words, and what they stand for (crontab(5)).
const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const ORDER: &str = "the five fields are minute, hour, day of the month, month, weekday";

/// What a flake's own parser took beside that.
const FLAKE_WORDS: [(&str, &str); 1] = [("@anually", "@annually")];

/// Who wrote the line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Debian,
    /// Ranges may go round the end of a field: `22-3`.
    Flake,
}

type Parsed<T> = Result<T, CronError>;

fn error<T>(offset: usize, message: String, hint: impl Into<String>) -> Parsed<T> {
    Err(CronError { offset, message, hint: Some(hint.into()) })
}

/// A piece of the text and where it starts.
#[derive(Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Piece<'t> {
    fn split_once(self, at: char) -> Option<(Piece<'t>, Piece<'t>)> {
        let (left, right) = self.text.split_once(at)?;
        let offset = self.offset + left.len() + at.len_utf8();
        Some((Piece { text: left, offset: self.offset }, Piece { text: right, offset }))
    }

    fn list(self) -> impl Iterator<Item = Piece<'t>> {
        let mut offset = self.offset;
        self.text.split(',').map(move |text| {
            let piece = Piece { text, offset };
            offset += text.len() + 1;
            piece
        })
    }

    /// Without `end`, in either case.
    fn strip_end(self, end: char) -> Option<Piece<'t>> {
        let last = self.text.chars().next_back().filter(|last| last.eq_ignore_ascii_case(&end))?;
        Some(Piece { text: &self.text[..self.text.len() - last.len_utf8()], offset: self.offset })
    }
}

pub(super) fn cron(text: &str, dialect: Dialect) -> Parsed<Cron> {
    let fields: Vec<Piece<'_>> = words(text);
    let Some(first) = fields.first() else {
        return error(0, "the cron expression is empty".into(), ORDER);
    };
    if first.text.starts_with('@') {
        return word(text, &fields, dialect);
    }
    let [minute, hour, day, month, weekday] = fields[..] else {
        let hint = match fields.len() {
            6.. => format!("{ORDER}; there is none for seconds or years"),
            _ => ORDER.to_owned(),
        };
        let offset = fields.get(5).map_or(text.trim_end().len(), |extra| extra.offset);
        return error(offset, format!("a cron expression has five fields, this has {}", fields.len()), hint);
    };
    let stars = |field: Piece<'_>| field.text.starts_with(['*', '?']);
    Ok(Cron {
        text: text.trim().to_owned(),
        minutes: plain(&MINUTE, minute, dialect)?,
        hours: plain(&HOUR, hour, dialect)? as u32,
        days: days(day, dialect)?,
        months: plain(&MONTH, month, dialect)? as u16,
        weekdays: weekdays(weekday, dialect)?,
        both: stars(day) || stars(weekday),
        fixed: !stars(minute) && !stars(hour),
    })
}

fn words(text: &str) -> Vec<Piece<'_>> {
    let place = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| Piece { text: word, offset: place(word) }).collect()
}

/// `@daily` and its kind.
fn word(text: &str, fields: &[Piece<'_>], dialect: Dialect) -> Parsed<Cron> {
    let name = fields[0];
    if let Some(extra) = fields.get(1) {
        return error(extra.offset, format!("`{}` stands alone", name.text), "take out what follows it");
    }
    let meant = FLAKE_WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name.text)).map(|(_, meant)| *meant);
    let known = meant.filter(|_| dialect == Dialect::Flake).unwrap_or(name.text);
    if let Some((_, fields)) = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(known)) {
        return Ok(Cron { text: name.text.to_owned(), ..cron(fields, dialect)? });
    }
    if let Some(meant) = meant {
        return error(name.offset, format!("`{}` is no cron word", name.text), format!("did you mean `{meant}`?"));
    }
    let message = match name.text.to_ascii_lowercase().as_str() {
        "@reboot" => "`@reboot` is no time at which a check could be due".to_owned(),
        _ => format!("`{}` is no cron word", text.trim()),
    };
    let hint = match name.text.to_ascii_lowercase().as_str() {
        "@reboot" => "use an interval or five fields; every check also runs soon after the agent starts",
        "@every" => "use an interval: `every = \"5m\"`",
        _ => "the words are `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually`",
    };
    error(name.offset, message, hint)
}

/// A field of numbers, names, ranges and steps only: bit n for value n.
fn plain(field: &Field, piece: Piece<'_>, dialect: Dialect) -> Parsed<u64> {
    piece.list().try_fold(0, |bits, item| Ok(bits | range(field, item, dialect)?))
}

fn days(piece: Piece<'_>, dialect: Dialect) -> Parsed<Days> {
    let mut days = Days::default();
    if piece.text == "?" {
        days.plain = u32::MAX << 1;
        return Ok(days);
    }
    for item in piece.list() {
        if item.text.eq_ignore_ascii_case("L") {
            days.from_end |= 1;
        } else if item.text.eq_ignore_ascii_case("LW") {
            days.last_weekday = true;
        } else if let Some((_, back)) = item.split_once('-').filter(|(last, _)| last.text.eq_ignore_ascii_case("L")) {
            let Some(n) = number(back.text).filter(|n| (1..=30).contains(n)) else {
                let message = format!("`{}` is no number of days before the last", back.text);
                return error(back.offset, message, "write `L-1` to `L-30`");
            };
            days.from_end |= 1 << n;
        } else if let Some(day) = item.strip_end('W') {
            days.nearest |= 1 << value(&DAY, day)?;
        } else {
            days.plain |= range(&DAY, item, dialect)? as u32;
        }
    }
    Ok(days)
}

fn weekdays(piece: Piece<'_>, dialect: Dialect) -> Parsed<Weekdays> {
    let mut weekdays = Weekdays::default();
    if piece.text == "?" {
        weekdays.plain = 0x7f;
        return Ok(weekdays);
    }
    for item in piece.list() {
        if let Some((day, nth)) = item.split_once('#') {
            let day = value(&WEEKDAY, day)? % 7;
            let Some(n) = number(nth.text).filter(|n| (1..=5).contains(n)) else {
                let message = format!("`{}` is no count of a weekday in a month", nth.text);
                return error(nth.offset, message, "write `#1` to `#5`, or `5L` for the last Friday");
            };
            weekdays.nth[usize::from(n) - 1] |= 1 << day;
        } else if item.text.eq_ignore_ascii_case("L") {
            let hint = "write `5L` for the last Friday of the month, or `6` for Saturday";
            return error(item.offset, "`L` needs a weekday before it".into(), hint);
        } else if let Some(day) = item.strip_end('L') {
            weekdays.last |= 1 << (value(&WEEKDAY, day)? % 7);
        } else {
            let bits = range(&WEEKDAY, item, dialect)?;
            weekdays.plain |= (bits | bits >> 7) as u8 & 0x7f;
        }
    }
    Ok(weekdays)
}

/// `*`, `5`, `1-5`, and each with a step.
fn range(field: &Field, item: Piece<'_>, dialect: Dialect) -> Parsed<u64> {
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (item, None),
    };
    let (mut reversed, mut round) = (None, 0);
    let (first, last) = if base.text == "*" {
        (field.low, field.high)
    } else if let Some((first, last)) = base.split_once('-') {
        let (from, to) = (value(field, first)?, value(field, last)?);
        if from > to {
            // Seven and nought are one day.
            round = field.high - field.low + u8::from(field.what != WEEKDAY.what);
            reversed = Some(((first, from), (last, to)));
        }
        (from, to + round)
    } else {
        let from = value(field, base)?;
        (from, if step.is_some() { field.high } else { from })
    };
    let every = match step {
        None => 1,
        Some(step) => match number(step.text) {
            Some(n) if n > 0 => n,
            _ => return error(step.offset, format!("`{}` is no step", step.text), "a step is a number from 1 on"),
        },
    };
    let top = field.low + round;
    let values = (first..=last).step_by(usize::from(every)).map(|n| if round > 0 && n >= top { n - round } else { n });
    match reversed.filter(|_| dialect == Dialect::Debian) {
        None => Ok(values.fold(0, |bits, n| bits | 1 << n)),
        Some(_) if step.is_some() => {
            let values: Vec<String> = values.map(|n| n.to_string()).collect();
            error(base.offset, backwards(base), format!("write `{}`", values.join(",")))
        }
        Some((first, last)) => error(base.offset, backwards(base), unrolled(field, first, last)),
    }
}

fn backwards(base: Piece<'_>) -> String {
    format!("the range `{}` ends before it starts", base.text)
}

/// What to write for a range that goes round the end of its field: `6-1` is `6,0-1`.
fn unrolled(field: &Field, (first, from): (Piece<'_>, u8), (last, to): (Piece<'_>, u8)) -> String {
    let weekday = field.what == WEEKDAY.what;
    if weekday && to == 0 {
        return format!("a week ends with 7 here: write `{}-7`", first.text);
    }
    let high = if weekday { 6 } else { field.high };
    let head = if from >= high { first.text.to_owned() } else { format!("{}-{high}", first.text) };
    // A Sunday that begins the range is the one that begins the week.
    if weekday && from == 7 {
        return format!("write `0-{}`", last.text);
    }
    let tail = if to == field.low { last.text.to_owned() } else { format!("{}-{}", field.low, last.text) };
    format!("write `{head},{tail}`")
}

fn value(field: &Field, item: Piece<'_>) -> Parsed<u8> {
    if item.text.is_empty() {
        return error(item.offset, format!("a {} is missing here", field.what), field.hint);
    }
    if item.text == "?" {
        let hint = "`?` stands alone in the day or the weekday field; elsewhere write `*`";
        return error(item.offset, format!("`?` is no {}", field.what), hint);
    }
    let named = || {
        let is = |name: &&str| name.eq_ignore_ascii_case(item.text) || name[..3].eq_ignore_ascii_case(item.text);
        field.names.iter().position(is).map(|n| n as u8 + field.low)
    };
    match number(item.text).filter(|n| (field.low..=field.high).contains(n)).or_else(named) {
        Some(n) => Ok(n),
        None => error(item.offset, format!("`{}` is no {}", item.text, field.what), field.hint),
    }
}

/// Digits only: a sign is a mistake. What does not fit is no value of any field.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
