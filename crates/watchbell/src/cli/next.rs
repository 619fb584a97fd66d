//! `watchbell next`: when a cron expression fires, clock changes included.

use super::{
    table::{Look, Table},
    ui::{self, Done, Trouble},
    when,
};
use crate::run::clock;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::Serialize;
use watchbell_core::{
    model::Timestamp,
    schedule::cron::{Cron, CronError},
};

/// So many times are listed at most.
const COUNT_MAX: u32 = 10_000;
/// So many clock changes are looked at, at most.
const CHANGES_MAX: usize = 1000;

/// Show when a cron expression fires
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  watchbell next '*/5 8-18 * * mon-fri' --tz Europe/Berlin\n  watchbell next @daily \
                        --from 2026-03-28 --count 3\n\nQuote the expression, or the shell replaces `*` by file names."
)]
pub struct Args {
    /// Five fields, or a word such as `@daily`
    #[arg(required = true, num_args = 1..=5, value_name = "CRON")]
    cron: Vec<String>,
    /// The time zone it runs in [default: the machine's]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// From when on [default: now]
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    from: Option<when::Typed>,
    /// How many times
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: u32,
    #[command(flatten)]
    look: Look,
}

#[derive(Serialize)]
struct Fires {
    local: String,
    utc: Timestamp,
}

#[derive(Serialize)]
struct Change {
    at: Timestamp,
    before: String,
    after: String,
    #[serde(skip)]
    forward: bool,
    seconds: i32,
}

impl Args {
    /// Lists the times.
    pub fn run(&self) -> Done {
        let text = self.cron.join(" ");
        let cron = Cron::parse(&text).map_err(|error| Trouble::Wrong(explain(&text, &error)))?;
        let zone = self.zone()?;
        let now = clock::now();
        let from = self.from.as_ref().map_or(now, |typed| typed.in_zone(&zone));
        let mut times = Vec::new();
        let mut after = from;
        while times.len() < self.count as usize
            && let Some(at) = cron.next_after(after, &zone)
        {
            times.push(at);
            after = at;
        }
        let changes = times.last().map(|last| changes(&zone, from, *last)).unwrap_or_default();
        if self.look.json {
            let fires: Vec<Fires> = times
                .iter()
                .map(|at| Fires { local: at.to_jiff().to_zoned(zone.clone()).to_string(), utc: *at })
                .collect();
            ui::print_json(&serde_json::json!({
                "expression": text, "description": cron.describe(), "zone": zone_name(&zone),
                "times": fires, "clock_changes": changes,
            }))?;
        } else {
            ui::print(&show(&cron, &zone, &times, &changes, now, self.look))?;
        }
        if times.is_empty() {
            let hint = "there is no such date in the calendar; look at the day and the month";
            return Err(Trouble::Failed(format!("`{text}` never fires\nhint: {hint}")));
        }
        Ok(())
    }

    fn zone(&self) -> Done<TimeZone> {
        let Some(name) = &self.tz else { return Ok(TimeZone::system()) };
        TimeZoneDatabase::bundled().get(name).map_err(|_| {
            let hint = "write it as `Europe/Berlin` or `UTC`";
            Trouble::Wrong(format!("there is no time zone `{name}`\nhint: {hint}"))
        })
    }
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("local time").to_owned()
}

/// What is wrong with an expression, with a caret below the place.
fn explain(text: &str, error: &CronError) -> String {
    let column = text.get(..error.offset).unwrap_or(text).chars().count();
    let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{}\n  {}\n  {}^{hint}", error.message, ui::clean(text), " ".repeat(column))
}

/// The clock changes of a zone between two times.
fn changes(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Change> {
    let mut list = Vec::new();
    for change in zone.following(from.to_jiff()).take(CHANGES_MAX) {
        let at = Timestamp::from_jiff(change.timestamp());
        if at > until {
            break;
        }
        let before = zone.to_offset(
            change.timestamp().saturating_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(change.timestamp()),
        );
        let seconds = change.offset().seconds() - before.seconds();
        if seconds != 0 {
            let civil = |offset: jiff::tz::Offset| {
                offset.to_datetime(change.timestamp()).strftime("%Y-%m-%d %H:%M").to_string()
            };
            list.push(Change {
                at,
                before: civil(before),
                after: civil(change.offset()),
                forward: seconds > 0,
                seconds,
            });
        }
    }
    list
}

fn show(cron: &Cron, zone: &TimeZone, times: &[Timestamp], changes: &[Change], now: Timestamp, look: Look) -> String {
    let paint = ui::Paint::stdout();
    let mut out = format!("{}\n{}, in {}\n\n", paint.head(cron.text()), cron.describe(), zone_name(zone));
    if times.is_empty() {
        return out;
    }
    let mut table = Table::new(&["!local", "!UTC", ""]);
    let mut changes = changes.iter().peekable();
    for at in times {
        while let Some(change) = changes.next_if(|change| change.at <= *at) {
            let minutes = change.seconds.abs() / 60;
            let way = if change.forward { '+' } else { '-' };
            let text = format!("clock {way}{minutes} min, to {}", &change.after[11..]);
            table.row(vec![format!("    {}", change.before).into(), change.at.to_string().into(), text.into()]);
        }
        table.row(vec![when::local(*at, zone).into(), at.to_string().into(), when::ago(*at, now).into()]);
    }
    out.push_str(&table.show(look));
    out
}
