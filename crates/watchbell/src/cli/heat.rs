//! A heat map of the week: as text for a terminal, and as a picture.

use super::ui::{Paint, clean};
use watchbell_core::state::lookback::histogram::Histogram;

/// Weekdays, Monday first.
pub const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Shades of a terminal, from few rows to many.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Their colours, of the 256 that terminals have: readable on light and on dark.
const COLOURS: [u8; 5] = [0, 74, 78, 214, 203];
/// A line of the table with the narrowest cells.
const NARROW: usize = 79;
/// The width of a terminal from which on each cell shows its total too.
const WIDE: usize = 160;
/// The width of a shade, and the widest that it grows to.
const SHADE: usize = 2;
const WIDEST_SHADE: usize = 6;
/// The room that a total takes in a cell.
const TOTAL: usize = 8;

/// What stands above.
pub struct Head<'a> {
    /// The check.
    pub name: &'a str,
    /// From when to when.
    pub period: String,
    /// The zone.
    pub zone: String,
}

/// A number in at most five characters: `0.25`, `1.5`, `120`, `120k`, `1.2M`.
pub fn number(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.005 => "<0.01".to_owned(),
        v if v < 0.995 => format!("{v:.2}"),
        v if v < 9.95 => format!("{v:.1}"),
        v if v < 99_999.5 => format!("{v:.0}"),
        v if v < 999_500.0 => format!("{:.0}k", v / 1e3),
        v if v < 99.95e6 => format!("{:.1}M", v / 1e6),
        v if v < 999.5e6 => format!("{:.0}M", v / 1e6),
        v => format!("{:.1}G", v / 1e9),
    }
}

/// How often: `4`, or `3.5` where an hour is cut.
fn times(value: f64) -> String {
    format!("{value:.1}").trim_end_matches(".0").to_owned()
}

/// A number in full, with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Of so many levels, the one of a value: 0 only where there is nothing.
fn level(value: f64, highest: f64, levels: usize) -> usize {
    if value <= 0.0 || highest <= 0.0 {
        return 0;
    }
    ((value / highest * levels as f64).ceil() as usize).clamp(1, levels)
}

