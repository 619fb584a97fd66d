//! A cron expression in English, for `watchbell next`.

use super::{Cron, Days, Weekdays};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Up to this many times of the day are listed as times.
const TIMES_MAX: u32 = 6;

impl Cron {
    /// What it means: `every 5 minutes in hours 8 to 18, on Monday to Friday`.
    pub fn describe(&self) -> String {
        let mut parts = vec![self.times(), self.dates()];
        if self.months != 0x1ffe {
            let name = |n: u32| MONTHS[n as usize - 1].to_owned();
            parts.push(format!("in {}", list(u64::from(self.months), name)));
        }
        parts.join(", ")
    }

    fn times(&self) -> String {
        let (minutes, hours) = (self.minutes.count_ones(), self.hours.count_ones());
        if minutes * hours <= TIMES_MAX && hours < 24 {
            let times: Vec<String> = bits(u64::from(self.hours))
                .flat_map(|hour| bits(self.minutes).map(move |minute| format!("{hour:02}:{minute:02}")))
                .collect();
            return format!("at {}", join(&times));
        }
        let every = |step: u32| self.minutes == (0..60).step_by(step as usize).fold(0, |m, n| m | 1_u64 << n);
        let step = [2, 3, 4, 5, 6, 10, 12, 15, 20, 30].into_iter().find(|step| every(*step));
        let (start, many) = match step {
            _ if minutes == 60 => ("every minute".to_owned(), true),
            Some(step) => (format!("every {step} minutes"), true),
            None => (format!("at minute {}", list(self.minutes, |n| n.to_string())), false),
        };
        match (hours, many) {
            (24, true) => start,
            (24, false) => format!("{start} of every hour"),
            (1, _) => format!("{start} in hour {}", self.hours.trailing_zeros()),
            _ => format!("{start} in hours {}", list(u64::from(self.hours), |n| n.to_string())),
        }
    }

    fn dates(&self) -> String {
        let every_day = self.days.plain >> 1 == u32::MAX >> 1;
        let every_weekday = self.weekdays.plain == 0x7f;
        match (every_day, every_weekday, self.both) {
            (true, true, _) => "every day".to_owned(),
            (true, false, true) => format!("on {}", self.weekdays.describe()),
            (false, true, true) => format!("on {}", self.days.describe()),
            (false, false, true) => format!("on {} if it is {}", self.days.describe(), self.weekdays.describe()),
            (true, ..) | (_, true, _) => "every day".to_owned(),
            _ => format!("on {} or on {}", self.days.describe(), self.weekdays.describe()),
        }
    }
}

impl Days {
    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if self.plain != 0 {
            parts.push(format!("day {} of the month", list(u64::from(self.plain), |n| n.to_string())));
        }
        parts.extend(bits(u64::from(self.from_end)).map(|back| match back {
            0 => "the last day of the month".to_owned(),
            1 => "the day before the last of the month".to_owned(),
            n => format!("{n} days before the last of the month"),
        }));
        if self.last_weekday {
            parts.push("the last Monday to Friday of the month".to_owned());
        }
        parts.extend(bits(u64::from(self.nearest)).map(|n| format!("the Monday to Friday nearest to day {n}")));
        join(&parts)
    }
}

impl Weekdays {
    fn describe(&self) -> String {
        let name = |n: u32| WEEKDAYS[n as usize].to_owned();
        let mut parts = Vec::new();
        if self.plain != 0 {
            // Saturday and Sunday are read as a pair, not as the two ends of a week.
            parts.push(if self.plain == 0x41 {
                "Saturday and Sunday".to_owned()
            } else {
                list(self.plain.into(), name)
            });
        }
        let ordinals = ["first", "second", "third", "fourth", "fifth"];
        for (ordinal, days) in ordinals.into_iter().zip(self.nth).chain([("last", self.last)]) {
            parts.extend(bits(days.into()).map(|n| format!("the {ordinal} {} of the month", name(n))));
        }
        join(&parts)
    }
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |n| set >> n & 1 == 1)
}

/// `1, 3 and 8 to 18`
fn list(set: u64, name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    let mut rest = set;
    while rest != 0 {
        let first = rest.trailing_zeros();
        let length = (rest >> first).trailing_ones();
        let last = first + length - 1;
        match length {
            1 => parts.push(name(first)),
            2 => parts.extend([name(first), name(last)]),
            _ => parts.push(format!("{} to {}", name(first), name(last))),
        }
        rest &= u64::MAX.checked_shl(first + length).unwrap_or(0);
    }
    join(&parts)
}

fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
