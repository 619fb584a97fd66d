//! `watchbell histogram`: how many rows there are by weekday and hour, as a table, as JSON, or as a picture.

use super::{
    heat,
    history::{History, Which},
    place::Place,
    ui::{self, Done, Paint},
};
use serde_json::{Value, json};
use std::time::Duration;
use watchbell_core::state::lookback::histogram::{Histogram, Total};

/// Show how many rows a look-back has by weekday and hour
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Numbers are averages of rows in that hour: a weekday that occurs 4 times in the period is divided by 4, \
                        and cut hours and hours that a clock change skips or repeats by how long they really were. Hours before \
                        the first row that is known do not count. Times are of the check's zone.\n\nExamples:\n  watchbell \
                        histogram orders\n  watchbell histogram orders --since 8w --svg > orders.svg"
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Print a picture
    #[arg(long, conflicts_with = "json")]
    svg: bool,
}

impl Args {
    /// Counts and shows them.
    pub fn run(&self, place: &Place) -> Done {
        let history = self.which.open(place)?;
        let times = history.times(Duration::ZERO)?;
        let found = Histogram::of(&times, &history.lookback.zone, history.begin(), history.until);
        if self.which.look.json {
            return ui::print_json(&as_json(&history, &found));
        }
        let head = heat::Head {
            name: &history.check.name,
            period: format!("{} to {}", history.minute(found.from), history.minute(found.until)),
            zone: history.zone_name(),
        };
        if self.svg {
            return ui::print(&heat::svg(&head, &found));
        }
        ui::print(&heat::table(&head, &found, self.which.look.width(), Paint::stdout()))
    }
}

fn as_json(history: &History, found: &Histogram) -> Value {
    let total = |total: Total| json!({ "rows": total.rows, "mean": total.mean });
    let grid = |of: &dyn Fn(usize, usize) -> Value| -> Value {
        (0..7).map(|day| (0..24).map(|hour| of(day, hour)).collect::<Value>()).collect()
    };
    json!({
        "check": history.check.name,
        "zone": history.zone_name(),
        "from": found.from,
        "until": found.until,
        "weekdays": heat::WEEKDAYS,
        // By weekday, Monday first, and hour from 0 on.
        "rows": grid(&|day, hour| found.hours[day][hour].rows.into()),
        "hours": grid(&|day, hour| found.hours[day][hour].times().into()),
        "means": grid(&|day, hour| found.hours[day][hour].mean().into()),
        "by_weekday": (0..7).map(|day| total(found.weekday(day))).collect::<Value>(),
        "by_hour": (0..24).map(|hour| total(found.hour(hour))).collect::<Value>(),
        "week": total(found.week()),
    })
}