fn mean(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// Right-aligned.
fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

fn shade(level: usize, width: usize, paint: Paint) -> String {
    let blocks: String = std::iter::repeat_n(SHADES[level], width).collect();
    match paint.on && level > 0 {
        true => format!("\x1b[38;5;{}m{blocks}\x1b[0m", COLOURS[level]),
        false => blocks,
    }
}

/// The heat map as a table: hours downwards, weekdays side by side.
pub fn table(head: &Head<'_>, found: &Histogram, width: Option<usize>, paint: Paint) -> String {
    let width = width.unwrap_or(NARROW);
    let totals = width >= WIDE;
    let room = (width.saturating_sub(NARROW) / 7).saturating_sub(if totals { TOTAL } else { 0 });
    let shades = SHADE + room.min(WIDEST_SHADE - SHADE);
    let cell = |shown: &str, level: usize, total: Option<u64>| {
        let total = match (totals, total) {
            (true, Some(total)) => paint.dim(&right(&grouped(total), TOTAL)),
            (true, None) => " ".repeat(TOTAL),
            (false, _) => String::new(),
        };
        format!("{} {}{total}", right(shown, 5), shade(level, shades, paint))
    };
    let highest = found.highest();
    let week = found.week();
    let mut out = format!("{}\n", paint.head(&clean(head.name)));
    out += &format!("{} rows, {} ({})\n\n", grouped(week.rows), head.period, head.zone);
    let mut titles = "     ".to_owned();
    for day in WEEKDAYS {
        titles += &cell(&day[..3], 0, None);
    }
    out += &line(&paint.dim(&format!("{} {:>7} {:>8}", titles, "all", "in all")));
    for hour in 0..24 {
        let mut row = paint.dim(&format!("{hour:02}:00"));
        for day in 0..7 {
            let of = found.hours[day][hour];
            let level = level(of.mean().unwrap_or(0.0), highest, SHADES.len() - 1);
            row += &cell(&mean(of.mean()), level, of.mean().map(|_| of.rows));
        }
        let of = found.hour(hour);
        out += &line(&format!("{row} {:>7} {:>8}", mean(of.mean), grouped(of.rows)));
    }
    out.push('\n');
    let mut days = "a day".to_owned();
    let mut all = "all  ".to_owned();
    for day in 0..7 {
        let of = found.weekday(day);
        days += &cell(&mean(of.mean), 0, None);
        all += &cell(&number(of.rows as f64), 0, None);
    }
    let days_mean = week.mean.map(|mean| mean / 7.0);
    out += &line(&format!("{} {:>7} {:>8}", paint.head(&days), mean(days_mean), ""));
    out += &line(&format!("{} {:>7} {:>8}", paint.dim(&all), "", grouped(week.rows)));
    out += &format!("\n{}", below(found, paint));
    out
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

/// What the shades mean, and what the numbers are.
fn below(found: &Histogram, paint: Paint) -> String {
    let highest = found.highest();
    let levels = SHADES.len() - 1;
    let steps = (1..=levels).map(|at| {
        let up_to = highest * at as f64 / levels as f64;
        format!("{} to {}", shade(at, SHADE, paint), number(up_to))
    });
    let mut out = format!("{}  rows an hour, on average\n", steps.collect::<Vec<_>>().join("  "));
    if let Some((day, hour)) = most(found) {
        let of = found.hours[day][hour];
        let about = number(of.mean().unwrap_or(0.0));
        out += &format!(
            "most on {}s at {hour}: about {about} rows in that hour ({} in {} times)\n",
            WEEKDAYS[day],
            grouped(of.rows),
            times(of.times())
        );
    }
    match found.week().mean {
        Some(mean) => out += &format!("an average week has about {} rows\n", number(mean)),
        None => out += "the period is too short for an average week; `-` is what it does not have\n",
    }
    out
}

/// The hour of the week with the most rows.
fn most(found: &Histogram) -> Option<(usize, usize)> {
    let slots = (0..7).flat_map(|day| (0..24).map(move |hour| (day, hour)));
    let means = slots.filter_map(|(day, hour)| Some(((day, hour), found.hours[day][hour].mean()?)));
    let most = means.fold(None, |most: Option<((usize, usize), f64)>, at| match most {
        Some(most) if most.1 >= at.1 => Some(most),
        _ => Some(at),
    });
    most.filter(|(_, mean)| *mean > 0.0).map(|(at, _)| at)
}

/// Levels of the picture.
const LEVELS: usize = 7;
const CELL_WIDTH: usize = 40;
const CELL_HEIGHT: usize = 34;
const GAP: usize = 2;
const LEFT: usize = 108;
const TOP: usize = 96;

/// Colours of a scheme.
struct Scheme {
    ground: &'static str,
    ink: &'static str,
    faint: &'static str,
    /// Hours that the period does not have.
    none: &'static str,
    /// Of each level, its own and that of the number on it: few rows are near the background, many far from it.
    levels: [(&'static str, &'static str); LEVELS + 1],
}

const LIGHT: Scheme = Scheme {
    ground: "#ffffff",
    ink: "#1f2933",
    faint: "#5b6773",
    none: "#eef1f4",
    levels: [
        ("#f3f6f8", "#5b6773"),
        ("#dcebf5", "#1f2933"),
        ("#b9d8ec", "#1f2933"),
        ("#8dc0e0", "#14202b"),
        ("#58a3d0", "#0d1720"),
        ("#2577ad", "#ffffff"),
        ("#16659a", "#ffffff"),
        ("#0b4670", "#ffffff"),
    ],
};

const DARK: Scheme = Scheme {
    ground: "#12181f",
    ink: "#e6edf3",
    faint: "#93a1ae",
    none: "#171e26",
    levels: [
        ("#1b232c", "#93a1ae"),
        ("#17324a", "#dbe6ee"),
        ("#184769", "#e6edf3"),
        ("#1c5f8b", "#f2f7fa"),
        ("#22729f", "#ffffff"),
        ("#4fa3d3", "#0d1720"),
        ("#86c4e6", "#0d1720"),
        ("#c8e6f7", "#0d1720"),
    ],
};

impl Scheme {
    /// Plain rules, and no variables: not everything that shows pictures knows those.
    fn rules(&self) -> String {
        let Scheme { ground, ink, faint, none, levels } = self;
        let mut out = format!(
            ".ground {{ fill: {ground}; }}\ntext {{ fill: {ink}; }}\n.faint {{ fill: {faint}; }}\n.none {{ fill: {none}; }}\n"
        );
        for (at, (fill, ink)) in levels.iter().enumerate() {
            out += &format!(".c{at} {{ fill: {fill}; }}\n.t{at} {{ fill: {ink}; }}\n");
        }
        out
    }
}

fn style() -> String {
    const FONTS: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
    format!(
        "<style>\ntext {{ font-family: {FONTS}; font-size: 12px; }}\n.title {{ font-size: 18px; font-weight: 600; }}\n\
         .middle {{ text-anchor: middle; }}\n.end {{ text-anchor: end; }}\n.sum {{ font-weight: 600; }}\n{}\
         @media (prefers-color-scheme: dark) {{\n{}}}\n</style>\n",
        LIGHT.rules(),
        DARK.rules()
    )
}

/// The heat map as a picture that needs nothing else: weekdays downwards, hours side by side.
pub fn svg(head: &Head<'_>, found: &Histogram) -> String {
    let grid_right = LEFT + 24 * (CELL_WIDTH + GAP);
    let grid_bottom = TOP + 7 * (CELL_HEIGHT + GAP);
    let (width, height) = (grid_right + 92, grid_bottom + 96);
    let name = escaped(head.name);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title\">\n<title id=\"title\">Rows of {name} by weekday and hour</title>\n\
         {}<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n",
        style()
    );
    let rows = grouped(found.week().rows);
    out += &text(24, 34, "title", &format!("{name}: rows by weekday and hour"));
    let about = format!("{rows} rows, {} ({}); averages for each hour", escaped(&head.period), escaped(&head.zone));
    out += &text(24, 56, "faint", &about);
    for hour in 0..24 {
        out +=
            &text(LEFT + hour * (CELL_WIDTH + GAP) + CELL_WIDTH / 2, TOP - 10, "faint middle", &format!("{hour:02}"));
        let x = LEFT + hour * (CELL_WIDTH + GAP) + CELL_WIDTH / 2;
        out += &text(x, grid_bottom + 20, "middle", &mean(found.hour(hour).mean));
    }
    out += &text(grid_right + 78, TOP - 10, "faint end", "a day");
    out += &text(LEFT - 12, grid_bottom + 20, "faint end", "average day");
    for (day, day_name) in WEEKDAYS.iter().enumerate() {
        let y = TOP + day * (CELL_HEIGHT + GAP);
        out += &text(LEFT - 12, y + CELL_HEIGHT / 2 + 4, "end", day_name);
        for hour in 0..24 {
            out += &svg_cell(found, day, hour, LEFT + hour * (CELL_WIDTH + GAP), y);
        }
        out += &text(grid_right + 78, y + CELL_HEIGHT / 2 + 4, "sum end", &mean(found.weekday(day).mean));
    }
    let week = mean(found.week().mean);
    out += &text(grid_right + 78, grid_bottom + 20, "sum end", &week);
    out += &text(grid_right + 78, grid_bottom + 36, "faint end", "a week");
    out + &svg_legend(found, grid_bottom + 52) + "</svg>\n"
}

fn svg_cell(found: &Histogram, day: usize, hour: usize, x: usize, y: usize) -> String {
    let of = found.hours[day][hour];
    let (class, ink, says) = match of.mean() {
        None => ("none".to_owned(), "faint".to_owned(), "not in the period".to_owned()),
        Some(mean) => {
            let level = level(mean, found.highest(), LEVELS);
            let times = times(of.times());
            let says = format!("{mean:.1} rows on average, {} in all, {times} times", grouped(of.rows));
            (format!("c{level}"), format!("t{level}"), says)
        }
    };
    let (middle, base) = (x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2 + 4);
    let shown = mean(of.mean());
    format!(
        "<g><title>{} {hour:02}:00: {says}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{CELL_WIDTH}\" \
         height=\"{CELL_HEIGHT}\" rx=\"3\"/><text class=\"{ink} middle\" x=\"{middle}\" y=\"{base}\">{shown}</text></g>\n",
        WEEKDAYS[day]
    )
}

fn svg_legend(found: &Histogram, y: usize) -> String {
    let mut out = text(LEFT - 12, y + 12, "faint end", "rows an hour");
    for at in 0..=LEVELS {
        let x = LEFT + at * 76;
        let up_to = match at {
            0 => "none".to_owned(),
            at => format!("to {}", number(found.highest() * at as f64 / LEVELS as f64)),
        };
        out += &format!("<rect class=\"c{at}\" x=\"{x}\" y=\"{y}\" width=\"18\" height=\"16\" rx=\"3\"/>\n");
        out += &text(x + 24, y + 12, "faint", &up_to);
    }
    out
}

fn text(x: usize, y: usize, class: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n")
}

fn escaped(text: &str) -> String {
    clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use watchbell_core::model::Timestamp;

    fn found() -> Histogram {
        let start = 1_772_409_600; // Monday, 2026-03-02T00:00:00Z
        let times: Vec<Timestamp> = (0..28 * 1440)
            .flat_map(|minute| {
                let many = if minute / 60 % 24 == 9 && minute / 1440 % 7 == 0 { 20 } else { 1 };
                std::iter::repeat_n(Timestamp::from_secs(start + minute * 60 + 1), many)
            })
            .collect();
        Histogram::of(&times, &TimeZone::UTC, Timestamp::from_secs(start), Timestamp::from_secs(start + 28 * 86_400))
    }

    fn head(name: &str) -> Head<'_> {
        Head { name, period: "then to now".to_owned(), zone: "UTC".to_owned() }
    }

    /// S2.11: the table fits the terminal, and says what a person wants to know without colours.
    #[test]
    fn the_table_fits_and_can_be_read() {
        for width in [None, Some(40), Some(80), Some(100), Some(120), Some(160), Some(250)] {
            let table = table(&head("//a/b/orders"), &found(), width, Paint { on: false });
            let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width.unwrap_or(80).max(80), "{width:?} {widest}\n{table}");
            assert!(table.contains("most on Mondays at 9: about 1200 rows in that hour (4,800 in 4 times)"), "{table}");
            let nine = table.lines().find(|line| line.starts_with("09:00")).unwrap();
            assert!(nine.starts_with("09:00 1200 ██"), "{nine}");
            assert_eq!(nine.contains("4,800"), width.is_some_and(|w| w >= WIDE), "{nine}");
            assert!(!table.contains('\x1b'));
        }
        let coloured = table(&head("x"), &found(), None, Paint { on: true });
        assert!(coloured.contains("\x1b[38;5;203m██\x1b[0m"), "{coloured}");
    }

    /// S2.11: the picture is well formed, whatever the name.
    #[test]
    fn the_picture_is_well_formed() {
        let picture = svg(&head("//a/<b>/\"&\u{1b}"), &found());
        assert!(picture.contains("//a/&lt;b&gt;/&quot;&amp;\\u{1b}: rows by weekday and hour"), "{picture}");
        assert!(picture.contains("<title>Monday 09:00: 1200.0 rows on average, 4,800 in all, 4 times</title>"));
        assert_eq!(picture.matches("<g>").count(), 7 * 24);
        for tag in ["svg", "g", "text", "title", "style"] {
            let open = picture.matches(&format!("<{tag} ")).count() + picture.matches(&format!("<{tag}>")).count();
            assert_eq!(open, picture.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!picture.contains("\u{1b}") && !picture.contains("href"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, expect) in [
            (0.0, "0"),
            (0.004, "<0.01"),
            (0.25, "0.25"),
            (0.996, "1.0"),
            (1.0, "1.0"),
            (9.96, "10"),
            (12.34, "12"),
            (99.96, "100"),
            (119.6, "120"),
            (99_999.4, "99999"),
            (123_456.0, "123k"),
            (999_600.0, "1.0M"),
            (123_456_789.0, "123M"),
            (5e9, "5.0G"),
        ] {
            assert_eq!(number(value), expect);
            assert!(number(value).len() <= 5);
        }
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.1, 25.0, 25.1, 100.0].map(|v| level(v, 100.0, 4)), [0, 1, 1, 2, 4]);
        assert_eq!(level(1.0, 0.0, 4), 0);
    }
}
