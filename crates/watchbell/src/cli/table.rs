//! Tables for people: aligned, and on a terminal no wider than it. Names stay whole; what does not fit is cut with `…`,
//! or stands in a line of its own. Output that is no terminal, and `--wide`, cut nothing.

use super::ui;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// With less room than this the last column is not cut but goes below.
const LAST_MIN: usize = 24;
/// Columns that may be cut are not cut below this.
const NARROWEST: usize = 10;
/// How far what goes below is moved in.
const BELOW: usize = 4;

/// How lists are printed.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Look {
    /// Cut nothing to the width of the terminal (what goes to a file or pipe is never cut)
    #[arg(long)]
    pub wide: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Look {
    /// How wide a line may be.
    pub fn width(self) -> Option<usize> {
        ui::width().filter(|_| !self.wide)
    }
}

/// One cell: its text, and the same with colours.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    painted: Option<String>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: one_line(&text.into()), painted: None }
    }
}

impl Cell {
    /// A cell with colours: `paint` is given the text as it is shown.
    pub fn painted(text: impl Into<String>, paint: impl Fn(&str) -> String) -> Cell {
        let text = one_line(&text.into());
        let painted = Some(paint(&text)).filter(|painted| *painted != text);
        Cell { text, painted }
    }
}

/// A table under way.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    right: Vec<bool>,
    whole: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings. One that begins with `>` has its column aligned to the right, one that begins with
    /// `!` holds names: they are never cut. The last column takes the room that is left.
    pub fn new(head: &[&'static str]) -> Table {
        let right: Vec<bool> = head.iter().map(|h| h.starts_with('>')).collect();
        let whole = head.iter().map(|h| h.starts_with(['>', '!'])).collect();
        Table { head: head.iter().map(|h| h.trim_start_matches(['>', '!'])).collect(), right, whole, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text, for a line width (`None` cuts nothing).
    pub fn render(&self, width: Option<usize>, paint: ui::Paint) -> String {
        let widths = self.widths(width.unwrap_or(usize::MAX));
        let mut out = String::new();
        let head: Vec<Cell> = self.head.iter().map(|h| Cell::painted(*h, |text| paint.dim(text))).collect();
        self.line(&head, &widths, width, &mut out);
        // The heading of what stands below its rows says nothing.
        out.truncate(out.find('\n').map_or(out.len(), |end| end + 1));
        for row in &self.rows {
            self.line(row, &widths, width, &mut out);
        }
        out
    }

    /// How wide each column is.
    fn widths(&self, room: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|h| length(h)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(&cell.text));
            }
        }
        let last = widths.len() - 1;
        // The least that the last column wants; a name wants all.
        let wanted = if self.whole[last] { widths[last] } else { widths[last].min(LAST_MIN) };
        let over = |widths: &[usize]| {
            let before: usize = widths[..last].iter().map(|w| w + 2).sum();
            (before + wanted).saturating_sub(room)
        };
        // The widest are cut first.
        while over(&widths) > 0 {
            let cuttable = (0..last).filter(|i| !self.whole[*i] && widths[*i] > NARROWEST.max(length(self.head[*i])));
            let Some(widest) = cuttable.max_by_key(|i| widths[*i]) else { break };
            widths[widest] -= 1;
        }
        // A few long names don't push everybody's last column away: theirs goes below.
        if last > 0 && self.whole[last - 1] && !self.right[last - 1] {
            let least = length(self.head[last - 1]).max(NARROWEST);
            widths[last - 1] = widths[last - 1].saturating_sub(over(&widths)).max(least.min(widths[last - 1]));
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], room: Option<usize>, out: &mut String) {
        let last = widths.len() - 1;
        let (mut line, mut used) = (String::new(), 0);
        for (i, cell) in row[..last].iter().enumerate() {
            let (text, shown) = if self.whole[i] { cell.whole() } else { cell.cut(widths[i]) };
            let pad = " ".repeat(widths[i].saturating_sub(text));
            let (before, after) = if self.right[i] { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.push_str(&format!("{before}{shown}{after}  "));
            used += text.max(widths[i]) + 2;
        }
        let (cell, natural) = (&row[last], length(&row[last].text));
        let left = room.map_or(usize::MAX, |room| room.saturating_sub(used));
        let least = if self.whole[last] { natural } else { natural.min(LAST_MIN) };
        let fit = |left: usize| if self.whole[last] { cell.whole() } else { cell.cut(left) };
        if least > left && last > 0 {
            let below = room.unwrap_or(usize::MAX).saturating_sub(BELOW).max(LAST_MIN);
            line = format!("{}\n{}{}", line.trim_end(), " ".repeat(BELOW), fit(below).1);
        } else {
            let (text, shown) = fit(left.max(LAST_MIN));
            let pad = if self.right[last] { " ".repeat(widths[last].saturating_sub(text)) } else { String::new() };
            line.push_str(&format!("{pad}{shown}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }

    /// The table for standard output as it is.
    pub fn show(&self, look: Look) -> String {
        self.render(look.width(), ui::Paint::stdout())
    }
}

impl Cell {
    fn whole(&self) -> (usize, String) {
        (length(&self.text), self.painted.clone().unwrap_or_else(|| self.text.clone()))
    }

    /// At most so wide: its width, and what is shown, in its colours.
    fn cut(&self, max: usize) -> (usize, String) {
        if length(&self.text) <= max {
            return self.whole();
        }
        let short = shorten(&self.text, max);
        let shown = match &self.painted {
            // The colours are around the text.
            Some(painted) => painted.replace(&self.text, &short),
            None => short.clone(),
        };
        (length(&short), shown)
    }
}

/// How many columns of a terminal a text takes: two for each of East Asia's characters and for emoji.
pub fn length(text: &str) -> usize {
    text.width()
}

/// How many columns a character may take; one that asks for a picture makes its neighbour wider.
pub fn columns(c: char) -> usize {
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(1) }
}

/// A text as it fits a line of that width, cut if it must be.
pub fn fitting(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if length(text) > width.max(LAST_MIN) => shorten(text, width.max(LAST_MIN)),
        _ => text.to_owned(),
    }
}

/// At most so many columns of a text, with `…` at its end.
fn shorten(text: &str, max: usize) -> String {
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += columns(c);
        if used + 1 > max {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// One line that is safe to print: control characters and line ends are shown, not obeyed.
pub fn one_line(text: &str) -> String {
    ui::clean(&text.trim_end().replace('\n', " ⏎ ").replace('\t', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_is_cut_to_the_terminal() {
        let mut table = Table::new(&["name", ">runs", "text"]);
        table.row(vec!["a".into(), "7".into(), "short".into()]);
        table.row(vec!["long-name".into(), "12345".into(), "two\nlines and\u{1b}[31m some more words".into()]);
        let plain = ui::Paint { on: false };
        let expect = "name        runs  text\na              7  short\nlong-name  12345  two ⏎ lines and\\u{1b}[31m some more words\n";
        assert_eq!(table.render(None, plain), expect);
        let cut = table.render(Some(40), plain);
        assert!(cut.lines().all(|l| l.chars().count() <= 40), "{cut}");
        assert!(cut.contains('…'), "{cut}");
    }

    /// Every line but those of names that are longer than the line fits, names are whole, and what is cut says so.
    #[test]
    fn tables_fit_and_names_stay_whole() {
        let plain = ui::Paint { on: false };
        let long = format!("//web-1/{}", "n".repeat(90));
        let names = ["//web-1/shop/disk#/var", "//web-1/データベース/注文", "//web-1/shop/🎉-and-👨‍👩‍👧", long.as_str()];
        let texts = [
            "short",
            &"日本語".repeat(40),
            &"🎉 ".repeat(60),
            &"a text of many words ".repeat(9),
            "",
            "❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️❤️",
        ];
        for width in [40, 60, 79, 80, 81, 100, 200] {
            for some in 1..=names.len() {
                let mut table = Table::new(&["!severity", ">since", "told", "!name", "message"]);
                for (name, text) in names[..some].iter().flat_map(|name| texts.map(|text| (name, text))) {
                    let told = Cell::painted("pager,chat,mail,everybody", |t| format!("<{t}>"));
                    table.row(vec!["critical".into(), "3m".into(), told, (*name).into(), text.into()]);
                }
                let shown = table.render(Some(width), plain);
                for line in shown
                    .lines()
                    .filter(|line| !names.iter().any(|name| line.contains(name) && length(name) + 30 > width))
                {
                    let line = line.replace(['<', '>'], "");
                    assert!(length(&line) <= width, "{width}: {} {line}", length(&line));
                }
                for name in &names[..some] {
                    assert_eq!(
                        shown.lines().filter(|line| line.contains(name)).count(),
                        texts.len(),
                        "{width} {name}: {shown}"
                    );
                }
                assert!(width == 200 || shown.contains('…'), "{shown}");
            }
        }
    }

    /// Columns stand below each other whatever is in them, as wide as a terminal shows it.
    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(&["!name", ">n", "text"]);
        for name in ["ascii", "注文", "é", "🎉"] {
            table.row(vec![name.into(), "7".into(), "x".into()]);
        }
        let shown = table.render(Some(80), ui::Paint { on: false });
        assert_eq!(shown, "name   n  text\nascii  7  x\n注文   7  x\né      7  x\n🎉     7  x\n");
    }

    /// A list of names has them whole, in a line of their own where they must.
    #[test]
    fn a_name_in_the_last_column_goes_below() {
        let mut table = Table::new(&[">runs", "!name"]);
        table.row(vec!["12".into(), "n".repeat(36).into()]);
        table.row(vec!["7".into(), "short".into()]);
        let shown = table.render(Some(40), ui::Paint { on: false });
        assert_eq!(shown, format!("runs  name\n  12\n    {}\n   7  short\n", "n".repeat(36)));
    }

    /// What hides in a name is seen in a table.
    #[test]
    fn nothing_hides_in_a_cell() {
        for (text, expect) in [
            ("a\u{200b}b", "a\\u{200b}b"),
            ("a\u{2066}b", "a\\u{2066}b"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("a\u{e0041}b", "a\\u{e0041}b"),
            ("a\nb", "a ⏎ b"),
        ] {
            assert_eq!(Cell::from(text).text, expect);
        }
    }

    #[test]
    fn colours_stay_when_a_text_is_cut() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec!["x".into(), Cell::painted("y".repeat(50), |t| format!("\x1b[31m{t}\x1b[0m"))]);
        let shown = table.render(Some(30), ui::Paint { on: false });
        assert_eq!(shown, format!("a  b\nx  \x1b[31m{}…\x1b[0m\n", "y".repeat(26)));
    }

    #[test]
    fn colours_do_not_count() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec![Cell::painted("x", |t| format!("\x1b[31m{t}\x1b[0m")), "y".into()]);
        assert_eq!(table.render(Some(80), ui::Paint { on: false }), "a  b\n\x1b[31mx\x1b[0m  y\n");
    }
}
