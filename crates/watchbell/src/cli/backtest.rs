//! `watchbell backtest`: each time that a look-back's lines would have fired.

use super::{
    history::{self, History, Which},
    place::Place,
    table::{Cell, Look, Table},
    ui::{self, Done, Paint, Trouble},
};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use watchbell_core::{
    config::{parse_expectations, render},
    state::lookback::{
        Expectation, Lookback, Verdict,
        backtest::{Backtest, Firing, Period, Report},
    },
};

/// So many minutes are judged before it is looked whether to stop, and how far it is.
const STEP_MINUTES: u64 = 2_000;
/// Progress is shown so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Exit code of what Ctrl-C ended, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Show each time that a look-back's lines would have fired
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Judges every due minute of the period again, over the rows that are known, by the check's lines or by those \
                        given. Bad minutes of a line in a row are one firing; it ends with the next good one. Rows count as if \
                        they had been there in time. Ctrl-C stops it and shows what was found until then (exit code 130); that \
                        lines fired is no problem (exit code 0).\n\nExamples:\n  watchbell backtest orders --since 30d\n  \
                        watchbell backtest orders --expect '{ days = \"weekdays\", hours = \"9-17\", lookback = \"1h\", min = 5 }'\n  \
                        watchbell backtest orders --expect 'CHECKHOURS9-17 CHECKMINUTES*/20 WEEKDAYS MINNUM5 MAXNUM200 \
                        LOOKBACKSECONDS3600'"
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Lines to try instead of the check's: a table as in `expect`, or a requirement line of a `.dwmon` file
    #[arg(long, value_name = "LINE")]
    expect: Vec<String>,
    /// So many firings are listed, the newest
    #[arg(short = 'n', long, default_value_t = 100)]
    limit: usize,
}

impl Args {
    /// Judges the period again.
    pub fn run(&self, place: &Place) -> Done {
        let given = self.given()?;
        let history = self.which.open(place)?;
        let mut policy = Lookback::clone(&history.lookback);
        if !given.is_empty() {
            // `bounds` is the check's, for all its lines.
            let inclusive = policy.expect.iter().any(|line| line.inclusive);
            policy.expect = given.into_iter().map(|line| Expectation { inclusive, ..line }).collect();
        }
        let longest = policy.expect.iter().map(|line| line.lookback).max().unwrap_or_default();
        let times = history.times(longest)?;
        let until = history.until.min(policy.newest(history.until));
        let period = Period { from: history.begin(), until, known_from: history.known_from };
        let mut backtest = Backtest::new(&policy, &times, period);
        let interrupted = advance(&mut backtest)?;
        let shown =
            Shown { history: &history, policy: &policy, rows: times.len(), report: backtest.finish(), interrupted };
        if self.which.look.json {
            ui::print_json(&shown.json())?;
        } else {
            ui::print(&shown.text(self.limit, self.which.look, Paint::stdout()))?;
        }
        if interrupted {
            ui::warn(&format!("stopped: minutes from {} on are not judged", history.minute(shown.report.next)));
            return Err(Trouble::Code(EXIT_INTERRUPTED));
        }
        Ok(())
    }

    /// The lines of the command line; those of a check have other names.
    fn given(&self) -> Done<Vec<Expectation>> {
        let mut all = Vec::new();
        for text in &self.expect {
            let lines = parse_expectations(text).map_err(|problems| {
                let colour = Paint::stderr().on;
                Trouble::Wrong(format!("`--expect` can't be used\n{}", render(&problems, colour).trim_end()))
            })?;
            all.extend(lines);
        }
        Ok(all)
    }
}

/// Goes through the whole period, or until Ctrl-C; returns whether it was that.
fn advance(backtest: &mut Backtest<'_>) -> Done<bool> {
    let stop = on_interrupt()?;
    let shows = io::stderr().is_terminal();
    let (mut shown_at, mut shown) = (Instant::now(), false);
    let mut more = true;
    while more && !stop.load(Ordering::Relaxed) {
        more = backtest.advance(STEP_MINUTES);
        if shows && more && shown_at.elapsed() >= PROGRESS_EVERY {
            // Who does not want to see it need not.
            let _ = write!(io::stderr(), "\rjudging: {:>3.0} % ", backtest.done() * 100.0);
            (shown_at, shown) = (Instant::now(), true);
        }
    }
    if shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    Ok(more)
}

