//! Tables for people: aligned, and on a terminal no wider than it.

use super::ui;

/// The narrowest that the last column is cut to.
const LAST_MIN: usize = 20;

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
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings. One that begins with `>` has its column aligned to the right. The last column
    /// takes the room that is left.
    pub fn new(head: &[&'static str]) -> Table {
        let right = head.iter().map(|h| h.starts_with('>')).collect();
        Table { head: head.iter().map(|h| h.trim_start_matches('>')).collect(), right, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text, for a line width (`None` cuts nothing).
    pub fn render(&self, width: Option<usize>, paint: ui::Paint) -> String {
        let columns = self.head.len();
        let mut widths: Vec<usize> = self.head.iter().map(|h| length(h)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(&cell.text));
            }
        }
        let before: usize = widths[..columns - 1].iter().map(|w| w + 2).sum();
        let last_max = width.map(|width| width.saturating_sub(before).max(LAST_MIN));
        let mut out = String::new();
        let head: Vec<Cell> = self.head.iter().map(|h| Cell::painted(*h, |text| paint.dim(text))).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                let last = i == columns - 1;
                let cut = last.then_some(last_max).flatten().filter(|max| length(&cell.text) > *max);
                let (text, shown) = match cut {
                    Some(max) => (max, shorten(&cell.text, max)),
                    None => (length(&cell.text), cell.painted.clone().unwrap_or_else(|| cell.text.clone())),
                };
                let pad = " ".repeat(widths[i].saturating_sub(text));
                match (self.right[i], last) {
                    (true, _) => line.push_str(&format!("{pad}{shown}")),
                    (false, true) => line.push_str(&shown),
                    (false, false) => line.push_str(&format!("{shown}{pad}")),
                }
                if !last {
                    line.push_str("  ");
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// The table for standard output as it is.
    pub fn show(&self) -> String {
        self.render(ui::width(), ui::Paint::stdout())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn shorten(text: &str, max: usize) -> String {
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
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

    #[test]
    fn colours_do_not_count() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec![Cell::painted("x", |t| format!("\x1b[31m{t}\x1b[0m")), "y".into()]);
        assert_eq!(table.render(Some(80), ui::Paint { on: false }), "a  b\n\x1b[31mx\x1b[0m  y\n");
    }
}
