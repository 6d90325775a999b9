//! Tables without borders for standard output: aligned, as narrow as the terminal wants them, and
//! easily cut into fields where there is no terminal.

use super::{Style, Tone, text};

/// Between two columns.
const GAP: &str = "  ";
/// A column that gives way keeps at least this many columns of the terminal.
const LEAST: usize = 10;

/// How a column behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fit {
    /// Never cut: names, URLs, whatever one copies.
    #[default]
    Whole,
    /// Gives way when the table is too wide.
    Shrink,
    /// Numbers: never cut, aligned on the right.
    Number,
}

/// One field. Several lines (`\n`) stand below each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// With a color that says what the text says, too.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// A word for a state, in its color: `running`, `healthy`, `left out`, ...
    pub fn state(word: impl Into<String>) -> Self {
        let word = word.into();
        let tone = match word.as_str() {
            "running" | "healthy" | "ready" | "ok" | "present" | "installed" | "trusted" => Tone::Good,
            "starting" | "left_out" | "left out" | "changed" | "warning" | "created" | "paused" | "restarting" => {
                Tone::Warn
            }
            "unhealthy" | "missing" | "failed" | "error" | "dead" => Tone::Bad,
            "stopped" | "none" | "-" | "skipped" => Tone::Dim,
            _ => Tone::Plain,
        };
        Self { text: word, tone }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.text.lines().map(text::clean_line)
    }

    fn width(&self) -> usize {
        self.lines().map(|line| text::width(&line)).max().unwrap_or(0)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<(String, Fit)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Titles (in capitals, as one expects) and how each column behaves.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = (T, Fit)>) -> Self {
        Self { columns: columns.into_iter().map(|(title, fit)| (title.into(), fit)).collect(), rows: Vec::new() }
    }

    /// Missing fields are empty; those beyond the titles are left out.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> &mut Self {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        cells.resize(self.columns.len(), Cell::default());
        self.rows.push(cells);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table with a line end after each row. `width` is that of the terminal; `None`: nothing
    /// is cut. Where not even the columns that may not be cut have room, each row becomes a block
    /// of `title: field` lines.
    pub fn render(&self, style: Style, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|at| self.natural_width(at)).collect();
        if let Some(width) = width
            && !self.shrink(&mut widths, width)
        {
            return self.blocks(style, width);
        }
        let mut out = String::new();
        let titles: Vec<Cell> = self.columns.iter().map(|(title, _)| Cell::toned(title.as_str(), Tone::Dim)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            self.render_row(row, &widths, style, &mut out);
        }
        out
    }

    fn natural_width(&self, at: usize) -> usize {
        let title = self.columns.get(at).map_or(0, |(title, _)| text::width(title));
        self.rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0).max(title)
    }

    /// Takes from the widest column that may shrink until all fit; false when they cannot.
    fn shrink(&self, widths: &mut [usize], width: usize) -> bool {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let may = |at: usize, wide: usize| {
                self.columns
                    .get(at)
                    .is_some_and(|(title, fit)| *fit == Fit::Shrink && wide > text::width(title).max(LEAST))
            };
            let widest =
                widths.iter_mut().enumerate().filter(|(at, wide)| may(*at, **wide)).max_by_key(|(_, wide)| **wide);
            match widest {
                Some((_, wide)) => *wide -= 1,
                None => return false,
            }
        }
        true
    }

    fn render_row(&self, row: &[Cell], widths: &[usize], style: Style, out: &mut String) {
        let fields: Vec<Vec<String>> = row.iter().map(|cell| cell.lines().collect()).collect();
        let height = fields.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for at in 0..height {
            let mut line = String::new();
            // blanks are written only before the next text, so that no line ends with them
            let mut blanks = 0;
            for (((cell, lines), width), (_, fit)) in row.iter().zip(&fields).zip(widths).zip(&self.columns) {
                let field = text::fit(lines.get(at).map_or("", String::as_str), *width, style);
                let free = width - text::width(&field).min(*width);
                let (before, after) = if *fit == Fit::Number { (free, 0) } else { (0, free) };
                if !field.is_empty() {
                    line.push_str(&" ".repeat(blanks + before));
                    line.push_str(&style.paint(cell.tone, &field));
                    blanks = after + GAP.len();
                } else {
                    blanks += width + GAP.len();
                }
            }
            out.push_str(&line);
            out.push('\n');
        }
    }

    fn blocks(&self, style: Style, width: usize) -> String {
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            for (cell, (title, _)) in row.iter().zip(&self.columns) {
                let room = width.saturating_sub(text::width(title) + 2);
                for line in cell.lines().filter(|line| !line.is_empty()) {
                    let title = style.paint(Tone::Dim, &format!("{}:", title.to_lowercase()));
                    // names stay whole: they may be meant to be copied
                    for (at, part) in text::wrap_whole(&line, room).into_iter().enumerate() {
                        let before = if at == 0 { title.as_str() } else { " " };
                        out.push_str(&format!("{before} {}\n", style.paint(cell.tone, &part)));
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const PLAIN: Style = Style { color: false, unicode: true };

    fn status() -> Table {
        let columns = [
            ("SERVICE", Fit::Whole),
            ("STATE", Fit::Whole),
            ("MB", Fit::Number),
            ("URL", Fit::Whole),
            ("IMAGE", Fit::Shrink),
            ("REASON", Fit::Shrink),
        ];
        let mut table = Table::new(columns);
        table.row([
            "grafana".into(),
            Cell::state("running"),
            "97".into(),
            "http://grafana.macula.local".into(),
            "docker.io/grafana/grafana:12.1.0".into(),
        ]);
        table.row([
            "minio".into(),
            Cell::state("left out"),
            "".into(),
            "http://s3.macula.local\nhttp://s3-console.macula.local".into(),
            "minio/minio:latest".into(),
            "no way to the registry and no build".into(),
        ]);
        table.row(["日本".into(), Cell::state("missing"), "1024".into()]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        assert_snapshot!(status().render(PLAIN, None), @r"
        SERVICE  STATE       MB  URL                             IMAGE                             REASON
        grafana  running     97  http://grafana.macula.local     docker.io/grafana/grafana:12.1.0
        minio    left out        http://s3.macula.local          minio/minio:latest                no way to the registry and no build
                                 http://s3-console.macula.local
        日本     missing   1024
        ");
    }

    #[test]
    fn what_may_shrink_does() {
        let table = status().render(PLAIN, Some(100));
        assert!(table.lines().all(|line| text::width(line) <= 100), "{table}");
        assert_snapshot!(table, @r"
        SERVICE  STATE       MB  URL                             IMAGE                  REASON
        grafana  running     97  http://grafana.macula.local     docker.io/grafana/gr…
        minio    left out        http://s3.macula.local          minio/minio:latest     no way to the regis…
                                 http://s3-console.macula.local
        日本     missing   1024
        ");
    }

    #[test]
    fn without_room_rows_become_blocks() {
        assert_snapshot!(status().render(PLAIN, Some(50)), @r"
        service: grafana
        state: running
        mb: 97
        url: http://grafana.macula.local
        image: docker.io/grafana/grafana:12.1.0

        service: minio
        state: left out
        url: http://s3.macula.local
        url: http://s3-console.macula.local
        image: minio/minio:latest
        reason: no way to the registry and no build

        service: 日本
        state: missing
        mb: 1024
        ");
    }

    #[test]
    fn long_fields_of_blocks_are_broken_between_words() {
        assert_snapshot!(status().render(PLAIN, Some(30)).lines().skip(6).take(7).collect::<Vec<_>>().join("\n"), @r"
        service: minio
        state: left out
        url: http://s3.macula.local
        url: http://s3-console.macula.local
        image: minio/minio:latest
        reason: no way to the registry
          and no build
        ");
    }

    #[test]
    fn states_have_colours() {
        let mut table = Table::new([("STATE", Fit::Whole)]);
        table.row([Cell::state("running")]).row([Cell::state("unhealthy")]).row([Cell::state("odd")]);
        assert_eq!(
            table.render(Style { color: true, unicode: true }, Some(80)),
            "\x1b[2mSTATE\x1b[0m\n\x1b[32mrunning\x1b[0m\n\x1b[31munhealthy\x1b[0m\nodd\n"
        );
    }
}