/// Becomes true with the first Ctrl-C; from then on it ends nothing by itself.
fn on_interrupt() -> Done<Arc<AtomicBool>> {
    let failed = |error: io::Error| Trouble::Failed(format!("can't listen to Ctrl-C: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    let mut signal = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(failed)?
    };
    std::thread::spawn(move || {
        runtime.block_on(signal.recv());
        set.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::TooFew => "too few",
        Verdict::TooMany => "too many",
    }
}

struct Shown<'a> {
    history: &'a History,
    policy: &'a Lookback,
    rows: usize,
    report: Report,
    interrupted: bool,
}

impl Shown<'_> {
    /// A line's name, or its number.
    fn name(&self, at: usize) -> String {
        let part = self.policy.expect.get(at).and_then(|line| line.part.clone());
        part.unwrap_or_else(|| (at + 1).to_string())
    }

    fn text(&self, limit: usize, look: Look, paint: Paint) -> String {
        let history = self.history;
        let mut out = format!(
            "{}\n{} rows, {} to {} ({})\n\n",
            paint.head(&ui::clean(&history.check.name)),
            self.rows,
            history.minute(history.begin()),
            history.minute(history.until),
            history.zone_name()
        );
        let mut lines = Table::new(&["line", ">fired", ">judged", ">too few", ">too many", "expects"]);
        for (at, (tally, line)) in self.report.lines.iter().zip(&self.policy.expect).enumerate() {
            let fired = |text: &str| if tally.firings > 0 { paint.bad(text) } else { paint.good(text) };
            lines.row(vec![
                self.name(at).into(),
                Cell::painted(tally.firings.to_string(), fired),
                tally.judged.to_string().into(),
                tally.too_few.to_string().into(),
                tally.too_many.to_string().into(),
                history::describe(line).into(),
            ]);
        }
        out += &lines.show(look);
        out.push('\n');
        if self.report.firings.is_empty() {
            return out + "nothing would have fired\n";
        }
        out + &self.firings(limit, look, paint)
    }

    fn firings(&self, limit: usize, look: Look, paint: Paint) -> String {
        let history = self.history;
        let left_out = self.report.firings.len().saturating_sub(limit);
        let mut out = match left_out {
            0 => String::new(),
            n => paint.dim(&format!("({n} older ones are left out; `--limit` shows more)")) + "\n",
        };
        let mut table = Table::new(&["from", "lasted", "line", ">bad", ">rows", "worst"]);
        for firing in self.report.firings.iter().skip(left_out) {
            let lasted = match firing.over {
                Some(over) => history::lasted(over.since(firing.from)),
                None => format!("{}, still on", history::lasted(self.report.next.since(firing.from))),
            };
            let rows = match (firing.lowest, firing.highest) {
                (lowest, highest) if lowest == highest => lowest.to_string(),
                (lowest, highest) => format!("{lowest}-{highest}"),
            };
            let at = history.minute(firing.worst);
            // The year is that of the firing.
            let at = at.split_once('-').map_or(at.as_str(), |(_, rest)| rest);
            let worst = format!("{} at {at}, {}", firing.worst_count, words(firing.worst_verdict));
            table.row(vec![
                history.minute(firing.from).into(),
                lasted.into(),
                self.name(firing.line).into(),
                firing.minutes.to_string().into(),
                rows.into(),
                worst.into(),
            ]);
        }
        out += &table.show(look);
        out
    }

    fn json(&self) -> Value {
        let line = |(at, line): (usize, &Expectation)| {
            let tally = self.report.lines.get(at).copied().unwrap_or_default();
            json!({
                "line": at + 1,
                "name": line.part,
                "expects": history::describe(line),
                "lookback_seconds": line.lookback.as_secs(),
                "min": line.min,
                "max": line.max,
                "judged": tally.judged,
                "too_few": tally.too_few,
                "too_many": tally.too_many,
                "firings": tally.firings,
            })
        };
        let firing = |firing: &Firing| {
            json!({
                "line": firing.line + 1,
                "from": firing.from,
                "to": firing.to,
                "over": firing.over,
                "minutes": firing.minutes,
                "lowest": firing.lowest,
                "highest": firing.highest,
                "worst": {
                    "at": firing.worst,
                    "count": firing.worst_count,
                    "is": words(firing.worst_verdict),
                },
            })
        };
        json!({
            "check": self.history.check.name,
            "zone": self.history.zone_name(),
            "from": self.history.begin(),
            "until": self.history.until,
            "rows": self.rows,
            "interrupted": self.interrupted,
            "judged_before": self.report.next,
            "lines": self.policy.expect.iter().enumerate().map(line).collect::<Value>(),
            "firings": self.report.firings.iter().map(firing).collect::<Value>(),
        })
    }
}
